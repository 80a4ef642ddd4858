package fec

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/parley-rtc/parley/internal/seqnum"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// Bounds of a Decoder.
const (
	window     = 256  // media packets of a stream that are kept; it divides the circle of sequence numbers
	maxRepairs = 64   // repair packets that wait for media
	maxPacket  = 2048 // longer ones are not taken
)

// Config is what both ends of a repair stream have in common.
type Config struct {
	Format Format
	// Volatile are the identifiers of header extensions that are written after a packet was protected, or on its way: transport
	// sequence number, absolute send time, transmission offset. They are taken as zeroes, and repaired as zeroes.
	Volatile []uint8
}

// Counts are what a Decoder has done.
type Counts struct {
	Media     uint64 // packets it was told of
	Repairs   uint64 // repair packets (webrtc-stats, fecPacketsReceived)
	Recovered uint64
	Discarded uint64 // repair packets that did not serve (fecPacketsDiscarded): nothing was lost, or too much
	Malformed uint64
}

// A Decoder gives back lost media packets of the streams that one repair stream protects. Its zero value is not usable, make one
// by NewDecoder. It holds at most about 2.5 MB, and what it holds is reused.
type Decoder struct {
	config  Config
	streams []*stream
	repairs [maxRepairs]repair
	oldest  int // the repair that is replaced next
	waiting int // how many of them wait

	free      [][]byte
	recovered [][]byte // not yet taken by Next
	given     []byte   // by the last Next
	packet    []byte   // as it was before RED
	counts    Counts
	parsed    header
}

// A stream is the last media packets of one SSRC.
type stream struct {
	ssrc    rtp.SSRC
	highest uint16
	packets [window][]byte // by sequence number
}

// at returns a packet, if it is still here.
func (s *stream) at(n uint16) []byte {
	p := s.packets[n%window]
	if p == nil || binary.BigEndian.Uint16(p[2:]) != n || s.highest-n >= window {
		return nil
	}
	return p
}

// A repair is a repair packet that waits for media.
type repair struct {
	header
	packet  []byte // nil: none
	missing int    // media packets
}

// NewDecoder returns a Decoder that knows no packets.
func NewDecoder(c Config) *Decoder { return &Decoder{config: c} }

// Counts returns what was done so far.
func (d *Decoder) Counts() Counts { return d.counts }

// Media tells of a media packet that came (also by retransmission), as it was before SRTP. It is copied.
func (d *Decoder) Media(packet []byte) {
	p, err := rtp.Parse(packet)
	if err != nil || len(packet) > maxPacket {
		d.counts.Malformed++
		return
	}
	d.counts.Media++
	s := d.stream(p.SSRC, true)
	if s == nil || s.at(p.SequenceNumber) != nil {
		return
	}
	d.add(s, append(d.buffer(), packet...))
	d.work()
}

// stream finds the stream of an SSRC. If it is not known one more is made; beyond four none is.
func (d *Decoder) stream(ssrc rtp.SSRC, make bool) *stream {
	for _, s := range d.streams {
		if s.ssrc == ssrc {
			return s
		}
	}
	if !make || len(d.streams) == maxStreams {
		return nil
	}
	s := &stream{ssrc: ssrc}
	d.streams = append(d.streams, s)
	return s
}

// add takes a media packet, whose memory is now the Decoder's.
func (d *Decoder) add(s *stream, packet []byte) {
	clearVolatile(packet, d.config.Volatile)
	n := binary.BigEndian.Uint16(packet[2:])
	// One that is far behind is no straggler: the sender has begun anew.
	if ahead := seqnum.Diff(n, s.highest); ahead > 0 || ahead <= -window {
		s.highest = n
	}
	at := &s.packets[n%window]
	if *at != nil {
		d.free = append(d.free, *at)
	}
	*at = packet
	if d.waiting == 0 {
		return
	}
	for i := range d.repairs {
		switch r := &d.repairs[i]; {
		case r.packet == nil:
		case r.protects(s.ssrc, n):
			r.missing--
		case d.stale(&r.header):
			d.discard(r)
		}
	}
}

func (r *repair) protects(ssrc rtp.SSRC, n uint16) bool {
	for i := range r.streams {
		if s := &r.sets[i]; s.ssrc == ssrc && s.has(n) {
			return true
		}
	}
	return false
}

// Repair tells of a repair packet that came, as it was before SRTP. It is copied.
func (d *Decoder) Repair(p *rtp.Packet) {
	d.counts.Repairs++
	h := &d.parsed
	*h = header{}
	if len(p.Payload) > maxRepair || !h.parse(d.config.Format, p) || h.span() >= window {
		d.counts.Malformed++
		return
	}
	if h.whole {
		d.retransmitted(h.body)
		return
	}
	missing := d.missing(h)
	if missing == 0 || d.stale(h) {
		d.counts.Discarded++
		return
	}
	r := &d.repairs[d.oldest]
	d.oldest = (d.oldest + 1) % maxRepairs
	d.discard(r)
	buf := append(d.buffer(), p.Payload...)
	*r = repair{header: *h, packet: buf, missing: missing}
	r.body = buf[len(p.Payload)-len(h.body):][:len(h.body)]
	d.waiting++
	d.work()
}

func (h *header) span() (most int) {
	for i := range h.streams {
		most = max(most, h.sets[i].span())
	}
	return most
}

// stale reports whether what is protected is so old that nobody knows any more whether it came.
func (d *Decoder) stale(h *header) bool {
	for i := range h.streams {
		set := &h.sets[i]
		if s := d.stream(set.ssrc, false); s != nil && seqnum.Diff(set.base, s.highest) <= -window {
			return true
		}
	}
	return false
}

// missing counts the protected packets that are not here.
func (d *Decoder) missing(h *header) (n int) {
	for i := range h.streams {
		set := &h.sets[i]
		s := d.stream(set.ssrc, false)
		for at, ok := set.next(0); ok; at, ok = set.next(at + 1) {
			if s == nil || s.at(set.base+uint16(at)) == nil {
				n++
			}
		}
	}
	return n
}

// discard forgets a repair that did not serve.
func (d *Decoder) discard(r *repair) {
	if r.packet != nil {
		d.counts.Discarded++
		d.remove(r)
	}
}

func (d *Decoder) remove(r *repair) {
	d.free = append(d.free, r.packet)
	r.packet, r.body = nil, nil
	d.waiting--
}

// work repairs what can be, until nothing more can (RFC 8627 section 6.3.4).
func (d *Decoder) work() {
	for again := d.waiting > 0; again; {
		again = false
		for i := range d.repairs {
			r := &d.repairs[i]
			if r.packet == nil || r.missing > 1 {
				continue
			}
			if r.missing <= 0 {
				d.discard(r)
				continue
			}
			again = d.recover(r) || again
		}
	}
}

// recover makes the packet that is missing of r's (RFC 8627 sections 6.3.2 and 6.3.3).
func (d *Decoder) recover(r *repair) bool {
	var missing *stream
	var number uint16
	lost := 0
	out := append(d.buffer(), make([]byte, fixedHeader)...)
	out = append(out, r.body...)
	p := r.parity
	for i := range r.streams {
		set := &r.sets[i]
		s := d.stream(set.ssrc, true)
		if s == nil {
			lost = 2
			break
		}
		for at, ok := set.next(0); ok; at, ok = set.next(at + 1) {
			n := set.base + uint16(at)
			media := s.at(n)
			if media == nil {
				missing, number = s, n
				lost++
				continue
			}
			p.add(media)
			subtle.XORBytes(out[fixedHeader:], out[fixedHeader:], media[fixedHeader:min(len(media), len(out))])
		}
	}
	end := fixedHeader + int(p.length)
	if lost != 1 || end > len(out) { // media left the window since, or the repair packet does not have all of it
		d.free = append(d.free, out)
		d.discard(r)
		return false
	}
	out = out[:end]
	out[0], out[1] = 0x80|p.bits[0]&0x3f, p.bits[1]
	binary.BigEndian.PutUint16(out[2:], number)
	copy(out[4:], p.time[:])
	binary.BigEndian.PutUint32(out[8:], uint32(missing.ssrc))
	d.remove(r)
	if _, err := rtp.Parse(out); err != nil { // what was protected is not what was received
		d.free = append(d.free, out)
		d.counts.Malformed++
		return false
	}
	d.give(out)
	d.add(missing, append(d.buffer(), out...))
	return true
}

// retransmitted takes a media packet that came whole in a repair packet (RFC 8627 section 4.2.2.3).
func (d *Decoder) retransmitted(packet []byte) {
	p, err := rtp.Parse(packet)
	if err != nil {
		d.counts.Malformed++
		return
	}
	s := d.stream(p.SSRC, true)
	if s == nil || s.at(p.SequenceNumber) != nil {
		d.counts.Discarded++
		return
	}
	d.give(append(d.buffer(), packet...))
	d.add(s, append(d.buffer(), packet...))
	d.work()
}

// give keeps a packet for Next. There is never more than the repairs that are here and one.
func (d *Decoder) give(packet []byte) {
	d.counts.Recovered++
	if len(d.recovered) > maxRepairs {
		d.free = append(d.free, d.recovered[0])
		d.recovered = append(d.recovered[:0], d.recovered[1:]...)
	}
	d.recovered = append(d.recovered, packet)
}

// Next returns a media packet that was repaired, and not told by Media. It is borrowed until the next call.
func (d *Decoder) Next() (packet []byte, ok bool) {
	if d.given != nil {
		d.free = append(d.free, d.given)
		d.given = nil
	}
	if len(d.recovered) == 0 {
		return nil, false
	}
	d.given = d.recovered[0]
	d.recovered = append(d.recovered[:0], d.recovered[1:]...)
	return d.given, true
}

// buffer returns memory for a packet.
func (d *Decoder) buffer() []byte {
	if last := len(d.free) - 1; last >= 0 {
		b := d.free[last]
		d.free = d.free[:last]
		return b[:0]
	}
	return make([]byte, 0, fixedHeader+maxRepair)
}

// clearVolatile makes zeroes of the header extensions that change on the way.
func clearVolatile(packet []byte, ids []uint8) {
	if len(ids) == 0 {
		return
	}
	p, err := rtp.Parse(packet)
	if err != nil {
		return
	}
	for _, id := range ids {
		if v, ok := p.Extensions.Get(id); ok {
			clear(v)
		}
	}
}
