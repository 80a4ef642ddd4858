package ice

import (
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// attrNomination is the attribute of draft-thatcher-ice-renomination, as browsers number it.
const attrNomination stun.AttrType = 0xC001

// checkSize bounds a check: header 20, USERNAME 4+516, PRIORITY 8, role 12, USE-CANDIDATE 4, nomination 8, integrity 24,
// fingerprint 8.
const checkSize = 608

// A check is a Binding request that may still be answered (RFC 8445 section 7.2.4).
//
//	0        RTO      3 RTO            7 RTO     ...
//	|---------|---------|----------------|-- ...     7 times, then the pair failed
//
// One that another check replaced is not repeated, but its answer is as good.
type check struct {
	id         stun.TransactionID
	pair       *pair
	role       Role // the role that it claims
	use        bool // USE-CANDIDATE
	nomination uint32
	priority   uint32 // of the peer-reflexive candidate that the peer may learn from it
	pending    bool   // to be written
	replaced   bool
	consent    bool // sent once only (RFC 7675 section 5.1)
	connecting bool // not a check yet: the driver opens a connection
	sent       int
	sentAt     mono.Time // the last time
	nextAt     mono.Time
	interval   time.Duration
}

// start begins the check of a pair that is not known to work.
func (a *Agent) start(p *pair) {
	p.state = PairInProgress
	if p.connected {
		a.send(p, false, false)
		return
	}
	a.retire(p)
	a.checks = append(a.checks, check{pair: p, connecting: true, nextAt: a.now.Add(streamWait)})
	a.emit(Connect{p.id, p.path.Local.Addr(), p.path.Remote})
}

// retire ends the repetition of a pair's checks.
func (a *Agent) retire(p *pair) {
	a.checks = slices.DeleteFunc(a.checks, func(c check) bool { return c.pair == p && (c.connecting || c.pending && c.sent == 1) })
	for i := range a.checks {
		c := &a.checks[i]
		if c.pair == p && !c.consent && !c.replaced {
			c.replaced, c.pending = true, false
			c.nextAt = c.sentAt.Add(max(2*time.Second, 2*c.interval))
		}
	}
}

// send makes a check of p ready to be written.
func (a *Agent) send(p *pair, use, consent bool) {
	if !consent {
		a.retire(p)
	}
	if len(a.checks) >= maxChecks {
		i := slices.IndexFunc(a.checks, func(c check) bool { return c.replaced })
		a.checks = slices.Delete(a.checks, max(i, 0), max(i, 0)+1)
		a.dropped.Overflow++
	}
	c := check{pair: p, role: a.role, use: use, consent: consent, pending: true, sent: 1, sentAt: a.now}
	copy(c.id[:], a.random(len(c.id)))
	c.priority = p.local.priority(a.reflexivePreference(p.local), int(p.local.rank))
	c.interval = p.rto()
	c.nextAt = a.now.Add(c.interval)
	if consent {
		c.nextAt = a.now.Add(p.patience())
	}
	if p.local.Transport != UDP && !consent { // the stream repeats
		c.sent, c.nextAt = tries, a.now.Add(streamWait)
	}
	if use && p.gen.peer.Renomination {
		a.nominated++
		c.nomination = a.nominated
	}
	if consent {
		p.counters.ConsentRequestsSent++
	} else {
		p.counters.RequestsSent++
	}
	a.checks = append(a.checks, c)
}

// reflexivePreference is the type preference of a peer-reflexive candidate with this base (RFC 8445 section 7.1.1).
func (a *Agent) reflexivePreference(c *candidate) uint32 {
	r := Candidate{Type: PeerReflexive, Transport: c.Transport}
	if c.Type == Relayed { // what comes through a relay stays behind what does not
		r.Type, r.RelayProtocol = Relayed, c.RelayProtocol
	}
	return r.typePreference()
}

// repeat looks after the transactions whose time has come.
func (a *Agent) repeat() {
	for i := 0; i < len(a.checks); i++ {
		c := &a.checks[i]
		if c.nextAt > a.now {
			continue
		}
		p := c.pair
		if !c.replaced && !c.consent && !c.connecting && c.sent < tries {
			c.sent++
			c.sentAt = a.now
			c.interval = min(2*c.interval, mostRTO)
			c.nextAt = a.now.Add(c.interval)
			c.pending = true
			continue
		}
		over := *c
		a.checks = slices.Delete(a.checks, i, i+1)
		i--
		switch {
		case over.replaced:
		case over.consent && p.valid:
			a.probe(p)
		case over.consent:
		case p.valid && (p.probing || over.use):
			a.send(p, over.use, false) // until consent expires
			i = -1                     // the list has changed
		default:
			p.fail()
		}
	}
}

// probe asks again and again along a pair whose consent check was not answered, as a check before it worked would. Consent
// checks go on at their own pace beside it. With the selected pair its rivals are asked, so that one that works is known
// when it is needed.
func (a *Agent) probe(p *pair) {
	if p.probing || !p.valid || a.cfg.Lite {
		return
	}
	p.probing, p.probeSince = true, a.now
	a.send(p, false, false)
	if p == a.selected {
		for _, q := range p.gen.pairs {
			if q.valid && !q.probing {
				a.trigger(q)
			}
		}
	}
}

// launch sends the next check, if the pace allows one now (RFC 8445 section 6.1.4.2): a triggered one first, then the
// highest of those waiting, then of those frozen.
func (a *Agent) launch() {
	if a.cfg.Lite || a.failed || a.now < a.paceAt() {
		return
	}
	p := a.nextToCheck()
	if p == nil {
		return
	}
	if p.queued {
		p.queued = false
		a.triggered = slices.DeleteFunc(a.triggered, func(q *pair) bool { return q == p })
	}
	if p.valid {
		a.probe(p)
	} else {
		a.start(p)
	}
	a.pacing()
}

// pacing notes that a check was sent, for which paceAt reserves the time.
func (a *Agent) pacing() {
	a.paced++
	a.pacedAt = a.now
}

// paceAt is before when no check may be sent. The first checks are quick until one has worked: then there is a stream.
func (a *Agent) paceAt() mono.Time {
	if a.paced < firstChecks && a.selected == nil {
		return a.pacedAt.Add(firstPace)
	}
	return a.pacedAt.Add(pace)
}

func (a *Agent) nextToCheck() *pair {
	if !a.gen.ready() || a.cfg.Lite || a.failed {
		return nil
	}
	if len(a.triggered) > 0 {
		return a.triggered[0]
	}
	var frozen *pair
	for _, p := range a.gen.pairs {
		switch {
		case p.state == PairWaiting:
			return p
		case p.state == PairFrozen && frozen == nil:
			// RFC 8445 leaves it frozen while its foundation is in progress. A check lasts for seconds here, and the pace is
			// kept either way.
			frozen = p
		}
	}
	return frozen
}

// HandleTimeout does what is due.
func (a *Agent) HandleTimeout(now mono.Time) {
	if now < a.timeout {
		return
	}
	a.update(now)
}

// AppendTransmit writes answers and checks; more is true if the batch was too small for all of them.
func (a *Agent) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for i := range a.responses {
		if !a.writeResponse(b, &a.responses[i]) {
			a.responses = a.responses[:copy(a.responses, a.responses[i:])]
			return true
		}
	}
	a.responses = a.responses[:0]
	for i := range a.checks {
		if c := &a.checks[i]; c.pending {
			if !a.writeCheck(b, c) {
				return true
			}
			c.pending = false
		}
	}
	return false
}

func (a *Agent) writeCheck(b *pkt.Batch, c *check) bool {
	buf := b.Reserve(checkSize)
	if buf == nil {
		return false
	}
	g := c.pair.gen
	m := stun.NewBuilder(buf, stun.Request, stun.Binding, c.id)
	m.Text(stun.AttrUsername, g.username)
	m.Uint32(stun.AttrPriority, c.priority)
	if c.role == Controlling {
		m.Uint64(stun.AttrICEControlling, a.tieBreaker)
		if c.use {
			m.Flag(stun.AttrUseCandidate)
		}
		if c.nomination != 0 {
			m.Uint32(attrNomination, c.nomination)
		}
	} else {
		m.Uint64(stun.AttrICEControlled, a.tieBreaker)
	}
	m.Integrity(a.hasher, g.remoteKey)
	m.Fingerprint()
	payload, _ := m.Message()
	b.Commit(pkt.Transmit{Path: c.pair.path, Payload: payload})
	return true
}

// handleResponse takes the answer to one of our checks (RFC 8445 section 7.2.5).
func (a *Agent) handleResponse(d *pkt.Datagram, m *stun.Message) {
	id := m.ID()
	i := slices.IndexFunc(a.checks, func(c check) bool { return !c.connecting && c.id == id })
	if i < 0 {
		a.dropped.Stranger++
		return
	}
	c := a.checks[i]
	p := c.pair
	if !a.hasher.Verify(m, p.gen.remoteKey) {
		a.dropped.Integrity++
		return
	}
	a.checks = slices.Delete(a.checks, i, i+1)
	p.counters.ResponsesReceived++
	// "The ICE agent MUST check that the source and destination transport addresses in the Binding request and response are
	// symmetric" (7.2.5.2.1). What comes from elsewhere is nobody's consent.
	if d.Socket != p.path.Socket || d.Remote != p.path.Remote {
		if !c.replaced && !p.valid {
			p.fail()
		}
		return
	}
	if m.Class() == stun.Error {
		a.handleError(&c, m)
		return
	}
	mapped, err := m.XORAddress(stun.AttrXORMappedAddress)
	if err != nil || len(m.AppendUnknown(a.unknownAttr[:0], known)) > 0 {
		if !c.replaced && !p.valid {
			p.fail()
		}
		return
	}
	if p.expired || a.failed { // "responses received after consent expiry do not re-establish consent"
		return
	}
	p.lastRTT = max(a.now.Sub(c.sentAt), time.Microsecond)
	p.counters.TotalRoundTrip += p.lastRTT
	if c.sent == 1 || p.local.Transport != UDP { // else nobody knows which of them was answered
		if p.rtt == 0 {
			p.rtt = p.lastRTT
		}
		p.rtt += (p.lastRTT - p.rtt) / 8
	}
	a.reflexive(p, mapped, c.priority)
	a.works(p)
	if c.use && p.gen == a.gen {
		p.nominating, p.nominated = false, true
		a.retire(p)
	}
}

func known(t stun.AttrType) bool { return stun.Known(t) }

// works says that an answer came along a pair: it is valid, and the peer consents.
func (a *Agent) works(p *pair) {
	p.state, p.valid = PairSucceeded, true
	p.consentUntil = a.now.Add(consentFor)
	if p.consentAt == mono.Never {
		p.consentAt = a.nextConsent()
	}
	p.suspect, p.silent, p.probing = false, false, false
	if !p.nominating { // a nomination under way is repeated until it is answered itself
		a.retire(p)
	}
	if p.queued {
		p.queued = false
		a.triggered = slices.DeleteFunc(a.triggered, func(q *pair) bool { return q == p })
	}
	a.know(p.path)
	for _, q := range p.gen.pairs { // RFC 8445 section 7.2.5.3.3
		if q.state == PairFrozen && q.sibling(p) {
			q.state = PairWaiting
		}
	}
}

// nextConsent is when the next consent check is due: "randomized from between 0.8 and 1.2 times the basic period" (RFC 7675
// section 5.1), at a tick that all agents have in common, so that a program with thousands of them wakes up seldom.
func (a *Agent) nextConsent() mono.Time {
	r := a.random(2)
	const spread = consentEach*4/10 - consentTick
	at := a.now.Add(consentEach*8/10 + spread*time.Duration(uint(r[0])<<8|uint(r[1]))/65535)
	if over := time.Duration(at) % consentTick; over > 0 {
		at = at.Add(consentTick - over)
	}
	return at
}

// reflexive notes what the peer sees of our candidate: another candidate, or a peer-reflexive one that we learn of now
// (RFC 8445 section 7.2.5.3.1).
func (a *Agent) reflexive(p *pair, mapped netip.AddrPort, priority uint32) {
	p.mapped = nil
	if mapped == p.local.Address || p.local.Transport == TCPActive && mapped.Addr() == p.local.Address.Addr() {
		return
	}
	for _, l := range a.local {
		if l.Address == mapped && l.Base == p.local.Base && l.Transport == p.local.Transport {
			p.mapped = l
			return
		}
	}
	if len(a.local)-a.gathered() >= maxLocals { // those that no pair has any more make room
		a.local = slices.DeleteFunc(a.local, func(l *candidate) bool {
			return l.Type == PeerReflexive && !slices.ContainsFunc(p.gen.pairs, func(q *pair) bool { return q.mapped == l || q.local == l })
		})
		if len(a.local)-a.gathered() >= maxLocals {
			return
		}
	}
	l := &candidate{Candidate: p.local.Candidate, rank: p.local.rank}
	l.Type, l.Address, l.Related, l.Priority = PeerReflexive, mapped, p.local.Base, priority
	l.ID, l.Foundation = a.number(), a.foundationOf(&l.Candidate)
	a.local = append(a.local, l)
	p.mapped = l
	a.emit(CandidateFound{l.Candidate})
}

// handleError takes an error response whose integrity holds.
func (a *Agent) handleError(c *check, m *stun.Message) {
	p := c.pair
	code, _, _ := m.ErrorCode()
	if code == stun.CodeRoleConflict && !c.replaced && p.gen == a.gen {
		// "if the ICE agent included an ICE-CONTROLLED attribute in the request, the agent MUST switch to the controlling
		// role", and vice versa; one that has switched already only tries again. "The agent MUST change the tiebreaker value"
		// (7.2.5.1).
		if c.role == a.role && !a.gen.peer.Lite {
			a.setRole(a.role.other())
			a.tieBreaker = a.random64()
		}
		p.nominating = false
		a.lastNominated = nil
		if !p.valid {
			p.state = PairWaiting
			a.trigger(p)
		}
		return
	}
	if !c.replaced && !c.consent && !p.valid {
		p.fail() // RFC 8445 section 7.2.5.2.4
	}
	if c.use {
		p.fail()
	}
}

// trigger puts a pair at the end of those to be checked before all others.
func (a *Agent) trigger(p *pair) {
	if !p.queued && !p.expired && !a.cfg.Lite && !a.failed {
		p.queued = true
		a.triggered = append(a.triggered, p)
	}
}
