package sctp

import (
	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The parts of interleaved messages (RFC 8260 section 2.2.3): a message is known by its stream, by whether it is ordered,
// and by its MID; the FSN says where a part belongs. TSNs say nothing about it.

// messageID names a message of I-DATA.
type messageID struct {
	stream    StreamID
	unordered bool
	number    uint32 // MID
}

func (m *assembly) id() messageID { return messageID{m.stream, m.unordered, m.number} }

// interleaved is what is known of a message of I-DATA in addition.
type interleaved struct {
	ahead   map[uint32][]byte // parts that others are missing before, by FSN
	waiting int               // bytes in them
	highest int64             // FSN that has come
	end     int64             // FSN of the last part; -1: it has not come
}

// continues returns the message that a part on ch belongs to, which becomes the current one of ch.
func (rx *receiver) continues(ch *channel, id messageID) *assembly {
	m := ch.current
	if m != nil && m.number == id.number && m.unordered == id.unordered {
		return m
	}
	if m != nil {
		if rx.partial == nil {
			rx.partial = map[messageID]*assembly{}
		}
		rx.partial[m.id()] = m
	}
	if m = rx.partial[id]; m != nil {
		delete(rx.partial, id)
	} else {
		m = rx.assembler.new()
		m.stream, m.unordered, m.number = id.stream, id.unordered, id.number
		m.highest, m.end = -1, -1
		rx.held += m.cost()
	}
	ch.current = m
	return m
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
	m := rx.continues(ch, messageID{d.stream, unordered, d.number})
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
		ch.current = nil
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

// dropPartial throws away what has come of messages of I-DATA on ch, of those that are given up.
func (a *Association) dropPartial(ch *channel, givenUp func(*assembly) bool) {
	if m := ch.current; m != nil && givenUp(m) {
		ch.current = nil
		a.discard(m)
	}
	for id, m := range a.receive.partial {
		if id.stream == ch.id && givenUp(m) {
			delete(a.receive.partial, id)
			a.discard(m)
		}
	}
}

// upTo returns whether a message is ordered or not as said, and its MID not after number.
func upTo(unordered bool, number uint32) func(*assembly) bool {
	return func(m *assembly) bool { return m.unordered == unordered && !seqnum.Before(number, m.number) }
}
