package ice_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Two agents find a path to each other. Here one function is their signaling, their sockets and their clock.
func Example() {
	alice, err := ice.New(ice.Config{Role: ice.Controlling, Entropy: rand.Reader})
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := ice.New(ice.Config{Role: ice.Controlled, Entropy: rand.Reader})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := mono.Time(0)
	signal := func(from, to *ice.Agent, address string) {
		if err := to.SetRemoteCredentials(now, ice.Remote{Credentials: from.LocalCredentials()}); err != nil {
			fmt.Println(err)
		}
		c, _ := from.AddLocalCandidate(now, ice.Candidate{Address: netip.MustParseAddrPort(address)})
		c, _ = ice.FromSDP(c.SDP()) // what signaling carries
		to.AddRemoteCandidate(now, c)
		from.EndOfLocalCandidates(now)
		to.EndOfRemoteCandidates(now)
	}
	signal(alice, bob, "192.0.2.1:4000")
	signal(bob, alice, "192.0.2.2:5000")

	batch := pkt.NewBatch(1<<16, 64)
	carry := func(from, to *ice.Agent) (any bool) {
		batch.Reset()
		from.AppendTransmit(now, batch)
		for _, t := range batch.Transmits() {
			to.HandleDatagram(now, &pkt.Datagram{Path: pkt.Path{Local: t.Remote, Remote: t.Local}, Payload: t.Payload})
		}
		return batch.Len() > 0
	}
	for alice.State() != ice.StateCompleted || bob.State() != ice.StateCompleted {
		for carry(alice, bob) || carry(bob, alice) {
		}
		now = mono.Min(alice.NextTimeout(), bob.NextTimeout())
		alice.HandleTimeout(now)
		bob.HandleTimeout(now)
	}
	for e, ok := alice.NextEvent(); ok; e, ok = alice.NextEvent() {
		switch e := e.(type) {
		case ice.SelectedPairChanged:
			fmt.Println("alice sends to", e.Pair.Path.Remote)
		case ice.StateChanged:
			fmt.Println("alice is", e.State)
		}
	}
	// Output:
	// alice sends to 192.0.2.2:5000
	// alice is completed
}
