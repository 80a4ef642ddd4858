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
	rids        []string // of the encodings we send; empty: one without a rid
	fromTrack   bool     // made by addTrack, so that a remote section may take it (RFC 8829 section 5.10)
	hasTrack    bool     // addTrack has attached a track
	remote      bool     // made by a remote description

	negotiated
}

// negotiated is what descriptions decide, and a rollback takes back.
type negotiated struct {
	mid        string
	index      int // of the m= section; -1: none
	current    sdp.Direction
	fired      sdp.Direction
	stopped    bool
	msids      []sdp.MSID // the remote track's
	codecs     []Codec
	extensions []sdp.ExtMap
	sends      []string // rids that the answer left
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
	t.streams, t.track, t.rids = slices.Clone(init.Streams), init.Track, slices.Clone(init.RIDs)
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

// Stopped reports whether it is stopped for good.
func (t *Transceiver) Stopped() bool { return t.stopped }

// Codecs are the negotiated codecs, with the payload types of the section.
func (t *Transceiver) Codecs() []Codec { return slices.Clone(t.codecs) }

// Extensions are the negotiated header extensions.
func (t *Transceiver) Extensions() []sdp.ExtMap { return slices.Clone(t.extensions) }

// RIDs are those of the encodings that are sent, as negotiated; before an answer as wanted.
func (t *Transceiver) RIDs() []string {
	if t.sends != nil {
		return slices.Clone(t.sends)
	}
	return slices.Clone(t.rids)
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

// SetTrack attaches a track and its streams to the sender, as addTrack and setStreams do; an empty track takes it away.
func (t *Transceiver) SetTrack(track string, streams []string) {
	t.track, t.streams, t.session.dirty = track, slices.Clone(streams), true
	t.hasTrack = t.hasTrack || track != ""
}

// SetCodecPreferences orders and restricts the codecs; an empty list is the default again.
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

// Stop stops it: the next offer or answer rejects its section.
func (t *Transceiver) Stop() error {
	if t.session.state == Closed {
		return errClosed
	}
	if !t.stopping {
		t.stopping, t.direction, t.session.dirty = true, sdp.Inactive, true
	}
	return nil
}

// wanted are the codecs that may be negotiated, in our order.
func (t *Transceiver) wanted() (codecs []Codec, ordered bool) {
	ours := t.session.codecs(t.kind)
	if len(t.preferences) == 0 {
		return ours, false
	}
	for _, p := range t.preferences {
		i := slices.IndexFunc(ours, func(c Codec) bool { return c.Matches(&p) })
		codecs = append(codecs, ours[i])
	}
	return codecs, true
}

func (s *Session) codecs(kind string) []Codec {
	if kind == "audio" {
		return s.cfg.Audio
	}
	return s.cfg.Video
}
