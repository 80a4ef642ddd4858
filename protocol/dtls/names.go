package dtls

import (
	"crypto"
	"fmt"
)

// Role is the side of the handshake: in SDP the client is a=setup:active, the server a=setup:passive (RFC 5763 section 5).
type Role uint8

const (
	Client Role = iota + 1
	Server
)

func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// Version is a protocol version as it stands on the wire.
type Version uint16

const (
	Version12 Version = 0xfefd
	Version13 Version = 0xfefc
)

func (v Version) String() string {
	switch v {
	case Version12:
		return "DTLS 1.2"
	case Version13:
		return "DTLS 1.3"
	}
	return fmt.Sprintf("version %#04x", uint16(v))
}

// CipherSuite is a number of the IANA registry "TLS Cipher Suites".
type CipherSuite uint16

// Suites of DTLS 1.3 name the cipher only; those of 1.2 name the certificate's kind too.
const (
	AES128GCM        CipherSuite = 0x1301
	AES256GCM        CipherSuite = 0x1302
	ChaCha20Poly1305 CipherSuite = 0x1303

	ECDHE_ECDSA_AES128GCM        CipherSuite = 0xc02b
	ECDHE_ECDSA_AES256GCM        CipherSuite = 0xc02c
	ECDHE_ECDSA_ChaCha20Poly1305 CipherSuite = 0xcca9
	ECDHE_RSA_AES128GCM          CipherSuite = 0xc02f
	ECDHE_RSA_AES256GCM          CipherSuite = 0xc030
	ECDHE_RSA_ChaCha20Poly1305   CipherSuite = 0xcca8

	// renegotiationSCSV stands among a client's suites for an empty renegotiation_info (RFC 5746 section 3.3).
	renegotiationSCSV CipherSuite = 0x00ff
)

// suite is what the engine knows of a CipherSuite.
type suite struct {
	id      CipherSuite
	name    string
	version Version
	hash    crypto.Hash
	keyLen  int
	chacha  bool // else AES-GCM
	rsa     bool // the certificate's kind, in 1.2
}

var suites = [...]suite{
	{AES128GCM, "TLS_AES_128_GCM_SHA256", Version13, crypto.SHA256, 16, false, false},
	{AES256GCM, "TLS_AES_256_GCM_SHA384", Version13, crypto.SHA384, 32, false, false},
	{ChaCha20Poly1305, "TLS_CHACHA20_POLY1305_SHA256", Version13, crypto.SHA256, 32, true, false},
	{ECDHE_ECDSA_AES128GCM, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Version12, crypto.SHA256, 16, false, false},
	{ECDHE_ECDSA_AES256GCM, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Version12, crypto.SHA384, 32, false, false},
	{ECDHE_ECDSA_ChaCha20Poly1305, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", Version12, crypto.SHA256, 32, true, false},
	{ECDHE_RSA_AES128GCM, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Version12, crypto.SHA256, 16, false, true},
	{ECDHE_RSA_AES256GCM, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Version12, crypto.SHA384, 32, false, true},
	{ECDHE_RSA_ChaCha20Poly1305, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Version12, crypto.SHA256, 32, true, true},
}

// suite returns what is known of s, or nil.
func (s CipherSuite) suite() *suite {
	for i := range suites {
		if suites[i].id == s {
			return &suites[i]
		}
	}
	return nil
}

// String returns the IANA name.
func (s CipherSuite) String() string {
	if k := s.suite(); k != nil {
		return k.name
	}
	return fmt.Sprintf("suite %#04x", uint16(s))
}

// Group is a number of the IANA registry "TLS Supported Groups": a way to agree on a secret.
type Group uint16

const (
	P256           Group = 23
	P384           Group = 24
	X25519         Group = 29
	X25519MLKEM768 Group = 4588 // post-quantum hybrid; DTLS 1.3 only
)

func (g Group) String() string {
	switch g {
	case P256:
		return "P-256"
	case P384:
		return "P-384"
	case X25519:
		return "X25519"
	case X25519MLKEM768:
		return "X25519MLKEM768"
	}
	return fmt.Sprintf("group %d", uint16(g))
}

// SRTPProfile is a protection profile of DTLS-SRTP (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
type SRTPProfile uint16

const (
	SRTP_AES128_CM_HMAC_SHA1_80 SRTPProfile = 0x0001
	SRTP_AEAD_AES_128_GCM       SRTPProfile = 0x0007
	SRTP_AEAD_AES_256_GCM       SRTPProfile = 0x0008
)

func (p SRTPProfile) String() string {
	switch p {
	case SRTP_AES128_CM_HMAC_SHA1_80:
		return "SRTP_AES128_CM_HMAC_SHA1_80"
	case SRTP_AEAD_AES_128_GCM:
		return "SRTP_AEAD_AES_128_GCM"
	case SRTP_AEAD_AES_256_GCM:
		return "SRTP_AEAD_AES_256_GCM"
	}
	return fmt.Sprintf("SRTP profile %#04x", uint16(p))
}

// KeyLen and SaltLen are the lengths, in bytes, of the profile's master key and master salt; 0 for a profile unknown.
func (p SRTPProfile) KeyLen() int {
	switch p {
	case SRTP_AES128_CM_HMAC_SHA1_80, SRTP_AEAD_AES_128_GCM:
		return 16
	case SRTP_AEAD_AES_256_GCM:
		return 32
	}
	return 0
}

func (p SRTPProfile) SaltLen() int {
	switch p {
	case SRTP_AES128_CM_HMAC_SHA1_80:
		return 14
	case SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM:
		return 12
	}
	return 0
}

// contentType is the type of a record.
type contentType uint8

const (
	typeChangeCipherSpec contentType = 20
	typeAlert            contentType = 21
	typeHandshake        contentType = 22
	typeData             contentType = 23
	typeCID              contentType = 25 // DTLS 1.2 ciphertext with a connection ID (RFC 9146)
	typeACK              contentType = 26
)

// handshakeType is the type of a handshake message.
type handshakeType uint8

const (
	helloRequest        handshakeType = 0
	clientHelloType     handshakeType = 1
	serverHelloType     handshakeType = 2
	helloVerifyRequest  handshakeType = 3
	newSessionTicket    handshakeType = 4
	encryptedExtensions handshakeType = 8
	requestConnectionID handshakeType = 9
	newConnectionID     handshakeType = 10
	certificateType     handshakeType = 11
	serverKeyExchange   handshakeType = 12
	certificateRequest  handshakeType = 13
	serverHelloDone     handshakeType = 14
	certificateVerify   handshakeType = 15
	clientKeyExchange   handshakeType = 16
	finishedType        handshakeType = 20
	keyUpdate           handshakeType = 24
	messageHash         handshakeType = 254
)

var handshakeNames = map[handshakeType]string{
	helloRequest: "HelloRequest", clientHelloType: "ClientHello", serverHelloType: "ServerHello",
	helloVerifyRequest: "HelloVerifyRequest", newSessionTicket: "NewSessionTicket", encryptedExtensions: "EncryptedExtensions",
	requestConnectionID: "RequestConnectionId", newConnectionID: "NewConnectionId", certificateType: "Certificate",
	serverKeyExchange: "ServerKeyExchange", certificateRequest: "CertificateRequest", serverHelloDone: "ServerHelloDone",
	certificateVerify: "CertificateVerify", clientKeyExchange: "ClientKeyExchange", finishedType: "Finished", keyUpdate: "KeyUpdate",
}

func (t handshakeType) String() string {
	if s, ok := handshakeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("handshake message %d", uint8(t))
}
