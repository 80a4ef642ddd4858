package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// relayed are the relay and how it is reached, of each connection whose media takes it: "udp", "tcp" or "tls".
const relayed = `(async () => {
	const found = [];
	for (const pc of e2e.connections.filter((pc) => pc.connectionState === 'connected')) {
		const stats = await pc.getStats();
		for (const s of stats.values()) {
			if (s.type !== 'transport' || !s.selectedCandidatePairId) continue;
			const local = stats.get(stats.get(s.selectedCandidatePairId).localCandidateId);
			found.push(local.candidateType === 'relay' ? local.relayProtocol + ' ' + local.url : local.candidateType);
		}
	}
	return found.join();
})()`

// only chooses, among the relays that the server gave, those whose URL has something in it.
func only(part string) string {
	return fmt.Sprintf(`(given) => given
		.map((server) => ({...server, urls: [server.urls].flat().filter((url) => url.startsWith('turn') && url.includes(%q))}))
		.filter((server) => server.urls.length > 0)`, part)
}

// callThrough joins a room by the SDK, with camera and microphone, through the relays that a function chooses.
func (p *tab) callThrough(base, room, choose string) {
	p.t.Helper()
	p.open(base + "/")
	eval[any](p, fmt.Sprintf(`(async () => {
		const {join} = await import('/sdk.js');
		const stream = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 320, height: 240}});
		const iceServers = (given) => {
			window.given = given.flatMap((server) => server.urls).join(' ');
			return (%s)(given);
		};
		window.room = await join('/r/%s', {name: %q, stream, relayOnly: true, iceServers});
	})()`, choose, room, p.name))
}

// seesMedia waits until pictures of the other are decoded: more than before.
func (p *tab) seesMedia() {
	p.t.Helper()
	before := eval[int](p, frames)
	p.until("sees the other", fmt.Sprintf("%s.then((n) => n >= %d)", frames, before+10))
}

// frames is how many pictures were decoded, on all connections that live.
const frames = "e2e.calls().then((calls) => calls.reduce((n, call) => n + call.framesDecoded, 0))"

// Two people through the relay, over everything that it speaks: on the local network, where one has taken the authority
// from /trust, and the relay over TLS is offered by the server's name because of that.
func TestRelay(t *testing.T) {
	needs(t, needChromium, needCertutil, needNamespaces)
	const name = "kitchen-server.local"
	lan := newLAN(t, "192.168.78.10", "192.168.78.11")
	house := newHousehold(t, lan[0], lan[1], "--name", name)
	b := launch(t, browserOptions{netns: house.phone.ns, home: house.profile, names: "MAP " + name + " 192.168.78.10"})
	const plainOnHTTPS = "turn:192.168.78.10:8443?transport=tcp" // is not given: for who has a firewall that lets nothing else through
	for _, way := range []struct{ name, choose, want string }{
		{"udp", only(":3478?transport=udp"), "udp turn:192.168.78.10:3478?transport=udp"},
		{"tcp", only(":3478?transport=tcp"), "tcp turn:192.168.78.10:3478?transport=tcp"},
		{"tls on its own port", only(":5349"), "tls turns:" + name + ":5349?transport=tcp"},
		{"tls on the https port", only(":8443"), "tls turns:" + name + ":8443?transport=tcp"},
		{"plain tcp on the https port", "(given) => given.filter((server) => server.credential).map((server) => ({...server, urls: '" + plainOnHTTPS + "'}))", "tcp " + plainOnHTTPS},
	} {
		t.Run(way.name, func(t *testing.T) {
			ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
			room := "relay-" + strings.ReplaceAll(way.name, " ", "-")
			for _, p := range []*tab{ada, bob} {
				p.callThrough(house.base, room, way.choose)
			}
			for _, p := range []*tab{ada, bob} {
				p.seesMedia()
				if got := eval[string](p, relayed); got != way.want {
					t.Errorf("%s's media goes over %q, want %q", p.name, got, way.want)
				}
				if sdp := eval[string](p, "e2e.connections.at(-1).localDescription.sdp"); strings.Contains(sdp, house.phone.addr) {
					t.Errorf("%s hides her address and tells it:\n%s", p.name, sdp)
				}
			}
		})
	}
}

// Who clicked the browser's warning away has a call, and no relay over TLS is offered: the browser would refuse it.
func TestRelayUntrusted(t *testing.T) {
	needs(t, needChromium, needNamespaces)
	lan := newLAN(t, "192.168.78.10", "192.168.78.11")
	home, phone := lan[0], lan[1]
	const base = "https://192.168.78.10:8443"
	proc := start(t, home.command(parley(t), "serve", "--name", "kitchen-server.local", "--state-dir", filepath.Join(t.TempDir(), "state")))
	proc.ready(home.client(), "http://127.0.0.1:8080")

	b := launch(t, browserOptions{netns: phone.ns})
	ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
	for _, p := range []*tab{ada, bob} {
		if err := p.visit(base + "/"); err == nil || !strings.Contains(err.Error(), "ERR_CERT_AUTHORITY_INVALID") {
			t.Fatalf("%s visits %s: %v, want the warning", p.name, base, err)
		}
		p.until("sees the warning", "!!document.querySelector('#details-button')")
		p.press("thisisunsafe") // as "Advanced", "Proceed"
		p.sees("new-room")
	}
	for _, way := range []string{"udp", "tcp"} {
		for _, p := range []*tab{ada, bob} {
			p.callThrough(base, "warned-"+way, only("transport="+way))
			if got := eval[string](p, "window.given"); strings.Contains(got, "turns:") || !strings.Contains(got, "turn:192.168.78.10:3478?transport="+way) {
				t.Errorf("%s is offered %q: want a relay over %s, and none over TLS", p.name, got, way)
			}
		}
		for _, p := range []*tab{ada, bob} {
			p.seesMedia()
			if got := eval[string](p, relayed); !strings.HasPrefix(got, way+" turn:192.168.78.10:3478") {
				t.Errorf("%s's media goes over %q, want a relay over %s", p.name, got, way)
			}
		}
	}
}

// goesInHidden goes from the lobby into the call, with one's address hidden.
func (p *tab) goesInHidden() {
	p.t.Helper()
	p.sees("relay-only")
	if !eval[bool](p, find("relay-only")+".checked") {
		p.click("relay-only")
	}
	p.goesIn()
}

// Who wants to hide her address from a server without a relay is told so, before anybody learns it.
func TestNoRelay(t *testing.T) {
	needs(t, needChromium)
	s := serve(t, "--turn", "off", "--turns", "off")
	ada := sharedChromium(t).person(t, "Ada", personOptions{})
	ada.open(s.url)
	ada.click("new-room")
	ada.fill("name", ada.name)
	ada.click("relay-only")
	ada.click("join")
	ada.reads("[data-code=no-relay]", "has no relay")
	ada.click("relay-only")
	ada.click("try-again")
	ada.sees("stage")
}

// The relay dies with the server and comes back with it: two who hide their addresses in the lobby see each other again
// within 5 s, with nothing done, or on a slow machine in twice the time in which they found each other first. The server comes back while the browsers have not noticed yet, and long after.
func TestServerKilledInARelayedCall(t *testing.T) {
	needs(t, needChromium, needNamespaces)
	home := newLAN(t, "192.168.78.10")[0] // udp goes by an address of a local network
	state := filepath.Join(t.TempDir(), "state")
	var proc *process
	run := func() {
		proc = start(t, home.command(parley(t), "serve", "--state-dir", state))
		proc.ready(home.client(), "http://127.0.0.1:8080")
	}
	run()
	b := launch(t, browserOptions{netns: home.ns})
	ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
	ada.open("http://localhost:8080")
	ada.click("new-room")
	ada.goesInHidden()
	bob.open(eval[string](ada, "location.href"))
	began := time.Now()
	bob.goesInHidden()
	meet(ada, bob)
	most := max(5*time.Second, 2*time.Since(began))
	for _, p := range []*tab{ada, bob} {
		if got := eval[string](p, relayed); !strings.HasPrefix(got, "udp turn:") {
			t.Fatalf("%s's media goes over %q, want a relay", p.name, got)
		}
	}

	for _, noticed := range []bool{false, true} {
		for try := 1; ; try++ {
			proc.kill()
			took := seeAgain(run, noticed, ada, bob)
			t.Logf("server missed: %v; pictures again after %v", noticed, took)
			if took <= most {
				break
			}
			if try == 3 { // a machine that has too much to do is not three times
				t.Fatalf("no picture for %v after the server was back; at most %v may pass", took, most)
			}
		}
	}
	for _, p := range []*tab{ada, bob} {
		if got := eval[string](p, relayed); !strings.HasPrefix(got, "udp turn:") {
			t.Errorf("%s's media goes over %q after the restart, want a relay", p.name, got)
		}
	}

	// The lobby remembers it.
	bob.reload()
	bob.until("finds the choice again", find("relay-only")+"?.checked")
}

// seeAgain starts the server, which was killed in a call that depends on it: at once when no more pictures come, or when
// everybody's page says that the call is interrupted. The result is how long it takes until everybody has pictures again.
func seeAgain(startServer func(), noticed bool, people ...*tab) time.Duration {
	const still = "%[1]s.then(async (before) => { await new Promise((r) => setTimeout(r, 500)); return await %[1]s === before; })"
	for _, p := range people {
		p.t.Helper()
		p.until("sees nothing any more", fmt.Sprintf(still, frames))
		if noticed {
			p.until("is told", `document.querySelector('[data-testid="tile"]')?.dataset.state === 'reconnecting'`)
		}
	}
	var seen []int
	for _, p := range people {
		seen = append(seen, eval[int](p, frames))
	}
	startServer()
	back := time.Now()
	for i, p := range people {
		p.until("sees on", fmt.Sprintf("%s.then((n) => n > %d)", frames, seen[i]))
	}
	return time.Since(back)
}
