package jitter

import (
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A Frame is what a decoder takes at once: of audio what one packet held, of video one picture with all its spatial layers.
type Frame struct {
	// Data is borrowed until the next call, as Next and Extensions are. It is as payload.Format.AppendFrame makes it.
	Data []byte
	// Lost says that there is no Data, because this frame of audio never came: for Duration a decoder has to conceal it. Next is
	// then the payload of the packet that follows, if just one is missing: Opus may carry the lost one in it (RFC 7587 section 3.3).
	Lost bool
	Next []byte

	PayloadType rtp.PayloadType
	Timestamp   uint32
	Duration    uint32 // of audio, in ticks of the clock; 0: not known
	KeyFrame    bool
	Missing     int     // packets that were given up right before it, or instead of it
	Captured    rtp.NTP // by the sender's time of day; 0: not known
	Arrival     mono.Time
	Extensions  rtp.Extensions // of its last packet
}

// A frame is one all of whose packets are here.
type frame struct {
	first, last int64
	ts          int64
	arrival     mono.Time // of its first packet
	key, filler bool
	kind        format
	part        payload.Part // of its first payload
	layers      int          // how many dependency descriptors it has, one for each spatial layer
	needs       [layerFrames]dependency
}

// A queue holds frames in order of their numbers. It moves what it holds only when its memory is used up.
type queue struct {
	all  []frame
	head int
}

func (q *queue) len() int        { return len(q.all) - q.head }
func (q *queue) at(i int) *frame { return &q.all[q.head+i] }
func (q *queue) pop(n int) {
	if q.head += n; q.head == len(q.all) {
		q.all, q.head = q.all[:0], 0
	}
}

func (q *queue) insert(f frame) {
	if len(q.all) == cap(q.all) && q.head > 0 {
		q.all = q.all[:copy(q.all, q.all[q.head:])]
		q.head = 0
	}
	q.all = append(q.all, f)
	for i := len(q.all) - 1; i > q.head && q.all[i-1].first > f.first; i-- {
		q.all[i], q.all[i-1] = q.all[i-1], f
	}
}

// assemble looks for frames that are complete by a packet that was just put.
func (b *Buffer) assemble(now mono.Time, n int64) {
	b.finish(now, n-1) // this packet may show that the one before was its frame's last
	for i := n; b.link(i); i++ {
		b.finish(now, i)
	}
}

// link finds whether all of a packet's frame up to it is here. It returns true if that is news.
func (b *Buffer) link(n int64) bool {
	s := b.packets.at(n)
	if s == nil || s.linked {
		return false
	}
	before := b.packets.at(n - 1)
	switch {
	case before != nil && before.linked && before.ts == s.ts && !before.marker && !before.filler && !s.filler:
		// Also where Start is set: of H.264 and H.265 a delimiter may have been in a packet of its own.
		s.start = before.start
	case s.filler, s.part.Start && s.part.Spatial == 0,
		before != nil && (before.ts != s.ts || before.marker || before.filler),
		// A frame was the last, and so this one begins one, unless it is a straggler of what was given up.
		before == nil && n == b.packets.next && b.lastOK && b.last != s.ts:
		s.start = n
	default:
		return false
	}
	s.linked = true
	return true
}

// finish looks whether a packet is the last of a frame that is all here.
func (b *Buffer) finish(now mono.Time, n int64) {
	s := b.packets.at(n)
	if s == nil || !s.linked || s.done || s.start < b.packets.next {
		return
	}
	if after := b.packets.at(n + 1); s.marker || s.filler || after != nil && (after.ts != s.ts || after.filler) {
		s.done = true
		b.complete(now, s.start, n)
	}
}

// complete takes note of a frame that is all here.
func (b *Buffer) complete(now mono.Time, first, last int64) {
	s := b.packets.at(first)
	f := frame{first: first, last: last, ts: s.ts, arrival: s.arrival, kind: s.kind, part: s.part, filler: s.filler, key: b.config.Audio}
	newest := s.arrival
	for n := first; n <= last; n++ {
		s := b.packets.at(n)
		f.key = f.key || s.part.KeyFrame
		f.arrival, newest = min(f.arrival, s.arrival), max(newest, s.arrival)
		if s.needs.known && f.layers < layerFrames {
			f.needs[f.layers] = s.needs
			f.layers++
		}
	}
	b.frames.insert(f)
	if f.filler {
		return
	}
	b.statistics.FramesReceived++
	if last > first {
		b.statistics.FramesAssembledFromMultiplePackets++
		b.statistics.TotalAssemblyTime += newest.Sub(f.arrival).Seconds()
	}
	if !b.config.Audio {
		b.playout.arrived(now, f.ts)
	}
}

// needs reads the dependency descriptor of a packet that begins a frame.
func (b *Buffer) needs(s *slot, p *rtp.Packet) {
	if b.config.Dependency == 0 {
		return
	}
	v, ok := p.Extensions.Get(b.config.Dependency)
	if !ok {
		return
	}
	d, ok := rtp.ParseDependencyDescriptor(v, b.dependency)
	if !ok {
		return
	}
	if d.Structure != nil {
		b.dependency = d.Structure
	}
	if !d.StartOfFrame {
		return
	}
	s.needs = dependency{known: true, number: d.FrameNumber, count: d.Frame.DiffCount, diffs: d.Frame.Diffs}
	s.part.Spatial, s.part.Temporal = d.Frame.Spatial, d.Frame.Temporal
	s.part.Start = true
}
