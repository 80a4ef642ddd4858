package srtp

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/rtp"
)

const encrypted = 1 << 31 // the flag E

// AppendRTCP appends the protected form of a compound packet, or one of reduced size (RFC 3711 section 3.4): RTCPOverhead
// bytes longer. Dst and packet may overlap as those of AppendRTP may.
func (c *Context) AppendRTCP(dst, packet []byte) ([]byte, error) {
	if len(packet) < rtcpHeader || packet[0]>>6 != 2 {
		return dst, ErrMalformed
	}
	s := c.lookup(rtp.SSRC(binary.BigEndian.Uint32(packet[4:])))
	switch {
	case !c.room(s):
		return dst, ErrStreams
	case s.sent > maxRTCPIndex:
		return dst, ErrExpired
	}
	c.adopt(s)
	index := s.sent
	s.sent++
	word := encrypted | uint32(index)
	start := len(dst)
	k := &c.rtcp
	if k.aead != nil {
		dst = append(dst, packet[:rtcpHeader]...)
		dst = k.aead.Seal(dst, k.nonce(s.ssrc, index), packet[rtcpHeader:], k.associated(packet, word))
		return binary.BigEndian.AppendUint32(dst, word), nil
	}
	dst = append(dst, packet...)
	k.xor(s.ssrc, index, dst[start+rtcpHeader:])
	dst = binary.BigEndian.AppendUint32(dst, word)
	return append(dst, k.authenticateRTCP(dst[start:])...), nil
}

// DecryptRTCP returns the packet that is in a protected one, whose memory it uses, as DecryptRTP does. One that is
// authenticated and not encrypted is taken too, as RFC 3711 section 3.4 lets the sender choose.
func (c *Context) DecryptRTCP(packet []byte) ([]byte, error) {
	k := &c.rtcp
	if len(packet) < rtcpHeader+k.tag+indexLen || packet[0]>>6 != 2 {
		return nil, ErrMalformed
	}
	// The index stands behind the tag with an AEAD (RFC 7714 section 9.2), before it else.
	end := len(packet) - indexLen
	if k.aead == nil {
		end -= k.tag
	}
	word := binary.BigEndian.Uint32(packet[end:])
	index := int64(word &^ encrypted)
	s := c.lookup(rtp.SSRC(binary.BigEndian.Uint32(packet[4:])))
	switch {
	case !c.room(s):
		return nil, ErrStreams
	case !s.rtcp.fresh(index):
		return nil, ErrReplayed
	}
	switch {
	case k.aead == nil:
		if subtle.ConstantTimeCompare(k.authenticateRTCP(packet[:end+indexLen]), packet[end+indexLen:]) != 1 {
			return nil, ErrForged
		}
		if word&encrypted != 0 {
			k.xor(s.ssrc, index, packet[rtcpHeader:end])
		}
	case word&encrypted != 0:
		body := packet[rtcpHeader:end]
		if _, err := k.aead.Open(body[:0], k.nonce(s.ssrc, index), body, k.associated(packet, word)); err != nil {
			return nil, ErrForged
		}
		end -= k.tag
	default: // RFC 7714 section 9.3: all is associated data, the index included, which the tag keeps apart
		end -= k.tag
		tag := append(k.sum[:0], packet[end:end+k.tag]...)
		associated := binary.BigEndian.AppendUint32(packet[:end], word)
		if _, err := k.aead.Open(tag[:0], k.nonce(s.ssrc, index), tag, associated); err != nil {
			return nil, ErrForged
		}
	}
	c.adopt(s)
	s.rtcp.mark(index)
	return packet[:end:end], nil
}

// associated is what of an encrypted packet is not: its header and the word with the index.
func (k *keys) associated(packet []byte, word uint32) []byte {
	copy(k.ad[:], packet[:rtcpHeader])
	binary.BigEndian.PutUint32(k.ad[rtcpHeader:], word)
	return k.ad[:]
}

func (k *keys) authenticateRTCP(b []byte) []byte {
	k.mac.Reset()
	k.mac.Write(b)
	return k.mac.Sum(k.sum[:0])[:k.tag]
}
