package sctp

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/seqnum"
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
		for tsn := max(m.first, s.acked+1); tsn <= m.last; tsn++ {
			c := s.at(tsn)
			if c.m != m {
				continue // messages are interleaved
			}
			switch c.fate {
			case flying:
				s.land(c, abandoned)
			case missing:
				s.missing--
			case arrived:
				s.arrived--
			}
			c.fate = abandoned
		}
	}
	if rest := len(m.data) - m.cut; rest > 0 {
		if m.counts() {
			a.unbuffer(m.ch, rest)
		}
		s.done(m)
		m.data = m.data[:m.cut]
		if m.cut > 0 { // a TSN for the end that will not come, so that the peer hears of it
			s.chunks = append(s.chunks, outChunk{m: m, flags: flagEnd, fate: abandoned})
			m.last = s.next
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
	if s.advanced > s.acked && (s.advanced > was || now.Sub(s.forwarded) >= a.path.srtt) {
		a.due |= dueForward
		if a.timer[timerRetransmit] == mono.Never {
			a.timer[timerRetransmit] = now.Add(a.path.rto)
		}
	}
}

// appendForward appends a FORWARD TSN with the last number of each ordered stream that is skipped, or an I-FORWARD-TSN
// with those of what is unordered too (RFC 8260 section 2.3.1).
func (a *Association) appendForward(b []byte, limit int, now mono.Time) []byte {
	a.due &^= dueForward
	s := &a.send
	if s.advanced <= s.acked {
		return b
	}
	start := len(b)
	kind, size := typeForwardTSN, 4
	if s.interleave {
		kind, size = typeIForwardTSN, 8
	}
	b = append(b, byte(kind), 0, 0, 0)
	b = wire.AppendUint32(b, 0)
	list := len(b)
	last := s.acked
	for tsn := s.acked + 1; tsn <= s.advanced; tsn++ {
		m := s.at(tsn).m
		if !m.unordered || s.interleave {
			at := list
			for at < len(b) && !m.namedBy(b[at:at+size]) {
				at += size
			}
			if at == len(b) {
				if len(b)+size > limit {
					break
				}
				b = wire.AppendZeros(b, size)
			}
			m.name(b[at : at+size])
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
	a.armProbe(now)
	return b
}

// name writes the entry that says that m is skipped.
func (m *outMessage) name(entry []byte) {
	binary.BigEndian.PutUint16(entry, uint16(m.ch.id))
	if len(entry) == 4 {
		binary.BigEndian.PutUint16(entry[2:], uint16(m.number))
		return
	}
	if entry[3] = 0; m.unordered {
		entry[3] = 1
	}
	binary.BigEndian.PutUint32(entry[4:], m.number)
}

// namedBy reports whether an entry is for m's stream, and for what is unordered if m is.
func (m *outMessage) namedBy(entry []byte) bool {
	return binary.BigEndian.Uint16(entry) == uint16(m.ch.id) && (len(entry) == 4 || entry[3] == 1 == m.unordered)
}

// handleForwardTSN moves on to where the peer says (section 3.6), and returns whether it counts as data.
func (a *Association) handleForwardTSN(now mono.Time, c chunk) bool {
	in := wire.NewReader(c.value)
	rx := &a.receive
	tsn := near(rx.cumulative, in.Uint32())
	size := 4
	if c.kind == typeIForwardTSN {
		size = 8
	}
	if (size == 8) != a.send.interleave { // RFC 8260 section 2.3.1
		a.violate("what is skipped is not told in the way that was agreed on")
		return false
	}
	if !in.OK() || in.Len()%size != 0 {
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
	was := rx.cumulative
	rx.moveTo(tsn)
	a.skipParts(was, tsn)
	for in.Len() > 0 {
		id, number, unordered := StreamID(in.Uint16()), uint32(in.Uint16()), false
		if size == 8 {
			unordered = number&1 != 0
			number = in.Uint32()
		}
		ch := a.channels[id]
		if ch == nil {
			ch = a.newChannel(id) // what comes on it later begins after number
		}
		switch {
		case ch == nil:
		case unordered:
			a.giveUp(ch, true, number)
			if seqnum.Before(ch.floor, number+1) {
				ch.floor = number + 1
			}
		default:
			a.giveUp(ch, false, number)
			a.skipTo(now, ch, a.number(ch, number))
		}
	}
	a.pendingResetMayGoOn(now)
	return true
}
