package ice

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// Config is what an Agent is made with. Entropy alone is required.
type Config struct {
	// Role is the one that signaling gives: the offerer of a session controls it, unless it is lite and the answerer is
	// not (RFC 8445 section 6.1.1).
	Role Role
	// Lite makes an agent that answers checks and never sends one, for hosts with public addresses (RFC 8445 appendix A).
	// The peer must be full.
	Lite bool
	// RelayOnly refuses local candidates that are not relayed (the W3C's iceTransportPolicy). See Agent.SetRelayOnly.
	RelayOnly bool
	// Credentials are our first ones, where the descriptions are made elsewhere; zero: made from Entropy.
	Credentials Credentials
	// Accept, if set, is asked about each candidate that is added: false drops it. It must depend on its arguments alone.
	Accept func(local bool, c *Candidate) bool
	// Entropy is a cryptographic source; required. It is read a few bytes at a time: for credentials, the tie-breaker,
	// transaction identifiers and the spread of consent checks.
	Entropy io.Reader
	// Hasher is scratch space that agents of one goroutine may share; nil: the agent makes its own.
	Hasher *stun.Hasher
}

// ErrEntropy says that Config.Entropy is missing.
var ErrEntropy = errors.New("ice: Entropy is missing: give it crypto/rand.Reader")

// Validate says what is wrong with a Config.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return ErrEntropy
	case c.Credentials != Credentials{} && !c.Credentials.allowed():
		return ErrCredentials
	}
	return nil
}

// Bounds on what a peer, or whoever speaks for it, can make an agent hold.
const (
	maxRemotes   = 64  // remote candidates of a generation, peer-reflexive ones included
	maxLocals    = 64  // local candidates, and as many peer-reflexive ones
	maxPairs     = 100 // pairs of a generation
	maxKnown     = 128 // paths that DTLS may be read from
	maxEarly     = 32  // checks kept until the peer's credentials come
	maxResponses = 64  // answers that wait to be written
	maxChecks    = 256 // transactions that still may be answered
	maxQueued    = 256 // events CandidateFound, Connect, Disconnect, PathKnown, PathForgotten and Searching that nobody took
)

// An Agent is one side of ICE for one component. It is an engine (docs/architecture.md): it is told the time, handed the
// STUN messages that arrive, and asked what to send. It is not for concurrent use.
type Agent struct {
	cfg        Config
	tieBreaker uint64
	hasher     *stun.Hasher
	local      []*candidate

	role       Role
	told       State
	toldRole   Role
	endOfLocal bool
	spare      bool // see SetSpare
	parked     bool // every pair but the selected one was let go
	search     bool // all that can be paired is to be checked anew
	lost       bool // a pair was selected, and none works any more
	failed     bool
	closed     bool
	toldPair   uint32

	gen  *generation // whose pairs are checked
	next *generation // restarted by us, and the peer has not answered yet
	old  *generation // before gen: its selected pair flows until gen has one; the peer's checks of it are answered

	triggered     []*pair // to be checked before others, first in first out (RFC 8445 section 6.1.4.1)
	checks        []check
	pacedAt       mono.Time // of the last check
	paced         int       // checks of this generation so far
	responses     []response
	early         []earlyCheck
	known         []knownPath // one or two, but for a peer with many addresses
	nextPair      uint32
	nextCandidate uint32
	foundations   int // so far
	lastNominated *pair
	followed      *pair  // lite: along which the peer's data came last
	nominated     uint32 // last nomination value sent (renomination)
	changes       uint32 // of the selected pair
	parkAt        mono.Time
	unheard       mono.Time // since when data went along the selected pair and none came; Never: there is none

	selected    *pair
	now         mono.Time // the latest that we were told
	timeout     mono.Time // cached
	giveUpAt    mono.Time // when lost: the time to fail at
	queue       []Event
	dropped     Dropped
	scratch     [24]byte
	unknownAttr [8]stun.AttrType
}

// Dropped counts what an agent threw away.
type Dropped struct {
	Malformed  uint64 // not STUN, no fingerprint, no username, not a Binding
	Stranger   uint64 // a username that is not ours, a socket that is not ours, a response to nothing
	Integrity  uint64 // message integrity that does not hold
	Candidates uint64 // candidates that were refused or too many
	Overflow   uint64 // responses, early checks, pairs and paths beyond their bounds
}

// knownPath is where a datagram came from; the local address of a wildcard socket does not matter.
type knownPath struct {
	socket pkt.Socket
	remote netip.AddrPort
}

// of reports whether it is a pair's.
func (k knownPath) of(p *pair) bool { return k == knownPath{p.path.Socket, p.path.Remote} }

// New returns an agent with credentials of its own and no candidates.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, role: cfg.Role, toldRole: cfg.Role, hasher: cfg.Hasher, timeout: mono.Never, pacedAt: mono.Time(-pace), parkAt: mono.Never, giveUpAt: mono.Never, unheard: mono.Never}
	if cfg.Lite {
		a.role, a.toldRole = Controlled, Controlled
	}
	if a.hasher == nil {
		a.hasher = stun.NewHasher()
	}
	a.tieBreaker = a.random64()
	a.gen = a.newGeneration(cfg.Credentials)
	return a, nil
}

// random returns n bytes of entropy, at most 24, valid until the next call. A source that fails leaves zeroes, which
// nobody can be talked to with: the credentials of both sides would have to fail likewise.
func (a *Agent) random(n int) []byte {
	b := a.scratch[:n]
	if _, err := io.ReadFull(a.cfg.Entropy, b); err != nil {
		clear(b)
	}
	return b
}

func (a *Agent) random64() uint64 {
	var v uint64
	for _, o := range a.random(8) {
		v = v<<8 | uint64(o)
	}
	return v
}

// Role returns the role that we have now.
func (a *Agent) Role() Role { return a.role }

// SetSpare says whether the agent is there in case the peer does not bundle (RFC 9143), with the credentials of another one: then it keeps
// checks, whoever they are for, and answers none.
func (a *Agent) SetSpare(spare bool) { a.spare = spare }

// SetRole sets the role that signaling gives. It has an effect until the peer's credentials are known, and again after
// Restart: in between the roles are a matter between the two agents (RFC 8445 section 6.1.1).
func (a *Agent) SetRole(now mono.Time, r Role) {
	if a.cfg.Lite || a.closed || a.gen.ready() && a.next == nil {
		return
	}
	a.setRole(r)
	a.toldRole = r
	a.update(now)
}

// setRole changes the role and with it the priorities of all pairs (RFC 8445 section 7.3.1.1).
func (a *Agent) setRole(r Role) {
	if a.role == r {
		return
	}
	a.role = r
	for _, p := range a.gen.pairs {
		if r == Controlled {
			p.nominating = false
		} else {
			p.nomination = 0
		}
	}
	a.reorder(a.gen)
}

// SetRelayOnly changes what Config.RelayOnly said. It has an effect on candidates that are added from now on, and on
// those there are at the next restart.
func (a *Agent) SetRelayOnly(relayOnly bool) { a.cfg.RelayOnly = relayOnly }

// AddLocalCandidate adds an address at which we can be reached and returns it as it is to be signalled, with foundation
// and priority. It is paired and checked at once, at any time in an agent's life. ok is false if it is refused by
// RelayOnly or Accept, redundant to another one, malformed, or the 65th. One that is there already changes nothing.
func (a *Agent) AddLocalCandidate(now mono.Time, c Candidate) (added Candidate, ok bool) {
	if a.closed {
		return c, false
	}
	c.Address = unmap(c.Address)
	if !c.Base.IsValid() {
		c.Base = c.Address
		if c.Type == ServerReflexive || c.Type == PeerReflexive {
			c.Base = c.Related
		}
	}
	c.Base = unmap(c.Base)
	switch {
	case !c.Address.IsValid() || !c.Base.IsValid() || c.Address.Addr().Is4() != c.Base.Addr().Is4(),
		c.Address.Addr().IsUnspecified() || c.Address.Addr().IsMulticast(),
		a.cfg.Lite && c.Type != Host, // RFC 8445 section 5.2
		a.gathered() >= maxLocals,
		!a.accepts(&c):
		a.dropped.Candidates++
		return c, false
	}
	c.ID, c.Ufrag = 0, ""
	l := &candidate{Candidate: c, rank: int16(a.rankOf(c.Base.Addr()))}
	for _, m := range a.local { // "redundant if and only if its transport address and base equal those of another" (5.1.3)
		if m.Address == c.Address && m.Base == c.Base && m.Transport == c.Transport && m.Socket == c.Socket && m.Name == c.Name {
			return m.Candidate, m.Type == c.Type // the same, to be signalled again after a restart
		}
	}
	if l.Foundation == "" {
		l.Foundation = a.foundationOf(&l.Candidate)
	}
	if l.Priority == 0 {
		l.Priority = l.priority(l.typePreference(), int(l.rank))
		for slices.ContainsFunc(a.local, func(m *candidate) bool { return m.Priority == l.Priority }) {
			l.Priority -= 1 << 8 // "Each candidate for a data stream MUST have a unique priority" (RFC 8445 section 5.1.2)
		}
	}
	l.ID = a.number()
	a.local = append(a.local, l)
	a.at(now)
	a.pairLocal(l)
	a.replayEarly()
	a.update(now)
	return l.Candidate, true
}

// gathered counts the local candidates that were added, and not revealed by checks.
func (a *Agent) gathered() (n int) {
	for _, c := range a.local {
		if c.Type != PeerReflexive {
			n++
		}
	}
	return n
}

// number returns the number of a new candidate.
func (a *Agent) number() uint32 {
	a.nextCandidate++
	return a.nextCandidate
}

func unmap(p netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()) }

func (a *Agent) accepts(c *Candidate) bool {
	return (!a.cfg.RelayOnly || c.Type == Relayed) && (a.cfg.Accept == nil || a.cfg.Accept(true, c))
}

// rankOf numbers the addresses of this machine so that IPv6 and IPv4 take turns and neither starves the other (RFC 8421
// section 4): the first IPv6 address 0, the first IPv4 address 1, the second IPv6 address 2.
func (a *Agent) rankOf(ip netip.Addr) int {
	n := 0
	for i, c := range a.local {
		base := c.Base.Addr()
		if base == ip {
			return int(c.rank)
		}
		if base.Is4() == ip.Is4() && !slices.ContainsFunc(a.local[:i], func(o *candidate) bool { return o.Base.Addr() == base }) {
			n++
		}
	}
	if ip.Is4() {
		return 2*n + 1
	}
	return 2 * n
}

// foundationOf returns the foundation of what has the same origin, or the next one.
func (a *Agent) foundationOf(c *Candidate) string {
	for _, l := range a.local {
		if l.origin() == c.origin() {
			return l.Foundation
		}
	}
	a.foundations++
	return strconv.Itoa(a.foundations)
}

// RemoveLocal says that a socket is gone, with its interface or by itself: the candidates whose base it is go, and so do
// the pairs along it. If the selected pair is among them, another valid one takes its place at once, or else all that
// can be paired is checked anew.
func (a *Agent) RemoveLocal(now mono.Time, socket pkt.Socket) {
	a.remove(now, func(c *candidate) bool { return c.Transport != TCPActive && c.Socket == socket },
		func(p *pair) bool { return p.connected && p.path.Socket == socket })
}

// RemoveAddress says that the machine lost an address: like RemoveLocal for every socket that has it, and for active TCP
// candidates, which have none.
func (a *Agent) RemoveAddress(now mono.Time, ip netip.Addr) {
	a.remove(now, func(c *candidate) bool { return c.Base.Addr() == ip },
		func(p *pair) bool { return p.path.Local.Addr() == ip })
}

func (a *Agent) remove(now mono.Time, gone func(*candidate) bool, along func(*pair) bool) {
	if a.closed {
		return
	}
	a.at(now)
	kept := a.local[:0]
	for _, c := range a.local {
		if !gone(c) {
			kept = append(kept, c)
		}
	}
	clear(a.local[len(kept):])
	a.local = kept
	dead := func(p *pair) bool { return gone(p.local) || along(p) }
	for _, g := range []*generation{a.gen, a.old} {
		if g != nil {
			a.drop(g, dead)
		}
	}
	a.update(now)
}

// EndOfLocalCandidates says that gathering is done. It may be called again, and candidates may be added after it.
func (a *Agent) EndOfLocalCandidates(now mono.Time) {
	a.endOfLocal = true
	a.update(now)
}

// AddRemoteCandidate adds an address of the peer, which is checked from each of ours that fits. One that comes before the
// peer's credentials waits for them. ok is false if it is refused: by Accept, as an address that nobody may be made to
// send to, as the 65th of its generation, or as another generation's.
func (a *Agent) AddRemoteCandidate(now mono.Time, c Candidate) (ok bool) {
	if a.closed {
		return false
	}
	g := a.gen
	if a.next != nil && c.Ufrag != "" && c.Ufrag != g.remote.Ufrag {
		g = a.next // trickled ahead of the description that answers our restart
	}
	c.Address = unmap(c.Address)
	switch {
	case g.ready() && c.Ufrag != "" && c.Ufrag != g.remote.Ufrag,
		c.Transport != TCPActive && !usableRemote(c.Address, c.Transport),
		a.cfg.Accept != nil && !a.cfg.Accept(false, &c):
		a.dropped.Candidates++
		return false
	}
	a.at(now)
	ok = a.learn(g, c)
	a.update(now)
	return ok
}

// EndOfRemoteCandidates says that the peer has no more candidates (RFC 8838 section 14).
func (a *Agent) EndOfRemoteCandidates(now mono.Time) {
	a.gen.endOfRemote = true
	a.update(now)
}

// Connected answers the event Connect: the connection is open, and socket carries frames between these addresses. Late
// answers are answered with a Disconnect.
func (a *Agent) Connected(now mono.Time, number uint32, socket pkt.Socket, local netip.AddrPort) {
	a.at(now)
	p := a.gen.pair(number)
	if a.closed || p == nil || p.state != PairInProgress || p.connected {
		a.emit(Disconnect{socket})
		return
	}
	p.path.Socket, p.path.Local, p.connected = socket, unmap(local), true
	a.start(p)
	a.update(now)
}

// ConnectFailed answers the event Connect: nobody listens there.
func (a *Agent) ConnectFailed(now mono.Time, number uint32) {
	a.at(now)
	if p := a.gen.pair(number); p != nil && !p.connected && p.state == PairInProgress {
		p.fail()
	}
	a.update(now)
}

// Close ends the agent: one event StateChanged, and then silence. A second call does nothing.
func (a *Agent) Close(now mono.Time) {
	if a.closed {
		return
	}
	for _, g := range []*generation{a.gen, a.old} {
		if g != nil {
			a.drop(g, func(*pair) bool { return true })
		}
	}
	a.closed = true
	a.unheard = mono.Never
	a.selected, a.old, a.next = nil, nil, nil
	a.gen.pairs, a.gen.remotes = nil, nil
	a.local, a.checks, a.responses, a.early, a.triggered, a.known = nil, nil, nil, nil, nil, nil
	a.update(now)
}

// Selected returns the pair that data is to be sent along. ok is false if there is none, or no consent for it (RFC 7675).
func (a *Agent) Selected() (p Pair, ok bool) {
	if a.selected == nil {
		return Pair{}, false
	}
	return a.selected.public(), true
}

// Path returns the path of the selected pair: what each datagram needs. ok is false as with Selected.
func (a *Agent) Path() (path pkt.Path, ok bool) {
	if a.selected == nil {
		return pkt.Path{}, false
	}
	return a.selected.path, true
}

// Sent says that data was sent along [Agent.Path]. Where data goes and nothing comes back ([Agent.Heard]) for half a
// second, or four round trips, the peer is asked whether the path still works: a connection in use leaves a dead path long
// before consent ends. It costs next to nothing, and may be called for each datagram.
// A lite agent sends no checks: it follows to where the peer's data come from.
func (a *Agent) Sent(now mono.Time) {
	if a.unheard == mono.Never && a.selected != nil && !a.cfg.Lite {
		a.unheard = now
		a.timeout = mono.Min(a.timeout, now.Add(a.selected.patience()))
	}
}

// Heard says that data of the peer's came along a path. See [Agent.Sent].
func (a *Agent) Heard(path pkt.Path) {
	k := knownPath{path.Socket, path.Remote}
	if a.selected != nil && k.of(a.selected) {
		a.unheard = mono.Never
		return
	}
	if a.cfg.Lite { // it sends no checks, by which it could tell
		if i := slices.IndexFunc(a.gen.pairs, func(p *pair) bool { return p.valid && k.of(p) }); i >= 0 {
			a.followed = a.gen.pairs[i]
			a.update(a.now)
		}
	}
}

// Knows reports whether a check whose integrity holds has come or was answered along a path, so that DTLS and SRTP may be
// read from it. What else arrives is not the peer's.
func (a *Agent) Knows(path pkt.Path) bool {
	k := knownPath{path.Socket, path.Remote}
	return a.selected != nil && k.of(a.selected) || slices.Contains(a.known, k)
}

// Current reports whether the selected path was found with the credentials in force, and is not left from before a restart.
func (a *Agent) Current() bool { return a.selected != nil && a.selected.gen == a.gen }

// Former reports whether a path is left from before a restart: nothing was checked along it with the credentials in force.
func (a *Agent) Former(path pkt.Path) bool {
	return !slices.ContainsFunc(a.gen.pairs, func(p *pair) bool { return p.path.Socket == path.Socket && p.path.Remote == path.Remote })
}

// HasConsent reports whether the peer agrees to receive along a path: then no other agent on the same socket may claim the
// address. A driver that shares a socket drops a foreign check from such an address.
func (a *Agent) HasConsent(now mono.Time, path pkt.Path) bool {
	for _, g := range []*generation{a.gen, a.old} {
		if g == nil {
			continue
		}
		for _, p := range g.pairs {
			if p.valid && now < p.consentUntil && p.path.Socket == path.Socket && p.path.Remote == path.Remote {
				return true
			}
		}
	}
	return false
}

// State returns the state that the next event will have told.
func (a *Agent) State() State {
	switch {
	case a.closed:
		return StateClosed
	case a.failed:
		return StateFailed
	case a.selected != nil && a.selected.silent && !a.lost:
		return StateDisconnected
	case a.selected != nil:
		if a.endOfLocal && a.gen.endOfRemote && a.selected.gen == a.gen && !a.gen.busy() {
			return StateCompleted
		}
		return StateConnected
	case a.lost:
		return StateDisconnected
	case !a.gen.ready() || len(a.gen.remotes) == 0 && !a.gen.endOfRemote:
		return StateNew
	case a.gen.exhausted() && a.now >= a.gen.patientUntil:
		return StateDisconnected // finished with what there is, and more may come
	}
	return StateChecking
}

// at takes the time.
func (a *Agent) at(now mono.Time) { a.now = max(a.now, now) }

// emit queues an event that cannot be told from the state alone.
func (a *Agent) emit(e Event) {
	if len(a.queue) >= maxQueued {
		a.dropped.Overflow++
		return
	}
	a.queue = append(a.queue, e)
}

// NextEvent returns the next event. Role, selected pair and state are told as they are when it is called, so however
// many changes nobody asked about take no room.
func (a *Agent) NextEvent() (Event, bool) {
	if len(a.queue) > 0 {
		e := a.queue[0]
		a.queue[0] = nil
		if a.queue = a.queue[1:]; len(a.queue) == 0 {
			a.queue = nil
		}
		return e, true
	}
	if a.told == StateClosed {
		return nil, false
	}
	if a.role != a.toldRole {
		a.toldRole = a.role
		return RoleChanged{a.role}, true
	}
	var id uint32
	if a.selected != nil {
		id = a.selected.id
	}
	if id != a.toldPair {
		a.toldPair = id
		a.changes++
		p, _ := a.Selected()
		return SelectedPairChanged{p}, true
	}
	if s := a.State(); s != a.told {
		a.told = s
		return StateChanged{s}, true
	}
	return nil, false
}

// NextTimeout returns when HandleTimeout is due.
func (a *Agent) NextTimeout() mono.Time { return a.timeout }

// How long things may take.
const (
	pace        = 20 * time.Millisecond // Ta, RFC 8445 section 14.2
	firstPace   = 5 * time.Millisecond  // Ta of the first checks, as long as there is no stream to disturb
	firstChecks = 5
	firstRTO    = 250 * time.Millisecond // to the first repetition where nothing was measured
	leastRTO    = 50 * time.Millisecond
	mostRTO     = 4 * time.Second
	tries       = 7                        // Rc, RFC 8489 section 6.2.1
	streamWait  = 15 * time.Second         // for a connection, and for the answer to a check along it
	patience    = 39500 * time.Millisecond // the PAC timer, RFC 8863 section 4
	settling    = 5 * time.Second          // after the first nomination: better pairs may still be nominated
	consentFor  = 30 * time.Second         // RFC 7675 section 5.1
	consentEach = 5 * time.Second          // between consent checks, spread from 0.8 to 1.2 of it
	consentTick = 100 * time.Millisecond
	hearTime    = 500 * time.Millisecond // no answer to a consent check, or to data, for so long: probe
	suspectTime = time.Second            // a probe not answered for so long: another valid pair takes over
	silentTime  = 4 * time.Second        // a probe not answered for so long: disconnected
	leftTime    = 8 * time.Second        // lite: a pair not checked for so long, while another is, is left
)
