package payload_test

import (
	"fmt"

	"github.com/parley-rtc/parley/protocol/rtp/payload"
)

func Example() {
	format, _ := payload.For("VP8", "")
	packetizer := format.NewPacketizer(41)

	// The sender cuts a frame.
	frame := payload.Frame{Data: []byte("\x10a frame of video, of which only a part fits into one packet")}
	var sent [][]byte
	err := packetizer.Begin(&frame, payload.Limit{Max: 30})
	for more := err == nil; more; {
		var b []byte
		b, more = packetizer.Append(nil)
		sent = append(sent, b)
	}

	// The receiver joins it.
	for _, b := range sent {
		part, _ := format.Parse(b)
		fmt.Println(len(b), "bytes, of picture", part.PictureID, "start:", part.Start, "key:", part.KeyFrame)
	}
	joined, err := format.AppendFrame(nil, sent)
	fmt.Printf("%q %v\n", joined, err)
	// Output:
	// 24 bytes, of picture 41 start: true key: true
	// 24 bytes, of picture 41 start: false key: false
	// 24 bytes, of picture 41 start: false key: false
	// "\x10a frame of video, of which only a part fits into one packet" <nil>
}
