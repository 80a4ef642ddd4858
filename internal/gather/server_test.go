package gather_test

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// webrtc-pc section 4.8.3: errorCode "is the numeric STUN error code returned by the STUN or TURN server"; "If no host
// candidate can reach the server, errorCode will be set to the value 701", once for each URL.
func TestServerErrors(t *testing.T) {
	for _, c := range []struct {
		url, password string
		code          int
		text          string
		local         bool
	}{
		{"turn:turn.test", "wrong", 401, "does not accept the username and password", true},
		{"turn:turn.test?transport=tcp", "wrong", 401, "does not accept the username and password", true},
		{"turn:198.41.0.4:9", "wonderland", 701, "did not answer", false},
		{"stun:198.41.0.4:9", "", 701, "did not answer", false},
		{"turn:198.41.0.4:9?transport=tcp", "wonderland", 701, "refused", false},
		{"turns:wrong-name.test", "wonderland", 701, "certificate", false},
		{"stun:nowhere.test", "", 701, "no host is called", false},
		{"turn:nowhere.test?transport=tcp", "wonderland", 701, "no host is called", false},
		{"stun:[2001:db8::1]", "", 701, "no address of a family", false},
	} {
		t.Run(strings.ReplaceAll(c.url, "?", " "), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.net.Name("wrong-name.test", server4)
				list := servers(t, c.url)
				if list[0].URI.TURN() {
					list[0].Password = c.password
				}
				o := s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{Servers: list})
				time.Sleep(time.Minute)
				errs, _ := seen[gather.ServerError](o)
				if len(errs) != 1 {
					t.Fatalf("errors: %+v, want one", errs)
				}
				if e := errs[0]; e.URL != list[0].URI.String() || e.Code != c.code || !strings.Contains(e.Text, c.text) || e.Local.IsValid() != c.local {
					t.Errorf("%+v, want code %d, %q, a local address: %v", e, c.code, c.text, c.local)
				}
				if done, when := seen[gather.Complete](o); len(done) != 1 || when > 11*time.Second {
					t.Errorf("complete %d times, after %v", len(done), when)
				}
			})
		})
	}
}

// A credential that ends while it is in use ends the relay, and says so. What is asked for with a new one works.
func TestExpiredCredential(t *testing.T) {
	inScene(t, func(s *scene) {
		const secret = "a secret of the operator"
		s.server.Close()
		cfg := turnConfig()
		cfg.Secrets, cfg.Epoch = []string{secret}, time.Now().Add(-time.Duration(s.net.Now()))
		s.serve(cfg)
		credential := func(life time.Duration) []gather.Server {
			list := servers(t, "turn:turn.test")
			var err error
			if list[0].Username, list[0].Password, err = turn.NewCredential(secret, "ada", time.Now().Add(life), turn.Limits{}); err != nil {
				t.Fatal(err)
			}
			return list
		}
		o := s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{Servers: credential(2 * time.Minute)})
		time.Sleep(time.Second)
		if len(o.relays()) != 2 {
			t.Fatalf("relays: %q", o.candidates())
		}
		s.server.Do(func(now mono.Time, e *turn.Server) { e.Revoke(now, "ada", time.Now().Add(10*time.Minute)) })
		time.Sleep(time.Hour)
		errs, _ := seen[gather.ServerError](o)
		if len(errs) != 1 || errs[0].Code != 401 || !strings.Contains(errs[0].Text, "expire") {
			t.Errorf("errors: %+v", errs)
		}
		if len(o.relays()) != 0 {
			t.Errorf("relays: %q", o.candidates())
		}
		o.do(func(now mono.Time) {
			if err := o.SetServers(credential(2 * time.Hour)); err != nil {
				t.Error(err)
			}
			o.Restart(now)
		})
		time.Sleep(time.Second)
		if len(o.relays()) != 2 {
			t.Errorf("relays: %q", o.candidates())
		}
		// Other credentials while the allocation stands: another one is made, and the old one stays for half a minute.
		old := o.relays()[0]
		o.do(func(now mono.Time) {
			if err := o.SetServers(credential(3 * time.Hour)); err != nil {
				t.Error(err)
			}
			o.Restart(now)
		})
		time.Sleep(time.Second)
		if len(o.relays()) != 4 {
			t.Errorf("relays: %q", o.candidates())
		}
		time.Sleep(time.Minute)
		if r := o.relays(); len(r) != 2 || r[0].Address == old.Address {
			t.Errorf("relays: %q", o.candidates())
		}
		if done, _ := seen[gather.Complete](o); len(done) != 3 {
			t.Errorf("complete %d times, want one for each generation", len(done))
		}
	})
}

// answering runs a server that answers each request by what reply makes of it.
func answering(t *testing.T, s *scene, addr string, reply func(b *stun.Builder)) {
	t.Helper()
	var socket *simnet.Socket
	socket, err := s.net.Internet().Host("answering "+addr, near, netip.MustParseAddrPort(addr).Addr().String()).Bind(ap(addr), func(_ mono.Time, d *pkt.Datagram) {
		m, err := stun.Parse(d.Payload)
		if err != nil || m.Class() != stun.Request {
			return
		}
		b := stun.Respond(nil, stun.Error, &m)
		reply(&b)
		raw, _ := b.Message()
		socket.Send(d.Remote, raw)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// RFC 8489 section 10: "the client ... attempts to send the request to the server specified in ALTERNATE-SERVER"; two that
// send us to each other have their end.
func TestAlternateServer(t *testing.T) {
	inScene(t, func(s *scene) {
		alternate := func(to string) func(b *stun.Builder) {
			return func(b *stun.Builder) {
				b.Error(stun.CodeTryAlternate, "")
				b.Address(stun.AttrAlternateServer, ap(to))
			}
		}
		answering(t, s, "5.5.5.1:3478", alternate(server4+":3478"))
		answering(t, s, "5.5.5.2:3478", alternate("5.5.5.3:3478"))
		answering(t, s, "5.5.5.3:3478", alternate("5.5.5.2:3478"))
		h := s.at(s.net.Internet(), "ada", "5.9.0.7")
		o := s.owner(h, gather.Config{Servers: servers(t, "turn:5.5.5.1", "turn:5.5.5.2")})
		time.Sleep(time.Minute)
		if r := o.relays(); len(r) != 2 || r[0].Address.Addr().String() != relay4 || r[0].Server != ap(server4+":3478") {
			t.Errorf("relays: %+v", r)
		}
		if e, _ := seen[gather.ServerError](o); len(e) != 1 || e[0].Code != 300 || e[0].URL != "turn:5.5.5.2" {
			t.Errorf("errors: %+v", e)
		}
	})
}

// RFC 8656 section 7.4: "437 (Allocation Mismatch) ... the client SHOULD pick a new client transport address and use that
// transport address": a program that ended without a word comes again from the same port.
func TestAllocationMismatch(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet(), "ada", "5.9.0.7")
		cfg := gather.Config{Servers: servers(t, "turn:turn.test"), MinPort: 40000, MaxPort: 40009}
		var allocated int
		for i := range 3 {
			// The first draw decides the port.
			cfg.Host, cfg.Entropy = h, io.MultiReader(bytes.NewReader(make([]byte, 12)), seeded(byte(i)))
			o := newOwner(t, h.Poller(), cfg).start()
			time.Sleep(time.Second)
			if len(o.relays()) != 2 {
				t.Fatalf("relays: %q", o.candidates())
			}
			for _, c := range o.found() {
				if c.Type == ice.Host && (c.Address.Port() < 40000 || c.Address.Port() > 40009) {
					t.Errorf("a port out of range: %v", c.Address)
				}
			}
			o.loop.Close()
		}
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { allocated = int(e.Counters().Allocated) })
		if allocated != 3 {
			t.Errorf("%d allocations, want three", allocated)
		}
	})
}

// RFC 8656 section 7: a client that has IPv6 alone gets an IPv4 relay, and a server that is reached over both families is
// used once.
func TestFamiliesOfRelays(t *testing.T) {
	for name, addrs := range map[string][]string{
		"IPv4 only": {"5.9.0.7"}, "IPv6 only": {"2620:fe::77"}, "both": {"5.9.0.7", "2620:fe::77"},
	} {
		for _, url := range []string{"turn:turn.test", "turns:turn.test"} {
			t.Run(name+" "+url, func(t *testing.T) {
				inScene(t, func(s *scene) {
					o := s.owner(s.at(s.net.Internet(), "ada", addrs...), gather.Config{Servers: servers(t, url)})
					p := s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4", "2606:4700::1111"), gather.Config{})
					time.Sleep(30 * time.Second)
					r := o.relays()
					if len(r) != 2 {
						t.Fatalf("relays: %q", o.candidates())
					}
					o.talk(r[0], p)
					o.talk(r[1], p)
					if e, _ := seen[gather.ServerError](o); len(e) != 0 {
						t.Errorf("errors: %+v", e)
					}
				})
			})
		}
	}
}

// An allocation is given back when the Gatherer closes (RFC 8656 section 8: "a lifetime of zero"), before its last event.
func TestCloseReleases(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet(), "ada", "5.9.0.7")
		urls := []string{"turn:turn.test", "turn:turn.test?transport=tcp", "turns:turn.test", "stun:turn.test", "stun:nowhere.test"}
		o := newOwner(t, h.Poller(), gather.Config{Host: h, Servers: servers(t, urls...), Proxy: "none", TLS: s.roots, Entropy: seeded(3)}).start()
		time.Sleep(time.Second)
		if len(o.relays()) != 6 {
			t.Errorf("relays: %q", o.candidates())
		}
		o.do(o.Gatherer.Close)
		<-o.closed
		if last := o.events[len(o.events)-1]; last != (gather.Event)(gather.Closed{}) {
			t.Errorf("the last event is %+v", last)
		}
		c := o.loop.Counters()
		if c.Sockets != 0 || c.Timers != 0 {
			t.Errorf("%d sockets and %d timers are left", c.Sockets, c.Timers)
		}
		time.Sleep(100 * time.Millisecond)
		var released turn.Counters
		_ = s.server.Do(func(_ mono.Time, e *turn.Server) { released = e.Counters() })
		if released.Allocated != 3 || released.Allocations != 0 {
			t.Errorf("%d allocations were made and %d are left", released.Allocated, released.Allocations)
		}
		o.loop.Close()
	})
}

// RFC 8656 section 7.2 knows ADDITIONAL-ADDRESS-FAMILY, RFC 6156 did not: a server that passes over it gives one family an
// allocation, and the other is asked for from another port. One that has no other says 440 (section 7.4), which is no error
// to be told: there is a relay.
func TestServerOfOneFamilyAnAllocation(t *testing.T) {
	for name, hasIPv6 := range map[string]bool{"two families": true, "one family": false} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				hasher := stun.NewHasher()
				key := hasher.AppendLongTermKey(nil, stun.MD5, []byte("alice"), []byte("old"), []byte("wonderland"))
				asked := map[netip.AddrPort]int{}
				var socket *simnet.Socket
				socket, err := s.net.Internet().Host("old", near, "5.5.5.1").Bind(ap("5.5.5.1:3478"), func(_ mono.Time, d *pkt.Datagram) {
					m, err := stun.Parse(d.Payload)
					if err != nil || m.Class() != stun.Request {
						return
					}
					fail := func(code stun.Code) stun.Builder {
						b := stun.Respond(nil, stun.Error, &m)
						b.Error(code, "")
						b.Text(stun.AttrRealm, "old")
						b.Text(stun.AttrNonce, "nonce")
						return b
					}
					b := stun.Respond(nil, stun.Success, &m)
					signed, _ := m.HasIntegrity()
					family, one := m.Uint32(stun.AttrRequestedAddressFamily)
					switch {
					case !signed || !hasher.Verify(&m, key):
						b = fail(stun.CodeUnauthenticated)
					case m.Method() == stun.Allocate && one && family>>24 == stun.FamilyIPv6 && !hasIPv6:
						b = fail(stun.CodeAddressFamilyNotSupported)
						b.Integrity(hasher, key)
					case m.Method() == stun.Allocate:
						asked[d.Remote]++
						relayed := netip.AddrPortFrom(netip.MustParseAddr(relay4), 50000)
						if one {
							relayed = netip.AddrPortFrom(netip.MustParseAddr(relay6), 50000)
						}
						b.XORAddress(stun.AttrXORRelayedAddress, relayed)
						b.XORAddress(stun.AttrXORMappedAddress, d.Remote)
						b.Uint32(stun.AttrLifetime, 600)
						b.Integrity(hasher, key)
					default:
						b.Uint32(stun.AttrLifetime, 0)
						b.Integrity(hasher, key)
					}
					raw, _ := b.Message()
					socket.Send(d.Remote, raw)
				})
				if err != nil {
					t.Fatal(err)
				}
				o := s.owner(s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2"), gather.Config{Servers: servers(t, "turn:5.5.5.1")})
				time.Sleep(time.Second)
				want := []string{"host udp 192.168.1.2:49152", "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152", "relay/udp 198.41.0.9 from 5.9.0.1:49152"}
				if hasIPv6 {
					want = append(want, "relay/udp 2620:fe::9")
				}
				wantCandidates(t, o, want...)
				if e, _ := seen[gather.ServerError](o); len(e) != 0 {
					t.Errorf("errors: %+v", e)
				}
				if done, _ := seen[gather.Complete](o); len(done) != 1 {
					t.Errorf("complete %d times", len(done))
				}
				synctest.Wait()
				if len(asked) != len(want)-2 {
					t.Errorf("allocations for %v", asked)
				}
				wantSockets := len(want) - 2 // that of the base, and one for the second allocation
				if c := o.loop.Counters(); c.Sockets != wantSockets {
					t.Errorf("%d sockets are open, want %d", c.Sockets, wantSockets)
				}
			})
		})
	}
}
