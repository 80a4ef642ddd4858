package gather

import (
	"net/netip"
	"slices"
	"testing"
)

// RFC 8445 section 5.1.1.1, which addresses make host candidates; and RFC 8835 section 3.3, in which order.
func TestChoose(t *testing.T) {
	eth := func(ip string) Address { return Address{IP: netip.MustParseAddr(ip), Interface: "eth0", Kind: Wired} }
	wifi := func(ip string) Address { return Address{IP: netip.MustParseAddr(ip), Interface: "wlan0", Kind: Wifi} }
	lo := func(ip string) Address { return Address{IP: netip.MustParseAddr(ip), Interface: "lo", Kind: Loopback} }
	temporary := func(a Address) Address { a.Temporary = true; return a }
	deprecated := func(a Address) Address { a.Deprecated = true; return a }
	const (
		hardware = "2001:db8:1:0:216:3eff:fe12:3456" // made of a MAC address
		random   = "2001:db8:1:0:1234:5678:9abc:def0"
		stable   = "2001:db8:1:0:7777:1:2:3"
	)
	for _, c := range []struct {
		what string
		all  []Address
		cfg  Config
		want []string
	}{
		{"\"Addresses from a loopback interface MUST NOT be included\"",
			[]Address{lo("127.0.0.1"), lo("::1"), eth("192.0.2.1")}, Config{}, []string{"192.0.2.1"}},
		{"unless there is nothing else",
			[]Address{lo("127.0.0.1"), lo("::1")}, Config{}, []string{"127.0.0.1", "::1"}},
		{"or they are asked for",
			[]Address{lo("127.0.0.1"), eth("192.0.2.1")}, Config{Loopback: true}, []string{"192.0.2.1", "127.0.0.1"}},
		{"\"Deprecated IPv4-compatible IPv6 addresses and IPv6 site-local unicast addresses MUST NOT be included\"",
			[]Address{eth("::1.2.3.4"), eth("fec0::1"), eth("2001:db8::1")}, Config{}, []string{"2001:db8::1"}},
		{"\"IPv4-mapped IPv6 addresses SHOULD NOT be included\"",
			[]Address{eth("::ffff:192.0.2.1"), eth("192.0.2.2")}, Config{}, []string{"192.0.2.2"}},
		{"\"candidates corresponding to IPv6 link-local addresses MUST NOT be gathered\" beside private ones",
			[]Address{eth("fe80::1%eth0"), temporary(eth(random))}, Config{}, []string{random}},
		{"nor those made of an interface identifier",
			[]Address{eth(hardware), temporary(eth(random)), eth(stable)}, Config{}, []string{random, stable}},
		{"which are used where there is no other",
			[]Address{eth(hardware), eth("fe80::1%eth0")}, Config{}, []string{hardware}},
		{"a temporary address of another interface hides none",
			[]Address{eth(hardware), temporary(wifi(random))}, Config{}, []string{hardware, random}},
		{"a link-local address alone is better than none",
			[]Address{eth("fe80::1%eth0"), lo("::1")}, Config{}, []string{"fe80::1%eth0"}},
		{"RFC 4862 section 5.5.4: a deprecated address \"SHOULD NOT be used as a source address in new communications\"",
			[]Address{deprecated(temporary(eth(random))), eth(hardware)}, Config{}, []string{hardware}},
		{"wired before wireless, whatever the system's order",
			[]Address{wifi("192.0.2.1"), eth("192.0.2.2"), wifi("2001:db8::1"), eth("2001:db8::2")}, Config{},
			[]string{"192.0.2.2", "2001:db8::2", "192.0.2.1", "2001:db8::1"}},
		{"a filter by interface",
			[]Address{wifi("192.0.2.1"), eth("192.0.2.2"), lo("127.0.0.1")}, Config{Interfaces: func(a Address) bool { return a.Interface == "wlan0" }},
			[]string{"192.0.2.1"}},
		{"a filter by family",
			[]Address{eth("192.0.2.2"), eth("2001:db8::2")}, Config{Interfaces: func(a Address) bool { return a.IP.Is6() }},
			[]string{"2001:db8::2"}},
		{"a filter that leaves nothing", []Address{eth("192.0.2.2"), lo("127.0.0.1")}, Config{Interfaces: func(Address) bool { return false }}, nil},
	} {
		var got []string
		for _, a := range choose(c.all, &c.cfg) {
			got = append(got, a.IP.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: chosen %q, want %q", c.what, got, c.want)
		}
	}
	var many []Address
	for i := range 100 {
		many = append(many, Address{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Interface: "eth0"})
	}
	if got := choose(many, &Config{}); len(got) != maxBases {
		t.Errorf("%d of a hundred addresses, want %d", len(got), maxBases)
	}
}

func TestKindsByName(t *testing.T) {
	for name, want := range map[string]Kind{
		"lo": Loopback, "lo0": Loopback, "eth0": Wired, "enp3s0": Wired, "wlan0": Wifi, "wlp2s0": Wifi, "wwan0": Cellular, "rmnet_data0": Cellular,
		"tun0": VPN, "wg0": VPN, "utun3": VPN, "tailscale0": VPN, "docker0": Virtual, "br-0123456789ab": Virtual, "veth12": Virtual, "xyz": Unknown,
	} {
		if got := kindOf(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
