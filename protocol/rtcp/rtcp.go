// Package rtcp is RTCP: bytes to struct and back, without allocation and without state. It knows the reports of RFC 3550,
// the feedback of RFC 4585 and RFC 5104 that WebRTC uses, REMB, transport-wide feedback, congestion control feedback (RFC
// 8888) and the extended reports about round trips (RFC 3611).
//
// A datagram holds one packet or several, one after the other. [Next] cuts them off, and a Packet's methods read what it
// holds; they return false if it is of another kind or malformed, and what they return lies in the datagram.
//
//	for rest := datagram; len(rest) > 0; {
//		var p rtcp.Packet
//		p, rest, err = rtcp.Next(rest)
//		...
//		switch p.Kind() {
//		case rtcp.KindNACK:
//			nack, ok := p.NACK()
//		}
//	}
//
// Append functions write a whole packet each, so that a compound packet is a matter of calling several on one slice.
package rtcp

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1, RFC 3611 section 2).
const (
	TypeSR    = 200
	TypeRR    = 201
	TypeSDES  = 202
	TypeBYE   = 203
	TypeAPP   = 204
	TypeRTPFB = 205 // transport-layer feedback
	TypePSFB  = 206 // payload-specific feedback
	TypeXR    = 207
)

// Formats of feedback, in the field that counts elsewhere.
const (
	formatNACK       = 1  // RTPFB, RFC 4585 section 6.2.1
	formatCongestion = 11 // RTPFB, RFC 8888
	formatTransport  = 15 // RTPFB, draft-holmer-rmcat-transport-wide-cc-extensions-01
	formatPLI        = 1  // PSFB, RFC 4585 section 6.3.1
	formatFIR        = 4  // PSFB, RFC 5104 section 4.3.1
	formatAFB        = 15 // PSFB, application layer: REMB
)

const (
	version   = 2
	headerLen = 4
	maxCount  = 31            // five bits
	maxPacket = 4 * (1 << 16) // the length is counted in 16 bits of words, less one
	feedback  = headerLen + 8 // with the two sources of RFC 4585 section 6.1
	padding   = 0x20
)

// ErrMalformed says that bytes are no RTCP.
var ErrMalformed = errors.New("rtcp: malformed")

// A Packet is one packet of a datagram. What it holds is only looked at when it is asked for.
type Packet struct {
	Type  uint8
	Count uint8  // the five bits of the header: of reports, of sources, or the format of feedback
	Body  []byte // behind the header's first four bytes, without padding
}

// Next cuts the first packet off a datagram, or off what is left of one.
func Next(b []byte) (p Packet, rest []byte, err error) {
	if len(b) < headerLen || b[0]>>6 != version {
		return p, nil, ErrMalformed
	}
	n := headerLen + 4*int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < n {
		return p, nil, ErrMalformed
	}
	body := b[headerLen:n:n]
	if b[0]&padding != 0 {
		// "The last octet of the padding is a count of how many padding octets should be ignored, including itself (it will be
		// a multiple of four)." (RFC 3550 section 6.4.1) Transport-wide feedback, whose content ends anywhere, is filled up to
		// whole words by it (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1): browsers and others pad 1 to 3 bytes.
		if len(body) == 0 {
			return p, nil, ErrMalformed
		}
		pad := int(body[len(body)-1])
		anywhere := b[1] == TypeRTPFB && b[0]&maxCount == formatTransport
		if pad == 0 || pad%4 != 0 && !anywhere || pad > len(body) {
			return p, nil, ErrMalformed
		}
		body = body[: len(body)-pad : len(body)-pad]
	}
	return Packet{Type: b[1], Count: b[0] & maxCount, Body: body}, b[n:], nil
}

// Check walks through a datagram once: it is well formed as far as the headers go, only its last packet is padded, and if it
// is not of reduced size (RFC 5506), it begins with a report (RFC 3550 appendix A.2).
func Check(b []byte, reducedSize bool) error {
	if len(b) == 0 || !reducedSize && (len(b) < headerLen || b[1] != TypeSR && b[1] != TypeRR) {
		return ErrMalformed
	}
	for rest := b; len(rest) > 0; {
		padded := rest[0]&padding != 0
		_, next, err := Next(rest)
		if err != nil || padded && len(next) > 0 {
			return ErrMalformed
		}
		rest = next
	}
	return nil
}

// A Kind says what a packet is, feedback by its format.
type Kind uint8

const (
	KindUnknown Kind = iota
	KindSenderReport
	KindReceiverReport
	KindSDES
	KindBYE
	KindAPP
	KindNACK
	KindPLI
	KindFIR
	KindREMB
	KindTransportFeedback
	KindCongestionFeedback
	KindExtendedReport
)

// Kind returns which of the methods below applies.
func (p Packet) Kind() Kind {
	switch p.Type {
	case TypeSR:
		return KindSenderReport
	case TypeRR:
		return KindReceiverReport
	case TypeSDES:
		return KindSDES
	case TypeBYE:
		return KindBYE
	case TypeAPP:
		return KindAPP
	case TypeXR:
		return KindExtendedReport
	case TypeRTPFB:
		switch p.Count {
		case formatNACK:
			return KindNACK
		case formatTransport:
			return KindTransportFeedback
		case formatCongestion:
			return KindCongestionFeedback
		}
	case TypePSFB:
		switch {
		case p.Count == formatPLI:
			return KindPLI
		case p.Count == formatFIR:
			return KindFIR
		case p.Count == formatAFB && len(p.Body) >= 12 && string(p.Body[8:12]) == remb:
			return KindREMB
		}
	}
	return KindUnknown
}

// Delay is a time as reports have it: 16 bits of seconds and 16 of their fraction.
type Delay uint32

// DelayOf is the Delay of a duration; what is negative is zero, and what is longer than 18 hours the longest.
func DelayOf(d time.Duration) Delay {
	if d < 0 {
		return 0
	}
	if d >= 1<<16*time.Second {
		return 1<<32 - 1
	}
	return Delay(int64(d/time.Second)<<16 + int64(d%time.Second)<<16/int64(time.Second))
}

// Duration is the time as a duration.
func (d Delay) Duration() time.Duration { return time.Duration(d) * time.Second >> 16 }

// RoundTrip is what a report block, or a DLRR, says of the way there and back: the time now less that of the report it
// answers and the delay in between (RFC 3550 section 6.4.1), all of them the middle 32 bits of an NTP time. It is false if no
// report is answered, or the numbers make no sense.
func RoundTrip(now, last uint32, delay Delay) (time.Duration, bool) {
	d := int32(now - last - uint32(delay))
	return Delay(d).Duration(), last != 0 && d >= 0
}

// begin appends a header whose length end sets.
func begin(dst []byte, typ, count uint8) []byte {
	return append(dst, version<<6|count&maxCount, typ, 0, 0)
}

// beginFeedback appends the header of feedback.
func beginFeedback(dst []byte, typ, format uint8, sender, media rtp.SSRC) []byte {
	dst = binary.BigEndian.AppendUint32(begin(dst, typ, format), uint32(sender))
	return binary.BigEndian.AppendUint32(dst, uint32(media))
}

// end sets the length of the packet that begins at start. All that is written is a multiple of four, and bounded.
func end(dst []byte, start int) []byte {
	binary.BigEndian.PutUint16(dst[start+2:], uint16((len(dst)-start)/4-1))
	return dst
}

func ssrcAt(b []byte) rtp.SSRC { return rtp.SSRC(binary.BigEndian.Uint32(b)) }

func appendSSRC(dst []byte, s rtp.SSRC) []byte { return binary.BigEndian.AppendUint32(dst, uint32(s)) }
