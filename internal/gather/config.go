package gather

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A Policy says which candidates are gathered (the W3C's RTCIceTransportPolicy).
type Policy uint8

// The two policies.
const (
	// All gathers every kind.
	All Policy = iota
	// Relay gathers relayed candidates only, and says nothing of the addresses they were gathered from.
	Relay
)

// A Server is one URL of the W3C's RTCIceServer.
type Server struct {
	URI turn.URI
	// Username and Password are the credential for a TURN server (RFC 8489 section 9.2).
	Username, Password string
}

// A Mapping is a NAT's translation of a whole address that is known beforehand, as clouds have it.
type Mapping struct {
	// Internal is the address of this machine; if it is not valid, every address of External's family is meant.
	Internal, External netip.Addr
	// Replace says that peers cannot reach Internal at all: External takes its place in the host candidate. Otherwise it
	// is a server-reflexive candidate beside it.
	Replace bool
}

// Config says what to gather, and from where. The zero value gathers host candidates of this machine.
type Config struct {
	// Number is that of the ICE transport within its connection, from 0 to 255: it keeps the names of relays apart. See NumberOf.
	Number int
	// Host is the machine; nil: this one.
	Host Host
	// Servers are asked for reflexive and relayed candidates, all at once; at most 32.
	Servers []Server
	// Policy is the W3C's iceTransportPolicy.
	Policy Policy
	// Interfaces, if set, says which addresses of the machine may be used, by their interface or family. It gets each address
	// that RFC 8445 section 5.1.1.1 lets pass.
	Interfaces func(Address) bool
	// Candidates, if set, says which candidates to tell, by type or transport.
	Candidates func(*ice.Candidate) bool
	// Loopback also gathers from loopback addresses. Without it they are used only where there is nothing else.
	Loopback bool
	// MinPort and MaxPort bound the ports of the sockets that are opened, both included; 0: any.
	MinPort, MaxPort uint16
	// Shared, if set, returns the UDP socket that the owner has open for an address, and shares among connections, with its
	// port. Addresses for which ok is false are not used. Shared sockets are not closed here, and what comes in on them for
	// the Gatherer answers its Binding requests: relays have sockets of their own, as a 5-tuple has one allocation.
	Shared func(ip netip.Addr) (socket pkt.Socket, port uint16, ok bool)
	// Mappings are 1:1 NAT mappings.
	Mappings []Mapping
	// HideHosts tells host candidates by names that only the local network can resolve (draft-ietf-mmusic-mdns-ice-candidates),
	// and keeps their addresses out of other candidates.
	HideHosts bool
	// TCP gathers active TCP candidates (RFC 6544), and with PassiveTCP passive ones too.
	TCP, PassiveTCP bool
	// Proxy is an HTTP proxy that knows CONNECT: "http://user:password@host:port". Empty: what the environment says
	// (HTTPS_PROXY, NO_PROXY); "none": no proxy. It is used for TURN servers over TCP and TLS where nothing else works.
	Proxy string
	// TLS is what certificates of TURN servers are checked by, among others. Nil: the system's roots.
	TLS *tls.Config
	// Entropy is a cryptographic source; nil: crypto/rand.Reader.
	Entropy io.Reader
}

const (
	maxServers = 32
	maxNumber  = 255
)

// Validate says what is wrong with a Config.
func (c *Config) Validate() error {
	switch {
	case c.Number < 0 || c.Number > maxNumber:
		return fmt.Errorf("gather: Number is %d: it must be from 0 to %d", c.Number, maxNumber)
	case c.MinPort > c.MaxPort && c.MaxPort != 0:
		return fmt.Errorf("gather: ports %d to %d: the end of the range is below its start", c.MinPort, c.MaxPort)
	case c.MinPort != 0 && c.MaxPort == 0:
		return errors.New("gather: MinPort without MaxPort: give both")
	}
	for _, m := range c.Mappings {
		if !m.External.IsValid() || m.Internal.IsValid() && m.Internal.Is4() != m.External.Is4() {
			return fmt.Errorf("gather: mapping of %v to %v: both must be addresses of one family", m.Internal, m.External)
		}
	}
	if _, err := parseProxy(c.Proxy); err != nil {
		return err
	}
	return validateServers(c.Servers)
}

func validateServers(servers []Server) error {
	if len(servers) > maxServers {
		return fmt.Errorf("gather: %d servers: give at most %d", len(servers), maxServers)
	}
	for _, s := range servers {
		switch {
		case !slices.Contains([]string{"stun", "stuns", "turn", "turns"}, s.URI.Scheme) || s.URI.Host == "" || s.URI.Port == 0:
			return fmt.Errorf("gather: the server %q has no scheme, host or port: make it with turn.ParseURI", s.URI)
		case s.URI.TURN() && (s.Username == "" || s.Password == ""):
			return fmt.Errorf("gather: the server %v has no username or password: TURN needs both", s.URI)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Host == nil {
		c.Host = Machine()
	}
	if c.Entropy == nil {
		c.Entropy = rand.Reader
	}
	if c.MaxPort != 0 && c.MinPort == 0 {
		c.MinPort = 1
	}
}
