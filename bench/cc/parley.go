package main

import (
	"math/rand/v2"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtcp"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// parley is Parley's congestion control, driven as a session drives it: it paces references to packets, is told of each packet sent
// and of feedback, and of the receiver it is the recorder.
type parley struct {
	flow       *flow
	controller *cc.Controller
	recorder   cc.TransportRecorder
	streams    cc.StreamRecorder // in place of it where marks are to be told (RFC 8888)

	waiting   map[uint64][]byte // RTP packets by reference
	next      uint64
	sequence  [3]uint16 // by SSRC - 1
	near, far alarm
	free      [][]byte
	feedback  []byte
}

const (
	probeSSRC      = 3 // of what is sent in place of padding
	probeType      = 97
	feedbackPacket = 1200 // bytes
)

func newParley(now mono.Time, f *flow, _ *rand.Rand) stack {
	p := &parley{flow: f, controller: cc.New(now, cc.Config{}), waiting: map[uint64][]byte{}}
	p.near = alarm{f.net, mono.Never, p.controller.NextTimeout, func(now mono.Time) {
		p.controller.HandleTimeout(now)
		p.drain(now)
	}}
	p.far = alarm{f.net, mono.Never, p.nextFeedback, p.report}
	p.controller.SetWanted(now, wanted, 0)
	p.drain(now)
	return p
}

// wanted is what the streams could use: the session is not told how little a source makes.
const wanted = 100 * mbit

func (p *parley) estimate() int64 { return int64(p.controller.Target()) }

// video counts the headers of IP and UDP too, as the target does.
func (p *parley) video() int64 { return videoOf(p.estimate(), ipUDP+rtpHeader) }

func (p *parley) send(now mono.Time, k kind, payload []byte, last bool) {
	b := p.packet(now, rtp.SSRC(k+1), [2]rtp.PayloadType{payloadTypeAudio, payloadTypeVideo}[k], last && k == video, clockRates[k], payload)
	class := cc.Audio
	if k == video {
		class = cc.Video
	}
	p.next++
	if p.controller.Push(now, class, p.next, len(b)+ipUDP) {
		p.waiting[p.next] = b
	}
	p.drain(now)
}

// packet makes an RTP packet with room for a transport-wide number.
func (p *parley) packet(now mono.Time, ssrc rtp.SSRC, t rtp.PayloadType, marker bool, clock int64, payload []byte) []byte {
	var b []byte
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	}
	p.sequence[ssrc-1]++
	packet := rtp.Packet{Marker: marker, PayloadType: t, SequenceNumber: p.sequence[ssrc-1],
		Timestamp: uint32(int64(now) / 1000 * clock / 1e6), SSRC: ssrc, Payload: payload}
	packet.Extensions.Reset(rtp.OneByte)
	packet.Extensions.Add(sequenceID, []byte{0, 0})
	return packet.Append(b[:0])
}

const numberAt = 17 // where the number is in a packet

// drain sends what may leave now.
func (p *parley) drain(now mono.Time) {
	for r, ok := p.controller.Pop(now); ok; r, ok = p.controller.Pop(now) {
		b := p.waiting[r.Ref]
		if r.Kind == cc.Padding {
			// As a session that sends recent packets once more, which come in any size.
			b = p.packet(now, probeSSRC, probeType, false, clockVideo, make([]byte, min(max(r.Size-ipUDP-rtpHeader, 1), videoPayload+2)))
		}
		number := p.controller.Sent(now, cc.Packet{SSRC: rtp.SSRC(ssrcOf(b)), Seq: uint16(b[2])<<8 | uint16(b[3]), Size: len(b) + ipUDP,
			Kind: r.Kind, Cluster: r.Cluster})
		b[numberAt], b[numberAt+1] = byte(number>>8), byte(number)
		ecn := pkt.NotECT
		if p.flow.marks {
			ecn = pkt.ECT0
		}
		p.flow.transmit(now, b, ecn)
		delete(p.waiting, r.Ref)
		p.free = append(p.free, b)
	}
	p.near.set(now)
}

func ssrcOf(b []byte) uint32 {
	return uint32(b[8])<<24 | uint32(b[9])<<16 | uint32(b[10])<<8 | uint32(b[11])
}

func (p *parley) forward(now mono.Time, d *pkt.Datagram) {
	packet := must(rtp.Parse(d.Payload))
	if packet.SSRC != probeSSRC {
		p.flow.delivered(now, kind(packet.SSRC-1), packet.Payload)
	}
	if p.flow.marks {
		p.streams.Record(now, packet.SSRC, packet.SequenceNumber, uint8(d.ECN), len(d.Payload)+ipUDP)
	} else {
		p.recorder.Record(now, uint16(d.Payload[numberAt])<<8|uint16(d.Payload[numberAt+1]), len(d.Payload)+ipUDP)
	}
	p.report(now)
}

// nextFeedback is when the receiver has something to say.
func (p *parley) nextFeedback() mono.Time {
	if p.flow.marks {
		return p.streams.NextTimeout()
	}
	return p.recorder.NextTimeout()
}

// report sends the feedback that is due.
func (p *parley) report(now mono.Time) {
	for {
		if p.flow.marks {
			p.feedback = p.streams.AppendFeedback(p.feedback[:0], now, 9, uint32(int64(now)/1000<<16/1e6), feedbackPacket)
		} else {
			p.feedback = p.recorder.AppendFeedback(p.feedback[:0], now, 9, 2, feedbackPacket)
		}
		if len(p.feedback) == 0 {
			break
		}
		p.flow.answer(p.feedback)
	}
	p.far.set(now)
}

func (p *parley) back(now mono.Time, d *pkt.Datagram) {
	for rest := d.Payload; len(rest) > 0; {
		packet, after, err := rtcp.Next(rest)
		if err != nil {
			panic(err)
		}
		rest = after
		if f, ok := packet.TransportFeedback(); ok {
			p.controller.HandleTransportFeedback(now, f)
		} else if f, ok := packet.CongestionFeedback(); ok {
			p.controller.HandleCongestionFeedback(now, f)
		}
	}
	p.drain(now)
}

func (p *parley) reroute(now mono.Time) { p.controller.HandleRouteChange(now) }

func (p *parley) close() {}
