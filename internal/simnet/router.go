package simnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A Router joins what hangs below it with what lies above. Packets for an address below go down, all others up.
type Router struct {
	node
	up    *Link // nil at the root
	above *Router
	below map[netip.Addr]*Link
	nat   *nat
	wall  *wall
}

// Router hangs a plain router below r.
func (r *Router) Router(name string, p Path) *Router {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	return r.hang(name, p)
}

func (r *Router) hang(name string, p Path) *Router {
	lower := &Router{node: node{net: r.net, name: name}, above: r, below: map[netip.Addr]*Link{}}
	lower.up = newLink(r.net, lower, r, p)
	return lower
}

// NAT hangs a router below r that translates what comes from below to the given addresses; the first of each family
// is used for new mappings. Addresses of a family of which it has none pass untranslated.
func (r *Router) NAT(name string, p Path, config NAT, addrs ...string) *Router {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	lower := r.hang(name, p)
	lower.nat = newNAT(r.net, config)
	for _, s := range addrs {
		addr := netip.MustParseAddr(s)
		lower.nat.addrs = append(lower.nat.addrs, addr)
		r.learn(addr, lower.up)
	}
	return lower
}

// Firewall hangs a router below r that lets pass what comes from below if out allows it, and from above only what
// answers it. [NoUDP] and [OnlyPorts] are two that are met with in the field; nil allows everything out.
func (r *Router) Firewall(name string, p Path, out func(*Packet) bool) *Router {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	lower := r.hang(name, p)
	lower.wall = &wall{out: out, flows: map[flow]mono.Time{}}
	return lower
}

// Link returns the link to the router above, or nil for the internet.
func (r *Router) Link() *Link { return r.up }

// learn remembers that addr is below, over link, and tells the routers above as far as they may know.
func (r *Router) learn(addr netip.Addr, over *Link) {
	if _, taken := r.below[addr]; taken {
		panic(fmt.Sprintf("simnet: two hosts have the address %v below %s", addr, r.name))
	}
	r.below[addr] = over
	if r.above != nil && (r.nat == nil || !r.nat.translates(addr)) {
		r.above.learn(addr, r.up)
	}
}

// arrive forwards a packet. The network is locked.
func (r *Router) arrive(p *Packet, over *Link) {
	now := r.net.now
	fromAbove := r.up != nil && over == r.up
	if p.Dst.Addr().IsMulticast() {
		r.spread(p, over)
		return
	}
	if fromAbove {
		if r.wall != nil && !r.wall.letIn(now, p) {
			r.drop(p, "firewall")
			return
		}
		if r.nat != nil && r.nat.owns(p.Dst.Addr()) {
			if why := r.nat.inward(now, p); why != "" {
				r.drop(p, why)
				return
			}
		}
	}
	if link := r.below[p.Dst.Addr()]; link != nil {
		link.down.send(p)
		return
	}
	if fromAbove || r.up == nil {
		r.drop(p, "no-route")
		return
	}
	if r.wall != nil && !r.wall.letOut(now, p) {
		r.drop(p, "firewall")
		return
	}
	if r.nat == nil || !r.nat.translates(p.Src.Addr()) {
		r.up.up.send(p)
		return
	}
	hairpin := r.nat.owns(p.Dst.Addr())
	if hairpin && !r.nat.config.Hairpin {
		r.drop(p, "hairpin")
		return
	}
	if why := r.nat.outward(now, p); why != "" {
		r.drop(p, why)
		return
	}
	if !hairpin {
		r.up.up.send(p)
		return
	}
	if why := r.nat.inward(now, p); why != "" {
		r.drop(p, why)
		return
	}
	if link := r.below[p.Dst.Addr()]; link != nil {
		link.down.send(p)
		return
	}
	r.drop(p, "no-route")
}

// spread sends a multicast packet to every host below but the one that it came from. It goes no further: the groups that there
// are here are those of a link.
func (r *Router) spread(p *Packet, over *Link) {
	var links []*Link
	for _, addr := range slices.SortedFunc(maps.Keys(r.below), netip.Addr.Compare) {
		link := r.below[addr]
		if _, host := link.down.to.(*Host); host && link != over && !slices.Contains(links, link) {
			links = append(links, link)
		}
	}
	for _, link := range links {
		link.down.send(r.net.duplicate(p))
	}
	r.net.recycle(p)
}

func (r *Router) drop(p *Packet, why string) {
	r.net.note(r.name, why, p)
	r.net.recycle(p)
}

// wall is the state of a firewall: the flows that were allowed out, and when each was last used.
type wall struct {
	out   func(*Packet) bool
	flows map[flow]mono.Time
}

// flow is a conversation as seen from below.
type flow struct {
	proto          Protocol
	inside, remote netip.AddrPort
}

// flowLifetime is how long after the last packet answers to a UDP flow are let in, and those of TCP.
const (
	flowLifetime = 2 * time.Minute
	tcpLifetime  = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
)

func lifetime(proto Protocol, udp time.Duration) time.Duration {
	if proto == TCP {
		return tcpLifetime
	}
	return udp
}

func (w *wall) letOut(now mono.Time, p *Packet) bool {
	f := flow{p.Protocol, p.Src, p.Dst}
	if !w.alive(now, f) && w.out != nil && !w.out(p) {
		return false
	}
	w.flows[f] = now
	return true
}

func (w *wall) letIn(now mono.Time, p *Packet) bool {
	f := flow{p.Protocol, p.Dst, p.Src}
	if !w.alive(now, f) {
		return false
	}
	w.flows[f] = now
	return true
}

func (w *wall) alive(now mono.Time, f flow) bool {
	used, ok := w.flows[f]
	return ok && now.Sub(used) < lifetime(f.proto, flowLifetime)
}

// NoUDP is a firewall's rule that lets out TCP only.
func NoUDP(p *Packet) bool { return p.Protocol == TCP }

// OnlyPorts returns a firewall's rule that lets out what is for one of the ports only, over both protocols.
func OnlyPorts(ports ...uint16) func(*Packet) bool {
	return func(p *Packet) bool { return slices.Contains(ports, p.Dst.Port()) }
}

// OnlyTCPPorts returns a firewall's rule that lets out TCP to one of the ports only, as in many offices.
func OnlyTCPPorts(ports ...uint16) func(*Packet) bool {
	return func(p *Packet) bool { return p.Protocol == TCP && slices.Contains(ports, p.Dst.Port()) }
}
