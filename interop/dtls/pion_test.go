package dtls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"testing"

	pion "github.com/pion/dtls/v3"

	"github.com/parley-rtc/parley/protocol/dtls"
)

// pionOptions is what Pion's WebRTC sets, as far as it matters here.
func pionOptions(own *dtls.Certificate) []pion.Option {
	return []pion.Option{
		pion.WithCertificates(tls.Certificate{Certificate: own.Chain, PrivateKey: own.PrivateKey}),
		pion.WithSRTPProtectionProfiles(pion.SRTP_AES128_CM_HMAC_SHA1_80, pion.SRTP_AEAD_AES_128_GCM),
		pion.WithExtendedMasterSecret(pion.RequireExtendedMasterSecret),
		pion.WithInsecureSkipVerify(true),
	}
}

func pionClient(conn net.PacketConn, remote net.Addr, options []pion.Option) (*pion.Conn, error) {
	var list []pion.ClientOption
	for _, o := range options {
		list = append(list, o)
	}
	return pion.ClientWithOptions(conn, remote, list...)
}

func pionServer(conn net.PacketConn, remote net.Addr, options []pion.Option) (*pion.Conn, error) {
	list := []pion.ServerOption{pion.WithClientAuth(pion.RequireAnyClientCert)}
	for _, o := range options {
		list = append(list, o)
	}
	return pion.ServerWithOptions(conn, remote, list...)
}

// echo runs Pion's side: the handshake, and then each message comes back.
func echo(t *testing.T, conn *pion.Conn, result chan<- string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		result <- "handshake: " + err.Error()
		return
	}
	state, ok := conn.ConnectionState()
	if !ok {
		result <- "no state"
		return
	}
	material, err := state.ExportKeyingMaterial(exportLabel, nil, 32)
	if err != nil {
		result <- err.Error()
		return
	}
	profile, _ := conn.SelectedSRTPProtectionProfile()
	result <- fmt.Sprintf("%s %04x", hex.EncodeToString(material), uint16(profile))
	buf := make([]byte, 2000)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(bytes.ToUpper(buf[:n])); err != nil {
			return
		}
	}
}

func TestPion(t *testing.T) {
	suites := map[string][]pion.CipherSuiteID{
		"default":     nil,
		"AES-256-GCM": {pion.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	}
	for _, role := range []dtls.Role{dtls.Client, dtls.Server} {
		for name, ids := range suites {
			for _, cid := range [][]byte{nil, {}, []byte("parley!!")} {
				t.Run(fmt.Sprintf("as %v/%s/cid %q", role, name, cid), func(t *testing.T) {
					cfg := config(t)
					cfg.ConnectionID = cid
					theirs := pionOptions(generate(t))
					if ids != nil {
						theirs = append(theirs, pion.WithCipherSuites(ids...))
					}
					if cid != nil {
						theirs = append(theirs, pion.WithConnectionIDGenerator(pion.RandomCIDGenerator(6)))
					}
					ours, other := listen(t), listen(t)
					remote := net.UDPAddrFromAddrPort(addrOf(ours))
					s := newSession(t, role, cfg, ours, addrOf(other))
					var conn *pion.Conn
					var err error
					if role == dtls.Client {
						conn, err = pionServer(other, remote, theirs)
					} else {
						s.remote = netip.AddrPort{}
						conn, err = pionClient(other, remote, theirs)
					}
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { conn.Close() })
					result := make(chan string, 1)
					go echo(t, conn, result)
					s.connect()
					material, err := s.conn.Export(exportLabel, nil, 32)
					if err != nil {
						t.Fatal(err)
					}
					var said string
					s.run("Pion's handshake", func() bool {
						select {
						case said = <-result:
							return true
						default:
							return false
						}
					})
					if want := fmt.Sprintf("%s %04x", hex.EncodeToString(material), uint16(s.conn.State().SRTPProfile)); said != want {
						t.Errorf("Pion has %s, we have %s", said, want)
					}
					s.send("all the world is a stage")
					s.expect("ALL THE WORLD IS A STAGE")
					s.close()
				})
			}
		}
	}
}
