package sctp

import "fmt"

// EventKind says what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	// Established: the association stands. Channels that were opened before follow as ChannelOpen.
	Established EventKind = iota + 1
	// Restarted: the peer has started anew. All channels were closed, and the association stands again.
	Restarted
	// ChannelOpen: a channel may be used. Channel tells about it; Remote whether the peer opened it.
	ChannelOpen
	// Message: Data has come on a channel. Consume must be told once it needs no room any more.
	Message
	// BufferedAmountLow: what a channel has buffered has fallen to its threshold.
	BufferedAmountLow
	// ChannelClosing: the peer has closed a channel. What was sent on it before is still sent.
	ChannelClosing
	// ChannelClosed: a channel is gone and its id free. Err is set if it was not closed in good order.
	ChannelClosed
	// Closed: the association is over; the last event. Err is nil after a shutdown.
	Closed
)

func (k EventKind) String() string {
	names := [...]string{"", "Established", "Restarted", "ChannelOpen", "Message", "BufferedAmountLow", "ChannelClosing", "ChannelClosed", "Closed"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is something that happened. Which fields are set depends on the kind.
type Event struct {
	Kind   EventKind
	Stream StreamID
	// Text says whether a message is a string in UTF-8 (it is not checked) rather than binary.
	Text bool
	// Data is a message. It is valid until the next call of NextEvent.
	Data []byte
	// Channel is what a ChannelOpen is about, and Remote whether the peer opened it.
	Channel ChannelConfig
	Remote  bool
	Err     error
}

// Error is why an association ended, or a channel if not in good order.
type Error struct {
	// Remote says whether the peer ended it; else it was this end, or the path.
	Remote bool
	// Cause is the code in the peer's ABORT (RFC 9260 section 3.3.10); 0: there was none.
	Cause uint16
	// Reason is a sentence without its end; if it quotes the peer, the peer's words are in quotes.
	Reason string
}

func (e *Error) Error() string { return "sctp: " + e.Reason }

// eventQueue is a queue whose memory is used again.
type eventQueue struct {
	events []queuedEvent
	head   int
	told   int // events that are not messages
}

// queuedEvent is an Event in the form that takes little room as long as it is a Message.
type queuedEvent struct {
	kind   EventKind
	text   bool
	stream StreamID
	data   []byte
	other  *Event // all of it, if it is neither Message nor BufferedAmountLow
}

func (q *eventQueue) push(e Event) {
	queued := queuedEvent{kind: e.Kind, text: e.Text, stream: e.Stream, data: e.Data}
	if e.Kind != Message {
		q.told++
		if e.Kind != BufferedAmountLow {
			other := e
			queued.other = &other
		}
	}
	q.events = append(q.events, queued)
}

func (q *eventQueue) pop() (Event, bool) {
	if q.head == len(q.events) {
		return Event{}, false
	}
	e := q.events[q.head]
	q.events[q.head] = queuedEvent{}
	q.head++
	if e.kind != Message {
		q.told--
	}
	if q.head == len(q.events) {
		q.events, q.head = q.events[:0], 0
	} else if q.head > 64 && q.head > len(q.events)/2 {
		n := copy(q.events, q.events[q.head:])
		clear(q.events[n:])
		q.events, q.head = q.events[:n], 0
	}
	if e.other != nil {
		return *e.other, true
	}
	return Event{Kind: e.kind, Stream: e.stream, Text: e.text, Data: e.data}, true
}
