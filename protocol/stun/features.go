package stun

import (
	"encoding/base64"
	"encoding/binary"
)

// Features are the 24 bits that a server protects against bid-down attacks by writing them into its nonces
// (sections 9.2.1 and 18.1). Bit 0 of the RFC is the most significant of the 24.
type Features uint32

// The registered security features.
const (
	FeaturePasswordAlgorithms Features = 1 << 23
	FeatureUsernameAnonymity  Features = 1 << 22
)

const noncePrefix = "obMatJos2"

// NonceCookieLen is the length of the nonce cookie in bytes.
const NonceCookieLen = len(noncePrefix) + 4

// AppendNonceCookie appends the 13 characters with which the nonce of a server that follows RFC 8489 begins
// (section 9.2).
func AppendNonceCookie(dst []byte, f Features) []byte {
	dst = append(dst, noncePrefix...)
	return base64.StdEncoding.AppendEncode(dst, []byte{byte(f >> 16), byte(f >> 8), byte(f)})
}

// ParseNonceCookie returns the features in a nonce; ok is false if it does not begin with a nonce cookie.
func ParseNonceCookie(nonce []byte) (f Features, ok bool) {
	if len(nonce) < NonceCookieLen || string(nonce[:len(noncePrefix)]) != noncePrefix {
		return 0, false
	}
	var bits [4]byte
	n, err := base64.StdEncoding.Decode(bits[1:], nonce[len(noncePrefix):NonceCookieLen])
	if err != nil || n != 3 {
		return 0, false
	}
	return Features(binary.BigEndian.Uint32(bits[:])), true
}

// ParsePasswordAlgorithms yields to each the algorithms of a PASSWORD-ALGORITHMS or PASSWORD-ALGORITHM value, in
// order, until it returns false. It reports whether all that it read was well formed (sections 14.11 and 14.12).
func ParsePasswordAlgorithms(value []byte, each func(a PasswordAlgorithm, parameters []byte) bool) bool {
	for len(value) > 0 {
		if len(value) < 4 {
			return false
		}
		a, n := PasswordAlgorithm(binary.BigEndian.Uint16(value)), int(binary.BigEndian.Uint16(value[2:]))
		if len(value)-4 < n {
			return false
		}
		if !each(a, value[4:4+n]) {
			return true
		}
		value = value[min(4+(n+3)&^3, len(value)):]
	}
	return true
}

// AppendPasswordAlgorithms appends the value of a PASSWORD-ALGORITHMS attribute, or with one algorithm that of
// PASSWORD-ALGORITHM. Neither registered algorithm has parameters.
func AppendPasswordAlgorithms(dst []byte, algorithms ...PasswordAlgorithm) []byte {
	for _, a := range algorithms {
		dst = binary.BigEndian.AppendUint16(dst, uint16(a))
		dst = binary.BigEndian.AppendUint16(dst, 0)
	}
	return dst
}
