package webrtc

import (
	"testing"
	"time"
)

func TestHelloInVirtualTime(t *testing.T) {
	inWorld(t, func(w *world) {
		start := time.Now()
		_, _, x, y := w.connect(Configuration{}, nil)
		t.Logf("open on both sides after %v", time.Since(start))
		got := make(chan string, 1)
		y.OnMessage(func(m Message) { got <- m.Text() })
		w.check(x.SendText("hello"))
		if s := await(w, got, "the message"); s != "hello" {
			t.Errorf("the message is %q", s)
		}
	})
}
