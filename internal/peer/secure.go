package peer

import (
	"errors"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/stun"
)

// Bounds of a run: datagrams of one size that leave in one transmit (see [pkt.Transmit]).
const (
	runSegments = 64
	runBytes    = 65_000
)

// ErrAssociation is returned where there is an association already, or none.
var ErrAssociation = errors.New("peer: there is an association already, or the connection is closed")

// Secure is a DTLS connection and the SCTP association within it.
//
// The handshake may run before the peer's description is known: the certificate then waits for SetFingerprints, and
// nothing of the application goes up or down before that. A new fingerprint or tls-id is a new
// Secure on the same path.
type Secure struct {
	conn *dtls.Conn
	role dtls.Role
	mtu  int
	rtt  time.Duration // told by SetRTT

	certificates [][]byte // what the peer has proved to own
	promised     []dtls.Fingerprint
	connected    bool
	closing      bool // media and the association have a last word, and then DTLS

	protection  *protection // of RTP; nil until there is some
	association *sctp.Association
	handed      bool // another Secure sends for it; what still comes this way is its all the same
	scratch     *Scratch
	held        []byte           // the next packet, before it is sealed; in scratch, and in kept from one call to the next
	kept        []byte           // memory for a packet that found no room in the batch; nil until there was one
	whole       bool             // ... and must not be fragmented
	media       *session.Session // which data share the path with, and are paced by; nil: there is none
	dataAt      mono.Time        // when it lets the next packet go

	paused  bool // there is no path, so the clock of SCTP stands still
	begun   bool // the handshake has: something came, or went out
	ended   bool
	told    DTLSState
	err     error
	dropped uint64
}

// NewSecure makes one end. cfg is shared and must not change; dtls.Config says what is in it. scratch may be shared too.
func NewSecure(role dtls.Role, cfg *dtls.Config, scratch *Scratch) (*Secure, error) {
	conn, err := dtls.New(role, cfg)
	if err != nil {
		return nil, err
	}
	mtu := cfg.MTU
	if mtu == 0 {
		mtu = dtls.DefaultMTU
	}
	return &Secure{conn: conn, role: role, mtu: mtu, told: DTLSNew, scratch: scratch, dataAt: mono.Never}, nil
}

// SetFingerprints says what the peer's description promised. It may come before, during or after the handshake; a
// certificate that matches none of it ends the connection. The first call decides.
func (s *Secure) SetFingerprints(now mono.Time, promised []dtls.Fingerprint) {
	if s.promised == nil && len(promised) > 0 {
		s.promised = promised
		s.judge(now)
		s.take(now)
	}
}

// judge compares what the peer has with what it promised, once both are known.
func (s *Secure) judge(now mono.Time) {
	switch {
	case s.promised == nil || len(s.certificates) == 0:
	case dtls.MatchFingerprint(s.certificates[0], s.promised):
		s.conn.Accept(now)
	default:
		s.conn.Refuse(now)
	}
}

// Associate makes the association, which connects as soon as DTLS has. Of cfg, Server, ZeroChecksum, Patient and BasePacket
// are set here: an association's role is that of DTLS (RFC 8832 section 6), DTLS protects better than a checksum (RFC 9653),
// a peer that waits for our answer may not read data yet while ICE knows that it is alive, and what fits into a record of dtls.Config.MTU is where the search for the path's MTU begins. There is no search unless
// MaxPacket is set to where it ends: then pkt.Transmit.Unfragmented must have an effect.
func (s *Secure) Associate(now mono.Time, cfg sctp.Config) error {
	if s.association != nil || s.ended || s.closing {
		return ErrAssociation
	}
	cfg.Server = s.role == dtls.Server
	cfg.ZeroChecksum, cfg.Patient = true, true
	cfg.BasePacket = s.mtu - recordOverhead
	if cfg.MaxPacket != 0 {
		cfg.BasePacket = min(cfg.BasePacket, cfg.MaxPacket)
	}
	cfg.MaxPacket = max(cfg.BasePacket, min(cfg.MaxPacket, maxRecord))
	a, err := sctp.New(cfg)
	if err != nil {
		return err
	}
	s.association = a
	a.SetRTT(s.rtt)
	s.scratch.grow(cfg.MaxPacket)
	if s.connected {
		a.Connect(now)
	}
	return nil
}

// Dissociate ends the association, by ABORT, and makes room for another one. What the former has to say still is in its own
// NextEvent.
func (s *Secure) Dissociate(now mono.Time) {
	s.association.Abort("the data section is closed")
	if s.connected && !s.ended {
		s.hold(now)
		s.keep()
	}
	s.association = nil
}

// Scratch is memory that those share whose engines run in one goroutine.
type Scratch struct {
	hasher *stun.Hasher
	packet []byte // before it is sealed
}

// NewScratch makes it.
func NewScratch() *Scratch { return &Scratch{hasher: stun.NewHasher()} }

func (c *Scratch) grow(size int) {
	if cap(c.packet) < size {
		c.packet = make([]byte, 0, size)
	}
}

// recordOverhead is what a record of either version adds at most, without connection IDs: 13 bytes of header and 8 of
// nonce in DTLS 1.2, and 16 of tag. The rest rounds up.
const recordOverhead = 40

// maxRecord bounds packets: "The length MUST NOT exceed 2^14 bytes" (RFC 8446 section 5.1).
const maxRecord = 1 << 14

// Association returns the association, for its calls; nil before Associate. What it has to say comes by NextEvent.
func (s *Secure) Association() *sctp.Association { return s.association }

// HandlePayload takes in the payload of a datagram that Demultiplex gives to DTLS, and decrypts it in place. The caller
// knows that it came on a path that ICE has checked.
func (s *Secure) HandlePayload(now mono.Time, payload []byte) {
	s.begun = true
	s.conn.HandleDatagram(now, payload)
	s.take(now)
}

// HandOver gives the association to another connection with the same peer, which carries it on: "the state of the SCTP
// association is not affected" (RFC 8841 section 10.5).
func (s *Secure) HandOver(now mono.Time, to *Secure) {
	if !s.carries() || to.association != nil {
		return
	}
	to.association, to.held, to.kept, to.whole = s.association, s.held, s.kept, s.whole
	s.handed, s.held, s.kept = true, nil, nil
	if to.connected {
		to.association.Connect(now)
	}
}

// carries reports whether there is an association that this connection sends for.
func (s *Secure) carries() bool { return s.association != nil && !s.handed }

// Pause says whether there is no path at present: the association then waits instead of counting what nobody answers.
func (s *Secure) Pause(paused bool) { s.paused = paused }

// HandleTimeout does what is due.
func (s *Secure) HandleTimeout(now mono.Time) {
	s.conn.HandleTimeout(now)
	s.take(now)
	if now >= s.dataAt {
		s.dataAt = mono.Never
	}
	if s.ticking() {
		s.association.HandleTimeout(now)
	}
}

// NextTimeout returns when HandleTimeout is due, or mono.Never.
func (s *Secure) NextTimeout() mono.Time {
	next := mono.Min(s.conn.NextTimeout(), s.dataAt)
	if s.ticking() {
		next = mono.Min(next, s.association.NextTimeout())
	}
	return next
}

func (s *Secure) ticking() bool {
	return s.carries() && s.connected && !s.ended && !s.paused
}

// NextJob and JobDone are those of [dtls.Conn]: the public-key work of the handshake.
func (s *Secure) NextJob() (*dtls.Job, bool) { return s.conn.NextJob() }

// JobDone takes back a job that has run.
func (s *Secure) JobDone(now mono.Time, j *dtls.Job) {
	s.conn.JobDone(now, j)
	s.take(now)
}

// PathChanged says that what is sent takes another path from now on; its round-trip time follows by SetRTT.
func (s *Secure) PathChanged(now mono.Time) {
	s.rtt = 0
	if s.carries() {
		s.association.PathChanged(now)
	}
}

// SetRTT tells the round-trip time of the path: to DTLS for its repetitions, to SCTP for its first ones.
func (s *Secure) SetRTT(d time.Duration) {
	s.rtt = d
	s.conn.SetRTT(d)
	if s.carries() {
		s.association.SetRTT(d)
	}
}

// Negotiated returns what DTLS has negotiated.
func (s *Secure) Negotiated() dtls.ConnectionState { return s.conn.State() }

// Stats returns the counters of DTLS.
func (s *Secure) Stats() dtls.Stats { return s.conn.Stats() }

// State returns how far DTLS has come.
func (s *Secure) State() DTLSState {
	switch {
	case s.ended && s.err != nil:
		return DTLSFailed
	case s.ended:
		return DTLSClosed
	case s.connected:
		return DTLSConnected
	case s.begun:
		return DTLSConnecting
	}
	return DTLSNew
}

// Err returns why DTLS failed; nil if it has not.
func (s *Secure) Err() error { return s.err }

// Role returns the role in the handshake.
func (s *Secure) Role() dtls.Role { return s.role }

// PeerCertificates returns what the peer has proved to own, in DER, the leaf first; nil before.
func (s *Secure) PeerCertificates() [][]byte { return s.certificates }

// Dropped returns how many records came before there was an association to take them.
func (s *Secure) Dropped() uint64 { return s.dropped }

// take does what the events of DTLS ask for, at once: its data lie in the datagram that was just handed in.
func (s *Secure) take(now mono.Time) {
	for {
		e, ok := s.conn.NextEvent()
		if !ok {
			return
		}
		switch e.Kind {
		case dtls.PeerCertificate:
			s.certificates = e.Certificates
			s.judge(now)
		case dtls.Connected:
			s.connected = true
			if s.association != nil {
				s.association.Connect(now)
			}
		case dtls.Data:
			if s.association == nil {
				s.dropped++ // the peer repeats its INIT
				continue
			}
			s.association.HandlePacket(now, e.Data)
		case dtls.Closed:
			s.ended, s.err, s.held = true, e.Err, nil
		}
	}
}

// NextEvent returns the next event, of kind OfDTLS or OfSCTP; false if there is none. DTLSClosed or DTLSFailed is the last.
func (s *Secure) NextEvent() (Event, bool) {
	if s.told >= DTLSClosed {
		return Event{}, false
	}
	state := s.State()
	if state == s.told || state >= DTLSClosed {
		if s.carries() {
			if e, ok := s.association.NextEvent(); ok {
				return Event{Kind: OfSCTP, SCTP: e}, true
			}
		}
	}
	if state == s.told {
		return Event{}, false
	}
	s.told = state
	return Event{Kind: OfDTLS, DTLS: state, Err: s.err}, true
}

// Close ends the association by ABORT and the connection by close_notify; both go out by AppendTransmit, and then
// DTLSClosed comes. It does nothing the second time.
func (s *Secure) Close(now mono.Time) {
	if s.ended || s.closing {
		return
	}
	if s.connected { // AppendTransmit closes it behind the last words of media and data
		s.closing = true
		if s.carries() {
			s.association.Abort("")
		}
		return
	}
	s.conn.Close(now)
	s.take(now)
}

// AppendTransmit writes what goes out on path: flights and alerts of DTLS, each in a datagram, and packets of SCTP, each
// in a record, those of one size in one transmit.
func (s *Secure) AppendTransmit(now mono.Time, path pkt.Path, b *pkt.Batch) (more bool) {
	if s.AppendFlights(now, path, b) || s.appendPackets(now, path, b) {
		return true
	}
	if s.closing {
		s.closing = false
		s.conn.Close(now)
		s.take(now)
		return s.AppendFlights(now, path, b)
	}
	return false
}

// AppendFlights writes flights and alerts of DTLS alone, for a path along which the peer has not agreed yet to be sent to.
func (s *Secure) AppendFlights(now mono.Time, path pkt.Path, b *pkt.Batch) (more bool) {
	for {
		buf := b.Reserve(s.mtu)
		if buf == nil {
			return true
		}
		if buf = s.conn.AppendDatagram(buf, now); len(buf) == 0 {
			return false
		}
		s.begun = true
		b.Commit(pkt.Transmit{Path: path, Payload: buf})
	}
}

// appendPackets seals the association's packets straight into the batch. A run ends with the first record that is
// shorter than the others; one that is longer, or that alone must not be fragmented, begins the next.
func (s *Secure) appendPackets(now mono.Time, path pkt.Path, b *pkt.Batch) (more bool) {
	if !s.connected || s.ended {
		return false
	}
	for {
		if s.held == nil {
			s.hold(now)
		}
		if s.held == nil {
			return false
		}
		if s.waits(now) {
			s.keep()
			return false
		}
		t := pkt.Transmit{Path: path, Unfragmented: s.whole}
		segment := len(s.held) + s.conn.Overhead()
		run := s.reserveRun(b, segment)
		if run == nil {
			s.keep()
			return true
		}
		for full := false; s.held != nil && !full && !s.waits(now) && s.whole == t.Unfragmented && cap(run)-len(run) >= segment; {
			size := len(s.held) + s.conn.Overhead()
			if size > segment {
				break
			}
			sealed, err := s.conn.AppendRecord(run, s.held)
			if err != nil { // the keys are spent: what cannot be sealed is as good as lost
				s.dropped++
				s.held = nil
				break
			}
			run, full = sealed, size < segment
			if s.media != nil {
				s.media.DataSent(now, size+udpOverhead)
			}
			if s.held = nil; !full {
				s.hold(now)
			}
		}
		if len(run) == 0 {
			return false
		}
		if t.Payload = run; len(run) > segment {
			t.SegmentSize = uint16(segment)
		}
		b.Commit(t)
	}
}

// waits reports whether the next packet is to wait, as media share the path.
func (s *Secure) waits(now mono.Time) bool {
	if s.media == nil || s.closing {
		return false
	}
	at := s.media.DataAt(now)
	if at <= now {
		return false
	}
	s.dataAt = at
	return true
}

// hold takes the next packet from the association.
func (s *Secure) hold(now mono.Time) {
	if !s.carries() {
		return
	}
	if s.held = s.association.AppendPacket(s.scratch.packet[:0], now); len(s.held) == 0 {
		s.held = nil
	}
	s.whole = s.association.Unfragmented()
}

// keep moves the packet that waits out of the scratch, which is others' after the call.
func (s *Secure) keep() {
	if s.held != nil {
		s.kept = append(s.kept[:0], s.held...)
		s.held = s.kept
	}
}

// reserveRun returns room for as many records of one size as the batch and a run hold, or nil if not even for one.
func (s *Secure) reserveRun(b *pkt.Batch, segment int) []byte {
	room, _ := b.Room()
	n := min(runSegments, runBytes/segment, room/segment)
	if n == 0 {
		return nil
	}
	return b.Reserve(n * segment)
}
