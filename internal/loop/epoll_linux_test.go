package loop

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// The descriptor of a socket that is closed while an event for it waits is given to the next one: that event must reach
// neither the former tenant nor, as if it were its own, the new one.
func TestReusedDescriptorNeverDeliversToItsFormerTenant(t *testing.T) {
	w := world{systemPollers(t)["epoll"], loopback, nil, false}
	poller := w.poller().(*Epoll)
	w.poller = func() Poller { return poller }
	l := start(t, w)
	defer l.Close()
	outside, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()

	trigger, former, next := &actor{}, &actor{}, &actor{}
	formerHeard, nextHeard := 0, 0
	reused := 0
	former.datagram = func(mono.Time, *pkt.Datagram) { formerHeard++ }
	done := make(chan struct{})
	var formerSocket, nextSocket pkt.Socket
	next.datagram = func(_ mono.Time, d *pkt.Datagram) {
		nextHeard++
		if d.Socket != nextSocket || string(d.Payload) != "to the next" {
			t.Errorf("the next tenant got %q on socket %d", d.Payload, d.Socket)
		}
		done <- struct{}{}
	}
	trigger.datagram = func(mono.Time, *pkt.Datagram) {
		descriptor := poller.sockets[formerSocket].Descriptor()
		former.lease.Close(formerSocket)
		var to pkt.Path
		nextSocket, to.Remote = next.open(t, w)
		if poller.sockets[nextSocket].Descriptor() == descriptor {
			reused++
		}
		if _, err := outside.WriteTo([]byte("to the next"), net.UDPAddrFromAddrPort(to.Remote)); err != nil {
			t.Error(err)
		}
	}
	for _, a := range []*actor{trigger, former, next} {
		attach(t, l, a)
	}
	const rounds = 100
	for range rounds {
		do(t, l, func(mono.Time) {
			_, first := trigger.open(t, w)
			var second pkt.Path
			formerSocket, second.Remote = former.open(t, w)
			// Both are readable when the loop next looks, the trigger first.
			for _, to := range []net.Addr{net.UDPAddrFromAddrPort(first), net.UDPAddrFromAddrPort(second.Remote)} {
				if _, err := outside.WriteTo([]byte("x"), to); err != nil {
					t.Error(err)
				}
			}
		})
		await(t, done, "a datagram at the next tenant")
		do(t, l, func(mono.Time) {
			for _, a := range []*actor{trigger, next} {
				for len(a.lease.sockets) > 0 {
					a.lease.Close(a.lease.sockets[0])
				}
			}
		})
	}
	if formerHeard != 0 || nextHeard != rounds {
		t.Errorf("the former tenant got %d datagrams, the next %d of %d", formerHeard, nextHeard, rounds)
	}
	if reused != rounds {
		t.Errorf("the descriptor was reused in %d of %d rounds: the test has tested too little", reused, rounds)
	}
}

func TestSocketsCostNoGoroutine(t *testing.T) {
	w := world{systemPollers(t)["epoll"], loopback, nil, false}
	l := start(t, w)
	defer l.Close()
	a := &actor{}
	attach(t, l, a)
	before := runtime.NumGoroutine()
	do(t, l, func(mono.Time) {
		for range 500 {
			a.open(t, w)
		}
	})
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines became %d", before, after)
	}
}

func TestICMPReachesTheTenantThatAsked(t *testing.T) {
	w := world{systemPollers(t)["epoll"], loopback, nil, false}
	l := start(t, w)
	defer l.Close()
	gone := netip.AddrPortFrom(loopback.Addr(), uint16(need.Port(t)))
	reports := make(chan pkt.ICMP, 10)
	a := &actor{icmp: func(m *pkt.ICMP) { reports <- *m }}
	attach(t, l, a)
	var name pkt.Socket
	do(t, l, func(mono.Time) {
		var err error
		if name, _, err = a.lease.Open(udp.Config{Local: w.local, ICMP: true}); err != nil {
			t.Error(err)
			return
		}
		a.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: name, Remote: gone}, Payload: []byte("anyone?")})
	})
	select {
	case m := <-reports:
		if m.Socket != name || m.Remote != gone || m.Type != 3 || m.Code != 3 {
			t.Errorf("report %+v", m)
		}
	case <-time.After(need.Patience):
		t.Fatal("no report")
	}
	// The poller is not left with an error that it would report for ever: the loop parks.
	before := l.Counters()
	for range 10 {
		do(t, l, func(mono.Time) {})
	}
	if after := l.Counters(); after.Turns-before.Turns > 100 {
		t.Errorf("%d turns for 11 posts", after.Turns-before.Turns)
	}
}

// BenchmarkRelay sends datagrams of 1200 bytes back and forth between two sockets of a loop, so many at a time; one
// operation is one datagram, received and sent on.
func BenchmarkRelay(b *testing.B) {
	for _, flight := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(flight), func(b *testing.B) {
			poller, err := NewEpoll(udp.Probe())
			if err != nil {
				b.Fatal(err)
			}
			w := world{func() Poller { return poller }, loopback, nil, false}
			l := start(b, w)
			defer l.Close()
			p := newPingPong(b, l, w, flight)
			p.play(b, 1000)
			before := l.Counters()
			b.ReportAllocs()
			b.ResetTimer()
			p.play(b, b.N)
			b.StopTimer()
			c := l.Counters()
			n := float64(c.UDP.Received - before.UDP.Received)
			b.ReportMetric(float64(c.UDP.SendCalls-before.UDP.SendCalls)/n, "sends/packet")
			b.ReportMetric(float64(c.UDP.ReceiveCalls-before.UDP.ReceiveCalls)/n, "receives/packet")
		})
	}
}

func BenchmarkPost(b *testing.B) {
	l, err := New(Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	n := 0
	f := func(mono.Time) { n++ }
	b.ReportAllocs()
	for b.Loop() {
		l.Post(f)
	}
	if l.Do(func(mono.Time) {}) != nil || n == 0 {
		b.Fatal("nothing ran")
	}
}

// An event that was fetched before its socket was closed does not even cost the next socket of that name a receive.
func TestStaleEventIsPassedOver(t *testing.T) {
	p := systemPollers(t)["epoll"]().(*Epoll)
	defer p.Shutdown()
	h := &recorder{}
	var stale [2]int32
	for i := range stale {
		if _, err := p.Open(5, udp.Config{Local: loopback}); err != nil {
			t.Fatal(err)
		}
		stale[i] = p.sockets[5].generation
		if i == 0 {
			p.Close(5)
		}
	}
	for i, want := range []uint64{0, 1} {
		p.events[0] = unix.EpollEvent{Events: unix.EPOLLIN, Fd: 5, Pad: stale[i]}
		p.ready = 1
		p.Receive(h)
		if got := p.Counters().ReceiveCalls; got != want {
			t.Errorf("event of generation %d: %d receives, want %d", stale[i], got, want)
		}
	}
}
