package webrtc

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/rtp"
)

// streams counts the dictionaries of RTP in a report, by their types.
func streams(r StatsReport) (n map[StatsType]int) {
	n = map[StatsType]int{}
	for _, s := range r {
		if t := s.Base().Type; strings.HasSuffix(string(t), "-rtp") {
			n[t]++
		}
	}
	return n
}

// "The RTCRtpStreamStats ... are created when" packets flow (webrtc-stats section 4.2): none by descriptions alone, none of a stream
// that comes before it has come; the dictionaries of what is sent are there once it is negotiated, one for each encoding.
func TestStreamStatsBegin(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		video := w.sampleTrack(VP8)
		x, err := a.AddTransceiverTrack(video, &RTPTransceiverInit{SendEncodings: []RTPEncodingParameters{{RID: "0"}, {RID: "1"}, {RID: "2"}}})
		w.check(err)
		audio := w.sampleTrack(Opus)
		_, err = a.AddTrack(audio)
		w.check(err)
		wantNone := func(what string, pc *PeerConnection) {
			t.Helper()
			if n := streams(pc.GetStats()); len(n) != 0 {
				t.Errorf("%s: %v", what, n)
			}
		}
		wantNone("before anything", a)
		w.offers(a, b)
		wantNone("a local description", a)
		wantNone("a remote description", b)
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.trickle(a, b)
		wantNone("nothing has come", b)
		for _, rid := range []string{"0", "1", "2"} {
			w.playVideo(video.Encoding(rid))
		}
		w.playAudio(audio)
		time.Sleep(5 * time.Second)
		if n := streams(b.GetStats()); n[StatsTypeInboundRTP] != 4 {
			t.Errorf("what comes: %v", n)
		}
		var rids []string
		r := x.Sender().GetStats()
		for _, s := range r {
			if o, ok := s.(*OutboundRTPStreamStats); ok {
				rids = append(rids, o.RID)
				if codec, ok := r[o.CodecID].(*CodecStats); !ok || codec.MimeType != "video/VP8" || !o.Active || o.EncodingIndex != int(o.RID[0]-'0') {
					t.Errorf("%+v", o)
				}
			}
		}
		if slices.Sort(rids); !slices.Equal(rids, []string{"0", "1", "2"}) {
			t.Errorf("of the sender: %q", rids)
		}
		w.check(w.setEncodings(x.Sender(), func(list []RTPEncodingParameters) { list[1].Active = new(false) }))
		for _, s := range x.Sender().GetStats() {
			if o, ok := s.(*OutboundRTPStreamStats); ok && o.Active != (o.RID != "1") {
				t.Errorf("the encoding %q: active is %v", o.RID, o.Active)
			}
		}
	})
}

// Members are those of webrtc-stats that are of the kind at hand; webrtc-pc section 8.6 says which there must be, when they are valid.
func TestMandatoryStats(t *testing.T) {
	mandatory := map[StatsType]map[string]string{
		StatsTypeInboundRTP: {
			"":      "ssrc kind transportId codecId packetsReceived packetsLost jitter trackIdentifier mid remoteId nackCount bytesReceived packetsDiscarded",
			"audio": "totalAudioEnergy totalSamplesDuration totalSamplesReceived audioLevel concealedSamples -framesDecoded -framesReceived -freezeCount -pliCount",
			"video": "framesDropped framesDecoded framesReceived keyFramesDecoded framesPerSecond frameWidth frameHeight -audioLevel -totalAudioEnergy -concealedSamples",
		},
		StatsTypeOutboundRTP: {
			"":      "ssrc kind transportId codecId packetsSent bytesSent remoteId mediaSourceId nackCount active",
			"audio": "-framesSent -framesEncoded -firCount",
			"video": "framesEncoded framesSent keyFramesEncoded hugeFramesSent framesPerSecond frameWidth frameHeight qualityLimitationReason qualityLimitationDurations totalEncodedBytesTarget",
		},
		StatsTypeRemoteInboundRTP:  {"": "ssrc kind transportId codecId packetsReceived packetsLost jitter localId roundTripTime fractionLost"},
		StatsTypeRemoteOutboundRTP: {"": "ssrc kind transportId codecId packetsSent bytesSent localId remoteTimestamp reportsSent"},
		StatsTypeMediaSource: {
			"":      "trackIdentifier kind",
			"audio": "totalAudioEnergy totalSamplesDuration audioLevel -frames",
			"video": "width height framesPerSecond frames -audioLevel -totalSamplesDuration",
		},
		StatsTypeCodec:           {"": "payloadType mimeType clockRate transportId"},
		StatsTypeTransport:       {"": "bytesSent bytesReceived selectedCandidatePairId localCertificateId remoteCertificateId dtlsState"},
		StatsTypeCandidatePair:   {"": "transportId localCandidateId remoteCandidateId state nominated bytesSent bytesReceived totalRoundTripTime"},
		StatsTypeLocalCandidate:  {"": "transportId address port protocol candidateType priority"},
		StatsTypeRemoteCandidate: {"": "transportId address port protocol candidateType priority"},
		StatsTypeCertificate:     {"": "fingerprint fingerprintAlgorithm base64Certificate"},
		StatsTypePeerConnection:  {"": "dataChannelsOpened dataChannelsClosed"},
		StatsTypeDataChannel:     {"": "label protocol dataChannelIdentifier state messagesSent bytesSent messagesReceived bytesReceived"},
	}
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		_, err := a.CreateDataChannel("dummy", nil)
		w.check(err)
		for _, pc := range []*PeerConnection{a, b} {
			for _, codec := range []RTPCodec{Opus, VP8} {
				track := w.sampleTrack(codec)
				_, err := pc.AddTrack(track)
				w.check(err)
				if codec == Opus {
					w.playAudio(track)
				} else {
					w.playVideo(track)
				}
			}
			pc.OnTrack(func(t *RemoteTrack, _ *RTPReceiver) {
				go func() {
					for {
						if _, err := t.ReadSample(w.ctx()); err != nil {
							return
						}
					}
				}()
			})
		}
		w.negotiate(a, b)
		time.Sleep(15 * time.Second) // for reports of both sides
		r := a.GetStats()
		text, err := json.Marshal(r)
		w.check(err)
		var report map[string]map[string]any
		w.check(json.Unmarshal(text, &report))
		seen := map[StatsType]int{}
		for id, s := range report {
			kind, _ := s["kind"].(string)
			typ := StatsType(s["type"].(string))
			seen[typ]++
			if s["id"] != id || s["timestamp"].(float64) <= 0 {
				t.Errorf("%q has id %v and timestamp %v", id, s["id"], s["timestamp"])
			}
			for name := range strings.FieldsSeq(mandatory[typ][""] + " " + mandatory[typ][kind]) {
				name, no := strings.CutPrefix(name, "-")
				if _, ok := s[name]; ok == no {
					t.Errorf("%s of %s: %s is there: %v", typ, kind, name, ok)
				}
			}
			for name, value := range s { // what refers to another dictionary
				other, _ := value.(string)
				if strings.HasSuffix(name, "Id") && report[other] == nil {
					t.Errorf("%s of %s refers to %q, which there is not", name, typ, other)
				}
			}
		}
		for typ := range mandatory {
			if seen[typ] == 0 {
				t.Errorf("there is no %s", typ)
			}
		}
		in := of(t, r, func(i *InboundRTPStreamStats) bool { return i.Kind == "audio" })
		energy := linear(20) * linear(20) // of each second
		if in.TotalSamplesDuration < 13 || in.TotalSamplesDuration > 15 || in.TotalSamplesReceived != uint64(in.TotalSamplesDuration*48000+0.5) ||
			in.TotalAudioEnergy < 13*energy || in.TotalAudioEnergy > 15*energy {
			t.Errorf("%v s, %d samples, energy %v", in.TotalSamplesDuration, in.TotalSamplesReceived, in.TotalAudioEnergy)
		}
		const from1900 = 2208988800000 // to 1970, in milliseconds
		if playout := time.UnixMilli(int64(in.EstimatedPlayoutTimestamp) - from1900); time.Until(playout) > 0 || time.Until(playout) < -time.Second {
			t.Errorf("played out %v from now", time.Until(playout))
		}
		source := of(t, r, func(m *MediaSourceStats) bool { return m.Kind == "audio" })
		if *source.AudioLevel != linear(20) || source.TotalAudioEnergy < 13*energy || source.TotalAudioEnergy > 15.1*energy {
			t.Errorf("written: %+v", source)
		}
		// Pictures of VP8 say how large they are: 64 by 64, 30 a second.
		picture := func(what string, width, height int, rate float64) {
			t.Helper()
			if width != 64 || height != 64 || rate < 28 || rate > 32 {
				t.Errorf("%s: %d by %d, %v a second", what, width, height, rate)
			}
		}
		seenIn := of(t, r, func(i *InboundRTPStreamStats) bool { return i.Kind == "video" })
		seenOut := of(t, r, func(o *OutboundRTPStreamStats) bool { return o.Kind == "video" })
		film := of(t, r, func(m *MediaSourceStats) bool { return m.Kind == "video" })
		picture("what comes", seenIn.FrameWidth, seenIn.FrameHeight, seenIn.FramesPerSecond)
		picture("what is sent", seenOut.FrameWidth, seenOut.FrameHeight, seenOut.FramesPerSecond)
		picture("the source", film.Width, film.Height, film.FramesPerSecond)
		if d := seenOut.QualityLimitationDurations; seenOut.FramesSent > seenOut.FramesEncoded || seenOut.FramesSent < seenOut.FramesEncoded-5 || d["none"]+d["bandwidth"] < 13 || len(d) != 4 {
			t.Errorf("%d frames of %d, %v", seenOut.FramesSent, seenOut.FramesEncoded, d)
		}
		// The same things have the same ids later.
		for id := range a.GetStats() {
			if r[id] == nil {
				t.Errorf("%q is new", id)
			}
		}
	})
}

// RTCP BYE mutes (webrtc-pc section 5.3, "set a track's muted state"): of a transceiver that is stopped, before the peer learns of it
// by an offer, and of a connection that is closed.
func TestByeMutes(t *testing.T) {
	for what, end := range map[string]func(a *PeerConnection, x *RTPTransceiver) error{
		"stop":  func(_ *PeerConnection, x *RTPTransceiver) error { return x.Stop() },
		"close": func(a *PeerConnection, _ *RTPTransceiver) error { return a.Close() },
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				track := w.sampleTrack(Opus)
				a, _, x, remote := w.sends(track, nil)
				muted, unmuted := make(chan struct{}, 1), make(chan struct{}, 1)
				remote.OnUnmute(func() { unmuted <- struct{}{} })
				remote.OnMute(func() { muted <- struct{}{} })
				w.playAudio(track)
				await(w, unmuted, "unmute")
				began := time.Now()
				w.check(end(a, x))
				await(w, muted, "mute")
				if d := time.Since(began); d > time.Second || !remote.Muted() || remote.ReadyState() != TrackStateLive {
					t.Errorf("after %v: muted %v, %s", d, remote.Muted(), remote.ReadyState())
				}
			})
		})
	}
}

// "If selectorArg is a MediaStreamTrack, let selector be an RTCRtpSender or RTCRtpReceiver on connection which track attribute matches
// selectorArg. If no such sender or receiver exists, or if more than one sender or receiver fit this criteria, return a promise rejected
// with a newly created InvalidAccessError" (webrtc-pc section 8.2).
func TestTrackStats(t *testing.T) {
	inWorld(t, func(w *world) {
		track := w.sampleTrack(Opus)
		a, b, _, remote := w.sends(track, nil)
		w.playAudio(track)
		time.Sleep(time.Second)
		r, err := a.GetTrackStats(track)
		w.check(err)
		of(t, r, func(*OutboundRTPStreamStats) bool { return true })
		r, err = b.GetTrackStats(remote)
		w.check(err)
		of(t, r, func(*InboundRTPStreamStats) bool { return true })
		for _, other := range []interface{ ID() string }{remote, w.sampleTrack(Opus), nil} {
			_, err = a.GetTrackStats(other)
			w.wantError(InvalidAccessError, err)
		}
		_, err = a.AddTransceiverTrack(track, nil)
		w.check(err)
		_, err = a.GetTrackStats(track)
		w.wantError(InvalidAccessError, err)
	})
}

// getSynchronizationSources (webrtc-pc section 5.3): what came in the last 10 seconds, of audio and of video, with the times at which
// it was recorded.
func TestSources(t *testing.T) {
	inWorld(t, func(w *world) {
		audio, video := w.sampleTrack(Opus), w.sampleTrack(VP8)
		a, b, _, remote := w.sends(audio, nil)
		_, err := a.AddTrack(video)
		w.check(err)
		w.exchange(a, b)
		film := b.GetReceivers()[1]
		r := remote.Receiver()
		if len(r.GetSynchronizationSources())+len(r.GetContributingSources()) != 0 {
			t.Error("sources before anything has come")
		}
		began := time.Now()
		for i := range 10 {
			w.check(audio.WriteSample(Sample{Data: opus(byte(i)), AudioLevel: &rtp.AudioLevel{Level: 20, Voice: true}, Captured: time.Now().Add(-time.Second)}))
			w.check(video.WriteSample(Sample{Data: vp8(1000, i == 0, byte(i)), Duration: 20 * time.Millisecond}))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		list := r.GetSynchronizationSources()
		if len(list) != 1 {
			t.Fatalf("%d sources", len(list))
		}
		s := list[0]
		if s.Timestamp.Before(began) || time.Since(s.Timestamp) < time.Second || s.Source == 0 || *s.AudioLevel != linear(20) || !*s.VoiceActivityFlag || s.RTPTimestamp == 0 {
			t.Errorf("%+v", s)
		}
		if d := s.Timestamp.Sub(s.CaptureTimestamp); d < time.Second || d > 1100*time.Millisecond {
			t.Errorf("recorded %v before it came", d)
		}
		if list := film.GetSynchronizationSources(); len(list) != 1 || list[0].AudioLevel != nil || list[0].Source == s.Source {
			t.Errorf("of video: %+v", list)
		}
		time.Sleep(8500 * time.Millisecond)
		if len(r.GetSynchronizationSources()) != 1 {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		if len(r.GetSynchronizationSources())+len(film.GetSynchronizationSources()) != 0 {
			t.Error("older than 10 seconds")
		}
	})
}
