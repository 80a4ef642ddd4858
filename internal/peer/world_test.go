package peer_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// options are in what a side differs from the default.
type options struct {
	dtls dtls.Config // Entropy and Certificate are set
	sctp sctp.Config
	jsep jsep.Config
	peer peer.Config
}

// side is one program: a session, a peer, and a socket for each address of each transport.
type side struct {
	*peer.Peer
	t        testing.TB
	session  *jsep.Session
	host     *simnet.Host
	driver   *simnet.Driver // nil under the laws, which drive themselves
	clock    func() mono.Time
	cert     *dtls.Certificate
	options  options
	other    *side
	gathered map[string]bool // by transport and ufrag
	sockets  map[int][]pkt.Socket
	address  netip.AddrPort // where there is no driver

	events    []peer.Event
	messages  []string
	packets   []received
	connected func(now mono.Time)                      // under the laws, once DTLS is
	onPacket  func(now mono.Time, r *session.Received) // nil: packets keeps them
	openedAt  mono.Time
	stream    sctp.StreamID
}

// world is two sides 20 ms apart, in virtual time.
type world struct {
	*simnet.Network
	t    testing.TB
	a, b *side
}

const oneWay = 20 * time.Millisecond

func newWorld(t testing.TB, seed uint64, path simnet.Path, a, b options) *world {
	t.Helper()
	w := &world{Network: simnet.New(seed), t: t}
	path.Delay += oneWay / 2
	w.a = newSide(t, w.Internet().Host("a", path, "192.0.2.1"), 2*seed, a)
	w.b = newSide(t, w.Internet().Host("b", path, "192.0.2.2"), 2*seed+1, b)
	w.a.other, w.b.other = w.b, w.a
	return w
}

func newSide(t testing.TB, host *simnet.Host, seed uint64, o options) *side {
	t.Helper()
	s := makeSide(t, seed, o)
	s.host, s.clock = host, host.Network().Now
	var err error
	if s.driver, err = host.Run(s); err != nil {
		t.Fatal(err)
	}
	s.driver.After = s.react
	return s
}

func makeSide(t testing.TB, seed uint64, o options) *side {
	t.Helper()
	random := entropy(seed)
	s := &side{t: t, options: o, gathered: map[string]bool{}, sockets: map[int][]pkt.Socket{}}
	if s.cert = o.dtls.Certificate; s.cert == nil {
		var err error
		if s.cert, err = dtls.GenerateCertificate(random, time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	o.dtls.Entropy, o.dtls.Certificate = random, s.cert
	o.peer.DTLS, o.peer.SCTP, o.peer.Entropy = &o.dtls, o.sctp, random
	f := s.cert.Fingerprint()
	o.jsep.Entropy, o.jsep.Fingerprints, o.jsep.Lite = random, []sdp.Fingerprint{{Hash: f.Algorithm, Value: f.Value}}, o.peer.Lite
	var err error
	if s.Peer, err = peer.New(o.peer); err != nil {
		t.Fatal(err)
	}
	if s.session, err = jsep.New(o.jsep); err != nil {
		t.Fatal(err)
	}
	s.session.AddData()
	return s
}

func (s *side) poll() {
	if s.driver != nil {
		s.driver.Poll()
	}
}

// received is a packet that came, copied.
type received struct {
	mid, rid  string
	at        mono.Time
	seq       int64
	timestamp uint32
	payload   string
	repaired  bool
}

// The engine that the driver drives runs the jobs where they come up, and takes packets at once.
func (s *side) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	s.Peer.HandleDatagram(now, d)
	for r, ok := s.NextPacket(); ok; r, ok = s.NextPacket() {
		if s.onPacket != nil {
			s.onPacket(now, r)
			continue
		}
		s.packets = append(s.packets, received{r.Stream.MID(), r.Stream.RID(), now, r.Sequence, r.Packet.Timestamp, string(r.Packet.Payload), r.Repaired})
	}
	s.jobs(now)
}

func (s *side) AppendTransmit(now mono.Time, b *pkt.Batch) bool {
	s.jobs(now)
	return s.Peer.AppendTransmit(now, b)
}

func (s *side) jobs(now mono.Time) {
	for j, ok := s.NextJob(); ok; j, ok = s.NextJob() {
		j.Run()
		s.JobDone(now, j)
	}
	if f := s.connected; f != nil && s.up() {
		s.connected = nil
		f(now)
	}
}

// react takes events, as a program would.
func (s *side) react(now mono.Time) (changed bool) {
	for {
		e, ok := s.NextEvent()
		if !ok {
			return changed
		}
		changed = true
		if e.Kind == peer.OfSCTP {
			switch e.SCTP.Kind {
			case sctp.ChannelOpen:
				if s.openedAt == 0 {
					s.openedAt, s.stream = now, e.SCTP.Stream
				}
			case sctp.Message:
				s.messages = append(s.messages, string(e.SCTP.Data))
				s.Association().Consume(len(e.SCTP.Data))
			}
			e.SCTP.Data = nil
		}
		s.events = append(s.events, e)
	}
}

// apply does what a description has changed, and gathers for what is new.
func (s *side) apply(c jsep.Changes, err error) {
	s.t.Helper()
	now := s.clock()
	if err == nil {
		err = s.Apply(now, c.Transports, c.Media, c.Data)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, t := range c.Transports {
		ufrag := t.Local.Ufrag
		if t.Restart.Ufrag != "" {
			ufrag = t.Restart.Ufrag
		}
		if s.session.Local().SDP != "" && !s.gathered[fmt.Sprint(t.ID, ufrag)] {
			s.gathered[fmt.Sprint(t.ID, ufrag)] = true
			s.gather(now, t.ID, ufrag)
		}
	}
	s.poll()
}

func candidateOf(address netip.AddrPort) ice.Candidate {
	return ice.Candidate{Type: ice.Host, Address: address}
}

// gather finds the host candidates, which are added to the local description.
func (s *side) gather(now mono.Time, transport int, ufrag string) {
	if s.driver == nil {
		c, _ := s.AddLocalCandidate(now, transport, candidateOf(s.address))
		s.session.AddLocalCandidate(transport, ufrag, c.SDP())
		return
	}
	first := s.sockets[transport] == nil
	for _, ip := range s.host.Addrs() {
		if first {
			socket, err := s.driver.Open(netip.AddrPortFrom(ip, 0))
			if err != nil {
				s.t.Fatal(err)
			}
			s.sockets[transport] = append(s.sockets[transport], socket)
		}
	}
	for _, socket := range s.sockets[transport] {
		c := ice.Candidate{Type: ice.Host, Address: s.driver.Local(socket), Socket: socket}
		if first {
			var ok bool
			if c, ok = s.AddLocalCandidate(now, transport, c); !ok {
				s.t.Fatalf("the candidate %v is refused", c)
			}
		} else {
			for _, l := range s.Agent(transport).LocalCandidates() {
				if l.Socket == socket && l.Type == ice.Host {
					c = l
				}
			}
		}
		s.session.AddLocalCandidate(transport, ufrag, c.SDP())
	}
	s.EndOfLocalCandidates(now, transport)
	s.session.EndOfLocalCandidates(transport, ufrag)
}

func (s *side) setRemote(d jsep.Description) {
	s.t.Helper()
	s.apply(s.session.SetRemote(d))
	for _, t := range s.session.RemoteCandidates() {
		s.AddRemote(s.clock(), t)
	}
	s.poll()
}

// offer makes an offer, with candidates.
func (s *side) offer() jsep.Description {
	s.t.Helper()
	s.apply(s.session.SetLocal(jsep.Description{Type: jsep.Offer}))
	return s.session.Local()
}

// answer answers one.
func (s *side) answer(offer jsep.Description) jsep.Description {
	s.t.Helper()
	s.setRemote(offer)
	s.apply(s.session.SetLocal(jsep.Description{Type: jsep.Answer}))
	return s.session.Local()
}

// open opens a channel, once there is an association.
func (s *side) open(label string) {
	s.t.Helper()
	if _, err := s.Association().Open(s.clock(), sctp.ChannelConfig{Label: label}); err != nil {
		s.t.Fatal(err)
	}
	s.poll()
}

func (s *side) say(text string) {
	s.t.Helper()
	if err := s.Association().Send(s.clock(), s.stream, true, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
	s.poll()
}

// negotiate exchanges descriptions with no delay.
func (w *world) negotiate() {
	w.t.Helper()
	w.a.setRemote(w.b.answer(w.a.offer()))
}

func (w *world) until(what string, limit time.Duration, done func() bool) {
	w.t.Helper()
	if !w.RunUntil(done, limit) {
		w.t.Fatalf("%s has not come about within %v\na: %v\nb: %v", what, limit, w.a, w.b)
	}
}

func (s *side) String() string {
	text := ""
	for _, e := range s.events {
		text += fmt.Sprintf("\n\t%d %v %v %T%v %v", e.Transport, e.Kind, e.DTLS, e.ICE, e.SCTP.Kind, e.Err)
	}
	return text
}

// connect negotiates, opens a channel and waits until it is open on both sides.
func (w *world) connect() (took time.Duration) {
	w.t.Helper()
	w.negotiate()
	began := w.Now()
	w.a.open("hello")
	w.until("an open channel", 30*time.Second, func() bool { return w.a.openedAt > 0 && w.b.openedAt > 0 })
	return max(w.a.openedAt, w.b.openedAt).Sub(began)
}
