package signaling

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenLife  = time.Hour
	tokenFresh = 30 * time.Minute // when a seat gets the next one
)

// tokens makes and reads the proofs that a peer was let into a room: JWT with HMAC-SHA256.
type tokens struct {
	key    []byte
	parser *jwt.Parser
}

type claims struct {
	Room string `json:"room"`
	jwt.RegisteredClaims
}

func newTokens(key []byte) *tokens {
	if len(key) == 0 {
		key = make([]byte, 32)
		rand.Read(key)
	}
	return &tokens{key, jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("parley"), jwt.WithExpirationRequired(), jwt.WithTimeFunc(time.Now))}
}

func (t *tokens) make(room, peer string) string {
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{room, jwt.RegisteredClaims{
		Issuer:    "parley",
		Subject:   peer,
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(tokenLife)),
	}}).SignedString(t.key)
	if err != nil {
		panic(err) // an HMAC of our own strings
	}
	return s
}

var errOtherToken = errors.New("signaling: the token is for another room or peer")

func (t *tokens) verify(token, room, peer string) error {
	var c claims
	_, err := t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.key, nil })
	if err == nil && (c.Room != room || c.Subject != peer) {
		err = errOtherToken
	}
	return err
}
