package e2e

import (
	"fmt"
	"os"
	"testing"
)

// joinsRobots makes a page join a room by the SDK and wait for the robot, and gives it words to ask the robot with.
func (p *tab) joinsRobots(room, options string) {
	p.t.Helper()
	eval[any](p, fmt.Sprintf(`(async () => {
		const {join} = await import('/sdk.js');
		window.room = await join('/r/%s', {name: %q, ...(%s)});
		const pc = () => e2e.connections.at(-1);
		window.channel = async (label, init) => {
			const ch = pc().createDataChannel(label, init);
			ch.binaryType = 'arraybuffer';
			ch.heard = [];
			ch.onmessage = ({data}) => { ch.heard.push(data); ch.onheard?.(); };
			await new Promise((resolve, reject) => { ch.onopen = resolve; ch.onerror = reject; });
			ch.next = async () => {
				while (ch.heard.length === 0) await new Promise((resolve) => { ch.onheard = resolve; });
				return ch.heard.shift();
			};
			return ch;
		};
		window.hex = async (bytes) => Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (b) => b.toString(16).padStart(2, '0')).join('');
	})()`, room, p.name, options))
}

func (p *tab) meetsRobot() {
	p.t.Helper()
	p.until("is connected with the robot", "e2e.connections.at(-1)?.connectionState === 'connected'")
}

// robotKinds are a channel of each kind, as createDataChannel has them.
var robotKinds = []string{`{}`, `{ordered: false}`, `{maxRetransmits: 3}`, `{maxPacketLifeTime: 3000, ordered: false}`, `{protocol: 'chat', priority: 'high'}`}

// A page and a Go program, whoever calls: channels of each kind, many bytes both ways, an ICE restart, and DTLS 1.3 with a
// post-quantum key exchange.
func TestRobot(t *testing.T) {
	size := 8 << 20
	if os.Getenv("PARLEY_LONG") != "" {
		size = 100 << 20
	}
	inEachBrowser(t, func(t *testing.T, b browser) {
		for _, caller := range []string{"page", "robot"} {
			t.Run("the "+caller+" calls", func(t *testing.T) {
				s := serve(t)
				ada := b.person(t, "Ada", personOptions{})
				ada.open(s.url + "/healthz")
				link := s.url + "/r/robots"
				if caller == "page" { // the newcomer calls
					startRobot(t, robotOptions{Link: link}, nil)
					ada.joinsRobots("robots", "{}")
				} else {
					ada.joinsRobots("robots", "{}")
					startRobot(t, robotOptions{Link: link}, nil)
				}
				ada.meetsRobot()

				for _, kind := range robotKinds {
					if got := eval[string](ada, fmt.Sprintf(`(async () => {
					const ch = await channel('echo', %s);
					const said = ['hello', '', 'größer', new Uint8Array([1, 2, 3]), new Uint8Array(0), new Uint8Array(200_000)];
					for (const what of said) ch.send(what);
					for (const what of said) {
						const heard = await ch.next();
						if (!ch.ordered) continue;
						const same = typeof what === 'string' ? heard === what : heard.byteLength === what.length && (what.length > 3 || String(new Uint8Array(heard)) === String(what));
						if (!same) return 'said ' + what + ', heard ' + heard;
					}
					ch.close();
					await new Promise((resolve) => { ch.onclose = resolve; });
					return 'ok';
				})()`, kind)); got != "ok" {
						t.Errorf("a channel with %s: %s", kind, got)
					}
				}

				if got := eval[string](ada, fmt.Sprintf(`(async () => {
				const size = %d;
				const bytes = new Uint8Array(size);
				for (let i = 0; i < size; i += 65536) crypto.getRandomValues(bytes.subarray(i, Math.min(i + 65536, size)));
				const up = await channel('sink');
				up.bufferedAmountLowThreshold = 1 << 20;
				for (let at = 0; at < size; at += 65536) {
					if (up.bufferedAmount > 4 << 20) await new Promise((resolve) => { up.onbufferedamountlow = resolve; });
					up.send(bytes.subarray(at, Math.min(at + 65536, size)));
				}
				up.send('end');
				const [told, want] = [await up.next(), size + ' ' + await hex(bytes)];
				return told === want ? 'ok' : 'the robot got ' + told + ', not ' + want;
			})()`, size)); got != "ok" {
					t.Error(got)
				}
				if got := eval[string](ada, fmt.Sprintf(`(async () => {
				const size = %d;
				const down = await channel('source');
				down.send(String(size));
				const bytes = new Uint8Array(size);
				let at = 0;
				for (;;) {
					const part = await down.next();
					if (typeof part === 'string') return at === size && part === await hex(bytes) ? 'ok' : at + ' bytes came of ' + size + ', or others';
					bytes.set(new Uint8Array(part), at);
					at += part.byteLength;
				}
			})()`, size)); got != "ok" {
					t.Error(got)
				}

				for _, who := range []string{"robot", "page"} {
					before := eval[string](ada, ufrag)
					if who == "robot" {
						eval[any](ada, "channel('restart').then((ch) => ch.send('now'))")
					} else {
						eval[any](ada, "e2e.connections.at(-1).restartIce()")
					}
					ada.until("has new credentials", fmt.Sprintf("%s !== %q && e2e.connections.at(-1).signalingState === 'stable'", ufrag, before))
					if got := eval[string](ada, echoes); got != "again" {
						t.Errorf("after an ICE restart by the %s the robot said %q", who, got)
					}
				}

				if got := eval[string](ada, "e2e.connections.at(-1).getStats().then((stats) => [...stats.values()].find((s) => s.type === 'transport').tlsVersion)"); got != "FEFC" {
					t.Errorf("the page's tlsVersion is %q", got)
				}
				got := eval[robotPath](ada, askPath)
				if got.TLSVersion != "FEFC" || got.Group != "X25519MLKEM768" {
					t.Errorf("the robot's transport is %+v", got)
				}
				t.Logf("the robot's transport: %+v", got)
			})
		}
	})
}

const (
	ufrag   = `e2e.connections.at(-1).localDescription.sdp.match(/ice-ufrag:(.*)/)[1].trim()`
	echoes  = `(async () => { const ch = await channel('echo'); ch.send('again'); return ch.next(); })()`
	askPath = `(async () => { const ch = await channel('path'); ch.send('?'); return JSON.parse(await ch.next()); })()`
)
