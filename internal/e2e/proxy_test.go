package e2e

import (
	"crypto/sha1"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// webSockets is what a middlebox does to them.
type webSockets int32

const (
	passed    webSockets = iota // leaves them alone
	refused                     // answers the upgrade with an error
	swallowed                   // accepts the upgrade and then passes nothing
)

// middlebox stands before a server as the boxes of some networks do.
type middlebox struct {
	url      string
	does     atomic.Int32 // a webSockets
	noPolls  atomic.Bool  // refuses long-poll
	upgrades atomic.Int32 // asked for
	polls    atomic.Int32 // requests of long-poll

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newMiddlebox(t *testing.T, s *server, does webSockets) *middlebox {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: s.addr}
	m := &middlebox{conns: map[net.Conn]bool{}}
	m.does.Store(int32(does))
	proxy := &httputil.ReverseProxy{
		// The browser's Host stays, as through a box that nobody knows of.
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host },
		// Connections that a page or a test breaks are what this is for.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			if r.Method == http.MethodPost && r.URL.Path == "/api/signal" {
				m.polls.Add(1)
				if m.noPolls.Load() {
					http.Error(w, "no polls here", http.StatusBadGateway)
					return
				}
			}
			proxy.ServeHTTP(w, r)
			return
		}
		m.upgrades.Add(1)
		switch webSockets(m.does.Load()) {
		case refused:
			http.Error(w, "no upgrades here", http.StatusBadGateway)
		case swallowed:
			swallow(w, r)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	front.Config.ErrorLog = proxy.ErrorLog
	front.Config.ConnState = func(c net.Conn, state http.ConnState) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if state == http.StateClosed {
			delete(m.conns, c)
		} else {
			m.conns[c] = true // hijacked too
		}
	}
	front.Start()
	t.Cleanup(func() {
		m.cut()
		front.Close()
	})
	_, port, _ := net.SplitHostPort(front.Listener.Addr().String())
	m.url = "http://localhost:" + port
	return m
}

// cut breaks every connection to a browser, whatever is on its way.
func (m *middlebox) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for c := range m.conns {
		c.Close()
		delete(m.conns, c)
	}
}

// swallow opens a WebSocket (RFC 6455, section 4.2.2) and then is silent.
func swallow(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n")
	if p := r.Header.Get("Sec-WebSocket-Protocol"); p != "" {
		rw.WriteString("Sec-WebSocket-Protocol: " + strings.TrimSpace(strings.Split(p, ",")[0]) + "\r\n")
	}
	rw.WriteString("\r\n")
	rw.Flush()
	io.Copy(io.Discard, rw)
}
