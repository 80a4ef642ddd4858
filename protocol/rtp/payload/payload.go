package payload

import (
	"errors"
	"strings"
)

// Why a frame cannot be cut, or a payload not be read.
var (
	ErrEmpty       = errors.New("payload: nothing in it")
	ErrMalformed   = errors.New("payload: not of its format")
	ErrUnsupported = errors.New("payload: of its format, but of a kind that WebRTC does not use")
	ErrIncomplete  = errors.New("payload: not the whole of a frame")
	ErrLimit       = errors.New("payload: does not fit into the limit")
)

// A Format is how the frames of one codec travel. Its values have no state and may be compared and shared.
type Format interface {
	// Parse tells what a payload is of its frame. It looks at the payload alone and keeps nothing of it. Errors are
	// ErrEmpty, ErrMalformed and ErrUnsupported.
	Parse(payload []byte) (Part, error)

	// AppendFrame appends the frame whose payloads these are: all of one timestamp, in order of their sequence numbers.
	// What it appends is what decoders and files take: an access unit with start codes (H.264 and H.265, annex B of both),
	// a temporal unit of OBUs with sizes behind a temporal delimiter (AV1), the frame itself (others; of VP9 with several
	// spatial layers, a superframe). Errors are those of Parse, and ErrIncomplete if the payloads do not follow each other.
	AppendFrame(dst []byte, payloads [][]byte) ([]byte, error)

	// KeyFrame reports whether a frame, as AppendFrame makes it and Packetizer takes it, can be decoded without any before
	// it. Each frame of audio can.
	KeyFrame(frame []byte) bool

	// NewPacketizer returns a packetizer for one outgoing stream. What runs through the frames, like picture ids, begins at
	// the seed, which should be random.
	NewPacketizer(seed uint32) Packetizer
}

// A Packetizer cuts the frames of one stream into payloads.
type Packetizer interface {
	// Begin takes a frame. It borrows its data until the frame's last payload was appended, or Begin is called again. Errors
	// are ErrEmpty, ErrMalformed, ErrUnsupported if the format has no room for the frame's layers, and ErrLimit; then there is
	// nothing to append.
	Begin(f *Frame, limit Limit) error

	// Append appends the next payload of the frame to dst, and reports whether more follow. It must not be called when none
	// does: then it appends nothing.
	Append(dst []byte) (b []byte, more bool)
}

// A Frame is one encoded frame: of audio, or of one spatial layer of video.
type Frame struct {
	// Data is the frame as Format.AppendFrame has it. Start codes of three and four bytes are both fine, as is a last OBU
	// without its size; a temporal delimiter is not needed.
	Data []byte
	// Mode is how the stream is layered; nil: it is not. The layers below say where in it the frame stands.
	Mode              *Mode
	Spatial, Temporal uint8
	// More says that further spatial layers of the same picture follow; they have the same timestamp, and the marker is not
	// set before the last of them.
	More bool
	// Diffs are for VP9's flexible mode: how many pictures before this one those that it is predicted from are, 1 to 127
	// each, at most three; empty if it is not predicted from any. Nil chooses the other mode, where Mode alone tells.
	Diffs []uint8
}

// A Limit says how large payloads may be, in bytes.
type Limit struct {
	Max         int // of any payload
	First, Last int // how much less fits into the first and into the last one of a frame
}

// A Part is what one payload tells about its frame.
type Part struct {
	// Start says that a frame begins with this payload, in video one of its spatial layers. H.264 and H.265 have nothing that
	// would say so of each frame: there it is a delimiter or a parameter set, which only another such packet of the same frame may
	// precede; and a frame also begins after a marker, or with another timestamp.
	Start bool
	// End says for certain that the frame, in video that layer, ends with this payload. Formats of video other than VP9 do
	// not tell: there it is the marker, or another timestamp in the next packet.
	End bool
	// KeyFrame says that the frame can be decoded without any before. Any payload may be the one that tells; true for audio.
	KeyFrame bool
	// The layer of the frame. Of AV1 they are known only if the bitstream has them, see the dependency descriptor.
	Spatial, Temporal uint8
	// Sync says that after this frame one can also decode the temporal layers above (VP9), or those of this frame's layer
	// (VP8), without what was before it.
	Sync bool
	// InterLayer says that the frame needs the spatial layer below it of the same picture.
	InterLayer bool
	// Discardable says that no other frame needs this one.
	Discardable bool
	// PictureID counts the pictures of VP8 and VP9, and wraps at PictureIDBits, 7 or 15; these are 0 if there is none.
	PictureID     uint16
	PictureIDBits uint8
	// TL0PicIdx counts the pictures of temporal layer 0: it is of this one, or of the one that this one builds upon.
	TL0PicIdx    uint8
	HasTL0PicIdx bool
	// Duration is how long audio lasts, in ticks of the RTP clock.
	Duration uint32
}

// For returns the format of a codec by its name in a=rtpmap and its parameters in a=fmtp. It is false for all that are no
// formats of frames: redundancy, events, noise, repair.
func For(codec, fmtp string) (Format, bool) {
	switch strings.ToLower(codec) {
	case "opus":
		return Opus{}, true
	case "pcmu":
		return PCMU{}, true
	case "pcma":
		return PCMA{}, true
	case "vp8":
		return VP8{}, true
	case "vp9":
		return VP9{}, true
	case "av1":
		return AV1{}, true
	case "h264":
		return h264Of(fmtp)
	case "h265":
		return H265{}, true
	}
	return nil, false
}

// A splitter shares bytes out evenly among as few payloads as the limit allows: packets of like size keep the pace of a pacer,
// and cost least to protect by FEC, whose repair is as long as the longest.
type splitter struct {
	left        int // bytes
	payloads    int // to come
	first, last int // what the limit takes from the first one, and from the last
}

// split begins with n bytes, where each payload has a header beside its share.
func split(n, header int, limit Limit) (splitter, error) {
	room := limit.Max - header
	if n == 0 {
		return splitter{}, ErrEmpty
	}
	if limit.First < 0 || limit.Last < 0 {
		return splitter{}, ErrLimit
	}
	s := splitter{n, 1, limit.First, limit.Last}
	if n+limit.First+limit.Last <= room {
		return s, nil
	}
	if 1+limit.First > room || 1+limit.Last > room {
		return splitter{}, ErrLimit
	}
	s.payloads = max(2, (n+limit.First+limit.Last+room-1)/room)
	if s.payloads > n { // one byte, and no room for it beside what both the first and the last carry
		return splitter{}, ErrLimit
	}
	return s, nil
}

// next returns how many bytes the next payload gets.
func (s *splitter) next() int {
	n := (s.left+s.first+s.last)/max(s.payloads, 1) - s.first
	s.first = 0
	if s.payloads--; s.payloads <= 0 {
		n = s.left
	}
	n = min(max(n, 1), s.left-max(s.payloads, 0))
	s.left -= n
	return n
}
