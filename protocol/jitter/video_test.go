package jitter_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

func count(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// Frames come out whole and in order, whatever order their packets come in and how often.
func TestVideoIsWholeAcrossReorderDuplicatesAndRetransmission(t *testing.T) {
	forSeeds(t, 10, func(t *testing.T, rng *rand.Rand) {
		s := source{sequence: 65000, timestamp: 0xfffff000}
		s.video(begin, 600, 4000, nil, payload.VP8{}.NewPacketizer(1), onlyFirst)
		p := newPlayer(t, videoConfig)
		p.b.SetRTT(50 * time.Millisecond)
		s.packets[0].left = s.packets[0].left.Add(-20 * time.Millisecond) // no request goes back beyond the first that came
		p.play((&path{rng: rng, delay: 25 * time.Millisecond, jitter: 15 * time.Millisecond, loss: 0.05, spare: 1, again: 60 * time.Millisecond, twice: 0.1}).carry(s.packets))
		if got := p.indexes(&s); !slices.Equal(got, count(600)) {
			t.Errorf("%d of 600 frames came out", len(got))
		}
		for i, f := range p.got {
			if f.KeyFrame != (i == 0) || f.Missing != 0 {
				t.Fatalf("frame %d: %+v", i, f.Frame)
			}
		}
		st := p.b.Statistics()
		if st.FramesReceived != 600 || st.FramesGiven != 600 || st.FramesDropped != 0 || st.KeyFrames != 1 || st.FramesAssembledFromMultiplePackets != 600 {
			t.Errorf("%+v", st)
		}
		// Of three losses that lie on top of each other the last one comes after a key frame was asked for.
		if len(p.asks) > 2 {
			t.Errorf("%d key frames were asked for", len(p.asks))
		}
		if st.TotalFreezesDuration > 1 {
			t.Errorf("%v freezes of together %v s", st.FreezeCount, st.TotalFreezesDuration)
		}
	})
}

// With loss that is not repaired, a key frame is asked for no later than when retransmissions would have come, what cannot be
// decoded is dropped, and it goes on with the key frame.
func TestAKeyFrameIsAskedForWhenLossIsNotRepaired(t *testing.T) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
		var s source
		packetizer := payload.VP8{}.NewPacketizer(1)
		s.video(begin, 30, 3000, nil, packetizer, onlyFirst)
		at := func(frame int) int {
			return slices.IndexFunc(s.packets, func(k sent) bool { return k.frame == frame })
		}
		lostAt := s.packets[at(20)].at
		packets := slices.Delete(slices.Clone(s.packets), at(20), at(20)+1)
		p := newPlayer(t, videoConfig)
		p.b.SetRTT(rtt)
		// The sender answers a request after half a round trip, its frames take the other half.
		p.playUntil(packets, lostAt.Add(800*time.Millisecond))
		if len(p.asks) == 0 {
			t.Fatal("no key frame was asked for")
		}
		if d := p.asks[0].Sub(lostAt); d < rtt || d > rtt*5/2+100*time.Millisecond {
			t.Errorf("round trip %v: asked after %v", rtt, d)
		}
		for i := 1; i < len(p.asks); i++ {
			if d := p.asks[i].Sub(p.asks[i-1]); d < rtt+rtt/2 || d > time.Second {
				t.Errorf("round trip %v: asked again after %v", rtt, d)
			}
		}
		from := lostAt.Add(801 * time.Millisecond)
		before := len(s.packets)
		s.video(from, 30, 3000, nil, packetizer, onlyFirst)
		asked := len(p.asks)
		p.play(s.packets[before:])
		want := append(count(20), count(60)[30:]...)
		if got := p.indexes(&s); !slices.Equal(got, want) {
			t.Errorf("round trip %v: these came out: %v", rtt, got)
		}
		if f := p.got[20]; !f.KeyFrame || f.Missing != 1 {
			t.Errorf("after the loss came %+v", f.Frame)
		}
		if len(p.asks) > asked+1 {
			t.Errorf("round trip %v: asked %d times after the key frame began", rtt, len(p.asks)-asked)
		}
		st := p.b.Statistics()
		if st.PacketsLost != 1 || st.FramesDropped != 9 || st.FreezeCount != 1 || st.TotalFreezesDuration < 0.8 {
			t.Errorf("round trip %v: %+v", rtt, st)
		}
	}
}

// Who comes in the middle gets nothing before a key frame, and asks for one at once.
func TestTheFirstFrameIsAKeyFrame(t *testing.T) {
	var s source
	s.video(begin, 90, 2500, nil, payload.VP8{}.NewPacketizer(1), everySeconds(1))
	for _, from := range []int{10, 11, 12, 13, 14, 15} { // also in the middle of a frame
		p := newPlayer(t, videoConfig)
		p.play(s.packets[from:])
		want := count(90)[30:]
		if got := p.indexes(&s); !slices.Equal(got, want) {
			t.Errorf("from packet %d: these came out: %v", from, got)
		}
		if len(p.asks) == 0 || p.asks[0].Sub(s.packets[from].at) > 40*time.Millisecond {
			t.Errorf("from packet %d: asked at %v", from, p.asks)
		}
	}
}

// "TL0PICIDX [...] is a running index for the temporal base layer frames" (RFC 7741 section 4.2): with two temporal layers the
// loss of a frame of the upper one costs frames of that layer alone, until the next that the base suffices for.
func TestLossInAnUpperTemporalLayerCostsNoBase(t *testing.T) {
	mode, _ := payload.ParseMode("L1T2")
	forSeeds(t, 20, func(t *testing.T, rng *rand.Rand) {
		var s source
		s.video(begin, 300, 2500, mode, payload.VP8{}.NewPacketizer(1), onlyFirst)
		var packets []sent
		for _, k := range (&path{rng: rng, delay: 20 * time.Millisecond}).carry(s.packets) {
			if k.frame%2 == 0 || k.frame > 290 || rng.IntN(4) > 0 {
				packets = append(packets, k)
			}
		}
		p := newPlayer(t, videoConfig)
		p.play(packets)
		var base, upper int
		for _, i := range p.indexes(&s) {
			if i%2 == 0 {
				base++
			} else {
				upper++
			}
		}
		if base != 150 || upper == 0 || upper == 150 || len(p.asks) > 0 {
			t.Errorf("%d of the base, %d above it came out, %d key frames asked for", base, upper, len(p.asks))
		}
		if st := p.b.Statistics(); st.FreezeCount > 0 {
			t.Errorf("%d freezes", st.FreezeCount)
		}
	})
}

// With a dependency descriptor it is known what a frame needs (AV1 RTP specification, appendix A): here each third frame is
// needed by none, and each other by the next.
func TestDependencyDescriptorsTellWhatCanBeDecoded(t *testing.T) {
	const id = 9
	structure := &rtp.DependencyStructure{DecodeTargets: 1, Templates: make([]rtp.FrameDependency, 3)}
	for i, diffs := range [][]uint16{{}, {1}, {2}} {
		f := &structure.Templates[i]
		f.DTIs[0] = rtp.Required
		f.DiffCount = uint8(copy(f.Diffs[:], diffs))
	}
	forSeeds(t, 20, func(t *testing.T, rng *rand.Rand) {
		var s source
		s.video(begin, 300, 2500, nil, payload.VP8{}.NewPacketizer(1), onlyFirst)
		needed := func(i int) bool { return i%3 != 2 }
		for i := range s.packets {
			k := &s.packets[i]
			first := i == 0 || s.packets[i-1].frame != k.frame
			d := rtp.DependencyDescriptor{StartOfFrame: first, EndOfFrame: k.Marker, FrameNumber: uint16(65500 + k.frame)}
			switch {
			case k.frame == 0:
				if first {
					d.Structure = structure
				}
			case k.frame%3 == 0:
				d.TemplateID = 2 // the one before the last, which nobody needs
			default:
				d.TemplateID = 1
			}
			d.Frame = structure.Templates[d.TemplateID]
			v, ok := d.Append(nil, structure)
			if !ok {
				t.Fatal("no descriptor")
			}
			k.Extensions.Reset(rtp.TwoByte)
			k.Extensions.Add(id, v)
		}
		lost := map[int]bool{}
		var packets []sent
		for _, k := range s.packets {
			if needed(k.frame) || k.frame > 290 || rng.IntN(3) > 0 {
				packets = append(packets, k)
			} else {
				lost[k.frame] = true
			}
		}
		c := videoConfig
		c.Dependency = id
		p := newPlayer(t, c)
		p.play(packets)
		var want []int
		for i := range 300 {
			if !lost[i] {
				want = append(want, i)
			}
		}
		if got := p.indexes(&s); !slices.Equal(got, want) || len(p.asks) > 0 {
			t.Errorf("%d frames came out, not %d; %d key frames asked for", len(got), len(want), len(p.asks))
		}
	})
}

// Whatever is lost, no frame comes out that was predicted from one that did not.
func TestNothingComesOutThatCannotBeDecoded(t *testing.T) {
	forSeeds(t, 16, func(t *testing.T, rng *rand.Rand) {
		var s source
		s.video(begin, 600, 2000, nil, payload.VP8{}.NewPacketizer(1), everySeconds(2))
		loss := []float64{0.001, 0.01, 0.05, 0.3}[rng.IntN(4)]
		p := newPlayer(t, videoConfig)
		p.play((&path{rng: rng, delay: 25 * time.Millisecond, jitter: 40 * time.Millisecond, loss: loss, twice: 0.02}).carry(s.packets))
		got := p.indexes(&s)
		for i, n := range got {
			if n%60 != 0 && (i == 0 || got[i-1] != n-1) {
				t.Fatalf("frame %d came out without the one before", n)
			}
		}
		if loss <= 0.01 && len(got) < 60 {
			t.Errorf("only %d frames came out of 600 at a loss of %v", len(got), loss)
		}
	})
}

// Padding between frames is no frame, and breaks nothing.
func TestPaddingIsNoFrame(t *testing.T) {
	var s source
	packetizer := payload.VP8{}.NewPacketizer(1)
	for i := range 60 {
		s.video(begin.Add(time.Duration(i)*time.Second/30), 1, 2500, nil, packetizer, func(int) bool { return i == 0 })
		left := s.packets[len(s.packets)-1].left.Add(time.Millisecond)
		s.packets = append(s.packets, sent{
			Packet: rtp.Packet{PayloadType: vp8Type, SequenceNumber: s.sequence, Timestamp: s.timestamp - 3000, Padding: 200},
			left:   left, frame: i,
		})
		s.sequence++
	}
	p := newPlayer(t, videoConfig)
	p.play((&path{rng: seeded(1), delay: 20 * time.Millisecond, jitter: 20 * time.Millisecond}).carry(s.packets))
	if got := p.indexes(&s); !slices.Equal(got, count(60)) {
		t.Errorf("these came out: %v", got)
	}
	if st := p.b.Statistics(); st.FramesReceived != 60 || st.PacketsLost != 0 {
		t.Errorf("%+v", st)
	}
}

// "MIN delay = MAX delay = 0: the receiver should render as soon as possible" (playout-delay); and a least delay is kept.
func TestPlayoutDelayExtension(t *testing.T) {
	const id = 5
	for _, d := range []rtp.PlayoutDelay{{}, {Min: 200 * time.Millisecond, Max: time.Second}} {
		var s source
		s.video(begin, 300, 900, nil, payload.VP8{}.NewPacketizer(1), onlyFirst)
		s.packets[0].Extensions.Reset(rtp.OneByte)
		s.packets[0].Extensions.Add(id, d.Append(nil))
		c := videoConfig
		c.PlayoutDelay = id
		p := newPlayer(t, c)
		p.play((&path{rng: seeded(1), delay: 20 * time.Millisecond}).carry(s.packets))
		for i, f := range p.got[30:] {
			held := f.at.Sub(f.Arrival)
			if d.Max == 0 && held > 5*time.Millisecond || d.Min > 0 && (held < d.Min-5*time.Millisecond || held > d.Min+5*time.Millisecond) {
				t.Fatalf("%+v: frame %d was held for %v", d, i+30, held)
			}
		}
	}
}

// A program that reads nothing makes the Buffer hold no more than its bound; what is newest stays.
func TestNobodyReads(t *testing.T) {
	var s source
	s.video(begin, 3000, 2500, nil, payload.VP8{}.NewPacketizer(1), everySeconds(1))
	c := videoConfig
	c.Packets = 200
	p := newPlayer(t, c)
	for i := range s.packets {
		p.b.Push(s.packets[i].at, &s.packets[i].Packet)
	}
	end := s.packets[len(s.packets)-1].at
	p.playUntil(nil, end.Add(time.Second))
	got := p.indexes(&s)
	if len(got) < 30 || len(got) > 80 || got[len(got)-1] != 2999 || !p.got[0].KeyFrame {
		t.Errorf("%d frames came out: %v", len(got), got)
	}
}

// Timestamps of both streams are put on one clock by sender reports (RFC 3550 section 6.4.1); the stream that would play early
// is delayed, slowly, until both play what was captured at one time at one time.
func TestSynchronisation(t *testing.T) {
	for _, captureTime := range []bool{false, true} {
		const id = 3
		var audio, video source
		audio.timestamp, video.timestamp = 111, 0xfffffff0
		origin := rtp.NTP(0xe0000000_00000000)
		audio.audio(begin, 2000)
		video.video(begin, 1200, 900, nil, payload.VP8{}.NewPacketizer(1), onlyFirst)
		for i, s := range []*source{&audio, &video} {
			if captureTime {
				for j := 0; j < len(s.packets); j += 25 {
					k := &s.packets[j]
					k.Extensions.Reset(rtp.OneByte)
					k.Extensions.Add(id, rtp.AbsCaptureTime{Captured: origin.Add(k.left.Sub(begin))}.Append(nil))
				}
			}
			_ = i
		}
		ac, vc := audioConfig, videoConfig
		ac.AbsCaptureTime, vc.AbsCaptureTime = id, id
		a, v := newPlayer(t, ac), newPlayer(t, vc)
		// Video takes 300 ms longer.
		ap := (&path{rng: seeded(1), delay: 30 * time.Millisecond, jitter: 20 * time.Millisecond}).carry(audio.packets)
		vp := (&path{rng: seeded(2), delay: 330 * time.Millisecond, jitter: 20 * time.Millisecond}).carry(video.packets)
		var sync jitter.Sync
		ai, vi := sync.Join(), sync.Join()
		if !captureTime {
			a.b.HandleReport(origin.Add(time.Second), 111+48000)
			ts := uint32(0xfffffff0)
			v.b.HandleReport(origin.Add(time.Second), ts+90000)
		}
		for now := begin; now < begin.Add(41*time.Second); now = now.Add(100 * time.Millisecond) {
			next := func(k *[]sent) (part []sent) {
				n := slices.IndexFunc(*k, func(s sent) bool { return s.at > now })
				if n < 0 {
					n = len(*k)
				}
				part, *k = (*k)[:n], (*k)[n:]
				return part
			}
			a.playUntil(next(&ap), now)
			v.playUntil(next(&vp), now)
			if o, ok := a.b.Offset(); ok {
				a.b.SetSyncDelay(sync.Update(now, ai, o))
			}
			if o, ok := v.b.Offset(); ok {
				v.b.SetSyncDelay(sync.Update(now, vi, o))
			}
		}
		at := func(p *player, captured time.Duration) (mono.Time, bool) {
			for _, f := range p.got {
				if d := f.Captured - origin.Add(captured); int64(d) >= -1<<22 && int64(d) < 1<<22 { // 1 ms
					return f.at, true
				}
			}
			return 0, false
		}
		early, late := 0, 0
		for s := time.Second; s < 39*time.Second; s += 100 * time.Millisecond {
			x, ok1 := at(a, s)
			y, ok2 := at(v, s)
			if !ok1 || !ok2 {
				t.Fatalf("what was captured after %v did not come out, or is not known to have", s)
			}
			skew := y.Sub(x)
			if s == time.Second && skew < 50*time.Millisecond {
				t.Errorf("in the beginning the skew is %v: audio jumped", skew)
			}
			if s > 5*time.Second && (skew < -30*time.Millisecond || skew > 30*time.Millisecond) {
				t.Fatalf("capture times %v: after %v the skew is %v", captureTime, s, skew)
			}
			if skew > 0 {
				late++
			} else {
				early++
			}
		}
		for i := 1; i < len(a.got); i++ {
			if a.got[i].Lost {
				t.Fatal("audio was lost")
			}
		}
	}
}

// Video at 30 a second in four packets each, over a path with 10 ms of jitter where what is lost comes a round trip later: after 10 s no
// frame is missing, and pictures come evenly, because the delay is what all but few retransmissions take. (-v prints docs/media-reception.md's
// table.)
func TestVideoOverLossyPaths(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.05, 0.1} {
		for _, rtt := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
			s := source{cut: 60} // small packets, so that there is little to do
			s.video(begin, 1800, 200, nil, payload.VP8{}.NewPacketizer(1), onlyFirst)
			p := newPlayer(t, videoConfig)
			p.b.SetRTT(rtt)
			s.packets[0].left = s.packets[0].left.Add(-20 * time.Millisecond) // no request goes back beyond the first that came
			way := path{rng: seeded(3), delay: rtt / 2, jitter: 10 * time.Millisecond, loss: loss, spare: 1, again: rtt + 10*time.Millisecond}
			p.play(way.carry(s.packets))
			if len(p.got) != 1800 {
				t.Errorf("loss %v, round trip %v: %d frames came out", loss, rtt, len(p.got))
			}
			var between []time.Duration
			for i := 301; i < len(p.got); i++ {
				between = append(between, p.got[i].at.Sub(p.got[i-1].at))
			}
			slices.Sort(between)
			longest, most := between[len(between)-1], between[len(between)*99/100]
			held := time.Duration(p.b.Statistics().JitterBufferDelay / 1800 * float64(time.Second)).Round(time.Millisecond)
			t.Logf("| %v | %v | %v | %v | %v |", loss, rtt, held, most.Round(time.Millisecond), longest.Round(time.Millisecond))
			if longest > rtt+80*time.Millisecond || most > 45*time.Millisecond || held > 2*rtt+100*time.Millisecond {
				t.Errorf("loss %v, round trip %v: frames are up to %v apart, 99 of 100 no more than %v, and are held for %v", loss, rtt, longest, most, held)
			}
		}
	}
}
