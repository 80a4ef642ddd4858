package main

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// peers is two whole peers, as applications have them: ICE, DTLS, SRTP, reports, retransmission, repair, and the congestion control
// in the middle of it.
type peers struct {
	flow    *flow
	ends    [2]*onePeer
	payload int64
}

type onePeer struct {
	*peer.Peer
	session *jsep.Session
	local   netip.AddrPort
	put     func(now mono.Time, b []byte, ecn pkt.ECN)
	batch   *pkt.Batch
	alarm   alarm
}

var sections = [2]string{audio: "0", video: "1"}

func newPeers(now mono.Time, f *flow, rng *rand.Rand) stack {
	p := &peers{flow: f, payload: startBitrate}
	for i := range p.ends {
		var key [32]byte
		for j := range key {
			key[j] = byte(rng.Uint32())
		}
		entropy := rand.NewChaCha8(key)
		cert := must(dtls.GenerateCertificate(entropy, time.Unix(1_700_000_000, 0), time.Unix(1_800_000_000, 0)))
		print := cert.Fingerprint()
		e := &onePeer{batch: pkt.NewBatch(1<<18, 64)}
		e.session = must(jsep.New(jsep.Config{Entropy: entropy, Fingerprints: []sdp.Fingerprint{{Hash: print.Algorithm, Value: print.Value}}}))
		e.Peer = must(peer.New(peer.Config{Entropy: entropy, DTLS: &dtls.Config{
			Entropy: entropy, Certificate: cert, Groups: []dtls.Group{dtls.X25519}, SRTPProfiles: dtls.DefaultSRTPProfiles(),
		}, SCTP: sctp.Config{SendBuffer: 1 << 20, ReceiveBuffer: 4 << 20}}))
		e.alarm = alarm{f.net, mono.Never, e.NextTimeout, func(now mono.Time) {
			e.HandleTimeout(now)
			p.run(now, e)
		}}
		p.ends[i] = e
	}
	p.ends[0].local, p.ends[0].put = f.near.Local(), f.transmit
	p.ends[1].local, p.ends[1].put = f.far.Local(), func(_ mono.Time, b []byte, _ pkt.ECN) { f.answer(b) }
	for _, kind := range [2]string{audio: "audio", video: "video"} {
		must(p.ends[0].session.AddTransceiver(kind, jsep.TransceiverInit{Track: kind, AddTrack: true}))
	}
	if f.data != nil {
		p.ends[0].session.AddData()
	}
	offer := p.setLocal(now, p.ends[0], jsep.Offer)
	p.apply(now, p.ends[1], must(p.ends[1].session.SetRemote(offer)))
	answer := p.setLocal(now, p.ends[1], jsep.Answer)
	p.apply(now, p.ends[0], must(p.ends[0].session.SetRemote(answer)))
	p.ends[0].Sender(sections[video]).SetEncoding(now, 0, session.EncodingParameters{Active: true, MaxBitrate: wanted})
	p.run(now, p.ends[0])
	p.run(now, p.ends[1])
	return p
}

func (p *peers) setLocal(now mono.Time, e *onePeer, kind jsep.Type) jsep.Description {
	c := must(e.session.SetLocal(jsep.Description{Type: kind}))
	p.apply(now, e, c)
	for _, t := range c.Transports {
		if c, ok := e.AddLocalCandidate(now, t.ID, ice.Candidate{Type: ice.Host, Address: e.local}); ok {
			e.session.AddLocalCandidate(t.ID, t.Local.Ufrag, c.SDP())
		}
		e.EndOfLocalCandidates(now, t.ID)
	}
	return e.session.Local()
}

func (p *peers) apply(now mono.Time, e *onePeer, c jsep.Changes) {
	must(e, e.Apply(now, c.Transports, c.Media, c.Data))
	for _, t := range e.session.RemoteCandidates() {
		e.AddRemote(now, t)
	}
}

// run takes from an end all that it has: jobs, events, and what it sends.
func (p *peers) run(now mono.Time, e *onePeer) {
	for more := true; more; {
		for j, ok := e.NextJob(); ok; j, ok = e.NextJob() {
			j.Run()
			e.JobDone(now, j)
		}
		e.batch.Reset()
		more = e.AppendTransmit(now, e.batch)
		for _, t := range e.batch.Transmits() {
			size := len(t.Payload)
			if t.SegmentSize > 0 {
				size = int(t.SegmentSize)
			}
			for b := t.Payload; len(b) > 0; b = b[min(size, len(b)):] {
				e.put(now, b[:min(size, len(b))], t.ECN)
			}
		}
		for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
			if ev.Kind == peer.OfRTP && ev.RTP.Kind == session.TargetBitrate && ev.RTP.MID == sections[video] {
				p.payload = int64(ev.RTP.Bitrate)
			}
			if ev.Kind == peer.OfSCTP {
				p.handleData(now, e, &ev.SCTP)
			}
			more = true
		}
	}
	e.alarm.set(now)
}

// handleData is the program: the one end writes whenever less than half of its buffer is full, the other reads.
func (p *peers) handleData(now mono.Time, e *onePeer, ev *sctp.Event) {
	write := func(channel sctp.StreamID) {
		for e.Association().Send(now, channel, false, make([]byte, downloadMessage)) == nil {
		}
	}
	switch {
	case ev.Kind == sctp.Message:
		e.Association().Consume(len(ev.Data))
		p.flow.data(now, len(ev.Data))
	case ev.Kind == sctp.Established && e == p.ends[0]:
		channel := must(e.Association().Open(now, sctp.ChannelConfig{}))
		e.Association().SetBufferedAmountLow(channel, downloadMessage*8)
		write(channel)
	case ev.Kind == sctp.BufferedAmountLow:
		write(ev.Stream)
	}
}

func (p *peers) estimate() int64 {
	b, _ := p.ends[0].Transport(1).Session().Bandwidth()
	return int64(b.Target)
}

func (p *peers) video() int64 { return p.payload }

func (p *peers) send(now mono.Time, k kind, payload []byte, last bool) {
	sender := p.ends[0].Sender(sections[k])
	// Before there are keys, and when the queue is full, it refuses: the encoder does not care.
	_ = sender.Send(now, 0, &session.Packet{
		PayloadType: [2]rtp.PayloadType{payloadTypeAudio, payloadTypeVideo}[k], Marker: last && k == video,
		Timestamp: uint32(int64(now) / 1000 * clockRates[k] / 1e6), Captured: now, Payload: payload,
	})
	p.run(now, p.ends[0])
}

func (p *peers) forward(now mono.Time, d *pkt.Datagram) {
	e := p.ends[1]
	e.HandleDatagram(now, d)
	for r, ok := e.NextPacket(); ok; r, ok = e.NextPacket() {
		if len(r.Packet.Payload) >= 8 {
			k := audio
			if r.Packet.PayloadType != payloadTypeAudio {
				k = video
			}
			p.flow.delivered(now, k, r.Packet.Payload)
		}
	}
	p.run(now, e)
}

func (p *peers) back(now mono.Time, d *pkt.Datagram) {
	e := p.ends[0]
	e.HandleDatagram(now, d)
	for _, ok := e.NextPacket(); ok; _, ok = e.NextPacket() {
	}
	p.run(now, e)
}

func (p *peers) reroute(now mono.Time) {
	p.ends[0].Transport(1).Session().PathChanged(now)
	p.run(now, p.ends[0])
}

func (p *peers) close() {}
