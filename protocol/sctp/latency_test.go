package sctp

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Latency under load: one channel sends as much as it can over a link of 10 Mbit/s whose queue takes 25 ms; small messages
// on a channel of high priority are not held up by it.
func TestLatencyUnderLoad(t *testing.T) {
	t.Parallel()
	const rtt = 50 * time.Millisecond
	for _, interleaved := range []bool{true, false} {
		t.Run(fmt.Sprint("interleaved ", interleaved), func(t *testing.T) {
			t.Parallel()
			d := newDuo(t, simnet.Path{Delay: rtt / 2, Rate: 10e6, Queue: 31_000}, func(cfg *Config) {
				cfg.NoInterleaving = !interleaved
				cfg.SendBuffer = 1 << 20
			}).connect()
			bulk := d.a.opens(ChannelConfig{Label: "bulk", Priority: 128})
			small := d.a.opens(ChannelConfig{Label: "small", Priority: 1024})
			data := make([]byte, 16<<10)
			pump := func(now mono.Time) {
				for d.a.send.buffered < 512<<10 && d.a.Send(now, bulk, false, data) == nil {
				}
			}
			d.a.SetBufferedAmountLow(bulk, 256<<10)
			d.a.onEvent = func(now mono.Time, e Event) {
				if e.Kind == BufferedAmountLow && e.Stream == bulk {
					pump(now)
				}
			}
			carried := 0
			d.b.onEvent = func(_ mono.Time, e Event) {
				if e.Kind == Message && e.Stream == bulk {
					carried += len(e.Data)
					d.b.got[bulk] = nil
				}
			}
			pump(d.a.now())
			d.a.driver.Poll()
			d.net.Run(5 * time.Second)
			carried = 0
			const count = 1500
			began := d.net.Now()
			var sent [count]mono.Time
			for i := range count {
				sent[i] = d.net.Now()
				d.a.sends(small, fmt.Sprintf("%0100d", i))
				d.net.Run(20*time.Millisecond + time.Duration(i%7)*time.Millisecond)
			}
			took := d.net.Now().Sub(began)
			d.net.Run(time.Second)
			var latencies []time.Duration
			for i := range count {
				at, came := d.b.at[fmt.Sprintf("%0100d", i)]
				if !came {
					t.Fatalf("message %d has not come", i)
				}
				latencies = append(latencies, at.Sub(sent[i]))
			}
			slices.Sort(latencies)
			median, p99 := latencies[count/2], latencies[count*99/100]
			limit := 2 * rtt
			if interleaved {
				limit = rtt * 3 / 2
			}
			share := float64(carried) * 8 / took.Seconds() / 10e6
			t.Logf("median %v, 99th percentile %v, last %v; the bulk fills %.1f %% of the link", median, p99, latencies[count-1], 100*share)
			if p99 >= limit {
				t.Errorf("the 99th percentile is %v, the limit %v", p99, limit)
			}
			if share < 0.85 {
				t.Errorf("the bulk fills %.1f %% of the link only", 100*share)
			}
		})
	}
}
