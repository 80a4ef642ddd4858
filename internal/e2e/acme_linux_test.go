package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A server on the internet: its authority is down when it starts, comes, gives certificates of a short life, falls
// silent when one is to be renewed, and comes back. A call that goes on sees nothing of it.
func TestACME(t *testing.T) {
	t.Parallel() // mostly waiting
	needs(t, needChromium, needCertutil, needNamespaces, needPebble)
	const name, passphrase = "call.example", "correct horse battery staple"
	h := newLAN(t, "203.0.113.7")[0]
	ca := newPebble(t, h, acmeLifetime)
	proc := start(t, h.command(parley(t), "serve", "--domain", name, "--passphrase", passphrase,
		"--acme-directory", ca.directory, "--acme-ca-file", ca.caFile, "--state-dir", filepath.Join(t.TempDir(), "state")))
	proc.ready(h.client(), "http://127.0.0.1")
	if _, err := h.certificate(name, nil); err == nil {
		t.Error("there is a certificate before the authority was there")
	}

	ca.start()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.root())
	first := h.awaits(name, roots, "")
	if life := first.NotAfter.Sub(first.NotBefore); life > 2*acmeLifetime {
		t.Fatalf("the certificate lives for %v: the renewal would not be seen", life)
	}

	profile := t.TempDir()
	trust(t, profile, ca.root())
	b := launch(t, browserOptions{netns: h.ns, home: profile, names: "MAP " + name + " " + h.addr})
	ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
	ada.open("https://" + name + "/")
	ada.click("new-room")
	ada.fill("name", ada.name)
	ada.click("join")
	ada.click("host")
	ada.fill("passphrase", passphrase)
	ada.click("try-again")
	ada.sees("stage")
	bob.joins(ada.invites())
	meet(ada, bob)
	second := h.awaits(name, roots, h.shows(name, roots))
	ca.hang() // at once: on a slow machine the second is soon replaced, too
	wait(t, "the time to renew is over", func() error {
		if left := time.Until(second.NotAfter); left > acmeLifetime/4 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	if serial := h.shows(name, roots); serial != second.SerialNumber.String() {
		t.Errorf("while the authority is silent there is certificate %s, want the one that is still good, %s", serial, second.SerialNumber)
	}
	ca.wake()
	h.awaits(name, roots, second.SerialNumber.String())
	ada.perceives(1)
	if n := eval[int](ada, "e2e.connections.length"); n != 1 {
		t.Errorf("the call needed %d connections, want the one that it began with", n)
	}
	ada.says("has anything happened?")
	bob.hears("has anything happened?")
}

// A bare address gets a certificate too (RFC 8738).
func TestACMEForAnAddress(t *testing.T) {
	needs(t, needNamespaces, needPebble)
	h := newLAN(t, "203.0.113.7")[0]
	ca := newPebble(t, h, 6*24*time.Hour)
	ca.start()
	proc := start(t, h.command(parley(t), "serve", "--public="+h.addr, "--acme-directory", ca.directory, "--acme-ca-file", ca.caFile,
		"--state-dir", filepath.Join(t.TempDir(), "state")))
	proc.ready(h.client(), "http://127.0.0.1")
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.root())
	cert := h.awaits("", roots, "")
	if err := cert.VerifyHostname(h.addr); err != nil {
		t.Error(err)
	}
}

// acmeLifetime is how long a certificate lives here.
const acmeLifetime = 20 * time.Second

// certificate is what the host's https shows to one who asks for name ("": for its address) and trusts roots.
func (h *host) certificate(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	conn, err := h.dial(h.t.Context(), "tcp", net.JoinHostPort(h.addr, "443"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if name == "" {
		name = h.addr // no SNI is sent for an address
	}
	c := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: roots})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// shows is the serial number of the host's certificate, which must be a good one.
func (h *host) shows(name string, roots *x509.CertPool) string {
	h.t.Helper()
	cert, err := h.certificate(name, roots)
	if err != nil {
		h.t.Fatalf("the certificate for %s: %v", name, err)
	}
	return cert.SerialNumber.String()
}

// awaits waits for a good certificate with another serial number than old.
func (h *host) awaits(name string, roots *x509.CertPool, old string) *x509.Certificate {
	h.t.Helper()
	var cert *x509.Certificate
	wait(h.t, "a certificate for "+name, func() (err error) {
		if cert, err = h.certificate(name, roots); err == nil && cert.SerialNumber.String() == old {
			err = errors.New("still the old one")
		}
		return err
	})
	return cert
}
