package simnet

import (
	"encoding/binary"
	"io"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Capture writes every packet that h sends or receives to w, in the format of pcap, as tcpdump and Wireshark read it.
func (h *Host) Capture(w io.Writer) error { return h.node.capture(w) }

// Capture writes every packet that reaches or leaves r to w, so one that is forwarded is there twice, and translated
// once. The format is that of pcap.
func (r *Router) Capture(w io.Writer) error { return r.node.capture(w) }

func (n *node) capture(w io.Writer) error {
	// The header of a file with times in nanoseconds and packets that begin with their IP header.
	const magic, linkTypeRaw = 0xa1b23c4d, 101
	b := binary.BigEndian.AppendUint32(nil, magic)
	b = binary.BigEndian.AppendUint16(b, 2)
	b = binary.BigEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.BigEndian.AppendUint32(b, 1<<18)
	b = binary.BigEndian.AppendUint32(b, linkTypeRaw)
	if _, err := w.Write(b); err != nil {
		return err
	}
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.taps = append(n.taps, &pcapWriter{w: w})
	return nil
}

// pcapWriter writes packets until the first error.
type pcapWriter struct {
	w   io.Writer
	buf []byte
	id  uint16
	err error
}

func (t *pcapWriter) write(now mono.Time, p *Packet) {
	if t.err != nil {
		return
	}
	at := uint64(now - epoch)
	b := binary.BigEndian.AppendUint32(t.buf[:0], uint32(at/1e9))
	b = binary.BigEndian.AppendUint32(b, uint32(at%1e9))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Size()))
	b = binary.BigEndian.AppendUint32(b, uint32(p.Size()))
	t.id++
	t.buf = appendIP(b, p, t.id)
	_, t.err = t.w.Write(t.buf)
}

// appendIP appends p as it would be on the wire, checksums included.
func appendIP(b []byte, p *Packet, id uint16) []byte {
	const hops = 64
	tos := uint8(p.DSCP)<<2 | uint8(p.ECN)
	src, dst := p.Src.Addr().AsSlice(), p.Dst.Addr().AsSlice()
	start := len(b)
	if p.Dst.Addr().Is4() {
		b = append(b, 0x45, tos)
		b = binary.BigEndian.AppendUint16(b, uint16(p.Size()))
		b = binary.BigEndian.AppendUint16(b, id)
		b = append(b, 0x40, 0, hops, uint8(p.Protocol), 0, 0)
		b = append(append(b, src...), dst...)
		binary.BigEndian.PutUint16(b[start+10:], ^fold(sum(0, b[start:])))
	} else {
		b = append(b, 0x60|tos>>4, tos<<4, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(p.Size()-40))
		b = append(b, uint8(p.Protocol), hops)
		b = append(append(b, src...), dst...)
	}
	transport := len(b)
	b = binary.BigEndian.AppendUint16(b, p.Src.Port())
	b = binary.BigEndian.AppendUint16(b, p.Dst.Port())
	var check int // where the checksum is
	if p.Protocol == TCP {
		b = binary.BigEndian.AppendUint32(b, uint32(p.tcp.seq))
		b = binary.BigEndian.AppendUint32(b, uint32(p.tcp.ack))
		b = append(b, tcpHeader/4<<4, p.tcp.flags)
		b = binary.BigEndian.AppendUint16(b, uint16(min(p.tcp.window, 0xffff)))
		check = len(b)
		b = append(b, 0, 0, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(udpHeader+len(p.Payload)))
		check = len(b)
		b = append(b, 0, 0)
	}
	b = append(b, p.Payload...)
	// The pseudo header of RFC 768 and 9293.
	c := sum(sum(uint32(p.Protocol)+uint32(len(b)-transport), src), dst)
	folded := ^fold(sum(c, b[transport:]))
	if folded == 0 && p.Protocol == UDP {
		folded = 0xffff // RFC 768: zero means that there is none
	}
	binary.BigEndian.PutUint16(b[check:], folded)
	return b
}

// sum adds b to the internet checksum c (RFC 1071).
func sum(c uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		c += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		c += uint32(b[0]) << 8
	}
	return c
}

func fold(c uint32) uint16 {
	for c > 0xffff {
		c = c>>16 + c&0xffff
	}
	return uint16(c)
}
