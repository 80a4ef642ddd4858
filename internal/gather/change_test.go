package gather_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A laptop leaves the wireless network and comes back to it: what it had there is lost at once, what it has elsewhere
// stays, and there is everything again when it is back.
func TestInterfacesComeAndGo(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		h.Attach(s.net.Internet(), near, "5.9.0.9")
		h.SetKind("192.168.1.2", gather.Wifi)
		h.SetKind("5.9.0.9", gather.Cellular)
		o := s.owner(h, gather.Config{Servers: servers(t, "stun:turn.test", "turn:turn.test", "turn:turn.test?transport=tcp")})
		time.Sleep(time.Second)
		before := o.candidates()
		slices.Sort(before)
		if !slices.Contains(before, "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152") || !slices.Contains(before, "host udp 5.9.0.9:49153") {
			t.Fatalf("candidates: %q", before)
		}
		h.Lose("192.168.1.2")
		synctest.Wait()
		if lost, _ := seen[gather.AddressLost](o); len(lost) != 1 || lost[0].IP != netip.MustParseAddr("192.168.1.2") {
			t.Errorf("lost %v", lost)
		}
		for _, c := range o.candidates() {
			if strings.Contains(c, "192.168.1.2") || strings.Contains(c, "5.9.0.1:") {
				t.Errorf("still a candidate: %s", c)
			}
		}
		time.Sleep(5 * time.Second)
		if !slices.ContainsFunc(o.candidates(), func(c string) bool { return strings.HasPrefix(c, "relay/udp 198.41.0.9 from 5.9.0.9") }) {
			t.Errorf("no relay from the other interface: %q", o.candidates())
		}
		if !slices.ContainsFunc(o.candidates(), func(c string) bool { return strings.HasPrefix(c, "relay/tcp") }) {
			t.Errorf("no relay by a new connection: %q", o.candidates())
		}
		h.Regain("192.168.1.2")
		time.Sleep(5 * time.Second)
		after := strings.Join(o.candidates(), "\n")
		for _, want := range []string{"host udp 192.168.1.2:", "srflx udp 5.9.0.1:"} {
			if !strings.Contains(after, want) {
				t.Errorf("no %s again: %q", want, after)
			}
		}
		if done, _ := seen[gather.Complete](o); len(done) < 2 {
			t.Errorf("complete %d times, want again after each return", len(done))
		}
	})
}

// A server that restarts has lost its allocations. The client notices at its next request, and gets others.
func TestServerRestarts(t *testing.T) {
	for _, url := range []string{"turn:turn.test", "turn:turn.test?transport=tcp", "turns:turn.test"} {
		t.Run(strings.ReplaceAll(url, "?", " "), func(t *testing.T) {
			inScene(t, func(s *scene) {
				o := s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{Servers: servers(t, url)})
				p := s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4"), gather.Config{})
				time.Sleep(time.Second)
				old := o.relays()
				if len(old) != 2 {
					t.Fatalf("relays: %q", o.candidates())
				}
				s.server.Close()
				time.Sleep(10 * time.Second)
				other := turnConfig()
				other.Entropy = seeded(99)
				s.serve(other)
				time.Sleep(time.Hour)
				r := o.relays()
				if len(r) != 2 || r[0] == old[0] {
					t.Fatalf("relays: %q, before %+v", o.candidates(), old)
				}
				o.talk(r[0], p)
			})
		})
	}
}

// The W3C's iceTransportPolicy "relay": nothing but relayed candidates, and in them nothing of the addresses behind them.
func TestRelayPolicy(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{
			Policy: gather.Relay, TCP: true, PassiveTCP: true,
			Servers: servers(t, "stun:turn.test", "turn:turn.test", "turn:turn.test?transport=tcp", "stun:198.41.0.4:9"),
		})
		time.Sleep(30 * time.Second)
		wantCandidates(t, o, "relay/udp 198.41.0.9", "relay/udp 2620:fe::9", "relay/tcp 198.41.0.9", "relay/tcp 2620:fe::9")
		if e, _ := seen[gather.ServerError](o); len(e) != 0 {
			t.Errorf("errors of servers that are of no use: %+v", e)
		}
	})
}

// A restart tells again what stands, and is complete again (RFC 8445 section 9).
func TestRestart(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{Servers: servers(t, "stun:turn.test", "turn:turn.test")})
		time.Sleep(time.Second)
		first, _ := seen[gather.Candidate](o)
		o.do(o.Restart)
		time.Sleep(time.Second)
		again, _ := seen[gather.Candidate](o)
		if !slices.Equal(again, append(slices.Clone(first), first...)) {
			t.Errorf("told %+v, want the first %d again", again, len(first))
		}
		if done, _ := seen[gather.Complete](o); len(done) != 2 {
			t.Errorf("complete %d times", len(done))
		}
		// From now on relays alone.
		o.do(func(now mono.Time) { o.SetPolicy(gather.Relay); o.Restart(now) })
		time.Sleep(time.Second)
		all, _ := seen[gather.Candidate](o)
		for _, c := range all[len(again):] {
			if c.Type != ice.Relayed {
				t.Errorf("told %+v", c)
			}
		}
		if len(all)-len(again) != 2 {
			t.Errorf("told %d, want 2", len(all)-len(again))
		}
		if errs := o.SetServers([]gather.Server{{}}); errs == nil {
			t.Error("a server without anything is taken")
		}
	})
}

// The mapping at a NAT is kept as long as ICE has not concluded (RFC 8445 section 5.1.1.4), and not longer.
func TestReflexiveIsKept(t *testing.T) {
	inScene(t, func(s *scene) {
		short := home
		short.Lifetime = 30 * time.Second
		h := s.at(s.net.Internet().NAT("home", near, short, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{Servers: servers(t, "stun:turn.test")})
		time.Sleep(10 * time.Minute)
		wantCandidates(t, o, "host udp 192.168.1.2:49152", "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152")
		sent := func() (n uint64) { n = o.loop.Counters().UDP.Sent; return n }
		if n := sent(); n < 30 || n > 60 {
			t.Errorf("%d requests in ten minutes, want one each fifteen seconds", n)
		}
		o.do(o.Conclude)
		before := sent()
		time.Sleep(10 * time.Minute)
		if n := sent() - before; n != 0 {
			t.Errorf("%d requests after it was concluded", n)
		}
	})
}

// 1:1 NAT mappings, ports and filters.
func TestMappingsPortsAndFilters(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("cloud", near, simnet.NAT{}, "5.9.0.1"), "ada", "10.0.0.2")
		external := netip.MustParseAddr("5.9.0.1")
		beside := s.owner(h, gather.Config{Mappings: []gather.Mapping{{External: external}}, MinPort: 50000, MaxPort: 50009})
		instead := s.owner(h, gather.Config{Mappings: []gather.Mapping{{Internal: netip.MustParseAddr("10.0.0.2"), External: external, Replace: true}}})
		elsewhere := s.owner(h, gather.Config{Mappings: []gather.Mapping{{Internal: netip.MustParseAddr("10.0.0.3"), External: external}}})
		noHosts := s.owner(h, gather.Config{Servers: servers(t, "stun:turn.test"), Candidates: func(c *ice.Candidate) bool { return c.Type == ice.ServerReflexive }})
		time.Sleep(time.Second)

		found := beside.found()
		if len(found) != 2 || found[0].Address.Port() < 50000 || found[0].Address.Port() > 50009 || found[1].Address != netip.AddrPortFrom(external, found[0].Address.Port()) {
			t.Errorf("beside: %q", beside.candidates())
		}
		if found[1].Type != ice.ServerReflexive || found[1].Base != found[0].Base || found[1].Socket != found[0].Socket {
			t.Errorf("beside: %+v", found[1])
		}
		found = instead.found()
		if len(found) != 1 || found[0].Type != ice.Host || found[0].Address.Addr() != external || found[0].Base.Addr() != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("instead: %q", instead.candidates())
		}
		if found := elsewhere.found(); len(found) != 1 || found[0].Address.Addr() != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("a mapping of another address: %q", elsewhere.candidates())
		}
		if found := noHosts.found(); len(found) != 1 || found[0].Type != ice.ServerReflexive {
			t.Errorf("without hosts: %q", noHosts.candidates())
		}
	})
}

// Two connections share a socket. It stays open, tells what the machine's addresses are, now and later, and each connection
// has its own allocation at the same server: "the 5-tuple ... uniquely identifies the allocation" (RFC 8656 section 3).
func TestSharedSocket(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		h.Attach(s.net.Internet(), near, "5.9.0.9")
		h.Lose("5.9.0.9")
		peer := s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4"), gather.Config{})
		first := newOwner(t, h.Poller(), gather.Config{Host: h, Entropy: seeded(9)})
		var socket pkt.Socket
		var err error
		first.do(func(now mono.Time) {
			if socket, _, err = first.lease.Open(udp.Config{Local: ap("0.0.0.0:3478")}); err != nil {
				t.Error(err)
			}
		})
		second := &owner{t: t, loop: first.loop, closed: make(chan struct{}), signal: make(chan struct{}, 1)}
		both := []*owner{first, second}
		for i, o := range both {
			o.do(func(now mono.Time) {
				if o.lease == nil {
					o.lease = o.loop.Attach(o)
				}
				o.Gatherer, err = gather.New(o.lease, gather.Config{
					Host: h, Entropy: seeded(9 + byte(i)), Servers: servers(t, "turn:turn.test", "turns:turn.test?transport=udp"), TLS: s.roots,
					Shared: func(ip netip.Addr) (pkt.Socket, uint16, bool) { return socket, 3478, ip.Is4() },
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		first.start() // the second's answers to what it asks from the shared socket are routed by who shares it, which is not under test
		second.do(func(now mono.Time) { second.Permit(now, netip.MustParseAddr("8.8.4.4")) })
		second.start()
		time.Sleep(10 * time.Second)
		for i, o := range both {
			var relays int
			for _, c := range o.found() {
				switch {
				case c.Type == ice.Relayed && c.Address.Addr().Is4():
					relays++
					o.talk(c, peer)
				case c.Type == ice.Host && c.Address != ap("192.168.1.2:3478"),
					c.Type == ice.ServerReflexive && (c.Address != ap("5.9.0.1:3478") || i != 0):
					t.Errorf("connection %d: a candidate %s", i, describe(&c.Candidate))
				}
			}
			if relays != 2 {
				t.Errorf("connection %d: candidates %q", i, o.candidates())
			}
		}
		if list := first.candidates(); !slices.Contains(list, "srflx udp 5.9.0.1:3478 from 192.168.1.2:3478") {
			t.Errorf("candidates: %q", list)
		}

		h.Regain("5.9.0.9")
		time.Sleep(time.Second)
		if list := first.candidates(); !slices.Contains(list, "host udp 5.9.0.9:3478") {
			t.Errorf("an address that came is not told: %q", list)
		}
		h.Lose("192.168.1.2")
		time.Sleep(time.Second)
		for _, o := range both {
			if lost, _ := seen[gather.AddressLost](o); len(lost) != 1 || lost[0].IP != netip.MustParseAddr("192.168.1.2") {
				t.Errorf("lost: %v", lost)
			}
			lost, _ := seen[gather.SocketLost](o)
			if slices.Contains(lost, gather.SocketLost{Socket: socket}) {
				t.Error("the shared socket is said to be gone")
			}
			for _, c := range o.candidates() {
				if strings.Contains(c, "192.168.1.2") {
					t.Errorf("still a candidate: %s", c)
				}
			}
		}
		for _, o := range both {
			o.do(o.Gatherer.Close)
			<-o.closed
		}
		if n := first.loop.Counters().Sockets; n != 1 {
			t.Errorf("%d sockets are open, want the shared one", n)
		}
		first.loop.Close()
	})
}

// RFC 6544: an active and a passive TCP candidate, which connect.
func TestTCPCandidates(t *testing.T) {
	inScene(t, func(s *scene) {
		a := s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{TCP: true})
		b := s.owner(s.at(s.net.Internet(), "bob", "5.9.0.8"), gather.Config{TCP: true, PassiveTCP: true, MinPort: 40000, MaxPort: 40003})
		time.Sleep(time.Second)
		wantCandidates(t, a, "host udp 5.9.0.7:49152", "host tcpactive 5.9.0.7:9")
		var passive gather.Candidate
		for _, c := range b.found() {
			if c.Transport == ice.TCPPassive {
				passive = c
			}
		}
		if passive.Address != ap("5.9.0.8:40000") || passive.Base != passive.Address || passive.Socket >= 0 || gather.NumberOf(passive.Socket) != 0 {
			t.Fatalf("passive: %+v of %q", passive, b.candidates())
		}
		a.do(func(now mono.Time) {
			a.Connect(now, ice.Connect{Number: 7, Local: netip.MustParseAddr("5.9.0.7"), Remote: passive.Address})
			a.Connect(now, ice.Connect{Number: 8, Local: netip.MustParseAddr("5.9.0.7"), Remote: ap("5.9.0.8:41000")})
		})
		time.Sleep(time.Second)
		failed, _ := seen[gather.ConnectFailed](a)
		connected, _ := seen[gather.Connected](a)
		if len(failed) != 1 || failed[0].Number != 8 || len(connected) != 1 || connected[0].Number != 7 || connected[0].Local.Addr().String() != "5.9.0.7" {
			t.Fatalf("connected %+v, failed %+v", connected, failed)
		}
		a.send(pkt.Path{Socket: connected[0].Socket, Local: connected[0].Local, Remote: passive.Address}, "over a stream")
		time.Sleep(time.Second)
		got := b.received()
		if len(got) != 1 || string(got[0].Payload) != "over a stream" || got[0].Local != passive.Base || got[0].Remote != connected[0].Local {
			t.Errorf("got %+v", got)
		}
	})
}

// Whoever finds the port of a passive candidate may connect: strangers make room for others, and the peer's connection stays. One
// that has ended counts no more.
func TestStrangersDoNotFillAPassiveCandidate(t *testing.T) {
	inScene(t, func(s *scene) {
		const many = 40
		peer, stranger := s.at(s.net.Internet(), "ada", "5.9.0.7"), s.at(s.net.Internet(), "eve", "5.9.0.9")
		b := s.owner(s.at(s.net.Internet(), "bob", "5.9.0.8"), gather.Config{PassiveTCP: true, MinPort: 40000, MaxPort: 40000})
		time.Sleep(time.Second)
		connect := func(h *simloop.Host) net.Conn {
			t.Helper()
			c, err := h.Dial(context.Background(), netip.Addr{}, ap("5.9.0.8:40000"))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		says := func(c net.Conn, text string) (at pkt.Socket) {
			t.Helper()
			if _, err := c.Write(append([]byte{0, byte(len(text))}, text...)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			got := b.received()
			if len(got) != 1 || string(got[0].Payload) != text {
				t.Fatalf("of %q came %v", text, got)
			}
			return got[0].Socket
		}
		for range many { // each ends before the next
			c := connect(peer)
			says(c, "hello")
			c.Close()
			time.Sleep(time.Second)
		}
		first := connect(peer)
		defer first.Close()
		socket := says(first, "hello")
		b.do(func(mono.Time) { b.Keep(socket) })
		for range many {
			defer connect(stranger).Close()
		}
		second := connect(peer)
		defer second.Close()
		says(second, "hello again")
		if says(first, "still here") != socket {
			t.Error("the peer's first connection has another socket")
		}
		if n := b.loop.Counters().Sockets; n > 20 {
			t.Errorf("%d sockets are open", n)
		}
	})
}

// Candidates that were gathered before there was a description wait (the W3C's iceCandidatePoolSize).
func TestPool(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{Servers: servers(t, "turn:turn.test")})
		time.Sleep(5 * time.Minute)
		if len(o.relays()) != 2 {
			t.Errorf("candidates %q", o.candidates())
		}
		var n turn.Counters
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { n = e.Counters() })
		if n.Allocated != 1 || n.Allocations != 1 {
			t.Errorf("%d allocations, %d now", n.Allocated, n.Allocations)
		}
	})
}

// What cannot be is refused before anything happens.
func TestValidate(t *testing.T) {
	for _, cfg := range []gather.Config{
		{Number: -1}, {Number: 256}, {MinPort: 10, MaxPort: 9}, {MinPort: 10}, {Proxy: "ftp://x"}, {Proxy: "://"},
		{Mappings: []gather.Mapping{{}}},
		{Mappings: []gather.Mapping{{Internal: netip.MustParseAddr("::1"), External: netip.MustParseAddr("5.9.0.1")}}},
		{Servers: []gather.Server{{URI: turn.URI{Scheme: "turn", Host: "a", Port: 1, Transport: "udp"}}}},
		{Servers: make([]gather.Server, 33)},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	ok := gather.Config{Proxy: "http://u:p@proxy.test:3128", MaxPort: 10}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

// A machine that has no network when it begins has everything once there is one, names of servers included.
func TestNetworkComesLater(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		h.Lose("192.168.1.2")
		o := s.owner(h, gather.Config{Servers: servers(t, "stun:later.test", "turn:later.test", "turn:later.test?transport=tcp")})
		time.Sleep(time.Minute)
		wantCandidates(t, o)
		if e, _ := seen[gather.ServerError](o); len(e) != 3 {
			t.Errorf("errors: %+v, want one of each server", e)
		}
		if done, _ := seen[gather.Complete](o); len(done) != 1 {
			t.Errorf("complete %d times", len(done))
		}
		s.net.Name("later.test", server4)
		h.Regain("192.168.1.2")
		time.Sleep(time.Second)
		wantCandidates(t, o, "host udp 192.168.1.2:49152", "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152",
			"relay/udp 198.41.0.9 from 5.9.0.1:49152", "relay/udp 2620:fe::9", "relay/tcp 198.41.0.9 from 5.9.0.1:49153", "relay/tcp 2620:fe::9")
		if done, _ := seen[gather.Complete](o); len(done) != 2 {
			t.Errorf("complete %d times", len(done))
		}
	})
}

// Of a server's addresses those that do not answer cost a second, not the server.
func TestNextAddressOfServer(t *testing.T) {
	inScene(t, func(s *scene) {
		s.net.Name("pool.test", "198.41.0.77", "198.41.0.78", server4)
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{Servers: servers(t, "stun:pool.test", "turn:pool.test", "turn:pool.test?transport=tcp")})
		time.Sleep(3 * time.Second)
		kinds := strings.Join(o.candidates(), "\n")
		for _, want := range []string{"srflx udp 5.9.0.1:49152", "relay/udp 198.41.0.9", "relay/tcp 198.41.0.9"} {
			if !strings.Contains(kinds, want) {
				t.Errorf("no %s: %q", want, kinds)
			}
		}
		time.Sleep(time.Minute)
		if e, _ := seen[gather.ServerError](o); len(e) != 0 {
			t.Errorf("errors: %+v", e)
		}
		if done, when := seen[gather.Complete](o); len(done) != 1 || when > 13*time.Second {
			t.Errorf("complete %d times, after %v", len(done), when)
		}
		var n turn.Counters
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { n = e.Counters() })
		if n.Allocations != 2 {
			t.Errorf("%d allocations, want one over each transport", n.Allocations)
		}
	})
}

// A policy that becomes "all" tells at the next restart what was kept back.
func TestPolicyOpens(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(h, gather.Config{Policy: gather.Relay, Servers: servers(t, "stun:turn.test", "turn:turn.test?transport=tcp")})
		time.Sleep(time.Second)
		wantCandidates(t, o, "relay/tcp 198.41.0.9", "relay/tcp 2620:fe::9")
		o.do(func(now mono.Time) {
			o.events = nil
			o.SetPolicy(gather.All)
			o.Restart(now)
		})
		time.Sleep(time.Second)
		wantCandidates(t, o, "host udp 192.168.1.2:49152", "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152", "relay/tcp 198.41.0.9 from 5.9.0.1:49153", "relay/tcp 2620:fe::9")
	})
}

// Servers that are taken away while they are asked leave nothing behind, and what is told of them is not told any more.
func TestServersTakenAway(t *testing.T) {
	inScene(t, func(s *scene) {
		o := s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{
			Servers: servers(t, "turn:198.41.0.4:9", "stun:198.41.0.4:9", "turn:198.41.0.77?transport=tcp", "turn:turn.test", "turn:turn.test?transport=tcp"),
		})
		time.Sleep(time.Second)
		if len(o.relays()) != 4 {
			t.Errorf("candidates: %q", o.candidates())
		}
		o.do(func(now mono.Time) {
			if err := o.SetServers(nil); err != nil {
				t.Error(err)
			}
			o.events = nil
			o.Restart(now)
		})
		if done, _ := seen[gather.Complete](o); len(done) != 1 {
			t.Errorf("complete %d times", len(done))
		}
		var kept turn.Counters
		time.Sleep(20 * time.Second) // the former pair may run through one
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { kept = e.Counters() })
		if kept.Allocations != 2 {
			t.Errorf("%d allocations after 20 s", kept.Allocations)
		}
		time.Sleep(40 * time.Second)
		wantCandidates(t, o, "host udp 5.9.0.7:49152")
		if e, _ := seen[gather.ServerError](o); len(e) != 0 {
			t.Errorf("errors: %+v", e)
		}
		o.do(func(mono.Time) {
			if at := o.NextTimeout(); at != mono.Never {
				t.Errorf("something is due at %v", at)
			}
		})
		var n turn.Counters
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { n = e.Counters() })
		if n.Allocations != 0 {
			t.Errorf("%d allocations are left", n.Allocations)
		}
		if c := o.loop.Counters(); c.Sockets != 1 {
			t.Errorf("%d sockets are open", c.Sockets)
		}
	})
}
