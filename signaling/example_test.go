package signaling_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/webrtc"
)

// Two programs meet in a room, and one offers a connection to the other.
func Example() {
	hub, err := signaling.NewHub(signaling.Config{})
	check(err)
	mux := http.NewServeMux()
	mux.Handle("/api/signal", hub)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer hub.Close()

	ctx := context.Background()
	link := server.URL + "/r/" + signaling.NewRoomName()
	ada, err := signaling.Dial(ctx, link, signaling.Options{Name: "Ada"})
	check(err)
	defer ada.Close()
	robot, err := signaling.Dial(ctx, link, signaling.Options{Name: "robot"})
	check(err)
	defer robot.Close()

	for _, peer := range robot.Peers() { // whoever was there before
		_, err := robot.Send(&signaling.Description{
			To:          peer.ID,
			Description: signaling.SessionDescription{Type: signaling.SDPOffer, SDP: "v=0 ..."},
		})
		check(err)
	}

	for event, err := range ada.Events(ctx) {
		check(err)
		switch e := event.(type) {
		case *signaling.Joined:
			fmt.Println(e.Peer.Name, "joined")
		case *signaling.Description:
			fmt.Println(e.Description.Type, "from the robot:", e.From == robot.Self().ID)
			return
		}
	}
	// Output:
	// robot joined
	// offer from the robot: true
}

// Everybody in a room says hello to everybody, in a channel that each makes by itself.
func ExampleMeet() {
	hub, err := signaling.NewHub(signaling.Config{})
	check(err)
	mux := http.NewServeMux()
	mux.Handle("/api/signal", hub)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer hub.Close()

	heard := make(chan string)
	greet := func(ctx context.Context, name string) error {
		room, err := signaling.Dial(ctx, server.URL+"/r/kitchen", signaling.Options{Name: name})
		if err != nil {
			return err
		}
		return signaling.Meet(ctx, room, func(ctx context.Context, peer signaling.Peer) (*webrtc.PeerConnection, error) {
			pc, err := webrtc.NewPeerConnection(room.Configuration())
			if err != nil {
				return nil, err
			}
			id := uint16(0)
			ch, err := pc.CreateDataChannel("hello", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
			if err != nil {
				return pc, err
			}
			ch.OnOpen(func() { ch.SendText("hello " + peer.Name) })
			ch.OnMessage(func(m webrtc.Message) { heard <- peer.Name + " says " + m.Text() })
			return pc, nil
		})
	}
	ctx, leave := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, name := range []string{"Ada", "Bob", "Eve"} {
		all.Go(func() { greet(ctx, name) })
	}
	for range 6 {
		fmt.Println(<-heard)
	}
	leave()
	all.Wait()
	// Unordered output:
	// Ada says hello Bob
	// Ada says hello Eve
	// Bob says hello Ada
	// Bob says hello Eve
	// Eve says hello Ada
	// Eve says hello Bob
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
