package session

import (
	"sort"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Bounds of what is asked for again. A round trip is at least minRoundTrip here, so that a path of none is not flooded.
const (
	maxLosses    = 1024 // packets of a stream: of more, a picture that can be decoded alone is cheaper
	maxAsked     = 10   // times for one packet
	maxLossAge   = 2 * time.Second
	minRoundTrip = 20 * time.Millisecond
	maxReorder   = 30 * time.Millisecond
	maxTook      = 600 * time.Millisecond // a queue that is longer is none to wait for
)

// On a long way that loses much, requests and answers are lost too, and another try costs another round trip. So there a request is said
// twice, and answered twice, unless a queue makes the way long.
const (
	farAway   = 40 * time.Millisecond
	lossy     = 0.01
	echoAfter = 15 * time.Millisecond // so that one burst does not take both
	echoQueue = 30 * time.Millisecond
)

func farAndLossy(rtt time.Duration, loss float64) bool { return rtt >= farAway && loss >= lossy }

// losses are the packets of a stream that are missing, in their order.
type losses struct {
	list []loss
	late time.Duration // how long packets overtake each other here
	took time.Duration // from a request until its packet is here: reports know later that a queue has made the way long
}

// A loss is one packet that has not come.
type loss struct {
	number int64
	since  mono.Time
	next   mono.Time // when to ask
	first  mono.Time // when it was asked for first
	echo   mono.Time // when the last request is to be said again; 0: it is not
	asked  uint8
}

func (l *losses) index(n int64) (int, bool) {
	i := sort.Search(len(l.list), func(i int) bool { return l.list[i].number >= n })
	return i, i < len(l.list) && l.list[i].number == n
}

// has reports whether a packet was asked for.
func (l *losses) has(n int64) bool {
	i, ok := l.index(n)
	return ok && l.list[i].asked > 0
}

// found takes a packet off. One that comes by itself, though late, says how long packets overtake each other here: so long
// the next ones are waited for before they are asked for.
func (l *losses) found(now mono.Time, n int64, repaired bool) {
	i, ok := l.index(n)
	if !ok {
		return
	}
	if m := &l.list[i]; repaired && m.asked > 0 { // most likely by the first request
		// One whose first answer was lost as well took longer than the way is: only if all do, it is the way.
		if took := min(now.Sub(m.first), maxTook); took < l.took {
			l.took = took
		} else {
			l.took += (took - l.took) / 4
		}
	}
	if !repaired {
		l.late = max(l.late-l.late/8, min(now.Sub(l.list[i].since), maxReorder))
	}
	l.list = l.list[:i+copy(l.list[i:], l.list[i+1:])]
}

// noteLosses takes notice of a packet, the highest before it being another.
func (s *Session) noteLosses(now mono.Time, x *Stream, before, n int64) {
	l := &x.losses
	if n <= before {
		l.found(now, n, false)
		return
	}
	if n == before+1 {
		return
	}
	if n-before-1 > maxLosses {
		before = n - 1 - maxLosses
	}
	if over := len(l.list) + int(n-before-1) - maxLosses; over > 0 {
		l.list = l.list[:copy(l.list, l.list[min(over, len(l.list)):])]
		s.askForKeyFrame(now, x)
	}
	next := now.Add(l.late + l.late/4)
	for m := before + 1; m < n; m++ {
		l.list = append(l.list, loss{number: m, since: now, next: next})
	}
	s.dueFeedback(next)
}

// dueLosses writes down the numbers that are to be asked for now, in their order, and forgets those for which it is too late.
// next is when to look again.
func (s *Session) dueLosses(now mono.Time, x *Stream, dst []uint16) (_ []uint16, next mono.Time) {
	l := &x.losses
	next = mono.Never
	wait := max(s.RTT(), l.took, minRoundTrip)
	echoes := farAndLossy(s.RTT(), x.report.loss) && l.took < 2*s.RTT()
	kept := l.list[:0]
	lost := false
	for _, m := range l.list {
		if m.next <= now && (m.asked >= maxAsked || now.Sub(m.since) > maxLossAge) {
			lost = true
			continue
		}
		if m.next <= now && len(dst) < cap(dst) {
			dst = append(dst, uint16(m.number))
			if m.asked++; m.asked == 1 {
				m.first = now
			}
			// A little longer than the way there and back, and longer each time: what is lost twice is lost to a full queue.
			m.next, m.echo = now.Add(wait+wait/4*time.Duration(min(m.asked, 4))), 0
			if echoes {
				m.echo = now.Add(echoAfter)
			}
		} else if m.echo != 0 && m.echo <= now && len(dst) < cap(dst) {
			dst, m.echo = append(dst, uint16(m.number)), 0
		}
		next = mono.Min(next, m.next)
		if m.echo != 0 {
			next = mono.Min(next, m.echo)
		}
		kept = append(kept, m)
	}
	l.list = kept
	if lost {
		s.askForKeyFrame(now, x)
	}
	return dst, next
}

// maxTails is how often the last packet of an encoding is sent once more, and tailAfter how long the encoding must have been silent
// for that at first: if that packet was lost, nothing behind it shows the peer that it was.
const maxTails = 3

func (s *Session) tailAfter() time.Duration { return max(2*s.RTT(), 100*time.Millisecond) }

// tailTimeout sends last packets once more.
func (s *Session) tailTimeout(now mono.Time) {
	s.tailAt = mono.Never
	after := s.tailAfter()
	for _, e := range s.slots {
		if e == nil || e.tails == maxTails || e.media.packets == 0 || e.rtx.ssrc == 0 || e.history.unsent < e.history.next || !e.sends() {
			continue
		}
		number := e.history.unsent - 1
		if number < e.history.first || e.flow.reported && uint16(e.flow.lastHighest) == uint16(number) {
			continue // nobody would ask, or the peer has it
		}
		if at := e.history.item(number).sent.Add(after << e.tails); at > now {
			s.tailAt = mono.Min(s.tailAt, at)
			continue
		}
		if e.tails++; e.tails < maxTails {
			s.tailAt = mono.Min(s.tailAt, now.Add(after<<e.tails))
		}
		s.repeat(now, e, number)
	}
}
