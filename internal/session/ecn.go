package session

import (
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A Marking is what the IP header of a packet says of it.
type Marking struct {
	DSCP pkt.DSCP
	ECN  pkt.ECN
}

// ECN (RFC 6679): packets of RTP leave as ECN-capable, ECT(0), where both descriptions say so and feedback by streams (RFC 8888) tells how
// they come. Congestion control answers a mark as it answers a queue. ECT(1) is for those whose answer is in proportion to the marks (RFC
// 9331), which ours is not.
const (
	ecnProbes   = 8  // one of so many packets is a probe until ECN is found to work
	ecnEnough   = 10 // of them that came as they left
	ecnFew      = 3  // that did not: "multiple (>3) ECT-marked RTP packets" (RFC 6679 section 7.2.1)
	ecnWindow   = 50 // packets that are judged together from then on
	ecnAllCE    = 200
	ecnPatience = 500 * time.Millisecond // without feedback, beyond three round trips
	ecnRetry    = 30 * time.Second       // after which it is tried again where it did not work, and twice as long after that
	ecnMost     = 30 * time.Minute
)

type ecnState uint8

const (
	ecnInitiation ecnState = iota // some packets probe
	ecnOn
	ecnOff // until retry
)

// ecn is what is known of ECN on the path.
type ecn struct {
	state ecnState
	base  cc.ECN    // counts when it began to be judged
	heard mono.Time // when feedback last came
	since mono.Time // when probes, or all, began to leave
	turn  uint8     // packets since the last probe
	retry mono.Time
	wait  time.Duration
}

// mark returns the ECN field of a packet that leaves.
func (s *Session) mark(now mono.Time, e *encoding, kind cc.Kind) pkt.ECN {
	x := &s.ecn
	if !e.section.ECN || !e.section.out.congestion {
		return pkt.NotECT
	}
	switch x.state {
	case ecnOff:
		if now < x.retry {
			return pkt.NotECT
		}
		x.begin(now, ecnInitiation, s.congestion.Stats().ECN)
	case ecnOn:
		// "loss of all packets with ECT": then there is no feedback at all.
		if now.Sub(max(x.heard, x.since)) > ecnPatience+3*s.RTT() {
			x.fail(now)
			return pkt.NotECT
		}
		return pkt.ECT0
	}
	// "in a way that minimises the impact on media quality if those packets are lost" (RFC 6679 section 7.2.1)
	if x.turn++; x.turn < ecnProbes || e.frames.key || kind == cc.Retransmission || kind == cc.FEC {
		return pkt.NotECT
	}
	x.turn = 0
	return pkt.ECT0
}

// begin begins to judge anew.
func (x *ecn) begin(now mono.Time, state ecnState, counts cc.ECN) {
	x.state, x.base, x.since = state, counts, now
}

// fail gives it up for a while.
func (x *ecn) fail(now mono.Time) {
	x.wait = min(max(2*x.wait, ecnRetry), ecnMost)
	x.state, x.retry = ecnOff, now.Add(x.wait)
}

// judge takes in what feedback has told (RFC 6679 sections 7.2.1 and 7.4).
func (x *ecn) judge(now mono.Time, counts cc.ECN) {
	x.heard = now
	arrived, ce := counts.Arrived-x.base.Arrived, counts.CE-x.base.CE
	bleached, missing := counts.Bleached-x.base.Bleached, counts.Missing-x.base.Missing
	switch x.state {
	case ecnInitiation:
		switch {
		case bleached > 0, missing > ecnFew && missing > arrived, ce >= ecnEnough && ce == arrived:
			x.fail(now)
		case arrived >= ecnEnough:
			x.begin(now, ecnOn, counts)
		}
	case ecnOn:
		switch {
		case bleached > ecnFew, missing >= ecnWindow/2 && missing > arrived, ce >= ecnAllCE && ce == arrived:
			x.fail(now)
		case arrived >= ecnAllCE && ce < arrived, arrived+missing >= ecnWindow && ce == 0:
			x.begin(now, ecnOn, counts)
			x.wait = 0
		}
	}
}
