package webrtc

import (
	"slices"
	"sync/atomic"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// An RTPSender is RTCRtpSender. Its methods may be called from any goroutine and from any handler.
type RTPSender struct {
	pc          *PeerConnection
	transceiver *RTPTransceiver
	dtmf        *DTMFSender // nil for video

	track      atomic.Pointer[Track]
	transport  atomic.Pointer[DTLSTransport]
	rids       atomic.Pointer[[]string]         // of the encodings
	maxPayload atomic.Int32                     // 0: not known
	untaken    atomic.Bool                      // the peer takes other codecs than the track's
	refused    [jsep.MaxEncodings]atomic.Uint64 // packets of each encoding that the outbox had no room for

	targetBitrate   handler[int]
	keyFrameRequest handler[struct{}]

	// The loop's.

	encodings   []RTPEncodingParameters // [[SendEncodings]]
	unicast     []RTPEncodingParameters // what they were before an offer to receive simulcast
	returned    *RTPSendParameters      // [[LastReturnedParameters]]
	degradation DegradationPreference
	timelines   []timeline      // of the encodings
	bitrates    []int           // what was told last of each, in bits a second
	told        *session.Sender // has the encodings' parameters
}

// A timeline has the timestamps of an encoding go on when another track feeds it.
type timeline struct {
	feed   *feed
	offset uint32 // of what goes out, from what the feed has
	last   uint32 // of what went out
	step   uint32 // from what went out before it
	at     mono.Time

	frames, keyFrames uint64 // of video

	section     *mediaSection // in which payloadType is that of the source's codec, and ok says that it has one
	source      *source
	payloadType rtp.PayloadType
	ok          bool
}

// next returns the timestamp that goes out.
func (l *timeline) next(now mono.Time, f *feed, timestamp uint32) uint32 {
	clock := f.src.codec.ClockRate
	if l.feed != f {
		if l.at != 0 { // something went out before: a frame later at least
			l.offset = max(l.running(now, clock)-l.last, l.step) + l.last - timestamp
		}
		l.feed = f
	}
	out := timestamp + l.offset
	if l.at != 0 && seqnum.Before(out, l.last) { // it comes late
		return out
	}
	if out != l.last {
		l.step = out - l.last
	}
	l.last, l.at = out, now
	return out
}

// running returns where the timeline is now, in units of a clock.
func (l *timeline) running(now mono.Time, clock uint32) uint32 {
	elapsed := now.Sub(l.at)
	return l.last + uint32(int64(elapsed)/1000*int64(clock)/1_000_000)
}

// begin has it run before a feed has sent anything: a tone may come first.
func (l *timeline) begin(now mono.Time, first uint32) {
	if l.at == 0 {
		l.last, l.at = first, now
	}
}

// Track returns what is sent; nil if nothing is.
func (s *RTPSender) Track() Track {
	if t := s.track.Load(); t != nil {
		return *t
	}
	return nil
}

// Transport returns what it is sent over; nil before a description says so.
func (s *RTPSender) Transport() *DTLSTransport { return s.transport.Load() }

// DTMF returns what sends tones; nil for video.
func (s *RTPSender) DTMF() *DTMFSender { return s.dtmf }

// Transceiver returns the transceiver that it is the half of.
func (s *RTPSender) Transceiver() *RTPTransceiver { return s.transceiver }

func (s *RTPSender) setTrack(t Track) {
	if old := s.Track(); old != nil {
		old.source().detach(s)
	}
	if t == nil {
		s.track.Store(nil)
		s.judge()
		return
	}
	s.track.Store(&t)
	s.judge()
	t.source().attach(s)
	s.tellBitrates()
}

// judge finds out whether the peer takes what the track is written in, as far as descriptions say by now.
func (s *RTPSender) judge() {
	t, m := s.Track(), s.transceiver.section
	untaken := t != nil && m != nil && m.Sends && !m.sends(t.Codec())
	if was := s.untaken.Swap(untaken); was || !untaken || s.pc.network.cfg.Logger == nil {
		return
	}
	var taken []string
	for _, c := range m.Send {
		taken = append(taken, c.Name)
	}
	s.pc.network.cfg.Logger.Warn("a track is not sent: the peer does not take its codec", "mid", m.MID, "codec", t.Codec().MimeType, "taken", taken)
}

// ReplaceTrack sends another track from now on, or none if it is nil, without a negotiation (replaceTrack). One of another
// kind is a TypeError; one of a codec that is not negotiated, while something is sent, an InvalidModificationError; a sender that is
// stopped gives an InvalidStateError.
func (s *RTPSender) ReplaceTrack(t Track) error {
	if t != nil && !given(t) {
		return errNoTrack
	}
	if t != nil && t.Kind() != s.transceiver.kind {
		return fail(TypeError, "a track of %s cannot take the place of %s", t.Kind(), s.transceiver.kind)
	}
	return s.pc.try(func(mono.Time) error {
		if s.transceiver.state.Load().stopping {
			return errStopped
		}
		// "If sending is true, and withTrack is not null, determine if withTrack can be sent immediately by the sender without violating
		// the sender's already-negotiated envelope, and if it cannot, then reject p with a newly created InvalidModificationError"
		if m := s.transceiver.section; t != nil && m != nil && m.Sends && !m.sends(t.Codec()) {
			return fail(InvalidModificationError, "the peer has not agreed to %s", t.Codec().MimeType)
		}
		s.setTrack(t)
		return nil
	})
}

// SetStreams says in which streams the peer is to see the track (setStreams), for which an offer is needed.
func (s *RTPSender) SetStreams(streams ...*MediaStream) error {
	return s.pc.try(func(mono.Time) error {
		s.transceiver.jsep.SetStreams(streamIDs(streams))
		s.pc.updateNegotiation()
		return nil
	})
}

// GetParameters returns the parameters (getParameters), which SetParameters takes when they were changed. Until then, or until an
// offer or answer is made or a description is set, they are the same transaction.
func (s *RTPSender) GetParameters() (p RTPSendParameters) {
	s.pc.read(func(mono.Time) {
		if s.returned == nil {
			s.returned = s.parameters()
		}
		p = s.returned.copy()
	})
	return p
}

func (s *RTPSender) parameters() *RTPSendParameters {
	j := s.transceiver.jsep
	p := &RTPSendParameters{RTPParameters: RTPParameters{
		HeaderExtensions: headerExtensions(j.Extensions(true)),
		RTCP:             RTCPParameters{s.pc.session.CNAME(), j.ReducedSize()},
		Codecs:           codecParameters(s.transceiver.kind, j.SendCodecs()),
	}, TransactionID: newID(), Encodings: copyEncodings(s.encodings), DegradationPreference: s.degradation}
	for i := range p.Encodings {
		e := &p.Encodings[i]
		if e.Active == nil {
			e.Active = new(true)
		}
		for _, priority := range []*PriorityType{&e.Priority, &e.NetworkPriority} {
			if *priority == "" {
				*priority = PriorityLow
			}
		}
	}
	return p
}

// endTransactions is for what in the W3C's gives the event loop its turn: what getParameters has returned is out of date.
func (pc *PeerConnection) endTransactions() {
	for _, t := range pc.transceivers() {
		t.sender.returned = nil
	}
}

// SetParameters changes how it is sent, without a negotiation (setParameters): parameters that GetParameters has returned,
// changed in Encodings and DegradationPreference alone. Anything else changed is an InvalidModificationError, as are encodings
// added, removed or renamed, and a codec that is not negotiated; without a transaction or encodings it is a TypeError. Without
// GetParameters before it, since the last offer, answer or description, it is an InvalidStateError. Limits that there cannot be are
// RangeErrors, and a scalability mode that the codecs do not have is an OperationError.
func (s *RTPSender) SetParameters(p RTPSendParameters) error {
	return s.pc.try(func(now mono.Time) error {
		t, last := s.transceiver, s.returned
		switch {
		case t.state.Load().stopping:
			return errStopped
		case last == nil:
			return fail(InvalidStateError, "getParameters was not called since the last change")
		case p.TransactionID == "" || p.Encodings == nil: // "required"
			return fail(TypeError, "there is no transaction, or there are no encodings")
		case !p.DegradationPreference.valid():
			return fail(TypeError, "%q is no preference of degradation", p.DegradationPreference)
		}
		// "If any of the following conditions are met ... InvalidModificationError": encodings.length is different from N, a rid
		// is, or a parameter that is read-only.
		renamed := !slices.EqualFunc(p.Encodings, s.encodings, func(a, b RTPEncodingParameters) bool { return a.RID == b.RID })
		if renamed || p.TransactionID != last.TransactionID || p.RTCP != last.RTCP || !slices.Equal(p.Codecs, last.Codecs) ||
			!slices.Equal(p.HeaderExtensions, last.HeaderExtensions) {
			return fail(InvalidModificationError, "what cannot be changed was changed")
		}
		// "Let choosableCodecs be codecs. If choosableCodecs is an empty list, set choosableCodecs to transceiver.[[PreferredCodecs]]. If
		// choosableCodecs is still an empty list, set choosableCodecs to the list of implemented send codecs".
		codecs := t.jsep.SendCodecs()
		if len(codecs) == 0 {
			codecs = t.preferred
		}
		if len(codecs) == 0 {
			codecs = codecsOf(t.kind)
		}
		list := copyEncodings(p.Encodings)
		for _, e := range list {
			if e.Codec != nil && !choosable(t.kind, e.Codec, codecs) {
				return fail(InvalidModificationError, "%s is not among the codecs", e.Codec.MimeType)
			}
		}
		if err := checkEncodings(t.kind, list, codecs); err != nil {
			return err
		}
		for i := range list {
			// "for each encoding in encodings that doesn't contain a scaleResolutionDownBy member, add ... 1.0"
			if e := &list[i]; t.kind == "video" && e.ScaleResolutionDownBy == nil {
				e.ScaleResolutionDownBy = new(1.0)
			}
		}
		s.encodings, s.degradation, s.returned = list, p.DegradationPreference, nil
		for i := range s.timelines {
			s.timelines[i].section = nil // the codec may be another
		}
		s.tellEncodings(now)
		return nil
	})
}

// OnTargetBitrate sets the handler that is called with the bits a second that there are for what the sender sends, of all its
// encodings together: an encoder should produce that. With simulcast see the same of the parts of a track.
func (s *RTPSender) OnTargetBitrate(f func(bps int)) { s.targetBitrate.set(f) }

// OnKeyFrameRequest sets the handler that is called when the peer needs a key frame, of any encoding. With simulcast see
// the same of the parts of a track.
func (s *RTPSender) OnKeyFrameRequest(f func()) { s.keyFrameRequest.set(bare(f)) }

// setRIDs has the encodings found by their RIDs.
func (s *RTPSender) setRIDs() {
	var rids []string
	for _, e := range s.encodings {
		rids = append(rids, e.RID)
	}
	s.rids.Store(&rids)
}

// encodingOf returns which encoding something feeds. The caller holds the lock of its track.
func (s *RTPSender) encodingOf(f *feed) (encoding int, ok bool) {
	rids := *s.rids.Load()
	if f.rid != "" {
		i := slices.Index(rids, f.rid)
		return i, i >= 0
	}
	first := rids[0]
	return 0, first == "" || !slices.ContainsFunc(f.src.feeds, func(o *feed) bool { return o.rid == first })
}

// follow takes over what a description has made of the encodings.
func (s *RTPSender) follow() {
	rids := s.transceiver.jsep.RIDs()
	was := *s.rids.Load()
	if len(rids) == 0 {
		rids = []string{""}
	}
	if slices.Equal(rids, was) {
		return
	}
	kind := s.transceiver.kind
	switch before := s.encodings; {
	case was[0] == "": // an offer to receive simulcast: "proposedSendEncodings"
		s.unicast, s.encodings = before, nil
		for _, r := range rids {
			s.encodings = append(s.encodings, RTPEncodingParameters{RID: r})
		}
		defaultScales(kind, s.encodings)
	case rids[0] == "": // and its rollback
		if s.encodings = s.unicast; s.encodings == nil {
			s.encodings = unicast(kind)
		}
	default:
		s.encodings = nil
		for _, r := range rids {
			i := slices.IndexFunc(before, func(e RTPEncodingParameters) bool { return e.RID == r })
			if i >= 0 {
				s.encodings = append(s.encodings, before[i])
			} else {
				s.encodings = append(s.encodings, RTPEncodingParameters{RID: r})
			}
		}
	}
	s.timelines, s.bitrates, s.told, s.returned = nil, nil, nil, nil
	s.setRIDs()
}

// agree leaves of the encodings' codecs and modes what was negotiated: "if codec is not found in codecs, remove encoding.codec", and
// a mode that no codec has is left to the source (webrtc-svc section 4).
func (s *RTPSender) agree() {
	codecs := s.transceiver.jsep.SendCodecs()
	if len(codecs) == 0 {
		return
	}
	for i := range s.encodings {
		e := &s.encodings[i]
		if e.Codec != nil && !choosable(s.transceiver.kind, e.Codec, codecs) {
			e.Codec = nil
		}
		if !e.scalable(codecs) {
			e.ScalabilityMode = ""
		}
	}
}

// payloadType returns what a source is sent as: nothing if its codec was not negotiated, or the encoding is for another.
func (s *RTPSender) payloadType(m *mediaSection, encoding int, src *source) (rtp.PayloadType, bool) {
	l := &s.timelines[encoding]
	if l.section == m && l.source == src {
		return l.payloadType, l.ok
	}
	l.section, l.source, l.ok = m, src, false
	j := src.codec.jsep()
	if only := s.encodings[encoding].Codec; only != nil && !only.chooses(&j) {
		return 0, false
	}
	for i := range m.Send {
		if m.Send[i].Matches(&j) {
			l.payloadType, l.ok = rtp.PayloadType(m.Send[i].Payload), true
			break
		}
	}
	return l.payloadType, l.ok
}

// setBitrate takes over what there is for an encoding.
func (s *RTPSender) setBitrate(encoding, bps int) {
	for len(s.bitrates) < len(s.encodings) {
		s.bitrates = append(s.bitrates, 0)
	}
	if encoding < len(s.bitrates) {
		s.bitrates[encoding] = bps
		s.tellBitrates()
	}
}

// tellBitrates has the source know what there is for it, if that is known.
func (s *RTPSender) tellBitrates() {
	if s.bitrates == nil {
		return
	}
	total := 0
	for i, n := range s.bitrates {
		total += n
		if f := s.feedOf(i); f != nil {
			f.targetBitrate.offer(&s.pc.events, n)
		}
	}
	s.targetBitrate.offer(&s.pc.events, total)
}

// feedOf returns what feeds an encoding; nil if nothing does.
func (s *RTPSender) feedOf(encoding int) *feed {
	rids, t := *s.rids.Load(), s.Track()
	if t == nil || encoding >= len(rids) {
		return nil
	}
	return t.source().feedOf(rids[encoding], encoding)
}

// wantKeyFrame has the source know that a peer needs a key frame.
func (s *RTPSender) wantKeyFrame(encoding int) {
	if f := s.feedOf(encoding); f != nil {
		f.keyFrameRequest.offer(&s.pc.events, struct{}{})
	}
	s.keyFrameRequest.offer(&s.pc.events, struct{}{})
}
