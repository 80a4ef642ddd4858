package dtls

import "slices"

// A span is the bytes from lo up to, not including, hi.
type span struct{ lo, hi int }

// spans are what there is of a message: sorted, apart from each other. Two places need them: which bytes of a message
// came, and which of one sent were acknowledged.
type spans []span

// add joins a span in. It reports false, and does nothing, if more than limit would be needed.
func (s *spans) add(n span, limit int) bool {
	i, _ := slices.BinarySearchFunc(*s, n.lo, func(e span, lo int) int { return e.hi - lo }) // the first that ends at or after lo
	j := i
	for ; j < len(*s) && (*s)[j].lo <= n.hi; j++ {
		n.lo, n.hi = min(n.lo, (*s)[j].lo), max(n.hi, (*s)[j].hi)
	}
	if i == j && len(*s) >= limit {
		return false
	}
	*s = slices.Replace(*s, i, j, n)
	return true
}

// gap returns the first bytes, at or after from, that are missing before n.
func (s spans) gap(from, n int) (span, bool) {
	end := n
	for _, e := range s {
		if from < e.lo {
			end = min(e.lo, n)
			break
		}
		from = max(from, e.hi)
	}
	return span{from, end}, from < n
}

// covers reports whether all of n bytes are there; of a message of none, whether it was ever added.
func (s spans) covers(n int) bool {
	return len(s) == 1 && s[0].lo == 0 && s[0].hi >= n
}
