// Package srtp protects RTP and RTCP (RFC 3711) by AES-GCM (RFC 7714) and by AES in counter mode with HMAC-SHA1, with the
// keys that DTLS has agreed on (RFC 5764).
//
// A [Context] is one direction of one transport, with every SSRC on it:
//
//	keys, peers, err := conn.SRTPKeys()                      // of package dtls
//	out, err := srtp.New(srtp.Config{Profile: p, Master: keys})
//	in, err := srtp.New(srtp.Config{Profile: p, Master: peers})
//	buf, err = out.AppendRTP(buf[:0], packet)                // or AppendRTP(packet[:0], packet), in place
//	packet, err = in.DecryptRTP(datagram)                    // in place
//
// # Scope
//
// In: the three profiles of WebRTC and AES128_CM_HMAC_SHA1_32; encrypted header extensions (RFC 6904); replay protection
// for RTP and RTCP of every SSRC, retransmissions and repair included. Out: master key identifiers, key derivation rates,
// AES-f8, NULL ciphers, cryptex (RFC 9335).
//
// # Rollover
//
// The upper bits of a packet's index are not on the wire. Both sides estimate them as the number that puts the packet next
// to the newest one (RFC 3711 section 3.3.1), and keep what they know of an SSRC as long as the Context lives: so loss and
// reordering of up to 32,768 packets in a row do no harm, nor does an SSRC that is silent, or used again by another track,
// as long as its sequence numbers go on. A sender that begins an SSRC should choose its first sequence number below
// 32,768, as a receiver that misses the first packets could not know of a rollover among them.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"errors"
	"fmt"
	"hash"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// Profile is a protection profile of DTLS-SRTP (RFC 5764 section 4.1.2, RFC 7714 section 14.2): the number that dtls.SRTPProfile
// has, too.
type Profile uint16

const (
	AES128_CM_HMAC_SHA1_80 Profile = 0x0001
	AES128_CM_HMAC_SHA1_32 Profile = 0x0002 // a tag of 4 bytes on RTP, of 10 on RTCP
	AEAD_AES_128_GCM       Profile = 0x0007
	AEAD_AES_256_GCM       Profile = 0x0008
)

// A suite is what a profile stands for; lengths in bytes.
type suite struct {
	name            string
	key, salt       int
	rtpTag, rtcpTag int
	auth            int // key of HMAC-SHA1; 0 with an AEAD
}

func (p Profile) suite() suite {
	switch p {
	case AES128_CM_HMAC_SHA1_80:
		return suite{"AES128_CM_HMAC_SHA1_80", 16, 14, 10, 10, 20}
	case AES128_CM_HMAC_SHA1_32:
		return suite{"AES128_CM_HMAC_SHA1_32", 16, 14, 4, 10, 20} // RFC 5764 section 4.1.2: "uses an 80-bit tag for SRTCP"
	case AEAD_AES_128_GCM:
		return suite{"AEAD_AES_128_GCM", 16, 12, 16, 16, 0}
	case AEAD_AES_256_GCM:
		return suite{"AEAD_AES_256_GCM", 32, 12, 16, 16, 0}
	}
	return suite{}
}

// KeyLen and SaltLen are the lengths, in bytes, of the profile's master key and master salt; 0 for a profile unknown.
func (p Profile) KeyLen() int  { return p.suite().key }
func (p Profile) SaltLen() int { return p.suite().salt }

// String returns the profile's name, without "SRTP_".
func (p Profile) String() string {
	if s := p.suite(); s.key > 0 {
		return s.name
	}
	return fmt.Sprintf("SRTP profile %#04x", uint16(p))
}

// DefaultMaxStreams bounds the SSRCs of a Context, each of which costs some 350 bytes. They are never forgotten, as what they have sent
// could be replayed then; and a peer that forwards the media of a room has some for everybody who ever was in it.
const DefaultMaxStreams = 4096

// Config says how to make a Context.
type Config struct {
	Profile Profile
	// Master is the master key followed by the master salt, as dtls.Conn.SRTPKeys gives them.
	Master []byte
	// EncryptedExtensions are the identifiers of header extensions that are encrypted (RFC 6904).
	EncryptedExtensions []uint8
	// MaxStreams bounds the SSRCs. 0: DefaultMaxStreams.
	MaxStreams int
}

// Validate says what is wrong with the Config. New calls it.
func (c *Config) Validate() error {
	s := c.Profile.suite()
	switch {
	case s.key == 0:
		return fmt.Errorf("srtp: Config.Profile: %v is not known here", c.Profile)
	case len(c.Master) != s.key+s.salt:
		return fmt.Errorf("srtp: Config.Master has %d bytes: %v needs a key of %d and a salt of %d", len(c.Master), c.Profile, s.key, s.salt)
	case c.MaxStreams < 0:
		return errors.New("srtp: Config.MaxStreams is negative")
	}
	return nil
}

// Why a packet is not protected, or not believed. None of it changes the Context.
var (
	ErrMalformed = errors.New("srtp: too short, or not RTP or RTCP")
	ErrReplayed  = errors.New("srtp: a packet that was here before, or is too old to know")
	ErrForged    = errors.New("srtp: the packet is not authentic")
	ErrStreams   = errors.New("srtp: too many SSRCs")
	ErrReused    = errors.New("srtp: this SSRC has sent this sequence number before, or is far beyond it")
	ErrExpired   = errors.New("srtp: the keys have protected as many packets as they may")
)

const (
	maxIndex     = 1<<48 - 1 // RFC 3711 section 9.2: "the maximum key lifetime"
	maxRTCPIndex = 1<<31 - 1
	rtcpHeader   = 8
	indexLen     = 4 // of SRTCP: the flag E, and 31 bits
)

// A Context protects, or unprotects, what goes in one direction. It must not do both, as the keys differ. It is not safe for
// concurrent use.
type Context struct {
	rtp, rtcp  keys
	extensions headerKeys
	streams    map[rtp.SSRC]*stream
	recent     *stream
	candidate  *stream // for an SSRC that has not been authenticated
	maxStreams int
}

// A stream is what is known of an SSRC.
type stream struct {
	ssrc      rtp.SSRC
	rtp, rtcp window
	sent      int64 // SRTCP packets
}

// keys are those of RTP, or of RTCP.
type keys struct {
	aead cipher.AEAD // or nil, and these two:
	ctr  cipher.Block
	mac  hash.Hash
	tag  int
	salt [14]byte

	// Scratch that escapes into interfaces, and so lies here.
	iv  [aes.BlockSize]byte
	sum [sha1.Size]byte
	ad  [12]byte
}

// New returns a Context for one direction.
func New(cfg Config) (*Context, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := cfg.Profile.suite()
	c := &Context{streams: map[rtp.SSRC]*stream{}, candidate: new(stream), maxStreams: cfg.MaxStreams}
	if c.maxStreams == 0 {
		c.maxStreams = DefaultMaxStreams
	}
	master, err := aes.NewCipher(cfg.Master[:s.key])
	if err != nil {
		return nil, err
	}
	k := derivation{block: master}
	copy(k.salt[:], cfg.Master[s.key:])
	if err := c.rtp.set(s, s.rtpTag, &k, labelRTPKey); err != nil {
		return nil, err
	}
	if err := c.rtcp.set(s, s.rtcpTag, &k, labelRTCPKey); err != nil {
		return nil, err
	}
	if len(cfg.EncryptedExtensions) > 0 {
		return c, c.extensions.set(s, &k, cfg.EncryptedExtensions)
	}
	return c, nil
}

// set derives the keys whose first label is given.
func (k *keys) set(s suite, tag int, d *derivation, label byte) error {
	return k.install(s, tag, d.derive(label, s.key), d.derive(label+1, s.auth), d.derive(label+2, s.salt))
}

// install takes session keys into use.
func (k *keys) install(s suite, tag int, key, auth, salt []byte) (err error) {
	k.tag = tag
	copy(k.salt[:], salt)
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if s.auth == 0 {
		k.aead, err = cipher.NewGCM(block)
		return err
	}
	k.ctr, k.mac = block, hmac.New(sha1.New, auth)
	return nil
}

// RTPOverhead and RTCPOverhead return how many bytes AppendRTP and AppendRTCP add.
func (c *Context) RTPOverhead() int  { return c.rtp.tag }
func (c *Context) RTCPOverhead() int { return c.rtcp.tag + indexLen }

// lookup returns what is known of an SSRC; for one that is new it is not kept until adopt is called.
func (c *Context) lookup(ssrc rtp.SSRC) *stream {
	if c.recent != nil && c.recent.ssrc == ssrc {
		return c.recent
	}
	s := c.streams[ssrc]
	if s == nil {
		*c.candidate = stream{ssrc: ssrc}
		return c.candidate
	}
	c.recent = s
	return s
}

// room reports whether s is known, or may become so.
func (c *Context) room(s *stream) bool { return s != c.candidate || len(c.streams) < c.maxStreams }

// adopt keeps a stream that has proved to be one.
func (c *Context) adopt(s *stream) {
	if s == c.candidate {
		c.streams[s.ssrc] = s
		c.recent, c.candidate = s, new(stream)
	}
}
