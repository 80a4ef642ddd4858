package webrtc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// [[SenderTransport]] and [[ReceiverTransport]] (webrtc-pc section 4.4.1.5): none before our offer is set, for who answers none before
// the answer, as many as the policy says before the answer bundles, and then one, that of data too.
func TestTransportsOfMedia(t *testing.T) {
	for _, policy := range []BundlePolicy{BundlePolicyBalanced, BundlePolicyMaxBundle, BundlePolicyMaxCompat} {
		for _, data := range []bool{false, true} {
			inWorld(t, func(w *world) {
				a, b := w.connection(w.a, Configuration{BundlePolicy: policy}), w.connection(w.b, Configuration{})
				one, two := w.addTrack(a, Opus), w.addTrack(a, VP8)
				if data {
					_, err := a.CreateDataChannel("data", nil)
					w.check(err)
				}
				what := fmt.Sprintf("%s, data %v", policy, data)
				offer, err := a.CreateOffer(nil)
				w.check(err)
				if one.Transport() != nil || two.Transport() != nil {
					t.Errorf("%s: a transport by createOffer", what)
				}
				w.check(a.SetLocalDescription(&offer))
				if x, y := one.Transport(), two.Transport(); x == nil || y == nil || x.ICETransport() == nil || (x == y) != (policy == BundlePolicyMaxBundle) ||
					x != one.Transceiver().Receiver().Transport() {
					t.Errorf("%s: after the offer %p and %p", what, x, y)
				}
				w.check(b.SetRemoteDescription(offer))
				theirs := b.GetReceivers()
				if theirs[0].Transport() != nil || theirs[1].Transport() != nil {
					t.Errorf("%s: who answers has a transport before the answer", what)
				}
				w.check(b.SetLocalDescription(nil))
				w.check(a.SetRemoteDescription(*b.LocalDescription()))
				if x := theirs[0].Transport(); x == nil || x != theirs[1].Transport() || data && x != b.SCTP().Transport() {
					t.Errorf("%s: who answers has %p", what, x)
				}
				if x := one.Transport(); x == nil || x != two.Transport() || x != two.Transceiver().Receiver().Transport() || data && x != a.SCTP().Transport() {
					t.Errorf("%s: who offers has %p", what, x)
				}
			})
		}
	}
}

// A codec in the answer that the offer did not have is sent, if we know it: "but MAY include formats that are locally supported but not
// present in the offer" (RFC 8829 section 5.3.1).
func TestAdditionalCodec(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		track := w.sampleTrack(H264)
		x, err := a.AddTransceiverTrack(track, nil)
		w.check(err)
		w.check(x.SetCodecPreferences([]RTPCodec{VP8}))
		w.check(a.SetLocalDescription(nil))
		d := *a.LocalDescription()
		d.SDP = strings.ReplaceAll(d.SDP, "VP8", "no-such-codec") + "a=rtpmap:63 H264/90000\r\na=fmtp:63 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
		d.SDP = strings.Replace(d.SDP, "UDP/TLS/RTP/SAVPF 96", "UDP/TLS/RTP/SAVPF 96 63", 1)
		w.check(b.SetRemoteDescription(d))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.trickle(a, b)
		if c := x.Sender().GetParameters().Codecs; len(c) != 1 || c[0].MimeType != "video/H264" || c[0].PayloadType != 63 {
			t.Errorf("codecs %+v", c)
		}
		w.play(track, 33*time.Millisecond, func(i int) Sample {
			return Sample{Data: []byte{0, 0, 0, 1, 0x65, 1, 2, 3, byte(i)}, Duration: 33 * time.Millisecond}
		})
		var p rtp.Packet
		w.check(b.GetReceivers()[0].Track().ReadRTP(w.ctx(), &p))
		if p.PayloadType != 63 {
			t.Errorf("the payload type %d", p.PayloadType)
		}
	})
}

// What of a codec's parameters each direction has of its own does not matter to who chooses it.
func TestChosenCodecsLevel(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "video", &RTPTransceiverInit{Direction: RTPTransceiverDirectionSendOnly})
		w.check(x.SetCodecPreferences([]RTPCodec{H265}))
		w.offers(a, b)
		w.check(b.SetLocalDescription(nil))
		d := *b.LocalDescription()
		d.SDP = strings.ReplaceAll(d.SDP, "level-id=93", "level-id=30")
		w.check(a.SetRemoteDescription(d))
		p := x.Sender().GetParameters()
		if len(p.Codecs) != 1 || !strings.Contains(p.Codecs[0].SDPFmtpLine, "level-id=30") {
			t.Fatalf("codecs %+v", p.Codecs)
		}
		for _, c := range []RTPCodec{p.Codecs[0].RTPCodec, H265} {
			w.check(w.setEncodings(x.Sender(), func(list []RTPEncodingParameters) { list[0].Codec = &c }))
			if got := x.Sender().GetParameters().Encodings[0].Codec; *got != c {
				t.Errorf("chosen %+v", got)
			}
		}
		c := AV1
		c.SDPFmtpLine = strings.Replace(c.SDPFmtpLine, "profile=0", "profile=1", 1)
		y := w.add(a, "video", nil)
		w.check(y.SetCodecPreferences([]RTPCodec{AV1}))
		w.exchange(a, b)
		w.check(w.setEncodings(y.Sender(), func(list []RTPEncodingParameters) { list[0].Codec = &c }))
		w.exchange(a, b)
		if got := y.Sender().GetParameters().Encodings[0].Codec; got == nil || *got != c {
			t.Errorf("chosen %+v", got)
		}
		c = VP9
		c.SDPFmtpLine = "profile-id=2"
		w.wantError(InvalidModificationError, w.setEncodings(y.Sender(), func(list []RTPEncodingParameters) { list[0].Codec = &c }))
	})
}

// What remote descriptions of media may say, and what an error is.
func TestRemoteSections(t *testing.T) {
	header := "v=0\r\no=- 0 3 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:ETEn\r\na=ice-pwd:OtSK0WpNtpUjkY4+86js7Z/l\r\na=fingerprint:sha-256 " + strings.Repeat("00:", 31) + "00\r\n"
	section := func(kind, mid string, lines ...string) string {
		pt := "111"
		if kind == "video" {
			pt = "100"
		}
		s := "m=" + kind + " 9 UDP/TLS/RTP/SAVPF " + pt + "\r\nc=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na=mid:" + mid + "\r\na=setup:actpass\r\n"
		if kind == "video" {
			s += "a=rtpmap:100 VP8/90000\r\n"
		} else {
			s += "a=rtpmap:111 opus/48000/2\r\n"
		}
		return s + strings.Join(append(lines, ""), "\r\n")
	}
	inWorld(t, func(w *world) {
		answer := func(offer string) (*PeerConnection, string, error) {
			pc, _ := w.pair(Configuration{})
			if err := pc.SetRemoteDescription(SessionDescription{SDPTypeOffer, offer}); err != nil {
				return pc, "", err
			}
			w.check(pc.SetLocalDescription(nil))
			return pc, pc.LocalDescription().SDP, nil
		}
		// RFC 5761 section 4: of payload types 64 to 95 RTCP could not be told apart
		for _, pt := range []int{35, 63, 64, 72, 95, 96, 127} {
			_, sdp, err := answer(header + strings.ReplaceAll(section("audio", "a", "a=sendonly"), "111", fmt.Sprint(pt)))
			if pt >= 64 && pt <= 95 {
				w.wantError(InvalidAccessError, err)
			} else if w.check(err); !strings.Contains(sdp, fmt.Sprintf("a=rtpmap:%d opus/48000/2", pt)) {
				t.Errorf("the payload type %d is not answered", pt)
			}
		}
		// RFC 8285 section 4.3: ids of two-byte headers, whose use the offer need not mix with others
		for _, ids := range [][]int{{1, 2}, {16, 17}, {255, 200}} {
			_, sdp, err := answer(header + section("audio", "a", "a=sendonly", fmt.Sprintf("a=extmap:%d %s", ids[0], rtp.URIMID), fmt.Sprintf("a=extmap:%d %s", ids[1], rtp.URIAudioLevel), "a=extmap:3 bogus"))
			w.check(err)
			if strings.Count(sdp, "a=extmap:") != 2 || !strings.Contains(sdp, fmt.Sprintf("a=extmap:%d %s\r\n", ids[0], rtp.URIMID)) {
				t.Errorf("ids %v: %s", ids, sdp)
			}
		}
		// RFC 8829 section 5.10: a section that the peer sends in does not take what wants to send
		pc, _ := w.pair(Configuration{})
		s := w.addTrack(pc, Opus)
		w.check(pc.SetRemoteDescription(SessionDescription{SDPTypeOffer, header + section("audio", "1", "a=sendonly") + section("audio", "2", "a=recvonly")}))
		if mid := s.Transceiver().MID(); mid != "2" {
			t.Errorf("the transceiver has taken section %q", mid)
		}
		// One payload type in two sections that are not bundled, each with a transport of its own.
		pc, _, err := answer(header + section("video", "v") + strings.ReplaceAll(section("audio", "a"), "111", "100"))
		w.check(err)
		if list := pc.GetReceivers(); len(list) != 2 || list[0].Transport() == nil || list[0].Transport() == list[1].Transport() {
			t.Error("two sections have one transport")
		}
		// A kind that there is not is rejected (RFC 8829 section 5.3.1).
		_, sdp, err := answer(header + strings.Replace(section("audio", "a"), "m=audio", "m=unicorns", 1))
		w.check(err)
		if !strings.Contains(sdp, "m=unicorns 0 ") {
			t.Errorf("%s", sdp)
		}
		// RFC 8829 section 5.2.2: "MUST include all currently available formats", after a negotiation of one too
		pc, _, err = answer(header + section("video", "v", "a=sendrecv"))
		w.check(err)
		offer, err := pc.CreateOffer(nil)
		w.check(err)
		if !strings.Contains(offer.SDP, " VP8/90000") || !strings.Contains(offer.SDP, " H264/90000") {
			t.Errorf("%s", offer.SDP)
		}
		// A section that was rejected from the beginning has no transceiver, and its place is used again.
		pc, _, err = answer(header + strings.Replace(section("video", "v", "a=sendonly"), " 9 ", " 0 ", 1))
		w.check(err)
		if len(pc.GetTransceivers()) != 0 {
			t.Error("there is a transceiver")
		}
		w.add(pc, "audio", nil)
		offer, err = pc.CreateOffer(nil)
		w.check(err)
		if strings.Count(offer.SDP, "\nm=") != 1 {
			t.Errorf("%s", offer.SDP)
		}
	})
}

// An answer that sends where nothing was asked for, or receives where nothing is sent, or that gives a header extension another id, is
// an InvalidAccessError (RFC 3264 section 6.1, RFC 8285 section 6).
func TestAnswersThatDoNotFit(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, c := range []struct {
			direction RTPTransceiverDirection
			from, to  string
		}{{RTPTransceiverDirectionRecvOnly, "a=inactive", "a=recvonly"}, {RTPTransceiverDirectionSendOnly, "a=recvonly", "a=sendrecv"}} {
			a, b := w.pair(Configuration{})
			w.add(a, "audio", &RTPTransceiverInit{Direction: c.direction})
			w.offers(a, b)
			w.check(b.SetLocalDescription(nil))
			d := *b.LocalDescription()
			if d.SDP = strings.Replace(d.SDP, c.from, c.to, 1); !strings.Contains(d.SDP, c.to) {
				t.Fatalf("%s", d.SDP)
			}
			w.wantError(InvalidAccessError, a.SetRemoteDescription(d))
		}
		a, b := w.pair(Configuration{})
		w.add(a, "audio", nil)
		w.exchange(a, b)
		w.offers(a, b)
		answer, err := b.CreateAnswer()
		w.check(err)
		answer.SDP = strings.NewReplacer(rtp.URIAudioLevel, rtp.URIMID, rtp.URIMID, rtp.URIAudioLevel).Replace(answer.SDP)
		w.wantError(InvalidAccessError, a.SetRemoteDescription(answer))
	})
}

// msid of our descriptions (RFC 8830 section 2): each stream once, "-" without.
func TestMsid(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := NewMediaStream("one"), NewMediaStream("two")
		for _, c := range []struct {
			do   func(pc *PeerConnection)
			want []string
		}{
			{func(pc *PeerConnection) { _, _ = pc.CreateDataChannel("x", nil) }, nil},
			{func(pc *PeerConnection) { w.addTrack(pc, Opus) }, []string{"-"}},
			{func(pc *PeerConnection) { w.addTrack(pc, Opus, one) }, []string{"one"}},
			{func(pc *PeerConnection) { w.addTrack(pc, Opus, one, two) }, []string{"one", "two"}},
			{func(pc *PeerConnection) { w.addTrack(pc, Opus, one, one) }, []string{"one"}},
			{func(pc *PeerConnection) { w.add(pc, "audio", nil) }, []string{"-"}},
			{func(pc *PeerConnection) {
				w.add(pc, "audio", &RTPTransceiverInit{Streams: []*MediaStream{one, two, one}})
			}, []string{"one", "two"}},
			{func(pc *PeerConnection) { w.check(w.add(pc, "audio", nil).Sender().SetStreams(two, two)) }, []string{"two"}},
		} {
			pc, _ := w.pair(Configuration{})
			c.do(pc)
			offer, err := pc.CreateOffer(nil)
			w.check(err)
			var got []string
			for l := range strings.Lines(offer.SDP) {
				if v, ok := strings.CutPrefix(strings.TrimSpace(l), "a=msid:"); ok {
					id, _, _ := strings.Cut(v, " ")
					got = append(got, id)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("msid %q, want %q", got, c.want)
			}
		}
	})
}

// Media flow to a second transceiver that a later offer brings, whether the first one is used or not.
func TestSecondTransceiver(t *testing.T) {
	for _, first := range []RTPTransceiverDirection{RTPTransceiverDirectionSendOnly, RTPTransceiverDirectionInactive} {
		inWorld(t, func(w *world) {
			a, b := w.pair(Configuration{})
			recvonly := &RTPTransceiverInit{Direction: RTPTransceiverDirectionRecvOnly}
			w.add(a, "audio", recvonly)
			w.offers(a, b)
			w.check(b.GetTransceivers()[0].SetDirection(first))
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			w.trickle(a, b)
			x := w.add(a, "audio", recvonly)
			w.offers(a, b)
			track := w.sampleTrack(Opus)
			y := b.GetTransceivers()[1]
			w.check(y.SetDirection(RTPTransceiverDirectionSendOnly))
			w.check(y.Sender().ReplaceTrack(track))
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			w.playAudio(track)
			var p rtp.Packet
			for range 10 {
				w.check(x.Receiver().Track().ReadRTP(w.ctx(), &p))
			}
		})
	}
}
