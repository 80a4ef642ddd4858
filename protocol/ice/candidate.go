package ice

import (
	"net/netip"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// A CandidateType says how a candidate was found (RFC 8445 section 5.1.1).
type CandidateType uint8

// The types of RFC 8445 section 4, in the order in which they are preferred.
const (
	Host CandidateType = iota
	PeerReflexive
	ServerReflexive
	Relayed
)

// String returns the name in a candidate attribute (RFC 8839 section 5.1).
func (t CandidateType) String() string {
	return [...]string{"host", "prflx", "srflx", "relay"}[t&3]
}

// A Transport is a candidate's transport protocol and, for TCP, who opens the connection (RFC 6544 section 4.1).
type Transport uint8

// The transports of RFC 8445 and RFC 6544. A simultaneous-open candidate is understood and never paired: what two
// browsers' NATs make of two SYNs that cross is not worth the sockets.
const (
	UDP Transport = iota
	TCPActive
	TCPPassive
	TCPSimultaneousOpen
)

// String returns "udp" or "tcp".
func (t Transport) String() string {
	if t == UDP {
		return "udp"
	}
	return "tcp"
}

// TCPType returns the tcptype of RFC 6544 section 4.5, empty for UDP.
func (t Transport) TCPType() string { return [...]string{"", "active", "passive", "so"}[t&3] }

// A RelayProtocol is how a client reaches the server that relays for it.
type RelayProtocol uint8

// What a TURN server is reached over.
const (
	RelayUDP RelayProtocol = iota
	RelayDTLS
	RelayTCP
	RelayTLS
)

// String returns the name that webrtc-stats has for it.
func (p RelayProtocol) String() string { return [...]string{"udp", "dtls", "tcp", "tls"}[p&3] }

// A Candidate is a transport address at which one side may be reached. The agent is for one component: RTP and RTCP
// share it (RFC 5761).
type Candidate struct {
	Type      CandidateType
	Transport Transport
	// RelayProtocol is how Server is reached, of a local candidate; relays over streams are preferred less.
	RelayProtocol RelayProtocol
	// Preference ranks the networks of a machine, of a local candidate: 0 is the best, a metered or virtual one has more. At
	// most 255.
	Preference uint8
	// Priority is computed by the agent for a local candidate where it is zero (RFC 8445 section 5.1.2.1).
	Priority uint32
	// Address is what the peer sends to. An active TCP candidate has port 9 (RFC 6544 section 4.5).
	Address netip.AddrPort
	// Related is the address that a reflexive or relayed candidate was obtained from, for diagnostics; it is not valid if
	// it is kept to ourselves (RFC 8839 section 5.1).
	Related netip.AddrPort
	// Foundation is at most 32 characters; the agent computes it for a local candidate where it is empty.
	Foundation string
	// Ufrag, if not empty, is the generation of a remote candidate: one of another generation is dropped (RFC 8838
	// section 11).
	Ufrag string
	// Name is what is signalled in place of Address's IP address, if not empty: a name that multicast DNS resolves.
	Name string
	// ID is the number of the candidate within its agent, which gives it; never used again, never 0.
	ID uint32

	// The rest is known of local candidates alone.

	// Socket is that of the base. For a relayed candidate it is a negative number that the driver chose; for a passive TCP
	// candidate it is the listener, and the connections that it accepts are sockets of their own. An active TCP candidate
	// has none: its connections come by [Agent.Connected].
	Socket pkt.Socket
	// Base is the address that is sent from; where it is not valid it is Address (host, relayed) or Related (reflexive).
	Base netip.AddrPort
	// Server is the STUN or TURN server that gave a reflexive or relayed address: candidates of two servers have two
	// foundations (RFC 8445 section 5.1.1.3).
	Server netip.AddrPort
}

// typePreference is that of RFC 8445 section 5.1.2.2 for UDP. TCP is below every UDP candidate but the relayed ones ("if
// the transport protocol is more important", RFC 6544 section 4.2), and a relay over a stream below one over UDP.
func (c *Candidate) typePreference() uint32 {
	if c.Type == Relayed {
		return uint32(3 - min(c.RelayProtocol, 3))
	}
	if c.Transport != UDP {
		return [...]uint32{90, 80, 70}[c.Type]
	}
	return [...]uint32{126, 110, 100}[c.Type]
}

// priority is the formula of RFC 8445 section 5.1.2.1 for component 1. The rank counts the machine's addresses, IPv6
// and IPv4 in turn (see [Agent.rankOf]).
func (c *Candidate) priority(typePreference uint32, rank int) uint32 {
	local := uint32(max(0, 65535-int(c.Preference)*256-rank))
	if c.Transport != UDP {
		// RFC 6544 section 4.2: "local preference = (2^13) * direction-pref + other-pref"
		direction := uint32(6)
		if c.Transport == TCPPassive {
			direction = 4
		}
		if c.Type == ServerReflexive { // NAT-assisted: active 4, passive 2
			direction -= 2
		}
		local = direction<<13 + uint32(max(0, 8191-int(c.Preference)*32-rank))
	}
	return typePreference<<24 + local<<8 + 255
}

// origin is what candidates of one foundation have in common (RFC 8445 section 5.1.1.3).
type origin struct {
	kind     CandidateType
	stream   bool
	protocol RelayProtocol
	base     netip.Addr
	server   netip.Addr
}

func (c *Candidate) origin() origin {
	return origin{c.Type, c.Transport != UDP, c.RelayProtocol, c.Base.Addr(), c.Server.Addr()}
}

// A candidate is a Candidate with what the agent knows of it.
type candidate struct {
	Candidate
	rank int16 // of a local one's base: see Agent.rankOf
}

// usableRemote reports whether checks may go to an address: never to an unspecified, multicast or broadcast one.
func usableRemote(a netip.AddrPort, t Transport) bool {
	ip := a.Addr()
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip == broadcast || a.Port() == 0 {
		return false
	}
	if t != TCPPassive {
		return true
	}
	// A page or a peer must not make us speak to services that trust whoever can reach them: mail, printers, routers.
	switch {
	case a.Port() >= 1024:
		return true
	case a.Port() == 80 || a.Port() == 443:
		return !private(ip)
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// sharedSpace is the space between a carrier's NAT and its customers (RFC 6598), as good as private.
var sharedSpace = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)

func private(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || sharedSpace.Contains(ip)
}

// matches reports whether two candidates may be a pair: one address family, a link-local address with its like alone
// (RFC 8445 section 6.1.2.2), and for TCP an active with a passive one (RFC 6544 section 6.2).
func matches(local, remote *candidate) bool {
	l, r := local.Base.Addr(), remote.Address.Addr()
	if l.Is4() != r.Is4() || l.Is6() && l.IsLinkLocalUnicast() != r.IsLinkLocalUnicast() {
		return false
	}
	switch local.Transport {
	case UDP:
		return remote.Transport == UDP
	case TCPActive:
		return remote.Transport == TCPPassive
	case TCPPassive:
		return remote.Transport == TCPActive
	}
	return false
}
