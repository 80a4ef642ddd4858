package webrtc

import (
	"regexp"
	"testing"
	"testing/synctest"
)

var ufragLine = regexp.MustCompile(`a=ice-ufrag:(\S+)`)

// ufrag returns the first username fragment of a description.
func ufrag(d *SessionDescription) string {
	if m := ufragLine.FindStringSubmatch(d.SDP); m != nil {
		return m[1]
	}
	return ""
}

// restartIce: "Empty connection.[[LocalIceCredentialsToReplace]], and populate it with all ICE credentials (ice-ufrag and ice-pwd as defined in
// section 15.4 of [RFC5245]) found in connection.[[CurrentLocalDescription]], as well as all ICE credentials found in
// connection.[[PendingLocalDescription]]. Update the negotiation-needed flag for connection." What is in the set asks for an offer
// until none of it is in the description that was negotiated.
func TestRestartIsAskedForUntilDone(t *testing.T) {
	rollback := &SessionDescription{Type: SDPTypeRollback}
	for what, steps := range map[string]func(w *world, a, b *PeerConnection, wants func(needed int, fresh bool)){
		"twice": func(w *world, a, b *PeerConnection, wants func(int, bool)) {
			a.RestartICE()
			a.RestartICE()
			wants(1, false)
			w.exchange(a, b)
			wants(0, true)
			w.exchange(a, b)
			wants(0, false)
		},
		"with our offer pending": func(w *world, a, b *PeerConnection, wants func(int, bool)) {
			w.check(a.SetLocalDescription(nil))
			a.RestartICE()
			w.check(b.SetRemoteDescription(*a.LocalDescription()))
			w.check(b.SetLocalDescription(nil))
			wants(0, false)
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			wants(1, false)
			w.exchange(a, b)
			wants(0, true)
		},
		"the peer offers without": func(w *world, a, b *PeerConnection, wants func(int, bool)) {
			a.RestartICE()
			wants(1, false)
			w.exchange(b, a)
			wants(1, false)
			w.exchange(a, b)
			wants(0, true)
		},
		"the peer offers one": func(w *world, a, b *PeerConnection, wants func(int, bool)) {
			a.RestartICE()
			wants(1, false)
			b.RestartICE()
			w.exchange(b, a)
			wants(0, true)
		},
		"rolled back": func(w *world, a, b *PeerConnection, wants func(int, bool)) {
			before := ufrag(a.LocalDescription())
			a.RestartICE()
			wants(1, false)
			w.check(a.SetLocalDescription(nil))
			offered := ufrag(a.LocalDescription())
			told := 0
			a.OnICECandidate(func(*ICECandidate) { told++ })
			a.OnICEGatheringStateChange(func(ICEGatheringState) { told++ })
			synctest.Wait() // all was gathered
			if told == 0 {
				t.Error("nothing was gathered for the restart")
			}
			told = 0
			w.check(a.SetLocalDescription(rollback))
			wants(1, false)
			if told > 0 {
				t.Errorf("the rollback has gathered: %d events", told)
			}
			offer, err := a.CreateOffer(&OfferOptions{ICERestart: false})
			w.check(err)
			if u := ufrag(&offer); u == before || u == offered {
				t.Errorf("after the rollback it offers %s, after %s and %s", u, before, offered)
			}
			w.exchange(a, b)
			wants(0, true)
		},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.pair(Configuration{})
				fired := 0
				a.OnNegotiationNeeded(func() { fired++ })
				last := ""
				wants := func(needed int, fresh bool) {
					t.Helper()
					synctest.Wait()
					if fired != needed {
						t.Errorf("negotiationneeded fired %d times, not %d", fired, needed)
					}
					if u := ufrag(a.LocalDescription()); (u != last) != fresh {
						t.Errorf("the credentials are %s after %s", u, last)
					} else {
						last = u
					}
					fired = 0
				}
				a.RestartICE() // of nothing: without effect
				w.add(a, "audio", nil)
				w.exchange(a, b)
				synctest.Wait()
				fired = 0
				last = ufrag(a.LocalDescription())
				steps(w, a, b, wants)
			})
		})
	}
}
