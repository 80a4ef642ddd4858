package webrtc

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// maxUnread is how many packets of a track wait for their reader; then the oldest are dropped and counted.
const maxUnread = 1024

// A RemoteTrack is a MediaStreamTrack that the peer sends. What it brings is read with ReadRTP or ReadSample, by one goroutine
// at a time; its other methods may be called from any goroutine and from any handler.
//
// A browser's simulcast is one track for the W3C. So it is here: the event track comes once, and Encodings returns a track for each
// RID, of which this one is the first.
type RemoteTrack struct {
	receiver *RTPReceiver
	id       string
	rid      atomic.Pointer[string]
	disabled atomic.Bool
	muted    atomic.Bool
	ended    atomic.Bool
	deaf     bool          // [[Receptive]] is false: what comes still does not unmute it; the loop's
	dropped  atomic.Uint64 // packets that nobody has read

	onMute   hook[struct{}]
	onUnmute hook[struct{}]
	onEnded  hook[struct{}]

	mu      sync.Mutex
	packets []unread      // a ring
	head, n int           // of the ring: where the oldest is, and how many there are
	ready   chan struct{} // has something if there may be something to read
	closed  bool

	payloadType rtp.PayloadType // of what came last; the loop's

	ssrc    atomic.Uint32               // of what came last
	report  atomic.Pointer[clockReport] // the newest
	playout atomic.Pointer[playout]     // of ReadSample
	tones   atomic.Pointer[tones]       // nil: nobody wants them
}

// unread is a packet that waits for its reader.
type unread struct {
	packet   rtp.Packet
	arrival  mono.Time
	sequence int64
}

func newRemoteTrack(r *RTPReceiver, id, rid string) *RemoteTrack {
	t := &RemoteTrack{receiver: r, id: id, ready: make(chan struct{}, 1)}
	t.rid.Store(&rid)
	t.muted.Store(true)
	return t
}

// ID returns the id, a UUID; the peer has another one for the same track.
func (t *RemoteTrack) ID() string { return t.id }

// Kind returns "audio" or "video".
func (t *RemoteTrack) Kind() string { return t.receiver.transceiver.kind }

// Label returns "remote audio" or "remote video".
func (t *RemoteTrack) Label() string { return "remote " + t.Kind() }

// RID returns which encoding of simulcast it is; "" without.
func (t *RemoteTrack) RID() string { return *t.rid.Load() }

// Receiver returns what the track comes from.
func (t *RemoteTrack) Receiver() *RTPReceiver { return t.receiver }

// Encodings returns a track for each encoding that the peer sends, in its order; the first of them, and the only one without
// simulcast, is the one of the event track. A peer may stop and resume any encoding at any time.
func (t *RemoteTrack) Encodings() []*RemoteTrack { return t.receiver.encodings() }

// Enabled returns whether packets that come are kept for reading; at first they are.
func (t *RemoteTrack) Enabled() bool      { return !t.disabled.Load() }
func (t *RemoteTrack) SetEnabled(on bool) { t.disabled.Store(!on) }

// Muted returns whether nothing comes: at first, and while the peer does not send.
func (t *RemoteTrack) Muted() bool { return t.muted.Load() }

// ReadyState returns whether it has ended.
func (t *RemoteTrack) ReadyState() TrackState {
	if t.ended.Load() {
		return TrackStateEnded
	}
	return TrackStateLive
}

// Stop ends the track here (stop), without the event ended; the peer does not notice.
func (t *RemoteTrack) Stop() { t.end() }

// Dropped returns how many packets were dropped because nobody has read them.
func (t *RemoteTrack) Dropped() uint64 { return t.dropped.Load() }

// OnMute sets the handler of mute: the peer has stopped sending.
func (t *RemoteTrack) OnMute(f func()) { on(&t.receiver.pc.events, &t.onMute, bare(f)) }

// OnUnmute sets the handler of unmute: the first packet has come, or the first since it was muted.
func (t *RemoteTrack) OnUnmute(f func()) { on(&t.receiver.pc.events, &t.onUnmute, bare(f)) }

// OnEnded sets the handler of ended: the transceiver was stopped, by us or by the peer.
func (t *RemoteTrack) OnEnded(f func()) { on(&t.receiver.pc.events, &t.onEnded, bare(f)) }

func (t *RemoteTrack) emit(h *hook[struct{}]) {
	emit(&t.receiver.pc.events, t.receiver.gate, h, struct{}{}, nil)
}

// setMuted is "set a track's muted state".
func (t *RemoteTrack) setMuted(muted bool) {
	if t.muted.Swap(muted) == muted {
		return
	}
	if muted {
		t.emit(&t.onMute)
	} else {
		t.emit(&t.onUnmute)
	}
}

// end ends the track; it returns false if it has ended before.
func (t *RemoteTrack) end() bool {
	if t.ended.Swap(true) {
		return false
	}
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.wake()
	return true
}

func (t *RemoteTrack) wake() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// RequestKeyFrame asks the peer for a key frame, as often as that is sensible.
func (t *RemoteTrack) RequestKeyFrame() {
	t.receiver.pc.post(func(now mono.Time) { t.receiver.pc.requestKeyFrame(now, t) })
}

// put keeps a packet for the reader. It copies.
func (t *RemoteTrack) put(p *rtp.Packet, arrival mono.Time, sequence int64) {
	if t.disabled.Load() || t.ended.Load() {
		return
	}
	t.mu.Lock()
	if t.n == len(t.packets) {
		if t.n < maxUnread {
			t.grow()
		} else {
			t.head = (t.head + 1) % len(t.packets)
			t.n--
			t.dropped.Add(1)
		}
	}
	u := &t.packets[(t.head+t.n)%len(t.packets)]
	u.packet.CopyFrom(p)
	u.arrival, u.sequence = arrival, sequence
	t.n++
	t.mu.Unlock()
	t.wake()
}

// grow makes room for twice as many packets.
func (t *RemoteTrack) grow() {
	n := max(8, 2*len(t.packets))
	rest := slices.Grow(slices.Clone(t.packets[t.head:]), n)
	rest = append(rest, t.packets[:t.head]...)
	t.packets, t.head = append(rest, make([]unread, n-len(rest))...), 0
}

// take copies the oldest packet into u; ok is false if there is none, and ended if none will come.
func (t *RemoteTrack) take(u *unread) (ok, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == 0 {
		return false, t.closed
	}
	from := &t.packets[t.head]
	u.packet.CopyFrom(&from.packet)
	u.arrival, u.sequence = from.arrival, from.sequence
	t.head = (t.head + 1) % len(t.packets)
	t.n--
	return true, false
}

// ReadRTP waits for the next packet and copies it into p, whose memory it uses again: the parts of p must not be those of
// another packet or buffer. Packets come as they arrive, retransmitted and recovered ones in between; their header extensions have
// the ids of the receiver's parameters. The error is that of ctx, or io.EOF when the track has ended.
func (t *RemoteTrack) ReadRTP(ctx context.Context, p *rtp.Packet) error {
	u := unread{packet: *p}
	for {
		ok, ended := t.take(&u)
		if ok {
			*p = u.packet
			return nil
		}
		if ended {
			t.wake() // for whoever reads next
			return io.EOF
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
