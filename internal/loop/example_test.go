package loop_test

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// echo is a tenant that sends every datagram back.
type echo struct{ lease *loop.Lease }

func (e *echo) HandleDatagram(_ mono.Time, d *pkt.Datagram) {
	e.lease.Batch().Append(pkt.Transmit{Path: d.Path, Payload: d.Payload})
}

func (e *echo) HandleTimeout(mono.Time)                          {}
func (e *echo) NextTimeout() mono.Time                           { return mono.Never }
func (e *echo) AppendTransmit(mono.Time, *pkt.Batch) (more bool) { return false }

func Example() {
	l, err := loop.New(loop.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()

	var local netip.AddrPort
	_ = l.Do(func(mono.Time) {
		e := new(echo)
		e.lease = l.Attach(e)
		_, local, err = e.lease.Open(udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	client, err := net.Dial("udp", local.String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Fprint(client, "hello")
	buf := make([]byte, 100)
	n, _ := client.Read(buf)
	fmt.Printf("%s\n", buf[:n])
	// Output: hello
}
