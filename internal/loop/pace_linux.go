package loop

import (
	"time"
	"unsafe"

	"github.com/parley-rtc/parley/protocol/mono"
	"golang.org/x/sys/unix"
)

// Under load it pays to let datagrams come together: a receive of eight costs little more than a receive of one, and the
// sends that follow are batches too.
const (
	// napping is what is asked of the system, which adds some 50 us of its own.
	napping  = 150 * time.Microsecond
	napTotal = 200 * time.Microsecond
	// napFor is how many datagrams must be expected to come during a nap, and must then have come.
	napFor = 2
	// napBelow is how many datagrams a turn must bring by itself, so that no nap is needed.
	napBelow = 4
	// napSkip leaves out one nap in so many, to see what a turn brings by itself.
	napSkip = 32
	// napRest is the most turns for which naps are left out after those that were no good: nothing came, because someone
	// sends one datagram and waits for the answer, or the nap took longer than napLate, because the machine is busy.
	napRest = 1023
	napLate = time.Millisecond
)

// pace tells load from idleness, and naps that help from naps that only delay, by what the last turns brought.
type pace struct {
	last      mono.Time
	datagrams float64 // of the last turns, older ones counting less
	elapsed   float64 // nanoseconds in which they came
	plain     float64 // datagrams of a turn without a nap, on average

	napped    bool // before the turn under way
	overslept bool // because others wanted the processor
	naps      int  // until one is left out
	rest      int  // turns until the next
	penalty   int  // what rest becomes when the next nap is no good
}

// received takes note of a turn that brought datagrams.
func (p *pace) received(now mono.Time, datagrams int) {
	const (
		memory  = 0.875
		longest = 10 * time.Millisecond
	)
	n := float64(datagrams)
	p.datagrams = p.datagrams*memory + n
	p.elapsed = p.elapsed*memory + float64(min(now.Sub(p.last), longest))
	p.last = now
	switch {
	case !p.napped:
		p.plain = p.plain*memory + n*(1-memory)
	case datagrams < napFor || p.overslept:
		p.penalty = min(2*p.penalty+1, napRest)
		p.rest = p.penalty
	default:
		p.penalty = 0
	}
	p.napped = false
}

// shouldNap reports whether to nap before the turn that begins.
func (p *pace) shouldNap(now, deadline mono.Time) bool {
	switch {
	case p.datagrams*float64(napTotal) < napFor*p.elapsed || p.plain >= napBelow:
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
	begin := clock()
	ts := unix.NsecToTimespec(int64(napping))
	// A nap that a signal cuts short is as good.
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	p.overslept = clock().Sub(begin) > napLate
}
