package turn

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"time"

	"github.com/parley-rtc/parley/protocol/stun"
)

// NewCredential makes a username and password that a Server with this secret accepts until they expire, without having
// been told. The username is
//
//	<Unix time of expiry>:<name>[;a=<allocations>][;b=<bytes a second>]
//
// and the password is the base64 of its HMAC-SHA1 under the secret: the form that other servers and browsers' TURN
// services use, so that a secret can be shared with them. The limits are part of what the password signs; they can only
// lower those of the Config. The name is what limits and Server.Revoke go by: everybody who gets the same name shares
// one account. It has 1 to 400 bytes of UTF-8, no control characters and no semicolon.
func NewCredential(secret, name string, expires time.Time, l Limits) (username, password string, err error) {
	if name == "" || len(name) > 400 || !printable(name) || bytes.IndexByte([]byte(name), ';') >= 0 {
		return "", "", errors.New("turn: a credential's name needs 1 to 400 bytes of UTF-8 without control characters and semicolons")
	}
	if err := l.validate(); err != nil {
		return "", "", err
	}
	u := strconv.AppendInt(nil, expires.Unix(), 10)
	u = append(append(u, ':'), name...)
	if l.Allocations > 0 {
		u = strconv.AppendInt(append(u, ";a="...), int64(l.Allocations), 10)
	}
	if l.Bandwidth > 0 {
		u = strconv.AppendInt(append(u, ";b="...), l.Bandwidth, 10)
	}
	return string(u), string(appendPassword(nil, stun.NewHasher(), []byte(secret), u)), nil
}

// appendPassword appends the password of a time-limited username.
func appendPassword(dst []byte, h *stun.Hasher, secret, username []byte) []byte {
	var mac [20]byte
	return base64.StdEncoding.AppendEncode(dst, h.AppendHMACSHA1(mac[:0], secret, username))
}

// splitUsername takes a time-limited username apart. What follows the name and is not a limit belongs to the name.
func splitUsername(username []byte) (expires int64, name []byte, l Limits, ok bool) {
	digits, rest, found := bytes.Cut(username, []byte{':'})
	expires, ok = parseNumber(digits)
	if !found || !ok || len(rest) == 0 {
		return 0, nil, Limits{}, false
	}
	for {
		i := bytes.LastIndexByte(rest, ';')
		if i <= 0 || len(rest)-i < 4 || rest[i+2] != '=' {
			break
		}
		n, ok := parseNumber(rest[i+3:])
		if !ok || n == 0 {
			break
		}
		switch {
		case rest[i+1] == 'a' && l.Allocations == 0:
			l.Allocations = int(min(n, 1<<30))
		case rest[i+1] == 'b' && l.Bandwidth == 0:
			l.Bandwidth = n
		default:
			return expires, rest, l, true
		}
		rest = rest[:i]
	}
	return expires, rest, l, true
}

// parseNumber reads up to 18 digits, without allocating.
func parseNumber(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
