package turn_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// speaker is a program with a Client: it says ping to a peer at intervals and counts the echoes. For the laws, which have
// one path, it is the peer too.
type speaker struct {
	*turn.Client
	peer   netip.AddrPort
	every  time.Duration
	next   mono.Time
	enough int // echoes after which it is silent; 0: never
	echoes int
	out    []pkt.Transmit
	events []turn.ClientEvent
	over   bool
}

const inner pkt.Socket = -5

func newSpeaker(t testing.TB, now mono.Time, cfg turn.ClientConfig, peer netip.AddrPort) *speaker {
	t.Helper()
	cfg.Inner = inner
	if cfg.Entropy == nil {
		cfg.Entropy = seeded(3)
	}
	c, err := turn.NewClient(now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &speaker{Client: c, peer: peer, every: 50 * time.Millisecond, next: now}
}

func (s *speaker) NextTimeout() mono.Time { return mono.Min(s.Client.NextTimeout(), s.next) }

func (s *speaker) HandleTimeout(now mono.Time) {
	s.Client.HandleTimeout(now)
	if now < s.next {
		return
	}
	s.next = now.Add(s.every)
	if s.over || s.enough > 0 && s.echoes >= s.enough {
		s.next = mono.Never
		return
	}
	s.say(now, s.peer, "ping")
}

func (s *speaker) say(now mono.Time, peer netip.AddrPort, text string) {
	if b := s.AppendData(nil, now, peer, []byte(text), false); b != nil && len(s.out) < 100 {
		s.out = append(s.out, pkt.Transmit{Path: s.Path(), Payload: b})
	}
}

func (s *speaker) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if d.Local == s.peer { // as the peer, for the laws
		if relayed := s.Relayed(s.peer.Addr()); relayed.IsValid() && !s.over && len(s.out) < 100 {
			s.out = append(s.out, pkt.Transmit{Path: pkt.Path{Local: d.Local, Remote: relayed}, Payload: bytes.Clone(d.Payload)})
		}
		return
	}
	if !s.Unwrap(now, d) {
		s.Client.HandleDatagram(now, d)
		return
	}
	if d.Socket == inner && d.Remote == s.peer && d.Local == s.Relayed(s.peer.Addr()) && string(d.Payload) == "ping" {
		s.echoes++
	}
}

func (s *speaker) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for len(s.out) > 0 {
		if !b.Append(s.out[0]) {
			return true
		}
		s.out = s.out[1:]
	}
	return s.Client.AppendTransmit(now, b)
}

func (s *speaker) NextEvent() (turn.ClientEvent, bool) {
	e, ok := s.Client.NextEvent()
	if _, end := e.(turn.Ended); end {
		s.over, s.next, s.out = true, mono.Never, nil
	}
	return e, ok
}

// drain takes the events, as a driver does.
func (s *speaker) drain(mono.Time) bool {
	for {
		e, ok := s.NextEvent()
		if !ok {
			return false
		}
		s.events = append(s.events, e)
	}
}

// ready returns the event, and fails if it did not come.
func (s *speaker) ready(t *testing.T) turn.Ready {
	t.Helper()
	for _, e := range s.events {
		if r, ok := e.(turn.Ready); ok {
			return r
		}
	}
	t.Fatalf("not ready: %+v", s.events)
	return turn.Ready{}
}

// ended returns how it ended, and fails if it did not.
func (s *speaker) ended(t *testing.T) error {
	t.Helper()
	if len(s.events) > 0 {
		if e, ok := s.events[len(s.events)-1].(turn.Ended); ok {
			return e.Err
		}
	}
	t.Fatalf("not ended: %+v", s.events)
	return nil
}

// scene is a server, a peer that echoes, and room for clients, in virtual time.
type scene struct {
	t *testing.T
	n *simnet.Network
	s *turn.Server
	d *simnet.Driver
}

func newScene(t *testing.T, change ...func(*turn.Config)) *scene {
	n := simnet.New(11)
	machine := n.Internet().Host("server", simnet.Path{Delay: 10 * time.Millisecond},
		server4.Addr().String(), server6.Addr().String(), relay4.String(), relay6.String())
	cfg := config()
	for _, f := range change {
		f(&cfg)
	}
	s, err := turn.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := machine.Run(s, server4, server6)
	if err != nil {
		t.Fatal(err)
	}
	s.AddSocket(n.Now(), 0, false)
	s.AddSocket(n.Now(), 1, false)
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
	for _, a := range []netip.AddrPort{peer4, peer6} {
		host := n.Internet().Host("peer "+a.String(), simnet.Path{Delay: 10 * time.Millisecond}, a.Addr().String())
		var echo *simnet.Socket
		if echo, err = host.Bind(a, func(_ mono.Time, p *pkt.Datagram) { echo.Send(p.Remote, p.Payload) }); err != nil {
			t.Fatal(err)
		}
	}
	return &scene{t, n, s, d}
}

var alice = turn.ClientConfig{Path: pkt.Path{Remote: server4}, Username: "alice", Password: "wonderland"}

// client runs a client on a host, from one port always.
func (sc *scene) client(h *simnet.Host, cfg turn.ClientConfig, peer netip.AddrPort) (*speaker, *simnet.Driver) {
	sc.t.Helper()
	local := h.Addrs()[0]
	s := newSpeaker(sc.t, sc.n.Now(), cfg, peer)
	d, err := h.Run(s, netip.AddrPortFrom(local, 40000))
	if err != nil {
		sc.t.Fatal(err)
	}
	d.After = s.drain
	d.Poll()
	return s, d
}

func (sc *scene) host(addr string) *simnet.Host {
	return sc.n.Internet().Host("client "+addr, simnet.Path{Delay: 10 * time.Millisecond}, addr)
}

// A client behind the worst of NATs, over a path that loses a fifth, talks for two hours: refreshes, new nonces, and
// permissions and channels that are renewed in time.
func TestClientKeepsItsAllocation(t *testing.T) {
	sc := newScene(t)
	bad := simnet.Path{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.2}
	symmetric := simnet.NAT{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, RandomPorts: true}
	home := sc.n.Internet().NAT("home", bad, symmetric, "5.9.0.1").Host("ada", simnet.Path{}, "192.168.1.2")
	s, _ := sc.client(home, alice, peer4)
	s.every = time.Second
	for hour := range 8 {
		before := s.echoes
		sc.n.Run(15 * time.Minute)
		if got := s.echoes - before; got < 450 { // 0.8 squared of 900 is 576
			t.Errorf("in quarter %d %d echoes came back: %+v %+v", hour, got, s.events, s.Counters())
		}
	}
	r := s.ready(t)
	if r.Relayed[0].Addr() != relay4 || r.Relayed[1].Addr() != relay6 || r.Mapped.Addr() != netip.MustParseAddr("5.9.0.1") {
		t.Errorf("%+v", r)
	}
	if len(s.events) != 1 {
		t.Errorf("events: %+v", s.events)
	}
	if c := sc.s.Counters(); c.Allocated != 1 || c.Challenges < 2 {
		t.Errorf("the server saw %d allocations and %d challenges", c.Allocated, c.Challenges)
	}
}

// Section 7: "If the client wishes to obtain a relayed transport address of a specific address type, it includes a
// REQUESTED-ADDRESS-FAMILY attribute": a client with IPv6 alone reaches a peer with IPv4 alone.
func TestClientOfOneFamilyReachesPeersOfTheOther(t *testing.T) {
	for _, c := range []struct {
		from   string
		server netip.AddrPort
		v4, v6 bool
		peer   netip.AddrPort
	}{
		{"2620:fe::77", server6, true, false, peer4},
		{"2620:fe::78", server6, true, true, peer4},
		{"5.9.0.7", server4, false, true, peer6},
	} {
		sc := newScene(t)
		cfg := alice
		cfg.Path.Remote, cfg.IPv4, cfg.IPv6 = c.server, c.v4, c.v6
		s, _ := sc.client(sc.host(c.from), cfg, c.peer)
		sc.n.Run(2 * time.Second)
		if r := s.ready(t); s.echoes < 10 || r.Relayed[0].IsValid() != c.v4 || r.Relayed[1].IsValid() != c.v6 {
			t.Errorf("%v: %d echoes, %+v", c, s.echoes, r)
		}
	}
}

// What is said before there is a permission waits for it, and Permit saves the wait.
func TestFirstPacketIsNotLost(t *testing.T) {
	sc := newScene(t)
	s, d := sc.client(sc.host("5.9.0.7"), alice, peer4)
	s.every = time.Hour
	sc.n.Run(time.Second)
	if s.echoes != 1 {
		t.Fatalf("%d echoes of the ping that was said at once", s.echoes)
	}
	other := netip.AddrPortFrom(peer6.Addr(), peer6.Port())
	s.Permit(sc.n.Now(), other.Addr())
	d.Poll()
	sc.n.Run(time.Second)
	if b := s.AppendData(nil, sc.n.Now(), other, []byte("x"), false); len(b) == 0 {
		t.Error("a peer with permission has to wait")
	}
}

func TestChannelIsBoundForPeersInUse(t *testing.T) {
	sc := newScene(t)
	s, _ := sc.client(sc.host("5.9.0.7"), alice, peer4)
	sc.n.Run(2 * time.Second)
	payload := make([]byte, 1000)
	b := s.AppendData(nil, sc.n.Now(), peer4, payload, false)
	if len(b) != 1004 || b[0] != 0x40 {
		t.Fatalf("%d bytes that begin with %x: no ChannelData", len(b), b[:4])
	}
	if n := testing.AllocsPerRun(100, func() { b = s.AppendData(b[:0], sc.n.Now(), peer4, payload, false) }); n != 0 {
		t.Errorf("AppendData allocates %v times", n)
	}
	frame := append([]byte(nil), b...)
	if n := testing.AllocsPerRun(100, func() {
		d := pkt.Datagram{Path: s.Path(), Payload: frame}
		if !s.Unwrap(sc.n.Now(), &d) || d.Remote != peer4 || len(d.Payload) != 1000 {
			t.Error("not unpacked")
		}
	}); n != 0 {
		t.Errorf("Unwrap allocates %v times", n)
	}
}

func TestCloseDeletesTheAllocation(t *testing.T) {
	sc := newScene(t)
	s, d := sc.client(sc.host("5.9.0.7"), alice, peer4)
	sc.n.Run(time.Second)
	if sc.s.Counters().Allocations != 1 {
		t.Fatal("no allocation")
	}
	s.Close(sc.n.Now())
	s.Close(sc.n.Now())
	d.Poll()
	sc.n.Run(time.Second)
	if err := s.ended(t); err != nil || sc.s.Counters().Allocations != 0 {
		t.Errorf("ended by %v, %d allocations are left", err, sc.s.Counters().Allocations)
	}
	if b := s.AppendData(nil, sc.n.Now(), peer4, []byte("x"), false); b != nil || s.NextTimeout() != mono.Never {
		t.Error("it goes on after the end")
	}
}

func TestClientSaysWhyThereIsNoAllocation(t *testing.T) {
	t.Run("wrong password", func(t *testing.T) {
		sc := newScene(t)
		cfg := alice
		cfg.Password = "looking-glass"
		s, _ := sc.client(sc.host("5.9.0.7"), cfg, peer4)
		sc.n.Run(5 * time.Second)
		if err := s.ended(t); !errors.Is(err, turn.ErrCredentials) {
			t.Error(err)
		}
	})
	// A server that, unlike ours, ends what an expired credential has made.
	t.Run("expired", func(t *testing.T) {
		sc := newScene(t)
		s, _ := sc.client(sc.host("5.9.0.7"), alice, peer4)
		sc.n.Run(time.Second)
		s.ready(t)
		for range 200 {
			now := s.Client.NextTimeout()
			s.Client.HandleTimeout(now)
			b := pkt.NewBatch(1<<16, 64)
			s.Client.AppendTransmit(now, b)
			for _, tr := range b.Transmits() {
				m, err := stun.Parse(tr.Payload)
				if err != nil || m.Method() != stun.Refresh {
					continue
				}
				r := stun.Respond(nil, stun.Error, &m)
				r.Error(stun.CodeUnauthenticated, "")
				r.Text(stun.AttrRealm, "parley")
				r.Text(stun.AttrNonce, "another")
				raw, _ := r.Message()
				s.HandleDatagram(now, &pkt.Datagram{Path: s.Path(), Payload: raw})
				s.drain(now)
				if err := s.ended(t); !errors.Is(err, turn.ErrExpired) {
					t.Error(err)
				}
				return
			}
		}
		t.Fatal("there was no Refresh")
	})
	// Section 7.4, 437: "The client SHOULD NOT try again ... from the same 5-tuple".
	t.Run("mismatch", func(t *testing.T) {
		sc := newScene(t)
		h := sc.host("5.9.0.7")
		_, d := sc.client(h, alice, peer4)
		sc.n.Run(time.Second)
		d.Close(0) // as a program that was killed
		cfg := alice
		cfg.Entropy = seeded(9)
		s, _ := sc.client(h, cfg, peer4)
		sc.n.Run(5 * time.Second)
		if err := s.ended(t); !errors.Is(err, turn.ErrMismatch) {
			t.Error(err)
		}
	})
	t.Run("server restarted", func(t *testing.T) {
		sc := newScene(t)
		s, _ := sc.client(sc.host("5.9.0.7"), alice, peer4)
		sc.n.Run(time.Second)
		sc.s.AddSocket(sc.n.Now(), 0, false)
		sc.d.Poll()
		sc.n.Run(10 * time.Minute)
		if err := s.ended(t); !errors.Is(err, turn.ErrLost) {
			t.Error(err)
		}
	})
	t.Run("no server", func(t *testing.T) {
		sc := newScene(t)
		cfg := alice
		cfg.Path.Remote = ap("203.0.113.99:3478")
		s, _ := sc.client(sc.host("5.9.0.7"), cfg, peer4)
		sc.n.Run(30 * time.Second)
		if err := s.ended(t); !errors.Is(err, stun.ErrTimeout) {
			t.Error(err)
		}
	})
}

// An error response that a server of ours does not give ends the client with its code.
func TestClientTakesOtherErrors(t *testing.T) {
	for code, want := range map[stun.Code]error{
		stun.CodeTryAlternate:              turn.ErrAlternate,
		stun.CodeAllocationQuotaReached:    turn.ErrRefused,
		stun.CodeInsufficientCapacity:      turn.ErrRefused,
		stun.CodeForbidden:                 turn.ErrRefused,
		stun.CodeAddressFamilyNotSupported: turn.ErrRefused,
	} {
		s := newSpeaker(t, begin, alice, peer4)
		b := pkt.NewBatch(1<<14, 8)
		s.Client.AppendTransmit(begin, b)
		m, err := stun.Parse(b.Transmits()[0].Payload)
		if err != nil {
			t.Fatal(err)
		}
		r := stun.Respond(nil, stun.Error, &m)
		r.Error(code, "")
		r.Address(stun.AttrAlternateServer, ap("203.0.113.5:99"))
		raw, _ := r.Message()
		s.HandleDatagram(begin, &pkt.Datagram{Path: alice.Path, Payload: raw})
		s.drain(begin)
		var e *turn.ClientError
		if err := s.ended(t); !errors.As(err, &e) || !errors.Is(err, want) || e.Code != code {
			t.Errorf("%v: %v", code, err)
		}
		if code == stun.CodeTryAlternate && e.Alternate != ap("203.0.113.5:99") {
			t.Errorf("the alternate is %v", e.Alternate)
		}
	}
}

// A peer that the server does not relay to is told of, and rests.
func TestRefusedPeer(t *testing.T) {
	sc := newScene(t)
	local := ap("10.1.2.3:99")
	s, _ := sc.client(sc.host("5.9.0.7"), alice, local)
	sc.n.Run(2 * refusalTime)
	if len(s.events) != 2 || s.events[1] != (turn.PeerRefused{Peer: local.Addr(), Code: stun.CodeForbidden}) {
		t.Errorf("events %+v", s.events)
	}
	if s.Counters().NoPermission == 0 {
		t.Error("nothing was dropped")
	}
}

// clientLawPeer is a server whose relay sockets are told apart by their address.
type clientLawPeer struct{ *driven }

func (p clientLawPeer) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	d.Socket = p.socketOf(d.Local)
	p.driven.HandleDatagram(now, d)
}

func TestClientKeepsTheLaws(t *testing.T) {
	laws.Run(t, laws.Subject{
		New: func(seed uint64) *laws.Specimen {
			server := clientLawPeer{newDriven(t, seed)}
			cfg := alice
			cfg.Path.Local, cfg.Entropy = callerAddr, seeded(seed)
			s := newSpeaker(t, begin, cfg, peer4)
			s.enough, s.every = 10, 100*time.Millisecond
			return &laws.Specimen{
				Engine: laws.Of(s, func(e turn.ClientEvent) bool { _, end := e.(turn.Ended); return end }),
				Peer:   laws.Of(server, func(string) bool { return false }),
				Steps: []func(mono.Time){
					func(now mono.Time) { server.AddSocket(now, listening, false) },
					func(now mono.Time) { s.Permit(now, peer4.Addr()) },
					func(now mono.Time) { s.Permit(now, peer6.Addr()) },
				},
				Done: func() error {
					if s.echoes < s.enough {
						return fmt.Errorf("%d echoes", s.echoes)
					}
					return nil
				},
				Fatal: []func(mono.Time){func(now mono.Time) { s.Close(now) }},
				Flood: func(now mono.Time, i int) {
					s.say(now, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)}), 99), "flood")
				},
			}
		},
	})
}

func FuzzClient(f *testing.F) {
	f.Add([]byte{0x01, 0x13, 0, 0}, []byte{0x40, 0, 0, 1, 7})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := newSpeaker(t, begin, alice, peer4)
		s.say(begin, peer4, "ping")
		now := begin
		for _, p := range [][]byte{first, second, first} {
			b := pkt.NewBatch(1<<14, 8)
			s.AppendTransmit(now, b)
			p = bytes.Clone(p)
			if ts := b.Transmits(); len(ts) > 0 && len(p) >= stun.HeaderLen && len(ts[0].Payload) >= stun.HeaderLen {
				copy(p[4:stun.HeaderLen], ts[0].Payload[4:]) // as if it answered
			}
			s.HandleDatagram(now, &pkt.Datagram{Path: alice.Path, Payload: p})
			s.drain(now)
			if due := s.Client.NextTimeout(); due != mono.Never {
				now = max(now, due)
				s.Client.HandleTimeout(now)
				if s.Client.NextTimeout() <= now {
					t.Fatal("it spins")
				}
			}
		}
	})
}
