package e2e
import ("testing";"fmt";"time";"encoding/json";"github.com/parley-rtc/parley/webrtc")
func TestDbg(t *testing.T) {
	s := serve(t)
	ada := sharedChromium(t).person(t, "Ada", personOptions{})
	ada.open(s.url + "/healthz")
	var p *partner
	s.partner(t, "dbg", func(m *partner) { p = m; p.sends(film(t, webrtc.VP8, "lime")) })
	ada.joinsPartner("dbg")
	time.Sleep(6*time.Second)
	for _, d := range []*webrtc.SessionDescription{p.pc.CurrentLocalDescription(), p.pc.PendingLocalDescription()} {
	  if d != nil { fmt.Println(d.Type, d.SDP) }
	}
	b, _ := json.Marshal(p.pc.LocalDescription().SDP)
	fmt.Println(eval[string](ada, fmt.Sprintf(`(async () => { const x = new RTCPeerConnection(); try { await x.setRemoteDescription({type: %q, sdp: %s}); await x.setLocalDescription(); return x.localDescription.sdp; } catch (e) { return String(e); } })()`, p.pc.LocalDescription().Type, b)))
	fmt.Println(eval[string](ada, `JSON.stringify(e2e.connections.map((c) => [c.signalingState, c.connectionState, c.currentLocalDescription?.type, c.pendingLocalDescription?.type, c.currentRemoteDescription?.type, c.pendingRemoteDescription?.type]))`))
	ada.mu.Lock(); fmt.Println(ada.console); ada.mu.Unlock()
}
