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
	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	var cfg webrtc.Configuration
	flag.Func("stun", "`URI` of a STUN server: stun:HOST", func(uri string) error {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: []string{uri}})
		return nil
	})
	args := usage.Words(2, 2, "send-file [-stun URI] send FILE", "send-file [-stun URI] receive FOLDER")
	if args[0] != "send" && args[0] != "receive" {
		usage.Wrong()
	}
	if err := run(context.Background(), cfg, args[0], args[1]); err != nil {
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
