package peer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sctp"
)

// Config is what a Peer is made with. DTLS and Entropy are required.
type Config struct {
	// DTLS is shared by all transports, and may be by all peers with the same certificate. Media need its SRTPProfiles.
	DTLS *dtls.Config
	// SCTP is how the association of the data channels is made. Ports, the peer's limits and INIT chunk are those of
	// jsep.Data; LocalInit is set here if the description has it (jsep.Config.SCTPInit).
	SCTP sctp.Config
	// Entropy is a cryptographic source, for ICE and for SCTP where SCTP.Rand is nil.
	Entropy io.Reader
	// Lite, RelayOnly and Accept are those of [ice.Config].
	Lite, RelayOnly bool
	Accept          func(local bool, c *ice.Candidate) bool
	// Origin is the time of day at mono.Time zero, as the reports of media tell it.
	Origin rtp.NTP
	// Scratch may be shared by the peers of one goroutine; nil: this one has its own.
	Scratch *Scratch
}

// Validate says what is wrong with a Config.
func (c *Config) Validate() error {
	switch {
	case c.Entropy == nil:
		return errors.New("peer: Config.Entropy is nil: pass crypto/rand.Reader")
	case c.DTLS == nil:
		return errors.New("peer: Config.DTLS is nil")
	}
	return c.DTLS.Validate()
}

// Dropped counts datagrams that nobody took.
type Dropped struct {
	Unknown  uint64 // of no protocol that has a place here (RFC 7983)
	Stranger uint64 // not STUN, along a path that no check has made known
	Early    uint64 // DTLS, and no ClientHello, where there is no DTLS yet
	Late     uint64 // DTLS after the transport's end
	Media    uint64 // RTP or RTCP where there are no keys yet, or no section of media
	Forged   uint64 // RTP or RTCP that is not authentic, was here before, or is malformed
}

// A Peer is one connection: the transports that jsep names, and the association of the data channels on one of them. It
// is an engine (docs/architecture.md) and not safe for concurrent use.
type Peer struct {
	cfg        Config
	transports []*Transport
	data       *jsep.Data // what the association was made for

	association *sctp.Association
	closing     bool
	closed      bool // Closed was told
	dropped     Dropped
	copied      []byte           // a datagram that two associations of DTLS may read
	brought     *session.Session // what the last datagram was for; nil: none of RTP
}

// New makes a Peer without transports.
func New(cfg Config) (*Peer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.SCTP.Rand == nil {
		cfg.SCTP.Rand = cfg.Entropy
	}
	if cfg.Scratch == nil {
		cfg.Scratch = NewScratch()
	}
	return &Peer{cfg: cfg}, nil
}

// Apply tells what descriptions have come to: the transports that there are, the sections of media, and the data section, nil
// if there is none. It is the whole state and compared with what was told before. Local credentials, restarts, roles, fingerprints and
// associations follow it; transports that it does not name any more are closed.
//
// An error leaves what it is about as it was, and all else applied: [ice.ErrCredentials], [ice.ErrBothLite], or what
// [sctp.New] says.
func (p *Peer) Apply(now mono.Time, ts []jsep.Transport, media []jsep.Media, data *jsep.Data) error {
	if p.closing {
		return nil
	}
	var errs []error
	for i := range ts {
		x := p.Transport(ts[i].ID)
		if x == nil {
			var err error
			if x, err = newTransport(p, &ts[i]); err != nil {
				errs = append(errs, err)
				continue
			}
			p.transports = append(p.transports, x)
		}
		errs = append(errs, x.apply(now, &ts[i]), x.applyMedia(now, media))
	}
	errs = append(errs, p.applyData(now, data))
	for _, x := range p.transports {
		if !slices.ContainsFunc(ts, func(t jsep.Transport) bool { return t.ID == x.id }) {
			x.close(now)
		}
	}
	return errors.Join(errs...)
}

// applyData makes, moves or ends the association.
func (p *Peer) applyData(now mono.Time, data *jsep.Data) error {
	was := p.data
	if was != nil && p.association.Over() {
		if streams, _ := p.association.Streams(); streams == 0 {
			// "if an SCTP association has not yet been established" (RFC 8841 sections 10.3 and 10.4): DTLS had failed. One that was
			// established and has ended needs new ports (section 9.3).
			p.dissociate(now)
			was = nil
		}
	}
	if data == nil || was != nil && (was.LocalPort != data.LocalPort || was.RemotePort != data.RemotePort || p.anew(was, data)) {
		// "The existing SCTP association is closed, and the new SCTP association is established, if one or both endpoints
		// signal a new SCTP port" (RFC 8841 section 9.3).
		p.dissociate(now)
		was = nil
	}
	if data == nil || data.RemotePort == 0 {
		return nil
	}
	x := p.Transport(data.Transport)
	if x == nil || x.secure == nil {
		return fmt.Errorf("peer: the data section is on transport %d, which has no DTLS", data.Transport)
	}
	if x.err != nil {
		return nil // DTLS has failed, and its event tells so
	}
	kept, largest := *data, int(min(data.MaxMessageSize, 1<<30))
	if was != nil {
		if from := p.Transport(was.Transport); from != nil && from != x {
			if s := from.carrier(); s != nil { // the answer has bundled it
				s.HandOver(now, x.secure)
			}
		}
		p.association.SetPeerMaxMessageSize(largest)
		p.data = &kept
		return nil
	}
	cfg := p.cfg.SCTP
	cfg.LocalPort, cfg.RemotePort = data.LocalPort, data.RemotePort
	cfg.PeerMaxMessageSize = largest
	if cfg.RemoteInit = nil; data.RemoteInit == "" {
		cfg.LocalInit = nil
	} else if cfg.LocalInit != nil {
		cfg.RemoteInit, _ = base64.StdEncoding.DecodeString(data.RemoteInit)
	}
	s := x.newest()
	err := s.Associate(now, cfg)
	if errors.Is(err, sctp.ErrInit) {
		cfg.LocalInit, cfg.RemoteInit = nil, nil // with a handshake then
		err = s.Associate(now, cfg)
	}
	if err != nil {
		return err
	}
	p.association, p.data = s.Association(), &kept
	return nil
}

// anew reports whether the peer's INIT chunk is another one: it is another endpoint of SCTP, to which our offer was handed over, and takes
// our chunk for the association's beginning.
func (p *Peer) anew(was, data *jsep.Data) bool {
	return p.cfg.SCTP.LocalInit != nil && data.RemoteInit != "" && data.RemoteInit != was.RemoteInit
}

// dissociate ends the association. Whoever asks sees another [Peer.Association]; there are no events of the former one any more.
func (p *Peer) dissociate(now mono.Time) {
	for _, x := range p.transports {
		if s := x.carrier(); s != nil {
			s.Dissociate(now)
		}
	}
	p.association, p.data = nil, nil
}

// Association returns the association of the data channels, for its calls; nil if there is none.
func (p *Peer) Association() *sctp.Association { return p.association }

// Transport returns a transport by its id in jsep; nil if there is none.
func (p *Peer) Transport(id int) *Transport {
	for _, x := range p.transports {
		if x.id == id {
			return x
		}
	}
	return nil
}

// Agent returns the agent of a transport; nil if there is no such transport. Its calls are the owner's, for sockets that
// come and go and connections that Connect has asked for; but credentials are a matter of Apply.
func (p *Peer) Agent(transport int) *ice.Agent {
	if x := p.Transport(transport); x != nil {
		return x.agent
	}
	return nil
}

// Dropped returns the counters.
func (p *Peer) Dropped() Dropped { return p.dropped }

// AddLocalCandidate is that of a transport's [ice.Agent].
func (p *Peer) AddLocalCandidate(now mono.Time, transport int, c ice.Candidate) (added ice.Candidate, ok bool) {
	x := p.Transport(transport)
	if x == nil {
		return c, false
	}
	if added, ok = x.agent.AddLocalCandidate(now, c); ok {
		x.addSocket(c.Socket)
	}
	x.settle(now)
	return added, ok
}

// EndOfLocalCandidates is that of a transport's [ice.Agent].
func (p *Peer) EndOfLocalCandidates(now mono.Time, transport int) {
	if x := p.Transport(transport); x != nil {
		x.agent.EndOfLocalCandidates(now)
		x.settle(now)
	}
}

// AddRemote takes a candidate of the peer's, or the end of them. One whose address is a name is dropped: the owner
// resolves it and puts the address in its place. One of a generation that comes into force later is kept until then.
func (p *Peer) AddRemote(now mono.Time, t jsep.Target) {
	if x := p.Transport(t.Transport); x != nil {
		x.addRemote(now, t)
		x.settle(now)
	}
}

// RemoveSocket says that a socket is gone; see [ice.Agent.RemoveLocal].
func (p *Peer) RemoveSocket(now mono.Time, socket pkt.Socket) {
	for _, x := range p.transports {
		x.removeSocket(now, socket)
	}
}

// RemoveAddress says that the machine lost an address; see [ice.Agent.RemoveAddress].
func (p *Peer) RemoveAddress(now mono.Time, ip netip.Addr) {
	for _, x := range p.transports {
		x.agent.RemoveAddress(now, ip)
		x.settle(now)
	}
}

// HandleDatagram takes in what came, and decrypts it in place. If it was RTP, NextPacket returns what it has brought.
func (p *Peer) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	p.brought = nil
	protocol := Demultiplex(d.Payload)
	switch protocol {
	case Unknown:
		p.dropped.Unknown++
		return
	case STUN:
		p.handleSTUN(now, d)
		return
	}
	for _, x := range p.transports {
		if !x.knows(&d.Path) {
			continue
		}
		if protocol == RTP {
			x.handleMedia(now, d)
			return
		}
		x.handleDTLS(now, d)
		x.settle(now)
		return
	}
	p.dropped.Stranger++
}

// handleSTUN gives a message to the agent whose socket it came to. Of several on one socket, and on a stream that was accepted for
// nobody in particular, a request is for the one that it names best, since transports that were offered for one group have the same
// credentials; those that are spare keep it. An answer each of them looks at.
func (p *Peer) handleSTUN(now mono.Time, d *pkt.Datagram) {
	owned := slices.ContainsFunc(p.transports, func(x *Transport) bool { return x.owns(d.Socket) })
	var meant *Transport
	best := -1
	for _, x := range p.transports {
		if owned && !x.owns(d.Socket) {
			continue
		}
		if claim, request := x.agent.Claim(d); !request || x.told.Spare {
			x.agent.HandleDatagram(now, d)
			x.settle(now)
		} else if claim > best {
			meant, best = x, claim
		}
	}
	if meant != nil {
		meant.agent.HandleDatagram(now, d)
		meant.settle(now)
	}
}

// HandleTimeout does what is due.
func (p *Peer) HandleTimeout(now mono.Time) {
	for _, x := range p.transports {
		x.handleTimeout(now)
	}
}

// NextTimeout returns when HandleTimeout is due, or mono.Never.
func (p *Peer) NextTimeout() mono.Time {
	next := mono.Never
	for _, x := range p.transports {
		next = mono.Min(next, x.nextTimeout())
	}
	return next
}

// AppendTransmit writes what there is to send; more is true if the batch was too small for all of it.
func (p *Peer) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for _, x := range p.transports {
		if x.appendTransmit(now, b) {
			return true
		}
	}
	return false
}

// NextJob returns public-key work of a handshake, which may run on any goroutine. Each is handed out once.
func (p *Peer) NextJob() (*dtls.Job, bool) {
	for _, x := range p.transports {
		for _, s := range x.secures() {
			if s != nil {
				if j, ok := s.NextJob(); ok {
					return j, true
				}
			}
		}
	}
	return nil, false
}

// JobDone takes back a job that has run.
func (p *Peer) JobDone(now mono.Time, j *dtls.Job) {
	for _, x := range p.transports {
		for _, s := range x.secures() {
			if s != nil {
				s.JobDone(now, j) // which knows its own
			}
		}
		x.settle(now)
	}
}

// NextEvent returns the next event; false if there is none.
func (p *Peer) NextEvent() (Event, bool) {
	for i := 0; i < len(p.transports); i++ {
		x := p.transports[i]
		if e, ok := x.nextEvent(); ok {
			return e, true
		}
		if x.gone {
			p.transports = slices.Delete(p.transports, i, i+1)
			return Event{Kind: TransportClosed, Transport: x.id}, true
		}
	}
	if p.closing && !p.closed && len(p.transports) == 0 {
		p.closed = true
		return Event{Kind: Closed}, true
	}
	return Event{}, false
}

// Close ends the connection: the association by ABORT, DTLS by close_notify, both by AppendTransmit, and ICE after that.
// Closed comes last. A second call does nothing.
func (p *Peer) Close(now mono.Time) {
	p.closing = true
	for _, x := range p.transports {
		x.close(now)
	}
}
