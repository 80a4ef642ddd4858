package turn_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// paths are the ways in which data is relayed, each as the datagram that arrives.
func paths(t testing.TB, size int) (*rig, map[string]*pkt.Datagram) {
	t.Helper()
	r := newRig(t)
	a, b, s := r.client("5.9.0.1:1000", "ada"), r.client("5.9.1.1:1000", "bea"), r.stream("5.9.2.1:1000", "cyd")
	for _, c := range []*client{a, b, s} {
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		c.expect(0, stun.CreatePermission, peers(ap("9.9.9.9:1")))
	}
	a.expect(0, stun.ChannelBind, binding(0x4001, b.relayed))
	b.expect(0, stun.ChannelBind, binding(0x4001, a.relayed))
	payload := make([]byte, size)
	indication := stun.NewBuilder(nil, stun.Indication, stun.Send, stun.TransactionID{1})
	indication.XORAddress(stun.AttrXORPeerAddress, peer4)
	indication.Bytes(stun.AttrData, payload)
	send, err := indication.Message()
	if err != nil {
		t.Fatal(err)
	}
	return r, map[string]*pkt.Datagram{
		"up, channel":      {Path: a.path, Payload: channelData(0x4000, string(payload))},
		"up, indication":   {Path: a.path, Payload: send},
		"up, stream":       {Path: s.path, Payload: channelData(0x4000, string(payload))},
		"down, channel":    {Path: pkt.Path{Socket: r.relays[a.relayed], Local: a.relayed, Remote: peer4}, Payload: payload},
		"down, indication": {Path: pkt.Path{Socket: r.relays[a.relayed], Local: a.relayed, Remote: ap("9.9.9.9:1")}, Payload: payload},
		"down, stream":     {Path: pkt.Path{Socket: r.relays[s.relayed], Local: s.relayed, Remote: peer4}, Payload: payload},
		"inside":           {Path: a.path, Payload: channelData(0x4001, string(payload))},
		"dropped":          {Path: a.path, Payload: channelData(0x4002, string(payload))},
	}
}

// Relaying allocates nothing, neither into the driver's batch nor by way of the server's own.
func TestRelayingAllocatesNothing(t *testing.T) {
	r, all := paths(t, 1200)
	b := pkt.NewBatch(1<<16, 32)
	for name, d := range all {
		if n := testing.AllocsPerRun(200, func() {
			b.Reset()
			if !r.s.Relay(r.now, d, b) {
				t.Fatal("not relayed")
			}
		}); n != 0 {
			t.Errorf("%s: Relay allocates %v times", name, n)
		}
		if want := 1; name != "dropped" && b.Len() != want {
			t.Errorf("%s: %d datagrams", name, b.Len())
		}
		if n := testing.AllocsPerRun(200, func() {
			r.s.HandleDatagram(r.now, d)
			b.Reset()
			r.s.AppendTransmit(r.now, b)
		}); n != 0 {
			t.Errorf("%s: HandleDatagram allocates %v times", name, n)
		}
	}
}

// An allocation with a permission and a channel keeps at most 4 KiB.
func TestMemoryOfAnAllocation(t *testing.T) {
	const count = 5000
	r := newRig(t, func(c *turn.Config) { c.Limits.Allocations, c.PerAddress = count, count })
	heap := heapInUse()
	for i := range count {
		c := r.client(fmt.Sprintf("5.%d.%d.1:1000", i>>8, i&0xFF), "seat")
		c.allocate()
		c.expect(0, stun.CreatePermission, peers(ap("9.9.9.9:1")))
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		if i%1000 == 0 {
			r.wait(2 * time.Second)
		}
	}
	r.wait(2 * time.Second)
	r.out, r.events, r.opened, r.batch = nil, nil, nil, nil
	// The driver's own book of sockets is in this number, too.
	if each := (heapInUse() - heap) / count; each > 4<<10 {
		t.Errorf("an allocation keeps %d bytes", each)
	} else {
		t.Logf("an allocation keeps %d bytes", each)
	}
	runtime.KeepAlive(r)
}

func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{160, 1200} {
		r, all := paths(b, size)
		batch := pkt.NewBatch(1<<16, 32)
		for _, name := range []string{"up, channel", "up, indication", "up, stream", "down, channel", "down, indication", "down, stream", "inside", "dropped"} {
			d := all[name]
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					if !r.s.Relay(r.now, d, batch) {
						batch.Reset()
					}
				}
			})
		}
	}
}

// BenchmarkAllocation is a whole one: challenge, Allocate, ChannelBind, Refresh with zero.
func BenchmarkAllocation(b *testing.B) {
	r := newRig(b)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	c.expect(0, stun.Refresh, living(0))
	b.ReportAllocs()
	for b.Loop() {
		c.allocate()
		c.expect(0, stun.ChannelBind, binding(0x4000, peer4))
		c.expect(0, stun.Refresh, living(0))
		r.out, r.events, r.opened, r.closed = nil, nil, nil, nil
	}
}

// BenchmarkRefresh is the work of one authenticated request: parse, two hashes for the check, two for the answer.
func BenchmarkRefresh(b *testing.B) {
	r := newRig(b)
	c := r.client("5.9.0.1:1000", "ada")
	c.allocate()
	d := &pkt.Datagram{Path: c.path, Payload: c.build(stun.Refresh, nil)}
	batch := pkt.NewBatch(1<<16, 32)
	b.ReportAllocs()
	for b.Loop() {
		r.s.HandleDatagram(r.now, d)
		batch.Reset()
		r.s.AppendTransmit(r.now, batch)
	}
}
