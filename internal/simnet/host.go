package simnet

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A Host is where programs run: it has addresses, sockets, and one link or several.
type Host struct {
	node
	links     []*Link
	addrs     []netip.Addr // in the order in which they came
	via       map[netip.Addr]*Link
	sockets   map[netip.AddrPort]*Socket
	listeners map[netip.AddrPort]*Listener
	conns     map[connKey]*Conn
	nextPort  uint16
}

type connKey struct{ local, remote netip.AddrPort }

// Host hangs a host with the given addresses below r.
func (r *Router) Host(name string, p Path, addrs ...string) *Host {
	h := &Host{
		node:      node{net: r.net, name: name},
		via:       map[netip.Addr]*Link{},
		sockets:   map[netip.AddrPort]*Socket{},
		listeners: map[netip.AddrPort]*Listener{},
		conns:     map[connKey]*Conn{},
		nextPort:  firstEphemeral,
	}
	h.Attach(r, p, addrs...)
	return h
}

// Attach gives h one more link, to r, with addresses of its own: a second network interface.
func (h *Host) Attach(r *Router, p Path, addrs ...string) *Link {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	link := newLink(h.net, h, r, p)
	h.links = append(h.links, link)
	for _, s := range addrs {
		addr := netip.MustParseAddr(s)
		h.addrs = append(h.addrs, addr)
		h.via[addr] = link
		r.learn(addr, link)
	}
	return link
}

// Link returns the first link of h.
func (h *Host) Link() *Link { return h.links[0] }

// Addrs returns the addresses of h, in the order in which they were given.
func (h *Host) Addrs() []netip.Addr {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return slices.Clone(h.addrs)
}

// Network returns the network that h is in.
func (h *Host) Network() *Network { return h.net }

// send puts p on the link that its source address belongs to. The network is locked.
func (h *Host) send(p *Packet) {
	h.net.note(h.name, "send", p)
	if h.via[p.Dst.Addr()] != nil { // to oneself
		h.net.schedule(event{at: h.net.clock(), packet: p, over: &direction{net: h.net, from: h, to: h}})
		return
	}
	link := h.via[p.Src.Addr()]
	if link == nil {
		h.drop(p, "no-such-source")
		return
	}
	link.up.send(p)
}

func (h *Host) drop(p *Packet, why string) {
	h.net.note(h.name, why, p)
	h.net.recycle(p)
}

// arrive finds out who takes p. The network is locked.
func (h *Host) arrive(p *Packet, _ *Link) {
	any := netip.AddrPortFrom(unspecified(p.Dst.Addr()), p.Dst.Port())
	var to receiver
	if p.Protocol == UDP {
		s := h.sockets[p.Dst]
		if s == nil {
			s = h.sockets[any]
		}
		if s != nil {
			to = s
		}
	} else if c := h.conns[connKey{p.Dst, p.Src}]; c != nil {
		to = c
	} else {
		l := h.listeners[p.Dst]
		if l == nil {
			l = h.listeners[any]
		}
		if l != nil {
			to = l
		}
	}
	if to == nil {
		if p.Protocol == TCP && p.tcp.flags&flagRST == 0 {
			h.refuse(p)
		}
		h.drop(p, "no-socket")
		return
	}
	h.net.note(h.name, "recv", p)
	h.net.landed = landing{to, p}
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// source returns the address from which h sends to remote if nobody says which.
func (h *Host) source(remote netip.Addr) netip.Addr {
	if h.via[remote] != nil {
		return remote
	}
	for _, a := range h.addrs {
		if a.Is4() == remote.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

const firstEphemeral = 49152

// freePort returns a port of which taken says no. The network is locked.
func (h *Host) freePort(taken func(port uint16) bool) (uint16, error) {
	for range 1<<16 - firstEphemeral {
		port := h.nextPort
		h.nextPort++
		if h.nextPort == 0 {
			h.nextPort = firstEphemeral
		}
		if !taken(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("simnet: %s has no free port", h.name)
}

// A Socket is a UDP socket of a host, as an engine's driver or a test uses it.
type Socket struct {
	host   *Host
	number pkt.Socket
	local  netip.AddrPort
	handle func(now mono.Time, d *pkt.Datagram)
}

// Bind opens a UDP socket. The address may be unspecified, for all addresses of its family, and the port 0 for a free
// one. What arrives is passed to handle, which may send; the datagram is lent to it. A nil handle ignores everything.
func (h *Host) Bind(local netip.AddrPort, handle func(now mono.Time, d *pkt.Datagram)) (*Socket, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if !local.Addr().IsUnspecified() && h.via[local.Addr()] == nil {
		return nil, fmt.Errorf("simnet: %s has no address %v", h.name, local.Addr())
	}
	if local.Port() == 0 {
		port, err := h.freePort(func(port uint16) bool {
			return h.sockets[netip.AddrPortFrom(local.Addr(), port)] != nil
		})
		if err != nil {
			return nil, err
		}
		local = netip.AddrPortFrom(local.Addr(), port)
	}
	if h.sockets[local] != nil {
		return nil, fmt.Errorf("simnet: %s: address %v is in use", h.name, local)
	}
	s := &Socket{host: h, local: local, handle: handle}
	h.sockets[local] = s
	return s, nil
}

// Local returns the address that s is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Send sends a copy of payload to remote.
func (s *Socket) Send(remote netip.AddrPort, payload []byte) {
	s.Transmit(pkt.Transmit{Path: pkt.Path{Remote: remote}, Payload: payload})
}

// Transmit sends what t says, in as many datagrams as it has segments. An invalid or unspecified Local means the
// address of the socket, or the one that the host prefers for the destination.
func (s *Socket) Transmit(t pkt.Transmit) {
	h := s.host
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	src := t.Local.Addr()
	if !src.IsValid() || src.IsUnspecified() {
		src = s.local.Addr()
	}
	if src.IsUnspecified() {
		src = h.source(t.Remote.Addr())
	}
	size := len(t.Payload)
	if t.Segments() > 1 {
		size = int(t.SegmentSize)
	}
	for first := true; first || len(t.Payload) > 0; first = false {
		n := min(size, len(t.Payload))
		p := h.net.packet(UDP, netip.AddrPortFrom(src, s.local.Port()), t.Remote, t.Payload[:n])
		t.Payload = t.Payload[n:]
		p.ECN, p.DSCP, p.unfragmented = t.ECN, t.DSCP, t.Unfragmented
		if h.sockets[s.local] != s {
			h.drop(p, "closed")
			continue
		}
		h.send(p)
	}
}

// Close closes s: nothing arrives at it any more.
func (s *Socket) Close() {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.host.sockets[s.local] == s {
		delete(s.host.sockets, s.local)
	}
}

func (s *Socket) receive(now mono.Time, p *Packet) {
	if s.handle == nil {
		return
	}
	d := pkt.Datagram{
		Path:    pkt.Path{Socket: s.number, Local: p.Dst, Remote: p.Src},
		ECN:     p.ECN,
		DSCP:    p.DSCP,
		Payload: p.Payload,
	}
	s.handle(now, &d)
}
