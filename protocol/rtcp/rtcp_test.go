package rtcp_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// only returns the one packet of a datagram.
func only(t testing.TB, b []byte, kind rtcp.Kind) rtcp.Packet {
	t.Helper()
	p, rest, err := rtcp.Next(b)
	if err != nil || len(rest) > 0 || p.Kind() != kind {
		t.Fatalf("% x: kind %d, %d bytes left, %v; want kind %d", b, p.Kind(), len(rest), err, kind)
	}
	return p
}

// wrote compares what was written with what the RFC draws.
func wrote(t testing.TB, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, unhex(t, want)) {
		t.Errorf("wrote % x\nwant  % x", got, unhex(t, want))
	}
}

// must is for what a test has just written.
func must[T any](t testing.TB) func(T, bool) T {
	return func(v T, ok bool) T {
		t.Helper()
		if !ok {
			t.Fatal("not read")
		}
		return v
	}
}

// RFC 3550 sections 6.4.1 and 6.4.2.
func TestReports(t *testing.T) {
	var blocks rtcp.ReportBlocks
	first := rtcp.ReportBlock{SSRC: 0x11223344, FractionLost: 64, Lost: -2, HighestSequence: 0x0001ffff, Jitter: 7, LastReport: 0xb7052000, Delay: 0x00054000}
	second := rtcp.ReportBlock{SSRC: 1, Lost: 0x7fffff}
	blocks.Add(first)
	blocks.Add(second)
	const raw = `11223344 40fffffe 0001ffff 00000007 b7052000 00054000
		00000001 007fffff 00000000 00000000 00000000 00000000`

	sr := rtcp.SenderReport{SSRC: 0xcafebabe, NTP: 0xb44db705_20000000, RTPTime: 90000, Packets: 3, Octets: 1000, Reports: blocks}
	b := sr.Append(nil)
	wrote(t, b, "82c80012 cafebabe b44db705 20000000 00015f90 00000003 000003e8"+raw)
	got := must[rtcp.SenderReport](t)(only(t, b, rtcp.KindSenderReport).SenderReport())
	if got.SSRC != sr.SSRC || got.NTP != sr.NTP || got.RTPTime != 90000 || got.Packets != 3 || got.Octets != 1000 ||
		got.Reports.Len() != 2 || got.Reports.At(0) != first || got.Reports.At(1) != second {
		t.Errorf("read %+v", got)
	}

	rr := rtcp.ReceiverReport{SSRC: 0xcafebabe, Reports: blocks}
	b = rr.Append(nil)
	wrote(t, b, "82c9000d cafebabe"+raw)
	if got := must[rtcp.ReceiverReport](t)(only(t, b, rtcp.KindReceiverReport).ReceiverReport()); got.SSRC != rr.SSRC || got.Reports.At(1) != second {
		t.Errorf("read %+v", got)
	}

	// "profile-specific extensions" may follow (section 6.4.3), and more was lost than there is room for.
	blocks.Reset()
	blocks.Add(rtcp.ReportBlock{Lost: 1 << 30})
	blocks.Add(rtcp.ReportBlock{Lost: -1 << 30})
	rr.Reports = blocks
	b = append(rr.Append(nil), 1, 2, 3, 4)
	b[3]++
	if got := must[rtcp.ReceiverReport](t)(only(t, b, rtcp.KindReceiverReport).ReceiverReport()); got.Reports.At(0).Lost != 1<<23-1 || got.Reports.At(1).Lost != -1<<23 {
		t.Errorf("read %+v", got.Reports.At(0))
	}
	for blocks.Add(first) {
	}
	if blocks.Len() != 31 {
		t.Errorf("%d blocks find room", blocks.Len())
	}
}

// The example of RFC 3550 section 6.4.1, figure 2: a round trip of 6.125 s.
func TestRoundTrip(t *testing.T) {
	if d, ok := rtcp.RoundTrip(0xb7108000, 0xb7052000, 0x00054000); !ok || d != 6125*time.Millisecond {
		t.Errorf("%v, %v", d, ok)
	}
	for _, c := range [][3]uint32{{5, 0, 0}, {5, 5, 1}} { // none to answer; answered before it was asked
		if d, ok := rtcp.RoundTrip(c[0], c[1], rtcp.Delay(c[2])); ok {
			t.Errorf("%v: %v", c, d)
		}
	}
	if d, ok := rtcp.RoundTrip(1<<15, 1<<32-1<<15, 0); !ok || d != time.Second {
		t.Errorf("across the turn: %v, %v", d, ok)
	}
	for d, want := range map[time.Duration]rtcp.Delay{0: 0, -time.Second: 0, 1500 * time.Millisecond: 0x18000, 20 * time.Hour: 1<<32 - 1} {
		if got := rtcp.DelayOf(d); got != want {
			t.Errorf("%v is %#x", d, got)
		}
	}
}

// RFC 3550 section 6.5.
func TestSDES(t *testing.T) {
	b := rtcp.AppendSDES(nil, 0xcafebabe, rtcp.Item{Type: rtcp.ItemCNAME, Text: []byte("ada")}, rtcp.Item{Type: rtcp.ItemMID, Text: []byte("0")})
	wrote(t, b, "81ca0004 cafebabe 0103 616461 0f01 30 00 00 00 00")
	items := must[iter.Seq[rtcp.Item]](t)(only(t, b, rtcp.KindSDES).SDES())
	got := slices.Collect(items)
	if len(got) != 2 || got[0].SSRC != 0xcafebabe || got[0].Type != rtcp.ItemCNAME || string(got[0].Text) != "ada" || got[1].Type != rtcp.ItemMID || string(got[1].Text) != "0" {
		t.Errorf("read %+v", got)
	}
	// Items that end at a word have one more word of zeroes behind them.
	b = rtcp.AppendSDES(nil, 1, rtcp.Item{Type: 1, Text: []byte("ab")})
	wrote(t, b, "81ca0003 00000001 01026162 00000000")
	for name, c := range map[string]struct {
		raw  string
		want int // items before it
		ok   bool
	}{
		"two chunks":           {"82ca0004 00000001 01016100 00000002 01016200", 2, true},
		"none":                 {"80ca0000", 0, true},
		"no items":             {"81ca0002 00000001 00000000", 0, true},
		"fewer chunks":         {"82ca0002 00000001 01016100", 1, false},
		"no end":               {"81ca0002 00000001 01026162", 1, false},
		"text too long":        {"81ca0002 00000001 01ff6162", 0, false},
		"half of an item":      {"81ca0002 00000001 01006101", 1, false},
		"a source and no more": {"81ca0001 00000001", 0, false},
	} {
		p, _, err := rtcp.Next(unhex(t, c.raw))
		if err != nil {
			t.Fatal(name, err)
		}
		items, ok := p.SDES()
		if n := len(slices.Collect(items)); ok != c.ok || n != c.want {
			t.Errorf("%s: %d items, %v", name, n, ok)
		}
	}
	long := rtcp.AppendSDES(nil, 1, rtcp.Item{Type: 1, Text: make([]byte, 300)})
	if items, ok := only(t, long, rtcp.KindSDES).SDES(); !ok || len(slices.Collect(items)[0].Text) != 255 {
		t.Error("a text too long")
	}
}

// RFC 3550 section 6.6.
func TestBYE(t *testing.T) {
	b := rtcp.AppendBYE(nil, "bye", 1, 2)
	wrote(t, b, "82cb0003 00000001 00000002 03627965")
	bye := must[rtcp.BYE](t)(only(t, b, rtcp.KindBYE).BYE())
	if bye.Sources.Len() != 2 || bye.Sources.At(1) != 2 || string(bye.Reason) != "bye" {
		t.Errorf("read %+v", bye)
	}
	wrote(t, rtcp.AppendBYE(nil, "", 7), "81cb0001 00000007")
	for _, raw := range []string{"82cb0001 00000001", "81cb0002 00000001 05616263"} {
		if _, ok := only(t, unhex(t, raw), rtcp.KindBYE).BYE(); ok {
			t.Errorf("%s is one", raw)
		}
	}
	if bye, ok := only(t, rtcp.AppendBYE(nil, strings.Repeat("a", 300), make([]rtp.SSRC, 40)...), rtcp.KindBYE).BYE(); !ok || bye.Sources.Len() != 31 || len(bye.Reason) != 255 {
		t.Error("what is too much")
	}
}

// RFC 3550 section 6.7.
func TestAPP(t *testing.T) {
	a := rtcp.APP{SSRC: 1, Subtype: 5, Name: [4]byte{'P', 'R', 'L', 'Y'}, Data: []byte("data!")}
	b := a.Append(nil)
	wrote(t, b, "85cc0004 00000001 50524c59 64617461 21000000")
	got := must[rtcp.APP](t)(only(t, b, rtcp.KindAPP).APP())
	if got.SSRC != 1 || got.Subtype != 5 || got.Name != a.Name || string(got.Data) != "data!\x00\x00\x00" {
		t.Errorf("read %+v", got)
	}
	if _, ok := only(t, unhex(t, "80cc0001 00000001"), rtcp.KindAPP).APP(); ok {
		t.Error("one without a name")
	}
}

// RFC 4585 section 6.2.1: a number, and a bitmask of those that follow it.
func TestNACK(t *testing.T) {
	lost := []uint16{65534, 65535, 0, 14, 15, 100, 100, 116, 117}
	b, n := rtcp.AppendNACK(nil, 1, 2, lost, 1200)
	wrote(t, b, "81cd0006 00000001 00000002 fffe 8003 000f 0000 0064 8000 0075 0000")
	if n != len(lost) {
		t.Errorf("%d of %d", n, len(lost))
	}
	nack := must[rtcp.NACK](t)(only(t, b, rtcp.KindNACK).NACK())
	if got := slices.Collect(nack.Lost()); nack.Sender != 1 || nack.Media != 2 || !slices.Equal(got, slices.Compact(slices.Clone(lost))) {
		t.Errorf("%+v asks for %v", nack, got)
	}
	for limit, want := range map[int]int{11: 0, 15: 0, 16: 4, 19: 4, 20: 5, 24: 8} {
		b, n := rtcp.AppendNACK([]byte("before"), 1, 2, lost, limit)
		if n != want || len(b)-6 > limit {
			t.Errorf("in %d bytes: %d of them, in %d", limit, n, len(b)-6)
		}
	}
	if b, n := rtcp.AppendNACK(nil, 1, 2, nil, 1200); len(b) != 0 || n != 0 {
		t.Error("asks for nothing")
	}
	if _, ok := only(t, unhex(t, "81cd0002 00000001 00000002"), rtcp.KindNACK).NACK(); ok {
		t.Error("one for nothing")
	}
}

// RFC 4585 section 6.3.1 and RFC 5104 section 4.3.1.
func TestPictureRequests(t *testing.T) {
	b := rtcp.PLI{Sender: 1, Media: 2}.Append(nil)
	wrote(t, b, "81ce0002 00000001 00000002")
	if pli := must[rtcp.PLI](t)(only(t, b, rtcp.KindPLI).PLI()); pli != (rtcp.PLI{Sender: 1, Media: 2}) {
		t.Errorf("read %+v", pli)
	}
	b = rtcp.AppendFIR(nil, 1, rtcp.FIREntry{SSRC: 2, Number: 255}, rtcp.FIREntry{SSRC: 3})
	wrote(t, b, "84ce0006 00000001 00000000 00000002 ff000000 00000003 00000000")
	fir := must[rtcp.FIR](t)(only(t, b, rtcp.KindFIR).FIR())
	if got := slices.Collect(fir.Entries()); fir.Sender != 1 || !slices.Equal(got, []rtcp.FIREntry{{SSRC: 2, Number: 255}, {SSRC: 3}}) {
		t.Errorf("read %v", got)
	}
	for raw, kind := range map[string]rtcp.Kind{"81ce0001 00000001": rtcp.KindPLI, "84ce0002 00000001 00000000": rtcp.KindFIR} {
		p := only(t, unhex(t, raw), kind)
		_, one := p.PLI()
		_, two := p.FIR()
		if one || two {
			t.Errorf("%s is one", raw)
		}
	}
}

// draft-alvestrand-rmcat-remb-03 section 2.2.
func TestREMB(t *testing.T) {
	b := rtcp.AppendREMB(nil, 1, 8_927_168, 0x47e33a, 2)
	wrote(t, b, "8fce0006 00000001 00000000 52454d42 021a 20df 0047e33a 00000002")
	r := must[rtcp.REMB](t)(only(t, b, rtcp.KindREMB).REMB())
	if r.Sender != 1 || r.Bitrate != 8_927_168 || r.Sources.Len() != 2 || r.Sources.At(0) != 0x47e33a {
		t.Errorf("read %+v", r)
	}
	for _, rate := range []uint64{0, 1, 1<<18 - 1, 1 << 18, 123_456_789, 1<<64 - 1} {
		r := must[rtcp.REMB](t)(only(t, rtcp.AppendREMB(nil, 1, rate), rtcp.KindREMB).REMB())
		if r.Bitrate > rate || rate-r.Bitrate > rate>>17 {
			t.Errorf("%d comes as %d", rate, r.Bitrate)
		}
	}
	if r, ok := only(t, unhex(t, "8fce0004 00000001 00000000 52454d42 00fc0003"), rtcp.KindREMB).REMB(); !ok || r.Bitrate != 1<<64-1 {
		t.Errorf("beyond 64 bits: %d", r.Bitrate)
	}
	if _, ok := only(t, unhex(t, "8fce0004 00000001 00000000 52454d42 01000001"), rtcp.KindREMB).REMB(); ok {
		t.Error("fewer sources than it says")
	}
	only(t, unhex(t, "8fce0003 00000001 00000000 41424344"), rtcp.KindUnknown)
}

// RFC 3611 sections 4.4 and 4.5.
func TestExtendedReports(t *testing.T) {
	b := rtcp.AppendReferenceTime(nil, 1, 0xb44db705_20000000)
	wrote(t, b, "80cf0004 00000001 04000002 b44db705 20000000")
	x := must[rtcp.ExtendedReport](t)(only(t, b, rtcp.KindExtendedReport).ExtendedReport())
	for block := range x.Blocks() {
		if at, ok := block.ReferenceTime(); !ok || at != 0xb44db705_20000000 || x.Sender != 1 {
			t.Errorf("read %v %+v", at, x)
		}
		for range block.DLRRs() {
			t.Error("an answer in a reference time")
		}
	}
	answers := []rtcp.DLRR{{SSRC: 2, LastReport: 0xb7052000, Delay: 0x54000}, {SSRC: 3}}
	b = rtcp.AppendDLRR(nil, 1, answers...)
	wrote(t, b, "80cf0008 00000001 05000006 00000002 b7052000 00054000 00000003 00000000 00000000")
	x = must[rtcp.ExtendedReport](t)(only(t, b, rtcp.KindExtendedReport).ExtendedReport())
	n := 0
	for block := range x.Blocks() {
		n++
		if got := slices.Collect(block.DLRRs()); !slices.Equal(got, answers) {
			t.Errorf("read %v", got)
		}
		if _, ok := block.ReferenceTime(); ok {
			t.Error("a reference time in answers")
		}
	}
	if n != 1 {
		t.Errorf("%d blocks", n)
	}
	for raw, want := range map[string]bool{
		"80cf0001 00000001":                            true,  // no blocks
		"80cf0003 00000001 63000000 04010000":          true,  // unknown, and a time that is none
		"80cf0002 00000001 05000001":                   false, // less than it says
		"80cf0004 00000001 05000002 00000001 00000002": true,  // half an answer
	} {
		x, ok := only(t, unhex(t, raw), rtcp.KindExtendedReport).ExtendedReport()
		if ok != want {
			t.Errorf("%s: %v", raw, ok)
		}
		for block := range x.Blocks() {
			if _, ok := block.ReferenceTime(); ok || len(slices.Collect(block.DLRRs())) > 0 {
				t.Errorf("%s holds something", raw)
			}
		}
	}
}

// RFC 3550 appendix A.2, RFC 5506 section 4.1.
func TestCompound(t *testing.T) {
	rr := rtcp.ReceiverReport{SSRC: 1}
	compound := rtcp.PLI{Sender: 1, Media: 2}.Append(rtcp.AppendSDES(rr.Append(nil), 1, rtcp.Item{Type: rtcp.ItemCNAME, Text: []byte("x")}))
	var kinds []rtcp.Kind
	for rest := compound; len(rest) > 0; {
		p, next, err := rtcp.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		kinds, rest = append(kinds, p.Kind()), next
	}
	if !slices.Equal(kinds, []rtcp.Kind{rtcp.KindReceiverReport, rtcp.KindSDES, rtcp.KindPLI}) {
		t.Errorf("kinds %v", kinds)
	}
	for name, c := range map[string]struct {
		b                 []byte
		compound, reduced bool
	}{
		"compound":             {compound, true, true},
		"reduced size":         {rtcp.PLI{Sender: 1, Media: 2}.Append(nil), false, true},
		"empty":                {nil, false, false},
		"cut short":            {compound[:len(compound)-1], false, false},
		"three bytes too many": {append(slices.Clone(compound), 0x80, 200, 0), false, false},
		"version 1":            {unhex(t, "41c90001 00000001"), false, false},
		"padded at the end":    {unhex(t, "80c90001 00000001 a1ce0003 00000001 00000002 00000004"), true, true},
		"padded in the middle": {unhex(t, "a0c90002 00000001 00000004 81ce0002 00000001 00000002"), false, false},
		"padding not of words": {unhex(t, "a0c90002 00000001 00000003"), false, false},
		// Padding of a single byte behind the only delta, as browsers and Pion send it.
		"padded feedback":       {unhex(t, "afcd0005 00000001 00000002 0007 0001 000003 04 2001 10 01"), false, true},
		"padding of nothing":    {unhex(t, "a0c90002 00000001 00000000"), false, false},
		"padding beyond it":     {unhex(t, "a0c90002 00000001 0000000c"), false, false},
		"padding without bytes": {unhex(t, "a0c90000"), false, false},
	} {
		if got := rtcp.Check(c.b, false) == nil; got != c.compound {
			t.Errorf("%s: compound %v", name, got)
		}
		if got := rtcp.Check(c.b, true) == nil; got != c.reduced {
			t.Errorf("%s: reduced size %v", name, got)
		}
	}
	p, _, err := rtcp.Next(unhex(t, "a1ce0003 00000001 00000002 00000004"))
	if pli, ok := p.PLI(); err != nil || !ok || pli.Media != 2 {
		t.Errorf("behind padding: %+v, %v", pli, err)
	}
	p, _, err = rtcp.Next(unhex(t, "afcd0005 00000001 00000002 0007 0001 000003 04 2001 10 01"))
	if f, ok := p.TransportFeedback(); err != nil || !ok || f.Base != 7 || f.Count != 1 {
		t.Errorf("behind padding of a byte: %+v, %v", f, err)
	}
}

func TestNothingAllocates(t *testing.T) {
	var blocks rtcp.ReportBlocks
	blocks.Add(rtcp.ReportBlock{SSRC: 1})
	sr := rtcp.SenderReport{SSRC: 1, Reports: blocks}
	lost, arrivals := []uint16{1, 2, 30}, []rtcp.Arrival{{Received: true, At: time.Second}, {}, {Received: true, At: time.Second + time.Millisecond}}
	metrics := []rtcp.Metric{{Received: true}, {}}
	item := rtcp.Item{Type: rtcp.ItemCNAME, Text: []byte("ada")}
	buf := make([]byte, 0, 1200)
	if n := testing.AllocsPerRun(100, func() {
		buf = rtcp.AppendSDES(sr.Append(buf[:0]), 1, item)
		buf, _ = rtcp.AppendNACK(buf, 1, 2, lost, 100)
		buf, _ = rtcp.AppendTransportFeedback(buf, 1, 2, 3, 4, arrivals, 100)
		start := len(buf)
		buf, _ = rtcp.AppendStreamFeedback(rtcp.BeginCongestionFeedback(buf, 1), 2, 3, metrics)
		buf = rtcp.EndCongestionFeedback(buf, start, 5)
		packets := 0
		for rest := buf; len(rest) > 0; packets++ {
			p, next, err := rtcp.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			touch(p)
			rest = next
		}
		if packets != 5 {
			t.Fatal(packets)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// touch reads everything of a packet, and returns how much that was.
func touch(p rtcp.Packet) (n int) {
	if r, ok := p.SenderReport(); ok {
		for i := range r.Reports.Len() {
			n += int(r.Reports.At(i).FractionLost)
		}
	}
	if r, ok := p.ReceiverReport(); ok {
		for i := range r.Reports.Len() {
			n += int(r.Reports.At(i).FractionLost)
		}
	}
	if nack, ok := p.NACK(); ok {
		for range nack.Lost() {
			n++
		}
	}
	if f, ok := p.TransportFeedback(); ok {
		for range f.All() {
			n++
		}
	}
	if f, ok := p.CongestionFeedback(); ok {
		for s := range f.Streams() {
			for i := range s.Len() {
				n += int(s.At(i).ECN)
			}
		}
	}
	return n
}

func FuzzNext(f *testing.F) {
	for _, s := range []string{
		"82c90001 cafebabe", "81ca0004 cafebabe 0103 616461 0f01 30 00 00 00 00", "82cb0003 00000001 00000002 03627965",
		"85cc0004 00000001 50524c59 64617461 21000000", "81cd0003 00000001 00000002 fffe 8003", "84ce0004 00000001 00000000 00000002 ff000000",
		"8fce0006 00000001 00000000 52454d42 0216 20de 0047e33a 00000002", "80cf0008 00000001 05000006 00000002 b7052000 00054000 00000003 00000000 00000000",
		"8fcd0006 00000001 00000002 0003 0004 000001 07 2002 c800 04 08 ff00", "8bcd0006 00000001 00000002 0003 0003 8001 0000 a200 0000 12345678",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checked := rtcp.Check(b, true) == nil
		for rest := b; len(rest) > 0; {
			p, next, err := rtcp.Next(rest)
			if err != nil {
				if checked {
					t.Fatal("checked, and malformed")
				}
				return
			}
			rest = next
			touch(p)
			if items, ok := p.SDES(); ok {
				for range items {
				}
			}
			if bye, ok := p.BYE(); ok && bye.Sources.Len() != int(p.Count) {
				t.Fatal("sources of BYE")
			}
			p.APP()
			p.PLI()
			if fir, ok := p.FIR(); ok {
				for range fir.Entries() {
				}
			}
			p.REMB()
			if x, ok := p.ExtendedReport(); ok {
				for block := range x.Blocks() {
					block.ReferenceTime()
					for range block.DLRRs() {
					}
				}
			}
			// What tells of arrivals says the same when it is written again.
			if feedback, ok := p.TransportFeedback(); ok {
				var list []rtcp.Arrival
				for _, a := range feedback.All() {
					list = append(list, a)
				}
				if len(list) != feedback.Count {
					t.Fatalf("%d arrivals of %d", len(list), feedback.Count)
				}
				again, n := rtcp.AppendTransportFeedback(nil, feedback.Sender, feedback.Media, feedback.Base, feedback.Number, list, 1<<18)
				if n == 0 {
					continue
				}
				p, _, err := rtcp.Next(again)
				second, ok := p.TransportFeedback()
				if err != nil || !ok || second.Count != n {
					t.Fatalf("written again: %v", err)
				}
				i := 0
				for _, a := range second.All() {
					if d := a.At - list[i].At; a.Received != list[i].Received || d%(64*time.Millisecond<<24) != 0 {
						t.Fatalf("packet %d: %+v came as %+v", i, list[i], a)
					}
					i++
				}
			}
		}
	})
}

func BenchmarkTransportFeedback(b *testing.B) {
	arrivals := random(rand.New(rand.NewPCG(1, 2)), 100, 20)
	buf := make([]byte, 0, 1200)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = rtcp.AppendTransportFeedback(buf[:0], 1, 2, 3, 4, arrivals, 1200)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, _, _ := rtcp.Next(buf)
			if touch(p) != 100 {
				b.Fatal("lost")
			}
		}
	})
}

func Example() {
	var blocks rtcp.ReportBlocks
	blocks.Add(rtcp.ReportBlock{SSRC: 1234, FractionLost: 26, HighestSequence: 4711})
	report := rtcp.ReceiverReport{SSRC: 1, Reports: blocks}
	datagram := rtcp.PLI{Sender: 1, Media: 1234}.Append(report.Append(nil))

	for rest := datagram; len(rest) > 0; {
		p, next, err := rtcp.Next(rest)
		if err != nil {
			fmt.Println(err)
			return
		}
		switch p.Kind() {
		case rtcp.KindReceiverReport:
			r, _ := p.ReceiverReport()
			fmt.Println("lost of 256:", r.Reports.At(0).FractionLost)
		case rtcp.KindPLI:
			pli, _ := p.PLI()
			fmt.Println("a picture of", pli.Media)
		}
		rest = next
	}
	// Output:
	// lost of 256: 26
	// a picture of 1234
}
