package dtls_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"testing"

	"github.com/parley-rtc/parley/protocol/dtls"
)

// opensSRTP reports whether an SRTP packet of the first 2^16 of its source holds under a master key and salt: only as much
// of RFC 3711 and RFC 7714 as it takes to see that both sides have the same keys. SRTCP is passed over.
func opensSRTP(t *testing.T, profile dtls.SRTPProfile, keys, b []byte) bool {
	t.Helper()
	if len(b) < 12 || b[1]&0x7f >= 64 && b[1]&0x7f < 96 {
		return false
	}
	master, salt := keys[:profile.KeyLen()], make([]byte, 14)
	copy(salt, keys[profile.KeyLen():])
	derive := func(label byte, n int) []byte { // RFC 3711 section 4.3.3
		block, err := aes.NewCipher(master)
		if err != nil {
			t.Fatal(err)
		}
		iv := append(bytes.Clone(salt), 0, 0)
		iv[7] ^= label
		out := make([]byte, n)
		cipher.NewCTR(block, iv).XORKeyStream(out, out)
		return out
	}
	if profile == dtls.SRTP_AES128_CM_HMAC_SHA1_80 {
		mac := hmac.New(sha1.New, derive(1, 20))
		mac.Write(b[:len(b)-10])
		mac.Write(make([]byte, 4)) // roll-over counter
		return hmac.Equal(mac.Sum(nil)[:10], b[len(b)-10:])
	}
	header := 12 + 4*int(b[0]&15)
	if b[0]&0x10 != 0 && len(b) >= header+4 {
		header += 4 + 4*int(binary.BigEndian.Uint16(b[header+2:]))
	}
	if len(b) < header+16 {
		return false
	}
	block, err := aes.NewCipher(derive(0, profile.KeyLen()))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, 12) // RFC 7714 section 8.1
	copy(iv[2:], b[8:12])
	copy(iv[10:], b[2:4])
	for i, s := range derive(2, 12) {
		iv[i] ^= s
	}
	_, err = aead.Open(nil, iv, b[header:], b[:header])
	return err == nil
}
