package gather

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// What ends an attempt, besides the errors of packages turn and stun.
var (
	errAddressLost  = errors.New("the machine lost the address that the server was asked from")
	errStreamClosed = errors.New("the server closed the connection")
	errNoAnswer     = errors.New("the server did not answer in time: is its address right, and does a firewall let it pass?")
	errNoAddress    = errors.New("this machine has no address of a family that the server has")
	errStreamOnly   = errors.New("a stuns server tells nothing of UDP: use stun, or turns")
	errNobody       = errors.New("nobody listens at the server's port: is it right, and does the server run?")
	errTooMany      = errors.New("there are too many relays already")
)

// A server is what is known of a Server.
type server struct {
	Server
	addrs    []netip.Addr // of its host; nil if not known
	resolves bool
	attempts int       // under way
	tried    int       // addresses of each family that were tried in vain, for datagrams
	nextAt   mono.Time // when the next is tried too
	answered bool      // gave a candidate, or an error with a code, in this generation
	why      error
	told     bool      // 701, in this generation
	deadline mono.Time // of what is under way
	retryAt  mono.Time
	retireAt mono.Time // when a server that is not configured any more is let go
	backoff  time.Duration
}

func (s *server) url() string { return s.URI.String() }

// target is the server's host and port.
func (s *server) target() string { return net.JoinHostPort(s.URI.Host, strconv.Itoa(int(s.URI.Port))) }

func (s *server) busy() bool { return s.resolves || s.attempts > 0 }

// datagrams reports whether the server is spoken to from the sockets of bases.
func (s *server) datagrams() bool { return s.URI.Transport == "udp" }

// ask begins to ask a server, unless it has given what it has; one that is being asked already, from the bases that it was not asked from.
func (g *Gatherer) ask(now mono.Time, s *server) {
	if s.busy() {
		for _, b := range g.bases {
			g.askFrom(now, s, b)
		}
		return
	}
	s.answered, s.why, s.retryAt, s.tried = false, nil, mono.Never, 0
	s.deadline, s.nextAt = now.Add(serverPatience), now.Add(nextAddress)
	if s.addrs != nil && (g.hasRelay(s) || g.hasBinding(s)) {
		g.askAll(now, s)
		return
	}
	if ip, err := netip.ParseAddr(s.URI.Host); err == nil {
		s.addrs = []netip.Addr{ip.Unmap()}
		g.askAll(now, s)
		return
	}
	s.resolves, s.addrs = true, nil // another network may have other names
	host, name := g.cfg.Host, s.URI.Host
	g.background(serverPatience, func(ctx context.Context) (func(mono.Time), func()) {
		addrs, err := host.Lookup(ctx, name)
		return func(now mono.Time) {
			s.resolves = false
			if err != nil && g.proxyFor(s.target()) != nil && s.URI.TURN() && !s.datagrams() {
				g.connect(now, s) // behind a proxy names may be the proxy's to resolve
			} else if err != nil || len(addrs) == 0 {
				s.why = fmt.Errorf("the name %s was not resolved: %w", name, err)
			} else {
				s.addrs, s.nextAt = addrs[:min(len(addrs), maxServerAddrs)], now.Add(nextAddress)
				g.askAll(now, s)
			}
			g.settleServer(now, s)
		}, func() {}
	})
}

const (
	// maxServerAddrs is how many addresses of a server's name are used.
	maxServerAddrs = 4
	// nextAddress is how long a server's address has to answer before the next of its family is tried too.
	nextAddress = time.Second
)

// askAll asks a server whose addresses are known.
func (g *Gatherer) askAll(now mono.Time, s *server) {
	s.attempts++ // so that the first attempt that fails is not taken for the last
	if s.datagrams() {
		g.reachInside(s)
		for _, b := range g.bases {
			g.askFrom(now, s, b)
		}
	} else if s.URI.TURN() && !g.hasRelay(s) {
		g.connect(now, s)
	}
	s.attempts--
	g.settleServer(now, s)
}

// askFrom asks a server by datagrams from a base.
func (g *Gatherer) askFrom(now mono.Time, s *server, b *base) {
	if !s.datagrams() || !s.URI.TURN() && g.cfg.Policy == Relay {
		return
	}
	ip, ok := g.addressFor(s, b)
	if !ok {
		return
	}
	remote := netip.AddrPortFrom(ip, s.URI.Port)
	if !s.URI.TURN() || !b.own && !s.URI.Secure() && g.cfg.Policy != Relay { // the relay's socket will have a mapping of its own
		if !slices.ContainsFunc(g.bindings, func(o *binding) bool {
			return o.server == s && o.base == b && (!o.waiting() || o.path.Remote == remote)
		}) {
			s.deadline = now.Add(serverPatience)
			g.bind(now, s, b, remote)
		}
	}
	if s.URI.TURN() {
		if !b.IP.IsLoopback() && g.ranks(b) >= relayBases || slices.ContainsFunc(g.relays, func(r *relay) bool {
			return r != nil && r.server == s && !r.retiring && r.base == b && (r.ready || r.path.Remote == remote)
		}) {
			return
		}
		s.deadline = now.Add(serverPatience)
		g.allocate(now, s, relaySource{base: b, remote: remote})
	}
}

// addressFor returns the address to ask from a base: those of a name are one server, so the first that can be reached will
// do, and the next only if that does not answer.
func (g *Gatherer) addressFor(s *server, b *base) (ip netip.Addr, ok bool) {
	n := 0
	for _, a := range s.addrs {
		if g.reaches(b, a) && n <= s.tried {
			ip, ok = a, true
			n++
		}
	}
	return ip, ok
}

// askNext asks the next address of a server that has not answered.
func (g *Gatherer) askNext(now mono.Time, s *server) {
	s.nextAt = mono.Never
	if s.attempts == 0 || g.serves(s) || !s.datagrams() || s.tried+1 >= len(s.addrs) {
		return
	}
	s.tried++
	s.nextAt = now.Add(nextAddress)
	for _, b := range g.bases {
		g.askFrom(now, s, b)
	}
}

// serves reports whether a server has given something that stands.
func (g *Gatherer) serves(s *server) bool {
	return slices.ContainsFunc(g.relays, func(r *relay) bool { return r != nil && r.server == s && r.ready && !r.retiring }) ||
		slices.ContainsFunc(g.bindings, func(b *binding) bool { return b.server == s && !b.waiting() })
}

// askServers asks every server for what it has not given yet: from all bases, if there are new ones.
func (g *Gatherer) askServers(now mono.Time) {
	for _, s := range g.servers {
		g.ask(now, s)
	}
	if slices.ContainsFunc(g.servers, (*server).busy) {
		g.complete = false
	}
}

// relayBases is from how many addresses of a family relays are asked for: a machine has an address for each of its
// containers and tunnels.
const relayBases = 2

// ranks returns how many bases of its family are preferred to b.
func (g *Gatherer) ranks(b *base) (n int) {
	for _, o := range g.bases {
		if o.IP.Is4() == b.IP.Is4() && o != b && o.preference() <= b.preference() && o.Kind != Virtual {
			n++
		}
	}
	return n
}

// ended takes the end of one of a server's attempts, with an error if it was in vain.
func (g *Gatherer) ended(now mono.Time, s *server, local netip.AddrPort, err error) {
	s.attempts--
	g.failed(s, local, err)
	g.settleServer(now, s)
}

// An attempt is what is under way with a server by datagrams. Complete waits for it, unless it is refused.
type attempt struct {
	refusals int // ICMP messages that say that nobody is there
	last     mono.Time
	refused  bool // Complete does not wait any more
}

// enoughRefusals is after how many requests' ICMP messages the end of an attempt is not waited for, and refusalPause keeps
// apart the messages of one request.
const (
	enoughRefusals = 2
	refusalPause   = 100 * time.Millisecond
)

// HandleICMP takes the report that a server's port is closed. Anybody can forge one, so it ends nothing: the next address is
// tried at once, Complete does not wait for the server any more when a repetition was refused too, and an answer that comes
// nonetheless is welcome.
func (g *Gatherer) HandleICMP(now mono.Time, m *pkt.ICMP) {
	const unreachable4, needsFragmenting, unreachable6 = 3, 4, 1
	if is4 := m.Remote.Addr().Is4(); g.closed || is4 && (m.Type != unreachable4 || m.Code == needsFragmenting) || !is4 && m.Type != unreachable6 {
		return
	}
	for _, b := range g.bindings {
		if b.waiting() && b.path.Socket == m.Socket && b.path.Remote == m.Remote {
			g.refused(now, b.server, &b.attempt, b.base.local)
		}
	}
	for _, r := range g.relays {
		if r != nil && !r.ready && !r.retiring && r.connected && r.path.Socket == m.Socket && r.path.Remote == m.Remote {
			g.refused(now, r.server, &r.attempt, r.path.Local)
		}
	}
	g.settle(now)
}

func (g *Gatherer) refused(now mono.Time, s *server, a *attempt, local netip.AddrPort) {
	if a.refused || a.refusals > 0 && now < a.last.Add(refusalPause) {
		return
	}
	a.refusals++
	a.last = now
	if s.nextAt != mono.Never {
		g.askNext(now, s)
	}
	if a.refusals == enoughRefusals {
		a.refused = true
		g.ended(now, s, local, errNobody)
	}
}

// attempted is ended for an attempt that may have been refused before.
func (g *Gatherer) attempted(now mono.Time, s *server, a *attempt, local netip.AddrPort, err error) {
	if a.refused {
		s.attempts++ // it is counted out already
		g.complete = g.complete && err != nil
	}
	g.ended(now, s, local, err)
}

// failed tells an error of a server's, or keeps it until nothing else is under way.
func (g *Gatherer) failed(s *server, local netip.AddrPort, err error) {
	switch e := (*turn.ClientError)(nil); {
	case err == nil:
		s.answered = true
	case errors.As(err, &e) && e.Code >= 300 && e.Code <= 699:
		s.answered, s.backoff = true, 0 // it is there, and does not want us
		g.serverError(ServerError{URL: s.url(), Local: g.exposed(local), Code: int(e.Code), Text: text(e.Err)})
	default:
		s.why = err
	}
}

func (g *Gatherer) serverError(e ServerError) {
	if len(g.events)-g.told < enoughEvents {
		g.events = append(g.events, e)
	}
}

// text is an error's as an event has it: a sentence for those who see the application, without the package's name.
func text(err error) string { return err.Error() }

// exposed returns a local address if some host candidate tells it anyway ("If the local IP address value is not already
// exposed as part of a local candidate, the address attribute MUST be set to null").
func (g *Gatherer) exposed(local netip.AddrPort) netip.AddrPort {
	for _, c := range g.found {
		if c.Name == "" && c.Address.Addr() == local.Addr().WithZone("") {
			return local
		}
	}
	return netip.AddrPort{}
}

// settleServer ends the asking of a server when nothing is under way any more.
func (g *Gatherer) settleServer(now mono.Time, s *server) {
	if s.busy() || g.closed || s.deadline == mono.Never {
		return
	}
	s.deadline, s.nextAt = mono.Never, mono.Never
	if s.backoff > 0 && s.retryAt == mono.Never && !g.hasRelay(s) {
		s.lost(now)
	}
	if s.answered || s.told || g.serves(s) || g.cfg.Policy == Relay && !s.URI.TURN() {
		return
	}
	if s.why == nil {
		s.why = errNoAddress
		if s.URI.Scheme == "stuns" {
			s.why = errStreamOnly
		}
	}
	// "the value 701 ... once per server URL" (RTCPeerConnectionIceErrorEvent.errorCode)
	s.told = true
	g.serverError(ServerError{URL: s.url(), Code: Unreachable, Text: text(s.why)})
}

// serverTimeout ends what takes too long and asks again a server that was lost.
func (g *Gatherer) serverTimeout(now mono.Time, s *server) {
	if now >= s.nextAt {
		g.askNext(now, s)
	}
	if now >= s.deadline {
		for _, b := range slices.Clone(g.bindings) {
			if b.server == s && b.waiting() {
				g.endBinding(now, b, errNoAnswer)
			}
		}
		for _, r := range g.relays {
			if r != nil && r.server == s && !r.ready {
				g.endRelay(now, r, errNoAnswer)
			}
		}
		if s.busy() {
			s.deadline = now.Add(time.Second) // a goroutine is about to end
		}
		g.settleServer(now, s)
	}
	if now >= s.retryAt {
		s.retryAt = mono.Never
		g.ask(now, s)
		if s.busy() {
			g.complete = false
		}
	}
}

// retryFirst and retryMost are how long a server that was lost rests before it is asked again.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
)

// lost plans to ask a server again that has relayed before.
func (s *server) lost(now mono.Time) {
	s.backoff = min(max(2*s.backoff, retryFirst), retryMost)
	s.retryAt = now.Add(s.backoff)
}

// retire begins the last half minute of a server that is not configured any more.
func (s *server) retire(now mono.Time) {
	s.deadline, s.retryAt, s.nextAt = mono.Never, mono.Never, mono.Never
	s.retireAt = mono.Min(s.retireAt, now.Add(retiredLife))
}

// retiredTimeout gives back what a retired server has, and reports whether it can be forgotten.
func (g *Gatherer) retiredTimeout(now mono.Time, s *server) bool {
	if now < s.retireAt {
		return false
	}
	for _, b := range slices.Clone(g.bindings) {
		if b.server == s {
			g.endBinding(now, b, nil)
		}
	}
	for _, r := range g.relays {
		if r != nil && r.server == s {
			g.retireRelay(now, r)
		}
	}
	return true
}
