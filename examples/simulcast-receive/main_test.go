package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// A peer sends two encodings of one picture, and both are told of.
func TestObserve(t *testing.T) {
	hub, err := signaling.NewHub(signaling.Config{})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/signal", hub)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer hub.Close()

	room, err := signaling.Dial(t.Context(), server.URL+"/r/kitchen", signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	defer room.Close()
	camera, err := webrtc.NewSampleTrack(webrtc.VP8, "camera")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for event, err := range room.Events(t.Context()) {
			if err != nil {
				return
			}
			if e, ok := event.(*signaling.Joined); ok {
				pc, err := webrtc.NewPeerConnection(room.Configuration())
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { pc.Close() })
				if _, err := pc.AddTransceiverTrack(camera, &webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendOnly,
					SendEncodings: []webrtc.RTPEncodingParameters{{RID: "low"}, {RID: "high"}}}); err != nil {
					t.Error(err)
				}
				signaling.Negotiate(pc, room, e.Peer.ID)
			}
		}
	}()
	go func() {
		picture := make([]byte, 800) // a key frame of VP8
		copy(picture, []byte{0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0})
		for range time.Tick(33 * time.Millisecond) {
			if camera.Encoding("low").WriteSample(webrtc.Sample{Data: picture[:200], Duration: 33 * time.Millisecond}) != nil {
				return
			}
			camera.Encoding("high").WriteSample(webrtc.Sample{Data: picture, Duration: 33 * time.Millisecond})
		}
	}()
	t.Cleanup(camera.Stop)

	heard, out := io.Pipe()
	go observe(t.Context(), server.URL+"/r/kitchen", "observer", out)
	seen := map[string]bool{}
	for lines := bufio.NewScanner(heard); len(seen) < 2 && lines.Scan(); {
		encoding, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "Ada, "), ":")
		if encoding != "low" && encoding != "high" {
			t.Fatalf("%q", lines.Text())
		}
		seen[encoding] = true
	}
	heard.Close()
}
