package dtls

import (
	"crypto"
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/hex"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// The key schedules: HKDF for DTLS 1.3 (RFC 8446 section 7, RFC 9147 section 5.9), the PRF for 1.2 (RFC 5246 section 5).

// expandLabel is HKDF-Expand-Label with the prefix of DTLS.
func expandLabel(h crypto.Hash, secret []byte, label string, context []byte, n int) []byte {
	return expandLabelPrefix(h, "dtls13", secret, label, context, n)
}

func expandLabelPrefix(h crypto.Hash, prefix string, secret []byte, label string, context []byte, n int) []byte {
	var info cryptobyte.Builder
	info.AddUint16(uint16(n))
	info.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddBytes([]byte(prefix))
		b.AddBytes([]byte(label))
	})
	info.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(context) })
	out, err := hkdf.Expand(h.New, secret, string(info.BytesOrPanic()), n)
	if err != nil {
		panic(err) // only for more than 255 blocks, and Export has checked
	}
	return out
}

func extract(h crypto.Hash, secret, salt []byte) []byte {
	out, err := hkdf.Extract(h.New, secret, salt)
	if err != nil {
		panic(err) // only where FIPS 140 forbids the hash
	}
	return out
}

func hashOf(h crypto.Hash, b []byte) []byte {
	w := h.New()
	w.Write(b)
	return w.Sum(nil)
}

// A schedule walks down the secrets of DTLS 1.3: the early secret, the handshake secret, the master secret.
type schedule struct {
	hash   crypto.Hash
	prefix string // "dtls13"; the vectors of RFC 8448 are of TLS
	secret []byte
}

func newSchedule(h crypto.Hash) *schedule {
	return &schedule{h, "dtls13", extract(h, make([]byte, h.Size()), nil)}
}

// derive is Derive-Secret with a transcript already hashed.
func (s *schedule) derive(label string, transcript []byte) []byte {
	return expandLabelPrefix(s.hash, s.prefix, s.secret, label, transcript, s.hash.Size())
}

// mix goes to the next secret; nil mixes zeros.
func (s *schedule) mix(input []byte) {
	if input == nil {
		input = make([]byte, s.hash.Size())
	}
	s.secret = extract(s.hash, input, s.derive("derived", hashOf(s.hash, nil)))
}

// finishedMAC is the verify_data of a Finished (RFC 8446 section 4.4.4).
func finishedMAC(h crypto.Hash, secret, transcript []byte) []byte {
	mac := hmac.New(h.New, expandLabel(h, secret, "finished", nil, h.Size()))
	mac.Write(transcript)
	return mac.Sum(nil)
}

// nextTrafficSecret follows a KeyUpdate (RFC 8446 section 7.2).
func nextTrafficSecret(h crypto.Hash, secret []byte) []byte {
	return expandLabel(h, secret, "traffic upd", nil, h.Size())
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
