package session

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// What streams are taken to be of use for, where nobody says.
const (
	minAudio, maxAudio = 16_000, 128_000
	minVideo, maxVideo = 30_000, 2_500_000
	layerStep          = 4   // each encoding of a simulcast set has so much less than the one above it
	layerLeast         = 4   // and is of no use with less than its most divided by this
	beyondSent         = 1.5 // what is sent anyhow may grow by this much
	usualShare         = 0.9 // of what is on the wire is payload, until it is known
	wireLeast          = 500 // bytes between two looks that it is known from
	beyondHeard        = 1.1 // and audio, which seldom does: the rest is lost to video
	// allocateEvery is how often what is sent is looked at for the allocation, without news from the peer.
	allocateEvery = 200 * time.Millisecond
	// dataActive is how long data count as waiting, and video as being sent, after the last of it.
	dataActive = time.Second
	dataLeast  = 4096 // bytes between two looks that are no mere acknowledgements
	tellChange = 50   // a target is told again if it has changed by one part in this
)

// Overheads of a packet of RTP.
const defaultOverhead = 28 + 16 // IPv4, UDP, and the tag of SRTP

// congestion is the control of it, once something is sent.
type congestion struct {
	*cc.Controller
	streams   []cc.Stream
	layers    []cc.Layer
	shared    cc.Rate   // the target, when it was shared last
	nextLook  mono.Time // when that is due at the latest
	data      bool      // they take part in the allocation
	dataWait  mono.Time // when data last waited for their turn
	dataBytes int       // that flowed since the last look
	dataInput float64   // bits a second of them
	videoAt   mono.Time // when video was last sent
	audioAt   mono.Time // when audio was
	yielding  yielding
	popAt     mono.Time // before that the pacer has nothing, as nothing has changed since it said so
}

// flow is what an encoding is given and takes.
type flow struct {
	slot     int    // of session.slots
	target   uint64 // for the encoder, in bits a second; 0: it is off
	decided  bool   // there is a target
	toldRate uint64
	told     bool
	pending  bool // an event tells it, or will

	wire, useful    uint64 // bytes: on the wire, and of payload sent for the first time, since the last look
	queued          uint64 // bytes of payload that Send took since then
	share           float64
	input           float64 // bits a second of payload that Send takes
	lastLost        int32   // of the last report
	lastHighest     uint32
	reported        bool
	paddingAt       int64 // number of the packet that was sent as padding last
	perPacketReport bool  // of each packet something is told
}

// SetOverhead says how many bytes each packet of RTP has on the wire besides: IP, UDP, SRTP, a relay's.
func (s *Session) SetOverhead(bytes int) { s.overhead = bytes }

// startCongestion makes the controller once there is something to send.
func (s *Session) startCongestion(now mono.Time) {
	if s.congestion.Controller != nil {
		return
	}
	for _, c := range s.sections {
		if c.Sends {
			s.congestion = congestion{Controller: cc.New(now, cc.Config{}), nextLook: mono.Never}
			s.allocate(now)
			return
		}
	}
}

// place gives an encoding a number that the pacer knows its packets by.
func (s *Session) place(e *encoding) {
	e.flow = flow{slot: len(s.slots), share: usualShare}
	for i, o := range s.slots {
		if o == nil {
			e.flow.slot = i
			s.slots[i] = e
			return
		}
	}
	s.slots = append(s.slots, e)
}

// kindOf is what a packet of a section is to the pacer.
func kindOf(c *section) cc.Kind {
	if c.Kind == "audio" {
		return cc.Audio
	}
	return cc.Video
}

// wireSize is about what a payload, with values of extensions, takes on the wire.
func (s *Session) wireSize(payload int) int { return 12 + 16 + payload + s.overhead }

// push gives a packet of an encoding to the pacer, with its size as wireSize has it.
func (s *Session) push(now mono.Time, e *encoding, kind cc.Kind, size int) bool {
	s.congestion.popAt = 0
	return s.congestion.Push(now, kind, uint64(e.flow.slot), size)
}

// pop takes from it what may leave now.
func (s *Session) pop(now mono.Time) (cc.Release, bool) {
	g := &s.congestion
	if g.Controller == nil || now < g.popAt {
		return cc.Release{}, false
	}
	r, ok := g.Pop(now)
	if !ok {
		g.popAt = g.NextTimeout()
	}
	return r, ok
}

// tellSent notes a packet that leaves, and returns its transport-wide number.
func (s *Session) tellSent(now mono.Time, e *encoding, ssrc rtp.SSRC, seq uint16, size int, kind cc.Kind, cluster uint16) uint16 {
	size += s.overhead
	if kind != cc.Padding {
		e.flow.wire += uint64(size)
	}
	switch kind {
	case cc.Video:
		s.congestion.videoAt = now
	case cc.Audio:
		s.congestion.audioAt = now
	}
	if !e.flow.perPacketReport {
		s.marked = pkt.NotECT
		s.congestion.Other(now, size)
		return 0
	}
	s.marked = s.mark(now, e, kind)
	return s.congestion.Sent(now, cc.Packet{SSRC: ssrc, Seq: seq, Size: size, Kind: kind, Cluster: cluster, ECT: s.marked != pkt.NotECT})
}

// handleReports takes in what the blocks of one report say of losses.
func (s *Session) handleReports(now mono.Time, lost, expected int, rtt time.Duration) {
	if s.congestion.Controller != nil && expected > 0 {
		s.congestion.HandleReport(now, lost, expected, rtt)
		s.allocate(now)
	}
}

// since returns what a report block says more than the one before it.
func (f *flow) since(b *rtcp.ReportBlock) (lost, expected int) {
	if f.reported {
		lost, expected = int(b.Lost-f.lastLost), int(int32(b.HighestSequence-f.lastHighest))
	}
	f.lastLost, f.lastHighest, f.reported = b.Lost, b.HighestSequence, true
	return lost, max(expected, 0)
}

// allocate shares what the path bears among the encodings, and data, and tells what has changed.
func (s *Session) allocate(now mono.Time) {
	g := &s.congestion
	if g.Controller == nil {
		return
	}
	s.look(now)
	g.popAt = 0
	g.streams, g.layers = g.streams[:0], g.layers[:0]
	n, talks, answers := 0, false, false
	for _, c := range s.sections {
		n += len(c.sender.encodings)
		answers = answers || c.Sends && perPacket(&c.Media, c.out, &c.outIDs)
		talks = talks || c.Kind == "audio" && c.Sends && slices.ContainsFunc(c.sender.encodings, (*encoding).flows)
	}
	g.SetProbing(now, answers)
	if cap(g.layers) < n+1 { // so that what lies in it stays there
		g.layers = make([]cc.Layer, 0, 2*n+1)
	}
	for _, c := range s.sections {
		if !c.Sends || len(c.sender.encodings) == 0 {
			continue
		}
		first := len(g.layers)
		priority := cc.VeryLow
		left := float64(c.MaxBitrate)
		for i, e := range c.sender.encodings {
			l := e.layer(c, i)
			if c.MaxBitrate > 0 { // what the peer wants at most, from the lowest encoding up, which goes on in any case
				if l.Max = min(l.Max, cc.Rate(max(left, 0)/e.flow.share)); i == 0 {
					l.Max = max(l.Max, l.Min)
				}
				if left -= float64(l.Max) * e.flow.share; l.Max < l.Min {
					l = cc.Layer{}
				}
			}
			g.layers = append(g.layers, l)
			if e.sends() && rank(e.params.Priority) > rank(priority) {
				priority = e.params.Priority
			}
		}
		// Where there is too little for both, it is audio that goes on.
		g.streams = append(g.streams, cc.Stream{Priority: priority, Pausable: talks && c.Kind != "audio", Layers: g.layers[first:len(g.layers):len(g.layers)]})
	}
	waits := now.Sub(g.dataWait) < dataActive && g.dataWait != 0
	g.data = (waits || g.dataBytes > dataLeast || g.dataInput > minVideo) && active(now, g.videoAt)
	if g.data {
		most := cc.DefaultMax
		if !waits {
			most = max(minVideo, cc.Rate(g.dataInput*beyondSent))
		}
		g.layers = append(g.layers, cc.Layer{Min: minVideo, Max: most})
		g.streams = append(g.streams, cc.Stream{Layers: g.layers[len(g.layers)-1:]})
	}
	g.shared = g.Target()
	wanted, padding := cc.Allocate(g.shared, g.streams)
	g.SetWanted(now, wanted, padding)
	rate := g.yielding.rate
	if g.data {
		rate = max(g.streams[len(g.streams)-1].Rate, minVideo)
	}
	g.SetOtherRate(now, rate)
	at := 0
	for _, c := range s.sections {
		if !c.Sends || len(c.sender.encodings) == 0 {
			continue
		}
		for i, e := range c.sender.encodings {
			s.target(now, e, uint64(g.streams[at].Layers[i].Rate))
		}
		at++
	}
}

// rank orders priorities.
func rank(p cc.Priority) cc.Priority {
	if p == cc.VeryLow {
		return 0
	}
	return p + 1
}

// flows reports whether it is sent anything.
func (e *encoding) flows() bool { return e.sends() && e.flow.input > minAudio/8 }

// layer is what an encoding could use.
func (e *encoding) layer(c *section, i int) cc.Layer {
	if !e.sends() {
		return cc.Layer{}
	}
	least, most := float64(minAudio), float64(maxAudio)
	if c.Kind != "audio" {
		most = maxVideo
		for range len(c.sender.encodings) - 1 - i {
			most /= layerStep
		}
		if limit := e.params.MaxBitrate; limit == 0 {
			most = max(most, e.flow.input*beyondSent)
		}
		least = minVideo
	} else if e.flows() {
		// It gets what it takes: what it does not is video's, and few encoders of sound follow a target.
		least = min(max(e.flow.input, minAudio), maxAudio)
		most = min(max(e.flow.input*beyondHeard, 2*minAudio), maxAudio)
	} else {
		most = least
	}
	if limit := e.params.MaxBitrate; limit > 0 {
		most = float64(limit)
	}
	if i > 0 {
		least = max(least, most/layerLeast)
	}
	// What is said of media is less than what is on the wire.
	l := cc.Layer{Min: cc.Rate(min(least, most) / e.flow.share), Max: cc.Rate(most / e.flow.share)}
	if e.flow.decided && e.flow.target > 0 {
		l.Rate = 1 // it is on
	}
	return l
}

// target tells an encoding what it has got.
func (s *Session) target(now mono.Time, e *encoding, wire uint64) {
	f := &e.flow
	rate := uint64(float64(wire) * f.share)
	if !e.sends() {
		rate = 0
	}
	resumed := f.decided && f.target == 0 && rate > 0
	f.target, f.decided = rate, true
	e.stats.TargetBitrate = rate
	if resumed {
		s.keyFrameAsked(e)
	}
	if rate == 0 && e.index > 0 {
		s.silence(e)
	}
	change := max(rate, f.toldRate) - min(rate, f.toldRate)
	if f.pending || f.told && (change == 0 || change*tellChange < f.toldRate && rate > 0) {
		return
	}
	f.told = true
	f.pending = s.tell(Event{Kind: TargetBitrate, MID: e.section.MID, Encoding: e.index, encoding: e})
}

// look measures what encodings take in and what of it is on the wire.
func (s *Session) look(now mono.Time) {
	g := &s.congestion
	const every = allocateEvery
	if g.nextLook == mono.Never {
		g.nextLook = now.Add(every)
	}
	if now < g.nextLook {
		return
	}
	passed := now.Sub(g.nextLook.Add(-every))
	took := passed.Seconds()
	g.nextLook = now.Add(every)
	g.dataInput += (float64(g.dataBytes)*8/took - g.dataInput) / 8
	g.dataBytes = 0
	for _, e := range s.slots {
		if e == nil {
			continue
		}
		f := &e.flow
		f.input += (float64(f.queued)*8/took - f.input) / 8
		share := f.share
		if f.target == 0 {
			share = usualShare // while it is off, what is sent again says nothing
		} else if f.wire > wireLeast {
			share = min(max(float64(f.useful)/float64(f.wire), 0.2), 1)
		}
		f.share += (share - f.share) / 8
		f.queued, f.wire, f.useful = 0, 0, 0
		e.stats.Quality.judge(e, passed)
	}
}

// Bandwidth returns what congestion control has found out; false as long as nothing is sent.
func (s *Session) Bandwidth() (cc.Stats, bool) {
	if s.congestion.Controller == nil {
		return cc.Stats{}, false
	}
	return s.congestion.Stats(), true
}

// appendPadding sends a packet of an encoding once more, if there is one of about the size wanted, else an empty one on the stream of
// retransmissions: probes and padding never are part of media.
func (s *Session) appendPadding(dst []byte, now mono.Time, r cc.Release) []byte {
	var e *encoding
	for _, o := range s.slots {
		if o != nil && o.section.Sends && o.sends() && o.rtx.ssrc != 0 && o.media.packets > 0 && (e == nil || o.section.Kind == "video" && o.stats.LastPacketSent > e.stats.LastPacketSent) {
			e = o
		}
	}
	if e == nil {
		return dst
	}
	h := &e.history
	if e.flow.paddingAt <= max(h.first, h.unsent-recentPackets) || e.flow.paddingAt > h.unsent {
		e.flow.paddingAt = h.unsent
	}
	if e.flow.paddingAt > h.first {
		e.flow.paddingAt--
		i := h.item(e.flow.paddingAt)
		if f := e.section.out.of(i.payloadType); !i.hole && !i.late && i.size <= 2*r.Size && f != nil && f.RTX != 0 {
			return s.write(dst, now, e, i, e.flow.paddingAt, true, cc.Release{Kind: cc.Padding, Cluster: r.Cluster})
		}
	}
	pt := e.rtxPayload()
	if pt == 0 {
		return dst
	}
	p := rtp.Packet{PayloadType: pt, SequenceNumber: e.rtxNumber, Timestamp: e.timestamp, SSRC: e.rtx.ssrc, Padding: uint8(min(max(r.Size, 1), 255))}
	e.rtxNumber++
	return s.seal(dst, now, e, &e.rtx, &p, nil, cc.Padding, r.Cluster)
}

// recentPackets are those that are sent again as padding.
const recentPackets = 32

// rtxPayload returns a payload type of retransmissions that the section has; 0: none.
func (e *encoding) rtxPayload() rtp.PayloadType {
	for i := range e.section.out.list {
		if f := &e.section.out.list[i]; f.role == roleMedia && f.RTX != 0 {
			return rtp.PayloadType(f.RTX)
		}
	}
	return 0
}

// recorders note when the peer's packets arrive.
type recorders struct {
	transport cc.TransportRecorder
	streams   cc.StreamRecorder
	remb      cc.Receiver
	media     rtp.SSRC // one of the streams
}

// record notes a packet, for the kind of feedback that its section has: by streams, else transport-wide, else REMB.
func (s *Session) record(now mono.Time, c *section, p *rtp.Packet, ecn uint8, size int) {
	size += s.overhead
	s.recorders.media = p.SSRC
	switch {
	case c.in.congestion:
		s.recorders.streams.Record(now, p.SSRC, p.SequenceNumber, ecn, size)
	case c.in.transport && s.ids.transport != 0:
		if v, ok := p.Extensions.Get(s.ids.transport); ok {
			if n, ok := rtp.ParseTransportSequence(v); ok {
				s.recorders.transport.Record(now, n, size)
			}
		}
	case c.in.remb && s.ids.sendTime != 0:
		if v, ok := p.Extensions.Get(s.ids.sendTime); ok {
			if t, ok := rtp.ParseAbsSendTime(v); ok {
				s.recorders.remb.HandlePacket(now, p.SSRC, t, size)
			}
		}
	}
}

func (r *recorders) next() mono.Time {
	return mono.Min(r.transport.NextTimeout(), mono.Min(r.streams.NextTimeout(), r.remb.NextTimeout()))
}

// append writes what is due, within limit bytes.
func (r *recorders) append(dst []byte, now mono.Time, s *Session, limit int) []byte {
	sender := s.reporter()
	start := len(dst)
	dst = r.transport.AppendFeedback(dst, now, sender, r.media, limit)
	before := len(dst)
	if dst = r.streams.AppendFeedback(dst, now, sender, s.ntp(now).Middle(), limit-(before-start)); len(dst) > before {
		s.messages.Sent++
	}
	if limit-(len(dst)-start) >= 20+4*32 {
		dst = r.remb.AppendREMB(dst, now, sender)
	}
	return dst
}

// perPacket reports whether of each packet that a section sends something is told.
func perPacket(m *jsep.Media, out *formats, ids *extensions) bool {
	return out.congestion || out.transport && ids.transport != 0
}
