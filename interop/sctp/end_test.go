// Package sctp_test has Parley's SCTP talk to others, over UDP on loopback in the place of DTLS.
package sctp_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// volume is how many bytes go over each of two streams in each direction.
func volume() int {
	if os.Getenv("PARLEY_LONG") != "" {
		return 50 << 20
	}
	return 5 << 20
}

const messageSize = 60_000

// The streams that carry data; both ends open them by themselves.
var streams = [2]sctp.StreamID{1, 3}

// generator gives the bytes that are sent on a stream: a linear congruential generator, which is easy to write in C.
type generator uint32

func (g *generator) fill(b []byte) {
	for i := range b {
		*g = *g*1664525 + 1013904223
		b[i] = byte(*g >> 24)
	}
}

// fnv is FNV-1a of 64 bits.
type fnv uint64

func newFNV() fnv { return 0xcbf29ce484222325 }

func (h *fnv) add(b []byte) {
	for _, c := range b {
		*h = (*h ^ fnv(c)) * 0x100000001b3
	}
}

// expected is the hash of all that is sent on a stream.
func expected(id sctp.StreamID, size int) fnv {
	g, h := generator(id), newFNV()
	b := make([]byte, 1<<16)
	for size > 0 {
		n := min(size, len(b))
		g.fill(b[:n])
		h.add(b[:n])
		size -= n
	}
	return h
}

// end is our end of an association, driven by one goroutine.
type end struct {
	t     *testing.T
	a     *sctp.Association
	conn  net.Conn
	start time.Time
	size  int // of what is sent and received on each stream

	mu    sync.Mutex
	got   map[sctp.StreamID]int
	hash  map[sctp.StreamID]fnv
	kinds map[byte]int // the first chunks of the packets that came
	stats sctp.Stats
	err   error
	over  chan struct{} // all has come, or it has failed
	quit  chan struct{}
	gone  chan struct{}
}

// begin makes our end and lets it run until the test ends. It sends what it has to as soon as it may.
func begin(t *testing.T, conn net.Conn, size int, cfg sctp.Config) *end {
	t.Helper()
	cfg.Rand = rand.Reader
	cfg.SendBuffer = 1 << 20
	a, err := sctp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{
		t: t, a: a, conn: conn, start: time.Now(), size: size,
		got: map[sctp.StreamID]int{}, hash: map[sctp.StreamID]fnv{}, kinds: map[byte]int{},
		over: make(chan struct{}), quit: make(chan struct{}), gone: make(chan struct{}),
	}
	go e.run()
	t.Cleanup(func() {
		close(e.quit)
		conn.SetReadDeadline(time.Now())
		<-e.gone
	})
	return e
}

func (e *end) now() mono.Time { return mono.Time(1 + time.Since(e.start)) }

func (e *end) run() {
	defer close(e.gone)
	for _, id := range streams {
		if _, err := e.a.Open(e.now(), sctp.ChannelConfig{Negotiated: true, ID: id}); err != nil {
			e.fail(err)
			return
		}
		e.a.SetBufferedAmountLow(id, 1<<18)
	}
	e.a.Connect(e.now())
	feeds := map[sctp.StreamID]*feed{}
	for _, id := range streams {
		feeds[id] = &feed{g: generator(id), left: e.size}
		feeds[id].pump(e, id)
	}
	in, out := make([]byte, 65536), make([]byte, 0, 65536)
	for {
		for {
			ev, ok := e.a.NextEvent()
			if !ok {
				break
			}
			switch ev.Kind {
			case sctp.Message:
				e.take(ev)
			case sctp.BufferedAmountLow:
				for _, id := range streams { // they share the buffer
					feeds[id].pump(e, id)
				}
			case sctp.ChannelClosed, sctp.Closed:
				e.fail(fmt.Errorf("%v: %w", ev.Kind, ev.Err))
			}
		}
		for {
			p := e.a.AppendPacket(out, e.now())
			if len(p) == 0 {
				break
			}
			e.conn.Write(p) // nobody listens yet: it is sent again
		}
		select {
		case <-e.quit:
			return
		default:
		}
		e.mu.Lock()
		e.stats = e.a.Stats()
		e.mu.Unlock()
		wait := time.Hour
		if next := e.a.NextTimeout(); next != mono.Never {
			wait = next.Sub(e.now())
		}
		if wait > 0 {
			e.conn.SetReadDeadline(time.Now().Add(wait))
			if n, err := e.conn.Read(in); err == nil && n > 12 {
				e.mu.Lock()
				e.kinds[in[12]]++
				e.mu.Unlock()
				e.a.HandlePacket(e.now(), in[:n])
			}
		}
		if e.a.NextTimeout() <= e.now() {
			e.a.HandleTimeout(e.now())
		}
	}
}

// feed is what is still to be sent on a stream.
type feed struct {
	g       generator
	left    int
	message []byte // drawn, and not taken yet
}

func (f *feed) pump(e *end, id sctp.StreamID) {
	for f.left > 0 {
		if f.message == nil {
			f.message = make([]byte, min(f.left, messageSize))
			f.g.fill(f.message)
		}
		switch err := e.a.Send(e.now(), id, false, f.message); {
		case errors.Is(err, sctp.ErrBufferFull):
			return
		case err != nil:
			e.fail(err)
			return
		}
		f.left -= len(f.message)
		f.message = nil
	}
}

func (e *end) take(ev sctp.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.hash[ev.Stream]
	if !ok {
		h = newFNV()
	}
	h.add(ev.Data)
	e.hash[ev.Stream] = h
	e.got[ev.Stream] += len(ev.Data)
	e.a.Consume(len(ev.Data))
	for _, id := range streams {
		if e.got[id] < e.size {
			return
		}
	}
	e.finish(nil)
}

func (e *end) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.finish(err)
}

func (e *end) finish(err error) {
	select {
	case <-e.over:
	default:
		e.err = err
		close(e.over)
	}
}

// wait waits until all has come and checks it; interleaved says in which kind of chunks it must have come, packets how large
// ours must have become.
func (e *end) wait(interleaved bool, packets int) {
	e.t.Helper()
	select {
	case <-e.over:
	case <-time.After(need.Patience + time.Duration(e.size)*2*time.Microsecond):
		e.fail(errors.New("it takes too long"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		e.t.Fatalf("after %v bytes: %v; %+v", e.got, e.err, e.stats)
	}
	for _, id := range streams {
		if e.got[id] != e.size || e.hash[id] != expected(id, e.size) {
			e.t.Errorf("stream %d: %d bytes of %d came, or not those that were sent", id, e.got[id], e.size)
		}
	}
	const data, iData = 0, 64
	if has, not := e.kinds[data], e.kinds[iData]; interleaved && (has > 0 || not == 0) || !interleaved && (not > 0 || has == 0) {
		e.t.Errorf("%d packets began with DATA, %d with I-DATA", has, not)
	}
	if e.stats.MTU != packets {
		e.t.Errorf("packets of %d bytes in the end, not %d", e.stats.MTU, packets)
	}
}

// pair returns two UDP sockets on loopback that are connected with each other: what is sent to one waits there until it is read.
func pair(t *testing.T) (a, b *net.UDPConn) {
	t.Helper()
	loopback := net.IPv4(127, 0, 0, 1)
	from := need.Port(t)
	for i, c := range []**net.UDPConn{&a, &b} {
		var err error
		*c, err = net.DialUDP("udp4", &net.UDPAddr{IP: loopback, Port: from + i}, &net.UDPAddr{IP: loopback, Port: from + 1 - i})
		if err != nil {
			t.Fatal(err)
		}
		(*c).SetReadBuffer(4 << 20)
		t.Cleanup(func() { (*c).Close() })
	}
	return a, b
}
