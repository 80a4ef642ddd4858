package wire

import "encoding/binary"

// AppendUint16 appends v in two bytes.
func AppendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

// AppendUint24 appends the low 24 bits of v in three bytes.
func AppendUint24(b []byte, v uint32) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }

// AppendUint32 appends v in four bytes.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendUint48 appends the low 48 bits of v in six bytes.
func AppendUint48(b []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint32(AppendUint16(b, uint16(v>>32)), uint32(v))
}

// AppendUint64 appends v in eight bytes.
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendZeros appends n zero bytes; none if n is negative.
func AppendZeros(b []byte, n int) []byte {
	for ; n > 0; n-- {
		b = append(b, 0)
	}
	return b
}

// Pad4 returns how many bytes bring n, which is not negative, to a multiple of four: 0 to 3.
func Pad4(n int) int { return -n & 3 }

// Uint8Prefix writes, into the byte at start, the number of bytes that follow it in b. It returns false, having written
// nothing, if there are more than 255 or the byte is not in b.
func Uint8Prefix(b []byte, start int) bool {
	n, ok := following(b, start, 1)
	if ok {
		b[start] = byte(n)
	}
	return ok
}

// Uint16Prefix writes, into the two bytes at start, the number of bytes that follow them in b. It returns false, having
// written nothing, if there are more than 65,535 or the two bytes are not in b.
//
//	start := len(b)
//	b = wire.AppendUint16(b, 0)
//	b = appendBody(b)
//	ok := wire.Uint16Prefix(b, start)
func Uint16Prefix(b []byte, start int) bool {
	n, ok := following(b, start, 2)
	if ok {
		binary.BigEndian.PutUint16(b[start:], uint16(n))
	}
	return ok
}

// Uint24Prefix writes, into the three bytes at start, the number of bytes that follow them in b. It returns false,
// having written nothing, if there are more than 2^24-1 or the three bytes are not in b.
func Uint24Prefix(b []byte, start int) bool {
	n, ok := following(b, start, 3)
	if ok {
		b[start], b[start+1], b[start+2] = byte(n>>16), byte(n>>8), byte(n)
	}
	return ok
}

// following returns the number of bytes of b after a prefix of the given width at start, and whether the prefix can say it.
func following(b []byte, start, width int) (n int, ok bool) {
	if start < 0 || start > len(b)-width {
		return 0, false
	}
	n = len(b) - start - width
	return n, n < 1<<(8*width)
}
