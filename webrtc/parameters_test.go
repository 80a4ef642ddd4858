package webrtc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// parameters of an encoding in short: rid, scale, codec and mode.
func encodings(s *RTPSender) string {
	var list []string
	for _, e := range s.GetParameters().Encodings {
		text := e.RID
		if e.ScaleResolutionDownBy != nil {
			text += fmt.Sprintf("/%v", *e.ScaleResolutionDownBy)
		}
		if e.Codec != nil {
			text += " " + e.Codec.MimeType
		}
		if e.ScalabilityMode != "" {
			text += " " + e.ScalabilityMode
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func (w *world) wantEncodings(s *RTPSender, want string) {
	w.Helper()
	if got := encodings(s); got != want {
		w.Errorf("encodings %q, want %q", got, want)
	}
}

func (w *world) setEncodings(s *RTPSender, change func(list []RTPEncodingParameters)) error {
	p := s.GetParameters()
	change(p.Encodings)
	return s.SetParameters(p)
}

// sendEncodings, and what setParameters makes of them (webrtc-pc section 5.2): audio has no resolution, video always has one.
func TestEncodingDefaults(t *testing.T) {
	inWorld(t, func(w *world) {
		pc, _ := w.pair(Configuration{})
		audio := w.add(pc, "audio", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "a", ScaleResolutionDownBy: new(-1.0)}, {RID: "b"}}}).Sender()
		w.wantEncodings(audio, "")
		w.check(w.setEncodings(audio, func(list []RTPEncodingParameters) { list[0].ScaleResolutionDownBy = new(0.5) }))
		w.wantEncodings(audio, "")
		video := w.add(pc, "video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{}}).Sender()
		w.wantEncodings(video, "/1")
		w.check(w.setEncodings(video, func(list []RTPEncodingParameters) { list[0].ScaleResolutionDownBy = new(1.5) }))
		w.wantEncodings(video, "/1.5")
		w.check(w.setEncodings(video, func(list []RTPEncodingParameters) { list[0].ScaleResolutionDownBy = nil }))
		w.wantEncodings(video, "/1")
		for _, rid := range []string{"foo-bar", "foo_bar", "!?", "\u00e9", strings.Repeat("a", 17)} {
			_, err := pc.AddTransceiver("video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: rid}}})
			w.wantError(TypeError, err)
		}
	})
}

// [[SendCodecs]] and [[ReceiveCodecs]] are what an answer has negotiated: nothing before, and then what the description of the one
// who receives has, in its order, with its payload types and parameters (webrtc-pc sections 5.2 and 5.3, getParameters).
func TestNegotiatedCodecs(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, VP8)
		w.addTrack(b, VP8)
		wantNone := func(pc *PeerConnection) {
			t.Helper()
			if n := len(pc.GetSenders()[0].GetParameters().Codecs) + len(pc.GetReceivers()[0].GetParameters().Codecs); n != 0 {
				t.Errorf("%d codecs before the answer", n)
			}
		}
		wantNone(a)
		w.check(a.SetLocalDescription(nil))
		wantNone(a)
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		_, err := b.CreateAnswer()
		w.check(err)
		wantNone(b)
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		for _, pc := range []*PeerConnection{a, b} {
			lines := strings.Split(pc.LocalDescription().SDP, "\r\n")
			m := strings.Fields(lines[slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "m=") })])[3:]
			var formats []string
			for _, c := range pc.GetReceivers()[0].GetParameters().Codecs {
				formats = append(formats, fmt.Sprint(c.PayloadType))
				if want := fmt.Sprintf("a=rtpmap:%d %s/%d", c.PayloadType, strings.TrimPrefix(c.MimeType, "video/"), c.ClockRate); !slices.Contains(lines, want) {
					t.Errorf("%q is not in the description", want)
				}
				if want := fmt.Sprintf("a=fmtp:%d %s", c.PayloadType, c.SDPFmtpLine); c.SDPFmtpLine != "" && !slices.Contains(lines, want) {
					t.Errorf("%q is not in the description", want)
				}
			}
			if !slices.Equal(formats, m) {
				t.Errorf("formats %v, in the description %v", formats, m)
			}
		}
	})
}

// What is sent has the payload types and parameters that the peer's description gives them, what we do not know left out.
func TestCodecsOfTheRemoteDescription(t *testing.T) {
	section := func(kind, formats string, lines ...string) string {
		return "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=" + kind + " 9 UDP/TLS/RTP/SAVPF " + formats + "\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:foobarba\r\n" +
			"a=ice-pwd:foobarbafoobarbafoobar\r\na=fingerprint:sha-256 " + strings.Repeat("00:", 31) + "00\r\na=mid:0\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=sendrecv\r\n" +
			strings.Join(lines, "\r\n") + "\r\n"
	}
	for _, c := range []struct{ kind, sdp, want string }{
		{"audio", section("audio", "121 111 0 101", "a=rtpmap:101 telephone-event/8000/1", "a=rtpmap:121 flarglblurp/8000/2", "a=rtpmap:111 opus/48000/2",
			"a=fmtp:111 maxaveragebitrate=20001;unknownparam=foo"),
			"111 audio/opus 48000 2 maxaveragebitrate=20001;unknownparam=foo, 0 audio/PCMU 8000 1 , 101 audio/telephone-event 8000 1 "},
		{"video", section("video", "116 117 120 124 119 123", "a=fmtp:117 apt=116", "a=fmtp:120 max-fs=12277;max-fr=50;unknownparam=foo", "a=fmtp:124 apt=120",
			"a=fmtp:119 max-fs=12266;max-fr=40", "a=fmtp:123 apt=119", "a=rtpmap:116 flarglblurp/90000", "a=rtpmap:117 rtx/90000", "a=rtpmap:120 VP9/90000",
			"a=rtpmap:124 rtx/90000", "a=rtpmap:119 VP8/90000", "a=rtpmap:123 rtx/90000"),
			"120 video/VP9 90000 0 max-fs=12277;max-fr=50;unknownparam=foo, 124 video/rtx 90000 0 apt=120, 119 video/VP8 90000 0 max-fs=12266;max-fr=40, 123 video/rtx 90000 0 apt=119"},
	} {
		inWorld(t, func(w *world) {
			check := func(what string, s *RTPSender) {
				t.Helper()
				var list []string
				for _, c := range s.GetParameters().Codecs {
					list = append(list, fmt.Sprintf("%d %s %d %d %s", c.PayloadType, c.MimeType, c.ClockRate, c.Channels, c.SDPFmtpLine))
				}
				if got := strings.Join(list, ", "); got != c.want {
					t.Errorf("%s: %s, want %s", what, got, c.want)
				}
			}
			a, b := w.pair(Configuration{})
			x := w.add(a, c.kind, nil)
			w.check(a.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(SessionDescription{SDPTypeAnswer, c.sdp + "a=setup:passive\r\n"}))
			check("the offerer", x.Sender())
			w.check(b.SetRemoteDescription(SessionDescription{SDPTypeOffer, c.sdp + "a=setup:actpass\r\n"}))
			w.check(b.SetLocalDescription(nil))
			check("the answerer", b.GetSenders()[0])
		})
	}
}

// The codec of an encoding: one of what can be sent, of what is preferred, or of what was negotiated, and forgotten once it is
// negotiated away (webrtc-pc section 5.2, setParameters; section 4.4.1.5, "set a session description").
func TestCodecOfAnEncoding(t *testing.T) {
	inWorld(t, func(w *world) {
		for kind, c := range map[string]struct{ codec, other RTPCodec }{"audio": {Opus, PCMU}, "video": {VP8, VP9}} {
			a, b := w.pair(Configuration{})
			scale := map[string]string{"audio": "", "video": "/1"}[kind]
			with := scale + " " + c.codec.MimeType
			capability := RTPSenderCapabilities(kind).Codecs[0]
			for _, bad := range []RTPCodec{{MimeType: kind + "/newCodec", ClockRate: 90000, Channels: 2}, {MimeType: "dummy/newCodec", ClockRate: 90000}, {MimeType: kind + "/rtx", ClockRate: 90000},
				{MimeType: "x/" + strings.TrimPrefix(c.codec.MimeType, kind+"/"), ClockRate: c.codec.ClockRate, Channels: c.codec.Channels}} {
				_, err := a.AddTransceiver(kind, &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{Codec: &bad}}})
				w.wantError(OperationError, err)
			}
			x := w.add(a, kind, &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{Codec: &capability}}})
			s := x.Sender()
			w.wantEncodings(s, with)
			w.check(w.setEncodings(s, func(list []RTPEncodingParameters) { list[0].Codec = nil }))
			w.wantEncodings(s, scale)
			set := func(codec RTPCodec) error {
				return w.setEncodings(s, func(list []RTPEncodingParameters) { list[0].Codec = &codec })
			}
			w.check(set(capability))
			w.wantError(InvalidModificationError, set(RTPCodec{MimeType: kind + "/newCodec", ClockRate: 90000}))
			// not among [[PreferredCodecs]]
			w.check(x.SetCodecPreferences([]RTPCodec{c.other}))
			w.wantError(InvalidModificationError, set(capability))
			w.check(x.SetCodecPreferences(nil))
			w.check(set(capability))
			w.exchange(a, b)
			w.wantEncodings(s, with)
			w.check(b.GetTransceivers()[0].SetCodecPreferences([]RTPCodec{c.other}))
			w.exchange(a, b)
			w.wantEncodings(s, scale)
			w.wantError(InvalidModificationError, set(capability))
		}
	})
}

// scalabilityMode (webrtc-svc section 4): one that a codec in question has; one that no negotiated codec has is forgotten.
func TestScalabilityMode(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{ScalabilityMode: "L3T3"}}})
		set := func(mode string, codec *RTPCodec) error {
			return w.setEncodings(x.Sender(), func(list []RTPEncodingParameters) { list[0].ScalabilityMode, list[0].Codec = mode, codec })
		}
		w.wantEncodings(x.Sender(), "/1 L3T3")
		w.check(set("L1T2", nil))
		w.wantEncodings(x.Sender(), "/1 L1T2")
		w.wantError(OperationError, set("L3T3", &VP8))
		w.wantError(OperationError, set("L3T3", &H264))
		for _, mode := range []string{"L1T1", "L1T2", "L1T3"} {
			for _, codec := range []RTPCodec{VP8, H264, H265, VP9, AV1} {
				w.check(set(mode, &codec))
			}
		}
		for _, mode := range strings.Fields("L2T1 L2T2 L2T3 L3T1 L3T2 L3T3 L2T1h L2T2h L2T3h L3T1h L3T2h L3T3h S2T1 S2T2 S2T3 S2T1h S2T2h S2T3h S3T1 S3T2 S3T3 S3T1h S3T2h S3T3h " +
			"L2T1_KEY L2T2_KEY L2T3_KEY L3T1_KEY L3T2_KEY L3T3_KEY L2T2_KEY_SHIFT L2T3_KEY_SHIFT L3T2_KEY_SHIFT L3T3_KEY_SHIFT") {
			w.check(set(mode, &VP9))
			w.check(set(mode, &AV1))
		}
		w.check(set("L3T3", nil))
		w.offers(a, b)
		w.check(b.GetTransceivers()[0].SetCodecPreferences([]RTPCodec{VP8}))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.wantEncodings(x.Sender(), "/1")
		w.wantError(OperationError, set("L3T3", nil))
		w.check(set("L1T3", nil))
	})
}

// The simulcast envelope (webrtc-pc section 5.4.1): an answer narrows it for good, a pause does not, and order is ours.
func TestSimulcastIsNarrowed(t *testing.T) {
	inWorld(t, func(w *world) {
		simulcast := &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "foo"}, {RID: "bar"}}}
		// answer has b accept these RIDs, in this order, of what a offers.
		answer := func(a, b *PeerConnection, rids ...string) {
			t.Helper()
			w.offers(a, b)
			w.check(b.SetLocalDescription(nil))
			d := *b.LocalDescription()
			var lines []string
			for l := range strings.Lines(d.SDP) {
				if !strings.HasPrefix(l, "a=simulcast:") && !strings.HasPrefix(l, "a=rid:") {
					lines = append(lines, l)
				}
			}
			for _, r := range rids {
				lines = append(lines, "a=rid:"+r+" recv\r\n")
			}
			if len(rids) > 0 {
				lines = append(lines, "a=simulcast:recv "+strings.Join(rids, ";")+"\r\n")
			}
			d.SDP = strings.Join(lines, "")
			w.check(a.SetRemoteDescription(d))
		}
		a, b := w.pair(Configuration{})
		s := w.add(a, "video", simulcast).Sender()
		w.wantEncodings(s, "foo/2, bar/1")
		answer(a, b, "bar", "foo")
		w.wantEncodings(s, "foo/2, bar/1")
		answer(a, b, "bar", "foo") // again
		w.wantEncodings(s, "foo/2, bar/1")
		for _, d := range []RTPTransceiverDirection{RTPTransceiverDirectionInactive, RTPTransceiverDirectionRecvOnly, RTPTransceiverDirectionSendRecv} {
			w.check(s.Transceiver().SetDirection(d))
			w.exchange(a, b)
			w.wantEncodings(s, "foo/2, bar/1")
		}
		for _, d := range []RTPTransceiverDirection{RTPTransceiverDirectionInactive, RTPTransceiverDirectionSendOnly, RTPTransceiverDirectionSendRecv} {
			w.check(b.GetTransceivers()[0].SetDirection(d))
			w.exchange(a, b)
			w.wantEncodings(s, "foo/2, bar/1")
		}
		answer(a, b, "bar")
		w.wantEncodings(s, "bar/1")

		// "if simulcast is not negotiated ... remove all but the first", with what setParameters has made of it
		a, b = w.pair(Configuration{})
		s = w.add(a, "video", simulcast).Sender()
		w.check(w.setEncodings(s, func(list []RTPEncodingParameters) {
			list[0].ScaleResolutionDownBy, list[1].ScaleResolutionDownBy = new(2.3), new(3.3)
		}))
		answer(a, b)
		w.wantEncodings(s, "foo/2.3")

		// RIDs that were never offered are nobody's.
		a, b = w.pair(Configuration{})
		s = w.add(a, "video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "0"}, {RID: "1"}, {RID: "2"}}}).Sender()
		answer(a, b, "foo", "1", "2")
		w.wantEncodings(s, "1/2, 2/1")
		answer(a, b, "foo", "bar", "2")
		w.wantEncodings(s, "2/1")
	})
}

// An offer to receive simulcast ("proposedSendEncodings"): it makes the encodings of a sender that has one, for video alone, each
// RID once and the first of alternatives, and a rollback makes them what they were.
func TestSimulcastIsProposed(t *testing.T) {
	inWorld(t, func(w *world) {
		offer := func(kind RTPCodec, send string) SessionDescription {
			c, _ := w.pair(Configuration{})
			w.addTrack(c, kind)
			w.check(c.SetLocalDescription(nil))
			d := *c.LocalDescription()
			for r := range strings.FieldsFuncSeq(send, func(r rune) bool { return strings.ContainsRune(";,~", r) }) {
				if line := "a=rid:" + r + " recv\r\n"; !strings.Contains(d.SDP, line) {
					d.SDP += line
				}
			}
			d.SDP += "a=simulcast:recv " + send + "\r\n"
			return d
		}
		_, b := w.pair(Configuration{})
		s := w.addTrack(b, VP8)
		w.check(w.setEncodings(s, func(list []RTPEncodingParameters) { list[0].ScaleResolutionDownBy = new(3.0) }))
		d := offer(VP8, "foo;~bar;foo")
		w.check(b.SetRemoteDescription(d))
		w.wantEncodings(s, "foo/2, bar/1")
		if len(b.GetTransceivers()) != 1 {
			t.Errorf("transceivers %q", listed(b))
		}
		w.check(w.setEncodings(s, func(list []RTPEncodingParameters) { list[0].ScaleResolutionDownBy = new(5.0) }))
		w.check(b.SetRemoteDescription(rollback()))
		w.wantEncodings(s, "/3")
		w.check(b.SetRemoteDescription(d))
		w.check(b.SetLocalDescription(nil))
		if sdp := b.LocalDescription().SDP; !strings.Contains(sdp, "a=simulcast:send foo;bar\r\n") {
			t.Error("the answer has other RIDs")
		}
		w.wantEncodings(s, "foo/2, bar/1")
		// "~" is the peer's to pause and is not active's affair.
		if e := s.GetParameters().Encodings[1]; !*e.Active {
			t.Error("paused by the peer's description, and not active")
		}
		// Nor does active show in our descriptions.
		w.check(w.setEncodings(s, func(list []RTPEncodingParameters) { list[0].Active, list[1].Active = new(false), new(false) }))
		again, err := b.CreateOffer(nil)
		w.check(err)
		if !strings.Contains(again.SDP, "a=simulcast:send foo;bar\r\n") {
			t.Error("an inactive encoding is not offered")
		}

		_, b = w.pair(Configuration{})
		s = w.addTrack(b, VP8)
		w.check(b.SetRemoteDescription(offer(VP8, "foo,bar;1,2")))
		w.check(b.SetLocalDescription(nil))
		w.wantEncodings(s, "foo/2, 1/1")
		if sdp := b.LocalDescription().SDP; !strings.Contains(sdp, "a=simulcast:send foo;1\r\n") {
			t.Error("the answer has alternatives")
		}

		_, b = w.pair(Configuration{})
		s = w.addTrack(b, Opus)
		w.check(b.SetRemoteDescription(offer(Opus, "foo;bar")))
		w.check(b.SetLocalDescription(nil))
		w.wantEncodings(s, "")

		// A sender that the offer has made, and addTrack keeps.
		_, b = w.pair(Configuration{})
		w.check(b.SetRemoteDescription(d))
		s = w.addTrack(b, VP8)
		w.wantEncodings(s, "foo/2, bar/1")
		w.check(b.SetRemoteDescription(rollback()))
		w.wantEncodings(s, "/1")
	})
}
