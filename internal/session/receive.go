package session

import (
	"encoding/binary"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Bounds of what a peer can make us keep.
const (
	maxStreams = 256 // SSRCs of the peer's, each of some 3 kB
)

// A Received is a packet of media for the owner. All of it is borrowed: until the next call of the session.
type Received struct {
	Packet   rtp.Packet
	Stream   *Stream
	Sequence int64 // the packet's number, not wrapped
	Arrival  mono.Time
	ECN      pkt.ECN
	Repaired bool // it was lost, and sent again or recovered
}

// Dropped counts packets that nobody took, by the reason.
type Dropped struct {
	Malformed uint64 // neither RTP nor RTCP
	Unknown   uint64 // of no section that anything says (RFC 8843 section 9.2)
	Unwanted  uint64 // of a section that does not receive, or a payload type that it does not have
	Duplicate uint64 // or too late to know
	Streams   uint64 // beyond the bound of SSRCs
	Orphan    uint64 // repair of a stream that is not known
	Untaken   uint64 // by NextPacket, before the next one came
	Control   uint64 // feedback about nothing of ours
}

// HandleRTP takes a packet in, whose memory it may change; then NextPacket returns what it has brought.
func (s *Session) HandleRTP(now mono.Time, b []byte, ecn pkt.ECN) {
	s.dropped.Untaken += uint64(len(s.arrived) - s.taken)
	s.arrived, s.taken = s.arrived[:0], 0
	p, err := rtp.Parse(b)
	if err != nil {
		s.dropped.Malformed++
		return
	}
	x := s.demultiplex(now, &p)
	if x == nil {
		return
	}
	x.heard = now
	s.receivedBytes += uint64(len(b))
	s.record(now, x.section, &p, uint8(ecn), len(b))
	f := x.section.in.of(p.PayloadType)
	switch {
	case !x.section.Receives || f == nil:
		s.dropped.Unwanted++
	case f.role == roleRTX:
		s.receiveRTX(now, x, f, &p, ecn)
	case f.role == roleFEC:
		x.note(now, &p, f.Clock, len(b))
		s.receiveRepair(now, x, f, &p)
	case f.role == roleRED:
		s.receiveRED(now, x, f, &p, len(b), ecn)
	default:
		if s.receiveMedia(now, x, f, &p, len(b), ecn) {
			s.repairBy(now, x, b)
		}
	}
}

// note does a packet's bookkeeping, and returns its number; it is false for one that was here.
func (x *Stream) note(now mono.Time, p *rtp.Packet, clock uint32, size int) (n int64, fresh bool) {
	if _, started := x.number.Highest(); !started {
		x.first = int64(p.SequenceNumber)
	}
	n = x.number.Unwrap(p.SequenceNumber)
	x.count++
	x.clock = clock
	x.report.arrive(now, p.Timestamp, clock)
	x.stats.received(now, len(p.Payload), size-len(p.Payload))
	return n, x.seen.add(n)
}

// receiveMedia delivers a packet of media. It is false for one that was here.
func (s *Session) receiveMedia(now mono.Time, x *Stream, f *format, p *rtp.Packet, size int, ecn pkt.ECN) bool {
	before, started := x.number.Highest()
	n, fresh := x.note(now, p, f.Clock, size)
	x.stats.marked(ecn)
	if !fresh {
		s.dropped.Duplicate++
		x.stats.PacketsDuplicated++
		return false
	}
	if f.nack && started {
		s.noteLosses(now, x, before, n)
	}
	s.noteCapture(x, p)
	if f.pictures != nil {
		x.pictures.packet(now, f, p.Timestamp, p.Payload)
	}
	s.deliver(Received{Packet: *p, Stream: x, Sequence: n, Arrival: now, ECN: ecn})
	return true
}

// receiveRTX takes a retransmission apart (RFC 4588 section 4).
func (s *Session) receiveRTX(now mono.Time, x *Stream, f *format, p *rtp.Packet, ecn pkt.ECN) {
	if _, fresh := x.note(now, p, f.Clock, p.Len()); !fresh {
		s.dropped.Duplicate++
		return
	}
	if len(p.Payload) < rtxHeader {
		return // padding that probes
	}
	seq := binary.BigEndian.Uint16(p.Payload)
	media := s.repaired(x, seq)
	if media == nil {
		s.dropped.Orphan++
		return
	}
	media.stats.retransmitted(now, len(p.Payload)-rtxHeader, p.Len()-len(p.Payload)+rtxHeader)
	p.PayloadType, p.SSRC, p.SequenceNumber, p.Payload = rtp.PayloadType(f.Payload), media.ssrc, seq, p.Payload[rtxHeader:]
	n := media.number.Peek(seq)
	if highest, _ := media.number.Highest(); n < highest-bitmapSize || n > highest+bitmapSize {
		s.dropped.Duplicate++ // nothing that was asked for
		return
	}
	if g := media.section.in.of(p.PayloadType); g != nil && g.role == roleRED {
		s.unwrapRED(media, p)
	}
	if s.recover(now, media, n, p, ecn) && len(media.section.repairers) > 0 {
		s.packet = p.Append(s.packet[:0])
		s.repairBy(now, media, s.packet)
	}
	if media.decoder != nil {
		s.takeRepaired(now, media)
	}
}

// recover delivers a packet that came by another way than its own. It is false for one that was here.
func (s *Session) recover(now mono.Time, x *Stream, n int64, p *rtp.Packet, ecn pkt.ECN) bool {
	before, _ := x.number.Highest()
	if !x.seen.add(n) {
		s.dropped.Duplicate++
		return false
	}
	x.heard = now
	x.losses.found(now, n, true)
	if n > before { // a retransmission before the packet itself: what is between is lost as well
		x.number.Unwrap(p.SequenceNumber)
		s.noteLosses(now, x, before, n)
	}
	x.stats.PacketsRepaired++
	s.noteCapture(x, p)
	if f := x.section.in.of(p.PayloadType); f != nil && f.pictures != nil {
		x.pictures.packet(now, f, p.Timestamp, p.Payload)
	}
	s.deliver(Received{Packet: *p, Stream: x, Sequence: n, Arrival: now, ECN: ecn, Repaired: true})
	return true
}

func (s *Session) deliver(r Received) {
	s.arrived = append(s.arrived, r)
}

// NextPacket returns what the last call has brought; false if there is no more. The packet is borrowed until the next call of
// the session, and what is not taken by the next HandleRTP is dropped.
func (s *Session) NextPacket() (*Received, bool) {
	if s.taken == len(s.arrived) {
		return nil, false
	}
	s.taken++
	return &s.arrived[s.taken-1], true
}

// demultiplex finds the stream of a packet, or makes one (RFC 8843 section 9.2).
func (s *Session) demultiplex(now mono.Time, p *rtp.Packet) *Stream {
	x := s.recent
	if x == nil || x.ssrc != p.SSRC {
		x = s.streams[p.SSRC]
	}
	var c *section
	if s.ids.mid != 0 && p.Extensions.Form() != rtp.NoExtension {
		if mid, ok := p.Extensions.Get(s.ids.mid); ok {
			// "If the packet contains a MID and that MID is not in the table mapping MID to m= section, then the packet is not
			// associated with any m= section. Drop the packet."
			if c = s.sectionOf(mid); c == nil {
				s.dropped.Unknown++
				return nil
			}
		}
	}
	if x != nil && (c == nil || c == x.section) && !s.namedNow(x, p) {
		s.recent = x
		return x
	}
	if x != nil { // "the SSRC is moved": another section's from now on, or what it is in its own is known now
		s.end(x)
	}
	if c == nil {
		// "... SSRCs ... that were signaled", and then "If the payload type is in the table mapping payload types to a single m=
		// section ..."
		if c = s.sectionBySource(p.SSRC); c == nil {
			c = s.sectionByPayload(p.PayloadType)
		}
		if c == nil {
			s.dropped.Unknown++
			return nil
		}
	}
	return s.newStream(now, c, p)
}

// newStream makes a stream for an SSRC that was not known.
func (s *Session) newStream(now mono.Time, c *section, p *rtp.Packet) *Stream {
	f := c.in.of(p.PayloadType)
	if f == nil || !c.Receives {
		s.dropped.Unwanted++
		return nil
	}
	if len(s.streams) >= maxStreams {
		s.dropped.Streams++
		return nil
	}
	if s.ours[p.SSRC] != nil {
		s.collide(now, p.SSRC)
	}
	x := &Stream{ssrc: p.SSRC, section: c, role: f.role}
	if x.role == roleRED {
		x.role = roleMedia
	}
	if x.role == roleMedia {
		x.rid = s.ridIn(c, p)
	}
	s.adopt(now, x)
	if x.role != roleMedia {
		if rid, ok := s.text(p, s.ids.rrid); ok {
			x.repairs = c.streamByRID(ridOf(c, rid))
		}
	}
	return x
}

// ridIn returns the RID of a packet of media: what it says, else what its SSRC was before, as senders stop to say it once it is known.
func (s *Session) ridIn(c *section, p *rtp.Packet) string {
	if rid, ok := s.text(p, s.ids.rid); ok {
		return ridOf(c, rid)
	}
	for _, f := range c.former {
		if f.ssrc == p.SSRC && slices.Contains(c.RIDs, f.rid) {
			return f.rid
		}
	}
	return ""
}

// namedNow reports whether a packet tells the RID of a stream of which none was known.
func (s *Session) namedNow(x *Stream, p *rtp.Packet) bool {
	return len(x.section.RIDs) > 0 && x.rid == "" && x.role == roleMedia && s.ridIn(x.section, p) != ""
}

// adopt keeps a stream, and joins it with what the description says of its SSRC.
func (s *Session) adopt(now mono.Time, x *Stream) {
	x.heard = now
	s.streams[x.ssrc] = x
	s.order = append(s.order, x)
	s.recent = x
	c := x.section
	for i := range c.Sources {
		d := &c.Sources[i]
		switch x.ssrc {
		case d.SSRC:
			x.cname, x.rtx, x.fec = d.CNAME, d.RTX, d.FEC
		case d.RTX, d.FEC: // an SSRC that is not zero
			x.repairs = c.stream(d.SSRC)
		}
	}
	if x.role == roleMedia {
		c.streams = append(c.streams, x)
		for _, r := range s.order { // what came before it
			if r.section == c && r.role != roleMedia && r.repairs == nil && (x.rtx == r.ssrc || x.fec == r.ssrc) {
				r.repairs = x
			}
		}
		s.tell(Event{Kind: StreamStarted, MID: c.MID, Stream: x})
	}
}

func (s *Session) text(p *rtp.Packet, id uint8) ([]byte, bool) {
	if id == 0 {
		return nil, false
	}
	return p.Extensions.Get(id)
}

// ridOf returns a RID as the description has it; "" if it does not.
func ridOf(c *section, rid []byte) string {
	if i := slices.IndexFunc(c.RIDs, func(r string) bool { return r == string(rid) }); i >= 0 {
		return c.RIDs[i]
	}
	return ""
}

func (c *section) stream(ssrc rtp.SSRC) *Stream {
	for _, x := range c.streams {
		if x.ssrc == ssrc {
			return x
		}
	}
	return nil
}

// streamByRID returns the newest stream of a RID.
func (c *section) streamByRID(rid string) *Stream {
	for i := len(c.streams) - 1; i >= 0; i-- {
		if c.streams[i].rid == rid {
			return c.streams[i]
		}
	}
	return nil
}

// repaired returns the stream whose packet a retransmission repeats: by RID or the description; else the one that has asked
// for the number (RFC 4588 section 5.3); else the only one that there is.
func (s *Session) repaired(x *Stream, seq uint16) *Stream {
	if x.repairs != nil && !x.repairs.ended {
		return x.repairs
	}
	var found *Stream
	for _, m := range x.section.streams {
		if m.losses.has(m.number.Peek(seq)) {
			if found != nil {
				return nil // two have: the next one may tell
			}
			found = m
		}
	}
	if found == nil && len(x.section.streams) == 1 {
		found = x.section.streams[0]
	}
	x.repairs = found
	return found
}

func (s *Session) sectionOf(mid []byte) *section {
	for _, c := range s.sections {
		if c.MID == string(mid) {
			return c
		}
	}
	return nil
}

// sectionBySource returns the section that the peer has declared a source for.
func (s *Session) sectionBySource(ssrc rtp.SSRC) *section {
	for _, c := range s.sections {
		for i := range c.Sources {
			if d := &c.Sources[i]; d.SSRC == ssrc || d.RTX == ssrc || d.FEC == ssrc {
				return c
			}
		}
	}
	return nil
}

// sectionByPayload returns the only section that receives a payload type.
func (s *Session) sectionByPayload(pt rtp.PayloadType) (found *section) {
	for _, c := range s.sections {
		if c.Receives && c.in.of(pt) != nil {
			if found != nil {
				return nil
			}
			found = c
		}
	}
	return found
}
