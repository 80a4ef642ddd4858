package cc

// Priority is W3C's RTCPriorityType. Of what there is to share, a stream of one gets twice as much as one of that below (RFC 8831
// section 6.4 and RFC 8835 section 4.1).
type Priority uint8

// Priorities. The zero value is W3C's default.
const (
	Low Priority = iota
	Medium
	High
	VeryLow
)

func (p Priority) weight() float64 {
	switch p {
	case VeryLow:
		return 1
	case Medium:
		return 4
	case High:
		return 8
	}
	return 2
}

// Layer is one encoding of a stream.
type Layer struct {
	Min, Max Rate // what it can be sent at
	Rate     Rate // what it gets; 0: it is not sent
}

// Stream takes part in an allocation.
type Stream struct {
	Priority Priority
	Pausable bool    // it may get nothing where its Min does not fit; else it gets that in any case
	Layers   []Layer // of a simulcast set from low to high; or one
	Rate     Rate    // what it gets, all layers together
}

// What begins, or begins again, must fit with this much to spare, so that it does not stop at once.
const spare = 1.15

const off Rate = -1

// Allocate shares a rate among streams, in place: the lowest layer's Min to each that is not off, and beyond that by the weights of
// their priorities, up to what each can use. Within a stream the layers are filled from low to high; one that does not get its Min is
// off. The rates of the last call are looked at: what was on stays on until it no longer fits. Streams that may be paused are, those
// of a lower priority before others, and of one priority the last in order first.
//
// It returns what all could use together, and up to what the wire should be kept filled so that the next layer can be switched on:
// both for SetWanted. It does not allocate memory.
func Allocate(total Rate, streams []Stream) (wanted, padding Rate) {
	left := total
	for i := range streams {
		s := &streams[i]
		wanted += s.most()
		s.Rate = off
		if len(s.Layers) > 0 && !s.Pausable {
			s.Rate = s.Layers[0].Min
			left -= s.Rate
		}
	}
	for _, p := range [...]Priority{High, Medium, Low, VeryLow} {
		for i := range streams {
			if s := &streams[i]; s.Priority == p && s.Pausable && len(s.Layers) > 0 && s.needs(0) <= left {
				s.Rate = s.Layers[0].Min
				left -= s.Rate
			}
		}
	}
	if left > 0 {
		share(total, streams)
	}
	var used, next Rate
	for i := range streams {
		s := &streams[i]
		if more := s.fill(); more > 0 && (next == 0 || more < next) {
			next = more
		}
		used += s.Rate
	}
	if next > 0 {
		padding = used + next
	}
	return wanted, padding
}

// share raises a level, of which each stream gets its weight's multiple, within its bounds, until all is given.
func share(total Rate, streams []Stream) {
	given := func(level float64) (sum float64) {
		for i := range streams {
			if s := &streams[i]; s.Rate != off {
				sum += s.at(level)
			}
		}
		return sum
	}
	low, high := 0.0, float64(total)
	for high-low > 0.1 { // bits a second
		if mid := (low + high) / 2; given(mid) > float64(total) {
			high = mid
		} else {
			low = mid
		}
	}
	for i := range streams {
		if s := &streams[i]; s.Rate != off {
			s.Rate = Rate(s.at(low))
		}
	}
}

// at is what a stream that is on gets at a level.
func (s *Stream) at(level float64) float64 {
	return max(min(level*s.Priority.weight(), float64(s.most())), float64(s.Layers[0].Min))
}

func (s *Stream) most() (sum Rate) {
	for _, l := range s.Layers {
		sum += max(l.Min, l.Max)
	}
	return sum
}

// needs is what a layer must be given to be on.
func (s *Stream) needs(layer int) Rate {
	l := &s.Layers[layer]
	if l.Rate == 0 {
		return l.Min.times(spare)
	}
	return l.Min
}

// fill gives the layers what the stream has got, and returns what is lacking for the next one to be switched on; 0 if there is none.
func (s *Stream) fill() (lacking Rate) {
	left := s.Rate
	s.Rate = 0
	var below Rate // what the layers so far can use
	for i := range s.Layers {
		l := &s.Layers[i]
		most := max(l.Min, l.Max)
		if most == 0 { // not active
			l.Rate = 0
			continue
		}
		needs := s.needs(i)
		if i == 0 && left != off {
			needs = l.Min
		}
		if lacking == 0 && left < max(needs, 1) {
			lacking = below + max(l.Min.times(spare), 1)
		}
		if lacking > 0 {
			l.Rate = 0
			continue
		}
		l.Rate = min(left, most)
		left -= l.Rate
		below += most
		s.Rate += l.Rate
	}
	return max(0, lacking-s.Rate)
}
