package fec_test

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// peel is what repair can give back at most by RFC 8627 section 6.3.4: as long as a repair packet lacks one media packet, that is
// repaired. Covers are the packets of each repair, lost are bits.
func peel(covers [][]uint16, first uint16, media, repairs uint) (back uint) {
	for again := true; again; {
		again = false
		for r, numbers := range covers {
			if repairs>>r&1 == 1 {
				continue
			}
			var lacks uint
			for _, n := range numbers {
				lacks |= media & (1 << (n - first))
			}
			if bits.OnesCount(lacks) == 1 {
				media &^= lacks
				back |= lacks
				again = true
			}
		}
	}
	return back
}

// All patterns of loss of small blocks: what can be repaired is, byte for byte, and nothing else is given back; whatever order packets
// come in, and where sequence numbers wrap.
func TestAllPatternsOfLoss(t *testing.T) {
	for _, format := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		for _, bursts := range []bool{false, true} {
			for _, c := range []struct{ k, m int }{{1, 1}, {2, 1}, {2, 2}, {3, 1}, {3, 2}, {4, 2}, {4, 3}, {5, 3}, {6, 3}, {6, 4}, {8, 4}} {
				t.Run(fmt.Sprintf("format %d, bursts %v, %d+%d", format, bursts, c.k, c.m), func(t *testing.T) {
					rng := seeded(uint64(c.k*10 + c.m))
					first := uint16(65534)
					sent := media(rng, first, c.k)
					made := protect(format, fec.Protection{Rate: float64(c.m) / float64(c.k), Bursts: bursts}, sent)
					if len(made) != c.m {
						t.Fatalf("%d repair packets were made", len(made))
					}
					var covers [][]uint16
					all := map[uint16]bool{}
					for _, p := range made {
						base, numbers := covered(t, format, p.Payload)
						if len(numbers) == 0 || numbers[0] != base {
							t.Fatalf("base %d, packets %v", base, numbers)
						}
						covers = append(covers, numbers)
						for _, n := range numbers {
							all[n] = true
						}
					}
					if len(all) != c.k {
						t.Fatalf("%d packets of %d are protected", len(all), c.k)
					}
					for pattern := range uint(1) << (c.k + c.m) {
						lost, lostRepairs := pattern&(1<<c.k-1), pattern>>c.k
						d := fec.NewDecoder(fec.Config{Format: format})
						got := 0
						var back []uint16
						for _, i := range rng.Perm(c.k + c.m) {
							switch {
							case pattern>>i&1 == 1:
							case i < c.k:
								d.Media(sent[i])
							default:
								d.Repair(&made[i-c.k])
								got++
							}
							back = append(back, recovered(t, d, sent)...)
						}
						// In another order a packet may be repaired before it comes.
						var want []uint16
						for i := range c.k {
							if peel(covers, first, lost, lostRepairs)>>i&1 == 1 {
								want = append(want, first+uint16(i))
							}
						}
						back = slices.DeleteFunc(back, func(n uint16) bool { return lost>>(n-first)&1 == 0 })
						slices.SortFunc(back, func(a, b uint16) int { return int(a-first) - int(b-first) })
						if !slices.Equal(back, want) {
							t.Fatalf("of the loss %b of media and %b of repair these were repaired: %v, not %v", lost, lostRepairs, back, want)
						}
					}
				})
			}
		}
	}
}

// Rows and columns (RFC 8627 sections 1.1.1 to 1.1.4): all patterns of loss of 3 x 3, with the 6 repair packets all there; and that
// the first row's repair says that columns follow.
func TestRowsAndColumns(t *testing.T) {
	rng := seeded(1)
	const first = 65530
	sent := media(rng, first, 9)
	made := protect(fec.FlexFEC, fec.Protection{Columns: 3, Rows: 3}, sent)
	var covers [][]uint16
	for i, p := range made {
		l, d := p.Payload[10], p.Payload[11]
		base := uint16(p.Payload[8])<<8 | uint16(p.Payload[9])
		want := [3]uint16{first + uint16(i)*3, 3, 1}
		if i >= 3 {
			want = [3]uint16{first + uint16(i) - 3, 3, 3}
		}
		if got := [3]uint16{base, uint16(l), uint16(d)}; got != want || p.Payload[0]>>6 != 1 {
			t.Errorf("repair %d: base, L and D are %v, not %v", i, got, want)
		}
		step := uint16(1)
		if d > 1 {
			step = uint16(l)
		}
		covers = append(covers, []uint16{base, base + step, base + 2*step})
	}
	if len(made) != 6 {
		t.Fatalf("%d repair packets", len(made))
	}
	for lost := range uint(1) << 9 {
		d := fec.NewDecoder(fec.Config{Format: fec.FlexFEC})
		for i, p := range sent {
			if lost>>i&1 == 0 {
				d.Media(p)
			}
		}
		for i := range made {
			d.Repair(&made[i])
		}
		back := peel(covers, first, lost, 0)
		if got := recovered(t, d, sent); len(got) != bits.OnesCount(back) {
			t.Fatalf("of %09b were repaired %v, not %09b", lost, got, back)
		}
	}

	// "If L>0, D=0, indicates row FEC, and no column FEC will follow" - section 4.2.2.2.
	made = protect(fec.FlexFEC, fec.Protection{Columns: 4}, sent[:8])
	if len(made) != 2 || made[0].Payload[10] != 4 || made[0].Payload[11] != 0 || made[1].Payload[9] != byte(sent[4][3]) {
		t.Errorf("rows alone: %d packets", len(made))
	}
}

// "when L=1 and D=0, the repair packet becomes a retransmission of a corresponding source packet" - RFC 8627 section 4.2.2.2.
func TestARowOfOneIsACopy(t *testing.T) {
	sent := media(seeded(2), 7, 3)
	made := protect(fec.FlexFEC, fec.Protection{Columns: 1}, sent)
	d := fec.NewDecoder(fec.Config{Format: fec.FlexFEC})
	for i := range made {
		d.Repair(&made[i])
	}
	if got := recovered(t, d, sent); !slices.Equal(got, []uint16{7, 8, 9}) {
		t.Errorf("repaired were %v", got)
	}
}

// "the only operation needed for sending retransmissions is to prepend a new RTP header to the source packet" - RFC 8627 section 4.2.2.3.
func TestRetransmissionIsRead(t *testing.T) {
	sent := media(seeded(3), 100, 4)
	made := protect(fec.FlexFEC, fec.Protection{Rate: 0.25}, sent)
	d := fec.NewDecoder(fec.Config{Format: fec.FlexFEC})
	d.Media(sent[0])
	d.Media(sent[1])
	d.Repair(&made[0])
	d.Repair(&rtp.Packet{SSRC: repairSSRC, Payload: sent[3]})
	if got := recovered(t, d, sent); !slices.Equal(got, []uint16{102, 103}) { // and with it the other
		t.Errorf("repaired were %v", got)
	}
	d.Repair(&rtp.Packet{SSRC: repairSSRC, Payload: sent[3]})
	if got := recovered(t, d, sent); got != nil {
		t.Errorf("again: %v", got)
	}
	// R=1, F=1: "receivers MUST ignore these packets" - section 4.2.2.
	reserved := slices.Clone(sent[2])
	reserved[0] |= 0xc0
	d = fec.NewDecoder(fec.Config{Format: fec.FlexFEC})
	d.Repair(&rtp.Packet{SSRC: repairSSRC, Payload: reserved})
	if got := recovered(t, d, sent); got != nil || d.Counts().Malformed != 1 {
		t.Errorf("R and F: %v", got)
	}
}

// A long stream with loss of media and repair, reordering and duplicates: what is given back is as it was sent, each packet once, none
// that came before, and most of what was lost. Repairs of old packets do not pile up.
func TestALongStream(t *testing.T) {
	for _, format := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		rng := seeded(uint64(format))
		const from, n = 60000, 20000 // sequence numbers wrap
		e := fec.NewEncoder(fec.Config{Format: format})
		e.Protect(fec.Protection{Rate: 0.3})
		d := fec.NewDecoder(fec.Config{Format: format})
		type item struct {
			at     float64
			media  []byte
			repair *rtp.Packet
		}
		var sending []item
		var lost, back, frame int
		state := map[uint16]string{}
		want := map[uint16][]byte{}
		flush := func(rest int) {
			slices.SortStableFunc(sending, func(a, b item) int { return int(100 * (a.at - b.at)) })
			for len(sending) > rest {
				k := sending[0]
				sending = sending[1:]
				if k.media != nil {
					d.Media(k.media)
					state[uint16(k.media[2])<<8|uint16(k.media[3])] = "came"
				} else {
					d.Repair(k.repair)
				}
				for p, ok := d.Next(); ok; p, ok = d.Next() {
					number := uint16(p[2])<<8 | uint16(p[3])
					if !slices.Equal(p, want[number]) {
						t.Fatalf("packet %d was repaired wrongly", number)
					}
					if state[number] == "came" || state[number] == "repaired" {
						t.Fatalf("packet %d had %s", number, state[number])
					}
					if state[number] == "lost" {
						back++
					}
					state[number] = "repaired"
				}
			}
		}
		for i := from; i < from+n; i++ {
			p := media(rng, uint16(i), 1)[0]
			want[uint16(i)] = p
			state[uint16(i)] = "sent"
			e.Media(p)
			if rng.IntN(20) == 0 {
				lost++
				state[uint16(i)] = "lost"
			} else {
				sending = append(sending, item{at: float64(i) + rng.Float64()*6, media: p})
			}
			if frame++; frame > rng.IntN(12) {
				frame = 0
				e.EndFrame()
				for _, r := range repairs(e, format) {
					if rng.IntN(20) > 0 {
						sending = append(sending, item{at: float64(i) + rng.Float64()*6, repair: &r})
					}
				}
			}
			flush(20)
		}
		flush(0)
		c := d.Counts()
		if back < lost*8/10 {
			t.Errorf("format %d: %d of %d lost packets were repaired: %+v", format, back, lost, c)
		}
		if c.Malformed > 0 || c.Recovered+c.Discarded > c.Repairs || c.Repairs-c.Recovered-c.Discarded > 64 {
			t.Errorf("format %d: %+v", format, c)
		}
	}
}

// Extensions that are written after protection are zeroes to both ends, and in what is repaired; all others are whole.
func TestVolatileExtensions(t *testing.T) {
	for _, format := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		config := fec.Config{Format: format, Volatile: []uint8{3, 5}}
		var before, after [][]byte
		for i := range 4 {
			p := rtp.Packet{SSRC: mediaSSRC, SequenceNumber: uint16(i), Payload: []byte{byte(i), 2, 3}}
			p.Extensions.Reset(rtp.OneByte)
			p.Extensions.Add(1, []byte{9, byte(i)})
			p.Extensions.Add(3, []byte{0, 0})
			p.Extensions.Add(5, []byte{0, 0, 0})
			before = append(before, p.Append(nil))
			v, _ := p.Extensions.Get(3)
			copy(v, []byte{byte(i), 77})
			v, _ = p.Extensions.Get(5)
			copy(v, []byte{1, byte(i), 78})
			after = append(after, p.Append(nil))
		}
		for _, protected := range [][][]byte{before, after} { // whether they are written before or after makes no difference
			e := fec.NewEncoder(config)
			e.Protect(fec.Protection{Rate: 0.25})
			for _, p := range protected {
				e.Media(p)
			}
			e.EndFrame()
			r := repairs(e, format)
			d := fec.NewDecoder(config)
			for i, p := range after {
				if i != 2 {
					d.Media(p)
				}
			}
			d.Repair(&r[0])
			if got := recovered(t, d, before); !slices.Equal(got, []uint16{2}) {
				t.Fatalf("repaired were %v", got)
			}
		}
	}
}

// A repair stream may protect several media streams (RFC 8627 section 4.2.1, draft-03's SSRCCount): such packets are read.
func TestSeveralStreams(t *testing.T) {
	rng := seeded(5)
	a := media(rng, 10, 2)
	b := media(rng, 500, 1)
	copy(b[0][8:], []byte{0, 0, 0, 9})
	var p rtp.Packet
	p.CSRC.Add(mediaSSRC)
	p.CSRC.Add(9)
	longest := max(len(a[0]), len(a[1]), len(b[0])) - 12
	body := make([]byte, longest)
	var head [8]byte
	length := uint16(0)
	for _, m := range [][]byte{a[0], a[1], b[0]} {
		head[0] ^= m[0] & 0x3f
		head[1] ^= m[1]
		length ^= uint16(len(m) - 12)
		for i := range 4 {
			head[4+i] ^= m[4+i]
		}
		for i := range m[12:] {
			body[i] ^= m[12+i]
		}
	}
	head[2], head[3] = byte(length>>8), byte(length)
	rfc := append(head[:8:8], 0, 10, 0x60, 0, 500>>8, 500&0xff, 0x40, 0)
	draft := append(head[:8:8], 2, 0, 0, 0, 0x11, 0x22, 0x33, 0x44, 0, 10, 0xe0, 0, 0, 0, 0, 9, 500>>8, 500&0xff, 0xc0, 0)
	for format, header := range map[fec.Format][]byte{fec.FlexFEC: rfc, fec.FlexFEC03: draft} {
		p.Payload = append(slices.Clone(header), body...)
		d := fec.NewDecoder(fec.Config{Format: format})
		d.Media(a[0])
		d.Media(b[0])
		d.Repair(&p)
		if got, ok := d.Next(); !ok || !slices.Equal(got, a[1]) {
			t.Errorf("format %d: %x", format, got)
		}
		d = fec.NewDecoder(fec.Config{Format: format})
		d.Repair(&p)
		d.Media(a[0])
		d.Media(a[1])
		if got, ok := d.Next(); !ok || !slices.Equal(got, b[0]) {
			t.Errorf("format %d: %x", format, got)
		}
	}
}
