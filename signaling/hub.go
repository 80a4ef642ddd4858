package signaling

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// What waits for acknowledgement in all seats together, and what each may have even if that is exceeded.
const (
	maxWaitingInHub = 256 << 20
	fairShare       = 64 << 10
)

// bodyWithin is how long a request's body may take.
const bodyWithin = 10 * time.Second

// drainRetry is when a client that met a stopping server should try again, in seconds.
const drainRetry = 2

// A Hub is the server's side of signaling: rooms in which peers exchange messages. It is an [http.Handler] for one path, /api/signal, where
// both carriers meet. All its methods may be called at any time from any goroutine.
type Hub struct {
	cfg      Config
	tokens   *tokens
	labelKey [16]byte

	stopping context.Context // done when Close begins
	stop     context.CancelFunc
	requests sync.WaitGroup

	mu        sync.Mutex // for all below, and the seats; nothing blocks while it is held
	rooms     map[string]*room
	sessions  map[string]*seat
	addresses addresses
	pending   int // requests not bound to a seat
	waiting   int // bytes in all seats
	draining  bool
	closed    bool
	empty     chan struct{} // closed when a draining hub has no peer left
	stats     Stats
	lines     []line // for the logger, when the lock is given back
	gone      []Seat // for Config.Gone, likewise
}

// Stats is what a hub has done, for metrics. Rooms, Peers, WebSockets and LongPolls are of this moment; the others only grow.
type Stats struct {
	Rooms int // open now
	Peers int // seats taken now, those whose connection dropped included

	WebSockets int // seats on a WebSocket now
	LongPolls  int // seats on long-poll now

	Sessions    uint64 // accepted joins
	Resumes     uint64 // carriers that took up a session
	MessagesIn  uint64 // messages taken from clients, once each
	MessagesOut uint64 // messages queued for clients, once each
	Refusals    map[Code]uint64
}

// NewHub makes a hub. Its error is that of [Config.Validate].
func NewHub(cfg Config) (*Hub, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hub{
		cfg:       cfg.withDefaults(),
		tokens:    newTokens(cfg.TokenKey),
		rooms:     map[string]*room{},
		sessions:  map[string]*seat{},
		addresses: addresses{},
		empty:     make(chan struct{}),
		stats:     Stats{Refusals: map[Code]uint64{}},
	}
	rand.Read(h.labelKey[:])
	h.stopping, h.stop = context.WithCancel(context.Background())
	return h, nil
}

// Stats is a snapshot.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.unlock()
	s := h.stats
	s.Refusals = maps.Clone(s.Refusals)
	s.Rooms, s.Peers = len(h.rooms), len(h.sessions)
	for _, seat := range h.sessions {
		switch {
		case seat.carrier == nil:
		case seat.carrier.kind == webSocket:
			s.WebSockets++
		default:
			s.LongPolls++
		}
	}
	return s
}

// Drain refuses joins from now on, tells everyone how long they have (until ctx's deadline), and returns when the last peer has
// left (nil) or ctx is done (its error). Sessions go on, and may resume, until [Hub.Close].
func (h *Hub) Drain(ctx context.Context) error {
	left := 0
	if deadline, ok := ctx.Deadline(); ok {
		left = max(0, int(time.Until(deadline).Round(time.Second)/time.Second))
	}
	h.mu.Lock()
	if !h.draining {
		h.draining = true
		if len(h.sessions) == 0 {
			h.becameEmpty()
		}
		for _, s := range slices.Collect(maps.Values(h.sessions)) {
			h.push(s, &Draining{Seconds: left})
		}
	}
	h.unlock()
	select {
	case <-h.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// becameEmpty is called when the last session ended.
func (h *Hub) becameEmpty() {
	if h.draining {
		select {
		case <-h.empty:
		default:
			close(h.empty)
		}
	}
}

// Close ends all carriers, telling clients to come back later, and returns when the last request has ended: within twice closeWithin, also where a
// client does not read. The hub cannot be used any more. It returns nil.
func (h *Hub) Close() error {
	h.mu.Lock()
	h.closed, h.draining = true, true
	for _, s := range h.sessions {
		h.vacate(s, h.refuse(CodeDraining, drainRetry, "the server stops: come back in a moment"))
	}
	clear(h.rooms)
	h.becameEmpty()
	h.unlock()
	h.stop()
	h.requests.Wait()
	return nil
}

// hurry sets a deadline when the hub stops, so that a client that does not read or write keeps nobody waiting. What it returns is called
// before the connection is given back.
func (h *Hub) hurry(set func(deadline time.Time)) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(h.stopping, func() {
		defer close(done)
		set(time.Now().Add(closeWithin))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// ServeHTTP answers GET (WebSocket) and POST (long-poll).
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// For whatever body there is, one that is refused before it was read included. Where the connection knows no deadlines, the server's hold.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
	upgrade := r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	if !upgrade && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		h.refuseHTTP(w, http.StatusMethodNotAllowed, CodeMethod, "this address is for signaling: open a WebSocket here, or POST")
		return
	}
	if h.cfg.Access == nil && !sameOrigin(r) {
		h.refuseHTTP(w, http.StatusForbidden, CodeOriginForbidden, "this page is not of this server: open the server's own address")
		return
	}
	access := h.access(r)
	settle, status, refusal := h.arrive(access)
	if refusal != nil {
		WriteHTTPError(w, status, refusal)
		return
	}
	defer h.requests.Done()
	defer settle()
	rc := http.NewResponseController(w)
	defer h.hurry(func(deadline time.Time) {
		rc.SetReadDeadline(deadline) // a hijacked connection has deadlines of its own: see serveWebSocket
		rc.SetWriteDeadline(deadline)
	})()
	if upgrade {
		h.serveWebSocket(w, r, access, settle)
	} else {
		h.servePoll(w, r, access, settle)
	}
}

func (h *Hub) access(r *http.Request) Access {
	if h.cfg.Access != nil {
		return h.cfg.Access(r)
	}
	return standaloneAccess(r)
}

// arrive counts a request that is not bound to a seat yet, and with requests.Done one that is under way. Settle, which may be called more than
// once, says that it is bound now, or gone.
func (h *Hub) arrive(access Access) (settle func(), status int, refusal *Error) {
	h.mu.Lock()
	defer h.unlock()
	if h.closed {
		return nil, http.StatusServiceUnavailable, h.refuse(CodeDraining, drainRetry, "the server stops: come back in a moment")
	}
	a := h.addresses.get(access.Addr)
	if h.pending >= maxPending || a.pending >= maxPendingPerAddr {
		return nil, http.StatusTooManyRequests, h.refuse(CodeTooManyAttempts, 10, "too many connections that have not joined: close some, or wait a little and try again")
	}
	h.pending++
	a.pending++
	h.requests.Add(1)
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.unlock()
		h.pending--
		a.pending--
	}), 0, nil
}

// resume gives a seat a new carrier, or takes one more request of its long-poll carrier. A bare request says nothing.
func (h *Hub) resume(session string, attempt, ack uint64, kind carrierKind, bare bool) (*seat, *carrier, *Error) {
	h.mu.Lock()
	defer h.unlock()
	s := h.sessions[session]
	if s == nil {
		return nil, nil, h.refuse(CodeSessionUnknown, 0, "this session has ended, or the server was restarted: join again")
	}
	goesOn := kind == longPoll && attempt == s.attempt && s.carrier != nil && s.carrier.kind == longPoll
	if !goesOn && attempt <= s.attempt {
		return nil, nil, h.refuse(CodeCarrierReplaced, 0, "another connection has taken over this session")
	}
	if kind == longPoll && s.requests >= maxRequests {
		return nil, nil, h.refuse(CodeRateLimited, 1, "too many requests of this session are under way: read their answers, then resume")
	}
	before := s.acked
	if e := h.noteAck(s, ack); e != nil {
		return nil, nil, e
	}
	if !goesOn || (bare && s.acked == before) {
		if w := s.frames.take(time.Now(), float64(h.cfg.Rate), h.cfg.Burst); w > 0 {
			return nil, nil, h.refuseRate(w)
		}
	}
	if !goesOn {
		h.stats.Resumes++
		s.attach(kind, attempt)
		h.log("resumed", s.room.name, s.peer.ID)
	}
	if kind == longPoll {
		s.expires = time.Time{}
		s.carrier.requests++
		s.requests++
	}
	return s, s.carrier, nil
}

// noteAck takes an ack that came in; an impossible one ends the session.
func (h *Hub) noteAck(s *seat, ack uint64) *Error {
	if err := h.remember(s, ack); err != nil {
		e := h.refuse(CodeMalformed, 0, "ack is larger than any seq that the server sent")
		h.end(s, ReasonEnded, e)
		return e
	}
	h.catchUp(s)
	return nil
}

// receive takes a frame that came on a carrier. A result means that the carrier is over, and has been told.
func (h *Hub) receive(s *seat, c *carrier, raw []byte) *Error {
	if len(raw) > h.cfg.MessageSize {
		return h.fail(s, c, CodeMessageTooLarge, "a frame is larger than the server takes")
	}
	in, bad := parse(raw, newClientFrame)
	var body []byte
	if bad == nil && in.bad == nil {
		body = forwarded(in.frame, s.peer.ID)
	}

	h.mu.Lock()
	defer h.unlock()
	if c.over != nil {
		return c.over
	}
	now := time.Now()
	if w := s.frames.take(now, float64(h.cfg.Rate), h.cfg.Burst); w > 0 {
		h.detach(s, c, h.refuseRate(w))
		return c.over
	}
	if bad != nil {
		h.end(s, ReasonEnded, h.refuse(bad.Code, 0, bad.Message))
		return c.over
	}
	if h.noteAck(s, in.Ack) != nil {
		return c.over
	}
	switch in.frame.(type) {
	case *Ack:
		return nil
	case *Leave:
		h.end(s, ReasonLeft, errLeft)
		return c.over
	case *Join, *Resume:
		h.end(s, ReasonEnded, h.refuse(CodeMalformed, 0, in.Type+" is for the beginning only"))
		return c.over
	case nil:
		if in.Seq == 0 {
			h.end(s, ReasonEnded, h.refuse(CodeUnknownType, 0, "this server has no control frame of that type"))
			return c.over
		}
	}

	due := s.ackDue
	fresh, err := s.take(in.Seq, now)
	switch {
	case errors.Is(err, errGap):
		h.detach(s, c, h.refuse(CodeMalformed, 0, "a message is missing before this one: resume"))
		return c.over
	case err != nil:
		h.end(s, ReasonEnded, h.refuse(CodeMalformed, 0, "seq is missing: messages are numbered from 1"))
		return c.over
	}
	if s.ackDue != due {
		c.poke() // so that the carrier learns when to acknowledge
	}
	if !fresh {
		return nil
	}
	h.stats.MessagesIn++
	if e := h.deliver(s, in, body); e != nil {
		e.Ref = in.Seq
		h.push(s, e)
	}
	return c.over // a seat may end by what it caused
}

// deliver passes a message on, or says why not.
func (h *Hub) deliver(s *seat, in incoming, body []byte) *Error {
	if in.frame == nil {
		return h.refuse(CodeUnknownType, 0, "this server has no message of that type")
	}
	if in.bad != nil {
		return h.refuse(in.bad.Code, 0, in.bad.Message)
	}
	var to string
	switch f := in.frame.(type) {
	case *Presence:
		s.peer.Name, s.peer.State = f.Name, f.State
		for _, o := range s.room.others(s) {
			if o.takes(len(body)) {
				delete(o.missed, s)
				h.pushBody(o, in.Type, body)
			} else {
				o.miss(s)
			}
		}
		return nil
	case *Description:
		to = f.To
	case *Candidate:
		to = f.To
	}
	if to == "" {
		return h.refuse(CodeInvalid, 0, "to is missing: the id of the peer that the message is for")
	}
	target := s.room.find(to)
	if target == nil {
		return h.refuse(CodeNoSuchPeer, 0, "the participant has left the room")
	}
	if !target.takes(len(body)) {
		return h.refuse(CodeTooSlow, 0, "more waits for the participant than the server keeps: its connection is too slow, or down; try again in a moment")
	}
	h.pushBody(target, in.Type, body)
	return nil
}

// forwarded is the body of a client's message as others get it; nil for other frames.
func forwarded(f Frame, from string) []byte {
	switch m := f.(type) {
	case *Presence:
		f = &Presence{From: from, Name: m.Name, State: m.State}
	case *Description:
		f = &Description{From: from, Connection: m.Connection, ReplyTo: m.ReplyTo, Description: m.Description}
	case *Candidate:
		f = &Candidate{From: from, Connection: m.Connection, ReplyTo: m.ReplyTo, Candidate: m.Candidate}
	default:
		return nil
	}
	body, err := encodeBody(f)
	if err != nil {
		panic(err) // it came in as JSON
	}
	return body
}

// fail ends a session for what its client did.
func (h *Hub) fail(s *seat, c *carrier, code Code, message string) *Error {
	h.mu.Lock()
	defer h.unlock()
	if c.over == nil {
		h.end(s, ReasonEnded, h.refuse(code, 0, message))
	}
	return c.over
}

// pull says what a carrier has to send: see [sequence.pull].
func (h *Hub) pull(s *seat, c *carrier, cursor uint64, limit int) (batch, *Error) {
	h.mu.Lock()
	defer h.unlock()
	if c.over != nil {
		return batch{cursor: cursor, ack: s.taken}, c.over
	}
	return s.pull(cursor, limit, time.Now()), nil
}

// refuse makes a refusal, counts and logs it.
func (h *Hub) refuse(code Code, retryAfter int, message string) *Error {
	h.stats.Refusals[code]++
	h.lines = append(h.lines, line{slog.LevelDebug, "refused", []any{"code", string(code)}})
	return &Error{Code: code, Message: message, RetryAfter: retryAfter}
}

func (h *Hub) refuseRate(wait time.Duration) *Error {
	return h.refuse(CodeRateLimited, seconds(wait), "too many messages within a second: slow down, then resume")
}

// refuseEarly is refuse for what never came to a seat.
func (h *Hub) refuseEarly(code Code, message string) *Error {
	h.mu.Lock()
	defer h.unlock()
	return h.refuse(code, 0, message)
}

func (h *Hub) refuseHTTP(w http.ResponseWriter, status int, code Code, message string) {
	WriteHTTPError(w, status, h.refuseEarly(code, message))
}

// A line waits for the logger, which may be slow and is not called under the lock.
type line struct {
	level slog.Level
	what  string
	args  []any
}

func (h *Hub) log(what, room, peer string, args ...any) {
	h.lines = append(h.lines, line{slog.LevelInfo, what, append(args, "room", h.label(room), "peer", h.label(peer))})
}

// unlock gives back the lock, and then says what was not to be said under it.
func (h *Hub) unlock() {
	lines, gone := h.lines, h.gone
	h.lines, h.gone = nil, nil
	h.mu.Unlock()
	for _, s := range gone {
		h.cfg.Gone(s)
	}
	for _, l := range lines {
		h.cfg.Logger.Log(context.Background(), l.level, "signaling: "+l.what, l.args...)
	}
}

// label stands for a name in the log. It is the same for the same name while the hub lives, and means nothing elsewhere.
func (h *Hub) label(name string) string {
	m := hmac.New(sha256.New, h.labelKey[:])
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil)[:4])
}
