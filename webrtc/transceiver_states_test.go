package webrtc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A diary has the events of a connection's tracks and streams, in their order.
type diary struct {
	w       *world
	pc      *PeerConnection
	entries []string // the handlers'
	streams map[*MediaStream]bool
	tracks  map[*RemoteTrack]bool
}

func (w *world) diary(pc *PeerConnection) *diary {
	d := &diary{w: w, pc: pc, streams: map[*MediaStream]bool{}, tracks: map[*RemoteTrack]bool{}}
	pc.OnSignalingStateChange(func(s SignalingState) { d.note("%s", s) })
	pc.OnTrack(func(t *RemoteTrack, r *RTPReceiver) {
		d.note("track %s %v", r.Transceiver().MID(), names(r.Streams()))
		if !t.Muted() {
			d.note("not muted")
		}
		for _, s := range r.Streams() {
			if !slices.Contains(s.GetTracks(), t) {
				d.note("%s is without it", s.ID())
			}
			d.follow(s)
		}
		if !d.tracks[t] {
			d.tracks[t] = true
			t.OnMute(func() { d.note("mute") })
			t.OnUnmute(func() { d.note("unmute") })
			t.OnEnded(func() { d.note("ended %s", t.ReadyState()) })
		}
	})
	return d
}

func (d *diary) follow(s *MediaStream) {
	if d.streams[s] {
		return
	}
	d.streams[s] = true
	s.OnAddTrack(func(t *RemoteTrack) { d.note("addtrack %s %d", s.ID(), len(s.GetTracks())) })
	s.OnRemoveTrack(func(t *RemoteTrack) { d.note("removetrack %s %d", s.ID(), len(s.GetTracks())) })
}

func (d *diary) note(format string, args ...any) {
	d.entries = append(d.entries, fmt.Sprintf(format, args...))
}

// wants waits until what has happened so far was delivered, and compares.
func (d *diary) wants(entries ...string) {
	d.w.Helper()
	done := make(chan struct{})
	d.pc.events.do(func() {
		if !slices.Equal(d.entries, entries) {
			d.w.Errorf("events\n%q, want\n%q", d.entries, entries)
		}
		d.entries = nil
		close(done)
	})
	<-done
}

// listed describes transceivers: mid, direction, current direction, and whether a track is sent.
func listed(pc *PeerConnection) string {
	var list []string
	for _, t := range pc.GetTransceivers() {
		s := fmt.Sprintf("%s:%s/%s", t.MID(), t.Direction(), t.CurrentDirection())
		if t.Sender().Track() != nil {
			s += "+"
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

func (w *world) wantStates(pc *PeerConnection, want string) {
	w.Helper()
	if got := listed(pc); got != want {
		w.Errorf("transceivers %q, want %q", got, want)
	}
}

func (w *world) addTrack(pc *PeerConnection, c RTPCodec, streams ...*MediaStream) *RTPSender {
	w.Helper()
	s, err := pc.AddTrack(w.sampleTrack(c), streams...)
	w.check(err)
	return s
}

// offers has a make an offer that b applies.
func (w *world) offers(a, b *PeerConnection) {
	w.Helper()
	w.check(a.SetLocalDescription(nil))
	w.check(b.SetRemoteDescription(*a.LocalDescription()))
}

func rollback() SessionDescription { return SessionDescription{Type: SDPTypeRollback} }

// "the sender has never been used to send ... [[CurrentDirection]] ... has never had a value of sendrecv or sendonly"
// (webrtc-pc section 5.1, addTrack): a track that is removed and added again gets another transceiver once it was sent, and
// the same one before.
func TestTrackAddedAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		voice := w.sampleTrack(Opus)
		again := func() {
			t.Helper()
			_, err := a.AddTrack(voice)
			w.check(err)
		}
		again()
		w.check(a.RemoveTrack(a.GetSenders()[0]))
		again()
		w.wantStates(a, ":sendrecv/+")
		w.exchange(a, b)
		w.check(a.RemoveTrack(a.GetSenders()[0]))
		again()
		w.wantStates(a, "0:recvonly/sendonly :sendrecv/+")
		w.exchange(a, b)
		w.wantStates(b, "0:recvonly/inactive 1:recvonly/recvonly")
		w.check(a.RemoveTrack(a.GetSenders()[1]))
		again()
		w.add(b, "audio", nil)
		w.exchange(b, a)
		w.wantStates(b, "0:recvonly/inactive 1:recvonly/inactive 2:sendrecv/sendrecv")
		w.wantStates(a, "0:recvonly/inactive 1:recvonly/inactive 2:sendrecv/sendrecv+")
	})
}

// "Otherwise, find a compatible transceiver" (RFC 8829 section 5.10): a remote section takes one that addTrack has made, and
// none that addTransceiver has, with or without a track.
func TestTransceiversPair(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, c := range []struct {
			what string
			add  func(pc *PeerConnection)
			want string
		}{
			{"addTransceiver", func(pc *PeerConnection) { w.add(pc, "audio", nil) }, ":sendrecv/ 0:recvonly/"},
			{"addTransceiver of a track", func(pc *PeerConnection) {
				_, err := pc.AddTransceiverTrack(w.sampleTrack(Opus), nil)
				w.check(err)
			}, ":sendrecv/+ 0:recvonly/"},
			{"replaceTrack", func(pc *PeerConnection) {
				w.check(w.add(pc, "audio", nil).Sender().ReplaceTrack(w.sampleTrack(Opus)))
			}, ":sendrecv/+ 0:recvonly/"},
			{"addTrack", func(pc *PeerConnection) { w.addTrack(pc, Opus) }, "0:sendrecv/+"},
			{"addTrack of another kind", func(pc *PeerConnection) { w.addTrack(pc, VP8) }, ":sendrecv/+ 0:recvonly/"},
			{"addTrack without its track", func(pc *PeerConnection) { w.check(w.addTrack(pc, Opus).ReplaceTrack(nil)) }, "0:sendrecv/"},
		} {
			a, b := w.pair(Configuration{})
			w.add(a, "audio", nil)
			c.add(b)
			d := w.diary(b)
			w.offers(a, b)
			if got := listed(b); got != c.want {
				t.Errorf("%s: %q, want %q", c.what, got, c.want)
			}
			d.wants("have-remote-offer", "track 0 []")
		}
	})
}

// [[CurrentDirection]] is that of the last answer, and a track event comes each time the peer begins to send (webrtc-pc section
// 5.1.1, "process remote tracks").
func TestCurrentDirection(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, Opus, NewMediaStream("of-a"))
		w.addTrack(b, Opus, NewMediaStream("of-b"))
		da, db := w.diary(a), w.diary(b)
		w.offers(a, b)
		w.wantStates(a, "0:sendrecv/+")
		w.wantStates(b, "0:sendrecv/+")
		w.check(b.SetLocalDescription(nil))
		w.wantStates(b, "0:sendrecv/sendrecv+")
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.wantStates(a, "0:sendrecv/sendrecv+")
		da.wants("have-local-offer", "stable", "track 0 [of-b]")
		db.wants("have-remote-offer", "track 0 [of-a]", "stable")

		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionSendOnly))
		w.offers(b, a)
		w.wantStates(b, "0:sendonly/sendrecv+")
		w.wantStates(a, "0:sendrecv/sendrecv+")
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		w.wantStates(a, "0:sendrecv/recvonly+")
		w.wantStates(b, "0:sendonly/sendonly+")
		da.wants("have-remote-offer", "stable")
		db.wants("have-local-offer", "stable", "removetrack of-a 0")

		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionSendRecv))
		w.exchange(b, a)
		da.wants("have-remote-offer", "stable")
		db.wants("have-local-offer", "stable", "addtrack of-a 1", "track 0 [of-a]")
		w.check(b.Close())
		w.wantStates(b, "0:stopped/stopped+")
	})
}

// "unless a MediaStream object has previously been created with that id for this connection" (webrtc-pc section 5.1.1, "set the
// associated remote streams"): a stream that has lost its tracks is the same one when they come back, by rollback or by an offer;
// and what a rollback takes away or brings back has its events.
func TestStreamsOutliveTheirTracks(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		stream := NewMediaStream("camera")
		audio, video := w.addTrack(a, Opus, stream), w.addTrack(a, VP8, stream)
		w.check(video.Transceiver().SetDirection(RTPTransceiverDirectionSendOnly))
		d := w.diary(b)
		w.offers(a, b)
		// "addtrack" of a stream that nobody had before is nobody's
		d.wants("have-remote-offer", "track 0 [camera]", "track 1 [camera]")
		theirs := b.GetReceivers()[0].Streams()[0]
		if n := len(theirs.GetTracks()); n != 2 {
			t.Errorf("%d tracks", n)
		}
		w.check(b.SetRemoteDescription(rollback()))
		d.wants("stable", "removetrack camera 0", "removetrack camera 0", "ended ended", "ended ended")
		if len(b.GetTransceivers()) != 0 || len(theirs.GetTracks()) != 0 {
			t.Error("something is left after the rollback")
		}
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		d.wants("have-remote-offer", "addtrack camera 2", "addtrack camera 2", "track 0 [camera]", "track 1 [camera]")
		if got := b.GetReceivers()[0].Streams()[0]; got != theirs {
			t.Error("the stream is another object")
		}
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		d.wants("stable")

		w.check(a.RemoveTrack(audio))
		w.check(a.RemoveTrack(video))
		w.wantStates(a, "0:recvonly/sendonly 1:inactive/sendonly")
		w.offers(a, b)
		d.wants("have-remote-offer", "removetrack camera 0", "removetrack camera 0")
		w.check(b.SetRemoteDescription(rollback()))
		d.wants("stable", "addtrack camera 2", "addtrack camera 2", "track 0 [camera]", "track 1 [camera]")
		w.check(a.SetLocalDescription(new(rollback())))
		// The answerer of a's takes the tracks away for good.
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.check(a.SetLocalDescription(nil))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		d.wants("have-local-offer", "stable", "removetrack camera 0", "removetrack camera 0")
		w.wantStates(b, "0:recvonly/inactive 1:recvonly/inactive")
	})
}

// A track without streams that a rollback takes back is muted, and the event track comes again with the same object: the
// [[FiredDirection]] was rolled back too.
func TestRolledBackTrackComesAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, VP8)
		w.addTrack(b, VP8)
		d := w.diary(b)
		w.offers(a, b)
		track := b.GetReceivers()[0].Track()
		d.wants("have-remote-offer", "track 0 []")
		w.check(b.SetRemoteDescription(rollback()))
		w.check(b.SetRemoteDescription(*a.LocalDescription()))
		d.wants("stable", "have-remote-offer", "track 0 []")
		w.wantStates(b, "0:sendrecv/+")
		if b.GetReceivers()[0].Track() != track || !track.Muted() || track.ReadyState() != TrackStateLive {
			t.Error("the track is another one, or has ended")
		}
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.check(a.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionInactive))
		w.offers(a, b)
		d.wants("stable", "have-remote-offer")
		w.check(b.SetRemoteDescription(rollback()))
		d.wants("stable", "track 0 []")
	})
}

// Rollback of an offer of ours leaves alone what the program has done since (RFC 8829 section 4.1.10.2): direction, track, and
// that it was stopped.
func TestLocalRollback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		s := w.addTrack(a, Opus)
		other := w.sampleTrack(Opus)
		w.check(a.SetLocalDescription(nil))
		w.wantStates(a, "0:sendrecv/+")
		x := s.Transceiver()
		w.check(x.SetDirection(RTPTransceiverDirectionSendOnly))
		w.check(s.ReplaceTrack(other))
		w.check(a.SetLocalDescription(new(rollback())))
		w.wantStates(a, ":sendonly/+")
		if s.Track() != Track(other) || x.Receiver().Track().ReadyState() != TrackStateLive {
			t.Error("the rollback has changed the track")
		}
		// An offer of the peer's with another kind: ours stays without a section.
		w.addTrack(b, VP8)
		w.exchange(b, a)
		w.wantStates(a, ":sendonly/+ 0:recvonly/recvonly")
		w.wantStates(b, "0:sendrecv/sendonly+")
		w.check(a.SetLocalDescription(nil))
		w.check(x.Stop())
		w.check(a.SetLocalDescription(new(rollback())))
		if x.Direction() != RTPTransceiverDirectionStopped {
			t.Errorf("stopped, and after the rollback %s", x.Direction())
		}
	})
}

// A remote offer is applied and rolled back, again and again: only addTrack makes a transceiver of it stay, and that the peer
// has stopped one cannot be taken back (RFC 8829 section 4.1.10.2).
func TestRemoteRollback(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, Opus, NewMediaStream("of-a"))
		w.check(a.SetLocalDescription(nil))
		offer := *a.LocalDescription()
		da, db := w.diary(a), w.diary(b)
		w.check(b.SetRemoteDescription(offer))
		db.wants("have-remote-offer", "track 0 [of-a]")
		gone := b.GetTransceivers()[0]
		w.check(b.SetRemoteDescription(rollback()))
		db.wants("stable", "removetrack of-a 0", "ended ended")
		if len(b.GetTransceivers()) != 0 || gone.MID() != "" || gone.CurrentDirection() != RTPTransceiverDirectionStopped || gone.Direction() != RTPTransceiverDirectionStopped {
			t.Errorf("%q %s %s", gone.MID(), gone.Direction(), gone.CurrentDirection())
		}
		w.check(b.SetRemoteDescription(offer))
		w.check(b.GetSenders()[0].ReplaceTrack(w.sampleTrack(Opus)))
		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionSendRecv))
		w.wantStates(b, "0:sendrecv/+")
		w.check(b.SetRemoteDescription(rollback()))
		w.wantStates(b, "")
		w.check(b.SetRemoteDescription(offer))
		w.addTrack(b, Opus, NewMediaStream("of-b"))
		w.check(b.SetRemoteDescription(rollback()))
		w.wantStates(b, ":sendrecv/+")
		w.check(b.SetRemoteDescription(offer))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		da.wants("have-local-offer", "stable", "track 0 [of-b]")
		w.wantStates(a, "0:sendrecv/sendrecv+")
		w.wantStates(b, "0:sendrecv/sendrecv+")

		w.check(a.GetTransceivers()[0].Stop())
		w.offers(a, b)
		w.wantStates(b, "0:stopped/stopped+")
		w.check(b.SetRemoteDescription(rollback()))
		w.wantStates(b, "0:stopped/stopped+")
	})
}

// stop, at each point of a negotiation (webrtc-pc section 5.4): what was written before stands, and only an offer says it.
func TestStopDuringNegotiation(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(w *world, a, b *PeerConnection)
	}{
		{"after createOffer", func(w *world, a, b *PeerConnection) {
			offer, err := a.CreateOffer(nil)
			w.check(err)
			w.check(a.GetTransceivers()[0].Stop())
			w.check(a.SetLocalDescription(&offer))
			w.check(b.SetRemoteDescription(offer))
			d := w.diary(a)
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			d.wants("have-local-offer", "stable", "track 0 [of-b]", "ended ended")
			w.wantStates(a, "0:stopped/sendrecv+")
			w.exchange(a, b)
		}},
		{"after setLocalDescription of an offer", func(w *world, a, b *PeerConnection) {
			w.offers(a, b)
			w.check(a.GetTransceivers()[0].Stop())
			d := w.diary(a)
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			d.wants("have-local-offer", "stable", "track 0 [of-b]", "ended ended")
			w.wantStates(a, "0:stopped/sendrecv+")
			w.exchange(a, b)
		}},
		{"after setRemoteDescription", func(w *world, a, b *PeerConnection) {
			w.offers(a, b)
			w.check(b.GetTransceivers()[0].Stop())
			w.wantStates(b, "0:stopped/+")
			w.check(b.SetLocalDescription(nil))
			w.check(a.SetRemoteDescription(*b.LocalDescription()))
			w.wantStates(a, "0:sendrecv/inactive+")
			w.wantStates(b, "0:stopped/inactive+")
			w.exchange(b, a)
		}},
		{"after createAnswer", func(w *world, a, b *PeerConnection) {
			w.offers(a, b)
			answer, err := b.CreateAnswer()
			w.check(err)
			w.check(b.GetTransceivers()[0].Stop())
			w.check(b.SetLocalDescription(&answer))
			w.check(a.SetRemoteDescription(answer))
			w.wantStates(b, "0:stopped/sendrecv+")
			// a's next offer cannot know of it
			w.exchange(a, b)
			w.wantStates(a, "0:sendrecv/inactive+")
			w.wantStates(b, "0:stopped/inactive+")
			w.exchange(b, a)
		}},
		{"after the answer", func(w *world, a, b *PeerConnection) {
			w.exchange(a, b)
			w.check(b.GetTransceivers()[0].Stop())
			w.wantStates(b, "0:stopped/sendrecv+")
			w.exchange(b, a)
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a, b := w.pair(Configuration{})
				w.addTrack(a, Opus, NewMediaStream("of-a"))
				w.addTrack(b, Opus, NewMediaStream("of-b"))
				needed := make(chan struct{}, 10)
				b.OnNegotiationNeeded(func() { needed <- struct{}{} })
				await(w, needed, "negotiationneeded")
				c.do(w, a, b)
				if len(a.GetTransceivers())+len(b.GetTransceivers())+len(a.GetSenders())+len(b.GetReceivers()) != 0 {
					t.Errorf("left: %q and %q", listed(a), listed(b))
				}
			})
		})
	}
}

// A transceiver that is stopped before any description has named it is never in one, and one that has a section makes that
// section inactive and rejected.
func TestStopBeforeTheOffer(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		x := w.add(a, "audio", &RTPTransceiverInit{Direction: RTPTransceiverDirectionSendOnly})
		w.add(a, "video", nil)
		w.check(x.Stop())
		if x.Receiver().Transport() != nil {
			t.Error("it has a transport")
		}
		w.exchange(a, b)
		if s := a.LocalDescription().SDP; strings.Contains(s, "m=audio") || !strings.Contains(s, "m=video") {
			t.Error("what was stopped before the offer is in it")
		}
		w.wantStates(a, "0:sendrecv/sendonly")
		y := a.GetTransceivers()[0]
		w.check(y.SetDirection(RTPTransceiverDirectionSendOnly))
		w.check(y.Stop())
		w.check(w.add(a, "audio", nil).Stop())
		offer, err := a.CreateOffer(nil)
		w.check(err)
		if strings.Contains(offer.SDP, "m=audio") || !strings.Contains(offer.SDP, "m=video 0 ") || !strings.Contains(offer.SDP, "a=inactive") {
			t.Errorf("the offer is\n%s", offer.SDP)
		}
		// removeTrack of a stopped one does nothing.
		s := w.addTrack(b, Opus)
		w.check(s.Transceiver().Stop())
		w.check(b.RemoveTrack(s))
		if s.Track() == nil {
			t.Error("removeTrack has taken the track of a stopped one")
		}
	})
}

// A rejected section is used again, for another mid and whatever kind, and not before the answer (RFC 8829 section 5.2.2).
func TestSectionReuse(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{BundlePolicy: BundlePolicyMaxCompat})
		sections := func(pc *PeerConnection) (n, rejected int) {
			offer, err := pc.CreateOffer(nil)
			w.check(err)
			return strings.Count(offer.SDP, "\nm="), strings.Count(offer.SDP, "\nm=audio 0 ") + strings.Count(offer.SDP, "\nm=video 0 ")
		}
		wantSections := func(pc *PeerConnection, n, rejected int) {
			t.Helper()
			if x, y := sections(pc); x != n || y != rejected {
				t.Errorf("%d sections, of which %d are rejected, want %d and %d", x, y, n, rejected)
			}
		}
		mids := map[string]bool{}
		for _, codec := range []RTPCodec{Opus, Opus, VP8, VP8} {
			s := w.addTrack(a, codec)
			wantSections(a, 1, 0)
			w.exchange(a, b)
			mid := s.Transceiver().MID()
			if mids[mid] {
				t.Errorf("the mid %q is used again", mid)
			}
			mids[mid] = true
			w.check(s.Transceiver().Stop())
			w.exchange(a, b)
			wantSections(b, 1, 1)
		}
		w.addTrack(a, Opus)
		w.exchange(a, b)
		w.check(a.GetTransceivers()[0].Stop())
		w.addTrack(a, Opus)
		wantSections(a, 2, 1) // too early
		w.exchange(a, b)
		// addTrack takes the transceiver that there is, rather than the section that is free
		w.addTrack(b, Opus)
		wantSections(b, 2, 1)
		w.addTrack(b, Opus)
		wantSections(b, 2, 0)
		w.exchange(b, a)
		if len(b.GetTransceivers()) != 2 {
			t.Errorf("%q", listed(b))
		}
		// Stopped in the meantime: what was offered is answered.
		x := w.add(a, "video", nil)
		offer, err := a.CreateOffer(nil)
		w.check(err)
		w.check(x.Stop())
		w.check(a.SetLocalDescription(&offer))
		w.check(b.SetRemoteDescription(offer))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
	})
}

// The section that carries the bundle's tag is stopped by the answerer, then rejected (RFC 9143 section 7.3).
func TestBundleTagIsStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, Opus)
		w.addTrack(a, Opus)
		w.exchange(a, b)
		w.check(b.GetTransceivers()[0].Stop())
		w.exchange(a, b)
		w.exchange(b, a)
		w.wantStates(a, "1:sendrecv/sendonly+")
		w.wantStates(b, "1:recvonly/recvonly")
	})
}

// A pranswer is an answer that another one may take the place of (webrtc-pc section 4.4.1.5): direction, codecs and events are its
// own, transceivers it stops are not stopped, and a rollback takes all of it back.
func TestProvisionalAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.pair(Configuration{})
		w.addTrack(a, Opus, NewMediaStream("of-a"))
		w.addTrack(b, Opus, NewMediaStream("of-b"))
		da, db := w.diary(a), w.diary(b)
		w.offers(a, b)
		provisional := func() {
			t.Helper()
			d, err := b.CreateAnswer()
			w.check(err)
			d.Type = SDPTypePranswer
			w.check(b.SetLocalDescription(&d))
			w.check(a.SetRemoteDescription(d))
		}
		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionRecvOnly))
		provisional()
		w.wantStates(b, "0:recvonly/recvonly+")
		w.wantStates(a, "0:sendrecv/sendonly+")
		if n := len(a.GetSenders()[0].GetParameters().Codecs); n == 0 {
			t.Error("no codecs by the pranswer")
		}
		da.wants("have-local-offer", "have-remote-pranswer")
		db.wants("have-remote-offer", "track 0 [of-a]", "have-local-pranswer")
		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionSendRecv))
		provisional()
		w.wantStates(b, "0:sendrecv/sendrecv+")
		w.wantStates(a, "0:sendrecv/sendrecv+")
		da.wants("track 0 [of-b]")
		db.wants()
		w.check(b.GetTransceivers()[0].SetDirection(RTPTransceiverDirectionInactive))
		w.check(b.SetLocalDescription(nil))
		w.check(a.SetRemoteDescription(*b.LocalDescription()))
		w.wantStates(b, "0:inactive/inactive+")
		w.wantStates(a, "0:sendrecv/inactive+")
		da.wants("stable", "removetrack of-b 0")
		db.wants("stable", "removetrack of-a 0")
	})
}
