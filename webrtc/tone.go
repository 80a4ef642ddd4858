package webrtc

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// tones puts the telephone events (RFC 4733) of a track together.
type tones struct {
	onToneChange hook[string]

	// The loop's.

	events payload.EventReceiver
	played bool      // a tone has begun and not ended
	heard  mono.Time // when it was reported last
}

// toneLost is after how long without a report a tone is over: "the tone SHOULD NOT be extended by more than three packet interarrival
// times" (RFC 4733 section 2.5.2.2), which are 50 ms.
const toneLost = 150 * time.Millisecond

// OnToneChange sets the handler of the tones that the peer sends as telephone events, as DTMFSender does: it is given the tone that
// begins, one of 0 to 9, *, #, A to D, and "" when that ends, as each does. Tones are told from when the handler is set on, whether
// or not the track is read; ReadSample leaves them out.
func (t *RemoteTrack) OnToneChange(f func(tone string)) {
	t.tones.CompareAndSwap(nil, &tones{})
	on(&t.receiver.pc.events, &t.tones.Load().onToneChange, f)
}

// hear looks for tones in a packet.
func (t *RemoteTrack) hear(now mono.Time, s *mediaSection, p *rtp.Packet) {
	x := t.tones.Load()
	if x == nil {
		return
	}
	tell := func(tone string) {
		x.played = tone != ""
		emit(&t.receiver.pc.events, t.receiver.gate, &x.onToneChange, tone, nil)
	}
	if c := s.codec(p.PayloadType); c == nil || c.Name != "telephone-event" {
		if x.played && now.Sub(x.heard) > toneLost {
			tell("")
		}
		return
	}
	e, _, err := payload.ParseEvent(p.Payload)
	if err != nil {
		return
	}
	c, ok := x.events.Report(p.Timestamp, e)
	key := payload.DTMFKey(c.Code)
	if !ok || key == 0 {
		return
	}
	x.heard = now
	if c.Began {
		if x.played { // the reports of its end were lost
			tell("")
		}
		tell(string(key))
	}
	if c.Ended && x.played {
		tell("")
	}
}
