package jsep

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

func parsed(t testing.TB, d Description) *sdp.Description {
	t.Helper()
	p, err := sdp.Parse(d.SDP)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A provisional answer starts ICE and DTLS, a later one may change its mind, and the final one keeps what stands (RFC 8829
// section 4.1.10.1).
func TestProvisionalAnswers(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	add(t, a, "audio", TransceiverInit{})
	a.AddData()
	offered := ok(a.SetLocal(Description{})).Transports
	ok(b.SetRemote(a.PendingLocal()))
	audio := b.Transceivers()[0]

	theirs := ok(b.SetLocal(Description{Type: Pranswer}))
	if theirs.After != HaveLocalPranswer || b.CurrentLocal() != (Description{}) || b.PendingLocal().Type != Pranswer || !theirs.Transports[0].Answered {
		t.Fatalf("%+v", theirs)
	}
	mine := ok(a.SetRemote(b.PendingLocal()))
	if mine.After != HaveRemotePranswer || a.CurrentRemote() != (Description{}) || a.PendingRemote().Type != Pranswer {
		t.Fatalf("%+v", mine)
	}
	x, y := mine.Transports[0], theirs.Transports[0]
	if !x.Answered || x.Remote != y.Local || x.Role == y.Role || x.Association != 1 {
		t.Errorf("provisional: %+v and %+v", x, y)
	}
	if len(mine.Transports) != len(offered) || len(mine.ClosedIDs) != 0 {
		t.Errorf("a provisional answer closed transports: %v", mine.ClosedIDs)
	}

	// it may be followed by another, which sends too
	if err := audio.SetDirection(sdp.SendRecv); err != nil {
		t.Fatal(err)
	}
	ok(b.SetLocal(Description{Type: Pranswer}))
	ok(a.SetRemote(b.PendingLocal()))
	if d := a.Transceivers()[0].CurrentDirection(); d != sdp.SendRecv {
		t.Errorf("after the second provisional answer: %s", d)
	}
	theirs = ok(b.SetLocal(Description{}))
	mine = ok(a.SetRemote(b.CurrentLocal()))
	if mine.After != Stable || theirs.After != Stable || len(mine.Transports) != 1 || mine.Transports[0].Association != 1 || mine.Transports[0].Remote != x.Remote {
		t.Errorf("final: %+v and %+v", mine, theirs)
	}
	if a.NegotiationNeeded() || b.NegotiationNeeded() {
		t.Error("an offer is needed")
	}
	negotiate(t, b, a)
}

// The place of a rejected section is taken by the next one, with a mid of its own (RFC 8829 section 5.2.2), whoever offers.
func TestRecycledSections(t *testing.T) {
	for _, same := range []bool{true, false} {
		a, b := session(t, 1), session(t, 2)
		video := add(t, a, "video", TransceiverInit{})
		a.AddData()
		negotiate(t, a, b)
		if err := video.Stop(); err != nil {
			t.Fatal(err)
		}
		must(t)(a.SetLocal(Description{}))
		// "If the media description is rejected ... stop the RTCRtpTransceiver": of an offer too, and a rollback does not bring it
		// back
		theirs := must(t)(b.SetRemote(a.PendingLocal()))
		if len(theirs.Stopped) != 1 || !theirs.Stopped[0].Stopped() || theirs.Stopped[0].MID() == "" {
			t.Fatalf("stopped %v", theirs.Stopped)
		}
		must(t)(b.SetRemote(Description{Type: Rollback}))
		if !theirs.Stopped[0].Stopped() || !b.NegotiationNeeded() {
			t.Error("a rollback has brought it back, or asks for no offer")
		}
		must(t)(b.SetRemote(a.PendingLocal()))
		must(t)(b.SetLocal(Description{}))
		mine := must(t)(a.SetRemote(b.CurrentLocal()))
		if len(mine.Stopped) != 1 || len(b.Transceivers()) != 0 || theirs.Stopped[0].MID() != "" || b.NegotiationNeeded() {
			t.Fatalf("stopped %v", mine.Stopped)
		}
		if d := parsed(t, a.CurrentLocal()); d.Media[0].Port != 0 || len(d.Media) != 2 {
			t.Fatalf("the rejected section has port %d", d.Media[0].Port)
		}
		if mine.Transports[0].MID != "1" || mine.Data == nil {
			t.Errorf("what is left is carried on %+v", mine.Transports)
		}
		who, other := a, b
		if !same {
			who, other = b, a
		}
		audio := add(t, who, "audio", TransceiverInit{})
		negotiate(t, who, other)
		d := parsed(t, who.CurrentLocal())
		mid, _ := d.Media[0].Attr("mid")
		if len(d.Media) != 2 || d.Media[0].Kind != "audio" || d.Media[0].Port == 0 || mid == "0" || mid == "1" || audio.MID() != mid {
			t.Errorf("same %v: %d sections, the first is %s with mid %q", same, len(d.Media), d.Media[0].Kind, mid)
		}
		if list := other.Transceivers(); len(list) != 1 || list[0].Kind() != "audio" || list[0].MID() != mid || list[0].CurrentDirection() != sdp.RecvOnly {
			t.Errorf("same %v: the other side has %d transceivers", same, len(list))
		}
		// the first section is the group's tagged one now, and the transport, DTLS and SCTP are those there were
		for s, before := range map[*Session]Transport{a: mine.Transports[0], b: theirs.Transports[0]} {
			x := s.Transports()
			if len(x) != 1 || x[0].ID != before.ID || x[0].Local != before.Local || x[0].Association != 1 || x[0].MID != mid || !slices.Equal(x[0].MIDs, []string{mid, "1"}) {
				t.Errorf("same %v: carried on %+v after %+v", same, x, before)
			}
		}
		// a further one does not fit and is appended
		add(t, other, "video", TransceiverInit{})
		negotiate(t, other, who)
		if n := len(parsed(t, who.CurrentLocal()).Media); n != 3 {
			t.Errorf("same %v: %d sections", same, n)
		}
	}
}

// Three encodings offered and taken, then as answered: what one sends the other receives, in the order of the offer (RFC
// 8853 section 5.3).
func TestSimulcastRoundTrip(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	video := add(t, a, "video", TransceiverInit{RIDs: []string{"q", "h", "f"}, Streams: []string{"s"}, Track: "t"})
	negotiate(t, a, b)
	offer, answer := parsed(t, a.CurrentLocal()).Media[0], parsed(t, a.CurrentRemote()).Media[0]
	for _, c := range []struct {
		m         *sdp.Media
		direction string
	}{{offer, "send"}, {answer, "recv"}} {
		rids, _ := c.m.RIDs()
		var ids []string
		for _, r := range rids {
			if r.Direction != c.direction {
				t.Errorf("rid %s %s", r.ID, r.Direction)
			}
			ids = append(ids, r.ID)
		}
		if v, _ := c.m.Attr("simulcast"); !slices.Equal(ids, []string{"q", "h", "f"}) || v != c.direction+" q;h;f" {
			t.Errorf("%s: rids %v, simulcast %q", c.direction, ids, v)
		}
	}
	if !slices.Equal(video.RIDs(), []string{"q", "h", "f"}) {
		t.Errorf("sends %v", video.RIDs())
	}
	if a.NegotiationNeeded() || b.NegotiationNeeded() {
		t.Error("an offer is needed")
	}
	// "any established simulcast streams will continue to work upon receipt of an incoming re-offer" (RFC 8829 section 3.7)
	negotiate(t, b, a)
	if !slices.Equal(video.RIDs(), []string{"q", "h", "f"}) || a.NegotiationNeeded() {
		t.Errorf("after the other side's offer: sends %v", video.RIDs())
	}

	// A peer that takes two of three, one of them paused.
	a = session(t, 1)
	video = add(t, a, "video", TransceiverInit{RIDs: []string{"q", "h", "f"}})
	must(t)(a.SetLocal(Description{}))
	b = session(t, 2)
	must(t)(b.SetRemote(a.PendingLocal()))
	must(t)(b.SetLocal(Description{}))
	must(t)(a.SetRemote(edit(t, b.CurrentLocal(), func(d *sdp.Description) {
		d.Media[0].Remove("rid")
		d.Media[0].Add("rid", "q recv")
		d.Media[0].Add("rid", "f recv")
		d.Media[0].Set("simulcast", "recv ~q;f")
	})))
	if !slices.Equal(video.RIDs(), []string{"q", "f"}) {
		t.Errorf("sends %v", video.RIDs())
	}

	// "All rid-ids referenced in an "a=simulcast" line MUST exist" (RFC 8829 section 5.8.3)
	text := strings.Replace(a.CurrentLocal().SDP, "a=rid:h send\r\n", "", 1)
	if _, err := session(t, 3).SetRemote(Description{Offer, text}); name(err) != InvalidAccessError {
		t.Errorf("a simulcast of streams that are not there: %v", err)
	}
}

// A rollback of a remote offer takes away the transceivers that it made, but those to which a track was attached since; one
// of a local offer keeps ours, without a mid (webrtc-pc section 4.4.1.5).
func TestRollbackOfTransceivers(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	mine := add(t, a, "audio", TransceiverInit{Streams: []string{"s"}})
	add(t, a, "video", TransceiverInit{})
	ok(a.SetLocal(Description{}))
	c := ok(b.SetRemote(a.PendingLocal()))
	if len(c.Created) != 2 || len(c.Tracks) != 2 || !c.Tracks[0].Added || !slices.Equal(c.Tracks[0].Streams, []string{"s"}) {
		t.Fatalf("%+v", c)
	}
	c.Created[1].AddTrack()
	r := ok(b.SetLocal(Description{Type: Rollback}))
	if len(r.Removed) != 1 || r.Removed[0] != c.Created[0] || len(r.Tracks) != 2 || r.Tracks[0].Added || len(r.ClosedIDs) == 0 {
		t.Errorf("%+v", r)
	}
	if list := b.Transceivers(); len(list) != 1 || list[0] != c.Created[1] || list[0].MID() != "" {
		t.Errorf("left: %d", len(list))
	}
	ok(a.SetRemote(Description{Type: Rollback}))
	if len(a.Transceivers()) != 2 || mine.MID() != "" || !a.NegotiationNeeded() {
		t.Errorf("ours: %d, mid %q, an offer is needed: %v", len(a.Transceivers()), mine.MID(), a.NegotiationNeeded())
	}
	// The one that was left is addTrack's from then on, and the next offer takes it.
	negotiate(t, a, b)
	if list := b.Transceivers(); len(list) != 2 || list[0] != c.Created[1] || list[0].MID() != a.Transceivers()[1].MID() {
		t.Errorf("after all b has %d transceivers, the first with the mid %q", len(list), list[0].MID())
	}
}

// Directions: what comes of each pair of wishes (RFC 3264 section 6.1), and tracks come and go with them.
func TestDirections(t *testing.T) {
	all := []sdp.Direction{sdp.SendRecv, sdp.SendOnly, sdp.RecvOnly, sdp.Inactive}
	for _, ours := range all {
		for _, theirs := range all {
			a, b := session(t, 1), session(t, 2)
			x := add(t, a, "audio", TransceiverInit{Direction: ours})
			must(t)(a.SetLocal(Description{}))
			c := must(t)(b.SetRemote(a.PendingLocal()))
			y := b.Transceivers()[0]
			if err := y.SetDirection(theirs); err != nil {
				t.Fatal(err)
			}
			if added := len(c.Tracks) == 1 && c.Tracks[0].Added; added != ours.Sends() {
				t.Errorf("%s offered: tracks %+v", ours, c.Tracks)
			}
			must(t)(b.SetLocal(Description{}))
			must(t)(a.SetRemote(b.CurrentLocal()))
			wantA := sdp.DirectionOf(ours.Sends() && theirs.Receives(), ours.Receives() && theirs.Sends())
			wantB := sdp.DirectionOf(wantA.Receives(), wantA.Sends())
			if x.CurrentDirection() != wantA || y.CurrentDirection() != wantB {
				t.Errorf("%s and %s: %s and %s", ours, theirs, x.CurrentDirection(), y.CurrentDirection())
			}
			if a.NegotiationNeeded() {
				t.Errorf("%s and %s: the offerer needs an offer", ours, theirs)
			}
		}
	}
}

// A new fingerprint, a new tls-id or changed roles in a later exchange begin a new association of DTLS on the same transport; the
// same ones do not (RFC 8842 section 3.1). RFC 8829 section 5.11: "If a DTLS connection needs to be torn down but the answer does not
// indicate an ICE restart ... an error MUST be generated."
func TestNewAssociation(t *testing.T) {
	for what, c := range map[string]struct {
		change          func(d *sdp.Description)
		fresh, restarts bool // restarts: it needs an ICE restart
	}{
		"nothing":       {func(*sdp.Description) {}, false, false},
		"a fingerprint": {func(d *sdp.Description) { d.Media[0].Set("fingerprint", fingerprint(77).String()) }, true, true},
		"a tls-id":      {func(d *sdp.Description) { d.Media[0].Set("tls-id", "0123456789abcdef0123") }, true, true},
		"roles":         {func(d *sdp.Description) { d.Media[0].Set("setup", "passive") }, true, false},
	} {
		for _, restart := range []bool{false, true} {
			a, b := session(t, 1), session(t, 2)
			a.AddData()
			before, _ := negotiate(t, a, b)
			_, err := a.CreateOffer(OfferOptions{ICERestart: restart})
			if err != nil {
				t.Fatal(err)
			}
			must(t)(a.SetLocal(Description{Type: Offer}))
			must(t)(b.SetRemote(a.PendingLocal()))
			must(t)(b.SetLocal(Description{}))
			after, err := a.SetRemote(edit(t, b.CurrentLocal(), c.change))
			if refused := c.restarts && !restart; refused {
				if e, ok := err.(*Error); !ok || e.Name != InvalidAccessError || a.SignalingState() != HaveLocalOffer {
					t.Errorf("%s without a restart: %v", what, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(what, err)
			}
			x, y := before.Transports[0], after.Transports[0]
			if y.ID != x.ID || (y.Local == x.Local) == restart || (y.Remote == x.Remote) == restart ||
				(y.Association == x.Association+1) != c.fresh || !c.fresh && y.Association != x.Association {
				t.Errorf("%s: %+v after %+v", what, y, x)
			}
		}
	}
}

// RFC 8842 section 3.1: "A new DTLS association must be established" if "One or more fingerprint values are modified, added, or removed in
// either an SDP offer or answer", with the tls-id of before or another, and with ICE restarted or not; the same ones written otherwise are
// no other set.
func TestAnotherFingerprintInAnOffer(t *testing.T) {
	for what, c := range map[string]struct {
		change func(m *sdp.Media)
		fresh  bool
	}{
		"modified": {func(m *sdp.Media) { m.Set("fingerprint", fingerprint(77).String()) }, true},
		"added":    {func(m *sdp.Media) { m.Add("fingerprint", fingerprint(77).String()) }, true},
		"another order and case": {func(m *sdp.Media) {
			v, _ := m.Attr("fingerprint")
			m.Set("fingerprint", strings.ToLower(v))
			m.Add("fingerprint", v)
		}, false},
	} {
		for _, restart := range []bool{false, true} {
			a, b := session(t, 1), session(t, 2)
			a.AddData()
			_, before := negotiate(t, a, b)
			if _, err := a.CreateOffer(OfferOptions{ICERestart: restart}); err != nil {
				t.Fatal(err)
			}
			must(t)(a.SetLocal(Description{Type: Offer}))
			must(t)(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) { c.change(d.Media[0]) })))
			x, y := before.Transports[0], must(t)(b.SetLocal(Description{})).Transports[0]
			if y.ID != x.ID || (y.Association == x.Association+1) != c.fresh || !c.fresh && y.Association != x.Association || (y.LocalTLSID != x.LocalTLSID) != c.fresh || (y.Local != x.Local) != restart {
				t.Errorf("%s, restart %t: %+v after %+v", what, restart, y, x)
			}
		}
	}
}

// RFC 8842 section 5.3: "If the answerer determines, based on the criteria specified in Section 3.1, that a new DTLS association is to
// be established, the answerer MUST insert in the associated answer an SDP "tls-id" attribute with a new unique attribute value", else
// "with the previously assigned attribute value". Section 4: "at least 120 bits of randomness".
func TestTLSIDOfAnswers(t *testing.T) {
	for what, c := range map[string]struct {
		change func(d *sdp.Description)
		fresh  bool
	}{
		"nothing": {func(*sdp.Description) {}, false},
		"a restart": {func(d *sdp.Description) {
			d.Media[0].Set("ice-ufrag", "other")
			d.Media[0].Set("ice-pwd", strings.Repeat("p", 22))
		}, false},
		"a fingerprint": {func(d *sdp.Description) {
			d.Media[0].Set("fingerprint", fingerprint(77).String())
			d.Media[0].Set("tls-id", "0123456789abcdef0123")
		}, true},
		"a tls-id":      {func(d *sdp.Description) { d.Media[0].Set("tls-id", "0123456789abcdef0123") }, true},
		"the same role": {func(d *sdp.Description) { d.Media[0].Set("setup", "passive") }, false},
		"the other":     {func(d *sdp.Description) { d.Media[0].Set("setup", "active") }, true},
	} {
		a, b := session(t, 1), session(t, 2)
		a.AddData()
		_, first := negotiate(t, a, b)
		must(t)(a.SetLocal(Description{}))
		must(t)(b.SetRemote(edit(t, a.PendingLocal(), c.change)))
		second := must(t)(b.SetLocal(Description{}))
		was, is := first.Transports[0].LocalTLSID, second.Transports[0].LocalTLSID
		if (is != was) != c.fresh || (second.Transports[0].Association == 2) != c.fresh {
			t.Errorf("%s: the tls-id was %s and is %s, the association is number %d", what, was, is, second.Transports[0].Association)
		}
		if d, _ := sdp.Parse(b.CurrentLocal().SDP); d.Media[0].Has("tls-id") && attribute(d, 0, "tls-id") != is {
			t.Errorf("%s: the answer has another tls-id than %s", what, is)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(is); err != nil || len(raw) < 15 {
			t.Errorf("%s: the tls-id %s has too little randomness", what, is)
		}
	}
}

// RFC 8842 section 5.5: "if the offerer wants to establish a new DTLS association ... the offerer MUST insert in the offer an SDP "tls-id"
// attribute with a new unique attribute value": when the one before has failed, and ICE is restarted.
func TestTLSIDAfterFailure(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	first, _ := negotiate(t, a, b)
	offer := func(restart bool) string {
		t.Helper()
		d, err := a.CreateOffer(OfferOptions{ICERestart: restart})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := sdp.Parse(d.SDP)
		if err != nil {
			t.Fatal(err)
		}
		return attribute(parsed, 0, "tls-id")
	}
	id := first.Transports[0].ID
	was := first.Transports[0].LocalTLSID
	if got := offer(true); got != was {
		t.Errorf("a restart has changed the tls-id to %s", got)
	}
	a.DTLSFailed(id)
	b.DTLSFailed(id)
	if got := offer(false); got != was {
		t.Errorf("without new candidates the tls-id is %s", got)
	}
	if got := offer(true); got == was {
		t.Error("after a failure the tls-id is the same")
	}
	a.RestartICE()
	mine, theirs := negotiate(t, a, b)
	for _, c := range []Changes{mine, theirs} {
		if x := c.Transports[0]; x.ID != id || x.Association != 2 {
			t.Errorf("the association is number %d", x.Association)
		}
	}
	a.RestartICE()
	mine, _ = negotiate(t, a, b)
	if x := mine.Transports[0]; x.Association != 2 {
		t.Errorf("after another restart the association is number %d", x.Association)
	}
}
