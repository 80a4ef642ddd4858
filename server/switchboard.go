package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	// firstByte is how long a connection may stay silent, and a TLS handshake may take, before it is closed.
	firstByte = 10 * time.Second
	// maxUndecided bounds connections that have not said yet what they want, maxUndecidedPerAddr those of one address; more are
	// closed at once.
	maxUndecided        = 1024
	maxUndecidedPerAddr = 64
	// tlsHandshake is the first byte of every TLS connection (RFC 8446, section 5.1).
	tlsHandshake = 22
	// firstAboveSTUN: the first byte of a STUN message is below it (RFC 7983, section 7).
	firstAboveSTUN = 4
)

// ALPN identifiers of STUN over TLS (RFC 7443).
const (
	alpnTURN          = "stun.turn"
	alpnSTUNDiscovery = "stun.nat-discovery"
)

// A switchboard accepts connections of one port and tells them apart, by their first byte and where that is TLS by what
// comes out of it: http and STUN share a port, in the clear and over TLS.
type switchboard struct {
	accept    []net.Listener
	tls       *tls.Config    // nil: no TLS here
	stun      func(net.Conn) // takes clients of the relay; nil: there is none
	undecided *places
	open      context.Context
	shut      context.CancelFunc
	log       *slog.Logger

	// What is http goes on to listeners, where a nil one refuses it.
	plain      *sorted // in the clear
	negotiated *sorted // over TLS, agreed on by ALPN: *tls.Conn, as net/http wants it for HTTP/2
	silent     *sorted // over TLS, by clients that know no ALPN: *unwrapped
}

// newSwitchboard makes a switchboard for http, https and STUN, with its listeners; run starts it. Closing one of the
// listeners closes all.
func newSwitchboard(lns []net.Listener, config *tls.Config, stun func(net.Conn), log *slog.Logger) *switchboard {
	b := newSTUNSwitchboard(lns, config, stun, log)
	b.plain, b.negotiated, b.silent = b.sorted(), b.sorted(), b.sorted()
	return b
}

// newSTUNSwitchboard makes a switchboard for STUN alone.
func newSTUNSwitchboard(lns []net.Listener, config *tls.Config, stun func(net.Conn), log *slog.Logger) *switchboard {
	b := &switchboard{accept: lns, tls: config, stun: stun, undecided: newPlaces(maxUndecided, maxUndecidedPerAddr, nil), log: log}
	b.open, b.shut = context.WithCancel(context.Background())
	return b
}

func (b *switchboard) sorted() *sorted { return &sorted{board: b, conns: make(chan net.Conn)} }

// run starts to accept.
func (b *switchboard) run() {
	context.AfterFunc(b.open, func() {
		for _, ln := range b.accept {
			ln.Close()
		}
	})
	for _, ln := range b.accept {
		go b.acceptFrom(ln)
	}
}

func (b *switchboard) acceptFrom(ln net.Listener) {
	defer b.shut()
	for pause := time.Duration(0); ; {
		conn, err := ln.Accept()
		if err != nil {
			if b.open.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: wait for some to come back.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			b.log.Warn("connections cannot be accepted", "error", err, "again_in", pause.String())
			select {
			case <-b.open.Done():
				return
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		if leave, ok := b.undecided.take(conn.RemoteAddr()); ok {
			go b.decide(conn, leave)
		} else {
			conn.Close()
		}
	}
}

// decide finds out what a connection is for, and hands it on.
func (b *switchboard) decide(accepted net.Conn, decided func()) {
	defer decided()
	stop := context.AfterFunc(b.open, func() { accepted.Close() })
	defer stop()
	_ = accepted.SetDeadline(time.Now().Add(firstByte)) // fails only on a closed connection, which peek notices
	first, conn, err := peek(accepted)
	switch {
	case err != nil:
		conn.Close()
	case first == tlsHandshake && b.tls != nil:
		b.decideTLS(conn)
	default:
		b.hand(conn, first, b.plain)
	}
}

// decideTLS does the handshake. A client that named the protocol by ALPN is taken by its word.
func (b *switchboard) decideTLS(conn net.Conn) {
	secure := tls.Server(conn, b.tls)
	if err := secure.HandshakeContext(b.open); err != nil {
		b.log.Debug("TLS handshake", "error", withoutAddresses(err))
		conn.Close()
		return
	}
	state := secure.ConnectionState()
	switch state.NegotiatedProtocol {
	case "h2", "http/1.1":
		b.pass(secure, b.negotiated)
		return
	case alpnTURN, alpnSTUNDiscovery:
		b.hand(secure, 0, nil)
		return
	case "":
	default: // an authority's challenge, which has had its answer
		secure.Close()
		return
	}
	first, peeked, err := peek(secure)
	if err != nil {
		secure.Close()
		return
	}
	b.hand(&unwrapped{peeked, &state}, first, b.silent)
}

// withoutAddresses is an error of a connection without who was at its ends.
func withoutAddresses(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// hand passes a connection on by its first byte.
func (b *switchboard) hand(conn net.Conn, first byte, http *sorted) {
	if first >= firstAboveSTUN {
		b.pass(conn, http)
		return
	}
	if b.stun == nil {
		conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	b.stun(conn)
}

func (b *switchboard) pass(conn net.Conn, to *sorted) {
	if to == nil {
		conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	select {
	case to.conns <- conn:
	case <-b.open.Done():
		conn.Close()
	}
}

// sorted is one side of a switchboard, as a listener.
type sorted struct {
	board *switchboard
	conns chan net.Conn
}

func (s *sorted) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.board.open.Done():
		return nil, net.ErrClosed
	}
}

func (s *sorted) Close() error   { s.board.shut(); return nil }
func (s *sorted) Addr() net.Addr { return s.board.accept[0].Addr() }

// peek returns the first byte of a connection, and the connection as it was before. On an error it is closed by the caller.
func peek(conn net.Conn) (byte, net.Conn, error) {
	r := bufio.NewReaderSize(conn, 16)
	first, err := r.Peek(1)
	if err != nil {
		return 0, conn, err
	}
	return first[0], &peeked{conn, r}, nil
}

// peeked is a connection whose first bytes were read already.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.r != nil {
		if p.r.Buffered() > 0 {
			return p.r.Read(b)
		}
		p.r = nil
	}
	return p.Conn.Read(b)
}

// unwrapped is what came out of TLS. It is no *tls.Conn, so net/http does not see that its requests came over TLS:
// rememberTLS and overTLS tell it.
type unwrapped struct {
	net.Conn
	state *tls.ConnectionState
}

type tlsStateKey struct{}

// rememberTLS is for http.Server.ConnContext.
func rememberTLS(ctx context.Context, conn net.Conn) context.Context {
	if u, ok := conn.(*unwrapped); ok {
		return context.WithValue(ctx, tlsStateKey{}, u.state)
	}
	return ctx
}

// overTLS sets Request.TLS of requests that came over TLS nonetheless.
func overTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state, ok := r.Context().Value(tlsStateKey{}).(*tls.ConnectionState); ok {
			r.TLS = state
		}
		next.ServeHTTP(w, r)
	})
}
