package signaling

import (
	"slices"
	"time"
)

// A room is the peers that share a name. It exists while it has a seat.
type room struct {
	name  string
	seats []*seat // in the order of coming
}

func (r *room) find(peer string) *seat {
	for _, s := range r.seats {
		if s.peer.ID == peer {
			return s
		}
	}
	return nil
}

func (r *room) others(s *seat) []*seat {
	return slices.DeleteFunc(slices.Clone(r.seats), func(o *seat) bool { return o == s })
}

// A seat is a peer's place in a room. Its fields belong to the hub's lock.
type seat struct {
	room    *room
	peer    Peer
	session string
	id      string // see Seat.ID
	address *address
	sequence

	carrier  *carrier // nil while the connection is down
	attempt  uint64   // of the newest carrier
	frames   bucket   // limits what the peer says
	requests int      // under way, for long-poll: of carriers before, too

	missed map[*seat]bool // whose newest presence found no room here

	expires time.Time   // when the seat is given up; zero while the carrier is up
	token   time.Time   // when a fresh token is due
	timer   *time.Timer // for the earliest of the three

	iceServers func() []ICEServer // makes fresh ones
	ice        time.Time          // when they are due; zero: never
}

func (s *seat) name() Seat { return Seat{Room: s.room.name, Peer: s.peer.ID, ID: s.id} }

type carrierKind int

const (
	webSocket carrierKind = iota
	longPoll
)

// A carrier is one WebSocket, or the long-poll requests of one attempt. Its fields belong to the hub's lock, but wake.
type carrier struct {
	kind     carrierKind
	requests int           // under way, for long-poll
	wake     chan struct{} // holds 1 when there is something to do; for long-poll that of the waiting request
	over     *Error        // why the carrier ended; nil while it lives
}

// The ends of a carrier that need not be told to the client.
var (
	errLeft = &Error{Message: "the peer left"}
	errGone = &Error{Message: "the connection broke"}
)

func (c *carrier) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// attach makes a new carrier the seat's; the one before is replaced.
func (s *seat) attach(kind carrierKind, attempt uint64) *carrier {
	s.stop(&Error{Code: CodeCarrierReplaced, Message: "another connection has taken over this session"})
	s.carrier = &carrier{kind: kind, wake: make(chan struct{}, 1)}
	s.attempt = attempt
	s.expires = time.Time{}
	return s.carrier
}

// stop ends the seat's carrier, if it has one.
func (s *seat) stop(why *Error) {
	if c := s.carrier; c != nil {
		c.over = why
		c.poke()
		s.carrier = nil
	}
}

// detach notes that a carrier is down. The seat is held for a while.
func (h *Hub) detach(s *seat, c *carrier, why *Error) {
	if s.carrier == c {
		s.stop(why)
		s.expires = time.Now().Add(h.cfg.ResumeFor)
		h.schedule(s)
	}
}

// schedule sets the seat's timer.
func (h *Hub) schedule(s *seat) {
	next := s.token
	if !s.ice.IsZero() && s.ice.Before(next) {
		next = s.ice
	}
	if !s.expires.IsZero() && s.expires.Before(next) {
		next = s.expires
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(time.Until(next), func() { h.onTimer(s) })
	} else {
		s.timer.Reset(time.Until(next))
	}
}

func (h *Hub) onTimer(s *seat) {
	h.mu.Lock()
	defer h.unlock()
	now := time.Now()
	switch {
	case h.sessions[s.session] != s: // ended meanwhile
		return
	case !s.expires.IsZero() && !now.Before(s.expires):
		h.end(s, ReasonLost, errGone)
		return
	}
	if !now.Before(s.token) {
		s.token = now.Add(tokenFresh)
		h.push(s, &Token{Token: h.tokens.make(s.room.name, s.peer.ID)})
	}
	if !s.ice.IsZero() && !now.Before(s.ice) && h.sessions[s.session] == s {
		s.ice = now.Add(h.cfg.ICERenewal)
		h.push(s, &ICEServers{ICEServers: s.iceServers()})
	}
	if h.sessions[s.session] == s {
		h.schedule(s)
	}
}

// takes reports whether a seat may be sent one more message by another peer. Half of what may wait for it is for the hub's own
// words, so that no peer can have another one put out by talking to it.
func (s *seat) takes(size int) bool {
	return len(s.waiting) < maxWaiting/2 && s.bytes+size < maxWaitingBytes/2
}

// miss notes that the newest presence of another peer is to be told once there is room: only the last one matters.
func (s *seat) miss(o *seat) {
	if s.missed == nil {
		s.missed = map[*seat]bool{}
	}
	s.missed[o] = true
}

// catchUp tells a seat that has room again what it missed.
func (h *Hub) catchUp(s *seat) {
	if len(s.missed) == 0 || h.waiting > maxWaitingInHub {
		return
	}
	for _, o := range s.room.seats {
		if !s.missed[o] {
			continue
		}
		f := &Presence{From: o.peer.ID, Name: o.peer.Name, State: o.peer.State}
		body, err := encodeBody(f)
		if err != nil {
			panic(err) // it came in as JSON
		}
		if !s.takes(len(body)) {
			return
		}
		delete(s.missed, o)
		h.pushBody(s, f.frameType(), body)
	}
}

// push queues a message for a seat. If too much waits already, the seat ends.
func (h *Hub) push(s *seat, f Frame) {
	body, err := encodeBody(f)
	if err != nil {
		panic(err) // what came in was JSON
	}
	h.pushBody(s, f.frameType(), body)
}

func (h *Hub) pushBody(s *seat, typ string, body []byte) {
	if h.sessions[s.session] != s {
		return // ended by what happened a moment ago
	}
	// The hub's memory is bounded as well: when it runs short, those who hold most of it go.
	short := h.waiting > maxWaitingInHub && s.bytes > fairShare
	size, err := s.push(typ, body)
	if err != nil || short {
		h.end(s, ReasonEnded, h.refuse(CodeTooSlow, 0, "more messages wait for this client than the server keeps: its connection or program is too slow; join again"))
		return
	}
	h.waiting += size
	h.stats.MessagesOut++
	if s.carrier != nil {
		s.carrier.poke()
	}
}

// remember takes an ack that came in.
func (h *Hub) remember(s *seat, ack uint64) error {
	before := s.bytes
	err := s.acknowledge(ack)
	h.waiting -= before - s.bytes
	return err
}

// end gives up a seat: its carrier ends with why, the others are told the reason.
func (h *Hub) end(s *seat, reason Reason, why *Error) {
	h.vacate(s, why)
	r := s.room
	if r.seats = r.others(s); len(r.seats) == 0 {
		delete(h.rooms, r.name)
	}
	h.log("left", r.name, s.peer.ID, "reason", string(reason))
	if len(h.sessions) == 0 {
		h.becameEmpty()
	}
	for _, o := range slices.Clone(r.seats) {
		delete(o.missed, s)
		h.push(o, &Left{Peer: s.peer.ID, Reason: reason})
	}
}

// vacate ends a session without a word to the others.
func (h *Hub) vacate(s *seat, why *Error) {
	delete(h.sessions, s.session)
	h.gone = append(h.gone, s.name())
	h.waiting -= s.bytes
	s.address.seats--
	s.timer.Stop()
	s.stop(why)
}
