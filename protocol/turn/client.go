package turn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// ClientOverhead is the most bytes that [Client.AppendData] adds to a payload: those of a Send indication to an IPv6 peer.
const ClientOverhead = stun.HeaderLen + 24 + 4 + 4 + 3

const (
	// clientPeers is how many peers, and how many permissions, a Client has at a time: more than ICE checks.
	clientPeers = 128
	// heldPackets and heldBytes bound what waits for permissions that were asked for.
	heldPackets, heldBytes = 64, 64 << 10

	permissionRenewal = 4 * time.Minute // a permission lives 5 (section 9)
	permissionIdle    = 5 * time.Minute // unused for so long, it is not renewed
	channelRenewal    = 9 * time.Minute // a channel lives 10 (section 12)
	channelAfter      = 4               // packets to or from a peer, and it is in use: a channel pays
	refusalPause      = 30 * time.Second
	pathKeepAlive     = 20 * time.Second // of the NAT's mapping towards the server (RFC 8445 section 11)

	clientRTO     = 250 * time.Millisecond
	clientTi      = 15 * time.Second // over a stream
	verifyTi      = 5 * time.Second  // ... that is in doubt
	staleNonces   = 4                // in a row, for one request
	clientEvents  = 256
	maxAllocation = time.Hour // the longest lifetime that is believed
)

// ClientConfig says which server to use and as whom.
type ClientConfig struct {
	// Path is where the server is and from which socket and address it is spoken to.
	Path pkt.Path
	// Stream says that the socket is a TCP or TLS connection, or anything else that loses nothing.
	Stream bool
	// Username and Password are the long-term credential (RFC 8489 section 9.2).
	Username, Password string
	// IPv4 and IPv6 say of which families relayed addresses are wanted; neither means both, as far as the server has them.
	IPv4, IPv6 bool
	// Inner is the socket that datagrams of peers have when [Client.Unwrap] has unpacked them.
	Inner pkt.Socket
	// Entropy is a cryptographic source; required. It is read by NewClient alone.
	Entropy io.Reader
}

// ClientError is why an allocation could not be had or was lost.
type ClientError struct {
	// Code is the server's error code; 0 if it sent none.
	Code stun.Code
	// Alternate is the server to try instead, with code 300; invalid if it named none. Domain is the name to check its
	// certificate against, if it said one (RFC 8489 section 10).
	Alternate netip.AddrPort
	Domain    string
	// Err is what went wrong.
	Err error
}

func (e *ClientError) Error() string {
	if e.Code != 0 {
		return fmt.Sprintf("turn: %v: the server says %v", e.Err, e.Code)
	}
	return fmt.Sprintf("turn: %v", e.Err)
}

func (e *ClientError) Unwrap() error { return e.Err }

// What a ClientError wraps, besides the errors of package stun.
var (
	ErrRefused = errors.New("the server refuses the allocation")
	// ErrCredentials says that the server does not know the username, or not this password.
	ErrCredentials = errors.New("the server does not accept the username and password")
	// ErrExpired says that the credential was accepted before and is not any more.
	ErrExpired = errors.New("the server does not accept the username and password any more: time-limited credentials expire, get new ones")
	// ErrMismatch says that the server has another allocation for this 5-tuple: try again from another port (section 7.4).
	ErrMismatch = errors.New("the server still has an earlier allocation for this port: try from another")
	// ErrLost says that the server does not know the allocation any more, as after a restart.
	ErrLost = errors.New("the server lost the allocation")
	// ErrAlternate says that the server sends its clients elsewhere.
	ErrAlternate = errors.New("the server asks to try another")
)

// ClientEvent is what a Client tells: Ready, PeerRefused, PeerICMP or Ended.
type ClientEvent interface{ clientEvent() }

// Ready says that there is an allocation. It comes at most once.
type Ready struct {
	Relayed [2]netip.AddrPort // IPv4, IPv6; invalid if not allocated
	Mapped  netip.AddrPort    // as the server sees the client
	// Additional says that the server knows allocations with both families (RFC 8656 section 7.2), also if it refused one of them.
	Additional bool
}

// PeerRefused says that the server does not relay to a peer's address.
type PeerRefused struct {
	Peer netip.Addr
	Code stun.Code
}

// PeerICMP hands on the ICMP message that the server got about what was sent to a peer (section 11.6). Its path is the
// peer's, as Unwrap would give it.
type PeerICMP struct{ pkt.ICMP }

// Ended is the last event: Err is nil after Close, else a *ClientError.
type Ended struct{ Err error }

func (Ready) clientEvent()       {}
func (PeerRefused) clientEvent() {}
func (PeerICMP) clientEvent()    {}
func (Ended) clientEvent()       {}

// ClientCounters are what a Client has done and seen.
type ClientCounters struct {
	PacketsUp, BytesUp, PacketsDown, BytesDown uint64 // of application data
	NoPermission                               uint64 // dropped: from a peer without permission, or to one that was refused
	Full                                       uint64 // dropped: too many peers, or too much waits for permissions
	Malformed                                  uint64 // dropped: not from the server, broken, or answers nothing
}

// A Client has one allocation at one server (RFC 8656). It is an engine, and not for concurrent use:
//
//	driver                                     Client
//	NewClient                             ->   Allocate, answers the challenge
//	Unwrap, else HandleDatagram           ->   whatever comes from the server
//	Permit(peer)                          ->   CreatePermission
//	AppendData(dst, now, peer, payload, ...)  -> a Send indication, or ChannelData once a channel is bound
//	HandleTimeout at NextTimeout          ->   refreshes, keep-alives
//	send what is there                    <-   AppendTransmit
//	                                      <-   Ready, PeerRefused, PeerICMP, Ended
//	Close                                 ->   Refresh with lifetime 0
//
// What is sent to a peer makes the permission; a few packets wait until it is granted. A peer that is in use gets a channel.
// Both are renewed as long as they are used. A Client ends once: with another server (300), another port (437) or other
// credentials, the driver makes a new one.
type Client struct {
	cfg        ClientConfig
	hasher     *stun.Hasher
	credential *stun.Credential
	random     *generator
	rtt        stun.RTOEstimator
	counters   ClientCounters

	state       clientState
	relayed     [2]netip.AddrPort
	allocatedBy mono.Time // when the allocation is to be refreshed
	keepAlive   mono.Time
	spoke       mono.Time // when something was last sent to the server
	indicate    bool      // a keep-alive is due
	next        mono.Time // cached NextTimeout

	requests    []*request
	permissions map[netip.Addr]*clientPermission
	peers       map[netip.AddrPort]*clientPeer
	channels    map[uint16]*clientPeer
	recent      *clientPeer
	number      uint16 // of the next channel
	held        []heldPacket
	heldBytes   int
	refusal     error // why the last challenge was not answered

	events []ClientEvent
	told   int
}

type clientState uint8

const (
	allocating clientState = iota
	allocated
	closing
	ended
)

// request is one transaction and what it is about.
type request struct {
	tx         *stun.Transaction
	method     stun.Method
	permission *clientPermission
	peer       *clientPeer
	stale      int
	doubt      bool // Refresh: of Verify
}

type grant uint8

const (
	unasked grant = iota
	asked
	granted
	refused
)

// clientPermission lets an address send and be sent to (section 9).
type clientPermission struct {
	addr  netip.Addr
	state grant
	due   mono.Time // to be renewed, or, refused, to be forgotten
	until mono.Time // valid
	used  mono.Time
}

// clientPeer is an address that is sent to or that sends.
type clientPeer struct {
	addr       netip.AddrPort
	permission *clientPermission
	packets    int
	number     uint16 // of its channel; 0: none
	channel    grant
	due        mono.Time
	until      mono.Time
	used       mono.Time
}

type heldPacket struct {
	peer *clientPeer
	data []byte
}

// NewClient starts an allocation.
func NewClient(now mono.Time, cfg ClientConfig) (*Client, error) {
	switch {
	case cfg.Entropy == nil:
		return nil, errors.New("turn: ClientConfig.Entropy is nil: pass crypto/rand.Reader")
	case !cfg.Path.Remote.IsValid():
		return nil, errors.New("turn: ClientConfig.Path.Remote is missing: the server's address")
	case len(cfg.Username) > 508 || len(cfg.Password) > 1024: // RFC 8489 section 14.3
		return nil, errors.New("turn: the username or password is too long")
	}
	var seed [16]byte
	if _, err := io.ReadFull(cfg.Entropy, seed[:]); err != nil {
		return nil, fmt.Errorf("turn: Entropy: %w", err)
	}
	cfg.Entropy = nil
	if !cfg.IPv4 && !cfg.IPv6 {
		cfg.IPv4, cfg.IPv6 = true, true
	}
	c := &Client{
		cfg:         cfg,
		hasher:      stun.NewHasher(),
		credential:  stun.NewCredential(cfg.Username, cfg.Password),
		random:      newGenerator(seed),
		permissions: map[netip.Addr]*clientPermission{},
		peers:       map[netip.AddrPort]*clientPeer{},
		channels:    map[uint16]*clientPeer{},
		number:      firstChannel,
		allocatedBy: mono.Never,
		keepAlive:   mono.Never,
		next:        mono.Never,
	}
	c.cfg.Password = ""
	c.ask(now, &request{method: stun.Allocate})
	c.settle()
	return c, nil
}

// Counters returns a copy of the counters.
func (c *Client) Counters() ClientCounters { return c.counters }

// Path returns ClientConfig.Path, along which goes what AppendData writes.
func (c *Client) Path() pkt.Path { return c.cfg.Path }

// Relayed returns the relayed address of the family of a peer; invalid if there is none.
func (c *Client) Relayed(peer netip.Addr) netip.AddrPort { return c.relayed[family(peer)] }

// Close gives the allocation back. Ended follows when the server has answered, or a second later at most.
func (c *Client) Close(now mono.Time) {
	switch c.state {
	case allocating, allocated:
		// An Allocate under way may yet succeed, so the server is told in either case; before a challenge it cannot be.
		if !c.credential.Challenged() {
			c.end(nil)
			break
		}
		c.state, c.requests, c.recent, c.indicate = closing, nil, nil, false
		c.dropHeld(func(*heldPacket) bool { return true })
		c.ask(now, &request{method: stun.Refresh})
	}
	c.settle()
}

// end is the last thing that happens.
func (c *Client) end(err error) {
	if c.state == ended {
		return
	}
	c.state = ended
	c.requests, c.held, c.heldBytes, c.recent, c.indicate = nil, nil, 0, nil, false
	clear(c.permissions)
	clear(c.peers)
	clear(c.channels)
	c.events = append(c.events, Ended{err})
}

// tell queues an event; those that a driver does not take are bounded, and Ended always has room.
func (c *Client) tell(e ClientEvent) {
	if len(c.events)-c.told < clientEvents {
		c.events = append(c.events, e)
	}
}

// NextEvent returns what happened.
func (c *Client) NextEvent() (ClientEvent, bool) {
	if c.told == len(c.events) {
		c.events, c.told = c.events[:0], 0
		return nil, false
	}
	e := c.events[c.told]
	c.events[c.told] = nil
	c.told++
	return e, true
}

// NextTimeout returns when HandleTimeout is due.
func (c *Client) NextTimeout() mono.Time { return c.next }

// settle computes NextTimeout anew, after anything but data.
func (c *Client) settle() {
	c.next = mono.Never
	if c.state == ended {
		return
	}
	for _, r := range c.requests {
		c.next = mono.Min(c.next, r.tx.NextTimeout())
	}
	if c.state != allocated {
		return
	}
	c.next = mono.Min(c.next, mono.Min(c.allocatedBy, c.keepAlive))
	for _, p := range c.permissions {
		c.next = mono.Min(c.next, p.due)
	}
	for _, p := range c.channels {
		c.next = mono.Min(c.next, p.due)
	}
}

// HandleTimeout repeats, renews and forgets.
func (c *Client) HandleTimeout(now mono.Time) {
	if c.state == ended || now < c.next {
		return
	}
	for _, r := range append([]*request(nil), c.requests...) {
		r.tx.HandleTimeout(now)
		c.finished(now, r)
	}
	if c.state == allocated {
		c.renew(now)
	}
	c.settle()
}

// renew does what is due of an allocation.
func (c *Client) renew(now mono.Time) {
	if now >= c.allocatedBy {
		c.allocatedBy = mono.Never // until the answer
		c.ask(now, &request{method: stun.Refresh})
	}
	if now >= c.keepAlive {
		c.indicate = now.Sub(c.spoke) >= pathKeepAlive
		c.keepAlive = max(c.spoke.Add(pathKeepAlive), now.Add(time.Second))
		if c.indicate {
			c.spoke, c.keepAlive = now, now.Add(pathKeepAlive)
		}
	}
	for _, p := range inOrder(c.channels) {
		switch {
		case now < p.due:
		case now.Sub(p.used) < permissionIdle:
			p.due = mono.Never
			c.ask(now, &request{method: stun.ChannelBind, peer: p})
		case now < p.until:
			p.due = p.until
		default:
			delete(c.channels, p.number)
			c.forgetPeer(p)
		}
	}
	for _, p := range inOrder(c.permissions) {
		switch {
		case now < p.due:
		case p.state == granted && now.Sub(p.used) < permissionIdle:
			p.due = mono.Never
			c.ask(now, &request{method: stun.CreatePermission, permission: p})
		case p.state == granted && now < p.until:
			p.due = p.until
		default:
			c.forgetPermission(p)
		}
	}
}

func (c *Client) forgetPeer(p *clientPeer) {
	delete(c.peers, p.addr)
	if c.recent == p {
		c.recent = nil
	}
}

// forgetPermission forgets an address and the peers that it let pass.
func (c *Client) forgetPermission(p *clientPermission) {
	delete(c.permissions, p.addr)
	for _, peer := range c.peers {
		if peer.permission == p {
			delete(c.channels, peer.number)
			c.forgetPeer(peer)
		}
	}
	c.dropHeld(func(h *heldPacket) bool { return h.peer.permission == p })
}

// Permit asks that a peer's address may be sent to and may send, so that it can before the first check is sent.
func (c *Client) Permit(now mono.Time, peer netip.Addr) {
	if p := c.permission(now, peer); p != nil {
		p.used = now
	}
	c.settle()
}

// permission returns the permission of an address, which is asked for if it is not there; nil if it cannot be.
func (c *Client) permission(now mono.Time, peer netip.Addr) *clientPermission {
	if p := c.permissions[peer]; p != nil {
		return p
	}
	if c.state > allocated || !peer.IsValid() || len(c.permissions) >= clientPeers ||
		c.state == allocated && !c.relayed[family(peer)].IsValid() { // 443 would be the answer (section 9.1)
		return nil
	}
	p := &clientPermission{addr: peer, due: mono.Never, used: now}
	c.permissions[peer] = p
	if c.state == allocated {
		p.state = asked
		c.ask(now, &request{method: stun.CreatePermission, permission: p})
	}
	return p
}

// Verify asks the server, before the time, whether the allocation is still there: a server that was restarted does not know it, nor
// one for which a NAT gave the client another port, and only requests are answered. If it is gone, Ended follows with ErrLost. Over
// a stream silence ends it too, for a NAT that forgets a stream says nothing; over UDP the path may come back.
func (c *Client) Verify(now mono.Time) {
	if c.state != allocated || slices.ContainsFunc(c.requests, func(r *request) bool { return r.method == stun.Refresh }) {
		return
	}
	c.ask(now, &request{method: stun.Refresh, doubt: true})
	c.settle()
}

// AppendData appends to dst the datagram or frame for the server that carries payload to a peer. It appends nothing if
// payload waits for a permission, of which AppendTransmit gives it later, or is dropped and counted. Nothing allocates for a
// peer that is in use, and payload is copied once.
//
// With whole, the server is asked to have payload dropped on its way to the peer rather than fragmented, where it can be
// asked: for what finds out the path's MTU. It costs the 32 bytes and more by which a Send indication is longer.
func (c *Client) AppendData(dst []byte, now mono.Time, peer netip.AddrPort, payload []byte, whole bool) []byte {
	p := c.recent
	if p == nil || p.addr != peer {
		if p = c.peer(now, peer); p == nil {
			c.counters.Full++
			return dst
		}
		c.recent = p
	}
	if len(payload) > maxUDP {
		c.counters.Malformed++
		return dst
	}
	p.used, p.permission.used = now, now
	switch p.permission.state {
	case refused:
		c.counters.NoPermission++
		return dst
	case granted:
	default:
		c.hold(p, payload)
		return dst
	}
	return c.appendData(dst, now, p, payload, whole)
}

// peer returns what is known of a peer, newly made if need be; nil if there are too many.
func (c *Client) peer(now mono.Time, addr netip.AddrPort) *clientPeer {
	if c.state > allocated {
		return nil
	}
	if p := c.peers[addr]; p != nil {
		return p
	}
	if len(c.peers) >= clientPeers || addr.Port() == 0 {
		return nil
	}
	permission := c.permission(now, addr.Addr())
	if permission == nil {
		return nil
	}
	p := &clientPeer{addr: addr, permission: permission, due: mono.Never, used: now}
	c.peers[addr] = p
	c.settle()
	return p
}

// appendData writes ChannelData if the channel stands (section 12.5), else a Send indication (section 11.1).
//
// What is to stay whole has DONT-FRAGMENT, for which there is a place in Send indications alone. It is not asked for in the
// Allocate request ("SHOULD", section 7.1), since that costs a round trip with servers that refuse it: they discard the
// indication (section 11.2), and the path seems to carry less than it does.
func (c *Client) appendData(dst []byte, now mono.Time, p *clientPeer, payload []byte, whole bool) []byte {
	c.counters.PacketsUp++
	c.counters.BytesUp += uint64(len(payload))
	c.spoke = now
	// "The DONT-FRAGMENT attribute MUST be ignored" with IPv6 on either side, but over a stream (section 13).
	whole = whole && (c.cfg.Stream || p.addr.Addr().Is4() && c.cfg.Path.Remote.Addr().Is4())
	if p.channel == granted && now < p.until && !whole {
		dst = binary.BigEndian.AppendUint16(dst, p.number)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
		return append(dst, payload...)
	}
	c.count(now, p)
	b := stun.NewBuilder(dst, stun.Indication, stun.Send, c.random.transactionID())
	b.XORAddress(stun.AttrXORPeerAddress, p.addr)
	if whole {
		b.Flag(stun.AttrDontFragment)
	}
	b.Bytes(stun.AttrData, payload)
	indication, err := b.Message()
	if err != nil {
		c.counters.Malformed++
		return dst
	}
	return indication
}

// count notes a packet to or from a peer without channel, and binds one if the peer is in use.
func (c *Client) count(now mono.Time, p *clientPeer) {
	p.packets++
	if p.packets < channelAfter || p.channel != unasked || c.number > lastChannel {
		return
	}
	if p.number == 0 {
		p.number = c.number // each is used once: 128 peers of ten minutes each do not use them up in a day
		c.number++
	}
	p.channel = asked
	c.channels[p.number] = p
	c.ask(now, &request{method: stun.ChannelBind, peer: p})
	c.settle()
}

// hold keeps a packet until there is a permission for it.
func (c *Client) hold(p *clientPeer, payload []byte) {
	if len(c.held) >= heldPackets || c.heldBytes+len(payload) > heldBytes {
		c.counters.Full++
		return
	}
	c.held = append(c.held, heldPacket{peer: p, data: append([]byte(nil), payload...)})
	c.heldBytes += len(payload)
}

// dropHeld drops what waits and is chosen.
func (c *Client) dropHeld(which func(*heldPacket) bool) {
	kept := c.held[:0]
	for i := range c.held {
		if which(&c.held[i]) {
			c.heldBytes -= len(c.held[i].data)
			c.counters.NoPermission++
			continue
		}
		kept = append(kept, c.held[i])
	}
	clear(c.held[len(kept):])
	c.held = kept
}

// AppendTransmit writes requests, and data whose permission came.
func (c *Client) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for _, r := range c.requests {
		if r.tx.AppendTransmit(now, b) {
			return true
		}
	}
	for i := 0; i < len(c.held); {
		h := &c.held[i]
		if h.peer.permission.state != granted {
			i++
			continue
		}
		buf := b.Reserve(len(h.data) + ClientOverhead)
		if buf == nil {
			return true
		}
		b.Commit(pkt.Transmit{Path: c.cfg.Path, Payload: c.appendData(buf, now, h.peer, h.data, false)})
		c.heldBytes -= len(h.data)
		c.held = append(c.held[:i], c.held[i+1:]...)
	}
	for _, r := range c.requests { // appendData may have asked for a channel
		if r.tx.AppendTransmit(now, b) {
			return true
		}
	}
	if c.indicate {
		buf := b.Reserve(stun.HeaderLen)
		if buf == nil {
			return true
		}
		c.indicate = false
		m := stun.NewBuilder(buf, stun.Indication, stun.Binding, c.random.transactionID())
		raw, _ := m.Message()
		b.Commit(pkt.Transmit{Path: c.cfg.Path, Payload: raw})
	}
	return false
}
