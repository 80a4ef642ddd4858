package webrtc

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A Message is what came on a data channel. Its Data is the receiver's to keep.
type Message struct {
	Data []byte
	// IsText says that it was sent as a string.
	IsText bool
}

// Text returns the message as a string, with U+FFFD in place of what is no UTF-8.
func (m Message) Text() string { return strings.ToValidUTF8(string(m.Data), "\uFFFD") }

// incoming is what has come on a channel and was not read. The window of the association bounds it.
type incoming struct {
	rmu       sync.Mutex
	messages  []Message
	head      int
	handler   func(Message)
	scheduled bool // the dispatcher will come for the messages
	parked    bool // it came, and there was no handler
	ended     bool
	err       error         // what Receive returns after the last message
	arrived   chan struct{} // closed when there is something; nil if nobody waits
}

// receive takes a message from the loop.
func (ch *DataChannel) receive(m Message) {
	ch.rmu.Lock()
	defer ch.rmu.Unlock()
	if ch.ended {
		ch.pc.consumed(len(m.Data))
		return
	}
	ch.messages = append(ch.messages, m)
	if !ch.scheduled && !ch.parked {
		ch.scheduled = ch.pc.events.pass(ch.gate, ch.deliver)
		ch.parked = !ch.scheduled
	}
	ch.notify()
}

func (ch *DataChannel) notify() {
	if ch.arrived != nil {
		close(ch.arrived)
		ch.arrived = nil
	}
}

// pop takes the oldest message. The caller holds the lock.
func (in *incoming) pop() (m Message, ok bool) {
	if in.head == len(in.messages) {
		return Message{}, false
	}
	m = in.messages[in.head]
	in.messages[in.head] = Message{}
	in.head++
	if in.head == len(in.messages) {
		in.messages, in.head = in.messages[:0], 0
		if cap(in.messages) > 64 {
			in.messages = nil
		}
	}
	return m, true
}

// deliver calls the handler with what has come so far. What comes meanwhile is another event's.
func (ch *DataChannel) deliver() {
	ch.rmu.Lock()
	n := len(ch.messages) - ch.head
	ch.scheduled, ch.parked = false, ch.handler == nil
	ch.rmu.Unlock()
	for range n {
		ch.rmu.Lock()
		f := ch.handler
		var m Message
		ok := f != nil
		if ok {
			m, ok = ch.pop()
		} else {
			ch.parked = true // it was taken away
		}
		ch.rmu.Unlock()
		if !ok {
			return
		}
		size := len(m.Data)
		f(m)
		ch.pc.consumed(size)
	}
}

// OnMessage sets the handler of the event message. It gets what has come before, too. With nil, messages are kept for
// Receive.
func (ch *DataChannel) OnMessage(f func(Message)) {
	ch.rmu.Lock()
	defer ch.rmu.Unlock()
	ch.handler = f
	if f != nil && ch.parked {
		ch.parked, ch.scheduled = false, true
		ch.pc.events.first(ch.deliver)
	}
}

// Receive returns the next message, and waits for it until ctx is done. Once the channel is closed and everything was
// read it returns io.EOF, or an *Error if the channel was not closed in good order.
func (ch *DataChannel) Receive(ctx context.Context) (Message, error) {
	for {
		ch.rmu.Lock()
		if m, ok := ch.pop(); ok {
			ch.rmu.Unlock()
			ch.pc.consumed(len(m.Data))
			return m, nil
		}
		if ch.ended {
			defer ch.rmu.Unlock()
			return Message{}, ch.err
		}
		if ch.arrived == nil {
			ch.arrived = make(chan struct{})
		}
		arrived := ch.arrived
		ch.rmu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// Messages returns the messages one after the other, as Receive does, until the channel is closed or ctx is done. The last
// value is an error unless the channel was closed in good order.
func (ch *DataChannel) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			m, err := ch.Receive(ctx)
			if err == io.EOF {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// end says that nothing more comes. What the peer has sent before can still be read.
func (ch *DataChannel) end(err error) {
	ch.rmu.Lock()
	defer ch.rmu.Unlock()
	if ch.ended {
		return
	}
	if err == nil {
		err = io.EOF
	}
	ch.ended, ch.err = true, err
	ch.notify()
}

// discard drops what was not read, and what may still come.
func (ch *DataChannel) discard() {
	ch.rmu.Lock()
	defer ch.rmu.Unlock()
	for m, ok := ch.pop(); ok; m, ok = ch.pop() {
		ch.pc.consumed(len(m.Data))
	}
	if !ch.ended {
		ch.ended, ch.err = true, io.EOF
		ch.notify()
	}
}

// An eaten is what was read and the loop has not been told of. The loop looks at each of its turns, and is woken only for
// what matters to the window: as long as less is outstanding, the peer can go on.
type eaten struct {
	mu     sync.Mutex
	sizes  []int32
	spare  []int32
	bytes  int
	posted bool
}

// What is enough to wake the loop.
const (
	enoughBytes    = 32 << 10
	enoughMessages = 64
)

// consumed says that a message was read. It may be called from any goroutine.
func (pc *PeerConnection) consumed(size int) {
	e := &pc.eaten
	e.mu.Lock()
	e.sizes = append(e.sizes, int32(size))
	e.bytes += size
	post := !e.posted && (e.bytes >= enoughBytes || len(e.sizes) >= enoughMessages)
	e.posted = e.posted || post
	e.mu.Unlock()
	if post {
		pc.lease.Post(pc.consume)
	}
}

// consume opens the window by what was read.
func (pc *PeerConnection) consume(mono.Time) {
	e := &pc.eaten
	e.mu.Lock()
	sizes := e.sizes
	if len(sizes) == 0 {
		e.posted = false
		e.mu.Unlock()
		return
	}
	e.sizes, e.spare, e.bytes, e.posted = e.spare[:0], nil, 0, false
	e.mu.Unlock()
	if a := pc.association(); a != nil {
		for _, n := range sizes {
			a.Consume(int(n))
		}
	}
	if cap(sizes) <= 1024 {
		e.mu.Lock()
		e.spare = sizes
		e.mu.Unlock()
	}
}

// A stream is a channel as bytes.
type stream struct {
	ch   *DataChannel
	mu   sync.Mutex // of rest: one reads at a time
	rest []byte
}

// streamMessage is the size of the messages that a stream is cut into: as browsers take without complaint.
const streamMessage = 64 << 10

func (s *stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) == 0 && len(b) > 0 {
		m, err := s.ch.Receive(context.Background())
		if err != nil {
			return 0, err
		}
		s.rest = m.Data
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		s.ch.await(func() bool { return s.ch.ReadyState() != DataChannelStateConnecting }) // what the peer takes is not known before
		k := int(min(uint64(len(b)), streamMessage, max(s.ch.pc.maxMessageSize.Load(), 1)))
		if err := s.ch.SendContext(context.Background(), b[:k]); err != nil {
			return n, err
		}
		b, n = b[k:], n+k
	}
	return n, nil
}

// await waits until something holds of the channel's state. The end of the connection is one of them.
func (ch *DataChannel) await(holds func() bool) {
	out := &ch.pc.out
	out.mu.Lock()
	defer out.mu.Unlock()
	for !holds() {
		changed := ch.changes()
		out.mu.Unlock()
		<-changed
		out.mu.Lock()
	}
}

// Close closes the channel and waits until that is done.
func (s *stream) Close() error {
	s.ch.Close()
	s.ch.await(func() bool { return s.ch.over != nil })
	if s.ch.over == io.EOF {
		return nil
	}
	return s.ch.over
}
