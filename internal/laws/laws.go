// Package laws puts an engine through the eight laws that every engine of this module keeps (docs/architecture.md,
// "Told the time, never asks"):
//
//  1. The same input, seed and times give the same bytes out.
//  2. HandleTimeout(NextTimeout()) makes NextTimeout move on, and a spurious HandleTimeout does nothing.
//  3. Any number of mutations may be stacked before a drain.
//  4. When idle, a poll allocates nothing and costs no more with many streams than with few.
//  5. A full batch loses nothing: more is true and the rest comes at the next call.
//  6. Every queue is bounded.
//  7. After a fatal error there is exactly one closing event, then silence.
//  8. No input panics.
//
// A test describes how to make its engine and whom it talks to, and calls [Run]:
//
//	func TestLaws(t *testing.T) {
//		laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
//			a, b := newPair(seed)
//			return &laws.Specimen{
//				Engine: laws.Of(a, isClosing),
//				Peer:   laws.Of(b, isClosing),
//				Steps:  []func(mono.Time){func(now mono.Time) { a.Connect(now) }},
//				Done:   func() error { ... },
//				Fatal:  []func(mono.Time){func(now mono.Time) { a.Abort(now) }},
//			}
//		}})
//	}
//
// Engines that take and give byte slices instead of datagrams fit by [Nested]; what they talk to may be a [Responder].
// Whatever a Specimen's functions do must depend on the seed and the times alone. No law is decided by the wall clock,
// but the fourth compares the work of a poll with few streams and with many.
package laws

import (
	"fmt"
	"net/netip"
	"runtime/debug"
	"testing"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Engine is the shape of every engine, with its events reduced to what the laws ask of them.
type Engine interface {
	HandleDatagram(now mono.Time, d *pkt.Datagram)
	HandleTimeout(now mono.Time)
	NextTimeout() mono.Time
	AppendTransmit(now mono.Time, b *pkt.Batch) (more bool)
	NextEvent() (Event, bool)
}

// Event is what the laws see of an engine's event.
type Event struct {
	Text    string // all that the event says; the first law compares it, so it must hold no pointer
	Closing bool   // the engine is finished: the last event that it gives
}

// Specimen is one engine in its conversation. A law takes as many fresh ones as it needs.
type Specimen struct {
	Engine Engine // the engine under test
	Peer   Engine // whom it talks to; nil if nobody answers

	// Steps are what a program does to the engine (and to the peer), in order, while they talk. Each is called once.
	Steps []func(now mono.Time)

	// Done returns nil once the conversation has come to what it was for, and else says what is missing. It must come
	// to nil on a path that loses nothing, and also on one that loses a tenth.
	Done func() error

	// Fatal are ways to make the engine fail: each is tried alone on a fresh engine, before the first step and after
	// the conversation. Empty for an engine that cannot fail, such as a server that only drops.
	Fatal []func(now mono.Time)

	// Flood is the call that makes the engine hold more; i counts up. Nil for an engine that only input can fill.
	Flood func(now mono.Time, i int)

	// Bound is how many bytes the engine may come to hold under a flood of calls or of input. Default 1 MiB.
	Bound int

	// MaxPacket is the size of the largest packet that the engine writes, in bytes. Default 1500.
	MaxPacket int

	// Socket says on which socket of the engine what is sent to local arrives. By default it is the socket from which
	// the engine last sent with that address, or else 0.
	Socket func(local netip.AddrPort) pkt.Socket
}

// Subject is an engine to be put through the laws.
type Subject struct {
	// New makes a Specimen whose entropy comes from seed alone.
	New func(seed uint64) *Specimen

	// Crowd returns an idle engine, drained and with nothing left to do at now, that holds n streams, channels,
	// allocations or whatever else it can hold many of. Nil for an engine that holds only one of everything.
	Crowd func(n int) (e Engine, now mono.Time)
}

// Run checks all laws, each as a subtest.
func Run(t *testing.T, s Subject) {
	t.Helper()
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) {
			if err := l.broken(s); err != nil {
				t.Error(err)
			}
		})
	}
}

type law struct {
	name  string
	check func(Subject) error
}

var laws = []law{
	{"1_SameBytes", sameBytes},
	{"2_TimeoutsMoveOn", timeoutsMoveOn},
	{"3_MutationsStack", mutationsStack},
	{"4_IdleIsFree", idleIsFree},
	{"5_FullBatchLosesNothing", fullBatchLosesNothing},
	{"6_QueuesAreBounded", queuesAreBounded},
	{"7_OneClosingEvent", oneClosingEvent},
	{"8_NoInputPanics", noInputPanics},
}

// broken returns how s breaks the law, a panic included, or nil.
func (l law) broken(s Subject) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.check(s)
}
