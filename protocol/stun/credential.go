package stun

import (
	"bytes"
	"errors"
)

// Why a challenge is not answered.
var (
	// ErrRejected says that the server knows the credential and refuses it: asking again would change nothing.
	ErrRejected = errors.New("stun: the server does not accept this username and password")
	// ErrBidDown says that the nonce promises a list of password algorithms that is not there: somebody on the way
	// took it out (section 9.2.1).
	ErrBidDown = errors.New("stun: the server's list of password algorithms was removed on the way")
	// ErrNoAlgorithm says that the server offers no password algorithm that this package has.
	ErrNoAlgorithm = errors.New("stun: the server offers no known password algorithm")
	// ErrChallenge says that a 401 or 438 lacks the realm or the nonce, or is neither a 401 nor a 438.
	ErrChallenge = errors.New("stun: not a challenge with a realm and a nonce")
)

// A Credential is the client's half of the long-term mechanism (section 9.2): a username and password, and what the
// server's challenge said. The first request goes out without it; on a 401 or 438, call [Credential.Challenge], and if
// it agrees, send the request anew, with a new transaction ID, finished by [Credential.Sign].
type Credential struct {
	username, password string
	realm, nonce       []byte
	algorithms         []byte // the value of PASSWORD-ALGORITHMS, to be sent back as it came; nil if there was none
	algorithm          PasswordAlgorithm
	anonymous          bool
	key                []byte
	signed             bool // with this realm
}

// NewCredential returns a credential that has not been challenged.
func NewCredential(username, password string) *Credential {
	return &Credential{username: username, password: password}
}

// Challenged reports whether a realm and nonce are known, so that requests can be signed.
func (c *Credential) Challenged() bool { return c.nonce != nil }

// Key returns the key with which the server's responses are authenticated, nil before a challenge.
func (c *Credential) Key() []byte { return c.key }

// Challenge takes realm, nonce and algorithms from a 401 or 438 response. If it returns nil the request is to be tried
// again; an error says why that is forbidden or useless (section 9.2.5).
func (c *Credential) Challenge(h *Hasher, m *Message) error {
	code, _, _ := m.ErrorCode()
	realm, hasRealm := m.Get(AttrRealm)
	nonce, hasNonce := m.Get(AttrNonce)
	if m.Class() != Error || code != CodeUnauthenticated && code != CodeStaleNonce || !hasNonce {
		return ErrChallenge
	}
	if !hasRealm {
		if code != CodeStaleNonce || c.realm == nil {
			return ErrChallenge
		}
		realm = c.realm
	}
	features, _ := ParseNonceCookie(nonce)
	algorithms, hasAlgorithms := m.Get(AttrPasswordAlgorithms)
	if features&FeaturePasswordAlgorithms != 0 && !hasAlgorithms {
		return ErrBidDown
	}
	algorithm := MD5
	if hasAlgorithms {
		algorithm = 0
		ParsePasswordAlgorithms(algorithms, func(a PasswordAlgorithm, _ []byte) bool {
			if a == MD5 || a == SHA256 {
				algorithm = a
			}
			return algorithm == 0 // "the first algorithm supported on the list"
		})
		if algorithm == 0 {
			return ErrNoAlgorithm
		}
	}
	// "The client MUST NOT perform this retry if it is not changing the USERNAME, USERHASH, REALM, or its associated
	// password from the previous attempt."
	if code == CodeUnauthenticated && c.signed && bytes.Equal(realm, c.realm) {
		return ErrRejected
	}
	if !bytes.Equal(realm, c.realm) || algorithm != c.algorithm {
		c.key = h.AppendLongTermKey(nil, algorithm, []byte(c.username), realm, []byte(c.password))
		c.signed = false
	}
	c.realm, c.nonce, c.algorithms = bytes.Clone(realm), bytes.Clone(nonce), nil
	if hasAlgorithms {
		c.algorithms = append([]byte{}, algorithms...)
	}
	c.algorithm = algorithm
	c.anonymous = features&FeatureUsernameAnonymity != 0
	return nil
}

// Sign adds to a request who sends it and the integrity (section 9.2.3.2 and 9.2.5). Only a FINGERPRINT may follow.
// Before a challenge it adds nothing.
func (c *Credential) Sign(b *Builder, h *Hasher) {
	if !c.Challenged() {
		return
	}
	if c.anonymous {
		b.Bytes(AttrUserhash, h.AppendUserhash(nil, []byte(c.username), c.realm))
	} else {
		b.Text(AttrUsername, c.username)
	}
	b.Bytes(AttrRealm, c.realm)
	b.Bytes(AttrNonce, c.nonce)
	c.signed = true
	if c.algorithms == nil {
		b.Integrity(h, c.key)
		return
	}
	b.Bytes(AttrPasswordAlgorithms, c.algorithms)
	b.Bytes(AttrPasswordAlgorithm, AppendPasswordAlgorithms(nil, c.algorithm))
	// "If the response contains a PASSWORD-ALGORITHMS attribute, all the subsequent requests MUST be authenticated using
	// MESSAGE-INTEGRITY-SHA256 only."
	b.IntegritySHA256(h, c.key)
}
