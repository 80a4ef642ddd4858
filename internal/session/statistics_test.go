package session

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// vp8Frame is the first payload of a picture of VP8: of a key frame with its size (RFC 6386 section 9.1), if it has one.
func vp8Frame(width, height uint16, size int) []byte {
	b := make([]byte, size)
	b[0], b[1] = 0x10, 1
	if width > 0 {
		copy(b[1:], []byte{0, 0, 0, 0x9d, 0x01, 0x2a, byte(width), byte(width >> 8), byte(height), byte(height >> 8)})
	}
	return b
}

// framesSent, hugeFramesSent, frameWidth, frameHeight, framesPerSecond (webrtc-stats), on both sides, where a tenth of the packets is lost
// and the first packet of the second key frame is one of them.
func TestPicturesAreCounted(t *testing.T) {
	from, to := mediaOf("v", "video", vp8), mediaOf("v", "video", vp8)
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	w.a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 2_000_000})
	n := 0
	w.a.lose = func(b []byte) bool {
		p, err := rtp.Parse(b)
		if rtp.IsRTCP(b) || err != nil || p.PayloadType != 96 {
			return false
		}
		n++
		return n%10 == 0 || p.Timestamp == 100*3000 && !p.Marker
	}
	const frames = 200
	w.every(40*time.Millisecond, frames, func(now mono.Time, i int) {
		first := vp8Frame(0, 0, 200)
		rest := make([]byte, 300)
		switch i {
		case 0:
			first = vp8Frame(640, 360, 200)
		case 100:
			first, rest = vp8Frame(1280, 720, 200), make([]byte, 1100)
		}
		w.a.send(now, "v", 0, Packet{PayloadType: 96, Timestamp: uint32(i) * 3000, Payload: first})
		w.a.send(now, "v", 0, Packet{PayloadType: 96, Timestamp: uint32(i) * 3000, Payload: rest, Marker: true})
	})
	w.pass(3 * time.Second)
	if in := w.b.AppendInbound(nil)[0]; in.FrameWidth != 640 || in.FrameHeight != 360 {
		t.Errorf("pictures come as %d x %d", in.FrameWidth, in.FrameHeight)
	}
	w.pass(4900 * time.Millisecond)
	o, in := w.a.AppendOutbound(nil)[0], w.b.AppendInbound(nil)[0]
	if o.FramesSent < frames-5 || o.KeyFramesSent != 2 || o.HugeFramesSent != 1 {
		t.Errorf("%d frames were sent, %d key frames, %d huge", o.FramesSent, o.KeyFramesSent, o.HugeFramesSent)
	}
	for side, got := range map[string][3]int{
		"sent": {o.FrameWidth, o.FrameHeight, o.FramesPerSecond.At(w.now)}, "received": {in.FrameWidth, in.FrameHeight, in.FramesPerSecond.At(w.now)},
	} {
		if want := [...]int{1280, 720, 25}; got != want {
			t.Errorf("%s: width, height, rate are %d, want %d", side, got, want)
		}
	}
	if target := o.TotalEncodedBytesTarget; target < 8*30_000/8 || target > 8*2_000_000/8 {
		t.Errorf("frames were to have %d bytes", target)
	}
	w.pass(3 * time.Second)
	if o, in := w.a.AppendOutbound(nil)[0], w.b.AppendInbound(nil)[0]; o.FramesPerSecond.At(w.now) != 0 || in.FramesPerSecond.At(w.now) != 0 {
		t.Errorf("of nothing there are %d and %d frames a second", o.FramesPerSecond.At(w.now), in.FramesPerSecond.At(w.now))
	}
	if r := o.Remote; r.PacketsReceived+uint64(r.PacketsLost) > 2*frames || r.PacketsReceived < 300 {
		t.Errorf("the peer has %d packets and lacks %d", r.PacketsReceived, r.PacketsLost)
	}
}

// "qualityLimitationReason" is "bandwidth" while the link is too slow, and "none" while it is not (webrtc-stats).
func TestWhatLimitsQuality(t *testing.T) {
	from, to := withREMB(), withREMB()
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	w.a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 600_000})
	follow(w, 30*60)
	for _, phase := range []struct {
		rate    int
		limited bool
	}{{2_000_000, false}, {300_000, true}, {2_000_000, false}} {
		w.rate = phase.rate
		w.pass(15 * time.Second)
		before := w.a.AppendOutbound(nil)[0].Quality
		w.pass(5 * time.Second)
		o := w.a.AppendOutbound(nil)[0]
		in, none := o.Quality.InBandwidth-before.InBandwidth, o.Quality.None-before.None
		if o.Quality.Bandwidth != phase.limited || in+none < 4500*time.Millisecond || (in > none) != phase.limited {
			t.Errorf("at %d bit/s the target is %d, limited by bandwidth: %t; %v of the time, and %v not", phase.rate, o.TargetBitrate, o.Quality.Bandwidth, in, none)
		}
	}
}

// packetsReportedAsLost of both ends, ccfbMessagesSent and ccfbMessagesReceived (webrtc-stats), where one packet a second is lost.
func TestCongestionFeedbackIsCounted(t *testing.T) {
	w, _, _ := ecnWire(t, withECN(), func(now mono.Time, ecn pkt.ECN) (pkt.ECN, bool) {
		return ecn, int64(now)/int64(time.Millisecond)%1000 == 500
	})
	w.pass(20 * time.Second)
	o, i := w.a.AppendOutbound(nil)[0], w.b.AppendInbound(nil)[0]
	if i.Told.Lost < 10 || i.Told.Lost > 30 || o.Remote.Told != i.Told {
		t.Errorf("%+v was told, and %+v came", i.Told, o.Remote.Told)
	}
	a, b := w.a.CongestionFeedback(), w.b.CongestionFeedback()
	if b.Sent < 20*10 || b.Sent > 20*21 || a.Received != b.Sent || a.Sent+b.Received > 0 {
		t.Errorf("messages: %+v and %+v", a, b)
	}
}
