package jitter

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	// Playout changes its delay by making media longer or shorter by this much at most, so that nobody notices: a tenth faster,
	// a fifth slower.
	faster = 10
	slower = 5
	// What is further off than this is put right at once: going there slowly would be worse.
	maxSlew = time.Second
)

// A playout says when what has which timestamp is due.
type playout struct {
	rate   int64 // ticks a second
	origin int64 // timestamp whose media time is 0
	offset time.Duration
	last   time.Duration // media time of the last frame that was played
	estimator
	begun bool // the first frame has gone: from now on the offset moves slowly

	least, most time.Duration // bounds by Config and by the playout-delay extension
	wanted      time.Duration // W3C jitterBufferTarget
	sync        time.Duration // for a stream that comes later
	limit       time.Duration // by Config
}

// media is the time of a timestamp on the sender's media clock.
func (p *playout) media(ts int64) time.Duration {
	d := ts - p.origin
	return time.Duration(d/p.rate)*time.Second + time.Duration(d%p.rate)*time.Second/time.Duration(p.rate)
}

// network is the delay that the path alone asks for.
func (p *playout) network() time.Duration { return min(max(p.jitter(), p.least), p.most) }

// natural is the delay that the stream would have if there were no other.
func (p *playout) natural() time.Duration { return min(max(p.jitter(), p.wanted, p.least), p.most) }

// target is the delay that is aimed at.
func (p *playout) target() time.Duration { return min(p.natural()+p.sync, p.limit) }

// arrived tells of a packet of audio or a frame of video that is here now.
func (p *playout) arrived(now mono.Time, ts int64) {
	if p.observe(now, now.Sub(0)-p.media(ts)) {
		p.begun = false
	}
}

// due is when a frame is to leave that came at a time. Whatever its timestamp says, it is not kept long.
func (p *playout) due(ts int64, arrival mono.Time) mono.Time {
	offset := p.offset
	if !p.begun {
		offset = p.floor() + p.target()
	}
	return mono.Min(mono.Time(offset+p.media(ts)), arrival.Add(p.target()+maxSlew))
}

// played tells that a frame was played. The offset comes nearer to what it should be; after a silence it takes it at once,
// since then nothing is heard of that.
func (p *playout) played(ts int64, silence bool) {
	elapsed := min(max(p.media(ts)-p.last, 0), maxSlew)
	p.last = p.media(ts)
	want := p.floor() + p.target()
	d := want - p.offset
	if !p.begun || silence || d > maxSlew || d < -maxSlew {
		p.offset, p.begun = want, true
		return
	}
	p.offset += min(max(d, -elapsed/faster), elapsed/slower)
}
