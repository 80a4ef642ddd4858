package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/signaling"
)

// One program plays to another, which records; ffmpeg plays the recording.
func TestPlayAndRecord(t *testing.T) {
	dir := t.TempDir()
	film, sound := filepath.Join(dir, "film.ivf"), filepath.Join(dir, "sound.ogg")
	ffmpeg.Run(t, "-f", "lavfi", "-i", "testsrc=size=320x180:rate=25:duration=2", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "500k", "-g", "10", film)
	ffmpeg.Run(t, "-f", "lavfi", "-i", "sine=duration=2", "-c:a", "libopus", sound)

	hub, err := signaling.NewHub(signaling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/signal", hub)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer hub.Close()
	link := server.URL + "/r/kitchen"

	ctx, cancel := context.WithTimeout(t.Context(), need.Patience)
	defer cancel()
	type progress struct {
		file   string
		frames int
	}
	frames := make(chan progress, 1000)
	recorded, played := make(chan error, 1), make(chan error, 1)
	folder := filepath.Join(dir, "recorded")
	go func() {
		recorded <- record(ctx, link, folder, func(file string, n int) { frames <- progress{file, n} })
	}()
	go func() { played <- play(ctx, link, []string{film, sound}) }()
	both := map[string]string{}
	for enough := 0; enough < 2; {
		select {
		case p := <-frames:
			both[filepath.Ext(p.file)] = p.file
			if p.frames == 40 {
				enough++
			}
		case err := <-recorded:
			t.Fatal(err)
		case err := <-played:
			t.Fatal(err)
		}
	}
	cancel()
	for _, done := range []chan error{recorded, played} {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}

	f, err := os.Open(both[".ivf"])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := ivf.NewReader(f)
	if err != nil || r.Header.Codec != ivf.VP8 || r.Header.Frames < 40 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := ffmpeg.Probe(t, both[".ivf"], "stream=codec_name,width,height,nb_read_frames"); got != "vp8,320,180,"+strconv.Itoa(int(r.Header.Frames)) {
		t.Errorf("ffprobe reads %s, not %d frames", got, r.Header.Frames)
	}
	g, err := os.Open(both[".ogg"])
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	o, err := ogg.NewOpusReader(g)
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for _, err = o.Next(); err == nil; _, err = o.Next() {
		packets++
	}
	if packets < 40 {
		t.Errorf("%d packets of Opus", packets)
	}
	if samples := ffmpeg.Run(t, "-i", both[".ogg"], "-f", "s16le", "-"); len(samples) < 4*960*(packets-1) {
		t.Errorf("%d bytes of samples of %d packets", len(samples), packets)
	}
}
