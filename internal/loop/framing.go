package loop

import (
	"encoding/binary"
	"errors"
)

// Framing is how a byte stream is divided into frames.
type Framing interface {
	// Next finds the first frame of b. Its Size is 0 as long as too little of it has come to tell. An error says that
	// this is no frame, so that nothing that follows can be one.
	Next(b []byte) (Frame, error)
	// Append appends frame in the form that it has on the stream; nothing if it is too long to have one.
	Append(dst, frame []byte) []byte
	// Droppable reports whether its receiver can do without frame, or will ask for it again.
	Droppable(frame []byte) bool
}

// Frame is where a frame is in a stream: the frame itself from Start to End, and the next one at Size.
type Frame struct{ Start, End, Size int }

// maxFrame is the longest frame with all that surrounds it: RFC 4571's and RFC 8489's lengths have 16 bits.
const maxFrame = 20 + 65535 + 3

var (
	// RFC4571 precedes each frame with its length in two bytes (RFC 4571 section 2, RFC 6544 section 3). It carries STUN,
	// DTLS and SRTP, and of these STUN and the handshake of DTLS are not dropped.
	RFC4571 Framing = rfc4571{}
	// TURN is STUN messages and ChannelData one after the other, the latter padded to a multiple of four (RFC 8656
	// section 12.5), which Append does and Next undoes. ChannelData and the indications with data are droppable.
	TURN Framing = turn{}
)

type rfc4571 struct{}

func (rfc4571) Next(b []byte) (Frame, error) {
	if len(b) < 2 {
		return Frame{}, nil
	}
	end := 2 + int(binary.BigEndian.Uint16(b))
	return Frame{2, end, end}, nil
}

func (rfc4571) Append(dst, frame []byte) []byte {
	if len(frame) > 65535 {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(frame)))
	return append(dst, frame...)
}

// Droppable divides by the first byte (RFC 7983 section 7). DTLS 1.2 names the kind of its records, of which application
// data (23) is SCTP's, who sends again; of DTLS 1.3 only records in the clear belong for sure to a handshake.
func (rfc4571) Droppable(frame []byte) bool {
	return len(frame) > 0 && frame[0] >= 23
}

type turn struct{}

var errNotTURN = errors.New("neither a STUN message nor ChannelData")

const (
	stunHeader  = 20
	stunCookie  = 0x2112A442
	sendRequest = 0x0016 // Send indication
	dataRequest = 0x0017 // Data indication
)

func (turn) Next(b []byte) (Frame, error) {
	if len(b) == 0 {
		return Frame{}, nil
	}
	switch {
	case b[0] < 0x40: // RFC 8489 section 5: the first two bits are zero
		if len(b) < 8 {
			return Frame{}, nil
		}
		end := stunHeader + int(binary.BigEndian.Uint16(b[2:]))
		if end%4 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
			return Frame{}, errNotTURN
		}
		return Frame{0, end, end}, nil
	case b[0] < 0x80: // channels end at 0x4FFF, but RFC 5766 had them up to 0x7FFF: whole frames, which the engine discards
		if len(b) < 4 {
			return Frame{}, nil
		}
		end := 4 + int(binary.BigEndian.Uint16(b[2:]))
		return Frame{0, end, (end + 3) &^ 3}, nil
	}
	return Frame{}, errNotTURN
}

func (turn) Append(dst, frame []byte) []byte {
	dst = append(dst, frame...)
	for n := len(frame); n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	return dst
}

func (turn) Droppable(frame []byte) bool {
	if len(frame) < 2 {
		return true
	}
	kind := binary.BigEndian.Uint16(frame)
	return kind >= 0x4000 || kind == sendRequest || kind == dataRequest
}
