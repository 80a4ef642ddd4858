package jsep

import (
	"encoding/hex"
	"slices"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// moves is the state machine: what a description of a type, set on a side, makes of a state (RFC 8829 section 3.2).
var moves = map[bool]map[Type]map[SignalingState]SignalingState{
	false: { // local
		Offer:    {Stable: HaveLocalOffer, HaveLocalOffer: HaveLocalOffer},
		Answer:   {HaveRemoteOffer: Stable, HaveLocalPranswer: Stable},
		Pranswer: {HaveRemoteOffer: HaveLocalPranswer, HaveLocalPranswer: HaveLocalPranswer},
		Rollback: {HaveLocalOffer: Stable, HaveRemoteOffer: Stable},
	},
	true: { // remote
		Offer:    {Stable: HaveRemoteOffer, HaveRemoteOffer: HaveRemoteOffer},
		Answer:   {HaveLocalOffer: Stable, HaveRemotePranswer: Stable},
		Pranswer: {HaveLocalOffer: HaveRemotePranswer, HaveRemotePranswer: HaveRemotePranswer},
		Rollback: {HaveLocalOffer: Stable, HaveRemoteOffer: Stable},
	},
}

// valid refuses what is no value of the enumeration, as bindings of the W3C's interfaces do.
func (t Type) valid() error {
	if moves[false][t] == nil {
		return fail(TypeError, "%q is not a type of description", string(t))
	}
	return nil
}

// SetLocal applies a local description (setLocalDescription). With an empty type it is the offer or answer that the state
// asks for; with empty text the last created one, made anew if something has changed since.
func (s *Session) SetLocal(d Description) (Changes, error) {
	if s.state == Closed {
		return Changes{}, errClosed
	}
	// 4.1 Let type be description.type if present, or else "offer" if connection.[[SignalingState]] is either "stable",
	// "have-local-offer", or "have-remote-pranswer"; otherwise "answer".
	if d.Type == "" {
		d.Type = Answer
		if s.state == Stable || s.state == HaveLocalOffer || s.state == HaveRemotePranswer {
			d.Type = Offer
		}
	}
	if err := d.Type.valid(); err != nil {
		return Changes{}, err
	}
	last, create := &s.lastAnswer, s.CreateAnswer
	if d.Type == Offer {
		last, create = &s.lastOffer, func() (Description, error) { return s.CreateOffer(OfferOptions{}) }
	}
	switch {
	case d.Type == Rollback:
		return s.set(d, false)
	case d.SDP != "" && d.SDP != *last:
		// 4.3, 4.4: not what was created last
		return Changes{}, fail(InvalidModificationError, "the description is not the %s that was created last", d.Type)
	}
	if _, ok := moves[false][d.Type][s.state]; !ok {
		return Changes{}, fail(InvalidStateError, "a local %s cannot be set in the state %s", d.Type, s.state)
	}
	// 4.5, 4.6: If sdp is the empty string, use the last created one, unless it is outdated.
	if d.SDP == "" {
		if *last == "" || s.dirty {
			if _, err := create(); err != nil {
				return Changes{}, err
			}
		}
		d.SDP = *last
	}
	return s.set(d, false)
}

// SetRemote applies a remote description (setRemoteDescription). An offer that meets our own rolls ours back.
func (s *Session) SetRemote(d Description) (Changes, error) {
	if s.state == Closed {
		return Changes{}, errClosed
	}
	if d.Type == Offer && s.state == HaveLocalOffer {
		// 4. If description.type is "offer" and the description is invalid for the current signaling state: roll back first,
		// whatever comes of the offer.
		first, err := s.set(Description{Type: Rollback}, false)
		if err != nil {
			return Changes{}, err
		}
		c, err := s.set(d, true)
		c.RolledBack, c.Before = true, first.Before
		c.ClosedIDs = append(first.ClosedIDs, c.ClosedIDs...)
		c.Removed = append(first.Removed, c.Removed...)
		c.Tracks = append(first.Tracks, c.Tracks...)
		if err != nil {
			c.After, c.Transports = s.state, s.Transports() // the rollback stands
		}
		return c, err
	}
	return s.set(d, true)
}

func (s *Session) parse(d Description) (*sdp.Description, error) {
	parsed, err := sdp.Parse(d.SDP)
	if err != nil {
		return nil, syntax(err)
	}
	return parsed, nil
}

// set is "set a session description".
func (s *Session) set(d Description, remote bool) (Changes, error) {
	c := Changes{Before: s.state}
	if err := d.Type.valid(); err != nil {
		return c, err
	}
	next, ok := moves[remote][d.Type][s.state]
	if !ok {
		return c, fail(InvalidStateError, "a description of type %s cannot be set in the state %s", d.Type, s.state)
	}
	if d.Type == Rollback {
		s.rollback(&c)
		return c, nil
	}
	parsed, err := s.created.parsed, error(nil)
	if remote || parsed == nil || s.created.text != d.SDP {
		parsed, err = s.parse(d)
	}
	if err != nil {
		return c, err
	}
	if remote {
		if err := s.check(d.Type, parsed); err != nil {
			return c, err
		}
	}
	before := s.save()
	if s.state == Stable {
		s.stable = before
	}
	if !remote {
		for i := range s.planned {
			s.addGathered(parsed.Media[i], &s.planned[i]) // since it was created
		}
	}
	switch {
	case d.Type == Offer && remote:
		err = s.applyRemoteOffer(parsed, &c)
	case d.Type == Offer:
		s.applyLocalOffer()
	default:
		err = s.applyAnswer(parsed, d.Type == Answer, remote, &c)
	}
	if err == nil {
		err = s.entropy
	}
	if err != nil {
		s.restore(before, func(*Transceiver) bool { return false })
		return Changes{Before: s.state}, err
	}
	for _, t := range c.Stopped {
		t.end()
	}
	if before.data != nil && s.data == nil {
		s.initSpent = true // another one has other tags, lest what is under way of the former be taken for its own
	}
	if d.Type == Answer && s.data == nil && (before.data != nil || s.offersData(remote)) {
		c.DataRejected, s.wantData = true, false
	}
	kept := &description{kind: d.Type, text: d.SDP, parsed: parsed}
	if !remote {
		s.created = description{}
		kept.changed = true
	}
	switch {
	case d.Type == Answer && remote:
		s.currentRemote, s.currentLocal = kept, s.pendingLocal
	case d.Type == Answer:
		s.currentLocal, s.currentRemote = kept, s.pendingRemote
	case remote:
		s.pendingRemote = kept
	default:
		s.pendingLocal = kept
	}
	if remote && d.Type != Pranswer || remote && s.trickle == nil {
		trickle := slices.Contains(iceOptions(parsed), "trickle")
		s.trickle = &trickle
	}
	s.state = next
	if d.Type == Answer {
		s.pendingLocal, s.pendingRemote, s.lastOffer, s.lastAnswer, s.planned = nil, nil, "", "", nil
		s.settleRestart()
		s.stop(&c)
	} else if remote {
		s.lastAnswer = ""
	}
	s.conclude(&c)
	return c, nil
}

// offersData reports whether the offer, ours or the peer's, asks for an association of SCTP.
func (s *Session) offersData(ours bool) bool {
	offer := s.pendingRemoteSDP()
	if ours {
		offer = s.pendingLocal.sdp()
	}
	b := bundlingOf(offer)
	for i, m := range offer.Media {
		if m.Kind == "application" && !b.rejected(i) && !closesData(m) {
			return true
		}
	}
	return false
}

func (s *Session) conclude(c *Changes) {
	s.dirty = true
	if s.state == Stable {
		s.stable = state{} // nothing is to be rolled back
	}
	c.After, c.Data = s.state, s.data
	c.Transports, c.Media = s.Transports(), s.Media()
}

// rollback is step 4.5.11 of "set a session description".
func (s *Session) rollback(c *Changes) {
	before := slices.Clone(s.transports)
	all, fired := slices.Clone(s.transceivers), []sdp.Direction(nil)
	var stopped []*Transceiver
	for _, t := range all {
		fired = append(fired, t.fired)
		if t.stopped { // for good
			stopped = append(stopped, t)
		}
	}
	// A transceiver that the description created stays only if addTrack has attached a track to it since; those that were
	// added otherwise lose their mid.
	c.Removed = s.restore(s.stable, func(t *Transceiver) bool { return !t.remote || t.hasTrack })
	for _, t := range s.transceivers {
		if t.remote && t.index < 0 {
			t.remote, t.fromTrack = false, true // addTrack has made it ours: the next offer may have it
		}
	}
	for _, t := range stopped {
		t.end()
	}
	for i, t := range all {
		switch {
		case fired[i].Receives() && (!t.fired.Receives() || slices.Contains(c.Removed, t)):
			c.Tracks = append(c.Tracks, TrackChange{Transceiver: t})
		case !fired[i].Receives() && t.fired.Receives() && !t.stopped: // the offer took it away
			c.Tracks = append(c.Tracks, TrackChange{t, true, streamsOf(t.msids)})
		}
	}
	s.closed(before, c)
	s.pendingLocal, s.pendingRemote, s.lastOffer, s.lastAnswer, s.planned = nil, nil, "", "", nil
	s.state = Stable
	s.conclude(c)
}

// closed notes which transports are gone.
func (s *Session) closed(before []*transport, c *Changes) {
	for _, t := range before {
		if !slices.Contains(s.transports, t) {
			c.ClosedIDs = append(c.ClosedIDs, t.ID)
		}
	}
}

// applyLocalOffer makes the sections and transports that the last created offer has laid out (RFC 8829 section 5.9).
func (s *Session) applyLocalOffer() {
	tagged := (*transport)(nil)
	for i, x := range s.planned {
		if i == len(s.sections) {
			s.sections = append(s.sections, section{})
		}
		sec := &s.sections[i]
		if x.fresh {
			s.nextMID = max(s.nextMID, x.nextMID)
			if old := sec.transceiver; old != nil && old.index == i {
				old.mid, old.index = "", -1
			}
			*sec = section{mid: x.mid, kind: x.kind, transceiver: x.transceiver}
		}
		sec.rejected = x.rejected && (sec.rejected || !sec.negotiated)
		if t := sec.transceiver; t != nil && !x.rejected {
			t.mid, t.index = x.mid, i
			t.receptive = t.direction.Receives()
			t.prepare(x)
		}
		if x.own {
			if sec.transport = x.transport; x.transport == nil {
				s.nextTransport++
				t := x.made
				t.ID, t.MID, t.Controlling = s.nextTransport, x.mid, !s.cfg.Lite
				sec.transport = &t
				s.transports = append(s.transports, &t)
			}
			sec.transport.move(x.mid)
			sec.transport.Restart = x.restart
			sec.transport.Spare = x.grouped && tagged != nil && !sec.transport.Answered
		} else if x.fresh {
			sec.transport = x.transport
		}
		if tagged == nil && x.grouped {
			tagged = sec.transport
		}
		if !x.rejected && sec.transport == nil {
			sec.transport = tagged
		}
	}
}

// prepare makes ready for what the peer may send before its answer has come (RFC 8829 section 5.9), beside what it sends
// already.
func (t *Transceiver) prepare(x slot) {
	ready := slices.Clone(x.codecs)
	for _, c := range t.receive {
		if !slices.ContainsFunc(ready, func(r Codec) bool { return r.Payload == c.Payload }) {
			ready = append(ready, c)
		}
	}
	t.receive = ready
	if t.extensions == nil {
		t.extensions, t.mixed = x.extensions, true
	}
}

// applyRemoteOffer finds or makes transceivers and transports for what is offered (RFC 8829 section 5.10).
func (s *Session) applyRemoteOffer(d *sdp.Description, c *Changes) error {
	b, shared := bundlingOf(d), map[*sdp.Group]*transport{}
	for i := range d.Media { // a group is carried on what carries its first section that has something
		if i < len(s.sections) && !b.rejected(i) && !s.sections[i].rejected {
			if g := b.of(i); g != nil && shared[g] == nil {
				shared[g] = s.sections[i].transport
			}
		}
	}
	for i, m := range d.Media {
		mid, _ := m.Attr("mid")
		if i == len(s.sections) {
			s.sections = append(s.sections, section{mid: mid, kind: m.Kind})
		}
		sec := &s.sections[i]
		rejected := b.rejected(i)
		if sec.mid != mid || sec.kind != m.Kind { // recycled
			if t := sec.transceiver; t != nil {
				t.mid, t.index = "", -1
			}
			*sec = section{mid: mid, kind: m.Kind}
		}
		if rejected {
			if err := s.receive(sec, i, m, true, true, c); err != nil {
				return err
			}
			continue
		}
		sec.rejected = false
		g := b.of(i)
		switch {
		case g != nil && shared[g] != nil:
			sec.transport = shared[g]
		case sec.transport == nil:
			sec.transport = s.newTransport(mid)
			sec.transport.Controlling = d.Has("ice-lite") && !s.cfg.Lite // a lite agent never controls a full one
			fallthrough
		default:
			if g != nil {
				shared[g] = sec.transport
			}
		}
		if g == nil || b.tagged(g, nil) == i {
			s.offeredTransport(sec.transport, d, b.source(i))
		}
		if err := s.receive(sec, i, m, true, false, c); err != nil {
			return err
		}
	}
	return nil
}

// offeredTransport keeps the peer's credentials: at once where there were none, else until our answer.
func (s *Session) offeredTransport(t *transport, d *sdp.Description, i int) {
	remote := Credentials{attribute(d, i, "ice-ufrag"), attribute(d, i, "ice-pwd")}
	if !t.Answered {
		t.Remote = remote
		t.RemoteLite, t.RemoteOptions = d.Has("ice-lite"), options(d, i)
	}
	t.next = remote
}

func options(d *sdp.Description, i int) []string {
	return append(d.Media[i].ICEOptions(), d.ICEOptions()...)
}

// receive runs the W3C's steps of a remote media section for its transceiver.
func (s *Session) receive(sec *section, i int, m *sdp.Media, offer, rejected bool, c *Changes) error {
	if rejected {
		sec.rejected = true
	}
	if m.Kind != "audio" && m.Kind != "video" {
		return nil
	}
	theirs := directionOf(m)
	if sec.transceiver == nil && !rejected {
		// RFC 8829 section 5.10: one that addTrack made and that has no section yet, if they receive
		if theirs.Receives() {
			for _, t := range s.transceivers {
				if t.kind == m.Kind && t.fromTrack && t.index < 0 && !t.stopping && !t.stopped {
					sec.transceiver = t
					break
				}
			}
		}
		if sec.transceiver == nil {
			sec.transceiver = s.newTransceiver(m.Kind, sdp.RecvOnly)
			sec.transceiver.remote = true
			c.Created = append(c.Created, sec.transceiver)
		}
		sec.transceiver.index, sec.transceiver.mid = i, sec.mid
		if sec.mid == "" { // RFC 8829 section 5.10: the peer knows no mids
			sec.transceiver.mid, s.nextMID = s.mid(s.nextMID)
		}
	}
	if t := sec.transceiver; t != nil && offer && !rejected {
		if len(t.rids) == 0 && t.kind == "video" {
			t.rids = proposed(m)
		}
		if theirs.Sends() {
			t.theirs = sent(m) // until the answer says what is left of them: the event track comes before that
		}
	}
	t := sec.transceiver
	if t == nil {
		return nil
	}
	if rejected && !t.stopped {
		// "If the media description is rejected, and transceiver.[[Stopped]] is false, then stop the RTCRtpTransceiver": once all
		// else was in order
		c.Stopped = append(c.Stopped, t)
	}
	direction := sdp.DirectionOf(theirs.Receives(), theirs.Sends())
	if rejected {
		direction = sdp.Inactive
	}
	var msids []sdp.MSID
	if direction.Receives() {
		all, err := m.MSIDs()
		if err != nil {
			return syntax(err)
		}
		if msids = bounded(all); len(msids) == 0 {
			msids = s.unnamed(m)
		}
	}
	s.track(t, direction, msids, c)
	return nil
}

// track is "process remote tracks".
func (s *Session) track(t *Transceiver, direction sdp.Direction, msids []sdp.MSID, c *Changes) {
	before, streams := streamsOf(t.msids), streamsOf(msids)
	t.msids = msids
	more := slices.ContainsFunc(streams, func(id string) bool { return !slices.Contains(before, id) })
	switch {
	case direction.Receives() && (!t.fired.Receives() || more):
		c.Tracks = append(c.Tracks, TrackChange{t, true, streams})
	case !direction.Receives() && t.fired.Receives():
		c.Tracks = append(c.Tracks, TrackChange{Transceiver: t})
	}
	t.fired = direction
}

// unnamed is which streams the track of a section is in that has no a=msid: those of its sources (draft-ietf-mmusic-msid-05 section
// 4), else "a random msid-id value is generated for a "default" MediaStream for the session, if not already present" (RFC 8829
// section 5.8.2).
func (s *Session) unnamed(m *sdp.Media) (msids []sdp.MSID) {
	sources, _ := m.SSRCs()
	for _, x := range sources {
		if x.Name != "msid" {
			continue
		}
		if msid, err := sdp.ParseMSID(x.Value); err == nil {
			msids = append(msids, msid)
		}
	}
	if msids = bounded(msids); msids == nil {
		if s.defaultStream == "" {
			s.defaultStream = hex.EncodeToString(s.random(16))
		}
		msids = []sdp.MSID{{Stream: s.defaultStream}}
	}
	return msids
}

// maxStreams bounds the streams that the peer's track of one section is in.
const maxStreams = 64

// bounded returns the first entry of each stream, of so many.
func bounded(msids []sdp.MSID) (first []sdp.MSID) {
	for _, m := range msids {
		if len(first) < maxStreams && !slices.ContainsFunc(first, func(f sdp.MSID) bool { return f.Stream == m.Stream }) {
			first = append(first, m)
		}
	}
	return first
}

// streamsOf are the ids of the streams, each once.
func streamsOf(msids []sdp.MSID) (streams []string) {
	for _, m := range msids {
		if m.Stream != "-" && !slices.Contains(streams, m.Stream) {
			streams = append(streams, m.Stream)
		}
	}
	return streams
}
