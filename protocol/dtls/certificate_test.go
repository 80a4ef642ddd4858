package dtls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

var testYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func selfSigned(t testing.TB, key crypto.Signer) *Certificate {
	t.Helper()
	c, err := SelfSign(entropy("serial"), key, testYear, testYear.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ecdsaKey(t testing.TB, curve elliptic.Curve, size int) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(curve, bytes.Repeat([]byte{0x42}, size))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Both roles, both versions, with every kind of certificate that we show.
func TestKindsOfCertificate(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]*Certificate{
		"P-256": certificateOf(t, "a"),
		"P-384": selfSigned(t, ecdsaKey(t, elliptic.P384(), 48)),
		"RSA":   selfSigned(t, rsaKey),
	}
	for _, v := range []Version{Version12, Version13} {
		for a, client := range kinds {
			for b, server := range kinds {
				t.Run(fmt.Sprintf("%v %s %s", v, a, b), func(t *testing.T) {
					p := newConnected(t, v, func(c, s *Config) {
						c.Certificate, s.Certificate = client, server
						c.MTU, s.MTU = 400, 400
					})
					p.checkAgreement()
					if s := p.client.State(); v == Version12 && s.CipherSuite.suite().rsa != (b == "RSA") {
						t.Errorf("%v for a server with %s", s.CipherSuite, b)
					}
					p.exchange(1)
				})
			}
		}
	}
}

// Every suite, both versions.
func TestEverySuite(t *testing.T) {
	for _, s := range suites {
		if s.rsa {
			continue // the same ciphers; TestKindsOfCertificate has the certificates
		}
		p := newConnected(t, s.version, func(client, server *Config) { server.CipherSuites = []CipherSuite{s.id} })
		p.checkAgreement()
		p.exchange(5)
		if got := p.client.State().CipherSuite; got != s.id {
			t.Errorf("%v was negotiated instead of %v", got, s.id)
		}
	}
}

// An Ed25519 certificate we do not show, but a peer may.
func TestEd25519OfThePeer(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := []byte("message")
	if err := verifies(key.Public(), Version13, ed25519Pure); err != nil {
		t.Error(err)
	}
	signature := ed25519.Sign(key, message)
	if err := verify(key.Public(), ed25519Pure, message, signature); err != nil {
		t.Error(err)
	}
	signature[3] ^= 1
	if err := verify(key.Public(), ed25519Pure, message, signature); err == nil {
		t.Error("a spoiled signature holds")
	}
	if _, err := SelfSign(entropy("x"), key, testYear, testYear); err == nil {
		t.Error("we would show an Ed25519 certificate")
	}
}

func TestGenerateCertificateFollowsItsEntropy(t *testing.T) {
	a, err := GenerateCertificate(entropy("one"), testYear, testYear.AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := GenerateCertificate(entropy("one"), testYear, testYear.AddDate(0, 1, 0))
	c, _ := GenerateCertificate(entropy("two"), testYear, testYear.AddDate(0, 1, 0))
	if !bytes.Equal(a.Chain[0], b.Chain[0]) || bytes.Equal(a.Chain[0], c.Chain[0]) {
		t.Error("equal entropy must give equal certificates, and other entropy others")
	}
	x, err := x509.ParseCertificate(a.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := x.CheckSignature(x.SignatureAlgorithm, x.RawTBSCertificate, x.Signature); err != nil {
		t.Error(err)
	}
	if !x.NotBefore.Equal(testYear) || x.SerialNumber.Sign() <= 0 {
		t.Errorf("valid from %v, serial number %v", x.NotBefore, x.SerialNumber)
	}
	if _, err := GenerateCertificate(strings.NewReader("short"), testYear, testYear); err == nil {
		t.Error("a certificate out of five bytes of entropy")
	}
}

// What certify writes is what the standard library writes for the same key, which signs alike.
func TestCertificatesAreThoseOfX509(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{ecdsaKey(t, elliptic.P256(), 32), ecdsaKey(t, elliptic.P384(), 48), rsaKey} {
		for _, until := range []time.Time{testYear.AddDate(0, 1, 0), time.Date(2051, 2, 3, 4, 5, 6, 0, time.UTC)} {
			c, err := SelfSign(entropy("x"), key, testYear, until)
			if err != nil {
				t.Fatal(err)
			}
			x, err := x509.ParseCertificate(c.Chain[0])
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{SerialNumber: x.SerialNumber, Subject: pkix.Name{CommonName: x.Subject.CommonName}, NotBefore: testYear, NotAfter: until}
			der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(der, c.Chain[0]) {
				t.Errorf("%T until %v:\n%x\n%x", key, until, c.Chain[0], der)
			}
		}
	}
}

func TestBadCertificates(t *testing.T) {
	good := certificateOf(t, "a")
	weak := newWeakRSA(t)
	for name, c := range map[string]*Certificate{
		"nothing":       {},
		"no key":        {Chain: good.Chain},
		"another's key": {Chain: good.Chain, PrivateKey: certificateOf(t, "b").PrivateKey},
		"rubbish":       {Chain: [][]byte{{1, 2, 3}}, PrivateKey: good.PrivateKey},
		"weak RSA":      weak,
		"P-224":         {Chain: newX509(t, ecdsaKey(t, elliptic.P224(), 28)), PrivateKey: ecdsaKey(t, elliptic.P224(), 28)},
	} {
		cfg := configOf(t, "client", 1)
		cfg.Certificate = c
		if _, err := New(Client, cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// A peer that shows one has itself to blame. One whose key is huge would have us to verify its signature for seconds.
	huge := new(big.Int).SetBit(big.NewInt(1), 64<<10, 1)
	for name, public := range map[string]crypto.PublicKey{"weak": weak.PrivateKey.Public(), "huge": &rsa.PublicKey{N: huge, E: 1<<31 - 1}} {
		for v, s := range map[Version]signatureScheme{Version13: pssSHA256, Version12: pkcs1SHA256} {
			if err := verifies(public, v, s); err == nil {
				t.Errorf("%v: a peer's %s RSA key is accepted", v, name)
			}
		}
	}
}

func newX509(t *testing.T, key crypto.Signer) [][]byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotBefore: testYear, NotAfter: testYear}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func newWeakRSA(t *testing.T) *Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return &Certificate{Chain: newX509(t, key), PrivateKey: key}
}

// RFC 8122 section 5: the fingerprint is of the DER; of several, those of the best hash decide.
func TestFingerprints(t *testing.T) {
	der, other := certificateOf(t, "a").Chain[0], certificateOf(t, "b").Chain[0]
	of := func(algorithm string, der []byte) Fingerprint {
		f, err := FingerprintOf(algorithm, der)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		promised []Fingerprint
		want     bool
	}{
		{nil, false},
		{[]Fingerprint{of("sha-256", der)}, true},
		{[]Fingerprint{of("SHA-384", der)}, true},
		{[]Fingerprint{of("sha-512", der)}, true},
		{[]Fingerprint{of("sha-256", other)}, false},
		{[]Fingerprint{of("sha-256", other), of("sha-256", der)}, true},
		{[]Fingerprint{of("sha-256", der), of("sha-512", other)}, false},
		{[]Fingerprint{{"sha-1", "00:11"}, of("sha-256", der)}, true},
		{[]Fingerprint{{"sha-1", "00:11"}}, false},
		{[]Fingerprint{{"sha-256", ""}}, false},
		{[]Fingerprint{{"sha-256", strings.ToLower(of("sha-256", der).Value)}}, true},
	} {
		if got := MatchFingerprint(der, c.promised); got != c.want {
			t.Errorf("%v: %v", c.promised, got)
		}
	}
	if _, err := FingerprintOf("md5", der); err == nil {
		t.Error("a fingerprint by md5")
	}
	if f := certificateOf(t, "a").Fingerprint(); f != of("sha-256", der) || len(f.Value) != 95 {
		t.Errorf("%v", f)
	}
}

// Whatever is wrong with a Config is said, and what to do.
func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Entropy":          func(c *Config) { c.Entropy = nil },
		"Certificate":      func(c *Config) { c.Certificate = nil },
		"Certificate of":   func(c *Config) { c.Certificate, c.CertificateFor = nil, func(string) *Certificate { return nil } },
		"ServerName":       func(c *Config) { c.ServerName = strings.Repeat("a", 254) },
		"versions":         func(c *Config) { c.MinVersion = 0x0303 },
		"MinVersion":       func(c *Config) { c.MinVersion, c.MaxVersion = Version13, Version12 },
		"MTU":              func(c *Config) { c.MTU = 100 },
		"Retransmit":       func(c *Config) { c.Retransmit = -1 },
		"CookieSecret":     func(c *Config) { c.CookieSecret = []byte("short") },
		"ConnectionID":     func(c *Config) { c.ConnectionID = make([]byte, 65) },
		"CipherSuites":     func(c *Config) { c.CipherSuites = []CipherSuite{0x002f} },
		"Groups":           func(c *Config) { c.Groups = []Group{1} },
		"SRTPProfiles":     func(c *Config) { c.SRTPProfiles = []SRTPProfile{2} },
		"ALPN":             func(c *Config) { c.ALPN = []string{""} },
		"nothing to offer": func(c *Config) { only(c, Version12).Groups = []Group{X25519MLKEM768} },
	} {
		cfg := configOf(t, "client", 1)
		change(cfg)
		if _, err := New(Client, cfg); err == nil || !strings.HasPrefix(err.Error(), "dtls: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	anonymous := configOf(t, "server", 1)
	anonymous.Certificate, anonymous.AnonymousClient = nil, true
	if _, err := New(Server, anonymous); err == nil {
		t.Error("a server without a certificate")
	}
	if _, err := New(0, configOf(t, "client", 1)); err == nil {
		t.Error("a connection without a role")
	}
}
