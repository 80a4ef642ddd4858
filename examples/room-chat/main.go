// Command room-chat talks to everybody in a room of a Parley server, browsers in the web app included:
//
//	go run ./cmd/parley serve
//	go run ./examples/room-chat http://localhost:8080/r/kitchen
//
// Signaling goes over a WebSocket, or over HTTP long-poll where WebSockets are blocked; -long-poll takes that at once.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	options := signaling.Options{}
	flag.StringVar(&options.Name, "name", "robot", "what the others see")
	longPoll := flag.Bool("long-poll", false, "no WebSocket")
	link := usage.Words(1, 1, "room-chat [-name NAME] [-long-poll] LINK-OF-A-ROOM")[0]
	if *longPoll {
		options.Carrier = signaling.LongPollOnly
	}
	fmt.Println("What you type is said to everybody who is here.")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := chat(ctx, link, options, os.Stdin, os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// A text is what the app's browsers say to each other in the channel that all of them have.
type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// chat says each line to everybody, and writes what they say, until there are no more lines.
func chat(ctx context.Context, link string, options signaling.Options, in io.Reader, out io.Writer) error {
	room, err := signaling.Dial(ctx, link, options)
	if err != nil {
		return err
	}
	var mu sync.Mutex // for channels and out
	channels := map[string]*webrtc.DataChannel{}
	go func() {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			b, _ := json.Marshal(text{"chat", lines.Text()})
			mu.Lock()
			for _, ch := range channels {
				ch.SendText(string(b)) // whoever has gone does not hear it
			}
			mu.Unlock()
		}
		room.Close()
	}()
	err = signaling.Meet(ctx, room, func(ctx context.Context, p signaling.Peer) (*webrtc.PeerConnection, error) {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		if err != nil {
			return nil, err
		}
		id := uint16(0)
		ch, err := pc.CreateDataChannel("parley", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
		if err != nil {
			return pc, err
		}
		ch.OnMessage(func(m webrtc.Message) {
			var t text
			if json.Unmarshal(m.Data, &t) == nil && t.Type == "chat" {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(out, "%s> %s\n", p.Name, t.Text)
			}
		})
		ch.OnOpen(func() {
			mu.Lock()
			defer mu.Unlock()
			channels[p.ID] = ch
			fmt.Fprintf(out, "%s is here\n", p.Name)
		})
		context.AfterFunc(ctx, func() {
			mu.Lock()
			defer mu.Unlock()
			if channels[p.ID] == ch {
				delete(channels, p.ID)
			}
			if context.Cause(ctx) == signaling.ErrLeft {
				fmt.Fprintf(out, "%s has left\n", p.Name)
			}
		})
		pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
			if s == webrtc.PeerConnectionStateFailed {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(out, "No way was found to %s\n", p.Name)
			}
		})
		return pc, nil
	})
	if err == signaling.ErrClosed {
		return nil
	}
	return err
}
