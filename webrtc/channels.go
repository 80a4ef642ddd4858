package webrtc

import (
	"errors"
	"slices"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// association returns that of the data channels; nil if there is none, or none any more.
func (pc *PeerConnection) association() *sctp.Association {
	if a := pc.peer.Association(); a != nil && !a.Over() {
		return a
	}
	return nil
}

// openChannel is the end of createDataChannel.
func (pc *PeerConnection) openChannel(now mono.Time, ch *DataChannel) error {
	// 18. If the value of [[DataChannelId]] is being used by an existing RTCDataChannel, throw an OperationError.
	if id := ch.id.Load(); id >= 0 && slices.ContainsFunc(pc.channels, func(c *DataChannel) bool { return c.id.Load() == id }) {
		return fail(OperationError, "the ID %d is taken", id)
	}
	if a := pc.association(); a != nil {
		if err := pc.open(now, a, ch); err != nil {
			return err
		}
	}
	pc.addChannel(ch)
	// 21. If channel was the first RTCDataChannel created on connection, update the negotiation-needed flag.
	pc.session.AddData()
	pc.updateNegotiation()
	return nil
}

func (pc *PeerConnection) addChannel(ch *DataChannel) {
	pc.numbered++
	ch.number = pc.numbered
	pc.channels = append(pc.channels, ch)
}

// open opens a channel in the association.
func (pc *PeerConnection) open(now mono.Time, a *sctp.Association, ch *DataChannel) error {
	id, err := a.Open(now, ch.config())
	if err != nil {
		e := &Error{Name: OperationError, Message: err.Error()}
		if errors.Is(err, sctp.ErrNoID) || errors.Is(err, sctp.ErrTaken) {
			e.Message = "there is no ID left, or it is taken, or there are too many channels"
		}
		return e
	}
	ch.opened, ch.stream = true, id
	ch.id.Store(int32(id))
	pc.byStream[id] = ch
	return nil
}

// applyData follows the data section of the descriptions.
func (pc *PeerConnection) applyData(now mono.Time, data *jsep.Data) {
	a := pc.association()
	if pc.associated != nil && pc.peer.Association() != pc.associated {
		pc.associationClosed(nil)
	}
	if data == nil || a == nil {
		return
	}
	// "Let remoteMaxMessageSize be the value of max-message-size, ... if it is 0, canSendSize": what can be buffered
	limit := data.MaxMessageSize
	if limit == 0 || limit > maxBuffered {
		limit = maxBuffered
	}
	pc.maxMessageSize.Store(limit)
	x := pc.transport(data.Transport)
	if s := pc.sctp.Load(); s != nil && pc.associated == a {
		s.update(func(s *sctpState) { s.transport = x })
		return
	}
	pc.associated = a
	pc.byStream = make(map[sctp.StreamID]*DataChannel)
	s := &SCTPTransport{pc: pc}
	s.state.Store(&sctpState{state: SCTPTransportStateConnecting, transport: x})
	pc.sctp.Store(s)
	// "If description negotiates the DTLS role of the SCTP transport, then for each RTCDataChannel with a null id: give it a new ID ...
	// If no available ID could be generated: announce the channel as closed, with an error."
	// Those with an ID of their own come first, so that none of theirs is given away.
	for _, negotiated := range [...]bool{true, false} {
		for _, ch := range slices.Clone(pc.channels) {
			if ch.opened || ch.negotiated != negotiated {
				continue
			}
			if err := pc.open(now, a, ch); err != nil {
				e, _ := errors.AsType[*Error](err)
				e.Detail = DataChannelFailure
				pc.channelClosed(ch, e)
			}
		}
	}
}

// dataRejected closes the channels that wait for an association: there will be none for them. The next one asks for it anew.
func (pc *PeerConnection) dataRejected() {
	for _, ch := range slices.Clone(pc.channels) {
		if !ch.opened {
			pc.channelClosed(ch, &Error{Name: OperationError, Detail: DataChannelFailure, Message: "the peer has rejected the data section, or wants no association of SCTP (a=sctp-port:0)"})
		}
	}
}

// handleSCTP does what an event of the association asks for.
func (pc *PeerConnection) handleSCTP(now mono.Time, e *sctp.Event) {
	if pc.shut {
		return
	}
	ch := pc.byStream[e.Stream]
	switch e.Kind {
	case sctp.Established:
		if s := pc.sctp.Load(); s != nil {
			s.update(func(s *sctpState) { s.state = SCTPTransportStateConnected })
			pc.countStreams(s)
			emit(&pc.events, nil, &s.onStateChange, SCTPTransportStateConnected, nil)
		}
	case sctp.ChannelOpen:
		pc.countStreams(pc.sctp.Load())
		if e.Remote {
			if pc.events.behind() {
				pc.associated.Close(now, e.Stream)
				return
			}
			pc.announce(e)
			return
		}
		if ch == nil {
			return
		}
		if ch.standing = true; ch.returned {
			pc.announceOpen(ch)
		}
	case sctp.Message:
		if ch == nil {
			pc.consumed(len(e.Data))
			return
		}
		ch.read.messages++
		ch.read.bytes += uint64(len(e.Data))
		ch.receive(Message{pc.network.copy(e.Data), e.Text})
	case sctp.ChannelClosing:
		if ch == nil {
			return
		}
		ch.end(nil) // all that the peer has sent is here, whatever becomes of the connection now
		if ch.beginClosing() {
			ch.emit(&ch.onClosing)
		}
	case sctp.ChannelClosed:
		if ch != nil {
			pc.channelClosed(ch, channelError(e.Err))
		}
	case sctp.Closed:
		pc.associationClosed(e.Err)
	}
}

// countStreams is "set transport.[[MaxChannels]] to the minimum of the negotiated amount of incoming and outgoing SCTP
// streams", and follows them where more are added for a channel.
func (pc *PeerConnection) countStreams(s *SCTPTransport) {
	if s == nil || pc.associated == nil || s.State() != SCTPTransportStateConnected {
		return
	}
	out, in := pc.associated.Streams()
	if most := uint16(min(out, in)); s.state.Load().channels == nil || *s.state.Load().channels != most {
		s.update(func(s *sctpState) { s.channels = &most })
	}
}

// announce tells of a channel that the peer has opened.
func (pc *PeerConnection) announce(e *sctp.Event) {
	ch := remoteDataChannel(pc, e.Stream, &e.Channel)
	pc.byStream[e.Stream] = ch
	pc.addChannel(ch)
	pc.isOpen(ch)
	emit(&pc.events, nil, &pc.onDataChannel, ch, ch.gate)
	ch.emit(&ch.onOpen)
}

// announceOpen is "announce the data channel as open", of a channel that was made here.
func (pc *PeerConnection) announceOpen(ch *DataChannel) {
	if ch.becomeOpen() {
		pc.isOpen(ch)
		ch.emit(&ch.onOpen)
	}
}

func (pc *PeerConnection) isOpen(ch *DataChannel) {
	pc.openedEver++
	ch.wasOpen = true
}

// becomeOpen leaves the state connecting.
func (ch *DataChannel) becomeOpen() bool {
	ch.pc.out.mu.Lock()
	defer ch.pc.out.mu.Unlock()
	if ch.ReadyState() != DataChannelStateConnecting {
		return false
	}
	ch.setState(DataChannelStateOpen)
	ch.wake()
	return true
}

// closeFlushed closes the channels that are to be closed and have nothing in the outbox any more.
func (pc *PeerConnection) closeFlushed(now mono.Time, a *sctp.Association) {
	if len(pc.ending) == 0 {
		return
	}
	pc.ending = slices.DeleteFunc(pc.ending, func(ch *DataChannel) bool {
		if a == nil || !ch.opened {
			return true
		}
		if ch.flushed < ch.accepted.Load() {
			return false
		}
		a.Close(now, ch.stream)
		return true
	})
}

// channelClosed is "the data channel's underlying data transport has been closed".
func (pc *PeerConnection) channelClosed(ch *DataChannel, err *Error) {
	if ch.opened {
		delete(pc.byStream, ch.stream)
		ch.opened = false
	}
	pc.channels = slices.DeleteFunc(pc.channels, func(c *DataChannel) bool { return c == ch })
	if ch.wasOpen {
		pc.closedEver++
	}
	if err != nil {
		ch.isClosed(err)
		emit(&pc.events, ch.gate, &ch.onError, err, nil)
	} else {
		ch.isClosed(nil)
	}
	ch.emit(&ch.onClose)
}

// associationClosed closes every channel that was opened in the association.
func (pc *PeerConnection) associationClosed(err error) {
	if pc.associated == nil || pc.shut {
		return
	}
	pc.associated = nil
	if s := pc.sctp.Load(); s != nil {
		s.update(func(s *sctpState) { s.state = SCTPTransportStateClosed })
		emit(&pc.events, nil, &s.onStateChange, SCTPTransportStateClosed, nil)
	}
	for _, ch := range slices.Clone(pc.channels) {
		if ch.opened {
			pc.channelClosed(ch, channelError(err))
		}
	}
}
