package webrtc

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A Sample is one encoded frame: an access unit of H.264 or H.265 with start codes, a temporal unit of AV1, a frame of the
// other codecs.
type Sample struct {
	Data []byte
	// Duration is how long it lasts: when the next one begins. Of Opus 0 is what the frame itself says.
	Duration time.Duration
	// Captured is when it was recorded; zero: when it is written. Of what was received: in the peer's clock, zero if unknown.
	Captured time.Time
	// AudioLevel is how loud it is, if that is known (RFC 6464).
	AudioLevel *rtp.AudioLevel
	// Spatial and Temporal are the layer of the frame, in the mode that the track was told. More says that a further spatial
	// layer of the same picture follows, whose sample begins when this one does.
	Spatial, Temporal uint8
	More              bool

	// What follows is of samples that were received.

	// Timestamp is that of RTP, in units of the codec's clock.
	Timestamp uint32
	// KeyFrame says that it can be decoded without those before it.
	KeyFrame bool
	// Lost says that this one of audio never came: Data is nil, or for Opus the next packet if it is there already, whose
	// in-band correction stands in for it.
	Lost bool
	// Missing is how many packets were given up right before it.
	Missing int
	// Codec is what it is encoded in.
	Codec RTPCodec
}

// A SampleTrack is a track of ours to which encoded frames are written.
type SampleTrack struct {
	*feed
	format payload.Format

	mu         sync.Mutex
	packetizer payload.Packetizer
	mode       *payload.Mode
	layers     payload.Dependencies
	descriptor []byte        // of the packet at hand
	base       uint32        // timestamp of the first sample
	elapsed    time.Duration // of all samples
	payload    []byte
	level      [1]byte
	parts      map[string]*SampleTrack
}

// NewSampleTrack makes a track for frames of a codec. The label is for people. A codec without a format here is a
// NotSupportedError.
func NewSampleTrack(codec RTPCodec, label string) (*SampleTrack, error) {
	f, err := newSource(codec, label)
	if err != nil {
		return nil, err
	}
	c := codec.jsep()
	format, ok := payload.For(c.Name, c.FMTP)
	if !ok {
		return nil, fail(NotSupportedError, "frames of %s are not known here: an RTPTrack takes packets of any codec", codec.MimeType)
	}
	return newSampleTrack(f, format), nil
}

func newSampleTrack(f *feed, format payload.Format) *SampleTrack {
	return &SampleTrack{feed: f, format: format, packetizer: format.NewPacketizer(rand.Uint32()), base: rand.Uint32()}
}

// Encoding returns the part of the track that feeds encodings of this RID, in every sender that has one; the same one at
// each call. The track as such feeds senders without simulcast, and the first encoding of others if there is no part for its
// RID.
func (t *SampleTrack) Encoding(rid string) *SampleTrack {
	if rid == t.rid {
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parts == nil {
		t.parts = map[string]*SampleTrack{}
	}
	if t.parts[rid] == nil {
		t.parts[rid] = newSampleTrack(t.src.feed(rid), t.format)
	}
	return t.parts[rid]
}

// SetScalabilityMode says how the samples form layers (webrtc-svc), "L1T1" at first. A mode that there is not is an
// OperationError.
func (t *SampleTrack) SetScalabilityMode(mode string) error {
	m, ok := payload.ParseMode(mode)
	if !ok {
		return fail(OperationError, "%q is no mode of scalability", mode)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mode = m
	return nil
}

// WriteSample sends a frame to every sender of the track, cut into packets. It never waits: what a sender cannot take is
// dropped and counted. Data that is not of the codec is a TypeError, a track that has ended an InvalidStateError, and ErrCodec says
// that nobody takes what it is written in.
func (t *SampleTrack) WriteSample(s Sample) error {
	ok, err := t.mayWrite()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clock := int64(t.src.codec.ClockRate)
	l := mediaLetter{
		timestamp: t.base + uint32(int64(t.elapsed/time.Second)*clock+int64(t.elapsed%time.Second)*clock/int64(time.Second)),
		captured:  s.Captured,
	}
	if l.captured.IsZero() {
		l.captured = time.Now()
	}
	video := t.Kind() == "video"
	if s.Duration == 0 && !video {
		if p, err := t.format.Parse(s.Data); err == nil {
			s.Duration = time.Duration(p.Duration) * time.Second / time.Duration(clock)
		}
	}
	if !s.More {
		t.elapsed += s.Duration
	}
	if !ok {
		return nil
	}
	f := payload.Frame{Data: s.Data, Mode: t.mode, Spatial: s.Spatial, Temporal: s.Temporal, More: s.More}
	l.keyFrame = video && t.format.KeyFrame(s.Data)
	var values []extensionValue
	var room [1]extensionValue
	limit := payload.Limit{Max: t.maxPayload()}
	if s.AudioLevel != nil {
		s.AudioLevel.Append(t.level[:0])
		values = append(room[:0], extensionValue{rtp.URIAudioLevel, t.level[:]})
		limit.Max -= extensionRoom
	}
	before := t.layers
	d, described := rtp.DependencyDescriptor{}, false
	if (t.format == payload.AV1{}) || video && t.mode != nil {
		if d, described = t.layers.Next(&f, l.keyFrame); described {
			limit = t.describe(d, limit)
		}
	}
	if err := t.packetizer.Begin(&f, limit); err != nil {
		t.layers = before
		return fail(TypeError, "the data is no frame of %s: %v", t.src.codec.MimeType, err)
	}
	if video && !s.More {
		t.src.frames.Add(1)
	} else if !video {
		t.src.written.Add(int64(s.Duration))
		if s.AudioLevel != nil {
			t.src.level.Store(int32(s.AudioLevel.Level) + 1)
			t.src.energy.Add(int64(energy(s.AudioLevel.Level, s.Duration) * float64(time.Second)))
		}
	}
	for first, more := true, true; more; first = false {
		t.payload, more = t.packetizer.Append(t.payload[:0])
		l.marker = video && !more && !s.More
		if described {
			d.StartOfFrame, d.EndOfFrame = first, !more
			if t.descriptor, described = d.Append(t.descriptor[:0], t.layers.Structure()); described {
				values = append(room[:0], extensionValue{rtp.URIDependency, t.descriptor})
			}
			d.Structure, d.HasActiveTargets = nil, false
		}
		if err = t.write(&l, t.payload, values); err != nil {
			break
		}
	}
	return err
}

// extensionRoom is what a short value takes in a header, with what is to align it.
const extensionRoom = 8

// describe makes room for dependency descriptors: that of the first packet of a key frame is longer.
func (t *SampleTrack) describe(d rtp.DependencyDescriptor, limit payload.Limit) payload.Limit {
	first, _ := d.Append(t.descriptor[:0], t.layers.Structure())
	n := len(first)
	d.Structure = nil
	t.descriptor, _ = d.Append(first[:0], t.layers.Structure())
	limit.Max -= extensionRoom + len(t.descriptor)
	if limit.First = n - len(t.descriptor); limit.First > 0 {
		limit.First += extensionRoom // the long form, which has another byte for each value
	}
	return limit
}
