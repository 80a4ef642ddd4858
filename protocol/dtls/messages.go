package dtls

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// The bodies of handshake messages. Parsing borrows from the message; whatever can be wrong with one comes back as a
// *malformed.

const randomLen = 32

// helloRetryRandom in a ServerHello says that it is a HelloRetryRequest (RFC 8446 section 4.1.3).
var helloRetryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// downgraded ends the random of a server that speaks DTLS 1.3 but was asked for 1.2 (RFC 8446 section 4.1.3).
const downgraded = "DOWNGRD\x01"

type clientHello struct {
	version     Version
	random      [randomLen]byte
	sessionID   []byte
	cookie      []byte // of a HelloVerifyRequest
	suites      []CipherSuite
	compression []byte
	ext         extensions
}

func (h *clientHello) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint16(uint16(Version12))
	b.AddBytes(h.random[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.sessionID) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.cookie) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, s := range h.suites {
			b.AddUint16(uint16(s))
		}
	})
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.compression) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { h.ext.append(b, inClientHello) })
	return b.BytesOrPanic()
}

func parseClientHello(body []byte) (*clientHello, error) {
	b, h := cryptobyte.String(body), new(clientHello)
	var suites, ext cryptobyte.String
	ok := b.ReadUint16((*uint16)(&h.version)) && b.CopyBytes(h.random[:]) &&
		b.ReadUint8LengthPrefixed((*cryptobyte.String)(&h.sessionID)) && len(h.sessionID) <= 32 &&
		b.ReadUint8LengthPrefixed((*cryptobyte.String)(&h.cookie)) &&
		b.ReadUint16LengthPrefixed(&suites) && readNumbers(&h.suites, suites) &&
		b.ReadUint8LengthPrefixed((*cryptobyte.String)(&h.compression))
	if !ok {
		return nil, errMalformed(clientHelloType)
	}
	if b.Empty() {
		return h, nil
	}
	if !b.ReadUint16LengthPrefixed(&ext) || !b.Empty() || !h.ext.parse(ext, inClientHello) {
		return nil, errMalformed(clientHelloType)
	}
	return h, nil
}

// A serverHello is a HelloRetryRequest too.
type serverHello struct {
	version     Version
	random      [randomLen]byte
	sessionID   []byte
	suite       CipherSuite
	compression uint8
	ext         extensions
}

func (h *serverHello) isRetry() bool { return h.random == helloRetryRandom }

func (h *serverHello) form() form {
	if h.isRetry() {
		return inRetryRequest
	}
	return inServerHello
}

func (h *serverHello) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint16(uint16(Version12))
	b.AddBytes(h.random[:])
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(h.sessionID) })
	b.AddUint16(uint16(h.suite))
	b.AddUint8(0)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { h.ext.append(b, h.form()) })
	return b.BytesOrPanic()
}

func parseServerHello(body []byte) (*serverHello, error) {
	b, h := cryptobyte.String(body), new(serverHello)
	var ext cryptobyte.String
	ok := b.ReadUint16((*uint16)(&h.version)) && b.CopyBytes(h.random[:]) &&
		b.ReadUint8LengthPrefixed((*cryptobyte.String)(&h.sessionID)) && len(h.sessionID) <= 32 &&
		b.ReadUint16((*uint16)(&h.suite)) && b.ReadUint8(&h.compression)
	if ok && !b.Empty() {
		ok = b.ReadUint16LengthPrefixed(&ext) && b.Empty() && h.ext.parse(ext, h.form())
	}
	if !ok {
		return nil, errMalformed(serverHelloType)
	}
	return h, nil
}

func marshalHelloVerify(cookie []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint16(uint16(Version12))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(cookie) })
	return b.BytesOrPanic()
}

func parseHelloVerify(body []byte) (cookie []byte, err error) {
	b := cryptobyte.String(body)
	if !b.Skip(2) || !b.ReadUint8LengthPrefixed((*cryptobyte.String)(&cookie)) || !b.Empty() {
		return nil, errMalformed(helloVerifyRequest)
	}
	return cookie, nil
}

func (e *extensions) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { e.append(b, inServerHello) })
	return b.BytesOrPanic()
}

func parseEncryptedExtensions(body []byte) (*extensions, error) {
	b, e := cryptobyte.String(body), new(extensions)
	var ext cryptobyte.String
	if !b.ReadUint16LengthPrefixed(&ext) || !b.Empty() || !e.parse(ext, inServerHello) {
		return nil, errMalformed(encryptedExtensions)
	}
	return e, nil
}

// maxChain bounds the certificates of a peer's chain; only the leaf means anything.
const maxChain = 16

func marshalCertificate(v Version, chain [][]byte) []byte {
	var b cryptobyte.Builder
	if v == Version13 {
		b.AddUint8(0) // certificate_request_context
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, der := range chain {
			b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(der) })
			if v == Version13 {
				b.AddUint16(0) // extensions
			}
		}
	})
	return b.BytesOrPanic()
}

// parseCertificate copies the chain, which outlives the handshake at the caller's.
func parseCertificate(v Version, body []byte) (chain [][]byte, err error) {
	b := cryptobyte.String(body)
	var context, list, ext cryptobyte.String
	ok := true
	if v == Version13 {
		ok = b.ReadUint8LengthPrefixed(&context) && context.Empty()
	}
	ok = ok && b.ReadUint24LengthPrefixed(&list) && b.Empty()
	for ok && !list.Empty() && len(chain) < maxChain {
		var der cryptobyte.String
		ok = list.ReadUint24LengthPrefixed(&der) && !der.Empty() && (v == Version12 || list.ReadUint16LengthPrefixed(&ext))
		chain = append(chain, append([]byte(nil), der...))
	}
	if !ok || !list.Empty() {
		return nil, errMalformed(certificateType)
	}
	return chain, nil
}

// A CertificateRequest asks for a signature by one of the schemes; whose certificate, it leaves open.
func marshalCertificateRequest(v Version) []byte {
	var b cryptobyte.Builder
	if v == Version13 {
		b.AddUint8(0) // certificate_request_context
		e := extensions{schemes: acceptedSchemes}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { e.append(b, inServerHello) })
		return b.BytesOrPanic()
	}
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte{64, 1}) }) // ecdsa_sign, rsa_sign
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, s := range acceptedSchemes {
			b.AddUint16(uint16(s))
		}
	})
	b.AddUint16(0) // certificate_authorities
	return b.BytesOrPanic()
}

func parseCertificateRequest(v Version, body []byte) (schemes []signatureScheme, err error) {
	b := cryptobyte.String(body)
	var context, types, list, names, ext cryptobyte.String
	if v == Version13 {
		var e extensions
		ok := b.ReadUint8LengthPrefixed(&context) && context.Empty() &&
			b.ReadUint16LengthPrefixed(&ext) && b.Empty() && e.parse(ext, inServerHello) && len(e.schemes) > 0
		if !ok {
			return nil, errMalformed(certificateRequest)
		}
		return e.schemes, e.misplaced(certificateRequest, inServerHello)
	}
	ok := b.ReadUint8LengthPrefixed(&types) && b.ReadUint16LengthPrefixed(&list) && readNumbers(&schemes, list) &&
		b.ReadUint16LengthPrefixed(&names) && b.Empty()
	if !ok {
		return nil, errMalformed(certificateRequest)
	}
	return schemes, nil
}

// A signed is a CertificateVerify, and the end of a ServerKeyExchange.
type signed struct {
	scheme    signatureScheme
	signature []byte
}

func (s signed) append(b *cryptobyte.Builder) {
	b.AddUint16(uint16(s.scheme))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.signature) })
}

func (s signed) marshal() []byte {
	var b cryptobyte.Builder
	s.append(&b)
	return b.BytesOrPanic()
}

func (s *signed) read(b *cryptobyte.String) bool {
	return b.ReadUint16((*uint16)(&s.scheme)) && b.ReadUint16LengthPrefixed((*cryptobyte.String)(&s.signature)) && b.Empty()
}

func parseCertificateVerify(body []byte) (s signed, err error) {
	if b := cryptobyte.String(body); !s.read(&b) {
		return s, errMalformed(certificateVerify)
	}
	return s, nil
}

// A keyExchange12 is the ServerKeyExchange of ECDHE (RFC 8422 section 5.4); params are the bytes signed.
type keyExchange12 struct {
	group  Group
	key    []byte
	params []byte
	signed signed
}

func marshalParams12(g Group, key []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8(3) // named_curve
	b.AddUint16(uint16(g))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key) })
	return b.BytesOrPanic()
}

func (k *keyExchange12) marshal() []byte {
	var b cryptobyte.Builder
	b.AddBytes(k.params)
	k.signed.append(&b)
	return b.BytesOrPanic()
}

func parseKeyExchange12(body []byte) (k keyExchange12, err error) {
	b := cryptobyte.String(body)
	var curveType uint8
	if !b.ReadUint8(&curveType) || curveType != 3 || !b.ReadUint16((*uint16)(&k.group)) ||
		!b.ReadUint8LengthPrefixed((*cryptobyte.String)(&k.key)) {
		return k, errMalformed(serverKeyExchange)
	}
	k.params = body[:len(body)-len(b)]
	if !k.signed.read(&b) {
		return k, errMalformed(serverKeyExchange)
	}
	return k, nil
}

func marshalClientKeyExchange(key []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key) })
	return b.BytesOrPanic()
}

func parseClientKeyExchange(body []byte) (key []byte, err error) {
	b := cryptobyte.String(body)
	if !b.ReadUint8LengthPrefixed((*cryptobyte.String)(&key)) || !b.Empty() {
		return nil, errMalformed(clientKeyExchange)
	}
	return key, nil
}
