package turn

import (
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// inOrder returns the values of a map in the order of their keys, so that the same input gives the same output.
func inOrder[K interface{ netip.Addr | uint16 }, V any](m map[K]V) []V {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		switch a := any(a).(type) {
		case netip.Addr:
			return a.Compare(any(b).(netip.Addr))
		case uint16:
			return cmp.Compare(a, any(b).(uint16))
		}
		return 0
	})
	list := make([]V, len(keys))
	for i, k := range keys {
		list[i] = m[k]
	}
	return list
}

// ask sends a request, or sends it again with a new nonce.
func (c *Client) ask(now mono.Time, r *request) {
	b := stun.NewBuilder(nil, stun.Request, r.method, c.random.transactionID())
	switch r.method {
	case stun.Allocate:
		b.Uint32(stun.AttrRequestedTransport, 17<<24)
		switch { // section 7.1: one attribute or the other, and without either the address is one of IPv4
		case c.cfg.IPv4 && c.cfg.IPv6:
			b.Uint32(stun.AttrAdditionalAddressFamily, stun.FamilyIPv6<<24)
		case c.cfg.IPv6:
			b.Uint32(stun.AttrRequestedAddressFamily, stun.FamilyIPv6<<24)
		}
	case stun.Refresh:
		if c.state == closing {
			b.Uint32(stun.AttrLifetime, 0)
		}
	case stun.CreatePermission:
		b.XORAddress(stun.AttrXORPeerAddress, netip.AddrPortFrom(r.permission.addr, 0))
	case stun.ChannelBind:
		b.Uint32(stun.AttrChannelNumber, uint32(r.peer.number)<<16)
		b.XORAddress(stun.AttrXORPeerAddress, r.peer.addr)
	}
	c.credential.Sign(&b, c.hasher)
	b.Fingerprint()
	raw, err := b.Message()
	if err != nil {
		c.end(&ClientError{Err: err})
		return
	}
	cfg := stun.TransactionConfig{
		Path: c.cfg.Path, Reliable: c.cfg.Stream, RTO: c.rto(now), Ti: clientTi,
		Key: c.credential.Key(), LongTerm: true, Hasher: c.hasher,
	}
	if r.doubt {
		cfg.Ti = verifyTi
	}
	if c.state == closing {
		cfg.Rc, cfg.Rm, cfg.Ti = 2, 2, time.Second
	}
	if r.tx, err = stun.NewTransaction(now, cfg, raw); err != nil {
		c.end(&ClientError{Err: err})
		return
	}
	c.spoke = now
	c.requests = append(c.requests, r)
}

// rto is shorter than the 500 ms of RFC 8489 until a round trip was measured, because a call waits for the answer.
func (c *Client) rto(now mono.Time) time.Duration {
	if c.rtt == (stun.RTOEstimator{}) {
		return clientRTO
	}
	return c.rtt.RTO(now)
}

// HandleDatagram takes a message of the server that is not data; see Unwrap.
func (c *Client) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	m, err := stun.Parse(d.Payload)
	if err != nil || d.Socket != c.cfg.Path.Socket || d.Remote != c.cfg.Path.Remote || c.state == ended {
		c.counters.Malformed++
		return
	}
	if m.Class() == stun.Indication && m.Method() == stun.Data && m.Has(stun.AttrICMP) {
		c.handleICMP(&m)
		return
	}
	for _, r := range c.requests {
		if r.tx.ID() == m.ID() {
			r.tx.HandleDatagram(now, d)
			c.finished(now, r)
			c.settle()
			return
		}
	}
	c.counters.Malformed++
}

// HandleICMP takes an ICMP report about what was sent to the server.
func (c *Client) HandleICMP(now mono.Time, m *pkt.ICMP) {
	for _, r := range slices.Clone(c.requests) {
		r.tx.HandleICMP(now, m)
		c.finished(now, r)
	}
	c.settle()
}

// handleICMP hands on what the server heard about a peer (section 11.6).
func (c *Client) handleICMP(m *stun.Message) {
	peer, err := m.XORAddress(stun.AttrXORPeerAddress)
	v, _ := m.Get(stun.AttrICMP)
	if err != nil || len(v) != 8 { // section 18.13
		c.counters.Malformed++
		return
	}
	if p := c.permissions[peer.Addr()]; p == nil || p.state != granted {
		c.counters.NoPermission++
		return
	}
	c.tell(PeerICMP{pkt.ICMP{
		Path: pkt.Path{Socket: c.cfg.Inner, Local: c.relayed[family(peer.Addr())], Remote: peer},
		Type: v[2], Code: v[3], Data: binary.BigEndian.Uint32(v[4:]),
	}})
}

// Unwrap turns a datagram of the server that carries a peer's data into what the peer sent: the socket is
// ClientConfig.Inner, Local the relayed address, Remote the peer, and Payload a part of what it was. It returns false, and
// changes nothing, if the datagram is for HandleDatagram. Nothing allocates or is copied.
func (c *Client) Unwrap(now mono.Time, d *pkt.Datagram) bool {
	if len(d.Payload) < channelHeader || c.state != allocated || d.Socket != c.cfg.Path.Socket || d.Remote != c.cfg.Path.Remote {
		return false
	}
	if d.Payload[0] >= firstChannel>>8 && d.Payload[0] <= lastChannel>>8 {
		p := c.channels[binary.BigEndian.Uint16(d.Payload)]
		n := int(binary.BigEndian.Uint16(d.Payload[2:]))
		if p == nil || n > len(d.Payload)-channelHeader {
			return false // section 12.6: discarded; HandleDatagram counts it
		}
		p.used, p.permission.used = now, now
		c.deliver(d, p.addr, d.Payload[channelHeader:channelHeader+n])
		return true
	}
	const dataIndication = 0x0017
	if binary.BigEndian.Uint16(d.Payload) != dataIndication {
		return false
	}
	m, err := stun.Parse(d.Payload)
	if err != nil {
		return false
	}
	peer, err := m.XORAddress(stun.AttrXORPeerAddress)
	data, ok := m.Get(stun.AttrData)
	if err != nil || !ok {
		return false
	}
	// "The client MUST discard" what does not come from an address with a permission (section 11.4 asks to check).
	permission := c.permissions[peer.Addr()]
	if permission == nil || permission.state != granted {
		return false
	}
	permission.used = now
	if p := c.peer(now, peer); p != nil && p.channel == unasked {
		p.used = now
		c.count(now, p)
	}
	c.deliver(d, peer, data)
	return true
}

func (c *Client) deliver(d *pkt.Datagram, peer netip.AddrPort, data []byte) {
	c.counters.PacketsDown++
	c.counters.BytesDown += uint64(len(data))
	d.Path = pkt.Path{Socket: c.cfg.Inner, Local: c.relayed[family(peer.Addr())], Remote: peer}
	d.Payload = data
}

// finished takes the end of a transaction, if it has come.
func (c *Client) finished(now mono.Time, r *request) {
	done, ok := r.tx.NextEvent()
	if !ok || c.state == ended {
		return
	}
	i := slices.Index(c.requests, r)
	if i < 0 {
		return
	}
	c.requests = slices.Delete(c.requests, i, i+1)
	c.rtt.Observe(now, done.RTT)
	if c.state == closing {
		if !c.challenged(now, r, &done.Response, done.Err) {
			c.end(nil)
		}
		return
	}
	if done.Err != nil {
		c.unanswered(now, r, done.Err)
		return
	}
	m := &done.Response
	if m.Class() == stun.Success {
		c.granted(now, r, m)
		return
	}
	if c.challenged(now, r, m, nil) {
		return
	}
	code, _, _ := m.ErrorCode()
	c.denied(now, r, m, code)
}

// challenged answers a 401 or 438 by asking again (RFC 8489 section 9.2.5).
func (c *Client) challenged(now mono.Time, r *request, m *stun.Message, err error) bool {
	if err != nil || m.Class() != stun.Error || r.stale >= staleNonces {
		return false
	}
	if code, _, _ := m.ErrorCode(); code != stun.CodeUnauthenticated && code != stun.CodeStaleNonce {
		return false
	}
	if c.refusal = c.credential.Challenge(c.hasher, m); c.refusal != nil {
		return false
	}
	r.stale++
	c.ask(now, r)
	return true
}

// granted takes a success response.
func (c *Client) granted(now mono.Time, r *request, m *stun.Message) {
	switch r.method {
	case stun.Allocate:
		c.handleAllocated(now, m)
	case stun.Refresh:
		c.refreshAt(now, m)
	case stun.CreatePermission:
		r.permission.state = granted
		r.permission.due, r.permission.until = now.Add(permissionRenewal), now.Add(5*time.Minute)
	case stun.ChannelBind:
		p := r.peer
		p.channel = granted
		p.due, p.until = now.Add(channelRenewal), now.Add(10*time.Minute)
		p.permission.state = granted // "also creates or refreshes a permission" (section 12.2)
		p.permission.due, p.permission.until = now.Add(permissionRenewal), now.Add(5*time.Minute)
	}
}

func (c *Client) handleAllocated(now mono.Time, m *stun.Message) {
	for t, v := range m.Attributes() {
		if t != stun.AttrXORRelayedAddress {
			continue
		}
		if a, err := m.DecodeXORAddress(v); err == nil && a.Port() != 0 && !a.Addr().IsUnspecified() {
			c.relayed[family(a.Addr())] = a
		}
	}
	mapped, err := m.XORAddress(stun.AttrXORMappedAddress)
	if err != nil || !c.relayed[0].IsValid() && !c.relayed[1].IsValid() {
		c.end(&ClientError{Err: stun.ErrResponse})
		return
	}
	c.state = allocated
	c.refreshAt(now, m)
	if !c.cfg.Stream {
		c.keepAlive = now.Add(pathKeepAlive)
	}
	both := c.relayed[0].IsValid() && c.relayed[1].IsValid()
	c.tell(Ready{Relayed: c.relayed, Mapped: mapped, Additional: both || m.Has(stun.AttrAddressErrorCode)})
	for _, p := range inOrder(c.permissions) { // asked for before there was an allocation
		if !c.relayed[family(p.addr)].IsValid() {
			c.forgetPermission(p)
			continue
		}
		p.state = asked
		c.ask(now, &request{method: stun.CreatePermission, permission: p})
	}
}

// refreshAt plans the next refresh: a minute before the end (section 8.1), or halfway through a short life.
func (c *Client) refreshAt(now mono.Time, m *stun.Message) {
	seconds, ok := m.Uint32(stun.AttrLifetime)
	life := min(time.Duration(seconds)*time.Second, maxAllocation)
	if !ok {
		life = 10 * time.Minute
	}
	c.allocatedBy = now.Add(max(life-time.Minute, life/2, time.Second))
}

// unanswered takes the end of a request without a response.
func (c *Client) unanswered(now mono.Time, r *request, err error) {
	if r.doubt && !c.cfg.Stream {
		return // Refresh will come to the same end in its time, unless the path comes back
	}
	switch r.method {
	case stun.Allocate, stun.Refresh:
		c.end(&ClientError{Err: err})
	case stun.CreatePermission:
		c.refusedPermission(now, r.permission)
	case stun.ChannelBind:
		c.refusedChannel(r.peer)
	}
}

// denied takes an error response.
func (c *Client) denied(now mono.Time, r *request, m *stun.Message, code stun.Code) {
	fail := func(err error) { c.end(&ClientError{Code: code, Err: err}) }
	switch {
	case c.refusal != nil && c.refusal != stun.ErrRejected: // a challenge that cannot or must not be answered
		fail(c.refusal)
	case code == stun.CodeUnauthenticated && c.state == allocated, code == stun.CodeWrongCredentials && c.state == allocated:
		fail(ErrExpired)
	case code == stun.CodeUnauthenticated, code == stun.CodeWrongCredentials:
		fail(ErrCredentials)
	case code == stun.CodeStaleNonce:
		fail(errors.New("one nonce after the other is stale"))
	case code == stun.CodeAllocationMismatch && r.method == stun.Allocate:
		fail(ErrMismatch)
	case code == stun.CodeAllocationMismatch:
		fail(ErrLost)
	case code == stun.CodeTryAlternate:
		e := &ClientError{Code: code, Err: ErrAlternate}
		e.Alternate, _ = m.Address(stun.AttrAlternateServer)
		domain, _ := m.Get(stun.AttrAlternateDomain)
		e.Domain = string(domain)
		c.end(e)
	case r.method == stun.Allocate, r.method == stun.Refresh:
		fail(ErrRefused)
	case r.method == stun.CreatePermission:
		c.refusedPermission(now, r.permission)
		c.tell(PeerRefused{r.permission.addr, code})
	default:
		c.refusedChannel(r.peer)
	}
}

// refusedPermission lets an address rest before it is tried again.
func (c *Client) refusedPermission(now mono.Time, p *clientPermission) {
	if p.state == granted && now < p.until {
		p.due = p.until // a renewal that failed; what stands still holds
		return
	}
	p.state, p.due = refused, now.Add(refusalPause)
	c.dropHeld(func(h *heldPacket) bool { return h.peer.permission == p })
}

// refusedChannel goes on with indications, without trying again.
func (c *Client) refusedChannel(p *clientPeer) {
	if p.channel == granted {
		p.due = p.until
		return
	}
	p.channel = refused
	delete(c.channels, p.number)
}
