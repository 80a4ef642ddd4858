package payload

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// cut returns the payloads of a frame, checked against the limit.
func cut(t testing.TB, p Packetizer, f *Frame, limit Limit) [][]byte {
	t.Helper()
	payloads, err := tryCut(t, p, f, limit)
	if err != nil {
		t.Fatal(err)
	}
	return payloads
}

func tryCut(t testing.TB, p Packetizer, f *Frame, limit Limit) ([][]byte, error) {
	t.Helper()
	if err := p.Begin(f, limit); err != nil {
		if b, more := p.Append(nil); len(b) > 0 || more {
			t.Fatalf("after %v there is something to append", err)
		}
		return nil, err
	}
	var payloads [][]byte
	for more := true; more; {
		var b []byte
		b, more = p.Append([]byte("before"))
		if !bytes.HasPrefix(b, []byte("before")) {
			t.Fatal("what was in the buffer is gone")
		}
		b = b[len("before"):]
		room := limit.Max
		if len(payloads) == 0 {
			room -= limit.First
		}
		if !more {
			room -= limit.Last
		}
		if len(b) == 0 || len(b) > room {
			t.Fatalf("payload %d (more follow: %v) has %d bytes, limit %+v", len(payloads), more, len(b), limit)
		}
		if payloads = append(payloads, b); len(payloads) > len(f.Data)+1 {
			t.Fatal("more payloads than bytes")
		}
	}
	return payloads, nil
}

// formats are all of them, each with a maker of frames that its AppendFrame would give back byte for byte.
var formats = []struct {
	name   string
	format Format
	whole  bool // never cut
	frame  func(r *rand.Rand, size int) []byte
}{
	{"opus", Opus{}, true, func(r *rand.Rand, size int) []byte {
		b := randomBytes(r, 1+size%1275)
		b[0] &^= 3
		return b
	}},
	{"pcmu", PCMU{}, true, func(r *rand.Rand, size int) []byte { return randomBytes(r, 1+size) }},
	{"pcma", PCMA{}, true, func(r *rand.Rand, size int) []byte { return randomBytes(r, 1+size) }},
	{"vp8", VP8{}, false, func(r *rand.Rand, size int) []byte { return randomBytes(r, 1+size) }},
	{"vp9", VP9{}, false, func(r *rand.Rand, size int) []byte { return randomBytes(r, 1+size) }},
	{"av1", AV1{}, false, func(r *rand.Rand, size int) []byte {
		unit := []byte{0x12, 0}
		if r.IntN(3) == 0 {
			unit = appendOBU(unit, obuSequence, []byte{0, 0, 0, 1})
			unit = appendOBU(unit, obuFrame, append([]byte{0x10}, randomBytes(r, size)...))
		} else {
			unit = appendOBU(unit, obuFrameHeader, []byte{0x30, 5})
			for range 1 + r.IntN(5) {
				unit = appendOBU(unit, obuTileGroup, randomBytes(r, size/3))
			}
		}
		return unit
	}},
	{"h264", H264{Mode: 1}, false, func(r *rand.Rand, size int) []byte {
		if r.IntN(3) == 0 {
			return accessUnit(r, size, []byte{0x67}, []byte{0x68}, []byte{0x06}, []byte{0x65}, []byte{0x65})
		}
		return accessUnit(r, size, []byte{0x09}, []byte{0x41}, []byte{0x01})
	}},
	{"h265", H265{}, false, func(r *rand.Rand, size int) []byte {
		if r.IntN(3) == 0 {
			return accessUnit(r, size, []byte{0x40, 1}, []byte{0x42, 1}, []byte{0x44, 1}, []byte{0x26, 1}, []byte{0x26, 1})
		}
		return accessUnit(r, size, []byte{0x46, 1}, []byte{0x02, 1}, []byte{0x02, 1})
	}},
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// accessUnit makes an access unit of NAL units with these headers: the last two have most of the bytes.
func accessUnit(r *rand.Rand, size int, headers ...[]byte) (b []byte) {
	for i, h := range headers {
		b = append(append(b, startCode...), h...)
		n := 1 + r.IntN(30)
		if i >= len(headers)-2 {
			n = 1 + size/2
		}
		for range n {
			b = append(b, byte(1+r.IntN(255))) // no zeroes: they might be a start code
		}
	}
	return b
}

// Any frame, cut by any limit, is the same when joined again, and its payloads say the same of it.
func TestRoundTrip(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			packetizer := f.format.NewPacketizer(r.Uint32())
			cuts := 0
			for range 1500 {
				data := f.frame(r, r.IntN([]int{4, 100, 5000}[r.IntN(3)]))
				limit := Limit{Max: 40 + r.IntN(1300), First: r.IntN(12), Last: r.IntN(12)}
				if r.IntN(2) == 0 {
					limit.First, limit.Last = 0, 0
				}
				if f.whole && r.IntN(2) == 0 {
					limit.Max = 1300
				}
				payloads, err := tryCut(t, packetizer, &Frame{Data: data}, limit)
				if f.whole && len(data) > limit.Max-limit.First-limit.Last {
					if !errors.Is(err, ErrLimit) {
						t.Fatalf("%d bytes in %+v: %v", len(data), limit, err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%d bytes in %+v: %v", len(data), limit, err)
				}
				if len(payloads) > 1 {
					cuts++
				}
				joined, err := f.format.AppendFrame([]byte("before"), payloads)
				if err != nil || !bytes.Equal(joined, append([]byte("before"), data...)) {
					t.Fatalf("%v\n%x\nbecame\n%x\nby %x", err, data, joined, payloads)
				}
				key := false
				for i, b := range payloads {
					part, err := f.format.Parse(b)
					if err != nil {
						t.Fatalf("%x: %v", b, err)
					}
					if part.Start && i > 0 || part.End && i < len(payloads)-1 {
						t.Fatalf("payload %d of %d says %+v", i, len(payloads), part)
					}
					key = key || part.KeyFrame
				}
				if key != f.format.KeyFrame(data) {
					t.Fatalf("a key frame by its payloads: %v, by itself: %v", key, !key)
				}
			}
			if !f.whole && cuts < 250 {
				t.Errorf("only %d frames had to be cut", cuts)
			}
		})
	}
}

// What is missing from a frame is noticed where payloads can tell, and nothing that AppendFrame says was wrong is an accident
// of indexes.
func TestLimits(t *testing.T) {
	for _, f := range formats {
		data := f.frame(rand.New(rand.NewPCG(3, 4)), 1000)
		packetizer := f.format.NewPacketizer(0)
		for _, limit := range []Limit{{}, {Max: -1}, {Max: 1}, {Max: 30, First: 40}, {Max: 30, Last: 40}} {
			if _, err := tryCut(t, packetizer, &Frame{Data: data}, limit); !errors.Is(err, ErrLimit) {
				t.Errorf("%s with %+v: %v", f.name, limit, err)
			}
		}
		if _, err := tryCut(t, packetizer, &Frame{}, Limit{Max: 1000}); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s, nothing: %v", f.name, err)
		}
		if _, err := f.format.AppendFrame(nil, nil); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s of no payloads: %v", f.name, err)
		}
		if _, err := f.format.Parse(nil); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s of nothing: %v", f.name, err)
		}
	}
}

// A frame is shared out evenly: no payload is more than a byte longer than another, but for what the limit takes.
func TestEvenShares(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 10000 {
		n, header := 1+r.IntN(6000), r.IntN(8)
		limit := Limit{Max: header + 2 + r.IntN(1400), First: r.IntN(300), Last: r.IntN(300)}
		s, err := split(n, header, limit)
		room := limit.Max - header
		if err != nil {
			if n+limit.First+limit.Last <= room || n > 1 && 1+max(limit.First, limit.Last) <= room {
				t.Fatalf("%d bytes, header %d, %+v: %v", n, header, limit, err)
			}
			continue
		}
		count, sum := s.payloads, 0
		for i := range count {
			got, most := s.next(), room
			if i == 0 {
				most -= limit.First
			}
			if i == count-1 {
				most -= limit.Last
			}
			share := (n + limit.First + limit.Last) / count
			if got < 1 || got > most || limit.First == 0 && limit.Last == 0 && (got < share || got > share+1) {
				t.Fatalf("%d bytes, header %d, %+v: share %d of %d is %d", n, header, limit, i, count, got)
			}
			sum += got
		}
		if sum != n {
			t.Fatalf("%d of %d bytes", sum, n)
		}
	}
}

func BenchmarkPacketize(b *testing.B) {
	for _, f := range formats {
		b.Run(f.name, func(b *testing.B) {
			size := 12000
			if f.whole {
				size = 160
			}
			frame := Frame{Data: f.frame(rand.New(rand.NewPCG(7, 8)), size)}
			packetizer := f.format.NewPacketizer(0)
			buf := make([]byte, 0, 1500)
			b.SetBytes(int64(len(frame.Data)))
			b.ReportAllocs()
			for b.Loop() {
				err := packetizer.Begin(&frame, Limit{Max: 1200})
				for more := err == nil; more; {
					buf, more = packetizer.Append(buf[:0])
				}
			}
		})
	}
}

func BenchmarkDepacketize(b *testing.B) {
	for _, f := range formats {
		b.Run(f.name, func(b *testing.B) {
			size := 12000
			if f.whole {
				size = 160
			}
			frame := Frame{Data: f.frame(rand.New(rand.NewPCG(7, 8)), size)}
			payloads := cut(b, f.format.NewPacketizer(0), &frame, Limit{Max: 1200})
			buf := make([]byte, 0, 2*len(frame.Data))
			b.SetBytes(int64(len(frame.Data)))
			b.ReportAllocs()
			for b.Loop() {
				for _, payload := range payloads {
					if _, err := f.format.Parse(payload); err != nil {
						b.Fatal(err)
					}
				}
				var err error
				if buf, err = f.format.AppendFrame(buf[:0], payloads); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fuzzFormat feeds bytes as two payloads of a frame. Whatever they are, nothing panics, what is refused is refused by a known
// error, and a frame is not longer than its payloads but for what its format adds to each of their parts.
func fuzzFormat(f *testing.F, format Format, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s, []byte(nil))
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		payloads := [][]byte{a, b}
		if len(b) == 0 {
			payloads = payloads[:1]
		}
		known := func(err error) {
			for _, e := range []error{nil, ErrEmpty, ErrMalformed, ErrUnsupported, ErrIncomplete} {
				if errors.Is(err, e) {
					return
				}
			}
			t.Fatal(err)
		}
		_, err := format.Parse(a)
		known(err)
		frame, err := format.AppendFrame(nil, payloads)
		known(err)
		if len(frame) > 3*(len(a)+len(b))+64 {
			t.Fatalf("%d bytes made a frame of %d", len(a)+len(b), len(frame))
		}
		format.KeyFrame(a)
		if w, h, ok := PictureSize(format, a); ok != (w > 0 && h > 0) || w > 1<<16 || h > 1<<16 {
			t.Fatalf("a picture of %d x %d", w, h)
		}
		if err != nil {
			return
		}
		format.KeyFrame(frame)
		// What a peer makes up may be no bitstream, and then is tidied when it is cut the first time; but not the second.
		var last []byte
		for i := range 2 {
			again, err := tryCut(t, format.NewPacketizer(0), &Frame{Data: frame}, Limit{Max: 50})
			if err != nil && i == 0 {
				return
			}
			if frame, err = format.AppendFrame(nil, again); err != nil || i == 1 && !bytes.Equal(frame, last) {
				t.Fatalf("%v: %x was read, and written as %x", err, last, frame)
			}
			last = frame
		}
	})
}

func FuzzOpus(f *testing.F) { fuzzFormat(f, Opus{}, []byte{0xfc, 1, 2}, []byte{3, 0xc1, 1, 1, 0}) }
func FuzzVP9(f *testing.F) {
	fuzzFormat(f, VP9{}, []byte{0x8c, 0x81, 1, 9}, []byte{0xbe, 0x81, 1, 0, 7, 0x18, 1, 0, 1, 0, 1, 4, 1, 0x82}, []byte{0xfc, 0x81, 1, 2, 3, 4, 9})
}
func FuzzAV1(f *testing.F) {
	fuzzFormat(f, AV1{}, []byte{0x28, 4, 8, 0, 0, 0, 0x30, 0x10, 1}, []byte{0x50, 0x30, 9, 9}, []byte{0x90, 9, 9}, []byte{0, 1, 0x30, 2, 0x12, 0})
}
func FuzzH264(f *testing.F) {
	fuzzFormat(f, H264{Mode: 1}, []byte{0x67, 1}, []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, []byte{0x7c, 0x85, 1}, []byte{0x7c, 0x45, 1})
}
func FuzzH265(f *testing.F) {
	fuzzFormat(f, H265{}, []byte{0x40, 1, 1}, []byte{0x60, 1, 0, 3, 0x40, 1, 1, 0, 3, 0x42, 1, 1}, []byte{0x62, 1, 0x93, 1}, []byte{0x62, 1, 0x53, 1})
}
func FuzzVP8(f *testing.F) { fuzzFormat(f, VP8{}, []byte{0x90, 0xe0, 0x81, 1, 2, 0x60, 1}) }
