package ice_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// idle returns two agents that are connected directly and have let go of all pairs but one, and the time.
func idle(t testing.TB, hasher *stun.Hasher, seed uint64) (a, b *ice.Agent, now mono.Time) {
	made := func(role ice.Role, seed uint64) *ice.Agent {
		a, err := ice.New(ice.Config{Role: role, Entropy: entropy(seed), Hasher: hasher})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a, b = made(ice.Controlling, seed), made(ice.Controlled, seed+1)
	introduce(t, 0, a, b)
	for _, x := range []struct {
		from, to *ice.Agent
		host     string
		seen     string
	}{{a, b, "192.0.2.1:4000", "198.51.100.1:4000"}, {b, a, "192.0.2.2:5000", "198.51.100.2:5000"}} {
		offer(0, x.from, x.to, ice.Candidate{Address: addr(x.host)})
		offer(0, x.from, x.to, ice.Candidate{Type: ice.ServerReflexive, Address: addr(x.seen), Related: addr(x.host)})
		x.from.EndOfLocalCandidates(0)
		x.to.EndOfRemoteCandidates(0)
	}
	batch := pkt.NewBatch(1<<16, 64)
	for now < mono.Time(8*time.Second) {
		talk(a, b, batch, now)
		for e, ok := a.NextEvent(); ok; e, ok = a.NextEvent() {
			_ = e
		}
		for e, ok := b.NextEvent(); ok; e, ok = b.NextEvent() {
			_ = e
		}
		now = mono.Min(a.NextTimeout(), b.NextTimeout())
		a.HandleTimeout(now)
		b.HandleTimeout(now)
	}
	if a.State() != ice.StateCompleted || b.State() != ice.StateCompleted || len(a.Pairs()) != 1 || len(b.Pairs()) != 1 {
		t.Fatalf("%v and %v, %d and %d pairs", a.State(), b.State(), len(a.Pairs()), len(b.Pairs()))
	}
	return a, b, now
}

// talk carries what two agents send, until they are silent.
func talk(a, b *ice.Agent, batch *pkt.Batch, now mono.Time) (messages int) {
	for quiet := false; !quiet; {
		quiet = true
		for _, x := range [2][2]*ice.Agent{{a, b}, {b, a}} {
			batch.Reset()
			x[0].AppendTransmit(now, batch)
			for _, tr := range batch.Transmits() {
				quiet = false
				messages++
				d := pkt.Datagram{Path: pkt.Path{Local: tr.Remote, Remote: tr.Local}, Payload: tr.Payload}
				x[1].HandleDatagram(now, &d)
			}
		}
	}
	return messages
}

// BenchmarkConsent is a consent check, its answer, and the processing of both: what each connection does each five seconds, in
// each direction.
func BenchmarkConsent(b *testing.B) {
	x, y, _ := idle(b, nil, 1)
	batch := pkt.NewBatch(1<<16, 64)
	messages := 0
	for b.Loop() {
		now := mono.Min(x.NextTimeout(), y.NextTimeout())
		x.HandleTimeout(now)
		y.HandleTimeout(now)
		messages += talk(x, y, batch, now)
	}
	b.ReportAllocs()
	b.ReportMetric(float64(messages)/float64(b.N), "messages/op")
}

// BenchmarkAnswer is a check that comes, and the answer to it.
func BenchmarkAnswer(b *testing.B) {
	f := forge(b, ice.Config{Role: ice.Controlled}, false)
	now := f.works()
	d := pkt.Datagram{Path: f.path, Payload: f.write(sheet{})}
	batch := pkt.NewBatch(1<<16, 64)
	b.ReportAllocs()
	for b.Loop() {
		f.agent.HandleDatagram(now, &d)
		batch.Reset()
		f.agent.AppendTransmit(now, batch)
	}
	if batch.Len() != 1 {
		b.Fatal("no answer")
	}
}

// BenchmarkIdlePoll is what a loop does to an agent that has nothing to do.
func BenchmarkIdlePoll(b *testing.B) {
	a, _, now := idle(b, nil, 1)
	batch := pkt.NewBatch(1<<16, 64)
	a.HandleTimeout(now) // a check of consent may be due
	a.AppendTransmit(now, batch)
	batch.Reset()
	b.ReportAllocs()
	for b.Loop() {
		a.HandleTimeout(now)
		a.AppendTransmit(now, batch)
		if _, ok := a.NextEvent(); ok || batch.Len() != 0 {
			b.Fatal("not idle")
		}
		now = min(now, a.NextTimeout())
	}
}

// BenchmarkData is what the agent costs each datagram of data, out and in.
func BenchmarkData(b *testing.B) {
	a, _, now := idle(b, nil, 1)
	path, _ := a.Path()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := a.Path(); !ok || !a.Knows(path) {
			b.Fatal("no path")
		}
		a.Sent(now)
		a.Heard(path)
	}
}

// BenchmarkConnect makes two agents with two candidates each, and connects them.
func BenchmarkConnect(b *testing.B) {
	hasher := stun.NewHasher()
	b.ReportAllocs()
	for b.Loop() {
		idle(b, hasher, 1)
	}
}

// An agent that is connected and idle takes at most 6 KiB.
func TestIdleSize(t *testing.T) {
	const pairs, most = 500, 6 << 10
	hasher := stun.NewHasher()
	kept := make([]*ice.Agent, 0, 2*pairs)
	size := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	sources := size() // every agent holds its entropy, which is the test's: measured apart
	e := make([]chacha, 2*pairs)
	for i := range e {
		e[i] = entropy(uint64(i))
	}
	entropySize := size() - sources
	runtime.KeepAlive(e)
	e = nil
	before := size()
	for i := range pairs {
		a, b, _ := idle(t, hasher, uint64(2*i))
		kept = append(kept, a, b)
	}
	each := int64(size()-before-entropySize) / (2 * pairs)
	t.Logf("%d bytes for each agent", each)
	if each > most || each <= 0 {
		t.Errorf("%d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(kept)
}

func TestConsentDoesNotAllocate(t *testing.T) {
	x, y, now := idle(t, nil, 1)
	batch := pkt.NewBatch(1<<16, 64)
	messages := 0
	if n := testing.AllocsPerRun(100, func() {
		now = mono.Min(x.NextTimeout(), y.NextTimeout())
		x.HandleTimeout(now)
		y.HandleTimeout(now)
		messages += talk(x, y, batch, now)
		for _, a := range [2]*ice.Agent{x, y} {
			if _, ok := a.NextEvent(); ok {
				t.Error("an event of an idle agent")
			}
		}
	}); n != 0 || messages < 200 {
		t.Errorf("%v allocations a check; %d messages", n, messages)
	}
}
