package session

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// HandleRTCP takes a datagram of RTCP in, compound or of reduced size. What is malformed is dropped from there on.
func (s *Session) HandleRTCP(now mono.Time, b []byte) {
	if rtcp.Check(b, true) != nil {
		s.dropped.Malformed++
		return
	}
	s.receivedBytes += uint64(len(b))
	c := &s.control
	c.heard, c.lastHeard = 0, 0
	defer func() { c.passed(len(b), c.heard) }()
	for rest := b; len(rest) > 0; {
		var p rtcp.Packet
		var err error
		if p, rest, err = rtcp.Next(rest); err != nil {
			s.dropped.Malformed++
			return
		}
		s.handleControl(now, p)
	}
}

func (s *Session) handleControl(now mono.Time, p rtcp.Packet) {
	ok := true
	switch p.Kind() {
	case rtcp.KindSenderReport:
		var r rtcp.SenderReport
		if r, ok = p.SenderReport(); ok {
			s.handleSenderReport(now, &r)
			s.handleBlocks(now, r.SSRC, r.Reports)
		}
	case rtcp.KindReceiverReport:
		var r rtcp.ReceiverReport
		if r, ok = p.ReceiverReport(); ok {
			if x := s.streams[r.SSRC]; x != nil {
				x.heard = now
			}
			s.handleBlocks(now, r.SSRC, r.Reports)
		}
	case rtcp.KindSDES:
		ok = s.handleDescription(now, p)
	case rtcp.KindBYE:
		var bye rtcp.BYE
		if bye, ok = p.BYE(); ok {
			for i := range bye.Sources.Len() {
				if x := s.streams[bye.Sources.At(i)]; x != nil {
					s.end(x)
				}
			}
		}
	case rtcp.KindNACK:
		var n rtcp.NACK
		if n, ok = p.NACK(); ok {
			s.handleNACK(now, n)
		}
	case rtcp.KindPLI:
		var pli rtcp.PLI
		if pli, ok = p.PLI(); ok {
			if e := s.asked(pli.Media); e != nil {
				e.stats.PLICount++
				s.keyFrameRequested(now, e)
			}
		}
	case rtcp.KindFIR:
		var f rtcp.FIR
		if f, ok = p.FIR(); ok {
			for entry := range f.Entries() {
				e := s.asked(entry.SSRC)
				if e == nil {
					continue
				}
				e.stats.FIRCount++
				// "the decoder refresh point ... MUST NOT be repeated" for a command that was repeated, with its number (RFC 5104
				// section 4.3.1.2).
				if (!e.firSeen || e.firNumber != entry.Number) && s.keyFrameRequested(now, e) {
					e.firSeen, e.firNumber = true, entry.Number
				}
			}
		}
	case rtcp.KindTransportFeedback:
		var f rtcp.TransportFeedback
		if f, ok = p.TransportFeedback(); ok && s.congestion.Controller != nil {
			s.congestion.HandleTransportFeedback(now, f)
			s.yield(now)
			s.allocate(now)
		}
	case rtcp.KindCongestionFeedback:
		var f rtcp.CongestionFeedback
		if f, ok = p.CongestionFeedback(); ok {
			s.messages.Received++
		}
		if ok && s.congestion.Controller != nil {
			s.congestion.HandleCongestionFeedback(now, f)
			s.ecn.judge(now, s.congestion.Stats().ECN)
			s.yield(now)
			s.allocate(now)
		}
	case rtcp.KindREMB:
		var r rtcp.REMB
		if r, ok = p.REMB(); ok && s.congestion.Controller != nil {
			s.congestion.HandleREMB(now, cc.Rate(min(r.Bitrate, 1<<40)))
			s.allocate(now)
		}
	case rtcp.KindExtendedReport:
		var x rtcp.ExtendedReport
		if x, ok = p.ExtendedReport(); ok {
			s.handleExtended(now, x)
		}
	}
	if !ok {
		s.dropped.Malformed++
	}
}

// asked returns the encoding that feedback is about.
func (s *Session) asked(ssrc rtp.SSRC) *encoding {
	e := s.ours[ssrc]
	if e == nil {
		s.dropped.Control++
	}
	return e
}

func (s *Session) handleSenderReport(now mono.Time, r *rtcp.SenderReport) {
	x := s.streams[r.SSRC]
	if x == nil {
		return // RTP makes streams: a report does not say to what section it belongs
	}
	x.heard = now
	x.report.sender, x.report.senderAt = *r, now
	x.report.sender.Reports = rtcp.ReportBlocks{}
	x.stats.remote(r)
	if x.role == roleMedia {
		s.tell(Event{Kind: SenderReport, MID: x.section.MID, Stream: x, NTP: r.NTP, RTPTime: r.RTPTime, At: now})
	}
}

// handleBlocks takes in what one of the peer's sources says of our streams.
func (s *Session) handleBlocks(now mono.Time, from rtp.SSRC, blocks rtcp.ReportBlocks) {
	if c := &s.control; c.heard == 0 || from != c.lastHeard { // reports of one are stacked
		c.heard, c.lastHeard = c.heard+1, from
	}
	lost, expected, trip := 0, 0, time.Duration(0)
	for i := range blocks.Len() {
		b := blocks.At(i)
		e := s.ours[b.SSRC]
		if e == nil {
			continue
		}
		x := e.source(b.SSRC)
		x.confirmedAt = now
		if x.told.Delay = b.Delay; b == x.told {
			continue // another source of the peer's says the same
		}
		x.told = b
		rtt, measured := rtcp.RoundTrip(s.ntp(now).Middle(), b.LastReport, b.Delay)
		if measured {
			trip = rtt
			s.noteRTT(rtt)
		}
		if x != &e.media {
			continue
		}
		e.stats.Remote.block(now, &b, x.first, e.clock, rtt, measured)
		l, n := e.flow.since(&b)
		lost, expected = lost+l, expected+n
	}
	s.handleReports(now, lost, expected, trip)
}

// handleDescription takes in what sources say of themselves.
func (s *Session) handleDescription(now mono.Time, p rtcp.Packet) bool {
	items, ok := p.SDES()
	if !ok {
		return false
	}
	for i := range items {
		x := s.streams[i.SSRC]
		if x == nil {
			continue
		}
		switch i.Type {
		case rtcp.ItemCNAME:
			if x.cname != string(i.Text) {
				x.cname = string(i.Text)
			}
		case rtcp.ItemMID:
			// "If the packet contains a MID" by SDES the SSRC is latched as by RTP (RFC 8843 section 9.2).
			if c := s.sectionOf(i.Text); c != nil && c != x.section {
				s.end(x)
			}
		}
	}
	return true
}

// handleNACK queues what was asked for, once for each round trip.
func (s *Session) handleNACK(now mono.Time, n rtcp.NACK) {
	e := s.asked(n.Media)
	if e == nil {
		return
	}
	e.stats.NACKCount++
	e.repair.asked(&n)
	if s.congestion.Controller == nil || e.rtx.ssrc == 0 || !e.sends() || !e.section.Sends {
		return // without retransmission streams a packet cannot be sent again: SRTP has used its number (package srtp)
	}
	// Feedback of congestion knows sooner than reports do that a queue has made the way long.
	path, known := s.path(e), s.congestion.Stats()
	between := max(s.RTT()/2, known.Trip*3/4)
	echoes := farAndLossy(path.RTT, path.Loss) && known.Queue < echoQueue
	for seq := range n.Lost() {
		i, number := e.history.find(seq)
		if i == nil || i.hole || i.late {
			continue
		}
		if passed := now.Sub(i.sent); passed >= between || echoes && !i.echoed && passed >= echoAfter/2 {
			i.echoed = passed < between
			s.repeat(now, e, number)
		}
	}
}

// repeat queues a packet to be sent again, if its format has retransmissions.
func (s *Session) repeat(now mono.Time, e *encoding, number int64) {
	i := e.history.item(number)
	if f := e.section.out.of(i.payloadType); i.again || i.hole || i.late || len(e.repeats) >= maxRepeats || f == nil || f.RTX == 0 {
		return
	}
	if s.push(now, e, cc.Retransmission, s.wireSize(i.values+i.size)) {
		i.again = true
		e.repeats = append(e.repeats, number)
	}
}

// maxReferences bounds the receivers whose times we answer.
const maxReferences = 8

// A reference is a receiver's last time, by an extended report.
type reference struct {
	ssrc   rtp.SSRC
	middle uint32
	at     mono.Time
}

func (s *Session) handleExtended(now mono.Time, x rtcp.ExtendedReport) {
	for b := range x.Blocks() {
		if t, ok := b.ReferenceTime(); ok {
			i := slices.IndexFunc(s.references, func(r reference) bool { return r.ssrc == x.Sender })
			if i < 0 && len(s.references) < maxReferences {
				i = len(s.references)
				s.references = append(s.references, reference{})
			}
			if i >= 0 {
				s.references[i] = reference{x.Sender, t.Middle(), now}
			}
		}
		for d := range b.DLRRs() {
			if d.SSRC != s.own && s.ours[d.SSRC] == nil {
				continue
			}
			if rtt, ok := rtcp.RoundTrip(s.ntp(now).Middle(), d.LastReport, d.Delay); ok {
				s.noteRTT(rtt)
				s.trips.add(rtt)
			}
		}
	}
}

// referenceAnswers answers each reference time once.
func (s *Session) referenceAnswers(now mono.Time) []rtcp.DLRR {
	s.answers = s.answers[:0]
	for _, r := range s.references {
		s.answers = append(s.answers, rtcp.DLRR{SSRC: r.ssrc, LastReport: r.middle, Delay: rtcp.DelayOf(now.Sub(r.at))})
	}
	s.references = s.references[:0]
	return s.answers
}
