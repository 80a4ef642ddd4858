package jsep

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// attributes returns the names of a section's attributes.
func attributes(m *sdp.Section) (names []string) {
	for _, l := range m.Lines {
		if name, _ := l.Attr(); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// RFC 8829 section 5.2.1, line by line.
func TestInitialOffer(t *testing.T) {
	s := session(t, 1)
	add(t, s, "audio", TransceiverInit{Streams: []string{"camera"}, Track: "a"})
	add(t, s, "video", TransceiverInit{Streams: []string{"camera"}, Track: "v"})
	add(t, s, "video", TransceiverInit{Direction: sdp.RecvOnly})
	s.AddData()
	offer, err := s.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// "The first SDP line MUST be "v=0"", "The second SDP line MUST be an "o=" line", "The <sess-id> MUST be representable by a
	// 64-bit signed integer, and the value MUST be less than 2^(63)-1", "The third SDP line MUST be a "s=" line", "A "t=" line
	// MUST be added"; the address is "non-meaningful", which one is left open: the loopback's, as in browsers' offers
	lines := strings.Split(offer.SDP, "\r\n")
	o := regexp.MustCompile(`^o=- (\d+) (\d+) IN IP4 127\.0\.0\.1$`).FindStringSubmatch(lines[1])
	if lines[0] != "v=0" || o == nil || lines[2] != "s=-" || lines[3] != "t=0 0" {
		t.Fatalf("it begins with %q", lines[:4])
	}
	if id, err := strconv.ParseInt(o[1], 10, 64); err != nil || id >= 1<<62 {
		t.Errorf("the session is %s", o[1])
	}
	d, err := sdp.Parse(offer.SDP)
	if err != nil {
		t.Fatal(err)
	}
	// "An "a=ice-options" line with the "trickle" and "ice2" options MUST be added"
	if options := d.ICEOptions(); !slices.Contains(options, "trickle") || !slices.Contains(options, "ice2") {
		t.Errorf("ice-options: %v", options)
	}
	// "This attribute MUST have semantics "BUNDLE" and MUST include the mid identifiers of each "m=" section.", "For each
	// MediaStream referenced by more than one RtpTransceiver ... a group of type "LS" MUST be added"
	groups, _ := d.Groups()
	if len(groups) != 2 || groups[0].Semantics != "BUNDLE" || !slices.Equal(groups[0].MIDs, []string{"0", "1", "2", "3"}) ||
		groups[1].Semantics != "LS" || !slices.Equal(groups[1].MIDs, []string{"0", "1"}) {
		t.Errorf("groups: %+v", groups)
	}
	ids := map[string]bool{}
	for i, m := range d.Media {
		names := attributes(&m.Section)
		own := i != 2 // balanced: the second of a kind is bundle-only
		// "Each "m=" section, provided it is not marked as bundle-only, MUST contain a unique set of ICE credentials ... Bundle-only
		// "m=" sections MUST NOT contain any ICE credentials": on purpose not so. As in the offers of all browsers each section of the
		// group has them, and the same ones, since there are peers that bundle nothing else.
		for _, name := range []string{"ice-ufrag", "ice-pwd"} {
			if got, want := values(m, name), values(d.Media[0], name); len(got) != 1 || !slices.Equal(got, want) {
				t.Errorf("section %d: a=%s is %q, in the first one %q", i, name, got, want)
			}
		}
		// "they MUST all have the same fingerprint value or values"
		if got := values(m, "fingerprint"); !slices.Equal(got, []string{fingerprint(1).String()}) {
			t.Errorf("section %d: a=fingerprint is %q", i, got)
		}
		// RFC 8842 section 5.2: "the offerer MUST insert in the offer an SDP "tls-id" attribute with a unique attribute value": what may
		// become an association of its own has one
		id := values(m, "tls-id")
		if first := values(d.Media[0], "tls-id"); own && ids[id[0]] || !own && !slices.Equal(id, first) {
			t.Errorf("section %d: a=tls-id is %q", i, id)
		}
		ids[id[0]] = true
		// "The role value in the offer MUST be "actpass"."
		if setup, _ := m.Attr("setup"); setup != "actpass" {
			t.Errorf("section %d: setup:%s", i, setup)
		}
		// "If the "m=" section is marked as bundle-only, then the <port> value MUST be set to zero ... the default port value of 9
		// (Discard) MUST be used", "The "m=" line MUST be followed immediately by a "c=" line ... MUST contain the default value "IN
		// IP4 0.0.0.0""
		if want := map[bool]int{true: 9}[own]; m.Port != want || m.Lines[0].Type != 'c' || m.Lines[0].Value != "IN IP4 0.0.0.0" {
			t.Errorf("section %d: port %d, then %c=%s", i, m.Port, m.Lines[0].Type, m.Lines[0].Value)
		}
		// "SHOULD be 3 bytes or less"
		if mid, _ := m.Attr("mid"); mid == "" || len(mid) > 3 {
			t.Errorf("section %d: mid %q", i, mid)
		}
		// "except for the following attributes, which ... MUST NOT be included"
		for _, name := range []string{"crypto", "key-mgmt", "ice-lite", "candidate"} {
			if slices.Contains(names, name) {
				t.Errorf("section %d: a=%s", i, name)
			}
		}
		if m.Kind == "application" {
			// "the <proto> field MUST be set to "UDP/DTLS/SCTP" ... The <fmt> value MUST be set to "webrtc-datachannel""
			if m.Proto != "UDP/DTLS/SCTP" || !slices.Equal(m.Formats, []string{"webrtc-datachannel"}) || !m.Has("sctp-port") {
				t.Errorf("data: %s %v", m.Proto, m.Formats)
			}
			continue
		}
		if rtcp, _ := m.Attr("rtcp"); m.Proto != "UDP/TLS/RTP/SAVPF" || m.Has("rtcp-mux-only") != own || own && rtcp != "9 IN IP4 0.0.0.0" || !m.Has("rtcp-mux") || !m.Has("rtcp-rsize") {
			t.Errorf("section %d: %s, rtcp %q", i, m.Proto, rtcp)
		}
		if direction, _ := m.Direction(); direction != s.Transceivers()[i].Direction() {
			t.Errorf("section %d is %s", i, direction)
		}
		for _, format := range m.Formats {
			if !slices.ContainsFunc(m.Lines, func(l sdp.Line) bool { return l.Type == 'a' && strings.HasPrefix(l.Value, "rtpmap:"+format+" ") }) {
				t.Errorf("section %d: no rtpmap of %s", i, format)
			}
		}
	}
	// Section 5.2.2: the version "MUST increment by one on each call to createOffer if the offer might differ from the output of the
	// previous call". If it does not the offer is the same one.
	again, err := s.CreateOffer(OfferOptions{})
	if err != nil || again != offer {
		t.Errorf("a second offer is another one: %v", err)
	}
	// One that nobody has set leaves no trace: the next one differs in its version, credentials and tls-ids alone.
	again, err = s.CreateOffer(OfferOptions{ICERestart: true})
	if err != nil {
		t.Fatal(err)
	}
	blur := regexp.MustCompile(`(?m)^(o=- \d+ \d+|a=ice-(ufrag|pwd):\S+|a=tls-id:\S+)`)
	if blur.ReplaceAllString(again.SDP, "") != blur.ReplaceAllString(offer.SDP, "") || again.SDP == offer.SDP {
		t.Error("a second offer is another one")
	}
}

// "Any profile in the offer matching one of the following MUST be accepted", "The profile in any "m=" line in any generated
// answer MUST exactly match the profile provided in the offer.", "re-offers by JSEP implementations MUST use the correct profile
// strings" (RFC 8829 section 5.1.2)
func TestProfiles(t *testing.T) {
	for kind, profiles := range map[string][]string{
		"audio":       {"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"},
		"application": {"UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"},
	} {
		for _, profile := range profiles {
			ok := must(t)
			a, b := session(t, 1), session(t, 2)
			if kind == "audio" {
				add(t, a, "audio", TransceiverInit{})
			} else {
				a.AddData()
			}
			ok(a.SetLocal(Description{}))
			ok(b.SetRemote(edit(t, a.PendingLocal(), func(d *sdp.Description) {
				m := d.Media[0]
				if m.Proto = profile; profile == "DTLS/SCTP" { // draft-ietf-mmusic-sctp-sdp-03
					m.Formats = []string{"5000"}
					m.Remove("sctp-port")
					m.Add("sctpmap", "5000 webrtc-datachannel 1024")
				}
			})))
			ok(b.SetLocal(Description{}))
			if m := parsed(t, b.CurrentLocal()).Media[0]; m.Proto != profile || m.Port == 0 {
				t.Errorf("%s is answered by %s, port %d", profile, m.Proto, m.Port)
			}
			if kind == "application" && (b.data == nil || b.data.RemotePort != 5000) {
				t.Errorf("%s: data %+v", profile, b.data)
			}
			offer, err := b.CreateOffer(OfferOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if m := parsed(t, offer).Media[0]; m.Proto != "UDP/TLS/RTP/SAVPF" && m.Proto != "UDP/DTLS/SCTP" {
				t.Errorf("after %s the offer says %s", profile, m.Proto)
			}
		}
	}
}

// RFC 8829 section 5.3.1: what an answer takes over from the offer, and what it rejects.
func TestInitialAnswer(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	add(t, a, "audio", TransceiverInit{Streams: []string{"s"}})
	add(t, a, "video", TransceiverInit{Streams: []string{"s"}})
	a.AddData()
	ok(a.SetLocal(Description{}))
	offer := edit(t, a.PendingLocal(), func(d *sdp.Description) {
		d.Media[1].Formats = []string{"96"}
		d.Media[1].Remove("rtpmap")
		d.Media[1].Remove("fmtp")
		d.Media[1].Remove("rtcp-fb")
		d.Media[1].Add("rtpmap", "96 theora/90000")
		d.Media[0].Remove("tls-id")
		d.Media = append(d.Media, &sdp.Media{Kind: "text", Port: 9, Proto: "UDP/TLS/RTP/SAVPF", Formats: []string{"98"}, Section: d.Media[0].Section})
	})
	offer = edit(t, offer, func(d *sdp.Description) {
		d.Media[3].Set("mid", "3")
		d.Set("group", "BUNDLE 0 1 2 3")
	})
	ok(b.SetRemote(offer))
	for _, x := range b.Transceivers() {
		x.AddTrack()
		x.SetStreams([]string{"mine"})
		if err := x.SetDirection(sdp.SendRecv); err != nil {
			t.Fatal(err)
		}
	}
	c := ok(b.SetLocal(Description{}))
	d := parsed(t, b.CurrentLocal())
	for i, want := range []struct {
		kind     string
		rejected bool
	}{{"audio", false}, {"video", true}, {"application", false}, {"text", true}} {
		m := d.Media[i]
		mid, _ := m.Attr("mid")
		if m.Kind != want.kind || (m.Port == 0) != want.rejected || mid != strconv.Itoa(i) || len(m.Formats) == 0 {
			t.Errorf("section %d: %s, port %d, mid %q, formats %v", i, m.Kind, m.Port, mid, m.Formats)
		}
		if want.rejected && (m.Has("ice-ufrag") || m.Has("fingerprint") || m.Has("bundle-only")) {
			t.Errorf("section %d is rejected and has %v", i, attributes(&m.Section))
		}
	}
	// rejected sections are in no group; one of a stream that is left alone needs no lip sync
	if groups, _ := d.Groups(); len(groups) != 1 || !slices.Equal(groups[0].MIDs, []string{"0", "2"}) {
		t.Errorf("groups: %+v", groups)
	}
	// "If the offer does not contain" a tls-id, neither does the answer (RFC 8842 section 5.3)
	if d.Media[0].Has("tls-id") {
		t.Error("a tls-id answers an offer without")
	}
	if setup, _ := d.Media[0].Attr("setup"); setup != "active" && setup != "passive" {
		t.Errorf("setup:%s", setup)
	}
	if len(c.Transports) != 1 || len(c.Stopped) != 1 || c.Data == nil {
		t.Errorf("%d transports, %d stopped, data %+v", len(c.Transports), len(c.Stopped), c.Data)
	}
}
