package acme

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// challenges are the questions that the authority is about to ask, and our answers.
type challenges struct {
	mu    sync.Mutex
	http  map[string]string           // by path
	certs map[string]*tls.Certificate // by server name
}

// Protocol is the application protocol by which an authority asks over TLS (RFC 8737); https must offer it.
const Protocol = acmez.ACMETLS1Protocol

const challengePath = "/.well-known/acme-challenge/"

// IsChallenge reports whether a plain http request is an authority's question; [Manager.ServeHTTP] answers those.
func IsChallenge(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, challengePath) }

// ServeHTTP answers an authority's question over plain http (RFC 8555, section 8.3). The answer holds no secret.
func (m *Manager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.challenges.mu.Lock()
	answer, ok := m.challenges.http[r.URL.Path]
	m.challenges.mu.Unlock()
	if !ok || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write([]byte(answer)) // an authority that went away asks again
}

// Challenge returns the certificate that answers an authority's question over TLS (RFC 8737), and whether hello is one.
func (m *Manager) Challenge(hello *tls.ClientHelloInfo) (cert *tls.Certificate, asked bool, err error) {
	if !slices.Contains(hello.SupportedProtos, Protocol) {
		return nil, false, nil
	}
	m.challenges.mu.Lock()
	defer m.challenges.mu.Unlock()
	cert = m.challenges.certs[strings.ToLower(hello.ServerName)]
	if cert == nil {
		return nil, true, fmt.Errorf("acme: nobody is waiting for a challenge for %q", hello.ServerName)
	}
	return cert, true, nil
}

type httpSolver struct{ *challenges }

func (s httpSolver) Present(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		s.http = make(map[string]string)
	}
	s.http[c.HTTP01ResourcePath()] = c.KeyAuthorization
	return nil
}

func (s httpSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.http, c.HTTP01ResourcePath())
	return nil
}

type tlsSolver struct{ *challenges }

func (s tlsSolver) Present(_ context.Context, c acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certs == nil {
		s.certs = make(map[string]*tls.Certificate)
	}
	s.certs[serverName(c.Identifier.Value)] = cert
	return nil
}

func (s tlsSolver) CleanUp(_ context.Context, c acme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.certs, serverName(c.Identifier.Value))
	return nil
}

// serverName is what the authority puts into its ClientHello. An address stands there as the name of its reverse look-up
// (RFC 8738, section 6).
func serverName(identifier string) string {
	addr, err := netip.ParseAddr(identifier)
	if err != nil {
		return strings.ToLower(identifier)
	}
	var b strings.Builder
	bytes := addr.AsSlice()
	for _, part := range slices.Backward(bytes) {
		if addr.Is4() {
			fmt.Fprintf(&b, "%d.", part)
		} else {
			fmt.Fprintf(&b, "%x.%x.", part&0xf, part>>4)
		}
	}
	if addr.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}
