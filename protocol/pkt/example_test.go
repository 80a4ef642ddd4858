package pkt_test

import (
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// An echo engine queues what it hears and writes it into the driver's batch when asked.
func ExampleBatch() {
	var queue []pkt.Path
	hear := func(d *pkt.Datagram) { queue = append(queue, d.Path) }
	appendTransmit := func(b *pkt.Batch) (more bool) {
		for len(queue) > 0 {
			buf := b.Reserve(5)
			if buf == nil {
				return true
			}
			b.Commit(pkt.Transmit{Path: queue[0], Payload: append(buf, "heard"...)})
			queue = queue[1:]
		}
		return false
	}

	remote := netip.MustParseAddrPort("192.0.2.7:5000")
	for range 3 {
		hear(&pkt.Datagram{Path: pkt.Path{Remote: remote}, Payload: []byte("hello")})
	}
	b := pkt.NewBatch(1500, 2)
	for more := true; more; {
		b.Reset()
		more = appendTransmit(b)
		for _, t := range b.Transmits() {
			fmt.Printf("%s to %v\n", t.Payload, t.Remote)
		}
		fmt.Println("more:", more)
	}
	// Output:
	// heard to 192.0.2.7:5000
	// heard to 192.0.2.7:5000
	// more: true
	// heard to 192.0.2.7:5000
	// more: false
}
