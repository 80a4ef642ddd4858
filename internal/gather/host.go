package gather

import (
	"context"
	"net"
	"net/netip"
)

// A Host is the machine, as far as gathering needs more of it than UDP sockets. [Machine] is the real one; tests have
// virtual ones. Its methods may be called from any goroutine.
type Host interface {
	// Addresses returns the addresses that the machine has now. The caller does not change the slice, which may be shared. It
	// must not wait for anything.
	Addresses() ([]Address, error)
	// Watch calls changed, from any goroutine, each time the addresses may have become others, until stop is called.
	Watch(changed func()) (stop func())
	// Lookup returns the addresses of a host name.
	Lookup(ctx context.Context, name string) ([]netip.Addr, error)
	// Dial opens a TCP connection, from an address of the machine if one is given and valid.
	Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error)
	// Listen accepts TCP connections.
	Listen(local netip.AddrPort) (net.Listener, error)
}

// A Kind is what an interface is, as far as is known, in the order in which networks are preferred.
type Kind uint8

// The kinds of interfaces.
const (
	Wired Kind = iota
	Wifi
	Unknown
	Cellular
	VPN     // or another tunnel
	Virtual // that of a bridge to containers or virtual machines, which peers elsewhere seldom reach
	Loopback
)

func (k Kind) String() string {
	return [...]string{"ethernet", "wifi", "unknown", "cellular", "vpn", "virtual", "loopback"}[min(k, Loopback)]
}

// An Address is one address of the machine.
type Address struct {
	IP        netip.Addr // with a zone if it is an IPv6 link-local address
	Interface string
	Kind      Kind
	// Temporary says that the address changes with time so that its owner cannot be tracked (RFC 8981).
	Temporary bool
	// Deprecated says that no new connection is to be made from the address, or none yet (RFC 4862 section 2).
	Deprecated bool
}

// preference ranks a network for ice.Candidate: 0 is the best.
func (a *Address) preference() uint8 { return uint8(min(a.Kind, Loopback)) }
