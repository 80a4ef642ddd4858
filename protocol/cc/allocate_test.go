package cc

import (
	"math/rand/v2"
	"testing"
)

func one(p Priority, least, most Rate) Stream {
	return Stream{Priority: p, Layers: []Layer{{Min: least, Max: most}}}
}

// "each priority level ... gets twice the share of the one below" - RFC 8835 section 4.1: 1, 2, 4 and 8 parts.
func TestAllocateByPriority(t *testing.T) {
	streams := []Stream{one(VeryLow, 0, 10*mbit), one(Low, 0, 10*mbit), one(Medium, 0, 10*mbit), one(High, 0, 10*mbit)}
	Allocate(1500*kbit, streams)
	for i, want := range []Rate{100 * kbit, 200 * kbit, 400 * kbit, 800 * kbit} {
		if got := streams[i].Rate; got < want-1 || got > want {
			t.Errorf("stream %d gets %d, want %d", i, got, want)
		}
	}
}

func TestAllocateGivesOnWhatAStreamCannotUse(t *testing.T) {
	streams := []Stream{one(Low, 40*kbit, 40*kbit), one(High, 30*kbit, 300*kbit), one(Low, 30*kbit, 5*mbit)}
	wanted, padding := Allocate(1*mbit, streams)
	for i, want := range []Rate{40 * kbit, 300 * kbit, 660 * kbit} {
		if got := streams[i].Rate; got < want-2 || got > want {
			t.Errorf("stream %d gets %d, want %d", i, got, want)
		}
	}
	if wanted != 5340*kbit || padding != 0 {
		t.Errorf("wanted %d, padding %d", wanted, padding)
	}
}

func TestAllocateMinima(t *testing.T) {
	streams := []Stream{one(Low, 30*kbit, 40*kbit), one(Low, 100*kbit, mbit), {Pausable: true, Layers: []Layer{{Min: 100 * kbit, Max: mbit}}}}
	for _, c := range []struct {
		total Rate
		want  [3]Rate
	}{
		{10 * kbit, [3]Rate{30 * kbit, 100 * kbit, 0}},
		{240 * kbit, [3]Rate{40 * kbit, 200 * kbit, 0}}, // 110 are left, and 115 are needed
		{246 * kbit, [3]Rate{40 * kbit, 103 * kbit, 103 * kbit}},
		{232 * kbit, [3]Rate{32 * kbit, 100 * kbit, 100 * kbit}}, // stays on
		{229 * kbit, [3]Rate{40 * kbit, 189 * kbit, 0}},
	} {
		Allocate(c.total, streams)
		for i, want := range c.want {
			if got := streams[i].Rate; got < want-kbit || got > want+kbit {
				t.Errorf("of %d stream %d gets %d, want %d", c.total, i, got, want)
			}
		}
	}
}

func TestAllocateSimulcastFromLowToHigh(t *testing.T) {
	s := []Stream{{Layers: []Layer{{Min: 50 * kbit, Max: 200 * kbit}, {Min: 300 * kbit, Max: 700 * kbit}, {Min: 1000 * kbit, Max: 2500 * kbit}}}}
	for _, c := range []struct {
		total   Rate
		want    [3]Rate
		padding Rate
	}{
		{100 * kbit, [3]Rate{100 * kbit, 0, 0}, 545 * kbit},
		{500 * kbit, [3]Rate{200 * kbit, 0, 0}, 545 * kbit}, // 300 are left, 345 are needed to begin
		{545 * kbit, [3]Rate{200 * kbit, 345 * kbit, 0}, 2050 * kbit},
		{505 * kbit, [3]Rate{200 * kbit, 305 * kbit, 0}, 2050 * kbit}, // stays on
		{499 * kbit, [3]Rate{200 * kbit, 0, 0}, 545 * kbit},
		{3 * mbit, [3]Rate{200 * kbit, 700 * kbit, 2100 * kbit}, 0},
	} {
		_, padding := Allocate(c.total, s)
		for i, want := range c.want {
			if got := s[0].Layers[i].Rate; got != want {
				t.Errorf("of %d layer %d gets %d, want %d", c.total, i, got, want)
			}
		}
		if padding != c.padding {
			t.Errorf("of %d: padding up to %d, want %d", c.total, padding, c.padding)
		}
	}
	if s[0].Rate != 3*mbit {
		t.Errorf("all layers get %d", s[0].Rate)
	}
}

// Whatever is asked for: nobody gets more than it can use or less than its Min unless it is off, and no more is given than there is,
// beyond the Minima that are due in any case.
func TestAllocateKeepsItsBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		streams := make([]Stream, 1+rng.IntN(5))
		var due Rate
		for i := range streams {
			s := &streams[i]
			s.Priority, s.Pausable = Priority(rng.IntN(4)), rng.IntN(2) == 0
			for range rng.IntN(4) {
				l := Layer{Min: Rate(rng.IntN(500)) * kbit}
				l.Max = l.Min + Rate(rng.IntN(1000))*kbit
				s.Layers = append(s.Layers, l)
			}
			if !s.Pausable && len(s.Layers) > 0 {
				due += s.Layers[0].Min
			}
		}
		for range 3 {
			total := Rate(rng.IntN(5000)) * kbit
			wanted, _ := Allocate(total, streams)
			var sum, most Rate
			for _, s := range streams {
				var layers Rate
				on := true
				for _, l := range s.Layers {
					if l.Rate != 0 && (l.Rate < l.Min || l.Rate > l.Max || !on && l.Max > 0) {
						t.Fatalf("%+v", streams)
					}
					on = on && (l.Rate > 0 || l.Max == 0)
					layers += l.Rate
					most += l.Max
				}
				if layers != s.Rate {
					t.Fatalf("layers get %d of %d", layers, s.Rate)
				}
				sum += s.Rate
			}
			if sum > max(total, due) || wanted != most {
				t.Fatalf("of %d, %d are given; wanted %d of %d: %+v", total, sum, wanted, most, streams)
			}
		}
	}
}
