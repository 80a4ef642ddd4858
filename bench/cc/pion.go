package main

import (
	"math/rand/v2"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/interceptor/pkg/gcc"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// pion is Pion's estimator, with its leaky bucket pacer and its interceptors for transport-wide feedback, in the order in which
// its own example of bandwidth estimation registers them.
type pion struct {
	flow      *flow
	chain     [2]interceptor.Interceptor // of the sender and of the receiver
	estimator cc.BandwidthEstimator
	streams   [2]*pionStream
	feedback  interceptor.RTCPReader
	arrived   []byte // what a reader of the chains reads
}

type pionStream struct {
	writer interceptor.RTPWriter
	reader interceptor.RTPReader
	header rtp.Header
}

const (
	sequenceID       = 1 // of the header extension
	startBitrate     = 300_000
	clockAudio       = 48_000
	clockVideo       = 90_000
	payloadTypeAudio = 111
	payloadTypeVideo = 96
)

var clockRates = [2]int64{audio: clockAudio, video: clockVideo}

func newPion(_ mono.Time, f *flow, _ *rand.Rand) stack {
	p := &pion{flow: f}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	control := must(cc.NewInterceptor(func() (cc.BandwidthEstimator, error) {
		return gcc.NewSendSideBWE(gcc.SendSideBWEInitialBitrate(startBitrate), gcc.SendSideBWEMaxBitrate(100_000_000),
			gcc.WithLoggerFactory(quiet))
	}))
	control.OnNewPeerConnection(func(_ string, e cc.BandwidthEstimator) { p.estimator = e })
	sender := &interceptor.Registry{}
	sender.Add(control)
	sender.Add(must(twcc.NewHeaderExtensionInterceptor()))
	receiver := &interceptor.Registry{}
	receiver.Add(must(twcc.NewSenderInterceptor(twcc.WithLoggerFactory(quiet))))
	p.chain[0], p.chain[1] = must(sender.Build("sender")), must(receiver.Build("receiver"))

	for k, t := range [2]uint8{payloadTypeAudio, payloadTypeVideo} {
		info := &interceptor.StreamInfo{
			SSRC: uint32(k + 1), PayloadType: t,
			RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{URI: twccURI, ID: sequenceID}},
			RTCPFeedback:        []interceptor.RTCPFeedback{{Type: "transport-cc"}},
		}
		p.streams[k] = &pionStream{
			writer: p.chain[0].BindLocalStream(info, interceptor.RTPWriterFunc(p.write)),
			reader: p.chain[1].BindRemoteStream(info, interceptor.RTPReaderFunc(p.read)),
			header: rtp.Header{Version: 2, PayloadType: t, SSRC: info.SSRC},
		}
	}
	p.chain[1].BindRTCPWriter(interceptor.RTCPWriterFunc(func(packets []rtcp.Packet, _ interceptor.Attributes) (int, error) {
		b, err := rtcp.Marshal(packets)
		if err == nil {
			f.answer(b)
		}
		return len(b), err
	}))
	p.feedback = p.chain[0].BindRTCPReader(interceptor.RTCPReaderFunc(p.read))
	return p
}

const twccURI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

func (p *pion) estimate() int64 { return int64(p.estimator.GetTargetBitrate()) }

// video counts no headers of UDP and IP, as the target does not.
func (p *pion) video() int64 { return videoOf(p.estimate(), rtpHeader) }

func (p *pion) send(now mono.Time, k kind, payload []byte, last bool) {
	s := p.streams[k]
	s.header.SequenceNumber++
	s.header.Timestamp = uint32(int64(now) / 1000 * clockRates[k] / 1e6)
	s.header.Marker = last && k == video
	h := s.header.Clone() // the chain adds an extension
	must(s.writer.Write(&h, payload, nil))
}

// write is the end of the sender's chain.
func (p *pion) write(header *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
	b := append(must(header.Marshal()), payload...)
	p.flow.transmit(p.flow.net.Now(), b, pkt.NotECT)
	return len(b), nil
}

// read is the beginning of the chains of what arrives.
func (p *pion) read(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
	return copy(b, p.arrived), a, nil
}

func (p *pion) forward(now mono.Time, d *pkt.Datagram) {
	p.arrived = d.Payload
	var packet rtp.Packet
	if err := packet.Unmarshal(d.Payload); err != nil {
		panic(err)
	}
	p.flow.delivered(now, kind(packet.SSRC-1), packet.Payload)
	var buf [1500]byte
	if _, _, err := p.streams[packet.SSRC-1].reader.Read(buf[:], nil); err != nil {
		panic(err)
	}
}

func (p *pion) back(_ mono.Time, d *pkt.Datagram) {
	p.arrived = d.Payload
	var buf [1500]byte
	if _, _, err := p.feedback.Read(buf[:], nil); err != nil {
		panic(err)
	}
}

// reroute does nothing: Pion's estimator cannot be told.
func (p *pion) reroute(mono.Time) {}

func (p *pion) close() {
	for _, c := range p.chain {
		must(p, c.Close())
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
