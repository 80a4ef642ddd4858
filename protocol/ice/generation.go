package ice

import (
	"encoding/base64"
	"errors"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Credentials are a username fragment and a password (RFC 8445 section 5.3).
type Credentials struct{ Ufrag, Password string }

func (c *Credentials) allowed() bool {
	return len(c.Ufrag) >= 4 && len(c.Ufrag) <= longest && len(c.Password) >= 22 && len(c.Password) <= longest
}

// Remote is what the peer's description says of its agent (RFC 8839).
type Remote struct {
	Credentials
	Lite         bool // a=ice-lite
	Renomination bool // a=ice-options:renomination
}

// Why a peer's parameters are refused.
var (
	// ErrCredentials says that a username fragment has not 4 to 256 characters or a password not 22 to 256
	// (RFC 8839 section 5.4).
	ErrCredentials = errors.New("ice: a ufrag or password has a forbidden length")
	// ErrBothLite says that nobody would send checks: without checks there is no consent (RFC 7675).
	ErrBothLite = errors.New("ice: both agents are lite")
)

const (
	ufragBytes    = 6  // 8 characters; "MUST have at least 24 bits" (RFC 8445 section 5.3)
	passwordBytes = 18 // 24 characters; "at least 128 bits"
	longest       = 256
)

// A generation is what lies between two restarts: credentials of both sides, the peer's candidates and the pairs.
type generation struct {
	local, remote Credentials
	localKey      []byte // the passwords, as the hashes want them
	remoteKey     []byte
	username      string // of our checks
	peer          Remote
	remotes       []*candidate
	pairs         []*pair // highest priority first
	endOfRemote   bool
	concluded     bool      // a pair was nominated
	patientUntil  mono.Time // PAC timer
}

func (a *Agent) newGeneration(own Credentials) *generation {
	if own == (Credentials{}) {
		own.Ufrag = base64.StdEncoding.EncodeToString(a.random(ufragBytes))
		own.Password = base64.StdEncoding.EncodeToString(a.random(passwordBytes))
	}
	return &generation{local: own, localKey: []byte(own.Password), patientUntil: mono.Never}
}

// ready reports whether the peer's credentials are known.
func (g *generation) ready() bool { return g.remoteKey != nil }

// LocalCredentials returns the newest credentials of ours: what the next description says.
func (a *Agent) LocalCredentials() Credentials {
	if a.next != nil {
		return a.next.local
	}
	return a.gen.local
}

// RemoteCredentials returns the peer's credentials that we check with; empty if they are not known.
func (a *Agent) RemoteCredentials() Credentials { return a.gen.remote }

// Restart takes new credentials (RFC 8445 section 9), or makes them if own is zero. Nothing else changes until the peer's new ones come by
// SetRemoteCredentials; until then checks to the new ones are answered and kept, and CancelRestart takes it all back.
// Afterwards the old selected pair carries data until a new one works. Local candidates stay. A second call before that
// changes nothing.
func (a *Agent) Restart(now mono.Time, own Credentials) Credentials {
	if a.next == nil && !a.closed {
		a.next = a.newGeneration(own)
	}
	a.update(now)
	return a.LocalCredentials()
}

// CancelRestart takes back a Restart that the peer has not answered, as rolling back an offer does.
func (a *Agent) CancelRestart(now mono.Time) {
	a.next = nil
	a.early = slices.DeleteFunc(a.early, func(e earlyCheck) bool { return e.gen != a.gen })
	a.update(now)
}

// SetRemoteCredentials takes what the peer's description says. Credentials other than the former ones are a restart by
// the peer: if Restart was not called, it is, and LocalCredentials has what the answer must say. The error is
// ErrCredentials or ErrBothLite.
func (a *Agent) SetRemoteCredentials(now mono.Time, r Remote) error {
	switch {
	case !r.allowed():
		return ErrCredentials
	case r.Lite && a.cfg.Lite:
		return ErrBothLite
	case a.closed:
		return nil
	}
	a.at(now)
	if a.gen.ready() && a.gen.remote == r.Credentials {
		a.gen.peer = r
		a.update(now)
		return nil
	}
	if a.gen.ready() || a.next != nil {
		if a.next == nil {
			a.next = a.newGeneration(Credentials{})
		}
		a.promote()
	}
	g := a.gen
	g.peer, g.remote, g.remoteKey = r, r.Credentials, []byte(r.Password)
	g.username = r.Ufrag + ":" + g.local.Ufrag
	g.patientUntil = now.Add(patience)
	if r.Lite {
		a.setRole(Controlling) // "the full agent MUST take the controlling role" (RFC 8445 section 6.1.1)
		a.toldRole = a.role
	}
	remotes := g.remotes
	g.remotes = nil
	for _, c := range remotes { // those that came before the credentials
		if c.Ufrag == "" || c.Ufrag == r.Ufrag {
			a.learn(g, c.Candidate)
		} else {
			a.dropped.Candidates++
		}
	}
	a.replayEarly()
	a.update(now)
	return nil
}

// promote makes the restarted generation the one that is checked.
func (a *Agent) promote() {
	s := a.selected
	a.drop(a.gen, func(p *pair) bool { return p != s })
	if s != nil && s.gen == a.gen {
		if a.old != nil {
			a.drop(a.old, func(*pair) bool { return true })
		}
		a.old, a.gen.remotes = a.gen, nil
	}
	a.gen, a.next = a.next, nil
	a.lost, a.failed, a.parked, a.search = false, false, false, false
	a.parkAt, a.giveUpAt = mono.Never, mono.Never
	a.paced, a.lastNominated, a.followed = 0, nil, nil
	if a.cfg.RelayOnly {
		a.local = slices.DeleteFunc(a.local, func(c *candidate) bool { return c.Type != Relayed })
	}
}

// learn adds a remote candidate to a generation, and its pairs.
func (a *Agent) learn(g *generation, c Candidate) bool {
	for _, r := range g.remotes {
		if r.Address == c.Address && r.Transport == c.Transport {
			if r.Type == PeerReflexive && c.Type != PeerReflexive {
				// Signaling was slower than the check: what it says counts, the priority too (RFC 8838 section 11).
				r.Type, r.Foundation, r.Priority, r.Related, r.Name = c.Type, c.Foundation, c.Priority, c.Related, c.Name
				a.reorder(g)
			}
			return true
		}
	}
	// What checks have revealed and nothing has come of makes room for what signaling says.
	if !a.roomForRemote(g, func(r *candidate) bool { return r.Type == PeerReflexive }) {
		return false
	}
	c.ID = a.number()
	r := &candidate{Candidate: c}
	g.remotes = append(g.remotes, r)
	if g == a.gen && g.ready() {
		for _, l := range a.local {
			a.pairUp(l, r)
		}
	}
	return true
}

// roomForRemote reports whether there is room for another remote candidate. If need be one is dropped that may be and has no pair that works.
func (a *Agent) roomForRemote(g *generation, mayGo func(*candidate) bool) bool {
	if len(g.remotes) < maxRemotes {
		return true
	}
	i := slices.IndexFunc(g.remotes, func(r *candidate) bool {
		return mayGo(r) && !slices.ContainsFunc(g.pairs, func(p *pair) bool { return p.remote == r && p.valid })
	})
	if i < 0 {
		a.dropped.Candidates++
		return false
	}
	victim := g.remotes[i]
	a.drop(g, func(p *pair) bool { return p.remote == victim })
	g.remotes = slices.Delete(g.remotes, i, i+1)
	return true
}

// pairLocal pairs a local candidate with all of the peer's.
func (a *Agent) pairLocal(l *candidate) {
	if a.gen.ready() {
		for _, r := range a.gen.remotes {
			a.pairUp(l, r)
		}
	}
}

// pairUp adds the pair of two candidates if they match and it is worth a check.
func (a *Agent) pairUp(l, r *candidate) {
	// A passive candidate waits for the peer's connection (RFC 6544 section 6.2); a lite agent waits for checks.
	if a.cfg.Lite || a.failed || l.Transport == TCPPassive || r.Transport == TCPActive || !matches(l, r) || !a.isBase(l) {
		return
	}
	s := a.selected
	if a.parked && s != nil && !s.suspect && a.pairPriority(l, r) <= s.priority {
		return // candidates are kept: should the selected pair fall silent, all are paired again
	}
	a.addPair(l, r, false)
}

// isBase reports whether pairs are made of l: a reflexive candidate is replaced by its base, where that is a candidate too
// (RFC 8445 section 6.1.2.4).
func (a *Agent) isBase(l *candidate) bool {
	if l.Type == Host || l.Type == Relayed {
		return true
	}
	for _, c := range a.local {
		if c == l {
			return true
		}
		if c.Base == l.Base && c.Socket == l.Socket && c.Transport == l.Transport {
			return false
		}
	}
	return false
}

// addPair adds a pair to the checklist, or returns the one that is there. If the list is full, the lowest pair that does
// not work makes room for a better one, and for any that the peer has checked already (must).
func (a *Agent) addPair(l, r *candidate, must bool) *pair {
	g := a.gen
	priority := a.pairPriority(l, r)
	for _, p := range g.pairs {
		if p.local.Transport == l.Transport && p.local.Socket == l.Socket && p.local.Base == l.Base && p.remote == r {
			return p
		}
	}
	if len(g.pairs) >= maxPairs { // RFC 8445 section 6.1.2.5
		victim := -1
		for i, p := range g.pairs {
			if p != a.selected && (!p.valid || must) {
				victim = i
			}
		}
		if victim < 0 || !must && g.pairs[victim].priority >= priority {
			a.dropped.Overflow++
			return nil
		}
		v := g.pairs[victim]
		a.drop(g, func(p *pair) bool { return p == v })
	}
	a.nextPair++
	p := &pair{id: a.nextPair, gen: g, local: l, remote: r, priority: priority, state: PairWaiting, consentAt: mono.Never}
	p.path.Socket, p.path.Local, p.path.Remote = l.Socket, l.Base, r.Address
	p.connected = l.Transport != TCPActive
	for _, q := range g.pairs {
		// RFC 8445 section 6.1.2.6: of each foundation one pair begins
		if p.sibling(q) && (q.state == PairWaiting || q.state == PairInProgress) {
			p.state = PairFrozen
		}
	}
	g.pairs = append(g.pairs, p)
	g.sort()
	return p
}

// reorder computes the priorities of all pairs anew.
func (a *Agent) reorder(g *generation) {
	for _, p := range g.pairs {
		p.priority = a.pairPriority(p.local, p.remote)
	}
	g.sort()
}

func (g *generation) sort() {
	slices.SortFunc(g.pairs, func(p, q *pair) int {
		switch {
		case p.priority != q.priority && p.priority > q.priority:
			return -1
		case p.priority != q.priority:
			return 1
		}
		return int(p.id) - int(q.id)
	})
}

func (g *generation) pair(id uint32) *pair {
	for _, p := range g.pairs {
		if p.id == id {
			return p
		}
	}
	return nil
}

// exhausted reports whether every pair was checked and none works.
func (g *generation) exhausted() bool {
	for _, p := range g.pairs {
		if p.state != PairFailed {
			return false
		}
	}
	return true
}

// busy reports whether something is still being found out.
func (g *generation) busy() bool {
	for _, p := range g.pairs {
		if p.state < PairSucceeded || p.nominating {
			return true
		}
	}
	return false
}

// drop takes pairs out of a generation with all that hangs on them.
func (a *Agent) drop(g *generation, gone func(*pair) bool) {
	out := func(p *pair) bool { return p.gen == g && gone(p) }
	a.triggered = slices.DeleteFunc(a.triggered, out)
	a.checks = slices.DeleteFunc(a.checks, func(c check) bool { return out(c.pair) })
	for _, p := range g.pairs {
		if !gone(p) {
			continue
		}
		if p.local.Transport != UDP && p.connected {
			a.emit(Disconnect{p.path.Socket})
		}
		if p == a.selected {
			a.lose(p)
			a.search = true
		}
		if p == a.lastNominated {
			a.lastNominated = nil
		}
		if p == a.followed {
			a.followed = nil
		}
	}
	g.pairs = slices.DeleteFunc(g.pairs, gone)
}

// lose says that the selected pair is none any more. Where it fell with its socket, the peer may find us anew for as long
// as it would wait for us.
func (a *Agent) lose(p *pair) {
	a.selected, a.lost, a.giveUpAt, a.unheard = nil, true, p.consentUntil, mono.Never
}
