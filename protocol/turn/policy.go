package turn

import (
	"net/netip"
	"slices"
)

// denied are the addresses that nothing is relayed to unless the operator allows it: all of the IANA special-purpose
// registries (RFC 6890), multicast, what is not assigned, and what clouds hide behind. A relay that reaches them is a
// way around the firewall it stands behind.
var denied = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // shared by carriers; Alibaba's metadata, 100.100.100.200
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's metadata
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local; most clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.31.196.0/24"), // AS112
	netip.MustParsePrefix("192.52.193.0/24"), // AMT
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("192.175.48.0/24"), // AS112
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/3"),     // multicast, reserved, broadcast

	// Outside of 2000::/3 there are no peers: unspecified, loopback, IPv4-compatible and -mapped, local NAT64, discard,
	// segment routing, unique local (AWS's metadata, fd00:ec2::254), link-local, site-local, multicast. What embeds an
	// IPv4 address in the well-known prefix of NAT64 is judged by that address before.
	netip.MustParsePrefix("::/3"),
	netip.MustParsePrefix("4000::/2"),
	netip.MustParsePrefix("8000::/1"),
	netip.MustParsePrefix("2001::/23"),     // IETF assignments, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("2002::/16"),     // 6to4: "MUST NOT accept Teredo or 6to4 addresses" (RFC 8656 section 21.4)
	netip.MustParsePrefix("2620:4f:8000::/48"),
	netip.MustParsePrefix("3fff::/20"), // documentation
}

// tunneled are client addresses that may be one end of an amplifying tunnel (RFC 8656 section 21.4).
var tunneled = []netip.Prefix{netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16")}

// nat64 is the well-known prefix of RFC 6052.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// local are the networks whose clients are served without Config.Public.
var local = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // overlay networks
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	if a.Zone() != "" { // no prefix contains an address with a zone
		a = a.WithZone("")
	}
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// maxFormer bounds the relay addresses of before that are remembered. A stranger who has one of them later cannot be relayed to.
const maxFormer = 4

// A verdict says what may be done with data for an address.
type verdict uint8

const (
	refuse    verdict = iota
	forward           // send it out
	handOver          // one of our relay addresses: to another allocation only, inside the process
	forwardIn         // one of our relay addresses, and the operator allows sending to it: inside if it can be, else out
)

// policy decides which addresses may be peers.
type policy struct {
	relay      []netip.Addr
	former     []netip.Addr // relay addresses of before, which allocations may still have; the newest first
	own        []netip.Addr
	allow      []netip.Prefix
	generation uint32 // counts changes, so that a verdict can be remembered as long as it holds
}

// set replaces the addresses.
func (p *policy) set(relay, own []netip.Addr) {
	former := slices.Concat(p.relay, p.former)
	p.relay, p.own = slices.Clone(relay), slices.Clone(own)
	p.former = slices.DeleteFunc(former, func(a netip.Addr) bool { return slices.Contains(relay, a) })
	p.former = p.former[:min(len(p.former), maxFormer)]
	p.generation++
}

func (p *policy) judge(a netip.Addr) verdict {
	if a.Is4In6() {
		return refuse
	}
	allowed := contains(p.allow, a)
	ours := slices.Contains(p.relay, a) || slices.Contains(p.former, a)
	if slices.Contains(p.own, a) && !ours {
		// This machine is in the networks that the operator allows, but not meant by that.
		if slices.Contains(p.allow, netip.PrefixFrom(a, a.BitLen())) {
			return forward
		}
		return refuse
	}
	if ours {
		if allowed {
			return forwardIn
		}
		return handOver
	}
	if allowed {
		return forward
	}
	if nat64.Contains(a) {
		b := a.As16()
		if p.judge(netip.AddrFrom4([4]byte(b[12:]))) == forward {
			return forward
		}
		return refuse
	}
	if contains(denied, a) {
		return refuse
	}
	return forward
}
