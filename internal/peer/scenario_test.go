package peer_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// dtlsStates are the states that events have told of a transport.
func (s *side) dtlsStates(transport int) (states []peer.DTLSState) {
	for _, e := range s.events {
		if e.Kind == peer.OfDTLS && e.Transport == transport {
			states = append(states, e.DTLS)
		}
	}
	return states
}

func (s *side) iceStates(transport int) (states []ice.State) {
	for _, e := range s.events {
		if c, ok := e.ICE.(ice.StateChanged); ok && e.Transport == transport {
			states = append(states, c.State)
		}
	}
	return states
}

func (s *side) heardOf(kind sctp.EventKind) bool {
	return slices.ContainsFunc(s.events, func(e peer.Event) bool { return e.Kind == peer.OfSCTP && e.SCTP.Kind == kind })
}

// chat makes both sides say something every 5 ms while the steps run, and checks that everything arrives in order.
func (w *world) chat(steps func()) {
	w.t.Helper()
	said, going := 0, true
	var speak func(mono.Time)
	speak = func(mono.Time) {
		if !going {
			return
		}
		said++
		w.a.say(fmt.Sprint("a", said))
		w.b.say(fmt.Sprint("b", said))
		w.After(5*time.Millisecond, speak)
	}
	w.a.messages, w.b.messages = nil, nil
	speak(w.Now())
	steps()
	going = false
	w.until("the last word", 30*time.Second, func() bool { return len(w.a.messages) == said && len(w.b.messages) == said })
	for i := range said {
		if w.b.messages[i] != fmt.Sprint("a", i+1) || w.a.messages[i] != fmt.Sprint("b", i+1) {
			w.t.Fatalf("message %d is %q and %q", i+1, w.b.messages[i], w.a.messages[i])
		}
	}
}

// RFC 8842 section 5.2: "the offerer MUST be prepared to receive a DTLS ClientHello message from the answerer ... before
// the offerer receives the SDP answer." "Any data received on the DTLS association before the fingerprint MUST be
// considered to be coming from an unverified source."
func TestHandshakeRunsBeforeTheAnswer(t *testing.T) {
	for _, v := range versions {
		w := newWorld(t, 2, simnet.Path{}, options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}}, options{})
		answer := w.b.answer(w.a.offer())
		w.Run(500 * time.Millisecond)
		if got := w.a.dtlsStates(1); !slices.Equal(got, []peer.DTLSState{peer.DTLSConnecting}) {
			t.Errorf("%v: before the answer the offerer's DTLS was %v", v, got)
		}
		if w.a.Transport(1).Stats().Certificates == nil {
			t.Errorf("%v: the handshake has not come to the certificate", v)
		}
		if w.a.heardOf(sctp.Established) || w.a.Association() != nil {
			t.Errorf("%v: data before the certificate was judged", v)
		}
		began := w.Now()
		w.a.setRemote(answer)
		w.a.open("late")
		w.until("an open channel", time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
		t.Logf("%v: open %v after the answer", v, w.Now().Sub(began))
	}
}

// Descriptions may be carried by people: the answer comes five minutes later, and the channel opens at once.
func TestAnswerTakesItsTime(t *testing.T) {
	for _, v := range versions {
		w := newWorld(t, 24, simnet.Path{}, options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}}, options{})
		answer := w.b.answer(w.a.offer())
		w.b.open("patience")
		w.Run(5 * time.Minute)
		w.a.setRemote(answer)
		w.until("an open channel", 200*time.Millisecond, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	}
}

// A handshake that comes to nothing before the answer decides nothing: its end is told when the answer has come.
func TestHandshakeFailsBeforeTheAnswer(t *testing.T) {
	w := newWorld(t, 25, simnet.Path{}, options{dtls: dtls.Config{Groups: []dtls.Group{dtls.P256}}}, options{dtls: dtls.Config{Groups: []dtls.Group{dtls.X25519}}})
	answer := w.b.answer(w.a.offer())
	w.Run(10 * time.Second)
	if got := w.a.dtlsStates(1); slices.Contains(got, peer.DTLSFailed) {
		t.Errorf("before the answer DTLS was %v", got)
	}
	if got := w.b.dtlsStates(1); got[len(got)-1] != peer.DTLSFailed {
		t.Errorf("the client was not told: %v", got)
	}
	w.a.setRemote(answer)
	w.Run(time.Minute)
	w.a.Close(w.Now())
	w.a.poll()
	if got := w.a.events[len(w.a.events)-1]; got.Kind != peer.Closed {
		t.Errorf("the last event is %v", got)
	}
}

// RFC 8122 section 6.2: "If the fingerprint, once it arrives, does not match the client's certificate, the server endpoint
// MUST terminate the media connection with a bad_certificate error".
func TestWrongFingerprintFailsTheTransport(t *testing.T) {
	forge := func(s *side, d jsep.Description) jsep.Description {
		f := s.cert.Fingerprint().Value
		d.SDP = strings.ReplaceAll(d.SDP, f, f[3:]+":"+f[:2])
		return d
	}
	for _, c := range []struct {
		name              string
		inOffer, early    bool
		fooled, unsuspect int // which side finds out
	}{{"the answer, before the handshake", false, false, 0, 1}, {"the answer, after the handshake", false, true, 0, 1}, {"the offer", true, false, 1, 0}} {
		w := newWorld(t, 3, simnet.Path{}, options{}, options{})
		offer := w.a.offer()
		if c.inOffer {
			offer = forge(w.a, offer)
		}
		answer := w.b.answer(offer)
		if !c.inOffer {
			answer = forge(w.b, answer)
		}
		if c.early {
			w.Run(500 * time.Millisecond)
		}
		w.a.setRemote(answer)
		w.Run(10 * time.Second)
		sides := []*side{w.a, w.b}
		fooled, other := sides[c.fooled], sides[c.unsuspect]
		want := []peer.DTLSState{peer.DTLSConnecting, peer.DTLSFailed}
		if got := fooled.dtlsStates(1); !slices.Equal(got, want) {
			t.Errorf("%s: DTLS was %v", c.name, got)
		}
		if got := other.dtlsStates(1); got[len(got)-1] != peer.DTLSFailed {
			t.Errorf("%s: the other side's DTLS was %v", c.name, got)
		}
		if fooled.heardOf(sctp.Established) || other.heardOf(sctp.ChannelOpen) || len(fooled.messages)+len(other.messages) > 0 {
			t.Errorf("%s: something came through\n%v", c.name, fooled)
		}
		sent := fooled.Transport(1).Stats().PacketsSent
		w.Run(time.Minute)
		if now := fooled.Transport(1).Stats().PacketsSent; now != sent {
			t.Errorf("%s: %d packets after the end", c.name, now-sent)
		}
	}
}

func TestRestarts(t *testing.T) {
	for _, restarter := range []string{"offerer", "answerer"} {
		w := newWorld(t, 4, simnet.Path{}, options{}, options{})
		w.connect()
		w.Run(time.Second)
		from, to := w.a, w.b
		if restarter == "answerer" {
			from, to = w.b, w.a
		}
		before := [2]ice.Credentials{w.a.Agent(1).LocalCredentials(), w.b.Agent(1).LocalCredentials()}
		w.chat(func() {
			w.Run(50 * time.Millisecond)
			from.session.RestartICE()
			offer := from.offer()
			w.Run(70 * time.Millisecond) // signaling takes its time
			answer := to.answer(offer)
			w.Run(70 * time.Millisecond)
			from.setRemote(answer)
			w.Run(500 * time.Millisecond)
		})
		after := [2]ice.Credentials{w.a.Agent(1).LocalCredentials(), w.b.Agent(1).LocalCredentials()}
		if before[0] == after[0] || before[1] == after[1] || w.a.Agent(1).RemoteCredentials() != after[1] || w.b.Agent(1).RemoteCredentials() != after[0] {
			t.Errorf("%s: the credentials were %v and are %v", restarter, before, after)
		}
		for _, s := range []*side{w.a, w.b} {
			if got := s.dtlsStates(1); !slices.Equal(got, []peer.DTLSState{peer.DTLSConnecting, peer.DTLSConnected}) {
				t.Errorf("%s: DTLS was %v", restarter, got)
			}
		}
	}
}

func TestRestartIsRolledBack(t *testing.T) {
	w := newWorld(t, 5, simnet.Path{}, options{}, options{})
	w.connect()
	was := w.a.Agent(1).LocalCredentials()
	w.chat(func() {
		w.a.session.RestartICE()
		w.a.offer()
		if w.a.Agent(1).LocalCredentials() == was {
			t.Error("the offer did not restart")
		}
		w.Run(100 * time.Millisecond)
		w.a.apply(w.a.session.SetLocal(jsep.Description{Type: jsep.Rollback}))
		w.Run(100 * time.Millisecond)
		if got := w.a.Agent(1).LocalCredentials(); got != was {
			t.Errorf("after the rollback they are %v, they were %v", got, was)
		}
		w.negotiate() // without a restart... unless it is still asked for
		w.Run(500 * time.Millisecond)
	})
	if r := w.b.Agent(1).RemoteCredentials(); r != w.a.Agent(1).LocalCredentials() {
		t.Errorf("b checks with %v, a has %v", r, w.a.Agent(1).LocalCredentials())
	}
}

func TestGlare(t *testing.T) {
	// At first: both offer, and b is the polite one.
	w := newWorld(t, 6, simnet.Path{}, options{}, options{})
	offer := w.a.offer()
	w.b.offer()
	w.a.setRemote(w.b.answer(offer))
	w.a.open("first")
	w.until("an open channel", 5*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	// And later, when both restart.
	w.chat(func() {
		w.a.session.RestartICE()
		w.b.session.RestartICE()
		offer := w.a.offer()
		w.b.offer()
		w.Run(oneWay)
		answer := w.b.answer(offer)
		w.Run(oneWay)
		w.a.setRemote(answer)
		w.Run(500 * time.Millisecond)
	})
	if w.b.Agent(1) != nil {
		t.Error("the transport of the offer that was rolled back is still there")
	}
}

// renew applies a new association on both sides, as a new tls-id does (RFC 8842 section 3.1).
func (s *side) renew(number int, role jsep.Role) {
	s.t.Helper()
	ts := s.session.Transports()
	ts[0].Association, ts[0].Role = number, role
	d, _ := s.session.Data()
	if err := s.Apply(s.clock(), ts, nil, &d); err != nil {
		s.t.Fatal(err)
	}
	s.poll()
}

// RFC 8842 section 5.5: "When a new DTLS association is being established, each endpoint needs to be prepared to receive
// data on both the new and old DTLS associations as long as both are alive." RFC 8841 section 10.5: "the state of the SCTP
// association is not affected."
func TestNewDTLSAssociation(t *testing.T) {
	for _, v := range versions {
		for _, swapped := range []bool{false, true} {
			o := options{dtls: dtls.Config{MinVersion: v, MaxVersion: v}}
			w := newWorld(t, 7, simnet.Path{}, o, o)
			w.connect()
			w.Run(time.Second)
			roleA, roleB := jsep.RoleServer, jsep.RoleClient
			if swapped {
				roleA, roleB = roleB, roleA
			}
			association := w.a.Association()
			was := w.a.Transport(1).Stats().ConnectionState
			w.chat(func() {
				w.Run(30 * time.Millisecond)
				w.b.renew(2, roleB)
				w.Run(30 * time.Millisecond) // a hears of it later
				w.a.renew(2, roleA)
				w.Run(6 * time.Second)
			})
			for i, s := range []*side{w.a, w.b} {
				stats := s.Transport(1).Stats()
				if stats.Role == map[int]dtls.Role{0: dtls.Server, 1: dtls.Client}[i] == swapped {
					t.Errorf("%v: side %d is %v", v, i, stats.Role)
				}
				if got := s.dtlsStates(1); !slices.Equal(got, []peer.DTLSState{peer.DTLSConnecting, peer.DTLSConnected}) {
					t.Errorf("%v: DTLS was %v", v, got)
				}
				if s.heardOf(sctp.Restarted) || s.heardOf(sctp.Closed) {
					t.Errorf("%v: the association of SCTP did not stay", v)
				}
			}
			if w.a.Association() != association || w.a.Transport(1).Stats().ConnectionState != was {
				t.Errorf("%v: another association of SCTP, or other parameters", v)
			}
			if n := w.a.Association().Stats().ChunksRetransmitted; n > 0 {
				t.Errorf("%v: %d chunks were lost on the way over", v, n)
			}
		}
	}
}

// What comes with a certificate that the re-offer did not promise ends the transport, the former association with it.
func TestNewAssociationWithWrongFingerprint(t *testing.T) {
	w := newWorld(t, 8, simnet.Path{}, options{}, options{})
	w.connect()
	ts := w.a.session.Transports()
	d, _ := w.a.session.Data()
	ts[0].Association = 2
	ts[0].RemoteFingerprints = []sdp.Fingerprint{{Hash: "sha-256", Value: strings.Repeat("00:", 31) + "00"}}
	if err := w.a.Apply(w.Now(), ts, nil, &d); err != nil {
		t.Fatal(err)
	}
	w.a.poll()
	w.b.renew(2, jsep.RoleClient)
	w.Run(10 * time.Second)
	for _, s := range []*side{w.a, w.b} {
		if got := s.dtlsStates(1); got[len(got)-1] != peer.DTLSFailed && s == w.a || got[len(got)-1] < peer.DTLSClosed {
			t.Errorf("DTLS was %v", got)
		}
		if !s.heardOf(sctp.Closed) {
			t.Error("the association still stands")
		}
	}
}

func TestSilenceAndConsent(t *testing.T) {
	w := newWorld(t, 9, simnet.Path{}, options{}, options{})
	w.connect()
	w.Run(time.Second)
	w.a.host.Link().Set(simnet.Path{Loss: 1})
	w.until("disconnected", 15*time.Second, func() bool { return slices.Contains(w.a.iceStates(1), ice.StateDisconnected) })
	w.a.say("into the void")
	w.Run(31 * time.Second)
	// "The endpoint MUST cease transmission on that 5-tuple" (RFC 7675 section 5.1).
	sent := w.a.Transport(1).Stats().PacketsSent
	w.a.say("and again")
	w.Run(5 * time.Minute)
	if now := w.a.Transport(1).Stats().PacketsSent; now != sent {
		t.Errorf("%d packets after consent was lost", now-sent)
	}
	if got := w.a.iceStates(1); got[len(got)-1] != ice.StateFailed {
		t.Errorf("ICE was %v", got)
	}
	// A restart brings everything back, and what waited is sent.
	w.a.host.Link().Set(simnet.Path{Delay: oneWay / 2})
	w.a.session.RestartICE()
	w.negotiate()
	w.until("what was said", 5*time.Second, func() bool { return len(w.b.messages) == 2 })
	if got := w.a.dtlsStates(1); got[len(got)-1] != peer.DTLSConnected {
		t.Errorf("DTLS was %v", got)
	}
}

// Candidates of a generation that is not in force yet are kept (RFC 8838 section 11), within a bound.
func TestCandidatesBeforeTheirDescription(t *testing.T) {
	w := newWorld(t, 10, simnet.Path{}, options{}, options{})
	offer := w.a.offer()
	answer := w.b.answer(offer)
	parsed, err := sdp.Parse(answer.SDP)
	if err != nil {
		t.Fatal(err)
	}
	ufrag, _ := parsed.Media[0].Attr("ice-ufrag")
	candidates, _ := parsed.Media[0].Candidates()
	for _, c := range candidates {
		w.a.AddRemote(w.Now(), jsep.Target{Transport: 1, Ufrag: ufrag, Candidate: c})
	}
	w.a.AddRemote(w.Now(), jsep.Target{Transport: 1, Ufrag: ufrag, End: true})
	for range 200 { // and more than anybody needs
		w.a.AddRemote(w.Now(), jsep.Target{Transport: 1, Ufrag: "another", End: true})
	}
	w.a.apply(w.a.session.SetRemote(answer)) // without its candidates
	w.a.open("hello")
	w.until("an open channel", 5*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	if got := w.a.Agent(1).RemoteCandidates(); len(got) != 1 || got[0].Type != ice.Host {
		t.Errorf("the remote candidates are %v", got)
	}
}

// A peer that does not bundle has a transport for each section; one that does leaves one, and the others close.
func TestBundle(t *testing.T) {
	for _, refused := range []bool{false, true} {
		o := options{jsep: jsep.Config{Bundle: jsep.MaxCompat}}
		w := newWorld(t, 11, simnet.Path{}, o, o)
		if _, err := w.a.session.AddTransceiver("audio", jsep.TransceiverInit{Direction: sdp.SendRecv}); err != nil {
			t.Fatal(err)
		}
		offer := w.a.offer()
		if refused {
			lines := slices.DeleteFunc(strings.SplitAfter(offer.SDP, "\n"), func(l string) bool { return strings.HasPrefix(l, "a=group:BUNDLE") })
			offer.SDP = strings.Join(lines, "")
		}
		w.a.setRemote(w.b.answer(offer))
		w.a.open("hello")
		w.until("an open channel", 5*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
		w.Run(time.Second)
		d, _ := w.a.session.Data()
		if refused {
			for id := 1; id <= 2; id++ {
				for _, s := range []*side{w.a, w.b} {
					if got := s.dtlsStates(id); !slices.Equal(got, []peer.DTLSState{peer.DTLSConnecting, peer.DTLSConnected}) {
						t.Errorf("DTLS of transport %d was %v", id, got)
					}
				}
			}
			if d.Transport != 2 {
				t.Errorf("data are on transport %d", d.Transport)
			}
			w.a.say("hello")
			w.until("hello", time.Second, func() bool { return len(w.b.messages) > 0 })
			if a, b := w.a.Transport(1).Stats(), w.a.Transport(2).Stats(); b.PacketsSent <= a.PacketsSent {
				t.Errorf("the transports have sent %d and %d packets", a.PacketsSent, b.PacketsSent)
			}
			continue
		}
		if w.a.Transport(2) != nil || d.Transport != 1 {
			t.Errorf("data are on transport %d, and the second is %v", d.Transport, w.a.Transport(2))
		}
		if last := slices.IndexFunc(w.a.events, func(e peer.Event) bool { return e.Kind == peer.TransportClosed && e.Transport == 2 }); last < 0 {
			t.Error("the end of the second transport was not told")
		}
		if got := w.a.iceStates(2); !slices.Equal(got, []ice.State{ice.StateClosed}) {
			t.Errorf("ICE of the second was %v", got)
		}
	}
}

// All sections that are offered for one group have the same credentials, so a peer may have its checks, and its handshake, at a
// transport that the answer closes. Nothing is answered there before it.
func TestSpareTransport(t *testing.T) {
	o := options{jsep: jsep.Config{Bundle: jsep.MaxCompat}}
	w := newWorld(t, 13, simnet.Path{}, o, o)
	if _, err := w.a.session.AddTransceiver("audio", jsep.TransceiverInit{Direction: sdp.SendRecv}); err != nil {
		t.Fatal(err)
	}
	offer := w.a.offer()
	spare := w.a.session.Transports()[1]
	answer := w.b.answer(jsep.Description{Type: jsep.Offer, SDP: strings.ReplaceAll(offer.SDP, "setup:actpass", "setup:passive")}) // so that b is the client
	for _, socket := range w.a.sockets[spare.ID] {
		c := candidateOf(w.a.driver.Local(socket))
		c.Priority, c.Foundation = 1<<31-1, "spare"
		w.b.AddRemote(w.Now(), jsep.Target{Transport: 1, Ufrag: spare.Local.Ufrag, Candidate: c.SDP()})
	}
	w.b.poll()
	w.Run(200 * time.Millisecond)
	asked := false
	for _, p := range w.b.Agent(1).Pairs() {
		if p.Remote.Foundation == "spare" {
			asked = p.RequestsSent > 0
			if p.ResponsesReceived > 0 {
				t.Errorf("the spare transport has answered: %+v", p)
			}
		}
	}
	if !asked {
		t.Error("nobody has asked the spare transport: this test shows nothing")
	}
	w.a.setRemote(answer)
	w.a.open("hello")
	w.until("an open channel", 5*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	if w.a.Transport(2) != nil {
		t.Error("the spare transport is still there")
	}
}

func TestLite(t *testing.T) {
	for _, offererIsLite := range []bool{false, true} {
		lite, full := options{peer: peer.Config{Lite: true}}, options{}
		a, b := full, lite
		if offererIsLite {
			a, b = lite, full
		}
		w := newWorld(t, 12, simnet.Path{}, a, b)
		took := w.connect()
		t.Logf("the offerer is lite %t: open after %v", offererIsLite, took)
		w.chat(func() { w.Run(time.Second) })
	}
}

// Close in any state of the handshake ends everything, on both sides, and tells it once.
func TestCloseAtAnyMoment(t *testing.T) {
	for ms := 0; ms < 170; ms += 3 {
		for _, closer := range []int{0, 1} {
			w := newWorld(t, uint64(ms), simnet.Path{}, options{}, options{})
			w.negotiate()
			w.a.open("hello")
			w.Run(time.Duration(ms) * time.Millisecond)
			s := []*side{w.a, w.b}[closer]
			s.Close(w.Now())
			s.poll()
			w.Run(time.Minute)
			ends := 0
			for _, e := range s.events {
				if e.Kind == peer.Closed {
					ends++
				}
			}
			if last := s.events[len(s.events)-1]; ends != 1 || last.Kind != peer.Closed || s.NextTimeout() != mono.Never {
				t.Fatalf("closed after %d ms: %v", ms, s)
			}
			if got := s.other.dtlsStates(1); slices.Contains(got, peer.DTLSConnected) && got[len(got)-1] != peer.DTLSClosed {
				t.Errorf("closed after %d ms: the other side's DTLS was %v", ms, got)
			}
		}
	}
}

// draft-hancke-tsvwg-snap: with INIT chunks in both descriptions there is no handshake of SCTP.
func TestSNAP(t *testing.T) {
	with := func(seed uint64) (o options) {
		o.sctp = sctp.Config{Rand: entropy(seed), ZeroChecksum: true}
		init, err := sctp.NewInit(o.sctp)
		if err != nil {
			t.Fatal(err)
		}
		o.sctp.LocalInit = init
		o.jsep.SCTPInit = base64.StdEncoding.EncodeToString(init)
		return o
	}
	for _, c := range []struct {
		name string
		a, b options
		most time.Duration
	}{
		{"both", with(1), with(2), 120 * time.Millisecond},
		{"one", with(1), options{}, 160 * time.Millisecond},
		{"the other", options{}, with(2), 160 * time.Millisecond},
	} {
		w := newWorld(t, 13, simnet.Path{}, c.a, c.b)
		took := w.connect()
		if took > c.most {
			t.Errorf("%s: open after %v", c.name, took)
		}
		t.Logf("%s: open after %v", c.name, took)
		w.chat(func() { w.Run(time.Second) })
	}
	// One that cannot be used is as good as none.
	broken := with(2)
	broken.jsep.SCTPInit = "AAAA"
	w := newWorld(t, 13, simnet.Path{}, with(1), broken)
	offer := w.a.offer()
	w.a.setRemote(w.b.answer(offer))
	w.a.open("hello")
	w.Run(5 * time.Second)
	if w.a.openedAt == 0 {
		t.Errorf("with an INIT chunk that is none: %v", w.a)
	}
}

// RFC 8841 section 9.3: "The existing SCTP association is closed, and the new SCTP association is established, if one or
// both endpoints signal a new SCTP port."
func TestNewSCTPPort(t *testing.T) {
	w := newWorld(t, 14, simnet.Path{}, options{}, options{})
	w.connect()
	w.Run(time.Second)
	former := [...]*sctp.Association{w.a.Association(), w.b.Association()}
	for i, s := range []*side{w.a, w.b} {
		d, _ := s.session.Data()
		d.LocalPort, d.RemotePort = uint16(5001+i), uint16(5002-i)
		if err := s.Apply(w.Now(), s.session.Transports(), nil, &d); err != nil {
			t.Fatal(err)
		}
		s.openedAt = 0
		s.poll()
	}
	w.b.open("again")
	w.until("an open channel", 5*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	if !former[0].Over() || !former[1].Over() || w.a.Association() == former[0] || w.b.Association() == former[1] || w.a.heardOf(sctp.Closed) || w.b.heardOf(sctp.Closed) {
		t.Errorf("the former association still stands: %v", w.a)
	}
	w.chat(func() { w.Run(time.Second) })
	// And none at all (section 10.5).
	if err := w.a.Apply(w.Now(), w.a.session.Transports(), nil, nil); err != nil || w.a.Association() != nil {
		t.Errorf("without a data section: %v", err)
	}
	w.a.poll()
	closed := func(e peer.Event) bool { return e.Kind == peer.OfSCTP && e.SCTP.Kind == sctp.Closed }
	w.Run(time.Second)
	for i, s := range []*side{w.a, w.b} { // the peer hears of it
		if s.events = slices.DeleteFunc(s.events, func(e peer.Event) bool { return !closed(e) }); len(s.events) != i {
			t.Errorf("the end of the second was not told: %v", s)
		}
	}
}

// The peer's largest message is that of its last description.
func TestPeerTakesLargerMessages(t *testing.T) {
	w := newWorld(t, 26, simnet.Path{}, options{}, options{jsep: jsep.Config{MaxMessageSize: 1000}})
	w.connect()
	send := func(n int) error {
		return w.a.Association().Send(w.Now(), w.a.stream, false, make([]byte, n))
	}
	if err := send(1000); err != nil {
		t.Error(err)
	}
	if err := send(1001); !errors.Is(err, sctp.ErrTooLarge) {
		t.Errorf("a byte too many: %v", err)
	}
	d, _ := w.a.session.Data()
	d.MaxMessageSize = 2000
	if err := w.a.Apply(w.Now(), w.a.session.Transports(), nil, &d); err != nil {
		t.Fatal(err)
	}
	if err := send(2000); err != nil {
		t.Error(err)
	}
}
