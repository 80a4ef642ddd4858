package gather_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
)

// draft-ietf-mmusic-mdns-ice-candidates section 3: host candidates are told by names, which those on the same network
// resolve and nobody else, and no other candidate tells their addresses.
func TestHiddenHosts(t *testing.T) {
	inScene(t, func(s *scene) {
		lan := s.net.Internet().NAT("home", near, home, "5.9.0.1")
		cfg := gather.Config{HideHosts: true, TCP: true, Servers: servers(t, "stun:turn.test", "turn:turn.test")}
		o := s.owner(s.at(lan, "ada", "192.168.1.2"), cfg)
		neighbour := s.owner(simloopHost(s, lan, "bob", simnet.Path{Delay: time.Millisecond, Loss: 0.3}, "192.168.1.3"), gather.Config{HideHosts: true})
		stranger := s.owner(s.at(s.net.Internet(), "eve", "5.9.0.9"), gather.Config{HideHosts: true, Servers: servers(t, "stun:turn.test")})
		time.Sleep(time.Second)
		name := ""
		for _, c := range o.found() {
			switch {
			case c.Type == ice.Host:
				if !strings.HasSuffix(c.Name, ".local") || name != "" && name != c.Name {
					t.Errorf("a host candidate by the name %q, want one name of all", c.Name)
				}
				name = c.Name
			case c.Name != "" || c.Related.Addr() == netip.MustParseAddr("192.168.1.2"):
				t.Errorf("%+v", c)
			}
		}
		if len(o.found()) != 5 { // host, active, srflx, two relays
			t.Errorf("candidates: %q", o.candidates())
		}
		// Where there is no NAT, a STUN server tells the address, and that is as public as it can be.
		if got := stranger.found(); len(got) != 2 || got[1].Type != ice.ServerReflexive || got[1].Address != got[0].Address || got[0].Name == "" || got[1].Name != "" {
			t.Errorf("candidates: %+v", got)
		}
		type answer struct {
			ip  netip.Addr
			err error
		}
		resolve := func(o *owner, name string) (got *answer) {
			o.do(func(now mono.Time) {
				o.Resolve(now, name, func(_ mono.Time, ip netip.Addr, err error) { got = &answer{ip, err} })
			})
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if got == nil {
				t.Fatalf("%s: no answer", name)
			}
			return got
		}
		want := netip.MustParseAddr("192.168.1.2")
		if a := resolve(neighbour, strings.ToUpper(name)); a.ip != want || a.err != nil {
			t.Errorf("the neighbour: %+v", a)
		}
		if a := resolve(o, name); a.ip != want || a.err != nil {
			t.Errorf("oneself: %+v", a)
		}
		if a := resolve(stranger, name); a.err == nil {
			t.Errorf("a stranger: %+v", a)
		}
		if a := resolve(neighbour, "www.example.org"); a.err == nil {
			t.Errorf("an ordinary name: %+v", a)
		}
		o.do(o.Gatherer.Close)
		<-o.closed
		if a := resolve(neighbour, name); a.err == nil {
			t.Errorf("after its owner closed: %+v", a)
		}
	})
}

// Addresses that are to be hidden are not told at all where there is no multicast DNS.
func TestHiddenWithoutMulticast(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := newOwner(t, h.Poller(), gather.Config{
			Host: struct{ gather.Host }{h}, Entropy: seeded(2), HideHosts: true, TCP: true, Servers: servers(t, "stun:turn.test"),
		}).start()
		time.Sleep(time.Second)
		wantCandidates(t, o, "srflx udp 5.9.0.1:49152")
		o.stop()
	})
}
