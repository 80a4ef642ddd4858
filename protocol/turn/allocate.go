package turn

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

const (
	udpProtocol = 17 // REQUESTED-TRANSPORT

	openTimeout     = 10 * time.Second
	openTries       = 16
	reservationTime = 30 * time.Second // "at least 30 seconds" (section 7.2)
)

var errNoAnswer = errors.New("turn: the driver did not answer OpenRelay")

// coturnAdditionalAddressFamily is coturn's number for ADDITIONAL-ADDRESS-FAMILY, from before it had one of its own.
const coturnAdditionalAddressFamily stun.AttrType = 0x8032

// handleAllocate goes through the checks of section 7.2, numbered as there, and asks for sockets:
//
//	Allocate request -> checks -> OpenRelay, one or two -> RelayOpened, RelayFailed -> answered
//	                                   ^                            |
//	                                   +------ the port is taken ---+
func (s *Server) handleAllocate(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) {
	if a != nil { // 2
		switch {
		case a.transaction != m.ID() || string(s.id.username) != a.username:
			s.refuse(d, m, stun.CodeAllocationMismatch)
		case a.ready:
			s.answerAllocate(now, a) // a retransmission
		}
		return
	}
	st := s.socket(d.Socket).stream
	if st != nil && st.allocation != nil {
		s.refuse(d, m, stun.CodeAllocationMismatch) // a stream has one client
		return
	}
	w, code := s.readWish(d, m)
	if code != 0 {
		s.refuse(d, m, code, w.unknown...)
		return
	}
	held := s.reservations[w.token]
	u := s.account()
	if code := s.checkQuotas(d, u, &w, held); code != 0 { // 10
		s.forget(u)
		s.refuse(d, m, code)
		return
	}
	a = &allocation{
		path:        d.Path,
		stream:      st,
		user:        u,
		begun:       now,
		username:    string(s.id.username),
		algorithm:   s.id.algorithm,
		key:         append([]byte(nil), s.id.key[:s.id.keyLen]...),
		transaction: m.ID(),
		algorithms:  s.id.algorithms,
		fingerprint: m.HasFingerprint(),
		lifetime:    s.lifetimeFor(m),
		evenPort:    w.even,
		reserve:     w.reserve,
	}
	s.add(a)
	switch {
	case held != nil:
		s.claim(held, a)
	case w.token != 0:
		a.relays[ipv4] = s.openRelay(now, a, netip.AddrPort{}, w.token) // which family it is shows when it comes
	}
	for f, address := range w.from {
		switch {
		case !w.families[f]:
		case address.IsValid():
			s.tryPort(now, a, address)
		default:
			a.addressError[f] = stun.CodeAddressFamilyNotSupported // 9
		}
	}
	if a.waiting == 0 {
		s.completeAllocate(now, a)
	}
}

// wish is what an Allocate request asks for.
type wish struct {
	families [2]bool
	from     [2]netip.Addr // our relay address of each family, if there is one
	even     bool
	reserve  bool   // the next port, too
	token    uint64 // of a reservation; 0: none
	unknown  []stun.AttrType
}

// readWish reads an Allocate request and goes through the checks 3 to 9 of section 7.2.
func (s *Server) readWish(d *pkt.Datagram, m *stun.Message) (w wish, code stun.Code) {
	if contains(tunneled, d.Remote.Addr()) { // section 21.4
		return w, stun.CodeForbidden
	}
	transport, _ := m.Get(stun.AttrRequestedTransport)
	if len(transport) != 4 { // 3
		return w, stun.CodeBadRequest
	}
	if transport[0] != udpProtocol {
		return w, stun.CodeUnsupportedTransport
	}
	if m.Has(stun.AttrDontFragment) && !s.cfg.DontFragment { // 4
		w.unknown = []stun.AttrType{stun.AttrDontFragment}
		return w, stun.CodeUnknownAttribute
	}
	token, hasToken := m.Get(stun.AttrReservationToken)
	even, hasEven := m.Get(stun.AttrEvenPort)
	requested, hasRequested := m.Get(stun.AttrRequestedAddressFamily)
	additional, hasAdditional := m.Get(stun.AttrAdditionalAddressFamily)
	if !hasAdditional && s.cfg.CoturnClients {
		additional, hasAdditional = m.Get(coturnAdditionalAddressFamily)
	}
	life, hasLife := m.Get(stun.AttrLifetime)
	if hasToken && len(token) != 8 || hasEven && len(even) != 1 || hasRequested && len(requested) != 4 ||
		hasAdditional && len(additional) != 4 || hasLife && len(life) != 4 {
		return w, stun.CodeBadRequest
	}
	w.even = hasEven
	w.reserve = hasEven && even[0]&0x80 != 0
	if hasToken && (hasEven || hasRequested || hasAdditional) || // 5
		hasRequested && hasAdditional || // 6
		w.reserve && hasAdditional || // 8
		hasAdditional && additional[0] != stun.FamilyIPv6 { // 9
		return w, stun.CodeBadRequest
	}
	if hasToken {
		w.token = binary.BigEndian.Uint64(token)
		if w.token == 0 || s.reservations[w.token] == nil && !s.cfg.Shards { // 5
			return w, stun.CodeInsufficientCapacity
		}
		return w, 0
	}
	w.families = [2]bool{ipv4: true, ipv6: hasAdditional}
	if hasRequested {
		w.families = [2]bool{ipv4: requested[0] == stun.FamilyIPv4, ipv6: requested[0] == stun.FamilyIPv6}
	}
	served := false
	for _, r := range s.policy.relay {
		w.from[family(r)] = r
		served = served || w.families[family(r)]
	}
	if !served { // 7
		return w, stun.CodeAddressFamilyNotSupported
	}
	return w, 0
}

// checkQuotas returns the error to refuse a wish with, or 0.
func (s *Server) checkQuotas(d *pkt.Datagram, u *user, w *wish, held *relay) stun.Code {
	need := 1
	switch {
	case held != nil && held.user == u:
		need = 0 // it is counted since it was reserved
	case w.reserve, w.families[ipv4] && w.families[ipv6] && w.from[ipv4].IsValid() && w.from[ipv6].IsValid():
		need = 2
	}
	if u.taken+need > u.limits.Allocations || s.addresses[quotaAddress(d.Remote.Addr())] >= s.cfg.PerAddress {
		return stun.CodeAllocationQuotaReached
	}
	if len(s.clients) >= s.cfg.Allocations || len(s.events)-s.told >= maxEvents {
		return stun.CodeInsufficientCapacity
	}
	return 0
}

// lifetimeFor computes a lifetime in seconds: what the client wishes, but between the default and the longest
// (section 7.2).
func (s *Server) lifetimeFor(m *stun.Message) uint32 {
	wish, _ := m.Uint32(stun.AttrLifetime)
	return max(min(wish, uint32(s.cfg.MaxLifetime/time.Second)), uint32(lifetime/time.Second))
}

// claim gives a reserved relay to an allocation.
func (s *Server) claim(r *relay, a *allocation) {
	delete(s.reservations, r.token)
	r.token = 0
	previous := r.user
	previous.taken--
	a.user.taken++
	r.owner, r.user = a, a.user
	s.forget(previous)
	a.relays[family(r.address.Addr())] = r
}

// tryPort asks for a socket on a random port, or for two on a random even port and the next. Without a free port there
// is nothing to wait for.
func (s *Server) tryPort(now mono.Time, a *allocation, address netip.Addr) {
	f := family(address)
	a.tries++
	port, ok := s.freePort(address, a.evenPort, a.reserve)
	if !ok {
		a.addressError[f] = stun.CodeInsufficientCapacity
		return
	}
	a.relays[f] = s.openRelay(now, a, netip.AddrPortFrom(address, port), 0)
	if a.reserve {
		a.reserved = s.openRelay(now, a, netip.AddrPortFrom(address, port+1), 0)
	}
}

// freePort picks a port at random and takes the next one that is free, as algorithm 1 of RFC 6056 does.
func (s *Server) freePort(address netip.Addr, even, pair bool) (uint16, bool) {
	first, count := int(s.cfg.MinPort), int(s.cfg.MaxPort)-int(s.cfg.MinPort)+1
	start := s.random.below(count)
	for i := range count {
		port := first + (start+i)%count
		if even && port%2 != 0 || s.relayed[netip.AddrPortFrom(address, uint16(port))] != nil {
			continue
		}
		if pair && (port == int(s.cfg.MaxPort) || s.relayed[netip.AddrPortFrom(address, uint16(port+1))] != nil) {
			continue
		}
		return uint16(port), true
	}
	return 0, false
}

// RelayOpened answers OpenRelay: the driver has a socket for it, bound and ready. Address is the transport address that
// peers see, which for a token only the driver knows.
func (s *Server) RelayOpened(now mono.Time, request uint32, n pkt.Socket, address netip.AddrPort) {
	r := s.openings[request]
	if other := s.relayed[address]; r == nil || other != nil && other != r {
		s.RelayFailed(now, request, ErrPortTaken)
		s.events = append(s.events, CloseSocket{n}) // nobody waits for it any more
		return
	}
	delete(s.openings, request)
	s.timers.Stop(&r.timer)
	if s.relayed[r.address] == r {
		delete(s.relayed, r.address)
	}
	s.relayed[address] = r
	r.request, r.address, r.socket, r.open = 0, address, n, true
	s.learn(n, socket{relay: r})
	a := r.owner
	if a.relays[ipv4] == r && family(address.Addr()) == ipv6 { // claimed from another shard
		a.relays[ipv4], a.relays[ipv6] = nil, r
	}
	if a.waiting--; a.waiting == 0 {
		s.completeAllocate(now, a)
	}
}

// RelayFailed answers OpenRelay: there is no such socket. The error is ErrPortTaken, ErrQuota or anything else.
func (s *Server) RelayFailed(now mono.Time, request uint32, why error) {
	r := s.openings[request]
	if r == nil {
		return
	}
	delete(s.openings, request)
	r.request, r.failure = 0, why
	a := r.owner
	if a.waiting--; a.waiting == 0 {
		s.completeAllocate(now, a)
	}
}

// completeAllocate goes on when all sockets that were asked for are there or not.
func (s *Server) completeAllocate(now mono.Time, a *allocation) {
	retry := [2]netip.Addr{}
	for f, r := range a.relays {
		pair := r != nil && a.reserve
		if r == nil || r.failure == nil && !(pair && a.reserved.failure != nil) {
			continue
		}
		why := r.failure
		a.relays[f] = nil
		s.closeRelay(r)
		if pair {
			if why == nil {
				why = a.reserved.failure
			}
			s.closeRelay(a.reserved)
			a.reserved = nil
		}
		switch {
		case errors.Is(why, ErrPortTaken) && a.tries < openTries && r.address.IsValid():
			retry[f] = r.address.Addr()
		case errors.Is(why, ErrQuota):
			a.addressError[f] = stun.CodeAllocationQuotaReached
		default:
			a.addressError[f] = stun.CodeInsufficientCapacity
		}
	}
	for _, address := range retry {
		if address.IsValid() {
			s.tryPort(now, a, address)
		}
	}
	if a.waiting > 0 {
		return
	}
	if a.relays[ipv4] == nil && a.relays[ipv6] == nil {
		s.failAllocate(now, a)
		return
	}
	if r := a.reserved; r != nil {
		a.reserved = nil
		a.token = s.random.token()
		r.owner, r.token = nil, a.token
		s.reservations[r.token] = r
		s.timers.Set(&r.timer, now.Add(reservationTime))
	}
	opened := Allocated{User: a.user.name, Client: a.path}
	for f, r := range a.relays {
		if r != nil {
			s.timers.Set(&r.timer, now.Add(time.Duration(a.lifetime)*time.Second))
			opened.Relayed[f] = r.address
		}
	}
	a.ready = true
	s.counters.Allocated++
	s.events = append(s.events, opened)
	s.answerAllocate(now, a)
}

// failAllocate answers an Allocate request for which there is no socket.
func (s *Server) failAllocate(now mono.Time, a *allocation) {
	code := max(a.addressError[ipv4], a.addressError[ipv6])
	s.release(now, a)
	s.drop(DropRequest)
	s.actFor(a)
	b := s.respond(stun.Error, stun.Allocate, a.transaction)
	b.Error(code, code.Reason())
	s.send(a.path, stun.Allocate, a.fingerprint, &b)
}

// answerAllocate sends the success response of section 7.2.
func (s *Server) answerAllocate(now mono.Time, a *allocation) {
	s.actFor(a)
	b := s.respond(stun.Success, stun.Allocate, a.transaction)
	left := mono.Never
	for _, r := range a.relays {
		if r != nil {
			b.XORAddress(stun.AttrXORRelayedAddress, r.address)
			left = min(left, s.timers.Deadline(&r.timer))
		}
	}
	b.Uint32(stun.AttrLifetime, uint32(left.Sub(now)/time.Second))
	if a.token != 0 {
		b.Uint64(stun.AttrReservationToken, a.token)
	}
	b.XORAddress(stun.AttrXORMappedAddress, a.path.Remote)
	for f, code := range a.addressError {
		if code != 0 { // section 18.12: 440 or 508
			if code != stun.CodeAddressFamilyNotSupported {
				code = stun.CodeInsufficientCapacity
			}
			b.Bytes(stun.AttrAddressErrorCode, []byte{byte(f) + stun.FamilyIPv4, 0, byte(code / 100), byte(code % 100)})
		}
	}
	s.send(a.path, stun.Allocate, a.fingerprint, &b)
}

// actFor makes the maker of an allocation the one who is answered.
func (s *Server) actFor(a *allocation) {
	s.id = identity{algorithms: a.algorithms}
	s.id.keyLen = copy(s.id.key[:], a.key)
}

// TakeReservation gives up a socket that is held in reserve, for another shard whose OpenRelay has its token. The
// caller owns the socket then.
func (s *Server) TakeReservation(token uint64) (n pkt.Socket, address netip.AddrPort, ok bool) {
	r := s.reservations[token]
	if r == nil {
		return 0, netip.AddrPort{}, false
	}
	n, address = r.socket, r.address
	s.sockets[n] = socket{}
	r.open = false // here
	s.closeRelay(r)
	return n, address, true
}
