package ice_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/stun"
)

// firsts returns the checks without their repetitions.
func firsts(all []message) []message {
	seen := map[stun.TransactionID]bool{}
	return slices.DeleteFunc(slices.Clone(all), func(m message) bool {
		again := seen[m.id]
		seen[m.id] = true
		return again
	})
}

// Ta is 20 ms, and 5 ms between the first five checks, whatever the peer proposes.
func TestChecksAreSentAtTheirPace(t *testing.T) {
	w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.2"})
	introduce(t, w.Now(), w.a.Agent, w.b.Agent)
	began := w.Now()
	w.a.AddLocalCandidate(began, w.a.candidates()[0])
	for i := range 12 {
		w.a.AddRemoteCandidate(began, ice.Candidate{Address: addr(fmt.Sprintf("203.0.113.%d:1000", 100+i)), Priority: uint32(1000 - i), Foundation: "1"})
	}
	w.a.driver.Poll()
	w.Run(300 * time.Millisecond)
	var at []time.Duration
	for i, m := range firsts(w.a.requests()) {
		at = append(at, m.at.Sub(began))
		if want := addr(fmt.Sprintf("203.0.113.%d:1000", 100+i)); m.path.Remote != want {
			t.Errorf("check %d goes to %v, want %v, the next in priority", i, m.path.Remote, want)
		}
	}
	var want []time.Duration
	for _, ms := range []int{0, 5, 10, 15, 20, 40, 60, 80, 100, 120, 140, 160} {
		want = append(want, time.Duration(ms)*time.Millisecond)
	}
	if !slices.Equal(at, want) {
		t.Errorf("checks at %v, want %v", at, want)
	}
}

// Once a check has worked there is a stream to disturb, and the others go each 20 ms.
func TestChecksSlowDownOnceOneHasWorked(t *testing.T) {
	f := forge(t, ice.Config{Role: ice.Controlled}, false)
	for i := range 2 {
		f.agent.AddRemoteCandidate(0, ice.Candidate{Address: addr(fmt.Sprintf("203.0.113.%d:1000", 100+i)), Priority: uint32(1000 - i), Foundation: "2"})
	}
	now := f.works()
	for i := range mono.Time(2) {
		var all []sent
		now, all = f.wait(now)
		if only(t, all, stun.Request); now != (i+1)*mono.Time(20*time.Millisecond) {
			t.Errorf("check %d at %v", i+1, time.Duration(now))
		}
	}
}

// A check is sent seven times: 250 ms apart at first where no round trip was measured, two round trips where one was, and
// doubling.
func TestRepetitions(t *testing.T) {
	gaps := func(all []message, id stun.TransactionID) (gaps []time.Duration) {
		var last mono.Time
		for _, m := range all {
			if m.id == id {
				if last != 0 {
					gaps = append(gaps, m.at.Sub(last))
				}
				last = m.at
			}
		}
		return gaps
	}
	doubling := func(d time.Duration) (all []time.Duration) {
		for range 6 {
			all = append(all, min(d, 4*time.Second))
			d *= 2
		}
		return all
	}
	w := newPlain(t, 2, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.2"})
	w.b.host.Link().Set(simnet.Path{Loss: 1})
	w.connect(t)
	w.Run(20 * time.Second)
	if all := w.a.requests(); !slices.Equal(gaps(all, all[0].id), doubling(250*time.Millisecond)) {
		t.Errorf("nothing measured: repeated after %v", gaps(all, all[0].id))
	}

	w = newPlain(t, 3, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.2"})
	w.connect(t)
	w.connected(t)
	w.Run(10 * time.Second)
	w.b.host.Link().Set(simnet.Path{Loss: 1})
	before := len(w.a.requests())
	w.Run(16 * time.Second)
	after := w.a.requests()[before:]
	i := slices.IndexFunc(after, func(m message) bool { return gaps(after, m.id) != nil })
	if i < 0 || !slices.Equal(gaps(after, after[i].id), doubling(80*time.Millisecond)) {
		t.Errorf("a round trip of 40 ms: %d checks, repeated after %v", len(after), gaps(after, after[max(i, 0)].id))
	}
}

// From the moment at which both have both descriptions: one round trip for the checks, and the controlled side hears of the
// nomination half of one later.
func TestDirectPathIsChosenWithinTwoRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name        string
		left, right simnet.NAT
		most        time.Duration
	}{
		{"open, open", open, open, 60 * time.Millisecond},
		{"cone, cone", cone, cone, 80 * time.Millisecond}, // the first check opens the NAT of its sender alone
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 3, c.left, c.right, 0)
			began := w.connect(t)
			w.connected(t)
			nominated := func(s *side) bool {
				return slices.ContainsFunc(s.Pairs(), func(p ice.PairStats) bool { return p.Nominated && p.State == ice.PairSucceeded })
			}
			selected := w.Now().Sub(began)
			w.RunUntil(func() bool { return nominated(w.a) && nominated(w.b) }, time.Second)
			t.Logf("round trip 40 ms: both sides may send after %v, both know of the nomination after %v", selected, w.Now().Sub(began))
			if selected > c.most {
				t.Errorf("selected after %v, want at most %v", selected, c.most)
			}
		})
	}
}

// A pair through a relay is used when it works and nothing better does: nobody waits for it.
func TestRelayedPairsAreNotHeldBack(t *testing.T) {
	w := newWorld(t, 4, symmetric, symmetric, 0)
	w.question("+")
	began := w.connect(t)
	w.connected(t)
	took := w.Now().Sub(began)
	for _, s := range []*side{w.a, w.b} {
		if p, _ := s.Selected(); p.Local.Type != ice.Relayed && p.Remote.Type != ice.Relayed {
			t.Errorf("%v: %v with %v through symmetric NATs", s.Role(), p.Local.Type, p.Remote.Type)
		}
	}
	// The relay is in the middle: a round trip is 40 ms as on a direct path, and each side has a handful of pairs to check.
	if took > 140*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	t.Logf("relayed after %v", took)
}

// The controlling side nominates with the answer to its first check, and is connected at that moment.
func TestFirstPairThatWorksIsNominatedAtOnce(t *testing.T) {
	w := newPlain(t, 5, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.2"})
	began := w.connect(t)
	w.connected(t)
	w.Run(time.Second)
	all := w.a.requests()
	i := slices.IndexFunc(all, func(m message) bool { return m.use })
	if i < 0 || all[i].at.Sub(began) != 40*time.Millisecond || w.a.at[ice.StateConnected] != all[i].at {
		t.Fatalf("nominated by %v of %v; connected at %v", i, all, w.a.at[ice.StateConnected])
	}
	if slices.ContainsFunc(w.b.requests(), func(m message) bool { return m.use }) {
		t.Error("the controlled side nominated")
	}
}

// For 5 s better pairs are nominated as they come to work, and none that is worse; then the others are let go.
func TestNominatesUpwardsForFiveSeconds(t *testing.T) {
	// The first address of b, which comes first in priority, is 400 ms away, the second 100 ms, the third 20 ms.
	w := newPlain(t, 6, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.2"})
	w.b.host.Link().Set(simnet.Path{Delay: 200 * time.Millisecond})
	for i, d := range []time.Duration{50, 10} {
		ip := fmt.Sprintf("192.0.2.%d", 3+i)
		w.b.host.Attach(w.Internet(), simnet.Path{Delay: d * time.Millisecond}, ip)
		w.b.bases = append(w.b.bases, addr(ip+":5000"))
		w.b.open(addr(ip + ":5000"))
	}
	began := w.connect(t)
	w.connected(t)
	w.Run(4 * time.Second)
	for _, s := range []*side{w.a, w.b} {
		var order []string
		for _, c := range s.chosen {
			p := c.pair.Path.Remote
			if s == w.b {
				p = c.pair.Path.Local
			}
			order = append(order, p.Addr().String())
		}
		if !slices.Equal(order, []string{"192.0.2.4", "192.0.2.3", "192.0.2.2"}) {
			t.Errorf("%v chose %v", s.Role(), order)
		}
		if len(s.Pairs()) != 3 {
			t.Errorf("%v has %d pairs after 4 s", s.Role(), len(s.Pairs()))
		}
	}
	w.Run(6 * time.Second)
	for _, s := range []*side{w.a, w.b} {
		if all := s.Pairs(); len(all) != 1 || !all[0].Nominated {
			t.Errorf("%v has %+v after %v", s.Role(), all, w.Now().Sub(began))
		}
		if s.State() != ice.StateCompleted {
			t.Errorf("%v is %v", s.Role(), s.State())
		}
	}
}
