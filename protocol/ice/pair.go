package ice

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A pair is a candidate pair on the checklist, and the valid pair that came of it.
type pair struct {
	id            uint32
	gen           *generation
	local, remote *candidate
	mapped        *candidate // what the peer sees of local; nil until it said so
	priority      uint64
	path          pkt.Path
	state         PairState
	connected     bool // not an active TCP pair that waits for its connection
	queued        bool // in Agent.triggered
	valid         bool // a check was answered, and consent has not expired
	expired       bool // consent expired: no checks along it with these credentials (RFC 7675 section 5.1)
	nominating    bool // a check with USE-CANDIDATE is on its way
	nominated     bool // ... and was answered; or, controlled, one has come
	nomination    uint32
	rtt           time.Duration // smoothed
	lastRTT       time.Duration
	consentUntil  mono.Time
	consentAt     mono.Time // the next consent check
	probing       bool      // consent checks are not answered
	probeSince    mono.Time
	suspect       bool // ... for so long that another valid pair is better
	silent        bool // ... for so long that we are disconnected
	counters      PairCounters
}

func (p *pair) fail() {
	p.state, p.valid, p.nominating, p.nominated = PairFailed, false, false, false
}

// sibling reports whether two pairs have one foundation (RFC 8445 section 6.1.2.6).
func (p *pair) sibling(q *pair) bool {
	return p.local.Foundation == q.local.Foundation && p.remote.Foundation == q.remote.Foundation
}

func (p *pair) public() Pair {
	local := p.local
	if p.mapped != nil {
		local = p.mapped
	}
	return Pair{p.id, local.Candidate, p.remote.Candidate, p.path}
}

// pairPriority is the formula of RFC 8445 section 6.1.2.3.
func (a *Agent) pairPriority(l, r *candidate) uint64 {
	g, d := uint64(l.Priority), uint64(r.Priority)
	if a.role == Controlled {
		g, d = d, g
	}
	v := min(g, d)<<32 + 2*max(g, d)
	if g > d {
		v++
	}
	return v
}

// patience is how long an answer may take, "with an allowance for variation in network delay".
func (p *pair) patience() time.Duration { return max(hearTime, 4*p.rtt) }

// suspectAt is when another valid pair is better than this one, whose probe is not answered.
func (p *pair) suspectAt() mono.Time { return p.probeSince.Add(suspectTime + 2*p.rtt) }

// rto is the time to the first repetition of a check.
func (p *pair) rto() time.Duration {
	if p.rtt == 0 {
		return firstRTO
	}
	return min(max(2*p.rtt, leastRTO), mostRTO)
}
