package webrtc

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// realPair makes two connections with one open channel over real sockets.
func realPair(tb testing.TB, cfg Configuration, init *DataChannelInit) (a, b *PeerConnection, x, y *DataChannel) {
	a, b = fresh(tb, cfg), fresh(tb, cfg)
	open := make(chan *DataChannel, 1)
	b.OnDataChannel(func(ch *DataChannel) { open <- ch })
	var err error
	if x, err = a.CreateDataChannel("bench", init); err != nil {
		tb.Fatal(err)
	}
	opened := make(chan struct{})
	x.OnOpen(func() { close(opened) })
	check := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	check(a.SetLocalDescription(nil))
	check(b.SetRemoteDescription(*a.LocalDescription()))
	check(b.SetLocalDescription(nil))
	check(a.SetRemoteDescription(*b.LocalDescription()))
	a.OnICECandidate(func(c *ICECandidate) { _ = b.AddICECandidate(c) })
	b.OnICECandidate(func(c *ICECandidate) { _ = a.AddICECandidate(c) })
	y = <-open
	<-opened
	return a, b, x, y
}

// What a message costs from Send to Receive, over loopback and with both ends in this process.
func BenchmarkMessages(b *testing.B) {
	for _, c := range []struct {
		size int
		init *DataChannelInit
	}{{64 << 10, nil}, {16 << 10, nil}, {1200, nil}, {64, &DataChannelInit{Ordered: new(false)}}} {
		b.Run(fmt.Sprint(c.size), func(b *testing.B) {
			_, _, x, y := realPair(b, Configuration{}, c.init)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			defer cpu(b)()
			go func() {
				data := make([]byte, c.size)
				for range b.N {
					if err := x.SendContext(context.Background(), data); err != nil {
						b.Error(err)
						return
					}
				}
			}()
			for range b.N {
				if _, err := y.Receive(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// From Send to the answer's arrival, a message of 64 bytes each way.
func BenchmarkRoundTrip(b *testing.B) {
	_, _, x, y := realPair(b, Configuration{}, nil)
	y.OnMessage(func(m Message) { _ = y.Send(m.Data) })
	data := make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	defer cpu(b)()
	for range b.N {
		if err := x.Send(data); err != nil {
			b.Fatal(err)
		}
		if _, err := x.Receive(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// From WriteRTP to ReadRTP at the peer, a packet with 1100 bytes at a time.
func BenchmarkPackets(b *testing.B) {
	x, y, _, _ := realPair(b, Configuration{}, nil)
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	track, err := NewRTPTrack(Opus, "bench")
	check(err)
	_, err = x.AddTrack(track)
	check(err)
	tracks := make(chan *RemoteTrack, 1)
	y.OnTrack(func(t *RemoteTrack, _ *RTPReceiver) { tracks <- t })
	check(x.SetLocalDescription(nil))
	check(y.SetRemoteDescription(*x.LocalDescription()))
	check(y.SetLocalDescription(nil))
	check(x.SetRemoteDescription(*y.LocalDescription()))
	remote := <-tracks
	p, q := rtp.Packet{Payload: make([]byte, 1100)}, rtp.Packet{}
	b.ReportAllocs()
	b.ResetTimer()
	defer cpu(b)()
	for range b.N {
		p.Timestamp += 960
		check(track.WriteRTP(&p))
		check(remote.ReadRTP(context.Background(), &q))
	}
}

// Two connections made, connected by a channel, and closed.
func BenchmarkConnect(b *testing.B) {
	fresh(b, Configuration{}) // keeps the loop
	certificate, err := GenerateCertificate(KeygenAlgorithm{})
	if err != nil {
		b.Fatal(err)
	}
	for name, cfg := range map[string]Configuration{"certificate=own": {}, "certificate=shared": {Certificates: []*Certificate{certificate}}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			for range b.N {
				x, y, _, _ := realPair(b, cfg, nil)
				x.Close()
				y.Close()
			}
		})
	}
}

// What an idle connection with one channel holds.
func BenchmarkIdle(b *testing.B) {
	const pairs = 250
	for range b.N {
		debug.FreeOSMemory()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		for range pairs {
			realPair(b, Configuration{}, nil)
		}
		debug.FreeOSMemory()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/(2*pairs)/1024, "KiB/connection")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/(2*pairs), "goroutines/connection")
	}
}
