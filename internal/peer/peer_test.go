package peer_test

import (
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

func TestHello(t *testing.T) {
	for _, v := range versions {
		w := newWorld(t, 1, simnet.Path{}, options{dtls: dtls.Config{MinVersion: v}}, options{dtls: dtls.Config{MaxVersion: v}})
		took := w.connect()
		t.Logf("%v: open on both sides after %v", v, took)
		w.a.say("hello")
		w.b.say("you too")
		w.until("hello", time.Second, func() bool { return len(w.a.messages) > 0 && len(w.b.messages) > 0 })
		if !slices.Equal(w.b.messages, []string{"hello"}) || !slices.Equal(w.a.messages, []string{"you too"}) {
			t.Errorf("%v: heard %q and %q", v, w.a.messages, w.b.messages)
		}
		now := w.Now()
		w.a.Close(now)
		w.a.driver.Poll()
		ended := func(s *side, k peer.EventKind) bool {
			return slices.ContainsFunc(s.events, func(e peer.Event) bool { return e.Kind == k })
		}
		w.until("the end", 3*time.Second, func() bool {
			return ended(w.a, peer.Closed) && slices.ContainsFunc(w.b.events, func(e peer.Event) bool { return e.DTLS == peer.DTLSClosed })
		})
		if w.a.NextTimeout() != mono.Never {
			t.Error("a timer is left")
		}
	}
}
