package sctp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// RFC 8985 section 6.2: "RACK considers that segment lost if another segment that was sent later has been delivered and
// the reordering window has passed": so a retransmission that is lost too is found. "Furthermore, when no reordering has
// been observed, the RACK.reo_wnd is set to 0 both upon entering and during fast recovery or RTO recovery."
func TestLostRetransmission(t *testing.T) {
	for _, reordering := range []bool{false, true} {
		t.Run(fmt.Sprint("reordering ", reordering), func(t *testing.T) { testLostRetransmission(t, reordering) })
	}
}

func testLostRetransmission(t *testing.T, reordering bool) {
	w := standing(t)
	const rtt = 100 * time.Millisecond
	id, _ := w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	send := func(n int) {
		for range n {
			w.Send(w.now, id, false, make([]byte, 1000))
		}
		w.say()
	}
	send(1)
	w.now = w.now.Add(rtt)
	w.hear(w.myTag, w.sack(0)) // the round trip is measured
	send(5)                    // TSN 1 to 5, of which 1 is lost
	w.now = w.now.Add(rtt)
	for i := range 3 {
		w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i}))
	}
	again := w.say()
	if names(again) != "DATA" || binary.BigEndian.Uint32(again[0].value) != w.myTSN+1 {
		t.Fatalf("after three reports: %s", names(again))
	}
	w.now = w.now.Add(10 * time.Millisecond)
	send(1) // TSN 6, after the retransmission of 1
	w.now = w.now.Add(rtt)
	w.send.rack.reordered = reordering
	w.hear(w.myTag, w.sack(0, [2]int{2, 6})) // 1 is still missing
	reported := w.now
	if reordering {
		if got := names(w.say()); got != "" {
			t.Errorf("before its time has come: %s", got)
		}
		w.wait()
	}
	if again := w.say(); names(again) != "DATA" || binary.BigEndian.Uint32(again[0].value) != w.myTSN+1 {
		t.Errorf("the retransmission was lost: %s", names(again))
	}
	// It was sent 10 ms before what has arrived, and reordering is given a quarter of a round trip.
	want := time.Duration(0)
	if reordering {
		want = rtt/4 - 10*time.Millisecond
	}
	if late := w.now.Sub(reported); late != want || w.stats.Timeouts != 0 {
		t.Errorf("it was found %v after the report, by %d timeouts, want %v", late, w.stats.Timeouts, want)
	}
	w.hear(w.myTag, w.sack(6))
	if !w.send.empty() || w.timer[timerLoss] != mono.Never || w.timer[timerProbe] != mono.Never {
		t.Error("something is left when all is acknowledged")
	}
}

// RFC 8985 section 7: the loss of the last packets is found by a probe, before T3; once, and never for a message that
// must not be sent again.
func TestTailLossProbe(t *testing.T) {
	for _, partly := range []bool{false, true} {
		d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond}).connect()
		cfg := ChannelConfig{}
		if partly {
			cfg.Reliability = MaxRetransmits
		}
		id := d.a.opens(cfg)
		for range 5 {
			d.a.sends(id, "warm")
			d.net.Run(time.Second)
		}
		count := 0
		d.a.mangle = func(p []byte) []byte {
			if count++; count == 7 || count == 8 {
				return nil // the last two of the message
			}
			return p
		}
		sent := d.net.Now()
		d.a.sends(id, strings.Repeat("x", 8*1100))
		d.net.Run(2 * time.Minute)
		switch {
		case partly:
			if len(d.b.got[id]) != 5 || d.a.Stats().ChunksRetransmitted != 0 || !d.a.send.empty() {
				t.Errorf("a message that must not be sent again came, or was: %+v", d.a.Stats())
			}
		case d.a.Stats().Timeouts != 0 || len(d.b.got[id]) != 6:
			t.Errorf("%d messages came, with %d timeouts", len(d.b.got[id]), d.a.Stats().Timeouts)
		default:
			if took := d.b.at[d.b.got[id][5]].Sub(sent); took > 350*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		}
	}
}

// aRoundTrip is an association that knows the round trip, of 100 ms, from TSN 0, and sends messages that fill a chunk each.
type aRoundTrip struct {
	*wireEnd
	id StreamID
}

const lossRTT = 100 * time.Millisecond

func withRoundTrip(t *testing.T) aRoundTrip {
	w := aRoundTrip{wireEnd: standing(t)}
	w.id, _ = w.Open(w.now, ChannelConfig{Negotiated: true, ID: 1})
	w.sends(1)
	w.later()
	w.hear(w.myTag, w.sack(0))
	return w
}

func (w aRoundTrip) sends(n int) []chunk {
	for range n {
		w.Send(w.now, w.id, false, make([]byte, 1000))
	}
	return w.say()
}

// later lets a round trip pass.
func (w aRoundTrip) later() { w.now = w.now.Add(lossRTT) }

// sent returns the TSNs of chunks of data, counted from the first.
func (w aRoundTrip) sent(chunks []chunk) (tsns []int) {
	for _, c := range chunks {
		if c.kind == typeData {
			tsns = append(tsns, int(binary.BigEndian.Uint32(c.value)-w.myTSN))
		}
	}
	return tsns
}

// RFC 8985 section 7.4.2: "Upon receiving an ACK that covers some sequence number after TLP.end_seq, the sender should have
// received any ACKs for the original segment and TLP probe retransmission segment. At that time, if the TLP.end_seq is
// still set and thus indicates that the TLP probe retransmission remains unacknowledged, then the sender should presume
// that at least one of its data segments was lost. The sender then SHOULD invoke a congestion control response equivalent
// to a fast recovery."
func TestLossRepairedByTheProbe(t *testing.T) {
	for _, test := range []struct {
		name   string
		hear   func(w aRoundTrip)
		cut    bool
		undone uint64
	}{
		{"it was lost", func(w aRoundTrip) { w.hear(w.myTag, w.sack(4)) }, true, 0},
		{"the peer got it twice", func(w aRoundTrip) {
			w.hear(w.myTag, w.sack(4))
			w.hear(w.myTag, w.report(4, []int{4}))
		}, false, 0},
		{"the peer got it twice, and says so at once", func(w aRoundTrip) { w.hear(w.myTag, w.report(4, []int{4})) }, false, 0},
		{"a peer that does not report duplicates got it twice", func(w aRoundTrip) {
			w.hear(w.myTag, w.sack(4))
			w.hear(w.myTag, w.sack(4))
		}, false, 0},
		{"the peer tells late that it got it twice", func(w aRoundTrip) {
			w.hear(w.myTag, w.sack(4))
			w.sends(1)
			w.later()
			w.hear(w.myTag, w.sack(5))
			w.hear(w.myTag, w.report(5, []int{4}))
		}, false, 1},
	} {
		w := withRoundTrip(t)
		w.sends(4) // TSN 1 to 4
		w.later()
		w.hear(w.myTag, w.sack(3))
		window := w.send.cc.window
		heard := w.now
		w.wait()
		// RFC 8985 section 7.2: "if the time at which an RTO would fire ... is sooner than the computed time for the PTO,
		// then the sender schedules a TLP to be sent at that RTO time."
		if probe := w.sent(w.say()); !slices.Equal(probe, []int{4}) || w.now.Sub(heard) != minRTO || w.stats.Timeouts != 0 {
			t.Fatalf("%s: the probe after %v was %v", test.name, w.now.Sub(heard), probe)
		}
		w.later()
		test.hear(w)
		w.sends(1)
		w.later()
		w.hear(w.myTag, w.sack(int(w.send.next-1-int64(w.myTSN))))
		want := window
		if test.cut {
			want = window * 7 / 10
		}
		if w.send.cc.window != want || w.stats.Undone != test.undone || !w.send.empty() || w.send.cc.inFast {
			t.Errorf("%s: the window is %d, want %d of %d; undone %d", test.name, w.send.cc.window, want, window, w.stats.Undone)
		}
		if w.send.rack.patience > int(test.undone) {
			t.Errorf("%s: a probe in vain counts as reordering", test.name)
		}
	}
}

// RFC 8985 section 7.3: "then the sender SHOULD transmit a previously unsent data segment, if one exists and the receive
// window allows"; "the sender has at most one additional packet in flight beyond the congestion window limit"; "After
// attempting to send a loss probe, regardless of whether a loss probe was sent, the sender MUST re-arm the RTO timer".
func TestProbeOfNewData(t *testing.T) {
	w := withRoundTrip(t)
	w.send.cc.window = 3000
	if first := w.sent(w.sends(6)); !slices.Equal(first, []int{1, 2, 3}) {
		t.Fatalf("%v were sent", first)
	}
	w.wait()
	if probe := w.sent(w.say()); !slices.Equal(probe, []int{4}) {
		t.Errorf("the probe was %v", probe)
	}
	if rearmed := w.timer[timerRetransmit]; rearmed != w.now.Add(w.path.rto) || w.timer[timerProbe] != mono.Never {
		t.Errorf("T3 expires %v after the probe", rearmed.Sub(w.now))
	}
	w.later()
	w.hear(w.myTag, w.sack(0, [2]int{4, 4})) // nothing else has arrived
	if again := w.sent(w.say()); len(again) < 3 || !slices.Equal(again[:3], []int{1, 2, 3}) || w.stats.FastRecoveries != 1 || w.stats.Timeouts != 0 {
		t.Errorf("after the probe was acknowledged: %v", again)
	}
}

// Proportional rate reduction (RFC 6937): in fast recovery what arrives is replaced in the proportion of the new window to the
// old one, from its beginning, instead of waiting until no more is under way than the new window holds.
func TestRecoveryReplacesWhatArrives(t *testing.T) {
	w := withRoundTrip(t)
	w.send.cc.window, w.send.cc.threshold = 40_000, 40_000
	for w.sends(80); w.timer[timerPace] != mono.Never; w.say() {
		w.wait()
	}
	flight := int(w.send.next - w.send.acked - 1)
	if flight != 40 {
		t.Fatalf("%d chunks are under way", flight)
	}
	w.later()
	sent := 0
	for i := range 13 { // the first is missing, the others arrive
		w.now = w.now.Add(5 * time.Millisecond)
		w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i}))
		sent += len(w.sent(w.say()))
		if !w.send.cc.inFast {
			sent = 0
			continue
		}
		if outstanding := w.send.outstanding; outstanding < w.send.cc.window {
			t.Errorf("after %d reports %d bytes are under way, the window is %d", i+1, outstanding, w.send.cc.window)
		}
		// The first packet, which repairs the loss, goes out at once. What arrived until then counted for limited transmit.
		if least, most := (i-2)*7/10, (i-2)*7/10+2; sent < least || sent > most {
			t.Errorf("after %d reports %d chunks were sent, want %d to %d", i+1, sent, least, most)
		}
	}
}

// RFC 9438 section 4.9: once a spurious congestion event is detected, CUBIC SHOULD restore the original values of the
// window, the threshold and its curve. Here a fast retransmission was in vain, which the peer's report of duplicates says
// of every chunk that was sent again.
func TestSpuriousFastRetransmitIsUndone(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := withRoundTrip(t)
		w.sends(7) // TSN 1 to 7
		before := w.send.cc.growth
		w.later()
		for i := range 3 {
			w.hear(w.myTag, w.sack(0, [2]int{3, 3 + i}))
		}
		if again := w.sent(w.say()); !slices.Equal(again, []int{1, 2}) || w.send.cc.window >= before.window || w.stats.FastRecoveries != 1 {
			t.Fatalf("after three reports %v were sent again, the window is %d of %d", again, w.send.cc.window, before.window)
		}
		w.hear(w.myTag, w.sack(7)) // the originals of both, or of one and the second of the other
		w.hear(w.myTag, w.report(7, []int{1}))
		if w.stats.Undone != 0 {
			t.Error("undone, although only one of two was in vain")
		}
		if !lost {
			w.hear(w.myTag, w.report(7, []int{2}))
		}
		switch {
		case lost && (w.stats.Undone != 0 || w.send.cc.window >= before.window):
			t.Errorf("a loss was undone: %+v", w.send.cc.growth)
		case !lost && (w.stats.Undone != 1 || w.send.cc.growth != before):
			t.Errorf("after it was undone: %+v, before: %+v", w.send.cc.growth, before)
		}
	}
}

// RFC 9438 section 4.9.1: a timeout that was spurious is undone: what was not sent again has arrived nevertheless.
func TestSpuriousTimeoutIsUndone(t *testing.T) {
	for _, spurious := range []bool{true, false} {
		w := withRoundTrip(t)
		w.sends(8) // TSN 1 to 8
		before := w.send.cc.growth
		for w.stats.Timeouts == 0 {
			w.wait()
			w.say()
		}
		if w.send.cc.window != w.send.cc.packet {
			t.Fatalf("after T3 the window is %d", w.send.cc.window)
		}
		if spurious {
			w.now = w.now.Add(lossRTT / 2) // sooner than an answer to what was sent again can come
			w.hear(w.myTag, w.sack(6))
			if w.stats.Undone != 1 || w.send.cc.window < before.window || w.send.cc.threshold != before.threshold {
				t.Errorf("after it was undone %d times: %+v, before: %+v", w.stats.Undone, w.send.cc.growth, before)
			}
			if again := w.sent(w.say()); slices.Contains(again, 7) {
				t.Errorf("%v were sent again, of which 7 is under way", again)
			}
			continue
		}
		w.later()
		w.hear(w.myTag, w.sack(1)) // what was sent again
		if w.stats.Undone != 0 || w.send.cc.window >= before.window {
			t.Errorf("a timeout was undone that was needed: %+v", w.send.cc.growth)
		}
	}
}

// RFC 8985 section 6.2: "Otherwise, if some reordering has been observed, then RACK does not trigger fast recovery based on
// DupThresh."; "When the reordering window is not set to 0, it starts with a conservative RACK.reo_wnd of RACK.min_RTT/4."
func TestReorderingIsObserved(t *testing.T) {
	w := withRoundTrip(t)
	w.sends(8) // TSN 1 to 8
	w.later()
	w.hear(w.myTag, w.sack(0, [2]int{2, 2}))
	w.hear(w.myTag, w.sack(2)) // 1 has come after 2
	for i := range 3 {
		w.hear(w.myTag, w.sack(2, [2]int{2, 2 + i})) // 3 is missing
	}
	if again := w.sent(w.say()); len(again) > 0 || w.stats.FastRecoveries != 0 {
		t.Fatalf("%v were sent again on a path that does not keep the order", again)
	}
	reported := w.now
	w.wait()
	if again := w.sent(w.say()); !slices.Equal(again, []int{3}) || w.now.Sub(reported) != lossRTT/4 {
		t.Errorf("%v after the reports, %v were sent again", w.now.Sub(reported), again)
	}
}

// RFC 8985 section 6.2: "The RACK.reo_wnd increases linearly for every round trip in which the sender receives some DSACK
// option so that after N round trips in which a DSACK is received, the RACK.reo_wnd becomes (N+1) * min_RTT / 4, with an
// upper-bound of SRTT."; "Therefore, RACK persists using the inflated RACK.reo_wnd for up to 16 loss recoveries, after which
// it resets RACK.reo_wnd to its starting value, min_RTT / 4."
func TestReorderingWindowAdapts(t *testing.T) {
	w := withRoundTrip(t)
	patience := func() time.Duration { return w.send.rack.window(w.path.srtt, false) }
	last := 0
	// round loses, or delays, the first of four chunks until it was sent again.
	round := func(inVain bool) {
		w.sends(4)
		w.later()
		w.hear(w.myTag, w.sack(last, [2]int{2, 4}))
		for len(w.sent(w.say())) == 0 {
			w.wait()
		}
		w.later()
		last += 4
		w.hear(w.myTag, w.sack(last))
		if inVain {
			w.hear(w.myTag, w.report(last, []int{last - 3}))
			w.hear(w.myTag, w.report(last, []int{last - 3})) // no more than once a round trip
		}
	}
	if patience() != lossRTT/4 {
		t.Fatalf("at first it is %v", patience())
	}
	for n := range 5 {
		round(true)
		if want := min(time.Duration(n+2)*lossRTT/4, w.path.srtt); patience() != want {
			t.Errorf("after %d round trips with duplicates it is %v, want %v", n+1, patience(), want)
		}
	}
	inflated := patience()
	for n := range 16 {
		if patience() < min(inflated, w.path.srtt) {
			t.Errorf("after %d recoveries it is %v", n, patience())
		}
		round(false)
	}
	if patience() != lossRTT/4 {
		t.Errorf("after 16 recoveries it is %v", patience())
	}
}
