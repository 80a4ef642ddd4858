package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// batchedForms is the forms of Socket, without that of Conn.
func batchedForms() []form { return forms()[1:] }

func TestProbeFindsWhatThisKernelHas(t *testing.T) {
	f := probeSystem()
	t.Logf("this kernel: %+v", f)
	if !f.MMsg || !f.ReusePort {
		t.Errorf("every Linux has recvmmsg and SO_REUSEPORT, the probe found %+v", f)
	}
}

func TestMarkingsTravelBothWays(t *testing.T) {
	for _, f := range batchedForms() {
		t.Run(f.name, func(t *testing.T) {
			eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
				a, b := f.open(t, Config{Local: local}), f.open(t, Config{Local: local})
				var ts []pkt.Transmit
				for _, dscp := range []pkt.DSCP{0, pkt.LowerEffort, pkt.AF41, pkt.EF, 63} {
					for _, ecn := range []pkt.ECN{pkt.NotECT, pkt.ECT1, pkt.ECT0, pkt.CE} {
						for range 2 {
							ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, ECN: ecn, DSCP: dscp, Payload: []byte("marked")})
						}
					}
				}
				a.send(ts...)
				for i, d := range b.receive(len(ts)) {
					if d.ECN != ts[i].ECN || d.DSCP != ts[i].DSCP {
						t.Errorf("datagram %d was sent with ECN %d, DSCP %d and came with %d, %d", i, ts[i].ECN, ts[i].DSCP, d.ECN, d.DSCP)
					}
				}
			})
		})
	}
}

func TestGroupingSavesSystemCalls(t *testing.T) {
	if !probeSystem().GRO {
		need.Cannot(t, "GSO and GRO")
	}
	a, b, c := gro.open(t, Config{Local: loopback4}), gro.open(t, Config{Local: loopback4}), gro.open(t, Config{Local: loopback4})
	var ts []pkt.Transmit
	for range 64 {
		ts = append(ts,
			pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, Payload: make([]byte, 900)},
			pkt.Transmit{Path: pkt.Path{Remote: c.LocalAddr()}, Payload: make([]byte, 900)})
	}
	a.send(ts...)
	b.receive(64)
	c.receive(64)
	if calls := a.counters().SendCalls; calls != 1 {
		t.Errorf("128 datagrams to two addresses took %d sends, want 1", calls)
	}
	if calls := b.counters().ReceiveCalls; calls != 1 {
		t.Errorf("64 datagrams from one address took %d receives, want 1", calls)
	}
}

// More segments than any kernel takes at once: the send with GSO fails, and everything arrives all the same, once.
// Payloads of a batch that go to one address lie one after the other, and the system is given them as one piece.
func TestWhatLiesTogetherIsOnePiece(t *testing.T) {
	x := NewSender(&Counters{})
	s := &Socket{}
	memory := make([]byte, 3000)
	for _, c := range []struct {
		name     string
		payloads [][]byte
		pieces   []int
	}{
		{"in order", [][]byte{memory[:1000], memory[1000:2000], memory[2000:2500]}, []int{2500}},
		{"with a gap", [][]byte{memory[:1000], memory[1001:2001]}, []int{1000, 1000}},
		{"backwards", [][]byte{memory[1000:2000], memory[:1000]}, []int{1000, 1000}},
		{"one of many", [][]byte{memory[:1000], memory[1000:2000], memory[2500:]}, []int{2000, 500}},
	} {
		for range 2 { // the second message begins where the first one ends, which makes it no part of it
			x.begin(s, &pkt.Transmit{Path: pkt.Path{Remote: loopback4}}, len(c.payloads), 0, 1000)
			for _, b := range c.payloads {
				x.addPayload(b)
			}
			h := &x.msgs[x.count-1].Msghdr
			var got []int
			for _, iov := range unsafe.Slice(h.Iov, h.Iovlen) {
				got = append(got, int(iov.Len))
			}
			if !slices.Equal(got, c.pieces) {
				t.Errorf("%s: pieces of %v bytes, want %v", c.name, got, c.pieces)
			}
		}
	}
}

func TestPiecesArriveAsTheyWere(t *testing.T) {
	for _, f := range batchedForms() {
		t.Run(f.name, func(t *testing.T) {
			a, b, c := f.open(t, Config{Local: loopback4}), f.open(t, Config{Local: loopback4}), f.open(t, Config{Local: loopback4})
			batch := pkt.NewBatch(64<<10, 64)
			want := map[endpoint][][]byte{}
			for i := range 40 {
				to, size := b, 1000
				if i%8 == 5 {
					to = c
				}
				if i == 20 {
					size = 500
				}
				payload := bytes.Repeat([]byte{byte(i)}, size)
				batch.Append(pkt.Transmit{Path: pkt.Path{Remote: to.LocalAddr()}, Payload: payload})
				want[to] = append(want[to], payload)
			}
			a.send(batch.Transmits()...)
			for e, payloads := range want {
				for i, d := range e.receive(len(payloads)) {
					if !bytes.Equal(d.Payload, payloads[i]) {
						t.Fatalf("%d bytes that begin with %d, want %d with %d", len(d.Payload), d.Payload[0], len(payloads[i]), payloads[i][0])
					}
				}
			}
		})
	}
}

func TestGSOFailureIsResentSingly(t *testing.T) {
	if !probeSystem().GSO {
		need.Cannot(t, "GSO")
	}
	a, b, c := gso.open(t, Config{Local: loopback4}), gso.open(t, Config{Local: loopback4}), gso.open(t, Config{Local: loopback4})
	many := make([]byte, 200*4)
	for i := range 200 {
		binary.BigEndian.PutUint32(many[4*i:], uint32(i))
	}
	toB, toC := pkt.Path{Remote: b.LocalAddr()}, pkt.Path{Remote: c.LocalAddr()}
	for round := range 2 {
		a.send(
			pkt.Transmit{Path: toC, Payload: []byte("before")},
			pkt.Transmit{Path: toB, Payload: many, SegmentSize: 4},
			pkt.Transmit{Path: toC, Payload: []byte("after!")},
			pkt.Transmit{Path: toC, Payload: []byte("last")},
		)
		for i, d := range b.receive(200) {
			if got := binary.BigEndian.Uint32(d.Payload); len(d.Payload) != 4 || got != uint32(i) {
				t.Fatalf("round %d: datagram %d is %x", round, i, d.Payload)
			}
		}
		for i, d := range c.receive(3) {
			if want := []string{"before", "after!", "last"}[i]; string(d.Payload) != want {
				t.Fatalf("round %d: received %q, want %q", round, d.Payload, want)
			}
		}
		if got := a.counters(); got.GSOOff != 1 || got.Sent != uint64(203*(round+1)) || got.SendError != 0 {
			t.Errorf("round %d: counters %+v", round, got)
		}
	}
}

// RFC 8656 section 11.5 wants the type, the code and the address that the datagram went to.
func TestICMPIsReportedWhereAskedFor(t *testing.T) {
	for _, f := range batchedForms() {
		t.Run(f.name, func(t *testing.T) {
			eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
				gone := f.open(t, Config{Local: local}).(*socketEndpoint)
				to := gone.LocalAddr()
				gone.Close()
				a := f.open(t, Config{Local: local, ICMP: true}).(*socketEndpoint)
				for range 3 {
					a.send(pkt.Transmit{Path: pkt.Path{Remote: to}, Payload: []byte("anyone?")})
				}
				want := pkt.ICMP{Path: pkt.Path{Socket: 7, Local: a.LocalAddr(), Remote: to}, Type: 3, Code: 3}
				if local.Addr().Is6() {
					want.Type, want.Code = 1, 4
				}
				var got []pkt.ICMP
				a.receiver.ReceiveICMP(a.Socket, func(m *pkt.ICMP) { got = append(got, *m) })
				if len(got) != 3 || got[0] != want || got[2] != want {
					t.Fatalf("reports %+v, want three times %+v", got, want)
				}
				if a.count.ICMP != 3 || a.count.Sent != 3 {
					t.Errorf("counters %+v", a.count)
				}
				// Nothing is left that a poller would report for ever.
				a.receiver.Receive(a.Socket, func(*pkt.Datagram) { t.Error("a datagram from nobody") })
				fds := []unix.PollFd{{Fd: int32(a.Descriptor()), Events: unix.POLLIN}}
				if n, err := unix.Poll(fds, 0); n != 0 || err != nil {
					t.Errorf("poll still says %#x, %v", fds[0].Revents, err)
				}
			})
		})
	}
}

// Every datagram that was sent is either received or counted as dropped by the kernel.
func TestKernelDropsAreCounted(t *testing.T) {
	a := plain.open(t, Config{Local: loopback4})
	b := plain.open(t, Config{Local: loopback4, Buffer: 1}).(*socketEndpoint)
	to := pkt.Path{Remote: b.LocalAddr()}
	const flood = 1000
	for range flood {
		a.send(pkt.Transmit{Path: to, Payload: make([]byte, 500)})
	}
	drain := func() {
		for more := true; more; {
			_, more = b.receiver.Receive(b.Socket, func(*pkt.Datagram) {})
		}
	}
	drain()
	a.send(pkt.Transmit{Path: to, Payload: []byte("the one that tells")})
	drain()
	if c := b.count; c.KernelDrops == 0 || c.Received+c.KernelDrops != flood+1 {
		t.Errorf("%d received and %d dropped of %d", c.Received, c.KernelDrops, flood+1)
	}
}

func TestShardsShareAPort(t *testing.T) {
	if !probeSystem().ReusePort {
		need.Cannot(t, "SO_REUSEPORT")
	}
	for _, f := range batchedForms() {
		t.Run(f.name, func(t *testing.T) {
			first := f.open(t, Config{Local: loopback4, ReusePort: true}).(*socketEndpoint)
			second := f.open(t, Config{Local: first.LocalAddr(), ReusePort: true}).(*socketEndpoint)
			const clients, each = 64, 3
			for range clients {
				c := f.open(t, Config{Local: loopback4})
				for range each {
					c.send(pkt.Transmit{Path: pkt.Path{Remote: first.LocalAddr()}, Payload: []byte("x")})
				}
			}
			at := map[netip.AddrPort]*socketEndpoint{}
			total := 0
			for _, shard := range []*socketEndpoint{first, second} {
				before := total
				for more := true; more; {
					_, more = shard.receiver.Receive(shard.Socket, func(d *pkt.Datagram) {
						total++
						if other := at[d.Remote]; other != nil && other != shard {
							t.Errorf("%v reached both shards", d.Remote)
						}
						at[d.Remote] = shard
					})
				}
				if total == before {
					t.Error("a shard got nothing")
				}
			}
			if total != clients*each {
				t.Errorf("%d of %d datagrams came", total, clients*each)
			}
		})
	}
}

func TestUnfragmentedSetsDFForThatDatagramOnly(t *testing.T) {
	eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
		level, name, off, on := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_PROBE
		if local.Addr().Is6() {
			level, name, off, on = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT, unix.IPV6_PMTUDISC_PROBE
		}
		a, b := plain.open(t, Config{Local: local}).(*socketEndpoint), plain.open(t, Config{Local: local})
		to := pkt.Path{Remote: b.LocalAddr()}
		for _, c := range []struct {
			unfragmented []bool
			want         int
		}{{nil, off}, {[]bool{false, true}, on}, {[]bool{true, true}, on}, {[]bool{true, false, false}, off}} {
			var ts []pkt.Transmit
			for i, df := range c.unfragmented {
				ts = append(ts, pkt.Transmit{Path: to, Unfragmented: df, Payload: fmt.Append(nil, i)})
			}
			a.send(ts...)
			for i, d := range b.receive(len(ts)) {
				if string(d.Payload) != fmt.Sprint(i) {
					t.Errorf("datagram %d is %q", i, d.Payload)
				}
			}
			if got, err := unix.GetsockoptInt(a.Descriptor(), level, name); err != nil || got != c.want {
				t.Errorf("after %v the option is %d (%v), want %d", c.unfragmented, got, err, c.want)
			}
		}
	})
}

// A datagram that no IPv4 packet holds costs nobody else anything.
func TestTooLongIsCountedAndSkipped(t *testing.T) {
	a := plain.open(t, Config{Local: loopback4}).(*socketEndpoint)
	b := plain.open(t, Config{Local: loopback4})
	to := pkt.Path{Remote: b.LocalAddr()}
	a.send(pkt.Transmit{Path: to, Payload: make([]byte, 65508)}, pkt.Transmit{Path: to, Payload: make([]byte, 65507)})
	if d := b.receive(1)[0]; len(d.Payload) != 65507 {
		t.Errorf("%d bytes came", len(d.Payload))
	}
	if c := a.count; c.Sent != 1 || c.SendError != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestClosedSocketIsHarmless(t *testing.T) {
	s, err := Open(1, Config{Local: loopback4}, Features{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error("closing twice: ", err)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, f := range batchedForms() {
		t.Run(f.name, func(t *testing.T) {
			eachLoopback(t, func(t *testing.T, local netip.AddrPort) {
				a := f.open(t, Config{Local: netip.AddrPortFrom(local.Addr(), 0)}).(*socketEndpoint)
				wildcard := netip.IPv4Unspecified()
				if local.Addr().Is6() {
					wildcard = netip.IPv6Unspecified()
				}
				b := f.open(t, Config{Local: netip.AddrPortFrom(wildcard, 0)}).(*socketEndpoint)
				to := netip.AddrPortFrom(local.Addr(), b.LocalAddr().Port())
				var ts []pkt.Transmit
				for i := range 40 {
					ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: to}, ECN: pkt.ECN(i & 3), Payload: make([]byte, 1000)})
				}
				ps := pointers(ts)
				n := 0
				count := func(*pkt.Datagram) { n++ }
				if allocs := testing.AllocsPerRun(100, func() {
					a.sender.Send(a.Socket, ps)
					for n = 0; n < len(ps); {
						b.receiver.Receive(b.Socket, count)
					}
				}); allocs != 0 {
					t.Errorf("%v allocations for %d datagrams", allocs, len(ps))
				}
			})
		})
	}
}

func FuzzControl(f *testing.F) {
	var c control
	data, used := c.append(0, unix.IPPROTO_IP, unix.IP_TOS, 1)
	data[0] = 0xb9
	data, used = c.append(used, unix.SOL_UDP, unix.UDP_GRO, 4)
	binary.NativeEndian.PutUint32(data, 1200)
	_, used = c.append(used, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	f.Add(bytes.Clone(c.b[:used]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		aligned := new(control)
		n := copy(aligned.b[:], b)
		r := &Receiver{Counters: new(Counters)}
		var d pkt.Datagram
		r.readControl(&Socket{}, &d, aligned.b[:n])
		if d.ECN > 3 || d.DSCP > 63 {
			t.Errorf("ECN %d, DSCP %d", d.ECN, d.DSCP)
		}
	})
}

// Anybody can send the ICMP message that a datagram was too big, which the next send reports as EMSGSIZE: it is not taken for a
// failure of GSO.
func TestForgedICMPLeavesGSO(t *testing.T) {
	f := Probe()
	if !f.GSO {
		need.Cannot(t, "GSO")
	}
	ip := needNamespace(t) // whose routes alone believe the message
	ip("link", "set", "lo", "up")
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	open := func() *socketEndpoint {
		s, err := Open(1, Config{Local: netip.MustParseAddrPort("127.0.0.1:0"), ICMP: true}, f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return newSocketEndpoint(t, s)
	}
	a, b := open(), open()
	run := pkt.Transmit{Path: pkt.Path{Remote: b.LocalAddr()}, Unfragmented: true, SegmentSize: 100, Payload: make([]byte, 1000)}
	a.send(run) // and DF stays on
	message := make([]byte, 8+20+8)
	message[0], message[1] = 3, 4 // fragmentation needed
	binary.BigEndian.PutUint16(message[6:], 1300)
	inner := message[8:]
	inner[0], inner[8], inner[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(inner[2:], 1000)
	copy(inner[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
	binary.BigEndian.PutUint16(inner[20:], a.LocalAddr().Port())
	binary.BigEndian.PutUint16(inner[22:], b.LocalAddr().Port())
	binary.BigEndian.PutUint16(inner[24:], 980)
	sum := uint32(0)
	for i := 0; i < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	sum = sum>>16 + sum&0xFFFF
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum+sum>>16))
	if err := unix.Sendto(raw, message, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	a.send(run)
	if c := *a.count; c.Sent != 20 || c.GSOOff != 0 || c.SendError != 0 || c.SendCalls != 3 { // one of them got the report
		t.Errorf("counters %+v", c)
	}
}
