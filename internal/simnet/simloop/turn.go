package simloop

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A TURNServer is a STUN and TURN server on a virtual host, with a loop of its own.
type TURNServer struct {
	Loop *loop.Loop

	host      *Host
	engine    *turn.Server
	lease     *loop.Lease
	mine      map[pkt.Socket]bool // streams
	secured   []*secured
	said      *pkt.Batch // by the engine, where some of it is to be sealed
	listeners []net.Listener
	accepting sync.WaitGroup
}

// ServeTURN runs a server on h, until Close.
func ServeTURN(h *Host, cfg turn.Config) (*TURNServer, error) {
	engine, err := turn.New(cfg)
	if err != nil {
		return nil, err
	}
	l, err := loop.New(loop.Config{Poller: h.Poller()})
	if err != nil {
		return nil, err
	}
	s := &TURNServer{Loop: l, host: h, engine: engine, mine: map[pkt.Socket]bool{}, said: pkt.NewBatch(64<<10, 64)}
	if err := l.Do(func(mono.Time) { s.lease = l.Attach(s) }); err != nil {
		return nil, err
	}
	return s, nil
}

// UDP serves datagrams at an address.
func (s *TURNServer) UDP(local netip.AddrPort) error {
	var err error
	return errors.Join(s.Loop.Do(func(now mono.Time) {
		var socket pkt.Socket
		if socket, _, err = s.lease.Open(udp.Config{Local: local}); err == nil {
			s.engine.AddSocket(now, socket, false)
		}
	}), err)
}

// TCP serves streams at an address; over TLS, if there is a configuration for it.
func (s *TURNServer) TCP(local netip.AddrPort, secure *tls.Config) error {
	l, err := s.host.Listen(local)
	if err != nil {
		return err
	}
	s.listeners = append(s.listeners, l)
	s.accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepting.Go(func() { s.adopt(conn, secure) })
		}
	})
	return nil
}

func (s *TURNServer) adopt(conn net.Conn, secure *tls.Config) {
	if secure != nil {
		t := tls.Server(conn, secure)
		if t.Handshake() != nil {
			conn.Close()
			return
		}
		conn = t
	}
	if !s.lease.Post(func(now mono.Time) {
		socket, err := s.lease.Adopt(conn, loop.TURN)
		if err != nil {
			conn.Close()
			return
		}
		s.mine[socket] = true
		s.engine.AddSocket(now, socket, true)
	}) {
		conn.Close()
	}
}

// Do runs f with the engine, on the server's loop.
func (s *TURNServer) Do(f func(now mono.Time, engine *turn.Server)) error {
	return s.Loop.Do(func(now mono.Time) { f(now, s.engine); s.lease.Touch() })
}

// Close ends the server.
func (s *TURNServer) Close() {
	for _, l := range s.listeners {
		l.Close()
	}
	s.Loop.Close()
	s.accepting.Wait()
}

// HandleDatagram and the rest are those of a loop.Tenant.
func (s *TURNServer) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	for _, u := range s.secured {
		if d.Socket == u.under {
			s.handleSecured(now, u, d)
			return
		}
	}
	if len(s.secured) > 0 { // what it relays may be for a client on DTLS
		s.engine.HandleDatagram(now, d)
		return
	}
	if !s.engine.Relay(now, d, s.lease.Batch()) {
		s.engine.HandleDatagram(now, d)
	}
}

// HandleTimeout does what is due.
func (s *TURNServer) HandleTimeout(now mono.Time) {
	s.engine.HandleTimeout(now)
	for _, u := range s.secured {
		for _, conn := range u.clients {
			conn.HandleTimeout(now)
		}
	}
}

// NextTimeout says when.
func (s *TURNServer) NextTimeout() mono.Time {
	next := s.engine.NextTimeout()
	for _, u := range s.secured {
		for _, conn := range u.clients {
			next = mono.Min(next, conn.NextTimeout())
		}
	}
	return next
}

// HandleClose says that a client has gone.
func (s *TURNServer) HandleClose(now mono.Time, socket pkt.Socket) {
	delete(s.mine, socket)
	s.engine.RemoveSocket(now, socket)
}

// AppendTransmit opens and closes relays, and writes what is to be sent.
func (s *TURNServer) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for {
		e, ok := s.engine.NextEvent()
		if !ok {
			break
		}
		switch e := e.(type) {
		case turn.OpenRelay:
			if socket, _, err := s.lease.Open(udp.Config{Local: e.Address}); err != nil {
				s.engine.RelayFailed(now, e.Request, turn.ErrPortTaken)
			} else {
				s.engine.RelayOpened(now, e.Request, socket, e.Address)
			}
		case turn.CloseSocket:
			s.lease.Close(e.Socket)
			if s.mine[e.Socket] {
				delete(s.mine, e.Socket)
				s.engine.RemoveSocket(now, e.Socket)
			}
		}
	}
	if len(s.secured) == 0 {
		return s.engine.AppendTransmit(now, b)
	}
	s.said.Reset()
	more = s.engine.AppendTransmit(now, s.said)
	for _, t := range s.said.Transmits() {
		if t.Socket < firstUpper {
			b.Append(t)
		}
	}
	s.seal(now, s.said.Transmits(), b)
	return more
}
