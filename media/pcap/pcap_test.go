package pcap

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

func Example() {
	var file bytes.Buffer
	w, _ := NewWriter(&file)
	w.Write(Packet{
		Time: time.Unix(1000, 0), Source: netip.MustParseAddrPort("192.0.2.1:5000"), Destination: netip.MustParseAddrPort("192.0.2.2:6000"),
		Payload: []byte("hello"),
	})

	r, _ := NewReader(&file)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Println(p.Time.Unix(), p.Source, p.Destination, string(p.Payload))
	}
	// Output:
	// 1000 192.0.2.1:5000 192.0.2.2:6000 hello
}

// ipv4 is a datagram from 192.0.2.1:5000 to 192.0.2.2:6000 that says hi.
func ipv4(t *testing.T) []byte {
	t.Helper()
	return unhex(t, "4500 001e 0001 0000 4011 0000 c0000201 c0000202  1388 1770 000a 0000 6869")
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// capture is a file of packets of one link.
func capture(order binary.AppendByteOrder, magic, link uint32, packets ...[]byte) []byte {
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(order.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 65535, link} {
		b = order.AppendUint32(b, v)
	}
	for _, p := range packets {
		for _, v := range []uint32{1000, 5, uint32(len(p)), uint32(len(p))} {
			b = order.AppendUint32(b, v)
		}
		b = append(b, p...)
	}
	return b
}

func read(t *testing.T, b []byte) (packets []Packet, skipped uint64) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return packets, r.Skipped()
		}
		if err != nil {
			t.Fatal(err)
		}
		p.Payload = bytes.Clone(p.Payload)
		packets = append(packets, p)
	}
}

// Links, by their numbers in the registry of tcpdump.org.
func TestLinks(t *testing.T) {
	ipv6 := unhex(t, "6000 0000 000a 1140 20010db8000000000000000000000001 20010db8000000000000000000000002  1388 1770 000a 0000 6869")
	ethernet := "020000000001 020000000002 "
	for name, c := range map[string]struct {
		link uint32
		head string
		ip   []byte
	}{
		"Ethernet":                    {1, ethernet + "0800", ipv4(t)},
		"Ethernet, IPv6":              {1, ethernet + "86dd", ipv6},
		"Ethernet, VLAN":              {1, ethernet + "8100 0005 0800", ipv4(t)},
		"Ethernet, VLAN in VLAN":      {1, ethernet + "88a8 0005 8100 0006 86dd", ipv6},
		"loopback, little endian":     {0, "02000000", ipv4(t)},
		"loopback, big endian":        {0, "00000002", ipv4(t)},
		"loopback of OpenBSD":         {108, "00000002", ipv4(t)},
		"loopback, IPv6 on macOS":     {0, "1e000000", ipv6},
		"loopback, IPv6 on FreeBSD":   {0, "1c000000", ipv6},
		"raw":                         {101, "", ipv4(t)},
		"raw, IPv6":                   {101, "", ipv6},
		"raw as OpenBSD numbers it":   {12, "", ipv4(t)},
		"IPv4":                        {228, "", ipv4(t)},
		"IPv6":                        {229, "", ipv6},
		"Linux cooked":                {113, "0000 0001 0006 020000000001 0000 0800", ipv4(t)},
		"Linux cooked, IPv6":          {113, "0004 0304 0006 000000000000 0000 86dd", ipv6},
		"Linux cooked, version 2":     {276, "0800 0000 00000001 0001 00 06 020000000001 0000", ipv4(t)},
		"Linux cooked, version 2, v6": {276, "86dd 0000 00000001 0304 04 06 000000000000 0000", ipv6},
	} {
		whole := append(unhex(t, c.head), c.ip...)
		packets, skipped := read(t, capture(binary.LittleEndian, 0xa1b2c3d4, c.link, whole))
		source := "192.0.2.1:5000"
		if len(c.ip) > 40 {
			source = "[2001:db8::1]:5000"
		}
		if len(packets) != 1 || skipped != 0 || string(packets[0].Payload) != "hi" || packets[0].Source.String() != source ||
			packets[0].Destination.Port() != 6000 || !packets[0].Time.Equal(time.Unix(1000, 5000)) {
			t.Errorf("%s: %v, %d skipped", name, packets, skipped)
		}
		for n := range whole { // what is cut off is passed over
			if packets, skipped := read(t, capture(binary.LittleEndian, 0xa1b2c3d4, c.link, whole[:n])); len(packets) != 0 || skipped != 1 {
				t.Errorf("%s, %d bytes: %v", name, n, packets)
			}
		}
	}
}

func TestSkipped(t *testing.T) {
	tcp, fragment, rest := ipv4(t), ipv4(t), ipv4(t)
	tcp[9] = 6
	fragment[6] = 0x20
	rest[7] = 1
	cut := capture(binary.BigEndian, 0xa1b23c4d, 101, ipv4(t))
	binary.BigEndian.PutUint32(cut[24+12:], 1000) // of a longer one
	for name, b := range map[string][]byte{
		"TCP":           capture(binary.BigEndian, 0xa1b23c4d, 101, tcp),
		"fragments":     capture(binary.BigEndian, 0xa1b23c4d, 101, fragment),
		"rest":          capture(binary.BigEndian, 0xa1b23c4d, 101, rest),
		"cut off":       cut,
		"unknown links": capture(binary.BigEndian, 0xa1b23c4d, 147, ipv4(t)),
	} {
		if packets, skipped := read(t, b); len(packets) != 0 || skipped != 1 {
			t.Errorf("%s: %v, %d skipped", name, packets, skipped)
		}
	}
	if packets, _ := read(t, capture(binary.BigEndian, 0xa1b23c4d, 101, ipv4(t))); len(packets) != 1 || !packets[0].Time.Equal(time.Unix(1000, 5)) {
		t.Errorf("nanoseconds, big endian: %v", packets)
	}
	// Bytes of a link behind the datagram are no part of it.
	if packets, _ := read(t, capture(binary.BigEndian, 0xa1b23c4d, 101, append(ipv4(t), 0, 0, 0))); len(packets) != 1 || string(packets[0].Payload) != "hi" {
		t.Errorf("%v", packets)
	}
}

// pcapng (draft-ietf-opsawg-pcapng): a section, two interfaces of different links, and a packet of each.
func TestNg(t *testing.T) {
	block := func(kind uint32, body []byte) []byte {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		b := binary.LittleEndian.AppendUint32(nil, kind)
		b = binary.LittleEndian.AppendUint32(b, uint32(12+len(body)))
		return binary.LittleEndian.AppendUint32(append(b, body...), uint32(12+len(body)))
	}
	packet := func(iface byte, data []byte) []byte {
		b := []byte{iface, 0, 0, 0}
		at := uint64(1000_000_007) // microseconds
		for _, v := range []uint32{uint32(at >> 32), uint32(at), uint32(len(data)), uint32(len(data))} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return block(6, append(b, data...))
	}
	file := bytes.Join([][]byte{
		block(ngMagic, unhex(t, "4d3c2b1a 0100 0000 ffffffffffffffff")),
		block(1, unhex(t, "0100 0000 00000400")), block(1, unhex(t, "6500 0000 00000400")),
		packet(0, append(unhex(t, "020000000001 020000000002 0800"), ipv4(t)...)), packet(1, ipv4(t)),
	}, nil)
	packets, skipped := read(t, file)
	if len(packets) != 2 || skipped != 0 {
		t.Fatalf("%v, %d skipped", packets, skipped)
	}
	for _, p := range packets {
		if string(p.Payload) != "hi" || !p.Time.Equal(time.Unix(1000, 7000)) {
			t.Errorf("%v", p)
		}
	}
}

func TestWriter(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	want := []Packet{
		{time.Unix(1000, 123456789), netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:6000"), []byte("one")},
		{time.Unix(1001, 0), netip.MustParseAddrPort("[2001:db8::1]:5000"), netip.MustParseAddrPort("[2001:db8::2]:6000"), nil},
		{time.Unix(1002, 0), netip.MustParseAddrPort("[2001:db8::1]:5000"), netip.MustParseAddrPort("[2001:db8::2]:6000"), make([]byte, 65000)},
	}
	for _, p := range want {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := read(t, file.Bytes())
	for i, p := range got {
		if !p.Time.Equal(want[i].Time) || p.Source != want[i].Source || p.Destination != want[i].Destination || !bytes.Equal(p.Payload, want[i].Payload) {
			t.Errorf("%v", p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d packets", len(got))
	}
	for _, p := range []Packet{{}, {Source: want[0].Source, Destination: want[1].Source}, {Source: want[0].Source}, {Source: want[0].Source, Destination: want[0].Destination, Payload: make([]byte, 1<<16)}} {
		if err := w.Write(p); err == nil {
			t.Errorf("%v was written", p.Source)
		}
	}
}

// What webrtc.Pcap records is read.
func TestRecorded(t *testing.T) {
	var file bytes.Buffer
	record := webrtc.Pcap(&file)
	local, remote := netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:6000")
	record(&webrtc.Packet{Time: time.Unix(1000, 1), Sent: true, Local: local, Remote: remote, Payload: []byte("out")})
	record(&webrtc.Packet{Time: time.Unix(1000, 2), Local: local, Remote: remote, Payload: []byte("in")})
	packets, skipped := read(t, file.Bytes())
	if len(packets) != 2 || skipped != 0 || packets[0].Source != local || packets[1].Source != remote || string(packets[1].Payload) != "in" {
		t.Errorf("%v", packets)
	}
}

func TestNoCapture(t *testing.T) {
	for _, b := range []string{"", "abc", "neither pcap nor pcapng", "\x0a\x0d\x0d\x0a"} {
		if _, err := NewReader(strings.NewReader(b)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", b, err)
		}
	}
	whole := capture(binary.LittleEndian, 0xa1b2c3d4, 101, ipv4(t))
	for n := 25; n < len(whole); n++ {
		r, err := NewReader(bytes.NewReader(whole[:n]))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := r.Next(); err != io.ErrUnexpectedEOF && n != 24+16 { // a record without its data is the end
			t.Errorf("%d bytes: %v, %v", n, p, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	var file bytes.Buffer
	w, _ := NewWriter(&file)
	w.Write(Packet{Source: netip.MustParseAddrPort("192.0.2.1:5000"), Destination: netip.MustParseAddrPort("192.0.2.2:6000"), Payload: []byte("a")})
	w.Write(Packet{Source: netip.MustParseAddrPort("[::1]:5000"), Destination: netip.MustParseAddrPort("[::2]:6000"), Payload: []byte("b")})
	f.Add(file.Bytes(), uint8(101))
	for _, link := range []uint8{0, 1, 12, 113} {
		f.Add(file.Bytes(), link)
	}
	f.Fuzz(func(t *testing.T, b []byte, link uint8) {
		if len(b) > 20 && b[0] != 0x0a {
			b[20] = link
		}
		r, err := NewReader(bytes.NewReader(b))
		for sum := 0; err == nil; {
			var p Packet
			if p, err = r.Next(); err == nil {
				if sum += len(p.Payload); sum > len(b) {
					t.Fatalf("%d bytes out of %d", sum, len(b))
				}
			}
		}
	})
}
