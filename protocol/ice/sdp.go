package ice

import (
	"net/netip"
	"strings"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// hiddenPort stands for a related address that is kept to ourselves (RFC 8839 section 5.1), and for the port of an active
// TCP candidate (RFC 6544 section 4.5).
const hiddenPort = 9

// SDP returns the candidate as a description or a trickled message has it (RFC 8839 section 5.1).
func (c *Candidate) SDP() sdp.Candidate {
	s := sdp.Candidate{
		Foundation: c.Foundation, Component: 1, Transport: c.Transport.String(), Priority: c.Priority,
		Address: c.Name, Port: c.Address.Port(), Type: c.Type.String(), TCPType: c.Transport.TCPType(),
	}
	if c.Name == "" {
		s.Address = c.Address.Addr().WithZone("").String()
	}
	switch {
	case c.Type == Host:
	case c.Related.IsValid():
		s.RelatedAddress, s.RelatedPort = c.Related.Addr().WithZone("").String(), c.Related.Port()
	default: // "MUST be set to "0.0.0.0" (for IPv4 candidates) or "::" (for IPv6 candidates) and the port to "9""
		s.RelatedAddress, s.RelatedPort = "0.0.0.0", hiddenPort
		if c.Address.Addr().Is6() {
			s.RelatedAddress = "::"
		}
	}
	if c.Ufrag != "" {
		s.Extensions = []sdp.Extension{{Name: "ufrag", Value: c.Ufrag}}
	}
	return s
}

// FromSDP reads a candidate of the peer's. If its address is a name of multicast DNS, Name has it, and Address has the
// port alone: the caller resolves it and sets Address before it calls AddRemoteCandidate. ok is false if the candidate is
// of no use: of another component, of a transport or type that is not known, or with any other name.
func FromSDP(s sdp.Candidate) (c Candidate, ok bool) {
	c = Candidate{Priority: s.Priority, Foundation: s.Foundation, Ufrag: s.Extension("ufrag")}
	for c.Type = Host; c.Type.String() != s.Type; c.Type++ {
		if c.Type == Relayed {
			return Candidate{}, false
		}
	}
	tcpType := strings.ToLower(s.TCPType)
	for c.Transport = UDP; !strings.EqualFold(c.Transport.String(), s.Transport) || c.Transport.TCPType() != tcpType; c.Transport++ {
		if c.Transport == TCPSimultaneousOpen {
			return Candidate{}, false
		}
	}
	addr, err := netip.ParseAddr(s.Address)
	if err != nil {
		// "An agent processing remote candidates MUST ignore "candidate" lines that include candidates with FQDNs"
		if !strings.HasSuffix(strings.TrimSuffix(s.Address, "."), ".local") {
			return Candidate{}, false
		}
		c.Name = s.Address
	}
	c.Address = netip.AddrPortFrom(addr.Unmap().WithZone(""), s.Port)
	if related, err := netip.ParseAddr(s.RelatedAddress); err == nil && !related.IsUnspecified() {
		c.Related = netip.AddrPortFrom(related.Unmap().WithZone(""), s.RelatedPort)
	}
	return c, s.Component == 1
}
