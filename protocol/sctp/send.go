package sctp

import (
	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// outChunk is a DATA chunk that was sent.
type outChunk struct {
	m        *outMessage
	from     int // in the message
	size     int
	fragment uint32 // FSN
	flags    uint8
	fate     fate
	packet   uint16    // size of the packet that it was last sent in, if the path may come to carry less; see pathMTU
	sends    uint32    // how often it was sent
	sentAt   mono.Time // the last time

	before, after int64 // while it flies: its neighbours in the order of sending
}

// fate is what became of a chunk.
type fate uint8

const (
	flying  fate = iota // and counted as outstanding
	arrived             // a gap block says so; it may be taken back
	missing             // to be sent again
	abandoned
)

// maxFlight is how many chunks may be under way, however small they are: gap blocks and SSNs have 16 bits (section 6.1).
const maxFlight = 1<<16 - 1

// sender is the sending side: what waits, and what is on its way (RFC 9260 section 6).
type sender struct {
	sendQueue
	cc          congestion
	pacer       pacer
	rack        rack
	chunks      []outChunk // of TSN acked+1 to next-1, from head on
	head        int
	acked       int64 // the cumulative TSN that the peer acknowledged
	next        int64 // the next TSN
	advanced    int64 // Advanced.Peer.Ack.Point of RFC 3758
	forwarded   mono.Time
	outstanding int       // bytes flying
	missing     int       // chunks to be sent again
	arrived     int       // chunks that gap blocks acknowledged
	spans       []span    // of what they acknowledged
	spare       []span    // memory for the next
	reneged     mono.Time // when the peer last took some of it back
	oldest      int64     // the chunk under way that was sent first; noTSN: none
	latest      int64     // and last
	launched    int       // chunks in the packet that is being written
	lowest      int64     // no chunk before it is missing
	first       int64     // no chunk before it is missing or flying
	peerWindow  int
	timed       int64 // the TSN whose round trip is measured; 0: none
	timedAt     mono.Time
}

func (s *sender) init(tsn uint32, packet int) {
	*s = sender{acked: int64(tsn) - 1, next: int64(tsn), advanced: int64(tsn) - 1, oldest: noTSN, latest: noTSN}
	s.cc.init(packet - headerSize)
	s.rack.init(int64(tsn))
}

func (s *sender) drop() {
	*s = sender{acked: s.acked, next: s.next, advanced: s.acked, oldest: noTSN, latest: noTSN}
}

// at returns the chunk with a TSN that is in chunks.
func (s *sender) at(tsn int64) *outChunk { return &s.chunks[s.head+int(tsn-s.acked-1)] }

// empty reports whether everything was acknowledged and nothing waits.
func (s *sender) empty() bool { return s.next == s.acked+1 && len(s.ready) == 0 }

// earliest returns the TSN of the earliest chunk that is outstanding or to be sent again; next if there is none. What was
// given up is not outstanding (RFC 3758 section 3.5).
func (s *sender) earliest() int64 {
	for s.first = max(s.first, s.acked+1); s.first < s.next; s.first++ {
		if f := s.at(s.first).fate; f == flying || f == missing {
			break
		}
	}
	return s.first
}

// idle reports whether nothing is under way or to be sent again: what the peer has not acknowledged was given up.
func (s *sender) idle() bool { return s.outstanding+s.missing == 0 }

// chunkHeader returns the size of the header of a chunk of data.
func (s *sender) chunkHeader() int {
	if s.interleave {
		return iDataHeader
	}
	return dataHeader
}

// mayGrowFlight reports whether the window of congestion lets size more bytes out. One chunk more than fits is allowed
// (section 6.1, rule B).
func (s *sender) mayGrowFlight() bool {
	return s.outstanding < s.cc.window || s.cc.burst || s.cc.replaces()
}

// appendData appends what may be sent of what is missing, and then of what is new.
func (a *Association) appendData(b []byte, limit int, now mono.Time) []byte {
	s := &a.send
	if a.state == stateShutdownSent || a.state == stateShutdownAckSent {
		return b
	}
	if s.cc.window <= s.cc.packet && s.outstanding > 0 {
		return b // section 7.2.1: after a timeout only one packet is in flight
	}
	if !s.cc.burst && a.held(now) {
		if s.missing > 0 || len(s.ready) > 0 {
			s.cc.limited = s.next - 1
		}
		return b
	}
	if s.missing > 0 {
		if b = a.appendMissing(b, limit, now); s.missing > 0 {
			return b // rule C: what is new waits
		}
	}
	if len(s.ready) == 0 {
		return b
	}
	start := len(b)
	if s.outstanding == 0 && a.lastSent != 0 && now.Sub(a.lastSent) >= a.path.rto {
		for range min(now.Sub(a.lastSent)/a.path.rto, 32) {
			s.cc.rested()
		}
	}
	for len(s.ready) > 0 {
		if !s.mayGrowFlight() || !s.cc.burst && a.held(now) {
			s.cc.limited = s.next - 1
			break
		}
		if s.next-s.acked > maxFlight {
			break
		}
		room := (limit - len(b) - s.chunkHeader()) &^ 3
		m := s.pick(s.cc.packet - s.chunkHeader())
		if m == nil {
			break
		}
		if now >= m.expires {
			if m.cut == 0 || a.ext&extForwardTSN != 0 {
				a.abandon(now, m)
				continue
			}
		}
		n := min(len(m.data)-m.cut, room)
		const crumb = 256 // no fragment is cut smaller to fill a packet
		if n <= 0 || n < len(m.data)-m.cut && n < crumb {
			a.due |= dueSack // if that is all there is in this packet, it must go first
			a.packetFull(now)
			break
		}
		if n > s.peerWindow && s.outstanding > 0 {
			break // rule A: into a closed window goes one chunk, as a probe
		}
		b = a.appendNew(b, m, n, now)
	}
	if len(b) > start {
		s.cc.burst = false
	}
	return b
}

// appendNew cuts the next chunk off m.
func (a *Association) appendNew(b []byte, m *outMessage, n int, now mono.Time) []byte {
	s := &a.send
	c := outChunk{m: m, from: m.cut, size: n, fragment: m.fragments}
	if m.cut == 0 {
		c.flags |= flagBegin
		m.first = s.next
		m.unordered = m.unordered && !m.ch.waitsForAck
		m.number = m.ch.take(m.unordered)
	}
	if m.unordered {
		c.flags |= flagUnordered
	}
	if m.cut+n == len(m.data) {
		c.flags |= flagEnd
		a.stats.MessagesSent++
	}
	s.cut(m, n)
	m.chunks++
	tsn := s.next
	m.last = tsn
	s.next++
	if s.head > 64 && s.head > len(s.chunks)/2 {
		left := copy(s.chunks, s.chunks[s.head:])
		clear(s.chunks[left:])
		s.chunks, s.head = s.chunks[:left], 0
	}
	s.chunks = append(s.chunks, c)
	if s.timed == 0 {
		s.timed, s.timedAt = tsn, now
	}
	b = a.appendChunkData(b, tsn, s.at(tsn), now)
	a.armProbe(now)
	if m.counts() {
		a.unbuffer(m.ch, n)
	}
	return b
}

// appendMissing sends chunks again, the oldest first.
func (a *Association) appendMissing(b []byte, limit int, now mono.Time) []byte {
	s := &a.send
	start := len(b)
	for s.lowest = max(s.lowest, s.acked+1); s.lowest < s.next && s.missing > 0; s.lowest++ {
		c := s.at(s.lowest)
		if c.fate != missing {
			continue
		}
		if now >= c.m.expires && a.ext&extForwardTSN != 0 {
			a.abandon(now, c.m)
			continue
		}
		if !s.mayGrowFlight() || c.size > s.peerWindow && s.outstanding > 0 {
			break
		}
		if need := s.chunkHeader() + c.size + wire.Pad4(c.size); len(b)+need > limit {
			empty := limit - a.mtu.size + headerSize
			if len(b) > empty {
				a.due |= dueSack // if that is all there is in this packet, it must go first
				break
			}
			// It is larger than the path carries, and cannot be cut again (section 6.9): it goes alone, and may be fragmented.
		}
		s.missing--
		a.stats.ChunksRetransmitted++
		s.rack.again = max(s.rack.again, s.lowest)
		s.timed = 0 // rule C5 of section 6.3.1, Karn's
		if s.lowest == s.earliest() {
			a.timer[timerRetransmit] = mono.Never // rule 4 of section 7.2.4: it starts anew
		}
		b = a.appendChunkData(b, s.lowest, c, now)
	}
	if len(b) > start {
		s.cc.burst = false
	}
	return b
}

func (a *Association) appendChunkData(b []byte, tsn int64, c *outChunk, now mono.Time) []byte {
	kind := typeData
	if a.send.interleave {
		kind = typeIData
	}
	b = append(b, byte(kind), c.flags)
	b = wire.AppendUint16(b, uint16(a.send.chunkHeader()+c.size))
	b = wire.AppendUint32(b, uint32(tsn))
	b = wire.AppendUint16(b, uint16(c.m.ch.id))
	if kind == typeIData { // RFC 8260 section 2.1
		b = wire.AppendUint16(b, 0)
		b = wire.AppendUint32(b, c.m.number)
	} else {
		b = wire.AppendUint16(b, uint16(c.m.number))
	}
	if c.fragment == 0 || kind == typeData {
		b = wire.AppendUint32(b, c.m.ppid)
	} else {
		b = wire.AppendUint32(b, c.fragment)
	}
	b = append(b, c.m.data[c.from:c.from+c.size]...)
	b = wire.AppendZeros(b, wire.Pad4(c.size))
	c.sends++
	c.sentAt = now
	a.send.launch(tsn)
	a.paced(now, c.size)
	a.send.cc.released += c.size
	a.send.peerWindow = max(0, a.send.peerWindow-c.size)
	a.stats.BytesSent += uint64(c.size)
	a.lastSent = now
	if a.timer[timerRetransmit] == mono.Never {
		a.timer[timerRetransmit] = now.Add(a.path.rto)
	}
	return b
}
