package sctp

import "github.com/parley-rtc/parley/protocol/mono"

// handleSack takes an acknowledgement (RFC 9260 section 6.2.1).
func (a *Association) handleSack(now mono.Time, c chunk) {
	in, ok := parseSack(c.value)
	if !ok {
		a.stats.DroppedMalformed++
		return
	}
	s := &a.send
	cumulative := near(s.acked, in.cumulative)
	if cumulative < s.acked {
		return // older than one that came before
	}
	if cumulative >= s.next {
		a.violate("a TSN was acknowledged that was never sent")
		return
	}
	earliest := s.earliest()
	full := s.outstanding+s.cc.packet > s.cc.window || earliest <= s.cc.limited
	advanced := cumulative > s.acked
	s.rack.sample = 0
	fresh := a.pass(now, cumulative)
	fresh += a.takeGaps(now, &in, advanced)
	a.takeDuplicates(&in)
	s.cc.measured(s.earliest()-1, s.next, s.rack.sample)
	s.cc.acknowledged(now, a.path.srtt, fresh, full)
	a.judgeProbe(!advanced && in.gapCount == 0)
	if lost := a.detectLoss(now); lost > 0 {
		a.enterRecovery(lost)
	}
	s.cc.passed(s.earliest() - 1) // not the cumulative TSN: that may wait for FORWARD TSNs
	s.peerWindow = max(0, int(in.window)-s.outstanding)
	s.mayBegin = max(s.mayBegin, int(in.window)/2)
	if advanced || fresh > 0 || in.window == 0 {
		a.alive() // a closed window is a sign of life too (section 6.1, rule A)
	}
	if advanced {
		a.path.answered()
		s.rack.probed = false
	}
	a.proceedForward(now)
	switch {
	case s.next == s.acked+1:
		a.timer[timerRetransmit] = mono.Never
		a.timer[timerLoss] = mono.Never
	case s.earliest() > earliest, advanced && s.idle(), a.timer[timerRetransmit] == mono.Never: // section 6.3.2, rule R3
		a.timer[timerRetransmit] = now.Add(a.path.rto)
	}
	a.armProbe(now)
	a.afterAck(now)
}

// acknowledgeUpTo takes the cumulative acknowledgement of a SHUTDOWN.
func (a *Association) acknowledgeUpTo(now mono.Time, tsn uint32) {
	s := &a.send
	cumulative := near(s.acked, tsn)
	if cumulative <= s.acked || cumulative >= s.next {
		return
	}
	a.pass(now, cumulative)
	a.alive()
	if s.next == s.acked+1 {
		a.timer[timerRetransmit] = mono.Never
		a.timer[timerLoss], a.timer[timerProbe] = mono.Never, mono.Never
	}
	a.afterAck(now)
}

// pass takes what is cumulatively acknowledged out of the window and returns how many bytes of it are newly so.
func (a *Association) pass(now mono.Time, cumulative int64) (fresh int) {
	s := &a.send
	if s.timed != 0 && s.timed <= cumulative {
		if s.at(s.timed).fate == flying {
			a.path.measured(now.Sub(s.timedAt))
		}
		s.timed = 0
	}
	for s.acked < cumulative {
		c := &s.chunks[s.head]
		fresh += a.arrive(now, s.acked+1, c)
		if c.fate == arrived {
			s.arrived--
		}
		m := c.m
		*c = outChunk{}
		s.head++
		s.acked++
		m.chunks--
		a.release(m)
	}
	if s.head == len(s.chunks) {
		s.chunks, s.head = s.chunks[:0], 0
	}
	s.advanced = max(s.advanced, s.acked)
	return fresh
}

// arrive notes that a chunk was acknowledged and returns its size, or 0 if that was known.
func (a *Association) arrive(now mono.Time, tsn int64, c *outChunk) int {
	s := &a.send
	switch c.fate {
	case flying:
		s.land(c, arrived)
	case missing:
		s.missing--
		c.fate = arrived
		a.refute(tsn) // it was not sent again, and is there
	default:
		return 0
	}
	s.arrived++
	if c.packet > 0 && c.sends == 1 {
		a.carried(now, c.sentAt, int(c.packet))
	}
	s.rack.delivered(now, tsn, c)
	return c.size
}

// release frees m if no chunk of it is left and none will come.
func (a *Association) release(m *outMessage) {
	if m.chunks > 0 || m.cut < len(m.data) {
		return
	}
	m.ch.unacked--
	a.pool.put(m.data)
	a.send.recycle(m)
}

// takeGaps marks what the gap blocks of a SACK say has arrived, and returns the bytes newly acknowledged. Most of what
// they say was said by the SACK before, so only what differs is looked at.
func (a *Association) takeGaps(now mono.Time, in *sackChunk, advanced bool) (fresh int) {
	s := &a.send
	known := s.spans
	for len(known) > 0 && known[0].to <= s.acked {
		known = known[1:]
	}
	if in.gapCount == 0 && len(known) == 0 {
		s.spans = s.spans[:0]
		return 0
	}
	spans := s.spare[:0]
	newest, highest := s.acked, s.acked
	for range in.gapCount {
		from, to := s.acked+int64(in.gaps.Uint16()), s.acked+int64(in.gaps.Uint16())
		if from <= highest || to < from || to >= s.next {
			continue // nonsense, or not of ours
		}
		highest = to
		spans = append(spans, span{from, to})
	}
	s.spare = spans
	if now.Sub(s.reneged) < a.path.rto && a.reneges(known, spans, in.gapCount) {
		return 0 // every chunk that changes costs, and so often no peer can run out of memory
	}
	for _, n := range spans {
		for at := n.from; at <= n.to; {
			for len(known) > 0 && known[0].to < at {
				known = known[1:]
			}
			if len(known) > 0 && known[0].from <= at {
				at = known[0].to + 1
				continue
			}
			until := n.to
			if len(known) > 0 {
				until = min(n.to, known[0].from-1)
			}
			for ; at <= until; at++ {
				c := s.at(at)
				if at == s.timed && c.fate == flying {
					a.path.measured(now.Sub(s.timedAt))
					s.timed = 0
				}
				if n := a.arrive(now, at, c); n > 0 {
					fresh += n
					newest = at
				}
			}
		}
	}
	spans = a.takeBack(now, spans, in.gapCount)
	s.spare, s.spans = s.spans, spans
	// Section 7.2.4: in fast recovery a SACK that moves on counts for everything that it shows missing.
	if s.cc.inFast && advanced {
		newest = highest
	}
	if newest > s.acked {
		s.rack.reported(newest)
	}
	return fresh
}

// many gap blocks may be all that there was room for: they say nothing about what follows them.
const many = 100

// reneges reports whether a SACK with so many blocks leaves out what was reported before.
func (a *Association) reneges(known, spans []span, blocks int) bool {
	for _, k := range known {
		from := max(k.from, a.send.acked+1)
		for len(spans) > 0 && spans[0].to < from {
			spans = spans[1:]
		}
		switch {
		case len(spans) == 0:
			return blocks < many
		case spans[0].from > from || spans[0].to < k.to:
			return true
		}
	}
	return false
}

// takeBack looks for chunks in no gap block that were in one before: the peer has thrown them away (section 6.2.1, rule
// iii).
func (a *Association) takeBack(now mono.Time, spans []span, blocks int) []span {
	s := &a.send
	i := 0
	count := len(spans)
	for _, k := range s.spans {
		if blocks >= many && count > 0 && k.from > spans[count-1].to {
			spans = append(spans, k)
			continue
		}
		for at := max(k.from, s.acked+1); at <= k.to; {
			for i < count && spans[i].to < at {
				i++
			}
			if i < count && spans[i].from <= at {
				at = spans[i].to + 1
				continue
			}
			if c := s.at(at); c.fate == arrived {
				s.arrived--
				s.relaunch(at)
				s.reneged = now
			}
			at++
		}
	}
	return spans
}

// takeDuplicates looks at what the peer says it got twice: if it was sent twice, that was in vain.
func (a *Association) takeDuplicates(in *sackChunk) {
	s := &a.send
	for in.duplicates.Len() > 0 {
		tsn := near(s.acked, in.duplicates.Uint32())
		if tsn > s.rack.again || tsn > s.acked && s.at(tsn).sends == 1 {
			continue // the network doubled it
		}
		if tsn == s.rack.probe {
			s.rack.probe = noTSN // it had not been lost, and says nothing of the order
			continue
		}
		s.rack.widen(s.acked, s.next)
		a.refute(tsn)
	}
}
