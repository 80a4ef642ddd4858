package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/guard"
	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/server/relay"
	"github.com/parley-rtc/parley/signaling"
)

const (
	turnKeyFile = "turn.key"
	// lookupTime bounds looking the own domain up in DNS.
	lookupTime = 2 * time.Second
	// lookupEvery is how often that is done again, and the cloud asked.
	lookupEvery = 5 * time.Minute
	// credentialLife is how long a seat's credential could be used if the server forgot that the seat has ended, as it does
	// when it is killed. Pages that are open for longer get another one after credentialRenewal.
	credentialLife    = 24 * time.Hour
	credentialRenewal = 12 * time.Hour
)

// seatLimits are what one seat may relay: calls with three others, some candidates for each, at 32 Mbit/s each way.
var seatLimits = turn.Limits{Allocations: 64, Bandwidth: 4 << 20}

// turnService is STUN and TURN: the relay, where it listens, and who gets credentials.
type turnService struct {
	relay *relay.Relay
	at    struct{ turn, turns place } // udp and tcp; tls and dtls
	reach *reach
	// udpHTTPS is the https port where udp is open too, DTLS included; else 0.
	udpHTTPS int
	// certified reports whether browsers that installed nothing trust the certificate for a name.
	certified func(name string) bool
}

// openTurn opens the relay and its ports. Without a port for it, or an address to relay from, there is none.
func (s *server) openTurn() error {
	if s.cfg.turnAddress() == off {
		return nil
	}
	key, err := s.dir.Secret(turnKeyFile, 32)
	if err != nil {
		return err
	}
	users, err := s.cfg.turnUsers()
	if err != nil {
		return err
	}
	first, last := s.cfg.relayPorts()
	relayed, own := s.relayAddresses()
	cfg := relay.Config{
		Turn: turn.Config{
			Secrets: []string{turnSecret(key)},
			Users:   users,
			Relay:   relayed, Own: own,
			Allow:   s.cfg.RelayAllow,
			Public:  s.cfg.public(),
			MinPort: first, MaxPort: last,
		},
		Here:   s.watch.Here().Addrs,
		Logger: s.log,
	}
	if err := s.certs.fitForDTLS(); err != nil {
		s.log.Warn("the certificate is of no use for TURN over DTLS, which needs a key of ECDSA on P-256 or P-384, or RSA", "file", s.cfg.TLSCert, "error", err)
	}
	t := &turnService{reach: s.reach, certified: s.certs.certified}
	beside := s.ports.udpBesideHTTPS(&s.cfg, s.log)
	if len(beside) > 0 {
		t.udpHTTPS = s.ports.at.https.port
	}
	cfg.DTLS = append(udpAddresses(s.ports.turns, s.ports.at.turns.port), beside...)
	cfg.Certificate = s.certs.forDTLS
	s.ports.turn, t.at.turn, err = s.ports.openBoth("turn", s.cfg.TURN, s.cfg.turnAddress(), func(udp []netip.AddrPort) (err error) {
		cfg.UDP = udp
		t.relay, err = relay.Start(cfg)
		return err
	})
	if err != nil {
		return err
	}
	t.at.turns = s.ports.at.turns
	s.turn = t
	return nil
}

// relayAddresses returns the addresses that peers see relayed data come from, one of each family, and all that are this
// server's own.
func (s *server) relayAddresses() (relayed, own []netip.Addr) {
	here := s.watch.Here().Addrs
	external := *s.external.Load()
	own = append(slices.Clone(here), external...)
	pick := func(is4 bool) {
		family := func(a netip.Addr) bool { return a.Is4() == is4 && !a.IsLinkLocalUnicast() }
		for _, list := range [][]netip.Addr{external, here} { // those of Here are sorted, loopback last
			if i := slices.IndexFunc(list, family); i >= 0 {
				relayed = append(relayed, list[i])
				return
			}
		}
	}
	pick(true)
	pick(false)
	return relayed, own
}

// A caller is what a client says of itself when it asks for addresses of the relay.
type caller struct {
	host    string // it knows this server by this name or address
	trusted bool   // it trusts the certificate; else only one that everybody trusts will do
	dtls    bool   // it speaks DTLS, which no browser does
}

// urls are the addresses of the relay for a client: stun for free, turn with a credential. turns is offered only where the client
// will trust the certificate, and under a name, because browsers want it so. With udp it means DTLS (RFC 7350), and goes only to
// who asks for it: Chromium takes it for TLS over tcp and would have the same server twice.
func (t *turnService) urls(c caller) (stun, relayed []string) {
	host := c.host
	name := host
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is6() {
			host = "[" + host + "]"
		}
		name = t.reach.nameForTURNS()
	}
	port := ":" + strconv.Itoa(t.at.turn.port)
	stun = []string{"stun:" + host + port}
	relayed = []string{"turn:" + host + port + "?transport=udp", "turn:" + host + port + "?transport=tcp"}
	if t.udpHTTPS != 0 {
		relayed = append(relayed, "turn:"+host+":"+strconv.Itoa(t.udpHTTPS)+"?transport=udp")
	}
	if name != "" && (c.trusted || t.certified(name)) {
		for _, p := range []int{t.at.turns.port, t.reach.https.port} {
			if p != 0 && !t.reach.proxied {
				relayed = append(relayed, "turns:"+name+":"+strconv.Itoa(p)+"?transport=tcp")
			}
		}
		for _, p := range []int{t.at.turns.port, t.udpHTTPS} {
			if p != 0 && c.dtls && !t.reach.proxied {
				relayed = append(relayed, "turns:"+name+":"+strconv.Itoa(p)+"?transport=udp")
			}
		}
	}
	return stun, relayed
}

// describe says where the relay is, for a person.
func (t *turnService) describe() string {
	text := fmt.Sprintf("works: TURN on %d (udp, tcp)", t.at.turn.port)
	if t.udpHTTPS != 0 {
		text += fmt.Sprintf(" and %d (udp)", t.udpHTTPS)
	}
	var tls []string
	for _, p := range []place{t.at.turns, t.reach.https} {
		if p.on() && !t.reach.proxied { // behind a proxy there is no certificate that browsers trust
			tls = append(tls, strconv.Itoa(p.port))
		}
	}
	if len(tls) > 0 {
		text += ", over TLS on " + strings.Join(tls, " and ")
	}
	if t.at.turns.on() && !t.reach.proxied {
		text += fmt.Sprintf(", over DTLS on %d (udp)", t.at.turns.port)
	}
	return text
}

// portsToOpen lists what a firewall in front of a public server has to let in.
func (s *server) portsToOpen() string {
	var tcp, udp []string
	list := []place{s.reach.http, s.reach.https}
	if s.turn != nil {
		list = append(list, s.turn.at.turn, s.turn.at.turns)
		for _, p := range []place{s.turn.at.turn, s.turn.at.turns} {
			if p.on() {
				udp = append(udp, strconv.Itoa(p.port))
			}
		}
		if s.turn.udpHTTPS != 0 {
			udp = append(udp, strconv.Itoa(s.turn.udpHTTPS))
		}
		udp = append(udp, s.cfg.relayPortText())
	}
	for _, p := range list {
		if p.far() {
			tcp = append(tcp, strconv.Itoa(p.port))
		}
	}
	text := "tcp " + strings.Join(tcp, ", ")
	if len(udp) > 0 {
		text += "; udp " + strings.Join(udp, ", ")
	}
	return text
}

// nameForTURNS is a name that the certificate for the local network has, for clients that came by an address.
func (r *reach) nameForTURNS() string {
	for _, n := range slices.Concat(r.internet, r.names, r.watch.Here().Names()) {
		if _, err := netip.ParseAddr(n); err != nil && strings.Contains(n, ".") {
			return n
		}
	}
	return ""
}

// What is in the address of signaling: trustedQuery when the page has proved that the browser trusts the certificate, dtlsQuery
// when the client can do TURN over DTLS.
const (
	trustedQuery = "trusted"
	dtlsQuery    = "dtls"
)

// iceServers are a seat's: its credentials die with it.
func (t *turnService) iceServers(seat signaling.Seat, r *http.Request) func() []signaling.ICEServer {
	if t == nil {
		return func() []signaling.ICEServer { return nil }
	}
	query := r.URL.Query()
	c := caller{guard.ClientOf(r).Hostname(), query.Get(trustedQuery) == "1", query.Get(dtlsQuery) == "1"}
	return func() []signaling.ICEServer {
		username, password, err := t.relay.Credential(seat.ID, time.Now().Add(credentialLife), seatLimits)
		if err != nil {
			return nil
		}
		return t.block(c, username, password)
	}
}

func (t *turnService) block(c caller, username, password string) []signaling.ICEServer {
	stun, relayed := t.urls(c)
	return []signaling.ICEServer{{URLs: stun}, {URLs: relayed, Username: username, Credential: password}}
}

// TURNCredentials makes an iceServers block for another program, with a credential for name that is good until it expires: what
// `parley turn-credentials` prints. It is for the server that runs with cfg, which need not run now but must have made its
// keys; default ports that gave way to others are not known here.
func TURNCredentials(cfg Config, name string, expires time.Time) ([]signaling.ICEServer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigError{err}
	}
	if cfg.turnAddress() == off {
		return nil, &ConfigError{&SettingError{"turn", "is off, so there is no relay to make credentials for"}}
	}
	key, err := os.ReadFile(filepath.Join(cfg.stateDir(), turnKeyFile))
	if err != nil {
		return nil, fmt.Errorf("the server's key cannot be read (%w): start the server once, or name its state folder; for the service that packaging/parley.service makes: "+
			"sudo parley turn-credentials --config /etc/parley/parley.yaml --state-dir /var/lib/parley", err)
	}
	username, password, err := turn.NewCredential(turnSecret(key), name, expires, seatLimits)
	if err != nil {
		return nil, err
	}
	watch := machine.NewWatch(machine.Look)
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	external, _ := externalAddresses(ctx, &cfg, watch.Here()) // without one, the names have to do
	internet := internetNames(&cfg, watch.Here(), external)
	if len(cfg.Domains) == 0 && len(external) > 0 {
		internet = append([]string{external[0].String()}, internet...)
	}
	t := &turnService{
		reach:     &reach{watch: watch, internet: internet, https: placeOf(cfg.httpsAddress()), proxied: len(cfg.Proxies) > 0},
		certified: func(name string) bool { return slices.Contains(canonicalAll(cfg.Domains), name) },
	}
	t.at.turn, t.at.turns = placeOf(cfg.turnAddress()), placeOf(cfg.turnsAddress())
	if cfg.public() && !t.reach.proxied {
		t.udpHTTPS = t.reach.https.port
	}
	host := "localhost"
	if names := append(t.reach.internet, localAddrs(watch.Here())...); len(names) > 0 {
		host = names[0]
	}
	return t.block(caller{host: host}, username, password), nil
}

func placeOf(address string) place {
	hosts, port, err := splitListen(address)
	if err != nil {
		return place{} // off
	}
	return place{host: hosts[0], port: port}
}

// localAddrs are the addresses by which others on the local network know this machine, the likeliest first.
func localAddrs(here *machine.Here) (list []string) {
	for _, a := range here.Addrs {
		if machine.IsNear(a) && !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			list = append(list, a.String())
		}
	}
	return list
}

func turnSecret(key []byte) string { return base64.RawStdEncoding.EncodeToString(key) }

// apiCredentialLife is how long a credential of GET /api/turn is good.
const apiCredentialLife = time.Hour

// serveTURN answers GET /api/turn: an iceServers block for another program of the host's, who shows the passphrase as bearer token.
// On the server's own machine nothing needs to be shown.
func (s *server) serveTURN(w http.ResponseWriter, r *http.Request) {
	client := guard.ClientOf(r)
	if !client.OnThisMachine() {
		if s.passphrase == "" {
			s.refuse(w, r, &guard.Refusal{Status: http.StatusForbidden, Code: codeLocalOnly,
				Message: "With --open there is no passphrase to show: ask on the server's own machine, or run `parley turn-credentials` there."})
			return
		}
		said, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		refusal := &signaling.Error{Code: signaling.CodePassphraseRequired, Message: "send the host's passphrase, as in `Authorization: Bearer ...`"}
		if ok {
			refusal = s.hub.CheckPassphrase(client.Addr, said)
		}
		if refusal != nil {
			s.metrics.refused(refusal.Code)
			w.Header().Set("WWW-Authenticate", "Bearer")
			status := http.StatusUnauthorized
			if refusal.Code == signaling.CodeTooManyAttempts {
				status = http.StatusTooManyRequests
			}
			signaling.WriteHTTPError(w, status, refusal)
			return
		}
	}
	if s.turn == nil {
		signaling.WriteHTTPError(w, http.StatusNotFound, &signaling.Error{Code: codeNoRelay, Message: "this server has no relay (--turn off)"})
		return
	}
	username, password, err := s.turn.relay.Credential("api-"+rand.Text(), time.Now().Add(apiCredentialLife), seatLimits)
	if err != nil {
		s.log.Error("a credential for the relay", "error", err)
		http.Error(w, "no credential could be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	block := map[string]any{
		"iceServers": s.turn.block(caller{host: client.Hostname(), dtls: r.URL.Query().Get(dtlsQuery) == "1"}, username, password),
		"expires":    time.Now().Add(apiCredentialLife).UTC().Format(time.RFC3339),
	}
	_ = json.NewEncoder(w).Encode(block) // a client that went away is nobody's error
}

// gone takes a seat's credential back.
func (t *turnService) gone(seat signaling.Seat) {
	if t != nil {
		t.relay.Revoke(seat.ID, time.Now().Add(credentialLife))
	}
}

// updateRelay tells the relay of changes to the machine's addresses.
func (s *server) updateRelay() {
	if s.turn == nil {
		return
	}
	relayed, own := s.relayAddresses()
	if err := s.turn.relay.SetAddresses(relayed, own, s.watch.Here().Addrs); err != nil {
		s.log.Error("the relay's addresses", "error", err)
	}
}

// checkRelay sends the relay a STUN request through each address that the internet knows this machine by, and says what
// did not come back.
func (s *server) checkRelay(ctx context.Context) {
	if s.turn == nil {
		return
	}
	for _, addr := range *s.external.Load() {
		to := netip.AddrPortFrom(addr, uint16(s.turn.at.turn.port))
		if seen, err := relay.Ask(ctx, to); err != nil {
			s.log.Warn("the relay cannot be reached from here through its external address; if it can be from elsewhere, the router in front does not lead its own network back in, and only callers there suffer",
				"address", to.String(), "error", err, "open", s.portsToOpen())
		} else {
			s.log.Info("the relay answers through its external address", "address", to.String(), "seen_as", seen.Addr() == addr)
		}
	}
}

// certified reports whether browsers that installed nothing trust the certificate that is shown for name.
func (c *certificates) certified(name string) bool {
	if c.own != nil {
		return c.own.current.Load().Leaf.VerifyHostname(name) == nil
	}
	return c.manager != nil && c.manager.Certificate(name) != nil
}

// turnUsers takes name:password apart.
func (c *Config) turnUsers() (users []turn.User, err error) {
	for _, u := range c.TURNUsers {
		name, password, ok := strings.Cut(u, ":")
		if !ok || name == "" || password == "" {
			return nil, fmt.Errorf("a user is written name:password")
		}
		users = append(users, turn.User{Name: name, Password: password})
	}
	return users, nil
}

// relayPorts are the first and last port of RelayPorts.
func (c *Config) relayPorts() (first, last uint16) {
	first, last, _ = parsePortRange(c.relayPortText())
	return first, last
}

func parsePortRange(s string) (first, last uint16, ok bool) {
	a, b, found := strings.Cut(s, "-")
	from, err1 := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	return uint16(from), uint16(to), found && err1 == nil && err2 == nil && from >= 1024 && from <= to
}
