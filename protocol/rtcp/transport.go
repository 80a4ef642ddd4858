package rtcp

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// TransportFeedback says when the packets of a transport arrived that carry a number of URITransportSequence
// (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
type TransportFeedback struct {
	Sender, Media rtp.SSRC
	Base          uint16 // the number of the first packet that it tells of
	Count         int    // of packets
	Number        uint8  // of this feedback; one that is missing was lost
	reference     int32  // 24 bits, of 64 ms
	chunks        []byte
	deltas        []byte
}

// Arrival is what became of one packet.
type Arrival struct {
	Received bool
	// At is when it came, by the receiver's clock and counted from anywhere: in steps of 250 us, and it comes round after
	// some 149 hours.
	At time.Duration
}

const (
	tick           = 250 * time.Microsecond
	referenceTicks = 256 // 64 ms
	transportFixed = feedback + 8

	// What is said of a packet.
	symbolLost  = 0
	symbolSmall = 1 // one byte of delta, not negative
	symbolLarge = 2 // two, with a sign

	maxRun     = 1<<13 - 1
	oneBits    = 14 // symbols in a vector of one bit each
	twoBits    = 7
	minRun     = oneBits // from where a run is shorter than vectors
	isVector   = 1 << 15
	hasTwoBits = 1 << 14
)

// TransportFeedback reads one, and checks that all that it announces is there.
func (p Packet) TransportFeedback() (f TransportFeedback, ok bool) {
	b := p.Body
	if p.Kind() != KindTransportFeedback || len(b) < transportFixed-headerLen {
		return f, false
	}
	f = TransportFeedback{
		Sender: ssrcAt(b), Media: ssrcAt(b[4:]), Base: binary.BigEndian.Uint16(b[8:]), Count: int(binary.BigEndian.Uint16(b[10:])),
		reference: int32(binary.BigEndian.Uint32(b[12:])) >> 8, Number: b[15],
	}
	b = b[16:]
	left, at, deltas := f.Count, 0, 0
	for ; left > 0; at += 2 {
		if at+2 > len(b) {
			return f, false
		}
		chunk := binary.BigEndian.Uint16(b[at:])
		n := min(symbolsOf(chunk), left)
		if n == 0 { // a run of none would be one of a peer that goes round in circles
			return f, false
		}
		same := 1 // symbols that need no look
		if chunk&isVector == 0 {
			same = n
		}
		for i := 0; i < n; i += same {
			s := symbolAt(chunk, i)
			if s > symbolLarge {
				return f, false
			}
			deltas += int(s) * same
		}
		left -= n
	}
	if at+deltas > len(b) {
		return f, false
	}
	f.chunks, f.deltas = b[:at:at], b[at:at+deltas:at+deltas]
	return f, true
}

// symbolsOf returns for how many packets a chunk has symbols.
func symbolsOf(chunk uint16) int {
	switch {
	case chunk&isVector == 0:
		return int(chunk & maxRun)
	case chunk&hasTwoBits == 0:
		return oneBits
	}
	return twoBits
}

func symbolAt(chunk uint16, i int) uint8 {
	switch {
	case chunk&isVector == 0:
		return uint8(chunk>>13) & 3
	case chunk&hasTwoBits == 0:
		return uint8(chunk>>(oneBits-1-i)) & 1
	}
	return uint8(chunk>>(2*(twoBits-1-i))) & 3
}

// All goes through the packets by their numbers.
func (f TransportFeedback) All() iter.Seq2[uint16, Arrival] {
	return func(yield func(uint16, Arrival) bool) {
		n, left, chunks, deltas := f.Base, f.Count, f.chunks, f.deltas
		at := int64(f.reference) * referenceTicks
		for ; left > 0; chunks = chunks[2:] {
			chunk := binary.BigEndian.Uint16(chunks)
			symbols := min(symbolsOf(chunk), left)
			left -= symbols
			for i := range symbols {
				var a Arrival
				switch symbolAt(chunk, i) {
				case symbolSmall:
					at += int64(deltas[0])
					deltas = deltas[1:]
					a = Arrival{true, time.Duration(at) * tick}
				case symbolLarge:
					at += int64(int16(binary.BigEndian.Uint16(deltas)))
					deltas = deltas[2:]
					a = Arrival{true, time.Duration(at) * tick}
				}
				if !yield(n, a) {
					return
				}
				n++
			}
		}
	}
}

// AppendTransportFeedback tells what became of the packets from base on, in a packet of at most limit bytes. It returns of how
// many it tells: fewer than there are if the room ends, or if two that follow each other came more than 8 s apart, and none if
// none of these was received. What is left is for the next.
func AppendTransportFeedback(dst []byte, sender, media rtp.SSRC, base uint16, number uint8, arrivals []Arrival, limit int) ([]byte, int) {
	limit = min(limit, maxPacket)
	reference, received := int64(0), false
	last := int64(0) // ticks
	n, deltas := 0, 0
	for n < len(arrivals) && n < 1<<16-1 {
		size, at := 0, last
		if a := arrivals[n]; a.Received {
			at = ticksOf(a.At)
			if !received {
				reference = at >> 8 // rounded down, also what is negative
				last = reference * referenceTicks
			}
			delta := at - last
			if delta != int64(int16(delta)) {
				break
			}
			if size = 1; delta != int64(uint8(delta)) {
				size = 2
			}
		}
		// A chunk has room for seven symbols at least.
		if (transportFixed+2*(n/twoBits+1)+deltas+size+3)&^3 > limit {
			break
		}
		received, last = received || size > 0, at
		deltas += size
		n++
	}
	if !received {
		return dst, 0
	}
	start := len(dst)
	dst = beginFeedback(dst, TypeRTPFB, formatTransport, sender, media)
	dst = binary.BigEndian.AppendUint16(dst, base)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	dst = append(dst, byte(reference>>16), byte(reference>>8), byte(reference), number)
	dst = appendChunks(dst, arrivals[:n], reference*referenceTicks)
	last = reference * referenceTicks
	for _, a := range arrivals[:n] {
		if !a.Received {
			continue
		}
		at := ticksOf(a.At)
		if delta := at - last; delta == int64(uint8(delta)) {
			dst = append(dst, byte(delta))
		} else {
			dst = binary.BigEndian.AppendUint16(dst, uint16(delta))
		}
		last = at
	}
	for (len(dst)-start)%4 != 0 {
		dst = append(dst, 0)
	}
	return end(dst, start), n
}

func ticksOf(d time.Duration) int64 {
	if d < 0 {
		return -int64((-d + tick/2) / tick)
	}
	return int64((d + tick/2) / tick)
}

// appendChunks writes the symbols: a run where enough are alike, else a vector of one bit each if no delta is large, or of two.
func appendChunks(dst []byte, arrivals []Arrival, last int64) []byte {
	for len(arrivals) > 0 {
		first, at := symbolOf(arrivals[0], last)
		run, small := 1, first != symbolLarge
		ones, twos := uint16(first)<<(oneBits-1), uint16(first)<<(2*(twoBits-1))
		for j := 1; j < len(arrivals) && j < maxRun && (run == j || j < oneBits); j++ {
			var s uint8
			if s, at = symbolOf(arrivals[j], at); s == first && run == j {
				run++
			}
			if j < oneBits {
				small = small && s != symbolLarge
				ones |= uint16(s&1) << (oneBits - 1 - j)
			}
			if j < twoBits {
				twos |= uint16(s) << (2 * (twoBits - 1 - j))
			}
		}
		n, chunk := twoBits, isVector|hasTwoBits|twos
		switch {
		case run >= minRun || run == len(arrivals):
			n, chunk = run, uint16(first)<<13|uint16(run)
		case small:
			n, chunk = oneBits, isVector|ones
		}
		dst = binary.BigEndian.AppendUint16(dst, chunk)
		for _, a := range arrivals[:min(n, len(arrivals))] {
			_, last = symbolOf(a, last)
		}
		arrivals = arrivals[min(n, len(arrivals)):]
	}
	return dst
}

// symbolOf returns what is said of a packet, and the time after it.
func symbolOf(a Arrival, last int64) (uint8, int64) {
	if !a.Received {
		return symbolLost, last
	}
	at := ticksOf(a.At)
	if delta := at - last; delta != int64(uint8(delta)) {
		return symbolLarge, at
	}
	return symbolSmall, at
}
