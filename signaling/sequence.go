package signaling

import (
	"errors"
	"slices"
	"strconv"
	"time"
)

// What may wait for acknowledgement in one direction, and when the receiver acknowledges.
const (
	maxWaiting      = 1024
	maxWaitingBytes = 4 << 20
	ackAfter        = time.Second
	ackEvery        = 32
)

var (
	errFull    = errors.New("signaling: too much waits for acknowledgement")
	errUnsent  = errors.New("signaling: the other side acknowledges what was not sent")
	errGap     = errors.New("signaling: a message is missing before this one")
	errNothing = errors.New("signaling: a message has no seq")
)

// A sequence is one side's memory of a session: what it sent and the other side has not acknowledged, and what it took. It makes messages arrive once
// and in order whatever carriers do. Hub and client use the same. It has no lock of its own.
//
// Carriers read it by a cursor: the seq up to which they have sent. A new carrier starts at what the other side has taken.
type sequence struct {
	sent  uint64 // the highest seq given to a message
	acked uint64 // the highest seq that the other side has taken

	waiting []queued // those from acked+1 to sent
	bytes   int      // their size

	taken  uint64    // the highest seq taken from the other side
	told   uint64    // the highest seq that the other side was told we took
	ackDue time.Time // when it must be told of more; zero if it knows all
}

// A queued message is its JSON object without the opening brace, so that an ack can be put in front.
type queued []byte

// push gives a message its seq and keeps it until it is acknowledged. The error is errFull.
func (s *sequence) push(typ string, body []byte) (size int, err error) {
	q := make(queued, 0, len(typ)+len(body)+32)
	q = appendHeader(q, typ, s.sent+1)
	q = appendBody(q, body)
	if len(s.waiting) >= maxWaiting || s.bytes+len(q) > maxWaitingBytes {
		return 0, errFull
	}
	s.sent++
	s.waiting = append(s.waiting, q)
	s.bytes += len(q)
	return len(q), nil
}

// acknowledge forgets the messages up to n. The error is errUnsent.
func (s *sequence) acknowledge(n uint64) error {
	switch {
	case n > s.sent:
		return errUnsent
	case n <= s.acked:
		return nil // an older ack that was overtaken
	}
	gone := s.waiting[:n-s.acked]
	for i, q := range gone {
		s.bytes -= len(q)
		gone[i] = nil
	}
	s.waiting = s.waiting[len(gone):]
	if len(s.waiting) == 0 {
		s.waiting = nil
	}
	s.acked = n
	return nil
}

// A batch is what a carrier has to send.
type batch struct {
	messages []queued
	cursor   uint64    // up to where they go
	more     bool      // there are more than fit
	tell     bool      // the ack below is to be sent, alone if there are no messages
	ack      uint64    // the highest seq taken
	ackDue   time.Time // when to ask again because of an ack; zero: never
}

// pull gives what a carrier with that cursor has to send: up to limit bytes of messages but at least one, and an ack if there are messages, or it
// is due.
func (s *sequence) pull(cursor uint64, limit int, now time.Time) batch {
	cursor = min(max(cursor, s.acked), s.sent)
	messages := s.waiting[cursor-s.acked:]
	size, n := 0, 0
	for n < len(messages) && (n == 0 || size+len(messages[n]) <= limit) {
		size += len(messages[n])
		n++
	}
	b := batch{messages: slices.Clone(messages[:n]), cursor: cursor + uint64(n), more: n < len(messages), ackDue: s.ackDue}
	if n > 0 || (!s.ackDue.IsZero() && !s.ackDue.After(now)) {
		b.tell, b.ack, b.ackDue = true, s.tell(), time.Time{}
	}
	return b
}

// frames are the messages with the ack on them.
func (b batch) frames() [][]byte {
	out := make([][]byte, len(b.messages))
	for i, m := range b.messages {
		out[i] = m.appendTo(nil, b.ack)
	}
	return out
}

// take accepts the message of that seq: fresh is false if it came before. The error is errGap or errNothing.
func (s *sequence) take(seq uint64, now time.Time) (fresh bool, err error) {
	switch {
	case seq == 0:
		return false, errNothing
	case seq > s.taken+1:
		return false, errGap
	case seq == s.taken+1:
		s.taken++
		fresh = true
	}
	// What came before is acknowledged again too: the other side seems not to know.
	if s.taken-s.told >= ackEvery {
		s.ackDue = now
	} else if s.ackDue.IsZero() {
		s.ackDue = now.Add(ackAfter)
	}
	return fresh, nil
}

// tell is the ack to put on a frame that is about to be sent.
func (s *sequence) tell() uint64 {
	s.told, s.ackDue = s.taken, time.Time{}
	return s.taken
}

// appendTo appends the message as a frame with an ack.
func (q queued) appendTo(dst []byte, ack uint64) []byte {
	dst = append(dst, '{')
	if ack > 0 {
		dst = append(dst, `"ack":`...)
		dst = strconv.AppendUint(dst, ack, 10)
		dst = append(dst, ',')
	}
	return append(dst, q...)
}

// appendHeader begins an object, without its brace.
func appendHeader(dst []byte, typ string, seq uint64) []byte {
	dst = append(dst, `"type":"`...)
	dst = append(dst, typ...)
	dst = append(dst, '"')
	if seq > 0 {
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, seq, 10)
	}
	return dst
}

// appendBody goes on with the fields of body, a JSON object, and ends the object.
func appendBody(dst, body []byte) []byte {
	if len(body) > 2 { // not {}
		dst = append(dst, ',')
	}
	return append(dst, body[1:]...)
}
