package signaling

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// A guest is a program that meets everybody.
type guest struct {
	*Room
	t     *testing.T
	meets chan encounter
	early []encounter // that nobody has asked for yet
	leave context.CancelFunc
	end   chan error // what Meet has returned
}

// An encounter is one connection of a guest's.
type encounter struct {
	peer Peer
	side *side
	ctx  context.Context
}

// meet lets a program meet everybody.
func (h *house) meet(r *Room) *guest {
	ctx, leave := context.WithCancel(h.t.Context())
	g := &guest{Room: r, t: h.t, meets: make(chan encounter, 16), leave: leave, end: make(chan error, 1)}
	go func() {
		g.end <- Meet(ctx, r, func(ctx context.Context, peer Peer) (*webrtc.PeerConnection, error) {
			s, err := prepare(r)
			if err == nil {
				g.meets <- encounter{peer, s, ctx}
			}
			return s.PeerConnection, err
		})
	}()
	h.t.Cleanup(leave)
	return g
}

// next is the guest's next connection to that peer.
func (g *guest) next(id string) encounter {
	g.t.Helper()
	for i, e := range g.early {
		if e.peer.ID == id {
			g.early = slices.Delete(g.early, i, i+1)
			return e
		}
	}
	select {
	case e := <-g.meets:
		if e.peer.ID != id {
			g.early = append(g.early, e)
			return g.next(id)
		}
		return e
	case err := <-g.end:
		g.t.Fatalf("%s meets nobody any more: %v", g.Self().Name, err)
	case <-time.After(30 * time.Second):
		g.t.Fatalf("%s meets nobody", g.Self().Name)
	}
	panic("not reached")
}

// over waits until it is over with the connection, and returns why.
func (e encounter) over(t *testing.T) error {
	t.Helper()
	select {
	case <-e.ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatalf("the connection to %s is not over", e.peer.Name)
	}
	<-e.side.PeerConnection.Done() // soon
	return context.Cause(e.ctx)
}

// alone waits until nobody else is in the room. Events do not tell: Meet has them.
func (r *Room) alone(t *testing.T) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(r.Peers()) > 0 {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("somebody is still in the room")
		}
	}
}

// Three meet, each with each. One leaves: the others' connections to it are closed; and theirs are when they leave.
func TestMeet(t *testing.T) {
	h := newHouse(t)
	var guests []*guest
	met := map[[2]string]encounter{}
	for _, name := range []string{"Ann", "Bob", "Eve"} {
		g := h.meet(h.dial(name))
		for _, other := range guests {
			a, b := g.next(other.Self().ID), other.next(g.Self().ID)
			exchange(t, a.side, b.side)
			met[[2]string{name, other.Self().Name}], met[[2]string{other.Self().Name, name}] = a, b
		}
		guests = append(guests, g)
	}
	ann, bob, eve := guests[0], guests[1], guests[2]
	bob.leave()
	if err := <-bob.end; err != context.Canceled {
		t.Errorf("Bob's Meet returned %v", err)
	}
	if bob.State() != Closed {
		t.Error("Bob is still in the room")
	}
	for _, name := range []string{"Ann", "Eve"} {
		if err := met[[2]string{name, "Bob"}].over(t); err != ErrLeft {
			t.Errorf("%s's connection to Bob is over: %v", name, err)
		}
		if err := met[[2]string{"Bob", name}].over(t); err != context.Canceled {
			t.Errorf("Bob's connection to %s is over: %v", name, err)
		}
	}
	exchange(t, met[[2]string{"Ann", "Eve"}].side, met[[2]string{"Eve", "Ann"}].side)

	// He comes back as somebody else.
	bob = h.meet(h.dial("Bob"))
	for _, g := range []*guest{ann, eve} {
		exchange(t, g.next(bob.Self().ID).side, bob.next(g.Self().ID).side)
	}
	ann.Close()
	if err := <-ann.end; err != ErrClosed {
		t.Errorf("Ann's Meet returned %v after her room was closed", err)
	}
}

// The same peer is there again before it was missed, as a program that crashed and is started again with its secret.
func TestMeetWhoBeginsAnew(t *testing.T) {
	h := newHouse(t)
	ann := h.meet(h.dial("Ann"))
	var before *encounter
	for range 3 {
		bob := h.join(Options{Name: "Bob", Secret: "0123456789abcdef"})
		b := newSide(t, bob, ann.Self().ID)
		a := ann.next(bob.Self().ID)
		exchange(t, a.side, b)
		if before != nil {
			if err := before.over(t); err != ErrBegunAnew {
				t.Errorf("the connection before is over: %v", err)
			}
		}
		before = &a
	}
}

// Both call at once.
func TestMeetWithGlare(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.dial("Ann"), h.dial("Bob")
	until[*Joined](t, ann)
	ann.mu.Lock()
	clear(ann.newcomers)
	ann.mu.Unlock()
	a, b := h.meet(ann), h.meet(bob)
	exchange(t, a.next(bob.Self().ID).side, b.next(ann.Self().ID).side)
}

// A server that was killed and has forgotten everything ends no connection. Who had none yet and does not come back has left.
func TestMeetOverAnotherServer(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.meet(h.dial("Ann")), h.meet(h.dial("Bob"))
	a, b := ann.next(bob.Self().ID), bob.next(ann.Self().ID)
	exchange(t, a.side, b.side)
	eve := h.dial("Eve") // who does not connect
	waits := ann.next(eve.Self().ID)
	bob.next(eve.Self().ID)
	eve.stop(errors.New("crashed"))
	<-eve.done
	h.restart()
	if err := waits.over(t); err != ErrLeft {
		t.Errorf("the connection to Eve is over: %v", err)
	}
	exchange(t, a.side, b.side)
	a.side.restarts()
	exchange(t, a.side, b.side)
	if len(ann.meets)+len(ann.early)+len(bob.meets)+len(bob.early) > 0 {
		t.Error("somebody was met twice")
	}
}

// Who drops out of the room is met no more, unless there is a connection, which goes on.
func TestMeetWhoDropsOut(t *testing.T) {
	h := newHouse(t)
	ann := h.meet(h.dial("Ann"))
	bob, eve := h.dial("Bob"), h.dial("Eve")
	b := newSide(t, bob, ann.Self().ID)
	a := ann.next(bob.Self().ID)
	exchange(t, a.side, b)
	waits := ann.next(eve.Self().ID)
	for _, r := range []*Room{bob, eve} {
		r.stop(errors.New("crashed"))
		<-r.done
	}
	if err := waits.over(t); err != ErrLeft {
		t.Errorf("the connection to Eve is over: %v", err)
	}
	ann.alone(t)
	if a.ctx.Err() != nil {
		t.Errorf("the connection to Bob is over: %v", context.Cause(a.ctx))
	}
	if err := a.side.ch.SendText("hello"); err != nil {
		t.Error(err)
	}
	if m, err := b.ch.Receive(t.Context()); err != nil || m.Text() != "hello" {
		t.Errorf("Bob hears %q, %v", m.Text(), err)
	}
}

// What cannot be negotiated is given up and tried again; the others do not notice.
func TestMeetWhoSaysNonsense(t *testing.T) {
	h := newHouse(t)
	ann, bob := h.meet(h.dial("Ann")), h.meet(h.dial("Bob"))
	a, b := ann.next(bob.Self().ID), bob.next(ann.Self().ID)
	exchange(t, a.side, b.side)
	eve := h.dial("Eve")
	first := ann.next(eve.Self().ID)
	if _, err := eve.Send(&Description{To: ann.Self().ID, Connection: "first", Description: SessionDescription{Type: SDPOffer, SDP: "nonsense"}}); err != nil {
		t.Fatal(err)
	}
	var refused *webrtc.Error
	if err := first.over(t); !errors.As(err, &refused) {
		t.Errorf("the connection to Eve is over: %v", err)
	}
	ann.next(eve.Self().ID)
	e := newSide(t, eve, ann.Self().ID) // she has come to her senses
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	select {
	case <-e.open:
	case <-ctx.Done():
		t.Fatalf("not open: %v", e.Err())
	}
	exchange(t, a.side, b.side)
}

// The program decides: an error ends everything; who is turned away is not met, and neither is who was left, until they come again.
func TestMeetOnlySome(t *testing.T) {
	h := newHouse(t)
	ann := h.dial("Ann")
	asked := make(chan string, 16)
	refusal := errors.New("not with Eve")
	end := make(chan error, 1)
	var connections []*webrtc.PeerConnection
	go func() {
		end <- Meet(t.Context(), ann, func(ctx context.Context, peer Peer) (*webrtc.PeerConnection, error) {
			name, what, _ := strings.Cut(peer.Name, " ")
			asked <- name
			if name == "Eve" {
				return nil, refusal
			}
			if what == "is turned away" {
				return nil, nil
			}
			s, err := prepare(ann)
			connections = append(connections, s.PeerConnection)
			if what == "is left" {
				s.PeerConnection.Close()
				context.AfterFunc(ctx, func() { asked <- "over" })
			}
			return s.PeerConnection, err
		})
	}()
	wants := func(want string) {
		t.Helper()
		if got := <-asked; got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	for _, what := range []string{"is turned away", "is left"} {
		for range 2 {
			bob := h.join(Options{Name: "Bob " + what, Secret: "0123456789abcdef"})
			wants("Bob")
			if what == "is left" {
				wants("over")
			}
			other := h.dial("Cat") // the room is looked at again
			wants("Cat")
			for _, r := range []*Room{bob, other} {
				r.Close()
			}
			ann.alone(t)
		}
	}
	h.dial("Eve")
	wants("Eve")
	if err := <-end; err != refusal {
		t.Errorf("Meet returned %v", err)
	}
	for _, pc := range connections {
		<-pc.Done()
	}
}

// Where a path is there and DTLS fails on it, both sides give the connection up and make another.
func TestMeetWhereDTLSFails(t *testing.T) {
	h := newHouse(t)
	rooms := []*Room{h.dial("Ann"), h.dial("Bob")}
	networks := []*webrtc.Network{}
	for _, group := range []tls.CurveID{tls.CurveP256, tls.CurveP384} { // they have none in common
		n, err := webrtc.NewNetwork(webrtc.NetworkConfig{Groups: []tls.CurveID{group}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		networks = append(networks, n)
	}
	first, open := make(chan context.Context, 2), make(chan struct{}, 2)
	var ends []chan error
	ctx, leave := context.WithCancel(t.Context())
	for i, r := range rooms {
		end, tries := make(chan error, 1), 0
		ends = append(ends, end)
		go func() {
			end <- Meet(ctx, r, func(ctx context.Context, _ Peer) (*webrtc.PeerConnection, error) {
				var pc *webrtc.PeerConnection
				var err error
				if tries++; tries == 1 {
					pc, err = networks[i].NewPeerConnection(r.Configuration())
					first <- ctx
				} else {
					pc, err = webrtc.NewPeerConnection(r.Configuration())
				}
				if err != nil {
					return nil, err
				}
				id := uint16(0)
				ch, err := pc.CreateDataChannel("agreed", &webrtc.DataChannelInit{Negotiated: true, ID: &id})
				if err == nil {
					ch.OnOpen(func() { open <- struct{}{} })
				}
				return pc, err
			})
		}()
	}
	late := time.After(30 * time.Second)
	for range rooms {
		select {
		case <-open:
		case <-late:
			t.Fatal("they are not connected")
		}
	}
	for range rooms {
		failed := <-first
		<-failed.Done()
		if why := context.Cause(failed); why != errInsecure && why != ErrBegunAnew {
			t.Errorf("the first connection is over: %v", why)
		}
	}
	leave()
	for _, end := range ends {
		if err := <-end; err != context.Canceled {
			t.Errorf("Meet returned %v", err)
		}
	}
}
