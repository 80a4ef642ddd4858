package cc

import (
	"math"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// losses finds out from losses what the path bears. The model: up to its capacity a path loses a share of packets that does not
// depend on the rate (inherent, as radio has it), beyond it all that is more than the capacity as well. Of several candidates for
// the capacity, each with the inherent loss that suits it best, that one is taken which makes what was observed likeliest.
//
// A loss that stays as it is when less is sent is inherent, and is nothing to slow down for.
type losses struct {
	seen    [observations]observation
	count   int // of observations so far
	current observation

	limit Rate // what losses allow; 0: they say nothing

	most   Rate    // at this rate
	mostOf float64 // so much was lost, before less was sent
	proven float64 // a loss that stayed when less was sent
	until  int     // this observation
	held   int     // so many observations the limit has stayed
}

// observation is what became of packets of some time.
type observation struct {
	began, ended   mono.Time // when the first and last packet was sent
	size           int
	received, lost int
}

const (
	observations  = 20
	observeFor    = 250 * time.Millisecond
	observeLeast  = 10   // packets
	aging         = 0.9  // what an observation counts beside the one after it
	harmless      = 0.02 // a loss that no rate is to blame for
	inherentLeast = 0.001
	// A loss of more than inherentFloor + inherentRate/capacity is not taken for inherent unless that was proven: the more a path
	// bears, the less it should lose.
	inherentFloor = 0.05
	inherentRate  = 75 * kbit
	inherentMost  = 0.3
	provenAt      = 0.85 // of the rate: if at that and less
	provenShare   = 0.8  // of the loss stays, it is inherent
	provenIn      = 4    // observations in a row
	provenFor     = 240  // observations, a minute
	// How much likelier, a packet, a capacity counts for being twice another: enough that the chance in some 150 packets does not drive
	// the rate down (libwebrtc has 0.014).
	preferMore = 0.008
	lossUp     = 1.02
	lossDown   = 0.95
)

// add counts a packet whose fate is decided, in the order of sending. It reports whether an observation is complete.
func (l *losses) add(sent mono.Time, size int, wasLost bool) (complete bool) {
	c := &l.current
	if c.received+c.lost > 0 && sent.Sub(c.began) >= observeFor && c.received+c.lost >= observeLeast {
		l.seen[l.count%observations] = *c
		l.seen[l.count%observations].ended = sent
		l.count++
		*c = observation{}
		complete = true
	}
	if c.received+c.lost == 0 {
		c.began = sent
	}
	c.ended = sent
	c.size += size
	if wasLost {
		c.lost++
	} else {
		c.received++
	}
	return complete
}

func (o *observation) rate() float64 {
	return float64(o.size) * 8 / max(o.ended.Sub(o.began), time.Millisecond).Seconds()
}

// average is the loss of late, the latest counting most.
func (l *losses) average() float64 {
	var lost, all float64
	l.each(func(o *observation, weight float64) {
		lost += weight * float64(o.lost)
		all += weight * float64(o.lost+o.received)
	})
	if all == 0 {
		return 0
	}
	return lost / all
}

func (l *losses) each(f func(o *observation, weight float64)) {
	weight := 1.0
	for i := range min(l.count, observations) {
		f(&l.seen[(l.count-1-i)%observations], weight)
		weight *= aging
	}
}

// update takes the rate by delay and what arrives, 0 if that says nothing, after an observation is complete.
func (l *losses) update(byDelay, arrives Rate) {
	now := byDelay
	if l.limit > 0 {
		now = min(now, l.limit)
	}
	average := l.average()
	if average <= harmless {
		l.most, l.held = 0, 0
		if l.limit > 0 {
			if l.limit = now.times(lossUp * lossUp); l.limit > byDelay {
				l.limit = 0
			}
		}
		return
	}
	l.prove(now, average)
	best, inherent := now, 0.0
	likelihood := math.Inf(-1)
	for _, c := range [...]Rate{now, now.times(lossUp), now.times(lossDown), arrives, byDelay} {
		if c <= 0 || c > byDelay {
			continue
		}
		i := l.inherent(float64(c))
		if v := l.likelihood(float64(c), i); v > likelihood {
			best, inherent, likelihood = c, i, v
		}
	}
	// It is no time to grow while more is lost than the path alone would lose.
	if best > now && inherent < average-harmless {
		best = now
	}
	// To stay tells nothing: after a while less is sent, to see whether the loss stays.
	if l.held++; best != now {
		l.held = 0
	} else if l.held >= observations && l.proven < average {
		l.held = 0
		best = min(best, l.most.times(provenAt*lossDown))
	}
	if best >= byDelay {
		l.limit = 0
		return
	}
	l.limit = best
}

// own is the share of what is sent that the path loses whatever the rate, as far as that is proven.
func (l *losses) own() float64 { return min(l.proven, l.average()) }

// prove finds out whether a loss stays when less is sent.
func (l *losses) prove(now Rate, average float64) {
	if l.count > l.until {
		l.proven = 0
	}
	if now > l.most {
		l.most, l.mostOf = now, average
	}
	if l.count < provenIn {
		return
	}
	var lost, all int
	for i := range provenIn {
		o := &l.seen[(l.count-1-i)%observations]
		if o.rate() > float64(l.most)*provenAt {
			return
		}
		lost += o.lost
		all += o.lost + o.received
	}
	if stayed := float64(lost) / float64(all); stayed >= l.mostOf*provenShare {
		l.proven, l.until = max(l.proven, stayed), l.count+provenFor
		l.most = 0
	}
}

// bound is the most of inherent loss that a capacity may have.
func (l *losses) bound(capacity float64) float64 {
	return min(max(inherentFloor+float64(inherentRate)/capacity, l.proven), inherentMost)
}

// inherent is the loss that suits a capacity best: the top of the likelihood, by bisection of its derivative.
func (l *losses) inherent(capacity float64) float64 {
	low, high := inherentLeast, l.bound(capacity)
	for range 12 {
		mid := (low + high) / 2
		var derivative float64
		l.each(func(o *observation, weight float64) {
			p, dp := lossOf(capacity, mid, o.rate())
			derivative += weight * dp * (float64(o.lost)/p - float64(o.received)/(1-p))
		})
		if derivative > 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

func (l *losses) likelihood(capacity, inherent float64) float64 {
	var sum float64
	bonus := preferMore * math.Log2(capacity)
	l.each(func(o *observation, weight float64) {
		p, _ := lossOf(capacity, inherent, o.rate())
		sum += weight * (float64(o.lost)*math.Log(p) + float64(o.received)*math.Log(1-p) + bonus*float64(o.lost+o.received))
	})
	return sum
}

// lossOf is the loss of a path at a rate, and its derivative by the inherent loss.
func lossOf(capacity, inherent, rate float64) (p, dp float64) {
	p, dp = inherent, 1
	if rate > capacity {
		passes := capacity / rate
		p, dp = 1-passes*(1-inherent), passes
	}
	return min(max(p, 1e-4), 1-1e-4), dp
}

// report takes an observation that someone else has made.
func (l *losses) report(began, ended mono.Time, size, received, lost int) {
	l.seen[l.count%observations] = observation{began, ended, size, received, lost}
	l.count++
}
