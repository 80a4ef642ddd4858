// Package turn is the engine of a TURN server (RFC 8656) that is a STUN server too (RFC 8489), and that of a client.
// The server relays UDP datagrams between clients behind NATs and firewalls and their peers.
//
// [Client] is the other side: one allocation at one server, with its permissions and channels. [ParseURI] reads the URIs of
// both protocols.
//
// A [Server] is sans-I/O. It is told the time and what arrives, and asks its driver for sockets:
//
//	driver                                          Server
//	AddSocket, once for each listening socket  ->   whose 5-tuples are clients
//	AddSocket(stream), RemoveSocket            ->   a TCP or TLS connection, whose frames come as datagrams
//	Relay or HandleDatagram                    ->   whatever arrives on any of its sockets
//	HandleICMP                                 ->   ICMP about what a relay socket sent
//	HandleTimeout at NextTimeout               ->
//	send what is there                         <-   AppendTransmit, and the batch given to Relay
//	RelayOpened, RelayFailed                   <-   OpenRelay
//	close the socket                           <-   CloseSocket
//
// Relayed data is copied once: [Server.Relay] writes it from the datagram straight into the driver's batch, one
// transmit for each datagram in the order of arrival, so that bursts to one destination can leave as one segmented send.
// [Server.HandleDatagram] does all else, and also relays for a driver that does not care.
//
// In scope: allocations for UDP over IPv4 and IPv6, also both at once; even ports and reservations; permissions,
// channels, Send and Data indications; ICMP; long-term credentials of both algorithms, fixed or time-limited; limits.
// What one allocation sends to another of the same server is handed over inside the process. Out of scope: TCP
// allocations (RFC 6062), mobility (RFC 8016), third-party authorization (RFC 7635), and sockets: TLS and DTLS towards clients are the driver's too.
package turn

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

// Hairpin is the socket of datagrams between allocations of different shards. A Server with Config.Shards writes such
// a datagram with this socket, the sender's relayed address as Local and the receiver's as Remote; the driver hands it
// to the other shards as a Datagram with this socket and the two addresses exchanged.
const Hairpin pkt.Socket = -1

const (
	outboxBytes     = 128 << 10 // more than the largest datagram, enough for the replies to a batch of requests
	outboxTransmits = 256
	// maxEvents bounds what a driver that takes no events makes the server keep: beyond it nothing is allocated, and the
	// events that end what there is are as many as that.
	maxEvents = 1 << 13
	// maxRequest is more than a CreatePermission for all peers that fit needs. Strangers make us search and hash no more.
	maxRequest = 8 << 10
	maxReply   = 512 // the longest response, with both relayed addresses and SOFTWARE, has less
	streamIdle = time.Minute
)

// A Server is one TURN engine. It is not for concurrent use.
type Server struct {
	cfg      Config
	policy   policy
	accounts accounts
	hasher   *stun.Hasher
	random   *generator
	nonceKey [32]byte
	limiter  replyLimiter
	counters Counters

	sockets      []socket // by number
	clients      map[pkt.Path]*allocation
	recent       *allocation // the last that was looked up
	relayed      map[netip.AddrPort]*relay
	openings     map[uint32]*relay
	reservations map[uint64]*relay
	users        map[string]*user
	addresses    map[netip.Addr]int // allocations from each client address
	lastRequest  uint32
	serial       uint64
	timers       timerq.Queue[timed]
	refusals     refusals

	events  []Event
	told    int        // events that NextEvent has passed on
	out     *pkt.Batch // what HandleDatagram answers and relays
	flushed int        // transmits of out that AppendTransmit has passed on
	id      identity   // of the request in hand
	scratch [1024]byte // for hashing, and for a response that finds no room
	text    [nonceLen]byte
}

// timed is whatever waits for a time.
type timed interface {
	expire(s *Server, now mono.Time)
}

// socket is what the server knows of a socket of the driver.
type socket struct {
	client bool
	stream *stream
	relay  *relay
}

// stream is a client's connection.
type stream struct {
	socket     pkt.Socket
	allocation *allocation
	timer      timerq.Timer[timed] // runs while there is no allocation
}

func (st *stream) expire(s *Server, now mono.Time) {
	s.events = append(s.events, CloseSocket{st.socket})
}

// New returns a Server. It reads Config.Entropy once and keeps no password: only keys.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	s := &Server{
		cfg:          cfg,
		hasher:       stun.NewHasher(),
		clients:      map[pkt.Path]*allocation{},
		relayed:      map[netip.AddrPort]*relay{},
		openings:     map[uint32]*relay{},
		reservations: map[uint64]*relay{},
		users:        map[string]*user{},
		addresses:    map[netip.Addr]int{},
		out:          pkt.NewBatch(outboxBytes, outboxTransmits),
	}
	s.refusals.timer.Owner = &s.refusals
	s.policy.allow = slices.Clone(cfg.Allow)
	var seed [16]byte
	if _, err := io.ReadFull(cfg.Entropy, s.nonceKey[:]); err != nil {
		return nil, fmt.Errorf("turn: Entropy: %w", err)
	}
	if _, err := io.ReadFull(cfg.Entropy, seed[:]); err != nil {
		return nil, fmt.Errorf("turn: Entropy: %w", err)
	}
	s.random = newGenerator(seed)
	s.accounts = newAccounts(&cfg, s.hasher)
	s.cfg.Users, s.cfg.Secrets, s.cfg.Entropy = nil, nil, nil // what is needed of them is in accounts
	return s, s.SetAddresses(cfg.Relay, cfg.Own)
}

// SetAddresses replaces Config.Relay and Config.Own. Allocations keep the address that they have, and reach each other by it as before.
func (s *Server) SetAddresses(relay, own []netip.Addr) error {
	if err := validateRelay(relay); err != nil {
		return err
	}
	s.policy.set(relay, own)
	return nil
}

// SetEpoch replaces Config.Epoch, after the system's clock was set.
func (s *Server) SetEpoch(epoch time.Time) { s.cfg.Epoch = epoch }

// unix is the time of day in seconds.
func (s *Server) unix(now mono.Time) int64 { return s.cfg.Epoch.Add(time.Duration(now)).Unix() }

// Counters returns a copy of the counters.
func (s *Server) Counters() Counters { return s.counters }

// AddSocket tells of a socket on which clients come: a UDP socket that listens, or with streaming one accepted TCP or
// TLS connection, whose frames (see FrameLen) are handed in as datagrams and whose remote address is the client's.
func (s *Server) AddSocket(now mono.Time, n pkt.Socket, streaming bool) {
	s.RemoveSocket(now, n)
	known := socket{client: true}
	if streaming {
		known.stream = &stream{socket: n}
		known.stream.timer.Owner = known.stream
		s.timers.Set(&known.stream.timer, now.Add(streamIdle))
	}
	s.learn(n, known)
}

// learn notes what a socket of the driver is.
func (s *Server) learn(n pkt.Socket, known socket) {
	if int(n) >= len(s.sockets) {
		s.sockets = append(s.sockets, make([]socket, int(n)+1-len(s.sockets))...)
	}
	s.sockets[n] = known
}

// RemoveSocket tells that a client's connection ended or that a socket does not listen any more. Its allocations end.
func (s *Server) RemoveSocket(now mono.Time, n pkt.Socket) {
	known := s.socket(n)
	if known == nil || !known.client {
		return
	}
	if st := known.stream; st != nil {
		if st.allocation != nil {
			s.release(now, st.allocation)
		}
		s.timers.Stop(&st.timer)
	} else {
		s.releaseAll(now, n)
	}
	*known = socket{}
}

// releaseAll ends the allocations of clients that come on a socket, in the order in which they were made.
func (s *Server) releaseAll(now mono.Time, n pkt.Socket) {
	var gone []*allocation
	for path, a := range s.clients {
		if path.Socket == n {
			gone = append(gone, a)
		}
	}
	slices.SortFunc(gone, func(a, b *allocation) int { return cmp.Compare(a.serial, b.serial) })
	for _, a := range gone {
		s.release(now, a)
	}
}

// HasClient reports whether a client has an allocation, or is about to: for a driver whose clients come over associations of
// DTLS, which it ends when they are of no use.
func (s *Server) HasClient(path pkt.Path) bool { return s.clients[path] != nil }

// RemoveClient tells that the association on which a client came has ended. So does its allocation.
func (s *Server) RemoveClient(now mono.Time, path pkt.Path) {
	if a := s.clients[path]; a != nil {
		s.release(now, a)
	}
}

// MayAnswer reports whether a client that has proved nothing may be answered: it is one that is served, and its prefix has
// not had its share of such answers. It is for answers that the driver gives itself, before the Server sees anything; they
// count as one with the Server's own.
func (s *Server) MayAnswer(now mono.Time, client netip.Addr) bool {
	switch {
	case !s.cfg.Public && !contains(local, client):
		s.drop(DropNotLocal)
	case !s.limiter.take(now, client):
		s.drop(DropReplyLimit)
	default:
		return true
	}
	return false
}

// socket returns what is known of a socket, or nil.
func (s *Server) socket(n pkt.Socket) *socket {
	if n < 0 || int(n) >= len(s.sockets) {
		return nil
	}
	return &s.sockets[n]
}

// NextTimeout returns when HandleTimeout is due.
func (s *Server) NextTimeout() mono.Time { return s.timers.Next() }

// HandleTimeout ends what has lived long enough.
func (s *Server) HandleTimeout(now mono.Time) {
	for {
		t, due := s.timers.PopDue(now)
		if !due {
			return
		}
		t.expire(s, now)
	}
}

// NextEvent returns what the driver is to do or to know.
func (s *Server) NextEvent() (Event, bool) {
	if s.told == len(s.events) {
		s.events, s.told = s.events[:0], 0
		return nil, false
	}
	e := s.events[s.told]
	s.events[s.told] = nil
	s.told++
	return e, true
}

// AppendTransmit writes what HandleDatagram left to be sent.
func (s *Server) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	ts := s.out.Transmits()
	for ; s.flushed < len(ts); s.flushed++ {
		if !b.Append(ts[s.flushed]) {
			return true
		}
	}
	s.out.Reset()
	s.flushed = 0
	return false
}

// HandleDatagram takes whatever arrived on a socket of the server's.
func (s *Server) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	switch s.relay(now, d, s.out) {
	case full:
		s.drop(DropFull)
	case control:
		s.handleControl(now, d)
	}
}

func (s *Server) drop(why Drop) { s.counters.Dropped[why]++ }

// handleControl takes what is not relayed data: a message from a client.
func (s *Server) handleControl(now mono.Time, d *pkt.Datagram) {
	if len(d.Payload) > maxRequest {
		s.drop(DropTooLong)
		return
	}
	m, err := stun.Parse(d.Payload)
	if err != nil { // "If any errors are detected, the message is silently discarded." (RFC 8489 section 6.3)
		if errors.Is(err, stun.ErrNotSTUN) {
			s.drop(DropForeign)
		} else {
			s.drop(DropMalformed)
		}
		return
	}
	if m.Class() == stun.Indication && m.Method() == stun.Binding {
		return // a keep-alive
	}
	if m.Class() != stun.Request {
		s.drop(DropMethod)
		return
	}
	switch m.Method() {
	case stun.Binding:
		s.handleBinding(now, d, &m)
		return
	case stun.Allocate, stun.Refresh, stun.CreatePermission, stun.ChannelBind:
	default:
		s.drop(DropMethod)
		return
	}

	a := s.allocation(&d.Path)
	if !s.authenticate(now, d, &m, a) {
		return
	}
	if unknown := m.AppendUnknown(make([]stun.AttrType, 0, 16), stun.Known); len(unknown) > 0 { // RFC 8489 section 6.3.1
		s.refuse(d, &m, stun.CodeUnknownAttribute, unknown...)
		return
	}
	if m.Method() == stun.Allocate {
		s.handleAllocate(now, d, &m, a)
		return
	}
	if a == nil || !a.ready {
		s.refuse(d, &m, stun.CodeAllocationMismatch) // section 5
		return
	}
	if string(s.id.username) != a.username {
		s.refuse(d, &m, stun.CodeWrongCredentials) // section 5
		return
	}
	switch m.Method() {
	case stun.Refresh:
		s.handleRefresh(now, d, &m, a)
	case stun.CreatePermission:
		s.handleCreatePermission(now, d, &m, a)
	case stun.ChannelBind:
		s.handleChannelBind(now, d, &m, a)
	}
}

// handleBinding answers as a STUN server does, whoever asks (RFC 8489 section 12).
func (s *Server) handleBinding(now mono.Time, d *pkt.Datagram, m *stun.Message) {
	if !s.limiter.take(now, d.Remote.Addr()) {
		s.drop(DropReplyLimit)
		return
	}
	s.id = identity{}
	if unknown := m.AppendUnknown(make([]stun.AttrType, 0, 16), stun.Known); len(unknown) > 0 {
		s.refuse(d, m, stun.CodeUnknownAttribute, unknown...)
		return
	}
	s.counters.Bindings++
	b := s.respond(stun.Success, m.Method(), m.ID())
	b.XORAddress(stun.AttrXORMappedAddress, d.Remote)
	s.send(d.Path, m.Method(), m.HasFingerprint(), &b)
}

// respond starts a response in the outbox, or in scratch space if that is full.
func (s *Server) respond(c stun.Class, method stun.Method, id stun.TransactionID) stun.Builder {
	buf := s.out.Reserve(maxReply)
	if buf == nil {
		buf = s.scratch[:0:maxReply]
	}
	return stun.NewBuilder(buf, c, method, id)
}

// refuse answers a request with an error, signed if its sender has proved who he is; unknown are the attributes that a 420 lists.
func (s *Server) refuse(d *pkt.Datagram, m *stun.Message, code stun.Code, unknown ...stun.AttrType) {
	s.drop(DropRequest)
	b := s.respond(stun.Error, m.Method(), m.ID())
	b.Error(code, code.Reason())
	if len(unknown) > 0 {
		b.Unknown(unknown)
	}
	s.send(d.Path, m.Method(), m.HasFingerprint(), &b)
}

// send finishes a response to a request of this method, signed if its sender has proved who he is, and queues it.
func (s *Server) send(to pkt.Path, method stun.Method, fingerprint bool, b *stun.Builder) {
	if key := s.id.key[:s.id.keyLen]; len(key) > 0 {
		if s.cfg.Software != "" && (method == stun.Allocate || method == stun.Refresh) { // section 5
			b.Text(stun.AttrSoftware, s.cfg.Software)
		}
		// RFC 8489 section 9.2.4: what came with a password algorithm is answered with SHA-256.
		if s.id.algorithms {
			b.IntegritySHA256(s.hasher, key)
		} else {
			b.Integrity(s.hasher, key)
		}
	}
	if fingerprint {
		b.Fingerprint()
	}
	raw, err := b.Message()
	if err != nil || s.out.Reserve(maxReply) == nil {
		s.drop(DropFull)
		return
	}
	s.out.Commit(pkt.Transmit{Path: to, Payload: raw})
}
