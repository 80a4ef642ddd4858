package sctp

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/parley-rtc/parley/protocol/mono"
)

// steady returns a pair that is warm and a function that sends one message of n bytes and delivers it. If unruly, one packet
// in eight is late.
func steady(t testing.TB, n int, interleaved, unruly bool) func() {
	a, b := quietPair(t, 10, func(cfg *Config) { cfg.NoInterleaving = !interleaved })
	now := mono.Time(2e9)
	id, err := a.Open(now, ChannelConfig{})
	if err != nil {
		t.Fatal(err)
	}
	now = settle(t, now, a, b)
	data := make([]byte, n)
	buf, late := make([]byte, 0, 1500), make([]byte, 0, 1500)
	ends := [2]*Association{a, b}
	packets := 0
	once := func() {
		if err := a.Send(now, id, false, data); err != nil {
			t.Fatal(err)
		}
		for came := false; !came; {
			now = now.Add(1e6)
			for i, e := range ends {
				if e.NextTimeout() <= now {
					e.HandleTimeout(now)
				}
				for {
					p := e.AppendPacket(buf, now)
					if len(p) == 0 {
						break
					}
					if packets++; unruly && i == 0 && packets%8 == 0 && len(late) == 0 {
						late = append(late, p...)
						continue
					}
					ends[1-i].HandlePacket(now, p)
				}
				if i == 0 && len(late) > 0 {
					b.HandlePacket(now, late)
					late = late[:0]
				}
				for {
					ev, ok := ends[1-i].NextEvent()
					if !ok {
						break
					}
					if ev.Kind == Message {
						ends[1-i].Consume(len(ev.Data))
						came = true
					}
				}
			}
		}
	}
	for range min(500, max(64, 16<<20/n)) { // until every pool is full
		once()
	}
	return once
}

// In the steady state messages cost no allocation, and next to none where the path changes the order.
func TestMessagesDoNotAllocate(t *testing.T) {
	runs := func(n int) int { return min(200, max(20, 4<<20/n)) }
	for _, interleaved := range []bool{false, true} {
		for _, n := range []int{1, 64, 200, 1024, 1200, 16 << 10, 64 << 10, 256 << 10} {
			if got := testing.AllocsPerRun(runs(n), steady(t, n, interleaved, false)); got != 0 {
				t.Errorf("interleaved %v: a message of %d bytes allocates %v times", interleaved, n, got)
			}
		}
		for _, n := range []int{1024, 16 << 10, 64 << 10} {
			if got := testing.AllocsPerRun(runs(n), steady(t, n, interleaved, true)); got > 2 {
				t.Errorf("interleaved %v, unruly: a message of %d bytes allocates %v times", interleaved, n, got)
			}
		}
	}
}

func BenchmarkMessage(b *testing.B) {
	for _, n := range []int{64, 1 << 10, 16 << 10, 64 << 10} {
		for _, interleaved := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dB/interleaved=%v", n, interleaved), func(b *testing.B) {
				once := steady(b, n, interleaved, false)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					once()
				}
			})
		}
	}
}

// An association that has nothing to do holds little, and a channel next to nothing.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the heap")
	}
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const pairs, channels = 50, 2000
	var all []*Association
	before := heap()
	for range pairs {
		a, b := quietPair(t, 2*channels)
		id, err := a.Open(1e9, ChannelConfig{Label: "x"})
		if err != nil {
			t.Fatal(err)
		}
		now := settle(t, 1e9, a, b)
		for range 100 {
			a.Send(now, id, false, make([]byte, 1000))
		}
		now = settle(t, now, a, b)
		for now < 200e9 { // a few heartbeats later
			now = min(a.NextTimeout(), b.NextTimeout())
			a.HandleTimeout(now)
			b.HandleTimeout(now)
			now = settle(t, now, a, b)
		}
		all = append(all, a, b)
	}
	each := (heap() - before) / len(all)
	if each > 4096 {
		t.Errorf("an idle association holds %d bytes", each)
	}
	before = heap()
	a, b := all[0], all[1]
	now := mono.Time(300e9)
	for range channels {
		if _, err := a.Open(now, ChannelConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	now = settle(t, now, a, b)
	for now < 500e9 {
		now = min(a.NextTimeout(), b.NextTimeout())
		a.HandleTimeout(now)
		b.HandleTimeout(now)
		now = settle(t, now, a, b)
	}
	one := (heap() - before) / (2 * channels)
	if one > 300 {
		t.Errorf("an idle channel holds %d bytes", one)
	}
	t.Logf("an idle association holds %d bytes, a channel %d", each, one)
	runtime.KeepAlive(all)
}
