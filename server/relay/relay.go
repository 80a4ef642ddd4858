// Package relay is the STUN and TURN server of the binary: engines of package turn on loops of their own.
//
// A [Relay] has one engine ("shard") for each processor. They share the UDP port, and the system spreads clients over
// them; where it cannot, there is one. A client stays on the shard that got its 5-tuple. What two clients of different
// shards send each other is handed from loop to loop inside the process.
package relay

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

const (
	// maxClients bounds the clients on tcp, tls and dtls; maxClientsPerAddr those of one address (IPv6: one /64).
	maxClients        = 8192
	maxClientsPerAddr = 256
	// clockEvery is how often the engines are told the time of day, which somebody may have set.
	clockEvery = time.Minute
	// relayBuffer is what a relay socket asks of the system for each direction.
	relayBuffer = 1 << 20
)

// Config says how to make a Relay.
type Config struct {
	// Turn is the engines' configuration. Entropy, Epoch and Shards are filled in.
	Turn turn.Config
	// UDP are the addresses to listen on; a wildcard for each address family is the usual. One with port 0 takes any.
	UDP []netip.AddrPort
	// DTLS are more of these, where clients may speak DTLS too (RFC 7350). They need Certificate.
	DTLS []netip.AddrPort
	// Certificate chooses what a client on DTLS is shown, by the name that it has for this server, if it says one, and the
	// address that it has come to: a key of ECDSA on P-256 or P-384, or RSA of 2048 bits or more. It is asked at each
	// handshake, by any goroutine, and must not take long. Nil ends the handshake.
	Certificate func(serverName string, local, remote netip.AddrPort) *tls.Certificate
	// Here are the addresses of this machine's interfaces. A relayed address that is not among them (one behind a 1:1
	// NAT) is bound as a wildcard.
	Here []netip.Addr
	// Shards is how many engines there are; default GOMAXPROCS, and 1 where ports cannot be shared.
	Shards int
	Logger *slog.Logger // default: none
}

// A Relay is a STUN and TURN server that runs. Its methods are safe for concurrent use.
type Relay struct {
	log    *slog.Logger
	secret string
	shards []*shard
	next   atomic.Uint32 // the shard for the next stream

	certificate func(serverName string, local, remote netip.AddrPort) *tls.Certificate

	stop  chan struct{}
	tasks sync.WaitGroup

	mu      sync.Mutex
	owners  map[netip.AddrPort]*shard // who has which relayed address
	users   map[string]*holdings      // who has any
	here    []netip.Addr
	clients map[netip.Prefix]int // on tcp, tls and dtls, by address
	count   int                  // of them
	refused uint64               // of them
}

// Start opens the sockets and serves until Close. An address that is taken is an error that wraps the system's
// (syscall.EADDRINUSE).
func Start(cfg Config) (*Relay, error) {
	r := &Relay{
		log:     cfg.Logger,
		stop:    make(chan struct{}),
		owners:  map[netip.AddrPort]*shard{},
		users:   map[string]*holdings{},
		here:    slices.Clone(cfg.Here),
		clients: map[netip.Prefix]int{},

		certificate: cfg.Certificate,
	}
	if len(cfg.DTLS) > 0 && cfg.Certificate == nil {
		return nil, errors.New("relay: Config.DTLS needs Config.Certificate")
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Turn.Secrets) > 0 {
		r.secret = cfg.Turn.Secrets[0]
	}
	n := cfg.Shards
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if !udp.Probe().ReusePort {
		n = 1
	}
	listen, err := probe(cfg.UDP)
	if err != nil {
		return nil, err
	}
	secure, err := probe(cfg.DTLS)
	if err != nil {
		return nil, err
	}
	cfg.Turn.Entropy = rand.Reader
	cfg.Turn.Shards = n > 1
	for range n {
		s, err := r.newShard(cfg.Turn)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.shards = append(r.shards, s)
	}
	// The shards know each other from here on; only now may clients come.
	for _, s := range r.shards {
		err := errEnded
		s.loop.Do(func(now mono.Time) { err = s.listen(now, slices.Concat(listen, secure), len(secure), n > 1) })
		if err != nil {
			r.Close()
			return nil, err
		}
	}
	r.tasks.Go(r.keepTime)
	return r, nil
}

var errEnded = errors.New("relay: the loop has ended")

// Free reports whether nobody else has these UDP addresses.
func Free(addresses []netip.AddrPort) error {
	_, err := probe(addresses)
	return err
}

// probe makes sure that nobody else has the ports: a shared port would be shared with another program of this user too.
// It returns the addresses with the ports that the system chose.
func probe(addresses []netip.AddrPort) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	port := uint16(0)
	for _, a := range addresses {
		if a.Port() == 0 {
			a = netip.AddrPortFrom(a.Addr(), port) // one port for both families
		}
		network := "udp6"
		if a.Addr().Is4() {
			network = "udp4"
		}
		c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(a))
		if err != nil {
			return nil, err
		}
		port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		c.Close()
		out = append(out, netip.AddrPortFrom(a.Addr(), port))
	}
	return out, nil
}

// newShard makes one shard, which listens to nobody yet.
func (r *Relay) newShard(cfg turn.Config) (*shard, error) {
	l, err := loop.New(loop.Config{})
	if err != nil {
		return nil, err
	}
	s := &shard{relay: r, loop: l, streams: map[pkt.Socket]netip.Prefix{}, relayed: map[pkt.Socket]holding{}}
	err = errEnded
	l.Do(func(now mono.Time) { err = s.attach(now, cfg) })
	if err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

// Close ends all allocations and closes all sockets.
func (r *Relay) Close() {
	close(r.stop)
	r.tasks.Wait()
	for _, s := range r.shards {
		s.loop.Close()
	}
}

// Ports returns the UDP addresses that the relay listens on, those of Config.DTLS last.
func (r *Relay) Ports() []netip.AddrPort { return slices.Clone(r.shards[0].listening) }

// Adopt serves a client on a stream, whose TLS handshake, if it has one, is done. The relay owns conn from now on.
func (r *Relay) Adopt(conn net.Conn) {
	key := source(conn.RemoteAddr())
	if !r.admit(key) {
		conn.Close()
		return
	}
	s := r.shards[int(r.next.Add(1))%len(r.shards)]
	if !s.lease.Post(func(now mono.Time) { s.adopt(now, conn, key) }) {
		r.dismiss(key)
		conn.Close()
	}
}

// admit counts one more client on tcp, tls or dtls, if there is room.
func (r *Relay) admit(key netip.Prefix) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= maxClients || r.clients[key] >= maxClientsPerAddr {
		r.refused++
		return false
	}
	r.count++
	r.clients[key]++
	return true
}

// dismiss counts one fewer.
func (r *Relay) dismiss(key netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	if r.clients[key]--; r.clients[key] == 0 {
		delete(r.clients, key)
	}
}

// source is where a stream comes from. Addresses that are none share one place.
func source(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return sourceOf(tcp.AddrPort().Addr())
}

// sourceOf is what limits on clients go by: an IPv4 address or an IPv6 /64.
func sourceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}

// Credential makes a username and password for name that are good until they expire or are revoked.
func (r *Relay) Credential(name string, expires time.Time, l turn.Limits) (username, password string, err error) {
	if r.secret == "" {
		return "", "", errors.New("relay: there is no secret to make credentials from")
	}
	return turn.NewCredential(r.secret, name, expires, l)
}

// Revoke ends the allocations made with credentials for name, and refuses those credentials until the given time, by
// which they have expired.
func (r *Relay) Revoke(name string, until time.Time) {
	for _, s := range r.shards {
		s.lease.Post(func(now mono.Time) { s.engine.Revoke(now, name, until) })
	}
}

// SetAddresses tells of changes to the addresses: what peers see, what else is this server's own, and what its
// interfaces have.
func (r *Relay) SetAddresses(relayed, own, here []netip.Addr) error {
	r.mu.Lock()
	r.here = slices.Clone(here)
	r.mu.Unlock()
	var errs []error
	for _, s := range r.shards {
		err := s.loop.Do(func(mono.Time) {
			if err := s.engine.SetAddresses(relayed, own); err != nil {
				errs = append(errs, err)
			}
		})
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// bindable returns the address to bind for a relayed address: itself, or the wildcard where a NAT stands in front.
func (r *Relay) bindable(a netip.AddrPort) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case a.Addr().IsLoopback() || slices.Contains(r.here, a.Addr()):
		return a
	case a.Addr().Is4():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port())
}

// keepTime follows the time of day.
func (r *Relay) keepTime() {
	ticker := time.NewTicker(clockEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			for _, s := range r.shards {
				s.lease.Post(func(now mono.Time) { s.engine.SetEpoch(epoch(now)) })
			}
		}
	}
}

// epoch is the time of day at mono.Time zero of a loop whose time is now.
func epoch(now mono.Time) time.Time { return time.Now().Add(-time.Duration(now)) }

// Stats is what the shards have done, summed.
type Stats struct {
	Turn           turn.Counters
	DTLS           DTLSCounters
	Loop           loop.Counters
	Streams        int    // clients on tcp and tls now
	RefusedClients uint64 // on tcp, tls and dtls, because there were too many
	LostHairpins   uint64 // datagrams between shards that found the way full
}

// Stats takes a snapshot.
func (r *Relay) Stats() Stats {
	var sum Stats
	for _, s := range r.shards {
		s.loop.Do(func(mono.Time) {
			c := s.engine.Counters()
			sum.Turn.Add(&c)
			sum.DTLS.add(&s.secure.count)
			sum.Streams += len(s.streams)
		})
		c := s.loop.Counters()
		sum.Loop.Add(&c)
		sum.LostHairpins += s.lost.Load()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	sum.RefusedClients = r.refused
	return sum
}
