package fec

import (
	"encoding/binary"
	"math/bits"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// A Format is a kind of repair packets.
type Format uint8

const (
	// FlexFEC03 is draft-ietf-payload-flexible-fec-scheme-03, "flexfec-03" in descriptions, which browsers have. The media's SSRC
	// is in the payload.
	FlexFEC03 Format = iota
	// FlexFEC is RFC 8627, "flexfec". The media's SSRC is the contributing source of a repair packet (section 4.2.1).
	FlexFEC
	// ULPFEC is RFC 5109, "ulpfec", which an Encoder does not make.
	ULPFEC
)

const (
	fixedHeader = 12 // of RTP: what is not in it is protected as it is
	recovery    = 8  // bytes of a header that are the same in both flexible formats: bits and payload type, length, timestamp
	maxStreams  = 4  // that one repair packet may protect
	maxHeader   = 32 // of a repair packet, with the longest mask
	maxRepair   = maxPacket + maxHeader
)

// maskBits is how many sequence numbers a mask has room for. In the draft the third part has a k bit too.
func (f Format) maskBits() int {
	if f == FlexFEC03 {
		return 109
	}
	return 110
}

// A parity is the exclusive or of the headers of packets (RFC 8627 section 6.2).
type parity struct {
	bits   [2]byte // the first two of an RTP header; the version is not part of it
	length uint16  // of all behind the fixed header
	time   [4]byte
}

func (p *parity) add(packet []byte) {
	p.bits[0] ^= packet[0] & 0x3f
	p.bits[1] ^= packet[1]
	p.length ^= uint16(len(packet) - fixedHeader)
	for i := range p.time {
		p.time[i] ^= packet[4+i]
	}
}

// A set is which packets of one stream a repair packet protects.
type set struct {
	ssrc rtp.SSRC
	base uint16
	mask [2]uint64 // packet base+i is bit 63-i%64 of word i/64
	// Beyond a mask: count packets, each step after the one before (RFC 8627 section 4.2.2.2); zero if the mask holds.
	step, count uint16
	fixed       [2]uint8 // L and D, as they are in the header
}

// has reports whether a packet is in the set.
func (s *set) has(n uint16) bool {
	d := n - s.base
	if s.count > 0 {
		return d%s.step == 0 && d/s.step < s.count
	}
	return d < 128 && s.mask[d/64]>>(63-d%64)&1 == 1
}

// next returns the first packet of the set from base+from on, as its distance from base.
func (s *set) next(from int) (at int, ok bool) {
	if s.count > 0 {
		i := (from + int(s.step) - 1) / int(s.step)
		return i * int(s.step), i < int(s.count)
	}
	for ; from < 128; from = (from/64 + 1) * 64 {
		if left := s.mask[from/64] << (from % 64); left != 0 {
			return from + bits.LeadingZeros64(left), true
		}
	}
	return 0, false
}

// span is how far the last packet of the set is from its base; -1 if it is empty.
func (s *set) span() int {
	switch {
	case s.count > 0:
		return int(s.step) * (int(s.count) - 1)
	case s.mask[1] != 0:
		return 127 - bits.TrailingZeros64(s.mask[1])
	case s.mask[0] != 0:
		return 63 - bits.TrailingZeros64(s.mask[0])
	}
	return -1
}

// appendMask writes a mask of 15, 46 or as many bits as the format has. In the draft a k bit of 1 says that the mask ends here;
// "k=1 denotes that another mask follows" (RFC 8627 section 4.2.2.1).
func appendMask(dst []byte, f Format, s *set) []byte {
	end, more := uint64(1), uint64(0)
	if f == FlexFEC {
		end, more = more, end
	}
	span := s.span()
	first, second := s.mask[0]>>49, s.mask[0]>>18&0x7fffffff
	if span < 15 {
		return binary.BigEndian.AppendUint16(dst, uint16(end<<15|first))
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(more<<15|first))
	if span < 46 {
		return binary.BigEndian.AppendUint32(dst, uint32(end<<31|second))
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(more<<31|second))
	rest := s.mask[0]<<46 | s.mask[1]>>18
	if f == FlexFEC03 { // here too is a k bit, so there is room for 63
		rest = end<<63 | rest>>1
	}
	return binary.BigEndian.AppendUint64(dst, rest)
}

// parseMask reads one, and returns what follows it.
func parseMask(b []byte, f Format, s *set) (rest []byte, ok bool) {
	end := uint16(1)
	if f == FlexFEC {
		end = 0
	}
	if len(b) < 2 {
		return nil, false
	}
	first := binary.BigEndian.Uint16(b)
	s.mask[0] = uint64(first&0x7fff) << 49
	if b = b[2:]; first>>15 == end {
		return b, true
	}
	if len(b) < 4 {
		return nil, false
	}
	second := binary.BigEndian.Uint32(b)
	s.mask[0] |= uint64(second&0x7fffffff) << 18
	if b = b[4:]; uint16(second>>31) == end {
		return b, true
	}
	if len(b) < 8 {
		return nil, false
	}
	third := binary.BigEndian.Uint64(b)
	if f == FlexFEC03 {
		if third>>63 == 0 {
			return nil, false
		}
		third <<= 1
	}
	s.mask[0] |= third >> 46
	s.mask[1] = third << 18
	return b[8:], true
}

// appendHeader writes the header of a repair packet of one stream.
func appendHeader(dst []byte, f Format, p *parity, s *set) []byte {
	flags := p.bits[0]
	if s.count > 0 {
		flags |= 0x40 // F
	}
	dst = append(dst, flags, p.bits[1])
	dst = binary.BigEndian.AppendUint16(dst, p.length)
	dst = append(dst, p.time[:]...)
	if f == FlexFEC03 {
		dst = append(dst, 1, 0, 0, 0) // SSRCCount, reserved
		dst = binary.BigEndian.AppendUint32(dst, uint32(s.ssrc))
	}
	dst = binary.BigEndian.AppendUint16(dst, s.base)
	if s.count > 0 {
		return append(dst, s.fixed[0], s.fixed[1])
	}
	return appendMask(dst, f, s)
}

// A header is what a repair packet says: what it protects, and the parity of that.
type header struct {
	parity  parity
	sets    [maxStreams]set
	streams int
	body    []byte // parity of all behind the fixed headers
	// The packet is no parity but a media packet, sent once more: body is all of it.
	whole bool
}

// parse reads the payload of a repair packet.
func (h *header) parse(f Format, p *rtp.Packet) bool {
	b := p.Payload
	if f == ULPFEC {
		return h.parseULPFEC(b, p.SSRC)
	}
	if len(b) < recovery {
		return false
	}
	switch b[0] >> 6 { // R, F
	case 0b10:
		h.whole, h.body = true, b
		return f == FlexFEC && len(b) >= fixedHeader
	case 0b11: // "MUST ignore" (RFC 8627 section 4.2.2)
		return false
	case 0b01:
		if f == FlexFEC03 { // never was in use
			return false
		}
	}
	fixed := b[0]&0x40 != 0
	h.parity = parity{[2]byte{b[0] & 0x3f, b[1]}, binary.BigEndian.Uint16(b[2:]), [4]byte(b[4:])}
	b = b[recovery:]
	h.streams = p.CSRC.Len()
	if f == FlexFEC03 {
		if len(b) < 4 {
			return false
		}
		h.streams, b = int(b[0]), b[4:]
	}
	if h.streams < 1 || h.streams > maxStreams {
		return false
	}
	for i := range h.streams {
		s := &h.sets[i]
		*s = set{}
		if f == FlexFEC03 {
			if len(b) < 4 {
				return false
			}
			s.ssrc, b = rtp.SSRC(binary.BigEndian.Uint32(b)), b[4:]
		} else {
			s.ssrc = p.CSRC.At(i)
		}
		if len(b) < 4 {
			return false
		}
		s.base, b = binary.BigEndian.Uint16(b), b[2:]
		if fixed {
			if !s.setFixed(b[0], b[1]) {
				return false
			}
			b = b[2:]
			continue
		}
		var ok bool
		if b, ok = parseMask(b, f, s); !ok || s.span() < 0 {
			return false
		}
	}
	h.body = b
	return true
}

// setFixed sets the set by L and D (RFC 8627 section 4.2.2.2, figure 14).
func (s *set) setFixed(l, d uint8) bool {
	switch {
	case l == 0: // "reserved for future use [...] MUST ignore"
		return false
	case d <= 1: // a row
		s.step, s.count = 1, uint16(l)
	default: // a column
		s.step, s.count = uint16(l), uint16(d)
	}
	s.fixed = [2]uint8{l, d}
	return true
}

// parseULPFEC reads the header of RFC 5109 sections 7.3 and 7.4, and of its levels the first.
func (h *header) parseULPFEC(b []byte, ssrc rtp.SSRC) bool {
	const short, level = 10, 4
	if len(b) < short+level {
		return false
	}
	h.parity = parity{[2]byte{b[0] & 0x3f, b[1]}, binary.BigEndian.Uint16(b[8:]), [4]byte(b[4:])}
	h.streams = 1
	s := &h.sets[0]
	*s = set{ssrc: ssrc, base: binary.BigEndian.Uint16(b[2:])}
	long := b[0]&0x40 != 0 // L
	length := int(binary.BigEndian.Uint16(b[short:]))
	s.mask[0] = uint64(binary.BigEndian.Uint16(b[short+2:])) << 48
	b = b[short+level:]
	if long {
		if len(b) < 4 {
			return false
		}
		s.mask[0] |= uint64(binary.BigEndian.Uint32(b)) << 16
		b = b[4:]
	}
	if len(b) < length || s.span() < 0 {
		return false
	}
	h.body = b[:length]
	return true
}
