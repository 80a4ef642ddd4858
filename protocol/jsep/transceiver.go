package jsep

import (
	"slices"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// A Transceiver is one media section of ours, or one to be (RTCRtpTransceiver, without the media).
type Transceiver struct {
	session *Session
	kind    string

	direction   sdp.Direction
	stopping    bool
	preferences []Codec
	streams     []string
	track       string
	initial     []string   // the rids that it was made with
	sources     []Encoding // for every rid that it ever had
	fromTrack   bool       // made by addTrack, so that a remote section may take it (RFC 8829 section 5.10)
	hasTrack    bool       // addTrack has attached a track
	remote      bool       // made by a remote description

	negotiated
}

// negotiated is what descriptions decide, and a rollback takes back.
type negotiated struct {
	mid       string
	index     int // of the m= section; -1: none
	current   sdp.Direction
	fired     sdp.Direction
	stopped   bool
	msids     []sdp.MSID // the remote track's
	receptive bool       // our offer asks for media, which may come before the answer

	send, receive []Codec // see Media
	extensions    []sdp.ExtMap
	mixed         bool
	reducedSize   bool
	receiverRTT   bool
	ecn           bool
	rids          []string // of the encodings we send; empty: one without a rid
	paused        []string // of these
	theirs        []string // of the encodings that the peer sends
	declared      []Source
	limit         uint64 // see Media.MaxBitrate
}

// TransceiverInit says how a transceiver begins.
type TransceiverInit struct {
	Direction sdp.Direction // default sendrecv
	Streams   []string      // ids of the streams of its track
	Track     string        // id of its track
	RIDs      []string      // of the encodings it sends
	AddTrack  bool          // made by addTrack rather than addTransceiver
}

// AddTransceiver adds a transceiver of kind "audio" or "video".
func (s *Session) AddTransceiver(kind string, init TransceiverInit) (*Transceiver, error) {
	if s.state == Closed {
		return nil, errClosed
	}
	if kind != "audio" && kind != "video" {
		return nil, fail(TypeError, "%q is neither audio nor video", kind)
	}
	if init.Direction == "" {
		init.Direction = sdp.SendRecv
	}
	t := s.newTransceiver(kind, init.Direction)
	t.streams, t.track, t.initial = slices.Clone(init.Streams), init.Track, slices.Clone(init.RIDs)
	t.rids = t.initial
	t.fromTrack, t.hasTrack = init.AddTrack, init.AddTrack
	s.dirty = true
	return t, nil
}

func (s *Session) newTransceiver(kind string, direction sdp.Direction) *Transceiver {
	t := &Transceiver{session: s, kind: kind, direction: direction, negotiated: negotiated{index: -1}}
	s.transceivers = append(s.transceivers, t)
	return t
}

// Kind is "audio" or "video".
func (t *Transceiver) Kind() string { return t.kind }

// MID is the mid of its section, or "" if it has none yet.
func (t *Transceiver) MID() string { return t.mid }

// Direction is the preferred direction.
func (t *Transceiver) Direction() sdp.Direction { return t.direction }

// CurrentDirection is the negotiated direction, or "".
func (t *Transceiver) CurrentDirection() sdp.Direction { return t.current }

// Stopping reports whether it was stopped by us, though the peer may not know it yet.
func (t *Transceiver) Stopping() bool { return t.stopping }

// Stopped reports whether it is stopped for good. It has a MID until an answer has rejected its section.
func (t *Transceiver) Stopped() bool { return t.stopped }

// SendCodecs are the codecs negotiated for sending, in order of preference and with the peer's payload types.
func (t *Transceiver) SendCodecs() []Codec { return slices.Clone(t.send) }

// ReceiveCodecs are the codecs negotiated for receiving, with our payload types: none while the negotiated direction is not to
// receive.
func (t *Transceiver) ReceiveCodecs() []Codec {
	if !t.current.Receives() {
		return nil
	}
	return slices.Clone(t.receive)
}

// Transport is the id of what carries its section, once an offer of ours or an answer has it; 0: nothing.
func (t *Transceiver) Transport() int {
	if t.index < 0 || t.send == nil && t.receive == nil {
		return 0
	}
	if sec := &t.session.sections[t.index]; !sec.rejected && sec.transport != nil {
		return sec.transport.ID
	}
	return 0
}

// Extensions are the negotiated header extensions of one direction.
func (t *Transceiver) Extensions(sent bool) []sdp.ExtMap { return inDirection(t.extensions, sent) }

// ReducedSize reports whether RTCP need not be compound.
func (t *Transceiver) ReducedSize() bool { return t.reducedSize }

// RIDs are those of the encodings that are sent; none if there is one without.
func (t *Transceiver) RIDs() []string { return slices.Clone(t.rids) }

// RemoteRIDs are those of the encodings that the peer sends.
func (t *Transceiver) RemoteRIDs() []string { return slices.Clone(t.theirs) }

// RemoteStreams are the ids of the streams that the remote track is in.
func (t *Transceiver) RemoteStreams() []string { return streamsOf(t.msids) }

// Encodings are what is sent, or will be: one at least.
func (t *Transceiver) Encodings() []Encoding {
	if len(t.rids) == 0 {
		return []Encoding{t.encoding("")}
	}
	var list []Encoding
	for _, r := range t.rids {
		list = append(list, t.encoding(r))
	}
	return list
}

// encoding returns the SSRCs of one encoding, which it keeps for good.
func (t *Transceiver) encoding(rid string) Encoding {
	for _, e := range t.sources {
		if e.RID == rid {
			return e
		}
	}
	e := Encoding{RID: rid, SSRC: t.session.ssrc(), RTX: t.session.ssrc(), FEC: t.session.ssrc()}
	t.sources = append(t.sources, e)
	return e
}

// SetDirection changes the preferred direction.
func (t *Transceiver) SetDirection(d sdp.Direction) error {
	if t.stopping || t.stopped {
		return fail(InvalidStateError, "the transceiver is stopped")
	}
	if t.direction != d {
		t.direction, t.session.dirty = d, true
	}
	return nil
}

// AddTrack says that addTrack has attached a track to the sender: a remote section may take the transceiver, and a
// rollback leaves it.
func (t *Transceiver) AddTrack() { t.hasTrack, t.session.dirty = true, true }

// SetStreams names the streams that our track is in (setStreams, addTrack).
func (t *Transceiver) SetStreams(streams []string) {
	if !slices.Equal(t.streams, streams) {
		t.streams, t.session.dirty = slices.Clone(streams), true
	}
}

// Streams are the ids of the streams that our track is in.
func (t *Transceiver) Streams() []string { return slices.Clone(t.streams) }

// SetCodecPreferences orders and restricts the codecs; an empty list is the default again. Each is one of the session's,
// without its retransmissions if these are not wanted.
func (t *Transceiver) SetCodecPreferences(codecs []Codec) error {
	for _, p := range codecs {
		if !slices.ContainsFunc(t.session.codecs(t.kind), func(c Codec) bool { return c.Matches(&p) }) {
			return fail(InvalidModificationError, "%s is not among the codecs", p.Name)
		}
	}
	if len(codecs) > 0 && !hasMedia(codecs) {
		return fail(InvalidModificationError, "there is no codec for media among the preferences")
	}
	t.preferences, t.session.dirty = slices.Clone(codecs), true
	return nil
}

// Stop stops it: the next answer has its section inactive, the next offer rejects it.
func (t *Transceiver) Stop() error {
	if t.session.state == Closed {
		return errClosed
	}
	if !t.stopping {
		t.stopping, t.direction, t.session.dirty = true, sdp.Inactive, true
	}
	return nil
}

// end is "stop the RTCRtpTransceiver". Its section is there until an answer has rejected it.
func (t *Transceiver) end() {
	t.stopped, t.stopping, t.direction, t.current = true, true, sdp.Inactive, ""
}

// wanted are the codecs that may be negotiated, in our order.
func (t *Transceiver) wanted() (codecs []Codec, ordered bool) {
	if len(t.preferences) > 0 {
		return t.preferences, true
	}
	return slices.DeleteFunc(slices.Clone(t.session.codecs(t.kind)), func(c Codec) bool { return c.Optional }), false
}

func (s *Session) codecs(kind string) []Codec {
	if kind == "audio" {
		return s.cfg.Audio
	}
	return s.cfg.Video
}
