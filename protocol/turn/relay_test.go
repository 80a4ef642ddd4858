package turn_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// Conformance to RFC 8656 sections 9 to 13, and 14 to 16 where they say how data is marked.

// allocated returns a client with an allocation.
func allocated(t testing.TB, change ...func(*turn.Config)) (*rig, *client) {
	t.Helper()
	r := newRig(t, change...)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	return r, c
}

// Section 9: "The Permission Lifetime MUST be 300 seconds (= 5 minutes)."
func TestPermissionsLast300Seconds(t *testing.T) {
	for name, install := range map[string]func(c *client){
		"CreatePermission": func(c *client) { c.expect(0, stun.CreatePermission, peers(peer4)) },
		"ChannelBind":      func(c *client) { c.expect(0, stun.ChannelBind, binding(0x4000, peer4)) },
	} {
		r, c := allocated(t)
		passes := func() bool {
			c.sendTo(peer4, "up")
			up := len(r.take())
			r.fromPeer(c.relayed, peer4, []byte("down"))
			down := len(r.take())
			if up != down {
				t.Errorf("%s: %d datagrams up, %d down", name, up, down)
			}
			return up == 1
		}
		if passes() {
			t.Errorf("%s: data passes before it", name)
		}
		install(c)
		r.wait(300*time.Second - 1)
		if !passes() {
			t.Errorf("%s: after 299 s data does not pass", name)
		}
		install(c) // "the time-to-expiry for that permission is reset to Permission Lifetime"
		r.wait(300*time.Second - 1)
		if !passes() { // and data has not refreshed it: "a Send indication never causes the server to refresh the permission"
			t.Errorf("%s: refreshed, after 299 s data does not pass", name)
		}
		r.wait(1)
		if passes() {
			t.Errorf("%s: after 300 s data passes", name)
		}
	}
}

// Section 9: "Note that only addresses are compared and port numbers are not considered. If no match is found, relaying
// is not permitted and the server silently discards the UDP datagram." "The permissions for one allocation are totally
// unrelated to the permissions for a different allocation."
func TestPermissionsAreForAddresses(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.CreatePermission, peers(netip.AddrPortFrom(peer4.Addr(), 0)))
	other := netip.AddrPortFrom(peer4.Addr(), 1)
	r.fromPeer(c.relayed, other, []byte("x"))
	c.wantData(r.one(), other, "x")
	c.sendTo(other, "y")
	r.wantSent(r.one(), c.relayed, other, "y")
	r.dropped(turn.DropNoPermission, func() { r.fromPeer(c.relayed, ap("8.8.4.5:5000"), []byte("x")) })
	r.dropped(turn.DropNoPermission, func() { c.sendTo(ap("8.8.4.5:5000"), "x") })
	d := r.client("5.9.0.2:1000", "ada")
	d.allocate()
	r.dropped(turn.DropNoPermission, func() { r.fromPeer(d.relayed, peer4, []byte("x")) })
	r.none("data without a permission")
}

// Section 10.1: "the client MUST include at least one XOR-PEER-ADDRESS attribute and MAY include more than one such
// attribute." Section 10.2: "The CreatePermission request MUST contain at least one XOR-PEER-ADDRESS attribute and MAY
// contain multiple such attributes. If no such attribute exists, or if any of these attributes are invalid, then a 400
// (Bad Request) error is returned."
func TestCreatePermission(t *testing.T) {
	r, c := allocated(t)
	c.expect(stun.CodeBadRequest, stun.CreatePermission, nil)
	c.expect(stun.CodeBadRequest, stun.CreatePermission, func(b *stun.Builder) {
		b.XORAddress(stun.AttrXORPeerAddress, peer4)
		b.Bytes(stun.AttrXORPeerAddress, []byte{0, 1, 0, 0, 1})
	})
	r.dropped(turn.DropNoPermission, func() { c.sendTo(peer4, "none of a bad request is installed") })
	list := []netip.AddrPort{peer4, ap("8.8.4.5:0"), ap("8.8.4.6:65535")}
	c.expect(0, stun.CreatePermission, peers(list...))
	for _, p := range list[1:] {
		r.fromPeer(c.relayed, netip.AddrPortFrom(p.Addr(), 9), []byte("x"))
		c.wantData(r.one(), netip.AddrPortFrom(p.Addr(), 9), "x")
	}
}

// Section 10.2: "If the request is valid, but the server is unable to satisfy the request due to some capacity limit or
// similar, then a 508 (Insufficient Capacity) error is returned."
func TestPermissionsAreBounded(t *testing.T) {
	r, c := allocated(t)
	many := func(from, to int) func(b *stun.Builder) {
		var list []netip.AddrPort
		for i := from; i < to; i++ {
			list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, byte(i >> 8), byte(i)}), 1))
		}
		return peers(list...)
	}
	c.expect(stun.CodeInsufficientCapacity, stun.CreatePermission, many(0, 257))
	c.expect(0, stun.CreatePermission, many(0, 200))
	c.expect(stun.CodeInsufficientCapacity, stun.CreatePermission, many(190, 257))
	c.expect(0, stun.CreatePermission, many(100, 256))
	c.expect(stun.CodeInsufficientCapacity, stun.ChannelBind, binding(0x4000, peer4))
	r.wait(300 * time.Second)
	c.expect(0, stun.CreatePermission, many(500, 756)) // the spent ones have made room
}

// Section 10.2: "If an XOR-PEER-ADDRESS attribute contains an address of an address family that is not the same as that
// of a relayed transport address for the allocation, the server MUST generate an error response with the 443 (Peer
// Address Family Mismatch) response code." Section 12.2 says the same of ChannelBind. Sections 10.1 and 12.1: "The client
// MUST only include XOR-PEER-ADDRESS attributes with addresses of the same address family".
func TestPeersOfAnotherFamily(t *testing.T) {
	for _, c := range []struct {
		ask          func(b *stun.Builder)
		want4, want6 stun.Code
	}{
		{wantFamily(1), 0, stun.CodePeerFamilyMismatch},
		{wantFamily(2), stun.CodePeerFamilyMismatch, 0},
		{dual, 0, 0}, // "the client MAY include XOR-PEER-ADDRESS attributes with addresses of IPv4 and IPv6"
	} {
		r := newRig(t)
		cl := r.client("5.9.0.1:1000", "ada")
		cl.allocate(c.ask)
		cl.expect(c.want4, stun.CreatePermission, peers(peer4))
		cl.expect(c.want6, stun.CreatePermission, peers(peer6))
		cl.expect(max(c.want4, c.want6), stun.CreatePermission, peers(peer4, peer6))
		cl.expect(c.want4, stun.ChannelBind, binding(0x4000, peer4))
		cl.expect(c.want6, stun.ChannelBind, binding(0x4001, peer6))
	}
}

// Section 11.1: "the client MUST ensure that there is a permission installed for the IP address of the peer to which the
// Send indication is being sent". "the client MUST include an XOR-PEER-ADDRESS attribute and a DATA attribute." Section
// 11.2: "The Send indication MUST contain both an XOR-PEER-ADDRESS attribute and a DATA attribute. If one of these
// attributes is missing or invalid, then the message is discarded. Note that the DATA attribute is allowed to contain
// zero bytes of data."
func TestSendIndications(t *testing.T) {
	r, c := allocated(t)
	r.dropped(turn.DropNoPermission, func() { c.sendTo(peer4, "no permission yet") })
	c.expect(0, stun.CreatePermission, peers(peer4))
	for _, data := range []string{"", "a", "hello", strings.Repeat("x", 1200)} {
		c.sendTo(peer4, data)
		r.wantSent(r.one(), c.relayed, peer4, data)
	}
	indication := func(build func(b *stun.Builder)) []byte {
		b := stun.NewBuilder(nil, stun.Indication, stun.Send, stun.TransactionID{})
		build(&b)
		raw, _ := b.Message()
		return raw
	}
	for name, raw := range map[string][]byte{
		"no address":      indication(func(b *stun.Builder) { b.Text(stun.AttrData, "x") }),
		"no data":         indication(func(b *stun.Builder) { b.XORAddress(stun.AttrXORPeerAddress, peer4) }),
		"invalid address": indication(func(b *stun.Builder) { b.Text(stun.AttrXORPeerAddress, "x"); b.Text(stun.AttrData, "x") }),
		"unknown attribute": indication(func(b *stun.Builder) { // RFC 8489 section 6.3.2
			b.XORAddress(stun.AttrXORPeerAddress, peer4)
			b.Text(stun.AttrData, "x")
			b.Uint32(0x7000, 1)
		}),
		"damaged": indication(func(b *stun.Builder) { b.Text(stun.AttrData, "x") })[:24],
	} {
		r.dropped(turn.DropMalformed, func() { c.deliver(c.path, raw) })
		r.none(name)
	}
}

// Section 11.2: "If the server is unable to set the DF bit on outgoing UDP datagrams when this attribute is present, then
// the server acts as if the DONT-FRAGMENT attribute is an unknown comprehension-required attribute". Section 7.2 says the
// same of Allocate. Section 14: "then set the outgoing UDP packet to not fragment". Sections 13.1 to 13.3: "the
// DONT-FRAGMENT attribute MUST be ignored by the server"; section 13: "ignoring the DONT-FRAGMENT attribute is only
// applicable for UDP-to-UDP relay and not for TCP-to-UDP relay."
func TestDontFragment(t *testing.T) {
	df := func(b *stun.Builder) { b.Flag(stun.AttrDontFragment) }
	for name, c := range map[string]struct {
		client func(r *rig) *client
		peer   netip.AddrPort
		want   bool
	}{
		"IPv4 to IPv4":            {func(r *rig) *client { return r.client("5.9.0.1:1", "ada") }, peer4, true},
		"IPv4 to IPv6":            {func(r *rig) *client { return r.client("5.9.0.1:1", "ada") }, peer6, false},
		"IPv6 to IPv4":            {func(r *rig) *client { return r.client("[2a01:4f8::1]:1", "ada") }, peer4, false},
		"IPv6 to IPv6":            {func(r *rig) *client { return r.client("[2a01:4f8::1]:1", "ada") }, peer6, false},
		"TCP over IPv6 to IPv6":   {func(r *rig) *client { return r.stream("[2a01:4f8::1]:1", "ada") }, peer6, true},
		"TCP over IPv4 to IPv4":   {func(r *rig) *client { return r.stream("5.9.0.1:1", "ada") }, peer4, true},
		"TCP over IPv6 and no DF": {func(r *rig) *client { return r.stream("[2a01:4f8::1]:1", "ada") }, peer4, false},
	} {
		r := newRig(t)
		cl := c.client(r)
		cl.allocate(dual, df)
		cl.expect(0, stun.CreatePermission, peers(c.peer))
		cl.sendTo(c.peer, "plain")
		if r.one().Unfragmented {
			t.Errorf("%s: without the attribute the packet must not be fragmented", name)
		}
		if !strings.HasSuffix(name, "no DF") {
			cl.sendTo(c.peer, "x", df)
			if got := r.one().Unfragmented; got != c.want {
				t.Errorf("%s: not to be fragmented: %v, want %v", name, got, c.want)
			}
		}
	}

	r := newRig(t, func(c *turn.Config) { c.DontFragment = false })
	c := r.client("5.9.0.1:1", "ada")
	m := c.request(stun.Allocate, func(b *stun.Builder) { udp(b); df(b) })
	code, _, _ := m.ErrorCode()
	if u := slices.Collect(m.UnknownAttributes()); code != stun.CodeUnknownAttribute || !slices.Equal(u, []stun.AttrType{stun.AttrDontFragment}) {
		t.Errorf("a server that cannot: %v, UNKNOWN-ATTRIBUTES %x", code, u)
	}
	c.allocate()
	c.expect(0, stun.CreatePermission, peers(peer4))
	r.dropped(turn.DropMalformed, func() { c.sendTo(peer4, "x", df) })
	r.none("a Send indication with DONT-FRAGMENT at a server that cannot")
}

// Section 11.3: "The Data indication MUST contain both an XOR-PEER-ADDRESS and a DATA attribute. The DATA attribute is set
// to the value of the 'data octets' field from the datagram, and the XOR-PEER-ADDRESS attribute is set to the source
// transport address of the received UDP datagram."
func TestDataIndications(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	relayed := allRelayed(c.allocate(dual))
	c.expect(0, stun.CreatePermission, peers(peer4, peer6))
	for _, data := range []string{"", "a", "hello", strings.Repeat("x", 1200)} {
		r.fromPeer(relayed[0], peer4, []byte(data))
		c.wantData(r.one(), peer4, data)
		r.fromPeer(relayed[1], peer6, []byte(data))
		c.wantData(r.one(), peer6, data)
	}
	// RFC 8489 section 5: the transaction ID of each indication "MUST be uniformly and randomly chosen".
	seen := map[stun.TransactionID]bool{}
	for range 100 {
		r.fromPeer(relayed[0], peer4, []byte("x"))
		m := mustParse(t, r.one().Payload)
		if seen[m.ID()] {
			t.Fatalf("transaction ID %x comes twice", m.ID())
		}
		seen[m.ID()] = true
	}
}

// Section 11.5: "it verifies that the type is either 3 or 11 for an ICMPv4 packet or either 1, 2, or 3 for an ICMPv6
// packet". "For ICMP packets, the source IP address MUST NOT be checked against the permissions list ... Instead, the
// server extracts the destination IP address from the encapsulated IP header." "The Data indication MUST contain both an
// XOR-PEER-ADDRESS and an ICMP attribute. The ICMP attribute is set to the value of the type and code fields from the
// ICMP packet." Section 18.13: "For other ICMPv6 types and ICMPv4 types and codes, the Error Data field MUST be set to
// zero." Section 12.5: "The server uses a Data indication to signal the XOR-PEER-ADDRESS and ICMP attributes to the
// client even if a channel has been bound to the peer."
func TestICMP(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	relayed := allRelayed(c.allocate(dual))
	c.expect(0, stun.CreatePermission, peers(peer4, peer6))
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	for _, m := range []struct {
		peer       netip.AddrPort
		kind, code uint8
		data, want uint32
		dropped    bool
	}{
		{peer4, 3, 3, 99, 0, false},
		{peer4, 3, 4, 1400, 1400, false},
		{peer4, 11, 0, 99, 0, false},
		{peer6, 1, 4, 99, 0, false},
		{peer6, 2, 0, 1280, 1280, false},
		{peer6, 3, 0, 99, 0, false},
		{netip.AddrPortFrom(peer4.Addr(), 0), 3, 3, 0, 0, false}, // "otherwise, the port portion is set to zero"
		{peer4, 0, 0, 0, 0, true},
		{peer4, 5, 0, 0, 0, true},
		{peer4, 1, 0, 0, 0, true},
		{peer6, 4, 0, 0, 0, true},
		{peer6, 11, 0, 0, 0, true},
		{ap("8.8.4.5:5000"), 3, 3, 0, 0, true}, // no permission
	} {
		a := relayed[0]
		if m.peer.Addr().Is6() {
			a = relayed[1]
		}
		icmp := &pkt.ICMP{Path: pkt.Path{Socket: r.relays[a], Remote: m.peer}, Type: m.kind, Code: m.code, Data: m.data}
		if m.dropped {
			r.dropped(turn.DropICMP, func() { r.s.HandleICMP(r.now, icmp) })
			r.none("an ICMP message of no use")
			continue
		}
		r.s.HandleICMP(r.now, icmp)
		out := r.one()
		got := mustParse(t, out.Payload)
		from, _ := got.XORAddress(stun.AttrXORPeerAddress)
		value, _ := got.Get(stun.AttrICMP)
		want := []byte{0, 0, m.kind, m.code, byte(m.want >> 24), byte(m.want >> 16), byte(m.want >> 8), byte(m.want)}
		if out.Path != c.path || got.Class() != stun.Indication || got.Method() != stun.Data || from != m.peer ||
			!bytes.Equal(value, want) || got.Has(stun.AttrData) {
			t.Errorf("ICMP %d/%d about %v: XOR-PEER-ADDRESS %v, ICMP %x, want %x", m.kind, m.code, m.peer, from, value, want)
		}
	}
	// "If no such allocation exists, the packet is silently dropped."
	r.dropped(turn.DropICMP, func() {
		r.s.HandleICMP(r.now, &pkt.ICMP{Path: pkt.Path{Socket: listening, Remote: peer4}, Type: 3, Code: 3})
	})
	r.none("ICMP on the clients' socket")
}

// Section 12, table 3: first bytes 0 to 3 are STUN, 64 to 79 TURN channels, "Others: Reserved; MUST be dropped". Section
// 12: "it MUST comply with the demultiplexing scheme discussed above." Section 12.6: "If the message uses a value in the
// reserved range (0x5000 through 0xFFFF), then the message is silently discarded."
func TestFirstBytes(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	for first := range 256 {
		raw := append([]byte{byte(first), 0, 0, 4}, "data"...)
		switch {
		case first < 4:
			r.dropped(turn.DropForeign, func() { c.deliver(c.path, raw) }) // too short for STUN
		case first == 64:
			c.deliver(c.path, raw)
			r.wantSent(r.one(), c.relayed, peer4, "data")
		case first < 80 && first > 64:
			r.dropped(turn.DropNoChannel, func() { c.deliver(c.path, raw) })
		default:
			r.dropped(turn.DropForeign, func() { c.deliver(c.path, raw) })
		}
		r.none("a datagram that is nobody's")
	}
	r.dropped(turn.DropForeign, func() { c.deliver(c.path, nil) })
}

// Section 12: "To prevent race conditions, the client MUST wait 5 minutes after the channel binding expires before
// attempting to bind the channel number to a different transport address". "A channel binding lasts for 10 minutes unless
// refreshed." "When the channel binding expires, the channel becomes unbound."
func TestChannelBindingsLast10Minutes(t *testing.T) {
	r, c := allocated(t)
	hold := func(d time.Duration) { // keeps the allocation and the permission
		for ; d > time.Minute; d -= time.Minute {
			r.wait(time.Minute)
			c.expect(0, stun.Refresh, nil)
			c.expect(0, stun.CreatePermission, peers(peer4))
		}
		r.wait(d)
	}
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	hold(9 * time.Minute)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4)) // refreshed
	hold(10*time.Minute - 1)
	c.sendOn(0x4000, "x")
	r.wantSent(r.one(), c.relayed, peer4, "x")
	r.fromPeer(c.relayed, peer4, []byte("y"))
	if got := r.one().Payload; !bytes.Equal(got, channelData(0x4000, "y")) {
		t.Errorf("after 10 minutes less a nanosecond the client gets %x", got)
	}
	hold(1)
	r.dropped(turn.DropNoChannel, func() { c.sendOn(0x4000, "x") })
	r.fromPeer(c.relayed, peer4, []byte("y"))
	c.wantData(r.one(), peer4, "y")
	c.expect(0, stun.ChannelBind, binding(0x4000, ap("8.8.4.5:5000"))) // unbound, it can be bound to another
	c.expect(0, stun.ChannelBind, binding(0x4001, peer4))
}

// Section 12.2: "The request contains both a CHANNEL-NUMBER and an XOR-PEER-ADDRESS attribute; The channel number is in
// the range 0x4000 through 0x4FFF (inclusive); The channel number is not currently bound to a different transport address
// (same transport address is OK); The transport address is not currently bound to a different channel number. If any of
// these tests fail, the server replies with a 400 (Bad Request) error."
func TestChannelBind(t *testing.T) {
	r, c := allocated(t)
	c.expect(stun.CodeBadRequest, stun.ChannelBind, nil)
	c.expect(stun.CodeBadRequest, stun.ChannelBind, peers(peer4))
	c.expect(stun.CodeBadRequest, stun.ChannelBind, func(b *stun.Builder) { b.Uint32(stun.AttrChannelNumber, 0x40000000) })
	c.expect(stun.CodeBadRequest, stun.ChannelBind, func(b *stun.Builder) {
		b.Bytes(stun.AttrChannelNumber, []byte{0x40, 0})
		b.XORAddress(stun.AttrXORPeerAddress, peer4)
	})
	for _, bad := range []uint16{0, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF} {
		c.expect(stun.CodeBadRequest, stun.ChannelBind, binding(bad, peer4))
	}
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	c.expect(0, stun.ChannelBind, binding(0x4FFF, ap("8.8.4.4:5001")))
	c.expect(stun.CodeBadRequest, stun.ChannelBind, binding(0x4000, ap("8.8.4.4:5002")))
	c.expect(stun.CodeBadRequest, stun.ChannelBind, binding(0x4001, peer4))
	// "use of a channel number or peer transport address in a channel binding in one allocation has no impact on their use
	// in a different allocation"
	d := r.client("5.9.0.2:1", "ada")
	d.allocate()
	d.expect(0, stun.ChannelBind, binding(0x4000, ap("8.8.4.4:5003")))
	d.expect(0, stun.ChannelBind, binding(0x4001, peer4))
	d.sendOn(0x4001, "x")
	r.wantSent(r.one(), d.relayed, peer4, "x")
	// "some capacity limit"
	for i := range uint16(256) {
		want := stun.Code(0)
		if i >= 254 {
			want = stun.CodeInsufficientCapacity
		}
		d.expect(want, stun.ChannelBind, binding(0x4100+i, netip.AddrPortFrom(peer4.Addr(), 6000+i)))
	}
}

// RFC 5766 section 11: "0x4000 through 0x7FFF: These values are the allowed channel numbers". Its clients are served where
// the operator wants it; DTLS, QUIC and RTP stay what they are.
func TestChannelsOfRFC5766(t *testing.T) {
	r, c := allocated(t, func(c *turn.Config) { c.CoturnClients = true })
	for i, number := range []uint16{0x4000, 0x4FFF, 0x5000, 0x6ABC, 0x7FFF} {
		peer := netip.AddrPortFrom(peer4.Addr(), uint16(5000+i))
		c.expect(0, stun.ChannelBind, binding(number, peer))
		c.sendOn(number, "up")
		r.wantSent(r.one(), c.relayed, peer, "up")
		r.fromPeer(c.relayed, peer, []byte("down"))
		if got := r.one().Payload; !bytes.Equal(got, channelData(number, "down")) {
			t.Errorf("channel %x: the client gets %x", number, got)
		}
	}
	for _, bad := range []uint16{0, 0x3FFF, 0x8000, 0xFFFF} {
		c.expect(stun.CodeBadRequest, stun.ChannelBind, binding(bad, peer4))
	}
	r.dropped(turn.DropForeign, func() { c.sendOn(0x8000, "RTP") })
}

// Section 12.5: "The server, on the other hand, MUST use the ChannelData message if a channel has been bound to the
// peer." "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple of four bytes in order to ensure
// the alignment of subsequent messages. The padding is not reflected in the length field of the ChannelData message".
func TestChannelDataToTheClient(t *testing.T) {
	r := newRig(t)
	overUDP, overTCP := r.client("5.9.0.1:1", "ada"), r.stream("5.9.0.2:1", "ada")
	for _, c := range []*client{overUDP, overTCP} {
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4abc, peer4))
		for n := range 9 {
			data := strings.Repeat("x", n)
			r.fromPeer(c.relayed, peer4, []byte(data))
			want := channelData(0x4abc, data)
			if c == overTCP {
				for len(want)%4 != 0 {
					want = append(want, 0)
				}
			}
			if got := r.one(); !bytes.Equal(got.Payload, want) || got.Path != c.path {
				t.Errorf("%d bytes, stream %v: %x, want %x", n, c == overTCP, got.Payload, want)
			}
		}
		other := ap("8.8.4.4:5001") // a permission and no channel
		r.fromPeer(c.relayed, other, []byte("x"))
		c.wantData(r.one(), other, "x")
	}
}

// Section 12.6: "if the UDP datagram is too short to contain the claimed length of the ChannelData message ..., then the
// message is silently discarded." "If the ChannelData message is received on a channel that is not bound to any peer,
// then the message is silently discarded." "the receipt of a ChannelData message MUST NOT refresh either the channel
// binding or the permission towards the peer." "if the Length field in the ChannelData message is 0, then there will be
// no data in the UDP datagram, but the UDP datagram is still formed and sent".
func TestChannelDataFromTheClient(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	for _, data := range []string{"", "a", strings.Repeat("x", 1200)} {
		c.sendOn(0x4000, data)
		r.wantSent(r.one(), c.relayed, peer4, data)
	}
	c.deliver(c.path, append(channelData(0x4000, "abc"), 0)) // "Over UDP, the padding is not required but MAY be included."
	r.wantSent(r.one(), c.relayed, peer4, "abc")
	for _, short := range [][]byte{{0x40}, {0x40, 0, 0}, {0x40, 0, 0, 1}, channelData(0x4000, "abcd")[:7]} {
		r.dropped(turn.DropMalformed, func() { c.deliver(c.path, short) })
	}
	r.dropped(turn.DropNoChannel, func() { c.sendOn(0x4001, "x") })
	for range 6 { // data every minute
		r.wait(50 * time.Second)
		c.sendOn(0x4000, "x")
	}
	if got := len(r.take()); got != 5 {
		t.Errorf("%d of 6 datagrams, 50 s apart, passed; the permission lasts 300 s", got)
	}
	c.expect(0, stun.CreatePermission, peers(peer4))
	r.wait(290 * time.Second)
	c.sendOn(0x4000, "still bound")
	r.one()
	c.expect(0, stun.Refresh, nil)
	r.wait(10 * time.Second)
	r.dropped(turn.DropNoChannel, func() { c.sendOn(0x4000, "x") })
}

// Section 14: "Set the outgoing value to the incoming value" for DSCP and ECN between UDP and UDP. Section 15: over TCP
// "set the outgoing value to Not-ECT" and DSCP "to a fixed value"; section 16: "Ignore" both towards TCP.
func TestMarkings(t *testing.T) {
	r := newRig(t)
	for _, c := range []*client{r.client("5.9.0.1:1", "ada"), r.stream("5.9.0.2:1", "ada")} {
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		ecn, dscp := pkt.CE, pkt.EF
		wantECN, wantDSCP := ecn, dscp
		if c.path.Socket != listening {
			wantECN, wantDSCP = pkt.NotECT, pkt.DefaultForwarding
		}
		for name, d := range map[string]pkt.Datagram{
			"up":   {Path: c.path, Payload: channelData(0x4000, "x")},
			"down": {Path: pkt.Path{Socket: r.relays[c.relayed], Local: c.relayed, Remote: peer4}, Payload: []byte("x")},
		} {
			d.ECN, d.DSCP = ecn, dscp
			r.s.HandleDatagram(r.now, &d)
			if out := r.one(); out.ECN != wantECN || out.DSCP != wantDSCP {
				t.Errorf("%s, stream %v: ECN %d DSCP %d, want %d %d", name, c.path.Socket != listening, out.ECN, out.DSCP, wantECN, wantDSCP)
			}
		}
	}
}

// Section 13: "The server SHOULD implement the preferred behavior, but if that is not possible for a particular field, the
// server MUST implement the alternate behavior and MUST NOT do anything else". Of fragmentation the alternate behavior is
// what a datagram socket does: "The TURN server assembles incoming fragments. The TURN server follows its default behavior
// to send outgoing packets." (sections 13.1 to 13.3; and so the "MUST fragment" of 13.2 is the system's.) So data goes on
// as one datagram, however long, and nothing is asked of the system that was not asked for by DONT-FRAGMENT.
func TestTranslationsAreAlternate(t *testing.T) {
	r := newRig(t)
	for _, from := range []string{"5.9.0.1:1", "[2a01:4f8::1]:1"} {
		c := r.client(from, "ada")
		relayed := allRelayed(c.allocate(dual))
		for i, peer := range []netip.AddrPort{peer4, peer6} {
			c.expect(0, stun.ChannelBind, binding(0x4000+uint16(i), peer))
			for _, n := range []int{1, 1280, 1500, 9000, 65000} {
				data := strings.Repeat("x", n)
				c.sendOn(0x4000+uint16(i), data)
				up := r.one()
				r.wantSent(up, relayed[i], peer, data)
				r.fromPeer(relayed[i], peer, []byte(data))
				down := r.one()
				if up.Unfragmented || down.Unfragmented || up.SegmentSize != 0 || down.SegmentSize != 0 {
					t.Errorf("%s to %v, %d bytes: up %v %d, down %v %d", from, peer, n, up.Unfragmented, up.SegmentSize, down.Unfragmented, down.SegmentSize)
				}
			}
		}
	}
}

// A stream's frames have their length in the first four bytes (section 12.5, RFC 8489 section 5).
func TestFrameLen(t *testing.T) {
	for _, c := range []struct {
		head [4]byte
		n    int
		ok   bool
	}{
		{[4]byte{0, 1, 0, 0}, 20, true},
		{[4]byte{0, 3, 0, 8}, 28, true},
		{[4]byte{0x3, 0xFF, 0xFF, 0xFC}, 65552, true},
		{[4]byte{0, 1, 0, 2}, 0, false}, // no multiple of four
		{[4]byte{0x40, 0, 0, 0}, 4, true},
		{[4]byte{0x40, 0, 0, 1}, 8, true},
		{[4]byte{0x4F, 0xFF, 0, 8}, 12, true},
		{[4]byte{0x40, 0, 0xFF, 0xFF}, 65540, true},
		{[4]byte{0x50, 0, 0, 5}, 12, true}, // reserved: discarded, and what follows is read
		{[4]byte{0x7F, 0xFF, 0, 0}, 4, true},
		{[4]byte{'G', 'E', 'T', ' '}, 21540, true}, // 0x47 is a channel: the caller tells HTTP apart before
		{[4]byte{0x16, 3, 1, 0}, 0, false},         // TLS
		{[4]byte{0x80, 0, 0, 0}, 0, false},
	} {
		if n, ok := turn.FrameLen(c.head); n != c.n || ok != c.ok {
			t.Errorf("%x: %d, %v; want %d, %v", c.head, n, ok, c.n, c.ok)
		}
	}
}

// A connection that ends takes its allocation with it, and one without an allocation does not stay.
func TestStreams(t *testing.T) {
	r := newRig(t)
	c := r.stream("5.9.0.1:1", "ada")
	c.allocate()
	socket := r.relays[c.relayed]
	r.s.RemoveSocket(r.now, c.path.Socket)
	r.settle()
	if !slices.Contains(r.closed, socket) || r.s.Counters().Allocations != 0 {
		t.Errorf("after the connection has ended: closed %v, %d allocations", r.closed, r.s.Counters().Allocations)
	}
	r.dropped(turn.DropSocket, func() { c.sendOn(0x4000, "x") })
	r.wait(2 * time.Minute)
	if slices.Contains(r.closed, c.path.Socket) {
		t.Error("a socket that is gone is to be closed")
	}

	idle := r.stream("5.9.0.1:2", "ada")
	r.wait(time.Minute - 1)
	if slices.Contains(r.closed, idle.path.Socket) {
		t.Error("an idle stream is closed before a minute has passed")
	}
	r.wait(1)
	if !slices.Contains(r.closed, idle.path.Socket) {
		t.Error("a stream without an allocation stays open")
	}
	busy := r.stream("5.9.0.1:3", "ada")
	busy.allocate()
	r.wait(10*time.Minute - 1)
	if slices.Contains(r.closed, busy.path.Socket) {
		t.Error("a stream with an allocation is closed")
	}
	r.wait(1 + time.Minute)
	if !slices.Contains(r.closed, busy.path.Socket) {
		t.Error("a stream whose allocation has ended stays open")
	}
}

// A stream has one client, whatever the driver says its address is, and a number that comes again is another stream.
func TestAStreamHasOneClient(t *testing.T) {
	r := newRig(t)
	c := r.stream("5.9.0.1:1", "ada")
	c.allocate()
	other := r.client("5.9.0.1:2", "ada")
	other.path.Socket = c.path.Socket
	other.expect(stun.CodeAllocationMismatch, stun.Allocate, udp)
	r.s.AddSocket(r.now, c.path.Socket, true)
	r.settle()
	if n := r.s.Counters().Allocations; n != 0 || len(r.relays) != 0 {
		t.Errorf("%d allocations and %d sockets of the former stream are left", n, len(r.relays))
	}
	other.allocate()
	r.wait(2 * time.Minute)
	if slices.Contains(r.closed, c.path.Socket) {
		t.Error("the timer of the former stream ends the new one")
	}
}

// A UDP socket that does not listen any more takes its allocations with it.
func TestRemoveListeningSocket(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.client(netip.AddrPortFrom(netip.MustParseAddr("5.9.0.1"), uint16(i+1)).String(), "ada").allocate()
	}
	r.s.RemoveSocket(r.now, listening)
	r.settle()
	if r.s.Counters().Allocations != 0 || len(r.relays) != 0 || r.s.NextTimeout() < r.now.Add(100*time.Hour) {
		t.Errorf("%d allocations, %d sockets, a timer at %v", r.s.Counters().Allocations, len(r.relays), r.s.NextTimeout())
	}
}

// "since UDP does not include a congestion control mechanism, it should discard application data traffic that exceeds the
// bandwidth quota." (section 5)
func TestBandwidth(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Limits.Bandwidth = 10_000 })
	c := r.client("5.9.0.1:1", "ada")
	c.allocate()
	d := r.client("5.9.0.1:2", "ada") // the same user: one budget
	d.allocate()
	other := r.client("5.9.0.1:3", "bea")
	other.allocate()
	for _, x := range []*client{c, d, other} {
		x.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	}
	data := strings.Repeat("x", 1000)
	passed := func(f func()) int {
		for range 30 {
			f()
		}
		return len(r.take())
	}
	up := passed(func() { c.sendOn(0x4000, data) }) + passed(func() { d.sendOn(0x4000, data) })
	if up != 10 {
		t.Errorf("%d datagrams of 1000 bytes up at once, want a burst of one second, 10", up)
	}
	if down := passed(func() { r.fromPeer(c.relayed, peer4, []byte(data)) }); down != 10 {
		t.Errorf("%d datagrams down at once, want 10", down)
	}
	if n := passed(func() { other.sendOn(0x4000, data) }); n != 10 {
		t.Errorf("another user: %d datagrams", n)
	}
	r.wait(500 * time.Millisecond)
	if n := passed(func() { c.sendOn(0x4000, data) }); n != 5 {
		t.Errorf("%d datagrams half a second later, want 5", n)
	}
	defer func() { // with relayed addresses on two shards, each has half
		r.wait(10 * time.Second)
		r.s.Share("ada", 2)
		if n := passed(func() { c.sendOn(0x4000, data) }); n != 5 {
			t.Errorf("%d datagrams at once of a user who is on two shards, want 5", n)
		}
	}()
	if n := r.s.Counters().Dropped[turn.DropBandwidth]; n != 50+20+20+25 {
		t.Errorf("%d datagrams counted as dropped", n)
	}
}

// What a client's data costs is told when the allocation ends.
func TestUsage(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	c.sendOn(0x4000, "12345")
	c.sendTo(peer4, "123")
	r.fromPeer(c.relayed, peer4, []byte("1234567"))
	r.wait(9 * time.Second)
	r.take()
	c.expect(0, stun.Refresh, living(0))
	want := turn.Usage{PacketsUp: 2, BytesUp: 8, PacketsDown: 1, BytesDown: 7}
	last := r.events[len(r.events)-1].(turn.Released)
	if last.Usage != want || last.User != "ada" || last.Client != c.path || last.Age != 9*time.Second {
		t.Errorf("released %+v", last)
	}
	if got := r.s.Counters().Usage; got != want {
		t.Errorf("all in all %+v, want %+v", got, want)
	}
}

// Relay writes into the driver's batch what HandleDatagram would send later, and leaves the rest to it.
func TestRelayWritesIntoTheDriversBatch(t *testing.T) {
	r, c := allocated(t)
	c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
	b := pkt.NewBatch(100, 2)
	data := pkt.Datagram{Path: c.path, Payload: channelData(0x4000, strings.Repeat("x", 60))}
	if !r.s.Relay(r.now, &data, b) || b.Len() != 1 {
		t.Fatalf("data is not relayed: %d transmits", b.Len())
	}
	r.none("what is in the driver's batch")
	if r.s.Relay(r.now, &data, b) || b.Len() != 1 || r.s.Counters().Usage.PacketsUp != 1 {
		t.Error("a batch without room takes another")
	}
	r.s.HandleDatagram(r.now, &data)
	r.wantSent(r.one(), c.relayed, peer4, strings.Repeat("x", 60))
	if request := (pkt.Datagram{Path: c.path, Payload: c.build(stun.Refresh, nil)}); r.s.Relay(r.now, &request, b) {
		t.Error("a request is taken for data")
	}
}
