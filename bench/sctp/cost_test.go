//go:build unix

package sctp_test

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// BenchmarkCost measures what both ends together spend on a message, over memory and without DTLS: an op is a message.
func BenchmarkCost(b *testing.B) {
	for _, size := range []int{messageSize, 64} {
		for _, who := range []struct {
			name string
			run  func(b *testing.B, size, count int)
		}{{"Parley", parleyInMemory}, {"Pion", pionInMemory}} {
			b.Run(fmt.Sprintf("%dB/%s", size, who.name), func(b *testing.B) {
				b.ReportAllocs()
				before := cpu()
				who.run(b, size, b.N)
				spent := (cpu() - before).Seconds()
				b.ReportMetric(spent/(float64(b.N)*float64(size)/1e9), "cpu-s/GB")
				b.ReportMetric(float64(b.N)/spent, "messages/cpu-s")
			})
		}
	}
}

// cpu returns what the process has used of the processors: all threads, system calls and the garbage collector included.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// parleyInMemory lets two associations take turns: what one has to send, the other takes at once.
func parleyInMemory(b *testing.B, size, count int) {
	var ends [2]*sctp.Association
	for i := range ends {
		var err error
		if ends[i], err = sctp.New(sctp.Config{Rand: crand.Reader, Server: i == 1, MaxPacket: packet, SendBuffer: 4 << 20}); err != nil {
			b.Fatal(err)
		}
	}
	now := mono.Time(time.Second)
	ends[0].Connect(now)
	id, err := ends[0].Open(now, sctp.ChannelConfig{})
	if err != nil {
		b.Fatal(err)
	}
	message, buf := make([]byte, size), make([]byte, 0, 1500)
	b.ResetTimer()
	for sent, got := 0, 0; got < count; {
		for sent < count && ends[0].Send(now, id, false, message) == nil {
			sent++
		}
		moved := false
		for i, e := range ends {
			if e.NextTimeout() <= now {
				e.HandleTimeout(now)
			}
			// Bursts as a driver's batch has them.
			for range 32 {
				p := e.AppendPacket(buf, now)
				if len(p) == 0 {
					break
				}
				ends[1-i].HandlePacket(now, p)
				moved = true
			}
			for ev, ok := ends[1-i].NextEvent(); ok; ev, ok = ends[1-i].NextEvent() {
				switch ev.Kind {
				case sctp.Message:
					ends[1-i].Consume(len(ev.Data))
					got++
				case sctp.Closed:
					b.Fatal(ev.Err)
				}
			}
		}
		if now = now.Add(20 * time.Microsecond); !moved {
			now = max(now, min(ends[0].NextTimeout(), ends[1].NextTimeout()))
		}
	}
}

// pionInMemory lets two of Pion's associations talk over a pair of queues.
func pionInMemory(b *testing.B, size, count int) {
	ca, cb := memory()
	client, server, stop := pionPair(b, ca, cb, 16<<20)
	out, in := pionStream(b, client, server, 1)
	ctx, cancel := context.WithCancel(context.Background())
	b.ResetTimer()
	go pump(ctx, out, make([]byte, size), 4<<20)
	buf := make([]byte, messageSize)
	for range count {
		if _, err := in.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	cancel()
	ca.Close()
	cb.Close()
	stop()
}

// queue is one end of a connection in memory that keeps packets apart.
type queue struct {
	net.Conn // for what nobody calls
	in       <-chan []byte
	out      chan<- []byte
	closed   chan struct{}
	once     *atomic.Bool
}

func memory() (a, b *queue) {
	ab, ba := make(chan []byte, 1024), make(chan []byte, 1024)
	closed, once := make(chan struct{}), &atomic.Bool{}
	return &queue{in: ba, out: ab, closed: closed, once: once}, &queue{in: ab, out: ba, closed: closed, once: once}
}

func (q *queue) Read(b []byte) (int, error) {
	select {
	case p := <-q.in:
		return copy(b, p), nil
	case <-q.closed:
		return 0, io.EOF
	}
}

func (q *queue) Write(b []byte) (int, error) {
	select {
	case q.out <- append([]byte(nil), b...):
		return len(b), nil
	case <-q.closed:
		return 0, os.ErrClosed
	}
}

func (q *queue) Close() error {
	if !q.once.Swap(true) {
		close(q.closed)
	}
	return nil
}

func (q *queue) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (q *queue) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (q *queue) SetDeadline(time.Time) error      { return nil }
func (q *queue) SetReadDeadline(time.Time) error  { return nil }
func (q *queue) SetWriteDeadline(time.Time) error { return nil }
