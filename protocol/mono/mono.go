// Package mono is the time that engines are told.
//
// A [Time] is a point on a monotonic clock whose zero means nothing by itself; only differences count. It is one
// int64 and holds no pointer, so packets and timers may carry it freely. Engines never ask for the time: whoever drives
// them passes it in (docs/architecture.md, "Told the time, never asks").
package mono

import "time"

// Time is a number of nanoseconds on a monotonic clock.
type Time int64

// Never is later than every other Time: the deadline of an engine that waits for nothing.
const Never Time = 1<<63 - 1

// Add returns t+d. Never stays Never, and a sum that does not fit becomes Never.
func (t Time) Add(d time.Duration) Time {
	if t == Never {
		return Never
	}
	sum := t + Time(d)
	if d > 0 && sum < t {
		return Never
	}
	return sum
}

// Sub returns the duration t-u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool { return t < u }

// After reports whether t is later than u.
func (t Time) After(u Time) bool { return t > u }

// Min returns the earlier of t and u.
func Min(t, u Time) Time {
	if u < t {
		return u
	}
	return t
}
