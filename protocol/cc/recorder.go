package cc

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

const (
	// What is told about arrivals may take this share of what arrives, and comes no more and no less often than this.
	feedbackShare = 0.05
	feedbackSize  = 100 // bytes, about, on the wire
	feedbackOften = 50 * time.Millisecond
	feedbackRare  = 100 * time.Millisecond

	leastArrivals = 256
	mostArrivals  = 1 << 13 // that are remembered: 100 ms of 800 Mbit/s
	mostLate      = 1 << 10 // behind what was told, so that it is told again
)

// ce is the mark of congestion (RFC 3168 section 5).
const ce = 3

// arrival is what became of one packet.
type arrival struct {
	at       mono.Time
	ecn      uint8
	received bool
	lost     bool // it was told as not received
}

// arrivals is a window over the packets of one counter.
type arrivals struct {
	ring   []arrival // of a power of two
	unwrap seqnum.Unwrapper[uint16]
	first  int64 // the oldest that has a place
	told   int64 // what is told next
	next   int64 // behind the highest
}

func (a *arrivals) at(n int64) *arrival { return &a.ring[n&int64(len(a.ring)-1)] }

// add notes an arrival. It returns false if it is a duplicate, or too old.
func (a *arrivals) add(now mono.Time, number uint16, ecn uint8) bool {
	n := a.unwrap.Peek(number)
	switch {
	case a.ring == nil:
		a.ring = make([]arrival, leastArrivals)
		a.begin(n)
	case n >= a.next+mostArrivals: // the sender began anew, or was away for long
		a.begin(n)
	case n < a.first || n < a.told-mostLate:
		return false
	}
	for n-a.first >= int64(len(a.ring)) {
		if len(a.ring) == mostArrivals || a.told-a.first > int64(len(a.ring)/2) {
			a.first++ // forget what was told, and what there is no room for
			continue
		}
		a.grow()
	}
	a.told = max(a.told, a.first)
	for a.next <= n {
		*a.at(a.next) = arrival{}
		a.next++
	}
	e := a.at(n)
	if e.received {
		if ecn == ce { // "If any of the copies ... are ECN-CE marked, then an ECN-CE mark MUST be reported" (RFC 8888 section 3.1)
			e.ecn = ce
		}
		return false
	}
	*e = arrival{now, ecn, true, e.lost}
	a.told = min(a.told, n)
	a.unwrap.Unwrap(number)
	return true
}

func (a *arrivals) begin(n int64) { a.first, a.told, a.next = n, n, n }

func (a *arrivals) grow() {
	old := *a
	a.ring = make([]arrival, 2*len(old.ring))
	for n := old.first; n < old.next; n++ {
		*a.at(n) = *old.at(n)
	}
}

// schedule is when feedback is due: the more arrives the more often.
type schedule struct {
	began mono.Time // when the last feedback was given
	due   mono.Time // Never: there is nothing to tell
	bytes int       // since then
	ever  bool
}

func (s *schedule) add(now mono.Time, size int) {
	if !s.ever {
		*s = schedule{began: now, ever: true, due: mono.Never}
	}
	s.bytes += size
	if s.due == mono.Never {
		s.due = max(now, s.began.Add(feedbackOften))
	}
}

// ready reports whether feedback is due, and if there is too little to tell of puts it off.
func (s *schedule) ready(now mono.Time) bool {
	if !s.ever || now < s.due {
		return false
	}
	since := now.Sub(s.began)
	share := rateOf(s.bytes, since).times(feedbackShare)
	if every := min(max(share.Time(feedbackSize), feedbackOften), feedbackRare); since < every {
		s.due = s.began.Add(every)
		return false
	}
	return true
}

// done notes that all was told.
func (s *schedule) done(now mono.Time) { s.began, s.due, s.bytes = now, mono.Never, 0 }

func (s *schedule) next() mono.Time {
	if !s.ever {
		return mono.Never
	}
	return s.due
}

// TransportRecorder is the receiver's side of transport-wide feedback: it notes when packets arrive, and tells that every 50 to 100
// ms. Its zero value is ready for use; it is not safe for concurrent use.
type TransportRecorder struct {
	arrivals arrivals
	schedule schedule
	number   uint8
	scratch  []rtcp.Arrival
}

// Record notes that a packet with a transport-wide sequence number has arrived.
func (r *TransportRecorder) Record(now mono.Time, number uint16, size int) {
	if r.arrivals.add(now, number, 0) {
		r.schedule.add(now, size)
	}
}

// NextTimeout returns when AppendFeedback has something to say.
func (r *TransportRecorder) NextTimeout() mono.Time { return r.schedule.next() }

// AppendFeedback appends an RTCP packet of at most limit bytes, if one is due, else it returns dst as it is. It is called until it
// does that. Media is the SSRC of any of the streams.
func (r *TransportRecorder) AppendFeedback(dst []byte, now mono.Time, sender, media rtp.SSRC, limit int) []byte {
	if !r.schedule.ready(now) {
		return dst
	}
	a := &r.arrivals
	r.scratch = r.scratch[:0]
	for n := a.told; n < a.next; n++ {
		e := a.at(n)
		r.scratch = append(r.scratch, rtcp.Arrival{Received: e.received, At: time.Duration(e.at)})
	}
	dst, told := rtcp.AppendTransportFeedback(dst, sender, media, uint16(a.told), r.number, r.scratch, limit)
	if told == 0 { // nothing is left, or limit has no room for anything
		a.told = a.next
	} else {
		r.number++
		a.told += int64(told)
	}
	if a.told == a.next {
		r.schedule.done(now)
	}
	return dst
}

const mostRecorded = 256 // streams

// recorded is one stream's arrivals.
type recorded struct {
	ssrc     rtp.SSRC
	last     mono.Time
	arrivals arrivals
	told     Told
}

// StreamRecorder is the receiver's side of RFC 8888: it notes when the packets of each stream arrive and with which ECN marks, and
// tells that every 50 to 100 ms. Its zero value is ready for use; it is not safe for concurrent use.
type StreamRecorder struct {
	streams  []recorded
	recent   int // of them: the last one's
	schedule schedule
	scratch  []rtcp.Metric
}

// Record notes that a packet has arrived, with the two bits of ECN that it came with.
func (r *StreamRecorder) Record(now mono.Time, ssrc rtp.SSRC, seq uint16, ecn uint8, size int) {
	s := r.stream(now, ssrc)
	s.last = now
	if s.arrivals.add(now, seq, ecn) {
		r.schedule.add(now, size)
		if ecn == ce {
			s.told.CE++
		}
	}
}

// stream returns a stream, in place of the one that has been silent for longest if there are too many.
func (r *StreamRecorder) stream(now mono.Time, ssrc rtp.SSRC) *recorded {
	if r.recent < len(r.streams) && r.streams[r.recent].ssrc == ssrc {
		return &r.streams[r.recent]
	}
	oldest := 0
	for i := range r.streams {
		if r.streams[i].ssrc == ssrc {
			r.recent = i
			return &r.streams[i]
		}
		if r.streams[i].last < r.streams[oldest].last {
			oldest = i
		}
	}
	if len(r.streams) < mostRecorded {
		oldest = len(r.streams)
		r.streams = append(r.streams, recorded{})
	}
	r.recent = oldest
	r.streams[oldest] = recorded{ssrc: ssrc, last: now}
	return &r.streams[oldest]
}

// Told returns what was told of a stream. It begins anew if the stream has made room for another.
func (r *StreamRecorder) Told(ssrc rtp.SSRC) Told {
	for i := range r.streams {
		if r.streams[i].ssrc == ssrc {
			return r.streams[i].told
		}
	}
	return Told{}
}

// NextTimeout returns when AppendFeedback has something to say.
func (r *StreamRecorder) NextTimeout() mono.Time { return r.schedule.next() }

// tells counts a packet that is told of.
func (t *Told) tells(a *arrival) {
	switch {
	case !a.received && !a.lost:
		a.lost = true
		t.Lost++
	case a.received && a.lost: // it is told as received from now on
		a.lost = false
		t.Recovered++
	}
}

const (
	congestionFixed = 16 // bytes of the packet without streams
	streamFixed     = 8
)

// AppendFeedback appends an RTCP packet of at most limit bytes, if one is due, else it returns dst as it is. It is called until it
// does that. Timestamp is now as the middle 32 bits of an NTP time.
func (r *StreamRecorder) AppendFeedback(dst []byte, now mono.Time, sender rtp.SSRC, timestamp uint32, limit int) []byte {
	if !r.schedule.ready(now) {
		return dst
	}
	start := len(dst)
	b := rtcp.BeginCongestionFeedback(dst, sender)
	told, left := 0, false
	for i := range r.streams {
		s := &r.streams[i]
		a := &s.arrivals
		room := limit - congestionFixed - (len(b) - start - congestionFixed + 4) - streamFixed
		n := min(a.next-a.told, int64(room/4*2))
		left = left || n < a.next-a.told
		if n <= 0 {
			continue
		}
		r.scratch = r.scratch[:0]
		for i := range n {
			e := a.at(a.told + i)
			s.told.tells(e)
			r.scratch = append(r.scratch, rtcp.Metric{Received: e.received, ECN: e.ecn, Before: now.Sub(e.at)})
		}
		b, _ = rtcp.AppendStreamFeedback(b, s.ssrc, uint16(a.told), r.scratch)
		a.told += n
		told++
	}
	if told == 0 {
		for i := range r.streams { // limit has no room for anything
			r.streams[i].arrivals.told = r.streams[i].arrivals.next
		}
		r.schedule.done(now)
		return dst
	}
	if !left {
		r.schedule.done(now)
	}
	return rtcp.EndCongestionFeedback(b, start, timestamp)
}
