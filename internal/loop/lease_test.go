package loop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

func TestDatagramsReachTheirTenantAndAnswersLeave(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		done := make(chan struct{})

		server := &actor{}
		var answers []pkt.Transmit
		server.datagram = func(_ mono.Time, d *pkt.Datagram) {
			answers = append(answers, pkt.Transmit{Path: d.Path, Payload: append([]byte("re: "), d.Payload...)})
		}
		server.transmit = func(_ mono.Time, b *pkt.Batch) bool {
			for ; len(answers) > 0; answers = answers[1:] {
				if !b.Append(answers[0]) {
					return true
				}
			}
			return false
		}
		attach(t, l, server)

		client := &actor{}
		var to pkt.Path
		client.transmit = func(_ mono.Time, b *pkt.Batch) bool {
			if to.Remote.IsValid() {
				b.Append(pkt.Transmit{Path: to, Payload: []byte("hello")})
				to = pkt.Path{}
			}
			return false
		}
		client.datagram = func(_ mono.Time, d *pkt.Datagram) {
			if string(d.Payload) != "re: hello" {
				t.Errorf("the answer is %q", d.Payload)
			}
			close(done)
		}
		attach(t, l, client)

		do(t, l, func(mono.Time) {
			_, address := server.open(t, w)
			to.Socket, _ = client.open(t, w)
			to.Remote = address
			client.lease.Touch()
		})
		await(t, done, "an answer")
	})
}

// "From a socket that was closed, by h meanwhile too, it delivers nothing, not even under the same name opened again."
func TestPollerDeliversNothingFromAClosedSocket(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		p := w.poller()
		defer p.Shutdown()
		open := func(name pkt.Socket) pkt.Path {
			local, err := p.Open(name, udp.Config{Local: w.local})
			if err != nil {
				t.Fatal(err)
			}
			return pkt.Path{Socket: 0, Remote: local}
		}
		open(0)
		first, second := open(1), open(2)
		send := func(to pkt.Path, text string) {
			p.Send(0, []*pkt.Transmit{{Path: to, Payload: []byte(text)}})
		}
		for range 3 {
			send(first, "to the first")
			send(second, "to the second")
		}
		h := &recorder{}
		// Whichever of the two is delivered first closes both, and opens one of the same name as the other.
		var third pkt.Path
		h.datagram = func(d *pkt.Datagram) {
			if third.Remote.IsValid() {
				return
			}
			p.Close(1)
			p.Close(2)
			third = open(3 - d.Socket)
			send(third, "to the third")
		}
		receiveUntil(t, w, p, h, "to the third")
		if len(h.heard) != 2 || h.heard[1] != "to the third" {
			t.Errorf("delivered %q, want one datagram of the first round and that to the third", h.heard)
		}
	})
}

// recorder is a Handler that keeps what it hears.
type recorder struct {
	heard    []string
	datagram func(d *pkt.Datagram)
}

func (r *recorder) HandleDatagram(d *pkt.Datagram) {
	r.heard = append(r.heard, string(d.Payload))
	if r.datagram != nil {
		r.datagram(d)
	}
}

func (r *recorder) HandleICMP(*pkt.ICMP) {}

// receiveUntil drives a poller without a loop until h has heard something.
func receiveUntil(t *testing.T, w world, p Poller, h *recorder, last string) {
	t.Helper()
	end := p.Now().Add(time.Minute)
	for !slices.Contains(h.heard, last) {
		if p.Now() >= end {
			t.Fatalf("a minute has passed and %q was not heard, only %q", last, h.heard)
		}
		p.Park(end, func() bool { return true })
		w.settle()
		p.Receive(h)
	}
}

func TestTimersFireInTimeAndMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simWorld()
		defer w.network.Close()
		l := start(t, w.world)
		defer l.Close()
		var log []string
		begin := mono.Time(0)
		done := make(chan struct{})
		var fast, slow *actor
		fast = &actor{timeout: func(now mono.Time) {
			log = append(log, fmt.Sprint("fast ", now.Sub(begin)))
			if len(log) < 3 {
				fast.next = now.Add(time.Second)
			}
		}}
		slow = &actor{timeout: func(now mono.Time) {
			log = append(log, fmt.Sprint("slow ", now.Sub(begin)))
			close(done)
		}}
		do(t, l, func(now mono.Time) {
			begin = now
			fast.next, slow.next = now.Add(time.Second), now.Add(time.Hour)
			fast.lease, slow.lease = l.Attach(fast), l.Attach(slow)
		})
		slow.lease.Post(func(now mono.Time) { slow.next = begin.Add(2500 * time.Millisecond) })
		<-done
		want := []string{"fast 1s", "fast 2s", "slow 2.5s"}
		do(t, l, func(mono.Time) {
			if !slices.Equal(log, want) {
				t.Errorf("timers fired %q, want %q", log, want)
			}
		})
	})
}

// A tenant with more than a batch holds gets turn after turn, and others get theirs in between.
func TestFullBatchTakesTurns(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		const total = 3 * batchTransmits
		done := make(chan struct{})
		got := 0
		sink := &actor{datagram: func(_ mono.Time, d *pkt.Datagram) {
			if n := int(binary.BigEndian.Uint32(d.Payload)); n != got {
				t.Errorf("datagram %d came in place %d", n, got)
			}
			if got++; got == total {
				close(done)
			}
		}}
		attach(t, l, sink)

		var order []string
		greedy, modest := &actor{}, &actor{}
		var to pkt.Path
		sent := 0
		greedy.transmit = func(_ mono.Time, b *pkt.Batch) bool {
			order = append(order, "greedy")
			for ; sent < total; sent++ {
				buf := b.Reserve(4)
				if buf == nil {
					return true
				}
				b.Commit(pkt.Transmit{Path: to, Payload: binary.BigEndian.AppendUint32(buf, uint32(sent))})
			}
			return false
		}
		modest.transmit = func(mono.Time, *pkt.Batch) bool {
			order = append(order, "modest")
			return false
		}
		do(t, l, func(mono.Time) {
			_, to.Remote = sink.open(t, w)
			greedy.lease, modest.lease = l.Attach(greedy), l.Attach(modest)
			to.Socket, _ = greedy.open(t, w)
		})
		await(t, done, "all datagrams")
		do(t, l, func(mono.Time) {
			if want := []string{"greedy", "modest", "greedy", "greedy"}; !slices.Equal(order, want) {
				t.Errorf("turns %v, want %v", order, want)
			}
		})
	})
}

// An engine that breaks the fifth law does not take the loop with it.
func TestStarvingTenantDoesNotSpin(t *testing.T) {
	w := world{poller: func() Poller { return NewMailbox(Readers{}) }}
	l := start(t, w)
	defer l.Close()
	calls := 0
	attach(t, l, &actor{transmit: func(mono.Time, *pkt.Batch) bool { calls++; return true }})
	for range 10 {
		do(t, l, func(mono.Time) {})
	}
	if c := l.Counters(); calls != 1 || c.Starved != 1 {
		t.Errorf("%d calls, counters %+v", calls, c)
	}
}

// A post that writes to the batch leaves room for the next one.
func TestPostsFindRoomInTheBatch(t *testing.T) {
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }})
	defer l.Close()
	a := &actor{}
	attach(t, l, a)
	redirected := 0
	do(t, l, func(mono.Time) {
		l.Redirect(-1, func(ts []*pkt.Transmit) { redirected += len(ts) })
		for range 100 {
			a.lease.Post(func(mono.Time) {
				for range batchTransmits / 4 {
					if !a.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: -1}}) {
						t.Error("no room in the batch")
					}
				}
			})
		}
	})
	do(t, l, func(mono.Time) {})
	do(t, l, func(mono.Time) {
		if redirected != 100*batchTransmits/4 {
			t.Errorf("%d transmits left", redirected)
		}
	})
}

// What a tenant writes to the loop's batch while it handles a datagram leaves, however much it is.
func TestBatchIsOpenToHandlers(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		const rounds, copies = 200, 50
		done := make(chan struct{})
		echo, client := &actor{}, &actor{}
		echo.datagram = func(_ mono.Time, d *pkt.Datagram) {
			for range copies {
				if !echo.lease.Batch().Append(pkt.Transmit{Path: d.Path, Payload: d.Payload}) {
					t.Error("no room in the batch")
				}
			}
		}
		var to pkt.Path
		sent, got := 0, 0
		client.transmit = func(_ mono.Time, b *pkt.Batch) bool {
			if to.Remote.IsValid() && sent < rounds && got == sent*copies {
				sent++
				b.Append(pkt.Transmit{Path: to, Payload: make([]byte, 1000)})
			}
			return false
		}
		client.datagram = func(mono.Time, *pkt.Datagram) {
			if got++; got == rounds*copies {
				close(done)
			}
		}
		attach(t, l, echo)
		attach(t, l, client)
		do(t, l, func(mono.Time) {
			_, remote := echo.open(t, w)
			to.Socket, _ = client.open(t, w)
			to.Remote = remote
			client.lease.Touch()
		})
		await(t, done, "every copy")
	})
}

func TestRedirectGetsWhatNamesANegativeSocket(t *testing.T) {
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }})
	defer l.Close()
	var got []string
	a := &actor{}
	full := false
	a.transmit = func(_ mono.Time, b *pkt.Batch) bool {
		if !full {
			full = true
			for i, name := range []pkt.Socket{-1, -2, 5, -1, -16, -17} {
				b.Append(pkt.Transmit{Path: pkt.Path{Socket: name}, Payload: fmt.Append(nil, i)})
			}
		}
		return false
	}
	do(t, l, func(mono.Time) {
		l.Redirect(-1, func(ts []*pkt.Transmit) {
			for _, t := range ts {
				got = append(got, string(t.Payload))
			}
		})
		a.lease = l.Attach(a)
	})
	c := l.Counters()
	if !slices.Equal(got, []string{"0", "3"}) || c.Stale != 4 {
		t.Errorf("redirected %q, %d to nobody", got, c.Stale)
	}
}

// A socket that covers another sends through a layer, and the one under it as ever.
func TestLayerIsBetweenATenantAndItsSocket(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		done := make(chan struct{})
		sender, receiver := &actor{}, &actor{}
		attach(t, l, sender)
		attach(t, l, receiver)
		var got []string
		receiver.datagram = func(_ mono.Time, d *pkt.Datagram) {
			if got = append(got, string(d.Payload)); len(got) == 3 {
				close(done)
			}
		}
		var covered, upper pkt.Socket
		do(t, l, func(mono.Time) {
			_, to := receiver.open(t, w)
			covered, _ = sender.open(t, w)
			var err error
			upper, err = sender.lease.Cover(covered, func(_ mono.Time, ts []*pkt.Transmit) []*pkt.Transmit {
				left := ts[:0]
				for _, t := range ts {
					if string(t.Payload) != "left out" {
						t.Payload = append([]byte("sealed "), t.Payload...)
						left = append(left, t)
					}
				}
				return left
			})
			if err != nil {
				t.Error(err)
			}
			for _, c := range []struct {
				on   pkt.Socket
				text string
			}{{upper, "one"}, {covered, "plain"}, {upper, "left out"}, {upper, "two"}} {
				sender.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: c.on, Remote: to}, Payload: []byte(c.text)})
			}
		})
		await(t, done, "three datagrams")
		slices.Sort(got)
		if !slices.Equal(got, []string{"plain", "sealed one", "sealed two"}) {
			t.Errorf("got %q", got)
		}
		do(t, l, func(mono.Time) {
			sender.lease.Close(covered)
			sender.lease.Batch().Append(pkt.Transmit{Path: pkt.Path{Socket: upper}, Payload: []byte("nowhere")})
		})
		do(t, l, func(mono.Time) {
			if l.count.Stale != 1 {
				t.Errorf("%d transmits had no socket under them", l.count.Stale)
			}
			if _, err := sender.lease.Cover(covered, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("a closed socket can be covered: %v", err)
			}
			sender.lease.Close(upper)
			sender.lease.Close(upper) // harmless, as ever
		})
		if c := l.Counters(); c.Sockets != 1 {
			t.Errorf("%d sockets are open, want the receiver's", c.Sockets)
		}
	})
}

func TestEndedLeaseIsLeftAlone(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		gone, other := &actor{}, &actor{}
		attach(t, l, gone)
		attach(t, l, other)
		var to pkt.Path
		do(t, l, func(now mono.Time) {
			to.Socket, to.Remote = gone.open(t, w)
			gone.open(t, w)
			other.open(t, w)
			gone.next = now.Add(time.Microsecond)
			fail := func(what string) { t.Errorf("the tenant that left got a %s", what) }
			gone.datagram = func(mono.Time, *pkt.Datagram) { fail("datagram") }
			gone.timeout = func(mono.Time) { fail("timeout") }
			gone.transmit = func(mono.Time, *pkt.Batch) bool { fail("turn"); return false }
			gone.lease.Touch()
			gone.lease.Post(func(mono.Time) { fail("post") })
			gone.lease.End()
			gone.lease.End()
			gone.lease.Touch()
			gone.lease.Close(to.Socket)
			if _, _, err := gone.lease.Open(udp.Config{Local: w.local}); !errors.Is(err, ErrClosed) {
				t.Errorf("Open after End: %v", err)
			}
			other.lease.Close(to.Socket)
		})
		w.settle()
		if c := l.Counters(); c.Tenants != 1 || c.Sockets != 1 || c.Timers != 0 {
			t.Errorf("counters %+v", c)
		}
	})
}

func TestOpenFailureGivesTheNameBack(t *testing.T) {
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }})
	defer l.Close()
	a := &actor{}
	attach(t, l, a)
	do(t, l, func(mono.Time) {
		if _, _, err := a.lease.Open(udp.Config{}); err == nil {
			t.Error("a socket without an address was opened")
		}
	})
	if c := l.Counters(); c.Sockets != 0 {
		t.Errorf("%d sockets are open", c.Sockets)
	}
}

// Names are small, and one that was freed rests until many others were taken.
func TestNamesAreSmallAndRest(t *testing.T) {
	var table sockets
	lease := &Lease{}
	freed := map[pkt.Socket]int{}
	var open []pkt.Socket
	for i := range 10_000 {
		if len(open) < 100 || i%3 > 0 && len(open) < 900 {
			name, err := table.add(lease, nil)
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := freed[name]; ok && i-at < resting {
				t.Fatalf("name %d was taken again after %d steps", name, i-at)
			}
			if table.get(name) == nil || name > 4096 {
				t.Fatalf("name %d of %d open", name, len(open))
			}
			open = append(open, name)
			continue
		}
		k := i * 7919 % len(open)
		name := open[k]
		open = slices.Delete(open, k, k+1)
		table.remove(name)
		freed[name] = i
		if table.get(name) != nil {
			t.Fatalf("name %d is free and open", name)
		}
	}
	if table.open != len(open) || len(lease.sockets) != len(open) {
		t.Errorf("%d open, the table says %d, the lease %d", len(open), table.open, len(lease.sockets))
	}
	for _, name := range []pkt.Socket{-1, -100, 1 << 30} {
		if table.get(name) != nil {
			t.Errorf("name %d is open", name)
		}
	}
}

func TestClosedLoop(t *testing.T) {
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		a := &actor{}
		attach(t, l, a)
		do(t, l, func(mono.Time) { a.open(t, w) })
		ran := 0
		for range 100 {
			l.Post(func(mono.Time) { ran++ })
		}
		l.Close()
		if ran != 100 {
			t.Errorf("%d of 100 posts ran before the end", ran)
		}
		if l.Post(func(mono.Time) { t.Error("a post ran after the end") }) {
			t.Error("a closed loop took a post")
		}
		if err := l.Do(func(mono.Time) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("Do: %v", err)
		}
		if c := l.Counters(); c.Posts < 100 || c.Tenants != 0 || c.Sockets != 0 {
			t.Errorf("counters %+v", c)
		}
		l.Close()
	})
}

func TestJobsComeBackAsPosts(t *testing.T) {
	pool := NewJobs(2, 3)
	l, err := New(Config{Poller: NewMailbox(Readers{}), Jobs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := &actor{}
	attach(t, l, a)

	const workers, waiting = 2, 3
	begun, hold := make(chan struct{}, workers), make(chan struct{})
	done := make(chan struct{})
	results := 0
	submit := func() bool {
		return a.lease.Submit(func() func(mono.Time) {
			begun <- struct{}{}
			<-hold
			return func(mono.Time) {
				if results++; results == workers+waiting {
					close(done)
				}
			}
		})
	}
	do(t, l, func(mono.Time) {
		for range workers {
			if !submit() {
				t.Error("an idle pool refused a job")
			}
		}
	})
	for range workers {
		<-begun
	}
	do(t, l, func(mono.Time) {
		for range waiting {
			if !submit() {
				t.Error("the queue refused a job too early")
			}
		}
		if submit() {
			t.Error("the queue took a job too many")
		}
	})
	close(hold)
	for range waiting {
		<-begun
	}
	await(t, done, "every result")
	do(t, l, func(mono.Time) {
		if !a.lease.Submit(func() func(mono.Time) { return nil }) {
			t.Error("the pool is still full")
		}
	})
}

// Close leaves no goroutine: it waits for the jobs that run.
func TestCloseWaitsForJobs(t *testing.T) {
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }, local: loopback})
	a := &actor{}
	attach(t, l, a)
	begun, hold, ended := make(chan struct{}), make(chan struct{}), false
	do(t, l, func(mono.Time) {
		a.lease.Submit(func() func(mono.Time) {
			close(begun)
			<-hold
			ended = true
			return nil
		})
	})
	await(t, begun, "the job")
	do(t, l, func(mono.Time) { close(hold) })
	l.Close()
	if !ended {
		t.Error("Close did not wait for the job")
	}
}

// Whoever waits in Do goes on when the tenants that it touched were drained.
func TestDoWaitsForTheEndOfTheTurn(t *testing.T) {
	l := start(t, world{poller: func() Poller { return NewMailbox(Readers{}) }, local: loopback})
	defer l.Close()
	drained := false
	a := &actor{transmit: func(mono.Time, *pkt.Batch) bool { drained = true; return false }}
	attach(t, l, a)
	for range 100 {
		do(t, l, func(mono.Time) { drained = false; a.lease.Touch() })
		if !drained {
			t.Fatal("Do returned before the tenant had its turn")
		}
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for name, poller := range systemPollers(t) {
		t.Run(name, func(t *testing.T) {
			w := world{poller: poller, local: loopback}
			l := start(t, w)
			defer l.Close()
			p := newPingPong(t, l, w, 32)
			p.play(t, 1000)                                                       // buffers grow to their size
			if n := testing.AllocsPerRun(20, func() { p.play(t, 1000) }); n > 5 { // what Do itself needs
				t.Errorf("%v allocations for 1000 datagrams", n)
			}
		})
	}
}

// pingPong is two tenants that send each other a number of datagrams at a time, for as long as asked.
type pingPong struct {
	l           *Loop
	left, right *actor
	serve       pkt.Transmit
	flight      int
	todo        int
	done        chan struct{}
}

func newPingPong(t testing.TB, l *Loop, w world, flight int) *pingPong {
	p := &pingPong{l: l, left: &actor{}, right: &actor{}, flight: flight, done: make(chan struct{}, 1)}
	answer := func(a *actor) func(mono.Time, *pkt.Datagram) {
		return func(_ mono.Time, d *pkt.Datagram) {
			switch p.todo--; {
			case p.todo >= p.flight:
				a.lease.Batch().Append(pkt.Transmit{Path: d.Path, Payload: d.Payload})
			case p.todo == 0:
				p.done <- struct{}{}
			}
		}
	}
	p.left.datagram, p.right.datagram = answer(p.left), answer(p.right)
	attach(t, l, p.left)
	attach(t, l, p.right)
	do(t, l, func(mono.Time) {
		p.serve.Socket, _ = p.left.open(t, w)
		_, p.serve.Remote = p.right.open(t, w)
		p.serve.Payload = make([]byte, 1200)
	})
	return p
}

// play lets n datagrams, a multiple of the flight, be received.
func (p *pingPong) play(t testing.TB, n int) {
	n = (n + p.flight - 1) / p.flight * p.flight
	do(t, p.l, func(mono.Time) {
		p.todo = n
		for range p.flight {
			p.left.lease.Batch().Append(p.serve)
		}
	})
	<-p.done
}
