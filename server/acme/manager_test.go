package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/server/state"
)

// record is a log handler that tells tests what the manager has said.
type record chan string

func (r record) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (r record) WithAttrs([]slog.Attr) slog.Handler           { return r }
func (r record) WithGroup(string) slog.Handler                { return r }
func (r record) Handle(_ context.Context, e slog.Record) error {
	select {
	case r <- e.Message:
	default:
	}
	return nil
}

// await waits for the manager to say something.
func (r record) await(t *testing.T, message string) {
	t.Helper()
	timeout := time.After(need.Patience)
	for {
		select {
		case got := <-r:
			if got == message {
				return
			}
		case <-timeout:
			t.Fatalf("the manager never said %q", message)
		}
	}
}

const (
	obtained = "certificate obtained"
	failed   = "no certificate could be had"
)

// site is a server whose certificates a manager keeps.
type site struct {
	manager *Manager
	said    record
	http    net.Listener
	https   net.Listener
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// newSite opens the ports at which the authority will ask.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{said: make(record, 100)}
	for _, ln := range []*net.Listener{&s.http, &s.https} {
		var err error
		if *ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// manage starts a manager, and answers on the ports.
func (s *site) manage(t *testing.T, p *pebble, dir *state.Dir, change func(*Config), names ...string) {
	t.Helper()
	cfg := Config{Names: names, Directory: p.directory, Roots: p.roots, HTTP01: true, TLSALPN01: true, Dir: dir, Logger: slog.New(s.said)}
	if change != nil {
		change(&cfg)
	}
	s.manager = New(cfg)
	s.manager.pause = func(error, int) time.Duration { return 20 * time.Millisecond }
	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsChallenge(r) {
			t.Errorf("the authority asks for %s", r.URL)
		}
		s.manager.ServeHTTP(w, r)
	}))
	plain.Listener.Close()
	plain.Listener = s.http
	plain.Start()
	secure := tls.NewListener(s.https, &tls.Config{NextProtos: []string{Protocol}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, asked, err := s.manager.Challenge(hello)
		if !asked {
			return nil, fmt.Errorf("not a challenge")
		}
		return cert, err
	}})
	go func() {
		for {
			conn, err := secure.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.(*tls.Conn).Handshake() // the authority sees what it did not like
				conn.Close()
			}()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.manager.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		plain.Close()
		secure.Close()
	})
}

func stateDir(t *testing.T) *state.Dir {
	t.Helper()
	dir, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

func TestObtainForNameAndAddress(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), stateDir(t)
	p := newPebble(t, time.Hour, port(s.http), port(s.https))
	p.up()
	s.manage(t, p, dir, nil, "call.example", "127.0.0.1")
	s.said.await(t, obtained)
	s.said.await(t, obtained)
	for _, name := range []string{"call.example", "127.0.0.1"} {
		cert := s.manager.Certificate(name)
		if cert == nil || cert.Leaf.VerifyHostname(name) != nil || len(cert.Certificate) < 2 {
			t.Errorf("%s has %v", name, cert)
		}
	}
	if s.manager.Certificate("other.example") != nil {
		t.Error("there is a certificate that nobody wanted")
	}
	// A restart finds them without asking anybody.
	p.down()
	again := New(Config{Names: []string{"call.example", "127.0.0.1"}, Directory: p.directory, Dir: dir, Logger: slog.New(s.said)})
	for _, status := range again.Status() {
		if status.Certificate == nil || !status.Certificate.Leaf.Equal(s.manager.Certificate(status.Name).Leaf) {
			t.Errorf("after a restart %s has %v", status.Name, status.Certificate)
		}
	}
}

func TestEachChallengeAlone(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"http-01":     func(c *Config) { c.TLSALPN01 = false },
		"tls-alpn-01": func(c *Config) { c.HTTP01 = false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			p := newPebble(t, time.Hour, port(s.http), port(s.https))
			p.up()
			s.manage(t, p, stateDir(t), change, "call.example", "127.0.0.1")
			s.said.await(t, obtained)
			s.said.await(t, obtained)
		})
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := newPebble(t, 6*time.Second, port(s.http), port(s.https)) // due after 4
	p.up()
	s.manage(t, p, stateDir(t), nil, "127.0.0.1")
	s.said.await(t, obtained)
	first := s.manager.Certificate("127.0.0.1").Leaf

	p.down() // and stays so until the manager has noticed
	s.said.await(t, failed)
	status := s.manager.Status()[0]
	if status.Err == nil || status.Certificate == nil || !status.Certificate.Leaf.Equal(first) {
		t.Errorf("with the authority down at renewal: %+v", status)
	}
	p.up() // another one, which knows neither account nor certificate
	s.said.await(t, obtained)
	status = s.manager.Status()[0]
	if status.Err != nil || status.Certificate.Leaf.Equal(first) || !status.Certificate.Leaf.NotAfter.After(first.NotAfter) {
		t.Errorf("after the renewal: %+v", status)
	}
	second := status.Certificate.Leaf
	s.said.await(t, obtained) // and once more, with the authority up all the time
	if third := s.manager.Certificate("127.0.0.1").Leaf; third.Equal(second) {
		t.Error("the certificate was not renewed")
	}
}

func TestAuthorityDownAtStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := newPebble(t, time.Hour, port(s.http), port(s.https))
	s.manage(t, p, stateDir(t), nil, "127.0.0.1")
	s.said.await(t, failed)
	if s.manager.Certificate("127.0.0.1") != nil {
		t.Error("a certificate from nowhere")
	}
	p.up()
	s.said.await(t, obtained)
}

func TestBrokenCertificateIsHadAnew(t *testing.T) {
	t.Parallel()
	s, dir := newSite(t), stateDir(t)
	p := newPebble(t, time.Hour, port(s.http), port(s.https))
	p.up()
	file := New(Config{Directory: p.directory, Dir: dir, Logger: slog.New(s.said)}).file("127.0.0.1")
	if err := dir.Write(file, []byte("cut of")); err != nil {
		t.Fatal(err)
	}
	s.manage(t, p, dir, nil, "127.0.0.1")
	s.said.await(t, obtained)
}

func TestPause(t *testing.T) {
	unreachable, refusal := errors.New("connection refused"), fmt.Errorf("ordering: %w", acme.Problem{Type: acme.ProblemTypeRateLimited})
	for _, c := range []struct {
		err         error
		failures    int
		least, most time.Duration
	}{
		{unreachable, 1, 5 * time.Second, 7 * time.Second},
		{unreachable, 3, 20 * time.Second, 25 * time.Second},
		{unreachable, 1000, 10 * time.Minute, 13 * time.Minute},
		{refusal, 1, 2 * time.Minute, 3 * time.Minute},
		{refusal, 1000, time.Hour, 75 * time.Minute},
	} {
		if got := pause(c.err, c.failures); got < c.least || got > c.most {
			t.Errorf("after %d times %v: %v, want %v to %v", c.failures, c.err, got, c.least, c.most)
		}
	}
}

// RFC 8738, section 6: "the client MUST use the IN-ADDR.ARPA [RFC1034] or IP6.ARPA [RFC3596] reverse mapping of the IP
// address."
func TestServerName(t *testing.T) {
	for identifier, want := range map[string]string{
		"Call.example": "call.example",
		"192.0.2.17":   "17.2.0.192.in-addr.arpa",
		"2001:db8::1":  "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := serverName(identifier); got != want {
			t.Errorf("%s: %s, want %s", identifier, got, want)
		}
	}
}

func TestChallengesOfOthers(t *testing.T) {
	m := New(Config{Directory: "https://ca.example/dir", Dir: stateDir(t), Logger: slog.New(slog.DiscardHandler)})
	if _, asked, _ := m.Challenge(&tls.ClientHelloInfo{ServerName: "call.example", SupportedProtos: []string{"h2"}}); asked {
		t.Error("a browser is taken for an authority")
	}
	if cert, asked, err := m.Challenge(&tls.ClientHelloInfo{ServerName: "call.example", SupportedProtos: []string{Protocol}}); !asked || err == nil || cert != nil {
		t.Errorf("a question that nobody waits for: %v, %v, %v", cert, asked, err)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", challengePath+"x", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("a token that nobody waits for: %d", w.Code)
	}
}

func TestFileNames(t *testing.T) {
	m := New(Config{Directory: "https://127.0.0.1:14000/dir", Dir: stateDir(t), Logger: slog.New(slog.DiscardHandler)})
	if got, want := m.file("2001:db8::1"), "acme/127.0.0.1-14000-dir/2001-db8--1.pem"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
