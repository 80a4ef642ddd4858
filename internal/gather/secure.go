package gather

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// secure is DTLS between a TURN client and its server (RFC 7350).
type secure struct {
	conn  *dtls.Conn
	name  string     // to check the certificate against
	up    bool       // connected
	inner *pkt.Batch // what the client says, before it is sealed
	plain []byte
}

const secureMTU = dtls.DefaultMTU

// handshake begins DTLS for a relay. The client follows when it is done.
func (g *Gatherer) handshake(now mono.Time, r *relay, domain string) error {
	name := r.server.URI.Host
	if domain != "" {
		name = domain
	}
	cfg := &dtls.Config{Entropy: g.cfg.Entropy, AnonymousClient: true, HandshakeTimeout: serverPatience}
	if _, err := netip.ParseAddr(name); err != nil {
		cfg.ServerName = name
	}
	conn, err := dtls.New(dtls.Client, cfg)
	if err != nil {
		return err
	}
	r.secure = &secure{conn: conn, name: name, inner: pkt.NewBatch(16<<10, 16)}
	g.secureEvents(now, r)
	return nil
}

// secureEvents runs what the handshake needs and takes what it says, but for data.
func (g *Gatherer) secureEvents(now mono.Time, r *relay) {
	s := r.secure
	for s != nil && r.secure == s {
		if j, ok := s.conn.NextJob(); ok {
			g.submit(now, j.Run, func(now mono.Time) {
				if r.secure == s {
					s.conn.JobDone(now, j)
					g.secureEvents(now, r)
				}
			})
			continue
		}
		e, ok := s.conn.NextEvent()
		if !ok {
			return
		}
		g.secureEvent(now, r, &e)
	}
}

// submit runs a job on the pool, or here if that is full.
func (g *Gatherer) submit(now mono.Time, job func(), then func(now mono.Time)) {
	if !g.lease.Submit(func() func(mono.Time) { job(); return then }) {
		job()
		then(now)
	}
}

func (g *Gatherer) secureEvent(now mono.Time, r *relay, e *dtls.Event) {
	s := r.secure
	switch e.Kind {
	case dtls.PeerCertificate:
		var err error
		chain := e.Certificates
		g.submit(now, func() { err = g.verify(s.name, chain) }, func(now mono.Time) {
			switch {
			case r.secure != s:
			case err != nil:
				s.conn.Refuse(now)
				g.endRelay(now, r, fmt.Errorf("the certificate of %s is not to be trusted: %w", s.name, err))
				g.settle(now)
			default:
				s.conn.Accept(now)
				g.secureEvents(now, r)
			}
		})
	case dtls.Connected:
		s.up = true
		g.startClient(now, r)
	case dtls.Closed:
		err := e.Err
		if err == nil {
			err = errStreamClosed
		}
		g.endRelay(now, r, err)
	}
}

var errNoCertificate = errors.New("the server showed none")

// verify checks a server's certificate as TLS does: by the roots of Config.TLS or the system's, and by its name.
func (g *Gatherer) verify(name string, chain [][]byte) error {
	if g.cfg.TLS != nil && g.cfg.TLS.InsecureSkipVerify {
		return nil
	}
	if len(chain) == 0 {
		return errNoCertificate
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool()}
	if g.cfg.TLS != nil {
		options.Roots = g.cfg.TLS.RootCAs
		if g.cfg.TLS.Time != nil {
			options.CurrentTime = g.cfg.TLS.Time()
		}
	}
	for _, der := range chain[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(c)
		}
	}
	_, err = leaf.Verify(options)
	return err
}

// secureDatagram opens a datagram and hands what is in it to the client. It returns false if a peer's data was in it,
// which d then is.
func (g *Gatherer) secureDatagram(now mono.Time, r *relay, d *pkt.Datagram) (mine bool) {
	s, outer, mine := r.secure, d.Path, true
	s.conn.HandleDatagram(now, d.Payload)
	for r.secure == s {
		e, ok := s.conn.NextEvent()
		if !ok {
			break
		}
		if e.Kind != dtls.Data {
			g.secureEvent(now, r, &e)
			continue
		}
		if r.client == nil {
			continue
		}
		inner := pkt.Datagram{Path: outer, ECN: d.ECN, DSCP: d.DSCP, Payload: e.Data}
		if r.client.Unwrap(now, &inner) {
			*d, mine = inner, false // a server puts one record into a datagram: of several, the last is taken
			continue
		}
		r.client.HandleDatagram(now, &inner)
		g.relayEvents(now, r)
	}
	if r.secure == s {
		g.secureEvents(now, r)
	}
	return mine
}

// secureTransmit writes records of the handshake, and what the client says, sealed.
func (g *Gatherer) secureTransmit(now mono.Time, r *relay, b *pkt.Batch) (more bool) {
	s := r.secure
	for s.conn.Pending() {
		buf := b.Reserve(secureMTU)
		if buf == nil {
			return true
		}
		out := s.conn.AppendDatagram(buf, now)
		if len(out) == 0 {
			break
		}
		b.Commit(pkt.Transmit{Path: r.path, Payload: out})
	}
	for s.up && r.client != nil {
		const bytes, transmits = 16 << 10, 16 // of inner
		if room, slots := b.Room(); room < bytes+transmits*s.conn.Overhead() || slots < transmits {
			return true
		}
		s.inner.Reset()
		again := r.client.AppendTransmit(now, s.inner)
		for _, t := range s.inner.Transmits() {
			s.seal(b, &t, t.Payload)
		}
		if !again {
			break
		}
	}
	return false
}

// seal writes a record for which there is room.
func (s *secure) seal(b *pkt.Batch, t *pkt.Transmit, plain []byte) {
	out, err := s.conn.AppendRecord(b.Reserve(len(plain)+s.conn.Overhead()), plain)
	if err == nil && len(out) > 0 {
		b.Commit(pkt.Transmit{Path: t.Path, ECN: t.ECN, DSCP: t.DSCP, Unfragmented: t.Unfragmented, Payload: out})
	}
}

// wrapSecure is Wrap for a server that is spoken to by DTLS.
func (g *Gatherer) wrapSecure(now mono.Time, r *relay, t *pkt.Transmit, size int, b *pkt.Batch) (ok bool) {
	s := r.secure
	segments := t.Segments()
	each := turn.ClientOverhead + s.conn.Overhead()
	if bytes, transmits := b.Room(); bytes < len(t.Payload)+segments*each || transmits < segments {
		return false
	}
	out := pkt.Transmit{Path: r.path, ECN: t.ECN, DSCP: t.DSCP, Unfragmented: t.Unfragmented}
	for rest := t.Payload; ; {
		n := min(len(rest), size)
		s.plain = r.client.AppendData(s.plain[:0], now, t.Remote, rest[:n], t.Unfragmented && segments == 1)
		if len(s.plain) > 0 {
			s.seal(b, &out, s.plain)
		}
		if rest = rest[n:]; len(rest) == 0 {
			return true
		}
	}
}
