package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/machine"
)

// Config says how a server is to run. The zero value serves this machine and its local network and nobody else.
//
// The fields up to LogLevel can also be said by flags, environment variables and a file: see [Load] and
// docs/configuration.md, where each is described.
type Config struct {
	HTTP    string         // where plain http listens: "host:port", ":port" or "off"; "": :8080, or :80 on the internet
	HTTPS   string         // where https listens; "": :8443, or :443 on the internet
	Domains []string       // names on the internet; any makes the server public
	Public  []string       // addresses on the internet, or "auto"; any makes the server public
	Names   []string       // more names or addresses of this machine, beside those that it knows by itself
	Proxies []netip.Prefix // who may say on whose behalf a request is made

	TURN       string         // where STUN and TURN listen, udp and tcp; "": :3478
	TURNS      string         // where TURN over TLS listens; "": :5349
	External   []string       // addresses that the internet knows this machine by; none: found out, see docs/deploy.md
	RelayPorts string         // first and last port of relayed addresses; "": 49152-65535
	RelayAllow []netip.Prefix // networks that may be relayed to although they are not of the internet
	TURNUsers  []string       // name:password of accounts that do not expire, for other programs

	TLSCert       string // the operator's own certificate chain and key, PEM files; read again when they change
	TLSKey        string
	ACMEEmail     string // where the certificate authority may write to
	ACMEDirectory string // "": Let's Encrypt
	ACMECAFile    string // PEM file of authorities to trust for ACMEDirectory; "": the system's

	Passphrase string // what a host on the internet must say to open a room; "": made at first start and kept
	Open       bool   // whether anyone may open a room

	StateDir    string        // folder of keys and certificates; "": see DefaultStateDir
	Drain       time.Duration // how long calls may go on after the order to stop; 0: 30 s, negative: not at all
	OpenBrowser bool          // open the app in this machine's browser once ready
	LogFormat   string        // "auto" (the same as ""), "text" or "json"
	LogLevel    string        // "debug", "info" (the same as ""), "warn" or "error"

	// Logger takes the log. If nil, one is made by LogFormat and LogLevel that writes to standard error.
	Logger *slog.Logger
	// Terminal is where a person reads what was started and how to reach it. If nil, the same goes to the log.
	Terminal io.Writer

	look         func() *machine.Here                                                // instead of machine.Look, in tests
	lookExternal func(context.Context, *Config, *machine.Here) ([]netip.Addr, error) // instead of externalAddresses, likewise
}

const (
	off          = "off"
	auto         = "auto"
	letsEncrypt  = "https://acme-v02.api.letsencrypt.org/directory"
	defaultDrain = 30 * time.Second
	maxDrain     = 24 * time.Hour
	// A passphrase can be tried five times a minute from one address; eight characters of anything are out of reach then.
	minPassphrase = 8
)

// public reports whether the internet is served.
func (c *Config) public() bool { return len(c.Domains) > 0 || len(c.Public) > 0 }

// ownCertificate reports whether the operator brings the certificate.
func (c *Config) ownCertificate() bool { return c.TLSCert != "" }

// acme reports whether certificates are to be had from a public authority.
func (c *Config) acme() bool { return c.public() && !c.ownCertificate() && c.httpsAddress() != off }

func (c *Config) httpAddress() string {
	switch {
	case c.HTTP != "":
		return c.HTTP
	case c.public():
		return ":80"
	}
	return ":8080"
}

func (c *Config) httpsAddress() string {
	switch {
	case c.HTTPS != "":
		return c.HTTPS
	case c.public():
		return ":443"
	}
	return ":8443"
}

func (c *Config) turnAddress() string {
	if c.TURN != "" {
		return c.TURN
	}
	return ":3478"
}

func (c *Config) turnsAddress() string {
	switch {
	case c.turnAddress() == off:
		return off
	case c.TURNS != "":
		return c.TURNS
	}
	return ":5349"
}

func (c *Config) relayPortText() string {
	if c.RelayPorts != "" {
		return c.RelayPorts
	}
	return "49152-65535"
}

func (c *Config) drain() time.Duration {
	if c.Drain == 0 {
		return defaultDrain
	}
	return max(c.Drain, 0)
}

func (c *Config) stateDir() string {
	if c.StateDir != "" {
		return c.StateDir
	}
	return DefaultStateDir()
}

func (c *Config) acmeDirectory() string {
	if c.ACMEDirectory != "" {
		return c.ACMEDirectory
	}
	return letsEncrypt
}

// DefaultStateDir is the folder for keys and certificates where Config names none: systemd's $STATE_DIRECTORY,
// else the system's place for such things (on Linux $XDG_STATE_HOME/parley or ~/.local/state/parley). It is "" if
// there is no such place.
func DefaultStateDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return below(os.UserConfigDir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "parley")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "parley")
}

func below(place func() (string, error)) string {
	dir, err := place()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "parley")
}

// A SettingError says what is wrong with one setting.
type SettingError struct {
	Setting string // its name, as in [Settings]
	Problem string // what is wrong and what to do
}

func (e *SettingError) Error() string { return "--" + e.Setting + ": " + e.Problem }

// Validate reports everything that is wrong with c: the result wraps a [SettingError] for each. It reads the files that
// c names.
func (c *Config) Validate() error {
	var errs []error
	for _, wrong := range c.problems() {
		errs = append(errs, wrong)
	}
	return errors.Join(errs...)
}

func (c *Config) problems() (found []*SettingError) {
	wrong := func(setting, format string, args ...any) {
		found = append(found, &SettingError{setting, fmt.Sprintf(format, args...)})
	}
	for _, at := range []struct{ setting, address string }{{"http", c.HTTP}, {"https", c.HTTPS}, {"turn", c.TURN}, {"turns", c.TURNS}} {
		if at.address != "" && at.address != off && !isListenAddress(at.address) {
			wrong(at.setting, "%q is not a place to listen at: write :8443, localhost:8080, 192.168.1.5:80, several of one port with commas between them, or off", at.address)
		}
	}
	if c.httpAddress() == off && c.httpsAddress() == off {
		wrong("https", "http and https are both off, so nobody could be served: leave one of them on")
	}
	if c.public() && c.httpsAddress() == off && len(c.Proxies) == 0 {
		wrong("https", "is off, so the internet could not be served securely: leave it on, or name the proxy that has the certificate with --trusted-proxy")
	}
	for _, d := range c.Domains {
		if problem := domainProblem(d); problem != "" {
			wrong("domain", "%q %s", d, problem)
		} else if c.acme() && c.acmeDirectory() == letsEncrypt && isLocalName(d) {
			wrong("domain", "%q is not a name on the internet, so no public authority will give it a certificate: use a registered name, or --tls-cert and --tls-key", d)
		}
	}
	for _, p := range c.Public {
		addr, err := netip.ParseAddr(p)
		switch {
		case p == auto:
		case err != nil:
			wrong("public", "%q is not an address: write the address that the internet knows this machine by, as --public=203.0.113.7, or --public alone to take it from the network interfaces", p)
		case c.acme() && c.acmeDirectory() == letsEncrypt && (!addr.IsGlobalUnicast() || machine.IsNear(addr)):
			wrong("public", "%s is not an address on the internet, so no public authority will give it a certificate", addr)
		}
	}
	for _, n := range c.Names {
		if _, err := netip.ParseAddr(n); err != nil && domainProblem(n) != "" {
			wrong("name", "%q %s", n, domainProblem(n))
		}
	}
	for _, p := range c.Proxies {
		if p.Bits() == 0 {
			wrong("trusted-proxy", "%s would let everyone say who they are: name the proxy's own address", p)
		}
	}
	if _, _, ok := parsePortRange(c.relayPortText()); !ok {
		wrong("relay-ports", "%q is not a range of ports: write the first and the last, from 1024 on, as 49152-65535", c.RelayPorts)
	}
	var families [2]bool
	for _, e := range c.External {
		addr, err := netip.ParseAddr(e)
		if err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "" {
			wrong("external-address", "%q is not an address that others can send to: write one as 203.0.113.7", e)
			continue
		}
		family := 0
		if addr.Unmap().Is6() {
			family = 1
		}
		if families[family] {
			wrong("external-address", "%q is the second of its kind: one IPv4 and one IPv6 address is all that can be used", e)
		}
		families[family] = true
	}
	if users, err := c.turnUsers(); err != nil {
		wrong("turn-user", "%v", err)
	} else if err := (&turn.Config{Entropy: strings.NewReader(""), Users: users}).Validate(); err != nil {
		wrong("turn-user", "%v", err)
	}
	switch {
	case c.TLSCert != "" && c.TLSKey == "":
		wrong("tls-key", "is missing: a certificate (--tls-cert) needs its key")
	case c.TLSCert == "" && c.TLSKey != "":
		wrong("tls-cert", "is missing: a key (--tls-key) needs its certificate")
	case c.TLSCert != "":
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			wrong("tls-cert", "%v: give PEM files of a certificate chain and its key, readable by this user", err)
		}
	}
	if c.ACMEDirectory != "" && !strings.HasPrefix(c.ACMEDirectory, "https://") {
		wrong("acme-directory", "%q is not an address of an ACME authority: it begins with https://", c.ACMEDirectory)
	}
	if c.ACMECAFile != "" {
		if _, err := readRoots(c.ACMECAFile); err != nil {
			wrong("acme-ca-file", "%v", err)
		}
	}
	if c.ACMEEmail != "" && !strings.Contains(c.ACMEEmail, "@") {
		wrong("acme-email", "%q is not an e-mail address", c.ACMEEmail)
	}
	if c.Passphrase != "" && len(c.Passphrase) < minPassphrase {
		wrong("passphrase", "is shorter than %d characters, so it could be guessed: make it longer, or leave it out and one is made", minPassphrase)
	}
	if c.Passphrase != "" && c.Open {
		wrong("open", "lets anyone open a room, so --passphrase would do nothing: choose one of them")
	}
	if c.stateDir() == "" {
		wrong("state-dir", "is not given and this user has no home folder: name a folder for keys and certificates")
	}
	if c.Drain > maxDrain {
		wrong("drain", "%v is too long: at most %v", c.Drain, maxDrain)
	}
	switch c.LogFormat {
	case "", auto, "text", "json":
	default:
		wrong("log-format", "%q is none of auto, text, json", c.LogFormat)
	}
	if _, err := parseLevel(c.LogLevel); err != nil {
		wrong("log-level", "%q is none of debug, info, warn, error", c.LogLevel)
	}
	return found
}

func parseLevel(s string) (level slog.Level, err error) {
	if s == "" {
		return slog.LevelInfo, nil
	}
	err = level.UnmarshalText([]byte(s))
	return level, err
}

func isListenAddress(s string) bool {
	if _, _, err := splitListen(s); err != nil {
		return false
	}
	for one := range strings.SplitSeq(s, ",") {
		if !isOneListenAddress(strings.TrimSpace(one)) {
			return false
		}
	}
	return true
}

func isOneListenAddress(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return false
	}
	host, port := s[:i], s[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && strings.HasSuffix(host, "]") && addr.Is6()
	}
	_, err := netip.ParseAddr(host)
	return host == "" || err == nil && !strings.Contains(host, ":") || domainProblem(host) == ""
}

// domainProblem says why s is not the name of a host, or "".
func domainProblem(s string) string {
	if _, err := netip.ParseAddr(s); err == nil {
		return "is an address, not a name: use --public for it"
	}
	switch {
	case strings.Contains(s, "://") || strings.ContainsAny(s, "/:"):
		return "is more than a name: leave scheme, port and path away, as in call.example"
	case strings.Contains(s, "*"):
		return "has a wildcard: name each host"
	}
	if ascii, err := idna.Lookup.ToASCII(s); err != nil || ascii == "" || len(ascii) > 253 {
		return "is not the name of a host"
	}
	return ""
}

// isLocalName reports whether name cannot be one that the whole internet agrees on.
func isLocalName(name string) bool {
	name = strings.ToLower(name)
	if !strings.Contains(name, ".") {
		return true
	}
	for _, suffix := range []string{".local", ".localhost", ".internal", ".home.arpa", ".lan", ".test", ".invalid"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
