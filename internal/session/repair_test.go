package session

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// What is used in the tests of repair.
var (
	plainVP8  = jsep.Codec{Name: "VP8", Clock: 90000, Payload: 96}
	flexfec03 = jsep.Codec{Name: "flexfec-03", Clock: 90000, Payload: 119}
	flexfec   = jsep.Codec{Name: "flexfec", Clock: 90000, Payload: 120}
	videoRED  = jsep.Codec{Name: "red", Clock: 90000, Payload: 116}
	ulpfec    = jsep.Codec{Name: "ulpfec", Clock: 90000, Payload: 118}
	audioRED  = jsep.Codec{Name: "red", Clock: 48000, Channels: "2", Payload: 63}
)

// picture sends a frame of five packets. Their numbers are in what they hold.
func (e *end) picture(now mono.Time, i int) {
	for j := range 5 {
		p := packet(i)
		p.Marker, p.Payload = j == 4, fmt.Appendf(make([]byte, 0, 600), "picture %d, part %d%0*d", i, j, 50*j, 0)
		if err := e.Sender("0").Send(now, 0, &p); err != nil && err != ErrInactive {
			e.t.Fatal(err)
		}
	}
}

func count(list [][]byte, ok func(p *rtp.Packet) bool) (n int) {
	for _, b := range list {
		if rtp.IsRTCP(b) {
			continue
		}
		if p, err := rtp.Parse(b); err == nil && ok(&p) {
			n++
		}
	}
	return n
}

// Video is repaired by FlexFEC where the way is long and loses packets: nothing is sent of it before the peer has told of losses,
// what is repaired is delivered once, as it was, and most of what is lost is.
func TestFlexFEC(t *testing.T) {
	for _, codec := range []jsep.Codec{flexfec03, flexfec} {
		for _, declared := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, declared %v", codec.Name, declared), func(t *testing.T) {
				m := mediaOf("0", "video", plainVP8, codec)
				x := extmap(rtp.URIMID, rtp.URIRID, rtp.URIRRID, rtp.URITransportSequence, rtp.URIAbsSendTime)
				m.SendExtensions, m.ReceiveExtensions = x, x
				m.Encodings = []jsep.Encoding{{SSRC: 1001, FEC: 1003}}
				n := mediaOf("0", "video", plainVP8, codec)
				n.SendExtensions, n.ReceiveExtensions = x, x
				if declared {
					n.Sources = []jsep.Source{{SSRC: 1001, FEC: 1003}}
				}
				a, b := newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, n)
				rng := rand.New(rand.NewPCG(1, 2))
				lost, repairs := map[string]bool{}, 0
				losing := false
				a.lose = func(packet []byte) bool {
					p, err := rtp.Parse(packet)
					if err != nil || rtp.IsRTCP(packet) {
						return false
					}
					if p.SSRC == 1003 {
						repairs++
						if p.PayloadType != rtp.PayloadType(codec.Payload) || p.Marker || (codec.Name == "flexfec") != (p.CSRC.Len() == 1) {
							t.Fatalf("a repair packet: %+v", p)
						}
					}
					if !losing || rng.IntN(20) > 0 {
						return false
					}
					if p.SSRC == 1001 {
						lost[string(p.Payload)] = true
					}
					return true
				}
				w := newWire(a, b)
				w.way = 100 * time.Millisecond
				w.every(time.Second/30, 1200, func(now mono.Time, i int) {
					losing = i > 200
					a.picture(now, i)
				})
				w.pass(6 * time.Second)
				if repairs > 0 {
					t.Fatalf("%d repair packets without loss", repairs)
				}
				w.pass(14 * time.Second) // reports tell of it
				clear(lost)
				w.pass(21 * time.Second)
				seen := map[string]int{}
				back := 0
				for _, g := range b.got {
					seen[g.payload]++
					if g.repaired && lost[g.payload] {
						back++
					}
				}
				for p, times := range seen {
					if times > 1 {
						t.Fatalf("%q was delivered %d times", p, times)
					}
				}
				if len(lost) < 80 || back < len(lost)*7/10 {
					t.Errorf("of %d lost packets %d were repaired, by %d", len(lost), back, repairs)
				}
				in := b.AppendInbound(nil)
				if len(in) != 1 || in[0].SSRC != 1001 || in[0].FECPacketsReceived == 0 || in[0].PacketsRepaired < uint64(back) {
					t.Errorf("%+v", in)
				}
				if out := a.AppendOutbound(nil); out[0].PacketsSent != uint64(count(a.out, func(p *rtp.Packet) bool { return p.SSRC == 1001 })) {
					t.Errorf("repair counts as media: %+v", out[0])
				}
			})
		}
	}
}

// NACKs show whether losses come in bursts, and by that repair is shared out.
func TestBurstsAreSeenInNACKs(t *testing.T) {
	for _, c := range []struct {
		lost   []uint16
		bursts bool
	}{{[]uint16{1, 5, 9, 20}, false}, {[]uint16{65534, 65535, 0, 9, 10, 11}, true}, {[]uint16{1, 2, 9, 20, 30}, false}} {
		var r repair
		b, _ := rtcp.AppendNACK(nil, 1, 2, c.lost, 100)
		p, _, err := rtcp.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		n, ok := p.NACK()
		if !ok {
			t.Fatal("no NACK")
		}
		for range 3 {
			r.asked(&n)
		}
		got := fec.Advise(fec.Path{Loss: 0.05, RTT: time.Second, Burst: r.burst})
		if got.Bursts != c.bursts {
			t.Errorf("%v: %v in a row, %+v", c.lost, r.burst, got)
		}
	}
}

// On a short way, and without FlexFEC negotiated, losses are left to retransmission.
func TestNoRepairWhereItIsNotWorthIt(t *testing.T) {
	for _, c := range []struct {
		way    time.Duration
		codecs []jsep.Codec
	}{{10 * time.Millisecond, []jsep.Codec{plainVP8, flexfec03}}, {100 * time.Millisecond, []jsep.Codec{plainVP8}}} {
		m := mediaOf("0", "video", c.codecs...)
		a, b := newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, m)
		rng := rand.New(rand.NewPCG(1, 2))
		a.lose = func(packet []byte) bool { return !rtp.IsRTCP(packet) && rng.IntN(20) == 0 }
		w := newWire(a, b)
		w.way = c.way
		w.every(time.Second/30, 600, a.picture)
		w.pass(21 * time.Second)
		if n := count(a.out, func(p *rtp.Packet) bool { return p.PayloadType != 96 }); n > 0 {
			t.Errorf("%v, %d codecs: %d packets of repair", c.way, len(c.codecs), n)
		}
	}
}

// ULPFEC in RED (RFC 5109 section 14.2), as browsers send it: media inside comes out under its own payload type, what is lost is repaired,
// and a packet of repair alone is no gap.
func TestULPFECInREDIsReceived(t *testing.T) {
	m := mediaOf("0", "video", plainVP8, videoRED, ulpfec)
	b := newEnd(t, 2, Config{}, m)
	now := began
	red := func(seq uint16, marker bool, pt rtp.PayloadType, data []byte) []byte {
		p := rtp.Packet{PayloadType: 116, Marker: marker, SequenceNumber: seq, Timestamp: 3000, SSRC: 77, Payload: append([]byte{byte(pt)}, data...)}
		return p.Append(nil)
	}
	datas := [][]byte{[]byte("one"), []byte("two, longer"), []byte("three")}
	var header [2]byte
	var length uint16
	var ts uint32
	body := make([]byte, 11)
	for i, d := range datas {
		pt := byte(96)
		if i == 2 {
			pt |= 0x80
		}
		header[1] ^= pt
		length ^= uint16(len(d))
		ts ^= 3000
		for j := range d {
			body[j] ^= d[j]
		}
	}
	repair := append(header[:], 0, 10) // base
	repair = binary.BigEndian.AppendUint32(repair, ts)
	repair = binary.BigEndian.AppendUint16(repair, length)
	repair = append(repair, 0, 11, 0xe0, 0) // level 0: all of three packets
	repair = append(repair, body...)

	b.handle(now, red(10, false, 96, datas[0]))
	b.handle(now, red(12, true, 96, datas[2]))
	b.handle(now, red(13, false, 118, repair))
	b.handle(now, red(14, false, 96, []byte("four")))
	var got []string
	for _, g := range b.got {
		got = append(got, fmt.Sprintf("%d %d %q %v", g.seq, g.pt, g.payload, g.repaired))
	}
	want := []string{`10 96 "one" false`, `12 96 "three" false`, `13 116 "" false`, `11 96 "two, longer" true`, `14 96 "four" false`}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if in := b.AppendInbound(nil); in[0].FECPacketsReceived != 1 || in[0].PacketsRepaired != 1 || in[0].PacketsReceived != 4 {
		t.Errorf("%+v", in[0])
	}
}

// Audio carries earlier frames as long as the peer tells of losses (RFC 2198), and only where the peer takes it.
func TestRedundantAudio(t *testing.T) {
	for _, negotiated := range []bool{true, false} {
		m := mediaOf("0", "audio", opus)
		if negotiated {
			m = mediaOf("0", "audio", opus, audioRED)
		}
		a, b := newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, m)
		rng := rand.New(rand.NewPCG(1, 2))
		losing := false
		a.lose = func(packet []byte) bool { return losing && !rtp.IsRTCP(packet) && rng.IntN(10) == 0 }
		w := newWire(a, b)
		w.every(20*time.Millisecond, 3000, func(now mono.Time, i int) {
			losing = i > 1000
			a.send(now, "0", 0, Packet{PayloadType: 111, Timestamp: uint32(960 * i), Payload: fmt.Appendf(nil, "frame %d", i)})
		})
		w.pass(20 * time.Second)
		plain := len(b.got)
		for _, g := range b.got {
			if g.pt != 111 {
				t.Fatalf("without loss came %+v", g)
			}
		}
		w.pass(20 * time.Second)
		late := len(b.got)
		w.pass(21 * time.Second)
		if !negotiated {
			for _, g := range b.got[plain:] {
				if g.pt != 111 {
					t.Fatalf("not negotiated, but came %+v", g)
				}
			}
			continue
		}
		frames := map[string]bool{}
		for _, g := range b.got[late:] {
			if g.pt != 63 {
				t.Fatalf("with loss came %+v", g)
			}
			blocks, err := payload.ParseRED([]byte(g.payload))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for block, ok := blocks.Next(); ok; block, ok = blocks.Next() {
				if block.PayloadType != 111 {
					t.Fatalf("a block of %d", block.PayloadType)
				}
				frames[string(block.Data)] = true
				n++
			}
			if n < 2 || n > 4 {
				t.Fatalf("%d blocks", n)
			}
		}
		if n := len(frames); n < 990 {
			t.Errorf("%d frames of 1000 came, in %d packets", n, len(b.got)-late)
		}
	}
}

// Whatever comes as repair, nothing panics, and no packet is delivered twice.
func FuzzRepair(f *testing.F) {
	m := mediaOf("0", "video", plainVP8, videoRED, ulpfec, flexfec03, flexfec)
	add := func(packets ...rtp.Packet) {
		var in []byte
		for _, p := range packets {
			b := p.Append(nil)
			in = append(binary.BigEndian.AppendUint16(in, uint16(len(b))), b...)
		}
		f.Add(in)
	}
	media := rtp.Packet{PayloadType: 96, SequenceNumber: 10, SSRC: 1001, Payload: []byte("one")}
	draft := []byte{0, 96, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 233, 0, 10, 0xe0, 0, 1, 2, 3}
	add(media, rtp.Packet{PayloadType: 119, SSRC: 1003, Payload: draft})
	rfc := rtp.Packet{PayloadType: 120, SSRC: 1003, Payload: []byte{0, 96, 0, 3, 0, 0, 0, 0, 0, 10, 0x60, 0, 1, 2, 3}}
	rfc.CSRC.Add(1001)
	add(media, rfc)
	add(rtp.Packet{PayloadType: 116, SSRC: 77, Payload: []byte{96, 1}}, rtp.Packet{PayloadType: 116, SSRC: 77, Payload: []byte{118, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xc0, 0, 1}})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := newEnd(t, 2, Config{}, m)
		b.Apply(began, []jsep.Media{m})
		for len(in) > 2 {
			n := min(int(binary.BigEndian.Uint16(in)), len(in)-2)
			b.handle(began, in[2:2+n])
			in = in[2+n:]
		}
		seen := map[string]bool{}
		for _, g := range b.got {
			key := fmt.Sprint(g.ssrc, g.seq)
			if seen[key] {
				t.Fatalf("%s was delivered twice", key)
			}
			seen[key] = true
		}
	})
}
