package session

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Config is what a Session is made with. Entropy is required.
type Config struct {
	// Entropy is a source for SSRCs, first sequence numbers and the times of reports.
	Entropy io.Reader
	// Origin is the time of day at mono.Time zero, as reports tell it. All sessions of a connection have the same.
	Origin rtp.NTP
	// MaxPacket is the size of an RTP or RTCP packet in bytes, SRTP not included, that MaxPayload and reports keep to. 0:
	// DefaultMaxPacket.
	MaxPacket int
}

// Validate says what is wrong with a Config.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return errors.New("session: Config.Entropy is nil: pass crypto/rand.Reader")
	case c.MaxPacket < 0 || c.MaxPacket > 0 && c.MaxPacket < 500 || c.MaxPacket > maxPacket:
		return errors.New("session: Config.MaxPacket is not within 500 and 1400")
	}
	return nil
}

// A Session is the RTP session of one transport. It is an engine (docs/architecture.md), and not safe for concurrent use.
type Session struct {
	cfg         Config
	cname       string
	sections    []*section
	ids         extensions // of what comes
	reducedSize bool
	connected   bool
	paused      bool // there is no path
	closing     bool

	// What the peer sends.
	streams map[rtp.SSRC]*Stream
	order   []*Stream // the same, in the order in which they came
	recent  *Stream   // the last one looked up
	arrived []Received
	taken   int // of them, by NextPacket

	// What we send.
	ours   map[rtp.SSRC]*encoding // by SSRCs of media and of retransmissions
	own    rtp.SSRC               // of reports, as long as nothing is sent
	byes   []rtp.SSRC             // that leave
	slots  []*encoding            // by the number that the pacer has for them; nil: free
	tailAt mono.Time              // when to look whether one of them has fallen silent

	congestion congestion
	ecn        ecn
	marked     pkt.ECN // the packet that is being written
	recorders  recorders
	overhead   int

	control    control
	round      round
	references []reference
	rtt        time.Duration // measured by RTCP; 0: not yet
	trips      RoundTrips    // measured as one who receives
	pathRTT    time.Duration // told by SetRTT

	sentBytes, receivedBytes uint64
	rate                     meter
	dropped                  Dropped
	messages                 Messages
	events                   []Event
	told                     int // of them, by NextEvent

	// Scratch.
	extensions rtp.Extensions
	blocks     rtcp.ReportBlocks
	answers    []rtcp.DLRR
	items      []rtcp.Item
	lost       []uint16
	original   [rtxHeader]byte
	packet     []byte
	value      [256]byte
	seed       [8]byte
}

// New makes a Session without sections.
func New(cfg Config) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxPacket == 0 {
		cfg.MaxPacket = DefaultMaxPacket
	}
	s := &Session{
		cfg: cfg, overhead: defaultOverhead, tailAt: mono.Never, streams: map[rtp.SSRC]*Stream{}, ours: map[rtp.SSRC]*encoding{}, lost: make([]uint16, 0, 256),
		control: control{size: firstControlSize, reportAt: mono.Never, moreAt: mono.Never, feedbackAt: mono.Never},
	}
	// "a short-term persistent RTCP CNAME": 96 random bits (RFC 7022 section 4.2), should the description have none.
	var name [12]byte
	if _, err := io.ReadFull(cfg.Entropy, name[:]); err != nil {
		return nil, err
	}
	s.cname = base64.StdEncoding.EncodeToString(name[:])
	s.own = s.newSSRC()
	return s, nil
}

// bits returns random bits. A source that fails gives zeroes, which newSSRC makes different ones of.
func (s *Session) bits() uint64 {
	if _, err := io.ReadFull(s.cfg.Entropy, s.seed[:]); err != nil {
		s.seed = [8]byte{}
	}
	return binary.BigEndian.Uint64(s.seed[:])
}

// random returns a number from 0 to 1.
func (s *Session) random() float64 { return float64(s.bits()>>11) / (1 << 53) }

func (s *Session) newSSRC() rtp.SSRC {
	for ssrc := rtp.SSRC(s.bits()); ; ssrc++ {
		if ssrc != 0 && ssrc != s.own && s.ours[ssrc] == nil && s.streams[ssrc] == nil {
			return ssrc
		}
	}
}

// Apply tells what descriptions have come to: the sections on this transport. It is the whole state and compared with what was
// told before; sections that it does not name any more end.
func (s *Session) Apply(now mono.Time, media []jsep.Media) {
	if s.closing {
		return
	}
	for _, c := range slices.Clone(s.sections) {
		if !slices.ContainsFunc(media, func(m jsep.Media) bool { return m.MID == c.MID }) {
			s.remove(c)
		}
	}
	s.ids, s.reducedSize = extensions{}, true
	for i := range media {
		m := &media[i]
		c := s.section(m.MID)
		if c == nil {
			c = &section{}
			c.sender = &Sender{session: s, section: c}
			s.sections = append(s.sections, c)
		}
		c.set(m)
		if m.CNAME != "" {
			s.cname = m.CNAME
		}
		s.ids.merge(c.inIDs)
		s.reducedSize = s.reducedSize && m.ReducedSize
		s.applyEncodings(c)
		if !c.Receives {
			s.endAll(c)
		}
	}
	s.start(now)
}

// applyEncodings compares what a section sends: an encoding is the same if its RID and its SSRC are.
func (s *Session) applyEncodings(c *section) {
	was := c.sender.encodings
	c.sender.encodings = nil
	for i := range c.Encodings {
		m := &c.Encodings[i]
		at := slices.IndexFunc(was, func(e *encoding) bool { return e.told.RID == m.RID && e.told.SSRC == m.SSRC })
		var e *encoding
		if at >= 0 {
			e = was[at]
			was = slices.Delete(was, at, at+1)
		} else {
			e = &encoding{section: c, params: EncodingParameters{Active: true}}
			s.place(e)
			s.claim(e, &e.media, m.SSRC)
			e.history.begin(int64(s.bits() % firstSequence))
			e.rtxNumber = uint16(s.bits() % firstSequence)
		}
		e.told, e.index = *m, i
		e.flow.perPacketReport = perPacket(&c.Media, c.out, &c.outIDs)
		if e.rtx.ssrc == 0 && slices.ContainsFunc(c.Send, func(k jsep.Codec) bool { return k.RTX != 0 }) {
			s.claim(e, &e.rtx, m.RTX)
		}
		s.applyRepair(e)
		c.sender.encodings = append(c.sender.encodings, e)
		if !c.Sends || !e.sends() {
			s.silence(e)
		}
	}
	for _, e := range was {
		s.leave(e)
	}
}

// claim gives a source an SSRC: the one that is told, if it is free.
func (s *Session) claim(e *encoding, x *source, told rtp.SSRC) {
	if told == 0 || s.ours[told] != nil || s.streams[told] != nil {
		told = s.newSSRC()
	}
	*x = source{ssrc: told}
	s.ours[told] = e
}

// silence drops what waits. The peer may forget the streams.
func (s *Session) silence(e *encoding) {
	e.media.confirmedAt, e.rtx.confirmedAt = 0, 0
	e.history.drop()
	e.forwarded = forwarded{}
	for _, n := range e.repeats {
		if n >= e.history.first {
			i := e.history.item(n)
			i.again, i.late, i.hole = false, false, i.late
		}
	}
	e.repeats = e.repeats[:0]
}

// leave ends an encoding for good.
func (s *Session) leave(e *encoding) {
	s.silence(e)
	s.slots[e.flow.slot] = nil
	for _, x := range e.sources() {
		s.bye(x)
		delete(s.ours, x.ssrc)
	}
}

// maxByes bounds SSRCs that leave in one packet.
const maxByes = 31

// bye says that a source leaves, if the peer has heard of it.
func (s *Session) bye(x *source) {
	if x.packets > 0 && len(s.byes) < maxByes {
		s.byes = append(s.byes, x.ssrc)
	}
}

func (s *Session) remove(c *section) {
	c.gone = true
	s.endAll(c)
	for _, e := range c.sender.encodings {
		s.leave(e)
	}
	s.sections = slices.DeleteFunc(s.sections, func(d *section) bool { return d == c })
}

func (s *Session) section(mid string) *section {
	for _, c := range s.sections {
		if c.MID == mid {
			return c
		}
	}
	return nil
}

// endAll ends what a section receives.
func (s *Session) endAll(c *section) {
	for _, x := range slices.Clone(s.order) {
		if x.section == c {
			s.end(x)
		}
	}
}

// end forgets a stream.
func (s *Session) end(x *Stream) {
	x.ended = true
	delete(s.streams, x.ssrc)
	at := slices.Index(s.order, x)
	s.order = slices.Delete(s.order, at, at+1)
	if s.recent == x {
		s.recent = nil
	}
	x.section.repairers = slices.DeleteFunc(x.section.repairers, func(y *Stream) bool { return y == x })
	if x.role == roleMedia {
		c := x.section
		c.remember(x)
		c.streams = slices.DeleteFunc(c.streams, func(y *Stream) bool { return y == x })
		s.tell(Event{Kind: StreamEnded, MID: c.MID, Stream: x})
	}
}

// collide gives an encoding another SSRC, because the peer has ours (RFC 3550 section 8.2).
func (s *Session) collide(now mono.Time, ssrc rtp.SSRC) {
	e := s.ours[ssrc]
	delete(s.ours, ssrc)
	x := e.source(ssrc)
	s.bye(x)
	s.claim(e, x, 0)
	s.tell(Event{Kind: SourceChanged, MID: e.section.MID, Encoding: e.index})
}

// Connect says that packets may flow: the keys are there.
func (s *Session) Connect(now mono.Time) {
	if !s.connected {
		s.connected = true
		s.start(now)
	}
}

// Pause says whether there is no path at present: what waits is dropped, as it would be old when there is one again, and pictures then
// begin anew.
func (s *Session) Pause(now mono.Time, paused bool) {
	if s.paused == paused {
		return
	}
	s.paused = paused
	for _, e := range s.slots {
		switch {
		case e == nil:
		case paused:
			s.silence(e)
		case e.media.packets > 0 && e.sends():
			s.keyFrameAsked(e)
		}
	}
}

// start begins with reports, once there is something to report.
func (s *Session) start(now mono.Time) {
	if s.connected && len(s.sections) > 0 && s.control.reportAt == mono.Never {
		s.rate.begin(now)
		s.control.budgetAt = now
		s.schedule(now)
	}
	if s.connected {
		s.startCongestion(now)
		s.allocate(now)
	}
}

// SetRTT tells the round-trip time of the path, for as long as RTCP has not measured any.
func (s *Session) SetRTT(d time.Duration) { s.pathRTT = d }

// PathChanged says that what is sent takes another path from now on.
func (s *Session) PathChanged(now mono.Time) {
	s.rtt = 0
	if s.congestion.Controller != nil {
		s.congestion.HandleRouteChange(now)
		s.ecn = ecn{}
		s.ecn.begin(now, ecnInitiation, s.congestion.Stats().ECN)
		s.allocate(now)
	}
}

// RTT returns the round-trip time: by RTCP, else by SetRTT, else 100 ms.
func (s *Session) RTT() time.Duration {
	switch {
	case s.rtt > 0:
		return s.rtt
	case s.pathRTT > 0:
		return s.pathRTT
	}
	return 100 * time.Millisecond
}

// noteRTT takes in a measurement.
func (s *Session) noteRTT(d time.Duration) {
	if s.rtt == 0 {
		s.rtt = max(d, time.Microsecond)
		return
	}
	s.rtt += (d - s.rtt) / 4
}

// HandleTimeout does what is due.
func (s *Session) HandleTimeout(now mono.Time) {
	if !s.connected || s.paused || s.closing {
		return
	}
	s.rate.update(now, s.sentBytes+s.receivedBytes)
	s.controlTimeout(now)
	if now >= s.tailAt {
		s.tailTimeout(now)
	}
	if g := &s.congestion; g.Controller != nil && g.NextTimeout() <= now {
		g.HandleTimeout(now)
		g.popAt = 0
		if g.Target() != g.shared || now >= g.nextLook { // most timeouts are the pacer's
			s.allocate(now)
		}
	}
}

// NextTimeout returns when HandleTimeout is due, or mono.Never.
func (s *Session) NextTimeout() mono.Time {
	if !s.connected || s.paused || s.closing {
		return mono.Never
	}
	next := mono.Min(mono.Min(s.control.reportAt, s.control.feedbackAt), mono.Min(s.control.moreAt, s.tailAt))
	if !s.control.urgent {
		next = mono.Min(next, s.recorders.next())
	}
	if s.congestion.Controller != nil {
		next = mono.Min(next, s.congestion.NextTimeout())
	}
	return next
}

// MaxAppend is the most that AppendPacket appends.
const MaxAppend = maxPacket

// AppendPacket writes the next packet of RTP or RTCP (see [rtp.IsRTCP]) behind dst, and says how it is to be marked; nothing if
// there is none. dst should have room for MaxAppend bytes.
func (s *Session) AppendPacket(dst []byte, now mono.Time) ([]byte, Marking) {
	switch {
	case !s.connected:
		return dst, Marking{}
	case len(s.byes) > 0:
		return s.appendBye(dst, now), Marking{}
	case s.closing:
		return dst, Marking{}
	}
	if out := s.appendControl(dst, now); len(out) > len(dst) {
		n := len(out) - len(dst)
		s.sentBytes += uint64(n)
		if s.congestion.Controller != nil {
			s.congestion.Other(now, n+s.overhead)
		}
		return out, Marking{} // "SHALL NOT ECT mark their RTCP traffic at any time" (RFC 6679 section 7.2)
	}
	return s.appendMedia(dst, now)
}

// appendBye says which sources leave (RFC 3550 section 6.6): in a compound packet, whose last part it is.
func (s *Session) appendBye(dst []byte, now mono.Time) []byte {
	s.blocks.Reset()
	r := rtcp.ReceiverReport{SSRC: s.byes[0], Reports: s.blocks}
	dst = s.appendDescription(r.Append(dst), r.SSRC, "", "", false)
	dst = rtcp.AppendBYE(dst, "", s.byes...)
	s.byes = s.byes[:0]
	return dst
}

// Close ends the session: sources that have sent say BYE, by AppendPacket, and all else is silence.
func (s *Session) Close(now mono.Time) {
	if s.closing {
		return
	}
	for _, c := range slices.Clone(s.sections) {
		s.remove(c)
	}
	s.closing = true
}

// Dropped returns the counters.
func (s *Session) Dropped() Dropped { return s.dropped }

// A meter measures a rate, over seconds.
type meter struct {
	bits  float64 // a second
	at    mono.Time
	bytes uint64
}

func (m *meter) begin(now mono.Time) { m.at = now }

func (m *meter) update(now mono.Time, bytes uint64) {
	if d := now.Sub(m.at); d >= time.Second {
		m.bits += (float64(bytes-m.bytes)*8/d.Seconds() - m.bits) / 2
		m.at, m.bytes = now, bytes
	}
}

func (m *meter) value() float64 { return m.bits }
