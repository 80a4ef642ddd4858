package webrtc

import (
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// media is what a connection has of audio and video. It is made with the first transceiver.
type media struct {
	transceivers atomic.Pointer[[]*RTPTransceiver] // that are not stopped
	out          mediaOutbox
	rtt          atomic.Int64 // nanoseconds; 0: not known
	lips         lipSync

	// The loop's.

	sections map[string]*mediaSection // by mid
	streams  map[string]*MediaStream  // of the peer's, by id
	playing  []*DTMFSender            // have tones to play
}

// A mediaSection is a section of audio or video as it is in force. It does not change: another one takes its place.
type mediaSection struct {
	jsep.Media
	transceiver  *RTPTransceiver
	level, mixer uint8 // ids of header extensions; 0: not negotiated
}

// id returns the id of a header extension that comes; 0 if it was not negotiated.
func (s *mediaSection) id(uri string) uint8 {
	for _, e := range s.ReceiveExtensions {
		if e.URI == uri {
			return uint8(e.ID)
		}
	}
	return 0
}

// codec returns what a payload type that comes means; nil if it means nothing.
func (s *mediaSection) codec(pt rtp.PayloadType) *jsep.Codec {
	for i := range s.Receive {
		if s.Receive[i].Payload == uint8(pt) {
			return &s.Receive[i]
		}
	}
	return nil
}

// sends reports whether what is written in a codec may go out.
func (s *mediaSection) sends(c RTPCodec) bool {
	j := c.jsep()
	return slices.ContainsFunc(s.Send, func(n jsep.Codec) bool { return n.Matches(&j) })
}

// transceiverOf returns the object of a transceiver of the descriptions.
func (pc *PeerConnection) transceiverOf(j *jsep.Transceiver) *RTPTransceiver {
	for _, t := range pc.transceivers() {
		if t.jsep == j {
			return t
		}
	}
	return nil
}

// followMedia takes over what a description has changed of transceivers. What it returns queues the events, when their turn
// is.
func (pc *PeerConnection) followMedia(now mono.Time, c *jsep.Changes) (events func()) {
	if pc.media.Load() == nil && len(c.Created) == 0 {
		return func() {}
	}
	for _, j := range c.Created {
		g := &gate{open: !slices.ContainsFunc(c.Tracks, func(x jsep.TrackChange) bool { return x.Added && x.Transceiver == j })}
		encodings := unicast(j.Kind())
		if rids := j.RIDs(); len(rids) > 0 {
			encodings = nil
			for _, r := range rids {
				encodings = append(encodings, RTPEncodingParameters{RID: r})
			}
			defaultScales(j.Kind(), encodings)
		}
		pc.adopt(j, encodings, g)
	}
	all := pc.transceivers()
	var stopped, gone []*RTPTransceiver
	for _, j := range slices.Concat(c.Removed, c.Stopped) {
		if t := pc.transceiverOf(j); t != nil {
			if t.stopMedia() {
				stopped = append(stopped, t)
			}
			if slices.Contains(c.Removed, j) {
				gone = append(gone, t)
			}
		}
	}
	for _, t := range all {
		t.refresh()
	}
	pc.endTransactions()
	for _, t := range gone {
		t.state.Store(&transceiverState{direction: RTPTransceiverDirectionInactive, stopping: true, stopped: true})
	}
	// One that is stopped is in the set until an answer has rejected its section.
	list := slices.DeleteFunc(slices.Clone(all), func(t *RTPTransceiver) bool { s := t.state.Load(); return s.stopped && s.mid == "" })
	pc.media.Load().transceivers.Store(&list)
	var lost, gained []streamTrack
	for _, t := range all {
		if !t.state.Load().stopped {
			t.sender.follow()
			t.sender.agree()
			t.receiver.follow()
		}
		pc.followStreams(t, &lost, &gained)
	}
	for _, x := range gained {
		x.stream.known = true
	}
	// "For each track in muteTracks", "for each stream and track pair in removeList", then in addList, "for each entry entry in
	// trackEventInits"
	var mute, came []*RTPReceiver
	for _, x := range c.Tracks {
		i := slices.IndexFunc(all, func(t *RTPTransceiver) bool { return t.jsep == x.Transceiver })
		switch {
		case i < 0:
		case x.Added:
			came = append(came, all[i].receiver)
		default:
			mute = append(mute, all[i].receiver)
		}
	}
	return func() {
		for _, r := range mute {
			for _, track := range r.encodings() {
				track.deaf = true
				track.setMuted(true)
			}
		}
		for _, x := range lost {
			emit(&pc.events, x.receiver.gate, &x.stream.onRemoveTrack, x.receiver.track, nil)
		}
		for _, x := range gained {
			if !x.fresh {
				emit(&pc.events, nil, &x.stream.onAddTrack, x.receiver.track, nil)
			}
		}
		for _, r := range came {
			for _, track := range r.encodings() {
				track.deaf = false
			}
			emit(&pc.events, nil, &pc.onTrack, r, r.gate)
		}
		for _, t := range stopped {
			t.tellEnd()
		}
	}
}

// A streamTrack is a track of the peer's that a description has put into a stream, or taken out of it.
type streamTrack struct {
	stream   *MediaStream
	receiver *RTPReceiver
	fresh    bool // the stream came with the description: nobody can listen at it before the event track
}

// followStreams is "set the associated remote streams".
func (pc *PeerConnection) followStreams(t *RTPTransceiver, lost, gained *[]streamTrack) {
	r, m := t.receiver, pc.media.Load()
	have := *r.streams.Load()
	var want []string
	if !t.state.Load().stopped {
		want = t.jsep.RemoteStreams()
	}
	var list []*MediaStream
	for _, s := range have {
		if !slices.Contains(want, s.id) {
			s.remove(r.track)
			*lost = append(*lost, streamTrack{stream: s, receiver: r})
		}
	}
	for _, id := range want {
		s := m.stream(id, &pc.events)
		if s.add(r.track) {
			*gained = append(*gained, streamTrack{s, r, !s.known})
		}
		list = append(list, s)
	}
	r.streams.Store(&list)
}

// maxIdleStreams is how many streams without a track are kept for when they have tracks again.
const maxIdleStreams = 256

// stream returns the stream of an id: "unless a MediaStream object has previously been created with that id for this connection,
// create a MediaStream object with that id".
func (m *media) stream(id string, events *dispatcher) *MediaStream {
	s := m.streams[id]
	if s == nil {
		if len(m.streams) >= maxIdleStreams { // or they have tracks, whose number descriptions bound
			maps.DeleteFunc(m.streams, func(_ string, s *MediaStream) bool { return len(s.GetTracks()) == 0 })
		}
		s = &MediaStream{id: id, events: events}
		m.streams[id] = s
	}
	return s
}

// applyMedia takes over which sections are in force, once the peer knows them.
func (pc *PeerConnection) applyMedia(now mono.Time, list []jsep.Media) {
	all := pc.media.Load()
	if all == nil {
		return
	}
	clear(all.sections)
	for i := range list {
		m := &list[i]
		t := pc.transceiverOf(m.Transceiver)
		if t == nil {
			continue
		}
		s := &mediaSection{Media: *m, transceiver: t}
		s.level, s.mixer = s.id(rtp.URIAudioLevel), s.id(rtp.URIMixerAudioLevels)
		all.sections[m.MID] = s
		t.section = s
		t.receiver.section.Store(s)
		t.sender.tellEncodings(now)
	}
	for _, t := range pc.transceivers() {
		if t.section != nil && all.sections[t.section.MID] != t.section {
			t.section = nil
			t.receiver.section.Store(nil)
		}
		if id := t.jsep.Transport(); !t.state.Load().stopped {
			var x *DTLSTransport
			if id != 0 {
				x = pc.transport(id)
			}
			t.sender.transport.Store(x)
			t.receiver.transport.Store(x)
		}
		t.sender.judge()
	}
}

// reapplyMedia has a change between descriptions known.
func (pc *PeerConnection) reapplyMedia(now mono.Time) {
	media := pc.session.Media()
	var data *jsep.Data
	if d, ok := pc.session.Data(); ok {
		data = &d
	}
	pc.peer.Apply(now, pc.session.Transports(), media, data) // what could fail has not changed
	pc.applyMedia(now, media)
}

// tellEncodings tells the session how the encodings are to be sent.
func (s *RTPSender) tellEncodings(now mono.Time) {
	m, sender := s.pc.sectionOf(s.transceiver)
	if m == nil || sender == nil {
		return
	}
	least := 0
	for i := range s.encodings {
		e := &s.encodings[i]
		p := session.EncodingParameters{Active: e.active(), Priority: congestionPriority[e.Priority], DSCP: marking(m.Kind, e.NetworkPriority)}
		if e.MaxBitrate != nil {
			p.MaxBitrate = *e.MaxBitrate
		}
		sender.SetEncoding(now, i, p)
		if n := sender.MaxPayload(i); least == 0 || n < least {
			least = n
		}
	}
	s.told = sender
	s.maxPayload.Store(int32(least))
}

var congestionPriority = map[PriorityType]cc.Priority{PriorityVeryLow: cc.VeryLow, PriorityMedium: cc.Medium, PriorityHigh: cc.High}

// marking is the DSCP of a priority (RFC 8837 section 5): of audio and of interactive video, without the drop precedence.
func marking(kind string, p PriorityType) pkt.DSCP {
	switch {
	case p == PriorityVeryLow:
		return pkt.LowerEffort
	case p != PriorityMedium && p != PriorityHigh:
		return pkt.DefaultForwarding
	case kind == "audio":
		return pkt.EF
	case p == PriorityMedium:
		return pkt.AF42
	}
	return pkt.AF41
}

// sectionOf returns the section of a transceiver and what sends it; nil if it has none in force.
func (pc *PeerConnection) sectionOf(t *RTPTransceiver) (*mediaSection, *session.Sender) {
	if t.section == nil {
		return nil, nil
	}
	return t.section, pc.peer.Sender(t.section.MID)
}

// received takes the packets of media that a datagram has brought.
func (pc *PeerConnection) received(m *media) {
	for r, ok := pc.peer.NextPacket(); ok; r, ok = pc.peer.NextPacket() {
		s := m.sections[r.Stream.MID()]
		if s == nil {
			continue
		}
		receiver := s.transceiver.receiver
		captured, _ := r.Stream.Captured(r.Packet.Timestamp)
		receiver.hear(r.Arrival, &r.Packet, s.level, s.mixer, captured)
		track := receiver.layer(r.Stream.RID())
		track.ssrc.Store(uint32(r.Stream.SSRC()))
		track.payloadType = r.Packet.PayloadType
		if track.muted.Load() && !track.deaf && !track.ended.Load() {
			track.setMuted(false)
		}
		track.hear(r.Arrival, s, &r.Packet)
		track.put(&r.Packet, r.Arrival, r.Sequence)
	}
}

// handleRTP does what an event of the session asks for.
func (pc *PeerConnection) handleRTP(e *session.Event) {
	m := pc.media.Load()
	if pc.shut || m == nil {
		return
	}
	s := m.sections[e.MID]
	if s == nil {
		return
	}
	switch e.Kind {
	case session.StreamEnded:
		track := s.transceiver.receiver.layer(e.Stream.RID())
		if track.ssrc.Load() == uint32(e.Stream.SSRC()) {
			track.setMuted(true) // "If an RTCP BYE is received ... or the stream times out"
		}
	case session.KeyFrameWanted:
		s.transceiver.sender.wantKeyFrame(e.Encoding)
	case session.TargetBitrate:
		s.transceiver.sender.setBitrate(e.Encoding, int(min(e.Bitrate, math.MaxInt32)))
	case session.SenderReport:
		track := s.transceiver.receiver.layer(e.Stream.RID())
		r := &clockReport{ntp: e.NTP, timestamp: e.RTPTime, count: 1}
		if last := track.report.Load(); last != nil {
			r.count = last.count + 1
		}
		track.report.Store(r)
		if x := pc.peer.Transport(s.Transport); x != nil && x.Session() != nil {
			m.rtt.Store(int64(x.Session().RTT()))
		}
	}
}

// requestKeyFrame asks the peer for a key frame.
func (pc *PeerConnection) requestKeyFrame(now mono.Time, t *RemoteTrack) {
	if s := t.receiver.transceiver.section; s != nil {
		pc.peer.RequestKeyFrame(now, s.MID, t.RID())
	}
}

// post runs f on the loop, if the connection is there then; it does not wait.
func (pc *PeerConnection) post(f func(now mono.Time)) {
	pc.lease.Post(func(now mono.Time) {
		if !pc.shut {
			f(now)
		}
	})
}

// closeMedia ends what the connection has of media, without events.
func (pc *PeerConnection) closeMedia() {
	for _, t := range pc.transceivers() {
		t.stopMedia()
		t.state.Store(&transceiverState{mid: t.state.Load().mid, direction: RTPTransceiverDirectionInactive, stopping: true, stopped: true})
	}
	if m := pc.media.Load(); m != nil {
		m.playing = nil
	}
}
