package simnet_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// streams is a network with two hosts, run by itself in a bubble.
func streams(t *testing.T, p simnet.Path, f func(t *testing.T, n *simnet.Network, a, b *simnet.Host)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(5)
		a := n.Internet().Host("a", p, "192.0.2.1", "2001:db8::1")
		b := n.Internet().Host("b", simnet.Path{}, "192.0.2.2", "2001:db8::2")
		n.Name("b.example", "192.0.2.2", "2001:db8::2")
		n.Live()
		defer n.Close()
		f(t, n, a, b)
	})
}

func listen(t *testing.T, h *simnet.Host, at string) *simnet.Listener {
	t.Helper()
	l, err := h.Listen(netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dial(t *testing.T, h *simnet.Host, at string) *simnet.Conn {
	t.Helper()
	c, err := h.DialContext(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*simnet.Conn)
}

func pair(t *testing.T, a, b *simnet.Host) (client, server *simnet.Conn) {
	t.Helper()
	l := listen(t, b, "0.0.0.0:7")
	defer l.Close()
	client = dial(t, a, "192.0.2.2:7")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, c.(*simnet.Conn)
}

func TestStreamsSurviveBadPaths(t *testing.T) {
	for name, p := range map[string]simnet.Path{
		"perfect":    {},
		"delay":      {Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond},
		"loss":       {Delay: 20 * time.Millisecond, Loss: 0.05},
		"bursts":     {Delay: 20 * time.Millisecond, Loss: 0.05, Burst: 5},
		"heavy loss": {Delay: 5 * time.Millisecond, Loss: 0.2},
		"reorder":    {Delay: 20 * time.Millisecond, Reorder: 0.2, ReorderBy: 10 * time.Millisecond},
		"duplicates": {Delay: 20 * time.Millisecond, Duplicate: 0.3},
		"all of it":  {Delay: 20 * time.Millisecond, Loss: 0.03, Reorder: 0.1, ReorderBy: 30 * time.Millisecond, Duplicate: 0.1},
		"slow":       {Delay: 20 * time.Millisecond, Rate: 2e6, Queue: 20_000},
	} {
		t.Run(name, func(t *testing.T) {
			streams(t, p, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
				client, server := pair(t, a, b)
				const size = 1 << 20
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(i * i >> 7)
				}
				done := make(chan error, 2)
				for _, c := range []*simnet.Conn{client, server} {
					go func() {
						if _, err := c.Write(data); err != nil {
							done <- err
							return
						}
						done <- c.CloseWrite()
					}()
				}
				for _, c := range []*simnet.Conn{client, server} {
					got, err := io.ReadAll(c)
					if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
						t.Errorf("%v read %d of %d bytes, right %v, %v", c.LocalAddr(), len(got), size, bytes.Equal(got, data), err)
					}
				}
				for range 2 {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
				if err := errors.Join(client.Close(), server.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A stream fills its link: the share of the rate that is left for the bytes is that of the headers.
func TestStreamFillsItsLink(t *testing.T) {
	streams(t, simnet.Path{Delay: 10 * time.Millisecond, Rate: 10e6}, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
		client, server := pair(t, a, b)
		began := time.Now()
		go func() {
			client.Write(make([]byte, 10<<20))
			client.Close()
		}()
		size, err := io.Copy(io.Discard, server)
		if err != nil {
			t.Fatal(err)
		}
		server.Close()
		if rate := float64(size) * 8 / time.Since(began).Seconds(); rate < 8.5e6 || rate > 9.8e6 {
			t.Errorf("%.2f Mbit/s over a link of 10", rate/1e6)
		}
	})
}

func TestStreamStopsForASlowReader(t *testing.T) {
	streams(t, simnet.Path{Delay: 10 * time.Millisecond}, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
		client, server := pair(t, a, b)
		client.SetWriteDeadline(time.Now().Add(time.Second))
		wrote, err := client.Write(make([]byte, 4<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || wrote > 600<<10 || wrote < 400<<10 {
			t.Errorf("nobody reads, and %d bytes were written: %v", wrote, err)
		}
		time.Sleep(time.Hour) // the window is probed, and the stream lives
		client.SetWriteDeadline(time.Time{})
		go func() {
			client.Write([]byte("the end"))
			client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || len(got) != wrote+7 || !bytes.HasSuffix(got, []byte("the end")) {
			t.Errorf("read %d bytes, want %d: %v", len(got), wrote+7, err)
		}
		server.Close()
	})
}

func TestStreamErrors(t *testing.T) {
	path := simnet.Path{Delay: 10 * time.Millisecond}
	t.Run("refused", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			_, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:8")
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dialling where nobody listens: %v", err)
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		streams(t, simnet.Path{Loss: 1}, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			var timeout net.Error
			_, err := a.DialContext(ctx, "tcp", "192.0.2.2:8")
			if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(began) != 3*time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if _, err := a.DialContext(t.Context(), "tcp", "192.0.2.2:8"); !errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("without a deadline: %v", err)
			}
		})
	})
	t.Run("peer vanishes", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			client, _ := pair(t, a, b)
			a.Link().Set(simnet.Path{Loss: 1})
			client.Write([]byte("anybody there?"))
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("read: %v", err)
			}
		})
	})
	t.Run("closed with unread data", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			client, server := pair(t, a, b)
			client.Write([]byte("nobody reads this"))
			time.Sleep(time.Second)
			server.Close()
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v", err)
			}
		})
	})
	t.Run("read deadline", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			client, server := pair(t, a, b)
			client.SetReadDeadline(time.Now().Add(time.Minute))
			began := time.Now()
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != time.Minute {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			client.SetReadDeadline(time.Time{})
			server.Write([]byte("x"))
			if n, err := client.Read(make([]byte, 10)); n != 1 || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
			go func() {
				time.Sleep(time.Second)
				client.Close()
			}()
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed while reading: %v", err)
			}
			server.Close()
		})
	})
	t.Run("listener closes", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			l := listen(t, b, "0.0.0.0:7")
			if _, err := b.Listen(netip.MustParseAddrPort("0.0.0.0:7")); err == nil {
				t.Error("two listeners at one address")
			}
			client := dial(t, a, "192.0.2.2:7")
			go func() {
				time.Sleep(time.Second)
				l.Close()
			}()
			synctest.Wait()
			first, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: %v", err)
			}
			client.Close()
			if _, err := first.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read: %v", err)
			}
			first.Close()
		})
	})
	t.Run("wrong addresses", func(t *testing.T) {
		streams(t, path, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
			for _, c := range [][2]string{{"tcp", "192.0.2.2"}, {"tcp", "b.example:http"}, {"tcp", "c.example:1"}, {"sctp", "192.0.2.2:7"}, {"tcp6", "192.0.2.2:7"}} {
				if _, err := a.DialContext(t.Context(), c[0], c[1]); err == nil {
					t.Errorf("dialled %v", c)
				}
			}
		})
	})
}

// Names, both families, and a second address after the first refuses.
func TestDialByName(t *testing.T) {
	streams(t, simnet.Path{}, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
		l := listen(t, b, "[::]:7")
		defer l.Close()
		c := dial(t, a, "b.example:7")
		defer c.Close()
		if got := c.RemoteAddr().String(); got != "[2001:db8::2]:7" {
			t.Errorf("connected to %s", got)
		}
	})
}

func TestUDPConnInABubble(t *testing.T) {
	streams(t, simnet.Path{Delay: 30 * time.Millisecond}, func(t *testing.T, n *simnet.Network, a, b *simnet.Host) {
		var server net.PacketConn
		server, err := b.ListenUDP(netip.MustParseAddrPort("0.0.0.0:9"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			buf := make([]byte, 1500)
			for {
				n, from, err := server.ReadFrom(buf)
				if err != nil {
					return
				}
				server.WriteTo(buf[:n], from)
			}
		}()
		client, err := a.DialContext(t.Context(), "udp", "b.example:9")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		client.Write([]byte("ping"))
		buf := make([]byte, 10)
		if n, err := client.Read(buf); string(buf[:n]) != "ping" || err != nil || time.Since(began) != 60*time.Millisecond {
			t.Errorf("after %v: %q, %v", time.Since(began), buf[:n], err)
		}
		client.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := client.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("nothing to read: %v", err)
		}
		client.Close()
		if _, err := client.Read(buf); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		server.Close()
	})
}

// certificate makes a certificate for name and the pool that trusts it.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// An office where only the proxy gets out: TLS to a server on 443 through CONNECT, and nothing else.
func TestTLSThroughAProxyFromBehindAFirewall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		const way = 10 * time.Millisecond
		office := n.Internet().Firewall("office", simnet.Path{Delay: way, Loss: 0.01}, func(p *simnet.Packet) bool {
			return p.Src.Addr() == netip.MustParseAddr("198.51.100.8") && simnet.OnlyTCPPorts(443)(p)
		})
		desk := office.Host("desk", simnet.Path{}, "198.51.100.9")
		gate := office.Host("gate", simnet.Path{}, "198.51.100.8")
		turn := n.Internet().Host("turn", simnet.Path{}, "203.0.113.5")
		n.Name("turn.example", "203.0.113.5")
		n.Name("proxy.office", "198.51.100.8")
		n.Live()
		defer n.Close()

		cert, pool := certificate(t, "turn.example")
		l := listen(t, turn, "0.0.0.0:443")
		go func() {
			for {
				c, err := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}).Accept()
				if err != nil {
					return
				}
				go func() {
					io.Copy(c, c)
					c.Close()
				}()
			}
		}()
		proxy := &simnet.Proxy{
			Allow:     func(target string) bool { return target == "turn.example:443" || target == "turn.example:444" },
			Authorize: func(user, password string) bool { return user == "ada" && password == "secret" },
		}
		if err := proxy.Serve(gate, netip.MustParseAddrPort("0.0.0.0:3128")); err != nil {
			t.Fatal(err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := desk.DialContext(ctx, "tcp", "turn.example:443"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("past the proxy: %v", err)
		}
		cancel()

		connect := func(target, user string) (net.Conn, *http.Response) {
			c := dial(t, desk, "proxy.office:3128")
			r, err := http.NewRequest(http.MethodConnect, "http://"+target, nil)
			if err != nil {
				t.Fatal(err)
			}
			if user != "" {
				r.SetBasicAuth(user, "secret")
				r.Header["Proxy-Authorization"] = r.Header["Authorization"]
				delete(r.Header, "Authorization")
			}
			if err := r.Write(c); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReaderSize(c, 16), r)
			if err != nil {
				t.Fatal(err)
			}
			return c, response
		}
		for _, c := range []struct {
			target, user string
			status       int
		}{
			{"turn.example:443", "", http.StatusProxyAuthRequired},
			{"turn.example:443", "eve", http.StatusProxyAuthRequired},
			{"elsewhere.example:443", "ada", http.StatusForbidden},
			{"turn.example:444", "ada", http.StatusGatewayTimeout},
		} {
			conn, response := connect(c.target, c.user)
			if response.StatusCode != c.status {
				t.Errorf("CONNECT %s as %q: %s, want %d", c.target, c.user, response.Status, c.status)
			}
			conn.Close()
		}

		conn, response := connect("turn.example:443", "ada")
		if response.StatusCode != http.StatusOK {
			t.Fatalf("CONNECT: %s", response.Status)
		}
		secure := tls.Client(conn, &tls.Config{ServerName: "turn.example", RootCAs: pool})
		if err := secure.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte("through the wall "), 10_000)
		go func() {
			secure.Write(data)
			secure.CloseWrite()
		}()
		got, err := io.ReadAll(secure)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %d of %d bytes back: %v", len(got), len(data), err)
		}
		if proxy.Tunnels() != 1 {
			t.Errorf("%d tunnels were opened", proxy.Tunnels())
		}
		secure.Close()
		proxy.Close()
		l.Close()
	})
}

func ExampleNetwork() {
	n := simnet.New(1)
	path := simnet.Path{Delay: 20 * time.Millisecond}
	home := n.Internet().NAT("home", path, simnet.NAT{}, "198.51.100.7")
	alice := home.Host("alice", simnet.Path{}, "192.168.1.2")
	bob := n.Internet().Host("bob", path, "203.0.113.1")
	n.Log(os.Stdout)

	a, _ := alice.Bind(netip.MustParseAddrPort("192.168.1.2:5000"), nil)
	b, _ := bob.Bind(netip.MustParseAddrPort("203.0.113.1:9"), func(now mono.Time, d *pkt.Datagram) {
		fmt.Printf("bob hears %q from %v\n", d.Payload, d.Remote)
	})
	a.Send(b.Local(), []byte("hello"))
	n.Run(time.Second)
	// Output:
	//     0.000000 alice send udp 192.168.1.2:5000 > 203.0.113.1:9 5 bytes 4f9f2cab
	//     0.040000 bob recv udp 198.51.100.7:5000 > 203.0.113.1:9 5 bytes 4f9f2cab
	// bob hears "hello" from 198.51.100.7:5000
}
