package sctp

import (
	"math"

	"github.com/parley-rtc/parley/protocol/mono"
)

// outMessage is a message on its way out.
type outMessage struct {
	next      *outMessage // in the channel's queue
	ch        *channel
	data      []byte
	pooled    bool
	ppid      uint32
	unordered bool
	internal  bool // of DCEP: not counted as buffered
	ssn       uint16
	cut       int       // bytes that are in chunks already
	first     int64     // TSN of the first chunk
	chunks    int       // chunks that the peer has not acknowledged for good
	most      uint32    // retransmissions of a chunk, after which the message is abandoned
	expires   mono.Time // when it is
}

const noLimit = math.MaxUint32

// The queue of messages that wait. It takes turns between channels message by message, because the fragments of one
// message must follow each other; a channel that has had its share waits until the others have had theirs, where the
// shares are as the priorities (RFC 8831 section 6.4).
type sendQueue struct {
	ready    []*channel // a heap with the channel first that has had the least of its share
	current  *outMessage
	passed   uint64 // the turn of the channel that was served last
	buffered int    // bytes of all channels that were never sent
	free     *outMessage
	freed    int
}

const maxFreed = 64

func (q *sendQueue) message() *outMessage {
	m := q.free
	if m == nil {
		return &outMessage{}
	}
	q.free = m.next
	q.freed--
	*m = outMessage{}
	return m
}

func (q *sendQueue) recycle(m *outMessage) {
	if q.freed < maxFreed {
		*m = outMessage{next: q.free}
		q.free = m
		q.freed++
	}
}

// add puts m at the end of its channel's queue.
func (q *sendQueue) add(m *outMessage) {
	ch := m.ch
	if ch.last == nil {
		ch.first = m
	} else {
		ch.last.next = m
	}
	ch.last = m
	if ch.place == 0 && (q.current == nil || q.current.ch != ch) {
		q.enter(ch)
	}
}

func (q *sendQueue) enter(ch *channel) {
	ch.pass = max(ch.pass, q.passed)
	q.ready = append(q.ready, ch)
	ch.place = int32(len(q.ready))
	q.up(len(q.ready) - 1)
}

// pick returns the message to cut the next chunk from; nil if there is none. It stays the same until it is done.
func (q *sendQueue) pick() *outMessage {
	if q.current == nil && len(q.ready) > 0 {
		ch := q.ready[0]
		q.leave(ch)
		m := ch.first
		ch.first = m.next
		if ch.first == nil {
			ch.last = nil
		}
		m.next = nil
		q.passed = ch.pass
		q.current = m
	}
	return q.current
}

// done: all of the current message is in chunks, or it will never be.
func (q *sendQueue) done() {
	m := q.current
	q.current = nil
	const overhead = 64 // so that tiny messages count too
	m.ch.pass += uint64(len(m.data)+overhead) << 10 / uint64(m.ch.priority())
	if m.ch.first != nil {
		q.enter(m.ch)
	}
}

// leave takes ch out of the heap, wherever it is.
func (q *sendQueue) leave(ch *channel) {
	if ch.place == 0 {
		return
	}
	i, last := int(ch.place)-1, len(q.ready)-1
	ch.place = 0
	moved := q.ready[last]
	q.ready[last] = nil
	q.ready = q.ready[:last]
	if i < last {
		q.ready[i] = moved
		moved.place = int32(i + 1)
		q.up(i)
		q.down(int(moved.place) - 1)
	}
}

func (q *sendQueue) before(a, b *channel) bool {
	return a.pass < b.pass || a.pass == b.pass && a.id < b.id
}

func (q *sendQueue) swap(i, j int) {
	q.ready[i], q.ready[j] = q.ready[j], q.ready[i]
	q.ready[i].place, q.ready[j].place = int32(i+1), int32(j+1)
}

func (q *sendQueue) up(i int) {
	for i > 0 && q.before(q.ready[i], q.ready[(i-1)/2]) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q *sendQueue) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.ready) {
			return
		}
		if child+1 < len(q.ready) && q.before(q.ready[child+1], q.ready[child]) {
			child++
		}
		if !q.before(q.ready[child], q.ready[i]) {
			return
		}
		q.swap(i, child)
		i = child
	}
}
