package turn_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// Two clients that no hole punch could join, each behind a NAT with a mapping and a filter for every destination and
// random ports, talk through their relayed addresses, over links that lose and reorder.
func TestClientsBehindSymmetricNATsTalk(t *testing.T) {
	n := simnet.New(7)
	bad := simnet.Path{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1}
	symmetric := simnet.NAT{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, RandomPorts: true}
	machine := n.Internet().Host("server", simnet.Path{Delay: 5 * time.Millisecond}, server4.Addr().String(), relay4.String())
	home := n.Internet().NAT("home", bad, symmetric, "5.9.0.1").Host("ada", simnet.Path{}, "192.168.1.2")
	work := n.Internet().NAT("work", bad, symmetric, "5.9.1.1").Host("bea", simnet.Path{}, "10.0.0.2")

	s, err := turn.New(config())
	if err != nil {
		t.Fatal(err)
	}
	d, err := machine.Run(s, server4)
	if err != nil {
		t.Fatal(err)
	}
	s.AddSocket(n.Now(), 0, false)
	d.After = func(now mono.Time) (changed bool) {
		for {
			e, ok := s.NextEvent()
			if !ok {
				return changed
			}
			switch e := e.(type) {
			case turn.OpenRelay:
				changed = true
				if socket, err := d.Open(e.Address); err != nil {
					s.RelayFailed(now, e.Request, turn.ErrPortTaken)
				} else {
					s.RelayOpened(now, e.Request, socket, e.Address)
				}
			case turn.CloseSocket:
				d.Close(e.Socket)
			}
		}
	}

	ada, bea := newParty(t, "ada"), newParty(t, "bea")
	ada.other, bea.other = bea, ada
	for i, p := range []*party{ada, bea} {
		host := []*simnet.Host{home, work}[i]
		pd, err := host.Run(p, netip.AddrPortFrom(host.Addrs()[0], 40000))
		if err != nil {
			t.Fatal(err)
		}
		p.next = n.Now()
		pd.Poll()
	}
	if !n.RunUntil(func() bool { return ada.heard >= 20 && bea.heard >= 20 }, time.Minute) {
		t.Fatalf("ada: %v; bea: %v", ada, bea)
	}
	if ada.relayed.Addr() != relay4 || ada.mapped.Addr() != netip.MustParseAddr("5.9.0.1") {
		t.Errorf("ada is relayed from %v and mapped to %v", ada.relayed, ada.mapped)
	}
	c := s.Counters()
	if c.HandedOver < 40 || c.Allocations != 2 {
		t.Errorf("%d datagrams handed over, %d allocations", c.HandedOver, c.Allocations)
	}
	n.Run(11 * time.Minute) // nobody refreshes
	if c := s.Counters(); c.Allocations != 0 {
		t.Errorf("%d allocations are left", c.Allocations)
	}
}

// party is a client that allocates, binds a channel to the other's relayed address, and then says something every 50 ms.
// Whatever is not answered is asked again.
type party struct {
	credential      *stun.Credential
	hasher          *stun.Hasher
	other           *party
	relayed, mapped netip.AddrPort
	bound           bool
	heard           int
	step            byte
	next            mono.Time
	out             []byte
}

func newParty(t *testing.T, name string) *party {
	username, password, err := turn.NewCredential(secret, name, epoch.Add(24*time.Hour), turn.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &party{credential: stun.NewCredential(username, password), hasher: stun.NewHasher()}
}

func (p *party) String() string {
	return fmt.Sprintf("relayed from %v, bound %v, heard %d", p.relayed, p.bound, p.heard)
}

func (p *party) NextTimeout() mono.Time { return p.next }

func (p *party) HandleTimeout(now mono.Time) {
	if now < p.next {
		return
	}
	p.next = now.Add(50 * time.Millisecond)
	method, attributes := stun.Allocate, udp
	switch {
	case p.heard >= 20 && p.other.heard >= 20:
		p.next = mono.Never
		return
	case p.bound:
		p.out = channelData(0x4000, "hello")
		return
	case p.relayed.IsValid():
		if !p.other.relayed.IsValid() {
			return // signaling will tell
		}
		method, attributes = stun.ChannelBind, binding(0x4000, p.other.relayed)
	}
	b := stun.NewBuilder(nil, stun.Request, method, stun.TransactionID{p.step})
	attributes(&b)
	p.credential.Sign(&b, p.hasher)
	p.out, _ = b.Message()
}

func (p *party) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	if p.out != nil && b.Append(pkt.Transmit{Path: pkt.Path{Remote: server4}, Payload: p.out}) {
		p.out = nil
	}
	return p.out != nil
}

func (p *party) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if string(d.Payload) == string(channelData(0x4000, "hello")) {
		p.heard++
		return
	}
	m, err := stun.Parse(d.Payload)
	if err != nil || m.ID() != (stun.TransactionID{p.step}) {
		return
	}
	switch {
	case m.Class() == stun.Error:
		if p.credential.Challenge(p.hasher, &m) == nil {
			p.step++
			p.next = now
		}
	case m.Method() == stun.Allocate:
		p.relayed, _ = m.XORAddress(stun.AttrXORRelayedAddress)
		p.mapped, _ = m.XORAddress(stun.AttrXORMappedAddress)
		p.step++
	case m.Method() == stun.ChannelBind:
		p.bound = true
		p.step++
	}
}
