package signaling

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// errOver is the cause of the context of a connection that the program has closed.
var errOver = errors.New("signaling: the connection was closed")

// Meet connects this program with everybody who is in the room, and whoever comes, until ctx or the room ends. It returns why,
// when the room is left and all connections are closed.
//
// Connect makes the connection to a peer: [webrtc.NewPeerConnection] with [Room.Configuration] in the simplest case, and on it
// the channels, tracks and handlers that are wanted, but those that [Negotiate] sets. It is called for one peer at a time.
// The connection is Meet's from then on: it is negotiated, and closed when it is over with it. Ctx ends then, and its cause says
// why: [ErrLeft], [ErrBegunAnew], what the connection could not take of what the peer said, that DTLS has failed, or what ended
// Meet. After all but the first and the last connect is called for the peer again. A connection that the program itself closes is over too, and the peer
// is not met until it joins anew. So is one that is nil. An error of connect ends Meet; a connection beside it is closed.
//
// Meet receives the events of the room; [Room.Peers] has what they tell.
func Meet(ctx context.Context, room *Room, connect func(ctx context.Context, peer Peer) (*webrtc.PeerConnection, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	m := &meeting{room: room, connect: connect, wake: make(chan struct{}, 1), met: map[string]bool{}}
	room.expect()
	m.all.Go(func() {
		for {
			if _, err := room.Receive(ctx); err != nil {
				cancel(err)
				return
			}
			m.poke()
		}
	})
	for ctx.Err() == nil {
		m.invite(ctx, cancel)
		select {
		case <-m.wake:
		case <-ctx.Done():
		}
	}
	room.Close() // first, so that the others see it as what it is
	m.all.Wait()
	return context.Cause(ctx)
}

// A meeting is one call of Meet.
type meeting struct {
	room    *Room
	connect func(context.Context, Peer) (*webrtc.PeerConnection, error)
	wake    chan struct{}  // holds 1 when invite has something to look at
	all     sync.WaitGroup // of its goroutines
	turn    sync.Mutex     // held while connect is called

	mu  sync.Mutex
	met map[string]bool // peers by id: whether one is met, or was, and is to leave before it is met again
}

func (m *meeting) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// invite begins with all who are in the room and not met.
func (m *meeting) invite(ctx context.Context, cancel context.CancelCauseFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	here := m.room.Peers()
	for id, live := range m.met {
		if !live && !slices.ContainsFunc(here, func(p Peer) bool { return p.ID == id }) {
			delete(m.met, id)
		}
	}
	for _, p := range here {
		if _, known := m.met[p.ID]; known {
			continue
		}
		m.met[p.ID] = true
		m.all.Go(func() {
			again, err := m.meet(ctx, p)
			if err != nil {
				cancel(err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.met[p.ID] = false; again {
				delete(m.met, p.ID)
			}
			m.poke()
		})
	}
}

// meet is one peer from its coming to its leaving. Again says that it may be met when it is in the room; err ends Meet.
func (m *meeting) meet(ctx context.Context, peer Peer) (again bool, err error) {
	for failures := 0; ; {
		why, err := m.once(ctx, peer)
		switch {
		case err != nil || why == errOver || ctx.Err() != nil:
			return false, err
		case why == ErrLeft:
			return true, nil
		case why == ErrBegunAnew:
			failures = 0
			continue
		}
		// It cannot be negotiated, as little as the next one perhaps.
		failures++
		timer := time.NewTimer(min(m.room.options.firstAgain*time.Duration(failures), lastSearch))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// once is one connection, and why it was closed.
func (m *meeting) once(ctx context.Context, peer Peer) (why, err error) {
	ctx, end := context.WithCancelCause(ctx)
	m.turn.Lock()
	pc, err := m.connect(ctx, peer)
	m.turn.Unlock()
	if err != nil || pc == nil {
		end(errOver)
		if pc != nil {
			pc.Close()
		}
		return errOver, err
	}
	n := Negotiate(pc, m.room, peer.ID)
	if !m.room.has(peer.ID) { // it has left before the negotiation could be told
		n.end(ErrLeft)
	}
	select {
	case <-n.Done():
	case <-ctx.Done():
		<-m.room.done // that this program leaves is said before its connections end
		n.Close()
	}
	if why = n.Err(); why == nil {
		why = errOver
	}
	end(why)
	pc.Close()
	return why, nil
}

// has reports whether a peer is in the room.
func (r *Room) has(peer string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.peers, func(p Peer) bool { return p.ID == peer })
}
