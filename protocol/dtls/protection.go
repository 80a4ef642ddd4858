package dtls

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	tagLen      = 16
	nonceLen    = 12
	explicitLen = 8 // of the nonce, that a GCM record of DTLS 1.2 carries
)

// A protection is the keys of one direction of one epoch. The zero value is epoch 0, which has none.
type protection struct {
	aead     cipher.AEAD
	iv       [nonceLen]byte
	explicit bool // records carry eight bytes of nonce: GCM in 1.2 (RFC 5288 section 3)

	// Record numbers are encrypted in 1.3 only (RFC 9147 section 4.2.3), by one of these.
	maskBlock cipher.Block
	maskKey   []byte // ChaCha20
}

func newAEAD(s *suite, key []byte) (cipher.AEAD, error) {
	if s.chacha {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// protection13 derives the keys of a traffic secret (RFC 8446 section 7.3).
func protection13(k *kdf, s *suite, secret []byte) (p protection, err error) {
	if p.aead, err = newAEAD(s, k.expand(secret, "key", nil, s.keyLen)); err != nil {
		return p, err
	}
	copy(p.iv[:], k.expand(secret, "iv", nil, nonceLen))
	sn := k.expand(secret, "sn", nil, s.keyLen)
	if s.chacha {
		p.maskKey = sn
		return p, nil
	}
	p.maskBlock, err = aes.NewCipher(sn)
	return p, err
}

// protection12 takes one direction's key and IV from the key block (RFC 5246 section 6.3).
func protection12(s *suite, key, iv []byte) (p protection, err error) {
	p.aead, err = newAEAD(s, key)
	copy(p.iv[:], iv)
	p.explicit = !s.chacha
	return p, err
}

// nonce XORs a record's number into the IV. This one rule covers all: the sequence number in 1.3; epoch and sequence
// number in 1.2, where GCM's IV is four bytes of salt and then zeros.
func (p *protection) nonce(scratch *[nonceLen]byte, number uint64) []byte {
	*scratch = p.iv
	binary.BigEndian.PutUint64(scratch[4:], binary.BigEndian.Uint64(scratch[4:])^number)
	return scratch[:]
}

// mask encrypts or decrypts the number in a unified header by the first 16 bytes of ciphertext.
func (p *protection) mask(scratch *[aes.BlockSize]byte, number, ciphertext []byte) {
	if p.maskBlock != nil {
		p.maskBlock.Encrypt(scratch[:], ciphertext[:aes.BlockSize])
	} else {
		*scratch = [aes.BlockSize]byte{}
		stream, err := chacha20.NewUnauthenticatedCipher(p.maskKey, ciphertext[4:16])
		if err != nil {
			panic(err) // the lengths are right
		}
		stream.SetCounter(binary.LittleEndian.Uint32(ciphertext))
		stream.XORKeyStream(scratch[:2], scratch[:2])
	}
	for i := range number {
		number[i] ^= scratch[i]
	}
}
