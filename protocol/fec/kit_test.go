package fec_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

const (
	mediaSSRC  rtp.SSRC = 0x11223344
	repairSSRC rtp.SSRC = 0x55667788
)

func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0xfec)) }

// media makes n packets from a sequence number on, of all shapes that a header can have.
func media(rng *rand.Rand, from uint16, n int) (packets [][]byte) {
	for i := range n {
		p := rtp.Packet{
			Marker: rng.IntN(4) == 0, PayloadType: rtp.PayloadType(rng.IntN(128)), SequenceNumber: from + uint16(i),
			Timestamp: rng.Uint32(), SSRC: mediaSSRC, Payload: random(rng, rng.IntN(300)),
		}
		for range rng.IntN(3) {
			p.CSRC.Add(rtp.SSRC(rng.Uint32()))
		}
		switch rng.IntN(3) {
		case 1:
			p.Extensions.Reset(rtp.OneByte)
			p.Extensions.Add(1, random(rng, 1+rng.IntN(16)))
		case 2:
			p.Extensions.Reset(rtp.TwoByte)
			p.Extensions.Add(20, random(rng, rng.IntN(40)))
		}
		if rng.IntN(4) == 0 {
			p.Padding = uint8(1 + rng.IntN(20))
		}
		packets = append(packets, p.Append(nil))
	}
	return packets
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
	}
	return b[:n]
}

// repairs takes all repair packets that an encoder has, as whole RTP packets.
func repairs(e *fec.Encoder, f fec.Format) (packets []rtp.Packet) {
	for {
		payload, ok := e.AppendRepair(nil)
		if !ok {
			return packets
		}
		p := rtp.Packet{SSRC: repairSSRC, PayloadType: 100, Payload: payload}
		if f == fec.FlexFEC {
			p.CSRC.Add(mediaSSRC)
		}
		packets = append(packets, p)
	}
}

// protect makes the repair packets of one block.
func protect(f fec.Format, p fec.Protection, packets [][]byte) []rtp.Packet {
	e := fec.NewEncoder(fec.Config{Format: f})
	e.Protect(p)
	for _, packet := range packets {
		e.Media(packet)
	}
	e.EndFrame()
	return repairs(e, f)
}

// recovered takes all that a decoder has, by sequence number, and fails if it is not as it was sent.
func recovered(t *testing.T, d *fec.Decoder, sent [][]byte) (numbers []uint16) {
	t.Helper()
	first := binary.BigEndian.Uint16(sent[0][2:])
	for packet, ok := d.Next(); ok; packet, ok = d.Next() {
		n := binary.BigEndian.Uint16(packet[2:])
		i := int(n - first)
		if i >= len(sent) || !slices.Equal(packet, sent[i]) {
			t.Fatalf("packet %d was repaired to\n%x, sent was\n%x", i, packet, sent[min(i, len(sent)-1)])
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// covered reads the mask of a repair packet of a flexible format, in the plainest way: bit by bit, as the texts have it.
func covered(t *testing.T, f fec.Format, payload []byte) (base uint16, numbers []uint16) {
	t.Helper()
	at := 8
	if f == fec.FlexFEC03 {
		if payload[8] != 1 || payload[9] != 0 || payload[10] != 0 || payload[11] != 0 || binary.BigEndian.Uint32(payload[12:]) != uint32(mediaSSRC) {
			t.Fatalf("header %x", payload[:20])
		}
		at = 16
	}
	base = binary.BigEndian.Uint16(payload[at:])
	mask := payload[at+2:]
	bit := func(i int) int { return int(mask[i/8]>>(7-i%8)) & 1 }
	end := 1 // value of the k bit that ends the mask
	if f == fec.FlexFEC {
		end = 0
	}
	n := uint16(0)
	read := func(from, to int) {
		for i := from; i < to; i++ {
			if bit(i) == 1 {
				numbers = append(numbers, base+n)
			}
			n++
		}
	}
	read(1, 16)
	if bit(0) == end {
		return base, numbers
	}
	read(17, 48)
	if bit(16) == end {
		return base, numbers
	}
	if f == fec.FlexFEC03 {
		if bit(48) != 1 {
			t.Fatal("the last k bit is 0")
		}
		read(49, 112)
	} else {
		read(48, 112)
	}
	return base, numbers
}
