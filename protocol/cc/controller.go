package cc

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Config is what a Controller begins with. The zero value is useful.
type Config struct {
	Min   Rate // the target is never less; default 30 kbit/s
	Start Rate // default 300 kbit/s
	Max   Rate // and never more; default 100 Mbit/s
}

// Defaults of a Config.
const (
	DefaultMin   = 30 * kbit
	DefaultStart = 300 * kbit
	DefaultMax   = 100 * mbit
)

const (
	tick    = 100 * time.Millisecond // how often is looked, while something is sent, at what no feedback tells
	idle    = 2 * time.Second        // after the last packet there is nothing to look at
	silence = 500 * time.Millisecond // without feedback, beyond three round trips
	reports = 5 * time.Second        // the same where there are only reports
	fallsTo = 0.5                    // at each silence

	mostStrange = 1 << 10 // packets in one feedback that were not sent, or long ago: what follows is not looked at
)

// Packet is an RTP packet that is sent.
type Packet struct {
	SSRC    rtp.SSRC
	Seq     uint16 // the RTP sequence number
	Size    int    // bytes on the wire
	Kind    Kind
	Cluster uint16 // of its Release
	ECT     bool   // it leaves as one whose path may mark it (ECN)
}

// ECN is what feedback by streams (RFC 8888) has told of packets that left as ECN-capable.
type ECN struct {
	Arrived  uint64 // with their mark, or with that of congestion
	CE       uint64 // of those, with that of congestion
	Bleached uint64 // without a mark
	Missing  uint64 // not at all
}

// Stats is what a Controller counts and has found out.
type Stats struct {
	Target       Rate
	Arrives      Rate          // what arrives by feedback; 0: not known yet
	RTT          time.Duration // the latest, smoothed: between a packet and its feedback, or from reports; 0: not known yet
	LeastRTT     time.Duration
	Trip         time.Duration // the latest without the wait for feedback, as far as that can be told: what a question and its answer take
	Queue        time.Duration // by how much packets are later than the fastest of late
	Loss         float64       // share of packets of late, 0 to 1
	Queued       int           // bytes in the pacer
	QueuedFor    time.Duration // on average
	Limited      bool          // the application sends less than it might
	PacketsSent  uint64
	BytesSent    uint64 // what was given to Other too
	PacketsLost  uint64 // as feedback tells
	PacketsCE    uint64 // that came with the ECN mark of congestion
	ECN          ECN
	Feedback     uint64 // packets of feedback
	Strange      uint64 // packets told of that were never sent, or long ago
	Dropped      uint64 // packets that the pacer had no room for
	Probes       uint64 // begun
	Overuse      uint64 // times that the delay said so
	PaddingAsked uint64 // bytes
}

// Controller is the sender's side of one transport: it finds out what the path bears, and paces what is sent. It is not safe for
// concurrent use.
type Controller struct {
	min, max, start Rate
	wanted          Rate // 0: not known
	padding         Rate // up to this the wire is kept filled
	epoch           mono.Time

	history history
	results []result // of the feedback at hand
	clock   clock
	other   int // bytes that the next packet sent counts for as well

	groups  grouper
	trend   trendline
	acked   acked
	aimd    aimd
	losses  losses
	limited limited
	prober  prober
	pacer   pacer
	path    path
	remb    Rate

	perPacket   bool // there is feedback about each packet
	heard       mono.Time
	sentLast    mono.Time
	nextTick    mono.Time
	paced       mono.Time // when Pop may have something again
	otherRate   Rate
	otherFree   mono.Time
	target      Rate
	reportBytes int // sent since the last report
	reportSince mono.Time
	stats       Stats
}

// result is what feedback tells of one packet.
type result struct {
	sent    time.Duration // since epoch
	arrived time.Duration
	number  int64
	size    int
}

// New makes a Controller.
func New(now mono.Time, cfg Config) *Controller {
	if cfg.Min == 0 {
		cfg.Min = DefaultMin
	}
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Start == 0 {
		cfg.Start = DefaultStart
	}
	cfg.Max = max(cfg.Max, cfg.Min)
	c := &Controller{min: cfg.Min, max: cfg.Max, start: min(max(cfg.Start, cfg.Min), cfg.Max), epoch: now}
	c.nextTick, c.paced = mono.Never, mono.Never
	c.reset(now)
	return c
}

// reset forgets the path.
func (c *Controller) reset(now mono.Time) {
	c.history.reset()
	c.groups, c.trend, c.acked, c.losses, c.path = grouper{}, trendline{}, acked{}, losses{}, path{}
	c.aimd = aimd{rate: c.start}
	c.limited = limited{last: now}
	c.prober.abort()
	c.prober.started = false
	c.heard = now
	c.decide(now)
}

// HandleRouteChange says that from now on another path is taken: what was found out of the old one is forgotten, but that it bore less
// than what a Controller begins with.
func (c *Controller) HandleRouteChange(now mono.Time) {
	start := min(c.start, c.target)
	c.reset(now)
	c.aimd.rate = start
	c.decide(now)
}

// SetLimits changes between what the target lies.
func (c *Controller) SetLimits(now mono.Time, least, most Rate) {
	c.min, c.max = least, max(least, most)
	c.aimd.rate = min(max(c.aimd.rate, c.min), c.max)
	c.decide(now)
}

// SetWanted says what all that is sent could use: growth up to that is probed for. Up to the rate padding the wire is kept filled.
func (c *Controller) SetWanted(now mono.Time, wanted, padding Rate) {
	grows := wanted > c.wanted
	c.wanted = wanted
	c.padding = padding
	c.decide(now)
	if grows && c.prober.started && c.limited.on && c.wanted > c.target {
		c.probe(now, c.target*nextProbe)
	}
}

// SetProbing says whether feedback will tell of each packet, so that probes are answered; at first it is taken that it will. Without there
// are none.
func (c *Controller) SetProbing(_ mono.Time, on bool) {
	if c.prober.off == on {
		c.prober.abort()
		c.prober.off, c.prober.started = !on, false
	}
}

// Push queues a packet of so many bytes. It returns false if there are too many already: that one is dropped.
func (c *Controller) Push(now mono.Time, k Kind, ref uint64, size int) bool {
	if !c.prober.started && c.wants() > c.target {
		c.prober.started = true
		c.probeAnew(now)
	}
	return c.pacer.push(now, k, ref, size)
}

// Pop returns what may leave now; it is called until it returns false.
func (c *Controller) Pop(now mono.Time) (Release, bool) {
	p := c.prober.next(now)
	r, ok := c.pacer.next(now, p)
	switch {
	case !ok:
		c.paced = c.pacer.due(p)
	case r.Kind == Padding:
		c.stats.PaddingAsked += uint64(r.Size)
	}
	return r, ok
}

// Sent notes that a packet leaves, and returns its transport-wide sequence number.
func (c *Controller) Sent(now mono.Time, p Packet) (number uint16) {
	n := c.history.add(record{at: now, size: p.Size + c.other, ssrc: p.SSRC, seq: p.Seq, cluster: p.Cluster, ect: p.ECT})
	c.other = 0
	if pr := c.prober.byID(p.Cluster); pr != nil {
		if pr.sent == 0 {
			pr.began = now
		}
		pr.sent += p.Size
		pr.packets++
	}
	c.stats.PacketsSent++
	c.left(now, p.Size, p.Kind == Padding)
	return uint16(n)
}

// Other notes that bytes leave on the same path of which no feedback will tell: they count as arrived with the packet sent after
// them.
func (c *Controller) Other(now mono.Time, size int) {
	c.other = min(c.other+size, 1<<20)
	c.otherFree = max(c.otherFree, now.Add(-mostQuantum)).Add(c.otherTime(size))
	c.left(now, size, false)
}

func (c *Controller) otherTime(size int) time.Duration {
	if c.otherRate == 0 {
		return 0
	}
	return c.otherRate.Time(size)
}

// SetOtherRate limits what is to be sent besides. 0 is no limit.
func (c *Controller) SetOtherRate(_ mono.Time, r Rate) { c.otherRate = r }

// OtherAt returns when what is sent besides may go on: at once if that is not after now.
func (c *Controller) OtherAt(now mono.Time) mono.Time {
	if c.otherRate == 0 {
		return now
	}
	return c.otherFree
}

func (c *Controller) left(now mono.Time, size int, padding bool) {
	if now.Sub(c.sentLast) > idle || c.stats.BytesSent == 0 {
		c.heard = max(c.heard, now) // there was nothing to hear of
	}
	c.stats.BytesSent += uint64(size)
	c.reportBytes += size
	c.sentLast = now
	c.pacer.sent(now, size, padding)
	c.limited.update(now, c.target, size)
	if c.nextTick == mono.Never {
		c.nextTick = now.Add(tick)
	}
}

// NextTimeout returns when HandleTimeout is to be called, and Pop behind it.
func (c *Controller) NextTimeout() mono.Time { return mono.Min(c.nextTick, c.paced) }

// HandleTimeout looks at what no feedback tells.
func (c *Controller) HandleTimeout(now mono.Time) {
	if now >= c.paced {
		c.paced = mono.Never // Pop finds the next
	}
	if now < c.nextTick {
		return
	}
	c.nextTick = now.Add(tick)
	if now.Sub(c.sentLast) > idle && c.pacer.packets == 0 {
		c.nextTick = mono.Never
		return
	}
	c.limited.update(now, c.target, 0)
	c.listen(now)
	if c.limited.on && c.prober.started && now.Sub(max(c.limited.since, c.prober.probed)) >= limitedEvery && c.wants() > c.target {
		c.probe(now, c.target*nextProbe)
	}
	c.decide(now)
}

// listen slows down when nothing is heard of what was sent.
func (c *Controller) listen(now mono.Time) {
	patience := reports
	if c.perPacket {
		patience = silence + 3*c.path.rtt
	}
	if c.perPacket && c.history.inFlight == 0 || now.Sub(c.heard) < patience {
		return
	}
	c.heard = now
	c.aimd.rate = max(min(c.aimd.rate, c.target).times(fallsTo), c.min)
	c.aimd.growing = false
	c.path.silent = true
}

// wants is up to what rate growth is of use.
func (c *Controller) wants() Rate {
	if c.wanted == 0 {
		return c.max
	}
	return min(c.wanted, c.max)
}

// probeAnew finds out what the path bears when nothing is known of it.
func (c *Controller) probeAnew(now mono.Time) { c.probe(now, c.start*firstProbe, c.start*secondProbe) }

func (c *Controller) probe(now mono.Time, rates ...Rate) {
	if c.prober.off {
		return
	}
	c.prober.ask(now, min(c.wants().times(headroom), c.max), rates...)
	c.stats.Probes++
	if c.nextTick == mono.Never {
		c.nextTick = now.Add(tick)
	}
}

// HandleTransportFeedback takes transport-wide feedback.
func (c *Controller) HandleTransportFeedback(now mono.Time, f rtcp.TransportFeedback) {
	c.begin(now, sourceTransport)
	strange := 0
	for number, a := range f.All() {
		n, ok := c.history.find(number)
		if !ok {
			c.stats.Strange++
			if strange++; strange == mostStrange {
				break
			}
			continue
		}
		if !a.Received {
			c.history.settle(n, missing)
			continue
		}
		c.arrived(n, c.clock.unwrap(a.At, transportPeriod))
	}
	c.finish(now)
}

// HandleCongestionFeedback takes feedback by streams, as RFC 8888 has it.
func (c *Controller) HandleCongestionFeedback(now mono.Time, f rtcp.CongestionFeedback) {
	c.begin(now, sourceStreams)
	report := time.Duration(float64(f.Timestamp) / (1 << 16) * float64(time.Second))
	report = c.clock.unwrap(report, streamsPeriod)
	left := c.history.next - c.history.first // as each stream has one report, no packet is looked at twice
	for s := range f.Streams() {
		left = c.stream(&s, report, left)
	}
	c.finish(now)
}

// stream goes back through the packets of a stream that were sent: so many at most, and returns how many of these are left.
func (c *Controller) stream(s *rtcp.StreamFeedback, report time.Duration, left int64) int64 {
	h := &c.history
	x := h.streams[s.SSRC]
	if x == nil || left == 0 {
		c.stats.Strange++
		return left
	}
	for n, told := x.latest, s.Len(); n >= h.first && told > 0 && left > 0; n = h.at(n).before {
		left--
		r := h.at(n)
		i := int(int16(r.seq - s.Base))
		if i < -mostLate {
			break // before the first that is told of, be it that some were sent late
		}
		if i < 0 || i >= s.Len() {
			continue
		}
		told--
		m := s.At(i)
		was := r.fate
		switch {
		case !m.Received:
			if h.settle(n, missing) {
				x.told.Lost++
			}
		case m.Before < 0:
			h.settle(n, received)
		case c.arrived(n, report-m.Before):
			c.marked(r, x, m.ECN)
		}
		if was == missing && r.fate == received {
			x.told.Recovered++
		}
	}
	return left
}

// marked takes in the ECN field that a packet came with. One that came without a mark, though it left with one, shows that the path
// takes them off; one that left without comes with none.
func (c *Controller) marked(r *record, x *stream, ecn uint8) {
	if ecn == ce {
		c.stats.PacketsCE++
		x.told.CE++
		c.path.marked = true
	}
	switch e := &c.stats.ECN; {
	case !r.ect:
	case ecn == 0:
		e.Bleached++
	default:
		e.Arrived++
		if ecn == ce {
			e.CE++
		}
	}
}

// begin begins with feedback of a source.
func (c *Controller) begin(now mono.Time, s source) {
	c.stats.Feedback++
	c.results = c.results[:0]
	if c.clock.source != s { // it has another clock
		c.clock = clock{source: s}
		c.groups, c.trend, c.acked, c.path = grouper{}, trendline{}, acked{}, path{rtt: c.path.rtt}
	}
	c.perPacket = true
}

// arrived notes that a packet was received.
func (c *Controller) arrived(n int64, at time.Duration) bool {
	if !c.history.settle(n, received) {
		return false
	}
	r := c.history.at(n)
	r.arrived = at
	c.results = append(c.results, result{r.at.Sub(c.epoch), at, n, r.size})
	return true
}

// HandleREMB takes what the receiver says that the path bears.
func (c *Controller) HandleREMB(now mono.Time, r Rate) {
	c.remb = max(r, 1)
	c.heard = now
	c.decide(now)
}

// HandleReport takes what receiver reports say: of expected packets so many were lost since the last report, and the round trip, or
// 0. It is needed where there is no feedback about each packet, and else adds the round trip.
func (c *Controller) HandleReport(now mono.Time, lost, expected int, rtt time.Duration) {
	if c.perPacket {
		return
	}
	c.heard = now
	if rtt > 0 {
		c.path.roundTrip(now, rtt)
	}
	took := now.Sub(c.reportSince)
	lost = min(max(lost, 0), expected)
	if expected >= observeLeast && took >= observeFor {
		c.losses.report(c.reportSince, now, c.reportBytes, expected-lost, lost)
		arrives := rateOf(c.reportBytes, took).times(1 - float64(lost)/float64(expected))
		c.aimd.update(now, normal, arrives, c.path.rtt)
		c.losses.update(c.byDelay(), c.fills(arrives))
		c.reportBytes, c.reportSince = 0, now
	}
	c.decide(now)
}

// byDelay is the rate that the delay allows, by whoever measures it.
func (c *Controller) byDelay() Rate {
	r := c.aimd.rate
	if c.remb > 0 && !c.perPacket {
		r = c.remb
	}
	return r
}

// decide puts the target together.
func (c *Controller) decide(now mono.Time) {
	t := c.byDelay()
	if c.losses.limit > 0 {
		t = min(t, c.losses.limit)
	}
	if c.remb > 0 {
		t = min(t, c.remb)
	}
	t = min(max(t.times(c.path.drain(now)), c.min), c.max)
	c.pacer.update(now)
	c.target = t
	c.pacer.target, c.pacer.padding = t, min(c.padding, t)
}

// Target is the rate of all that is to be sent together, with padding, repair and what is given to Other.
func (c *Controller) Target() Rate { return c.target }

// Told returns what feedback by streams has told of an SSRC, that something was sent of.
func (c *Controller) Told(ssrc rtp.SSRC) Told {
	if x := c.history.streams[ssrc]; x != nil {
		return x.told
	}
	return Told{}
}

// Stats returns what was counted and found out.
func (c *Controller) Stats() Stats {
	s := c.stats
	s.Target, s.Arrives = c.target, c.acked.rate()
	s.RTT, s.LeastRTT, s.Trip, s.Queue = c.path.rtt, c.path.leastRTT.value(), c.path.trips.shortest(), c.path.queue
	s.Loss = c.losses.average()
	s.Queued, s.QueuedFor = c.pacer.bytes, c.pacer.age(c.pacer.updated)
	s.Limited, s.Dropped = c.limited.on, c.pacer.dropped
	return s
}
