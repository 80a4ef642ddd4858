package jitter_test

import (
	"fmt"
	"time"

	"github.com/parley-rtc/parley/protocol/jitter"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

// Three packets of Opus, the second of which is lost. Each frame comes out when it is due; the lost one is reported with the
// payload of the next, from which a decoder of Opus may restore it.
func ExampleBuffer() {
	b, err := jitter.New(jitter.Config{Audio: true, ClockRate: payload.OpusClock})
	if err != nil {
		fmt.Println(err)
		return
	}
	b.SetFormat(111, payload.Opus{})

	opus := func(n uint16) *rtp.Packet {
		return &rtp.Packet{PayloadType: 111, SequenceNumber: n, Timestamp: 960 * uint32(n), Payload: []byte{31 << 3, byte(n)}}
	}
	start := mono.Time(time.Hour)
	b.Push(start, opus(1))
	b.Push(start.Add(40*time.Millisecond), opus(3))

	for b.NextTimeout() != mono.Never {
		now := b.NextTimeout() // a program waits until then, or until the next packet
		for f, ok := b.Pop(now); ok; f, ok = b.Pop(now) {
			if f.Lost {
				fmt.Printf("%v: lost, before %x\n", now.Sub(start), f.Next)
			} else {
				fmt.Printf("%v: %x\n", now.Sub(start), f.Data)
			}
		}
	}
	// Output:
	// 40ms: f801
	// 60ms: lost, before f803
	// 80ms: f803
}

// Two streams of one sender. Video is 200 ms later than audio, so audio is delayed by as much.
func ExampleSync() {
	var s jitter.Sync
	audio, video := s.Join(), s.Join()
	now := mono.Time(time.Hour)
	fmt.Println(s.Update(now, video, 350*time.Millisecond)) // Buffer.Offset of each
	fmt.Println(s.Update(now, audio, 150*time.Millisecond)) // for Buffer.SetSyncDelay
	// Output:
	// 0s
	// 200ms
}
