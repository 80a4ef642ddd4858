package gather

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// An Event is what a [Gatherer] tells: Candidate, ServerError, Complete, SocketLost, AddressLost, Connected,
// ConnectFailed or Closed.
type Event interface{ event() }

// Candidate says that an address was found. It is for ice.Agent.AddLocalCandidate, and what that returns is to be
// signalled. After Restart the candidates that there are already come again.
type Candidate struct {
	ice.Candidate
	// URL is that of the server that gave the address; empty for host candidates.
	URL string

	from *server
}

// ServerError says what a server could not be used for: the W3C's RTCPeerConnectionIceErrorEvent.
type ServerError struct {
	URL string
	// Local is the address that the server was asked from; invalid if several were tried in vain, or if it is not to be
	// told.
	Local netip.AddrPort
	// Code is an error code of STUN, 300 to 699, or 701: the server was not reached.
	Code int
	// Text says what went wrong and, where there is something, what to do.
	Text string
}

// Complete says that every server has answered or will not. If an interface or a server comes back, candidates follow
// it, and another Complete.
type Complete struct{}

// SocketLost says that a socket, or a relay, is gone: for ice.Agent.RemoveLocal.
type SocketLost struct{ Socket pkt.Socket }

// AddressLost says that the machine lost an address: for ice.Agent.RemoveAddress.
type AddressLost struct{ IP netip.Addr }

// Connected answers Connect: for ice.Agent.Connected.
type Connected struct {
	Number uint32
	Socket pkt.Socket
	Local  netip.AddrPort
}

// ConnectFailed answers Connect: for ice.Agent.ConnectFailed.
type ConnectFailed struct{ Number uint32 }

// Closed is the last event: allocations are given back, and nothing of the Gatherer runs any more.
type Closed struct{}

func (Candidate) event()     {}
func (ServerError) event()   {}
func (Complete) event()      {}
func (SocketLost) event()    {}
func (AddressLost) event()   {}
func (Connected) event()     {}
func (ConnectFailed) event() {}
func (Closed) event()        {}

const (
	// Unreachable is the ServerError.Code that the W3C has for a server that was not reached.
	Unreachable = 701

	// serverPatience is how long a server may take, so that gathering completes.
	serverPatience = 10 * time.Second
	// enoughEvents is how many events wait before changes of the interfaces are left to be noticed later.
	enoughEvents = 512
	// maxPermits is how many peers' addresses are remembered for allocations to come.
	maxPermits = 64
	// retiredLife is how long the relays of a server that is not configured any more are kept after a restart: the former
	// pair carries data until a new one works.
	retiredLife = 30 * time.Second
)

// A Gatherer has the addresses of one ICE agent. It lives on a loop's goroutine, within its owner's lease, and is driven
// by the owner as an engine is. See the package comment.
type Gatherer struct {
	cfg   Config
	lease *loop.Lease

	bases     []*base
	servers   []*server
	retired   []*server // of former configurations, whose relays still live
	bindings  []*binding
	relays    []*relay // by name; nil where free
	listeners []*listener
	found     []Candidate // that stand, whatever the policy is
	permits   []netip.Addr
	next      []Server // for the next Restart; nil: no others
	changed   bool     // the interfaces may be others
	started   bool
	concluded bool
	complete  bool         // was told
	udp       *atomic.Bool // a relay over UDP stands; asked by goroutines
	closed    bool
	over      bool // Closed was told

	mdns      *mdns // nil as long as no name is needed
	stopWatch func()
	cancel    context.CancelFunc // of what runs in the background
	ctx       context.Context
	working   int // goroutines

	events []Event
	told   int
}

// New returns a Gatherer, which does nothing before Start.
func New(lease *loop.Lease, cfg Config) (*Gatherer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	return &Gatherer{cfg: cfg, lease: lease, next: cfg.Servers}, nil
}

// Start begins to gather; a second call does nothing. It may come long before there is a description, for the W3C's
// iceCandidatePoolSize: the events wait.
func (g *Gatherer) Start(now mono.Time) {
	if g.started || g.closed {
		return
	}
	g.started = true
	lease := g.lease
	g.stopWatch = g.cfg.Host.Watch(func() { lease.Post(g.interfacesChanged) })
	g.takeServers()
	g.update(now)
	g.askServers(now)
	g.settle(now)
}

func (g *Gatherer) interfacesChanged(mono.Time) { g.changed = true }

// SetServers changes the servers, from the next Restart on, or from Start on.
func (g *Gatherer) SetServers(servers []Server) error {
	if err := validateServers(servers); err != nil {
		return err
	}
	g.next = slices.Clone(servers)
	if g.next == nil {
		g.next = []Server{}
	}
	return nil
}

// SetPolicy changes the policy, from the next Restart on, or from Start on.
func (g *Gatherer) SetPolicy(p Policy) { g.cfg.Policy = p }

// takeServers puts the servers of the next generation into force. What is known of those that stay is kept.
func (g *Gatherer) takeServers() {
	if g.next == nil {
		return
	}
	var servers []*server
	for _, c := range g.next {
		if i := slices.IndexFunc(g.servers, func(s *server) bool { return s.Server == c }); i >= 0 {
			servers = append(servers, g.servers[i])
			g.servers = slices.Delete(g.servers, i, i+1)
			continue
		}
		servers = append(servers, &server{Server: c, deadline: mono.Never, retryAt: mono.Never, nextAt: mono.Never, retireAt: mono.Never})
	}
	g.retired = append(g.retired, g.servers...)
	g.servers, g.next = servers, nil
}

// Restart begins a new generation: every candidate that stands is told again, servers that have given none are asked
// again, and Complete follows.
func (g *Gatherer) Restart(now mono.Time) {
	if !g.started || g.closed {
		return
	}
	g.complete, g.concluded = false, false
	g.takeServers()
	for _, s := range g.retired {
		s.retire(now)
	}
	g.found = slices.DeleteFunc(g.found, func(c Candidate) bool {
		return slices.Contains(g.retired, c.from)
	})
	for _, c := range g.found {
		g.emit(c)
	}
	for _, b := range g.bindings { // what a server has told that is gone now, another may have too
		if !b.waiting() && slices.Contains(g.servers, b.server) {
			g.tellReflexive(b.base, b.mapped, b.path.Remote, b.server)
		}
	}
	for _, b := range g.bases {
		g.tellHost(now, b) // if the policy was another one
	}
	g.update(now)
	for _, s := range g.servers {
		s.told = false
	}
	g.askServers(now)
	for _, b := range g.bindings {
		b.refresh = mono.Min(b.refresh, now)
	}
	g.settle(now)
}

// Conclude says that ICE has found its pair: mappings at STUN servers need not be kept alive any more (RFC 8445 section
// 5.1.1.4). Relays are kept.
func (g *Gatherer) Conclude(mono.Time) {
	g.concluded = true
	for _, b := range g.bindings {
		if b.mapped.IsValid() {
			b.tx, b.refresh = nil, mono.Never
		}
	}
}

// Verify has servers asked whether what they gave still stands, since ICE finds no path any more (ice.Searching): a NAT or a server
// that forgets says nothing of it. Other candidates follow where it does not.
func (g *Gatherer) Verify(now mono.Time) {
	for _, b := range g.bindings {
		if b.tx == nil {
			b.refresh = now
		}
	}
	for _, r := range g.relays {
		if r != nil && r.ready && !r.retiring {
			r.client.Verify(now)
		}
	}
}

// tell adds a candidate to those that stand, unless there is one like it, or it is not wanted.
func (g *Gatherer) tell(c Candidate) {
	if g.cfg.Candidates != nil && !g.cfg.Candidates(&c.Candidate) {
		return
	}
	for _, f := range g.found {
		if f.Address == c.Address && f.Base == c.Base && f.Transport == c.Transport && f.Socket == c.Socket && f.Name == c.Name {
			return // "redundant" (RFC 8445 section 5.1.3)
		}
	}
	g.found = append(g.found, c)
	g.emit(c)
}

// emit queues a candidate, if the policy is that it be told.
func (g *Gatherer) emit(c Candidate) {
	if g.cfg.Policy == Relay {
		if c.Type != ice.Relayed {
			return
		}
		c.Related = netip.AddrPort{} // it is what the policy hides (RFC 8828 section 5.2)
	}
	g.events = append(g.events, c)
}

// lose forgets the candidates of a socket and says that it is gone.
func (g *Gatherer) lose(s pkt.Socket) {
	g.found = slices.DeleteFunc(g.found, func(c Candidate) bool { return c.Transport != ice.TCPActive && c.Socket == s })
	g.events = append(g.events, SocketLost{s})
}

// NextEvent returns what happened.
func (g *Gatherer) NextEvent() (Event, bool) {
	if g.told == len(g.events) {
		g.events, g.told = nil, 0
		if g.changed {
			g.lease.Touch()
		}
		return nil, false
	}
	e := g.events[g.told]
	g.events[g.told] = nil
	g.told++
	return e, true
}

// settle tells that all is done, if it is.
func (g *Gatherer) settle(now mono.Time) {
	switch {
	case g.closed:
		if !g.over && g.working == 0 && !slices.ContainsFunc(g.relays, func(r *relay) bool { return r != nil }) {
			g.over = true
			g.closeSockets()
			g.events = append(g.events, Closed{})
		}
	case g.started && !g.complete && !slices.ContainsFunc(g.servers, (*server).busy):
		g.complete = true
		g.events = append(g.events, Complete{})
	}
}

// Close gives allocations back; the event Closed follows, after a second at most. A lease that ends before loses nothing
// but that: the server keeps an allocation until its lifetime is over.
func (g *Gatherer) Close(now mono.Time) {
	if g.closed {
		return
	}
	g.closed = true
	if g.stopWatch != nil {
		g.stopWatch()
	}
	if g.cancel != nil {
		g.cancel()
	}
	g.bindings, g.found, g.permits = nil, nil, nil
	for _, b := range g.bases {
		g.dropListeners(b) // whose goroutines are waited for
		if b.name != "" {
			g.mdns.withdraw(b.name)
		}
	}
	if g.mdns != nil {
		g.mdns.leave()
	}
	for _, r := range g.relays {
		if r != nil {
			g.closeRelay(now, r)
		}
	}
	g.settle(now)
	if !g.over {
		g.lease.Touch()
	}
}

// HandleTimeout does what is due.
func (g *Gatherer) HandleTimeout(now mono.Time) {
	for _, b := range slices.Clone(g.bindings) {
		g.bindingTimeout(now, b)
	}
	for _, r := range g.relays {
		if r != nil {
			g.relayTimeout(now, r)
		}
	}
	if !g.closed {
		for _, s := range g.servers {
			g.serverTimeout(now, s)
		}
		g.retired = slices.DeleteFunc(g.retired, func(s *server) bool { return g.retiredTimeout(now, s) })
	}
	g.settle(now)
}

// NextTimeout returns when HandleTimeout is due.
func (g *Gatherer) NextTimeout() mono.Time {
	next := mono.Never
	for _, b := range g.bindings {
		next = mono.Min(next, b.nextTimeout())
	}
	for _, r := range g.relays {
		if r != nil {
			next = mono.Min(next, r.nextTimeout())
		}
	}
	if g.closed {
		return next
	}
	for _, s := range g.servers {
		next = mono.Min(next, mono.Min(s.nextAt, mono.Min(s.deadline, s.retryAt)))
	}
	for _, s := range g.retired {
		next = mono.Min(next, s.retireAt)
	}
	return next
}

// AppendTransmit writes what is for servers.
func (g *Gatherer) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	if g.changed && !g.closed && len(g.events)-g.told < enoughEvents {
		if g.update(now) {
			g.askServers(now)
		}
		g.settle(now)
	}
	for _, x := range g.bindings {
		if x.tx != nil && x.tx.AppendTransmit(now, b) {
			return true
		}
	}
	for _, r := range g.relays {
		if r != nil && g.relayTransmit(now, r, b) {
			return true
		}
	}
	return false
}

// Handle takes what came in on one of the owner's sockets. It returns true if it was for the Gatherer alone. Otherwise d is
// the owner's; what a peer sent through a relay is then unwrapped: d has the relay as its socket, the relayed address and the peer's.
func (g *Gatherer) Handle(now mono.Time, d *pkt.Datagram) (mine bool) {
	if len(g.bindings) > 0 && stun.Is(d.Payload) {
		for _, b := range g.bindings {
			if b.handle(now, d) {
				g.bindingDone(now, b)
				g.settle(now)
				return true
			}
		}
	}
	if d.Remote.Addr().Zone() != "" {
		// A candidate has no zone (RFC 8839 section 5.1), and the socket of a link-local address needs none.
		d.Remote = netip.AddrPortFrom(d.Remote.Addr().WithZone(""), d.Remote.Port())
	}
	for _, r := range g.relays {
		if r != nil && r.path.Socket == d.Socket && r.path.Remote == d.Remote && r.connected {
			mine = g.relayDatagram(now, r, d)
			if mine {
				g.settle(now)
			}
			return mine
		}
	}
	return false
}

// Permit lets a peer's address through every relay, before anything was sent to it.
func (g *Gatherer) Permit(now mono.Time, peer netip.Addr) {
	if g.closed || slices.Contains(g.permits, peer) {
		return
	}
	if len(g.permits) == maxPermits {
		g.permits = append(g.permits[:0], g.permits[1:]...)
	}
	g.permits = append(g.permits, peer)
	for _, r := range g.relays {
		if r != nil && r.client != nil {
			r.client.Permit(now, peer)
		}
	}
}

// background runs work on a goroutine of its own, with a deadline, and then, on the loop, what it returns. If there is
// nobody any more who would have the result, drop gets it off the loop, or on it.
func (g *Gatherer) background(patience time.Duration, work func(ctx context.Context) (then func(now mono.Time), drop func())) {
	if g.ctx == nil {
		g.ctx, g.cancel = context.WithCancel(context.Background())
	}
	g.working++
	ctx, l, lease := g.ctx, g.lease.Loop(), g.lease
	go func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		then, drop := work(ctx)
		posted := l.Post(func(now mono.Time) {
			g.working--
			if g.closed {
				drop()
			} else {
				then(now)
			}
			g.settle(now)
			lease.Touch()
		})
		if !posted {
			drop()
		}
	}()
}

// transactionID draws one. A source that fails leaves zeroes, to which anybody could answer; only an address is at stake.
func (g *Gatherer) transactionID() (id stun.TransactionID) {
	_, _ = io.ReadFull(g.cfg.Entropy, id[:])
	return id
}
