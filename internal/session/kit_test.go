package session

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

func entropy(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

var (
	opus = jsep.Codec{Name: "opus", Clock: 48000, Channels: "2", Payload: 111}
	vp8  = jsep.Codec{Name: "VP8", Clock: 90000, Payload: 96, RTX: 97, Feedback: []string{"nack", "nack pli", "ccm fir"}}
	vp9  = jsep.Codec{Name: "VP9", Clock: 90000, Payload: 98, RTX: 99, Feedback: []string{"nack", "nack pli", "ccm fir"}}
)

// extmap are identifiers as in a description, by the order of the URIs.
func extmap(uris ...string) (list []sdp.ExtMap) {
	for i, u := range uris {
		list = append(list, sdp.ExtMap{ID: uint16(i + 1), URI: u})
	}
	return list
}

// sectionOf is a section that sends and receives, as both sides see it: they differ in their encodings alone.
func mediaOf(mid, kind string, codecs ...jsep.Codec) jsep.Media {
	x := extmap(rtp.URIMID, rtp.URIRID, rtp.URIRRID, rtp.URIAudioLevel)
	return jsep.Media{
		MID: mid, Kind: kind, Sends: true, Receives: true, Send: codecs, Receive: codecs, SendExtensions: x, ReceiveExtensions: x,
		ReducedSize: true, Encodings: []jsep.Encoding{{}},
	}
}

// An end is one session with a program that keeps what it gets.
type end struct {
	*Session
	t      testing.TB
	got    []got
	events []Event
	out    [][]byte // what left last
	lose   func(b []byte) bool

	onPacket func(now mono.Time, r *Received)
	// onWay may change the mark of what leaves, and lose it.
	onWay func(b []byte, m Marking) (ecn pkt.ECN, lost bool)
	marks []pkt.ECN // of what left last
}

type got struct {
	mid, rid string
	ssrc     rtp.SSRC
	pt       rtp.PayloadType
	seq      int64
	at       mono.Time
	payload  string
	level    string // value of the audio level
	repaired bool
}

const (
	began = mono.Time(time.Hour)
	delay = 10 * time.Millisecond
)

func newEnd(t testing.TB, seed uint64, cfg Config, media ...jsep.Media) *end {
	t.Helper()
	cfg.Entropy, cfg.Origin = entropy(seed), rtp.NTPAt(time.Unix(1_700_000_000, 0))
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(began, media)
	s.Connect(began)
	return &end{Session: s, t: t}
}

func (e *end) take(now mono.Time) {
	for r, ok := e.NextPacket(); ok; r, ok = e.NextPacket() {
		if e.onPacket != nil {
			e.onPacket(now, r)
		}
		level, _ := r.Packet.Extensions.Get(4)
		e.got = append(e.got, got{r.Stream.MID(), r.Stream.RID(), r.Stream.SSRC(), r.Packet.PayloadType, r.Sequence, now, string(r.Packet.Payload), string(level), r.Repaired})
	}
	for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
		e.events = append(e.events, ev)
	}
}

func (e *end) handle(now mono.Time, b []byte) { e.handleMarked(now, b, 0) }

func (e *end) handleMarked(now mono.Time, b []byte, ecn pkt.ECN) {
	b = append([]byte(nil), b...)
	if rtp.IsRTCP(b) {
		e.HandleRTCP(now, b)
	} else {
		e.HandleRTP(now, b, ecn)
	}
	e.take(now)
}

// drain returns what an end has to send.
func (e *end) drain(now mono.Time) (list [][]byte) {
	e.marks = e.marks[:0]
	for {
		b, m := e.AppendPacket(nil, now)
		if len(b) == 0 {
			return list
		}
		if len(b) > MaxAppend {
			e.t.Fatalf("a packet of %d bytes", len(b))
		}
		ecn, lost := m.ECN, false
		if e.onWay != nil {
			if ecn, lost = e.onWay(b, m); lost {
				continue
			}
		}
		e.marks = append(e.marks, ecn)
		list = append(list, b)
	}
}

// events of a kind.
func (e *end) told(kind EventKind) (list []Event) {
	for _, ev := range e.events {
		if ev.Kind == kind {
			list = append(list, ev)
		}
	}
	return list
}

func (e *end) send(now mono.Time, mid string, encoding int, p Packet) {
	e.t.Helper()
	if err := e.Sender(mid).Send(now, encoding, &p); err != nil {
		e.t.Fatal(err)
	}
}

// A wire joins two ends, delay apart.
type wire struct {
	a, b   *end
	now    mono.Time
	way    time.Duration
	rate   int           // of a's way, in bits a second, before which 32 KB may wait; 0: it has no bound
	free   mono.Time     // when what waits there has left
	mark   time.Duration // what waits longer there is marked, if it may be
	flying []flight
	do     []action // of a program, in their order
}

type flight struct {
	at  mono.Time
	to  *end
	b   []byte
	ecn pkt.ECN
}

type action struct {
	at mono.Time
	do func(now mono.Time)
}

func newWire(a, b *end) *wire { return &wire{a: a, b: b, now: began, way: delay} }

func (w *wire) at(d time.Duration, do func(now mono.Time)) {
	w.do = append(w.do, action{w.now.Add(d), do})
}

// every does something n times.
func (w *wire) every(d time.Duration, n int, do func(now mono.Time, i int)) {
	for i := range n {
		w.at(time.Duration(i)*d, func(now mono.Time) { do(now, i) })
	}
}

// pass lets time pass.
func (w *wire) pass(d time.Duration) {
	until := w.now.Add(d)
	for {
		for _, e := range [...]*end{w.a, w.b} {
			to := w.a
			if e == w.a {
				to = w.b
			}
			e.take(w.now)
			for i, b := range e.drain(w.now) {
				ecn := e.marks[i]
				e.out = append(e.out, b)
				if e.lose != nil && e.lose(b) {
					continue
				}
				at := w.now
				if e == w.a && w.rate > 0 {
					if at = max(at, w.free); at.Sub(w.now) > w.takes(32<<10) {
						continue
					}
					if ecn != pkt.NotECT && w.mark > 0 && at.Sub(w.now) > w.mark {
						ecn = pkt.CE
					}
					at = at.Add(w.takes(len(b) + defaultOverhead))
					w.free = at
				}
				w.flying = append(w.flying, flight{at.Add(w.way), to, b, ecn})
			}
		}
		next := mono.Min(w.a.NextTimeout(), w.b.NextTimeout())
		first := -1
		for i := range w.flying {
			if w.flying[i].at <= next && (first < 0 || w.flying[i].at < w.flying[first].at) {
				first = i
			}
		}
		if first >= 0 {
			next = w.flying[first].at
		}
		act := -1
		for i := range w.do {
			if w.do[i].at <= next && (act < 0 || w.do[i].at < w.do[act].at) {
				act = i
			}
		}
		if act >= 0 {
			next = w.do[act].at
		}
		if next > until {
			w.now = until
			return
		}
		w.now = max(w.now, next)
		switch {
		case act >= 0:
			do := w.do[act].do
			w.do = append(w.do[:act:act], w.do[act+1:]...)
			do(w.now)
		case first >= 0:
			f := w.flying[first]
			w.flying = append(w.flying[:first:first], w.flying[first+1:]...)
			f.to.handleMarked(w.now, f.b, f.ecn)
		default:
			w.a.HandleTimeout(w.now)
			w.b.HandleTimeout(w.now)
		}
	}
}

// takes is how long bytes take on a's way.
func (w *wire) takes(bytes int) time.Duration {
	return time.Duration(bytes) * 8 * time.Second / time.Duration(w.rate)
}

// packet is one of a section of VP8 unless it says otherwise.
func packet(i int) Packet {
	return Packet{PayloadType: 96, Timestamp: uint32(i) * 3000, Marker: true, Payload: fmt.Appendf(make([]byte, 0, 200), "packet %d", i)}
}

// control cuts the RTCP out of what left, packet by packet.
func (e *end) control() (kinds []string) {
	for _, b := range e.out {
		if rtp.IsRTCP(b) {
			kinds = append(kinds, kindsOf(b))
		}
	}
	return kinds
}
