package webrtc

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// errorName returns the W3C's name of an error; "" for nil.
func errorName(err error) ErrorName {
	var e *Error
	if errors.As(err, &e) {
		return e.Name
	}
	if err != nil {
		return ErrorName(err.Error())
	}
	return ""
}

func (w *world) wantError(name ErrorName, err error) {
	w.Helper()
	if got := errorName(err); got != name {
		w.Errorf("the error is %q (%v), want %q", got, err, name)
	}
}

func (w *world) add(pc *PeerConnection, kind string, init *RTPTransceiverInit) *RTPTransceiver {
	w.Helper()
	t, err := pc.AddTransceiver(kind, init)
	w.check(err)
	return t
}

// exchange is negotiate without the trickling.
func (w *world) exchange(a, b *PeerConnection) {
	w.Helper()
	w.check(a.SetLocalDescription(nil))
	w.check(b.SetRemoteDescription(*a.LocalDescription()))
	w.check(b.SetLocalDescription(nil))
	w.check(a.SetRemoteDescription(*b.LocalDescription()))
}

func rids(list []RTPEncodingParameters) (ids []string) {
	for _, e := range list {
		ids = append(ids, e.RID)
	}
	return ids
}

// addTransceiver (webrtc-pc section 5.1): what it returns, and what it refuses.
func TestAddTransceiver(t *testing.T) {
	inWorld(t, func(w *world) {
		pc, other := w.pair(Configuration{})
		x := w.add(pc, "video", nil)
		if x.MID() != "" || x.Direction() != RTPTransceiverDirectionSendRecv || x.CurrentDirection() != "" || x.Sender().Track() != nil ||
			x.Receiver().Track().Kind() != "video" || !x.Receiver().Track().Muted() || x.Receiver().Track().ReadyState() != TrackStateLive ||
			x.Sender().Transport() != nil || x.Receiver().Transport() != nil || x.Sender().DTMF() != nil || x.Receiver().Track().Label() != "remote video" {
			t.Errorf("a new transceiver: %+v", x.state.Load())
		}
		y := w.add(pc, "audio", &RTPTransceiverInit{Direction: RTPTransceiverDirectionRecvOnly})
		if y.Direction() != RTPTransceiverDirectionRecvOnly || y.Sender().DTMF() == nil {
			t.Error("audio that only receives")
		}
		track := w.sampleTrack(VP8)
		z, err := pc.AddTransceiverTrack(track, nil)
		w.check(err)
		if z.Sender().Track() != Track(track) || z.Sender().Transceiver() != z || z.Receiver().Transceiver() != z {
			t.Error("a transceiver of a track")
		}
		if got := pc.GetTransceivers(); !slices.Equal(got, []*RTPTransceiver{x, y, z}) || !slices.Equal(pc.GetSenders(), []*RTPSender{x.Sender(), y.Sender(), z.Sender()}) ||
			!slices.Equal(pc.GetReceivers(), []*RTPReceiver{x.Receiver(), y.Receiver(), z.Receiver()}) {
			t.Errorf("transceivers %v", got)
		}

		add := func(kind string, init RTPTransceiverInit) error {
			_, err := pc.AddTransceiver(kind, &init)
			return err
		}
		encodings := func(list ...RTPEncodingParameters) RTPTransceiverInit { return RTPTransceiverInit{SendEncodings: list} }
		w.wantError(TypeError, add("data", RTPTransceiverInit{}))
		w.wantError(TypeError, add("audio", RTPTransceiverInit{Direction: "sideways"}))
		w.wantError(TypeError, add("audio", RTPTransceiverInit{Direction: RTPTransceiverDirectionStopped}))
		// "Verify that each rid value in sendEncodings conforms to the grammar specified in Section 10 of [RFC8851]"
		w.wantError(TypeError, add("video", encodings(RTPEncodingParameters{RID: "a b"}, RTPEncodingParameters{RID: "c"})))
		w.wantError(TypeError, add("video", encodings(RTPEncodingParameters{RID: strings.Repeat("a", 256)}, RTPEncodingParameters{RID: "c"})))
		w.wantError(TypeError, add("video", encodings(RTPEncodingParameters{RID: "a"}, RTPEncodingParameters{})))
		w.wantError(TypeError, add("video", encodings(RTPEncodingParameters{RID: "a"}, RTPEncodingParameters{RID: "a"})))
		w.wantError(RangeError, add("video", encodings(RTPEncodingParameters{ScaleResolutionDownBy: new(0.5)})))
		w.wantError(RangeError, add("video", encodings(RTPEncodingParameters{MaxFramerate: new(-1.0)})))
		w.wantError(OperationError, add("video", encodings(RTPEncodingParameters{ScalabilityMode: "L9T9"})))
		w.wantError(OperationError, add("video", encodings(RTPEncodingParameters{Codec: &RTPCodec{MimeType: "video/flux", ClockRate: 90000}})))
		w.wantError(TypeError, add("video", encodings(RTPEncodingParameters{Priority: "urgent"})))
		// "If kind is "audio", remove the scaleResolutionDownBy and maxFramerate members"
		w.check(add("audio", encodings(RTPEncodingParameters{ScaleResolutionDownBy: new(0.5), MaxFramerate: new(-1.0)})))
		w.check(pc.Close())
		w.wantError(InvalidStateError, add("audio", RTPTransceiverInit{}))
		_ = other
	})
}

// What addTransceiver makes of sendEncodings.
func TestSendEncodings(t *testing.T) {
	inWorld(t, func(w *world) {
		pc, _ := w.pair(Configuration{})
		scales := func(init ...RTPEncodingParameters) string {
			var list []string
			for _, e := range w.add(pc, "video", &RTPTransceiverInit{SendEncodings: init}).Sender().GetParameters().Encodings {
				list = append(list, fmt.Sprintf("%s%v%v%s", e.RID, *e.ScaleResolutionDownBy, *e.Active, e.Priority))
			}
			return strings.Join(list, " ")
		}
		for _, c := range []struct {
			init []RTPEncodingParameters
			want string
		}{
			{nil, "1truelow"},
			// "If the number of encodings now stored in sendEncodings is 1, then remove any rid member from the lone entry."
			{[]RTPEncodingParameters{{RID: "a", Active: new(false)}}, "1falselow"},
			// "2^(length of sendEncodings - encoding index - 1)"
			{[]RTPEncodingParameters{{RID: "a"}, {RID: "b"}, {RID: "c", Priority: PriorityHigh}}, "a4truelow b2truelow c1truehigh"},
			// "If any encoding contains a scaleResolutionDownBy member, then for each encoding without one, add ... 1.0"
			{[]RTPEncodingParameters{{RID: "a"}, {RID: "b", ScaleResolutionDownBy: new(3.0)}}, "a1truelow b3truelow"},
		} {
			if got := scales(c.init...); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		}
		var many []RTPEncodingParameters
		for i := range 20 {
			many = append(many, RTPEncodingParameters{RID: fmt.Sprint(i)})
		}
		// "If the number of encodings stored in sendEncodings exceeds maxN, then trim sendEncodings from the tail"
		if n := len(w.add(pc, "video", &RTPTransceiverInit{SendEncodings: many}).Sender().GetParameters().Encodings); n != 8 {
			t.Errorf("%d encodings of video", n)
		}
		if e := w.add(pc, "audio", &RTPTransceiverInit{SendEncodings: many}).Sender().GetParameters().Encodings; len(e) != 1 || e[0].RID != "" || e[0].ScaleResolutionDownBy != nil {
			t.Errorf("encodings of audio: %+v", e)
		}
	})
}

// addTrack and removeTrack.
func TestAddTrack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		camera, screen, voice := w.sampleTrack(VP8), w.sampleTrack(VP8), w.sampleTrack(Opus)
		s, err := a.AddTrack(camera, NewMediaStream("one"), NewMediaStream("two"), NewMediaStream("one"))
		w.check(err)
		x := a.GetTransceivers()[0]
		if s.Track() != Track(camera) || x.Sender() != s || x.Direction() != RTPTransceiverDirectionSendRecv || !slices.Equal(x.jsep.Streams(), []string{"one", "two"}) {
			t.Errorf("a track that was added: %v in %v", s.Track(), x.jsep.Streams())
		}
		_, err = a.AddTrack(camera)
		w.wantError(InvalidAccessError, err)
		_, err = a.AddTrack(nil)
		w.wantError(TypeError, err)
		_, err = a.AddTransceiverTrack(nil, nil)
		w.wantError(TypeError, err)
		w.wantError(InvalidAccessError, b.RemoveTrack(s))
		w.wantError(InvalidAccessError, b.RemoveTrack(nil))

		// A sender without a track that was never used is taken, and its direction follows.
		y := w.add(a, "audio", &RTPTransceiverInit{Direction: RTPTransceiverDirectionInactive})
		s2, err := a.AddTrack(voice)
		w.check(err)
		if s2 != y.Sender() || y.Direction() != RTPTransceiverDirectionSendOnly {
			t.Errorf("another sender was made, or the direction is %s", y.Direction())
		}
		w.check(a.RemoveTrack(s2))
		if s2.Track() != nil || y.Direction() != RTPTransceiverDirectionInactive {
			t.Errorf("after removeTrack: %v, %s", s2.Track(), y.Direction())
		}
		w.check(a.RemoveTrack(s2)) // again: nothing

		w.exchange(a, b)
		w.check(a.RemoveTrack(s))
		if x.Direction() != RTPTransceiverDirectionRecvOnly {
			t.Errorf("after removeTrack the direction is %s", x.Direction())
		}
		// One that was used to send is not taken again.
		s3, err := a.AddTrack(screen)
		w.check(err)
		if s3 == s || len(a.GetTransceivers()) != 3 {
			t.Error("a sender that was used was taken again")
		}
		w.check(a.Close())
		_, err = a.AddTrack(w.sampleTrack(VP8))
		w.wantError(InvalidStateError, err)
		w.wantError(InvalidStateError, a.RemoveTrack(s3))
	})
}

// The transceiver that a remote offer makes, and that it is the one of addTrack where there is one.
func TestRemoteTransceiver(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		_, err := a.AddTrack(w.sampleTrack(VP8))
		w.check(err)
		_, err = a.AddTrack(w.sampleTrack(Opus))
		w.check(err)
		mine, err := b.AddTrack(w.sampleTrack(VP8)) // addTrack's are taken
		w.check(err)
		other := w.add(b, "audio", nil) // addTransceiver's are not
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		list := b.GetTransceivers()
		if len(list) != 3 || list[0].Sender() != mine || list[1] != other || other.MID() != "" || list[2].MID() != "1" || list[0].MID() != "0" {
			t.Fatalf("%d transceivers", len(list))
		}
		if d := list[2].Direction(); d != RTPTransceiverDirectionRecvOnly || list[2].CurrentDirection() != "" || list[2].Receiver().Transport() != nil {
			t.Errorf("the one of the offer is %s", d)
		}
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		if d := list[2].CurrentDirection(); d != RTPTransceiverDirectionRecvOnly {
			t.Errorf("answered as %s", d)
		}
		if d := a.GetTransceivers()[1].CurrentDirection(); d != RTPTransceiverDirectionSendOnly {
			t.Errorf("and the offerer has %s", d)
		}
		if x, y := list[0].Sender().Transport(), list[2].Receiver().Transport(); x == nil || x != y {
			t.Error("bundled media have one transport")
		}
	})
}

// Direction: what may be set, and which events of tracks follow (webrtc-pc, "process remote tracks").
func TestDirection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		needed := make(chan struct{}, 10)
		a.OnNegotiationNeeded(func() { needed <- struct{}{} })
		x, err := a.AddTransceiverTrack(w.sampleTrack(Opus), &RTPTransceiverInit{Streams: []*MediaStream{NewMediaStream("one")}})
		w.check(err)
		await(w, needed, "negotiationneeded")
		logged := make(chan string, 100)
		note := func(s string) { logged <- s }
		b.OnTrack(func(track *RemoteTrack, r *RTPReceiver) {
			note("track " + strings.Join(names(r.Streams()), "+"))
			track.OnMute(func() { note("mute") })
			track.OnUnmute(func() { note("unmute") })
			track.OnEnded(func() { note("ended") })
			for _, s := range r.Streams() {
				s.OnRemoveTrack(func(*RemoteTrack) { note("removetrack " + s.ID()) })
				s.OnAddTrack(func(*RemoteTrack) { note("addtrack " + s.ID()) })
			}
		})
		b.OnSignalingStateChange(func(s SignalingState) { note(string(s)) })
		w.negotiate(a, b)
		w.playAudio(x.Sender().Track().(*SampleTrack))
		expect := func(want ...string) {
			t.Helper()
			var log []string
			for range want {
				log = append(log, await(w, logged, fmt.Sprint("the events ", want, " after ", log)))
			}
			if !slices.Equal(log, want) {
				t.Errorf("events %q, want %q", log, want)
			}
		}
		expect("have-remote-offer", "track one", "stable", "unmute")
		w.wantError(TypeError, x.SetDirection(RTPTransceiverDirectionStopped))
		w.wantError(TypeError, x.SetDirection(""))

		w.check(x.SetDirection(RTPTransceiverDirectionRecvOnly))
		await(w, needed, "negotiationneeded")
		w.exchange(a, b)
		expect("have-remote-offer", "mute", "removetrack one", "stable")
		y := b.GetTransceivers()[0]
		if y.CurrentDirection() != RTPTransceiverDirectionInactive || y.Receiver().Track().ReadyState() != TrackStateLive || len(y.Receiver().Streams()) != 0 {
			t.Errorf("%s, %s", y.CurrentDirection(), y.Receiver().Track().ReadyState())
		}

		w.check(x.SetDirection(RTPTransceiverDirectionSendRecv))
		w.check(x.Sender().SetStreams(NewMediaStream("one"), NewMediaStream("two")))
		w.exchange(a, b)
		expect("have-remote-offer", "addtrack one", "track one+two", "stable", "unmute") // "one" is the stream that there was

		// "or if the previous step increased the length of addList": another stream is the event track again
		w.check(x.Sender().SetStreams(NewMediaStream("three")))
		w.exchange(a, b)
		expect("have-remote-offer", "removetrack one", "removetrack two", "track three", "stable")

		w.check(x.Stop())
		if x.Direction() != RTPTransceiverDirectionStopped || x.CurrentDirection() == RTPTransceiverDirectionStopped {
			t.Errorf("being stopped: %s, %s", x.Direction(), x.CurrentDirection())
		}
		w.wantError(InvalidStateError, x.SetDirection(RTPTransceiverDirectionInactive))
		w.wantError(InvalidStateError, x.Sender().ReplaceTrack(nil))
		w.wantError(InvalidStateError, x.Sender().SetParameters(x.Sender().GetParameters()))
		w.check(x.Stop())
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		// "If the media description is rejected, ... stop the RTCRtpTransceiver": of an offer, too
		expect("have-remote-offer", "mute", "removetrack three", "ended")
		if y.Direction() != RTPTransceiverDirectionStopped || y.MID() != "0" || len(b.GetTransceivers()) != 1 || len(a.GetTransceivers()) != 1 {
			t.Errorf("before the answer: %s, mid %q", y.Direction(), y.MID())
		}
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		expect("stable")
		if x.CurrentDirection() != RTPTransceiverDirectionStopped || y.CurrentDirection() != RTPTransceiverDirectionStopped || x.MID() != "" ||
			len(a.GetTransceivers()) != 0 || len(b.GetTransceivers()) != 0 || y.Receiver().Track().ReadyState() != TrackStateEnded {
			t.Errorf("stopped: %s, %s", x.CurrentDirection(), y.CurrentDirection())
		}
		w.check(a.Close())
		w.wantError(InvalidStateError, x.Stop())
	})
}

func names(streams []*MediaStream) (ids []string) {
	for _, s := range streams {
		ids = append(ids, s.ID())
	}
	return ids
}

// Everything that needs an offer asks for one, and what does not, does not.
func TestMediaNegotiationNeeded(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		needed := make(chan struct{}, 10)
		a.OnNegotiationNeeded(func() { needed <- struct{}{} })
		var s *RTPSender
		x := w.add(a, "video", nil)
		await(w, needed, "negotiationneeded of addTransceiver")
		w.exchange(a, b)
		for _, c := range []struct {
			what   string
			do     func() error
			needed bool
		}{
			{"addTrack", func() (err error) { s, err = a.AddTrack(w.sampleTrack(Opus)); return err }, true},
			{"replaceTrack", func() error { return s.ReplaceTrack(w.sampleTrack(Opus)) }, false},
			{"setParameters", func() error { return s.SetParameters(s.GetParameters()) }, false},
			{"setStreams", func() error { return s.SetStreams(NewMediaStream("")) }, true},
			{"removeTrack", func() error { return a.RemoveTrack(s) }, true},
			{"the same direction", func() error { return x.SetDirection(RTPTransceiverDirectionSendRecv) }, false},
			{"a direction that was negotiated", func() error { return x.SetDirection(RTPTransceiverDirectionSendOnly) }, false},
			{"direction", func() error { return x.SetDirection(RTPTransceiverDirectionInactive) }, true},
			{"setCodecPreferences", func() error { return x.SetCodecPreferences([]RTPCodec{VP8}) }, false},
			{"stop", func() error { return x.Stop() }, true},
		} {
			w.check(c.do())
			if c.needed {
				await(w, needed, "negotiationneeded of "+c.what)
				w.exchange(a, b)
			}
			time.Sleep(time.Second)
			select {
			case <-needed:
				t.Errorf("%s, and its negotiation: an offer is needed", c.what)
			default:
			}
		}
	})
}

// setCodecPreferences (webrtc-pc section 5.4).
func TestSetCodecPreferences(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "video", nil)
		all := RTPReceiverCapabilities("video").Codecs
		find := func(name string) RTPCodec {
			return all[slices.IndexFunc(all, func(c RTPCodec) bool { return strings.EqualFold(c.MimeType, "video/"+name) })]
		}
		rtx := find("rtx")
		w.check(x.SetCodecPreferences(all))
		w.wantError(InvalidModificationError, x.SetCodecPreferences([]RTPCodec{Opus}))
		w.wantError(InvalidModificationError, x.SetCodecPreferences([]RTPCodec{{MimeType: "video/VP8", ClockRate: 8000}}))
		w.wantError(InvalidModificationError, x.SetCodecPreferences([]RTPCodec{{MimeType: "video/VP8", ClockRate: 90000, SDPFmtpLine: "x=1"}}))
		w.wantError(InvalidModificationError, x.SetCodecPreferences([]RTPCodec{rtx}))
		w.wantError(InvalidModificationError, x.SetCodecPreferences([]RTPCodec{rtx, find("red"), find("ulpfec"), find("flexfec-03")}))
		formats := func() string {
			w.exchange(a, b)
			var list []string
			for _, c := range x.Sender().GetParameters().Codecs {
				list = append(list, strings.TrimPrefix(c.MimeType, "video/"))
			}
			return strings.Join(list, " ")
		}
		h264 := H264
		h264.MimeType, h264.SDPFmtpLine = "VIDEO/h264", "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1"
		w.check(x.SetCodecPreferences([]RTPCodec{h264, VP9, h264, rtx, VP8}))
		if got := formats(); got != "H264 rtx VP9 rtx VP8 rtx" {
			t.Errorf("%s", got)
		}
		w.check(x.SetCodecPreferences([]RTPCodec{VP8}))
		if got := formats(); got != "VP8" {
			t.Errorf("without retransmissions: %s", got)
		}
		w.check(x.SetCodecPreferences(nil))
		if got := formats(); !strings.HasPrefix(got, "VP8 rtx VP9") || strings.Contains(got, "red") {
			t.Errorf("the default again: %s", got)
		}
	})
}

// getCapabilities.
func TestCapabilities(t *testing.T) {
	for kind, want := range map[string][]string{
		"audio": {"opus", "red", "PCMU", "PCMA", "telephone-event"},
		"video": {"VP8", "VP9", "H264", "AV1", "H265", "rtx", "red", "ulpfec", "flexfec-03"},
	} {
		c := RTPSenderCapabilities(kind)
		for _, name := range want {
			if !slices.ContainsFunc(c.Codecs, func(c RTPCodec) bool { return c.MimeType == kind+"/"+name && c.ClockRate > 0 }) {
				t.Errorf("%s has no %s", kind, name)
			}
		}
		if !slices.ContainsFunc(c.HeaderExtensions, func(e RTPHeaderExtensionCapability) bool { return strings.HasSuffix(e.URI, "sdes:mid") }) {
			t.Errorf("%s has the extensions %v", kind, c.HeaderExtensions)
		}
		// Section 5.3, getCapabilities: each combination stands once, and what repairs is one entry, whatever it repairs.
		once := map[string]bool{}
		for _, c := range c.Codecs {
			key := fmt.Sprint(c.MimeType, "/", c.ClockRate, "/", c.Channels, ";", c.SDPFmtpLine)
			if c.MimeType == kind+"/rtx" || c.MimeType == kind+"/red" || c.MimeType == kind+"/flexfec-03" {
				key = c.MimeType
			}
			if once[key] {
				t.Errorf("%s stands twice", key)
			}
			once[key] = true
		}
		if len(RTPReceiverCapabilities(kind).Codecs) != len(c.Codecs) {
			t.Error("a receiver has others")
		}
	}
	if RTPSenderCapabilities("data") != nil || RTPReceiverCapabilities("") != nil {
		t.Error("capabilities of no kind")
	}
}

// Rollback of an offer: what it made goes, and what it said of the others too.
func TestMediaRollback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.add(a, "video", nil)
		_, err := a.AddTrack(w.sampleTrack(Opus))
		w.check(err)
		w.check(a.SetLocalDescription(nil))
		ended := make(chan struct{})
		b.OnTrack(func(track *RemoteTrack, _ *RTPReceiver) { track.OnEnded(func() { close(ended) }) })
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		kept := b.GetTransceivers()[0]
		gone := b.GetTransceivers()[1]
		if s, err := b.AddTrack(w.sampleTrack(VP8)); err != nil || s != kept.Sender() {
			t.Fatalf("addTrack has not taken the offer's transceiver: %v", err)
		}
		w.check(b.SetRemoteDescription(SessionDescription{Type: SDPTypeRollback}))
		if list := b.GetTransceivers(); len(list) != 1 || list[0] != kept || kept.MID() != "" || kept.Direction() != RTPTransceiverDirectionSendRecv {
			t.Errorf("%d transceivers are left", len(list))
		}
		if gone.Direction() != RTPTransceiverDirectionStopped || gone.Receiver().Track().ReadyState() != TrackStateEnded {
			t.Error("one that the rollback took away is not stopped")
		}
		await(w, ended, "the end of the track")
		w.check(a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
		for _, x := range a.GetTransceivers() {
			if x.MID() != "" || x.Sender().Transport() != nil {
				t.Errorf("after the rollback %q", x.MID())
			}
		}
		// A sender that was removed by it is nobody's: nothing happens.
		w.check(b.RemoveTrack(gone.Sender()))
	})
}

// After close every transceiver is stopped and every remote track ended, without an event.
func TestClosedMedia(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.pair(Configuration{})
		x := w.add(a, "audio", nil)
		x.Receiver().Track().OnEnded(func() { t.Error("ended was called") })
		s, track := x.Sender(), w.sampleTrack(Opus)
		w.check(s.ReplaceTrack(track))
		w.check(a.Close())
		if x.Direction() != RTPTransceiverDirectionStopped || x.CurrentDirection() != RTPTransceiverDirectionStopped || x.Receiver().Track().ReadyState() != TrackStateEnded {
			t.Errorf("%s, %s", x.Direction(), x.CurrentDirection())
		}
		w.wantError(InvalidStateError, x.SetDirection(RTPTransceiverDirectionInactive))
		w.wantError(InvalidStateError, x.SetCodecPreferences(nil))
		w.wantError(InvalidStateError, s.ReplaceTrack(nil))
		w.wantError(InvalidStateError, s.SetStreams())
		w.wantError(InvalidStateError, s.SetParameters(s.GetParameters()))
		w.wantError(InvalidStateError, s.DTMF().InsertDTMF("1", 0, 0))
		w.check(track.WriteSample(Sample{Data: opus(1)}))
		if _, err := x.Receiver().Track().ReadSample(w.ctx()); err == nil {
			t.Error("a sample of a closed connection")
		}
	})
}

// A remote track that is stopped here ends here, without an event, and nothing of it is read any more.
func TestStopRemoteTrack(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		_, _, x, remote := w.sends(track, nil)
		remote.OnEnded(func() { t.Error("ended was called") })
		w.playAudio(track)
		if _, err := remote.ReadSample(w.ctx()); err != nil {
			t.Fatal(err)
		}
		remote.Stop()
		for {
			if _, err := remote.ReadSample(w.ctx()); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
		}
		if remote.ReadyState() != TrackStateEnded || x.CurrentDirection() != RTPTransceiverDirectionSendOnly {
			t.Errorf("%s", remote.ReadyState())
		}
	})
}

// Tracks of a stream: ours, and the peer's as they come and go.
func TestMediaStream(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.sampleTrack(Opus), w.sampleTrack(VP8)
		s := NewMediaStream("", one)
		s.AddTrack(one)
		s.AddTrack(two.Encoding("q"))
		s.AddTrack(two)
		if len(s.ID()) != 36 || len(s.LocalTracks()) != 2 {
			t.Errorf("%q has %d tracks", s.ID(), len(s.LocalTracks()))
		}
		s.RemoveTrack(two)
		if len(s.LocalTracks()) != 1 {
			t.Error("a track was not removed")
		}
		a, b := w.pair(Configuration{})
		_, err := a.AddTrack(one, s)
		w.check(err)
		streams, added := make(chan *MediaStream, 1), make(chan *RemoteTrack, 1)
		b.OnTrack(func(track *RemoteTrack, r *RTPReceiver) {
			if track.Kind() == "audio" {
				stream := r.Streams()[0]
				stream.OnAddTrack(func(track *RemoteTrack) { added <- track })
				streams <- stream
			}
		})
		w.exchange(a, b)
		stream := await(w, streams, "a stream")
		_, err = a.AddTrack(two, s)
		w.check(err)
		w.exchange(a, b)
		track := await(w, added, "another track in the stream")
		if list := stream.GetTracks(); track.Kind() != "video" || len(list) != 2 || list[1] != track || track.Receiver().Streams()[0] != stream {
			t.Errorf("the stream has %d tracks", len(stream.GetTracks()))
		}
	})
}

// A request of the peer's for a key frame comes to the source, and to the sender.
func TestKeyFrameRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(VP8)
		_, _, x, remote := w.sends(track, nil)
		w.playVideo(track)
		source, sender := make(chan struct{}, 10), make(chan struct{}, 10)
		track.OnKeyFrameRequest(func() { source <- struct{}{} })
		x.Sender().OnKeyFrameRequest(func() { sender <- struct{}{} })
		if _, err := remote.ReadSample(w.ctx()); err != nil {
			t.Fatal(err)
		}
		remote.RequestKeyFrame()
		await(w, source, "the source being asked")
		await(w, sender, "the sender being asked")
	})
}

// "If direction is "sendonly" or "inactive", set transceiver.[[Receptive]] to false": a track that a pending offer has muted stays so whatever
// comes still, until the offer is rolled back, which restores the slot.
func TestRollbackRestoresReceptiveness(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		var events []string
		b.OnTrack(func(track *RemoteTrack, _ *RTPReceiver) {
			track.OnMute(func() { events = append(events, "mute") })
			track.OnUnmute(func() { events = append(events, "unmute") })
		})
		track := w.sampleTrack(Opus)
		_, err := a.AddTrack(track)
		w.check(err)
		w.playAudio(track)
		w.negotiate(a, b)
		sender, receiver := a.GetTransceivers()[0], b.GetTransceivers()[0]
		seen := func(muted bool, want ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if !slices.Equal(events, want) || receiver.Receiver().Track().Muted() != muted || receiver.CurrentDirection() != RTPTransceiverDirectionRecvOnly {
				t.Errorf("the events were %q, not %q; the track is muted: %t, %s", events, want, receiver.Receiver().Track().Muted(), receiver.CurrentDirection())
			}
			events = nil
		}
		seen(false, "unmute")
		w.check(sender.SetDirection(RTPTransceiverDirectionInactive))
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		seen(true, "mute")
		w.check(b.SetRemoteDescription(SessionDescription{Type: SDPTypeRollback}))
		seen(false, "unmute")
		w.check(a.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
		// Our own offer, rolled back, takes nothing away.
		w.check(receiver.SetDirection(RTPTransceiverDirectionInactive))
		w.check(b.SetLocalDescription(nil))
		w.check(b.SetLocalDescription(&SessionDescription{Type: SDPTypeRollback}))
		seen(false)
	})
}

// What is no track is said, before it can do harm.
func TestNoTrack(t *testing.T) {
	inWorld(t, func(w *world) {
		a, _ := w.pair(Configuration{})
		voice, err := NewSampleTrack(PCMU, "voice")
		w.check(err)
		sender, err := a.AddTrack(voice, nil, NewMediaStream("s", nil, (*SampleTrack)(nil), voice))
		w.check(err)
		w.check(sender.SetStreams(nil))
		for name, track := range map[string]Track{
			"nil samples": (*SampleTrack)(nil), "nil packets": (*RTPTrack)(nil), "no samples": &SampleTrack{}, "no packets": &RTPTrack{},
		} {
			_, err := a.AddTrack(track)
			is(t, "AddTrack of "+name, err, TypeError)
			_, err = a.AddTransceiverTrack(track, nil)
			is(t, "AddTransceiverTrack of "+name, err, TypeError)
			is(t, "ReplaceTrack of "+name, sender.ReplaceTrack(track), TypeError)
		}
	})
}
