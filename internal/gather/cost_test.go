package gather_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// idle is a tenant that wants nothing but its candidates.
type idle struct {
	*gather.Gatherer
	lease *loop.Lease
	open  int
}

func (i *idle) HandleDatagram(now mono.Time, d *pkt.Datagram) { i.Handle(now, d) }

func (i *idle) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	more := i.Gatherer.AppendTransmit(now, b)
	for {
		e, ok := i.NextEvent()
		if !ok {
			return more
		}
		if _, ok := e.(gather.Candidate); ok {
			i.open++
		}
	}
}

// An idle Gatherer with a socket of its own is small, and has neither goroutine nor timer.
func TestIdleCost(t *testing.T) {
	const count = 500
	l, err := loop.New(loop.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	all := make([]*idle, 0, count)
	begin := func(n int) {
		if err := l.Do(func(now mono.Time) {
			for range n {
				i := &idle{}
				i.lease = l.Attach(i)
				i.Gatherer, _ = gather.New(i.lease, gather.Config{
					Loopback: true, Interfaces: func(a gather.Address) bool { return a.IP == localhost }, Proxy: "none",
				})
				i.Start(now)
				all = append(all, i)
			}
		}); err != nil {
			t.Fatal(err)
		}
		_ = l.Do(func(mono.Time) {}) // the turn in which they were drained is over
	}
	begin(10) // what all share
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	begin(count - 10)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / (count - 10)
	t.Logf("%.0f bytes for each", each)
	if each > 4<<10 {
		t.Errorf("%.0f bytes for each, want 4 KiB at most", each)
	}
	if runtime.GOOS == "linux" {
		if n := runtime.NumGoroutine() - goroutines; n > 0 {
			t.Errorf("%d goroutines more", n)
		}
	}
	c := l.Counters()
	if c.Timers != 0 || c.Sockets != count {
		t.Errorf("%d timers and %d sockets", c.Timers, c.Sockets)
	}
	for _, i := range all {
		if i.open != 1 {
			t.Fatalf("%d candidates, want one", i.open)
		}
	}
	_ = l.Do(func(now mono.Time) {
		for _, i := range all {
			i.Close(now)
		}
	})
}

// relaying is an owner in a scene with a relay that has a channel to a peer.
func relaying(s *scene, url string) (o *owner, through pkt.Path, p *owner) {
	o = s.owner(s.at(s.net.Internet(), "ada", "5.9.0.7"), gather.Config{Servers: servers(s.t, url)})
	p = s.owner(s.at(s.net.Internet(), "peer", "8.8.4.4"), gather.Config{})
	time.Sleep(time.Second)
	for _, c := range o.relays() {
		if c.Address.Addr().Is4() {
			through = pkt.Path{Socket: c.Socket, Local: c.Base, Remote: p.found()[0].Address}
		}
	}
	for range 6 {
		o.send(through, "to be in use")
		time.Sleep(time.Second)
	}
	if got := p.received(); len(got) != 6 {
		s.t.Fatalf("%d of 6 came", len(got))
	}
	return o, through, p
}

// Segments of one transmit stay segments of one where the system can send so, each on its own to the peer; and a batch
// without room loses nothing.
func TestWrapKeepsSegments(t *testing.T) {
	for _, url := range []string{"turn:turn.test", "turn:turn.test?transport=tcp", "turns:turn.test", "turns:turn.test?transport=udp"} {
		inScene(t, func(s *scene) {
			o, through, p := relaying(s, url)
			payload := make([]byte, 54*1100+7)
			for i := range payload {
				payload[i] = byte(i / 1100)
			}
			o.do(func(now mono.Time) {
				out := pkt.Transmit{Path: through, SegmentSize: 1100, Payload: payload, DSCP: pkt.AF41}
				for _, b := range []*pkt.Batch{pkt.NewBatch(100, 100), pkt.NewBatch(50000, 100)} {
					if o.Wrap(now, out, b) || b.Len() != 0 {
						t.Errorf("%s: wrapped into a batch without room: %d", url, b.Len())
					}
				}
				if !o.Wrap(now, out, o.lease.Batch()) {
					t.Errorf("%s: no room", url)
				}
				if n := o.lease.Batch().Len(); n != 1 && url != "turns:turn.test?transport=udp" {
					t.Errorf("%s: %d transmits, want one with segments", url, n)
				}
			})
			time.Sleep(2 * time.Second)
			got := p.received()
			if len(got) != 55 {
				t.Fatalf("%s: %d datagrams, want 55", url, len(got))
			}
			for i, d := range got {
				want := 1100
				if i == 54 {
					want = 7
				}
				if len(d.Payload) != want || d.Payload[0] != byte(i) {
					t.Fatalf("%s: datagram %d has %d bytes of %d", url, i, len(d.Payload), d.Payload[0])
				}
			}
			o.do(func(now mono.Time) { // names of nobody
				for _, name := range []pkt.Socket{-1, through.Socket - 1, through.Socket - 1000} {
					if !o.Wrap(now, pkt.Transmit{Path: pkt.Path{Socket: name, Remote: through.Remote}, Payload: payload[:10]}, o.lease.Batch()) {
						t.Errorf("%v has no room", name)
					}
				}
			})
		})
	}
}

// Nothing allocates for a packet, either way.
func TestRelayedPacketsAllocateNothing(t *testing.T) {
	for _, url := range []string{"turn:turn.test", "turn:turn.test?transport=tcp"} {
		inScene(t, func(s *scene) {
			o, through, _ := relaying(s, url)
			payload := make([]byte, 1100)
			o.do(func(now mono.Time) {
				b := pkt.NewBatch(4096, 4)
				if n := testing.AllocsPerRun(100, func() {
					b.Reset()
					if !o.Wrap(now, pkt.Transmit{Path: through, Payload: payload}, b) || b.Len() != 1 {
						t.Error("not wrapped")
					}
				}); n != 0 {
					t.Errorf("%s: Wrap allocates %v times", url, n)
				}
				wrapped := b.Transmits()[0]
				frame := append([]byte(nil), wrapped.Payload...)
				if n := testing.AllocsPerRun(100, func() {
					d := pkt.Datagram{Path: wrapped.Path, Payload: frame}
					if o.Handle(now, &d) || d.Path != through || len(d.Payload) != len(payload) {
						t.Errorf("unwrapped as %+v", d.Path)
					}
					stranger := pkt.Datagram{Path: pkt.Path{Socket: wrapped.Socket, Local: wrapped.Local, Remote: ap("8.8.8.8:53")}, Payload: frame}
					if o.Handle(now, &stranger) {
						t.Error("what a peer says is taken for the server's")
					}
				}); n != 0 {
					t.Errorf("%s: Handle allocates %v times", url, n)
				}
			})
		})
	}
}

// NumberOf finds the transport of a relay.
func TestNamesOfTransports(t *testing.T) {
	inScene(t, func(s *scene) {
		h := s.at(s.net.Internet(), "ada", "5.9.0.7")
		names := map[pkt.Socket]int{}
		for _, number := range []int{0, 1, 255} {
			o := s.owner(h, gather.Config{Number: number, PassiveTCP: true, Servers: servers(t, "turn:turn.test")})
			time.Sleep(time.Second)
			for _, c := range o.found() {
				if c.Type != ice.Relayed && c.Transport != ice.TCPPassive {
					continue
				}
				if n, taken := names[c.Socket]; taken && n != number || gather.NumberOf(c.Socket) != number {
					t.Errorf("the name %d is of %d and %d, NumberOf says %d", c.Socket, number, n, gather.NumberOf(c.Socket))
				}
				names[c.Socket] = number
			}
		}
		if len(names) != 6 {
			t.Errorf("names %v, want two of each", names)
		}
		for _, s := range []pkt.Socket{0, 5, -1, -16} {
			if n := gather.NumberOf(s); n != -1 {
				t.Errorf("%d is of %d", s, n)
			}
		}
	})
}
