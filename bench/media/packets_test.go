package media_test

import (
	"bytes"
	"testing"
	"time"

	pionrtcp "github.com/pion/rtcp"
	pionrtp "github.com/pion/rtp"

	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// arrivals are 100 packets, every tenth of them lost.
func arrivals() (list []rtcp.Arrival) {
	for i := range 100 {
		if i%10 == 9 {
			list = append(list, rtcp.Arrival{})
			continue
		}
		list = append(list, rtcp.Arrival{Received: true, At: time.Duration(i) * 3 * time.Millisecond})
	}
	return list
}

func feedback() []byte {
	b, _ := rtcp.AppendTransportFeedback(nil, 1, 2, 3, 4, arrivals(), 1200)
	return b
}

func TestPacketsBothWays(t *testing.T) {
	raw := packetOf(7)
	var p pionrtp.Packet
	if err := p.Unmarshal(raw); err != nil || p.SequenceNumber != 7 || string(p.GetExtension(1)) != "0" || !bytes.Equal(p.GetExtension(3), []byte{0, 1}) {
		t.Errorf("Pion reads %+v, %v", p.Header, err)
	}
	if err := p.SetExtension(5, []byte("xyz")); err != nil {
		t.Fatal(err)
	}
	written, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	q, err := rtp.Parse(written)
	if v, ok := q.Extensions.Get(5); err != nil || !ok || string(v) != "xyz" || !bytes.Equal(q.Payload, p.Payload) {
		t.Errorf("Parley reads %q, %v", v, err)
	}

	var f pionrtcp.TransportLayerCC
	if err := f.Unmarshal(feedback()); err != nil || f.PacketStatusCount != 100 || f.BaseSequenceNumber != 3 || len(f.RecvDeltas) != 90 {
		t.Errorf("Pion reads %+v, %v", f, err)
	}
	written, err = f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	packet, _, err := rtcp.Next(written)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := packet.TransportFeedback()
	if !ok || got.Count != 100 {
		t.Fatalf("Parley reads %+v", got)
	}
	want, i := arrivals(), 0
	for _, a := range got.All() {
		if a != want[i] {
			t.Errorf("packet %d came as %+v, want %+v", i, a, want[i])
		}
		i++
	}
	compound, err := pionrtcp.Marshal([]pionrtcp.Packet{
		&pionrtcp.ReceiverReport{SSRC: 1, Reports: []pionrtcp.ReceptionReport{{SSRC: 2, FractionLost: 3, TotalLost: 4, LastSequenceNumber: 5}}},
		&pionrtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 2, Nacks: pionrtcp.NackPairsFromSequenceNumbers([]uint16{7, 9})},
		&pionrtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: 1 << 20, SSRCs: []uint32{2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for rest := compound; len(rest) > 0; {
		p, next, err := rtcp.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = next
		switch p.Kind() {
		case rtcp.KindReceiverReport:
			if r, ok := p.ReceiverReport(); !ok || r.Reports.At(0) != (rtcp.ReportBlock{SSRC: 2, FractionLost: 3, Lost: 4, HighestSequence: 5}) {
				t.Errorf("report %+v", r)
			}
		case rtcp.KindNACK:
			n, _ := p.NACK()
			for seq := range n.Lost() {
				if seq != 7 && seq != 9 {
					t.Errorf("lost %d", seq)
				}
			}
		case rtcp.KindREMB:
			if r, ok := p.REMB(); !ok || r.Bitrate != 1<<20 {
				t.Errorf("REMB %+v", r)
			}
		default:
			t.Errorf("kind %d", p.Kind())
		}
	}
}

func BenchmarkRTP(b *testing.B) {
	raw, buf := packetOf(7), make([]byte, 1300)
	b.Run("read/Parley", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := rtp.Parse(raw)
			if _, ok := p.Extensions.Get(3); err != nil || !ok {
				b.Fatal(err)
			}
		}
	})
	b.Run("read/Pion", func(b *testing.B) {
		var p pionrtp.Packet
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Unmarshal(raw); err != nil || p.GetExtension(3) == nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write/Parley", func(b *testing.B) {
		p, _ := rtp.Parse(raw)
		b.ReportAllocs()
		for b.Loop() {
			p.Append(buf[:0])
		}
	})
	b.Run("write/Pion", func(b *testing.B) {
		var p pionrtp.Packet
		if err := p.Unmarshal(raw); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.MarshalTo(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkTransportFeedback is feedback on 100 packets: read, each packet's fate and time with it; and written.
func BenchmarkTransportFeedback(b *testing.B) {
	raw, list, buf := feedback(), arrivals(), make([]byte, 0, 1300)
	b.Run("read/Parley", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, _, _ := rtcp.Next(raw)
			f, ok := p.TransportFeedback()
			received := 0
			for _, a := range f.All() {
				if a.Received {
					received++
				}
			}
			if !ok || received != 90 {
				b.Fatal(received)
			}
		}
	})
	b.Run("read/Pion", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var f pionrtcp.TransportLayerCC
			if err := f.Unmarshal(raw); err != nil || len(f.RecvDeltas) != 90 {
				b.Fatal(err)
			}
		}
	})
	b.Run("write/Parley", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			rtcp.AppendTransportFeedback(buf, 1, 2, 3, 4, list, 1200)
		}
	})
	b.Run("write/Pion, chunks made before", func(b *testing.B) {
		var f pionrtcp.TransportLayerCC
		if err := f.Unmarshal(raw); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Marshal(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
