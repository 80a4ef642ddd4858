package dtls

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// Bounds of what a connection holds, beside those of inbox and outbox.
const (
	maxEarly      = 16       // protected records whose keys are not there yet
	maxEarlyBytes = 16 << 10 //
	maxData       = 64       // records of application data not fetched yet
	maxDataBytes  = 64 << 10 // of these, what had to be copied
	maxACKs       = 64       // record numbers in one ACK

	// A fatal alert that came unprotected is a hint that anybody can forge. It ends a handshake only if nothing else
	// follows for so long.
	hintPatience = 2 * time.Second

	// How often a message is repeated that nothing acknowledges after the handshake: half a minute.
	maxPostTimeouts = 15

	// How long keys are kept after the next ones came into use, for records that are late (RFC 9147 section 4.2.1).
	retireAfter = 3 * time.Second
)

// The timers of a connection. Each is a deadline; Never is off.
const (
	timerRetransmit = iota
	timerACK        // part of a flight came, and not the rest
	timerHandshake
	timerHint
	timerRetire // old read keys
	timerCount
)

// Phases of a connection.
type phase uint8

const (
	handshaking phase = iota
	verdictDue        // the handshake is complete; the caller has not accepted the certificate yet
	connected
	closed
)

// A Conn is one end of a DTLS connection. It is not safe for concurrent use.
type Conn struct {
	cfg *Config
	records
	role     Role
	phase    phase
	sendSeq  uint16 // message_seq of the next message to send
	ackNow   bool
	jobOut   bool
	keysNew  bool // early records may be readable now
	stepping bool

	hs     *handshake // nil once the handshake is over
	in     inbox
	out    outbox
	acks   []recordNumber
	early  [][]byte // records that came before their keys
	job    *Job
	timers [timerCount]mono.Time
	rtt    time.Duration // told by the caller or measured; 0: unknown
	remote []byte        // whom cookies are for

	chosen *Certificate // by Config.CertificateFor

	// What NextEvent hands out, in this order.
	certificates [][]byte
	certsWaiting bool
	certsShown   bool
	accepted     bool
	saidOpen     bool
	saidClosed   bool     // after data
	data         [][]byte // application data, the oldest first
	borrowed     int      // how many at the end of data lie in the last datagram
	dataBytes    int      // what the others hold
	err          error

	state    ConnectionState
	suite    *suite
	secrets  secrets
	limits   limits
	farewell []byte // an alert, sealed, that goes out next
	stats    Stats
}

// secrets are what outlives the handshake.
type secrets struct {
	read, write []byte // application traffic secrets of DTLS 1.3
	exporter    []byte // exporter master secret of 1.3; master secret of 1.2
	randoms     []byte // of client and server: the seed of 1.2's exporter
}

// limits are how long keys serve (RFC 9147 section 4.5.3, RFC 8446 section 5.5).
type limits struct {
	sealed uint64 // records after which DTLS 1.3 updates its keys
	spent  uint64 // and after which it sends no more by the old ones
	forged uint64 // records that did not hold, after which a key reads no more
}

var defaultLimits = limits{sealed: 1 << 24, spent: 23_726_566 /* 2^24.5, of AES-GCM; one rule for all */, forged: 1 << 36}

// ConnectionState is what a handshake came to. It is complete once the event Connected was seen.
type ConnectionState struct {
	Version     Version
	CipherSuite CipherSuite
	Group       Group
	SRTPProfile SRTPProfile // 0: none in common, or not asked for
	ALPN        string      // "": none
}

// Stats counts what went on. None of it ends a connection.
type Stats struct {
	Malformed       uint64 // records and messages that could not be read, or had no place
	Forged          uint64 // records that did not decrypt
	Replayed        uint64 // records seen before, or too old to know
	Unreadable      uint64 // records for which there were no keys, and no room to keep them
	DataDropped     uint64 // application data over the bound, because the caller did not fetch it
	Retransmissions uint64 // of flights, whole or in part
}

// EventKind says what an [Event] tells.
type EventKind uint8

const (
	// PeerCertificate: the peer has proved to own Certificates[0]. Answer with Accept or Refuse, now or later; until then
	// there is neither Connected nor Data. The server of an anonymous client does without.
	PeerCertificate EventKind = iota + 1
	// Connected: the handshake is complete and the certificate accepted. State and exporters are final.
	Connected
	// Data: one record of application data.
	Data
	// Closed: the last event. Err says why; it is nil after Close and after the peer's close_notify.
	Closed
)

// An Event is something that the caller must know.
type Event struct {
	Kind         EventKind
	Certificates [][]byte // DER, the leaf first; the caller's to keep
	Data         []byte   // borrowed: it lies in the datagram last handed in; fetch it before that is used again
	Err          error    // an *Error, or nil
}

// New makes one end of a connection. A client has its first job at once, and then its first flight; a server waits. The
// error says what is wrong with the Config, or that Entropy failed.
func New(role Role, cfg *Config) (*Conn, error) {
	if role != Client && role != Server {
		return nil, fmt.Errorf("dtls: %s: pass Client or Server", role)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Certificate == nil && (role == Server && cfg.CertificateFor == nil || role == Client && !cfg.AnonymousClient) {
		return nil, fmt.Errorf("dtls: a %s needs Config.Certificate", role)
	}
	c := &Conn{cfg: cfg, role: role, limits: defaultLimits}
	c.accepted = role == Server && cfg.AnonymousClient
	for i := range c.timers {
		c.timers[i] = mono.Never
	}
	c.restart()
	if role == Client {
		if err := c.hs.startClient(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// restart begins a handshake with nothing remembered: at the start, and after a server asked for a cookie.
func (c *Conn) restart() {
	c.hs = &handshake{c: c}
	c.hs.expect = c.hs.clientHello
	c.in, c.sendSeq, c.acks, c.early = inbox{}, 0, nil, nil
	c.writes = append(c.writes[:0], &writeEpoch{})
	c.reads = c.reads[:0]
	c.readCID = c.cfg.ConnectionID
	c.version = 0
}

// SetRTT tells the round-trip time, as known from connectivity checks. Retransmission then waits 1.5 times as long
// (RFC 9147 section 5.8.2), if that is more than Config.Retransmit.
func (c *Conn) SetRTT(d time.Duration) {
	c.rtt = max(d, 0)
	c.out.timeout = max(c.out.timeout, c.firstTimeout())
}

func (c *Conn) firstTimeout() time.Duration {
	return min(max(c.cfg.retransmit(), c.rtt+c.rtt/2), maxRetransmit)
}

// SetRemote names the peer's address, in any form that is the same each time. Cookies are bound to it.
func (c *Conn) SetRemote(address []byte) { c.remote = slices.Clone(address) }

// State returns what was negotiated; fields not known yet are zero.
func (c *Conn) State() ConnectionState { return c.state }

// Stats returns the counters.
func (c *Conn) Stats() Stats { return c.stats }

// Disposable reports whether a server that asks for cookies holds nothing that a new Conn would not: the client has not
// shown yet that it receives at its address, no piece of a ClientHello waits for another, and what there was to answer is
// sent. Such a Conn may be thrown away, and the address's next datagram given to a new one.
func (c *Conn) Disposable() bool {
	return c.role == Server && len(c.cfg.CookieSecret) > 0 && c.phase == handshaking && !c.hs.validated &&
		len(c.in.waiting) == 0 && !c.out.pending() && c.farewell == nil
}

// HandleDatagram takes one datagram in, and decrypts it in place. What cannot be read is counted and dropped.
func (c *Conn) HandleDatagram(now mono.Time, b []byte) {
	c.keepData()
	for c.phase != closed && len(b) > 0 {
		rec, rest, ok := c.parse(b)
		if !ok {
			c.stats.Malformed++
			break
		}
		c.handleRecord(now, &rec)
		b = rest
	}
	if c.phase != connected {
		c.keepData() // it cannot be fetched yet, and the datagram is the caller's again
	}
}

func (c *Conn) handleRecord(now mono.Time, rec *record) {
	if !rec.unified && rec.epoch == 0 {
		c.handlePlain(now, rec)
		return
	}
	if c.version != 0 && rec.unified != (c.version == Version13) {
		c.stats.Malformed++
		return
	}
	var e *readEpoch
	if rec.unified {
		e = c.unifiedEpoch(rec.epoch)
	} else {
		e = c.readEpoch(rec.epoch)
	}
	if e == nil {
		c.keepEarly(now, rec)
		return
	}
	typ, content, fresh, ok := c.open(rec, e)
	if !ok {
		c.stats.Forged++
		e.forged++
		c.watchForgeries(now, e)
		return
	}
	if len(content) > maxPlaintext {
		c.stats.Malformed++
		return
	}
	if !fresh {
		c.stats.Replayed++
		return
	}
	e.window.mark(rec.seq)
	c.handleContent(now, rec, e, typ, content)
}

// handleContent takes in what a protected record held.
func (c *Conn) handleContent(now mono.Time, rec *record, e *readEpoch, typ contentType, content []byte) {
	if e.number > 3 && c.reads[0].number < e.number {
		c.timers[timerRetire] = mono.Min(c.timers[timerRetire], now.Add(retireAfter)) // the peer's new keys are in use
	}
	switch typ {
	case typeData:
		if c.version == Version13 && e.number < 3 {
			c.check(now, peerError(AlertUnexpectedMessage, "application data in epoch %d", e.number))
			return
		}
		c.handleData(content)
	case typeHandshake:
		c.handleHandshake(now, recordNumber{e.number, rec.seq}, content)
	case typeAlert:
		c.handleAlert(now, content)
	case typeACK:
		c.handleACK(now, e.number, content)
	default:
		c.stats.Malformed++
	}
}

// handlePlain takes an unprotected record in, which anybody can have sent.
func (c *Conn) handlePlain(now mono.Time, rec *record) {
	content := rec.raw[rec.bodyAt:]
	switch {
	case c.hs == nil:
		// After the handshake nothing comes unprotected but what comes late. A client of DTLS 1.2 that repeats its last
		// flight ends it with a Finished, which is protected.
		c.stats.Malformed++
	case len(content) > maxPlaintext:
		c.stats.Malformed++
	case rec.typ == typeHandshake:
		c.handleHandshake(now, recordNumber{0, rec.seq}, content)
	case rec.typ == typeAlert && len(content) == 2 && content[0] == 2:
		if c.timers[timerHint] == mono.Never && c.timers[timerHandshake] != mono.Never {
			c.hs.hint = Alert(content[1])
			c.timers[timerHint] = now.Add(hintPatience)
		}
	case rec.typ == typeACK:
		c.handleACK(now, 0, content)
	case rec.typ == typeChangeCipherSpec:
		// The epoch in each record says the same (RFC 6347 section 4.1).
	default:
		c.stats.Malformed++
	}
}

// keepEarly keeps a record for whose epoch there are no keys yet: reordering, or a job under way.
func (c *Conn) keepEarly(now mono.Time, rec *record) {
	size := len(rec.raw)
	for _, r := range c.early {
		size += len(r)
	}
	if c.hs == nil || len(c.early) >= maxEarly || size > maxEarlyBytes || !c.hs.awaitsKeys(rec) {
		c.stats.Unreadable++
		return
	}
	c.early = append(c.early, slices.Clone(rec.raw))
	if rec.unified && c.role == Client {
		c.armACK(now) // of nothing, maybe: it tells the server that its ServerHello is missing (RFC 9147 section 7.1)
	}
}

// replayEarly takes the early records in again, when keys were installed.
func (c *Conn) replayEarly(now mono.Time) {
	early := c.early
	c.early = nil
	for _, raw := range early {
		if rec, _, ok := c.parse(raw); ok && c.phase != closed {
			c.handleRecord(now, &rec)
		}
	}
	c.keepData()
}

func (c *Conn) handleData(content []byte) {
	if c.out.passive {
		c.out.begin(0) // a client of 1.2 that sends data has got our last flight
		c.timers[timerRetransmit] = mono.Never
	}
	if len(c.data) >= maxData {
		c.stats.DataDropped++
		return
	}
	c.data = append(c.data, content)
	c.borrowed++
}

// keepData copies the data that lie in a datagram about to be overwritten.
func (c *Conn) keepData() {
	for i := len(c.data) - c.borrowed; c.borrowed > 0; c.borrowed-- {
		if c.dataBytes+len(c.data[i]) > maxDataBytes {
			c.stats.DataDropped++
			c.data = slices.Delete(c.data, i, i+1)
			continue
		}
		c.data[i] = slices.Clone(c.data[i])
		c.dataBytes += len(c.data[i])
		i++
	}
}

// NextEvent returns what happened since, in order; false if nothing.
func (c *Conn) NextEvent() (Event, bool) {
	switch {
	case c.certsWaiting:
		c.certsWaiting, c.certsShown = false, true
		certs := c.certificates
		c.certificates = nil
		return Event{Kind: PeerCertificate, Certificates: certs}, true
	case c.phase == connected && !c.saidOpen:
		c.saidOpen = true
		return Event{Kind: Connected}, true
	case c.saidOpen && len(c.data) > 0:
		b := c.data[0]
		if c.borrowed == len(c.data) {
			c.borrowed--
		} else {
			c.dataBytes -= len(b)
		}
		n := copy(c.data, c.data[1:])
		c.data[n] = nil
		if c.data = c.data[:n]; n == 0 && cap(c.data) > 8 {
			c.data = nil // a burst is over
		}
		return Event{Kind: Data, Data: b}, true
	case c.phase == closed && !c.saidClosed:
		c.saidClosed = true
		c.data = nil
		return Event{Kind: Closed, Err: c.err}, true
	}
	return Event{}, false
}

// Accept says that the peer's certificate is the right one, after PeerCertificate.
// It does nothing before that event.
func (c *Conn) Accept(mono.Time) {
	c.accepted = c.accepted || c.certsShown
	c.settle()
}

// settle opens the connection once the handshake is complete and the certificate accepted.
func (c *Conn) settle() {
	if c.phase == verdictDue && c.accepted {
		c.phase = connected
	}
}

// Refuse ends the connection because the peer's certificate is not the one that was promised.
func (c *Conn) Refuse(now mono.Time) {
	if c.phase != closed {
		c.fail(now, &Error{Alert: AlertBadCertificate, Reason: "the peer's certificate was refused", Fault: FaultLocal})
	}
}

// AppendRecord appends one record of application data to dst: a datagram's payload, or a part of one. The plaintext must
// not overlap dst's free capacity. It allocates nothing if dst has room for Overhead bytes more than the plaintext.
func (c *Conn) AppendRecord(dst, plaintext []byte) ([]byte, error) {
	if c.phase != connected {
		if c.phase == closed {
			return dst, ErrClosed
		}
		return dst, ErrNotConnected
	}
	if len(plaintext) > maxPlaintext {
		return dst, ErrTooLong
	}
	w := c.write()
	if w.next >= c.limits.sealed && c.version == Version13 {
		_ = c.updateKeys(true) // refused if one is under way
	}
	if w.next > maxSequence || w.next > c.limits.spent && c.version == Version13 {
		return dst, ErrKeysSpent
	}
	dst, _ = c.seal(dst, w, typeData, nil, plaintext)
	return dst, nil
}

// Overhead returns how many bytes AppendRecord adds to a plaintext, once connected.
func (c *Conn) Overhead() int { return c.overhead(c.write()) }

// AppendDatagram appends the next datagram of the handshake, of acknowledgements or alerts, of at most the MTU; nothing
// if there is none. Call it until it appends nothing.
func (c *Conn) AppendDatagram(dst []byte, now mono.Time) []byte {
	if c.farewell != nil {
		dst = append(dst, c.farewell...)
		c.farewell = nil
		return dst
	}
	if c.phase == closed {
		return dst
	}
	limit := len(dst) + c.pathMTU()
	if c.ackNow {
		dst = c.appendACK(dst, limit)
	}
	if c.out.pending() {
		if dst = c.out.appendRecords(dst, limit, &c.records, c.version != Version12); !c.out.pending() {
			c.timers[timerRetransmit] = c.out.finished(now)
		}
	}
	return dst
}

// Pending reports whether AppendDatagram has something, now.
func (c *Conn) Pending() bool {
	return c.farewell != nil || c.phase != closed && (c.ackNow || c.out.pending())
}

// pathMTU shrinks when nothing answers: the path may not carry what it should.
func (c *Conn) pathMTU() int {
	if c.out.timeouts > narrowAfter {
		return min(c.cfg.mtu(), narrowMTU)
	}
	return c.cfg.mtu()
}

// NextTimeout returns when to call HandleTimeout; Never if it need not be.
func (c *Conn) NextTimeout() mono.Time {
	t := c.timers[0]
	for _, u := range c.timers[1:] {
		t = mono.Min(t, u)
	}
	return t
}

// HandleTimeout does what is due. A spurious call does nothing.
func (c *Conn) HandleTimeout(now mono.Time) {
	for i := range c.timers {
		if c.timers[i] > now || c.timers[i] == mono.Never {
			continue
		}
		c.timers[i] = mono.Never
		switch i {
		case timerRetransmit:
			if c.hs == nil && c.out.timeouts >= maxPostTimeouts {
				c.fail(now, &Error{Alert: AlertInternalError, Fault: FaultNetwork, Reason: "nothing acknowledges our last message"})
				return
			}
			c.stats.Retransmissions++
			c.out.expire()
		case timerACK:
			c.ackNow = true
		case timerHandshake:
			c.fail(now, c.timeoutError())
		case timerHint:
			c.fail(now, &Error{Alert: c.hs.hint, Received: true, Fault: FaultPeer,
				Reason: "it sent the alert unprotected, and nothing else after it"})
		case timerRetire:
			c.retire()
		}
	}
}

func (c *Conn) timeoutError() error {
	reason := fmt.Sprintf("no handshake within %v", c.cfg.handshakeTimeout())
	if c.hs != nil && c.hs.lastDrop != nil {
		reason += "; the last message dropped: " + c.hs.lastDrop.Error()
	}
	return &Error{Alert: AlertUserCanceled, Reason: reason, Fault: FaultNetwork}
}

// Close ends the connection; AppendDatagram then gives a close_notify, once.
func (c *Conn) Close(now mono.Time) {
	if c.phase != closed {
		c.shut(nil, 1, AlertCloseNotify)
	}
}

// check ends the connection if err is not nil.
func (c *Conn) check(now mono.Time, err error) {
	if err != nil {
		c.fail(now, err)
	}
}

func (c *Conn) fail(_ mono.Time, err error) {
	if c.phase == closed {
		return
	}
	var e *Error
	if m, ok := err.(*malformed); ok {
		e = &Error{Alert: m.alert, Reason: m.reason, Fault: FaultPeer}
	} else if !errors.As(err, &e) {
		e = &Error{Alert: AlertInternalError, Reason: err.Error(), Fault: FaultLocal}
	}
	c.shut(e, 2, e.Alert)
}

// shut seals the last alert, if one is due, and forgets everything else.
func (c *Conn) shut(err *Error, level byte, alert Alert) {
	received := err != nil && err.Received
	silent := c.hs != nil && c.hs.flights == 0 && (c.role == Client || err == nil) // nobody knows of us
	if !received && !silent {
		c.farewell, _ = c.seal(nil, c.write(), typeAlert, nil, []byte{level, byte(alert)})
	}
	if err != nil {
		c.err = err
	}
	c.phase = closed
	c.hs, c.job, c.jobOut = nil, nil, false
	c.in, c.out, c.early, c.acks, c.ackNow = inbox{}, outbox{}, nil, nil, false
	c.writes, c.reads, c.secrets = []*writeEpoch{{}}, nil, secrets{}
	c.keepData()
	for i := range c.timers {
		c.timers[i] = mono.Never
	}
}

// random reads n bytes of entropy.
func (c *Conn) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.cfg.Entropy, b); err != nil {
		return nil, localError("no entropy: %v", err)
	}
	return b, nil
}
