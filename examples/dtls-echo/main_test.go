package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
)

// startServer returns what a client is to be called with.
func startServer(t *testing.T) (arguments []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"server", "127.0.0.1:0"}, nil, w)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	command, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(command, "dtls-echo ")
	return strings.Fields(line)
}

func TestLinesComeBack(t *testing.T) {
	arguments := startServer(t)
	const said = "is anybody there?\n\nyes\n"
	for range 2 { // clients, one after the other
		var heard strings.Builder
		if err := run(t.Context(), arguments, strings.NewReader(said), &heard); err != nil {
			t.Fatal(err)
		}
		if heard.String() != said {
			t.Errorf("heard %q, want %q", heard.String(), said)
		}
	}
}

func TestClientSpeaksToNobodyElse(t *testing.T) {
	arguments, other := startServer(t), startServer(t)
	arguments[1] = other[1]
	var heard strings.Builder
	err := run(t.Context(), arguments, strings.NewReader("secret\n"), &heard)
	if err == nil || !strings.Contains(err.Error(), "certificate") || heard.Len() > 0 {
		t.Errorf("heard %q, %v", heard.String(), err)
	}
}

func TestServerSaysGoodbye(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"server", "127.0.0.1:0"}, nil, w) }()
	command, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(command, "dtls-echo ")
	in, say := io.Pipe()
	out, hear := io.Pipe()
	clientEnded := make(chan error, 1)
	go func() { clientEnded <- run(t.Context(), strings.Fields(line), in, hear) }()
	io.WriteString(say, "hello\n")
	if heard, err := bufio.NewReader(out).ReadString('\n'); err != nil || heard != "hello\n" {
		t.Fatal(heard, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-clientEnded; err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("the client ended by %v", err)
	}
}

func TestBadArguments(t *testing.T) {
	for _, arguments := range [][]string{{"server", "nowhere"}, {"client", "nowhere", "sha-256", "00"}} {
		if err := run(t.Context(), arguments, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q was taken", arguments)
		}
	}
}
