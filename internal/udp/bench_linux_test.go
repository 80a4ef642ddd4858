package udp

import (
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// BenchmarkTrip sends and receives batches of 32 datagrams of 1200 bytes over the loopback interface, to one address or
// to eight in turns; one operation is one datagram, sent and received.
func BenchmarkTrip(b *testing.B) {
	for _, f := range batchedForms() {
		for _, destinations := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/%d", f.name, destinations), func(b *testing.B) {
				from := f.open(b, Config{Local: loopback4}).(*socketEndpoint)
				var to []*socketEndpoint
				for range destinations {
					to = append(to, f.open(b, Config{Local: loopback4}).(*socketEndpoint))
				}
				const batch = 32
				var ts []pkt.Transmit
				for i := range batch {
					ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: to[i%destinations].LocalAddr()}, Payload: make([]byte, 1200)})
				}
				ps := pointers(ts)
				received := 0
				count := func(*pkt.Datagram) { received++ }
				b.ReportAllocs()
				b.ResetTimer()
				sent := 0
				for sent < b.N {
					from.sender.Send(from.Socket, ps)
					sent += batch
					for _, e := range to {
						for want := received + batch/destinations; received < want; {
							e.receiver.Receive(e.Socket, count)
						}
					}
				}
				receives := uint64(0)
				for _, e := range to {
					receives += e.count.ReceiveCalls
				}
				b.ReportMetric(float64(from.count.SendCalls)/float64(sent), "sends/packet")
				b.ReportMetric(float64(receives)/float64(received), "receives/packet")
			})
		}
	}
	b.Run("net/1", func(b *testing.B) {
		c, err := OpenConn(0, Config{Local: loopback4})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		var count Counters
		var d pkt.Datagram
		buf := make([]byte, MaxConnDatagram+1)
		ps := pointers([]pkt.Transmit{{Path: pkt.Path{Remote: c.LocalAddr()}, Payload: make([]byte, 1200)}})
		b.ReportAllocs()
		for b.Loop() {
			c.Send(ps, &count)
			if err := c.Read(&d, buf); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(count.SendCalls)/float64(count.Sent), "sends/packet")
		b.ReportMetric(1, "receives/packet")
	})
}
