package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

const (
	// RTCP may take 5 % of the session's bandwidth (RFC 3550 section 6.2), which is never taken for less than this.
	controlShare     = 20
	minBandwidth     = 300_000 // bits a second, which is what congestion control begins with
	lowerLayers      = 28      // IP and UDP: "the size of the ... lower-layer ... protocols" counts (RFC 3550 section 6.2)
	firstControlSize = 128     // the guess at the mean size of a compound packet
	// reportEvery is T_rr_interval (RFC 4585 section 3.4): the bandwidth would mostly allow more.
	reportEvery = time.Second
	// streamTimeout is how long an SSRC of the peer's is kept that is silent in RTP and RTCP: "five times the ... interval ...
	// calculated with ... a Tmin of 5 seconds" (RFC 3550 section 6.3.5).
	streamTimeout = 25 * time.Second
	maxBlocks     = 31
)

// control is the timing of RTCP: regular reports by RFC 3550 section 6.3, feedback as soon as the bandwidth has room for it
// (RFC 4585 section 3.5 with two members, so that nothing has to be held back for others).
type control struct {
	size     float64   // mean of packets, lower layers included, divided by the sources that report in each (RFC 8108 section 5.3.1)
	last     mono.Time // of a regular report
	reportAt mono.Time // the next; mono.Never: none
	due      bool      // a packet of the round at hand is to be written
	moreAt   mono.Time // when the next packet of the round at hand may leave; mono.Never: all have left

	heard     int // sources that report in the packet at hand
	lastHeard rtp.SSRC

	feedbackAt mono.Time // the earliest feedback; mono.Never: none
	urgent     bool      // feedback is to be written
	budget     float64   // bytes of feedback that may be sent at once
	budgetAt   mono.Time
}

// bandwidth is what the session's RTCP may take, in bytes a second.
func (s *Session) controlRate() float64 {
	return max(s.rate.value(), minBandwidth) / 8 / controlShare
}

// interval is that of regular reports: what the bandwidth allows (RFC 3550 section 6.3.1), whose minimum RFC 4585 section 3.4
// replaces; half of it before the first.
func (s *Session) interval() time.Duration {
	members := float64(len(s.order) + len(s.ours) + 1)
	t := time.Duration(s.control.size * members / s.controlRate() * float64(time.Second))
	t = min(max(t, reportEvery), streamTimeout/5)
	if s.control.last == 0 {
		t /= 2
	}
	// Between half and one and a half of it, "to avoid unintended synchronization", and less for what that does to the mean.
	return time.Duration(float64(t) * (0.5 + s.random()) / 1.21828)
}

// schedule sets the time of the next report.
func (s *Session) schedule(now mono.Time) { s.control.reportAt = now.Add(s.interval()) }

// dueFeedback says that there will be feedback to give.
func (s *Session) dueFeedback(at mono.Time) {
	s.control.feedbackAt = mono.Min(s.control.feedbackAt, at)
}

// controlTimeout is what is due of RTCP.
func (s *Session) controlTimeout(now mono.Time) {
	c := &s.control
	if now >= c.reportAt {
		// Timer reconsideration (RFC 3550 section 6.3.3): the session may have grown since.
		if t := c.last.Add(s.interval()); c.last != 0 && t > now {
			c.reportAt = t
		} else if s.schedule(now); !c.due && c.moreAt == mono.Never {
			c.due, c.last = true, now
			s.expire(now)
			s.beginRound(now)
		}
	}
	if now >= c.moreAt {
		c.due, c.moreAt = true, mono.Never
	}
	if s.recorders.next() <= now {
		c.urgent = true
	}
	if now >= c.feedbackAt {
		c.refill(now, s.controlRate())
		if c.budget < 0 { // until it is made up
			c.feedbackAt = now.Add(time.Duration(-c.budget/s.controlRate()*float64(time.Second)) + time.Millisecond)
			return
		}
		c.urgent, c.feedbackAt = true, mono.Never
	}
}

// refill gives feedback what the time has brought: at most what a quarter of a second has.
func (c *control) refill(now mono.Time, rate float64) {
	c.budget = min(c.budget+rate*now.Sub(c.budgetAt).Seconds(), rate/4)
	c.budgetAt = now
}

// expire ends streams that are silent.
func (s *Session) expire(now mono.Time) {
	for i := 0; i < len(s.order); {
		if x := s.order[i]; now.Sub(x.heard) > streamTimeout {
			s.end(x)
		} else {
			i++
		}
	}
}

// appendControl writes one compound packet of RTCP; nothing if there is none to write.
func (s *Session) appendControl(dst []byte, now mono.Time) []byte {
	c := &s.control
	start, sources := len(dst), 1
	switch {
	case c.due:
		dst, sources = s.appendReports(dst, now)
		if c.urgent { // what there is goes along
			c.urgent = false
			dst = s.appendFeedback(dst, now, start)
		}
	case c.urgent:
		c.urgent = false
		if dst = s.appendFeedback(dst, now, start); len(dst) == start {
			return dst
		}
		c.budget -= float64(len(dst) - start + lowerLayers)
	default:
		return dst
	}
	if len(dst) > start {
		c.passed(len(dst)-start, sources)
	}
	return dst
}

// passed notes the size of a packet that was sent or received (RFC 3550 section 6.3.3), in which so many sources report.
func (c *control) passed(bytes, sources int) {
	c.size += (float64(bytes+lowerLayers)/float64(max(sources, 1)) - c.size) / 16
}

// reporter is the SSRC that reports of the peer's streams come from: the first of ours, or one for that alone.
func (s *Session) reporter() rtp.SSRC {
	for _, c := range s.sections {
		if c.sender != nil && c.Sends {
			for _, e := range c.sender.encodings {
				if e.media.packets > 0 {
					return e.media.ssrc
				}
			}
		}
	}
	return s.own
}

// timestampAt is now in the units of what an encoding sends.
func (e *encoding) timestampAt(now mono.Time) uint32 {
	d := now.Sub(e.captured)
	return e.timestamp + uint32(int64(d/time.Second)*int64(e.clock)+int64(d%time.Second)*int64(e.clock)/int64(time.Second))
}

// ntp is the time of day, as far as the owner has told it.
func (s *Session) ntp(now mono.Time) rtp.NTP { return s.cfg.Origin.Add(time.Duration(now)) }

// appendFeedback writes what is to be said at once. It begins with a report, as a compound packet must, where the peer does not
// take less (RFC 5506).
func (s *Session) appendFeedback(dst []byte, now mono.Time, start int) []byte {
	head := len(dst)
	if head == start && !s.reducedSize {
		s.blocks.Reset()
		r := rtcp.ReceiverReport{SSRC: s.reporter(), Reports: s.blocks}
		dst = s.appendDescription(r.Append(dst), r.SSRC, "", "", false)
	}
	body := len(dst)
	limit := s.cfg.MaxPacket
	sender := s.reporter()
	next := mono.Never
	for _, x := range s.order {
		k := &x.keys
		if k.wanted && k.next <= now && len(dst)-start+20 <= limit {
			k.wanted, k.last = false, now
			if x.section.in.pli {
				dst = rtcp.PLI{Sender: sender, Media: x.ssrc}.Append(dst)
				x.stats.PLICount++
			} else {
				k.fir++
				dst = rtcp.AppendFIR(dst, sender, rtcp.FIREntry{SSRC: x.ssrc, Number: k.fir})
				x.stats.FIRCount++
			}
		} else if k.wanted {
			next = mono.Min(next, max(k.next, now))
		}
		if len(x.losses.list) == 0 {
			continue
		}
		room := limit - (len(dst) - start) - 12
		if room < 16 {
			next = now
			continue
		}
		lost, at := s.dueLosses(now, x, s.lost[:0:min(cap(s.lost), room/4)])
		next = mono.Min(next, at)
		if len(lost) > 0 {
			dst, _ = rtcp.AppendNACK(dst, sender, x.ssrc, lost, limit-(len(dst)-start))
			x.stats.NACKCount++
		}
	}
	dst = s.recorders.append(dst, now, s, limit-(len(dst)-start))
	if next <= now { // no room for all of it
		next = now.Add(time.Millisecond)
	}
	s.dueFeedback(next)
	if len(dst) == body {
		return dst[:head]
	}
	return dst
}
