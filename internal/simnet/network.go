package simnet

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// epoch is where virtual time begins: not at zero, which means nothing by itself.
const epoch = mono.Time(1000 * time.Second)

// A Network is a tree of routers and hosts and everything that is under way between them. Its root is the open
// internet.
//
// A Network runs in one of two ways. [Network.Run] lets virtual time pass in the calling goroutine: everything then
// happens in that goroutine, in an order that depends on the seed alone. [Network.Live] makes it run by itself on Go's
// clock, for programs with goroutines, and is meant for a testing/synctest bubble, where that clock is virtual.
type Network struct {
	mu      sync.Mutex // held while packets move, never while a receiver is called
	seed    uint64
	now     mono.Time
	events  eventQueue
	order   uint64  // of the last event scheduled
	landed  landing // what the event in hand brought to a host
	root    *Router
	streams uint64 // random streams given out
	names   map[string][]netip.Addr
	log     io.Writer
	free    []*Packet

	live    bool
	began   time.Time
	timer   *time.Timer
	armed   mono.Time // when timer fires
	running bool      // a goroutine is at work in runLive
}

// landing is a packet at its destination and who takes it there.
type landing struct {
	to     receiver
	packet *Packet
}

// receiver takes a packet that is for a socket or connection of a host. The packet is lent.
type receiver interface {
	receive(now mono.Time, p *Packet)
}

// New returns a network that consists of the internet alone. All chance in it comes from seed.
func New(seed uint64) *Network {
	n := &Network{seed: seed, now: epoch, names: map[string][]netip.Addr{}, armed: mono.Never}
	n.root = &Router{node: node{net: n, name: "internet"}, below: map[netip.Addr]*Link{}}
	return n
}

// Internet returns the root of the tree, a router that loses nothing and knows the way to everybody with a public
// address.
func (n *Network) Internet() *Router { return n.root }

// Now returns the time in the network.
func (n *Network) Now() mono.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.clock()
}

// clock returns the time and holds it. The caller holds n.mu.
func (n *Network) clock() mono.Time {
	if n.live {
		n.now = max(n.now, epoch.Add(time.Since(n.began)))
	}
	return n.now
}

// Run lets d of virtual time pass.
func (n *Network) Run(d time.Duration) { n.RunUntil(func() bool { return false }, d) }

// RunUntil lets virtual time pass until done returns true, which it asks after everything that happens, or until the
// limit has passed, and reports whether done came true.
func (n *Network) RunUntil(done func() bool, limit time.Duration) bool {
	if n.live {
		panic("simnet: Run on a network that is live")
	}
	end := n.now.Add(limit)
	if done() {
		return true
	}
	for n.step(end) {
		if done() {
			return true
		}
	}
	n.now = end
	return false
}

// Live makes the network run on Go's clock, by itself, from now on until Close. What is under way goes on.
func (n *Network) Live() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.live = true
	n.began = time.Now().Add(-n.now.Sub(epoch))
	n.timer = time.AfterFunc(time.Duration(1<<62), n.runLive)
	n.arm()
}

// Close ends a live network: nothing arrives any more. It does not close connections.
func (n *Network) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
	}
	n.events = nil
	n.running = true
}

// runLive does what is due on a live network and sets the timer for the rest.
func (n *Network) runLive() {
	n.mu.Lock()
	n.armed = mono.Never
	if n.running {
		n.mu.Unlock()
		return
	}
	n.running = true
	n.mu.Unlock()
	for n.step(n.Now()) {
	}
	n.mu.Lock()
	n.running = false
	n.arm()
	n.mu.Unlock()
}

// arm sets the timer of a live network to the next event, unless someone is at work and will do it in the end.
func (n *Network) arm() {
	if !n.live || n.running || len(n.events) == 0 || n.events[0].at >= n.armed {
		return
	}
	n.armed = n.events[0].at
	n.timer.Reset(n.armed.Sub(n.clock()))
}

// step lets the earliest event happen, if it is due by end, and reports whether one was.
func (n *Network) step(end mono.Time) bool {
	n.mu.Lock()
	if len(n.events) == 0 || n.events[0].at > end {
		n.mu.Unlock()
		return false
	}
	e := n.events.pop()
	n.now = max(n.now, e.at)
	now := n.now
	if e.do != nil {
		n.mu.Unlock()
		e.do(now)
		return true
	}
	e.over.arrive(e.packet)
	at := n.landed
	n.landed = landing{}
	n.mu.Unlock()
	if at.to != nil {
		at.to.receive(now, at.packet)
		n.mu.Lock()
		n.recycle(at.packet)
		n.mu.Unlock()
	}
	return true
}

// schedule makes e happen. The caller holds n.mu.
func (n *Network) schedule(e event) {
	n.order++
	e.order = n.order
	n.events.push(e)
	n.arm()
}

// at calls do at the given time, without n.mu.
func (n *Network) at(when mono.Time, do func(now mono.Time)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.schedule(event{at: max(when, n.clock()), do: do})
}

// After calls do in the network's time, d from now. On a network that is not live this happens in Run.
func (n *Network) After(d time.Duration, do func(now mono.Time)) { n.at(n.Now().Add(d), do) }

// chance returns a stream of randomness of its own, so that what one part of the network draws does not change what
// another does.
func (n *Network) chance() *rand.Rand {
	n.streams++
	return rand.New(rand.NewPCG(n.seed, n.streams))
}

// Name gives a host name to addresses, for everyone in the network.
func (n *Network) Name(name string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		n.names[name] = append(n.names[name], netip.MustParseAddr(a))
	}
}

// Lookup returns the addresses of a host name, or the address that the name is.
func (n *Network) Lookup(name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if addrs := n.names[name]; len(addrs) > 0 {
		return addrs, nil
	}
	return nil, fmt.Errorf("simnet: no host is called %q: use Network.Name", name)
}

// event is something that will happen: a packet that reaches the end of a link, or a call.
type event struct {
	at     mono.Time
	order  uint64 // of events at the same time, the first scheduled happens first
	packet *Packet
	over   *direction
	do     func(now mono.Time)
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

// eventQueue is a binary heap with the earliest event first.
type eventQueue []event

func (q *eventQueue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(&h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = e
	*q = h
}

func (q *eventQueue) pop() event {
	h := *q
	top := h[0]
	last := h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	*q = h
	if len(h) == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(&h[child]) {
			child++
		}
		if !h[child].before(&last) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = last
	return top
}
