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
	ppid      uint32
	unordered bool
	internal  bool      // of DCEP: not counted as buffered
	number    uint32    // SSN, of which 16 bits are sent, or MID
	cut       int       // bytes that are in chunks already
	fragments uint32    // chunks that were cut
	first     int64     // TSN of the first chunk
	last      int64     // and of the last one so far
	chunks    int       // chunks that the peer has not acknowledged for good
	most      uint32    // retransmissions of a chunk, after which the message is abandoned
	expires   mono.Time // when it is
}

// counts reports whether m counts as buffered: what the program has sent does, but not the byte that stands for none (RFC
// 8831 section 6.6).
func (m *outMessage) counts() bool {
	return !m.internal && m.ppid != ppidStringEmpty && m.ppid != ppidBinaryEmpty
}

const noLimit = math.MaxUint32

// The queue of messages that wait: weighted fair queuing between channels (RFC 8260 section 3.6), where the shares are
// as the priorities (RFC 8831 section 6.4). A channel that has had its share waits until the others have had theirs; one
// that had nothing to send gains nothing by it, but comes next. Turns are taken chunk by chunk if messages may be
// interleaved. Else the fragments of one message must follow each other, and turns are taken message by message.
type sendQueue struct {
	ready      []*channel // a heap of those with messages; first the channel that has had the least of its share
	interleave bool
	current    *channel // whose message must go on, if they may not be interleaved
	passed     uint64   // the turn of the channel that was served last
	begun      int      // bytes of messages of which a part is in chunks, and a part is not
	mayBegin   int      // how many there may be, so that the peer has room to finish one
	buffered   int      // bytes of all channels that were never sent
	padding    int      // what small messages that wait take more than their bytes
	free       *outMessage
	freed      int
}

const maxFreed = 4096 // messages, of which the pool keeps as many small ones

func (q *sendQueue) message() *outMessage {
	m := q.free
	if m == nil {
		return &outMessage{}
	}
	q.free, m.next = m.next, nil
	q.freed--
	return m
}

func (q *sendQueue) recycle(m *outMessage) {
	if q.freed < maxFreed {
		*m = outMessage{next: q.free}
		q.free = m
		q.freed++
	}
}

// padding is what m takes more than its bytes, as far as the limit of the buffer is concerned.
func (m *outMessage) padding() int {
	if m.internal {
		return 0 // these are few
	}
	return cost(len(m.data)) - len(m.data)
}

// add puts m at the end of its channel's queue.
func (q *sendQueue) add(m *outMessage) {
	ch := m.ch
	q.padding += m.padding()
	if ch.last == nil {
		ch.first = m
		if !ch.held {
			q.enter(ch)
		}
	} else {
		ch.last.next = m
	}
	ch.last = m
}

func (q *sendQueue) enter(ch *channel) {
	ch.pass = max(ch.pass, q.passed)
	q.ready = append(q.ready, ch)
	ch.place = int32(len(q.ready))
	q.up(len(q.ready) - 1)
}

// pick returns the message to cut the next chunk from, of which whole bytes would make it a single chunk; nil if there
// is none.
func (q *sendQueue) pick(whole int) *outMessage {
	if q.current != nil {
		return q.current.first
	}
	if len(q.ready) == 0 {
		return nil
	}
	m := q.ready[0].first
	if q.begun > 0 && m.cut == 0 && len(m.data) > whole && q.begun+len(m.data) > q.mayBegin {
		// The peer holds all parts until a message is whole. Were more begun than it has room for, none would ever be.
		m = nil
		for _, ch := range q.ready {
			if ch.first.cut > 0 && (m == nil || q.before(ch, m.ch)) {
				m = ch.first
			}
		}
	}
	return m
}

// cut takes note that the next n bytes of m are in a chunk; m is the first of its channel.
func (q *sendQueue) cut(m *outMessage, n int) {
	ch := m.ch
	if m.cut == 0 {
		q.begun += len(m.data)
	}
	m.cut += n
	m.fragments++
	q.passed = max(q.passed, ch.pass)
	const overhead = 64 // so that tiny messages count too
	ch.pass += uint64(n+overhead) << 10 / uint64(ch.priority())
	if m.cut == len(m.data) {
		q.done(m)
		return
	}
	if !q.interleave {
		q.current = ch
	}
	q.down(int(ch.place) - 1)
}

// done takes m, the first of its channel, out of the queue: all of it is in chunks, or will never be.
func (q *sendQueue) done(m *outMessage) {
	ch := m.ch
	if m.cut > 0 {
		q.begun -= len(m.data)
	}
	q.padding -= m.padding()
	q.current = nil
	ch.first = m.next
	m.next = nil
	if ch.first == nil {
		ch.last = nil
		q.leave(ch)
		return
	}
	q.down(int(ch.place) - 1)
}

// leave takes ch out of the heap, wherever it is.
func (q *sendQueue) leave(ch *channel) {
	if ch.place == 0 {
		return
	}
	if q.current == ch {
		q.current = nil
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
	switch {
	case a.pass != b.pass:
		return a.pass < b.pass
	case a.priority() != b.priority():
		return a.priority() > b.priority()
	}
	return a.id < b.id
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
