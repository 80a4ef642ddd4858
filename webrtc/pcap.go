package webrtc

import (
	"encoding/binary"
	"io"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// A Packet is one datagram as it was on the wire, or one frame of a stream.
type Packet struct {
	Time          time.Time
	Sent          bool // by us
	Local, Remote netip.AddrPort
	Payload       []byte // borrowed: valid during the call
}

// observe shows what is sent.
func observe(f func(*Packet), sent []pkt.Transmit) {
	now := time.Now()
	for i := range sent {
		t := &sent[i]
		for rest := t.Payload; len(rest) > 0; {
			n := len(rest)
			if t.SegmentSize > 0 {
				n = min(n, int(t.SegmentSize))
			}
			f(&Packet{now, true, t.Local, t.Remote, rest[:n]})
			rest = rest[n:]
		}
	}
}

// Pcap returns an observer for [NetworkConfig.Observer] that writes what it is shown to w as a file for Wireshark or
// tcpdump, in which everything is UDP. After the first error of w it writes nothing more.
func Pcap(w io.Writer) func(*Packet) {
	// The header of a file with times in nanoseconds, and packets that begin with the header of IP.
	const magic, version, longest, rawIP = 0xa1b23c4d, 2<<16 | 4, 1 << 18, 101
	var header []byte
	for _, word := range [...]uint32{magic, version, 0, 0, longest, rawIP} {
		header = binary.BigEndian.AppendUint32(header, word)
	}
	_, err := w.Write(header)
	var b []byte
	return func(p *Packet) {
		if err != nil {
			return
		}
		src, dst := p.Remote, p.Local
		if p.Sent {
			src, dst = dst, src
		}
		b = binary.BigEndian.AppendUint32(b[:0], uint32(p.Time.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(p.Time.Nanosecond()))
		b = append(b, make([]byte, 8)...) // the size, twice
		b = appendIP(b, src, dst, p.Payload)
		binary.BigEndian.PutUint32(b[8:], uint32(len(b)-16))
		binary.BigEndian.PutUint32(b[12:], uint32(len(b)-16))
		_, err = w.Write(b)
	}
}

// appendIP appends a datagram with headers of UDP and IP; their checksums are zero, which no reader minds.
func appendIP(b []byte, src, dst netip.AddrPort, payload []byte) []byte {
	const hops, protocolUDP, headerUDP, headerIPv4 = 64, 17, 8, 20
	if dst.Addr().Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(headerIPv4+headerUDP+len(payload)))
		b = append(b, 0, 0, 0, 0, hops, protocolUDP, 0, 0)
		source := netip.IPv4Unspecified().As4()
		if src.Addr().Is4() { // the system chose it
			source = src.Addr().As4()
		}
		b = append(b, source[:]...)
	} else {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(headerUDP+len(payload)))
		b = append(b, protocolUDP, hops)
		source := netip.IPv6Unspecified().As16()
		if src.Addr().IsValid() {
			source = src.Addr().As16()
		}
		b = append(b, source[:]...)
	}
	b = append(b, dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(headerUDP+len(payload)))
	b = append(b, 0, 0)
	return append(b, payload...)
}
