package turn_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A driver hands in what arrives, does what events ask for, and sends what it is given. Here a client allocates, with a
// credential made from the server's secret, and a peer answers through the relay.
func Example() {
	const secret = "sixteen bytes or more"
	start := time.Now() // at mono.Time zero
	server, err := turn.New(turn.Config{
		Entropy: rand.Reader,
		Secrets: []string{secret},
		Epoch:   start,
		Relay:   []netip.Addr{netip.MustParseAddr("198.41.0.9")},
		Public:  true,
	})
	if err != nil {
		panic(err)
	}
	now := mono.Time(0)
	const listening, relaySocket pkt.Socket = 0, 1
	server.AddSocket(now, listening, false)

	batch := pkt.NewBatch(1<<16, 32)
	drive := func() []byte { // returns the payload of the last datagram that is sent
		for {
			e, ok := server.NextEvent()
			if !ok {
				break
			}
			if open, ok := e.(turn.OpenRelay); ok { // bind a UDP socket; this one is made up
				server.RelayOpened(now, open.Request, relaySocket, open.Address)
			}
		}
		batch.Reset()
		server.AppendTransmit(now, batch)
		return batch.Transmits()[batch.Len()-1].Payload
	}

	username, password, err := turn.NewCredential(secret, "seat 7", start.Add(time.Hour), turn.Limits{Allocations: 4})
	if err != nil {
		panic(err)
	}
	client := pkt.Path{Socket: listening, Remote: netip.MustParseAddrPort("5.9.0.1:40000")}
	peer := netip.MustParseAddrPort("8.8.4.4:5000")
	credential, hasher := stun.NewCredential(username, password), stun.NewHasher()
	ask := func(method stun.Method, attributes func(b *stun.Builder)) stun.Message {
		b := stun.NewBuilder(nil, stun.Request, method, stun.TransactionID{})
		attributes(&b)
		credential.Sign(&b, hasher)
		request, _ := b.Message()
		server.HandleDatagram(now, &pkt.Datagram{Path: client, Payload: request})
		response, err := stun.Parse(drive())
		if err != nil {
			panic(err)
		}
		return response
	}
	udp := func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) }

	challenge := ask(stun.Allocate, udp)
	code, _, _ := challenge.ErrorCode()
	fmt.Println("first:", code)
	if err := credential.Challenge(hasher, &challenge); err != nil {
		panic(err)
	}
	m := ask(stun.Allocate, udp)
	relayed, _ := m.XORAddress(stun.AttrXORRelayedAddress)
	seconds, _ := m.Uint32(stun.AttrLifetime)
	fmt.Println("then:", m.Class(), "relayed from", relayed.Addr(), "for", seconds, "s")

	ask(stun.ChannelBind, func(b *stun.Builder) {
		b.Uint32(stun.AttrChannelNumber, 0x4000<<16)
		b.XORAddress(stun.AttrXORPeerAddress, peer)
	})
	batch.Reset()
	server.Relay(now, &pkt.Datagram{
		Path:    pkt.Path{Socket: relaySocket, Local: relayed, Remote: peer},
		Payload: []byte("hello"),
	}, batch)
	fmt.Printf("the client gets %q\n", batch.Transmits()[0].Payload)
	// Output:
	// first: 401 (Unauthenticated)
	// then: success response relayed from 198.41.0.9 for 600 s
	// the client gets "@\x00\x00\x05hello"
}
