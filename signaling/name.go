package signaling

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"strings"
)

const maxRoomLength = 64

// NewRoomName mints the name of a room: 16 characters of a-z and 2-7 (80 random bits) in four groups. It cannot be guessed, so whoever knows it was
// invited.
func NewRoomName() string {
	var b [10]byte
	rand.Read(b[:])
	s := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	return s[0:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:16]
}

// ValidRoomName tells whether s can name a room: 1 to 64 of a-z, 0-9 and -, beginning and ending with a letter or digit.
func ValidRoomName(s string) bool {
	if s == "" || len(s) > maxRoomLength || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// MintedRoomName tells whether s has the form of [NewRoomName].
func MintedRoomName(s string) bool {
	if len(s) != 19 {
		return false
	}
	for i, c := range []byte(s) {
		if i%5 == 4 {
			if c != '-' {
				return false
			}
		} else if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// PeerID is the id of the peer with that secret in that room.
func PeerID(room, secret string) string {
	sum := sha256.Sum256([]byte("parley peer 1\x00" + room + "\x00" + secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:16]
}

// randomHandle is 128 random bits as text: a session, or a client's secret.
func randomHandle() string { return rand.Text() }
