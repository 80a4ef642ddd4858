package gather_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// RFC 8656 section 3.1: a server is reached over UDP, TCP, TLS and DTLS. Several are asked at once, and the first to
// answer is told first.
func TestRelayOverEachTransport(t *testing.T) {
	for _, c := range []struct {
		url      string
		protocol ice.RelayProtocol
		within   time.Duration // by round trips of 20 ms
	}{
		{"turn:turn.test", ice.RelayUDP, 50 * time.Millisecond},               // challenge, allocation
		{"turn:turn.test?transport=tcp", ice.RelayTCP, 70 * time.Millisecond}, // and before that TCP's handshake
		{"turns:turn.test", ice.RelayTLS, 90 * time.Millisecond},              // and TLS's
		{"turns:turn.test:443", ice.RelayTLS, 90 * time.Millisecond},
		{"turns:turn.test?transport=udp", ice.RelayDTLS, 90 * time.Millisecond},
		{"turns:" + server4, ice.RelayTLS, 90 * time.Millisecond},
	} {
		t.Run(strings.ReplaceAll(c.url, "?", " "), func(t *testing.T) {
			inScene(t, func(s *scene) {
				o := s.owner(s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2"), gather.Config{
					Servers: servers(t, c.url), Policy: gather.Relay,
				})
				p := s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4"), gather.Config{})
				time.Sleep(time.Second)
				wantCandidates(t, o, fmt.Sprintf("relay/%v 198.41.0.9", c.protocol), fmt.Sprintf("relay/%v 2620:fe::9", c.protocol))
				// the host is 20 ms from the server: its own link and its router's
				if _, when := seen[gather.Candidate](o); when > 2*c.within {
					t.Errorf("the first candidate came after %v", when)
				}
				for _, r := range o.relays() {
					if r.Address.Addr().Is4() {
						o.talk(r, p)
					}
				}
				// A quarter of an hour later it is still there.
				time.Sleep(15 * time.Minute)
				o.talk(o.relays()[0], p)
			})
		})
	}
}

// With everything but one way closed, that way is found, and the rest is told as an error of each server.
func TestRelayThroughWalls(t *testing.T) {
	all := []string{"stun:turn.test", "turn:turn.test", "turn:turn.test?transport=tcp", "turns:turn.test:443"}
	for _, c := range []struct {
		name   string
		out    func(*simnet.Packet) bool
		proxy  string
		want   []string
		within time.Duration
		failed int
	}{
		{"no udp", simnet.NoUDP, "", []string{"host", "relay/tcp", "relay/tls"}, 200 * time.Millisecond, 2},
		{"no udp, and a proxy that is not needed", simnet.NoUDP, environment, []string{"host", "relay/tcp", "relay/tls"}, 200 * time.Millisecond, 2},
		{"only https", simnet.OnlyTCPPorts(443), "", []string{"host", "relay/tls"}, 200 * time.Millisecond, 3},
		{"only a proxy", simnet.OnlyTCPPorts(3128), "http://eve:s3cret@proxy.test:3128", []string{"host", "relay/tls"}, 1200 * time.Millisecond, 3},
		{"only a proxy, as the environment says", simnet.OnlyTCPPorts(3128), environment, []string{"host", "relay/tls"}, 1200 * time.Millisecond, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", "http://eve:s3cret@proxy.test:3128")
			inScene(t, func(s *scene) {
				proxy := &simnet.Proxy{
					Allow:     func(target string) bool { return strings.HasSuffix(target, ":443") },
					Authorize: func(user, password string) bool { return user == "eve" && password == "s3cret" },
				}
				if err := proxy.Serve(s.net.Internet().Host("proxy", near, "9.9.9.9"), ap("9.9.9.9:3128")); err != nil {
					t.Fatal(err)
				}
				s.close = append(s.close, func() { proxy.Close() })
				s.net.Name("proxy.test", "9.9.9.9")
				cfg := gather.Config{Servers: servers(t, all...), Proxy: c.proxy}
				o := s.owner(s.at(s.net.Internet().Firewall("office", near, c.out), "ada", "5.9.0.7"), cfg)
				p := s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4"), gather.Config{})
				time.Sleep(30 * time.Second)
				kinds := map[string]bool{}
				for _, d := range o.candidates() {
					kinds[strings.Fields(d)[0]] = true
				}
				if len(kinds) != len(c.want) {
					t.Errorf("candidates %q, want %q", o.candidates(), c.want)
				}
				for _, k := range c.want {
					if !kinds[k] {
						t.Errorf("no %s: %q", k, o.candidates())
					}
				}
				if got := o.relays(); len(got) > 0 {
					o.talk(got[0], p)
				} else {
					t.Error("no relay")
				}
				if needed := strings.HasPrefix(c.name, "only a proxy"); (proxy.Tunnels() > 0) != needed {
					t.Errorf("%d tunnels through the proxy", proxy.Tunnels())
				}
				errs, _ := seen[gather.ServerError](o)
				if len(errs) != c.failed {
					t.Errorf("errors: %+v", errs)
				}
				for _, e := range errs {
					if e.Code != gather.Unreachable || e.URL == "" || e.Text == "" || e.Local.IsValid() {
						t.Errorf("%+v", e)
					}
				}
				var first time.Duration
				o.do(func(_ mono.Time) {
					for i, e := range o.events {
						if c, ok := e.(gather.Candidate); ok && c.Type == ice.Relayed && first == 0 {
							first = o.times[i]
						}
					}
				})
				if first > c.within {
					t.Errorf("the first relay came after %v", first)
				}
				if done, when := seen[gather.Complete](o); len(done) != 1 || when > 20*time.Second {
					t.Errorf("complete %d times, after %v", len(done), when)
				}
			})
		})
	}
}

// nameless is a host whose network resolves the proxy's name and no other.
type nameless struct{ *simloop.Host }

func (h nameless) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "proxy.test" {
		return h.Host.Lookup(ctx, name)
	}
	return nil, errors.New("no such name")
}

// Where only the proxy resolves names, the server's goes to it as it is (RFC 9110 section 9.3.6).
func TestProxyResolvesNames(t *testing.T) {
	inScene(t, func(s *scene) {
		proxy := &simnet.Proxy{}
		if err := proxy.Serve(s.net.Internet().Host("proxy", near, "9.9.9.9"), ap("9.9.9.9:3128")); err != nil {
			t.Fatal(err)
		}
		s.close = append(s.close, func() { proxy.Close() })
		s.net.Name("proxy.test", "9.9.9.9")
		h := s.at(s.net.Internet().Firewall("office", near, simnet.OnlyTCPPorts(3128)), "ada", "5.9.0.7")
		o := newOwner(t, h.Poller(), gather.Config{
			Host: nameless{h}, Entropy: seeded(2), TLS: s.roots, Servers: servers(t, "turns:turn.test:443", "turn:turn.test"),
			Proxy: "http://proxy.test:3128",
		}).start()
		s.owners = append(s.owners, o)
		time.Sleep(20 * time.Second)
		if len(o.relays()) != 2 || o.relays()[0].RelayProtocol != ice.RelayTLS {
			t.Errorf("candidates: %q", o.candidates())
		}
		if e, _ := seen[gather.ServerError](o); len(e) != 1 || e[0].URL != "turn:turn.test" {
			t.Errorf("errors: %+v", e)
		}
	})
}

// RFC 8656 section 3.7: "When the client includes the DONT-FRAGMENT attribute in a Send indication, this tells the server to
// set the DF bit in the resulting UDP datagram that it sends to the peer." So a probe of the path MTU tells the truth about
// both sides of the relay.
func TestProbesThroughRelays(t *testing.T) {
	const narrow, large, small = 1300, 1350, 1100
	for _, url := range []string{"turn:turn.test", "turns:turn.test?transport=udp", "turn:turn.test?transport=tcp"} {
		t.Run(strings.ReplaceAll(url, "?", " "), func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.server.Close()
				cfg := turnConfig()
				cfg.DontFragment = true
				s.serve(cfg)
				near := near
				h, peer := s.at(s.net.Internet(), "ada", "5.9.0.7"), s.at(s.net.Internet(), "peer", "8.8.4.4")
				o, p := s.owner(h, gather.Config{Servers: servers(t, url), Policy: gather.Relay}), s.owner(peer, gather.Config{})
				time.Sleep(time.Second)
				path := pkt.Path{Socket: o.relays()[0].Socket, Local: o.relays()[0].Base, Remote: p.found()[0].Address}
				// arrives sends, and counts what the peer gets.
				arrives := func(each, count int, whole bool) int {
					t.Helper()
					m := pkt.Transmit{Path: path, Payload: make([]byte, each*count), Unfragmented: whole}
					if count > 1 {
						m.SegmentSize = uint16(each)
					}
					o.do(func(now mono.Time) {
						if !o.Wrap(now, m, o.lease.Batch()) {
							t.Error("no room")
						}
					})
					time.Sleep(time.Second)
					return len(p.received())
				}
				for range 10 { // until there is a channel
					if arrives(small, 1, false) != 1 {
						t.Fatal("the relay does not relay")
					}
				}
				near.MTU, near.Fragments = narrow, true
				peer.Link().SetDown(near)
				for what, c := range map[string]struct {
					each, count int
					whole       bool
					want        int
				}{
					"a probe that is too large":                 {large, 1, true, 0},
					"a probe that passes":                       {small, 1, true, 1},
					"a packet that may be fragmented":           {large, 1, false, 1},
					"packets of a size that a probe has proved": {small, 3, true, 3},
				} {
					if n := arrives(c.each, c.count, c.whole); n != c.want {
						t.Errorf("narrow from the server to the peer: %s: %d arrive, want %d", what, n, c.want)
					}
				}
				if strings.HasSuffix(url, "tcp") {
					return
				}
				near.MTU = 0
				peer.Link().SetDown(near)
				near.MTU = narrow
				h.Link().SetUp(near)
				for what, c := range map[string]struct {
					count int
					whole bool
					want  int
				}{
					"a probe": {1, true, 0}, "several": {3, true, 0}, "what may be fragmented": {1, false, 1},
				} {
					if n := arrives(large, c.count, c.whole); n != c.want {
						t.Errorf("narrow from the client to the server: %s: %d arrive, want %d", what, n, c.want)
					}
				}
			})
		})
	}
}
