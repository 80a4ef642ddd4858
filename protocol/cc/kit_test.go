package cc

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// world is virtual time: what happens next, happens.
type world struct {
	now    mono.Time
	events events
	seq    int
	rng    *rand.Rand
}

type event struct {
	at  mono.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

const began = mono.Time(time.Hour)

func newWorld(seed uint64) *world {
	return &world{now: began, rng: rand.New(rand.NewPCG(seed, 7))}
}

func (w *world) at(at mono.Time, do func()) {
	w.seq++
	heap.Push(&w.events, event{max(at, w.now), w.seq, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now.Add(d), do) }

func (w *world) elapsed() time.Duration { return w.now.Sub(began) }

func (w *world) run(d time.Duration) {
	end := began.Add(d)
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = end
}

// link is a bottleneck with a queue that drops at its tail, and what comes behind it.
type link struct {
	*world
	rate   Rate
	queue  int // bytes
	delay  time.Duration
	loss   float64
	jitter time.Duration // up to this is added to a packet's delay, in order
	mark   time.Duration // packets that would wait longer are marked ECN-CE; 0: none
	swap   bool          // jitter may change the order

	waiting []parcel
	queued  int
	busy    bool
	last    mono.Time
}

type parcel struct {
	size    int
	deliver func(marked bool)
	marked  bool
}

func (l *link) send(size int, deliver func(marked bool)) {
	if l.rng.Float64() < l.loss || l.queued+size > l.queue {
		return
	}
	l.queued += size
	l.waiting = append(l.waiting, parcel{size, deliver, l.mark > 0 && l.rate.Time(l.queued) > l.mark})
	if !l.busy {
		l.serve()
	}
}

func (l *link) serve() {
	if l.busy = len(l.waiting) > 0; !l.busy {
		return
	}
	p := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.after(l.rate.Time(p.size), func() {
		l.queued -= p.size
		at := l.now.Add(l.delay)
		if l.jitter > 0 {
			at = at.Add(time.Duration(l.rng.Int64N(int64(l.jitter))))
			if !l.swap {
				at = max(at, l.last)
				l.last = at
			}
		}
		l.at(at, func() { p.deliver(p.marked) })
		l.serve()
	})
}

func (l *link) queueing() time.Duration { return l.rate.Time(l.queued) }

// flow is a Controller that sends video over a link, and its receiver.
type flow struct {
	*world
	l       *link
	c       *Controller
	rec     TransportRecorder
	streams *StreamRecorder // instead
	back    time.Duration   // of feedback
	most    Rate            // what the source has at most; 0: as the target says
	silent  bool            // feedback is lost
	noise   float64
	seq     uint16
	timer   mono.Time

	trace      func()
	gotBySec   []int
	sentBySec  []int
	worstQueue time.Duration
}

const fps = 30

func newFlow(w *world, l *link, cfg Config) *flow {
	f := &flow{world: w, l: l, c: New(w.now, cfg), back: l.delay, noise: 0.2, timer: mono.Never}
	return f
}

func (f *flow) start() { f.frame() }

func (f *flow) frame() {
	rate := f.c.Target()
	if f.most > 0 {
		rate = min(rate, f.most)
	}
	size := float64(rate.Bytes(time.Second / fps))
	size *= 1 + f.noise*max(-2, min(2, f.rng.NormFloat64()))
	for n := int(math.Ceil(size / 1200)); n > 0; n-- {
		f.c.Push(f.now, Video, 0, int(size/math.Ceil(size/1200)))
	}
	f.drain()
	f.after(time.Second/fps, f.frame)
}

func (f *flow) drain() {
	for {
		r, ok := f.c.Pop(f.now)
		if !ok {
			break
		}
		if r.Kind != Padding {
			f.worstQueue = max(f.worstQueue, f.c.pacer.age(f.now))
			f.send(r.Size, r)
			continue
		}
		for left := r.Size; left > 0; left -= 1200 {
			f.send(min(max(left, 100), 1200), r)
		}
	}
	if at := f.c.NextTimeout(); at < f.timer || f.timer <= f.now {
		f.timer = at
		if at != mono.Never {
			f.at(at, func() {
				if f.timer != at {
					return
				}
				f.timer = mono.Never
				f.c.HandleTimeout(f.now)
				f.drain()
			})
		}
	}
}

const media = rtp.SSRC(5)

func (f *flow) send(size int, r Release) {
	f.seq++
	seq := f.seq
	n := f.c.Sent(f.now, Packet{SSRC: media, Seq: seq, Size: size, Kind: r.Kind, Cluster: r.Cluster})
	f.count(&f.sentBySec, size)
	f.l.send(size, func(marked bool) {
		f.count(&f.gotBySec, size)
		if f.streams != nil {
			ecn := uint8(2)
			if marked {
				ecn = 3
			}
			f.streams.Record(f.now, media, seq, ecn, size)
		} else {
			f.rec.Record(f.now, n, size)
		}
		f.tell()
	})
}

func (f *flow) count(by *[]int, size int) {
	i := int(f.elapsed() / (100 * time.Millisecond))
	for len(*by) <= i {
		*by = append(*by, 0)
	}
	(*by)[i] += size
}

func (f *flow) tell() {
	due := f.rec.NextTimeout()
	if f.streams != nil {
		due = f.streams.NextTimeout()
	}
	if due == mono.Never {
		return
	}
	f.at(due, func() {
		if f.streams != nil {
			if f.streams.NextTimeout() > f.now {
				return
			}
		} else if f.rec.NextTimeout() > f.now {
			return
		}
		for {
			var b []byte
			if f.streams != nil {
				b = f.streams.AppendFeedback(nil, f.now, 1, ntp(f.now), 1200)
			} else {
				b = f.rec.AppendFeedback(nil, f.now, 1, media, 1200)
			}
			if len(b) == 0 {
				break
			}
			if f.silent {
				continue
			}
			f.after(f.back, func() {
				f.feedback(b)
			})
		}
		f.tell()
	})
}

func ntp(now mono.Time) uint32 { return uint32(time.Duration(now) * (1 << 16) / time.Second) }

func (f *flow) feedback(b []byte) {
	p, _, err := rtcp.Next(b)
	if err != nil {
		panic(err)
	}
	if tf, ok := p.TransportFeedback(); ok {
		f.c.HandleTransportFeedback(f.now, tf)
	} else if cf, ok := p.CongestionFeedback(); ok {
		f.c.HandleCongestionFeedback(f.now, cf)
	}
	if f.trace != nil {
		f.trace()
	}
	f.drain()
}

// got is what arrived between two times.
func (f *flow) got(from, to time.Duration) Rate { return between(f.gotBySec, from, to) }

func (f *flow) sent(from, to time.Duration) Rate { return between(f.sentBySec, from, to) }

func between(by []int, from, to time.Duration) Rate {
	const step = 100 * time.Millisecond
	sum := 0
	for i := from / step; i < to/step; i++ {
		if int(i) < len(by) {
			sum += by[i]
		}
	}
	return rateOf(sum, to-from)
}

// cubic is a flow that fills queues: CUBIC (RFC 9438), with acknowledgements of each packet.
type cubic struct {
	*world
	l                 *link
	window, threshold float64 // packets
	flying            int
	wmax              float64
	epoch             mono.Time
	recover           int
	next              int
	acked             map[int]bool
	una               int
	gotBySec          []int
	timeout           mono.Time
}

func newCubic(w *world, l *link) *cubic {
	return &cubic{world: w, l: l, window: 10, threshold: 1e9, acked: map[int]bool{}}
}

func (c *cubic) push() {
	for float64(c.flying) < c.window {
		n := c.next
		c.next++
		c.flying++
		c.l.send(1250, func(bool) {
			i := int(c.elapsed() / (100 * time.Millisecond))
			for len(c.gotBySec) <= i {
				c.gotBySec = append(c.gotBySec, 0)
			}
			c.gotBySec[i] += 1250
			c.after(c.l.delay, func() { c.ack(n) })
		})
	}
	at := c.now.Add(time.Second)
	c.timeout = at
	c.at(at, func() {
		if c.timeout == at { // all was lost
			c.flying, c.una = 0, c.next
			c.threshold, c.window = c.window/2, 2
			c.push()
		}
	})
}

func (c *cubic) ack(n int) {
	if n < c.una {
		return
	}
	const beta, C = 0.7, 0.4
	c.acked[n] = true
	for c.acked[c.una] {
		delete(c.acked, c.una)
		c.una++
		c.flying--
	}
	// In order all the way: what is missing when a later one is acknowledged is lost.
	for c.una < n {
		if !c.acked[c.una] && c.una >= c.recover {
			c.wmax = c.window
			c.window = max(2, c.window*beta)
			c.threshold = c.window
			c.epoch = c.now
			c.recover = c.next
		}
		delete(c.acked, c.una)
		c.una++
		c.flying--
	}
	for c.acked[c.una] {
		delete(c.acked, c.una)
		c.una++
		c.flying--
	}
	if c.window < c.threshold {
		c.window++
	} else {
		k := math.Cbrt(c.wmax * (1 - beta) / C)
		t := c.now.Sub(c.epoch).Seconds() + 0.1
		target := C*math.Pow(t-k, 3) + c.wmax
		reno := c.wmax*beta + 3*(1-beta)/(1+beta)*t/0.1
		target = max(target, reno)
		if target > c.window {
			c.window += min((target-c.window)/c.window, 0.5)
		}
	}
	c.push()
}
