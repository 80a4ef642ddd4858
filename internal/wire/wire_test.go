package wire_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/internal/wire"
)

func TestReaderTakesWhatAppendWrote(t *testing.T) {
	var b []byte
	b = append(b, 0xfe)
	b = wire.AppendUint16(b, 0x0102)
	b = wire.AppendUint24(b, 0xff030405)
	b = wire.AppendUint32(b, 0x06070809)
	b = wire.AppendUint48(b, 0xffff_0a0b_0c0d_0e0f)
	b = wire.AppendUint64(b, 0x1011121314151617)
	b = append(b, "text"...)
	b = wire.AppendZeros(b, 3)

	r := wire.NewReader(b)
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"Uint8", uint64(r.Uint8()), 0xfe},
		{"Uint16", uint64(r.Uint16()), 0x0102},
		{"Uint24", uint64(r.Uint24()), 0x030405},
		{"Uint32", uint64(r.Uint32()), 0x06070809},
		{"Uint48", r.Uint48(), 0x0a0b_0c0d_0e0f},
		{"Uint64", r.Uint64(), 0x1011121314151617},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", c.name, c.got, c.want)
		}
	}
	if got := r.Bytes(4); string(got) != "text" || cap(got) != 4 {
		t.Errorf("Bytes(4) = %q with room for %d", got, cap(got))
	}
	if r.Done() {
		t.Error("Done with three bytes left")
	}
	if got := r.Rest(); !bytes.Equal(got, []byte{0, 0, 0}) || !r.Done() {
		t.Errorf("Rest = %v, Done = %v", got, r.Done())
	}
}

func TestReadBeyondTheEndSpoilsTheReader(t *testing.T) {
	reads := map[string]struct {
		width int
		read  func(r *wire.Reader) bool // reports whether it returned something other than zero
	}{
		"Uint8":  {1, func(r *wire.Reader) bool { return r.Uint8() != 0 }},
		"Uint16": {2, func(r *wire.Reader) bool { return r.Uint16() != 0 }},
		"Uint24": {3, func(r *wire.Reader) bool { return r.Uint24() != 0 }},
		"Uint32": {4, func(r *wire.Reader) bool { return r.Uint32() != 0 }},
		"Uint48": {6, func(r *wire.Reader) bool { return r.Uint48() != 0 }},
		"Uint64": {8, func(r *wire.Reader) bool { return r.Uint64() != 0 }},
		"Bytes":  {5, func(r *wire.Reader) bool { return r.Bytes(5) != nil }},
		"Sub":    {5, func(r *wire.Reader) bool { s := r.Sub(5); return s.OK() && s.Len() == 5 }},
		"Skip":   {5, func(r *wire.Reader) bool { r.Skip(5); return r.OK() }},
	}
	for name, c := range reads {
		enough := bytes.Repeat([]byte{0xff}, c.width)
		if r := wire.NewReader(enough); !c.read(&r) || !r.Done() {
			t.Errorf("%s did not take exactly %d bytes", name, c.width)
		}
		for n := range c.width {
			r := wire.NewReader(enough[:n])
			if c.read(&r) || r.OK() || r.Len() != 0 || r.Uint8() != 0 || r.Rest() != nil {
				t.Errorf("%s of %d bytes went through", name, n)
			}
		}
	}
	r := wire.NewReader([]byte{1, 2, 3})
	if r.Bytes(-1) != nil || r.OK() {
		t.Error("Bytes(-1) went through")
	}
}

func TestSubDoesNotReadItsNeighbour(t *testing.T) {
	r := wire.NewReader([]byte{1, 2, 3, 4})
	sub := r.Sub(2)
	if sub.Uint16() != 0x0102 || !sub.Done() || sub.Uint8() != 0 || sub.OK() {
		t.Error("the part is not bounded")
	}
	if r.Uint16() != 0x0304 || !r.Done() {
		t.Error("a spoiled part must not spoil the whole")
	}
}

func TestPrefix(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func([]byte, int) bool
		width int
	}{
		{"Uint8Prefix", wire.Uint8Prefix, 1},
		{"Uint16Prefix", wire.Uint16Prefix, 2},
		{"Uint24Prefix", wire.Uint24Prefix, 3},
	} {
		limit := 1<<(8*c.width) - 1
		for _, n := range []int{0, 1, 255, limit} {
			b := make([]byte, 1+c.width+n)
			if !c.write(b, 1) {
				t.Fatalf("%s of %d bytes: refused", c.name, n)
			}
			got := 0
			for _, v := range b[1 : 1+c.width] {
				got = got<<8 | int(v)
			}
			if got != n || b[0] != 0 {
				t.Errorf("%s of %d bytes wrote %d", c.name, n, got)
			}
		}
		b := make([]byte, 1+c.width+limit+1)
		if c.write(b, 1) || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s of %d bytes: taken", c.name, limit+1)
		}
		for _, start := range []int{-1, 1, 2, 99} {
			if c.write(make([]byte, c.width), start) {
				t.Errorf("%s at %d of %d bytes: taken", c.name, start, c.width)
			}
		}
	}
}

func TestPad4(t *testing.T) {
	for n, want := range []int{0, 3, 2, 1, 0, 3} {
		if got := wire.Pad4(n); got != want {
			t.Errorf("Pad4(%d) = %d, want %d", n, got, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, []byte{5, 8, 7})
	f.Fuzz(func(t *testing.T, b, program []byte) {
		r := wire.NewReader(b)
		for _, op := range program {
			before, ok := r.Len(), r.OK()
			switch op % 9 {
			case 0:
				r.Uint8()
			case 1:
				r.Uint16()
			case 2:
				r.Uint24()
			case 3:
				r.Uint32()
			case 4:
				r.Uint48()
			case 5:
				r.Uint64()
			case 6:
				r.Bytes(int(int8(op)))
			case 7:
				s := r.Sub(int(op) / 9)
				s.Uint32()
			case 8:
				r.Rest()
			}
			if r.Len() > before || !ok && (r.OK() || r.Len() != 0) {
				t.Fatalf("op %d: from %d bytes (ok %v) to %d (ok %v)", op%9, before, ok, r.Len(), r.OK())
			}
		}
	})
}

func Example() {
	b := wire.AppendUint16(nil, 7)
	start := len(b)
	b = wire.AppendUint16(b, 0)
	b = append(b, "hello"...)
	wire.Uint16Prefix(b, start)

	r := wire.NewReader(b)
	kind := r.Uint16()
	body := r.Bytes(int(r.Uint16()))
	fmt.Printf("%d %s %v\n", kind, body, r.Done())
	// Output: 7 hello true
}

func TestBitReader(t *testing.T) {
	r := wire.NewBitReader([]byte{0b1010_0110, 0xff})
	if a, b, c, d := r.Flag(), r.Bits(3), r.Bits(8), r.Bits(4); !a || b != 0b010 || c != 0b0110_1111 || d != 0xf || !r.OK() {
		t.Errorf("%v %b %b %b, %v", a, b, c, d, r.OK())
	}
	if v := r.Bits(2); v != 0 || r.OK() {
		t.Errorf("beyond the end: %b, %v", v, r.OK())
	}
}
