package fec_test

import (
	"fmt"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Four packets and a repair packet are sent; the third one is lost.
func Example() {
	config := fec.Config{Format: fec.FlexFEC03}
	encoder, decoder := fec.NewEncoder(config), fec.NewDecoder(config)
	encoder.Protect(fec.Protection{Rate: 0.25})

	for n := range uint16(4) {
		p := rtp.Packet{SSRC: 1, PayloadType: 96, SequenceNumber: n, Marker: n == 3, Payload: fmt.Appendf(nil, "packet %d", n)}
		packet := p.Append(nil)
		encoder.Media(packet)
		if n != 2 {
			decoder.Media(packet)
		}
	}
	encoder.EndFrame()
	for payload, ok := encoder.AppendRepair(nil); ok; payload, ok = encoder.AppendRepair(nil) {
		decoder.Repair(&rtp.Packet{SSRC: 2, PayloadType: 118, Payload: payload})
	}

	for packet, ok := decoder.Next(); ok; packet, ok = decoder.Next() {
		p, _ := rtp.Parse(packet)
		fmt.Printf("%d: %s\n", p.SequenceNumber, p.Payload)
	}
	// Output:
	// 2: packet 2
}
