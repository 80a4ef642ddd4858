package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/signaling"
)

// fakeMachine is what the machine of a test is called; tests may change it.
type fakeMachine struct {
	mu   sync.Mutex
	here machine.Here
}

func (n *fakeMachine) look() *machine.Here {
	n.mu.Lock()
	defer n.mu.Unlock()
	here := n.here
	return &here
}

func (n *fakeMachine) set(hostname string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.here = machine.Here{Hostname: hostname}
	for _, a := range addrs {
		n.here.Addrs = append(n.here.Addrs, netip.MustParseAddr(a))
	}
}

// running is a server under test.
type running struct {
	*server
	t       *testing.T
	machine *fakeMachine
	stop    context.CancelFunc // begins to drain
	ended   chan error
	client  *http.Client // trusts the local authority, follows no redirect
}

// start runs a server on free ports of loopback, on a machine that is called kitchen and has one private address.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	n := &fakeMachine{}
	n.set("kitchen", "192.168.1.5", "127.0.0.1")
	cfg.look = n.look
	if cfg.HTTP == "" {
		cfg.HTTP = "127.0.0.1:0"
	}
	if cfg.HTTPS == "" {
		cfg.HTTPS = ":0"
	}
	if cfg.TURN == "" {
		cfg.TURN = "127.0.0.1:0"
	}
	if cfg.TURNS == "" {
		cfg.TURNS = "127.0.0.1:0"
	}
	if cfg.StateDir == "" {
		cfg.StateDir = t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{server: s, t: t, machine: n, stop: stop, ended: make(chan error, 1)}
	roots := x509.NewCertPool()
	roots.AddCert(s.authority.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.run(ctx)
		s.close()
		r.ended <- err
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.hub.Close()
		stop()
		<-done
	})
	return r
}

func (r *running) http() string { return fmt.Sprintf("http://127.0.0.1:%d", r.reach.http.port) }

func (r *running) https() string { return fmt.Sprintf("https://127.0.0.1:%d", r.reach.https.port) }

// do sends a request that change has changed and returns the answer with its body.
func (r *running) do(method, url string, change func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

func (r *running) get(url string) (*http.Response, string) {
	r.t.Helper()
	return r.do(http.MethodGet, url, nil)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(value string) func(*http.Request) {
	return func(r *http.Request) { r.Host = value }
}

// metric reads one line of /metrics.
func (r *running) metric(name string) string {
	r.t.Helper()
	_, body := r.get(r.http() + "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return "missing"
}

func refusalCode(t *testing.T, body string) string {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Message == "" {
		t.Fatalf("not a refusal: %s", body)
	}
	return e.Error.Code
}

func TestServes(t *testing.T) {
	r := start(t, Config{})
	for _, url := range []string{r.http() + "/", r.https() + "/", r.https() + "/r/kitchen", strings.Replace(r.http(), "127.0.0.1", "localhost", 1) + "/"} {
		resp, body := r.get(url)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, "<title>Parley</title>") {
			t.Errorf("%s: %s\n%s", url, resp.Status, body)
		}
		if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s has the policy %q", url, resp.Header.Get("Content-Security-Policy"))
		}
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		if resp, body := r.get(r.http() + path); resp.StatusCode != http.StatusOK || body != want {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
	if resp, _ := r.get(r.http() + "/debug/pprof/cmdline"); resp.StatusCode != http.StatusOK {
		t.Errorf("pprof: %s", resp.Status)
	}
	if resp, _ := r.get(r.http() + "/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/nothing: %s", resp.Status)
	}
}

// Each forgery gets its stable code and is counted; others are served as before.
func TestForgeriesAreRefused(t *testing.T) {
	r := start(t, Config{})
	guest, err := signaling.Dial(t.Context(), r.http()+"/r/kitchen", signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	ws := func(req *http.Request) {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
		req.Header.Set("Sec-WebSocket-Version", "13")
		req.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
		req.Header.Set("Sec-WebSocket-Protocol", signaling.Subprotocol)
	}
	total := 0
	for _, c := range []struct {
		name   string
		method string
		path   string
		change func(*http.Request)
		status int
		code   signaling.Code
	}{
		{"Host", "GET", "/api/signal", host("evil.example"), 421, signaling.CodeHostForbidden},
		{"Host of a WebSocket", "GET", "/api/signal", func(req *http.Request) {
			ws(req)
			req.Host = "evil.example"
			req.Header.Set("Origin", "http://evil.example")
		}, 421, signaling.CodeHostForbidden},
		{"Host of the metrics", "GET", "/metrics", host("evil.example:8080"), 421, signaling.CodeHostForbidden},
		{"Origin of a WebSocket", "GET", "/api/signal", func(req *http.Request) { ws(req); req.Header.Set("Origin", "http://evil.example") }, 403, signaling.CodeOriginForbidden},
		{"Origin of a POST", "POST", "/api/signal", header("Origin", "https://evil.example"), 403, signaling.CodeOriginForbidden},
		{"X-Forwarded-For", "GET", "/api/signal", header("X-Forwarded-For", "127.0.0.1"), 403, signaling.CodeForwardedUntrusted},
		{"Forwarded", "GET", "/", header("Forwarded", "for=127.0.0.1"), 403, signaling.CodeForwardedUntrusted},
	} {
		before := r.metric(`parley_http_refusals_total{code="` + string(c.code) + `"}`)
		resp, body := r.do(c.method, r.http()+c.path, c.change)
		if resp.StatusCode != c.status || refusalCode(t, body) != string(c.code) {
			t.Errorf("forged %s: %s %s", c.name, resp.Status, body)
		}
		if after := r.metric(`parley_http_refusals_total{code="` + string(c.code) + `"}`); after == before || after == "missing" {
			t.Errorf("forged %s: counted %s before, %s after", c.name, before, after)
		}
		total++
	}
	if resp, _ := r.get(r.http() + "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("after %d forgeries the app is %s", total, resp.Status)
	}
	other, err := signaling.Dial(t.Context(), r.http()+"/r/kitchen", signaling.Options{Name: "Grace"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if peers := other.Peers(); len(peers) != 1 || peers[0].Name != "Ada" {
		t.Errorf("in the room: %+v", peers)
	}
	if got := r.metric("parley_peers"); got != "2" {
		t.Errorf("parley_peers is %s", got)
	}
}

func TestClientsFromElsewhere(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	r := start(t, Config{Proxies: proxies})
	far := func(req *http.Request) {
		req.Header.Set("X-Forwarded-For", "8.8.8.8")
		req.Header.Set("X-Forwarded-Proto", "https")
	}
	if resp, body := r.do("GET", r.http()+"/", far); resp.StatusCode != http.StatusForbidden || refusalCode(t, body) != "client-forbidden" {
		t.Errorf("from the internet: %s %s", resp.Status, body)
	}
	public := start(t, Config{Proxies: proxies, Domains: []string{"call.example"}, HTTPS: "off"})
	resp, body := public.do("GET", public.http()+"/", func(req *http.Request) { far(req); req.Host = "call.example" })
	if resp.StatusCode != http.StatusOK {
		t.Errorf("from the internet, behind a proxy, with --domain: %s %s", resp.Status, body)
	}
}

func TestProxyIsNotThisMachine(t *testing.T) {
	r := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/profile"} {
		resp, body := r.do("GET", r.http()+path, func(req *http.Request) {
			req.Header.Set("X-Forwarded-For", "127.0.0.1")
			req.Header.Set("X-Forwarded-Proto", "https")
		})
		if resp.StatusCode != http.StatusForbidden || refusalCode(t, body) != string(codeLocalOnly) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}

// A proxy that ends TLS and speaks for its clients, WebSockets and all.
func TestBehindAProxy(t *testing.T) {
	r := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, HTTPS: "off"})
	target, err := url.Parse(r.http())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(pr *httputil.ProxyRequest) {
		pr.SetURL(target)
		pr.Out.Host = pr.In.Host
		pr.SetXForwarded()
	}})
	defer proxy.Close()
	for _, carrier := range []signaling.Carrier{signaling.WebSocketOnly, signaling.LongPollOnly} {
		peer, err := signaling.Dial(t.Context(), proxy.URL+"/r/kitchen", signaling.Options{HTTPClient: proxy.Client(), Carrier: carrier})
		if err != nil {
			t.Fatalf("%v: %v", carrier, err)
		}
		if want := proxy.URL + "/r/kitchen"; peer.Link() != want {
			t.Errorf("%v: the invitation is %s, want %s", carrier, peer.Link(), want)
		}
		peer.Close()
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	r := start(t, Config{})
	port := r.reach.https.port
	for _, c := range []struct{ url, host, want string }{
		{r.http() + "/r/a?x=1&y=2", "kitchen.local:8080", fmt.Sprintf("https://kitchen.local:%d/r/a?x=1&y=2", port)},
		{r.http() + "/r/%C3%A4%2Fb", "kitchen", fmt.Sprintf("https://kitchen:%d/r/%%C3%%A4%%2Fb", port)},
		{r.http() + "//evil.example/", "kitchen", fmt.Sprintf("https://kitchen:%d//evil.example/", port)},
		{r.http() + "/", "192.168.1.5", fmt.Sprintf("https://192.168.1.5:%d/", port)},
		{fmt.Sprintf("http://127.0.0.1:%d/r/a", port), "kitchen:1", fmt.Sprintf("https://kitchen:%d/r/a", port)}, // http on the https port
	} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, _ := r.do(method, c.url, host(c.host))
			if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != c.want {
				t.Errorf("%s %s at %s: %s to %q, want %q", method, c.url, c.host, resp.Status, resp.Header.Get("Location"), c.want)
			}
		}
		resp, body := r.do("POST", c.url, host(c.host))
		if resp.StatusCode != http.StatusForbidden || refusalCode(t, body) != string(codeHTTPSRequired) {
			t.Errorf("POST %s at %s: %s %s", c.url, c.host, resp.Status, body)
		}
	}
	// Whoever has localhost in the address bar is on this machine, or has a tunnel: secure as it is.
	if resp, _ := r.do("GET", fmt.Sprintf("http://127.0.0.1:%d/", port), host("localhost")); resp.StatusCode != http.StatusOK {
		t.Errorf("localhost on the https port: %s", resp.Status)
	}
}

// "/debug/pprof can be started (not read) by a page open on the server's own machine": not any more.
func TestPagesCannotStartProfiles(t *testing.T) {
	r := start(t, Config{})
	for _, c := range []struct {
		who     string
		headers map[string]string
		status  int
	}{
		{"curl", map[string]string{"User-Agent": "curl/8"}, http.StatusOK},
		{"a browser's address line", map[string]string{"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, http.StatusOK},
		{"a link of the page itself", map[string]string{"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin", "Referer": r.http() + "/debug/pprof/"}, http.StatusOK},
		{"a foreign page's image", map[string]string{"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, http.StatusForbidden},
		{"a page of another port", map[string]string{"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"}, http.StatusForbidden},
		{"an old browser", map[string]string{"User-Agent": "Mozilla/5.0"}, http.StatusForbidden},
		{"somebody with a Referer", map[string]string{"Referer": "https://elsewhere.example/"}, http.StatusForbidden},
	} {
		for _, path := range []string{"/debug/pprof/cmdline", "/metrics"} {
			resp, body := r.do("GET", r.http()+path, func(req *http.Request) {
				for name, value := range c.headers {
					req.Header.Set(name, value)
				}
			})
			if resp.StatusCode != c.status {
				t.Errorf("%s asks for %s: %s %.200s, want %d", c.who, path, resp.Status, body, c.status)
			}
		}
	}
}

func TestRedirectBehindAProxy(t *testing.T) {
	r := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	resp, _ := r.do("GET", r.http()+"/r/a", func(req *http.Request) {
		req.Host = "kitchen.local:80"
		req.Header.Set("Forwarded", "for=192.168.1.9;proto=http")
	})
	if got := resp.Header.Get("Location"); got != "https://kitchen.local/r/a" {
		t.Errorf("%s to %q", resp.Status, got)
	}
}

func TestDrain(t *testing.T) {
	r := start(t, Config{Drain: time.Hour})
	room := r.http() + "/r/kitchen"
	peer, err := signaling.Dial(t.Context(), room, signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	r.stop()
	for { // everyone is told
		event, err := peer.Receive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := event.(*signaling.Draining); ok {
			break
		}
	}
	if resp, body := r.get(r.http() + "/readyz"); resp.StatusCode != http.StatusServiceUnavailable || body != "draining\n" {
		t.Errorf("/readyz: %s %q", resp.Status, body)
	}
	if resp, _ := r.get(r.http() + "/healthz"); resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %s", resp.Status)
	}
	_, err = signaling.Dial(t.Context(), room, signaling.Options{Name: "late"})
	if refusal, ok := errors.AsType[*signaling.Error](err); !ok || refusal.Code != signaling.CodeDraining {
		t.Errorf("a new join: %v", err)
	}
	select {
	case err := <-r.ended:
		t.Fatalf("ended with somebody still there: %v", err)
	default:
	}
	peer.Close()
	if err := <-r.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestDrainEndsWhenItsTimeIsOver(t *testing.T) {
	r := start(t, Config{Drain: time.Millisecond})
	peer, err := signaling.Dial(t.Context(), r.http()+"/r/kitchen", signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestRestartVoidsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := start(t, Config{StateDir: dir})
	peer, err := signaling.Dial(t.Context(), first.http()+"/r/kitchen", signaling.Options{Name: "Ada"})
	if err != nil {
		t.Fatal(err)
	}
	token, secret := peer.Token(), peer.Secret()
	peer.Close()
	first.stop()
	if err := <-first.ended; err != nil {
		t.Fatal(err)
	}
	again := start(t, Config{StateDir: dir})
	if again.authority.Fingerprint() != first.authority.Fingerprint() || again.passphrase != first.passphrase || again.passphrase == "" ||
		!again.certs.local.Certificate().Leaf.Equal(first.certs.local.Certificate().Leaf) {
		t.Error("authority, certificate or passphrase have changed")
	}
	peer, err = signaling.Dial(t.Context(), again.http()+"/r/kitchen", signaling.Options{Name: "Ada", Secret: secret, Token: token})
	if err != nil {
		t.Fatalf("with the token from before: %v", err)
	}
	peer.Close()
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Config{StateDir: dir})
	if !regexp.MustCompile(`^[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}$`).MatchString(r.passphrase) {
		t.Errorf("made %q", r.passphrase)
	}
	if info, err := os.Stat(filepath.Join(dir, passphraseFile)); err != nil || info.Mode().Perm()&0o077 != 0 && info.Mode().Perm() != 0o666 {
		t.Errorf("kept as %v, %v", info, err)
	}
	weak := t.TempDir()
	if err := os.WriteFile(filepath.Join(weak, passphraseFile), []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(weak, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := newServer(Config{StateDir: weak, HTTP: "127.0.0.1:0", HTTPS: "off", Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "write a longer one") {
		t.Errorf("a weak one in the file: %v", err)
	}
}

func TestWhoMayOpenARoomFromTheInternet(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	join := func(r *running, change func(*http.Request)) string {
		body := `{"frames":[{"type":"join","v":1,"room":"` + signaling.NewRoomName() + `","name":"Ada","secret":"0123456789abcdef0123"}]}`
		req, err := http.NewRequest("POST", r.http()+"/api/signal", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Host = "call.example"
		req.Header.Set("X-Forwarded-Proto", "https")
		change(req)
		resp, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	r := start(t, Config{Proxies: proxies, Domains: []string{"call.example"}, HTTPS: "off"})
	if answer := join(r, header("X-Forwarded-For", "8.8.8.8")); !strings.Contains(answer, "room-not-open") && !strings.Contains(answer, "passphrase-required") {
		t.Errorf("from the internet: %s", answer)
	}
	if answer := join(r, header("X-Forwarded-For", "192.168.1.9")); !strings.Contains(answer, `"welcome"`) || !strings.Contains(answer, "https://call.example/r/") {
		t.Errorf("from the local network: %s", answer)
	}
	open := start(t, Config{Proxies: proxies, Domains: []string{"call.example"}, HTTPS: "off", Open: true})
	if answer := join(open, header("X-Forwarded-For", "8.8.8.8")); !strings.Contains(answer, `"welcome"`) {
		t.Errorf("from the internet with --open: %s", answer)
	}
}

// Neither the room nor the client's address is in the log, at any level.
func TestLogKeepsSecrets(t *testing.T) {
	var out syncBuffer
	r := start(t, Config{Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	r.get(r.https() + "/r/very-secret-room")
	r.do("GET", r.http()+"/r/very-secret-room", func(req *http.Request) {
		req.Header.Set("Forwarded", "for=192.168.77.88;proto=https")
	})
	r.do("GET", r.http()+"/r/very-secret-room", header("X-Forwarded-For", "8.8.4.4"))
	log := out.String()
	if !strings.Contains(log, `"msg":"request"`) || !strings.Contains(log, `"msg":"refused"`) {
		t.Errorf("the log has no requests: %s", log)
	}
	for _, secret := range []string{"very-secret-room", "192.168.77.88", "8.8.4.4", r.passphrase} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s: %s", secret, log)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestErrorLogHidesAddresses(t *testing.T) {
	var out bytes.Buffer
	e := &errorLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	fmt.Fprintf(e, "http: TLS handshake error from 192.168.77.88:4711: remote error: tls: unknown certificate\n")
	if strings.Contains(out.String(), "192.168") || !strings.Contains(out.String(), "unknown certificate") {
		t.Error(out.String())
	}
}
