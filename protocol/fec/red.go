package fec

import (
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// RED takes a packet of a video stream whose payload is RED (RFC 2198), in which ULPFEC travels (RFC 5109 section 14.2): it uses what
// repair data is in it, of payload type repair, and returns the media packet that is in it, which lies in p. It is false if there is none:
// the sequence number of such a packet is no loss. The Decoder's format must be ULPFEC.
func (d *Decoder) RED(p *rtp.Packet, repair rtp.PayloadType) (media rtp.Packet, ok bool) {
	blocks, err := payload.ParseRED(p.Payload)
	if err != nil {
		d.counts.Malformed++
		return media, false
	}
	for b, more := blocks.Next(); more; b, more = blocks.Next() {
		inner := *p
		inner.PayloadType, inner.Payload = b.PayloadType, b.Data
		switch {
		case b.PayloadType == repair:
			d.Repair(&inner)
		case b.Offset == 0: // other redundant data does not occur in video
			media, ok = inner, true
		}
	}
	if ok {
		d.packet = media.Append(d.packet[:0])
		d.Media(d.packet)
	}
	return media, ok
}
