package jitter

import (
	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

const (
	temporalLayers = 8
	remembered     = 512 // frames of which it is known whether they were given out; descriptors reach back 4096, codecs a few
	layerFrames    = 4   // of one picture: its spatial layers
)

// A dependency is what a dependency descriptor says that a frame needs.
type dependency struct {
	known  bool
	number uint16
	count  uint8
	diffs  [rtp.MaxFrameDiffs]uint16
}

// References decide whether a frame can be decoded, by what was given out before. With dependency descriptors that is known
// exactly; with temporal layers as VP8 and VP9 count them, for the base and for layers that nothing is missing of; of other
// streams each frame needs the one before.
type references struct {
	started  bool // there was a key frame
	unbroken bool // and no frame was left out since
	starved  bool // a frame of the base could not be decoded: only a key frame helps, or a frame that needs older ones alone
	tl0      uint8
	intact   [temporalLayers]bool // nothing of this layer is missing

	numbers seqnum.Unwrapper[uint16]
	decoded [remembered]int64 // number+1 of the frame that was last given out in this place
}

// can reports whether f can be decoded next; gap says that it does not follow upon the last one.
func (r *references) can(f *frame, gap bool) bool {
	switch {
	case f.key:
		return true
	case !r.started:
		return false
	case f.layers > 0:
		return r.hasAll(f)
	case !gap && r.unbroken:
		return true
	case !f.part.HasTL0PicIdx:
		return false
	case f.part.Temporal == 0:
		return f.part.TL0PicIdx == r.tl0+1
	}
	return f.part.TL0PicIdx == r.tl0 && (r.intact[f.part.Temporal%temporalLayers] && !gap || f.alone())
}

// alone reports whether a frame of a higher layer needs the base only: VP8's layer sync (RFC 7741 section 4.2, Y).
func (f *frame) alone() bool {
	_, vp8 := f.kind.format.(payload.VP8)
	return vp8 && f.part.Sync
}

// hasAll reports whether all that the frames of a picture refer to was given out, or is of the picture.
func (r *references) hasAll(f *frame) bool {
	for i := range f.layers {
		d := &f.needs[i]
		number := r.numbers.Peek(d.number)
		for _, diff := range d.diffs[:d.count] {
			if n := number - int64(diff); r.decoded[n&(remembered-1)] != n+1 && !f.contains(uint16(n)) {
				return false
			}
		}
	}
	return true
}

func (f *frame) contains(number uint16) bool {
	for i := range f.layers {
		if f.needs[i].number == number {
			return true
		}
	}
	return false
}

// took tells that a frame goes to the decoder.
func (r *references) took(f *frame, gap bool) {
	if f.key {
		*r = references{started: true, unbroken: true, numbers: r.numbers, decoded: r.decoded}
		for i := range r.intact {
			r.intact[i] = true
		}
	} else if gap {
		r.broke()
	}
	for i := range f.layers {
		n := r.numbers.Unwrap(f.needs[i].number)
		r.decoded[n&(remembered-1)] = n + 1
	}
	t := f.part.Temporal % temporalLayers
	if t == 0 {
		r.starved = false
		r.tl0 = f.part.TL0PicIdx
	}
	switch {
	case f.alone():
		r.intact[t] = true
	case f.part.Sync:
		for i := t + 1; i < temporalLayers; i++ {
			r.intact[i] = true
		}
	}
}

// left tells that a frame of a temporal layer is left out, because it cannot be decoded.
func (r *references) left(temporal uint8) {
	r.broke()
	if temporal == 0 {
		r.starved = true
	}
}

// broke tells that something is missing, nobody knows what.
func (r *references) broke() {
	r.unbroken = false
	r.intact = [temporalLayers]bool{true}
}
