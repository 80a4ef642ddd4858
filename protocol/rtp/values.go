package rtp

import (
	"encoding/binary"
	"math"
	"time"
)

// The header extensions of WebRTC, as descriptions name them. The values of MID, RID and RRID are text as it is.
const (
	URIMID               = "urn:ietf:params:rtp-hdrext:sdes:mid"                    // RFC 9143 section 15.1
	URIRID               = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"          // RFC 8852
	URIRRID              = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id" // RFC 8852
	URIAudioLevel        = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"            // RFC 6464
	URIMixerAudioLevels  = "urn:ietf:params:rtp-hdrext:csrc-audio-level"            // RFC 6465
	URITransportSequence = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	URIAbsSendTime       = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	URIAbsCaptureTime    = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	URIVideoOrientation  = "urn:3gpp:video-orientation" // 3GPP TS 26.114
	URIPlayoutDelay      = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	URIVideoLayers       = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00"
	URIDependency        = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)

// AudioLevel is how loud a packet's audio is (RFC 6464).
type AudioLevel struct {
	Level uint8 // -dBov: 0 is the loudest, 127 silence
	Voice bool  // the sender takes it for speech
}

// ParseAudioLevel reads a value of URIAudioLevel.
func ParseAudioLevel(b []byte) (l AudioLevel, ok bool) {
	if len(b) < 1 {
		return l, false
	}
	return AudioLevel{b[0] & 0x7f, b[0]&0x80 != 0}, true
}

// Append writes the value.
func (l AudioLevel) Append(dst []byte) []byte {
	v := min(l.Level, 127)
	if l.Voice {
		v |= 0x80
	}
	return append(dst, v)
}

// MixerAudioLevel returns the level, in -dBov, of a packet's contributing source from a value of URIMixerAudioLevels: one
// byte for each source, in the order of the sources (RFC 6465 section 3).
func MixerAudioLevel(b []byte, source int) (level uint8, ok bool) {
	if source < 0 || source >= len(b) {
		return 0, false
	}
	return b[source] & 0x7f, true
}

// ParseTransportSequence reads a value of URITransportSequence: a number that counts all packets of a transport.
func ParseTransportSequence(b []byte) (n uint16, ok bool) {
	if len(b) < 2 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// AppendTransportSequence writes it.
func AppendTransportSequence(dst []byte, n uint16) []byte {
	return binary.BigEndian.AppendUint16(dst, n)
}

// AbsSendTime is when a packet left, by any clock of its sender: 24 bits, 18 of them below the second, so that it comes
// round every 64 seconds.
type AbsSendTime uint32

// AbsSendTimeAt is the AbsSendTime of a point in time, counted from anywhere.
func AbsSendTimeAt(at time.Duration) AbsSendTime {
	seconds, rest := uint64(at/time.Second), uint64(at%time.Second)
	return AbsSendTime((seconds<<18 + (rest<<18+uint64(time.Second/2))/uint64(time.Second)) & 0xffffff)
}

// Since returns how much later t is than earlier, if they are less than 32 seconds apart.
func (t AbsSendTime) Since(earlier AbsSendTime) time.Duration {
	d := int64(int32(uint32(t-earlier)<<8)) >> 8 // the sign of 24 bits
	return time.Duration(d*int64(time.Second)) >> 18
}

// ParseAbsSendTime reads a value of URIAbsSendTime.
func ParseAbsSendTime(b []byte) (t AbsSendTime, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	return AbsSendTime(b[0])<<16 | AbsSendTime(b[1])<<8 | AbsSendTime(b[2]), true
}

// Append writes the value.
func (t AbsSendTime) Append(dst []byte) []byte { return append(dst, byte(t>>16), byte(t>>8), byte(t)) }

// NTP is a time of day as RTP and RTCP have it (RFC 3550 section 4): seconds since 1900 in the upper 32 bits, their
// fraction in the lower. It comes round in 2036; times after that are small numbers.
type NTP uint64

const ntpToUnix = 2208988800 // seconds from 1900 to 1970

// NTPAt is the NTP time of a point in time.
func NTPAt(t time.Time) NTP {
	fraction := (uint64(t.Nanosecond())<<32 + uint64(time.Second/2)) / uint64(time.Second)
	return NTP(uint64(t.Unix()+ntpToUnix)<<32 + fraction)
}

// Time is the point in time, which is taken to lie between 1968 and 2104 (RFC 5905 section 6 calls these eras).
func (n NTP) Time() time.Time {
	seconds := int64(n >> 32)
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-ntpToUnix, int64((uint64(n)&0xffffffff)*uint64(time.Second)>>32)).UTC()
}

// Middle returns the 32 bits in the middle, by which reports name a time.
func (n NTP) Middle() uint32 { return uint32(n >> 16) }

// Add returns the time d later.
func (n NTP) Add(d time.Duration) NTP { return n + NTP(fixed32(d)) }

// fixed32 is a duration in seconds, with 32 bits behind the point.
func fixed32(d time.Duration) int64 {
	return int64(d/time.Second)<<32 + int64(d%time.Second)<<32/int64(time.Second)
}

// AbsCaptureTime is when what a packet carries was captured, by the clock of whoever captured it.
type AbsCaptureTime struct {
	Captured NTP
	// Offset is what has to be added to a time of the capturer to get one of the sender's clock, if HasOffset.
	Offset    time.Duration
	HasOffset bool
}

// ParseAbsCaptureTime reads a value of URIAbsCaptureTime.
func ParseAbsCaptureTime(b []byte) (t AbsCaptureTime, ok bool) {
	if len(b) < 8 {
		return t, false
	}
	t.Captured = NTP(binary.BigEndian.Uint64(b))
	if len(b) >= 16 {
		v := int64(binary.BigEndian.Uint64(b[8:]))
		seconds := v >> 32
		if seconds > math.MaxInt64/int64(time.Second)-1 || seconds < math.MinInt64/int64(time.Second)+1 {
			return t, false
		}
		t.Offset = time.Duration(seconds)*time.Second + time.Duration((v&0xffffffff)*int64(time.Second)>>32)
		t.HasOffset = true
	}
	return t, true
}

// Append writes the value: of 16 bytes with an offset, else of 8.
func (t AbsCaptureTime) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Captured))
	if t.HasOffset {
		dst = binary.BigEndian.AppendUint64(dst, uint64(fixed32(t.Offset)))
	}
	return dst
}

// VideoOrientation is how a picture is to be turned before it is shown (3GPP TS 26.114 section 7.4.5).
type VideoOrientation struct {
	Rotation int  // clockwise: 0, 90, 180 or 270
	Flip     bool // mirrored left to right, before it is turned
	Back     bool // the camera looks away from the user
}

// ParseVideoOrientation reads a value of URIVideoOrientation.
func ParseVideoOrientation(b []byte) (o VideoOrientation, ok bool) {
	if len(b) < 1 {
		return o, false
	}
	return VideoOrientation{Rotation: 90 * int(b[0]&3), Flip: b[0]&4 != 0, Back: b[0]&8 != 0}, true
}

// Append writes the value. A rotation that is no multiple of 90 is rounded down to one.
func (o VideoOrientation) Append(dst []byte) []byte {
	v := byte(o.Rotation / 90 & 3)
	if o.Flip {
		v |= 4
	}
	if o.Back {
		v |= 8
	}
	return append(dst, v)
}

// PlayoutDelay bounds how long a receiver should wait before it shows a picture: 0 to 40.95 s, in steps of 10 ms. Both zero:
// as soon as possible.
type PlayoutDelay struct{ Min, Max time.Duration }

const playoutStep = 10 * time.Millisecond

// ParsePlayoutDelay reads a value of URIPlayoutDelay.
func ParsePlayoutDelay(b []byte) (d PlayoutDelay, ok bool) {
	if len(b) < 3 {
		return d, false
	}
	v := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	d = PlayoutDelay{time.Duration(v>>12) * playoutStep, time.Duration(v&0xfff) * playoutStep}
	return d, d.Min <= d.Max
}

// Append writes the value, each bound rounded down and limited to what there is room for.
func (d PlayoutDelay) Append(dst []byte) []byte {
	step := func(d time.Duration) uint32 { return uint32(min(max(d/playoutStep, 0), 0xfff)) }
	v := step(d.Min)<<12 | step(d.Max)
	return append(dst, byte(v>>16), byte(v>>8), byte(v))
}
