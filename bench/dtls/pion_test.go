//go:build unix

package dtls_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"time"

	pion "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"

	"github.com/parley-rtc/parley/protocol/dtls"
)

// pion12 makes handshakes between two of Pion's connections, with what its WebRTC sets and what Parley's choose.
func pion12(own *dtls.Certificate) func() error {
	options := []interface {
		pion.ClientOption
		pion.ServerOption
	}{
		pion.WithCertificates(tls.Certificate{Certificate: own.Chain, PrivateKey: own.PrivateKey}),
		pion.WithSRTPProtectionProfiles(pion.SRTP_AEAD_AES_128_GCM),
		pion.WithCipherSuites(pion.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		pion.WithEllipticCurves(elliptic.X25519),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret),
		pion.WithInsecureSkipVerify(true),
	}
	var clientOptions []pion.ClientOption
	serverOptions := []pion.ServerOption{pion.WithClientAuth(pion.RequireAnyClientCert), pion.WithInsecureSkipVerifyHello(true)}
	for _, o := range options {
		clientOptions, serverOptions = append(clientOptions, o), append(serverOptions, o)
	}
	return func() error {
		there, back, end := make(chan []byte, 64), make(chan []byte, 64), make(chan struct{})
		defer close(end)
		client, err := pion.ClientWithOptions(wire{back, there, end}, wireAddr{}, clientOptions...)
		if err != nil {
			return err
		}
		defer client.Close()
		server, err := pion.ServerWithOptions(wire{there, back, end}, wireAddr{}, serverOptions...)
		if err != nil {
			return err
		}
		defer server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		accepted := make(chan error, 1)
		go func() { accepted <- server.HandshakeContext(ctx) }()
		if err := client.HandshakeContext(ctx); err != nil {
			return err
		}
		return <-accepted
	}
}

// A wire is one end of a link in memory, in the shape that Pion takes.
type wire struct {
	in, out chan []byte
	end     chan struct{} // closed when both ends are done
}

func (w wire) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case b := <-w.in:
		return copy(p, b), wireAddr{}, nil
	case <-w.end:
		return 0, nil, os.ErrClosed
	}
}

func (w wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	select {
	case w.out <- append([]byte(nil), p...):
	default: // the other end is gone
	}
	return len(p), nil
}

func (w wire) Close() error                     { return nil }
func (w wire) LocalAddr() net.Addr              { return wireAddr{} }
func (w wire) SetDeadline(time.Time) error      { return nil }
func (w wire) SetReadDeadline(time.Time) error  { return nil }
func (w wire) SetWriteDeadline(time.Time) error { return nil }

type wireAddr struct{}

func (wireAddr) Network() string { return "udp" }
func (wireAddr) String() string  { return "127.0.0.1:1" }
