package simnet

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Behaviour says on how much of the remote address the mapping or the filtering of a NAT depends (RFC 4787 sections
// 4.1 and 5).
type Behaviour uint8

// The three behaviours. Independent mapping with independent filtering is what used to be called a full cone, with
// address-dependent filtering a restricted cone, with address and port-dependent filtering a port-restricted cone; a
// symmetric NAT is address and port-dependent in both.
const (
	EndpointIndependent Behaviour = iota
	AddressDependent
	AddressAndPortDependent
)

func (b Behaviour) String() string {
	return [...]string{"endpoint-independent", "address-dependent", "address and port-dependent"}[b]
}

// of returns as much of a remote address as the behaviour depends on.
func (b Behaviour) of(remote netip.AddrPort) netip.AddrPort {
	switch b {
	case EndpointIndependent:
		return netip.AddrPort{}
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	}
	return remote
}

// NAT is how a network address translator behaves (RFC 4787 for UDP, RFC 5382 for TCP). The zero NAT is the kindest to
// peers, but for hairpinning.
type NAT struct {
	Mapping   Behaviour // which packets from inside share an outside port
	Filtering Behaviour // which packets from outside are let in to it
	Hairpin   bool      // whether those inside reach each other by their outside addresses

	// RandomPorts draws a random outside port for each mapping. By default the inside port is kept, or the next free
	// one taken if another mapping has it: each outside port belongs to one mapping only.
	RandomPorts bool

	// Lifetime is how long a UDP mapping, and each permission to answer, lives after the last packet from inside.
	// Default 2 minutes, the least that RFC 4787 REQ-5 allows.
	Lifetime time.Duration
}

type nat struct {
	config  NAT
	rng     *rand.Rand
	addrs   []netip.Addr
	inside  map[insideKey]*mapping
	outside map[outsideKey]*mapping
}

type insideKey struct {
	proto  Protocol
	inside netip.AddrPort
	remote netip.AddrPort // as much of it as the mapping depends on
}

type outsideKey struct {
	proto   Protocol
	outside netip.AddrPort
}

type mapping struct {
	key     insideKey
	outside netip.AddrPort
	used    mono.Time                    // by a packet from inside
	spoken  map[netip.AddrPort]mono.Time // to whom, as much as filtering depends on, and when last
}

func newNAT(n *Network, config NAT) *nat {
	if config.Lifetime == 0 {
		config.Lifetime = 2 * time.Minute
	}
	t := &nat{config: config, rng: n.chance()}
	t.forget()
	return t
}

func (t *nat) forget() {
	t.inside = map[insideKey]*mapping{}
	t.outside = map[outsideKey]*mapping{}
}

// Reboot makes a NAT or firewall forget everything it knew about the conversations through it.
func (r *Router) Reboot() {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	if r.nat != nil {
		r.nat.forget()
	}
	if r.wall != nil {
		clear(r.wall.flows)
	}
}

// owns reports whether addr is one of the outside addresses.
func (t *nat) owns(addr netip.Addr) bool {
	for _, a := range t.addrs {
		if a == addr {
			return true
		}
	}
	return false
}

// translates reports whether addresses of addr's family are translated, and so not known outside.
func (t *nat) translates(addr netip.Addr) bool { return t.outsideAddr(addr).IsValid() }

// outsideAddr returns the outside address of inside's family.
func (t *nat) outsideAddr(inside netip.Addr) netip.Addr {
	for _, a := range t.addrs {
		if a.Is4() == inside.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// outward translates the source of a packet from inside, or returns why it is dropped.
func (t *nat) outward(now mono.Time, p *Packet) (why string) {
	key := insideKey{p.Protocol, p.Src, t.config.Mapping.of(p.Dst)}
	m := t.inside[key]
	if m != nil && !t.fresh(now, m.used, m) {
		t.remove(m)
		m = nil
	}
	if m == nil {
		outside, ok := t.port(now, p.Protocol, p.Src)
		if !ok {
			return "no-port"
		}
		m = &mapping{key: key, outside: outside, spoken: map[netip.AddrPort]mono.Time{}}
		t.inside[key] = m
		t.outside[outsideKey{p.Protocol, outside}] = m
	}
	m.used = now
	m.spoken[t.config.Filtering.of(p.Dst)] = now
	p.Src = m.outside
	return ""
}

// inward translates the destination of a packet from outside, or returns why it is dropped.
func (t *nat) inward(now mono.Time, p *Packet) (why string) {
	m := t.outside[outsideKey{p.Protocol, p.Dst}]
	if m == nil || !t.fresh(now, m.used, m) {
		return "no-mapping"
	}
	spoken, ok := m.spoken[t.config.Filtering.of(p.Src)]
	if !ok || !t.fresh(now, spoken, m) {
		return "filtered"
	}
	p.Dst = m.key.inside
	return ""
}

func (t *nat) fresh(now, used mono.Time, m *mapping) bool {
	return now.Sub(used) < lifetime(m.key.proto, t.config.Lifetime)
}

func (t *nat) remove(m *mapping) {
	delete(t.inside, m.key)
	delete(t.outside, outsideKey{m.key.proto, m.outside})
}

// port finds an outside port for a new mapping.
func (t *nat) port(now mono.Time, proto Protocol, inside netip.AddrPort) (netip.AddrPort, bool) {
	const lowest, ports = 1024, 1<<16 - 1024
	first := int(inside.Port())
	if t.config.RandomPorts || first < lowest {
		first = lowest + t.rng.IntN(ports)
	}
	addr := t.outsideAddr(inside.Addr())
	for i := range ports {
		outside := netip.AddrPortFrom(addr, uint16(lowest+(first-lowest+i)%ports))
		m := t.outside[outsideKey{proto, outside}]
		if m != nil && !t.fresh(now, m.used, m) {
			t.remove(m)
			m = nil
		}
		if m == nil {
			return outside, true
		}
	}
	return netip.AddrPort{}, false
}
