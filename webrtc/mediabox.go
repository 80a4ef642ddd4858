package webrtc

import (
	"sync"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

const (
	// maxMediaBox bounds what was written and the loop has not taken yet, in bytes: a few large pictures.
	maxMediaBox = 8 << 20
	letterSize  = 128 // of a packet, beside its payload
)

// A mediaOutbox is what tracks have written and the loop has not taken yet. One wake-up of the loop takes all of it.
type mediaOutbox struct {
	mu     sync.Mutex
	next   mediaBatch
	posted bool                // the loop will come for it
	flush  func(now mono.Time) // flushMedia, made once

	taken mediaBatch // the loop's; then the other's memory again
}

// A mediaBatch is packets, and the memory that they are in.
type mediaBatch struct {
	letters []mediaLetter
	values  []extensionSpan
	bytes   []byte
}

// A mediaLetter is a packet for an encoding.
type mediaLetter struct {
	sender    *RTPSender
	feed      *feed
	encoding  int
	timestamp uint32
	marker    bool
	keyFrame  bool
	source    rtp.SSRC // that it is forwarded from, and its number there; 0: it is not
	sequence  int64
	captured  time.Time
	end       int // of its payload, in the batch's bytes
	values    int // of its header extensions, in the batch's values
}

// An extensionValue is a header extension, by its URI.
type extensionValue struct {
	uri   string
	value []byte
}

// An extensionSpan is an extensionValue in the bytes of a batch.
type extensionSpan struct {
	uri string
	end int
}

// put takes a packet. It copies.
func (out *mediaOutbox) put(pc *PeerConnection, l *mediaLetter, payload []byte, values []extensionValue) {
	out.mu.Lock()
	defer out.mu.Unlock()
	b := &out.next
	if len(b.bytes)+len(payload)+len(b.letters)*letterSize > maxMediaBox {
		l.sender.refused[l.encoding].Add(1)
		return
	}
	for _, v := range values {
		b.bytes = append(b.bytes, v.value...)
		b.values = append(b.values, extensionSpan{v.uri, len(b.bytes)})
	}
	b.bytes = append(b.bytes, payload...)
	b.letters = append(b.letters, *l)
	last := &b.letters[len(b.letters)-1]
	last.end, last.values = len(b.bytes), len(values)
	if !out.posted {
		out.posted = pc.lease.Post(out.flush)
	}
}

// flushMedia hands over what tracks have written.
func (pc *PeerConnection) flushMedia(now mono.Time) {
	out := &pc.media.Load().out
	out.mu.Lock()
	out.next, out.taken = out.taken, out.next
	out.posted = false
	out.mu.Unlock()
	b := &out.taken
	at, value := 0, 0
	var p session.Packet
	for i := range b.letters {
		l := &b.letters[i]
		p.Extensions = p.Extensions[:0]
		for range l.values {
			v := &b.values[value]
			p.Extensions = append(p.Extensions, session.Extension{URI: v.uri, Value: b.bytes[at:v.end]})
			at, value = v.end, value+1
		}
		p.Payload = b.bytes[at:l.end]
		at = l.end
		if !pc.shut {
			pc.sendMedia(now, l, &p)
		}
	}
	clear(b.letters)
	b.letters, b.values, b.bytes = b.letters[:0], b.values[:0], b.bytes[:0]
	if cap(b.bytes) > 1<<20 { // after a burst
		b.bytes = nil
	}
}

// sendMedia hands a packet to the session.
func (pc *PeerConnection) sendMedia(now mono.Time, l *mediaLetter, p *session.Packet) {
	s := l.sender
	m, sender := pc.sectionOf(s.transceiver)
	// Another track may have taken its place, or a description have changed the encodings, since it was written.
	if t := s.Track(); m == nil || sender == nil || t == nil || t.source() != l.feed.src || l.encoding >= len(s.encodings) || s.dtmf.plays() {
		return
	}
	for len(s.timelines) <= l.encoding {
		s.timelines = append(s.timelines, timeline{})
	}
	pt, ok := s.payloadType(m, l.encoding, l.feed.src)
	if !ok {
		return
	}
	if s.told != sender {
		s.tellEncodings(now)
	}
	p.PayloadType, p.Marker, p.KeyFrame, p.Captured = pt, l.marker, l.keyFrame, 0
	p.Source, p.Sequence = l.source, l.sequence
	if !l.captured.IsZero() {
		p.Captured = now.Add(time.Until(l.captured))
	}
	line := &s.timelines[l.encoding]
	p.Timestamp = line.next(now, l.feed, l.timestamp)
	if err := sender.Send(now, l.encoding, p); err == nil && l.marker { // what it refuses it counts
		line.frames++
		if l.keyFrame {
			line.keyFrames++
		}
	}
}
