package webrtc

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
)

// onHost returns the Network of programs on a virtual host.
func onHost(h *simloop.Host) *Network {
	return &Network{host: h, poller: pollerOf(h)}
}

// world is two hosts, each 10 ms from the middle of the internet.
type world struct {
	*testing.T
	net          *simnet.Network
	hostA, hostB *simloop.Host
	a, b         *Network
	signaling    sync.Mutex
}

// inWorld runs f in virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		path := simnet.Path{Delay: 10 * time.Millisecond}
		w := &world{T: t, net: n,
			hostA: simloop.New(n.Internet().Host("a", path, "203.0.113.1")), hostB: simloop.New(n.Internet().Host("b", path, "203.0.113.2"))}
		w.a, w.b = onHost(w.hostA), onHost(w.hostB)
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

// trickle has each told the other's candidates, those that were gathered before included, but not while descriptions are on
// their way: they come after them, as over one signaling channel.
func (w *world) trickle(a, b *PeerConnection) {
	for from, to := range map[*PeerConnection]*PeerConnection{a: b, b: a} {
		from.OnICECandidate(func(c *ICECandidate) {
			w.signaling.Lock()
			defer w.signaling.Unlock()
			if err := to.AddICECandidate(c); err != nil && to.SignalingState() != SignalingStateClosed {
				w.Error(err)
			}
		})
	}
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
	w.signaling.Lock()
	defer w.signaling.Unlock()
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

func pollerOf(h *simloop.Host) func() (loop.Poller, error) {
	return func() (loop.Poller, error) { return h.Poller(), nil }
}
