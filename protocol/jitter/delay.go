package jitter

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// How the delay of a stream is judged. A path's delay is the least transit time of the last seconds (the clocks of both ends
// drift apart, and routes change); what frames take longer than that is jitter. Of each half second the longest counts, and
// playout is as late as all but a few of these were, the newer ones weighing more.
const (
	floorParts = 10
	floorPart  = 500 * time.Millisecond // the least transit is that of the last 5 s
	peakPart   = 500 * time.Millisecond
	bucket     = 5 * time.Millisecond
	buckets    = 200     // jitter up to 1 s is told apart
	forget     = 0.97    // weight that a half second has left after another: half after 11 s
	covered    = 0.95    // of the half seconds
	maxWeight  = 1 << 40 // of one half second before all are scaled down
	// A frame that took longer than this says nothing of jitter: its sender's clock has jumped.
	maxJitter = 10 * time.Second
)

// An estimator learns from when frames come how long they have to be kept.
type estimator struct {
	least     [floorParts]time.Duration // transit by part, the present one first
	parts     int                       // of them that hold something
	partSince mono.Time

	peak      time.Duration // longest delay of the present half second
	peakSince mono.Time
	peaks     quantile
	start     time.Duration // what is taken before anything is known
}

// observe tells of a frame that was here at a time; transit is that time less its own by the sender's media clock. It is true if
// that clock has jumped.
func (e *estimator) observe(now mono.Time, transit time.Duration) (jumped bool) {
	if e.parts > 0 {
		d := transit - e.floor()
		if jumped = d > maxJitter || d < -maxJitter; jumped {
			e.parts = 0
		}
	}
	e.observeFloor(now, transit)
	d := transit - e.floor()
	if e.peakSince == 0 {
		e.peakSince = now
	}
	if now.Sub(e.peakSince) >= peakPart {
		e.peaks.add(int(e.peak / bucket))
		e.peak, e.peakSince = 0, now
	}
	e.peak = max(e.peak, d)
	return jumped
}

func (e *estimator) observeFloor(now mono.Time, transit time.Duration) {
	if e.parts == 0 {
		e.least[0], e.parts, e.partSince = transit, 1, now
		return
	}
	passed := int(now.Sub(e.partSince) / floorPart)
	if passed >= floorParts {
		e.least[0], e.parts, e.partSince = transit, 1, now
		return
	}
	for range passed {
		copy(e.least[1:], e.least[:floorParts-1])
		e.least[0] = transit
		e.parts = min(e.parts+1, floorParts)
	}
	e.partSince = e.partSince.Add(time.Duration(passed) * floorPart)
	e.least[0] = min(e.least[0], transit)
}

// floor is the path's transit time.
func (e *estimator) floor() time.Duration {
	least := e.least[0]
	for _, v := range e.least[1:max(e.parts, 1)] {
		least = min(least, v)
	}
	return least
}

// jitter is how much longer than the path's transit time frames are to be waited for.
func (e *estimator) jitter() time.Duration {
	if e.peaks.total == 0 {
		return max(e.peak, e.start)
	}
	return time.Duration(e.peaks.at+1) * bucket
}

// A quantile is the bucket below which a part (covered) of the weight of a histogram lies that forgets. Adding to it takes
// constant time: instead of making all that it holds lighter it makes what comes heavier, and the bucket moves with it.
type quantile struct {
	weights      [buckets]float64
	total, below float64 // of all, and of those below at
	at           int
	weight       float64 // of what comes next
}

func (q *quantile) add(i int) {
	i = min(max(i, 0), buckets-1)
	if q.total == 0 {
		q.weight = 1
	}
	q.weights[i] += q.weight
	q.total += q.weight
	if i < q.at {
		q.below += q.weight
	}
	q.weight /= forget
	if q.weight > maxWeight {
		q.scale()
	}
	want := covered * q.total
	for q.at > 0 && q.below >= want {
		q.at--
		q.below -= q.weights[q.at]
	}
	for q.at < buckets-1 && q.below+q.weights[q.at] < want {
		q.below += q.weights[q.at]
		q.at++
	}
}

func (q *quantile) scale() {
	q.total, q.below = 0, 0
	for i := range q.weights {
		q.weights[i] /= q.weight
		q.total += q.weights[i]
		if i < q.at {
			q.below += q.weights[i]
		}
	}
	q.weight = 1
}
