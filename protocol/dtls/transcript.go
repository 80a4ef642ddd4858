package dtls

import (
	"crypto"
	"hash"
)

// A transcript is the handshake's messages so far. Its form differs: DTLS 1.2 hashes headers as if nothing had been
// fragmented (RFC 6347 section 4.2.6), 1.3 leaves out what DTLS added to them (RFC 9147 section 5.2).
type transcript struct {
	messages [][]byte // with headers of 12 bytes
	version  Version
	hash     crypto.Hash

	running hash.Hash
	fed     int // messages that running has seen
}

func (t *transcript) add(m message) { t.messages = append(t.messages, m.full) }

// choose fixes the form, once version and suite are known.
func (t *transcript) choose(v Version, h crypto.Hash) {
	t.version, t.hash, t.running, t.fed = v, h, h.New(), 0
}

// sum returns the hash of all messages.
func (t *transcript) sum() []byte {
	for ; t.fed < len(t.messages); t.fed++ {
		t.feed(t.running, t.messages[t.fed])
	}
	return t.running.Sum(nil)
}

func (t *transcript) feed(w hash.Hash, m []byte) {
	if t.version == Version13 && len(m) >= messageHeader {
		w.Write(m[:4])
		m = m[messageHeader:]
	}
	w.Write(m)
}

// bytes returns all messages in one: what a CertificateVerify of DTLS 1.2 signs, by a hash of its own.
func (t *transcript) bytes() []byte {
	var all []byte
	for _, m := range t.messages {
		all = append(all, m...)
	}
	return all
}

// digest replaces the first ClientHello by its hash, after a HelloRetryRequest (RFC 8446 section 4.4.1).
func (t *transcript) digest(firstHello []byte) {
	m := newMessage(messageHash, 0, firstHello)
	t.messages = append([][]byte{m.full}, t.messages[min(1, len(t.messages)):]...)
	t.running, t.fed = t.hash.New(), 0
}
