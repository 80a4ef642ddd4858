package dtls

import (
	"crypto"
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// The key schedules: HKDF for DTLS 1.3 (RFC 8446 section 7, RFC 9147 section 5.9), the PRF for 1.2 (RFC 5246 section 5).

// A deriver derives from one secret by HKDF-Expand-Label. What depends on the secret alone is computed once, which halves
// what the schedule costs.
type deriver struct {
	mac    hash.Hash
	prefix string // "dtls13"; the vectors of RFC 8448 are of TLS
	info   []byte
	used   bool
}

func newDeriver(h crypto.Hash, secret []byte) *deriver {
	return &deriver{mac: hmac.New(h.New, secret), prefix: "dtls13"}
}

// expand returns n bytes, at most 255 times as many as the hash has.
func (d *deriver) expand(label string, context []byte, n int) []byte {
	d.info = append(d.info[:0], byte(n>>8), byte(n), byte(len(d.prefix)+len(label)))
	d.info = append(append(d.info, d.prefix...), label...)
	d.info = append(append(d.info, byte(len(context))), context...)
	d.info = append(d.info, 0)
	size := d.mac.Size()
	out := make([]byte, 0, (n+size-1)/size*size)
	for block := []byte(nil); len(out) < n; block = out[len(out)-size:] { // RFC 5869 section 2.3
		if d.used {
			d.mac.Reset()
		}
		d.used = true
		d.info[len(d.info)-1]++
		d.mac.Write(block)
		d.mac.Write(d.info)
		out = d.mac.Sum(out)
	}
	return out[:n:n]
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
	*deriver // of the secret that it has come to
	hash     crypto.Hash
}

func newSchedule(h crypto.Hash) *schedule {
	return &schedule{newDeriver(h, extract(h, make([]byte, h.Size()), nil)), h}
}

// derive is Derive-Secret with a transcript already hashed.
func (s *schedule) derive(label string, transcript []byte) []byte {
	return s.expand(label, transcript, s.hash.Size())
}

// mix goes to the next secret; nil mixes zeros.
func (s *schedule) mix(input []byte) {
	if input == nil {
		input = make([]byte, s.hash.Size())
	}
	next := newDeriver(s.hash, extract(s.hash, input, s.derive("derived", hashOf(s.hash, nil))))
	next.prefix = s.prefix
	s.deriver = next
}

// finishedMAC is the verify_data of a Finished (RFC 8446 section 4.4.4).
func finishedMAC(h crypto.Hash, secret, transcript []byte) []byte {
	mac := hmac.New(h.New, newDeriver(h, secret).expand("finished", nil, h.Size()))
	mac.Write(transcript)
	return mac.Sum(nil)
}

// nextTrafficSecret follows a KeyUpdate (RFC 8446 section 7.2).
func nextTrafficSecret(h crypto.Hash, secret []byte) []byte {
	return newDeriver(h, secret).expand("traffic upd", nil, h.Size())
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
