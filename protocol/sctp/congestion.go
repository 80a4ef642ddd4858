package sctp

import "math"

// congestion is the window of RFC 9260 section 7.2, with the initial window of RFC 6928.
type congestion struct {
	window    int   // cwnd
	threshold int   // ssthresh
	partial   int   // partial_bytes_acked
	packet    int   // PMDCS
	recovery  int64 // recovery, from a loss or a timeout, ends when this TSN is acknowledged
	inFast    bool  // fast recovery
	timedOut  bool  // recovery from a timeout
	burst     bool  // one packet may go out regardless of the window
}

const (
	initialPackets = 10
	maxWindow      = 64 << 20 // bytes in flight, whatever the peer offers
)

func (c *congestion) init(packet int) {
	*c = congestion{window: initialPackets * packet, threshold: math.MaxInt, packet: packet}
}

// acknowledged lets the window grow by what a SACK acknowledged for the first time; flying is what was outstanding
// before it.
func (c *congestion) acknowledged(bytes, flying int) {
	if c.inFast || bytes == 0 {
		return
	}
	if c.window <= c.threshold { // section 7.2.1
		if flying+c.packet > c.window {
			c.window += min(bytes, c.packet)
		}
	} else { // section 7.2.2
		full := flying+c.packet > c.window
		c.partial += bytes
		if c.partial >= c.window {
			if full {
				c.partial -= c.window
				c.window += c.packet
			} else {
				c.partial = c.window
			}
		}
	}
	c.window = min(c.window, maxWindow)
}

// lost is the reaction to a loss that SACKs have shown (sections 7.2.3 and 7.2.4); last is the highest TSN sent. While a
// timeout is being recovered from, losses are those of before it, and the window has been cut for them (as RFC 6582
// section 3.2 does for TCP).
func (c *congestion) lost(last int64) (entered bool) {
	if c.inFast || c.timedOut {
		return false
	}
	c.halve()
	c.window = c.threshold
	c.inFast, c.burst, c.recovery = true, true, last
	return true
}

// timeout is the reaction to T3; last is the highest TSN sent.
func (c *congestion) timeout(last int64) {
	if !c.timedOut {
		c.halve()
	}
	c.window = c.packet
	c.inFast, c.burst = false, false
	c.timedOut, c.recovery = true, last
}

// passed ends recovery when everything is acknowledged that was sent before it.
func (c *congestion) passed(acked int64) {
	if acked >= c.recovery {
		c.inFast, c.timedOut, c.burst = false, false, false
	}
}

// rested is the reaction to a pause of one RTO in sending (section 7.2.1).
func (c *congestion) rested() {
	if c.threshold == math.MaxInt {
		c.threshold = c.window
	}
	c.window = min(c.window, max(c.window/2, 4*c.packet))
}

func (c *congestion) halve() {
	c.threshold = max(c.window/2, 4*c.packet)
	c.partial = 0
}
