// Command room-media plays files to everybody in a room of a Parley server, browsers in the web app included, or records what the
// others send:
//
//	go run ./cmd/parley serve
//	ffmpeg -i film.mkv -c:v libvpx -deadline realtime -b:v 1M -g 60 film.ivf -c:a libopus -page_duration 20000 film.ogg
//	go run ./examples/room-media play http://localhost:8080/r/kitchen film.ivf film.ogg
//	go run ./examples/room-media record http://localhost:8080/r/kitchen folder
//
// Files are IVF (VP8, VP9, AV1), .h264 and .h265 (25 pictures a second), and Ogg with Opus. Recordings are the same kinds, a file for
// each track, and end with the program, or when the peer has left.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) >= 3 && args[0] == "play":
		err = play(ctx, args[1], args[2:])
	case len(args) == 3 && args[0] == "record":
		err = record(ctx, args[1], args[2], func(file string, frames int) {
			if frames == 1 {
				fmt.Println("recording", file)
			}
		})
	default:
		fmt.Fprintln(os.Stderr, "usage: room-media play LINK-OF-A-ROOM FILE...\n       room-media record LINK-OF-A-ROOM FOLDER")
		os.Exit(2)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// meet connects to everybody who is in the room, or comes, until the context ends. Greet is given each connection before it is
// negotiated.
func meet(ctx context.Context, link, name string, greet func(*webrtc.PeerConnection, signaling.Peer) error) error {
	room, err := signaling.Dial(ctx, link, signaling.Options{Name: name})
	if err != nil {
		return err
	}
	peers := map[string]*webrtc.PeerConnection{}
	defer func() {
		room.Close()
		for _, pc := range peers {
			pc.Close()
		}
	}()
	connect := func(p signaling.Peer) error {
		pc, err := webrtc.NewPeerConnection(room.Configuration())
		if err != nil {
			return err
		}
		peers[p.ID] = pc
		if err := greet(pc, p); err != nil {
			return err
		}
		signaling.Negotiate(pc, room, p.ID)
		return nil
	}
	for _, p := range room.Peers() {
		if err := connect(p); err != nil {
			return err
		}
	}
	for event, err := range room.Events(ctx) {
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case *signaling.Joined:
			if err := connect(e.Peer); err != nil {
				return err
			}
		case *signaling.Left:
			if pc := peers[e.Peer]; pc != nil {
				pc.Close()
			}
			delete(peers, e.Peer)
		}
	}
	return nil
}
