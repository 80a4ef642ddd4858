package simnet

import (
	"math/rand/v2"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Path is what one direction of a link does to packets. The zero Path delivers everything at once.
type Path struct {
	Delay  time.Duration // of propagation
	Jitter time.Duration // up to this much more, evenly spread; packets keep their order, so the mean grows under load
	Batch  time.Duration // packets arrive only each so often, all there are at once, as radio links send them; 0: one by one

	Loss  float64 // share of packets lost, 0 to 1
	Burst float64 // mean number of packets lost in a row, if above 1 (the model of Gilbert); else losses are independent

	Reorder   float64       // share of packets held back, so that later ones overtake them
	ReorderBy time.Duration // for how long
	Duplicate float64       // share of packets that arrive twice

	Rate  int64         // bits a second, headers of IP and above included; 0: no limit
	Queue int           // bytes that may wait for the rate, beyond which packets are dropped; 0: 64 KiB
	Mark  time.Duration // how long a packet waits for the rate to be marked, if it may be (RFC 3168); 0: none is
	MTU   int           // largest packet in bytes, IP header included; larger ones are dropped without a word; 0: no limit

	// Fragments says that packets beyond the MTU are not dropped but cut, if they are of IPv4 and not Unfragmented. They
	// come whole or, if a fragment is lost, not at all.
	Fragments bool
}

const defaultQueue = 64 << 10

// Stats counts the packets that one direction of a link was given.
type Stats struct {
	Sent, Delivered, Lost, Overflowed, TooBig, Duplicated, Reordered, Marked uint64
	DeliveredBytes                                                           uint64 // headers of IP and above included
}

// Link joins a host or router to the router above it.
type Link struct {
	up, down direction
}

// Set changes what the link does, in both directions. Packets under way are not affected.
func (l *Link) Set(p Path) {
	l.SetUp(p)
	l.SetDown(p)
}

// SetUp changes what the link does to packets that leave the host or lower router.
func (l *Link) SetUp(p Path) { l.up.set(p) }

// SetDown changes what the link does to packets towards the host or lower router.
func (l *Link) SetDown(p Path) { l.down.set(p) }

// Up returns what happened so far to packets that left the host or lower router.
func (l *Link) Up() Stats { return l.up.snapshot() }

// Down returns what happened so far to packets towards the host or lower router.
func (l *Link) Down() Stats { return l.down.snapshot() }

// Backlog returns how long a packet that is sent now would wait for the rate, in either direction.
func (l *Link) Backlog() (up, down time.Duration) { return l.up.backlog(), l.down.backlog() }

// direction is one direction of a link: a queue, a transmitter and a wire.
type direction struct {
	net      *Network
	path     Path
	rng      *rand.Rand
	link     *Link
	from, to member
	free     mono.Time // when the transmitter has sent all that waits
	last     mono.Time // when the last packet arrives, for those behind it
	losing   bool      // in a burst of losses
	stats    Stats
}

// member is an end of a link.
type member interface {
	arrive(p *Packet, over *Link)
	base() *node
}

// node is what hosts and routers have in common.
type node struct {
	net  *Network
	name string
	taps []*pcapWriter
}

func (n *node) base() *node { return n }

func (n *node) tap(p *Packet) {
	for _, t := range n.taps {
		t.write(n.net.now, p)
	}
}

func newLink(n *Network, lower, upper member, p Path) *Link {
	l := &Link{}
	l.up = direction{net: n, path: p, rng: n.chance(), link: l, from: lower, to: upper}
	l.down = direction{net: n, path: p, rng: n.chance(), link: l, from: upper, to: lower}
	return l
}

func (d *direction) set(p Path) {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	if waiting := d.waiting(d.net.clock()); waiting > 0 && p.Rate > 0 {
		d.free = d.net.now.Add(transmission(waiting, p.Rate))
	} else {
		d.free = 0
	}
	d.path = p
}

func (d *direction) snapshot() Stats {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	return d.stats
}

func (d *direction) backlog() time.Duration {
	d.net.mu.Lock()
	defer d.net.mu.Unlock()
	return d.wait(d.net.clock())
}

// wait returns how long a packet that comes now waits for the transmitter.
func (d *direction) wait(now mono.Time) time.Duration {
	if d.path.Rate == 0 || d.free <= now {
		return 0
	}
	return d.free.Sub(now)
}

// transmission returns how long it takes to send bytes.
func transmission(bytes int, rate int64) time.Duration {
	return time.Duration(float64(bytes) * 8 * float64(time.Second) / float64(rate))
}

// waiting returns how many bytes the transmitter still has to send.
func (d *direction) waiting(now mono.Time) int {
	return int(d.wait(now).Seconds() * float64(d.path.Rate) / 8)
}

// send puts p on the link; who gives a packet away keeps nothing of it. The network is locked.
func (d *direction) send(p *Packet) {
	now := d.net.clock()
	d.from.base().tap(p)
	d.stats.Sent++
	size, fragments := p.Size(), 1
	if d.path.MTU > 0 && size > d.path.MTU {
		if !d.path.Fragments || p.unfragmented || p.Dst.Addr().Is6() {
			d.stats.TooBig++
			d.drop(p, "too-big")
			return
		}
		each := (d.path.MTU - ipHeader) &^ 7
		fragments = (size - ipHeader + each - 1) / each
		size += (fragments - 1) * ipHeader
	}
	for range fragments {
		if d.lost() {
			d.stats.Lost++
			d.drop(p, "lost")
			return
		}
	}
	leaves := now
	if d.path.Rate > 0 {
		queue := d.path.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if waiting := d.waiting(now); waiting > 0 && waiting+size > queue {
			d.stats.Overflowed++
			d.drop(p, "overflow")
			return
		}
		if d.path.Mark > 0 && p.ECN != pkt.NotECT && d.wait(now) > d.path.Mark {
			p.ECN = pkt.CE
			d.stats.Marked++
		}
		leaves = max(now, d.free).Add(transmission(size, d.path.Rate))
		d.free = leaves
	}
	arrives := leaves.Add(d.path.Delay)
	if d.path.Jitter > 0 {
		arrives = arrives.Add(time.Duration(d.rng.Int64N(int64(d.path.Jitter) + 1)))
	}
	arrives = max(arrives, d.last)
	if b := mono.Time(d.path.Batch); b > 0 {
		arrives = (arrives + b - 1) / b * b
	}
	if d.draw(d.path.Reorder) {
		d.stats.Reordered++
		arrives = arrives.Add(d.path.ReorderBy)
	} else {
		d.last = arrives
	}
	d.net.schedule(event{at: arrives, packet: p, over: d})
	if d.draw(d.path.Duplicate) {
		d.stats.Duplicated++
		d.net.schedule(event{at: arrives, packet: d.net.duplicate(p), over: d})
	}
}

// draw returns true with probability p, and asks chance only if it could go both ways.
func (d *direction) draw(p float64) bool { return p > 0 && (p >= 1 || d.rng.Float64() < p) }

// lost decides whether a packet is lost. In Gilbert's model a burst ends after each packet with probability 1/Burst,
// and begins as often as gives the wanted share.
func (d *direction) lost() bool {
	loss, burst := d.path.Loss, d.path.Burst
	if burst <= 1 || loss <= 0 || loss >= 1 {
		return d.draw(loss)
	}
	if d.losing {
		d.losing = !d.draw(1 / burst)
	} else {
		d.losing = d.draw(loss / (burst * (1 - loss)))
	}
	return d.losing
}

func (d *direction) drop(p *Packet, why string) {
	d.net.note(d.from.base().name, why, p)
	d.net.recycle(p)
}

// arrive hands p to the other end.
func (d *direction) arrive(p *Packet) {
	d.stats.Delivered++
	d.stats.DeliveredBytes += uint64(p.Size())
	d.to.base().tap(p)
	d.to.arrive(p, d.link)
}
