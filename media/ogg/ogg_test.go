package ogg

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// RFC 3533 section 6, field 7: the generator polynomial is 0x04c11db7. The value is the one's complement of CRC-32/POSIX's check
// 0x765e7680 in the catalogue of parametrised CRC algorithms.
func TestChecksum(t *testing.T) {
	if got := checksum(0, []byte("123456789")); got != 0x89a1897f {
		t.Errorf("%#x", got)
	}
}

type written struct {
	serial  uint32
	granule int64
	data    []byte
}

// Packets of any size, of several streams, are read as they were written; the time of a page is that of its last packet.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var file bytes.Buffer
	writers := map[uint32]*Writer{7: NewWriter(&file, 7), 9: NewWriter(&file, 9)}
	packets := map[uint32][]written{}
	write := func(serial uint32, size int) {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		granule := int64(len(packets[serial]))
		packets[serial] = append(packets[serial], written{serial, granule, b})
		if err := writers[serial].Write(b, granule); err != nil {
			t.Fatal(err)
		}
	}
	write(7, 300)
	write(9, 70000) // several pages
	for range 200 {
		serial := uint32(7 + 2*r.IntN(2))
		write(serial, []int{0, r.IntN(600), 254, 255, 256, 510, 255 * 255, 255*255 + 1, r.IntN(100000)}[r.IntN(9)])
		if r.IntN(50) == 0 {
			if err := writers[serial].Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, serial := range []uint32{7, 9} {
		write(serial, 100) // else the last page may be empty, if the one before was flushed
		if err := writers[serial].Close(); err != nil {
			t.Fatal(err)
		}
		if err := writers[serial].Write(nil, 0); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	whole := file.Bytes()
	reader := NewReader(iotest.HalfReader(bytes.NewReader(whole)))
	got := map[uint32]int{}
	for {
		p, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n := got[p.Serial]
		want := packets[p.Serial][n]
		if !bytes.Equal(p.Data, want.data) || p.First != (n == 0) || p.Granule != NoGranule && p.Granule != want.granule {
			t.Fatalf("packet %d of stream %d: %d bytes, granule %d, first %v", n, p.Serial, len(p.Data), p.Granule, p.First)
		}
		if last := n == len(packets[p.Serial])-1; p.Last != last {
			t.Errorf("packet %d of stream %d: last %v", n, p.Serial, p.Last)
		}
		got[p.Serial]++
	}
	if got[7] != len(packets[7]) || got[9] != len(packets[9]) || reader.Dropped() != 0 {
		t.Errorf("%v packets were read, %d bytes dropped", got, reader.Dropped())
	}

	// Where bytes are wrong or gone, what is read is still what was written, in order, but for some.
	for range 12 {
		broken := bytes.Clone(whole)
		switch at := r.IntN(len(broken)); r.IntN(3) {
		case 0:
			broken[at] ^= 1 << r.IntN(8)
		case 1:
			broken = append(broken[:at], broken[min(at+r.IntN(200000), len(broken)):]...)
		case 2:
			broken = append(append(bytes.Clone(broken[:at]), "OggS\x00\x00 and noise"...), broken[at:]...)
		}
		reader := NewReader(bytes.NewReader(broken))
		at, count := map[uint32]int{}, 0
		for p, err := reader.Next(); err == nil; p, err = reader.Next() {
			list := packets[p.Serial]
			for at[p.Serial] < len(list) && !bytes.Equal(list[at[p.Serial]].data, p.Data) {
				at[p.Serial]++
			}
			if at[p.Serial]++; at[p.Serial] > len(list) {
				t.Fatalf("a packet of %d bytes that was never written", len(p.Data))
			}
			count++
		}
		if count < 100 {
			t.Errorf("only %d packets are left", count)
		}
	}
}

func TestNoOgg(t *testing.T) {
	for _, b := range []string{"", "OggS", "RIFF and so on, but no page of Ogg anywhere"} {
		if _, err := NewReader(bytes.NewReader([]byte(b))).Next(); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", b, err)
		}
	}
	broken := errors.New("broken")
	if _, err := NewReader(iotest.ErrReader(broken)).Next(); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func ExampleReader() {
	var file bytes.Buffer
	w := NewWriter(&file, 1)
	w.Write([]byte("header"), 0)
	w.Write([]byte("one"), 10)
	w.Write([]byte("two"), 20)
	w.Close()

	r := NewReader(&file)
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		fmt.Println(p.First, p.Last, p.Granule, string(p.Data))
	}
	// Output:
	// true false 0 header
	// false false -1 one
	// false true 20 two
}

func FuzzReader(f *testing.F) {
	var file bytes.Buffer
	w := NewWriter(&file, 1)
	w.Write([]byte("header"), 0)
	w.Write(make([]byte, 300), 10)
	w.Flush()
	w.Write(make([]byte, 255), 20)
	w.Close()
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		// Mutations would hardly ever have a right checksum.
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(capture))
			if i < 0 {
				break
			}
			at += i
			if _, size, _ := parsePage(b[at:]); size > 0 && at+size <= len(b) && size > pageHeader {
				copy(b[at+crcAt:], []byte{0, 0, 0, 0})
				sum := checksum(0, b[at:at+size])
				b[at+crcAt], b[at+crcAt+1], b[at+crcAt+2], b[at+crcAt+3] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
			}
			at += len(capture)
		}
		r := NewReader(bytes.NewReader(b))
		sum := 0
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			if sum += len(p.Data); sum > len(b) {
				t.Fatalf("%d bytes out of %d", sum, len(b))
			}
		}
		o, err := NewOpusReader(bytes.NewReader(b))
		for err == nil {
			var p OpusPacket
			if p, err = o.Next(); err == nil {
				o.Head.Time(p)
			}
		}
	})
}
