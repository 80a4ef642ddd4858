package webrtc

import (
	"context"
	"errors"
	"sync"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// Bounds of what a connection buffers for sending, in bytes.
const (
	maxBuffered = 16 << 20 // of all channels; beyond it Send returns ErrBufferFull
	highWater   = 1 << 20  // of one channel, beyond which SendContext waits
	lowWater    = highWater / 2
	minCost     = 256 // what a short message counts while it waits for the loop
	chunkSize   = 64 << 10
)

// An outbox is what was sent and the loop has not taken yet. One wake-up of the loop takes all of it.
type outbox struct {
	mu      sync.Mutex
	next    []letter
	chunk   *chunk // that next is being written to
	cost    int    // of next and of what the loop has taken and the association has not
	beyond  int    // bytes that the association has buffered
	posted  bool   // the loop will come for it
	waiting []*DataChannel

	taken []letter // the loop's, from index on
	index int
}

// A letter is a message in a chunk.
type letter struct {
	ch   *DataChannel
	data []byte
	text bool
	last *chunk // goes back to the pool with this message, the last one in it
}

func (l *letter) cost() int { return max(len(l.data), minCost) }

// A chunk is room for messages, one after the other.
type chunk struct {
	b [chunkSize]byte
	n int
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// room returns room for a message of n bytes.
func (out *outbox) room(n int) []byte {
	if n > chunkSize {
		return make([]byte, n)
	}
	if c := out.chunk; c == nil || n > chunkSize-c.n {
		out.endChunk()
		out.chunk = chunks.Get().(*chunk)
	}
	c := out.chunk
	c.n += n
	return c.b[c.n-n : c.n : c.n]
}

// endChunk has the chunk go back to the pool with the last message, which is in it or behind it.
func (out *outbox) endChunk() {
	if n := len(out.next); out.chunk != nil && n > 0 {
		out.next[n-1].last = out.chunk
		out.chunk = nil
	}
}

// outgoing is a channel's part in sending.
type outgoing struct {
	room chan struct{} // closed when there is room again, or another state; nil if nobody waits
	over error         // why the channel is closed: io.EOF in good order; nil while it is not
}

// Send sends a binary message. It never waits: the data is copied. ErrBufferFull says that 16 MiB are buffered already;
// a message larger than SCTPTransport.MaxMessageSize is a TypeError, and a channel that is not open an InvalidStateError.
func (ch *DataChannel) Send(data []byte) error { return send(ch, data, false) }

// SendText sends a string, as Send does.
func (ch *DataChannel) SendText(s string) error { return send(ch, scalars(s), true) }

// SendContext sends a binary message and waits first: until the channel is open, and for room if as much as 1 MiB is buffered
// for it. Else it is like Send. When ctx is done, the message is not sent and the error is that of ctx.
func (ch *DataChannel) SendContext(ctx context.Context, data []byte) error {
	return sendContext(ctx, ch, data, false)
}

// SendTextContext sends a string, as SendContext does.
func (ch *DataChannel) SendTextContext(ctx context.Context, s string) error {
	return sendContext(ctx, ch, scalars(s), true)
}

func send[T []byte | string](ch *DataChannel, data T, text bool) error {
	out := &ch.pc.out
	out.mu.Lock()
	defer out.mu.Unlock()
	return put(out, ch, data, text)
}

// put takes a message into the outbox. The caller holds its lock.
func put[T []byte | string](out *outbox, ch *DataChannel, data T, text bool) error {
	// send(), 3. If channel.[[ReadyState]] is not "open", throw an InvalidStateError.
	if s := ch.ReadyState(); s != DataChannelStateOpen {
		if s == DataChannelStateConnecting {
			return fail(InvalidStateError, "the channel is connecting: OnOpen tells when it is open, and SendContext waits for it")
		}
		return fail(InvalidStateError, "the channel is %s", s)
	}
	// 4. If the byte size of data exceeds the value of maxMessageSize, throw a TypeError.
	if limit := ch.pc.maxMessageSize.Load(); uint64(len(data)) > limit {
		return fail(TypeError, "the message has %d bytes: the peer takes %d", len(data), limit)
	}
	// 5. If queuing data is not possible because not enough buffer space is available, throw an OperationError.
	if out.cost+out.beyond+max(len(data), minCost) > maxBuffered {
		return ErrBufferFull
	}
	l := letter{ch: ch, data: out.room(len(data)), text: text}
	copy(l.data, data)
	out.next = append(out.next, l)
	out.cost += l.cost()
	ch.accepted.Add(uint64(len(data)))
	if !out.posted {
		out.posted = ch.pc.lease.Post(ch.pc.flush)
	}
	return nil
}

func sendContext[T []byte | string](ctx context.Context, ch *DataChannel, data T, text bool) error {
	out := &ch.pc.out
	for {
		out.mu.Lock()
		var err error = ErrBufferFull
		switch s := ch.ReadyState(); {
		case s == DataChannelStateConnecting:
		case s != DataChannelStateOpen || ch.BufferedAmount() < highWater:
			err = put(out, ch, data, text)
		}
		if !errors.Is(err, ErrBufferFull) {
			out.mu.Unlock()
			return err
		}
		room := ch.changes()
		out.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes returns what is closed when there may be room, or the state is another. The caller holds the lock of the outbox.
func (ch *DataChannel) changes() <-chan struct{} {
	if ch.room == nil {
		ch.room = make(chan struct{})
		ch.pc.out.waiting = append(ch.pc.out.waiting, ch)
	}
	return ch.room
}

// wake lets those who wait look again. The caller holds the lock of the outbox.
func (ch *DataChannel) wake() {
	if ch.room != nil {
		close(ch.room)
		ch.room = nil
	}
}

// flush hands what was sent to the association, as far as it has room.
func (pc *PeerConnection) flush(now mono.Time) {
	out := &pc.out
	association := pc.association()
	for {
		if out.empty() && !out.take() {
			break
		}
		l := &out.taken[out.index]
		err := errors.New("no association")
		if association != nil && l.ch.opened {
			err = association.Send(now, l.ch.stream, l.text, l.data)
		}
		if errors.Is(err, sctp.ErrBufferFull) {
			break // AppendTransmit comes back here
		}
		if err == nil {
			l.ch.flushed += uint64(len(l.data))
			l.ch.sent.messages++
			l.ch.sent.bytes += uint64(len(l.data))
			pc.isSending(l.ch)
		} else { // the channel is closed, and BufferedAmount keeps what was never sent
			pc.dropped = true
		}
		out.mu.Lock()
		out.cost -= l.cost()
		if err == nil {
			out.beyond += len(l.data)
		}
		out.mu.Unlock()
		if l.last != nil {
			l.last.n = 0
			chunks.Put(l.last)
		}
		*l = letter{}
		out.index++
	}
	pc.closeFlushed(now, association)
}

// take swaps the outbox for an empty one; false if there was nothing in it.
func (out *outbox) take() bool {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.posted = false
	out.endChunk()
	out.taken, out.next, out.index = out.next, out.taken[:0], 0
	if len(out.taken) == 0 {
		out.taken, out.next = nil, nil // what is idle holds nothing
		return false
	}
	return true
}

// empty reports whether the association has all that the loop has taken.
func (out *outbox) empty() bool { return out.index == len(out.taken) }

// isSending notes that a channel has something buffered.
func (pc *PeerConnection) isSending(ch *DataChannel) {
	for _, c := range pc.sending {
		if c == ch {
			return
		}
	}
	pc.sending = append(pc.sending, ch)
}

// account looks at what the association has left of what was sent, and tells those who wait for it.
func (pc *PeerConnection) account() {
	if len(pc.sending) == 0 && !pc.dropped {
		return
	}
	pc.dropped = false
	association := pc.association()
	beyond, left := 0, pc.sending[:0]
	for _, ch := range pc.sending {
		if association == nil || !ch.opened {
			continue // closed: BufferedAmount stays as it was
		}
		buffered := association.BufferedAmount(ch.stream)
		beyond += buffered
		if buffered > 0 {
			left = append(left, ch)
		}
		accepted, before, after := ch.accepted.Load(), ch.transmitted.Load(), ch.flushed-uint64(buffered)
		ch.transmitted.Store(after)
		if t := ch.threshold.Load(); accepted-before > t && accepted-after <= t && ch.ReadyState() == DataChannelStateOpen {
			ch.emit(&ch.onLow)
		}
	}
	clear(pc.sending[len(left):])
	pc.sending = left
	out := &pc.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.beyond = beyond
	if len(out.waiting) == 0 || out.cost+out.beyond > maxBuffered/2 {
		return
	}
	waiting := out.waiting[:0]
	for _, ch := range out.waiting {
		switch {
		case ch.room == nil: // woken otherwise
		case ch.ReadyState() == DataChannelStateOpen && ch.BufferedAmount() <= lowWater:
			ch.wake()
		default:
			waiting = append(waiting, ch)
		}
	}
	clear(out.waiting[len(waiting):])
	out.waiting = waiting
}
