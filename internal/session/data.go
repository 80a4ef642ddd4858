package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
)

// DataAt returns when data, of which the session knows nothing else, may be sent: at once if it is not after now. Who asks has some.
// Beside video they are paced, so that neither starves the other.
func (s *Session) DataAt(now mono.Time) mono.Time {
	g := &s.congestion
	if g.Controller == nil {
		return now
	}
	at := g.OtherAt(now)
	if at > now {
		g.dataWait = now
	}
	return at
}

// DataSent tells of data that were sent, in bytes on the wire.
func (s *Session) DataSent(now mono.Time, bytes int) {
	g := &s.congestion
	if g.Controller == nil {
		return
	}
	g.Other(now, bytes)
	g.yielding.bytes += bytes
	if g.dataBytes += bytes; !g.data && g.dataBytes > dataLeast {
		s.allocate(now)
	}
}

// Beside audio alone data would fill the path's queue, and audio would wait in it: congestion control has nothing to say of data, as what it
// gives out is not what they take. So they are slowed down as soon as audio is seen to wait, and drain the queue (the thought of LEDBAT, RFC
// 6817, whose target is 100 ms).
const (
	yieldFrom   = 40 * time.Millisecond // a queue that is longer is drained
	yieldUntil  = 25 * time.Millisecond // one that is shorter lets data grow
	yieldTo     = 0.8                   // of what flowed
	yieldMore   = 1.08                  // at each feedback
	yieldGently = 1.015                 // where the last queue began
	yieldNear   = 0.15                  // of that rate is near it
	yieldAbove  = 1.5                   // times what flows is enough to grow
	yieldLeast  = 100_000               // bits a second
	yieldSpan   = 40 * time.Millisecond // that a rate is taken from
	yieldSettle = 100 * time.Millisecond
	yieldTries  = 3 * time.Second  // after which it is others that fill the queue
	yieldVain   = 10 * time.Second // for so long they are let have it
)

// yielding is the rate that data keep to beside audio.
type yielding struct {
	rate   cc.Rate // 0: any
	full   cc.Rate // what passed when there was a queue last
	bytes  int     // of data since the last look
	looked mono.Time
	slowed mono.Time
	short  mono.Time // when there was last no queue to speak of
	vain   mono.Time // until then there is no sense in it
}

// active reports whether something was sent of late.
func active(now, last mono.Time) bool { return last != 0 && now.Sub(last) < dataActive }

// yield looks at the queue after feedback.
func (s *Session) yield(now mono.Time) {
	g := &s.congestion
	y := &g.yielding
	took := now.Sub(y.looked)
	if took < yieldSpan {
		return
	}
	flows := cc.Rate(float64(y.bytes) * 8 / took.Seconds())
	y.bytes, y.looked = 0, now
	was := y.rate
	switch known := g.Stats(); {
	case active(now, g.videoAt) || !active(now, g.audioAt) || g.dataInput < yieldLeast/2 || now < y.vain:
		y.rate, y.short = 0, now
	case known.Queue > yieldFrom && now.Sub(y.short) > yieldTries:
		y.rate, y.vain = 0, now.Add(yieldVain)
	case known.Queue > yieldFrom:
		if now.Sub(y.slowed) >= known.Trip+yieldSettle {
			if known.Arrives > 0 {
				flows = min(flows, known.Arrives)
			}
			y.rate, y.full, y.slowed = max(cc.Rate(float64(flows)*yieldTo), yieldLeast), flows, now
		}
	case known.Queue < yieldUntil:
		y.short = now
		if y.rate == 0 || y.rate >= cc.Rate(float64(flows)*yieldAbove) {
			break
		}
		more := yieldMore
		if off := float64(y.rate)/float64(y.full) - 1; off > -yieldNear && off < yieldNear {
			more = yieldGently
		}
		y.rate = cc.Rate(float64(y.rate) * more)
	}
	if y.rate != was {
		g.SetOtherRate(now, y.rate)
	}
}
