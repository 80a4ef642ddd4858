package webrtc

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What candidates say on one side they say on the other (RTCIceTransport's getLocalCandidates, getRemoteCandidates and
// getSelectedCandidatePair).
func TestCandidatesOfBothSides(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, _, _ := w.connect(Configuration{}, nil)
		time.Sleep(time.Second)
		x, y := a.SCTP().Transport().ICETransport(), b.SCTP().Transport().ICETransport()
		texts := func(list ...*ICECandidate) (all []string) {
			for _, c := range list {
				all = append(all, c.Candidate)
			}
			return all
		}
		p, q := x.GetSelectedCandidatePair(), y.GetSelectedCandidatePair()
		for _, c := range [][2][]string{
			{texts(p.Local, p.Remote), texts(q.Remote, q.Local)},
			{texts(x.GetLocalCandidates()...), texts(y.GetRemoteCandidates()...)},
			{texts(y.GetLocalCandidates()...), texts(x.GetRemoteCandidates()...)},
		} {
			if fmt.Sprint(c[0]) != fmt.Sprint(c[1]) || len(c[0]) == 0 {
				t.Errorf("%q there, %q here", c[0], c[1])
			}
		}
	})
}

// One side alone tells its candidates: the other's are found by the checks that come from them ("prflx").
func TestCandidatesOfOneSide(t *testing.T) {
	for _, caller := range []bool{true, false} {
		inWorld(t, func(w *world) {
			a, b := w.pair(Configuration{})
			_, err := a.CreateDataChannel("x", nil)
			w.check(err)
			bare := func(d *SessionDescription) SessionDescription {
				return SessionDescription{d.Type, without(without(d.SDP, "a=candidate:"), "a=end-of-candidates")}
			}
			w.check(a.SetLocalDescription(nil))
			w.check(b.SetRemoteDescription(bare(a.LocalDescription())))
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(bare(b.LocalDescription())))
			from, to := a, b
			if !caller {
				from, to = b, a
			}
			time.Sleep(time.Second)
			// "new: ... waiting for remote candidates to be supplied, and has not yet started checking"
			for _, pc := range []*PeerConnection{a, b} {
				if s := pc.ICEConnectionState(); s != ICEConnectionStateNew || pc.ConnectionState() != PeerConnectionStateNew {
					t.Errorf("without candidates it is %s, %s", s, pc.ConnectionState())
				}
			}
			from.OnICECandidate(func(c *ICECandidate) { w.check(to.AddICECandidate(c)) })
			connected := make(chan struct{}, 2)
			for _, pc := range []*PeerConnection{a, b} {
				pc.OnConnectionStateChange(func(s PeerConnectionState) {
					if s == PeerConnectionStateConnected {
						connected <- struct{}{}
					}
				})
			}
			await(w, connected, "a connection")
			await(w, connected, "a connection")
			r := from.GetStats()
			pair := of(t, r, func(p *ICECandidatePairStats) bool { return p.Nominated })
			local := of(t, r, func(c *ICECandidateStats) bool { return c.ID == pair.LocalCandidateID })
			remote := of(t, r, func(c *ICECandidateStats) bool { return c.ID == pair.RemoteCandidateID })
			if local.CandidateType != "host" || remote.CandidateType != "prflx" {
				t.Errorf("the pair is of a %s and a %s candidate", local.CandidateType, remote.CandidateType)
			}
		})
	}
}

// A candidate of TCP for a port that browsers block is no candidate, in a description as well as later: nothing is checked. Its line may
// begin with "a=", and so may lines end with LF alone (RFC 8866 section 5).
func TestCandidatesForBlockedPorts(t *testing.T) {
	const offer = "v=0\no=- 166855176514521964 2 IN IP4 127.0.0.1\ns=-\nt=0 0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\nc=IN IP4 0.0.0.0\n" +
		"a=ice-ufrag:655Y\na=ice-pwd:somelongpwdwithenoughrandomness\na=setup:actpass\na=mid:audio1\na=sendonly\na=rtcp-mux\na=rtpmap:111 opus/48000/2\n"
	print := "a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("00:", 32), ":") + "\n"
	for _, c := range []struct {
		port  int
		state ICEConnectionState
	}{{8001, ICEConnectionStateChecking}, {2049, ICEConnectionStateNew}, {6000, ICEConnectionStateNew}} {
		for _, trickled := range []bool{false, true} {
			inWorld(t, func(w *world) {
				pc := w.connection(w.a, Configuration{})
				line := fmt.Sprintf("a=candidate:2983561038 1 tcp 1518214911 203.0.113.2 %d typ host tcptype passive generation 0 ufrag 655Y network-cost 10", c.port)
				d := SessionDescription{SDPTypeOffer, offer + print}
				if !trickled {
					d.SDP += line + "\n"
				}
				w.check(pc.SetRemoteDescription(d))
				w.check(pc.SetLocalDescription(nil))
				if trickled {
					w.check(pc.AddICECandidate(&ICECandidate{Candidate: line, SDPMid: new("audio1")}))
				}
				synctest.Wait()
				if s := pc.ICEConnectionState(); s != c.state {
					t.Errorf("port %d, trickled %t: it is %s", c.port, trickled, s)
				}
			})
		}
	}
}

// RFC 8832 section 6: "If the side is acting as the DTLS client, it MUST choose an even stream identifier; if the side is acting as the DTLS
// server, it MUST choose an odd one." The roles are those of the answer, which may be our offer itself, but for its role.
func TestIDsByRole(t *testing.T) {
	for setup, odd := range map[string]uint16{"active": 1, "passive": 0} {
		pc := fresh(t, Configuration{})
		first, err := pc.CreateDataChannel("", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := pc.SetLocalDescription(nil); err != nil {
			t.Fatal(err)
		}
		if err := pc.SetRemoteDescription(SessionDescription{SDPTypeAnswer, strings.Replace(pc.LocalDescription().SDP, "actpass", setup, 1)}); err != nil {
			t.Fatal(err)
		}
		second, err := pc.CreateDataChannel("another", nil)
		if err != nil || *first.ID()%2 != odd || *second.ID()%2 != odd || *first.ID() == *second.ID() {
			t.Errorf("the answer is %s: the ids are %d and %v, %v", setup, *first.ID(), second, err)
		}
	}
}
