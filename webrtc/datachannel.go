package webrtc

import (
	"errors"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// A DataChannelState is RTCDataChannelState.
type DataChannelState string

// The states.
const (
	DataChannelStateConnecting DataChannelState = "connecting"
	DataChannelStateOpen       DataChannelState = "open"
	DataChannelStateClosing    DataChannelState = "closing"
	DataChannelStateClosed     DataChannelState = "closed"
)

// A PriorityType is RTCPriorityType: how a channel shares with the connection's others.
type PriorityType string

// The priorities, each worth twice the one before it (RFC 8831 section 6.4).
const (
	PriorityVeryLow PriorityType = "very-low"
	PriorityLow     PriorityType = "low" // the default
	PriorityMedium  PriorityType = "medium"
	PriorityHigh    PriorityType = "high"
)

var priorities = map[PriorityType]uint16{"": 256, PriorityVeryLow: 128, PriorityLow: 256, PriorityMedium: 512, PriorityHigh: 1024}

// A DataChannelInit is RTCDataChannelInit. The zero value is an ordered and reliable channel.
type DataChannelInit struct {
	// Ordered says that messages are delivered in the order in which they were sent; nil is true.
	Ordered *bool
	// MaxPacketLifeTime, in milliseconds, is when a message is given up; MaxRetransmits is how often it is sent again at
	// most. At most one of the two may be set.
	MaxPacketLifeTime, MaxRetransmits *uint16
	// Protocol is the name of a subprotocol, of at most 65535 bytes.
	Protocol string
	// Negotiated says that the peer makes the same channel by itself, with the same ID.
	Negotiated bool
	// ID is the channel's, from 0 to 65534; required with Negotiated and else ignored.
	ID *uint16
	// Priority is the channel's weight against others.
	Priority PriorityType
}

// A DataChannel is RTCDataChannel: messages between two peers. Its methods may be called from any goroutine and from any
// handler. Handlers of a connection are called one after the other.
//
// What was received is read by a handler (OnMessage) or by Receive, Messages and ReadWriteCloser. Who reads nothing
// closes the window that the connection gives the peer, 16 MiB for all its channels, and so loses nothing.
type DataChannel struct {
	pc                *PeerConnection
	label, protocol   string
	ordered           bool
	maxPacketLifeTime *uint16
	maxRetransmits    *uint16
	negotiated        bool
	priority          PriorityType

	id       atomic.Int32 // -1: none yet
	state    atomic.Pointer[DataChannelState]
	gate     *gate
	closedUs atomic.Bool // Close was called

	accepted    atomic.Uint64 // bytes that Send has taken
	transmitted atomic.Uint64 // of them, bytes that were sent
	threshold   atomic.Uint64
	outgoing
	incoming

	onOpen, onClosing, onClose, onLow hook[struct{}]
	onError                           hook[*Error]

	// The loop's.

	opened   bool // the association knows it by stream
	returned bool // createDataChannel has
	standing bool // it is open, as far as the association is concerned
	stream   sctp.StreamID
	flushed  uint64
	wasOpen  bool
	number   int // of all channels of the connection, for stats
	sent     counter
	read     counter
}

// counter counts messages and their bytes.
type counter struct{ messages, bytes uint64 }

// newDataChannel checks what createDataChannel is given, in the order of the specification.
func newDataChannel(pc *PeerConnection, label string, init *DataChannelInit) (*DataChannel, error) {
	if init == nil {
		init = &DataChannelInit{}
	}
	label, protocol := scalars(label), scalars(init.Protocol)
	ch := &DataChannel{pc: pc, label: label, protocol: protocol, negotiated: init.Negotiated, priority: init.Priority,
		ordered: init.Ordered == nil || *init.Ordered}
	// 5. If the UTF-8 representation of label is longer than 65535 bytes, throw a TypeError. 8. protocol likewise.
	if len(label) > math.MaxUint16 {
		return nil, fail(TypeError, "the label is longer than 65535 bytes")
	}
	if len(protocol) > math.MaxUint16 {
		return nil, fail(TypeError, "the name of the protocol is longer than 65535 bytes")
	}
	if _, ok := priorities[init.Priority]; !ok {
		return nil, fail(TypeError, "the priority is %q: it may be very-low, low, medium or high", init.Priority)
	}
	ch.id.Store(-1)
	// 11. If negotiated is false, id is ignored; 12. if it is true and id is null, throw a TypeError.
	if init.Negotiated {
		if init.ID == nil {
			return nil, fail(TypeError, "a negotiated channel needs an ID")
		}
		ch.id.Store(int32(*init.ID))
	}
	// 13. If both maxPacketLifeTime and maxRetransmits are set, throw a TypeError.
	if init.MaxPacketLifeTime != nil && init.MaxRetransmits != nil {
		return nil, fail(TypeError, "a channel has a MaxPacketLifeTime or MaxRetransmits, not both")
	}
	ch.maxPacketLifeTime, ch.maxRetransmits = clone(init.MaxPacketLifeTime), clone(init.MaxRetransmits)
	// 16. If id is 65535, which is greater than the maximum allowed ID of 65534 but still qualifies as an unsigned short,
	// throw a TypeError.
	if ch.id.Load() == math.MaxUint16 {
		return nil, fail(TypeError, "the highest ID is 65534")
	}
	ch.setState(DataChannelStateConnecting)
	return ch, nil
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// scalars makes s valid, as Web IDL makes a USVString.
func scalars(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// remoteDataChannel makes the channel that the peer has opened.
func remoteDataChannel(pc *PeerConnection, id sctp.StreamID, cfg *sctp.ChannelConfig) *DataChannel {
	ch := &DataChannel{pc: pc, label: cfg.Label, protocol: cfg.Protocol, ordered: !cfg.Unordered,
		gate: new(gate), opened: true, stream: id}
	limit := uint16(min(cfg.Limit, math.MaxUint16))
	switch cfg.Reliability {
	case sctp.MaxRetransmits:
		ch.maxRetransmits = &limit
	case sctp.MaxLifetime:
		ch.maxPacketLifeTime = &limit
	}
	switch p := cfg.Priority; {
	case p <= 128:
		ch.priority = PriorityVeryLow
	case p <= 256:
		ch.priority = PriorityLow
	case p <= 512:
		ch.priority = PriorityMedium
	default:
		ch.priority = PriorityHigh
	}
	ch.id.Store(int32(id))
	ch.setState(DataChannelStateOpen)
	return ch
}

// config is what the association is to open.
func (ch *DataChannel) config() sctp.ChannelConfig {
	cfg := sctp.ChannelConfig{Label: ch.label, Protocol: ch.protocol, Unordered: !ch.ordered, Priority: priorities[ch.priority],
		Negotiated: ch.negotiated}
	switch {
	case ch.maxRetransmits != nil:
		cfg.Reliability, cfg.Limit = sctp.MaxRetransmits, uint32(*ch.maxRetransmits)
	case ch.maxPacketLifeTime != nil:
		cfg.Reliability, cfg.Limit = sctp.MaxLifetime, uint32(*ch.maxPacketLifeTime)
	}
	if ch.negotiated {
		cfg.ID = sctp.StreamID(ch.id.Load())
	}
	return cfg
}

func (ch *DataChannel) setState(s DataChannelState) { ch.state.Store(&s) }

// Label returns the label that the channel was made with.
func (ch *DataChannel) Label() string { return ch.label }

// Ordered reports whether messages are delivered in the order in which they were sent.
func (ch *DataChannel) Ordered() bool { return ch.ordered }

// MaxPacketLifeTime returns for how many milliseconds a message is tried; nil: no limit.
func (ch *DataChannel) MaxPacketLifeTime() *uint16 { return clone(ch.maxPacketLifeTime) }

// MaxRetransmits returns how often a message is sent again at most; nil: no limit.
func (ch *DataChannel) MaxRetransmits() *uint16 { return clone(ch.maxRetransmits) }

// Protocol returns the name of the subprotocol, or "".
func (ch *DataChannel) Protocol() string { return ch.protocol }

// Negotiated reports whether the program has negotiated the channel, rather than the connection.
func (ch *DataChannel) Negotiated() bool { return ch.negotiated }

// Priority returns the weight of the channel against others.
func (ch *DataChannel) Priority() PriorityType {
	if ch.priority == "" {
		return PriorityLow
	}
	return ch.priority
}

// ID returns the id of the channel, or nil before it is known: one that is not negotiated gets it when an answer has been
// applied.
func (ch *DataChannel) ID() *uint16 {
	if id := ch.id.Load(); id >= 0 {
		return new(uint16(id))
	}
	return nil
}

// ReadyState returns the state.
func (ch *DataChannel) ReadyState() DataChannelState {
	s := *ch.state.Load()
	// close(), 7: "Set the [[ReadyState]] slot of each of connection's RTCDataChannels to "closed"".
	if s == DataChannelStateClosing && ch.pc.SignalingState() == SignalingStateClosed {
		return DataChannelStateClosed
	}
	return s
}

// BufferedAmount returns how many bytes were taken by Send and not given to the network. It is not reset when the channel
// closes.
func (ch *DataChannel) BufferedAmount() uint64 {
	// In this order: what was transmitted was accepted before.
	transmitted := ch.transmitted.Load()
	return ch.accepted.Load() - transmitted
}

// BufferedAmountLowThreshold returns the threshold of OnBufferedAmountLow, which is 0 at first.
func (ch *DataChannel) BufferedAmountLowThreshold() uint64 { return ch.threshold.Load() }

// SetBufferedAmountLowThreshold sets the threshold of OnBufferedAmountLow, in bytes.
func (ch *DataChannel) SetBufferedAmountLowThreshold(n uint64) { ch.threshold.Store(n) }

// OnOpen sets the handler of the event open. As with every event, those that came before the first handler was set are
// delivered to it; nil removes it. It does not come once Close was called.
func (ch *DataChannel) OnOpen(f func()) {
	if f == nil {
		on(&ch.pc.events, &ch.onOpen, nil)
		return
	}
	on(&ch.pc.events, &ch.onOpen, func(struct{}) {
		// "announce the data channel as open", 1: "If the associated RTCPeerConnection object's [[IsClosed]] slot is true or
		// channel.[[ReadyState]] is "closing" or "closed", abort these steps": what the peer has done since comes afterwards.
		if !ch.closedUs.Load() {
			f()
		}
	})
}

// OnBufferedAmountLow sets the handler of bufferedamountlow: BufferedAmount has fallen to the threshold or below.
func (ch *DataChannel) OnBufferedAmountLow(f func()) { on(&ch.pc.events, &ch.onLow, bare(f)) }

// OnError sets the handler of error: why the channel is about to be closed, if not in good order.
func (ch *DataChannel) OnError(f func(*Error)) { on(&ch.pc.events, &ch.onError, f) }

// OnClosing sets the handler of closing: the peer is closing the channel.
func (ch *DataChannel) OnClosing(f func()) { on(&ch.pc.events, &ch.onClosing, bare(f)) }

// OnClose sets the handler of close: the channel is closed, by whomever. It does not come when the PeerConnection is
// closed by this program.
func (ch *DataChannel) OnClose(f func()) { on(&ch.pc.events, &ch.onClose, bare(f)) }

func bare(f func()) func(struct{}) {
	if f == nil {
		return nil
	}
	return func(struct{}) { f() }
}

func (ch *DataChannel) emit(h *hook[struct{}]) { emit(&ch.pc.events, ch.gate, h, struct{}{}, nil) }

// Close closes the channel (RTCDataChannel.close): what was sent is delivered first, and then both sides see it closed. It
// does not wait for that. What was received and not read is dropped.
func (ch *DataChannel) Close() error {
	ch.pc.call(func(now mono.Time) {
		if !ch.beginClosing() {
			return
		}
		ch.closedUs.Store(true)
		ch.discard()
		if !ch.opened { // nobody knows of it yet
			ch.pc.channelClosed(ch, nil)
			return
		}
		ch.pc.ending = append(ch.pc.ending, ch)
		ch.pc.flush(now)
	})
	return nil
}

// beginClosing leaves the states connecting and open.
func (ch *DataChannel) beginClosing() bool {
	ch.pc.out.mu.Lock()
	defer ch.pc.out.mu.Unlock()
	if s := ch.ReadyState(); s == DataChannelStateClosing || s == DataChannelStateClosed {
		return false
	}
	ch.setState(DataChannelStateClosing) // under the lock, so that Send takes nothing afterwards
	ch.wake()
	return true
}

// isClosed enters the state closed: from closing in its turn, so that the handler of closing does not meet a channel that is closed.
func (ch *DataChannel) isClosed(err error) {
	ch.pc.out.mu.Lock()
	if ch.ReadyState() == DataChannelStateClosing {
		ch.pc.events.inOrder(ch.gate, func() { ch.setState(DataChannelStateClosed) })
	} else {
		ch.setState(DataChannelStateClosed)
	}
	switch {
	case ch.pc.SignalingState() == SignalingStateClosed:
		ch.over = errClosed
	case err == nil:
		ch.over = io.EOF
	default:
		ch.over = err
	}
	ch.wake()
	ch.pc.out.mu.Unlock()
	ch.end(err)
}

// ReadWriteCloser returns the channel as a stream of bytes: what is written goes out in messages of at most 64 KiB, and
// what comes in is read without regard to messages. Write waits, as SendContext does. Read returns io.EOF once the peer has
// closed the channel. Close waits until the peer has everything and the channel is closed, so that the connection may be closed
// then; the error says that it has not. The channel should be ordered and reliable.
func (ch *DataChannel) ReadWriteCloser() io.ReadWriteCloser { return &stream{ch: ch} }

// userInitiatedAbort is the cause of the ABORT that Close sends, ours as browsers' (RFC 9260 section 3.3.10.12).
const userInitiatedAbort = 12

// channelError makes the error of an association the one that closes a channel.
func channelError(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Name: OperationError, Message: err.Error(), Detail: SCTPFailure}
	if s, ok := errors.AsType[*sctp.Error](err); ok {
		e.Message, e.SCTPCauseCode = s.Reason, int(s.Cause)
		if s.Remote && s.Cause == userInitiatedAbort {
			e.Message = "the peer has closed the connection"
		}
	}
	return e
}
