package signaling

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// A house is a hub on a real socket, which may be replaced by one that remembers nothing.
type house struct {
	t      *testing.T
	server *httptest.Server

	mu  sync.Mutex
	hub *Hub
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, hub: newTestHub(t)}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		hub := h.hub
		h.mu.Unlock()
		hub.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		h.hub.Close()
		h.server.Close()
	})
	return h
}

func newTestHub(t *testing.T) *Hub {
	hub, err := NewHub(Config{ResumeFor: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return hub
}

// restart is the server killed and started.
func (h *house) restart() {
	h.mu.Lock()
	old := h.hub
	h.hub = newTestHub(h.t)
	h.mu.Unlock()
	old.Close()
}

func (h *house) dial(name string) *Room { return h.join(Options{Name: name}) }

func (h *house) join(o Options) *Room {
	o.firstRetry, o.awayGrace, o.firstAgain = 10*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
	r, err := Dial(h.t.Context(), h.server.URL+"/r/kitchen", o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { r.Close() })
	return r
}

// A side is a connection with its negotiation, and the channel that both sides have agreed upon.
type side struct {
	*webrtc.PeerConnection
	*Negotiation
	ch     *webrtc.DataChannel
	open   chan struct{}
	stable chan struct{} // holds 1 when a negotiation has come to its end
}

// restarts asks for an ICE restart and waits until it has been negotiated.
func (s *side) restarts() {
	select {
	case <-s.stable:
	default:
	}
	before := s.ufrag()
	s.RestartICE()
	for <-s.stable; s.ufrag() == before; <-s.stable { // the end of one that was under way
	}
}

func (s *side) ufrag() string {
	_, after, _ := strings.Cut(s.LocalDescription().SDP, "a=ice-ufrag:")
	ufrag, _, _ := strings.Cut(after, "\r\n")
	return ufrag
}

// prepare makes a connection with the channel that both sides have agreed upon.
func prepare(r *Room) (*side, error) {
	pc, err := webrtc.NewPeerConnection(r.Configuration())
	if err != nil {
		return nil, err
	}
	id := uint16(0)
	s := &side{PeerConnection: pc, open: make(chan struct{}), stable: make(chan struct{}, 1)}
	if s.ch, err = pc.CreateDataChannel("agreed", &webrtc.DataChannelInit{Negotiated: true, ID: &id}); err != nil {
		return nil, err
	}
	s.ch.OnOpen(func() { close(s.open) })
	pc.OnSignalingStateChange(func(st webrtc.SignalingState) {
		if st == webrtc.SignalingStateStable {
			select {
			case s.stable <- struct{}{}:
			default:
			}
		}
	})
	return s, nil
}

func newSide(t *testing.T, r *Room, peer string) *side {
	t.Helper()
	s, err := prepare(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.PeerConnection.Close() })
	s.Negotiation = Negotiate(s.PeerConnection, r, peer)
	return s
}

// exchange says something both ways.
func exchange(t *testing.T, a, b *side) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, s := range []*side{a, b} {
		select {
		case <-s.open:
		case <-ctx.Done():
			t.Fatalf("not open; states %s, %s", a.ConnectionState(), b.ConnectionState())
		}
	}
	for _, way := range [][2]*side{{a, b}, {b, a}} {
		if err := way[0].ch.SendTextContext(ctx, "hello"); err != nil {
			t.Fatalf("sending: %v", err)
		}
		if m, err := way[1].ch.Receive(ctx); err != nil || m.Text() != "hello" {
			t.Fatalf("got %q, %v", m.Text(), err)
		}
	}
}

// Whoever was there first waits for the newcomer's call, or both call at once: they connect either way, and again after an
// ICE restart that either side asks for.
func TestNegotiate(t *testing.T) {
	for _, glare := range []bool{false, true} {
		h := newHouse(t)
		ann, bob := h.dial("Ann"), h.dial("Bob")
		j := until[*Joined](t, ann)
		if glare {
			ann.mu.Lock()
			clear(ann.newcomers)
			ann.mu.Unlock()
		}
		a, b := newSide(t, ann, j.Peer.ID), newSide(t, bob, ann.Self().ID)
		exchange(t, a, b)
		for _, s := range []*side{a, b} {
			s.restarts()
			exchange(t, a, b)
		}
		a.Negotiation.Close()
		if err := a.Err(); err != nil {
			t.Errorf("after Close: %v", err)
		}
		b.PeerConnection.Close()
		<-b.Negotiation.Done()
		if err := b.Err(); err != nil {
			t.Errorf("after the connection was closed: %v", err)
		}
	}
}

// What the peer said before Negotiate was called is not lost.
func TestNegotiateLate(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.dial("Ann"), h.dial("Bob")
	b := newSide(t, bob, ann.Self().ID)
	for { // Bob has called, and his candidates wait
		ann.mu.Lock()
		waiting := len(ann.events)
		ann.mu.Unlock()
		if waiting >= 3 {
			break
		}
		<-ann.arrived
	}
	exchange(t, newSide(t, ann, bob.Self().ID), b)
}

// A newcomer that has nothing to offer does not let the other wait for its call.
func TestNegotiateWithNothingToOffer(t *testing.T) {
	h := newHouse(t)
	ann := h.join(Options{Name: "Ann", callWithin: time.Hour})
	bob := h.dial("Bob")
	a := newSide(t, ann, until[*Joined](t, ann).Peer.ID)
	pc, err := webrtc.NewPeerConnection(bob.Configuration())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	connected := make(chan bool, 1)
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			connected <- true
		}
	})
	b := Negotiate(pc, bob, ann.Self().ID)
	select {
	case <-connected:
	case <-time.After(30 * time.Second):
		t.Fatalf("not connected: %v, %v", a.Err(), b.Err())
	}
}

// The server forgets everything in the middle of a call, which goes on; and then a restart is negotiated by the new one.
func TestNegotiateOverAnotherServer(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.dial("Ann"), h.dial("Bob")
	a, b := newSide(t, ann, bob.Self().ID), newSide(t, bob, ann.Self().ID)
	exchange(t, a, b)
	h.restart()
	exchange(t, a, b)
	until[*Welcome](t, ann)
	until[*Welcome](t, bob)
	a.restarts()
	exchange(t, a, b)
}

// "When a new connection appears where another was known, the other side has begun anew, and the receiver begins anew too."
// docs/signaling.md, Descriptions and candidates.
func TestNegotiateAnew(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.dial("Ann"), h.dial("Bob")
	a, b := newSide(t, ann, bob.Self().ID), newSide(t, bob, ann.Self().ID)
	exchange(t, a, b)
	b.PeerConnection.Close()
	<-b.Negotiation.Done()
	b = newSide(t, bob, ann.Self().ID)
	<-a.Negotiation.Done()
	if a.Err() != ErrBegunAnew {
		t.Fatalf("Ann's negotiation ended with %v", a.Err())
	}
	a.PeerConnection.Close()
	exchange(t, newSide(t, ann, bob.Self().ID), b)
}
