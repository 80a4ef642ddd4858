package webrtc

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// addIceCandidate: "If candidate is applied successfully, or if the candidate was administratively prohibited", it becomes part of the
// description; "there is no indication to the developer about whether or not an address/port is blocked".
func TestProhibitedCandidates(t *testing.T) {
	for _, c := range []struct {
		port string
		sent bool
	}{{"5060", false}, {"10080", false}, {"10081", true}, {"443", true}} {
		t.Run(c.port, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var mu sync.Mutex
				to := map[netip.AddrPort]bool{}
				watched := w.network(w.b, NetworkConfig{NoTCP: true, Observer: func(p *Packet) {
					mu.Lock()
					defer mu.Unlock()
					to[p.Remote] = true
				}})
				a, b := w.connection(w.a, Configuration{}), w.connection(watched, Configuration{})
				_, err := a.CreateDataChannel("x", nil)
				w.check(err)
				w.check(a.SetLocalDescription(nil))
				offer := *a.LocalDescription()
				w.check(b.SetRemoteDescription(offer))
				w.check(b.SetLocalDescription(nil))
				candidate := "candidate:1 1 udp 2130706431 203.0.113.77 " + c.port + " typ host"
				w.check(b.AddICECandidate(&ICECandidate{Candidate: candidate, SDPMid: new("0")}))
				time.Sleep(5 * time.Second)
				if !strings.Contains(b.RemoteDescription().SDP, "a="+candidate+"\r\n") {
					t.Errorf("the candidate is not in the description:\n%s", b.RemoteDescription().SDP)
				}
				mu.Lock()
				defer mu.Unlock()
				if sent := to[netip.MustParseAddrPort("203.0.113.77:"+c.port)]; sent != c.sent {
					t.Errorf("datagrams went to %v", to)
				}
			})
		})
	}
	// "If the iceTransportPolicy member of the RTCConfiguration is relay, candidates requiring external resolution, such as mDNS
	// candidates and DNS candidates, MUST be prohibited."
	inWorld(t, func(w *world) {
		name := sdp.Candidate{Address: "a2d1f3c2-0000-4000-8000-000000000000.local", Port: 5000}
		for policy, want := range map[ICETransportPolicy]bool{ICETransportPolicyAll: false, ICETransportPolicyRelay: true} {
			if got := w.connection(w.a, Configuration{ICETransportPolicy: policy}).prohibited(&name); got != want {
				t.Errorf("with the policy %q a name is prohibited: %v", policy, got)
			}
		}
	})
}
