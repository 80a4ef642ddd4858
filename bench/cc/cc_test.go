package main

import (
	"math"
	"testing"
	"time"
)

// Each contender fills a link that it has for itself, and a run gives all that the tables and plots ask for.
func TestContendersFillALink(t *testing.T) {
	s := &scenario{id: "test", title: "test", lasts: 40 * time.Second, link: steady(rate(mbit)), numbers: []number{
		reached("to half of the link", 0, 40*time.Second, 0.5, atMost(35)),
		used("30 to 40 s", 30*time.Second, 40*time.Second, atLeast(0.3)),
		queued("30 to 40 s", 30*time.Second, 40*time.Second, atMost(0.3)),
		old("30 to 40 s", 30*time.Second, 40*time.Second, atMost(1)),
		lost("30 to 40 s", 30*time.Second, 40*time.Second, atMost(0.1)),
	}}
	for _, c := range contenders {
		tr := simulate(t, s, c, 1)
		for _, n := range s.numbers {
			if x := n.of(tr); !n.goal.met(x) || math.IsNaN(x) {
				t.Errorf("%s: %s is %s, want %s", c.name, n.what, n.unit.format(x), n.goal.format(n.unit))
			}
		}
		if slots := int(s.lasts / slot); len(tr.capacity) < slots-1 || len(tr.flows[0].came) < slots-1 || len(tr.flows[0].estimate) < slots-1 {
			t.Errorf("%s: %d slots of the link, %d of the connection", c.name, len(tr.capacity), len(tr.flows[0].came))
		}
	}
}

// The rival takes what the link has.
func TestCUBICFillsALink(t *testing.T) {
	s := &scenario{id: "test", lasts: 30 * time.Second, link: steady(rate(4 * mbit)), rival: cubic, limit: time.Hour, limited: 100 * kbit}
	for _, c := range contenders {
		tr := simulate(t, s, c, 1)
		if got := rateOf(between(tr.rival, 10*time.Second, 30*time.Second)); got < 3*mbit || got > 4*mbit {
			t.Errorf("CUBIC has %.2f Mbit/s beside %s with 130 kbit/s on a link of 4", got/1e6, c.name)
		}
	}
}

// What Parley promises holds in one run of each scenario; the page in docs has many. Pion is not asked.
func TestGoals(t *testing.T) {
	for _, s := range scenarios {
		var promise []contender
		switch s.id {
		case "steps":
			promise = contenders[:2]
		case "loss-2", "loss-10", "jitter", "cubic", "second", "limited":
			promise = contenders[:1]
		}
		for _, c := range promise {
			tr := simulate(t, s, c, 1)
			for _, n := range s.numbers {
				if x := n.of(tr); !n.goal.met(x) {
					t.Errorf("%s, %s: %s is %s, want %s", s.title, c.name, n.what, n.unit.format(x), n.goal.format(n.unit))
				}
			}
		}
	}
}
