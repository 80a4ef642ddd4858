package payload

import "strings"

// H264 is RFC 6184 in the modes that WebRTC uses: single NAL unit (0) and non-interleaved (1). The mode is what is sent; both
// are read.
type H264 struct {
	// Mode is packetization-mode, 0 or 1. In mode 0 a NAL unit must fit into one payload: the encoder has to be told.
	Mode uint8
}

// Types of NAL units (H.264 table 7-1).
const (
	h264Slice     = 1
	h264IDR       = 5
	h264SEI       = 6
	h264SPS       = 7
	h264PPS       = 8
	h264Delimiter = 9

	h264RecoveryPoint = 6 // payloadType of an SEI message (H.264 table D.1)
)

// Types of NAL units (H.265 table 7-1).
const (
	h265TSAN      = 2
	h265STSAR     = 5
	h265BLA       = 16
	h265LastIRAP  = 23
	h265VPS       = 32
	h265SPS       = 33
	h265PPS       = 34
	h265Delimiter = 35
)

func (k nalKind) delimiter(t uint8) bool {
	return k == nalH264 && t == h264Delimiter || k == nalH265 && t == h265Delimiter
}

func (k nalKind) parameterSet(t uint8) bool {
	return k == nalH264 && (t == h264SPS || t == h264PPS) || k == nalH265 && t >= h265VPS && t <= h265PPS
}

// sequence reports whether a parameter set is the one that comes first.
func (k nalKind) sequence(t uint8) bool {
	return k == nalH264 && t == h264SPS || k == nalH265 && t == h265VPS
}

// keyPicture reports whether a slice is of a picture from which decoding can begin.
func (k nalKind) keyPicture(t uint8) bool {
	return k == nalH264 && t == h264IDR || k == nalH265 && t >= h265BLA && t <= h265LastIRAP
}

// Parse looks at the NAL units of a payload. A key frame is one with a slice of an IDR picture, or with a sequence parameter
// set: encoders that refresh bit by bit send one where decoding may begin.
func (H264) Parse(payload []byte) (part Part, err error) {
	p, err := nalH264.open(payload)
	if err != nil {
		return part, err
	}
	if p.fragment() {
		t := nalH264.typeOf(p.header[:])
		part.KeyFrame = t == h264IDR || t == h264SPS
		part.Start = p.start && t == h264SPS
		part.Discardable = isSlice(t) && p.header[0]&0x60 == 0
		return part, nil
	}
	slices, needed := false, false
	for i := 0; ; i++ {
		nal, ok := p.next()
		if !ok {
			break
		}
		t := nalH264.typeOf(nal)
		// H.264 section 7.4.1.2.3: the first of these after a slice is the first of an access unit.
		part.Start = part.Start || i == 0 && (t == h264Delimiter || t == h264SPS)
		part.KeyFrame = part.KeyFrame || t == h264IDR || t == h264SPS
		slices = slices || isSlice(t)
		needed = needed || isSlice(t) && nal[0]&0x60 != 0
	}
	// RFC 6184 section 1.3: of NRI 0 is what "can be discarded without risking the integrity of the reference pictures".
	part.Discardable = slices && !needed
	return part, nil
}

func isSlice(t uint8) bool { return t >= h264Slice && t <= h264IDR }

// AppendFrame joins payloads to an access unit with start codes of four bytes.
func (H264) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	return nalH264.appendFrame(dst, payloads)
}

// KeyFrame reports whether there is a slice of an IDR picture, or a sequence parameter set with a recovery point.
func (H264) KeyFrame(frame []byte) bool {
	set, recovery := false, false
	for nal, rest := NextNAL(frame); nal != nil; nal, rest = NextNAL(rest) {
		switch nalH264.typeOf(nal) {
		case h264IDR:
			return true
		case h264SPS:
			set = true
		case h264SEI:
			recovery = recovery || hasRecoveryPoint(nal[1:])
		}
	}
	return set && recovery
}

// hasRecoveryPoint goes through the messages of an SEI unit (H.264 section 7.3.2.3.1).
func hasRecoveryPoint(b []byte) bool {
	number := func() (v int) {
		for len(b) > 0 {
			c := b[0]
			b, v = b[1:], v+int(c)
			if c != 0xff {
				break
			}
		}
		return v
	}
	for len(b) > 2 { // the trailing bits are one byte
		kind := number()
		size := number()
		if kind == h264RecoveryPoint {
			return true
		}
		b = b[min(size, len(b)):]
	}
	return false
}

// NewPacketizer returns a packetizer for one stream.
func (f H264) NewPacketizer(uint32) Packetizer {
	return &nalPacketizer{kind: nalH264, single: f.Mode == 0}
}

// h264Of returns the format by its parameters.
func h264Of(fmtp string) (Format, bool) {
	switch mode, _ := param(fmtp, "packetization-mode"); mode {
	case "", "0":
		return H264{Mode: 0}, true
	case "1":
		return H264{Mode: 1}, true
	}
	return nil, false // interleaved
}

// param returns a parameter out of a=fmtp.
func param(fmtp, name string) (string, bool) {
	for p := range strings.SplitSeq(fmtp, ";") {
		if k, v, _ := strings.Cut(strings.TrimSpace(p), "="); strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}
