package srtp

// windowSize is how far behind the newest packet one may come: the RFC wants 64 at least (RFC 3711 section 3.3.2), and a
// retransmission of high-rate video may be late.
const windowSize = 1024

// A window knows which packets of an SSRC were seen: all that are older than windowSize count as such.
type window struct {
	started bool
	highest int64
	seen    [windowSize / 64]uint64 // by index modulo windowSize
}

// fresh reports whether a packet is new.
func (w *window) fresh(index int64) bool {
	switch {
	case index < 0:
		return false
	case !w.started || index > w.highest:
		return true
	case index <= w.highest-windowSize:
		return false
	}
	return w.seen[index%windowSize/64]&(1<<(index%64)) == 0
}

// mark notes a packet that is fresh.
func (w *window) mark(index int64) {
	if !w.started {
		w.started, w.highest = true, index
	}
	if gap := index - w.highest; gap >= windowSize {
		clear(w.seen[:])
	} else {
		for i := w.highest + 1; i < index; i++ {
			w.seen[i%windowSize/64] &^= 1 << (i % 64)
		}
	}
	w.highest = max(w.highest, index)
	w.seen[index%windowSize/64] |= 1 << (index % 64)
}
