package webrtc

import (
	"slices"
	"sync/atomic"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// An RTPTransceiverDirection is RTCRtpTransceiverDirection.
type RTPTransceiverDirection string

// The directions. Stopped cannot be set.
const (
	RTPTransceiverDirectionSendRecv RTPTransceiverDirection = "sendrecv"
	RTPTransceiverDirectionSendOnly RTPTransceiverDirection = "sendonly"
	RTPTransceiverDirectionRecvOnly RTPTransceiverDirection = "recvonly"
	RTPTransceiverDirectionInactive RTPTransceiverDirection = "inactive"
	RTPTransceiverDirectionStopped  RTPTransceiverDirection = "stopped"
)

func (d RTPTransceiverDirection) valid() bool {
	return slices.Contains([]RTPTransceiverDirection{"sendrecv", "sendonly", "recvonly", "inactive"}, d)
}

func (d RTPTransceiverDirection) sends() bool { return sdp.Direction(d).Sends() }

// An RTPTransceiverInit is RTCRtpTransceiverInit.
type RTPTransceiverInit struct {
	// Direction is sendrecv if empty.
	Direction RTPTransceiverDirection
	// Streams are those that the peer is to see the track in.
	Streams []*MediaStream
	// SendEncodings are what is sent: several, each with a RID, are simulcast.
	SendEncodings []RTPEncodingParameters
}

// An RTPTransceiver is RTCRtpTransceiver: a sender and a receiver that share a section of the descriptions. Its methods may be
// called from any goroutine and from any handler.
type RTPTransceiver struct {
	pc       *PeerConnection
	kind     string
	sender   *RTPSender
	receiver *RTPReceiver
	state    atomic.Pointer[transceiverState]

	// The loop's.

	jsep      *jsep.Transceiver
	preferred []jsep.Codec  // [[PreferredCodecs]]
	section   *mediaSection // in force; nil: none
	sent      bool          // the direction that was negotiated has included sending once
}

// transceiverState is what getters return.
type transceiverState struct {
	mid                string
	direction, current RTPTransceiverDirection
	stopping, stopped  bool
}

// MID returns the mid of the section; "" before it has one, and when it is stopped.
func (t *RTPTransceiver) MID() string { return t.state.Load().mid }

// Sender returns the half that sends.
func (t *RTPTransceiver) Sender() *RTPSender { return t.sender }

// Receiver returns the half that receives.
func (t *RTPTransceiver) Receiver() *RTPReceiver { return t.receiver }

// Direction returns the direction that the next offer or answer asks for; "stopped" once Stop was called.
func (t *RTPTransceiver) Direction() RTPTransceiverDirection {
	s := t.state.Load()
	if s.stopping {
		return RTPTransceiverDirectionStopped
	}
	return s.direction
}

// CurrentDirection returns the direction that was negotiated last; "" if none was, "stopped" if it is stopped.
func (t *RTPTransceiver) CurrentDirection() RTPTransceiverDirection {
	s := t.state.Load()
	if s.stopped {
		return RTPTransceiverDirectionStopped
	}
	return s.current
}

// SetDirection sets the direction (the attribute direction), for which an offer is needed. "stopped", or what is no
// direction, is a TypeError; of a transceiver that is being stopped it is an InvalidStateError.
func (t *RTPTransceiver) SetDirection(d RTPTransceiverDirection) error {
	return t.pc.try(func(mono.Time) error {
		if t.state.Load().stopping {
			return errStopped
		}
		if !d.valid() {
			return fail(TypeError, "%q cannot be set as direction", d)
		}
		t.setDirection(d)
		t.pc.updateNegotiation()
		return nil
	})
}

var errNoTrack = &Error{Name: TypeError, Message: "the track is nil, or was not made by NewSampleTrack or NewRTPTrack"}

var errStopped = &Error{Name: InvalidStateError, Message: "the transceiver is stopped"}

func (t *RTPTransceiver) setDirection(d RTPTransceiverDirection) {
	if t.jsep.SetDirection(sdp.Direction(d)) == nil {
		t.refresh()
	}
}

// SetCodecPreferences orders and restricts what is negotiated (setCodecPreferences); an empty list is the default again.
// Codecs are those of [RTPReceiverCapabilities]: others, and lists of nothing but repair, are InvalidModificationErrors.
func (t *RTPTransceiver) SetCodecPreferences(codecs []RTPCodec) error {
	list, err := preferences(t.kind, codecs)
	if err != nil {
		return err
	}
	return t.pc.try(func(mono.Time) error {
		err := exception(t.jsep.SetCodecPreferences(list))
		if err == nil {
			t.preferred = list
		}
		return err
	})
}

// Stop ends it for good (stop): it sends and receives nothing from now on, its remote track ends, and the next offer of ours says
// so to the peer; an answer has its section inactive. On a closed connection it is an InvalidStateError.
func (t *RTPTransceiver) Stop() error {
	return t.pc.try(func(now mono.Time) error {
		// 4. If transceiver.[[Stopping]] is true, abort these steps.
		if t.state.Load().stopping {
			return nil
		}
		if err := t.jsep.Stop(); err != nil {
			return exception(err)
		}
		if t.stopMedia() {
			t.tellEnd()
		}
		t.refresh() // before the media, which ask whether it is stopped
		t.pc.reapplyMedia(now)
		t.pc.updateNegotiation()
		return nil
	})
}

// stopMedia is "stop sending and receiving"; it returns false if that was done before.
func (t *RTPTransceiver) stopMedia() (first bool) {
	if s := t.sender.Track(); s != nil {
		s.source().detach(t.sender)
	}
	for _, track := range t.receiver.encodings() {
		first = track.end() || first
	}
	return first
}

// tellEnd is the event ended, of the tracks that stopMedia has ended.
func (t *RTPTransceiver) tellEnd() {
	for _, track := range t.receiver.encodings() {
		track.emit(&track.onEnded)
	}
}

// refresh has the getters see what descriptions have.
func (t *RTPTransceiver) refresh() {
	j := t.jsep
	t.state.Store(&transceiverState{j.MID(), RTPTransceiverDirection(j.Direction()), RTPTransceiverDirection(j.CurrentDirection()), j.Stopping() || j.Stopped(), j.Stopped()})
	t.sent = t.sent || j.CurrentDirection().Sends()
}

// AddTransceiver adds a transceiver without a track to send (addTransceiver of a kind): "audio" or "video". Nil is no init.
//
// TypeErrors are another kind, a direction that there is not, and RIDs that are malformed, doubled or missing in some
// encodings; a resolution that grows or a negative frame rate is a RangeError, a codec or scalability mode that there is not an
// OperationError.
func (pc *PeerConnection) AddTransceiver(kind string, init *RTPTransceiverInit) (*RTPTransceiver, error) {
	if kind != "audio" && kind != "video" {
		return nil, fail(TypeError, "%q is neither audio nor video", kind)
	}
	return pc.addTransceiver(kind, nil, init)
}

// AddTransceiverTrack adds a transceiver that sends a track (addTransceiver of a track). Errors are those of AddTransceiver.
func (pc *PeerConnection) AddTransceiverTrack(track Track, init *RTPTransceiverInit) (*RTPTransceiver, error) {
	if !given(track) {
		return nil, errNoTrack
	}
	return pc.addTransceiver(track.Kind(), track, init)
}

func (pc *PeerConnection) addTransceiver(kind string, track Track, init *RTPTransceiverInit) (t *RTPTransceiver, err error) {
	if init == nil {
		init = &RTPTransceiverInit{}
	}
	direction := init.Direction
	if direction == "" {
		direction = RTPTransceiverDirectionSendRecv
	}
	if !direction.valid() {
		return nil, fail(TypeError, "%q is no direction to begin with", direction)
	}
	if pc.SignalingState() == SignalingStateClosed {
		return nil, errClosed
	}
	encodings, err := newEncodings(kind, init.SendEncodings)
	if err != nil {
		return nil, err
	}
	err = pc.try(func(mono.Time) error {
		t, err = pc.makeTransceiver(kind, track, direction, init.Streams, encodings, false)
		return err
	})
	return t, err
}

func (pc *PeerConnection) makeTransceiver(kind string, track Track, d RTPTransceiverDirection, streams []*MediaStream, encodings []RTPEncodingParameters, addTrack bool) (*RTPTransceiver, error) {
	id := newID()
	if track != nil {
		id = track.ID()
	}
	init := jsep.TransceiverInit{Direction: sdp.Direction(d), Streams: streamIDs(streams), Track: id, AddTrack: addTrack}
	for _, e := range encodings {
		if e.RID != "" {
			init.RIDs = append(init.RIDs, e.RID)
		}
	}
	j, err := pc.session.AddTransceiver(kind, init)
	if err != nil {
		return nil, exception(err)
	}
	t := pc.adopt(j, encodings, nil)
	t.sender.setTrack(track)
	pc.updateNegotiation()
	return t, nil
}

// adopt makes the objects of a transceiver of the descriptions. The gate is that of its remote track.
func (pc *PeerConnection) adopt(j *jsep.Transceiver, encodings []RTPEncodingParameters, g *gate) *RTPTransceiver {
	t := &RTPTransceiver{pc: pc, kind: j.Kind(), jsep: j}
	t.sender = &RTPSender{pc: pc, transceiver: t, encodings: encodings}
	t.sender.setRIDs()
	if t.kind == "audio" {
		t.sender.dtmf = &DTMFSender{sender: t.sender}
	}
	t.receiver = newReceiver(t, g)
	t.refresh()
	if pc.media.Load() == nil {
		m := &media{sections: map[string]*mediaSection{}, streams: map[string]*MediaStream{}}
		m.out.flush = pc.flushMedia
		pc.media.Store(m)
	}
	list := append(pc.transceivers(), t)
	pc.media.Load().transceivers.Store(&list)
	return t
}

// transceivers returns all that are not stopped.
func (pc *PeerConnection) transceivers() []*RTPTransceiver {
	if m := pc.media.Load(); m != nil {
		if list := m.transceivers.Load(); list != nil {
			return slices.Clone(*list)
		}
	}
	return nil
}

// GetTransceivers returns the transceivers, in the order in which they came, without those that were stopped for good.
func (pc *PeerConnection) GetTransceivers() []*RTPTransceiver { return pc.transceivers() }

// GetSenders returns the senders of the transceivers.
func (pc *PeerConnection) GetSenders() (list []*RTPSender) {
	for _, t := range pc.transceivers() {
		list = append(list, t.sender)
	}
	return list
}

// GetReceivers returns the receivers of the transceivers.
func (pc *PeerConnection) GetReceivers() (list []*RTPReceiver) {
	for _, t := range pc.transceivers() {
		list = append(list, t.receiver)
	}
	return list
}

// AddTrack sends a track (addTrack), which the peer sees in these streams: with a sender that has never been used, or
// with a new transceiver. A track that is being sent already is an InvalidAccessError.
func (pc *PeerConnection) AddTrack(track Track, streams ...*MediaStream) (s *RTPSender, err error) {
	if !given(track) {
		return nil, errNoTrack
	}
	err = pc.try(func(now mono.Time) error {
		// 5. If an RTCRtpSender for track already exists in senders, throw an InvalidAccessError.
		for _, t := range pc.transceivers() {
			if have := t.sender.Track(); have != nil && sameTrack(have, track) {
				return fail(InvalidAccessError, "the track is being sent already")
			}
		}
		for _, t := range pc.transceivers() {
			// 6. The sender's track is null, the transceiver kind matches, [[Stopping]] is false, and the sender has never been
			// used to send.
			if t.sender.Track() == nil && t.kind == track.Kind() && !t.state.Load().stopping && !t.sent {
				t.jsep.AddTrack()
				t.jsep.SetStreams(streamIDs(streams))
				t.sender.setTrack(track)
				switch d := t.state.Load().direction; d {
				case RTPTransceiverDirectionRecvOnly:
					t.setDirection(RTPTransceiverDirectionSendRecv)
				case RTPTransceiverDirectionInactive:
					t.setDirection(RTPTransceiverDirectionSendOnly)
				}
				pc.updateNegotiation()
				s = t.sender
				return nil
			}
		}
		t, err := pc.makeTransceiver(track.Kind(), track, RTPTransceiverDirectionSendRecv, streams, unicast(track.Kind()), true)
		if err == nil {
			s = t.sender
		}
		return err
	})
	return s, err
}

// RemoveTrack stops sending what a sender sends (removeTrack); the sender stays. One of another connection is an
// InvalidAccessError.
func (pc *PeerConnection) RemoveTrack(s *RTPSender) error {
	return pc.try(func(mono.Time) error {
		// 3. If sender was not created by connection, throw an InvalidAccessError.
		if s == nil || s.pc != pc {
			return fail(InvalidAccessError, "the sender is another connection's")
		}
		t := s.transceiver
		// 6. If sender is not in senders (which indicates its transceiver was stopped or removed due to setting a session
		// description of type "rollback"), then abort these steps. 7. If sender.[[SenderTrack]] is null, abort these steps. And if
		// transceiver.[[Stopping]] is true.
		if !slices.Contains(pc.transceivers(), t) || s.Track() == nil || t.state.Load().stopping {
			return nil
		}
		s.setTrack(nil)
		switch t.state.Load().direction {
		case RTPTransceiverDirectionSendRecv:
			t.setDirection(RTPTransceiverDirectionRecvOnly)
		case RTPTransceiverDirectionSendOnly:
			t.setDirection(RTPTransceiverDirectionInactive)
		}
		pc.updateNegotiation()
		return nil
	})
}

// OnTrack sets the handler of track: the peer sends, or has put what it sends into another stream. The receiver has the
// streams and the transceiver. Events of the track follow after the handler has returned.
func (pc *PeerConnection) OnTrack(f func(*RemoteTrack, *RTPReceiver)) {
	if f == nil {
		on(&pc.events, &pc.onTrack, nil)
		return
	}
	on(&pc.events, &pc.onTrack, func(r *RTPReceiver) { f(r.track, r) })
}
