package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// DialContext connects to an address as net.Dialer does, over the networks "tcp" and "udp", with 4 or 6 at the end for
// one family. Host names are those of [Network.Name]; their addresses are tried in order. The network must be live.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: addrText{network, address}, Err: err}
	}
	name, service, err := net.SplitHostPort(address)
	if err != nil {
		return fail(err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return fail(errors.New("the port is no number: " + service))
	}
	addrs, err := h.net.Lookup(name)
	if err != nil {
		return fail(err)
	}
	err = errors.New("no address of the family of " + network)
	for _, a := range addrs {
		if network[len(network)-1] == '4' && !a.Is4() || network[len(network)-1] == '6' && a.Is4() {
			continue
		}
		var c net.Conn
		remote := netip.AddrPortFrom(a, uint16(port))
		switch network[:3] {
		case "tcp":
			c, err = h.connect(ctx, netip.Addr{}, remote)
		case "udp":
			c, err = h.dialUDP(remote)
		default:
			return fail(net.UnknownNetworkError(network))
		}
		if err == nil {
			return c, nil
		}
	}
	return fail(err)
}

// addrText is an address that was not understood.
type addrText struct{ network, text string }

func (a addrText) Network() string { return a.network }
func (a addrText) String() string  { return a.text }

// DialFrom opens a byte stream from an address of the host; an invalid one leaves the choice to the host.
func (h *Host) DialFrom(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	c, err := h.connect(ctx, local, remote)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	return c, nil
}

func (h *Host) connect(ctx context.Context, local netip.Addr, remote netip.AddrPort) (*Conn, error) {
	n := h.net
	n.mu.Lock()
	if !local.IsValid() {
		local = h.source(remote.Addr())
	}
	if !local.IsValid() {
		n.mu.Unlock()
		return nil, errors.New("no address of the family of " + remote.String())
	}
	port, err := h.freePort(func(port uint16) bool {
		return h.conns[connKey{netip.AddrPortFrom(local, port), remote}] != nil
	})
	if err != nil {
		n.mu.Unlock()
		return nil, err
	}
	key := connKey{netip.AddrPortFrom(local, port), remote}
	c := newConn(h, key)
	h.conns[key] = c
	now := n.clock()
	n.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.output(now)
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	defer stop()
	for !c.opened {
		if c.err != nil {
			return nil, c.err
		}
		if ctx.Err() != nil {
			c.fail(errClosed)
			return nil, ctx.Err()
		}
		c.changed.Wait()
	}
	return c, nil
}

// LocalAddr returns the local address.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.key.local) }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.key.remote) }

func (c *Conn) opError(op string, err error) error {
	if err == errClosed {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Read reads what has arrived, and waits if there is nothing.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, c.opError("read", net.ErrClosed)
		case c.readDue.passed():
			return 0, c.opError("read", os.ErrDeadlineExceeded)
		case len(b) == 0:
			return 0, nil
		case len(c.in) > 0:
			was := c.room()
			n := copy(b, c.in)
			c.in = append(c.in[:0], c.in[n:]...)
			if was < mss && c.room() >= mss || was < receiveBuffer/2 && c.room() >= receiveBuffer/2 {
				c.emit(c.nxt, nil, 0) // the window opens again
			}
			return n, nil
		case c.err != nil:
			return 0, c.opError("read", c.err)
		case c.finished:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

// Write sends b, and waits while the send buffer is full.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	written := 0
	for {
		switch {
		case c.closed || c.ending:
			return written, c.opError("write", net.ErrClosed)
		case c.writeDue.passed():
			return written, c.opError("write", os.ErrDeadlineExceeded)
		case c.err != nil:
			return written, c.opError("write", c.err)
		}
		n := min(len(b)-written, sendBuffer-len(c.out))
		if n > 0 {
			c.out = append(c.out, b[written:written+n]...)
			written += n
			c.output(c.host.net.Now())
		}
		if written == len(b) {
			return written, nil
		}
		c.changed.Wait()
	}
}

// CloseWrite tells the peer that nothing more follows; what was written still reaches it.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end("close write")
}

func (c *Conn) end(op string) error {
	if c.err != nil {
		return c.opError(op, c.err)
	}
	if !c.ending {
		c.ending = true
		c.output(c.host.net.Now())
	}
	return nil
}

// Close closes both directions. What was written still reaches the peer, unless there are bytes that were not read:
// then the stream is reset, as TCP does.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	defer c.changed.Broadcast()
	c.closed = true
	c.readDue.stop()
	c.writeDue.stop()
	if c.err != nil {
		return nil
	}
	if len(c.in) > 0 {
		c.reset()
		return nil
	}
	return c.end("close")
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read, the present call included; the zero time is none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.readDue, t) }

// SetWriteDeadline sets the deadline of Write, the present call included; the zero time is none.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writeDue, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	d.set(t, &c.changed)
	return nil
}

// deadline is a point in Go's time that wakes who waits on a condition. The condition's lock guards it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(t time.Time, wake *sync.Cond) {
	d.stop()
	d.at = t
	wake.Broadcast()
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			wake.L.Lock()
			defer wake.L.Unlock()
			wake.Broadcast()
		})
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// A Listener accepts byte streams. It is a net.Listener.
type Listener struct {
	host    *Host
	local   netip.AddrPort
	opening map[*Conn]struct{} // handshakes under way; the network's lock guards it

	mu      sync.Mutex
	changed sync.Cond
	waiting []*Conn
	closed  bool
}

const backlog = 128

// Listen accepts streams at an address, which may be unspecified, and at its port, or a free one if that is 0.
func (h *Host) Listen(local netip.AddrPort) (*Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	fail := func(text string) (*Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: net.TCPAddrFromAddrPort(local), Err: errors.New(text)}
	}
	if !local.Addr().IsUnspecified() && h.via[local.Addr()] == nil {
		return fail(h.name + " has no such address")
	}
	if local.Port() == 0 {
		port, err := h.freePort(func(port uint16) bool {
			return h.listeners[netip.AddrPortFrom(local.Addr(), port)] != nil
		})
		if err != nil {
			return fail(err.Error())
		}
		local = netip.AddrPortFrom(local.Addr(), port)
	}
	if h.listeners[local] != nil {
		return fail("address in use")
	}
	l := &Listener{host: h, local: local, opening: map[*Conn]struct{}{}}
	l.changed.L = &l.mu
	h.listeners[local] = l
	return l, nil
}

// receive takes a segment that belongs to no stream yet.
func (l *Listener) receive(now mono.Time, p *Packet) {
	n := l.host.net
	n.mu.Lock()
	if p.tcp.flags&(flagSYN|flagACK|flagRST) != flagSYN {
		if p.tcp.flags&flagRST == 0 {
			l.host.refuse(p)
		}
		n.mu.Unlock()
		return
	}
	if len(l.opening) >= backlog || l.host.listeners[l.local] != l {
		n.mu.Unlock()
		return
	}
	key := connKey{p.Dst, p.Src}
	c := newConn(l.host, key)
	c.listener = l
	l.opening[c] = struct{}{}
	l.host.conns[key] = c
	n.mu.Unlock()
	c.receive(now, p)
}

// offer puts a stream whose handshake is over where Accept finds it. The stream is locked.
func (l *Listener) offer(c *Conn) {
	n := l.host.net
	n.mu.Lock()
	delete(l.opening, c)
	n.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) >= backlog {
		c.reset()
		return
	}
	l.waiting = append(l.waiting, c)
	l.changed.Broadcast()
}

// Accept waits for the next stream.
func (l *Listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		}
		if len(l.waiting) > 0 {
			c := l.waiting[0]
			l.waiting = l.waiting[1:]
			return c, nil
		}
		l.changed.Wait()
	}
}

// Close stops accepting. Streams that nobody accepted are reset.
func (l *Listener) Close() error {
	n := l.host.net
	n.mu.Lock()
	if l.host.listeners[l.local] == l {
		delete(l.host.listeners, l.local)
	}
	n.mu.Unlock()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.closed = true
	left := l.waiting
	l.waiting = nil
	l.changed.Broadcast()
	l.mu.Unlock()
	for _, c := range left {
		c.mu.Lock()
		c.reset()
		c.mu.Unlock()
	}
	return nil
}

// Addr returns the address at which l accepts.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }
