package cc

import (
	"math"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	probePackets  = 5                     // at least
	probeTime     = 15 * time.Millisecond // that a probe lasts
	probeChunk    = 2 * time.Millisecond  // of padding at once
	probePatience = time.Second           // for what is to be sent

	probeShare   = 0.8  // of a probe that must have arrived for it to say something
	probeFull    = 0.9  // of the rate it was sent at: if less arrived, the path is full at that
	probeUse     = 0.95 // of what a full path let through
	probeOdd     = 2    // times faster than it was sent: the arrival says nothing
	probeFurther = 0.7  // of the probe's rate: there may be more than this

	// Times the rate.
	firstProbe  = 3
	secondProbe = 6
	nextProbe   = 2

	probeEvery   = 2 * time.Second // while the capacity is unknown
	limitedEvery = 5 * time.Second // while the application limits
)

// probe is a burst of packets at a rate that is not trusted yet: how fast they arrive says what the path bears.
type probe struct {
	id      uint16
	rate    Rate
	began   mono.Time // when the first packet left
	asked   mono.Time // when it was decided
	sent    int
	packets int
	// What arrived.
	firstSent, lastSent       mono.Time
	firstArrived, lastArrived time.Duration
	firstSize, lastSize       int // of the first to arrive, the last to leave
	size, count               int
}

func (p *probe) leastBytes() int { return p.rate.Bytes(probeTime) }

// complete reports whether enough was sent.
func (p *probe) complete() bool { return p.packets >= probePackets && p.sent >= p.leastBytes() }

// arrived takes a packet of it, and returns what the path bears, once enough is known.
func (p *probe) arrived(sent mono.Time, arrived time.Duration, size int) (Rate, bool) {
	if p.count == 0 || sent < p.firstSent {
		p.firstSent = sent
	}
	if p.count == 0 || arrived < p.firstArrived {
		p.firstArrived, p.firstSize = arrived, size
	}
	if p.count == 0 || sent >= p.lastSent {
		p.lastSent, p.lastSize = sent, size
	}
	if p.count == 0 || arrived > p.lastArrived {
		p.lastArrived = arrived
	}
	p.size += size
	p.count++
	if float64(p.count) < probeShare*probePackets || float64(p.size) < probeShare*float64(p.leastBytes()) {
		return 0, false
	}
	sending, arriving := p.lastSent.Sub(p.firstSent), p.lastArrived-p.firstArrived
	if sending <= 0 || arriving <= 0 || sending > probePatience || arriving > probePatience {
		return 0, false
	}
	out, in := rateOf(p.size-p.lastSize, sending), rateOf(p.size-p.firstSize, arriving)
	switch {
	case in > out*probeOdd:
		return 0, false
	case in < out.times(probeFull):
		return in.times(probeUse), true
	}
	return min(out, in), true
}

// prober has the probes one after the other.
type prober struct {
	recent  [8]probe // by id
	last    uint16   // id
	pending [2]Rate  // to be sent; 0: none
	current *probe   // being sent; nil: none

	off     bool // there would be no answers
	started bool
	further Rate      // if a probe finds more than this, there may be more
	probed  mono.Time // when a probe was last decided on
}

func (p *prober) byID(id uint16) *probe {
	if r := &p.recent[id%uint16(len(p.recent))]; id != 0 && r.id == id {
		return r
	}
	return nil
}

// ask begins with probes at these rates, up to the first that would be more than most.
func (p *prober) ask(now mono.Time, most Rate, rates ...Rate) {
	p.pending, p.probed = [2]Rate{}, now
	for i, r := range rates {
		p.pending[i] = min(r, most)
		p.further = r.times(probeFurther)
		if r >= most {
			p.further = math.MaxInt64
			break
		}
	}
}

// next returns the probe to be sent, or nil.
func (p *prober) next(now mono.Time) *probe {
	if c := p.current; c != nil {
		if !c.complete() && now.Sub(c.asked) < probePatience {
			return c
		}
		p.current = nil
	}
	if p.pending[0] == 0 {
		return nil
	}
	if p.last++; p.last == 0 {
		p.last = 1
	}
	c := &p.recent[p.last%uint16(len(p.recent))]
	*c = probe{id: p.last, rate: p.pending[0], asked: now}
	p.pending = [2]Rate{p.pending[1]}
	p.current = c
	return c
}

func (p *prober) abort() { p.pending, p.current, p.further = [2]Rate{}, nil, math.MaxInt64 }
