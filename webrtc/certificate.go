package webrtc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"time"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A KeygenAlgorithm says what [GenerateCertificate] makes. The zero value is ECDSA on P-256, for 30 days.
type KeygenAlgorithm struct {
	// Name is "ECDSA", the default, or "RSASSA-PKCS1-v1_5".
	Name string
	// NamedCurve is, for ECDSA, "P-256", the default, or "P-384".
	NamedCurve string
	// ModulusLength is, for RSA, the length in bits: 2048, the default, to 8192.
	ModulusLength int
	// PublicExponent is, for RSA, 65537, the default.
	PublicExponent int
	// Hash is, for RSA, "SHA-256", the default.
	Hash string
	// Expires is how long the certificate is valid: 30 days by default, a year at most.
	Expires time.Duration
}

const (
	defaultExpires = 30 * 24 * time.Hour
	maxExpires     = 365 * 24 * time.Hour
)

// A Certificate is what a connection proves to be (RTCCertificate): a key and its self-signed certificate. It may serve
// any number of connections; making one for all of them saves the work. It is safe for concurrent use.
type Certificate struct {
	dtls    *dtls.Certificate
	expires time.Time
}

// GenerateCertificate makes a certificate with a new key. An algorithm that is not known, or with parameters that are
// not, is a NotSupportedError; an Expires below zero a TypeError.
func GenerateCertificate(algorithm KeygenAlgorithm) (*Certificate, error) {
	key, err := algorithm.key()
	if err != nil {
		return nil, err
	}
	life := algorithm.Expires
	switch {
	case life < 0:
		return nil, fail(TypeError, "Expires is below zero")
	case life == 0:
		life = defaultExpires
	}
	now := time.Now()
	expires := now.Add(min(life, maxExpires)).Truncate(time.Second)
	// A day earlier, as other machines' clocks may be slow.
	c, err := dtls.SelfSign(rand.Reader, key, now.Add(-24*time.Hour), expires)
	if err != nil {
		return nil, fail(OperationError, "%v", err)
	}
	return &Certificate{c, expires}, nil
}

func (a *KeygenAlgorithm) key() (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch strings.ToUpper(a.Name) {
	case "", "ECDSA":
		curve := elliptic.P256()
		switch a.NamedCurve {
		case "", "P-256":
		case "P-384":
			curve = elliptic.P384()
		default:
			return nil, fail(NotSupportedError, "the curve %q is none of P-256 and P-384", a.NamedCurve)
		}
		key, err = ecdsa.GenerateKey(curve, rand.Reader)
	case "RSASSA-PKCS1-V1_5":
		bits := a.ModulusLength
		if bits == 0 {
			bits = 2048
		}
		switch {
		case bits < 2048 || bits > 8192:
			return nil, fail(NotSupportedError, "an RSA key has 2048 to 8192 bits, not %d", bits)
		case a.PublicExponent != 0 && a.PublicExponent != 65537:
			return nil, fail(NotSupportedError, "the public exponent is 65537, not %d", a.PublicExponent)
		case a.Hash != "" && !strings.EqualFold(a.Hash, "SHA-256"):
			return nil, fail(NotSupportedError, "the hash is SHA-256, not %q", a.Hash)
		}
		key, err = rsa.GenerateKey(rand.Reader, bits)
	default:
		return nil, fail(NotSupportedError, "the algorithm %q is none of ECDSA and RSASSA-PKCS1-v1_5", a.Name)
	}
	if err != nil {
		return nil, fail(OperationError, "%v", err)
	}
	return key, nil
}

// NewCertificate makes a certificate of what a program has kept: the chain in DER, the leaf first, and the leaf's key.
// ECDSA on P-256 and P-384 and RSA of 2048 bits and more serve; all else is a NotSupportedError.
func NewCertificate(chain [][]byte, key crypto.Signer) (*Certificate, error) {
	c := &dtls.Certificate{Chain: chain, PrivateKey: key}
	if err := (&dtls.Config{Entropy: rand.Reader, Certificate: c}).Validate(); err != nil {
		return nil, fail(NotSupportedError, "%v", err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, fail(NotSupportedError, "%v", err)
	}
	return &Certificate{c, leaf.NotAfter}, nil
}

// Expires returns when the certificate ceases to be valid; from then on no connection can be made with it.
func (c *Certificate) Expires() time.Time { return c.expires }

// A DTLSFingerprint is a hash of a certificate (RTCDtlsFingerprint).
type DTLSFingerprint struct {
	Algorithm string `json:"algorithm"` // as in RFC 8122 section 5, "sha-256"
	Value     string `json:"value"`     // bytes in lower-case hexadecimal, with colons between
}

// GetFingerprints returns the fingerprints of the certificate, that of SHA-256.
func (c *Certificate) GetFingerprints() []DTLSFingerprint {
	f := c.dtls.Fingerprint()
	return []DTLSFingerprint{{strings.ToLower(f.Algorithm), strings.ToLower(f.Value)}}
}

// Chain returns the certificates in DER, the leaf first.
func (c *Certificate) Chain() [][]byte { return c.dtls.Chain }

// PrivateKey returns the key, for programs that keep it.
func (c *Certificate) PrivateKey() crypto.Signer { return c.dtls.PrivateKey }

func (c *Certificate) fingerprint() sdp.Fingerprint {
	f := c.dtls.Fingerprint()
	return sdp.Fingerprint{Hash: strings.ToLower(f.Algorithm), Value: strings.ToUpper(f.Value)}
}

func (c *Certificate) equal(d *Certificate) bool {
	return c == d || c != nil && d != nil && string(c.dtls.Chain[0]) == string(d.dtls.Chain[0])
}
