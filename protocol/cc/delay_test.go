package cc

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const msec = time.Millisecond

// draft-ietf-rmcat-gcc-02 section 5.2: packets within a burst time are one group, and groups are compared by their last packets.
func TestGroups(t *testing.T) {
	var g grouper
	type packet struct{ sent, arrived time.Duration }
	var got [][2]time.Duration
	for _, p := range []packet{
		{0, 20}, {2, 22}, {4, 24}, // a burst
		{20, 40}, {23, 45},
		{40, 70},
		{60, 71}, // caught up with the one before, as when a radio channel lets two through at once: the same group
		{61, 71},
		{90, 110},
		{30, 111}, // of a group that is complete
		{120, 140},
	} {
		if s, a, ok := g.add(p.sent*msec, p.arrived*msec, 100); ok {
			got = append(got, [2]time.Duration{s / msec, a / msec})
		}
	}
	want := [][2]time.Duration{{19, 21}, {38, 26}, {29, 39}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestGroupsBeginAnewWhenAClockIsSet(t *testing.T) {
	var g grouper
	at := time.Duration(0)
	add := func(jump time.Duration) bool {
		at += 20 * msec
		_, _, ok := g.add(at, at+jump, 100)
		return ok
	}
	for range 5 {
		add(0)
	}
	add(time.Hour)
	if add(time.Hour) {
		t.Error("an hour between two groups was taken for a delay")
	}
	for range 3 {
		add(time.Hour)
	}
	if !add(time.Hour) {
		t.Error("groups are not compared again")
	}
	for range 3 + mostReordered {
		add(0)
	}
	if !add(0) {
		t.Error("groups are not compared again after a step back")
	}
}

// feed gives the detector groups that are sent every 20 ms and delayed by delay(i) ms.
func feed(d *trendline, n int, delay func(i int) float64, each func(i int)) {
	at := d.adapted
	last := delay(0)
	for i := range n {
		at += 20 * msec
		now := delay(i)
		d.update(20*msec, 20*msec+time.Duration((now-last)*1e6), at)
		last = now
		each(i)
	}
}

func TestTrendIsTheSlopeOfTheDelay(t *testing.T) {
	for _, perSecond := range []float64{0, 5, 50, -50, 400} { // ms of delay
		var d trendline
		feed(&d, 400, func(i int) float64 { return perSecond * float64(i) * 0.02 }, func(int) {})
		if want := perSecond / 1000; math.Abs(d.trend-want) > 0.02*math.Abs(want)+1e-9 {
			t.Errorf("%v ms a second: the trend is %v, want %v", perSecond, d.trend, want)
		}
	}
}

func TestOveruseIsFoundSoonAndEnds(t *testing.T) {
	var d trendline
	feed(&d, 100, func(int) float64 { return 0 }, func(i int) {
		if d.state != normal {
			t.Fatalf("state %d without any queue", d.state)
		}
	})
	found := -1
	feed(&d, 50, func(i int) float64 { return 4 * float64(i) }, func(i int) { // a fifth more than passes
		if d.state == overusing && found < 0 {
			found = i
		}
	})
	if found < 0 || found > 15 {
		t.Errorf("a queue that grows by a fifth was found after %d groups", found)
	}
	under := false
	feed(&d, 50, func(i int) float64 { return -4 * float64(i) }, func(int) { under = under || d.state == underusing })
	if !under {
		t.Error("a queue that drains was not seen")
	}
	feed(&d, 100, func(int) float64 { return 0 }, func(int) {})
	if d.state != normal {
		t.Errorf("state %d after all has passed", d.state)
	}
}

// draft-ietf-rmcat-gcc-02 section 5.4: the threshold adapts to the variations, slowly upwards, and stays in its bounds.
func TestThresholdFollowsJitter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var d trendline
	feed(&d, 200, func(int) float64 { return 0 }, func(int) {})
	if d.threshold != thresholdLeast {
		t.Errorf("without jitter the threshold is %v", d.threshold)
	}
	over, most := 0, 0.0
	feed(&d, 3000, func(int) float64 { return 100 * rng.Float64() }, func(int) {
		most = max(most, d.threshold)
		if d.state == overusing {
			over++
		}
	})
	if most < 1.2*thresholdLeast || most > thresholdMost || over > 600 {
		t.Errorf("with jitter the threshold rises to %v, and %d of 3000 groups are overuse", most, over)
	}
}

func TestAckedRate(t *testing.T) {
	var a acked
	at := time.Duration(0)
	receive := func(r Rate, d time.Duration) {
		for end := at + d; at < end; at += r.Time(1200) {
			a.add(at, 1200)
		}
	}
	receive(mbit, 400*msec)
	if a.rate() != 0 {
		t.Errorf("%v after 400 ms: too soon", a.rate())
	}
	receive(mbit, 2*time.Second)
	near := func(want Rate) {
		t.Helper()
		if got := a.rate(); got < want*9/10 || got > want*11/10 {
			t.Errorf("%d, want %d", got, want)
		}
	}
	near(mbit)
	receive(300*kbit, 2*time.Second)
	near(300 * kbit)
	receive(2*mbit, 2*time.Second)
	near(2 * mbit)
	a.expectSurprise() // as after a probe
	receive(5*mbit, 500*msec)
	near(5 * mbit)
	receive(2*mbit, 2*time.Second)
	near(2 * mbit)
	at += 3 * time.Second // a pause says nothing
	receive(2*mbit, time.Second)
	near(2 * mbit)
}

func TestAIMD(t *testing.T) {
	const rtt = 100 * msec
	now := began
	grow := func(a *aimd, d time.Duration, arrives func() Rate) {
		for end := now.Add(d); now < end; now = now.Add(50 * msec) {
			a.update(now, normal, arrives(), rtt)
		}
	}
	a := aimd{rate: 10 * mbit}
	grow(&a, 5*time.Second, func() Rate { return a.rate })
	// "The multiplicative increase ... eta = 1.08^min(time_since_last_update_ms / 1000, 1.0)" - draft-ietf-rmcat-gcc-02 section 5.5.
	if want := Rate(10e6 * math.Pow(1.08, 4.95)); a.rate < want*99/100 || a.rate > want*101/100 {
		t.Errorf("after 5 s of unknown capacity %d, want %d", a.rate, want)
	}
	grow(&a, 5*time.Second, func() Rate { return 2 * mbit })
	if a.rate > 15*mbit {
		t.Errorf("%d, of which 2000000 arrive", a.rate)
	}

	a = aimd{rate: 2 * mbit}
	a.update(now, marked, 1900*kbit, rtt)
	if want := Rate(1900 * kbit).times(markedBackOff); a.rate != want || a.growing {
		t.Errorf("after a mark %d, want %d", a.rate, want)
	}

	a = aimd{rate: 2 * mbit}
	a.update(now, overusing, 1900*kbit, rtt)
	if want := Rate(1900 * kbit).times(backOff); a.rate != want {
		t.Errorf("after overuse %d, want %d", a.rate, want)
	}
	before := a.rate
	grow(&a, time.Second, func() Rate { return a.rate })
	// A frame of 1.7 Mbit/s is 6 packets of 1.2 kB: three of them a second in each response time of 200 ms.
	if got := a.rate - before; got < 115*kbit || got > 160*kbit {
		t.Errorf("in a second near the capacity it grew by %d", got)
	}
	if !a.capacity.known() || a.mayDecrease(now, a.rate) != (now.Sub(a.decreased) >= settleTime) {
		t.Error("the capacity is not known, or a decrease comes too soon")
	}
	a.update(now, overusing, 2500*kbit, rtt)
	if a.rate > before.times(1.2) {
		t.Errorf("overuse raised the rate to %d", a.rate)
	}
	if a.mayDecrease(now, a.rate) || !a.mayDecrease(now, a.rate/2) || !a.mayDecrease(now.Add(settleTime), a.rate) {
		t.Error("the next decrease must wait for the answer to this one, unless little arrives")
	}
	a.update(now, underusing, a.rate, rtt)
	held := a.rate
	now = now.Add(time.Second)
	a.update(now, underusing, a.rate, rtt)
	if a.rate != held {
		t.Error("it grows while the queue drains")
	}
	grow(&a, 4*time.Second, func() Rate { return 4 * mbit })
	if a.capacity.known() {
		t.Error("twice the capacity arrived, and it is not forgotten")
	}
}

func TestLeastRemembersTwoWindows(t *testing.T) {
	var l least
	now := began
	for _, c := range []struct {
		after time.Duration
		d     time.Duration
		want  time.Duration
	}{{0, 5, 5}, {1, 7, 5}, {1, 3, 3}, {9, 8, 3}, {9, 9, 3}, {2, 9, 8}, {12, 20, 9}} {
		now = now.Add(c.after * time.Second)
		l.add(now, c.d)
		if l.value() != c.want {
			t.Errorf("%v s: %v, want %v", now.Sub(began).Seconds(), l.value(), c.want)
		}
	}
}

// While a queue stands, the rate of arrivals is what the path bears, whatever was sent before.
func TestBusyPath(t *testing.T) {
	var p path
	now := began
	at := 100 * msec
	var queue time.Duration
	feedback := func(r Rate, grows time.Duration) {
		var results []result
		for range 5 {
			at += r.Time(1200)
			queue += grows
			results = append(results, result{sent: at - queue - 20*msec, arrived: at, size: 1200})
		}
		now = now.Add(50 * msec)
		p.measure(now, results, r)
	}
	feedback(2*mbit, 0)
	feedback(2*mbit, 0)
	if p.busy.rate() != 0 || p.queue != 0 {
		t.Errorf("no queue stands, but %v of %d", p.queue, p.busy.rate())
	}
	feedback(500*kbit, 20*msec)
	feedback(500*kbit, 20*msec)
	feedback(500*kbit, 20*msec)
	if r := p.busy.rate(); r < 490*kbit || r > 510*kbit || p.queue < 200*msec {
		t.Errorf("a queue of %v lets %d through, want 500000", p.queue, r)
	}
	if u, arrives := p.usage(now, overusing, 1800*kbit); u != overusing || arrives > 510*kbit {
		t.Errorf("state %d at %d: the average is from before the drop", u, arrives)
	}
	if u, arrives := p.usage(now, overusing, 450*kbit); u != overusing || arrives != 450*kbit {
		t.Errorf("state %d at %d: the average may be true", u, arrives)
	}
	if s := p.drain(now); s > 0.75 || s < 1-drainMost {
		t.Errorf("a queue of %v is drained by sending %v of the rate", p.queue, s)
	}
	// Decreases in vain: others fill the queue.
	sent := uint64(0)
	for _, rate := range []Rate{520 * kbit, 440 * kbit} {
		slowed := now
		p.slowsDown(now, 500*kbit, 500*kbit, sent)
		for range 5 {
			p.told = now
			feedback(500*kbit, 20*msec)
		}
		p.slowsDown(now, 440*kbit, 400*kbit, sent+uint64(rate.Bytes(now.Sub(slowed))))
		if obeyed := rate < 500*kbit; p.others > now != obeyed {
			t.Errorf("the queue grew while %d was sent of 500000 that passed; others are blamed: %v", rate, !obeyed)
		}
	}
	p.marked = true
	if u, _ := p.usage(now, normal, mbit); u != overusing {
		t.Error("a mark is no overuse")
	}
}

// A queue that stays as it is while so much less is sent than passed that it should be empty is others'; one that becomes shorter is ours.
func TestQueueThatDoesNotAnswer(t *testing.T) {
	for _, ours := range []bool{true, false} {
		p := path{queue: 300 * msec}
		now := began
		sent := uint64(0)
		p.slowsDown(now, mbit, mbit, sent)
		for i := 0; i < 20 && now >= p.others; i++ {
			now = now.Add(100 * msec)
			sent += uint64(Rate(mbit).times(p.drain(now)).Bytes(100 * msec))
			if ours {
				p.queue = max(0, p.queue-100*msec+Rate(mbit).Time(Rate(mbit).times(p.drain(now)).Bytes(100*msec)))
			}
			p.relieve(now, sent)
		}
		if blamed := now < p.others; blamed == ours {
			t.Errorf("our own queue: %v; others are blamed: %v", ours, blamed)
		}
		if u, _ := p.usage(now, overusing, mbit); !ours && (u == overusing || p.drain(now) < 1) {
			t.Errorf("others' queue is answered by %v of the rate, state %d", p.drain(now), u)
		}
	}
}

func TestClockUnwraps(t *testing.T) {
	c := clock{}
	period := 64 * time.Second
	last := c.unwrap(60*time.Second, period)
	for _, step := range []time.Duration{3, 3, 31, 31, -2, 1} {
		raw := (c.raw + step*time.Second + period) % period
		if got := c.unwrap(raw, period); got-last != step*time.Second {
			t.Errorf("%v after %v, want %v", got, last, step*time.Second)
		} else {
			last = got
		}
	}
}

func TestLimitedByTheApplication(t *testing.T) {
	l := limited{last: began}
	now := began
	send := func(r Rate, d time.Duration) {
		for end := now.Add(d); now < end; now = now.Add(20 * msec) {
			l.update(now, mbit, r.Bytes(20*msec))
		}
	}
	send(mbit, 3*time.Second)
	if l.on {
		t.Error("limited at the full rate")
	}
	send(200*kbit, 2*time.Second)
	if !l.on || l.since <= mono.Time(began) {
		t.Error("not limited at a fifth of the rate")
	}
	send(700*kbit, 10*time.Second) // above the share: it ends
	if l.on {
		t.Error("still limited")
	}
}
