package rtcp

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// NACK asks for packets again (RFC 4585 section 6.2.1).
type NACK struct {
	Sender, Media rtp.SSRC
	pairs         []byte
}

// NACK reads one.
func (p Packet) NACK() (n NACK, ok bool) {
	if p.Kind() != KindNACK || len(p.Body) < 12 || len(p.Body)%4 != 0 {
		return n, false
	}
	return NACK{ssrcAt(p.Body), ssrcAt(p.Body[4:]), p.Body[8:]}, true
}

// Lost goes through the sequence numbers that are asked for, each of them, in the order of the packet.
func (n NACK) Lost() iter.Seq[uint16] {
	return func(yield func(uint16) bool) {
		for b := n.pairs; len(b) >= 4; b = b[4:] {
			first, following := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
			if !yield(first) {
				return
			}
			for ; following != 0; following &= following - 1 {
				if !yield(first + 1 + uint16(bits.TrailingZeros16(following))) {
					return
				}
			}
		}
	}
}

// AppendNACK asks for packets whose sequence numbers are given in their order, at least one, in a packet of at most limit
// bytes. It returns how many of them found room.
func AppendNACK(dst []byte, sender, media rtp.SSRC, lost []uint16, limit int) ([]byte, int) {
	if len(lost) == 0 || limit < feedback+4 {
		return dst, 0
	}
	limit = min(limit, maxPacket)
	start := len(dst)
	dst = beginFeedback(dst, TypeRTPFB, formatNACK, sender, media)
	n := 0
	for n < len(lost) && len(dst)-start+4 <= limit {
		first, following := lost[n], uint16(0)
		for n++; n < len(lost); n++ {
			distance := lost[n] - first
			if distance == 0 {
				continue
			}
			if distance > 16 {
				break
			}
			following |= 1 << (distance - 1)
		}
		dst = binary.BigEndian.AppendUint16(dst, first)
		dst = binary.BigEndian.AppendUint16(dst, following)
	}
	return end(dst, start), n
}

// PLI says that a picture was lost: the decoder needs one that can be decoded alone (RFC 4585 section 6.3.1).
type PLI struct{ Sender, Media rtp.SSRC }

// PLI reads one.
func (p Packet) PLI() (pli PLI, ok bool) {
	if p.Kind() != KindPLI || len(p.Body) != 8 {
		return pli, false
	}
	return PLI{ssrcAt(p.Body), ssrcAt(p.Body[4:])}, true
}

// Append writes the packet.
func (pli PLI) Append(dst []byte) []byte {
	start := len(dst)
	return end(beginFeedback(dst, TypePSFB, formatPLI, pli.Sender, pli.Media), start)
}

// FIR commands a source to send a picture that can be decoded alone (RFC 5104 section 4.3.1).
type FIR struct {
	Sender  rtp.SSRC
	entries []byte
}

// FIREntry is one source's command. A repetition of it has the same number, a new one the next.
type FIREntry struct {
	SSRC   rtp.SSRC
	Number uint8
}

// FIR reads one.
func (p Packet) FIR() (f FIR, ok bool) {
	if p.Kind() != KindFIR || len(p.Body) < 16 || len(p.Body)%8 != 0 {
		return f, false
	}
	return FIR{ssrcAt(p.Body), p.Body[8:]}, true
}

// Entries goes through the commands.
func (f FIR) Entries() iter.Seq[FIREntry] {
	return func(yield func(FIREntry) bool) {
		for b := f.entries; len(b) >= 8; b = b[8:] {
			if !yield(FIREntry{ssrcAt(b), b[4]}) {
				return
			}
		}
	}
}

// AppendFIR writes one of at least one entry; those beyond what a packet can hold are left out.
func AppendFIR(dst []byte, sender rtp.SSRC, entries ...FIREntry) []byte {
	start := len(dst)
	dst = beginFeedback(dst, TypePSFB, formatFIR, sender, 0) // "SHALL be set to 0"
	for _, e := range entries[:min(len(entries), (maxPacket-feedback)/8)] {
		dst = append(appendSSRC(dst, e.SSRC), e.Number, 0, 0, 0)
	}
	return end(dst, start)
}

const remb = "REMB"

// REMB is the bitrate that a receiver thinks there is for some sources together (draft-alvestrand-rmcat-remb-03).
type REMB struct {
	Sender  rtp.SSRC
	Bitrate uint64 // bits a second
	Sources rtp.Sources
}

// REMB reads one. A bitrate beyond 64 bits is the highest.
func (p Packet) REMB() (r REMB, ok bool) {
	if p.Kind() != KindREMB || len(p.Body) < 16 {
		return r, false
	}
	b := p.Body
	n := 16 + 4*int(b[12])
	if len(b) < n {
		return r, false
	}
	exponent, mantissa := b[13]>>2, uint64(b[13]&3)<<16|uint64(b[14])<<8|uint64(b[15])
	r = REMB{Sender: ssrcAt(b), Bitrate: mantissa << exponent, Sources: rtp.SourcesOf(b[16:n:n])}
	if r.Bitrate>>exponent != mantissa {
		r.Bitrate = 1<<64 - 1
	}
	return r, true
}

// AppendREMB writes one for at most 255 sources. The bitrate is rounded down to 18 bits.
func AppendREMB(dst []byte, sender rtp.SSRC, bitrate uint64, sources ...rtp.SSRC) []byte {
	start := len(dst)
	sources = sources[:min(len(sources), 255)]
	exponent := max(bits.Len64(bitrate)-18, 0)
	mantissa := bitrate >> exponent
	dst = append(beginFeedback(dst, TypePSFB, formatAFB, sender, 0), remb...)
	dst = append(dst, byte(len(sources)), byte(exponent)<<2|byte(mantissa>>16), byte(mantissa>>8), byte(mantissa))
	for _, s := range sources {
		dst = appendSSRC(dst, s)
	}
	return end(dst, start)
}
