package sctp

import (
	"slices"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The parts of interleaved messages (RFC 8260 section 2.2.3): a message is known by its stream, by whether it is ordered,
// and by its MID; the FSN says where a part belongs. TSNs say nothing about it.

// partials are the messages on a channel of which something is missing: those that are ordered, and then the others, by MID.
type partials []*assembly

// find returns where a message is, or would have to be.
func (p partials) find(unordered bool, number uint32) (at int, known bool) {
	return slices.BinarySearchFunc(p, number, func(m *assembly, n uint32) int {
		switch {
		case m.unordered == unordered:
			return int(seqnum.Diff(m.number, n))
		case unordered:
			return -1
		}
		return 1
	})
}

// ordered returns how many of them are.
func (p partials) ordered() int {
	n, _ := slices.BinarySearchFunc(p, true, func(m *assembly, unordered bool) int {
		if m.unordered == unordered {
			return 0
		}
		return -1
	})
	return n
}

// interleaved is what is known of a message of I-DATA in addition.
type interleaved struct {
	ahead   map[uint32][]byte // parts that others are missing before, by FSN
	waiting int               // bytes in them
	highest int64             // FSN that has come
	end     int64             // FSN of the last part; -1: it has not come
}

// beginsTooMany reports whether a part is of a message that is not known yet, and there are too many already.
func (a *Association) beginsTooMany(d *dataChunk) bool {
	if a.receive.partial < maxPartial || d.flags&(flagBegin|flagEnd) == flagBegin|flagEnd {
		return false
	}
	ch := a.channel(d.stream)
	if ch == nil {
		return true
	}
	_, known := ch.partial.find(d.flags&flagUnordered != 0, d.number)
	return !known
}

// gather takes a part of an interleaved message and delivers the message if it is whole now.
func (a *Association) gather(now mono.Time, d *dataChunk) {
	rx := &a.receive
	ch := a.channel(d.stream)
	if ch == nil {
		if ch = a.newChannel(d.stream); ch == nil {
			a.refuse(now, d.stream)
			return
		}
	}
	unordered := d.flags&flagUnordered != 0
	first := ch.expected
	if unordered {
		first = ch.floor
	}
	if ch.err != nil || ch.incomingDone || seqnum.Before(d.number, first) {
		return // it belongs to a message that was given up or delivered
	}
	if d.fragment > uint32(a.cfg.MaxMessageSize) { // a part has a byte at least
		a.closeWithError(now, d.stream, tooLarge)
		return
	}
	place, known := ch.partial.find(unordered, d.number)
	if !known {
		m := rx.assembler.new()
		m.stream, m.unordered, m.number = d.stream, unordered, d.number
		m.highest, m.end = -1, -1
		rx.held += m.cost()
		rx.partial++
		ch.partial = slices.Insert(ch.partial, place, m)
	}
	m := ch.partial[place]
	begins, ends, at := d.flags&flagBegin != 0, d.flags&flagEnd != 0, int64(d.fragment)
	_, twice := m.ahead[d.fragment]
	if twice || at < m.next || begins != (at == 0) || m.end >= 0 && (ends || at > m.end) || ends && at < m.highest {
		a.violate("the parts of a message do not fit together")
		return
	}
	m.highest = max(m.highest, at)
	if begins {
		m.ppid = d.ppid
	}
	if ends {
		m.end = at
	}
	if at > m.next {
		a.putAhead(now, m, d.fragment, d.payload)
		return
	}
	a.append(now, m, d.payload)
	for ch.err == nil && len(m.ahead) > 0 {
		part, ok := m.ahead[uint32(m.next)]
		if !ok {
			break
		}
		delete(m.ahead, uint32(m.next))
		m.waiting -= len(part)
		rx.held -= cost(len(part))
		a.append(now, m, part)
		a.pool.put(part)
	}
	if ch.err == nil && m.next == m.end+1 {
		rx.forget(ch, place, place+1)
		a.assembled(now, m)
	}
}

// putAhead keeps a part of m for its turn.
func (a *Association) putAhead(now mono.Time, m *assembly, fragment uint32, payload []byte) {
	if m.ahead == nil {
		m.ahead = map[uint32][]byte{}
	}
	m.ahead[fragment] = a.pool.copyOf(payload)
	m.waiting += len(payload)
	a.receive.held += cost(len(payload))
	if len(m.data)+m.waiting > a.cfg.MaxMessageSize {
		a.closeWithError(now, m.stream, tooLarge)
	}
}

// giveUp throws away what has come of messages on ch that are ordered or not, as said, and whose MID is not after number.
func (a *Association) giveUp(ch *channel, unordered bool, number uint32) {
	from := 0
	if unordered {
		from = ch.partial.ordered()
	}
	to, known := ch.partial.find(unordered, number)
	if known {
		to++
	}
	a.dropPartial(ch, from, to)
}

// dropPartial throws away what has come of some of the messages on ch of which something is missing.
func (a *Association) dropPartial(ch *channel, from, to int) {
	for _, m := range ch.partial[from:to] {
		a.discard(m)
	}
	a.receive.forget(ch, from, to)
}

// forget takes messages on ch out of those of which something is missing.
func (rx *receiver) forget(ch *channel, from, to int) {
	rx.partial -= to - from
	ch.partial = shrunk(slices.Delete(ch.partial, from, to))
}
