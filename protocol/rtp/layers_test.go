package rtp_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The fields as video-layers-allocation00 draws them: RID, NS and sl_bm; #tl; bitrates; sizes.
func TestVideoLayers(t *testing.T) {
	layer := func(width, height int, rate uint8, kbps ...uint32) rtp.SpatialLayer {
		l := rtp.SpatialLayer{Temporal: uint8(len(kbps)), Width: width, Height: height, MaxFramerate: rate}
		copy(l.Bitrates[:], kbps)
		return l
	}
	one := rtp.VideoLayers{Streams: 1}
	one.Layers[0][0] = layer(0, 0, 0, 50)
	simulcast := rtp.VideoLayers{Stream: 2, Streams: 3, Sizes: true}
	simulcast.Layers[0][0] = layer(320, 180, 30, 100, 150)
	simulcast.Layers[1][0] = layer(640, 360, 30, 300, 500)
	simulcast.Layers[2][0] = layer(65536, 1, 60, 1500)
	scalable := rtp.VideoLayers{Streams: 1}
	scalable.Layers[0][0] = layer(0, 0, 0, 100, 200, 300)
	scalable.Layers[0][1] = layer(0, 0, 0, 400, 500, 600)
	apart := rtp.VideoLayers{Stream: 1, Streams: 2}
	apart.Layers[0][0] = layer(0, 0, 0, 1)
	apart.Layers[1][1] = layer(0, 0, 0, 2)
	for name, c := range map[string]struct {
		v   rtp.VideoLayers
		raw string
	}{
		"nothing is sent":  {rtp.VideoLayers{}, "00"},
		"one layer":        {one, "01 00 32"},
		"simulcast":        {simulcast, "a1 50 64 9601 ac02 f403 dc0b 013f00b31e 027f01671e ffff00003c"},
		"scalable":         {scalable, "03 a0 64 c801 ac02 9003 f403 d804"},
		"different layers": {apart, "50 12 00 01 02"},
	} {
		if b := c.v.Append(nil); !bytes.Equal(b, unhex(t, c.raw)) {
			t.Errorf("%s: wrote % x, want %s", name, b, c.raw)
		}
		if got, ok := rtp.ParseVideoLayers(unhex(t, c.raw)); !ok || got != c.v {
			t.Errorf("%s: read %+v, %v", name, got, ok)
		}
	}
	for name, raw := range map[string]string{
		"no value": "", "a stream of none": "41 00 32", "no bitmaps": "10", "nobody active": "10 00 00", "no layers": "01", "no bitrate": "01 00",
		"half a bitrate": "01 00 80", "a bitrate of 33 bits": "01 00 8080808010", "half a size": "01 00 32 000000",
	} {
		if got, ok := rtp.ParseVideoLayers(unhex(t, raw)); ok {
			t.Errorf("%s: read %+v", name, got)
		}
	}
}

// Descriptors that Chromium has sent, from the tests of libre (test/dd.c): of three temporal layers, and of Chrome 118.
func TestDependencyDescriptorsOfChromium(t *testing.T) {
	const threeLayers = "80012f800214eaa860414d1410208426"
	d, ok := rtp.ParseDependencyDescriptor(unhex(t, threeLayers), nil)
	if !ok || !d.StartOfFrame || d.EndOfFrame || d.TemplateID != 0 || d.FrameNumber != 303 || d.HasActiveTargets || d.ActiveTargets != 7 || d.Structure == nil {
		t.Fatalf("%+v, %v", d, ok)
	}
	s := d.Structure
	if s.IDOffset != 0 || s.DecodeTargets != 3 || s.Chains != 1 || len(s.Templates) != 5 || len(s.Resolutions) != 0 {
		t.Errorf("%+v", s)
	}
	const no, dis, sw = rtp.NotPresent, rtp.Discardable, rtp.Switch
	for i, want := range []struct {
		temporal uint8
		dtis     [3]rtp.DTI
		diff     uint16
		chain    uint8
	}{{0, [3]rtp.DTI{sw, sw, sw}, 0, 0}, {0, [3]rtp.DTI{sw, sw, sw}, 4, 4}, {1, [3]rtp.DTI{no, dis, sw}, 2, 2}, {2, [3]rtp.DTI{no, no, dis}, 1, 1}, {2, [3]rtp.DTI{no, no, dis}, 1, 3}} {
		f := s.Templates[i]
		diffs := uint8(1)
		if want.diff == 0 {
			diffs = 0
		}
		if f.Spatial != 0 || f.Temporal != want.temporal || [3]rtp.DTI(f.DTIs[:3]) != want.dtis || f.DiffCount != diffs || f.Diffs[0] != want.diff || f.ChainDiffs[0] != want.chain {
			t.Errorf("template %d: %+v", i, f)
		}
	}
	if b, ok := d.Append(nil, nil); !ok || !bytes.Equal(b, unhex(t, threeLayers)) {
		t.Errorf("written again % x, %v", b, ok)
	}

	const chrome = "80000180003a40813f80ef80"
	d, ok = rtp.ParseDependencyDescriptor(unhex(t, chrome), nil)
	if !ok || d.FrameNumber != 1 || d.ActiveTargets != 1 || d.Structure == nil || len(d.Structure.Templates) != 2 || d.Structure.Chains != 0 ||
		len(d.Structure.Resolutions) != 1 || d.Structure.Resolutions[0] != [2]int{640, 480} || d.Frame.DTIs[0] != sw {
		t.Errorf("%+v, %v", d, ok)
	}
	if b, ok := d.Append(nil, nil); !ok || !bytes.Equal(b, unhex(t, chrome)) {
		t.Errorf("written again % x, %v", b, ok)
	}

	// A frame of the second template, by its identifier alone.
	next, ok := rtp.ParseDependencyDescriptor([]byte{0xc1, 0, 2}, d.Structure)
	if !ok || !next.StartOfFrame || !next.EndOfFrame || next.Frame != d.Structure.Templates[1] || next.Structure != nil {
		t.Errorf("%+v, %v", next, ok)
	}
	if b, ok := next.Append(nil, d.Structure); !ok || !bytes.Equal(b, []byte{0xc1, 0, 2}) {
		t.Errorf("written again % x, %v", b, ok)
	}
}

// scalable is a structure of two spatial and two temporal layers, with everything that one can have.
func scalable() *rtp.DependencyStructure {
	s := &rtp.DependencyStructure{IDOffset: 62, DecodeTargets: 5, Chains: 3, Resolutions: [][2]int{{320, 180}, {65536, 1}}}
	copy(s.ProtectedBy[:], []uint8{0, 1, 2, 2, 0})
	for i, layer := range [][2]uint8{{0, 0}, {0, 1}, {0, 1}, {1, 0}, {1, 1}} {
		f := rtp.FrameDependency{Spatial: layer[0], Temporal: layer[1], DiffCount: uint8(i)}
		for j := range f.DiffCount {
			f.Diffs[j] = uint16(4*j + 1)
		}
		for j := range s.DecodeTargets {
			f.DTIs[j] = rtp.DTI((i + int(j)) % 4)
		}
		f.ChainDiffs = [32]uint8{uint8(i), 15, 7}
		s.Templates = append(s.Templates, f)
	}
	return s
}

func TestDependencyDescriptor(t *testing.T) {
	s := scalable()
	key := rtp.DependencyDescriptor{StartOfFrame: true, FrameNumber: 65535, TemplateID: 1, Structure: s, ActiveTargets: 31, Frame: s.Templates[3]}
	b, ok := key.Append([]byte("before"), nil)
	if !ok {
		t.Fatal("not written")
	}
	got, ok := rtp.ParseDependencyDescriptor(b[6:], nil)
	if !ok || got.Structure == nil || got.Frame != key.Frame || got.ActiveTargets != 31 || got.TemplateID != 1 || got.FrameNumber != 65535 {
		t.Fatalf("read %+v, %v", got, ok)
	}
	r := got.Structure
	if r.IDOffset != 62 || r.DecodeTargets != 5 || r.Chains != 3 || r.ProtectedBy != s.ProtectedBy || len(r.Templates) != 5 || len(r.Resolutions) != 2 || r.Resolutions[1] != s.Resolutions[1] {
		t.Errorf("read %+v", r)
	}
	for i := range s.Templates {
		if r.Templates[i] != s.Templates[i] {
			t.Errorf("template %d: %+v, want %+v", i, r.Templates[i], s.Templates[i])
		}
	}
	// Frames that differ from their template in each way, and in all.
	for i := range 16 {
		d := rtp.DependencyDescriptor{EndOfFrame: true, TemplateID: 62, Frame: s.Templates[0]}
		if i&1 != 0 {
			d.Frame.DTIs[4] = rtp.Discardable
		}
		if i&2 != 0 {
			d.Frame.DiffCount, d.Frame.Diffs = 3, [16]uint16{1, 255, 4096}
		}
		if i&4 != 0 {
			d.Frame.ChainDiffs[1] = 255
		}
		if i&8 != 0 {
			d.HasActiveTargets, d.ActiveTargets = true, 0b10101
		}
		b, ok := d.Append(nil, s)
		if !ok {
			t.Fatalf("%+v is not written", d)
		}
		if got, ok := rtp.ParseDependencyDescriptor(b, s); !ok || got != d {
			t.Errorf("read %+v, %v\nwant %+v", got, ok, d)
		}
		if _, ok := rtp.ParseDependencyDescriptor(b, nil); ok {
			t.Error("without a structure")
		}
		if _, ok := rtp.ParseDependencyDescriptor(b[:len(b)-1], s); ok && len(b) > 3 {
			t.Errorf("cut short: % x", b)
		}
	}
}

func TestDependencyDescriptorsThatAreNone(t *testing.T) {
	for name, change := range map[string]func(*rtp.DependencyDescriptor, *rtp.DependencyStructure){
		"no such template":      func(d *rtp.DependencyDescriptor, _ *rtp.DependencyStructure) { d.TemplateID = 20 },
		"another layer":         func(d *rtp.DependencyDescriptor, _ *rtp.DependencyStructure) { d.Frame.Temporal = 1 },
		"a reference to itself": func(d *rtp.DependencyDescriptor, _ *rtp.DependencyStructure) { d.Frame.DiffCount = 1 },
		"too many references":   func(d *rtp.DependencyDescriptor, _ *rtp.DependencyStructure) { d.Frame.DiffCount = 17 },
		"no targets":            func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.DecodeTargets = 0 },
		"more chains":           func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Chains = 6 },
		"no templates":          func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Templates = nil },
		"templates in disorder": func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Templates[2].Temporal = 0 },
		"a template far back":   func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Templates[1].Diffs[0] = 17 },
		"a chain far back":      func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Templates[1].ChainDiffs[0] = 16 },
		"no such chain":         func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.ProtectedBy[0] = 3 },
		"a size too few":        func(_ *rtp.DependencyDescriptor, s *rtp.DependencyStructure) { s.Resolutions = s.Resolutions[:1] },
	} {
		s := scalable()
		d := rtp.DependencyDescriptor{TemplateID: 62, Frame: s.Templates[0]}
		change(&d, s)
		if b, ok := d.Append([]byte("x"), s); ok || string(b) != "x" {
			t.Errorf("%s: written", name)
		}
	}
	if _, ok := (&rtp.DependencyDescriptor{}).Append(nil, nil); ok {
		t.Error("written without a structure")
	}
	for name, raw := range map[string]string{
		"empty": "", "two bytes": "8000", "no such template": "85 0000", "templates without end": "80 0000 80 00 00000000000000000000000000000000000000", "five spatial layers": "80 0000 80 00 2a a8 00000000000000000000",
	} {
		if d, ok := rtp.ParseDependencyDescriptor(unhex(t, raw), scalable()); ok {
			t.Errorf("%s: read %+v", name, d)
		}
	}
}

func TestDependencyDescriptorAllocatesNothing(t *testing.T) {
	s := scalable()
	d := rtp.DependencyDescriptor{EndOfFrame: true, TemplateID: 62, Frame: s.Templates[0]}
	d.Frame.DTIs[4] = rtp.Discardable
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		buf, _ = d.Append(buf[:0], s)
		if _, ok := rtp.ParseDependencyDescriptor(buf, s); !ok {
			t.Fatal("not read")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is read of layers is written in a form that is read the same.
func FuzzLayers(f *testing.F) {
	for _, raw := range []string{"80012f800214eaa860414d1410208426", "80000180003a40813f80ef80", "c10002", "00", "a1 50 64 9601 ac02 f403 dc0b 013f00b31e 027f01671e ffff00003c", "50 12 00 01 02"} {
		f.Add(unhex(f, raw))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, ok := rtp.ParseVideoLayers(b); ok {
			if again, ok := rtp.ParseVideoLayers(v.Append(nil)); !ok || again != v {
				t.Fatalf("layers %+v come back as %+v", v, again)
			}
		}
		for _, known := range []*rtp.DependencyStructure{nil, scalable()} {
			d, ok := rtp.ParseDependencyDescriptor(b, known)
			if !ok {
				continue
			}
			raw, ok := d.Append(nil, known)
			if !ok {
				t.Fatalf("%+v is not written", d)
			}
			again, ok := rtp.ParseDependencyDescriptor(raw, known)
			if d.Structure != nil && ok {
				for i := range d.Structure.Templates {
					if d.Structure.Templates[i] != again.Structure.Templates[i] {
						t.Fatalf("template %d", i)
					}
				}
			}
			d.Structure, again.Structure = nil, nil
			if !ok || again != d {
				t.Fatalf("%+v comes back as %+v", d, again)
			}
		}
	})
}
