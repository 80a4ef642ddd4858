package sctp

import (
	"cmp"
	"slices"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The parts of interleaved messages (RFC 8260 section 2.2.3): a message is known by its stream, by whether it is ordered,
// and by its MID; the FSN says where a part belongs. TSNs say nothing about it.

// partial is a message of which parts are missing.
type partial struct {
	unordered bool
	number    uint32
	ppid      uint32
	size      int
	end       int64 // FSN of the last part; -1: it has not come
	parts     []fragment
}

// fragment is a part of a message.
type fragment struct {
	number uint32 // FSN
	part
}

// find returns where the partial message with a number is, or would be.
func (ch *channel) find(unordered bool, number uint32) (int, bool) {
	return slices.BinarySearchFunc(ch.partial, number, func(p *partial, number uint32) int {
		if p.unordered != unordered {
			if p.unordered {
				return 1
			}
			return -1
		}
		return int(seqnum.Diff(p.number, number))
	})
}

// gather takes a part of an interleaved message and delivers the message if it is whole now.
func (a *Association) gather(now mono.Time, d *dataChunk, data part) {
	forget := func() { a.forget(inMessage{data: data.data, pooled: data.pooled}) }
	ch := a.channels[d.stream]
	if ch == nil {
		if ch = a.newChannel(d.stream); ch == nil {
			forget()
			a.refuse(now, d.stream)
			return
		}
	}
	unordered := d.flags&flagUnordered != 0
	next := ch.expected
	if unordered {
		next = ch.floor
	}
	// What belongs to a message that was given up or delivered comes too late. A FSN counts bytes at most.
	if ch.err != nil || ch.incomingDone || seqnum.Before(d.number, next) || d.fragment > uint32(a.cfg.MaxMessageSize) {
		forget()
		if ch.err == nil && !ch.incomingDone && !seqnum.Before(d.number, next) {
			a.closeWithError(now, d.stream, tooLarge)
		}
		return
	}
	i, found := ch.find(unordered, d.number)
	if !found {
		ch.partial = slices.Insert(ch.partial, i, &partial{unordered: unordered, number: d.number, end: -1})
	}
	p := ch.partial[i]
	begins, ends := d.flags&flagBegin != 0, d.flags&flagEnd != 0
	at, twice := len(p.parts), false
	if at > 0 && p.parts[at-1].number >= d.fragment {
		at, twice = slices.BinarySearchFunc(p.parts, d.fragment, func(f fragment, n uint32) int { return cmp.Compare(f.number, n) })
	}
	if twice || begins != (d.fragment == 0) || ends && p.end >= 0 ||
		p.end >= 0 && int64(d.fragment) > p.end || ends && at < len(p.parts) {
		forget()
		a.violate("the parts of a message do not fit together")
		return
	}
	if begins {
		p.ppid = d.ppid
	}
	if ends {
		p.end = int64(d.fragment)
	}
	p.size += len(data.data)
	p.parts = slices.Insert(p.parts, at, fragment{d.fragment, data})
	switch {
	case p.size > a.cfg.MaxMessageSize:
		a.closeWithError(now, d.stream, tooLarge) // which throws it away
	case int64(len(p.parts)) == p.end+1:
		whole := make([]byte, 0, p.size)
		for _, f := range p.parts {
			whole = append(whole, f.data...)
		}
		ch.partial = slices.Delete(ch.partial, i, i+1)
		if len(ch.partial) == 0 {
			ch.partial = nil
		}
		a.freeFragments(p)
		a.receive.held += cost(len(whole))
		a.complete(now, d.stream, unordered, inMessage{p.number, p.ppid, whole, false})
	}
}

// dropPartial throws away what has come of messages up to a number: the peer has given up the last of them, and all
// others before it.
func (a *Association) dropPartial(ch *channel, unordered bool, number uint32) {
	ch.partial = slices.DeleteFunc(ch.partial, func(p *partial) bool {
		if p.unordered != unordered || seqnum.Before(number, p.number) {
			return false
		}
		a.freeFragments(p)
		return true
	})
	if len(ch.partial) == 0 {
		ch.partial = nil
	}
}

func (a *Association) freeFragments(p *partial) {
	for _, f := range p.parts {
		a.forget(inMessage{data: f.data, pooled: f.pooled})
	}
	p.parts = nil
}
