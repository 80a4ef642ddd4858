package session

import (
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// An EventKind says what an Event tells, and which of its fields do. All have MID.
type EventKind uint8

// The kinds.
const (
	// StreamStarted: Stream is new. What it brings comes by NextPacket.
	StreamStarted EventKind = iota + 1
	// StreamEnded: Stream is gone, by BYE, silence, or because its section does not receive any more.
	StreamEnded
	// KeyFrameWanted: the peer needs a picture of Encoding that can be decoded alone.
	KeyFrameWanted
	// SenderReport: of Stream, RTPTime is NTP by the sender's clock, and came At.
	SenderReport
	// SourceChanged: Encoding has another SSRC, because the peer has taken the same (RFC 3550 section 8.2).
	SourceChanged
	// TargetBitrate: Encoding should be of Bitrate from now on; of 0 bits it is not sent until another is told.
	TargetBitrate
)

// An Event is something that the owner must know.
type Event struct {
	Kind     EventKind
	MID      string
	Encoding int
	Stream   *Stream
	NTP      rtp.NTP
	RTPTime  uint32
	At       mono.Time
	Bitrate  uint64 // bits a second, of payloads

	encoding *encoding
}

// maxEvents bounds events that nobody takes: reports come again, and are left out first.
const maxEvents = 1024

func (s *Session) tell(e Event) bool {
	n := len(s.events) - s.told
	if n >= maxEvents || e.Kind == SenderReport && n >= maxEvents/2 {
		return false
	}
	if s.told > 0 && len(s.events) == cap(s.events) {
		s.events = s.events[:copy(s.events, s.events[s.told:])]
		s.told = 0
	}
	s.events = append(s.events, e)
	return true
}

// NextEvent returns the next event; false if there is none.
func (s *Session) NextEvent() (Event, bool) {
	if s.told == len(s.events) {
		s.events, s.told = s.events[:0], 0
		return Event{}, false
	}
	e := s.events[s.told]
	s.events[s.told] = Event{}
	s.told++
	switch e.Kind {
	case KeyFrameWanted:
		e.encoding.keyWanted = false
	case TargetBitrate:
		f := &e.encoding.flow
		e.Bitrate, f.toldRate, f.pending = f.target, f.target, false
	}
	return e, true
}
