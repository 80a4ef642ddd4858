package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pebble is a certificate authority that speaks ACME, and the DNS server that it asks.
type pebble struct {
	h         *host
	directory string // URL
	caFile    string // who vouches for the authority's own https
	dir       string
	proc      *process
}

const (
	pebbleAPI, pebbleAdmin = "127.0.0.1:14000", "127.0.0.1:15000"
	pebbleDNS              = "127.0.0.1:8053"
)

// newPebble prepares an authority on the host that finds every name at the host's address and gives certificates of
// the given lifetime. It does not run yet.
func newPebble(t *testing.T, h *host, lifetime time.Duration) *pebble {
	t.Helper()
	needs(t, needPebble)
	p := &pebble{h: h, directory: "https://" + pebbleAPI + "/dir", dir: t.TempDir()}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's ACME server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.caFile = p.write(t, "api.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	p.write(t, "api-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": pebbleAPI, "managementListenAddress": pebbleAdmin,
		"certificate": filepath.Join(p.dir, "api.pem"), "privateKey": filepath.Join(p.dir, "api-key.pem"),
		"httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": int(lifetime.Seconds()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "pebble.json", config)
	return p
}

func (p *pebble) write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start brings the authority up.
func (p *pebble) start() {
	t := p.h.t
	t.Helper()
	start(t, p.h.command("pebble-challtestsrv", "-dns01", pebbleDNS, "-http01", "", "-https01", "", "-tlsalpn01", "",
		"-management", "127.0.0.1:8055", "-defaultIPv4", p.h.addr, "-defaultIPv6", ""))
	cmd := p.h.command("pebble", "-config", filepath.Join(p.dir, "pebble.json"), "-dnsserver", pebbleDNS)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	p.proc = start(t, cmd)
	wait(t, "pebble is up", func() error { return get(p.client(), p.directory) })
}

// hang makes the authority accept connections and say nothing, which is worse than an authority that is gone.
// wake ends that.
func (p *pebble) hang() { p.proc.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *pebble) wake() { p.proc.cmd.Process.Signal(syscall.SIGCONT) }

func (p *pebble) client() *http.Client {
	c := p.h.client()
	c.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // its key is of this test
	return c
}

// root is the certificate that the authority signs with, in PEM.
func (p *pebble) root() []byte {
	p.h.t.Helper()
	res, err := p.client().Get("https://" + pebbleAdmin + "/roots/0")
	if err != nil {
		p.h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.h.t.Fatalf("the authority's root: %s %v", res.Status, err)
	}
	return b
}
