package loop

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
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
		{"40,000 a second in bursts of eight", 200 * us, 8, false, false, [2]int{900, 1000}},
		{"20,000 a second in bursts of eight", 400 * us, 8, false, false, [2]int{0, 0}},
		{"80,000 a second in bursts of sixteen", 200 * us, 16, false, false, [2]int{0, 0}}, // they are batches already
		{"a video of 30 frames of 8 a second", 33_000 * us, 8, false, false, [2]int{0, 0}},
		{"one at a time and its answer", 10 * us, 1, true, false, [2]int{1, 50}},
		{"8 at a time and their answers", 50 * us, 8, true, false, [2]int{1, 50}},
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
				p.received(now, n, false)
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
		p.received(now, 1, false)
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

func TestNoNapBeforeABacklog(t *testing.T) {
	var p pace
	now := mono.Time(time.Hour)
	for range 100 {
		now = now.Add(25 * time.Microsecond)
		p.received(now, 1, true)
	}
	for range napSkip + 2 {
		if p.shouldNap(now, mono.Never) {
			t.Fatal("a nap although more had come than was taken")
		}
	}
}

// A nap in which somebody posts is no good, however many datagrams came: nothing ends it, and the one who posted may wait.
func TestPostsEndNaps(t *testing.T) {
	p, err := NewEpoll(udp.Features{MMsg: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Shutdown()
	naps := 0
	for range 1000 {
		p.pace.datagrams, p.pace.elapsed, p.pace.plain, p.pace.last = 100, 1000, 1, clock() // as under load
		p.Park(mono.Never, func() bool { return false })
		if p.pace.napped {
			naps++
		}
		p.pace.received(clock(), 32, false)
	}
	if naps == 0 || naps > 50 {
		t.Errorf("%d naps of 1000, want a few", naps)
	}
}

// A nap takes as long as it should, whatever the system adds to what it is asked for; once in a while others have the
// processor, from which nothing is learnt.
func TestNapsAreAskedForByTheirEnd(t *testing.T) {
	for _, excess := range []time.Duration{0, 20 * time.Microsecond, 140 * time.Microsecond} {
		var p pace
		for i := range 100 {
			asked, adds := p.asked(), excess
			if i%10 == 9 {
				adds = 4 * time.Millisecond
			}
			p.slept(asked, asked+adds)
			if p.overslept != (i%10 == 9) {
				t.Fatalf("a nap of %v counts as overslept: %v", asked+adds, p.overslept)
			}
		}
		if got := p.asked() + excess; got < napTotal-time.Microsecond || got > napTotal+time.Microsecond {
			t.Errorf("the system adds %v: naps take %v, want %v", excess, got, napTotal)
		}
	}
	var p pace
	p.slept(napTotal, 2*napTotal)
	if got := p.asked(); got != napTotal/2 {
		t.Errorf("a system that adds more than a nap is asked for %v, want half of %v", got, napTotal)
	}
}
