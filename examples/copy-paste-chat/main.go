// Command copy-paste-chat talks to a browser, with no server between them: open the page that it names, copy the page's
// offer into the terminal and the program's answer into the page, and type.
//
//	go run ./examples/copy-paste-chat
//
// To a browser behind another NAT a STUN server is needed: -stun stun:HOST here, and ?stun=stun:HOST behind the page's address.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/parley-rtc/parley/examples/internal/paste"
	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/webrtc"
)

//go:embed page.html
var page string

func main() {
	var cfg webrtc.Configuration
	flag.Func("stun", "`URI` of a STUN server: stun:HOST", func(uri string) error {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: []string{uri}})
		return nil
	})
	usage.Words(0, 0, "copy-paste-chat [-stun URI]")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }))
	fmt.Printf("Open http://%s/ in a browser on this machine.\n", l.Addr())
	if err := chat(context.Background(), cfg, os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// chat answers one offer and then carries lines both ways, until either side ends.
func chat(ctx context.Context, cfg webrtc.Configuration, in io.Reader, out io.Writer) error {
	pc, err := webrtc.NewPeerConnection(cfg)
	if err != nil {
		return err
	}
	defer pc.Close()
	channels := make(chan *webrtc.DataChannel, 1)
	pc.OnDataChannel(func(ch *webrtc.DataChannel) { channels <- ch })

	lines := bufio.NewReader(in)
	if err := paste.Answer(ctx, pc, lines, out); err != nil {
		return err
	}
	ch := <-channels
	fmt.Fprintf(out, "You are connected. Type, and press Enter.\n")
	go func() {
		for {
			line, err := lines.ReadString('\n')
			if err != nil || ch.SendText(line[:len(line)-1]) != nil {
				ch.Close()
				return
			}
		}
	}()
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return nil // the page was closed
		}
		fmt.Fprintf(out, "> %s\n", m.Text())
	}
	return nil
}
