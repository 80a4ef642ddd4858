package sctp

import (
	"math"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// congestion is the window of RFC 9260 section 7.2 with the initial window of RFC 6928, the slow start of HyStart++ and,
// in place of halving and of a packet for each round trip, the reaction to loss and the growth of CUBIC (RFC 9438), which
// fills long fat paths and is never slower than the other. Windows are in bytes.
//
// What gap blocks report no longer counts as outstanding, so each of the first two reports of a gap lets a new packet out:
// limited transmit (RFC 3042) comes by itself.
type congestion struct {
	growth
	slow     hystart
	packet   int    // PMDCS
	recovery int64  // recovery, from a loss or a timeout, ends when this TSN is acknowledged
	limited  int64  // chunks up to this TSN were sent while the window, and nothing else, held others back
	inFast   bool   // fast recovery
	timedOut bool   // recovery from a timeout
	burst    bool   // one packet may go out regardless of the window
	taken    int    // bytes that were acknowledged since fast recovery began
	released int    // and sent
	saved    growth // as it was before the last reduction
	doubt    doubt
}

// growth is what a loss changes, and what is put back when it was none.
type growth struct {
	window    int // cwnd
	threshold int // ssthresh

	// CUBIC: since epoch the window grows along a cubic that is flat at peak.
	epoch mono.Time // 0: none has begun
	peak  float64   // W_max
	k     float64   // seconds from the epoch to the peak
	reno  float64   // W_est: the window that a sender without CUBIC would have
	prior float64   // the window before the last loss
	grown float64   // parts of a byte by which the window is to grow
}

const (
	initialPackets = 10
	maxWindow      = 64 << 20 // bytes in flight, whatever the peer offers

	cubicC    = 0.4 // in packets
	cubicBeta = 0.7
)

func (c *congestion) init(packet int) {
	*c = congestion{growth: growth{window: initialPackets * packet, threshold: math.MaxInt}, packet: packet, limited: noTSN}
	c.slow.init()
}

// acknowledged lets the window grow by what a SACK acknowledged for the first time. It does not grow unless it is full,
// because then nothing was learnt.
func (c *congestion) acknowledged(now mono.Time, rtt time.Duration, bytes int, full bool) {
	if c.inFast {
		c.taken += bytes
	}
	if c.inFast || bytes == 0 {
		return
	}
	switch {
	case !full:
		c.epoch = 0 // time in which nothing could be learnt does not count (RFC 9438 section 5.8)
	case c.window > c.threshold:
		c.avoid(now, rtt, float64(bytes))
	case c.timedOut: // what is acknowledged then may have been sent long ago (RFC 3465 section 2.3)
		c.window += min(bytes, c.packet)
	default: // RFC 9260 section 7.2.1
		c.window += c.slow.growth(bytes)
	}
	c.window = min(c.window, maxWindow)
}

// measured takes what a SACK says about the round trip.
func (c *congestion) measured(acked, next int64, rtt time.Duration) {
	if c.window < c.threshold && !c.inFast && c.slow.acknowledged(acked, next, rtt) {
		c.threshold = c.window
	}
}

// avoid is congestion avoidance (RFC 9438 sections 4.2 to 4.5).
func (c *congestion) avoid(now mono.Time, rtt time.Duration, bytes float64) {
	window, packet := float64(c.window), float64(c.packet)
	if c.epoch == 0 {
		c.epoch, c.reno = now, window
		if c.peak < window {
			c.peak = window
		}
		c.k = math.Cbrt((c.peak - window) / packet / cubicC)
	}
	since := now.Sub(c.epoch).Seconds()
	cubic := func(t float64) float64 { t -= c.k; return cubicC*t*t*t*packet + c.peak }
	alpha := 3 * (1 - cubicBeta) / (1 + cubicBeta)
	if c.reno >= c.prior {
		alpha = 1
	}
	c.reno += alpha * packet * bytes / window
	if cubic(since) < c.reno { // the Reno-friendly region
		c.window = max(c.window, int(c.reno))
		return
	}
	target := min(max(cubic(since+rtt.Seconds()), window), 1.5*window)
	c.grown += (target - window) * bytes / window
	whole := int(c.grown)
	c.grown -= float64(whole)
	c.window += whole
}

// lost is the reaction to a loss that SACKs have shown (RFC 9260 section 7.2.4); last is the highest TSN sent. While a
// timeout is being recovered from, losses are those of before it, and the window has been cut for them (as RFC 6582
// section 3.2 does for TCP).
func (c *congestion) lost(last int64) (entered bool) {
	if c.inFast || c.timedOut {
		return false
	}
	c.cut()
	c.window = c.threshold
	c.inFast, c.burst, c.recovery = true, true, last
	c.taken, c.released = 0, 0
	return true
}

// replaces reports whether more may be sent in fast recovery although more is under way than the window says: for what
// arrives so much goes out as brings one to the other within a round trip (proportional rate reduction, RFC 6937). What was
// lost is repaired at once then, and also where gap blocks cannot tell of all that has arrived.
func (c *congestion) replaces() bool {
	return c.inFast && float64(c.released) < cubicBeta*float64(c.taken)
}

// timeout is the reaction to T3 (RFC 9260 section 6.3.3); last is the highest TSN sent.
func (c *congestion) timeout(last int64) {
	if !c.timedOut {
		c.cut()
	}
	c.window = c.packet
	c.inFast, c.burst = false, false
	c.timedOut, c.recovery = true, last
}

// cut sets the threshold after a loss (RFC 9438 sections 4.6 and 4.7).
func (c *congestion) cut() {
	c.saved = c.growth
	window := float64(c.window)
	c.prior = window
	if window < c.peak { // fast convergence: others want their share
		c.peak = window * (1 + cubicBeta) / 2
	} else {
		c.peak = window
	}
	c.threshold = max(int(math.Round(window*cubicBeta)), 4*c.packet)
	c.epoch, c.grown = 0, 0
}

// undo puts back what a loss changed that was none (RFC 9438 section 4.9, RFC 4015).
func (c *congestion) undo() {
	window := max(c.window, c.saved.window)
	c.growth = c.saved
	c.window = window
	c.epoch = 0
	c.inFast, c.timedOut, c.burst = false, false, false
	c.saved = growth{}
}

// passed ends recovery when everything is acknowledged that was sent before it.
func (c *congestion) passed(acked int64) {
	if acked >= c.recovery {
		c.inFast, c.timedOut, c.burst = false, false, false
	}
}

// rested is the reaction to a pause of one RTO in sending (RFC 9260 section 7.2.1).
func (c *congestion) rested() {
	if c.threshold == math.MaxInt {
		c.threshold = c.window
	}
	c.window = min(c.window, max(c.window/2, 4*c.packet))
	c.epoch = 0
}
