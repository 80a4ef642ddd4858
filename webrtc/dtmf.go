package webrtc

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
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

// The tones, in the order of their events (RFC 4733 section 3.2).
const tones = "0123456789*#ABCD"

// A DTMFSender is RTCDTMFSender. While a tone is played the track's own audio is not sent. Its methods may be called from any
// goroutine and from any handler.
type DTMFSender struct {
	sender *RTPSender
	buffer atomic.Pointer[string]

	onToneChange hook[string]

	// The loop's.

	duration, gap time.Duration
	next          mono.Time // when the next of the buffer is due; 0: nothing is scheduled
	tone          tone
}

// A tone is what is being played.
type tone struct {
	packet    session.Packet
	payload   [4]byte
	began     mono.Time
	length    time.Duration
	report    mono.Time // when the next packet is due; 0: nothing is played
	clock     uint32
	ends      int // packets that tell the end
	timestamp uint32
}

// How often a tone is told of, and how often its end (RFC 4733 sections 2.5.1.2 and 2.5.1.4).
const (
	toneInterval = 20 * time.Millisecond
	toneEnds     = 3
)

// CanInsertDTMF returns whether tones can be sent: the connection is up, a track is sent, and the peer takes telephone-event.
func (d *DTMFSender) CanInsertDTMF() (can bool) {
	d.sender.pc.call(func(mono.Time) { can = d.can() })
	return can
}

// can is "determine if DTMF can be sent".
func (d *DTMFSender) can() bool {
	s := d.sender
	t := s.transceiver
	_, ok := d.codec()
	return ok && s.pc.ConnectionState() == PeerConnectionStateConnected && s.Track() != nil && !t.state.Load().stopping &&
		t.CurrentDirection().sends() && s.encodings[0].active()
}

// codec returns what tones are sent as: with the clock of the track's codec, if there is one (RFC 4733 section 2.1).
func (d *DTMFSender) codec() (c jsep.Codec, ok bool) {
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
		if !d.can() {
			return fail(InvalidStateError, "tones cannot be sent")
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
		d.next = now
		if !slices.Contains(d.sender.pc.playing, d) {
			d.sender.pc.playing = append(d.sender.pc.playing, d)
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
	next := mono.Never
	for _, at := range [...]mono.Time{d.next, d.tone.report} {
		if at != 0 {
			next = mono.Min(next, at)
		}
	}
	return next
}

// handleTimeout plays on; false says that there is nothing more to play.
func (d *DTMFSender) handleTimeout(now mono.Time) (more bool) {
	if d.tone.report != 0 && d.tone.report <= now {
		d.tell(now)
	}
	if d.next != 0 && d.next <= now {
		d.play(now)
	}
	return d.next != 0 || d.tone.report != 0
}

// play is the "playout task".
func (d *DTMFSender) play(now mono.Time) {
	due := d.next
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
		d.next = due.Add(commaDelay)
	} else {
		d.next = due.Add(d.duration + d.gap)
		d.begin(now, first)
	}
	emit(&d.sender.pc.events, nil, &d.onToneChange, first, nil)
}

// begin begins a tone.
func (d *DTMFSender) begin(now mono.Time, which string) {
	c, ok := d.codec()
	if !ok {
		return
	}
	s := d.sender
	if len(s.timelines) == 0 {
		s.timelines = []timeline{{}}
	}
	event := uint8(strings.Index(tones, which))
	d.tone = tone{began: now, length: d.duration, report: now, clock: c.Clock, timestamp: s.timelines[0].running(now, c.Clock)}
	d.tone.payload[0] = event
	d.tone.packet = session.Packet{PayloadType: rtp.PayloadType(c.Payload), Marker: true, Timestamp: d.tone.timestamp}
	d.tell(now)
}

// toneVolume is how loud it is to be played, in -dBm0 (RFC 4733 section 2.3.3).
const toneVolume = 10

// tell sends a packet that says how long the tone is by now.
func (d *DTMFSender) tell(now mono.Time) {
	t := &d.tone
	elapsed := min(now.Sub(t.began)+toneInterval, t.length)
	end := now.Sub(t.began) >= t.length
	if end {
		elapsed = t.length
	}
	length := min(int64(elapsed)/1000*int64(t.clock)/1_000_000, 0xffff)
	t.payload[1] = toneVolume
	t.report = mono.Min(now.Add(toneInterval), max(t.began.Add(t.length), now+1))
	if end {
		t.payload[1] |= 0x80
		t.ends++
		if t.report = now.Add(toneInterval); t.ends == toneEnds {
			t.report = 0
		}
	}
	t.payload[2], t.payload[3] = uint8(length>>8), uint8(length)
	t.packet.Payload = t.payload[:]
	if _, sender := d.sender.pc.sectionOf(d.sender.transceiver); sender != nil {
		sender.Send(now, 0, &t.packet)
	}
	t.packet.Marker = false
}

// plays reports whether a tone is being played, so that audio has to wait.
func (d *DTMFSender) plays() bool { return d != nil && d.tone.report != 0 }
