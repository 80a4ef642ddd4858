package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// A partner is a Go program, here in the test, that goes into a room and meets one page there.
type partner struct {
	t      *testing.T
	pc     *webrtc.PeerConnection
	tracks chan *webrtc.RemoteTrack
	stop   chan struct{} // closed when the test ends
}

// partner joins a room; prepare is called with the connection before anything is negotiated.
func (s *server) partner(t *testing.T, room string, prepare func(*partner)) {
	t.Helper()
	r, err := signaling.Dial(context.Background(), s.url+"/r/"+room, signaling.Options{Name: "partner"})
	if err != nil {
		t.Fatal(err)
	}
	p := &partner{t: t, tracks: make(chan *webrtc.RemoteTrack, 64), stop: make(chan struct{})}
	if p.pc, err = webrtc.NewPeerConnection(r.Configuration()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			p.autopsy()
		}
		close(p.stop)
		p.pc.Close()
		r.Close()
	})
	p.pc.OnTrack(func(track *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) { p.tracks <- track })
	id := uint16(0)
	if _, err := p.pc.CreateDataChannel("parley", &webrtc.DataChannelInit{Negotiated: true, ID: &id}); err != nil {
		t.Fatal(err)
	}
	prepare(p)
	go signaling.Meet(context.Background(), r, func(ctx context.Context, page signaling.Peer) (*webrtc.PeerConnection, error) {
		context.AfterFunc(ctx, func() {
			select {
			case <-p.stop:
			default:
				t.Errorf("it is over with %s: %v", page.Name, context.Cause(ctx))
			}
		})
		return p.pc, nil
	})
}

// autopsy says what there is to know after a failure.
func (p *partner) autopsy() {
	p.t.Logf("the partner is %s, ICE %s, signaling %s", p.pc.ConnectionState(), p.pc.ICEConnectionState(), p.pc.SignalingState())
	for _, d := range []*webrtc.SessionDescription{p.pc.LocalDescription(), p.pc.RemoteDescription()} {
		if d != nil {
			p.t.Logf("%s\n%s", d.Type, d.SDP)
		}
	}
	if b, err := json.MarshalIndent(p.pc.GetStats(), "", " "); err == nil {
		p.t.Logf("%s", b)
	}
}

// sends adds a track and plays a clip on it.
func (p *partner) sends(c clip) *webrtc.RTPSender {
	p.t.Helper()
	track := p.plays(c)
	sender, err := p.pc.AddTrack(track, webrtc.NewMediaStream("partner"))
	if err != nil {
		p.t.Fatal(err)
	}
	return sender
}

// plays makes a track on which a clip is played until the test ends.
func (p *partner) plays(c clip) *webrtc.SampleTrack {
	p.t.Helper()
	track, err := webrtc.NewSampleTrack(c.codec, "clip")
	if err != nil {
		p.t.Fatal(err)
	}
	go c.play(track, p.stop)
	return track
}

// track waits for the page's next track of a kind.
func (p *partner) track(kind string) *webrtc.RemoteTrack {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case track := <-p.tracks:
			if track.Kind() == kind {
				return track
			}
		case <-timeout:
			p.t.Fatalf("no track of %s came", kind)
		}
	}
}

// joinsPartner makes the page join a room by the SDK, and gives it elements for what comes.
func (p *tab) joinsPartner(room string) {
	p.t.Helper()
	p.joinsRobots(room, "{}")
	p.press("a") // a page may play sound once its person has done something
	eval[any](p, `(() => {
		window.pc = () => e2e.connections.at(-1);
		// shows makes an element for each live track that comes, and returns those of video.
		window.shows = () => {
			for (const {receiver, currentDirection} of pc()?.getTransceivers() ?? []) {
				const {track} = receiver;
				const receives = currentDirection === 'sendrecv' || currentDirection === 'recvonly';
				let element = document.getElementById(track.id);
				if (!receives) element?.remove();
				if (!receives || element) continue;
				element = document.createElement(track.kind);
				element.id = track.id;
				element.autoplay = element.playsInline = true;
				element.muted = track.kind === "video";
				element.srcObject = new MediaStream([track]);
				document.body.append(element);
				element.play().catch((e) => console.log(String(e)));
			}
			return [...document.querySelectorAll('video')];
		};
		window.inbound = async (kind) => {
			const stats = await pc().getStats();
			return [...stats.values()].filter((s) => s.type === 'inbound-rtp' && s.kind === kind)
				.map((s) => ({...s, codec: stats.get(s.codecId)?.mimeType}));
		};
		// moves is whether pictures come on each track. (An element of Firefox counts only those that it paints.)
		window.moves = async () => {
			for (const {receiver} of pc().getTransceivers()) {
				const stats = await receiver.getStats();
				if (![...stats.values()].some((s) => s.type === 'inbound-rtp' && s.framesDecoded > 5)) return false;
			}
			return true;
		};
		// right is the mean colour of the right half of a video.
		window.right = (video) => {
			const at = e2e.pixels(video);
			const sum = [0, 0, 0];
			let n = 0;
			for (let i = 0; i < at.length; i += 4) {
				if ((i / 4) % 32 < 18) continue;
				for (let c = 0; c < 3; c++) sum[c] += at[i + c];
				n++;
			}
			return sum.map((v) => v / n);
		};
	})()`)
}

// sees waits until the page shows moving pictures whose right half has a colour.
func (p *tab) seesColour(colour string) {
	p.t.Helper()
	is := map[string]string{"lime": "g > 180 && r < 90 && b < 90", "blue": "b > 180 && r < 90 && g < 90", "red": "r > 180 && g < 90 && b < 90"}[colour]
	p.until("sees "+colour, `(async () => {
		const [video] = shows();
		if (!video) return false;
		const [r, g, b] = right(video);
		if (`+is+`) return true;
		throw new Error('it is ' + [r, g, b] + '; ' + JSON.stringify(await inbound('video')));
	})()`)
}

// inEachCodec runs a test for each codec of video, with a page that is open and not yet in a room. Only H.264 may be missing
// in a browser that was built without it. The half is "Sender" or "Receiver".
func inEachCodec(t *testing.T, half string, test func(t *testing.T, s *server, ada *tab, codec webrtc.RTPCodec)) {
	ffmpeg.Need(t)
	inEachBrowser(t, func(t *testing.T, b browser) {
		s := serve(t)
		for _, codec := range []webrtc.RTPCodec{webrtc.VP8, webrtc.VP9, webrtc.H264, webrtc.AV1} {
			t.Run(codecName(codec), func(t *testing.T) {
				if _, ok := b.(*firefox); ok && codec.MimeType != webrtc.VP8.MimeType {
					need.Long(t)
				}
				ada := b.person(t, "Ada", personOptions{})
				ada.open(s.url + "/healthz")
				has := eval[bool](ada, fmt.Sprintf("RTCRtp%s.getCapabilities('video').codecs.some((c) => c.mimeType === %q)", half, codec.MimeType))
				if !has && codec == webrtc.H264 {
					t.Skip("this browser has no H.264")
				} else if !has {
					t.Fatalf("this browser has no %s", codec.MimeType)
				}
				test(t, s, ada, codec)
			})
		}
	})
}

// A clip that Go plays is decoded by the page, whatever its codec, and the tone too, whoever begins.
func TestGoPlaysToPage(t *testing.T) {
	inEachCodec(t, "Receiver", func(t *testing.T, s *server, ada *tab, codec webrtc.RTPCodec) {
		room := "plays-" + strings.ToLower(codecName(codec))
		prepare := func(p *partner) { p.sends(film(t, codec, "lime")); p.sends(tone(t)) }
		if codec.MimeType == webrtc.VP9.MimeType { // the page is there first, and Go calls
			ada.joinsPartner(room)
			s.partner(t, room, prepare)
		} else {
			s.partner(t, room, prepare)
			ada.joinsPartner(room)
		}
		ada.seesColour("lime")
		eval[any](ada, "e2e.mark(shows())")
		ada.until("sees and hears more", "e2e.progressed(shows(), 1).catch(async (e) => { throw new Error(e + JSON.stringify(await inbound('audio'))); })")
		if got := eval[string](ada, "inbound('video').then(([s]) => s.codec)"); got != codec.MimeType {
			t.Errorf("the page decodes %q", got)
		}
		if got := eval[string](ada, "inbound('audio').then(([s]) => s.codec)"); got != webrtc.Opus.MimeType {
			t.Errorf("the page hears %q", got)
		}
	})
}

// What the page's camera films is written to a file, and ffmpeg makes as many pictures of it as came.
func TestPageFilmsForGo(t *testing.T) {
	inEachCodec(t, "Sender", func(t *testing.T, s *server, ada *tab, codec webrtc.RTPCodec) {
		room := "films-" + strings.ToLower(codecName(codec))
		var p *partner
		s.partner(t, room, func(made *partner) { p = made })
		ada.joinsPartner(room)
		ada.meetsRobot()
		eval[any](ada, fmt.Sprintf(`(async () => {
				const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: true});
				for (const track of stream.getTracks()) {
					const transceiver = pc().addTransceiver(track, {direction: 'sendonly', streams: [stream]});
					if (track.kind !== 'video') continue;
					const {codecs} = RTCRtpReceiver.getCapabilities('video');
					transceiver.setCodecPreferences(codecs.filter((c) => c.mimeType === %q || c.mimeType === 'video/rtx'));
				}
			})()`, codec.MimeType))
		for _, kind := range []string{"audio", "video"} {
			track := p.track(kind)
			want, c := 3*clipRate, codec
			if kind == "audio" {
				want, c = 100, webrtc.Opus
			}
			file := newRecording(t, c)
			for file.count < want {
				sample, err := track.ReadSample(p.context())
				if err != nil {
					t.Fatalf("after %d samples of %s: %v", file.count, kind, err)
				}
				if !strings.EqualFold(sample.Codec.MimeType, c.MimeType) {
					t.Fatalf("a sample of %s, not %s", sample.Codec.MimeType, c.MimeType)
				}
				if file.count == 0 && !sample.KeyFrame {
					t.Fatalf("the first sample of %s is no key frame", kind)
				}
				if !sample.Lost {
					file.write(sample)
				}
			}
			if got := file.decoded(); got != file.count {
				t.Errorf("ffmpeg decodes %d of %d frames of %s", got, file.count, kind)
			}
		}
	})
}

func (p *partner) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// meets has a page and Go meet in a room, with nothing to send yet.
func meets(t *testing.T, b browser, room string) (ada *tab, p *partner) {
	t.Helper()
	s := serve(t)
	ada = b.person(t, "Ada", personOptions{})
	ada.open(s.url + "/healthz")
	s.partner(t, room, func(made *partner) { p = made })
	ada.joinsPartner(room)
	ada.meetsRobot()
	return ada, p
}

// Three layers of one camera, each known by its RID.
func TestPageSendsSimulcast(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b browser) {
		ada, p := meets(t, b, "simulcast")
		eval[any](ada, `(async () => {
		const canvas = document.createElement('canvas');
		[canvas.width, canvas.height] = [960, 540]; // Chromium sends three layers from there on
		const paint = canvas.getContext('2d');
		let n = 0;
		setInterval(() => {
			paint.fillStyle = 'hsl(' + (n * 7) % 360 + ' 80% 50%)';
			paint.fillRect(0, 0, 960, 540);
			paint.fillStyle = 'white';
			paint.fillRect((n++ * 11) % 600, 100, 40, 160);
		}, 100);
		const [track] = canvas.captureStream(10).getTracks();
		const transceiver = pc().addTransceiver(track, {direction: 'sendonly', sendEncodings: [
			{rid: 'low', scaleResolutionDownBy: 4, maxBitrate: 100_000},
			{rid: 'mid', scaleResolutionDownBy: 2, maxBitrate: 300_000},
			{rid: 'high', maxBitrate: 900_000},
		]});
		transceiver.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/VP8' || c.mimeType === 'video/rtx'));
	})()`)
		track := p.track("video")
		widths := map[string]int{"low": 240, "mid": 480, "high": 960}
		if _, err := track.ReadSample(p.context()); err != nil {
			t.Fatal(err)
		}
		if got := len(track.Encodings()); got != 3 {
			t.Fatalf("%d encodings", got)
		}
		for _, encoding := range track.Encodings() {
			frames, width := 0, 0
			for frames < 20 {
				sample, err := encoding.ReadSample(p.context())
				if err != nil {
					t.Fatalf("%s after %d frames: %v; %s", encoding.RID(), frames, err, eval[string](ada, `pc().getStats().then((stats) => JSON.stringify([...stats.values()].filter((s) => s.type === 'outbound-rtp' || s.type === 'candidate-pair')))`))
				}
				if sample.KeyFrame { // RFC 6386 section 9.1
					width = int(sample.Data[6]) | int(sample.Data[7]&0x3f)<<8
				}
				frames++
			}
			if width != widths[encoding.RID()] {
				t.Errorf("%q is %d pixels wide, not %d", encoding.RID(), width, widths[encoding.RID()])
			}
		}
	})
}

// Chromium sends simulcast and takes none: offered three encodings, it answers for one, and sees that.
func TestGoOffersSimulcast(t *testing.T) {
	ffmpeg.Need(t)
	inEachBrowser(t, func(t *testing.T, b browser) {
		s := serve(t)
		ada := b.person(t, "Ada", personOptions{})
		ada.open(s.url + "/healthz")
		var sender *webrtc.RTPSender
		s.partner(t, "offers", func(p *partner) {
			transceiver, err := p.pc.AddTransceiverTrack(p.plays(film(t, webrtc.VP8, "lime")), &webrtc.RTPTransceiverInit{
				Direction:     webrtc.RTPTransceiverDirectionSendOnly,
				SendEncodings: []webrtc.RTPEncodingParameters{{RID: "low"}, {RID: "mid"}, {RID: "high"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			sender = transceiver.Sender()
		})
		ada.joinsPartner("offers")
		ada.seesColour("lime")
		if n := len(sender.GetParameters().Encodings); n != 1 {
			t.Errorf("%d encodings are left", n)
		}
	})
}

// Another track takes the place of one that is sent, with nothing negotiated: the page sees the other colour.
func TestReplaceTrack(t *testing.T) {
	ffmpeg.Need(t)
	inEachBrowser(t, func(t *testing.T, b browser) {
		s := serve(t)
		ada := b.person(t, "Ada", personOptions{})
		ada.open(s.url + "/healthz")
		var p *partner
		var sender *webrtc.RTPSender
		s.partner(t, "replace", func(made *partner) { p = made; sender = p.sends(film(t, webrtc.VP8, "lime")) })
		ada.joinsPartner("replace")
		ada.seesColour("lime")
		before := p.pc.RemoteDescription().SDP
		for _, colour := range []string{"blue", "lime"} {
			if err := sender.ReplaceTrack(p.plays(film(t, webrtc.VP8, colour))); err != nil {
				t.Fatal(err)
			}
			ada.seesColour(colour)
		}
		if p.pc.RemoteDescription().SDP != before {
			t.Error("something was negotiated")
		}
	})
}

// Ten tracks come and go, and ten more take over the sections of those that were stopped.
func TestTenTracks(t *testing.T) {
	ffmpeg.Need(t)
	inEachBrowser(t, func(t *testing.T, b browser) {
		if _, ok := b.(*firefox); ok {
			need.Long(t)
		}
		ada, p := meets(t, b, "ten")
		c := film(t, webrtc.VP8, "lime")
		for round := range 2 {
			var senders []*webrtc.RTPSender
			for range 10 {
				senders = append(senders, p.sends(c))
			}
			ada.until("sees ten", "shows().length === 10")
			ada.until("sees each move", "moves()")
			for _, sender := range senders {
				if err := p.pc.RemoveTrack(sender); err != nil {
					t.Fatal(err)
				}
			}
			ada.until("sees none", "shows().length === 0")
			for _, sender := range senders {
				if err := sender.Transceiver().Stop(); err != nil {
					t.Fatal(err)
				}
			}
			ada.until("has none", "pc().signalingState === 'stable' && pc().getTransceivers().length === 0")
			if n := strings.Count(p.pc.LocalDescription().SDP, "m=video"); n != 10 {
				t.Errorf("round %d: %d sections of video", round, n)
			}
		}
	})
}

// How loud it is, is said beside the sound, both ways.
func TestAudioLevels(t *testing.T) {
	ffmpeg.Need(t)
	inEachBrowser(t, func(t *testing.T, b browser) {
		s := serve(t)
		ada := b.person(t, "Ada", personOptions{})
		ada.open(s.url + "/healthz")
		var p *partner
		s.partner(t, "levels", func(made *partner) {
			p = made
			loud := tone(t)
			for i := range loud.samples {
				loud.samples[i].AudioLevel = &rtp.AudioLevel{Level: 20, Voice: true}
			}
			p.sends(loud)
		})
		ada.joinsPartner("levels")
		// RFC 6464: 20 dB below the loudest, which the W3C writes as a factor.
		ada.until("is told the level of the tone", `shows() && pc().getReceivers().some((r) => r.getSynchronizationSources().some((s) => Math.abs(s.audioLevel - 0.1) < 0.01))`)
		eval[any](ada, `(async () => {
			const stream = await navigator.mediaDevices.getUserMedia({audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false}});
			[window.microphone] = stream.getAudioTracks();
			pc().addTrack(microphone, stream);
		})()`)
		track := p.track("audio")
		hears := func(loud bool) {
			ctx := p.context()
			for packet, heard := new(rtp.Packet), false; !heard; {
				if err := track.ReadRTP(ctx, packet); err != nil {
					t.Fatalf("waiting for one who is loud, %v: %v", loud, err)
				}
				for _, source := range track.Receiver().GetSynchronizationSources() {
					heard = heard || source.AudioLevel != nil && (*source.AudioLevel > 0.01) == loud
				}
			}
		}
		hears(true)
		eval[any](ada, "microphone.enabled = false")
		hears(false)
	})
}

// The page dials, and Go hears which keys.
func TestPageDials(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b browser) {
		ada, p := meets(t, b, "dials")
		eval[any](ada, `(async () => {
		const stream = await navigator.mediaDevices.getUserMedia({audio: true});
		window.dialer = pc().addTrack(stream.getAudioTracks()[0], stream);
	})()`)
		track := p.track("audio")
		ada.until("may dial", "dialer.dtmf?.canInsertDTMF")
		eval[any](ada, "dialer.dtmf.insertDTMF('159#', 120, 70)")
		tones := map[rtp.PayloadType]bool{}
		for _, c := range track.Receiver().GetParameters().Codecs {
			tones[rtp.PayloadType(c.PayloadType)] = strings.EqualFold(c.MimeType, "audio/telephone-event")
		}
		var heard strings.Builder
		var events payload.EventReceiver
		for packet := new(rtp.Packet); heard.Len() < 4; {
			if err := track.ReadRTP(p.context(), packet); err != nil {
				t.Fatalf("after %q: %v", heard.String(), err)
			}
			if !tones[packet.PayloadType] {
				continue
			}
			event, _, err := payload.ParseEvent(packet.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if change, ok := events.Report(packet.Timestamp, event); ok && change.Ended {
				heard.WriteByte("0123456789*#ABCD"[change.Code])
			}
		}
		if heard.String() != "159#" {
			t.Errorf("heard %q", heard.String())
		}
	})
}
