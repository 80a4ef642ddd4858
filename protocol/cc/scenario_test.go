package cc

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// The scenarios in virtual time: a round trip of 50 ms and a queue of 32 KB that drops at its tail, unless said. Rates are those on
// the wire. CC_TRACE=1 prints what the controller of the first seed does.
const seeds = 3

func sec(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func newLink(w *world, r Rate) *link {
	return &link{world: w, rate: r, queue: 32 << 10, delay: 25 * time.Millisecond}
}

func (l *link) becomes(r Rate, at time.Duration) { l.world.at(began.Add(at), func() { l.rate = r }) }

// eachSeed runs a scenario, each time with other noise.
func eachSeed(t *testing.T, run func(t *testing.T, w *world, trace func(*flow))) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			trace := func(*flow) {}
			if seed == 0 && os.Getenv("CC_TRACE") != "" {
				trace = func(f *flow) { f.trace = tracer(f) }
			}
			run(t, newWorld(seed), trace)
		})
	}
}

func tracer(f *flow) func() {
	var last time.Duration
	return func() {
		const every = 500 * time.Millisecond
		if f.elapsed()-last < every {
			return
		}
		last = f.elapsed()
		s := f.c.Stats()
		fmt.Printf("%6.2f s target %5d, by delay %5d, by loss %5d, arrives %5d, capacity %5.0f, queue %3d ms, found %3d ms, rtt %3d ms, trend %6.1f of %5.1f, loss %.3f, limited %v, probes %d, overuse %d, queued %d\n",
			f.elapsed().Seconds(), s.Target/1000, f.c.aimd.rate/1000, f.c.losses.limit/1000, s.Arrives/1000, f.c.aimd.capacity.mean,
			f.l.queueing().Milliseconds(), s.Queue.Milliseconds(), s.RTT.Milliseconds(), f.c.trend.modified, f.c.trend.threshold, s.Loss, s.Limited, s.Probes, s.Overuse, s.Queued)
	}
}

func atLeast(t *testing.T, what string, got, least Rate) {
	t.Helper()
	t.Logf("%s: %d kbit/s", what, got/kbit)
	if got < least {
		t.Errorf("%s: %d kbit/s, want at least %d", what, got/kbit, least/kbit)
	}
}

func atMost(t *testing.T, what string, got, most Rate) {
	t.Helper()
	t.Logf("%s: %d kbit/s", what, got/kbit)
	if got > most {
		t.Errorf("%s: %d kbit/s, want at most %d", what, got/kbit, most/kbit)
	}
}

// "After a drop the rate is within the link in 1 s and queueing delay back below 100 ms in 3 s; 85 % of 2 Mbit/s again within 10 s."
func TestDropAndRecovery(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		f := newFlow(w, l, Config{})
		trace(f)
		f.start()
		l.becomes(500*kbit, sec(30))
		l.becomes(2*mbit, sec(60))
		w.run(sec(33))
		if q := l.queueing(); q > 100*time.Millisecond {
			t.Errorf("the queue is %v long 3 s after the drop", q)
		}
		w.run(sec(90))
		atLeast(t, "from the 2nd to the 30th second", f.got(sec(2), sec(30)), 2*mbit*85/100)
		atMost(t, "sent in the 2nd second after the drop", f.sent(sec(31), sec(32)), 500*kbit)
		atLeast(t, "5 s after the drop", f.got(sec(35), sec(60)), 500*kbit*85/100)
		atLeast(t, "10 s after recovery", f.got(sec(70), sec(90)), 2*mbit*85/100)
		atLeast(t, "in the 10th second after recovery", f.got(sec(69), sec(70)), 2*mbit*80/100) // an encoder's frames vary
		if f.worstQueue > longestQueue+20*time.Millisecond {
			t.Errorf("packets waited %v in the pacer", f.worstQueue)
		}
	})
}

// "In the steady state at least 85 % of the link is used; 10 % random loss alone does not halve the rate."
func TestSteadyState(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(l *link)
		least float64
	}{
		{"2 Mbit/s", func(l *link) {}, 0.85},
		{"500 kbit/s", func(l *link) { l.rate = 500 * kbit }, 0.85},
		{"8 Mbit/s", func(l *link) { l.rate = 8 * mbit }, 0.85},
		{"20 Mbit/s", func(l *link) { l.rate, l.queue = 20*mbit, 128<<10 }, 0.85},
		{"jitter of 30 ms", func(l *link) { l.jitter = 30 * time.Millisecond }, 0.85},
		{"jitter of 30 ms that reorders", func(l *link) { l.jitter, l.swap = 30*time.Millisecond, true }, 0.85},
		{"a queue of five packets", func(l *link) { l.queue = 6 << 10 }, 0.85},
		{"a queue of 200 KB", func(l *link) { l.queue = 200 << 10 }, 0.85},
		{"a round trip of 200 ms", func(l *link) { l.delay = 100 * time.Millisecond }, 0.85},
		{"100 kbit/s", func(l *link) { l.rate = 100 * kbit }, 0.85},
		{"2 % loss", func(l *link) { l.loss = 0.02 }, 0.85},
		{"5 % loss at 500 kbit/s", func(l *link) { l.rate, l.loss = 500*kbit, 0.05 }, 0.85},
		{"10 % loss", func(l *link) { l.loss = 0.1 }, 0.85},
		{"10 % loss at 5 Mbit/s", func(l *link) { l.rate, l.loss = 5*mbit, 0.1 }, 0.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
				l := newLink(w, 2*mbit)
				c.set(l)
				f := newFlow(w, l, Config{})
				trace(f)
				f.start()
				end := sec(60)
				if l.rate > 5*mbit {
					end = sec(15) // many packets say as much in less time
				}
				w.run(end)
				atLeast(t, "in the last two thirds", f.got(end/3, end), l.rate.times(c.least))
				if s := f.c.Stats(); float64(s.PacketsLost) > (l.loss*1.2+0.08)*float64(s.PacketsSent) {
					t.Errorf("%d of %d packets were lost", s.PacketsLost, s.PacketsSent)
				}
			})
		})
	}
}

// "A CUBIC flow on 4 Mbit/s (ours keeps at least a quarter over 60 s)." So it does where the other was first, and where the queue is deep.
func TestBesideCubic(t *testing.T) {
	for _, c := range []struct {
		name         string
		queue        int
		ours, theirs float64 // begin after so many seconds
		ends         float64
		least        Rate // of ours
	}{
		{"after us", 32 << 10, 0, 5, 65, mbit},
		{"before us", 32 << 10, 5, 0, 35, mbit},
		{"before us, a deep queue", 200 << 10, 5, 0, 35, mbit * 8 / 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
				l := newLink(w, 4*mbit)
				l.queue = c.queue
				f := newFlow(w, l, Config{})
				trace(f)
				w.at(began.Add(sec(c.ours)), f.start)
				other := newCubic(w, l)
				w.at(began.Add(sec(c.theirs)), other.push)
				w.run(sec(c.ends))
				atLeast(t, "ours", f.got(sec(5), sec(c.ends)), c.least)
				atLeast(t, "CUBIC", between(other.gotBySec, sec(5), sec(c.ends)), 1*mbit)
			})
		})
	}
}

// "Two equal flows share within 60 to 40 over the second of two minutes."
func TestTwoFlowsShare(t *testing.T) {
	for _, later := range []float64{0, 10} {
		t.Run(fmt.Sprint("the second begins after ", later, " s"), func(t *testing.T) {
			eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
				l := newLink(w, 2*mbit)
				f, g := newFlow(w, l, Config{}), newFlow(w, l, Config{})
				trace(f)
				f.start()
				w.at(began.Add(sec(later)), g.start)
				w.run(sec(120))
				a, b := f.got(sec(60), sec(120)), g.got(sec(60), sec(120))
				atLeast(t, "both", a+b, 2*mbit*85/100)
				atLeast(t, "the first", a, (a + b).times(0.4))
				atLeast(t, "the second", b, (a + b).times(0.4))
			})
		})
	}
}

// "Application-limited source for 60 s (the estimate stays sane, then is proved by probing)."
func TestApplicationLimited(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		f := newFlow(w, l, Config{})
		f.most = 300 * kbit
		f.c.SetWanted(w.now, 2500*kbit, 0)
		trace(f)
		f.start()
		w.run(sec(60))
		atLeast(t, "the estimate", f.c.Target(), 1*mbit)
		atMost(t, "the estimate", f.c.Target(), 2*mbit*11/10)
		atMost(t, "probes and source", f.sent(sec(30), sec(60)), 350*kbit)
		f.most = 0
		w.run(sec(80))
		atLeast(t, "when there is more to send", f.got(sec(62), sec(80)), 2*mbit*85/100)
	})
}

// "Media and data share one connection without starving each other."
func TestMediaBesideData(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		f := newFlow(w, l, Config{})
		trace(f)
		streams := []Stream{one(Low, 50*kbit, 3*mbit), one(Low, 50*kbit, 100*mbit)} // video, and a file
		allocate := func() {
			wanted, _ := Allocate(f.c.Target(), streams)
			f.most = streams[0].Rate
			f.c.SetOtherRate(w.now, streams[1].Rate)
			f.c.SetWanted(w.now, wanted, 0)
		}
		next := f.trace
		f.trace = func() {
			allocate()
			if next != nil {
				next()
			}
		}
		allocate()
		f.start()
		data := 0
		var send func()
		send = func() {
			for f.c.OtherAt(w.now) <= w.now {
				f.c.Other(w.now, 1200)
				l.send(1200, func(bool) {
					if w.elapsed() > sec(20) {
						data += 1200
					}
				})
			}
			w.at(f.c.OtherAt(w.now), send)
		}
		w.after(time.Second, send)
		w.run(sec(60))
		video, file := f.got(sec(20), sec(60)), rateOf(data, sec(40))
		atLeast(t, "both", video+file, 2*mbit*80/100)
		atLeast(t, "video", video, (video + file).times(0.4))
		atLeast(t, "the file", file, (video + file).times(0.4))
		if q := l.queueing(); q > 100*time.Millisecond {
			t.Errorf("the queue is %v long", q)
		}
	})
}
