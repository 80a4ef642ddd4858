package laws

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// seeds are what the laws are tried with, unless they say otherwise.
const seeds = 3

// sameBytes is law 1. Go visits a map in another order each time, so engines that depend on it give themselves away.
func sameBytes(s Subject) error {
	for seed := range uint64(seeds) {
		for _, r := range []route{{loss: 0.1}, {loss: 0.1, stacked: true}} {
			var first []string
			for again := range 4 {
				t := newTalk(s.New(seed), seed, r)
				if err := t.converse(); err != nil {
					return fmt.Errorf("seed %d: %w", seed, err)
				}
				if again == 0 {
					first = t.transcript
				} else if err := sameTranscript(first, t.transcript); err != nil {
					return fmt.Errorf("seed %d, run %d against the first: %w", seed, again+1, err)
				}
			}
			if len(first) == 0 {
				return fmt.Errorf("seed %d: the engine sent nothing and told nothing: there is nothing to compare", seed)
			}
		}
	}
	return nil
}

func sameTranscript(a, b []string) error {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Errorf("output %d differs:\n\t%s\n\t%s", i, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("%d outputs and %d outputs", len(a), len(b))
	}
	return nil
}

// timeoutsMoveOn is law 2. Loss and silence make every retransmission timer run; turn and drain look at each of them.
func timeoutsMoveOn(s Subject) error {
	for seed := range uint64(seeds) {
		for _, r := range []route{{spurious: true}, {loss: 0.3, spurious: true}, {cutPeer: true}} {
			t := newTalk(s.New(seed), seed, r)
			if err := t.converse(); err != nil {
				return fmt.Errorf("seed %d, loss %v, silence %v: %w", seed, r.loss, r.cutPeer, err)
			}
		}
	}
	return nil
}

// mutationsStack is law 3: all steps before the first drain, then a drain for every seventh input, come to the same end.
func mutationsStack(s Subject) error {
	for seed := range uint64(seeds) {
		for _, r := range []route{{}, {loss: 0.1}, {stacked: true}, {stacked: true, loss: 0.1}} {
			t := newTalk(s.New(seed), seed, r)
			if err := t.converse(); err != nil {
				return fmt.Errorf("seed %d, stacked %v, loss %v: %w", seed, r.stacked, r.loss, err)
			}
			if err := t.Done(); err != nil {
				return fmt.Errorf("seed %d, stacked %v, loss %v: not done after %v: %w", seed, r.stacked, r.loss, patience, err)
			}
		}
	}
	return nil
}

// idleIsFree is law 4.
func idleIsFree(s Subject) error {
	t := newTalk(s.New(0), 0, route{})
	if err := t.converse(); err != nil {
		return err
	}
	if n := testing.AllocsPerRun(100, func() { poll(t.Engine, t.now, t.batch) }); n != 0 {
		return fmt.Errorf("an idle poll allocates %v times", n)
	}
	if s.Crowd == nil {
		return nil
	}
	const few, many, allowed = 2, 2000, 10
	one, thousand := pollCost(s.Crowd, few), pollCost(s.Crowd, many)
	if thousand > allowed*max(one, 5*time.Nanosecond) {
		return fmt.Errorf("an idle poll costs %v with %d streams and %v with %d", one, few, thousand, many)
	}
	return nil
}

// pollCost returns what one idle poll takes. It is the least of many rounds, so that what else the machine does plays
// no part.
func pollCost(crowd func(int) (Engine, mono.Time), n int) time.Duration {
	e, now := crowd(n)
	b := pkt.NewBatch(1<<16, 16)
	least := time.Duration(math.MaxInt64)
	const polls = 100
	for range 200 {
		began := time.Now()
		for range polls {
			poll(e, now, b)
		}
		least = min(least, time.Since(began))
	}
	return least / polls
}

// poll is all that a driver does to an engine that has nothing to do.
func poll(e Engine, now mono.Time, b *pkt.Batch) {
	b.Reset()
	if e.NextTimeout() <= now {
		panic("laws: the engine is not idle: a timeout is due")
	}
	e.HandleTimeout(now)
	if e.AppendTransmit(now, b) || b.Len() > 0 {
		panic("laws: the engine is not idle: it has packets")
	}
	if _, ok := e.NextEvent(); ok {
		panic("laws: the engine is not idle: it has events")
	}
}

// fullBatchLosesNothing is law 5: batches that are full by bytes or by number give the packets of a roomy one.
func fullBatchLosesNothing(s Subject) error {
	for seed := range uint64(seeds) {
		var roomy []string
		size := s.New(seed).MaxPacket
		if size == 0 {
			size = defaultMaxPacket
		}
		for _, r := range []route{{}, {bytes: size, transmits: 64}, {bytes: 64 * size, transmits: 1}, {bytes: 3*size - 1, transmits: 3}} {
			r.stacked = true // so that there is much to drain at once
			t := newTalk(s.New(seed), seed, r)
			if err := t.converse(); err != nil {
				return fmt.Errorf("seed %d, a batch of %d bytes and %d packets: %w", seed, r.bytes, r.transmits, err)
			}
			if r.bytes == 0 {
				roomy = t.transcript
			} else if err := sameTranscript(roomy, t.transcript); err != nil {
				return fmt.Errorf("seed %d, a batch of %d bytes and %d packets against a roomy one: %w", seed, r.bytes, r.transmits, err)
			}
		}
	}
	return nil
}

// queuesAreBounded is law 6: neither a flood of calls nor one of input, none of it drained, makes the engine hold more
// than its bound.
func queuesAreBounded(s Subject) error {
	const flood = 50_000
	call := newTalk(s.New(1), 1, route{})
	if err := call.converse(); err != nil {
		return err
	}
	if call.Flood != nil {
		grown := heapGrowth(func() {
			for i := range flood {
				call.Flood(call.now, i)
			}
		})
		if grown > call.Bound {
			return fmt.Errorf("after %d calls of Flood the engine holds %d bytes more, the bound is %d", flood, grown, call.Bound)
		}
		runtime.KeepAlive(call)
	}

	input := newTalk(s.New(2), 2, route{})
	if err := input.converse(); err != nil {
		return err
	}
	if len(input.heard) == 0 {
		return nil
	}
	heard := input.heard
	buf := make([]byte, 0, 1<<16)
	grown := heapGrowth(func() {
		for i := range flood {
			d := heard[i%len(heard)]
			d.Payload = append(buf[:0], d.Payload...)
			if i%2 == 0 {
				input.tamperWith(&d)
			}
			input.lend(&d)
		}
	})
	if grown > input.Bound {
		return fmt.Errorf("after %d datagrams that nobody drained the engine holds %d bytes more, the bound is %d", flood, grown, input.Bound)
	}
	if err := input.drain(); err != nil {
		return fmt.Errorf("after the flood: %w", err)
	}
	runtime.KeepAlive(input)
	return nil
}

// heapGrowth returns how many more bytes are alive after f.
func heapGrowth(f func()) int {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int(after.HeapAlloc) - int(before.HeapAlloc)
}

// oneClosingEvent is law 7.
func oneClosingEvent(s Subject) error {
	for i := range s.New(0).Fatal {
		for _, talked := range []bool{false, true} {
			t := newTalk(s.New(0), 0, route{})
			if err := t.die(i, talked); err != nil {
				return fmt.Errorf("failed by Fatal[%d], after the conversation %v: %w", i, talked, err)
			}
		}
	}
	return nil
}

func (t *talk) die(way int, talked bool) error {
	var traffic []pkt.Datagram
	if talked {
		if err := t.converse(); err != nil {
			return err
		}
		traffic = t.heard
		if t.closed > 0 {
			return errors.New("the engine was closed by the conversation alone")
		}
	}
	t.Fatal[way](t.now)
	if err := t.settle(patience); err != nil {
		return err
	}
	switch {
	case t.closed != 1:
		return fmt.Errorf("there were %d closing events, not one", t.closed)
	case len(t.late) > 0:
		return fmt.Errorf("after the closing event came %v", t.late)
	case t.Engine.NextTimeout() != mono.Never:
		return fmt.Errorf("%v after the end a timer still runs", patience)
	}
	silent := len(t.transcript)
	for _, d := range append(traffic, pkt.Datagram{Path: pkt.Path{Local: subjectAddr, Remote: peerAddr}, Payload: []byte("knock")}) {
		d.Payload = slices.Clone(d.Payload)
		t.lend(&d)
		t.Engine.HandleTimeout(t.now)
		if err := t.drain(); err != nil {
			return err
		}
		if len(t.transcript) > silent {
			return fmt.Errorf("the closed engine answers a datagram: %s", t.transcript[silent])
		}
		if t.Engine.NextTimeout() != mono.Never {
			return errors.New("a datagram set a timer of the closed engine")
		}
	}
	return nil
}
