package simnet_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// beacon is an engine that sends its count on every socket at every interval, and counts what it hears.
type beacon struct {
	to      netip.AddrPort
	every   time.Duration
	sockets int
	next    mono.Time
	pending []pkt.Transmit
	rang    []mono.Time
	heard   []pkt.Datagram
}

func (b *beacon) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	kept := *d
	kept.Payload = append([]byte(nil), d.Payload...)
	b.heard = append(b.heard, kept)
}

func (b *beacon) HandleTimeout(now mono.Time) {
	if now < b.next {
		return
	}
	b.rang = append(b.rang, now)
	b.next = now.Add(b.every)
	for s := range b.sockets {
		b.pending = append(b.pending, pkt.Transmit{
			Path: pkt.Path{Socket: pkt.Socket(s), Remote: b.to}, ECN: pkt.ECT1, DSCP: pkt.EF,
			SegmentSize: 2, Payload: []byte("12345"),
		})
	}
}

func (b *beacon) NextTimeout() mono.Time { return b.next }

func (b *beacon) AppendTransmit(_ mono.Time, batch *pkt.Batch) (more bool) {
	for len(b.pending) > 0 {
		if !batch.Append(b.pending[0]) {
			return true
		}
		b.pending = b.pending[1:]
	}
	return false
}

func TestDriver(t *testing.T) {
	n := simnet.New(1)
	path := simnet.Path{Delay: 10 * time.Millisecond}
	a := n.Internet().Host("a", path, "192.0.2.1")
	a.Attach(n.Internet(), simnet.Path{Delay: 100 * time.Millisecond}, "192.0.2.11")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2")
	start := n.Now()
	sender := &beacon{to: netip.MustParseAddrPort("192.0.2.2:9"), every: 250 * time.Millisecond, sockets: 2, next: start.Add(time.Second)}
	receiver := &beacon{next: mono.Never}
	d, err := a.Run(sender, netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.11:5000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(receiver, netip.MustParseAddrPort("0.0.0.0:9")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(receiver, netip.MustParseAddrPort("0.0.0.0:9")); err == nil {
		t.Error("two sockets at one address")
	}
	polls := 0
	d.After = func(mono.Time) bool { polls++; return false }
	d.Poll()
	n.Run(1400 * time.Millisecond)
	if len(sender.rang) != 2 || sender.rang[0].Sub(start) != time.Second || sender.rang[1].Sub(start) != 1250*time.Millisecond {
		t.Errorf("the timer rang at %v", sender.rang)
	}
	// Two times, over both sockets, in three segments; the slow link's second time is on its way by now.
	if !n.RunUntil(func() bool { return len(receiver.heard) == 12 }, time.Second) {
		t.Fatalf("%d datagrams came", len(receiver.heard))
	}
	if got := n.Now().Sub(start); got != 1400*time.Millisecond {
		t.Errorf("all had come after %v", got)
	}
	var text string
	for _, h := range receiver.heard {
		text += string(h.Payload)
		if h.Local.String() != "192.0.2.2:9" || h.ECN != pkt.ECT1 || h.DSCP != pkt.EF {
			t.Errorf("heard %+v", h)
		}
	}
	if from := receiver.heard[11].Remote.String(); text != "12345123451234512345" || from != "192.0.2.11:5000" {
		t.Errorf("heard %q, last from %s", text, from)
	}

	// A deadline that moves closer is kept, and the one it had before does nothing.
	sender.rang, sender.next = nil, n.Now().Add(10*time.Millisecond)
	d.Poll()
	d.Close(1)
	n.Run(200 * time.Millisecond)
	if len(sender.rang) != 1 || len(receiver.heard) != 15 {
		t.Errorf("the timer rang at %v, and %d datagrams came", sender.rang, len(receiver.heard))
	}
	number, err := d.Open(netip.MustParseAddrPort("192.0.2.1:0"))
	if err != nil || number != 2 || d.Local(number).Port() < 49152 {
		t.Errorf("a new socket is %d at %v, %v", number, d.Local(number), err)
	}
	if polls == 0 {
		t.Error("After was not called")
	}
}

// The capture is read back here byte for byte, and by tshark where there is one.
func TestCapture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "capture.pcap")
	w, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	n := simnet.New(1)
	a := n.Internet().Host("a", simnet.Path{Delay: 10 * time.Millisecond}, "192.0.2.1", "2001:db8::1")
	b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2", "2001:db8::2")
	if err := a.Capture(w); err != nil {
		t.Fatal(err)
	}
	to := bind(t, b, "192.0.2.2:9", nil)
	bind(t, a, "192.0.2.1:5000", nil).Transmit(pkt.Transmit{
		Path: pkt.Path{Remote: to.Local()}, ECN: pkt.CE, DSCP: pkt.EF, Payload: []byte("odd"),
	})
	n.Run(1500 * time.Millisecond)
	from6, to6 := bind(t, a, "[2001:db8::1]:5000", nil), bind(t, b, "[2001:db8::2]:9", func(mono.Time, *pkt.Datagram) {})
	from6.Send(to6.Local(), []byte("six!"))
	n.Run(time.Second)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "a1b23c4d00020004" + "0000000000000000" + "00040000" + "00000065" + // the file: version 2.4, raw IP
		"00000000" + "00000000" + "0000001f" + "0000001f" + // at 0 s, 31 bytes
		"45bb001f" + "00014000" + "4011b60e" + "c0000201" + "c0000202" + // IPv4, EF and CE, UDP
		"13880009" + "000b" + "XXXX" + "6f6464" +
		"00000001" + "1dcd6500" + "00000034" + "00000034" + // at 1.5 s, 52 bytes
		"60000000" + "000c1140" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" +
		"13880009" + "000c" + "XXXX" + "73697821"
	var hex strings.Builder
	for _, c := range got {
		hex.WriteString(string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]))
	}
	text := hex.String()
	for at := range len(want) {
		if at >= len(text) || want[at] != 'X' && want[at] != text[at] {
			t.Fatalf("the capture differs at digit %d:\n%s\n%s", at, text, want)
		}
	}
	// The checksum of RFC 768: the sum over pseudo header and datagram, checksum included, is all ones.
	if s := internetSum(append([]byte{192, 0, 2, 1, 192, 0, 2, 2, 0, 17, 0, 11}, got[24+16+20:24+16+31]...)); s != 0xffff {
		t.Errorf("the UDP checksum over IPv4 adds up to %x", s)
	}
	six := got[24+16+31+16:]
	if s := internetSum(append(append([]byte{0, 0, 0, 12, 0, 0, 0, 17}, six[8:40]...), six[40:]...)); s != 0xffff {
		t.Errorf("the UDP checksum over IPv6 adds up to %x", s)
	}
	if s := internetSum(got[24+16 : 24+16+20]); s != 0xffff {
		t.Errorf("the IPv4 checksum adds up to %x", s)
	}
	if tshark, err := exec.LookPath("tshark"); err == nil {
		out, err := exec.Command(tshark, "-r", file, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
			"-T", "fields", "-e", "frame.time_relative", "-e", "udp.checksum.status", "-e", "udp.payload").Output()
		if err != nil || string(out) != "0.000000000\t1\t6f6464\n1.500000000\t1\t73697821\n" {
			t.Errorf("tshark reads %q, %v", out, err)
		}
	}
}

func internetSum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	sum := uint32(0)
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
