package jsep

import (
	"errors"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

func name(err error) string {
	if e := new(Error); errors.As(err, &e) {
		return e.Name
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// in returns a session in a state, with data that is offered or was negotiated, and the peer.
func in(t *testing.T, state SignalingState) (s, peer *Session) {
	t.Helper()
	ok := must(t)
	s, peer = session(t, 1), session(t, 2)
	s.AddData()
	peer.AddData()
	switch state {
	case HaveLocalOffer, HaveRemotePranswer:
		ok(s.SetLocal(Description{}))
		ok(peer.SetRemote(s.PendingLocal()))
	case HaveRemoteOffer, HaveLocalPranswer:
		ok(peer.SetLocal(Description{}))
		ok(s.SetRemote(peer.PendingLocal()))
	}
	switch state {
	case HaveRemotePranswer:
		ok(peer.SetLocal(Description{Type: Pranswer}))
		ok(s.SetRemote(peer.PendingLocal()))
	case HaveLocalPranswer:
		ok(s.SetLocal(Description{Type: Pranswer}))
	}
	if s.SignalingState() != state {
		t.Fatalf("in %s instead of %s", s.SignalingState(), state)
	}
	return s, peer
}

// The state machine of RFC 8829 section 3.2 and webrtc-pc section 4.3.1, whole: what each type of description, set on each
// side, makes of each state. What is not named is an InvalidStateError and changes nothing.
func TestSignalingStates(t *testing.T) {
	states := []SignalingState{Stable, HaveLocalOffer, HaveRemoteOffer, HaveLocalPranswer, HaveRemotePranswer}
	local := map[Type]map[SignalingState]SignalingState{
		Offer:    {Stable: HaveLocalOffer, HaveLocalOffer: HaveLocalOffer},
		Answer:   {HaveRemoteOffer: Stable, HaveLocalPranswer: Stable},
		Pranswer: {HaveRemoteOffer: HaveLocalPranswer, HaveLocalPranswer: HaveLocalPranswer},
		Rollback: {HaveLocalOffer: Stable, HaveRemoteOffer: Stable},
	}
	remote := map[Type]map[SignalingState]SignalingState{
		Offer:    {Stable: HaveRemoteOffer, HaveRemoteOffer: HaveRemoteOffer, HaveLocalOffer: HaveRemoteOffer}, // implicit rollback
		Answer:   {HaveLocalOffer: Stable, HaveRemotePranswer: Stable},
		Pranswer: {HaveLocalOffer: HaveRemotePranswer, HaveRemotePranswer: HaveRemotePranswer},
		Rollback: {HaveLocalOffer: Stable, HaveRemoteOffer: Stable},
	}
	for _, from := range states {
		for _, kind := range []Type{Offer, Answer, Pranswer, Rollback} {
			s, _ := in(t, from)
			before := [2]Description{s.Local(), s.Remote()}
			_, err := s.SetLocal(Description{Type: kind})
			to, legal := local[kind][from]
			if !legal {
				to = from
			}
			if s.SignalingState() != to || (err == nil) != legal || !legal && name(err) != InvalidStateError {
				t.Errorf("local %s in %s: %s, %v", kind, from, s.SignalingState(), err)
			}
			if !legal && before != [2]Description{s.Local(), s.Remote()} {
				t.Errorf("local %s in %s was refused, and the descriptions changed", kind, from)
			}

			s, peer := in(t, from)
			d := Description{Type: kind}
			switch kind {
			case Offer:
				fresh := session(t, 3)
				if from == HaveRemoteOffer {
					fresh = peer // an offer again is the same peer's
				}
				fresh.AddData()
				offer, err := fresh.CreateOffer(OfferOptions{})
				if err != nil {
					t.Fatal(err)
				}
				d.SDP = offer.SDP
			case Answer, Pranswer:
				if d.SDP = peer.Local().SDP; d.SDP == "" {
					answerer := session(t, 4)
					ours := s.Local()
					if ours.Type != Offer {
						ours, _ = session(t, 5).CreateOffer(OfferOptions{})
					}
					must(t)(answerer.SetRemote(Description{Offer, ours.SDP}))
					answer, err := answerer.CreateAnswer()
					if err != nil {
						t.Fatal(err)
					}
					d.SDP = answer.SDP
				}
			}
			_, err = s.SetRemote(d)
			to, legal = remote[kind][from]
			if !legal {
				to = from
			}
			if s.SignalingState() != to || (err == nil) != legal || !legal && name(err) != InvalidStateError {
				t.Errorf("remote %s in %s: %s, %v", kind, from, s.SignalingState(), err)
			}
		}
		for what, create := range map[string]func(s *Session) (Description, error){
			"offer":  func(s *Session) (Description, error) { return s.CreateOffer(OfferOptions{}) },
			"answer": func(s *Session) (Description, error) { return s.CreateAnswer() },
		} {
			s, _ := in(t, from)
			_, err := create(s)
			legal := (what == "offer") == (from == Stable || from == HaveLocalOffer) && from != HaveRemotePranswer
			if (err == nil) != legal || !legal && name(err) != InvalidStateError {
				t.Errorf("create an %s in %s: %v", what, from, err)
			}
		}
	}
}

// setLocalDescription takes what was created last and nothing else, and creates it where nothing is given (webrtc-pc section
// 4.4.2).
func TestSetLocalArguments(t *testing.T) {
	s, _ := in(t, Stable)
	other := session(t, 9)
	other.AddData()
	theirs, _ := other.CreateOffer(OfferOptions{})
	ours, err := s.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for what, d := range map[string]Description{
		"another's offer":     theirs,
		"our offer as answer": {Answer, ours.SDP},
		"an offer that is no more": {Offer, func() string {
			first := ours.SDP
			ours, _ = s.CreateOffer(OfferOptions{ICERestart: true})
			return first
		}()},
		"rubbish": {Offer, "rubbish"},
	} {
		if _, err := s.SetLocal(d); name(err) != InvalidModificationError || s.SignalingState() != Stable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.SetLocal(Description{Type: "proposal", SDP: ours.SDP}); name(err) != TypeError {
		t.Errorf("an unknown type: %v", err)
	}
	c := must(t)(s.SetLocal(ours))
	if s.PendingLocal() != ours || c.After != HaveLocalOffer || s.CurrentLocal() != (Description{}) {
		t.Errorf("%+v", c)
	}
	must(t)(s.SetLocal(ours)) // and again
	// What changed since the last offer was created is in the next one.
	add(t, s, "audio", TransceiverInit{})
	must(t)(s.SetLocal(Description{}))
	if !strings.Contains(s.PendingLocal().SDP, "m=audio") {
		t.Error("an outdated offer was set")
	}

	s, _ = in(t, HaveRemoteOffer)
	answer, err := s.CreateAnswer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetLocal(Description{Answer, answer.SDP + "a=x\r\n"}); name(err) != InvalidModificationError {
		t.Errorf("a munged answer: %v", err)
	}
	must(t)(s.SetLocal(answer))
	if s.CurrentLocal() != answer || s.PendingLocal() != (Description{}) || s.CurrentRemote() == (Description{}) || s.PendingRemote() != (Description{}) {
		t.Error("after an answer something is pending")
	}
}

// setRemoteDescription: text that is no description is an OperationError with the line; a description that is none for us is
// an InvalidAccessError (webrtc-pc section 4.4.1.6). The session is as it was.
func TestSetRemoteArguments(t *testing.T) {
	offerer := session(t, 2)
	add(t, offerer, "audio", TransceiverInit{})
	add(t, offerer, "video", TransceiverInit{})
	offerer.AddData()
	must(t)(offerer.SetLocal(Description{}))
	offer := offerer.PendingLocal()
	line := func(text string) int { // the number of the line that begins so
		for i, l := range strings.Split(offer.SDP, "\r\n") {
			if strings.HasPrefix(l, text) {
				return i + 1
			}
		}
		t.Fatalf("no line %q", text)
		return 0
	}
	for _, c := range []struct {
		what   string
		change func(text string) string
		name   string
		line   int
	}{
		{"nothing", func(string) string { return "" }, OperationError, 1},
		{"a line without =", func(s string) string { return strings.Replace(s, "s=-", "nonsense", 1) }, OperationError, 3},
		{"a candidate that is none", func(s string) string { return strings.Replace(s, "a=setup:actpass", "a=candidate:x", 1) }, OperationError, line("a=setup")},
		{"a setup that is none", func(s string) string { return strings.Replace(s, "a=setup:actpass", "a=setup:both", 1) }, OperationError, line("a=setup")},
		{"a fingerprint that is none", func(s string) string {
			return strings.Replace(s, "a=fingerprint:sha-256 ", "a=fingerprint:sha-256 x", 1)
		}, OperationError, line("a=fingerprint")},
		{"no ufrag", func(s string) string { return strings.ReplaceAll(s, "a=ice-ufrag:", "a=x-ufrag:") }, InvalidAccessError, line("m=audio")},
		{"no password", func(s string) string { return strings.Replace(s, "a=ice-pwd:", "a=x-pwd:", 1) }, InvalidAccessError, line("m=audio")},
		{"no fingerprint", func(s string) string { return strings.Replace(s, "a=fingerprint:", "a=x-print:", 1) }, InvalidAccessError, line("m=audio")},
		{"no rtcp-mux", func(s string) string { return strings.ReplaceAll(s, "a=rtcp-mux\r\n", "") }, InvalidAccessError, line("m=audio")},
		{"one mid twice", func(s string) string { return strings.Replace(s, "a=mid:1", "a=mid:0", 1) }, InvalidAccessError, line("m=video")},
		{"a group of sections that are not there", func(s string) string { return strings.Replace(s, "BUNDLE 0", "BUNDLE 7", 1) }, InvalidAccessError, 0},
		{"a group that names one twice", func(s string) string { return strings.Replace(s, "BUNDLE 0", "BUNDLE 1", 1) }, InvalidAccessError, 0},
	} {
		s := session(t, 3)
		text := c.change(offer.SDP)
		if text == offer.SDP {
			t.Fatalf("%s: nothing changed", c.what)
		}
		_, err := s.SetRemote(Description{Offer, text})
		e := new(Error)
		if !errors.As(err, &e) || e.Name != c.name || e.Line != c.line || (e.Detail == SyntaxError) != (c.name == OperationError) {
			t.Errorf("%s: %v, %+v; want %s in line %d", c.what, err, e, c.name, c.line)
		}
		if s.SignalingState() != Stable || s.Remote() != (Description{}) || len(s.Transports()) != 0 || len(s.Transceivers()) != 0 {
			t.Errorf("%s: something stayed behind", c.what)
		}
		must(t)(s.SetRemote(offer)) // it goes on as if nothing had been
	}
	if _, err := session(t, 3).SetRemote(Description{Type: "", SDP: offer.SDP}); name(err) != TypeError {
		t.Errorf("no type: %v", err)
	}
	// A description in the wrong state is an InvalidStateError, whatever it says.
	if _, err := session(t, 3).SetRemote(Description{Answer, "rubbish"}); name(err) != InvalidStateError {
		t.Errorf("rubbish as an answer in stable: %v", err)
	}
}

// What an answer may not be: other sections than the offer's (RFC 3264 section 6), undecided about DTLS (RFC 5763 section 5),
// a restart of ICE that nobody offered.
func TestAnswersThatAreRefused(t *testing.T) {
	for what, change := range map[string]func(d *sdp.Description){
		"a section too few":   func(d *sdp.Description) { d.Media = d.Media[:1] },
		"a section too many":  func(d *sdp.Description) { d.Media = append(d.Media, d.Media[0]) },
		"sections swapped":    func(d *sdp.Description) { d.Media[0], d.Media[1] = d.Media[1], d.Media[0] },
		"another mid":         func(d *sdp.Description) { d.Media[0].Set("mid", "x"); d.Set("group", "BUNDLE x 1") },
		"setup:actpass":       func(d *sdp.Description) { d.Media[0].Set("setup", "actpass") },
		"another kind":        func(d *sdp.Description) { d.Media[0].Kind = "video" },
		"another protocol":    func(d *sdp.Description) { d.Media[0].Proto = "RTP/AVP" },
		"no multiplexed RTCP": func(d *sdp.Description) { d.Media[0].Remove("rtcp-mux") },
	} {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		add(t, a, "audio", TransceiverInit{})
		a.AddData()
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(a.PendingLocal()))
		ok(b.SetLocal(Description{}))
		if _, err := a.SetRemote(edit(t, b.CurrentLocal(), change)); name(err) != InvalidAccessError || a.SignalingState() != HaveLocalOffer {
			t.Errorf("%s: %v, in %s", what, err, a.SignalingState())
		}
		ok(a.SetRemote(b.CurrentLocal()))
	}
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	negotiate(t, a, b)
	must(t)(a.SetLocal(Description{}))
	must(t)(b.SetRemote(a.PendingLocal()))
	must(t)(b.SetLocal(Description{}))
	restarted := edit(t, b.CurrentLocal(), func(d *sdp.Description) { d.Media[0].Set("ice-ufrag", "another") })
	if _, err := a.SetRemote(restarted); name(err) != InvalidAccessError {
		t.Errorf("a restart that was not offered: %v", err)
	}
}
