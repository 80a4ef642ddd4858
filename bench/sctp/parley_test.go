package sctp_test

import (
	crand "crypto/rand"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// end is one of Parley's associations on a host.
type end struct {
	*sctp.Association
	cfg  sctp.Config
	peer int
}

func (e *end) HandleDatagram(now mono.Time, d *pkt.Datagram) { e.HandlePacket(now, d.Payload) }

func (e *end) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for {
		buf := b.Reserve(1500)
		if buf == nil {
			return true
		}
		p := e.AppendPacket(buf, now)
		if len(p) == 0 {
			return false
		}
		b.Commit(pkt.Transmit{Path: pkt.Path{Remote: addrs[e.peer]}, Payload: p})
	}
}

// parley runs a cell with two of Parley's associations.
func parley(t *testing.T, c cell) result {
	n, ha, hb := c.hosts()
	var ends [2]*end
	var drivers [2]*simnet.Driver
	for i, h := range []*simnet.Host{ha, hb} {
		cfg := sctp.Config{Rand: crand.Reader, Server: i == 1, MaxPacket: packet, SendBuffer: 4 << 20, ReceiveBuffer: c.window()}
		a, err := sctp.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = &end{a, cfg, 1 - i}
		if drivers[i], err = h.Run(ends[i], addrs[i]); err != nil {
			t.Fatal(err)
		}
	}
	a, b := ends[0], ends[1]
	m := &meter{cell: c}
	message := make([]byte, messageSize)
	var id sctp.StreamID
	pump := func(now mono.Time) {
		for a.Send(now, id, false, message) == nil {
		}
	}
	established := false
	drivers[0].After = func(now mono.Time) (changed bool) {
		for e, ok := a.NextEvent(); ok; e, ok = a.NextEvent() {
			switch e.Kind {
			case sctp.Established:
				established = true
			case sctp.BufferedAmountLow:
				pump(now)
			}
			changed = true
		}
		return changed
	}
	drivers[1].After = func(now mono.Time) (changed bool) {
		for e, ok := b.NextEvent(); ok; e, ok = b.NextEvent() {
			if e.Kind == sctp.Message {
				m.took(time.Duration(now), len(e.Data))
				b.Consume(len(e.Data))
			}
			changed = true
		}
		return changed
	}
	a.Connect(n.Now())
	drivers[0].Poll()
	if !n.RunUntil(func() bool { return established }, time.Minute) {
		t.Fatal("the ends do not find each other")
	}
	var err error
	if id, err = a.Open(n.Now(), sctp.ChannelConfig{}); err != nil {
		t.Fatal(err)
	}
	a.SetBufferedAmountLow(id, 2<<20)
	m.began = time.Duration(n.Now())
	pump(n.Now())
	drivers[0].Poll()
	n.Run(warmUp + c.measured())
	return m.result("Parley")
}
