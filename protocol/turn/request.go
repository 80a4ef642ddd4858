package turn

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

const (
	permissionLifetime = 5 * time.Minute  // "MUST be 300 seconds" (section 9)
	channelLifetime    = 10 * time.Minute // section 12

	firstChannel      = 0x4000
	lastChannel       = 0x4FFF
	lastLegacyChannel = 0x7FFF // RFC 5766 section 11
)

// succeed answers a request whose success response has no attributes of its own.
func (s *Server) succeed(d *pkt.Datagram, m *stun.Message) {
	b := s.respond(stun.Success, m.Method(), m.ID())
	s.send(d.Path, m.Method(), m.HasFingerprint(), &b)
}

// handleRefresh follows section 8.2.
func (s *Server) handleRefresh(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) {
	only, hasFamily := m.Get(stun.AttrRequestedAddressFamily)
	chosen := [2]bool{true, true}
	if hasFamily {
		if len(only) != 4 {
			s.refuse(d, m, stun.CodeBadRequest)
			return
		}
		chosen = [2]bool{only[0] == stun.FamilyIPv4, only[0] == stun.FamilyIPv6}
		if !(chosen[ipv4] && a.relays[ipv4] != nil || chosen[ipv6] && a.relays[ipv6] != nil) {
			s.refuse(d, m, stun.CodePeerFamilyMismatch)
			return
		}
	}
	value, hasLifetime := m.Get(stun.AttrLifetime)
	if hasLifetime && len(value) != 4 {
		s.refuse(d, m, stun.CodeBadRequest)
		return
	}
	seconds := s.lifetimeFor(m)
	if hasLifetime && binary.BigEndian.Uint32(value) == 0 {
		seconds = 0
	}
	for f := range chosen {
		switch r := a.relays[f]; {
		case !chosen[f] || r == nil:
		case seconds == 0:
			s.endFamily(now, a, f)
		default:
			s.timers.Set(&r.timer, now.Add(time.Duration(seconds)*time.Second))
		}
	}
	b := s.respond(stun.Success, m.Method(), m.ID())
	b.Uint32(stun.AttrLifetime, seconds)
	s.send(d.Path, m.Method(), m.HasFingerprint(), &b)
}

// checkPeer returns what a permission for an address would be worth, or the error to refuse it with.
func (s *Server) checkPeer(a *allocation, address netip.Addr) (verdict, stun.Code) {
	if a.relays[family(address)] == nil {
		return refuse, stun.CodePeerFamilyMismatch
	}
	v := s.policy.judge(address)
	if v == refuse {
		return refuse, stun.CodeForbidden
	}
	return v, 0
}

// handleCreatePermission follows section 10.2: all addresses of the request get their permission, or none does.
func (s *Server) handleCreatePermission(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) {
	count := 0
	var worst stun.Code
	for t, value := range m.Attributes() {
		if t != stun.AttrXORPeerAddress {
			continue
		}
		peer, err := m.DecodeXORAddress(value)
		if err != nil {
			worst = stun.CodeBadRequest
			break
		}
		if _, code := s.checkPeer(a, peer.Addr()); code != 0 && worst == 0 {
			worst = code
		}
		count++
	}
	switch {
	case worst == stun.CodeBadRequest || count == 0:
		worst = stun.CodeBadRequest
	case worst == 0 && count > a.room(now, m):
		worst = stun.CodeInsufficientCapacity
	}
	if worst != 0 {
		if worst == stun.CodeForbidden {
			s.drop(DropDenied)
			s.holdRefusal(now, d, m, a)
		} else {
			s.refuse(d, m, worst)
		}
		return
	}
	for t, value := range m.Attributes() {
		if t == stun.AttrXORPeerAddress {
			peer, _ := m.DecodeXORAddress(value)
			a.permit(now, peer.Addr(), s.policy.judge(peer.Addr()), s.policy.generation)
		}
	}
	s.succeed(d, m)
}

// room returns how many peers of a CreatePermission request have room: those that have a permission, even a spent one,
// and as many as there are free places.
func (a *allocation) room(now mono.Time, m *stun.Message) int {
	n := maxPermissions - len(a.permissions)
	for i := range a.permissions {
		if a.permissions[i].until <= now {
			n++
		}
	}
	for t, value := range m.Attributes() {
		if t == stun.AttrXORPeerAddress {
			if peer, _ := m.DecodeXORAddress(value); a.permissionFor(now, peer.Addr(), 0) >= 0 {
				n++
			}
		}
	}
	return n
}

// handleChannelBind follows section 12.2.
func (s *Server) handleChannelBind(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) {
	value, _ := m.Get(stun.AttrChannelNumber)
	peer, err := m.XORAddress(stun.AttrXORPeerAddress)
	if len(value) != 4 || err != nil {
		s.refuse(d, m, stun.CodeBadRequest)
		return
	}
	number := binary.BigEndian.Uint16(value)
	if !s.isChannel(value[0]) {
		s.refuse(d, m, stun.CodeBadRequest)
		return
	}
	if c := a.channelByNumber(now, number); c != nil && c.peer != peer {
		s.refuse(d, m, stun.CodeBadRequest)
		return
	}
	if c := a.channelByPeer(now, peer); c != nil && c.number != number {
		s.refuse(d, m, stun.CodeBadRequest)
		return
	}
	v, code := s.checkPeer(a, peer.Addr())
	if code == 0 && (peer.Port() == 0 || v == handOver && !s.relayPort(peer.Port())) {
		code = stun.CodeForbidden // "restrictions on the IP address and port values"
	}
	if code != 0 {
		if code == stun.CodeForbidden {
			s.drop(DropDenied)
		}
		s.refuse(d, m, code)
		return
	}
	permission := a.permit(now, peer.Addr(), v, s.policy.generation)
	if permission < 0 || !a.bind(now, number, peer, permission) {
		s.refuse(d, m, stun.CodeInsufficientCapacity)
		return
	}
	s.succeed(d, m)
}

// relayPort reports whether a port can be one of our relays'.
func (s *Server) relayPort(p uint16) bool { return p >= s.cfg.MinPort && p <= s.cfg.MaxPort }
