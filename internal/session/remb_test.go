package session

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// withREMB is a section of video whose only feedback of congestion is REMB.
func withREMB() jsep.Media {
	vp8 := vp8
	vp8.Feedback = append(slices.Clone(vp8.Feedback), "goog-remb")
	m := mediaOf("v", "video", vp8)
	m.SendExtensions = append(m.SendExtensions, sdp.ExtMap{ID: 5, URI: rtp.URIAbsSendTime})
	m.ReceiveExtensions = m.SendExtensions
	return m
}

// follow sends pictures of the rate that is told, 30 a second, for n pictures.
func follow(w *wire, n int) {
	target := uint64(0)
	w.every(time.Second/30, n, func(now mono.Time, i int) {
		for _, e := range w.a.told(TargetBitrate) {
			target = e.Bitrate
		}
		w.a.events = nil
		for left := int(target / 8 / 30); left > 0; left -= 1000 {
			p := Packet{PayloadType: 96, Timestamp: uint32(i) * 3000, Payload: make([]byte, min(left, 1000)), Marker: left <= 1000}
			w.a.send(now, "v", 0, p)
		}
	})
}

// "signalling the estimated total available bandwidth for a session" (draft-alvestrand-rmcat-remb-03 section 1): where there is no other
// feedback, the receiver finds the rate of the link by abs-send-time and tells it, and the sender keeps to it as the link changes.
func TestREMBFindsTheLink(t *testing.T) {
	from, to := withREMB(), withREMB()
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	follow(w, 30*110)
	var transit []time.Duration
	for _, phase := range []struct{ link, settle int }{{2_000_000, 20}, {500_000, 10}, {2_000_000, 40}} {
		w.rate = phase.link
		w.pass(time.Duration(phase.settle) * time.Second)
		before, transit0 := w.b.AppendInbound(nil)[0].BytesReceived, len(transit)
		var sum float64
		for range 100 {
			w.pass(100 * time.Millisecond)
			transit = append(transit, max(w.free.Sub(w.now), 0))
			g, _ := w.a.Bandwidth()
			sum += float64(g.Target)
		}
		rate := int(w.b.AppendInbound(nil)[0].BytesReceived-before) * 8 / 10
		queue := transit[transit0:]
		slices.Sort(queue)
		t.Logf("of %d kbit/s %d, target %d, queue %v at the 95th percentile", phase.link/1000, rate/1000, int(sum/100)/1000, queue[95])
		if rate < phase.link*55/100 || rate > phase.link {
			t.Errorf("of a link of %d bit/s %d are used", phase.link, rate)
		}
		if queue[95] > 200*time.Millisecond {
			t.Errorf("the queue is %v long", queue[95])
		}
	}
	n := 0
	for _, b := range w.b.out {
		for rest := b; len(rest) > 0; {
			var p rtcp.Packet
			p, rest, _ = rtcp.Next(rest)
			if r, ok := p.REMB(); ok {
				n++
				about := false
				for i := range r.Sources.Len() {
					about = about || r.Sources.At(i) == w.a.AppendOutbound(nil)[0].SSRC
				}
				if !about {
					t.Fatalf("REMB is about %d streams, not that of media", r.Sources.Len())
				}
			}
		}
	}
	if n < 60 {
		t.Errorf("%d REMBs in 100 seconds", n)
	}
}

// "the estimated total available bitrate" (draft-alvestrand-rmcat-remb-03 section 2) is what all encodings share from that moment on: also
// beside feedback about each packet, and until another is told.
func TestREMBIsObeyed(t *testing.T) {
	for _, alone := range []bool{true, false} {
		m := withREMB()
		if !alone {
			m.Send[0].Feedback = append(m.Send[0].Feedback, "ack ccfb")
		}
		second := m
		second.MID = "w"
		e := newEnd(t, 1, Config{}, m, second)
		for i, rate := range []uint64{400_000, 150_000, 280_000} {
			now := began.Add(time.Duration(i) * time.Second)
			e.handle(now, rtcp.AppendREMB(nil, 1, rate, 7))
			want, _ := e.Bandwidth()
			if limit := cc.Rate(rate); want.Target > limit || alone && want.Target < limit*99/100 {
				t.Errorf("alone %t: told of %d bit/s it sends %d", alone, rate, want.Target)
			}
			sum := uint64(0)
			for _, o := range e.AppendOutbound(nil) {
				sum += o.TargetBitrate
			}
			if sum > rate || alone && sum < rate/2 {
				t.Errorf("alone %t: of %d bit/s the encodings have %d", alone, rate, sum)
			}
		}
		if l := e.told(TargetBitrate); len(l) < 4 || alone && l[len(l)-1].Bitrate <= l[2].Bitrate {
			t.Errorf("alone %t: targets told: %+v", alone, l)
		}
	}
}

// Where a section has more than one kind of feedback one of them is given, that which says most.
func TestOneKindOfFeedback(t *testing.T) {
	for want, feedback := range map[string][]string{
		"REMB": {"goog-remb"}, "TWCC": {"goog-remb", "transport-cc"}, "CCFB": {"goog-remb", "transport-cc", "ack ccfb"}, "": nil,
	} {
		from := withREMB()
		from.Send[0].Feedback = feedback
		from.SendExtensions = append(from.SendExtensions, sdp.ExtMap{ID: 6, URI: rtp.URITransportSequence})
		from.ReceiveExtensions = from.SendExtensions
		to := from
		to.Sends = false
		w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
		w.every(20*time.Millisecond, 200, func(now mono.Time, i int) { w.a.send(now, "v", 0, packet(i)) })
		w.pass(5 * time.Second)
		seen := map[string]int{}
		for _, k := range w.b.control() {
			for _, k := range strings.Fields(k) {
				seen[k]++
			}
		}
		for _, k := range []string{"REMB", "TWCC", "CCFB"} {
			if got := seen[k] > 0; got != (k == want) {
				t.Errorf("with %v: %s is given: %t", feedback, k, got)
			}
		}
	}
}
