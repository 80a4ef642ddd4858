package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A busyEnd is on a machine that has much else to do: after each turn it is left waiting, and then finds all that came meanwhile.
type busyEnd struct {
	*end
	waits  func() time.Duration
	awake  mono.Time
	coming []flight
}

// turn does what is due, if the machine has time for it, and sends to another end.
func (e *busyEnd) turn(now mono.Time, to *busyEnd, way time.Duration, due func()) {
	if now < e.awake {
		return
	}
	for len(e.coming) > 0 && e.coming[0].at <= now {
		e.handle(now, e.coming[0].b)
		e.coming = e.coming[1:]
	}
	e.HandleTimeout(now)
	e.take(now)
	due()
	for _, b := range e.drain(now) {
		if e.lose == nil || !e.lose(b) {
			to.coming = append(to.coming, flight{at: now.Add(way), b: b})
		}
	}
	e.awake = now.Add(e.waits())
}

// Timers that are late and packets that are read late, on machines that are busy, make pictures uneven by as much, and no freeze of it. Half
// a minute of video of 30 frames of four packets a second, 5 % of the packets lost both ways, to peers with each kind of feedback.
func TestVideoOnBusyMachines(t *testing.T) {
	for _, c := range []struct {
		busy  time.Duration // at most, between two turns
		worst time.Duration // between two pictures
	}{{0, 150}, {20, 350}, {100, 400}} {
		for _, feedback := range []string{"ack ccfb", "transport-cc", ""} {
			t.Run(fmt.Sprintf("%d ms %s", c.busy, feedback), func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, uint64(c.busy)))
				codec := vp8
				codec.Feedback = append(slices.Clone(vp8.Feedback), feedback)
				m := mediaOf("v", "video", codec)
				m.SendExtensions = extmap(rtp.URIMID, rtp.URIRID, rtp.URIRRID, rtp.URIAudioLevel, rtp.URITransportSequence)
				m.ReceiveExtensions = m.SendExtensions
				to := m
				to.Sends = false
				waits := func() time.Duration {
					return time.Duration(random.Float64() * float64(c.busy) * float64(time.Millisecond))
				}
				a := &busyEnd{end: newEnd(t, 1, Config{}, m), waits: waits}
				b := &busyEnd{end: newEnd(t, 2, Config{}, to), waits: waits}
				a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 1_000_000})
				buffer, err := jitter.New(jitter.Config{ClockRate: 90000})
				if err != nil {
					t.Fatal(err)
				}
				buffer.SetFormat(96, payload.VP8{})
				v := &viewer{Buffer: buffer, e: b.end}
				b.onPacket = func(_ mono.Time, r *Received) {
					buffer.SetRTT(b.RTT())
					buffer.Push(r.Arrival, &r.Packet)
				}
				loses := func([]byte) bool { return len(v.shown) > 0 && random.Float64() < 0.05 }
				a.lose, b.lose = loses, loses
				frame := 0
				for now := began; now < began.Add(30*time.Second); now = now.Add(time.Millisecond) {
					a.turn(now, b, 25*time.Millisecond, func() {
						for ; began.Add(time.Duration(frame)*time.Second/30) <= now; frame++ {
							first := vp8Frame(0, 0, 250)
							if frame == 0 || len(a.told(KeyFrameWanted)) > 0 {
								first = vp8Frame(64, 48, 250)
							}
							a.events = nil
							for j := range 4 {
								p := Packet{PayloadType: 96, Timestamp: uint32(frame) * 3000, Payload: first, Marker: j == 3}
								if j > 0 {
									p.Payload = make([]byte, 250)
								}
								a.send(now, "v", 0, p)
							}
						}
					})
					b.turn(now, a, 25*time.Millisecond, func() { v.poll(now) })
				}
				worst := time.Duration(0)
				for i := 30; i < len(v.shown); i++ {
					worst = max(worst, v.shown[i].Sub(v.shown[i-1]))
				}
				o := a.AppendOutbound(nil)[0]
				t.Logf("%d pictures, %v apart at most, %d requests for key frames, %d of %d packets sent again", len(v.shown), worst, v.keys, o.RetransmittedPacketsSent, o.PacketsSent)
				if worst > c.worst*time.Millisecond || len(v.shown) < frame-40 || v.keys > 3 {
					t.Errorf("%d of %d pictures, %v apart at most, %d requests for key frames", len(v.shown), frame, worst, v.keys)
				}
			})
		}
	}
}
