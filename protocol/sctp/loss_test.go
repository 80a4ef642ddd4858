package sctp

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// RFC 8985 section 6: a retransmission that is lost too is found by what was sent after it and has arrived.
func TestLostRetransmission(t *testing.T) {
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
	w.hear(w.myTag, w.sack(0, [2]int{2, 6})) // 1 is still missing
	if got := names(w.say()); got != "" {
		t.Errorf("before its time has come: %s", got)
	}
	reported := w.now
	w.wait()
	if again := w.say(); names(again) != "DATA" || binary.BigEndian.Uint32(again[0].value) != w.myTSN+1 {
		t.Errorf("the retransmission was lost: %s", names(again))
	}
	// It was sent 10 ms before what has arrived, and reordering is given a quarter of a round trip.
	if late := w.now.Sub(reported); late != rtt/4-10*time.Millisecond || w.stats.Timeouts != 0 {
		t.Errorf("it was found %v after the report, by %d timeouts", late, w.stats.Timeouts)
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
