package wire

// A BitReader reads bits, the highest of a byte first. What is beyond the end reads as zeroes, and OK is false from then on.
type BitReader struct {
	b     []byte
	at    int // in bits
	spoil bool
}

// NewBitReader returns a reader of b.
func NewBitReader(b []byte) BitReader { return BitReader{b: b} }

// OK reports whether all that was read was there.
func (r *BitReader) OK() bool { return !r.spoil }

// Bits reads n of them, at most 32.
func (r *BitReader) Bits(n int) (v uint32) {
	for range n {
		v <<= 1
		if r.at/8 >= len(r.b) {
			r.spoil = true
			continue
		}
		v |= uint32(r.b[r.at/8]>>(7-r.at%8)) & 1
		r.at++
	}
	return v
}

// Flag reads one.
func (r *BitReader) Flag() bool { return r.Bits(1) == 1 }
