package webrtc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
)

// sends connects a and b, a sending a track, and returns what b receives.
func (w *world) sends(track Track, init *RTPTransceiverInit) (a, b *PeerConnection, x *RTPTransceiver, remote *RemoteTrack) {
	w.Helper()
	a, b = w.pair(Configuration{})
	x, err := a.AddTransceiverTrack(track, init)
	w.check(err)
	tracks := make(chan *RemoteTrack, 1)
	b.OnTrack(func(t *RemoteTrack, _ *RTPReceiver) {
		if n := len(t.Encodings()); init != nil && n != max(1, len(init.SendEncodings)) {
			w.Errorf("the event track has %d encodings", n)
		}
		tracks <- t
	})
	connected := make(chan struct{}, 2)
	for _, pc := range []*PeerConnection{a, b} {
		pc.OnConnectionStateChange(func(s PeerConnectionState) {
			if s == PeerConnectionStateConnected {
				connected <- struct{}{}
			}
		})
	}
	w.negotiate(a, b)
	await(w, connected, "the connection")
	await(w, connected, "the connection at the peer")
	return a, b, x, await(w, tracks, "the track")
}

// getParameters and setParameters (webrtc-pc section 5.2).
func TestSetParameters(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "a"}, {RID: "b"}}})
		s := x.Sender()
		w.wantError(InvalidStateError, s.SetParameters(RTPSendParameters{}))
		p := s.GetParameters()
		if p.TransactionID == "" || len(p.Codecs) != 0 || p.RTCP.CNAME == "" || len(p.Encodings) != 2 {
			t.Errorf("before negotiation: %+v", p)
		}
		w.exchange(a, b)
		w.wantError(InvalidStateError, s.SetParameters(p)) // a description came between
		for _, c := range []struct {
			what   string
			change func(p *RTPSendParameters)
			want   ErrorName
		}{
			{"nothing", func(p *RTPSendParameters) {}, ""},
			{"the transaction", func(p *RTPSendParameters) { p.TransactionID = "another" }, InvalidModificationError},
			{"one encoding less", func(p *RTPSendParameters) { p.Encodings = p.Encodings[:1] }, InvalidModificationError},
			{"empty encodings", func(p *RTPSendParameters) { p.Encodings = p.Encodings[:0] }, InvalidModificationError},
			{"no encodings", func(p *RTPSendParameters) { p.Encodings = nil }, TypeError}, // "required"
			{"no transaction", func(p *RTPSendParameters) { p.TransactionID = "" }, TypeError},
			{"another encoding", func(p *RTPSendParameters) { p.Encodings = append(p.Encodings, RTPEncodingParameters{RID: "c"}) }, InvalidModificationError},
			{"the order", func(p *RTPSendParameters) { slices.Reverse(p.Encodings) }, InvalidModificationError},
			{"a rid", func(p *RTPSendParameters) { p.Encodings[0].RID = "c" }, InvalidModificationError},
			{"a payload type", func(p *RTPSendParameters) { p.Codecs[0].PayloadType++ }, InvalidModificationError},
			{"a codec's name", func(p *RTPSendParameters) { p.Codecs[0].MimeType += "-modified" }, InvalidModificationError},
			{"a clock rate", func(p *RTPSendParameters) { p.Codecs[0].ClockRate++ }, InvalidModificationError},
			{"channels", func(p *RTPSendParameters) { p.Codecs[0].Channels++ }, InvalidModificationError},
			{"a format", func(p *RTPSendParameters) { p.Codecs[0].SDPFmtpLine += ";foo=1" }, InvalidModificationError},
			{"one codec less", func(p *RTPSendParameters) { p.Codecs = p.Codecs[1:] }, InvalidModificationError},
			{"one codec more", func(p *RTPSendParameters) { p.Codecs = append(p.Codecs, p.Codecs[0]) }, InvalidModificationError},
			{"the order of codecs", func(p *RTPSendParameters) { slices.Reverse(p.Codecs) }, InvalidModificationError},
			{"no codecs", func(p *RTPSendParameters) { p.Codecs = nil }, InvalidModificationError},
			{"an extension", func(p *RTPSendParameters) { p.HeaderExtensions = nil }, InvalidModificationError},
			{"rtcp", func(p *RTPSendParameters) { p.RTCP.CNAME = "me" }, InvalidModificationError},
			{"a resolution that grows", func(p *RTPSendParameters) { p.Encodings[0].ScaleResolutionDownBy = new(0.9) }, RangeError},
			{"a negative frame rate", func(p *RTPSendParameters) { p.Encodings[0].MaxFramerate = new(-1.0) }, RangeError},
			{"a bitrate of nothing", func(p *RTPSendParameters) { p.Encodings[0].MaxBitrate = new(uint64) }, RangeError},
			{"a priority that there is not", func(p *RTPSendParameters) { p.Encodings[0].Priority = "urgent" }, TypeError},
			{"a preference that there is not", func(p *RTPSendParameters) { p.DegradationPreference = "worse" }, TypeError},
			{"a mode that there is not", func(p *RTPSendParameters) { p.Encodings[0].ScalabilityMode = "L4T4" }, OperationError},
			{"a codec that was not negotiated", func(p *RTPSendParameters) { p.Encodings[0].Codec = &RTPCodec{MimeType: "video/H266", ClockRate: 90000} }, InvalidModificationError},
			{"what may be", func(p *RTPSendParameters) {
				e := &p.Encodings[0]
				e.Active, e.MaxBitrate, e.MaxFramerate, e.ScaleResolutionDownBy = new(false), new(uint64(1000)), new(5.0), new(2.5)
				e.ScalabilityMode, e.Priority, e.NetworkPriority, e.Codec = "L1T3", PriorityHigh, PriorityMedium, &VP8
				p.DegradationPreference = DegradationMaintainResolution
			}, ""},
		} {
			p := s.GetParameters()
			c.change(&p)
			if got := errorName(s.SetParameters(p)); got != c.want {
				t.Errorf("%s: %q, want %q", c.what, got, c.want)
			}
		}
		p = s.GetParameters()
		e := p.Encodings[0]
		if *e.Active || *e.MaxBitrate != 1000 || *e.MaxFramerate != 5 || *e.ScaleResolutionDownBy != 2.5 || e.ScalabilityMode != "L1T3" || e.Priority != PriorityHigh || e.Codec == nil ||
			p.DegradationPreference != DegradationMaintainResolution {
			t.Errorf("what was set is %+v", e)
		}
		w.check(s.SetParameters(p))
		w.wantError(InvalidStateError, s.SetParameters(p)) // once
		// "If sender.[[LastReturnedParameters]] is not null, return it": one transaction, until the event loop has its turn: here until
		// an offer or answer is made
		p = s.GetParameters()
		if again := s.GetParameters(); again.TransactionID != p.TransactionID {
			t.Error("another transaction")
		}
		_, err := a.CreateOffer(nil)
		w.check(err)
		w.wantError(InvalidStateError, s.SetParameters(p))
		if again := s.GetParameters(); again.TransactionID == p.TransactionID {
			t.Error("the same transaction")
		}
		w.wantError(InvalidModificationError, s.SetParameters(p))
		// What was returned is the caller's.
		p = s.GetParameters()
		p.Encodings[0].RID = "z"
		if s.GetParameters().Encodings[0].RID != "a" {
			t.Error("what was returned is shared")
		}
	})
}

// The parameters of both sides name what was negotiated.
func TestParameters(t *testing.T) {
	inWorld(t, func(w *world) {
		_, b, x, remote := w.sends(w.sampleTrack(VP8), nil)
		p, q := x.Sender().GetParameters(), remote.Receiver().GetParameters()
		if p.Codecs[0].MimeType != "video/VP8" || p.Codecs[0].PayloadType != 96 || p.Codecs[1].MimeType != "video/rtx" || p.Codecs[1].SDPFmtpLine != "apt=96" || !p.RTCP.ReducedSize {
			t.Errorf("sent: %+v", p.Codecs[:2])
		}
		if !slices.Equal(p.Codecs, q.Codecs) || !slices.Equal(p.HeaderExtensions, q.HeaderExtensions) || p.RTCP.CNAME == "" || q.RTCP.CNAME != "" || !q.RTCP.ReducedSize {
			t.Errorf("received: %+v %+v", q.Codecs, q.RTCP)
		}
		if n := len(b.GetSenders()[0].GetParameters().Codecs); n == 0 {
			t.Error("an answerer knows what it could send with")
		}
		if len(x.Receiver().GetParameters().Codecs) != 0 {
			t.Error("who does not receive has codecs to receive")
		}
	})
}

// An encoding that is not active is silent, and comes back.
func TestInactiveEncoding(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		_, _, x, remote := w.sends(track, nil)
		w.playAudio(track)
		set := func(active bool) {
			p := x.Sender().GetParameters()
			p.Encodings[0].Active = &active
			w.check(x.Sender().SetParameters(p))
		}
		read := func(d time.Duration) (n int) {
			var p rtp.Packet
			ctx, cancel := context.WithTimeout(w.ctx(), d)
			defer cancel()
			for remote.ReadRTP(ctx, &p) == nil {
				n++
			}
			return n
		}
		if n := read(time.Second); n < 40 {
			t.Errorf("%d packets in a second", n)
		}
		set(false)
		read(100 * time.Millisecond)
		if n := read(time.Second); n != 0 {
			t.Errorf("%d packets of an encoding that is not active", n)
		}
		set(true)
		if n := read(time.Second); n < 40 {
			t.Errorf("%d packets in a second", n)
		}
		// A disabled track sends nothing either.
		track.SetEnabled(false)
		read(100 * time.Millisecond)
		if n := read(time.Second); n != 0 || track.Enabled() {
			t.Errorf("%d packets of a disabled track", n)
		}
		track.Stop()
		w.wantError(InvalidStateError, track.WriteSample(Sample{Data: opus(1)}))
	})
}

// replaceTrack: without a negotiation, and the timestamps go on.
func TestReplaceTrack(t *testing.T) {
	inWorld(t, func(w *world) {
		one, two := w.sampleTrack(Opus), w.sampleTrack(Opus)
		_, _, x, remote := w.sends(one, nil)
		w.wantError(TypeError, x.Sender().ReplaceTrack(w.sampleTrack(VP8)))
		w.play(one, 20*time.Millisecond, func(i int) Sample { return Sample{Data: []byte{31 << 3, 1}} })
		w.play(two, 20*time.Millisecond, func(i int) Sample { return Sample{Data: []byte{31 << 3, 2}} })
		var p rtp.Packet
		next := func() byte {
			w.check(remote.ReadRTP(w.ctx(), &p))
			return p.Payload[1]
		}
		for range 20 {
			if next() != 1 {
				t.Fatal("a packet of a track that is not sent")
			}
		}
		w.check(x.Sender().ReplaceTrack(two))
		if x.Sender().Track() != Track(two) {
			t.Error("the track is not the other one")
		}
		last, ssrc := p.Timestamp, p.SSRC
		for next() == 1 {
			last = p.Timestamp
		}
		// The two were not written at the same moment: up to a frame more or less than the next one's time.
		if step := p.Timestamp - last; step == 0 || step > 3*960 || p.SSRC != ssrc {
			t.Errorf("the timestamp goes on by %d", step)
		}
		w.check(x.Sender().ReplaceTrack(nil))
		ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
		defer cancel()
		n := 0
		for remote.ReadRTP(ctx, &p) == nil {
			n++
		}
		if n > 3 || x.Sender().Track() != nil || x.Direction() != RTPTransceiverDirectionSendRecv {
			t.Errorf("%d packets without a track", n)
		}
	})
}

// Three encodings by RID: one track for the W3C, and a RemoteTrack for each here (RFC 8853).
func TestSimulcast(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(VP8)
		_, _, x, remote := w.sends(track, &RTPTransceiverInit{Direction: RTPTransceiverDirectionSendOnly, SendEncodings: []RTPEncodingParameters{
			{RID: "q"}, {RID: "h"}, {RID: "f"}}})
		sizes := map[string]int{"q": 500, "h": 1500, "f": 4000}
		asked := make(chan string, 10)
		for rid, size := range sizes {
			part := track.Encoding(rid)
			if part != track.Encoding(rid) || part.ID() != track.ID() || part.RID() != rid {
				t.Error("a part of the track is another one at each call")
			}
			part.OnKeyFrameRequest(func() { asked <- rid })
			w.play(part, 33*time.Millisecond, func(i int) Sample {
				return Sample{Data: vp8(size, i%30 == 0, byte(i)), Duration: 33 * time.Millisecond}
			})
		}
		layers := remote.Encodings()
		if len(layers) != 3 || layers[0] != remote || layers[0].RID() != "q" || layers[1].RID() != "h" || layers[2].RID() != "f" || layers[2].ID() != remote.ID() {
			t.Fatalf("%d encodings", len(layers))
		}
		ssrcs := map[rtp.SSRC]bool{}
		for _, layer := range layers {
			for range 10 {
				s, err := layer.ReadSample(w.ctx())
				w.check(err)
				if len(s.Data) != sizes[layer.RID()] {
					t.Errorf("a picture of %d bytes of %q", len(s.Data), layer.RID())
				}
			}
			ssrcs[rtp.SSRC(layer.ssrc.Load())] = true
		}
		if len(ssrcs) != 3 {
			t.Errorf("%d SSRCs", len(ssrcs))
		}
		layers[1].RequestKeyFrame()
		if rid := await(w, asked, "a request for a key frame"); rid != "h" {
			t.Errorf("a key frame of %q was asked for", rid)
		}
		// One encoding less, without a negotiation.
		p := x.Sender().GetParameters()
		if !slices.Equal(rids(p.Encodings), []string{"q", "h", "f"}) {
			t.Errorf("encodings %v", rids(p.Encodings))
		}
		p.Encodings[2].Active = new(false)
		w.check(x.Sender().SetParameters(p))
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(w.ctx(), 2*time.Second)
		defer cancel()
		for {
			if _, err := layers[2].ReadSample(ctx); errors.Is(err, context.DeadlineExceeded) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := layers[0].ReadSample(w.ctx()); err != nil {
			t.Error("the others have ended too")
		}
	})
}

// Simulcast that pauses, by either side's direction, goes on as it was: the same encodings, the same tracks.
func TestSimulcastPauses(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(VP8)
		a, b, x, remote := w.sends(track, &RTPTransceiverInit{Direction: RTPTransceiverDirectionSendOnly, SendEncodings: []RTPEncodingParameters{
			{RID: "q"}, {RID: "h"}, {RID: "f"}}})
		b.OnTrack(nil) // it comes again
		for _, rid := range []string{"q", "h", "f"} {
			w.playVideo(track.Encoding(rid))
		}
		layers := remote.Encodings()
		flows := func() {
			t.Helper()
			if now := remote.Encodings(); !slices.Equal(now, layers) {
				t.Fatalf("the encodings are others, %d", len(now))
			}
			for _, layer := range layers {
				for range 5 {
					_, err := layer.ReadSample(w.ctx())
					w.check(err)
				}
			}
		}
		flows()
		for pc, y := range map[*PeerConnection]*RTPTransceiver{a: x, b: remote.Receiver().Transceiver()} {
			was := y.Direction()
			other := map[*PeerConnection]*PeerConnection{a: b, b: a}[pc]
			w.check(y.SetDirection(RTPTransceiverDirectionInactive))
			w.exchange(pc, other)
			time.Sleep(time.Second)
			if !layers[1].Muted() && y == x {
				t.Error("not muted")
			}
			w.check(y.SetDirection(was))
			w.exchange(pc, other)
			flows()
		}
	})
}

// What a peer's answer leaves of the encodings is what getParameters returns, and an offer to receive simulcast makes them.
func TestSimulcastEnvelope(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "video", &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "a"}, {RID: "b", MaxBitrate: new(uint64(7))}, {RID: "c"}}})
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.check(b.SetLocalDescription(nil))
		answer := *b.LocalDescription()
		answer.SDP = strings.ReplaceAll(strings.ReplaceAll(answer.SDP, "a=rid:a recv\r\n", ""), "recv a;b;c", "recv b;c")
		w.check(a.SetRemoteDescription(answer))
		if e := x.Sender().GetParameters().Encodings; !slices.Equal(rids(e), []string{"b", "c"}) || *e[0].MaxBitrate != 7 {
			t.Errorf("after the answer: %v", rids(e))
		}

		c, d := w.pair(Configuration{})
		s, err := d.AddTrack(w.sampleTrack(VP8))
		w.check(err)
		p := s.GetParameters()
		p.Encodings[0].MaxBitrate = new(uint64(5))
		w.check(s.SetParameters(p))
		w.add(c, "video", &RTPTransceiverInit{Direction: RTPTransceiverDirectionRecvOnly})
		w.check(c.SetLocalDescription(nil))
		offer := *c.LocalDescription()
		offer.SDP += "a=rid:one recv\r\na=rid:two recv\r\na=simulcast:recv one;two\r\n"
		w.check(d.SetRemoteDescription(offer))
		e := s.GetParameters().Encodings
		if !slices.Equal(rids(e), []string{"one", "two"}) || *e[0].ScaleResolutionDownBy != 2 || *e[1].ScaleResolutionDownBy != 1 {
			t.Errorf("proposed: %v", rids(e))
		}
		w.check(d.SetRemoteDescription(SessionDescription{Type: SDPTypeRollback}))
		if e := s.GetParameters().Encodings; len(e) != 1 || e[0].RID != "" || e[0].MaxBitrate == nil || *e[0].MaxBitrate != 5 {
			t.Errorf("after the rollback: %+v", e)
		}
	})
}

// Packets of one connection are sent on in another, with their header extensions: what a server that forwards does.
func TestForward(t *testing.T) {
	inWorld(t, func(w *world) {
		source := w.sampleTrack(Opus)
		_, _, _, middle := w.sends(source, nil)
		forward, err := NewRTPTrack(Opus, "forwarded")
		w.check(err)
		forward.SetHeaderExtensions(middle.Receiver().GetParameters().HeaderExtensions)
		_, _, _, remote := w.sends(forward, nil)
		w.playAudio(source)
		go func() {
			var p rtp.Packet
			for middle.ReadRTP(w.ctx(), &p) == nil {
				if forward.WriteRTP(&p) != nil {
					return
				}
			}
		}()
		var p rtp.Packet
		for range 20 {
			w.check(remote.ReadRTP(w.ctx(), &p))
		}
		sources := remote.Receiver().GetSynchronizationSources()
		if len(sources) != 1 || sources[0].Source != uint32(p.SSRC) || sources[0].AudioLevel == nil || *sources[0].AudioLevel != linear(20) || !*sources[0].VoiceActivityFlag {
			t.Errorf("sources: %+v", sources)
		}
		if len(remote.Receiver().GetContributingSources()) != 0 {
			t.Error("there are contributing sources")
		}
		forward.Stop()
		w.wantError(InvalidStateError, forward.WriteRTP(&p))
	})
}

// What was lost on the way to the one that forwards is missing on the way from it as well, and what comes late gets its place; who does not
// count sends packets that follow each other.
func TestForwardKeepsGaps(t *testing.T) {
	inWorld(t, func(w *world) {
		track, err := NewRTPTrack(PCMU, "forwarded")
		w.check(err)
		_, _, _, remote := w.sends(track, nil)
		p := rtp.Packet{Payload: make([]byte, 160)}
		for _, c := range []struct {
			ssrc rtp.SSRC
			n    uint16
		}{{7, 65534}, {7, 65535}, {7, 2}, {7, 0}, {7, 3}, {8, 500}, {8, 501}, {0, 0}, {0, 0}, {9, 5}, {9, 5}, {9, 5}} {
			p.SSRC, p.SequenceNumber = c.ssrc, c.n
			p.Timestamp += 160
			w.check(track.WriteRTP(&p))
		}
		var got rtp.Packet
		w.check(remote.ReadRTP(w.ctx(), &got))
		first := got.SequenceNumber
		var numbers []int
		for range 11 {
			w.check(remote.ReadRTP(w.ctx(), &got))
			numbers = append(numbers, int(got.SequenceNumber-first))
		}
		if !slices.Equal(slices.Sorted(slices.Values(numbers)), []int{1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
			t.Errorf("numbers go on by %v", numbers)
		}
	})
}

// Levels are linear: 0 dBov is 1, and 127 silence (webrtc-pc, RTCRtpContributingSource).
func TestAudioLevel(t *testing.T) {
	for level, want := range map[uint8]float64{0: 1, 20: 0.1, 127: 0} {
		if got := linear(level); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("-%d dBov is %v", level, got)
		}
	}
	r := &RTPReceiver{}
	p := rtp.Packet{SSRC: 1, Timestamp: 5}
	p.CSRC.Add(7)
	p.CSRC.Add(8)
	p.Extensions.Reset(rtp.OneByte)
	p.Extensions.Add(3, []byte{10, 127})
	r.hear(1, &p, 0, 3, rtp.AbsCaptureTime{})
	if n := len(r.sources); n != 3 || r.sources[1].id != 7 || r.sources[1].level.Level != 10 || r.sources[2].level.Level != 127 || r.sources[0].leveled {
		t.Errorf("%+v", r.sources)
	}
	for i := range 2 * maxHeard { // bounded
		p.SSRC = rtp.SSRC(i)
		r.hear(2, &p, 0, 0, rtp.AbsCaptureTime{})
	}
	if len(r.sources) != maxHeard {
		t.Errorf("%d sources are remembered", len(r.sources))
	}
}

// jitterBufferTarget (webrtc-extensions): what may be set, and that it delays.
func TestJitterBufferTarget(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		_, _, _, remote := w.sends(track, nil)
		r := remote.Receiver()
		if r.JitterBufferTarget() != nil {
			t.Error("there is a target")
		}
		w.wantError(RangeError, r.SetJitterBufferTarget(new(-time.Millisecond)))
		w.wantError(RangeError, r.SetJitterBufferTarget(new(4001*time.Millisecond)))
		w.check(r.SetJitterBufferTarget(new(2 * time.Second)))
		if d := r.JitterBufferTarget(); d == nil || *d != 2*time.Second {
			t.Errorf("the target is %v", d)
		}
		began := time.Now()
		w.play(track, 20*time.Millisecond, func(i int) Sample { return Sample{Data: []byte{31 << 3, byte(i), byte(i >> 8)}} })
		s, err := remote.ReadSample(w.ctx())
		w.check(err)
		written := time.Duration(int(s.Data[1])+int(s.Data[2])<<8+1) * 20 * time.Millisecond
		if delay := time.Since(began) - written; delay < 1900*time.Millisecond || delay > 2300*time.Millisecond {
			t.Errorf("the first sample comes %v after it was written", delay)
		}
		w.check(r.SetJitterBufferTarget(nil))
		if r.JitterBufferTarget() != nil {
			t.Error("the target is still there")
		}
	})
}

// RTCDTMFSender (webrtc-pc section 7): what is refused, the buffer, the events and when they come, and what goes out.
func TestDTMF(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		a, b, x, remote := w.sends(track, nil)
		d := x.Sender().DTMF()
		if fresh := w.add(a, "audio", nil).Sender().DTMF(); fresh.CanInsertDTMF() || errorName(fresh.InsertDTMF("1", 0, 0)) != InvalidStateError {
			t.Error("tones can be sent before anything was negotiated")
		}
		if !d.CanInsertDTMF() || d.ToneBuffer() != "" {
			t.Fatal("tones cannot be sent")
		}
		if b.GetSenders()[0].DTMF().CanInsertDTMF() {
			t.Error("who only receives can send tones")
		}
		w.wantError(InvalidCharacterError, d.InsertDTMF("12x", 0, 0))
		type change struct {
			tone string
			at   time.Duration
		}
		changes := make(chan change, 100)
		began := time.Now().Add(toneInterval)
		d.OnToneChange(func(tone string) { changes <- change{tone, time.Since(began).Round(10 * time.Millisecond)} })
		expect := func(want ...change) {
			t.Helper()
			for _, c := range want {
				if got := await(w, changes, "the tone "+c.tone); got != c {
					t.Errorf("the tone %q at %v, want %q at %v", got.tone, got.at, c.tone, c.at)
				}
			}
		}
		const ms = time.Millisecond
		w.check(d.InsertDTMF("a,9", 0, 0))
		if d.ToneBuffer() != "A,9" {
			t.Errorf("the buffer is %q", d.ToneBuffer())
		}
		expect(change{"A", 0}, change{",", 170 * ms}, change{"9", 2170 * ms}, change{"", 2340 * ms})
		began = time.Now().Add(toneInterval)
		w.check(d.InsertDTMF("12", time.Millisecond, time.Millisecond)) // 40 and 30 ms
		expect(change{"1", 0}, change{"2", 70 * ms}, change{"", 140 * ms})
		began = time.Now().Add(toneInterval)
		w.check(d.InsertDTMF("12", 10*time.Second, 70*ms)) // 6 s
		expect(change{"1", 0})
		w.check(d.InsertDTMF("3", 200*ms, 70*ms)) // takes the place of what waits
		expect(change{"3", 6070 * ms}, change{"", 6340 * ms})
		began = time.Now().Add(toneInterval)
		w.check(d.InsertDTMF("456", 0, 0))
		expect(change{"4", 0})
		w.check(d.InsertDTMF("", 0, 0)) // ends it
		expect(change{"", 170 * ms})

		// RFC 4733 section 2.5: the packets of a tone have one timestamp, growing durations, a marker on the first, and three ends.
		var events []string
		var p rtp.Packet
		for events == nil || !strings.HasPrefix(events[len(events)-1], "4") {
			w.check(remote.ReadRTP(w.ctx(), &p))
			if len(p.Payload) != 4 {
				t.Fatalf("%x", p.Payload)
			}
			event := fmt.Sprint(p.Payload[0])
			length := int(p.Payload[2])<<8 + int(p.Payload[3])
			if len(events) == 0 && (!p.Marker || event != "12" || length != 960) {
				t.Errorf("the first packet: marker %v, event %s, %d", p.Marker, event, length)
			}
			if p.Payload[1]&0x80 != 0 {
				event += fmt.Sprint(" end ", length)
			}
			events = append(events, event)
		}
		count := map[string]int{}
		for _, e := range events {
			count[e]++
		}
		if count["12 end 4800"] != 3 || count["9 end 4800"] != 3 || count["1 end 1920"] != 3 || count["3 end 9600"] != 3 || count["12"] != 4 {
			t.Errorf("%v", count)
		}
	})
}

// The "playout task" (webrtc-pc section 7.2): what a handler does of it, and what ends it. Each tone is told with what is left then.
func TestToneChanges(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(w *world, a, b *PeerConnection, x *RTPTransceiver) // at the second tone
		want string
	}{
		{"nothing", func(*world, *PeerConnection, *PeerConnection, *RTPTransceiver) {}, "A:BC B:C C: :"},
		{"stop", func(w *world, _, _ *PeerConnection, x *RTPTransceiver) { w.check(x.Stop()) }, "A:BC B:C"},
		{"close", func(w *world, a, _ *PeerConnection, _ *RTPTransceiver) { w.check(a.Close()) }, "A:BC B:C"},
		{"others", func(w *world, _, _ *PeerConnection, x *RTPTransceiver) {
			w.check(x.Sender().DTMF().InsertDTMF("12", 0, 0))
			w.check(x.Sender().DTMF().InsertDTMF("34", 0, 0))
		}, "A:BC B:C 3:4 4: :"},
		{"none", func(w *world, _, _ *PeerConnection, x *RTPTransceiver) {
			w.check(x.Sender().DTMF().InsertDTMF("", 0, 0))
		}, "A:BC B:C :"},
		{"recvonly", func(w *world, a, b *PeerConnection, x *RTPTransceiver) {
			w.check(x.SetDirection(RTPTransceiverDirectionRecvOnly))
			w.exchange(a, b)
		}, "A:BC B:C"},
	} {
		inWorld(t, func(w *world) {
			a, b, x, _ := w.sends(w.sampleTrack(Opus), nil)
			d := x.Sender().DTMF()
			var got []string
			d.OnToneChange(func(tone string) {
				got = append(got, tone+":"+d.ToneBuffer())
				if tone == "B" {
					c.do(w, a, b, x)
				}
			})
			w.check(d.InsertDTMF("abc", 0, 0))
			time.Sleep(10 * time.Second)
			done := make(chan struct{})
			b.events.do(func() { close(done) })
			<-done
			a.Close()
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s: %q, want %q", c.what, s, c.want)
			}
		})
	}
}

// What is lost is sent again, and what comes by ReadSample is whole and in order: 5 % each way.
func TestMediaOverLoss(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(VP8)
		_, _, _, remote := w.sends(track, nil)
		w.hostA.Link().Set(simnet.Path{Delay: 10 * time.Millisecond, Loss: 0.05})
		var wanted atomic.Bool // as an encoder does, the source makes a key frame when it is asked for one
		track.OnKeyFrameRequest(func() { wanted.Store(true) })
		w.play(track, 33*time.Millisecond, func(i int) Sample {
			return Sample{Data: vp8(3000, wanted.Swap(false) || i%30 == 0, byte(i)), Duration: 33 * time.Millisecond}
		})
		last, missing := -1, 0
		longest, at := time.Duration(0), time.Time{}
		for range 600 {
			s, err := remote.ReadSample(w.ctx())
			w.check(err)
			number := int(s.Data[len(s.Data)-1])
			if len(s.Data) != 3000 {
				t.Fatalf("a picture of %d bytes", len(s.Data))
			}
			if last >= 0 {
				missing += (number - last + 255) % 256
				longest = max(longest, time.Since(at))
			}
			last, at = number, time.Now()
		}
		if missing > 6 || longest > 500*time.Millisecond {
			t.Errorf("%d of 600 pictures are missing, the longest gap is %v", missing, longest)
		}
	})
}

// The source learns what there is for it, and of a second connection apart.
func TestTargetBitrate(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(VP8)
		_, _, x, _ := w.sends(track, nil)
		w.playVideo(track)
		rates := make(chan int, 100)
		time.Sleep(time.Second) // what came before is kept
		x.Sender().OnTargetBitrate(func(bps int) { rates <- bps })
		if bps := await(w, rates, "a bitrate"); bps < 10_000 {
			t.Errorf("%d bit/s", bps)
		}
		own := make(chan int, 100)
		track.OnTargetBitrate(func(bps int) { own <- bps })
		if bps := await(w, own, "a bitrate of the track"); bps < 10_000 {
			t.Errorf("%d bit/s", bps)
		}
		// "maxBitrate: the maximum bitrate that can be used to send this encoding"
		p := x.Sender().GetParameters()
		p.Encodings[0].MaxBitrate = new(uint64(50_000))
		w.check(x.Sender().SetParameters(p))
		for bps := range rates {
			if bps <= 50_000 {
				break
			}
		}
	})
}

// What comes before there is a handler is kept, the newest of it; so is what comes before its turn.
func TestHandler(t *testing.T) {
	var d, other dispatcher
	d.init(nil)
	other.init(nil)
	got := make(chan int, 10)
	var h handler[int]
	h.offer(&d, 1)
	h.offer(&d, 2)
	h.set(func(n int) { got <- n })
	if n := <-got; n != 2 {
		t.Errorf("%d was kept", n)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	d.do(func() { close(held); <-hold })
	<-held
	h.offer(&d, 3)
	h.offer(&d, 4)
	h.offer(&other, 5)
	if n := <-got; n != 5 {
		t.Errorf("%d instead of the other connection's", n)
	}
	close(hold)
	if n := <-got; n != 4 {
		t.Errorf("%d instead of the newest", n)
	}
	h.set(nil)
	h.offer(&d, 6)
	if len(got) != 0 {
		t.Error("a handler that was removed was called")
	}
}

// What is written faster than it is taken is dropped and counted, in bounded memory: packets without a payload too.
func TestOutboxIsBounded(t *testing.T) {
	for _, size := range []int{1000, 0} {
		inWorld(t, func(w *world) {
			track, err := NewRTPTrack(Opus, "fast")
			w.check(err)
			a, _, x, _ := w.sends(track, nil)
			p := rtp.Packet{Payload: make([]byte, size)}
			n := uint64(maxMediaBox/(size+letterSize) + 500)
			w.check(a.loop.Do(func(mono.Time) { // which takes nothing meanwhile
				for range n {
					w.check(track.WriteRTP(&p))
				}
				b := &a.media.Load().out.next
				if kept := len(b.bytes) + len(b.letters)*letterSize; kept > maxMediaBox+letterSize {
					t.Errorf("%d bytes are kept", kept)
				}
			}))
			o := of(t, x.Sender().GetStats(), func(*OutboundRTPStreamStats) bool { return true })
			if o.PacketsDropped < 400 || o.PacketsSent+o.PacketsDropped > n {
				t.Errorf("%d packets were dropped, %d sent, of %d", o.PacketsDropped, o.PacketsSent, n)
			}
		})
	}
}

// Tones may be played before audio is sent: the timestamps of what follows go on from theirs.
func TestTonesBeforeAudio(t *testing.T) {
	track, err := NewSampleTrack(PCMU, "telephone")
	if err != nil {
		t.Fatal(err)
	}
	const first = 1 << 31
	var l timeline
	l.begin(mono.Time(time.Second), first)
	if got := l.running(mono.Time(1100*time.Millisecond), 8000); got != first+800 {
		t.Errorf("the second tone would begin %d after the first", got-first)
	}
	if got := l.next(mono.Time(1200*time.Millisecond), track.feed, 83); got != first+1600 {
		t.Errorf("audio begins %d after the first tone", got-first)
	}
}
