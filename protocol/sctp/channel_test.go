package sctp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

var lan = simnet.Path{Delay: 10 * time.Millisecond}

// What one end says about a channel, the other hears.
func TestOpenCarriesTheConfig(t *testing.T) {
	long := strings.Repeat("ü", 32767)
	for _, cfg := range []ChannelConfig{
		{},
		{Label: "chat", Protocol: "v1", Priority: 1024},
		{Label: long, Protocol: long},
		{Unordered: true, Reliability: MaxRetransmits, Limit: 0},
		{Reliability: MaxRetransmits, Limit: 65535, Priority: 128},
		{Unordered: true, Reliability: MaxLifetime, Limit: 3000},
	} {
		d := newDuo(t, lan).connect()
		id := d.b.opens(cfg)
		d.until("open", func() bool { return strings.Contains(d.a.kinds(), "ChannelOpen") })
		e := d.a.events[len(d.a.events)-1]
		if cfg.Priority == 0 {
			cfg.Priority = 256
		}
		if id != 1 || e.Stream != 1 || !e.Remote || e.Channel != cfg {
			t.Errorf("opened %.60v as %d, the peer heard %.60v", cfg, id, e)
		}
	}
}

// RFC 8832 section 6: "If the side is acting as the DTLS client, it MUST choose an even stream identifier; if the side is
// acting as the DTLS server, it MUST choose an odd one."
func TestIDs(t *testing.T) {
	d := newDuo(t, lan).connect()
	for i, want := range []StreamID{0, 2, 4} {
		if got := d.a.opens(ChannelConfig{}); got != want {
			t.Errorf("the client's channel %d has the id %d", i, got)
		}
	}
	d.b.opens(ChannelConfig{Negotiated: true, ID: 1})
	if got := d.b.opens(ChannelConfig{}); got != 3 {
		t.Errorf("the server's first free id is %d", got)
	}
	d.a.closes(2)
	d.until("closed", func() bool { return d.a.channels[2] == nil })
	if got := d.a.opens(ChannelConfig{}); got != 2 {
		t.Errorf("after 2 was closed, the next id is %d", got)
	}
	for _, c := range []struct {
		cfg  ChannelConfig
		want error
	}{
		{ChannelConfig{Negotiated: true, ID: 4}, ErrTaken},
		{ChannelConfig{Negotiated: true, ID: 65535}, nil},
		{ChannelConfig{Label: strings.Repeat("x", 65536)}, nil},
		{ChannelConfig{Reliability: 3}, nil},
	} {
		if _, err := d.a.Open(d.a.now(), c.cfg); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("Open of %.50v: %v", c.cfg, err)
		}
	}
}

// RFC 8831 section 6.6: strings and binary data, and empty ones of both.
func TestKindsOfMessages(t *testing.T) {
	d := newDuo(t, lan).connect()
	id := d.a.opens(ChannelConfig{})
	var got []string
	d.b.onEvent = func(_ mono.Time, e Event) {
		if e.Kind == Message {
			got = append(got, fmt.Sprintf("%v %q", e.Text, e.Data))
		}
	}
	for _, m := range []struct {
		text bool
		data string
	}{{true, "grüße"}, {false, "\x00\x01"}, {true, ""}, {false, ""}} {
		if err := d.a.Send(d.a.now(), id, m.text, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
	}
	d.a.driver.Poll()
	d.net.Run(time.Second)
	want := []string{`true "grüße"`, `false "\x00\x01"`, `true ""`, `false ""`}
	if !slices.Equal(got, want) || d.b.receive.held != 0 {
		t.Errorf("got %q, %d bytes held", got, d.b.receive.held)
	}
}

// RFC 8832 section 6: "the side ... MUST send all user messages ordered until it receives a DATA_CHANNEL_ACK or a user
// message": nothing comes before its OPEN, however the path reorders.
func TestUnorderedChannelsBeginOrdered(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Reorder: 0.5, ReorderBy: 40 * time.Millisecond, Loss: 0.1}).connect()
	for range 50 {
		id := d.a.opens(ChannelConfig{Unordered: true})
		d.a.sends(id, fmt.Sprint("on ", id))
		d.net.Run(3 * time.Millisecond)
	}
	d.until("delivered", func() bool { return len(d.b.got) == 50 })
	if n := d.b.Stats().DroppedUnknownChannel; n != 0 {
		t.Errorf("%d messages came on channels that nobody had opened", n)
	}
}

// A negotiated channel whose peer has not opened its side yet keeps what comes.
func TestNegotiatedChannelsMayBeOpenedLate(t *testing.T) {
	d := newDuo(t, lan).connect()
	id := d.a.opens(ChannelConfig{Negotiated: true, ID: 7})
	d.a.sends(id, "early")
	d.net.Run(time.Second)
	if got := d.b.kinds(); got != "Established" || len(d.b.got) != 0 {
		t.Fatalf("b has %s and %v", got, d.b.got)
	}
	d.b.opens(ChannelConfig{Negotiated: true, ID: 7})
	d.a.sends(id, "late")
	d.until("delivered", func() bool { return len(d.b.got[7]) == 2 })
	if !slices.Equal(d.b.got[7], []string{"early", "late"}) {
		t.Errorf("got %q", d.b.got[7])
	}
	// What nobody ever opens is bounded.
	d.a.opens(ChannelConfig{Negotiated: true, ID: 9})
	for range 100 {
		d.a.sends(9, strings.Repeat("x", 10_000))
		d.net.Run(50 * time.Millisecond)
	}
	if d.b.orphaned > maxOrphaned || d.b.Stats().DroppedUnknownChannel == 0 || d.b.receive.held > maxOrphaned {
		t.Errorf("%d bytes are kept, %d messages dropped, %d bytes held", d.b.orphaned, d.b.Stats().DroppedUnknownChannel, d.b.receive.held)
	}
}

// RFC 8832 section 6 refuses an OPEN with an id of the receiver's own kind; RFC 8831 section 6.6 knows no other PPIDs.
func TestBadOpensAndPPIDs(t *testing.T) {
	open := func(stream StreamID, body []byte) []byte {
		v := wire.AppendUint32(nil, peersTSN)
		v = wire.AppendUint16(v, uint16(stream))
		v = wire.AppendUint32(wire.AppendUint16(v, 0), ppidDCEP)
		return appendChunk(nil, typeData, whole, append(v, body...))
	}
	good := appendOpen(nil, &ChannelConfig{Label: "x"})
	w := standing(t)
	w.hear(w.myTag, open(2, good))
	if got := w.told(); got != "ChannelOpen" {
		t.Fatalf("a good one: %s", got)
	}
	for name, chunk := range map[string][]byte{
		"our id":         open(3, good),
		"truncated":      open(2, good[:8]),
		"unknown kind":   open(2, append([]byte{dcepOpen, 0x7f}, good[2:]...)),
		"unknown verb":   open(2, []byte{9}),
		"nothing opened": data(0, 2, 0, whole, "x"),
	} {
		w := standing(t)
		w.hear(w.myTag, chunk)
		if got := w.told(); got != "" || w.state != stateEstablished {
			t.Errorf("%s: %s, state %d", name, got, w.state)
		}
		if w.receive.held > cost(1) {
			t.Errorf("%s: %d bytes are held", name, w.receive.held)
		}
	}
}

// RFC 8832 section 5.2: the acknowledgement is one byte; Pion 1.12 sends four.
func TestAcknowledgementOfAnOpen(t *testing.T) {
	for _, ack := range []string{"\x02", "\x02\x00\x00\x00"} {
		w := standing(t)
		id, err := w.Open(w.now, ChannelConfig{Unordered: true})
		if err != nil {
			t.Fatal(err)
		}
		flags := func() uint8 {
			w.Send(w.now, id, false, []byte("x"))
			said := w.say()
			return said[len(said)-1].flags & flagUnordered
		}
		if flags() != 0 {
			t.Error("before the acknowledgement a message is unordered")
		}
		v := wire.AppendUint16(wire.AppendUint32(nil, peersTSN), uint16(id))
		v = wire.AppendUint32(wire.AppendUint16(v, 0), ppidDCEP)
		w.hear(w.myTag, appendChunk(nil, typeData, whole, append(v, ack...)))
		if flags() == 0 || w.stats.DroppedMalformed != 0 {
			t.Errorf("after the acknowledgement %x a message is ordered", ack)
		}
	}
}

// The W3C counts what was sent and not yet given to the network.
func TestBufferedAmount(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Rate: 1e6}, func(cfg *Config) { cfg.SendBuffer = 100_000 }).connect()
	id := d.a.opens(ChannelConfig{})
	d.net.Run(time.Second)
	d.a.SetBufferedAmountLow(id, 30_000)
	now := d.a.now()
	for i := range 10 {
		if err := d.a.Send(now, id, false, make([]byte, 10_000)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if got := d.a.BufferedAmount(id); got != 100_000 {
		t.Errorf("%d bytes are buffered", got)
	}
	if err := d.a.Send(now, id, false, []byte("x")); !errors.Is(err, ErrBufferFull) {
		t.Errorf("one byte more: %v", err)
	}
	if err := d.a.Send(now, id, false, nil); !errors.Is(err, ErrBufferFull) {
		t.Errorf("an empty message more: %v", err)
	}
	lows := 0
	d.a.onEvent = func(_ mono.Time, e Event) {
		if e.Kind == BufferedAmountLow {
			lows++
			if got := d.a.BufferedAmount(id); got > 30_000 {
				t.Errorf("low with %d bytes", got)
			}
		}
	}
	d.a.driver.Poll()
	if got, want := d.a.BufferedAmount(id), 100_000-int(d.a.Stats().BytesSent); got > want+100 || got < want-100 {
		t.Errorf("%d bytes are buffered, want about %d", got, want)
	}
	d.until("sent", func() bool { return d.a.BufferedAmount(id) == 0 })
	if lows != 1 {
		t.Errorf("BufferedAmountLow came %d times", lows)
	}
	if err := d.a.Send(d.a.now(), id+2, false, nil); !errors.Is(err, ErrNoChannel) {
		t.Errorf("on a channel that is not there: %v", err)
	}
}

// RFC 8831 section 6.6: the byte that stands for an empty message is not the program's, so it is not counted; but nothing
// may be buffered without bound.
func TestEmptyMessagesAreBounded(t *testing.T) {
	w := withChannels(t, 4)
	sent := 0
	for w.Send(w.now, 4, sent%2 == 0, nil) == nil {
		sent++
	}
	if got := w.BufferedAmount(4); got != 0 || sent < w.cfg.SendBuffer/cost(1) || sent > w.cfg.SendBuffer/(cost(1)-1)+1 {
		t.Errorf("%d bytes are buffered after %d messages", got, sent)
	}
}

// The label and protocol are UTF-8 both ways.
func TestLabelsAreUTF8(t *testing.T) {
	w := standing(t)
	if _, err := w.Open(w.now, ChannelConfig{Label: "\xff"}); err == nil {
		t.Error("a label that is not UTF-8 was taken")
	}
	v := wire.AppendUint16(wire.AppendUint32(nil, peersTSN), 2)
	v = wire.AppendUint32(wire.AppendUint16(v, 0), ppidDCEP)
	w.hear(w.myTag, appendChunk(nil, typeData, whole, appendOpen(v, &ChannelConfig{Label: "a\xffb"})))
	if e, _ := w.NextEvent(); e.Channel.Label != "a\uFFFDb" {
		t.Errorf("the label is %q", e.Channel.Label)
	}
}

func TestTooLargeMessages(t *testing.T) {
	d := newDuo(t, lan, func(cfg *Config) { cfg.MaxMessageSize = 10_000; cfg.PeerMaxMessageSize = 20_000 }).connect()
	id, other := d.a.opens(ChannelConfig{}), d.a.opens(ChannelConfig{})
	if err := d.a.Send(d.a.now(), id, false, make([]byte, 20_001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("beyond what the peer takes: %v", err)
	}
	d.a.sends(id, strings.Repeat("a", 10_000))
	d.a.sends(id, strings.Repeat("b", 10_001))
	d.a.sends(id, "after")
	d.a.sends(other, "unharmed")
	d.until("closed", func() bool { return d.b.channels[id] == nil && d.a.channels[id] == nil })
	if got := d.b.got[id]; len(got) != 1 || len(got[0]) != 10_000 || d.b.got[other][0] != "unharmed" {
		t.Errorf("delivered %d messages, and %q", len(got), d.b.got[other])
	}
	last := d.b.events[len(d.b.events)-1]
	if last.Kind != ChannelClosed || last.Err == nil {
		t.Errorf("the last event is %+v", last)
	}
	if d.b.receive.held != 0 {
		t.Errorf("%d bytes are held", d.b.receive.held)
	}
}

// RFC 8831 section 6.7, over a bad path: what was sent before Close comes, then both ends see the channel closed, and
// its id begins anew.
func TestCloseLosesNothing(t *testing.T) {
	for _, remote := range []bool{false, true} {
		d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Loss: 0.2, Reorder: 0.2, ReorderBy: 30 * time.Millisecond}).connect()
		d.net.Run(time.Second)
		for round := range 5 {
			id := d.a.opens(ChannelConfig{})
			if id != 0 {
				t.Fatalf("round %d: the id is %d", round, id)
			}
			var want []string
			for i := range 20 {
				want = append(want, fmt.Sprint(round, "-", i, strings.Repeat(".", 100*i)))
				d.a.sends(id, want[i])
			}
			d.b.got[id] = nil
			if remote {
				d.until("open", func() bool { return d.b.channels[id] != nil && d.b.channels[id].claimed })
				d.b.closes(id)
			} else {
				d.a.closes(id)
			}
			if !remote {
				if err := d.a.Send(d.a.now(), id, false, []byte("x")); !errors.Is(err, ErrNoChannel) {
					t.Errorf("Send after Close: %v", err)
				}
			}
			d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 })
			if !slices.Equal(d.b.got[id], want) {
				t.Errorf("remote %v, round %d: got %d of %d messages", remote, round, len(d.b.got[id]), len(want))
			}
		}
		over(t, d)
	}
}

// Both ends close at once, and many channels at a time.
func TestCloseFromBothEnds(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 10 * time.Millisecond, Loss: 0.1}).connect()
	opened := 0
	d.b.onEvent = func(_ mono.Time, e Event) {
		if e.Kind == ChannelOpen {
			opened++
		}
	}
	for range 1200 {
		d.a.opens(ChannelConfig{})
	}
	d.until("open", func() bool { return opened == 1200 })
	for id := range StreamID(2400) {
		if id%2 == 0 {
			d.a.Close(d.a.now(), id)
			d.b.Close(d.b.now(), id)
		}
	}
	d.a.driver.Poll()
	d.b.driver.Poll()
	d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 })
	for _, e := range []*end{d.a, d.b} {
		if n := strings.Count(e.kinds(), "ChannelClosed"); n != 1200 {
			t.Errorf("ChannelClosed came %d times", n)
		}
	}
}

func TestCloseBeforeTheAssociationStands(t *testing.T) {
	d := newDuo(t, lan)
	never, once := d.a.opens(ChannelConfig{Label: "never"}), d.a.opens(ChannelConfig{Label: "once"})
	d.a.sends(once, "farewell")
	d.a.closes(never)
	d.a.closes(once)
	d.connect()
	d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 && len(d.b.got[once]) == 1 })
	if got := d.a.kinds(); got != "ChannelClosed:0 Established ChannelClosed:2" {
		t.Errorf("a's events: %s", got)
	}
}

// A peer that opens more channels than there may be is refused those.
func TestMaxChannels(t *testing.T) {
	d := newDuo(t, lan)
	d.b.cfg.MaxChannels = 10
	d.connect()
	for range 15 {
		d.a.opens(ChannelConfig{})
	}
	d.until("refused", func() bool { return strings.Count(d.a.kinds(), "ChannelClosed") == 5 })
	if n := len(d.b.channels); n != 10 || len(d.a.channels) != 10 {
		t.Errorf("a has %d channels, b %d", len(d.a.channels), n)
	}
}

// Labels are the peer's choice, and bounded all together.
func TestLabelsAreBounded(t *testing.T) {
	d := newDuo(t, lan).connect()
	long := strings.Repeat("x", 65535)
	opened := 0
	for ; ; opened++ {
		if _, err := d.a.Open(d.a.now(), ChannelConfig{Label: long, Protocol: long}); errors.Is(err, ErrLabels) {
			break
		} else if err != nil || opened > 100 {
			t.Fatalf("%d were opened: %v", opened, err)
		}
	}
	d.b.labels = maxLabels - 65535*5 // as if it had others
	d.a.driver.Poll()
	d.until("refused", func() bool { return len(d.a.channels) == 2 })
	for _, id := range d.a.channelIDs(func(*channel) bool { return true }) {
		d.a.closes(id)
	}
	d.until("closed", func() bool { return len(d.a.channels)+len(d.b.channels) == 0 })
	if opened != maxLabels/(2*65535) || d.a.labels != 0 || d.b.labels != maxLabels-65535*5 {
		t.Errorf("%d were opened, and %d and %d bytes are counted after all", opened, d.a.labels, d.b.labels)
	}
}

// few returns an association with three channels, whose peer offers streams for two.
func few(t *testing.T) *wireEnd {
	w := newWireEnd(t)
	for range 3 { // 1, 3, 5
		if _, err := w.Open(w.now, ChannelConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	w.hear(0, appendInit(nil, typeInit, &initChunk{tag: peersTag, tsn: peersTSN, window: 1 << 20, outgoing: 4, incoming: 4}))
	in, _ := parseInit(w.say()[0].value)
	w.hear(in.tag, appendChunk(nil, typeCookieEcho, 0, in.cookie))
	if got := w.told(); got != "Established ChannelOpen ChannelOpen" {
		t.Errorf("events: %s", got)
	}
	return w
}

// The peer offers fewer streams than we have channels, and cannot add any, or does not want to.
func TestFewStreams(t *testing.T) {
	w := few(t)
	w.say()
	w.hear(w.myTag, w.sack(1), resetResponse(w.myTSN, denied))
	if got := w.told(); got != "ChannelClosed" {
		t.Errorf("denied: %s", got)
	}
	w.ext &^= extReconfig
	if _, err := w.Open(w.now, ChannelConfig{}); !errors.Is(err, ErrNoID) {
		t.Errorf("one more: %v", err)
	}
}

// RFC 8831 section 6.4: channels share by priority; without interleaving, message by message.
func TestPriorities(t *testing.T) {
	d := newDuo(t, simnet.Path{Delay: 5 * time.Millisecond, Rate: 2e6, Queue: 20_000}).connect()
	var ids [4]StreamID
	for i, p := range []uint16{128, 256, 512, 1024} {
		ids[i] = d.a.opens(ChannelConfig{Priority: p})
	}
	got := map[StreamID]int{}
	d.b.onEvent = func(_ mono.Time, e Event) {
		got[e.Stream] += len(e.Data)
		d.b.got[e.Stream] = nil
	}
	for _, id := range ids {
		for range 1500 {
			if err := d.a.Send(d.a.now(), id, false, make([]byte, 2000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.a.driver.Poll()
	d.net.Run(8 * time.Second)
	for i, id := range ids[1:] {
		ratio := float64(got[id]) / float64(got[ids[i]])
		if ratio < 1.8 || ratio > 2.2 {
			t.Errorf("priority %d got %.2f times what the one below got: %v", 256<<i, ratio, got)
		}
	}
}
