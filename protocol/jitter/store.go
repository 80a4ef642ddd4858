package jitter

import (
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

const (
	firstSlots  = 32
	usualPacket = 1500
	maxPacket   = 2048 // longer ones are not taken: no path of WebRTC carries them whole
)

// A slot holds one packet.
type slot struct {
	packet  []byte // as it is on the wire; nil: not here
	payload []byte // part of it
	ts      int64
	arrival mono.Time
	marker  bool
	filler  bool // nothing but padding
	done    bool // its frame is complete
	linked  bool // all of its frame from start up to here is here
	start   int64
	kind    format
	part    payload.Part
	needs   dependency
}

// A store holds the packets from number next on: a ring of slots by sequence number, that grows up to a limit.
type store struct {
	slots []slot
	limit int
	next  int64     // the first that has neither been given out nor up
	high  int64     // the highest that was put, or next-1
	held  int       // packets that are here
	hole  int64     // the first that is not here
	since mono.Time // when it was seen that it is not, if high is beyond it
	free  [][]byte
}

func (s *store) begin(at int64) {
	s.next, s.high, s.hole = at, at-1, at
}

func (s *store) slot(n int64) *slot { return &s.slots[n&int64(len(s.slots)-1)] }

// at returns the slot of a packet; nil if it is not here.
func (s *store) at(n int64) *slot {
	if n < s.next || n > s.high {
		return nil
	}
	if sl := s.slot(n); sl.packet != nil {
		return sl
	}
	return nil
}

// room makes the ring large enough for the numbers from low to n, fewer than limit.
func (s *store) room(low, n int64) {
	size := max(len(s.slots), firstSlots)
	for int64(size) <= n-low {
		size *= 2
	}
	if size == len(s.slots) {
		return
	}
	old := *s
	s.slots = make([]slot, size)
	for i := s.next; i <= s.high; i++ {
		*s.slot(i) = *old.slot(i)
	}
}

// put copies a packet to number n, which is not here and for which there is room.
func (s *store) put(now mono.Time, n int64, p *rtp.Packet) *slot {
	sl := s.slot(n)
	var buf []byte
	if last := len(s.free) - 1; last >= 0 {
		buf, s.free = s.free[last], s.free[:last]
	}
	if size := p.Len(); cap(buf) < size {
		buf = make([]byte, 0, max(size, usualPacket))
	}
	buf = p.Append(buf[:0])
	end := len(buf) - int(p.Padding)
	*sl = slot{packet: buf, payload: buf[end-len(p.Payload) : end], arrival: now, marker: p.Marker, filler: len(p.Payload) == 0}
	s.held++
	gap := s.missing()
	s.high = max(s.high, n)
	s.findHole(now, n, gap)
	return sl
}

// findHole keeps hole and since when n has come.
func (s *store) findHole(now mono.Time, n int64, gap bool) {
	switch {
	case n == s.hole:
		s.nextHole()
	case !gap:
		s.since = now
	}
}

// nextHole moves on to the first packet that is not here. It has been missing since the one came that follows it.
func (s *store) nextHole() {
	for s.at(s.hole) != nil {
		s.hole++
	}
	for i := s.hole + 1; i <= s.high; i++ {
		if sl := s.at(i); sl != nil {
			s.since = sl.arrival
			return
		}
	}
}

// missing reports whether a packet is not here although a later one is.
func (s *store) missing() bool { return s.high > s.hole }

// drop forgets all before n, and returns how many of them never came. They may be used until the next put.
func (s *store) drop(n int64) (lost int) {
	for ; s.next < n; s.next++ {
		if s.next > s.high {
			lost += int(n - s.next)
			s.next, s.high = n, n-1
			break
		}
		sl := s.slot(s.next)
		if sl.packet == nil {
			lost++
			continue
		}
		s.release(sl)
	}
	if s.hole < s.next {
		s.hole = s.next
		s.nextHole()
	}
	return lost
}

func (s *store) release(sl *slot) {
	s.free = append(s.free, sl.packet)
	sl.packet, sl.payload = nil, nil
	s.held--
}

// header returns what of a packet's header goes with its frame. The packet was parsed before, so this cannot fail.
func (s *slot) header() (rtp.PayloadType, rtp.Extensions) {
	p, _ := rtp.Parse(s.packet)
	return p.PayloadType, p.Extensions
}
