package ice_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

type chacha struct{ *rand.ChaCha8 }

func entropy(seed uint64) chacha {
	return chacha{rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})}
}

func newAgent(t testing.TB, role ice.Role, seed uint64) *ice.Agent {
	t.Helper()
	a, err := ice.New(ice.Config{Role: role, Entropy: entropy(seed)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// introduce gives each agent the other's credentials.
func introduce(t testing.TB, now mono.Time, a, b *ice.Agent) {
	t.Helper()
	if err := a.SetRemoteCredentials(now, ice.Remote{Credentials: b.LocalCredentials(), Renomination: true}); err != nil {
		t.Fatal(err)
	}
	if err := b.SetRemoteCredentials(now, ice.Remote{Credentials: a.LocalCredentials(), Renomination: true}); err != nil {
		t.Fatal(err)
	}
}

func offer(now mono.Time, from, to *ice.Agent, c ice.Candidate) {
	c, _ = from.AddLocalCandidate(now, c) // one that is there already is signalled again after a restart
	to.AddRemoteCandidate(now, c)
}

func TestLaws(t *testing.T) {
	at, bt := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:2000")
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run(role.String(), func(t *testing.T) {
			laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
				a, b := newAgent(t, role, seed), newAgent(t, 1-role, seed+1000)
				closing := func(e ice.Event) bool { return e == ice.Event(ice.StateChanged{State: ice.StateClosed}) }
				return &laws.Specimen{
					Engine: laws.Of(a, closing), Peer: laws.Of(b, closing),
					Steps: []func(mono.Time){
						func(now mono.Time) { introduce(t, now, a, b) },
						func(now mono.Time) { offer(now, a, b, ice.Candidate{Address: at}) },
						func(now mono.Time) { offer(now, b, a, ice.Candidate{Address: bt}) },
						func(now mono.Time) { a.EndOfLocalCandidates(now); b.EndOfLocalCandidates(now) },
						func(now mono.Time) { a.EndOfRemoteCandidates(now); b.EndOfRemoteCandidates(now) },
					},
					Done: func() error {
						if a.State() != ice.StateCompleted || b.State() != ice.StateCompleted {
							return fmt.Errorf("%v and %v", a.State(), b.State())
						}
						return nil
					},
					Fatal: []func(mono.Time){func(now mono.Time) { a.Close(now) }},
					Flood: func(now mono.Time, i int) {
						ip := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
						a.AddRemoteCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(ip, 9), Priority: uint32(i)})
					},
					Socket: func(netip.AddrPort) pkt.Socket { return 0 },
				}
			}})
		})
	}
}

// A side is an agent on a host of the virtual network.
type side struct {
	*ice.Agent
	driver *simnet.Driver
	host   *simnet.Host
	mapped netip.AddrPort
	events []ice.Event
	at     map[ice.State]mono.Time
}

const stunPort = 3478

// hiding takes what the STUN server answers before the agent sees it: gathering is the test's.
type hiding struct{ *side }

func (h hiding) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if d.Remote.Port() == stunPort {
		h.mapped = netip.MustParseAddrPort(string(d.Payload))
		return
	}
	h.Agent.HandleDatagram(now, d)
}

func newSide(t testing.TB, h *simnet.Host, role ice.Role, seed uint64) *side {
	t.Helper()
	s := &side{Agent: newAgent(t, role, seed), host: h, at: map[ice.State]mono.Time{}}
	d, err := h.Run(hiding{s}, netip.AddrPortFrom(h.Addrs()[0], 5000))
	if err != nil {
		t.Fatal(err)
	}
	s.driver = d
	d.After = func(now mono.Time) bool {
		for e, ok := s.NextEvent(); ok; e, ok = s.NextEvent() {
			s.events = append(s.events, e)
			if c, is := e.(ice.StateChanged); is {
				if _, seen := s.at[c.State]; !seen {
					s.at[c.State] = now
				}
			}
		}
		return false
	}
	return s
}

// A world has two sides behind NATs, each 10 ms from the middle, and a server there that says what it sees.
type world struct {
	*simnet.Network
	a, b *side
}

func newWorld(t testing.TB, seed uint64, left, right simnet.NAT, loss float64) *world {
	t.Helper()
	n := simnet.New(seed)
	server := n.Internet().Host("server", simnet.Path{}, "203.0.113.1")
	var socket *simnet.Socket
	socket, err := server.Bind(netip.MustParseAddrPort("203.0.113.1:3478"), func(_ mono.Time, d *pkt.Datagram) {
		socket.Send(d.Remote, []byte(d.Remote.String()))
	})
	if err != nil {
		t.Fatal(err)
	}
	p := simnet.Path{Delay: 10 * time.Millisecond}
	home := n.Internet().NAT("home", p, left, "198.51.100.1")
	work := n.Internet().NAT("work", p, right, "198.51.100.2")
	w := &world{Network: n}
	w.a = newSide(t, home.Host("a", simnet.Path{}, "192.168.1.2"), ice.Controlling, 2*seed)
	w.b = newSide(t, work.Host("b", simnet.Path{}, "192.168.2.2"), ice.Controlled, 2*seed+1)
	for _, s := range []*side{w.a, w.b} {
		ask(t, s)
	}
	n.Run(100 * time.Millisecond)
	p.Loss = loss
	home.Link().Set(p)
	return w
}

// ask sends the server a question from the agent's own socket, past the agent.
func ask(t testing.TB, s *side) {
	t.Helper()
	s.driver.Close(0)
	d, err := s.host.Run(&asker{s: s}, netip.AddrPortFrom(s.host.Addrs()[0], 5000))
	if err != nil {
		t.Fatal(err)
	}
	d.After = s.driver.After
	s.driver = d
	d.Poll()
}

// asker is the agent with one question before everything it sends.
type asker struct {
	s     *side
	asked bool
}

func (k *asker) HandleDatagram(now mono.Time, d *pkt.Datagram) { hiding{k.s}.HandleDatagram(now, d) }
func (k *asker) HandleTimeout(now mono.Time)                   { k.s.HandleTimeout(now) }
func (k *asker) NextTimeout() mono.Time                        { return k.s.NextTimeout() }
func (k *asker) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	if !k.asked {
		k.asked = b.Append(pkt.Transmit{Path: pkt.Path{Remote: netip.MustParseAddrPort("203.0.113.1:3478")}, Payload: []byte("?")})
	}
	return k.s.AppendTransmit(now, b)
}

// connect exchanges descriptions and candidates at once, as if signaling took no time.
func (w *world) connect(t testing.TB) mono.Time {
	t.Helper()
	now := w.Now()
	introduce(t, now, w.a.Agent, w.b.Agent)
	for _, x := range [][2]*side{{w.a, w.b}, {w.b, w.a}} {
		base := netip.AddrPortFrom(x[0].host.Addrs()[0], 5000)
		offer(now, x[0].Agent, x[1].Agent, ice.Candidate{Address: base})
		if x[0].mapped.IsValid() {
			offer(now, x[0].Agent, x[1].Agent, ice.Candidate{Type: ice.ServerReflexive, Address: x[0].mapped, Related: base})
		}
	}
	for _, s := range []*side{w.a, w.b} {
		s.EndOfLocalCandidates(now)
		s.EndOfRemoteCandidates(now)
		s.driver.Poll()
	}
	return now
}

func (w *world) both(states ...ice.State) func() bool {
	in := func(s *side) bool {
		for _, st := range states {
			if s.State() == st {
				return true
			}
		}
		return false
	}
	return func() bool { return in(w.a) && in(w.b) }
}

var cone = simnet.NAT{Mapping: simnet.EndpointIndependent, Filtering: simnet.AddressAndPortDependent}
var symmetric = simnet.NAT{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent}
var open = simnet.NAT{Mapping: simnet.EndpointIndependent, Filtering: simnet.EndpointIndependent}

// Each host is 10 ms from the middle: a round trip is 40 ms. The first checks meet closed NATs, the second round goes through.
func TestConnectsQuicklyThroughNATs(t *testing.T) {
	for _, c := range []struct {
		name        string
		left, right simnet.NAT
		connects    bool
	}{
		{"open, open", open, open, true},
		{"cone, cone", cone, cone, true},
		{"open, symmetric", open, symmetric, true},
		{"symmetric, open", symmetric, open, true},
		{"symmetric, symmetric", symmetric, symmetric, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, c.left, c.right, 0)
			began := w.connect(t)
			ok := w.RunUntil(w.both(ice.StateConnected, ice.StateCompleted), 60*time.Second)
			if ok != c.connects {
				t.Fatalf("connected: %v, want %v; %v %v", ok, c.connects, w.a.State(), w.b.State())
			}
			if took := w.Now().Sub(began); ok && took > 110*time.Millisecond {
				t.Errorf("it took %v, want at most 110 ms", took)
			}
			if !ok && w.a.State() != ice.StateFailed {
				t.Errorf("without a path: %v", w.a.State())
			}
		})
	}
}

func TestLossyLinks(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, cone, cone, 0.3)
		w.connect(t)
		if !w.RunUntil(w.both(ice.StateConnected, ice.StateCompleted), 20*time.Second) {
			t.Errorf("seed %d: %v %v", seed, w.a.State(), w.b.State())
		}
	}
}

// "When the agent receives such a response, ... the agent MUST switch to the controlling role" (RFC 8445 section 7.2.5.1)
func TestRoleConflict(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		for seed := range uint64(8) {
			w := newWorld(t, seed, cone, cone, 0)
			w.a.SetRole(w.Now(), role)
			w.b.SetRole(w.Now(), role)
			w.connect(t)
			if !w.RunUntil(w.both(ice.StateCompleted), 20*time.Second) || w.a.Role() == w.b.Role() {
				t.Errorf("both %v, seed %d: %v %v, %v %v", role, seed, w.a.State(), w.b.State(), w.a.Role(), w.b.Role())
			}
		}
	}
}

func TestEarlyChecksAreAnsweredAndKept(t *testing.T) {
	w := newWorld(t, 3, open, cone, 0)
	now := w.Now()
	// b knows all of a; a knows nothing of b but what its checks show.
	if err := w.b.SetRemoteCredentials(now, ice.Remote{Credentials: w.a.LocalCredentials()}); err != nil {
		t.Fatal(err)
	}
	w.a.AddLocalCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(w.a.host.Addrs()[0], 5000)})
	w.b.AddLocalCandidate(now, ice.Candidate{Address: netip.AddrPortFrom(w.b.host.Addrs()[0], 5000)})
	w.b.AddRemoteCandidate(now, ice.Candidate{Type: ice.ServerReflexive, Address: w.a.mapped, Priority: 1})
	w.b.driver.Poll()
	if !w.RunUntil(func() bool { return w.b.State() == ice.StateConnected }, time.Second) {
		t.Fatalf("the early check was not answered: %v", w.b.State())
	}
	if _, ok := w.a.Selected(); ok {
		t.Fatal("selected without the peer's credentials")
	}
	if err := w.a.SetRemoteCredentials(w.Now(), ice.Remote{Credentials: w.b.LocalCredentials()}); err != nil {
		t.Fatal(err)
	}
	w.a.driver.Poll()
	if !w.RunUntil(func() bool { return w.a.State() == ice.StateConnected }, 50*time.Millisecond) {
		t.Errorf("the early check did not become a triggered one: %v", w.a.State())
	}
}

// RFC 8839 section 5.4: "ufrag ... MUST contain at least 24 bits": 4 characters; a password at least 22.
func TestCredentialsOfTheCaller(t *testing.T) {
	mine := ice.Credentials{Ufrag: "made", Password: "elsewhere, by the one who writes descriptions"}
	a, err := ice.New(ice.Config{Entropy: entropy(1), Credentials: mine})
	if err != nil || a.LocalCredentials() != mine {
		t.Errorf("made with %v, %v", mine, err)
	}
	if _, err := ice.New(ice.Config{Entropy: entropy(1), Credentials: ice.Credentials{Ufrag: "made", Password: "short"}}); !errors.Is(err, ice.ErrCredentials) {
		t.Errorf("a short password: %v", err)
	}
}

func TestRestartKeepsTheOldPairFlowing(t *testing.T) {
	w := newWorld(t, 4, cone, cone, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(10 * time.Second)
	before, _ := w.a.Selected()
	mine := ice.Credentials{Ufrag: "made", Password: "elsewhere, by the one who writes descriptions"}
	if got := w.a.Restart(w.Now(), mine); got != mine {
		t.Errorf("restarted with %v", got)
	}
	w.b.Restart(w.Now(), ice.Credentials{})
	began := w.connect(t)
	chosen := func() bool {
		if _, ok := w.a.Path(); !ok {
			t.Fatal("no pair during the restart")
		}
		p, _ := w.a.Selected()
		q, _ := w.b.Selected()
		return p.ID != before.ID && q.ID != before.ID
	}
	if !w.RunUntil(chosen, 5*time.Second) {
		t.Fatal("the restart chose nothing")
	}
	if took := w.Now().Sub(began); took > 200*time.Millisecond {
		t.Errorf("the restart took %v", took)
	}
}

// "if a valid STUN binding response has not been received from the remote peer's transport address in 30 seconds, the
// endpoint MUST cease transmission on that 5-tuple" (RFC 7675 section 5.1)
func TestConsentIsLost(t *testing.T) {
	w := newWorld(t, 5, cone, cone, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(20 * time.Second)
	if !w.both(ice.StateCompleted)() {
		t.Fatalf("idle: %v %v", w.a.State(), w.b.State())
	}
	cut := w.Now()
	w.a.host.Link().Set(simnet.Path{Loss: 1})
	if !w.RunUntil(w.both(ice.StateFailed), time.Minute) {
		t.Fatalf("%v %v", w.a.State(), w.b.State())
	}
	if took := w.Now().Sub(cut); took > 31*time.Second || took < 23*time.Second {
		t.Errorf("failed after %v", took)
	}
	if d := w.a.at[ice.StateDisconnected].Sub(cut); d < 0 || d > 12*time.Second {
		t.Errorf("disconnected after %v", d)
	}
	if _, ok := w.a.Path(); ok {
		t.Error("there is a path without consent")
	}
}

func TestAnswersWithoutAllocating(t *testing.T) {
	w := newWorld(t, 6, open, open, 0)
	w.connect(t)
	w.RunUntil(w.both(ice.StateCompleted), 20*time.Second)
	w.Run(6 * time.Second)
	b := pkt.NewBatch(1<<16, 16)
	now := w.b.NextTimeout()
	for b.Len() == 0 {
		w.b.HandleTimeout(now)
		w.b.AppendTransmit(now, b)
		now = w.b.NextTimeout()
	}
	check := b.Transmits()[0].Payload
	path, _ := w.a.Path()
	out := pkt.NewBatch(1<<16, 16)
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		d := pkt.Datagram{Path: path, Payload: check}
		w.a.HandleDatagram(now, &d)
		w.a.AppendTransmit(now, out)
	}); n != 0 || out.Len() != 1 {
		t.Errorf("a check costs %v allocations and gets %d answers", n, out.Len())
	}
}
