package webrtc

import (
	"slices"
	"testing"
	"testing/synctest"
)

// RFC 8829 section 5.11: "If the remote DTLS fingerprint has been changed or the value of the "a=tls-id" attribute has changed, tear down the
// DTLS connection", which an ICE restart allows. The channels of the peer before end, and the new one has an association of its
// own: "create an RTCSctpTransport with an initial state of "connecting"" (webrtc-pc section 4.4.1.5), with and without its INIT chunk in
// the description.
func TestHandOver(t *testing.T) {
	for _, how := range []string{"", "a=sctp-init"} {
		inWorld(t, func(w *world) {
			a, _, x, _ := w.connect(Configuration{}, nil)
			c := w.connection(w.b, Configuration{})
			var events []string
			x.OnClose(func() { events = append(events, "close") })
			former := a.SCTP()
			a.OnICECandidate(nil)
			a.RestartICE()
			w.signaling.Lock()
			w.check(a.SetLocalDescription(nil))
			offer := *a.LocalDescription()
			if how != "" {
				offer.SDP = without(offer.SDP, how)
			}
			w.check(c.SetRemoteDescription(offer))
			w.check(c.SetLocalDescription(nil))
			answer := *c.LocalDescription()
			if how != "" {
				answer.SDP = without(answer.SDP, how)
			}
			w.check(a.SetRemoteDescription(answer))
			w.trickle(a, c)
			w.signaling.Unlock()
			got := make(chan string, 1)
			a.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(func() { w.check(ch.SendText("hello again")) }) })
			z, err := c.CreateDataChannel("from the second", nil)
			w.check(err)
			z.OnMessage(func(m Message) { got <- m.Text() })
			if m := await(w, got, "the second peer's channel"); m != "hello again" {
				t.Errorf("it got %q", m)
			}
			synctest.Wait()
			if !slices.Equal(events, []string{"close"}) || x.ReadyState() != DataChannelStateClosed {
				t.Errorf("the channel with the first peer is %s after %q", x.ReadyState(), events)
			}
			if how == "" && (a.SCTP() == former || former.State() != SCTPTransportStateClosed) {
				t.Errorf("the SCTPTransport is the one before, or %s", former.State())
			}
			if s := a.SCTP(); s.State() != SCTPTransportStateConnected || a.ConnectionState() != PeerConnectionStateConnected {
				t.Errorf("the states are %s and %s", s.State(), a.ConnectionState())
			}
		})
	}
}
