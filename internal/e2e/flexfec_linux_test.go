package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// FlexFEC (draft-ietf-payload-flexible-fec-scheme-03), which Chromium has behind a field trial, both ways: on a way of 200
// milliseconds there and back each twentieth datagram is lost, nothing may be sent again, and hardly a picture is missing.
func TestFlexFEC(t *testing.T) {
	needs(t, needChromium, needCertutil, needNamespaces)
	wire, home, phone := newWire(t, "192.168.79.10", "192.168.79.11")
	house := newHousehold(t, home, phone)
	house.robot(t, home, robotOptions{Link: house.base + "/r/far", FlexFEC: true, Clips: storeClips(t, film(t, webrtc.VP8, "lime"), tone(t))})
	b := launch(t, browserOptions{netns: phone.ns, home: house.profile, trials: "WebRTC-FlexFEC-03-Advertised/Enabled/WebRTC-FlexFEC-03/Enabled/"})
	ada := b.person(t, "Ada", personOptions{})
	ada.open(house.base + "/healthz")
	ada.joinsPartner("far")
	ada.meetsRobot()
	ada.seesColour("lime")
	// The page's camera goes back in the section of the clip.
	eval[any](ada, `(async () => {
		const both = pc().getTransceivers().find(({receiver}) => receiver.track.kind === 'video');
		await both.sender.replaceTrack((await navigator.mediaDevices.getUserMedia({video: true})).getVideoTracks()[0]);
		both.direction = 'sendrecv';
		const ask = await channel('stats');
		window.robot = async (type) => {
			ask.send(type);
			return JSON.parse(await ask.next()).find((s) => s.kind === 'video');
		};
		window.page = async (type) => [...(await pc().getStats()).values()].find((s) => s.type === type && s.kind === 'video');
		// each is both ways: what one sent and the other got.
		window.each = async () => [[await robot('outbound-rtp'), await page('inbound-rtp')], [await page('outbound-rtp'), await robot('inbound-rtp')]];
	})()`)
	ada.until("is seen", "(await robot('inbound-rtp'))?.packetsReceived > 0")
	wire.delay.Store(int64(100 * time.Millisecond))
	wire.lose(func(nth int) bool { return nth%20 == 0 })
	ada.until("sends repair packets and gets some", "(await each()).every(([, got]) => got.fecPacketsReceived > 5)")

	type flow struct {
		Frames, Missing  int // frames sent, and those of them that did not come whole, with all that they depend on
		Lost, FEC, Again int // packets of media that were lost, of repair that came, and retransmissions
		Repaired         int // packets of media; Chromium does not say
	}
	eval[any](ada, "each().then((now) => { window.before = now; })")
	ada.until("has lost a dozen packets", `(async () => {
		window.after = await each();
		const lost = after.map(([, got], i) => got.packetsLost - before[i][1].packetsLost);
		return lost[0] >= 12 && after[1][1].packetsRepaired >= before[1][1].packetsRepaired + 12;
	})()`)
	for i, way := range []struct{ name, whole string }{
		{"Go to Chromium", "framesReceived"}, // it may have no time to decode them all
		{"Chromium to Go", "framesDecoded"},
	} {
		got := eval[flow](ada, fmt.Sprintf(`(() => {
			const [sent, got] = [0, 1].map((end) => (name) => (after[%[1]d][end][name] ?? 0) - (before[%[1]d][end][name] ?? 0));
			return {Frames: sent('framesSent'), Missing: sent('framesSent') - got('%[2]s'), Lost: got('packetsLost'), FEC: got('fecPacketsReceived'), Again: got('retransmittedPacketsReceived'), Repaired: got('packetsRepaired')};
		})()`, i, way.whole))
		t.Logf("%s: %+v", way.name, got)
		if got.FEC == 0 || got.Again != 0 {
			t.Errorf("%s: %+v", way.name, got)
		}
		// A picture that is not repaired takes those up to the next key frame with it: without repair more than half are missing.
		if got.Missing > got.Frames/4 {
			t.Errorf("%s: %d of %d pictures are missing", way.name, got.Missing, got.Frames)
		}
	}
}
