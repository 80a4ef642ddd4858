package webrtc

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// of returns the only dictionary of a type, or the one that match wants.
func of[T Stats](t *testing.T, r StatsReport, match func(T) bool) (found T) {
	t.Helper()
	n := 0
	for id, s := range r {
		if s.Base().ID != id {
			t.Errorf("%q is called %q", id, s.Base().ID)
		}
		if v, ok := s.(T); ok && (match == nil || match(v)) {
			found = v
			n++
		}
	}
	if n != 1 {
		t.Fatalf("there are %d of %T", n, found)
	}
	return found
}

// getStats: the dictionaries of webrtc-stats, how they refer to each other, and what they count.
func TestGetStats(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b, x, y := w.connect(Configuration{}, &DataChannelInit{Protocol: "p"})
		for range 10 {
			w.check(x.Send(make([]byte, 1000)))
			if _, err := y.Receive(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		r, s := a.GetStats(), b.GetStats()
		if p := of[*PeerConnectionStats](t, r, nil); p.DataChannelsOpened != 1 || p.DataChannelsClosed != 0 || p.Type != "peer-connection" {
			t.Errorf("peer-connection: %+v", p)
		}
		if d := of[*DataChannelStats](t, r, nil); d.Label != "test" || d.Protocol != "p" || *d.DataChannelIdentifier != *x.ID() || d.State != "open" ||
			d.MessagesSent != 10 || d.BytesSent != 10_000 || d.MessagesReceived != 0 || d.BytesReceived != 0 {
			t.Errorf("data-channel: %+v", d)
		}
		if d := of[*DataChannelStats](t, s, nil); d.MessagesReceived != 10 || d.BytesReceived != 10_000 || d.MessagesSent != 0 {
			t.Errorf("data-channel at the peer: %+v", d)
		}
		x1, x2 := of[*TransportStats](t, r, nil), of[*TransportStats](t, s, nil)
		if x1.ICERole != "controlling" || x2.ICERole != "controlled" || x1.DTLSRole != "server" || x2.DTLSRole != "client" || x1.DTLSState != "connected" ||
			x1.ICEState != "completed" || x1.TLSVersion != "FEFC" || x1.TLSGroup != "X25519MLKEM768" || x1.DTLSCipher != "TLS_AES_128_GCM_SHA256" ||
			x1.SelectedCandidatePairChanges != 1 || len(x1.ICELocalUsernameFragment) < 4 {
			t.Errorf("transport: %+v", x1)
		}
		if x1.PacketsSent < 10 || x1.BytesSent < 10_000 || x1.BytesSent != x2.BytesReceived || x1.PacketsReceived != x2.PacketsSent {
			t.Errorf("traffic: %+v and %+v", x1, x2)
		}
		local, ok := r[x1.LocalCertificateID].(*CertificateStats)
		remote, ok2 := s[x2.RemoteCertificateID].(*CertificateStats)
		if !ok || !ok2 || local.Fingerprint != remote.Fingerprint || local.FingerprintAlgorithm != "sha-256" || local.Base64Certificate != remote.Base64Certificate ||
			!strings.EqualFold(local.Fingerprint, a.GetConfiguration().Certificates[0].GetFingerprints()[0].Value) {
			t.Errorf("certificates: %+v, %+v", local, remote)
		}
		pair, ok := r[x1.SelectedCandidatePairID].(*ICECandidatePairStats)
		if !ok || pair.State != "succeeded" || !pair.Nominated || pair.TransportID != x1.ID || pair.BytesSent != x1.BytesSent ||
			pair.CurrentRoundTripTime < 0.039 || pair.CurrentRoundTripTime > 0.05 || pair.RequestsSent == 0 || pair.ResponsesReceived == 0 || pair.ConsentRequestsSent == 0 {
			t.Fatalf("candidate-pair: %+v", pair)
		}
		l, ok := r[pair.LocalCandidateID].(*ICECandidateStats)
		m, ok2 := r[pair.RemoteCandidateID].(*ICECandidateStats)
		if !ok || !ok2 || l.Type != "local-candidate" || *l.Address != "203.0.113.1" || l.CandidateType != "host" || l.Protocol != "udp" ||
			m.Type != "remote-candidate" || *m.Address != "203.0.113.2" || m.UsernameFragment != x2.ICELocalUsernameFragment || m.Priority == 0 || m.TransportID != x1.ID {
			t.Errorf("candidates: %+v, %+v", l, m)
		}
		if now := milliseconds(time.Now()); now-pair.Timestamp > 1 || now-pair.LastPacketSentTimestamp > 60_000 {
			t.Errorf("times: %v and %v at %v", pair.Timestamp, pair.LastPacketSentTimestamp, now)
		}
		// The same things have the same ids later.
		for id := range a.GetStats() {
			if _, ok := r[id]; !ok {
				t.Errorf("%q is new", id)
			}
		}
		text, err := json.Marshal(r)
		w.check(err)
		for _, member := range []string{`"selectedCandidatePairId"`, `"dataChannelIdentifier"`, `"tlsVersion":"FEFC"`, `"type":"certificate"`} {
			if !strings.Contains(string(text), member) {
				t.Errorf("%s is not in the JSON", member)
			}
		}
		w.check(x.Close())
		for range y.Messages(context.Background()) {
		}
		time.Sleep(time.Second)
		if p := of[*PeerConnectionStats](t, a.GetStats(), nil); p.DataChannelsClosed != 1 {
			t.Errorf("after a close: %+v", p)
		}
		z, err := a.CreateDataChannel("z", nil)
		w.check(err)
		opened := make(chan struct{})
		z.OnOpen(func() { close(opened) })
		await(w, opened, "another channel")
		before := a.GetStats()
		candidates := len(a.SCTP().Transport().ICETransport().GetLocalCandidates())
		w.check(a.Close())
		// webrtc-stats section 4.2: an object "will remain visible until the RTCPeerConnection is no longer available; it is also
		// visible in getStats() after pc.close()".
		time.Sleep(time.Minute)
		after := a.GetStats()
		for id, s := range before {
			if after[id] == nil || after[id].Base().Timestamp > s.Base().Timestamp+1 {
				t.Errorf("after the end %q is %+v", id, after[id])
			}
		}
		if len(after) != len(before) {
			t.Errorf("%d objects after the end, %d before", len(after), len(before))
		}
		if p := of[*PeerConnectionStats](t, after, nil); p.DataChannelsOpened != 2 || p.DataChannelsClosed != 2 {
			t.Errorf("after the end: %+v", p)
		}
		if s := of[*TransportStats](t, after, nil); s.DTLSState != "closed" || s.ICEState != "closed" || s.SelectedCandidatePairID == "" || s.BytesSent == 0 {
			t.Errorf("after the end: %+v", s)
		}
		if s := of[*DataChannelStats](t, after, nil); s.State != "closed" || s.Label != "z" {
			t.Errorf("after the end: %+v", s)
		}
		if p := of(t, after, func(p *ICECandidatePairStats) bool { return p.Nominated }); p.LastPacketSentTimestamp > p.Timestamp {
			t.Errorf("after the end: %+v", p)
		}
		if n := len(a.SCTP().Transport().ICETransport().GetLocalCandidates()); n != candidates || n == 0 {
			t.Errorf("%d local candidates after the end, %d before", n, candidates)
		}
	})
}

// The dictionaries of media: what they count on both sides, how they refer to each other, and what the selection algorithm takes
// for one sender or receiver.
func TestMediaStats(t *testing.T) {
	inWorld(t, func(w *world) {
		audio, video := w.sampleTrack(Opus), w.sampleTrack(VP8)
		a, b, x, remote := w.sends(video, nil)
		voice, err := a.AddTrack(audio)
		w.check(err)
		w.exchange(a, b)
		w.playVideo(video)
		w.playAudio(audio)
		for range 100 {
			_, err := remote.ReadSample(w.ctx())
			w.check(err)
		}
		time.Sleep(10 * time.Second) // for reports of both sides
		isVideo := func(kind string) bool { return kind == "video" }
		r, s := a.GetStats(), b.GetStats()
		o := of(t, r, func(o *OutboundRTPStreamStats) bool { return isVideo(o.Kind) })
		i := of(t, s, func(i *InboundRTPStreamStats) bool { return isVideo(i.Kind) })
		if o.Type != "outbound-rtp" || o.PacketsSent < 1000 || o.BytesSent < 1_000_000 || o.HeaderBytesSent < 12*o.PacketsSent || o.MID != x.MID() || !o.Active ||
			o.FramesSent < 300 || o.KeyFramesEncoded < 10 || o.RTXSSRC == 0 || o.TargetBitrate <= 0 {
			t.Errorf("outbound-rtp: %+v", o)
		}
		if i.Type != "inbound-rtp" || i.SSRC != o.SSRC || i.MID != o.MID || i.TrackIdentifier != remote.ID() || i.PacketsReceived < o.PacketsSent*9/10 || i.PacketsReceived > o.PacketsSent ||
			i.BytesReceived < o.BytesSent*9/10 || i.PacketsLost != 0 || i.FramesDecoded < 99 || i.KeyFramesDecoded < 3 || i.JitterBufferEmittedCount < 99 || i.JitterBufferDelay <= 0 {
			t.Errorf("inbound-rtp: %+v", i)
		}
		codec, ok := r[o.CodecID].(*CodecStats)
		codec2, ok2 := s[i.CodecID].(*CodecStats)
		if !ok || !ok2 || codec.MimeType != "video/VP8" || codec.ClockRate != 90000 || codec.PayloadType != 96 || *codec != (CodecStats{codec.StatsBase, codec2.PayloadType, o.TransportID, codec2.MimeType, 90000, 0, ""}) {
			t.Errorf("codecs: %+v, %+v", codec, codec2)
		}
		ri, ok := r[o.RemoteID].(*RemoteInboundRTPStreamStats)
		if !ok || ri.LocalID != o.ID || ri.RoundTripTime < 0.039 || ri.RoundTripTime > 0.06 || ri.RoundTripTimeMeasurements == 0 || ri.FractionLost != 0 || ri.SSRC != o.SSRC || ri.Timestamp >= o.Timestamp {
			t.Errorf("remote-inbound-rtp: %+v", ri)
		}
		ro, ok := s[i.RemoteID].(*RemoteOutboundRTPStreamStats)
		if !ok || ro.LocalID != i.ID || ro.PacketsSent == 0 || ro.ReportsSent == 0 || ro.RemoteTimestamp < milliseconds(time.Now())-20_000 {
			t.Errorf("remote-outbound-rtp: %+v", ro)
		}
		source, ok := r[o.MediaSourceID].(*MediaSourceStats)
		if !ok || source.TrackIdentifier != video.ID() || source.Kind != "video" || source.Frames < 300 {
			t.Errorf("media-source: %+v", source)
		}
		tone := of(t, r, func(m *MediaSourceStats) bool { return m.Kind == "audio" })
		level := of(t, s, func(i *InboundRTPStreamStats) bool { return i.Kind == "audio" }).AudioLevel
		if tone.TotalSamplesDuration < 10 || level == nil || *level != linear(20) {
			t.Errorf("audio: %v s, level %v", tone.TotalSamplesDuration, level)
		}
		transport := r[o.TransportID].(*TransportStats)
		if pair := r[transport.SelectedCandidatePairID].(*ICECandidatePairStats); pair.AvailableOutgoingBitrate < 300_000 || transport.SRTPCipher == "" || transport.PacketsSent < o.PacketsSent {
			t.Errorf("%v bit/s, %+v", pair.AvailableOutgoingBitrate, transport)
		}
		if back := s[i.TransportID].(*TransportStats); transport.CCFBMessagesReceived < 50 || transport.CCFBMessagesSent != 0 || back.CCFBMessagesSent < transport.CCFBMessagesReceived {
			t.Errorf("feedback: %d came of %d, and %d went", transport.CCFBMessagesReceived, back.CCFBMessagesSent, transport.CCFBMessagesSent)
		}

		// "gather stats indicated by ... all RTCOutboundRtpStreamStats objects representing RTP streams being sent by selector, and all
		// stats objects referenced directly or indirectly by them"
		selected := voice.GetStats()
		if of(t, selected, func(*OutboundRTPStreamStats) bool { return true }).Kind != "audio" || selected[o.TransportID] == nil || selected[transport.SelectedCandidatePairID] == nil ||
			selected[transport.LocalCertificateID] == nil || selected[o.ID] != nil || selected["P"] != nil {
			t.Errorf("of one sender: %v", selected)
		}
		if of(t, remote.Receiver().GetStats(), func(*InboundRTPStreamStats) bool { return true }).ID != i.ID || len(x.Receiver().GetStats()) != 0 {
			t.Error("of one receiver")
		}
		w.check(a.Close())
		if last := of(t, a.GetStats(), func(o *OutboundRTPStreamStats) bool { return isVideo(o.Kind) }); last.PacketsSent < o.PacketsSent {
			t.Errorf("after close: %+v", last)
		}
	})
}
