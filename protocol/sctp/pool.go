package sctp

// pool keeps buffers of a few sizes, so that messages that fit a packet cost no allocation in the steady state.
type pool struct {
	free [len(poolSizes)][][]byte
}

// The sizes are so near each other that no message holds much more than four times its size.
var poolSizes = [...]int{64, 256, 1280}

const poolDepth = 64 // buffers of each size

// copyOf returns a copy of b and whether it came from the pool.
func (p *pool) copyOf(b []byte) ([]byte, bool) {
	for i, size := range poolSizes {
		if len(b) > size {
			continue
		}
		if last := len(p.free[i]) - 1; last >= 0 {
			buf := p.free[i][last]
			p.free[i] = p.free[i][:last]
			return append(buf[:0], b...), true
		}
		return append(make([]byte, 0, size), b...), true
	}
	return append([]byte(nil), b...), false
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	for i, size := range poolSizes {
		if cap(b) == size && len(p.free[i]) < poolDepth {
			p.free[i] = append(p.free[i], b[:0])
			return
		}
	}
}

// drop frees all that is kept.
func (p *pool) drop() { *p = pool{} }
