package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/relay"
)

// binding is a STUN request and the transaction that its answer has.
func binding(t *testing.T) (request []byte, id stun.TransactionID) {
	t.Helper()
	rand.Read(id[:])
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, id)
	request, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	return request, id
}

// askSTUN asks at an address by "udp" or "tcp" and wants to be told its own address.
func askSTUN(t *testing.T, network, address string) {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	askSTUNOn(t, conn)
}

func askSTUNOn(t *testing.T, conn net.Conn) {
	t.Helper()
	conn.SetDeadline(time.Now().Add(need.Patience))
	request, id := binding(t)
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n, err := io.ReadAtLeast(conn, buf, stun.HeaderLen)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stun.Parse(buf[:n])
	if err != nil || m.ID() != id || m.Class() != stun.Success {
		t.Fatalf("answer %x, %v", buf[:n], err)
	}
	if mapped, err := m.XORAddress(stun.AttrXORMappedAddress); err != nil || mapped.String() != conn.LocalAddr().String() {
		t.Errorf("mapped to %v, %v; want %v", mapped, err, conn.LocalAddr())
	}
}

// Each port that serves STUN tells it from http by its first byte, in the clear and inside TLS, and http goes on working
// beside it, with and without ALPN.
func TestEachPortTellsSTUNFromHTTP(t *testing.T) {
	s := start(t, Config{})
	at := func(p place) string { return fmt.Sprintf("127.0.0.1:%d", p.port) }
	insecure := func(protocols ...string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols} // the test is about what is behind TLS
	}
	dialTLS := func(address string, protocols ...string) func() (net.Conn, error) {
		return func() (net.Conn, error) { return tls.Dial("tcp", address, insecure(protocols...)) }
	}
	dial := func(network, address string) func() (net.Conn, error) {
		return func() (net.Conn, error) { return net.Dial(network, address) }
	}
	for name, dial := range map[string]func() (net.Conn, error){
		"udp":                       dial("udp", at(s.turn.at.turn)),
		"tcp":                       dial("tcp", at(s.turn.at.turn)),
		"tls":                       dialTLS(at(s.turn.at.turns)),
		"tls with ALPN":             dialTLS(at(s.turn.at.turns), alpnTURN),
		"tcp on the https port":     dial("tcp", at(s.reach.https)),
		"tls on the https port":     dialTLS(at(s.reach.https)),
		"tls, ALPN, the https port": dialTLS(at(s.reach.https), alpnTURN),
	} {
		t.Run("STUN by "+name, func(t *testing.T) {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			askSTUNOn(t, conn)
		})
	}
	for name, protocols := range map[string][]string{"HTTP/2.0": {"h2", "http/1.1"}, "HTTP/1.1": {"http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: insecure(protocols...), ForceAttemptHTTP2: len(protocols) == 2}
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://" + at(s.reach.https) + "/trust")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Proto != name {
				t.Errorf("got %s by %s", resp.Status, resp.Proto)
			}
		})
	}
	t.Run("https without ALPN", func(t *testing.T) {
		conn, err := tls.Dial("tcp", at(s.reach.https), insecure())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(need.Patience))
		fmt.Fprintf(conn, "GET /trust HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
			t.Errorf("got %.80q, %v: the server must know that this came over TLS", answer, err)
		}
	})
	t.Run("http on the relay's port", func(t *testing.T) {
		conn, err := net.Dial("tcp", at(s.turn.at.turn))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(need.Patience))
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %.80q, %v, want the connection closed", answer, err)
		}
	})
}

// "with `--domain` also on udp 443": beside https, printed among the ports to open, and told to clients.
func TestUDPOnTheHTTPSPort(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	writePair(t, cert, key)
	var terminal bytes.Buffer
	r := start(t, Config{Domains: []string{"call.example"}, External: []string{"127.0.0.1"}, TLSCert: cert, TLSKey: key, Terminal: &terminal, Passphrase: "correct horse"})
	port := r.reach.https.port
	askSTUN(t, "udp", fmt.Sprintf("127.0.0.1:%d", port))
	askSTUN(t, "udp", fmt.Sprintf("127.0.0.1:%d", r.turn.at.turn.port))
	if got, want := r.portsToOpen(), fmt.Sprintf("; udp %d, %d, %d, 49152-65535", r.turn.at.turn.port, r.turn.at.turns.port, port); !strings.HasSuffix(got, want) {
		t.Errorf("ports to open: %s; want it to end with %s", got, want)
	}
	if _, urls := r.turn.urls(caller{host: "call.example"}); !slices.Contains(urls, fmt.Sprintf("turn:call.example:%d?transport=udp", port)) {
		t.Errorf("clients are told %v", urls)
	}

	// Who serves HTTP/3 there keeps the port, and the server starts all the same.
	busy, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	taken := busy.LocalAddr().(*net.UDPAddr).Port
	other := start(t, Config{Domains: []string{"call.example"}, External: []string{"127.0.0.1"}, TLSCert: cert, TLSKey: key, HTTPS: fmt.Sprintf(":%d", taken), Passphrase: "correct horse"})
	if _, urls := other.turn.urls(caller{host: "call.example"}); other.turn.udpHTTPS != 0 || slices.Contains(urls, fmt.Sprintf("turn:call.example:%d?transport=udp", taken)) {
		t.Errorf("offers a port that another program has: %v", urls)
	}
	if local := start(t, Config{}); local.turn.udpHTTPS != 0 {
		t.Error("udp beside https on a local network, where nobody needs it")
	}
}

// The external address is looked up again: new allocations have the new one, the log tells, and a look-up that fails changes nothing.
func TestExternalAddressIsFollowed(t *testing.T) {
	var mu sync.Mutex
	now, fails := netip.MustParseAddr("198.51.100.1"), error(nil)
	log := &syncBuffer{}
	r := start(t, Config{
		HTTPS: "off", Domains: []string{"call.example"}, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Passphrase: "correct horse",
		Logger: slog.New(slog.NewTextHandler(log, nil)),
		lookExternal: func(context.Context, *Config, *machine.Here) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			return []netip.Addr{now}, fails
		},
	})
	set := func(a string, err error) {
		mu.Lock()
		defer mu.Unlock()
		now, fails = netip.MustParseAddr(a), err
	}
	relayed := func() string { addrs, _ := r.relayAddresses(); return fmt.Sprint(addrs) }
	cut, cancel := context.WithCancel(t.Context())
	cancel() // no question to addresses that nobody has
	for _, step := range []struct {
		address string
		err     error
		changed bool
		want    string
	}{
		{"198.51.100.1", nil, false, "[198.51.100.1]"},
		{"198.51.100.2", errNoExternal, false, "[198.51.100.1]"},
		{"198.51.100.2", nil, true, "[198.51.100.2]"},
	} {
		set(step.address, step.err)
		if changed := r.updateExternal(cut); changed != step.changed || relayed() != step.want {
			t.Errorf("looked up %s, %v: changed %v, relays from %s; want %+v", step.address, step.err, changed, relayed(), step)
		}
	}
	if !strings.Contains(log.String(), "the external address has changed") || !strings.Contains(log.String(), "198.51.100.2") {
		t.Errorf("the log does not tell: %s", log)
	}
}

// turns is offered under a name only, and only to clients that trust the certificate; by udp only to those that ask, as no
// browser speaks DTLS to a relay.
func TestURLsOfTheRelay(t *testing.T) {
	watch := machine.NewWatch(func() *machine.Here { return &machine.Here{Hostname: "kitchen"} })
	for _, c := range []struct {
		name      string
		caller    caller
		certified bool
		want      string
	}{
		{"untrusted", caller{host: "192.168.1.5", dtls: true}, false, "turn:192.168.1.5:3478?transport=udp turn:192.168.1.5:3478?transport=tcp"},
		{"IPv6", caller{host: "fd00::5"}, false, "turn:[fd00::5]:3478?transport=udp turn:[fd00::5]:3478?transport=tcp"},
		{"trusted, by address", caller{host: "192.168.1.5", trusted: true}, false, "turn:192.168.1.5:3478?transport=udp turn:192.168.1.5:3478?transport=tcp turns:kitchen.local:5349?transport=tcp turns:kitchen.local:8443?transport=tcp"},
		{"certified, by name", caller{host: "call.example"}, true, "turn:call.example:3478?transport=udp turn:call.example:3478?transport=tcp turns:call.example:5349?transport=tcp turns:call.example:8443?transport=tcp"},
		{"certified, over DTLS too", caller{host: "call.example", dtls: true}, true, "turn:call.example:3478?transport=udp turn:call.example:3478?transport=tcp turns:call.example:5349?transport=tcp turns:call.example:8443?transport=tcp turns:call.example:5349?transport=udp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			service := &turnService{
				reach:     &reach{watch: watch, https: place{port: 8443}},
				certified: func(string) bool { return c.certified },
			}
			service.at.turn, service.at.turns = place{port: 3478}, place{port: 5349}
			if _, got := service.urls(c.caller); strings.Join(got, " ") != c.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.ReplaceAll(c.want, " ", "\n"))
			}
		})
	}
}

// The port of TURN over TLS takes DTLS by udp, and shows what https shows: also once that was renewed.
func TestDTLSOnThePortOfTLS(t *testing.T) {
	cert, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	first := writePair(t, cert, key)
	var terminal bytes.Buffer
	r := start(t, Config{TLSCert: cert, TLSKey: key, Terminal: &terminal})
	if want := fmt.Sprintf("over DTLS on %d (udp)", r.turn.at.turns.port); !strings.Contains(r.turn.describe(), want) {
		t.Errorf("%s; want it to say %s", r.turn.describe(), want)
	}
	shown := func() []byte {
		t.Helper()
		conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", r.turn.at.turns.port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(need.Patience))
		client, err := dtls.New(dtls.Client, &dtls.Config{Entropy: rand.Reader, AnonymousClient: true, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 2000); ; {
			client.RunJobs(1)
			if ev, ok := client.NextEvent(); ok {
				if ev.Kind != dtls.PeerCertificate {
					t.Fatalf("event %v before the certificate: %v", ev.Kind, ev.Err)
				}
				return ev.Certificates[0]
			}
			for b := client.AppendDatagram(nil, 1); len(b) > 0; b = client.AppendDatagram(nil, 1) {
				if _, err := conn.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			client.HandleDatagram(1, buf[:n])
		}
	}
	if !bytes.Equal(shown(), first.Raw) {
		t.Error("not the operator's certificate")
	}
	second := writePair(t, cert, key)
	if changed, err := r.certs.own.reload(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if !bytes.Equal(shown(), second.Raw) {
		t.Error("not the renewed certificate")
	}
	askSTUN(t, "udp", fmt.Sprintf("127.0.0.1:%d", r.turn.at.turns.port)) // in the clear all the same
	if _, metrics := r.get(r.http() + "/metrics"); !strings.Contains(metrics, "parley_relay_dtls_cookies_total 2") {
		t.Error("the metrics do not count two cookies")
	}
}

// A port of TURN over TLS that another program has on udp is not half of one.
func TestThePortOfTLSIsFreeOnBoth(t *testing.T) {
	busy, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.LocalAddr().(*net.UDPAddr).Port
	var p ports
	p.places = newPlaces(1, 1, nil)
	address := fmt.Sprintf(":%d", port)
	lns, at, err := p.openBoth("turns", "", address, relay.Free)
	if err != nil || at.port == port || len(p.moved) != 1 {
		t.Fatalf("a default port: %+v, %v, %q", at, err, p.moved)
	}
	for _, ln := range lns {
		ln.Close()
	}
	_, _, err = p.openBoth("turns", address, address, relay.Free)
	if wrong, ok := errors.AsType[*ListenError](err); !ok || wrong.Setting != "turns" {
		t.Errorf("a configured port: %v", err)
	}
}

// Not every certificate that https takes is one for DTLS.
func TestACertificateUnfitForDTLS(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{own: &certificateFile{}}
	c.own.current.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private})
	if err := c.fitForDTLS(); err == nil {
		t.Error("Ed25519 is fit")
	}
	if err := (&certificates{}).fitForDTLS(); err != nil {
		t.Error("without one of the operator's: ", err)
	}
}

func TestExternalAddresses(t *testing.T) {
	here := &machine.Here{Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("203.0.113.9")}}
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"a local server has none", Config{}, "[]"},
		{"the operator's word goes first", Config{Public: []string{"203.0.113.7"}, External: []string{"198.51.100.1"}}, "[198.51.100.1]"},
		{"what it is public under", Config{Public: []string{"203.0.113.7"}}, "[203.0.113.7]"},
		{"an interface's", Config{Public: []string{auto}}, "[203.0.113.9]"},
	} {
		got, err := externalAddresses(t.Context(), &c.cfg, here)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v; want %s", c.name, got, err, c.want)
		}
	}
}

// A cloud tells its machines their public address, each in its own way; AWS wants a token first.
func TestClouds(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"AWS": func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token":
				io.WriteString(w, "the token")
			case r.URL.Path == "/latest/meta-data/public-ipv4" && r.Header.Get("X-aws-ec2-metadata-token") == "the token":
				io.WriteString(w, "203.0.113.7\n")
			default:
				w.WriteHeader(http.StatusUnauthorized)
			}
		},
		"Google": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasPrefix(r.URL.Path, "/computeMetadata/") {
				http.NotFound(w, r)
				return
			}
			io.WriteString(w, "203.0.113.7")
		},
		"none that knows": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if handler == nil {
				handler = http.NotFound
			}
			cloud := httptest.NewServer(handler)
			defer cloud.Close()
			got, err := askCloud(context.Background(), cloud.URL)
			if name == "none that knows" {
				if !errors.Is(err, errNoExternal) {
					t.Errorf("got %v, %v", got, err)
				}
			} else if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("203.0.113.7")}) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// The relay's credentials for other programs: without a word on the server's own machine, with the passphrase elsewhere.
func TestCredentialsForOtherPrograms(t *testing.T) {
	r := start(t, Config{
		HTTPS: "off", Domains: []string{"call.example"}, External: []string{"203.0.113.7"},
		Passphrase: "correct horse", Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	ask := func(bearer string) (*http.Response, string) {
		return r.do("GET", r.http()+"/api/turn", func(req *http.Request) {
			req.Host = "call.example"
			req.Header.Set("X-Forwarded-For", "203.0.113.50")
			req.Header.Set("X-Forwarded-Proto", "https")
			if bearer != "" {
				req.Header.Set("Authorization", "Bearer "+bearer)
			}
		})
	}
	for _, c := range []struct {
		bearer string
		status int
		says   string
	}{
		{"", http.StatusUnauthorized, "passphrase-required"},
		{"wrong", http.StatusUnauthorized, "passphrase-wrong"},
		{"correct horse", http.StatusOK, `"turn:call.example:`},
	} {
		resp, body := ask(c.bearer)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("with %q: %s, %s; want %d and %s", c.bearer, resp.Status, body, c.status, c.says)
		}
	}
	for range 5 {
		ask("guess")
	}
	if resp, body := ask("correct horse"); resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, "too-many-attempts") {
		t.Errorf("after six guesses: %s, %s", resp.Status, body)
	}

	resp, body := r.do("GET", r.http()+"/api/turn", func(req *http.Request) { req.Host = "localhost" })
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"turn:localhost:`) {
		t.Errorf("on this machine: %s, %s", resp.Status, body)
	}
}

// What the command prints is taken by the server that runs on the same state.
func TestPrintedCredentialsAreGood(t *testing.T) {
	r := start(t, Config{})
	cfg := r.cfg
	cfg.HTTPS = fmt.Sprintf(":%d", r.reach.https.port)
	block, err := TURNCredentials(cfg, "robot", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	username, password, err := r.turn.relay.Credential("robot", time.Now().Add(time.Hour), seatLimits)
	if err != nil {
		t.Fatal(err)
	}
	_, name, _ := strings.Cut(username, ":")
	if got := block[1]; !strings.HasSuffix(got.Username, ":"+name) || got.Username == username && got.Credential != password {
		t.Errorf("printed %+v; the server makes %s %s", got, username, password)
	}
	proof := stun.NewCredential(block[1].Username, block[1].Credential)
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", r.turn.at.turn.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(need.Patience))
	hasher := stun.NewHasher()
	for {
		var id stun.TransactionID
		rand.Read(id[:])
		b := stun.NewBuilder(nil, stun.Request, stun.Allocate, id)
		b.Uint32(stun.AttrRequestedTransport, 99<<24) // no such protocol: refused, but not before the credential was checked
		if proof.Challenged() {
			proof.Sign(&b, hasher)
		}
		request, err := b.Message()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 500)
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		m, err := stun.Parse(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		code, _, _ := m.ErrorCode()
		if code == stun.CodeUnauthenticated && !proof.Challenged() && proof.Challenge(hasher, &m) == nil {
			continue
		}
		if code != stun.CodeUnsupportedTransport {
			t.Fatalf("the credential is answered with %v", code)
		}
		return
	}
}
