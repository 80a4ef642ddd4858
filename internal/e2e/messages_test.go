package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Numbered messages from one browser to another, while every connection is cut after each twenty: they arrive once and in
// order, over WebSocket, over long-poll, and changing between them. All three go on at the same time.
func TestMessagesThroughCuts(t *testing.T) {
	t.Parallel() // mostly waiting
	messages, cuts := 400, 20
	if os.Getenv("PARLEY_LONG") != "" {
		messages, cuts = 1000, 50
	}
	const ahead = 300
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := sharedChromium(t)

	type way struct {
		name     string
		set      func(m *middlebox, cut int) // what the network does to the carriers after the cut
		m        *middlebox
		from, to *tab
	}
	ways := []*way{
		{name: "websocket", set: func(m *middlebox, _ int) { m.noPolls.Store(true) }},
		{name: "long-poll", set: func(m *middlebox, _ int) { m.does.Store(int32(refused)) }},
		{name: "changing", set: func(m *middlebox, cut int) {
			if cut%4 < 2 {
				m.noPolls.Store(true)
				m.does.Store(int32(passed))
			} else {
				m.noPolls.Store(false)
				m.does.Store(int32(refused))
			}
		}},
	}
	for _, w := range ways {
		w.m = newMiddlebox(t, serve(t), passed)
		w.set(w.m, 0)
		w.from, w.to = b.person(t, w.name+" sender", personOptions{}), b.person(t, w.name+" receiver", personOptions{})
		for _, p := range []*tab{w.to, w.from} {
			p.open(w.m.url + "/healthz")
			eval[any](p, fmt.Sprintf(`(async () => {
				const {join} = await import('/sdk.js');
				window.got = [];
				window.carriers = new Set();
				window.room = await join('/r/messages', {name: %q});
				room.connection.on('state', () => carriers.add(room.connection.carrier));
				room.on('peer', (peer) => peer.on('presence', (p) => p.n && got.push(p.n)));
			})()`, p.name))
		}
		w.from.until("sees the other", "room.peers.size === 1")
		w.to.until("sees the other", "room.peers.size === 1")
	}
	for _, w := range ways {
		// Slower than the 60 a second that a client may send, and no further ahead of the receiver than the server keeps
		// all presences for it.
		eval[any](w.from, fmt.Sprintf(`(() => {
			let n = 0;
			window.upTo = %d;
			const timer = setInterval(() => { if (n < upTo) room.setPresence({n: ++n}); if (n === %d) clearInterval(timer); }, 20);
		})()`, ahead, messages))
	}
	for cut := 1; cut <= cuts; cut++ {
		for _, w := range ways {
			at := messages*(cut-1)/cuts + random.IntN(messages/cuts)
			w.to.until(fmt.Sprintf("has %d messages", at), fmt.Sprintf("got.length >= %d", at))
			eval[any](w.from, fmt.Sprintf("window.upTo = %d", at+ahead))
			w.set(w.m, cut)
			w.m.cut()
			for _, p := range []*tab{w.from, w.to} {
				eval[any](p, "room.connection.retry()") // as when the system says that the network is back
			}
		}
	}
	for _, w := range ways {
		w.to.until("has all messages", fmt.Sprintf("got.length >= %d", messages))
		if wrong := eval[string](w.to, fmt.Sprintf(`(() => {
			const i = got.findIndex((n, i) => n !== i + 1);
			return i < 0 && got.length === %d ? '' : JSON.stringify([i, got.length, got.slice(Math.max(0, i - 3), i + 10)]);
		})()`, messages)); wrong != "" {
			t.Errorf("%s: messages are missing, repeated or out of order: %s", w.name, wrong)
		}
		t.Logf("%s: %d WebSockets, %d requests of long-poll; carriers %s", w.name, w.m.upgrades.Load(), w.m.polls.Load(), eval[string](w.from, "[...carriers].filter(Boolean).join(', ')"))
	}
}
