package sctp

import "math/bits"

// pool keeps buffers that were given back, so that messages cost no allocation in the steady state.
type pool struct {
	free [][][]byte // by class, as many as were needed
	kept int        // what is in free, as cost counts it
}

const (
	poolClasses = 13
	maxKept     = 1 << 20
)

// poolClass returns in which class a buffer of n bytes is: 64, 256 and 1280 bytes for what fits a packet, then the powers
// of two from 2 KiB to 1 MiB. Larger ones, of higher classes, are not kept.
func poolClass(n int) int {
	switch {
	case n <= 64:
		return 0
	case n <= 256:
		return 1
	case n <= 1280:
		return 2
	}
	return bits.Len(uint(n-1)) - 8
}

func poolSize(class int) int {
	if class < 3 {
		return [...]int{64, 256, 1280}[class]
	}
	return 1 << (class + 8)
}

// take returns an empty buffer for n bytes.
func (p *pool) take(n int) []byte {
	class := poolClass(n)
	if class >= poolClasses {
		return make([]byte, 0, n)
	}
	if class >= len(p.free) || len(p.free[class]) == 0 {
		return make([]byte, 0, poolSize(class))
	}
	last := len(p.free[class]) - 1
	b := p.free[class][last]
	p.free[class] = p.free[class][:last]
	p.kept -= cost(cap(b))
	return b
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	class := poolClass(cap(b))
	if class < poolClasses && cap(b) == poolSize(class) && p.kept+cost(cap(b)) <= maxKept {
		if missing := class + 1 - len(p.free); missing > 0 {
			p.free = append(p.free, make([][][]byte, missing)...)
		}
		p.free[class] = append(p.free[class], b[:0])
		p.kept += cost(cap(b))
	}
}

// copyOf returns a copy of b.
func (p *pool) copyOf(b []byte) []byte { return append(p.take(len(b)), b...) }

// extend appends more to b, which came from here; where there is no room, b moves to a buffer of twice the size.
func (p *pool) extend(b, more []byte) []byte {
	need := len(b) + len(more)
	if need <= cap(b) {
		return append(b, more...)
	}
	larger := append(p.take(max(need, 2*cap(b))), b...)
	p.put(b)
	return append(larger, more...)
}

// drop frees all that is kept.
func (p *pool) drop() { *p = pool{} }
