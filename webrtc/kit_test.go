package webrtc

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// simMachine is a virtual host as a program sees it: where a loop gets its sockets from, and gathering all else.
type simMachine struct{ host *simnet.Host }

func (m simMachine) Now() mono.Time { return m.host.Network().Now() }

func (m simMachine) Open(_ pkt.Socket, cfg udp.Config, arrive func(*pkt.Datagram)) (loop.NetworkSocket, error) {
	s, err := m.host.Bind(cfg.Local, func(_ mono.Time, d *pkt.Datagram) { arrive(d) })
	if err != nil {
		return nil, err
	}
	return simSocket{s}, nil
}

type simSocket struct{ *simnet.Socket }

func (s simSocket) LocalAddr() netip.AddrPort { return s.Local() }

func (s simSocket) Send(ts []*pkt.Transmit, c *udp.Counters) {
	for _, t := range ts {
		s.Transmit(*t)
		c.Sent += uint64(t.Segments())
	}
}

func (s simSocket) Close() error {
	s.Socket.Close()
	return nil
}

func (m simMachine) Addresses() (all []gather.Address, _ error) {
	for _, a := range m.host.Addrs() {
		all = append(all, gather.Address{IP: a, Interface: "sim0"})
	}
	return all, nil
}

func (m simMachine) Watch(func()) (stop func()) { return func() {} }

func (m simMachine) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	return m.host.Network().Lookup(name)
}

func (m simMachine) Dial(ctx context.Context, _ netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	return m.host.DialContext(ctx, "tcp", remote.String())
}

func (m simMachine) Listen(local netip.AddrPort) (net.Listener, error) { return m.host.Listen(local) }

// on returns the Network of programs on a virtual host.
func onHost(h *simnet.Host) *Network {
	m := simMachine{h}
	return &Network{host: m, poller: func() (loop.Poller, error) { return loop.NewMailbox(m), nil }}
}

// world is two hosts, each 10 ms from the middle of the internet.
type world struct {
	*testing.T
	net  *simnet.Network
	a, b *Network
}

// inWorld runs f in virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		path := simnet.Path{Delay: 10 * time.Millisecond}
		w := &world{T: t, net: n, a: onHost(n.Internet().Host("a", path, "203.0.113.1")), b: onHost(n.Internet().Host("b", path, "203.0.113.2"))}
		n.Live()
		defer n.Close()
		f(w)
	})
}

// pair makes two connections.
func (w *world) pair(cfg Configuration) (a, b *PeerConnection) {
	w.Helper()
	return w.connection(w.a, cfg), w.connection(w.b, cfg)
}

func (w *world) connection(n *Network, cfg Configuration) *PeerConnection {
	w.Helper()
	pc, err := n.NewPeerConnection(cfg)
	w.check(err)
	w.Cleanup(func() { pc.Close() })
	return pc
}

// trickle has each told the other's candidates, those that were gathered before included.
func (w *world) trickle(a, b *PeerConnection) {
	a.OnICECandidate(func(c *ICECandidate) {
		if err := b.AddICECandidate(c); err != nil && b.SignalingState() != SignalingStateClosed {
			w.Error(err)
		}
	})
	b.OnICECandidate(func(c *ICECandidate) {
		if err := a.AddICECandidate(c); err != nil && a.SignalingState() != SignalingStateClosed {
			w.Error(err)
		}
	})
}

func (w *world) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// negotiate makes a's offer and b's answer, and lets candidates trickle from then on.
func (w *world) negotiate(a, b *PeerConnection) {
	w.Helper()
	w.check(a.SetLocalDescription(nil))
	w.check(b.SetRemoteDescription(*a.LocalDescription()))
	w.check(b.SetLocalDescription(nil))
	w.check(a.SetRemoteDescription(*b.LocalDescription()))
	w.trickle(a, b)
}

// await waits for done, for a minute of virtual time.
func await[T any](w *world, done <-chan T, what string) (v T) {
	w.Helper()
	select {
	case v = <-done:
	case <-time.After(time.Minute):
		w.Fatalf("a minute has passed without %s", what)
	}
	return v
}

// connect makes a pair with one open channel.
func (w *world) connect(cfg Configuration, init *DataChannelInit) (a, b *PeerConnection, x, y *DataChannel) {
	w.Helper()
	a, b = w.pair(cfg)
	open, remote := make(chan struct{}), make(chan *DataChannel, 1)
	var err error
	x, err = a.CreateDataChannel("test", init)
	w.check(err)
	x.OnOpen(func() { close(open) })
	if x.Negotiated() {
		y, err = b.CreateDataChannel("test", init)
		w.check(err)
		y.OnOpen(func() { remote <- y })
	} else {
		b.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(func() { remote <- ch }) })
	}
	w.negotiate(a, b)
	await(w, open, "the channel opening")
	return a, b, x, await(w, remote, "the channel opening at the peer")
}
