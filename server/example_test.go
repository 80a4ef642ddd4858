package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/parley-rtc/parley/server"
)

// A program may have a server of its own; it is what `parley serve` runs.
func Example() {
	dir, err := os.MkdirTemp("", "parley")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithTimeout(context.Background(), 100*time.Millisecond) // serve for that long
	defer stop()
	err = server.Run(ctx, server.Config{
		HTTP:     "localhost:0",
		HTTPS:    "off",
		StateDir: dir,
		Logger:   slog.New(slog.DiscardHandler),
	})
	fmt.Println("stopped:", err)
	// Output: stopped: <nil>
}
