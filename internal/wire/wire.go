// Package wire reads and writes the big-endian numbers of network protocols.
//
// A [Reader] checks every bound: it never panics and never reads beyond its slice. The first read that does not fit
// spoils the reader, every later read returns zero, and the caller asks once, at the end, whether all was well:
//
//	r := wire.NewReader(b)
//	kind, length := r.Uint16(), r.Uint16()
//	value := r.Bytes(int(length))
//	if !r.OK() {
//		return ErrTruncated
//	}
//
// The Append functions extend a slice in Go's append idiom; [Uint16Prefix] and its kin write a length when the bytes
// that it counts are known.
package wire

import "encoding/binary"

// Reader takes numbers and byte strings off the front of a slice. Readers are values: a copy reads on its own.
type Reader struct {
	rest  []byte
	spoil bool
}

// NewReader returns a reader of b, which it does not copy.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// OK reports whether every read so far was within bounds.
func (r *Reader) OK() bool { return !r.spoil }

// Done reports whether every read so far was within bounds and nothing is left.
func (r *Reader) Done() bool { return !r.spoil && len(r.rest) == 0 }

// Len returns the number of bytes left: zero once the reader is spoiled.
func (r *Reader) Len() int { return len(r.rest) }

// Rest takes and returns everything that is left, a part of the original slice.
func (r *Reader) Rest() []byte { return r.Bytes(len(r.rest)) }

// Bytes takes n bytes and returns them as a part of the original slice, with no room to append. It returns nil and
// spoils the reader if n is negative or more than is left.
func (r *Reader) Bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.Spoil()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// Skip takes n bytes and forgets them.
func (r *Reader) Skip(n int) { r.Bytes(n) }

// Sub takes n bytes and returns a reader of them alone; if they are not there both readers are spoiled.
func (r *Reader) Sub(n int) Reader {
	b := r.Bytes(n)
	return Reader{rest: b, spoil: r.spoil}
}

// Spoil makes every later read fail, for a value that was read but cannot be right.
func (r *Reader) Spoil() { r.rest, r.spoil = nil, true }

// Uint8 takes one byte.
func (r *Reader) Uint8() uint8 {
	if len(r.rest) < 1 {
		r.Spoil()
		return 0
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// Uint16 takes two bytes.
func (r *Reader) Uint16() uint16 {
	if len(r.rest) < 2 {
		r.Spoil()
		return 0
	}
	v := binary.BigEndian.Uint16(r.rest)
	r.rest = r.rest[2:]
	return v
}

// Uint24 takes three bytes.
func (r *Reader) Uint24() uint32 {
	if len(r.rest) < 3 {
		r.Spoil()
		return 0
	}
	v := uint32(r.rest[0])<<16 | uint32(r.rest[1])<<8 | uint32(r.rest[2])
	r.rest = r.rest[3:]
	return v
}

// Uint32 takes four bytes.
func (r *Reader) Uint32() uint32 {
	if len(r.rest) < 4 {
		r.Spoil()
		return 0
	}
	v := binary.BigEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	return v
}

// Uint48 takes six bytes.
func (r *Reader) Uint48() uint64 {
	if len(r.rest) < 6 {
		r.Spoil()
		return 0
	}
	v := uint64(binary.BigEndian.Uint16(r.rest))<<32 | uint64(binary.BigEndian.Uint32(r.rest[2:]))
	r.rest = r.rest[6:]
	return v
}

// Uint64 takes eight bytes.
func (r *Reader) Uint64() uint64 {
	if len(r.rest) < 8 {
		r.Spoil()
		return 0
	}
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}
