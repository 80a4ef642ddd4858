package main

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/parley-rtc/parley/signaling"
)

// Two programs talk, over each carrier of signaling.
func TestChat(t *testing.T) {
	for name, carrier := range map[string]signaling.Carrier{"WebSocket": signaling.WebSocketOnly, "long-poll": signaling.LongPollOnly} {
		t.Run(name, func(t *testing.T) {
			hub, err := signaling.NewHub(signaling.Config{})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/api/signal", hub)
			server := httptest.NewServer(mux)
			defer server.Close()
			defer hub.Close()

			type end struct {
				say   *io.PipeWriter
				hears *bufio.Scanner
				done  chan error
			}
			start := func(name string) *end {
				in, say := io.Pipe()
				heard, out := io.Pipe()
				e := &end{say, bufio.NewScanner(heard), make(chan error, 1)}
				go func() {
					e.done <- chat(t.Context(), server.URL+"/r/kitchen", signaling.Options{Name: name, Carrier: carrier}, in, out)
					out.Close()
				}()
				return e
			}
			ann, bob := start("Ann"), start("Bob")
			hear := func(e *end, want string) {
				t.Helper()
				if !e.hears.Scan() || e.hears.Text() != want {
					t.Fatalf("heard %q, want %q", e.hears.Text(), want)
				}
			}
			hear(ann, "Bob is here")
			hear(bob, "Ann is here")
			io.WriteString(ann.say, "hello\n")
			hear(bob, "Ann> hello")
			io.WriteString(bob.say, "good day\n")
			hear(ann, "Bob> good day")
			ann.say.Close()
			hear(bob, "Ann has left")
			bob.say.Close()
			for _, e := range []*end{ann, bob} {
				if err := <-e.done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
