package turn_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

func TestServerKeepsTheLaws(t *testing.T) {
	laws.Run(t, laws.Subject{
		New: func(seed uint64) *laws.Specimen {
			e := newDriven(t, seed)
			c := newCaller(t)
			return &laws.Specimen{
				Engine: laws.Of(e, func(string) bool { return false }), // a server never fails
				Peer:   laws.Of(c, func(string) bool { return false }),
				Steps: []func(mono.Time){
					func(now mono.Time) { e.AddSocket(now, listening, false) },
					func(now mono.Time) { c.start(now) },
					func(now mono.Time) { e.Revoke(now, "somebody else", epoch.Add(2*time.Hour)) },
					func(now mono.Time) {
						if err := e.SetAddresses([]netip.Addr{relay4, relay6}, []netip.Addr{server4.Addr()}); err != nil {
							t.Error(err)
						}
					},
				},
				Done: c.done,
				Flood: func(now mono.Time, i int) {
					e.Revoke(now, fmt.Sprint("seat", i), epoch.Add(2*time.Hour))
				},
				Bound:  12 << 20, // 65,536 names
				Socket: e.socketOf,
			}
		},
		Crowd: func(n int) (laws.Engine, mono.Time) {
			r := newRig(t, func(c *turn.Config) { c.Limits.Allocations, c.PerAddress = 10_000, 10_000 })
			for i := range n {
				r.client(fmt.Sprintf("5.%d.%d.1:1000", i>>8, i&0xFF), "crowd").allocate()
			}
			r.settle()
			return laws.Of(r.s, func(turn.Event) bool { return false }), r.now
		},
	})
}

// driven is a Server whose OpenRelay is answered at once.
type driven struct {
	*turn.Server
	next    pkt.Socket
	sockets map[netip.AddrPort]pkt.Socket
	events  []string
}

func newDriven(t testing.TB, seed uint64) *driven {
	cfg := config()
	cfg.Entropy = seeded(seed)
	s, err := turn.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &driven{Server: s, sockets: map[netip.AddrPort]pkt.Socket{}}
}

func (d *driven) HandleDatagram(now mono.Time, p *pkt.Datagram) {
	d.Server.HandleDatagram(now, p)
	d.drive(now)
}

func (d *driven) HandleTimeout(now mono.Time) {
	d.Server.HandleTimeout(now)
	d.drive(now)
}

func (d *driven) drive(now mono.Time) {
	for {
		e, ok := d.Server.NextEvent()
		if !ok {
			return
		}
		if open, ok := e.(turn.OpenRelay); ok {
			d.next++
			d.sockets[open.Address] = d.next
			d.RelayOpened(now, open.Request, d.next, open.Address)
		}
		if len(d.events) < 1000 {
			d.events = append(d.events, fmt.Sprintf("%T%+v", e, e))
		}
	}
}

func (d *driven) NextEvent() (string, bool) {
	if len(d.events) == 0 {
		return "", false
	}
	e := d.events[0]
	d.events = d.events[1:]
	return e, true
}

// socketOf maps the address that a datagram is sent to to the socket it arrives on.
func (d *driven) socketOf(local netip.AddrPort) pkt.Socket {
	if n, ok := d.sockets[local]; ok {
		return n
	}
	return listening
}

// caller is a client, and the peer that it calls, as one engine: it allocates, binds a channel, sends and wants echoes,
// on the channel and by indications, and repeats itself until it is answered.
type caller struct {
	credential *stun.Credential
	hasher     *stun.Hasher
	phase      int
	step       byte // changes with every request that is not a repetition
	next       mono.Time
	relayed    netip.AddrPort
	echoes     int
	out        []pkt.Transmit
}

const (
	allocating = iota
	bindingChannel
	sendingOnChannel
	sendingIndications
	refreshing
	finished
)

var callerAddr = ap("5.9.0.1:1000")

func newCaller(t testing.TB) *caller {
	username, password, err := turn.NewCredential(secret, "caller", epoch.Add(3*time.Hour), turn.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &caller{credential: stun.NewCredential(username, password), hasher: stun.NewHasher(), next: mono.Never}
}

func (c *caller) start(now mono.Time) { c.next = now }

func (c *caller) done() error {
	if c.phase != finished {
		return fmt.Errorf("phase %d, %d echoes", c.phase, c.echoes)
	}
	return nil
}

func (c *caller) NextTimeout() mono.Time { return c.next }

func (c *caller) NextEvent() (string, bool) { return "", false }

func (c *caller) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for len(c.out) > 0 {
		if !b.Append(c.out[0]) {
			return true
		}
		c.out = c.out[1:]
	}
	return false
}

// HandleTimeout says again what waits for an answer.
func (c *caller) HandleTimeout(now mono.Time) {
	if now < c.next {
		return
	}
	c.next = now.Add(100 * time.Millisecond)
	switch c.phase {
	case allocating:
		c.request(stun.Allocate, dual)
	case bindingChannel:
		c.request(stun.ChannelBind, binding(0x4000, peer4))
	case sendingOnChannel:
		c.send(channelData(0x4000, "ping"))
	case sendingIndications:
		b := stun.NewBuilder(nil, stun.Indication, stun.Send, stun.TransactionID{})
		b.XORAddress(stun.AttrXORPeerAddress, netip.AddrPortFrom(peer4.Addr(), 99))
		b.Text(stun.AttrData, "ping")
		raw, _ := b.Message()
		c.send(raw)
	case refreshing:
		c.request(stun.Refresh, living(0))
	case finished:
		c.next = mono.Never
	}
}

func (c *caller) request(m stun.Method, attributes func(b *stun.Builder)) {
	b := stun.NewBuilder(nil, stun.Request, m, stun.TransactionID{c.step})
	attributes(&b)
	c.credential.Sign(&b, c.hasher)
	raw, _ := b.Message()
	c.send(raw)
}

func (c *caller) send(payload []byte) {
	c.out = append(c.out, pkt.Transmit{Path: pkt.Path{Local: callerAddr, Remote: server4}, Payload: payload})
}

func (c *caller) advance(now mono.Time) {
	c.phase++
	c.step++
	c.echoes = 0
	c.next = now
}

func (c *caller) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if d.Local != callerAddr { // the peer: it sends back what it gets
		if c.relayed.IsValid() {
			c.out = append(c.out, pkt.Transmit{Path: pkt.Path{Local: d.Local, Remote: c.relayed}, Payload: bytes.Clone(d.Payload)})
		}
		return
	}
	if c.phase == sendingOnChannel && bytes.Equal(d.Payload, channelData(0x4000, "ping")) {
		c.echo(now)
		return
	}
	m, err := stun.Parse(d.Payload)
	if err != nil {
		return
	}
	if m.Method() == stun.Data {
		if c.phase == sendingIndications {
			c.echo(now)
		}
		return
	}
	if m.ID() != (stun.TransactionID{c.step}) {
		return
	}
	code, _, _ := m.ErrorCode()
	switch {
	case code == stun.CodeUnauthenticated || code == stun.CodeStaleNonce:
		if c.credential.Challenge(c.hasher, &m) == nil { // else the request was tampered with on the way: it goes out again
			c.step++
			c.next = now
		}
	case m.Class() == stun.Success && c.phase == allocating:
		c.relayed, _ = m.XORAddress(stun.AttrXORRelayedAddress)
		c.advance(now)
	case m.Class() == stun.Success && c.phase == bindingChannel:
		c.advance(now)
	case c.phase == refreshing && (m.Class() == stun.Success || code == stun.CodeAllocationMismatch):
		c.advance(now)
	}
}

func (c *caller) echo(now mono.Time) {
	if c.echoes++; c.echoes == 5 {
		c.advance(now)
	}
}
