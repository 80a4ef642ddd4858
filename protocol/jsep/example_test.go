package jsep_test

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// Two sessions agree on data channels and a video. What the transports are then told goes to ICE and DTLS.
func Example() {
	made := func(fingerprint string) *jsep.Session {
		s, err := jsep.New(jsep.Config{
			Entropy:      rand.Reader,
			Fingerprints: []sdp.Fingerprint{{Hash: "sha-256", Value: strings.Repeat(fingerprint+":", 31) + fingerprint}},
		})
		if err != nil {
			panic(err)
		}
		return s
	}
	alice, bob := made("A1"), made("B0")
	alice.AddData()
	video, err := alice.AddTransceiver("video", jsep.TransceiverInit{Direction: sdp.SendOnly})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("an offer is needed:", alice.NegotiationNeeded())

	if _, err := alice.SetLocal(jsep.Description{}); err != nil { // creates the offer
		fmt.Println(err)
		return
	}
	changes, err := bob.SetRemote(alice.PendingLocal())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("bob is", changes.After, "and sees", len(changes.Tracks), "track")
	if _, err := bob.SetLocal(jsep.Description{}); err != nil { // creates the answer
		fmt.Println(err)
		return
	}
	changes, err = alice.SetRemote(bob.CurrentLocal())
	if err != nil {
		fmt.Println(err)
		return
	}
	t := changes.Transports[0]
	fmt.Println("alice is", changes.After, "and carries", len(t.MIDs), "sections on", len(changes.Transports), "transport")
	fmt.Println("the peer's certificate is", t.RemoteFingerprints[0].Value[:5], "...")
	fmt.Println("data goes to port", changes.Data.RemotePort, "and video is", video.CurrentDirection())
	// Output:
	// an offer is needed: true
	// bob is have-remote-offer and sees 1 track
	// alice is stable and carries 2 sections on 1 transport
	// the peer's certificate is B0:B0 ...
	// data goes to port 5000 and video is sendonly
}
