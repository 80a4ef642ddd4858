package jsep

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// captive reads a captured description.
func captive(t testing.TB, name string) string {
	t.Helper()
	return read(t, filepath.Join("..", "sdp", "testdata", "browsers", name))
}

func add(t testing.TB, s *Session, kind string, init TransceiverInit) *Transceiver {
	t.Helper()
	x, err := s.AddTransceiver(kind, init)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The answers that browsers gave to each other's offers fit ours of the same sections: audio and data, then video besides,
// then a restart of ICE, then the video stopped.
func TestBrowsersAnswersAreApplied(t *testing.T) {
	for _, pair := range []string{"chromium-chromium", "chromium-firefox", "firefox-chromium", "firefox-firefox"} {
		t.Run(pair, func(t *testing.T) {
			ok := must(t)
			s := session(t, 1)
			add(t, s, "audio", TransceiverInit{})
			s.AddData()
			answer := func(step string) Changes {
				t.Helper()
				ok(s.SetLocal(Description{}))
				c := ok(s.SetRemote(Description{Answer, captive(t, pair+"-"+step+"-answer.sdp")}))
				if s.SignalingState() != Stable || len(c.Transports) != 1 {
					t.Fatalf("%s: %s, %d transports", step, s.SignalingState(), len(c.Transports))
				}
				if s.NegotiationNeeded() {
					t.Errorf("%s: an offer is needed", step)
				}
				return c
			}
			first := answer("reneg1-audio-data")
			x := first.Transports[0]
			if x.Remote.Ufrag == "" || len(x.RemoteFingerprints) != 1 || x.Role != RoleServer || x.Association != 1 || !slices.Equal(x.MIDs, []string{"0", "1"}) {
				t.Errorf("%+v", x)
			}
			size := map[bool]uint64{true: 1073741823, false: 262144}[strings.HasSuffix(pair, "firefox")]
			if d := first.Data; d == nil || d.MID != "1" || d.RemotePort != 5000 || d.MaxMessageSize != size {
				t.Errorf("data: %+v", d)
			}
			if a := s.Transceivers()[0]; a.CurrentDirection() != sdp.SendOnly || a.SendCodecs()[0].Name != "opus" {
				t.Errorf("audio is %s with %+v", a.CurrentDirection(), a.SendCodecs())
			}

			video := add(t, s, "video", TransceiverInit{})
			second := answer("reneg2-addvideo")
			y := second.Transports[0]
			if y.ID != x.ID || y.Remote != x.Remote || y.Association != 1 || len(second.ClosedIDs) != 0 || video.MID() != "2" {
				t.Errorf("%+v, closed %v; video is %q", y, second.ClosedIDs, video.MID())
			}

			s.RestartICE()
			third := answer("reneg3-icerestart")
			z := third.Transports[0]
			if z.ID != x.ID || z.Remote == y.Remote || z.Local == y.Local || z.Association != 1 {
				t.Errorf("%+v after %+v", z, y)
			}

			if err := video.Stop(); err != nil {
				t.Fatal(err)
			}
			fourth := answer("reneg4-stopvideo")
			if len(fourth.Stopped) != 1 || fourth.Stopped[0] != video || !video.Stopped() || len(s.Transceivers()) != 1 {
				t.Errorf("stopped: %v", fourth.Stopped)
			}
			if w := fourth.Transports[0]; w.Remote != z.Remote || !slices.Equal(w.MIDs, []string{"0", "1"}) {
				t.Errorf("%+v", w)
			}
		})
	}
}

// The same from the other side: what a browser offered one after the other, to one session.
func TestBrowsersOffersInTurn(t *testing.T) {
	for _, pair := range []string{"chromium-chromium", "chromium-firefox", "firefox-chromium", "firefox-firefox"} {
		t.Run(pair, func(t *testing.T) {
			ok := must(t)
			s := session(t, 1)
			var last Transport
			for i, step := range []string{"reneg1-audio-data", "reneg2-addvideo", "reneg3-icerestart", "reneg4-stopvideo"} {
				ok(s.SetRemote(Description{Offer, captive(t, pair+"-"+step+"-offer.sdp")}))
				c := ok(s.SetLocal(Description{}))
				if len(c.Transports) != 1 || c.Data == nil {
					t.Fatalf("%s: %d transports, data %v", step, len(c.Transports), c.Data)
				}
				x := c.Transports[0]
				restarted := x.Remote != last.Remote
				if want := i == 0 || i == 2; restarted != want || x.Local == last.Local == want {
					t.Errorf("%s: restarted %v, want %v", step, restarted, want)
				}
				if i > 0 && (x.ID != last.ID || x.Association != 1 || x.Role != last.Role) {
					t.Errorf("%s: %+v after %+v", step, x, last)
				}
				if want := []int{1, 2, 2, 1}[i]; len(s.Transceivers()) != want {
					t.Errorf("%s: %d transceivers, want %d", step, len(s.Transceivers()), want)
				}
				last = x
			}
		})
	}
}

// A browser that is offered three encodings takes the first: neither has answered an offer of simulcast with more.
func TestBrowsersRefuseSimulcast(t *testing.T) {
	for _, name := range []string{"chromium-chromium", "chromium-firefox", "firefox-chromium", "firefox-firefox"} {
		s := session(t, 1)
		video := add(t, s, "video", TransceiverInit{RIDs: []string{"q", "h", "f"}, Streams: []string{"s"}})
		offer := must(t)(s.SetLocal(Description{}))
		if text := s.PendingLocal().SDP; !strings.Contains(text, "a=simulcast:send q;h;f\r\n") || !strings.Contains(text, "a=rid:h send\r\n") {
			t.Fatalf("no simulcast in %s after %+v", text, offer)
		}
		must(t)(s.SetRemote(Description{Answer, captive(t, name+"-simulcast-answer.sdp")}))
		if !slices.Equal(video.RIDs(), []string{"q"}) {
			t.Errorf("%s: sends %v", name, video.RIDs())
		}
	}
}

// A bundled section that we offered without a transport of its own is answered by Chromium 156 with the credentials of the
// tagged section, but without its fingerprint.
func TestChromiumAnswersBundledSections(t *testing.T) {
	ok := must(t)
	a, b := session(t, 1), session(t, 2)
	a.AddData()
	add(t, a, "video", TransceiverInit{})
	ok(a.SetLocal(Description{}))
	ok(b.SetRemote(a.PendingLocal()))
	ok(b.SetLocal(Description{}))
	answer := edit(t, b.CurrentLocal(), func(d *sdp.Description) {
		for _, name := range []string{"ice-ufrag", "ice-pwd"} {
			v, _ := d.Media[0].Attr(name)
			d.Media[1].Set(name, v)
		}
		d.Media[1].Remove("fingerprint")
		d.Media[1].Remove("setup")
	})
	c := ok(a.SetRemote(answer))
	if len(c.Transports) != 1 || !slices.Equal(c.Transports[0].RemoteFingerprints, []sdp.Fingerprint{fingerprint(2)}) {
		t.Errorf("the transports are %+v", c.Transports)
	}
}
