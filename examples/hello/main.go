// Command hello connects two peers in one program, and one says hello to the other.
//
//	go run ./examples/hello
package main

import (
	"fmt"
	"log"

	"github.com/parley-rtc/parley/webrtc"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	a, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	defer a.Close()
	b, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	defer b.Close()

	done := make(chan struct{})
	b.OnDataChannel(func(ch *webrtc.DataChannel) {
		ch.OnMessage(func(m webrtc.Message) { fmt.Println("b received:", m.Text()); close(done) })
	})
	chat, err := a.CreateDataChannel("chat", nil)
	check(err)
	chat.OnOpen(func() { check(chat.SendText("hello from a")) })

	check(a.SetLocalDescription(nil)) // creates the offer
	check(b.SetRemoteDescription(*a.LocalDescription()))
	check(b.SetLocalDescription(nil)) // creates the answer
	check(a.SetRemoteDescription(*b.LocalDescription()))
	a.OnICECandidate(func(c *webrtc.ICECandidate) { _ = b.AddICECandidate(c) }) // an error only once b is closed
	b.OnICECandidate(func(c *webrtc.ICECandidate) { _ = a.AddICECandidate(c) })
	<-done
}
