package simnet

import (
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// Protocol is the transport protocol of a packet.
type Protocol uint8

// The protocols of the network, by their numbers in the IP header.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

func (p Protocol) String() string {
	if p == TCP {
		return "tcp"
	}
	return "udp"
}

// Packet is an IP packet with one UDP datagram or TCP segment.
type Packet struct {
	Protocol Protocol
	Src, Dst netip.AddrPort
	ECN      pkt.ECN
	DSCP     pkt.DSCP
	Payload  []byte
	tcp      segment

	unfragmented bool // it must not be fragmented on the way
}

// Size returns the number of bytes on the wire, headers of IP and above included.
func (p *Packet) Size() int {
	ip := ipHeader
	if p.Dst.Addr().Is6() {
		ip = 40
	}
	if p.Protocol == TCP {
		return ip + tcpHeader + len(p.Payload)
	}
	return ip + udpHeader + len(p.Payload)
}

const (
	ipHeader  = 20 // of IPv4
	tcpHeader = 20
	udpHeader = 8
)

// segment is what a TCP header says. Sequence numbers do not wrap here; only their low 32 bits are ever shown.
type segment struct {
	seq, ack uint64
	window   int
	flags    uint8
	holes    []hole // what is missing before the highest that came; stands for the blocks of RFC 2018
}

// hole is a range of sequence numbers, without its end.
type hole struct{ from, to uint64 }

const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// packet returns a packet with a copy of payload. The caller holds n.mu.
func (n *Network) packet(proto Protocol, src, dst netip.AddrPort, payload []byte) *Packet {
	p := &Packet{}
	if last := len(n.free) - 1; last >= 0 {
		p, n.free = n.free[last], n.free[:last]
	}
	*p = Packet{Protocol: proto, Src: src, Dst: dst, Payload: append(p.Payload[:0], payload...)}
	return p
}

// duplicate returns a copy of p.
func (n *Network) duplicate(p *Packet) *Packet {
	q := *p
	q.Payload = slices.Clone(p.Payload)
	return &q
}

// recycle takes back a packet that nobody looks at any more.
func (n *Network) recycle(p *Packet) {
	if len(n.free) < 1024 {
		n.free = append(n.free, p)
	}
}

// Log writes a line to w for every packet that a host sends or receives and for every packet that is dropped: when,
// where, what, from and to, size and a checksum of the payload. Call it before anything is sent.
func (n *Network) Log(w io.Writer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = w
}

// note writes a line of the log.
func (n *Network) note(where, what string, p *Packet) {
	if n.log == nil {
		return
	}
	sum := fnv.New32a()
	sum.Write(p.Payload)
	extra := ""
	if p.Protocol == TCP {
		extra = fmt.Sprintf(" seq %d ack %d flags %05b", p.tcp.seq, p.tcp.ack, p.tcp.flags)
	}
	fmt.Fprintf(n.log, "%12.6f %s %s %v %v > %v %d bytes %08x%s\n",
		time.Duration(n.now-epoch).Seconds(), where, what, p.Protocol, p.Src, p.Dst, len(p.Payload), sum.Sum32(), extra)
}
