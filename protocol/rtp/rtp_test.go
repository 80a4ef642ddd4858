package rtp_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// sample is a packet with everything that a header can have.
func sample() rtp.Packet {
	p := rtp.Packet{Marker: true, PayloadType: 96, SequenceNumber: 0xfffe, Timestamp: 0xdeadbeef, SSRC: 0xcafebabe, Payload: []byte("payload"), Padding: 5}
	p.CSRC.Add(1)
	p.CSRC.Add(0xffffffff)
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(1, []byte("0"))
	p.Extensions.Add(3, []byte{1, 2, 3})
	return p
}

var sampleBytes = []byte{
	0xb2, 0xe0, 0xff, 0xfe, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe,
	0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff,
	0xbe, 0xde, 0, 2, 0x10, '0', 0x32, 1, 2, 3, 0, 0,
	'p', 'a', 'y', 'l', 'o', 'a', 'd',
	0, 0, 0, 0, 5,
}

// RFC 3550 section 5.1 and RFC 8285 section 4.2, field by field.
func TestPacket(t *testing.T) {
	p := sample()
	if got := p.Append(nil); !bytes.Equal(got, sampleBytes) || p.Len() != len(got) {
		t.Fatalf("wrote % x (Len says %d)\nwant  % x", got, p.Len(), sampleBytes)
	}
	got, err := rtp.Parse(sampleBytes)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Marker || got.PayloadType != 96 || got.SequenceNumber != 0xfffe || got.Timestamp != 0xdeadbeef || got.SSRC != 0xcafebabe ||
		got.Padding != 5 || string(got.Payload) != "payload" || got.CSRC.Len() != 2 || got.CSRC.At(0) != 1 || got.CSRC.At(1) != 0xffffffff {
		t.Errorf("read %+v", got)
	}
	if n, err := rtp.HeaderLen(sampleBytes); n != 32 || err != nil {
		t.Errorf("a header of %d bytes, %v", n, err)
	}
	if v, ok := got.Extensions.Get(3); !ok || !bytes.Equal(v, []byte{1, 2, 3}) {
		t.Errorf("extension 3: %v, %v", v, ok)
	}
	if _, ok := got.Extensions.Get(2); ok {
		t.Error("an extension that is not there")
	}
	if _, ok := got.Extensions.Get(0); ok {
		t.Error("padding is taken for an element")
	}
	if again := got.Append(nil); !bytes.Equal(again, sampleBytes) {
		t.Errorf("what was read is written as % x", again)
	}
}

func TestTheSmallestPackets(t *testing.T) {
	p := rtp.Packet{}
	b := p.Append(nil)
	if !bytes.Equal(b, append([]byte{0x80}, make([]byte, 11)...)) {
		t.Errorf("an empty packet is % x", b)
	}
	if got, err := rtp.Parse(b); err != nil || len(got.Payload) != 0 || got.Extensions.Form() != rtp.NoExtension {
		t.Errorf("%+v, %v", got, err)
	}
	// Padding alone: what probes for bandwidth.
	p.Padding = 255
	got, err := rtp.Parse(p.Append(nil))
	if err != nil || len(got.Payload) != 0 || got.Padding != 255 {
		t.Errorf("padding alone: %+v, %v", got, err)
	}
}

func TestWhatIsNoPacket(t *testing.T) {
	change := func(at int, v byte) []byte { b := slices.Clone(sampleBytes); b[at] = v; return b }
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":                     {nil, rtp.ErrTruncated},
		"eleven bytes":                {sampleBytes[:11], rtp.ErrTruncated},
		"version 1":                   {change(0, 0x72), rtp.ErrVersion},
		"STUN":                        {make([]byte, 20), rtp.ErrVersion},
		"sources that are not there":  {sampleBytes[:19], rtp.ErrTruncated},
		"no length of the extension":  {sampleBytes[:23], rtp.ErrTruncated},
		"half an extension":           {sampleBytes[:31], rtp.ErrTruncated},
		"an extension beyond the end": {change(23, 200), rtp.ErrTruncated},
		"no padding where announced":  {change(len(sampleBytes)-1, 0), rtp.ErrPadding},
		"padding into the header":     {change(len(sampleBytes)-1, 13), rtp.ErrPadding},
	} {
		if _, err := rtp.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if p, err := rtp.Parse(change(len(sampleBytes)-1, 12)); err != nil || len(p.Payload) != 0 {
		t.Errorf("padding up to the header: %v", err)
	}
}

// RFC 5761 section 4: "RTP payload types in the range 64-95" are not used where RTCP shares the port.
func TestRTCPIsToldFromRTP(t *testing.T) {
	for v := range 256 {
		if got, want := rtp.IsRTCP([]byte{0x80, byte(v)}), v&0x80 != 0 && v&0x7f >= 64 && v&0x7f <= 95; got != want {
			t.Errorf("second byte %d: %v", v, got)
		}
	}
	if rtp.IsRTCP([]byte{0x80}) {
		t.Error("one byte is RTCP")
	}
}

type element struct {
	id    uint8
	value string
}

func elements(x *rtp.Extensions) (list []element) {
	for id, v := range x.All() {
		list = append(list, element{id, string(v)})
	}
	return list
}

// extended is a packet with an extension of these bytes.
func extended(profile uint16, body string) []byte {
	b := append([]byte{0x90}, make([]byte, 11)...)
	b = append(b, byte(profile>>8), byte(profile), byte(len(body)>>10), byte(len(body)>>2))
	return append(append(b, body...), "payload"...)
}

func TestExtensionElements(t *testing.T) {
	for name, c := range map[string]struct {
		profile uint16
		body    string
		form    rtp.Form
		want    []element
	}{
		// RFC 8285 section 4.2: padding before, between and after elements.
		"one byte":             {0xbede, "\x00\x10a\x00\x31bc\x00", rtp.OneByte, []element{{1, "a"}, {3, "bc"}}},
		"sixteen bytes":        {0xbede, "\x2f0123456789abcdef\x00\x00\x00", rtp.OneByte, []element{{2, "0123456789abcdef"}}},
		"the same again":       {0xbede, "\x10a\x10b", rtp.OneByte, []element{{1, "a"}, {1, "b"}}},
		"15 ends it":           {0xbede, "\x10a\xf0b\x20c\x00\x00", rtp.OneByte, []element{{1, "a"}}},
		"0 with a length, too": {0xbede, "\x10a\x01bc\x20d\x00", rtp.OneByte, []element{{1, "a"}}},
		"cut short":            {0xbede, "\x10a\x25b", rtp.OneByte, []element{{1, "a"}}},
		"nothing":              {0xbede, "", rtp.OneByte, nil},
		// Section 4.3, with any appbits.
		"two bytes":            {0x1000, "\x01\x00\x00\xff\x03abc\x00\x00\x00\x00", rtp.TwoByte, []element{{1, ""}, {255, "abc"}}},
		"two bytes, appbits":   {0x100f, "\x0f\x02ab", rtp.TwoByte, []element{{15, "ab"}}},
		"two bytes, cut short": {0x1000, "\x01\x01a\x02", rtp.TwoByte, []element{{1, "a"}}},
		"too long":             {0x1000, "\x01\x07ab", rtp.TwoByte, nil},
		"another profile":      {0x1010, "\x10a\x20b", rtp.OtherForm, nil},
	} {
		raw := extended(c.profile, c.body)
		p, err := rtp.Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Extensions.Form() != c.form || !slices.Equal(elements(&p.Extensions), c.want) {
			t.Errorf("%s: form %d, %q; want %d, %q", name, p.Extensions.Form(), elements(&p.Extensions), c.form, c.want)
		}
		if again := p.Append(nil); !bytes.Equal(again, raw) {
			t.Errorf("%s: written again it is % x", name, again)
		}
	}
}

func TestExtensionsThatDoNotFit(t *testing.T) {
	var x rtp.Extensions
	if x.Add(1, []byte("a")) {
		t.Error("an element in no form")
	}
	x.Reset(rtp.OneByte)
	for _, c := range []element{{0, "a"}, {15, "a"}, {1, ""}, {1, "0123456789abcdefg"}} {
		if x.Add(c.id, []byte(c.value)) {
			t.Errorf("one byte takes %v", c)
		}
	}
	x.Reset(rtp.TwoByte)
	for _, c := range []element{{0, "a"}, {1, string(make([]byte, 256))}} {
		if x.Add(c.id, []byte(c.value)) {
			t.Errorf("two bytes take %d with %d", c.id, len(c.value))
		}
	}
	if elements(&x) != nil {
		t.Errorf("left behind: %q", elements(&x))
	}
	for x.Add(255, make([]byte, 255)) {
	}
	p := rtp.Packet{Extensions: x}
	if got, err := rtp.Parse(p.Append(nil)); err != nil || len(got.Payload) != 0 || len(elements(&got.Extensions)) != 4*0xffff/257 {
		t.Errorf("a full extension: %v", err)
	}
	var s rtp.Sources
	for i := range 15 {
		if !s.Add(rtp.SSRC(i)) {
			t.Errorf("no room for source %d", i)
		}
	}
	if s.Add(16) || s.Len() != 15 {
		t.Error("a sixteenth source")
	}
	if s.Reset(); s.Len() != 0 || !s.Add(7) || s.At(0) != 7 {
		t.Error("reset")
	}
}

// A value can be set in a packet that is written already, as the numbers of a transport are.
func TestAValueIsSetInPlace(t *testing.T) {
	b := slices.Clone(sampleBytes)
	p, _ := rtp.Parse(b)
	v, _ := p.Extensions.Get(3)
	copy(v, "xyz")
	again, _ := rtp.Parse(b)
	if v, _ := again.Extensions.Get(3); string(v) != "xyz" {
		t.Errorf("%q", v)
	}
	// What is added to a packet that was read leaves the packet alone.
	again.Extensions.Add(5, []byte("!"))
	again.CSRC.Add(9)
	if q, err := rtp.Parse(b); err != nil || string(q.Payload) != "payload" || q.CSRC.Len() != 2 {
		t.Error("adding wrote into the datagram")
	}
}

func TestNothingAllocates(t *testing.T) {
	p := sample()
	buf := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() {
		buf = p.Append(buf[:0])
		q, err := rtp.Parse(buf)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := q.Extensions.Get(3); !ok {
			t.Fatal("lost")
		}
		for range q.Extensions.All() {
		}
		p.Extensions.Reset(rtp.OneByte)
		p.Extensions.Add(1, buf[:1])
		p.Extensions.Add(3, buf[:3])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampleBytes)
	f.Add(extended(0x1000, "\x01\x00\x00\xff\x03abc\x00\x00\x00\x00"))
	f.Add(extended(0xbede, "\x10a\xf0b\x20c\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := rtp.Parse(b)
		if err != nil {
			return
		}
		n, err := rtp.HeaderLen(b)
		if err != nil || n+len(p.Payload)+int(p.Padding) != len(b) || p.Len() != len(b) {
			t.Fatalf("%d of header, %d of payload and %d of padding in %d bytes, %v", n, len(p.Payload), p.Padding, len(b), err)
		}
		for id, v := range p.Extensions.All() {
			if id == 0 {
				t.Fatal("an element 0")
			}
			rtp.ParseAudioLevel(v)
			rtp.MixerAudioLevel(v, int(id))
			rtp.ParseTransportSequence(v)
			rtp.ParseAbsSendTime(v)
			rtp.ParseAbsCaptureTime(v)
			rtp.ParseVideoOrientation(v)
			rtp.ParsePlayoutDelay(v)
		}
		again := p.Append(nil)
		if m := len(b) - int(p.Padding); !bytes.Equal(again[:m], b[:m]) {
			t.Fatalf("written again it is % x", again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := sample()
	p.Payload = make([]byte, 1200)
	raw := p.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		q, err := rtp.Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := q.Extensions.Get(3); !ok {
			b.Fatal("lost")
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	p := sample()
	p.Payload = make([]byte, 1200)
	buf := make([]byte, 0, p.Len())
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0])
	}
}

func Example() {
	const midID = 4
	p := rtp.Packet{Marker: true, PayloadType: 111, SequenceNumber: 1, Timestamp: 960, SSRC: 1234, Payload: []byte("opus")}
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(midID, []byte("audio"))
	datagram := p.Append(nil)

	q, err := rtp.Parse(datagram)
	if err != nil {
		fmt.Println(err)
		return
	}
	mid, _ := q.Extensions.Get(midID)
	fmt.Printf("%s %d %q\n", mid, q.SequenceNumber, q.Payload)
	// Output: audio 1 "opus"
}

// A copy is its own: neither the original's memory nor new memory, once it has some.
func TestCopyFrom(t *testing.T) {
	p := rtp.Packet{Marker: true, PayloadType: 96, SequenceNumber: 7, Timestamp: 8, SSRC: 9, Payload: []byte("payload")}
	p.CSRC.Add(10)
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(3, []byte("abc"))
	var q rtp.Packet
	q.CopyFrom(&p)
	want := p.Append(nil)
	p.Payload[0] = 'P'
	if got := q.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("the copy is %x, want %x", got, want)
	}
	if n := testing.AllocsPerRun(100, func() { q.CopyFrom(&p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
