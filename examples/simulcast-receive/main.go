// Command simulcast-receive joins a room of a Parley server and tells what encodings of video the others send, and how much of
// each:
//
//	go run ./cmd/parley serve
//	go run ./examples/simulcast-receive http://localhost:8080/r/kitchen
//
// A peer that sends one encoding has one line; one with simulcast has a line for each, as a server that forwards sees it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	name := flag.String("name", "observer", "what the others see")
	link := usage.Words(1, 1, "simulcast-receive [-name NAME] LINK-OF-A-ROOM")[0]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := observe(ctx, link, *name, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// observe writes what comes until the context is done or the room has ended.
func observe(ctx context.Context, link, name string, out io.Writer) error {
	room, err := signaling.Dial(ctx, link, signaling.Options{Name: name})
	if err != nil {
		return err
	}
	lines := &lines{out: out}
	return signaling.Meet(ctx, room, func(ctx context.Context, p signaling.Peer) (*webrtc.PeerConnection, error) {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		if err != nil {
			return nil, err
		}
		pc.OnTrack(func(t *webrtc.RemoteTrack, _ *webrtc.RTPReceiver) {
			if t.Kind() != "video" {
				return
			}
			for _, layer := range t.Encodings() {
				go lines.measure(ctx, p.Name, layer)
			}
		})
		return pc, nil
	})
}

// lines writes one line at a time.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

// measure writes a line for each second in which something of an encoding came.
func (l *lines) measure(ctx context.Context, name string, t *webrtc.RemoteTrack) {
	encoding := t.RID()
	if encoding == "" {
		encoding = "without RID"
	}
	var p rtp.Packet
	pictures, bytes, since := 0, 0, time.Now()
	for t.ReadRTP(ctx, &p) == nil {
		bytes += len(p.Payload)
		if p.Marker {
			pictures++
		}
		if elapsed := time.Since(since); elapsed >= time.Second {
			l.mu.Lock()
			fmt.Fprintf(l.out, "%s, %s: %.0f pictures and %.0f kbit each second\n", name, encoding, float64(pictures)/elapsed.Seconds(), float64(bytes)*8/1000/elapsed.Seconds())
			l.mu.Unlock()
			pictures, bytes, since = 0, 0, time.Now()
		}
	}
}
