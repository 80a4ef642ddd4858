package webrtc

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// How long tones and gaps may be, and what a comma is (webrtc-pc section 7.2).
const (
	DefaultToneDuration = 100 * time.Millisecond
	DefaultInterToneGap = 70 * time.Millisecond

	minToneDuration = 40 * time.Millisecond
	maxToneDuration = 6000 * time.Millisecond
	minInterToneGap = 30 * time.Millisecond
	commaDelay      = 2 * time.Second
)

// A DTMFSender is RTCDTMFSender. While a tone is played the track's own audio is not sent. Its methods may be called from any
// goroutine and from any handler.
type DTMFSender struct {
	sender *RTPSender
	buffer atomic.Pointer[string]

	onToneChange hook[string]

	// The loop's.

	duration, gap time.Duration
	next          mono.Time // when the next of the buffer is due; 0: nothing is scheduled
	events        payload.EventSender
	report        mono.Time // when events is to be asked next; 0: nothing is played
	began         mono.Time // when the tone did
	timestamp     uint32    // of that
	codec         jsep.Codec
	packet        session.Packet
	bytes         [4]byte
}

// toneInterval is how often a tone is told of (RFC 4733 section 2.5.1.2), and when the first one begins.
const toneInterval = 20 * time.Millisecond

// CanInsertDTMF returns whether tones can be sent: the connection is up, a track is sent, and the peer takes telephone-event.
func (d *DTMFSender) CanInsertDTMF() (can bool) {
	d.sender.pc.call(func(mono.Time) { can = d.can() })
	return can
}

// can is "determine if DTMF can be sent".
func (d *DTMFSender) can() bool { return d.hindrance() == "" }

// hindrance says why tones cannot be sent; "" if they can.
func (d *DTMFSender) hindrance() string {
	s := d.sender
	t := s.transceiver
	switch _, ok := d.negotiated(); {
	case t.state.Load().stopping:
		return "the transceiver is stopped"
	case s.pc.ConnectionState() != PeerConnectionStateConnected:
		return "the connection is " + string(s.pc.ConnectionState())
	case !t.CurrentDirection().sends():
		return "the direction is " + string(t.CurrentDirection())
	case !ok:
		return "the peer takes no telephone-event"
	case s.Track() == nil:
		return "the sender has no track"
	case !s.encodings[0].active():
		return "the encoding is not active"
	}
	return ""
}

// negotiated returns what tones are sent as: with the clock of the track's codec, if there is one (RFC 4733 section 2.1).
func (d *DTMFSender) negotiated() (c jsep.Codec, ok bool) {
	clock := uint32(0)
	if t := d.sender.Track(); t != nil {
		codec := t.Codec()
		clock = codec.ClockRate
	}
	for _, e := range d.sender.transceiver.jsep.SendCodecs() {
		if strings.EqualFold(e.Name, "telephone-event") && (!ok || e.Clock == clock) {
			c, ok = e, true
		}
	}
	return c, ok
}

// InsertDTMF sends tones, after the one that is being played and in the place of those that wait (insertDTMF): 0 to 9, *, #,
// A to D, and a comma for 2 s of nothing. Each lasts for duration, with gap between them; zero is 100 and 70 ms, and
// what is beyond 40 ms to 6 s, or below 30 ms, is made the next that is not. If CanInsertDTMF is false it is an
// InvalidStateError, other tones are an InvalidCharacterError.
func (d *DTMFSender) InsertDTMF(tones string, duration, gap time.Duration) error {
	if duration == 0 {
		duration = DefaultToneDuration
	}
	if gap == 0 {
		gap = DefaultInterToneGap
	}
	return d.sender.pc.try(func(now mono.Time) error {
		if why := d.hindrance(); why != "" {
			return fail(InvalidStateError, "tones cannot be sent: %s", why)
		}
		upper := strings.ToUpper(tones)
		if strings.Trim(upper, "0123456789*#ABCD,") != "" {
			return fail(InvalidCharacterError, "%q has what is no tone", tones)
		}
		d.buffer.Store(&upper)
		d.duration = min(max(duration, minToneDuration), maxToneDuration)
		d.gap = min(max(gap, minInterToneGap), maxToneDuration)
		if upper == "" || d.next != 0 {
			return nil
		}
		d.next = now.Add(toneInterval) // "queue a task": until then the buffer has all of them
		if m := d.sender.pc.media.Load(); !slices.Contains(m.playing, d) {
			m.playing = append(m.playing, d)
		}
		return nil
	})
}

// ToneBuffer returns the tones that are still to be played.
func (d *DTMFSender) ToneBuffer() string {
	if b := d.buffer.Load(); b != nil {
		return *b
	}
	return ""
}

// OnToneChange sets the handler of tonechange: a tone begins, or with "" all were played.
func (d *DTMFSender) OnToneChange(f func(tone string)) { on(&d.sender.pc.events, &d.onToneChange, f) }

// nextTimeout returns when handleTimeout is due.
func (d *DTMFSender) nextTimeout() mono.Time {
	switch {
	case d.report != 0:
		return d.report
	case d.next != 0:
		return d.next
	}
	return mono.Never
}

// handleTimeout plays on; false says that there is nothing more to play. However late it is called, a tone is reported to its end
// before the next one begins.
func (d *DTMFSender) handleTimeout(now mono.Time) (more bool) {
	if d.report != 0 && d.report <= now {
		d.tell(now)
	}
	if d.report == 0 && d.next != 0 && d.next <= now {
		d.play(now)
	}
	return d.next != 0 || d.report != 0
}

// play is the "playout task".
func (d *DTMFSender) play(now mono.Time) {
	d.next = 0
	t := d.sender.transceiver
	// 1. If transceiver.[[Stopped]] is true, abort. 2. If transceiver.[[CurrentDirection]] is "recvonly" or "inactive", abort.
	if t.state.Load().stopping || !t.CurrentDirection().sends() {
		return
	}
	buffer := d.ToneBuffer()
	if buffer == "" {
		emit(&d.sender.pc.events, nil, &d.onToneChange, "", nil)
		return
	}
	first, rest := buffer[:1], buffer[1:]
	d.buffer.Store(&rest)
	if first == "," {
		d.next = now.Add(commaDelay)
	} else {
		d.next = now.Add(d.duration + d.gap)
		d.begin(now, first)
	}
	emit(&d.sender.pc.events, nil, &d.onToneChange, first, nil)
}

// toneVolume is how loud a tone is to be played, in -dBm0 (RFC 4733 section 2.3.3).
const toneVolume = 10

// begin begins a tone.
func (d *DTMFSender) begin(now mono.Time, key string) {
	c, ok := d.negotiated()
	code, known := payload.DTMFCode(rune(key[0]))
	if !ok || !known {
		return
	}
	s := d.sender
	if len(s.timelines) == 0 {
		s.timelines = []timeline{{}}
	}
	s.timelines[0].begin(now, rand.Uint32())
	d.codec, d.began, d.timestamp = c, now, s.timelines[0].running(now, c.Clock)
	d.events.Begin(code, toneVolume, d.timestamp, d.ticks(d.duration))
	d.tell(now)
}

func (d *DTMFSender) ticks(t time.Duration) uint32 {
	return uint32(int64(t/time.Microsecond) * int64(d.codec.Clock) / 1_000_000)
}

// tell reports how long the tone will be when the next report is due.
func (d *DTMFSender) tell(now mono.Time) {
	_, sender := d.sender.pc.sectionOf(d.sender.transceiver)
	for _, e := range d.events.Tick(d.timestamp + d.ticks(now.Sub(d.began)+toneInterval)) {
		p := &d.packet
		p.PayloadType, p.Marker, p.Timestamp, p.Payload = rtp.PayloadType(d.codec.Payload), e.Marker, e.Timestamp, e.Event.Append(d.bytes[:0])
		if sender != nil {
			sender.Send(now, 0, p)
		}
	}
	if d.report = 0; d.events.Active() {
		d.report = now.Add(toneInterval)
	}
}

// plays reports whether a tone is being played, so that audio has to wait.
func (d *DTMFSender) plays() bool { return d != nil && d.report != 0 }
