package ice

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// A response waits to be written.
type response struct {
	path    pkt.Path
	id      stun.TransactionID
	gen     *generation // whose password signs it; nil: it is not signed
	code    stun.Code   // 0: success
	sha256  bool        // the request had MESSAGE-INTEGRITY-SHA256
	unknown [4]stun.AttrType
}

// responseSize bounds a response: header 20, mapped address 24 or error 8 and unknown 12, integrity 36, fingerprint 8.
const responseSize = 108

// An earlyCheck came before the description that says whose it is.
type earlyCheck struct {
	gen        *generation
	ufrag      string // the peer's
	path       pkt.Path
	priority   uint32
	nomination uint32 // 0: no USE-CANDIDATE
}

// HandleDatagram takes a STUN message: a check of the peer's, or an answer to one of ours. What is not is dropped and
// counted. A request whose integrity does not hold gets an error of 36 bytes, hardly more than the shortest request, and no
// more comes of it.
func (a *Agent) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if a.closed {
		return
	}
	a.at(now)
	m, err := stun.Parse(d.Payload)
	// "The FINGERPRINT mechanism MUST be used" (RFC 8445 section 7.1)
	if err != nil || m.Method() != stun.Binding || m.Class() != stun.Indication && !m.HasFingerprint() {
		a.dropped.Malformed++
		return
	}
	switch m.Class() {
	case stun.Request:
		a.handleRequest(d, &m)
	case stun.Success, stun.Error:
		a.handleResponse(d, &m)
	}
	a.update(now)
}

// owner returns the generation that a username is for, and the peer's part of it.
func (a *Agent) owner(username []byte) (g *generation, ufrag []byte) {
	i := bytes.IndexByte(username, ':')
	if i < 0 {
		return nil, nil
	}
	for _, g := range [...]*generation{a.gen, a.next, a.old} {
		if g != nil && string(username[:i]) == g.local.Ufrag {
			return g, username[i+1:]
		}
	}
	return nil, nil
}

// Claim tells what a request names of this agent: 2 both username fragments, 1 ours alone, 0 neither. Agents that share a socket, and
// perhaps our fragment, are told apart by it; it makes no statement about the request's integrity. What is no request of STUN is not ok.
func (a *Agent) Claim(d *pkt.Datagram) (claim int, ok bool) {
	m, err := stun.Parse(d.Payload)
	if err != nil || m.Class() != stun.Request {
		return 0, false
	}
	username, _ := m.Get(stun.AttrUsername)
	switch g, ufrag := a.owner(username); {
	case g == nil:
		return 0, true
	case string(ufrag) != g.remote.Ufrag:
		return 1, true
	}
	return 2, true
}

// handleRequest answers a check (RFC 8445 section 7.3).
func (a *Agent) handleRequest(d *pkt.Datagram, m *stun.Message) {
	l := a.localOf(&d.Path)
	if l == nil {
		a.dropped.Stranger++
		return
	}
	sha1, sha256 := m.HasIntegrity()
	username, named := m.Get(stun.AttrUsername)
	g, ufrag := a.owner(username)
	r := response{path: d.Path, id: m.ID(), sha256: sha256}
	switch { // RFC 8489 section 9.1.3
	case !named || !sha1 && !sha256:
		a.dropped.Malformed++
		r.code = stun.CodeBadRequest
	case g == nil || len(ufrag) > longest:
		a.dropped.Stranger++
		r.code = stun.CodeUnauthenticated
	case !a.hasher.Verify(m, g.localKey):
		a.dropped.Integrity++
		r.code = stun.CodeUnauthenticated
	}
	if r.code != 0 {
		if !a.spare {
			a.respond(&r)
		}
		return
	}
	r.gen = g
	priority, hasPriority := m.Uint32(stun.AttrPriority)
	if unknown := m.AppendUnknown(r.unknown[:0], known); len(unknown) > 0 {
		r.code = stun.CodeUnknownAttribute
	} else if !hasPriority || priority == 0 { // "MUST include the PRIORITY attribute" (7.1.1)
		r.code = stun.CodeBadRequest
	} else if !a.settleRoles(m) {
		r.code = stun.CodeRoleConflict
	}
	nomination := a.nominationOf(m)
	switch {
	case r.code != 0:
	case a.spare:
		a.keep(earlyCheck{g, string(ufrag), d.Path, priority, nomination})
		return
	case !g.ready():
		a.know(d.Path)
		a.keep(earlyCheck{g, string(ufrag), d.Path, priority, nomination})
	case string(ufrag) != g.remote.Ufrag:
		// Another fork of the offer, or another generation of the peer's: answered, and no more.
	case g == a.gen:
		a.know(d.Path)
		a.heed(l, &d.Path, priority, nomination)
	default: // the old generation: its selected pair alone counts, and needs nothing
		a.know(d.Path)
	}
	a.respond(&r)
}

// nominationOf returns the rank of a nomination: 0 is none, 1 USE-CANDIDATE alone.
func (a *Agent) nominationOf(m *stun.Message) uint32 {
	if v, ok := m.Uint32(attrNomination); ok && v > 0 {
		return v
	}
	if m.Has(stun.AttrUseCandidate) {
		return 1
	}
	return 0
}

// settleRoles detects a role conflict (RFC 8445 section 7.3.1.1) and reports whether the request may be answered with a
// success.
func (a *Agent) settleRoles(m *stun.Message) bool {
	attr := stun.AttrICEControlling
	if a.role == Controlled {
		attr = stun.AttrICEControlled
	}
	theirs, conflict := m.Uint64(attr)
	if !conflict {
		return true
	}
	if a.cfg.Lite {
		return true // a lite agent is controlled by whoever checks
	}
	if (a.tieBreaker >= theirs) == (a.role == Controlling) {
		return false // ours is the larger: the peer switches, told by 487
	}
	a.setRole(a.role.other())
	a.lastNominated = nil
	return true
}

// localOf returns the local candidate that a datagram came to: by its socket, or as a connection that a passive TCP
// candidate accepted, which has its address.
func (a *Agent) localOf(path *pkt.Path) (found *candidate) {
	for _, c := range a.local {
		switch {
		case c.Transport == UDP && c.Socket == path.Socket && (c.Base == path.Local || found == nil && c.Base.Addr().Is4() == path.Remote.Addr().Is4()):
			if c.Base == path.Local && (c.Type == Host || c.Type == Relayed) {
				return c
			}
			if found == nil {
				found = c
			}
		case c.Transport == TCPPassive && c.Base == path.Local:
			return c
		}
	}
	if found != nil {
		return found
	}
	for _, p := range a.gen.pairs { // a connection that we opened
		if p.local.Transport == TCPActive && p.connected && p.path.Socket == path.Socket {
			return p.local
		}
	}
	if s := a.selected; s != nil && s.path.Socket == path.Socket {
		return s.local
	}
	return nil
}

// keep holds a check until the description comes.
func (a *Agent) keep(e earlyCheck) {
	for i := range a.early {
		if k := &a.early[i]; k.path == e.path && k.gen == e.gen && k.ufrag == e.ufrag {
			k.nomination = max(k.nomination, e.nomination)
			return
		}
	}
	if len(a.early) >= maxEarly {
		a.dropped.Overflow++
		return
	}
	a.early = append(a.early, e)
}

// replayEarly does what the checks that were kept ask for.
func (a *Agent) replayEarly() {
	if !a.gen.ready() || len(a.early) == 0 {
		return
	}
	kept := a.early
	a.early = nil
	for _, e := range kept {
		if e.gen == a.gen && e.ufrag != a.gen.remote.Ufrag { // another fork of the offer: nothing is read from there
			a.known = slices.DeleteFunc(a.known, func(k knownPath) bool { return k == knownPath{e.path.Socket, e.path.Remote} })
		}
	}
	for _, e := range kept {
		switch l := a.localOf(&e.path); {
		case e.gen == a.next:
			a.early = append(a.early, e)
		case e.gen == a.gen && e.ufrag == a.gen.remote.Ufrag && l != nil:
			a.know(e.path)
			a.heed(l, &e.path, e.priority, e.nomination)
		}
	}
}

// heed does what a check of the peer's asks for: learn its address (7.3.1.3), check it in return (7.3.1.4) and, controlled,
// follow its nomination (7.3.1.5).
func (a *Agent) heed(l *candidate, path *pkt.Path, priority, nomination uint32) {
	g := a.gen
	p := a.pairOf(l, path)
	if p == nil {
		r := a.remoteOf(l, path, priority)
		if r == nil {
			return
		}
		if p = a.addPair(l, r, true); p == nil {
			return
		}
		p.path, p.connected = *path, true // of a wildcard socket, or a connection that was accepted
		if s := a.selected; s != nil && s.gen == g && a.parked {
			a.probe(s) // the peer looks for another path: is ours alive?
		}
	}
	p.counters.RequestsReceived++
	if a.role == Controlled && nomination > p.nomination {
		p.nomination, p.nominated = nomination, true
	}
	if a.cfg.Lite { // RFC 8445 section 7.3.2
		// Once there was a nomination, what is checked without one is the nominated pair of a peer whose NAT gave it another address.
		if (p.nominated || a.selected != nil && a.selected.gen == g) && !a.failed { // failed is the end until a restart, as for a full agent
			p.state, p.valid = PairSucceeded, true
			p.consentUntil = a.now.Add(consentFor)
		}
		return
	}
	switch {
	case p.valid && !p.suspect, p.queued, p.expired:
	case p.valid:
		a.probe(p)
	default:
		p.state = PairWaiting
		a.trigger(p)
	}
}

// pairOf returns the pair along a path.
func (a *Agent) pairOf(l *candidate, path *pkt.Path) *pair {
	for _, p := range a.gen.pairs {
		if p.path.Remote == path.Remote && p.path.Socket == path.Socket && p.connected && p.path.Local.Addr() == path.Local.Addr() {
			return p
		}
	}
	for _, p := range a.gen.pairs { // a driver that does not say the local address
		if p.path.Remote == path.Remote && p.path.Socket == path.Socket && p.connected && p.local == l {
			return p
		}
	}
	return nil
}

// remoteOf returns the remote candidate with a path's address; a new one is peer-reflexive (RFC 8445 section 7.3.1.3).
func (a *Agent) remoteOf(l *candidate, path *pkt.Path, priority uint32) *candidate {
	g := a.gen
	transport := UDP
	switch l.Transport {
	case TCPPassive:
		transport = TCPActive
	case TCPActive:
		transport = TCPPassive
	}
	for _, r := range g.remotes {
		if r.Address == path.Remote && r.Transport == transport {
			return r
		}
	}
	// The peer's own checks are worth more than what signaling said and nothing came of.
	if !a.roomForRemote(g, func(*candidate) bool { return true }) {
		return nil
	}
	if path.Remote.Addr().IsUnspecified() || path.Remote.Addr().IsMulticast() || path.Remote.Addr() == broadcast || path.Remote.Port() == 0 {
		a.dropped.Candidates++
		return nil
	}
	c := Candidate{Type: PeerReflexive, Transport: transport, Address: path.Remote, Priority: priority}
	// "The foundation is an arbitrary value, different from the foundations of all other remote candidates" (7.3.1.3)
	c.ID = a.number()
	c.Foundation = "p" + strconv.Itoa(int(c.ID))
	if a.cfg.Accept != nil && !a.cfg.Accept(false, &c) {
		a.dropped.Candidates++
		return nil
	}
	r := &candidate{Candidate: c}
	g.remotes = append(g.remotes, r)
	return r
}

// know enters a path. The oldest that has no pair any more makes room for it.
func (a *Agent) know(path pkt.Path) {
	if a.Knows(path) {
		return
	}
	if len(a.known) >= maxKnown {
		i := slices.IndexFunc(a.known, func(k knownPath) bool {
			return !slices.ContainsFunc(a.gen.pairs, k.of) && (a.old == nil || !slices.ContainsFunc(a.old.pairs, k.of))
		})
		if i < 0 {
			a.dropped.Overflow++
			return
		}
		gone := a.known[i]
		a.known = slices.Delete(a.known, i, i+1)
		a.emit(PathForgotten{pkt.Path{Socket: gone.socket, Remote: gone.remote}})
	}
	a.known = append(a.known, knownPath{path.Socket, path.Remote})
	a.emit(PathKnown{path})
}

func (a *Agent) respond(r *response) {
	if len(a.responses) >= maxResponses {
		a.dropped.Overflow++
		return
	}
	a.responses = append(a.responses, *r)
	if p := a.pairOf(nil, &r.path); p != nil {
		p.counters.ResponsesSent++
	}
}

// writeResponse answers from where the request went to where it came from (RFC 8445 section 7.3.1).
func (a *Agent) writeResponse(b *pkt.Batch, r *response) bool {
	buf := b.Reserve(responseSize)
	if buf == nil {
		return false
	}
	class := stun.Success
	if r.code != 0 {
		class = stun.Error
	}
	m := stun.NewBuilder(buf, class, stun.Binding, r.id)
	if r.code == 0 {
		m.XORAddress(stun.AttrXORMappedAddress, r.path.Remote)
	} else {
		m.Error(r.code, "")
	}
	if r.code == stun.CodeUnknownAttribute {
		n := 0
		for n < len(r.unknown) && r.unknown[n] != 0 {
			n++
		}
		m.Unknown(r.unknown[:n])
	}
	switch {
	case r.gen == nil:
	case r.sha256:
		m.IntegritySHA256(a.hasher, r.gen.localKey)
	default:
		m.Integrity(a.hasher, r.gen.localKey)
	}
	m.Fingerprint()
	payload, _ := m.Message()
	b.Commit(pkt.Transmit{Path: r.path, Payload: payload})
	return true
}
