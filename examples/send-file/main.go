// Command send-file sends a file to another machine, directly, and goes on where it stopped when it is run again. The
// two lines of signaling are copied by hand:
//
//	go run ./examples/send-file receive folder      prints an answer for the offer that is pasted
//	go run ./examples/send-file send file
//
// Between two NATs a STUN server is needed: -stun stun:HOST before the command.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"github.com/parley-rtc/parley/examples/internal/paste"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	var cfg webrtc.Configuration
	flag.Func("stun", "URI of a STUN server", func(uri string) error {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: []string{uri}})
		return nil
	})
	flag.Parse()
	if what := flag.Arg(0); flag.NArg() != 2 || what != "send" && what != "receive" {
		log.Fatal("usage: send-file send FILE, or send-file receive FOLDER")
	}
	if err := run(context.Background(), cfg, flag.Arg(0), flag.Arg(1)); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, cfg webrtc.Configuration, what, path string) error {
	pc, err := webrtc.NewPeerConnection(cfg)
	if err != nil {
		return err
	}
	defer pc.Close()
	// Both sides make the same channel, so nobody has to wait for an announcement.
	ch, err := pc.CreateDataChannel("file", &webrtc.DataChannelInit{Negotiated: true, ID: new(uint16(0))})
	if err != nil {
		return err
	}
	open := make(chan struct{})
	ch.OnOpen(func() { close(open) })
	signal, move := paste.Offer, send
	if what == "receive" {
		signal, move = paste.Answer, receive
	}
	if err := signal(ctx, pc, bufio.NewReader(os.Stdin), os.Stdout); err != nil {
		return err
	}
	<-open
	n, err := move(ctx, ch, path)
	fmt.Fprintf(os.Stderr, "%d bytes\n", n)
	return err
}
