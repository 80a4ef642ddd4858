package relay

import (
	"crypto"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// STUN and TURN over DTLS (RFC 7350): a layer between the sockets on which clients come and the engine.
//
// To the engine each socket that takes DTLS is two. What comes in the clear comes on the one, what was decrypted on the
// other, so that nothing in the clear can pass for a client who speaks DTLS, and nothing for him can leave in the clear.
//
//	socket -> takes -> handle -> dtls.Conn -> upper.serve        the first byte says what it is (RFC 7983 section 7)
//	socket <- seal  <- loop   <- the engine's transmits
//	socket <- appendTransmit  <- dtls.Conn                       handshakes, acknowledgements, alerts
//
// A client is held to nothing, and costs no memory, until it has returned a cookie (RFC 7350 section 4.6, RFC 6347 section
// 4.2.1), but for the few whose ClientHello comes in pieces.
const (
	// maxHandshakes bounds the handshakes under way on one shard, maxHandshakesPerSource those of one address (IPv6: one
	// /64), once it has returned a cookie.
	maxHandshakes          = 512
	maxHandshakesPerSource = 32
	// maxUnproven bounds the clients of whom we have a piece of a ClientHello, which anybody can send in any name: the
	// oldest gives way. unprovenTime is how long they have for the rest.
	maxUnproven  = 64
	unprovenTime = 2 * time.Second
	// handshakeTime bounds the others.
	handshakeTime = dtls.DefaultHandshakeTimeout
	// maxAnswer bounds what a client gets before it has returned a cookie, unless it has sent more itself. The longest
	// HelloRetryRequest has 160 bytes, and answers a hello of some 120 at least.
	maxAnswer = 160
	// dtlsIdle is how long an association without an allocation may be silent, as a stream may.
	dtlsIdle = time.Minute

	firstDTLS, lastDTLS = 20, 63 // RFC 7983 section 7
	recordHeader        = 13
	typeHandshake       = 22
)

// upper is what a layer needs of its shard.
type upper interface {
	// serve gets what a client says; its path is on the upper socket.
	serve(now mono.Time, d *pkt.Datagram)
	// hasClient and removeClient are of the client's allocation.
	hasClient(path pkt.Path) bool
	removeClient(now mono.Time, path pkt.Path)
	// mayAnswer asks for leave to answer whoever this is.
	mayAnswer(now mono.Time, client netip.Addr) bool
	// admit counts a client, if there is room for one more of its source, and dismiss one fewer.
	admit(source netip.Prefix) bool
	dismiss(source netip.Prefix)
	// certificate is what to show who asks for a server of this name, or calls it by its address.
	certificate(serverName string, path pkt.Path) *tls.Certificate
	// failed is told why a handshake has.
	failed(why *dtls.Error)
	// submit has work done elsewhere, and then what follows, here. It returns false if too much waits.
	submit(job func(), then func(now mono.Time)) bool
	// touch asks for a call of appendTransmit.
	touch()
	// batch is for what cannot wait for that.
	batch() *pkt.Batch
}

// DTLSCounters are what a layer has done. All but Associations only grow.
type DTLSCounters struct {
	Associations int    // open now
	Handshakes   uint64 // completed
	Failed       uint64 // begun by clients who receive at their address, and not completed
	Refused      uint64 // likewise, because there were too many
	Cookies      uint64 // answers to clients of whom nothing is known
	Dropped      uint64 // datagrams of, and for, no association, and those too long for a record
}

func (c *DTLSCounters) add(d *DTLSCounters) {
	c.Associations += d.Associations
	c.Handshakes += d.Handshakes
	c.Failed += d.Failed
	c.Refused += d.Refused
	c.Cookies += d.Cookies
	c.Dropped += d.Dropped
}

// A dtlsLayer is the DTLS of one shard, and belongs to its loop.
type dtlsLayer struct {
	up  upper
	cfg dtls.Config

	over         []pkt.Socket // the upper socket of each, by name; none where there is none
	associations map[pkt.Path]*association
	in, out      *association // of the last datagram each way
	unproven     [maxUnproven]*handshake
	oldest       int
	underWay     int // handshakes of proven clients
	bySource     map[netip.Prefix]int
	timers       timerq.Queue[*association]
	touched      []*association // have something to send, or a new deadline; each once
	asking       *association   // whose ClientHello is in hand
	sealed       []byte         // what seal has returned
	spare        []byte         // a copy of a datagram
	plain        pkt.Datagram   // what goes up
	count        DTLSCounters
}

const none pkt.Socket = -1

// An association is a client who speaks DTLS: a connection, a handshake that will be one, or both, when a client begins
// anew from the same address. The connection goes when the handshake is complete, not before: anybody can repeat a
// ClientHello that he saw (RFC 6347 section 4.2.8).
type association struct {
	path     pkt.Path // on the upper socket
	under    pkt.Socket
	source   netip.Prefix
	conn     *dtls.Conn // nil until connected
	heard    mono.Time  // when the client last said something on it, or its allocation was seen
	next     *handshake
	admitted bool
	touched  bool
	timer    timerq.Timer[*association]
}

// A handshake is a connection that is not one yet.
type handshake struct {
	association *association
	conn        *dtls.Conn
	began       mono.Time
	received    int  // bytes that came and were not answered
	proven      bool // the client receives at its address
	listed      bool // in unproven
}

func newDTLSLayer(up upper, entropy io.Reader) (*dtlsLayer, error) {
	l := &dtlsLayer{up: up, associations: map[pkt.Path]*association{}, bySource: map[netip.Prefix]int{}}
	secret := make([]byte, 32)
	if _, err := io.ReadFull(entropy, secret); err != nil {
		return nil, err
	}
	l.cfg = dtls.Config{Entropy: entropy, AnonymousClient: true, CookieSecret: secret, CertificateFor: l.certificateFor}
	return l, nil
}

// cover says which socket is over which.
func (l *dtlsLayer) cover(under, upper pkt.Socket) {
	for int(under) >= len(l.over) {
		l.over = append(l.over, none)
	}
	l.over[under] = upper
}

// takes reports whether d is DTLS of a client.
func (l *dtlsLayer) takes(d *pkt.Datagram) bool {
	return len(d.Payload) > 0 && d.Payload[0] >= firstDTLS && d.Payload[0] <= lastDTLS &&
		int(d.Socket) < len(l.over) && d.Socket >= 0 && l.over[d.Socket] != none
}

// handle takes a datagram of DTLS.
func (l *dtlsLayer) handle(now mono.Time, d *pkt.Datagram) {
	path := d.Path
	path.Socket = l.over[d.Socket]
	a := l.in
	if a == nil || a.path != path {
		if a = l.associations[path]; a != nil {
			l.in = a
		}
	}
	if (a == nil || a.next == nil) && isHello(d.Payload) {
		a = l.begin(now, path, d.Socket, a)
	}
	if a == nil {
		l.count.Dropped++
		return
	}
	conn := a.conn
	if h := a.next; h != nil {
		b := d.Payload
		if conn != nil { // either may be meant, and both decrypt in place
			l.spare = append(l.spare[:0], b...)
			b = l.spare
		}
		h.received += len(b)
		l.asking = a
		h.conn.HandleDatagram(now, b)
		l.progress(now, h)
	}
	if conn != nil && a.conn == conn {
		conn.HandleDatagram(now, d.Payload)
		l.receive(now, a, d)
	}
	l.touch(a)
}

// isHello reports whether a datagram begins with a handshake message in the clear: what a client begins with.
func isHello(b []byte) bool {
	return len(b) > recordHeader && b[0] == typeHandshake && binary.BigEndian.Uint16(b[3:]) == 0
}

// begin makes a handshake, in an association that is new if there was none. It returns nil if there is no entropy.
func (l *dtlsLayer) begin(now mono.Time, path pkt.Path, under pkt.Socket, a *association) *association {
	conn, err := dtls.New(dtls.Server, &l.cfg)
	if err != nil {
		return a
	}
	remote, _ := path.Remote.MarshalBinary() // which never fails
	conn.SetRemote(remote)
	if a == nil {
		a = &association{path: path, under: under, source: sourceOf(path.Remote.Addr())}
		a.timer.Owner = a
		l.associations[path] = a
	}
	a.next = &handshake{association: a, conn: conn, began: now}
	return a
}

// progress does what the state of a handshake asks for.
func (l *dtlsLayer) progress(now mono.Time, h *handshake) {
	a := h.association
	if job, ok := h.conn.NextJob(); ok {
		// There is public-key work for those only who have returned a cookie.
		if !h.proven && !l.prove(h) {
			l.count.Refused++
			l.abandon(h)
			return
		}
		submitted := l.up.submit(job.Run, func(now mono.Time) {
			l.asking = a
			h.conn.JobDone(now, job)
			if a.next == h {
				l.progress(now, h)
				l.touch(a)
			}
		})
		if !submitted {
			l.count.Refused++
			l.abandon(h)
			return
		}
	}
	for a.next == h {
		ev, ok := h.conn.NextEvent()
		if !ok {
			return
		}
		switch ev.Kind {
		case dtls.Connected:
			l.promote(now, h)
		case dtls.Closed:
			if h.proven || l.up.mayAnswer(now, a.path.Remote.Addr()) {
				l.sayFarewell(now, a, h.conn)
			}
			if e, ok := errors.AsType[*dtls.Error](ev.Err); ok && (h.proven || e.Fault == dtls.FaultLocal) {
				l.up.failed(e)
			}
			l.fail(h)
		}
	}
}

// prove admits a client that has shown to receive at its address.
func (l *dtlsLayer) prove(h *handshake) bool {
	a := h.association
	if l.underWay >= maxHandshakes || l.bySource[a.source] >= maxHandshakesPerSource {
		return false
	}
	if !a.admitted && !l.up.admit(a.source) {
		return false
	}
	a.admitted, h.proven = true, true
	l.underWay++
	l.bySource[a.source]++
	return true
}

// promote makes a handshake that is complete the association's connection.
func (l *dtlsLayer) promote(now mono.Time, h *handshake) {
	a := h.association
	l.count.Handshakes++
	if a.conn != nil {
		l.up.removeClient(now, a.path) // what he had belongs to who he was
	} else {
		l.count.Associations++
	}
	a.conn, a.heard = h.conn, now
	l.abandon(h)
	l.receive(now, a, &pkt.Datagram{}) // what came with its end
}

// fail gives a handshake up.
func (l *dtlsLayer) fail(h *handshake) {
	if h.proven {
		l.count.Failed++
	}
	l.abandon(h)
}

// end is when a handshake is given up.
func (h *handshake) end() mono.Time {
	if h.proven {
		return h.began.Add(handshakeTime)
	}
	return h.began.Add(unprovenTime)
}

// abandon forgets a handshake, and the association too if that is all that it was.
func (l *dtlsLayer) abandon(h *handshake) {
	a := h.association
	if a.next != h {
		return
	}
	a.next = nil
	if h.proven {
		l.underWay--
		if l.bySource[a.source]--; l.bySource[a.source] == 0 {
			delete(l.bySource, a.source)
		}
	}
	l.forgetIfEmpty(a)
}

func (l *dtlsLayer) forgetIfEmpty(a *association) {
	if a.conn != nil || a.next != nil {
		return
	}
	delete(l.associations, a.path)
	l.timers.Stop(&a.timer)
	if l.in == a {
		l.in = nil
	}
	if l.out == a {
		l.out = nil
	}
	if a.admitted {
		l.up.dismiss(a.source)
	}
}

// receive hands up what a connection has decrypted. The markings of the datagram that it came in are d's.
func (l *dtlsLayer) receive(now mono.Time, a *association, d *pkt.Datagram) {
	for conn := a.conn; a.conn == conn; {
		ev, ok := conn.NextEvent()
		if !ok {
			return
		}
		switch ev.Kind {
		case dtls.Data:
			a.heard = now
			l.plain = pkt.Datagram{Path: a.path, ECN: d.ECN, DSCP: d.DSCP, Payload: ev.Data}
			l.up.serve(now, &l.plain)
		case dtls.Closed:
			l.end(now, a)
		}
	}
}

// end ends an association's connection, and the client's allocation with it.
func (l *dtlsLayer) end(now mono.Time, a *association) {
	l.sayFarewell(now, a, a.conn)
	a.conn = nil
	l.count.Associations--
	l.up.removeClient(now, a.path)
	l.forgetIfEmpty(a)
}

// sayFarewell sends a last alert, if there is one and room for it: a client that misses it finds out by itself.
func (l *dtlsLayer) sayFarewell(now mono.Time, a *association, conn *dtls.Conn) {
	b := l.up.batch()
	if buf := b.Reserve(dtls.DefaultMTU); buf != nil {
		if alert := conn.AppendDatagram(buf, now); len(alert) > 0 {
			b.Commit(pkt.Transmit{Path: a.lower(), Payload: alert})
		}
	}
}

// lower is the path on the socket under.
func (a *association) lower() pkt.Path {
	return pkt.Path{Socket: a.under, Local: a.path.Local, Remote: a.path.Remote}
}

func (l *dtlsLayer) touch(a *association) {
	if !a.touched {
		a.touched = true
		l.touched = append(l.touched, a)
	}
}

// appendTransmit writes what the connections themselves have to say.
func (l *dtlsLayer) appendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for len(l.touched) > 0 {
		a := l.touched[len(l.touched)-1]
		if a.conn != nil && !l.drain(now, a, a.conn, nil, b) || a.next != nil && !l.drain(now, a, a.next.conn, a.next, b) {
			return true
		}
		l.touched[len(l.touched)-1] = nil
		l.touched = l.touched[:len(l.touched)-1]
		a.touched = false
		if h := a.next; h != nil && !h.proven {
			l.keepUnproven(h)
		}
		l.schedule(a)
	}
	return false
}

// drain writes what a connection, or a handshake's, has to say. It returns false if the batch has no room.
func (l *dtlsLayer) drain(now mono.Time, a *association, conn *dtls.Conn, h *handshake, b *pkt.Batch) bool {
	for conn.Pending() {
		buf := b.Reserve(dtls.DefaultMTU)
		if buf == nil {
			return false
		}
		buf = conn.AppendDatagram(buf, now)
		if len(buf) == 0 {
			break
		}
		if h != nil && !h.proven {
			// Nobody is to get more than little, or often, because somebody else sent in his name.
			if len(buf) > max(h.received, maxAnswer) || !l.up.mayAnswer(now, a.path.Remote.Addr()) {
				continue
			}
			h.received = 0
			l.count.Cookies++
		}
		b.Commit(pkt.Transmit{Path: a.lower(), Payload: buf})
	}
	return true
}

// keepUnproven keeps a handshake of which there is no more than a piece of a ClientHello; a whole one needs nothing kept.
func (l *dtlsLayer) keepUnproven(h *handshake) {
	if h.conn.Disposable() {
		l.abandon(h)
		return
	}
	if h.listed {
		return
	}
	h.listed = true
	if old := l.unproven[l.oldest]; old != nil && !old.proven {
		l.abandon(old)
	}
	l.unproven[l.oldest] = h
	l.oldest = (l.oldest + 1) % maxUnproven
}

// schedule sets an association's timer. A deadline that moves away, as it does with all that is heard, is left to come:
// then it is set anew.
func (l *dtlsLayer) schedule(a *association) {
	at := mono.Never
	if a.conn != nil {
		at = mono.Min(a.conn.NextTimeout(), a.heard.Add(dtlsIdle))
	}
	if h := a.next; h != nil {
		at = mono.Min(at, mono.Min(h.conn.NextTimeout(), h.end()))
	}
	if at < l.timers.Deadline(&a.timer) {
		l.timers.Set(&a.timer, at)
	}
}

func (l *dtlsLayer) nextTimeout() mono.Time { return l.timers.Next() }

func (l *dtlsLayer) handleTimeout(now mono.Time) {
	for {
		a, due := l.timers.PopDue(now)
		if !due {
			return
		}
		if h := a.next; h != nil {
			if now >= h.end() {
				l.fail(h)
			} else {
				h.conn.HandleTimeout(now)
				l.progress(now, h)
			}
		}
		if a.conn != nil {
			a.conn.HandleTimeout(now)
			if now >= a.heard.Add(dtlsIdle) {
				if a.heard = now; !l.up.hasClient(a.path) {
					a.conn.Close(now)
				}
			}
			l.receive(now, a, &pkt.Datagram{})
		}
		l.touch(a) // and the timer is set again
	}
}

// seal makes records of what the engine sends to clients, as a loop.Layer.
func (l *dtlsLayer) seal(_ mono.Time, ts []*pkt.Transmit) []*pkt.Transmit {
	l.sealed = l.sealed[:0]
	left := ts[:0]
	for _, t := range ts {
		a := l.out
		if a == nil || a.path != t.Path {
			if a = l.associations[t.Path]; a == nil {
				l.count.Dropped++
				continue
			}
			l.out = a
		}
		if a.conn == nil {
			l.count.Dropped++
			continue
		}
		start := len(l.sealed)
		if need := len(t.Payload) + a.conn.Overhead(); need > cap(l.sealed)-start {
			// What was sealed so far stays where it is.
			l.sealed, start = make([]byte, 0, max(2*cap(l.sealed), need, 1<<16)), 0
		}
		record, err := a.conn.AppendRecord(l.sealed[start:start], t.Payload)
		if err != nil {
			l.count.Dropped++
			continue
		}
		l.sealed = l.sealed[:start+len(record)]
		t.Payload = record
		left = append(left, t)
		if a.conn.Pending() { // the keys have served long enough
			l.touch(a)
			l.up.touch()
		}
	}
	return left
}

// certificateFor is dtls.Config.CertificateFor.
func (l *dtlsLayer) certificateFor(serverName string) *dtls.Certificate {
	c := l.up.certificate(serverName, l.asking.path)
	if c == nil {
		return nil
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return nil
	}
	return &dtls.Certificate{Chain: c.Certificate, PrivateKey: key}
}
