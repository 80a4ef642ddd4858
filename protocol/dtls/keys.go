package dtls

import (
	"crypto"
	"crypto/hmac"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// The key schedules: HKDF for DTLS 1.3 (RFC 8446 section 7, RFC 9147 section 5.9), the PRF for 1.2 (RFC 5246 section 5).

// A kdf derives keys. It has one hash state for all of them: crypto/hmac would want two and two buffers for each, and each
// is used once or a few times.
type kdf struct {
	hash.Hash
	prefix string // "dtls13"; the vectors of RFC 8448 are of TLS
	// Arguments of an interface's method escape; these live here, on the heap already.
	pad  [128]byte // the largest block of our hashes
	info []byte
}

func newKDF(h crypto.Hash) *kdf { return &kdf{Hash: h.New(), prefix: "dtls13"} }

// hmac appends the HMAC of a text in two parts (RFC 2104).
func (k *kdf) hmac(dst, key, first, second []byte) []byte {
	pad := k.pad[:k.BlockSize()]
	clear(pad)
	if len(key) > len(pad) {
		k.Reset()
		k.Write(key)
		k.Sum(pad[:0])
	} else {
		copy(pad, key)
	}
	for i := range pad {
		pad[i] ^= 0x36
	}
	k.Reset()
	k.Write(pad)
	k.Write(first)
	k.Write(second)
	at := len(dst)
	dst = k.Sum(dst)
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	k.Reset()
	k.Write(pad)
	k.Write(dst[at:])
	clear(pad)
	return k.Sum(dst[:at])
}

// extract is HKDF-Extract (RFC 5869 section 2.2).
func (k *kdf) extract(salt, secret []byte) []byte {
	return k.hmac(make([]byte, 0, k.Size()), salt, secret, nil)
}

// expand is HKDF-Expand-Label for n bytes, at most 255 times as many as the hash has.
func (k *kdf) expand(secret []byte, label string, context []byte, n int) []byte {
	k.info = append(k.info[:0], byte(n>>8), byte(n), byte(len(k.prefix)+len(label)))
	k.info = append(append(k.info, k.prefix...), label...)
	k.info = append(append(k.info, byte(len(context))), context...)
	k.info = append(k.info, 0)
	size := k.Size()
	out := make([]byte, 0, (n+size-1)/size*size)
	for block := []byte(nil); len(out) < n; block = out[len(out)-size:] { // RFC 5869 section 2.3
		k.info[len(k.info)-1]++
		out = k.hmac(out, secret, block, k.info)
	}
	return out[:n:n]
}

// finished is the verify_data of a Finished (RFC 8446 section 4.4.4).
func (k *kdf) finished(secret, transcript []byte) []byte {
	return k.hmac(make([]byte, 0, k.Size()), k.expand(secret, "finished", nil, k.Size()), transcript, nil)
}

// nextTrafficSecret follows a KeyUpdate (RFC 8446 section 7.2).
func (k *kdf) nextTrafficSecret(secret []byte) []byte {
	return k.expand(secret, "traffic upd", nil, k.Size())
}

func hashOf(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// A schedule walks down the secrets of DTLS 1.3: the early secret, the handshake secret, the master secret.
type schedule struct {
	*kdf
	secret []byte
	none   []byte // the hash of nothing
}

func newSchedule(h crypto.Hash) *schedule {
	k := newKDF(h)
	none := k.Sum(nil)
	return &schedule{k, k.extract(nil, make([]byte, k.Size())), none}
}

// derive is Derive-Secret with a transcript already hashed.
func (s *schedule) derive(label string, transcript []byte) []byte {
	return s.expand(s.secret, label, transcript, s.Size())
}

// mix goes to the next secret; nil mixes zeros.
func (s *schedule) mix(input []byte) {
	if input == nil {
		input = make([]byte, s.Size())
	}
	s.secret = s.extract(s.derive("derived", s.none), input)
}

// prf is the pseudorandom function of DTLS 1.2.
func prf(h crypto.Hash, secret []byte, label string, seed []byte, n int) []byte {
	mac := hmac.New(h.New, secret)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	out := make([]byte, 0, n+h.Size())
	for a := sum([]byte(label), seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, []byte(label), seed)...)
	}
	return out[:n]
}

// logSecret writes one line of the NSS key log format.
func logSecret(w io.Writer, label string, clientRandom, secret []byte) {
	if w != nil {
		fmt.Fprintf(w, "%s %s %s\n", label, hex.EncodeToString(clientRandom), hex.EncodeToString(secret))
	}
}
