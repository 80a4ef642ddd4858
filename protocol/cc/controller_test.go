package cc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
)

// RFC 8888 feedback does the same as transport-wide feedback.
func TestFeedbackByStreams(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		l.loss = 0.02
		f := newFlow(w, l, Config{})
		f.streams = &StreamRecorder{}
		trace(f)
		f.start()
		w.run(sec(60))
		atLeast(t, "from the 20th second", f.got(sec(20), sec(60)), 2*mbit*85/100)
		if s := f.c.Stats(); s.PacketsLost < s.PacketsSent/100 || s.PacketsLost > s.PacketsSent/30 || s.Strange > 0 {
			t.Errorf("lost %d of %d, strange %d", s.PacketsLost, s.PacketsSent, s.Strange)
		}
	})
}

// RFC 6679 section 7.4: a mark of congestion is answered as a loss for congestion would be.
func TestMarksOfCongestion(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		l.mark = 20 * time.Millisecond
		f := newFlow(w, l, Config{})
		f.streams = &StreamRecorder{}
		trace(f)
		f.start()
		w.run(sec(40))
		long := 0
		for range 1000 {
			w.run(w.elapsed() + 20*time.Millisecond)
			if l.queueing() > 30*time.Millisecond {
				long++
			}
		}
		if f.c.Stats().PacketsCE == 0 || long > 20 {
			t.Errorf("%d marks, and for %d of 1000 moments the queue was long", f.c.Stats().PacketsCE, long)
		}
		atLeast(t, "from the 20th second", f.got(sec(20), sec(60)), 2*mbit*80/100)
	})
}

// A peer that answers nothing any more is sent less and less, down to Min, and when it answers again the rate is soon back.
func TestSilenceSlowsDown(t *testing.T) {
	eachSeed(t, func(t *testing.T, w *world, trace func(*flow)) {
		l := newLink(w, 2*mbit)
		f := newFlow(w, l, Config{})
		trace(f)
		f.start()
		w.run(sec(20))
		f.silent = true
		w.run(sec(22))
		atMost(t, "2 s after the last feedback", f.c.Target(), 600*kbit)
		w.run(sec(30))
		atMost(t, "10 s after it", f.c.Target(), DefaultMin)
		f.silent = false
		w.run(sec(50))
		atLeast(t, "10 s after it has come back", f.got(sec(40), sec(50)), 2*mbit*85/100)
	})
}

func TestLimitsAndREMBBoundTheTarget(t *testing.T) {
	w := newWorld(1)
	l := newLink(w, 2*mbit)
	f := newFlow(w, l, Config{Max: 700 * kbit})
	f.start()
	w.run(sec(10))
	atLeast(t, "with a bound of 700", f.got(sec(5), sec(10)), 600*kbit)
	atMost(t, "with a bound of 700", f.c.Target(), 700*kbit)
	f.c.HandleREMB(w.now, 400*kbit)
	atMost(t, "with REMB of 400", f.c.Target(), 400*kbit)
	f.c.SetLimits(w.now, 500*kbit, 5*mbit)
	if got := f.c.Target(); got != 500*kbit {
		t.Errorf("with a least of 500: %d", got)
	}
	f.c.HandleREMB(w.now, 5*mbit)
	w.run(sec(40))
	atLeast(t, "with a bound of 5000", f.got(sec(20), sec(40)), 2*mbit*85/100)
}

// Receiver reports are all that some peers send.
func TestReportsAlone(t *testing.T) {
	w := newWorld(1)
	c := New(w.now, Config{Max: 2 * mbit})
	number := 0
	send := func(d time.Duration) {
		for end := w.now.Add(d); w.now < end; w.now = w.now.Add(c.Target().Time(1200)) {
			c.Sent(w.now, Packet{SSRC: media, Seq: uint16(number), Size: 1200, Kind: Video})
			number++
			if c.NextTimeout() <= w.now {
				c.HandleTimeout(w.now)
			}
		}
	}
	sentBefore := 0
	report := func(loss float64) {
		n := number - sentBefore
		sentBefore = number
		c.HandleReport(w.now, int(float64(n)*loss), n, 80*time.Millisecond)
	}
	for range 40 {
		send(time.Second)
		report(0)
	}
	if got := c.Target(); got != 2*mbit {
		t.Errorf("after 40 s without loss: %d kbit/s, want what there is", got/kbit)
	}
	for range 20 {
		send(time.Second)
		report(max(0, 1-1e6/float64(c.Target())))
	}
	atMost(t, "where 1 Mbit/s passes", c.Target(), 1200*kbit)
	if got := c.Stats().RTT; got < 79*time.Millisecond || got > 81*time.Millisecond {
		t.Errorf("round trip %v", got)
	}
}

// Where no feedback tells of each packet, a probe would have no answer: it would never be complete, and keep what is queued from leaving.
func TestNoProbesWithoutAnswers(t *testing.T) {
	c := New(began, Config{})
	c.SetProbing(began, false)
	for now, i := began, 0; now < began.Add(10*time.Second); now = now.Add(5 * time.Millisecond) {
		if c.Push(now, Video, 0, 300); c.NextTimeout() <= now { // much more than the target in the end
			c.HandleTimeout(now)
		}
		for r, ok := c.Pop(now); ok; r, ok = c.Pop(now) {
			if r.Kind == Padding || r.Cluster != 0 {
				t.Fatalf("%v after the beginning: %+v", now.Sub(began), r)
			}
			c.Other(now, r.Size)
		}
		if i++; i%200 == 0 {
			c.HandleReport(now, 0, 200, 50*time.Millisecond)
		}
	}
	now := began.Add(10 * time.Second)
	c.SetProbing(now, true)
	if c.Push(now, Video, 0, 300); c.Stats().Probes != 1 {
		t.Errorf("%d probes, now that there are answers", c.Stats().Probes)
	}
}

// What shares the path is counted as arrived with the packets around it, and is let out at its rate.
func TestOtherBytesCount(t *testing.T) {
	w := newWorld(1)
	l := newLink(w, 2*mbit)
	f := newFlow(w, l, Config{})
	f.most = 100 * kbit
	f.start()
	f.c.SetOtherRate(w.now, mbit)
	other := 0
	var data func()
	data = func() {
		for f.c.OtherAt(w.now) <= w.now {
			f.c.Other(w.now, 1000)
			l.send(1000, func(bool) { other += 1000 })
		}
		w.at(f.c.OtherAt(w.now), data)
	}
	data()
	w.run(sec(20))
	if got := rateOf(other, sec(20)); got < 950*kbit || got > 1050*kbit {
		t.Errorf("data at %d kbit/s, want 1000", got/kbit)
	}
	atLeast(t, "all that arrives", f.c.Stats().Arrives, 900*kbit)
	atLeast(t, "the target", f.c.Target(), 1100*kbit)
}

func TestRouteChangeBeginsAnew(t *testing.T) {
	w := newWorld(1)
	l := newLink(w, 5*mbit)
	f := newFlow(w, l, Config{})
	f.start()
	w.run(sec(10))
	atLeast(t, "on the first path", f.c.Target(), 3*mbit)
	f.c.HandleRouteChange(w.now)
	if got := f.c.Target(); got != DefaultStart {
		t.Errorf("after the change: %d", got)
	}
	l.rate = 1 * mbit
	w.run(sec(30))
	atLeast(t, "on the second path", f.got(sec(15), sec(30)), 850*kbit)
	l.rate = 150 * kbit
	w.run(sec(40))
	before := f.c.Target()
	if f.c.HandleRouteChange(w.now); f.c.Target() != before {
		t.Errorf("after %d it begins with %d", before, f.c.Target())
	}
}

// What little a source makes arrives whole, and says nothing of what a path that loses some of it bears.
func TestLossesDoNotBoundALimitedSource(t *testing.T) {
	w := newWorld(1)
	l := newLink(w, 2*mbit)
	f := newFlow(w, l, Config{})
	f.start()
	w.run(sec(10))
	l.loss, f.most = 0.05, 100*kbit
	w.run(sec(60))
	atLeast(t, "the target", f.c.Target(), mbit)
}

// drive makes an engine of a Controller: packets are 12 bytes that name a number, feedback is RTCP.
func drive(c *Controller) laws.Engine {
	return &laws.Nested{
		Handle: func(now mono.Time, b []byte) {
			for rest := b; len(rest) > 0; {
				var p rtcp.Packet
				var err error
				if p, rest, err = rtcp.Next(rest); err != nil {
					return
				}
				if f, ok := p.TransportFeedback(); ok {
					c.HandleTransportFeedback(now, f)
				}
				if f, ok := p.CongestionFeedback(); ok {
					c.HandleCongestionFeedback(now, f)
				}
				if f, ok := p.REMB(); ok {
					c.HandleREMB(now, Rate(f.Bitrate))
				}
			}
		},
		Timeout: c.HandleTimeout,
		Next:    c.NextTimeout,
		Append: func(dst []byte, now mono.Time) []byte {
			r, ok := c.Pop(now)
			if !ok {
				return dst
			}
			if r.Kind == Padding {
				r.Size = 300
			}
			n := c.Sent(now, Packet{SSRC: media, Seq: uint16(r.Ref), Size: r.Size, Kind: r.Kind, Cluster: r.Cluster})
			return append(dst, byte(n>>8), byte(n), byte(r.Kind), byte(c.Target()>>12))
		},
		Event: func() (laws.Event, bool) { return laws.Event{}, false },
	}
}

func TestLaws(t *testing.T) {
	laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
		c := New(mono.Time(time.Hour), Config{Start: 300*kbit + Rate(seed)})
		var rec TransportRecorder
		got := 0
		s := &laws.Specimen{
			Engine: drive(c),
			Peer: &laws.Nested{
				Handle: func(now mono.Time, b []byte) {
					if len(b) == 4 {
						got++
						rec.Record(now, uint16(b[0])<<8|uint16(b[1]), 1000)
					}
				},
				Timeout: func(mono.Time) {},
				Next:    rec.NextTimeout,
				Append: func(dst []byte, now mono.Time) []byte {
					return rec.AppendFeedback(dst, now, 1, media, 1200)
				},
				Event: func() (laws.Event, bool) { return laws.Event{}, false },
			},
			Done: func() error {
				if got < 40 {
					return fmt.Errorf("%d packets came", got)
				}
				return nil
			},
			Flood: func(now mono.Time, i int) { c.Push(now, Video, uint64(i), 1000) },
			Bound: 4 << 20,
		}
		for i := range 60 {
			s.Steps = append(s.Steps, func(now mono.Time) {
				c.Push(now, Kind(i%4), uint64(i), 1000)
			})
		}
		return s
	}})
}

// A datagram of feedback makes no more work than there are packets under way. RFC 8888 section 3.1: "one report block per received SSRC".
func TestFeedbackMakesLittleWork(t *testing.T) {
	const packets = 100
	c := New(began, Config{})
	for i := range packets {
		c.Sent(began, Packet{SSRC: media, Seq: uint16(i), Size: 1000})
	}
	now := began.Add(100 * time.Millisecond)
	const blocks = 50
	b := rtcp.BeginCongestionFeedback(nil, 1)
	for range blocks { // each of a packet before the first: all that were sent are looked through for it
		b, _ = rtcp.AppendStreamFeedback(b, media, 1<<16-1, []rtcp.Metric{{Received: true}})
	}
	p, _, _ := rtcp.Next(rtcp.EndCongestionFeedback(b, 0, ntp(now)))
	streams, ok := p.CongestionFeedback()
	if !ok {
		t.Fatal("it does not read its own feedback")
	}
	c.HandleCongestionFeedback(now, streams)
	if s := c.Stats(); s.Strange != blocks-1 {
		t.Errorf("%d of %d reports on one stream were strange", s.Strange, blocks)
	}

	arrivals := make([]rtcp.Arrival, 1<<16-1)
	arrivals[0].Received = true
	b, n := rtcp.AppendTransportFeedback(nil, 1, media, packets, 0, arrivals, 1<<17)
	p, _, _ = rtcp.Next(b)
	f, ok := p.TransportFeedback()
	if !ok || n != len(arrivals) {
		t.Fatalf("it does not read its own feedback of %d", n)
	}
	before := c.Stats().Strange
	c.HandleTransportFeedback(now, f)
	if strange := c.Stats().Strange - before; strange == 0 || strange > mostStrange {
		t.Errorf("%d packets that were never sent were looked for", strange)
	}
}

// No feedback, however wrong, makes the target leave its bounds or anything panic.
func FuzzFeedback(f *testing.F) {
	var rec TransportRecorder
	var streams StreamRecorder
	for i := range 40 {
		at := began.Add(time.Duration(i*7) * time.Millisecond)
		rec.Record(at, uint16(i), 1000)
		streams.Record(at, media, uint16(i), uint8(i)&3, 1000)
	}
	now := began.Add(time.Second)
	a := rec.AppendFeedback(nil, now, 1, media, 1200)
	b := streams.AppendFeedback(nil, now, 1, ntp(now), 1200)
	f.Add(a)
	f.Add(b)
	f.Add(append(bytes.Clone(a), b...))
	f.Add(rtcp.AppendREMB(nil, 1, 100, media))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := New(began, Config{})
		e := drive(c)
		now := began
		for i := range 100 {
			c.Sent(now, Packet{SSRC: media, Seq: uint16(i), Size: 1000, Kind: Video, Cluster: uint16(i % 2)})
			now = now.Add(5 * time.Millisecond)
			if i%10 == 9 {
				d := pkt.Datagram{Payload: in}
				e.HandleDatagram(now, &d)
				e.HandleTimeout(now)
			}
			if got := c.Target(); got < c.min || got > c.max {
				t.Fatalf("target %d", got)
			}
			if c.history.inFlight < 0 {
				t.Fatalf("%d bytes in flight", c.history.inFlight)
			}
		}
		s := c.Stats()
		if s.Loss < 0 || s.Loss > 1 || s.RTT < 0 {
			t.Fatalf("%+v", s)
		}
	})
}

// The cost of a packet sent through the pacer and of its share of feedback.
func BenchmarkPacket(b *testing.B) {
	for _, kind := range []string{"transport-wide", "RFC 8888"} {
		b.Run(kind, func(b *testing.B) {
			c := New(began, Config{Start: 50 * mbit})
			var rec TransportRecorder
			var streams StreamRecorder
			now := began
			buf := make([]byte, 0, 1500)
			send := func(i int) {
				c.Push(now, Video, uint64(i), 1200)
				for {
					r, ok := c.Pop(now)
					if !ok {
						break
					}
					if r.Kind == Padding {
						continue
					}
					n := c.Sent(now, Packet{SSRC: media, Seq: uint16(r.Ref), Size: r.Size, Kind: r.Kind, Cluster: r.Cluster})
					if kind == "RFC 8888" {
						streams.Record(now, media, uint16(r.Ref), 2, r.Size)
					} else {
						rec.Record(now, n, r.Size)
					}
				}
				for {
					fb := streams.AppendFeedback(buf[:0], now, 1, ntp(now), 1200)
					fb = rec.AppendFeedback(fb, now, 1, media, 1200)
					if len(fb) == 0 {
						break
					}
					p, _, _ := rtcp.Next(fb)
					if f, ok := p.TransportFeedback(); ok {
						c.HandleTransportFeedback(now, f)
					} else if f, ok := p.CongestionFeedback(); ok {
						c.HandleCongestionFeedback(now, f)
					}
				}
				if c.NextTimeout() <= now {
					c.HandleTimeout(now)
				}
				now = now.Add(200 * time.Microsecond)
			}
			for i := range 40_000 {
				send(i)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				send(i)
			}
		})
	}
}

func BenchmarkAllocate(b *testing.B) {
	streams := make([]Stream, 8)
	for i := range streams {
		streams[i] = Stream{Priority: Priority(i % 4), Pausable: i%2 == 0, Layers: []Layer{{Min: 50 * kbit, Max: 200 * kbit}, {Min: 300 * kbit, Max: 700 * kbit}}}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		Allocate(Rate(rng.IntN(5000))*kbit, streams)
	}
}
