package loop

import (
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// long reports whether the tests run at full size.
var long = os.Getenv("PARLEY_LONG") != ""

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// world is a poller's surroundings: how to make one, and the address that its sockets may have.
type world struct {
	poller func() Poller
	local  netip.AddrPort
	settle func() // lets virtual time pass, if it is virtual, until what is under way has arrived
	late   bool   // what is under way arrives at whoever has the port by then
}

// eachPoller runs f over every poller that works here; over the virtual network in a bubble.
func eachPoller(t *testing.T, f func(t *testing.T, w world)) {

	for name, poller := range systemPollers(t) {
		t.Run(name, func(t *testing.T) { f(t, world{poller, loopback, func() {}, false}) })
	}
	t.Run("readers", func(t *testing.T) {
		f(t, world{func() Poller { return NewMailbox(Readers{}) }, loopback, func() {}, false})
	})
	t.Run("simnet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := simWorld()
			defer w.network.Close()
			f(t, w.world)
		})
	})
}

// simulated is a world of one host on a virtual network.
type simulated struct {
	world
	network *simnet.Network
	host    *simnet.Host
}

func simWorld() simulated {
	n := simnet.New(1)
	host := n.Internet().Host("host", simnet.Path{}, "203.0.113.1")
	n.Live()
	return simulated{
		network: n,
		host:    host,
		world: world{
			poller: func() Poller { return NewMailbox(simNetwork{host}) },
			local:  netip.MustParseAddrPort("203.0.113.1:0"),
			settle: func() { time.Sleep(time.Millisecond) },
			late:   true,
		},
	}
}

// simNetwork is the Network of a virtual host.
type simNetwork struct{ host *simnet.Host }

func (n simNetwork) Now() mono.Time { return n.host.Network().Now() }

func (n simNetwork) Open(_ pkt.Socket, cfg udp.Config, arrive func(*pkt.Datagram)) (NetworkSocket, error) {
	return n.host.OpenEndpoint(cfg, arrive)
}

// start starts a loop that is closed when the test ends.
func start(t testing.TB, w world) *Loop {
	t.Helper()
	l, err := New(Config{Poller: w.poller()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// do runs f on the loop, or fails the test.
func do(t testing.TB, l *Loop, f func(now mono.Time)) {
	t.Helper()
	if err := l.Do(f); err != nil {
		t.Fatal(err)
	}
}

// await waits for the loop to close done.
func await(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(need.Patience):
		t.Fatal("there is no ", what)
	}
}

// actor is a tenant made of functions; those that are nil do nothing.
type actor struct {
	lease    *Lease
	datagram func(now mono.Time, d *pkt.Datagram)
	timeout  func(now mono.Time)
	transmit func(now mono.Time, b *pkt.Batch) bool
	icmp     func(m *pkt.ICMP)
	closed   func(s pkt.Socket)
	next     mono.Time // NextTimeout; zero is never
}

func (a *actor) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if a.datagram != nil {
		a.datagram(now, d)
	}
}

func (a *actor) HandleTimeout(now mono.Time) {
	a.next = 0
	if a.timeout != nil {
		a.timeout(now)
	}
}

func (a *actor) NextTimeout() mono.Time {
	if a.next == 0 {
		return mono.Never
	}
	return a.next
}

func (a *actor) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	return a.transmit != nil && a.transmit(now, b)
}

func (a *actor) HandleICMP(_ mono.Time, m *pkt.ICMP) {
	if a.icmp != nil {
		a.icmp(m)
	}
}

func (a *actor) HandleClose(_ mono.Time, s pkt.Socket) {
	if a.closed != nil {
		a.closed(s)
	}
}

// attach gives a its lease.
func attach(t testing.TB, l *Loop, a *actor) {
	t.Helper()
	do(t, l, func(mono.Time) { a.lease = l.Attach(a) })
}

// open opens a socket for a, on the loop's goroutine.
func (a *actor) open(t testing.TB, w world) (pkt.Socket, netip.AddrPort) {
	name, local, err := a.lease.Open(udp.Config{Local: w.local})
	if err != nil {
		t.Error(err)
	}
	return name, local
}
