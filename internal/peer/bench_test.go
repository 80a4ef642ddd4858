package peer_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
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
