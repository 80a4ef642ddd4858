package session

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Reports come each second or so, never in step, and carry what RFC 3550 section 6 asks for; who sends nothing tells a time of
// its own, and is answered (RFC 3611 sections 4.4 and 4.5), so that both know the round trip.
func TestReports(t *testing.T) {
	from, to := mediaOf("v", "video", vp8), mediaOf("v", "video", vp8)
	from.CNAME, to.Sends = "theirs", false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	var reports []time.Duration
	w.a.lose = func(b []byte) bool {
		if rtp.IsRTCP(b) {
			reports = append(reports, w.now.Sub(began))
		}
		return false
	}
	w.every(20*time.Millisecond, 1500, func(now mono.Time, i int) { w.a.send(now, "v", 0, packet(i)) })
	w.pass(30 * time.Second)
	for _, k := range w.a.control() {
		if !strings.HasPrefix(k, "SR SDES ") {
			t.Errorf("a sender says %q", k)
		}
	}
	for _, k := range w.b.control() {
		if !strings.HasPrefix(k, "RR SDES XR ") {
			t.Errorf("a receiver says %q", k)
		}
	}
	if n := len(reports); n < 25 || n > 50 {
		t.Errorf("%d reports in 30 seconds", n)
	}
	seen := map[time.Duration]bool{}
	for i := 1; i < len(reports); i++ {
		d := reports[i] - reports[i-1]
		if d < 200*time.Millisecond || d > 1300*time.Millisecond || seen[d] {
			t.Errorf("a report %v after the one before", d)
		}
		seen[d] = true
	}
	for name, e := range map[string]*end{"sender": w.a, "receiver": w.b} {
		if rtt := e.RTT(); rtt < 2*delay-time.Millisecond || rtt > 2*delay+time.Millisecond {
			t.Errorf("the %s takes the round trip for %v", name, rtt)
		}
	}
	l := w.b.told(SenderReport)
	if len(l) < 25 || l[0].Stream.CNAME() != "theirs" {
		t.Fatalf("%d reports of %q came", len(l), l[0].Stream.CNAME())
	}
	// The timestamps of a report and of packets are one clock: here 3000 units each 20 ms, though VP8 has 1800.
	for _, r := range l {
		ntp, ok := r.Stream.NTP(r.RTPTime)
		last := l[len(l)-1]
		if at := last.NTP.Add(time.Duration(int32(r.RTPTime-last.RTPTime)) * time.Second / 90000); r == last && (!ok || ntp != at) {
			t.Errorf("the timestamp of the last report is at %v, not %v", ntp.Time(), at.Time())
		}
	}
}

// "fraction lost", "cumulative number of packets lost", "extended highest sequence number" (RFC 3550 section 6.4.1 and appendix
// A.3), where every fourth packet is lost and cannot be asked for.
func TestReceptionReport(t *testing.T) {
	m := mediaOf("a", "audio", opus)
	w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, m))
	sent := 0
	w.a.lose = func(b []byte) bool {
		if !rtp.IsRTCP(b) {
			sent++
			return sent%4 == 0
		}
		return false
	}
	w.every(20*time.Millisecond, 401, func(now mono.Time, i int) {
		w.a.send(now, "a", 0, Packet{PayloadType: 111, Timestamp: uint32(i) * 960})
	})
	w.pass(12 * time.Second)
	r := w.a.AppendOutbound(nil)[0].Remote
	if r.PacketsLost != 100 || r.FractionLost < 0.2 || r.FractionLost > 0.3 || r.Jitter > time.Millisecond || r.RoundTripTimeMeasurements == 0 {
		t.Errorf("the peer reports %+v", r)
	}
	in := w.b.AppendInbound(nil)[0]
	if in.PacketsLost != 100 || in.PacketsReceived != 301 {
		t.Errorf("statistics: %+v", in)
	}
}

// "Reduced-size RTCP" where both take it, else a compound packet that begins with a report (RFC 5506 section 3.4.2, RFC 4585
// section 3.1).
func TestFeedbackAtOnce(t *testing.T) {
	for _, reduced := range []bool{true, false} {
		m := mediaOf("v", "video", vp8)
		m.ReducedSize = reduced
		e := newEnd(t, 1, Config{}, m)
		now := began.Add(100 * time.Millisecond)
		e.handle(now, raw(7, 96, 10, map[uint8]string{idMID: "v"}, "x"))
		e.handle(now, raw(7, 96, 13, nil, "x"))
		if at := e.NextTimeout(); at != now {
			t.Fatalf("the loss is told after %v", at.Sub(now))
		}
		e.RequestKeyFrame(now, "v", "")
		e.HandleTimeout(now)
		out := e.drain(now)
		if want := map[bool]string{true: "PLI NACK ", false: "RR SDES PLI NACK "}[reduced]; len(out) != 1 || kindsOf(out[0]) != want {
			t.Fatalf("feedback is %q", kindsOf(out[0]))
		}
		for rest := out[0]; len(rest) > 0; {
			var p rtcp.Packet
			p, rest, _ = rtcp.Next(rest)
			if n, ok := p.NACK(); ok && (!slices.Equal(slices.Collect(n.Lost()), []uint16{11, 12}) || n.Media != 7) {
				t.Errorf("asked for: %v", slices.Collect(n.Lost()))
			}
		}
	}
}

// What is lost is asked for each round trip or so, at most ten times and for two seconds; then a key frame is.
func TestRequestsEnd(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	e.SetRTT(30 * time.Millisecond)
	now := began
	e.handle(now, raw(7, 96, 10, map[uint8]string{idMID: "v"}, "x"))
	e.handle(now, raw(7, 96, 12, nil, "x"))
	var at []time.Duration
	plis := 0
	for now = e.NextTimeout(); now.Sub(began) < 4*time.Second; now = e.NextTimeout() {
		e.HandleTimeout(now)
		for _, b := range e.drain(now) {
			if k := kindsOf(b); strings.Contains(k, "NACK") {
				at = append(at, now.Sub(began))
			} else if strings.Contains(k, "PLI") {
				plis++
			}
		}
	}
	if len(at) != maxAsked || plis != 1 {
		t.Errorf("asked %d times, then %d times for a key frame", len(at), plis)
	}
	for i := 1; i < len(at); i++ {
		if d := at[i] - at[i-1]; d < 30*time.Millisecond || d > 70*time.Millisecond {
			t.Errorf("asked after %v again", d)
		}
	}
}

// A late packet teaches to wait before the next one is asked for.
func TestReorderingIsNoLoss(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	now, asked := began, 0
	for seq := uint16(0); seq < 200; seq += 2 { // each pair changed over, 8 ms late
		for _, s := range [...]uint16{seq + 1, seq} {
			for at := e.NextTimeout(); at <= now.Add(8*time.Millisecond); at = e.NextTimeout() {
				e.HandleTimeout(at)
				for _, b := range e.drain(at) {
					asked += strings.Count(kindsOf(b), "NACK")
				}
			}
			now = now.Add(8 * time.Millisecond)
			e.handle(now, raw(7, 96, 1000+s, map[uint8]string{idMID: "v"}, "x"))
		}
	}
	if asked > 2 {
		t.Errorf("asked %d times for what was only late", asked)
	}
}

// Losses without end stay bounded, and end in a request for a key frame.
func TestLossesAreBounded(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	for i := range 100 {
		e.handle(began, raw(7, 96, uint16(i*700), map[uint8]string{idMID: "v"}, "x"))
	}
	x := e.streams[7]
	if n := len(x.losses.list); n > maxLosses || !x.keys.wanted {
		t.Errorf("%d losses, key frame wanted: %t", n, x.keys.wanted)
	}
	for now := began; now.Sub(began) < 3*time.Second; now = now.Add(time.Millisecond) {
		e.HandleTimeout(now)
		for _, b := range e.drain(now) {
			if len(b) > DefaultMaxPacket {
				t.Errorf("feedback of %d bytes", len(b))
			}
		}
	}
	if rate := e.sentBytes; rate > 100_000 {
		t.Errorf("%d bytes", rate)
	}
}

// RFC 4585 section 6.3.1 and RFC 5104 section 4.3.1: requests are answered by an event, of which one stands for many, also for those that
// come within 200 ms of the last; an FIR that is repeated is one request, and one that came too soon is answered when it is repeated.
func TestKeyFrameRequests(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	e := newEnd(t, 1, Config{}, m)
	ssrc := e.AppendOutbound(nil)[0].SSRC
	pli := rtcp.PLI{Sender: 1, Media: ssrc}.Append(nil)
	fir := func(n uint8) []byte { return rtcp.AppendFIR(nil, 1, rtcp.FIREntry{SSRC: ssrc, Number: n}) }
	e.HandleRTCP(began, pli)
	e.HandleRTCP(began, pli)
	e.take(began)
	e.handle(began.Add(minKeyInterval-1), pli)
	for i, n := range []uint8{4, 5, 5, 5} { // of which the second is too soon, and the last a repetition
		e.handle(began.Add(minKeyInterval+time.Duration(i)*minKeyInterval/2), fir(n))
	}
	e.handle(began, rtcp.PLI{Sender: 1, Media: 99}.Append(nil))
	if l := e.told(KeyFrameWanted); len(l) != 3 || l[0].MID != "v" {
		t.Errorf("%d requests: %+v", len(l), l)
	}
	if o := e.AppendOutbound(nil)[0]; o.PLICount != 3 || o.FIRCount != 4 || e.Dropped().Control != 1 {
		t.Errorf("%+v, %+v", o, e.Dropped())
	}

	// The other way: throttled, and by FIR where PLI is not negotiated.
	for _, pli := range []bool{true, false} {
		if !pli {
			m.Receive = []jsep.Codec{{Name: "VP8", Clock: 90000, Payload: 96, Feedback: []string{"ccm fir"}}}
		}
		e := newEnd(t, 1, Config{}, m)
		e.SetRTT(200 * time.Millisecond)
		e.handle(began, raw(7, 96, 1, map[uint8]string{idMID: "v"}, "x"))
		said := ""
		for now := began; now.Sub(began) < time.Second; now = now.Add(10 * time.Millisecond) {
			e.RequestKeyFrame(now, "v", "")
			e.HandleTimeout(now)
			for _, b := range e.drain(now) {
				said += kindsOf(b)
			}
		}
		if n := strings.Count(said, map[bool]string{true: "PLI", false: "FIR"}[pli]); n != 4 {
			t.Errorf("asked %d times in a second: %s", n, said)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []Config{{}, {Entropy: entropy(1), MaxPacket: -1}, {Entropy: entropy(1), MaxPacket: 100}, {Entropy: entropy(1), MaxPacket: 1500}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

// Where what was asked for takes longer than reports say, as a queue has grown, it is not asked for again meanwhile.
func TestRequestsWaitForTheirAnswers(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	e.SetRTT(50 * time.Millisecond)
	const answer = 400 * time.Millisecond
	asked := map[int]int{} // times, by the tenth of the losses
	due := map[uint16]mono.Time{}
	e.handle(began, raw(7, 96, 0, map[uint8]string{idMID: "v"}, "x"))
	rtx := uint16(0)
	for now, seq := began, uint16(1); seq < 2000; now = now.Add(5 * time.Millisecond) {
		if seq%20 != 0 {
			e.handle(now, raw(7, 96, seq, nil, "x"))
		}
		seq++
		for n, at := range due {
			if at <= now {
				delete(due, n)
				rtx++
				e.handle(now, raw(8, 97, rtx, map[uint8]string{idMID: "v"}, string([]byte{byte(n >> 8), byte(n)})+"x"))
			}
		}
		if e.NextTimeout() <= now {
			e.HandleTimeout(now)
		}
		for _, b := range e.drain(now) {
			for rest := b; len(rest) > 0; {
				var p rtcp.Packet
				p, rest, _ = rtcp.Next(rest)
				if n, ok := p.NACK(); ok {
					for lost := range n.Lost() {
						asked[int(lost)/200]++
						if _, ok := due[lost]; !ok {
							due[lost] = now.Add(answer)
						}
					}
				}
			}
		}
	}
	if asked[0] < 20 || asked[8] > 12 {
		t.Errorf("for ten losses each it was asked this often: %v", asked)
	}
}
