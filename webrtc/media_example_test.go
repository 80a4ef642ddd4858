package webrtc_test

import (
	"context"
	"fmt"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/webrtc"
)

// connect makes a's offer and b's answer, and has each told the other's candidates.
func connect(a, b *webrtc.PeerConnection) {
	check(a.SetLocalDescription(nil))
	check(b.SetRemoteDescription(*a.LocalDescription()))
	check(b.SetLocalDescription(nil))
	check(a.SetRemoteDescription(*b.LocalDescription()))
	a.OnICECandidate(func(c *webrtc.ICECandidate) { _ = b.AddICECandidate(c) })
	b.OnICECandidate(func(c *webrtc.ICECandidate) { _ = a.AddICECandidate(c) })
}

func peers() (a, b *webrtc.PeerConnection, end func()) {
	a, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	b, err = webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	return a, b, func() { a.Close(); b.Close() }
}

// every calls f each interval until the track that it writes to has ended.
func every(interval time.Duration, f func() error) {
	for range time.Tick(interval) {
		if f() != nil {
			return
		}
	}
}

// Encoded frames are written to a track, and come out as frames at the peer.
func ExampleSampleTrack() {
	a, b, end := peers()
	defer end()
	voice, err := webrtc.NewSampleTrack(webrtc.Opus, "microphone")
	check(err)
	_, err = a.AddTrack(voice)
	check(err)

	done := make(chan struct{})
	b.OnTrack(func(t *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
		go func() {
			s, err := t.ReadSample(context.Background())
			check(err)
			fmt.Printf("%s for %v: %x\n", s.Codec.MimeType, s.Duration, s.Data)
			close(done)
		}()
	})
	connect(a, b)
	defer voice.Stop()
	go every(20*time.Millisecond, func() error { return voice.WriteSample(webrtc.Sample{Data: []byte{0xf8, 0xff, 0xfe}}) }) // 20 ms of silence
	<-done
	// Output: audio/opus for 20ms: f8fffe
}

// Packets are written to a track as another connection, a file or an encoder has them, and read as they come.
func ExampleRTPTrack() {
	a, b, end := peers()
	defer end()
	track, err := webrtc.NewRTPTrack(webrtc.PCMU, "line 1")
	check(err)
	_, err = a.AddTrack(track)
	check(err)

	done := make(chan struct{})
	b.OnTrack(func(t *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
		go func() {
			var p rtp.Packet
			check(t.ReadRTP(context.Background(), &p))
			fmt.Println("payload type", p.PayloadType, "with", len(p.Payload), "bytes")
			close(done)
		}()
	})
	connect(a, b)
	defer track.Stop()
	p := rtp.Packet{Payload: make([]byte, 160)}
	go every(20*time.Millisecond, func() error { p.Timestamp += 160; return track.WriteRTP(&p) })
	<-done
	// Output: payload type 0 with 160 bytes
}

// Simulcast: a part of the track feeds each encoding, and the peer has a track for each.
func ExampleRemoteTrack_Encodings() {
	a, b, end := peers()
	defer end()
	camera, err := webrtc.NewSampleTrack(webrtc.VP8, "camera")
	check(err)
	_, err = a.AddTransceiverTrack(camera, &webrtc.RTPTransceiverInit{SendEncodings: []webrtc.RTPEncodingParameters{{RID: "low"}, {RID: "high"}}})
	check(err)

	done := make(chan struct{})
	b.OnTrack(func(t *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
		go func() {
			for _, layer := range t.Encodings() {
				s, err := layer.ReadSample(context.Background())
				check(err)
				fmt.Println(layer.RID(), "has pictures of", len(s.Data), "bytes")
			}
			close(done)
		}()
	})
	connect(a, b)
	defer camera.Stop()
	picture := func(n int) webrtc.Sample { // of VP8, and a key frame
		data := make([]byte, n)
		copy(data, []byte{0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0})
		return webrtc.Sample{Data: data, Duration: 33 * time.Millisecond}
	}
	go every(33*time.Millisecond, func() error {
		if err := camera.Encoding("low").WriteSample(picture(200)); err != nil {
			return err
		}
		return camera.Encoding("high").WriteSample(picture(900))
	})
	<-done
	// Output:
	// low has pictures of 200 bytes
	// high has pictures of 900 bytes
}
