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
		"aiortc-offer-data":                  {1, 2, "0", false, false, true, 65536},
		"aiortc-offer-av-data":               {1, 2, "0 1 2", false, false, true, 65536},
		"gstreamer-offer-data":               {1, 9, "application0", true, false, true, 65536},
		"gstreamer-offer-av-data-max-bundle": {1, 9, "video0 audio1 application2", true, false, true, 65536},
		"gstreamer-offer-av-data-none":       {3, 27, "video0 audio1 application2", true, false, true, 65536},
		"gstreamer-offer-recvonly-h264":      {1, 9, "video0", true, false, false, 0},
		"janus-offer-data":                   {1, 2, "0", true, false, true, 65536},
		"janus-offer-av-data":                {1, 2, "a v d", true, false, true, 65536},
		"libdatachannel-offer-data":          {1, 2, "0", true, false, true, 262144},
		"mediasoup-offer-data-video-h264":    {1, 1, "datachannel 0 probator 1", false, true, true, 262144},
		"mediasoup-offer-video-vp8":          {1, 2, "0", false, true, false, 0},
		"obs-30.1-offer-whip":                {1, 0, "0 1", true, false, false, 0},
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
