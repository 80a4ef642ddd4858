package turn_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

const (
	begin     = mono.Time(time.Hour)
	listening = pkt.Socket(0) // the UDP socket of clients
	secret    = "a secret of the operator"
)

var (
	epoch   = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	server4 = ap("198.41.0.4:3478")
	server6 = ap("[2620:fe::fe]:3478")
	relay4  = netip.MustParseAddr("198.41.0.9")
	relay6  = netip.MustParseAddr("2620:fe::9")
	peer4   = ap("8.8.4.4:5000")
	peer6   = ap("[2606:4700::1111]:5000")
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// seeded is entropy that a test can repeat.
func seeded(seed uint64) io.Reader {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return rand.NewChaCha8(s)
}

// errAnswered is what a rig's open returns when it has called RelayOpened itself.
var errAnswered = errors.New("answered")

// rig is a Server and its driver, without a network.
type rig struct {
	t      testing.TB
	s      *turn.Server
	now    mono.Time
	next   pkt.Socket
	relays map[netip.AddrPort]pkt.Socket
	batch  *pkt.Batch
	out    []pkt.Transmit // copies of what was sent and not taken
	events []turn.Event   // but for OpenRelay and CloseSocket of relays
	opened []turn.OpenRelay
	closed []pkt.Socket
	open   func(turn.OpenRelay) error // nil: every socket opens
	id     uint64
}

func config() turn.Config {
	return turn.Config{
		Entropy:      seeded(1),
		Secrets:      []string{secret},
		Epoch:        epoch,
		Users:        []turn.User{{Name: "alice", Password: "wonderland"}, {Name: "bob", Password: "builder"}},
		Relay:        []netip.Addr{relay4, relay6},
		Own:          []netip.Addr{server4.Addr(), server6.Addr()},
		Public:       true,
		DontFragment: true,
	}
}

func newRig(t testing.TB, change ...func(*turn.Config)) *rig {
	t.Helper()
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	s, err := turn.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s, now: begin, next: 10, relays: map[netip.AddrPort]pkt.Socket{}, batch: pkt.NewBatch(1<<17, 64)}
	s.AddSocket(r.now, listening, false)
	return r
}

// settle does what the server asks for and collects what it sends.
func (r *rig) settle() {
	r.t.Helper()
	for more := true; more; {
		for {
			e, ok := r.s.NextEvent()
			if !ok {
				break
			}
			r.event(e)
		}
		r.batch.Reset()
		more = r.s.AppendTransmit(r.now, r.batch)
		for _, t := range r.batch.Transmits() {
			t.Payload = append([]byte(nil), t.Payload...)
			r.out = append(r.out, t)
		}
	}
}

func (r *rig) event(e turn.Event) {
	switch e := e.(type) {
	case turn.OpenRelay:
		r.opened = append(r.opened, e)
		var err error
		if r.open != nil {
			err = r.open(e)
		} else if r.relays[e.Address] != 0 || e.Token != 0 {
			err = turn.ErrPortTaken
		}
		if err == errAnswered {
			return
		}
		if err != nil {
			r.s.RelayFailed(r.now, e.Request, err)
			return
		}
		r.next++
		r.relays[e.Address] = r.next
		r.s.RelayOpened(r.now, e.Request, r.next, e.Address)
	case turn.CloseSocket:
		r.closed = append(r.closed, e.Socket)
		for a, n := range r.relays {
			if n == e.Socket {
				delete(r.relays, a)
			}
		}
	default:
		r.events = append(r.events, e)
	}
}

// take returns what was sent since the last time.
func (r *rig) take() []pkt.Transmit {
	r.t.Helper()
	r.settle()
	out := r.out
	r.out = nil
	return out
}

// one returns the only datagram that was sent.
func (r *rig) one() pkt.Transmit {
	r.t.Helper()
	out := r.take()
	if len(out) != 1 {
		r.t.Fatalf("%d datagrams were sent, want one", len(out))
	}
	return out[0]
}

// none fails if anything was sent.
func (r *rig) none(why string) {
	r.t.Helper()
	if out := r.take(); len(out) != 0 {
		r.t.Errorf("%s: %d datagrams were sent, the first %x to %v", why, len(out), out[0].Payload, out[0].Remote)
	}
}

// wait lets time pass.
func (r *rig) wait(d time.Duration) {
	r.t.Helper()
	end := r.now.Add(d)
	for r.s.NextTimeout() <= end {
		r.now = max(r.now, r.s.NextTimeout())
		r.s.HandleTimeout(r.now)
		r.settle()
	}
	r.now = end
}

// deliver hands a datagram in.
func (r *rig) deliver(p pkt.Path, payload []byte) {
	r.s.HandleDatagram(r.now, &pkt.Datagram{Path: p, Payload: append([]byte(nil), payload...)})
}

// dropped fails unless exactly one packet was dropped, for this reason, during f.
func (r *rig) dropped(why turn.Drop, f func()) {
	r.t.Helper()
	before := r.s.Counters().Dropped
	f()
	after := r.s.Counters().Dropped
	for _, d := range turn.Drops() {
		want := uint64(0)
		if d == why {
			want = 1
		}
		if got := after[d] - before[d]; got != want {
			r.t.Errorf("%d packets dropped for %q, want %d", got, d, want)
		}
	}
}

// fromPeer hands in what a peer sends to a relayed address.
func (r *rig) fromPeer(relayed, peer netip.AddrPort, payload []byte) {
	r.t.Helper()
	n, ok := r.relays[relayed]
	if !ok {
		r.t.Fatalf("%v is not open", relayed)
	}
	r.deliver(pkt.Path{Socket: n, Local: relayed, Remote: peer}, payload)
}

// refusalTime is how long the refusal of a permission takes.
const refusalTime = 5 * time.Second

// client is a TURN client on one 5-tuple.
type client struct {
	*rig
	path        pkt.Path
	credential  *stun.Credential
	hasher      *stun.Hasher
	fingerprint bool
	relayed     netip.AddrPort
}

// client returns a client with a time-limited credential for the name.
func (r *rig) client(from, name string) *client {
	r.t.Helper()
	username, password, err := turn.NewCredential(secret, name, epoch.Add(3*time.Hour), turn.Limits{})
	if err != nil {
		r.t.Fatal(err)
	}
	return r.clientAs(from, username, password)
}

func (r *rig) clientAs(from, username, password string) *client {
	remote := ap(from)
	local := server4
	if remote.Addr().Is6() {
		local = server6
	}
	return &client{
		rig:        r,
		path:       pkt.Path{Socket: listening, Local: local, Remote: remote},
		credential: stun.NewCredential(username, password),
		hasher:     stun.NewHasher(),
	}
}

// build writes a request, signed if the client has been challenged.
func (c *client) build(m stun.Method, attributes func(b *stun.Builder)) []byte {
	c.t.Helper()
	c.id++
	id := stun.TransactionID{}
	copy(id[:], fmt.Sprintf("%012d", c.id))
	b := stun.NewBuilder(nil, stun.Request, m, id)
	if attributes != nil {
		attributes(&b)
	}
	c.credential.Sign(&b, c.hasher)
	if c.fingerprint {
		b.Fingerprint()
	}
	raw, err := b.Message()
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

// exchange sends a request and returns the one response, as it is: the refusal of a permission takes a while.
func (c *client) exchange(raw []byte) stun.Message {
	c.t.Helper()
	c.deliver(c.path, raw)
	out := c.take()
	if len(out) == 0 {
		c.wait(refusalTime)
		out = c.take()
	}
	if len(out) != 1 {
		c.t.Fatalf("%d datagrams were sent, want one response", len(out))
	}
	t := out[0]
	if t.Path != c.path {
		c.t.Fatalf("the response goes along %v, the request came along %v", t.Path, c.path)
	}
	m, err := stun.Parse(t.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	sent, _ := stun.Parse(raw)
	if m.ID() != sent.ID() || m.Method() != sent.Method() || m.Class() != stun.Success && m.Class() != stun.Error {
		c.t.Fatalf("%v %v %x answers %v %x", m.Method(), m.Class(), m.ID(), sent.Method(), sent.ID())
	}
	return m
}

// request sends a request and answers a challenge. A response to a signed request must be authentic.
func (c *client) request(method stun.Method, attributes func(b *stun.Builder)) stun.Message {
	c.t.Helper()
	for range 3 {
		signed := c.credential.Challenged()
		m := c.exchange(c.build(method, attributes))
		code, _, _ := m.ErrorCode()
		if code == stun.CodeUnauthenticated || code == stun.CodeStaleNonce {
			if err := c.credential.Challenge(c.hasher, &m); err == nil {
				continue
			}
		} else if signed && !c.hasher.Verify(&m, c.credential.Key()) {
			c.t.Fatalf("the response to %v is not authentic", method)
		}
		return m
	}
	c.t.Fatal("challenged again and again")
	panic("unreachable")
}

// code sends a request and returns the error code of the response, 0 for success.
func (c *client) code(method stun.Method, attributes func(b *stun.Builder)) stun.Code {
	c.t.Helper()
	m := c.request(method, attributes)
	if m.Class() == stun.Success {
		return 0
	}
	code, _, ok := m.ErrorCode()
	if !ok {
		c.t.Fatal("an error response without ERROR-CODE")
	}
	return code
}

// expect fails unless a request gets this error code, 0 for success.
func (c *client) expect(want stun.Code, method stun.Method, attributes func(b *stun.Builder)) {
	c.t.Helper()
	if got := c.code(method, attributes); got != want {
		c.t.Errorf("%v: got %v, want %v", method, got, want)
	}
}

func udp(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) }

func wantFamily(f byte) func(b *stun.Builder) {
	return func(b *stun.Builder) { udp(b); b.Uint32(stun.AttrRequestedAddressFamily, uint32(f)<<24) }
}

func dual(b *stun.Builder) { udp(b); b.Uint32(stun.AttrAdditionalAddressFamily, 2<<24) }

func peers(list ...netip.AddrPort) func(b *stun.Builder) {
	return func(b *stun.Builder) {
		for _, p := range list {
			b.XORAddress(stun.AttrXORPeerAddress, p)
		}
	}
}

func binding(number uint16, peer netip.AddrPort) func(b *stun.Builder) {
	return func(b *stun.Builder) {
		b.Uint32(stun.AttrChannelNumber, uint32(number)<<16)
		b.XORAddress(stun.AttrXORPeerAddress, peer)
	}
}

func living(seconds uint32) func(b *stun.Builder) {
	return func(b *stun.Builder) { b.Uint32(stun.AttrLifetime, seconds) }
}

// allocate makes an allocation or fails the test.
func (c *client) allocate(attributes ...func(b *stun.Builder)) stun.Message {
	c.t.Helper()
	if len(attributes) == 0 {
		attributes = append(attributes, udp)
	}
	m := c.request(stun.Allocate, func(b *stun.Builder) {
		for _, f := range attributes {
			f(b)
		}
	})
	if m.Class() != stun.Success {
		code, _, _ := m.ErrorCode()
		c.t.Fatalf("Allocate: %v", code)
	}
	c.relayed, _ = m.XORAddress(stun.AttrXORRelayedAddress)
	return m
}

// allRelayed returns all relayed addresses of a response.
func allRelayed(m stun.Message) (list []netip.AddrPort) {
	for t, v := range m.Attributes() {
		if t == stun.AttrXORRelayedAddress {
			a, _ := m.DecodeXORAddress(v)
			list = append(list, a)
		}
	}
	return list
}

// sendTo hands in a Send indication.
func (c *client) sendTo(peer netip.AddrPort, data string, more ...func(b *stun.Builder)) {
	c.t.Helper()
	b := stun.NewBuilder(nil, stun.Indication, stun.Send, stun.TransactionID{1})
	b.XORAddress(stun.AttrXORPeerAddress, peer)
	b.Bytes(stun.AttrData, []byte(data))
	for _, f := range more {
		f(&b)
	}
	raw, _ := b.Message()
	c.deliver(c.path, raw)
}

func channelData(number uint16, data string) []byte {
	return append([]byte{byte(number >> 8), byte(number), byte(len(data) >> 8), byte(len(data))}, data...)
}

// sendOn hands in ChannelData.
func (c *client) sendOn(number uint16, data string) { c.deliver(c.path, channelData(number, data)) }

// wantData fails unless t is a Data indication to the client.
func (c *client) wantData(t pkt.Transmit, peer netip.AddrPort, data string) {
	c.t.Helper()
	m, err := stun.Parse(t.Payload)
	if err != nil || m.Class() != stun.Indication || m.Method() != stun.Data || t.Path != c.path {
		c.t.Fatalf("%x along %v is no Data indication to the client: %v", t.Payload, t.Path, err)
	}
	from, err := m.XORAddress(stun.AttrXORPeerAddress)
	got, ok := m.Get(stun.AttrData)
	if err != nil || from != peer || !ok || string(got) != data {
		c.t.Errorf("Data indication from %v: %q, %v; want %q from %v", from, got, err, data, peer)
	}
}

// wantSent fails unless t is a datagram from a relayed address to a peer.
func (r *rig) wantSent(t pkt.Transmit, relayed, peer netip.AddrPort, data string) {
	r.t.Helper()
	if t.Socket != r.relays[relayed] || t.Remote != peer || string(t.Payload) != data {
		r.t.Errorf("sent %q on socket %d to %v; want %q on socket %d to %v", t.Payload, t.Socket, t.Remote, data, r.relays[relayed], peer)
	}
}
