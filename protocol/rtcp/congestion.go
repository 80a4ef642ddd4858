package rtcp

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// CongestionFeedback says when the packets of each stream arrived, and with which mark (RFC 8888).
type CongestionFeedback struct {
	Sender    rtp.SSRC
	Timestamp uint32 // the middle of the NTP time that arrivals are counted back from
	blocks    []byte
}

// StreamFeedback is what it says of one stream.
type StreamFeedback struct {
	SSRC    rtp.SSRC
	Base    uint16 // the sequence number of the first packet
	metrics []byte
}

// A Metric is what became of one packet.
type Metric struct {
	Received bool
	ECN      uint8 // the two bits of the IP header
	// Before is how long before the report's timestamp it came, in steps of 1/1024 s; at most MaxBefore, which stands for
	// more too, and negative if that is not known.
	Before time.Duration
}

// MaxBefore is the longest time that a Metric can say.
const MaxBefore = 8190 * time.Second / 1024

const (
	maxMetrics  = 16384 // "Each report block MUST NOT include more than 16384 packet metric blocks"
	overRange   = 0x1ffe
	unavailable = 0x1fff
)

// CongestionFeedback reads one, and checks that all that it announces is there. The number of reports is that of metric
// blocks, as all have it who send this.
func (p Packet) CongestionFeedback() (f CongestionFeedback, ok bool) {
	b := p.Body
	if p.Kind() != KindCongestionFeedback || len(b) < 8 {
		return f, false
	}
	last := len(b) - 4
	f = CongestionFeedback{Sender: ssrcAt(b), Timestamp: binary.BigEndian.Uint32(b[last:]), blocks: b[4:last:last]}
	for rest := f.blocks; len(rest) > 0; {
		if _, rest, ok = nextStream(rest); !ok {
			return f, false
		}
	}
	return f, true
}

func nextStream(b []byte) (s StreamFeedback, rest []byte, ok bool) {
	if len(b) < 8 {
		return s, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	size := 8 + (2*n+3)&^3
	if n > maxMetrics || len(b) < size {
		return s, nil, false
	}
	return StreamFeedback{ssrcAt(b), binary.BigEndian.Uint16(b[4:]), b[8 : 8+2*n : 8+2*n]}, b[size:], true
}

// Streams goes through the streams.
func (f CongestionFeedback) Streams() iter.Seq[StreamFeedback] {
	return func(yield func(StreamFeedback) bool) {
		for rest := f.blocks; len(rest) > 0; {
			s, next, ok := nextStream(rest)
			if !ok || !yield(s) {
				return
			}
			rest = next
		}
	}
}

// Len returns how many packets it tells of.
func (s StreamFeedback) Len() int { return len(s.metrics) / 2 }

// At returns what became of the packet Base+i. It panics if it does not tell of so many.
func (s StreamFeedback) At(i int) Metric {
	v := binary.BigEndian.Uint16(s.metrics[2*i:])
	if v&0x8000 == 0 {
		return Metric{}
	}
	m := Metric{Received: true, ECN: uint8(v>>13) & 3}
	if offset := v & 0x1fff; offset == unavailable {
		m.Before = -1
	} else {
		m.Before = time.Duration(offset) * time.Second / 1024
	}
	return m
}

// BeginCongestionFeedback begins a packet, AppendStreamFeedback adds streams to it and EndCongestionFeedback ends it: start is
// the length of dst before the first of them.
func BeginCongestionFeedback(dst []byte, sender rtp.SSRC) []byte {
	return appendSSRC(begin(dst, TypeRTPFB, formatCongestion), sender)
}

// AppendStreamFeedback adds what became of the packets of a stream from base on: 8 bytes, and 2 for each packet, rounded up to
// a multiple of 4. It returns of how many it tells: at most 16384.
func AppendStreamFeedback(dst []byte, source rtp.SSRC, base uint16, metrics []Metric) ([]byte, int) {
	n := min(len(metrics), maxMetrics)
	dst = binary.BigEndian.AppendUint16(appendSSRC(dst, source), base)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	for _, m := range metrics[:n] {
		v := uint16(0)
		if m.Received {
			v = 0x8000 | uint16(m.ECN&3)<<13
			switch {
			case m.Before < 0:
				v |= unavailable
			case m.Before >= MaxBefore:
				v |= overRange
			default:
				v |= uint16((m.Before*1024 + time.Second/2) / time.Second)
			}
		}
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	if n%2 != 0 {
		dst = append(dst, 0, 0)
	}
	return dst, n
}

// EndCongestionFeedback ends a packet with the time that the arrivals are counted back from.
func EndCongestionFeedback(dst []byte, start int, timestamp uint32) []byte {
	return end(binary.BigEndian.AppendUint32(dst, timestamp), start)
}
