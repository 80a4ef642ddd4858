package server

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/server/acme"
	"github.com/parley-rtc/parley/server/localca"
	"github.com/parley-rtc/parley/server/machine"
)

// certificates chooses what https shows: whichever is for the name that is asked for, of the operator's certificate, the
// local authority's and those of a public authority, in this order. Where none is, the operator's, or one of the public
// authority; while that is down, the local authority's, which at least lets a person go on after a warning.
//
// The local authority's certificate names this machine's addresses, so the internet sees it only where there is no other.
type certificates struct {
	own     *certificateFile // nil if the operator brings none
	manager *acme.Manager    // nil if none is to be had
	local   *localca.Leaf
}

// tlsConfig is that of everything that listens for TLS.
func (c *certificates) tlsConfig(relay bool) *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: c.get,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if relay {
		config.NextProtos = append(config.NextProtos, alpnTURN, alpnSTUNDiscovery)
	}
	if c.manager != nil {
		config.NextProtos = append(config.NextProtos, acme.Protocol)
	}
	return config
}

func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.manager != nil {
		if cert, asked, err := c.manager.Challenge(hello); asked {
			return cert, err
		}
	}
	return c.choose(hello.ServerName, addressOf(hello.Conn.LocalAddr()), addressOf(hello.Conn.RemoteAddr())), nil
}

// forDTLS chooses what clients of TURN over DTLS are shown; it is relay.Config.Certificate.
func (c *certificates) forDTLS(serverName string, local, remote netip.AddrPort) *tls.Certificate {
	return c.choose(serverName, local.Addr(), remote.Addr())
}

// choose chooses by what the client asks for, else the address that it has connected to: a ClientHello names no address (RFC
// 6066, section 3).
func (c *certificates) choose(serverName string, to, from netip.Addr) *tls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(serverName, "."))
	if name == "" && to.IsValid() {
		name = to.Unmap().WithZone("").String()
	}
	local := c.local.Certificate()
	if c.own != nil {
		if own := c.own.current.Load(); own.Leaf.VerifyHostname(name) == nil {
			return own
		}
	}
	if from.IsValid() && machine.IsNear(from) && local.Leaf.VerifyHostname(name) == nil {
		return local
	}
	if c.own != nil {
		return c.own.current.Load()
	}
	if cert := c.public(name, serverName == ""); cert != nil {
		return cert
	}
	return local
}

// fitForDTLS says what keeps the operator's certificate from being shown over DTLS, if he brings one.
func (c *certificates) fitForDTLS() error {
	if c.own == nil {
		return nil
	}
	own := c.own.current.Load()
	key, _ := own.PrivateKey.(crypto.Signer)
	return (&dtls.Config{Entropy: rand.Reader, Certificate: &dtls.Certificate{Chain: own.Certificate, PrivateKey: key}}).Validate()
}

// public returns the public authority's certificate for name, else another of its: for an address if that is what was
// asked for, since behind an address translator a machine does not know the address that others know it by.
func (c *certificates) public(name string, address bool) *tls.Certificate {
	if c.manager == nil {
		return nil
	}
	if cert := c.manager.Certificate(name); cert != nil {
		return cert
	}
	var other *tls.Certificate
	for _, s := range c.manager.Status() {
		_, err := netip.ParseAddr(s.Name)
		if s.Certificate != nil && (other == nil || address && err == nil) {
			other = s.Certificate
		}
	}
	return other
}

// addressOf is the address of one end of a connection over tcp.
func addressOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}

// expiry is when each certificate in use ends, by where it comes from and what it is for.
func (c *certificates) expiry(report func(source, name string, end time.Time)) {
	report("local", "local network", c.local.Certificate().Leaf.NotAfter)
	if c.own != nil {
		report("file", "", c.own.current.Load().Leaf.NotAfter)
	}
	if c.manager != nil {
		for _, s := range c.manager.Status() {
			if s.Certificate != nil {
				report("acme", s.Name, s.Certificate.Leaf.NotAfter)
			}
		}
	}
}

// A certificateFile is the operator's certificate, read again when its files change.
type certificateFile struct {
	cert, key string
	current   atomic.Pointer[tls.Certificate]
	seen      [sha256.Size]byte // of both files when they were last read; used by one goroutine
}

func openCertificate(cert, key string) (*certificateFile, error) {
	f := &certificateFile{cert: cert, key: key}
	_, err := f.reload()
	return f, err
}

// reload reads the files and reports whether they have changed. If what they hold now cannot be used, the certificate
// in use stays; the error is returned once for each change.
func (f *certificateFile) reload() (changed bool, err error) {
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return f.changed([]byte(err.Error())), err
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return f.changed([]byte(err.Error())), err
	}
	if !f.changed(append(append(cert, 0), key...)) {
		return false, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return true, err
	}
	if time.Now().After(pair.Leaf.NotAfter) && f.current.Load() != nil {
		return true, fmt.Errorf("the certificate ended at %v", pair.Leaf.NotAfter)
	}
	f.current.Store(&pair)
	return true, nil
}

func (f *certificateFile) changed(content []byte) bool {
	sum := sha256.Sum256(content)
	if bytes.Equal(sum[:], f.seen[:]) {
		return false
	}
	f.seen = sum
	return true
}

// watch looks at the files at each interval until ctx is done.
func (f *certificateFile) watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		switch changed, err := f.reload(); {
		case changed && err != nil:
			log.Error("the new certificate cannot be used; the old one stays", "file", f.cert, "error", err)
		case changed:
			log.Info("certificate picked up", "file", f.cert, "until", f.current.Load().Leaf.NotAfter)
		}
	}
}

// readRoots reads certificate authorities from a PEM file.
func readRoots(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New(file + " holds no certificate (PEM)")
	}
	return pool, nil
}
