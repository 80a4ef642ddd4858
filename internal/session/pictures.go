package session

import (
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

const (
	lookForSize = 3   // packets of a picture, the first ones, that may tell of its size
	hugeFrame   = 2.5 // "2.5 times the average size of frames" (webrtc-stats, hugeFramesSent)
)

// pictures are those of a stream of video: what has the same timestamp is one.
type pictures struct {
	started       bool
	timestamp     uint32
	look          uint8 // packets of this one that are still to be looked at
	key           bool  // this one is a key frame
	width, height int
	rate          FrameRate
}

// packet takes a packet in. Pictures that come late are not counted.
func (x *pictures) packet(now mono.Time, f *format, timestamp uint32, b []byte) {
	if d := seqnum.Diff(timestamp, x.timestamp); d > 0 || !x.started {
		x.started, x.timestamp, x.look, x.key = true, timestamp, lookForSize, false
		x.rate.add(now)
	} else if d < 0 || x.look == 0 {
		return
	}
	x.look--
	if width, height, ok := payload.PictureSize(f.pictures, b); ok {
		x.width, x.height, x.key, x.look = width, height, true, 0
	}
}

// A FrameRate counts the frames of the last second.
type FrameRate struct {
	slots [rateSlots + 1]uint8 // a second and the tenth of one that goes on
	slot  int64
}

const (
	rateSlots = 10
	rateSlot  = time.Second / rateSlots
)

func (r *FrameRate) add(now mono.Time) {
	slot := int64(now) / int64(rateSlot)
	if slot-r.slot > int64(len(r.slots)) {
		*r = FrameRate{slot: slot}
	}
	for ; r.slot < slot; r.slot++ {
		r.slots[(r.slot+1)%int64(len(r.slots))] = 0
	}
	if n := &r.slots[slot%int64(len(r.slots))]; *n < 255 {
		*n++
	}
}

// At returns how many frames there were in the second that ends now, or less than a tenth of a second before.
func (r *FrameRate) At(now mono.Time) (n int) {
	slot := int64(now) / int64(rateSlot)
	for i := max(slot-rateSlots, r.slot-rateSlots); i < slot && i <= r.slot; i++ {
		if i >= 0 {
			n += int(r.slots[i%int64(len(r.slots))])
		}
	}
	return n
}

// sentFrames is what is counted of the pictures that an encoding sends.
type sentFrames struct {
	pictures
	key     bool // this one is, as the owner says
	bytes   int  // of this one
	average float64
	last    mono.Time
}

// packet takes a packet that leaves; last is the end of a picture.
func (x *sentFrames) packet(now mono.Time, e *encoding, f *format, i *item, b []byte) {
	x.pictures.packet(now, f, i.timestamp, b)
	x.bytes += len(b)
	x.key = x.key || i.keyFrame || x.pictures.key
	if !i.marker {
		return
	}
	o := &e.stats
	o.FramesSent++
	if x.key {
		o.KeyFramesSent++
	}
	if x.average > 0 && float64(x.bytes) >= hugeFrame*x.average {
		o.HugeFramesSent++
	}
	if x.average == 0 {
		x.average = float64(x.bytes)
	}
	x.average += (float64(x.bytes) - x.average) / 32
	if x.last != 0 { // "each time a frame is encoded ... by the target frame size"
		o.TotalEncodedBytesTarget += uint64(float64(e.flow.target) / 8 * min(now.Sub(x.last), time.Second).Seconds())
	}
	x.last, x.key, x.bytes = now, false, 0
}

// A QualityLimitation is why an encoding is not better than it is: "bandwidth", or "none".
type QualityLimitation struct {
	Bandwidth         bool
	InBandwidth, None time.Duration // how long it was the one, and the other
}

// fullUse is the share of its target that an encoder must have used for the target to be what limits it.
const fullUse = 0.75

// judge takes the time that has passed since the last time as one or the other.
func (l *QualityLimitation) judge(e *encoding, passed time.Duration) {
	f := &e.flow
	useful := float64(e.layer(e.section, e.index).Max) * f.share
	l.Bandwidth = e.sends() && f.decided && float64(f.target) < 0.95*useful && (f.target == 0 || f.input >= fullUse*float64(f.target))
	switch {
	case !e.sends():
	case l.Bandwidth:
		l.InBandwidth += passed
	default:
		l.None += passed
	}
}
