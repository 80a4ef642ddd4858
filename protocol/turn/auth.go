package turn

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

const (
	// nonceLifetime: the server "SHOULD expire the nonce at least once every hour" (RFC 8656 section 5).
	nonceLifetime = time.Hour
	// maxRevoked bounds the names that are remembered as revoked.
	maxRevoked = 1 << 16
)

// offered is the value of PASSWORD-ALGORITHMS, in the order that we prefer.
var offered = stun.AppendPasswordAlgorithms(nil, stun.SHA256, stun.MD5)

// identity is who has sent the request in hand. The key is empty until that is proved.
type identity struct {
	username   []byte // as the request has it, or what its USERHASH stands for
	name       []byte // of the account
	limits     Limits
	algorithm  stun.PasswordAlgorithm
	algorithms bool // the request has PASSWORD-ALGORITHM and PASSWORD-ALGORITHMS
	key        [32]byte
	keyLen     int
}

// accounts are those who may use the server.
type accounts struct {
	realm    []byte
	limits   Limits
	secrets  [][]byte
	fixed    map[string]*fixedUser
	hashes   map[[32]byte]*fixedUser
	revoked  map[string]int64 // by name, until when in Unix seconds
	features stun.Features
}

// fixedUser is an account without expiry. "the server MUST NOT store the password explicitly and MUST store the key
// value" (RFC 8656 section 6)
type fixedUser struct {
	name        []byte
	limits      Limits
	md5, sha256 []byte
}

func newAccounts(cfg *Config, h *stun.Hasher) accounts {
	a := accounts{
		realm:    []byte(cfg.Realm),
		limits:   cfg.Limits,
		fixed:    map[string]*fixedUser{},
		hashes:   map[[32]byte]*fixedUser{},
		revoked:  map[string]int64{},
		features: stun.FeaturePasswordAlgorithms,
	}
	for _, secret := range cfg.Secrets {
		a.secrets = append(a.secrets, []byte(secret))
	}
	for _, u := range cfg.Users {
		name, password := []byte(u.Name), []byte(u.Password)
		f := &fixedUser{
			name:   name,
			limits: u.Limits.or(cfg.Limits),
			md5:    h.AppendLongTermKey(nil, stun.MD5, name, a.realm, password),
			sha256: h.AppendLongTermKey(nil, stun.SHA256, name, a.realm, password),
		}
		a.fixed[u.Name] = f
		a.hashes[[32]byte(h.AppendUserhash(nil, name, a.realm))] = f
	}
	// A client that sees this bit must hide its name, and a time-limited name that is hidden cannot be checked.
	if len(a.secrets) == 0 {
		a.features |= stun.FeatureUsernameAnonymity
	}
	return a
}

// Revoke ends the allocations of an account at once and refuses it until the given time, which is that of its last
// credential's expiry: a seat's credentials die with the seat. The name is the one given to NewCredential. At most
// 65,536 names are remembered; beyond that the one that ends first is forgotten, and counted as evicted. Of shards, each
// must be told.
func (s *Server) Revoke(now mono.Time, name string, until time.Time) {
	if u := s.users[name]; u != nil {
		for u.first != nil {
			s.release(now, u.first)
		}
	}
	r := s.accounts.revoked
	if _, known := r[name]; !known && len(r) >= maxRevoked {
		s.forgetRevoked(s.unix(now))
	}
	r[name] = max(r[name], until.Unix())
}

// forgetRevoked makes room: it forgets the names whose time is over, or the one whose time is over first.
func (s *Server) forgetRevoked(unix int64) {
	r := s.accounts.revoked
	first := ""
	for name, until := range r {
		if until <= unix {
			delete(r, name)
		} else if first == "" || until < r[first] || until == r[first] && name < first {
			first = name
		}
	}
	if len(r) >= maxRevoked {
		delete(r, first)
		s.counters.Evicted++
	}
}

// authenticate goes through the checks of RFC 8489 section 9.2.4 in their order. If one fails it answers, or is
// silent, and returns false. If all hold, s.id says who it is.
func (s *Server) authenticate(now mono.Time, d *pkt.Datagram, m *stun.Message, a *allocation) bool {
	s.id = identity{algorithm: stun.MD5}
	if sha1, sha256 := m.HasIntegrity(); !sha1 && !sha256 {
		return s.challenge(now, d, m, stun.CodeUnauthenticated)
	}
	username, hasUsername := m.Get(stun.AttrUsername)
	userhash, hasUserhash := m.Get(stun.AttrUserhash)
	realm, hasRealm := m.Get(stun.AttrRealm)
	nonce, hasNonce := m.Get(stun.AttrNonce)
	if !hasUsername && !hasUserhash || !hasRealm || !hasNonce {
		return s.badRequest(now, d, m)
	}
	if f, _ := stun.ParseNonceCookie(nonce); f&stun.FeaturePasswordAlgorithms != 0 {
		list, hasList := m.Get(stun.AttrPasswordAlgorithms)
		one, hasOne := m.Get(stun.AttrPasswordAlgorithm)
		if hasList || hasOne {
			if !hasList || !hasOne || !bytes.Equal(list, offered) || len(one) != 4 || one[2] != 0 || one[3] != 0 {
				return s.badRequest(now, d, m)
			}
			s.id.algorithm = stun.PasswordAlgorithm(binary.BigEndian.Uint16(one))
			if s.id.algorithm != stun.SHA256 && s.id.algorithm != stun.MD5 {
				return s.badRequest(now, d, m)
			}
			s.id.algorithms = true
		}
	}
	if !hasUsername && len(userhash) == 32 {
		if f := s.accounts.hashes[[32]byte(userhash)]; f != nil {
			username = f.name
		}
	}
	if !bytes.Equal(realm, s.accounts.realm) || !s.identify(now, m, username, a) {
		s.drop(DropUnauthorized)
		return s.challenge(now, d, m, stun.CodeUnauthenticated)
	}
	if !s.validNonce(now, d, nonce) {
		return s.challenge(now, d, m, stun.CodeStaleNonce)
	}
	return true
}

// identify finds the account of a username and checks the message's integrity under its key.
func (s *Server) identify(now mono.Time, m *stun.Message, username []byte, a *allocation) bool {
	s.id.username = username
	if a != nil && string(username) == a.username && s.id.algorithm == a.algorithm {
		// Who holds an allocation has proved himself, and keeps it until it is released or revoked: a browser cannot renew
		// the credential of an allocation whose time-limited name expires during the call.
		return s.prove(m, a.key)
	}
	if f := s.accounts.fixed[string(username)]; f != nil {
		if s.revoked(now, f.name) {
			return false
		}
		s.id.name, s.id.limits = f.name, f.limits
		if s.id.algorithm == stun.SHA256 {
			return s.prove(m, f.sha256)
		}
		return s.prove(m, f.md5)
	}
	expires, name, limits, ok := splitUsername(username)
	if !ok || len(username) > maxName || expires <= s.unix(now) || s.revoked(now, name) {
		return false
	}
	s.id.name, s.id.limits = name, limits.within(s.accounts.limits)
	for _, secret := range s.accounts.secrets {
		password := appendPassword(s.scratch[:0], s.hasher, secret, username)
		key := s.hasher.AppendLongTermKey(s.scratch[len(password):len(password)], s.id.algorithm, username, s.accounts.realm, password)
		if s.prove(m, key) {
			return true
		}
	}
	return false
}

// prove takes over the key if the message's integrity holds under it.
func (s *Server) prove(m *stun.Message, key []byte) bool {
	if !s.hasher.Verify(m, key) {
		return false
	}
	s.id.keyLen = copy(s.id.key[:], key)
	return true
}

func (s *Server) revoked(now mono.Time, name []byte) bool {
	until, known := s.accounts.revoked[string(name)]
	return known && s.unix(now) < until
}

// challenge asks for credentials. It always returns false. The reply has no reason phrase and never SOFTWARE: with the
// longest realm it has 124 bytes.
func (s *Server) challenge(now mono.Time, d *pkt.Datagram, m *stun.Message, code stun.Code) bool {
	s.id = identity{}
	if !s.limiter.take(now, d.Remote.Addr()) {
		s.drop(DropReplyLimit)
		return false
	}
	s.counters.Challenges++
	b := s.respond(stun.Error, m.Method(), m.ID())
	b.Error(code, "")
	b.Bytes(stun.AttrRealm, s.accounts.realm)
	b.Bytes(stun.AttrNonce, s.appendNonce(s.text[:0], now, d))
	b.Bytes(stun.AttrPasswordAlgorithms, offered)
	s.send(d.Path, m.Method(), m.HasFingerprint(), &b)
	return false
}

// badRequest refuses a request whose sender is not known. It always returns false.
func (s *Server) badRequest(now mono.Time, d *pkt.Datagram, m *stun.Message) bool {
	s.id = identity{}
	if !s.limiter.take(now, d.Remote.Addr()) {
		s.drop(DropReplyLimit)
		return false
	}
	s.refuse(d, m, stun.CodeBadRequest)
	return false
}

// A nonce is the cookie of RFC 8489 section 9.2, and in base64 the second in which it was made and a MAC over that
// second and the client's address and port. So nothing needs to be remembered of whom it was given to.
const (
	nonceBytes = 15 // 4 of time, 11 of MAC
	nonceLen   = stun.NonceCookieLen + nonceBytes/3*4
)

func (s *Server) appendNonce(dst []byte, now mono.Time, d *pkt.Datagram) []byte {
	raw := s.nonce(uint32(uint64(now)/uint64(time.Second)), d)
	dst = stun.AppendNonceCookie(dst, s.accounts.features)
	return base64.StdEncoding.AppendEncode(dst, raw[:])
}

func (s *Server) validNonce(now mono.Time, d *pkt.Datagram, nonce []byte) bool {
	f, ok := stun.ParseNonceCookie(nonce)
	if !ok || f != s.accounts.features || len(nonce) != nonceLen {
		return false
	}
	var raw [nonceBytes + 3]byte
	n, err := base64.StdEncoding.Decode(raw[:], nonce[stun.NonceCookieLen:])
	if err != nil || n != nonceBytes {
		return false
	}
	made := binary.BigEndian.Uint32(raw[:])
	age := uint32(uint64(now)/uint64(time.Second)) - made
	want := s.nonce(made, d)
	return subtle.ConstantTimeCompare(raw[:nonceBytes], want[:]) == 1 && age < uint32(nonceLifetime/time.Second)
}

func (s *Server) nonce(second uint32, d *pkt.Datagram) (raw [nonceBytes]byte) {
	ip := d.Remote.Addr().As16()
	text := binary.BigEndian.AppendUint32(s.scratch[:0], second)
	text = append(text, ip[:]...)
	text = binary.BigEndian.AppendUint16(text, d.Remote.Port())
	mac := s.hasher.AppendHMACSHA256(s.scratch[len(text):len(text)], s.nonceKey[:], text)
	binary.BigEndian.PutUint32(raw[:], second)
	copy(raw[4:], mac)
	return raw
}
