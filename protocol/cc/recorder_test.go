package cc

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// What the sender reads out of all feedback is what arrived, though packets are lost, reordered and doubled, and the counter wraps.
func TestTransportRecorderTellsWhatArrived(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var r TransportRecorder
		now := began
		first := uint16(rng.Uint32())
		const packets = 3000
		arrived, told := map[uint16]mono.Time{}, map[uint16]time.Duration{}
		count := uint8(0)
		read := func() {
			for {
				b := r.AppendFeedback(nil, now, 1, 2, 1200)
				if len(b) == 0 {
					return
				}
				p, rest, err := rtcp.Next(b)
				f, ok := p.TransportFeedback()
				if err != nil || !ok || len(rest) > 0 || f.Sender != 1 || f.Media != 2 || f.Number != count {
					t.Fatalf("%x is no feedback number %d", b, count)
				}
				count++
				for n, a := range f.All() {
					if !a.Received {
						continue
					}
					if _, ok := arrived[n]; !ok {
						t.Fatalf("packet %d is told and did not arrive", n)
					}
					told[n] = a.At
				}
			}
		}
		type flight struct {
			n  uint16
			at int
		}
		var late []flight
		for i := range packets {
			now = now.Add(time.Duration(rng.IntN(5000)) * time.Microsecond)
			n := first + uint16(i)
			arrive := func(n uint16) {
				if _, ok := arrived[n]; !ok {
					arrived[n] = now
				}
				r.Record(now, n, 1200)
			}
			switch k := rng.IntN(20); {
			case k == 0 && i > 0: // lost
			case k < 3 && i > 0:
				late = append(late, flight{n, i + rng.IntN(50)})
			case k == 3:
				arrive(n)
				arrive(n)
			default:
				arrive(n)
			}
			for len(late) > 0 && late[0].at <= i {
				arrive(late[0].n)
				late = late[1:]
			}
			if r.NextTimeout() <= now {
				read()
			}
		}
		now = now.Add(time.Second)
		read()
		if r.NextTimeout() != mono.Never {
			t.Fatalf("all is told and the next feedback is due at %v", r.NextTimeout())
		}
		origin := time.Duration(arrived[first]) - told[first]
		for n, at := range arrived {
			got, ok := told[n]
			if off := time.Duration(at) - origin - got; !ok || off < -500*time.Microsecond || off > 500*time.Microsecond {
				t.Fatalf("seed %d: packet %d arrived at %v and is told (%v) %v off", seed, n, at, ok, off)
			}
		}
	}
}

func TestFeedbackComesMoreOftenAtAHigherRate(t *testing.T) {
	for _, c := range []struct {
		rate  Rate
		every time.Duration
	}{{80 * kbit, feedbackRare}, {100 * kbit, feedbackRare}, {5 * mbit, feedbackOften}, {200 * mbit, feedbackOften}} {
		var r TransportRecorder
		now, number, reports := began, uint16(0), 0
		for now < began.Add(10*time.Second) {
			r.Record(now, number, 600)
			number++
			next := now.Add(c.rate.Time(600))
			for r.NextTimeout() < next {
				now = r.NextTimeout()
				for len(r.AppendFeedback(nil, now, 1, 2, 1200)) > 0 {
					reports++
				}
				if r.NextTimeout() <= now {
					t.Fatalf("at %d kbit/s, %v: the recorder does not move on", c.rate/kbit, now)
				}
			}
			now = next
		}
		// At a low rate a report waits for a packet.
		if want := int(10 * time.Second / c.every); c.rate < 200*mbit && (reports > want+1 || reports < want*9/10) {
			t.Errorf("%d kbit/s: %d reports in 10 s, want about %d", c.rate/kbit, reports, want)
		} else if reports < want {
			t.Errorf("%d kbit/s: %d reports in 10 s, want %d or more", c.rate/kbit, reports, want)
		}
	}
}

// Feedback that has told all is done, though it is not asked again before the next packet comes: at a high rate one always does.
func TestFeedbackIsDoneWhenAllIsTold(t *testing.T) {
	var r TransportRecorder
	var s StreamRecorder
	told := [2]int{}
	now := began
	for i := range 10_000 {
		r.Record(now, uint16(i), 1200)
		s.Record(now, media, uint16(i), 0, 1200)
		if len(r.AppendFeedback(nil, now, 1, media, 1200)) > 0 {
			told[0]++
		}
		if len(s.AppendFeedback(nil, now, 1, ntp(now), 1200)) > 0 {
			told[1]++
		}
		now = now.Add(200 * time.Microsecond)
	}
	for _, n := range told { // in two seconds, each 50 ms
		if n < 38 || n > 41 {
			t.Errorf("feedback was given %d times, and %d times by streams", told[0], told[1])
			break
		}
	}
}

func TestRecorderForgetsWhatItHasNoRoomFor(t *testing.T) {
	var r TransportRecorder
	for i := range 3 * mostArrivals {
		r.Record(began, uint16(i), 100)
	}
	if n := len(r.arrivals.ring); n != mostArrivals {
		t.Errorf("it holds %d packets, the bound is %d", n, mostArrivals)
	}
	seen := 0
	for {
		b := r.AppendFeedback(nil, began.Add(time.Second), 1, 2, 1200)
		if len(b) == 0 {
			break
		}
		p, _, _ := rtcp.Next(b)
		f, _ := p.TransportFeedback()
		for _, a := range f.All() {
			if a.Received {
				seen++
			}
		}
	}
	if seen != mostArrivals {
		t.Errorf("it tells of %d packets, want the last %d", seen, mostArrivals)
	}
	r.Record(began.Add(2*time.Second), uint16(3*mostArrivals+20000), 100) // the sender was away
	b := r.AppendFeedback(nil, began.Add(3*time.Second), 1, 2, 1200)
	p, _, _ := rtcp.Next(b)
	if f, ok := p.TransportFeedback(); !ok || f.Count != 1 {
		t.Errorf("after a jump it tells of %d packets, want 1", f.Count)
	}
}

// "a received packet with ECN-CE MUST be reported" - RFC 8888 section 3.1 has two bits for it with each packet.
func TestStreamRecorderTellsMarksAndTimes(t *testing.T) {
	var r StreamRecorder
	now := began
	for i := range 10 {
		for ssrc := range rtp.SSRC(3) {
			if i != 4 {
				r.Record(now, ssrc+7, uint16(65530+i), uint8(i)&3, 1000)
			}
		}
		now = now.Add(4 * time.Millisecond)
	}
	now = began.Add(100 * time.Millisecond)
	b := r.AppendFeedback(nil, now, 1, ntp(now), 1200)
	if more := r.AppendFeedback(nil, now, 1, ntp(now), 1200); len(more) > 0 {
		t.Errorf("all was told, and then %x", more)
	}
	p, _, _ := rtcp.Next(b)
	f, ok := p.CongestionFeedback()
	if !ok || f.Timestamp != ntp(now) {
		t.Fatalf("%x is no feedback", b)
	}
	streams := 0
	for s := range f.Streams() {
		streams++
		if s.Base != 65530 || s.Len() != 10 {
			t.Fatalf("stream %d: from %d, %d packets", s.SSRC, s.Base, s.Len())
		}
		for i := range 10 {
			m := s.At(i)
			want := 100*time.Millisecond - time.Duration(i)*4*time.Millisecond
			if m.Received != (i != 4) || m.Received && (m.ECN != uint8(i)&3 || m.Before-want > time.Millisecond || want-m.Before > time.Millisecond) {
				t.Errorf("stream %d, packet %d: %+v, want it %v before", s.SSRC, i, m, want)
			}
		}
	}
	if streams != 3 {
		t.Errorf("%d streams, want 3", streams)
	}
}

// packetsReportedAsLost and packetsReportedAsLostButRecovered (webrtc-stats): both ends count the same, each packet once, however often
// it is told of.
func TestBothEndsCountWhatWasTold(t *testing.T) {
	c := New(began, Config{})
	var r StreamRecorder
	now := began
	for i := range 20 {
		c.Sent(now, Packet{SSRC: media, Seq: uint16(65530 + i), Size: 1000, ECT: true})
		c.Sent(now, Packet{SSRC: media + 1, Seq: uint16(i), Size: 1000})
	}
	tell := func(want Told) {
		t.Helper()
		now = now.Add(100 * time.Millisecond)
		for b := r.AppendFeedback(nil, now, 1, ntp(now), 1200); len(b) > 0; b = r.AppendFeedback(nil, now, 1, ntp(now), 1200) {
			p, _, _ := rtcp.Next(b)
			f, _ := p.CongestionFeedback()
			c.HandleCongestionFeedback(now, f)
		}
		if ours, theirs := r.Told(media), c.Told(media); ours != want || theirs != want {
			t.Errorf("told %+v, and was told %+v, want %+v", ours, theirs, want)
		}
	}
	for i := range 10 {
		r.Record(now, media+1, uint16(i), 0, 1000)
		if i != 4 && i != 6 {
			r.Record(now, media, uint16(65530+i), uint8(1+i%3), 1000) // three of them with 3, which is CE
		}
	}
	tell(Told{Lost: 2, CE: 3})
	r.Record(now, media, 4, 1, 1000)
	tell(Told{Lost: 2, CE: 3})
	r.Record(now, media, 65534, 1, 1000)
	tell(Told{Lost: 2, Recovered: 1, CE: 3})
	r.Record(now, media, 65531, 1, 1000) // again
	r.Record(now, media, 7, 3, 1000)
	tell(Told{Lost: 4, Recovered: 1, CE: 4})
	c.HandleRouteChange(now)
	if got := c.Told(media); got.Lost != 4 {
		t.Errorf("another path, and it is forgotten what was told: %+v", got)
	}
	if got := c.Told(99); got != (Told{}) || r.Told(99) != got {
		t.Errorf("of a stream that is none: %+v", got)
	}
}

// A report that has not room for all is followed by another.
func TestStreamRecorderFitsTheLimit(t *testing.T) {
	var r StreamRecorder
	const packets, limit = 3000, 300
	for i := range packets {
		r.Record(began, rtp.SSRC(i%300), uint16(i/300), 0, 1000)
	}
	if len(r.streams) != mostRecorded {
		t.Errorf("%d streams, want %d", len(r.streams), mostRecorded)
	}
	now, told := began.Add(time.Second), 0
	for {
		b := r.AppendFeedback(nil, now, 1, ntp(now), limit)
		if len(b) == 0 {
			break
		}
		if len(b) > limit {
			t.Fatalf("a report of %d bytes, the limit is %d", len(b), limit)
		}
		p, _, _ := rtcp.Next(b)
		f, _ := p.CongestionFeedback()
		for s := range f.Streams() {
			told += s.Len()
		}
	}
	if told < mostRecorded {
		t.Errorf("%d packets told of", told)
	}
	if r.NextTimeout() != mono.Never {
		t.Error("not all was told")
	}
}

func TestReceiverEstimatesForPeersWithoutFeedback(t *testing.T) {
	w := newWorld(1)
	l := newLink(w, 1*mbit)
	var r Receiver
	c := New(w.now, Config{})
	c.SetWanted(w.now, 5*mbit, 0)
	got := 0
	var send func()
	send = func() {
		at := rtp.AbsSendTimeAt(time.Duration(w.now))
		l.send(1000, func(bool) {
			if w.elapsed() > sec(20) {
				got += 1000
			}
			r.HandlePacket(w.now, 9, at, 1000)
			for b := r.AppendREMB(nil, w.now, 1); len(b) > 0; b = r.AppendREMB(nil, w.now, 1) {
				p, _, _ := rtcp.Next(b)
				remb, ok := p.REMB()
				if !ok || remb.Sources.Len() != 1 || remb.Sources.At(0) != 9 {
					t.Fatalf("%x is no REMB for the source", b)
				}
				w.after(l.delay, func() { c.HandleREMB(w.now, Rate(remb.Bitrate)) })
			}
		})
		w.after(c.Target().Time(1000), send)
	}
	send()
	w.run(sec(60))
	atLeast(t, "on 1 Mbit/s", rateOf(got, sec(40)), 850*kbit)
	l.becomes(300*kbit, sec(60))
	w.run(sec(63))
	atMost(t, "3 s after a drop", c.Target(), 300*kbit)
}

// Whatever numbers, sources and times arrive: what is told fits the limit, can be read, and comes to an end; memory is bounded.
func FuzzRecorders(f *testing.F) {
	f.Add([]byte{0, 0, 1, 10, 0, 1, 2, 20, 0xff, 0xff, 3, 30, 0x80, 0, 4, 255})
	f.Add([]byte{0xff, 0xf0, 0, 1, 0, 5, 0, 1, 0xff, 0xf1, 0, 200, 0xff, 0xf0, 0, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		var tr TransportRecorder
		var st StreamRecorder
		var re Receiver
		now := began
		for ; len(in) >= 4; in = in[4:] {
			n := uint16(in[0])<<8 | uint16(in[1])
			now = now.Add(time.Duration(in[3]) * time.Duration(in[3]) * 100 * time.Microsecond)
			tr.Record(now, n, int(in[2]))
			st.Record(now, rtp.SSRC(in[2]), n, in[3], int(in[2]))
			re.HandlePacket(now, rtp.SSRC(in[2]), rtp.AbsSendTime(uint32(n)<<8|uint32(in[3])), int(in[2]))
			if in[2]%3 == 0 {
				continue
			}
			for i := 0; ; i++ {
				b := tr.AppendFeedback(nil, now, 1, 2, 200)
				b = st.AppendFeedback(b, now, 1, ntp(now), 200)
				if len(b) == 0 {
					break
				}
				if i > 5000 || len(b) > 400 || rtcp.Check(b, true) != nil {
					t.Fatalf("report %d of %d bytes: %x", i, len(b), b)
				}
			}
			if b := re.AppendREMB(nil, now, 1); len(b) > 0 && rtcp.Check(b, true) != nil {
				t.Fatalf("%x is no REMB", b)
			}
			if tr.NextTimeout() <= now || st.NextTimeout() <= now || re.NextTimeout() <= now {
				t.Fatal("a timer does not move on")
			}
		}
		if len(tr.arrivals.ring) > mostArrivals || len(st.streams) > mostRecorded || len(re.talkers) > rembTalkers {
			t.Fatal("a bound does not hold")
		}
	})
}
