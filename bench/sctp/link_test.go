package sctp_test

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
)

// cell is a link between two ends, over which one of them sends as much as it can.
type cell struct {
	Mbit int
	RTT  time.Duration
	Loss float64 // of what is sent with the data

	fit    bool // the window fits the link and half of its queue
	buffer int  // what may wait before the link; 0: what fits into a round trip, and at least 64 KiB
}

func (c cell) rate() int64 { return int64(c.Mbit) * 1e6 }

// queue is what may wait before the link.
func (c cell) queue() int {
	if c.buffer > 0 {
		return c.buffer
	}
	return max(64<<10, int(c.rate()/8*int64(c.RTT)/int64(time.Second)))
}

// window is how much the receiver takes that was not read.
func (c cell) window() int {
	if c.fit {
		return max(2*messageSize, int(c.rate()/8*int64(c.RTT)/int64(time.Second))+c.queue()/2)
	}
	if c.Mbit >= 1000 && c.RTT >= 300*time.Millisecond {
		return 64 << 20
	}
	return 16 << 20
}

// measured is how long is measured, after warmUp: less where the packets are very many.
func (c cell) measured() time.Duration {
	switch {
	case c.Loss > 0 && c.Mbit >= 1000 && c.RTT <= time.Millisecond:
		return 5 * time.Second
	case c.Loss > 0:
		return 20 * time.Second
	case c.Mbit >= 1000:
		return 2 * time.Second
	}
	return 10 * time.Second
}

const (
	warmUp      = 10 * time.Second
	messageSize = 64 << 10
	packet      = 1228 // bytes: what Pion sends unless told otherwise
	payload     = packet - 28
)

// response is what RFC 9438 section 5.1 expects of CUBIC, in bits a second: an average window of 1.054 packets times
// (RTT/p)^(3/4). Infinite where nothing is lost.
func (c cell) response() float64 {
	if c.Loss == 0 {
		return math.Inf(1)
	}
	return 1.054 * math.Pow(c.RTT.Seconds()/c.Loss, 0.75) * payload * 8 / c.RTT.Seconds()
}

var addrs = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("192.0.2.2:9")}

// hosts makes the two ends of the link; the first one sends.
func (c cell) hosts() (n *simnet.Network, hosts [2]*simnet.Host) {
	n = simnet.New(1)
	p := simnet.Path{Delay: c.RTT / 2, Rate: c.rate(), Queue: c.queue()}
	hosts[0] = n.Internet().Host("a", p, addrs[0].Addr().String())
	hosts[1] = n.Internet().Host("b", simnet.Path{}, addrs[1].Addr().String())
	p.Loss = c.Loss
	hosts[0].Link().SetUp(p)
	return n, hosts
}

// result is what came of a cell.
type result struct {
	Cell    cell
	Who     string
	Goodput float64       // bits of messages a second, in the steady state
	Ramp    time.Duration // from the first message until 90 % of the link are filled for the first time; 0: never
}

// meter counts what arrives.
type meter struct {
	cell   cell
	began  time.Duration // when the first message was sent
	slot   time.Duration // the end of the interval in hand
	inSlot int
	ramp   time.Duration
	bytes  int // while it is measured
}

// interval is how long the link must be filled to count as filled.
func (c cell) interval() time.Duration { return max(100*time.Millisecond, c.RTT) }

// took notes that a message arrived.
func (m *meter) took(now time.Duration, n int) {
	since := now - m.began
	for m.slot <= since {
		if m.ramp == 0 && float64(m.inSlot)*8 >= 0.9*float64(m.cell.rate())*m.cell.interval().Seconds() {
			m.ramp = m.slot
		}
		m.slot, m.inSlot = m.slot+m.cell.interval(), 0
	}
	m.inSlot += n
	if since >= warmUp && since < warmUp+m.cell.measured() {
		m.bytes += n
	}
}

func (m *meter) result(who string) result {
	return result{m.cell, who, float64(m.bytes) * 8 / m.cell.measured().Seconds(), m.ramp}
}

// contender runs a cell and returns what came of it.
type contender func(t *testing.T, c cell) result
