package cc

import (
	"time"
)

// group is packets that were sent in one burst, or arrived in one.
type group struct {
	firstSent, lastSent       time.Duration
	firstArrived, lastArrived time.Duration
	size                      int
	packets                   int
}

const (
	// What is sent within this time is one group: a pacer's quantum (draft-ietf-rmcat-gcc-02 section 5.2).
	burst = 5 * time.Millisecond
	// A burst that a channel held back and let through at once ends after this.
	longestBurst = 100 * time.Millisecond
	// The receiver's clock was set, or feedback is wrong.
	clockJump = 3 * time.Second
	// So many groups in a row that arrived before the one before: the clock was set back.
	mostReordered = 3
)

// grouper compares groups of packets: how much farther apart two arrived than they were sent (draft-ietf-rmcat-gcc-02 section
// 5.2). Its times are counted from anywhere.
type grouper struct {
	current, previous group
	reordered         int
}

// add takes a packet, in the order of arrival. If a group is complete, it returns how far its last packet was sent and arrived
// behind that of the group before.
func (g *grouper) add(sent, arrived time.Duration, size int) (sentApart, arrivedApart time.Duration, ok bool) {
	c := &g.current
	switch {
	case c.packets == 0:
		*c = group{sent, sent, arrived, arrived, 0, 0}
	case sent < c.firstSent:
		return 0, 0, false // of a group that is complete
	case g.begins(sent, arrived):
		if g.previous.packets > 0 {
			sentApart = c.lastSent - g.previous.lastSent
			arrivedApart = c.lastArrived - g.previous.lastArrived
			ok = true
			switch {
			case arrivedApart-sentApart > clockJump:
				*g = grouper{}
				return 0, 0, false
			case arrivedApart < 0:
				if g.reordered++; g.reordered >= mostReordered {
					*g = grouper{}
				}
				return 0, 0, false
			}
			g.reordered = 0
		}
		g.previous = *c
		*c = group{sent, sent, arrived, arrived, 0, 0}
	default:
		c.lastSent = max(c.lastSent, sent)
	}
	c.size += size
	c.packets++
	c.lastArrived = max(c.lastArrived, arrived)
	return sentApart, arrivedApart, ok
}

// begins reports whether a packet begins another group.
func (g *grouper) begins(sent, arrived time.Duration) bool {
	c := &g.current
	apart := arrived - c.lastArrived
	if sinceSent := sent - c.lastSent; sinceSent > 0 && apart-sinceSent < 0 && apart >= 0 && apart <= burst && arrived-c.firstArrived < longestBurst {
		return false // it caught up with the group: they waited together
	}
	return sent-c.firstSent > burst
}
