package sctp

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Losses are found in three ways: by three reports of a gap (RFC 9260 section 7.2.4), by time in the manner of RACK
// (RFC 8985), which also finds a retransmission that was lost and the last chunks before a gap, and, if nothing is heard
// at all, by a probe (its section 7) that makes the peer report before T3 would.

// rack is what the newest transmission that has arrived says about those before it.
type rack struct {
	sent   mono.Time     // when it was sent; 0: none has arrived
	rtt    time.Duration // how long it took
	least  time.Duration // the shortest round trip ever seen
	probed bool          // a probe is out, and nothing new was acknowledged since
}

// delivered takes note of a chunk that was acknowledged for the first time.
func (r *rack) delivered(now mono.Time, c *outChunk) {
	r.probed = false
	rtt := now.Sub(c.sentAt)
	if c.sends > 1 && rtt < r.least {
		return // this acknowledges an earlier transmission
	}
	if c.sends == 1 && (r.least == 0 || rtt < r.least) {
		r.least = rtt
	}
	if c.sentAt > r.sent {
		r.sent, r.rtt = c.sentAt, rtt
	}
}

// detectLoss marks as lost what was sent before something that has arrived, and should have arrived itself by now, and
// sets a timer for what should arrive soon.
func (a *Association) detectLoss(now mono.Time) (lost bool) {
	s := &a.send
	a.timer[timerLoss] = mono.Never
	if s.arrived == 0 && !s.cc.inFast && !s.cc.timedOut || s.outstanding == 0 {
		return false
	}
	patience := s.rack.rtt + max(a.path.srtt/4, time.Millisecond) // for reordering
	for tsn := s.acked + 1; tsn < s.next; tsn++ {
		c := s.at(tsn)
		if c.fate != flying || c.sentAt >= s.rack.sent {
			continue
		}
		if due := c.sentAt.Add(patience); due > now {
			a.timer[timerLoss] = min(a.timer[timerLoss], due)
			continue
		}
		lost = true
		a.miss(now, tsn, c)
	}
	return lost
}

// lossTimeout: what was waited for has not come.
func (a *Association) lossTimeout(now mono.Time) {
	if a.detectLoss(now) {
		a.enterRecovery()
		a.proceedForward(now)
	}
}

func (a *Association) enterRecovery() {
	if a.send.cc.lost(a.send.next - 1) {
		a.stats.FastRecoveries++
	}
}

// armProbe sets the timer of the probe: after two round trips without a word, and the time by which the peer may delay
// its acknowledgement of a single packet.
func (a *Association) armProbe(now mono.Time) {
	s := &a.send
	a.timer[timerProbe] = mono.Never
	if s.outstanding == 0 || a.path.srtt == 0 || s.rack.probed || s.cc.inFast || s.cc.timedOut {
		return
	}
	wait := max(2*a.path.srtt, 10*time.Millisecond)
	if s.outstanding <= s.cc.packet {
		wait += sackDelay
	}
	if at := now.Add(wait); at < a.timer[timerRetransmit] {
		a.timer[timerProbe] = at
	}
}

// probeTimeout sends the last chunk again, so that the acknowledgement shows what is missing before it.
func (a *Association) probeTimeout(now mono.Time) {
	s := &a.send
	for tsn := s.next - 1; tsn > s.acked; tsn-- {
		c := s.at(tsn)
		if c.fate != flying {
			continue
		}
		if c.sends > c.m.most {
			return // it must not be sent again
		}
		s.rack.probed = true
		s.cc.burst = true
		a.miss(now, tsn, c)
		return
	}
}
