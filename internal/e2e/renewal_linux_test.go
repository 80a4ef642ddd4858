package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/web"
)

// What TestCredentialsAreRenewed needs and no setting gives: a server whose credentials end during a test. They live for
// longer than a page takes to find a path with them.
const (
	renewalVariable = "PARLEY_E2E_RENEWAL" // in the environment: be that server, at this address
	credentialLife  = 15 * time.Second
	credentialAfter = 5 * time.Second // come the next ones
)

func init() {
	if address := os.Getenv(renewalVariable); address != "" {
		fmt.Fprintln(os.Stderr, serveRenewal(address))
		os.Exit(1)
	}
}

// serveRenewal serves pages and signaling on localhost:8080, and a relay at an address, made of what `parley serve` is
// made of.
func serveRenewal(address string) error {
	at, err := netip.ParseAddr(address)
	if err != nil {
		return err
	}
	const port = 3478
	r, err := relay.Start(relay.Config{
		Turn: turn.Config{Secrets: []string{"a secret of this test"}, Relay: []netip.Addr{at}, Own: []netip.Addr{at}},
		UDP:  []netip.AddrPort{netip.AddrPortFrom(at, port)},
		Here: []netip.Addr{at},
	})
	if err != nil {
		return err
	}
	hub, err := signaling.NewHub(signaling.Config{
		ICEServers: func(seat signaling.Seat, _ *http.Request) func() []signaling.ICEServer {
			return func() []signaling.ICEServer {
				username, password, err := r.Credential(seat.ID, time.Now().Add(credentialLife), turn.Limits{})
				if err != nil {
					return nil
				}
				return []signaling.ICEServer{{
					URLs: []string{fmt.Sprintf("turn:%s:%d?transport=udp", at, port)}, Username: username, Credential: password,
				}}
			}
		},
		ICERenewal: credentialAfter,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/api/signal", hub)
	mux.Handle("/", web.Handler())
	return http.ListenAndServe("localhost:8080", mux)
}

// In a call that is longer than its credentials live, the page is given fresh ones before, without a new connection: media
// goes on over the relay when the old ones have ended, and when the network changes then, another path is found with the
// new ones.
func TestCredentialsAreRenewed(t *testing.T) {
	needs(t, needChromium, needNamespaces)
	home := newLAN(t, "192.168.78.10")[0]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := home.command(self)
	cmd.Env = append(os.Environ(), renewalVariable+"="+home.addr)
	start(t, cmd).ready(home.client(), "http://127.0.0.1:8080")

	b := launch(t, browserOptions{netns: home.ns})
	ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
	people := []*tab{ada, bob}
	for _, p := range people {
		p.callThrough("http://localhost:8080", "long", "(given) => given")
	}
	for _, p := range people {
		p.seesMedia()
		eval[any](p, `(async () => {
			window.call = e2e.connections[0];
			window.server = () => call.getConfiguration().iceServers[0];
			window.first = server();
			window.path = async () => {
				const stats = await call.getStats();
				const transport = [...stats.values()].find((s) => s.type === 'transport');
				const {candidateType, address, port} = stats.get(stats.get(transport.selectedCandidatePairId).localCandidateId);
				return candidateType + ' ' + address + ' ' + port;
			};
			window.firstPath = await path();
		})()`)
	}
	for _, p := range people {
		p.until("has other credentials, and the first ones have ended", "server().username !== first.username && Date.now() / 1000 > parseInt(first.username)")
		p.seesMedia()
		if got := eval[string](p, "path()"); got != eval[string](p, "firstPath") {
			t.Errorf("%s: media has gone from %s to %s, which no one asked for", p.name, eval[string](p, "firstPath"), got)
		}
		// So that the test is about what it says: nothing can be had for the first ones any more.
		if got := eval[string](p, `(async () => {
			const pc = new RTCPeerConnection({iceServers: [first], iceTransportPolicy: 'relay'});
			let told = 'nothing';
			pc.onicecandidateerror = ({errorCode}) => (told = String(errorCode));
			pc.onicecandidate = ({candidate}) => candidate?.candidate && (told = candidate.candidate);
			pc.createDataChannel('');
			await pc.setLocalDescription();
			await new Promise((done) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done()));
			pc.close();
			return told;
		})()`); got != "401" {
			t.Errorf("%s asks the relay with credentials that have ended and gets %s, want error 401", p.name, got)
		}
	}
	eval[any](ada, "call.restartIce()")
	for _, p := range people {
		p.until("goes over another relayed address", "(await path()).startsWith('relay ') && await path() !== firstPath")
		p.seesMedia()
		if n := eval[int](p, "e2e.calls().then((calls) => calls.length)"); n != 1 {
			t.Errorf("%s has %d connections, want the one from the beginning", p.name, n)
		}
	}
}
