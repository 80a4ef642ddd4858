package payload

import "github.com/parley-rtc/parley/protocol/rtp"

// Dependencies make dependency descriptors (AV1 RTP specification, appendix A) for a stream of any codec out of its frames'
// layers. The zero value is ready.
type Dependencies struct {
	// Resolutions are the width and height of each spatial layer, if the structure shall tell them; nil: it does not.
	Resolutions [][2]int

	mode      *Mode
	known     *rtp.DependencyStructure
	dependent dependent
}

// A dependent remembers what later frames depend on. Frames are counted from 1 on; 0: there is none.
type dependent struct {
	count   uint64
	picture uint64       // the first frame of the picture
	within  bool         // the last frame was not the last one of its picture
	key     bool         // the picture is a key picture
	last    [3][3]uint64 // the last frame of each spatial and temporal layer
	chain   [3]uint64    // the last frame of each chain
}

// Next describes the next frame of the stream: all but StartOfFrame and EndOfFrame, which are of its packets. Key says whether
// it is a key frame (see Format.KeyFrame); spatial layers above it in the same picture need not be. The descriptor of the first
// packet of a key frame has the Structure; that of the others must have none: clear it then. It is false if the frame has no
// place in its mode, or is predicted from one that was never there.
func (d *Dependencies) Next(f *Frame, key bool) (desc rtp.DependencyDescriptor, ok bool) {
	m, ok := modeOf(f)
	if !ok {
		return desc, false
	}
	restart := key && f.Spatial == 0 && !d.dependent.within
	if restart && (d.known == nil || *d.mode != *m) {
		d.build(m)
	}
	if d.known == nil || *d.mode != *m {
		return desc, false
	}
	dependency, ok := d.dependent.next(m, f.Spatial, f.Temporal, key, f.More)
	if !ok {
		return desc, false
	}
	desc.FrameNumber = uint16(d.dependent.count - 1)
	desc.Frame = dependency
	desc.TemplateID = d.template(&desc.Frame)
	if restart {
		desc.Structure = d.known
		desc.ActiveTargets = 1<<d.known.DecodeTargets - 1
	}
	return desc, true
}

// Structure is that of the last key frame, which [rtp.DependencyDescriptor.Append] needs to write descriptors.
func (d *Dependencies) Structure() *rtp.DependencyStructure { return d.known }

// template returns the template that is closest to a frame: what is different is written out.
func (d *Dependencies) template(f *rtp.FrameDependency) uint8 {
	best := -1
	for i := range d.known.Templates {
		t := &d.known.Templates[i]
		if t.Spatial != f.Spatial || t.Temporal != f.Temporal {
			continue
		}
		if *t == *f {
			return uint8(i)
		}
		if best < 0 || t.DTIs == f.DTIs {
			best = i
		}
	}
	return uint8(best)
}

// build makes the structure of a mode: its templates are what frames look like that keep to its pattern.
func (d *Dependencies) build(m *Mode) {
	s := &rtp.DependencyStructure{DecodeTargets: m.Spatial * m.Temporal, Chains: m.Spatial, Resolutions: d.Resolutions}
	if len(s.Resolutions) != int(m.Spatial) {
		s.Resolutions = nil
	}
	for t := range s.DecodeTargets {
		s.ProtectedBy[t] = t / m.Temporal
	}
	pattern := m.pattern()
	for spatial := range m.Spatial {
		for temporal := range m.Temporal {
			var frames dependent
			for i := range 3 * len(pattern) {
				for sid := range m.Spatial {
					f, _ := frames.next(m, sid, pattern[i%len(pattern)], i == 0, sid < m.Spatial-1)
					if sid == spatial && f.Temporal == temporal {
						addTemplate(s, f)
					}
				}
			}
		}
	}
	mode := *m
	d.mode, d.known = &mode, s
}

func addTemplate(s *rtp.DependencyStructure, f rtp.FrameDependency) {
	for i := range s.Templates {
		if s.Templates[i] == f {
			return
		}
	}
	s.Templates = append(s.Templates, f)
}

// next counts a frame and says what it depends on.
func (d *dependent) next(m *Mode, spatial, temporal uint8, key, more bool) (f rtp.FrameDependency, ok bool) {
	if m.prediction != predictNever && d.within {
		key = d.key // what is above a key frame is of the key picture
	}
	if !d.within {
		d.picture = d.count + 1
	}
	switch {
	case key && m.prediction == predictNever:
		d.last[spatial], d.chain[spatial] = [3]uint64{}, 0
	case key && spatial == 0:
		d.last, d.chain = [3][3]uint64{}, [3]uint64{}
	}
	d.key, d.within = key, more
	d.count++
	f.Spatial, f.Temporal = spatial, temporal
	refer := func(frame uint64) {
		if frame > 0 && d.count-frame <= maxDiff {
			f.Diffs[f.DiffCount] = uint16(d.count - frame)
			f.DiffCount++
			ok = true
		}
	}
	if ok = key; !key {
		refer(d.temporalReference(spatial, temporal))
	}
	if m.interLayer(spatial, key) {
		ok = false
		var below uint64
		for _, frame := range d.last[spatial-1] {
			below = max(below, frame)
		}
		if below >= d.picture {
			refer(below)
		}
	}
	for c := range m.Spatial {
		if diff := d.count - d.chain[c]; d.chain[c] > 0 && diff <= 255 { // else the layer was left out for long
			f.ChainDiffs[c] = uint8(diff)
		}
		if temporal == 0 && m.needs(c, spatial, key) {
			d.chain[c] = d.count
		}
	}
	for target := range m.Spatial * m.Temporal {
		f.DTIs[target] = m.dti(target/m.Temporal, target%m.Temporal, spatial, temporal, key)
	}
	d.last[spatial][temporal] = d.count
	return f, ok
}

// maxDiff is how far back a frame may refer (AV1 RTP specification, section A.9.2): twelve bits.
const maxDiff = 1 << 12

// temporalReference returns the frame of the same spatial layer that a frame is predicted from.
func (d *dependent) temporalReference(spatial, temporal uint8) (frame uint64) {
	layers := &d.last[spatial]
	if temporal == 0 {
		return layers[0]
	}
	for _, l := range layers[:temporal] {
		frame = max(frame, l)
	}
	return frame
}

// needs reports whether spatial layer top is decoded from frames of layer spatial.
func (m *Mode) needs(top, spatial uint8, key bool) bool {
	return spatial == top || spatial < top && m.interLayer(top, key)
}

// dti is what a frame is to a decode target, that is to whom decodes up to the layers top and upTo.
func (m *Mode) dti(top, upTo, spatial, temporal uint8, key bool) rtp.DTI {
	if temporal > upTo || !m.needs(top, spatial, key) {
		return rtp.NotPresent
	}
	if temporal > 0 && temporal == upTo && spatial == top {
		return rtp.Discardable
	}
	if key || spatial == top {
		return rtp.Switch
	}
	return rtp.Required // the layers above are predicted from frames before this one, too
}
