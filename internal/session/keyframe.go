package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// How often a picture that can be decoded alone may be asked for: it is large, and takes a round trip at least.
const (
	minKeyInterval = 200 * time.Millisecond
	maxKeyInterval = 2 * time.Second
)

// keyRequests are those for one stream.
type keyRequests struct {
	wanted bool // a request is due at next
	last   mono.Time
	next   mono.Time
	fir    uint8 // number of the last FIR (RFC 5104 section 4.3.1.1)
}

// RequestKeyFrame asks the peer for a picture that can be decoded alone, of the newest stream of a section with the RID: by PLI
// or, where only that is negotiated, FIR. Requests for one stream are at least a round trip apart, and those between merge.
func (s *Session) RequestKeyFrame(now mono.Time, mid, rid string) {
	if c := s.section(mid); c != nil {
		if x := c.streamByRID(rid); x != nil {
			s.askForKeyFrame(now, x)
		}
	}
}

// RequestKeyFrameOf is RequestKeyFrame for a stream.
func (s *Session) RequestKeyFrameOf(now mono.Time, ssrc rtp.SSRC) {
	if x := s.streams[ssrc]; x != nil {
		s.askForKeyFrame(now, x)
	}
}

func (s *Session) askForKeyFrame(now mono.Time, x *Stream) {
	k := &x.keys
	if x.section.Kind != "video" || k.wanted || x.ended || x.role != roleMedia || !x.section.in.pli && !x.section.in.fir {
		return
	}
	k.wanted, k.next = true, now
	if k.last != 0 {
		k.next = max(now, k.last.Add(min(max(s.RTT()*3/2, minKeyInterval), maxKeyInterval)))
	}
	s.dueFeedback(k.next)
}

// keyFrameRequested is the other way: the peer asks for one of ours. What it asks for sooner than we would is left out, and false: most
// likely it is answered already, and if not will be said again.
func (s *Session) keyFrameRequested(now mono.Time, e *encoding) bool {
	if e.keyAsked != 0 && now.Sub(e.keyAsked) < minKeyInterval {
		return false
	}
	e.keyAsked = now
	s.keyFrameAsked(e)
	return true
}

// keyFrameAsked tells that one is wanted. One event stands for all requests until it is taken.
func (s *Session) keyFrameAsked(e *encoding) {
	if !e.keyWanted && e.section.Kind == "video" {
		e.keyWanted = s.tell(Event{Kind: KeyFrameWanted, MID: e.section.MID, Encoding: e.index, encoding: e})
	}
}
