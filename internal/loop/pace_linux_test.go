package loop

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A loop may wait up to 200 us before it reads when it is under load, so that a batch forms, and never when it is idle.
// The test plays what a loop would see: arrivals, each turn taking what has come, naps delaying turns.
func TestNapsAreForLoadOnly(t *testing.T) {
	const us = mono.Time(time.Microsecond)
	for _, c := range []struct {
		name     string
		interval mono.Time // between arrivals, or if waits, between a turn and the next arrival
		burst    int       // datagrams of an arrival
		waits    bool      // the next arrival is an answer to the turn
		busy     bool      // the machine wakes nobody in time
		naps     [2]int    // least and most, of 1000 turns
	}{
		{"40,000 a second, evenly", 25 * us, 1, false, false, [2]int{900, 1000}},
		{"15,000 a second, evenly", 66 * us, 1, false, false, [2]int{900, 1000}},
		{"5,000 a second, evenly", 200 * us, 1, false, false, [2]int{0, 0}},
		{"40,000 a second in bursts of eight", 200 * us, 8, false, false, [2]int{0, 10}}, // they are batches already
		{"a video of 30 frames of 8 a second", 33_000 * us, 8, false, false, [2]int{0, 0}},
		{"one at a time and its answer", 10 * us, 1, true, false, [2]int{1, 50}},
		{"32 at a time and their answers", 50 * us, 32, true, false, [2]int{0, 10}},
		{"40,000 a second on a busy machine", 25 * us, 1, false, true, [2]int{1, 50}},
		{"idle", 1_000_000 * us, 1, false, false, [2]int{0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p pace
			now := mono.Time(time.Hour)
			next := now // arrival
			naps := 0
			for turn := range 1100 {
				if p.shouldNap(now, mono.Never) {
					now += mono.Time(napTotal)
					p.overslept = c.busy
					if turn >= 100 {
						naps++
					}
				}
				now = max(now, next)
				n := 0
				for ; next <= now; n += c.burst {
					if c.waits {
						next = now + c.interval
					} else {
						next += c.interval
					}
				}
				p.received(now, n)
				now += 2 * us
			}
			if naps < c.naps[0] || naps > c.naps[1] {
				t.Errorf("%d naps in 1000 turns, want %d to %d", naps, c.naps[0], c.naps[1])
			}
		})
	}
}

func TestNoNapBeyondATimer(t *testing.T) {
	var p pace
	now := mono.Time(time.Hour)
	for range 100 {
		now = now.Add(25 * time.Microsecond)
		p.received(now, 1)
	}
	for range napSkip + 1 {
		if p.shouldNap(now, now.Add(napTotal)) {
			t.Fatal("a nap until after the timer")
		}
	}
	p.shouldNap(now, mono.Never) // which may be one that is left out
	if !p.shouldNap(now, now.Add(napTotal+1)) {
		t.Error("no nap although the timer is later")
	}
}
