package turn

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Config says whom a Server serves and what it may do for them. With nothing but Entropy it serves STUN alone, to loopback
// and private networks: TURN needs somebody who may use it and an address to relay from.
type Config struct {
	// Realm is the realm of the credentials, at most 32 bytes so that a challenge stays below 128; default "parley".
	Realm string
	// Software, if not empty, is told to clients that have authenticated; at most 64 bytes.
	Software string
	// Entropy is a cryptographic source; required. It is read when the server is made and never after.
	Entropy io.Reader

	// Secrets are the keys of time-limited credentials (see NewCredential): the first is current, the others are those
	// that it replaced and that clients may still hold. At most 4, each at least 16 bytes.
	Secrets []string
	// Epoch is the wall-clock time at mono.Time zero, by which credentials expire; required with Secrets.
	Epoch time.Time
	// Users are accounts that do not expire.
	Users []User

	// Relay are the addresses from which peers see relayed data coming, as peers see them (the external address where
	// there is a NAT): at most one for IPv4 and one for IPv6. A family without an address cannot be allocated.
	Relay []netip.Addr
	// Own are all other addresses of this machine and of what it serves. They are never relayed to.
	Own []netip.Addr
	// Allow are exceptions from the list of addresses that are never relayed to.
	Allow []netip.Prefix
	// Public serves clients from any address; without it only those of loopback, link-local and private networks.
	Public bool
	// MinPort and MaxPort bound the ports of relay sockets, both included; default 49152 to 65535.
	MinPort, MaxPort uint16
	// DontFragment says that the driver honours pkt.Transmit.Unfragmented. Without it DONT-FRAGMENT is refused.
	DontFragment bool
	// CoturnClients also takes what coturn's test client sends and RFC 8656 has otherwise: channel numbers up to 0x7FFF, as
	// RFC 5766 had them, and ADDITIONAL-ADDRESS-FAMILY by the number 0x8032.
	CoturnClients bool
	// Shards says that the server consists of several engines, each with clients of its own. See Hairpin and OpenRelay.
	Shards bool

	// Limits bound each user who has no limits of his own. The zero value of a field is its default.
	Limits Limits
	// PerAddress bounds the allocations of clients from one address (IPv4) or /64 (IPv6); default 1024.
	PerAddress int
	// Allocations bounds the allocations of this engine; default 16384.
	Allocations int
	// MaxLifetime is the longest an allocation lives without a refresh; 10 to 60 minutes, default 60.
	MaxLifetime time.Duration
}

// A User is an account with a password that is known in advance.
type User struct {
	Name, Password string
	// Limits are the user's own; zero fields are those of the Config.
	Limits Limits
}

// Limits bound what one user may take of one engine at a time. With shards, the driver counts over all of them, answers OpenRelay
// with ErrQuota, and says how the bandwidth is shared (Server.Share).
type Limits struct {
	// Allocations is the number of relayed addresses; default 64.
	Allocations int
	// Bandwidth is in bytes of application data a second, each way, for all allocations together, with a burst of one
	// second; 0: no bound.
	Bandwidth int64
}

const (
	maxRealm      = 32
	maxSoftware   = 64
	maxName       = 508 // "fewer than 509 bytes" (RFC 8489 section 14.3)
	maxSecrets    = 4
	minSecret     = 16
	defaultRealm  = "parley"
	defaultLimit  = 64
	lifetime      = 10 * time.Minute // the default lifetime of RFC 8656 section 3.2
	longestLife   = time.Hour
	firstPort     = 49152
	lastPort      = 65535
	lowestPort    = 1024 // "SHOULD NOT allocate ports in the range 0 - 1023" (section 7.2)
	perAddress    = 1024
	allAllocation = 16384
)

// Validate says what is wrong with a Config, and what to do about it.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return errors.New("turn: Entropy is missing: give it crypto/rand.Reader")
	case len(c.Realm) > maxRealm:
		return fmt.Errorf("turn: the realm %q has %d bytes: choose one of at most %d", c.Realm, len(c.Realm), maxRealm)
	case !printable(c.Realm) || strings.ContainsAny(c.Realm, `"\`):
		return fmt.Errorf("turn: the realm %q has control characters, quotes or backslashes: choose one without", c.Realm)
	case len(c.Software) > maxSoftware:
		return fmt.Errorf("turn: Software has %d bytes: choose at most %d", len(c.Software), maxSoftware)
	case len(c.Secrets) > maxSecrets:
		return fmt.Errorf("turn: %d secrets: keep at most %d, the current one first", len(c.Secrets), maxSecrets)
	case len(c.Secrets) > 0 && c.Epoch.IsZero():
		return errors.New("turn: Secrets without Epoch: without the time of day no credential would ever expire")
	case c.MaxLifetime != 0 && (c.MaxLifetime < lifetime || c.MaxLifetime > longestLife):
		return fmt.Errorf("turn: MaxLifetime is %v: choose between %v and %v", c.MaxLifetime, lifetime, longestLife)
	case c.minPort() < lowestPort || c.minPort() > c.maxPort():
		return fmt.Errorf("turn: relay ports %d to %d: choose a range from %d on whose end is not below its start",
			c.minPort(), c.maxPort(), lowestPort)
	}
	for _, s := range c.Secrets {
		if len(s) < minSecret {
			return fmt.Errorf("turn: a secret of %d bytes: use at least %d random ones", len(s), minSecret)
		}
	}
	names := map[string]bool{}
	for _, u := range c.Users {
		switch {
		case u.Name == "" || len(u.Name) > maxName || !printable(u.Name):
			return fmt.Errorf("turn: user name %q: use 1 to %d bytes of UTF-8 without control characters", u.Name, maxName)
		case u.Password == "" || !printable(u.Password):
			return fmt.Errorf("turn: the password of user %q is empty or has control characters", u.Name)
		case names[u.Name]:
			return fmt.Errorf("turn: user %q is there twice", u.Name)
		}
		if _, _, _, ok := splitUsername([]byte(u.Name)); ok {
			return fmt.Errorf("turn: user name %q looks like a time-limited credential: use one that does not begin with digits and a colon", u.Name)
		}
		names[u.Name] = true
		if err := u.Limits.validate(); err != nil {
			return fmt.Errorf("turn: user %q: %w", u.Name, err)
		}
	}
	if err := c.Limits.validate(); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	if c.PerAddress < 0 || c.Allocations < 0 {
		return errors.New("turn: PerAddress and Allocations must not be negative")
	}
	return validateRelay(c.Relay)
}

func validateRelay(relay []netip.Addr) error {
	for i, a := range relay {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("turn: relay address %v: it must be one that peers can send to", a)
		}
		if slices.ContainsFunc(relay[:i], func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			return fmt.Errorf("turn: relay address %v: there is one of that family already", a)
		}
	}
	return nil
}

func (l *Limits) validate() error {
	if l.Allocations < 0 || l.Bandwidth < 0 {
		return errors.New("limits must not be negative")
	}
	return nil
}

// or returns l with d in place of fields that are zero.
func (l Limits) or(d Limits) Limits {
	if l.Allocations == 0 {
		l.Allocations = d.Allocations
	}
	if l.Bandwidth == 0 {
		l.Bandwidth = d.Bandwidth
	}
	return l
}

// within returns l lowered to what d allows.
func (l Limits) within(d Limits) Limits {
	l = l.or(d)
	l.Allocations = min(l.Allocations, d.Allocations)
	if d.Bandwidth != 0 {
		l.Bandwidth = min(l.Bandwidth, d.Bandwidth)
	}
	return l
}

func (c *Config) minPort() uint16 {
	if c.MinPort == 0 {
		return firstPort
	}
	return c.MinPort
}

func (c *Config) maxPort() uint16 {
	if c.MaxPort == 0 {
		return lastPort
	}
	return c.MaxPort
}

// setDefaults fills in what is zero.
func (c *Config) setDefaults() {
	if c.Realm == "" {
		c.Realm = defaultRealm
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = longestLife
	}
	if c.PerAddress == 0 {
		c.PerAddress = perAddress
	}
	if c.Allocations == 0 {
		c.Allocations = allAllocation
	}
	c.MinPort, c.MaxPort = c.minPort(), c.maxPort()
	c.Limits = c.Limits.or(Limits{Allocations: defaultLimit})
}

// printable reports whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7F })
}
