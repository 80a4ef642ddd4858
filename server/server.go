// Package server is the product: the app, signaling, certificates and everything around them in one process.
//
// [Run] does what `parley serve` does. With the zero [Config] it serves this machine and its local network: plain http
// for the machine itself, https with a certificate of its own local authority for other devices. Domains or Public let
// the internet in.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/parley-rtc/parley/server/acme"
	"github.com/parley-rtc/parley/server/guard"
	"github.com/parley-rtc/parley/server/localca"
	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/state"
	"github.com/parley-rtc/parley/signaling"
)

const (
	// lookEvery is how often the network interfaces and the operator's certificate are looked at.
	lookEvery = 5 * time.Second
	// requestTime bounds a request from its first byte to the last of its answer. Long-poll waits 25 s of it; WebSockets are
	// out of its reach.
	requestTime = time.Minute
	headerTime  = 10 * time.Second
	idleTime    = 2 * time.Minute
	headerSize  = 32 << 10
	// closeTime is how long requests have to end once everything is over.
	closeTime = 3 * time.Second

	tokenKeyFile   = "token.key"
	passphraseFile = "passphrase"
)

// Run serves until ctx is done. Then it drains: nobody new may join, everyone is told, and it returns when the last has
// left or Config.Drain has passed. It returns at once, with an error, if the server cannot be started: wrapping a
// [SettingError] if cfg is wrong, a [ListenError] if a port cannot be had.
func Run(ctx context.Context, cfg Config) error {
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	return s.run(ctx)
}

// server is everything that one call of Run holds. It is put together by newServer and does not change after that, but
// for what its parts do inside.
type server struct {
	cfg        Config
	log        *slog.Logger
	started    time.Time
	dir        *state.Dir
	ports      *ports
	watch      *machine.Watch
	reach      *reach
	guard      *guard.Guard
	authority  *localca.Authority
	certs      *certificates
	external   atomic.Pointer[[]netip.Addr] // see externalAddresses; looked up again and again
	turn       *turnService                 // nil without a relay
	hub        *signaling.Hub
	passphrase string // the host's; "" if anyone may open rooms
	metrics    *metrics
	draining   atomic.Bool
}

// newServer takes what a server needs, ports and keys first, and starts nothing.
func newServer(cfg Config) (_ *server, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigError{err}
	}
	s := &server{cfg: cfg, started: time.Now(), log: cfg.Logger}
	if s.log == nil {
		s.log = newLogger(&cfg)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.dir, err = state.Open(cfg.stateDir()); err != nil {
		return nil, err
	}
	if s.ports, err = openPorts(&cfg); err != nil {
		return nil, err
	}
	look := machine.Look
	if cfg.look != nil {
		look = cfg.look
	}
	s.watch = machine.NewWatch(look)
	if err := s.findExternal(); err != nil {
		return nil, err
	}
	s.reach = &reach{
		watch: s.watch, names: canonicalAll(cfg.Names), internet: internetNames(&cfg, s.watch.Here(), *s.external.Load()),
		http: s.ports.at.http, https: s.ports.at.https, proxied: len(cfg.Proxies) > 0,
	}
	s.guard = &guard.Guard{
		Everyone: cfg.public(), Proxies: cfg.Proxies, Here: s.watch.Here,
		Names: append(canonicalAll(cfg.Names), s.reach.internet...),
	}
	if err := s.openCertificates(); err != nil {
		return nil, err
	}
	if err := s.openTurn(); err != nil {
		return nil, err
	}
	if err := s.openHub(); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(s.hub, s.certs, s.turn, ReadBuild().Version)
	return s, nil
}

// close lets go of what newServer took.
func (s *server) close() {
	if s.turn != nil {
		s.turn.relay.Close()
	}
	if s.ports != nil {
		s.ports.close()
	}
	if s.dir != nil {
		s.dir.Close()
	}
}

// run serves until ctx is done, or something fails that nothing can go on without, and drains.
func (s *server) run(ctx context.Context) (err error) {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	tasks.Go(func() { s.followMachine(background) })
	tasks.Go(func() { s.renewLeaf(background) })
	tasks.Go(func() { s.checkRelay(background) })
	tasks.Go(func() { s.followExternal(background) })
	if s.certs.own != nil {
		tasks.Go(func() { s.certs.own.watch(background, lookEvery, s.log) })
	}
	if s.certs.manager != nil {
		tasks.Go(func() { s.certs.manager.Run(background) })
	}

	failed := make(chan error, 1)
	servers := s.serve(s.handler(), failed)
	s.announce()
	select {
	case err = <-failed:
	case <-ctx.Done():
		s.drain(context.WithoutCancel(ctx))
	}
	s.hub.Close()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
	}
	return err
}

// drain lets calls end.
func (s *server) drain(ctx context.Context) {
	s.draining.Store(true)
	wait := s.cfg.drain()
	peers := s.hub.Stats().Peers
	s.log.Info("draining: nobody new may join", "at_most", wait.String(), "peers", peers)
	if s.cfg.Terminal != nil && peers > 0 {
		fmt.Fprintf(s.cfg.Terminal, "\n  Waiting for %d in calls to leave, at most %v. Ctrl-C again stops at once.\n", peers, wait)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := s.hub.Drain(ctx); err != nil {
		s.log.Info("the time for draining is over", "peers", s.hub.Stats().Peers)
		return
	}
	s.log.Info("everyone has left")
}

// openCertificates takes up the local authority and what else https may show.
func (s *server) openCertificates() (err error) {
	now, here, names := time.Now(), s.watch.Here(), s.reach.names
	if s.authority, err = localca.OpenAuthority(s.dir, append(here.Names(), names...), now); err != nil {
		return err
	}
	leaf, left, err := localca.OpenLeaf(s.dir, s.authority, here, names, now)
	if err != nil {
		return err
	}
	s.warnOfNames(left)
	s.certs = &certificates{local: leaf}
	switch {
	case s.cfg.ownCertificate():
		s.certs.own, err = openCertificate(s.cfg.TLSCert, s.cfg.TLSKey)
	case s.cfg.acme():
		s.certs.manager, err = s.newManager()
	}
	return err
}

func (s *server) newManager() (*acme.Manager, error) {
	cfg := acme.Config{
		Names: s.reach.internet, Directory: s.cfg.acmeDirectory(), Email: s.cfg.ACMEEmail,
		HTTP01: s.reach.http.on(), TLSALPN01: true, Dir: s.dir, Logger: s.log,
	}
	if s.cfg.ACMECAFile != "" {
		roots, err := readRoots(s.cfg.ACMECAFile)
		if err != nil {
			return nil, &ConfigError{&SettingError{"acme-ca-file", err.Error()}}
		}
		cfg.Roots = roots
	}
	return acme.New(cfg), nil
}

// warnOfNames tells of names that the local authority, made when this machine was called otherwise, may not certify.
func (s *server) warnOfNames(names []string) {
	if len(names) > 0 {
		s.log.Warn("the local authority may not certify some of this machine's names, so browsers warn there; to have one that may, remove authority.pem from the state folder, start again, and trust it anew on each device",
			"names", names, "state_dir", s.dir.Path())
	}
}

// followMachine keeps up with the machine's names and addresses.
func (s *server) followMachine(ctx context.Context) {
	s.watch.Run(ctx, lookEvery, func(*machine.Here) {
		s.updateLeaf()
		if !s.updateExternal(ctx) {
			s.updateRelay()
		}
		s.log.Info("the network has changed", "open_at", s.reach.fromNetwork())
	})
}

// renewLeaf keeps the certificate for the local network from ending.
func (s *server) renewLeaf(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.updateLeaf()
		}
	}
}

func (s *server) updateLeaf() {
	left, made, err := s.certs.local.Update(s.watch.Here(), s.reach.names, time.Now())
	if err != nil {
		s.log.Error("the certificate for the local network", "error", err)
	}
	if made {
		s.warnOfNames(left)
		s.log.Info("certificate for the local network made anew", "until", s.certs.local.Certificate().Leaf.NotAfter)
	}
}

// openHub starts signaling with the keys and the passphrase that are kept.
func (s *server) openHub() error {
	key, err := s.dir.Secret(tokenKeyFile, 32)
	if err != nil {
		return err
	}
	if s.passphrase = s.cfg.Passphrase; s.passphrase == "" && !s.cfg.Open {
		if s.passphrase, err = keptPassphrase(s.dir); err != nil {
			return err
		}
	}
	s.hub, err = signaling.NewHub(signaling.Config{
		Passphrase: s.passphrase,
		Open:       s.cfg.Open,
		TokenKey:   key,
		Access: func(r *http.Request) signaling.Access {
			client := guard.ClientOf(r)
			return signaling.Access{Addr: client.Addr, Local: client.Near()}
		},
		Link:       s.reach.link,
		ICEServers: s.turn.iceServers,
		ICERenewal: credentialRenewal,
		Gone:       s.turn.gone,
		Logger:     s.log,
	})
	return err
}

// keptPassphrase returns the host's passphrase, and makes it at first start: 60 random bits in letters that can be read
// out over the telephone.
func keptPassphrase(dir *state.Dir) (string, error) {
	data, err := dir.Read(passphraseFile)
	if errors.Is(err, fs.ErrNotExist) {
		t := strings.ToLower(rand.Text()[:12])
		data, err = dir.Create(passphraseFile, []byte(t[:4]+"-"+t[4:8]+"-"+t[8:]+"\n"))
	}
	if err != nil {
		return "", err
	}
	passphrase := strings.TrimSpace(string(data))
	if len(passphrase) < minPassphrase {
		return "", fmt.Errorf("the passphrase kept in %s is shorter than %d characters: write a longer one there, or remove the file and one is made",
			dir.Path(), minPassphrase)
	}
	return passphrase, nil
}

func newLogger(cfg *Config) *slog.Logger {
	level, _ := parseLevel(cfg.LogLevel) // Validate has seen it
	options := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "text" || cfg.LogFormat != "json" && term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}

// errorLog takes what net/http has to say of single connections. It names clients' addresses and mostly tells of scanners
// and of browsers that do not trust the certificate yet, so only debug shows it, without the address.
type errorLog struct{ log *slog.Logger }

func (e *errorLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	for _, word := range []string{" from ", " serving "} { // an address comes behind them
		if before, after, ok := strings.Cut(text, word); ok {
			if _, reason, ok := strings.Cut(after, ": "); ok {
				text = before + ": " + reason
			}
		}
	}
	level := slog.LevelDebug
	if strings.Contains(text, "panic") {
		level = slog.LevelError
	}
	e.log.Log(context.Background(), level, text)
	return len(line), nil
}
