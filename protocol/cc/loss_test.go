package cc

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// lossy drives losses by a path that loses a share of all and what is above its capacity, and returns the rate in the end and the mean
// of the last half.
func lossy(seed uint64, share float64, capacity, byDelay Rate, d time.Duration) (end, mean Rate) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var l losses
	now := began
	rate := byDelay
	var sum float64
	n := 0
	for now < began.Add(d) {
		lost := share
		if rate > capacity {
			lost = 1 - float64(capacity)/float64(rate)*(1-share)
		}
		if l.add(now, 1200, rng.Float64() < lost) {
			l.update(byDelay, rate.times(1-lost))
			rate = byDelay
			if l.limit > 0 {
				rate = min(rate, l.limit)
			}
		}
		if now.Sub(began) > d/2 {
			sum += float64(rate)
			n++
		}
		now = now.Add(rate.Time(1200))
	}
	return rate, Rate(sum / float64(n))
}

func TestLossOfThePathItself(t *testing.T) {
	for _, c := range []struct {
		share float64
		least float64 // of the rate
	}{{0, 1}, {0.01, 1}, {0.02, 0.95}, {0.05, 0.9}, {0.1, 0.8}, {0.2, 0.6}} {
		for seed := range uint64(5) {
			if _, mean := lossy(seed, c.share, 100*mbit, 2*mbit, time.Minute); mean < Rate(2*mbit).times(c.least) {
				t.Errorf("%v lost: %d of 2000000", c.share, mean)
			}
		}
	}
}

func TestLossOfTooMuchIsSlowedDownFor(t *testing.T) {
	for _, share := range []float64{0, 0.02} {
		for seed := range uint64(5) {
			_, mean := lossy(seed, share, mbit, 2*mbit, time.Minute)
			if mean > mbit*115/100 || mean < mbit*80/100 {
				t.Errorf("%v lost, and all above 1000000: %d", share, mean)
			}
		}
	}
}

func TestLossThatEndsIsForgotten(t *testing.T) {
	var l losses
	now := began
	send := func(d time.Duration, every int) {
		for i, end := 0, now.Add(d); now < end; i++ {
			if l.add(now, 1200, every > 0 && i%every == 0) {
				l.update(2*mbit, mbit)
			}
			now = now.Add(5 * time.Millisecond)
		}
	}
	send(10*time.Second, 3)
	if l.limit == 0 || l.limit > 1500*kbit {
		t.Fatalf("a third is lost, and the limit is %d", l.limit)
	}
	send(30*time.Second, 0)
	if l.limit != 0 {
		t.Errorf("nothing is lost, and the limit is %d", l.limit)
	}
	if got := l.average(); got > 0.01 {
		t.Errorf("loss %v", got)
	}
}

// A packet that comes late is not lost, and of what no feedback told it is not known.
func TestMissingIsNotLost(t *testing.T) {
	c := New(began, Config{})
	now := began
	for i := range 100 {
		c.Sent(now, Packet{SSRC: media, Seq: uint16(i), Size: 1000, Kind: Video})
		now = now.Add(5 * time.Millisecond)
	}
	tell := func(n int64, f fate) {
		if f == received {
			c.arrived(n, now.Sub(began))
		} else {
			c.history.settle(n, f)
		}
	}
	c.results = c.results[:0]
	for n := range int64(100) {
		switch {
		case n == 20:
			tell(n, missing) // for good
		case n == 98:
			tell(n, missing)
		case n < 40 || n > 50: // the feedback about some was lost
			tell(n, received)
		}
	}
	c.finish(now)
	c.results = c.results[:0]
	tell(98, received)
	tell(20, missing)
	c.Sent(now.Add(time.Second), Packet{SSRC: media, Size: 1000})
	tell(100, received)
	c.finish(now.Add(time.Second))
	if got := c.Stats().PacketsLost; got != 1 {
		t.Errorf("%d lost, want 1", got)
	}
	if got, want := c.history.inFlight, 11*1000; got != want {
		t.Errorf("%d bytes in flight, want %d", got, want)
	}
}

func TestHistory(t *testing.T) {
	var h history
	h.next, h.first, h.decided = 65000, 65000, 65000
	now := began
	for i := range 2000 {
		n := h.add(record{at: now, size: 10, ssrc: media, seq: uint16(i)})
		if n != int64(65000+i) {
			t.Fatalf("number %d, want %d", n, 65000+i)
		}
	}
	if n, ok := h.find(1463); !ok || n != 66999 {
		t.Errorf("the last is %d (%v)", n, ok)
	}
	if n, ok := h.find(65000); !ok || n != 65000 {
		t.Errorf("the first is %d (%v)", n, ok)
	}
	for _, strange := range []uint16{64999, 1464, 30000} {
		if n, ok := h.find(strange); ok {
			t.Errorf("%d was never sent, but is %d", strange, n)
		}
	}
	if h.inFlight != 20000 {
		t.Errorf("%d bytes in flight", h.inFlight)
	}
	if !h.settle(65005, missing) || h.settle(65005, missing) || !h.settle(65005, received) || h.settle(65005, missing) || h.settle(65005, received) {
		t.Error("what is received is told once, and stays")
	}
	if h.inFlight != 19990 {
		t.Errorf("%d bytes in flight", h.inFlight)
	}
	now = now.Add(2 * memory)
	h.add(record{at: now, size: 10, ssrc: media + 1})
	if h.inFlight != 10 || h.next-h.first != 1 {
		t.Errorf("%d packets and %d bytes are remembered, want the last", h.next-h.first, h.inFlight)
	}
	for i := range 3 * mostRecords {
		h.add(record{at: now, size: 1, ssrc: media + rtp.SSRC(i%500)})
	}
	if len(h.ring) != mostRecords || h.next-h.first != mostRecords || h.inFlight != mostRecords || len(h.streams) > mostStreams {
		t.Errorf("%d packets of %d, %d bytes, %d streams are remembered", h.next-h.first, len(h.ring), h.inFlight, len(h.streams))
	}
}
