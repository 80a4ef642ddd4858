package dtls

// windowBlocks 64-bit blocks, one of which is being reused, are how far a record may lag behind the newest: 448 to 511.
const windowBlocks = 8

// A replayWindow remembers which sequence numbers of an epoch were seen (RFC 9147 section 4.5.1, RFC 6479's ring of
// blocks, so that nothing is shifted).
type replayWindow struct {
	next uint64 // one more than the highest seen
	bits [windowBlocks]uint64
}

// fresh reports whether a number was not seen yet. It changes nothing: only a record that held is marked.
func (w *replayWindow) fresh(seq uint64) bool {
	if seq >= w.next {
		return true
	}
	if seq>>6+windowBlocks <= (w.next-1)>>6 {
		return false
	}
	return w.bits[seq>>6%windowBlocks]&(1<<(seq&63)) == 0
}

func (w *replayWindow) mark(seq uint64) {
	if seq >= w.next {
		if w.next > 0 {
			newest := (w.next - 1) >> 6
			for b := newest + 1; b <= seq>>6 && b <= newest+windowBlocks; b++ {
				w.bits[b%windowBlocks] = 0
			}
			if seq>>6 > newest+windowBlocks {
				w.bits = [windowBlocks]uint64{}
			}
		}
		w.next = seq + 1
	}
	w.bits[seq>>6%windowBlocks] |= 1 << (seq & 63)
}
