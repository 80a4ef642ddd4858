// Package acme keeps certificates from a public authority (RFC 8555), for names and for addresses (RFC 8738): obtains
// them, renews them in time, and keeps them across restarts. The protocol itself is github.com/mholt/acmez.
//
// Nothing here ever holds up the server: while the authority cannot be reached or refuses, [Manager.Certificate] gives
// what there is, and the manager tries again, soon and then less often.
package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/parley-rtc/parley/server/state"
)

// Config says which certificates to keep. Names, Directory and Dir are required.
type Config struct {
	Names     []string       // names (in ASCII) and addresses; each gets a certificate of its own, so that one cannot fail another
	Directory string         // address of the authority's directory
	Roots     *x509.CertPool // whom to trust for Directory; nil: the system's
	Email     string         // where the authority may write to; "": nowhere
	HTTP01    bool           // whether ServeHTTP is reachable on port 80
	TLSALPN01 bool           // whether Challenge is asked on port 443
	Dir       *state.Dir     // where accounts and certificates are kept
	Logger    *slog.Logger
}

const (
	requestTime = 10 * time.Second // for one request to the authority
	attemptTime = 5 * time.Minute  // for one certificate, from order to download
	recheck     = time.Hour        // how often to look at the clock and at the authority's wishes, whatever timers say
	// shortLived is the profile under which authorities certify addresses.
	shortLived = "shortlived"
)

// A Manager keeps certificates; see [Config]. It is safe for concurrent use.
type Manager struct {
	cfg        Config
	client     acmez.Client
	challenges challenges
	pause      func(err error, failures int) time.Duration

	mu     sync.RWMutex
	status map[string]*Status
}

// Status is how things stand with one certificate.
type Status struct {
	Name        string
	Certificate *tls.Certificate // nil until there is one
	Err         error            // of the last attempt
	Next        time.Time        // when the next attempt is due
}

// New returns a manager that has taken up what is kept in cfg.Dir. [Manager.Run] sets it to work.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, pause: pause, status: make(map[string]*Status)}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: cfg.Roots}
	low := &acme.Client{
		Directory:  cfg.Directory,
		HTTPClient: &http.Client{Transport: transport, Timeout: requestTime},
		UserAgent:  "Parley",
	}
	if cfg.Logger.Enabled(context.Background(), slog.LevelDebug) {
		low.Logger = cfg.Logger
	}
	m.client = acmez.Client{Client: low, ChallengeSolvers: make(map[string]acmez.Solver)}
	if cfg.HTTP01 {
		m.client.ChallengeSolvers[acme.ChallengeTypeHTTP01] = httpSolver{&m.challenges}
	}
	if cfg.TLSALPN01 {
		m.client.ChallengeSolvers[acme.ChallengeTypeTLSALPN01] = tlsSolver{&m.challenges}
	}
	for _, name := range cfg.Names {
		s := &Status{Name: name}
		if cert, err := m.load(name); err == nil {
			s.Certificate = cert
		} else if !errors.Is(err, fs.ErrNotExist) {
			cfg.Logger.Warn("a kept certificate cannot be used; another will be had", "name", name, "error", err)
		}
		m.status[name] = s
	}
	return m
}

// Run obtains and renews until ctx is done.
func (m *Manager) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, name := range m.cfg.Names {
		all.Go(func() { m.keep(ctx, name) })
	}
	all.Wait()
}

// Status tells how each certificate is doing, in the order of Config.Names.
func (m *Manager) Status() []Status {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []Status
	for _, name := range m.cfg.Names {
		list = append(list, *m.status[name])
	}
	return list
}

// Certificate returns the certificate for a name or address, or nil if there is none (yet).
func (m *Manager) Certificate(name string) *tls.Certificate {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s := m.status[name]; s != nil {
		return s.Certificate
	}
	return nil
}

// keep sees to one certificate.
func (m *Manager) keep(ctx context.Context, name string) {
	failures := 0
	for ctx.Err() == nil {
		due := m.due(ctx, name)
		m.update(name, func(s *Status) { s.Next = due })
		if wait := time.Until(due); wait > 0 {
			sleep(ctx, min(wait, recheck))
			continue
		}
		cert, err := m.obtain(ctx, name, failures == 0)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures = 0
			m.update(name, func(s *Status) { s.Certificate, s.Err = cert, nil })
			m.cfg.Logger.Info("certificate obtained", "name", name, "until", cert.Leaf.NotAfter)
			continue
		}
		failures++
		wait := m.pause(err, failures)
		m.update(name, func(s *Status) { s.Err, s.Next = err, time.Now().Add(wait) })
		m.cfg.Logger.Warn("no certificate could be had", "name", name, "error", err, "again_in", wait.Round(time.Second).String())
		sleep(ctx, wait)
	}
}

func (m *Manager) update(name string, change func(*Status)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m.status[name])
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// due returns when the certificate for name should be renewed: when the authority asks for it (RFC 9773), at the latest
// after two thirds of its life.
func (m *Manager) due(ctx context.Context, name string) time.Time {
	cert := m.Certificate(name)
	if cert == nil {
		return time.Time{}
	}
	leaf := cert.Leaf
	life, now := leaf.NotAfter.Sub(leaf.NotBefore), time.Now()
	due := leaf.NotBefore.Add(life * 2 / 3)
	if now.After(due) || now.Before(leaf.NotBefore.Add(life/10)) {
		return due // not asking about one that was just had keeps an authority's mistake from becoming a loop
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	wish, err := m.client.GetRenewalInfo(ctx, leaf)
	if err == nil && wish.HasWindow() && wish.SelectedTime.Before(due) {
		return wish.SelectedTime
	}
	return due
}

// pause is how long to wait after so many failures in a row. An authority that cannot be reached is asked again soon; one
// that has refused counts attempts, and five in an hour are too many for some.
func pause(err error, failures int) time.Duration {
	first, most := 5*time.Second, 10*time.Minute
	if _, refused := errors.AsType[acme.Problem](err); refused {
		first, most = 2*time.Minute, time.Hour
	}
	wait := min(first<<min(failures-1, 20), most)
	jitter, err := rand.Int(rand.Reader, big.NewInt(int64(wait/4)))
	if err != nil {
		return wait
	}
	return wait + time.Duration(jitter.Int64())
}

// obtain orders one certificate. If renews, the authority is told which one it follows.
func (m *Manager) obtain(ctx context.Context, name string, renews bool) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	account, err := m.account(ctx)
	if err != nil {
		return nil, fmt.Errorf("acme: asking %s: %w", m.cfg.Directory, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := acmez.NewCSR(key, []string{name})
	if err != nil {
		return nil, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	directory, err := m.client.GetDirectory(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(name); err == nil && directory.Meta != nil {
		if _, offered := directory.Meta.Profiles[shortLived]; offered {
			order.Profile = shortLived
		}
	}
	if old := m.Certificate(name); old != nil && renews && directory.RenewalInfo != "" {
		order.Replaces = old.Leaf
	}
	chains, err := m.client.ObtainCertificate(ctx, order)
	if err != nil {
		return nil, fmt.Errorf("acme: %w", err)
	}
	if len(chains) == 0 {
		return nil, errors.New("acme: the authority sent no certificate")
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	data := append(slices.Clone(chains[0].ChainPEM), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	cert, err := parse(data, name)
	if err != nil {
		return nil, fmt.Errorf("acme: the authority sent a certificate that cannot be used: %w", err)
	}
	if err := m.cfg.Dir.Write(m.file(name), data); err != nil {
		m.cfg.Logger.Error("a certificate could not be kept; it will be ordered anew after a restart", "name", name, "error", err)
	}
	return cert, nil
}

// account registers with the authority, or finds the account again by its key (RFC 8555, section 7.3.1).
func (m *Manager) account(ctx context.Context) (acme.Account, error) {
	key, err := m.accountKey()
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key}
	if m.cfg.Email != "" {
		account.Contact = []string{"mailto:" + m.cfg.Email}
	}
	return m.client.NewAccount(ctx, account)
}

func (m *Manager) accountKey() (crypto.Signer, error) {
	file := m.file("_account")
	data, err := m.cfg.Dir.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		var key *ecdsa.PrivateKey
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		if data, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			return nil, err
		}
		data, err = m.cfg.Dir.Create(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: data}))
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is not a key: remove it, and another account is opened", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s is a key that cannot sign", file)
	}
	return signer, nil
}

func (m *Manager) load(name string) (*tls.Certificate, error) {
	data, err := m.cfg.Dir.Read(m.file(name))
	if err != nil {
		return nil, err
	}
	return parse(data, name)
}

func parse(data []byte, name string) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, err
	}
	return &cert, cert.Leaf.VerifyHostname(name)
}

// file is where something from this authority is kept.
func (m *Manager) file(name string) string {
	return path.Join("acme", fileName(strings.TrimPrefix(m.cfg.Directory, "https://")), fileName(name)+".pem")
}

func fileName(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' {
			return c
		}
		return '-'
	}, s)
}
