package simnet

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Proxy is an HTTP proxy that knows CONNECT only (RFC 9110 section 9.3.6), as offices have it.
type Proxy struct {
	// Allow says which targets may be connected to, host and port; nil allows all. Others get 403.
	Allow func(target string) bool
	// Authorize checks the user and password of Basic authentication; nil asks for none. Others get 407.
	Authorize func(user, password string) bool

	listener *Listener
	host     *Host
	conns    sync.WaitGroup
	cancel   context.CancelFunc

	mu     sync.Mutex
	opened map[net.Conn]struct{}
	done   bool
	count  int
}

// dialTimeout is how long the proxy tries to reach a target before it answers 504.
const dialTimeout = 20 * time.Second

// Serve runs the proxy on h at the given address, until Close. The network must be live.
func (p *Proxy) Serve(h *Host, local netip.AddrPort) error {
	l, err := h.Listen(local)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.listener, p.host, p.cancel, p.opened = l, h, cancel, map[net.Conn]struct{}{}
	p.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.serve(ctx, c) })
		}
	})
	return nil
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() net.Addr { return p.listener.Addr() }

// Tunnels returns how many tunnels were opened so far.
func (p *Proxy) Tunnels() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// Close ends the proxy and its tunnels, and waits for its goroutines.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.cancel()
	p.mu.Lock()
	p.done = true
	for c := range p.opened {
		c.Close()
	}
	p.mu.Unlock()
	p.conns.Wait()
	return err
}

// track remembers c for Close, and closes it at once if that has been called.
func (p *Proxy) track(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		c.Close()
	}
	p.opened[c] = struct{}{}
}

func (p *Proxy) untrack(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.opened, c)
}

func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	p.track(client)
	defer p.untrack(client)
	r := bufio.NewReader(client)
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		status := p.check(request)
		if status == http.StatusOK {
			p.tunnel(ctx, client, r, request.Host)
			return
		}
		extra := ""
		if status == http.StatusProxyAuthRequired {
			extra = "Proxy-Authenticate: Basic realm=\"proxy\"\r\n"
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		if err := answer(client, status, extra); err != nil {
			return
		}
	}
}

func (p *Proxy) check(r *http.Request) int {
	if p.Authorize != nil {
		user, password, ok := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		if !ok || !p.Authorize(user, password) {
			return http.StatusProxyAuthRequired
		}
	}
	if r.Method != http.MethodConnect {
		return http.StatusMethodNotAllowed
	}
	if p.Allow != nil && !p.Allow(r.Host) {
		return http.StatusForbidden
	}
	return http.StatusOK
}

func answer(w io.Writer, status int, extra string) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n%s\r\n", status, http.StatusText(status), extra)
	return err
}

func (p *Proxy) tunnel(ctx context.Context, client net.Conn, fromClient io.Reader, target string) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	server, err := p.host.DialContext(dialCtx, "tcp", target)
	if err != nil {
		status := http.StatusBadGateway
		if dialCtx.Err() != nil {
			status = http.StatusGatewayTimeout
		}
		_ = answer(client, status, "") // the client may be gone
		return
	}
	p.track(server)
	defer p.untrack(server)
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	p.mu.Lock()
	p.count++
	p.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() { pump(server, fromClient) })
	pump(client, server)
	up.Wait()
}

// pump copies until the end of from and passes the end on; if copying fails, the tunnel is cut.
func pump(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return
	}
	if err := to.(*Conn).CloseWrite(); err != nil {
		to.Close()
	}
}
