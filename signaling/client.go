package signaling

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxEvents is how many events wait for [Room.Receive].
const maxEvents = 4096

// How a [Room] ends, beside an *[Error] of the server.
var (
	ErrClosed       = errors.New("signaling: the room was closed")
	ErrSlowReceiver = errors.New("signaling: 4096 events wait and nobody calls Receive")
	// ErrFull is returned by [Room.Send] when 1,024 messages or 4 MiB wait for the server: it cannot be reached for a while.
	ErrFull = errFull
)

// Options are how to join. The zero value is useful.
type Options struct {
	// Name is what the others see: up to 64 characters.
	Name string
	// State is what the others are told about this peer: a JSON object of up to 4 KiB, or nil.
	State json.RawMessage
	// Passphrase is the host's, to open a room from the internet.
	Passphrase string
	// Secret makes this peer known by the same id when it joins again: 16 to 64 printable ASCII characters. Default: a random one.
	Secret string
	// Token is what [Room.Token] gave the same peer before. It lets it in again within an hour.
	Token string
	// Carrier is what to use. Default: a WebSocket, and long-poll where WebSockets are blocked.
	Carrier Carrier
	// HTTPClient is used for both carriers, with its proxy and TLS configuration; its Timeout is not. Default: [http.DefaultClient].
	HTTPClient *http.Client

	firstRetry time.Duration // the first wait between carriers
	pollFor    time.Duration // after that WebSockets are tried again
	callWithin time.Duration // the side that was there first waits that long for the newcomer to call
	awayGrace  time.Duration // a peer that the server does not know yet and no path leads to has left by then
	firstAgain time.Duration // the first wait of Meet before it connects again to a peer that could not be negotiated with
}

// Carrier is what frames travel on.
type Carrier int

// The carriers.
const (
	AutoCarrier Carrier = iota // a WebSocket if one works, else long-poll
	WebSocketOnly
	LongPollOnly
)

// A Message is what a [Room] can send: *[Description], *[Candidate] or *[Presence].
type Message interface {
	Frame
	message()
}

func (*Description) message() {}
func (*Candidate) message()   {}
func (*Presence) message()    {}

// An Event is what a [Room] receives: *[Joined], *[Left], *[Presence], *[Description], *[Candidate], *[Draining], *[Error] (a message was refused; Ref is what
// Send returned), [State] (the connection changed) and *[Welcome].
//
// A Welcome comes when the client had to join again, usually because the server was restarted: messages that were under way are lost. Its
// Peers are back already, others follow as Joined with the ids that they had. Negotiate again with each, by an ICE restart where a connection lives.
type Event interface{ event() }

func (*Joined) event()      {}
func (*Left) event()        {}
func (*Presence) event()    {}
func (*Description) event() {}
func (*Candidate) event()   {}
func (*Draining) event()    {}
func (*Error) event()       {}
func (*Welcome) event()     {}
func (State) event()        {}

// State is that of a room's connection to its server.
type State int

// The states.
const (
	Online       State = iota // messages pass
	Reconnecting              // messages wait
	Closed                    // the end
)

func (s State) String() string { return [...]string{"online", "reconnecting", "closed"}[s] }

// A Room is a seat in a room of a [Hub], held by this program. It keeps its connection: it resumes after a break, changes to long-poll where WebSockets are
// blocked, and joins again, with the same id, after the server was restarted. Its methods may be called at any time from any goroutine.
type Room struct {
	endpoint *url.URL
	name     string
	options  Options
	client   *http.Client

	stop context.CancelCauseFunc
	done chan struct{} // closed when the room has ended
	wake chan struct{} // holds 1 when the carrier has something to do

	mu       sync.Mutex
	sequence          // of the session
	session  string   // empty: join
	attempt  uint64   // of the newest carrier
	welcome  *Welcome // the latest; its Token too
	peers    []Peer
	state    State
	leaving  bool
	events   []Event
	arrived  chan struct{} // holds 1 when there are events
	err      error         // why the room ended

	negotiations map[string]*Negotiation // by peer
	expecting    bool                    // there will be one with everybody
	newcomers    map[string]bool         // peers that came later than we

	pollUntil time.Time // WebSockets did not work
	short     int       // how many WebSockets in a row broke soon
}

// Dial joins the room of that address, https://host/r/room, and returns when it has a seat. Ctx is for that only: it does not end the room. The error is an
// *[Error] if the server refused, with a Code and what to do.
func Dial(ctx context.Context, address string, options Options) (*Room, error) {
	r, err := newRoom(address, options)
	if err != nil {
		return nil, err
	}
	lifetime, stop := context.WithCancelCause(context.Background())
	r.stop = stop
	joined := make(chan struct{})
	go r.run(lifetime, joined)
	select {
	case <-joined:
		return r, nil
	case <-r.done:
		return nil, r.err
	case <-ctx.Done():
		stop(ctx.Err())
		<-r.done
		return nil, fmt.Errorf("signaling: joining: %w", ctx.Err())
	}
}

// speaksDTLS asks for relays over DTLS too. Browsers know of none, but whoever takes these in Go may.
const speaksDTLS = "dtls=1"

func newRoom(address string, options Options) (*Room, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("signaling: %w", err)
	}
	i := strings.LastIndex(u.Path, "/r/")
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || i < 0 {
		return nil, fmt.Errorf("signaling: %q is not the address of a room: it must look like https://host/r/room", address)
	}
	name := strings.TrimSuffix(u.Path[i+len("/r/"):], "/")
	if options.Secret == "" {
		options.Secret = randomHandle()
	}
	options.firstRetry = cmp.Or(options.firstRetry, 250*time.Millisecond)
	options.pollFor = cmp.Or(options.pollFor, 10*time.Minute)
	options.callWithin = cmp.Or(options.callWithin, callWithin)
	options.awayGrace = cmp.Or(options.awayGrace, 10*time.Second)
	options.firstAgain = cmp.Or(options.firstAgain, searchStep)
	client := http.Client{}
	if options.HTTPClient != nil {
		client = *options.HTTPClient
	}
	client.Timeout = 0 // requests wait
	r := &Room{
		endpoint: &url.URL{Scheme: u.Scheme, Host: u.Host, User: u.User, Path: u.Path[:i] + "/api/signal", RawQuery: speaksDTLS},
		name:     name,
		options:  options,
		client:   &client,
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
		arrived:  make(chan struct{}, 1),
		welcome:  &Welcome{Token: options.Token},

		negotiations: map[string]*Negotiation{},
	}
	if bad := r.join().check(); bad != nil {
		return nil, bad
	}
	return r, nil
}

// join is the frame that asks for a seat.
func (r *Room) join() *Join {
	o := r.options
	return &Join{V: Version, Room: r.name, Name: o.Name, State: o.State, Secret: o.Secret, Token: r.welcome.Token, Passphrase: o.Passphrase}
}

// Self is this peer as the others see it.
func (r *Room) Self() Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Peer{ID: r.welcome.Self.ID, Name: r.options.Name, State: r.options.State}
}

// Peers are the others that are in the room now, those who came first first. Events that tell of the same may still wait for Receive.
func (r *Room) Peers() []Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peers)
}

// Link is the invitation to the room.
func (r *Room) Link() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.welcome.Link
}

// Token lets a program that is started again back into the room, with the same Secret.
func (r *Room) Token() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.welcome.Token
}

// Secret is what this peer's id is derived from: Options.Secret, or what took its place.
func (r *Room) Secret() string { return r.options.Secret }

// ICEServers are those that the server offered, the latest: it renews their credentials before they expire.
func (r *Room) ICEServers() []ICEServer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.welcome.ICEServers)
}

// State is that of the connection to the server.
func (r *Room) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Send gives a message to the server, now or when it can be reached again. The seq is the Ref of an *[Error] that answers it. The error is an *[Error] if the
// message is not well formed or too large, [ErrFull], or why the room ended.
func (r *Room) Send(m Message) (seq uint64, err error) {
	if bad := m.check(); bad != nil {
		return 0, bad
	}
	body, err := encodeBody(m)
	if err != nil {
		return 0, fmt.Errorf("signaling: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	const header = 100 // type, seq, ack
	if size := len(body) + header; size > r.welcome.Limits.MessageSize {
		return 0, &Error{Code: CodeMessageTooLarge, Message: fmt.Sprintf("a frame of %d bytes is larger than the server takes (%d)", size, r.welcome.Limits.MessageSize)}
	}
	if _, err := r.push(m.frameType(), body); err != nil {
		return 0, err
	}
	if p, ok := m.(*Presence); ok {
		r.options.Name, r.options.State = p.Name, p.State
	}
	r.poke()
	return r.sent, nil
}

// Receive waits for the next event. The error is ctx's, or, after the last event, why the room ended.
func (r *Room) Receive(ctx context.Context) (Event, error) {
	for {
		r.mu.Lock()
		if len(r.events) > 0 {
			e := r.events[0]
			r.events[0] = nil
			r.events = r.events[1:]
			r.mu.Unlock()
			r.notify() // the next receiver, if there is one
			return e, nil
		}
		err := r.err
		r.mu.Unlock()
		if err != nil {
			return nil, err
		}
		select {
		case <-r.arrived:
		case <-r.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Events ranges over what [Room.Receive] gives. The last pair has the error.
func (r *Room) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			e, err := r.Receive(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Close leaves the room: the others see it at once if the server can be reached within two seconds. It returns nil.
func (r *Room) Close() error {
	r.mu.Lock()
	r.leaving = true
	if r.session == "" {
		r.stop(ErrClosed) // there is no seat to leave
	}
	r.mu.Unlock()
	r.poke()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		r.stop(ErrClosed)
		<-r.done
	}
	return nil
}

// poke tells the carrier that there is something to do.
func (r *Room) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// notify tells a receiver that there are events.
func (r *Room) notify() {
	select {
	case r.arrived <- struct{}{}:
	default:
	}
}
