package jsep

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// offerOf writes a minimal offer of one section.
func offerOf(kind string, lines ...string) Description {
	var formats []string
	for _, l := range lines {
		if pt, ok := strings.CutPrefix(l, "rtpmap:"); ok {
			formats = append(formats, strings.Fields(pt)[0])
		}
	}
	return Description{Offer, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=fingerprint:" + fingerprint(9).String() +
		"\r\nm=" + kind + " 9 UDP/TLS/RTP/SAVPF " + strings.Join(formats, " ") + "\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n" +
		"a=setup:actpass\r\na=rtcp-mux\r\na=" + strings.Join(lines, "\r\na=") + "\r\n"}
}

func answerTo(t *testing.T, s *Session, offer Description) (*sdp.Media, []Media) {
	t.Helper()
	must(t)(s.SetRemote(offer))
	c := must(t)(s.SetLocal(Description{}))
	return parsed(t, s.CurrentLocal()).Media[0], c.Media
}

// Which offered formats are ours, and with which parameters they are answered.
func TestCodecRules(t *testing.T) {
	const h264 = "level-asymmetry-allowed=%d;packetization-mode=%s;profile-level-id=%s"
	for _, c := range []struct{ why, rtpmap, offered, answered string }{
		// RFC 6184 section 8.2.2: "The parameters identifying a media format configuration for H.264 are profile-level-id and
		// packetization-mode. These media format configuration parameters (except for the level part of profile-level-id) MUST be
		// used symmetrically"
		{"another profile", "H264/90000", fmt.Sprintf(h264, 1, "1", "64001f"), ""},
		{"interleaved", "H264/90000", fmt.Sprintf(h264, 1, "2", "42e01f"), ""},
		{"nonsense", "H264/90000", fmt.Sprintf(h264, 1, "1", "xyz"), ""},
		{"both allow asymmetry: ours", "H264/90000", fmt.Sprintf(h264, 1, "1", "42e00b"), fmt.Sprintf(h264, 1, "1", "42e01f")},
		{"constrained baseline written as main", "H264/90000", fmt.Sprintf(h264, 1, "1", "4d801f"), fmt.Sprintf(h264, 1, "1", "42e01f")},
		// "If level-asymmetry-allowed is equal to 0 (or not present) in either the offer or the answer ... the level to use ... is
		// the same" in both directions, here the lower
		{"a lower level", "H264/90000", fmt.Sprintf(h264, 0, "1", "42e00b"), fmt.Sprintf(h264, 1, "1", "42e00b")},
		{"a higher level", "H264/90000", fmt.Sprintf(h264, 0, "1", "42e034"), fmt.Sprintf(h264, 1, "1", "42e01f")},
		// "When the value of packetization-mode is equal to 0 or packetization-mode is not present, the single NAL mode MUST be used";
		// "If no profile-level-id is present, the Baseline Profile, without additional constraints at Level 1, MUST be inferred."
		{"nothing said", "H264/90000", "", fmt.Sprintf(h264, 1, "0", "42000a")},
		{"VP9, profile 2", "VP9/90000", "profile-id=2", ""},
		{"VP9, nothing said", "VP9/90000", "", "profile-id=0"},
		{"AV1, another profile", "AV1/90000", "profile=1", ""},
		{"AV1, a lower level", "AV1/90000", "profile=0;level-idx=4;tier=0", "level-idx=4;profile=0;tier=0"},
		// RFC 7798 section 7.2.2: all of these but level-id "MUST be used symmetrically"
		{"H.265, another way of transmission", "H265/90000", "tx-mode=MRST", ""},
		{"H.265, nothing said", "H265/90000", "", "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST"},
		{"H.265, a lower level", "H265/90000", "level-id=60", "level-id=60;profile-id=1;tier-flag=0;tx-mode=SRST"},
	} {
		lines := []string{"sendrecv", "rtpmap:100 VP8/90000", "rtpmap:57 " + c.rtpmap}
		if c.offered != "" {
			lines = append(lines, "fmtp:57 "+c.offered)
		}
		m, media := answerTo(t, session(t, 1), offerOf("video", lines...))
		got := ""
		for v := range m.Attrs("fmtp") {
			got = strings.TrimPrefix(v, "57 ")
		}
		if c.answered != got || slices.Contains(m.Formats, "57") != (c.answered != "") {
			t.Errorf("%s: %q is answered with %q (%v), want %q", c.why, c.offered, got, m.Formats, c.answered)
		}
		// What we send with has the parameters of the peer.
		if i := slices.IndexFunc(media[0].Send, func(c Codec) bool { return c.Payload == 57 }); i >= 0 && media[0].Send[i].FMTP != c.offered {
			t.Errorf("%s: sent with %q", c.why, media[0].Send[i].FMTP)
		}
	}
}

// What is repair, redundancy or events of something that is not there is not answered.
func TestDependentCodecs(t *testing.T) {
	m, media := answerTo(t, session(t, 1), offerOf("audio", "sendrecv", "rtpmap:0 PCMU/8000", "rtpmap:96 red/48000/2", "fmtp:96 97/97", "rtpmap:98 telephone-event/48000", "rtpmap:99 telephone-event/8000"))
	if !slices.Equal(m.Formats, []string{"0", "99"}) || len(media[0].Send) != 2 {
		t.Errorf("audio without Opus is answered with %v", m.Formats)
	}
	m, media = answerTo(t, session(t, 1), offerOf("video", "sendrecv", "rtpmap:96 VP8/90000", "rtpmap:97 rtx/90000", "fmtp:97 apt=96", "rtpmap:98 rtx/90000", "fmtp:98 apt=44",
		"rtpmap:101 red/90000", "rtpmap:102 ulpfec/90000", "rtpmap:103 flexfec-03/90000"))
	if !slices.Equal(m.Formats, []string{"96", "97"}) || media[0].Receive[0].RTX != 97 {
		t.Errorf("video is answered with %v: %+v", m.Formats, media[0].Receive)
	}
	// What is an option is there once it was asked for.
	s := session(t, 1)
	must(t)(s.SetRemote(offerOf("video", "sendrecv", "rtpmap:96 VP8/90000", "rtpmap:97 rtx/90000", "fmtp:97 apt=96", "rtpmap:103 flexfec-03/90000")))
	all := DefaultVideo()
	all[0].RTX = 0
	if err := s.Transceivers()[0].SetCodecPreferences([]Codec{all[0], all[len(all)-1]}); err != nil {
		t.Fatal(err)
	}
	must(t)(s.SetLocal(Description{}))
	if m := parsed(t, s.CurrentLocal()).Media[0]; !slices.Equal(m.Formats, []string{"96", "103"}) {
		t.Errorf("with preferences for FlexFEC and without RTX: %v", m.Formats)
	}
}

// RFC 8829 section 5.2.2: formats that were negotiated keep their payload types; RFC 9143 section 9.1: a number means one
// thing in all bundled sections.
func TestPayloadTypes(t *testing.T) {
	s := session(t, 1)
	add(t, s, "video", TransceiverInit{})
	answerTo(t, s, offerOf("video", "sendrecv", "rtpmap:111 VP8/90000", "rtpmap:63 rtx/90000", "fmtp:63 apt=111", "rtpmap:98 AV1/90000"))
	add(t, s, "audio", TransceiverInit{})
	must(t)(s.SetLocal(Description{}))
	meaning := map[string]string{}
	for _, m := range parsed(t, s.PendingLocal()).Media {
		maps, _ := m.RTPMaps()
		for _, r := range maps {
			pt, what := fmt.Sprint(r.Payload), r.String()
			if was, ok := meaning[pt]; ok && was != what {
				t.Errorf("%s is %q and %q", pt, was, what)
			}
			meaning[pt] = what
			// RFC 8829 section 5.2.1: dynamic ones are 96 to 127, then 35 to 63
			if n := r.Payload; n != 0 && n != 8 && (n < 35 || n > 63 && n < 96) {
				t.Errorf("payload type %d", n)
			}
		}
	}
	for pt, want := range map[string]string{"111": "111 VP8/90000", "63": "63 rtx/90000", "98": "98 AV1/90000"} {
		if meaning[pt] != want {
			t.Errorf("%s was %s and is %s", pt, want, meaning[pt])
		}
	}
}

// RFC 3264 section 6.1: the answerer may use other numbers; either side sends with those of the other.
func TestAsymmetricPayloadTypes(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	add(t, a, "video", TransceiverInit{})
	must(t)(a.SetLocal(Description{}))
	must(t)(b.SetRemote(a.PendingLocal()))
	must(t)(b.SetLocal(Description{}))
	c := must(t)(a.SetRemote(edit(t, b.CurrentLocal(), func(d *sdp.Description) {
		m := d.Media[0]
		m.Formats = []string{"57", "58"}
		for _, name := range []string{"rtpmap", "fmtp", "rtcp-fb"} {
			m.Remove(name)
		}
		m.Add("rtpmap", "57 VP8/90000")
		m.Add("rtpmap", "58 rtx/90000")
		m.Add("fmtp", "58 apt=57")
		m.Add("rtcp-fb", "57 nack")
	})))
	x := c.Media[0]
	if len(x.Send) != 1 || x.Send[0].Payload != 57 || x.Send[0].RTX != 58 || x.Receive[0].Payload != 96 || x.Receive[0].RTX != 97 {
		t.Errorf("sent with %+v, received with %+v", x.Send, x.Receive)
	}
	if !slices.Equal(x.Send[0].Feedback, []string{"nack"}) || !slices.Equal(x.Receive[0].Feedback, []string{"nack"}) {
		t.Errorf("feedback %v, %v", x.Send[0].Feedback, x.Receive[0].Feedback)
	}
}

// RFC 8888 section 6: "The payload type used with "ccfb" feedback MUST be the wildcard".
func TestCongestionFeedback(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	add(t, a, "video", TransceiverInit{})
	mine, theirs := negotiate(t, a, b)
	for _, d := range []Description{a.CurrentLocal(), b.CurrentLocal()} {
		if n := strings.Count(d.SDP, "ack ccfb\r\n"); n != 1 || !strings.Contains(d.SDP, "\r\na=rtcp-fb:* ack ccfb\r\n") {
			t.Errorf("%d lines in %s", n, d.SDP)
		}
	}
	for _, m := range []Media{mine.Media[0], theirs.Media[0]} {
		if !m.Send[0].Has("ack ccfb") || !m.Send[0].Has("nack pli") || !m.ReceiverRTT || !m.ReducedSize || !m.Mixed {
			t.Errorf("%+v", m)
		}
	}
}

// "If the attribute is removed in the answer, then ECN MUST NOT be used in any direction", and one who is "mode=setonly" cannot tell how
// packets come (RFC 6679 section 6.1.1).
func TestECNIsNegotiated(t *testing.T) {
	for answered, want := range map[string]bool{
		" rtp": true, " rtp mode=readonly; ect=0": true, " rtp ect=1; mode=setonly": false, " ice": false, " leap,rtp": true, "": false,
	} {
		a, b := session(t, 1), session(t, 2)
		add(t, a, "video", TransceiverInit{})
		offer, err := a.CreateOffer(OfferOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(offer.SDP, "\r\na=ecn-capable-rtp: rtp\r\n") {
			t.Fatal(offer.SDP)
		}
		must(t)(a.SetLocal(offer))
		must(t)(b.SetRemote(offer))
		answer, err := b.CreateAnswer()
		if err != nil {
			t.Fatal(err)
		}
		must(t)(b.SetLocal(answer))
		if !b.Media()[0].ECN {
			t.Error("the answerer has not agreed")
		}
		line := "a=ecn-capable-rtp: rtp\r\n"
		if !strings.Contains(answer.SDP, line) {
			t.Fatal(answer.SDP)
		}
		change := ""
		if answered != "" {
			change = "a=ecn-capable-rtp:" + answered + "\r\n"
		}
		answer.SDP = strings.Replace(answer.SDP, line, change, 1)
		must(t)(a.SetRemote(answer))
		if got := a.Media()[0].ECN; got != want {
			t.Errorf("answered %q: %t", answered, got)
		}
	}
	// "it does not include an attribute in its answer" that was not offered.
	b := session(t, 1)
	must(t)(b.SetRemote(Description{Type: Offer, SDP: strings.Replace(offerOfVideo(t), "a=ecn-capable-rtp: rtp\r\n", "", 1)}))
	answer, err := b.CreateAnswer()
	if err != nil || strings.Contains(answer.SDP, "ecn-capable") {
		t.Errorf("%v: %s", err, answer.SDP)
	}
}

func offerOfVideo(t *testing.T) string {
	a := session(t, 5)
	add(t, a, "video", TransceiverInit{})
	offer, err := a.CreateOffer(OfferOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return offer.SDP
}

// RFC 8285 sections 5 and 6, and RFC 9143 section 9.1: ids and directions of header extensions.
func TestHeaderExtensions(t *testing.T) {
	for _, c := range []struct {
		why      string
		offered  []string
		answered []string
	}{
		{"as it is", []string{"3 " + rtp.URIMID, "7 urn:unknown"}, []string{"3 " + rtp.URIMID}},
		{"a direction is seen from the other side", []string{"3/sendonly " + rtp.URIPlayoutDelay}, []string{"3/recvonly " + rtp.URIPlayoutDelay}},
		{"two bytes in every packet", []string{"16 " + rtp.URIMID, "15 " + rtp.URIRID}, []string{"16 " + rtp.URIMID}},
		{"two bytes where they are needed", []string{"16 " + rtp.URIMID, "15 " + rtp.URIRID, "\x00"}, []string{"16 " + rtp.URIMID}},
		{"the first has the id", []string{"3 " + rtp.URIMID, "3 " + rtp.URIRID}, []string{"3 " + rtp.URIMID}},
		{"once", []string{"3 " + rtp.URIMID, "4 " + rtp.URIMID}, []string{"3 " + rtp.URIMID}},
		{"more than there are ids for: we pick", []string{"1 urn:unknown", "4096 " + rtp.URIMID}, []string{"2 " + rtp.URIMID}},
	} {
		lines := []string{"sendrecv", "rtpmap:96 VP8/90000"}
		for _, e := range c.offered {
			if e == "\x00" {
				lines = append(lines, "extmap-allow-mixed")
			} else {
				lines = append(lines, "extmap:"+e)
			}
		}
		m, media := answerTo(t, session(t, 1), offerOf("video", lines...))
		if got := slices.Collect(m.Attrs("extmap")); !slices.Equal(got, c.answered) {
			t.Errorf("%s: %q", c.why, got)
		}
		if c.why == "a direction is seen from the other side" && (len(media[0].ReceiveExtensions) != 1 || len(media[0].SendExtensions) != 0) {
			t.Errorf("%+v", media[0])
		}
	}
}

// What the RTP session is told, from the first offer on.
func TestMediaInForce(t *testing.T) {
	a, b := session(t, 1), session(t, 2)
	x := add(t, a, "video", TransceiverInit{Streams: []string{"s"}, Track: "t"})
	c := must(t)(a.SetLocal(Description{}))
	if len(c.Media) != 1 || c.Media[0].Sends || !c.Media[0].Receives || len(c.Media[0].Receive) == 0 || !hasExtension(c.Media[0].ReceiveExtensions, rtp.URIMID) {
		t.Fatalf("before the answer: %+v", c.Media)
	}
	if x.ReceiveCodecs() != nil || x.SendCodecs() != nil {
		t.Error("the codecs of both directions wait for the answer, as the web's tests of getParameters have it")
	}
	must(t)(b.SetRemote(a.PendingLocal()))
	theirs := must(t)(b.SetLocal(Description{})).Media[0]
	mine := must(t)(a.SetRemote(b.CurrentLocal())).Media[0]
	// b has no track: it receives only
	if !mine.Sends || mine.Receives || theirs.Sends || !theirs.Receives {
		t.Errorf("%v %v, %v %v", mine.Sends, mine.Receives, theirs.Sends, theirs.Receives)
	}
	e := mine.Encodings[0]
	if len(mine.Encodings) != 1 || e.SSRC == 0 || e.RTX == e.SSRC || e.RID != "" {
		t.Errorf("%+v", mine.Encodings)
	}
	if want := []Source{{SSRC: e.SSRC, RTX: e.RTX, CNAME: a.CNAME()}}; !slices.Equal(theirs.Sources, want) {
		t.Errorf("declared %+v, want %+v", theirs.Sources, want)
	}
	if len(mine.Sources) != 0 {
		t.Errorf("who sends nothing declares %+v", mine.Sources)
	}
	// A stopped one is silent before the peer knows.
	if err := x.Stop(); err != nil {
		t.Fatal(err)
	}
	if m := a.Media(); len(m) != 0 {
		t.Errorf("stopped: %+v", m)
	}
}

// RFC 8851 section 6.3 and RFC 8853 sections 5.2 and 5.3.2: what of RIDs is answered.
func TestRestrictedRIDs(t *testing.T) {
	const rid = "extmap:4 " + rtp.URIRID
	for _, c := range []struct {
		why            string
		lines          []string
		rids, received []string
		simulcast      string
	}{
		{"all", []string{rid, "rid:a send", "rid:b send", "simulcast:send a;b"}, []string{"a recv", "b recv"}, []string{"a", "b"}, "recv a;b"},
		{"paused", []string{rid, "rid:a send", "rid:b send", "simulcast:send a;~b"}, []string{"a recv", "b recv"}, []string{"a", "b"}, "recv a;b"},
		{"alternatives", []string{rid, "rid:a send", "rid:b send", "rid:c send", "simulcast:send a,b;c"}, []string{"a recv", "b recv", "c recv"}, []string{"a", "b", "c"}, "recv a,b;c"},
		{"of payload types that are not there", []string{rid, "rid:a send pt=96,97", "rid:b send pt=97", "simulcast:send a;b"}, []string{"a recv pt=96"}, []string{"a"}, "recv a"},
		{"twice", []string{rid, "rid:a send", "rid:b send", "simulcast:send a;b;a"}, []string{"a recv", "b recv"}, []string{"a", "b"}, "recv a;b"},
		{"without simulcast", []string{rid, "rid:a send max-width=640"}, []string{"a recv max-width=640"}, []string{"a"}, ""},
		{"without the header extension", []string{"rid:a send", "rid:b send", "simulcast:send a;b"}, nil, nil, ""},
	} {
		s := session(t, 1)
		m, media := answerTo(t, s, offerOf("video", append([]string{"sendonly", "rtpmap:96 VP8/90000", "rtpmap:97 nothing/90000"}, c.lines...)...))
		sim, _ := m.Attr("simulcast")
		if got := slices.Collect(m.Attrs("rid")); !slices.Equal(got, c.rids) || sim != c.simulcast || !slices.Equal(media[0].RIDs, c.received) {
			t.Errorf("%s: rids %q, simulcast %q, received %q", c.why, got, sim, media[0].RIDs)
		}
		// Our own offers go on receiving them.
		must(t)(s.SetLocal(Description{}))
		if sim, _ := parsed(t, s.PendingLocal()).Media[0].Attr("simulcast"); len(c.received) > 1 && sim != "recv "+strings.Join(c.received, ";") {
			t.Errorf("%s: the next offer says %q", c.why, sim)
		}
	}
}

// An offer to receive simulcast makes a sender of one encoding without a RID one of several (webrtc-pc, set a session
// description), and a rollback takes that back.
func TestOfferToReceiveSimulcast(t *testing.T) {
	offer := offerOf("video", "recvonly", "rtpmap:96 VP8/90000", "extmap:4 "+rtp.URIRID, "rid:a recv", "rid:b recv", "rid:c recv", "rid:d recv oddity=1", "simulcast:recv a;b,c;~d;a")
	s := session(t, 1)
	x := add(t, s, "video", TransceiverInit{AddTrack: true})
	before := x.Encodings()[0].SSRC
	must(t)(s.SetRemote(offer))
	if !slices.Equal(x.RIDs(), []string{"a", "b", "d"}) {
		t.Errorf("proposed: %v", x.RIDs())
	}
	must(t)(s.SetRemote(Description{Type: Rollback}))
	if len(x.RIDs()) != 0 || x.Encodings()[0].SSRC != before {
		t.Errorf("after the rollback: %v", x.RIDs())
	}
	must(t)(s.SetRemote(offer))
	media := must(t)(s.SetLocal(Description{})).Media[0]
	m := parsed(t, s.CurrentLocal()).Media[0]
	sim, _ := m.Attr("simulcast")
	// RFC 8851 section 6.3: a restriction that we are to obey and do not know discards the line
	if got := slices.Collect(m.Attrs("rid")); sim != "send a;b" || !slices.Equal(got, []string{"a send", "b send"}) {
		t.Errorf("rids %q, simulcast %q", got, sim)
	}
	if len(media.Encodings) != 2 || media.Encodings[1].RID != "b" || media.Encodings[1].SSRC == media.Encodings[0].SSRC || m.Has("ssrc") {
		t.Errorf("%+v", media.Encodings)
	}
}

// A peer may say that a track is in any number of streams, by a=msid or with its sources: so many are taken, each once.
func TestStreamsOfATrackAreBounded(t *testing.T) {
	for _, form := range []string{"msid:stream%d t", "ssrc:1 msid:stream%d t"} {
		lines := []string{"sendrecv", "rtpmap:100 VP8/90000"}
		for i := range 20000 {
			lines = append(lines, fmt.Sprintf(form, i/2))
		}
		s := session(t, 1)
		c := must(t)(s.SetRemote(offerOf("video", lines...)))
		streams := c.Tracks[0].Streams
		if len(streams) != maxStreams || streams[1] != "stream1" || !slices.Equal(streams, c.Tracks[0].Transceiver.RemoteStreams()) {
			t.Errorf("%s: the track is in %d streams, %q first", form, len(streams), streams[:2])
		}
	}
}

// "For any specified "TIAS" bandwidth value, set this value as a constraint on the maximum RTP bitrate to be used when sending media ... If a
// "TIAS" value is not present but an "AS" value is specified, generate a "TIAS" value using this formula: TIAS = AS * 1000 * 0.95 - (50 * 40 *
// 8)" (RFC 8829 section 5.11)
func TestBandwidth(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  uint64
	}{
		{"", 0},
		{"b=AS:500", 459_000},
		{"b=AS:1", 1},
		{"b=TIAS:300000", 300_000},
		{"b=AS:500 b=TIAS:300000", 300_000},
		{"b=TIAS:300000 b=AS:500", 300_000},
		{"b=CT:500 b=RR:100 b=X-YZ:128", 0},
		{"b=AS:9223372036854775807", (1<<40)*950 - 16_000},
	} {
		ok := must(t)
		a, b := session(t, 1), session(t, 2)
		add(t, a, "video", TransceiverInit{})
		ok(a.SetLocal(Description{}))
		ok(b.SetRemote(a.PendingLocal()))
		ok(b.SetLocal(Description{}))
		changed := ok(a.SetRemote(edit(t, b.CurrentLocal(), func(d *sdp.Description) {
			for _, l := range strings.Fields(c.lines) {
				d.Media[0].AddLine('b', l[2:])
			}
		})))
		if got := changed.Media[0].MaxBitrate; got != c.want {
			t.Errorf("%q: %d, want %d", c.lines, got, c.want)
		}
	}
}
