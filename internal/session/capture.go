package session

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Times of capture go along (http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time) once in a while: what lies between is
// extrapolated by timestamps.
const (
	captureSize  = 16 // bytes of the value, with the offset between the clocks of capture and of the sender, which are one here
	captureEvery = time.Second
	captureError = 10 * time.Millisecond // of the extrapolation
)

// A captureClock is the last time of capture that an encoding has told.
type captureClock struct {
	captured  mono.Time
	timestamp uint32
	started   bool
}

// due reports whether a packet should tell its own. It has none if the owner does not know, or forwards another's.
func (c *captureClock) due(p *Packet, clock uint32) bool {
	if p.Captured == 0 || clock == 0 {
		return false
	}
	for i := range p.Extensions {
		if p.Extensions[i].URI == rtp.URIAbsCaptureTime {
			return false
		}
	}
	passed := p.Captured.Sub(c.captured)
	off := passed - ticks(p.Timestamp-c.timestamp, clock)
	return !c.started || passed >= captureEvery || max(off, -off) > captureError
}

// ticks is a difference of timestamps as time.
func ticks(difference, clock uint32) time.Duration {
	return time.Duration(int32(difference)) * time.Second / time.Duration(clock)
}

// A captureReference is the last time of capture that a stream of the peer's has told.
type captureReference struct {
	value     rtp.AbsCaptureTime
	timestamp uint32
	known     bool
}

func (s *Session) noteCapture(x *Stream, p *rtp.Packet) {
	if v, ok := s.text(p, s.ids.capture); ok {
		// One that comes late tells nothing new.
		if t, ok := rtp.ParseAbsCaptureTime(v); ok && (!x.capture.known || seqnum.Diff(p.Timestamp, x.capture.timestamp) > 0) {
			x.capture = captureReference{t, p.Timestamp, true}
		}
	}
}

// Captured returns when what has a timestamp was captured, as its packet tells or by extrapolation; false if nothing has told.
func (x *Stream) Captured(timestamp uint32) (rtp.AbsCaptureTime, bool) {
	c := &x.capture
	if !c.known || x.clock == 0 {
		return rtp.AbsCaptureTime{}, false
	}
	t := c.value
	t.Captured = t.Captured.Add(ticks(timestamp-c.timestamp, x.clock))
	return t, true
}
