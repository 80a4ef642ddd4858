package ice_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
)

// Relayed candidates have negative sockets, and are all that RelayOnly lets pass.
func TestRelayOnly(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b ice.Config
	}{
		{"both", ice.Config{RelayOnly: true}, ice.Config{RelayOnly: true}},
		{"one", ice.Config{RelayOnly: true}, ice.Config{}},
		{"the other", ice.Config{}, ice.Config{RelayOnly: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newPlain(t, 1, c.a, c.b, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			w.question("+")
			w.connect(t)
			w.connected(t)
			w.talks()
			w.Run(10 * time.Second)
			for i, s := range []*side{w.a, w.b} {
				only := []ice.Config{c.a, c.b}[i].RelayOnly
				p, _ := s.Selected()
				if relayed := p.Path.Socket == relaySocket; relayed != only || relayed != (p.Local.Type == ice.Relayed) {
					t.Errorf("%v: %v along socket %d", s.Role(), p.Local.Type, p.Path.Socket)
				}
				for _, m := range s.messages {
					if only && m.path.Socket != relaySocket {
						t.Fatalf("%v: a message along %v", s.Role(), m.path)
					}
				}
				if len(s.heard) < 490 || s.State() != ice.StateCompleted {
					t.Errorf("%v: %v, %d words in 10 s", s.Role(), s.State(), len(s.heard))
				}
			}
		})
	}
}

// A host with IPv6 alone meets one with IPv4 alone through a relay that has both.
func TestRelayJoinsFamilies(t *testing.T) {
	n := simnet.New(1)
	serve(t, n, "2001:db8:ffff::1")
	w := &world{
		Network: n,
		a:       newSide(t, n.Internet().Host("a", middle, "2001:db8::1"), 1, ice.Config{}),
		b:       newSide(t, n.Internet().Host("b", middle, "192.0.2.9"), 2, ice.Config{Role: ice.Controlled}),
	}
	w.b.say("+2001:db8:ffff::1", serverPath)
	w.b.driver.Poll()
	n.Run(100 * time.Millisecond)
	if !w.b.relayed.Addr().Is6() {
		t.Fatalf("relayed at %v", w.b.relayed)
	}
	w.connect(t)
	w.connected(t)
	p, _ := w.a.Selected()
	q, _ := w.b.Selected()
	if p.Remote.Address != w.b.relayed || q.Path.Socket != relaySocket || q.Path.Remote != w.a.bases[0] {
		t.Errorf("%+v and %+v", p, q)
	}
}

// Both families on both sides: IPv6 is the first, and where it is broken IPv4 is not waited for longer than its turn.
func TestDualStack(t *testing.T) {
	for name, broken := range map[string]bool{"both work": false, "IPv6 is broken": true} {
		t.Run(name, func(t *testing.T) {
			w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			six := w.a.host.Attach(w.Internet(), middle, "2001:db8::1")
			w.b.host.Attach(w.Internet(), middle, "2001:db8::9")
			if broken {
				six.Set(dead)
			}
			for _, s := range []*side{w.a, w.b} {
				base := addr("[" + s.host.Addrs()[1].String() + "]:5000")
				s.bases = append(s.bases, base)
				s.open(base)
			}
			began := w.connect(t)
			w.connected(t)
			took := w.Now().Sub(began)
			w.Run(2 * time.Second)
			for _, s := range []*side{w.a, w.b} {
				if p, _ := s.Selected(); p.Path.Remote.Addr().Is6() == broken {
					t.Errorf("%v: along %v", s.Role(), p.Path)
				}
			}
			if took > 50*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		})
	}
}
