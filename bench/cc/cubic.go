package main

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

const (
	downloadPacket  = 1228 // bytes of SCTP: 1256 on the wire
	downloadMessage = 64 << 10
)

// download starts a flow that is as greedy as CUBIC lets it be (RFC 9438, with HyStart++): Parley's SCTP over UDP, which sends
// messages without end. What arrives is told with its size on the wire.
func download(n *simnet.Network, near, far *simnet.Host, at time.Duration, arrived func(now mono.Time, size int), seed uint64) {
	var ends [2]*end
	hosts := [2]*simnet.Host{near, far}
	for i, h := range hosts {
		e := &end{Association: must(sctp.New(sctp.Config{
			Rand: rand.NewChaCha8([32]byte{byte(seed), byte(i)}), Server: i == 1, MaxPacket: downloadPacket,
			SendBuffer: 1 << 20, ReceiveBuffer: 4 << 20,
		})), peer: netip.AddrPortFrom(hosts[1-i].Addrs()[0], 9)}
		e.driver = must(h.Run(e, netip.AddrPortFrom(h.Addrs()[0], 9)))
		e.driver.After = e.read
		ends[i] = e
	}
	ends[1].arrived = arrived
	n.After(at, func(now mono.Time) {
		ends[0].sends = true
		ends[0].Connect(now)
		ends[0].driver.Poll()
	})
}

// end is one of two associations.
type end struct {
	*sctp.Association
	driver  *simnet.Driver
	peer    netip.AddrPort
	arrived func(now mono.Time, size int)
	sends   bool
	channel sctp.StreamID
}

func (e *end) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if e.arrived != nil {
		e.arrived(now, len(d.Payload)+ipUDP)
	}
	e.HandlePacket(now, d.Payload)
}

func (e *end) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for {
		buf := b.Reserve(downloadPacket)
		if buf == nil {
			return true
		}
		p := e.AppendPacket(buf, now)
		if len(p) == 0 {
			return false
		}
		b.Commit(pkt.Transmit{Path: pkt.Path{Remote: e.peer}, Payload: p})
	}
}

// read is the program: the one end writes whenever less than half of its buffer is full, the other reads.
func (e *end) read(now mono.Time) (changed bool) {
	for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
		changed = true
		switch {
		case ev.Kind == sctp.Message:
			e.Consume(len(ev.Data))
		case ev.Kind == sctp.Established && e.sends:
			e.channel = must(e.Open(now, sctp.ChannelConfig{}))
			e.SetBufferedAmountLow(e.channel, 512<<10)
			e.write(now)
		case ev.Kind == sctp.BufferedAmountLow:
			e.write(now)
		}
	}
	return changed
}

func (e *end) write(now mono.Time) {
	for e.Send(now, e.channel, false, make([]byte, downloadMessage)) == nil {
	}
}
