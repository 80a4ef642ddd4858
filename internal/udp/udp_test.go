package udp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-rtc/parley/protocol/pkt"
)

func TestDatagramsArriveWholeWithTheirAddresses(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
				a, b := f.open(t, Config{Local: local}), f.open(t, Config{Local: local})
				r := rand.New(rand.NewPCG(1, 1))
				var ts []pkt.Transmit
				for range 300 {
					// Long enough in a row that GSO has something to join, and of many lengths.
					size := []int{0, 1, 160, 1200, 1200, 1200, 1200, 3000}[r.IntN(8)]
					payload := make([]byte, size)
					for i := range payload {
						payload[i] = byte(r.Uint32())
					}
					ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, Payload: payload})
				}
				for len(ts) > 0 {
					n := min(len(ts), 50)
					a.send(ts[:n]...)
					for i, d := range b.receive(n) {
						if !bytes.Equal(d.Payload, ts[i].Payload) {
							t.Fatalf("datagram %d: %d bytes arrived, %d were sent", i, len(d.Payload), len(ts[i].Payload))
						}
						if d.Local != b.LocalAddr() || d.Remote != a.LocalAddr() || d.Socket != 7 {
							t.Fatalf("datagram %d came on path %v", i, d.Path)
						}
					}
					ts = ts[n:]
				}
				if c := a.counters(); c.Sent != 300 || c.SendError+c.SendFull+c.GSOOff != 0 {
					t.Errorf("counters %+v", c)
				}
			})
		})
	}
}

// Datagrams to many addresses in turns: each address gets its own, in order.
func TestInterleavedDestinationsKeepTheirOrder(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			a := f.open(t, Config{Local: loopback4})
			var bs []endpoint
			for range 10 {
				bs = append(bs, f.open(t, Config{Local: loopback4}))
			}
			r := rand.New(rand.NewPCG(2, 2))
			sent := map[int][]string{}
			var ts []pkt.Transmit
			for i := range 500 { // more than the sender groups at a time
				to := r.IntN(len(bs))
				payload := fmt.Sprintf("%04d", i)
				if r.IntN(10) == 0 {
					payload += "longer"
				}
				sent[to] = append(sent[to], payload)
				ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: bs[to].LocalAddr()}, Payload: []byte(payload)})
			}
			a.send(ts...)
			for to, want := range sent {
				for i, d := range bs[to].receive(len(want)) {
					if string(d.Payload) != want[i] {
						t.Fatalf("receiver %d: datagram %d is %q, want %q", to, i, d.Payload, want[i])
					}
				}
			}
		})
	}
}

func TestSegmentSizeCutsThePayload(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			a, b := f.open(t, Config{Local: loopback4}), f.open(t, Config{Local: loopback4})
			to := pkt.Path{Remote: b.LocalAddr()}
			a.send(
				pkt.Transmit{Path: to, SegmentSize: 3, Payload: []byte("aaabbb")},
				pkt.Transmit{Path: to, Payload: []byte("ccc")},
				pkt.Transmit{Path: to, SegmentSize: 3, Payload: []byte("dddee")},
				pkt.Transmit{Path: to, SegmentSize: 3, Payload: []byte("fff")},
				pkt.Transmit{Path: to, SegmentSize: 9, Payload: []byte("ggg")},
				pkt.Transmit{Path: to, SegmentSize: 2, Payload: []byte("hhii")},
				pkt.Transmit{Path: to, SegmentSize: 2},
			)
			var got []string
			for _, d := range b.receive(10) {
				got = append(got, string(d.Payload))
			}
			if want := "aaa bbb ccc ddd ee fff ggg hh ii "; strings.Join(got, " ") != want {
				t.Errorf("received %q, want %q", strings.Join(got, " "), want)
			}
			if a.counters().Sent != 10 || a.counters().SentBytes != 24 {
				t.Errorf("counters %+v", a.counters())
			}
		})
	}
}

// A socket bound to every address says which of them a datagram was sent to, and answers from it.
func TestWildcardKnowsItsLocalAddress(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			client := f.open(t, Config{Local: loopback4})
			server := f.open(t, Config{Local: netip.MustParseAddrPort("0.0.0.0:0")})
			second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), server.LocalAddr().Port())
			client.send(pkt.Transmit{Path: pkt.Path{Remote: second}, Payload: []byte("ping")})
			d := server.receive(1)[0]
			if d.Local != second || d.Remote != client.LocalAddr() {
				t.Fatalf("the ping came on path %v, want local %v", d.Path, second)
			}
			server.send(pkt.Transmit{Path: d.Path, Payload: []byte("pong")})
			if d := client.receive(1)[0]; d.Remote != second || string(d.Payload) != "pong" {
				t.Errorf("the pong came from %v, want %v", d.Remote, second)
			}
			server.send(pkt.Transmit{Path: pkt.Path{Remote: client.LocalAddr()}, Payload: []byte("any")})
			if d := client.receive(1)[0]; d.Remote.Addr() != loopback4.Addr() {
				t.Errorf("without a local address it came from %v", d.Remote)
			}
		})
		t.Run(f.name+"/IPv6", func(t *testing.T) {
			needIPv6(t)
			client := f.open(t, Config{Local: loopback6})
			server := f.open(t, Config{Local: netip.MustParseAddrPort("[::]:0")})
			to := netip.AddrPortFrom(loopback6.Addr(), server.LocalAddr().Port())
			client.send(pkt.Transmit{Path: pkt.Path{Remote: to}, Payload: []byte("ping")})
			d := server.receive(1)[0]
			if d.Local != to || d.Remote != client.LocalAddr() {
				t.Fatalf("the ping came on path %v, want local %v", d.Path, to)
			}
			server.send(pkt.Transmit{Path: d.Path, Payload: []byte("pong")})
			if d := client.receive(1)[0]; d.Remote != to {
				t.Errorf("the pong came from %v", d.Remote)
			}
		})
	}
}

// "No address is ever an IPv4-mapped IPv6 address": the two families may even share a port.
func TestFamiliesAreSeparate(t *testing.T) {
	needIPv6(t)
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			six := f.open(t, Config{Local: netip.MustParseAddrPort("[::]:0")})
			four := f.open(t, Config{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), six.LocalAddr().Port())})
			client := f.open(t, Config{Local: loopback4})
			client.send(
				pkt.Transmit{Path: pkt.Path{Remote: netip.AddrPortFrom(loopback6.Addr(), six.LocalAddr().Port())}, Payload: []byte("wrong family")},
				pkt.Transmit{Path: pkt.Path{Remote: netip.AddrPortFrom(loopback4.Addr(), four.LocalAddr().Port())}, Payload: []byte("right family")},
			)
			if d := four.receive(1)[0]; string(d.Payload) != "right family" || !d.Remote.Addr().Is4() || !d.Local.Addr().Is4() {
				t.Errorf("received %q on path %v", d.Payload, d.Path)
			}
			if c := client.counters(); c.Sent != 1 || c.SendError != 1 {
				t.Errorf("counters %+v", c)
			}
		})
	}
}

// "ICMP errors end nothing": nobody listens at the other end for a while, and then somebody does.
func TestClosedPortEndsNothing(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
				gone := f.open(t, Config{Local: local})
				a := f.open(t, Config{Local: local})
				port := gone.LocalAddr()
				switch e := gone.(type) {
				case interface{ Close() error }:
					e.Close()
				default:
					t.Fatal("an endpoint that cannot be closed")
				}
				for range 5 {
					a.send(pkt.Transmit{Path: pkt.Path{Remote: port}, Payload: []byte("anyone?")})
				}
				b := f.open(t, Config{Local: local})
				b.send(pkt.Transmit{Path: pkt.Path{Remote: a.LocalAddr()}, Payload: []byte("to a")})
				if d := a.receive(1)[0]; string(d.Payload) != "to a" {
					t.Errorf("a received %q", d.Payload)
				}
				a.send(pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, Payload: []byte("to b")})
				if d := b.receive(1)[0]; string(d.Payload) != "to b" {
					t.Errorf("b received %q", d.Payload)
				}
			})
		})
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	taken, err := OpenConn(0, Config{Local: loopback4})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "local address is missing"},
		{Config{Local: netip.MustParseAddrPort("[::ffff:127.0.0.1]:0")}, "IPv4-mapped"},
		{Config{Local: taken.LocalAddr()}, "address already in use"},
		{Config{Local: netip.MustParseAddrPort("192.0.2.1:0")}, "assign requested address"},
	} {
		for name, err := range openErrors(c.cfg) {
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "udp: ") {
				t.Errorf("%s: opening %v: %v, want an error about %q", name, c.cfg.Local, err, c.want)
			}
			if c.cfg.Local == taken.LocalAddr() && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("%s: %v is not EADDRINUSE", name, err)
			}
		}
	}
	if _, err := OpenConn(0, Config{Local: loopback4, ReusePort: true}); err == nil {
		t.Error("a Conn that shares its port")
	}
}

func TestConnDropsWhatIsTooLong(t *testing.T) {
	a, b := connForm.open(t, Config{Local: loopback4}), connForm.open(t, Config{Local: loopback4})
	for _, n := range []int{MaxConnDatagram, MaxConnDatagram + 1, 20000} {
		a.send(pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, Payload: make([]byte, n)})
	}
	got := b.receive(3)
	if len(got[0].Payload) != MaxConnDatagram || got[1].Payload != nil || got[2].Payload != nil {
		t.Errorf("received %d, %d and %d bytes", len(got[0].Payload), len(got[1].Payload), len(got[2].Payload))
	}
}

func TestSwitches(t *testing.T) {
	for _, name := range []string{"MMSG", "GSO", "GRO", "REUSEPORT"} {
		t.Setenv("PARLEY_DISABLE_"+name, "")
	}
	all := probe()
	for _, c := range []struct {
		name string
		want Features
	}{
		{"MMSG", Features{}},
		{"GSO", Features{MMsg: all.MMsg, GRO: all.GRO, ReusePort: all.ReusePort}},
		{"GRO", Features{MMsg: all.MMsg, GSO: all.GSO, ReusePort: all.ReusePort}},
		{"REUSEPORT", Features{MMsg: all.MMsg, GSO: all.GSO, GRO: all.GRO}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PARLEY_DISABLE_"+c.name, "0")
			if got := probe(); got != all {
				t.Errorf("set to 0: %+v, want %+v", got, all)
			}
			t.Setenv("PARLEY_DISABLE_"+c.name, "1")
			if got := probe(); got != c.want {
				t.Errorf("set to 1: %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestConnDoesNotAllocate(t *testing.T) {
	a, err := OpenConn(0, Config{Local: loopback4})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var c Counters
	var d pkt.Datagram
	buf := make([]byte, MaxConnDatagram+1)
	ts := pointers([]pkt.Transmit{{Path: pkt.Path{Remote: a.LocalAddr()}, Payload: make([]byte, 1200)}})
	if n := testing.AllocsPerRun(100, func() {
		a.Send(ts, &c)
		if err := a.Read(&d, buf); err != nil || len(d.Payload) != 1200 {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
}
