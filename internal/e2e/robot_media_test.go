package e2e

import (
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// A storedClip is a clip in a file, for a robot.
type storedClip struct {
	Codec   webrtc.RTPCodec
	Samples []webrtc.Sample
}

func storeClips(t *testing.T, clips ...clip) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clips")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range clips {
		c.samples[0].KeyFrame = true
		if err := gob.NewEncoder(f).Encode(storedClip{c.codec, c.samples}); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// playFile plays the clips of a file for as long as the program runs.
func playFile(pc *webrtc.PeerConnection, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stream := webrtc.NewMediaStream("robot")
	for range 2 { // one of video, one of audio
		var c storedClip
		if err := gob.NewDecoder(f).Decode(&c); err != nil {
			return err
		}
		track, err := webrtc.NewSampleTrack(c.Codec, "clip")
		if err != nil {
			return err
		}
		if _, err := pc.AddTrack(track, stream); err != nil {
			return err
		}
		go clip{c.Codec, c.Samples}.play(track, nil)
	}
	return nil
}

// preferFlexFEC leaves video nothing but VP8 and FlexFEC.
func preferFlexFEC(pc *webrtc.PeerConnection) error {
	var codecs []webrtc.RTPCodec
	for _, c := range webrtc.RTPReceiverCapabilities("video").Codecs {
		if c.MimeType == webrtc.VP8.MimeType || c.MimeType == "video/flexfec-03" {
			codecs = append(codecs, c)
		}
	}
	for _, transceiver := range pc.GetTransceivers() {
		if transceiver.Receiver().Track().Kind() == "video" {
			if err := transceiver.SetCodecPreferences(codecs); err != nil {
				return err
			}
		}
	}
	return nil
}

// watched is what has been seen of a film since somebody asked.
type watched struct {
	sync.Mutex
	frames int
	gap    time.Duration
	last   time.Time
}

func (w *watched) watch(track *webrtc.RemoteTrack) {
	if track.Kind() != "video" {
		return
	}
	for {
		if _, err := track.ReadSample(context.Background()); err != nil {
			fmt.Println("the film ends:", err)
			return
		}
		w.Lock()
		now := time.Now()
		if w.frames++; !w.last.IsZero() {
			w.gap = max(w.gap, now.Sub(w.last))
		}
		w.last = now
		w.Unlock()
	}
}

func (w *watched) seen() string {
	w.Lock()
	defer w.Unlock()
	if !w.last.IsZero() {
		w.gap = max(w.gap, time.Since(w.last))
	}
	s := fmt.Sprintf(`{"frames": %d, "gap": %d}`, w.frames, w.gap.Milliseconds())
	w.frames, w.gap = 0, 0
	return s
}
