package webrtc

import (
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// A port is the one that all connections of a network share. It finds the connection that a datagram is for: a request of
// STUN by the username fragment that it names, a response by its transaction, and all else by the address that it comes
// from, which only a check whose integrity holds makes known.
type port struct {
	network *Network
	lease   *loop.Lease
	local   netip.AddrPort
	v4, v6  pkt.Socket // -1: none
	unknown uint64     // datagrams for nobody

	byUfrag  map[string]*PeerConnection
	byRemote map[netip.AddrPort]*PeerConnection // whichever address of ours they send to: a connection may move to another
	asked    map[stun.TransactionID]*PeerConnection
	recent   []stun.TransactionID // of asked, a ring
	next     int
}

// maxAsked is how many transactions are remembered: an answer to an older one is too late.
const maxAsked = 4096

func openPort(n *Network, l *loop.Loop, local netip.AddrPort) (*port, error) {
	p := &port{
		network: n, local: local, v4: -1, v6: -1, byUfrag: map[string]*PeerConnection{}, byRemote: map[netip.AddrPort]*PeerConnection{},
		asked: map[stun.TransactionID]*PeerConnection{}, recent: make([]stun.TransactionID, maxAsked),
	}
	p.lease = l.Attach(p)
	var err error
	switch {
	case !local.Addr().IsValid():
		var bound netip.AddrPort
		if p.v4, bound, err = p.lease.Open(udp.Config{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())}); err != nil {
			break
		}
		p.local = bound
		// A machine without IPv6 has none.
		if s, _, err := p.lease.Open(udp.Config{Local: netip.AddrPortFrom(netip.IPv6Unspecified(), bound.Port())}); err == nil {
			p.v6 = s
		}
	case local.Addr().Is4():
		p.v4, p.local, err = p.lease.Open(udp.Config{Local: local})
	default:
		p.v6, p.local, err = p.lease.Open(udp.Config{Local: local})
	}
	if err != nil {
		p.lease.End()
		return nil, err
	}
	return p, nil
}

// socket returns the port's socket for an address of the machine.
func (p *port) socket(ip netip.Addr) (s pkt.Socket, number uint16, ok bool) {
	s = p.v4
	if ip.Is6() {
		s = p.v6
	}
	bound := p.local.Addr()
	return s, p.local.Port(), s >= 0 && (bound.IsUnspecified() || bound == ip) && !ip.IsLinkLocalUnicast()
}

// HandleDatagram hands a datagram to the connection that it is for.
func (p *port) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	pc := p.find(d)
	if pc == nil {
		p.unknown++
		return
	}
	path, check := d.Path, stun.Is(d.Payload)
	(*tenant)(pc).HandleDatagram(now, d)
	if check && p.byRemote[path.Remote] != pc && pc.hasAgent(func(a *ice.Agent) bool { return a.Knows(path) }) {
		p.know(now, pc, path) // what the address was another connection's for may be over
	}
	pc.lease.Touch()
}

func (p *port) find(d *pkt.Datagram) *PeerConnection {
	if !stun.Is(d.Payload) {
		return p.byRemote[d.Remote]
	}
	m, err := stun.Parse(d.Payload)
	if err != nil {
		return nil
	}
	if c := m.Class(); c != stun.Request && c != stun.Indication {
		return p.asked[m.ID()]
	}
	if name, ok := m.Get(stun.AttrUsername); ok {
		ufrag := name
		if i := slices.Index(name, ':'); i >= 0 {
			ufrag = name[:i]
		}
		if pc := p.byUfrag[string(ufrag)]; pc != nil {
			return pc
		}
	}
	return p.byRemote[d.Remote]
}

// HandleTimeout, NextTimeout and AppendTransmit are those of a tenant that has nothing to say itself.
func (p *port) HandleTimeout(mono.Time) {}

// NextTimeout is never.
func (p *port) NextTimeout() mono.Time { return mono.Never }

// AppendTransmit writes nothing.
func (p *port) AppendTransmit(mono.Time, *pkt.Batch) bool { return false }

// note remembers what a connection asks by STUN, so that the answers find it.
func (p *port) note(pc *PeerConnection, sent []pkt.Transmit) {
	for i := range sent {
		b := sent[i].Payload
		if s := sent[i].Socket; s < 0 || s != p.v4 && s != p.v6 || len(b) < stun.HeaderLen || b[0] != 0 || b[1]&0x10 != 0 || !stun.Is(b) {
			continue
		}
		id := stun.TransactionID(b[8:20])
		if p.asked[id] == pc {
			continue // a repetition
		}
		delete(p.asked, p.recent[p.next])
		p.recent[p.next] = id
		p.next = (p.next + 1) % len(p.recent)
		p.asked[id] = pc
	}
}

// know enters a path that a check has made known. One on which another connection has its peer's consent stays with
// it, until it finds its peer silent.
func (p *port) know(now mono.Time, pc *PeerConnection, path pkt.Path) {
	if path.Socket < 0 || path.Socket != p.v4 && path.Socket != p.v6 {
		return
	}
	other := p.byRemote[path.Remote]
	if other == pc || other != nil && other.hasAgent(func(a *ice.Agent) bool {
		return a.HasConsent(now, path) && a.State() != ice.StateDisconnected
	}) {
		return
	}
	p.byRemote[path.Remote] = pc
	pc.remotes = append(pc.remotes, path.Remote)
}

// forgetPath takes a path out that the agents have forgotten.
func (p *port) forgetPath(pc *PeerConnection, path pkt.Path) {
	if p.byRemote[path.Remote] != pc || pc.hasAgent(func(a *ice.Agent) bool { return a.Knows(path) }) {
		return
	}
	delete(p.byRemote, path.Remote)
	pc.remotes = slices.DeleteFunc(pc.remotes, func(r netip.AddrPort) bool { return r == path.Remote })
}

// hasAgent reports whether one of the connection's agents is like that.
func (pc *PeerConnection) hasAgent(like func(*ice.Agent) bool) bool {
	return slices.ContainsFunc(pc.transports, func(x *DTLSTransport) bool {
		a := pc.peer.Agent(x.ice.id)
		return a != nil && like(a)
	})
}

// name enters the username fragments of a connection in the place of its former ones.
func (p *port) name(pc *PeerConnection) {
	for _, u := range pc.ufrags {
		delete(p.byUfrag, u)
	}
	pc.ufrags = pc.ufrags[:0]
	for _, x := range pc.live() {
		for _, c := range [...]string{x.ice.told.Local.Ufrag, x.ice.told.Restart.Ufrag} {
			if c != "" {
				pc.ufrags = append(pc.ufrags, c)
				p.byUfrag[c] = pc
			}
		}
	}
}

// forget takes a connection out.
func (p *port) forget(pc *PeerConnection) {
	for _, u := range pc.ufrags {
		delete(p.byUfrag, u)
	}
	for _, remote := range pc.remotes {
		if p.byRemote[remote] == pc {
			delete(p.byRemote, remote)
		}
	}
	for id, who := range p.asked {
		if who == pc {
			delete(p.asked, id)
		}
	}
}
