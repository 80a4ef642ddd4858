package fec_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// receive gives a decoder a packet of either stream.
func receive(d *fec.Decoder, f fec.Format, packet []byte) {
	p, err := rtp.Parse(packet)
	switch {
	case err != nil:
	case f == fec.ULPFEC:
		d.RED(&p, 127)
	case p.SSRC == repairSSRC:
		d.Repair(&p)
	default:
		d.Media(packet)
	}
}

// sender is the other end of a decoder: media packets of a clock, with repair packets between them.
type sender struct {
	e     *fec.Encoder
	f     fec.Format
	queue [][]byte
	n     uint16
	left  int
	next  mono.Time
}

func (s *sender) tick(now mono.Time) {
	if s.left == 0 || now < s.next {
		return
	}
	rng := seeded(uint64(s.n))
	packets := media(rng, s.n, 5)
	for _, p := range packets {
		s.e.Media(p)
	}
	s.e.EndFrame()
	s.queue = append(s.queue, packets...)
	for _, r := range repairs(s.e, s.f) {
		s.queue = append(s.queue, r.Append(nil))
	}
	s.n += 5
	s.left--
	s.next = s.next.Add(10 * time.Millisecond)
}

func TestLaws(t *testing.T) {
	for _, f := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		t.Run(fmt.Sprint("format ", f), func(t *testing.T) {
			laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
				d := fec.NewDecoder(fec.Config{Format: f})
				s := &sender{e: fec.NewEncoder(fec.Config{Format: f}), f: f}
				s.e.Protect(fec.Protection{Rate: 0.5})
				fresh := false
				return &laws.Specimen{
					Engine: &laws.Nested{
						Handle: func(_ mono.Time, packet []byte) {
							fresh = true
							receive(d, f, packet)
						},
						Timeout: func(mono.Time) {},
						Next:    func() mono.Time { return mono.Never },
						Append:  func(dst []byte, _ mono.Time) []byte { return dst },
						Event: func() (laws.Event, bool) {
							p, ok := d.Next()
							switch {
							case ok:
								h := fnv.New64a()
								h.Write(p)
								return laws.Event{Text: fmt.Sprintf("%x", h.Sum64())}, true
							case fresh: // something is told even where nothing is lost
								fresh = false
								return laws.Event{Text: fmt.Sprintf("%+v", d.Counts())}, true
							}
							return laws.Event{}, false
						},
					},
					Peer: &laws.Nested{
						Handle: func(mono.Time, []byte) {}, Timeout: s.tick,
						Next: func() mono.Time {
							if s.left == 0 {
								return mono.Never
							}
							return s.next
						},
						Append: func(dst []byte, _ mono.Time) []byte {
							if len(s.queue) == 0 {
								return dst
							}
							dst = append(dst, s.queue[0]...)
							s.queue = s.queue[1:]
							return dst
						},
						Event: func() (laws.Event, bool) { return laws.Event{}, false },
					},
					Steps: []func(mono.Time){func(now mono.Time) { s.left, s.next = 30, now }},
					Done: func() error {
						if c := d.Counts(); s.left > 0 || c.Media+c.Recovered < 140 {
							return fmt.Errorf("%d media packets came, %d were repaired", c.Media, c.Recovered)
						}
						return nil
					},
					Bound: 4 << 20,
				}
			}})
		})
	}
}

// stream makes bytes of packets for FuzzDecoder.
func stream(packets ...[]byte) (b []byte) {
	for _, p := range packets {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

// Whatever comes, nothing panics, what is given back is an RTP packet, and counts are in proportion.
func FuzzDecoder(f *testing.F) {
	for _, format := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		packets := media(seeded(1), 65530, 8)
		for _, r := range protect(format, fec.Protection{Rate: 0.5}, packets) {
			packets = append(packets, r.Append(nil))
		}
		f.Add(byte(format), stream(slices.Delete(packets, 1, 3)...))
	}
	for _, r := range protect(fec.FlexFEC, fec.Protection{Columns: 2, Rows: 2}, media(seeded(1), 1, 4)) {
		f.Add(byte(fec.FlexFEC), stream(r.Append(nil)))
	}
	ulp := append([]byte{127}, append(make([]byte, 10), 0, 2, 0xc0, 0, 1, 2)...)
	f.Add(byte(fec.ULPFEC), stream((&rtp.Packet{SSRC: mediaSSRC, PayloadType: 100, Payload: ulp}).Append(nil)))
	f.Fuzz(func(t *testing.T, format byte, in []byte) {
		d := fec.NewDecoder(fec.Config{Format: fec.Format(format % 3), Volatile: []uint8{1}})
		for len(in) > 2 {
			n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
			receive(d, fec.Format(format%3), in[2:2+n])
			in = in[2+n:]
		}
		given := uint64(0)
		for p, ok := d.Next(); ok; p, ok = d.Next() {
			given++
			if _, err := rtp.Parse(p); err != nil {
				t.Fatalf("%x was repaired: %v", p, err)
			}
		}
		if c := d.Counts(); given > c.Recovered {
			t.Fatalf("%d were given, %+v", given, c)
		}
	})
}

// Whatever is sent and however it is protected, a single loss in what one repair packet protects is repaired.
func FuzzEncoder(f *testing.F) {
	f.Add(byte(0), byte(30), byte(0), uint16(65530), []byte{5, 200, 0, 1, 2, 3, 255, 9})
	f.Add(byte(1), byte(99), byte(0x23), uint16(1), []byte{5, 200, 0, 1, 2, 3, 255, 9})
	f.Fuzz(func(t *testing.T, format, rate, grid byte, from uint16, sizes []byte) {
		kind := fec.Format(format % 2)
		p := fec.Protection{Rate: float64(rate) / 100, Bursts: format&2 != 0, Columns: grid >> 4, Rows: grid & 15}
		e := fec.NewEncoder(fec.Config{Format: kind})
		e.Protect(p)
		rng := seeded(uint64(from))
		sent := map[uint16][]byte{}
		n := from
		for _, size := range sizes[:min(len(sizes), 60)] {
			if size == 255 {
				n += 40 // a gap
			}
			n++
			packet := media(rng, n, 1)[0]
			sent[n] = packet
			e.Media(packet)
			if size%8 == 0 {
				e.EndFrame()
			}
		}
		e.EndFrame()
		for _, r := range repairs(e, kind) {
			for lost := range sent {
				d := fec.NewDecoder(fec.Config{Format: kind})
				for i, packet := range sent {
					if i != lost {
						d.Media(packet)
					}
				}
				d.Repair(&r)
				got, ok := d.Next()
				if !ok {
					continue
				}
				if i := binary.BigEndian.Uint16(got[2:]); !slices.Equal(got, sent[i]) {
					t.Fatalf("packet %d was repaired to %x, sent was %x", i, got, sent[i])
				}
			}
		}
	})
}
