package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/server/localca"
	"github.com/parley-rtc/parley/server/state"
)

// A new address is in the certificate without a restart, and the Host is accepted.
func TestAddressChange(t *testing.T) {
	r := start(t, Config{})
	if err := r.certs.local.Certificate().Leaf.VerifyHostname("10.0.0.7"); err == nil {
		t.Fatal("the certificate has the address already")
	}
	r.machine.set("kitchen", "10.0.0.7")
	if !r.watch.Refresh() {
		t.Fatal("the change was not seen")
	}
	r.updateLeaf()
	roots := x509.NewCertPool()
	roots.AddCert(r.authority.Certificate())
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.https(), "https://"), &tls.Config{RootCAs: roots, ServerName: "10.0.0.7"})
	if err != nil {
		t.Fatalf("handshake for the new address: %v", err)
	}
	conn.Close()
	if resp, _ := r.do("GET", r.https()+"/", host("10.0.0.7")); resp.StatusCode != http.StatusOK {
		t.Errorf("by the new address: %s", resp.Status)
	}
	if resp, _ := r.do("GET", r.https()+"/", host("192.168.1.5")); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by the old address: %s", resp.Status)
	}
}

// writePair writes a certificate that a fresh authority has signed for localhost, and returns it.
func writePair(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	r := &fakeMachine{}
	r.set("kitchen")
	dir := openState(t)
	authority, err := localca.OpenAuthority(dir, r.look().Names(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := localca.OpenLeaf(dir, authority, r.look(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair := leaf.Certificate()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair.Leaf
}

func TestOwnCertificateIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writePair(t, certFile, keyFile)
	r := start(t, Config{TLSCert: certFile, TLSKey: keyFile})
	shown := func() *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.https(), "https://"), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
	if !shown().Equal(first) {
		t.Error("the operator's certificate is not shown")
	}
	f, err := openCertificate(certFile, keyFile) // not the one that the server watches
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := f.reload(); changed || err != nil {
		t.Errorf("nothing has changed, but %v, %v", changed, err)
	}
	if err := os.WriteFile(certFile, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.reload(); !changed || err == nil {
		t.Errorf("a broken file: %v, %v", changed, err)
	}
	if changed, err := f.reload(); changed || err != nil {
		t.Errorf("a broken file is reported again: %v, %v", changed, err)
	}
	if !f.current.Load().Leaf.Equal(first) {
		t.Error("a broken file has replaced the certificate")
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := f.reload(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	second := writePair(t, certFile, keyFile)
	if changed, err := f.reload(); !changed || err != nil {
		t.Errorf("a renewed file: %v, %v", changed, err)
	}
	if !f.current.Load().Leaf.Equal(second) {
		t.Error("the renewed certificate is not taken")
	}
	for deadline := time.Now().Add(10 * lookEvery); !shown().Equal(second); { // the server looks by itself
		if time.Now().After(deadline) {
			t.Fatal("the running server goes on showing the old certificate")
		}
		<-time.After(lookEvery / 20)
	}
}

// A name that the operator's certificate is not for, but the local authority's is, gets the latter.
func TestWhichCertificateIsShown(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	own := writePair(t, certFile, keyFile) // for localhost, kitchen, 127.0.0.1
	r := start(t, Config{TLSCert: certFile, TLSKey: keyFile})
	for name, want := range map[string]*x509.Certificate{
		"localhost":     own,
		"kitchen":       own,
		"192.168.1.5":   r.certs.local.Certificate().Leaf,
		"other.example": own,
		"":              own, // 127.0.0.1, where the connection came in
	} {
		cert, err := r.certs.get(&tls.ClientHelloInfo{ServerName: name, Conn: localConn{}})
		if err != nil || !cert.Leaf.Equal(want) {
			t.Errorf("%q: for %v, %v", name, cert.Leaf.DNSNames, err)
		}
	}
}

type localConn struct{ net.Conn }

func (localConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443} }

func (localConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// The internet is not shown the certificate that names this machine's private addresses, where there is another.
func TestLocalCertificateIsForTheLocalNetwork(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	own := writePair(t, certFile, keyFile)
	r := start(t, Config{TLSCert: certFile, TLSKey: keyFile})
	cert, err := r.certs.get(&tls.ClientHelloInfo{ServerName: "192.168.1.5", Conn: farConn{}})
	if err != nil || !cert.Leaf.Equal(own) {
		t.Errorf("shown is the one for %v, %v", cert.Leaf.IPAddresses, err)
	}
}

type farConn struct{ localConn }

func (farConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(8, 8, 8, 8), Port: 40000} }

func openState(t *testing.T) *state.Dir {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}
