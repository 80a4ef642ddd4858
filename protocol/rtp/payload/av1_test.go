package payload

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func appendOBU(b []byte, kind byte, body []byte) []byte {
	b = append(b, kind<<3|obuHasSize)
	return append(appendLEB128(b, len(body)), body...)
}

// layered makes an OBU with the extension of its header.
func layered(b []byte, kind, temporal, spatial byte, body []byte) []byte {
	b = append(b, kind<<3|obuHasSize|obuExtension, temporal<<5|spatial<<3)
	return append(appendLEB128(b, len(body)), body...)
}

// AV1 RTP specification, section 4.4: Z, Y, W and N.
func TestAV1Payloads(t *testing.T) {
	frame, sequence := []byte{0x30, 7}, []byte{0x08, 7}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name    string
		payload []byte
		want    Part
		err     error
	}{
		{"one OBU", join([]byte{0x10}, frame), Part{}, nil},
		{"a new sequence", join([]byte{0x28, 2}, sequence, frame), Part{Start: true, KeyFrame: true}, nil},
		{"a sequence header without N", join([]byte{0x20, 2}, sequence, frame), Part{KeyFrame: true}, nil},
		{"lengths for all", join([]byte{0x00, 2}, frame, []byte{2}, frame), Part{}, nil},
		{"a fragment, whose bytes are no header", []byte{0x90, 0xff, 0xff}, Part{}, nil},
		{"of a layer", []byte{0x10, 0x34, 2<<5 | 1<<3, 7}, Part{Temporal: 2, Spatial: 1}, nil},
		{"half of a header", []byte{0x50, 0x34}, Part{}, nil},
		{"if N equals 1 then Z must equal 0", join([]byte{0x98}, frame), Part{}, ErrMalformed},
		{"no element", []byte{0x10}, Part{}, ErrMalformed},
		{"an empty one", join([]byte{0x20, 0}, frame), Part{}, ErrMalformed},
		{"W of 3, two elements", join([]byte{0x30, 2}, frame, []byte{2}, frame), Part{}, ErrMalformed},
		{"a length beyond the end", join([]byte{0x00, 3}, frame), Part{}, ErrMalformed},
		{"a length without end", []byte{0x00, 0x80, 0x80}, Part{}, ErrMalformed},
		{"obu_forbidden_bit", []byte{0x10, 0xb0, 7}, Part{}, ErrMalformed},
	} {
		got, err := AV1{}.Parse(c.payload)
		if !errors.Is(err, c.err) || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// Section 5: "The temporal delimiter OBU, if present, SHOULD be removed when transmitting, and MUST be ignored by receivers. Tile
// list OBUs are not supported. They SHOULD be removed when transmitted, and MUST be ignored by receivers." Section 4.5: "the
// obu_has_size_field flag SHOULD be set to zero in all OBUs."
func TestAV1Packetize(t *testing.T) {
	var unit []byte
	unit = appendOBU(unit, obuDelimiter, nil)
	unit = appendOBU(unit, obuSequence, []byte{0, 0, 1})
	unit = appendOBU(unit, obuPadding, []byte{1, 2, 3})
	unit = appendOBU(unit, obuTileList, []byte{1})
	unit = append(unit, obuFrame<<3, 0x10, 1, 2, 3) // without its size
	got := cut(t, AV1{}.NewPacketizer(0), &Frame{Data: unit}, Limit{Max: 100})
	want := []byte{0x28, 4, 0x08, 0, 0, 1, 0x30, 0x10, 1, 2, 3} // W 2, N
	if len(got) != 1 || !bytes.Equal(got[0], want) {
		t.Fatalf("%x", got)
	}
	joined, err := AV1{}.AppendFrame(nil, [][]byte{{0x10, 0x12, 0}, got[0], {0x10, 0x42, 1, 7}})
	if want := appendOBU(appendOBU([]byte{0x12, 0}, obuSequence, []byte{0, 0, 1}), obuFrame, []byte{0x10, 1, 2, 3}); err != nil || !bytes.Equal(joined, want) {
		t.Errorf("%x, %v", joined, err)
	}
	for name, b := range map[string][]byte{
		"a size beyond the end": {0x32, 5, 1}, "the forbidden bit": {0xb2, 1, 1}, "half of a header": {0x36}, "a size without end": {0x32, 0xff},
	} {
		if _, err := tryCut(t, AV1{}.NewPacketizer(0), &Frame{Data: b}, Limit{Max: 100}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tryCut(t, AV1{}.NewPacketizer(0), &Frame{Data: []byte{0x12, 0}}, Limit{Max: 100}); !errors.Is(err, ErrEmpty) {
		t.Errorf("a delimiter alone: %v", err)
	}
}

// Section 5: "If more than one OBU contained in an RTP packet has an OBU extension header, then the values of the temporal_id and
// spatial_id MUST be the same in all such OBUs in the RTP packet." Section 5.1 has the example
// [ SH MD MD(0,0) FH(0,0) TG(0,0) ] [ MD(0,1) FH(0,1) TG(0,1) ].
func TestAV1Layers(t *testing.T) {
	const metadata = 5
	unit := appendOBU([]byte{0x12, 0}, obuSequence, []byte{0, 0, 1})
	unit = appendOBU(unit, metadata, []byte{1})
	for spatial := range byte(2) {
		unit = layered(unit, metadata, 0, spatial, []byte{2})
		unit = layered(unit, obuFrameHeader, 0, spatial, []byte{0x10})
		unit = layered(unit, obuTileGroup, 0, spatial, []byte{4, 4})
	}
	got := cut(t, AV1{}.NewPacketizer(0), &Frame{Data: unit}, Limit{Max: 100})
	if len(got) != 2 || got[0][0] != av1New || got[1][0] != 3<<4 {
		t.Fatalf("%x", got)
	}
	for i, b := range got {
		if p, err := (AV1{}).Parse(b); err != nil || p.Spatial != uint8(i) {
			t.Errorf("%d: %+v, %v", i, p, err)
		}
	}
	if joined, err := (AV1{}).AppendFrame(nil, got); err != nil || !bytes.Equal(joined, unit) {
		t.Errorf("%x, %v", joined, err)
	}
}

// Section 4.4: Z and Y of packets that follow each other say the same.
func TestAV1Fragments(t *testing.T) {
	whole, first, middle, last := []byte{0x10, 0x30, 1}, []byte{0x50, 0x30, 1}, []byte{0xd0, 2}, []byte{0x90, 3}
	for _, c := range []struct {
		payloads [][]byte
		ok       bool
	}{
		{[][]byte{first, last}, true}, {[][]byte{whole, first, middle, last, whole}, true},
		{[][]byte{first}, false}, {[][]byte{last}, false}, {[][]byte{first, whole}, false}, {[][]byte{first, middle}, false}, {[][]byte{whole, last}, false},
	} {
		if b, err := (AV1{}).AppendFrame(nil, c.payloads); c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrIncomplete) {
			t.Errorf("%x: %x, %v", c.payloads, b, err)
		}
	}
	// Sizes inside are allowed, if they are right, however they are written.
	if b, err := (AV1{}).AppendFrame(nil, [][]byte{{0x10, 0x32, 0x82, 0, 7, 8}}); err != nil || !bytes.Equal(b, []byte{0x12, 0, 0x32, 2, 7, 8}) {
		t.Errorf("%x, %v", b, err)
	}
	if b, err := (AV1{}).AppendFrame(nil, [][]byte{{0x10, 0x32, 1, 7, 8}}); !errors.Is(err, ErrMalformed) {
		t.Errorf("%x, %v", b, err)
	}
}

func TestAV1KeyFrame(t *testing.T) {
	sequence := slices.Clip(appendOBU(nil, obuSequence, []byte{0, 0, 1}))
	for _, c := range []struct {
		name string
		unit []byte
		want bool
	}{
		{"key frame", appendOBU(sequence, obuFrame, []byte{0x10}), true},
		{"in a frame header", appendOBU(sequence, obuFrameHeader, []byte{0x00}), true},
		{"inter frame", appendOBU(sequence, obuFrame, []byte{0x20}), false},
		{"intra only", appendOBU(sequence, obuFrame, []byte{0x40}), false},
		{"a frame shown again", appendOBU(sequence, obuFrame, []byte{0x80}), false},
		{"key frame without sequence header", appendOBU(nil, obuFrame, []byte{0x10}), false},
		{"reduced still picture", appendOBU(nil, obuSequence, []byte{0x18}), true},
	} {
		if got := (AV1{}).KeyFrame(c.unit); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
