package dtls

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Defaults of a Config, and the bounds of what may stand in one.
const (
	DefaultMTU              = 1200
	DefaultRetransmit       = 50 * time.Millisecond
	DefaultHandshakeTimeout = 30 * time.Second

	minMTU        = 128
	maxMTU        = 1 << 14
	maxCIDLen     = 64 // ours, and the peer's: a longer one would leave no room in the smallest MTU
	minCookieSize = 16
	maxServerName = 253
)

// A Config is shared by any number of connections and must not change once one of them was made. Entropy and Certificate
// are required, but an anonymous client needs no Certificate; all else has a default.
type Config struct {
	// Entropy is where every random byte comes from: crypto/rand's Reader, but for tests. It is read when a
	// connection is made and while its engine runs, never by a Job.
	Entropy io.Reader

	// Certificate is what we prove to be. The peer must know its fingerprint, or trust its chain.
	Certificate *Certificate

	// AnonymousClient makes only the server prove who it is, as on the Web and with TURN (RFC 7350): a server asks for no
	// certificate, so PeerCertificate does not come, and a client shows none, whatever it is asked for.
	AnonymousClient bool

	// ServerName is what a client calls the server (RFC 6066 section 3), a name of DNS without a dot at its end; "": it does
	// not say. Whether the certificate is that server's is for the caller to find out, at PeerCertificate.
	ServerName string

	// CertificateFor chooses a server's certificate by what the client calls it, "" if the client does not say: in each
	// handshake, after the cookie. If it returns nil, or is nil itself, Certificate is shown.
	CertificateFor func(serverName string) *Certificate

	// MinVersion and MaxVersion bound what is negotiated. Zero: Version12 and Version13.
	MinVersion, MaxVersion Version

	// CipherSuites of both versions, best first; nil: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305.
	CipherSuites []CipherSuite

	// Groups, best first; nil: X25519MLKEM768, X25519, P-256, P-384.
	Groups []Group

	// SRTPProfiles to negotiate by use_srtp, best first; the server's order decides. nil: the extension is neither
	// sent nor answered. See [DefaultSRTPProfiles].
	SRTPProfiles []SRTPProfile

	// ALPN protocols (RFC 7301), best first; the server's order decides. nil: none is spoken of.
	ALPN []string

	// MTU is the longest datagram to send, in bytes of UDP payload. 0: DefaultMTU.
	MTU int

	// Retransmit is how long the first retransmission waits; it doubles each time. 0: DefaultRetransmit. A round-trip
	// time told by [Conn.SetRTT] raises it.
	Retransmit time.Duration

	// HandshakeTimeout is when a handshake that does not end is given up. 0: DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// CookieSecret makes a server keep no state for a client that has not shown that it receives at its address
	// (RFC 9147 section 5.1): at least 16 bytes, shared by all connections of a server. nil: no cookie is asked for, as
	// under ICE, which has made that sure.
	CookieSecret []byte

	// ConnectionID is what the peer is asked to put in each record that it sends us (RFC 9146); 64 bytes at most. Empty
	// but not nil: we put the peer's in ours, and want none. nil: connection IDs are not negotiated.
	ConnectionID []byte

	// KeyLog is where secrets are written in the NSS key log format, for debugging: whoever reads it can decrypt the
	// connection. nil: nowhere.
	KeyLog io.Writer
}

// DefaultSRTPProfiles returns every profile known, best first.
func DefaultSRTPProfiles() []SRTPProfile {
	return []SRTPProfile{SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_AES128_CM_HMAC_SHA1_80}
}

var (
	defaultSuites = []CipherSuite{
		AES128GCM, AES256GCM, ChaCha20Poly1305,
		ECDHE_ECDSA_AES128GCM, ECDHE_RSA_AES128GCM, ECDHE_ECDSA_AES256GCM, ECDHE_RSA_AES256GCM,
		ECDHE_ECDSA_ChaCha20Poly1305, ECDHE_RSA_ChaCha20Poly1305,
	}
	defaultGroups = []Group{X25519MLKEM768, X25519, P256, P384}
)

// Validate says what is wrong with the Config, and what to put there. [New] calls it.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return errors.New("dtls: Config.Entropy is nil: pass crypto/rand.Reader")
	case c.Certificate == nil && c.CertificateFor == nil && !c.AnonymousClient:
		return errors.New("dtls: Config.Certificate is nil: make one by GenerateCertificate")
	case len(c.ServerName) > maxServerName:
		return fmt.Errorf("dtls: Config.ServerName has %d bytes: a name of DNS has %d at most", len(c.ServerName), maxServerName)
	case c.minVersion() > Version12 || c.minVersion() < Version13 || c.maxVersion() > Version12 || c.maxVersion() < Version13:
		return errors.New("dtls: Config.MinVersion and MaxVersion: only Version12 and Version13 exist")
	case c.minVersion() < c.maxVersion(): // a newer version is a smaller number
		return errors.New("dtls: Config.MinVersion is above MaxVersion")
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return fmt.Errorf("dtls: Config.MTU is %d: it must lie between %d and %d", c.MTU, minMTU, maxMTU)
	case c.Retransmit < 0 || c.HandshakeTimeout < 0:
		return errors.New("dtls: Config.Retransmit and HandshakeTimeout cannot be negative")
	case c.CookieSecret != nil && len(c.CookieSecret) < minCookieSize:
		return fmt.Errorf("dtls: Config.CookieSecret has %d bytes: it needs %d", len(c.CookieSecret), minCookieSize)
	case len(c.ConnectionID) > maxCIDLen:
		return fmt.Errorf("dtls: Config.ConnectionID has %d bytes: %d at most", len(c.ConnectionID), maxCIDLen)
	}
	for _, s := range c.CipherSuites {
		if s.suite() == nil {
			return fmt.Errorf("dtls: Config.CipherSuites: %s is not known here", s)
		}
	}
	for _, g := range c.Groups {
		if !slices.Contains(defaultGroups, g) {
			return fmt.Errorf("dtls: Config.Groups: %s is not known here", g)
		}
	}
	for _, p := range c.SRTPProfiles {
		if p.KeyLen() == 0 {
			return fmt.Errorf("dtls: Config.SRTPProfiles: %s is not known here", p)
		}
	}
	for _, p := range c.ALPN {
		if len(p) == 0 || len(p) > 255 {
			return fmt.Errorf("dtls: Config.ALPN: %q must have 1 to 255 bytes", p)
		}
	}
	if !c.speaks(Version12) && !c.speaks(Version13) {
		return errors.New("dtls: Config.CipherSuites and Groups leave nothing to offer in the versions allowed")
	}
	if c.Certificate == nil {
		return nil
	}
	return c.Certificate.validate()
}

// speaks reports whether v is allowed and has a suite and a group.
func (c *Config) speaks(v Version) bool {
	return v >= c.maxVersion() && v <= c.minVersion() &&
		slices.ContainsFunc(c.suites(), func(s CipherSuite) bool { return s.suite().version == v }) &&
		slices.ContainsFunc(c.groups(), func(g Group) bool { return v.takes(g) })
}

// versions returns what is spoken, newest first.
func (c *Config) versions() []Version {
	return slices.DeleteFunc([]Version{Version13, Version12}, func(v Version) bool { return !c.speaks(v) })
}

func (c *Config) suites() []CipherSuite { return orDefault(c.CipherSuites, defaultSuites) }
func (c *Config) groups() []Group       { return orDefault(c.Groups, defaultGroups) }

func (c *Config) suitesOf(v Version) []CipherSuite {
	return slices.DeleteFunc(slices.Clone(c.suites()), func(s CipherSuite) bool { return s.suite().version != v })
}

// groupsOf leaves the hybrid group to DTLS 1.3.
func (c *Config) groupsOf(v Version) []Group {
	return slices.DeleteFunc(slices.Clone(c.groups()), func(g Group) bool { return !v.takes(g) })
}

func (v Version) takes(g Group) bool { return v != Version12 || g != X25519MLKEM768 }

func (c *Config) minVersion() Version { return nonZero(c.MinVersion, Version12) }
func (c *Config) maxVersion() Version { return nonZero(c.MaxVersion, Version13) }
func (c *Config) mtu() int            { return nonZero(c.MTU, DefaultMTU) }

func (c *Config) retransmit() time.Duration { return nonZero(c.Retransmit, DefaultRetransmit) }
func (c *Config) handshakeTimeout() time.Duration {
	return nonZero(c.HandshakeTimeout, DefaultHandshakeTimeout)
}

func orDefault[T any](s, def []T) []T {
	if len(s) == 0 {
		return def
	}
	return s
}

func nonZero[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
