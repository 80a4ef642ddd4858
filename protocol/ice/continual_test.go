package ice_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// newHomed puts a on two networks, and returns its two links.
func newHomed(t testing.TB, seed uint64) (w *world, links [2]*simnet.Link) {
	w = newPlain(t, seed, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
	links[0] = w.a.host.Link()
	links[1] = w.a.host.Attach(w.Internet(), middle, "198.51.100.1")
	w.a.bases = append(w.a.bases, addr("198.51.100.1:5000"))
	w.a.open(addr("198.51.100.1:5000"))
	return w, links
}

// outage returns the longest time without data since the given one.
func (s *side) outage(since, until mono.Time) (longest time.Duration) {
	last := since
	for _, at := range append(s.heard, until) {
		if at >= since {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return longest
}

var dead = simnet.Path{Loss: 1}

// A path in use that dies without a word is left, in both directions, as soon as its silence is out of the ordinary, and
// long before consent expires.
func TestDeadPathInUseIsLeft(t *testing.T) {
	for _, c := range []struct {
		name    string
		after   time.Duration // since the connection: before the other pairs were let go, or after
		talking func(w *world)
		cut     func(l *simnet.Link)
		most    time.Duration
	}{
		{"others still checked", 2 * time.Second, (*world).talks, func(l *simnet.Link) { l.Set(dead) }, 2 * time.Second},
		{"others let go", 20 * time.Second, (*world).talks, func(l *simnet.Link) { l.Set(dead) }, 2 * time.Second},
		{"the controlling side alone talks", 20 * time.Second, func(w *world) { w.a.talking = true }, func(l *simnet.Link) { l.Set(dead) }, 3 * time.Second},
		{"the controlled side alone talks", 20 * time.Second, func(w *world) { w.b.talking = true }, func(l *simnet.Link) { l.Set(dead) }, 3 * time.Second},
		{"only what the controlling side sends is lost", 20 * time.Second, (*world).talks, func(l *simnet.Link) { l.SetUp(dead) }, 3 * time.Second},
		{"only what the controlled side sends is lost", 20 * time.Second, (*world).talks, func(l *simnet.Link) { l.SetDown(dead) }, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, links := newHomed(t, 1)
			w.connect(t)
			w.connected(t)
			c.talking(w)
			w.a.driver.Poll()
			w.b.driver.Poll()
			w.Run(c.after)
			cut := w.Now()
			for _, s := range []*side{w.a, w.b} {
				if n := s.searched(); n != 0 {
					t.Errorf("%v: searched %d times while all was well", s.Role(), n)
				}
			}
			c.cut(links[0])
			w.Run(10 * time.Second)
			if a, b := w.a.searched(), w.b.searched(); a > 1 || b > 1 || a+b == 0 { // one of them may follow the other in time
				t.Errorf("searched %d and %d times", a, b)
			}
			for _, s := range []*side{w.a, w.b} {
				other := w.b
				if s == w.b {
					other = w.a
				}
				if !other.talking {
					continue
				}
				n := s.outage(cut, w.Now())
				t.Logf("%v: no data for %v", s.Role(), n)
				if n > c.most {
					t.Errorf("%v: no data for %v, want at most %v", s.Role(), n, c.most)
				}
			}
		})
	}
}

// searched counts the events Searching.
func (s *side) searched() (n int) {
	for _, e := range s.events {
		if _, ok := e.(ice.Searching); ok {
			n++
		}
	}
	return n
}

// talks has both sides send data from now on.
func (w *world) talks() {
	w.a.talking, w.b.talking = true, true
	w.a.driver.Poll()
	w.b.driver.Poll()
}

// The interface of the selected pair goes, or the socket alone: another valid pair takes its place at once.
func TestLostInterfaceIsReplacedAtOnce(t *testing.T) {
	for name, lose := range map[string]func(s *side, now mono.Time){
		"socket":  func(s *side, now mono.Time) { s.RemoveLocal(now, 0) },
		"address": func(s *side, now mono.Time) { s.RemoveAddress(now, s.bases[0].Addr()) },
	} {
		for _, after := range []time.Duration{2 * time.Second, 20 * time.Second} { // others valid, or let go
			for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
				t.Run(name+", "+role.String()+", "+after.String(), func(t *testing.T) {
					w, links := newHomed(t, 1)
					w.roles(role)
					w.connect(t)
					w.connected(t)
					w.talks()
					w.Run(after)
					cut := w.Now()
					links[0].Set(dead)
					lose(w.a, cut)
					w.a.driver.Poll()
					w.Run(5 * time.Second)
					// a knows at once. b hears a's checks from elsewhere, and asks whether the old pair still works.
					if n := w.b.outage(cut, w.Now()); n > 150*time.Millisecond {
						t.Errorf("nothing from the side that lost it for %v", n)
					}
					if n := w.a.outage(cut, w.Now()); n > 2*time.Second {
						t.Errorf("nothing from the other side for %v", n)
					}
					if p, _ := w.a.Selected(); p.Path.Socket != 1 {
						t.Errorf("along socket %d", p.Path.Socket)
					}
					for _, c := range w.a.LocalCandidates() {
						if c.Socket == 0 {
							t.Errorf("%v is still a candidate", c.Address)
						}
					}
				})
			}
		}
	}
}

// The only interface goes, and another comes later: the connection moves to it without an offer. Its candidate is known
// to the peer from the checks alone.
func TestMovesToANewInterface(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			w.roles(role)
			w.connect(t)
			w.connected(t)
			w.Run(20 * time.Second)
			w.a.host.Link().Set(dead)
			w.a.RemoveAddress(w.Now(), w.a.bases[0].Addr())
			w.a.driver.Poll()
			if s := w.a.State(); s != ice.StateDisconnected {
				t.Errorf("without any candidate: %v", s)
			}
			w.Run(10 * time.Second)
			w.a.host.Attach(w.Internet(), middle, "198.51.100.1")
			base := addr("198.51.100.1:5000")
			w.a.AddLocalCandidate(w.Now(), ice.Candidate{Address: base, Socket: w.a.open(base)})
			came := w.Now()
			w.a.driver.Poll()
			if !w.RunUntil(func() bool {
				p, ok := w.a.Selected()
				q, also := w.b.Selected()
				return ok && also && p.Path.Local == base && q.Path.Remote == base
			}, 10*time.Second) {
				t.Fatalf("not moved: %v %v", w.a.State(), w.b.State())
			}
			if took := w.Now().Sub(came); took > 2*time.Second {
				t.Errorf("moved after %v", took)
			}
			if q, _ := w.b.Selected(); q.Remote.Type != ice.PeerReflexive {
				t.Errorf("b has %v", q.Remote.Type)
			}
		})
	}
}

// A better interface comes while all is well: the connection moves to it, and no data is lost.
func TestMovesToABetterInterface(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			w.roles(role)
			now := w.Now()
			introduce(t, now, w.a.Agent, w.b.Agent)
			offer(now, w.a.Agent, w.b.Agent, ice.Candidate{Address: w.a.bases[0], Preference: 10}) // metered
			w.exchange()
			w.connected(t)
			w.talks()
			w.Run(20 * time.Second)
			came := w.Now()
			w.a.host.Attach(w.Internet(), middle, "198.51.100.1")
			base := addr("198.51.100.1:5000")
			c, _ := w.a.AddLocalCandidate(came, ice.Candidate{Address: base, Socket: w.a.open(base)})
			w.a.driver.Poll()
			if role == ice.Controlled { // who controls learns from signaling that this is worth more than its checks show
				w.After(30*time.Millisecond, func(now mono.Time) {
					w.b.AddRemoteCandidate(now, c)
					w.b.driver.Poll()
				})
			}
			w.Run(time.Second)
			p, _ := w.a.Selected()
			q, _ := w.b.Selected()
			if p.Path.Local != base || q.Path.Remote != base {
				t.Errorf("%v and %v after a second", p.Path, q.Path)
			}
			for _, s := range []*side{w.a, w.b} {
				if n := s.outage(came, w.Now()); n > each {
					t.Errorf("%v: no data for %v", s.Role(), n)
				}
			}
		})
	}
}

// forgetful gives another port each time.
var forgetful = simnet.NAT{Filtering: simnet.AddressAndPortDependent, RandomPorts: true}

// A NAT forgets, and gives the next datagram another port: the peer follows, as what comes from there has integrity.
func TestFollowsANATThatForgot(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			w := newWorld(t, 1, forgetful, open, 0)
			w.roles(role)
			w.connect(t)
			w.connected(t)
			w.talks()
			w.Run(20 * time.Second)
			cut := w.Now()
			w.home.Reboot()
			w.Run(5 * time.Second)
			for _, s := range []*side{w.a, w.b} {
				if n := s.outage(cut, w.Now()); n > 2*time.Second {
					t.Errorf("%v: no data for %v", s.Role(), n)
				}
			}
		})
	}
}

// A connection may live for weeks behind a NAT that forgets each time it may. However often the peer's address, and with it what the peer sees of
// ours, has become another one, the newest is known, what is remembered of the others is bounded, and there is room for what signaling and
// the machine say.
func TestManyAddresses(t *testing.T) {
	const times = 150
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			w := newWorld(t, 1, forgetful, open, 0)
			w.roles(role)
			w.connect(t)
			w.connected(t)
			w.talks()
			w.Run(10 * time.Second)
			paths := map[pkt.Path]bool{}
			for range times {
				w.home.Reboot()
				w.Run(2 * time.Second)
			}
			w.Run(3 * time.Second)
			for _, e := range w.b.events {
				if e, ok := e.(ice.PathKnown); ok {
					paths[e.Path] = true
				}
			}
			if len(paths) < times*9/10 { // now and then a port is drawn again
				t.Errorf("%d paths became known", len(paths))
			}
			for _, s := range []*side{w.a, w.b} {
				if n := s.outage(w.Now().Add(-3*time.Second), w.Now()); n > time.Second {
					t.Errorf("%v: no data for %v", s.Role(), n)
				}
				if n, m := len(s.LocalCandidates()), len(s.RemoteCandidates()); n > 128 || m > 64 {
					t.Errorf("%v: %d local candidates and %d of the peer", s.Role(), n, m)
				}
				if n := s.Dropped(); n.Overflow > 0 || n.Candidates > 0 {
					t.Errorf("%v: dropped %+v", s.Role(), n)
				}
				if _, ok := s.AddLocalCandidate(w.Now(), ice.Candidate{Address: addr("192.168.9.9:5000"), Socket: 7}); !ok {
					t.Errorf("%v: a new address of the machine is refused", s.Role())
				}
				if !s.AddRemoteCandidate(w.Now(), ice.Candidate{Address: addr("192.168.9.9:5000"), Priority: 1, Foundation: "x"}) {
					t.Errorf("%v: a new candidate of the peer is refused", s.Role())
				}
			}
		})
	}
}
