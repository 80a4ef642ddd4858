package signaling

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	openWithin = 5 * time.Second  // a WebSocket that has brought nothing by then is taken for blocked
	lastRetry  = 5 * time.Second  // what the waits between carriers grow to
	shortLife  = 10 * time.Second // a WebSocket that broke sooner is suspicious
	maxShort   = 3                // of those in a row mean long-poll
)

// run keeps a carrier up until the room ends.
func (r *Room) run(ctx context.Context, joined chan struct{}) {
	wait := r.options.firstRetry
	for {
		up, err := r.carry(ctx, joined)
		if up {
			wait = r.options.firstRetry
		}
		pause, final := r.judge(ctx, err)
		if final != nil {
			r.finish(final)
			return
		}
		// Jitter keeps the clients of a restarted server from coming in step.
		delay := max(pause, wait/2+rand.N(wait/2+1))
		wait = min(2*wait, lastRetry)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// carry is one carrier from its opening to its end; up if it ever was open. Where a WebSocket does not open, long-poll is tried at once.
func (r *Room) carry(ctx context.Context, joined chan struct{}) (up bool, err error) {
	blocked := false   // a WebSocket was tried
	opened := func() { // called by the carrier when welcome or resumed has come
		up = true
		if blocked {
			r.pollUntil = time.Now().Add(r.options.pollFor)
		}
		r.setState(Online)
		select {
		case <-joined:
		default:
			close(joined)
		}
	}
	if r.options.Carrier == WebSocketOnly || (r.options.Carrier == AutoCarrier && time.Now().After(r.pollUntil)) {
		began := time.Now()
		err = r.overWebSocket(ctx, opened)
		switch {
		case up && time.Since(began) > shortLife:
			r.short = 0
		case up:
			if r.short++; r.short >= maxShort {
				r.short, r.pollUntil = 0, time.Now().Add(r.options.pollFor)
			}
		}
		if refused := new(Error); up || errors.As(err, &refused) || ctx.Err() != nil || r.options.Carrier == WebSocketOnly {
			return up, err
		}
		blocked = true
	}
	err = r.overPoll(ctx, opened)
	return up, err
}

// judge says what follows from the end of a carrier: how long to wait at least, or that the room ends.
func (r *Room) judge(ctx context.Context, err error) (pause time.Duration, final error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.welcome.Session == "" // never joined
	e := new(Error)
	refused := errors.As(err, &e)
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case r.leaving && (errors.Is(err, errFarewell) || refused || r.session == ""):
		return 0, ErrClosed
	case errors.Is(err, ErrSlowReceiver):
		return 0, ErrSlowReceiver
	case !refused && first:
		return 0, err
	case !refused:
		r.setStateLocked(Reconnecting)
		return 0, nil
	}
	pause = time.Duration(e.RetryAfter) * time.Second
	switch e.Code {
	case CodeSessionUnknown:
		r.session = "" // join again
	case CodeTokenInvalid:
		if r.welcome.Token == "" {
			return 0, e
		}
		r.welcome.Token = ""
		return 0, nil
	case CodeSessionReplaced, CodeUnsupportedVersion, CodePassphraseRequired, CodePassphraseWrong, CodeInvalid,
		CodeHostForbidden, CodeOriginForbidden, CodeClientForbidden, CodeForwardedUntrusted, CodeForwardedMalformed, CodeHTTPSRequired,
		CodeMethod, CodeMediaType:
		return 0, e
	}
	if first {
		return 0, e
	}
	// The session may live or not. A resume will tell.
	r.setStateLocked(Reconnecting)
	return pause, nil
}

// errFarewell is the end of a carrier by the server in answer to leave.
var errFarewell = errors.New("signaling: the server ended the connection")

// finish ends the room.
func (r *Room) finish(err error) {
	r.mu.Lock()
	r.setStateLocked(Closed)
	r.err = err
	r.mu.Unlock()
	close(r.done)
	r.stop(err)
}

func (r *Room) setState(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setStateLocked(s)
}

func (r *Room) setStateLocked(s State) {
	if s != r.state {
		r.state = s
		r.emit(s) // if nobody listens, the next message will tell
	}
}

// opening is the first frame of a carrier: join, or the resume of a session by the next attempt.
func (r *Room) opening() (f Frame, ack uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == "" {
		return r.join(), 0
	}
	r.attempt++
	return &Resume{Session: r.session, Attempt: r.attempt}, r.tell()
}

// receive takes a frame. An error ends the carrier.
func (r *Room) receive(raw []byte) error {
	in, bad := parse(raw, newServerFrame)
	if bad != nil {
		return errors.New("signaling: the server sent what is no frame: " + bad.Message)
	}
	if in.bad != nil {
		if in.Seq == 0 {
			return errors.New("signaling: the server sent an impossible " + in.Type + ": " + in.bad.Message)
		}
		in.frame = nil // passed over, like what a later version may have
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if w, ok := in.frame.(*Welcome); ok {
		return r.begin(w)
	}
	if err := r.acknowledge(in.Ack); err != nil {
		return err
	}
	switch f := in.frame.(type) {
	case *Ack, *Resumed:
		return nil
	case *Ping:
		r.ackDue = time.Now()
		r.poke()
		return nil
	case *Error:
		if in.Seq == 0 {
			return f
		}
	case nil:
		if in.Seq == 0 {
			return nil // of a later version
		}
	}
	due := r.ackDue
	fresh, err := r.take(in.Seq, time.Now())
	if r.ackDue != due {
		r.poke()
	}
	if err != nil || !fresh {
		return err
	}
	return r.apply(in.frame)
}

// begin is the start of a session.
func (r *Room) begin(w *Welcome) error {
	again := r.welcome.Session != ""
	r.sequence = sequence{}
	r.session, r.attempt, r.welcome = w.Session, 0, w
	r.peers = slices.Clone(w.Peers)
	r.newcomers = map[string]bool{}
	if !again {
		return nil // Dial tells
	}
	event := *w // ours goes on to change
	return r.emit(&event)
}

// apply keeps the list of peers, and passes the event on.
func (r *Room) apply(f Frame) error {
	find := func(id string) int {
		return slices.IndexFunc(r.peers, func(p Peer) bool { return p.ID == id })
	}
	switch f := f.(type) {
	case *Joined:
		if find(f.Peer.ID) < 0 {
			r.peers = append(r.peers, f.Peer)
			r.newcomers[f.Peer.ID] = true
		}
	case *Left:
		if i := find(f.Peer); i >= 0 {
			r.peers = slices.Delete(slices.Clone(r.peers), i, i+1)
			delete(r.newcomers, f.Peer)
		}
	case *Presence:
		if i := find(f.From); i >= 0 {
			r.peers[i].Name, r.peers[i].State = f.Name, f.State
		}
	case *Token:
		r.welcome.Token = f.Token
	case *ICEServers:
		r.welcome.ICEServers = f.ICEServers
		return r.emit(renewed{})
	}
	if e, ok := f.(Event); ok {
		return r.emit(e)
	}
	return nil
}

func (r *Room) emit(e Event) error {
	taken, err := r.inform(e)
	if _, ours := e.(renewed); taken || ours || err != nil {
		return err
	}
	if len(r.events) >= maxEvents {
		return ErrSlowReceiver
	}
	r.events = append(r.events, e)
	r.notify()
	return nil
}

// next is what the carrier has to send; leave means that the leave frame follows it.
func (r *Room) next(cursor uint64, limit int) (b batch, leave bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b = r.pull(cursor, limit, time.Now())
	return b, r.leaving && !b.more
}
