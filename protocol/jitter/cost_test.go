package jitter_test

import (
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A loop of one stream's packets, again and again, as if it went on for ever.
type endless struct {
	s    source
	b    *jitter.Buffer
	i, n int
	ts   uint32 // of a round
	time time.Duration
	late bool // each second packet comes before the one ahead of it
}

func (e *endless) push() {
	i := e.i
	if e.late {
		i ^= 1
	}
	k := e.s.packets[i]
	round := e.n / len(e.s.packets)
	k.SequenceNumber += uint16(round * len(e.s.packets))
	k.Timestamp += uint32(round) * e.ts
	now := k.at.Add(time.Duration(round) * e.time)
	e.b.Push(now, &k.Packet)
	for _, ok := e.b.Pop(now); ok; _, ok = e.b.Pop(now) {
	}
	e.b.KeyFrameWanted(now)
	e.n++
	if e.i++; e.i == len(e.s.packets) {
		e.i = 0
	}
}

func streams(fail func(error)) map[string]*endless {
	build := func(c jitter.Config, late bool, fill func(*source), ts uint32, d time.Duration) *endless {
		b, err := jitter.New(c)
		if err != nil {
			fail(err)
		}
		b.SetFormat(opusType, payload.Opus{})
		b.SetFormat(vp8Type, payload.VP8{})
		e := &endless{b: b, ts: ts, time: d, late: late}
		fill(&e.s)
		if len(e.s.packets)%2 == 1 { // so that pairs can change places
			e.s.packets = append(e.s.packets, e.s.packets[len(e.s.packets)-1])
		}
		return e
	}
	audio := func(s *source) { s.audio(begin, 100) }
	video := func(s *source) {
		s.video(begin, 60, 5000, nil, payload.VP8{}.NewPacketizer(0), func(i int) bool { return i == 0 })
	}
	return map[string]*endless{
		"audio":           build(audioConfig, false, audio, 96000, 2*time.Second),
		"video":           build(videoConfig, false, video, 180000, 2*time.Second),
		"reordered audio": build(audioConfig, true, audio, 96000, 2*time.Second),
		"reordered video": build(videoConfig, true, video, 180000, 2*time.Second),
	}
}

// In the steady state a packet costs no allocation.
func TestPacketsAllocateNothing(t *testing.T) {
	for name, e := range streams(func(err error) { t.Fatal(err) }) {
		for range 5000 {
			e.push()
		}
		if n := testing.AllocsPerRun(5000, e.push); n != 0 {
			t.Errorf("%s: %v allocations for each packet", name, n)
		}
		if st := e.b.Statistics(); st.FramesGiven < 500 {
			t.Errorf("%s: only %d frames came out: %+v", name, st.FramesGiven, st)
		}
	}
}

func BenchmarkBuffer(b *testing.B) {
	for name, e := range streams(func(err error) { b.Fatal(err) }) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				e.push()
			}
		})
	}
}
