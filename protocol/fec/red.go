package fec

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// RED takes a packet of a video stream whose payload is RED (RFC 2198), in which ULPFEC travels (RFC 5109 section 14.2): it uses what
// repair data is in it, of payload type repair, and returns the media packet that is in it, which lies in p. It is false if there is none:
// the sequence number of such a packet is no loss. The Decoder's format must be ULPFEC.
func (d *Decoder) RED(p *rtp.Packet, repair rtp.PayloadType) (media rtp.Packet, ok bool) {
	// Headers first: four bytes for each block but the last, of which there is the first byte alone (RFC 2198 section 3).
	const more = 0x80
	b := p.Payload
	blocks := 0
	for blocks*4 < len(b) && b[blocks*4]&more != 0 {
		blocks++
	}
	at := blocks*4 + 1
	if at > len(b) {
		d.counts.Malformed++
		return media, false
	}
	take := func(pt byte, from, to int) {
		inner := *p
		inner.PayloadType, inner.Payload = rtp.PayloadType(pt&0x7f), b[from:to:to]
		if inner.PayloadType == repair {
			inner.Padding = 0
			d.Repair(&inner)
			return
		}
		media, ok = inner, true
	}
	for i := range blocks {
		h := binary.BigEndian.Uint32(b[i*4:])
		end := at + int(h&0x3ff)
		if end > len(b) {
			d.counts.Malformed++
			return rtp.Packet{}, false
		}
		if pt := byte(h >> 24); rtp.PayloadType(pt&0x7f) == repair { // other redundant data does not occur in video
			take(pt, at, end)
		}
		at = end
	}
	take(b[blocks*4], at, len(b))
	if ok {
		d.packet = media.Append(d.packet[:0])
		d.Media(d.packet)
	}
	return media, ok
}
