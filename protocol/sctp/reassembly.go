package sctp

import (
	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Parts of messages (RFC 9260 section 6.9). What comes in its turn is appended to what is there of its message; what comes
// too early waits beside, each part by itself. A part of DATA is known by its TSN alone: the parts of a message follow
// each other. For those of I-DATA see interleave.go.

// assembly is a message of which something is missing.
type assembly struct {
	stream    StreamID
	unordered bool
	tooLarge  bool // its parts are thrown away, the channel is being closed
	number    uint32
	ppid      uint32
	data      []byte // from the beginning on
	next      int64  // TSN of the part that comes next; with I-DATA its FSN
	interleaved
	spare *assembly
}

// inMessage is a whole message.
type inMessage struct {
	number uint32 // SSN or MID
	ppid   uint32
	data   []byte
}

// earlyQueue is the messages of a channel that wait for others before them: a heap, first the one whose turn comes first, so
// that no order in which a peer may send is costly.
type earlyQueue []inMessage

func (q *earlyQueue) push(m inMessage) {
	*q = append(*q, m)
	h := *q
	for i := len(h) - 1; i > 0 && seqnum.Before(h[i].number, h[(i-1)/2].number); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (q *earlyQueue) pop() inMessage {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], inMessage{}
	h = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child+1 < last && seqnum.Before(h[child+1].number, h[child].number) {
			child++
		}
		if child >= last || !seqnum.Before(h[child].number, h[i].number) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	*q = shrunk(h)
	return first
}

// shrunk returns a list that has become shorter without the room that it once needed: a peer could have every channel keep it.
func shrunk[T any](list []T) []T {
	const small = 16
	switch {
	case cap(list) <= small || len(list) > cap(list)/4:
		return list
	case len(list) == 0:
		return nil
	}
	return append(make([]T, 0, 2*len(list)), list...)
}

// assembler holds the messages of which something is missing.
type assembler struct {
	current *assembly           // of DATA, the one that was continued last
	open    map[int64]*assembly // the others, by the TSN that comes next
	early   map[int64]dataChunk // parts of DATA that nothing before them is known of, by TSN
	partial int                 // of I-DATA, in all channels
	spare   *assembly           // memory for the next
	spares  int
}

const (
	maxSpares     = 16
	maxSpareParts = 256 // of a message whose map is kept
)

func (s *assembler) new() *assembly {
	m := s.spare
	if m == nil {
		return &assembly{}
	}
	s.spare = m.spare
	s.spares--
	m.spare = nil
	return m
}

func (s *assembler) recycle(m *assembly) {
	if s.spares < maxSpares {
		ahead, parts := m.ahead, m.highest+1
		*m = assembly{spare: s.spare}
		if clear(ahead); parts <= maxSpareParts {
			m.ahead = ahead
		}
		s.spare = m
		s.spares++
	}
}

// reassemble takes a new chunk and delivers what it completes.
func (a *Association) reassemble(now mono.Time, tsn int64, d *dataChunk) {
	switch {
	case d.flags&(flagBegin|flagEnd) == flagBegin|flagEnd:
		a.standsAlone(tsn)
		a.receive.held += cost(len(d.payload))
		a.complete(now, d.stream, d.flags&flagUnordered != 0, inMessage{d.number, d.ppid, a.pool.copyOf(d.payload)})
	case a.send.interleave:
		a.gather(now, d)
	default:
		a.join(now, tsn, d)
	}
}

// join takes a part of a message of DATA.
func (a *Association) join(now mono.Time, tsn int64, d *dataChunk) {
	rx := &a.receive
	var m *assembly
	if d.flags&flagBegin == 0 {
		m = rx.expecting(tsn)
	}
	switch {
	case d.flags&flagBegin != 0:
		a.endBefore(tsn)
		rx.park()
		m = rx.assembler.new()
		m.stream, m.unordered, m.number, m.ppid = d.stream, d.flags&flagUnordered != 0, d.number, d.ppid
		m.next = tsn
		rx.held += m.cost()
		rx.current = m
	case m == nil:
		before, waits := rx.early[tsn-1]
		if waits && before.flags&flagEnd != 0 || !waits && rx.has(tsn-1) { // what is before it is not of its message
			a.skipEarly(tsn + 1)
			return
		}
		if d.flags&flagEnd != 0 {
			a.skipEarly(tsn + 1)
		}
		kept := *d
		kept.payload = a.pool.copyOf(d.payload)
		rx.held += cost(len(kept.payload))
		if rx.early == nil {
			rx.early = map[int64]dataChunk{}
		}
		rx.early[tsn] = kept
		return
	}
	part := *d
	for early := false; ; early = true {
		if part.stream != m.stream || part.flags&flagUnordered != 0 != m.unordered || part.number != m.number && !m.unordered {
			a.violate("fragments of different messages follow each other")
			return
		}
		a.append(now, m, part.payload)
		if early {
			a.dropEarly(m.next-1, part)
		}
		if part.flags&flagEnd != 0 {
			rx.current = nil
			a.skipEarly(m.next)
			a.assembled(now, m)
			return
		}
		var ok bool
		if part, ok = rx.early[m.next]; !ok {
			break
		}
	}
	if rx.has(m.next) { // as the beginning of another message
		rx.current = nil
		a.discard(m)
	}
}

// standsAlone throws away the parts of messages of DATA before and after a TSN that belongs to neither.
func (a *Association) standsAlone(tsn int64) {
	if !a.send.interleave {
		a.endBefore(tsn)
		a.skipEarly(tsn + 1)
	}
}

// endBefore throws away the message of DATA that was to go on with a TSN that is not its own: the peer has given it up.
func (a *Association) endBefore(tsn int64) {
	if m := a.receive.expecting(tsn); m != nil {
		a.receive.current = nil
		a.discard(m)
	}
}

// expecting returns the message of DATA that goes on with a TSN, which becomes the current one; nil if none does.
func (rx *receiver) expecting(tsn int64) *assembly {
	if m := rx.current; m != nil && m.next == tsn {
		return m
	}
	m := rx.open[tsn]
	if m != nil {
		delete(rx.open, tsn)
		rx.park()
		rx.current = m
	}
	return m
}

// park makes room for another current message.
func (rx *receiver) park() {
	if rx.current == nil {
		return
	}
	if rx.open == nil {
		rx.open = map[int64]*assembly{}
	}
	rx.open[rx.current.next] = rx.current
	rx.current = nil
}

// cost is what m counts against the window, but for parts that wait.
func (m *assembly) cost() int { return cost(len(m.data)) }

// append puts the next part at the end of m. If that is too much, it closes the channel, which throws m away if it is one
// of I-DATA.
func (a *Association) append(now mono.Time, m *assembly, payload []byte) {
	m.next++
	rx := &a.receive
	rx.held -= m.cost()
	exceeds := len(m.data)+len(payload) > a.cfg.MaxMessageSize
	switch {
	case m.tooLarge:
	case exceeds:
		m.tooLarge = true
		a.pool.put(m.data)
		m.data = nil
	default:
		m.data = a.pool.extend(m.data, payload)
	}
	rx.held += m.cost()
	if exceeds {
		a.closeWithError(now, m.stream, tooLarge)
	}
}

// assembled delivers a message that is whole.
func (a *Association) assembled(now mono.Time, m *assembly) {
	in, stream, unordered, tooLarge := inMessage{m.number, m.ppid, m.data}, m.stream, m.unordered, m.tooLarge
	a.receive.recycle(m)
	if !tooLarge {
		a.complete(now, stream, unordered, in)
		return
	}
	a.receive.held -= cost(0)
	if ch := a.channels[stream]; ch != nil && !unordered {
		a.skipTo(now, ch, a.number(ch, in.number))
	}
}

// discard throws away what there is of a message.
func (a *Association) discard(m *assembly) {
	a.receive.held -= m.cost()
	a.pool.put(m.data)
	for _, part := range m.ahead {
		a.receive.held -= cost(len(part))
		a.pool.put(part)
	}
	a.receive.recycle(m)
}

// dropEarly frees a part of DATA that waited.
func (a *Association) dropEarly(tsn int64, d dataChunk) {
	a.receive.held -= cost(len(d.payload))
	a.pool.put(d.payload)
	delete(a.receive.early, tsn)
}

// skipEarly throws away the parts from a TSN on up to the end of a message, because the beginning will not come.
func (a *Association) skipEarly(tsn int64) {
	for ; ; tsn++ {
		d, ok := a.receive.early[tsn]
		if !ok {
			return
		}
		a.dropEarly(tsn, d)
		if d.flags&flagEnd != 0 {
			return
		}
	}
}

// skipParts throws away the parts of messages of DATA that the peer has given up: those of which something is missing that
// is after one TSN and not after another.
func (a *Association) skipParts(after, upTo int64) {
	rx := &a.receive
	rx.park()
	if len(rx.open)+len(rx.early) == 0 {
		return
	}
	for tsn, m := range within(rx.open, after+1, upTo+1) {
		delete(rx.open, tsn)
		a.discard(m)
	}
	for tsn, d := range within(rx.early, after+1, upTo) {
		a.dropEarly(tsn, d)
	}
	a.skipEarly(upTo + 1)
}

// complete delivers a whole message now, or keeps it for its turn.
func (a *Association) complete(now mono.Time, id StreamID, unordered bool, m inMessage) {
	ch := a.channel(id)
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
		const ahead = 1 << 30 // at most, so that a floor of long ago does not seem to be ahead
		if seqnum.Diff(m.number, ch.floor) > ahead {
			ch.floor = m.number - ahead
			a.giveUp(ch, true, ch.floor-1)
		}
		a.deliver(now, ch, m)
		return
	}
	m.number = a.number(ch, m.number)
	if m.number != ch.expected && !seqnum.Before(m.number, ch.expected) {
		ch.early.push(m)
		return
	}
	a.deliverInOrder(now, ch, m)
	a.deliverEarly(now, ch)
}

// deliverInOrder delivers a message whose turn it is, unless the peer has used its number twice.
func (a *Association) deliverInOrder(now mono.Time, ch *channel, m inMessage) {
	if seqnum.Before(m.number, ch.expected) {
		a.forget(m)
		return
	}
	ch.expected = m.number + 1
	a.deliver(now, ch, m)
}

// number returns what an SSN stands for, the number nearest to what is expected on ch. MIDs have all their bits.
func (a *Association) number(ch *channel, n uint32) uint32 {
	if a.send.interleave {
		return n
	}
	return ch.expected + uint32(seqnum.Diff(uint16(n), uint16(ch.expected)))
}

// deliverEarly delivers what was waiting and has its turn now.
func (a *Association) deliverEarly(now mono.Time, ch *channel) {
	for len(ch.early) > 0 && !seqnum.Before(ch.expected, ch.early[0].number) {
		a.deliverInOrder(now, ch, ch.early.pop())
	}
}

// skipTo delivers what waits on ch up to a number that will not come, and goes on after it.
func (a *Association) skipTo(now mono.Time, ch *channel, number uint32) {
	if seqnum.Before(number, ch.expected) {
		return
	}
	for len(ch.early) > 0 && !seqnum.Before(number, ch.early[0].number) {
		a.deliverInOrder(now, ch, ch.early.pop())
	}
	ch.expected = number + 1
	a.deliverEarly(now, ch)
}

// forget frees a message that nobody gets.
func (a *Association) forget(m inMessage) {
	a.receive.held -= cost(len(m.data))
	a.pool.put(m.data)
}
