package ice_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

func TestLaws(t *testing.T) {
	at, bt := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:2000")
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
				a, b := newAgent(t, role, seed), newAgent(t, 1-role, seed+1000)
				closing := func(e ice.Event) bool { return e == ice.Event(ice.StateChanged{State: ice.StateClosed}) }
				return &laws.Specimen{
					Engine: laws.Of(a, closing), Peer: laws.Of(b, closing),
					Steps: []func(mono.Time){
						func(now mono.Time) { introduce(t, now, a, b) },
						func(now mono.Time) { offer(now, a, b, ice.Candidate{Address: at}) },
						func(now mono.Time) { offer(now, b, a, ice.Candidate{Address: bt}) },
						func(now mono.Time) { a.EndOfLocalCandidates(now); b.EndOfLocalCandidates(now) },
						func(now mono.Time) { a.EndOfRemoteCandidates(now); b.EndOfRemoteCandidates(now) },
					},
					Done: func() error {
						if a.State() != ice.StateCompleted || b.State() != ice.StateCompleted {
							return fmt.Errorf("%v and %v", a.State(), b.State())
						}
						return nil
					},
					Fatal: []func(mono.Time){func(now mono.Time) { a.Close(now) }},
					Flood: func(now mono.Time, i int) {
						ip := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
						a.AddRemoteCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(ip, 9), Priority: uint32(i)})
					},
					Socket: func(netip.AddrPort) pkt.Socket { return 0 },
				}
			}})
		})
	}
}

// Each host is 10 ms from the middle: a round trip is 40 ms. The first checks meet closed NATs, the second round goes through.
func TestConnectsQuicklyThroughNATs(t *testing.T) {
	for _, c := range []struct {
		name        string
		left, right simnet.NAT
		connects    bool
	}{
		{"open, open", open, open, true},
		{"cone, cone", cone, cone, true},
		{"open, symmetric", open, symmetric, true},
		{"symmetric, open", symmetric, open, true},
		{"symmetric, symmetric", symmetric, symmetric, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, c.left, c.right, 0)
			began := w.connect(t)
			ok := w.RunUntil(w.both(ice.StateConnected, ice.StateCompleted), 60*time.Second)
			if ok != c.connects {
				t.Fatalf("connected: %v, want %v; %v %v", ok, c.connects, w.a.State(), w.b.State())
			}
			if took := w.Now().Sub(began); ok && took > 110*time.Millisecond {
				t.Errorf("it took %v, want at most 110 ms", took)
			}
			if !ok && w.a.State() != ice.StateFailed {
				t.Errorf("without a path: %v", w.a.State())
			}
		})
	}
}

func TestLossyLinks(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, cone, cone, 0.3)
		w.connect(t)
		if !w.RunUntil(w.both(ice.StateConnected, ice.StateCompleted), 20*time.Second) {
			t.Errorf("seed %d: %v %v", seed, w.a.State(), w.b.State())
		}
	}
}

// Both claim one role, and end with two.
func TestRoleConflict(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		for seed := range uint64(8) {
			w := newWorld(t, seed, cone, cone, 0)
			w.a.SetRole(w.Now(), role)
			w.b.SetRole(w.Now(), role)
			w.connect(t)
			if !w.RunUntil(w.both(ice.StateCompleted), 20*time.Second) || w.a.Role() == w.b.Role() {
				t.Errorf("both %v, seed %d: %v %v, %v %v", role, seed, w.a.State(), w.b.State(), w.a.Role(), w.b.Role())
			}
		}
	}
}

func TestEarlyChecksAreAnsweredAndKept(t *testing.T) {
	w := newWorld(t, 3, open, cone, 0)
	now := w.Now()
	// b knows all of a; a knows nothing of b but what its checks show.
	if err := w.b.SetRemoteCredentials(now, ice.Remote{Credentials: w.a.LocalCredentials()}); err != nil {
		t.Fatal(err)
	}
	w.a.AddLocalCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(w.a.host.Addrs()[0], 5000)})
	w.b.AddLocalCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(w.b.host.Addrs()[0], 5000)})
	w.b.AddRemoteCandidate(now, ice.Candidate{Type: ice.ServerReflexive, Address: w.a.mapped, Priority: 1})
	w.b.driver.Poll()
	if !w.RunUntil(func() bool { return w.b.State() == ice.StateConnected }, time.Second) {
		t.Fatalf("the early check was not answered: %v", w.b.State())
	}
	if _, ok := w.a.Selected(); ok {
		t.Fatal("selected without the peer's credentials")
	}
	if err := w.a.SetRemoteCredentials(w.Now(), ice.Remote{Credentials: w.b.LocalCredentials()}); err != nil {
		t.Fatal(err)
	}
	w.a.driver.Poll()
	if !w.RunUntil(func() bool { return w.a.State() == ice.StateConnected }, 50*time.Millisecond) {
		t.Errorf("the early check did not become a triggered one: %v", w.a.State())
	}
}

// RFC 8839 section 5.4: "ufrag ... MUST contain at least 24 bits": 4 characters; a password at least 22.
func TestCredentialsOfTheCaller(t *testing.T) {
	mine := ice.Credentials{Ufrag: "made", Password: "elsewhere, by the one who writes descriptions"}
	a, err := ice.New(ice.Config{Entropy: entropy(1), Credentials: mine})
	if err != nil || a.LocalCredentials() != mine {
		t.Errorf("made with %v, %v", mine, err)
	}
	if _, err := ice.New(ice.Config{Entropy: entropy(1), Credentials: ice.Credentials{Ufrag: "made", Password: "short"}}); !errors.Is(err, ice.ErrCredentials) {
		t.Errorf("a short password: %v", err)
	}
}

func TestRestartKeepsTheOldPairFlowing(t *testing.T) {
	w := newWorld(t, 4, cone, cone, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(10 * time.Second)
	before, _ := w.a.Selected()
	mine := ice.Credentials{Ufrag: "made", Password: "elsewhere, by the one who writes descriptions"}
	if got := w.a.Restart(w.Now(), mine); got != mine {
		t.Errorf("restarted with %v", got)
	}
	w.b.Restart(w.Now(), ice.Credentials{})
	began := w.connect(t)
	chosen := func() bool {
		if _, ok := w.a.Path(); !ok {
			t.Fatal("no pair during the restart")
		}
		p, _ := w.a.Selected()
		q, _ := w.b.Selected()
		return p.ID != before.ID && q.ID != before.ID
	}
	if !w.RunUntil(chosen, 5*time.Second) {
		t.Fatal("the restart chose nothing")
	}
	if took := w.Now().Sub(began); took > 200*time.Millisecond {
		t.Errorf("the restart took %v", took)
	}
}

// "if a valid STUN binding response has not been received from the remote peer's transport address in 30 seconds, the
// endpoint MUST cease transmission on that 5-tuple" (RFC 7675 section 5.1)
func TestConsentIsLost(t *testing.T) {
	w := newWorld(t, 5, cone, cone, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(20 * time.Second)
	if !w.both(ice.StateCompleted)() {
		t.Fatalf("idle: %v %v", w.a.State(), w.b.State())
	}
	cut := w.Now()
	w.a.host.Link().Set(simnet.Path{Loss: 1})
	if !w.RunUntil(w.both(ice.StateFailed), time.Minute) {
		t.Fatalf("%v %v", w.a.State(), w.b.State())
	}
	if took := w.Now().Sub(cut); took > 31*time.Second || took < 23*time.Second {
		t.Errorf("failed after %v", took)
	}
	if d := w.a.at[ice.StateDisconnected].Sub(cut); d < 0 || d > 12*time.Second {
		t.Errorf("disconnected after %v", d)
	}
	if _, ok := w.a.Path(); ok {
		t.Error("there is a path without consent")
	}
}

// "if pairs have been nominated ..., ICE processing MAY still conclude even if end-of-candidates indications have not been received" (RFC 8838
// section 13): a connection that is lost fails, whether or not the peer ever said that it has no more candidates; one that never was does not
// as long as it says nothing.
func TestFailsWithoutTheEndOfCandidates(t *testing.T) {
	for _, met := range []bool{true, false} {
		w := newWorld(t, 5, cone, cone, 0)
		if !met {
			w.a.host.Link().Set(simnet.Path{Loss: 1})
		}
		introduce(t, w.Now(), w.a.Agent, w.b.Agent)
		for _, c := range w.a.candidates() {
			offer(w.Now(), w.a.Agent, w.b.Agent, c)
		}
		for _, c := range w.b.candidates() {
			offer(w.Now(), w.b.Agent, w.a.Agent, c)
		}
		for _, s := range []*side{w.a, w.b} {
			s.EndOfLocalCandidates(w.Now())
			s.driver.Poll()
		}
		w.Run(20 * time.Second)
		want := ice.StateDisconnected
		if met {
			if !w.both(ice.StateConnected)() {
				t.Fatalf("%v %v", w.a.State(), w.b.State())
			}
			want = ice.StateFailed
		}
		w.a.host.Link().Set(simnet.Path{Loss: 1})
		w.Run(time.Minute)
		if !w.both(want)() {
			t.Errorf("connected before: %t; then %v and %v", met, w.a.State(), w.b.State())
		}
	}
}

func TestAnswersWithoutAllocating(t *testing.T) {
	w := newWorld(t, 6, open, open, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(6 * time.Second)
	b := pkt.NewBatch(1<<16, 16)
	now := w.b.NextTimeout()
	for b.Len() == 0 {
		w.b.HandleTimeout(now)
		w.b.AppendTransmit(now, b)
		now = w.b.NextTimeout()
	}
	check := b.Transmits()[0].Payload
	path, _ := w.a.Path()
	out := pkt.NewBatch(1<<16, 16)
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		d := pkt.Datagram{Path: path, Payload: check}
		w.a.HandleDatagram(now, &d)
		w.a.AppendTransmit(now, out)
	}); n != 0 || out.Len() != 1 {
		t.Errorf("a check costs %v allocations and gets %d answers", n, out.Len())
	}
}
