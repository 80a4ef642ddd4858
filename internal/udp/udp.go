// Package udp is UDP as a packet path needs it: many datagrams for each system call, the local address and the ECN and
// DSCP markings both ways, and no allocation for a packet.
//
// There are two forms. On Linux a [Socket] is a non-blocking descriptor outside of Go's own poller; a [Receiver] and a
// [Sender], which one goroutine shares among all its sockets, move batches by recvmmsg and sendmmsg, with segmentation
// offload (UDP_SEGMENT, UDP_GRO) where [Probe] found that it works. Everywhere, Linux included, a [Conn] wraps
// *net.UDPConn and moves one datagram at a time; it is what runs where the first form does not exist or is switched off.
//
// A socket has one address family: a wildcard for both IPv4 and IPv6 is two sockets, and no address is ever an
// IPv4-mapped IPv6 address. IPv4 datagrams leave with DF clear, and IPv6 ones may be fragmented here, except where a
// transmit asks otherwise, so that a forged ICMP message cannot shrink a path for everyone.
//
// What the network does ends nothing: an ICMP error, a full queue or a route that vanished is a counted drop. Only
// opening a socket returns errors.
//
// Environment variables switch off what misbehaves on some kernel: PARLEY_DISABLE_MMSG (the second form is used),
// PARLEY_DISABLE_GSO, PARLEY_DISABLE_GRO and PARLEY_DISABLE_REUSEPORT, each by any value but "" and "0".
package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
)

// Features is what may be used of the system's UDP.
type Features struct {
	MMsg      bool // Socket, Receiver and Sender
	GSO       bool // one send for many datagrams to one address
	GRO       bool // one receive for many datagrams from one address
	ReusePort bool // several sockets that share a port and divide its senders among them
}

// Probe returns the features that the system proved to have, when first asked, and that no switch turns off.
func Probe() Features { return probeOnce() }

var probeOnce = sync.OnceValue(probe)

func probe() Features {
	f := probeSystem()
	f.MMsg = f.MMsg && !disabled("MMSG")
	f.GSO = f.GSO && f.MMsg && !disabled("GSO")
	f.GRO = f.GRO && f.MMsg && !disabled("GRO")
	f.ReusePort = f.ReusePort && f.MMsg && !disabled("REUSEPORT")
	return f
}

// disabled reports whether PARLEY_DISABLE_<what> is set.
func disabled(what string) bool {
	v := os.Getenv("PARLEY_DISABLE_" + what)
	return v != "" && v != "0"
}

// defaultBuffer absorbs 30 ms of a gigabit while a loop is busy elsewhere.
const defaultBuffer = 4 << 20

// Config says how to open a socket.
type Config struct {
	// Local is the address to bind: 0.0.0.0 or :: for every address of that family, port 0 for any free port.
	Local netip.AddrPort
	// ReusePort lets other sockets of this user that say the same share the port; the system spreads remote addresses
	// among them. For Open only, and only where Features.ReusePort says so.
	ReusePort bool
	// Buffer is the size in bytes to ask of the system for each direction; 0 is 4 MiB. The system may give less.
	Buffer int
	// ICMP asks for the reports that Receiver.ReceiveICMP returns. Linux only; elsewhere there are none.
	ICMP bool
}

var errLocal = errors.New("the local address is missing: give 0.0.0.0 or :: for all addresses")

func (c *Config) check() error {
	if !c.Local.IsValid() {
		return errLocal
	}
	if c.Local.Addr().Is4In6() {
		return fmt.Errorf("the local address %v is an IPv4-mapped IPv6 address: give it as IPv4", c.Local.Addr())
	}
	return nil
}

func (c *Config) buffer() int {
	if c.Buffer > 0 {
		return c.Buffer
	}
	return defaultBuffer
}

// Counters is what happened on the sockets of one goroutine, in datagrams unless said otherwise.
type Counters struct {
	Received      uint64
	ReceivedBytes uint64 // of payload
	ReceiveCalls  uint64 // system calls
	Truncated     uint64 // longer than the receive buffer, dropped
	KernelDrops   uint64 // dropped by the system because a receive buffer was full (SO_RXQ_OVFL)
	ICMP          uint64 // ICMP reports

	Sent      uint64
	SentBytes uint64 // of payload
	SendCalls uint64 // system calls
	SendFull  uint64 // dropped because the system had no room (EAGAIN, ENOBUFS)
	SendError uint64 // refused by the system: no route, too long, a firewall
	GSOOff    uint64 // sockets that lost GSO because a send with it failed
}

// Add adds d to c.
func (c *Counters) Add(d *Counters) {
	c.Received += d.Received
	c.ReceivedBytes += d.ReceivedBytes
	c.ReceiveCalls += d.ReceiveCalls
	c.Truncated += d.Truncated
	c.KernelDrops += d.KernelDrops
	c.ICMP += d.ICMP
	c.Sent += d.Sent
	c.SentBytes += d.SentBytes
	c.SendCalls += d.SendCalls
	c.SendFull += d.SendFull
	c.SendError += d.SendError
	c.GSOOff += d.GSOOff
}
