package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A thousand numbered messages from one browser to another, while every connection is cut fifty times: they arrive
// once and in order, over WebSocket, over long-poll, and changing between them.
func TestMessagesThroughCuts(t *testing.T) {
	const messages, cuts = 1000, 50
	for _, way := range []struct {
		name string
		set  func(m *middlebox, cut int)
	}{
		{"websocket", func(m *middlebox, _ int) { m.noPolls.Store(true) }},
		{"long-poll", func(m *middlebox, _ int) { m.does.Store(int32(refused)) }},
		{"changing", func(m *middlebox, cut int) {
			m.noPolls.Store(cut%4 < 2)
			m.does.Store(int32(passed))
			if cut%4 >= 2 {
				m.does.Store(int32(refused))
			}
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel() // mostly waiting
			b := sharedChromium(t)
			m := newMiddlebox(t, serve(t), passed)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			way.set(m, 0)

			room := fmt.Sprintf("/r/messages-%s", way.name)
			from, to := b.person(t, "From", personOptions{}), b.person(t, "To", personOptions{})
			for _, p := range []*tab{to, from} {
				p.open(m.url + "/healthz")
				eval[any](p, fmt.Sprintf(`(async () => {
					const {join} = await import('/sdk.js');
					window.got = [];
					window.carriers = new Set();
					window.room = await join(%q, {name: %q});
					room.connection.on('state', () => carriers.add(room.connection.carrier));
					room.on('peer', (peer) => peer.on('presence', (p) => p.n && got.push(p.n)));
				})()`, room, p.name))
			}
			from.until("sees the other", "room.peers.size === 1")
			to.until("sees the other", "room.peers.size === 1")
			// Slower than the 60 a second that a client may send.
			eval[any](from, fmt.Sprintf(`(() => {
				let n = 0;
				const timer = setInterval(() => { room.setPresence({n: ++n}); if (n === %d) clearInterval(timer); }, 20);
			})()`, messages))

			for cut := 1; cut <= cuts; cut++ {
				at := messages*(cut-1)/cuts + random.IntN(messages/cuts)
				to.until(fmt.Sprintf("has %d messages", at), fmt.Sprintf("got.length >= %d", at))
				way.set(m, cut)
				m.cut()
				for _, p := range []*tab{from, to} {
					eval[any](p, "room.connection.retry()") // as when the system says that the network is back
				}
			}
			to.until("has all messages", fmt.Sprintf("got.length >= %d", messages))
			if got := eval[string](to, fmt.Sprintf("(() => { const i = got.findIndex((n, i) => n !== i + 1); return i < 0 && got.length === %d ? '' : JSON.stringify([i, got]); })()", messages)); got != "" {
				t.Errorf("messages are missing, repeated or out of order: %s", got)
			}
			t.Logf("%d WebSockets, %d requests of long-poll; carriers %s", m.upgrades.Load(), m.polls.Load(), eval[string](from, "[...carriers].join()"))
		})
	}
}
