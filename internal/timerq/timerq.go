// Package timerq is a queue of deadlines with at most one entry for each owner.
//
// The owner holds its [Timer] as a field, and the timer knows its place in the queue: setting it anew moves it there,
// in O(log n), instead of leaving stale entries behind. Nothing allocates once the queue has been as long as it gets.
// A queue is used by one goroutine.
package timerq

import "github.com/parley-rtc/parley/protocol/mono"

// Timer is an owner's place in a Queue. The zero value with Owner set is a timer that is not running. It must not be
// copied while it runs, and belongs to one queue at a time.
type Timer[T any] struct {
	Owner T
	place int // index in the heap plus one; 0 when not in it
}

// Queue is a heap of running timers. The zero value is an empty queue.
type Queue[T any] struct {
	heap []entry[T] // four children to a node: shallower than two, and siblings share a cache line
}

// entry has the deadline beside the pointer, so that sifting compares without following it.
type entry[T any] struct {
	at    mono.Time
	timer *Timer[T]
}

// Len returns the number of running timers.
func (q *Queue[T]) Len() int { return len(q.heap) }

// Next returns the earliest deadline, or mono.Never if no timer runs.
func (q *Queue[T]) Next() mono.Time {
	if len(q.heap) == 0 {
		return mono.Never
	}
	return q.heap[0].at
}

// Deadline returns when t is due, or mono.Never if it does not run.
func (q *Queue[T]) Deadline(t *Timer[T]) mono.Time {
	if t.place == 0 {
		return mono.Never
	}
	return q.heap[t.place-1].at
}

// Set makes t due at the given time, whether or not it was running; mono.Never stops it.
func (q *Queue[T]) Set(t *Timer[T], at mono.Time) {
	switch {
	case at == mono.Never:
		q.Stop(t)
	case t.place == 0:
		q.heap = append(q.heap, entry[T]{at, t})
		q.up(len(q.heap) - 1)
	default:
		i := t.place - 1
		old := q.heap[i].at
		q.heap[i].at = at
		if at < old {
			q.up(i)
		} else if at > old {
			q.down(i)
		}
	}
}

// Stop takes t out of the queue; it does nothing if t does not run.
func (q *Queue[T]) Stop(t *Timer[T]) {
	if t.place == 0 {
		return
	}
	i, last := t.place-1, len(q.heap)-1
	t.place = 0
	moved := q.heap[last]
	q.heap[last] = entry[T]{}
	q.heap = q.heap[:last]
	if i == last {
		return
	}
	removed := q.heap[i].at
	q.heap[i] = moved
	if moved.at < removed {
		q.up(i)
	} else {
		q.down(i)
	}
}

// PopDue stops the earliest timer and returns its owner if it is due at now; ok is false if none is.
func (q *Queue[T]) PopDue(now mono.Time) (owner T, ok bool) {
	if len(q.heap) == 0 || q.heap[0].at > now {
		return owner, false
	}
	t := q.heap[0].timer
	q.Stop(t)
	return t.Owner, true
}

// up moves entry i towards the root until its parent is not later.
func (q *Queue[T]) up(i int) {
	e := q.heap[i]
	for i > 0 {
		parent := (i - 1) / 4
		if q.heap[parent].at <= e.at {
			break
		}
		q.put(i, q.heap[parent])
		i = parent
	}
	q.put(i, e)
}

// down moves entry i away from the root until no child is earlier.
func (q *Queue[T]) down(i int) {
	e := q.heap[i]
	for {
		first := 4*i + 1
		if first >= len(q.heap) {
			break
		}
		child := first
		for c := first + 1; c < min(first+4, len(q.heap)); c++ {
			if q.heap[c].at < q.heap[child].at {
				child = c
			}
		}
		if q.heap[child].at >= e.at {
			break
		}
		q.put(i, q.heap[child])
		i = child
	}
	q.put(i, e)
}

func (q *Queue[T]) put(i int, e entry[T]) {
	q.heap[i] = e
	e.timer.place = i + 1
}
