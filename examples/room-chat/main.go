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
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	options := signaling.Options{}
	flag.StringVar(&options.Name, "name", "robot", "what the others see")
	longPoll := flag.Bool("long-poll", false, "no WebSocket")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: room-chat [-name NAME] [-long-poll] LINK-OF-A-ROOM")
		os.Exit(2)
	}
	if *longPoll {
		options.Carrier = signaling.LongPollOnly
	}
	fmt.Println("What you type is said to everybody who is here.")
	if err := chat(context.Background(), flag.Arg(0), options, os.Stdin, os.Stdout); err != nil {
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
	var mu sync.Mutex // for peers and out
	peers, names := map[string]*webrtc.PeerConnection{}, map[string]string{}
	channels := map[string]*webrtc.DataChannel{}
	defer func() {
		room.Close() // ends the range below
		for _, pc := range peers {
			pc.Close()
		}
	}()
	meet := func(p signaling.Peer) error {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		if err != nil {
			return err
		}
		id := uint16(0)
		ch, err := pc.CreateDataChannel("parley", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
		if err != nil {
			return err
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
		pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
			if s == webrtc.PeerConnectionStateFailed {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintf(out, "No way was found to %s\n", p.Name)
			}
		})
		mu.Lock()
		defer mu.Unlock()
		peers[p.ID], names[p.ID] = pc, p.Name
		signaling.Negotiate(pc, room, p.ID)
		return nil
	}
	for _, p := range room.Peers() {
		if err := meet(p); err != nil {
			return err
		}
	}
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
	for event, err := range room.Events(ctx) {
		switch e := event.(type) {
		case *signaling.Joined:
			if err := meet(e.Peer); err != nil {
				return err
			}
		case *signaling.Left:
			mu.Lock()
			pc := peers[e.Peer]
			delete(peers, e.Peer)
			delete(channels, e.Peer)
			if pc != nil {
				fmt.Fprintf(out, "%s has left\n", names[e.Peer])
			}
			mu.Unlock()
			if pc != nil {
				pc.Close()
			}
		}
		if err == signaling.ErrClosed {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
