package session

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// "A sender SHOULD save bandwidth by not sending abs-capture-time with every RTP packet", at least each second though, and "a receiver
// SHOULD memorize ... the most recently received abs-capture-time" to extrapolate (abs-capture-time). Here frames of three packets are
// sent 70 ms after they were captured; the clock of capture jumps once, and nothing is told of frames of which the owner knows nothing.
func TestTimesOfCapture(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	m.SendExtensions = append(m.SendExtensions, sdp.ExtMap{ID: 5, URI: rtp.URIAbsCaptureTime})
	m.ReceiveExtensions = m.SendExtensions
	to := m
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, to))
	captured := func(i int, now mono.Time) mono.Time {
		if i >= 220 {
			now = now.Add(-30 * time.Millisecond)
		}
		return now.Add(-70 * time.Millisecond)
	}
	told := map[uint32]int{}
	w.a.lose = func(b []byte) bool {
		if p, err := rtp.Parse(b); !rtp.IsRTCP(b) && err == nil && p.PayloadType == 96 {
			if _, ok := p.Extensions.Get(5); ok {
				told[p.Timestamp]++
			}
		}
		return false
	}
	want := map[uint32]rtp.NTP{}
	const first = 1<<32 - 90_000 // so that it wraps around
	w.every(20*time.Millisecond, 400, func(now mono.Time, i int) {
		for range 3 {
			p := packet(i)
			p.Timestamp = uint32(first + i*1800)
			if i < 300 {
				p.Captured = captured(i, now)
				want[p.Timestamp] = w.a.ntp(p.Captured)
			}
			w.a.send(now, "v", 0, p)
		}
	})
	w.pass(9 * time.Second)
	if n := len(told); n != 7 {
		t.Errorf("of 300 frames %d tell when they were captured", n)
	}
	for ts, n := range told {
		if n != 1 {
			t.Errorf("%d packets of frame %d tell it", n, ts)
		}
	}
	last := uint32((first + 299*1800) % (1 << 32))
	c, ok := w.b.streams[w.b.got[0].ssrc].Captured(last)
	if d := c.Captured.Time().Sub(want[last].Time()); !ok || !c.HasOffset || c.Offset != 0 || d > time.Millisecond || d < -time.Millisecond {
		t.Errorf("captured %v off, %+v", d, c)
	}
}

// What the owner forwards is not written over, and what comes is handed up.
func TestForwardedTimesOfCapture(t *testing.T) {
	m := mediaOf("a", "audio", opus)
	m.SendExtensions = append(m.SendExtensions, sdp.ExtMap{ID: 5, URI: rtp.URIAbsCaptureTime})
	m.ReceiveExtensions = m.SendExtensions
	to := m
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, to))
	far := rtp.AbsCaptureTime{Captured: 99 << 32, Offset: -3 * time.Second, HasOffset: true}
	w.a.send(began, "a", 0, Packet{
		PayloadType: 111, Captured: began, Timestamp: 4800, Extensions: []Extension{{rtp.URIAbsCaptureTime, far.Append(nil)}},
	})
	w.pass(time.Second)
	c, ok := w.b.streams[w.b.got[0].ssrc].Captured(4800 + 48_000)
	if far.Captured = 100 << 32; !ok || c != far {
		t.Errorf("%+v comes as %+v", far, c)
	}
}
