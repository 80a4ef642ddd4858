package webrtc

import (
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"
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

// takeOver makes a peer that plays audio and answers a's offer. Who was a's peer before is told candidates no more.
func (w *world) takeOver(a *PeerConnection, munge func(sdp string) string) *PeerConnection {
	w.Helper()
	b := w.connection(w.b, Configuration{})
	for from, to := range map[*PeerConnection]*PeerConnection{a: b, b: a} {
		from.OnICECandidate(func(c *ICECandidate) { _ = to.AddICECandidate(c) }) // some may be of a generation that is over
	}
	track := w.sampleTrack(Opus)
	_, err := b.AddTrack(track)
	w.check(err)
	w.playAudio(track)
	w.signal(a, b, munge)
	return b
}

// signal is an exchange in which b's answer is changed on the way.
func (w *world) signal(a, b *PeerConnection, munge func(sdp string) string) {
	w.Helper()
	w.check(a.SetLocalDescription(nil))
	w.check(b.SetRemoteDescription(*a.LocalDescription()))
	w.check(b.SetLocalDescription(nil))
	answer := *b.LocalDescription()
	if munge != nil {
		answer.SDP = munge(answer.SDP)
	}
	w.check(a.SetRemoteDescription(answer))
}

// audible returns how many bytes of audio have come, and the SSRC that has brought most.
func audible(pc *PeerConnection) (total uint64, ssrc uint32) {
	most := uint64(0)
	for _, s := range pc.GetStats() {
		if in, ok := s.(*InboundRTPStreamStats); ok {
			if total += in.BytesReceived; in.BytesReceived > most {
				most, ssrc = in.BytesReceived, in.SSRC
			}
		}
	}
	return total, ssrc
}

// RFC 8842 section 5.5: "at least one of the endpoints MUST allocate a completely new set of ICE candidates that were not recently used for any
// other DTLS association", which disambiguates the packets: whatever the peers before have to say, as they close, is not for the
// association with the one that comes after them. With and without a restart to the same peer in between.
func TestRapidHandOvers(t *testing.T) {
	for _, between := range []bool{false, true} {
		for _, gap := range []time.Duration{0, 30 * time.Millisecond, 100 * time.Millisecond} {
			inWorld(t, func(w *world) {
				a := w.connection(w.a, Configuration{})
				x := w.add(a, "audio", &RTPTransceiverInit{Direction: RTPTransceiverDirectionRecvOnly})
				b := w.takeOver(a, nil)
				for range 5 {
					time.Sleep(gap)
					if between {
						a.RestartICE()
						w.signal(a, b, nil)
						time.Sleep(gap)
					}
					a.RestartICE()
					next := w.takeOver(a, nil)
					w.check(b.Close())
					b = next
				}
				time.Sleep(2 * time.Second)
				before, _ := audible(a)
				time.Sleep(2 * time.Second)
				after, ssrc := audible(a)
				if s := x.Receiver().Transport().State(); s != DTLSTransportStateConnected || a.ConnectionState() != PeerConnectionStateConnected || after == before {
					t.Errorf("restarts between %t, after %v: DTLS is %s, %d bytes came, then %d", between, gap, s, before, after)
				}
				sending := b.GetSenders()[0].GetParameters()
				for _, s := range b.GetStats() {
					if out, ok := s.(*OutboundRTPStreamStats); ok && out.SSRC != ssrc {
						t.Errorf("the audio is that of %d, not of %d: %+v", ssrc, out.SSRC, sending)
					}
				}
			})
		}
	}
}

var fingerprintLine = regexp.MustCompile(`a=fingerprint:sha-256 [0-9A-F:]+`)

// A new association that fails, because its certificate is not the promised one, ends DTLS: state and media do not live on the strength of
// the association before.
func TestHandOverFails(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.connection(w.a, Configuration{})
		x := w.add(a, "audio", &RTPTransceiverInit{Direction: RTPTransceiverDirectionRecvOnly})
		w.takeOver(a, nil)
		time.Sleep(time.Second)
		before, _ := audible(a)
		if before == 0 {
			t.Fatal("nothing came from the first peer")
		}
		failed := make(chan struct{})
		x.Receiver().Transport().OnStateChange(func(s DTLSTransportState) {
			if s == DTLSTransportStateFailed {
				close(failed)
			}
		})
		a.RestartICE()
		other := a.GetConfiguration().Certificates[0].fingerprint().String()
		w.takeOver(a, func(sdp string) string { return fingerprintLine.ReplaceAllString(sdp, "a=fingerprint:"+other) })
		await(w, failed, "the failure")
		synctest.Wait()
		before, _ = audible(a)
		time.Sleep(time.Second)
		if after, _ := audible(a); after != before || a.ConnectionState() != PeerConnectionStateFailed {
			t.Errorf("the state is %s, and %d bytes came after the failure", a.ConnectionState(), after-before)
		}
	})
}
