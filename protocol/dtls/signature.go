package dtls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that the schemes name
	_ "crypto/sha512"
	"errors"
	"fmt"
	"slices"
)

// signatureScheme is a number of the IANA registry "TLS SignatureScheme". In DTLS 1.2 the same two bytes are a hash and a
// kind of key (RFC 5246 section 7.4.1.4.1), so there an ECDSA scheme does not bind the curve.
type signatureScheme uint16

const (
	pkcs1SHA256 signatureScheme = 0x0401
	pkcs1SHA384 signatureScheme = 0x0501
	pkcs1SHA512 signatureScheme = 0x0601
	ecdsaSHA256 signatureScheme = 0x0403
	ecdsaSHA384 signatureScheme = 0x0503
	pssSHA256   signatureScheme = 0x0804
	pssSHA384   signatureScheme = 0x0805
	pssSHA512   signatureScheme = 0x0806
	ed25519Pure signatureScheme = 0x0807
)

// acceptedSchemes is what we verify. RSA PKCS #1 v1.5 is for DTLS 1.2 only (RFC 8446 section 4.2.3).
var acceptedSchemes = []signatureScheme{
	ecdsaSHA256, pssSHA256, ecdsaSHA384, ed25519Pure, pssSHA384, pssSHA512, pkcs1SHA256, pkcs1SHA384, pkcs1SHA512,
}

func (s signatureScheme) hash() crypto.Hash {
	switch s {
	case pkcs1SHA256, ecdsaSHA256, pssSHA256:
		return crypto.SHA256
	case pkcs1SHA384, ecdsaSHA384, pssSHA384:
		return crypto.SHA384
	case pkcs1SHA512, pssSHA512:
		return crypto.SHA512
	}
	return 0 // Ed25519 hashes by itself
}

// signingSchemes returns what a key can be used with, best first; none if the key is of a kind that we do not use.
func signingSchemes(public crypto.PublicKey, v Version) []signatureScheme {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch {
		case k.Curve == elliptic.P256() && v == Version12:
			return []signatureScheme{ecdsaSHA256, ecdsaSHA384}
		case k.Curve == elliptic.P256():
			return []signatureScheme{ecdsaSHA256}
		case k.Curve == elliptic.P384() && v == Version12:
			return []signatureScheme{ecdsaSHA384, ecdsaSHA256}
		case k.Curve == elliptic.P384():
			return []signatureScheme{ecdsaSHA384}
		}
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil
		}
		schemes := []signatureScheme{pssSHA256, pssSHA384, pssSHA512}
		if v == Version12 {
			schemes = append(schemes, pkcs1SHA256, pkcs1SHA384, pkcs1SHA512)
		}
		return schemes
	}
	return nil
}

// chooseScheme picks the first of our key's schemes that the peer accepts.
func chooseScheme(public crypto.PublicKey, v Version, peer []signatureScheme) (signatureScheme, error) {
	for _, s := range signingSchemes(public, v) {
		if slices.Contains(peer, s) {
			return s, nil
		}
	}
	return 0, peerError(AlertHandshakeFailure, "the peer verifies no signature that our %T makes", public)
}

// sign signs the message. The salt feeds RSA-PSS, which needs randomness; ECDSA is deterministic (RFC 6979).
func sign(key crypto.Signer, s signatureScheme, message, salt []byte) ([]byte, error) {
	h := s.hash().New()
	h.Write(message)
	digest := h.Sum(nil)
	switch s {
	case ecdsaSHA256, ecdsaSHA384:
		return key.Sign(nil, digest, s.hash())
	case pssSHA256, pssSHA384, pssSHA512:
		return key.Sign(bytes.NewReader(salt), digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash()})
	default:
		return key.Sign(nil, digest, s.hash())
	}
}

// verifies reports whether a public key can have made a signature by the scheme in this version.
func verifies(public crypto.PublicKey, v Version, s signatureScheme) error {
	if _, ok := public.(ed25519.PublicKey); ok && s == ed25519Pure {
		return nil
	}
	if slices.Contains(signingSchemes(public, v), s) {
		return nil
	}
	return fmt.Errorf("a %T in %s does not sign by scheme %#04x", public, v, uint16(s))
}

var errSignature = errors.New("the signature does not hold")

func verify(public crypto.PublicKey, s signatureScheme, message, signature []byte) error {
	if k, ok := public.(ed25519.PublicKey); ok {
		if !ed25519.Verify(k, message, signature) {
			return errSignature
		}
		return nil
	}
	h := s.hash().New()
	h.Write(message)
	digest := h.Sum(nil)
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, digest, signature) {
			return errSignature
		}
		return nil
	case *rsa.PublicKey:
		switch s {
		case pssSHA256, pssSHA384, pssSHA512:
			return rsa.VerifyPSS(k, s.hash(), digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		default:
			return rsa.VerifyPKCS1v15(k, s.hash(), digest, signature)
		}
	}
	return errSignature
}

// peerIsRSA decides whether a suite of DTLS 1.2 fits; Ed25519 counts as ECDSA there (RFC 8422 section 2.2).
func (h *handshake) peerIsRSA() bool {
	_, ok := h.peerKey.(*rsa.PublicKey)
	return ok
}
