package sctp

import (
	"fmt"
	"math"
	"testing"
	"time"

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

// With loss it is what the window of RFC 5681 makes of it, and never a stall.
func TestGoodputWithLoss(t *testing.T) {
	for _, loss := range []float64{0.001, 0.01, 0.05} {
		got := goodput(t, simnet.Path{Delay: 25 * time.Millisecond, Rate: 100e6, Loss: loss}, 5*time.Second, 20*time.Second)
		// Mathis and others 1997, with an acknowledgement for every second packet: MSS/RTT * sqrt(3/(4p)).
		response := 1132 * 8 / 0.05 * math.Sqrt(0.75/loss)
		if got < 0.5*response {
			t.Errorf("loss %v: %.2f Mbit/s, and half of the response function is %.2f", loss, got/1e6, response/2e6)
		}
	}
}
