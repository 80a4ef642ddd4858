package webrtc

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/rtp"
	"github.com/parley-rtc/parley/protocol/sctp"
	"github.com/parley-rtc/parley/protocol/sdp"
)

// A PeerConnection is RTCPeerConnection: a connection to one peer. It is made by [NewPeerConnection] or
// [Network.NewPeerConnection], and Close ends it.
//
// Every method may be called from any goroutine and from any handler. A call waits until what it does is done, and so
// never for a handler; the events it causes follow. Handlers are called one after the other, in the order of the events.
// An event that comes before its first handler is kept for it, so handlers may be set at any time.
type PeerConnection struct {
	network *Network
	loop    *loop.Loop
	lease   *loop.Lease

	events         dispatcher
	out            outbox
	eaten          eaten
	maxMessageSize atomic.Uint64
	states         atomic.Pointer[states]
	negotiation    atomic.Uint64 // the number of the event negotiationneeded that holds; 0: none
	config         atomic.Pointer[validated]
	sctp           atomic.Pointer[SCTPTransport]
	media          atomic.Pointer[media] // nil before there is a transceiver

	gatheredMu sync.Mutex
	gathered   []chan struct{} // of GatheringComplete, closed when it is

	closeOnce  sync.Once
	afterwards sync.Mutex    // of what read looks at after the end
	ended      chan struct{} // closed when the loop has nothing of the connection any more
	gone       chan struct{} // closed when nobody has

	onNegotiationNeeded        hook[uint64]
	onICECandidate             hook[*ICECandidate]
	onICECandidateError        hook[*ICECandidateError]
	onSignalingStateChange     hook[SignalingState]
	onICEGatheringStateChange  hook[ICEGatheringState]
	onICEConnectionStateChange hook[ICEConnectionState]
	onConnectionStateChange    hook[PeerConnectionState]
	onDataChannel              hook[*DataChannel]
	onTrack                    hook[*RTPReceiver]

	// What follows is the loop's.

	session    *jsep.Session
	peer       *peer.Peer
	transports []*DTLSTransport // of jsep's transports, in their order
	channels   []*DataChannel   // that are not closed
	byStream   map[sctp.StreamID]*DataChannel
	associated *sctp.Association // in which the channels were opened
	sending    []*DataChannel    // have something in the association that was not sent
	ending     []*DataChannel    // are to be closed once what they have in the outbox is handed over
	numbered   int               // channels ever
	openedEver uint32            // channels that were open once; see PeerConnectionStats
	closedEver uint32
	remotes    []netip.AddrPort // in the map of a shared port
	ufrags     []string         // likewise
	neededNo   uint64           // counts the events
	closedAt   mono.Time        // when Close was called
	closedTime time.Time        // likewise
	dropped    bool             // something in the outbox was for a channel that is closed
	relays     bool             // there may be candidates at TURN servers
	needed     bool             // [[NegotiationNeeded]]
	settled    bool             // the operation has ended, as far as After is concerned
	shut       bool             // Close was called
	released   bool             // sockets were given up
	over       bool             // and all else
}

// states are what getters return.
type states struct {
	signaling  SignalingState
	gathering  ICEGatheringState
	ice        ICEConnectionState
	connection PeerConnectionState
	trickle    *bool
}

// NewPeerConnection makes a connection. All connections of a program share one goroutine, which runs while there are any.
//
// What is wrong with the configuration is a SyntaxError (a URL), an InvalidAccessError (credentials that are missing, a
// certificate that has expired), a NotSupportedError (RTCPMuxPolicy negotiate) or a TypeError (a policy that there is
// not).
func NewPeerConnection(cfg Configuration) (*PeerConnection, error) {
	return standard.NewPeerConnection(cfg)
}

// NewPeerConnection makes a connection on the network; see the function of that name.
func (n *Network) NewPeerConnection(cfg Configuration) (*PeerConnection, error) {
	v, err := cfg.validate(time.Now())
	if err != nil {
		return nil, err
	}
	if len(v.Certificates) == 0 {
		c, err := GenerateCertificate(KeygenAlgorithm{})
		if err != nil {
			return nil, err
		}
		v.Certificates = []*Certificate{c}
	}
	pc := &PeerConnection{network: n, ended: make(chan struct{}), gone: make(chan struct{})}
	pc.events.init(n.cfg.Logger)
	pc.states.Store(&states{SignalingStateStable, ICEGatheringStateNew, ICEConnectionStateNew, PeerConnectionStateNew, nil})
	pc.config.Store(&v)
	if err := n.enter(pc); err != nil {
		if _, ok := err.(*Error); !ok {
			err = fail(OperationError, "%v", err)
		}
		return nil, err
	}
	if err := pc.makeEngines(&v); err != nil {
		n.leave(pc)
		return nil, exception(err)
	}
	pc.loop.Post(func(now mono.Time) { // before every call, and it runs for as long as the network counts us in
		pc.lease = pc.loop.Attach((*tenant)(pc))
		pc.fillPool(now, int(v.ICECandidatePoolSize))
	})
	return pc, nil
}

// makeEngines makes what the connection consists of.
func (pc *PeerConnection) makeEngines(v *validated) error {
	cfg, certificate := &pc.network.cfg, v.Certificates[0]
	data := sctp.Config{Rand: rand.Reader, MaxMessageSize: maxReceived, ZeroChecksum: true}
	if udp.Probe().MMsg { // the portable form of sockets cannot set DF, and without it no path MTU is found
		data.MaxPacket = sctp.DefaultMaxPacket
	}
	// In the descriptions, so that peers which know of it need no handshake (draft-hancke-tsvwg-snap).
	var err error
	if data.LocalInit, err = sctp.NewInit(data); err != nil {
		return err
	}
	// RFC 8829 section 5.2.1: "all "m=" sections MUST use any and all certificates that have been specified". The one in use is the
	// last, as libwebrtc keeps only that.
	var fingerprints []sdp.Fingerprint
	for _, c := range slices.Backward(v.Certificates) {
		fingerprints = append(fingerprints, c.fingerprint())
	}
	pc.session, err = jsep.New(jsep.Config{
		Entropy: rand.Reader, Fingerprints: fingerprints, Bundle: v.BundlePolicy.jsep(), Lite: cfg.Lite,
		Audio: audioCodecs, Video: videoCodecs, MaxMessageSize: maxReceived, SCTPInit: base64.StdEncoding.EncodeToString(data.LocalInit),
	})
	if err != nil {
		return err
	}
	pc.peer, err = peer.New(peer.Config{
		DTLS: &dtls.Config{Entropy: rand.Reader, Certificate: certificate.dtls, SRTPProfiles: dtls.DefaultSRTPProfiles(), Groups: pc.network.groups, KeyLog: cfg.KeyLog},
		SCTP: data, Entropy: rand.Reader, RelayOnly: v.ICETransportPolicy == ICETransportPolicyRelay, Scratch: pc.network.engines, Lite: cfg.Lite,
		Origin: rtp.NTPAt(time.Now().Add(-time.Duration(pc.loop.Now()))),
	})
	return err
}

// maxReceived is the size of the largest message that is received, in bytes.
const maxReceived = 256 << 10

// call runs f on the loop and waits for it; false, without f, if the connection is closed.
func (pc *PeerConnection) call(f func(now mono.Time)) (ran bool) {
	// A closed loop has run nothing.
	_ = pc.loop.Do(func(now mono.Time) {
		if !pc.shut {
			f(now)
			pc.lease.Touch()
			ran = true
		}
	})
	return ran
}

// read is call for what only looks, which it may do when the connection is closed, too: then the loop has nothing of it any
// more.
func (pc *PeerConnection) read(f func(now mono.Time)) {
	if !pc.call(f) {
		<-pc.ended
		pc.afterwards.Lock()
		defer pc.afterwards.Unlock()
		f(0)
	}
}

// try is call for an operation, which may fail. It ends where f says that it has (settle), or else when f returns.
func (pc *PeerConnection) try(f func(now mono.Time) error) error {
	err := error(errClosed)
	pc.call(func(now mono.Time) {
		pc.settled = false
		pc.events.begin()
		if err = f(now); !pc.settled {
			pc.settle()
		}
	})
	return err
}

// settle is where an operation ends among the events: "resolve p".
func (pc *PeerConnection) settle() {
	pc.events.mark()
	pc.settled = true
}

// CreateOffer writes an offer (createOffer). It changes nothing; nil is no options.
func (pc *PeerConnection) CreateOffer(options *OfferOptions) (SessionDescription, error) {
	var o jsep.OfferOptions
	if options != nil {
		o.ICERestart = options.ICERestart
	}
	return pc.create(func() (jsep.Description, error) { return pc.session.CreateOffer(o) })
}

// CreateAnswer writes an answer to the offer that the peer has made (createAnswer); without one it is an
// InvalidStateError.
func (pc *PeerConnection) CreateAnswer() (SessionDescription, error) {
	return pc.create(func() (jsep.Description, error) { return pc.session.CreateAnswer() })
}

func (pc *PeerConnection) create(f func() (jsep.Description, error)) (SessionDescription, error) {
	var d jsep.Description
	err := pc.try(func(mono.Time) (err error) {
		d, err = f()
		pc.endTransactions()
		return exception(err)
	})
	if err != nil {
		return SessionDescription{}, err
	}
	return *described(d), nil
}

// SetLocalDescription puts an offer or answer of ours into force (setLocalDescription), and candidates are gathered for
// it. With nil, or an empty SDP, it is made here: the offer or answer that the state asks for.
func (pc *PeerConnection) SetLocalDescription(d *SessionDescription) error {
	return pc.try(func(now mono.Time) error {
		c, err := pc.session.SetLocal(d.jsep())
		if err != nil {
			return exception(err)
		}
		pc.apply(now, &c)
		pc.startGathering(now)
		if c.After == jsep.Stable && len(c.Media) > 0 { // the answer may have tagged another section of the group than the offer
			pc.hearCandidates(now)
		}
		return nil
	})
}

// SetRemoteDescription applies what the peer has sent (setRemoteDescription). An offer that comes while one of ours is
// pending rolls ours back.
func (pc *PeerConnection) SetRemoteDescription(d SessionDescription) error {
	return pc.try(func(now mono.Time) error {
		c, err := pc.session.SetRemote(d.jsep())
		if err != nil {
			if c.RolledBack { // which stands
				pc.apply(now, &c)
			}
			return exception(err)
		}
		pc.apply(now, &c)
		pc.hearCandidates(now)
		return nil
	})
}

// hearCandidates takes the candidates that stand in the remote descriptions.
func (pc *PeerConnection) hearCandidates(now mono.Time) {
	for _, t := range pc.session.RemoteCandidates() {
		pc.addRemote(now, t)
	}
}

// AddICECandidate adds a candidate of the peer's (addIceCandidate): what its icecandidate events tell, nil included.
// One without SDPMid and SDPMLineIndex is a TypeError. Before there is a remote description it is an InvalidStateError; one that
// cannot be read, or that is for no section or generation that there is, is an OperationError.
func (pc *PeerConnection) AddICECandidate(c *ICECandidate) error {
	init := c.init()
	if err := init.Validate(); err != nil { // of a closed connection too
		return exception(err)
	}
	return pc.try(func(now mono.Time) error {
		targets, err := pc.session.AddCandidate(init)
		for _, t := range targets {
			pc.addRemote(now, t)
		}
		return exception(err)
	})
}

// RestartICE asks for new ICE credentials in the next offer (restartIce), for which OnNegotiationNeeded calls. A closed
// connection ignores it.
func (pc *PeerConnection) RestartICE() {
	pc.call(func(mono.Time) {
		pc.session.RestartICE()
		pc.updateNegotiation()
	})
}

// CreateDataChannel makes a channel (createDataChannel); nil is an ordered and reliable one. The first one asks for an
// offer. Labels and protocols over 65535 bytes, a negotiated channel without an ID, the ID 65535, and both MaxPacketLifeTime and
// MaxRetransmits are TypeErrors; an ID that is taken or that the peer has no stream for is an OperationError, and so is one channel more
// than 2048 at a time.
func (pc *PeerConnection) CreateDataChannel(label string, init *DataChannelInit) (*DataChannel, error) {
	if pc.SignalingState() == SignalingStateClosed {
		return nil, errClosed
	}
	ch, err := newDataChannel(pc, label, init)
	if err != nil {
		return nil, err
	}
	if err = pc.try(func(now mono.Time) error { return pc.openChannel(now, ch) }); err != nil {
		return nil, err
	}
	// "Return channel and continue the following steps in parallel": it is connecting still, even where the association stands.
	pc.lease.Post(func(mono.Time) {
		if ch.returned = true; ch.standing {
			pc.announceOpen(ch)
		}
	})
	return ch, nil
}

// GetConfiguration returns the configuration that is in force.
func (pc *PeerConnection) GetConfiguration() Configuration { return pc.config.Load().copy() }

// SetConfiguration changes the configuration (setConfiguration): the servers and the policies of ICE, with effect from the
// next ICE restart on. What cannot be changed is an InvalidModificationError; other errors are those of NewPeerConnection.
func (pc *PeerConnection) SetConfiguration(cfg Configuration) error {
	if pc.SignalingState() == SignalingStateClosed {
		return errClosed
	}
	v, err := cfg.validate(time.Now())
	if err != nil {
		return err
	}
	return pc.try(func(now mono.Time) error {
		if err := v.replaces(pc.config.Load(), pc.session.HasLocal()); err != nil {
			return err
		}
		pc.config.Store(&v)
		pc.reconfigure(now, &v)
		return nil
	})
}

// CurrentLocalDescription returns the local description that was negotiated last, with the candidates since; nil if there
// is none.
func (pc *PeerConnection) CurrentLocalDescription() *SessionDescription {
	return pc.description((*jsep.Session).CurrentLocal)
}

// PendingLocalDescription returns the local description that is being negotiated; nil if there is none.
func (pc *PeerConnection) PendingLocalDescription() *SessionDescription {
	return pc.description((*jsep.Session).PendingLocal)
}

// LocalDescription returns the pending local description, or else the current one.
func (pc *PeerConnection) LocalDescription() *SessionDescription {
	return pc.description((*jsep.Session).Local)
}

// CurrentRemoteDescription returns the remote description that was negotiated last, with the candidates since; nil if
// there is none.
func (pc *PeerConnection) CurrentRemoteDescription() *SessionDescription {
	return pc.description((*jsep.Session).CurrentRemote)
}

// PendingRemoteDescription returns the remote description that is being negotiated; nil if there is none.
func (pc *PeerConnection) PendingRemoteDescription() *SessionDescription {
	return pc.description((*jsep.Session).PendingRemote)
}

// RemoteDescription returns the pending remote description, or else the current one.
func (pc *PeerConnection) RemoteDescription() *SessionDescription {
	return pc.description((*jsep.Session).Remote)
}

func (pc *PeerConnection) description(which func(*jsep.Session) jsep.Description) (d *SessionDescription) {
	pc.read(func(mono.Time) { d = described(which(pc.session)) })
	return d
}

// SignalingState returns where offer and answer stand.
func (pc *PeerConnection) SignalingState() SignalingState { return pc.states.Load().signaling }

// ICEGatheringState returns whether all candidates are known.
func (pc *PeerConnection) ICEGatheringState() ICEGatheringState { return pc.states.Load().gathering }

// ICEConnectionState returns the state of ICE over all transports.
func (pc *PeerConnection) ICEConnectionState() ICEConnectionState { return pc.states.Load().ice }

// ConnectionState returns the state of ICE and DTLS over all transports.
func (pc *PeerConnection) ConnectionState() PeerConnectionState { return pc.states.Load().connection }

// CanTrickleICECandidates returns whether the peer takes candidates after its description; nil if it has sent none.
func (pc *PeerConnection) CanTrickleICECandidates() *bool { return clone(pc.states.Load().trickle) }

// SCTP returns what the data channels are on; nil before it is negotiated.
func (pc *PeerConnection) SCTP() *SCTPTransport { return pc.sctp.Load() }

// GatheringComplete waits until the local description holds every candidate, or until ctx is done. It returns at once if
// there is a description that has nothing to gather for.
func (pc *PeerConnection) GatheringComplete(ctx context.Context) error {
	if s := pc.states.Load(); s.gathering == ICEGatheringStateComplete && s.signaling != SignalingStateClosed {
		return nil
	}
	done := make(chan struct{})
	err := pc.try(func(mono.Time) error {
		if pc.session.HasLocal() && (pc.ICEGatheringState() == ICEGatheringStateComplete || len(pc.transports) == 0) {
			close(done)
			return nil
		}
		pc.gatheredMu.Lock()
		defer pc.gatheredMu.Unlock()
		pc.gathered = append(pc.gathered, done)
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-pc.ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the connection (close) and returns when nothing of it runs any more; from within a handler, of whatever
// connection, it returns at once and finishes afterwards. No event comes after it. Closing twice is harmless.
func (pc *PeerConnection) Close() error {
	first, within := false, inCallback()
	pc.closeOnce.Do(func() { first = true })
	switch {
	case within:
		pc.call(pc.shutdown)
		if first {
			go pc.finish()
		}
	case first:
		pc.loop.Post(func(now mono.Time) {
			if !pc.shut {
				pc.shutdown(now)
				pc.lease.Touch()
			}
		})
		pc.finish()
	default:
		<-pc.gone
	}
	return nil
}

// finish waits until nobody has anything of the connection any more.
func (pc *PeerConnection) finish() {
	<-pc.ended
	pc.events.wait()
	pc.network.leave(pc)
	close(pc.gone)
}

// Done is closed when the connection was closed and nothing of it runs any more.
func (pc *PeerConnection) Done() <-chan struct{} { return pc.gone }

// After runs a call of the connection's, op, and has f called with what it returned, in its turn among the handlers: behind
// the events that the call has caused, and before those that follow its end, such as negotiationneeded and the candidates that
// SetLocalDescription lets gather. With it, a binding to a language with promises settles them in the specification's order. After
// returns when op has; no handler is called meanwhile, so op must not wait for one. As no event comes after Close, f is not
// called then.
func (pc *PeerConnection) After(op func() error, f func(error)) {
	pc.events.hold()
	err := op()
	pc.events.settle(func() { f(err) })
}

// OnNegotiationNeeded sets the handler of negotiationneeded: an offer is to be made. As with every event, those that came
// before the first handler was set are delivered to it; nil removes it.
func (pc *PeerConnection) OnNegotiationNeeded(f func()) {
	if f == nil {
		on(&pc.events, &pc.onNegotiationNeeded, nil)
		return
	}
	on(&pc.events, &pc.onNegotiationNeeded, func(number uint64) {
		if pc.negotiation.Load() == number && pc.SignalingState() == SignalingStateStable { // it still holds
			f()
		}
	})
}

// OnICECandidate sets the handler of icecandidate: a candidate of ours that the peer is to be told by AddICECandidate. One
// with an empty Candidate ends those of a generation, and nil says that all are known.
func (pc *PeerConnection) OnICECandidate(f func(*ICECandidate)) {
	on(&pc.events, &pc.onICECandidate, f)
}

// OnICECandidateError sets the handler of icecandidateerror: a server was of no use.
func (pc *PeerConnection) OnICECandidateError(f func(*ICECandidateError)) {
	on(&pc.events, &pc.onICECandidateError, f)
}

// OnSignalingStateChange sets the handler of signalingstatechange.
func (pc *PeerConnection) OnSignalingStateChange(f func(SignalingState)) {
	on(&pc.events, &pc.onSignalingStateChange, f)
}

// OnICEGatheringStateChange sets the handler of icegatheringstatechange.
func (pc *PeerConnection) OnICEGatheringStateChange(f func(ICEGatheringState)) {
	on(&pc.events, &pc.onICEGatheringStateChange, f)
}

// OnICEConnectionStateChange sets the handler of iceconnectionstatechange.
func (pc *PeerConnection) OnICEConnectionStateChange(f func(ICEConnectionState)) {
	on(&pc.events, &pc.onICEConnectionStateChange, f)
}

// OnConnectionStateChange sets the handler of connectionstatechange.
func (pc *PeerConnection) OnConnectionStateChange(f func(PeerConnectionState)) {
	on(&pc.events, &pc.onConnectionStateChange, f)
}

// OnDataChannel sets the handler of datachannel: the peer has opened a channel. Events of the channel follow after the
// handler has returned.
func (pc *PeerConnection) OnDataChannel(f func(*DataChannel)) { on(&pc.events, &pc.onDataChannel, f) }
