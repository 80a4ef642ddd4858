package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/media/annexb"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/webrtc"
)

// A clip is something to play over and over: it begins with a key frame.
type clip struct {
	codec   webrtc.RTPCodec
	samples []webrtc.Sample
}

const clipRate = 15 // frames a second, with a key frame for each second

// How ffmpeg makes a clip of each codec, quickly.
var (
	encoders = map[string][]string{
		"VP8":  {"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-f", "ivf"},
		"VP9":  {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-f", "ivf"},
		"AV1":  {"-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-f", "ivf"},
		"H264": {"-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency", "-f", "h264"},
		"opus": {"-c:a", "libopus", "-b:a", "32k", "-f", "ogg"},
	}
	clips    = map[string]clip{}
	clipLock sync.Mutex
)

// film makes a clip of two seconds: a moving pattern on the left and one colour on the right, which a test can know again.
func film(t *testing.T, codec webrtc.RTPCodec, colour string) clip {
	t.Helper()
	source := fmt.Sprintf("testsrc2=s=160x180:r=%d[a];color=%s:s=160x180:r=%d[b];[a][b]hstack,format=yuv420p", clipRate, colour, clipRate)
	return record(t, codec, colour, "-filter_complex", source, "-t", "2", "-b:v", "300k", "-g", strconv.Itoa(clipRate))
}

// tone makes two seconds of a tone.
func tone(t *testing.T) clip {
	t.Helper()
	return record(t, webrtc.Opus, "", "-f", "lavfi", "-i", "sine=440:r=48000,volume=4", "-t", "2")
}

func record(t *testing.T, codec webrtc.RTPCodec, what string, args ...string) clip {
	t.Helper()
	ffmpeg.Need(t)
	clipLock.Lock()
	defer clipLock.Unlock()
	name := codecName(codec)
	if c, ok := clips[name+what]; ok {
		return c
	}
	b := ffmpeg.Run(t, append(append(args, encoders[name]...), "-")...)
	c := clip{codec: codec}
	var err error
	switch name {
	case "opus":
		c.samples, err = opusSamples(b)
	case "H264":
		r := annexb.NewReader(bytes.NewReader(b), annexb.H264)
		c.samples, err = videoSamples(r.NextAccessUnit)
	default:
		var r *ivf.Reader
		if r, err = ivf.NewReader(bytes.NewReader(b)); err == nil {
			c.samples, err = videoSamples(func() ([]byte, error) { f, err := r.Next(); return f.Data, err })
		}
	}
	if err != nil || len(c.samples) < 2*clipRate {
		t.Fatalf("a clip of %s with %d frames: %v", name, len(c.samples), err)
	}
	clips[name+what] = c
	return c
}

func codecName(c webrtc.RTPCodec) string {
	_, name, _ := strings.Cut(c.MimeType, "/")
	return name
}

func videoSamples(next func() ([]byte, error)) (all []webrtc.Sample, err error) {
	for {
		b, err := next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, webrtc.Sample{Data: bytes.Clone(b), Duration: time.Second / clipRate})
	}
}

func opusSamples(b []byte) (all []webrtc.Sample, err error) {
	r, err := ogg.NewOpusReader(bytes.NewReader(b))
	for err == nil {
		var p ogg.OpusPacket
		if p, err = r.Next(); err == nil {
			all = append(all, webrtc.Sample{Data: bytes.Clone(p.Data), Duration: time.Duration(p.Duration) * time.Second / 48000})
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, err
}

// play writes a clip to a track again and again, in its time, until stop is closed or the track has ended. It begins anew
// where a key frame is asked for.
func (c clip) play(track *webrtc.SampleTrack, stop <-chan struct{}) {
	var anew atomic.Bool
	track.OnKeyFrameRequest(func() { anew.Store(true) })
	next := time.NewTimer(0)
	defer next.Stop()
	for i, at := 0, time.Now(); ; i = (i + 1) % len(c.samples) {
		select {
		case <-stop:
			return
		case <-next.C:
		}
		if anew.Swap(false) {
			i = 0
		}
		if track.WriteSample(c.samples[i]) != nil {
			return
		}
		at = at.Add(c.samples[i].Duration)
		next.Reset(time.Until(at))
	}
}

// A recording is a file that is made of what came.
type recording struct {
	t     *testing.T
	codec webrtc.RTPCodec
	path  string
	count int

	file  *os.File
	ivf   *ivf.Writer
	opus  *ogg.OpusWriter
	first uint32
}

func newRecording(t *testing.T, codec webrtc.RTPCodec) *recording {
	t.Helper()
	r := &recording{t: t, codec: codec, path: filepath.Join(t.TempDir(), codecName(codec))}
	var err error
	if r.file, err = os.Create(r.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.file.Close() })
	switch name := codecName(codec); name {
	case "opus":
		r.opus, err = ogg.NewOpusWriter(r.file, 1, ogg.OpusHead{Channels: 2, SampleRate: 48000})
	case "VP8", "VP9", "AV1":
		fourCC := map[string]string{"VP8": ivf.VP8, "VP9": ivf.VP9, "AV1": ivf.AV1}[name]
		r.ivf, err = ivf.NewWriter(r.file, ivf.Header{Codec: fourCC, Width: 320, Height: 180, Rate: 90000, Scale: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recording) write(s webrtc.Sample) {
	r.t.Helper()
	if r.count == 0 {
		r.first = s.Timestamp
	}
	at := s.Timestamp - r.first
	var err error
	switch {
	case r.opus != nil:
		err = r.opus.Write(ogg.OpusPacket{Position: int64(at), Data: s.Data})
	case r.ivf != nil:
		err = r.ivf.Write(ivf.Frame{PTS: uint64(at), Data: s.Data})
	default:
		_, err = r.file.Write(s.Data)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.count++
}

// decoded plays the recording with ffmpeg and returns how many pictures, or packets of audio, that makes.
func (r *recording) decoded() int {
	r.t.Helper()
	var err error
	switch {
	case r.opus != nil:
		err = r.opus.Close()
	case r.ivf != nil:
		err = r.ivf.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	got := ffmpeg.Probe(r.t, r.path, "stream=nb_read_frames")
	n, err := strconv.Atoi(got)
	if err != nil {
		r.t.Errorf("ffprobe says %q", got)
	}
	return n
}
