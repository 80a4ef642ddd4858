package stun

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// DefaultRTO is the first retransmission timeout where nothing is known about the path (section 6.2.1).
const DefaultRTO = 500 * time.Millisecond

// rtoStale is how long an estimate stays good without a transaction (section 6.2.1).
const rtoStale = 10 * time.Minute

// An RTOEstimator keeps the retransmission timeout for one server, as RFC 6298 computes it but without rounding up and
// never below 500 ms. The zero value knows nothing and says [DefaultRTO].
type RTOEstimator struct {
	smoothed, variation time.Duration
	last                mono.Time
	known               bool
}

// Observe takes the round-trip time of a transaction whose request was sent once: after a retransmission nobody knows
// which request was answered (Karn's algorithm), and [Done.RTT] is zero, which is ignored.
func (e *RTOEstimator) Observe(now mono.Time, rtt time.Duration) {
	if rtt <= 0 {
		return
	}
	if !e.known || now.Sub(e.last) > rtoStale {
		e.smoothed, e.variation, e.known = rtt, rtt/2, true // RFC 6298 (2.2)
	} else {
		e.variation += ((e.smoothed - rtt).Abs() - e.variation) / 4 // RFC 6298 (2.3)
		e.smoothed += (rtt - e.smoothed) / 8
	}
	e.last = now
}

// RTO returns the timeout to start the next transaction with.
func (e *RTOEstimator) RTO(now mono.Time) time.Duration {
	if !e.known || now.Sub(e.last) > rtoStale {
		return DefaultRTO
	}
	return max(DefaultRTO, e.smoothed+max(4*e.variation, time.Millisecond)).Truncate(time.Millisecond)
}
