package sctp_test

import (
	"crypto/rand"
	"fmt"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// Two associations in one program, with a network between them that loses nothing and takes no time.
func ExampleAssociation() {
	client, _ := sctp.New(sctp.Config{Rand: rand.Reader})
	server, _ := sctp.New(sctp.Config{Rand: rand.Reader, Server: true})
	now := mono.Time(0) // what the caller's clock says

	chat, _ := client.Open(now, sctp.ChannelConfig{Label: "chat"})
	client.Send(now, chat, true, []byte("hello"))
	client.Connect(now)

	packet := make([]byte, 0, 1200)
	for moved := true; moved; {
		moved = false
		for _, way := range [][2]*sctp.Association{{client, server}, {server, client}} {
			if p := way[0].AppendPacket(packet, now); len(p) > 0 {
				way[1].HandlePacket(now, p)
				moved = true
			}
		}
	}
	for {
		e, ok := server.NextEvent()
		if !ok {
			break
		}
		switch e.Kind {
		case sctp.ChannelOpen:
			fmt.Printf("channel %d is %q\n", e.Stream, e.Channel.Label)
		case sctp.Message:
			fmt.Printf("channel %d says %q\n", e.Stream, e.Data)
			server.Consume(len(e.Data))
		}
	}
	// Output:
	// channel 0 is "chat"
	// channel 0 says "hello"
}
