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

const (
	baseWindow = 10 * time.Second // two of these the least delay is remembered for
	reorder    = 50 * time.Millisecond
)

// least is the least of what was seen in the last one or two windows.
type least struct {
	current, previous time.Duration
	began             mono.Time
	windows           int
}

func (l *least) add(now mono.Time, d time.Duration) {
	switch {
	case l.windows == 0:
		*l = least{d, d, now, 1}
	case now.Sub(l.began) >= baseWindow:
		*l = least{d, l.current, now, 2}
	default:
		l.current = min(l.current, d)
	}
}

func (l *least) value() time.Duration { return min(l.current, l.previous) }

// path is what is known of delays.
type path struct {
	rtt     time.Duration // smoothed
	least   least
	base    least         // one way, between two clocks that are set differently
	queue   time.Duration // of late, above the base
	busy    busy
	others  mono.Time // until then others are taken to fill the queue
	drained bool      // the queue was empty since the last decrease
	marked  bool      // something came with ECN-CE since the rate was last looked at
	silent  bool      // nothing was heard for long
}

func (p *path) roundTrip(d time.Duration) {
	if p.rtt == 0 {
		p.rtt = d
	}
	p.rtt += (d - p.rtt) / 8
}

// busy is what arrived of late without the queue being empty in between: the rate of that is what the path bears.
type busy struct {
	batches [4]batch // what the last feedback told, the latest first
	n       int
}

type batch struct {
	began, ended time.Duration // arrival of the first and last packet
	size         int           // without the first packet
	firstSize    int
}

func (b *busy) add(x batch) {
	copy(b.batches[1:], b.batches[:])
	b.batches[0] = x
	b.n = min(b.n+1, len(b.batches))
}

func (b *busy) rate() Rate {
	if b.n == 0 {
		return 0
	}
	size := 0
	for _, x := range b.batches[:b.n] {
		size += x.size + x.firstSize
	}
	first := &b.batches[b.n-1]
	span := b.batches[0].ended - first.began
	if span < busyLeast {
		return 0
	}
	return rateOf(size-first.firstSize, span)
}

const (
	leastQueue = 10 * time.Millisecond // or the time of a packet: less is no queue
	drainFrom  = 50 * time.Millisecond // a queue that is longer is drained
	drainIn    = 600 * time.Millisecond
	drainMost  = 0.6
	busyLeast  = 30 * time.Millisecond

	othersFor   = 10 * time.Second
	othersQueue = 100 * time.Millisecond
)

// queues reports whether there is a queue worth the name at a rate.
func (p *path) queues(r Rate) bool {
	return p.queue > max(leastQueue, min(r.Time(packetSize), 10*leastQueue))
}

// drain is the share of the rate that is sent so that a long queue drains.
func (p *path) drain() float64 {
	return 1 - min(max(float64(p.queue-drainFrom)/float64(drainIn), 0), drainMost)
}

func (p *path) leastRTT() time.Duration { return p.least.value() }

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
		c.path.roundTrip(now.Sub(c.epoch) - c.results[n-1].sent)
		c.path.least.add(now, now.Sub(c.epoch)-c.results[n-1].sent)
		fastest := c.results[0].arrived - c.results[0].sent
		for _, r := range c.results {
			fastest = min(fastest, r.arrived-r.sent)
		}
		c.path.base.add(now, fastest)
		c.path.queue = fastest - c.path.base.value()
		b := batch{began: c.results[0].arrived, ended: c.results[n-1].arrived, firstSize: c.history.at(c.results[0].number).size}
		for _, r := range c.results[1:] {
			b.size += c.history.at(r.number).size
		}
		if !c.path.queues(c.acked.rate()) {
			c.path.busy.n = 0
			c.path.drained = true
		} else {
			c.path.busy.add(b)
		}
	}
	observed := c.countLosses()
	u := c.trend.state
	arrives := c.acked.rate()
	if u == overusing {
		if d := c.path.busy.rate(); d > 0 {
			arrives = d
		}
		if c.path.busy.n == 0 || now < c.path.others && c.path.queue < othersQueue {
			u = underusing
		}
	}
	if c.path.marked {
		u = overusing // RFC 6679 section 7.4: as if it had been lost for congestion
		c.path.marked = false
	}
	if u == overusing && !c.aimd.mayDecrease(now, arrives, c.path.rtt) {
		u = underusing // the answer to what was just done: hold
	} else if u == overusing {
		c.stats.Overuse++
		if !c.path.drained && now.Sub(c.aimd.decreased) > c.path.rtt+200*time.Millisecond {
			c.path.others = now.Add(othersFor)
		}
		c.path.drained = false
	}
	beyond := c.aimd.update(now, u, arrives, c.path.rtt)
	c.aimd.rate = min(max(c.aimd.rate, c.min), c.max)
	if observed {
		c.losses.update(c.byDelay(), arrives)
	}
	if c.path.silent && c.prober.started {
		c.path.silent = false
		c.probeAnew(now)
	}
	if beyond && c.prober.started && now.Sub(c.prober.probed) >= beyondIn && c.wants() > c.target {
		c.probe(now, c.target*nextProbe)
	}
	c.decide(now)
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
			observed = c.losses.add(r.at, r.size, true) || observed
		case received:
			observed = c.losses.add(r.at, r.size, false) || observed
		}
	}
	return observed
}
