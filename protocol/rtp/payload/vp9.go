package payload

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/wire"
)

// VP9 is RFC 9628. Payloads that it makes have a picture id of 15 bits and the layer's indices. They are in the non-flexible
// mode, where a scalability structure with each key picture tells what pictures refer to, unless Frame.Diffs says so of
// each. With a [Mode] of several temporal layers the frames must keep to its pattern in the non-flexible mode: none may be left
// out.
type VP9 struct{}

// Bits of the payload descriptor (RFC 9628 section 4.2).
const (
	vp9PictureID  = 0x80 // I
	vp9Predicted  = 0x40 // P
	vp9Layers     = 0x20 // L
	vp9Flexible   = 0x10 // F
	vp9Start      = 0x08 // B
	vp9End        = 0x04 // E
	vp9Structure  = 0x02 // V
	vp9NotForUp   = 0x01 // Z
	vp9SwitchUp   = 0x10 // U, of the layer indices
	vp9InterLayer = 0x01 // D
	vp9MoreDiffs  = 0x01 // N, of P_DIFF
	vp9Sizes      = 0x10 // Y, of the scalability structure
	vp9Group      = 0x08 // G

	vp9MaxDiffs = 3
	vp9MaxDiff  = 127
)

// vp9Fields are where in a payload its parts begin; 0: it has no such one.
type vp9Fields struct{ pictureID, layers, tl0PicIdx, structure, data int }

func vp9FieldsOf(b []byte) (f vp9Fields, err error) {
	if len(b) == 0 {
		return f, ErrEmpty
	}
	first, at := b[0], 1
	if first&vp9PictureID == 0 { // then flexible mode, which needs it, is to be ignored
		first &^= vp9Flexible
	}
	if first&vp9PictureID != 0 {
		f.pictureID = at
		if at < len(b) && b[at]&vp8LongID != 0 {
			at++
		}
		at++
	}
	if first&vp9Layers != 0 {
		f.layers = at
		at++
		if first&vp9Flexible == 0 {
			f.tl0PicIdx = at
			at++
		}
	}
	if first&(vp9Predicted|vp9Flexible) == vp9Predicted|vp9Flexible {
		for n := 1; ; n++ {
			if at >= len(b) || n > vp9MaxDiffs {
				return f, ErrMalformed
			}
			at++
			if b[at-1]&vp9MoreDiffs == 0 {
				break
			}
		}
	}
	if first&vp9Structure != 0 {
		f.structure = at
		if at, err = vp9StructureEnd(b, at); err != nil {
			return f, err
		}
	}
	if at >= len(b) {
		return f, ErrMalformed
	}
	f.data = at
	return f, nil
}

// vp9StructureEnd passes over a scalability structure (RFC 9628 section 4.2.1).
func vp9StructureEnd(b []byte, at int) (int, error) {
	if at >= len(b) {
		return 0, ErrMalformed
	}
	head := b[at]
	at++
	if head&vp9Sizes != 0 {
		at += 4 * (int(head>>5) + 1)
	}
	if head&vp9Group != 0 {
		if at >= len(b) {
			return 0, ErrMalformed
		}
		pictures := b[at]
		at++
		for range pictures {
			if at >= len(b) {
				return 0, ErrMalformed
			}
			at += 1 + int(b[at]>>2&3)
		}
	}
	return at, nil
}

// Parse reads a payload descriptor.
func (VP9) Parse(payload []byte) (p Part, err error) {
	f, err := vp9FieldsOf(payload)
	if err != nil {
		return p, err
	}
	first := payload[0]
	p.Start, p.End = first&vp9Start != 0, first&vp9End != 0
	if f.pictureID > 0 {
		p.PictureID, p.PictureIDBits = pictureID(payload[f.pictureID:])
	}
	if f.layers > 0 {
		l := payload[f.layers]
		p.Temporal, p.Spatial = l>>5, l>>1&7
		p.Sync, p.InterLayer = l&vp9SwitchUp != 0, l&vp9InterLayer != 0
	}
	if f.tl0PicIdx > 0 {
		p.TL0PicIdx, p.HasTL0PicIdx = payload[f.tl0PicIdx], true
	}
	// A key picture is one whose base spatial layer is a key frame: decoding may begin with it, and nothing in it is predicted from
	// other pictures.
	p.KeyFrame = first&vp9Predicted == 0 && p.Spatial == 0
	if f.pictureID == 0 && p.KeyFrame { // who counts no pictures, like ffmpeg, tells nothing of prediction either
		p.KeyFrame = p.Start && VP9{}.KeyFrame(payload[f.data:])
	}
	return p, nil
}

// maxSuperframe is how many frames a superframe has at most (VP9 bitstream specification, annex B.3).
const maxSuperframe = 8

// AppendFrame joins the payloads of a picture. If they are several frames, of one spatial layer each, they become a superframe.
func (VP9) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	var ends [maxSuperframe]int
	layers, begin, open := 0, len(dst), false
	for _, b := range payloads {
		f, err := vp9FieldsOf(b)
		if err != nil {
			return dst, err
		}
		if open == (b[0]&vp9Start != 0) || layers == maxSuperframe {
			return dst, ErrIncomplete
		}
		dst = append(dst, b[f.data:]...)
		if open = b[0]&vp9End == 0; !open {
			ends[layers] = len(dst)
			layers++
		}
	}
	if open || layers == 0 {
		return dst, ErrIncomplete
	}
	if layers == 1 {
		return dst, nil
	}
	return joinVP9(dst, begin, ends[:layers])
}

// joinVP9 makes a superframe of the layers at the end of b. A layer may be a superframe itself, and they do not nest: its frames are
// taken out of it.
func joinVP9(b []byte, begin int, ends []int) ([]byte, error) {
	var room [maxSuperframe]uint32
	sizes, to := room[:0], begin
	for _, end := range ends {
		inner, n := vp9Superframe(b[begin:end])
		if len(sizes)+n > maxSuperframe {
			return b, ErrUnsupported
		}
		sizes = append(sizes, inner[:n]...)
		for _, size := range inner[:n] {
			to += copy(b[to:], b[begin:begin+int(size)])
			begin += int(size)
		}
		begin = end
	}
	marker := byte(0xc0 | 3<<3 | (len(sizes) - 1)) // sizes of four bytes
	b = append(b[:to], marker)
	for _, size := range sizes {
		b = binary.LittleEndian.AppendUint32(b, size)
	}
	return append(b, marker), nil
}

// vp9Superframe returns the sizes of the frames in a chunk: by the index at its end, or that of all of it if it has none (VP9 bitstream
// specification, annex B).
func vp9Superframe(chunk []byte) (sizes [maxSuperframe]uint32, n int) {
	whole := [maxSuperframe]uint32{uint32(len(chunk))}
	if len(chunk) == 0 {
		return whole, 1
	}
	marker := chunk[len(chunk)-1]
	n, width := int(marker&7)+1, int(marker>>3&3)+1
	at := len(chunk) - 2 - n*width
	if marker>>5 != 6 || at < 0 || chunk[at] != marker {
		return whole, 1
	}
	sum := uint64(0)
	for i := range n {
		for j := range width {
			sizes[i] |= uint32(chunk[at+1+i*width+j]) << (8 * j)
		}
		sum += uint64(sizes[i])
	}
	if sum != uint64(at) {
		return whole, 1
	}
	return sizes, n
}

// KeyFrame reads the uncompressed header (VP9 bitstream specification, section 6.2).
func (VP9) KeyFrame(frame []byte) bool {
	_, _, key := vp9Header(frame)
	return key
}

// vp9Header tells whether a frame is a key frame, and its size; 0 if that cannot be read.
func vp9Header(frame []byte) (width, height int, key bool) {
	r := wire.NewBitReader(frame)
	if r.Bits(2) != 2 { // frame_marker
		return 0, 0, false
	}
	profile := r.Bits(1) | r.Bits(1)<<1
	if profile == 3 {
		r.Bits(1)
	}
	existing, inter := r.Flag(), r.Flag() // show_existing_frame, frame_type
	if existing || inter || !r.OK() {
		return 0, 0, false
	}
	r.Bits(2)
	if r.Bits(24) != 0x498342 { // frame_sync_code
		return 0, 0, true
	}
	if profile >= 2 {
		r.Bits(1) // ten_or_twelve_bit
	}
	const sRGB = 7
	if r.Bits(3) != sRGB {
		r.Bits(1)
		if profile&1 != 0 {
			r.Bits(3)
		}
	} else if profile&1 != 0 {
		r.Bits(1)
	}
	width, height = int(r.Bits(16))+1, int(r.Bits(16))+1
	if !r.OK() {
		return 0, 0, true
	}
	return width, height, true
}

// NewPacketizer returns a packetizer for one stream.
func (VP9) NewPacketizer(seed uint32) Packetizer {
	return &vp9Packetizer{pictureID: uint16(seed-1) & maxPictureID, tl0PicIdx: uint8(seed >> 16)}
}

// RewriteVP9 gives a payload another picture id and another index of temporal layer 0, in place, where it has such; of an id of
// seven bits the lower ones.
func RewriteVP9(payload []byte, id uint16, tl0PicIdx uint8) error {
	f, err := vp9FieldsOf(payload)
	if err != nil {
		return err
	}
	putIndices(payload, f.pictureID, f.tl0PicIdx, id, tl0PicIdx)
	return nil
}

type vp9Packetizer struct {
	pictureID uint16
	tl0PicIdx uint8
	within    bool // the last frame was not the last one of its picture
	key       bool // the picture is a key picture
	head      [5 + vp9MaxDiffs]byte
	headLen   int
	structure []byte // of the first payload
	data      []byte
	split     splitter
}

func (p *vp9Packetizer) Begin(f *Frame, limit Limit) (err error) {
	p.data = nil
	m, ok := modeOf(f)
	if !ok || len(f.Diffs) > vp9MaxDiffs {
		return ErrUnsupported
	}
	if len(f.Data) == 0 {
		return ErrEmpty
	}
	width, height, key := vp9Header(f.Data)
	if f.Diffs != nil {
		key = len(f.Diffs) == 0
	}
	if p.within && m.prediction != predictNever { // what is above a key frame is a part of the key picture
		key = p.key
	}
	flexible := f.Diffs != nil
	p.structure = p.structure[:0]
	if key && !m.interLayer(f.Spatial, key) && !flexible { // in the first packet of every key frame, if the pattern is fixed
		p.structure = m.appendVP9(p.structure, width, height)
	}
	p.headLen = 5
	if flexible {
		p.headLen = 4 + len(f.Diffs)
	}
	limit.First += len(p.structure)
	if p.split, err = split(len(f.Data), p.headLen, limit); err != nil {
		return err
	}
	p.data, p.key = f.Data, key
	if !p.within {
		p.pictureID = (p.pictureID + 1) & maxPictureID
		if f.Temporal == 0 {
			p.tl0PicIdx++
		}
	}
	p.within = f.More
	p.describe(f, m, flexible)
	return nil
}

// describe writes the descriptor of a frame's payloads.
func (p *vp9Packetizer) describe(f *Frame, m *Mode, flexible bool) {
	h := &p.head
	h[0] = vp9PictureID | vp9Layers | vp9Start
	if !p.key {
		h[0] |= vp9Predicted
	}
	// Z says that frames of the spatial layer above do not depend on this one.
	if f.Spatial == m.Spatial-1 || !m.interLayer(f.Spatial+1, p.key) {
		h[0] |= vp9NotForUp
	}
	h[1], h[2] = vp8LongID|byte(p.pictureID>>8), byte(p.pictureID)
	h[3] = f.Temporal<<5 | f.Spatial<<1
	if m.Temporal > 1 { // in no mode a frame is predicted from one of a higher layer, or of the same but over one of a lower layer
		h[3] |= vp9SwitchUp
	}
	if m.interLayer(f.Spatial, p.key) {
		h[3] |= vp9InterLayer
	}
	if !flexible {
		h[4] = p.tl0PicIdx
		return
	}
	h[0] |= vp9Flexible
	for i, diff := range f.Diffs {
		h[4+i] = min(diff, vp9MaxDiff) << 1
		if i < len(f.Diffs)-1 {
			h[4+i] |= vp9MoreDiffs
		}
	}
}

func (p *vp9Packetizer) Append(dst []byte) ([]byte, bool) {
	if len(p.data) == 0 {
		return dst, false
	}
	n := p.split.next()
	if n == len(p.data) {
		p.head[0] |= vp9End
	}
	first := len(dst)
	dst = append(dst, p.head[:p.headLen]...)
	if len(p.structure) > 0 {
		dst[first] |= vp9Structure
		dst = append(dst, p.structure...)
		p.structure = p.structure[:0]
	}
	dst = append(dst, p.data[:n]...)
	p.head[0] &^= vp9Start
	p.data = p.data[n:]
	return dst, len(p.data) > 0
}

// appendVP9 writes the mode as a scalability structure (RFC 9628 section 4.2.1). The sizes of the layers are told where there is
// one only, and its size is known.
func (m *Mode) appendVP9(b []byte, width, height int) []byte {
	head := (m.Spatial-1)<<5 | vp9Group
	sized := m.Spatial == 1 && width > 0
	if sized {
		head |= vp9Sizes
	}
	b = append(b, head)
	if sized {
		b = binary.BigEndian.AppendUint16(b, uint16(min(width, 1<<16-1)))
		b = binary.BigEndian.AppendUint16(b, uint16(min(height, 1<<16-1)))
	}
	pattern := m.pattern()
	b = append(b, byte(len(pattern)))
	for i, temporal := range pattern {
		var up byte
		if m.Temporal > 1 {
			up = vp9SwitchUp
		}
		b = append(b, temporal<<5|up|1<<2, byte(m.diff(pattern, i)))
	}
	return b
}

// diff is how many pictures before the one at i that is which it is predicted from: the last one of layer 0 of a picture of
// layer 0, else the last one of a lower layer.
func (m *Mode) diff(pattern []uint8, i int) int {
	for d := 1; d < len(pattern); d++ {
		before := pattern[(i-d+len(pattern))%len(pattern)]
		if before < pattern[i] || before == 0 {
			return d
		}
	}
	return len(pattern)
}
