package turn

import (
	"net/netip"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

const (
	ipv4 = 0 // index of a family
	ipv6 = 1

	maxPermissions = 256
	maxChannels    = 256
)

// family is the index of an address's family.
func family(a netip.Addr) int {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// user is an account that has allocations or reservations now.
type user struct {
	name     string
	limits   Limits
	taken    int         // relay addresses, reserved ones included
	first    *allocation // of a list through next
	shards   int64       // that he has something on, this one included; 0 is 1
	rate     int64       // this shard's share of limits.Bandwidth
	up, down meter
}

// allocation is what one client has (section 6): single, or dual with both relays.
type allocation struct {
	path       pkt.Path
	stream     *stream // not nil for a client over TCP or TLS
	serial     uint64
	user       *user
	next, prev *allocation // of the same user
	begun      mono.Time
	usage      Usage

	// Who made it: later requests must be his (section 5).
	username  string
	algorithm stun.PasswordAlgorithm
	key       []byte

	// The Allocate request, to answer it when the sockets are there and whenever it comes again.
	transaction  stun.TransactionID
	algorithms   bool
	fingerprint  bool
	lifetime     uint32
	ready        bool // the request was answered with success; before that it is no allocation to anybody
	waiting      int  // sockets that were asked for and are not there yet
	tries        int
	evenPort     bool
	reserve      bool
	token        uint64
	addressError [2]stun.Code // for the ADDRESS-ERROR-CODE of a dual allocation that became single

	relays      [2]*relay
	reserved    *relay // while it is being opened
	permissions []permission
	channels    []channel
	lastChannel int // index of the channel that was used last, where a search begins
}

// relay is a relayed transport address and its socket: of an allocation, or held in reserve.
type relay struct {
	owner   *allocation // nil: in reserve
	user    *user
	address netip.AddrPort // as peers see it
	socket  pkt.Socket
	open    bool   // there is a socket
	request uint32 // of OpenRelay; 0 once it is answered
	failure error  // the answer, if there is no socket
	token   uint64 // of the reservation
	timer   timerq.Timer[timed]
}

// permission lets data pass to and from one IP address (section 9).
type permission struct {
	address    netip.Addr
	until      mono.Time
	generation uint32 // of the policy that gave the verdict
	verdict    verdict
}

// channel stands for a peer (section 12).
type channel struct {
	peer       netip.AddrPort
	until      mono.Time
	permission int // where the peer's permission was last
	number     uint16
}

// allocation returns the allocation of a 5-tuple, or nil.
func (s *Server) allocation(p *pkt.Path) *allocation {
	if a := s.recent; a != nil && a.path == *p {
		return a
	}
	a := s.clients[*p]
	if a != nil {
		s.recent = a
	}
	return a
}

// account returns the account of the request in hand.
func (s *Server) account() *user {
	u := s.users[string(s.id.name)]
	if u == nil {
		u = &user{name: string(s.id.name)}
		s.users[u.name] = u
	}
	u.limits = s.id.limits // the newest credential counts
	u.share()
	return u
}

func (u *user) share() {
	if u.rate = u.limits.Bandwidth / max(1, u.shards); u.rate == 0 && u.limits.Bandwidth > 0 {
		u.rate = 1 // 0 is no bound
	}
}

// Share tells on how many shards a user has relayed addresses: his bandwidth is divided among them.
func (s *Server) Share(name string, shards int) {
	if u := s.users[name]; u != nil {
		u.shards = int64(shards)
		u.share()
	}
}

// add makes room for one more allocation in all the books.
func (s *Server) add(a *allocation) {
	s.serial++
	a.serial = s.serial
	s.clients[a.path] = a
	if a.next = a.user.first; a.next != nil {
		a.next.prev = a
	}
	a.user.first = a
	s.addresses[quotaAddress(a.path.Remote.Addr())]++
	s.counters.Allocations++
	if a.stream != nil {
		a.stream.allocation = a
		s.timers.Stop(&a.stream.timer)
	}
}

// release ends an allocation, whatever it has.
func (s *Server) release(now mono.Time, a *allocation) {
	for i, r := range a.relays {
		if r != nil {
			a.relays[i] = nil
			s.closeRelay(r)
		}
	}
	if a.reserved != nil {
		s.closeRelay(a.reserved)
		a.reserved = nil
	}
	delete(s.clients, a.path)
	if s.recent == a {
		s.recent = nil
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		a.user.first = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	}
	key := quotaAddress(a.path.Remote.Addr())
	if s.addresses[key]--; s.addresses[key] == 0 {
		delete(s.addresses, key)
	}
	s.forget(a.user)
	s.counters.Allocations--
	if a.stream != nil {
		a.stream.allocation = nil
		s.timers.Set(&a.stream.timer, now.Add(streamIdle))
	}
	if a.ready {
		s.events = append(s.events, Released{User: a.user.name, Client: a.path, Age: now.Sub(a.begun), Usage: a.usage})
	}
}

// forget drops a user who has nothing any more.
func (s *Server) forget(u *user) {
	if u.first == nil && u.taken == 0 {
		delete(s.users, u.name)
	}
}

// openRelay asks the driver for a socket. An invalid address with a token asks for one that another shard holds.
func (s *Server) openRelay(now mono.Time, a *allocation, address netip.AddrPort, token uint64) *relay {
	s.lastRequest++
	for s.lastRequest == 0 || s.openings[s.lastRequest] != nil {
		s.lastRequest++
	}
	r := &relay{owner: a, user: a.user, address: address, request: s.lastRequest}
	r.timer.Owner = r
	s.openings[r.request] = r
	if address.IsValid() {
		s.relayed[address] = r
	}
	a.user.taken++
	a.waiting++
	s.timers.Set(&r.timer, now.Add(openTimeout))
	s.events = append(s.events, OpenRelay{
		Request: r.request, Address: address, Token: token,
		User: a.user.name, Limit: a.user.limits.Allocations,
	})
	return r
}

// closeRelay gives a relay's address back, and its socket if there is one.
func (s *Server) closeRelay(r *relay) {
	s.timers.Stop(&r.timer)
	if s.relayed[r.address] == r {
		delete(s.relayed, r.address)
	}
	if r.token != 0 {
		delete(s.reservations, r.token)
	}
	if r.request != 0 {
		delete(s.openings, r.request) // a socket that comes now finds no taker and is closed
	}
	if r.open {
		s.sockets[r.socket] = socket{}
		s.events = append(s.events, CloseSocket{r.socket})
	}
	r.user.taken--
	if r.owner == nil {
		s.forget(r.user)
	}
}

// expire ends a relay whose time is over: its OpenRelay was not answered, its reservation not claimed, or it was not
// refreshed.
func (r *relay) expire(s *Server, now mono.Time) {
	a := r.owner
	switch {
	case r.request != 0:
		s.RelayFailed(now, r.request, errNoAnswer)
	case a == nil:
		s.closeRelay(r)
	default:
		s.endFamily(now, a, family(r.address.Addr()))
	}
}

// endFamily ends one half of an allocation, with its permissions and channels and no others (section 8.1), and with the
// last half the allocation.
func (s *Server) endFamily(now mono.Time, a *allocation, f int) {
	if a.relays[1-f] == nil {
		s.release(now, a)
		return
	}
	s.closeRelay(a.relays[f])
	a.relays[f] = nil
	a.lastChannel = 0
	a.permissions = removeFamily(a.permissions, f, func(p *permission) netip.Addr { return p.address })
	a.channels = removeFamily(a.channels, f, func(c *channel) netip.Addr { return c.peer.Addr() })
}

func removeFamily[T any](list []T, f int, address func(*T) netip.Addr) []T {
	kept := list[:0]
	for i := range list {
		if family(address(&list[i])) != f {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// permissionFor returns the index of the permission for an address, or -1. It begins to look at hint.
func (a *allocation) permissionFor(now mono.Time, address netip.Addr, hint int) int {
	if hint < len(a.permissions) {
		if p := &a.permissions[hint]; p.address == address {
			if now < p.until {
				return hint
			}
			return -1
		}
	}
	for i := range a.permissions {
		if p := &a.permissions[i]; p.address == address {
			if now < p.until {
				return i
			}
			return -1
		}
	}
	return -1
}

// permit installs or refreshes a permission (section 9) and returns its index, or -1 if there is no room.
func (a *allocation) permit(now mono.Time, address netip.Addr, v verdict, generation uint32) int {
	free := -1
	for i := range a.permissions {
		p := &a.permissions[i]
		if p.address == address {
			free = i
			break
		}
		if p.until <= now && free < 0 {
			free = i
		}
	}
	if free < 0 {
		if len(a.permissions) == maxPermissions {
			return -1
		}
		free = len(a.permissions)
		a.permissions = append(a.permissions, permission{})
	}
	a.permissions[free] = permission{address: address, until: now.Add(permissionLifetime), generation: generation, verdict: v}
	return free
}

// channelByNumber returns the channel that is bound to a number, or nil.
func (a *allocation) channelByNumber(now mono.Time, number uint16) *channel {
	if a.lastChannel < len(a.channels) {
		if c := &a.channels[a.lastChannel]; c.number == number && now < c.until {
			return c
		}
	}
	for i := range a.channels {
		if c := &a.channels[i]; c.number == number && now < c.until {
			a.lastChannel = i
			return c
		}
	}
	return nil
}

// channelByPeer returns the channel that is bound to a peer, or nil.
func (a *allocation) channelByPeer(now mono.Time, peer netip.AddrPort) *channel {
	if a.lastChannel < len(a.channels) {
		if c := &a.channels[a.lastChannel]; c.peer == peer && now < c.until {
			return c
		}
	}
	for i := range a.channels {
		if c := &a.channels[i]; c.peer == peer && now < c.until {
			a.lastChannel = i
			return c
		}
	}
	return nil
}

// bind installs or refreshes a channel (section 12) and returns false if there is no room.
func (a *allocation) bind(now mono.Time, number uint16, peer netip.AddrPort, permission int) bool {
	free := -1
	for i := range a.channels {
		c := &a.channels[i]
		if c.number == number && c.peer == peer {
			free = i
			break
		}
		if c.until <= now && free < 0 {
			free = i
		}
	}
	if free < 0 {
		if len(a.channels) == maxChannels {
			return false
		}
		free = len(a.channels)
		a.channels = append(a.channels, channel{})
	}
	a.channels[free] = channel{peer: peer, until: now.Add(channelLifetime), permission: permission, number: number}
	return true
}
