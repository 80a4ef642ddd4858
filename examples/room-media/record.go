package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// record writes each track of each peer to a file of its own in a folder, until the context ends. Wrote is told
// of each frame.
func record(ctx context.Context, link, folder string, wrote func(file string, frames int)) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	room, err := signaling.Dial(ctx, link, signaling.Options{Name: "recorder"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writing sync.WaitGroup
	defer writing.Wait()
	var count atomic.Int64
	return signaling.Meet(ctx, room, func(_ context.Context, p signaling.Peer) (*webrtc.PeerConnection, error) {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		if err != nil {
			return nil, err
		}
		pc.OnTrack(func(track *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
			name := filepath.Join(folder, fmt.Sprintf("%03d-%s-%s", count.Add(1), clean(p.Name), track.Kind()))
			writing.Go(func() {
				if err := write(ctx, track, name, wrote); err != nil {
					cancel(err)
				}
			})
		})
		return pc, nil
	})
}

// clean leaves letters, digits and hyphens of a name that somebody chose.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, name)
}

// A sink writes frames to a file.
type sink interface {
	write(s *webrtc.Sample) error
	close() error
}

// write writes a track to a file, beginning with a key frame, until it ends.
func write(ctx context.Context, track *webrtc.RemoteTrack, name string, wrote func(string, int)) error {
	var out sink
	var file string
	frames := 0
	for {
		s, err := track.ReadSample(ctx)
		if err == io.EOF || ctx.Err() != nil {
			if out == nil {
				return nil
			}
			return out.close()
		}
		if err != nil {
			return err
		}
		if s.Lost || out == nil && !s.KeyFrame {
			continue
		}
		if out == nil {
			if out, file, err = create(name, &s); err != nil {
				return err
			}
		}
		if err := out.write(&s); err != nil {
			return err
		}
		frames++
		wrote(file, frames)
	}
}

// create begins the file for a codec.
func create(name string, first *webrtc.Sample) (sink, string, error) {
	codec := strings.ToLower(first.Codec.MimeType)
	extension, ok := map[string]string{
		"video/vp8": ".ivf", "video/vp9": ".ivf", "video/av1": ".ivf", "video/h264": ".h264", "video/h265": ".h265",
		"audio/opus": ".ogg", "audio/pcmu": ".ulaw", "audio/pcma": ".alaw",
	}[codec]
	if !ok {
		return nil, "", fmt.Errorf("there is no file for %s", codec)
	}
	f, err := os.Create(name + extension)
	if err != nil {
		return nil, "", err
	}
	clock := timeline{last: first.Timestamp}
	switch extension {
	case ".ivf":
		fourCC := map[string]string{"video/vp8": ivf.VP8, "video/vp9": ivf.VP9, "video/av1": ivf.AV1}[codec]
		w, err := ivf.NewWriter(f, ivf.Header{Codec: fourCC, Rate: first.Codec.ClockRate, Scale: 1}) // players find the size in key frames
		return &video{f, w, clock}, f.Name(), err
	case ".ogg":
		w, err := ogg.NewOpusWriter(f, rand.Uint32(), ogg.OpusHead{Channels: 2, SampleRate: first.Codec.ClockRate})
		return &audio{f, w, clock}, f.Name(), err
	}
	return &bytesOnly{f}, f.Name(), nil
}

// A timeline unwraps timestamps.
type timeline struct {
	last  uint32
	total int64
}

func (t *timeline) at(timestamp uint32) int64 {
	t.total += int64(int32(timestamp - t.last))
	t.last = timestamp
	return t.total
}

type video struct {
	f     *os.File
	w     *ivf.Writer
	clock timeline
}

func (v *video) write(s *webrtc.Sample) error {
	return v.w.Write(ivf.Frame{PTS: uint64(max(v.clock.at(s.Timestamp), 0)), Data: s.Data})
}

func (v *video) close() error {
	if err := v.w.Close(); err != nil {
		return err
	}
	return v.f.Close()
}

type audio struct {
	f     *os.File
	w     *ogg.OpusWriter
	clock timeline
}

// write leaves what was lost to the writer, which fills gaps.
func (a *audio) write(s *webrtc.Sample) error {
	return a.w.Write(ogg.OpusPacket{Position: a.clock.at(s.Timestamp), Data: s.Data})
}

func (a *audio) close() error {
	if err := a.w.Close(); err != nil {
		return err
	}
	return a.f.Close()
}

// bytesOnly is of codecs whose frames are their file.
type bytesOnly struct{ f *os.File }

func (b *bytesOnly) write(s *webrtc.Sample) error {
	_, err := b.f.Write(s.Data)
	return err
}

func (b *bytesOnly) close() error { return b.f.Close() }
