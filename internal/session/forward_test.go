package session

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A forwarder takes what one session receives to others, as a selective forwarding unit does (RFC 7667 section 3.7).
type forwarder struct {
	from    *end
	to      []*end
	senders []*Sender
	now     mono.Time
	packet  Packet
	dst     []byte
	raw     []byte
	seq     uint16
	scratch []byte
}

func newForwarder(t testing.TB, subscribers int) *forwarder {
	codec := vp8
	codec.Feedback = append([]string{"ack ccfb"}, vp8.Feedback...)
	m := mediaOf("v", "video", codec)
	f := &forwarder{from: newEnd(t, 1, Config{}, m), now: began, dst: make([]byte, 0, MaxAppend)}
	for i := range subscribers {
		e := newEnd(t, uint64(i+2), Config{}, m)
		e.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 10_000_000})
		limit(e, began, 10_000_000) // as nobody gives feedback
		f.to, f.senders = append(f.to, e), append(f.senders, e.Sender("v"))
	}
	f.raw = raw(7, 96, 0, map[uint8]string{idMID: "v"}, string(vp8Frame(640, 360, 1000)))
	f.raw[len(f.raw)-1000], f.raw[len(f.raw)-999] = 0x90, 0xc0 // X and S; I and L
	return f
}

// pass receives a packet and forwards it to all: with the picture id of each own.
func (f *forwarder) pass(t testing.TB) (left int) {
	f.now = f.now.Add(4 * time.Millisecond)
	f.seq++
	f.scratch = append(f.scratch[:0], f.raw...)
	f.scratch[2], f.scratch[3] = byte(f.seq>>8), byte(f.seq)
	f.from.HandleRTP(f.now, f.scratch, pkt.NotECT)
	for r, ok := f.from.NextPacket(); ok; r, ok = f.from.NextPacket() {
		f.packet = Packet{PayloadType: r.Packet.PayloadType, Marker: r.Packet.Marker, Timestamp: r.Packet.Timestamp, Captured: r.Arrival, Payload: r.Packet.Payload, Source: r.Stream.SSRC(), Sequence: r.Sequence}
		for i, s := range f.senders {
			if err := payload.RewriteVP8(r.Packet.Payload, uint16(i), uint8(i)); err != nil {
				t.Fatal(err)
			}
			if err := s.Send(f.now, 0, &f.packet); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, e := range f.to {
		e.HandleTimeout(f.now)
		for b, _ := e.AppendPacket(f.dst, f.now); len(b) > 0; b, _ = e.AppendPacket(f.dst, f.now) {
			left++
		}
		for _, ok := e.NextEvent(); ok; _, ok = e.NextEvent() {
		}
	}
	return left
}

// What comes on one session leaves on others without an allocation, each with its own source, numbers and picture ids, and a request for a
// key frame finds its way back.
func TestForward(t *testing.T) {
	f := newForwarder(t, 3)
	for range 2000 { // until what is kept for retransmission is as large as it gets
		f.pass(t)
	}
	if n := testing.AllocsPerRun(500, func() { f.pass(t) }); n > 0 {
		t.Errorf("%v allocations for a packet", n)
	}
	seen := map[rtp.SSRC]uint16{}
	f.packet.Sequence++
	for i, e := range f.to {
		f.now = f.now.Add(4 * time.Millisecond)
		f.packet.Payload = append(f.packet.Payload[:0:0], f.packet.Payload...)
		if err := payload.RewriteVP8(f.packet.Payload, uint16(i), uint8(i)); err != nil {
			t.Fatal(err)
		}
		if err := f.senders[i].Send(f.now, 0, &f.packet); err != nil {
			t.Fatal(err)
		}
		for _, b := range e.drain(f.now) {
			p, err := rtp.Parse(b)
			if rtp.IsRTCP(b) || err != nil || p.PayloadType != 96 {
				continue
			}
			seen[p.SSRC] = p.SequenceNumber
			if part, err := (payload.VP8{}).Parse(p.Payload); err != nil || part.PictureID != uint16(i) || part.TL0PicIdx != uint8(i) {
				t.Errorf("subscriber %d gets %+v, %v", i, part, err)
			}
		}
	}
	if len(seen) != len(f.to) {
		t.Errorf("%d sources for %d subscribers", len(seen), len(f.to))
	}

	e := f.to[1]
	e.handle(f.now, rtcp.PLI{Sender: 1, Media: e.AppendOutbound(nil)[0].SSRC}.Append(nil))
	if len(e.told(KeyFrameWanted)) != 1 {
		t.Fatal("no key frame is wanted")
	}
	f.from.RequestKeyFrameOf(f.now, 7)
	f.from.HandleTimeout(f.now)
	if k := kindsOf(f.from.drain(f.now)[0]); !strings.Contains(k, "PLI ") {
		t.Errorf("the source hears %q", k)
	}
}

// What is missing where it comes from is missing where it goes to, and comes late to its place, by itself; of a request for it before that
// there is no answer. What comes twice, or too late, has no place, and another source goes on behind.
func TestForwardKeepsGaps(t *testing.T) {
	codec := vp8
	codec.Feedback = append([]string{"ack ccfb"}, vp8.Feedback...)
	from, to := mediaOf("v", "video", codec), mediaOf("v", "video", codec)
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	limit(w.a, began, 5_000_000)
	send := func(source rtp.SSRC, n int64, want error) {
		t.Helper()
		p := packet(int(n))
		p.Source, p.Sequence = source, n
		if err := w.a.Sender("v").Send(w.now, 0, &p); err != want {
			t.Errorf("packet %d of %d: %v, want %v", n, source, err, want)
		}
	}
	for n := int64(65530); n < 65560; n++ {
		if n != 65535 && n != 65536 && n != 65540 {
			send(7, n, nil)
		}
		w.pass(5 * time.Millisecond)
	}
	w.pass(100 * time.Millisecond)
	if o := w.a.AppendOutbound(nil)[0]; o.NACKCount == 0 || o.RetransmittedPacketsSent > 0 {
		t.Errorf("%d requests, %d packets sent again", o.NACKCount, o.RetransmittedPacketsSent)
	}
	send(7, 65536, nil)
	send(7, 65540, nil)
	send(7, 65540, ErrNoPlace) // it waits
	w.pass(100 * time.Millisecond)
	send(7, 65540, ErrNoPlace)
	send(7, 65550, ErrNoPlace)
	send(7, 65500, ErrNoPlace) // before the first
	send(9, 100, nil)
	send(9, 102, nil)
	send(9, 101, nil) // before its turn is over
	send(9, 4000, nil)
	send(7, 65535, nil) // another source again: it is no longer known what was missing
	w.pass(100 * time.Millisecond)

	first := w.b.got[0].seq
	numbers := map[int64]string{}
	for _, g := range w.b.got {
		if numbers[g.seq-first] != "" {
			t.Errorf("number %d comes twice", g.seq-first)
		}
		numbers[g.seq-first] = strings.TrimRight(g.payload, "\x00")
	}
	for n := int64(65530); n < 65560; n++ {
		want := fmt.Sprint("packet ", n)
		if n == 65535 {
			want = ""
		}
		if got := numbers[n-65530]; got != want {
			t.Errorf("at the place of %d is %q", n, got)
		}
	}
	for i, n := range []int64{100, 101, 102, 4000, 65535} {
		if got := numbers[30+int64(i)]; got != fmt.Sprint("packet ", n) {
			t.Errorf("behind is %q, want %d", got, n)
		}
	}
	if o, i := w.a.AppendOutbound(nil)[0], w.b.AppendInbound(nil)[0]; o.PacketsDropped != 4 || i.PacketsLost != 1 {
		t.Errorf("%d were refused, %d are lost", o.PacketsDropped, i.PacketsLost)
	}
}

// BenchmarkForward is what a packet of 1000 bytes costs for each of 50 subscribers, sealing left out, and what is kept for each.
func BenchmarkForward(b *testing.B) {
	const subscribers = 50
	before := heap()
	f := newForwarder(b, subscribers)
	for range 2000 {
		f.pass(b)
	}
	kept := heap() - before
	b.ReportAllocs()
	b.ResetTimer()
	left := 0
	for range b.N {
		left += f.pass(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(left), "ns/packet-sent")
	b.ReportMetric(float64(kept)/subscribers, "B/subscriber")
	runtime.KeepAlive(f)
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
