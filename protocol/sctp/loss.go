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
	sent      mono.Time     // when it was sent; 0: none has arrived
	tsn       int64         // its TSN
	rtt       time.Duration // how long it took
	least     time.Duration // the shortest round trip ever seen
	sample    time.Duration // the round trip of the newest that the SACK in hand acknowledges; 0: it says nothing of it
	highest   int64         // TSN that has arrived
	reports   [3]int64      // the highest TSN that each of the last reports of a gap brought
	judged    int64         // no chunk before it that was sent once is under way: all were reported three times
	again     int64         // the highest TSN that was sent again
	probed    bool          // a probe is out, and nothing new was acknowledged since
	probe     int64         // the TSN that was sent again as a probe, of which it is not known yet whether it was lost
	reordered bool          // the path does not keep the order: counting reports means nothing
	patience  int           // what is given to reordering is so many quarters of the shortest round trip, and one more
	widened   int64         // patience grows no more until this TSN is acknowledged
	calm      int           // recoveries since it grew
}

func (r *rack) init(tsn int64) {
	*r = rack{highest: tsn - 1, widened: noTSN, again: noTSN, probe: noTSN, judged: noTSN}
	r.forget()
}

// forget drops the reports so far.
func (r *rack) forget() { r.reports = [3]int64{noTSN, noTSN, noTSN} }

// reported takes the highest TSN that a report brought (HTNA of RFC 9260 section 7.2.4).
func (r *rack) reported(tsn int64) { r.reports = [3]int64{r.reports[1], r.reports[2], tsn} }

// thrice returns the TSN before which everything was reported missing three times.
func (r *rack) thrice() int64 {
	if r.reordered {
		return noTSN
	}
	return min(r.reports[0], r.reports[1], r.reports[2])
}

// delivered takes note of a chunk that was acknowledged for the first time.
func (r *rack) delivered(now mono.Time, tsn int64, c *outChunk) {
	r.probed = false
	if tsn > r.highest {
		r.highest = tsn
	} else if c.sends == 1 {
		r.reordered = true // it came after a later one (RFC 8985 section 6.2, step 3)
	}
	rtt := now.Sub(c.sentAt)
	if c.sends > 1 && rtt < r.least {
		return // this acknowledges an earlier transmission
	}
	if c.sends == 1 {
		if r.least == 0 || rtt < r.least {
			r.least = rtt
		}
		r.sample = rtt
	}
	if c.sentAt > r.sent || c.sentAt == r.sent && tsn > r.tsn {
		r.sent, r.tsn, r.rtt = c.sentAt, tsn, rtt
	}
}

// window returns how much later than the newest something may arrive before it counts as lost (RFC 8985 section 6.2,
// step 4): next to nothing in a recovery, as long as the path keeps the order.
func (r *rack) window(srtt time.Duration, recovering bool) time.Duration {
	if recovering && !r.reordered {
		return granularity
	}
	return max(min(time.Duration(1+r.patience)*r.least/4, srtt), granularity)
}

// widen gives reordering more time, because something was sent again that had arrived; at most once a round trip.
func (r *rack) widen(acked, next int64) {
	if acked < r.widened {
		return
	}
	r.widened = next
	r.reordered = true
	r.patience, r.calm = min(r.patience+1, 16), 0
}

// recovered: after 16 recoveries in which nothing was sent in vain, reordering is given as little time as at first.
func (r *rack) recovered() {
	if r.calm++; r.calm >= 16 {
		r.patience, r.calm = 0, 0
	}
}

// doubt tells a reduction of the window that was needed from one that was not.
type doubt struct {
	marked  int // chunks that were taken as lost since then
	refuted int // of which it turned out that they had not been
}

// detectLoss marks as lost what was sent before something that has arrived, and should have arrived itself by now or was
// reported missing three times, and sets a timer for what should arrive soon. It returns how many chunks were lost.
func (a *Association) detectLoss(now mono.Time) (lost int) {
	s := &a.send
	a.timer[timerLoss] = mono.Never
	thrice := s.rack.thrice()
	patience := s.rack.rtt + s.rack.window(a.path.srtt, s.cc.inFast || s.cc.timedOut)
	for tsn := s.oldest; tsn != noTSN; {
		c := s.at(tsn)
		if c.sentAt > s.rack.sent || c.sentAt == s.rack.sent && tsn >= s.rack.tsn {
			return lost
		}
		after := c.after
		if due := c.sentAt.Add(patience); due > now && (c.sends > 1 || tsn >= thrice) {
			a.timer[timerLoss] = min(a.timer[timerLoss], due)
			if thrice <= s.rack.judged {
				break // what was sent later is due later
			}
		} else {
			lost++
			a.miss(now, tsn, c)
			if after != noTSN && s.at(after).fate != flying {
				after = s.oldest // its message was given up, and others with it
			}
		}
		tsn = after
	}
	s.rack.judged = thrice
	return lost
}

// lossTimeout: what was waited for has not come.
func (a *Association) lossTimeout(now mono.Time) {
	if lost := a.detectLoss(now); lost > 0 {
		a.enterRecovery(lost)
		a.proceedForward(now)
	}
}

func (a *Association) enterRecovery(lost int) {
	s := &a.send
	s.rack.probe = noTSN // RFC 8985 section 7.1
	if s.cc.lost(s.next - 1) {
		s.cc.doubt = doubt{marked: lost}
		s.rack.recovered()
		a.stats.FastRecoveries++
	}
}

// miss marks a flying chunk as lost, or gives its message up.
func (a *Association) miss(now mono.Time, tsn int64, c *outChunk) {
	s := &a.send
	if c.packet > 0 {
		a.notCarried(now, c.sentAt, int(c.packet))
	}
	s.land(c, missing)
	s.peerWindow += c.size // section 6.2.1, rule C
	s.missing++
	s.lowest = min(s.lowest, tsn)
	s.cc.doubt.marked++
	if c.sends > c.m.most && a.ext&extForwardTSN != 0 {
		a.abandon(now, c.m)
	}
}

// refute takes a sign that a chunk was not lost when it was taken so. When that is true of all of them, the window is as
// it was before; after a timeout, which takes everything as lost, when it is true of half (in place of RFC 5682, which
// looks at the first acknowledgements).
func (a *Association) refute(tsn int64) {
	s := &a.send
	c := &s.cc
	if c.saved.window == 0 || tsn > c.recovery {
		return
	}
	c.doubt.refuted++
	if c.doubt.refuted < c.doubt.marked && !(c.timedOut && 2*c.doubt.refuted >= c.doubt.marked) {
		return
	}
	if c.timedOut { // what was not sent again is under way still
		for tsn := s.next - 1; tsn > s.acked; tsn-- {
			if o := s.at(tsn); o.fate == missing && o.sends == 1 {
				s.missing--
				s.relaunch(tsn)
			}
		}
	}
	c.undo()
	a.stats.Undone++
}

// armProbe sets the timer of the probe (RFC 8985 section 7.2): after two round trips without a word, and the time by which
// the peer may delay its acknowledgement of a single packet; when T3 would expire, at the latest.
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
	a.timer[timerProbe] = min(now.Add(wait), a.timer[timerRetransmit])
}

// probeTimeout sends something new, or the last chunk again, so that the acknowledgement shows what is missing before it
// (RFC 8985 section 7.3).
func (a *Association) probeTimeout(now mono.Time) {
	s := &a.send
	a.timer[timerRetransmit] = now.Add(a.path.rto)
	if len(s.ready) > 0 && s.missing == 0 && s.peerWindow >= s.cc.packet {
		s.rack.probed = true
		s.cc.burst = true
		return
	}
	for tsn := s.next - 1; tsn > s.acked; tsn-- {
		c := s.at(tsn)
		if c.fate != flying {
			continue
		}
		if c.sends > c.m.most {
			return // it must not be sent again
		}
		s.rack.probed, s.rack.probe = true, tsn
		s.cc.burst = true
		a.miss(now, tsn, c)
		s.cc.doubt.marked-- // nobody says that it is lost
		return
	}
}

// judgeProbe finds out whether the chunk that was sent again as a probe had been lost (RFC 8985 section 7.4.2): if what was
// sent after it is acknowledged, and the peer has not said that it got the chunk twice, it had. again says that a SACK told
// nothing new.
func (a *Association) judgeProbe(again bool) {
	s := &a.send
	switch {
	case s.rack.probe == noTSN || s.acked < s.rack.probe:
	case s.acked > s.rack.probe:
		a.enterRecovery(1)
		s.cc.burst = false // there is nothing to repair
	case again:
		s.rack.probe = noTSN // a peer that does not report duplicates acknowledges them nevertheless
	}
}

// retransmitTimeout is T3 (RFC 9260 section 6.3.3).
func (a *Association) retransmitTimeout(now mono.Time) {
	s := &a.send
	if s.next == s.acked+1 {
		return
	}
	a.stats.Timeouts++
	if a.struck() {
		return
	}
	if s.idle() { // what was lost are reports of what was given up, and they say nothing of congestion
		a.path.backOff()
		a.due |= dueForward
		a.timer[timerRetransmit] = now.Add(a.path.rto)
		return
	}
	if !s.cc.timedOut {
		s.cc.doubt = doubt{}
	}
	s.cc.timeout(s.next - 1)
	a.timer[timerLoss], a.timer[timerProbe], a.timer[timerPace] = mono.Never, mono.Never, mono.Never
	a.path.backOff()
	s.timed = 0
	s.rack.forget()
	s.rack.probe = noTSN
	for tsn := s.acked + 1; tsn < s.next; tsn++ {
		if c := s.at(tsn); c.fate == flying {
			a.miss(now, tsn, c)
		}
	}
	s.lowest = s.acked + 1
	a.proceedForward(now)
	if s.advanced > s.acked {
		a.due |= dueForward
	}
	if s.missing == 0 {
		a.timer[timerRetransmit] = now.Add(a.path.rto)
	}
	a.afterAck(now)
}
