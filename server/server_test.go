package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parley-rtc/parley/server/localca"
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

func (r *running) http() string  { return fmt.Sprintf("http://127.0.0.1:%d", r.reach.http.port) }
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

func TestPeopleReadWhyTheyAreRefused(t *testing.T) {
	r := start(t, Config{})
	resp, body := r.do("GET", r.http()+"/", func(req *http.Request) {
		req.Host = "evil.example<script>"
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
	})
	if resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "host-forbidden") || !strings.Contains(body, "--name") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if strings.Contains(body, "<script>") {
		t.Error("the page repeats markup from the Host")
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

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	r := start(t, Config{})
	port := r.reach.https.port
	for _, c := range []struct{ url, host, want string }{
		{r.http() + "/r/a?x=1&y=2", "kitchen.local:8080", fmt.Sprintf("https://kitchen.local:%d/r/a?x=1&y=2", port)},
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

func TestInvitationNeverSaysLocalhost(t *testing.T) {
	r := start(t, Config{})
	peer, err := signaling.Dial(t.Context(), r.http()+"/r/kitchen", signaling.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if want := fmt.Sprintf("https://192.168.1.5:%d/r/kitchen", r.reach.https.port); peer.Link() != want {
		t.Errorf("link is %q, want %q", peer.Link(), want)
	}
}

func TestWhereItCanBeOpened(t *testing.T) {
	n := &fakeMachine{}
	n.set("kitchen", "192.168.1.5", "fd00::5", "203.0.113.7", "fe80::5", "127.0.0.1")
	for _, c := range []struct {
		reach                   reach
		here, network, internet string
	}{
		{reach{http: place{"", 8080}, https: place{"", 8443}}, "http://localhost:8080", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"localhost", 80}, https: place{"::", 443}}, "http://localhost", "https://192.168.1.5 https://[fd00::5]", ""},
		{reach{https: place{"", 8443}}, "https://localhost:8443", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}, https: place{"", 8443}}, "https://localhost:8443", "https://192.168.1.5:8443 https://[fd00::5]:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}, https: place{"192.168.1.5", 8443}}, "https://192.168.1.5:8443", "https://192.168.1.5:8443", ""},
		{reach{http: place{"192.168.1.5", 8080}}, "http://192.168.1.5:8080", "", ""},
		{reach{http: place{"127.0.0.1", 8080}, https: place{"127.0.0.1", 8443}}, "http://localhost:8080", "", ""},
		{reach{http: place{"", 8080}, https: place{"", 8443}, names: []string{"kitchen.lan"}}, "http://localhost:8080",
			"https://192.168.1.5:8443 https://[fd00::5]:8443 https://kitchen.lan:8443", ""},
		{reach{http: place{"", 80}, https: place{"", 443}, internet: []string{"call.example", "2001:db8::7"}}, "http://localhost",
			"https://192.168.1.5 https://[fd00::5]", "https://call.example https://[2001:db8::7]"},
		{reach{http: place{"localhost", 8080}, internet: []string{"call.example"}, proxied: true}, "http://localhost:8080", "", "https://call.example"},
	} {
		c.reach.watch = machine.NewWatch(n.look)
		here, network, internet := c.reach.fromHere(), strings.Join(c.reach.fromNetwork(), " "), strings.Join(c.reach.fromInternet(), " ")
		if here != c.here || network != c.network || internet != c.internet {
			t.Errorf("http %v, https %v:\n%s | %s | %s, want\n%s | %s | %s", c.reach.http, c.reach.https, here, network, internet, c.here, c.network, c.internet)
		}
	}
}

func TestTrustPage(t *testing.T) {
	r := start(t, Config{Names: []string{"call.home.example"}})
	resp, body := r.get(r.https() + "/trust")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if !strings.Contains(strings.ReplaceAll(body, "<wbr>", ""), r.authority.Fingerprint()) {
		t.Error("the page does not show the fingerprint")
	}
	for _, want := range []string{r.authority.Name(), "call.home.example", fmt.Sprintf("https://192.168.1.5:%d/trust", r.reach.https.port),
		"<svg viewBox=", "iPhone", "Android", "Windows", "Mac", "Chromium", "Firefox", "To remove it"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	// The policy allows the page's own style by its hash, and nothing else.
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatal("no style")
	}
	sum := sha256.Sum256([]byte(style[1]))
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the policy %q does not fit the style", policy)
	}
	if regexp.MustCompile(`style="|<script|(src|href)="https?://(?:[^1]|1[^9])`).MatchString(body) {
		t.Error("the page has inline style, a script or a foreign address")
	}

	resp, crt := r.get(r.https() + certPath)
	block, _ := pem.Decode([]byte(crt))
	if resp.Header.Get("Content-Type") != "application/x-x509-ca-cert" || block == nil || !bytes.Equal(block.Bytes, r.authority.Certificate().Raw) {
		t.Errorf(".crt: %s\n%s", resp.Header.Get("Content-Type"), crt)
	}
	resp, profile := r.get(r.https() + profilePath)
	if resp.Header.Get("Content-Type") != "application/x-apple-aspen-config" || profile != string(r.authority.Profile()) {
		t.Errorf(".mobileconfig: %s", resp.Header.Get("Content-Type"))
	}
}

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
	f, err := openCertificate(certFile, keyFile) // of its own: the running one is watched by the server
	if err != nil {
		t.Fatal(err)
	}
	r.certs.own = f
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
	if !shown().Equal(first) {
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
	if !shown().Equal(second) {
		t.Error("the renewed certificate is not shown")
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

func (localConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443} }
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

func TestTrustIsForTheLocalNetwork(t *testing.T) {
	r := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Domains: []string{"call.example"}, HTTPS: "off"})
	for _, path := range []string{trustPath, certPath, profilePath} {
		for addr, want := range map[string]int{"8.8.8.8": http.StatusForbidden, "192.168.1.9": http.StatusOK} {
			resp, _ := r.do("GET", r.http()+path, func(req *http.Request) {
				req.Host = "call.example"
				req.Header.Set("Forwarded", "for="+addr+";proto=https")
			})
			if resp.StatusCode != want {
				t.Errorf("%s from %s: %s", path, addr, resp.Status)
			}
		}
	}
}

func TestPortTaken(t *testing.T) {
	busy, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	address := fmt.Sprintf(":%d", port)

	lns, got, err := listen("http", address, true)
	if err != nil || got == port {
		t.Fatalf("a default port that is taken: %d, %v", got, err)
	}
	lns[0].Close()

	_, _, err = listen("https", address, false)
	wrong, ok := errors.AsType[*ListenError](err)
	if !ok || wrong.Setting != "https" || !strings.Contains(err.Error(), "--https "+address) || !strings.Contains(err.Error(), fmt.Sprintf("another program listens there already. Stop it, or choose another port, as --https :%d", port+1)) {
		t.Errorf("a configured port that is taken: %v", err)
	}

	// Taken for loopback alone, it is still not ours.
	loopback, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer loopback.Close()
	port = loopback.Addr().(*net.TCPAddr).Port
	if lns, got, err = listen("http", fmt.Sprintf(":%d", port), true); err != nil || got == port {
		t.Errorf("a default port that is taken on loopback: %d, %v", got, err)
	}
	for _, ln := range lns {
		ln.Close()
	}
}

func TestLocalhostIsTwoAddresses(t *testing.T) {
	lns, port, err := listen("http", "localhost:0", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, ln := range lns {
		defer ln.Close()
		if a := ln.Addr().(*net.TCPAddr); !a.IP.IsLoopback() || a.Port != port {
			t.Errorf("listens at %v", a)
		}
	}
}

func TestPortWithoutPrivilege(t *testing.T) {
	err := &ListenError{"https", ":443", &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EACCES)}}
	if !strings.Contains(err.Error(), "--https :443") {
		t.Errorf("%v", err)
	}
	if strings.Contains(privilegeHelp("https"), "setcap") {
		for _, want := range []string{"sudo setcap cap_net_bind_service=+ep ", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "--https :8443"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
	}
}

func TestMovedPortIsSaid(t *testing.T) {
	w := &welcome{moved: []string{"Port 8080 is taken by another program, so http is on 8081."}, here: "http://localhost:8081", network: []string{"https://192.168.1.5:8443"},
		trust: "https://192.168.1.5:8443/trust", fingerprint: "AB:CD", state: "/state"}
	var out strings.Builder
	w.print(&out)
	for _, want := range []string{"Port 8080 is taken", "http://localhost:8081", "https://192.168.1.5:8443", "█", "Local network    works", "--domain", "one call in five", "AB:CD", "/state"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "passphrase") {
		t.Errorf("a passphrase is spoken of where it does not matter:\n%s", out.String())
	}
}

func TestWelcomeOnTheInternet(t *testing.T) {
	w := &welcome{here: "http://localhost", internet: []string{"https://call.example"}, passphrase: "abcd-efgh-ijkl", kept: "/state/passphrase", certificate: "call.example: good"}
	var out strings.Builder
	w.print(&out)
	for _, want := range []string{"https://call.example", "abcd-efgh-ijkl", "call.example: good"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	var logged bytes.Buffer
	w.log(slog.New(slog.NewJSONHandler(&logged, nil)))
	if strings.Contains(logged.String(), "abcd") || !strings.Contains(logged.String(), "/state/passphrase") {
		t.Errorf("the log has the passphrase, or not where it is: %s", logged.String())
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

func TestSilentConnectionsDoNotBlockOthers(t *testing.T) {
	r := start(t, Config{})
	for range 50 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.https(), "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if resp, _ := r.get(r.https() + "/healthz"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	bounded := limited{ln, make(chan struct{}, 1)}
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := bounded.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one too many was served")
	}
	first.Close()
	first.Close() // twice is no second place
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("one too many was served after a place was left")
	}
}

func TestPublicNeedsAnAddress(t *testing.T) {
	n := &fakeMachine{}
	n.set("kitchen", "192.168.1.5")
	_, err := newServer(Config{Public: []string{auto}, HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", StateDir: t.TempDir(), look: n.look, Logger: slog.New(slog.DiscardHandler)})
	if _, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(err.Error(), "--public=203.0.113.7") {
		t.Errorf("got %v", err)
	}
	n.set("kitchen", "192.168.1.5", "203.0.113.7", "2001:db8::7", "fe80::1")
	if got := internetNames(&Config{Public: []string{auto}, Domains: []string{"Büro.example"}}, n.look()); strings.Join(got, " ") != "xn--bro-hoa.example 203.0.113.7 2001:db8::7" {
		t.Errorf("known on the internet as %q", got)
	}
}
