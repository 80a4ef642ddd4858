package sctp

import (
	"math"
	"time"
)

// hystart ends slow start when the round trip grows, before the queue on the way overflows (HyStart++, RFC 9406).
type hystart struct {
	end      int64         // the round ends when this TSN is acknowledged
	last     time.Duration // the least round trip of the last round
	least    time.Duration // and of this one
	samples  int           // in this round
	baseline time.Duration // the least round trip when conservative slow start (CSS) began; 0: it has not
	rounds   int           // of CSS
}

// The constants of RFC 9406 section 4.3. L is infinite, because sending is paced.
const (
	minRTTThreshold = 4 * time.Millisecond
	maxRTTThreshold = 16 * time.Millisecond
	minRTTDivisor   = 8
	rttSamples      = 8
	cssDivisor      = 4
	cssRounds       = 5
)

func (h *hystart) init() { *h = hystart{end: noTSN, last: math.MaxInt64, least: math.MaxInt64} }

// acknowledged takes a SACK: the TSN up to which all has arrived, the next to be sent, and a round trip, or 0 if the SACK
// gives none. It returns whether slow start is over.
func (h *hystart) acknowledged(acked, next int64, rtt time.Duration) (over bool) {
	if rtt > 0 {
		h.least = min(h.least, rtt)
		h.samples++
	}
	if h.samples >= rttSamples {
		switch {
		case h.baseline > 0:
			if h.least < h.baseline { // that was jitter: slow start goes on
				h.baseline, h.rounds = 0, 0
			}
		case h.last < math.MaxInt64 && h.least < math.MaxInt64 &&
			h.least >= h.last+min(max(h.last/minRTTDivisor, minRTTThreshold), maxRTTThreshold):
			h.baseline, h.rounds = h.least, 0
		}
	}
	if acked < h.end {
		return false
	}
	h.end = next - 1
	h.last, h.least, h.samples = h.least, math.MaxInt64, 0
	if h.baseline > 0 {
		h.rounds++
	}
	return h.rounds >= cssRounds
}

// growth returns by how much the window grows when so many bytes were acknowledged.
func (h *hystart) growth(bytes int) int {
	if h.baseline > 0 {
		return bytes / cssDivisor
	}
	return bytes
}
