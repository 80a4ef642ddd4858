package sctp

import (
	"math"
	"strings"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Payload protocol identifiers (RFC 8831 section 8).
const (
	ppidDCEP        = 50
	ppidString      = 51
	ppidBinary      = 53
	ppidStringEmpty = 56
	ppidBinaryEmpty = 57
)

// The messages of DCEP (RFC 8832 sections 5 and 8.2).
const (
	dcepAck  = 2
	dcepOpen = 3
)

// appendOpen appends a DATA_CHANNEL_OPEN.
func appendOpen(b []byte, c *ChannelConfig) []byte {
	kind := uint8(c.Reliability)
	if c.Unordered {
		kind |= 0x80
	}
	priority := c.Priority
	if priority == 0 {
		priority = 256
	}
	b = append(b, dcepOpen, kind)
	b = wire.AppendUint16(b, priority)
	b = wire.AppendUint32(b, c.Limit)
	b = wire.AppendUint16(b, uint16(len(c.Label)))
	b = wire.AppendUint16(b, uint16(len(c.Protocol)))
	return append(append(b, c.Label...), c.Protocol...)
}

// decode returns what b says in UTF-8; what is none is replaced, as the W3C's decoding does it.
func decode(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

func parseOpen(b []byte) (c ChannelConfig, ok bool) {
	r := wire.NewReader(b)
	r.Skip(1)
	kind := r.Uint8()
	c.Priority, c.Limit = r.Uint16(), r.Uint32()
	label, protocol := int(r.Uint16()), int(r.Uint16())
	c.Label, c.Protocol = decode(r.Bytes(label)), decode(r.Bytes(protocol))
	c.Unordered, c.Reliability = kind&0x80 != 0, Reliability(kind&0x7f)
	if c.Reliability == Reliable {
		c.Limit = 0 // section 5.1: ignored
	}
	return c, r.OK() && c.Reliability <= MaxLifetime && c.Limit <= math.MaxUint32-1
}

func (a *Association) handleDCEP(now mono.Time, ch *channel, b []byte) {
	if ch.closing {
		return
	}
	switch {
	case len(b) > 0 && b[0] == dcepAck: // some send it with three bytes of padding
		ch.waitsForAck = false
	case len(b) > 0 && b[0] == dcepOpen:
		c, ok := parseOpen(b)
		// Section 6: an id of our own, or one that is in use, is an error. Its channel is not touched.
		ours := a.ours(ch.id)
		switch {
		case ch.claimed || ours:
			a.stats.DroppedMalformed++
			if !ch.claimed {
				a.closeWithError(now, ch.id, "the peer opened a channel with an id of ours")
			}
		case !ok:
			a.stats.DroppedMalformed++
			a.closeWithError(now, ch.id, "the peer opened a channel in a way that makes no sense")
		case a.lacks(ch) && a.ext&extReconfig == 0:
			a.closeWithError(now, ch.id, "the peer opened a channel that we have no stream for")
		case a.labels+c.size() > maxLabels:
			a.closeWithError(now, ch.id, "the peer's labels and protocols are too long together")
		default:
			a.claim(ch, &c)
			if a.lacks(ch) { // the peer may send on it, we may not yet
				a.hold(now, ch)
			}
			a.enqueue(now, ch, ppidDCEP, []byte{dcepAck}, true)
			a.tell(Event{Kind: ChannelOpen, Stream: ch.id, Channel: c, Remote: true})
			a.deliverOrphans(now, ch)
		}
	default:
		a.stats.DroppedMalformed++
	}
}
