package sctp

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// pacer spreads a window over the round trip. What it lets out at once is a quantum, so that the driver can send packets
// in batches; after a pause it is an initial window.
type pacer struct {
	free mono.Time // when all that was sent would have left, had it been sent at the pace
}

const (
	leastQuantum = time.Millisecond
	mostQuantum  = 5 * time.Millisecond
)

// quantum returns how long a burst is, at the pace.
func quantum(rtt time.Duration) time.Duration { return min(max(rtt/32, leastQuantum), mostQuantum) }

// pace returns how long it takes to send so many bytes. While the window doubles each round trip the pace is twice the
// window for each, else five quarters of it (RFC 9002 section 7.7).
func (c *congestion) pace(bytes int, rtt time.Duration) time.Duration {
	d := time.Duration(int64(bytes) * int64(rtt) / int64(c.window))
	if c.window < c.threshold {
		return d / 2
	}
	return d * 4 / 5
}

// held reports whether the pacer holds data back; it sets the timer for when it no longer does.
func (a *Association) held(now mono.Time) bool {
	p, rtt := &a.send.pacer, a.path.srtt
	switch {
	case rtt == 0:
		return false
	case a.timer[timerPace] != mono.Never:
		return now < a.timer[timerPace]
	case p.free.Sub(now) < quantum(rtt):
		return false
	}
	a.timer[timerPace] = p.free
	return true
}

// paced notes that so many bytes were sent.
func (a *Association) paced(now mono.Time, bytes int) {
	c, rtt := &a.send.cc, a.path.srtt
	if rtt == 0 {
		return
	}
	saved := max(0, c.pace(initialPackets*c.packet, rtt)-quantum(rtt)) // what a pause may save up
	a.send.pacer.free = max(a.send.pacer.free, now.Add(-saved)).Add(c.pace(bytes, rtt))
}
