package dtls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	asn1std "encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// minRSA and maxRSA bound the RSA keys, in bits, that we show or accept. A certificate has room for a key whose signatures take
// seconds to verify (CVE-2023-29409).
const (
	minRSA = 2048
	maxRSA = 8192
)

// A Certificate is what one side proves to be. It may be shared by any number of connections, and is not to be changed.
type Certificate struct {
	Chain      [][]byte      // DER, the leaf first
	PrivateKey crypto.Signer // ECDSA on P-256 or P-384, or RSA of 2048 to 8192 bits

	made bool // here, so that key and chain belong together
}

// GenerateCertificate makes a self-signed ECDSA P-256 certificate, as WebRTC uses, valid between the two dates. Entropy
// gives the key, the serial number and the name; the same bytes give the same certificate.
func GenerateCertificate(entropy io.Reader, notBefore, notAfter time.Time) (*Certificate, error) {
	var raw [32]byte
	for range 8 { // a scalar beyond the curve's order is one in 2^32
		if _, err := io.ReadFull(entropy, raw[:]); err != nil {
			return nil, fmt.Errorf("dtls: no entropy for a key: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw[:]); err == nil {
			return SelfSign(entropy, key, notBefore, notAfter)
		}
	}
	return nil, errors.New("dtls: the entropy reader gives no usable key: is it random?")
}

// SelfSign makes a certificate for the caller's key, valid between the two dates. Entropy gives serial number and name.
func SelfSign(entropy io.Reader, key crypto.Signer, notBefore, notAfter time.Time) (*Certificate, error) {
	var serial [16]byte
	if _, err := io.ReadFull(entropy, serial[:]); err != nil {
		return nil, fmt.Errorf("dtls: no entropy for a serial number: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of full length
	der, err := certify(serial[:], "WebRTC-"+hex.EncodeToString(serial[8:]), key, notBefore, notAfter)
	if err != nil {
		return nil, fmt.Errorf("dtls: the key cannot sign a certificate: %w", err)
	}
	if len(signingSchemes(key.Public(), Version13)) == 0 {
		return nil, errKey
	}
	return &Certificate{Chain: [][]byte{der}, PrivateKey: key, made: true}, nil
}

// An algorithm is how a certificate is signed by a kind of key.
type algorithm struct {
	id   asn1std.ObjectIdentifier
	hash crypto.Hash
}

func algorithmOf(public crypto.PublicKey) algorithm {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return algorithm{asn1std.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, crypto.SHA256}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return algorithm{asn1std.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384}
		}
	}
	return algorithm{asn1std.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256}
}

// certify writes a certificate as x509.CreateCertificate does, but does not verify the signature, which costs more than
// all the rest: nobody looks at it, since the fingerprint vouches for the whole.
func certify(serial []byte, name string, key crypto.Signer, notBefore, notAfter time.Time) ([]byte, error) {
	spki, err := keyInfo(key.Public())
	if err != nil {
		return nil, err
	}
	how := algorithmOf(key.Public())
	addAlgorithm := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(how.id)
			if _, ok := key.Public().(*rsa.PublicKey); ok {
				b.AddASN1NULL() // RFC 4055 section 5
			}
		})
	}
	addName := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1std.ObjectIdentifier{2, 5, 4, 3}) // commonName
					b.AddASN1(asn1.PrintableString, func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
				})
			})
		})
	}
	addTime := func(b *cryptobyte.Builder, t time.Time) {
		if t = t.UTC(); t.Year() >= 1950 && t.Year() < 2050 { // RFC 5280 section 4.1.2.5
			b.AddASN1UTCTime(t)
		} else {
			b.AddASN1GeneralizedTime(t)
		}
	}
	var tbs cryptobyte.Builder
	tbs.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(2) }) // v3
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(serial) })
		addAlgorithm(b)
		addName(b)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { addTime(b, notBefore); addTime(b, notAfter) })
		addName(b)
		b.AddBytes(spki)
	})
	signed, err := tbs.Bytes()
	if err != nil {
		return nil, err
	}
	// Without a reader ECDSA signs by RFC 6979, so that equal entropy gives equal bytes; PKCS #1 v1.5 needs none.
	h := how.hash.New()
	h.Write(signed)
	signature, err := key.Sign(nil, h.Sum(nil), how.hash)
	if err != nil {
		return nil, err
	}
	var cert cryptobyte.Builder
	cert.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(signed)
		addAlgorithm(b)
		b.AddASN1BitString(signature)
	})
	der, err := cert.Bytes()
	return slices.Clone(der), err // which has no room that nobody needs
}

func (c *Certificate) validate() error {
	if c.made {
		return nil
	}
	if len(c.Chain) == 0 || c.PrivateKey == nil {
		return errors.New("dtls: the Certificate needs a Chain and a PrivateKey")
	}
	public, err := publicKey(c.Chain[0])
	if err != nil {
		return fmt.Errorf("dtls: Certificate.Chain[0]: %w", err)
	}
	own, ok := c.PrivateKey.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !own.Equal(public) {
		return errors.New("dtls: Certificate.PrivateKey does not belong to Chain[0]")
	}
	if len(signingSchemes(c.PrivateKey.Public(), Version13)) == 0 {
		return errKey
	}
	return nil
}

var errKey = errors.New("dtls: Certificate.PrivateKey must be ECDSA on P-256 or P-384, or RSA of 2048 to 8192 bits")

// isRSA decides between the suites of DTLS 1.2.
func (c *Certificate) isRSA() bool {
	_, ok := c.PrivateKey.Public().(*rsa.PublicKey)
	return ok
}

// publicKey reads the key out of a certificate and leaves all else unread: names, dates and extensions mean nothing where
// the fingerprint decides, and what a strict parser refuses there would only keep peers out.
func publicKey(der []byte) (crypto.PublicKey, error) {
	in := cryptobyte.String(der)
	var cert, tbs, spki cryptobyte.String
	ok := in.ReadASN1(&cert, asn1.SEQUENCE) &&
		cert.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(asn1.Tag(0).ContextSpecific().Constructed()) && // version
		tbs.SkipASN1(asn1.INTEGER) && // serial number
		tbs.SkipASN1(asn1.SEQUENCE) && // signature algorithm
		tbs.SkipASN1(asn1.SEQUENCE) && // issuer
		tbs.SkipASN1(asn1.SEQUENCE) && // validity
		tbs.SkipASN1(asn1.SEQUENCE) && // subject
		tbs.ReadASN1Element(&spki, asn1.SEQUENCE)
	if !ok {
		return nil, errors.New("not an X.509 certificate")
	}
	if point, ok := bytes.CutPrefix(spki, p256Key); ok { // as nearly every certificate of WebRTC, and ten times as fast
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	}
	return x509.ParsePKIXPublicKey(spki)
}

// keyInfo writes the SubjectPublicKeyInfo of a key.
func keyInfo(public crypto.PublicKey) ([]byte, error) {
	if k, ok := public.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
		point, err := k.Bytes()
		return append(slices.Clip(p256Key), point...), err
	}
	return x509.MarshalPKIXPublicKey(public)
}

// p256Key is what a SubjectPublicKeyInfo with an uncompressed point on P-256 begins with (RFC 5480 section 2).
var p256Key = []byte("\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00")

// A Fingerprint is a hash of a certificate as it stands in SDP (RFC 8122 section 5).
type Fingerprint struct {
	Algorithm string // "sha-256", "sha-384" or "sha-512", in any case
	Value     string // bytes in hexadecimal, in any case, with colons between
}

func (f Fingerprint) String() string { return f.Algorithm + " " + f.Value }

const upperHex = "0123456789ABCDEF"

// FingerprintOf returns the fingerprint of a certificate in DER. The error says which algorithms there are.
func FingerprintOf(algorithm string, der []byte) (Fingerprint, error) {
	var sum []byte
	switch strings.ToLower(algorithm) {
	case "sha-256":
		h := sha256.Sum256(der)
		sum = h[:]
	case "sha-384":
		h := sha512.Sum384(der)
		sum = h[:]
	case "sha-512":
		h := sha512.Sum512(der)
		sum = h[:]
	default:
		return Fingerprint{}, fmt.Errorf("dtls: fingerprints by %q are not supported: use sha-256, sha-384 or sha-512", algorithm)
	}
	value := make([]byte, 0, 3*len(sum))
	for _, b := range sum {
		value = append(value, upperHex[b>>4], upperHex[b&15], ':')
	}
	return Fingerprint{strings.ToLower(algorithm), string(value[:len(value)-1])}, nil
}

// Fingerprint returns the SHA-256 fingerprint of the leaf, which goes into our description.
func (c *Certificate) Fingerprint() Fingerprint {
	f, err := FingerprintOf("sha-256", c.Chain[0])
	if err != nil {
		panic(err) // sha-256 exists
	}
	return f
}

// MatchFingerprint reports whether a peer's certificate in DER is the one that its description promised. Of several
// fingerprints only those of the strongest algorithm known count (RFC 8122 section 5.1); none at all match nothing.
func MatchFingerprint(der []byte, promised []Fingerprint) bool {
	for _, algorithm := range [...]string{"sha-512", "sha-384", "sha-256"} {
		known, matches := false, false
		for _, f := range promised {
			if strings.EqualFold(f.Algorithm, algorithm) {
				got, _ := FingerprintOf(algorithm, der)
				known = true
				matches = matches || subtle.ConstantTimeCompare([]byte(got.Value), []byte(strings.ToUpper(f.Value))) == 1
			}
		}
		if known {
			return matches
		}
	}
	return false
}
