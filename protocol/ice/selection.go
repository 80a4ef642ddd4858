package ice

import (
	"github.com/parley-rtc/parley/protocol/mono"
)

// update is the end of every call: timers, the choice of a pair, the next check, the next deadline.
func (a *Agent) update(now mono.Time) {
	a.at(now)
	if !a.closed {
		a.repeat()
		a.judge()
		a.elect()
		a.watch()
		a.again()
		a.park()
		a.launch()
		a.giveUp()
	}
	a.timeout = a.deadline()
}

// judge doubts pairs whose probes are not answered, and ends the validity of those whose consent ran out (RFC 7675 section
// 5.1).
func (a *Agent) judge() {
	for _, g := range [...]*generation{a.gen, a.old} {
		if g == nil {
			continue
		}
		for _, p := range g.pairs {
			if !p.valid {
				continue
			}
			if p.probing && !p.suspect && a.now >= p.suspectAt() {
				p.suspect = true
				a.search = a.search || p == a.selected
			}
			p.silent = p.silent || p.probing && a.now >= p.probeSince.Add(silentTime)
			if a.now < p.consentUntil {
				continue
			}
			p.fail()
			p.expired = !a.cfg.Lite
			a.retire(p)
			if p == a.selected {
				a.lose(p)
			}
		}
	}
}

// elect chooses the pair to send along: the controlling side by priority, nominating what it chose at once; the
// controlled side the highest nominated. Before anything is nominated, what works is used (RFC 8445 section 12.1).
func (a *Agent) elect() {
	var best *pair
	for _, p := range a.gen.pairs {
		if p.valid && (best == nil || a.better(p, best)) {
			best = p
		}
	}
	if s := a.selected; s != nil && s.gen != a.gen && s.valid && !s.suspect {
		// The old generation's pair stays until the new one's is chosen.
		if best == nil || a.role == Controlled && !best.nominated {
			return
		}
	}
	if best == nil {
		if s := a.selected; s != nil && !s.valid {
			a.lose(s)
			a.search = true
		}
		return
	}
	if a.selected != best {
		a.selected, a.lost, a.giveUpAt, a.unheard = best, false, mono.Never, mono.Never
	}
	if a.old != nil && len(a.old.pairs) > 0 && (a.role == Controlling || best.nominated) {
		// Its credentials stay good for answers: a peer that waits for our description may send along its old pair yet.
		a.drop(a.old, func(*pair) bool { return true })
	}
	switch {
	case a.cfg.Lite:
	case a.role == Controlling && best != a.lastNominated && !best.silent:
		a.lastNominated, best.nominating = best, true
		a.send(best, true, false)
		a.pacing()
	}
	a.gen.concluded = a.gen.concluded || best.nominated
	if best.nominated && !best.suspect && a.parkAt == mono.Never && !a.parked {
		a.parkAt = a.now.Add(settling)
	}
}

// better reports whether p is to be preferred to q; both are valid.
func (a *Agent) better(p, q *pair) bool {
	switch {
	case a.doubt(p) != a.doubt(q):
		return a.doubt(p) < a.doubt(q)
	case a.cfg.Lite && (p.leftFor(q) || q.leftFor(p)):
		return q.leftFor(p)
	case a.cfg.Lite && (p == a.followed || q == a.followed):
		return p == a.followed
	case a.role == Controlled && p.nomination != q.nomination:
		return p.nomination > q.nomination
	}
	return p.priority > q.priority
}

// leftFor reports whether the peer checks q, and p no more: it checks what it sends along at least each 6 s.
func (p *pair) leftFor(q *pair) bool { return q.consentUntil >= p.consentUntil.Add(leftTime) }

// doubt ranks what speaks against sending along a valid pair. A probe under way speaks against all but the selected one.
func (a *Agent) doubt(p *pair) int {
	switch {
	case p.suspect:
		return 2
	case p.probing && p != a.selected:
		return 1
	}
	return 0
}

// watch keeps consent on the selected pair fresh, and asks when data gets no answer.
func (a *Agent) watch() {
	s := a.selected
	if s == nil || a.cfg.Lite {
		return
	}
	if a.now >= s.consentAt {
		s.consentAt = a.nextConsent()
		a.send(s, false, true)
	}
	if a.unheard != mono.Never && a.now >= a.unheard.Add(s.patience()) {
		a.unheard = mono.Never
		a.probe(s)
	}
}

// again, where the selected pair is lost or suspect, pairs all candidates anew and checks what does not work.
func (a *Agent) again() {
	if !a.search || a.failed || !a.gen.ready() {
		return
	}
	a.search, a.parked, a.parkAt = false, false, mono.Never
	a.emit(Searching{})
	for _, l := range a.local {
		a.pairLocal(l)
	}
	for _, p := range a.gen.pairs {
		if p.state == PairFailed && !p.expired && p.local.Transport != TCPPassive {
			p.state = PairWaiting
		}
	}
}

// park lets go of all pairs but the selected one, some time after it was nominated: an idle connection is small.
func (a *Agent) park() {
	if a.now < a.parkAt || a.selected == nil || a.selected.gen != a.gen {
		return
	}
	s := a.selected
	a.parked, a.parkAt = true, mono.Never
	a.drop(a.gen, func(p *pair) bool { return p != s && (!p.valid || p.priority <= s.priority) })
}

// giveUp fails when nothing works or will: never before the PAC timer (RFC 8863 section 4), and never while candidates may
// still come on either side (RFC 8838 section 8).
func (a *Agent) giveUp() {
	if a.mayFail() && a.now >= a.failAt() {
		a.failed = true
	}
}

func (a *Agent) mayFail() bool {
	// "if pairs have been nominated ..., ICE processing MAY still conclude even if end-of-candidates indications have not been received" (RFC 8838
	// section 13): many a peer's application never passes them on, and who has lost its peer would wait for ever.
	end := a.gen.endOfRemote || a.lost && a.gen.concluded
	return !a.failed && a.selected == nil && a.gen.ready() && a.endOfLocal && end && a.gen.exhausted()
}

func (a *Agent) failAt() mono.Time {
	switch {
	case a.lost:
		return a.giveUpAt
	case len(a.local) == 0:
		return a.now // "either zero local candidates were gathered or the PAC timer has expired" (W3C, RTCIceTransportState)
	}
	return a.gen.patientUntil
}

// deadline returns when update has something to do next.
func (a *Agent) deadline() mono.Time {
	at := mono.Never
	if a.closed {
		return at
	}
	for i := range a.checks {
		at = mono.Min(at, a.checks[i].nextAt)
	}
	if a.nextToCheck() != nil {
		at = mono.Min(at, a.paceAt())
	}
	if s := a.selected; s != nil {
		at = mono.Min(at, s.consentUntil)
		if !a.cfg.Lite {
			at = mono.Min(at, s.consentAt)
		}
		if s.probing && !s.suspect {
			at = mono.Min(at, s.suspectAt())
		}
		if s.probing && !s.silent {
			at = mono.Min(at, s.probeSince.Add(silentTime))
		}
		if a.unheard != mono.Never {
			at = mono.Min(at, a.unheard.Add(s.patience()))
		}
		at = mono.Min(at, a.parkAt)
	} else if a.gen.ready() && !a.failed {
		if a.mayFail() {
			at = mono.Min(at, a.failAt())
		}
		if !a.lost && a.now < a.gen.patientUntil {
			at = mono.Min(at, a.gen.patientUntil)
		}
	}
	return at
}
