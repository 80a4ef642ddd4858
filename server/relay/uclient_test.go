package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
)

// An independent client, coturn's turnutils_uclient with turnutils_peer as what it sends to: everything comes back.
func TestCoturnsClientLosesNothing(t *testing.T) {
	need.Program(t, "coturn", "turnutils_uclient", "turnutils_peer")
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	r := start(t, func(cfg *relay.Config) {
		cfg.Turn.Allow = []netip.Prefix{netip.PrefixFrom(four, 8), netip.PrefixFrom(six, 128)}
		cfg.Turn.Users = []turn.User{{Name: "ada", Password: "lovelace"}}
		cfg.Turn.Relay = []netip.Addr{four, six}
		cfg.Turn.CoturnClients = true
		speakDTLS(t, cfg)
	})
	udpPort, dtlsPort := r.Ports()[0].Port(), r.Ports()[1].Port()
	tcpPort := serveStreams(t, r, nil)
	tlsPort := serveStreams(t, r, selfSigned(t))

	peerPort := need.Port(t) // and turnutils_peer takes the one above it
	hasIPv6 := loopback6Works()
	listen := []string{"-L", "127.0.0.1"}
	if hasIPv6 {
		listen = append(listen, "-L", "::1")
	}
	peer := exec.Command("turnutils_peer", append(listen, "-p", strconv.Itoa(peerPort))...)
	if err := peer.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		peer.Process.Kill()
		peer.Wait()
	})
	waitForEcho(t, fmt.Sprintf("127.0.0.1:%d", peerPort))
	if hasIPv6 {
		waitForEcho(t, fmt.Sprintf("[::1]:%d", peerPort))
	}

	t.Cleanup(func() {
		if s := r.Stats().DTLS; s.Handshakes == 0 || s.Failed+s.Refused != 0 {
			t.Errorf("over DTLS: %+v", s)
		}
	})

	received := regexp.MustCompile(`tot_send_msgs=(\d+), tot_recv_msgs=(\d+)`)
	for _, c := range []struct {
		name  string
		port  uint16
		peer  string
		flags []string
	}{
		{"udp, channels, even ports", udpPort, "127.0.0.1", nil},
		{"udp, indications", udpPort, "127.0.0.1", []string{"-s"}},
		{"udp, don't fragment", udpPort, "127.0.0.1", []string{"-g", "-c"}},
		{"udp, IPv6 relay", udpPort, "::1", []string{"-x", "-c"}},
		{"udp, dual family", udpPort, "127.0.0.1", []string{"-Z"}},
		{"udp, extra requests", udpPort, "127.0.0.1", []string{"-G"}},
		{"udp, client to client", udpPort, "127.0.0.1", []string{"-y"}},
		{"tcp, channels, even ports", tcpPort, "127.0.0.1", []string{"-t"}},
		{"tcp, indications", tcpPort, "127.0.0.1", []string{"-t", "-s"}},
		{"tcp, dual family", tcpPort, "127.0.0.1", []string{"-t", "-Z"}},
		{"dtls, channels, even ports", dtlsPort, "127.0.0.1", []string{"-S"}},
		{"dtls, indications", dtlsPort, "127.0.0.1", []string{"-S", "-s"}},
		{"dtls, dual family", dtlsPort, "127.0.0.1", []string{"-S", "-Z"}},
		{"dtls, client to client", dtlsPort, "127.0.0.1", []string{"-S", "-y"}},
		{"dtls, in the clear all the same", dtlsPort, "127.0.0.1", nil},
		{"tls, channels, even ports", tlsPort, "127.0.0.1", []string{"-t", "-S"}},
		{"tls, indications", tlsPort, "127.0.0.1", []string{"-t", "-S", "-s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // each waits for most of its time
			if !hasIPv6 && (slices.Contains(c.flags, "-x") || slices.Contains(c.flags, "-Z")) {
				need.Cannot(t, "IPv6")
			}
			// Over TLS this client takes what it reads for one message, and loses the second of two that come in one record, as
			// they do when the machine is busy. So it sends slowly there, and may try again.
			tries, load := 1, []string{"-m", "4", "-n", "25", "-z", "20"}
			if slices.Contains(c.flags, "-S") && slices.Contains(c.flags, "-t") {
				tries, load = 5, []string{"-m", "1", "-n", "10", "-z", "100"}
			}
			args := slices.Concat(c.flags, load, []string{"-u", "ada", "-w", "lovelace", "-p", strconv.Itoa(int(c.port)),
				"-e", c.peer, "-r", strconv.Itoa(peerPort), "127.0.0.1"})
			for try := 1; ; try++ {
				ctx, cancel := context.WithTimeout(t.Context(), need.Patience)
				out, err := exec.CommandContext(ctx, "turnutils_uclient", args...).CombinedOutput()
				cancel()
				if err != nil {
					t.Fatalf("turnutils_uclient %v: %v\n%s", args, err, out)
				}
				all := received.FindAllStringSubmatch(string(out), -1)
				if len(all) > 0 && all[len(all)-1][1] != "0" && all[len(all)-1][1] == all[len(all)-1][2] {
					t.Logf("%s messages sent, %[1]s came back", all[len(all)-1][1])
					return
				}
				if try == tries {
					t.Fatalf("turnutils_uclient %v\n%s", args, out)
				}
			}
		})
	}
}

// serveStreams accepts clients on tcp, or with a certificate on tls, and hands them to the relay.
func serveStreams(t *testing.T, r *relay.Relay, config *tls.Config) (port uint16) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if config == nil {
				r.Adopt(conn)
				continue
			}
			go func() {
				secure := tls.Server(conn, config)
				if secure.Handshake() != nil {
					conn.Close()
					return
				}
				r.Adopt(secure)
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort().Port()
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
}

// loopback6Works tells a machine with IPv6 from one without.
func loopback6Works() bool {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// waitForEcho returns when a peer sends back what it gets.
func waitForEcho(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 10)
	for deadline := time.Now().Add(need.Patience); time.Now().Before(deadline); {
		_, _ = conn.Write([]byte("hello")) // refused until the peer listens
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := conn.Read(buf); err == nil && n == 5 {
			return
		}
	}
	t.Fatalf("turnutils_peer does not answer at %s", address)
}
