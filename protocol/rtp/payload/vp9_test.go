package payload

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// RFC 9628 section 4.2: the payload descriptor in both modes.
func TestVP9Payloads(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    Part
		err     error
	}{
		{"required octet alone", []byte{0x0c, 'd'}, Part{Start: true, End: true}, nil},
		{"id of 7 bits", []byte{0xc8, 17, 'd'}, Part{Start: true, PictureID: 17, PictureIDBits: 7}, nil},
		{"id of 15 bits", []byte{0xc4, 0x92, 0x67, 'd'}, Part{End: true, PictureID: 4711, PictureIDBits: 15}, nil},
		{"layers, non-flexible", []byte{0xe0, 0x92, 0x67, 2<<5 | 0x10 | 1<<1 | 1, 200, 'd'},
			Part{PictureID: 4711, PictureIDBits: 15, Temporal: 2, Spatial: 1, Sync: true, InterLayer: true, TL0PicIdx: 200, HasTL0PicIdx: true}, nil},
		{"key picture, upper layer", []byte{0xa8, 0x92, 0x67, 1<<1 | 1, 200, 'd'},
			Part{Start: true, PictureID: 4711, PictureIDBits: 15, Spatial: 1, InterLayer: true, TL0PicIdx: 200, HasTL0PicIdx: true}, nil},
		{"flexible, three references", []byte{0xf0, 0x92, 0x67, 0, 3, 5, 6, 'd'}, Part{PictureID: 4711, PictureIDBits: 15}, nil},
		{"flexible, none", []byte{0xb0, 0x92, 0x67, 0, 'd'}, Part{PictureID: 4711, PictureIDBits: 15, KeyFrame: true}, nil},
		// N_S 1, Y, G: sizes of two layers, two pictures of which the second refers to two.
		{"scalability structure", []byte{0x8a, 17, 0x38, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0, 0x38, 1, 2, 'd'},
			Part{Start: true, KeyFrame: true, PictureID: 17, PictureIDBits: 7}, nil},
		{"structure without anything", []byte{0x8a, 17, 0, 'd'}, Part{Start: true, KeyFrame: true, PictureID: 17, PictureIDBits: 7}, nil},
		// Without I the F bit is to be ignored by receivers: what follows the layers is TL0PICIDX.
		{"flexible without id", []byte{0x38, 2 << 5, 200, 'd'}, Part{Start: true, Temporal: 2, TL0PicIdx: 200, HasTL0PicIdx: true}, nil},
		{"four references", []byte{0xd0, 17, 3, 5, 7, 8, 'd'}, Part{}, ErrMalformed},
	} {
		got, err := VP9{}.Parse(c.payload)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
		for n := range len(c.payload) - 1 {
			if _, err := (VP9{}).Parse(c.payload[:n+1]); err == nil {
				t.Errorf("%s, cut off after %d bytes", c.name, n+1)
			}
		}
		if f, err := vp9FieldsOf(c.payload); err == nil && string(c.payload[f.data:]) != "d" {
			t.Errorf("%s: data at %d", c.name, f.data)
		}
	}
}

// vp9Key is the header of a key frame of 320x180, profile 0.
var vp9Key = []byte{0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x30}

func TestVP9KeyFrame(t *testing.T) {
	for _, c := range []struct {
		frame         []byte
		width, height int
		key           bool
	}{
		{vp9Key, 320, 180, true},
		{vp9Key[:6], 0, 0, true},               // cut off
		{[]byte{0x86, 0, 0}, 0, 0, false},      // inter frame
		{[]byte{0x8a, 0, 0}, 0, 0, false},      // a frame shown again
		{[]byte{0x02, 0, 0}, 0, 0, false},      // no frame marker
		{[]byte{0xb0, 0x24, 0, 0}, 0, 0, true}, // profile 3, key frame
		{[]byte{0xb2, 0, 0, 0}, 0, 0, false},   // profile 3, inter frame
		{[]byte{0xa2, 0x49, 0x83, 0x42, 0x20, 0x02, 0x7e, 0x01, 0x66}, 320, 180, true},    // profile 1, 4:2:0 4:4:4
		{[]byte{0x92, 0x49, 0x83, 0x42, 0x10, 0x09, 0xf8, 0x05, 0x98, 0}, 320, 180, true}, // profile 2, ten bits
	} {
		width, height, key := vp9Header(c.frame)
		if key != c.key || width != c.width || height != c.height {
			t.Errorf("%x: %d x %d, %v", c.frame, width, height, key)
		}
	}
}

// sendVP9 sends one picture of all spatial layers, and checks what is the same in all payloads.
func sendVP9(t *testing.T, p Packetizer, m *Mode, temporal uint8, data []byte) (payloads [][]byte) {
	t.Helper()
	for spatial := range m.Spatial {
		layer := cut(t, p, &Frame{Data: data, Mode: m, Spatial: spatial, Temporal: temporal, More: spatial < m.Spatial-1}, Limit{Max: 70})
		payloads = append(payloads, layer...)
		if spatial == 0 { // upper layers are predicted from below: never key frames to themselves
			data = append([]byte{0x86}, data[1:]...)
		}
	}
	return payloads
}

// RFC 9628 section 4.2: B is set if the first payload octet of the packet is the beginning of a new VP9 frame, and E in the
// final packet of a frame; all frames of the same picture have the same picture id; TL0PICIDX goes on with pictures of temporal
// layer 0; the structure comes in the first packet of every key frame.
func TestVP9Layers(t *testing.T) {
	for _, name := range []string{"L1T1", "L1T3", "L3T3", "L3T3_KEY", "S2T1"} {
		m, _ := ParseMode(name)
		p := VP9{}.NewPacketizer(7<<16 | 0x7fff)
		id, tl0 := uint16(0x7fff), uint8(7)
		for i := range 9 {
			temporal := m.pattern()[i%len(m.pattern())]
			if temporal == 0 {
				tl0++
			}
			key := i == 0 || i == 4
			data := bytes.Repeat([]byte{0x86}, 100)
			if key {
				copy(data, vp9Key)
			}
			payloads := sendVP9(t, p, m, temporal, data)
			frames := 0
			for n, b := range payloads {
				start, end := n%2 == 0, n%2 == 1 // each layer is two payloads
				if len(b) > 70 || len(payloads) != 2*int(m.Spatial) {
					t.Fatalf("%s: %x", name, payloads)
				}
				spatial := uint8(n / 2)
				interLayer := spatial > 0 && (name == "L3T3" || name == "L3T3_KEY" && key)
				want := Part{Start: start, End: end, KeyFrame: key && spatial == 0, Spatial: spatial, Temporal: temporal, Sync: m.Temporal > 1,
					InterLayer: interLayer, PictureID: id, PictureIDBits: 15, TL0PicIdx: tl0, HasTL0PicIdx: true}
				if got, err := (VP9{}).Parse(b); err != nil || got != want {
					t.Errorf("%s, picture %d, payload %d: %+v, %v", name, i, n, got, err)
				}
				if structure := b[0]&vp9Structure != 0; structure != (key && n == 0) {
					t.Errorf("%s, picture %d, payload %d: structure %v", name, i, n, structure)
				}
				notForUp := spatial == m.Spatial-1 || name == "S2T1" || name == "L3T3_KEY" && !key
				if b[0]&vp9NotForUp != 0 != notForUp {
					t.Errorf("%s, picture %d, payload %d: Z is wrong", name, i, n)
				}
				predicted := !key || name == "S2T1" && spatial > 0
				if b[0]&vp9Predicted != 0 != predicted {
					t.Errorf("%s, picture %d, payload %d: P is wrong", name, i, n)
				}
				if end {
					frames++
				}
			}
			joined, err := VP9{}.AppendFrame(nil, payloads)
			size := 100*frames + 2 + 4*frames
			if frames == 1 {
				size = 100
			}
			if err != nil || len(joined) != size || !bytes.HasPrefix(joined, data) {
				t.Errorf("%s: %d frames of 100 bytes became %d bytes, %v", name, frames, len(joined), err)
			}
			if frames > 1 && (joined[size-1] != 0xd8|byte(frames-1) || joined[100*frames] != joined[size-1] || joined[100*frames+1] != 100) {
				t.Errorf("%s: index %x", name, joined[100*frames:])
			}
			id = (id + 1) & 0x7fff
		}
	}
}

// RFC 9628 section 4.2.1: the scalability structure; its pictures are those that the mode repeats.
func TestVP9Structure(t *testing.T) {
	for name, want := range map[string][]byte{
		"L1T1": {0x18, 1, 64, 0, 180, 1, 0x04, 1},
		"L1T2": {0x18, 1, 64, 0, 180, 2, 0x14, 2, 0x34, 1},
		"L3T3": {0x48, 4, 0x14, 4, 0x54, 1, 0x34, 2, 0x54, 1},
	} {
		m, _ := ParseMode(name)
		b := cut(t, VP9{}.NewPacketizer(0), &Frame{Data: vp9Key, Mode: m}, Limit{Max: 100})[0]
		if got := b[5 : len(b)-len(vp9Key)]; !bytes.Equal(got, want) {
			t.Errorf("%s: %x", name, got)
		}
	}
}

func TestVP9Flexible(t *testing.T) {
	p := VP9{}.NewPacketizer(5)
	for _, c := range []struct {
		diffs []uint8
		want  []byte
	}{
		{[]uint8{}, []byte{0xbd, 0x80, 5, 0, 'd'}},
		{[]uint8{1}, []byte{0xfd, 0x80, 6, 0, 2, 'd'}},
		{[]uint8{1, 2, 127}, []byte{0xfd, 0x80, 7, 0, 3, 5, 254, 'd'}},
	} {
		if got := cut(t, p, &Frame{Data: []byte("d"), Diffs: c.diffs}, Limit{Max: 20}); !bytes.Equal(got[0], c.want) {
			t.Errorf("%v: %x", c.diffs, got)
		}
	}
	for _, f := range []Frame{{Data: []byte("d"), Diffs: []uint8{1, 2, 3, 4}}, {Data: []byte("d"), Spatial: 1}} {
		if _, err := tryCut(t, p, &f, Limit{Max: 20}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// VP9 bitstream specification, annex B: superframes do not nest. A layer that is one itself, as where an encoder has put a frame that is
// not shown before the one that is, becomes frames of the picture's; and alone it stays as it is.
func TestVP9SuperframeOfALayer(t *testing.T) {
	hidden, shown, upper := bytes.Repeat([]byte{0x86, 1}, 150), bytes.Repeat([]byte{0x86, 2}, 20), bytes.Repeat([]byte{0x86, 3}, 30)
	index := []byte{0xc9, 300 & 0xff, 300 >> 8, 40, 0, 0xc9} // two frames, sizes of two bytes
	layer := slices.Concat(hidden, shown, index)
	m, _ := ParseMode("L2T1")
	for _, c := range []struct {
		name         string
		lower, upper []byte
		want         []byte
	}{
		{"lower", layer, upper, slices.Concat(hidden, shown, upper, []byte{0xda, 44, 1, 0, 0, 40, 0, 0, 0, 60, 0, 0, 0, 0xda})},
		{"upper", upper, layer, slices.Concat(upper, hidden, shown, []byte{0xda, 60, 0, 0, 0, 44, 1, 0, 0, 40, 0, 0, 0, 0xda})},
		{"alone", layer, nil, layer},
		// What only ends like an index, as its sizes are not those of the frames, is a part of the frame.
		{"none", layer[1:], upper, slices.Concat(layer[1:], upper, []byte{0xd9, 345 & 0xff, 345 >> 8, 0, 0, 60, 0, 0, 0, 0xd9})},
	} {
		p := VP9{}.NewPacketizer(1)
		payloads := cut(t, p, &Frame{Data: c.lower, Mode: m, More: c.upper != nil}, Limit{Max: 100})
		if c.upper != nil {
			payloads = append(payloads, cut(t, p, &Frame{Data: c.upper, Mode: m, Spatial: 1}, Limit{Max: 100})...)
		}
		if got, err := (VP9{}).AppendFrame([]byte("before"), payloads); err != nil || !bytes.Equal(got, append([]byte("before"), c.want...)) {
			t.Errorf("%s: %x, %v", c.name, got, err)
		}
	}
	// Two layers of five frames each are more than an index has room for.
	five := slices.Concat(bytes.Repeat([]byte{0x86}, 5), []byte{0xc4, 1, 1, 1, 1, 1, 0xc4})
	p := VP9{}.NewPacketizer(1)
	payloads := append(cut(t, p, &Frame{Data: five, Mode: m, More: true}, Limit{Max: 100}), cut(t, p, &Frame{Data: five, Mode: m, Spatial: 1}, Limit{Max: 100})...)
	if b, err := (VP9{}).AppendFrame(nil, payloads); !errors.Is(err, ErrUnsupported) {
		t.Errorf("ten frames: %x, %v", b, err)
	}
}

func TestVP9Incomplete(t *testing.T) {
	first, last, whole := []byte{0x08, 1}, []byte{0x04, 2}, []byte{0x0c, 3}
	for _, payloads := range [][][]byte{{first}, {last}, {whole, last}, {first, whole}, {whole, first}} {
		if b, err := (VP9{}).AppendFrame(nil, payloads); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%x: %x, %v", payloads, b, err)
		}
	}
	if b, err := (VP9{}).AppendFrame(nil, [][]byte{whole, whole, whole, whole, whole, whole, whole, whole, whole}); !errors.Is(err, ErrIncomplete) {
		t.Errorf("nine frames: %x, %v", b, err)
	}
}

func TestRewriteVP9(t *testing.T) {
	b := []byte{0xec, 0x92, 0x67, 0, 200, 'd'}
	if err := RewriteVP9(b, 0x102, 7); err != nil || !bytes.Equal(b, []byte{0xec, 0x81, 0x02, 0, 7, 'd'}) {
		t.Errorf("%x, %v", b, err)
	}
}
