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
