package udp

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// endpoint is a socket of either form, driven by one test.
type endpoint interface {
	LocalAddr() netip.AddrPort
	send(ts ...pkt.Transmit)
	// receive waits until n datagrams have come, or fails the test.
	receive(n int) []pkt.Datagram
	counters() *Counters
}

// form opens endpoints of one kind; they are closed when the test ends.
type form struct {
	name string
	open func(t testing.TB, cfg Config) endpoint
}

var loopback4, loopback6 = netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")

func eachLoopback(t *testing.T, f func(t *testing.T, local netip.AddrPort)) {
	t.Run("IPv4", func(t *testing.T) { f(t, loopback4) })
	t.Run("IPv6", func(t *testing.T) { needIPv6(t); f(t, loopback6) })
}

func needIPv6(t *testing.T) {
	c, err := OpenConn(0, Config{Local: loopback6})
	if err != nil {
		need.Cannot(t, "IPv6: "+err.Error())
	}
	c.Close()
}

// connForm is the portable form.
var connForm = form{"net", func(t testing.TB, cfg Config) endpoint {
	t.Helper()
	c, err := OpenConn(7, cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := &connEndpoint{t: t, Conn: c, datagrams: make(chan pkt.Datagram, 4096)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, MaxConnDatagram+1)
		var d pkt.Datagram
		for c.Read(&d, buf) == nil {
			d.Payload = slices.Clone(d.Payload)
			e.datagrams <- d
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return e
}}

type connEndpoint struct {
	*Conn
	t         testing.TB
	datagrams chan pkt.Datagram
	count     Counters
}

func (e *connEndpoint) counters() *Counters { return &e.count }

func (e *connEndpoint) send(ts ...pkt.Transmit) { e.Send(pointers(ts), &e.count) }

func (e *connEndpoint) receive(n int) (got []pkt.Datagram) {
	e.t.Helper()
	deadline := time.After(need.Patience)
	for len(got) < n {
		select {
		case d := <-e.datagrams:
			got = append(got, d)
		case <-deadline:
			e.t.Fatalf("%d of %d datagrams came in time", len(got), n)
		}
	}
	return got
}

func pointers(ts []pkt.Transmit) (ps []*pkt.Transmit) {
	for i := range ts {
		ps = append(ps, &ts[i])
	}
	return ps
}
