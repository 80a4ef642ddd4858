package webrtc

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// An RTPReceiver is RTCRtpReceiver. Its methods may be called from any goroutine and from any handler.
type RTPReceiver struct {
	pc          *PeerConnection
	transceiver *RTPTransceiver
	track       *RemoteTrack
	gate        *gate // of the events of its tracks, until "track" was delivered; nil: none

	transport atomic.Pointer[DTLSTransport]
	target    atomic.Int64 // jitterBufferTarget in nanoseconds and one more; 0: none

	section atomic.Pointer[mediaSection] // in force; nil: none
	streams atomic.Pointer[[]*MediaStream]
	layers  atomic.Pointer[[]*RemoteTrack] // of the encodings, track the first of them

	sources []heardSource // the loop's
}

func newReceiver(t *RTPTransceiver, g *gate) *RTPReceiver {
	r := &RTPReceiver{pc: t.pc, transceiver: t, gate: g}
	r.track = newRemoteTrack(r, newID(), "")
	r.layers.Store(&[]*RemoteTrack{r.track})
	r.streams.Store(new([]*MediaStream))
	return r
}

// Track returns what the peer sends: it is there from the beginning, and muted until something comes.
func (r *RTPReceiver) Track() *RemoteTrack { return r.track }

// Transport returns what it comes over; nil before a description says so.
func (r *RTPReceiver) Transport() *DTLSTransport { return r.transport.Load() }

// Transceiver returns the transceiver that it is the half of.
func (r *RTPReceiver) Transceiver() *RTPTransceiver { return r.transceiver }

// Streams returns the streams that the peer has put the track into, as the event track has them.
func (r *RTPReceiver) Streams() []*MediaStream { return slices.Clone(*r.streams.Load()) }

// encodings returns a track for each RID that the peer sends, or the one.
func (r *RTPReceiver) encodings() []*RemoteTrack { return slices.Clone(*r.layers.Load()) }

// follow takes over which encodings the peer sends. The first of them is the track.
func (r *RTPReceiver) follow() {
	rids := r.transceiver.jsep.RemoteRIDs()
	if len(rids) == 0 {
		rids = []string{""}
	}
	before := *r.layers.Load()
	var layers []*RemoteTrack
	for i, rid := range rids {
		at := slices.IndexFunc(before, func(t *RemoteTrack) bool { return t.RID() == rid && (t != r.track || i == 0) })
		switch {
		case i == 0:
			r.track.rid.Store(&rid)
			layers = append(layers, r.track)
		case at >= 0:
			layers = append(layers, before[at])
		default:
			layers = append(layers, newRemoteTrack(r, r.track.id, rid))
		}
	}
	for _, old := range before {
		if !slices.Contains(layers, old) && old.end() {
			old.emit(&old.onEnded)
		}
	}
	r.layers.Store(&layers)
}

// layer returns the track of a RID; the one there is for those that have none. The loop calls it for each packet.
func (r *RTPReceiver) layer(rid string) *RemoteTrack {
	for _, t := range *r.layers.Load() {
		if *t.rid.Load() == rid {
			return t
		}
	}
	return r.track
}

// GetParameters returns the parameters (getParameters): none before the direction that is negotiated includes receiving. The CNAME
// is not among them.
func (r *RTPReceiver) GetParameters() (p RTPReceiveParameters) {
	r.pc.read(func(mono.Time) {
		j := r.transceiver.jsep
		p = RTPReceiveParameters{RTPParameters{
			HeaderExtensions: headerExtensions(j.Extensions(false)),
			RTCP:             RTCPParameters{ReducedSize: j.ReducedSize()},
			Codecs:           codecParameters(r.transceiver.kind, j.ReceiveCodecs()),
		}}
	})
	return p
}

// maxJitterBufferTarget is the W3C's (webrtc-extensions).
const maxJitterBufferTarget = 4 * time.Second

// JitterBufferTarget returns how long media is held for playout, as set; nil if it was not.
func (r *RTPReceiver) JitterBufferTarget() *time.Duration {
	if n := r.target.Load(); n != 0 {
		return new(time.Duration(n - 1))
	}
	return nil
}

// SetJitterBufferTarget sets how long media is to be held by [RemoteTrack.ReadSample] so that it comes evenly
// (jitterBufferTarget); nil leaves it to what the network needs. Negative, or more than 4 s, is a RangeError.
func (r *RTPReceiver) SetJitterBufferTarget(d *time.Duration) error {
	if d == nil {
		r.target.Store(0)
		return nil
	}
	if *d < 0 || *d > maxJitterBufferTarget {
		return fail(RangeError, "a target is 0 to 4 s")
	}
	r.target.Store(int64(*d) + 1)
	return nil
}

// An RTPContributingSource is RTCRtpContributingSource: a source that a mixer has mixed into what came.
type RTPContributingSource struct {
	Timestamp    time.Time // when something of it came last
	Source       uint32    // the CSRC, or the SSRC
	AudioLevel   *float64  // linear, 1 is 0 dBov; nil if the peer does not tell
	RTPTimestamp uint32
	// CaptureTimestamp is when that was recorded, by the clock of who recorded it; zero if the peer does not tell.
	// SenderCaptureTimeOffset is what has to be added to get a time of the sender's clock; nil if the peer does not tell. Both
	// are of webrtc-extensions.
	CaptureTimestamp        time.Time
	SenderCaptureTimeOffset *time.Duration
}

// An RTPSynchronizationSource is RTCRtpSynchronizationSource: a source that came.
type RTPSynchronizationSource struct {
	RTPContributingSource
	VoiceActivityFlag *bool // nil if the peer does not tell
}

// heardFor is how long a source is remembered: "in the last 10 seconds".
const heardFor = 10 * time.Second

// maxHeard bounds the sources that are remembered.
const maxHeard = 64

// A heardSource is a source that came.
type heardSource struct {
	id           uint32
	contributing bool
	level        rtp.AudioLevel
	leveled      bool
	timestamp    uint32
	at           mono.Time
	captured     rtp.AbsCaptureTime // zero: not known
}

// hear remembers the sources of a packet; level and mixer are the ids of the header extensions that tell how loud they are.
func (r *RTPReceiver) hear(at mono.Time, p *rtp.Packet, level, mixer uint8, captured rtp.AbsCaptureTime) {
	h := heardSource{id: uint32(p.SSRC), timestamp: p.Timestamp, at: at, captured: captured}
	if v, ok := p.Extensions.Get(level); level != 0 && ok {
		h.level, h.leveled = rtp.ParseAudioLevel(v)
	}
	r.remember(&h)
	n := p.CSRC.Len()
	if n == 0 {
		return
	}
	var levels []byte
	if mixer != 0 {
		levels, _ = p.Extensions.Get(mixer)
	}
	for i := range n {
		c := heardSource{id: uint32(p.CSRC.At(i)), contributing: true, timestamp: p.Timestamp, at: at, captured: captured}
		if v, ok := rtp.MixerAudioLevel(levels, i); ok {
			c.level, c.leveled = rtp.AudioLevel{Level: v}, true
		}
		r.remember(&c)
	}
}

func (r *RTPReceiver) remember(h *heardSource) {
	oldest := -1
	for i := range r.sources {
		s := &r.sources[i]
		if s.id == h.id && s.contributing == h.contributing {
			*s = *h
			return
		}
		if oldest < 0 || s.at < r.sources[oldest].at {
			oldest = i
		}
	}
	if len(r.sources) < maxHeard {
		r.sources = append(r.sources, *h)
	} else {
		r.sources[oldest] = *h
	}
}

// heard returns the sources of one kind, the newest first.
func (r *RTPReceiver) heard(contributing bool) (list []RTPSynchronizationSource) {
	r.pc.call(func(now mono.Time) {
		wall := time.Now()
		slices.SortFunc(r.sources, func(a, b heardSource) int { return cmp.Compare(b.at, a.at) })
		for _, h := range r.sources {
			if h.contributing != contributing || now.Sub(h.at) > heardFor {
				continue
			}
			s := RTPSynchronizationSource{RTPContributingSource: RTPContributingSource{Timestamp: wall.Add(h.at.Sub(now)), Source: h.id, RTPTimestamp: h.timestamp}}
			if h.captured.Captured != 0 {
				s.CaptureTimestamp = h.captured.Captured.Time()
			}
			if h.captured.HasOffset {
				s.SenderCaptureTimeOffset = new(h.captured.Offset)
			}
			if h.leveled {
				s.AudioLevel = new(linear(h.level.Level))
				s.VoiceActivityFlag = new(h.level.Voice)
			}
			list = append(list, s)
		}
	})
	return list
}

// linear makes an audio level, in -dBov, the W3C's: "a value of 127 ... maps to 0", else 10^(-level/20).
func linear(level uint8) float64 {
	if level >= 127 {
		return 0
	}
	return math.Pow(10, -float64(level)/20)
}

// energy is what webrtc-stats adds up of audio: "duration * Math.pow(energy/maxEnergy, 2)", in seconds.
func energy(level uint8, d time.Duration) float64 { return linear(level) * linear(level) * d.Seconds() }

// GetContributingSources returns the CSRCs of the last 10 seconds (getContributingSources), the newest first.
func (r *RTPReceiver) GetContributingSources() (list []RTPContributingSource) {
	for _, s := range r.heard(true) {
		list = append(list, s.RTPContributingSource)
	}
	return list
}

// GetSynchronizationSources returns the SSRCs of the last 10 seconds (getSynchronizationSources), the newest first.
func (r *RTPReceiver) GetSynchronizationSources() []RTPSynchronizationSource { return r.heard(false) }
