package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/parley-rtc/parley/media/annexb"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// A source reads the frames of a file: each with when it is due, and how long it lasts.
type source func() (data []byte, at, duration time.Duration, err error)

// open opens a file, and tells what is in it.
func open(file string) (webrtc.RTPCodec, source, io.Closer, error) {
	f, err := os.Open(file)
	if err != nil {
		return webrtc.RTPCodec{}, nil, nil, err
	}
	codec, next, err := sourceOf(f, filepath.Ext(file))
	if err != nil {
		f.Close()
		return codec, nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return codec, next, f, nil
}

func sourceOf(f io.Reader, extension string) (webrtc.RTPCodec, source, error) {
	switch extension {
	case ".ivf":
		r, err := ivf.NewReader(f)
		if err != nil {
			return webrtc.RTPCodec{}, nil, err
		}
		codec, ok := map[string]webrtc.RTPCodec{ivf.VP8: webrtc.VP8, ivf.VP9: webrtc.VP9, ivf.AV1: webrtc.AV1}[r.Header.Codec]
		if !ok {
			return codec, nil, fmt.Errorf("codec %s is not for WebRTC", r.Header.Codec)
		}
		unit := r.Header.Time(1)
		return codec, func() ([]byte, time.Duration, time.Duration, error) {
			frame, err := r.Next()
			return frame.Data, r.Header.Time(frame.PTS), unit, err
		}, nil
	case ".h264", ".h265", ".hevc":
		kind, codec := annexb.H265, webrtc.H265
		if extension == ".h264" {
			kind, codec = annexb.H264, webrtc.H264
		}
		r, n := annexb.NewReader(f, kind), 0
		const each = time.Second / 25
		return codec, func() ([]byte, time.Duration, time.Duration, error) {
			unit, err := r.NextAccessUnit()
			n++
			return unit, time.Duration(n-1) * each, each, err
		}, nil
	case ".ogg", ".opus":
		r, err := ogg.NewOpusReader(f)
		if err != nil {
			return webrtc.RTPCodec{}, nil, err
		}
		return webrtc.Opus, func() ([]byte, time.Duration, time.Duration, error) {
			p, err := r.Next()
			return p.Data, r.Head.Time(p), time.Duration(p.Duration) * time.Second / 48000, err
		}, nil
	}
	return webrtc.RTPCodec{}, nil, fmt.Errorf("no file of a known kind")
}

// play sends files to everybody, over and over, until the context ends.
func play(ctx context.Context, link string, files []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var tracks []webrtc.Track
	for _, file := range files {
		codec, _, closer, err := open(file) // to see that it can be
		if err != nil {
			return err
		}
		closer.Close()
		track, err := webrtc.NewSampleTrack(codec, filepath.Base(file))
		if err != nil {
			return err
		}
		tracks = append(tracks, track)
		go func() { cancel(loop(ctx, track, file)) }()
	}
	room, err := signaling.Dial(ctx, link, signaling.Options{Name: "player"})
	if err != nil {
		return err
	}
	stream := webrtc.NewMediaStream("room-media", tracks...)
	return signaling.Meet(ctx, room, func(context.Context, signaling.Peer) (*webrtc.PeerConnection, error) {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		for _, track := range tracks {
			if err == nil {
				_, err = pc.AddTrack(track, stream)
			}
		}
		return pc, err
	})
}

// loop writes a file to a track, from the beginning again at its end, each frame when it is due.
func loop(ctx context.Context, track *webrtc.SampleTrack, file string) error {
	begin, total := time.Now(), time.Duration(0)
	for {
		_, next, closer, err := open(file)
		if err != nil {
			return err
		}
		first, end := time.Duration(-1), time.Duration(0)
		for {
			data, at, duration, err := next()
			if err == io.EOF {
				break
			}
			if err != nil {
				closer.Close()
				return err
			}
			if first < 0 {
				first = at // that of Opus is before 0
			}
			end = at - first + duration
			select {
			case <-time.After(time.Until(begin.Add(total + at - first))):
			case <-ctx.Done():
				closer.Close()
				return ctx.Err()
			}
			if err := track.WriteSample(webrtc.Sample{Data: data, Duration: duration}); err != nil {
				closer.Close()
				return err
			}
		}
		closer.Close()
		if total += end; end == 0 {
			return fmt.Errorf("%s: nothing in it", file)
		}
	}
}
