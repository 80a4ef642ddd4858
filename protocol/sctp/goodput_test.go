package sctp

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// goodput returns the bits a second of messages that one end delivers to the other in a steady state.
func goodput(t *testing.T, p simnet.Path, warm, measured time.Duration) float64 {
	t.Helper()
	d := newDuo(t, p, func(cfg *Config) { cfg.SendBuffer = 4 << 20 }).connect()
	id := d.a.opens(ChannelConfig{})
	data := make([]byte, 64<<10)
	pump := func(now mono.Time) {
		for d.a.Send(now, id, false, data) == nil {
		}
	}
	d.a.SetBufferedAmountLow(id, 2<<20)
	d.a.onEvent = func(now mono.Time, e Event) {
		if e.Kind == BufferedAmountLow {
			pump(now)
		}
	}
	bytes := 0
	d.b.onEvent = func(_ mono.Time, e Event) {
		bytes += len(e.Data)
		d.b.got[id] = nil
	}
	pump(d.a.now())
	d.a.driver.Poll()
	d.net.Run(warm)
	bytes = 0
	d.net.Run(measured)
	return float64(bytes) * 8 / measured.Seconds()
}

// On a link that loses nothing but by overflow, most of it is filled. Headers take 5 % of it.
func TestGoodputWithoutLoss(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		mbit  int64
		rtt   time.Duration
		least float64 // of the rate
	}{
		{2, ms, 0.93}, {2, 50 * ms, 0.93}, {2, 200 * ms, 0.93},
		{10, 50 * ms, 0.93}, {10, 200 * ms, 0.9},
	} {
		t.Run(fmt.Sprintf("%d Mbit/s, %v", c.mbit, c.rtt), func(t *testing.T) {
			t.Parallel()
			rate := c.mbit * 1e6
			// The queue holds one round trip, or 64 KiB.
			queue := max(64<<10, int(rate/8*int64(c.rtt)/int64(time.Second)))
			got := goodput(t, simnet.Path{Delay: c.rtt / 2, Rate: rate, Queue: queue}, 15*time.Second, 10*time.Second)
			if share := got / float64(rate); share < c.least {
				t.Errorf("%.1f %% of the link are filled, want %.0f %%", 100*share, 100*c.least)
			}
		})
	}
}

// With loss it is what RFC 9438 section 5.1 says that CUBIC makes of it, and never a stall.
func TestGoodputWithLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		loss float64
		rtt  time.Duration
		over time.Duration
	}{
		{0.0001, 200 * time.Millisecond, 20 * time.Second},
		{0.001, 50 * time.Millisecond, 10 * time.Second},
		{0.01, 50 * time.Millisecond, 10 * time.Second},
		{0.05, 20 * time.Millisecond, 10 * time.Second},
	} {
		t.Run(fmt.Sprintf("%v, %v", c.loss, c.rtt), func(t *testing.T) {
			t.Parallel()
			if c.loss < 0.001 {
				need.Long(t)
			}
			got := goodput(t, simnet.Path{Delay: c.rtt / 2, Rate: 100e6, Queue: 4 << 20, Loss: c.loss}, 10*time.Second, c.over)
			packets := 1.054 * math.Pow(c.rtt.Seconds()/c.loss, 0.75) // the average window
			if want := packets * 1132 * 8 / c.rtt.Seconds(); got < 0.8*want {
				t.Errorf("loss %v, round trip %v: %.2f Mbit/s, the response function is %.2f", c.loss, c.rtt, got/1e6, want/1e6)
			} else {
				t.Logf("loss %v, round trip %v: %.2f Mbit/s, the response function is %.2f", c.loss, c.rtt, got/1e6, want/1e6)
			}
		})
	}
}
