package sctp

import (
	"slices"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
)

// run is a sequence of fragments of one message that follow each other without a gap.
type run struct {
	from, to     int64 // TSNs
	begins, ends bool
	unordered    bool
	tooLarge     bool // its parts were thrown away, the channel is being closed
	stream       StreamID
	number       uint32 // SSN
	ppid         uint32
	size         int
	parts        []part
}

type part struct {
	data   []byte
	pooled bool
}

// inMessage is a whole message that waits for its turn.
type inMessage struct {
	number uint32
	ppid   uint32
	data   []byte
	pooled bool
}

// reassemble takes a new chunk and delivers what it completes (RFC 9260 sections 6.5, 6.6 and 6.9).
func (a *Association) reassemble(now mono.Time, tsn int64, d *dataChunk) {
	rx := &a.receive
	data, pooled := a.pool.copyOf(d.payload)
	rx.held += cost(len(data))
	if d.flags&(flagBegin|flagEnd) == flagBegin|flagEnd {
		a.complete(now, d.stream, d.flags&flagUnordered != 0, inMessage{d.number, d.ppid, data, pooled})
		return
	}
	if a.send.interleave {
		a.gather(now, d, part{data, pooled})
		return
	}
	r := run{
		from: tsn, to: tsn, begins: d.flags&flagBegin != 0, ends: d.flags&flagEnd != 0,
		unordered: d.flags&flagUnordered != 0, stream: d.stream, number: d.number, ppid: d.ppid,
		size: len(data),
	}
	i, _ := slices.BinarySearchFunc(rx.runs, tsn, func(r run, t int64) int { return int(r.to - t) })
	// What ended abruptly before a beginning was given up by the peer; what does not fit its neighbour never will.
	if i > 0 && rx.runs[i-1].to == tsn-1 && !rx.runs[i-1].ends && !r.begins {
		left := &rx.runs[i-1]
		if left.stream != r.stream || left.unordered != r.unordered || left.number != r.number && !r.unordered {
			a.violate("fragments of different messages follow each other")
			return
		}
		left.to, left.ends, left.size = tsn, r.ends, left.size+r.size
		left.parts = append(left.parts, part{data, pooled})
		i--
	} else {
		r.parts = append(r.parts, part{data, pooled})
		rx.runs = slices.Insert(rx.runs, i, r)
	}
	if me := &rx.runs[i]; i+1 < len(rx.runs) && rx.runs[i+1].from == tsn+1 && !me.ends && !rx.runs[i+1].begins {
		right := &rx.runs[i+1]
		if right.stream != me.stream || right.unordered != me.unordered || right.number != me.number && !me.unordered {
			a.violate("fragments of different messages follow each other")
			return
		}
		me.to, me.ends, me.size = right.to, right.ends, me.size+right.size
		me.tooLarge = me.tooLarge || right.tooLarge
		me.parts = append(me.parts, right.parts...)
		rx.runs = slices.Delete(rx.runs, i+1, i+2)
	}
	me := &rx.runs[i]
	if me.size > a.cfg.MaxMessageSize || me.tooLarge {
		me.tooLarge = true
		a.freeParts(me)
		a.closeWithError(now, me.stream, tooLarge)
	}
	if me.begins && me.ends {
		a.assemble(now, i)
	}
}

// freeParts throws away what a run holds.
func (a *Association) freeParts(r *run) {
	for _, p := range r.parts {
		a.receive.held -= cost(len(p.data))
		if p.pooled {
			a.pool.put(p.data)
		}
	}
	r.parts = nil
}

// assemble makes a message of the complete run i.
func (a *Association) assemble(now mono.Time, i int) {
	rx := &a.receive
	r := rx.runs[i]
	rx.runs = slices.Delete(rx.runs, i, i+1)
	if r.tooLarge {
		a.freeParts(&r)
		if ch := a.channels[r.stream]; ch != nil && !r.unordered {
			a.skipTo(now, ch, ch.extend(r.number))
		}
		return
	}
	data := make([]byte, 0, r.size)
	for _, p := range r.parts {
		data = append(data, p.data...)
	}
	a.freeParts(&r)
	rx.held += cost(r.size)
	a.complete(now, r.stream, r.unordered, inMessage{r.number, r.ppid, data, false})
}

// complete delivers a whole message now, or keeps it for its turn.
func (a *Association) complete(now mono.Time, id StreamID, unordered bool, m inMessage) {
	ch := a.channels[id]
	if ch == nil {
		if ch = a.newChannel(id); ch == nil {
			a.forget(m)
			a.refuse(now, id)
			return
		}
	}
	if ch.err != nil || ch.incomingDone {
		a.stats.DroppedUnknownChannel++
		a.forget(m)
		return
	}
	if unordered {
		const within = 1 << 30 // so that a floor of long ago does not seem to be ahead
		if seqnum.Diff(m.number, ch.floor) > within {
			ch.floor = m.number - within
		}
		a.deliver(now, ch, m)
		return
	}
	if !a.send.interleave {
		m.number = ch.extend(m.number)
	}
	if m.number != ch.expected {
		i, found := slices.BinarySearchFunc(ch.early, m.number, func(e inMessage, n uint32) int {
			return int(seqnum.Diff(e.number, n))
		})
		if found || seqnum.Before(m.number, ch.expected) {
			a.forget(m) // the peer has used a number twice
			return
		}
		ch.early = slices.Insert(ch.early, i, m)
		return
	}
	ch.expected++
	a.deliver(now, ch, m)
	a.deliverEarly(now, ch)
}

// extend returns the number that an SSN stands for, the one nearest to what is expected.
func (ch *channel) extend(ssn uint32) uint32 {
	return ch.expected + uint32(seqnum.Diff(uint16(ssn), uint16(ch.expected)))
}

// deliverEarly delivers what was waiting and has its turn now.
func (a *Association) deliverEarly(now mono.Time, ch *channel) {
	for len(ch.early) > 0 && ch.early[0].number == ch.expected {
		ch.expected++
		a.deliver(now, ch, ch.takeEarly())
	}
}

// takeEarly takes the first of what is waiting.
func (ch *channel) takeEarly() inMessage {
	m := ch.early[0]
	ch.early[0] = inMessage{}
	if ch.early = ch.early[1:]; len(ch.early) == 0 {
		ch.early = nil
	}
	return m
}

// skipTo delivers what waits on ch up to a number that will not come, and goes on after it.
func (a *Association) skipTo(now mono.Time, ch *channel, number uint32) {
	if seqnum.Before(number, ch.expected) {
		return
	}
	for len(ch.early) > 0 && !seqnum.Before(number, ch.early[0].number) {
		a.deliver(now, ch, ch.takeEarly())
	}
	ch.expected = number + 1
	a.deliverEarly(now, ch)
}

// forget frees a message that nobody gets.
func (a *Association) forget(m inMessage) {
	a.receive.held -= cost(len(m.data))
	if m.pooled {
		a.pool.put(m.data)
	}
}

// dropRuns throws away fragments of messages that the peer has given up: those of which something up to tsn is missing.
func (a *Association) dropRuns(tsn int64) {
	rx := &a.receive
	n := 0
	for n < len(rx.runs) && rx.runs[n].from <= tsn {
		r := &rx.runs[n]
		if r.begins && r.to >= tsn && !(r.to == tsn && !r.ends) {
			break // it begins before and goes on after: nothing of it is missing yet
		}
		a.freeParts(r)
		n++
	}
	rx.runs = slices.Delete(rx.runs, 0, n)
}
