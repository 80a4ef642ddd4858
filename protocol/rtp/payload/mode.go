package payload

import "strings"

// A Mode is a scalability mode (W3C webrtc-svc section 6): how the frames of a stream form layers, and which of them are
// predicted from which.
//
// In each spatial layer a frame of temporal layer 0 is predicted from the last one of layer 0, and one of a layer above from
// the last one of any layer below it. A spatial layer is also predicted from the one below it in the same picture: always
// (L), in key pictures only (L with _KEY), or never (S, where layers are encodings of their own).
type Mode struct {
	Spatial, Temporal uint8 // how many layers of each kind there are, 1 to 3
	prediction        prediction
}

// prediction says when a spatial layer is predicted from the one below.
type prediction uint8

const (
	predictAlways prediction = iota
	predictKeys
	predictNever
)

// single is the mode of a stream without layers.
var single = Mode{Spatial: 1, Temporal: 1}

// ParseMode reads the name of a mode, as "L1T3" or "L3T3_KEY". The modes with h, whose spatial layers are in a ratio of 1.5 to
// 1, and those with _SHIFT, where the layers of a picture are of different temporal layers, have the same dependencies as the
// ones without.
func ParseMode(name string) (*Mode, bool) {
	if len(name) < 4 || (name[0] != 'L' && name[0] != 'S') || name[2] != 'T' {
		return nil, false
	}
	m := &Mode{Spatial: name[1] - '0', Temporal: name[3] - '0'}
	if m.Spatial < 1 || m.Spatial > 3 || m.Temporal < 1 || m.Temporal > 3 {
		return nil, false
	}
	rest, narrow := strings.CutPrefix(name[4:], "h")
	switch {
	case name[0] == 'S' && rest == "":
		m.prediction = predictNever
	case name[0] == 'L' && rest == "_KEY", name[0] == 'L' && rest == "_KEY_SHIFT" && m.Temporal > 1 && !narrow:
		m.prediction = predictKeys
	case name[0] == 'S' || rest != "":
		return nil, false
	}
	if m.Spatial == 1 && (narrow || m.prediction != predictAlways) {
		return nil, false
	}
	return m, true
}

// modeOf returns the mode of a frame, and whether the frame has a place in it.
func modeOf(f *Frame) (*Mode, bool) {
	m := f.Mode
	if m == nil {
		m = &single
	}
	return m, f.Spatial < m.Spatial && f.Temporal < m.Temporal
}

// interLayer reports whether a frame is predicted from the spatial layer below it.
func (m *Mode) interLayer(spatial uint8, key bool) bool {
	return spatial > 0 && (m.prediction == predictAlways || m.prediction == predictKeys && key)
}

// discardable reports whether frames of a temporal layer are needed by no later picture.
func (m *Mode) discardable(temporal uint8) bool { return temporal > 0 && temporal == m.Temporal-1 }

// pattern returns the temporal layers of successive pictures, from a key picture on, after which they repeat.
func (m *Mode) pattern() []uint8 {
	switch m.Temporal {
	case 2:
		return []uint8{0, 1}
	case 3:
		return []uint8{0, 2, 1, 2}
	}
	return []uint8{0}
}
