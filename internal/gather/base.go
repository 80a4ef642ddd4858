package gather

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// maxBases is how many addresses of a machine are used at most: more make pairs without end.
const maxBases = 16

// A base is a local address with a UDP socket.
type base struct {
	Address
	socket pkt.Socket
	local  netip.AddrPort
	own    bool   // the socket was opened here, and is not Config.Shared
	told   bool   // its host candidates
	name   string // that is told instead of the address, if it is hidden
	inside bool   // a loopback address for servers on this machine alone: it has no candidates
}

// choose returns the addresses that candidates are gathered from, the best first (RFC 8445 section 5.1.1.1).
func choose(all []Address, cfg *Config) []Address {
	usable := func(a *Address) bool {
		ip := a.IP
		switch {
		case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.Is4In6() || a.Deprecated:
			return false
		case ip.IsLoopback() || a.Kind == Loopback:
			return false
		case siteLocal.Contains(ip) || compatible.Contains(ip): // "Deprecated IPv4-compatible IPv6 addresses ... and IPv6 site-local unicast addresses MUST NOT be included"
			return false
		}
		return cfg.mayUse(a)
	}
	var chosen []Address
	for i := range all {
		a := &all[i]
		if !usable(a) {
			continue
		}
		if a.IP.Is6() && slices.ContainsFunc(all, func(o Address) bool {
			return o.Interface == a.Interface && usable(&o) && hides(&o, a)
		}) {
			continue
		}
		chosen = append(chosen, *a)
	}
	if cfg.Loopback || len(chosen) == 0 { // "Addresses from a loopback interface MUST NOT be included", unless there is nothing else
		for _, a := range all {
			if a.IP.IsLoopback() && cfg.mayUse(&a) {
				chosen = append(chosen, a)
			}
		}
	}
	slices.SortStableFunc(chosen, func(a, b Address) int { return int(a.preference()) - int(b.preference()) })
	return chosen[:min(len(chosen), maxBases)]
}

// mayUse reports whether the owner lets an address be used.
func (c *Config) mayUse(a *Address) bool {
	if c.Shared != nil {
		if _, _, ok := c.Shared(a.IP); !ok {
			return false
		}
	}
	return c.Interfaces == nil || c.Interfaces(*a)
}

var (
	siteLocal  = netip.MustParsePrefix("fec0::/10")
	compatible = netip.MustParsePrefix("::/96")
)

// hides reports whether o makes it wrong to tell another IPv6 address of its interface: "If one or more host candidates
// corresponding to an IPv6 address generated using a mechanism that prevents location tracking are gathered, host
// candidates corresponding to IPv6 link-local addresses ... and to interface-id based addresses MUST NOT be gathered". A
// link-local address is of no use either where there is any other.
func hides(o, a *Address) bool {
	if a.IP.IsLinkLocalUnicast() {
		return !o.IP.IsLinkLocalUnicast()
	}
	return o.Temporary && !a.Temporary && o.IP.Is6() && hasHardwareAddress(a.IP)
}

// hasHardwareAddress reports whether an IPv6 address is made of its interface's hardware address (RFC 4291 appendix A).
func hasHardwareAddress(ip netip.Addr) bool {
	b := ip.As16()
	return b[11] == 0xFF && b[12] == 0xFE
}

// update compares the machine's addresses with those in use, and reports whether there are more bases.
func (g *Gatherer) update(now mono.Time) (more bool) {
	g.changed = false
	add := func(b *base) {
		g.bases, more = append(g.bases, b), true
		g.tellHost(now, b)
	}
	all, err := g.cfg.Host.Addresses()
	if err != nil {
		return false // of a moment: what there is stays
	}
	for _, b := range slices.Clone(g.bases) {
		if !slices.ContainsFunc(all, func(a Address) bool { return a.IP == b.IP }) {
			g.dropBase(now, b)
		}
	}
	chosen := choose(all, &g.cfg)
	g.found, g.events = slices.Grow(g.found, 2*len(chosen)), slices.Grow(g.events, 2*len(chosen)+1) // UDP, TCP, Complete
	for _, a := range chosen {
		if len(g.bases) >= maxBases || slices.ContainsFunc(g.bases, func(b *base) bool { return b.IP == a.IP && !b.inside }) {
			continue
		}
		if g.cfg.Shared != nil {
			socket, port, _ := g.cfg.Shared(a.IP)
			add(&base{Address: a, socket: socket, local: netip.AddrPortFrom(a.IP, port)})
			continue
		}
		// A socket that cannot be had, as that of an address not yet known to be unique, may work at the next change.
		if socket, local, err := g.openSocket(a.IP); err == nil {
			add(&base{Address: a, socket: socket, local: local, own: true})
		}
	}
	return more
}

// reachInside opens a socket at the machine's loopback address, if a server is at one: from other addresses some systems do
// not let it be reached, and it may take who asks from a public one for a stranger.
func (g *Gatherer) reachInside(s *server) {
	for _, ip := range s.addrs {
		if !ip.IsLoopback() || g.hasLoopback(ip.Is4()) {
			continue
		}
		all, _ := g.cfg.Host.Addresses()
		for _, a := range all {
			if !a.IP.IsLoopback() || a.IP.Is4() != ip.Is4() || g.cfg.Interfaces != nil && !g.cfg.Interfaces(a) {
				continue
			}
			if socket, local, err := g.openSocket(a.IP); err == nil {
				g.bases = append(g.bases, &base{Address: a, socket: socket, local: local, own: true, told: true, inside: true})
				break
			}
		}
	}
}

// hasLoopback reports whether servers on this machine can be asked from one of its loopback addresses.
func (g *Gatherer) hasLoopback(is4 bool) bool {
	return slices.ContainsFunc(g.bases, func(b *base) bool { return b.IP.IsLoopback() && b.IP.Is4() == is4 })
}

// reaches reports whether a server's address can be asked from a base.
func (g *Gatherer) reaches(b *base, ip netip.Addr) bool {
	switch {
	case b.IP.Is4() != ip.Is4() || b.IP.Is6() && b.IP.IsLinkLocalUnicast():
		return false
	case ip.IsLoopback():
		return b.IP.IsLoopback() || !g.hasLoopback(ip.Is4())
	}
	return !b.IP.IsLoopback()
}

var errNoPort = errors.New("gather: every port of the range is taken")

// openSocket binds a port of the range, beginning anywhere in it.
func (g *Gatherer) openSocket(ip netip.Addr) (pkt.Socket, netip.AddrPort, error) {
	cfg := udp.Config{Local: netip.AddrPortFrom(ip, 0), ICMP: len(g.servers) > 0} // which are all that reports are about
	if g.cfg.MaxPort == 0 {
		return g.lease.Open(cfg)
	}
	id := g.transactionID()
	size := int(g.cfg.MaxPort) - int(g.cfg.MinPort) + 1
	first := int(id[0])<<8 | int(id[1])
	for i := range size {
		cfg.Local = netip.AddrPortFrom(ip, g.cfg.MinPort+uint16((first+i)%size))
		if s, local, err := g.lease.Open(cfg); err == nil {
			return s, local, nil
		}
	}
	return 0, netip.AddrPort{}, errNoPort
}

// tellHost tells the host candidates of a base, once.
func (g *Gatherer) tellHost(now mono.Time, b *base) {
	if b.told || g.cfg.Policy == Relay || g.cfg.HideHosts && !g.hide(b) {
		return
	}
	b.told = true
	c := Candidate{Candidate: ice.Candidate{
		Type: ice.Host, Name: b.name, Address: netip.AddrPortFrom(b.IP.WithZone(""), b.local.Port()), Base: b.local,
		Socket: b.socket, Preference: b.preference(),
	}}
	for _, m := range g.cfg.Mappings {
		if m.Internal.IsValid() && m.Internal != b.IP || m.External.Is4() != b.IP.Is4() {
			continue
		}
		mapped := c
		mapped.Name = "" // it is meant to be told
		mapped.Address = netip.AddrPortFrom(m.External, b.local.Port())
		if m.Replace {
			c = mapped
			continue
		}
		mapped.Type, mapped.Related = ice.ServerReflexive, g.related(b)
		defer g.tell(mapped)
	}
	g.tell(c)
	g.tellTCP(now, b, &c.Candidate)
}

// related returns the base of a reflexive candidate as it may be told: invalid if the address is hidden.
func (g *Gatherer) related(b *base) netip.AddrPort {
	if g.cfg.HideHosts {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(b.IP.WithZone(""), b.local.Port())
}

// dropBase forgets an address that the machine has no more.
func (g *Gatherer) dropBase(now mono.Time, b *base) {
	g.bases = slices.DeleteFunc(g.bases, func(o *base) bool { return o == b })
	for _, x := range slices.Clone(g.bindings) {
		if x.base == b {
			g.endBinding(now, x, nil)
		}
	}
	for _, r := range g.relays {
		if r != nil && (r.base == b || r.stream && r.path.Local.Addr() == b.IP) {
			g.endRelay(now, r, errAddressLost)
		}
	}
	g.found = slices.DeleteFunc(g.found, func(c Candidate) bool { return c.Base.Addr() == b.IP })
	g.dropListeners(b)
	if b.name != "" {
		g.mdns.withdraw(b.name)
	}
	if b.own {
		g.lease.Close(b.socket)
		g.lose(b.socket)
	}
	g.events = append(g.events, AddressLost{b.IP})
}

// closeSockets closes what was opened.
func (g *Gatherer) closeSockets() {
	for _, b := range g.bases {
		if b.own {
			g.lease.Close(b.socket)
		}
	}
	g.bases = nil
}

// HandleClose says that a stream ended by itself (loop.CloseHandler), or was closed for the agent (ice.Disconnect). It returns true if the
// stream was the Gatherer's own; otherwise it is for ice.Agent.RemoveLocal.
func (g *Gatherer) HandleClose(now mono.Time, s pkt.Socket) (mine bool) {
	for _, r := range g.relays {
		if r != nil && r.stream && r.connected && r.path.Socket == s {
			r.connected, r.own = false, false // the name is not ours any more
			g.endRelay(now, r, errStreamClosed)
			g.settle(now)
			return true
		}
	}
	g.forgetAccepted(s)
	return false
}
