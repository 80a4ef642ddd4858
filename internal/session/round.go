package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// maxAtOnce is how many packets of reports leave at one moment: "MUST NOT send more than four compound RTCP packets with zero initial
// delay" (RFC 8108 section 5.2). Those that are left follow one by one.
const maxAtOnce = 4

// A round is reports from each source of ours on each of the peer's: "each SSRC will send RTCP reports for all other SSRCs" (RFC 8108 section
// 5.1). They are aggregated into as few compound packets as have room for them (section 5.3), so that all begin from the same time, and
// what they say of a source is the same.
type round struct {
	reporters []rtp.SSRC
	blocks    []reportBlock
	reporter  int // the next to report
	block     int // the next that it has to tell
	packets   int // written
}

// A reportBlock is complete but for the time since the sender's report.
type reportBlock struct {
	rtcp.ReportBlock
	senderAt mono.Time
}

// beginRound notes what is to be reported, and by whom: sources that have sent, or the one that is for reports alone.
func (s *Session) beginRound(now mono.Time) {
	r := &s.round
	*r = round{reporters: r.reporters[:0], blocks: r.blocks[:0]}
	for _, c := range s.sections {
		for _, e := range c.sender.encodings {
			for _, x := range e.sources() {
				if x.packets > 0 {
					r.reporters = append(r.reporters, x.ssrc)
				}
			}
		}
	}
	if len(r.reporters) == 0 {
		r.reporters = append(r.reporters, s.own)
	}
	for _, x := range s.order { // "SHOULD NOT" be of sources that were silent since the last report (RFC 3550 section 6.4)
		if x.report.fresh {
			r.blocks = append(r.blocks, reportBlock{x.block(), x.report.senderAt})
		}
	}
}

// nextReporter skips sources that have left since.
func (r *round) nextReporter(s *Session) bool {
	for r.reporter < len(r.reporters) {
		if x := r.reporters[r.reporter]; x == s.own || s.ours[x] != nil {
			return true
		}
		r.reporter, r.block = r.reporter+1, 0
	}
	return false
}

// appendReports writes one compound packet of the round, with as many reports as it has room for, and says from how many sources they are.
// If more are left, they are due later.
func (s *Session) appendReports(dst []byte, now mono.Time) (_ []byte, sources int) {
	r, c, start := &s.round, &s.control, len(dst)
	answers := s.referenceAnswers(now)
	limit := start + s.cfg.MaxPacket - extendedSize(len(answers))
	sending := false
	first := rtp.SSRC(0)
	for last := rtp.SSRC(0); r.nextReporter(s); {
		ssrc := r.reporters[r.reporter]
		from, mid, rid, repairs := s.describe(ssrc)
		size := 28
		if ssrc != last {
			size += 24 + len(s.cname) + len(mid) + len(rid)
		}
		left := len(r.blocks) - r.block
		room := (limit - len(dst) - size) / 24
		if sources > 0 && (room < 0 || room == 0 && left > 0) {
			break
		}
		s.blocks.Reset()
		for range min(left, room, maxBlocks) {
			b := &r.blocks[r.block]
			if b.LastReport != 0 {
				b.Delay = rtcp.DelayOf(now.Sub(b.senderAt))
			}
			s.blocks.Add(b.ReportBlock)
			r.block++
		}
		// "if a participant has sent any data packets during the interval since issuing the last report or the previous one" it is a
		// sender (RFC 3550 section 6.4). What there is no room for in 31 blocks is stacked behind.
		if from != nil && ssrc != last && from.sends() {
			e := s.ours[ssrc]
			sr := rtcp.SenderReport{
				SSRC: ssrc, NTP: s.ntp(now), RTPTime: e.timestampAt(now), Packets: uint32(from.packets), Octets: uint32(from.octets), Reports: s.blocks,
			}
			dst, sending = sr.Append(dst), true
		} else {
			rr := rtcp.ReceiverReport{SSRC: ssrc, Reports: s.blocks}
			dst = rr.Append(dst)
		}
		if ssrc != last {
			dst = s.appendDescription(dst, ssrc, mid, rid, repairs)
			sources++
			last = ssrc
		}
		if first == 0 {
			first = ssrc
		}
		if r.block == len(r.blocks) {
			if from != nil {
				from.reported()
			}
			r.reporter, r.block = r.reporter+1, 0
		}
	}
	if sources > 0 && !sending && r.packets == 0 { // who sends nothing learns of the round trip only so (RFC 3611 section 4.4)
		dst = rtcp.AppendReferenceTime(dst, first, s.ntp(now))
	}
	if len(answers) > 0 {
		dst = rtcp.AppendDLRR(dst, s.reporter(), answers...)
	}
	r.packets++
	switch {
	case !r.nextReporter(s):
		c.due, c.moreAt = false, mono.Never
	case r.packets >= maxAtOnce:
		c.due = false
		c.moreAt = now.Add(time.Duration(float64(len(dst)-start+lowerLayers) / s.controlRate() * float64(time.Second)))
	}
	return dst, sources
}

// extendedSize is the room that extended reports take: a reference time, and answers to others.
func extendedSize(answers int) int {
	n := 8 + 12
	if answers > 0 {
		n += 8 + 4 + 12*answers
	}
	return n
}

// describe says what an SSRC of ours is; from is nil for the one that is for reports alone.
func (s *Session) describe(ssrc rtp.SSRC) (from *source, mid, rid string, repairs bool) {
	e := s.ours[ssrc]
	if e == nil {
		return nil, "", "", false
	}
	return e.source(ssrc), e.section.MID, e.told.RID, ssrc != e.media.ssrc
}

// appendDescription writes what a source says of itself: its CNAME and, as headers of its packets do, the section, and which encoding it is or
// repairs (RFC 9143 section 15.2, RFC 8852 section 4).
func (s *Session) appendDescription(dst []byte, ssrc rtp.SSRC, mid, rid string, repairs bool) []byte {
	s.items = append(s.items[:0], rtcp.Item{Type: rtcp.ItemCNAME, Text: append(s.value[:0], s.cname...)})
	if mid != "" {
		s.items = append(s.items, rtcp.Item{Type: rtcp.ItemMID, Text: []byte(mid)})
	}
	if rid != "" {
		kind := uint8(rtcp.ItemRID)
		if repairs {
			kind = rtcp.ItemRRID
		}
		s.items = append(s.items, rtcp.Item{Type: kind, Text: []byte(rid)})
	}
	return rtcp.AppendSDES(dst, ssrc, s.items...)
}

// sends reports whether something was sent since the report before the last.
func (x *source) sends() bool { return x.packets > x.atReports[1] }

// reported notes that a source has reported.
func (x *source) reported() { x.atReports = [...]uint64{x.packets, x.atReports[0]} }

// sources are the SSRCs that an encoding sends: of media, of retransmissions, of repair.
func (e *encoding) sources() [3]*source { return [...]*source{&e.media, &e.rtx, &e.repair.source} }

// source returns that of an SSRC.
func (e *encoding) source(ssrc rtp.SSRC) *source {
	for _, x := range e.sources() {
		if x.ssrc == ssrc {
			return x
		}
	}
	return nil
}
