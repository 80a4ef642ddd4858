package payload

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// RFC 2198 section 7: "An example RTP packet of an 8 kHz PCM primary encoding ... and one redundant LPC encoding": the primary is
// DVI, payload type 5, the redundancy LPC, payload type 7, of 14 bytes, 20 ms before.
func TestREDExample(t *testing.T) {
	lpc, dvi := bytes.Repeat([]byte{7}, 14), bytes.Repeat([]byte{5}, 84)
	payload := bytes.Join([][]byte{{0x80 | 7, 160 >> 6, 160 & 0x3f << 2, 14, 5}, lpc, dvi}, nil)
	blocks, err := ParseRED(payload)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []REDBlock{{7, 160, lpc}, {5, 0, dvi}} {
		if b, ok := blocks.Next(); !ok || b.PayloadType != want.PayloadType || b.Offset != want.Offset || !bytes.Equal(b.Data, want.Data) {
			t.Errorf("%+v", b)
		}
	}
	if b, ok := blocks.Next(); ok {
		t.Errorf("%+v", b)
	}
	for n := range 5 + 14 {
		if _, err := ParseRED(payload[:n]); err == nil {
			t.Errorf("cut off after %d bytes", n)
		}
	}
	if _, err := ParseRED(nil); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
}

// Each packet has what was before it, as far as the limit and the fields of a block's header (section 3: 14 bits of offset, 10
// bits of length) allow.
func TestREDEncoder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for levels := 1; levels <= MaxREDLevels; levels++ {
		e := NewREDEncoder(levels)
		sent := map[uint32][]byte{}
		timestamp, full := uint32(1<<32-5000), 0
		for i := range 300 {
			timestamp += 960
			if i%50 == 49 {
				timestamp += 20000 // a pause
			}
			data := randomBytes(r, r.IntN(120))
			if i%40 == 39 {
				data = randomBytes(r, 1100)
			}
			sent[timestamp] = data
			limit := 1200
			if i%3 == 0 {
				limit = 250
			}
			payload := e.Append([]byte{9}, 111, timestamp, data, limit)[1:]
			if len(payload) > max(limit, len(data)+1) {
				t.Fatalf("%d bytes, limit %d", len(payload), limit)
			}
			blocks, err := ParseRED(payload)
			if err != nil {
				t.Fatal(err)
			}
			n, last := 0, uint16(redMaxOffset+1)
			for b, ok := blocks.Next(); ok; b, ok = blocks.Next() {
				want, known := sent[timestamp-uint32(b.Offset)]
				if !known || b.PayloadType != 111 || !bytes.Equal(b.Data, want) || b.Offset >= last {
					t.Fatalf("packet %d: block %d: %+v", i, n, b)
				}
				last = b.Offset
				n++
			}
			if last != 0 || n > levels+1 {
				t.Fatalf("packet %d: %d blocks, the last %d ticks old", i, n, last)
			}
			if n == levels+1 {
				full++
			}
		}
		if full < 100 {
			t.Errorf("%d levels: only %d of 300 packets have all", levels, full)
		}
	}
}

func FuzzRED(f *testing.F) {
	f.Add([]byte{0x87, 2, 0x80, 1, 5, 1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		blocks, err := ParseRED(b)
		if err != nil {
			return
		}
		sum, n := 0, 0
		for block, ok := blocks.Next(); ok; block, ok = blocks.Next() {
			sum += len(block.Data)
			n++
		}
		if sum+4*n-3 != len(b) {
			t.Fatalf("%x: %d blocks of %d bytes", b, n, sum)
		}
	})
}

func BenchmarkRED(b *testing.B) {
	e := NewREDEncoder(2)
	data, buf := make([]byte, 80), make([]byte, 0, 1500)
	timestamp := uint32(0)
	b.ReportAllocs()
	for b.Loop() {
		timestamp += 960
		buf = e.Append(buf[:0], rtp.PayloadType(111), timestamp, data, 1200)
	}
}
