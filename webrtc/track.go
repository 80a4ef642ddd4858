package webrtc

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A TrackState is MediaStreamTrackState.
type TrackState string

// The states.
const (
	TrackStateLive  TrackState = "live"
	TrackStateEnded TrackState = "ended"
)

// A Track is a MediaStreamTrack of ours: an [RTPTrack] or a [SampleTrack]. It may feed any number of senders, of any
// connections, each of which gets what is written to it from then on.
type Track interface {
	// ID returns the id, a UUID.
	ID() string
	// Kind returns "audio" or "video".
	Kind() string
	// Label returns what the track was named.
	Label() string
	// Codec returns what is written to it.
	Codec() RTPCodec
	// Enabled returns whether what is written is sent; at first it is.
	Enabled() bool
	SetEnabled(bool)
	// ReadyState returns whether it was stopped.
	ReadyState() TrackState
	// Stop ends it (stop): what is written from then on is an InvalidStateError.
	Stop()
	source() *source
}

// given reports whether there is a track: neither nil, nor a nil pointer, nor one that no constructor has made.
func given(t Track) bool {
	switch t := t.(type) {
	case nil:
		return false
	case *SampleTrack:
		return t != nil && t.feed != nil
	case *RTPTrack:
		return t != nil && t.feed != nil
	}
	return true
}

// sameTrack reports whether both are parts of one track.
func sameTrack(a, b Track) bool { return a.source() == b.source() }

// A source is a track of ours, whatever is written to it.
type source struct {
	id, label string
	codec     RTPCodec
	disabled  atomic.Bool
	ended     atomic.Bool
	frames    atomic.Uint64 // of video that were written
	written   atomic.Int64  // of audio, in nanoseconds
	energy    atomic.Int64  // of that: times the square of its level
	level     atomic.Int32  // of the last audio, in -dBov and one more; 0: not known

	mu      sync.Mutex
	senders []*RTPSender
	feeds   []*feed
}

// newSource makes a source and its feed.
func newSource(codec RTPCodec, label string) (*feed, error) {
	if codec.kind() == "" {
		return nil, fail(TypeError, "%q is no type of audio or video, such as audio/opus or video/VP8", codec.MimeType)
	}
	s := &source{id: newID(), label: label, codec: codec}
	return s.feed(""), nil
}

// feed returns what feeds the encodings of a RID.
func (s *source) feed(rid string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		if f.rid == rid {
			return f
		}
	}
	f := &feed{src: s, rid: rid}
	s.feeds = append(s.feeds, f)
	return f
}

// feedOf returns what feeds an encoding: what was made for its RID, else, if it is the first one, the track as such.
func (s *source) feedOf(rid string, encoding int) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.feeds {
		if f.rid == rid || encoding == 0 && f.rid == "" && !slices.ContainsFunc(s.feeds, func(o *feed) bool { return o.rid == rid }) {
			return f
		}
	}
	return nil
}

func (s *source) attach(x *RTPSender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.senders = append(s.senders, x)
}

func (s *source) detach(x *RTPSender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.senders = slices.DeleteFunc(s.senders, func(o *RTPSender) bool { return o == x })
}

// A feed is a track of ours, or the part of one that feeds the encodings of one RID.
type feed struct {
	src *source
	rid string

	keyFrameRequest handler[struct{}]
	targetBitrate   handler[int]

	forwarded forwarded // under the source's lock
}

// forwarded is where the packets come from that are written.
type forwarded struct {
	source  rtp.SSRC
	last    uint16
	numbers seqnum.Unwrapper[uint16]
}

// number returns the source of a packet and its number there; 0 if it is not forwarded, as whoever writes it does not count.
func (x *forwarded) number(p *rtp.Packet) (source rtp.SSRC, number int64) {
	switch {
	case p.SSRC == 0:
		return 0, 0
	case p.SSRC != x.source:
		*x = forwarded{source: p.SSRC}
	case p.SequenceNumber == x.last:
		return 0, 0
	}
	x.last = p.SequenceNumber
	return p.SSRC, x.numbers.Unwrap(p.SequenceNumber)
}

func (f *feed) ID() string         { return f.src.id }
func (f *feed) Kind() string       { return f.src.codec.kind() }
func (f *feed) Label() string      { return f.src.label }
func (f *feed) Codec() RTPCodec    { return f.src.codec }
func (f *feed) Enabled() bool      { return !f.src.disabled.Load() }
func (f *feed) SetEnabled(on bool) { f.src.disabled.Store(!on) }
func (f *feed) Stop()              { f.src.ended.Store(true) }
func (f *feed) source() *source    { return f.src }

// RID returns the encodings that this part of the track feeds; "" for the track as such.
func (f *feed) RID() string { return f.rid }

func (f *feed) ReadyState() TrackState {
	if f.src.ended.Load() {
		return TrackStateEnded
	}
	return TrackStateLive
}

// OnKeyFrameRequest sets what is called when a peer, of any connection, needs a key frame; nil removes it. The call is made
// in the turn of that connection's handlers.
func (f *feed) OnKeyFrameRequest(call func()) { f.keyFrameRequest.set(bare(call)) }

// OnTargetBitrate sets what is called with the bits a second that a connection has for what this feeds; nil removes it. Of
// several connections each calls. The call is made in the turn of that connection's handlers.
func (f *feed) OnTargetBitrate(call func(bps int)) { f.targetBitrate.set(call) }

// write hands one packet to every sender of the track whose peer may take it. If there are senders and no such one, it is ErrCodec.
func (f *feed) write(l *mediaLetter, payload []byte, values []extensionValue) error {
	f.src.mu.Lock()
	defer f.src.mu.Unlock()
	l.feed = f
	taken := len(f.src.senders) == 0
	for _, s := range f.src.senders {
		if s.untaken.Load() {
			continue
		}
		taken = true
		if i, ok := s.encodingOf(f); ok {
			l.sender, l.encoding = s, i
			s.pc.media.Load().out.put(s.pc, l, payload, values)
		}
	}
	if !taken {
		return ErrCodec
	}
	return nil
}

// mayWrite is what a write asks first: ok is false, without an error, if nothing is to be sent.
func (f *feed) mayWrite() (ok bool, err error) {
	if f.src.ended.Load() {
		return false, fail(InvalidStateError, "the track has ended")
	}
	return !f.src.disabled.Load(), nil
}

// maxPayload is how long a payload may be for every sender of the track.
func (f *feed) maxPayload() int {
	f.src.mu.Lock()
	defer f.src.mu.Unlock()
	n := 0
	for _, s := range f.src.senders {
		if m := int(s.maxPayload.Load()); m != 0 && (n == 0 || m < n) {
			n = m
		}
	}
	if n == 0 {
		return defaultMaxPayload
	}
	return n
}

// defaultMaxPayload is for a track that no sender of which says more.
const defaultMaxPayload = 1100

// An RTPTrack is a track of ours to which RTP packets are written, such as those of another connection.
type RTPTrack struct {
	*feed
	extensions map[uint8]string
}

// NewRTPTrack makes a track for packets that carry a codec. The label is for people.
func NewRTPTrack(codec RTPCodec, label string) (*RTPTrack, error) {
	f, err := newSource(codec, label)
	if err != nil {
		return nil, err
	}
	return &RTPTrack{feed: f}, nil
}

// Encoding returns the part of the track that feeds encodings of this RID, in every sender that has one. The track as such
// feeds senders without simulcast, and the first encoding of others if there is no part for its RID.
func (t *RTPTrack) Encoding(rid string) *RTPTrack {
	return &RTPTrack{feed: t.src.feed(rid), extensions: t.extensions}
}

// SetHeaderExtensions says what the ids of header extensions mean in packets that are written, as the parameters of the
// receiver do from which they come. Those that a sender has negotiated go along. It must not be called while WriteRTP is.
func (t *RTPTrack) SetHeaderExtensions(list []RTPHeaderExtensionParameters) {
	t.extensions = map[uint8]string{}
	for _, e := range list {
		switch e.URI {
		case rtp.URIMID, rtp.URIRID, rtp.URIRRID, rtp.URITransportSequence, rtp.URIAbsSendTime: // of the connection itself
		default:
			if e.ID > 0 && e.ID <= 255 {
				t.extensions[uint8(e.ID)] = e.URI
			}
		}
	}
}

// WriteRTP sends a packet, which is copied, to every sender of the track. SSRC and payload type are the sender's; of the timestamp
// and, among packets of one SSRC, of the sequence number the differences count: so what was lost before is seen to be missing, and what
// was sent again is put in its place. It never waits: what a sender cannot take is dropped and counted. A track that has ended is an
// InvalidStateError, and ErrCodec says that nobody takes what it is written in.
func (t *RTPTrack) WriteRTP(p *rtp.Packet) error {
	ok, err := t.mayWrite()
	if !ok {
		return err
	}
	var room [8]extensionValue
	values := room[:0]
	if len(t.extensions) > 0 {
		for id, v := range p.Extensions.All() {
			if uri := t.extensions[id]; uri != "" && len(values) < cap(values) {
				values = append(values, extensionValue{uri, v})
			}
		}
	}
	l := mediaLetter{timestamp: p.Timestamp, marker: p.Marker}
	t.src.mu.Lock()
	l.source, l.sequence = t.forwarded.number(p)
	t.src.mu.Unlock()
	if p.Marker && t.Kind() == "video" {
		t.src.frames.Add(1)
	}
	return t.write(&l, p.Payload, values)
}
