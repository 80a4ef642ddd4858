package webrtc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A connection that nothing was asked of.
func TestNewPeerConnection(t *testing.T) {
	pc := fresh(t, Configuration{})
	if pc.SignalingState() != "stable" || pc.ICEGatheringState() != "new" || pc.ICEConnectionState() != "new" || pc.ConnectionState() != "new" ||
		pc.CanTrickleICECandidates() != nil || pc.SCTP() != nil || pc.LocalDescription() != nil || pc.CurrentLocalDescription() != nil ||
		pc.PendingLocalDescription() != nil || pc.RemoteDescription() != nil || pc.CurrentRemoteDescription() != nil || pc.PendingRemoteDescription() != nil {
		t.Errorf("the connection is %+v", pc.states.Load())
	}
}

// The states and descriptions of offer and answer, and their events, in the order of the specification.
func TestOfferAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		var states []string
		var mu sync.Mutex
		for name, pc := range map[string]*PeerConnection{"a": a, "b": b} {
			pc.OnSignalingStateChange(func(s SignalingState) {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, name+" "+string(s))
			})
		}
		seen := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(states, want) {
				t.Errorf("signalingstatechange told %q, not %q", states, want)
			}
			states = nil
		}
		offer, err := a.CreateOffer(nil)
		w.check(err)
		if offer.Type != SDPTypeOffer || !strings.HasPrefix(offer.SDP, "v=0\r\n") || !strings.Contains(offer.SDP, "m=application ") {
			t.Errorf("the offer is %+v", offer)
		}
		if a.SignalingState() != SignalingStateStable || a.LocalDescription() != nil {
			t.Error("CreateOffer has changed something")
		}
		w.check(a.SetLocalDescription(&offer))
		if d := a.PendingLocalDescription(); d == nil || d.Type != SDPTypeOffer || a.CurrentLocalDescription() != nil || *a.LocalDescription() != *d {
			t.Errorf("the pending local description is %v", d)
		}
		seen("a have-local-offer")
		w.check(b.SetRemoteDescription(offer))
		if d := b.PendingRemoteDescription(); d == nil || *d != offer || *b.RemoteDescription() != offer || b.CurrentRemoteDescription() != nil {
			t.Errorf("the pending remote description is %v", d)
		}
		if c := b.CanTrickleICECandidates(); c == nil || !*c {
			t.Errorf("CanTrickleICECandidates is %v", c)
		}
		seen("b have-remote-offer")
		answer, err := b.CreateAnswer()
		w.check(err)
		w.check(b.SetLocalDescription(&SessionDescription{SDPTypePranswer, answer.SDP}))
		seen("b have-local-pranswer")
		w.check(a.SetRemoteDescription(SessionDescription{SDPTypePranswer, answer.SDP}))
		if a.SignalingState() != SignalingStateHaveRemotePranswer || a.PendingRemoteDescription() == nil {
			t.Errorf("the state is %s", a.SignalingState())
		}
		seen("a have-remote-pranswer")
		w.check(b.SetLocalDescription(&answer))
		w.check(a.SetRemoteDescription(answer))
		for name, pc := range map[string]*PeerConnection{"a": a, "b": b} {
			if pc.PendingLocalDescription() != nil || pc.PendingRemoteDescription() != nil || pc.CurrentLocalDescription() == nil || pc.CurrentRemoteDescription() == nil {
				t.Errorf("%s has pending descriptions, or no current ones", name)
			}
		}
		synctest.Wait()
		mu.Lock()
		slices.Sort(states)
		mu.Unlock()
		seen("a stable", "b stable")
	})
}

// The end of an operation has its place behind the events that it has caused ("resolve p" is the last step of its task) and before those
// of later tasks: gathering, and negotiationneeded, for which the operations chain must be empty (section 4.4.1.2, 4.7.3).
func TestAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		var events []string
		note := func(s string) { events = append(events, s) }
		seen := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(events, want) {
				t.Errorf("the order was %q, not %q", events, want)
			}
			events = nil
		}
		resolved := func(err error) { note(fmt.Sprint("resolved ", err)) }
		a.OnSignalingStateChange(func(s SignalingState) { note(string(s)) })
		a.OnNegotiationNeeded(func() { note("negotiationneeded") })
		a.OnICEGatheringStateChange(func(s ICEGatheringState) { note(string(s)) })
		a.OnTrack(func(*RemoteTrack, *RTPReceiver) { note("track") })
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		seen("negotiationneeded")
		a.After(func() error { return a.SetLocalDescription(nil) }, resolved)
		seen("have-local-offer", "resolved <nil>", "gathering", "complete")
		a.After(func() error { return a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}) }, resolved)
		seen("stable", "resolved <nil>", "negotiationneeded", "new")
		a.After(func() error { return a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}) }, resolved)
		seen("resolved webrtc: InvalidStateError: a description of type rollback cannot be set in the state stable")
		w.add(b, "audio", nil)
		w.check(b.SetLocalDescription(nil))
		a.After(func() error { return a.SetRemoteDescription(*b.LocalDescription()) }, resolved)
		seen("have-remote-offer", "track", "resolved <nil>")
		a.After(func() error { _, err := a.CreateAnswer(); return err }, func(error) { note("created") })
		seen("created")
		a.After(func() error { return a.SetLocalDescription(nil) }, resolved)
		seen("stable", "resolved <nil>", "negotiationneeded", "gathering", "complete")
		// Several at a time, and from within a handler.
		a.OnSignalingStateChange(func(s SignalingState) {
			note(string(s))
			if s == SignalingStateHaveLocalOffer {
				a.After(func() error { return a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}) }, func(error) { note("second") })
			}
		})
		a.After(func() error { return a.SetLocalDescription(nil) }, func(error) { note("first") })
		seen("have-local-offer", "first", "stable", "second", "negotiationneeded")
		// An operation that the connection's end meets never settles.
		a.OnSignalingStateChange(nil)
		a.After(a.Close, func(error) { t.Error("it was called after Close") })
		a.After(func() error { return a.SetLocalDescription(nil) }, func(error) { t.Error("it was called after Close") })
		synctest.Wait()
	})
}

// The exceptions of setLocalDescription, setRemoteDescription, createAnswer.
func TestDescriptionErrors(t *testing.T) {
	a, b := fresh(t, Configuration{}), fresh(t, Configuration{})
	if _, err := a.CreateDataChannel("x", nil); err != nil {
		t.Fatal(err)
	}
	_, err := a.CreateAnswer()
	is(t, "CreateAnswer without an offer", err, InvalidStateError)
	offer, err := a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	munged := offer
	munged.SDP = strings.Replace(offer.SDP, "a=setup:actpass", "a=setup:active", 1)
	is(t, "SetLocalDescription of something else", a.SetLocalDescription(&munged), InvalidModificationError)
	is(t, "a local answer in stable", a.SetLocalDescription(&SessionDescription{Type: SDPTypeAnswer}), InvalidStateError)
	is(t, "a remote answer in stable", b.SetRemoteDescription(SessionDescription{SDPTypeAnswer, offer.SDP}), InvalidStateError)
	is(t, "a rollback in stable", a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}), InvalidStateError)
	is(t, "a remote rollback in stable", b.SetRemoteDescription(SessionDescription{Type: SDPTypeRollback}), InvalidStateError)
	is(t, "a type that there is not", b.SetRemoteDescription(SessionDescription{"invalid", offer.SDP}), TypeError)
	for _, text := range []string{"invalid sdp", "v=1\r\n", "v=0\r\no=- 1 2 IN IP4 x\r\ns\r\n"} {
		err := b.SetRemoteDescription(SessionDescription{SDPTypeOffer, text})
		is(t, "text that is no SDP", err, OperationError)
		if e, ok := err.(*Error); ok && (e.Detail != SDPSyntaxError || e.SDPLineNumber < 1) {
			t.Errorf("%q: %+v", text, e)
		}
	}
	is(t, "an offer without a fingerprint", b.SetRemoteDescription(SessionDescription{SDPTypeOffer, without(offer.SDP, "a=fingerprint")}), InvalidAccessError)
	if b.SignalingState() != SignalingStateStable || b.RemoteDescription() != nil {
		t.Error("a refused description has left something")
	}
	if err := b.SetRemoteDescription(offer); err != nil {
		t.Fatal(err)
	}
	is(t, "a local offer in have-remote-offer", b.SetLocalDescription(&SessionDescription{Type: SDPTypeOffer}), InvalidStateError)
	is(t, "an answer that was not created", b.SetLocalDescription(&SessionDescription{SDPTypeAnswer, offer.SDP}), InvalidModificationError)
}

func without(sdp, line string) string {
	var kept []string
	for _, l := range strings.SplitAfter(sdp, "\r\n") {
		if !strings.HasPrefix(l, line) {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "")
}

// addIceCandidate: the exceptions, and what is put into the description.
func TestAddICECandidate(t *testing.T) {
	a, b := fresh(t, Configuration{}), fresh(t, Configuration{})
	if _, err := a.CreateDataChannel("x", nil); err != nil {
		t.Fatal(err)
	}
	good := ICECandidate{Candidate: "candidate:1 1 udp 2113937151 192.0.2.77 58041 typ host", SDPMid: new("0"), SDPMLineIndex: new(uint16(0))}
	is(t, "a candidate before a description", b.AddICECandidate(&good), InvalidStateError)
	is(t, "a candidate for no section", b.AddICECandidate(&ICECandidate{Candidate: good.Candidate}), TypeError)
	offer, err := a.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SetRemoteDescription(offer); err != nil {
		t.Fatal(err)
	}
	is(t, "a candidate for no section", b.AddICECandidate(&ICECandidate{Candidate: good.Candidate}), TypeError)
	for what, c := range map[string]ICECandidate{
		"a mid that there is not":        {Candidate: good.Candidate, SDPMid: new("invalid")},
		"an index that there is not":     {Candidate: good.Candidate, SDPMLineIndex: new(uint16(2))},
		"a mid that there is not, index": {Candidate: good.Candidate, SDPMid: new("invalid"), SDPMLineIndex: new(uint16(0))},
		"no candidate":                   {Candidate: "(Invalid) candidate \x00", SDPMid: new("0")},
		"another generation":             {Candidate: good.Candidate, SDPMid: new("0"), UsernameFragment: new("invalid")},
	} {
		is(t, what, b.AddICECandidate(&c), OperationError)
	}
	if err := b.AddICECandidate(&good); err != nil {
		t.Fatal(err)
	}
	if d := b.PendingRemoteDescription(); !strings.Contains(d.SDP, "192.0.2.77 58041") {
		t.Errorf("the candidate is not in\n%s", d.SDP)
	}
	// The end of candidates, of a section and of all.
	for _, c := range []*ICECandidate{{SDPMid: new("0")}, {}, nil} {
		if err := b.AddICECandidate(c); err != nil {
			t.Errorf("the end of candidates: %v", err)
		}
	}
	if d := b.PendingRemoteDescription(); strings.Count(d.SDP, "a=end-of-candidates") != 1 {
		t.Errorf("the end of candidates is not in\n%s", d.SDP)
	}
}

// negotiationneeded fires once for many reasons, only in stable, again after stable if something is left, and is dropped if
// it does not hold any more when its turn comes.
func TestEventNegotiationNeeded(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		n := make(chan struct{}, 10)
		a.OnNegotiationNeeded(func() { n <- struct{}{} })
		count := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if len(n) != want {
				t.Errorf("negotiationneeded fired %d times %s, not %d", len(n), when, want)
			}
			for len(n) > 0 {
				<-n
			}
		}
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		_, err = a.CreateDataChannel("y", nil)
		w.check(err)
		count(1, "for two channels")
		w.check(a.SetLocalDescription(nil))
		_, err = a.CreateDataChannel("z", nil)
		w.check(err)
		a.RestartICE()
		count(0, "while an offer is pending")
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.trickle(a, b)
		count(1, "because of the restart, after the answer")
		w.negotiate(a, b)
		count(0, "after a restart")
		_, err = a.CreateDataChannel("again", nil)
		w.check(err)
		count(0, "for a channel where there is an association")
		// One that waits for its handler while somebody offers.
		c, d := w.pair(Configuration{})
		_, err = c.CreateDataChannel("x", nil)
		w.check(err)
		w.negotiate(c, d)
		c.OnNegotiationNeeded(func() { t.Error("negotiationneeded came though nothing is needed any more") })
		synctest.Wait()
	})
}

// Candidates come with the section and generation that they are for; each generation ends with an empty one, and all of them with nil, after
// icegatheringstatechange told complete.
func TestEventICECandidate(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.connection(w.a, Configuration{})
		var events []string
		a.OnICEGatheringStateChange(func(s ICEGatheringState) { events = append(events, string(s)) })
		a.OnICECandidate(func(c *ICECandidate) {
			switch {
			case c == nil:
				events = append(events, "null")
			case c.Candidate == "":
				events = append(events, "end")
			default:
				events = append(events, c.Type()+" "+c.Protocol()+" "+c.Address())
			}
			if c != nil && (*c.SDPMid != "0" || *c.SDPMLineIndex != 0 || !strings.Contains(a.LocalDescription().SDP, "a=ice-ufrag:"+*c.UsernameFragment+"\r\n")) {
				t.Errorf("the candidate is %+v", c)
			}
		})
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		synctest.Wait()
		if len(events) != 0 {
			t.Errorf("%q came before setLocalDescription", events)
		}
		w.check(a.SetLocalDescription(nil))
		w.check(a.GatheringComplete(context.Background()))
		synctest.Wait()
		events = slices.DeleteFunc(events, func(s string) bool { return strings.HasPrefix(s, "host tcp") })
		if want := []string{"gathering", "host udp 203.0.113.1", "end", "complete", "null"}; !slices.Equal(events, want) {
			t.Errorf("the events were %q, not %q", events, want)
		}
		if sdp := a.LocalDescription().SDP; !strings.Contains(sdp, "203.0.113.1") || !strings.Contains(sdp, "a=end-of-candidates") || a.ICEGatheringState() != "complete" {
			t.Errorf("the description is\n%s", sdp)
		}
	})
}

// Without trickling: whoever waits for GatheringComplete sends a description that holds every candidate.
func TestGatheringComplete(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.GatheringComplete(ctx); err != context.DeadlineExceeded { // there is no description
			t.Errorf("GatheringComplete returned %v", err)
		}
		w.check(a.SetLocalDescription(nil))
		w.check(a.GatheringComplete(context.Background()))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		w.check(b.GatheringComplete(context.Background()))
		open := make(chan struct{})
		x.OnOpen(func() { close(open) })
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		await(w, open, "the channel opening")
	})
}

// The four states, and those of the transports, as a connection comes up.
func TestConnectionStates(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		var events []string
		note := func(what string) func(string) {
			return func(s string) { events = append(events, what+" "+s) }
		}
		ice, connection := note("ice"), note("connection")
		a.OnICEConnectionStateChange(func(s ICEConnectionState) { ice(string(s)) })
		a.OnConnectionStateChange(func(s PeerConnectionState) { connection(string(s)) })
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		open := make(chan struct{})
		x.OnOpen(func() { events = append(events, "open"); close(open) })
		w.negotiate(a, b)
		sctp := a.SCTP()
		if sctp == nil || sctp.State() != SCTPTransportStateConnecting || sctp.MaxChannels() != nil {
			t.Fatalf("after the answer the SCTP transport is %v", sctp)
		}
		sctp.OnStateChange(func(s SCTPTransportState) { note("sctp")(string(s)) })
		dtls := sctp.Transport()
		if dtls.State() != DTLSTransportStateNew || dtls.GetRemoteCertificates() != nil || dtls.TLSVersion() != "" {
			t.Errorf("the DTLS transport is %+v", dtls.state.Load())
		}
		dtls.OnStateChange(func(s DTLSTransportState) { note("dtls")(string(s)) })
		transport := dtls.ICETransport()
		transport.OnSelectedCandidatePairChange(func(p *ICECandidatePair) {
			events = append(events, "pair "+p.Local.Address()+" "+p.Remote.Address())
		})
		transport.OnStateChange(func(s ICETransportState) { note("transport")(string(s)) })
		await(w, open, "the channel opening")
		time.Sleep(5 * time.Second)
		want := []string{
			"transport checking", "ice checking", "connection connecting", "pair 203.0.113.1 203.0.113.2", "transport connected", "ice connected",
			"dtls connecting", "dtls connected", "connection connected", "sctp connected", "open", "transport completed", "ice completed",
		}
		for _, e := range want {
			if !slices.Contains(events, e) {
				t.Errorf("%q is not among the events %q", e, events)
			}
		}
		for _, order := range [][]string{
			{"ice checking", "connection connecting"}, {"transport connected", "ice connected", "dtls connected", "connection connected", "open"},
			{"dtls connecting", "dtls connected", "sctp connected", "open"}, {"transport completed", "ice completed"},
		} {
			for i := 1; i < len(order); i++ {
				if slices.Index(events, order[i-1]) > slices.Index(events, order[i]) {
					t.Errorf("%q came after %q: %q", order[i-1], order[i], events)
				}
			}
		}
		if a.ICEConnectionState() != "completed" || a.ConnectionState() != "connected" {
			t.Errorf("the states are %+v", a.states.Load())
		}
		if transport.Role() != ICERoleControlling || b.SCTP().Transport().ICETransport().Role() != ICERoleControlled || transport.Component() != "rtp" ||
			transport.GatheringState() != ICEGathererStateComplete {
			t.Errorf("the ICE transport is %+v", transport.state.Load())
		}
		p := transport.GetSelectedCandidatePair()
		if p == nil || p.Local.Address() != "203.0.113.1" || p.Remote.Address() != "203.0.113.2" {
			t.Errorf("the selected pair is %+v", p)
		}
		if l := transport.GetLocalCandidates(); len(l) == 0 || l[0].Address() != "203.0.113.1" || l[0].Priority() == 0 {
			t.Errorf("the local candidates are %v", l)
		}
		if r := transport.GetRemoteCandidates(); len(r) == 0 || r[0].Address() != "203.0.113.2" {
			t.Errorf("the remote candidates are %v", r)
		}
		local, remote := transport.GetLocalParameters(), b.SCTP().Transport().ICETransport().GetRemoteParameters()
		if local == nil || remote == nil || *local != *remote || len(local.UsernameFragment) < 4 || len(local.Password) < 22 {
			t.Errorf("our parameters are %v here and %v at the peer", local, remote)
		}
		if c := dtls.GetRemoteCertificates(); len(c) != 1 || string(c[0]) != string(b.GetConfiguration().Certificates[0].Chain()[0]) {
			t.Error("the peer's certificate is another one")
		}
		if dtls.TLSVersion() != "FEFC" || dtls.TLSGroup() != "X25519MLKEM768" {
			t.Errorf("%s and %s were negotiated", dtls.TLSVersion(), dtls.TLSGroup())
		}
	})
}

// restartIce: new credentials and candidates, no loss meanwhile.
func TestRestartICE(t *testing.T) {
	for _, restarter := range []string{"a", "b"} {
		t.Run(restarter, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b, x, y := w.connect(Configuration{}, nil)
				before := a.SCTP().Transport().ICETransport().GetLocalParameters()
				first, second := a, b
				if restarter == "b" {
					first, second = b, a
				}
				count := make(chan int)
				go func() {
					n := 0
					for range y.Messages(context.Background()) {
						n++
					}
					count <- n
				}()
				sent := make(chan int)
				go func() {
					for i := range 300 {
						w.check(x.SendText(fmt.Sprint(i)))
						time.Sleep(10 * time.Millisecond)
					}
					w.check(x.Close())
					sent <- 300
				}()
				time.Sleep(time.Second)
				needed := make(chan struct{}, 1)
				first.OnNegotiationNeeded(func() { needed <- struct{}{} })
				first.RestartICE()
				await(w, needed, "negotiationneeded")
				w.negotiate(first, second)
				time.Sleep(time.Second)
				if after := a.SCTP().Transport().ICETransport().GetLocalParameters(); *after == *before {
					t.Error("the credentials are the former ones")
				}
				for _, pc := range []*PeerConnection{a, b} { // those of the former generation are told again
					if sdp := pc.LocalDescription().SDP; !strings.Contains(sdp, "a=candidate:") || !strings.Contains(sdp, "a=end-of-candidates") {
						t.Errorf("a description has no candidates of its generation:\n%s", sdp)
					}
				}
				if n, m := await(w, sent, "sending"), await(w, count, "receiving"); n != m {
					t.Errorf("%d of %d messages came", m, n)
				}
				if a.ConnectionState() != "connected" || b.ConnectionState() != "connected" {
					t.Errorf("the states are %s and %s", a.ConnectionState(), b.ConnectionState())
				}
			})
		})
	}
}

// Both offer at once, again and again: perfect negotiation, as the specification's example has it.
func TestPerfectNegotiation(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		type signal struct {
			description *SessionDescription
			candidate   *ICECandidate
		}
		to := map[*PeerConnection]chan signal{a: make(chan signal, 1000), b: make(chan signal, 1000)}
		open := make(chan string, 10)
		var running sync.WaitGroup
		for i, pc := range []*PeerConnection{a, b} {
			polite, other := pc == b, []*PeerConnection{b, a}[i]
			var mu sync.Mutex // one thing at a time, as in JavaScript
			ignore := false
			pc.OnNegotiationNeeded(func() {
				mu.Lock()
				defer mu.Unlock()
				if pc.SignalingState() != SignalingStateStable {
					return
				}
				w.check(pc.SetLocalDescription(nil))
				to[other] <- signal{description: pc.LocalDescription()}
			})
			pc.OnICECandidate(func(c *ICECandidate) { to[other] <- signal{candidate: c} })
			pc.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(func() { open <- ch.Label() }) })
			running.Go(func() {
				for s := range to[pc] {
					time.Sleep(30 * time.Millisecond)
					mu.Lock()
					if d := s.description; d != nil {
						collision := d.Type == SDPTypeOffer && pc.SignalingState() != SignalingStateStable
						if ignore = !polite && collision; !ignore {
							w.check(pc.SetRemoteDescription(*d))
							if d.Type == SDPTypeOffer {
								w.check(pc.SetLocalDescription(nil))
								to[other] <- signal{description: pc.LocalDescription()}
							}
						}
					} else if err := pc.AddICECandidate(s.candidate); err != nil && !ignore {
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		_, err := a.CreateDataChannel("from a", nil)
		w.check(err)
		_, err = b.CreateDataChannel("from b", nil)
		w.check(err)
		got := []string{await(w, open, "the first channel"), await(w, open, "the second channel")}
		slices.Sort(got)
		if !slices.Equal(got, []string{"from a", "from b"}) {
			t.Errorf("the channels are %q", got)
		}
		for range 5 {
			a.RestartICE()
			b.RestartICE()
			time.Sleep(3 * time.Second)
		}
		if a.SignalingState() != "stable" || b.SignalingState() != "stable" || a.ConnectionState() != "connected" || b.ConnectionState() != "connected" {
			t.Errorf("the states are %+v and %+v", a.states.Load(), b.states.Load())
		}
		w.check(a.Close())
		w.check(b.Close())
		close(to[a])
		close(to[b])
		running.Wait()
	})
}

// Rollback, by ourselves and implicitly by the peer's offer.
func TestRollback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		_, err := a.CreateDataChannel("x", nil)
		w.check(err)
		_, err = b.CreateDataChannel("y", nil)
		w.check(err)
		needed := make(chan struct{}, 10)
		a.OnNegotiationNeeded(func() { needed <- struct{}{} })
		await(w, needed, "negotiationneeded")
		w.check(a.SetLocalDescription(nil))
		w.check(a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
		if a.SignalingState() != "stable" || a.LocalDescription() != nil {
			t.Errorf("after a rollback the state is %s", a.SignalingState())
		}
		await(w, needed, "negotiationneeded after the rollback")
		var states []string
		a.OnSignalingStateChange(func(s SignalingState) { states = append(states, string(s)) })
		synctest.Wait()
		states = nil
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		synctest.Wait()
		if want := []string{"have-local-offer", "stable", "have-remote-offer"}; !slices.Equal(states, want) {
			t.Errorf("signalingstatechange told %q, not %q", states, want)
		}
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		a.OnICECandidate(func(c *ICECandidate) { ofRollback(t, b.AddICECandidate(c)) })
		b.OnICECandidate(func(c *ICECandidate) { ofRollback(t, a.AddICECandidate(c)) })
		open := make(chan struct{}, 2)
		a.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(func() { open <- struct{}{} }) })
		b.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(func() { open <- struct{}{} }) })
		await(w, open, "one channel")
		await(w, open, "the other")
	})
}

// ofRollback lets pass that a candidate belongs to what was rolled back.
func ofRollback(t *testing.T, err error) {
	if err != nil {
		is(t, "AddICECandidate", err, OperationError)
	}
}

// A browser's offer with audio and video is answered legally: each section, in its place.
func TestRemoteMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		b := w.connection(w.b, Configuration{})
		w.check(b.SetRemoteDescription(SessionDescription{SDPTypeOffer, browserOffer}))
		w.check(b.SetLocalDescription(nil))
		var sections []string
		for _, l := range strings.Split(b.LocalDescription().SDP, "\r\n") {
			if strings.HasPrefix(l, "m=") || strings.HasPrefix(l, "a=mid:") || l == "a=recvonly" || strings.HasPrefix(l, "a=group:") {
				sections = append(sections, strings.Join(strings.Fields(l)[:1], ""))
			}
		}
		want := []string{"a=group:BUNDLE", "m=audio", "a=mid:0", "a=recvonly", "m=video", "a=mid:1", "a=recvonly", "m=application", "a=mid:2"}
		slices.Sort(sections)
		slices.Sort(want)
		if !slices.Equal(sections, want) {
			t.Errorf("the answer has %q:\n%s", sections, b.LocalDescription().SDP)
		}
		if b.SignalingState() != "stable" || b.SCTP() == nil {
			t.Errorf("the state is %s", b.SignalingState())
		}
	})
}

// browserOffer is what Chromium writes for a camera, a microphone and a channel, with fewer codecs.
var browserOffer = strings.ReplaceAll(`v=0
o=- 4107346264138541371 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=extmap-allow-mixed
a=msid-semantic: WMS stream
m=audio 9 UDP/TLS/RTP/SAVPF 111 0
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:4ZcD
a=ice-pwd:2/1muCWoOi3uLifh0NuRHlsU
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=sendrecv
a=msid:stream audio
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:0 PCMU/8000
a=ssrc:1399694169 cname:Y4Twj0o7Zq8fVUvq
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:4ZcD
a=ice-pwd:2/1muCWoOi3uLifh0NuRHlsU
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:1
a=sendrecv
a=msid:stream video
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc:1932655374 cname:Y4Twj0o7Zq8fVUvq
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=ice-ufrag:4ZcD
a=ice-pwd:2/1muCWoOi3uLifh0NuRHlsU
a=ice-options:trickle
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08
a=setup:actpass
a=mid:2
a=sctp-port:5000
a=max-message-size:262144
`, "\n", "\r\n")

// iceCandidatePoolSize: candidates are known before a description asks for them, and are told with it at once.
func TestICECandidatePool(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{ICECandidatePoolSize: 3})
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		sockets := func() int { return a.loop.Counters().Sockets }
		if n := sockets(); n != 3 {
			t.Errorf("there are %d sockets, for a pool of 3", n)
		}
		w.check(a.SetConfiguration(Configuration{ICECandidatePoolSize: 1}))
		if n := sockets(); n != 1 {
			t.Errorf("there are %d sockets, for a pool of 1", n)
		}
		w.check(a.SetConfiguration(Configuration{ICECandidatePoolSize: 2}))
		synctest.Wait()
		if a.ICEGatheringState() != ICEGatheringStateNew {
			t.Errorf("the gathering state is %s before there is a description", a.ICEGatheringState())
		}
		open := make(chan struct{})
		x.OnOpen(func() { close(open) })
		w.negotiate(a, b)
		await(w, open, "the channel opening")
		if n := sockets(); n != 1 {
			t.Errorf("there are %d sockets of one transport in the end", n)
		}
		if a.ICEGatheringState() != ICEGatheringStateComplete {
			t.Errorf("the gathering state is %s", a.ICEGatheringState())
		}
	})
}
