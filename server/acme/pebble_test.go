package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

// pebble is an authority for tests, Let's Encrypt's own, with the DNS server that it asks (which knows every name as
// 127.0.0.1).
type pebble struct {
	t         *testing.T
	directory string
	roots     *x509.CertPool // of its own https
	config    string
	dns       string
	cmd       *exec.Cmd
}

// newPebble prepares an authority that certifies for life and asks at the given ports. It does not run yet.
func newPebble(t *testing.T, life time.Duration, httpPort, tlsPort int) *pebble {
	t.Helper()
	need.Program(t, "pebble", "pebble", "pebble-challtestsrv")
	dir := t.TempDir()
	// An address of loopback that is this authority's alone: a port that was free a moment ago may be taken by another test.
	var own [3]byte
	rand.Read(own[:])
	host := net.IPv4(127, own[0]|1, own[1], own[2]|1)
	at := func(port int) string { return net.JoinHostPort(host.String(), strconv.Itoa(port)) }
	p := &pebble{t: t, roots: x509.NewCertPool(), config: filepath.Join(dir, "pebble.json"), dns: at(8053)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble's own https"}, IPAddresses: []net.IP{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	p.roots.AppendCertsFromPEM(certPEM)
	p.directory = "https://" + at(14000) + "/dir"
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at(14000), "managementListenAddress": at(15000),
		"certificate": filepath.Join(dir, "cert.pem"), "privateKey": filepath.Join(dir, "key.pem"),
		"httpPort": httpPort, "tlsPort": tlsPort, "certificateValidityPeriod": int(life.Seconds()),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"cert.pem": certPEM, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), "pebble.json": config,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.run("pebble-challtestsrv", "-dns01", p.dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "", "-defaultIPv6", "")
	return p
}

// run runs a program until the test ends.
func (p *pebble) run(program string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1")
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { stop(cmd) })
	return cmd
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may have ended already
	_ = cmd.Wait()
}

// up starts the authority, with nothing in its memory, and waits until it answers.
func (p *pebble) up() {
	p.t.Helper()
	p.cmd = p.run("pebble", "-config", p.config, "-dnsserver", p.dns)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, DisableKeepAlives: true}}
	for deadline := time.Now().Add(need.Patience); ; {
		resp, err := client.Get(p.directory)
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal(fmt.Errorf("pebble does not come up: %w", err))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *pebble) down() { stop(p.cmd) }
