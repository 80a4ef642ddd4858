package session

import (
	"strings"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// A repair is what an encoding sends so that losses need not be asked for: FlexFEC beside video, earlier frames with those of audio
// (RED). How much of it is decided by what the peer reports.
type repair struct {
	source  // of FlexFEC
	number  uint16
	pt      rtp.PayloadType
	config  fec.Config
	encoder *fec.Encoder // nil: not negotiated
	sources rtp.Sources  // that are protected, where the format has them in the header
	buf     []byte

	red    *payload.REDEncoder
	levels int
	packet Packet // with RED

	loss    float64 // share of packets lost, averaged over reports
	reports uint64  // of them seen
	burst   float64 // how many are asked for in a row, averaged over NACKs; 0: not known
}

// asked takes in what one NACK asks for: its runs show whether losses come in bursts.
func (r *repair) asked(n *rtcp.NACK) {
	packets, runs, last := 0, 0, uint16(0)
	for seq := range n.Lost() {
		if packets == 0 || seq != last+1 {
			runs++
		}
		packets++
		last = seq
	}
	if runs == 0 {
		return
	}
	if mean := float64(packets) / float64(runs); r.burst == 0 {
		r.burst = mean
	} else {
		r.burst += (mean - r.burst) / 16
	}
}

// applyRepair compares what is negotiated of FlexFEC with what there is.
func (s *Session) applyRepair(e *encoding) {
	c, r := e.section, &e.repair
	f := c.out.of(c.out.fec)
	if c.out.fec == 0 || f == nil {
		r.encoder = nil
		return
	}
	r.pt = c.out.fec
	config := repairConfig(f, &c.outIDs)
	if r.encoder != nil && config.Format == r.config.Format && string(config.Volatile) == string(r.config.Volatile) {
		return
	}
	r.config, r.encoder = config, fec.NewEncoder(config)
	if r.ssrc == 0 {
		s.claim(e, &r.source, e.told.FEC)
		r.number = uint16(s.bits() % firstSequence)
	}
}

// repairConfig is how a format of repair is spoken: what is written into a packet when it leaves is not protected.
func repairConfig(f *format, ids *extensions) fec.Config {
	config := fec.Config{}
	switch {
	case strings.EqualFold(f.Name, "flexfec"):
		config.Format = fec.FlexFEC
	case f.role == roleRED:
		config.Format = fec.ULPFEC
	}
	for _, id := range [...]uint8{ids.transport, ids.sendTime} {
		if id != 0 {
			config.Volatile = append(config.Volatile, id)
		}
	}
	return config
}

// path is what is known of losses of an encoding.
func (s *Session) path(e *encoding) fec.Path {
	r, remote := &e.repair, &e.stats.Remote
	if remote.Reports != r.reports {
		r.reports = remote.Reports
		r.loss += (remote.FractionLost - r.loss) / 4
	}
	return fec.Path{Loss: r.loss, RTT: s.RTT(), Burst: r.burst}
}

// protect takes in a packet of video that leaves. With the last one of a frame repair packets may be made, which leave when the
// pacer lets them.
func (s *Session) protect(now mono.Time, e *encoding, packet []byte, last bool) {
	encoder := e.repair.encoder
	if encoder == nil {
		return
	}
	before := encoder.Waiting()
	encoder.Media(packet)
	if last {
		encoder.EndFrame()
		encoder.Protect(fec.Advise(s.path(e)))
	}
	for i := before; i < encoder.Waiting(); i++ {
		if !s.push(now, e, cc.FEC, s.wireSize(encoder.Size(i))) {
			e.repair.buf, _ = encoder.AppendRepair(e.repair.buf[:0]) // there is one too many
			i--
		}
	}
}

// appendRepair writes the next repair packet; nothing if there is none, or it is too long.
func (s *Session) appendRepair(dst []byte, now mono.Time, e *encoding, release cc.Release) []byte {
	r := &e.repair
	if r.encoder == nil || !e.sends() || !e.section.Sends {
		return dst
	}
	var ok bool
	if r.buf, ok = r.encoder.AppendRepair(r.buf[:0]); !ok {
		return dst
	}
	p := rtp.Packet{PayloadType: r.pt, SequenceNumber: r.number, Timestamp: e.timestampAt(now), SSRC: r.ssrc, Payload: r.buf}
	if r.config.Format == fec.FlexFEC {
		r.sources.Reset()
		r.sources.Add(e.media.ssrc)
		p.CSRC = r.sources
	}
	if p.Len()+maxOwnExtensions > maxPacket {
		return dst
	}
	r.number++
	return s.seal(dst, now, e, &r.source, &p, nil, cc.FEC, release.Cluster)
}

// redundant makes a packet of audio carry those before it, if the peer takes that and losses make it worth it.
func (e *encoding) redundant(p *Packet, f *format) *Packet {
	c, r := e.section, &e.repair
	red := c.out.of(c.out.red)
	if c.out.red == 0 || red == nil || red.Clock != f.Clock || p.PayloadType == c.out.red || !strings.EqualFold(f.Name, "opus") {
		return p
	}
	levels := fec.AdviseRED(e.section.sender.session.path(e))
	if levels != r.levels {
		r.levels, r.red = levels, nil
		if levels > 0 {
			r.red = payload.NewREDEncoder(levels)
		}
	}
	if levels == 0 {
		return p
	}
	r.packet = *p
	r.buf = r.red.Append(r.buf[:0], p.PayloadType, p.Timestamp, p.Payload, e.section.sender.MaxPayload(e.index))
	r.packet.PayloadType, r.packet.Payload = c.out.red, r.buf
	return &r.packet
}

// receiveRepair takes a packet of FlexFEC in.
func (s *Session) receiveRepair(now mono.Time, x *Stream, f *format, p *rtp.Packet) {
	if !isFlexFEC(f.Name) {
		s.dropped.Unwanted++
		return
	}
	s.repairer(x, f).Repair(p)
	s.takeRepaired(now, x)
}

// repairer returns the decoder of a stream. Before the first repair packet there is none, and no packet is kept for it.
func (s *Session) repairer(x *Stream, f *format) *fec.Decoder {
	if x.decoder == nil {
		x.decoder = fec.NewDecoder(repairConfig(f, &x.section.inIDs))
		x.section.repairers = append(x.section.repairers, x)
	}
	return x.decoder
}

// repairBy gives a packet of media to all that may repair its stream.
func (s *Session) repairBy(now mono.Time, x *Stream, packet []byte) {
	for _, r := range x.section.repairers {
		if r.role == roleFEC && (r.repairs == nil || r.repairs == x) {
			r.decoder.Media(packet)
			s.takeRepaired(now, r)
		}
	}
}

// takeRepaired delivers what a stream of repair gives back.
func (s *Session) takeRepaired(now mono.Time, r *Stream) {
	for b, ok := r.decoder.Next(); ok; b, ok = r.decoder.Next() {
		p, err := rtp.Parse(b)
		if err != nil {
			continue
		}
		x := r.section.stream(p.SSRC)
		if x == nil {
			s.dropped.Orphan++
			continue
		}
		if f := x.section.in.of(p.PayloadType); f == nil || f.role != roleMedia {
			s.dropped.Unwanted++
			continue
		}
		n := x.number.Peek(p.SequenceNumber)
		if highest, _ := x.number.Highest(); n < highest-bitmapSize || n > highest+bitmapSize {
			s.dropped.Duplicate++
			continue
		}
		if r != x {
			r.repairs = x
		}
		s.recover(now, x, n, &p, 0)
	}
}

// receiveRED takes a packet of video in RED: of media, of repair (ULPFEC), or of both. One of repair alone is delivered without a
// payload, so that its number is no gap to anybody.
func (s *Session) receiveRED(now mono.Time, x *Stream, f *format, p *rtp.Packet, size int, ecn pkt.ECN) {
	s.unwrapRED(x, p)
	s.receiveMedia(now, x, f, p, size, ecn)
	s.takeRepaired(now, x)
}

// unwrapRED makes a packet in RED that of media that is in it; without a payload if there is none.
func (s *Session) unwrapRED(x *Stream, p *rtp.Packet) {
	media, ok := s.repairer(x, x.section.in.of(p.PayloadType)).RED(p, x.section.in.ulpfec)
	if f := x.section.in.of(media.PayloadType); ok && f != nil && f.role == roleMedia {
		*p = media
		return
	}
	x.stats.FECBytesReceived += uint64(len(p.Payload))
	p.Payload, p.Padding = nil, 0
}
