package sctp

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Reliability says how hard a channel tries (RFC 8832 section 5.1).
type Reliability uint8

// The kinds of reliability.
const (
	Reliable       Reliability = iota
	MaxRetransmits             // a message is sent again so many times at most
	MaxLifetime                // a message is given up so many milliseconds after Send
)

// ChannelConfig describes a channel. The zero value is ordered, reliable and of normal priority.
type ChannelConfig struct {
	Label, Protocol string // UTF-8, at most 65535 bytes each
	Unordered       bool
	Reliability     Reliability
	Limit           uint32 // of MaxRetransmits or MaxLifetime
	// Priority is the weight against other channels; RFC 8831 section 6.4 knows 128 (below normal), 256, 512 and 1024.
	// 0 is 256.
	Priority uint16
	// Negotiated says that the peer opens the same channel by itself, with the same ID, and nothing is said about it in
	// band.
	Negotiated bool
	ID         StreamID // only if Negotiated
}

// Errors of the calls on channels.
var (
	ErrBufferFull = errors.New("sctp: the send buffer is full: wait for BufferedAmountLow")
	ErrTooLarge   = errors.New("sctp: the message is larger than the peer takes, or than the send buffer")
	ErrNoChannel  = errors.New("sctp: there is no such channel, or it is closing")
	ErrClosed     = errors.New("sctp: the association is closing or closed")
	ErrNoID       = errors.New("sctp: all channel ids are taken")
	ErrTaken      = errors.New("sctp: the channel id is taken")
	ErrLabels     = errors.New("sctp: the labels and protocols of all channels are too long together")
)

// channel is a pair of streams with the same id.
type channel struct {
	id      StreamID
	claimed bool // somebody has opened it; else there is only what came on the stream

	// Sending.
	first, last *outMessage // what waits
	unacked     int         // messages that wait or are under way
	buffered    int         // bytes never sent, of messages of the program
	low         int         // the threshold of BufferedAmountLow
	pass        uint64      // its turn; see sendQueue
	place       int32       // in the heap, plus one
	numbers     [2]uint32   // the next, SSN or MID, and the next MID of what is unordered
	waitsForAck bool        // of DCEP: until then everything is ordered (RFC 8832 section 6)
	waiting     bool        // for the association or for streams, to be told of
	held        bool        // there are too few streams for it

	// Receiving.
	expected uint32 // the next number of what is ordered; 16 bits of it are compared with an SSN
	floor    uint32 // MIDs of unordered messages below it will not come
	early    earlyQueue
	partial  partials // of I-DATA

	// Closing.
	closing      bool // nothing more is taken from the program
	outgoingDone bool // our stream was reset
	incomingDone bool // the peer's stream was reset
	err          *Error

	cfg *ChannelConfig
}

// take returns the number of the next message on the stream.
func (ch *channel) take(unordered bool) uint32 {
	i := 0
	if unordered {
		i = 1
	}
	ch.numbers[i]++
	return ch.numbers[i] - 1
}

func (ch *channel) priority() uint16 {
	if ch.cfg == nil || ch.cfg.Priority == 0 {
		return 256
	}
	return ch.cfg.Priority
}

// Open opens a channel, and returns its id. It may be used at once: what is sent before the association stands waits
// for it.
func (a *Association) Open(now mono.Time, cfg ChannelConfig) (StreamID, error) {
	switch {
	case a.state > stateEstablished:
		return 0, ErrClosed
	case len(cfg.Label) > 65535 || len(cfg.Protocol) > 65535:
		return 0, errors.New("sctp: a label or protocol is longer than 65535 bytes")
	case !utf8.ValidString(cfg.Label) || !utf8.ValidString(cfg.Protocol):
		return 0, errors.New("sctp: a label or protocol is not UTF-8")
	case cfg.Reliability > MaxLifetime:
		return 0, fmt.Errorf("sctp: there is no reliability %d", cfg.Reliability)
	case cfg.Negotiated && cfg.ID >= maxStreams:
		return 0, fmt.Errorf("sctp: there is no channel id %d: the highest is %d", cfg.ID, maxStreams-1)
	}
	id := cfg.ID
	if a.labels+cfg.size() > maxLabels {
		return 0, ErrLabels
	}
	if !cfg.Negotiated {
		var ok bool
		if id, ok = a.freeID(); !ok {
			return 0, ErrNoID
		}
		cfg.ID = 0
	}
	ch := a.channels[id]
	switch {
	case ch != nil && (ch.claimed || ch.closing):
		return 0, ErrTaken
	case a.state == stateEstablished && int(id) >= min(a.outStreams, a.inStreams) && a.ext&extReconfig == 0:
		return 0, ErrNoID
	case ch == nil:
		if ch = a.newChannel(id); ch == nil {
			return 0, ErrNoID
		}
	}
	a.claim(ch, &cfg)
	if !cfg.Negotiated {
		ch.waitsForAck = true
		a.enqueue(now, ch, ppidDCEP, appendOpen(nil, &cfg), true)
	}
	switch {
	case a.state != stateEstablished:
		ch.waiting = true
	case a.lacks(ch):
		ch.waiting = true
		a.hold(now, ch)
	default:
		a.tell(Event{Kind: ChannelOpen, Stream: id, Channel: cfg})
	}
	a.deliverOrphans(now, ch)
	return id, nil
}

// freeID returns the lowest id of ours that is free.
func (a *Association) freeID() (StreamID, bool) {
	first := 0
	if a.cfg.Server {
		first = 1
	}
	for id := max(first, a.lowID); id < maxStreams; id += 2 {
		if a.channels[StreamID(id)] == nil {
			a.lowID = id
			return StreamID(id), true
		}
	}
	return 0, false
}

// ours reports whether id is one that this end chooses from.
func (a *Association) ours(id StreamID) bool { return id%2 == 1 == a.cfg.Server }

// newChannel makes a channel that nobody has claimed yet, or returns nil if there are too many.
func (a *Association) newChannel(id StreamID) *channel {
	if len(a.channels) >= a.cfg.MaxChannels {
		return nil
	}
	ch := &channel{id: id}
	a.channels[id] = ch
	return ch
}

// channel returns the channel with an id, or nil.
func (a *Association) channel(id StreamID) *channel {
	if ch := a.recent; ch != nil && ch.id == id {
		return ch
	}
	ch := a.channels[id]
	if ch != nil {
		a.recent = ch
	}
	return ch
}

// maxLabels bounds the labels and protocols of all channels together, in bytes: a peer may choose them.
const maxLabels = 4 << 20

func (c *ChannelConfig) size() int { return len(c.Label) + len(c.Protocol) }

func (a *Association) claim(ch *channel, cfg *ChannelConfig) {
	ch.claimed = true
	a.labels += cfg.size()
	kept := *cfg
	ch.cfg = &kept
}

// openWaiting tells of the channels that were opened before the association stood, but those for which there are too few
// streams.
func (a *Association) openWaiting(now mono.Time) {
	for _, id := range a.channelIDs(func(ch *channel) bool { return ch.waiting }) {
		ch := a.channels[id]
		switch {
		case a.lacks(ch):
			a.hold(now, ch)
		case ch.closing:
			ch.waiting = false
		default:
			ch.waiting = false
			a.tell(Event{Kind: ChannelOpen, Stream: id, Channel: *ch.cfg})
		}
	}
}

// hold has ch wait until there are enough streams for it; if the peer cannot add any, ch is closed.
func (a *Association) hold(now mono.Time, ch *channel) {
	if a.ext&extReconfig == 0 {
		a.removeChannel(ch, a.tooFewStreams())
		return
	}
	a.send.leave(ch)
	ch.held = true
	a.reset.lacking = append(a.reset.lacking, ch)
	a.request(now)
}

func (a *Association) tooFewStreams() *Error {
	return &Error{Remote: true, Reason: fmt.Sprintf("the peer offers only %d streams", min(a.outStreams, a.inStreams))}
}

// channelIDs returns the ids of the channels of which something is true, in order.
func (a *Association) channelIDs(is func(*channel) bool) (ids []StreamID) {
	for id, ch := range a.channels {
		if is(ch) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// SetPeerMaxMessageSize says what Config.PeerMaxMessageSize said, when the peer has told another limit: for what is sent
// from now on.
func (a *Association) SetPeerMaxMessageSize(n int) { a.cfg.PeerMaxMessageSize = max(n, 0) }

// Send sends a message on a channel: a string if text, else binary. It never waits; the data is copied.
func (a *Association) Send(now mono.Time, id StreamID, text bool, data []byte) error {
	if a.state > stateEstablished {
		return ErrClosed
	}
	ch := a.channel(id)
	if ch == nil || !ch.claimed || ch.closing {
		return ErrNoChannel
	}
	if limit := a.cfg.PeerMaxMessageSize; limit > 0 && len(data) > limit || len(data) > a.cfg.SendBuffer {
		return ErrTooLarge
	}
	if a.send.buffered+a.send.padding+max(len(data), 1) > a.cfg.SendBuffer {
		return ErrBufferFull
	}
	ppid := uint32(ppidBinary)
	if text {
		ppid = ppidString
	}
	if len(data) == 0 { // RFC 8831 section 6.6: one byte stands for none
		ppid, data = ppidBinaryEmpty, zeros[:1]
		if text {
			ppid = ppidStringEmpty
		}
	}
	a.enqueue(now, ch, ppid, data, false)
	return nil
}

func (a *Association) enqueue(now mono.Time, ch *channel, ppid uint32, data []byte, internal bool) {
	m := a.send.message()
	m.ch, m.ppid, m.internal = ch, ppid, internal
	m.data = a.pool.copyOf(data)
	m.most, m.expires = noLimit, mono.Never
	if !internal {
		m.unordered = ch.cfg.Unordered
		switch ch.cfg.Reliability {
		case MaxRetransmits:
			m.most = ch.cfg.Limit
		case MaxLifetime:
			m.expires = now.Add(time.Duration(ch.cfg.Limit) * time.Millisecond)
		}
		if m.counts() {
			ch.buffered += len(data)
			a.send.buffered += len(data)
		}
	}
	ch.unacked++
	a.send.add(m)
}

// unbuffer notes that n bytes of ch were sent for the first time or given up.
func (a *Association) unbuffer(ch *channel, n int) {
	was := ch.buffered
	ch.buffered -= n
	a.send.buffered -= n
	if was > ch.low && ch.buffered <= ch.low && !ch.closing {
		a.tell(Event{Kind: BufferedAmountLow, Stream: ch.id})
	}
}

// BufferedAmount returns how many bytes of messages of a channel were not sent yet.
func (a *Association) BufferedAmount(id StreamID) int {
	if ch := a.channels[id]; ch != nil {
		return ch.buffered
	}
	return 0
}

// SetBufferedAmountLow sets the threshold of BufferedAmountLow, which is 0 at first.
func (a *Association) SetBufferedAmountLow(id StreamID, threshold int) {
	if ch := a.channels[id]; ch != nil {
		ch.low = threshold
	}
}

// Close closes a channel: what was sent is delivered, then the streams are reset in both directions (RFC 8831 section
// 6.7), and ChannelClosed comes. It does nothing if the channel is closing or gone.
func (a *Association) Close(now mono.Time, id StreamID) {
	ch := a.channels[id]
	if ch == nil || !ch.claimed || ch.closing || a.state > stateEstablished {
		return
	}
	a.beginClosing(now, ch)
}

func (a *Association) beginClosing(now mono.Time, ch *channel) {
	ch.closing = true
	if a.state > stateEstablished && ch.unacked > 0 {
		return // it ends with the association, which sends what waits first
	}
	if a.state > stateEstablished || a.state < stateEstablished && ch.buffered == 0 || ch.held && ch.unacked == 0 {
		// The peer need not know of it.
		a.removeChannel(ch, ch.err)
		return
	}
	a.reset.waiting = append(a.reset.waiting, ch)
	a.request(now)
}

const tooLarge = "a message is larger than the maximum that was announced"

// closeWithError closes a channel on which the peer did what it must not.
func (a *Association) closeWithError(now mono.Time, id StreamID, why string) {
	ch := a.channels[id]
	if ch == nil {
		if ch = a.newChannel(id); ch == nil {
			return
		}
	}
	if ch.closing {
		return
	}
	ch.err = &Error{Remote: true, Reason: why}
	a.forgetIncoming(ch)
	a.beginClosing(now, ch)
}

// removeChannel forgets a channel and all that waits in it.
func (a *Association) removeChannel(ch *channel, err *Error) {
	s := &a.send
	s.leave(ch)
	for m := ch.first; m != nil; {
		next := m.next
		if m.counts() {
			s.buffered -= len(m.data) - m.cut
		}
		s.padding -= m.padding()
		if m.cut > 0 {
			s.begun -= len(m.data)
		}
		a.pool.put(m.data)
		s.recycle(m)
		m = next
	}
	ch.first, ch.last = nil, nil
	a.forgetIncoming(ch)
	delete(a.channels, ch.id)
	if a.recent == ch {
		a.recent = nil
	}
	if a.ours(ch.id) {
		a.lowID = min(a.lowID, int(ch.id))
	}
	if ch.cfg != nil {
		a.labels -= ch.cfg.size()
		e := Event{Kind: ChannelClosed, Stream: ch.id}
		if err != nil {
			e.Err = err
		}
		a.tell(e)
	}
}

// forgetIncoming throws away what has come on ch and cannot be delivered.
func (a *Association) forgetIncoming(ch *channel) {
	for _, m := range ch.early {
		a.forget(m)
	}
	ch.early = nil
	a.dropPartial(ch, 0, len(ch.partial))
}

// orphan is a message on a stream that nobody has claimed: a negotiated channel that this end has not opened yet.
type orphan struct {
	id StreamID
	m  inMessage
}

const maxOrphaned = 256 << 10 // bytes of them; what comes on top is dropped

// deliver hands a message to its channel.
func (a *Association) deliver(now mono.Time, ch *channel, m inMessage) {
	if m.ppid == ppidDCEP {
		a.handleDCEP(now, ch, m.data)
		a.forget(m)
		return
	}
	if !ch.claimed && !ch.closing && a.orphaned+len(m.data) <= maxOrphaned {
		a.orphans = append(a.orphans, orphan{ch.id, m})
		a.orphaned += cost(len(m.data))
		return
	}
	e := Event{Kind: Message, Stream: ch.id, Data: m.data}
	switch m.ppid {
	case ppidString:
		e.Text = true
	case ppidStringEmpty, ppidBinaryEmpty:
		e.Text = m.ppid == ppidStringEmpty
		e.Data = m.data[:0]
	case ppidBinary:
	default:
		ch = nil // RFC 8831 section 6.6 knows no others
	}
	if ch == nil || !ch.claimed || ch.incomingDone || ch.err != nil {
		a.stats.DroppedUnknownChannel++
		a.forget(m)
		return
	}
	if len(m.data) > a.cfg.MaxMessageSize {
		a.forget(m)
		a.closeWithError(now, ch.id, tooLarge)
		return
	}
	ch.waitsForAck = false // RFC 8832 section 6: data is as good as an acknowledgement
	a.stats.MessagesReceived++
	a.receive.unread += cost(len(m.data))
	a.events.push(e)
}

// deliverOrphans hands over what came before ch was claimed.
func (a *Association) deliverOrphans(now mono.Time, ch *channel) {
	if len(a.orphans) == 0 {
		return
	}
	var left []orphan
	for _, o := range a.orphans {
		if o.id != ch.id {
			left = append(left, o)
			continue
		}
		a.orphaned -= cost(len(o.m.data))
		a.deliver(now, ch, o.m)
	}
	a.orphans = left
}
