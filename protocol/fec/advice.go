package fec

import (
	"math"
	"time"
)

// A Path is what is known of the way to a receiver.
type Path struct {
	Loss float64 // share of packets lost, 0 to 1, averaged over the last seconds
	RTT  time.Duration
	// Burst is how many packets are lost in a row on average, 1 or more; 0: not known.
	Burst float64
}

const (
	// A lost packet that is asked for comes a round trip later. As long as that is within what receivers hold anyway, repair costs
	// more than it gives.
	fastRTT = 80 * time.Millisecond
	slowRTT = 200 * time.Millisecond // from here on, retransmission is too late for a conversation
	// Less loss than this is left to retransmission.
	minLoss = 0.005
	maxRate = 0.5
	// Losses in a row from here on are bursts.
	bursty = 1.8
)

// Advise says how much protection video is worth on a path. Where retransmission is fast enough it is none; with slower paths it
// grows to what leaves about an eighth of random losses, and a third of those in bursts.
func Advise(p Path) Protection {
	if p.Loss < minLoss || p.RTT <= fastRTT {
		return Protection{}
	}
	// Blocks are short, so that what some lose is far from the average: the less there is to lose, the more of it.
	full := min(1.25*math.Sqrt(p.Loss), maxRate)
	share := min(float64(p.RTT-fastRTT)/float64(slowRTT-fastRTT), 1)
	return Protection{Rate: full * share, Bursts: p.Burst >= bursty}
}

const (
	maxLevels = 3
	// audibleLoss is what concealment hides.
	audibleLoss = 0.005
)

// AdviseRED says how many earlier frames each packet of audio should carry too (RFC 2198), 0 to 3: so many that all copies of a frame
// are lost less often than is heard, and that a burst does not take them all. Audio has no time for retransmission on any path but
// the shortest, and costs little.
func AdviseRED(p Path) (levels int) {
	if p.Loss <= audibleLoss {
		return 0
	}
	for left := p.Loss; left > audibleLoss && levels < maxLevels; left *= p.Loss {
		levels++
	}
	return min(max(levels, int(p.Burst+0.5)), maxLevels)
}
