package sctp

import "math"

// The chunks under way are linked in the order in which they were last sent, which is not that of their TSNs once one was
// sent again: what is lost is found at the front (RFC 8985 section 6.2 asks for such a list).

// noTSN is before every TSN.
const noTSN = math.MinInt64

// launch puts a chunk that was just sent at the end of the order.
func (s *sender) launch(tsn int64) {
	c := s.at(tsn)
	c.fate = flying
	s.launched++
	s.outstanding += c.size
	c.before, c.after = s.latest, noTSN
	if s.latest == noTSN {
		s.oldest = tsn
	} else {
		s.at(s.latest).after = tsn
	}
	s.latest = tsn
}

// relaunch puts a chunk that turns out to be under way still at the front.
func (s *sender) relaunch(tsn int64) {
	c := s.at(tsn)
	c.fate = flying
	s.outstanding += c.size
	s.first = min(s.first, tsn)
	c.before, c.after = noTSN, s.oldest
	if s.oldest == noTSN {
		s.latest = tsn
	} else {
		s.at(s.oldest).before = tsn
	}
	s.oldest = tsn
}

// land takes a chunk out of the order, because something became of it.
func (s *sender) land(c *outChunk, became fate) {
	s.outstanding -= c.size
	c.fate = became
	if c.before == noTSN {
		s.oldest = c.after
	} else {
		s.at(c.before).after = c.after
	}
	if c.after == noTSN {
		s.latest = c.before
	} else {
		s.at(c.after).before = c.before
	}
}
