// Command room-media plays files to everybody in a room of a Parley server, browsers in the web app included, or records what the
// others send:
//
//	go run ./cmd/parley serve
//	ffmpeg -i film.mkv -c:v libvpx -deadline realtime -b:v 1M -g 60 film.ivf -c:a libopus -page_duration 20000 film.ogg
//	go run ./examples/room-media play http://localhost:8080/r/kitchen film.ivf film.ogg
//	go run ./examples/room-media record http://localhost:8080/r/kitchen folder
//
// Files are IVF (VP8, VP9, AV1), .h264 and .h265 (25 pictures a second), and Ogg with Opus. Recordings are the same kinds, a file for
// each track, and end with the program, or when the peer has left.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/parley-rtc/parley/examples/internal/usage"
)

func main() {
	args := usage.Words(3, 100, "room-media play LINK-OF-A-ROOM FILE...", "room-media record LINK-OF-A-ROOM FOLDER")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch {
	case args[0] == "play":
		err = play(ctx, args[1], args[2:])
	case len(args) == 3 && args[0] == "record":
		err = record(ctx, args[1], args[2], func(file string, frames int) {
			if frames == 1 {
				fmt.Println("recording", file)
			}
		})
	default:
		usage.Wrong()
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}
