package webrtc

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// What DTMFSender plays is heard, while the sound is read as frames.
func TestTonesAreHeard(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		_, _, x, remote := w.sends(track, nil)
		heard := make(chan string, 100)
		remote.OnToneChange(func(tone string) { heard <- tone })
		frames := make(chan int)
		go func() {
			n := 0
			for {
				s, err := remote.ReadSample(w.ctx())
				if err != nil {
					frames <- n
					return
				}
				if !s.Lost && s.Codec.MimeType != "audio/opus" {
					t.Errorf("a frame of %s", s.Codec.MimeType)
				}
				n++
			}
		}()
		w.check(x.Sender().DTMF().InsertDTMF("1a#1,1", 0, 0))
		for range 200 { // 4 s
			time.Sleep(20 * time.Millisecond)
			w.check(track.WriteSample(Sample{Data: []byte{0xf8, 0xff, 0xfe}}))
		}
		for _, want := range []string{"1", "", "A", "", "#", "", "1", "", "1", ""} {
			if got := await(w, heard, "the tone "+want); got != want {
				t.Fatalf("heard %q, want %q", got, want)
			}
		}
		select {
		case more := <-heard:
			t.Errorf("heard %q too", more)
		default:
		}
		remote.Stop()
		if n := <-frames; n < 100 {
			t.Errorf("%d frames were read", n)
		}
	})
}

// A tone whose end was lost is over when another begins, or when there is sound again. What is no tone is passed over.
func TestLostTones(t *testing.T) {
	inWorld(t, func(w *world) {
		_, b, _, remote := w.sends(w.sampleTrack(Opus), nil)
		heard := make(chan string, 100)
		remote.OnToneChange(func(tone string) { heard <- tone })
		section := remote.Receiver().section.Load()
		var events, sound rtp.PayloadType
		for _, c := range section.Receive {
			switch {
			case c.Name == "telephone-event" && c.Clock == 48000:
				events = rtp.PayloadType(c.Payload)
			case c.Name == "opus":
				sound = rtp.PayloadType(c.Payload)
			}
		}
		report := func(timestamp uint32, e payload.Event) *rtp.Packet {
			return &rtp.Packet{PayloadType: events, Timestamp: timestamp, Payload: e.Append(nil)}
		}
		now := b.loop.Now()
		for _, c := range []struct {
			at     time.Duration
			packet *rtp.Packet
			want   string // each tone heard, "." for an end
		}{
			{0, report(0, payload.Event{Code: 3, Duration: 960}), "3"},
			{20, report(0, payload.Event{Code: 3, Duration: 1920}), ""},
			{40, report(9600, payload.Event{Code: 4, Duration: 960}), ".4"}, // the end of 3 was lost
			{60, report(9600, payload.Event{Code: 4, Duration: 1920, End: true}), "."},
			{80, report(9600, payload.Event{Code: 4, Duration: 1920, End: true}), ""}, // again
			{100, report(19200, payload.Event{Code: 5, Duration: 960}), "5"},
			{120, &rtp.Packet{PayloadType: sound, Payload: []byte{0xf8}}, ""}, // beside it
			{300, &rtp.Packet{PayloadType: sound, Payload: []byte{0xf8}}, "."},
			{320, report(28800, payload.Event{Code: 70, Duration: 960}), ""},
			{340, &rtp.Packet{PayloadType: events, Payload: []byte{1, 2, 3}}, ""},
			{360, report(38400, payload.Event{Code: 6, Duration: 960, End: true}), "6."}, // all but the end was lost
		} {
			b.call(func(mono.Time) { remote.hear(now.Add(c.at*time.Millisecond), section, c.packet) })
			time.Sleep(time.Millisecond)
			got := ""
			for len(heard) > 0 {
				if tone := <-heard; tone == "" {
					got += "."
				} else {
					got += tone
				}
			}
			if got != c.want {
				t.Errorf("at %d ms: heard %q, want %q", c.at, got, c.want)
			}
		}
	})
}

// Where the machine is slow and the loop comes late, tones last longer, but each is reported to its end before the next begins.
func TestTonesOfALateLoop(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _, x, remote := w.sends(w.sampleTrack(Opus), nil)
		heard := make(chan string, 100)
		remote.OnToneChange(func(tone string) { heard <- tone })
		d := x.Sender().DTMF()
		w.check(d.InsertDTMF("123", 80*time.Millisecond, 40*time.Millisecond))
		a.call(func(now mono.Time) {
			late := time.Second
			for more := true; more; more = d.handleTimeout(now) {
				now = max(now, d.nextTimeout())
				if d.report != 0 && late > 0 { // in the first tone
					now, late = now.Add(late), 0
				}
			}
		})
		for _, want := range []string{"1", "", "2", "", "3", ""} {
			if got := await(w, heard, "the tone "+want); got != want {
				t.Fatalf("heard %q, want %q", got, want)
			}
		}
	})
}
