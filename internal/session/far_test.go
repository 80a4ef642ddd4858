package session

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A viewer takes pictures out of a jitter buffer as they are due.
type viewer struct {
	*jitter.Buffer
	e     *end
	shown []mono.Time
	keys  int
}

func (v *viewer) poll(now mono.Time) {
	for _, ok := v.Pop(now); ok; _, ok = v.Pop(now) {
		v.shown = append(v.shown, now)
	}
	if v.KeyFrameWanted(now) {
		v.keys++
		v.e.RequestKeyFrame(now, "v", "")
	}
}

// What is lost on a long way is sent again so that it seldom is lost again: else pictures would have to be kept for two round trips. A
// minute of video of 30 frames of four packets a second, 5 % of the packets lost both ways.
func TestVideoOverALongWay(t *testing.T) {
	for _, c := range []struct{ rtt, held time.Duration }{{20, 130}, {50, 130}, {100, 230}, {200, 300}} {
		rtt, most := c.rtt*time.Millisecond, c.held*time.Millisecond
		t.Run(fmt.Sprint(rtt), func(t *testing.T) {
			vp8 := vp8
			vp8.Feedback = append(slices.Clone(vp8.Feedback), "ack ccfb")
			from, to := mediaOf("v", "video", vp8), mediaOf("v", "video", vp8)
			to.Sends = false
			w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
			w.way = rtt / 2
			w.a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 1_000_000})
			random := rand.New(rand.NewPCG(7, uint64(rtt)))
			started := false
			loses := func(b []byte) bool { return started && random.Float64() < 0.05 }
			w.a.lose, w.b.lose = loses, loses
			b, err := jitter.New(jitter.Config{ClockRate: 90000})
			if err != nil {
				t.Fatal(err)
			}
			b.SetFormat(96, payload.VP8{})
			v := &viewer{Buffer: b, e: w.b}
			w.b.onPacket = func(now mono.Time, r *Received) {
				started = true
				b.SetRTT(w.b.RTT())
				b.Push(r.Arrival, &r.Packet)
			}
			const frames = 1800
			for i := range frames {
				for j := range 4 {
					p := Packet{PayloadType: 96, Timestamp: uint32(i) * 3000, Payload: vp8Frame(0, 0, 250), Marker: j == 3}
					if i == 0 || len(w.a.told(KeyFrameWanted)) > 0 {
						p.Payload = vp8Frame(64, 48, 250)
					}
					if j > 0 {
						p.Payload[0] = 0
					}
					w.a.send(w.now, "v", 0, p)
				}
				w.a.events = nil
				for until := w.now.Add(time.Second / 30); w.now < until; {
					w.pass(min(max(b.NextTimeout().Sub(w.now), 0), time.Millisecond, until.Sub(w.now)))
					v.poll(w.now)
				}
			}
			var between []time.Duration
			for i := 301; i < len(v.shown); i++ {
				between = append(between, v.shown[i].Sub(v.shown[i-1]))
			}
			slices.Sort(between)
			s := b.Statistics()
			o := w.a.AppendOutbound(nil)[0]
			held := time.Duration(s.JitterBufferDelay / float64(s.JitterBufferEmittedCount) * float64(time.Second))
			t.Logf("%d frames, %d requests for key frames, held for %v, 99 %% apart by %v at most, all by %v, freezes %d (%.2f s); %d of %d packets sent again",
				len(v.shown), v.keys, held.Round(time.Millisecond), between[len(between)*99/100], between[len(between)-1], s.FreezeCount, s.TotalFreezesDuration, o.RetransmittedPacketsSent, o.PacketsSent)
			if held > most || between[len(between)*99/100] > 45*time.Millisecond || between[len(between)-1] > rtt+80*time.Millisecond {
				t.Errorf("frames are held for %v", held)
			}
			if len(v.shown) < frames-20 || v.keys > 3 || o.RetransmittedPacketsSent > o.PacketsSent*12/100 {
				t.Errorf("%d of %d frames came", len(v.shown), frames)
			}
		})
	}
}

// Where a hundredth is lost on a way of 40 ms or more a request is said again after 15 ms, and answered again; near, or where nothing else is
// lost, it is not.
func TestRequestsAreSaidTwiceFarAway(t *testing.T) {
	for _, c := range []struct {
		rtt   time.Duration
		lost  uint16 // one packet of so many
		twice bool
	}{{100, 80, true}, {100, 2000, false}, {20, 80, false}} {
		e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
		e.SetRTT(c.rtt * time.Millisecond)
		asked := map[uint16][]mono.Time{}
		now := began
		for seq := uint16(1); seq <= 2010; seq++ {
			if seq%c.lost != 0 {
				e.handle(now, raw(7, 96, seq, map[uint8]string{idMID: "v"}, "x"))
			}
			for until := now.Add(5 * time.Millisecond); ; {
				if now = mono.Min(until, max(e.NextTimeout(), now)); now == until {
					break
				}
				e.HandleTimeout(now)
				for _, b := range e.drain(now) {
					for rest := b; len(rest) > 0; {
						var p rtcp.Packet
						p, rest, _ = rtcp.Next(rest)
						if n, ok := p.NACK(); ok {
							for l := range n.Lost() {
								asked[l] = append(asked[l], now)
							}
						}
					}
				}
			}
		}
		at := asked[2000]
		if len(at) < 1 {
			t.Fatalf("%+v: nothing was asked for", c)
		}
		if twice := len(at) > 1 && at[1].Sub(at[0]) < 17*time.Millisecond; twice != c.twice {
			t.Errorf("%+v: asked for at %v", c, at)
		}
	}

	m := mediaOf("v", "video", vp8)
	e := newEnd(t, 1, Config{}, m)
	e.SetRTT(100 * time.Millisecond)
	for i := range 3 {
		e.send(began, "v", 0, packet(i))
	}
	var first uint16
	now := began
	answers := func() int {
		before := e.AppendOutbound(nil)[0].RetransmittedPacketsSent
		for until := now.Add(20 * time.Millisecond); now < until; now = now.Add(time.Millisecond) {
			e.HandleTimeout(now)
			for _, b := range e.drain(now) {
				if p, err := rtp.Parse(b); err == nil && p.PayloadType == 96 && first == 0 {
					first = p.SequenceNumber
				}
			}
		}
		return int(e.AppendOutbound(nil)[0].RetransmittedPacketsSent - before)
	}
	answers()
	o := e.AppendOutbound(nil)[0]
	report := rtcp.ReceiverReport{SSRC: 1}
	report.Reports.Add(rtcp.ReportBlock{SSRC: o.SSRC, FractionLost: 100, Lost: 1, HighestSequence: uint32(first) + 2})
	e.handle(now, report.Append(nil))
	now = now.Add(200 * time.Millisecond)
	nack := func() []byte {
		b, _ := rtcp.AppendNACK(nil, 1, o.SSRC, []uint16{first}, 100)
		return b
	}
	for i, want := range []int{1, 1, 0} {
		e.handle(now, nack())
		if n := answers(); n != want {
			t.Errorf("request %d was answered %d times", i, n)
		}
	}
}
