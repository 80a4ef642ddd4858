package simnet

import (
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Bounds and times of the byte streams. They are a plain TCP: NewReno (RFC 6582) with the timer of RFC 6298, an
// acknowledgement for every segment, and neither scaled windows nor options, because a segment says here what it means:
// the whole window, and all holes where a real one has three selective acknowledgements.
const (
	mss           = 1200
	sendBuffer    = 256 << 10
	receiveBuffer = 256 << 10
	initialWindow = 10 * mss
	firstRTO      = time.Second
	minRTO        = 200 * time.Millisecond
	maxRTO        = 60 * time.Second
	maxTries      = 15 // timeouts in a row, then the stream fails: after a quarter of an hour
	openTries     = 6  // of those in the handshake: two minutes
	timeWait      = 10 * time.Second
)

// A Conn is one end of a byte stream over the network. It is a net.Conn; its methods may be called from any goroutine.
type Conn struct {
	host     *Host
	key      connKey
	listener *Listener // who is to get it, until accepted

	mu       sync.Mutex
	changed  sync.Cond // something that a call may wait for has changed
	readDue  deadline
	writeDue deadline

	opened bool  // the handshake is over
	err    error // why the stream failed
	gone   bool  // the host has forgotten it

	// Sending. Sequence number 0 is SYN, the bytes follow, and then FIN.
	out      []byte // from una on, what was written and is not acknowledged
	una, nxt uint64 // the oldest that is not acknowledged, and the next to be sent
	sent     uint64 // the highest ever sent; above nxt after a timeout
	ending   bool   // no more will be written: FIN follows what is in out
	ended    bool   // FIN is acknowledged
	window   int    // of congestion
	thresh   int
	peer     int // the window that the peer offers
	dups     int
	recover  uint64 // fast recovery lasts until this is acknowledged; 0: not in it
	mended   uint64 // holes before this were sent again in it
	tries    int    // timeouts in a row
	srtt     time.Duration
	rttvar   time.Duration
	rto      time.Duration
	timed    uint64 // acknowledging this ends a measurement of the round trip; 0: none
	timedAt  mono.Time
	due      mono.Time // when the retransmission timer fires
	alarm    mono.Time // when it was asked to

	// Receiving.
	in       []byte
	next     uint64 // the next expected
	ahead    []early
	finished bool // FIN has come, and all before it
	closed   bool // by our own Close
}

// early is a segment that came before its turn.
type early struct {
	seq  uint64
	data []byte
	fin  bool
}

func newConn(h *Host, key connKey) *Conn {
	c := &Conn{
		host: h, key: key,
		window: initialWindow, thresh: 1 << 30, peer: receiveBuffer,
		rto: firstRTO, due: mono.Never, alarm: mono.Never,
	}
	c.changed.L = &c.mu
	return c
}

// receive takes a segment.
func (c *Conn) receive(now mono.Time, p *Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changed.Broadcast()
	s := p.tcp
	switch {
	case s.flags&flagRST != 0:
		if !c.opened {
			c.fail(syscall.ECONNREFUSED)
		} else {
			c.fail(syscall.ECONNRESET)
		}
		return
	case s.flags&flagSYN != 0:
		if c.next == 0 {
			c.next = 1
		}
		if c.listener == nil { // ours was answered
			c.acknowledged(now, s, 0)
			c.opened = true
		}
		if c.nxt == 0 {
			c.output(now)
		} else {
			c.emit(c.nxt, nil, 0)
		}
		return
	}
	if c.next == 0 {
		return // nothing counts before SYN
	}
	if c.closed && len(p.Payload) > 0 && s.seq+uint64(len(p.Payload)) > c.next {
		c.reset() // data for a program that does not listen any more
		return
	}
	c.acknowledged(now, s, len(p.Payload))
	if c.listener != nil && c.una > 0 && !c.opened {
		c.opened = true
		c.listener.offer(c)
	}
	if len(p.Payload) > 0 || s.flags&flagFIN != 0 {
		c.take(early{s.seq, p.Payload, s.flags&flagFIN != 0})
		c.emit(c.nxt, nil, 0)
	}
	c.output(now)
	if c.ended && c.finished {
		c.host.net.at(now.Add(timeWait), func(mono.Time) { c.forget() })
	}
}

// take puts a segment where it belongs: to what can be read, among those ahead of their turn, or nowhere.
func (c *Conn) take(e early) {
	if e.seq > c.next {
		if e.seq+uint64(len(e.data)) > c.next+uint64(c.room()) {
			return
		}
		i, found := slices.BinarySearchFunc(c.ahead, e, func(a, b early) int { return int(int64(a.seq - b.seq)) })
		if !found {
			c.ahead = slices.Insert(c.ahead, i, early{e.seq, slices.Clone(e.data), e.fin})
		}
		return
	}
	c.append(e)
	for len(c.ahead) > 0 && c.ahead[0].seq <= c.next {
		c.append(c.ahead[0])
		c.ahead = slices.Delete(c.ahead, 0, 1)
	}
}

// append takes what is new in a segment whose turn has come.
func (c *Conn) append(e early) {
	if c.finished {
		return
	}
	old := c.next - e.seq
	if old > uint64(len(e.data)) {
		return
	}
	data := e.data[old:]
	fits := min(len(data), c.room())
	c.in = append(c.in, data[:fits]...)
	c.next += uint64(fits)
	if e.fin && fits == len(data) {
		c.next++
		c.finished = true
	}
}

// room returns the window to offer.
func (c *Conn) room() int { return max(0, receiveBuffer-len(c.in)) }

// acknowledged takes the acknowledgement in a segment with size bytes.
func (c *Conn) acknowledged(now mono.Time, s segment, size int) {
	if s.flags&flagACK == 0 || s.ack > c.sent {
		return
	}
	before := c.peer
	c.peer = s.window
	if s.ack <= c.una {
		if c.peer == 0 {
			c.tries = 0 // a peer that does not read is alive
		}
		if s.ack == c.una && c.una < c.nxt && size == 0 && s.flags == flagACK && c.peer == before {
			c.duplicate(now, s.holes)
		}
		return
	}
	fresh := s.ack - c.una
	c.una = s.ack
	c.nxt = max(c.nxt, c.una)
	c.discard(fresh)
	c.tries = 0
	if c.timed != 0 && s.ack >= c.timed {
		c.measure(now.Sub(c.timedAt))
	}
	switch {
	case c.recover == 0 && c.window < c.thresh:
		c.window += min(int(fresh), mss)
	case c.recover == 0:
		c.window += max(1, mss*mss/c.window)
	case c.una >= c.recover: // RFC 6582 section 3.2: a full acknowledgement
		c.recover, c.window = 0, c.thresh
	default: // a partial one: the next hole
		c.window = max(mss, c.window-int(fresh)+mss)
		c.mend(now, s.holes)
	}
	c.dups = 0
	c.due = mono.Never
	if c.una < c.nxt {
		c.arm(now)
	}
}

// discard forgets n sequence numbers that were acknowledged: bytes, and perhaps SYN before and FIN after them.
func (c *Conn) discard(n uint64) {
	if c.una == n { // from 0 on
		n--
	}
	if n > uint64(len(c.out)) {
		n--
		c.ended = true
	}
	c.out = c.out[n:]
	if len(c.out) == 0 {
		c.out = nil
	}
}

// duplicate counts acknowledgements that say that something later has arrived.
func (c *Conn) duplicate(now mono.Time, holes []hole) {
	c.dups++
	switch {
	case c.dups == 3 && c.recover == 0:
		c.thresh = max(int(c.nxt-c.una)/2, 2*mss)
		c.window = c.thresh + 3*mss
		c.recover, c.mended = c.nxt, c.una
		c.mend(now, holes)
		c.arm(now)
	case c.dups > 3:
		c.window += mss
		c.mend(now, holes)
	}
}

// mend sends the oldest segment again that is missing and was not sent again before.
func (c *Conn) mend(now mono.Time, holes []hole) {
	c.timed = 0 // Karn
	for _, h := range append(holes, hole{c.una, c.una + 1}) {
		if from := max(h.from, c.mended); from < h.to {
			n, _ := c.sendFrom(now, from, int(h.to-from))
			c.mended = from + n
			return
		}
	}
}

func (c *Conn) measure(rtt time.Duration) {
	c.timed = 0
	if c.srtt == 0 {
		c.srtt, c.rttvar = rtt, rtt/2
	} else {
		c.rttvar += ((c.srtt - rtt).Abs() - c.rttvar) / 4
		c.srtt += (rtt - c.srtt) / 8
	}
	c.rto = max(minRTO, c.srtt+4*c.rttvar)
}

// output sends what may be sent.
func (c *Conn) output(now mono.Time) {
	for c.err == nil {
		flying := int(c.nxt - c.una)
		most := min(c.window, max(c.peer, 1)) - flying // one byte probes a closed window
		if flying > 0 && most < mss {
			break // no crumbs
		}
		n, ok := c.sendFrom(now, c.nxt, most)
		if !ok {
			break
		}
		c.nxt += n
		c.sent = max(c.sent, c.nxt)
		if c.due == mono.Never {
			c.arm(now)
		}
	}
}

// sendFrom sends the segment that begins with seq, of at most the given size, and returns how many sequence numbers it
// takes; false if there is none.
func (c *Conn) sendFrom(now mono.Time, seq uint64, most int) (uint64, bool) {
	if seq == 0 {
		c.emit(0, nil, flagSYN)
		return 1, true
	}
	if !c.opened {
		return 0, false
	}
	offset := int(seq - max(c.una, 1))
	if offset > len(c.out) {
		return 0, false // FIN was sent
	}
	n := min(len(c.out)-offset, most, mss)
	flags := uint8(0)
	taken := uint64(n)
	if c.ending && offset+n == len(c.out) {
		flags = flagFIN
		taken++
	}
	if taken == 0 {
		return 0, false
	}
	c.emit(seq, c.out[offset:offset+n], flags)
	if c.timed == 0 && seq >= c.sent {
		c.timed, c.timedAt = seq+taken, now
	}
	return taken, true
}

// emit sends a segment.
func (c *Conn) emit(seq uint64, data []byte, flags uint8) {
	if c.next > 0 {
		flags |= flagACK
	}
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.packet(TCP, c.key.local, c.key.remote, data)
	p.tcp = segment{seq: seq, ack: c.next, window: c.room(), flags: flags}
	from := c.next
	for _, e := range c.ahead {
		if e.seq > from {
			p.tcp.holes = append(p.tcp.holes, hole{from, e.seq})
		}
		from = max(from, e.seq+uint64(len(e.data)))
	}
	c.host.send(p)
}

// arm sets the retransmission timer.
func (c *Conn) arm(now mono.Time) {
	c.due = now.Add(c.rto)
	if c.due < c.alarm {
		c.alarm = c.due
		c.host.net.at(c.due, c.ring)
	}
}

func (c *Conn) ring(now mono.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now >= c.alarm {
		c.alarm = mono.Never
	}
	if c.err != nil || c.due == mono.Never {
		return
	}
	if now < c.due {
		if c.due < c.alarm {
			c.alarm = c.due
			c.host.net.at(c.due, c.ring)
		}
		return
	}
	if c.tries++; c.tries > maxTries || !c.opened && c.tries > openTries {
		c.fail(syscall.ETIMEDOUT)
		c.changed.Broadcast()
		return
	}
	c.thresh = max(int(c.nxt-c.una)/2, 2*mss)
	c.window = mss
	c.recover, c.dups, c.timed = 0, 0, 0
	c.nxt = c.una // and all after it again
	c.rto = min(2*c.rto, maxRTO)
	c.due = mono.Never
	c.output(now)
}

// reset tells the peer that the stream has failed, and fails it here.
func (c *Conn) reset() {
	if c.err == nil && !c.gone {
		c.emit(c.nxt, nil, flagRST)
	}
	c.fail(errClosed)
}

var errClosed = errors.New("closed")

// fail ends the stream: nothing more is sent and what was not read is lost.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.in, c.out, c.ahead = nil, nil, nil
	c.due = mono.Never
	c.forget()
}

// forget takes the stream out of the host's table.
func (c *Conn) forget() {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.host.conns[c.key] == c {
		delete(c.host.conns, c.key)
	}
	if c.listener != nil {
		delete(c.listener.opening, c)
	}
}

// refuse answers a segment that nobody wants. The network is locked.
func (h *Host) refuse(p *Packet) {
	rst := h.net.packet(TCP, p.Dst, p.Src, nil)
	rst.tcp = segment{seq: p.tcp.ack, ack: p.tcp.seq + 1, flags: flagRST | flagACK}
	h.send(rst)
}
