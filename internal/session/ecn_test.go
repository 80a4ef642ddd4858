package session

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// withECN is a section of video whose feedback is by streams, and that may be marked.
func withECN() jsep.Media {
	vp8 := vp8
	vp8.Feedback = append(slices.Clone(vp8.Feedback), "ack ccfb")
	m := mediaOf("v", "video", vp8)
	m.ECN = true
	return m
}

// A path is what routers do to marks.
type path func(now mono.Time, ecn pkt.ECN) (pkt.ECN, bool)

// ecnWire has a source of 100 packets a second on a path, and counts by the second what leaves as ECN-capable, and all.
func ecnWire(t *testing.T, m jsep.Media, p path) (w *wire, marked, all *[120]int) {
	to := m
	to.Sends = false
	w = newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, to))
	marked, all = &[120]int{}, &[120]int{}
	w.a.onWay = func(b []byte, k Marking) (pkt.ECN, bool) {
		if rtp.IsRTCP(b) {
			// "The RTP senders and receivers SHALL NOT ECT mark their RTCP traffic at any time."
			if k.ECN != pkt.NotECT {
				t.Error("a report is marked")
			}
			return k.ECN, false
		}
		second := int(w.now.Sub(began) / time.Second)
		all[second]++
		if k.ECN != pkt.NotECT {
			marked[second]++
		}
		return p(w.now, k.ECN)
	}
	w.b.onWay = func(b []byte, k Marking) (pkt.ECN, bool) {
		if k.ECN != pkt.NotECT {
			t.Error("feedback is marked")
		}
		return k.ECN, false
	}
	i := 0
	var send func(now mono.Time)
	send = func(now mono.Time) {
		w.a.send(now, "v", 0, packet(i))
		i++
		w.at(10*time.Millisecond, send)
	}
	w.at(0, send)
	return w, marked, all
}

// "During the ECN initiation phase, an RTP sender SHALL mark a small fraction of its RTP traffic as ECT", and "After a sender has
// successfully initiated ECN use, it SHOULD mark all the RTP data packets it sends" (RFC 6679 sections 7.2.1 and 7.3.1), with ECT(0).
func TestECNIsInitiated(t *testing.T) {
	probes := 0
	w, marked, all := ecnWire(t, withECN(), func(now mono.Time, ecn pkt.ECN) (pkt.ECN, bool) {
		if ecn != pkt.NotECT && ecn != pkt.ECT0 {
			t.Errorf("a packet leaves with %d", ecn)
		}
		if ecn != pkt.NotECT && now.Sub(began) < 500*time.Millisecond {
			probes++
		}
		return ecn, false
	})
	w.pass(5 * time.Second)
	if probes == 0 || probes > all[0]/4 {
		t.Errorf("in half a second %d packets probe", probes)
	}
	if marked[4] != all[4] || marked[4] < 90 {
		t.Errorf("then %d of %d packets a second are marked", marked[4], all[4])
	}
	if g, _ := w.a.Bandwidth(); g.ECN.Arrived == 0 || g.ECN.Bleached+g.ECN.Missing+g.PacketsCE > 0 {
		t.Errorf("%+v", g.ECN)
	}
}

// "If the attribute is removed in the answer, then ECN MUST NOT be used" (RFC 6679 section 6.1.1), nor without feedback that tells of marks.
func TestECNIsNegotiated(t *testing.T) {
	not, other := withECN(), withECN()
	not.ECN = false
	other.Send[0].Feedback = vp8.Feedback
	for _, m := range []jsep.Media{not, other} {
		w, marked, _ := ecnWire(t, m, func(_ mono.Time, ecn pkt.ECN) (pkt.ECN, bool) { return ecn, false })
		w.pass(5 * time.Second)
		if *marked != [120]int{} {
			t.Error("packets are marked")
		}
	}
}

// "If the path between the sender and the receivers exhibits either of these behaviours, the sender needs to stop using ECN immediately"
// (RFC 6679 section 7.2): marks that are taken off, packets with marks that are lost, and marks of congestion on all; from the
// beginning, and after a route has changed.
func TestECNFallsBack(t *testing.T) {
	for name, broken := range map[string]func(pkt.ECN) (pkt.ECN, bool){
		"bleached":     func(pkt.ECN) (pkt.ECN, bool) { return pkt.NotECT, false },
		"lost":         func(ecn pkt.ECN) (pkt.ECN, bool) { return ecn, ecn != pkt.NotECT },
		"always worse": func(ecn pkt.ECN) (pkt.ECN, bool) { return ecn | pkt.CE*min(ecn, 1), false },
	} {
		for _, from := range []int{0, 10} { // seconds
			w, marked, all := ecnWire(t, withECN(), func(now mono.Time, ecn pkt.ECN) (pkt.ECN, bool) {
				if now.Sub(began) < time.Duration(from)*time.Second {
					return ecn, false
				}
				return broken(ecn)
			})
			w.pass(30 * time.Second)
			if from > 0 && marked[from-1] != all[from-1] {
				t.Fatalf("%s: nothing to lose", name)
			}
			if n := marked[from+4]; n > 0 {
				t.Errorf("%s from %d s: 4 seconds later %d of %d packets are marked", name, from, n, all[from+4])
			}
			came := map[string]bool{}
			for _, g := range w.b.got {
				came[g.payload] = true
			}
			if n := len(came); n < 2990 && (name != "lost" || from == 0) || n < 2850 {
				t.Errorf("%s from %d s: %d of 3000 packets came", name, from, n)
			}
			w.pass(29 * time.Second) // tried again, by a few
			again := 0
			for _, n := range marked[from+5 : 59] {
				again += n
			}
			if again == 0 || again > 60 {
				t.Errorf("%s from %d s: in another half minute %d packets probe", name, from, again)
			}
		}
	}
}

// "react as if packet loss had occurred" (RFC 6679 section 7.3.3): on a link that marks what waits longer than 20 ms and is deep, nothing is
// lost, and hardly anything waits long.
func TestMarksSlowDown(t *testing.T) {
	from, to := withECN(), withECN()
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	w.rate, w.mark = 1_000_000, 20*time.Millisecond
	follow(w, 30*60)
	w.pass(20 * time.Second)
	before := w.b.AppendInbound(nil)[0]
	var queue []time.Duration
	for range 300 {
		w.pass(100 * time.Millisecond)
		queue = append(queue, max(w.free.Sub(w.now), 0))
	}
	slices.Sort(queue)
	in := w.b.AppendInbound(nil)[0]
	rate := (in.BytesReceived - before.BytesReceived) * 8 / 30
	g, _ := w.a.Bandwidth()
	t.Logf("%d bit/s, queue %v at the 95th percentile, %d marks", rate, queue[285], in.PacketsCE)
	if in.PacketsCE == 0 || g.PacketsCE == 0 || in.PacketsLost > before.PacketsLost || w.a.ecn.state != ecnOn {
		t.Errorf("%d packets came marked, %d of which the sender knows; %d were lost", in.PacketsCE, g.PacketsCE, in.PacketsLost)
	}
	if rate < 700_000 || queue[285] > 100*time.Millisecond {
		t.Errorf("%d of 1000000 bit/s, queue %v", rate, queue[285])
	}
}
