package payload

// VP8 is RFC 7741. Payloads that it makes have a picture id of 15 bits and, if the stream has temporal layers, the layer's
// index with that of layer 0; they pay no attention to partitions (section 4.4).
type VP8 struct{}

// Bits of the payload descriptor (RFC 7741 section 4.2).
const (
	vp8Extended    = 0x80 // X, first octet
	vp8NonRef      = 0x20 // N
	vp8Start       = 0x10 // S
	vp8Partition   = 0x07 // PID
	vp8PictureID   = 0x80 // I, second octet
	vp8TL0PicIdx   = 0x40 // L
	vp8TID         = 0x20 // T
	vp8KeyIdx      = 0x10 // K
	vp8LongID      = 0x80 // M
	vp8Sync        = 0x20 // Y
	vp8MaxTemporal = 4
)

// vp8Fields are where in a payload its parts begin; 0: it has no such one.
type vp8Fields struct{ pictureID, tl0PicIdx, tid, data int }

func vp8FieldsOf(b []byte) (f vp8Fields, err error) {
	if len(b) == 0 {
		return f, ErrEmpty
	}
	at := 1
	if b[0]&vp8Extended != 0 {
		if len(b) < 2 {
			return f, ErrMalformed
		}
		x := b[1]
		at++
		if x&vp8PictureID != 0 {
			f.pictureID = at
			if at < len(b) && b[at]&vp8LongID != 0 {
				at++
			}
			at++
		}
		if x&vp8TL0PicIdx != 0 {
			f.tl0PicIdx = at
			at++
		}
		if x&(vp8TID|vp8KeyIdx) != 0 {
			if x&vp8TID != 0 {
				f.tid = at
			}
			at++
		}
	}
	if at >= len(b) { // also where no data follow: a packet carries some of a frame
		return f, ErrMalformed
	}
	f.data = at
	return f, nil
}

// Parse reads a payload descriptor.
func (VP8) Parse(payload []byte) (p Part, err error) {
	f, err := vp8FieldsOf(payload)
	if err != nil {
		return p, err
	}
	p.Start = payload[0]&vp8Start != 0 && payload[0]&vp8Partition == 0
	// RFC 7741 section 4.3: "P: Inverse key frame flag. When set to 0, the current frame is a key frame."
	p.KeyFrame = p.Start && payload[f.data]&1 == 0
	p.Discardable = payload[0]&vp8NonRef != 0
	if f.pictureID > 0 {
		p.PictureID, p.PictureIDBits = pictureID(payload[f.pictureID:])
	}
	if f.tl0PicIdx > 0 {
		p.TL0PicIdx, p.HasTL0PicIdx = payload[f.tl0PicIdx], true
	}
	if f.tid > 0 {
		p.Temporal, p.Sync = payload[f.tid]>>6, payload[f.tid]&vp8Sync != 0
	}
	return p, nil
}

// AppendFrame joins the payloads of a frame.
func (VP8) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	for i, b := range payloads {
		f, err := vp8FieldsOf(b)
		if err != nil {
			return dst, err
		}
		if start := b[0]&vp8Start != 0 && b[0]&vp8Partition == 0; start != (i == 0) {
			return dst, ErrIncomplete
		}
		dst = append(dst, b[f.data:]...)
	}
	if len(payloads) == 0 {
		return dst, ErrIncomplete
	}
	return dst, nil
}

// KeyFrame reads the frame tag (RFC 6386 section 9.1).
func (VP8) KeyFrame(frame []byte) bool { return len(frame) > 0 && frame[0]&1 == 0 }

// NewPacketizer returns a packetizer for one stream.
func (VP8) NewPacketizer(seed uint32) Packetizer {
	return &vp8Packetizer{pictureID: uint16(seed) & maxPictureID, tl0PicIdx: uint8(seed >> 16)}
}

// maxPictureID is of 15 bits; then it wraps to 0.
const maxPictureID = 1<<15 - 1

// pictureID reads an id of one or two bytes, which are there.
func pictureID(b []byte) (id uint16, bits uint8) {
	if b[0]&vp8LongID == 0 {
		return uint16(b[0]), 7
	}
	return uint16(b[0]&0x7f)<<8 | uint16(b[1]), 15
}

// putPictureID overwrites an id by another of the same length.
func putPictureID(b []byte, id uint16) {
	if b[0]&vp8LongID == 0 {
		b[0] = byte(id) & 0x7f
		return
	}
	b[0], b[1] = vp8LongID|byte(id>>8), byte(id)
}

// putIndices overwrites the picture id and the index of temporal layer 0 at their places, which are 0 where there is none.
func putIndices(payload []byte, idAt, tl0At int, id uint16, tl0PicIdx uint8) {
	if idAt > 0 {
		putPictureID(payload[idAt:], id)
	}
	if tl0At > 0 {
		payload[tl0At] = tl0PicIdx
	}
}

// RewriteVP8 gives a payload another picture id and another index of temporal layer 0, in place, where it has such; of an id of
// seven bits the lower ones. It is for who splices streams together, where both must go on (RFC 7741 section 4.2).
func RewriteVP8(payload []byte, id uint16, tl0PicIdx uint8) error {
	f, err := vp8FieldsOf(payload)
	if err != nil {
		return err
	}
	putIndices(payload, f.pictureID, f.tl0PicIdx, id, tl0PicIdx)
	return nil
}

type vp8Packetizer struct {
	pictureID uint16
	tl0PicIdx uint8
	middle    bool // a frame of layer 1 came since the last one of layer 0: a later one of layer 2 builds upon it
	head      [6]byte
	headLen   int
	data      []byte
	split     splitter
}

func (p *vp8Packetizer) Begin(f *Frame, limit Limit) (err error) {
	p.data = nil
	m, ok := modeOf(f)
	if !ok || m.Spatial > 1 || m.Temporal > vp8MaxTemporal {
		return ErrUnsupported
	}
	p.headLen = 4
	if m.Temporal > 1 {
		p.headLen = 6
	}
	if p.split, err = split(len(f.Data), p.headLen, limit); err != nil {
		return err
	}
	p.data = f.Data
	p.head[0] = vp8Extended | vp8Start
	if m.discardable(f.Temporal) {
		p.head[0] |= vp8NonRef
	}
	p.head[1] = vp8PictureID
	p.head[2], p.head[3] = vp8LongID|byte(p.pictureID>>8), byte(p.pictureID)
	p.pictureID = (p.pictureID + 1) & maxPictureID
	if m.Temporal == 1 {
		return nil
	}
	p.head[1] |= vp8TL0PicIdx | vp8TID
	if f.Temporal == 0 { // "TL0PICIDX MUST be incremented when TID is 0"
		p.tl0PicIdx++
	}
	p.head[4], p.head[5] = p.tl0PicIdx, f.Temporal<<6
	// "The Y bit SHOULD be set to 1 if the current frame depends only on the base layer (TID = 0) frame with TL0PICIDX equal to
	// that of the current frame."
	if f.Temporal == 1 || f.Temporal == 2 && !p.middle {
		p.head[5] |= vp8Sync
	}
	p.middle = f.Temporal == 1 || f.Temporal == 2 && p.middle
	return nil
}

func (p *vp8Packetizer) Append(dst []byte) ([]byte, bool) {
	if len(p.data) == 0 {
		return dst, false
	}
	n := p.split.next()
	dst = append(dst, p.head[:p.headLen]...)
	dst = append(dst, p.data[:n]...)
	p.head[0] &^= vp8Start
	p.data = p.data[n:]
	return dst, len(p.data) > 0
}
