package webrtc

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/pion/interceptor/pkg/flexfec"
	pionrtp "github.com/pion/rtp"
)

// What Pion protects by flexfec-03 is repaired, byte for byte, for blocks of up to 48 packets: each mask of three lengths occurs.
func TestFlexFECOfPion(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	encoder := flexfec.NewFlexEncoder03(119, 1003)
	seq := uint16(65000)
	repaired, masks := 0, map[int]int{}
	for round := range 300 {
		k := 1 + round%48
		m := 1 + rng.IntN(min(k, 8))
		var media []pionrtp.Packet
		var sent [][]byte
		for i := range k {
			p := pionrtp.Packet{
				Header:  pionrtp.Header{Version: 2, Marker: i == k-1, PayloadType: 96, SequenceNumber: seq, Timestamp: uint32(round) * 3000, SSRC: 1001},
				Payload: make([]byte, 1+rng.IntN(1000)),
			}
			for j := range p.Payload {
				p.Payload[j] = byte(rng.Uint32())
			}
			seq++
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			media, sent = append(media, p), append(sent, b)
		}
		repairs := encoder.EncodeFec(media, uint32(m))
		if len(repairs) == 0 {
			t.Fatalf("no repair packets for %d of media", k)
		}
		lost := rng.IntN(k)
		d := fec.NewDecoder(fec.Config{Format: fec.FlexFEC03})
		for i, b := range sent {
			if i != lost {
				d.Media(b)
			}
		}
		for i := range repairs {
			b, err := repairs[i].Marshal()
			if err != nil {
				t.Fatal(err)
			}
			p, err := rtp.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			length := 2
			if p.Payload[18]&0x80 == 0 {
				if length = 6; p.Payload[20]&0x80 == 0 {
					length = 14
				}
			}
			masks[length]++
			d.Repair(&p)
		}
		got, ok := d.Next()
		if !ok {
			continue // it is protected by none
		}
		repaired++
		if !slices.Equal(got, sent[lost]) {
			t.Fatalf("round %d: packet %d of %d was repaired to\n%x, sent was\n%x", round, lost, k, got, sent[lost])
		}
		if c := d.Counts(); c.Malformed > 0 {
			t.Fatalf("%+v", c)
		}
	}
	t.Logf("%d of 300 repaired, bytes of masks: %v", repaired, masks)
	if repaired < 290 {
		t.Errorf("%d of 300 were repaired", repaired)
	}
}
