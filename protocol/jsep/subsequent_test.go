package jsep

import (
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// settled are two sessions that have negotiated audio, video and data in one bundle, and whose offerer has gathered.
func settled(t *testing.T) (a, b *Session) {
	t.Helper()
	a, b = session(t, 1), session(t, 2)
	add(t, a, "audio", TransceiverInit{Streams: []string{"s"}, Track: "mic"})
	add(t, a, "video", TransceiverInit{Streams: []string{"s"}, Track: "camera"})
	a.AddData()
	mine, theirs := negotiate(t, a, b)
	for s, c := range map[*Session]Changes{a: mine, b: theirs} {
		x := c.Transports[0]
		candidate, err := sdp.ParseCandidate("candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := s.AddLocalCandidate(x.ID, x.Local.Ufrag, candidate); !ok {
			t.Fatal("a candidate has no section")
		}
		if _, ok := s.EndOfLocalCandidates(x.ID, x.Local.Ufrag); !ok {
			t.Fatal("the end of candidates has no section")
		}
	}
	return a, b
}

// values returns an attribute's values in a section.
func values(m *sdp.Media, name string) []string { return slices.Collect(m.Attrs(name)) }

func reoffer(t *testing.T, s *Session, o OfferOptions) *sdp.Description {
	t.Helper()
	d, err := s.CreateOffer(o)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, d)
}

// RFC 8829 section 5.2.2, sentence by sentence, in the state stable.
func TestSubsequentOffer(t *testing.T) {
	a, _ := settled(t)
	first, answer := parsed(t, a.CurrentLocal()), parsed(t, a.CurrentRemote())
	if err := a.Transceivers()[1].SetDirection(sdp.Inactive); err != nil {
		t.Fatal(err)
	}
	d := reoffer(t, a, OfferOptions{})
	o, was := strings.Fields(line(d, "o=")), strings.Fields(line(first, "o="))
	// "The fields of the "o=" line MUST stay the same except for the <session-version> field, which MUST increment by one"
	if !slices.Equal(o[:2], was[:2]) || !slices.Equal(o[3:], was[3:]) || o[2] == was[2] {
		t.Errorf("o=%s after o=%s", o, was)
	}
	// "The "s=" and "t=" lines MUST stay the same."
	if line(d, "s=") != line(first, "s=") || line(d, "t=") != line(first, "t=") {
		t.Errorf("s=%s, t=%s", line(d, "s="), line(d, "t="))
	}
	// "The "a=group:BUNDLE" attribute MUST include the MID identifiers specified in the bundle group in the most recent answer"
	if groups, _ := d.Groups(); len(groups) == 0 || !slices.Equal(groups[0].MIDs, []string{"0", "1", "2"}) {
		t.Errorf("groups: %+v", groups)
	}
	for i, m := range d.Media {
		f, n := first.Media[i], answer.Media[i]
		// "Each "a=mid" line MUST stay the same.", "the "a=msid" line or lines MUST stay the same if they are present in the current
		// description, regardless of changes to the transceiver's direction or track", ""a=rid" lines MUST stay the same", "any
		// "a=simulcast" line MUST stay the same", "Each "a=ice-ufrag" and "a=ice-pwd" line MUST stay the same"
		for _, name := range []string{"mid", "msid", "rid", "simulcast", "ice-ufrag", "ice-pwd", "fingerprint", "tls-id"} {
			if i > 0 && name == "tls-id" {
				continue // it is bundled now
			}
			if got, want := values(m, name), values(f, name); !slices.Equal(got, want) {
				t.Errorf("section %d: a=%s is %q, was %q", i, name, got, want)
			}
		}
		if i == 0 {
			// "filled in with the port, relevant RTP profile, and address of the default candidate", "for each candidate that has
			// been gathered ... an "a=candidate" line MUST be added", "an "a=end-of-candidates" attribute MUST be added"
			if m.Port != 5000 || m.Lines[0].Value != "IN IP4 192.0.2.7" || len(values(m, "candidate")) != 1 || !m.Has("end-of-candidates") {
				t.Errorf("section 0: port %d, c=%s, candidates %q, at an end %v", m.Port, m.Lines[0].Value, values(m, "candidate"), m.Has("end-of-candidates"))
			}
		} else {
			// "If the "m=" section is bundled into another "m=" section, ... both "a=candidate" and "a=end-of-candidates" MUST be
			// omitted". It "still MUST NOT contain any ICE credentials": on purpose not so, see TestInitialOffer.
			for _, name := range []string{"candidate", "end-of-candidates"} {
				if m.Has(name) {
					t.Errorf("section %d is bundled and has a=%s", i, name)
				}
			}
			for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup", "tls-id"} {
				if got, want := values(m, name), values(d.Media[0], name); !slices.Equal(got, want) {
					t.Errorf("section %d is bundled: a=%s is %q, and %q in the tagged one", i, name, got, want)
				}
			}
		}
		// "An "a=bundle-only" line ... MUST NOT be added", "The "a=rtcp" line MUST NOT be added if the most recent answer included an
		// "a=rtcp-mux" line", "The "a=rtcp-mux-only" line MUST NOT be added"
		for _, name := range []string{"bundle-only", "rtcp", "rtcp-mux-only"} {
			if m.Has(name) {
				t.Errorf("section %d has a=%s", i, name)
			}
		}
		// "The "a=rtcp-mux" line MUST be the same as that in the most recent answer", "The "a=rtcp-rsize" line MUST NOT be added unless
		// present in the most recent answer"
		if m.Has("rtcp-mux") != n.Has("rtcp-mux") || m.Has("rtcp-rsize") && !n.Has("rtcp-rsize") {
			t.Errorf("section %d: rtcp-mux %v, rtcp-rsize %v", i, m.Has("rtcp-mux"), m.Has("rtcp-rsize"))
		}
		// "the media formats on the "m=" line MUST be generated in the same order as in the most recent answer", "The RTP header
		// extensions MUST only include those that are present in the most recent answer", "The RTCP feedback mechanisms" likewise
		if len(m.Formats) < len(n.Formats) || !slices.Equal(m.Formats[:len(n.Formats)], n.Formats) {
			t.Errorf("section %d: the formats are %q, the answer's are %q", i, m.Formats, n.Formats)
		}
		for _, name := range []string{"extmap", "rtcp-fb"} {
			for _, v := range values(m, name) {
				if !slices.Contains(values(n, name), v) {
					t.Errorf("section %d: a=%s:%s is not in the answer", i, name, v)
				}
			}
		}
	}
	if setup, _ := d.Media[0].Attr("setup"); setup != "actpass" { // RFC 8842 section 5.5
		t.Errorf("setup:%s", setup)
	}

	// The answer had no rtcp-mux in bundled sections, and no rtcp-rsize: then neither has the offer.
	a, b := settled(t)
	must(t)(a.SetLocal(Description{}))
	must(t)(b.SetRemote(a.PendingLocal()))
	must(t)(b.SetLocal(Description{}))
	must(t)(a.SetRemote(edit(t, b.CurrentLocal(), func(d *sdp.Description) {
		for i, m := range d.Media {
			if m.Remove("rtcp-rsize"); i > 0 {
				m.Remove("rtcp-mux")
			}
		}
	})))
	for i, m := range reoffer(t, a, OfferOptions{}).Media {
		if m.Has("rtcp-mux") != (i == 0) || m.Has("rtcp-rsize") {
			t.Errorf("section %d: rtcp-mux %v, rtcp-rsize %v", i, m.Has("rtcp-mux"), m.Has("rtcp-rsize"))
		}
	}
}

// line returns the first line that begins so, without that.
func line(d *sdp.Description, kind string) string {
	_, rest, _ := strings.Cut("\r\n"+d.String(), "\r\n"+kind)
	value, _, _ := strings.Cut(rest, "\r\n")
	return value
}

// "The value of the generated <session-version> is independent of the <session-version> of the current local description; in
// particular, in the case where the current version is N, an offer is created and applied with version N+1, and then that offer is
// rolled back so that the current version is again N, the next generated offer will still have version N+2."
func TestSessionVersion(t *testing.T) {
	a, _ := settled(t)
	n := parsed(t, a.CurrentLocal()).Origin().Version
	must(t)(a.SetLocal(Description{}))
	if v := parsed(t, a.PendingLocal()).Origin().Version; v != n+1 {
		t.Errorf("the version is %d after %d", v, n)
	}
	must(t)(a.SetLocal(Description{Type: Rollback}))
	if v := parsed(t, a.CurrentLocal()).Origin().Version; v != n {
		t.Errorf("the version is %d, was %d", v, n)
	}
	if v := reoffer(t, a, OfferOptions{}).Origin().Version; v != n+2 {
		t.Errorf("after a rollback the version is %d, want %d", v, n+2)
	}
}

// RFC 8829 section 5.2.2 in the state have-local-offer: what was offered stays, and what was gathered since is in the next one.
func TestSecondOfferBeforeTheAnswer(t *testing.T) {
	s := session(t, 1)
	add(t, s, "audio", TransceiverInit{Streams: []string{"s"}, Track: "mic"})
	add(t, s, "video", TransceiverInit{RIDs: []string{"q", "h"}, Streams: []string{"s"}, Track: "camera"})
	c := must(t)(s.SetLocal(Description{}))
	first := parsed(t, s.PendingLocal())
	candidate, err := sdp.ParseCandidate("candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host")
	if err != nil {
		t.Fatal(err)
	}
	x := c.Transports[0]
	offer, err := s.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.AddLocalCandidate(x.ID, x.Local.Ufrag, candidate); !ok { // between creating and setting
		t.Fatal("a candidate has no section")
	}
	must(t)(s.SetLocal(offer))
	second := parsed(t, s.PendingLocal())
	if got := values(second.Media[0], "candidate"); len(got) != 1 || second.Media[0].Port != 5000 {
		t.Errorf("candidates %q, port %d", got, second.Media[0].Port)
	}
	for i, m := range second.Media {
		for _, name := range []string{"mid", "msid", "rid", "simulcast", "ice-ufrag", "ice-pwd", "fingerprint", "setup", "tls-id", "rtcp-mux", "rtcp-mux-only", "rtcp-rsize"} {
			if got, want := values(m, name), values(first.Media[i], name); !slices.Equal(got, want) {
				t.Errorf("section %d: a=%s is %q, was %q", i, name, got, want)
			}
		}
	}
	// "unless ... the IceRestart option ... was specified"
	restarted := reoffer(t, s, OfferOptions{ICERestart: true})
	if u, _ := restarted.Media[0].Attr("ice-ufrag"); u == x.Local.Ufrag || restarted.Media[0].Has("candidate") || restarted.Media[0].Port != 9 {
		t.Errorf("after a restart: %s, candidates %q, port %d", u, values(restarted.Media[0], "candidate"), restarted.Media[0].Port)
	}
}

// RFC 8829 section 5.2.2: "If an RtpTransceiver has been stopped and is associated with an "m=" section ... an "m=" section MUST be
// generated for it with the port set to zero and all "a=msid" lines removed", "that "m=" section MUST be recycled by generating an
// "m=" section for the added RtpTransceiver as if the "m=" section were being added (including a new MID value)", "an "m=" section
// MUST NOT be generated for" one that is stopped and has none.
func TestStoppedTransceiversInOffers(t *testing.T) {
	a, b := settled(t)
	if err := a.Transceivers()[1].Stop(); err != nil {
		t.Fatal(err)
	}
	unborn := add(t, a, "audio", TransceiverInit{})
	if err := unborn.Stop(); err != nil {
		t.Fatal(err)
	}
	d := reoffer(t, a, OfferOptions{})
	if m := d.Media[1]; len(d.Media) != 3 || m.Port != 0 || m.Has("msid") || m.Has("bundle-only") || values(m, "mid")[0] != "1" {
		t.Errorf("%d sections; that of the stopped transceiver: %v", len(d.Media), attributes(&m.Section))
	}
	if groups, _ := d.Groups(); !slices.Equal(groups[0].MIDs, []string{"0", "2"}) { // "minus any "m=" sections that have been marked as rejected"
		t.Errorf("groups: %+v", groups)
	}
	negotiate(t, a, b)
	add(t, a, "video", TransceiverInit{Streams: []string{"new"}, Track: "screen"})
	d = reoffer(t, a, OfferOptions{})
	if m := d.Media[1]; len(d.Media) != 3 || m.Port == 0 || values(m, "mid")[0] == "1" || !m.Has("msid") || m.Has("bundle-only") || !slices.Equal(values(m, "ice-ufrag"), values(d.Media[0], "ice-ufrag")) {
		t.Errorf("%d sections; the recycled one: %v", len(d.Media), attributes(&m.Section))
	}
	if groups, _ := d.Groups(); !slices.Equal(groups[0].MIDs, []string{"0", values(d.Media[1], "mid")[0], "2"}) { // "plus any newly added"
		t.Errorf("groups: %+v", groups)
	}
}

// RFC 8829 section 5.3.2, sentence by sentence.
func TestSubsequentAnswer(t *testing.T) {
	for what, restart := range map[string]bool{"as it is": false, "with a restart": true} {
		a, b := settled(t)
		first := parsed(t, b.CurrentLocal())
		if restart {
			a.RestartICE()
		}
		must(t)(a.SetLocal(Description{}))
		must(t)(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) {
			for _, m := range d.Media[1:] {
				for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint", "setup", "tls-id"} {
					m.Remove(name)
				}
			}
		})))
		once, err := b.CreateAnswer()
		if err != nil {
			t.Fatal(err)
		}
		again, err := b.CreateAnswer()
		if err != nil {
			t.Fatal(err)
		}
		// "The fields of the "o=" line MUST stay the same except for the <session-version> field, which MUST increment if the session
		// description changes in any way from the previously generated answer."
		one, two := parsed(t, once), parsed(t, again)
		if o, p := one.Origin(), two.Origin(); o.ID != p.ID || o.Username != p.Username || once.SDP != again.SDP && o.Version == p.Version {
			t.Errorf("%s: o=%+v and o=%+v", what, o, p)
		}
		must(t)(b.SetLocal(again))
		d := parsed(t, b.CurrentLocal())
		// "The "s=" and "t=" lines MUST stay the same."
		if line(d, "s=") != line(first, "s=") || line(d, "t=") != line(first, "t=") {
			t.Errorf("%s: s=%s, t=%s", what, line(d, "s="), line(d, "t="))
		}
		// "Each "a=ice-ufrag" and "a=ice-pwd" line MUST stay the same, unless the "m=" section is restarting"
		for _, name := range []string{"ice-ufrag", "ice-pwd"} {
			if same := slices.Equal(values(d.Media[0], name), values(first.Media[0], name)); same == restart {
				t.Errorf("%s: a=%s is %q, was %q", what, name, values(d.Media[0], name), values(first.Media[0], name))
			}
		}
		// "Each "a=tls-id" line MUST stay the same, unless the offerer's "a=tls-id" line changed", "Each "a=setup" line MUST use an
		// "active" or "passive" role value consistent with the existing DTLS association"
		for _, name := range []string{"tls-id", "setup", "fingerprint"} {
			if !slices.Equal(values(d.Media[0], name), values(first.Media[0], name)) {
				t.Errorf("%s: a=%s is %q, was %q", what, name, values(d.Media[0], name), values(first.Media[0], name))
			}
		}
		// "filled in with the port and address of the default candidate", "an "a=candidate" line MUST be added ... If candidate gathering
		// for the section has completed, an "a=end-of-candidates" attribute MUST be added"
		if m := d.Media[0]; (m.Port == 5000) == restart || (m.Lines[0].Value == "IN IP4 192.0.2.7") == restart || m.Has("candidate") == restart || m.Has("end-of-candidates") == restart {
			t.Errorf("%s: port %d, c=%s, candidates %q", what, m.Port, m.Lines[0].Value, values(m, "candidate"))
		}
		for i, m := range d.Media {
			// "the "a=msid" line(s) MUST stay the same"
			for _, name := range []string{"mid", "msid"} {
				if !slices.Equal(values(m, name), values(first.Media[i], name)) {
					t.Errorf("%s: section %d: a=%s is %q, was %q", what, i, name, values(m, name), values(first.Media[i], name))
				}
			}
			// "an "a=rtcp-mux" line inserted if and only if the "m=" section previously used RTCP multiplexing", "an "a=rtcp" attribute"
			// only where it is not active
			if m.Has("rtcp-mux") != (m.Kind != "application") || m.Has("rtcp") || m.Has("rtcp-mux-only") || m.Has("bundle-only") {
				t.Errorf("%s: section %d has %v", what, i, attributes(&m.Section))
			}
			if i == 0 {
				continue
			}
			// "If the "m=" section is bundled into another "m=" section, it still MUST NOT contain any ICE credentials", nor candidates:
			// so it is where the offer keeps to that
			for _, name := range []string{"ice-ufrag", "ice-pwd", "candidate", "end-of-candidates", "fingerprint", "setup", "tls-id"} {
				if m.Has(name) {
					t.Errorf("%s: section %d is bundled and has a=%s", what, i, name)
				}
			}
		}
	}
}
