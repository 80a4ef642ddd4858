package cc_test

import (
	"fmt"
	"time"

	"github.com/parley-rtc/parley/protocol/cc"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtcp"
)

// A sender of 300 kbit/s over a path that takes 20 ms each way and bears all that comes. The clock is the example's own.
func Example() {
	now := mono.Time(0)
	sender := cc.New(now, cc.Config{})
	sender.SetWanted(now, 1_000_000, 0) // more than this is of no use
	var receiver cc.TransportRecorder
	type arrival struct {
		at     mono.Time
		number uint16
	}
	type report struct {
		at   mono.Time
		rtcp []byte
	}
	var path []arrival
	var back []report
	for range 2000 { // milliseconds
		now = now.Add(time.Millisecond)
		if now%mono.Time(32*time.Millisecond) == 0 {
			sender.Push(now, cc.Video, 0, 1200)
		}
		if sender.NextTimeout() <= now {
			sender.HandleTimeout(now)
		}
		for {
			r, ok := sender.Pop(now)
			if !ok {
				break
			}
			// The packet r.Ref is written now, or padding of about r.Size bytes; a packet can be this long.
			size := min(r.Size, 1200)
			number := sender.Sent(now, cc.Packet{SSRC: 5, Size: size, Kind: r.Kind, Cluster: r.Cluster})
			path = append(path, arrival{now.Add(20 * time.Millisecond), number})
		}
		for len(path) > 0 && path[0].at <= now {
			receiver.Record(now, path[0].number, 1200)
			path = path[1:]
		}
		for b := receiver.AppendFeedback(nil, now, 7, 5, 1200); len(b) > 0; b = receiver.AppendFeedback(nil, now, 7, 5, 1200) {
			back = append(back, report{now.Add(20 * time.Millisecond), b})
		}
		for len(back) > 0 && back[0].at <= now {
			p, _, _ := rtcp.Next(back[0].rtcp)
			if f, ok := p.TransportFeedback(); ok {
				sender.HandleTransportFeedback(now, f)
			}
			back = back[1:]
		}
	}
	fmt.Println("the path is proved to bear what is wanted:", sender.Target() >= 1_000_000)
	fmt.Println("round trip:", sender.Stats().LeastRTT)
	// Output:
	// the path is proved to bear what is wanted: true
	// round trip: 40ms
}

func ExampleAllocate() {
	streams := []cc.Stream{
		{Priority: cc.High, Layers: []cc.Layer{{Min: 40_000, Max: 40_000}}},                               // voice
		{Priority: cc.Low, Layers: []cc.Layer{{Min: 50_000, Max: 200_000}, {Min: 300_000, Max: 700_000}}}, // a camera in two sizes
	}
	for _, total := range []cc.Rate{150_000, 500_000, 600_000} {
		_, padding := cc.Allocate(total, streams)
		fmt.Printf("voice %.f, camera %.f and %.f, filled up to %.f\n", float64(streams[0].Rate)/1e3, float64(streams[1].Layers[0].Rate)/1e3, float64(streams[1].Layers[1].Rate)/1e3, float64(padding)/1e3)
	}
	// Output:
	// voice 40, camera 110 and 0, filled up to 585
	// voice 40, camera 200 and 0, filled up to 585
	// voice 40, camera 200 and 360, filled up to 0
}
