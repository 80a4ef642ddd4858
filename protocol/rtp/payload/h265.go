package payload

// H265 is RFC 7798 as WebRTC uses it: one stream, its NAL units in order of decoding, so that no payload has a DONL field.
type H265 struct{}

// Parse looks at the NAL units of a payload. A key frame is one with a slice of an IRAP picture (H.265 section 3.69) or with a
// video or sequence parameter set.
func (H265) Parse(payload []byte) (part Part, err error) {
	p, err := nalH265.open(payload)
	if err != nil {
		return part, err
	}
	// RFC 7798 section 1.1.4: "The TemporalId of the NAL unit is equal to TID minus 1. A TID value of 0 is illegal".
	tid := payload[1] & 7
	if tid == 0 {
		return part, ErrMalformed
	}
	part.Temporal = tid - 1
	if p.fragment() {
		part.see(nalH265.typeOf(p.header[:]), p.start)
		return part, nil
	}
	first := true
	for nal, ok := p.next(); ok; nal, ok = p.next() {
		part.see(nalH265.typeOf(nal), first)
		first = false
	}
	return part, nil
}

func (part *Part) see(t uint8, first bool) {
	part.KeyFrame = part.KeyFrame || nalH265.keyPicture(t) || t == h265VPS || t == h265SPS
	part.Start = part.Start || first && (t == h265Delimiter || t == h265VPS)
	// TSA and STSA pictures: from here on this layer can be decoded without what was of it before.
	part.Sync = part.Sync || t >= h265TSAN && t <= h265STSAR
}

// AppendFrame joins payloads to an access unit with start codes of four bytes.
func (H265) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	return nalH265.appendFrame(dst, payloads)
}

// KeyFrame reports whether there is a slice of an IRAP picture.
func (H265) KeyFrame(frame []byte) bool {
	for nal, rest := NextNAL(frame); nal != nil; nal, rest = NextNAL(rest) {
		if nalH265.keyPicture(nalH265.typeOf(nal)) {
			return true
		}
	}
	return false
}

// NewPacketizer returns a packetizer for one stream.
func (H265) NewPacketizer(uint32) Packetizer { return &nalPacketizer{kind: nalH265} }
