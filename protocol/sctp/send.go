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
	misses   uint8     // SACKs that showed later ones arrive
	fast     bool      // was retransmitted because of them
	sends    uint32    // how often it was sent
	sentAt   mono.Time // the last time
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
	rack        rack
	chunks      []outChunk // of TSN acked+1 to next-1, from head on
	head        int
	acked       int64 // the cumulative TSN that the peer acknowledged
	next        int64 // the next TSN
	advanced    int64 // Advanced.Peer.Ack.Point of RFC 3758
	forwarded   mono.Time
	outstanding int   // bytes flying
	missing     int   // chunks to be sent again
	arrived     int   // chunks that gap blocks acknowledged
	lowest      int64 // no chunk before it is missing
	peerWindow  int
	timed       int64 // the TSN whose round trip is measured; 0: none
	timedAt     mono.Time
}

func (s *sender) init(tsn uint32, packet int) {
	*s = sender{acked: int64(tsn) - 1, next: int64(tsn), advanced: int64(tsn) - 1}
	s.cc.init(packet - headerSize)
}

func (s *sender) drop() {
	*s = sender{acked: s.acked, next: s.next, advanced: s.acked}
}

// at returns the chunk with a TSN that is in chunks.
func (s *sender) at(tsn int64) *outChunk { return &s.chunks[s.head+int(tsn-s.acked-1)] }

// empty reports whether everything was acknowledged and nothing waits.
func (s *sender) empty() bool { return s.next == s.acked+1 && len(s.ready) == 0 }

// chunkHeader returns the size of the header of a chunk of data.
func (s *sender) chunkHeader() int {
	if s.interleave {
		return iDataHeader
	}
	return dataHeader
}

// mayGrowFlight reports whether the window of congestion lets size more bytes out. One chunk more than fits is allowed
// (section 6.1, rule B).
func (s *sender) mayGrowFlight() bool { return s.outstanding < s.cc.window || s.cc.burst }

// appendData appends what may be sent of what is missing, and then of what is new.
func (a *Association) appendData(b []byte, limit int, now mono.Time) []byte {
	s := &a.send
	if a.state == stateShutdownSent || a.state == stateShutdownAckSent {
		return b
	}
	if s.cc.window <= s.cc.packet && s.outstanding > 0 {
		return b // section 7.2.1: after a timeout only one packet is in flight
	}
	if s.missing > 0 {
		if b = a.appendMissing(b, limit, now); s.missing > 0 {
			return b // rule C: what is new waits
		}
	}
	if len(s.ready) == 0 {
		return b
	}
	if s.outstanding == 0 && a.lastSent != 0 && now.Sub(a.lastSent) >= a.path.rto {
		for range min(now.Sub(a.lastSent)/a.path.rto, 32) {
			s.cc.rested()
		}
	}
	for s.outstanding < s.cc.window {
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
			break
		}
		if n > s.peerWindow && s.outstanding > 0 {
			break // rule A: into a closed window goes one chunk, as a probe
		}
		b = a.appendNew(b, m, n, now)
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
		if len(b)+s.chunkHeader()+c.size+wire.Pad4(c.size) > limit {
			break
		}
		s.missing--
		c.fate, c.misses = flying, 0
		a.stats.ChunksRetransmitted++
		s.timed = 0 // rule C5 of section 6.3.1, Karn's
		if s.lowest == s.acked+1 {
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
	a.send.outstanding += c.size
	a.send.peerWindow = max(0, a.send.peerWindow-c.size)
	a.stats.BytesSent += uint64(c.size)
	a.lastSent = now
	if a.timer[timerRetransmit] == mono.Never {
		a.timer[timerRetransmit] = now.Add(a.path.rto)
	}
	return b
}

// handleSack takes an acknowledgement (section 6.2.1).
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
	before := s.outstanding
	advanced := cumulative > s.acked
	fresh := a.pass(now, cumulative)
	more, lost := a.takeGaps(now, &in, advanced)
	fresh += more
	s.cc.acknowledged(now, a.path.srtt, fresh, before)
	if a.detectLoss(now) || lost {
		a.enterRecovery()
	}
	s.cc.passed(s.acked)
	s.peerWindow = max(0, int(in.window)-s.outstanding)
	if fresh > 0 || in.window == 0 {
		a.alive() // a closed window is a sign of life too (section 6.1, rule A)
	}
	a.proceedForward(now)
	switch {
	case s.next == s.acked+1:
		a.timer[timerRetransmit] = mono.Never
		a.timer[timerLoss] = mono.Never
	case advanced || a.timer[timerRetransmit] == mono.Never:
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
		switch c.fate {
		case flying:
			s.outstanding -= c.size
			fresh += c.size
			s.rack.delivered(now, c)
		case missing:
			s.missing--
			fresh += c.size
			s.rack.delivered(now, c)
		case arrived:
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

// release frees m if no chunk of it is left and none will come.
func (a *Association) release(m *outMessage) {
	if m.chunks > 0 || m.cut < len(m.data) {
		return
	}
	m.ch.unacked--
	if m.pooled {
		a.pool.put(m.data)
	}
	a.send.recycle(m)
}

// takeGaps marks what the gap blocks of a SACK say has arrived and what they show is missing. It returns the bytes newly
// acknowledged and whether a chunk was found to be lost.
func (a *Association) takeGaps(now mono.Time, in *sackChunk, advanced bool) (fresh int, lost bool) {
	s := &a.send
	if in.gapCount == 0 && s.arrived == 0 {
		return 0, false
	}
	// First what has arrived: the highest newly acknowledged decides what counts as missing (HTNA).
	highest, newest := s.acked, s.acked
	gaps := in.gaps
	at := s.acked + 1
	for range in.gapCount {
		from, to := s.acked+int64(gaps.Uint16()), s.acked+int64(gaps.Uint16())
		if from < at || to < from || to >= s.next {
			continue // nonsense, or not of ours
		}
		a.takenBack(at, from)
		for tsn := from; tsn <= to; tsn++ {
			c := s.at(tsn)
			switch c.fate {
			case flying:
				s.outstanding -= c.size
			case missing:
				s.missing--
			default:
				continue
			}
			c.fate = arrived
			s.arrived++
			s.rack.delivered(now, c)
			fresh += c.size
			newest = tsn
			if tsn == s.timed {
				a.path.measured(now.Sub(s.timedAt))
				s.timed = 0
			}
		}
		at, highest = to+1, to
	}
	a.takenBack(at, s.next)
	// Section 7.2.4: in fast recovery a SACK that moves on counts for everything that it shows missing.
	if s.cc.inFast && advanced {
		newest = highest
	}
	for tsn := s.acked + 1; tsn < newest; tsn++ {
		c := s.at(tsn)
		if c.fate != flying || c.fast {
			continue
		}
		if c.misses++; c.misses >= 3 {
			c.fast = true
			lost = true
			a.miss(now, tsn, c)
		}
	}
	return fresh, lost
}

// takenBack looks for chunks in no gap block that were in one before: the peer has thrown them away (section 6.2.1,
// rule iii).
func (a *Association) takenBack(from, to int64) {
	s := &a.send
	for tsn := from; tsn < to && s.arrived > 0; tsn++ {
		if c := s.at(tsn); c.fate == arrived {
			c.fate = flying
			c.misses++
			s.arrived--
			s.outstanding += c.size
		}
	}
}

// miss marks a flying chunk as lost, or gives its message up.
func (a *Association) miss(now mono.Time, tsn int64, c *outChunk) {
	s := &a.send
	s.outstanding -= c.size
	s.peerWindow += c.size // section 6.2.1, rule C
	c.fate = missing
	s.missing++
	s.lowest = min(s.lowest, tsn)
	if c.sends > c.m.most && a.ext&extForwardTSN != 0 {
		a.abandon(now, c.m)
	}
}

// retransmitTimeout is T3 (section 6.3.3).
func (a *Association) retransmitTimeout(now mono.Time) {
	s := &a.send
	if s.next == s.acked+1 {
		return
	}
	a.stats.Timeouts++
	if a.struck() {
		return
	}
	s.cc.timeout(s.next - 1)
	a.timer[timerLoss], a.timer[timerProbe] = mono.Never, mono.Never
	a.path.backOff()
	s.timed = 0
	for tsn := s.acked + 1; tsn < s.next; tsn++ {
		c := s.at(tsn)
		c.misses, c.fast = 0, false
		if c.fate == flying {
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
