package loop

import (
	"time"
	"unsafe"

	"github.com/parley-rtc/parley/protocol/mono"
	"golang.org/x/sys/unix"
)

// Under load it pays to let datagrams come together: a receive of eight costs little more than a receive of one, the
// sends that follow are batches too, and going to sleep and being woken costs as much as either.
const (
	// napTotal is how long a nap takes, with what the system adds to what it was asked for.
	napTotal = 350 * time.Microsecond
	// napFor is how many datagrams must be expected to come during a nap, and must then have come; and so must napGain
	// times as many as a turn brings by itself.
	napFor  = 2
	napGain = 1.25
	// napBelow is how many datagrams a turn must bring by itself, so that no nap is needed.
	napBelow = 16
	// napSkip leaves out one nap in so many, to see what a turn brings by itself.
	napSkip = 32
	// napRest is the most turns for which naps are left out after napMisses in a row that were no good: no more came,
	// because those who send wait for the answer; or the nap took longer than napLate, because the machine is busy; or
	// somebody posted meanwhile, for whom the loop was in the way.
	napRest   = 1023
	napMisses = 3
	napLate   = time.Millisecond
)

// memory is the weight of the past in an average, at each step.
const memory = 0.875

// pace tells load from idleness, and naps that help from naps that only delay, by what the last turns brought.
type pace struct {
	last      mono.Time
	datagrams float64 // of the last turns, older ones counting less
	elapsed   float64 // nanoseconds in which they came
	plain     float64 // datagrams of a turn without a nap, on average
	backlog   bool    // more had come than the last turn took

	napped    bool    // before the turn under way
	overslept bool    // because others wanted the processor, or what somebody posted
	naps      int     // until one is left out
	rest      int     // turns until the next
	misses    int     // naps in a row that were no good
	penalty   int     // what rest becomes when they are too many
	excess    float64 // nanoseconds that the system adds to a nap, on average
}

// received takes note of a turn that brought datagrams, and whether it left some.
func (p *pace) received(now mono.Time, datagrams int, more bool) {
	const longest = 10 * time.Millisecond
	n := float64(datagrams)
	p.datagrams = p.datagrams*memory + n
	p.elapsed = p.elapsed*memory + float64(min(now.Sub(p.last), longest))
	p.last, p.backlog = now, more
	if !p.napped {
		p.plain = average(p.plain, n)
		return
	}
	p.napped = false
	if n >= p.worthwhile() && !p.overslept {
		p.misses, p.penalty = 0, 0
	} else if p.misses++; p.misses == napMisses {
		p.misses = 0
		p.penalty = min(2*p.penalty+1, napRest)
		p.rest = p.penalty
	}
}

// worthwhile returns how many datagrams must come during a nap.
func (p *pace) worthwhile() float64 { return max(napFor, napGain*p.plain) }

// average returns what an average becomes with another value; zero stands for that of none.
func average(of, value float64) float64 {
	if of == 0 {
		return value
	}
	return of*memory + value*(1-memory)
}

// shouldNap reports whether to nap before the turn that begins.
func (p *pace) shouldNap(now, deadline mono.Time) bool {
	expected := p.datagrams * float64(napTotal) // times elapsed
	switch {
	case p.backlog || p.plain >= napBelow || expected < p.worthwhile()*p.elapsed:
		return false
	case now.Sub(p.last) >= napTotal || deadline.Sub(now) <= napTotal:
		return false
	case p.rest > 0:
		p.rest--
		return false
	}
	if p.naps--; p.naps < 0 {
		p.naps = napSkip
		return false
	}
	p.napped = true
	return true
}

// nap sleeps by the bare system call: a timer of Go's rounds up to a millisecond, and syscall.Nanosleep hands the
// processor away.
func (p *pace) nap() {
	asked := p.asked()
	begin := clock()
	ts := unix.NsecToTimespec(int64(asked))
	// A nap that a signal cuts short is as good.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	p.slept(asked, clock().Sub(begin))
}

// asked returns what to ask of the system, so that a nap takes as long as it should.
func (p *pace) asked() time.Duration {
	return napTotal - time.Duration(min(p.excess, float64(napTotal)/2))
}

// slept takes note of how long a nap took.
func (p *pace) slept(asked, took time.Duration) {
	if p.overslept = took > napLate; !p.overslept {
		p.excess = average(p.excess, max(0, float64(took-asked)))
	}
}
