package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A said is one report, by whom, and of whom.
type said struct {
	by      rtp.SSRC
	sender  *rtcp.SenderReport
	about   []rtcp.ReportBlock
	mid     string
	stacked bool
}

// reports are those of a datagram.
func reports(b []byte) (list []said) {
	for rest := b; len(rest) > 0; {
		var p rtcp.Packet
		p, rest, _ = rtcp.Next(rest)
		var x said
		var blocks rtcp.ReportBlocks
		if r, ok := p.SenderReport(); ok {
			x, blocks = said{by: r.SSRC, sender: &r}, r.Reports
		} else if r, ok := p.ReceiverReport(); ok {
			x, blocks = said{by: r.SSRC}, r.Reports
		} else if items, ok := p.SDES(); ok && len(list) > 0 {
			for i := range items {
				if i.Type == rtcp.ItemMID && i.SSRC == list[len(list)-1].by {
					list[len(list)-1].mid = string(i.Text)
				}
			}
			continue
		} else {
			continue
		}
		for i := range blocks.Len() {
			x.about = append(x.about, blocks.At(i))
		}
		x.stacked = len(list) > 0 && list[len(list)-1].by == x.by
		list = append(list, x)
	}
	return list
}

// "SR packets for both original and retransmission streams are sent in the same session according to the rules of RTP", and "the receiver
// sends report blocks for the original and the retransmission streams in the same RR packet" (RFC 4588 sections 6.1 and 6.2).
func TestRetransmissionsAreReported(t *testing.T) {
	from, to := mediaOf("v", "video", vp8), mediaOf("v", "video", vp8)
	to.Sends = false
	w := newWire(newEnd(t, 1, Config{}, from), newEnd(t, 2, Config{}, to))
	o := w.a.AppendOutbound(nil)[0]
	sent := map[rtp.SSRC]uint32{}
	n := 0
	w.a.lose = func(b []byte) bool {
		if !rtp.IsRTCP(b) {
			p, _ := rtp.Parse(b)
			sent[p.SSRC]++
			n++
			return p.SSRC == o.SSRC && n%10 == 0 && w.now.Sub(began) < 10*time.Second
		}
		for _, r := range reports(b) {
			if r.sender != nil && (r.sender.Packets != sent[r.by] || r.mid != "v") {
				t.Errorf("after %d packets %d tells of %d, in %q", sent[r.by], r.by, r.sender.Packets, r.mid)
			}
		}
		return false
	}
	w.a.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 60_000}) // nothing to probe for, by retransmissions
	w.every(20*time.Millisecond, 1000, func(now mono.Time, i int) { w.a.send(now, "v", 0, packet(i)) })
	w.pass(20 * time.Second)
	w.a.Sender("v").SetEncoding(w.now, 0, EncodingParameters{})
	w.pass(5 * time.Second)
	both, senders, silent := 0, 0, 0
	for _, b := range w.b.out {
		about := map[rtp.SSRC]bool{}
		for _, r := range reports(b) {
			for _, x := range r.about {
				about[x.SSRC] = true
			}
		}
		if about[o.SSRC] && about[o.RTXSSRC] {
			both++
		}
	}
	for _, b := range w.a.out {
		for _, r := range reports(b) {
			if r.by == o.RTXSSRC && r.sender != nil {
				senders++
			}
			// "if a participant has sent any data packets during the interval since issuing the last report or the previous one, an SR
			// is sent; otherwise, an RR" (RFC 3550 section 6.4)
			if r.sender == nil {
				silent++
			}
		}
	}
	if both < 8 || senders < 8 || silent < 4 {
		t.Errorf("%d reports of both streams, %d of the sender of retransmissions, %d of who sends no more", both, senders, silent)
	}
	if e := w.a.ours[o.RTXSSRC]; e.rtx.told.Lost != 0 || e.rtx.told.HighestSequence == 0 {
		t.Errorf("of retransmissions the peer says %+v", e.rtx.told)
	}
	if r := w.a.AppendOutbound(nil)[0].Remote; r.PacketsLost == 0 || r.RoundTripTimeMeasurements > r.Reports {
		t.Errorf("the peer says %+v", r)
	}
}

// "each SSRC will send RTCP reports for all other SSRCs" (RFC 8108 section 5.1), in compound packets as large as may be, of which "more than
// four" never leave at one moment (section 5.2). What does not fit into 31 blocks is stacked behind, and all of it is within the share of
// the bandwidth.
func TestEverySourceReports(t *testing.T) {
	sections := []jsep.Media{mediaOf("0", "audio", opus), mediaOf("1", "audio", opus), mediaOf("2", "audio", opus)}
	w := newWire(newEnd(t, 1, Config{}, sections...), newEnd(t, 2, Config{}, sections...))
	const streams = 100
	w.every(100*time.Millisecond, 300, func(now mono.Time, n int) {
		for i := range streams {
			w.a.handle(now, raw(rtp.SSRC(1000+i), 111, uint16(n), map[uint8]string{idMID: "0"}, "x"))
		}
	})
	w.every(20*time.Millisecond, 1500, func(now mono.Time, i int) {
		for mid := range 3 {
			w.a.send(now, fmt.Sprint(mid), 0, Packet{PayloadType: 111, Timestamp: uint32(i) * 960, Payload: make([]byte, 80)})
		}
	})
	pairs := map[[2]rtp.SSRC]int{}
	atOnce, stacked, bytes := map[mono.Time]int{}, 0, 0
	w.a.lose = func(b []byte) bool {
		if !rtp.IsRTCP(b) {
			return false
		}
		bytes += len(b) + lowerLayers
		if len(b) > DefaultMaxPacket || !strings.HasPrefix(kindsOf(b), "SR ") && !strings.HasPrefix(kindsOf(b), "RR ") {
			t.Errorf("a report of %d bytes: %s", len(b), kindsOf(b))
		}
		atOnce[w.now]++
		for _, r := range reports(b) {
			for _, x := range r.about {
				pairs[[2]rtp.SSRC{r.by, x.SSRC}]++
			}
			if r.stacked {
				stacked++
			}
		}
		return false
	}
	w.pass(30 * time.Second)
	least, most := 1000, 0
	for _, n := range pairs {
		least, most = min(least, n), max(most, n)
	}
	if len(pairs) != 3*streams || least < 3 || most > least+1 {
		t.Errorf("%d pairs of sources, of %d, were told %d to %d times", len(pairs), 3*streams, least, most)
	}
	for at, n := range atOnce {
		if n > maxAtOnce {
			t.Errorf("%d packets leave at once after %v", n, at.Sub(began))
		}
	}
	if stacked == 0 {
		t.Error("nothing is stacked")
	}
	if most := int(w.a.controlRate() * 30); bytes > most {
		t.Errorf("reports take %d bytes of %d", bytes, most)
	}
}

// RFC 3611 section 4.4: who sends nothing learns of the round trip by its reference times, also if it has sent before, and so reports as what
// it was then.
func TestRoundTripOfOneWhoHasSent(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, m))
	w.every(20*time.Millisecond, 1500, func(now mono.Time, i int) {
		if i < 250 {
			w.a.send(now, "v", 0, packet(i))
		}
		w.b.send(now, "v", 0, packet(i))
	})
	w.pass(5 * time.Second)
	m.Sends = false
	w.a.Apply(w.now, []jsep.Media{m})
	w.pass(10 * time.Second) // until it counts as one who does not send
	before := w.a.AppendInbound(nil)[0].Remote.RoundTripTimeMeasurements
	w.pass(10 * time.Second)
	r := w.a.AppendInbound(nil)[0].Remote
	if n := r.RoundTripTimeMeasurements - before; n < 5 || r.RoundTripTime < 2*delay || r.RoundTripTime > 3*delay {
		t.Errorf("%d measurements, the last of %v", n, r.RoundTripTime)
	}
}
