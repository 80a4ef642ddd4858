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
	driver  *simnet.Driver
	peer    int
	onEvent func(now mono.Time, e sctp.Event)
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

// read is the program: it takes all events.
func (e *end) read(now mono.Time) (changed bool) {
	for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
		e.onEvent(now, ev)
		if ev.Kind == sctp.Message {
			e.Consume(len(ev.Data))
		}
		changed = true
	}
	return changed
}

// parleyPair makes two of Parley's associations that stand.
func parleyPair(t *testing.T, n *simnet.Network, hosts [2]*simnet.Host, cfg sctp.Config) (a, b *end) {
	t.Helper()
	var ends [2]*end
	established := false
	for i, h := range hosts {
		cfg.Rand, cfg.Server, cfg.MaxPacket = crand.Reader, i == 1, packet
		association, err := sctp.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		e := &end{Association: association, peer: 1 - i, onEvent: func(_ mono.Time, ev sctp.Event) {
			established = established || ev.Kind == sctp.Established
		}}
		if e.driver, err = h.Run(e, addrs[i]); err != nil {
			t.Fatal(err)
		}
		e.driver.After = e.read
		ends[i] = e
	}
	ends[0].Connect(n.Now())
	ends[0].driver.Poll()
	if !n.RunUntil(func() bool { return established }, time.Minute) {
		t.Fatal("the ends do not find each other")
	}
	return ends[0], ends[1]
}

// opens opens a channel.
func (e *end) opens(t *testing.T, now mono.Time, cfg sctp.ChannelConfig) sctp.StreamID {
	t.Helper()
	id, err := e.Open(now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// parley runs a cell with two of Parley's associations.
func parley(t *testing.T, c cell) result {
	n, hosts := c.hosts()
	a, b := parleyPair(t, n, hosts, sctp.Config{SendBuffer: 4 << 20, ReceiveBuffer: c.window()})
	m := &meter{cell: c, began: time.Duration(n.Now())}
	id := a.opens(t, n.Now(), sctp.ChannelConfig{})
	a.SetBufferedAmountLow(id, 2<<20)
	message := make([]byte, messageSize)
	pump := func(now mono.Time) {
		for a.Send(now, id, false, message) == nil {
		}
	}
	a.onEvent = func(now mono.Time, e sctp.Event) {
		if e.Kind == sctp.BufferedAmountLow {
			pump(now)
		}
	}
	b.onEvent = func(now mono.Time, e sctp.Event) {
		if e.Kind == sctp.Message {
			m.took(time.Duration(now), len(e.Data))
		}
	}
	pump(n.Now())
	a.driver.Poll()
	n.Run(warmUp + c.measured())
	return m.result("Parley")
}

// parleyLatency measures the latency of small messages of high priority beside a bulk of normal priority.
func parleyLatency(t *testing.T, interleaved bool) *latencies {
	l := &latencies{}
	n, hosts := loaded.hosts()
	a, b := parleyPair(t, n, hosts, sctp.Config{SendBuffer: 1 << 20, NoInterleaving: !interleaved})
	bulk := a.opens(t, n.Now(), sctp.ChannelConfig{})
	small := a.opens(t, n.Now(), sctp.ChannelConfig{Priority: 1024})
	message := make([]byte, bulkSize)
	pump := func(now mono.Time) {
		for a.BufferedAmount(bulk) < 512<<10 && a.Send(now, bulk, false, message) == nil {
		}
	}
	a.SetBufferedAmountLow(bulk, 256<<10)
	a.onEvent = func(now mono.Time, e sctp.Event) {
		if e.Kind == sctp.BufferedAmountLow && e.Stream == bulk {
			pump(now)
		}
	}
	b.onEvent = func(now mono.Time, e sctp.Event) {
		if e.Kind == sctp.Message {
			l.took(time.Duration(now), e.Data)
		}
	}
	pump(n.Now())
	a.driver.Poll()
	n.Run(warmUp)
	began := n.Now()
	l.begin()
	for i := range smallCount {
		if err := a.Send(n.Now(), small, false, l.next(time.Duration(n.Now()))); err != nil {
			t.Fatal(err)
		}
		a.driver.Poll()
		n.Run(pause(i))
	}
	l.end(n.Now().Sub(began))
	n.Run(time.Second)
	return l
}
