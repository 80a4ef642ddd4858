package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/webrtc"
)

var needNft = requirement{
	name: "nft, to lose packets",
	get:  "on Debian: apt-get install nftables",
	have: program("nft"),
}

// loses makes a host lose that many of a hundred datagrams that come to it.
func (h *host) loses(percent int) {
	h.t.Helper()
	cmd := h.command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("table inet loss {\nchain in {\ntype filter hook input priority 0\nmeta l4proto udp numgen random mod 100 < %d drop\n}\n}\n", percent))
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("nft: %v: %s", err, out)
	}
}

// A camera and a clip cross a network that loses five packets of a hundred, both ways, for a minute. Nobody waits for a
// picture for more than half a second, on a machine that has nothing else to do.
func TestMediaThroughLoss(t *testing.T) {
	need(t, needLong, needChromium, needCertutil, needNamespaces, needNft)
	lan := newLAN(t, "192.168.79.10", "192.168.79.11")
	home, phone := lan[0], lan[1]
	server := start(t, home.command(parley(t), "serve", "--state-dir", filepath.Join(t.TempDir(), "state")))
	server.ready(home.client(), "http://127.0.0.1:8080")
	const base = "https://192.168.79.10:8443"
	authority := authorityOf(t, phone, base)
	profile := t.TempDir()
	trust(t, profile, authority)
	roots := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(roots, authority, 0o644); err != nil {
		t.Fatal(err)
	}
	startRobot(t, robotOptions{Link: base + "/r/lossy", Clips: storeClips(t, film(t, webrtc.VP8, "lime"), tone(t))}, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Environ(), "SSL_CERT_FILE="+roots)
		return inNamespace(cmd, home.ns)
	})
	ada := launch(t, browserOptions{netns: phone.ns, home: profile}).person(t, "Ada", personOptions{})
	ada.open(base + "/healthz")
	ada.joinsPartner("lossy")
	ada.meetsRobot()
	eval[any](ada, `(async () => {
		const stream = await navigator.mediaDevices.getUserMedia({video: true, audio: true});
		for (const track of stream.getTracks()) pc().addTrack(track, stream);
		window.film = await channel('film');
		window.seen = async () => { film.send('?'); return JSON.parse(await film.next()); };
	})()`)
	ada.seesColour("lime")
	ada.until("is seen", "(await seen()).frames > 0")
	home.loses(5)
	phone.loses(5)

	const seconds, limit = 60, 500
	eval[any](ada, "e2e.watchFrames(shows()[0]), seen()")
	ada.until("has seen enough", fmt.Sprintf("e2e.frames(shows()[0]).frames > %d", seconds*clipRate))
	type seen struct{ Frames, Gap float64 }
	from := eval[seen](ada, `(({frames, gap}) => ({Frames: frames, Gap: gap}))(e2e.frames(shows()[0]))`)
	to := eval[seen](ada, `seen().then(({frames, gap}) => ({Frames: frames, Gap: gap}))`)
	lost := eval[float64](ada, "inbound('video').then(([s]) => s.retransmittedPacketsReceived ?? 0)")
	t.Logf("the page saw %.0f frames and waited %.0f ms at most; the robot %.0f and %.0f ms; %.0f packets came again", from.Frames, from.Gap, to.Frames, to.Gap, lost)
	if from.Gap > limit || to.Gap > limit {
		t.Error("somebody waited for too long")
	}
	if lost == 0 {
		t.Error("nothing was lost")
	}
}
