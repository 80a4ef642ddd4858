package rtp

import (
	"math/bits"

	"github.com/parley-rtc/parley/internal/wire"
)

// Bounds of a dependency descriptor: those of its fields, but for MaxFrameDiffs, which is more than any codec has.
const (
	MaxDecodeTargets = 32
	MaxTemplates     = 64
	MaxFrameDiffs    = 16
	maxChains        = 32
	maxIDs           = 64 // template identifiers
)

// DTI is what a frame is to one decode target.
type DTI uint8

const (
	NotPresent  DTI = iota // the target does without the frame
	Discardable            // it has it, and no other frame of it needs it
	Switch                 // from here on the target can be decoded
	Required               // it needs it
)

// A FrameDependency says what a frame needs, and who needs it: of a template, or of a frame.
type FrameDependency struct {
	Spatial, Temporal uint8
	DTIs              [MaxDecodeTargets]DTI // by decode target
	Diffs             [MaxFrameDiffs]uint16 // how many frames before this one those that it refers to are
	DiffCount         uint8                 // how many of these there are
	ChainDiffs        [maxChains]uint8      // how many frames before this one the last of each chain is
}

// A DependencyStructure is what descriptors refer to from one keyframe to the next.
type DependencyStructure struct {
	IDOffset      uint8 // identifier of the first template
	DecodeTargets uint8 // 1 to 32
	Chains        uint8 // 0 to 32
	ProtectedBy   [MaxDecodeTargets]uint8
	Templates     []FrameDependency // 1 to 64, by spatial and then by temporal layer
	// Resolutions are the width and height of each spatial layer, 1 to 65536, or none.
	Resolutions [][2]int
}

// A DependencyDescriptor says what the frame of a packet depends on (AV1 RTP specification, appendix A).
type DependencyDescriptor struct {
	StartOfFrame, EndOfFrame bool
	FrameNumber              uint16
	TemplateID               uint8
	// Structure is a new one, with a keyframe; else nil.
	Structure *DependencyStructure
	// ActiveTargets are bits of the decode targets that are sent, if HasActiveTargets. Before any it is all.
	ActiveTargets    uint32
	HasActiveTargets bool
	Frame            FrameDependency
}

// ParseDependencyDescriptor reads a value of URIDependency. Known is the structure of the last descriptor that had one; it is
// false if that is needed and nil. It allocates nothing but a new structure.
func ParseDependencyDescriptor(b []byte, known *DependencyStructure) (d DependencyDescriptor, ok bool) {
	r := wire.NewBitReader(b)
	d.StartOfFrame, d.EndOfFrame = r.Flag(), r.Flag()
	d.TemplateID, d.FrameNumber = uint8(r.Bits(6)), uint16(r.Bits(16))
	var hasStructure, ownDTIs, ownDiffs, ownChains bool
	if len(b) > 3 {
		hasStructure, d.HasActiveTargets = r.Flag(), r.Flag()
		ownDTIs, ownDiffs, ownChains = r.Flag(), r.Flag(), r.Flag()
	}
	if hasStructure {
		if known = structureOf(&r); known == nil {
			return d, false
		}
		d.Structure = known
		d.ActiveTargets = 1<<known.DecodeTargets - 1
	}
	if known == nil {
		return d, false
	}
	if d.HasActiveTargets {
		d.ActiveTargets = r.Bits(int(known.DecodeTargets))
	}
	i := int(d.TemplateID-known.IDOffset) & (maxIDs - 1)
	if i >= len(known.Templates) {
		return d, false
	}
	d.Frame = known.Templates[i]
	if ownDTIs {
		for t := range known.DecodeTargets {
			d.Frame.DTIs[t] = DTI(r.Bits(2))
		}
	}
	if ownDiffs {
		d.Frame.DiffCount, d.Frame.Diffs = 0, [MaxFrameDiffs]uint16{}
		for size := r.Bits(2); size > 0; size = r.Bits(2) {
			if !d.Frame.addDiff(r.Bits(4*int(size)) + 1) {
				return d, false
			}
		}
	}
	if ownChains {
		for c := range known.Chains {
			d.Frame.ChainDiffs[c] = uint8(r.Bits(8))
		}
	}
	return d, r.OK()
}

func (f *FrameDependency) addDiff(diff uint32) bool {
	if f.DiffCount == MaxFrameDiffs {
		return false
	}
	f.Diffs[f.DiffCount] = uint16(diff)
	f.DiffCount++
	return true
}

// structure reads a template_dependency_structure; nil if it is none.
func structureOf(r *wire.BitReader) *DependencyStructure {
	s := &DependencyStructure{IDOffset: uint8(r.Bits(6)), DecodeTargets: uint8(r.Bits(5)) + 1}
	var f FrameDependency
	for more := true; more; {
		if len(s.Templates) == MaxTemplates || f.Spatial > 3 || f.Temporal > 7 {
			return nil
		}
		s.Templates = append(s.Templates, f)
		switch r.Bits(2) { // next_layer_idc
		case 1:
			f.Temporal++
		case 2:
			f.Temporal = 0
			f.Spatial++
		case 3:
			more = false
		}
		if !r.OK() {
			return nil
		}
	}
	for i := range s.Templates {
		for t := range s.DecodeTargets {
			s.Templates[i].DTIs[t] = DTI(r.Bits(2))
		}
	}
	for i := range s.Templates {
		for r.Flag() {
			if !s.Templates[i].addDiff(r.Bits(4) + 1) {
				return nil
			}
		}
	}
	if s.Chains = uint8(nonSymmetric(r, uint32(s.DecodeTargets)+1)); s.Chains > 0 {
		for t := range s.DecodeTargets {
			s.ProtectedBy[t] = uint8(nonSymmetric(r, uint32(s.Chains)))
		}
		for i := range s.Templates {
			for c := range s.Chains {
				s.Templates[i].ChainDiffs[c] = uint8(r.Bits(4))
			}
		}
	}
	if r.Flag() {
		for range f.Spatial + 1 {
			s.Resolutions = append(s.Resolutions, [2]int{int(r.Bits(16)) + 1, int(r.Bits(16)) + 1})
		}
	}
	if !r.OK() {
		return nil
	}
	return s
}

// Append writes the value. Known is the structure that receivers have, which is that of the descriptor if it has one. It is false
// if no template fits: TemplateID is none of them, or a field has no room for its value.
func (d *DependencyDescriptor) Append(dst []byte, known *DependencyStructure) ([]byte, bool) {
	if d.Structure != nil {
		known = d.Structure
	}
	if known == nil || !known.valid() {
		return dst, false
	}
	i := int(d.TemplateID-known.IDOffset) & (maxIDs - 1)
	if i >= len(known.Templates) || d.TemplateID >= maxIDs {
		return dst, false
	}
	template, f := &known.Templates[i], &d.Frame
	if f.Spatial != template.Spatial || f.Temporal != template.Temporal || f.DiffCount > MaxFrameDiffs {
		return dst, false
	}
	ownDTIs := f.DTIs != template.DTIs
	ownDiffs := f.DiffCount != template.DiffCount || f.Diffs != template.Diffs
	ownChains := f.ChainDiffs != template.ChainDiffs
	w := bitWriter{b: dst}
	w.flag(d.StartOfFrame)
	w.flag(d.EndOfFrame)
	w.bits(uint32(d.TemplateID), 6)
	w.bits(uint32(d.FrameNumber), 16)
	if d.Structure == nil && !d.HasActiveTargets && !ownDTIs && !ownDiffs && !ownChains {
		return w.b, true
	}
	for _, v := range [...]bool{d.Structure != nil, d.HasActiveTargets, ownDTIs, ownDiffs, ownChains} {
		w.flag(v)
	}
	if d.Structure != nil {
		w.structure(known)
	}
	if d.HasActiveTargets {
		w.bits(d.ActiveTargets, int(known.DecodeTargets))
	}
	if ownDTIs {
		for t := range known.DecodeTargets {
			w.bits(uint32(f.DTIs[t]), 2)
		}
	}
	if ownDiffs {
		for _, diff := range f.Diffs[:f.DiffCount] {
			if diff < 1 || diff > 1<<12 {
				return dst, false
			}
			size := (bits.Len16(diff-1) + 3) / 4
			size = max(size, 1)
			w.bits(uint32(size), 2)
			w.bits(uint32(diff-1), 4*size)
		}
		w.bits(0, 2)
	}
	if ownChains {
		for c := range known.Chains {
			w.bits(uint32(f.ChainDiffs[c]), 8)
		}
	}
	return w.b, true
}

// valid reports whether a structure can be written.
func (s *DependencyStructure) valid() bool {
	if s.IDOffset >= maxIDs || s.DecodeTargets < 1 || s.DecodeTargets > MaxDecodeTargets || s.Chains > s.DecodeTargets ||
		len(s.Templates) < 1 || len(s.Templates) > MaxTemplates {
		return false
	}
	last := FrameDependency{}
	for i := range s.Templates {
		f := &s.Templates[i]
		same, temporal, spatial := f.Spatial == last.Spatial, f.Temporal == last.Temporal, f.Spatial == last.Spatial+1 && f.Temporal == 0
		if f.DiffCount > MaxFrameDiffs || !(same && temporal) && (i == 0 || !(same && f.Temporal == last.Temporal+1) && !spatial) {
			return false
		}
		for _, diff := range f.Diffs[:f.DiffCount] {
			if diff < 1 || diff > 16 {
				return false
			}
		}
		for _, diff := range f.ChainDiffs {
			if diff > 15 {
				return false
			}
		}
		last = *f
	}
	for t := range s.DecodeTargets {
		if s.Chains > 0 && s.ProtectedBy[t] >= s.Chains {
			return false
		}
	}
	return len(s.Resolutions) == 0 || len(s.Resolutions) == int(last.Spatial)+1
}

func (w *bitWriter) structure(s *DependencyStructure) {
	w.bits(uint32(s.IDOffset), 6)
	w.bits(uint32(s.DecodeTargets-1), 5)
	for i := range s.Templates {
		next := uint32(3)
		if i+1 < len(s.Templates) {
			switch a, b := &s.Templates[i], &s.Templates[i+1]; {
			case b.Spatial > a.Spatial:
				next = 2
			case b.Temporal > a.Temporal:
				next = 1
			default:
				next = 0
			}
		}
		w.bits(next, 2)
	}
	for i := range s.Templates {
		for t := range s.DecodeTargets {
			w.bits(uint32(s.Templates[i].DTIs[t]), 2)
		}
	}
	for i := range s.Templates {
		f := &s.Templates[i]
		for _, diff := range f.Diffs[:f.DiffCount] {
			w.flag(true)
			w.bits(uint32(diff-1), 4)
		}
		w.flag(false)
	}
	w.nonSymmetric(uint32(s.Chains), uint32(s.DecodeTargets)+1)
	if s.Chains > 0 {
		for t := range s.DecodeTargets {
			w.nonSymmetric(uint32(s.ProtectedBy[t]), uint32(s.Chains))
		}
		for i := range s.Templates {
			for c := range s.Chains {
				w.bits(uint32(s.Templates[i].ChainDiffs[c]), 4)
			}
		}
	}
	w.flag(len(s.Resolutions) > 0)
	for _, size := range s.Resolutions {
		w.bits(uint32(sizeOf(size[0])), 16)
		w.bits(uint32(sizeOf(size[1])), 16)
	}
}

// nonSymmetric reads a number below n, ns(n): of as few bits as that takes, the smaller ones of one bit less.
func nonSymmetric(r *wire.BitReader, n uint32) uint32 {
	w := bits.Len32(n)
	m := uint32(1)<<w - n
	v := r.Bits(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.Bits(1)
}

// A bitWriter appends bits.
type bitWriter struct {
	b    []byte
	left int // bits of the last byte that are free
}

func (w *bitWriter) bits(v uint32, n int) {
	for n--; n >= 0; n-- {
		if w.left == 0 {
			w.b, w.left = append(w.b, 0), 8
		}
		w.left--
		w.b[len(w.b)-1] |= byte(v>>n&1) << w.left
	}
}

func (w *bitWriter) flag(v bool) {
	if v {
		w.bits(1, 1)
	} else {
		w.bits(0, 1)
	}
}

func (w *bitWriter) nonSymmetric(v, n uint32) {
	width := bits.Len32(n)
	m := uint32(1)<<width - n
	if v < m {
		w.bits(v, width-1)
		return
	}
	w.bits(v+m, width)
}
