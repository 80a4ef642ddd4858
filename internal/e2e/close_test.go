package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/parley-rtc/parley/webrtc"
)

// Whoever closes a connection, the other side's channel closes, not only when ICE gives up. There is nothing between the
// two but their descriptions.
func TestClose(t *testing.T) {
	inEachBrowser(t, func(t *testing.T, b browser) {
		s := serve(t)
		ada := b.person(t, "Ada", personOptions{})
		ada.open(s.url + "/healthz")
		for _, who := range []string{"page", "program"} {
			pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { pc.Close() })
			ch, err := pc.CreateDataChannel("closes", nil)
			if err != nil {
				t.Fatal(err)
			}
			closed := make(chan webrtc.ICEConnectionState, 1)
			ch.OnClose(func() { closed <- pc.ICEConnectionState() })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			t.Cleanup(cancel)
			if err := pc.SetLocalDescription(nil); err != nil {
				t.Fatal(err)
			}
			if err := pc.GatheringComplete(ctx); err != nil {
				t.Fatal(err)
			}
			answer := eval[string](ada, fmt.Sprintf(`(async () => {
				window.pc = new RTCPeerConnection();
				pc.ondatachannel = ({channel}) => {
					window.channel = channel;
					channel.onclose = () => { window.ended = pc.iceConnectionState; };
				};
				const gathered = new Promise((resolve) => { pc.onicecandidate = ({candidate}) => candidate ?? resolve(); });
				await pc.setRemoteDescription({type: 'offer', sdp: %q});
				await pc.setLocalDescription();
				await gathered;
				return pc.localDescription.sdp;
			})()`, pc.LocalDescription().SDP))
			if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
				t.Fatal(err)
			}
			ada.until("has the channel", "window.channel?.readyState === 'open'")
			var state string
			if who == "page" {
				eval[any](ada, "pc.close()")
				select {
				case ice := <-closed:
					state = string(ice)
				case <-ctx.Done():
					t.Fatalf("the page has closed, and the program's channel is %s, ICE %s", ch.ReadyState(), pc.ICEConnectionState())
				}
			} else {
				pc.Close()
				ada.until("sees the channel close", "!!window.ended")
				state = eval[string](ada, "ended")
			}
			if state != "connected" && state != "completed" {
				t.Errorf("where the %s closed, the other's channel closed when ICE was %s", who, state)
			}
			eval[any](ada, "pc.close(), window.channel = window.ended = undefined")
		}
	})
}
