package signaling

import (
	"context"
	"maps"
	"net/http"
	"sync"
)

// A Hub is the server's side of signaling: rooms in which peers exchange messages. It is an [http.Handler] for one path, /api/signal, where
// both carriers meet. All its methods may be called at any time from any goroutine.
type Hub struct {
	cfg Config

	mu    sync.Mutex
	stats Stats
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
	return &Hub{cfg: cfg.withDefaults(), stats: Stats{Refusals: map[Code]uint64{}}}, nil
}

// ServeHTTP answers GET (WebSocket) and POST (long-poll).
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	WriteHTTPError(w, http.StatusMethodNotAllowed, &Error{Code: CodeMethod, Message: "open a WebSocket here, or POST"})
}

// Stats is a snapshot.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Refusals = maps.Clone(s.Refusals)
	return s
}

// Drain refuses joins from now on, tells everyone how long they have (until ctx's deadline), and returns when the last peer has
// left (nil) or ctx is done (its error). Sessions go on, and may resume, until [Hub.Close].
func (h *Hub) Drain(ctx context.Context) error { return ctx.Err() }

// Close ends all carriers, telling clients to come back later, and returns when the last request has ended.
func (h *Hub) Close() error { return nil }
