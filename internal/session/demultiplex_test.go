package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

func kindsOf(b []byte) (text string) {
	for rest := b; len(rest) > 0; {
		p, next, err := rtcp.Next(rest)
		if err != nil {
			return text + "?"
		}
		text += [...]string{"?", "SR", "RR", "SDES", "BYE", "APP", "NACK", "PLI", "FIR", "REMB", "TWCC", "CCFB", "XR"}[p.Kind()] + " "
		rest = next
	}
	return text
}

// raw writes a packet as a peer would.
func raw(ssrc rtp.SSRC, pt rtp.PayloadType, seq uint16, values map[uint8]string, payload string) []byte {
	p := rtp.Packet{SSRC: ssrc, PayloadType: pt, SequenceNumber: seq, Payload: []byte(payload)}
	if len(values) > 0 {
		p.Extensions.Reset(rtp.OneByte)
		for id := range uint8(15) {
			if v, ok := values[id]; ok {
				p.Extensions.Add(id, []byte(v))
			}
		}
	}
	return p.Append(nil)
}

const (
	idMID, idRID, idRRID = 1, 2, 3
)

// RFC 8843 section 9.2, step by step: "If the packet has a MID ...", "If the packet's SSRC is in the table ...", "If the packet's
// payload type is in the table ... to a single m= section", else "Drop the packet".
func TestDemultiplexing(t *testing.T) {
	audio, first, second := mediaOf("a", "audio", opus), mediaOf("v", "video", vp8), mediaOf("w", "video", vp8, vp9)
	second.Sources = []jsep.Source{{SSRC: 500, RTX: 501}}
	for name, c := range map[string]struct {
		packets [][]byte
		want    string // sections
		dropped Dropped
	}{
		"by MID":                        {[][]byte{raw(1, 96, 1, map[uint8]string{idMID: "w"}, "x")}, "[w]", Dropped{}},
		"MID once, then the SSRC":       {[][]byte{raw(1, 96, 1, map[uint8]string{idMID: "w"}, "x"), raw(1, 96, 2, nil, "x")}, "[w w]", Dropped{}},
		"another MID moves the SSRC":    {[][]byte{raw(1, 96, 1, map[uint8]string{idMID: "w"}, "x"), raw(1, 96, 2, map[uint8]string{idMID: "v"}, "x"), raw(1, 96, 3, nil, "x")}, "[w v v]", Dropped{}},
		"a MID of nobody":               {[][]byte{raw(1, 111, 1, map[uint8]string{idMID: "z"}, "x")}, "[]", Dropped{Unknown: 1}},
		"by a payload type of one":      {[][]byte{raw(1, 111, 1, nil, "x"), raw(2, 98, 1, nil, "x")}, "[a w]", Dropped{}},
		"a payload type of two":         {[][]byte{raw(1, 96, 1, nil, "x")}, "[]", Dropped{Unknown: 1}},
		"as declared":                   {[][]byte{raw(500, 96, 1, nil, "x")}, "[w]", Dropped{}},
		"a payload type of no section":  {[][]byte{raw(1, 100, 1, nil, "x")}, "[]", Dropped{Unknown: 1}},
		"one that its section has not":  {[][]byte{raw(1, 111, 1, map[uint8]string{idMID: "v"}, "x")}, "[]", Dropped{Unwanted: 1}},
		"retransmission as declared":    {[][]byte{raw(500, 96, 7, nil, "x"), raw(501, 97, 1, nil, "\x00\x05y")}, "[w w]", Dropped{}},
		"retransmission before a media": {[][]byte{raw(1, 97, 1, map[uint8]string{idMID: "v"}, "\x00\x05y")}, "[]", Dropped{Orphan: 1}},
		"twice":                         {[][]byte{raw(1, 111, 1, nil, "x"), raw(1, 111, 1, nil, "x")}, "[a]", Dropped{Duplicate: 1}},
		"no packet":                     {[][]byte{{0x80, 111, 0}}, "[]", Dropped{Malformed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnd(t, 1, Config{}, audio, first, second)
			for _, p := range c.packets {
				e.handle(began, p)
			}
			mids := []string{}
			for _, g := range e.got {
				mids = append(mids, g.mid)
			}
			if fmt.Sprint(mids) != c.want || e.Dropped() != c.dropped {
				t.Errorf("packets went to %v, want %s; dropped %+v, want %+v", mids, c.want, e.Dropped(), c.dropped)
			}
		})
	}
}

// A retransmission says for which RID it is (RFC 8852 section 3.2), or is known by the number that was asked for (RFC 4588
// section 5.3).
func TestRetransmissionsFindTheirStream(t *testing.T) {
	m := mediaOf("v", "video", vp8)
	m.RIDs = []string{"lo", "hi"}
	e := newEnd(t, 1, Config{}, m)
	now := began
	for i, rid := range m.RIDs {
		v := map[uint8]string{idMID: "v", idRID: rid}
		e.handle(now, raw(rtp.SSRC(10+i), 96, uint16(100*i+10), v, "x"))
		e.handle(now, raw(rtp.SSRC(10+i), 96, uint16(100*i+12), nil, "x"))
	}
	now = now.Add(50 * time.Millisecond)
	e.HandleTimeout(now)
	e.drain(now)
	e.handle(now, raw(20, 97, 1, map[uint8]string{idMID: "v"}, "\x00\x6fby number"))
	e.handle(now, raw(21, 97, 1, map[uint8]string{idMID: "v", idRRID: "lo"}, "\x00\x0bby RID"))
	want := []got{
		{mid: "v", rid: "hi", ssrc: 11, pt: 96, seq: 111, at: now, payload: "by number", repaired: true},
		{mid: "v", rid: "lo", ssrc: 10, pt: 96, seq: 11, at: now, payload: "by RID", repaired: true},
	}
	if got := e.got[4:]; !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestStreamsOfThePeerAreBounded(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("a", "audio", opus))
	for i := range 2 * maxStreams {
		e.handle(began, raw(rtp.SSRC(i+1), 111, 1, nil, "x"))
	}
	if len(e.got) != maxStreams || e.Dropped().Streams != maxStreams {
		t.Errorf("%d packets came, %+v", len(e.got), e.Dropped())
	}
	// Silent ones make room.
	now := began
	for now.Sub(began) < streamTimeout+10*time.Second {
		now = max(now, mono.Min(e.NextTimeout(), now.Add(time.Second)))
		e.HandleTimeout(now)
		e.drain(now)
	}
	e.take(now)
	if len(e.told(StreamEnded)) != maxStreams {
		t.Errorf("%d streams have ended", len(e.told(StreamEnded)))
	}
	e.handle(now, raw(9999, 111, 1, nil, "x"))
	if len(e.got) != maxStreams+1 {
		t.Error("there is no room for another stream")
	}
}

// "a source ... leaves" by BYE (RFC 3550 section 6.6), and when its section does not receive any more.
func TestStreamsEnd(t *testing.T) {
	m := mediaOf("a", "audio", opus)
	e := newEnd(t, 1, Config{}, m)
	e.handle(began, raw(7, 111, 1, nil, "x"))
	e.handle(began, raw(8, 111, 1, nil, "x"))
	e.handle(began, rtcp.AppendBYE(nil, "gone", 7))
	if l := e.told(StreamEnded); len(l) != 1 || l[0].Stream.SSRC() != 7 {
		t.Errorf("ended: %+v", l)
	}
	m.Receives = false
	e.Apply(began, []jsep.Media{m})
	e.take(began)
	if l := e.told(StreamEnded); len(l) != 2 || l[1].Stream.SSRC() != 8 {
		t.Errorf("ended: %+v", l)
	}
	e.handle(began, raw(9, 111, 1, map[uint8]string{idMID: "a"}, "x"))
	if len(e.got) != 2 || e.Dropped().Unwanted != 1 {
		t.Errorf("%d packets came, %+v", len(e.got), e.Dropped())
	}
}

// What is not taken at once is dropped and counted, as it lies in memory that is not ours.
func TestPacketsAreTakenAtOnce(t *testing.T) {
	e := newEnd(t, 1, Config{}, mediaOf("a", "audio", opus))
	for i := range 3 {
		e.HandleRTP(began, raw(7, 111, uint16(i), nil, "x"), 0)
	}
	if r, ok := e.NextPacket(); !ok || r.Packet.SequenceNumber != 2 || e.Dropped().Untaken != 2 {
		t.Errorf("got %v, %+v", r, e.Dropped())
	}
	if _, ok := e.NextPacket(); ok {
		t.Error("there is another")
	}
}
