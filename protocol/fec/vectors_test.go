package fec_test

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Masks as libwebrtc's tests have them (modules/rtp_rtcp/source/flexfec_03_header_reader_writer_unittest.cc and
// flexfec_header_reader_writer_unittest.cc): on the wire, and without k bits. The header before them is
// 007babcd 01234567, the base 0xaabb or 0x0102.
func TestMasksOfLibwebrtc(t *testing.T) {
	for _, c := range []struct {
		name   string
		format fec.Format
		wire   string
		bits   string
	}{
		{"draft, k bit 0", fec.FlexFEC03, "8881", "1102"},
		{"draft, k bit 1", fec.FlexFEC03, "4881 82110021", "9102 08440084"},
		{"draft, k bit 2", fec.FlexFEC03, "4881 02110021 8111111111111111", "9102 08440084 0888888888888888"},
		{"RFC 8627, k bit 0 clear", fec.FlexFEC, "0881", "1102"},
		{"RFC 8627, k bit 1 clear", fec.FlexFEC, "c881 02110021", "9102 08440084"},
		{"RFC 8627, both k bits set", fec.FlexFEC, "c881 82110021 0111111111111111", "9102 08440084 0444444444444444"},
	} {
		base := uint16(0xaabb)
		head := "007babcd 01234567 01000000 11223344 aabb"
		var repair rtp.Packet
		if c.format == fec.FlexFEC {
			base = 0x0102
			head = "007babcd 01234567 0102"
			repair.CSRC.Add(mediaSSRC)
		}
		mask := unhex(t, c.bits)
		var numbers []uint16
		for i := range 8 * len(mask) {
			if mask[i/8]>>(7-i%8)&1 == 1 {
				numbers = append(numbers, base+uint16(i))
			}
		}
		// Of packets without payload whose parity this header has, the first is lost.
		var packets [][]byte
		body := 0
		for i, n := range numbers {
			p := make([]byte, 12)
			p[0] = 0x80
			binary.BigEndian.PutUint16(p[2:], n)
			binary.BigEndian.PutUint32(p[8:], uint32(mediaSSRC))
			if i == 0 {
				p[1] = 0x7b
				copy(p[4:], []byte{1, 0x23, 0x45, 0x67})
				body = 20
				p = append(p, make([]byte, body)...)
			}
			packets = append(packets, p)
		}
		payload := unhex(t, head+c.wire)
		binary.BigEndian.PutUint16(payload[2:], uint16(body)) // theirs is longer than any packet
		repair.Payload = append(payload, make([]byte, body)...)
		d := fec.NewDecoder(fec.Config{Format: c.format})
		d.Repair(&repair)
		for _, p := range packets[1:] {
			if _, ok := d.Next(); ok {
				t.Errorf("%s: repaired although something is missing", c.name)
			}
			d.Media(p)
		}
		if got, ok := d.Next(); !ok || !slices.Equal(got, packets[0]) {
			t.Errorf("%s: repaired was %x, not %x", c.name, got, packets[0])
		}
		if numbers[0] != base { // "the lowest sequence number": theirs are masks alone
			continue
		}
		made := protect(c.format, fec.Protection{Rate: 1.5 / float64(len(packets))}, packets)
		if got, want := made[0].Payload[len(payload)-len(unhex(t, c.wire)):len(payload)], unhex(t, c.wire); !slices.Equal(got, want) {
			t.Errorf("%s: written is %x, not %x", c.name, got, want)
		}
	}
}

// The header of a repair packet whose mask needs each of the three lengths, as RFC 8627 and the draft draw it.
func TestMaskLengths(t *testing.T) {
	for _, c := range []struct {
		format fec.Format
		gap    uint16 // from the first packet to the other
		want   string // base and mask
	}{
		{fec.FlexFEC03, 14, "0005 c001"},
		{fec.FlexFEC03, 15, "0005 4000 c0000000"},
		{fec.FlexFEC03, 45, "0005 4000 80000001"},
		{fec.FlexFEC03, 46, "0005 4000 00000000 c000000000000000"},
		{fec.FlexFEC03, 108, "0005 4000 00000000 8000000000000001"},
		{fec.FlexFEC, 14, "0005 4001"},
		{fec.FlexFEC, 15, "0005 c000 40000000"},
		{fec.FlexFEC, 45, "0005 c000 00000001"},
		{fec.FlexFEC, 46, "0005 c000 80000000 8000000000000000"},
		{fec.FlexFEC, 108, "0005 c000 80000000 0000000000000002"},
	} {
		packets := [][]byte{
			(&rtp.Packet{SSRC: mediaSSRC, SequenceNumber: 5, Payload: []byte{1}}).Append(nil),
			(&rtp.Packet{SSRC: mediaSSRC, SequenceNumber: 5 + c.gap, Payload: []byte{2}}).Append(nil),
		}
		made := protect(c.format, fec.Protection{Rate: 0.5}, packets)
		at := 8
		if c.format == fec.FlexFEC03 {
			at = 16
		}
		if got := made[0].Payload[at : len(made[0].Payload)-1]; !slices.Equal(got, unhex(t, c.want)) {
			t.Errorf("format %d, %d apart: %x, not %s", c.format, c.gap, got, c.want)
		}
		if got := made[0].Payload[len(made[0].Payload)-1]; got != 3 {
			t.Errorf("format %d, %d apart: the payload is %x", c.format, c.gap, got)
		}
	}
}

// rfc5109Media are the packets A to E of RFC 5109 section 10; their payloads are not told there.
func rfc5109Media() (packets [][]byte) {
	rng := seeded(10)
	for i, size := range []int{200, 140, 100, 340, 160} {
		p := rtp.Packet{
			Marker: i == 0 || i == 2, PayloadType: 11, SequenceNumber: uint16(8 + i), Timestamp: uint32(3 + 2*i), SSRC: 2, Payload: random(rng, size),
		}
		if i == 1 || i == 3 {
			p.PayloadType = 18
		}
		packets = append(packets, p.Append(nil))
	}
	return packets
}

func xorBodies(length int, packets ...[]byte) []byte {
	out := make([]byte, length)
	for _, p := range packets {
		for i, b := range p[12:] {
			if i < length {
				out[i] ^= b
			}
		}
	}
	return out
}

// The example of RFC 5109 section 10.1: header (figure 8) and level header (figure 9) are bits from there.
func TestExampleOfRFC5109(t *testing.T) {
	sent := rfc5109Media()[:4]
	payload := unhex(t, "0000 0008 00000008 0174"+"0154 f000")
	payload = append(payload, xorBodies(340, sent...)...)
	for lost := range sent {
		d := fec.NewDecoder(fec.Config{Format: fec.ULPFEC})
		for i, p := range sent {
			if i != lost {
				d.Media(p)
			}
		}
		d.Repair(&rtp.Packet{SSRC: 2, PayloadType: 127, Timestamp: 9, SequenceNumber: 1, Payload: payload})
		if got := recovered(t, d, sent); !slices.Equal(got, []uint16{uint16(8 + lost)}) {
			t.Errorf("of %d these were repaired: %v", 8+lost, got)
		}
	}
}

// The example of section 10.2 has two levels: what the first one does not hold whole is not given back (figures 12 and 13).
func TestHalfAPacketIsNoPacket(t *testing.T) {
	sent := rfc5109Media()[:2]
	payload := append(unhex(t, "0019 0008 00000006 0044"+"0046 c000"), xorBodies(70, sent...)...)
	d := fec.NewDecoder(fec.Config{Format: fec.ULPFEC})
	d.Media(sent[0])
	d.Repair(&rtp.Packet{SSRC: 2, PayloadType: 127, Payload: payload})
	if got := recovered(t, d, sent); got != nil {
		t.Errorf("repaired were %v", got)
	}
	if c := d.Counts(); c.Discarded != 1 {
		t.Errorf("%+v", c)
	}
}

// The example of section 10.3: repair data as redundant data beside packet E, all of it in RED of payload type 100. And as browsers do it:
// repair data in a RED packet of its own, with a sequence number of the media.
func TestULPFECInRED(t *testing.T) {
	sent := rfc5109Media()
	for i, p := range sent { // "All the media data [...] uses payload type 11"
		sent[i][1] = p[1]&0x80 | 11
	}
	header := unhex(t, "0000 0008 00000008 0174"+"0154 f000")
	repairData := append(header, xorBodies(340, sent[:4]...)...)
	red := func(b []byte, payload []byte) *rtp.Packet {
		p, err := rtp.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		p.PayloadType, p.Payload = 100, payload
		return &p
	}
	for _, own := range []bool{false, true} {
		for lost := range 4 {
			d := fec.NewDecoder(fec.Config{Format: fec.ULPFEC})
			check := func(i int, payload []byte, wantMedia bool) {
				got, ok := d.RED(red(sent[i], payload), 127)
				if ok != wantMedia || ok && !slices.Equal(got.Append(nil), sent[i]) {
					t.Errorf("packet %d is %v in RED, %+v", i, ok, got)
				}
			}
			for i := range 4 {
				if i != lost {
					check(i, append([]byte{11}, sent[i][12:]...), true)
				}
			}
			if own {
				check(4, append([]byte{127}, repairData...), false)
			} else {
				h := uint32(0x80|127)<<24 | 2<<10 | uint32(len(repairData)) // 2 ticks before packet E
				block := append(binary.BigEndian.AppendUint32(nil, h), 11)
				check(4, append(append(block, repairData...), sent[4][12:]...), true)
			}
			if got := recovered(t, d, sent); !slices.Equal(got, []uint16{uint16(8 + lost)}) {
				t.Errorf("own packet %v: of %d these were repaired: %v", own, 8+lost, got)
			}
		}
	}
	// "L: long mask" (section 7.3): 48 bits.
	long := unhex(t, "4000 0008 00000008 0174"+"0154 f000 00000001")
	var extra rtp.Packet
	extra.SSRC, extra.SequenceNumber, extra.PayloadType, extra.Payload = 2, 8+47, 11, []byte{1, 2, 3}
	last := extra.Append(nil)
	all := append(slices.Clone(sent[:4]), last)
	long[1] ^= 11
	binary.BigEndian.PutUint16(long[8:], binary.BigEndian.Uint16(long[8:])^3)
	long = append(long, xorBodies(340, all...)...)
	d := fec.NewDecoder(fec.Config{Format: fec.ULPFEC})
	for i, p := range all {
		if i != 3 {
			d.Media(p)
		}
	}
	d.Repair(&rtp.Packet{SSRC: 2, Payload: long})
	if got, ok := d.Next(); !ok || !slices.Equal(got, sent[3]) {
		t.Errorf("long mask: %x", got)
	}
}
