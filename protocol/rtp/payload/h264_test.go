package payload

import (
	"bytes"
	"errors"
	"testing"
)

// annexB makes a byte stream of NAL units.
func annexB(nals ...[]byte) (b []byte) {
	for _, n := range nals {
		b = append(append(b, startCode...), n...)
	}
	return b
}

func many(header ...byte) func(n int) []byte {
	return func(n int) []byte { return append(bytes.Clone(header), bytes.Repeat([]byte{7}, n)...) }
}

// RFC 6184 section 5.4, table 3: which payloads there are; those of the interleaved mode are not WebRTC's, and reserved ones
// "MUST be ignored by a receiver".
func TestH264Payloads(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload []byte
		want    Part
		err     error
	}{
		{"slice", []byte{0x41, 1}, Part{}, nil},
		{"slice that none refers to", []byte{0x01, 1}, Part{Discardable: true}, nil},
		{"IDR", []byte{0x65, 1}, Part{KeyFrame: true}, nil},
		{"SPS", []byte{0x67, 1}, Part{KeyFrame: true, Start: true}, nil},
		{"PPS", []byte{0x68, 1}, Part{}, nil},
		{"delimiter", []byte{0x09, 0xf0}, Part{Start: true}, nil},
		{"STAP-A of SPS, PPS", []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1}, Part{KeyFrame: true, Start: true}, nil},
		{"STAP-A of PPS, IDR", []byte{0x78, 0, 2, 0x68, 1, 0, 2, 0x65, 1}, Part{KeyFrame: true}, nil},
		{"STAP-A of slices, one of them needed", []byte{0x58, 0, 1, 0x01, 0, 1, 0x41}, Part{}, nil},
		{"FU-A, first of IDR", []byte{0x7c, 0x85, 1}, Part{KeyFrame: true}, nil},
		{"FU-A, later of IDR", []byte{0x7c, 0x05, 1}, Part{KeyFrame: true}, nil},
		{"FU-A, last of slice", []byte{0x1c, 0x41}, Part{Discardable: true}, nil}, // "MAY be empty"
		{"0 is reserved", []byte{0x60, 1}, Part{}, nil},
		{"31 is reserved", []byte{0x7f, 1}, Part{}, nil},
		{"STAP-B", []byte{0x79, 0, 0, 0, 1, 0x65}, Part{}, ErrUnsupported},
		{"MTAP16", []byte{0x7a, 0, 0, 0, 1, 0x65}, Part{}, ErrUnsupported},
		{"MTAP24", []byte{0x7b, 0, 0, 0, 1, 0x65}, Part{}, ErrUnsupported},
		{"FU-B", []byte{0x7d, 0x85, 0, 0, 1}, Part{}, ErrUnsupported},
		{"STAP-A of nothing", []byte{0x78}, Part{}, ErrMalformed},
		{"STAP-A, half a size", []byte{0x78, 0, 1, 0x65, 0}, Part{}, ErrMalformed},
		{"STAP-A, beyond the end", []byte{0x78, 0, 3, 0x65, 0}, Part{}, ErrMalformed},
		{"STAP-A, empty unit", []byte{0x78, 0, 0}, Part{}, ErrMalformed},
		{"STAP-A in a STAP-A", []byte{0x78, 0, 4, 0x78, 0, 1, 0x65}, Part{}, ErrMalformed},
		{"FU-A without header", []byte{0x7c}, Part{}, ErrMalformed},
		// Section 5.8: "The Start bit and End bit MUST NOT both be set to one in the same FU header."
		{"FU-A of both", []byte{0x7c, 0xc5, 1}, Part{}, ErrMalformed},
		{"FU-A of an FU-A", []byte{0x7c, 0x9c, 1}, Part{}, ErrMalformed},
	} {
		if got, err := (H264{}).Parse(c.payload); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

// RFC 6184 section 5.8: "The receiver SHOULD discard all following fragmentation units" when one is lost; a frame that is not
// whole is refused whole.
func TestH264Fragments(t *testing.T) {
	first, middle, last, slice := []byte{0x7c, 0x85, 1}, []byte{0x7c, 0x05, 2}, []byte{0x7c, 0x45, 3}, []byte{0x41, 9}
	for _, c := range []struct {
		payloads [][]byte
		want     []byte
	}{
		{[][]byte{first, last}, annexB([]byte{0x65, 1, 3})},
		{[][]byte{slice, first, middle, last, slice}, annexB(slice, []byte{0x65, 1, 2, 3}, slice)},
		{[][]byte{first, {0x60}, last}, annexB([]byte{0x65, 1, 3})}, // reserved
		{[][]byte{first}, nil},
		{[][]byte{first, middle}, nil},
		{[][]byte{last}, nil},
		{[][]byte{first, first, last}, nil},
		{[][]byte{first, slice, last}, nil},
		{[][]byte{first, {0x7c, 0x41, 3}}, nil}, // the end of another one
		{[][]byte{first, {0x5c, 0x45, 3}}, nil}, // or of another NRI
	} {
		got, err := H264{}.AppendFrame(nil, c.payloads)
		if c.want == nil && !errors.Is(err, ErrIncomplete) || c.want != nil && (err != nil || !bytes.Equal(got, c.want)) {
			t.Errorf("%x: %x, %v", c.payloads, got, err)
		}
	}
}

// RFC 6184 section 6.3: in the non-interleaved mode a payload is a NAL unit, a STAP-A or an FU-A. Section 5.7.1: "The value of
// NRI MUST be the maximum of all the NAL units carried in the aggregation packet."
func TestH264Packetize(t *testing.T) {
	p := H264{Mode: 1}.NewPacketizer(0)
	sps, pps, sei, idr := many(0x67)(9), many(0x68)(3), many(0x06)(4), many(0x65)(300)
	got := cut(t, p, &Frame{Data: annexB(sps, pps, sei, idr)}, Limit{Max: 120})
	if !bytes.Equal(got[0], []byte("\x78\x00\x0a\x67\x07\x07\x07\x07\x07\x07\x07\x07\x07\x00\x04\x68\x07\x07\x07\x00\x05\x06\x07\x07\x07\x07")) {
		t.Errorf("%x", got[0])
	}
	var sizes []int
	for i, b := range got[1:] {
		sizes = append(sizes, len(b))
		fu := byte(5)
		if i == 0 {
			fu |= 0x80
		}
		if i == len(got)-2 {
			fu |= 0x40
		}
		if b[0] != 0x7c || b[1] != fu {
			t.Errorf("fragment %d begins with %x", i, b[:2])
		}
	}
	if len(sizes) != 3 || sizes[0] != 102 || sizes[2] != 102 {
		t.Errorf("fragments of %d bytes", sizes)
	}

	// Section 6.2: in the single NAL unit mode there is nothing else.
	p = H264{}.NewPacketizer(0)
	if got := cut(t, p, &Frame{Data: annexB(sps, pps, idr)}, Limit{Max: 301}); len(got) != 3 || !bytes.Equal(got[1], pps) || !bytes.Equal(got[2], idr) {
		t.Errorf("%x", got)
	}
	if _, err := tryCut(t, p, &Frame{Data: annexB(sps, pps, idr)}, Limit{Max: 300}); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}

	// Start codes of either length, and zeroes before them.
	stream := bytes.Join([][]byte{{0, 0, 1}, sps, {0, 0, 0, 0, 1}, pps, {0, 0, 1}, {0, 0, 1}, {0x65, 1, 0, 0}}, nil)
	if got := cut(t, p, &Frame{Data: stream}, Limit{Max: 301}); len(got) != 3 || !bytes.Equal(got[2], []byte{0x65, 1}) {
		t.Errorf("%x", got)
	}
	for _, b := range [][]byte{{0x65, 1}, {0, 0, 1}, annexB([]byte{0x78, 1}), annexB([]byte{0x00, 1})} {
		if _, err := tryCut(t, p, &Frame{Data: b}, Limit{Max: 301}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// RFC 6184 section 8.4 warns of parameter sets that are lost with the packets that carry them: a key frame without its own has
// those of the one before it, behind its delimiter.
func TestParameterSetsRepeated(t *testing.T) {
	for _, c := range []struct {
		format                       Format
		delimiter, sets, newer, last []byte
		key, delta                   []byte
	}{
		{H264{Mode: 1}, []byte{9, 0xf0}, annexB([]byte{0x67, 1}, []byte{0x68, 2}), annexB([]byte{0x67, 3}, []byte{0x68, 4}), annexB([]byte{0x68, 5}),
			[]byte{0x65, 9}, []byte{0x41, 9}},
		{H264{}, []byte{9, 0xf0}, annexB([]byte{0x67, 1}, []byte{0x68, 2}), annexB([]byte{0x67, 3}, []byte{0x68, 4}), annexB([]byte{0x68, 5}),
			[]byte{0x65, 9}, []byte{0x41, 9}},
		{H265{}, []byte{0x46, 1, 0x50}, annexB([]byte{0x40, 1, 1}, []byte{0x42, 1, 1}, []byte{0x44, 1, 1}), annexB([]byte{0x40, 1, 2}, []byte{0x42, 1, 3}, []byte{0x44, 1, 4}),
			annexB([]byte{0x44, 1, 5}), []byte{0x26, 1, 9}, []byte{0x02, 1, 9}},
	} {
		p := c.format.NewPacketizer(0)
		send := func(frame []byte) []byte {
			got, err := c.format.AppendFrame(nil, cut(t, p, &Frame{Data: frame}, Limit{Max: 100}))
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
		delimiter, key, delta := annexB(c.delimiter), annexB(c.key), annexB(c.delta)
		for i, frame := range []struct{ in, out []byte }{
			{key, key}, // there are none yet
			{join(c.sets, key), join(c.sets, key)},
			{delta, delta},
			{key, join(c.sets, key)},
			{join(delimiter, key), join(delimiter, c.sets, key)},
			{join(c.newer, key), join(c.newer, key)},
			{join(c.last, delta), join(c.last, delta)},
			{join(c.last, delta), join(c.last, delta)},
			{key, join(c.newer, c.last, key)},
		} {
			if got := send(frame.in); !bytes.Equal(got, frame.out) {
				t.Errorf("%T, frame %d: %x, not %x", c.format, i, got, frame.out)
			}
		}
		// They are remembered up to a bound.
		q := c.format.NewPacketizer(0).(*nalPacketizer)
		for i := range 3000 {
			set := append(bytes.Clone(c.last), byte(1+i%250), byte(1+i/250))
			cut(t, q, &Frame{Data: join(set, delta)}, Limit{Max: 100})
		}
		if len(q.sets) > maxParameterSets || len(q.sets) < maxParameterSets-100 {
			t.Errorf("%d bytes", len(q.sets))
		}
	}
}

func TestH264KeyFrame(t *testing.T) {
	sps, pps, slice := []byte{0x67, 1}, []byte{0x68, 1}, []byte{0x41, 1}
	for _, c := range []struct {
		name string
		nals [][]byte
		want bool
	}{
		{"IDR", [][]byte{sps, pps, {0x65, 1}}, true},
		{"slice", [][]byte{slice}, false},
		{"sets alone", [][]byte{sps, pps, slice}, false},
		{"recovery point", [][]byte{sps, pps, {6, 5, 2, 1, 1, 6, 1, 0xc4, 0x80}, slice}, true},
		{"another message", [][]byte{sps, pps, {6, 5, 2, 1, 1, 0x80}, slice}, false},
		{"recovery point without sets", [][]byte{{6, 6, 1, 0xc4, 0x80}, slice}, false},
		{"a message longer than its unit", [][]byte{sps, {6, 5, 255, 255, 6, 6}, slice}, false},
	} {
		if got := (H264{}).KeyFrame(annexB(c.nals...)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// RFC 6184 section 8.1: table 5; level 1b; "If no profile-level-id is present, the Baseline profile, without additional
// constraints at Level 1, MUST be inferred."
func TestProfileLevelID(t *testing.T) {
	for s, want := range map[string]ProfileLevel{
		"": {Baseline, 10}, "42e01f": {ConstrainedBaseline, 31}, "42E01F": {ConstrainedBaseline, 31}, "42001f": {Baseline, 31},
		"42c02a": {ConstrainedBaseline, 42}, "4d801f": {ConstrainedBaseline, 31}, "58c01f": {ConstrainedBaseline, 31},
		"58801f": {Baseline, 31}, "4d001f": {Main, 31}, "4d401f": {Main, 31}, "58001f": {Extended, 31}, "64001f": {High, 31},
		"640c1f": {ConstrainedHigh, 31}, "6e0032": {High10, 50}, "6e1032": {High10Intra, 50}, "7a0032": {High422, 50},
		"f40032": {High444, 50}, "2c1032": {CAVLC444Intra, 50},
		"42a00b": {Baseline, 11}, "42b00b": {Baseline, Level1b}, // the examples of section 8.2.2
		"42f00b": {ConstrainedBaseline, Level1b}, "640009": {High, Level1b},
	} {
		got, ok := ParseProfileLevelID(s)
		if !ok || got != want {
			t.Errorf("%q: %+v, %v", s, got, ok)
		}
		if again, ok := ParseProfileLevelID(got.String()); !ok || again != want {
			t.Errorf("%q: written as %s", s, got)
		}
	}
	if s := (ProfileLevel{ConstrainedBaseline, 31}).String(); s != "42e01f" {
		t.Error(s)
	}
	for _, s := range []string{"42", "42e01", "42e01f0", "42e01g", "ffffff", "640f1f", "42e000", "7b001f"} {
		if got, ok := ParseProfileLevelID(s); ok {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

// RFC 6184 section 8.2.2: "These media format configuration parameters (except for the level part of profile-level-id) MUST be
// used symmetrically"; "When level asymmetry is not allowed, level upgrade is not allowed".
func TestProfileLevelAnswer(t *testing.T) {
	at := func(s string) ProfileLevel {
		p, ok := ParseProfileLevelID(s)
		if !ok {
			t.Fatal(s)
		}
		return p
	}
	for _, c := range []struct {
		offered, ours string
		asymmetric    bool
		want          string
	}{
		{"42e01f", "42e01f", false, "42e01f"},
		{"42e014", "42e01f", false, "42e014"},
		{"42e014", "42e01f", true, "42e01f"},
		{"42e02a", "42e01f", false, "42e01f"},
		{"4d801f", "42e01f", false, "42e01f"}, // another way to say the same
		{"42f00b", "42e00b", false, "42f00b"}, // 1b is lower than 1.1
		{"42f00b", "42e00a", false, "42e00a"}, // and higher than 1.0
		{"4d001f", "42e01f", true, ""},
		{"42001f", "42e01f", true, ""},
	} {
		got, ok := at(c.ours).Answer(at(c.offered), c.asymmetric)
		if ok != (c.want != "") || got.String() != c.want {
			t.Errorf("%+v: %v, %v", c, got, ok)
		}
	}
}

func TestFor(t *testing.T) {
	for _, c := range []struct {
		codec, fmtp string
		want        Format
	}{
		{"opus", "minptime=10", Opus{}}, {"VP8", "", VP8{}}, {"VP9", "profile-id=2", VP9{}}, {"AV1", "", AV1{}}, {"PCMU", "", PCMU{}}, {"pcma", "", PCMA{}}, {"H264", "", H264{0}}, {"h264", "a=b; Packetization-Mode=1", H264{1}},
		{"H264", "packetization-mode=0", H264{0}}, {"H264", "packetization-mode=2", nil}, {"H265", "tx-mode=SRST", H265{}},
		{"red", "111/111", nil}, {"telephone-event", "", nil}, {"rtx", "apt=96", nil},
	} {
		if got, ok := For(c.codec, c.fmtp); got != c.want || ok != (c.want != nil) {
			t.Errorf("%s %s: %v, %v", c.codec, c.fmtp, got, ok)
		}
	}
}
