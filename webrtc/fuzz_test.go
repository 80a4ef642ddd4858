package webrtc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
)

// FuzzDescriptions gives text as descriptions to a whole connection that has audio, video and data, or nothing yet: as an offer, as
// an answer to its own, and as an offer after that. What is refused is refused by name and leaves a connection that offers and answers;
// what is taken is put into force, media included; and nothing is left after Close.
func FuzzDescriptions(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("..", "protocol", "sdp", "testdata", "*", "*.sdp"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no captured descriptions: %v", err)
	}
	for i, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		next, err := os.ReadFile(names[(i+1)%len(names)])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), string(next), byte(i))
	}
	f.Fuzz(func(t *testing.T, first, second string, how byte) {
		if len(first)+len(second) > 64<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) { describe(t, first, second, how) })
	})
}

func describe(t *testing.T, first, second string, how byte) {
	n := simnet.New(1)
	w := &world{T: t, net: n}
	w.hostA = simloop.New(n.Internet().Host("a", simnet.Path{Delay: time.Millisecond}, "203.0.113.1"))
	w.a = onHost(w.hostA)
	n.Live()
	defer n.Close()
	policies := []BundlePolicy{BundlePolicyBalanced, BundlePolicyMaxCompat, BundlePolicyMaxBundle}
	pc, err := w.a.NewPeerConnection(Configuration{BundlePolicy: policies[int(how>>4)%len(policies)]})
	w.check(err)
	if how&1 != 0 {
		for _, codec := range []RTPCodec{Opus, VP8} {
			_, err := pc.AddTrack(w.sampleTrack(codec), NewMediaStream("s"))
			w.check(err)
		}
		_, err := pc.AddTransceiver("video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "q"}, {RID: "h"}}})
		w.check(err)
		_, err = pc.CreateDataChannel("chat", nil)
		w.check(err)
	}
	pc.OnTrack(func(track *RemoteTrack, r *RTPReceiver) { track.Encodings() })
	named := func(err error) bool {
		if err == nil {
			return true
		}
		if e, ok := err.(*Error); !ok || e.Name == "" || strings.Contains(e.Message, "runtime error") {
			t.Fatalf("refused by %v", err)
		}
		return false
	}
	kind := SDPTypeOffer
	if how&2 != 0 { // an answer to ours
		w.check(pc.SetLocalDescription(nil))
		if kind = SDPTypeAnswer; how&4 != 0 {
			kind = SDPTypePranswer
		}
	}
	for _, text := range []string{first, second} {
		before := pc.SignalingState()
		if !named(pc.SetRemoteDescription(SessionDescription{Type: kind, SDP: text})) && pc.SignalingState() != before && before != SignalingStateHaveLocalOffer {
			t.Fatalf("refused, and the state is %s, was %s", pc.SignalingState(), before)
		}
		if pc.SignalingState() == SignalingStateHaveRemoteOffer {
			w.check(pc.SetLocalDescription(nil))
		}
		for _, x := range pc.GetTransceivers() {
			x.Sender().GetParameters()
			x.Receiver().GetParameters()
			if how&8 != 0 {
				named(x.SetDirection(RTPTransceiverDirectionSendOnly))
			}
		}
		pc.GetStats()
		if kind != SDPTypeOffer {
			kind = SDPTypeAnswer
		}
		time.Sleep(100 * time.Millisecond)
		if pc.SignalingState() == SignalingStateStable {
			kind = SDPTypeOffer
			w.check(pc.SetLocalDescription(nil)) // ours can be offered
			w.check(pc.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
		}
	}
	w.check(pc.Close())
	synctest.Wait()
	if left := goroutines(); left != nil {
		t.Fatalf("goroutines are left:\n%s", strings.Join(left, "\n\n"))
	}
}
