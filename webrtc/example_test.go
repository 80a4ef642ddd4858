package webrtc_test

import (
	"fmt"

	"github.com/parley-rtc/parley/webrtc"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Two peers in one program say hello.
func Example() {
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
	a.OnICECandidate(func(c *webrtc.ICECandidate) { _ = b.AddICECandidate(c) }) // nil: end of candidates
	b.OnICECandidate(func(c *webrtc.ICECandidate) { _ = a.AddICECandidate(c) })
	<-done
	// Output: b received: hello from a
}

// A binding to a language with promises settles them in their turn among the events.
func ExamplePeerConnection_After() {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	defer pc.Close()
	_, err = pc.CreateDataChannel("chat", nil)
	check(err)
	complete := make(chan struct{})
	pc.OnSignalingStateChange(func(s webrtc.SignalingState) { fmt.Println("signaling:", s) })
	pc.OnICEGatheringStateChange(func(s webrtc.ICEGatheringState) {
		fmt.Println("gathering:", s)
		if s == webrtc.ICEGatheringStateComplete {
			close(complete)
		}
	})

	pc.After(func() error { return pc.SetLocalDescription(nil) }, func(err error) { fmt.Println("settled:", err) })
	<-complete
	// Output:
	// signaling: have-local-offer
	// settled: <nil>
	// gathering: gathering
	// gathering: complete
}
