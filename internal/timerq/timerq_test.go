package timerq_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The queue against the simplest model of it: a map of deadlines.
func TestQueueAgreesWithAModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 0))
		var q timerq.Queue[int]
		timers := make([]timerq.Timer[int], 60)
		for i := range timers {
			timers[i].Owner = i
		}
		model := map[int]mono.Time{}
		now := mono.Time(0)
		for step := range 2000 {
			i := r.IntN(len(timers))
			switch r.IntN(5) {
			case 0, 1, 2:
				at := now + mono.Time(r.IntN(40)) - 5
				q.Set(&timers[i], at)
				model[i] = at
			case 3:
				if r.IntN(2) == 0 {
					q.Stop(&timers[i])
				} else {
					q.Set(&timers[i], mono.Never)
				}
				delete(model, i)
			case 4:
				now += mono.Time(r.IntN(10))
				last := mono.Time(-1 << 62)
				for {
					due := q.Next()
					owner, ok := q.PopDue(now)
					if !ok {
						break
					}
					if at, running := model[owner]; !running || at != due || at > now || at < last {
						t.Fatalf("seed %d step %d: %d came at %d, set for %d (running %v), now %d", seed, step, owner, due, at, running, now)
					}
					last = due
					delete(model, owner)
				}
			}
			next := mono.Never
			for _, at := range model {
				next = mono.Min(next, at)
			}
			if q.Next() != next || q.Len() != len(model) {
				t.Fatalf("seed %d step %d: next %d of %d timers, want %d of %d", seed, step, q.Next(), q.Len(), next, len(model))
			}
			want, running := model[i]
			if !running {
				want = mono.Never
			}
			if got := q.Deadline(&timers[i]); got != want {
				t.Fatalf("seed %d step %d: deadline %d, want %d", seed, step, got, want)
			}
		}
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var q timerq.Queue[int]
	timers := make([]timerq.Timer[int], 1000)
	now := mono.Time(0)
	if n := testing.AllocsPerRun(100, func() {
		for i := range timers {
			q.Set(&timers[i], now+mono.Time(i*7919%1000))
		}
		now += 1000
		for ok := true; ok; {
			_, ok = q.PopDue(now)
		}
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func BenchmarkMove(b *testing.B) {
	var q timerq.Queue[int]
	timers := make([]timerq.Timer[int], 10_000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range timers {
		q.Set(&timers[i], mono.Time(r.Int64N(int64(time.Second))))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.Set(&timers[i%len(timers)], mono.Time(r.Int64N(int64(time.Second))))
	}
}

func ExampleQueue() {
	type session struct {
		name  string
		timer timerq.Timer[*session]
	}
	var q timerq.Queue[*session]
	for i, name := range []string{"ada", "grace"} {
		s := &session{name: name}
		s.timer.Owner = s
		q.Set(&s.timer, mono.Time(0).Add(time.Duration(2-i)*time.Second))
	}
	for q.Len() > 0 {
		now := q.Next()
		for s, ok := q.PopDue(now); ok; s, ok = q.PopDue(now) {
			fmt.Println(time.Duration(now), s.name)
		}
	}
	// Output:
	// 1s grace
	// 2s ada
}
