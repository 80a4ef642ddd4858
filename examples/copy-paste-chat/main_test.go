package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/examples/internal/paste"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/webrtc"
)

// The page's part is played by a second peer.
func TestChat(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), need.Patience)
	defer cancel()
	in, typed := io.Pipe()
	printed, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- chat(ctx, webrtc.Configuration{}, in, out) }()

	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	ch, err := pc.CreateDataChannel("chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	ch.OnOpen(func() {
		if err := ch.SendText("hello from the page"); err != nil {
			t.Error(err)
		}
	})
	screen := bufio.NewReader(printed)
	if err := paste.Offer(ctx, pc, screen, typed); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"You are connected", "> hello from the page"} {
		if line, err := screen.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%q was printed, not %q: %v", line, want, err)
		}
	}
	if _, err := io.WriteString(typed, "hello from the terminal\n"); err != nil {
		t.Fatal(err)
	}
	if m, err := ch.Receive(ctx); err != nil || m.Text() != "hello from the terminal" {
		t.Fatalf("%q came: %v", m.Text(), err)
	}
	typed.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestOfferThatIsNone(t *testing.T) {
	if err := chat(t.Context(), webrtc.Configuration{}, strings.NewReader("hello\n"), io.Discard); err == nil || !strings.Contains(err.Error(), "not a description") {
		t.Errorf("the error is %v", err)
	}
}
