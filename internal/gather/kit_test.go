package gather_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func seeded(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// owner is a tenant with a Gatherer: it keeps the events, and what peers send.
type owner struct {
	*gather.Gatherer
	t      testing.TB
	loop   *loop.Loop
	lease  *loop.Lease
	began  mono.Time
	events []gather.Event
	times  []time.Duration // since Start
	got    []pkt.Datagram
	closed chan struct{}
	signal chan struct{} // something happened
}

// newOwner starts a loop with a tenant that gathers. It ends with the test, or by stop.
func newOwner(t testing.TB, poller loop.Poller, cfg gather.Config) *owner {
	t.Helper()
	l, err := loop.New(loop.Config{Poller: poller})
	if err != nil {
		t.Fatal(err)
	}
	o := &owner{t: t, loop: l, closed: make(chan struct{}), signal: make(chan struct{}, 1)}
	o.do(func(now mono.Time) {
		o.lease = l.Attach(o)
		if o.Gatherer, err = gather.New(o.lease, cfg); err != nil {
			t.Error(err)
			return
		}
		o.began = now
	})
	if err != nil {
		t.FailNow()
	}
	return o
}

func (o *owner) do(f func(now mono.Time)) {
	o.t.Helper()
	if err := o.loop.Do(func(now mono.Time) {
		f(now)
		if o.lease != nil {
			o.lease.Touch()
		}
	}); err != nil {
		o.t.Error(err)
	}
}

func (o *owner) start() *owner {
	o.do(o.Start)
	return o
}

// stop closes the Gatherer and then the loop, and fails if it does not end.
func (o *owner) stop() {
	o.t.Helper()
	o.do(o.Gatherer.Close)
	select {
	case <-o.closed:
	case <-time.After(need.Patience):
		o.t.Error("the Gatherer does not close")
	}
	o.loop.Close()
}

func (o *owner) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if o.Handle(now, d) {
		return
	}
	c := *d
	c.Payload = slices.Clone(d.Payload)
	o.got = append(o.got, c)
	o.tellTest()
}

func (o *owner) tellTest() {
	select {
	case o.signal <- struct{}{}:
	default:
	}
}

// until waits for something to come true, on a network that is real.
func (o *owner) until(what string, done func() bool) {
	o.t.Helper()
	deadline := time.After(need.Patience)
	for !done() {
		select {
		case <-o.signal:
		case <-deadline:
			o.t.Fatalf("there is no %s: %+v", what, o.events)
		}
	}
}

func (o *owner) HandleClose(now mono.Time, s pkt.Socket) { o.Gatherer.HandleClose(now, s) }

func (o *owner) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	if o.Gatherer == nil {
		return false
	}
	more := o.Gatherer.AppendTransmit(now, b)
	for {
		e, ok := o.NextEvent()
		if !ok {
			return more
		}
		o.events = append(o.events, e)
		o.times = append(o.times, now.Sub(o.began))
		o.tellTest()
		if _, end := e.(gather.Closed); end {
			close(o.closed)
		}
	}
}

func (o *owner) NextTimeout() mono.Time {
	if o.Gatherer == nil {
		return mono.Never
	}
	return o.Gatherer.NextTimeout()
}

// send sends what a peer would, through a relay or not.
func (o *owner) send(path pkt.Path, payload string) {
	o.do(func(now mono.Time) {
		t := pkt.Transmit{Path: path, Payload: []byte(payload)}
		if path.Socket >= 0 {
			o.lease.Batch().Append(t)
		} else if !o.Wrap(now, t, o.lease.Batch()) {
			o.t.Error("no room")
		}
	})
}

// candidates returns those that were told and stand, as "type protocol address [related]".
func (o *owner) candidates() (list []string) {
	for _, c := range o.found() {
		list = append(list, describe(&c.Candidate))
	}
	return list
}

func (o *owner) found() (list []gather.Candidate) {
	o.do(func(mono.Time) {
		for _, e := range o.events {
			switch e := e.(type) {
			case gather.Candidate:
				list = append(list, e)
			case gather.SocketLost:
				list = slices.DeleteFunc(list, func(c gather.Candidate) bool { return c.Socket == e.Socket })
			case gather.AddressLost:
				list = slices.DeleteFunc(list, func(c gather.Candidate) bool { return c.Base.Addr() == e.IP })
			}
		}
	})
	return list
}

func describe(c *ice.Candidate) string {
	s := fmt.Sprintf("%v %v%v %v", c.Type, c.Transport, c.Transport.TCPType(), c.Address)
	if c.Type == ice.Relayed {
		s = fmt.Sprintf("relay/%v %v", c.RelayProtocol, c.Address.Addr())
	}
	if c.Related.IsValid() {
		s += fmt.Sprintf(" from %v", c.Related)
	}
	return s
}

// seen returns the events of one kind, and when the first of them came.
func seen[E gather.Event](o *owner) (list []E, first time.Duration) {
	o.do(func(mono.Time) {
		for i, e := range o.events {
			if e, ok := e.(E); ok {
				if list = append(list, e); len(list) == 1 {
					first = o.times[i]
				}
			}
		}
	})
	return list, first
}

func (o *owner) received() (list []pkt.Datagram) {
	o.do(func(mono.Time) { list, o.got = o.got, nil })
	return list
}

// scene is a live network with a TURN server in its middle, ten milliseconds from everybody, at turn.test.
type scene struct {
	t      *testing.T
	net    *simnet.Network
	server *simloop.TURNServer
	host   *simloop.Host
	owners []*owner

	certificate *tls.Certificate
	roots       *tls.Config
	close       []func()
}

const (
	server4 = "198.41.0.4"
	server6 = "2620:fe::fe"
	relay4  = "198.41.0.9"
	relay6  = "2620:fe::9"
)

var near = simnet.Path{Delay: 10 * time.Millisecond}

func turnConfig() turn.Config {
	return turn.Config{
		Entropy: seeded(1), Public: true,
		Users: []turn.User{{Name: "alice", Password: "wonderland"}},
		Relay: []netip.Addr{netip.MustParseAddr(relay4), netip.MustParseAddr(relay6)},
		Own:   []netip.Addr{netip.MustParseAddr(server4), netip.MustParseAddr(server6)},
	}
}

// inScene runs f in a bubble.
func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(7)
		s := &scene{t: t, net: n}
		s.host = simloop.New(n.Internet().Host("server", simnet.Path{}, server4, server6, relay4, relay6))
		n.Name("turn.test", server4, server6)
		n.Live()
		s.serve(turnConfig())
		defer func() { // also if f ends the test
			for _, o := range s.owners {
				o.stop()
			}
			s.server.Close()
			for _, c := range s.close {
				c()
			}
			n.Close()
		}()
		f(s)
	})
}

func (s *scene) serve(cfg turn.Config) {
	s.t.Helper()
	var err error
	if s.server, err = simloop.ServeTURN(s.host, cfg); err != nil {
		s.t.Fatal(err)
	}
	if s.certificate == nil {
		certificate, roots, err := simloop.Certificate("turn.test", server4)
		if err != nil {
			s.t.Fatal(err)
		}
		s.certificate, s.roots = certificate, &tls.Config{RootCAs: roots}
	}
	for _, a := range []string{server4, server6} {
		for _, port := range []uint16{443, 5349} {
			if err := s.server.TCP(netip.AddrPortFrom(netip.MustParseAddr(a), port), &tls.Config{Certificates: []tls.Certificate{*s.certificate}}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := s.server.DTLS(ap(server4+":5349"), s.certificate); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range []string{server4 + ":3478", "[" + server6 + "]:3478"} {
		if err := s.server.UDP(ap(a)); err != nil {
			s.t.Fatal(err)
		}
		if err := s.server.TCP(ap(a), nil); err != nil {
			s.t.Fatal(err)
		}
	}
}

// environment is a proxy that the environment names.
const environment = "environment"

// owner starts gathering on a host.
func (s *scene) owner(h *simloop.Host, cfg gather.Config) *owner {
	s.t.Helper()
	cfg.Host, cfg.Entropy = h, seeded(byte(2+len(s.owners)))
	switch cfg.Proxy {
	case "":
		cfg.Proxy = "none"
	case environment:
		cfg.Proxy = ""
	}
	if cfg.TLS == nil {
		cfg.TLS = s.roots
	}
	o := newOwner(s.t, h.Poller(), cfg).start()
	s.owners = append(s.owners, o)
	return o
}

// at hangs a host below a router, ten milliseconds away.
func (s *scene) at(r *simnet.Router, name string, addrs ...string) *simloop.Host {
	return simloop.New(r.Host(name, near, addrs...))
}

func servers(t testing.TB, urls ...string) (list []gather.Server) {
	t.Helper()
	for _, u := range urls {
		uri, err := turn.ParseURI(u)
		if err != nil {
			t.Fatal(err)
		}
		s := gather.Server{URI: uri}
		if uri.TURN() {
			s.Username, s.Password = "alice", "wonderland"
		}
		list = append(list, s)
	}
	return list
}

// relays returns the relayed candidates, in the order in which they came.
func (o *owner) relays() (list []gather.Candidate) {
	for _, c := range o.found() {
		if c.Type == ice.Relayed {
			list = append(list, c)
		}
	}
	return list
}

// talk sends between a relayed candidate and a peer, both ways, and fails if something does not arrive.
func (o *owner) talk(through gather.Candidate, p *owner) {
	o.t.Helper()
	var to gather.Candidate
	for _, c := range p.found() {
		if c.Type == ice.Host && c.Transport == ice.UDP && c.Address.Addr().Is4() == through.Address.Addr().Is4() {
			to = c
		}
	}
	o.received()
	p.received()
	o.send(pkt.Path{Socket: through.Socket, Local: through.Base, Remote: to.Address}, "through the relay")
	time.Sleep(time.Second)
	if got := p.received(); len(got) != 1 || string(got[0].Payload) != "through the relay" || got[0].Remote != through.Address {
		o.t.Fatalf("the peer got %v, want one datagram from %v", got, through.Address)
	}
	p.send(pkt.Path{Socket: to.Socket, Local: to.Base, Remote: through.Address}, "and back")
	time.Sleep(time.Second)
	got := o.received()
	want := pkt.Path{Socket: through.Socket, Local: through.Address, Remote: to.Address}
	if len(got) != 1 || string(got[0].Payload) != "and back" || got[0].Path != want {
		o.t.Fatalf("got %v, want one datagram along %v", got, want)
	}
}

func wantCandidates(t testing.TB, o *owner, want ...string) {
	t.Helper()
	got := o.candidates()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("candidates:\n\t%q\nwant:\n\t%q", got, want)
	}
}

func simloopHost(s *scene, r *simnet.Router, name string, p simnet.Path, addrs ...string) *simloop.Host {
	return simloop.New(r.Host(name, p, addrs...))
}
