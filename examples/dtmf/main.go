// Command dtmf dials: one peer sends tones beside its audio, and another in the same program hears them.
//
//	go run ./examples/dtmf '12#'
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	tones := usage.Words(1, 1, "dtmf TONES, of 0 to 9, *, #, A to D, and a comma for a pause")[0]
	if err := dial(tones, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// dial sends tones and writes those that are heard.
func dial(tones string, out io.Writer) error {
	a, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer b.Close()

	voice, err := webrtc.NewSampleTrack(webrtc.PCMU, "telephone")
	if err != nil {
		return err
	}
	sender, err := a.AddTrack(voice)
	if err != nil {
		return err
	}
	// Tones can be sent once the connection is up; the last change says that all were played.
	played := make(chan error, 1)
	sender.DTMF().OnToneChange(func(tone string) {
		if tone == "" {
			played <- nil
		}
	})
	a.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s != webrtc.PeerConnectionStateConnected {
			return
		}
		if err := sender.DTMF().InsertDTMF(tones, 80*time.Millisecond, 40*time.Millisecond); err != nil {
			played <- err
		}
	})
	heard := make(chan struct{})
	left := strings.Count(tones, "") - 1 - strings.Count(tones, ",")
	b.OnTrack(func(t *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
		t.OnToneChange(func(tone string) {
			if tone != "" {
				fmt.Fprintln(out, "heard", tone)
			} else if left--; left == 0 {
				close(heard)
			}
		})
	})

	if err := connect(a, b); err != nil {
		return err
	}
	silence := make([]byte, 160) // 20 ms
	for i := range silence {
		silence[i] = 0xff
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for done := 0; done < 2; {
		select {
		case <-tick.C:
			err = voice.WriteSample(webrtc.Sample{Data: silence})
		case err = <-played:
			done++
		case <-heard:
			heard = nil
			done++
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// connect makes a's offer and b's answer, and has each told the other's candidates.
func connect(a, b *webrtc.PeerConnection) error {
	if err := a.SetLocalDescription(nil); err != nil {
		return err
	}
	if err := b.SetRemoteDescription(*a.LocalDescription()); err != nil {
		return err
	}
	if err := b.SetLocalDescription(nil); err != nil {
		return err
	}
	if err := a.SetRemoteDescription(*b.LocalDescription()); err != nil {
		return err
	}
	a.OnICECandidate(func(c *webrtc.ICECandidate) { _ = b.AddICECandidate(c) }) // an error only once b is closed
	b.OnICECandidate(func(c *webrtc.ICECandidate) { _ = a.AddICECandidate(c) })
	return nil
}
