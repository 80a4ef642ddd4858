// Package seqnum is the one place that knows how numbers wrap around: RTP sequence numbers and timestamps, SCTP's TSN
// and SSN, TWCC's counters.
//
// It follows serial number arithmetic, RFC 1982: of two numbers the later is the one that is reached sooner going up.
// Numbers exactly half the circle apart, which that RFC leaves undefined, are told apart by their plain value, the
// greater being the later, so that Before stays antisymmetric. Every function takes defined types too, such as
// `type TSN uint32`.
//
// State machines that compare a lot keep unwrapped numbers: an [Unwrapper] at the edge turns each number off the wire
// into an int64 that compares with < and only ever needs its type to get back.
package seqnum

// Number is a number that wraps around at 16 or 32 bits.
type Number interface{ ~uint16 | ~uint32 }

// Before reports whether a comes before b (RFC 1982 section 3.2).
func Before[N Number](a, b N) bool { return Diff(b, a) > 0 }

// Later returns the later of a and b.
func Later[N Number](a, b N) N {
	if Before(a, b) {
		return b
	}
	return a
}

// Diff returns how far a is ahead of b; negative if a comes before b.
func Diff[N Number](a, b N) int64 {
	circle := int64(^N(0)) + 1
	d := int64(a - b) // 0 to circle-1, the subtraction wraps
	if d > circle/2 || d == circle/2 && a < b {
		d -= circle
	}
	return d
}

// Unwrapper turns numbers that wrap around into numbers that do not. Its zero value is ready to use: the first number
// is returned as it is, so that a first reordering backwards may return a negative number.
type Unwrapper[N Number] struct {
	highest int64
	started bool
}

// Unwrap returns the number that n stands for, the one closest to the highest so far, and remembers it if it is the
// highest. A caller that does not trust n asks Peek first, because a single false number may move the highest by half
// the circle.
func (u *Unwrapper[N]) Unwrap(n N) int64 {
	v := u.Peek(n)
	if !u.started || v > u.highest {
		u.highest, u.started = v, true
	}
	return v
}

// Peek returns what Unwrap would, and remembers nothing.
func (u *Unwrapper[N]) Peek(n N) int64 {
	if !u.started {
		return int64(n)
	}
	return u.highest + Diff(n, N(u.highest))
}

// Highest returns the highest number so far; ok is false if there was none yet.
func (u *Unwrapper[N]) Highest() (v int64, ok bool) { return u.highest, u.started }
