// Command nats-chat connects two programs that know nothing of each other but a subject of a NATS server: the broker
// carries descriptions and candidates, and what is typed goes directly.
//
//	nats-server
//	go run . kitchen        and the same once more, elsewhere
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/parley-rtc/parley/examples/internal/usage"
	"github.com/parley-rtc/parley/webrtc"
)

func main() {
	server := flag.String("server", nats.DefaultURL, "the NATS server")
	subject := usage.Words(1, 1, "nats-chat [-server URL] SUBJECT")[0]
	if err := chat(context.Background(), *server, subject, os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// A signal is what the two programs tell each other by way of the broker.
type signal struct {
	From        string
	Here        bool // the first word
	Description *webrtc.SessionDescription
	Candidate   *webrtc.ICECandidate
}

// chat connects to whoever else is on the subject, and carries lines both ways until there are no more.
func chat(ctx context.Context, server, subject string, in io.Reader, out io.Writer) error {
	broker, err := nats.Connect(server, nats.NoEcho())
	if err != nil {
		return err
	}
	defer broker.Close()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer pc.Close()
	id := uint16(0)
	ch, err := pc.CreateDataChannel("chat", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
	if err != nil {
		return err
	}
	self := rand.Text()
	tell := func(s signal) {
		s.From = self
		if b, err := json.Marshal(s); err == nil {
			broker.Publish(subject, b)
		}
	}
	failed := make(chan error, 1)
	describe := func() error {
		if err := pc.SetLocalDescription(nil); err != nil {
			return err
		}
		tell(signal{Description: pc.LocalDescription()})
		pc.OnICECandidate(func(c *webrtc.ICECandidate) { // from now on: they come after the description
			if c != nil {
				tell(signal{Candidate: c})
			}
		})
		return nil
	}
	other := ""
	hear := func(m *nats.Msg) error { // one after the other
		var s signal
		if err := json.Unmarshal(m.Data, &s); err != nil || s.From == "" || other != "" && s.From != other {
			return nil // a third program, or no program of this kind
		}
		switch {
		case s.Here && other == "":
			other = s.From
			tell(signal{Here: true}) // it may have come after our first word
			if self < other {
				return describe()
			}
		case s.Description != nil:
			if err := pc.SetRemoteDescription(*s.Description); err != nil || s.Description.Type == webrtc.SDPTypeAnswer {
				return err
			}
			return describe()
		case s.Candidate != nil:
			return pc.AddICECandidate(s.Candidate)
		}
		return nil
	}
	if _, err := broker.Subscribe(subject, func(m *nats.Msg) {
		if err := hear(m); err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}); err != nil {
		return err
	}
	tell(signal{Here: true})

	open := make(chan struct{})
	ch.OnOpen(func() { close(open) })
	select {
	case <-open:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	fmt.Fprintln(out, "You are connected. Type.")
	go func() {
		for lines := bufio.NewScanner(in); lines.Scan(); {
			ch.SendText(lines.Text())
		}
		ch.Close()
	}()
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return nil // the other side has left, or we do
		}
		fmt.Fprintf(out, "> %s\n", m.Text())
	}
	return nil
}
