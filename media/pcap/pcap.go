// Package pcap reads the datagrams of UDP out of packet captures, those of tcpdump as of Wireshark (pcap and pcapng), and writes
// such files. It is to look into what a peer sent and received; webrtc.Pcap records it.
//
// Links may be Ethernet (with VLANs), Linux "cooked" of both versions, raw IP, and loopback; IP may be of either version. Datagrams
// that IP has cut into fragments are passed over.
package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrFormat says that what is read is no capture.
var ErrFormat = errors.New("pcap: not a capture")

// A Packet is one datagram of UDP.
type Packet struct {
	Time                time.Time
	Source, Destination netip.AddrPort
	Payload             []byte // valid until the next call
}

const (
	ngMagic   = 0x0a0d0d0a
	maxPacket = 1 << 18 // what tcpdump calls MAXIMUM_SNAPLEN
)

// A Reader reads a capture. It is for one goroutine at a time.
type Reader struct {
	source  func() ([]byte, gopacket.CaptureInfo, error)
	link    func(gopacket.CaptureInfo) layers.LinkType
	skipped uint64
	frame   frame
}

// A frame has room for what a packet may be made of.
type frame struct {
	ethernet layers.Ethernet
	vlan     layers.Dot1Q
	cooked   layers.LinuxSLL
	cooked2  layers.LinuxSLL2
	loopback layers.Loopback
	ip4      layers.IPv4
	ip6      layers.IPv6
	udp      layers.UDP
	cut      bool // the packet ends before its headers say so
}

// SetTruncated is called by the layers.
func (f *frame) SetTruncated() { f.cut = true }

// NewReader reads the head of a capture.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	p := &Reader{}
	if binary.BigEndian.Uint32(magic) == ngMagic {
		ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		p.source = ng.ZeroCopyReadPacketData
		p.link = func(info gopacket.CaptureInfo) layers.LinkType {
			link, _ := info.AncillaryData[0].(layers.LinkType)
			return link
		}
	} else {
		old, err := pcapgo.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		old.SetSnaplen(min(old.Snaplen(), maxPacket))
		p.source = old.ZeroCopyReadPacketData
		p.link = func(gopacket.CaptureInfo) layers.LinkType { return old.LinkType() }
	}
	return p, nil
}

// Skipped is how many packets were passed over up to now: not of UDP, fragments, on links of other kinds, or recorded in part
// only.
func (r *Reader) Skipped() uint64 { return r.skipped }

// Next returns the next datagram. At the end it returns io.EOF.
func (r *Reader) Next() (Packet, error) {
	for {
		data, info, err := r.source()
		if err != nil {
			return Packet{}, err
		}
		if p, ok := r.frame.decode(r.link(info), data); ok && info.CaptureLength == info.Length {
			p.Time = info.Timestamp
			return p, nil
		}
		r.skipped++
	}
}

// decode reads the headers of a packet, one behind the other.
func (f *frame) decode(link layers.LinkType, data []byte) (p Packet, ok bool) {
	f.cut = false
	var source, destination netip.Addr
	const deepest = 8 // VLANs within VLANs
	next := first(link, data)
	for range deepest {
		layer := f.layer(next)
		if layer == nil || layer.DecodeFromBytes(data, f) != nil || f.cut {
			return p, false
		}
		switch next {
		case layers.LayerTypeIPv4:
			source, _ = netip.AddrFromSlice(f.ip4.SrcIP)
			destination, _ = netip.AddrFromSlice(f.ip4.DstIP)
		case layers.LayerTypeIPv6:
			source, _ = netip.AddrFromSlice(f.ip6.SrcIP)
			destination, _ = netip.AddrFromSlice(f.ip6.DstIP)
		case layers.LayerTypeUDP:
			p.Source = netip.AddrPortFrom(source, uint16(f.udp.SrcPort))
			p.Destination = netip.AddrPortFrom(destination, uint16(f.udp.DstPort))
			p.Payload = f.udp.Payload
			return p, source.IsValid()
		}
		next, data = layer.NextLayerType(), layer.LayerPayload()
	}
	return p, false
}

// first is the layer that packets of a link begin with.
func first(link layers.LinkType, data []byte) gopacket.LayerType {
	const rawOpenBSD = 12 // raw IP, as some systems number it
	switch link {
	case layers.LinkTypeEthernet:
		return layers.LayerTypeEthernet
	case layers.LinkTypeLinuxSLL:
		return layers.LayerTypeLinuxSLL
	case layers.LinkTypeLinuxSLL2:
		return layers.LayerTypeLinuxSLL2
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return layers.LayerTypeLoopback
	case layers.LinkTypeRaw, rawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		if len(data) > 0 && data[0]>>4 == 6 {
			return layers.LayerTypeIPv6
		}
		return layers.LayerTypeIPv4
	}
	return gopacket.LayerTypeZero
}

func (f *frame) layer(t gopacket.LayerType) gopacket.DecodingLayer {
	switch t {
	case layers.LayerTypeEthernet:
		return &f.ethernet
	case layers.LayerTypeDot1Q:
		return &f.vlan
	case layers.LayerTypeLinuxSLL:
		return &f.cooked
	case layers.LayerTypeLinuxSLL2:
		return &f.cooked2
	case layers.LayerTypeLoopback:
		return &f.loopback
	case layers.LayerTypeIPv4:
		return &f.ip4
	case layers.LayerTypeIPv6:
		return &f.ip6
	case layers.LayerTypeUDP:
		return &f.udp
	}
	return nil
}

// A Writer writes a capture of raw IP, with times in nanoseconds. It is for one goroutine at a time.
type Writer struct {
	w   *pcapgo.Writer
	buf gopacket.SerializeBuffer
}

// NewWriter writes the head of a capture.
func NewWriter(w io.Writer) (*Writer, error) {
	p := &Writer{pcapgo.NewWriterNanos(w), gopacket.NewSerializeBuffer()}
	return p, p.w.WriteFileHeader(maxPacket, layers.LinkTypeRaw)
}

// Write writes a datagram. Its addresses must be of one version of IP.
func (w *Writer) Write(p Packet) error {
	source, destination := p.Source.Addr().Unmap(), p.Destination.Addr().Unmap()
	if !source.IsValid() || source.Is4() != destination.Is4() || !destination.IsValid() {
		return fmt.Errorf("pcap: no packet goes from %s to %s", p.Source, p.Destination)
	}
	const hops, most = 64, 1<<16 - 1 - 40 - 8
	if len(p.Payload) > most {
		return fmt.Errorf("pcap: a datagram of %d bytes", len(p.Payload))
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(p.Source.Port()), DstPort: layers.UDPPort(p.Destination.Port())}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	if source.Is4() {
		ip = &layers.IPv4{Version: 4, TTL: hops, Protocol: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	} else {
		ip = &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolUDP, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return err
	}
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(w.buf, options, ip, udp, gopacket.Payload(p.Payload)); err != nil {
		return err
	}
	b := w.buf.Bytes()
	return w.w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(b), Length: len(b)}, b)
}
