package turn_test

import (
	"net/netip"
	"testing"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// special are the IANA IPv4 and IPv6 Special-Purpose Address Registries, as of 2025-10, all entries whether or not they
// say "globally reachable"; then the multicast registries, the deprecated blocks, and the metadata services of clouds.
// 64:ff9b::/96 is not here: its addresses are judged by what they embed, below.
var special = []string{
	"0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16",
	"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32",

	"::1/128", "::/128", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
	"2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28",
	"2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16",
	"fc00::/7", "fe80::/10",

	"224.0.0.0/4", "ff00::/8", "::/96", "fec0::/10",
	"168.63.129.16/32", "100.100.100.200/32", "169.254.169.254/32", "fd00:ec2::254/128",
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inside returns addresses of a prefix: both ends, and one in the middle if there is one.
func inside(p netip.Prefix) []netip.Addr {
	end := last(p)
	middle := p.Addr().AsSlice()
	middle[len(middle)-1] |= end.AsSlice()[len(middle)-1] & 0x55
	middle[p.Bits()/8%len(middle)] |= end.AsSlice()[p.Bits()/8%len(middle)] & 0x2A
	m, _ := netip.AddrFromSlice(middle)
	return []netip.Addr{p.Addr(), m, end}
}

// embeddings returns the IPv6 addresses that stand for an IPv4 address.
func embeddings(a netip.Addr) map[string]netip.Addr {
	v4 := a.As4()
	with := func(prefix string, at int, flip byte) netip.Addr {
		b := netip.MustParseAddr(prefix).As16()
		for i, octet := range v4 {
			b[at+i] = octet ^ flip
		}
		return netip.AddrFrom16(b)
	}
	return map[string]netip.Addr{
		"NAT64":             with("64:ff9b::", 12, 0),
		"local NAT64":       with("64:ff9b:1::", 12, 0),
		"6to4":              with("2002::", 2, 0),
		"Teredo, client":    with("2001:0:808:808::", 12, 0xFF),
		"Teredo, server":    with("2001::f7f7:f7f7", 4, 0),
		"compatible":        with("::", 12, 0),
		"mapped, on paper":  with("::ffff:0:0", 12, 0),
		"translated (SIIT)": with("::ffff:0:0:0", 12, 0),
	}
}

// rawPeer writes an XOR-PEER-ADDRESS as it is: a Builder would turn a mapped address into the IPv4 address it stands for.
func rawPeer(a netip.Addr, port uint16) func(b *stun.Builder) {
	return func(b *stun.Builder) {
		if a.Is4() {
			b.XORAddress(stun.AttrXORPeerAddress, netip.AddrPortFrom(a, port))
			return
		}
		raw, _ := b.Message()
		head := raw[len(raw)-b.Len():]
		value := append([]byte{0, stun.FamilyIPv6, byte(port>>8) ^ head[4], byte(port) ^ head[5]}, a.AsSlice()...)
		for i := range 16 {
			value[4+i] ^= head[4+i]
		}
		b.Bytes(stun.AttrXORPeerAddress, value)
	}
}

// tryPeer asks for a permission and a channel to an address, and tells whether both are forbidden. What is sent there
// must go nowhere.
func (c *client) tryPeer(a netip.Addr) (forbidden bool) {
	c.t.Helper()
	c.deliver(c.path, c.build(stun.CreatePermission, rawPeer(a, 0)))
	permission := stun.CodeForbidden // which is not said at once
	for _, t := range c.take() {
		m, err := stun.Parse(t.Payload)
		if err != nil {
			c.t.Fatal(err)
		}
		permission, _, _ = m.ErrorCode()
	}
	bound := c.code(stun.ChannelBind, func(b *stun.Builder) {
		b.Uint32(stun.AttrChannelNumber, 0x4000<<16)
		rawPeer(a, 60001)(b)
	})
	if permission != bound {
		c.t.Errorf("%v: CreatePermission %v, ChannelBind %v", a, permission, bound)
	}
	if permission != stun.CodeForbidden {
		return false
	}
	c.sendTo(netip.AddrPortFrom(a, 60001), "x")
	c.sendOn(0x4000, "x")
	c.none("data to " + a.String())
	return true
}

// Every address of the special-purpose registries as a peer, also as what translations and tunnels make of it, is
// refused.
func TestSpecialAddressesAreRefused(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate(dual)
	for _, s := range special {
		p := netip.MustParsePrefix(s)
		for _, a := range inside(p) {
			if !c.tryPeer(a) {
				t.Errorf("%v of %s is allowed", a, s)
			}
			if a.Is4() {
				for how, e := range embeddings(a) {
					if !c.tryPeer(e) {
						t.Errorf("%v as %s, %v, is allowed", a, how, e)
					}
				}
			}
		}
		r.wait(refusalTime) // of those that were not said at once
		r.take()
		c.expect(0, stun.Refresh, nil)
	}
}

// The list of the denied at its edges: the first and the last of
// each block are refused, their neighbours outside are not.
func TestEdgesOfTheDenyList(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate(dual)
	open := []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
		"191.255.255.255", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"2000::1", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2620:4f:7fff::1", "2620:4f:8001::1",
		"3ffe:ffff::1", "3fff:1000::1", "64:ff9b::808:808",
	}
	for i, s := range open {
		peer := netip.AddrPortFrom(netip.MustParseAddr(s), uint16(100+i))
		c.expect(0, stun.CreatePermission, peers(peer))
		c.sendTo(peer, "x")
		if out := r.take(); len(out) != 1 || out[0].Remote != peer {
			t.Errorf("%v is refused", peer)
		}
	}
}

// Nothing is relayed to an address of the server itself, under any name.
func TestOwnAddressesAreRefused(t *testing.T) {
	own := netip.MustParseAddr("9.9.9.9")
	r := newRig(t, func(c *turn.Config) { c.Own = append(c.Own, own) })
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate(dual)
	for _, a := range []netip.Addr{own, server4.Addr(), server6.Addr()} {
		if !c.tryPeer(a) {
			t.Errorf("%v is allowed", a)
		}
	}
	for how, e := range embeddings(own) {
		if !c.tryPeer(e) {
			t.Errorf("%v as %s, %v, is allowed", own, how, e)
		}
	}
	if e := embeddings(relay4)["NAT64"]; !c.tryPeer(e) {
		t.Errorf("the relay's address as %v is allowed", e)
	}
	// The relay's address may have a permission, for what other allocations send; but only they are reached.
	c.expect(0, stun.CreatePermission, peers(netip.AddrPortFrom(relay4, 0)))
	for _, port := range []uint16{22, 3478, 49151, 50000, 65535} {
		to := netip.AddrPortFrom(relay4, port)
		if to == c.relayed {
			continue
		}
		r.dropped(turn.DropNoRelay, func() { c.sendTo(to, "x") })
	}
	c.expect(stun.CodeForbidden, stun.ChannelBind, binding(0x4000, netip.AddrPortFrom(relay4, 3478)))
	r.none("data to the relay's own address")
	r.dropped(turn.DropDenied, func() { r.fromPeer(c.relayed, netip.AddrPortFrom(relay4, 50000), []byte("forged")) })
}

// An address that becomes the server's own, or is the server's no more, is judged anew at the next packet.
func TestPolicyIsAppliedToEachPacket(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	c.sendOn(0x4000, "x")
	r.wantSent(r.one(), c.relayed, peer4, "x")
	if err := r.s.SetAddresses([]netip.Addr{relay4}, []netip.Addr{peer4.Addr()}); err != nil {
		t.Fatal(err)
	}
	r.dropped(turn.DropDenied, func() { c.sendOn(0x4000, "x") })
	r.dropped(turn.DropDenied, func() { c.sendTo(peer4, "x") })
	r.dropped(turn.DropDenied, func() { r.fromPeer(c.relayed, peer4, []byte("x")) })
	r.none("an address that is the server's own now")
	if err := r.s.SetAddresses([]netip.Addr{relay4}, nil); err != nil {
		t.Fatal(err)
	}
	c.sendOn(0x4000, "x")
	r.wantSent(r.one(), c.relayed, peer4, "x")
}

// What the operator allows is allowed, also as NAT64 writes it, and nothing beside it.
func TestAllow(t *testing.T) {
	r := newRig(t, func(c *turn.Config) {
		c.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	})
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate(dual)
	for _, s := range []string{"10.1.0.0", "10.1.255.255", "127.0.0.1", "fd00::1", "64:ff9b::a01:1"} {
		c.expect(0, stun.CreatePermission, rawPeer(netip.MustParseAddr(s), 0))
	}
	for _, s := range []string{"10.0.255.255", "10.2.0.0", "fc00::1", "::1", "::ffff:10.1.0.0", "2002:a01:1::", "64:ff9b::a02:1"} {
		c.expect(stun.CodeForbidden, stun.CreatePermission, rawPeer(netip.MustParseAddr(s), 0))
	}
}

// A server that relays from an address that the operator allows, loopback in a laboratory, sends to peers there too, and
// still hands over inside what is for another allocation.
func TestAllowedRelayAddress(t *testing.T) {
	lo := netip.MustParseAddr("127.0.0.1")
	r := newRig(t, func(c *turn.Config) {
		c.Relay, c.Own, c.Allow = []netip.Addr{lo}, []netip.Addr{lo}, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	a, b := r.client("127.0.0.1:1000", "ada"), r.client("127.0.0.1:1001", "bea")
	a.allocate()
	b.allocate()
	a.expect(0, stun.CreatePermission, peers(ap("127.0.0.1:0")))
	b.expect(0, stun.CreatePermission, peers(ap("127.0.0.1:0")))
	a.sendTo(ap("127.0.0.1:3480"), "out")
	r.wantSent(r.one(), a.relayed, ap("127.0.0.1:3480"), "out")
	a.sendTo(b.relayed, "in")
	b.wantData(r.one(), a.relayed, "in")
	r.fromPeer(a.relayed, ap("127.0.0.1:3480"), []byte("back"))
	a.wantData(r.one(), ap("127.0.0.1:3480"), "back")
}

// What one allocation sends to another of the same server never leaves the process: it comes with the sender's relayed
// address, under the receiver's permissions, also where that address is on the list of the denied.
func TestAllocationsReachEachOtherInside(t *testing.T) {
	private := netip.MustParseAddr("192.168.7.7")
	r := newRig(t, func(c *turn.Config) { c.Relay = []netip.Addr{private}; c.Public = false })
	a, b := r.client("192.168.1.1:1000", "ada"), r.stream("192.168.1.2:1000", "bea")
	a.allocate()
	b.allocate()
	if !a.tryPeer(netip.MustParseAddr("192.168.1.2")) {
		t.Error("another private address is allowed")
	}
	a.expect(0, stun.ChannelBind, binding(0x4001, b.relayed))
	r.dropped(turn.DropNoPermission, func() { a.sendOn(0x4001, "b has no permission for a") })
	b.expect(0, stun.CreatePermission, peers(netip.AddrPortFrom(private, 0)))
	a.sendOn(0x4001, "as an indication")
	b.wantData(r.one(), a.relayed, "as an indication")
	b.expect(0, stun.ChannelBind, binding(0x4002, a.relayed))
	a.sendOn(0x4001, "12345")
	if out := r.one(); out.Path != b.path || string(out.Payload) != string(channelData(0x4002, "12345"))+"\x00\x00\x00" {
		t.Errorf("on the channel b gets %x along %v", out.Payload, out.Path)
	}
	b.sendTo(a.relayed, "back") // an indication, for which a has a channel
	if out := r.one(); out.Path != a.path || string(out.Payload) != string(channelData(0x4001, "back")) {
		t.Errorf("on the channel a gets %x along %v", out.Payload, out.Path)
	}
	if n := r.s.Counters().HandedOver; n != 3 {
		t.Errorf("%d datagrams handed over", n)
	}
	b.expect(0, stun.Refresh, living(0))
	r.dropped(turn.DropNoRelay, func() { a.sendOn(0x4001, "nobody") })
	r.none("an allocation that is gone")
}

// Between shards the driver carries what is for another allocation, along Hairpin.
func TestAllocationsOfDifferentShardsReachEachOther(t *testing.T) {
	shards := func(c *turn.Config) { c.Shards = true }
	one, two := newRig(t, shards), newRig(t, shards, func(c *turn.Config) { c.Entropy = seeded(2) })
	a, b := one.client("5.9.0.1:1", "ada"), two.client("5.9.0.2:1", "bea")
	a.allocate()
	b.allocate()
	a.expect(0, stun.CreatePermission, peers(b.relayed))
	a.sendTo(b.relayed, "hello")
	out := one.one()
	if out.Socket != turn.Hairpin || out.Local != a.relayed || out.Remote != b.relayed || string(out.Payload) != "hello" {
		t.Fatalf("sent %q along %v", out.Payload, out.Path)
	}
	carried := pkt.Path{Socket: turn.Hairpin, Local: b.relayed, Remote: a.relayed}
	two.dropped(turn.DropNoPermission, func() { two.deliver(carried, out.Payload) })
	b.expect(0, stun.CreatePermission, peers(a.relayed))
	two.deliver(carried, out.Payload)
	b.wantData(two.one(), a.relayed, "hello")
	carried.Local = netip.AddrPortFrom(relay4, 49152)
	if carried.Local != b.relayed {
		two.dropped(turn.DropNoRelay, func() { two.deliver(carried, out.Payload) })
	}
	one.dropped(turn.DropNoRelay, func() { a.sendTo(netip.AddrPortFrom(relay4, 22), "no port of a relay") })
}

// "a TURN server MUST NOT accept Teredo or 6to4 addresses in these requests" (section 21.4): neither as peers, above, nor
// as clients.
func TestTunneledClientsGetNoAllocation(t *testing.T) {
	r := newRig(t)
	r.client("[2002:808:808::1]:1", "ada").expect(stun.CodeForbidden, stun.Allocate, udp)
	r.client("[2001:0:808:808::1]:1", "ada").expect(stun.CodeForbidden, stun.Allocate, udp)
}

// Without Config.Public nobody from outside gets an answer, not even to STUN.
func TestOnlyLocalClientsUnlessPublic(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Public = false })
	for _, from := range []string{"127.0.0.1:1", "10.1.1.1:1", "172.31.0.1:1", "192.168.0.1:1", "169.254.1.1:1", "100.64.0.1:1", "100.127.0.1:1", "[::1]:1", "[fd12::1]:1", "[fe80::1]:1", "[fe80::1%eth0]:1"} {
		c := r.client(from, "ada")
		if m := c.exchange(c.build(stun.Binding, nil)); m.Class() != stun.Success {
			t.Errorf("%s gets %v", from, m.Class())
		}
		c.allocate()
	}
	for _, from := range []string{"5.9.0.1:1", "100.63.0.1:1", "100.128.0.1:1", "172.32.0.1:1", "[2a01:4f8::1]:1"} {
		c := r.client(from, "ada")
		for _, method := range []stun.Method{stun.Binding, stun.Allocate} {
			r.dropped(turn.DropNotLocal, func() { c.deliver(c.path, c.build(method, udp)) })
		}
		r.dropped(turn.DropNotLocal, func() { c.sendOn(0x4000, "x") })
		r.none(from)
	}
}

// When the external address changes, allocations that are there keep theirs and reach each other as before; new ones have the new one.
func TestAllocationsKeepAFormerAddress(t *testing.T) {
	r, c := allocated(t)
	d := r.client("5.9.0.1:2000", "bea")
	d.allocate()
	c.expect(0, stun.ChannelBind, binding(0x4000, d.relayed))
	d.expect(0, stun.ChannelBind, binding(0x4001, c.relayed))
	next := netip.MustParseAddr("5.9.0.77")
	if err := r.s.SetAddresses([]netip.Addr{next}, []netip.Addr{relay4}); err != nil {
		t.Fatal(err)
	}
	c.sendOn(0x4000, "still here")
	if got := r.one(); got.Remote != d.path.Remote || string(got.Payload[4:]) != "still here" {
		t.Errorf("sent %+v, want ChannelData to the other client", got)
	}
	e := r.client("5.9.0.1:3000", "cid")
	e.allocate()
	if e.relayed.Addr() != next || c.relayed.Addr() != relay4 {
		t.Errorf("a new allocation has %v, an old one %v", e.relayed, c.relayed)
	}
}
