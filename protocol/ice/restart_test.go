package ice_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
)

// A restart as signaling brings it: the offer reaches the peer, whose checks and candidates of the new generation come before
// its answer does. They are answered and kept (RFC 8445 section 7.3), and until a new pair works data flows along the old
// one, whose consent is kept fresh (RFC 7675 section 5.1).
func TestRestartAheadOfTheAnswer(t *testing.T) {
	for _, offerer := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run("offered by "+offerer.String(), func(t *testing.T) {
			w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			w.roles(offerer)
			w.connect(t)
			w.connected(t)
			w.talks()
			w.Run(10 * time.Second)
			old, _ := w.a.Selected()
			began := w.Now()

			own := w.a.Restart(began, ice.Credentials{})
			if err := w.b.SetRemoteCredentials(began, ice.Remote{Credentials: own}); err != nil {
				t.Fatal(err)
			}
			answer := w.b.LocalCredentials()
			// Trickled with its fragment: ahead of the answer it belongs to the new generation, and a stranger's to none.
			c := ice.Candidate{Address: w.b.bases[0], Priority: 1 << 30, Foundation: "1", Ufrag: answer.Ufrag}
			if !w.a.AddRemoteCandidate(began, c) {
				t.Error("a candidate ahead of the answer was refused")
			}
			w.b.AddRemoteCandidate(began, ice.Candidate{Address: w.a.bases[0], Priority: 1 << 30, Foundation: "1"})
			w.b.driver.Poll()
			w.Run(40 * time.Second) // longer than consent lasts
			if p, ok := w.a.Selected(); !ok || p.ID != old.ID {
				t.Fatalf("before the answer: %+v, %v", p, ok)
			}
			if w.a.RemoteCredentials() == answer || len(w.a.RemoteCandidates()) != 1 {
				t.Error("the new generation is in force before the answer")
			}

			answered := w.Now()
			if err := w.a.SetRemoteCredentials(answered, ice.Remote{Credentials: answer}); err != nil {
				t.Fatal(err)
			}
			w.a.driver.Poll()
			if !w.RunUntil(func() bool { p, _ := w.a.Selected(); return p.ID != old.ID }, time.Second) {
				t.Fatal("no new pair")
			}
			if took := w.Now().Sub(answered); took > 45*time.Millisecond {
				t.Errorf("the checks that were kept led to a pair after %v", took)
			}
			c.Ufrag = "stranger"
			if w.a.AddRemoteCandidate(w.Now(), c) {
				t.Error("a candidate of another generation was taken")
			}
			w.Run(2 * time.Second)
			for _, s := range []*side{w.a, w.b} {
				if n := s.outage(began, w.Now()); n > 2*each {
					t.Errorf("%v: no data for %v", s.Role(), n)
				}
				if !w.both(ice.StateConnected, ice.StateCompleted)() {
					t.Errorf("%v is %v", s.Role(), s.State())
				}
			}
		})
	}
}
