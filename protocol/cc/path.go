package cc

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	leastWindow = 10 * time.Second // two of these the least delay is remembered for

	leastQueue   = 25 * time.Millisecond // or the time of a packet: less is no queue
	noGrowth     = 5 * time.Millisecond  // from one feedback to the next: chance
	drainFrom    = 30 * time.Millisecond // a queue that is longer is drained
	drainIn      = 300 * time.Millisecond
	drainMost    = 0.6
	obviousQueue = 60 * time.Millisecond // grows it beyond this, no line is asked for

	// For so long others are let have a queue: of this length, or a half more than it has where nothing that we do makes it shorter.
	othersFor   = 10 * time.Second
	othersQueue = 80 * time.Millisecond

	lessSent    = 0.97                   // of what passed: a decrease that was obeyed
	slowedSeen  = 50 * time.Millisecond  // after a decrease: what was sent from then on shows it
	reliefShare = 0.95                   // of what passed: as well as that is known
	reliefSpare = 100 * time.Millisecond // beyond what a queue needs to become empty, until that is seen
)

// path is what is known of the delays of a path, and of its queue. A slope says that a queue grows, this how long it is.
type path struct {
	rtt      time.Duration // between a packet and its feedback, smoothed
	trips    trips         // without the wait for feedback
	leastRTT least
	leastWay least         // there, between two clocks that are set differently
	told     mono.Time     // when the last packet that feedback told of was sent
	queue    time.Duration // by how much the fastest packet of the last feedback was slower than the fastest of late
	grows    bool          // and more than at the feedback before
	busy     busy
	marked   bool          // something came with ECN-CE since the rate was last looked at
	silent   bool          // nothing was heard for long
	drained  bool          // the queue was empty since the last decrease
	slowed   slowdown      // the last
	standing standing      // the queue, if it is long
	others   mono.Time     // until then others are taken to fill the queue
	bearable time.Duration // and one of this length is let have them
}

// standing is a long queue, and what was done to drain it.
type standing struct {
	queue  time.Duration // the longest that it was
	relief time.Duration // by how much less than what passes was sent since then
	last   mono.Time     // when it was looked at
	sent   uint64        // bytes until then
	stands bool
}

// slowdown is what was known when the rate was decreased.
type slowdown struct {
	at      mono.Time
	queue   time.Duration // as packets found it that were sent since then; less than 0: none has come yet
	arrives Rate
	sent    uint64 // bytes until then
}

func (p *path) roundTrip(now mono.Time, d time.Duration) {
	if p.rtt == 0 {
		p.rtt = d
	}
	p.rtt += (d - p.rtt) / 8
	p.leastRTT.add(now, d)
}

// trips are the round trips of the newest packets that the last few feedbacks told of. Where feedback does not tell how long it has waited
// since the packet arrived, the shortest of them is nearest to the truth.
type trips struct {
	last [3]time.Duration
	n    int
}

func (t *trips) add(d time.Duration) {
	t.last[t.n%len(t.last)] = d
	t.n++
}

func (t *trips) shortest() time.Duration {
	d := t.last[0]
	for _, other := range t.last[1:min(max(t.n, 1), len(t.last))] {
		d = min(d, other)
	}
	return d
}

// measure takes the packets that one feedback told of, in the order of arrival. Sent and arrived are counted from anywhere.
func (p *path) measure(now mono.Time, results []result, arrives Rate) {
	first, last := &results[0], &results[len(results)-1]
	b := batch{began: first.arrived, ended: last.arrived, first: first.size}
	fastest := first.arrived - first.sent
	for i := range results {
		r := &results[i]
		b.size += r.size
		fastest = min(fastest, r.arrived-r.sent)
	}
	p.leastWay.add(now, fastest)
	queue := fastest - p.leastWay.value()
	p.grows, p.queue = queue > p.queue+noGrowth, queue
	if p.slowed.queue < 0 && p.told.Sub(p.slowed.at) > slowedSeen {
		p.slowed.queue = queue
	}
	if p.queue > max(leastQueue, min(arrives.Time(packetSize), 10*leastQueue)) {
		p.busy.add(b)
	} else {
		p.busy.n, p.drained = 0, true
	}
}

// usage is what the detector says, seen with the queue, and the rate that arrives.
func (p *path) usage(now mono.Time, u usage, arrives Rate) (usage, Rate) {
	if p.queue > p.patience(now, obviousQueue) && p.grows && p.busy.n > 1 {
		u = overusing // a line takes too long where packets are few
	}
	if u == overusing {
		// An average is best as long as it may be true. If it is not, the path has changed, and a full queue lets through exactly what
		// it bears.
		if r := p.busy.rate(); r > 0 && (r < arrives.times(averageTrue) || r.times(averageTrue) > arrives) {
			arrives = r
		}
		if p.busy.n == 0 || p.queue < p.patience(now, 0) {
			u = underusing
		}
	}
	if p.marked && u != overusing { // RFC 6679 section 7.3.3: as if it had been lost for congestion
		u = marked
	}
	p.marked = false
	return u, arrives
}

// slowsDown notes that the rate is to be decreased, after so many bytes were sent. If the queue has grown since the last time and was not
// empty in between, though less was sent than had passed then, that was in vain: others fill it.
func (p *path) slowsDown(now mono.Time, rate, arrives Rate, sent uint64) {
	last := &p.slowed
	grown := last.queue >= 0 && p.queue > last.queue+max(rate, arrives).Time(packetSize)/2
	obeyed := rateOf(int(sent-last.sent), now.Sub(last.at)) < last.arrives.times(lessSent)
	if !p.drained && grown && obeyed && arrives >= rate.times(farBelow) {
		p.blame(now, othersQueue)
	}
	p.drained, *last = false, slowdown{now, -1, arrives, sent}
}

// blame notes that others fill the queue, which is let have that length.
func (p *path) blame(now mono.Time, bearable time.Duration) {
	if now >= p.others {
		p.bearable = 0
	}
	p.others, p.bearable = now.Add(othersFor), max(p.bearable, bearable)
}

// patience is up to where a queue is borne: usual, where it is not others'.
func (p *path) patience(now mono.Time, usual time.Duration) time.Duration {
	if now < p.others {
		return max(p.bearable, usual)
	}
	return usual
}

// relieve looks whether a long queue answers to what we do. One that does not become shorter though so much less was sent than had passed
// that it should be empty is others', and by delay nothing can be done: losses are what is left to go by.
func (p *path) relieve(now mono.Time, sent uint64) {
	s := &p.standing
	if p.queue < drainFrom || p.slowed.arrives == 0 {
		s.stands = false
		return
	}
	if !s.stands {
		*s = standing{last: now, sent: sent, stands: true}
	}
	took := now.Sub(s.last)
	s.relief = max(0, s.relief+time.Duration(reliefShare*float64(took))-p.slowed.arrives.Time(int(sent-s.sent)))
	s.last, s.sent, s.queue = now, sent, max(s.queue, p.queue)
	if s.relief > s.queue+reliefSpare && p.queue > s.queue/2 {
		p.blame(now, 3*p.queue/2)
		s.stands = false
	}
}

// drain is the share of the rate that is sent so that a long queue drains.
func (p *path) drain(now mono.Time) float64 {
	return 1 - min(max(float64(p.queue-p.patience(now, drainFrom))/float64(drainIn), 0), drainMost)
}

// least is the least of what was seen in the last one or two windows.
type least struct {
	current, previous time.Duration
	began             mono.Time
	started           bool
}

func (l *least) add(now mono.Time, d time.Duration) {
	switch {
	case !l.started:
		*l = least{d, d, now, true}
	case now.Sub(l.began) >= leastWindow:
		*l = least{d, l.current, now, true}
	default:
		l.current = min(l.current, d)
	}
}

func (l *least) value() time.Duration { return min(l.current, l.previous) }

const (
	busyLeast   = 30 * time.Millisecond // that a rate is taken from
	averageTrue = 0.75                  // of the rate of a full queue, or the other way round: the average may be true
)

// busy is what arrived of late without the queue being empty in between: its rate is what the path bears.
type busy struct {
	batches [4]batch // what feedback told, the latest first
	n       int
}

// batch is the packets of one feedback.
type batch struct {
	began, ended time.Duration // arrival of the first and last packet
	size         int
	first        int // of it, the first packet
}

func (b *busy) add(x batch) {
	copy(b.batches[1:], b.batches[:])
	b.batches[0] = x
	b.n = min(b.n+1, len(b.batches))
}

// rate returns 0 if it is not known.
func (b *busy) rate() Rate {
	if b.n == 0 {
		return 0
	}
	size := 0
	for i := range b.n {
		size += b.batches[i].size
	}
	first := &b.batches[b.n-1]
	span := b.batches[0].ended - first.began
	if span < busyLeast {
		return 0
	}
	return rateOf(size-first.first, span)
}
