package jitter_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// What is not lost comes out as it was sent, in order; what is lost is reported in its place, and time is whole: each frame
// begins where the one before ends.
func TestAudioIsWholeAcrossLossReorderAndDuplicates(t *testing.T) {
	forSeeds(t, 20, func(t *testing.T, rng *rand.Rand) {
		s := source{sequence: 65500, timestamp: 0xffff0000}
		s.audio(begin, 1500)
		p := newPlayer(t, audioConfig)
		p.b.SetTarget(100 * time.Millisecond)
		packets := (&path{rng: rng, delay: 50 * time.Millisecond, jitter: 60 * time.Millisecond, loss: 0.1, twice: 0.05}).carry(s.packets)
		present := map[int]bool{}
		for _, k := range packets {
			present[k.frame] = true
		}
		p.play(packets)
		end := p.got[0].Timestamp
		lost := 0
		for i, f := range p.got {
			if f.Timestamp != end {
				t.Fatalf("frame %d begins at %d, the one before ends at %d", i, f.Timestamp, end)
			}
			end += f.Duration
			n := int(f.Timestamp-0xffff0000) / 960
			if f.Lost {
				lost++
				if present[n] {
					t.Fatalf("frame %d was reported as lost, but came", n)
				}
				if present[n+1] != (f.Next != nil) || f.Next != nil && !slices.Equal(f.Next, s.frames[n+1]) {
					t.Fatalf("after the lost frame %d the next one's payload is %x", n, f.Next)
				}
				continue
			}
			if !slices.Equal(f.Data, s.frames[n]) {
				t.Fatalf("frame %d is %x", n, f.Data)
			}
		}
		if n := len(p.got) - lost; n != len(present) {
			t.Errorf("%d frames came out, %d were not lost", n, len(present))
		}
		st := p.b.Statistics()
		if st.ConcealedSamples != uint64(960*lost) || st.PacketsLost != uint64(lost) ||
			st.PacketsDuplicate+st.PacketsDiscarded != uint64(len(packets)-len(present)) {
			t.Errorf("%d lost: %+v", lost, st)
		}
	})
}

// "The marker bit [...] first packet after a silence period" (RFC 3551 section 4.1): with DTX nothing is sent during silence, so
// the timestamp steps while sequence numbers do not. That is no loss, and delay changes there at once.
func TestSilenceIsNoLoss(t *testing.T) {
	var s source
	now := begin
	for range 40 {
		s.audio(now, 10)
		s.timestamp += 400 * 48
		now = now.Add(600 * time.Millisecond)
	}
	p := newPlayer(t, audioConfig)
	p.play((&path{rng: seeded(1), delay: 30 * time.Millisecond, jitter: 30 * time.Millisecond}).carry(s.packets))
	if len(p.got) != len(s.packets) {
		t.Fatalf("%d frames came out of %d", len(p.got), len(s.packets))
	}
	for _, f := range p.got {
		if f.Lost {
			t.Fatalf("silence at %d was reported as lost", f.Timestamp)
		}
	}
}

// Delay follows jitter: it rises so that hardly any frame comes too late, and falls when the path is calm again. Frames come out
// evenly: no faster than by a tenth, no slower than by a fifth.
func TestDelayOfAudioFollowsJitter(t *testing.T) {
	forSeeds(t, 5, func(t *testing.T, rng *rand.Rand) {
		var s source
		s.audio(begin, 9000)
		calm := path{rng: rng, delay: 40 * time.Millisecond, jitter: 10 * time.Millisecond}
		rough := path{rng: rng, delay: 40 * time.Millisecond, jitter: 120 * time.Millisecond}
		packets := calm.carry(s.packets[:1500])
		packets = append(packets, rough.carry(s.packets[1500:4500])...)
		packets = append(packets, calm.carry(s.packets[4500:])...)
		slices.SortStableFunc(packets, func(a, b sent) int { return int(a.at - b.at) })
		p := newPlayer(t, audioConfig)
		p.play(packets)

		delay := func(from, to int) (least, most time.Duration, lost int) {
			least = time.Hour
			for _, f := range p.got {
				n := int(f.Timestamp) / 960
				if n < from || n >= to {
					continue
				}
				if f.Lost {
					lost++
					continue
				}
				d := f.at.Sub(s.packets[n].left) - 40*time.Millisecond
				least, most = min(least, d), max(most, d)
			}
			return least, most, lost
		}
		if _, most, lost := delay(500, 1500); most > 40*time.Millisecond || lost > 0 {
			t.Errorf("calm: %v, %d lost", most, lost)
		}
		if least, most, lost := delay(2500, 4500); least < 90*time.Millisecond || most > 150*time.Millisecond || lost > 10 {
			t.Errorf("rough: %v to %v, %d lost", least, most, lost)
		}
		if _, most, lost := delay(8000, 9000); most > 40*time.Millisecond || lost > 0 {
			t.Errorf("calm again: %v, %d lost", most, lost)
		}
		for i := 2501; i < len(p.got); i++ {
			a, b := p.got[i-1], p.got[i]
			if a.Lost || b.Lost || b.at == b.Arrival || a.at == a.Arrival {
				continue
			}
			if d := b.at.Sub(a.at); d < 18*time.Millisecond || d > 24*time.Millisecond {
				t.Fatalf("frames %d apart follow after %v", b.Timestamp-a.Timestamp, d)
			}
		}
	})
}

// "This attribute [...] represents a target in milliseconds of time for the jitter buffer to hold media" (W3C webrtc,
// jitterBufferTarget).
func TestTargetOfTheApplication(t *testing.T) {
	for _, target := range []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		var s source
		s.audio(begin, 3000)
		p := newPlayer(t, audioConfig)
		p.b.SetTarget(target)
		p.play((&path{rng: seeded(1), delay: 30 * time.Millisecond, jitter: 20 * time.Millisecond}).carry(s.packets))
		st := p.b.Statistics()
		n := float64(st.JitterBufferEmittedCount)
		if held := st.JitterBufferDelay / n; held < target.Seconds()-0.025 || held > target.Seconds()+0.005 {
			t.Errorf("target %v: held for %v s", target, held)
		}
		if got := st.JitterBufferTargetDelay / n; got < target.Seconds()*0.999 || got > target.Seconds()*1.001 {
			t.Errorf("target %v: target delay %v s", target, got)
		}
		if least := st.JitterBufferMinimumDelay / n; least > 0.045 {
			t.Errorf("target %v: minimum delay %v s", target, least)
		}
		if n != 3000*960 {
			t.Errorf("%v samples came out", n)
		}
	}
}

// "the redundant data [...] can be used to recover lost packets" (RFC 2198 section 1): with two levels only the loss of three in a row is
// one, also where silence lies between.
func TestRedundantAudioFillsGaps(t *testing.T) {
	const redType rtp.PayloadType = 63
	forSeeds(t, 20, func(t *testing.T, rng *rand.Rand) {
		var s source
		s.sequence, s.timestamp = 65000, 0xfffff000
		now := begin
		for range 30 {
			s.audio(now, 50)
			s.timestamp += 400 * 48
			now = now.Add(1400 * time.Millisecond)
		}
		red := payload.NewREDEncoder(2)
		for i := range s.packets {
			k := &s.packets[i]
			k.Payload = red.Append(nil, opusType, k.Timestamp, k.Payload, 1000)
			k.PayloadType = redType
		}
		p := newPlayer(t, audioConfig)
		p.b.SetRED(redType)
		p.b.SetTarget(120 * time.Millisecond)
		packets := (&path{rng: rng, delay: 30 * time.Millisecond, jitter: 30 * time.Millisecond, loss: 0.2}).carry(s.packets)
		came := map[int]bool{}
		for _, k := range packets {
			came[k.frame] = true
		}
		p.play(packets)
		got := map[int]bool{}
		for _, f := range p.got {
			if f.Lost {
				continue
			}
			i := int(binary.BigEndian.Uint32(f.Data[1:]))
			if got[i] || f.PayloadType != opusType || f.Timestamp != s.packets[i].Timestamp || !slices.Equal(f.Data, s.frames[i]) {
				t.Fatalf("frame %d: %+v", i, f.Frame)
			}
			got[i] = true
		}
		first := slices.IndexFunc(s.packets, func(k sent) bool { return came[k.frame] })
		lost, filled := 0, 0
		for i := first; i < len(s.packets); i++ {
			want := came[i]
			for _, later := range []int{i + 1, i + 2} {
				// After a silence the one before it is too old: by then it was due long ago.
				if later < len(s.packets) && later/50 == i/50 {
					want = want || came[later]
				}
			}
			if want != got[i] && came[i] {
				t.Errorf("frame %d came and did not come out", i)
			}
			if want && !got[i] {
				lost++
			}
			if got[i] && !came[i] {
				filled++
			}
		}
		if lost > 0 || filled < 200 {
			t.Errorf("%d frames were filled in, %d were not although they came", filled, lost)
		}
		if st := p.b.Statistics(); st.PacketsRedundant < uint64(filled) {
			t.Errorf("%d filled, %+v", filled, st)
		}
	})
}

// Events (RFC 4733) have the timestamp of their beginning, in each packet: they pass in order and move no clock.
func TestEventsPassThrough(t *testing.T) {
	var s source
	s.audio(begin, 50)
	began := s.timestamp
	now := begin.Add(time.Second)
	for i := range 8 {
		at := now.Add(time.Duration(i) * 20 * time.Millisecond)
		s.packets = append(s.packets, sent{
			Packet: rtp.Packet{PayloadType: eventType, SequenceNumber: s.sequence, Timestamp: began, Payload: []byte{5, 10, 0, byte(i)}},
			left:   at, at: at,
		})
		s.sequence++
	}
	s.timestamp += 8 * 960
	s.audio(now.Add(160*time.Millisecond), 50)
	p := newPlayer(t, audioConfig)
	p.play(s.packets)
	if len(p.got) != 108 {
		t.Fatalf("%d frames came out", len(p.got))
	}
	for i := range 8 {
		if f := p.got[50+i]; f.PayloadType != eventType || f.Data[3] != byte(i) || f.Timestamp != began {
			t.Errorf("event packet %d: %+v", i, f)
		}
	}
	for i, f := range p.got {
		if f.Lost {
			t.Errorf("frame %d is reported as lost", i)
		}
	}
}

// What has a payload type that nobody set is left out, and is no loss.
func TestUnknownPayloadTypesAreNoLoss(t *testing.T) {
	var s source
	s.audio(begin, 300)
	want := 0
	for i := range s.packets {
		if i%7 == 3 {
			s.packets[i].PayloadType = 13
			s.packets[i].Timestamp = 12345 // of another clock
		} else {
			want++
		}
	}
	p := newPlayer(t, audioConfig)
	p.play(s.packets)
	for i, f := range p.got {
		if f.Lost || f.PayloadType != opusType || f.Missing > 0 {
			t.Fatalf("frame %d: %+v", i, f.Frame)
		}
	}
	if st := p.b.Statistics(); len(p.got) != want || st.PacketsUnknown != uint64(300-want) || st.PacketsLost != 0 {
		t.Errorf("%d of %d came out: %+v", len(p.got), want, st)
	}
}

// A gap of more than a second is not concealed packet by packet, and its end is not waited for.
func TestALongGapIsOver(t *testing.T) {
	var s source
	s.audio(begin, 1000)
	p := newPlayer(t, audioConfig)
	p.play(append(s.packets[:300:300], s.packets[600:]...))
	if len(p.got) != 700 || p.got[300].Missing != 300 {
		t.Errorf("%d frames came out, %d missing before the second half", len(p.got), p.got[300].Missing)
	}
	if f := p.got[len(p.got)-1]; f.at.Sub(s.packets[999].at) > 50*time.Millisecond {
		t.Errorf("the last frame is late by %v", f.at.Sub(s.packets[999].at))
	}
}

// A sender that starts anew, with other numbers, is followed: the stream was decoded before, and is again.
func TestARestartedSenderIsFollowed(t *testing.T) {
	for _, step := range []int{40000, -5000, -20000} {
		var s source
		s.sequence = 30000
		s.audio(begin, 200)
		s.sequence = uint16(int(s.sequence) + step)
		s.timestamp += 123456789
		s.audio(begin.Add(4*time.Second), 200)
		p := newPlayer(t, audioConfig)
		p.play(s.packets)
		seen := map[uint32]bool{}
		for _, f := range p.got {
			if !f.Lost {
				seen[binary.BigEndian.Uint32(f.Data[1:])] = true
			}
		}
		if len(seen) < 398 {
			t.Errorf("step of %d: %d of 400 frames came out: %+v", step, len(seen), p.b.Statistics())
		}
		if f := p.got[len(p.got)-1]; f.at.Sub(s.packets[399].at) > 100*time.Millisecond {
			t.Errorf("step of %d: the last frame is late by %v", step, f.at.Sub(s.packets[399].at))
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, c := range map[error]jitter.Config{
		jitter.ErrClockRate: {},
		jitter.ErrPackets:   {ClockRate: 90000, Packets: 1 << 15},
		jitter.ErrDelay:     {ClockRate: 90000, MinDelay: 2, MaxDelay: 1},
	} {
		if _, err := jitter.New(c); err != want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
