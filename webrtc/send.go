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
	minCost     = 256     // what a short message counts while it waits for the loop
	keptArena   = 1 << 20 // an outbox that was larger is not used again
)

// An outbox is what was sent and the loop has not taken yet. One wake-up of the loop takes all of it.
type outbox struct {
	mu      sync.Mutex
	next    letters
	cost    int  // of next and of what the loop has taken and the association has not
	beyond  int  // bytes that the association has buffered
	posted  bool // the loop will come for it
	waiting []*DataChannel

	taken letters // the loop's, from index on
	index int
	start int
}

// letters are messages one after the other.
type letters struct {
	bytes    []byte
	messages []letter
}

type letter struct {
	ch   *DataChannel
	size int
	text bool
}

func (l *letter) cost() int { return max(l.size, minCost) }

// outgoing is a channel's part in sending.
type outgoing struct {
	room chan struct{} // closed when there is room again; nil if nobody waits
}

// Send sends a binary message. It never waits: the data is copied. ErrBufferFull says that 16 MiB are buffered already;
// a message larger than SCTPTransport.MaxMessageSize is a TypeError, and a channel that is not open an InvalidStateError.
func (ch *DataChannel) Send(data []byte) error { return send(ch, data, false) }

// SendText sends a string, as Send does.
func (ch *DataChannel) SendText(s string) error { return send(ch, scalars(s), true) }

// SendContext sends a binary message and waits for room first, if as much as 1 MiB is buffered for the channel. Else it
// is like Send. When ctx is done, the message is not sent and the error is that of ctx.
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
		return fail(InvalidStateError, "the channel is %s", s)
	}
	// 4. If the byte size of data exceeds the value of maxMessageSize, throw a TypeError.
	if limit := ch.pc.maxMessageSize.Load(); uint64(len(data)) > limit {
		return fail(TypeError, "the message has %d bytes: the peer takes %d", len(data), limit)
	}
	// 5. If queuing data is not possible because not enough buffer space is available, throw an OperationError.
	l := letter{ch, len(data), text}
	if out.cost+out.beyond+l.cost() > maxBuffered {
		return ErrBufferFull
	}
	out.next.bytes = append(out.next.bytes, data...)
	out.next.messages = append(out.next.messages, l)
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
		if ch.BufferedAmount() < highWater || ch.ReadyState() != DataChannelStateOpen {
			err = put(out, ch, data, text)
		}
		if !errors.Is(err, ErrBufferFull) {
			out.mu.Unlock()
			return err
		}
		if ch.room == nil {
			ch.room = make(chan struct{})
			out.waiting = append(out.waiting, ch)
		}
		room := ch.room
		out.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wake lets those who wait for room look again. The caller holds the lock of the outbox.
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
		if out.index == len(out.taken.messages) && !out.take() {
			break
		}
		l := out.taken.messages[out.index]
		err := errors.New("no association")
		if association != nil && l.ch.opened {
			err = association.Send(now, l.ch.stream, l.text, out.taken.bytes[out.start:out.start+l.size])
		}
		if errors.Is(err, sctp.ErrBufferFull) {
			break // HandleDatagram and AppendTransmit come back here
		}
		if err == nil {
			l.ch.flushed += uint64(l.size)
			l.ch.sent.messages++
			l.ch.sent.bytes += uint64(l.size)
			pc.isSending(l.ch)
		} // else the channel is closed, and BufferedAmount keeps what was never sent
		out.taken.messages[out.index] = letter{}
		out.index++
		out.start += l.size
		out.mu.Lock()
		out.cost -= l.cost()
		out.mu.Unlock()
	}
	pc.closeFlushed(now, association)
}

// take swaps the outbox for an empty one; false if there was nothing in it.
func (out *outbox) take() bool {
	out.mu.Lock()
	defer out.mu.Unlock()
	out.posted = false
	empty := letters{out.taken.bytes[:0], out.taken.messages[:0]}
	if cap(empty.bytes) > keptArena {
		empty = letters{}
	}
	out.taken, out.next = out.next, empty
	out.index, out.start = 0, 0
	if len(out.taken.messages) == 0 {
		out.taken, out.next = letters{}, letters{} // what is idle holds no buffers
		return false
	}
	return true
}

// empty reports whether the loop has taken all, and the association too.
func (out *outbox) empty() bool { return out.index == len(out.taken.messages) }

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
	if len(pc.sending) == 0 {
		return
	}
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
		case ch.BufferedAmount() <= lowWater:
			ch.wake()
		default:
			waiting = append(waiting, ch)
		}
	}
	clear(out.waiting[len(waiting):])
	out.waiting = waiting
}
