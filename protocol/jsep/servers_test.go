package jsep

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// What servers and libraries offer is answered as it is meant: how many transports, which sections, with what of ICE.
func TestServersOffers(t *testing.T) {
	for name, c := range map[string]struct {
		transports, candidates int // of the tagged sections
		mids                   string
		trickle, lite, data    bool
		size                   uint64
	}{
		"aiortc-offer-data":                    {1, 2, "0", false, false, true, 65536},
		"aiortc-offer-av-data":                 {1, 2, "0 1 2", false, false, true, 65536},
		"gstreamer-offer-data":                 {1, 9, "application0", true, false, true, 65536},
		"gstreamer-offer-av-data-max-bundle":   {1, 9, "video0 audio1 application2", true, false, true, 65536},
		"gstreamer-offer-av-data-none":         {3, 27, "video0 audio1 application2", true, false, true, 65536},
		"gstreamer-offer-recvonly-h264":        {1, 9, "video0", true, false, false, 0},
		"janus-offer-data":                     {1, 2, "0", true, false, true, 65536},
		"janus-offer-av-data":                  {1, 2, "a v d", true, false, true, 65536},
		"libdatachannel-offer-data":            {1, 2, "0", true, false, true, 262144},
		"mediasoup-offer-data-video-h264":      {1, 1, "datachannel 0 probator 1", false, true, true, 262144},
		"mediasoup-offer-video-vp8":            {1, 2, "0", false, true, false, 0},
		"obs-30.1-offer-whip":                  {1, 0, "0 1", true, false, false, 0},
		"mediasoup-offer-av":                   {1, 2, "0 1", false, true, false, 0},
		"stream-sfu-offer-video":               {1, 0, "0", false, true, false, 0},
		"livekit-android-offer-data-simulcast": {1, 6, "0 1", true, false, true, 262144},
		"libpeer-offer-av-data":                {1, 1, "video audio datachannel", false, false, true, 262144},
		"jitsi-offer-av-data-sim":              {1, 1, "audio video data", false, false, true, 262144},
	} {
		t.Run(name, func(t *testing.T) {
			offer := read(t, filepath.Join("..", "sdp", "testdata", "servers", name+".sdp"))
			s := session(t, 5)
			must(t)(s.SetRemote(Description{Offer, offer}))
			applied := must(t)(s.SetLocal(Description{}))
			if trickle := s.CanTrickle(); trickle == nil || *trickle != c.trickle {
				t.Errorf("CanTrickle is %v", trickle)
			}
			var mids []string
			for _, x := range applied.Transports {
				mids = append(mids, x.MIDs...)
				if x.RemoteLite != c.lite || x.Controlling != c.lite || len(x.RemoteFingerprints) != 1 || x.Remote.Ufrag == "" {
					t.Errorf("transport %+v", x)
				}
			}
			slices.Sort(mids)
			want := strings.Fields(c.mids)
			slices.Sort(want)
			if len(applied.Transports) != c.transports || !slices.Equal(mids, want) {
				t.Errorf("%d transports carry %q, want %d and %q", len(applied.Transports), mids, c.transports, want)
			}
			n := 0
			for _, x := range s.RemoteCandidates() {
				if !x.End {
					n++
				}
			}
			if n != c.candidates {
				t.Errorf("%d candidates, want %d", n, c.candidates)
			}
			if d := applied.Data; (d != nil) != c.data || d != nil && (d.RemotePort != 5000 || d.MaxMessageSize != c.size) {
				t.Errorf("data: %+v", d)
			}
			answer, err := sdp.Parse(s.CurrentLocal().SDP)
			if err != nil {
				t.Fatal(err)
			}
			offered, err := sdp.Parse(offer)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range answer.Media {
				if offered.Media[i].Has("ice-ufrag") && !(m.Has("ice-ufrag") && m.Has("ice-pwd") && m.Has("setup") && m.Has("fingerprint")) {
					t.Errorf("section %d lacks what is of the transport, which the offer has in each section", i)
				}
				if m.Port == 0 && !m.Has("bundle-only") {
					t.Errorf("section %d is rejected:\n%s", i, s.CurrentLocal().SDP)
				}
				// what we can of the offered feedback, however it is written
				for v := range offered.Media[i].Attrs("rtcp-fb") {
					f := strings.Fields(v)
					kind := strings.Join(f[1:], " ")
					known := slices.ContainsFunc(s.codecs(m.Kind), func(c Codec) bool { return c.Has(kind) })
					if known && slices.Contains(m.Formats, f[0]) && !slices.Contains(values(m, "rtcp-fb"), f[0]+" "+kind) && m.Kind == "video" {
						t.Errorf("section %d: the answer lacks %q", i, v)
					}
				}
			}
		})
	}
}

// What they answered to an offer of a data channel is applied.
func TestServersAnswers(t *testing.T) {
	for name, size := range map[string]uint64{"aiortc": 65536, "gstreamer": 65536, "janus": 65536} {
		s := session(t, 1)
		s.AddData()
		must(t)(s.SetLocal(Description{}))
		c := must(t)(s.SetRemote(Description{Answer, read(t, filepath.Join("..", "sdp", "testdata", "servers", name+"-answers-parley-data.sdp"))}))
		if s.SignalingState() != Stable || len(c.Transports) != 1 || c.Transports[0].Role != RoleServer || len(s.RemoteCandidates()) == 0 {
			t.Errorf("%s: %s, %+v", name, s.SignalingState(), c.Transports)
		}
		if d := c.Data; d == nil || d.RemotePort != 5000 || d.MaxMessageSize != size {
			t.Errorf("%s: data %+v", name, d)
		}
		if s.NegotiationNeeded() {
			t.Errorf("%s: another offer is needed", name)
		}
	}
}

// What servers have answered to audio and video is applied to an offer of ours.
func TestServersAnswersOfMedia(t *testing.T) {
	for name, c := range map[string]struct {
		audio, video string // sent with
		candidates   int
		lite         bool
		role         Role
	}{
		"cloudflare":      {"opus", "H264", 2, true, RoleClient},
		"srs-5.0":         {"opus", "H264", 2, true, RoleClient},
		"kurento":         {"opus", "VP8", 0, false, RoleServer}, // RFC 4145 section 4: without a=setup it is active
		"janus-videoroom": {"opus", "VP8", 4, false, RoleServer},
	} {
		t.Run(name, func(t *testing.T) {
			s := session(t, 1)
			audio, video := add(t, s, "audio", TransceiverInit{Streams: []string{"s"}}), add(t, s, "video", TransceiverInit{Streams: []string{"s"}})
			must(t)(s.SetLocal(Description{}))
			applied := must(t)(s.SetRemote(Description{Answer, read(t, filepath.Join("..", "sdp", "testdata", "servers", name+"-answers-av.sdp"))}))
			if x := applied.Transports; len(x) != 1 || x[0].RemoteLite != c.lite || x[0].Role != c.role || len(x[0].RemoteFingerprints) != 1 || len(x[0].MIDs) != 2 {
				t.Errorf("the transports are %+v", x)
			}
			if a, v := audio.SendCodecs(), video.SendCodecs(); len(a) == 0 || a[0].Name != c.audio || len(v) == 0 || v[0].Name != c.video || !v[0].Has("nack") || !v[0].Has("nack pli") {
				t.Errorf("audio is sent with %+v, video with %+v", a, v)
			}
			if n := len(slices.DeleteFunc(s.RemoteCandidates(), func(x Target) bool { return x.End })); n != c.candidates {
				t.Errorf("%d candidates", n)
			}
			if s.NegotiationNeeded() {
				t.Error("another offer is needed")
			}
			if _, err := s.CreateOffer(OfferOptions{ICERestart: true}); err != nil {
				t.Error(err)
			}
		})
	}
}
