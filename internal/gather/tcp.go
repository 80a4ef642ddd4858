package gather

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const (
	// connectPatience is how long a TCP connection to a peer may take to open.
	connectPatience = 10 * time.Second
	// maxAccepted is how many connections one passive candidate has open: a peer needs one, and strangers may come.
	maxAccepted = 16
)

// A listener is a passive TCP candidate (RFC 6544 section 5.1).
type listener struct {
	net.Listener
	name     pkt.Socket
	base     *base
	accepted []accepted // those that are open, the oldest first
}

// accepted is a connection to a passive candidate.
type accepted struct {
	socket pkt.Socket
	peers  bool // and not a stranger's
}

// admit makes room for another connection: a stranger's goes, the oldest first.
func (l *listener) admit(g *Gatherer) bool {
	if len(l.accepted) < maxAccepted {
		return true
	}
	i := slices.IndexFunc(l.accepted, func(a accepted) bool { return !a.peers })
	if i < 0 {
		return false
	}
	g.lease.Close(l.accepted[i].socket)
	l.accepted = slices.Delete(l.accepted, i, i+1)
	return true
}

// Keep says that a stream that a passive candidate accepted is the peer's, since a check came along it (ice.PathKnown). Strangers'
// make room for new ones.
func (g *Gatherer) Keep(s pkt.Socket) {
	for _, l := range g.listeners {
		for i := range l.accepted {
			if l.accepted[i].socket == s {
				l.accepted[i].peers = true
			}
		}
	}
}

// forgetAccepted takes note that a stream is closed.
func (g *Gatherer) forgetAccepted(s pkt.Socket) {
	for _, l := range g.listeners {
		l.accepted = slices.DeleteFunc(l.accepted, func(a accepted) bool { return a.socket == s })
	}
}

// tellTCP tells the TCP candidates of a base, at the address of its host candidate.
func (g *Gatherer) tellTCP(_ mono.Time, b *base, host *ice.Candidate) {
	c := Candidate{Candidate: *host}
	if g.cfg.TCP {
		// "the port ... MUST be set to 9" (RFC 6544 section 4.5)
		c.Transport, c.Address, c.Base = ice.TCPActive, netip.AddrPortFrom(host.Address.Addr(), 9), netip.AddrPortFrom(b.IP, 9)
		c.Socket = 0
		g.tell(c)
	}
	if !g.cfg.PassiveTCP || len(g.listeners) == maxListeners {
		return
	}
	l, err := g.listen(b)
	if err != nil {
		return // without a port that can be bound there is no such candidate
	}
	port := addrPort(l.Addr()).Port()
	c.Transport, c.Socket = ice.TCPPassive, l.name
	c.Address, c.Base = netip.AddrPortFrom(host.Address.Addr(), port), netip.AddrPortFrom(b.IP, port)
	g.tell(c)
}

// listen opens a port of the range and begins to accept.
func (g *Gatherer) listen(b *base) (*listener, error) {
	var l net.Listener
	err := errNoPort
	if g.cfg.MaxPort == 0 {
		l, err = g.cfg.Host.Listen(netip.AddrPortFrom(b.IP, 0))
	}
	for port := int(g.cfg.MinPort); g.cfg.MaxPort != 0 && err != nil && port <= int(g.cfg.MaxPort); port++ {
		l, err = g.cfg.Host.Listen(netip.AddrPortFrom(b.IP, uint16(port)))
	}
	if err != nil {
		return nil, err
	}
	n := firstListen
	for slices.ContainsFunc(g.listeners, func(o *listener) bool { return o.name == g.name(n) }) {
		n++
	}
	p := &listener{Listener: l, name: g.name(n), base: b}
	g.listeners = append(g.listeners, p)
	g.working++
	go g.accept(g.lease.Loop(), p)
	return p, nil
}

// accept is a goroutine for as long as a listener is open.
func (g *Gatherer) accept(on *loop.Loop, l *listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		posted := on.Post(func(mono.Time) {
			if g.closed || !slices.Contains(g.listeners, l) || !l.admit(g) {
				conn.Close()
				return
			}
			s, err := g.lease.Adopt(conn, loop.RFC4571)
			if err != nil {
				conn.Close()
				return
			}
			l.accepted = append(l.accepted, accepted{socket: s})
		})
		if !posted {
			conn.Close()
		}
	}
	on.Post(func(now mono.Time) {
		g.working--
		g.settle(now)
		g.lease.Touch()
	})
}

// dropListeners closes the passive candidates of a base.
func (g *Gatherer) dropListeners(b *base) {
	g.listeners = slices.DeleteFunc(g.listeners, func(l *listener) bool {
		if l.base != b {
			return false
		}
		_ = l.Close()
		for _, a := range l.accepted {
			if !a.peers { // the agent knows nothing of it
				g.lease.Close(a.socket)
			}
		}
		if !g.closed {
			g.lose(l.name)
		}
		return true
	})
}

// Connect does what the agent's event asks for. Connected or ConnectFailed follows.
func (g *Gatherer) Connect(_ mono.Time, c ice.Connect) {
	if g.closed {
		return
	}
	host := g.cfg.Host
	local := c.Local
	if i := slices.IndexFunc(g.bases, func(b *base) bool { return b.IP.WithZone("") == local.WithZone("") }); i >= 0 {
		local = g.bases[i].IP
	}
	g.background(connectPatience, func(ctx context.Context) (func(mono.Time), func()) {
		conn, err := host.Dial(ctx, local, c.Remote)
		return func(mono.Time) {
				if err == nil {
					var socket pkt.Socket
					if socket, err = g.lease.Adopt(conn, loop.RFC4571); err == nil {
						g.events = append(g.events, Connected{c.Number, socket, addrPort(conn.LocalAddr())})
						return
					}
					conn.Close()
				}
				g.events = append(g.events, ConnectFailed{c.Number})
			}, func() {
				if conn != nil {
					conn.Close()
				}
			}
	})
}
