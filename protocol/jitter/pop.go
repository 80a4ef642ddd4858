package jitter

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// How long what is missing is waited for. A request for it goes out at once and is repeated after a round trip, so this is
// time for two; then a key frame is asked for, and whatever comes first goes on. It is longer where playout is later anyway.
const (
	defaultRTT  = 100 * time.Millisecond
	maxRTT      = 10 * time.Second
	nackSlack   = 60 * time.Millisecond // for pacing and jitter, of both requests together
	minPatience = 100 * time.Millisecond
	maxPatience = 500 * time.Millisecond
	// A key frame is asked for again when it could have come.
	minAskAgain = 200 * time.Millisecond
	maxAskAgain = time.Second
)

// Of audio a gap is concealed that is not longer than a second's packets; a silence in the timestamps is one from 10 ms on.
const (
	maxConcealed = 50
	minSilence   = 100 // parts of a second
)

func (b *Buffer) patience() time.Duration {
	nack := min(max(b.rtt*5/2+nackSlack, minPatience), maxPatience)
	return max(nack, b.playout.target()-b.rtt-nackSlack)
}

func (b *Buffer) askAgain() time.Duration {
	return min(max(b.rtt*3/2+nackSlack, minAskAgain), maxAskAgain)
}

// settle makes the head of the queue one that can be given out, or one behind a gap: it drops what can never be decoded.
func (b *Buffer) settle() {
	for b.frames.len() > 0 {
		f := b.frames.at(0)
		if f.first > b.packets.next && b.packets.hole >= f.first {
			// The beginning of these is not known, because it is lost, and nothing more comes between them and f.
			b.references.left(b.packets.at(b.packets.next).part.Temporal)
			b.packets.drop(f.first)
			b.out, b.lastOK = true, false
			continue
		}
		if f.first != b.packets.next {
			return
		}
		if !f.filler {
			if b.references.can(f, false) {
				return
			}
			b.references.left(f.part.Temporal)
			b.drop(f)
		}
		b.consume(f)
		b.frames.pop(1)
	}
}

// consume forgets the packets of a frame and all before.
func (b *Buffer) consume(f *frame) {
	b.packets.drop(f.last + 1)
	b.out = true
	if !f.filler {
		b.last, b.lastOK = f.ts, true
	}
}

// plan decides what is next, and when.
func (b *Buffer) plan() {
	b.ready, b.lost, b.wake, b.ask = -1, 0, mono.Never, mono.Never
	for i := range b.frames.len() {
		f := b.frames.at(i)
		if f.filler || !b.references.can(f, i > 0 || f.first != b.packets.next) {
			continue
		}
		b.ready, b.wake = i, b.playout.due(f.ts, f.arrival)
		if i == 0 && b.config.Audio {
			b.planLost(f)
		}
		return
	}
	if b.config.Audio {
		return
	}
	switch {
	case b.references.starved:
		b.ask = b.now
	case b.packets.missing():
		b.ask = b.packets.since.Add(b.patience())
	default:
		return
	}
	if b.everAsked {
		b.ask = max(b.ask, b.asked.Add(b.askAgain()))
	}
}

// planLost decides whether a gap before a frame of audio is to be reported: each lost packet when it would have been due.
func (b *Buffer) planLost(f *frame) {
	n, silence := f.first-b.packets.next, f.ts-b.end
	if n == 0 || n > maxConcealed || !b.out || b.duration == 0 || f.kind.format == nil || silence < n {
		return
	}
	b.lost = uint32(min(int64(b.duration), silence/n))
	// If they do not fill the gap there was silence too, and most likely before them: it ended with a packet that is yet to come.
	b.end = f.ts - n*int64(b.lost)
	b.wake = b.playout.due(b.end, f.arrival)
}

// NextTimeout returns when Pop or KeyFrameWanted has something if no packet comes before.
func (b *Buffer) NextTimeout() mono.Time { return mono.Min(b.wake, b.ask) }

// KeyFrameWanted reports whether the sender is to be asked for a key frame now, and takes it that this is done: it is true
// again when the answer should have come.
func (b *Buffer) KeyFrameWanted(now mono.Time) bool {
	if now < b.ask {
		return false
	}
	b.asked, b.everAsked = now, true
	b.plan()
	return true
}

// Pop returns the next frame if it is due. What it returns is borrowed until the next call of any method.
func (b *Buffer) Pop(now mono.Time) (f Frame, ok bool) {
	for !ok {
		if now < b.wake {
			return Frame{}, false
		}
		if b.lost > 0 {
			f, ok = b.popLost(), true
		} else {
			f, ok = b.pop(now)
		}
		b.settle()
		b.plan()
	}
	return f, true
}

// popLost reports one packet of audio as lost.
func (b *Buffer) popLost() Frame {
	next := b.frames.at(0)
	f := Frame{
		Lost: true, Missing: 1, PayloadType: b.lastType, Timestamp: uint32(b.end), Duration: b.lost,
		Captured: b.reference.ntpAt(uint32(b.end), b.playout.rate),
	}
	if next.first == b.packets.next+1 {
		f.Next = b.packets.at(next.first).payload
	}
	b.statistics.PacketsLost += uint64(b.packets.drop(b.packets.next + 1))
	b.statistics.ConcealedSamples += uint64(b.lost)
	if !b.concealing {
		b.statistics.ConcealmentEvents++
	}
	b.concealing = true
	b.end += int64(b.lost)
	return f
}

// pop gives out the frame that is ready. It is false if its payloads do not fit together.
func (b *Buffer) pop(now mono.Time) (out Frame, ok bool) {
	for i := range b.ready {
		b.drop(b.frames.at(i))
	}
	gap := b.ready > 0 || b.frames.at(b.ready).first != b.packets.next
	f := *b.frames.at(b.ready)
	b.frames.pop(b.ready + 1)
	held := b.packets.held
	lost := b.packets.drop(f.first)
	b.statistics.PacketsLost += uint64(lost)
	b.statistics.PacketsDiscarded += uint64(held - b.packets.held)

	b.payloads = b.payloads[:0]
	for n := f.first; n <= f.last; n++ {
		b.payloads = append(b.payloads, b.packets.at(n).payload)
	}
	last := b.packets.at(f.last)
	out = Frame{
		Timestamp: uint32(f.ts), Duration: f.part.Duration, KeyFrame: f.key, Missing: lost, Arrival: f.arrival,
		Captured: b.reference.ntpAt(uint32(f.ts), b.playout.rate),
	}
	out.PayloadType, out.Extensions = last.header()
	b.lastType = out.PayloadType
	if f.kind.format == nil {
		out.Data = b.payloads[0]
	} else {
		data, err := f.kind.format.AppendFrame(b.data[:0], b.payloads)
		b.data = data[:0]
		if err != nil {
			b.drop(&f)
			b.statistics.PacketsMalformed += uint64(len(b.payloads))
			b.references.left(f.part.Temporal)
			b.consume(&f)
			return Frame{}, false
		}
		out.Data = data
	}
	b.references.took(&f, gap)
	b.played(now, &f, lost > 0)
	b.consume(&f)
	return out, true
}

// played counts a frame that is given out, and moves the playout clock.
func (b *Buffer) played(now mono.Time, f *frame, gap bool) {
	s, p := &b.statistics, &b.playout
	s.FramesGiven++
	count := uint64(1)
	if b.config.Audio {
		count = uint64(f.part.Duration)
	}
	s.JitterBufferEmittedCount += count
	s.JitterBufferDelay += max(now.Sub(f.arrival), 0).Seconds() * float64(count)
	s.JitterBufferTargetDelay += p.target().Seconds() * float64(count)
	s.JitterBufferMinimumDelay += p.network().Seconds() * float64(count)
	b.concealing = false
	if !b.config.Audio {
		if f.key {
			s.KeyFrames++
		}
		b.rhythm.frame(now.Sub(0), s)
	} else if f.kind.format == nil { // an event, whose timestamp says when it began
		return
	}
	silence := b.config.Audio && !gap && b.duration > 0 && f.ts-b.end >= p.rate/minSilence
	p.played(f.ts, silence)
	b.end, b.duration = f.ts+int64(f.part.Duration), f.part.Duration
}
