package webrtc

import (
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// maxKept is how many events of a connection wait for their first handler.
	maxKept = 256
	// maxBehind is how many calls may wait before the peer can cause no more of them by opening channels: it could open and close
	// them for as long as one handler takes. A program has so many if the peer opens all that there may be at once, four times.
	maxBehind = 1 << 14
)

// A dispatcher calls a connection's handlers, one after the other and in the order of the events, on a goroutine that
// exists only while there is one to call. Nothing is locked meanwhile, so a handler may call anything.
//
// An event for which no handler was ever set is kept until one is. An event of an object waits until the event that
// introduced the object has been delivered: see gate.
type dispatcher struct {
	log *slog.Logger

	mu      sync.Mutex
	idle    sync.Cond // running has become false
	queue   []func()
	head    int
	since   int  // how many were queued since the last operation ended: see mark
	awaited int  // operations whose callers want to be called where they end: see hold
	holding bool // one of them runs or has run: nothing is delivered until its caller's call is queued
	kept    int  // events that wait for their first handler or for a gate
	dropped bool
	running bool
	closed  bool
}

func (d *dispatcher) init(log *slog.Logger) {
	d.log = log
	d.idle.L = &d.mu
}

// do queues a call.
func (d *dispatcher) do(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.push(f)
}

func (d *dispatcher) push(f func()) {
	if d.closed {
		return
	}
	d.queue = append(d.queue, f)
	d.since++
	d.start()
}

// behind reports whether more than maxBehind calls wait.
func (d *dispatcher) behind() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue)-d.head > maxBehind
}

// run is the goroutine. Its name is how inCallback knows it.
func (d *dispatcher) run() {
	for {
		d.mu.Lock()
		if d.head == len(d.queue) || d.holding {
			if d.head == len(d.queue) {
				d.queue, d.head = nil, 0
			}
			d.running = false
			d.idle.Broadcast()
			d.mu.Unlock()
			return
		}
		f := d.queue[d.head]
		d.queue[d.head] = nil
		d.head++
		d.mu.Unlock()
		handling.Add(1)
		f()
		handling.Add(-1)
	}
}

// handling counts the handlers that run, of all connections.
var handling atomic.Int32

// close drops what was not delivered, and what comes from now on.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed, d.queue, d.head, d.kept = true, nil, 0, 0
	d.mu.Unlock()
}

// wait waits until no handler is running, after close.
func (d *dispatcher) wait() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.running {
		d.idle.Wait()
	}
}

// keep counts an event that has to wait, and returns false if too many do. The caller holds the lock.
func (d *dispatcher) keep() bool {
	if d.kept < maxKept {
		d.kept++
		return true
	}
	if !d.dropped && d.log != nil {
		d.log.Warn("events without a handler are dropped from now on", "kept", maxKept)
	}
	d.dropped = true
	return false
}

// A hook is where a handler of one kind of event is set.
type hook[T any] struct {
	call func(T)
	set  bool // a handler was set once
	kept []emitted[T]
}

// An emitted event waits for its handler, and introduces the object of a gate, if that is not nil.
type emitted[T any] struct {
	value      T
	introduces *gate
}

// on sets the handler of h, and has the events that waited for it delivered, before all others.
func on[T any](d *dispatcher, h *hook[T], f func(T)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.call = f
	if h.set || f == nil {
		return
	}
	h.set = true
	kept := make([]func(), len(h.kept))
	for i, e := range h.kept {
		kept[i] = func() { deliver(d, h, e) }
	}
	d.kept -= len(kept)
	h.kept = nil
	d.insert(kept...)
}

// mark says that an operation ends here: after the events that it has caused, and before those that follow.
func (d *dispatcher) mark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since = 0
}

// hold has the events of an operation, and those that follow its end, wait until settle is called: a handler that was called
// before could begin the next operation, which would end first.
func (d *dispatcher) hold() {
	d.mu.Lock()
	d.awaited++
	d.mu.Unlock()
}

// begin says that an operation begins.
func (d *dispatcher) begin() {
	d.mu.Lock()
	d.holding = d.awaited > 0
	d.mu.Unlock()
}

// settle queues a call where the operation that hold has waited for has ended.
func (d *dispatcher) settle(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.awaited--
	d.holding = d.holding && d.awaited > 0
	if d.closed {
		return
	}
	at := max(d.head, len(d.queue)-d.since)
	d.since = len(d.queue) - at
	d.queue = slices.Insert(d.queue, at, f)
	d.start()
}

// start has the queue's calls made, as far as they may be. The caller holds the lock.
func (d *dispatcher) start() {
	if !d.running && d.head < len(d.queue) && !d.holding {
		d.running = true
		go d.run()
	}
}

// first queues a call before all others.
func (d *dispatcher) first(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.insert(f)
}

func (d *dispatcher) insert(fs ...func()) {
	if d.closed || len(fs) == 0 {
		return
	}
	d.queue, d.head = slices.Concat(fs, d.queue[d.head:]), 0
	d.start()
}

// emit queues an event of an object for the handler of h. If introduces is not nil, the event introduces the object of
// that gate.
func emit[T any](d *dispatcher, g *gate, h *hook[T], v T, introduces *gate) {
	e := emitted[T]{v, introduces}
	d.mu.Lock()
	defer d.mu.Unlock()
	if (g == nil || g.open) && d.head == len(d.queue) && !d.running && !d.closed && !h.set {
		h.keep(d, e) // nothing is before it in the queue
		return
	}
	d.queueBehind(g, func() { deliver(d, h, e) })
}

// deliver is the turn of an event.
func deliver[T any](d *dispatcher, h *hook[T], e emitted[T]) {
	d.mu.Lock()
	if !h.set {
		h.keep(d, e)
		d.mu.Unlock()
		return
	}
	call := h.call
	d.mu.Unlock()
	if call != nil {
		call(e.value)
	}
	if e.introduces != nil {
		d.open(e.introduces)
	}
}

// keep keeps an event until there is a handler. The caller holds the lock.
func (h *hook[T]) keep(d *dispatcher, e emitted[T]) {
	if d.keep() {
		h.kept = append(h.kept, e)
	}
}

// A gate holds the events of an object back until the object has been introduced. A nil gate is open.
type gate struct {
	open    bool
	waiting []func()
}

// pass queues a call behind a gate, and returns false if too much waits there.
func (d *dispatcher) pass(g *gate, f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queueBehind(g, f)
}

// inOrder has f, which changes a state and takes no lock, called once what was queued before has been: at once if there is nothing.
func (d *dispatcher) inOrder(g *gate, f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	idle := (g == nil || g.open) && d.head == len(d.queue) && !d.running
	if idle || d.closed || !d.queueBehind(g, f) {
		f()
	}
}

// queueBehind is pass for who holds the lock.
func (d *dispatcher) queueBehind(g *gate, f func()) bool {
	switch {
	case g == nil || g.open:
		d.push(f)
	case d.closed:
	case d.keep():
		g.waiting = append(g.waiting, f)
	default:
		return false
	}
	return true
}

// open opens a gate.
func (d *dispatcher) open(g *gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.open = true
	d.kept -= len(g.waiting)
	for _, f := range g.waiting {
		d.push(f)
	}
	g.waiting = nil
}

// inCallback reports whether the caller runs in a handler, of whatever connection.
func inCallback() bool {
	if handling.Load() == 0 {
		return false
	}
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		frames := runtime.CallersFrames(pcs[:n])
		for {
			frame, more := frames.Next()
			if strings.HasSuffix(frame.Function, "webrtc.(*dispatcher).run") {
				return true
			}
			if !more {
				break
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
