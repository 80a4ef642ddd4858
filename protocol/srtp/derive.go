package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Labels of RFC 3711 section 4.3.2, each of the first of three: key, key of authentication, salt; and of RFC 6904 section
// 4.3, of two: key and salt.
const (
	labelRTPKey       = 0
	labelRTCPKey      = 3
	labelExtensionKey = 6
)

// A derivation makes session keys of a master key: AES_CM_PRF (RFC 3711 section 4.3.3), or AES_256_CM_PRF (RFC 6188) with a
// longer one. The rate of derivation is zero, as DTLS-SRTP has no other: every key is derived once.
type derivation struct {
	block cipher.Block
	salt  [14]byte // one of 96 bits has zeroes behind it (RFC 7714 section 11)
}

// derive returns n bytes for a label.
func (d *derivation) derive(label byte, n int) []byte {
	var iv [aes.BlockSize]byte
	copy(iv[:], d.salt[:])
	iv[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(d.block, iv[:]).XORKeyStream(out, out)
	return out
}

// headerKeys encrypt elements of header extensions (RFC 6904). The zero value encrypts none.
type headerKeys struct {
	block cipher.Block
	salt  [14]byte
	ids   [256]bool

	iv, stream [aes.BlockSize]byte
}

func (h *headerKeys) set(s suite, d *derivation, ids []uint8) (err error) {
	if h.block, err = aes.NewCipher(d.derive(labelExtensionKey, s.key)); err != nil {
		return err
	}
	// RFC 7714 section 8.3 does not say how long the salt is with an AEAD; libsrtp has that of the profile, and zeroes behind.
	copy(h.salt[:], d.derive(labelExtensionKey+1, s.salt))
	for _, id := range ids {
		h.ids[id] = true
	}
	return nil
}

// apply encrypts or decrypts the elements of a header that are to be. The keystream runs over the whole extension behind its
// length, and is used for the values of those elements (RFC 6904 section 4.2).
func (h *headerKeys) apply(header []byte, ssrc rtp.SSRC, index int64) {
	if h.block == nil || header[0]&0x10 == 0 {
		return
	}
	at := 12 + 4*int(header[0]&0x0f)
	profile := binary.BigEndian.Uint16(header[at:])
	body := header[at+4:]
	counter(&h.iv, &h.salt, ssrc, index)
	made := -1 // which block of the keystream is in stream
	for i := 0; i < len(body); {
		var id uint8
		from, n := i+1, 0
		switch {
		case body[i] == 0: // padding
			i++
			continue
		case profile == 0xbede:
			if id, n = body[i]>>4, int(body[i]&0x0f)+1; id == 0 || id == 15 {
				return
			}
		case profile&0xfff0 == 0x1000:
			if i+1 == len(body) {
				return
			}
			id, n, from = body[i], int(body[i+1]), i+2
		default:
			return
		}
		if from+n > len(body) {
			return
		}
		for i = from; i < from+n; i++ {
			if !h.ids[id] {
				continue
			}
			if block := i / aes.BlockSize; block != made {
				made = block
				binary.BigEndian.PutUint16(h.iv[14:], uint16(block))
				h.block.Encrypt(h.stream[:], h.iv[:])
			}
			body[i] ^= h.stream[i%aes.BlockSize]
		}
	}
}
