package payload

import (
	"bytes"
	"errors"
	"testing"
)

// RFC 7741 section 4.6: the examples of streams.
func TestVP8Examples(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    Part
		data    string
	}{
		// 4.6.1: "Key frame in a single RTP packet": X 0, N 0, S 1, PID 0; P 0
		{"key frame", []byte{0x10, 0x00, 'd'}, Part{Start: true, KeyFrame: true}, "\x00d"},
		// 4.6.2: "Non-discardable VP8 interframe in a single RTP packet; no PictureID"
		{"interframe", []byte{0x10, 0x01, 'd'}, Part{Start: true}, "\x01d"},
		// 4.6.3: "VP8 partitions in separate RTP packets": the first, with PictureID 17, is discardable; the second has PID 1
		{"first partition", []byte{0xb0, 0x80, 17, 0x01, 'd'}, Part{Start: true, Discardable: true, PictureID: 17, PictureIDBits: 7}, "\x01d"},
		{"second partition", []byte{0xb1, 0x80, 17, 'd'}, Part{Discardable: true, PictureID: 17, PictureIDBits: 7}, "d"},
		// 4.6.4: "VP8 frame fragmented across RTP packets": the second packet of partition 1
		{"fragment", []byte{0x81, 0x80, 17, 'd'}, Part{PictureID: 17, PictureIDBits: 7}, "d"},
		// 4.6.5: "VP8 frame with long PictureID": PictureID 4711
		{"long id", []byte{0x90, 0x80, 0x92, 0x67, 0x01, 'd'}, Part{Start: true, PictureID: 4711, PictureIDBits: 15}, "\x01d"},
		// All fields: TID 2, Y, and KEYIDX, which is passed over.
		{"all", []byte{0x90, 0xf0, 0x92, 0x67, 200, 0xbf, 0x01}, Part{Start: true, PictureID: 4711, PictureIDBits: 15, HasTL0PicIdx: true, TL0PicIdx: 200, Temporal: 2, Sync: true}, "\x01"},
		// "If K is set to 1 but T is set to 0, the TID/Y/KEYIDX octet MUST be present, but the TID field MUST be ignored."
		{"key index alone", []byte{0x90, 0x10, 0xff, 0x01}, Part{Start: true}, "\x01"},
	} {
		p, err := VP8{}.Parse(c.payload)
		if err != nil || p != c.want {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
		f, err := vp8FieldsOf(c.payload)
		if err != nil || string(c.payload[f.data:]) != c.data {
			t.Errorf("%s: data at %d", c.name, f.data)
		}
		for n := range f.data {
			if _, err := (VP8{}).Parse(c.payload[:n]); err == nil {
				t.Errorf("%s, cut off after %d bytes", c.name, n)
			}
		}
	}
}

// RFC 7741 section 4.2: "PictureID ... MUST increase by 1 for each subsequent frame, and MUST wrap to 0 after reaching the
// maximum ID (all bits set)." "TL0PICIDX MUST be incremented when TID is 0. ... it MUST wrap to 0 after reaching the maximum
// number 255." "The Y bit MUST be set to 0 if the current frame depends on any other frame than the base layer frame".
func TestVP8Counters(t *testing.T) {
	mode, _ := ParseMode("L1T3")
	p := VP8{}.NewPacketizer(254<<16 | 0x7ffe)
	tl0 := uint8(254)
	for i := range 8 {
		temporal := []uint8{0, 2, 1, 2}[i%4]
		if temporal == 0 {
			tl0++
		}
		sync := []bool{false, true, true, false}[i%4] // the last one builds upon layer 1
		payloads := cut(t, p, &Frame{Data: []byte{1, 2, 3, 4}, Mode: mode, Temporal: temporal}, Limit{Max: 8})
		if len(payloads) != 2 {
			t.Fatalf("%d payloads", len(payloads))
		}
		for n, b := range payloads {
			want := Part{Start: n == 0, PictureID: uint16(0x7ffe+i) & 0x7fff, PictureIDBits: 15, HasTL0PicIdx: true, TL0PicIdx: tl0,
				Temporal: temporal, Sync: sync, Discardable: temporal == 2}
			if got, err := (VP8{}).Parse(b); err != nil || got != want {
				t.Errorf("frame %d, payload %d: %+v, %v", i, n, got, err)
			}
		}
	}
	// "L: ... When set to 1, ... the T bit MUST be set to 1": neither is in a stream of one layer.
	if b := cut(t, p, &Frame{Data: []byte{0}}, Limit{Max: 100})[0]; b[1] != vp8PictureID || len(b) != 5 {
		t.Errorf("%x", b)
	}
	for _, f := range []Frame{{Data: []byte{0}, Temporal: 1}, {Data: []byte{0}, Mode: mode, Temporal: 3}, {Data: []byte{0}, Mode: &Mode{Spatial: 2, Temporal: 1}}} {
		if _, err := tryCut(t, p, &f, Limit{Max: 100}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// RFC 7741 section 4.5.1: "A frame is complete if the frame has no missing sequence numbers, the first packet in the frame
// contains S=1 with partId=0 and the last packet in the frame has the marker bit set."
func TestVP8Incomplete(t *testing.T) {
	first, second := []byte{0x10, 0, 1}, []byte{0x00, 2}
	for _, payloads := range [][][]byte{{second}, {second, first}, {first, first}} {
		if b, err := (VP8{}).AppendFrame(nil, payloads); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%x of %x: %v", b, payloads, err)
		}
	}
}

func TestRewriteVP8(t *testing.T) {
	for _, c := range []struct{ was, want []byte }{
		{[]byte{0x90, 0xe0, 0x92, 0x67, 200, 0x40, 1}, []byte{0x90, 0xe0, 0x81, 0x02, 7, 0x40, 1}},
		{[]byte{0x90, 0x80, 0x12, 1}, []byte{0x90, 0x80, 0x02, 1}}, // seven bits of 0x102
		{[]byte{0x10, 1}, []byte{0x10, 1}},
	} {
		b := bytes.Clone(c.was)
		if err := RewriteVP8(b, 0x102, 7); err != nil || !bytes.Equal(b, c.want) {
			t.Errorf("%x became %x, %v", c.was, b, err)
		}
	}
	if err := RewriteVP8([]byte{0x90, 0x80}, 1, 1); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}
