// Package g711 converts between samples and G.711 (ITU-T Recommendation G.711), the codec of PCMU and PCMA: 8000 samples a second of
// one byte each, in the logarithmic mu-law or A-law. Samples are linear, of 16 bits.
package g711

import "math/bits"

const (
	muBias = 0x84 // 33 in units of a 14-bit sample
	muClip = 1<<15 - 1 - muBias
)

// EncodeMuLaw returns the byte of PCMU for a sample.
func EncodeMuLaw(sample int16) byte {
	sign, v := byte(0), int(sample)
	if v < 0 {
		sign, v = 0x80, -v
	}
	v = min(v, muClip) + muBias
	segment := bits.Len(uint(v)) - 8 // of v from 0x84 to 0x7fff: 0 to 7
	return ^(sign | byte(segment)<<4 | byte(v>>(segment+3))&0x0f)
}

// DecodeMuLaw returns the sample of a byte of PCMU.
func DecodeMuLaw(b byte) int16 {
	b = ^b
	v := (int(b&0x0f)<<3+muBias)<<(b>>4&7) - muBias
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

// aToggle inverts the even bits of A-law.
const aToggle = 0x55

// EncodeALaw returns the byte of PCMA for a sample.
func EncodeALaw(sample int16) byte {
	sign, v := byte(0x80), int(sample)>>4 // 12 bits with the sign
	if v < 0 {
		sign, v = 0, ^v
	}
	segment := max(bits.Len(uint(v))-4, 1) // the two lowest have the same step
	b := byte(v >> (segment - 1) & 0x0f)
	if v >= 1<<4 {
		b |= byte(segment) << 4
	}
	return (sign | b) ^ aToggle
}

// DecodeALaw returns the sample of a byte of PCMA.
func DecodeALaw(b byte) int16 {
	b ^= aToggle
	segment := b >> 4 & 7
	v := int(b&0x0f)<<4 + 8
	if segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}
