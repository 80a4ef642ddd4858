package jitter

import (
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// insertRED puts the blocks of a packet of redundant audio into their places: the last one is the packet's own, those before it are
// of the packets before, which may be lost.
func (b *Buffer) insertRED(now mono.Time, n int64, p *rtp.Packet) {
	blocks, err := payload.ParseRED(p.Payload)
	if err != nil {
		b.statistics.PacketsMalformed++
		return
	}
	older := int64(-1) // blocks
	for count := blocks; ; older++ {
		if _, ok := count.Next(); !ok {
			break
		}
	}
	for ; ; older-- {
		block, ok := blocks.Next()
		if !ok {
			return
		}
		q := *p
		q.PayloadType, q.Payload = block.PayloadType, block.Data
		kind := b.formats[q.PayloadType&127]
		switch {
		case !kind.known || kind.red:
			if older == 0 {
				b.statistics.PacketsUnknown++
			}
		case older == 0:
			b.insert(now, n, &q, kind, false)
		case len(block.Data) > 0:
			q.Timestamp -= uint32(block.Offset)
			q.SequenceNumber -= uint16(older)
			q.Marker, q.Padding, q.Extensions = false, 0, rtp.Extensions{}
			if b.fits(n-older, b.timestamps.Peek(q.Timestamp)) {
				b.insert(now, n-older, &q, kind, true)
			}
		}
	}
}

// fits reports whether a packet of some timestamp may be the missing one of a number. Which number a redundant block has is not said:
// senders may leave some out, and then it is another.
func (b *Buffer) fits(n int64, ts int64) bool {
	if n < b.packets.next || b.packets.at(n) != nil || b.out && ts < b.end {
		return false
	}
	before, after := b.packets.at(n-1), b.packets.at(n+1)
	return (before == nil || before.ts < ts) && (after == nil || after.ts > ts)
}
