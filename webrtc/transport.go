package webrtc

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
)

// An ICETransportState is RTCIceTransportState.
type ICETransportState string

// The states.
const (
	ICETransportStateNew          ICETransportState = "new"
	ICETransportStateChecking     ICETransportState = "checking"
	ICETransportStateConnected    ICETransportState = "connected"
	ICETransportStateCompleted    ICETransportState = "completed"
	ICETransportStateDisconnected ICETransportState = "disconnected"
	ICETransportStateFailed       ICETransportState = "failed"
	ICETransportStateClosed       ICETransportState = "closed"
)

// An ICEGathererState is RTCIceGathererState: what one transport has to say of its candidates.
type ICEGathererState string

// The states.
const (
	ICEGathererStateNew       ICEGathererState = "new"
	ICEGathererStateGathering ICEGathererState = "gathering"
	ICEGathererStateComplete  ICEGathererState = "complete"
)

// An ICERole is RTCIceRole.
type ICERole string

// The roles.
const (
	ICERoleUnknown     ICERole = "unknown"
	ICERoleControlling ICERole = "controlling"
	ICERoleControlled  ICERole = "controlled"
)

// ICEParameters are RTCIceParameters.
type ICEParameters struct {
	UsernameFragment string `json:"usernameFragment"`
	Password         string `json:"password"`
}

// An ICECandidatePair is RTCIceCandidatePair.
type ICECandidatePair struct{ Local, Remote *ICECandidate }

// An ICETransport is RTCIceTransport: one agent of ICE. Its methods may be called from any goroutine.
type ICETransport struct {
	pc    *PeerConnection
	id    int
	state atomic.Pointer[iceState]

	onStateChange                 hook[ICETransportState]
	onGatheringStateChange        hook[ICEGathererState]
	onSelectedCandidatePairChange hook[*ICECandidatePair]

	// The loop's.

	told     jsep.Transport // as descriptions have it
	gatherer *gather.Gatherer
	number   int                        // of the gatherer, within the connection
	served   jsep.Credentials           // the generation that candidates are gathered for
	whole    jsep.Credentials           // one before that has all of them
	named    []jsep.Target              // remote candidates with names, before there is a gatherer
	urls     map[string]candidateOrigin // of local candidates, by their text
}

// candidateOrigin is what a candidate's text does not say of it.
type candidateOrigin struct{ relayProtocol, url string }

// iceState is what getters return.
type iceState struct {
	state     ICETransportState
	gathering ICEGathererState
	role      ICERole
	selected  *ICECandidatePair
}

// Role returns who nominates.
func (t *ICETransport) Role() ICERole { return t.state.Load().role }

// Component is "rtp": it carries RTCP too.
func (t *ICETransport) Component() string { return "rtp" }

// State returns the state.
func (t *ICETransport) State() ICETransportState { return t.state.Load().state }

// GatheringState returns whether all candidates of the transport are known.
func (t *ICETransport) GatheringState() ICEGathererState { return t.state.Load().gathering }

// GetSelectedCandidatePair returns the pair that data is sent along; nil if there is none.
func (t *ICETransport) GetSelectedCandidatePair() *ICECandidatePair { return t.state.Load().selected }

// GetLocalCandidates returns the candidates of ours that were signalled.
func (t *ICETransport) GetLocalCandidates() (list []*ICECandidate) {
	t.pc.read(func(mono.Time) {
		if x := t.pc.transport(t.id); x != nil {
			for _, c := range x.candidates(true) {
				if c.Type != ice.PeerReflexive {
					list = append(list, t.candidate(&c, true))
				}
			}
		}
	})
	return list
}

// GetRemoteCandidates returns the candidates that the peer has signalled.
func (t *ICETransport) GetRemoteCandidates() (list []*ICECandidate) {
	t.pc.read(func(mono.Time) {
		if x := t.pc.transport(t.id); x != nil {
			for _, c := range x.candidates(false) {
				if c.Type != ice.PeerReflexive {
					list = append(list, t.candidate(&c, false))
				}
			}
		}
	})
	return list
}

// candidates returns those that ICE knows, or knew when the connection was closed.
func (x *DTLSTransport) candidates(local bool) []ice.Candidate {
	a := x.pc.peer.Agent(x.ice.id)
	switch {
	case x.last != nil && local:
		return x.last.local
	case x.last != nil:
		return x.last.remote
	case a == nil:
		return nil
	case local:
		return a.LocalCandidates()
	}
	return a.RemoteCandidates()
}

// GetLocalParameters returns our credentials; nil before there are any.
func (t *ICETransport) GetLocalParameters() (p *ICEParameters) {
	t.pc.read(func(mono.Time) { p = parameters(t.told.Local) })
	return p
}

// GetRemoteParameters returns the peer's credentials; nil before they are known.
func (t *ICETransport) GetRemoteParameters() (p *ICEParameters) {
	t.pc.read(func(mono.Time) { p = parameters(t.told.Remote) })
	return p
}

func parameters(c jsep.Credentials) *ICEParameters {
	if c.Ufrag == "" {
		return nil
	}
	return &ICEParameters{c.Ufrag, c.Pwd}
}

// OnStateChange sets the handler of statechange.
func (t *ICETransport) OnStateChange(f func(ICETransportState)) {
	on(&t.pc.events, &t.onStateChange, f)
}

// OnGatheringStateChange sets the handler of gatheringstatechange.
func (t *ICETransport) OnGatheringStateChange(f func(ICEGathererState)) {
	on(&t.pc.events, &t.onGatheringStateChange, f)
}

// OnSelectedCandidatePairChange sets the handler of selectedcandidatepairchange.
func (t *ICETransport) OnSelectedCandidatePairChange(f func(*ICECandidatePair)) {
	on(&t.pc.events, &t.onSelectedCandidatePairChange, f)
}

// update changes the state that getters return.
func (t *ICETransport) update(change func(*iceState)) {
	s := *t.state.Load()
	change(&s)
	t.state.Store(&s)
}

// candidate makes the W3C's candidate of one that ICE knows.
func (t *ICETransport) candidate(c *ice.Candidate, local bool) *ICECandidate {
	bare := *c
	bare.Ufrag = "" // which UsernameFragment has
	s := bare.SDP()
	w := &ICECandidate{Candidate: "candidate:" + s.String(), SDPMid: new(t.told.MID)}
	if local {
		w.UsernameFragment = new(t.told.Local.Ufrag)
		o := t.urls[w.Candidate]
		w.relayProtocol, w.url = o.relayProtocol, o.url
	} else {
		w.UsernameFragment = new(t.told.Remote.Ufrag)
	}
	return w
}

// A DTLSTransportState is RTCDtlsTransportState.
type DTLSTransportState string

// The states.
const (
	DTLSTransportStateNew        DTLSTransportState = "new"
	DTLSTransportStateConnecting DTLSTransportState = "connecting"
	DTLSTransportStateConnected  DTLSTransportState = "connected"
	DTLSTransportStateClosed     DTLSTransportState = "closed"
	DTLSTransportStateFailed     DTLSTransportState = "failed"
)

// A DTLSTransport is RTCDtlsTransport: the encryption over one ICETransport. Its methods may be called from any goroutine.
type DTLSTransport struct {
	pc     *PeerConnection
	ice    ICETransport
	state  atomic.Pointer[dtlsState]
	closed bool         // no description has it any more; the loop's
	last   *observation // what was seen of it when the connection was closed; the loop's

	onStateChange hook[DTLSTransportState]
	onError       hook[*Error]
}

// dtlsState is what getters return.
type dtlsState struct {
	state        DTLSTransportState
	certificates [][]byte
	negotiated   dtls.ConnectionState
}

// ICETransport returns what it is over.
func (t *DTLSTransport) ICETransport() *ICETransport { return &t.ice }

// State returns the state.
func (t *DTLSTransport) State() DTLSTransportState { return t.state.Load().state }

// GetRemoteCertificates returns the certificates that the peer has proved to own, in DER, the leaf first; nil before.
func (t *DTLSTransport) GetRemoteCertificates() [][]byte {
	list := slices.Clone(t.state.Load().certificates)
	for i := range list {
		list[i] = slices.Clone(list[i])
	}
	return list
}

// TLSVersion returns what was negotiated as webrtc-stats has it: "FEFC" is DTLS 1.3, "FEFD" 1.2, "" none yet.
func (t *DTLSTransport) TLSVersion() string { return tlsVersion(t.state.Load().negotiated) }

// TLSGroup returns the name of the group of the key agreement, such as "X25519MLKEM768", or "" before it is known.
func (t *DTLSTransport) TLSGroup() string { return tlsGroup(t.state.Load().negotiated) }

// OnStateChange sets the handler of statechange.
func (t *DTLSTransport) OnStateChange(f func(DTLSTransportState)) {
	on(&t.pc.events, &t.onStateChange, f)
}

// OnError sets the handler of error: why the state is failed.
func (t *DTLSTransport) OnError(f func(*Error)) { on(&t.pc.events, &t.onError, f) }

func (t *DTLSTransport) update(change func(*dtlsState)) {
	s := *t.state.Load()
	change(&s)
	t.state.Store(&s)
}

func tlsVersion(c dtls.ConnectionState) string {
	switch c.Version {
	case dtls.Version13:
		return "FEFC"
	case dtls.Version12:
		return "FEFD"
	}
	return ""
}

func tlsGroup(c dtls.ConnectionState) string {
	if c.Group == 0 {
		return ""
	}
	return c.Group.String()
}

// dtlsError makes the error of DTLS the W3C's.
func dtlsError(err error) *Error {
	w := &Error{Name: OperationError, Detail: DTLSFailure, Message: err.Error()}
	if e, ok := errors.AsType[*dtls.Error](err); ok {
		w.Message = e.Reason
		switch {
		case e.Received:
			w.ReceivedAlert = int(e.Alert)
		case e.Fault == dtls.FaultLocal && e.Alert == dtls.AlertBadCertificate:
			w.Detail, w.SentAlert = FingerprintFailure, int(e.Alert)
		case e.Fault != dtls.FaultNetwork:
			w.SentAlert = int(e.Alert)
		}
	}
	return w
}

// An SCTPTransportState is RTCSctpTransportState.
type SCTPTransportState string

// The states.
const (
	SCTPTransportStateConnecting SCTPTransportState = "connecting"
	SCTPTransportStateConnected  SCTPTransportState = "connected"
	SCTPTransportStateClosed     SCTPTransportState = "closed"
)

// An SCTPTransport is RTCSctpTransport: what all data channels of a connection are on. Its methods may be called from any
// goroutine.
type SCTPTransport struct {
	pc    *PeerConnection
	state atomic.Pointer[sctpState]

	onStateChange hook[SCTPTransportState]
}

// sctpState is what getters return.
type sctpState struct {
	state     SCTPTransportState
	transport *DTLSTransport
	channels  *uint16
}

// Transport returns what it is over.
func (t *SCTPTransport) Transport() *DTLSTransport { return t.state.Load().transport }

// State returns the state.
func (t *SCTPTransport) State() SCTPTransportState { return t.state.Load().state }

// MaxMessageSize returns the size in bytes of the largest message that Send takes: what the peer has announced, and at
// most what is buffered.
func (t *SCTPTransport) MaxMessageSize() uint64 { return t.pc.maxMessageSize.Load() }

// MaxChannels returns how many channels there may be at a time, by the streams that were negotiated; nil before the state
// connected. An id beyond them makes a channel only with a peer that can add streams.
func (t *SCTPTransport) MaxChannels() *uint16 { return clone(t.state.Load().channels) }

// OnStateChange sets the handler of statechange.
func (t *SCTPTransport) OnStateChange(f func(SCTPTransportState)) {
	on(&t.pc.events, &t.onStateChange, f)
}

func (t *SCTPTransport) update(change func(*sctpState)) {
	s := *t.state.Load()
	change(&s)
	t.state.Store(&s)
}

// An ICEGatheringState is RTCIceGatheringState.
type ICEGatheringState string

// The states.
const (
	ICEGatheringStateNew       ICEGatheringState = "new"
	ICEGatheringStateGathering ICEGatheringState = "gathering"
	ICEGatheringStateComplete  ICEGatheringState = "complete"
)

// An ICEConnectionState is RTCIceConnectionState.
type ICEConnectionState string

// The states.
const (
	ICEConnectionStateNew          ICEConnectionState = "new"
	ICEConnectionStateChecking     ICEConnectionState = "checking"
	ICEConnectionStateConnected    ICEConnectionState = "connected"
	ICEConnectionStateCompleted    ICEConnectionState = "completed"
	ICEConnectionStateDisconnected ICEConnectionState = "disconnected"
	ICEConnectionStateFailed       ICEConnectionState = "failed"
	ICEConnectionStateClosed       ICEConnectionState = "closed"
)

// A PeerConnectionState is RTCPeerConnectionState.
type PeerConnectionState string

// The states.
const (
	PeerConnectionStateNew          PeerConnectionState = "new"
	PeerConnectionStateConnecting   PeerConnectionState = "connecting"
	PeerConnectionStateConnected    PeerConnectionState = "connected"
	PeerConnectionStateDisconnected PeerConnectionState = "disconnected"
	PeerConnectionStateFailed       PeerConnectionState = "failed"
	PeerConnectionStateClosed       PeerConnectionState = "closed"
)

// An ICECandidateError is RTCPeerConnectionIceErrorEvent: what a server could not be used for.
type ICECandidateError struct {
	// Address and Port are where the server was asked from; empty if that is not to be told.
	Address string
	Port    uint16
	// URL is the server's.
	URL string
	// ErrorCode is that of STUN (RFC 8489 section 14.8), or 701: the server was not reached.
	ErrorCode int
	ErrorText string
}

// aggregate derives the states of the connection from those of its transports, in the order of the specification's tables.
func aggregate(transports []*DTLSTransport) (g ICEGatheringState, i ICEConnectionState, c PeerConnectionState) {
	g, i, c = ICEGatheringStateNew, ICEConnectionStateNew, PeerConnectionStateNew
	if len(transports) == 0 {
		return g, i, c
	}
	count := func(is func(*DTLSTransport) bool) (n int) {
		for _, t := range transports {
			if is(t) {
				n++
			}
		}
		return n
	}
	ice := func(s ICETransportState) int { return count(func(t *DTLSTransport) bool { return t.ice.State() == s }) }
	encrypted := func(s DTLSTransportState) int { return count(func(t *DTLSTransport) bool { return t.State() == s }) }
	gathering := func(s ICEGathererState) int {
		return count(func(t *DTLSTransport) bool { return t.ice.GatheringState() == s })
	}
	all := len(transports)
	switch {
	case gathering(ICEGathererStateGathering) > 0:
		g = ICEGatheringStateGathering
	case gathering(ICEGathererStateComplete) == all:
		g = ICEGatheringStateComplete
	}
	idle := ice(ICETransportStateNew)+ice(ICETransportStateClosed) == all
	done := ice(ICETransportStateCompleted) + ice(ICETransportStateClosed)
	works := ice(ICETransportStateConnected)+done == all
	switch {
	case ice(ICETransportStateFailed) > 0:
		i = ICEConnectionStateFailed
	case ice(ICETransportStateDisconnected) > 0:
		i = ICEConnectionStateDisconnected
	case idle:
	case ice(ICETransportStateNew)+ice(ICETransportStateChecking) > 0:
		i = ICEConnectionStateChecking
	case done == all:
		i = ICEConnectionStateCompleted
	case works:
		i = ICEConnectionStateConnected
	}
	switch {
	case ice(ICETransportStateFailed)+encrypted(DTLSTransportStateFailed) > 0:
		c = PeerConnectionStateFailed
	case ice(ICETransportStateDisconnected) > 0:
		c = PeerConnectionStateDisconnected
	case idle && encrypted(DTLSTransportStateNew)+encrypted(DTLSTransportStateClosed) == all:
	case works && encrypted(DTLSTransportStateConnected)+encrypted(DTLSTransportStateClosed) == all:
		c = PeerConnectionStateConnected
	default:
		c = PeerConnectionStateConnecting
	}
	return g, i, c
}
