package payload

import (
	"bytes"
	"errors"
	"testing"
)

// RFC 7798 section 4.4: the structures of payloads; section 1.1.4: the header of a NAL unit.
func TestH265Payloads(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    Part
		err     error
	}{
		{"TRAIL_R", []byte{0x02, 1, 9}, Part{}, nil},
		{"of temporal layer 2", []byte{0x02, 3, 9}, Part{Temporal: 2}, nil},
		{"TSA_R", []byte{0x06, 2, 9}, Part{Temporal: 1, Sync: true}, nil},
		{"IDR_W_RADL", []byte{0x26, 1, 9}, Part{KeyFrame: true}, nil},
		{"CRA", []byte{0x2a, 1, 9}, Part{KeyFrame: true}, nil},
		{"VPS", []byte{0x40, 1, 9}, Part{KeyFrame: true, Start: true}, nil},
		{"delimiter", []byte{0x46, 1, 9}, Part{Start: true}, nil},
		{"AP of VPS, SPS", []byte{0x60, 1, 0, 3, 0x40, 1, 1, 0, 3, 0x42, 1, 1}, Part{KeyFrame: true, Start: true}, nil},
		{"FU, first of IDR_N_LP", []byte{0x62, 1, 0x94, 9}, Part{KeyFrame: true}, nil},
		{"FU, last of TRAIL_R", []byte{0x62, 1, 0x41, 9}, Part{}, nil},
		{"half a header", []byte{0x40}, Part{}, ErrMalformed},
		{"a TID value of 0 is illegal", []byte{0x02, 0, 9}, Part{}, ErrMalformed},
		{"FU without header", []byte{0x62, 1}, Part{}, ErrMalformed},
		{"An FU payload MUST NOT be empty", []byte{0x62, 1, 0x94}, Part{}, ErrMalformed},
		{"FU of both", []byte{0x62, 1, 0xd4, 9}, Part{}, ErrMalformed},
		{"an FU must not contain a subset of another FU", []byte{0x62, 1, 0xb1, 9}, Part{}, ErrMalformed},
		{"AP of nothing", []byte{0x60, 1}, Part{}, ErrMalformed},
		{"an AP must not contain another AP", []byte{0x60, 1, 0, 7, 0x60, 1, 0, 3, 0x40, 1, 1}, Part{}, ErrMalformed},
		{"AP of half a header", []byte{0x60, 1, 0, 1, 0x40}, Part{}, ErrMalformed},
		{"PACI", []byte{0x64, 1, 0, 0, 0}, Part{}, ErrUnsupported},
		{"unspecified", []byte{0x7e, 1, 0}, Part{}, nil},
	} {
		if got, err := (H265{}).Parse(c.payload); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// RFC 7798 section 4.4.2: "The value of LayerId MUST be equal to the lowest value of LayerId of all the aggregated NAL units.
// The value of TID MUST be the lowest value of TID of all the aggregated NAL units."
func TestH265Aggregation(t *testing.T) {
	nal := func(kind, layer, tid byte) []byte { return []byte{kind<<1 | layer>>5, layer<<3 | tid, 7} }
	frame := annexB(nal(1, 33, 3), nal(1, 40, 2), nal(1, 7, 5))
	got := cut(t, H265{}.NewPacketizer(0), &Frame{Data: frame}, Limit{Max: 100})
	if len(got) != 1 || !bytes.Equal(got[0][:2], []byte{48 << 1, 7<<3 | 2}) {
		t.Errorf("%x", got)
	}
	if joined, err := (H265{}).AppendFrame(nil, got); err != nil || !bytes.Equal(joined, frame) {
		t.Errorf("%x, %v", joined, err)
	}
	for _, kind := range []byte{16, 21, 23} {
		if !(H265{}).KeyFrame(annexB(nal(kind, 0, 1))) {
			t.Errorf("type %d is IRAP", kind)
		}
	}
	if (H265{}).KeyFrame(annexB(nal(24, 0, 1))) || (H265{}).KeyFrame(annexB(nal(33, 0, 1), nal(1, 0, 1))) {
		t.Error("neither is IRAP")
	}
}
