package main

import (
	"bufio"
	"io"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Two programs meet on a subject of a broker, and talk.
func TestChat(t *testing.T) {
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go broker.Start()
	defer broker.Shutdown()
	if !broker.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
	type end struct {
		say   *io.PipeWriter
		hears *bufio.Scanner
		done  chan error
	}
	start := func() *end {
		in, say := io.Pipe()
		heard, out := io.Pipe()
		e := &end{say, bufio.NewScanner(heard), make(chan error, 1)}
		go func() {
			e.done <- chat(t.Context(), broker.ClientURL(), "kitchen", in, out)
			out.Close()
		}()
		return e
	}
	ends := []*end{start(), start()}
	hear := func(e *end, want string) {
		t.Helper()
		if !e.hears.Scan() || e.hears.Text() != want {
			t.Fatalf("heard %q, want %q", e.hears.Text(), want)
		}
	}
	for _, e := range ends {
		hear(e, "You are connected. Type.")
	}
	io.WriteString(ends[0].say, "hello\n")
	hear(ends[1], "> hello")
	io.WriteString(ends[1].say, "good day\n")
	hear(ends[0], "> good day")
	ends[0].say.Close()
	for _, e := range ends {
		if err := <-e.done; err != nil {
			t.Error(err)
		}
	}
}
