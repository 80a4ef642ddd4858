package stun

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// A Hasher is scratch space for the hashes of STUN: with it, computing and checking message integrity allocates
// nothing. One serves a whole engine; it holds no key between calls and is not for concurrent use.
//
// crypto/hmac would want two hash states and two buffers for each key, and an allocation for each use of a new key.
// A key is used a few times an hour, so the pads are mixed anew each time instead, at two extra blocks.
type Hasher struct {
	md5, sha1, sha256 hash.Hash
	// Arguments of an interface's method escape; these live here, on the heap already.
	pad  [sha256.BlockSize]byte // MD5, SHA-1 and SHA-256 have the same block size
	head [HeaderLen]byte
	sum  [sha256.Size]byte
}

// NewHasher returns a Hasher.
func NewHasher() *Hasher {
	return &Hasher{md5: md5.New(), sha1: sha1.New(), sha256: sha256.New()}
}

// startHMAC begins the inner hash of HMAC (RFC 2104) under key.
func (h *Hasher) startHMAC(f hash.Hash, key []byte) {
	clear(h.pad[:])
	if len(key) > len(h.pad) {
		f.Reset()
		f.Write(key)
		f.Sum(h.pad[:0])
	} else {
		copy(h.pad[:], key)
	}
	for i := range h.pad {
		h.pad[i] ^= 0x36
	}
	f.Reset()
	f.Write(h.pad[:])
}

// finishHMAC returns the HMAC, valid until the next call of any method.
func (h *Hasher) finishHMAC(f hash.Hash) []byte {
	inner := f.Sum(h.sum[:0])
	for i := range h.pad {
		h.pad[i] ^= 0x36 ^ 0x5c
	}
	f.Reset()
	f.Write(h.pad[:])
	f.Write(inner)
	clear(h.pad[:])
	return f.Sum(h.sum[:0])
}

// integrity is the HMAC over the message before the attribute, with a header that says how long the message is
// up to the attribute's end (sections 14.5 and 14.6).
func (h *Hasher) integrity(f hash.Hash, key, before []byte, length int) []byte {
	copy(h.head[:], before)
	binary.BigEndian.PutUint16(h.head[2:], uint16(length))
	h.startHMAC(f, key)
	f.Write(h.head[:])
	f.Write(before[HeaderLen:])
	return h.finishHMAC(f)
}

// Verify checks the message's integrity under key, in constant time: MESSAGE-INTEGRITY-SHA256 if it is there, which
// must have its full length, else MESSAGE-INTEGRITY (sections 9.1.3 and 9.2.4). It is false without either.
func (h *Hasher) Verify(m *Message, key []byte) bool {
	return h.VerifyTruncated(m, key, sha256.Size)
}

// VerifyTruncated is Verify for a usage that allows a MESSAGE-INTEGRITY-SHA256 shortened to min bytes, at least 16
// (section 14.6).
func (h *Hasher) VerifyTruncated(m *Message, key []byte, min int) bool {
	switch {
	case m.sha256 != 0:
		return h.verify(h.sha256, m, m.sha256, key, max(min, 16))
	case m.sha1 != 0:
		return h.verify(h.sha1, m, m.sha1, key, sha1.Size)
	}
	return false
}

func (h *Hasher) verify(f hash.Hash, m *Message, at int, key []byte, min int) bool {
	n := int(binary.BigEndian.Uint16(m.raw[at+2:]))
	if n < min {
		return false
	}
	mac := h.integrity(f, key, m.raw[:at], at+4+n-HeaderLen)
	return subtle.ConstantTimeCompare(mac[:n], m.raw[at+4:at+4+n]) == 1
}

// AppendHMACSHA1 appends the HMAC-SHA1 of text under key: the password of a time-limited credential, before base64.
func (h *Hasher) AppendHMACSHA1(dst, key, text []byte) []byte {
	h.startHMAC(h.sha1, key)
	h.sha1.Write(text)
	return append(dst, h.finishHMAC(h.sha1)...)
}

// AppendHMACSHA256 appends the HMAC-SHA256 of text under key.
func (h *Hasher) AppendHMACSHA256(dst, key, text []byte) []byte {
	h.startHMAC(h.sha256, key)
	h.sha256.Write(text)
	return append(dst, h.finishHMAC(h.sha256)...)
}

// A PasswordAlgorithm says how a long-term key is derived from a password (section 18.5).
type PasswordAlgorithm uint16

// The registered password algorithms.
const (
	MD5    PasswordAlgorithm = 0x0001
	SHA256 PasswordAlgorithm = 0x0002
)

func (a PasswordAlgorithm) String() string {
	switch a {
	case MD5:
		return "MD5"
	case SHA256:
		return "SHA-256"
	}
	return "unknown password algorithm"
}

var colon = []byte{':'}

// AppendLongTermKey appends the key of the long-term mechanism (sections 9.2.2 and 18.5.1): 32 bytes for SHA-256,
// 16 for MD5 and whatever else, because without an algorithm the key is the one of MD5.
func (h *Hasher) AppendLongTermKey(dst []byte, a PasswordAlgorithm, username, realm, password []byte) []byte {
	f := h.md5
	if a == SHA256 {
		f = h.sha256
	}
	f.Reset()
	f.Write(username)
	f.Write(colon)
	f.Write(realm)
	f.Write(colon)
	f.Write(password)
	return append(dst, f.Sum(h.sum[:0])...)
}

// AppendUserhash appends the 32 bytes that stand for a name where names stay private (section 14.4).
func (h *Hasher) AppendUserhash(dst, username, realm []byte) []byte {
	h.sha256.Reset()
	h.sha256.Write(username)
	h.sha256.Write(colon)
	h.sha256.Write(realm)
	return append(dst, h.sha256.Sum(h.sum[:0])...)
}
