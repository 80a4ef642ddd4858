package ice_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
)

func TestStatistics(t *testing.T) {
	w := newWorld(t, 7, cone, cone, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(30 * time.Second)
	for _, s := range []*side{w.a, w.b} {
		selected, _ := s.Selected()
		var p ice.PairStats
		for _, q := range s.Pairs() {
			if q.ID == selected.ID {
				p = q
			}
		}
		if p.State != ice.PairSucceeded || !p.Nominated || p.Priority == 0 || p.Path != selected.Path {
			t.Fatalf("%v: %+v", s.Role(), p)
		}
		if p.RoundTrip != 40*time.Millisecond || p.TotalRoundTrip != time.Duration(p.ResponsesReceived)*40*time.Millisecond {
			t.Errorf("%v: round trips of %v, %v in %d responses", s.Role(), p.RoundTrip, p.TotalRoundTrip, p.ResponsesReceived)
		}
		if n := p.ConsentRequestsSent; n < 5 || n > 8 { // 30 s in steps of 4 to 6 s
			t.Errorf("%v: %d checks for consent", s.Role(), n)
		}
		if p.RequestsSent+p.ConsentRequestsSent != p.ResponsesReceived || p.RequestsReceived != p.ResponsesSent || p.RequestsSent == 0 || p.RequestsReceived == 0 {
			t.Errorf("%v: of a pair without loss: %+v", s.Role(), p.PairCounters)
		}
		if s.SelectedPairChanges() != 1 {
			t.Errorf("%v: %d changes of the selected pair", s.Role(), s.SelectedPairChanges())
		}
		local, remote := s.LocalCandidates(), s.RemoteCandidates()
		if len(local) != 2 || local[0].Type != ice.Host || local[1].Type != ice.ServerReflexive || len(remote) != 2 {
			t.Errorf("%v: %v and %v", s.Role(), local, remote)
		}
		if p.Local != local[1] || p.Remote != remote[1] {
			t.Errorf("%v: the pair's candidates are %+v and %+v", s.Role(), p.Local, p.Remote)
		}
		seen := map[uint32]bool{0: true}
		for _, c := range append(local, remote...) {
			if seen[c.ID] {
				t.Errorf("%v: a second candidate %d", s.Role(), c.ID)
			}
			seen[c.ID] = true
		}
	}
}
