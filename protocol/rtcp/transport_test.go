package rtcp_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// random are arrivals of which some percent are lost, in steps of 250 us.
func random(r *rand.Rand, n, lost int) (list []rtcp.Arrival) {
	at := time.Duration(r.Int64N(1000)) * time.Second / 4000
	for range n {
		if r.IntN(100) < lost {
			list = append(list, rtcp.Arrival{})
			continue
		}
		switch r.IntN(20) {
		case 0:
			at -= time.Duration(r.IntN(100)) * time.Millisecond // reordered
		case 1:
			at += time.Duration(r.IntN(8000)) * time.Millisecond
		default:
			at += time.Duration(r.IntN(100)) * 250 * time.Microsecond
		}
		list = append(list, rtcp.Arrival{Received: true, At: at})
	}
	return list
}

// The chunks of draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1.
func TestTransportFeedback(t *testing.T) {
	ms := func(v float64) rtcp.Arrival {
		return rtcp.Arrival{Received: true, At: time.Duration(v * float64(time.Millisecond))}
	}
	lost := rtcp.Arrival{}
	for name, c := range map[string]struct {
		arrivals []rtcp.Arrival
		want     string
	}{
		"a run": {[]rtcp.Arrival{ms(64), ms(65), ms(66)},
			"8fcd0006 00000001 00000002 0003 0003 000001 07 2003 00 04 04 000000"},
		"a vector of one bit each": {[]rtcp.Arrival{ms(64), lost, ms(66)},
			"8fcd0005 00000001 00000002 0003 0003 000001 07 a800 00 08"},
		"a vector of two": {[]rtcp.Arrival{ms(64), lost, ms(164), ms(163.75)},
			"8fcd0006 00000001 00000002 0003 0004 000001 07 d280 00 0190 ffff 00"},
		"back in time": {[]rtcp.Arrival{ms(164), ms(64)},
			"8fcd0006 00000001 00000002 0003 0002 000002 07 d800 90 fe70 000000"},
	} {
		b, n := rtcp.AppendTransportFeedback(nil, 1, 2, 3, 7, c.arrivals, 1200)
		if n != len(c.arrivals) {
			t.Errorf("%s: tells of %d", name, n)
		}
		wrote(t, b, c.want)
		f := must[rtcp.TransportFeedback](t)(only(t, b, rtcp.KindTransportFeedback).TransportFeedback())
		if f.Sender != 1 || f.Media != 2 || f.Base != 3 || f.Count != len(c.arrivals) || f.Number != 7 {
			t.Errorf("%s: read %+v", name, f)
		}
		i := 0
		for seq, a := range f.All() {
			if a != c.arrivals[i] || seq != uint16(3+i) {
				t.Errorf("%s: packet %d came as %+v, want %+v", name, seq, a, c.arrivals[i])
			}
			i++
		}
	}
}

// Whatever was received and lost, and however little room there is, what is told is true.
func TestTransportFeedbackOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		arrivals := random(r, 1+r.IntN(300), []int{0, 2, 30, 90}[r.IntN(4)])
		limit := 24 + r.IntN(400)
		base := uint16(r.Uint32())
		for told := 0; told < len(arrivals); {
			b, n := rtcp.AppendTransportFeedback([]byte("abc"), 1, 2, base+uint16(told), 0, arrivals[told:], limit)
			if n == 0 {
				if len(b) != 3 {
					t.Fatal("wrote something of nothing")
				}
				for told < len(arrivals) && !arrivals[told].Received {
					told, n = told+1, 1
				}
				if n == 0 {
					t.Fatalf("nothing can be told of %+v in %d bytes", arrivals[told], limit)
				}
				continue
			}
			if len(b)-3 > limit || len(b[3:])%4 != 0 {
				t.Fatalf("%d bytes, not at most %d", len(b)-3, limit)
			}
			f := must[rtcp.TransportFeedback](t)(only(t, b[3:], rtcp.KindTransportFeedback).TransportFeedback())
			if f.Count != n {
				t.Fatalf("tells of %d, not of %d", f.Count, n)
			}
			i := told
			for seq, a := range f.All() {
				if a != arrivals[i] || seq != base+uint16(i) {
					t.Fatalf("packet %d came as %+v, want %+v", i, a, arrivals[i])
				}
				i++
			}
			told += n
		}
	}
}

func TestTransportFeedbackThatIsNone(t *testing.T) {
	for name, raw := range map[string]string{
		"no chunk":             "8fcd0004 00000001 00000002 0003 0001 000001 07",
		"too few":              "8fcd0005 00000001 00000002 0003 0010 000001 07 0003 0003",
		"an empty run":         "8fcd0005 00000001 00000002 0003 0001 000001 07 2000 2001",
		"the reserved symbol":  "8fcd0005 00000001 00000002 0003 0001 000001 07 6001 0000",
		"reserved in a vector": "8fcd0005 00000001 00000002 0003 0001 000001 07 f000 0000",
		"no deltas":            "8fcd0005 00000001 00000002 0003 0003 000001 07 2003 0000",
		"half a delta":         "8fcd0005 00000001 00000002 0003 0002 000001 07 4002 0000",
		"too short":            "8fcd0003 00000001 00000002 0003 0000",
	} {
		if f, ok := only(t, unhex(t, raw), rtcp.KindTransportFeedback).TransportFeedback(); ok {
			t.Errorf("%s: read %+v", name, f)
		}
	}
	// Symbols beyond the count mean nothing, reserved or not.
	if f, ok := only(t, unhex(t, "8fcd0005 00000001 00000002 0003 0001 000001 07 d300 0100"), rtcp.KindTransportFeedback).TransportFeedback(); !ok || f.Count != 1 {
		t.Error("symbols beyond the count count")
	}
	if b, n := rtcp.AppendTransportFeedback(nil, 1, 2, 3, 4, []rtcp.Arrival{{}, {}}, 1200); len(b) != 0 || n != 0 {
		t.Error("tells of nothing")
	}
	// Two that came too far apart for one delta go into two packets.
	far := []rtcp.Arrival{{Received: true}, {Received: true, At: 9 * time.Second}}
	if _, n := rtcp.AppendTransportFeedback(nil, 1, 2, 3, 4, far, 1200); n != 1 {
		t.Errorf("tells of %d", n)
	}
}

// RFC 8888 section 3.1.
func TestCongestionFeedback(t *testing.T) {
	first := []rtcp.Metric{{Received: true, ECN: 1, Before: 500 * time.Millisecond}, {}, {Received: true, ECN: 3, Before: -1}}
	second := []rtcp.Metric{{Received: true, Before: time.Minute}, {Received: true}}
	b := rtcp.BeginCongestionFeedback(nil, 1)
	b, _ = rtcp.AppendStreamFeedback(b, 2, 65535, first)
	b, _ = rtcp.AppendStreamFeedback(b, 3, 7, second)
	b, _ = rtcp.AppendStreamFeedback(b, 4, 9, nil)
	b = rtcp.EndCongestionFeedback(b, 0, 0xb7052000)
	wrote(t, b, `8bcd000b 00000001
		00000002 ffff 0003 a200 0000 ffff 0000
		00000003 0007 0002 9ffe 8000
		00000004 0009 0000
		b7052000`)
	f := must[rtcp.CongestionFeedback](t)(only(t, b, rtcp.KindCongestionFeedback).CongestionFeedback())
	if f.Sender != 1 || f.Timestamp != 0xb7052000 {
		t.Errorf("read %+v", f)
	}
	second[0].Before = rtcp.MaxBefore
	i := 0
	for s := range f.Streams() {
		want := [][]rtcp.Metric{first, second, nil}[i]
		if s.Len() != len(want) || s.SSRC != []rtp.SSRC{2, 3, 4}[i] || s.Base != []uint16{65535, 7, 9}[i] {
			t.Errorf("stream %d: %+v", i, s)
			continue
		}
		for j, m := range want {
			if got := s.At(j); got != m {
				t.Errorf("stream %d, packet %d: %+v, want %+v", i, j, got, m)
			}
		}
		i++
	}
	if i != 3 {
		t.Errorf("%d streams", i)
	}
	for name, raw := range map[string]string{
		"too short":           "8bcd0001 00000001",
		"half a stream":       "8bcd0003 00000001 00000002 b7052000",
		"fewer than it says":  "8bcd0004 00000001 00000002 00030001 b7052000",
		"more than there may": "8bcd0004 00000001 00000002 00034001 b7052000",
	} {
		if f, ok := only(t, unhex(t, raw), rtcp.KindCongestionFeedback).CongestionFeedback(); ok {
			t.Errorf("%s: read %+v", name, f)
		}
	}
	if _, n := rtcp.AppendStreamFeedback(nil, 1, 0, make([]rtcp.Metric, 20000)); n != 16384 {
		t.Errorf("tells of %d packets", n)
	}
}
