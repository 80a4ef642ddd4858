package payload

import (
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/wire"
)

// PictureSize returns the size in pixels of the pictures of a stream, if a payload tells of it: one with the first bytes of a key frame, or
// with what the codec has before it. With several spatial layers it is that of the highest that is told. It looks at a few bytes of all
// others.
func PictureSize(f Format, payload []byte) (width, height int, ok bool) {
	switch f := f.(type) {
	case VP8:
		width, height = f.size(payload)
	case VP9:
		width, height = f.size(payload)
	case H264:
		width, height = nalH264.size(payload)
	case H265:
		width, height = nalH265.size(payload)
	case AV1:
		width, height = f.size(payload)
	}
	return width, height, width > 0 && height > 0
}

// size reads a key frame's header (RFC 6386 section 9.1).
func (VP8) size(payload []byte) (width, height int) {
	f, err := vp8FieldsOf(payload)
	if err != nil || payload[0]&vp8Start == 0 || payload[0]&vp8Partition != 0 {
		return 0, 0
	}
	b := payload[f.data:]
	if len(b) < 10 || b[0]&1 != 0 || [3]byte(b[3:6]) != [...]byte{0x9d, 0x01, 0x2a} {
		return 0, 0
	}
	const scale = 0xc000
	return int(binary.LittleEndian.Uint16(b[6:]) &^ scale), int(binary.LittleEndian.Uint16(b[8:]) &^ scale)
}

// size reads the scalability structure (RFC 9628 section 4.2.1), or else the frame's header.
func (VP9) size(payload []byte) (width, height int) {
	f, err := vp9FieldsOf(payload)
	if err != nil || payload[0]&(vp9Start|vp9Predicted) != vp9Start {
		return 0, 0
	}
	if f.structure > 0 && payload[f.structure]&vp9Sizes != 0 {
		b := payload[f.structure+1+4*int(payload[f.structure]>>5):]
		return int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
	}
	width, height, _ = vp9Header(payload[f.data:])
	return width, height
}

// size reads the sequence header OBU (AV1 bitstream specification, section 5.5.1).
func (AV1) size(payload []byte) (width, height int) {
	e, err := openAV1(payload)
	if err != nil || payload[0]&av1New == 0 {
		return 0, 0
	}
	for b, ok, err := e.next(); ok && err == nil; b, ok, err = e.next() {
		if o, _, ok := nextOBU(b); ok && o.kind() == obuSequence {
			return av1Size(o.body)
		}
	}
	return 0, 0
}

func av1Size(sequence []byte) (width, height int) {
	r := wire.NewBitReader(sequence)
	r.Bits(4)     // seq_profile, still_picture
	if r.Flag() { // reduced_still_picture_header
		r.Bits(5) // seq_level_idx
	} else {
		model, delay := false, 0
		if r.Flag() { // timing_info_present_flag
			r.Bits(32)
			r.Bits(32)
			if r.Flag() { // equal_picture_interval
				golomb(&r)
			}
			if model = r.Flag(); model {
				delay = int(r.Bits(5)) + 1
				r.Bits(32)
				r.Bits(10)
			}
		}
		display := r.Flag()       // initial_display_delay_present_flag
		for range r.Bits(5) + 1 { // operating points
			r.Bits(12)
			const tiers = 7
			if r.Bits(5) > tiers {
				r.Bits(1)
			}
			if model && r.Flag() {
				r.Bits(delay)
				r.Bits(delay)
				r.Bits(1)
			}
			if display && r.Flag() {
				r.Bits(4)
			}
		}
	}
	w, h := int(r.Bits(4))+1, int(r.Bits(4))+1
	width, height = int(r.Bits(w))+1, int(r.Bits(h))+1
	if !r.OK() {
		return 0, 0
	}
	return width, height
}

// size reads a sequence parameter set, if there is one.
func (k nalKind) size(payload []byte) (width, height int) {
	if len(payload) == 0 || k.typeOf(payload) == k.fragmentation() {
		return 0, 0
	}
	p, err := k.open(payload)
	if err != nil {
		return 0, 0
	}
	for nal, ok := p.next(); ok; nal, ok = p.next() {
		set := uint8(h264SPS)
		if k == nalH265 {
			set = h265SPS
		}
		if len(nal) <= int(k) || k.typeOf(nal) != set {
			continue
		}
		var raw [maxSetRead]byte
		r := wire.NewBitReader(unescape(raw[:0], nal[k:]))
		if k == nalH264 {
			return h264Size(&r)
		}
		return h265Size(&r)
	}
	return 0, 0
}

// maxSetRead is how much of a parameter set is looked at, in bytes: far more than what comes before the size, with all scaling lists.
const maxSetRead = 512

// unescape appends what is in a NAL unit, without the bytes that keep start codes out of it (H.264 and H.265 section 7.3.1), as far as
// dst has room.
func unescape(dst, nal []byte) []byte {
	zeroes := 0
	for _, b := range nal {
		if zeroes >= 2 && b == 3 {
			zeroes = 0
			continue
		}
		if zeroes++; b != 0 {
			zeroes = 0
		}
		if len(dst) == cap(dst) {
			break
		}
		dst = append(dst, b)
	}
	return dst
}

// golomb reads a number of variable length: ue(v) of H.264 and H.265, uvlc of AV1.
func golomb(r *wire.BitReader) uint32 {
	n := 0
	for n < 32 && !r.Flag() {
		if n++; !r.OK() {
			return 0
		}
	}
	if n == 32 {
		return 1<<32 - 1
	}
	return 1<<n - 1 + r.Bits(n)
}

// units are how many samples a unit of a cropping window has, by the format of chroma (H.264 and H.265 table 6-1).
func units(chroma uint32, separate bool) (x, y int) {
	switch {
	case separate:
		return 1, 1
	case chroma == 1:
		return 2, 2
	case chroma == 2:
		return 2, 1
	}
	return 1, 1
}

// cropped takes a cropping window off, if there is one.
func cropped(r *wire.BitReader, width, height, x, y int) (int, int) {
	if r.Flag() {
		left, right, top, bottom := golomb(r), golomb(r), golomb(r), golomb(r)
		width -= x * int(left+right)
		height -= y * int(top+bottom)
	}
	const most = 1 << 16
	if !r.OK() || width < 0 || height < 0 || width > most || height > most {
		return 0, 0
	}
	return width, height
}

// h264Size reads a sequence parameter set up to the size (H.264 section 7.3.2.1.1).
func h264Size(r *wire.BitReader) (width, height int) {
	profile := r.Bits(8)
	r.Bits(16) // constraints, level_idc
	golomb(r)  // seq_parameter_set_id
	chroma, separate := uint32(1), false
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		if chroma = golomb(r); chroma == 3 {
			separate = r.Flag()
		}
		golomb(r) // bit_depth_luma_minus8
		golomb(r)
		r.Bits(1)     // qpprime_y_zero_transform_bypass_flag
		if r.Flag() { // seq_scaling_matrix_present_flag
			lists := 8
			if chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.Flag() {
					passScalingList(r, i < 6)
				}
			}
		}
	}
	golomb(r)          // log2_max_frame_num_minus4
	switch golomb(r) { // pic_order_cnt_type
	case 0:
		golomb(r)
	case 1:
		r.Bits(1)
		golomb(r)
		golomb(r)
		for n := golomb(r); n > 0 && r.OK(); n-- {
			golomb(r)
		}
	}
	golomb(r) // max_num_ref_frames
	r.Bits(1)
	w, h := golomb(r), golomb(r)
	fields := 1
	if !r.Flag() { // frame_mbs_only_flag
		fields = 2
		r.Bits(1)
	}
	r.Bits(1) // direct_8x8_inference_flag
	const macroblock, most = 16, 1 << 12
	if w >= most || h >= most {
		return 0, 0
	}
	x, y := units(chroma, separate)
	return cropped(r, macroblock*int(w+1), macroblock*int(h+1)*fields, x, y*fields)
}

func passScalingList(r *wire.BitReader, small bool) {
	size := 64
	if small {
		size = 16
	}
	last, next := uint32(8), uint32(8)
	for range size {
		if next != 0 {
			// delta_scale: signed, of which the code's lowest bit says that it is positive (H.264 section 9.1.1)
			k := golomb(r)
			delta := (k + 1) / 2
			if k%2 == 0 {
				delta = -delta
			}
			next = (last + delta) & 255
		}
		if next != 0 {
			last = next
		}
	}
}

// h265Size reads a sequence parameter set up to the size (H.265 section 7.3.2.2.1).
func h265Size(r *wire.BitReader) (width, height int) {
	r.Bits(4) // sps_video_parameter_set_id
	layers := int(r.Bits(3))
	r.Bits(1)
	const profile, level = 88, 8 // bits of profile_tier_level
	pass(r, profile+level)
	var has [8][2]bool
	for i := range layers {
		has[i] = [...]bool{r.Flag(), r.Flag()}
	}
	if layers > 0 {
		pass(r, 2*(8-layers))
	}
	for i := range layers {
		if has[i][0] {
			pass(r, profile)
		}
		if has[i][1] {
			pass(r, level)
		}
	}
	golomb(r) // sps_seq_parameter_set_id
	chroma, separate := golomb(r), false
	if chroma == 3 {
		separate = r.Flag()
	}
	w, h := golomb(r), golomb(r)
	const most = 1 << 16
	if w > most || h > most {
		return 0, 0
	}
	x, y := units(chroma, separate)
	return cropped(r, int(w), int(h), x, y)
}

func pass(r *wire.BitReader, bits int) {
	for ; bits > 0; bits -= 32 {
		r.Bits(min(bits, 32))
	}
}
