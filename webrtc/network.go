package webrtc

import (
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// NetworkConfig says how connections of a [Network] reach the world. The zero value is that of [NewPeerConnection].
type NetworkConfig struct {
	// UDP is the address of one port for all connections, as servers want it, such as ":3478" for every address of the
	// machine; port 0 is any free one. Relays have ports of their own. Empty: each connection has sockets of its own, one for
	// each address.
	UDP string
	// MinPort and MaxPort bound the ports of connections with sockets of their own, both included; 0: any.
	MinPort, MaxPort uint16
	// Addresses, if set, says which addresses of the machine may be used, each with the name of its interface.
	Addresses func(ifname string, ip netip.Addr) bool
	// Candidates, if set, says which candidates of ours are used and told: by type, protocol, address or port. Foundation and
	// priority are not known yet.
	Candidates func(c *ICECandidate) bool
	// Loopback also uses loopback addresses; without it they are used only where there are no others.
	Loopback bool
	// Mappings are those of 1:1 NATs in front of the machine, as clouds have them.
	Mappings []AddressMapping
	// HideAddresses tells host addresses as names of multicast DNS, which only the local network can resolve.
	HideAddresses bool
	// NoTCP gathers no active TCP candidates (RFC 6544); ListenTCP gathers passive ones, each with a listener.
	NoTCP, ListenTCP bool
	// Lite makes ICE lite (RFC 8445 appendix A), for servers with public addresses. Peers must be full.
	Lite bool
	// Proxy is an HTTP proxy that knows CONNECT, "http://user:password@host:port", for TURN servers that are reached no other
	// way. Empty: what the environment says (HTTPS_PROXY, NO_PROXY); "none": no proxy.
	Proxy string
	// TLS says how certificates of TURN servers are checked; nil: by the system's roots.
	TLS *tls.Config
	// Groups are the key agreements of DTLS that are offered and taken, best first, of tls.X25519MLKEM768, tls.X25519,
	// tls.CurveP256 and tls.CurveP384; nil: all of these. Without the first, which costs half as much again, a quantum computer
	// of tomorrow may read what is recorded today.
	Groups []tls.CurveID
	// MaxConnections is how many connections there may be at a time; 0: any number. One more is an OperationError.
	MaxConnections int
	// Logger is told what a program's maker wants to know, without secrets or addresses; nil: nobody.
	Logger *slog.Logger
	// Observer, if set, is shown every datagram as it is on the wire, and every frame of a stream. It is called on the
	// goroutine that all connections share, and must not wait. [Pcap] makes one that writes a file.
	Observer func(*Packet)
	// KeyLog is where the secrets of DTLS are written in the NSS key log format, for debugging; nil: nowhere. It must be safe
	// for concurrent use.
	KeyLog io.Writer
}

// An AddressMapping is a NAT's translation of a whole address.
type AddressMapping struct {
	// Internal is an address of the machine; if it is not valid, every address of External's family is meant.
	Internal, External netip.Addr
	// Replace says that peers cannot reach Internal at all, so that they are told External alone.
	Replace bool
}

// A Network is where connections live: one loop, which all of them share and which runs while there is any. Programs that
// want nothing particular use [NewPeerConnection], which has one of its own. Its methods may be called from any goroutine.
type Network struct {
	cfg    NetworkConfig
	poller func() (loop.Poller, error) // nil: that of the system
	host   gather.Host

	mu     sync.Mutex
	loop   *loop.Loop
	users  int // connections, and the Network itself until Close
	live   map[*PeerConnection]struct{}
	closed bool
	groups []dtls.Group

	shared
}

// shared is what the connections of one loop share; it belongs to the loop's goroutine.
type shared struct {
	engines *peer.Scratch
	scratch *pkt.Batch // of connections that send over relays
	slab    []byte     // room for short messages
	port    *port      // nil: connections have sockets of their own
}

var standard = Network{host: gather.Machine()}

// NewNetwork makes a network; Close ends it. What is wrong with the configuration is a TypeError, a port that cannot be
// had an OperationError.
func NewNetwork(cfg NetworkConfig) (*Network, error) {
	return newNetwork(cfg, gather.Machine(), nil)
}

func newNetwork(cfg NetworkConfig, host gather.Host, poller func() (loop.Poller, error)) (*Network, error) {
	n := &Network{cfg: cfg, host: host, poller: poller}
	check := n.gather(0, &validated{})
	if err := check.Validate(); err != nil {
		return nil, fail(TypeError, "%v", err)
	}
	for _, g := range cfg.Groups {
		switch g {
		case tls.X25519MLKEM768, tls.X25519, tls.CurveP256, tls.CurveP384:
			n.groups = append(n.groups, dtls.Group(g)) // both are IANA's numbers
		default:
			return nil, fail(TypeError, "Groups: %v is not known here", g)
		}
	}
	var local netip.AddrPort
	if cfg.UDP != "" {
		var err error
		if local, err = parseUDP(cfg.UDP); err != nil {
			return nil, err
		}
	}
	l, err := n.acquire()
	if err != nil {
		return nil, fail(OperationError, "%v", err)
	}
	if cfg.UDP != "" {
		if doErr := l.Do(func(mono.Time) { n.port, err = openPort(n, l, local) }); doErr != nil {
			err = doErr
		}
		if err != nil {
			n.release()
			return nil, fail(OperationError, "the UDP port %s: %v", cfg.UDP, err)
		}
	}
	return n, nil
}

// parseUDP reads an address with a port; without a host every address is meant, which is the invalid address.
func parseUDP(s string) (netip.AddrPort, error) {
	if len(s) > 0 && s[0] == ':' {
		a, err := netip.ParseAddrPort("0.0.0.0" + s)
		if err != nil {
			return a, fail(TypeError, "UDP is %q: give an address and a port, or :port", s)
		}
		return netip.AddrPortFrom(netip.Addr{}, a.Port()), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fail(TypeError, "UDP is %q: give an address and a port, or :port", s)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// Close closes every connection of the network, and returns when nothing of it runs any more; from within a handler it
// returns at once, as [PeerConnection.Close] does.
func (n *Network) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	all := slices.Collect(maps.Keys(n.live))
	n.mu.Unlock()
	for _, pc := range all {
		pc.Close()
	}
	if !first {
		return nil
	}
	if inCallback() {
		go n.release()
	} else {
		n.release()
	}
	return nil
}

// LocalUDP returns the address of the port that all connections share; it is not valid if they do not.
func (n *Network) LocalUDP() (local netip.AddrPort) {
	if l := n.current(); l != nil {
		_ = l.Do(func(mono.Time) {
			if n.port != nil {
				local = n.port.local
			}
		})
	}
	return local
}

func (n *Network) current() *loop.Loop {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.loop
}

// acquire returns the loop, started if need be, for as long as it takes until release.
func (n *Network) acquire() (*loop.Loop, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.start()
}

// start is acquire for who holds the lock.
func (n *Network) start() (*loop.Loop, error) {
	if n.closed {
		return nil, fail(InvalidStateError, "the network is closed")
	}
	if n.loop == nil {
		var cfg loop.Config
		if n.poller != nil {
			p, err := n.poller()
			if err != nil {
				return nil, err
			}
			cfg.Poller = p
		}
		l, err := loop.New(cfg)
		if err != nil {
			return nil, err
		}
		n.loop = l
		n.shared = shared{engines: peer.NewScratch()}
	}
	n.users++
	return n.loop, nil
}

// enter counts a connection in; leave is its counterpart.
func (n *Network) enter(pc *PeerConnection) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cfg.MaxConnections > 0 && len(n.live) >= n.cfg.MaxConnections {
		return fail(OperationError, "there are %d connections already, which is the limit", n.cfg.MaxConnections)
	}
	if pc.loop, err = n.start(); err != nil {
		return err
	}
	if n.live == nil {
		n.live = map[*PeerConnection]struct{}{}
	}
	n.live[pc] = struct{}{}
	return nil
}

func (n *Network) leave(pc *PeerConnection) {
	n.mu.Lock()
	delete(n.live, pc)
	n.mu.Unlock()
	n.release()
}

// release ends the loop if nobody uses it any more.
func (n *Network) release() {
	n.mu.Lock()
	n.users--
	var l *loop.Loop
	if n.users == 0 {
		l, n.loop = n.loop, nil
	}
	n.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// gather is how a connection of this network gathers.
func (n *Network) gather(number int, v *validated) gather.Config {
	cfg := gather.Config{
		Number: number, Host: n.host, Servers: v.gatherServers(), Policy: v.gatherPolicy(),
		Loopback: n.cfg.Loopback, MinPort: n.cfg.MinPort, MaxPort: n.cfg.MaxPort, HideHosts: n.cfg.HideAddresses,
		TCP: !n.cfg.NoTCP && !n.cfg.Lite, PassiveTCP: n.cfg.ListenTCP, Proxy: n.cfg.Proxy, TLS: n.cfg.TLS,
	}
	if f := n.cfg.Addresses; f != nil {
		cfg.Interfaces = func(a gather.Address) bool { return f(a.Interface, a.IP) }
	}
	if f := n.cfg.Candidates; f != nil {
		cfg.Candidates = func(c *ice.Candidate) bool {
			s := c.SDP()
			s.Foundation = "0" // it has none yet
			return f(&ICECandidate{Candidate: "candidate:" + s.String()})
		}
	}
	for _, m := range n.cfg.Mappings {
		cfg.Mappings = append(cfg.Mappings, gather.Mapping(m))
	}
	if n.port != nil {
		cfg.Shared = n.port.socket
	}
	return cfg
}

// copy returns a copy of a message, which is the receiver's to keep. Short ones share a slab.
func (s *shared) copy(b []byte) []byte {
	const slab, short = 32 << 10, 512
	if len(b) > short {
		return append([]byte(nil), b...)
	}
	if len(b) > cap(s.slab)-len(s.slab) {
		s.slab = make([]byte, 0, slab)
	}
	start := len(s.slab)
	s.slab = append(s.slab, b...)
	return s.slab[start:len(s.slab):len(s.slab)]
}
