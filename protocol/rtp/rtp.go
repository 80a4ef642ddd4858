// Package rtp is the RTP packet (RFC 3550 section 5): bytes to struct and back, in place and without allocation, with
// header extensions of both forms (RFC 8285) and the values of those that WebRTC uses, layers of video and their dependencies
// included.
//
// [Parse] reads a packet whose parts stay in the caller's memory; [Packet.Append] writes one. There is no state here:
// sequence numbers are unwrapped by whoever has an edge for that, streams belong to the session, protection to package
// srtp, what is inside a payload to its format.
//
//	p, err := rtp.Parse(datagram)           // p.Payload and the extensions lie in datagram
//	mid, ok := p.Extensions.Get(midID)
//	buf = p.Append(buf[:0])
package rtp

import (
	"encoding/binary"
	"errors"
)

// SSRC is a synchronization source, or a contributing one (RFC 3550 section 3).
type SSRC uint32

// PayloadType is a payload type, 0 to 127: static ones by RFC 3551 section 6, else what the description says.
type PayloadType uint8

const (
	version     = 2
	fixedHeader = 12
	maxSources  = 15
)

// Why bytes are no RTP packet.
var (
	ErrVersion   = errors.New("rtp: not version 2")
	ErrTruncated = errors.New("rtp: shorter than its header says")
	ErrPadding   = errors.New("rtp: more padding than packet, or none where some is announced")
)

// A Packet is one RTP packet. Append writes what Parse read, byte for byte but for the value of padding.
type Packet struct {
	Marker         bool
	PayloadType    PayloadType
	SequenceNumber uint16
	Timestamp      uint32
	SSRC           SSRC
	CSRC           Sources
	Extensions     Extensions
	Payload        []byte
	// Padding is how many bytes follow the payload, the one that holds this number included (RFC 3550 section 5.1); 0: none.
	Padding uint8
}

// Parse reads a packet. Its CSRC, Extensions and Payload lie in b: writing to them changes b.
func Parse(b []byte) (p Packet, err error) {
	n, err := HeaderLen(b)
	if err != nil {
		return p, err
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		p.Padding = b[end-1]
		if end -= int(p.Padding); p.Padding == 0 || end < n {
			return Packet{}, ErrPadding
		}
	}
	p.Marker = b[1]&0x80 != 0
	p.PayloadType = PayloadType(b[1] & 0x7f)
	p.SequenceNumber = binary.BigEndian.Uint16(b[2:])
	p.Timestamp = binary.BigEndian.Uint32(b[4:])
	p.SSRC = SSRC(binary.BigEndian.Uint32(b[8:]))
	p.Payload = b[n:end:end]
	if n == fixedHeader {
		return p, nil
	}
	sources := fixedHeader + 4*int(b[0]&0x0f)
	p.CSRC.raw = b[fixedHeader:sources:sources]
	if n > sources {
		p.Extensions.profile, p.Extensions.present = binary.BigEndian.Uint16(b[sources:]), true
		p.Extensions.raw = b[sources+4 : n : n]
	}
	return p, nil
}

// HeaderLen returns how many bytes of a packet are header, extensions included: what SRTP leaves in the clear.
func HeaderLen(b []byte) (int, error) {
	if len(b) < fixedHeader {
		return 0, ErrTruncated
	}
	if b[0]>>6 != version {
		return 0, ErrVersion
	}
	n := fixedHeader + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, ErrTruncated
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	if len(b) < n {
		return 0, ErrTruncated
	}
	return n, nil
}

// IsRTCP reports whether a datagram of RTP and RTCP on one port is RTCP: the payload types 64 to 95 are not used beside it
// (RFC 5761 section 4).
func IsRTCP(b []byte) bool { return len(b) >= 2 && b[1] >= 192 && b[1] <= 223 }

// Len returns how many bytes Append writes.
func (p *Packet) Len() int {
	n := fixedHeader + len(p.CSRC.raw) + len(p.Payload) + int(p.Padding)
	if p.Extensions.present {
		n += 4 + (len(p.Extensions.raw)+3)&^3
	}
	return n
}

// Append writes the packet. It allocates nothing if dst has room for Len bytes, which must not be those of the packet's own
// parts.
func (p *Packet) Append(dst []byte) []byte {
	dst = p.AppendHeader(dst)
	dst = append(dst, p.Payload...)
	if p.Padding > 0 {
		for range p.Padding - 1 {
			dst = append(dst, 0)
		}
		dst = append(dst, p.Padding)
	}
	return dst
}

// AppendHeader writes the header with its extensions, for whoever writes the payload behind it by himself. It announces
// padding as Padding says.
func (p *Packet) AppendHeader(dst []byte) []byte {
	first := byte(version<<6 | len(p.CSRC.raw)/4)
	if p.Padding > 0 {
		first |= 0x20
	}
	if p.Extensions.present {
		first |= 0x10
	}
	second := byte(p.PayloadType & 0x7f)
	if p.Marker {
		second |= 0x80
	}
	dst = append(dst, first, second)
	dst = binary.BigEndian.AppendUint16(dst, p.SequenceNumber)
	dst = binary.BigEndian.AppendUint32(dst, p.Timestamp)
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.SSRC))
	dst = append(dst, p.CSRC.raw...)
	if x := &p.Extensions; x.present {
		dst = binary.BigEndian.AppendUint16(dst, x.profile)
		dst = binary.BigEndian.AppendUint16(dst, uint16((len(x.raw)+3)/4))
		dst = append(dst, x.raw...)
		for range -len(x.raw) & 3 {
			dst = append(dst, 0)
		}
	}
	return dst
}

// Sources are the contributing sources of a packet, as they stand on the wire: at most 15 of them, but as many as it likes in
// an RTCP packet. The zero value is none.
type Sources struct{ raw []byte }

// SourcesOf reads sources off the wire, where they stay; bytes that make no whole one are left out.
func SourcesOf(b []byte) Sources {
	n := len(b) &^ 3
	return Sources{b[:n:n]}
}

// Len returns how many there are.
func (s Sources) Len() int { return len(s.raw) / 4 }

// At returns one of them, from 0 on. It panics if there are not so many.
func (s Sources) At(i int) SSRC { return SSRC(binary.BigEndian.Uint32(s.raw[4*i:])) }

// Add adds a source. It returns false if there are 15.
func (s *Sources) Add(source SSRC) bool {
	if s.Len() >= maxSources {
		return false
	}
	s.raw = binary.BigEndian.AppendUint32(s.raw, uint32(source))
	return true
}

// Reset empties s, and keeps its memory for use by Add: to be called on a copy of one's own, never on a packet that was
// parsed, whose memory is the datagram.
func (s *Sources) Reset() { s.raw = s.raw[:0] }

// CopyFrom makes p a copy of another packet, in memory of its own: that of its parts, which must not be borrowed, is used
// again.
func (p *Packet) CopyFrom(from *Packet) {
	csrc, extensions, payload := p.CSRC.raw, p.Extensions.raw, p.Payload
	*p = *from
	p.CSRC.raw = append(csrc[:0], from.CSRC.raw...)
	p.Extensions.raw = append(extensions[:0], from.Extensions.raw...)
	p.Payload = append(payload[:0], from.Payload...)
}
