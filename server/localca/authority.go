// Package localca is a certificate authority for one machine's local network, so that phones and computers there can
// open the app as a secure page once they have been told to trust it.
//
// What it may certify is limited by critical name constraints (RFC 5280, section 4.2.1.10) to addresses that cannot be
// reached from the internet, to names under .local and localhost, and to the machine's own names: whoever steals its
// key can pretend to be a machine of the local network, and no site of the internet.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/state"
)

const (
	authorityFile = "authority.pem" // certificate and key, in one file so that they cannot fall apart
	authorityLife = 10 * 365 * 24 * time.Hour
	// leafLife is as long as browsers accept a certificate for: 398 days.
	leafLife = 397 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
	clockSkew   = time.Hour
)

// An Authority signs certificates for the local network. It does not change and is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority returns the authority kept in dir. If there is none, or its time is over, it makes one that is limited to
// what is near and to the given names.
func OpenAuthority(dir *state.Dir, names []string, now time.Time) (*Authority, error) {
	data, err := dir.Read(authorityFile)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newAuthority(names, now); err == nil {
			data, err = dir.Create(authorityFile, data)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("localca: %w", err)
	}
	a, err := parseAuthority(data)
	if err != nil {
		return nil, fmt.Errorf("localca: %s in %s is broken (%w): remove it, and a new authority is made, which devices then have to trust anew",
			authorityFile, dir.Path(), err)
	}
	if now.Before(a.cert.NotAfter.Add(-renewBefore)) {
		return a, nil
	}
	if data, err = newAuthority(names, now); err == nil {
		err = dir.Write(authorityFile, data)
	}
	if err != nil {
		return nil, fmt.Errorf("localca: %w", err)
	}
	return parseAuthority(data)
}

func newAuthority(names []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	permitted := []string{"local", "localhost"}
	for _, name := range names {
		if isName(name) && !isSuffix(name) && !slices.Contains(permitted, name) {
			permitted = append(permitted, name)
		}
	}
	called := "Parley local authority"
	if len(names) > 0 {
		called += " of " + names[0]
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: called, Organization: []string{"Parley, made " + now.UTC().Format(time.DateOnly)}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		// Constraints bind only the kinds of names they mention; this keeps the authority from certifying e-mail or code.
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         permitted,
	}
	for _, p := range machine.NearNetworks {
		template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{
			IP:   p.Addr().AsSlice(),
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
		})
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return encode(der, key)
}

// isSuffix reports whether strangers have names below this one: a constraint permits those as well, so an authority for a
// machine that is called app would be one for all of .app.
func isSuffix(name string) bool {
	suffix, icann := publicsuffix.PublicSuffix(name)
	return suffix == name && (icann || strings.Contains(name, "."))
}

func parseAuthority(data []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("it holds something else")
	}
	return &Authority{pair.Leaf, key}, nil
}

func encode(der []byte, key *ecdsa.PrivateKey) ([]byte, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}

// Name is what devices list the authority as.
func (a *Authority) Name() string { return a.cert.Subject.CommonName }

// Certificate is the authority's certificate, without its key.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// PEM is the authority's certificate as a file for devices.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Fingerprint is the SHA-256 of the certificate in the form that browsers and systems show: pairs of hexadecimal
// digits with colons between them.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Permits reports whether the authority's constraints let it certify a name (a host's, or an address).
func (a *Authority) Permits(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return slices.ContainsFunc(a.cert.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(addr.AsSlice()) })
	}
	return isName(name) && slices.ContainsFunc(a.cert.PermittedDNSDomains, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}

// sign makes a certificate for names, each of which the authority permits.
func (a *Authority) sign(names []string, key *ecdsa.PrivateKey, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Parley"}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(leafLife - clockSkew),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, name := range names {
		if addr, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
}

// isName reports whether s can stand in a certificate as a host's name.
func isName(s string) bool {
	if s == "" || len(s) > 253 || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}) < 0
}

// OwnNames are the names, beside .local and localhost, that the authority may certify.
func (a *Authority) OwnNames() []string {
	var names []string
	for _, n := range a.cert.PermittedDNSDomains {
		if n != "local" && n != "localhost" {
			names = append(names, n)
		}
	}
	return names
}
