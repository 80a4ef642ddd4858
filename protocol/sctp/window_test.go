package sctp

import (
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The window keeps ahead of a sender that doubles its own each round trip, so that only the path limits it; and it does not
// grow beyond Config.ReceiveBuffer.
func TestWindowGrowsAheadOfTheSender(t *testing.T) {
	t.Parallel()
	type link struct {
		mbit   int64
		rtt    time.Duration
		buffer int
		runs   time.Duration
	}
	for _, c := range []link{
		{200, 100 * time.Millisecond, 16 << 20, 1500 * time.Millisecond}, // 2.5 MB under way
		{1000, 300 * time.Millisecond, 64 << 20, 8 * time.Second},        // 37.5 MB
	} {
		if c.mbit == 1000 && os.Getenv("PARLEY_LONG") == "" {
			continue
		}
		bdp := int(c.mbit * 1e6 / 8 * int64(c.rtt) / int64(time.Second))
		d := newDuo(t, simnet.Path{Delay: c.rtt / 2, Rate: c.mbit * 1e6, Queue: 2 * bdp}, func(cfg *Config) {
			cfg.ReceiveBuffer = c.buffer
		}).connect()
		d.net.Run(time.Second)
		id := d.a.opens(ChannelConfig{})
		data := make([]byte, 64<<10)
		pump := func(now mono.Time) {
			for d.a.send.buffered < 4<<20 && d.a.Send(now, id, false, data) == nil {
			}
		}
		d.a.SetBufferedAmountLow(id, 2<<20)
		d.a.onEvent = func(now mono.Time, e Event) {
			if e.Kind == BufferedAmountLow {
				pump(now)
			}
		}
		d.b.onEvent = func(mono.Time, Event) {
			delete(d.b.got, id)
			clear(d.b.at)
		}
		least := 1 << 30
		d.a.mangle = func(p []byte) []byte {
			if d.b.space() < c.buffer { // it could have been larger
				least = min(least, d.a.send.peerWindow)
			}
			return p
		}
		pump(d.a.now())
		d.a.driver.Poll()
		d.net.Run(c.runs)
		if least < 64<<10 {
			t.Errorf("%+v: the window left only %d bytes at a time", c, least)
		}
		if space := d.b.space(); space < 2*bdp && space < c.buffer || space > c.buffer {
			t.Errorf("%+v: the window is %d bytes", c, space)
		}
		if most := d.a.Stats().CongestionWindow; most < bdp {
			t.Errorf("%+v: the path was not filled, the sender's window is %d", c, most)
		}
	}
}

// A program that reads slowly is not given more than it reads.
func TestWindowOfASlowReader(t *testing.T) {
	t.Parallel()
	d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond, Rate: 50e6, Queue: 500_000}).connect()
	d.b.unread = true
	unread := 0
	d.b.onEvent = func(_ mono.Time, e Event) { unread++ }
	f := carrying(d, 300, 10_000, ChannelConfig{})
	for len(d.b.hashed[f.id]) < 300 {
		d.net.Run(50 * time.Millisecond)
		if unread > 0 {
			unread--
			d.b.Consume(10_000)
			d.b.driver.Poll()
		}
		if d.net.Now() > mono.Time(2000*time.Second) {
			t.Fatal("not delivered")
		}
	}
	if d.b.space() != initialWindow {
		t.Errorf("the window has grown to %d bytes", d.b.space())
	}
	d.carried(f)
}

// What no program can take yet does not close the window: a message that is larger than it, and whole messages that wait for
// one that is lost.
func TestPartsDoNotCloseTheWindow(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	for _, interleaved := range []bool{true, false} {
		d := newDuo(t, simnet.Path{Delay: 25 * time.Millisecond, Rate: 50e6, Queue: 500_000}, func(cfg *Config) {
			cfg.MaxMessageSize, cfg.NoInterleaving = size, !interleaved
		}).connect()
		d.b.hash = true
		id := d.a.opens(ChannelConfig{})
		data := noise(1, size)
		if err := d.a.Send(d.a.now(), id, false, data); err != nil {
			t.Fatal(err)
		}
		d.a.driver.Poll()
		least := 1 << 30
		d.a.mangle = func(p []byte) []byte {
			least = min(least, d.a.send.peerWindow)
			return p
		}
		d.until("delivered", func() bool { return len(d.b.hashed[id]) == 1 })
		if d.b.hashed[id][0] != sha256.Sum256(data) || least < 64<<10 {
			t.Errorf("interleaved %v: the window left only %d bytes", interleaved, least)
		}
		if d.b.receive.held != 0 || d.b.receive.unread != 0 {
			t.Errorf("%d bytes are held, %d unread", d.b.receive.held, d.b.receive.unread)
		}
	}
}

// An end that sends nothing learns the round trip by a HEARTBEAT, if so much comes that its window may be too small.
func TestReceiverAsksForTheRoundTrip(t *testing.T) {
	t.Parallel()
	d := newDuo(t, simnet.Path{Delay: 50 * time.Millisecond, Rate: 100e6, Queue: 1 << 20}).connect()
	d.b.path.init() // as after SNAP
	d.b.opens(ChannelConfig{Negotiated: true, ID: 6})
	d.carried(carrying(d, 300, 10_000, ChannelConfig{Negotiated: true, ID: 6}))
	if got := d.b.Stats().RTT; got < 100*time.Millisecond || got > 200*time.Millisecond {
		t.Errorf("b's round trip is %v", got)
	}
	d.b.path.init()
	d.b.opens(ChannelConfig{Negotiated: true, ID: 8})
	d.carried(carrying(d, 3, 1000, ChannelConfig{Negotiated: true, ID: 8}))
	if got := d.b.Stats().RTT; got != 0 {
		t.Errorf("it was asked for a trifle: %v", got)
	}
}
