package webrtc

import (
	"slices"
	"strings"
	"testing"
)

// remoteAudio is an offer of one section of audio with these lines.
func remoteAudio(lines ...string) SessionDescription {
	return SessionDescription{SDPTypeOffer, "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n" +
		"a=rtcp-mux\r\na=mid:0\r\na=ice-ufrag:z0i8R3C9C4hPRWls\r\na=ice-pwd:O7bPpOFAqasqoidV4yxnFVbc\r\na=setup:actpass\r\na=fingerprint:sha-256 " +
		strings.Repeat("00:", 31) + "00\r\na=rtpmap:111 opus/48000/2\r\n" + strings.Join(lines, "\r\n") + "\r\n"}
}

// Streams of a remote track are those of a=msid; without it those of its sources, else the default one (RFC 8829 section 5.8.2).
func TestStreamsOfARemoteTrack(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  []string // "*": whatever it is
	}{
		{nil, []string{"*"}},
		{[]string{"a=msid:1 2", "a=ssrc:3 cname:4", "a=ssrc:3 msid:1 2"}, []string{"1"}},
		{[]string{"a=ssrc:3 cname:4", "a=ssrc:3 msid:1 2"}, []string{"1"}},
		{[]string{"a=msid:1 2", "a=ssrc:3 cname:4", "a=ssrc:3 msid:3 2"}, []string{"1"}},
		{[]string{"a=msid:-"}, nil},
		{[]string{"a=msid:1 2", "a=msid:1 2"}, []string{"1"}},
		{[]string{"a=msid:1 2", "a=msid:5 2"}, []string{"1", "5"}},
	} {
		inWorld(t, func(w *world) {
			pc, _ := w.pair(Configuration{})
			w.check(pc.SetRemoteDescription(remoteAudio(append(c.lines, "a=sendrecv")...)))
			got := names(pc.GetReceivers()[0].Streams())
			if len(got) == 1 && len(c.want) == 1 && c.want[0] == "*" && got[0] != "" {
				return
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q: streams %q, want %q", c.lines, got, c.want)
			}
		})
	}
}

// A msid that comes or goes with a later offer: the streams have their events, and the track is the same.
func TestStreamsChange(t *testing.T) {
	inWorld(t, func(w *world) {
		pc, _ := w.pair(Configuration{})
		d := w.diary(pc)
		w.check(pc.SetRemoteDescription(remoteAudio("a=sendrecv", "a=msid:1 2")))
		stream := pc.GetReceivers()[0].Streams()[0]
		w.check(pc.SetLocalDescription(nil))
		d.wants("have-remote-offer", "track 0 [1]", "stable")
		w.check(pc.SetRemoteDescription(remoteAudio("a=sendrecv")))
		other := pc.GetReceivers()[0].Streams()
		if len(other) != 1 || other[0] == stream || len(stream.GetTracks()) != 0 {
			t.Errorf("streams %q", names(other))
		}
		w.check(pc.SetLocalDescription(nil))
		d.wants("have-remote-offer", "removetrack 1 0", "track 0 ["+other[0].ID()+"]", "stable")
		w.check(pc.SetRemoteDescription(remoteAudio("a=sendrecv", "a=msid:1 2")))
		d.wants("have-remote-offer", "removetrack "+other[0].ID()+" 0", "addtrack 1 1", "track 0 [1]")
		if got := stream.GetTracks(); len(got) != 1 || got[0] != pc.GetReceivers()[0].Track() {
			t.Error("the stream has another track")
		}
		// What the peer does not send has no track event.
		other2, _ := w.pair(Configuration{})
		e := w.diary(other2)
		w.check(other2.SetRemoteDescription(remoteAudio("a=recvonly", "a=msid:1 2")))
		e.wants("have-remote-offer")
		w.wantStates(other2, "0:recvonly/")
	})
}

// Order and objects of track events: as the sections are, one stream for both of its tracks.
func TestTrackEvents(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		one, two := NewMediaStream("one"), NewMediaStream("two")
		for _, x := range []struct {
			kind    string
			streams []*MediaStream
		}{{"audio", []*MediaStream{one}}, {"video", []*MediaStream{one}}, {"video", []*MediaStream{two, one}}, {"audio", nil}} {
			w.add(a, x.kind, &RTPTransceiverInit{Streams: x.streams})
		}
		d := w.diary(b)
		w.offers(a, b)
		d.wants("have-remote-offer", "track 0 [one]", "track 1 [one]", "track 2 [two one]", "track 3 []")
		list := b.GetReceivers()
		if list[0].Streams()[0] != list[1].Streams()[0] || list[2].Streams()[1] != list[0].Streams()[0] || len(list[0].Streams()[0].GetTracks()) != 3 {
			t.Error("the stream is another object for each track")
		}
		for i, r := range list {
			if id := r.Track().ID(); id == "" || id == a.GetReceivers()[i].Track().ID() {
				t.Error("the ids of remote tracks are not their own")
			}
		}
	})
}
