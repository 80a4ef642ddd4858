package ice

import "time"

// A PairState is how far the check of a candidate pair has come.
type PairState uint8

// The states of RFC 8445 section 6.1.2.6; those that are still to be found out come first.
const (
	PairFrozen PairState = iota
	PairWaiting
	PairInProgress
	PairSucceeded
	PairFailed
)

// String returns the name in RTCStatsIceCandidatePairState.
func (s PairState) String() string {
	return [...]string{"frozen", "waiting", "in-progress", "succeeded", "failed"}[s]
}

// PairStats are what an agent knows of a candidate pair, for RTCIceCandidatePairStats.
type PairStats struct {
	Pair
	State PairState
	// Nominated says that the pair is, or was before a better one, nominated (RFC 8445 section 8.1.1).
	Nominated bool
	// Priority is that of RFC 8445 section 6.1.2.3.
	Priority uint64
	// RoundTrip is the latest that was measured; 0: none.
	RoundTrip time.Duration
	PairCounters
}

// PairCounters count the messages of a pair since it was made.
type PairCounters struct {
	RequestsSent        uint32 // checks, without repetitions and those for consent
	ConsentRequestsSent uint32
	ResponsesReceived   uint32 // to both
	RequestsReceived    uint32 // checks of any kind, repetitions included
	ResponsesSent       uint32
	// TotalRoundTrip is the sum over the responses.
	TotalRoundTrip time.Duration
}

// Pairs returns the pairs that are checked, those of the best priority first, and after a restart the former selected
// pair.
func (a *Agent) Pairs() []PairStats {
	var stats []PairStats
	for _, g := range [...]*generation{a.gen, a.old} {
		if g == nil {
			continue
		}
		for _, p := range g.pairs {
			stats = append(stats, PairStats{p.public(), p.state, p.nominated, p.priority, p.lastRTT, p.counters})
		}
	}
	return stats
}

// RoundTrip returns the smoothed round-trip time of the selected pair; 0 if there is none, or no measurement.
func (a *Agent) RoundTrip() time.Duration {
	if a.selected == nil {
		return 0
	}
	return a.selected.rtt
}

// LocalCandidates returns our candidates, those that checks revealed included.
func (a *Agent) LocalCandidates() []Candidate { return public(a.local) }

// RemoteCandidates returns the peer's candidates since the last restart, those that its checks revealed included.
func (a *Agent) RemoteCandidates() []Candidate { return public(a.gen.remotes) }

func public(candidates []*candidate) []Candidate {
	all := make([]Candidate, len(candidates))
	for i, c := range candidates {
		all[i] = c.Candidate
	}
	return all
}

// SelectedPairChanges counts the events SelectedPairChanged that NextEvent returned.
func (a *Agent) SelectedPairChanges() uint32 { return a.changes }

// Dropped returns what the agent threw away.
func (a *Agent) Dropped() Dropped { return a.dropped }
