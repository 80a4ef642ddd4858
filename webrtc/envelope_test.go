package webrtc

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// A track is written in one codec. If the peer has agreed to others only, who writes is told so, once a description says it and until
// another one, or another track, changes it.
func TestPeerTakesAnotherCodec(t *testing.T) {
	inWorld(t, func(w *world) {
		var log strings.Builder
		n := w.network(w.a, NetworkConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		a, b := w.connection(n, Configuration{}), w.connection(w.b, Configuration{})
		film, err := NewRTPTrack(VP8, "film")
		w.check(err)
		sound := w.sampleTrack(Opus)
		video, err := a.AddTrack(film)
		w.check(err)
		audio, err := a.AddTrack(sound)
		w.check(err)
		write := func() error {
			err := film.WriteRTP(&rtp.Packet{Marker: true, Payload: []byte{0x10, 0x30, 0, 0, 0x9d, 1, 0x2a}})
			if other := sound.WriteSample(Sample{Data: opus(1)}); !errors.Is(other, err) {
				t.Errorf("of video %v, of audio %v", err, other)
			}
			return err
		}
		w.check(write()) // nobody knows yet
		w.check(a.SetLocalDescription(nil))
		w.check(write())
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		prefer := func(video, audio []RTPCodec) {
			t.Helper()
			w.check(b.GetTransceivers()[0].SetCodecPreferences(video))
			w.check(b.GetTransceivers()[1].SetCodecPreferences(audio))
		}
		prefer([]RTPCodec{VP9}, []RTPCodec{PCMU})
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.trickle(a, b)

		if err := write(); !errors.Is(err, ErrCodec) {
			t.Errorf("a track that nobody takes: %v", err)
		}
		if got := log.String(); strings.Count(got, "does not take its codec") != 2 || !strings.Contains(got, "codec=video/VP8") || !strings.Contains(got, "VP9") {
			t.Errorf("the log is %q", got)
		}
		if c := video.GetParameters().Codecs; len(c) != 1 || c[0].MimeType != "video/VP9" {
			t.Errorf("the codecs are %+v", c)
		}
		// One sender that may take it is enough.
		c := w.connection(w.a, Configuration{})
		other, err := c.AddTrack(film)
		w.check(err)
		w.check(film.WriteRTP(&rtp.Packet{}))
		w.check(c.RemoveTrack(other))
		if err := film.WriteRTP(&rtp.Packet{}); !errors.Is(err, ErrCodec) {
			t.Errorf("after the other sender has gone: %v", err)
		}

		// replaceTrack: "determine if withTrack can be sent immediately by the sender without violating the sender's already-negotiated
		// envelope, and if it cannot, then reject p with a newly created InvalidModificationError"
		w.wantError(InvalidModificationError, video.ReplaceTrack(w.sampleTrack(H264)))
		if video.Track() != Track(film) {
			t.Error("the track was replaced")
		}
		nine := w.sampleTrack(VP9)
		w.check(video.ReplaceTrack(nine))
		w.check(nine.WriteSample(Sample{Data: []byte{0x82, 0x49, 0x83, 0x42, 0, 0, 0xf0, 0, 0xf0}, Duration: 40 * time.Millisecond}))
		w.check(film.WriteRTP(&rtp.Packet{})) // it has no sender any more

		// Another negotiation.
		w.check(video.ReplaceTrack(nil))
		prefer(nil, nil)
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.check(video.ReplaceTrack(film))
		w.check(write())
		if video.Track() != Track(film) || audio.Track() != Track(sound) {
			t.Error("the tracks are others")
		}
	})
}
