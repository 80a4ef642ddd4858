package loop

import (
	"errors"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// A socket's name is its place in the table, so names are small and engines may use them as indices. A place that became
// free rests until many others were taken, because an engine may still have something to send on its former socket. (The
// other way round, a poller guarantees that nothing comes in from it.)
const (
	maxSockets = 1 << 20
	resting    = 64
)

var errSockets = errors.New("loop: a million sockets are open")

// sockets is the table of what is open on a loop.
type sockets struct {
	slots     []slot
	free      []int32 // a ring of the free places, longest free first; as long as slots
	head      int     // of the ring
	open      int
	redirects []slot // by the complement of their names
}

// slot is one place in the table.
type slot struct {
	lease    *Lease  // nil when free
	stream   *stream // nil for UDP
	place    int     // in lease.sockets
	redirect func([]*pkt.Transmit)
	layer    Layer      // what is sent goes through it, and leaves from
	under    pkt.Socket // this one

	pending     bool  // transmits wait in outgo
	first, last int16 // of them
}

// get returns the socket of that name, or nil if it is not open.
func (t *sockets) get(name pkt.Socket) *slot {
	if name < 0 || int(name) >= len(t.slots) || t.slots[name].lease == nil {
		return nil
	}
	return &t.slots[name]
}

// target returns where transmits that name a socket go, or nil if nowhere.
func (t *sockets) target(name pkt.Socket) *slot {
	if name >= 0 {
		return t.get(name)
	}
	if int(^name) >= len(t.redirects) || t.redirects[^name].redirect == nil {
		return nil
	}
	return &t.redirects[^name]
}

// add gives a new socket a name.
func (t *sockets) add(lease *Lease, st *stream) (pkt.Socket, error) {
	if len(t.slots)-t.open <= resting && len(t.slots) < maxSockets {
		t.grow()
	}
	if t.open == len(t.slots) {
		return 0, errSockets
	}
	name := pkt.Socket(t.free[t.head])
	t.head = (t.head + 1) % len(t.free)
	t.open++
	t.slots[name] = slot{lease: lease, stream: st, place: len(lease.sockets)}
	lease.sockets = append(lease.sockets, name)
	return name, nil
}

// grow doubles the table.
func (t *sockets) grow() {
	n := len(t.slots)
	bigger := max(2*resting, 2*n)
	slots := make([]slot, bigger)
	copy(slots, t.slots)
	free := make([]int32, 0, bigger)
	for i := range n - t.open {
		free = append(free, t.free[(t.head+i)%n])
	}
	for i := n; i < bigger; i++ {
		free = append(free, int32(i))
	}
	t.slots, t.free, t.head = slots, free[:bigger], 0
}

// remove forgets the socket of that name, which must be open, and returns its stream, if it is one.
func (t *sockets) remove(name pkt.Socket) *stream {
	s := &t.slots[name]
	st, lease := s.stream, s.lease
	last := lease.sockets[len(lease.sockets)-1]
	lease.sockets[s.place] = last
	t.slots[last].place = s.place
	lease.sockets = lease.sockets[:len(lease.sockets)-1]

	*s = slot{}
	t.free[(t.head+len(t.slots)-t.open)%len(t.free)] = int32(name)
	t.open--
	return st
}

// outgo sorts a batch by socket, keeping the order of each.
type outgo struct {
	next     [batchTransmits]int16 // the transmit after this one on the same socket; -1 at the end
	targets  []pkt.Socket          // that have something, each once
	transmit []*pkt.Transmit
}

// send sends what is in the batch and empties it.
func (l *Loop) send() {
	ts := l.batch.Transmits()
	if len(ts) == 0 {
		return
	}
	o := &l.outgo
	for i := range ts {
		s := l.sockets.target(ts[i].Socket)
		if s == nil {
			l.count.Stale++
			continue
		}
		o.next[i] = -1
		if s.pending {
			o.next[s.last] = int16(i)
		} else {
			s.pending = true
			s.first = int16(i)
			o.targets = append(o.targets, ts[i].Socket)
		}
		s.last = int16(i)
	}
	for _, name := range o.targets {
		s := l.sockets.target(name)
		s.pending = false
		o.transmit = o.transmit[:0]
		for i := s.first; i >= 0; i = o.next[i] {
			o.transmit = append(o.transmit, &ts[i])
		}
		switch {
		case s.redirect != nil:
			s.redirect(o.transmit)
		case s.stream != nil:
			s.stream.send(o.transmit)
		case s.layer != nil:
			l.sendLayered(s, o.transmit)
		default:
			l.poller.Send(name, o.transmit)
		}
	}
	o.targets = o.targets[:0]
	l.batch.Reset()
}

// sendLayered sends what a layer makes of ts.
func (l *Loop) sendLayered(s *slot, ts []*pkt.Transmit) {
	if l.sockets.get(s.under) == nil {
		l.count.Stale += uint64(len(ts))
		return
	}
	ts = s.layer(l.now, ts)
	for _, t := range ts {
		t.Socket = s.under
	}
	l.poller.Send(s.under, ts)
}

// Redirect makes transmits that name a negative number as their socket, -1 to -16, go to a function instead of a socket:
// to be handed to another loop, for instance. It is called on the loop's goroutine, and so is the function, with what
// one batch has; the transmits are borrowed, and the function does no more than hand them on: it must not write to the
// batch, nor open or close anything.
func (l *Loop) Redirect(name pkt.Socket, to func(ts []*pkt.Transmit)) {
	if l.sockets.redirects == nil {
		l.sockets.redirects = make([]slot, 16)
	}
	l.sockets.redirects[^name].redirect = to
}
