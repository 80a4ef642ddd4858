package payload

import (
	"errors"
	"fmt"
	"testing"
)

// RFC 4733 section 2.3: the payload; section 5.3's fields.
func TestEventPayload(t *testing.T) {
	b := Event{Code: 11, End: true, Volume: 10, Duration: 0x1234}.Append(nil)
	if string(b) != "\x0b\x8a\x12\x34" {
		t.Errorf("%x", b)
	}
	e, rest, err := ParseEvent(append(b, 1, 7, 0, 160))
	if err != nil || e != (Event{11, true, 10, 0x1234}) {
		t.Errorf("%+v, %v", e, err)
	}
	if e, rest, err = ParseEvent(rest); err != nil || e != (Event{1, false, 7, 160}) || len(rest) != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, _, err = ParseEvent(b[:3]); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, _, err = ParseEvent(nil); !errors.Is(err, ErrEmpty) {
		t.Error(err)
	}
	for _, key := range "0123456789*#ABCD" {
		if code, ok := DTMFCode(key); !ok || DTMFKey(code) != key {
			t.Errorf("%c is %d", key, code)
		}
	}
	if code, ok := DTMFCode('d'); !ok || code != 15 {
		t.Error(code)
	}
	if _, ok := DTMFCode(','); ok || DTMFKey(16) != 0 {
		t.Error("no keys")
	}
}

func (p EventPacket) String() string {
	s := fmt.Sprintf("%d+%d", p.Timestamp, p.Event.Duration)
	if p.Marker {
		s = "M " + s
	}
	if p.Event.End {
		s += " E"
	}
	return s
}

// RFC 4733 section 2.5.1.2: "The update packets MUST have the same RTP timestamp value as the initial packet for the event, but
// the duration MUST be increased". "The first packet for an event MUST have the M bit set. The final packet for an event MUST
// have the E bit set". Section 2.5.1.4: "The final packet for each event and for each segment SHOULD be sent a total of three
// times".
func TestEventSender(t *testing.T) {
	var s EventSender
	if s.Active() || len(s.Tick(5)) > 0 {
		t.Error("an event that nobody began")
	}
	s.Begin(5, 10, 1000, 400)
	want := []string{"[]", "[M 1000+160]", "[1000+320]", "[1000+400 E]", "[1000+400 E]", "[1000+400 E]", "[]"}
	for i, w := range want {
		if got := fmt.Sprint(s.Tick(1000 + 160*uint32(i))); got != w {
			t.Errorf("tick %d: %s", i, got)
		}
		if s.Active() != (i < 5) {
			t.Errorf("tick %d: active %v", i, s.Active())
		}
	}

	s.Begin(5, 10, 1000, 1<<30)
	s.Tick(1160)
	s.Stop(1200)
	if got := fmt.Sprint(s.Tick(1320)); got != "[1000+200 E]" {
		t.Error(got)
	}
	s.Stop(1400)
	if got := fmt.Sprint(s.Tick(1480)); got != "[1000+200 E]" {
		t.Error("what is over went on: ", got)
	}
}

// RFC 4733 section 2.5.1.3: "If an event persists beyond the maximum duration expressible in the duration field (0xFFFF), the
// sender MUST send a packet reporting this maximum duration but MUST NOT set the E bit in this packet. The sender MUST then begin
// reporting a new segment with the RTP timestamp set to the time at which the previous segment ended ... The M bit of the first
// packet reporting the new segment MUST NOT be set."
func TestLongEvent(t *testing.T) {
	const begin, interval, duration = 1<<32 - 70000, 2400, 3*0xffff + 100
	var s EventSender
	var r EventReceiver
	s.Begin(5, 10, begin, duration)
	finals, ends, began, total := map[uint32]int{}, 0, 0, uint32(0)
	for now := uint32(begin); s.Active(); now += interval {
		for i, p := range s.Tick(now) {
			if p.Marker != (now == begin+interval) {
				t.Errorf("marker: %v", p)
			}
			if p.Event.End {
				ends++
			}
			if p.Event.Duration == 0xffff {
				finals[p.Timestamp-begin]++
			}
			if i == 0 && now%7 == 0 {
				continue // lost
			}
			if c, ok := r.Report(p.Timestamp, p.Event); ok {
				if c.Timestamp != begin || c.Duration < total || c.Code != 5 {
					t.Fatalf("%+v after %d", c, total)
				}
				total = c.Duration
				if c.Began {
					began++
				}
				if c.Ended != p.Event.End {
					t.Errorf("%+v", c)
				}
			}
		}
	}
	if fmt.Sprint(finals) != "map[0:3 65535:3 131070:3]" || ends != 3 {
		t.Errorf("segments ended %v, the event %d times", finals, ends)
	}
	if began != 1 || total != duration {
		t.Errorf("received %d events, %d ticks", began, total)
	}
}

// RFC 4733 section 2.5.2.2: "further reports for the event MUST be ignored" of one that is over.
func TestEventReceiver(t *testing.T) {
	var r EventReceiver
	for i, c := range []struct {
		timestamp uint32
		event     Event
		want      EventChange
		ok        bool
	}{
		{1000, Event{5, false, 10, 160}, EventChange{5, 10, 1000, 160, true, false}, true},
		{1000, Event{5, false, 10, 480}, EventChange{5, 10, 1000, 480, false, false}, true},
		{1000, Event{5, false, 10, 320}, EventChange{}, false}, // reordered
		{1000, Event{5, true, 10, 640}, EventChange{5, 10, 1000, 640, false, true}, true},
		{1000, Event{5, true, 10, 640}, EventChange{}, false},
		{1000, Event{5, false, 10, 480}, EventChange{}, false},
		{900, Event{5, true, 10, 640}, EventChange{}, false},
		{2000, Event{5, true, 10, 640}, EventChange{5, 10, 2000, 640, true, true}, true}, // all but the last was lost
		{3000, Event{6, false, 0, 160}, EventChange{6, 0, 3000, 160, true, false}, true},
		{4000, Event{7, false, 0, 160}, EventChange{7, 0, 4000, 160, true, false}, true}, // without an end of the one before
		{4000 + 0xffff, Event{7, false, 0, 10}, EventChange{7, 0, 4000, 0xffff + 10, false, false}, true},
	} {
		if got, ok := r.Report(c.timestamp, c.event); got != c.want || ok != c.ok {
			t.Errorf("%d: %+v, %v", i, got, ok)
		}
	}
}
