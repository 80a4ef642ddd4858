package rtp_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// RFC 6464 section 3: the level in the lower seven bits, the flag V above.
func TestAudioLevel(t *testing.T) {
	for _, c := range []struct {
		b byte
		l rtp.AudioLevel
	}{{0x00, rtp.AudioLevel{}}, {0x8a, rtp.AudioLevel{Level: 10, Voice: true}}, {0x7f, rtp.AudioLevel{Level: 127}}} {
		if got, ok := rtp.ParseAudioLevel([]byte{c.b}); !ok || got != c.l {
			t.Errorf("%#x: %+v, %v", c.b, got, ok)
		}
		if got := c.l.Append(nil); !bytes.Equal(got, []byte{c.b}) {
			t.Errorf("%+v: % x", c.l, got)
		}
	}
	if got := (rtp.AudioLevel{Level: 200}).Append(nil)[0]; got != 127 {
		t.Errorf("more silent than silence: %d", got)
	}
	if _, ok := rtp.ParseAudioLevel(nil); ok {
		t.Error("no level")
	}
}

// RFC 6465 section 3: one byte for each source; the upper bit is reserved.
func TestMixerAudioLevel(t *testing.T) {
	if l, ok := rtp.MixerAudioLevel([]byte{1, 0x82}, 1); !ok || l != 2 {
		t.Errorf("%d, %v", l, ok)
	}
	for _, i := range []int{-1, 2} {
		if _, ok := rtp.MixerAudioLevel([]byte{1, 2}, i); ok {
			t.Errorf("source %d of two", i)
		}
	}
}

func TestTransportSequence(t *testing.T) {
	if n, ok := rtp.ParseTransportSequence(rtp.AppendTransportSequence(nil, 0xabcd)); !ok || n != 0xabcd {
		t.Errorf("%#x, %v", n, ok)
	}
	if _, ok := rtp.ParseTransportSequence([]byte{1}); ok {
		t.Error("one byte")
	}
}

// 24 bits, 6 of seconds and 18 of their fraction.
func TestAbsSendTime(t *testing.T) {
	for at, want := range map[time.Duration]rtp.AbsSendTime{
		0: 0, time.Second: 1 << 18, 500 * time.Millisecond: 1 << 17, 63 * time.Second: 63 << 18, 64 * time.Second: 0, 65*time.Second + 250*time.Millisecond: 1<<18 + 1<<16,
		time.Second - 1: 1 << 18,
	} {
		if got := rtp.AbsSendTimeAt(at); got != want {
			t.Errorf("%v is %#x, want %#x", at, got, want)
		}
	}
	if got := rtp.AbsSendTime(1 << 17).Since(63 << 18); got != 1500*time.Millisecond {
		t.Errorf("across the turn: %v", got)
	}
	if got := rtp.AbsSendTime(63 << 18).Since(1 << 17); got != -1500*time.Millisecond {
		t.Errorf("backwards: %v", got)
	}
	if v, ok := rtp.ParseAbsSendTime(rtp.AbsSendTime(0x123456).Append(nil)); !ok || v != 0x123456 {
		t.Errorf("%#x, %v", v, ok)
	}
	if _, ok := rtp.ParseAbsSendTime([]byte{1, 2}); ok {
		t.Error("two bytes")
	}
}

// RFC 3550 section 4; the example of section 6.4.1: "[10 Nov 1995 11:33:25.125 UTC]" is 0xb44db705:20000000.
func TestNTP(t *testing.T) {
	at := time.Date(1995, 11, 10, 11, 33, 25, 125e6, time.UTC)
	if n := rtp.NTPAt(at); n != 0xb44db705_20000000 || n.Middle() != 0xb7052000 || !n.Time().Equal(at) {
		t.Errorf("%#x, %#x, %v", n, n.Middle(), n.Time())
	}
	for _, at := range []time.Time{time.Date(2036, 2, 7, 6, 28, 15, 5e8, time.UTC), time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC), time.Date(2090, 1, 1, 0, 0, 0, 999999999, time.UTC)} {
		if got := rtp.NTPAt(at).Time(); got.Sub(at).Abs() > time.Nanosecond {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
	n := rtp.NTPAt(at)
	for _, d := range []time.Duration{0, time.Second, -1500 * time.Millisecond, 24 * time.Hour} {
		if got := n.Add(d).Time(); got.Sub(at.Add(d)).Abs() > time.Nanosecond {
			t.Errorf("%v later: %v", d, got)
		}
	}
}

func TestAbsCaptureTime(t *testing.T) {
	for _, c := range []rtp.AbsCaptureTime{
		{Captured: 0xb44db705_20000000},
		{Captured: 1, HasOffset: true},
		{Captured: 1, Offset: 1500 * time.Millisecond, HasOffset: true},
		{Captured: 1, Offset: -1500 * time.Millisecond, HasOffset: true},
		{Captured: 1, Offset: -24 * time.Hour, HasOffset: true},
	} {
		b := c.Append(nil)
		if got, ok := rtp.ParseAbsCaptureTime(b); !ok || got != c {
			t.Errorf("%+v comes back as %+v, %v", c, got, ok)
		}
	}
	if _, ok := rtp.ParseAbsCaptureTime(make([]byte, 7)); ok {
		t.Error("seven bytes")
	}
	if got, ok := rtp.ParseAbsCaptureTime(make([]byte, 15)); !ok || got.HasOffset {
		t.Error("half an offset")
	}
}

// 3GPP TS 26.114 section 7.4.5: C, F and the two bits of the rotation at the end of a byte.
func TestVideoOrientation(t *testing.T) {
	for b, want := range map[byte]rtp.VideoOrientation{
		0: {}, 1: {Rotation: 90}, 2: {Rotation: 180}, 3: {Rotation: 270}, 0x0d: {Rotation: 90, Flip: true, Back: true},
	} {
		if got, ok := rtp.ParseVideoOrientation([]byte{b}); !ok || got != want {
			t.Errorf("%#x: %+v, %v", b, got, ok)
		}
		if got := want.Append(nil); !bytes.Equal(got, []byte{b}) {
			t.Errorf("%+v: % x", want, got)
		}
	}
	if got := (rtp.VideoOrientation{Rotation: 450}).Append(nil)[0]; got != 1 {
		t.Errorf("a turn and a quarter: %d", got)
	}
	if _, ok := rtp.ParseVideoOrientation(nil); ok {
		t.Error("no value")
	}
}

func TestPlayoutDelay(t *testing.T) {
	d := rtp.PlayoutDelay{Min: 100 * time.Millisecond, Max: 40950 * time.Millisecond}
	if b := d.Append(nil); !bytes.Equal(b, []byte{0x00, 0xaf, 0xff}) {
		t.Errorf("% x", b)
	} else if got, ok := rtp.ParsePlayoutDelay(b); !ok || got != d {
		t.Errorf("%+v, %v", got, ok)
	}
	if b := (rtp.PlayoutDelay{Min: -time.Second, Max: time.Hour}).Append(nil); !bytes.Equal(b, []byte{0x00, 0x0f, 0xff}) {
		t.Errorf("beyond the bounds: % x", b)
	}
	for _, b := range [][]byte{{1, 2}, {0x00, 0x20, 0x01}} {
		if _, ok := rtp.ParsePlayoutDelay(b); ok {
			t.Errorf("% x is one", b)
		}
	}
}
