package loop

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Eight posters, a million posts with PARLEY_LONG, while the loop parks at random: all are delivered, in order for each
// poster. A wake-up that is lost shows as a test that never ends.
func TestPostsAreDeliveredInOrder(t *testing.T) {
	const posters = 8
	each := 3_000
	if long {
		each = 125_000
	}
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()

		// A tenant whose timer fires at random moves the deadline while others wake the loop.
		r := rand.New(rand.NewPCG(9, 9))
		restless := &actor{}
		restless.timeout = func(now mono.Time) { restless.next = now.Add(time.Duration(r.IntN(2000)) * time.Microsecond) }
		restless.next = 1
		attach(t, l, restless)

		last := make([]int, posters)
		var group sync.WaitGroup
		for p := range posters {
			group.Go(func() {
				r := rand.New(rand.NewPCG(uint64(p), 0))
				for i := 1; i <= each; i++ {
					if !l.Post(func(mono.Time) {
						if last[p] != i-1 {
							t.Errorf("poster %d: post %d came after %d", p, i, last[p])
						}
						last[p] = i
					}) {
						t.Error("the loop is closed")
					}
					switch r.IntN(100) {
					case 0:
						do(t, l, func(mono.Time) {}) // meanwhile the loop may run dry and park
					case 1, 2, 3:
						runtime.Gosched()
					}
				}
			})
		}
		group.Wait()
		do(t, l, func(mono.Time) {
			for p, n := range last {
				if n != each {
					t.Errorf("poster %d: %d of %d posts came", p, n, each)
				}
			}
		})
		// Alone, so that it parks before each.
		for range each / 10 {
			do(t, l, func(mono.Time) {})
		}
		if c := l.Counters(); c.Posts < uint64(posters*each) || c.Parks < uint64(each/10) {
			t.Errorf("counters %+v", c)
		}
	})
}

// churn is tenants that open and close sockets at random, and one that sends to those that are open. Each opening has an
// id, which is what is sent to it, so that whoever gets a datagram can tell whether it is theirs.
type churn struct {
	t       *testing.T
	w       world
	target  int
	random  *rand.Rand
	owners  []*owner
	open    []*opening
	locals  []netip.AddrPort // of all openings, by id
	sender  *actor
	from    pkt.Socket
	address netip.AddrPort // the sender's
	toSend  int
	calm    bool // nothing opens or closes any more
	sent    int
	got     int
}

type owner struct {
	actor
	mine map[pkt.Socket]*opening
}

type opening struct {
	id    uint64
	owner *owner
	name  pkt.Socket
	local netip.AddrPort
}

func newChurn(t *testing.T, l *Loop, w world, owners, target int) *churn {
	c := &churn{t: t, w: w, target: target, random: rand.New(rand.NewPCG(5, 6))}
	for range owners {
		o := &owner{mine: map[pkt.Socket]*opening{}}
		o.datagram = func(_ mono.Time, d *pkt.Datagram) { c.receive(o, d) }
		o.lease = l.Attach(&o.actor)
		c.owners = append(c.owners, o)
	}
	c.sender = &actor{transmit: c.transmit}
	c.sender.lease = l.Attach(c.sender)
	c.from, c.address = c.sender.open(t, w)
	return c
}

func (c *churn) receive(o *owner, d *pkt.Datagram) {
	if d.Remote != c.address {
		return // another program's, which sends to a port that used to be its own
	}
	p := o.mine[d.Socket]
	switch {
	case p == nil:
		c.t.Errorf("socket %#x delivered to a tenant that does not have it", d.Socket)
	case d.Local != p.local:
		c.t.Errorf("socket %#x at %v delivered a datagram for %v", d.Socket, p.local, d.Local)
	case len(d.Payload) != 8 || !c.meant(binary.BigEndian.Uint64(d.Payload), p):
		c.t.Errorf("socket %#x, opening %d, delivered %x", d.Socket, p.id, d.Payload)
	}
	c.got++
	if c.calm {
		return
	}
	for range c.random.IntN(4) {
		c.openOrClose() // while others of the same round wait to be delivered
	}
}

// meant reports whether what was sent to an opening may arrive at p: because it is p, or on the virtual network because
// p has its port now.
func (c *churn) meant(id uint64, p *opening) bool {
	return id == p.id || c.w.late && id < p.id && c.locals[id] == p.local
}

// step opens and closes sockets and has some datagrams sent.
func (c *churn) step() {
	for range 1 + c.random.IntN(40) {
		c.openOrClose()
	}
	c.toSend += c.random.IntN(60)
	c.sender.lease.Touch()
}

// openOrClose opens or closes one socket, so that their number tends to the target.
func (c *churn) openOrClose() {
	if c.random.IntN(2*c.target) < len(c.open) {
		i := c.random.IntN(len(c.open))
		p := c.open[i]
		c.open[i] = c.open[len(c.open)-1]
		c.open = c.open[:len(c.open)-1]
		delete(p.owner.mine, p.name)
		p.owner.lease.Close(p.name)
		return
	}
	o := c.owners[c.random.IntN(len(c.owners))]
	p := &opening{id: uint64(len(c.locals)), owner: o}
	// As a relay's socket: small buffers.
	var err error
	p.name, p.local, err = o.lease.Open(udp.Config{Local: c.w.local, Buffer: 64 << 10})
	if err != nil {
		c.t.Error(err)
		return
	}
	if o.mine[p.name] != nil {
		c.t.Errorf("name %#x was given twice", p.name)
	}
	o.mine[p.name] = p
	c.locals = append(c.locals, p.local)
	c.open = append(c.open, p)
}

// transmit sends to sockets that are open now: nothing closes one before the batch has left.
func (c *churn) transmit(_ mono.Time, b *pkt.Batch) bool {
	for ; c.toSend > 0 && len(c.open) > 0; c.toSend-- {
		if !c.sendTo(b, c.open[c.random.IntN(len(c.open))]) {
			return true
		}
	}
	return false
}

func (c *churn) sendTo(b *pkt.Batch, p *opening) bool {
	buf := b.Reserve(8)
	if buf == nil {
		return false
	}
	c.sent++
	b.Commit(pkt.Transmit{Path: pkt.Path{Socket: c.from, Remote: p.local}, Payload: binary.BigEndian.AppendUint64(buf, p.id)})
	return true
}

// Sockets open and close at random, 5,000 at a time with PARLEY_LONG, under traffic: no tenant ever gets what was not
// sent to a socket that it has, and in the end every one of them hears.
func TestSocketsThatComeAndGo(t *testing.T) {
	target, steps := 200, 300
	if long {
		target, steps = 5000, 1500
	}
	eachPoller(t, func(t *testing.T, w world) {
		l := start(t, w)
		defer l.Close()
		var c *churn
		do(t, l, func(mono.Time) { c = newChurn(t, l, w, 8, target) })
		for i := range steps {
			if !l.Post(func(mono.Time) { c.step() }) {
				t.Fatal("the loop is closed")
			}
			do(t, l, func(mono.Time) {})
			if i%8 == 0 {
				w.settle()
			}
		}
		var waves [3]chan struct{}
		for i := range waves {
			waves[i] = make(chan struct{})
			do(t, l, func(mono.Time) { c.wave(waves[i]) })
			await(t, waves[i], "a datagram at every socket")
		}
		count := l.Counters()
		do(t, l, func(mono.Time) {
			if c.got == 0 || c.got > c.sent || count.Sockets != len(c.open)+1 || count.UDP.SendError+count.UDP.SendFull != 0 {
				t.Errorf("%d sent, %d received, %d sockets open; counters %+v", c.sent, c.got, len(c.open), count)
			}
		})
		t.Logf("%d openings, %d open in the end; %d datagrams sent, %d received, %d stale, %d lost with their sockets",
			len(c.locals), len(c.open), c.sent, c.got, count.Stale, c.sent-c.got-int(count.Stale))
	})
}

// wave sends one datagram to each open socket and closes done when every one of them has heard it.
func (c *churn) wave(done chan struct{}) {
	c.calm = true
	deaf := map[uint64]bool{}
	for _, p := range c.open {
		deaf[p.id] = true
	}
	for _, o := range c.owners {
		o.datagram = func(_ mono.Time, d *pkt.Datagram) {
			c.receive(o, d)
			if p := o.mine[d.Socket]; p != nil && d.Remote == c.address && binary.BigEndian.Uint64(d.Payload) == p.id {
				delete(deaf, p.id)
			}
			if len(deaf) == 0 && done != nil {
				close(done)
				done = nil
			}
		}
	}
	rest := c.open
	c.sender.transmit = func(_ mono.Time, b *pkt.Batch) bool {
		for ; len(rest) > 0; rest = rest[1:] {
			if !c.sendTo(b, rest[0]) {
				return true
			}
		}
		return false
	}
	c.sender.lease.Touch()
}
