package ice_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
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

// A side is an agent on a host of the virtual network, with what an owner of an agent has: sockets, a server that says
// what it sees and relays, streams, and data to send.
type side struct {
	*ice.Agent
	t       testing.TB
	network *simnet.Network
	host    *simnet.Host
	driver  *simnet.Driver
	bases   []netip.AddrPort // of the sockets 0 and up
	mapped  netip.AddrPort   // what the server sees
	relayed netip.AddrPort   // where the server relays; its socket is -1
	own     []pkt.Transmit   // to be sent past the agent
	batch   *pkt.Batch

	streams   []stream
	listeners map[pkt.Socket]bool
	dialling  map[pkt.Socket]uint32

	talking bool // a word of data each 20 ms
	word    mono.Time

	events   []ice.Event
	at       map[ice.State]mono.Time // when a state was told first
	chosen   []choice
	messages []message   // STUN that was sent
	heard    []mono.Time // when data came
}

// A choice is a selected pair and when it was told.
type choice struct {
	at   mono.Time
	pair ice.Pair
}

// A message is STUN that an agent sent.
type message struct {
	at         mono.Time
	path       pkt.Path
	class      stun.Class
	id         stun.TransactionID
	use        bool
	nomination uint32
}

// A stream stands for a TCP connection, and is carried by datagrams. Its number is firstStream and up.
type stream struct {
	socket        pkt.Socket // of the driver
	local, remote netip.AddrPort
}

const (
	firstStream pkt.Socket = 100
	relaySocket pkt.Socket = -1
	port                   = 5000
	each                   = 20 * time.Millisecond // a word of data
)

var serverAddr = addr("203.0.113.1:3478")
var serverPath = pkt.Path{Remote: serverAddr}

func newSide(t testing.TB, h *simnet.Host, seed uint64, cfg ice.Config) *side {
	t.Helper()
	cfg.Entropy = entropy(seed)
	a, err := ice.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &side{Agent: a, t: t, network: h.Network(), host: h, at: map[ice.State]mono.Time{}, batch: pkt.NewBatch(1<<16, 16),
		listeners: map[pkt.Socket]bool{}, dialling: map[pkt.Socket]uint32{}}
	for _, ip := range h.Addrs() {
		s.bases = append(s.bases, netip.AddrPortFrom(ip, port))
	}
	if s.driver, err = h.Run(carrier{s}, s.bases...); err != nil {
		t.Fatal(err)
	}
	s.driver.After = s.after
	return s
}

func (s *side) after(now mono.Time) (changed bool) {
	for e, ok := s.NextEvent(); ok; e, ok = s.NextEvent() {
		s.events = append(s.events, e)
		switch e := e.(type) {
		case ice.StateChanged:
			if _, seen := s.at[e.State]; !seen {
				s.at[e.State] = now
			}
		case ice.SelectedPairChanged:
			s.chosen = append(s.chosen, choice{now, e.Pair})
		case ice.Connect:
			s.dial(e)
			changed = true
		case ice.Disconnect:
			s.hangUp(e.Socket)
		}
	}
	return changed
}

// open gives the agent one more socket, at an address of the host.
func (s *side) open(base netip.AddrPort) pkt.Socket {
	s.t.Helper()
	socket, err := s.driver.Open(base)
	if err != nil {
		s.t.Fatal(err)
	}
	return socket
}

// listen opens a socket that accepts streams.
func (s *side) listen(base netip.AddrPort) pkt.Socket {
	socket := s.open(base)
	s.listeners[socket] = true
	return socket
}

func (s *side) dial(e ice.Connect) {
	socket := s.open(netip.AddrPortFrom(e.Local, 0))
	s.dialling[socket] = e.Number
	c := stream{socket, s.driver.Local(socket), e.Remote}
	s.streams = append(s.streams, c)
	s.say("SYN", pkt.Path{Socket: c.socket, Remote: c.remote})
}

// hangUp closes a stream at this end.
func (s *side) hangUp(number pkt.Socket) {
	c := &s.streams[number-firstStream]
	if !s.listeners[c.socket] && c.remote.IsValid() {
		s.driver.Close(c.socket)
	}
	c.remote = netip.AddrPort{}
}

// say sends past the agent.
func (s *side) say(text string, p pkt.Path) {
	s.own = append(s.own, pkt.Transmit{Path: p, Payload: []byte(text)})
}

// stream returns the number of the stream along a path of the driver's.
func (s *side) stream(p pkt.Path) (number pkt.Socket, ok bool) {
	i := slices.IndexFunc(s.streams, func(c stream) bool { return c.socket == p.Socket && c.remote == p.Remote })
	return firstStream + pkt.Socket(i), i >= 0
}

// carrier is the side as the engine that the driver runs: the agent behind its server, its streams and its data.
type carrier struct{ *side }

func (s carrier) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if d.Remote == serverAddr {
		text := string(d.Payload[1:])
		switch d.Payload[0] {
		case '!':
			s.mapped = addr(text)
			return
		case '+':
			s.relayed = addr(text)
			return
		}
		n := slices.Index(d.Payload, 0)
		d.Path = pkt.Path{Socket: relaySocket, Local: s.relayed, Remote: addr(string(d.Payload[1:n]))}
		d.Payload = d.Payload[n+1:]
	}
	number, known := s.stream(d.Path)
	switch {
	case string(d.Payload) == "SYN" && s.listeners[d.Socket]:
		s.streams = append(s.streams, stream{d.Socket, d.Local, d.Remote})
		s.say("ACK", d.Path)
		return
	case string(d.Payload) == "ACK":
		s.Connected(now, s.dialling[d.Socket], number, d.Local)
		return
	case known:
		d.Socket = number
	}
	if d.Payload[0] < 4 {
		s.Agent.HandleDatagram(now, d)
	} else if s.Knows(d.Path) {
		s.heard = append(s.heard, now)
		s.Heard(d.Path)
	}
}

func (s carrier) HandleTimeout(now mono.Time) { s.Agent.HandleTimeout(now) }

func (s carrier) NextTimeout() mono.Time {
	if s.talking {
		return mono.Min(s.word, s.Agent.NextTimeout())
	}
	return s.Agent.NextTimeout()
}

func (s carrier) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	put := func(tr pkt.Transmit) {
		if !b.Append(tr) {
			s.t.Fatal("the driver's batch is full")
		}
	}
	for _, tr := range s.own {
		put(tr)
	}
	s.own = nil
	s.batch.Reset()
	more = s.Agent.AppendTransmit(now, s.batch)
	if s.talking && now >= s.word {
		s.word = now.Add(each)
		if path, ok := s.Path(); ok {
			s.batch.Append(pkt.Transmit{Path: path, Payload: []byte("word")})
			s.Sent(now)
		}
	}
	for _, tr := range s.batch.Transmits() {
		s.note(now, tr)
		switch {
		case tr.Socket == relaySocket:
			tr.Payload = slices.Concat([]byte(">"+tr.Remote.String()+"\x00"), tr.Payload)
			tr.Path = pkt.Path{Remote: serverAddr}
		case tr.Socket >= firstStream:
			c := s.streams[tr.Socket-firstStream]
			if !c.remote.IsValid() {
				continue
			}
			tr.Socket, tr.Local = c.socket, c.local
		}
		put(tr)
	}
	return more
}

func (s *side) note(now mono.Time, tr pkt.Transmit) {
	m, err := stun.Parse(tr.Payload)
	if err != nil {
		return
	}
	nomination, _ := m.Uint32(0xC001)
	s.messages = append(s.messages, message{now, tr.Path, m.Class(), m.ID(), m.Has(stun.AttrUseCandidate), nomination})
}

// requests returns the checks that were sent, repetitions included.
func (s *side) requests() []message {
	return slices.DeleteFunc(slices.Clone(s.messages), func(m message) bool { return m.class != stun.Request })
}

// serve runs the server: it says what it sees, and relays for one client at each address.
func serve(t testing.TB, n *simnet.Network, addrs ...string) {
	server := n.Internet().Host("server", simnet.Path{}, append([]string{serverAddr.Addr().String()}, addrs...)...)
	var socket *simnet.Socket
	bind := func(at netip.AddrPort, handle func(mono.Time, *pkt.Datagram)) *simnet.Socket {
		s, err := server.Bind(at, handle)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	relays := map[netip.AddrPort]*simnet.Socket{}
	socket = bind(serverAddr, func(_ mono.Time, d *pkt.Datagram) {
		client := d.Remote
		switch d.Payload[0] {
		case '?':
			socket.Send(client, []byte("!"+client.String()))
		case '+':
			at := serverAddr.Addr()
			if len(d.Payload) > 1 {
				at = netip.MustParseAddr(string(d.Payload[1:]))
			}
			if relays[client] == nil {
				relays[client] = bind(netip.AddrPortFrom(at, 0), func(_ mono.Time, d *pkt.Datagram) {
					socket.Send(client, slices.Concat([]byte("<"+d.Remote.String()+"\x00"), d.Payload))
				})
			}
			socket.Send(client, []byte("+"+relays[client].Local().String()))
		case '>':
			n := slices.Index(d.Payload, 0)
			relays[client].Send(addr(string(d.Payload[1:n])), d.Payload[n+1:])
		}
	})
}

// A world has two sides, each 10 ms from the middle, and a server there.
type world struct {
	*simnet.Network
	a, b *side
	home *simnet.Router // the NAT of a, if it has one
}

var middle = simnet.Path{Delay: 10 * time.Millisecond}

// newWorld puts the sides behind NATs, and has them ask what the server sees.
func newWorld(t testing.TB, seed uint64, left, right simnet.NAT, loss float64) *world {
	t.Helper()
	n := simnet.New(seed)
	serve(t, n)
	home := n.Internet().NAT("home", middle, left, "198.51.100.1")
	work := n.Internet().NAT("work", middle, right, "198.51.100.2")
	w := &world{Network: n, home: home}
	w.a = newSide(t, home.Host("a", simnet.Path{}, "192.168.1.2"), 2*seed, ice.Config{})
	w.b = newSide(t, work.Host("b", simnet.Path{}, "192.168.2.2"), 2*seed+1, ice.Config{Role: ice.Controlled})
	w.question("?")
	lossy := middle
	lossy.Loss = loss
	home.Link().Set(lossy)
	return w
}

// question has both sides ask the server.
func (w *world) question(text string) {
	for _, s := range []*side{w.a, w.b} {
		s.say(text, serverPath)
		s.driver.Poll()
	}
	w.Run(100 * time.Millisecond)
}

// newPlain puts the sides on the internet itself, each at the given addresses, the first 10 ms from the middle.
func newPlain(t testing.TB, seed uint64, a, b ice.Config, left, right []string) *world {
	t.Helper()
	n := simnet.New(seed)
	serve(t, n)
	b.Role = ice.Controlled
	return &world{
		Network: n,
		a:       newSide(t, n.Internet().Host("a", middle, left...), 2*seed, a),
		b:       newSide(t, n.Internet().Host("b", middle, right...), 2*seed+1, b),
	}
}

// candidates returns what a side has gathered.
func (s *side) candidates() []ice.Candidate {
	var all []ice.Candidate
	for i, base := range s.bases {
		all = append(all, ice.Candidate{Address: base, Socket: pkt.Socket(i)})
	}
	if s.mapped.IsValid() {
		all = append(all, ice.Candidate{Type: ice.ServerReflexive, Address: s.mapped, Related: s.bases[0], Server: serverAddr})
	}
	if s.relayed.IsValid() {
		all = append(all, ice.Candidate{Type: ice.Relayed, Address: s.relayed, Related: s.mapped, Socket: relaySocket, Server: serverAddr})
	}
	return all
}

// roles gives the first side a role, and the second the other one.
func (w *world) roles(first ice.Role) {
	w.a.SetRole(w.Now(), first)
	w.b.SetRole(w.Now(), 1-first)
}

// connect exchanges descriptions and all candidates at once, as if signaling took no time.
func (w *world) connect(t testing.TB) mono.Time {
	t.Helper()
	introduce(t, w.Now(), w.a.Agent, w.b.Agent)
	w.exchange()
	return w.Now()
}

// exchange tells each side all of the other's candidates.
func (w *world) exchange() {
	for _, x := range [][2]*side{{w.a, w.b}, {w.b, w.a}} {
		for _, c := range x[0].candidates() {
			offer(w.Now(), x[0].Agent, x[1].Agent, c)
		}
	}
	for _, s := range []*side{w.a, w.b} {
		s.EndOfLocalCandidates(w.Now())
		s.EndOfRemoteCandidates(w.Now())
		s.driver.Poll()
	}
}

func (w *world) both(states ...ice.State) func() bool {
	return func() bool { return slices.Contains(states, w.a.State()) && slices.Contains(states, w.b.State()) }
}

// connected runs until both sides have a pair.
func (w *world) connected(t testing.TB) {
	t.Helper()
	if !w.RunUntil(w.both(ice.StateConnected, ice.StateCompleted), 20*time.Second) {
		t.Fatalf("not connected: %v %v", w.a.State(), w.b.State())
	}
}

var cone = simnet.NAT{Mapping: simnet.EndpointIndependent, Filtering: simnet.AddressAndPortDependent}
var symmetric = simnet.NAT{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent}
var open = simnet.NAT{Mapping: simnet.EndpointIndependent, Filtering: simnet.EndpointIndependent}
