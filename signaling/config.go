package signaling

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Config is how a [Hub] works. The zero value is useful: it lets anyone on loopback and private networks open rooms, and nobody else.
type Config struct {
	// MaxPeersPerRoom is how many seats a room has, at least 2. Default: 4, as many as call one another directly with comfort.
	MaxPeersPerRoom int
	// MaxRooms and MaxPeers bound the whole hub. Default: 1,000 and 4,000.
	MaxRooms, MaxPeers int
	// MaxPeersPerAddr bounds the seats of one address (IPv6: one /64). Default: a quarter of MaxPeers, at least 1.
	MaxPeersPerAddr int
	// MessageSize is the largest frame in bytes, from 8 KiB to 1 MiB. Default: 256 KiB.
	MessageSize int
	// Rate is how many frames a second the hub takes of one peer on average, and Burst how many at once. Default: 60 and 300.
	Rate, Burst int
	// JoinRate is how many joins a minute one address (IPv6: one /64) has. Default: 30.
	JoinRate int
	// PassphraseRate is how many wrong passphrases a minute one address has. Default: 5.
	PassphraseRate int
	// ResumeFor is how long a seat is held when its connection drops. Default: 30 s.
	ResumeFor time.Duration

	// Passphrase lets a host open rooms from the internet. Empty: nobody can, unless Open.
	Passphrase string
	// Open lets anyone open rooms.
	Open bool
	// TokenKey signs tokens: at least 32 random bytes, the same after a restart so that tokens stay good. Default: a random key.
	TokenKey []byte

	// Access says who sends a request. The caller has checked Host and Origin and believes the proxies it knows; then the hub
	// checks neither. Nil: the hub stands alone. It takes the connection's address, refuses a foreign Origin,
	// and takes a client for local if its address is and the request's Host is an address or localhost (a foreign
	// name may be DNS rebinding).
	Access func(*http.Request) Access
	// Link is the invitation to a room, with an address that others can reach. Default: /r/ROOM on the request's Host.
	Link func(r *http.Request, room string) string
	// ICEServers is called after a peer was let in. What it returns makes servers and credentials that are the peer's own: it is called
	// at once, and again every ICERenewal for fresh ones, until the seat is gone. Neither may block or call the hub. Nil: none.
	ICEServers func(s Seat, r *http.Request) func() []ICEServer
	// ICERenewal is how long ICE servers are told before the peer is given fresh ones: less than credentials live. Default: never.
	ICERenewal time.Duration
	// Gone is called after a seat was given up, so that what was made for it can be taken back. It must not block. Nil: nothing.
	Gone func(s Seat)

	// Logger gets a line for each join, resume and leave (Info) and each refusal (Debug), with labels that mean nothing elsewhere in
	// the place of rooms and peers, and without addresses. Default: none.
	Logger *slog.Logger
}

// Access is who sends a request.
type Access struct {
	// Addr is the client's address, for limits.
	Addr netip.Addr
	// Local clients, those on loopback and private networks, may open any room.
	Local bool
}

// Seat names one seat, for what is made for it alone. A peer that joins again has another.
type Seat struct {
	Room string
	Peer string // its id
	ID   string // of this seat: 26 letters and digits, never used again, not a secret
}

// Validate reports every field that is out of its range.
func (c Config) Validate() error {
	var errs []error
	between := func(name string, v, least, most int) {
		if v != 0 && (v < least || v > most) {
			errs = append(errs, fmt.Errorf("signaling: %s is %d, and must be from %d to %d", name, v, least, most))
		}
	}
	between("MaxPeersPerRoom", c.MaxPeersPerRoom, 2, 1000)
	between("MaxRooms", c.MaxRooms, 1, 1_000_000)
	between("MaxPeers", c.MaxPeers, 1, 1_000_000)
	between("MaxPeersPerAddr", c.MaxPeersPerAddr, 1, 1_000_000)
	between("MessageSize", c.MessageSize, 8<<10, maxRequest)
	between("Rate", c.Rate, 1, 1_000_000)
	between("Burst", c.Burst, 1, 1_000_000)
	between("JoinRate", c.JoinRate, 1, 1_000_000)
	between("PassphraseRate", c.PassphraseRate, 1, 1_000_000)
	if c.ResumeFor != 0 && (c.ResumeFor < time.Second || c.ResumeFor > 10*time.Minute) {
		errs = append(errs, fmt.Errorf("signaling: ResumeFor is %v, and must be from 1s to 10m", c.ResumeFor))
	}
	if len(c.Passphrase) > maxPassphrase {
		errs = append(errs, fmt.Errorf("signaling: Passphrase is longer than %d bytes", maxPassphrase))
	}
	if c.TokenKey != nil && len(c.TokenKey) < 32 {
		errs = append(errs, fmt.Errorf("signaling: TokenKey has %d bytes, and must have at least 32", len(c.TokenKey)))
	}
	return errors.Join(errs...)
}

// withDefaults fills what was left open.
func (c Config) withDefaults() Config {
	fill := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	fill(&c.MaxPeersPerRoom, 4)
	fill(&c.MaxRooms, 1000)
	fill(&c.MaxPeers, 4000)
	fill(&c.MaxPeersPerAddr, max(1, c.MaxPeers/4))
	fill(&c.MessageSize, 256<<10) // a description of ten videos has 80 KiB
	fill(&c.Rate, 60)
	fill(&c.Burst, 300)
	fill(&c.JoinRate, 30)
	fill(&c.PassphraseRate, 5)
	if c.ResumeFor == 0 {
		c.ResumeFor = 30 * time.Second
	}
	if c.Link == nil {
		c.Link = defaultLink
	}
	if c.ICEServers == nil {
		c.ICEServers = func(Seat, *http.Request) func() []ICEServer { return func() []ICEServer { return nil } }
	}
	if c.Gone == nil {
		c.Gone = func(Seat) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func defaultLink(r *http.Request, room string) string {
	u := url.URL{Scheme: "http", Host: r.Host, Path: "/r/" + room}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// standaloneAccess is Access of a hub that stands alone.
func standaloneAccess(r *http.Request) Access {
	var a Access
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		a.Addr = ap.Addr().Unmap()
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	_, err := netip.ParseAddr(host)
	a.Local = (a.Addr.IsLoopback() || a.Addr.IsPrivate() || a.Addr.IsLinkLocalUnicast()) && (err == nil || host == "localhost")
	return a
}

// sameOrigin tells whether the page that made the request, if a page did, is of the request's own Host.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // not a browser's cross-origin request
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}
