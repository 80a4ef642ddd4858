package session

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Why a packet is not sent.
var (
	ErrNotSending  = errors.New("session: the section does not send, or has no such encoding, or there is no path yet, or at present")
	ErrInactive    = errors.New("session: the encoding is not active, or there is no bandwidth for it")
	ErrPayloadType = errors.New("session: the payload type is not one that the peer receives")
	ErrTooLong     = errors.New("session: the packet is too long")
	ErrFull        = errors.New("session: too much waits to be sent")
	ErrNoPlace     = errors.New("session: the number was sent, or is too old to be")
)

const (
	// DefaultMaxPacket is the size of an RTP packet, in bytes, that payloads are cut for.
	DefaultMaxPacket = 1200
	// maxPacket bounds what is sent all the same, for those who forward packets that others have cut: with 16 bytes of SRTP
	// and 48 of UDP and IPv6 it is a frame of Ethernet, less what a relay adds.
	maxPacket = 1400
	// rtxHeader is the original sequence number, before the payload of a retransmission (RFC 4588 section 4).
	rtxHeader = 2
	// firstSequence bounds the first number of a stream: "choose its first sequence number below 32,768" (package srtp).
	firstSequence = 1 << 15
)

// A Packet is what the owner has sent. SSRC, sequence number, MID, RID, transport-wide number and time of departure are the
// session's.
type Packet struct {
	PayloadType rtp.PayloadType // as in jsep.Media.Send
	Marker      bool
	Timestamp   uint32    // in the units of the codec's clock; it goes out as it is
	Captured    mono.Time // when the media was; 0: not known, and reports take it for now
	Payload     []byte
	Extensions  []Extension // those that are not negotiated are left out
	KeyFrame    bool        // it is of a picture that can be decoded alone
	// Of a packet that is forwarded: the source that it comes from, and its number there, not wrapped. Numbers that are left out are
	// left out here too, so that those who receive know that something is missing; one that comes late gets its place. Another source
	// goes on behind the one before. 0: it is not forwarded, and follows the last.
	Source   rtp.SSRC
	Sequence int64
}

// Encoding parameters that may change at any time.
type EncodingParameters struct {
	Active     bool
	MaxBitrate uint64      // bits a second; 0: no limit
	Priority   cc.Priority // of its section in the allocation: the highest of the encodings'
	DSCP       pkt.DSCP    // of its packets (RFC 8837)
}

// A source is one SSRC of ours.
type source struct {
	ssrc            rtp.SSRC
	first           uint16           // sequence number
	packets, octets uint64           // of payload, padding left out, as sender reports have it
	confirmedAt     mono.Time        // when the peer reported on it last, so that it knew to what section it belongs; 0: never
	atReports       [2]uint64        // packets, at the last report and at the one before
	told            rtcp.ReportBlock // the peer's last
}

// confirmedFor is how long a report says that the peer knows a stream: two reports at their rarest.
const confirmedFor = 2 * streamTimeout / 5

// confirmed reports whether the peer knows to what section the stream belongs. It may have forgotten it while nothing came, or when a
// description had it take nothing.
func (x *source) confirmed(now mono.Time) bool {
	return x.confirmedAt != 0 && now.Sub(x.confirmedAt) < confirmedFor
}

// A Sender is the sending half of a section. It goes with the section.
type Sender struct {
	session   *Session
	section   *section
	encodings []*encoding
}

// An encoding is one stream that a section sends, and its retransmissions.
type encoding struct {
	section *section
	index   int
	told    jsep.Encoding
	params  EncodingParameters

	media, rtx source
	history    history
	forwarded  forwarded
	rtxNumber  uint16
	tails      uint8   // how often the last packet was sent once more, as nothing followed it
	repeats    []int64 // numbers of packets to send again, in the order asked for

	clock     uint32 // of the last packet's codec, in Hz
	timestamp uint32 // of the last packet
	captured  mono.Time
	capture   captureClock

	flow flow

	repair repair

	keyWanted bool      // an event says so, or will
	keyAsked  mono.Time // when the peer last did; 0: never
	firSeen   bool
	firNumber uint8

	stats  OutboundStats
	frames sentFrames
}

// forwarded is the source of what was sent last.
type forwarded struct {
	source rtp.SSRC // 0: it was not forwarded
	offset int64    // from its numbers to ours
}

// maxHoles bounds the numbers that are left free for packets that may come late, and how late they may come. SRTP takes what is 1024 numbers
// behind.
const maxHoles = 512

// numberOf returns the number that a packet is to have. Beyond maxHoles its source has begun anew.
func (e *encoding) numberOf(p *Packet) int64 {
	f, next := &e.forwarded, e.history.next
	if p.Source == 0 {
		f.source = 0
		return next
	}
	if n := p.Sequence + f.offset; p.Source == f.source && n >= next-maxHoles && n <= next+maxHoles {
		return n
	}
	*f = forwarded{p.Source, next - p.Sequence}
	return next
}

// maxRepeats bounds the packets of an encoding that wait to be sent again.
const maxRepeats = 512

// Sender returns the sending half of a section; nil if there is no such section.
func (s *Session) Sender(mid string) *Sender {
	if c := s.section(mid); c != nil {
		return c.sender
	}
	return nil
}

// Encodings returns how many encodings there are.
func (x *Sender) Encodings() int { return len(x.encodings) }

// SetEncoding changes the parameters of an encoding: what waits of one that is not active any more is dropped.
func (x *Sender) SetEncoding(now mono.Time, encoding int, p EncodingParameters) {
	if encoding < 0 || encoding >= len(x.encodings) {
		return
	}
	e := x.encodings[encoding]
	e.params = p
	if !e.sends() {
		x.session.silence(e)
	}
	x.session.allocate(now)
}

func (e *encoding) sends() bool { return e.params.Active && !e.told.Paused }

// MaxPayload returns how long a payload may be, so that the packet has room for the session's extensions, retransmission and
// SRTP too. The owner's own extensions come off it: a byte each, their values, and at most 7 for the first.
func (x *Sender) MaxPayload(encoding int) int {
	n := x.session.cfg.MaxPacket - 12 - rtxHeader
	if encoding < 0 || encoding >= len(x.encodings) {
		return n
	}
	ids, size := &x.section.outIDs, 0
	for _, e := range [...]struct {
		id uint8
		n  int
	}{{ids.mid, len(x.section.MID)}, {ids.rid, len(x.encodings[encoding].told.RID)}, {ids.transport, 2}, {ids.sendTime, 3}, {ids.capture, captureSize}} {
		if e.id != 0 && e.n > 0 {
			size += 1 + e.n
		}
	}
	if size > 0 {
		n -= 4 + (size+3)&^3
	}
	return n
}

// Send takes a packet for one of the section's encodings, and copies it. It leaves by AppendPacket, when its turn has come.
func (x *Sender) Send(now mono.Time, encoding int, p *Packet) error {
	s := x.session
	if !x.section.Sends || x.section.gone || !s.connected || s.paused || s.closing || encoding < 0 || encoding >= len(x.encodings) {
		return ErrNotSending
	}
	e := x.encodings[encoding]
	if !e.sends() || e.flow.decided && e.flow.target == 0 {
		e.forwarded = forwarded{} // what is left out for want of bandwidth is not missing
		return ErrInactive
	}
	f := x.section.out.of(p.PayloadType)
	if f == nil || f.role != roleMedia {
		return ErrPayloadType
	}
	if x.section.Kind == "audio" {
		p = e.redundant(p, f)
	}
	// Values are kept as they will be written, but with two bytes of header each.
	ids, values := &x.section.outIDs, 0
	for i := range p.Extensions {
		if v := &p.Extensions[i]; ids.id(v.URI) != 0 && len(v.Value) <= 255 {
			values += 2 + len(v.Value)
		}
	}
	capture := ids.capture != 0 && e.capture.due(p, f.Clock)
	if capture {
		values += 2 + captureSize
	}
	if len(p.Payload)+values > maxPacket-12-maxOwnExtensions {
		return ErrTooLong
	}
	if e.history.next-e.history.unsent >= maxWaiting {
		e.stats.PacketsDropped++
		return ErrFull
	}
	number, kind := e.numberOf(p), kindOf(x.section)
	i, b, err := e.room(now, number, values+len(p.Payload), s.keepFor(f))
	if err != nil {
		e.stats.PacketsDropped++
		return err
	}
	late := i.late
	if late {
		kind = cc.Retransmission
	}
	for j := range p.Extensions {
		v := &p.Extensions[j]
		if id := ids.id(v.URI); id != 0 && len(v.Value) <= 255 {
			b = append(append(b, id, uint8(len(v.Value))), v.Value...)
		}
	}
	if capture {
		e.capture = captureClock{p.Captured, p.Timestamp, true}
		b = rtp.AbsCaptureTime{Captured: s.ntp(p.Captured), HasOffset: true}.Append(append(b, ids.capture, captureSize))
	}
	_ = append(b, p.Payload...)
	i.values, i.size = values, len(p.Payload)
	i.timestamp, i.payloadType, i.marker, i.keyFrame = p.Timestamp, p.PayloadType, p.Marker, p.KeyFrame
	if !s.push(now, e, kind, s.wireSize(i.values+i.size)) {
		if i.hole, i.late = true, false; number == e.history.next-1 {
			e.history.next--
		}
		e.stats.PacketsDropped++
		return ErrFull
	}
	if late {
		e.repeats = append(e.repeats, number)
	} else {
		e.clock, e.timestamp, e.captured = f.Clock, p.Timestamp, p.Captured
		if p.Captured == 0 {
			e.captured = now
		}
	}
	e.flow.queued += uint64(len(p.Payload))
	return nil
}

// room takes the place of a packet, with room for n bytes, which it returns.
func (e *encoding) room(now mono.Time, number int64, n int, keep time.Duration) (i *item, b []byte, err error) {
	h := &e.history
	switch {
	case number < h.next && (number < h.first || !h.item(number).hole || len(e.repeats) >= maxRepeats):
		return nil, nil, ErrNoPlace
	case number < h.next:
		i, b = h.fill(now, number, n, keep)
	case h.skip(now, number, keep):
		i, b = h.push(now, n, keep)
	}
	if i == nil {
		err = ErrFull
	}
	return i, b, err
}

const (
	// maxWaiting bounds the packets of an encoding that wait to be sent: a key frame of 2 MB fits.
	maxWaiting = 2 << 10
	// maxOwnExtensions is room for what the session adds to a header.
	maxOwnExtensions = 64
)

// keepFor says how long packets are kept to be sent again: a second, and longer where the way is long.
func (s *Session) keepFor(f *format) time.Duration {
	if f.RTX == 0 || !f.nack {
		return 0
	}
	return time.Second + 3*s.RTT()
}

// appendMedia writes the next packet of RTP; nothing if there is none, or it is not due.
func (s *Session) appendMedia(dst []byte, now mono.Time) (_ []byte, m Marking) {
	for {
		r, ok := s.pop(now)
		if !ok {
			return dst, m
		}
		if r.Kind == cc.Padding {
			if out := s.appendPadding(dst, now, r); len(out) > len(dst) {
				return out, Marking{ECN: s.marked}
			}
			continue
		}
		e := s.slots[r.Ref]
		if e == nil {
			continue // gone since
		}
		if r.Kind == cc.FEC {
			if out := s.appendRepair(dst, now, e, r); len(out) > len(dst) {
				return out, Marking{e.params.DSCP, s.marked}
			}
			continue
		}
		number, again, ok := e.take(now, r.Kind)
		if !ok {
			continue // dropped, or overwritten
		}
		dst = s.write(dst, now, e, e.history.item(number), number, again, r)
		return dst, Marking{e.params.DSCP, s.marked}
	}
}

// take takes the next packet of an encoding, or the next that is to be sent again or comes late.
func (e *encoding) take(now mono.Time, kind cc.Kind) (number int64, again, ok bool) {
	h := &e.history
	if kind != cc.Retransmission {
		for h.unsent < h.next && h.item(h.unsent).hole {
			h.unsent++
		}
		if number = h.unsent; number == h.next {
			return 0, false, false
		}
		h.unsent++
		h.item(number).sent = now
		e.tails = 0
		return number, false, true
	}
	if len(e.repeats) == 0 {
		return 0, false, false
	}
	number = e.repeats[0]
	e.repeats = e.repeats[:copy(e.repeats, e.repeats[1:])]
	if number < h.first {
		return 0, false, false
	}
	i := h.item(number)
	again = !i.late
	i.again, i.late, i.sent = false, false, now
	f := e.section.out.of(i.payloadType)
	return number, again, f != nil && (f.RTX != 0 || !again) // which may not be negotiated any more
}

// write writes a packet of an encoding, or its retransmission.
func (s *Session) write(dst []byte, now mono.Time, e *encoding, i *item, number int64, again bool, r cc.Release) []byte {
	p := rtp.Packet{
		Marker: i.marker, PayloadType: i.payloadType, SequenceNumber: uint16(number), Timestamp: i.timestamp, SSRC: e.media.ssrc,
	}
	values, payload := e.history.content(i)
	p.Payload = payload
	if !again {
		e.flow.useful += uint64(len(payload))
		if f := e.section.out.of(i.payloadType); f != nil && f.pictures != nil {
			e.frames.packet(now, e, f, i, payload)
		}
		e.stats.TotalPacketSendDelay += now.Sub(i.queued)
		if s.tailAt == mono.Never {
			s.tailAt = now.Add(s.tailAfter())
		}
		start := len(dst)
		dst = s.seal(dst, now, e, &e.media, &p, values, r.Kind, r.Cluster)
		if r.Kind != cc.Retransmission { // repair that has gone does not know of one that comes late
			s.protect(now, e, dst[start:], p.Marker)
		}
		return dst
	}
	p.PayloadType, p.SequenceNumber, p.SSRC = rtp.PayloadType(e.section.out.of(i.payloadType).RTX), e.rtxNumber, e.rtx.ssrc
	e.rtxNumber++
	s.original = [rtxHeader]byte{byte(number >> 8), byte(number)}
	if r.Kind == cc.Retransmission {
		e.stats.RetransmittedPacketsSent++
		e.stats.RetransmittedBytesSent += uint64(len(payload))
	}
	return s.seal(dst, now, e, &e.rtx, &p, values, r.Kind, r.Cluster)
}

// seal gives a packet its extensions and writes it.
func (s *Session) seal(dst []byte, now mono.Time, e *encoding, from *source, p *rtp.Packet, values []byte, kind cc.Kind, cluster uint16) []byte {
	repeats := from == &e.rtx && len(p.Payload) > 0
	s.setExtensions(now, e, from != &e.media, from.confirmed(now), values)
	p.Extensions = s.extensions
	size := p.Len()
	if repeats {
		size += rtxHeader
	}
	number := s.tellSent(now, e, p.SSRC, p.SequenceNumber, size, kind, cluster)
	if v, ok := p.Extensions.Get(e.section.outIDs.transport); ok && len(v) == 2 {
		binary.BigEndian.PutUint16(v, number)
	}
	start := len(dst)
	dst = p.AppendHeader(dst)
	if repeats {
		dst = append(dst, s.original[:]...)
	}
	dst = append(dst, p.Payload...)
	for i := range p.Padding {
		dst = append(dst, 0)
		if i == p.Padding-1 {
			dst[len(dst)-1] = p.Padding
		}
	}
	octets := len(p.Payload)
	if from.packets == 0 {
		from.first = p.SequenceNumber
	}
	from.packets++
	from.octets += uint64(octets)
	if kind != cc.FEC {
		e.stats.sent(now, octets, len(dst)-start-octets)
	}
	if kind != cc.FEC && kind != cc.Padding {
		e.stats.PayloadType = p.PayloadType
	}
	s.sentBytes += uint64(len(dst) - start)
	return dst
}

// setExtensions makes the header's extension of a packet, whose stream may repair another. MID and RID go along until the peer is known to have seen them: "until ...
// an RTCP packet ... has been received" that says so is what RFC 8852 section 3.3 has as one way.
func (s *Session) setExtensions(now mono.Time, e *encoding, repairs, confirmed bool, values []byte) {
	c := e.section
	ids := &c.outIDs
	x := &s.extensions
	x.Reset(formOf(c, e, values))
	empty := true
	add := func(id uint8, v []byte) {
		if id != 0 && x.Add(id, v) {
			empty = false
		}
	}
	if e.flow.perPacketReport {
		add(ids.transport, append(s.value[:0], 0, 0)) // set by whoever counts
	}
	if ids.sendTime != 0 {
		add(ids.sendTime, rtp.AbsSendTimeAt(time.Duration(now)).Append(s.value[:0]))
	}
	if !confirmed {
		add(ids.mid, append(s.value[:0], c.MID...))
		if rid := e.told.RID; rid != "" && repairs {
			add(ids.rrid, append(s.value[:0], rid...))
		} else if rid != "" {
			add(ids.rid, append(s.value[:0], rid...))
		}
	}
	for len(values) > 0 {
		n := 2 + int(values[1])
		add(values[0], values[2:n])
		values = values[n:]
	}
	if empty {
		x.Reset(rtp.NoExtension)
	}
}

// formOf chooses the form of a header: one byte where all fits, else two where the peer takes both. To one that takes one form only
// all are alike (RFC 8285 section 4.1.2): of two bytes if it has agreed to an id that needs them.
func formOf(c *section, e *encoding, values []byte) rtp.Form {
	if !c.Mixed {
		return c.form
	}
	ids := &c.outIDs
	if max(ids.mid, ids.rid, ids.rrid, ids.transport, ids.sendTime) > 14 || len(c.MID) > 16 || len(e.told.RID) > 16 {
		return rtp.TwoByte
	}
	for len(values) > 0 {
		if values[0] > 14 || values[1] == 0 || values[1] > 16 {
			return rtp.TwoByte
		}
		values = values[2+int(values[1]):]
	}
	return rtp.OneByte
}
