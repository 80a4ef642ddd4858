package udp_test

import (
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/pkt"
)

func ExampleConn() {
	conn, err := udp.OpenConn(1, udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	var counters udp.Counters
	to := pkt.Path{Socket: 1, Remote: conn.LocalAddr()}
	conn.Send([]*pkt.Transmit{{Path: to, SegmentSize: 5, Payload: []byte("hellothere")}}, &counters)

	buf := make([]byte, udp.MaxConnDatagram+1)
	for range counters.Sent {
		var d pkt.Datagram
		if err := conn.Read(&d, buf); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s from myself: %v\n", d.Payload, d.Remote == conn.LocalAddr())
	}
	// Output:
	// hello from myself: true
	// there from myself: true
}
