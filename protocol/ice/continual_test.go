package ice_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
)

// newHomed puts a on two networks, and returns its two links.
func newHomed(t testing.TB, seed uint64) (w *world, links [2]*simnet.Link) {
	w = newPlain(t, seed, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
	links[0] = w.a.host.Link()
	links[1] = w.a.host.Attach(w.Internet(), middle, "198.51.100.1")
	w.a.bases = append(w.a.bases, addr("198.51.100.1:5000"))
	w.a.open(addr("198.51.100.1:5000"))
	return w, links
}

// outage returns the longest time without data since the given one.
func (s *side) outage(since, until mono.Time) (longest time.Duration) {
	last := since
	for _, at := range append(s.heard, until) {
		if at >= since {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return longest
}

var dead = simnet.Path{Loss: 1}

// A path in use that dies without a word is left, in both directions, as soon as its silence is out of the ordinary, and
// long before consent expires.
func TestDeadPathInUseIsLeft(t *testing.T) {
	for _, c := range []struct {
		name    string
		after   time.Duration // since the connection: before the other pairs were let go, or after
		talking func(w *world)
		cut     func(l *simnet.Link)
		most    time.Duration
	}{
		{"others still checked", 2 * time.Second, both, func(l *simnet.Link) { l.Set(dead) }, 2 * time.Second},
		{"others let go", 20 * time.Second, both, func(l *simnet.Link) { l.Set(dead) }, 2 * time.Second},
		{"the controlling side alone talks", 20 * time.Second, func(w *world) { w.a.talking = true }, func(l *simnet.Link) { l.Set(dead) }, 3 * time.Second},
		{"the controlled side alone talks", 20 * time.Second, func(w *world) { w.b.talking = true }, func(l *simnet.Link) { l.Set(dead) }, 3 * time.Second},
		{"only what the controlling side sends is lost", 20 * time.Second, both, func(l *simnet.Link) { l.SetUp(dead) }, 3 * time.Second},
		{"only what the controlled side sends is lost", 20 * time.Second, both, func(l *simnet.Link) { l.SetDown(dead) }, 3 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, links := newHomed(t, 1)
			w.connect(t)
			w.connected(t)
			c.talking(w)
			w.a.driver.Poll()
			w.b.driver.Poll()
			w.Run(c.after)
			cut := w.Now()
			c.cut(links[0])
			w.Run(10 * time.Second)
			for _, s := range []*side{w.a, w.b} {
				other := w.b
				if s == w.b {
					other = w.a
				}
				if !other.talking {
					continue
				}
				n := s.outage(cut, w.Now())
				t.Logf("%v: no data for %v", s.Role(), n)
				if n > c.most {
					t.Errorf("%v: no data for %v, want at most %v", s.Role(), n, c.most)
				}
			}
		})
	}
}

func both(w *world) { w.a.talking, w.b.talking = true, true }
