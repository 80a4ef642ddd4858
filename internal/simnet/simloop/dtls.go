package simloop

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// secured is a UDP socket whose clients speak DTLS (RFC 7350). To the engine it has another name than to the loop.
type secured struct {
	under, upper pkt.Socket
	cfg          *dtls.Config
	clients      map[netip.AddrPort]*dtls.Conn
	up           map[netip.AddrPort]bool // the handshake is over
	order        []netip.AddrPort        // of clients, as they came
}

// firstUpper is beyond every name that a test's loop gives.
const firstUpper = 1 << 16

// DTLS serves datagrams under DTLS at an address.
func (s *TURNServer) DTLS(local netip.AddrPort, cert *tls.Certificate) error {
	c := &dtls.Certificate{Chain: cert.Certificate, PrivateKey: cert.PrivateKey.(crypto.Signer)}
	var err error
	return errors.Join(s.Loop.Do(func(now mono.Time) {
		var socket pkt.Socket
		if socket, _, err = s.lease.Open(udp.Config{Local: local}); err == nil {
			upper := firstUpper + pkt.Socket(len(s.secured))
			s.engine.AddSocket(now, upper, false)
			s.secured = append(s.secured, &secured{
				under: socket, upper: upper, clients: map[netip.AddrPort]*dtls.Conn{}, up: map[netip.AddrPort]bool{},
				cfg: &dtls.Config{Entropy: rand.Reader, Certificate: c, AnonymousClient: true},
			})
		}
	}), err)
}

// handleSecured takes a datagram of a client.
func (s *TURNServer) handleSecured(now mono.Time, u *secured, d *pkt.Datagram) {
	const handshake, clientHello, header = 22, 1, 13
	conn := u.clients[d.Remote]
	if len(d.Payload) > header && d.Payload[0] == handshake && d.Payload[header] == clientHello && u.up[d.Remote] {
		conn = nil // the client begins anew
	}
	if conn == nil {
		var err error
		if conn, err = dtls.New(dtls.Server, u.cfg); err != nil {
			return
		}
		u.clients[d.Remote], u.up[d.Remote] = conn, false
		if !slices.Contains(u.order, d.Remote) {
			u.order = append(u.order, d.Remote)
		}
	}
	conn.HandleDatagram(now, d.Payload)
	conn.RunJobs(now)
	for {
		e, ok := conn.NextEvent()
		if !ok {
			return
		}
		switch e.Kind {
		case dtls.Connected:
			u.up[d.Remote] = true
		case dtls.Data:
			inner := pkt.Datagram{Path: d.Path, ECN: d.ECN, DSCP: d.DSCP, Payload: e.Data}
			inner.Socket = u.upper
			s.engine.HandleDatagram(now, &inner)
		case dtls.Closed:
			delete(u.clients, d.Remote)
		}
	}
}

// seal writes what the engine has for clients on DTLS, and what their connections have to say.
func (s *TURNServer) seal(now mono.Time, ts []pkt.Transmit, b *pkt.Batch) {
	for _, u := range s.secured {
		for i := range ts {
			t := &ts[i]
			conn := u.clients[t.Remote]
			if t.Socket != u.upper || conn == nil {
				continue
			}
			if record, err := conn.AppendRecord(nil, t.Payload); err == nil {
				b.Append(pkt.Transmit{Path: pkt.Path{Socket: u.under, Local: t.Local, Remote: t.Remote}, Payload: record})
			}
		}
		for _, remote := range u.order {
			conn := u.clients[remote]
			for conn != nil {
				out := conn.AppendDatagram(nil, now)
				if len(out) == 0 {
					break
				}
				b.Append(pkt.Transmit{Path: pkt.Path{Socket: u.under, Remote: remote}, Payload: out})
			}
		}
	}
}
