package payload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// AV1 RTP specification, section A.10.2: "Scalability structure examples". A line is S, T, Fdiffs, Chains, DTIs. There decode
// targets are listed from the highest down, here from the lowest up, as libwebrtc numbers them.
var structures = map[string]string{
	"L1T3": `
		0 0 - 0 SSS
		0 0 4 4 SSS
		0 1 2 2 SD-
		0 2 1 1 D--
		0 2 1 3 D--`,
	"L3T3": `
		0 0 - 0,0,0 SSSSSSSSS
		0 0 12 12,11,10 RRRRRRSSS
		0 1 6 6,5,4 RR-RR-SD-
		0 2 3 3,2,1 R--R--D--
		0 2 3 9,8,7 R--R--D--
		1 0 1 1,1,1 SSSSSS---
		1 0 12,1 1,1,1 RRRSSS---
		1 1 6,1 7,6,5 RR-SD----
		1 2 3,1 4,3,2 R--D-----
		1 2 3,1 10,9,8 R--D-----
		2 0 1 2,1,1 SSS------
		2 0 12,1 2,1,1 SSS------
		2 1 6,1 8,7,6 SD-------
		2 2 3,1 5,4,3 D--------
		2 2 3,1 11,10,9 D--------`,
}

func describe(f *rtp.FrameDependency, targets, chains uint8) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d ", f.Spatial, f.Temporal)
	for i, d := range f.Diffs[:f.DiffCount] {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, d)
	}
	if f.DiffCount == 0 {
		b.WriteByte('-')
	}
	for c, d := range f.ChainDiffs[:chains] {
		b.WriteByte(" ,"[min(c, 1)])
		fmt.Fprint(&b, d)
	}
	b.WriteByte(' ')
	for t := range targets {
		b.WriteByte("-DSR"[f.DTIs[targets-1-t]])
	}
	return b.String()
}

func TestStructures(t *testing.T) {
	for name, want := range structures {
		m, _ := ParseMode(name)
		var d Dependencies
		desc, ok := d.Next(&Frame{Mode: m}, true)
		if !ok || desc.Structure == nil {
			t.Fatal(name)
		}
		s := desc.Structure
		var got []string
		for i := range s.Templates {
			got = append(got, describe(&s.Templates[i], s.DecodeTargets, s.Chains))
		}
		lines := strings.Fields(want)
		var expected []string
		for i := 0; i < len(lines); i += 5 {
			expected = append(expected, strings.Join(lines[i:i+5], " "))
		}
		if strings.Join(got, "\n") != strings.Join(expected, "\n") {
			t.Errorf("%s:\n%s", name, strings.Join(got, "\n"))
		}
	}
}

var allModes = []string{"L1T1", "L1T2", "L1T3", "L2T1", "L2T1h", "L2T1_KEY", "L2T2", "L2T2_KEY", "L2T2_KEY_SHIFT", "L2T3", "L2T3_KEY", "L3T1", "L3T1_KEY",
	"L3T2", "L3T2_KEY", "L3T3", "L3T3h", "L3T3_KEY", "L3T3_KEY_SHIFT", "S2T1", "S2T2", "S2T3", "S3T1", "S3T2", "S3T3"}

// What is written can be read by who has the last structure, and says that each frame of a decode target depends on frames of
// that target only, all of which there were.
func TestDependencies(t *testing.T) {
	for _, name := range allModes {
		m, _ := ParseMode(name)
		var d Dependencies
		var known *rtp.DependencyStructure
		var frames []rtp.FrameDependency
		for i := range 40 {
			key := i == 0 || i == 21 // the second in the middle of a pattern
			for spatial := range m.Spatial {
				temporal := m.pattern()[i%len(m.pattern())]
				if key {
					temporal = 0
				}
				desc, ok := d.Next(&Frame{Mode: m, Spatial: spatial, Temporal: temporal, More: spatial < m.Spatial-1}, key && (spatial == 0 || name[0] == 'S'))
				if !ok {
					t.Fatalf("%s: picture %d, layer %d", name, i, spatial)
				}
				desc.StartOfFrame = true
				b, ok := desc.Append(nil, d.Structure())
				if !ok {
					t.Fatalf("%s: picture %d, layer %d cannot be written: %+v", name, i, spatial, desc)
				}
				if desc.Structure == nil && i < 21 && len(b) != 3 { // "mandatory fields" alone, as long as the pattern is kept
					t.Errorf("%s: picture %d, layer %d takes %d bytes", name, i, spatial, len(b))
				}
				got, ok := rtp.ParseDependencyDescriptor(b, known)
				if !ok || got.FrameNumber != uint16(len(frames)) || got.Frame != desc.Frame || (got.Structure != nil) != (key && spatial == 0) {
					t.Fatalf("%s: picture %d, layer %d: read %+v, written %+v", name, i, spatial, got, desc)
				}
				if got.Structure != nil {
					known = got.Structure
				}
				frames = append(frames, got.Frame)
				checkFrame(t, name, frames, known)
			}
		}
	}
}

func checkFrame(t *testing.T, name string, frames []rtp.FrameDependency, s *rtp.DependencyStructure) {
	t.Helper()
	n := len(frames) - 1
	f := &frames[n]
	for target := range s.DecodeTargets {
		if f.DTIs[target] == rtp.NotPresent {
			continue
		}
		for _, diff := range f.Diffs[:f.DiffCount] {
			if int(diff) > n {
				t.Fatalf("%s: frame %d refers to one %d before it", name, n, diff)
			}
			switch frames[n-int(diff)].DTIs[target] {
			case rtp.NotPresent, rtp.Discardable:
				t.Fatalf("%s: frame %d needs frame %d, which target %d would leave out", name, n, n-int(diff), target)
			}
		}
	}
	for c, diff := range f.ChainDiffs[:s.Chains] {
		if int(diff) > n {
			t.Fatalf("%s: frame %d: chain %d is %d before it", name, n, c, diff)
		}
	}
}

// An encoder leaves frames out; then what is different from the templates is written out, and is right.
func TestDependenciesOfDroppedFrames(t *testing.T) {
	m, _ := ParseMode("L1T3")
	var d Dependencies
	want := []string{"0 0 - 0 SSS", "0 2 1 1 D--", "0 2 2 2 D--", "0 0 3 3 SSS", "0 1 1 1 SD-"}
	for i, temporal := range []uint8{0, 2, 2, 0, 1} {
		desc, ok := d.Next(&Frame{Mode: m, Temporal: temporal}, i == 0)
		if got := describe(&desc.Frame, 3, 1); !ok || got != want[i] {
			t.Errorf("frame %d: %s, %v", i, got, ok)
		}
		if _, ok := desc.Append(nil, d.Structure()); !ok {
			t.Errorf("frame %d cannot be written", i)
		}
	}
	// A mode begins with a key frame, and so does a stream.
	if _, ok := new(Dependencies).Next(&Frame{Mode: m}, false); ok {
		t.Error("a stream began without key frame")
	}
	other, _ := ParseMode("L1T2")
	if _, ok := d.Next(&Frame{Mode: other}, false); ok {
		t.Error("the mode changed without key frame")
	}
	if _, ok := d.Next(&Frame{Mode: other, Temporal: 2}, true); ok {
		t.Error("there is no such layer")
	}
	if desc, ok := d.Next(&Frame{Mode: other}, true); !ok || desc.Structure == nil || desc.Structure.DecodeTargets != 2 {
		t.Errorf("%+v, %v", desc, ok)
	}
}

func TestDependencyResolutions(t *testing.T) {
	m, _ := ParseMode("L2T1")
	d := Dependencies{Resolutions: [][2]int{{320, 180}, {640, 360}}}
	desc, _ := d.Next(&Frame{Mode: m, More: true}, true)
	b, ok := desc.Append(nil, nil)
	got, parsed := rtp.ParseDependencyDescriptor(b, nil)
	if !ok || !parsed || len(got.Structure.Resolutions) != 2 || got.Structure.Resolutions[1] != [2]int{640, 360} {
		t.Errorf("%+v", got.Structure)
	}
}

func BenchmarkDependencies(b *testing.B) {
	m, _ := ParseMode("L3T3")
	var d Dependencies
	buf := make([]byte, 0, 256)
	d.Next(&Frame{Mode: m, More: true}, true)
	d.Next(&Frame{Mode: m, Spatial: 1, More: true}, false)
	d.Next(&Frame{Mode: m, Spatial: 2}, false)
	b.ReportAllocs()
	for b.Loop() {
		desc, _ := d.Next(&Frame{Mode: m}, false)
		var ok bool
		if buf, ok = desc.Append(buf[:0], d.Structure()); !ok {
			b.Fatal(desc)
		}
	}
}
