package sctp

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Partial reliability (RFC 3758, with the policies of RFC 7496): a message whose time is up or that was sent too often
// is given up as a whole, and the peer is told not to wait for it.

// abandon gives m up. It must be in chunks, or be the current one.
func (a *Association) abandon(now mono.Time, m *outMessage) {
	s := &a.send
	a.stats.MessagesAbandoned++
	if m.chunks > 0 {
		for tsn := max(m.first, s.acked+1); tsn < s.next && s.at(tsn).m == m; tsn++ {
			c := s.at(tsn)
			switch c.fate {
			case flying:
				s.outstanding -= c.size
			case missing:
				s.missing--
			case arrived:
				s.arrived--
			}
			c.fate = abandoned
		}
	}
	if rest := len(m.data) - m.cut; rest > 0 {
		if !m.internal {
			a.unbuffer(m.ch, rest)
		}
		s.done()
		m.data = m.data[:m.cut]
		if m.cut > 0 { // a TSN for the end that will not come, so that the peer hears of it
			s.chunks = append(s.chunks, outChunk{m: m, flags: flagEnd, fate: abandoned})
			s.next++
			m.chunks++
		}
	}
	a.release(m)
	a.proceedForward(now)
}

// proceedForward moves the point up to which the peer need not wait, and tells it (section 3.5, C1 to C5).
func (a *Association) proceedForward(now mono.Time) {
	s := &a.send
	was := s.advanced
	for s.advanced+1 < s.next && s.at(s.advanced+1).fate == abandoned {
		s.advanced++
	}
	// Repeated once a round trip, until the peer has taken it.
	if s.advanced > s.acked && (s.advanced > was || now.Sub(s.forwarded) >= max(a.path.srtt, sackDelay)) {
		a.due |= dueForward
		if a.timer[timerRetransmit] == mono.Never {
			a.timer[timerRetransmit] = now.Add(a.path.rto)
		}
	}
}

// appendForward appends a FORWARD TSN with the last number of each ordered stream that is skipped.
func (a *Association) appendForward(b []byte, limit int, now mono.Time) []byte {
	a.due &^= dueForward
	s := &a.send
	if s.advanced <= s.acked {
		return b
	}
	start := len(b)
	b = append(b, byte(typeForwardTSN), 0, 0, 0)
	b = wire.AppendUint32(b, 0)
	list := len(b)
	last := s.acked
	for tsn := s.acked + 1; tsn <= s.advanced; tsn++ {
		m := s.at(tsn).m
		if !m.unordered {
			at := list
			for at < len(b) && binary.BigEndian.Uint16(b[at:]) != uint16(m.ch.id) {
				at += 4
			}
			if at == len(b) {
				if len(b)+4 > limit {
					break
				}
				b = wire.AppendUint16(b, uint16(m.ch.id))
				b = wire.AppendUint16(b, 0)
			}
			binary.BigEndian.PutUint16(b[at+2:], m.ssn)
		}
		last = tsn
	}
	if last == s.acked {
		a.due |= dueForward // no room here
		return b[:start]
	}
	binary.BigEndian.PutUint32(b[start+4:], uint32(last))
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start))
	s.forwarded = now
	return b
}

// handleForwardTSN moves on to where the peer says (section 3.6), and returns whether it counts as data.
func (a *Association) handleForwardTSN(now mono.Time, c chunk) bool {
	in := wire.NewReader(c.value)
	rx := &a.receive
	tsn := near(rx.cumulative, in.Uint32())
	if !in.OK() || in.Len()%4 != 0 {
		a.stats.DroppedMalformed++
		return false
	}
	if tsn > rx.cumulative+maxAhead {
		a.stats.DroppedMalformed++
		return false
	}
	if tsn <= rx.cumulative {
		a.due |= dueSack
		a.sackPending = true
		return true
	}
	rx.moveTo(tsn)
	a.dropRuns(tsn)
	for in.Len() > 0 {
		id, ssn := StreamID(in.Uint16()), in.Uint16()
		ch := a.channels[id]
		if ch == nil {
			ch = a.newChannel(id) // what comes on it later begins after ssn
		}
		if ch != nil {
			a.skipTo(now, ch, ssn)
		}
	}
	a.pendingResetMayGoOn(now)
	return true
}
