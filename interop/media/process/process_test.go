// Package process tests Parley beside peers that are programs of their own: aiortc, and GStreamer's webrtcbin.
package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/webrtc"
)

const (
	patience = need.Patience
	enough   = 30 // frames of each kind, each way
	python   = "/usr/bin/python3"
)

// A message is a line that a peer writes or reads: a description, or what it has received.
type message struct {
	Type   string `json:"type,omitempty"`
	SDP    string `json:"sdp,omitempty"`
	Kind   string `json:"kind,omitempty"`
	Frames int    `json:"frames,omitempty"`
	Width  int    `json:"width,omitempty"`
	Height int    `json:"height,omitempty"`
}

// A process is a peer.
type process struct {
	t     *testing.T
	say   io.WriteCloser
	hears chan message
}

// start runs a script, if what it imports is there.
func start(t *testing.T, script, role, imports, packages string) *process {
	t.Helper()
	ffmpeg.Need(t)
	need.Network(t)
	if out, err := exec.Command(python, "-c", imports).CombinedOutput(); err != nil {
		t.Logf("%s", out)
		need.Missing(t, "what "+script+" imports", "on Debian: apt-get install "+packages)
	}
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", script), role)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	p := &process{t: t, say: in, hears: make(chan message, 16)}
	go func() {
		defer close(p.hears)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(line, &m) == nil {
				p.hears <- m
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		for range p.hears {
		}
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%.4000s", script, complaints.String())
		}
	})
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *process) next(ctx context.Context) message {
	p.t.Helper()
	select {
	case m, ok := <-p.hears:
		if !ok {
			p.t.Fatal("the peer has ended")
		}
		return m
	case <-ctx.Done():
		p.t.Fatal("the peer is silent")
	}
	return message{}
}

// describe sends our description with all candidates.
func (p *process) describe(ctx context.Context, pc *webrtc.PeerConnection) {
	p.t.Helper()
	check(p.t, pc.SetLocalDescription(nil))
	check(p.t, pc.GatheringComplete(ctx))
	d := pc.LocalDescription()
	check(p.t, json.NewEncoder(p.say).Encode(message{Type: string(d.Type), SDP: d.SDP}))
}

// hear takes the peer's description.
func (p *process) hear(ctx context.Context, pc *webrtc.PeerConnection) {
	p.t.Helper()
	m := p.next(ctx)
	check(p.t, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPType(m.Type), SDP: m.SDP}))
}

// call connects with a peer, and has audio and video go both ways, which both ends decode.
func call(t *testing.T, p *process, weOffer bool, policy webrtc.BundlePolicy, width, height string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{BundlePolicy: policy})
	check(t, err)
	t.Cleanup(func() { pc.Close() })
	film, sound := filepath.Join(dir, "film.ivf"), filepath.Join(dir, "sound.ogg")
	ffmpeg.Run(t, "-f", "lavfi", "-i", "testsrc=size=352x288:rate=25:duration=2", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k", "-g", "25", film)
	ffmpeg.Run(t, "-f", "lavfi", "-i", "sine=duration=2", "-c:a", "libopus", sound)
	video, err := webrtc.NewSampleTrack(webrtc.VP8, "film")
	check(t, err)
	audio, err := webrtc.NewSampleTrack(webrtc.Opus, "sound")
	check(t, err)
	for _, track := range []webrtc.Track{video, audio} {
		_, err := pc.AddTrack(track)
		check(t, err)
	}
	tracks := make(chan *webrtc.RemoteTrack, 2)
	pc.OnTrack(func(track *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) { tracks <- track })
	if weOffer {
		p.describe(ctx, pc)
		p.hear(ctx, pc)
	} else {
		p.hear(ctx, pc)
		p.describe(ctx, pc)
	}
	play(ctx, video, frames(t, film), 40*time.Millisecond)
	play(ctx, audio, frames(t, sound), 20*time.Millisecond)

	received := make(chan string, 2)
	for range 2 {
		select {
		case track := <-tracks:
			go func() { received <- record(ctx, track, dir) }()
		case <-ctx.Done():
			t.Fatal("a track is missing")
		}
	}
	got := map[string]message{}
	for len(got) < 2 {
		m := p.next(ctx)
		got[m.Kind] = m
	}
	if v := got["video"]; v.Frames < enough || v.Width != 352 || v.Height != 288 {
		t.Errorf("the peer has decoded %+v", v)
	}
	if a := got["audio"]; a.Frames < enough {
		t.Errorf("the peer has decoded %+v", a)
	}
	for range 2 {
		file := <-received
		if file == "" {
			t.Fatal("too little was received")
		}
		if filepath.Ext(file) == ".ogg" {
			if samples := ffmpeg.Run(t, "-i", file, "-f", "s16le", "-ac", "1", "-"); len(samples) < 2*960*(enough-1) {
				t.Errorf("%d bytes of samples", len(samples))
			}
		} else if got, want := ffmpeg.Probe(t, file, "stream=codec_name,width,height,nb_read_frames"), "vp8,"+width+","+height+",30"; got != want {
			t.Errorf("ffprobe reads %s, not %s", got, want)
		}
	}
}

// frames reads a file.
func frames(t *testing.T, file string) (list [][]byte) {
	t.Helper()
	f, err := os.Open(file)
	check(t, err)
	defer f.Close()
	var next func() ([]byte, error)
	if filepath.Ext(file) == ".ivf" {
		r, err := ivf.NewReader(f)
		check(t, err)
		next = func() ([]byte, error) { frame, err := r.Next(); return frame.Data, err }
	} else {
		r, err := ogg.NewOpusReader(f)
		check(t, err)
		next = func() ([]byte, error) { p, err := r.Next(); return p.Data, err }
	}
	for {
		b, err := next()
		if err == io.EOF {
			return list
		}
		check(t, err)
		list = append(list, bytes.Clone(b))
	}
}

// play writes frames to a track, over and over.
func play(ctx context.Context, track *webrtc.SampleTrack, frames [][]byte, every time.Duration) {
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if track.WriteSample(webrtc.Sample{Data: frames[i%len(frames)], Duration: every}) != nil {
				return
			}
		}
	}()
}

// record writes what a track brings to a file, and returns its name; "" if it was not enough.
func record(ctx context.Context, track *webrtc.RemoteTrack, dir string) string {
	name := filepath.Join(dir, "received.ogg")
	if track.Kind() == "video" {
		name = filepath.Join(dir, "received.ivf")
	}
	f, err := os.Create(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	var write func(i int, data []byte) error
	if track.Kind() == "video" {
		w, err := ivf.NewWriter(f, ivf.Header{Codec: ivf.VP8, Rate: 25, Scale: 1})
		if err != nil {
			return ""
		}
		defer w.Close()
		write = func(i int, data []byte) error { return w.Write(ivf.Frame{PTS: uint64(i), Data: data}) }
	} else {
		w, err := ogg.NewOpusWriter(f, 1, ogg.OpusHead{Channels: 2})
		if err != nil {
			return ""
		}
		defer w.Close()
		write = func(i int, data []byte) error { return w.Write(ogg.OpusPacket{Data: data}) }
	}
	for i := 0; i < enough; {
		s, err := track.ReadSample(ctx)
		if err != nil {
			return ""
		}
		if s.Lost || i == 0 && !s.KeyFrame {
			continue
		}
		if write(i, s.Data) != nil {
			return ""
		}
		i++
	}
	return name
}

// roles runs a test with the peer as the one that offers, and as the one that answers offers of each policy.
func roles(t *testing.T, run func(t *testing.T, role string, policy webrtc.BundlePolicy)) {
	t.Run("offer", func(t *testing.T) { run(t, "offer", webrtc.BundlePolicyBalanced) })
	for _, policy := range []webrtc.BundlePolicy{webrtc.BundlePolicyBalanced, webrtc.BundlePolicyMaxCompat, webrtc.BundlePolicyMaxBundle} {
		t.Run("answer to "+string(policy), func(t *testing.T) { run(t, "answer", policy) })
	}
}

func TestAiortc(t *testing.T) {
	roles(t, func(t *testing.T, role string, policy webrtc.BundlePolicy) {
		call(t, start(t, "aiortc_peer.py", role, "import aiortc", "python3-aiortc"), role == "answer", policy, "640", "480")
	})
}

func TestGStreamer(t *testing.T) {
	const imports = `import gi; gi.require_version("Gst", "1.0"); gi.require_version("GstWebRTC", "1.0"); from gi.repository import Gst; Gst.init(None)
for name in "webrtcbin", "nicesrc", "vp8enc", "opusenc":
    assert Gst.ElementFactory.find(name), name`
	const packages = "python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice"
	roles(t, func(t *testing.T, role string, policy webrtc.BundlePolicy) {
		call(t, start(t, "gstreamer_peer.py", role, imports, packages), role == "answer", policy, "320", "240")
	})
}
