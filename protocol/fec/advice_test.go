package fec_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/fec"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// A channel says whether the next packet is lost.
type channel func() bool

func independent(rng *rand.Rand, loss float64) channel {
	return func() bool { return rng.Float64() < loss }
}

// inBursts loses packets in bursts of a mean length (Gilbert's model).
func inBursts(rng *rand.Rand, loss, mean float64) channel {
	bad := false
	return func() bool {
		if bad {
			bad = rng.Float64() >= 1/mean
		} else {
			bad = rng.Float64() < loss/mean/(1-loss)
		}
		return bad
	}
}

// left sends about so many packets, in frames of a number of them, over a channel, and returns the share of media packets that is lost and not repaired, and how
// many repair packets there were for each.
func left(p fec.Protection, packets, frame int, lossy channel) (residual, overhead float64) {
	config := fec.Config{Format: fec.FlexFEC03}
	e, d := fec.NewEncoder(config), fec.NewDecoder(config)
	e.Protect(p)
	frames := packets / frame
	lost, made := 0, 0
	packet := (&rtp.Packet{SSRC: mediaSSRC, Payload: []byte("x")}).Append(nil)
	var buf []byte
	for i := range frames * frame {
		binary.BigEndian.PutUint16(packet[2:], uint16(i))
		e.Media(packet)
		if lossy() {
			lost++
		} else {
			d.Media(packet)
		}
		if i%frame != frame-1 {
			continue
		}
		e.EndFrame()
		for {
			var ok bool
			if buf, ok = e.AppendRepair(buf[:0]); !ok {
				break
			}
			made++
			if !lossy() {
				d.Repair(&rtp.Packet{SSRC: repairSSRC, Payload: buf})
			}
		}
		for _, ok := d.Next(); ok; _, ok = d.Next() {
			lost--
		}
	}
	return float64(lost) / float64(frames*frame), float64(made) / float64(frames*frame)
}

// The rate is kept, whatever frames are like: small ones are protected together.
func TestRateIsKept(t *testing.T) {
	for _, frame := range []int{1, 2, 3, 7, 20, 60} {
		for _, rate := range []float64{0.05, 0.1, 0.33, 0.5, 1} {
			_, overhead := left(fec.Protection{Rate: rate}, 3000, frame, func() bool { return false })
			if overhead < 0.9*rate || overhead > 1.01*rate {
				t.Errorf("frames of %d, rate %v: %v", frame, rate, overhead)
			}
		}
	}
}

// Of two ways to share a block out, spread leaves less of random loss and interleaved less of bursts.
func TestMasksAreChosenByTheLoss(t *testing.T) {
	for _, c := range []struct {
		frame int
		rate  float64
	}{{10, 0.3}, {10, 0.4}, {20, 0.2}, {20, 0.3}} {
		for _, loss := range []float64{0.03, 0.06} {
			spread, _ := left(fec.Protection{Rate: c.rate}, 30_000, c.frame, independent(seeded(1), loss))
			apart, _ := left(fec.Protection{Rate: c.rate, Bursts: true}, 30_000, c.frame, independent(seeded(1), loss))
			if spread > 0.75*apart {
				t.Errorf("random loss of %v, %v: spread leaves %.5f, interleaved %.5f", loss, c, spread, apart)
			}
			spread, _ = left(fec.Protection{Rate: c.rate}, 30_000, c.frame, inBursts(seeded(2), loss, 3))
			apart, _ = left(fec.Protection{Rate: c.rate, Bursts: true}, 30_000, c.frame, inBursts(seeded(2), loss, 3))
			if apart > spread {
				t.Errorf("loss of %v in bursts, %v: spread leaves %.5f, interleaved %.5f", loss, c, spread, apart)
			}
		}
	}
}

// What is advised for slow paths leaves about an eighth of the losses, up to losses of 10 %, without sending more than half as much again; for fast paths, and without loss, it is nothing.
func TestAdvice(t *testing.T) {
	for _, rtt := range []time.Duration{0, 20 * time.Millisecond, 80 * time.Millisecond} {
		if p := fec.Advise(fec.Path{Loss: 0.1, RTT: rtt}); p.Rate != 0 {
			t.Errorf("round trip of %v: %+v", rtt, p)
		}
	}
	if p := fec.Advise(fec.Path{Loss: 0.001, RTT: time.Second}); p.Rate != 0 {
		t.Errorf("hardly any loss: %+v", p)
	}
	for _, loss := range []float64{0.01, 0.02, 0.05, 0.1} {
		p := fec.Advise(fec.Path{Loss: loss, RTT: 250 * time.Millisecond, Burst: 1})
		got, overhead := left(p, 40_000, 10, independent(seeded(3), loss))
		if got > 0.15*loss || overhead > 0.5 {
			t.Errorf("loss of %v: %v is left at a rate of %.2f", loss, got, overhead)
		}
		half := fec.Advise(fec.Path{Loss: loss, RTT: 140 * time.Millisecond})
		if half.Rate <= 0 || half.Rate >= p.Rate {
			t.Errorf("loss of %v: rate %v at half the way, %v at all of it", loss, half.Rate, p.Rate)
		}
	}
	p := fec.Advise(fec.Path{Loss: 0.05, RTT: 250 * time.Millisecond, Burst: 3})
	if got, _ := left(p, 40_000, 20, inBursts(seeded(4), 0.05, 3)); !p.Bursts || got > 0.35*0.05 {
		t.Errorf("bursts: %v is left by %+v", got, p)
	}
}

// So many levels that less than half a percent of frames is lost with all its copies.
func TestAdviceForRED(t *testing.T) {
	for _, c := range []struct {
		loss, burst float64
		want        int
	}{{0, 0, 0}, {0.004, 5, 0}, {0.01, 1, 1}, {0.05, 1, 1}, {0.1, 1, 2}, {0.2, 1, 3}, {0.5, 1, 3}, {0.01, 2, 2}, {0.05, 9, 3}} {
		if got := fec.AdviseRED(fec.Path{Loss: c.loss, Burst: c.burst}); got != c.want {
			t.Errorf("loss %v in bursts of %v: %d levels, not %d", c.loss, c.burst, got, c.want)
		}
	}
}
