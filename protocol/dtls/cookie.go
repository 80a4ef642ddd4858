package dtls

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/parley-rtc/parley/protocol/mono"
)

// cookieLife is how long a client may take to bring its cookie back.
const cookieLife = time.Minute

// A cookie is all that a server knows of a client that has not shown yet that it receives at its address. The client
// carries it; the MAC binds it to our secret and the client's address.
type cookie struct {
	at    mono.Time
	suite CipherSuite // of the HelloRetryRequest
	group Group       // that it asks for; 0: the client's share will do
	hello []byte      // DTLS 1.3: hash of the first ClientHello. 1.2: hash of what must not change in the second
}

func (k cookie) marshal(secret, remote []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint64(uint64(k.at))
	b.AddUint16(uint16(k.suite))
	b.AddUint16(uint16(k.group))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.hello) })
	payload := b.BytesOrPanic()
	return append(payload, cookieMAC(secret, remote, payload)...)
}

func cookieMAC(secret, remote, payload []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write(binary.BigEndian.AppendUint32([]byte("parley dtls cookie"), uint32(len(remote))))
	mac.Write(remote)
	mac.Write(payload)
	return mac.Sum(nil)
}

// openCookie returns what a cookie says, if we made it for this address, and not long ago.
func openCookie(b, secret, remote []byte, now mono.Time) (k cookie, ok bool) {
	at := len(b) - sha256.Size
	if at < 0 || !hmac.Equal(b[at:], cookieMAC(secret, remote, b[:at])) {
		return k, false
	}
	s := cryptobyte.String(b[:at])
	var made uint64
	ok = s.ReadUint64(&made) && s.ReadUint16((*uint16)(&k.suite)) && s.ReadUint16((*uint16)(&k.group)) &&
		s.ReadUint8LengthPrefixed((*cryptobyte.String)(&k.hello)) && s.Empty()
	k.at = mono.Time(made)
	age := now.Sub(k.at)
	return k, ok && age >= 0 && age <= cookieLife
}

// sendStateless sends a message that answers a first hello and keeps nothing: the next hello finds a server as if new. The
// answer carries the number of the client's record, as a server without state has none of its own.
func (h *handshake) sendStateless(first message, typ handshakeType, body []byte) {
	c := h.c
	c.restart()
	c.write().next = first.recordSeq
	c.out.begin(c.firstTimeout())
	c.out.passive = true
	m := newMessage(typ, 0, body)
	c.out.push(&outMessage{message: m, content: typeHandshake})
}

// unchanging hashes what a client of DTLS 1.2 must not change in its second hello (RFC 6347 section 4.2.1).
func (h *clientHello) unchanging() []byte {
	same := *h
	same.cookie = nil
	sum := sha256.Sum256(same.marshal())
	return sum[:]
}
