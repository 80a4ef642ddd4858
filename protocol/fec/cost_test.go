package fec_test

import (
	"encoding/binary"
	"testing"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A link protects a stream of packets of 1200 bytes, loses each fourteenth of them and repairs them.
type link struct {
	e       *fec.Encoder
	d       *fec.Decoder
	packet  []byte
	payload []byte
	repair  rtp.Packet
	n       uint16
	back    int
}

func newLink(f fec.Format, rate float64) *link {
	l := &link{e: fec.NewEncoder(fec.Config{Format: f, Volatile: []uint8{3}}), d: fec.NewDecoder(fec.Config{Format: f, Volatile: []uint8{3}})}
	l.e.Protect(fec.Protection{Rate: rate})
	p := rtp.Packet{SSRC: mediaSSRC, PayloadType: 96, Payload: make([]byte, 1172)}
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(3, []byte{1, 2})
	l.packet = p.Append(nil)
	l.repair = rtp.Packet{SSRC: repairSSRC, PayloadType: 100}
	if f == fec.FlexFEC {
		l.repair.CSRC.Add(mediaSSRC)
	}
	return l
}

func (l *link) send() {
	binary.BigEndian.PutUint16(l.packet[2:], l.n)
	l.e.Media(l.packet)
	if l.n%14 != 0 {
		l.d.Media(l.packet)
	}
	if l.n++; l.n%10 != 0 {
		return
	}
	l.e.EndFrame()
	for {
		var ok bool
		if l.payload, ok = l.e.AppendRepair(l.payload[:0]); !ok {
			break
		}
		l.repair.Payload = l.payload
		l.d.Repair(&l.repair)
	}
	for _, ok := l.d.Next(); ok; _, ok = l.d.Next() {
		l.back++
	}
}

// In the steady state no packet costs an allocation, on either side.
func TestPacketsAllocateNothing(t *testing.T) {
	for _, f := range []fec.Format{fec.FlexFEC03, fec.FlexFEC} {
		l := newLink(f, 0.2)
		for range 5000 {
			l.send()
		}
		if n := testing.AllocsPerRun(5000, l.send); n != 0 {
			t.Errorf("format %d: %v allocations for each packet", f, n)
		}
		if l.back < 600 {
			t.Errorf("format %d: %d packets were repaired", f, l.back)
		}
	}
}

// What a media packet costs both ends, its share of repair packets included.
func BenchmarkLink(b *testing.B) {
	for name, rate := range map[string]float64{"no protection": 0, "one in ten": 0.1, "one in two": 0.5} {
		b.Run(name, func(b *testing.B) {
			l := newLink(fec.FlexFEC03, rate)
			b.SetBytes(1200)
			b.ReportAllocs()
			for range b.N {
				l.send()
			}
		})
	}
}

func BenchmarkEncoder(b *testing.B) {
	l := newLink(fec.FlexFEC03, 0.2)
	b.SetBytes(1200)
	b.ReportAllocs()
	for range b.N {
		binary.BigEndian.PutUint16(l.packet[2:], l.n)
		l.e.Media(l.packet)
		if l.n++; l.n%10 == 0 {
			l.e.EndFrame()
			for ok := true; ok; {
				l.payload, ok = l.e.AppendRepair(l.payload[:0])
			}
		}
	}
}

// A decoder of a stream that loses nothing only keeps its packets.
func BenchmarkDecoder(b *testing.B) {
	l := newLink(fec.FlexFEC03, 0)
	b.SetBytes(1200)
	b.ReportAllocs()
	for range b.N {
		binary.BigEndian.PutUint16(l.packet[2:], l.n)
		l.d.Media(l.packet)
		l.n++
	}
}
