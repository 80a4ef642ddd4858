package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/webrtc"
)

// A camera and a clip cross a network that loses five packets of a hundred, both ways, for a minute. Nobody waits for a
// picture for more than half a second because of that: what the machine itself has somebody wait for is seen before.
func TestMediaThroughLoss(t *testing.T) {
	need.Long(t)
	needs(t, needChromium, needCertutil, needNamespaces)
	wire, home, phone := newWire(t, "192.168.79.10", "192.168.79.11")
	house := newHousehold(t, home, phone)
	house.robot(t, home, robotOptions{Link: house.base + "/r/lossy", Clips: storeClips(t, film(t, webrtc.VP8, "lime"), tone(t))})
	ada := launch(t, browserOptions{netns: phone.ns, home: house.profile}).person(t, "Ada", personOptions{})
	ada.open(house.base + "/healthz")
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
	type seen struct{ Frames, Gap float64 }
	watches := func(seconds int) (from, to seen) {
		eval[any](ada, "e2e.watchFrames(shows()[0]), seen()")
		ada.until("has seen enough", fmt.Sprintf("e2e.frames(shows()[0]).frames > %d", seconds*clipRate))
		from = eval[seen](ada, `(({frames, gap}) => ({Frames: frames, Gap: gap}))(e2e.frames(shows()[0]))`)
		return from, eval[seen](ada, `seen().then(({frames, gap}) => ({Frames: frames, Gap: gap}))`)
	}
	calmFrom, calmTo := watches(20)
	wire.lose(func(int) bool { return rand.IntN(100) < 5 })
	from, to := watches(60)
	again := eval[float64](ada, "inbound('video').then(([s]) => s.retransmittedPacketsReceived ?? 0)")
	t.Logf("without losses the page waited %.0f ms at most, and the robot %.0f ms", calmFrom.Gap, calmTo.Gap)
	t.Logf("the page saw %.0f frames and waited %.0f ms at most; the robot %.0f and %.0f ms; %d datagrams were lost and %.0f packets came again",
		from.Frames, from.Gap, to.Frames, to.Gap, wire.lost.Load(), again)
	const limit, usual = 500, 200 // usual is three pictures
	if from.Gap > limit+max(0, calmFrom.Gap-usual) || to.Gap > limit+max(0, calmTo.Gap-usual) {
		t.Error("somebody waited for too long")
	}
	if again == 0 {
		t.Error("nothing was lost")
	}
}
