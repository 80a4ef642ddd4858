package cc

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// fate is what feedback has said of a packet.
type fate uint8

const (
	unknown fate = iota // nothing yet
	missing             // told as not received; may still come
	received
)

// record is a packet that was sent.
type record struct {
	at      mono.Time
	arrived time.Duration // by the receiver's clock; if received
	size    int           // with what went before it and has no feedback of its own
	ssrc    rtp.SSRC
	seq     uint16
	cluster uint16 // of a probe; 0: none
	fate    fate
	ect     bool
	before  int64 // the packet of the same stream before this one, by its number; negative: none
}

const (
	// A packet of which nothing was heard for so long is forgotten. Feedback comes within a round trip and 100 ms.
	memory = 3 * time.Second

	leastRecords = 256
	mostRecords  = 1 << 15 // half of what transport-wide numbers tell apart
	mostStreams  = 256     // whose packets can be told of by feedback by stream
)

// history is the packets sent, by transport-wide sequence numbers, unwrapped. It grows with the rate, to what memory asks for.
type history struct {
	ring     []record // of a power of two
	first    int64    // the oldest that is remembered
	next     int64    // what is sent next
	decided  int64    // up to here each packet was counted as received or lost, once
	inFlight int      // bytes of packets whose fate is unknown
	streams  map[rtp.SSRC]*stream
	recent   *stream // of the last packet
}

// stream is an SSRC that packets were sent of.
type stream struct {
	ssrc   rtp.SSRC
	latest int64 // packet
	told   Told
}

// Told is what feedback by streams (RFC 8888) has told of one SSRC.
type Told struct {
	Lost      uint64 // packets that were told as not received
	Recovered uint64 // of those, later as received
	CE        uint64 // packets that came with the ECN mark of congestion
}

func (h *history) at(n int64) *record { return &h.ring[n&int64(len(h.ring)-1)] }

// add remembers a packet and returns its number.
func (h *history) add(r record) int64 {
	if h.ring == nil {
		h.ring = make([]record, leastRecords)
		h.streams = make(map[rtp.SSRC]*stream)
	}
	h.expire(r.at)
	if h.next-h.first == int64(len(h.ring)) {
		if len(h.ring) < mostRecords {
			h.grow()
		} else {
			h.forget()
		}
	}
	n := h.next
	r.before = -1
	if x := h.stream(r.ssrc); x != nil {
		r.before, x.latest = x.latest, n
	}
	h.next++
	*h.at(n) = r
	h.inFlight += r.size
	return n
}

func (h *history) expire(now mono.Time) {
	for h.first < h.next && now.Sub(h.at(h.first).at) > memory {
		h.forget()
	}
}

func (h *history) forget() {
	if r := h.at(h.first); r.fate == unknown {
		h.inFlight -= r.size
	}
	h.first++
	h.decided = max(h.decided, h.first)
}

func (h *history) grow() {
	old := *h
	h.ring = make([]record, 2*len(old.ring))
	for n := old.first; n < old.next; n++ {
		*h.at(n) = *old.at(n)
	}
}

// stream returns that of a packet to be sent; nil if there are too many already.
func (h *history) stream(ssrc rtp.SSRC) *stream {
	if x := h.recent; x != nil && x.ssrc == ssrc {
		return x
	}
	x := h.streams[ssrc]
	if x == nil {
		if len(h.streams) >= mostStreams {
			h.forgetStreams()
		}
		if len(h.streams) >= mostStreams {
			return nil
		}
		x = &stream{ssrc: ssrc, latest: -1}
		h.streams[ssrc] = x
	}
	h.recent = x
	return x
}

// forgetStreams makes room for others: streams whose last packet is no longer remembered.
func (h *history) forgetStreams() {
	for ssrc, x := range h.streams {
		if x.latest < h.first {
			delete(h.streams, ssrc)
		}
	}
	h.recent = nil
}

// find returns the number that 16 bits of feedback stand for.
func (h *history) find(number uint16) (n int64, ok bool) {
	n = h.next - 1 + seqnum.Diff(number, uint16(h.next-1))
	return n, n >= h.first && n < h.next
}

// settle notes what became of a packet, and reports whether that is news: that it was received is told once.
func (h *history) settle(n int64, f fate) bool {
	r := h.at(n)
	if r.fate == received || r.fate == f {
		return false
	}
	if r.fate == unknown {
		h.inFlight -= r.size
	}
	r.fate = f
	return true
}

// reset forgets what is under way, and goes on counting.
func (h *history) reset() {
	h.first, h.decided, h.inFlight = h.next, h.next, 0
}
