package gather_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
)

var localhost = netip.MustParseAddr("127.0.0.1")

// relayEverywhere gathers from this machine's loopback address over all that leads to a server, and talks through each relay.
func relayEverywhere(t *testing.T, roots *x509.CertPool, urls ...string) {
	t.Helper()
	onlyLoopback := func(a gather.Address) bool { return a.IP == localhost }
	o := newOwner(t, nil, gather.Config{
		Loopback: true, Interfaces: onlyLoopback, Servers: servers(t, urls...), TLS: &tls.Config{RootCAs: roots}, Proxy: "none",
	}).start()
	p := newOwner(t, nil, gather.Config{Loopback: true, Interfaces: onlyLoopback}).start()
	o.until("completion", func() bool { done, _ := seen[gather.Complete](o); return len(done) > 0 })
	if errs, _ := seen[gather.ServerError](o); len(errs) > 0 {
		t.Errorf("errors: %+v", errs)
	}
	overs := map[ice.RelayProtocol]bool{}
	peer := p.found()[0]
	for _, c := range o.relays() {
		if !c.Address.Addr().Is4() {
			continue
		}
		overs[c.RelayProtocol] = true
		out := pkt.Path{Socket: c.Socket, Local: c.Base, Remote: peer.Address}
		back := pkt.Path{Socket: peer.Socket, Local: peer.Base, Remote: c.Address}
		for i := range 10 { // indications first, then over a channel
			text := fmt.Sprintf("%d over %v", i, c.RelayProtocol)
			var got []pkt.Datagram
			o.send(out, text)
			p.until(text, func() bool { got = append(got, p.received()...); return len(got) > 0 })
			if string(got[0].Payload) != text || got[0].Remote != c.Address {
				t.Errorf("the peer got %q from %v, want %q from %v", got[0].Payload, got[0].Remote, text, c.Address)
			}
			got = nil
			p.send(back, text)
			o.until(text+" back", func() bool { got = append(got, o.received()...); return len(got) > 0 })
			if string(got[0].Payload) != text || got[0].Path != out {
				t.Errorf("got %q along %v, want %q along %v", got[0].Payload, got[0].Path, text, out)
			}
		}
		// A probe of the path MTU, with DONT-FRAGMENT.
		var got []pkt.Datagram
		o.do(func(now mono.Time) {
			o.Wrap(now, pkt.Transmit{Path: out, Payload: []byte("whole"), Unfragmented: true}, o.lease.Batch())
		})
		p.until("a probe", func() bool { got = append(got, p.received()...); return len(got) > 0 })
		if string(got[0].Payload) != "whole" || got[0].Remote != c.Address {
			t.Errorf("the peer got %q from %v, want a probe from %v", got[0].Payload, got[0].Remote, c.Address)
		}
	}
	if len(overs) != 4 {
		t.Errorf("relays over %v, want all four: %q", overs, o.candidates())
	}
	o.stop()
	p.stop()
}

// Parley's own server, over real sockets.
func TestParleysRelay(t *testing.T) {
	certificate, roots, err := simloop.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.Start(relay.Config{
		Turn: turn.Config{
			Users: []turn.User{{Name: "alice", Password: "wonderland"}}, Relay: []netip.Addr{localhost},
			Allow: []netip.Prefix{netip.PrefixFrom(localhost, 8)},
		},
		UDP: []netip.AddrPort{netip.AddrPortFrom(localhost, 0)}, DTLS: []netip.AddrPort{netip.AddrPortFrom(localhost, 0)},
		Certificate: func(string, netip.AddrPort, netip.AddrPort) *tls.Certificate { return certificate },
		Here:        []netip.Addr{localhost},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	accept := func(secure *tls.Config) (port uint16) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if secure != nil {
					s := tls.Server(conn, secure)
					if s.Handshake() != nil {
						conn.Close()
						continue
					}
					conn = s
				}
				r.Adopt(conn)
			}
		}()
		return netip.MustParseAddrPort(l.Addr().String()).Port()
	}
	ports := r.Ports()
	relayEverywhere(t, roots,
		fmt.Sprintf("turn:127.0.0.1:%d", ports[0].Port()),
		fmt.Sprintf("turns:127.0.0.1:%d?transport=udp", ports[1].Port()),
		fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", accept(nil)),
		fmt.Sprintf("turns:127.0.0.1:%d", accept(&tls.Config{Certificates: []tls.Certificate{*certificate}})),
		fmt.Sprintf("stun:127.0.0.1:%d", ports[0].Port()),
	)
}

// coturn, the server that is met with most.
func TestCoturn(t *testing.T) {
	need.Program(t, "coturn", "turnserver")
	certificate, roots, err := simloop.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, pkey := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}, pkey: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plain, secure := need.Port(t), need.Port(t)
	server := exec.Command("turnserver", "-n", "--no-cli", "--allow-loopback-peers", "--no-rfc5780", "--lt-cred-mech",
		"--user", "alice:wonderland", "--realm", "test", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1",
		"--listening-port", fmt.Sprint(plain), "--tls-listening-port", fmt.Sprint(secure), "--cert", cert, "--pkey", pkey,
		"--log-file", "stdout", "--simple-log", "--pidfile", filepath.Join(dir, "pid"), "--db", filepath.Join(dir, "db"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("coturn says:\n%s", text)
		}
	})
	for end := time.Now().Add(need.Patience); ; {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", secure))
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("coturn does not listen: ", err)
		}
	}
	relayEverywhere(t, roots,
		fmt.Sprintf("turn:127.0.0.1:%d", plain), fmt.Sprintf("turn:127.0.0.1:%d?transport=tcp", plain),
		fmt.Sprintf("turns:127.0.0.1:%d", secure), fmt.Sprintf("turns:127.0.0.1:%d?transport=udp", secure))
}
