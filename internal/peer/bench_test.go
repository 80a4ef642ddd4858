package peer_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// BenchmarkIdlePeer reports what a connected peer holds that has nothing to do: ICE, DTLS 1.3 and SCTP with one channel,
// both ends' sockets, sessions and network left out.
func BenchmarkIdlePeer(b *testing.B) {
	const pairs = 200
	for b.Loop() {
		worlds := make([]*world, pairs)
		o := options{peer: peer.Config{Scratch: peer.NewScratch()}}
		for i := range worlds {
			worlds[i] = newWorld(b, uint64(i), simnet.Path{}, o, o)
			worlds[i].connect()
			worlds[i].Run(2 * time.Minute)
		}
		full := heap()
		for _, w := range worlds {
			for _, s := range []*side{w.a, w.b} {
				s.Peer = nil
			}
		}
		b.ReportMetric(float64(full-heap())/(2*pairs), "B/peer")
		runtime.KeepAlive(worlds)
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkSetup is what two peers cost until a channel is open on both: descriptions, ICE, DTLS 1.3 and SCTP, in virtual
// time, both ends together.
func BenchmarkSetup(b *testing.B) {
	shared := makeSide(b, 1, options{}).cert
	for _, c := range []struct {
		name string
		o    options
	}{
		{"defaults", options{}},
		{"X25519, certificate shared", options{dtls: dtls.Config{Groups: []dtls.Group{dtls.X25519}, Certificate: shared}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				newWorld(b, uint64(i), simnet.Path{}, c.o, c.o).connect()
			}
		})
	}
}

// road is two connected peers with video that a benchmark drives by hand: no sockets, no network, packets of 1200 bytes.
type road struct {
	a, b  *side
	now   mono.Time
	batch *pkt.Batch
	to    pkt.Path // as b sees it
	back  pkt.Path
	p     session.Packet
}

func newRoad(b testing.TB, warm int) *road {
	w := newMedia(b, 1, simnet.Path{})
	r := &road{a: w.a, b: w.b, now: w.Now(), batch: pkt.NewBatch(1<<20, 512)}
	r.a.onPacket = func(mono.Time, *session.Received) {}
	r.b.onPacket = r.a.onPacket
	r.back = path0(r.a)
	r.to = path0(r.b)
	s := r.a.Sender("1")
	s.SetEncoding(r.now, 0, session.EncodingParameters{Active: true, MaxBitrate: 80_000_000})
	r.p = session.Packet{PayloadType: 96, Payload: make([]byte, s.MaxPayload(0))}
	for range warm { // until all buffers are as large as they get, and the estimate is up
		r.send(b)
		r.exchange()
	}
	return r
}

// path0 is the path that a side sends along.
func path0(s *side) pkt.Path {
	p, _ := s.Agent(1).Path()
	return p
}

// send sends one packet, 150 us after the one before: 64 Mbit/s.
func (r *road) send(b testing.TB) {
	r.now = r.now.Add(150 * time.Microsecond)
	r.p.Timestamp += 13
	if err := r.a.Sender("1").Send(r.now, 0, &r.p); err != nil && err != session.ErrFull {
		b.Fatal(err)
	}
	if r.a.NextTimeout() <= r.now {
		r.a.HandleTimeout(r.now)
	}
	r.a.Peer.AppendTransmit(r.now, r.batch)
}

// exchange delivers what was sent, and what is answered.
func (r *road) exchange() {
	r.deliver(r.b, r.to)
	if r.b.NextTimeout() <= r.now {
		r.b.HandleTimeout(r.now)
	}
	r.b.Peer.AppendTransmit(r.now, r.batch)
	r.deliver(r.a, r.back)
	for _, s := range []*side{r.a, r.b} {
		for _, ok := s.NextEvent(); ok; _, ok = s.NextEvent() {
		}
	}
}

func (r *road) deliver(to *side, along pkt.Path) {
	for _, t := range r.batch.Transmits() {
		size := len(t.Payload)
		if t.SegmentSize > 0 {
			size = int(t.SegmentSize)
		}
		for p := t.Payload; len(p) > 0; p = p[min(size, len(p)):] {
			to.HandleDatagram(r.now, &pkt.Datagram{Path: along, Payload: p[:min(size, len(p))]})
		}
	}
	r.batch.Reset()
}

// BenchmarkMedia is what one packet of 1200 bytes costs through the whole peer, without sockets: session, congestion control,
// AES-128-GCM, and the feedback and reports that belong to it.
func BenchmarkMedia(b *testing.B) {
	b.Run("send", func(b *testing.B) {
		r := newRoad(b, 20_000)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			r.send(b)
			if r.batch.Len() >= 64 {
				b.StopTimer() // what the peer does with it, but not what its feedback costs us
				r.deliver(r.b, r.to)
				r.b.HandleTimeout(r.now)
				r.b.Peer.AppendTransmit(r.now, r.batch)
				b.StartTimer()
				r.deliver(r.a, r.back)
				for _, ok := r.a.NextEvent(); ok; _, ok = r.a.NextEvent() {
				}
			}
		}
	})
	b.Run("receive", func(b *testing.B) {
		r := newRoad(b, 20_000)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; {
			b.StopTimer()
			for range 64 {
				r.send(b)
			}
			b.StartTimer()
			for _, t := range r.batch.Transmits() {
				i += t.Segments()
			}
			r.deliver(r.b, r.to)
			r.b.HandleTimeout(r.now)
			r.b.Peer.AppendTransmit(r.now, r.batch)
			b.StopTimer()
			r.deliver(r.a, r.back)
			for _, ok := r.a.NextEvent(); ok; _, ok = r.a.NextEvent() {
			}
			b.StartTimer()
		}
	})
	b.Run("both", func(b *testing.B) {
		r := newRoad(b, 20_000)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i++ {
			r.send(b)
			r.exchange()
		}
		b.ReportMetric(float64(r.b.Transport(1).Session().AppendInbound(nil)[0].PacketsReceived)/float64(b.N+20_000), "packets/op")
	})
}
