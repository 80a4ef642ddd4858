package jitter

import (
	"errors"
	"time"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// Bounds and defaults of a Config.
const (
	defaultAudioPackets = 512
	defaultVideoPackets = 2048
	maxPackets          = 1 << 14 // half of what sequence numbers tell apart
	defaultMaxDelay     = 10 * time.Second
	minClock, maxClock  = 1000, 1_000_000_000
	// MaxTarget is the longest delay that an application may ask for (W3C webrtc, jitterBufferTarget).
	MaxTarget = 4 * time.Second
)

// How long frames are kept before anything is known of the path.
const (
	firstAudioDelay = 40 * time.Millisecond
	firstVideoDelay = 20 * time.Millisecond
)

// Why a Config is refused.
var (
	ErrClockRate = errors.New("jitter: a clock rate is 1 kHz to 1 GHz")
	ErrPackets   = errors.New("jitter: packets are counted from 1 to 16384")
	ErrDelay     = errors.New("jitter: delays are not negative, and MinDelay is not more than MaxDelay")
)

// Config says of what stream a Buffer is.
type Config struct {
	Audio     bool   // each packet is a frame, and gaps are reported; else it is video
	ClockRate uint32 // of its timestamps, in Hz
	// Packets is how many are held at most; 0: 512 of audio, 2048 of video.
	Packets int
	// MinDelay and MaxDelay bound how long frames are kept; MaxDelay 0: 10 s.
	MinDelay, MaxDelay time.Duration
	// Identifiers of header extensions; 0: not negotiated.
	AbsCaptureTime, PlayoutDelay, Dependency uint8
}

// Validate says what is wrong with c: ErrClockRate, ErrPackets or ErrDelay.
func (c *Config) Validate() error {
	switch {
	case c.ClockRate < minClock || c.ClockRate > maxClock:
		return ErrClockRate
	case c.Packets < 0 || c.Packets > maxPackets:
		return ErrPackets
	case c.MinDelay < 0 || c.MaxDelay < 0 || c.MaxDelay > 0 && c.MinDelay > c.MaxDelay:
		return ErrDelay
	}
	return nil
}

// A format is what a payload type stands for.
type format struct {
	known  bool
	red    bool
	format payload.Format // nil: payloads are passed through
}

// A Buffer makes frames of one stream's packets. Make one by New.
type Buffer struct {
	config  Config
	formats [128]format

	sequence   seqnum.Unwrapper[uint16]
	timestamps seqnum.Unwrapper[uint32]
	packets    store
	begun      bool  // there was a packet
	out        bool  // something was given out or up: what comes before it comes too late
	stray      int64 // the last packet that was so late that the stream may have begun anew

	frames     queue // complete ones, in order
	references references
	playout    playout
	reference  reference
	captures   bool // the reference is by abs-capture-time
	dependency *rtp.DependencyStructure

	last     int64 // timestamp of the last frame that was given out or left out
	lastOK   bool  // nothing but frames has gone since
	lastType rtp.PayloadType
	end      int64  // audio: timestamp at which the last frame ends
	duration uint32 // audio: of the last frame

	// What comes next, by plan.
	ready int       // index of the frame that is to be given out; -1: none
	lost  uint32    // audio: duration of a lost one that is to be reported before; 0: none
	wake  mono.Time // when
	ask   mono.Time // when a key frame is to be asked for

	now       mono.Time // of the last Push
	asked     mono.Time // when a key frame was last asked for, if everAsked
	everAsked bool
	rtt       time.Duration

	concealing bool
	rhythm     rhythm
	statistics Statistics

	payloads [][]byte // of the frame that is being joined
	data     []byte   // of the last frame that was given out
}

// New returns a Buffer of no packets. Payload types are told by SetFormat.
func New(c Config) (*Buffer, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b := &Buffer{config: c, ready: -1, wake: mono.Never, ask: mono.Never, rtt: defaultRTT}
	first := firstVideoDelay
	b.packets.limit = defaultVideoPackets
	if c.Audio {
		first, b.packets.limit = firstAudioDelay, defaultAudioPackets
	}
	if c.Packets > 0 {
		b.packets.limit = c.Packets
	}
	if c.MaxDelay == 0 {
		b.config.MaxDelay = max(defaultMaxDelay, c.MinDelay)
	}
	b.playout = playout{rate: int64(c.ClockRate), estimator: estimator{start: first}}
	b.playout.least, b.playout.most, b.playout.limit = c.MinDelay, b.config.MaxDelay, b.config.MaxDelay
	return b, nil
}

// SetFormat says what a payload type stands for. A nil format passes payloads through as frames of no duration, such as
// telephone-event and comfort noise. Payloads of types that are not set are left out.
func (b *Buffer) SetFormat(pt rtp.PayloadType, f payload.Format) {
	b.formats[pt&127] = format{known: true, format: f}
}

// SetRED says that a payload type is redundant audio (RFC 2198), whose blocks are of types that SetFormat tells.
func (b *Buffer) SetRED(pt rtp.PayloadType) { b.formats[pt&127] = format{known: true, red: true} }

// SetTarget sets how long frames are to be kept if it can be chosen, 0 to 4 s (W3C webrtc, jitterBufferTarget); jitter may ask
// for more, and 0 leaves it to that.
func (b *Buffer) SetTarget(d time.Duration) {
	b.playout.wanted = min(max(d, 0), MaxTarget)
	b.plan()
}

// SetSyncDelay delays the stream by what a Sync says.
func (b *Buffer) SetSyncDelay(d time.Duration) {
	if d = max(d, 0); d != b.playout.sync {
		b.playout.sync = d
		b.plan()
	}
}

// SetRTT tells the round trip time, by which it is decided how long retransmissions are waited for; 0: not known.
func (b *Buffer) SetRTT(d time.Duration) {
	if d <= 0 {
		d = defaultRTT
	}
	b.rtt = min(d, maxRTT)
	b.plan()
}

// HandleReport tells of a sender report of the stream: the sender's time of day at a timestamp.
func (b *Buffer) HandleReport(ntp rtp.NTP, ts uint32) {
	if !b.captures {
		b.reference = reference{ntp, ts, true}
	}
}

// Offset returns how much the clock here is ahead of the sender's time of day when a frame is played, delays by SetSyncDelay
// left out: for a Sync. It is false before packets and a time of day are known.
func (b *Buffer) Offset() (d time.Duration, ok bool) {
	ts, ok := b.timestamps.Highest()
	if !ok || !b.reference.known || b.playout.parts == 0 {
		return 0, false
	}
	played := b.playout.floor() + b.playout.natural() + b.playout.media(ts)
	return played - sinceEra(b.reference.ntpAt(uint32(ts), b.playout.rate)), true
}

// Statistics returns counts since the beginning.
func (b *Buffer) Statistics() Statistics { return b.statistics }

// Push gives the Buffer a packet, which it copies; now is when it arrived.
func (b *Buffer) Push(now mono.Time, p *rtp.Packet) {
	if p.Len() > maxPacket {
		b.statistics.PacketsMalformed++
		return
	}
	kind := b.formats[p.PayloadType&127]
	b.now = now
	n, ok := b.place(p)
	if !ok {
		if b.config.Audio && kind.format != nil { // too late: that is what the delay is to learn from
			b.playout.arrived(now, b.timestamps.Peek(p.Timestamp))
		}
		return
	}
	b.extensions(p)
	switch {
	case !kind.known: // nothing to be given out, but its number is not missing
		b.statistics.PacketsUnknown++
		empty := *p
		empty.Payload = nil
		b.insert(now, n, &empty, kind, false)
	case kind.red:
		b.insertRED(now, n, p)
	default:
		b.insert(now, n, p, kind, false)
	}
	b.settle()
	b.plan()
}

// place finds the number of a packet, and room for it. It is false for one that comes too late.
func (b *Buffer) place(p *rtp.Packet) (n int64, ok bool) {
	s := &b.packets
	if !b.begun {
		b.begun = true
		n = b.sequence.Unwrap(p.SequenceNumber)
		s.begin(n)
		b.playout.origin = b.timestamps.Unwrap(p.Timestamp)
		s.room(n, n)
		return n, true
	}
	n = b.sequence.Peek(p.SequenceNumber)
	switch {
	case n >= s.next+int64(s.limit):
		b.giveUp(n - int64(s.limit) + 1)
	case n < s.next && !b.out && s.high-n < int64(s.limit): // the first ones came out of order
		s.room(n, s.high)
		s.next, s.hole = n, n
	case n < s.next:
		b.statistics.PacketsDiscarded++
		// Two in order, so far behind that they are no retransmissions: "the source must have restarted" (RFC 3550 appendix A.1).
		restarted := n < s.next-int64(s.limit) && n == b.stray+1
		b.stray = n
		if !restarted {
			return 0, false
		}
		b.giveUp(s.high + 1)
		b.sequence = seqnum.Unwrapper[uint16]{}
		n = b.sequence.Peek(p.SequenceNumber)
		s.begin(n)
	}
	b.sequence.Unwrap(p.SequenceNumber)
	s.room(s.next, n)
	return n, true
}

// extensions reads what a packet's header says of the stream.
func (b *Buffer) extensions(p *rtp.Packet) {
	if id := b.config.AbsCaptureTime; id != 0 {
		if v, ok := p.Extensions.Get(id); ok {
			if t, ok := rtp.ParseAbsCaptureTime(v); ok {
				b.reference, b.captures = reference{t.Captured.Add(t.Offset), p.Timestamp, true}, true
			}
		}
	}
	if id := b.config.PlayoutDelay; id != 0 {
		if v, ok := p.Extensions.Get(id); ok {
			if d, ok := rtp.ParsePlayoutDelay(v); ok {
				b.playout.least = min(max(d.Min, b.config.MinDelay), b.config.MaxDelay)
				b.playout.most = max(min(d.Max, b.config.MaxDelay), b.playout.least)
			}
		}
	}
}

// insert puts a packet into its place.
func (b *Buffer) insert(now mono.Time, n int64, p *rtp.Packet, kind format, redundant bool) {
	if b.packets.at(n) != nil {
		if !redundant {
			b.statistics.PacketsDuplicate++
		}
		return
	}
	var part payload.Part
	if len(p.Payload) > 0 && kind.format != nil {
		var err error
		if part, err = kind.format.Parse(p.Payload); err != nil {
			b.statistics.PacketsMalformed++
			return
		}
	}
	s := b.packets.put(now, n, p)
	s.kind, s.part = kind, part
	switch {
	case redundant:
		b.statistics.PacketsRedundant++
		s.ts = b.timestamps.Peek(p.Timestamp)
	case !s.filler:
		s.ts = b.timestamps.Unwrap(p.Timestamp)
	}
	if b.config.Audio {
		if !redundant && !s.filler && kind.format != nil {
			b.playout.arrived(now, s.ts)
		}
		s.start, s.linked, s.done = n, true, true
		b.complete(now, n, n)
		return
	}
	b.needs(s, p)
	b.assemble(now, n)
}

// giveUp drops all before number n, for want of room.
func (b *Buffer) giveUp(n int64) {
	for b.frames.len() > 0 && b.frames.at(0).first < n {
		b.drop(b.frames.at(0))
		b.frames.pop(1)
	}
	held := b.packets.held
	lost := b.packets.drop(n)
	b.statistics.PacketsLost += uint64(lost)
	b.statistics.PacketsDiscarded += uint64(held - b.packets.held)
	b.references.broke()
	b.out, b.lastOK = true, false
}

// drop counts a complete frame that is not given out.
func (b *Buffer) drop(f *frame) {
	if !f.filler {
		b.statistics.FramesDropped++
	}
}
