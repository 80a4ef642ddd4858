package signaling

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A world is a hub behind connections that a test can cut, in memory so that virtual time works, or over real sockets.
type world struct {
	t      *testing.T
	listen net.Listener
	dialer func(context.Context) (net.Conn, error)

	mu        sync.Mutex
	dialed    *sync.Cond
	hub       *Hub
	server    *http.Server
	conns     map[net.Conn]struct{}
	down      bool // nobody answers
	noSockets bool // a proxy that refuses upgrades
	deaf      bool // a proxy that upgrades and lets nothing pass
	upgrades  int  // that reached the hub
	posts     int
}

// newWorld starts a hub. With sockets it listens on loopback, else in memory.
func newWorld(t *testing.T, cfg Config, sockets bool) *world {
	w := &world{t: t, conns: map[net.Conn]struct{}{}}
	w.dialed = sync.NewCond(&w.mu)
	if sockets {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w.listen = l
		w.dialer = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
	} else {
		p := &pipeListener{make(chan net.Conn), make(chan struct{})}
		w.listen, w.dialer = p, p.dial
	}
	w.start(cfg)
	w.server = &http.Server{Handler: w}
	served := make(chan struct{})
	go func() { defer close(served); w.server.Serve(w.listen) }()
	t.Cleanup(func() {
		w.hub.Close()
		w.server.Close()
		w.cut()
		<-served
	})
	return w
}

func (w *world) start(cfg Config) {
	if cfg.Access == nil {
		cfg.Access = func(*http.Request) Access { return Access{Local: true} }
	}
	hub, err := NewHub(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hub = hub
}

// restart is what kill and start of a server are: all connections break, all seats are forgotten.
func (w *world) restart(cfg Config) {
	w.mu.Lock()
	old := w.hub
	w.mu.Unlock()
	w.start(cfg)
	w.cut()
	old.Close()
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	hub, down, noSockets, deaf := w.hub, w.down, w.noSockets, w.deaf
	w.mu.Unlock()
	upgrade := r.Header.Get("Upgrade") != ""
	switch {
	case down:
		http.Error(rw, "bad gateway", http.StatusBadGateway)
	case upgrade && noSockets:
		http.Error(rw, "the proxy does not like upgrades", http.StatusForbidden)
	case upgrade && deaf:
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: " + acceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\nSec-WebSocket-Protocol: " + Subprotocol + "\r\n\r\n"))
		buf := make([]byte, 1024)
		for {
			if _, err := conn.Read(buf); err != nil {
				conn.Close()
				return
			}
		}
	default:
		w.set(func() {
			if upgrade {
				w.upgrades++
			} else {
				w.posts++
			}
		})
		hub.ServeHTTP(rw, r)
	}
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// cutLive waits until there is a connection to break.
func (w *world) cutLive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.conns) == 0 {
		w.dialed.Wait()
	}
	w.cutLocked()
}

// cut breaks every connection.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutLocked()
}

func (w *world) cutLocked() {
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

// client is for Options.HTTPClient.
func (w *world) client() *http.Client { return w.clientWith(func() bool { return true }) }

// clientWith has a network of its own, which may be down.
func (w *world) clientWith(up func() bool) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if !up() {
			return nil, errors.New("network is unreachable")
		}
		c, err := w.dialer(ctx)
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns[c] = struct{}{}
		w.dialed.Broadcast()
		return c, nil
	}}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (w *world) join(o Options) *Room {
	w.t.Helper()
	r, err := w.tryJoin("kitchen", o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) tryJoin(room string, o Options) (*Room, error) {
	if o.HTTPClient == nil {
		o.HTTPClient = w.client()
	}
	r, err := Dial(w.t.Context(), "http://hub.example/r/"+room, o)
	if err == nil {
		w.t.Cleanup(func() { r.Close() })
	}
	return r, err
}

// pipeListener hands out net.Pipe connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// seeded is a random source whose seed is printed if the test fails.
func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// until receives events until one of that kind comes.
func until[E Event](t *testing.T, r *Room) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for e, err := range r.Events(ctx) {
		if err != nil {
			var want E
			t.Fatalf("waiting for %T: %v", want, err)
		}
		if e, ok := e.(E); ok {
			return e
		}
	}
	panic("unreachable")
}
