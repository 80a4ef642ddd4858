package dtls

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// srtpLabel is the exporter's label of DTLS-SRTP (RFC 5764 section 4.2).
const srtpLabel = "EXTRACTOR-dtls_srtp"

// maxExport keeps within what HKDF can give.
const maxExport = 255 * 32

// Export returns n bytes of keying material that both sides agree on, for a label and a context: RFC 5705 in DTLS 1.2,
// where a nil context differs from an empty one, and RFC 8446 section 7.5 in 1.3, where it does not. n is 8160 at most.
func (c *Conn) Export(label string, context []byte, n int) ([]byte, error) {
	switch {
	case c.phase == closed:
		return nil, ErrClosed
	case c.phase != connected:
		return nil, ErrNotConnected
	case n < 0 || n > maxExport || len(context) >= 1<<16:
		return nil, ErrTooLong
	}
	h := c.suite.hash
	if c.version == Version13 {
		k := newKDF(h)
		secret := k.expand(c.secrets.exporter, label, hashOf(h, nil), h.Size())
		return k.expand(secret, "exporter", hashOf(h, context), n), nil
	}
	seed := slices.Clone(c.secrets.randoms)
	if context != nil {
		b := cryptobyte.NewBuilder(seed)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(context) })
		seed = b.BytesOrPanic()
	}
	return prf(h, c.secrets.exporter, label, seed, n), nil
}

// SRTPKeys returns the master keys of DTLS-SRTP, each a key followed by its salt, of KeyLen and SaltLen bytes of the
// profile negotiated: the one that we send with, and the one that the peer does (RFC 5764 section 4.2).
func (c *Conn) SRTPKeys() (send, receive []byte, err error) {
	k, s := c.state.SRTPProfile.KeyLen(), c.state.SRTPProfile.SaltLen()
	block, err := c.Export(srtpLabel, nil, 2*(k+s))
	if err != nil {
		return nil, nil, err
	}
	client := slices.Concat(block[:k], block[2*k:2*k+s])
	server := slices.Concat(block[k:2*k], block[2*k+s:])
	if c.role == Client {
		return client, server, nil
	}
	return server, client, nil
}
