package cc

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Kind is what a packet is for. In this order packets are released, but that repair goes with video.
type Kind uint8

// Kinds of packets.
const (
	Audio          Kind = iota // leaves at once, and is counted
	Retransmission             // by RTX
	Video                      //
	FEC                        // repair packets, behind the media that they were made from
	Padding
)

const (
	headroom = 1.25 // of the pace above the target, for frames are of different sizes

	longestQueue = 250 * time.Millisecond // the pace is raised so that nothing waits longer
	shortestLeft = 10 * time.Millisecond
	mostQueued   = 4096 // packets of a class

	leastQuantum   = time.Millisecond
	mostQuantum    = 5 * time.Millisecond
	quantumPackets = 16 // that a quantum should have, for sending in batches

	mostDebt   = 500 * time.Millisecond // that audio, data and probes may run up
	paddingLag = 50 * time.Millisecond  // what padding may catch up
)

// Release is what may leave now.
type Release struct {
	Ref     uint64 // of the packet, as it was pushed; not of padding
	Kind    Kind
	Size    int    // of padding: so much of it is wanted
	Cluster uint16 // the probe that it is part of, for Sent; or 0
}

type queued struct {
	ref  uint64
	at   mono.Time
	size int
	kind Kind
}

// queue is a ring of packets.
type queue struct {
	ring  []queued // of a power of two
	first int
	count int
}

func (q *queue) push(e queued) bool {
	if q.count == len(q.ring) {
		if q.count == mostQueued {
			return false
		}
		ring := make([]queued, max(32, 2*len(q.ring)))
		for i := range q.count {
			ring[i] = q.ring[(q.first+i)&(len(q.ring)-1)]
		}
		q.ring, q.first = ring, 0
	}
	q.ring[(q.first+q.count)&(len(q.ring)-1)] = e
	q.count++
	return true
}

func (q *queue) pop() queued {
	e := q.ring[q.first]
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.count--
	return e
}

// Classes of packets: those of a class leave in the order they came in.
const (
	classAudio = iota
	classRetransmission
	classVideo
	classes
)

// pacer spreads packets over time: bursts of frames are sent out at a pace a little above the target.
type pacer struct {
	queues  [classes]queue
	packets int // queued
	bytes   int
	waited  int64 // the sum of the times they were pushed at, modulo 2^64

	target  Rate
	padding Rate // what is filled up to

	updated mono.Time
	debt    float64   // bytes sent that the pace has not yet paid for
	filled  float64   // bytes sent that the padding rate has not yet paid for
	resume  mono.Time // a quantum was sent: nothing until then
	asked   mono.Time // padding was asked for at this time, and nothing has come of it

	dropped uint64
}

func (p *pacer) push(now mono.Time, k Kind, ref uint64, size int) bool {
	class := classVideo
	switch k {
	case Audio:
		class = classAudio
	case Retransmission:
		class = classRetransmission
	}
	if !p.queues[class].push(queued{ref, now, size, k}) {
		p.dropped++
		return false
	}
	p.packets++
	p.bytes += size
	p.waited += int64(now)
	return true
}

func (p *pacer) take(class int) Release {
	e := p.queues[class].pop()
	p.packets--
	p.bytes -= e.size
	p.waited -= int64(e.at)
	return Release{Ref: e.ref, Kind: e.kind, Size: e.size}
}

// age is how long what is queued has waited, on average.
func (p *pacer) age(now mono.Time) time.Duration {
	if p.packets == 0 {
		return 0
	}
	return time.Duration((int64(p.packets)*int64(now) - p.waited) / int64(p.packets))
}

// pace is the rate of release: raised if else something would wait too long.
func (p *pacer) pace(now mono.Time) Rate {
	pace := p.target.times(headroom)
	if p.packets > 0 {
		pace = max(pace, rateOf(p.bytes, max(longestQueue-p.age(now), shortestLeft)))
	}
	return pace
}

// quantum is how long a burst is, at a pace.
func quantum(pace Rate) time.Duration {
	return min(max(pace.Time(quantumPackets*packetSize), leastQuantum), mostQuantum)
}

// update lets time pass.
func (p *pacer) update(now mono.Time) {
	d := min(now.Sub(p.updated), mostDebt)
	if d <= 0 {
		return
	}
	p.updated = now
	p.debt = max(0, p.debt-p.pace(now).bytes(d))
	p.filled = max(p.filled-p.padding.bytes(d), -p.padding.bytes(paddingLag))
}

// next returns what may leave now. A probe has a pace of its own.
func (p *pacer) next(now mono.Time, pr *probe) (Release, bool) {
	p.update(now)
	if p.queues[classAudio].count > 0 {
		return p.take(classAudio), true
	}
	if pr != nil {
		if now < p.probeDue(pr) {
			return Release{}, false
		}
		for class := classRetransmission; class < classes; class++ {
			if p.queues[class].count > 0 {
				r := p.take(class)
				r.Cluster = pr.id
				return r, true
			}
		}
		return p.ask(now, max(pr.rate.Bytes(probeChunk), packetSize), pr.id)
	}
	if now < p.resume {
		return Release{}, false
	}
	if pace := p.pace(now); p.debt > 0 && pace.Time(int(p.debt)) >= quantum(pace) {
		p.resume = now.Add(pace.Time(int(p.debt)))
		return Release{}, false
	}
	for class := classRetransmission; class < classes; class++ {
		if p.queues[class].count > 0 {
			return p.take(class), true
		}
	}
	if p.padding > 0 && p.filled < 0 {
		return p.ask(now, int(-p.filled)+1, 0)
	}
	return Release{}, false
}

// probeDue is when the next packet of a probe leaves.
func (p *pacer) probeDue(pr *probe) mono.Time {
	if pr.sent == 0 {
		return pr.asked
	}
	return pr.began.Add(pr.rate.Time(pr.sent))
}

// ask asks for padding, once at a time: if there is none to be had, there is none now.
func (p *pacer) ask(now mono.Time, size int, cluster uint16) (Release, bool) {
	if p.asked == now {
		return Release{}, false
	}
	p.asked = now
	return Release{Kind: Padding, Size: size, Cluster: cluster}, true
}

// sent notes that so much has left.
func (p *pacer) sent(now mono.Time, size int, padding bool) {
	p.update(now)
	p.debt = min(p.debt+float64(size), max(p.target.bytes(mostDebt), p.pace(now).bytes(2*mostQuantum)))
	p.filled = min(p.filled+float64(size), p.padding.bytes(mostDebt))
	if padding {
		p.asked = 0
	}
}

// due is when next is to be asked again.
func (p *pacer) due(pr *probe) mono.Time {
	switch {
	case p.queues[classAudio].count > 0:
		return p.updated
	case pr != nil:
		at := p.probeDue(pr)
		if p.packets == 0 {
			at = max(at, p.asked.Add(mostQuantum))
		}
		return at
	case p.packets > 0:
		return max(p.resume, p.updated)
	case p.padding > 0:
		lack := max(0, p.filled)
		return max(p.resume, p.updated.Add(max(p.padding.Time(int(lack)), mostQuantum)))
	}
	return mono.Never
}
