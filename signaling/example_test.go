package signaling_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/parley-rtc/parley/signaling"
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

func check(err error) {
	if err != nil {
		panic(err)
	}
}
