package cc

import (
	"time"
)

// usage is what the delay says of the path.
type usage uint8

const (
	normal usage = iota
	underusing
	overusing
	marked // a router says so, sooner than the delay does
)

const (
	window         = 20  // groups that the line goes through
	smoothing      = 0.9 // of the delay, an exponential average
	trendGain      = 4   // what makes of a slope a number that the threshold is made for
	mostGroups     = 60  // from where on more groups do not make the trend surer
	thresholdStart = 12.5
	thresholdLeast = 6
	thresholdMost  = 600
	// A millisecond: K_u and K_d of draft-ietf-rmcat-gcc-02 section 5.4. There K_d is 0.00018, so that the threshold stays for seconds at
	// what a flow that fills queues has brought it to; libwebrtc has 0.039, and forgets at once. The draft's alone makes our own queues
	// long as well.
	thresholdUp     = 0.01
	thresholdDown   = 0.001
	thresholdSpike  = 15 // a trend so far beyond the threshold is no jitter, and does not move it
	overuseTime     = 10 * time.Millisecond
	longestAdaption = 100 * time.Millisecond
)

// trendline is the slope of the delay, by least squares through the last groups, and the detector of overuse with a threshold that
// goes with what the path has for jitter (draft-ietf-rmcat-gcc-02 sections 5.3 and 5.4, with the line in place of the filter).
type trendline struct {
	x, y  [window]float64 // ms of arrival, and smoothed ms of delay
	count int             // groups so far

	first    time.Duration // arrival of the first group
	delay    float64       // ms that delay has grown since then
	smoothed float64
	trend    float64 // the slope; more than 0: a queue grows
	modified float64 // what is held against the threshold

	threshold float64
	adapted   time.Duration // when; by arrival
	over      time.Duration // how long the trend has been above
	overs     int
	state     usage
}

// update takes what grouper found, and when the later group arrived.
func (t *trendline) update(sentApart, arrivedApart, arrived time.Duration) {
	if t.count == 0 {
		t.first = arrived
	}
	t.delay += ms(arrivedApart - sentApart)
	t.smoothed = smoothing*t.smoothed + (1-smoothing)*t.delay
	i := t.count % window
	t.x[i], t.y[i] = ms(arrived-t.first), t.smoothed
	t.count++
	trend := t.trend
	if t.count >= window {
		trend = slope(&t.x, &t.y, trend)
	}
	t.detect(trend, sentApart, arrived)
}

// slope is that of the line through the points by least squares, or else if all stand at one time.
func slope(x, y *[window]float64, otherwise float64) float64 {
	var sx, sy float64
	for i := range x {
		sx += x[i]
		sy += y[i]
	}
	mx, my := sx/window, sy/window
	var num, den float64
	for i := range x {
		num += (x[i] - mx) * (y[i] - my)
		den += (x[i] - mx) * (x[i] - mx)
	}
	if den == 0 {
		return otherwise
	}
	return num / den
}

func (t *trendline) detect(trend float64, sentApart, arrived time.Duration) {
	if t.threshold == 0 {
		t.threshold = thresholdStart
	}
	previous := t.trend
	t.trend = trend
	t.modified = float64(min(t.count, mostGroups)) * trend * trendGain
	switch {
	case t.modified > t.threshold:
		if t.overs == 0 {
			t.over = sentApart / 2 // it went above somewhere between the two groups
		} else {
			t.over += sentApart
		}
		t.overs++
		if t.over > overuseTime && t.overs > 1 && trend >= previous {
			t.over, t.overs, t.state = 0, 0, overusing
		}
	case t.modified < -t.threshold:
		t.over, t.overs, t.state = 0, 0, underusing
	default:
		t.over, t.overs, t.state = 0, 0, normal
	}
	t.adapt(arrived)
}

// adapt lets the threshold follow the trend, up slower than down, so that beside a flow that fills queues ours is not starved.
func (t *trendline) adapt(arrived time.Duration) {
	height := max(t.modified, -t.modified)
	since := min(max(arrived-t.adapted, 0), longestAdaption)
	if t.adapted == 0 {
		since = 0
	}
	t.adapted = arrived
	if height > t.threshold+thresholdSpike {
		return
	}
	k := thresholdUp
	if height < t.threshold {
		k = thresholdDown
	}
	t.threshold += k * (height - t.threshold) * ms(since)
	t.threshold = min(max(t.threshold, thresholdLeast), thresholdMost)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
