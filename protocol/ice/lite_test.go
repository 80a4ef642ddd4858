package ice_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/stun"
)

// "One agent full, one lite: The full agent MUST take the controlling role, and the lite agent MUST take the controlled
// role." (RFC 8445 section 6.1.1) The lite one sends no check, and "MUST NOT send data until it has a valid list that
// contains a candidate pair" (12.1.1).
func TestLiteAgent(t *testing.T) {
	w := newPlain(t, 1, ice.Config{Role: ice.Controlled}, ice.Config{Lite: true}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
	now := w.Now()
	if err := w.a.SetRemoteCredentials(now, ice.Remote{Credentials: w.b.LocalCredentials(), Lite: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.b.SetRemoteCredentials(now, ice.Remote{Credentials: w.a.LocalCredentials()}); err != nil {
		t.Fatal(err)
	}
	if w.a.Role() != ice.Controlling || w.b.Role() != ice.Controlled {
		t.Fatalf("%v and %v", w.a.Role(), w.b.Role())
	}
	// Its candidates are host candidates (RFC 8445 section 5.2).
	if _, ok := w.b.AddLocalCandidate(now, ice.Candidate{Type: ice.ServerReflexive, Address: addr("198.51.100.1:1"), Related: w.b.bases[0]}); ok {
		t.Error("a lite agent took a reflexive candidate")
	}
	if _, ok := w.b.Path(); ok {
		t.Error("a path before any check")
	}
	w.exchange()
	w.connected(t)
	w.talks()
	w.Run(time.Minute)
	if len(w.b.requests()) != 0 {
		t.Errorf("the lite agent sent %d checks", len(w.b.requests()))
	}
	if !w.both(ice.StateCompleted)() || len(w.a.heard) < 2900 || len(w.b.heard) < 2900 {
		t.Errorf("%v and %v; %d and %d words in a minute", w.a.State(), w.b.State(), len(w.a.heard), len(w.b.heard))
	}
	// The checks that keep the full agent's consent are all that a lite one can go by.
	w.b.host.Link().Set(dead)
	w.Run(time.Minute)
	if _, ok := w.b.Path(); ok || w.b.State() == ice.StateCompleted {
		t.Errorf("a minute after the full agent's last check the lite one is %v", w.b.State())
	}
}

// A restart by the full agent leads the lite one along.
func TestLiteAgentRestarts(t *testing.T) {
	w := newPlain(t, 1, ice.Config{}, ice.Config{Lite: true}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
	for range 3 {
		w.connect(t)
		w.connected(t)
		w.Run(10 * time.Second)
		if !w.both(ice.StateCompleted)() {
			t.Fatalf("%v and %v", w.a.State(), w.b.State())
		}
		w.a.Restart(w.Now(), ice.Credentials{})
		w.b.Restart(w.Now(), ice.Credentials{})
	}
	if w.b.Restart(w.Now(), ice.Credentials{}); w.b.SetRemoteCredentials(w.Now(), ice.Remote{Credentials: w.a.LocalCredentials(), Lite: true}) != ice.ErrBothLite {
		t.Error("two lite agents")
	}
}

// "failed": the agent "has finished checking all candidate pairs" and has none; only a restart leads out of it (W3C, RTCIceTransportState). A check
// that comes too late makes no pair of a lite agent valid, as an answer makes none of a full one.
func TestLiteAgentStaysFailed(t *testing.T) {
	f := forge(t, ice.Config{Lite: true}, true)
	nominate := sheet{add: func(b *stun.Builder) {
		b.Uint64(stun.AttrICEControlling, 1)
		b.Flag(stun.AttrUseCandidate)
	}}
	f.agent.EndOfLocalCandidates(0)
	f.agent.EndOfRemoteCandidates(0)
	now := f.agent.NextTimeout()
	f.agent.HandleTimeout(now)
	if f.agent.State() != ice.StateFailed {
		t.Fatalf("%v at %v", f.agent.State(), now)
	}
	f.hand(now, f.write(nominate))
	if _, ok := f.agent.Path(); ok || f.agent.State() != ice.StateFailed {
		t.Errorf("%v, and a path: %t", f.agent.State(), ok)
	}
	f.agent.Restart(now, ice.Credentials{})
	if err := f.agent.SetRemoteCredentials(now, ice.Remote{Credentials: ice.Credentials{Ufrag: "anew", Password: f.own.Password}}); err != nil {
		t.Fatal(err)
	}
	f.own.Ufrag = "anew"
	f.hand(now, f.write(nominate))
	if _, ok := f.agent.Path(); !ok || f.agent.State() != ice.StateConnected {
		t.Errorf("after a restart %v, and a path: %t", f.agent.State(), ok)
	}
}

// The peer of a lite agent moves: its NAT forgets, and its checks come from another address without a nomination, since nothing has changed on its side. "ICE
// lite ... do not send connectivity checks" (RFC 8445 section 2.5), so nothing but what comes tells of it: data at once, and checks alone
// once those along the former pair have stopped.
func TestLiteAgentFollows(t *testing.T) {
	for _, renomination := range []bool{false, true} {
		for _, c := range []struct {
			name    string
			talking func(w *world)
			most    time.Duration
		}{
			{"both talk", (*world).talks, time.Second},
			{"the lite side alone talks", func(w *world) { w.b.talking = true }, 16 * time.Second},
		} {
			t.Run(fmt.Sprint(c.name, ", renomination ", renomination), func(t *testing.T) {
				n := simnet.New(1)
				home := n.Internet().NAT("home", middle, forgetful, "198.51.100.1")
				w := &world{Network: n, home: home}
				w.a = newSide(t, home.Host("a", simnet.Path{}, "192.168.1.2"), 2, ice.Config{})
				w.b = newSide(t, n.Internet().Host("b", middle, "198.51.100.2"), 3, ice.Config{Lite: true})
				if err := w.a.SetRemoteCredentials(w.Now(), ice.Remote{Credentials: w.b.LocalCredentials(), Lite: true, Renomination: renomination}); err != nil {
					t.Fatal(err)
				}
				if err := w.b.SetRemoteCredentials(w.Now(), ice.Remote{Credentials: w.a.LocalCredentials(), Renomination: renomination}); err != nil {
					t.Fatal(err)
				}
				w.exchange()
				w.connected(t)
				c.talking(w)
				w.a.driver.Poll()
				w.b.driver.Poll()
				for range 5 { // the way back to a former pair is one of them
					w.Run(20 * time.Second)
					cut := w.Now()
					w.home.Reboot()
					w.Run(40 * time.Second)
					if n := w.a.outage(cut, w.Now()); n > c.most {
						t.Errorf("no data from the lite side for %v", n)
					}
					if w.b.State() != ice.StateCompleted {
						t.Errorf("the lite side is %v", w.b.State())
					}
				}
			})
		}
	}
}
