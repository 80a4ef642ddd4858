package turn_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// Conformance to RFC 8656 sections 5 to 8: each test opens with the sentences that it is about.

// Section 5: "TURN servers and clients MUST implement this mechanism" (the long-term credential mechanism).
// Section 7.2: "Otherwise, the server MUST require that the request be authenticated." "the authentication MUST be done
// either using the long-term credential mechanism of [RFC8489] or ..."
func TestEveryRequestNeedsALongTermCredential(t *testing.T) {
	for _, method := range []stun.Method{stun.Allocate, stun.Refresh, stun.CreatePermission, stun.ChannelBind} {
		r := newRig(t)
		c := r.client("5.9.0.1:1000", "ada")
		m := c.exchange(c.build(method, udp))
		if code, _, _ := m.ErrorCode(); code != stun.CodeUnauthenticated {
			t.Errorf("%v without credentials: %v", method, code)
		}
		if realm, _ := m.Get(stun.AttrRealm); string(realm) != "parley" {
			t.Errorf("%v: realm %q", method, realm)
		}
		nonce, _ := m.Get(stun.AttrNonce)
		if f, ok := stun.ParseNonceCookie(nonce); !ok || f != stun.FeaturePasswordAlgorithms {
			t.Errorf("%v: nonce %q", method, nonce)
		}
		if list, _ := m.Get(stun.AttrPasswordAlgorithms); !bytes.Equal(list, stun.AppendPasswordAlgorithms(nil, stun.SHA256, stun.MD5)) {
			t.Errorf("%v: algorithms %x", method, list)
		}
		if sha1, sha256 := m.HasIntegrity(); sha1 || sha256 || m.Has(stun.AttrSoftware) {
			t.Errorf("%v: an unauthenticated response has integrity or SOFTWARE", method)
		}
		if r.s.Counters().Allocations != 0 || len(r.opened) != 0 {
			t.Errorf("%v: something was allocated", method)
		}
	}
}

// Section 5: "the server's administrator MUST choose a realm value that will uniquely identify the username and password
// combination that the client must use".
func TestTheRealmIsTheAdministratorsAndCounts(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Realm = "relay.example" })
	c := r.clientAs("5.9.0.1:1000", "alice", "wonderland")
	m := c.exchange(c.build(stun.Allocate, udp))
	if realm, _ := m.Get(stun.AttrRealm); string(realm) != "relay.example" {
		t.Errorf("the challenge has realm %q", realm)
	}
	// A key of another realm opens nothing, even with the right realm written in the request.
	other := newRig(t, func(c *turn.Config) { c.Realm = "other.example" })
	o := other.clientAs("5.9.0.1:1000", "alice", "wonderland")
	challenge := o.exchange(o.build(stun.Allocate, udp))
	if err := c.credential.Challenge(c.hasher, &challenge); err != nil {
		t.Fatal(err)
	}
	m = c.exchange(c.build(stun.Allocate, udp))
	if code, _, _ := m.ErrorCode(); code != stun.CodeUnauthenticated {
		t.Errorf("a request for another realm: %v", code)
	}
}

// Section 5: "... but; the request does not use the same username as used to create the allocation, then the request MUST
// be rejected with a 441 (Wrong Credentials) error."
func TestAnotherUsersRequestsAreRejected(t *testing.T) {
	r := newRig(t)
	ada := r.client("5.9.0.1:1000", "ada")
	ada.allocate()
	eve := r.client("5.9.0.1:1000", "eve")
	eve.expect(stun.CodeWrongCredentials, stun.Refresh, living(0))
	eve.expect(stun.CodeWrongCredentials, stun.CreatePermission, peers(peer4))
	eve.expect(stun.CodeWrongCredentials, stun.ChannelBind, binding(0x4000, peer4))
	ada.expect(0, stun.Refresh, nil)
	if n := r.s.Counters().Allocations; n != 1 {
		t.Errorf("%d allocations are left", n)
	}
}

// Section 5: "For all TURN messages (including ChannelData) EXCEPT an Allocate request, if the 5-tuple does not identify
// an existing allocation, then the message MUST either be rejected with a 437 Allocation Mismatch error (if it is a
// request) or be silently ignored (if it is an indication or a ChannelData message)."
func TestMessagesWithoutAnAllocation(t *testing.T) {
	r := newRig(t)
	r.client("5.9.0.1:1000", "ada").allocate()
	stranger := r.client("5.9.0.1:1001", "ada") // the same user, another port
	stranger.expect(stun.CodeAllocationMismatch, stun.Refresh, nil)
	stranger.expect(stun.CodeAllocationMismatch, stun.CreatePermission, peers(peer4))
	stranger.expect(stun.CodeAllocationMismatch, stun.ChannelBind, binding(0x4000, peer4))
	r.dropped(turn.DropNoAllocation, func() { stranger.sendTo(peer4, "x") })
	r.dropped(turn.DropNoAllocation, func() { stranger.sendOn(0x4000, "x") })
	r.none("an indication and ChannelData without an allocation")
}

// Section 5: "a TURN server MUST support the use of UDP transport between the client and the server, and it SHOULD
// support the use of TCP, TLS-over-TCP".
func TestClientsOverUDPAndStreams(t *testing.T) {
	r := newRig(t)
	overUDP := r.client("5.9.0.1:1000", "ada")
	overUDP.allocate()
	overTCP := r.stream("5.9.0.1:1000", "ada") // the same address and port: another 5-tuple
	overTCP.allocate()
	if overUDP.relayed == overTCP.relayed {
		t.Errorf("both are relayed from %v", overTCP.relayed)
	}
}

// stream returns a client with a connection of its own.
func (r *rig) stream(from, name string) *client {
	c := r.client(from, name)
	r.next++
	c.path.Socket = r.next
	r.s.AddSocket(r.now, r.next, true)
	return c
}

// Section 6: "The relayed transport address MUST be unique across all allocations".
func TestRelayedAddressesAreUnique(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.MinPort, c.MaxPort = 50000, 50009 })
	seen := map[netip.AddrPort]bool{}
	for i := range 10 {
		c := r.client(fmt.Sprintf("5.9.0.%d:1000", i), "ada")
		c.allocate()
		if seen[c.relayed] || c.relayed.Addr() != relay4 || c.relayed.Port() < 50000 || c.relayed.Port() > 50009 {
			t.Errorf("allocation %d is relayed from %v", i, c.relayed)
		}
		seen[c.relayed] = true
	}
	r.client("5.9.0.10:1000", "ada").expect(stun.CodeInsufficientCapacity, stun.Allocate, udp)
}

// Section 6: "the server MUST NOT store the password explicitly and MUST store the key value". What the server keeps of
// its configuration is not visible; but the slice that held the passwords is the caller's and may be wiped.
func TestPasswordsAreNotNeededAfterNew(t *testing.T) {
	users := []turn.User{{Name: "alice", Password: "wonderland"}}
	r := newRig(t, func(c *turn.Config) { c.Users = users })
	users[0] = turn.User{}
	r.clientAs("5.9.0.1:1000", "alice", "wonderland").allocate()
}

// Section 6: "if the response contains a PASSWORD-ALGORITHMS attribute and this attribute contains both MD5 and SHA-256
// algorithms, and the client also supports both the algorithms, the request MUST contain a PASSWORD-ALGORITHM attribute
// with the SHA-256 algorithm." A client takes the first algorithm that it knows, so the server lists SHA-256 first.
func TestClientsComeWithSHA256(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	m := c.allocate()
	if sha1, sha256 := m.HasIntegrity(); sha1 || !sha256 {
		t.Errorf("the response has SHA-1 %v, SHA-256 %v", sha1, sha256)
	}
	sent := mustParse(t, c.build(stun.Refresh, nil))
	if a, _ := sent.Get(stun.AttrPasswordAlgorithm); !bytes.Equal(a, []byte{0, 2, 0, 0}) {
		t.Errorf("PASSWORD-ALGORITHM %x", a)
	}
}

func mustParse(t testing.TB, raw []byte) stun.Message {
	t.Helper()
	m, err := stun.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Section 7.1, each of which the server enforces: "The client MUST include a REQUESTED-TRANSPORT attribute in the
// request." "The attribute value in the ADDITIONAL-ADDRESS-FAMILY MUST be set to 0x02". "Clients MUST NOT include a
// REQUESTED-ADDRESS-FAMILY attribute in an Allocate request that contains a RESERVATION-TOKEN attribute". "Clients MUST
// NOT include REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY attributes in the same request." "Clients MUST NOT
// include the ADDITIONAL-ADDRESS-FAMILY attribute in an Allocate request that contains a RESERVATION-TOKEN attribute."
// "... in an Allocate request that contains an EVEN-PORT attribute with the R (Reserved) bit set to 1." "If the
// RESERVATION-TOKEN attribute is included, then the client MUST omit the EVEN-PORT attribute."
func TestMalformedAllocateRequests(t *testing.T) {
	token := func(b *stun.Builder) { b.Uint64(stun.AttrReservationToken, 1) }
	even := func(v ...byte) func(b *stun.Builder) {
		return func(b *stun.Builder) { b.Bytes(stun.AttrEvenPort, v) }
	}
	want := func(f byte) func(b *stun.Builder) {
		return func(b *stun.Builder) { b.Uint32(stun.AttrRequestedAddressFamily, uint32(f)<<24) }
	}
	also := func(f byte) func(b *stun.Builder) {
		return func(b *stun.Builder) { b.Uint32(stun.AttrAdditionalAddressFamily, uint32(f)<<24) }
	}
	raw := func(a stun.AttrType, v ...byte) func(b *stun.Builder) { return func(b *stun.Builder) { b.Bytes(a, v) } }
	type parts []func(b *stun.Builder)
	for name, c := range map[string]struct {
		parts parts
		want  stun.Code
	}{
		"no transport":               {parts{}, stun.CodeBadRequest},
		"malformed transport":        {parts{raw(stun.AttrRequestedTransport, 17)}, stun.CodeBadRequest},
		"transport TCP":              {parts{func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 6<<24) }}, stun.CodeUnsupportedTransport},
		"additional IPv4":            {parts{udp, also(1)}, stun.CodeBadRequest},
		"additional of no family":    {parts{udp, also(9)}, stun.CodeBadRequest},
		"malformed additional":       {parts{udp, raw(stun.AttrAdditionalAddressFamily, 2)}, stun.CodeBadRequest},
		"token and family":           {parts{udp, token, want(1)}, stun.CodeBadRequest},
		"family and additional":      {parts{udp, want(1), also(2)}, stun.CodeBadRequest},
		"token and additional":       {parts{udp, token, also(2)}, stun.CodeBadRequest},
		"reserve and additional":     {parts{udp, even(0x80), also(2)}, stun.CodeBadRequest},
		"token and even port":        {parts{udp, token, even(0)}, stun.CodeBadRequest},
		"malformed token":            {parts{udp, raw(stun.AttrReservationToken, 1, 2, 3, 4)}, stun.CodeBadRequest},
		"malformed even port":        {parts{udp, even()}, stun.CodeBadRequest},
		"malformed lifetime":         {parts{udp, raw(stun.AttrLifetime, 1)}, stun.CodeBadRequest},
		"malformed family":           {parts{udp, raw(stun.AttrRequestedAddressFamily, 1)}, stun.CodeBadRequest},
		"unknown token":              {parts{udp, token}, stun.CodeInsufficientCapacity},
		"no family":                  {parts{udp, want(0)}, stun.CodeAddressFamilyNotSupported},
		"unknown attribute":          {parts{udp, raw(0x7123, 1)}, stun.CodeUnknownAttribute},
		"unknown optional attribute": {parts{udp, raw(0xC123, 1)}, 0},
		"even port without reserve":  {parts{udp, even(0), also(2)}, 0},
		// "Clients MUST NOT include more than one REQUESTED-ADDRESS-FAMILY attribute": the first one counts (RFC 8489
		// section 14).
		"two families": {parts{udp, want(2), want(1)}, 0},
	} {
		r := newRig(t)
		cl := r.client("5.9.0.1:1000", "ada")
		m := cl.request(stun.Allocate, func(b *stun.Builder) {
			for _, f := range c.parts {
				f(b)
			}
		})
		code, _, _ := m.ErrorCode()
		if code != c.want {
			t.Errorf("%s: %v, want %v", name, code, c.want)
		}
		if code == stun.CodeUnknownAttribute {
			if got := slices.Collect(m.UnknownAttributes()); !slices.Equal(got, []stun.AttrType{0x7123}) {
				t.Errorf("%s: UNKNOWN-ATTRIBUTES %x", name, got)
			}
		}
		if name == "two families" && !allRelayed(m)[0].Addr().Is6() {
			t.Errorf("%s: relayed from %v", name, allRelayed(m))
		}
		if n := r.s.Counters().Allocations; (n == 1) != (c.want == 0) {
			t.Errorf("%s: %d allocations", name, n)
		}
	}
}

// Section 7.2: "If the server does not support the address family requested by the client in REQUESTED-ADDRESS-FAMILY,
// or if the allocation of the requested address family is disabled by local policy, it MUST generate an Allocate error
// response, and it MUST include an ERROR-CODE attribute with the 440 (Address Family not Supported) response code. If
// the REQUESTED-ADDRESS-FAMILY attribute is absent and the server does not support the IPv4 address family, the server
// MUST include an ERROR-CODE attribute with the 440 (Address Family not Supported) response code. If the
// REQUESTED-ADDRESS-FAMILY attribute is absent and the server supports the IPv4 address family, the server MUST allocate
// an IPv4 relayed transport address for the TURN client."
func TestAddressFamilies(t *testing.T) {
	only := func(a netip.Addr) func(*turn.Config) {
		return func(c *turn.Config) { c.Relay = []netip.Addr{a} }
	}
	both := func(*turn.Config) {}
	for name, c := range map[string]struct {
		server func(*turn.Config)
		ask    func(b *stun.Builder)
		want   stun.Code
		relay  netip.Addr
	}{
		"IPv6 of a server without": {only(relay4), wantFamily(2), stun.CodeAddressFamilyNotSupported, netip.Addr{}},
		"IPv4 of a server without": {only(relay6), wantFamily(1), stun.CodeAddressFamilyNotSupported, netip.Addr{}},
		"any of IPv6 alone":        {only(relay6), udp, stun.CodeAddressFamilyNotSupported, netip.Addr{}},
		"any":                      {both, udp, 0, relay4},
		"IPv4":                     {both, wantFamily(1), 0, relay4},
		"IPv6":                     {both, wantFamily(2), 0, relay6},
		"IPv6 of IPv6 alone":       {only(relay6), wantFamily(2), 0, relay6},
	} {
		for _, from := range []string{"5.9.0.1:1000", "[2a01:4f8::1]:1000"} {
			m := newRig(t, c.server).client(from, "ada").request(stun.Allocate, c.ask)
			code, _, _ := m.ErrorCode()
			a, _ := m.XORAddress(stun.AttrXORRelayedAddress)
			if code != c.want || a.Addr() != c.relay {
				t.Errorf("%s, from %s: %v, relayed from %v", name, from, code, a)
			}
		}
	}
}

// Section 7.2: "If the server can partially meet the request, i.e., if it can only allocate one relayed transport address
// of a specific address type, then it includes ADDRESS-ERROR-CODE attribute in the success response".
func TestDualAllocations(t *testing.T) {
	full := newRig(t).client("5.9.0.1:1000", "ada").allocate(dual)
	if a := allRelayed(full); len(a) != 2 || a[0].Addr() != relay4 || a[1].Addr() != relay6 || full.Has(stun.AttrAddressErrorCode) {
		t.Errorf("relayed from %v, ADDRESS-ERROR-CODE %v", a, full.Has(stun.AttrAddressErrorCode))
	}
	for name, c := range map[string]struct {
		rig  *rig
		left netip.Addr
		want []byte
	}{
		"no IPv6":      {newRig(t, func(c *turn.Config) { c.Relay = []netip.Addr{relay4} }), relay4, []byte{2, 0, 4, 40}},
		"no IPv4":      {newRig(t, func(c *turn.Config) { c.Relay = []netip.Addr{relay6} }), relay6, []byte{1, 0, 4, 40}},
		"no IPv6 port": {newRig(t), relay4, []byte{2, 0, 5, 8}},
	} {
		if name == "no IPv6 port" {
			c.rig.open = func(e turn.OpenRelay) error {
				if e.Address.Addr().Is6() {
					return turn.ErrPortTaken
				}
				return nil
			}
		}
		m := c.rig.client("5.9.0.1:1000", "ada").allocate(dual)
		got, _ := m.Get(stun.AttrAddressErrorCode)
		if a := allRelayed(m); len(a) != 1 || a[0].Addr() != c.left || !bytes.Equal(got, c.want) {
			t.Errorf("%s: relayed from %v, ADDRESS-ERROR-CODE %x", name, a, got)
		}
	}
}

// Section 7.2: "The server checks if the 5-tuple is currently in use by an existing allocation. If yes, the server
// rejects the request with a 437 (Allocation Mismatch) error." and "To detect retransmissions ..., the server can store
// the transaction id that created the request".
func TestASecondAllocateOnA5Tuple(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	challenge := c.exchange(c.build(stun.Allocate, udp))
	if err := c.credential.Challenge(c.hasher, &challenge); err != nil {
		t.Fatal(err)
	}
	raw := c.build(stun.Allocate, udp)
	first, again := c.exchange(raw), c.exchange(raw)
	a, _ := first.XORAddress(stun.AttrXORRelayedAddress)
	b, _ := again.XORAddress(stun.AttrXORRelayedAddress)
	if a != b || !a.IsValid() || r.s.Counters().Allocated != 1 {
		t.Errorf("a retransmission is answered with %v, the request was with %v; %d allocations", b, a, r.s.Counters().Allocated)
	}
	c.expect(stun.CodeAllocationMismatch, stun.Allocate, udp)
	r.client("5.9.0.1:1000", "eve").expect(stun.CodeAllocationMismatch, stun.Allocate, udp)
}

// A retransmission that comes while the sockets are being opened waits with the original.
func TestRetransmissionsBeforeTheSocketIsThere(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1000", "ada")
	challenge := c.exchange(c.build(stun.Allocate, udp))
	if err := c.credential.Challenge(c.hasher, &challenge); err != nil {
		t.Fatal(err)
	}
	raw := c.build(stun.Allocate, udp)
	for range 3 {
		c.deliver(c.path, raw)
	}
	if out := r.take(); len(out) != 1 || len(r.opened) != 1 {
		t.Errorf("%d responses, %d sockets", len(out), len(r.opened))
	}
}

// Section 7.2: "Port N is used in the current allocation, while the relayed transport address with port N+1 is assigned a
// token and reserved for a future allocation. The server MUST hold this reservation for at least 30 seconds".
func TestEvenPortsAndReservations(t *testing.T) {
	even := func(v byte) func(b *stun.Builder) {
		return func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrEvenPort, []byte{v}) }
	}
	r := newRig(t)
	for i := range 8 {
		c := r.client(fmt.Sprintf("5.9.1.%d:1000", i), "ada")
		if c.allocate(even(0)); c.relayed.Port()%2 != 0 {
			t.Errorf("relayed from port %d", c.relayed.Port())
		}
	}
	claim := func(token uint64) func(b *stun.Builder) {
		return func(b *stun.Builder) { udp(b); b.Uint64(stun.AttrReservationToken, token) }
	}
	reserve := func(from string) (*client, uint64) {
		c := r.client(from, "ada")
		m := c.allocate(even(0x80))
		token, ok := m.Uint64(stun.AttrReservationToken)
		if !ok || c.relayed.Port()%2 != 0 {
			t.Fatalf("token %v, relayed from %v", ok, c.relayed)
		}
		return c, token
	}
	c, token := reserve("5.9.0.1:1000")
	r.wait(30*time.Second - 1)
	d := r.client("5.9.0.2:1000", "bob") // "it can use a different client IP address and port"
	d.allocate(claim(token))
	if want := netip.AddrPortFrom(c.relayed.Addr(), c.relayed.Port()+1); d.relayed != want {
		t.Errorf("the token gives %v, want %v", d.relayed, want)
	}
	r.client("5.9.0.3:1000", "bob").expect(stun.CodeInsufficientCapacity, stun.Allocate, claim(token)) // it is used up

	_, token = reserve("5.9.0.4:1000")
	open := len(r.relays)
	r.wait(30 * time.Second)
	if len(r.relays) != open-1 {
		t.Errorf("%d sockets after the reservation has ended, %d before", len(r.relays), open)
	}
	r.client("5.9.0.5:1000", "bob").expect(stun.CodeInsufficientCapacity, stun.Allocate, claim(token))

	// A pair is found although the first ports are taken, and never half a pair.
	taken := 0
	r.open = func(e turn.OpenRelay) error {
		if e.Address.Port()%2 == 1 && taken < 3 {
			taken++
			return turn.ErrPortTaken
		}
		return nil
	}
	c, token = reserve("5.9.0.6:1000")
	if _, open := r.relays[netip.AddrPortFrom(c.relayed.Addr(), c.relayed.Port()+1)]; !open || token == 0 {
		t.Errorf("the port after %v is not open", c.relayed)
	}
	sockets := len(r.relays)
	c.expect(0, stun.Refresh, living(0))
	r.wait(time.Minute)
	if len(r.relays) != sockets-2 {
		t.Errorf("%d sockets are left of %d", len(r.relays), sockets)
	}
}

// Section 7.2, item 10: "the server MAY choose to reject the request with a 486 (Allocation Quota Reached) error ... it
// SHOULD define it based on the username used to authenticate the request".
func TestQuotas(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Limits.Allocations, c.PerAddress, c.Allocations = 2, 3, 6 })
	r.client("5.9.0.1:1", "ada").allocate()
	a := r.client("5.9.0.2:1", "ada")
	a.allocate()
	r.client("5.9.0.3:1", "ada").expect(stun.CodeAllocationQuotaReached, stun.Allocate, udp)
	a.expect(0, stun.Refresh, living(0))
	r.client("5.9.0.3:1", "ada").expect(stun.CodeAllocationQuotaReached, stun.Allocate, dual)
	r.client("5.9.0.3:1", "ada").allocate()

	// For each address, whoever the user is; an IPv6 subscriber's /64 is one address.
	for i := range 3 {
		r.client(fmt.Sprintf("[2a01:4f8:1:1::%d]:1", i+1), fmt.Sprint("user", i)).allocate()
	}
	r.client("[2a01:4f8:1:1::9]:1", "user9").expect(stun.CodeAllocationQuotaReached, stun.Allocate, udp)
	r.client("[2a01:4f8:1:2::9]:1", "user9").allocate()
	r.client("5.9.0.9:1", "user10").expect(stun.CodeInsufficientCapacity, stun.Allocate, udp) // the engine's own bound

	// A driver that counts over all shards can say no, too.
	q := newRig(t)
	q.open = func(turn.OpenRelay) error { return turn.ErrQuota }
	q.client("5.9.0.1:1", "ada").expect(stun.CodeAllocationQuotaReached, stun.Allocate, udp)
	if n := q.s.Counters().Allocations; n != 0 {
		t.Errorf("%d allocations after a refusal", n)
	}
}

// Section 7.2: the time-to-expiry is "the minimum of the client's proposed lifetime and the server's maximum allowed
// lifetime. If this computed value is greater than the default lifetime, then the server uses the computed lifetime ...
// Otherwise, the server uses the default lifetime." Section 8.2 says the same of Refresh, but for zero.
func TestLifetimes(t *testing.T) {
	for asked, want := range map[uint32]uint32{1: 600, 599: 600, 601: 601, 1800: 1800, 1801: 1800, 1<<32 - 1: 1800} {
		r := newRig(t, func(c *turn.Config) { c.MaxLifetime = 30 * time.Minute })
		c := r.client("5.9.0.1:1", "ada")
		m := c.allocate(udp, living(asked))
		if got, ok := m.Uint32(stun.AttrLifetime); !ok || got != want {
			t.Errorf("Allocate for %d s gives %d, want %d", asked, got, want)
		}
		m = c.request(stun.Refresh, living(asked))
		if got, ok := m.Uint32(stun.AttrLifetime); !ok || got != want {
			t.Errorf("Refresh for %d s gives %d, want %d", asked, got, want)
		}
		r.wait(time.Duration(want)*time.Second - 1)
		if r.s.Counters().Allocations != 1 {
			t.Errorf("%d s: gone too early", want)
		}
		r.wait(1)
		if r.s.Counters().Allocations != 0 || len(r.relays) != 0 || r.s.NextTimeout() < r.now {
			t.Errorf("%d s: still there, or its socket is", want)
		}
	}
	// "Allocate: 0" is less than the default.
	m := newRig(t).client("5.9.0.1:1", "ada").allocate(udp, living(0))
	if got, _ := m.Uint32(stun.AttrLifetime); got != 600 {
		t.Errorf("Allocate for 0 s gives %d", got)
	}
}

// Section 7.2: the success response has XOR-RELAYED-ADDRESS, LIFETIME and "An XOR-MAPPED-ADDRESS attribute containing the
// client's IP address and port". Section 5: "The server SHOULD include the SOFTWARE attribute in all Allocate and Refresh
// responses".
func TestAllocateSuccessResponse(t *testing.T) {
	r := newRig(t, func(c *turn.Config) { c.Software = "Parley" })
	for _, from := range []string{"5.9.0.1:1000", "[2a01:4f8::1]:1000"} {
		c := r.client(from, "ada")
		c.fingerprint = true
		m := c.allocate()
		if a, err := m.XORAddress(stun.AttrXORMappedAddress); err != nil || a != ap(from) {
			t.Errorf("XOR-MAPPED-ADDRESS %v, %v; want %s", a, err, from)
		}
		if v, _ := m.Get(stun.AttrSoftware); string(v) != "Parley" || !m.HasFingerprint() {
			t.Errorf("SOFTWARE %q, FINGERPRINT %v", v, m.HasFingerprint())
		}
		m = c.request(stun.Refresh, nil)
		if v, _ := m.Get(stun.AttrSoftware); string(v) != "Parley" {
			t.Errorf("Refresh: SOFTWARE %q", v)
		}
	}
	if len(r.events) != 2 || r.events[0].(turn.Allocated).User != "ada" {
		t.Errorf("events %v", r.events)
	}
}

// Section 7.3 and 7.4 are the client's.

// Section 8: "If a client wishes to continue using an allocation, then the client MUST refresh it before it expires."
func TestAnAllocationThatIsNotRefreshedEnds(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	c.allocate()
	c.expect(0, stun.CreatePermission, peers(peer4))
	for range 10 {
		r.wait(599 * time.Second)
		c.expect(0, stun.Refresh, nil)
	}
	c.sendTo(peer4, "data does not refresh an allocation") // section 3.2
	r.wait(10 * time.Minute)
	r.take()
	r.dropped(turn.DropNoAllocation, func() { c.sendTo(peer4, "late") })
	c.expect(stun.CodeAllocationMismatch, stun.Refresh, nil)
	last := r.events[len(r.events)-1].(turn.Released)
	if last.User != "ada" || last.Age != 10*599*time.Second+10*time.Minute {
		t.Errorf("released: %+v", last)
	}
}

// Section 8.1: "Deleting a single allocation destroys any permissions or channels associated with that particular
// allocation; it MUST NOT affect any permissions or channels associated with allocations for the other address family."
func TestDeletingHalfOfADualAllocation(t *testing.T) {
	for _, f := range []byte{1, 2} {
		r := newRig(t)
		c := r.client("5.9.0.1:1", "ada")
		relayed := allRelayed(c.allocate(dual))
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		c.expect(0, stun.ChannelBind, binding(0x4001, peer6))
		m := c.request(stun.Refresh, func(b *stun.Builder) {
			b.Uint32(stun.AttrRequestedAddressFamily, uint32(f)<<24)
			b.Uint32(stun.AttrLifetime, 0)
		})
		if life, ok := m.Uint32(stun.AttrLifetime); !ok || life != 0 {
			t.Errorf("family %d: LIFETIME %d, %v", f, life, ok)
		}
		kept, gone, keptPeer := uint16(0x4001), uint16(0x4000), peer6
		if f == 2 {
			kept, gone, keptPeer = gone, kept, peer4
		}
		c.sendOn(kept, "still")
		r.wantSent(r.one(), relayed[2-f], keptPeer, "still")
		r.dropped(turn.DropNoChannel, func() { c.sendOn(gone, "not any more") })
		if _, open := r.relays[relayed[f-1]]; open {
			t.Errorf("family %d: its socket is still open", f)
		}
		c.expect(stun.CodePeerFamilyMismatch, stun.Refresh, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedAddressFamily, uint32(f)<<24) })
		// "If no REQUESTED-ADDRESS-FAMILY attribute is included, then the request should be treated as applying to all
		// current allocations."
		c.expect(0, stun.Refresh, living(0))
		if n := r.s.Counters().Allocations; n != 0 || len(r.relays) != 0 {
			t.Errorf("family %d: %d allocations, %d sockets are left", f, n, len(r.relays))
		}
	}
}

// Section 8.2: "If the server receives a Refresh Request with a REQUESTED-ADDRESS-FAMILY attribute and the attribute value
// does not match the address family of the allocation, the server MUST reply with a 443 (Peer Address Family Mismatch)
// Refresh error response."
func TestRefreshOfAnotherFamily(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	c.allocate()
	for _, f := range []uint32{0, 2, 3} {
		c.expect(stun.CodePeerFamilyMismatch, stun.Refresh, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedAddressFamily, f<<24) })
	}
	c.expect(0, stun.Refresh, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedAddressFamily, 1<<24) })
	c.expect(stun.CodeBadRequest, stun.Refresh, func(b *stun.Builder) { b.Bytes(stun.AttrRequestedAddressFamily, []byte{1}) })
	c.expect(stun.CodeBadRequest, stun.Refresh, func(b *stun.Builder) { b.Bytes(stun.AttrLifetime, []byte{1}) })
}

// Section 8.2: "if the 'desired lifetime' is zero, then the request succeeds and the allocation is deleted."
func TestRefreshWithZeroDeletes(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	c.allocate()
	socket := r.relays[c.relayed]
	c.expect(0, stun.Refresh, living(0))
	if !slices.Contains(r.closed, socket) {
		t.Errorf("socket %d is not among the closed %v", socket, r.closed)
	}
	// "A retransmitted Refresh request with a zero 'desired lifetime' will cause a 437 (Allocation Mismatch) response".
	c.expect(stun.CodeAllocationMismatch, stun.Refresh, living(0))
	c.allocate() // and the 5-tuple is free
}

// The driver's side of an allocation: whatever it answers, and whenever, no socket is lost and the client gets an answer.
func TestSocketsThatDoNotOpen(t *testing.T) {
	r := newRig(t)
	r.open = func(turn.OpenRelay) error { return turn.ErrPortTaken }
	c := r.client("5.9.0.1:1", "ada")
	c.expect(stun.CodeInsufficientCapacity, stun.Allocate, udp)
	if len(r.opened) != 16 {
		t.Errorf("%d ports were tried", len(r.opened))
	}
	ports := map[uint16]bool{}
	for _, e := range r.opened {
		ports[e.Address.Port()] = true
	}
	if len(ports) < 15 {
		t.Errorf("%d different ports in 16 tries", len(ports))
	}
	r.open = func(turn.OpenRelay) error { return fmt.Errorf("no more descriptors") }
	c.expect(stun.CodeInsufficientCapacity, stun.Allocate, udp)
	if len(r.opened) != 17 {
		t.Errorf("after a lack of capacity another port is tried")
	}
}

func TestADriverThatAnswersLate(t *testing.T) {
	r := newRig(t)
	c := r.client("5.9.0.1:1", "ada")
	challenge := c.exchange(c.build(stun.Allocate, udp))
	if err := c.credential.Challenge(c.hasher, &challenge); err != nil {
		t.Fatal(err)
	}
	raw := c.build(stun.Allocate, udp)
	c.deliver(c.path, raw)
	e, ok := r.s.NextEvent()
	if !ok {
		t.Fatal("no OpenRelay")
	}
	open := e.(turn.OpenRelay)
	r.now = r.s.NextTimeout()
	if r.now.Sub(begin) != 10*time.Second {
		t.Errorf("the server waits %v for a socket", r.now.Sub(begin))
	}
	r.s.HandleTimeout(r.now)
	m := mustParse(t, r.one().Payload)
	if code, _, _ := m.ErrorCode(); code != stun.CodeInsufficientCapacity || !c.hasher.Verify(&m, c.credential.Key()) {
		t.Errorf("after 10 s without a socket: %v", code)
	}
	r.s.RelayOpened(r.now, open.Request, 77, open.Address)
	r.settle()
	if !slices.Equal(r.closed, []pkt.Socket{77}) || len(r.events) != 0 {
		t.Errorf("a socket that comes too late: closed %v, events %v", r.closed, r.events)
	}
}

// A client that goes away while its sockets are being opened leaves none behind, whenever they come.
func TestAClientThatGoesWhileItsSocketsOpen(t *testing.T) {
	r := newRig(t)
	c := r.stream("5.9.0.1:1", "ada")
	challenge := c.exchange(c.build(stun.Allocate, udp))
	if err := c.credential.Challenge(c.hasher, &challenge); err != nil {
		t.Fatal(err)
	}
	r.open = func(turn.OpenRelay) error { return errAnswered } // later
	c.deliver(c.path, c.build(stun.Allocate, func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrEvenPort, []byte{0x80}) }))
	r.settle()
	if len(r.opened) != 2 {
		t.Fatalf("%d sockets asked for", len(r.opened))
	}
	r.s.RelayOpened(r.now, r.opened[0].Request, 70, r.opened[0].Address)
	r.s.RemoveSocket(r.now, c.path.Socket)
	r.s.RelayOpened(r.now, r.opened[1].Request, 71, r.opened[1].Address)
	r.settle()
	if !slices.Equal(r.closed, []pkt.Socket{70, 71}) || r.s.Counters().Allocations != 0 || len(r.events) != 0 {
		t.Errorf("closed %v, %d allocations, events %v", r.closed, r.s.Counters().Allocations, r.events)
	}
	r.none("an answer to nobody")
	if next := r.s.NextTimeout(); next < r.now.Add(1000*time.Hour) {
		t.Errorf("a timer is left, for %v", next)
	}
}

// Shards: a reservation is "a server-wide reservation and is not specific to a particular allocation" (section 7.2).
func TestReservationOfAnotherShard(t *testing.T) {
	shards := func(c *turn.Config) { c.Shards = true }
	a, b := newRig(t, shards), newRig(t, shards, func(c *turn.Config) { c.Entropy = seeded(2) })
	first := a.client("5.9.0.1:1", "ada")
	m := first.allocate(func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrEvenPort, []byte{0x80}) })
	token, _ := m.Uint64(stun.AttrReservationToken)
	b.open = func(e turn.OpenRelay) error {
		if e.Token == 0 {
			return nil
		}
		socket, address, ok := a.s.TakeReservation(e.Token)
		if !ok {
			return fmt.Errorf("no shard knows the token")
		}
		if socket != a.relays[address] {
			t.Errorf("socket %d for %v, it is %d", socket, address, a.relays[address])
		}
		b.next++
		b.relays[address] = b.next
		b.s.RelayOpened(b.now, e.Request, b.next, address)
		return errAnswered
	}
	claim := func(token uint64) func(b *stun.Builder) {
		return func(b *stun.Builder) { udp(b); b.Uint64(stun.AttrReservationToken, token) }
	}
	second := b.client("5.9.0.1:2", "ada")
	second.allocate(claim(token))
	if want := netip.AddrPortFrom(relay4, first.relayed.Port()+1); second.relayed != want {
		t.Errorf("relayed from %v, want %v", second.relayed, want)
	}
	b.client("5.9.0.1:3", "ada").expect(stun.CodeInsufficientCapacity, stun.Allocate, claim(token^1))
	a.wait(time.Hour)
	if slices.Contains(a.closed, a.relays[second.relayed]) {
		t.Error("the shard that gave the socket away has closed it")
	}
}

// A token is opaque to the client and comes back as it went.
func TestTokenIsOpaque(t *testing.T) {
	r := newRig(t)
	m := r.client("5.9.0.1:1", "ada").allocate(func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrEvenPort, []byte{0x80}) })
	v, _ := m.Get(stun.AttrReservationToken)
	c := r.client("5.9.0.1:2", "ada")
	c.allocate(func(b *stun.Builder) { udp(b); b.Bytes(stun.AttrReservationToken, v) })
	if binary.BigEndian.Uint64(v) == 0 {
		t.Error("the token is zero")
	}
}
