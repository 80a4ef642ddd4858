package machine

import (
	"net/netip"
	"slices"
)

// NearNetworks are those that cannot be reached from the internet: loopback, the private networks (RFC 1918, RFC 4193), the
// shared ones of carriers and overlay networks (RFC 6598) and link-local (RFC 3927, RFC 4291).
var NearNetworks = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

// IsNear reports whether addr, mapped or with a zone or not, is in one of [NearNetworks].
func IsNear(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(NearNetworks, func(p netip.Prefix) bool { return p.Contains(addr) })
}
