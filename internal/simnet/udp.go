package simnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A UDPConn is a UDP socket for programs with goroutines: a net.PacketConn, and a net.Conn if it was made by
// DialContext. Its methods may be called from any goroutine.
type UDPConn struct {
	socket *Socket
	remote netip.AddrPort // valid if connected

	mu      sync.Mutex
	changed sync.Cond
	readDue deadline
	waiting []datagram
	closed  bool
	dropped uint64
}

type datagram struct {
	from    netip.AddrPort
	payload []byte
}

// receiveQueue is how many datagrams wait to be read; more are dropped and counted.
const receiveQueue = 1024

// ListenUDP opens a UDP socket at an address, which may be unspecified, and at its port, or a free one if that is 0.
func (h *Host) ListenUDP(local netip.AddrPort) (*UDPConn, error) {
	return h.openUDP(local, netip.AddrPort{})
}

func (h *Host) openUDP(local, remote netip.AddrPort) (*UDPConn, error) {
	c := &UDPConn{remote: remote}
	c.changed.L = &c.mu
	s, err := h.Bind(local, c.handle)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: "udp", Addr: net.UDPAddrFromAddrPort(local), Err: err}
	}
	c.socket = s
	return c, nil
}

func (h *Host) dialUDP(remote netip.AddrPort) (*UDPConn, error) {
	h.net.mu.Lock()
	local := h.source(remote.Addr())
	h.net.mu.Unlock()
	if !local.IsValid() {
		return nil, errors.New("no address of the family of " + remote.String())
	}
	return h.openUDP(netip.AddrPortFrom(local, 0), remote)
}

func (c *UDPConn) handle(_ mono.Time, d *pkt.Datagram) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.remote.IsValid() && d.Remote != c.remote {
		return
	}
	if len(c.waiting) >= receiveQueue {
		c.dropped++
		return
	}
	c.waiting = append(c.waiting, datagram{d.Remote, slices.Clone(d.Payload)})
	c.changed.Broadcast()
}

// LocalAddr returns the address that c is bound to.
func (c *UDPConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.socket.local) }

// RemoteAddr returns the address that c is connected to, or nil.
func (c *UDPConn) RemoteAddr() net.Addr {
	if !c.remote.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.remote)
}

// Dropped returns how many datagrams were dropped because nobody read.
func (c *UDPConn) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

func (c *UDPConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// ReadFromUDPAddrPort reads one datagram; what does not fit into b is lost.
func (c *UDPConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, netip.AddrPort{}, c.opError("read", net.ErrClosed)
		case c.readDue.passed():
			return 0, netip.AddrPort{}, c.opError("read", os.ErrDeadlineExceeded)
		case len(c.waiting) > 0:
			d := c.waiting[0]
			c.waiting = c.waiting[1:]
			return copy(b, d.payload), d.from, nil
		}
		c.changed.Wait()
	}
}

// ReadFrom reads one datagram; what does not fit into b is lost.
func (c *UDPConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// Read reads one datagram; what does not fit into b is lost.
func (c *UDPConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFromUDPAddrPort(b)
	return n, err
}

// WriteToUDPAddrPort sends b as one datagram. It never waits.
func (c *UDPConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, c.opError("write", net.ErrClosed)
	}
	const largest = 65507
	if len(b) > largest {
		return 0, c.opError("write", errors.New("message too long"))
	}
	c.socket.Send(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), b)
	return len(b), nil
}

// WriteTo sends b as one datagram to a *net.UDPAddr.
func (c *UDPConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", errors.New("the address is not a *net.UDPAddr"))
	}
	return c.WriteToUDPAddrPort(b, u.AddrPort())
}

// Write sends b as one datagram to where c is connected.
func (c *UDPConn) Write(b []byte) (int, error) {
	if !c.remote.IsValid() {
		return 0, c.opError("write", errors.New("the socket is not connected"))
	}
	return c.WriteToUDPAddrPort(b, c.remote)
}

// Close closes the socket.
func (c *UDPConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.readDue.stop()
	c.socket.Close()
	c.changed.Broadcast()
	return nil
}

// SetDeadline sets the deadline of reading; writing never waits.
func (c *UDPConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline sets the deadline of reading, the present call included; the zero time is none.
func (c *UDPConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	c.readDue.set(t, &c.changed)
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (c *UDPConn) SetWriteDeadline(time.Time) error { return nil }
