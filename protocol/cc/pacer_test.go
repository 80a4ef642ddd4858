package cc

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// pace lets a pacer send for a time; each is called for what leaves and returns the bytes that it takes.
func (p *pacer) run(from mono.Time, d time.Duration, pr *probe, each func(now mono.Time, r Release) int) (end mono.Time) {
	now := from
	for end := from.Add(d); now < end; {
		for {
			r, ok := p.next(now, pr)
			if !ok {
				break
			}
			if n := each(now, r); n > 0 {
				p.sent(now, n, r.Kind == Padding)
				if pr != nil && r.Cluster == pr.id {
					if pr.sent == 0 {
						pr.began = now
					}
					pr.sent += n
					pr.packets++
				}
			}
		}
		next := p.due(pr)
		if next <= now {
			panic("the pacer spins")
		}
		now = min(next, end)
	}
	return now
}

func TestPacerOrder(t *testing.T) {
	p := pacer{target: mbit, updated: began}
	for i, k := range []Kind{Video, FEC, Video, Retransmission, Audio, Retransmission, Audio} {
		p.push(began, k, uint64(i), 500)
	}
	var got []uint64
	p.run(began, time.Second, nil, func(_ mono.Time, r Release) int {
		got = append(got, r.Ref)
		return r.Size
	})
	want := []uint64{4, 6, 3, 5, 0, 1, 2}
	for i := range want {
		if len(got) != len(want) || got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

func TestPacerSpreadsInQuanta(t *testing.T) {
	for _, target := range []Rate{300 * kbit, 2 * mbit, 20 * mbit, 200 * mbit} {
		p := pacer{target: target, updated: began}
		n := target.Bytes(100*time.Millisecond) / 1200
		for i := range n {
			p.push(began, Video, uint64(i), 1200)
		}
		var times []mono.Time
		bursts := 0
		p.run(began, time.Second, nil, func(now mono.Time, r Release) int {
			if len(times) == 0 || times[len(times)-1] != now {
				bursts++
			}
			times = append(times, now)
			return r.Size
		})
		took := times[len(times)-1].Sub(times[0])
		if want := (target.times(headroom)).Time((n - 1) * 1200); took < want-mostQuantum-target.Time(1200) || took > want+mostQuantum {
			t.Errorf("%d kbit/s: %d packets in %v, want %v", target/kbit, n, took, want)
		}
		if most := int(took/leastQuantum) + 1; len(times) != n || bursts > most {
			t.Errorf("%d kbit/s: %d of %d packets in %d bursts, want at most %d", target/kbit, len(times), n, bursts, most)
		}
	}
}

// However much is queued at once, it leaves in bursts.
func TestPacerSpreadsAFlood(t *testing.T) {
	p := pacer{target: 300 * kbit, updated: began}
	for i := range 2048 {
		p.push(began, Video, uint64(i), 1000)
	}
	counts := map[mono.Time]int{}
	last := p.run(began, time.Second, nil, func(now mono.Time, r Release) int {
		counts[now]++
		return r.Size
	})
	most, sum := 0, 0
	for _, n := range counts {
		most, sum = max(most, n), sum+n
	}
	if most > 100 || sum != 2048 || last < began.Add(longestQueue/2) {
		t.Errorf("%d of 2048 packets left, at most %d at once", sum, most)
	}
}

// What is queued leaves within 250 ms, though it is too much for the rate.
func TestPacerKeepsQueuesShort(t *testing.T) {
	p := pacer{target: 100 * kbit, updated: began}
	pushed := map[uint64]mono.Time{}
	now := began
	next := uint64(0)
	worst := time.Duration(0)
	for range 60 { // frames of 500 kbit/s
		for range 2 {
			pushed[next] = now
			p.push(now, Video, next, 1040)
			next++
		}
		now = p.run(now, time.Second/30, nil, func(now mono.Time, r Release) int {
			worst = max(worst, now.Sub(pushed[r.Ref]))
			return r.Size
		})
	}
	if worst > longestQueue+20*time.Millisecond || worst < 100*time.Millisecond {
		t.Errorf("the longest wait is %v", worst)
	}
}

func TestPacerBound(t *testing.T) {
	p := pacer{target: mbit, updated: began}
	for i := range mostQueued + 10 {
		if ok := p.push(began, Video, uint64(i), 100); ok != (i < mostQueued) {
			t.Fatalf("packet %d: %v", i, ok)
		}
	}
	if !p.push(began, Audio, 0, 100) || p.dropped != 10 || p.packets != mostQueued+1 {
		t.Errorf("%d dropped, %d queued", p.dropped, p.packets)
	}
}

// Audio waits for nothing, and is paid for by the rest.
func TestPacerAudioIsCounted(t *testing.T) {
	p := pacer{target: 400 * kbit, updated: began}
	for i := range 10 {
		p.push(began, Video, uint64(i), 500)
	}
	now, video := began, 0
	for range 10 {
		p.push(now, Audio, 99, 1250) // 500 kbit/s: all there is
		at := now
		now = p.run(now, 20*time.Millisecond, nil, func(now mono.Time, r Release) int {
			if r.Kind == Audio && now != at {
				t.Errorf("audio waited for %v", now.Sub(at))
			}
			if r.Kind == Video {
				video++
			}
			return r.Size
		})
	}
	if video > 3 {
		t.Errorf("%d packets of video within 200 ms beside audio that takes it all", video)
	}
}

func TestPaddingFillsUp(t *testing.T) {
	for _, media := range []Rate{0, 100 * kbit, 280 * kbit, 600 * kbit} {
		p := pacer{target: mbit, padding: 300 * kbit, updated: began}
		now, total := began, 0
		for range 100 {
			if n := media.Bytes(20 * time.Millisecond); n > 0 {
				p.push(now, Video, 0, n)
			}
			now = p.run(now, 20*time.Millisecond, nil, func(_ mono.Time, r Release) int {
				total += r.Size
				return r.Size
			})
		}
		got := rateOf(total, 2*time.Second)
		if want := max(media, 300*kbit); got < want*95/100 || got > want*107/100 {
			t.Errorf("media of %d kbit/s and padding up to 300: %d", media/kbit, got/kbit)
		}
	}
	// Who has no padding is asked, and no more comes of it.
	p := pacer{target: mbit, padding: 300 * kbit, updated: began}
	asked := 0
	p.run(began, time.Second, nil, func(mono.Time, Release) int { asked++; return 0 })
	if asked == 0 || asked > 250 {
		t.Errorf("asked %d times in a second", asked)
	}
}

// A probe leaves at its own rate, of what is queued and of padding, and its packets say what passed.
func TestProbe(t *testing.T) {
	for _, c := range []struct{ rate, path, want Rate }{
		{900 * kbit, 100 * mbit, 900 * kbit}, {1800 * kbit, mbit, 950 * kbit}, {5 * mbit, 4900 * kbit, 4900 * kbit},
	} {
		p := pacer{target: 300 * kbit, updated: began}
		p.push(began, Video, 1, 1200)
		p.push(began, Audio, 2, 100)
		pr := probe{id: 7, rate: c.rate, asked: began}
		var found Rate
		free := mono.Time(0)
		p.run(began, 50*time.Millisecond, &pr, func(now mono.Time, r Release) int {
			if pr.complete() {
				return 0
			}
			if (r.Cluster == 7) != (r.Kind != Audio) {
				t.Fatalf("%+v", r)
			}
			n := min(r.Size, 1200)
			if r.Cluster == 7 {
				free = max(free, now).Add(c.path.Time(n))
				if got, ok := pr.arrived(now, time.Duration(free), n); ok {
					found = got
				}
			}
			return n
		})
		if !pr.complete() || found < c.want*93/100 || found > c.want*107/100 {
			t.Errorf("a probe at %d over %d found %d, want %d", c.rate, c.path, found, c.want)
		}
	}
}

func TestProbeThatCannotBeTrusted(t *testing.T) {
	now := began
	pr := probe{id: 1, rate: mbit}
	for i := range 10 { // all at once: an interface that holds packets back
		if got, ok := pr.arrived(now.Add(time.Duration(i)*10*time.Millisecond), time.Second+time.Duration(i), 1200); ok {
			t.Fatalf("it found %d", got)
		}
	}
	pr = probe{id: 1, rate: mbit}
	for i := range 3 { // the rest was lost
		if got, ok := pr.arrived(now.Add(time.Duration(i)*10*time.Millisecond), time.Duration(i)*10*time.Millisecond, 1200); ok {
			t.Fatalf("of 3 packets it found %d", got)
		}
	}
}

func TestProberGivesUpAndGoesOn(t *testing.T) {
	var p prober
	p.ask(began, 10*mbit, 900*kbit, 1800*kbit)
	first := p.next(began)
	if first == nil || first.rate != 900*kbit || p.byID(first.id) != first {
		t.Fatalf("%+v", first)
	}
	if again := p.next(began.Add(time.Millisecond)); again != first {
		t.Error("it was not complete")
	}
	second := p.next(began.Add(probePatience)) // there was nothing to send
	if second == nil || second.rate != 1800*kbit {
		t.Fatalf("%+v", second)
	}
	second.packets, second.sent = probePackets, second.leastBytes()
	if p.next(began.Add(probePatience)) != nil {
		t.Error("there are no more")
	}
	if want := Rate(1800 * kbit).times(probeFurther); p.further != want {
		t.Errorf("further from %d, want %d", p.further, want)
	}
	p.ask(began, mbit, 900*kbit, 1800*kbit, 3600*kbit)
	if p.pending != [2]Rate{900 * kbit, mbit} || p.further < 1000*mbit {
		t.Errorf("%v, further from %d", p.pending, p.further)
	}
}
