package peer

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/internal/session"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/sdp"
)

const (
	// maxHeld bounds remote candidates whose generation is not in force yet: what ICE takes of one, and the end.
	maxHeld = 65
	// formerFor is how long the association of DTLS before the newest is still read, for what was under way.
	formerFor = 3 * time.Second
)

// A Transport is ICE and what it carries: DTLS, and SCTP in it.
//
//	                   Apply, with our offer alone         Apply, with the answer
//	as DTLS server:    a ClientHello is answered ........  the certificate is judged, data flow
//	as DTLS client:                                        ClientHello, as soon as a pair is valid
//
//	a new association (RFC 8842): secure carries data while next shakes hands; then next takes its place and the
//	association of SCTP, and the former one is read for a while.
type Transport struct {
	peer  *Peer
	id    int
	agent *ice.Agent
	told  jsep.Transport // what Apply said last

	secure, next, former *Secure
	number               int       // of jsep's Association that the newest serves; 0: there was no answer yet
	apart                bool      // the newest came with an ICE restart: paths from before are not its
	formerUntil          mono.Time // when former ends

	heard    pkt.Path // where DTLS came from last
	hasHeard bool
	path     pkt.Path // of the selected pair, the last one
	selected bool     // there was one, so that heard means nothing any more

	session *session.Session // of RTP; nil as long as there is no section of media
	early   *early           // media that wait for keys; nil: none
	traffic Traffic
	paths   []PathStats

	sockets  []pkt.Socket
	held     []jsep.Target
	err      error // DTLS failed
	toldDTLS DTLSState
	closing  bool
	gone     bool
}

func newTransport(p *Peer, t *jsep.Transport) (*Transport, error) {
	agent, err := ice.New(ice.Config{
		Role: roleOf(t), Lite: p.cfg.Lite, RelayOnly: p.cfg.RelayOnly, Credentials: credentialsOf(t.Local),
		Accept: p.cfg.Accept, Entropy: p.cfg.Entropy, Hasher: p.cfg.Scratch.hasher,
	})
	if err != nil {
		return nil, err
	}
	return &Transport{peer: p, id: t.ID, agent: agent, formerUntil: mono.Never,
		told: jsep.Transport{ID: t.ID, Local: t.Local, Controlling: t.Controlling}}, nil
}

func roleOf(t *jsep.Transport) ice.Role {
	if t.Controlling {
		return ice.Controlling
	}
	return ice.Controlled
}

func credentialsOf(c jsep.Credentials) ice.Credentials {
	return ice.Credentials{Ufrag: c.Ufrag, Password: c.Pwd}
}

// apply compares what is told with what was told before.
func (x *Transport) apply(now mono.Time, t *jsep.Transport) error {
	restarted := x.told.Remote != (jsep.Credentials{}) && t.Remote != x.told.Remote
	err := x.applyICE(now, t)
	if err == nil {
		err = x.applyDTLS(now, t, restarted)
	}
	x.settle(now)
	return err
}

func (x *Transport) applyICE(now mono.Time, t *jsep.Transport) error {
	var none jsep.Credentials
	was := &x.told
	if was.Restart != none && was.Restart != t.Restart && was.Restart != t.Local {
		x.agent.CancelRestart(now) // rolled back
	}
	if t.Restart != none && t.Restart != was.Restart {
		x.agent.Restart(now, credentialsOf(t.Restart))
	}
	x.agent.SetSpare(t.Spare)
	if t.Controlling != was.Controlling {
		x.agent.SetRole(now, roleOf(t))
	}
	renominates := slices.Contains(t.RemoteOptions, "renomination")
	if t.Remote != none && (t.Remote != was.Remote || t.RemoteLite != was.RemoteLite || renominates != slices.Contains(was.RemoteOptions, "renomination")) {
		if t.Remote != was.Remote && was.Remote != none {
			x.agent.Restart(now, credentialsOf(t.Local)) // the peer's restart, or another fork of the offer
		}
		if err := x.agent.SetRemoteCredentials(now, ice.Remote{
			Credentials: credentialsOf(t.Remote), Lite: t.RemoteLite, Renomination: renominates,
		}); err != nil {
			return err
		}
	}
	if t.Remote.Ufrag != was.Remote.Ufrag {
		x.told = *t
		x.release(now)
	}
	x.told = *t
	return nil
}

func (x *Transport) applyDTLS(now mono.Time, t *jsep.Transport, restarted bool) error {
	if !t.Answered || t.Association == x.number || x.closing {
		return nil
	}
	role := dtls.Server
	if t.Role == jsep.RoleClient {
		role = dtls.Client
	}
	s := x.secure
	if x.number != 0 || s == nil || s.Role() != role || s.ended || !x.knows(&x.heard) {
		// Not the handshake that a ClientHello began before the answer, from where the peer is.
		var err error
		if s, err = NewSecure(role, x.peer.cfg.DTLS, x.peer.cfg.Scratch); err != nil {
			return err
		}
	}
	x.apart = x.number != 0 && restarted
	x.number = t.Association
	switch {
	case x.secure == nil || x.secure == s:
		x.secure = s
	case x.secure.connected && !x.secure.ended: // it carries data until the new one is up
		x.next = s
	default:
		x.secure.HandOver(now, s)
		x.secure, x.next, x.err = s, nil, nil
	}
	s.SetFingerprints(now, fingerprintsOf(t.RemoteFingerprints))
	return nil
}

func fingerprintsOf(list []sdp.Fingerprint) []dtls.Fingerprint {
	fs := make([]dtls.Fingerprint, len(list))
	for i, f := range list {
		fs[i] = dtls.Fingerprint{Algorithm: f.Hash, Value: f.Value}
	}
	return fs
}

// addRemote takes a candidate, or keeps it for the generation that it belongs to.
func (x *Transport) addRemote(now mono.Time, t jsep.Target) {
	if t.Ufrag != "" && t.Ufrag != x.told.Remote.Ufrag {
		if len(x.held) < maxHeld {
			x.held = append(x.held, t)
		}
		return
	}
	if t.End {
		x.agent.EndOfRemoteCandidates(now)
		return
	}
	if c, ok := ice.FromSDP(t.Candidate); ok && c.Address.IsValid() {
		c.Ufrag = t.Ufrag
		x.agent.AddRemoteCandidate(now, c)
	}
}

// release hands over what was kept for the generation that is in force now, and forgets what was for older ones.
func (x *Transport) release(now mono.Time) {
	held := x.held
	x.held = nil
	for _, t := range held {
		if t.Ufrag == x.told.Remote.Ufrag {
			x.addRemote(now, t)
		}
	}
}

// knows reports whether a datagram's path is one that a check has made known: the selected one first of all.
func (x *Transport) knows(p *pkt.Path) bool {
	if s, ok := x.agent.Path(); ok && s.Socket == p.Socket && s.Remote == p.Remote {
		return true
	}
	return x.agent.Knows(*p)
}

func (x *Transport) addSocket(s pkt.Socket) {
	if !x.owns(s) {
		x.sockets = append(x.sockets, s)
	}
}

func (x *Transport) owns(s pkt.Socket) bool { return slices.Contains(x.sockets, s) }

func (x *Transport) removeSocket(now mono.Time, s pkt.Socket) {
	x.agent.RemoveLocal(now, s)
	x.sockets = slices.DeleteFunc(x.sockets, func(o pkt.Socket) bool { return o == s })
	x.settle(now)
}

// secures returns what there is of DTLS, the newest last; entries may be nil.
func (x *Transport) secures() [3]*Secure { return [...]*Secure{x.former, x.secure, x.next} }

// newest is what serves the last description.
func (x *Transport) newest() *Secure {
	if x.next != nil {
		return x.next
	}
	return x.secure
}

// carrier is what the association is on; nil if it is not on this transport.
func (x *Transport) carrier() *Secure {
	for _, s := range x.secures() {
		if s != nil && s.carries() {
			return s
		}
	}
	return nil
}

// handleDTLS takes a datagram that came along a path that a check has made known.
func (x *Transport) handleDTLS(now mono.Time, d *pkt.Datagram) {
	if x.closing || x.err != nil {
		x.peer.dropped.Late++
		return
	}
	if x.secure == nil {
		// "The offerer MUST be prepared to receive a DTLS ClientHello message from the answerer ... before the offerer
		// receives the SDP answer" (RFC 8842 section 5.2).
		if x.told.Answered || !isClientHello(d.Payload) {
			x.peer.dropped.Early++
			return
		}
		s, err := NewSecure(dtls.Server, x.peer.cfg.DTLS, x.peer.cfg.Scratch)
		if err != nil { // entropy failed: the peer repeats its ClientHello
			x.peer.dropped.Early++
			return
		}
		x.secure = s
	}
	x.countReceived(now, d)
	x.heard, x.hasHeard = d.Path, true
	last := x.newest()
	for _, s := range x.secures() {
		switch {
		case s == nil:
		case s == last && x.apart && x.agent.Former(d.Path):
			// "at least one of the endpoints MUST allocate a completely new set of ICE candidates that were not recently used for any
			// other DTLS association" (RFC 8842 section 5.5): what comes along the former ones is of a former association.
			x.peer.dropped.Late++
		case s == last:
			s.HandlePayload(now, d.Payload)
		case isPlain(d.Payload): // of a handshake, which the older ones have had
		default:
			// Nothing on one path tells the associations apart (RFC 8842 section 5.5 would have new candidates for that), but
			// only one has the keys.
			x.peer.copied = append(x.peer.copied[:0], d.Payload...)
			s.HandlePayload(now, x.peer.copied)
		}
	}
}

// isPlain reports whether a datagram begins with a record of a handshake that is not protected.
func isPlain(b []byte) bool { return len(b) >= 14 && b[0] == 22 && b[3] == 0 && b[4] == 0 }

// isClientHello reports whether it begins with a ClientHello or a fragment of one.
func isClientHello(b []byte) bool { return isPlain(b) && b[13] == 1 }

// settle draws the conclusions after each call.
func (x *Transport) settle(now mono.Time) {
	path, ok := x.agent.Path()
	if ok && x.selected && path != x.path {
		for _, s := range x.secures() {
			if s != nil {
				s.PathChanged(now)
			}
		}
		if x.session != nil {
			x.session.PathChanged(now)
		}
	}
	if ok {
		x.path, x.selected = path, true
	}
	rtt := x.agent.RoundTrip()
	for _, s := range x.secures() {
		if s != nil {
			s.Pause(!ok)
			if rtt > 0 && rtt != s.rtt {
				s.SetRTT(rtt)
			}
		}
	}
	if n := x.next; n != nil {
		switch {
		case n.connected && !n.ended:
			x.retire(now)
			x.former, x.secure, x.next = x.secure, n, nil
			x.former.HandOver(now, n)
			x.formerUntil = now.Add(formerFor)
		case n.ended:
			x.fail(now, n.err)
		case x.secure.ended: // the peer has ended it before the new one is up
			x.secure.HandOver(now, n)
			x.secure, x.next = n, nil
		}
	}
	if x.session != nil {
		x.settleMedia(now, ok, rtt)
	}
	if s := x.secure; s != nil && s.ended && x.number != 0 {
		x.fail(now, s.err)
		if s.carries() {
			s.association.Abort("DTLS is closed") // nothing carries it any more
		}
	}
}

// retire ends the former association, whose last word may still be to be said.
func (x *Transport) retire(now mono.Time) {
	if x.former != nil {
		x.former.Close(now)
		x.former, x.formerUntil = nil, mono.Never
	}
}

// fail ends all of DTLS because one association failed: the peer is not who its description promised.
func (x *Transport) fail(now mono.Time, err error) {
	if x.err != nil || err == nil {
		return
	}
	x.err = err
	for _, s := range x.secures() {
		if s != nil {
			s.Close(now)
		}
	}
}

func (x *Transport) handleTimeout(now mono.Time) {
	x.agent.HandleTimeout(now)
	for _, s := range x.secures() {
		if s != nil && s.NextTimeout() <= now {
			s.HandleTimeout(now)
		}
	}
	if x.session != nil {
		x.session.HandleTimeout(now)
	}
	if x.former != nil && now >= x.formerUntil {
		x.former.Close(now)
		x.formerUntil = mono.Never
	}
	x.settle(now)
}

func (x *Transport) nextTimeout() mono.Time {
	next := mono.Min(x.agent.NextTimeout(), x.formerUntil)
	for _, s := range x.secures() {
		if s != nil {
			next = mono.Min(next, s.NextTimeout())
		}
	}
	if x.session != nil {
		next = mono.Min(next, x.session.NextTimeout())
	}
	return next
}

func (x *Transport) appendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	if x.agent.AppendTransmit(now, b) {
		return true
	}
	written := b.Len()
	if x.session != nil {
		more = x.appendMedia(now, b)
	}
	more = more || x.appendSecure(now, b)
	x.countSent(now, b.Transmits()[written:])
	if more {
		return true
	}
	if x.former != nil && x.former.ended {
		x.former, x.formerUntil = nil, mono.Never
	}
	if x.secure != nil && x.secure.ended && x.number == 0 {
		x.secure = nil // a handshake before the answer came to nothing: only the answer's counts
	}
	if x.closing && !x.gone {
		x.gone = true
		for _, s := range x.secures() {
			if s != nil {
				s.conn.Close(now) // where there was no path for a last word
				s.take(now)
			}
		}
		x.agent.Close(now)
	}
	return false
}

// appendSecure writes what DTLS has to send, and what it carries: along the selected pair, or as a server, as long as there
// is none, the flights of the handshake back to where the peer's came from, a path with the peer's check.
func (x *Transport) appendSecure(now mono.Time, b *pkt.Batch) (more bool) {
	path, ok := x.agent.Path()
	newest := x.newest()
	for _, s := range x.secures() {
		switch {
		case s == nil, s == newest && x.apart && !x.agent.Current():
		case ok:
			more = s.AppendTransmit(now, path, b)
		case x.hasHeard && !x.selected && s.Role() == dtls.Server:
			more = s.AppendFlights(now, x.heard, b)
		}
		if more {
			return true
		}
	}
	return false
}

// DTLSState returns the state that the next event will have told.
func (x *Transport) DTLSState() DTLSState {
	switch {
	case x.err != nil:
		return DTLSFailed
	case x.secure != nil && (x.number != 0 || !x.secure.ended):
		return x.secure.State()
	case x.gone:
		return DTLSClosed
	case x.toldDTLS == DTLSConnecting: // before the answer, which may have better luck
		return DTLSConnecting
	}
	return DTLSNew
}

func (x *Transport) nextEvent() (Event, bool) {
	if e, ok := x.agent.NextEvent(); ok {
		return Event{Kind: OfICE, Transport: x.id, ICE: e}, true
	}
	state := x.DTLSState()
	if state != x.toldDTLS && state < DTLSClosed {
		return x.tell(state), true
	}
	if x.session != nil {
		if e, ok := x.session.NextEvent(); ok {
			return Event{Kind: OfRTP, Transport: x.id, RTP: e}, true
		}
	}
	if s := x.carrier(); s != nil {
		if e, ok := s.association.NextEvent(); ok {
			return Event{Kind: OfSCTP, Transport: x.id, SCTP: e}, true
		}
	}
	if state != x.toldDTLS {
		return x.tell(state), true
	}
	return Event{}, false
}

func (x *Transport) tell(state DTLSState) Event {
	x.toldDTLS = state
	return Event{Kind: OfDTLS, Transport: x.id, DTLS: state, Err: x.err}
}

func (x *Transport) close(now mono.Time) {
	if x.closing {
		return
	}
	x.closing = true
	if x.session != nil {
		x.session.Close(now)
	}
	for _, s := range x.secures() {
		if s != nil {
			s.Close(now)
		}
	}
}
