package webrtc

import (
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
)

// A MediaStream is the W3C's MediaStream, as far as connections need it: tracks that belong together. Its methods may be called
// from any goroutine.
type MediaStream struct {
	id string

	mu     sync.Mutex
	remote []*RemoteTrack
	local  []Track

	events        *dispatcher // of the connection that made it; nil if the program did
	onAddTrack    hook[*RemoteTrack]
	onRemoveTrack hook[*RemoteTrack]
	known         bool // a description before the present one has made it; the loop's
}

// NewMediaStream makes a stream for tracks of ours. With an empty id it gets one of its own.
func NewMediaStream(id string, tracks ...Track) *MediaStream {
	if id == "" {
		id = newID()
	}
	s := &MediaStream{id: id}
	for _, t := range tracks {
		s.AddTrack(t)
	}
	return s
}

// newID returns a UUID, as the W3C's recommends for ids.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ID returns the id, by which the peer knows the stream too.
func (s *MediaStream) ID() string { return s.id }

// AddTrack adds a track of ours, if it is not in the stream (addTrack). That alone sends nothing:
// [PeerConnection.AddTrack] does.
func (s *MediaStream) AddTrack(t Track) {
	if !given(t) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.local, func(o Track) bool { return sameTrack(o, t) }) {
		s.local = append(s.local, t)
	}
}

// RemoveTrack takes a track of ours out of the stream (removeTrack).
func (s *MediaStream) RemoveTrack(t Track) {
	if !given(t) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.local = slices.DeleteFunc(s.local, func(o Track) bool { return sameTrack(o, t) })
}

// LocalTracks returns the tracks of ours that are in the stream.
func (s *MediaStream) LocalTracks() []Track {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.local)
}

// GetTracks returns the peer's tracks that are in the stream (getTracks of a stream of the peer's).
func (s *MediaStream) GetTracks() []*RemoteTrack {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.remote)
}

// OnAddTrack sets the handler of addtrack: the peer has put a track into the stream.
func (s *MediaStream) OnAddTrack(f func(*RemoteTrack)) {
	if s.events != nil {
		on(s.events, &s.onAddTrack, f)
	}
}

// OnRemoveTrack sets the handler of removetrack: the peer has taken a track out of the stream.
func (s *MediaStream) OnRemoveTrack(f func(*RemoteTrack)) {
	if s.events != nil {
		on(s.events, &s.onRemoveTrack, f)
	}
}

// add adds a track of the peer's; it returns false if it was there.
func (s *MediaStream) add(t *RemoteTrack) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.remote, t) {
		return false
	}
	s.remote = append(s.remote, t)
	return true
}

// remove takes a track of the peer's out.
func (s *MediaStream) remove(t *RemoteTrack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote = slices.DeleteFunc(s.remote, func(o *RemoteTrack) bool { return o == t })
}

// streamIDs returns the ids of streams, each once.
func streamIDs(streams []*MediaStream) (ids []string) {
	for _, s := range streams {
		if s != nil && !slices.Contains(ids, s.id) {
			ids = append(ids, s.id)
		}
	}
	return ids
}
