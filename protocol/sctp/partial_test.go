package sctp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// forward is a FORWARD TSN of the peer, with streams and their numbers.
func forward(offset int, streams ...[2]int) []byte {
	v := wire.AppendUint32(nil, peersTSN+uint32(offset))
	for _, s := range streams {
		v = wire.AppendUint16(v, uint16(s[0]))
		v = wire.AppendUint16(v, uint16(s[1]))
	}
	return appendChunk(nil, typeForwardTSN, 0, v)
}

// sendsPartly returns an association with a channel of a given kind.
func sendsPartly(t *testing.T, cfg ChannelConfig) (*wireEnd, StreamID) {
	w := standing(t)
	cfg.Negotiated, cfg.ID = true, 5
	id, err := w.Open(w.now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.told()
	return w, id
}

// RFC 3758 section 3.2: "Upon the reception of this value, the data receiver MUST consider any missing TSNs earlier
// than or equal to this value as received, and stop reporting them as gaps in any subsequent SACKs."; RFC 3758 section
// 3.6: "DATA chunk arrival at a PR-SCTP receiver proceeds exactly as for DATA chunk arrival at a base protocol SCTP
// receiver---that is, the receiver MUST perform the same TSN handling, including duplicate detection, gap detection,
// SACK generation, cumulative TSN advancement, etc. as defined in RFC 2960 [2]---with the following exceptions and
// additions."; "When a FORWARD TSN chunk arrives, the data receiver MUST first update its cumulative TSN point to the
// value carried in the FORWARD TSN chunk, and then MUST further advance its cumulative TSN point locally if possible,
// as shown by the following example"; "After the above processing, the data receiver MUST stop reporting any missing
// TSNs earlier than or equal to the new cumulative TSN point."; "Note, if the "New Cumulative TSN" value carried in the
// arrived FORWARD TSN chunk is found to be behind or at the current cumulative TSN point, the data receiver MUST treat
// this FORWARD TSN as out-of-date and MUST NOT update its Cumulative TSN."; "Any time a FORWARD TSN chunk arrives, for
// the purposes of sending a SACK, the receiver MUST follow the same rules as if a DATA chunk had been received (i.e.,
// follow the delayed sack rules specified in RFC 2960 [2] section 6.2)." RFC 3758 section 3.6: "the data receiver MUST
// first update its cumulative TSN point to the value carried in the FORWARD TSN chunk, and then MUST further advance
// its cumulative TSN point locally if possible"; the RFC's own example.
func TestForwardTSNMovesOn(t *testing.T) {
	w := standing(t)
	for _, offset := range []int{0, 2, 3, 5} { // 102, 104, 105 and 107 of the example
		w.hear(w.myTag, data(offset, 3, uint16(offset), whole|flagUnordered, "x"))
	}
	w.say()
	w.hear(w.myTag, forward(1))
	c, gaps, _, _ := sackOf(t, w.say())
	if c != 3 || !slices.Equal(gaps, [][2]int{{2, 2}}) {
		t.Errorf("up to %d, gaps %v", c, gaps)
	}
	// "the data receiver MUST treat this FORWARD TSN as out-of-date and MUST NOT update its Cumulative TSN. The receiver
	// SHOULD send a SACK"
	w.hear(w.myTag, forward(1))
	if c, _, _, _ := sackOf(t, w.say()); c != 3 {
		t.Errorf("an old one moved it to %d", c)
	}
	// "if a TSN that was skipped does arrive ... the receiver will drop the chunk and report it as a duplicate"
	w.hear(w.myTag, data(1, 3, 1, whole|flagUnordered, "late"))
	if _, _, duplicates, _ := sackOf(t, w.say()); duplicates != 1 {
		t.Errorf("%d duplicates are reported", duplicates)
	}
}

// RFC 3758 section 3.6: "In particular, during processing of a FORWARD TSN, the receiver MUST use the stream sequence
// information to examine all of the listed stream reordering queues, and immediately make available for delivery stream
// sequence numbers earlier than or equal to the stream sequence number listed inside the FORWARD TSN."; "After
// receiving and processing a FORWARD TSN, the data receiver MUST take cautions in updating its re-assembly queue." RFC
// 3758 section 3.6: "the receiver MUST use the stream sequence information to examine all of the listed stream
// reordering queues, and immediately make available for delivery stream sequence numbers earlier than or equal to the
// stream sequence number listed"; "The receiver MUST remove any partially reassembled message, which is still missing
// one or more TSNs earlier than or equal to the new cumulative TSN point."
func TestForwardTSNDelivers(t *testing.T) {
	w, _ := sendsPartly(t, ChannelConfig{})
	read := func() (s string) {
		for {
			e, ok := w.NextEvent()
			if !ok {
				return s
			}
			s += string(e.Data)
			w.Consume(len(e.Data))
		}
	}
	w.hear(w.myTag, data(1, 5, 1, whole, "b"))      // a (0) is missing
	w.hear(w.myTag, data(3, 5, 3, flagBegin, "d1")) // c (2) is missing, and the rest of d (4)
	w.hear(w.myTag, data(5, 5, 4, whole, "e"))
	w.hear(w.myTag, data(6, 5, 5, flagBegin, "f1"))
	if got := read(); got != "" {
		t.Errorf("delivered %q", got)
	}
	w.hear(w.myTag, forward(4, [2]int{5, 3}))
	if got := read(); got != "be" {
		t.Errorf("delivered %q, want b and e", got)
	}
	w.hear(w.myTag, data(7, 5, 5, flagEnd, "f2"))
	if got := read(); got != "f1f2" {
		t.Errorf("delivered %q, want f, which was not given up", got)
	}
	if w.receive.held != 0 || w.receive.unfinished() != 0 {
		t.Errorf("%d bytes and %d messages are held", w.receive.held, w.receive.unfinished())
	}
}

// A stream on which nothing has come yet begins after what was skipped.
func TestForwardTSNOfAFreshStream(t *testing.T) {
	w := standing(t)
	w.hear(w.myTag, forward(2, [2]int{8, 2}))
	w.hear(w.myTag, data(3, 8, 3, whole, "first"))
	w.Open(w.now, ChannelConfig{Negotiated: true, ID: 8})
	if got := w.told(); got != "ChannelOpen Message" {
		t.Errorf("events: %s", got)
	}
}

// RFC 3758 section 3.2: "This field MUST NOT report TSN's corresponding to DATA chunks that are marked as unordered.";
// "For ordered DATA chunks this field MUST be filled in."; RFC 3758 section 3.5: "When a data chunk is "abandoned", the
// sender MUST treat the data chunk as being finally acked and no longer outstanding."; "When a TSN is "abandoned", if
// it is part of a fragmented message, all other TSN's within that fragmented message MUST be abandoned at the same
// time."; "Whenever the data sender receives a SACK from the data receiver, it MUST first process the SACK using the
// normal procedures as defined in Section 6.2.1 of RFC 2960 [2]."; "The data sender MUST then perform the following
// additional steps"; "If, after step C1 and C2, the "Advanced.Peer.Ack.Point" is greater than the Cumulative TSN ACK
// carried in the received SACK, the data sender MUST send the data receiver a FORWARD TSN chunk containing the latest
// value of the "Advanced.Peer.Ack.Point"."; "For each "abandoned" TSN, the sender of the FORWARD TSN MUST determine if
// the chunk has a valid stream and sequence number (i.e., it was ordered)."; "If the chunk has a valid stream and
// sequence number, the sender MUST include the stream and sequence number in the FORWARD TSN."; "If a FORWARD TSN is
// sent, the sender MUST assure that at least one T3-rtx timer is running."; "An endpoint MUST NOT use the FORWARD TSN
// for any purposes other than circumstances described in this document."; "Any delay applied to the sending of FORWARD
// TSN chunk SHOULD NOT exceed 200ms and MUST NOT exceed 500ms."; "In other words, an implementation MAY lower this
// value below 500ms but MUST NOT raise it above 500ms." RFC 3758 section 3.5, C1 to C5, for a message that may not be
// sent again.
func TestSenderGivesUp(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		w, id := sendsPartly(t, ChannelConfig{Unordered: unordered, Reliability: MaxRetransmits})
		w.Send(w.now, id, false, make([]byte, 3000)) // three chunks
		w.Send(w.now, id, false, []byte("kept"))
		w.Send(w.now, id, false, []byte("too"))
		if got := names(w.say()); got != "DATA DATA DATA DATA DATA" {
			t.Fatalf("sent %s", got)
		}
		// The second chunk is missing: A3 gives up the whole message.
		for i := range 3 {
			w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i}))
		}
		said := w.say()
		var f *chunk
		for i, c := range said {
			if c.kind == typeForwardTSN {
				f = &said[i]
			} else if c.kind == typeData {
				t.Errorf("unordered %v: DATA was sent again", unordered)
			}
		}
		if f == nil {
			t.Fatalf("unordered %v: no FORWARD TSN among %s", unordered, names(said))
		}
		if tsn := binary.BigEndian.Uint32(f.value); tsn != w.myTSN+2 {
			t.Errorf("unordered %v: forward to %d", unordered, tsn-w.myTSN)
		}
		if want := map[bool]string{false: "\x00\x05\x00\x00", true: ""}[unordered]; string(f.value[4:]) != want {
			t.Errorf("unordered %v: the streams are %x", unordered, f.value[4:])
		}
		if w.stats.MessagesAbandoned != 1 || w.timer[timerRetransmit] == mono.Never {
			t.Errorf("%d abandoned, timer %v", w.stats.MessagesAbandoned, w.timer[timerRetransmit])
		}
		// It is repeated until the peer has taken it.
		w.wait()
		if got := names(w.say()); !strings.Contains(got, "FORWARD-TSN") {
			t.Errorf("after the timeout: %s", got)
		}
		w.hear(w.myTag, w.sack(4))
		if got := names(w.say()); got != "" || !w.send.empty() || w.channels[id].unacked != 0 {
			t.Errorf("after all is acknowledged: %q, %d messages", got, w.channels[id].unacked)
		}
	}
}

// RFC 3758 section 3.5: "When a data chunk is "abandoned", the sender MUST treat the data chunk as being finally acked and
// no longer outstanding." So recovery from a loss is over once nothing sent before it is outstanding, though the peer has
// not heard of what was given up, and a timeout that only says that it has not is no sign of congestion.
func TestLostForwardTSNDoesNotHoldTheWindow(t *testing.T) {
	w, id := sendsPartly(t, ChannelConfig{Unordered: true, Reliability: MaxRetransmits})
	for range 10 {
		w.Send(w.now, id, false, make([]byte, 1000))
	}
	if got := len(w.say()); got != 10 {
		t.Fatalf("%d chunks were sent", got)
	}
	for i := range 3 {
		w.hear(w.myTag, w.sack(0, [2]int{2, 2 + i}))
	}
	w.say() // a FORWARD TSN that is lost
	if !w.send.cc.inFast {
		t.Fatal("the loss was not seen")
	}
	w.hear(w.myTag, w.sack(0, [2]int{2, 9}))
	if w.send.cc.inFast {
		t.Error("recovery goes on, with nothing outstanding")
	}
	window := w.send.cc.window
	for range 4 {
		w.wait()
		if got := names(w.say()); got != "FORWARD-TSN" {
			t.Errorf("%q was sent", got)
		}
	}
	if w.send.cc.window != window || w.stats.Timeouts == 0 {
		t.Errorf("after %d timeouts the window is %d, it was %d", w.stats.Timeouts, w.send.cc.window, window)
	}
	w.hear(w.myTag, w.sack(9))
	if !w.send.empty() || w.timer[timerRetransmit] != mono.Never || w.timer[timerProbe] != mono.Never {
		t.Error("something is left")
	}
}

// Every promise is kept over a bad path: a message comes at most once, in order if that was promised; those of limited
// lifetime never later than it and the way; and those of a reliable channel beside them all come.
func TestPartialReliability(t *testing.T) {
	t.Parallel()
	const way = 25 * time.Millisecond
	for name, c := range map[string]struct {
		path simnet.Path
		cfg  ChannelConfig
	}{
		"never again, unordered": {simnet.Path{Delay: way, Loss: 0.1}, ChannelConfig{Unordered: true, Reliability: MaxRetransmits}},
		"never again, ordered":   {simnet.Path{Delay: way, Loss: 0.1}, ChannelConfig{Reliability: MaxRetransmits}},
		"twice":                  {simnet.Path{Delay: way, Loss: 0.25}, ChannelConfig{Reliability: MaxRetransmits, Limit: 2}},
		"short life":             {simnet.Path{Delay: way, Loss: 0.2}, ChannelConfig{Unordered: true, Reliability: MaxLifetime, Limit: 100}},
		"short life, ordered":    {simnet.Path{Delay: way, Loss: 0.2}, ChannelConfig{Reliability: MaxLifetime, Limit: 100}},
		"short life, slow link":  {simnet.Path{Delay: way, Rate: 1e6, Queue: 10_000}, ChannelConfig{Reliability: MaxLifetime, Limit: 150}},
		"reordered":              {simnet.Path{Delay: way, Loss: 0.05, Reorder: 0.3, ReorderBy: 20 * time.Millisecond, Duplicate: 0.1}, ChannelConfig{Reliability: MaxRetransmits}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count, seeds = 400, 4
			came := 0
			for seed := range uint64(seeds) {
				came += partly(t, seed, c.path, c.cfg, count)
			}
			if came < seeds*count/4 {
				t.Errorf("%d of %d messages came", came, seeds*count)
			}
		})
	}
}

// partly sends messages of cfg beside reliable ones, checks what comes, and returns how many of them did.
func partly(t *testing.T, seed uint64, path simnet.Path, cfg ChannelConfig, count int) (came int) {
	d := seededDuo(t, seed, path).connect()
	partly, surely := d.a.opens(cfg), d.a.opens(ChannelConfig{})
	d.net.Run(3 * time.Second)
	sent := make([]mono.Time, count)
	for i := range count {
		sent[i] = d.net.Now()
		d.a.sends(partly, fmt.Sprintf("%0*d", 5+i%5*800, i)) // some in several chunks
		d.a.sends(surely, fmt.Sprint("sure ", i))
		d.net.Run(10 * time.Millisecond)
	}
	d.until("delivered", func() bool { return len(d.b.got[surely]) == count })
	d.until("done", func() bool { return d.a.send.empty() })
	d.net.Run(time.Second)
	seen := map[int]bool{}
	last := -1
	for _, m := range d.b.got[partly] {
		var i int
		fmt.Sscan(strings.TrimLeft(m, "0")+" 0", &i)
		if seen[i] {
			t.Errorf("message %d came twice", i)
		}
		seen[i] = true
		if i < last && !cfg.Unordered {
			t.Errorf("message %d came after %d", i, last)
		}
		last = max(last, i)
		if cfg.Reliability == MaxLifetime && cfg.Unordered {
			limit := time.Duration(cfg.Limit)*time.Millisecond + path.Delay
			if took := d.b.at[m].Sub(sent[i]); took > limit {
				t.Errorf("message %d took %v", i, took)
			}
		}
	}
	if abandoned := int(d.a.Stats().MessagesAbandoned); len(seen)+abandoned < count || abandoned == 0 {
		t.Errorf("%d of %d came, %d were abandoned", len(seen), count, abandoned)
	}
	for i, m := range d.b.got[surely] {
		if m != fmt.Sprint("sure ", i) {
			t.Errorf("message %d of the reliable channel is %q", i, m)
		}
	}
	if d.b.receive.held != 0 || d.b.receive.unfinished()+len(d.b.receive.gaps) != 0 {
		t.Errorf("b holds %d bytes, %d messages, %d gaps", d.b.receive.held, d.b.receive.unfinished(), len(d.b.receive.gaps))
	}
	over(t, d)
	return len(seen)
}

// RFC 3758 section 3.3.2: "MAY include the Forward-TSN-Supported parameter in the INIT-ACK, o SHOULD record the fact
// that the peer does not support the FORWARD TSN chunk, o MUST NOT send a FORWARD TSN chunk at any time during the
// associations life, o SHOULD inform the upper layer if the upper layer has requested such notification."; RFC 3758
// section 3.3.3: "In this case, the endpoint receiving the operational error SHOULD note that the FORWARD TSN chunk is
// not supported, and MUST NOT transmit a FORWARD TSN chunk at any time during the life of the association." A peer
// that does not know FORWARD TSN gets everything.
func TestPeerWithoutPartialReliability(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Loss: 0.2}).connect()
	d.a.ext &^= extForwardTSN
	id := d.a.opens(ChannelConfig{Reliability: MaxRetransmits})
	for i := range 200 {
		d.a.sends(id, fmt.Sprint(i))
	}
	d.until("delivered", func() bool { return len(d.b.got[id]) == 200 })
}
