package stun_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// A client asks a server which address its packets come from. The driver would send what is in the batch over a
// socket and hand in what arrives; here the server's answer is made on the spot.
func Example() {
	server := netip.MustParseAddrPort("198.51.100.1:3478")
	id := stun.TransactionID{} // in earnest: 12 bytes from crypto/rand
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, id)
	b.Fingerprint()
	request, err := b.Message()
	if err != nil {
		panic(err)
	}
	now := mono.Time(0)
	tx, err := stun.NewTransaction(now, stun.TransactionConfig{Path: pkt.Path{Remote: server}}, request)
	if err != nil {
		panic(err)
	}

	batch := pkt.NewBatch(1500, 1)
	tx.AppendTransmit(now, batch)
	sent := batch.Transmits()[0]
	fmt.Println(len(sent.Payload), "bytes to", sent.Remote, "and again in", tx.NextTimeout().Sub(now))

	seen := netip.MustParseAddrPort("203.0.113.5:61000") // what a NAT made of the client's address
	m, err := stun.Parse(sent.Payload)
	if err != nil {
		panic(err)
	}
	r := stun.Respond(nil, stun.Success, &m)
	r.XORAddress(stun.AttrXORMappedAddress, seen)
	response, _ := r.Message()

	now = now.Add(20 * time.Millisecond)
	tx.HandleDatagram(now, &pkt.Datagram{Path: pkt.Path{Remote: server}, Payload: response})
	if done, ok := tx.NextEvent(); ok && done.Err == nil {
		mapped, _ := done.Response.XORAddress(stun.AttrXORMappedAddress)
		fmt.Println("mapped to", mapped, "in", done.RTT)
	}
	// Output:
	// 28 bytes to 198.51.100.1:3478 and again in 500ms
	// mapped to 203.0.113.5:61000 in 20ms
}
