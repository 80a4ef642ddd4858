package webrtc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// vp8 makes a frame of VP8 of n bytes, of which each tells its number.
func vp8(n int, key bool, number byte) []byte {
	b := bytes.Repeat([]byte{number}, max(n, 10))
	if key {
		copy(b, []byte{0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0})
	} else {
		copy(b, []byte{0x11, 2, 0})
	}
	return b
}

// opus makes a frame of Opus of 20 ms.
func opus(number byte) []byte { return []byte{31 << 3, number, number} }

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) sampleTrack(c RTPCodec) *SampleTrack {
	w.Helper()
	t, err := NewSampleTrack(c, "test")
	w.check(err)
	return t
}

// play writes a track's samples until the test ends.
func (w *world) play(t *SampleTrack, interval time.Duration, frame func(i int) Sample) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			if err := t.WriteSample(frame(i)); err != nil {
				return
			}
		}
	}()
	w.Cleanup(func() { close(done) })
}

// playVideo plays VP8 with a key frame each 30.
func (w *world) playVideo(t *SampleTrack) {
	w.play(t, 33*time.Millisecond, func(i int) Sample {
		return Sample{Data: vp8(3000, i%30 == 0, byte(i)), Duration: 33 * time.Millisecond}
	})
}

func (w *world) playAudio(t *SampleTrack) {
	w.play(t, 20*time.Millisecond, func(i int) Sample {
		return Sample{Data: opus(byte(i)), AudioLevel: &rtp.AudioLevel{Level: 20, Voice: true}}
	})
}

// Audio and video from one program to another: packets as they are, and samples in their order.
func TestMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		audio, video := w.sampleTrack(Opus), w.sampleTrack(VP8)
		stream := NewMediaStream("camera", audio, video)
		for _, track := range []Track{audio, video} {
			_, err := a.AddTrack(track, stream)
			w.check(err)
		}
		tracks := make(chan *RemoteTrack, 2)
		b.OnTrack(func(t *RemoteTrack, r *RTPReceiver) {
			if s := r.Streams(); len(s) != 1 || s[0].ID() != "camera" || r.Track() != t {
				w.Errorf("streams %v", s)
			}
			tracks <- t
		})
		w.negotiate(a, b)
		w.playAudio(audio)
		w.playVideo(video)
		one, two := await(w, tracks, "a track"), await(w, tracks, "a second track")
		if one.Kind() != "audio" || two.Kind() != "video" {
			t.Fatalf("the tracks are of %s and %s", one.Kind(), two.Kind())
		}
		var p rtp.Packet
		last := -1
		for range 50 {
			w.check(one.ReadRTP(w.ctx(), &p))
			if len(p.Payload) != 3 || p.Payload[0] != 31<<3 || last >= 0 && int(p.Payload[1]) != last+1 {
				t.Fatalf("a packet with %x after %d", p.Payload, last)
			}
			last = int(p.Payload[1])
		}
		if one.Muted() || one.ReadyState() != TrackStateLive {
			t.Error("muted, or ended")
		}
		last = -1
		for i := range 40 {
			s, err := two.ReadSample(w.ctx())
			w.check(err)
			number := int(s.Data[len(s.Data)-1])
			if i == 0 != s.KeyFrame && number%30 != 0 || len(s.Data) != 3000 || last >= 0 && number != last+1 || !s.Codec.is("VP8") {
				t.Fatalf("sample %d is number %d after %d, of %d bytes, key %v, %s", i, number, last, len(s.Data), s.KeyFrame, s.Codec.MimeType)
			}
			last = number
		}
		// The end of the connection is that of its tracks.
		w.check(b.Close())
		for {
			if err := one.ReadRTP(w.ctx(), &p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}
