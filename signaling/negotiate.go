package signaling

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// Times of a negotiation, as the browser's SDK has them.
const (
	callWithin     = 3 * time.Second        // the side that was there first waits that long for the newcomer to call
	passAfter      = 100 * time.Millisecond // the newcomer says that it will not, if by then it has nothing to offer
	patience       = 500 * time.Millisecond // a short drop heals by itself
	politePatience = 1500 * time.Millisecond
	searchStep     = 5 * time.Second // each search gets more time than the one before
	lastSearch     = 30 * time.Second
	sendAgain      = time.Second // after ErrFull
	secureStep     = time.Second // how often DTLS is looked at while it has not succeeded
)

// maxEarly is how many candidates are kept that come before the description they belong to.
const maxEarly = 64

// ErrBegunAnew ends a [Negotiation]: the peer has given its connection up and made another. Make one too, and call
// Negotiate again; what the peer said to the new one waits for it.
var ErrBegunAnew = errors.New("signaling: the peer has made a new connection: close this one, make another and negotiate again")

// ErrLeft ends a [Negotiation]: the peer has left the room, or has lost its seat there, and no path leads to it any more.
var ErrLeft = errors.New("signaling: the peer has left the room")

// errInsecure ends a negotiation: there is a path, but DTLS has failed on it, which no other path would mend.
var errInsecure = errors.New("signaling: the path to the peer is there, but DTLS has failed on it")

// The ends of a negotiation that the caller asked for.
var (
	errStopped  = errors.New("signaling: the negotiation was closed")
	errReplaced = errors.New("signaling: Negotiate was called again for this peer")
)

// A Negotiation keeps one connection to one peer of a room negotiated: see [Negotiate]. Its methods may be called at any
// time from any goroutine.
type Negotiation struct {
	pc     *webrtc.PeerConnection
	room   *Room
	peer   string
	label  string // names our connection to the other side
	polite bool   // gives way when both offer

	stop chan error // holds why it is to end
	done chan struct{}
	err  error // when done is closed

	mu     sync.Mutex
	wake   chan struct{} // holds 1 when one of the following has something new
	inbox  []Event       // of the peer, or about the way to it or to the server
	found  []*webrtc.ICECandidate
	needed bool
	states []webrtc.ICEConnectionState

	// The goroutine's.

	theirs   string // names the other side's connection, once heard from
	wants    bool   // an offer is to be made
	ignoring bool   // the peer's latest offer, and so its candidates
	early    []*webrtc.ICECandidate
	outbox   []Message
	away     bool // the peer has no seat at the moment
	due      bool // a search for a path is wanted
	searches int  // since ICE was last connected

	callAt, passAt, searchAt, sendAt, leftAt, secureAt time.Time // when something is due; zero: nothing is
}

// renewed is the event that the room's ICE servers have fresh credentials.
type renewed struct{}

func (renewed) event() {}

// Negotiate does for a connection what is left to signaling. It makes offers and answers them, by perfect negotiation
// (W3C WebRTC section 10.7), trickles candidates, looks for a new path by ICE restarts when the old one is gone, for as
// long as it takes, and hands fresh credentials to the connection where it uses the room's ICE servers
// ([Room.Configuration]).
//
// It sets the handlers of negotiationneeded, icecandidate and iceconnectionstatechange; all others are the caller's. The
// peer's descriptions and candidates, those that wait for Receive included, are no longer events of the room. Joined and
// Left still are. It ends by Close, with the connection, with the room, and for what Err says. [Meet] does this with
// everybody who is in the room.
func Negotiate(pc *webrtc.PeerConnection, room *Room, peer string) *Negotiation {
	n := &Negotiation{
		pc: pc, room: room, peer: peer, label: randomHandle()[:12], polite: room.Self().ID < peer,
		stop: make(chan error, 1), done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if room.register(n) {
		n.callAt = time.Now().Add(room.options.callWithin)
	} else {
		n.passAt = time.Now().Add(passAfter)
	}
	go n.run()
	pc.OnNegotiationNeeded(func() { n.tell(func() { n.needed = true }) })
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil { // the end of each generation is a candidate that is empty
			n.tell(func() { n.found = append(n.found, c) })
		}
	})
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) { n.tell(func() { n.states = append(n.states, s) }) })
	return n
}

// Done is closed when the negotiation has ended.
func (n *Negotiation) Done() <-chan struct{} { return n.done }

// Err says why the negotiation ended: [ErrLeft], [ErrBegunAnew], an error of the connection, which could not take what the
// peer said, that DTLS has failed on a path that is there, or the room's. It is nil before that, and where Close or the end of the connection was the reason.
func (n *Negotiation) Err() error {
	if n.over() && n.err != errStopped {
		return n.err
	}
	return nil
}

// Close ends the negotiation and returns nil. The connection goes on.
func (n *Negotiation) Close() error {
	n.end(errStopped)
	return nil
}

func (n *Negotiation) end(why error) {
	select {
	case n.stop <- why:
	default:
	}
	<-n.done
}

// tell changes what the goroutine is to look at.
func (n *Negotiation) tell(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine. All that a negotiation does, it does here, one after the other: so an offer of the peer's collides
// with one of ours exactly where the signaling state is not stable.
func (n *Negotiation) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n.err == nil {
		select {
		case n.err = <-n.stop:
		case <-n.pc.Done():
			n.err = errStopped
		case <-n.room.done:
			n.err = n.room.err
		case <-n.wake:
			n.err = n.step()
		case <-timer.C:
			n.err = n.step()
		}
		if n.err != nil && n.pc.SignalingState() == webrtc.SignalingStateClosed {
			n.err = errStopped // the program closes it at this moment
		}
		timer.Stop()
		if at := earliest(n.callAt, n.passAt, n.searchAt, n.sendAt, n.leftAt, n.secureAt); !at.IsZero() {
			timer.Reset(time.Until(at))
		}
	}
	n.room.unregister(n)
	close(n.done)
}

func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// past reports whether t has come, and clears it then.
func past(t *time.Time, now time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

// step does what there is to do.
func (n *Negotiation) step() error {
	n.mu.Lock()
	inbox, found, states := n.inbox, n.found, n.states
	n.wants = n.wants || n.needed
	n.inbox, n.found, n.states, n.needed = nil, nil, nil, false
	n.mu.Unlock()

	now := time.Now()
	for i, e := range inbox {
		if err := n.take(e, now); err != nil {
			if err != ErrBegunAnew { // else e is for the next one
				i++
			}
			n.mu.Lock()
			n.inbox = append(inbox[i:], n.inbox...)
			n.mu.Unlock()
			return err
		}
	}
	for _, s := range states {
		n.follow(s, now)
	}
	if past(&n.leftAt, now) && n.away && !n.connected() {
		return ErrLeft
	}
	if past(&n.secureAt, now) && n.connected() {
		switch n.pc.ConnectionState() {
		case webrtc.PeerConnectionStateConnecting:
			n.secureAt = now.Add(secureStep)
		case webrtc.PeerConnectionStateFailed:
			return errInsecure
		}
	}
	if past(&n.searchAt, now) {
		n.search(now)
	}
	past(&n.callAt, now)
	if n.wants && n.callAt.IsZero() {
		n.wants = false
		if err := n.describe(); err != nil {
			return err
		}
	}
	if past(&n.passAt, now) && n.pc.LocalDescription() == nil && n.theirs == "" {
		n.outbox = append(n.outbox, &Description{To: n.peer, Connection: n.label, Description: SessionDescription{Type: SDPRollback}})
	}
	for _, c := range found {
		n.outbox = append(n.outbox, &Candidate{To: n.peer, Connection: n.label, ReplyTo: n.theirs, Candidate: ICECandidate{
			Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex, UsernameFragment: c.UsernameFragment}})
	}
	return n.flush(now)
}

// take takes an event in. An error ends the negotiation.
func (n *Negotiation) take(e Event, now time.Time) error {
	switch e := e.(type) {
	case *Description:
		if fits, err := n.fits(e.Connection, e.ReplyTo); !fits {
			return err
		}
		return n.description(webrtc.SessionDescription{Type: webrtc.SDPType(e.Description.Type), SDP: e.Description.SDP})
	case *Candidate:
		if fits, err := n.fits(e.Connection, e.ReplyTo); !fits {
			return err
		}
		c := e.Candidate
		n.candidate(&webrtc.ICECandidate{Candidate: c.Candidate, SDPMid: c.SDPMid, SDPMLineIndex: c.SDPMLineIndex, UsernameFragment: c.UsernameFragment})
	case *Joined:
		n.present(now)
	case *Welcome:
		if slices.ContainsFunc(e.Peers, func(p Peer) bool { return p.ID == n.peer }) {
			n.present(now)
		} else {
			n.absent(now, n.room.options.awayGrace) // it joins again, if it can
		}
	case *Left:
		if e.Reason == ReasonLeft {
			return ErrLeft
		}
		n.absent(now, 0)
	case State:
		if e == Online && n.due {
			n.searchAt = now
		}
	case renewed:
		return n.configure()
	}
	return nil
}

// fits reports whether the peer speaks to this connection of ours.
func (n *Negotiation) fits(connection, replyTo string) (bool, error) {
	switch {
	case replyTo != "" && replyTo != n.label: // to one that is no more
		return false, nil
	case n.theirs != "" && connection != n.theirs:
		return false, ErrBegunAnew
	}
	n.theirs = connection
	return true, nil
}

func (n *Negotiation) description(d webrtc.SessionDescription) error {
	if d.Type == webrtc.SDPTypeRollback { // the newcomer does not call
		n.callAt = time.Time{}
		return nil
	}
	stable := n.pc.SignalingState() == webrtc.SignalingStateStable
	if n.ignoring = d.Type == webrtc.SDPTypeOffer && !stable && !n.polite; n.ignoring {
		return nil
	}
	if d.Type == webrtc.SDPTypeAnswer && stable {
		return nil // to an offer that was sent twice
	}
	n.callAt = time.Time{} // they have called
	if err := n.pc.SetRemoteDescription(d); err != nil {
		return err
	}
	early := n.early
	n.early = nil
	for _, c := range early {
		n.candidate(c)
	}
	if d.Type != webrtc.SDPTypeOffer {
		return nil
	}
	return n.describe()
}

func (n *Negotiation) candidate(c *webrtc.ICECandidate) {
	switch {
	case n.ignoring:
	case n.pc.RemoteDescription() == nil:
		if len(n.early) < maxEarly {
			n.early = append(n.early, c)
		}
	default:
		n.pc.AddICECandidate(c) // one that does not fit, of an older generation or an unknown kind, is one path fewer
	}
}

// describe makes the offer or answer that the state asks for, and sends it.
func (n *Negotiation) describe() error {
	if err := n.pc.SetLocalDescription(nil); err != nil {
		return err
	}
	n.sendDescription()
	return nil
}

func (n *Negotiation) sendDescription() {
	if d := n.pc.LocalDescription(); d != nil {
		n.outbox = append(n.outbox, &Description{To: n.peer, Connection: n.label, ReplyTo: n.theirs,
			Description: SessionDescription{Type: SDPType(d.Type), SDP: d.SDP}})
	}
}

// present is called when the room has the peer again. The server had forgotten it or us: what was said last may be lost,
// and a relay of the server's is gone.
func (n *Negotiation) present(now time.Time) {
	n.away, n.leftAt = false, time.Time{}
	if n.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
		n.sendDescription()
	}
	if n.due || n.relayed() {
		n.searchAt = now
	}
}

// absent is called when the server does not have the peer, which did not say that it leaves. What is connected goes on for as
// long as it is.
func (n *Negotiation) absent(now time.Time, grace time.Duration) {
	n.away = true
	n.leftAt = now.Add(grace)
}

func (n *Negotiation) connected() bool {
	switch n.pc.ICEConnectionState() {
	case webrtc.ICEConnectionStateConnected, webrtc.ICEConnectionStateCompleted:
		return true
	}
	return false
}

func (n *Negotiation) relayed() bool {
	s := n.pc.SCTP()
	if s == nil {
		return false
	}
	p := s.Transport().ICETransport().GetSelectedCandidatePair()
	return p != nil && p.Local.Type() == "relay"
}

// follow does what a new state of ICE asks for.
func (n *Negotiation) follow(s webrtc.ICEConnectionState, now time.Time) {
	wait := time.Duration(0)
	switch s {
	case webrtc.ICEConnectionStateConnected, webrtc.ICEConnectionStateCompleted:
		n.due, n.searches, n.searchAt = false, 0, time.Time{}
		n.secureAt = now.Add(secureStep) // the handler of the connection's state is the caller's
		return
	case webrtc.ICEConnectionStateDisconnected:
		wait = patience
		if n.away {
			n.leftAt = now.Add(n.room.options.awayGrace)
		}
	case webrtc.ICEConnectionStateFailed:
		if n.away {
			n.leftAt = now
		}
	default:
		return
	}
	if n.polite {
		wait += politePatience // so that both do not begin at once
	}
	n.due, n.searchAt = true, now.Add(wait)
}

// search looks for a new path, over the old one as long as that lasts, and again for as long as none is found. Without
// the server or the peer it waits until they are back.
func (n *Negotiation) search(now time.Time) {
	n.due = true
	if n.away || n.room.State() != Online {
		return
	}
	n.callAt = time.Time{}
	if n.pc.SignalingState() == webrtc.SignalingStateHaveLocalOffer {
		n.sendDescription()
	} else {
		n.pc.RestartICE()
	}
	n.searches++
	n.searchAt = now.Add(min(searchStep*time.Duration(n.searches), lastSearch))
}

// configure hands fresh credentials to the connection. Allocations keep the ones that they were made with; the next
// search needs some that have not expired.
func (n *Negotiation) configure() error {
	cfg := n.pc.GetConfiguration()
	for _, fresh := range n.room.ICEServers() {
		for i := range cfg.ICEServers {
			if s := &cfg.ICEServers[i]; slices.Equal(s.URLs, fresh.URLs) {
				s.Username, s.Credential = fresh.Username, fresh.Credential
			}
		}
	}
	return n.pc.SetConfiguration(cfg)
}

// flush sends what is to be sent. Where the room cannot take it, the server is away, and it is tried again.
func (n *Negotiation) flush(now time.Time) error {
	for len(n.outbox) > 0 {
		_, err := n.room.Send(n.outbox[0])
		if errors.Is(err, ErrFull) {
			n.sendAt = now.Add(sendAgain)
			return nil
		}
		if err != nil {
			return err
		}
		n.outbox = n.outbox[1:]
	}
	n.sendAt = time.Time{}
	return nil
}

// Configuration is one for [webrtc.NewPeerConnection] with the room's ICE servers. [Negotiate] keeps their credentials fresh.
func (r *Room) Configuration() webrtc.Configuration {
	var cfg webrtc.Configuration
	for _, s := range r.ICEServers() {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	return cfg
}

// register makes n the one that takes what the peer says: what waits for Receive, and what one before it has left.
// It reports whether the peer came later than we, so that it calls first.
func (r *Room) register(n *Negotiation) (newcomer bool) {
	r.mu.Lock()
	before := r.negotiations[n.peer]
	r.mu.Unlock()
	if before != nil {
		before.end(errReplaced)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if before != nil {
		before.mu.Lock()
		n.inbox = before.inbox
		before.mu.Unlock()
	}
	r.events = slices.DeleteFunc(r.events, func(e Event) bool {
		if saidBy(e) != n.peer {
			return false
		}
		n.inbox = append(n.inbox, e)
		return true
	})
	r.negotiations[n.peer] = n
	return r.newcomers[n.peer]
}

// unregister lets the peer's messages be events of the room again, unless they are kept for the next negotiation.
func (r *Room) unregister(n *Negotiation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (n.err == errStopped || n.err == ErrLeft) && r.negotiations[n.peer] == n {
		delete(r.negotiations, n.peer)
	}
}

// saidBy is the peer that said e to us, if it is for a negotiation.
func saidBy(e Event) string {
	switch e := e.(type) {
	case *Description:
		return e.From
	case *Candidate:
		return e.From
	}
	return ""
}

// expect makes what peers say wait for their negotiation from now on, and not for Receive.
func (r *Room) expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expecting = true
	r.events = slices.DeleteFunc(r.events, func(e Event) bool {
		if saidBy(e) == "" {
			return false
		}
		r.inform(e)
		return true
	})
}

// ended is a negotiation that keeps what the peer says for the next one, and does nothing else.
func ended() *Negotiation {
	n := &Negotiation{done: make(chan struct{})}
	close(n.done)
	return n
}

// inform gives an event to the negotiations that it concerns; taken says that it is for no one else.
func (r *Room) inform(e Event) (taken bool, err error) {
	peer := saidBy(e)
	if peer != "" && r.expecting && r.negotiations[peer] == nil {
		r.negotiations[peer] = ended()
	}
	taken = peer != "" && r.negotiations[peer] != nil
	switch e := e.(type) {
	case *Joined:
		peer = e.Peer.ID
	case *Left:
		peer = e.Peer
	case *Welcome, State, renewed:
		for _, n := range r.negotiations {
			err = errors.Join(err, n.deliver(e))
		}
		return false, err
	}
	if n := r.negotiations[peer]; n != nil {
		err = n.deliver(e)
		if _, left := e.(*Left); left && n.over() {
			delete(r.negotiations, peer)
		}
	}
	return taken, err
}

func (n *Negotiation) over() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// deliver gives n an event. One that has ended keeps what the peer says for the next one, up to a bound.
func (n *Negotiation) deliver(e Event) (err error) {
	n.tell(func() {
		switch over := n.over(); {
		case over && (saidBy(e) == "" || len(n.inbox) >= maxEarly):
		case !over && len(n.inbox) >= maxEvents:
			err = ErrSlowReceiver
		default:
			n.inbox = append(n.inbox, e)
		}
	})
	return err
}
