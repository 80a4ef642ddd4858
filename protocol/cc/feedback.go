package cc

import (
	"cmp"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// source is which feedback there is about each packet.
type source uint8

const (
	sourceNone source = iota
	sourceTransport
	sourceStreams
)

// After how long the times of feedback come round.
const (
	transportPeriod = 1 << 24 * 64 * time.Millisecond
	streamsPeriod   = 1 << 16 * time.Second
)

// clock is the receiver's, without its wrapping around.
type clock struct {
	source    source
	raw, time time.Duration // the last
	started   bool
}

func (c *clock) unwrap(raw, period time.Duration) time.Duration {
	if c.started {
		d := raw - c.raw
		switch {
		case d > period/2:
			d -= period
		case d < -period/2:
			d += period
		}
		c.time += d
	}
	c.raw, c.started = raw, true
	return c.time
}

// A packet that is missing is lost once one that was sent so much later is there.
const reorder = 50 * time.Millisecond

// finish looks at what feedback has told.
func (c *Controller) finish(now mono.Time) {
	c.heard = now
	slices.SortFunc(c.results, func(a, b result) int {
		if d := cmp.Compare(a.arrived, b.arrived); d != 0 {
			return d
		}
		return cmp.Compare(a.number, b.number)
	})
	for i := range c.results {
		c.take(&c.results[i])
	}
	if n := len(c.results); n > 0 {
		last := &c.results[n-1]
		c.path.told = c.epoch.Add(last.sent)
		c.path.roundTrip(now, now.Sub(c.path.told))
		waited := time.Duration(0) // not known
		if c.clock.source == sourceStreams {
			waited = c.clock.time - last.arrived
		}
		c.path.trips.add(now.Sub(c.path.told) - waited)
		c.path.measure(now, c.results, c.acked.rate())
		c.path.relieve(now, c.stats.BytesSent)
	}
	observed := c.countLosses()
	u, arrives := c.path.usage(now, c.trend.state, c.acked.rate())
	arrives = arrives.times(1 / (1 - c.losses.own())) // what was sent for that: losses of the path's own take no room
	switch {
	case (u == overusing || u == marked) && c.aimd.mayDecrease(c.path.told, arrives):
		c.stats.Overuse++
		c.path.slowsDown(now, c.aimd.rate, arrives, c.stats.BytesSent)
	case u == overusing || u == marked:
		u = underusing // this may be from before the last decrease
	}
	c.aimd.update(now, u, arrives, c.path.rtt)
	c.aimd.rate = min(max(c.aimd.rate, c.min), c.max)
	if observed {
		c.losses.update(c.byDelay(), c.fills(arrives))
	}
	c.lookFurther(now, u)
	c.decide(now)
}

// fills is what arrives where that may be all that the path bears; 0: the application has no more to send.
func (c *Controller) fills(arrives Rate) Rate {
	if c.limited.on {
		return 0
	}
	return arrives
}

// lookFurther probes where nothing is known of what the path bears.
func (c *Controller) lookFurther(now mono.Time, u usage) {
	switch p := &c.prober; {
	case !p.started:
	case c.path.silent:
		c.path.silent = false
		c.probeAnew(now)
	case u == normal && !c.aimd.capacity.known() && c.losses.limit == 0 && !c.limited.on && now.Sub(p.probed) >= probeEvery && c.wants() > c.target:
		c.probe(now, c.target*nextProbe)
	}
}

// take takes a packet that was received, in the order of arrival.
func (c *Controller) take(r *result) {
	p := c.history.at(r.number)
	c.acked.add(r.arrived, p.size)
	if pr := c.prober.byID(p.cluster); pr != nil {
		if rate, ok := pr.arrived(p.at, r.arrived, p.size); ok {
			c.answered(rate)
		}
	}
	if sent, arrived, ok := c.groups.add(r.sent, r.arrived, p.size); ok {
		c.trend.update(sent, arrived, c.groups.previous.lastArrived)
	}
}

// answered takes what a probe has found.
func (c *Controller) answered(r Rate) {
	if c.trend.state == overusing || r <= c.aimd.rate {
		return
	}
	c.aimd.rate = min(r, c.max)
	c.aimd.capacity = capacity{}
	c.acked.expectSurprise()
	if r >= c.prober.further {
		next := r * nextProbe
		now := c.heard
		c.probe(now, next)
	}
}

// countLosses counts the packets whose fate is no longer open: what is missing while others that were sent well after it are there.
func (c *Controller) countLosses() (observed bool) {
	h := &c.history
	if len(c.results) == 0 {
		return false
	}
	sent := c.results[0].sent
	for _, r := range c.results {
		sent = max(sent, r.sent)
	}
	for until := c.epoch.Add(sent - reorder); h.decided < h.next; h.decided++ {
		r := h.at(h.decided)
		if r.at > until {
			break
		}
		switch r.fate {
		case missing:
			c.stats.PacketsLost++
			if r.ect {
				c.stats.ECN.Missing++
			}
			observed = c.losses.add(r.at, r.size, true) || observed
		case received:
			observed = c.losses.add(r.at, r.size, false) || observed
		}
	}
	return observed
}
