package srtp

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// AppendRTP appends the protected form of a packet (RFC 3711 section 3.3): RTPOverhead bytes longer. Dst's free capacity must
// either not overlap the packet or begin with it: AppendRTP(packet[:0], packet) works in place if packet has room.
//
// No sequence number of an SSRC can be sent twice, as two contents under one would tell both, and with GCM the key of
// authentication too (RFC 7714 section 8.4). A retransmission by its own SSRC (RFC 4588) has its own numbers; one that
// repeats a packet byte for byte repeats what AppendRTP returned the first time.
func (c *Context) AppendRTP(dst, packet []byte) ([]byte, error) {
	n, err := rtp.HeaderLen(packet)
	if err != nil {
		return dst, ErrMalformed
	}
	s := c.lookup(rtp.SSRC(binary.BigEndian.Uint32(packet[8:])))
	index := s.rtp.estimate(binary.BigEndian.Uint16(packet[2:]))
	switch {
	case !c.room(s):
		return dst, ErrStreams
	case index > maxIndex:
		return dst, ErrExpired
	case !s.rtp.fresh(index):
		return dst, ErrReused
	}
	c.adopt(s)
	s.rtp.mark(index)
	start := len(dst)
	if k := &c.rtp; k.aead != nil {
		dst = append(dst, packet[:n]...)
		c.extensions.apply(dst[start:], s.ssrc, index)
		return k.aead.Seal(dst, k.nonce(s.ssrc, index), packet[n:], dst[start:]), nil
	}
	dst = append(dst, packet...)
	c.extensions.apply(dst[start:start+n], s.ssrc, index)
	k := &c.rtp
	k.xor(s.ssrc, index, dst[start+n:])
	return append(dst, k.authenticate(dst[start:], uint32(index>>16))...), nil
}

// DecryptRTP returns the packet that is in a protected one, whose memory it uses. The packet is checked for replay before
// anything else is done for it, and nothing is remembered of one that is not authentic. After an error the memory holds
// nothing of use.
func (c *Context) DecryptRTP(packet []byte) ([]byte, error) {
	k := &c.rtp
	n, err := rtp.HeaderLen(packet)
	if err != nil || len(packet) < n+k.tag {
		return nil, ErrMalformed
	}
	s := c.lookup(rtp.SSRC(binary.BigEndian.Uint32(packet[8:])))
	index := s.rtp.estimate(binary.BigEndian.Uint16(packet[2:]))
	switch {
	case !c.room(s):
		return nil, ErrStreams
	case !s.rtp.fresh(index) || index > maxIndex:
		return nil, ErrReplayed
	}
	end := len(packet) - k.tag
	if k.aead != nil {
		if _, err := k.aead.Open(packet[n:n], k.nonce(s.ssrc, index), packet[n:], packet[:n]); err != nil {
			return nil, ErrForged
		}
	} else {
		if subtle.ConstantTimeCompare(k.authenticate(packet[:end], uint32(index>>16)), packet[end:]) != 1 {
			return nil, ErrForged
		}
		k.xor(s.ssrc, index, packet[n:end])
	}
	c.extensions.apply(packet[:n], s.ssrc, index)
	c.adopt(s)
	s.rtp.mark(index)
	return packet[:end:end], nil
}

// estimate returns the index of a packet with a sequence number: the one nearest to the highest so far (RFC 3711 section
// 3.3.1). Of the first packet of all the rollover counter is zero.
func (w *window) estimate(seq uint16) int64 {
	if !w.started {
		return int64(seq)
	}
	return w.highest + seqnum.Diff(seq, uint16(w.highest))
}

// nonce is RFC 7714 sections 8.1 and 9.1, as RTCP's index has 31 bits.
func (k *keys) nonce(ssrc rtp.SSRC, index int64) []byte {
	iv := k.iv[:12]
	copy(iv, k.salt[:12])
	xor32(iv[2:], uint32(ssrc))
	xor32(iv[6:], uint32(index>>16))
	iv[10] ^= byte(index >> 8)
	iv[11] ^= byte(index)
	return iv
}

// xor encrypts or decrypts in counter mode (RFC 3711 section 4.1.1). The standard library cannot set a CTR back, so each
// packet has a new one.
func (k *keys) xor(ssrc rtp.SSRC, index int64, b []byte) {
	counter(&k.iv, &k.salt, ssrc, index)
	cipher.NewCTR(k.ctr, k.iv[:]).XORKeyStream(b, b)
}

// counter is the first counter of a packet: (salt * 2^16) XOR (SSRC * 2^64) XOR (index * 2^16).
func counter(iv *[16]byte, salt *[14]byte, ssrc rtp.SSRC, index int64) {
	copy(iv[:], salt[:])
	iv[14], iv[15] = 0, 0
	xor32(iv[4:], uint32(ssrc))
	xor32(iv[8:], uint32(index>>16))
	iv[12] ^= byte(index >> 8)
	iv[13] ^= byte(index)
}

func xor32(b []byte, v uint32) { binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)^v) }

// authenticate returns the tag of what is to be authenticated, and for RTP of the rollover counter behind it (RFC 3711
// section 4.2). It is overwritten by the next call.
func (k *keys) authenticate(b []byte, rollover uint32) []byte {
	k.mac.Reset()
	k.mac.Write(b)
	binary.BigEndian.PutUint32(k.ad[:], rollover)
	k.mac.Write(k.ad[:4])
	return k.mac.Sum(k.sum[:0])[:k.tag]
}
