package jsep

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"maps"
	"slices"
	"strconv"

	"github.com/parley-rtc/parley/protocol/sdp"
)

// A SignalingState is where offer and answer stand (RTCSignalingState).
type SignalingState string

// The states, with what may be applied in them (RFC 8829 section 3.2):
//
//	stable               setLocal(offer) -> have-local-offer;     setRemote(offer) -> have-remote-offer
//	have-local-offer     setRemote(answer) -> stable;             setRemote(pranswer) -> have-remote-pranswer
//	have-remote-offer    setLocal(answer) -> stable;              setLocal(pranswer) -> have-local-pranswer
//	have-*-pranswer      the same side's answer -> stable, or another pranswer
//	have-*-offer         the same side's offer again;             rollback -> stable
const (
	Stable             SignalingState = "stable"
	HaveLocalOffer     SignalingState = "have-local-offer"
	HaveRemoteOffer    SignalingState = "have-remote-offer"
	HaveLocalPranswer  SignalingState = "have-local-pranswer"
	HaveRemotePranswer SignalingState = "have-remote-pranswer"
	Closed             SignalingState = "closed"
)

// A Type is the kind of a description (RTCSdpType).
type Type string

// The types.
const (
	Offer    Type = "offer"
	Answer   Type = "answer"
	Pranswer Type = "pranswer"
	Rollback Type = "rollback"
)

// A Description is a description as text. The zero value is none.
type Description struct {
	Type Type
	SDP  string
}

// A description is kept as text when nothing is going to be added to it, because most are not looked at any more.
type description struct {
	kind    Type
	text    string
	parsed  *sdp.Description // nil: it is what text says
	changed bool             // parsed has candidates that text has not
}

// sdp returns it parsed.
func (d *description) sdp() *sdp.Description {
	if d.parsed == nil {
		var err error
		if d.parsed, err = sdp.Parse(d.text); err != nil { // which we have written
			d.parsed = &sdp.Description{}
		}
	}
	return d.parsed
}

// write returns its text.
func (d *description) write() string {
	if d.changed {
		d.text, d.changed = d.parsed.String(), false
	}
	return d.text
}

// pack keeps it as text.
func (d *description) pack() {
	if d != nil && len(d.write()) <= sdp.MaxLen {
		d.parsed = nil
	}
}

// Credentials are those of ICE for one generation.
type Credentials struct{ Ufrag, Pwd string }

// A Role is the role in the handshake of DTLS.
type Role uint8

// The roles.
const (
	RoleUnknown Role = iota // no answer yet
	RoleClient
	RoleServer
)

// A Transport is what one ICE agent and one DTLS association are to be told. It is the whole state: the driver compares
// it with what it has told them before.
type Transport struct {
	ID   int      // never used again
	MID  string   // the section whose candidates they are
	MIDs []string // the sections carried

	Local Credentials
	// Restart are our credentials of an offered ICE restart: gather for them and accept checks with them beside Local.
	// With the answer they become Local; a rollback takes them away. Zero: no restart is offered.
	Restart Credentials
	// Remote are the peer's. Those of a restart that the peer offers come into force with our answer.
	Remote        Credentials
	RemoteLite    bool
	RemoteOptions []string // of a=ice-options
	Controlling   bool     // the initial role (RFC 8445 section 6.1.1)

	// Spare says that it was offered beside that of the BUNDLE group, in case the peer does not bundle. It has the same credentials,
	// so nothing that comes to it means anything before an answer has taken it up.
	Spare              bool
	Answered           bool // an answer, provisional or not, has been applied; what follows is known
	Role               Role
	RemoteFingerprints []sdp.Fingerprint
	LocalTLSID         string
	RemoteTLSID        string
	Association        int // grows when a new DTLS association replaces the one before (RFC 8842 section 3.1); 1 is the first
}

// Data is the negotiated data section (RFC 8841).
type Data struct {
	MID                   string
	Transport             int
	LocalPort, RemotePort uint16 // not 0
	MaxMessageSize        uint64 // the largest that the peer receives, in bytes; 0: any
	RemoteInit            string // the value of the peer's a=sctp-init; "": none
}

// A TrackChange says that the remote track of a transceiver came, or came into a stream (it fires "track"), or went (it is
// muted).
type TrackChange struct {
	Transceiver *Transceiver
	Added       bool
	Streams     []string
}

// Changes say what a description that was applied has changed.
type Changes struct {
	Before, After SignalingState
	RolledBack    bool        // our offer was rolled back first, implicitly: the state was stable in between
	Transports    []Transport // all there are now
	ClosedIDs     []int       // of transports that are gone
	Media         []Media     // the sections of audio and video
	Data          *Data       // nil: no data section is negotiated, or one without an association
	DataRejected  bool        // what was offered, or was there, has been rejected; AddData asks for another one
	Tracks        []TrackChange
	Created       []*Transceiver
	Removed       []*Transceiver // by a rollback
	Stopped       []*Transceiver
}

type transport struct {
	Transport
	former []string    // the sections before MID, in which there may be candidates of it
	next   Credentials // the peer's, from a restart that it offers
	failed bool        // DTLS has, so that the next restart asks for another association
}

// move makes another section the one that has its candidates.
func (t *transport) move(mid string) {
	if t.MID != mid {
		t.former = append(slices.Clip(t.former), t.MID)
		t.MID = mid
	}
}

// describedBy reports whether section i of a local description may have its candidates. The username fragment does not tell: what
// is offered for one group has the same.
func (t *transport) describedBy(s *Session, i int) bool {
	if i >= len(s.sections) {
		return false
	}
	x := &s.sections[i]
	return (x.transport == t || x.transport == nil) && (x.mid == t.MID || slices.Contains(t.former, x.mid))
}

// section is one m= section, by its index.
type section struct {
	mid, kind   string
	transceiver *Transceiver
	transport   *transport
	rejected    bool
	bundled     bool // an answer put it into the BUNDLE group
	negotiated  bool // an answer covered it
}

// state is what a rollback or an error restores.
type state struct {
	sections     []section
	transports   []*transport
	values       []transport
	transceivers []*Transceiver
	negotiated   []negotiated
	data         *Data
}

// A Session is one side of offer and answer.
type Session struct {
	cfg                          Config
	state                        SignalingState
	currentLocal, pendingLocal   *description
	currentRemote, pendingRemote *description
	stable                       state // as it was when the state was stable
	lastOffer, lastAnswer        string
	created                      description // the last one of them, until it is set
	planned                      []slot      // what the last created description makes of each section
	dirty                        bool        // something changed since lastOffer and lastAnswer
	restarted                    bool        // the options of lastOffer wanted an ICE restart

	transceivers  []*Transceiver
	sections      []section
	transports    []*transport
	data          *Data
	wantData      bool
	initSpent     bool            // Config.SCTPInit was that of an association that has ended
	replace       map[string]bool // [[LocalIceCredentialsToReplace]], by ufrag
	nextTransport int
	nextMID       int
	id            uint64
	version       uint64
	trickle       *bool
	cname         string
	defaultStream string // of remote tracks whose sections do not name any
	entropy       error  // the first failure of the reader
}

var errClosed = &Error{Name: InvalidStateError, Reason: "the connection is closed"}

// New makes a Session.
func New(cfg Config) (*Session, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	s := &Session{cfg: cfg, state: Stable, replace: map[string]bool{}}
	// RFC 8829 section 5.2.1: below 2^63-1, and random. It is below 2^62, as browsers have it and the web's tests want it.
	s.id = binary.BigEndian.Uint64(s.random(8)) >> 2
	return s, s.entropy
}

func (s *Session) random(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.cfg.Entropy, b); err != nil && s.entropy == nil {
		s.entropy = fail(OperationError, "no entropy: %v", err)
	}
	return b
}

func (s *Session) credentials() Credentials {
	return Credentials{base64.RawStdEncoding.EncodeToString(s.random(6)), base64.RawStdEncoding.EncodeToString(s.random(18))}
}

func (s *Session) newTransport(mid string) *transport {
	s.nextTransport++
	t := &transport{Transport: Transport{ID: s.nextTransport, MID: mid, Local: s.credentials(),
		LocalTLSID: s.newTLSID()}}
	s.transports = append(s.transports, t)
	return t
}

// DTLSFailed says that DTLS has failed on a transport: the next offer that restarts ICE asks for another association (RFC 8842
// section 3.1: "Whenever an entity determines that a new DTLS association is required, the entity MUST initiate an SDP offer/answer
// exchange").
func (s *Session) DTLSFailed(id int) {
	for _, t := range s.transports {
		if t.ID == id {
			t.failed, s.dirty = true, true
		}
	}
}

// SignalingState returns the state.
func (s *Session) SignalingState() SignalingState { return s.state }

// Close ends the session: every later call is refused.
func (s *Session) Close() { s.state = Closed }

// Transceivers returns all transceivers that are not stopped, in the order in which they were added.
func (s *Session) Transceivers() []*Transceiver {
	return slices.DeleteFunc(slices.Clone(s.transceivers), func(t *Transceiver) bool { return t.stopped })
}

// AddData asks for a data section, as the first data channel does. It is asked for until an answer has it, or has rejected it.
func (s *Session) AddData() {
	if !s.wantData {
		s.wantData, s.dirty = true, true
	}
}

// Data returns the negotiated data section; ok is false if there is none.
func (s *Session) Data() (d Data, ok bool) {
	if s.data == nil {
		return Data{}, false
	}
	return *s.data, true
}

// BundlePolicy is the policy of the Config; setConfiguration must not change it.
func (s *Session) BundlePolicy() BundlePolicy { return s.cfg.Bundle }

// CanTrickle is canTrickleIceCandidates: nil before a remote description.
func (s *Session) CanTrickle() *bool { return s.trickle }

func text(d *description) Description {
	if d == nil {
		return Description{}
	}
	return Description{d.kind, d.write()}
}

// CurrentLocal, PendingLocal, CurrentRemote and PendingRemote return the descriptions, with all candidates so far.
func (s *Session) CurrentLocal() Description  { return text(s.currentLocal) }
func (s *Session) PendingLocal() Description  { return text(s.pendingLocal) }
func (s *Session) CurrentRemote() Description { return text(s.currentRemote) }
func (s *Session) PendingRemote() Description { return text(s.pendingRemote) }

// HasLocal reports whether there is a local description.
func (s *Session) HasLocal() bool { return s.pendingLocal != nil || s.currentLocal != nil }

// Local is the pending local description, else the current one; Remote alike.
func (s *Session) Local() Description  { return text(either(s.pendingLocal, s.currentLocal)) }
func (s *Session) Remote() Description { return text(either(s.pendingRemote, s.currentRemote)) }

func either(a, b *description) *description {
	if a != nil {
		return a
	}
	return b
}

// Transports returns all transports.
func (s *Session) Transports() []Transport {
	var list []Transport
	for _, t := range s.transports {
		v := t.Transport
		v.MIDs, v.RemoteOptions = nil, slices.Clone(t.RemoteOptions)
		v.RemoteFingerprints = slices.Clone(t.RemoteFingerprints)
		for _, sec := range s.sections {
			if sec.transport == t && !sec.rejected {
				v.MIDs = append(v.MIDs, sec.mid)
			}
		}
		list = append(list, v)
	}
	return list
}

// RestartICE asks for new credentials in the next offer (restartIce: the credentials in the local descriptions are to be
// replaced).
func (s *Session) RestartICE() {
	for _, d := range []*description{s.currentLocal, s.pendingLocal} {
		maps.Copy(s.replace, ufrags(d))
	}
	s.dirty = true
}

func ufrags(d *description) map[string]bool {
	set := map[string]bool{}
	if d == nil {
		return set
	}
	for _, m := range d.sdp().Media {
		if u, ok := m.Attr("ice-ufrag"); ok {
			set[u] = true
		}
	}
	return set
}

// settleRestart empties the set if none of it is in the local description that was negotiated.
func (s *Session) settleRestart() {
	for u := range ufrags(s.currentLocal) {
		if s.replace[u] {
			return
		}
	}
	clear(s.replace)
}

func (s *Session) save() state {
	st := state{sections: slices.Clone(s.sections), transports: slices.Clone(s.transports), transceivers: slices.Clone(s.transceivers), data: s.data}
	for _, t := range s.transports {
		st.values = append(st.values, *t)
	}
	for _, t := range s.transceivers {
		st.negotiated = append(st.negotiated, t.negotiated)
	}
	return st
}

// restore puts back what save has kept. Transceivers that came since stay only if keep wants them.
func (s *Session) restore(st state, keep func(*Transceiver) bool) (removed []*Transceiver) {
	s.sections, s.transports, s.data = slices.Clone(st.sections), slices.Clone(st.transports), st.data
	for i, t := range st.transports {
		*t = st.values[i]
	}
	all := s.transceivers
	s.transceivers = slices.Clone(st.transceivers)
	for i, t := range st.transceivers {
		t.negotiated = st.negotiated[i]
	}
	for _, t := range all {
		if slices.Contains(st.transceivers, t) {
			continue
		}
		if keep(t) {
			t.negotiated = negotiated{index: -1, stopped: t.stopped, rids: t.initial}
			s.transceivers = append(s.transceivers, t)
		} else {
			removed = append(removed, t)
		}
	}
	return removed
}

// NegotiationNeeded is the W3C's check whether an offer is needed; it is meaningful in the state stable.
func (s *Session) NegotiationNeeded() bool {
	if s.state == Closed {
		return false
	}
	// 2. If connection.[[LocalIceCredentialsToReplace]] is not empty, return true.
	if len(s.replace) > 0 {
		return true
	}
	// 3. If connection has created any RTCDataChannels, and no m= section has been negotiated yet for data, return true.
	if s.wantData && s.data == nil { // a section may be there without an association (RFC 8841 section 9.3)
		return true
	}
	// 4. For each transceiver in connection's set of transceivers:
	for _, t := range s.transceivers {
		switch {
		case t.stopping && !t.stopped:
			return true // 1. If transceiver.[[Stopping]] is true and transceiver.[[Stopped]] is false, return true.
		case t.stopped && t.index < 0:
			continue
		case t.stopped:
			return true // its section is not rejected in a current description: an offer that said so was rolled back
		case t.index < 0 || t.mid == "":
			return true // 2. If transceiver isn't stopped and isn't yet associated with an m= section, return true.
		case s.differs(t):
			return true
		}
	}
	return false
}

// differs is step 3 of the check: the transceiver is associated with a section of currentLocalDescription.
func (s *Session) differs(t *Transceiver) bool {
	if s.currentLocal == nil || t.index >= len(s.currentLocal.sdp().Media) {
		return true
	}
	local := s.currentLocal.sdp().Media[t.index]
	was, _ := local.Direction()
	// 1. sendrecv or sendonly, and the section has no msid, or not the streams of the sender
	if t.direction.Sends() {
		msids, _ := local.MSIDs()
		if len(msids) == 0 && was.Sends() || !slices.Equal(streamsOf(msids), t.streams) {
			return true
		}
	}
	if s.currentRemote == nil || t.index >= len(s.currentRemote.sdp().Media) {
		return true
	}
	remote, _ := s.currentRemote.sdp().Media[t.index].Direction()
	remote = sdp.DirectionOf(remote.Receives(), remote.Sends())
	if s.currentLocal.kind == Offer {
		// 2. an offer, and the direction in neither description is ours
		return was != t.direction && remote != t.direction
	}
	// 3. an answer, and its direction is not the offered one intersected with ours
	return was != sdp.DirectionOf(remote.Sends() && t.direction.Sends(), remote.Receives() && t.direction.Receives())
}

// mid returns the first number from n on that is no section's mid, and the number after it.
func (s *Session) mid(n int) (mid string, next int) {
	for ; ; n++ {
		mid := strconv.Itoa(n)
		if !slices.ContainsFunc(s.sections, func(x section) bool { return x.mid == mid }) {
			return mid, n + 1
		}
	}
}
