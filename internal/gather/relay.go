package gather

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// Relays and passive TCP candidates have negative names: each Gatherer of a connection has a range of its own, below those that
// loops use themselves.
const (
	firstName    = -32
	namesEach    = 64
	maxRelays    = 48
	firstListen  = maxRelays
	maxListeners = namesEach - firstListen
)

// name returns the n-th name of a Gatherer's range.
func (g *Gatherer) name(n int) pkt.Socket { return pkt.Socket(firstName - g.cfg.Number*namesEach - n) }

// index is the inverse of name; it is out of range for the names of others.
func (g *Gatherer) index(s pkt.Socket) int { return firstName - g.cfg.Number*namesEach - int(s) }

// NumberOf returns the Config.Number of the Gatherer to which a negative socket belongs, or -1.
func NumberOf(s pkt.Socket) int {
	if s > firstName {
		return -1
	}
	return (firstName - int(s)) / namesEach
}

// A relay is an allocation at a TURN server, and how it is reached.
//
//	udp              socket of a base -> client
//	dtls             socket of a base -> secure -> client
//	tcp, tls         connect in the background -> stream -> client
type relay struct {
	attempt
	name      pkt.Socket
	server    *server
	protocol  ice.RelayProtocol
	base      *base    // whose socket it uses, or whose address; nil for streams
	path      pkt.Path // to the server
	connected bool     // path is valid
	own       bool     // the socket is for this relay alone
	stream    bool
	secure    *secure      // dtls
	client    *turn.Client // nil before the server is reached
	only6     bool         // a second allocation, since the server does not give two at once
	ready     bool
	retiring  bool // Closed is the end that is expected
	hops      int  // servers that sent us elsewhere
	renewed   int  // ports that were tried
	relayed   [2]netip.AddrPort
}

// A relaySource says from where and how an allocation is to be had.
type relaySource struct {
	base   *base // nil: over conn
	own    bool  // from a socket of its own
	remote netip.AddrPort
	conn   net.Conn
	domain string // to check the server's certificate against; empty: the URI's host
	only6  bool
	hops   int
	tries  int
}

// maxHops is how many servers may send us to another one (RFC 8489 section 10), and maxPorts from how many ports an
// allocation is tried whose 5-tuple the server still knows (RFC 8656 section 7.4).
const (
	maxHops  = 3
	maxPorts = 3
)

// hasRelay reports whether a server has an allocation, or is about to.
func (g *Gatherer) hasRelay(s *server) bool {
	return slices.ContainsFunc(g.relays, func(r *relay) bool { return r != nil && r.server == s && !r.retiring })
}

// allocate starts an attempt to get an allocation.
func (g *Gatherer) allocate(now mono.Time, s *server, from relaySource) {
	slot := slices.Index(g.relays, nil)
	if slot < 0 {
		if slot = len(g.relays); slot == maxRelays {
			g.failed(s, netip.AddrPort{}, errTooMany)
			if from.conn != nil {
				from.conn.Close()
			}
			return
		}
		g.relays = append(g.relays, nil)
	}
	if from.base != nil && !from.own {
		// A 5-tuple has one allocation (RFC 8656 section 3), and of a shared socket others may have it.
		from.own = !from.base.own || slices.ContainsFunc(g.relays, func(o *relay) bool {
			return o != nil && o.path.Socket == from.base.socket && o.path.Remote == from.remote
		})
	}
	r := &relay{name: g.name(slot), server: s, base: from.base, only6: from.only6, hops: from.hops, renewed: from.tries}
	s.attempts++
	if err := g.open(now, r, &from); err != nil {
		r.closeSocket(g)
		g.ended(now, s, netip.AddrPort{}, err)
		return
	}
	g.relays[slot] = r
	if r.secure == nil {
		g.startClient(now, r)
	}
}

// open gives a relay its way to the server.
func (g *Gatherer) open(now mono.Time, r *relay, from *relaySource) error {
	secure := r.server.URI.Secure()
	switch {
	case from.conn != nil:
		r.protocol, r.stream = ice.RelayTCP, true
		if secure {
			r.protocol = ice.RelayTLS
		}
		socket, err := g.lease.Adopt(from.conn, loop.TURN)
		if err != nil {
			from.conn.Close()
			return err
		}
		r.path = pkt.Path{Socket: socket, Local: addrPort(from.conn.LocalAddr()), Remote: addrPort(from.conn.RemoteAddr())}
		r.own = true
	case from.own:
		socket, local, err := g.openSocket(from.base.IP)
		if err != nil {
			return err
		}
		r.path, r.own = pkt.Path{Socket: socket, Local: local, Remote: from.remote}, true
	default:
		r.path = pkt.Path{Socket: from.base.socket, Local: from.base.local, Remote: from.remote}
	}
	r.connected = true
	if secure && !r.stream {
		r.protocol = ice.RelayDTLS
		return g.handshake(now, r, from.domain)
	}
	return nil
}

func addrPort(a net.Addr) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(a.String()) // invalid for what has no such address, as a pipe
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func (r *relay) closeSocket(g *Gatherer) {
	if r.own && r.connected {
		g.lease.Close(r.path.Socket)
	}
	r.own, r.connected = false, false
}

// startClient asks for the allocation, as soon as the server can be spoken to.
func (g *Gatherer) startClient(now mono.Time, r *relay) {
	client, err := turn.NewClient(now, turn.ClientConfig{
		Path: r.path, Stream: r.stream, Username: r.server.Username, Password: r.server.Password,
		IPv4: !r.only6, IPv6: true, Inner: r.name, Entropy: g.cfg.Entropy,
	})
	if err != nil {
		g.endRelay(now, r, err)
		return
	}
	r.client = client
	for _, p := range g.permits {
		client.Permit(now, p)
	}
}

// relayDatagram takes what a server sent; mine is false if d is what a peer sent.
func (g *Gatherer) relayDatagram(now mono.Time, r *relay, d *pkt.Datagram) (mine bool) {
	if r.secure != nil {
		return g.secureDatagram(now, r, d)
	}
	if r.client == nil {
		return true
	}
	if r.client.Unwrap(now, d) {
		return false
	}
	if !r.stream && !stun.Is(d.Payload) && !isChannel(d.Payload) {
		return false // not of the server's: it is a peer too
	}
	r.client.HandleDatagram(now, d)
	g.relayEvents(now, r)
	return true
}

// isChannel reports whether a datagram has the form of ChannelData (RFC 8656 section 12.4).
func isChannel(b []byte) bool { return len(b) >= 4 && b[0] >= 0x40 && b[0] <= 0x4F }

func (g *Gatherer) relayTimeout(now mono.Time, r *relay) {
	if r.secure != nil {
		r.secure.conn.HandleTimeout(now)
		g.secureEvents(now, r)
	}
	if r.client != nil {
		r.client.HandleTimeout(now)
		g.relayEvents(now, r)
	}
}

func (r *relay) nextTimeout() mono.Time {
	next := mono.Never
	if r.secure != nil {
		next = r.secure.conn.NextTimeout()
	}
	if r.client != nil {
		next = mono.Min(next, r.client.NextTimeout())
	}
	return next
}

func (g *Gatherer) relayTransmit(now mono.Time, r *relay, b *pkt.Batch) (more bool) {
	if r.secure != nil {
		return g.secureTransmit(now, r, b)
	}
	return r.client != nil && r.client.AppendTransmit(now, b)
}

// relayEvents takes what a client has to say.
func (g *Gatherer) relayEvents(now mono.Time, r *relay) {
	for r.client != nil {
		e, ok := r.client.NextEvent()
		if !ok {
			return
		}
		switch e := e.(type) {
		case turn.Ready:
			g.relayReady(now, r, &e)
		case turn.Ended:
			g.endRelay(now, r, e.Err)
			return
		}
	}
}

// relayReady tells the candidates of an allocation.
func (g *Gatherer) relayReady(now mono.Time, r *relay, e *turn.Ready) {
	r.ready, r.relayed = true, e.Relayed
	r.server.backoff = 0
	if g.redundant(r) {
		r.ready = false
		g.attempted(now, r.server, &r.attempt, r.path.Local, nil)
		g.retireRelay(now, r)
		return
	}
	if !r.stream && g.udp != nil {
		g.udp.Store(true)
	}
	if !r.own && r.base != nil {
		g.tellReflexive(r.base, e.Mapped, r.path.Remote, r.server)
	}
	for _, relayed := range e.Relayed {
		if !relayed.IsValid() {
			continue
		}
		c := Candidate{Candidate: ice.Candidate{
			Type: ice.Relayed, Address: relayed, Base: relayed, Related: e.Mapped, Socket: r.name,
			Server: r.serverAddr(), RelayProtocol: r.protocol,
		}, URL: r.server.url(), from: r.server}
		if r.base != nil {
			c.Preference = r.base.preference()
		}
		// "raddr ... the mapped address" (RFC 8839 section 5.1), unless it is an address that is not to be told.
		if e.Mapped.Addr().Is4() != relayed.Addr().Is4() || g.cfg.HideHosts && e.Mapped == r.path.Local {
			c.Related = netip.AddrPort{}
		}
		g.tell(c)
	}
	if e.Relayed[0].IsValid() && !e.Relayed[1].IsValid() && !e.Additional && !r.only6 {
		g.askFor6(now, r)
	}
	g.attempted(now, r.server, &r.attempt, r.path.Local, nil)
}

// serverAddr returns the server's address, which a proxy may stand before.
func (r *relay) serverAddr() netip.AddrPort {
	s := r.server
	if r.hops == 0 && len(s.addrs) > 0 && !slices.Contains(s.addrs, r.path.Remote.Addr()) {
		return netip.AddrPortFrom(s.addrs[0], s.URI.Port)
	}
	return r.path.Remote
}

// askFor6 asks a server that knows one family an allocation for another one: it needs another 5-tuple.
func (g *Gatherer) askFor6(now mono.Time, r *relay) {
	if r.stream {
		return // a second connection for what few peers need
	}
	g.allocate(now, r.server, relaySource{base: r.base, own: true, remote: r.path.Remote, only6: true, hops: r.hops})
}

// redundant reports whether another allocation from the same interface has the same to offer: a server that is reached
// over both families gives both over either, and the first to answer is kept.
func (g *Gatherer) redundant(r *relay) bool {
	return slices.ContainsFunc(g.relays, func(o *relay) bool {
		return o != nil && o != r && o.ready && !o.retiring && o.server == r.server && r.base != nil && o.base != nil &&
			o.base.Interface == r.base.Interface &&
			(o.relayed[0].IsValid() || !r.relayed[0].IsValid()) && (o.relayed[1].IsValid() || !r.relayed[1].IsValid())
	})
}

// endRelay takes the end of a relay or of the attempt at one.
func (g *Gatherer) endRelay(now mono.Time, r *relay, err error) {
	i := slices.Index(g.relays, r)
	if i < 0 {
		return
	}
	g.relays[i] = nil
	r.closeSocket(g)
	r.client, r.secure = nil, nil
	if g.udp != nil {
		g.udp.Store(slices.ContainsFunc(g.relays, func(o *relay) bool { return o != nil && o.ready && !o.stream }))
	}
	s := r.server
	if g.closed || r.retiring {
		return
	}
	if r.ready {
		g.lose(r.name)
		g.failed(s, r.path.Local, err)
		e := (*turn.ClientError)(nil)
		switch errors.As(err, &e); {
		case e != nil && e.Err == turn.ErrLost && s.backoff == 0: // the server is there
			s.retryAt = now
		case err != errAddressLost && (e == nil || e.Err != turn.ErrExpired):
			s.lost(now)
		case r.stream:
			s.retryAt = now
		}
		return
	}
	if g.elsewhere(now, r, err) {
		if r.refused {
			g.complete = false
		} else {
			s.attempts--
		}
		return
	}
	if r.only6 { // it has given what it has
		err = nil
	}
	g.attempted(now, s, &r.attempt, r.path.Local, err)
}

// elsewhere tries another server or another port, where that is what an error asks for.
func (g *Gatherer) elsewhere(now mono.Time, r *relay, err error) bool {
	var e *turn.ClientError
	if !errors.As(err, &e) {
		return false
	}
	from := relaySource{base: r.base, own: r.own, remote: r.path.Remote, only6: r.only6, hops: r.hops, tries: r.renewed}
	switch {
	case e.Err == turn.ErrAlternate && e.Alternate.IsValid() && r.hops < maxHops && e.Alternate != r.path.Remote:
		// "the client ... attempts a transaction with that server" over the same transport (RFC 8489 section 10)
		from.remote, from.domain = e.Alternate, e.Domain
		from.hops++
	case e.Err == turn.ErrMismatch && r.renewed < maxPorts: // "the client SHOULD pick a new client transport address"
		from.own = true
		from.tries++
	default:
		return false
	}
	if r.base == nil {
		g.connectTo(now, r.server, from)
		return true
	}
	if from.remote.Addr().Is4() != r.base.IP.Is4() {
		return false
	}
	g.allocate(now, r.server, from)
	return true
}

// closeRelay gives an allocation back. A stream's ends with the stream.
func (g *Gatherer) closeRelay(now mono.Time, r *relay) {
	if r.client == nil {
		g.endRelay(now, r, nil)
		return
	}
	r.client.Close(now)
	g.relayEvents(now, r)
}

// retireRelay gives back what is not needed any more.
func (g *Gatherer) retireRelay(now mono.Time, r *relay) {
	if r.ready {
		g.lose(r.name)
	}
	r.retiring = true
	g.closeRelay(now, r)
}

// most is how many bytes a system sends at once (see pkt.Transmit).
const most = 65000

// Wrap writes into b what is to go through a relay: t is as an agent or peer writes it, with a negative socket. It returns
// false, and has done nothing, if b has no room for all of it. What names a relay that is gone is dropped.
//
// What is to stay whole does so up to the server, and from there on too if it comes alone, as probes of the path MTU do: a
// run of packets has the size that a probe has shown to pass.
func (g *Gatherer) Wrap(now mono.Time, t pkt.Transmit, b *pkt.Batch) (ok bool) {
	i := g.index(t.Socket)
	if i < 0 || i >= len(g.relays) || g.relays[i] == nil || g.relays[i].client == nil {
		return true
	}
	r := g.relays[i]
	size := len(t.Payload)
	if t.SegmentSize > 0 {
		size = min(size, int(t.SegmentSize))
	}
	overhead := turn.ClientOverhead
	if r.secure != nil {
		return g.wrapSecure(now, r, &t, size, b)
	}
	// Segments stay segments: what is put around them has one length.
	each := max(1, most/(size+overhead))
	segments := t.Segments()
	runs := (segments + each - 1) / each
	if bytes, transmits := b.Room(); bytes < len(t.Payload)+runs*min(each, segments)*overhead || transmits < runs {
		return false
	}
	for rest := t.Payload; ; {
		n := min(len(rest), each*size)
		run := rest[:n]
		rest = rest[n:]
		buf := b.Reserve(n + min(each, segments)*overhead)
		first := 0
		for {
			k := min(len(run), size)
			buf = r.client.AppendData(buf, now, t.Remote, run[:k], t.Unfragmented && segments == 1)
			if first == 0 {
				first = len(buf)
			}
			if run = run[k:]; len(run) == 0 {
				break
			}
		}
		if len(buf) > 0 {
			out := pkt.Transmit{Path: r.path, ECN: t.ECN, DSCP: t.DSCP, Unfragmented: t.Unfragmented, Payload: buf}
			if len(buf) > first {
				out.SegmentSize = uint16(first)
			}
			b.Commit(out)
		}
		if len(rest) == 0 {
			return true
		}
	}
}
