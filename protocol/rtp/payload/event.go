package payload

import "encoding/binary"

// An Event is a report of a telephone event (RFC 4733 section 2.3): a tone of DTMF, most of all.
type Event struct {
	// Code is the event: of DTMF 0 to 9, 10 is *, 11 is #, 12 to 15 are A to D (section 3.2).
	Code uint8
	// End says that the event is over.
	End bool
	// Volume is the power of a tone below 0 dBm0, 0 to 63 dB.
	Volume uint8
	// Duration is how long the event, or this segment of it, has lasted since the packet's timestamp, in ticks.
	Duration uint16
}

const (
	eventLen         = 4
	eventEnd         = 0x80
	eventVolume      = 0x3f
	eventMaxDuration = 0xffff
	// eventFinals is how often the last report is sent: "a total of three times at the interval used by the source for updates"
	// (section 2.5.1.4).
	eventFinals = 3
)

// ParseEvent reads the first report of a payload. What follows it are reports of further events, each of which begins where the
// one before it ended (section 2.5.1.5).
func ParseEvent(payload []byte) (e Event, rest []byte, err error) {
	if len(payload) == 0 {
		return e, nil, ErrEmpty
	}
	if len(payload)%eventLen != 0 {
		return e, nil, ErrMalformed
	}
	e = Event{payload[0], payload[1]&eventEnd != 0, payload[1] & eventVolume, binary.BigEndian.Uint16(payload[2:])}
	return e, payload[eventLen:], nil
}

// Append appends the report.
func (e Event) Append(dst []byte) []byte {
	flags := min(e.Volume, eventVolume)
	if e.End {
		flags |= eventEnd
	}
	return binary.BigEndian.AppendUint16(append(dst, e.Code, flags), e.Duration)
}

// DTMFCode returns the event of a key: 0 to 9, *, #, A to D or a to d.
func DTMFCode(key rune) (code uint8, ok bool) {
	switch {
	case key >= '0' && key <= '9':
		return uint8(key - '0'), true
	case key == '*':
		return 10, true
	case key == '#':
		return 11, true
	case key >= 'A' && key <= 'D':
		return uint8(key-'A') + 12, true
	case key >= 'a' && key <= 'd':
		return uint8(key-'a') + 12, true
	}
	return 0, false
}

// DTMFKey returns the key of an event; 0 if it is of another kind.
func DTMFKey(code uint8) rune {
	if int(code) >= len("0123456789*#ABCD") {
		return 0
	}
	return rune("0123456789*#ABCD"[code])
}

// An EventPacket is a report with what the header of its packet says.
type EventPacket struct {
	Timestamp uint32
	Marker    bool
	Event     Event
}

// An EventSender makes the reports of one event after the other. It is told the time in timestamps of the stream, which go on
// during the event as if it were audio. The zero value is ready.
type EventSender struct {
	event     Event
	active    bool
	marked    bool   // the first report was made
	timestamp uint32 // of the segment
	left      uint32 // how long the event lasts from there on, in ticks
	finals    int    // reports of the end to come
	before    EventPacket
	repeats   int // of the segment before, to come
	out       [3]EventPacket
}

// Begin begins an event that lasts for duration ticks. Of one that still goes on nothing more is reported.
func (s *EventSender) Begin(code, volume uint8, timestamp, duration uint32) {
	*s = EventSender{event: Event{Code: code, Volume: volume}, active: true, timestamp: timestamp, left: max(duration, 1), finals: eventFinals}
}

// Stop ends an event earlier than was said when it began.
func (s *EventSender) Stop(now uint32) {
	if elapsed := now - s.timestamp; s.active && elapsed < s.left {
		s.left = max(elapsed, 1)
	}
}

// Active reports whether there is anything left to report.
func (s *EventSender) Active() bool { return s.active }

// Tick returns the reports to send now, to be called at intervals of 20 to 50 ms from a first one after the beginning of the event
// on: none, or one, or up to three where a segment ends. They are valid until the next call.
func (s *EventSender) Tick(now uint32) []EventPacket {
	out := s.out[:0]
	if !s.active || now == s.timestamp {
		return nil
	}
	if s.repeats > 0 {
		s.repeats--
		out = append(out, s.before)
	}
	elapsed := min(now-s.timestamp, s.left)
	if elapsed > eventMaxDuration {
		// "If an event persists beyond the maximum duration expressible in the duration field (0xFFFF), the sender MUST send a
		// packet reporting this maximum duration but MUST NOT set the E bit in this packet." (section 2.5.1.3)
		s.before, s.repeats = s.report(eventMaxDuration), eventFinals-1
		out = append(out, s.before)
		s.before.Marker = false
		s.timestamp += eventMaxDuration
		s.left -= eventMaxDuration
		elapsed = min(elapsed-eventMaxDuration, eventMaxDuration)
	}
	s.event.End = elapsed == s.left
	out = append(out, s.report(uint16(elapsed)))
	if s.event.End {
		s.finals--
		s.active = s.finals > 0
	}
	return out
}

func (s *EventSender) report(duration uint16) EventPacket {
	p := EventPacket{s.timestamp, !s.marked, s.event}
	p.Event.Duration = duration
	s.marked = true
	return p
}

// An EventReceiver puts reports together to events: repeated ones, late ones, segments of long ones. The zero value is ready.
type EventReceiver struct {
	event   Event
	started bool
	begin   uint32 // timestamp of the event
	segment uint32 // and of its last segment
}

// An EventChange is what a report tells anew.
type EventChange struct {
	Code, Volume uint8
	Timestamp    uint32 // when the event began
	Duration     uint32 // how long it has lasted, in ticks
	Began, Ended bool
}

// Report takes a report. It is not ok if that tells nothing new. An event whose end was never reported is over when another
// one begins, and after three intervals without a report (section 2.5.2.2).
func (r *EventReceiver) Report(timestamp uint32, e Event) (c EventChange, ok bool) {
	same := r.started && e.Code == r.event.Code
	switch {
	case same && timestamp == r.segment:
		if r.event.End || e.Duration <= r.event.Duration && !e.End {
			return c, false
		}
		e.Duration = max(e.Duration, r.event.Duration)
	case same && !r.event.End && timestamp == r.segment+eventMaxDuration:
		// "The receiver uses the absence of a gap between the events to detect that it is receiving a single long-duration event."
		// (section 2.5.2.3)
		r.segment = timestamp
	case r.started && int32(timestamp-r.segment) <= 0: // late
		return c, false
	default:
		r.started, r.begin, r.segment = true, timestamp, timestamp
		c.Began = true
	}
	r.event = e
	c.Code, c.Volume, c.Timestamp, c.Ended = e.Code, e.Volume, r.begin, e.End
	c.Duration = r.segment - r.begin + uint32(e.Duration)
	return c, true
}
