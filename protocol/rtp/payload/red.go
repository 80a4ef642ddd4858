package payload

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// A REDBlock is one of the payloads in a payload of redundant audio (RFC 2198).
type REDBlock struct {
	PayloadType rtp.PayloadType
	// Offset is how many ticks before the packet's timestamp the block's is. Of the last block, the primary, it is 0; that one
	// alone is new.
	Offset uint16
	Data   []byte
}

// REDBlocks are the blocks of a payload, oldest first as a rule.
type REDBlocks struct{ heads, data []byte }

const (
	redMore      = 0x80 // F
	redMaxOffset = 1<<14 - 1
	redMaxBlock  = 1<<10 - 1
	redHeader    = 4
)

// ParseRED reads a payload of redundant audio. The blocks lie in it.
func ParseRED(payload []byte) (REDBlocks, error) {
	at, sum := 0, 0
	for {
		if at >= len(payload) {
			if len(payload) == 0 {
				return REDBlocks{}, ErrEmpty
			}
			return REDBlocks{}, ErrMalformed
		}
		if payload[at]&redMore == 0 { // "If 1 further header blocks follow, if 0 this is the last header block."
			break
		}
		if len(payload)-at < redHeader {
			return REDBlocks{}, ErrMalformed
		}
		sum += int(binary.BigEndian.Uint16(payload[at+2:])) & redMaxBlock
		at += redHeader
	}
	at++
	if sum > len(payload)-at {
		return REDBlocks{}, ErrMalformed
	}
	return REDBlocks{payload[:at], payload[at:]}, nil
}

// Next returns the next block. Its data may be empty.
func (b *REDBlocks) Next() (block REDBlock, ok bool) {
	if len(b.heads) == 0 {
		return block, false
	}
	block.PayloadType = rtp.PayloadType(b.heads[0] & 0x7f)
	if b.heads[0]&redMore == 0 {
		block.Data, b.heads = b.data, nil
		return block, true
	}
	v := binary.BigEndian.Uint32(b.heads)
	n := int(v & redMaxBlock)
	block.Offset = uint16(v >> 10 & redMaxOffset)
	block.Data, b.data = b.data[:n], b.data[n:]
	b.heads = b.heads[redHeader:]
	return block, true
}

// A REDEncoder adds to each payload of audio those before it, so that the loss of a packet, or of a few in a row, is made good
// by the one after.
type REDEncoder struct {
	history []redEntry // the latest last
}

type redEntry struct {
	payloadType rtp.PayloadType
	timestamp   uint32
	data        []byte
}

// MaxREDLevels is how many payloads back a packet may go.
const MaxREDLevels = 8

// NewREDEncoder returns an encoder that repeats as many payloads as levels says, 1 to MaxREDLevels.
func NewREDEncoder(levels int) *REDEncoder {
	return &REDEncoder{history: make([]redEntry, 0, min(max(levels, 1), MaxREDLevels))}
}

// Append appends the payload for one packet of audio: as many of the last ones as fit into limit bytes, then this one, which it
// copies for those to come. The oldest are left out first; so are those that have no room in a block's header, being too long
// (1023 bytes) or too old (16383 ticks), as after a pause. The primary is there always, also beyond the limit.
func (r *REDEncoder) Append(dst []byte, pt rtp.PayloadType, timestamp uint32, primary []byte, limit int) []byte {
	room := limit - 1 - len(primary)
	first := len(r.history)
	for ; first > 0; first-- {
		e := &r.history[first-1]
		room -= redHeader + len(e.data)
		if offset := timestamp - e.timestamp; room < 0 || offset == 0 || offset > redMaxOffset {
			break
		}
	}
	for _, e := range r.history[first:] {
		dst = append(dst, redMore|byte(e.payloadType))
		dst = append(dst, byte((timestamp-e.timestamp)>>6))
		dst = binary.BigEndian.AppendUint16(dst, uint16((timestamp-e.timestamp)<<10)|uint16(len(e.data)))
	}
	dst = append(dst, byte(pt&0x7f))
	for _, e := range r.history[first:] {
		dst = append(dst, e.data...)
	}
	r.remember(pt, timestamp, primary)
	return append(dst, primary...)
}

func (r *REDEncoder) remember(pt rtp.PayloadType, timestamp uint32, data []byte) {
	if len(data) > redMaxBlock {
		r.history = r.history[:0]
		return
	}
	var e redEntry
	if n := len(r.history); n < cap(r.history) {
		r.history = r.history[:n+1]
		e = r.history[n] // its memory may be of before
	} else {
		e = r.history[0]
		copy(r.history, r.history[1:])
	}
	e.payloadType, e.timestamp, e.data = pt&0x7f, timestamp, append(e.data[:0], data...)
	r.history[len(r.history)-1] = e
}
