package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

func TestWhatSendRefuses(t *testing.T) {
	v, idle := mediaOf("v", "video", vp8), mediaOf("i", "video", vp8)
	idle.Sends = false
	e := newEnd(t, 1, Config{}, v, idle)
	for name, c := range map[string]struct {
		mid      string
		encoding int
		p        Packet
		want     error
	}{
		"sent":                    {"v", 0, Packet{PayloadType: 96}, nil},
		"no such encoding":        {"v", 1, Packet{PayloadType: 96}, ErrNotSending},
		"another payload type":    {"v", 0, Packet{PayloadType: 100}, ErrPayloadType},
		"one of retransmission":   {"v", 0, Packet{PayloadType: 97}, ErrPayloadType},
		"a section that is idle":  {"i", 0, Packet{PayloadType: 96}, ErrNotSending},
		"too long":                {"v", 0, Packet{PayloadType: 96, Payload: make([]byte, 1400)}, ErrTooLong},
		"of the length that fits": {"v", 0, Packet{PayloadType: 96, Payload: make([]byte, e.Sender("v").MaxPayload(0))}, nil},
	} {
		if err := e.Sender(c.mid).Send(began, c.encoding, &c.p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	e.Sender("v").SetEncoding(began, 0, EncodingParameters{})
	if err := e.Sender("v").Send(began, 0, &Packet{PayloadType: 96}); !errors.Is(err, ErrInactive) {
		t.Errorf("of an encoding that is not active: %v", err)
	}
	if out := e.drain(began); len(out) != 0 {
		t.Errorf("%d packets of an encoding that is not active leave", len(out))
	}
	if e.Sender("z") != nil {
		t.Error("there is a sender for a section that is not there")
	}
}

func TestQueuesAreBounded(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	n := 0
	for ; e.Sender("v").Send(began, 0, &Packet{PayloadType: 96, Payload: make([]byte, 1000)}) == nil; n++ {
		if n > 1e5 {
			t.Fatal("no end")
		}
	}
	if o := e.AppendOutbound(nil)[0]; n != maxWaiting || o.PacketsDropped != 1 {
		t.Errorf("%d packets wait; %+v", n, o)
	}
	for now := began; now.Sub(began) < time.Second; now = max(now.Add(time.Millisecond), mono.Min(e.NextTimeout(), now.Add(10*time.Millisecond))) {
		e.HandleTimeout(now)
		e.drain(now)
	}
	if o := e.AppendOutbound(nil)[0]; o.BytesSent < uint64(n)*1000 || o.PacketsSent < uint64(n) {
		t.Errorf("of %d packets these leave: %+v", n, o)
	}
}

// "Sequence numbers ... increments by one for each RTP data packet sent" (RFC 3550 section 5.1), also where some were dropped
// before they left.
func TestNumbersHaveNoGaps(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	var numbers []uint16
	for round := range 3 {
		e.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true})
		e.send(began, "v", 0, packet(round))
		for _, b := range e.drain(began) {
			if p, _ := rtp.Parse(b); p.PayloadType == 96 {
				numbers = append(numbers, p.SequenceNumber-uint16(len(numbers)))
			}
		}
		e.send(began, "v", 0, packet(round)) // which is dropped
		e.Sender("v").SetEncoding(began, 0, EncodingParameters{})
	}
	if len(numbers) != 3 || numbers[0] != numbers[1] || numbers[1] != numbers[2] {
		t.Errorf("numbers are %v, less their place", numbers)
	}
}

// MID and RID go with packets until the peer reports on the stream; the owner's values always, those not negotiated never.
func TestHeaderExtensions(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	m.Encodings = []jsep.Encoding{{RID: "lo"}, {RID: "hi"}}
	there := m
	there.RIDs = []string{"lo", "hi"}
	w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, there))
	for i := range 2 { // so that there is bandwidth for both at once
		w.a.Sender("v").SetEncoding(began, i, EncodingParameters{Active: true, MaxBitrate: 50_000})
	}
	p := packet(1)
	p.Extensions = []Extension{{rtp.URIAudioLevel, []byte{42}}, {rtp.URIVideoOrientation, []byte{1}}}
	w.every(20*time.Millisecond, 200, func(now mono.Time, i int) { w.a.send(now, "v", i%2, p) })
	w.pass(5 * time.Second)
	if len(w.b.got) != 200 {
		t.Fatalf("%d packets came", len(w.b.got))
	}
	for i, g := range w.b.got {
		if g.mid != "v" || g.rid != []string{"lo", "hi"}[i%2] || g.level != "*" {
			t.Fatalf("packet %d came as %+v", i, g)
		}
	}
	named := 0
	for i, b := range w.a.out {
		if p, err := rtp.Parse(b); err == nil && !rtp.IsRTCP(b) && p.PayloadType == 96 {
			if _, ok := p.Extensions.Get(idMID); ok {
				named = i
			}
			if p.Extensions.Form() != rtp.OneByte {
				t.Fatal("not in one byte")
			}
			for id := range p.Extensions.All() {
				if id > 4 {
					t.Errorf("an element %d", id)
				}
			}
		}
	}
	if named == 0 || named > len(w.a.out)*2/3 {
		t.Errorf("of %d packets the %dth is the last with a MID", len(w.a.out), named)
	}
}

// A peer that was told to take nothing for a while, or that has heard nothing for long, has forgotten whose a stream with a RID is: MID and
// RID go along again.
func TestStreamsAreNamedAgain(t *testing.T) {
	for _, what := range []string{"direction", "silence", "forgotten"} {
		m := mediaOf("v", "video", vp8)
		m.Encodings = []jsep.Encoding{{RID: "lo"}}
		there := m
		there.RIDs = []string{"lo"}
		w := newWire(newEnd(t, 1, Config{}, m), newEnd(t, 2, Config{}, there))
		send := func() {
			w.every(20*time.Millisecond, 1000, func(now mono.Time, i int) { w.a.send(now, "v", 0, packet(i)) })
			w.pass(21 * time.Second)
		}
		send()
		before := len(w.b.got)
		switch what {
		case "direction":
			off, offThere := m, there
			off.Sends, offThere.Receives = false, false
			w.a.Apply(w.now, []jsep.Media{off})
			w.b.Apply(w.now, []jsep.Media{offThere})
			w.pass(time.Second)
			w.a.Apply(w.now, []jsep.Media{m})
			w.b.Apply(w.now, []jsep.Media{there})
		case "silence":
			w.pass(streamTimeout + 10*time.Second)
		case "forgotten": // by the peer alone
			off := there
			off.Receives = false
			w.b.Apply(w.now, []jsep.Media{off})
			w.b.Apply(w.now, []jsep.Media{there})
		}
		send()
		got := w.b.got[before:]
		if least := map[string]int{"direction": 1000, "silence": 1000, "forgotten": 400}[what]; len(got) < least || got[0].mid != "v" || got[0].rid != "lo" {
			t.Errorf("%s: %d packets came, %d before", what, len(got), before)
		}
	}
}

// "If the identifier is above 14 or the value longer than 16 bytes" takes two bytes, and only of peers that take both (RFC 8285
// section 4.1.2).
func TestLongValues(t *testing.T) {
	for _, mixed := range []bool{true, false} {
		m := mediaOf("v", "video", vp8)
		m.Mixed = mixed
		e := newEnd(t, 1, Config{}, m)
		p := packet(1)
		p.Extensions = []Extension{{rtp.URIAudioLevel, make([]byte, 40)}}
		e.send(began, "v", 0, p)
		q, err := rtp.Parse(e.drain(began)[0])
		v, ok := q.Extensions.Get(4)
		mid, _ := q.Extensions.Get(idMID)
		if err != nil || ok != mixed || len(v) == 40 != mixed || string(mid) != "v" || q.Extensions.Form() == rtp.TwoByte != mixed {
			t.Errorf("mixed %t: %v %d bytes, MID %q in form %d", mixed, err, len(v), mid, q.Extensions.Form())
		}
	}
}

// A peer that takes one form only, and has agreed to an id above 14, gets that form in every packet (RFC 8285 section 4.1.2).
func TestLongIdentifiers(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	m.Mixed = false
	m.SendExtensions = append(slices.Clone(m.SendExtensions), sdp.ExtMap{ID: 20, URI: rtp.URIPlayoutDelay})
	e := newEnd(t, 1, Config{}, m)
	e.send(began, "v", 0, packet(1))
	q, err := rtp.Parse(e.drain(began)[0])
	if mid, _ := q.Extensions.Get(idMID); err != nil || q.Extensions.Form() != rtp.TwoByte || string(mid) != "v" {
		t.Errorf("form %d, MID %q", q.Extensions.Form(), mid)
	}
}

// A packet asked for again comes on its own SSRC, with its own numbers, the original one before the payload (RFC 4588 section 4),
// and once for all requests that come within a round trip.
func TestRetransmission(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	e.SetRTT(100 * time.Millisecond)
	e.Sender("v").SetEncoding(began, 0, EncodingParameters{Active: true, MaxBitrate: 20_000}) // which needs no probe
	var first rtp.Packet
	for i := range 5 {
		now := began.Add(time.Duration(i) * 20 * time.Millisecond)
		e.HandleTimeout(now)
		e.send(now, "v", 0, packet(i))
		p, _ := rtp.Parse(e.drain(now)[0])
		if i == 0 {
			first = p
		}
	}
	now := began.Add(180 * time.Millisecond)
	e.HandleTimeout(now)
	nack, _ := rtcp.AppendNACK(nil, 1, first.SSRC, []uint16{first.SequenceNumber + 1, first.SequenceNumber + 3, first.SequenceNumber + 9}, 100)
	e.handle(now, nack)
	e.handle(now, nack)
	out := e.drain(now)
	if len(out) != 2 {
		t.Fatalf("%d packets are sent again", len(out))
	}
	rtx := e.AppendOutbound(nil)[0].RTXSSRC
	var numbers []uint16
	for i, b := range out {
		p, _ := rtp.Parse(b)
		original := first.SequenceNumber + uint16(1+2*i)
		if p.SSRC != rtx || p.PayloadType != 97 || p.Timestamp != uint32(1+2*i)*3000 || !p.Marker ||
			string(p.Payload) != string([]byte{byte(original >> 8), byte(original)})+string(packet(1+2*i).Payload) {
			t.Errorf("sent again: %+v", p)
		}
		numbers = append(numbers, p.SequenceNumber)
	}
	if numbers[1] != numbers[0]+1 {
		t.Errorf("their numbers are %v", numbers)
	}
	e.handle(now.Add(20*time.Millisecond), nack)
	if out := e.drain(now); len(out) != 0 {
		t.Error("asked again within a round trip, they are sent again")
	}
	e.handle(now.Add(120*time.Millisecond), nack)
	if out := e.drain(now); len(out) != 2 {
		t.Errorf("asked again after it, %d are", len(out))
	}
}

// The history keeps what was sent in the last second, however much, and what is older gives way.
func TestHistory(t *testing.T) {
	var h history
	h.begin(65530)
	content := func(i int) string { return string(append(make([]byte, i%1000), byte(i), byte(i>>8))) }
	now := began
	for i := range 20000 {
		now = now.Add(time.Millisecond)
		it, b := h.push(now, len(content(i)), time.Second)
		if it == nil {
			t.Fatalf("packet %d is refused", i)
		}
		_ = append(b, content(i)...)
		it.size, it.sent = len(content(i)), now
		h.unsent++
		if i%100 != 0 {
			continue
		}
		for back := range min(i, 900) {
			found, number := h.find(uint16(65530 + i - back))
			if found == nil || number != int64(65530+i-back) {
				t.Fatalf("packet %d is not there %d packets later", i-back, back)
			}
			if _, payload := h.content(found); string(payload) != content(i-back) {
				t.Fatalf("packet %d has become another", i-back)
			}
		}
	}
	if len(h.arena) > 2<<20 || len(h.items) > 2048 {
		t.Errorf("it has grown to %d bytes and %d packets for a second of 500 kB and 1000 packets", len(h.arena), len(h.items))
	}
	if i, _ := h.find(uint16(h.next & 0xffff)); i != nil {
		t.Error("it has what was not sent")
	}
}

// RFC 3550 section 8.2: "the participant MUST send an RTCP BYE packet for the old SSRC and choose another".
func TestCollision(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("v", "video", vp8))
	e.send(began, "v", 0, packet(0))
	p, _ := rtp.Parse(e.drain(began)[0])
	e.handle(began, raw(p.SSRC, 96, 1, nil, "x"))
	e.send(began, "v", 0, packet(1))
	out := e.drain(began)
	if len(out) != 2 || kindsOf(out[0]) != "RR SDES BYE " {
		t.Fatalf("%d packets leave", len(out))
	}
	q, _ := rtp.Parse(out[1])
	if q.SSRC == p.SSRC || len(e.told(SourceChanged)) != 1 || len(e.got) != 1 {
		t.Errorf("sent with %d after %d; %+v", q.SSRC, p.SSRC, e.events)
	}
}

func TestCloseSaysGoodbye(t *testing.T) {
	v := mediaOf("v", "video", vp8)
	w := newWire(newEnd(t, 1, Config{}, v, mediaOf("a", "audio", opus)), newEnd(t, 2, Config{}, v, mediaOf("a", "audio", opus)))
	w.at(0, func(now mono.Time) { w.a.send(now, "v", 0, packet(0)) })
	w.at(time.Second, func(now mono.Time) { w.a.Close(now); w.a.Close(now) })
	w.pass(3 * time.Second)
	if l := w.a.control(); l[len(l)-1] != "RR SDES BYE " {
		t.Errorf("the last words are %q", l)
	}
	if len(w.b.told(StreamEnded)) != 1 || w.a.NextTimeout() != mono.Never {
		t.Errorf("%+v", w.b.events)
	}
	if err := func() error {
		if s := w.a.Sender("v"); s != nil {
			return s.Send(w.now, 0, &Packet{PayloadType: 96})
		}
		return ErrNotSending
	}(); !errors.Is(err, ErrNotSending) {
		t.Errorf("after the end: %v", err)
	}
}

// What is declared of ours goes out as it is declared.
func TestSSRCsAreThoseOfTheDescription(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	m.Encodings = []jsep.Encoding{{SSRC: 77, RTX: 78}}
	e := newEnd(t, 1, Config{}, m)
	e.send(began, "v", 0, packet(0))
	p, _ := rtp.Parse(e.drain(began)[0])
	o := e.AppendOutbound(nil)[0]
	if p.SSRC != 77 || o.SSRC != 77 || o.RTXSSRC != 78 {
		t.Errorf("%d; %+v", p.SSRC, o)
	}
	// Told the same again, it goes on where it was.
	e.Apply(began, []jsep.Media{m})
	e.send(began, "v", 0, packet(0))
	q, _ := rtp.Parse(e.drain(began)[0])
	if q.SSRC != 77 || q.SequenceNumber != p.SequenceNumber+1 {
		t.Errorf("after it was told the same: %+v, before %+v", q, p)
	}
	// Audio, which waits no longer than video, leaves first.
	e.Apply(began, []jsep.Media{m, mediaOf("a", "audio", opus)})
	e.send(began, "v", 0, packet(0))
	e.send(began, "a", 0, Packet{PayloadType: 111})
	var order []rtp.PayloadType
	for _, b := range e.drain(began) {
		if p, err := rtp.Parse(b); err == nil && !rtp.IsRTCP(b) {
			order = append(order, p.PayloadType)
		}
	}
	if !slices.Equal(order, []rtp.PayloadType{111, 96}) {
		t.Errorf("they leave as %v", order)
	}
}
