package cc

import (
	"math"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	backOff         = 0.88 // of what arrived when a queue grew: beta of draft-ietf-rmcat-gcc-02 section 5.5
	markedBackOff   = 0.92 // and when one was about to: marks come while it is short (the thought of RFC 8511)
	growth          = 1.08 // a second, while the capacity is unknown: eta
	ackedHeadroom   = 1.5  // the rate does not grow beyond what arrives by more
	ackedMargin     = 10 * kbit
	detectionTime   = 100 * time.Millisecond // that overuse is seen after, above the round trip
	additivePackets = 3
	leastAdditive   = 4 * kbit // a second
	additiveMost    = 0.2      // of the rate: below some 800 kbit/s packets are too large a measure
	frameTime       = time.Second / 30
	packetSize      = 1200
	firstDecrease   = 0.5                    // the capacity was not known: back off to what surely passes
	settleTime      = 200 * time.Millisecond // until what leaves follows a decrease
	farBelow        = 0.7                    // of the rate: so little arrives that the last decrease was not enough
	capacityWeight  = 0.05
)

// aimd is the rate by delay: it grows while no queue does, multiplicatively where the capacity is unknown and additively near it, and
// falls to a share of what arrives when one does (draft-ietf-rmcat-gcc-02 section 5.5).
type aimd struct {
	rate      Rate
	capacity  capacity
	grown     mono.Time // when last, or when growing began
	decreased mono.Time
	growing   bool
}

// update goes on to now.
func (a *aimd) update(now mono.Time, u usage, arrives Rate, rtt time.Duration) {
	switch u {
	case overusing:
		a.decrease(now, arrives, backOff)
		a.growing = false
	case marked:
		a.decrease(now, arrives, markedBackOff)
		a.growing = false
	case underusing:
		a.growing = false
	case normal:
		if !a.growing {
			a.growing, a.grown = true, now
		}
		if min(arrives, a.rate) > a.capacity.above() {
			a.capacity = capacity{}
		}
		a.increase(now, arrives, rtt)
	}
}

// mayDecrease reports whether what is seen, of packets sent at that time, cannot be an answer to the last decrease any more.
func (a *aimd) mayDecrease(sent mono.Time, arrives Rate) bool {
	return sent.Sub(a.decreased) >= settleTime || arrives > 0 && arrives < a.rate.times(farBelow)
}

func (a *aimd) decrease(now mono.Time, arrives Rate, share float64) {
	to := arrives.times(share)
	if arrives == 0 {
		to = a.rate.times(firstDecrease)
	} else {
		if arrives < a.capacity.below() {
			a.capacity = capacity{}
		}
		if to > a.rate && a.capacity.known() {
			to = Rate(a.capacity.mean * 1000).times(share)
		}
		a.capacity.add(arrives)
	}
	a.rate = min(a.rate, to)
	a.decreased = now
}

func (a *aimd) increase(now mono.Time, arrives Rate, rtt time.Duration) {
	since := min(now.Sub(a.grown), time.Second)
	a.grown = now
	to := a.rate + a.additive(rtt).times(since.Seconds())
	if !a.capacity.known() {
		to = max(to, a.rate.times(math.Pow(growth, since.Seconds())))
	}
	if arrives > 0 {
		to = min(to, arrives.times(ackedHeadroom)+ackedMargin)
	}
	a.rate = max(a.rate, to)
}

// additive is by how much the rate grows in a second near the capacity: by so many packets a second, each second, in each time that
// it takes to see what came of the last. It does not go with the rate, so that flows come to share.
func (a *aimd) additive(rtt time.Duration) Rate {
	frame := float64(a.rate.Bytes(frameTime))
	packet := frame / math.Ceil(max(frame, 1)/packetSize)
	return max(leastAdditive, min(Rate(additivePackets*packet*8/(rtt+detectionTime).Seconds()), a.rate.times(additiveMost)))
}

// capacity is what arrived when queues grew: an average and how far it is to be trusted, in kbit/s.
type capacity struct{ mean, variance float64 }

const (
	capacityVarianceLeast = 0.4
	capacityVarianceMost  = 2.5
	capacityDeviations    = 3
	capacityMore          = 1.1 // times what was known: surely more
)

func (c *capacity) known() bool { return c.mean > 0 }

func (c *capacity) add(r Rate) {
	kbps := float64(r) / 1000
	if !c.known() {
		c.mean, c.variance = kbps, capacityVarianceLeast
		return
	}
	off := c.mean - kbps
	c.mean += capacityWeight * -off
	c.variance = (1-capacityWeight)*c.variance + capacityWeight*off*off/max(c.mean, 1)
	c.variance = min(max(c.variance, capacityVarianceLeast), capacityVarianceMost)
}

func (c *capacity) deviation() float64 { return math.Sqrt(c.variance * c.mean) }

// above is from where on the capacity must have become more.
func (c *capacity) above() Rate {
	if !c.known() {
		return math.MaxInt64
	}
	return Rate(max(c.mean+capacityDeviations*c.deviation(), c.mean*capacityMore) * 1000)
}

// below is from where on it must have become less.
func (c *capacity) below() Rate {
	return Rate(max(0, c.mean-capacityDeviations*c.deviation()) * 1000)
}
