package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A number is what is taken from a trace, and what is asked of it.
type number struct {
	what string
	unit unit
	of   func(tr *trace) float64
	goal goal
}

// A goal is a bound on a number; the zero goal asks for nothing: the number is for information.
type goal struct {
	sign  int // 1: at least; -1: at most
	bound float64
}

func atLeast(x float64) goal { return goal{1, x} }
func atMost(x float64) goal  { return goal{-1, x} }

func (g goal) met(x float64) bool { return g.sign == 0 || float64(g.sign)*(x-g.bound) >= 0 }

// worst returns the value that is furthest from the goal, the largest if there is none.
func (g goal) worst(values []float64) float64 {
	if g.sign > 0 {
		return slices.Min(values)
	}
	return slices.Max(values)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

type unit uint8

const (
	percent unit = iota
	milliseconds
	seconds
	megabits
)

func (u unit) format(x float64) string {
	switch {
	case math.IsInf(x, 0):
		return "never"
	case u == percent:
		return fmt.Sprintf("%.0f %%", 100*x)
	case u == milliseconds:
		return fmt.Sprintf("%.0f ms", 1000*x)
	case u == seconds:
		return fmt.Sprintf("%.1f s", x)
	case x < 1e6:
		return fmt.Sprintf("%.0f kbit/s", x/1e3)
	}
	return fmt.Sprintf("%.2f Mbit/s", x/1e6)
}

func (g goal) format(u unit) string {
	switch g.sign {
	case 1:
		return "≥ " + u.format(g.bound)
	case -1:
		return "≤ " + u.format(g.bound)
	}
	return ""
}

// between returns the slots from one time to another.
func between[T any](slots []T, from, to time.Duration) []T {
	end := min(int(to/slot), len(slots))
	return slots[min(int(from/slot), end):end]
}

func sum[T int64 | uint64 | float64](values []T) (s T) {
	for _, v := range values {
		s += v
	}
	return s
}

// rateOf returns the mean of bytes in slots as a rate in bits a second.
func rateOf(slots []int64) float64 {
	return 8 * float64(sum(slots)) / (float64(len(slots)) * slot.Seconds())
}

// used is the share of the link that arrived at the receivers of the connections.
func used(what string, from, to time.Duration, g goal) number {
	return usedBy(false, what, from, to, g)
}

// usedBack is the same of the other direction of the link.
func usedBack(what string, from, to time.Duration, g goal) number {
	return usedBy(true, what, from, to, g)
}

func usedBy(reverse bool, what string, from, to time.Duration, g goal) number {
	return number{"link used, " + what, percent, func(tr *trace) float64 {
		bytes := int64(0)
		for _, f := range tr.flows {
			if f.reverse == reverse {
				bytes += sum(between(f.came, from, to))
			}
		}
		return 8 * float64(bytes) / (float64(sum(between(tr.capacity, from, to))) * slot.Seconds())
	}, g}
}

// ofRival is the part of what arrives for the rival in all that does.
func ofRival(what string, from, to time.Duration, g goal) number {
	return number{what, percent, func(tr *trace) float64 {
		bytes := sum(between(tr.flows[0].came, from, to))
		return float64(sum(between(tr.rival, from, to))) / max(1, float64(bytes))
	}, g}
}

// heard is the share of the audio that arrives within 400 ms: what is later is of no use to a call (ITU-T G.114).
func heard(what string, from, to time.Duration, g goal) number {
	return number{"audio that arrives within 400 ms, " + what, percent, func(tr *trace) float64 {
		n := 0
		for _, a := range tr.flows[0].ages {
			if a.kind == audio && a.at >= from && a.at < to && a.old <= 400*time.Millisecond {
				n++
			}
		}
		return float64(n) / (float64(to-from) / float64(audioInterval))
	}, g}
}

// sent is the rate at which the first connection sends, as a share of the link.
func sent(what string, from, to time.Duration, g goal) number {
	return number{what, percent, func(tr *trace) float64 {
		return 8 * float64(sum(between(tr.flows[0].sent, from, to))) / (float64(sum(between(tr.capacity, from, to))) * slot.Seconds())
	}, g}
}

// came is the rate at which the first connection receives.
func came(what string, from, to time.Duration, g goal) number {
	return number{what, megabits, func(tr *trace) float64 { return rateOf(between(tr.flows[0].came, from, to)) }, g}
}

// share is the part of the first connection in all that arrives.
func share(what string, from, to time.Duration, g goal) number {
	return number{what, percent, func(tr *trace) float64 {
		own, all := sum(between(tr.flows[0].came, from, to)), sum(between(tr.rival, from, to))
		for _, f := range tr.flows {
			all += sum(between(f.came, from, to))
		}
		return float64(own) / float64(all)
	}, g}
}

// larger is the part of that of two connections that has more.
func larger(what string, from, to time.Duration, g goal) number {
	one := share(what, from, to, g)
	return number{what, percent, func(tr *trace) float64 {
		x := one.of(tr)
		return max(x, 1-x)
	}, g}
}

// reached is how long after a time this share of the link is used, over one second.
func reached(what string, from, to time.Duration, part float64, g goal) number {
	return number{what, seconds, func(tr *trace) float64 {
		for at := from; at+time.Second <= to; at += slot {
			bytes := sum(between(tr.flows[0].came, at, at+time.Second))
			if 8*float64(bytes) >= part*slot.Seconds()*float64(sum(between(tr.capacity, at, at+time.Second))) {
				return (at + time.Second - from).Seconds()
			}
		}
		return math.Inf(1)
	}, g}
}

// drained is how long after a time the queue is shorter than a limit and stays so for two seconds.
func drained(what string, from, to time.Duration, limit time.Duration, g goal) number {
	return number{what, seconds, func(tr *trace) float64 {
		for at := from; at+2*time.Second <= to; at += slot {
			if slices.Max(between(tr.queued, at, at+2*time.Second)) < limit.Seconds() {
				return (at - from).Seconds()
			}
		}
		return math.Inf(1)
	}, g}
}

// queued is a percentile of how long packets wait for the link.
func queued(what string, from, to time.Duration, g goal) number {
	return number{"queueing delay, 95th percentile, " + what, milliseconds, func(tr *trace) float64 {
		return percentile(0.95, slices.Clone(between(tr.queued, from, to)))
	}, g}
}

// old is a percentile of how old media is when it arrives: the wait in the pacer, for the link, and the way.
func old(what string, from, to time.Duration, g goal) number {
	return number{"from camera to receiver, 95th percentile, " + what, milliseconds, func(tr *trace) float64 {
		var ages []float64
		for _, a := range tr.flows[0].ages {
			if a.at >= from && a.at < to {
				ages = append(ages, a.old.Seconds())
			}
		}
		return percentile(0.95, ages)
	}, g}
}

func percentile(p float64, values []float64) float64 {
	if len(values) == 0 {
		return math.Inf(1)
	}
	slices.Sort(values)
	return values[int(p*float64(len(values)-1))]
}

// lost is the share of packets that the link loses.
func lost(what string, from, to time.Duration, g goal) number {
	return number{"packets lost, " + what, percent, func(tr *trace) float64 {
		lost, offered := between(tr.lost, from, to), between(tr.offered, from, to)
		return float64(sum(lost)) / max(1, float64(sum(offered)))
	}, g}
}

// estimated is the largest or, if it must be at least something, the smallest estimate.
func estimated(what string, from, to time.Duration, g goal) number {
	return number{what, megabits, func(tr *trace) float64 {
		slots := between(tr.flows[0].estimate, from, to)
		if g.sign > 0 {
			return float64(slices.Min(slots))
		}
		return float64(slices.Max(slots))
	}, g}
}
