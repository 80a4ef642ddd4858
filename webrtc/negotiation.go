package webrtc

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/jsep"
	"github.com/parley-rtc/parley/protocol/mono"
)

// apply puts into force what a description has changed, and queues the events of "set a session description".
func (pc *PeerConnection) apply(now mono.Time, c *jsep.Changes) {
	for _, id := range c.ClosedIDs {
		if x := pc.transport(id); x != nil {
			x.closed = true
			if x.ice.gatherer != nil {
				x.ice.gatherer.Close(now)
			}
		}
	}
	for i := range c.Transports {
		t := &c.Transports[i]
		x := pc.transport(t.ID)
		if x == nil {
			x = pc.newTransport(t)
		}
		x.ice.told = *t
	}
	tracks := pc.followMedia(now, c)
	if err := pc.peer.Apply(now, c.Transports, c.Media, c.Data); err != nil && pc.network.cfg.Logger != nil {
		pc.network.cfg.Logger.Warn("a description cannot be put into force whole", "error", err)
	}
	for i := range c.Transports {
		t := &c.Transports[i]
		if a := pc.peer.Agent(t.ID); a != nil {
			pc.transport(t.ID).ice.update(func(s *iceState) { s.role = ICERole(a.Role().String()) })
		}
	}
	if p := pc.network.port; p != nil {
		p.name(pc)
	}
	pc.applyMedia(now, c.Media)
	pc.applyData(now, c.Data)
	if c.DataRejected {
		pc.dataRejected()
	}
	if c.RolledBack {
		pc.signaling(c.Before, SignalingState(jsep.Stable))
		pc.signaling(jsep.Stable, SignalingState(c.After))
	} else {
		pc.signaling(c.Before, SignalingState(c.After))
	}
	tracks()
	pc.settle() // what follows are tasks of their own; the flag is updated once the chain of operations is empty
	if c.After == jsep.Stable {
		pc.updateNegotiation()
	}
	pc.aggregate()
	if c.After == jsep.Stable && pc.session.HasLocal() {
		pc.fillPool(now, 0) // every section has its transport
	}
}

// signaling enters a signaling state.
func (pc *PeerConnection) signaling(before jsep.SignalingState, after SignalingState) {
	s := *pc.states.Load()
	s.signaling, s.trickle = after, clone(pc.session.CanTrickle())
	pc.states.Store(&s)
	// 4.6.10 If connection.[[SignalingState]] is now "stable": set [[NegotiationNeeded]] to false and update the
	// negotiation-needed flag.
	if after == SignalingStateStable {
		pc.needed = false
		pc.negotiation.Store(0)
	}
	if SignalingState(before) != after {
		emit(&pc.events, nil, &pc.onSignalingStateChange, after, nil)
	}
}

// updateNegotiation is "update the negotiation-needed flag". The chain of operations is always empty here: the loop does
// one after the other.
func (pc *PeerConnection) updateNegotiation() {
	switch {
	case pc.SignalingState() != SignalingStateStable:
	case !pc.session.NegotiationNeeded():
		pc.needed = false
		pc.negotiation.Store(0)
	case !pc.needed:
		pc.needed = true
		pc.neededNo++
		pc.negotiation.Store(pc.neededNo)
		emit(&pc.events, nil, &pc.onNegotiationNeeded, pc.neededNo, nil)
	}
}

// newTransport makes the objects of a transport, or takes them from the pool.
func (pc *PeerConnection) newTransport(t *jsep.Transport) *DTLSTransport {
	if i := slices.IndexFunc(pc.transports, (*DTLSTransport).pooled); i >= 0 {
		x := pc.transports[i]
		x.ice.id = t.ID
		return x
	}
	return pc.makeTransport(t.ID)
}

func (pc *PeerConnection) makeTransport(id int) *DTLSTransport {
	x := &DTLSTransport{pc: pc}
	x.ice.pc, x.ice.id = pc, id
	x.ice.state.Store(&iceState{ICETransportStateNew, ICEGathererStateNew, ICERoleUnknown, nil})
	x.state.Store(&dtlsState{state: DTLSTransportStateNew})
	pc.transports = append(pc.transports, x)
	return x
}

// pooled reports whether a transport waits for a description that asks for it (iceCandidatePoolSize); it has no id yet.
func (x *DTLSTransport) pooled() bool { return x.ice.id == 0 && !x.closed }

// fillPool makes the pool as large as it is to be. What is in it gathers, and its events wait.
func (pc *PeerConnection) fillPool(now mono.Time, size int) {
	for _, x := range slices.Clone(pc.transports) {
		if !x.pooled() {
			continue
		}
		if size--; size < 0 {
			x.closed = true
			x.ice.gatherer.Close(now)
		}
	}
	for ; size > 0; size-- {
		x := pc.makeTransport(0)
		pc.newGatherer(x)
		if x.ice.gatherer == nil {
			x.closed = true
			return
		}
		x.ice.gatherer.Start(now)
	}
}

// live returns the transports that descriptions still have.
func (pc *PeerConnection) live() []*DTLSTransport {
	return slices.DeleteFunc(slices.Clone(pc.transports), func(x *DTLSTransport) bool { return x.closed || x.pooled() })
}

// startGathering gathers for every generation of ours that nobody has gathered for yet.
func (pc *PeerConnection) startGathering(now mono.Time) {
	for _, x := range pc.live() {
		t := &x.ice
		want := t.told.Local
		if t.told.Restart != (jsep.Credentials{}) {
			want = t.told.Restart
		}
		if want == t.served {
			continue
		}
		if want == t.whole { // a restart was rolled back: its candidates are known, and were told
			t.served = want
			continue
		}
		first := t.served == (jsep.Credentials{})
		if t.GatheringState() == ICEGathererStateComplete {
			t.whole = t.served
		}
		t.served = want
		if t.gatherer == nil {
			pc.newGatherer(x)
		}
		if t.gatherer == nil {
			continue
		}
		t.update(func(s *iceState) { s.gathering = ICEGathererStateGathering })
		emit(&pc.events, nil, &t.onGatheringStateChange, ICEGathererStateGathering, nil)
		pc.aggregate()
		if first {
			t.gatherer.Start(now)
		} else {
			t.gatherer.Restart(now)
		}
		named := t.named
		t.named = nil
		for _, target := range named {
			pc.addRemote(now, target)
		}
	}
}

// newGatherer makes a gatherer for a transport.
func (pc *PeerConnection) newGatherer(x *DTLSTransport) {
	for slices.ContainsFunc(pc.transports, func(y *DTLSTransport) bool {
		return y != x && y.ice.gatherer != nil && y.ice.number == x.ice.number
	}) {
		x.ice.number++
	}
	g, err := gather.New(pc.lease, pc.gathering(x.ice.number))
	if err != nil {
		if l := pc.network.cfg.Logger; l != nil {
			l.Error("candidates cannot be gathered", "error", err)
		}
		return
	}
	x.ice.gatherer = g
}

// gathering is how to gather.
func (pc *PeerConnection) gathering(number int) gather.Config {
	v := pc.config.Load()
	pc.relays = pc.relays || v.relays()
	return pc.network.gather(number, v)
}

func (v *validated) gatherServers() (list []gather.Server) {
	for _, s := range v.servers {
		list = append(list, gather.Server{URI: s.uri, Username: s.username, Password: s.credential})
	}
	return list
}

// urlOf returns the URL of a server as the configuration writes it.
func (pc *PeerConnection) urlOf(uri string) string {
	for _, s := range pc.config.Load().servers {
		if s.uri.String() == uri {
			return s.url
		}
	}
	return uri
}

func (v *validated) relays() bool {
	return slices.ContainsFunc(v.servers, func(s iceServer) bool { return s.uri.TURN() })
}

func (v *validated) gatherPolicy() gather.Policy {
	if v.ICETransportPolicy == ICETransportPolicyRelay {
		return gather.Relay
	}
	return gather.All
}

// reconfigure tells ICE what SetConfiguration has changed.
func (pc *PeerConnection) reconfigure(now mono.Time, v *validated) {
	pc.relays = pc.relays || v.relays()
	if !pc.session.HasLocal() {
		pc.fillPool(now, int(v.ICECandidatePoolSize))
	}
	for _, x := range pc.live() {
		if a := pc.peer.Agent(x.ice.id); a != nil {
			a.SetRelayOnly(v.ICETransportPolicy == ICETransportPolicyRelay)
		}
		if g := x.ice.gatherer; g != nil {
			g.SetPolicy(v.gatherPolicy())
			if err := g.SetServers(v.gatherServers()); err != nil && pc.network.cfg.Logger != nil {
				pc.network.cfg.Logger.Warn("the servers of ICE cannot be changed", "error", err)
			}
		}
	}
}

// localCandidate takes a candidate that was gathered.
func (pc *PeerConnection) localCandidate(now mono.Time, t *ICETransport, c *gather.Candidate) {
	added, ok := pc.peer.AddLocalCandidate(now, t.id, c.Candidate)
	if !ok || pc.shut {
		return
	}
	added.Ufrag = ""
	s := added.SDP()
	l, ok := pc.session.AddLocalCandidate(t.id, t.served.Ufrag, s)
	if !ok {
		return
	}
	w := &ICECandidate{Candidate: l.Candidate, SDPMid: &l.SDPMid, SDPMLineIndex: &l.Index, UsernameFragment: &l.Ufrag, url: pc.urlOf(c.URL)}
	if added.Type == ice.Relayed {
		w.relayProtocol = added.RelayProtocol.String()
	}
	if c.URL != "" {
		if t.urls == nil {
			t.urls = make(map[string]candidateOrigin)
		}
		t.urls[w.Candidate] = candidateOrigin{w.relayProtocol, w.url}
	}
	emit(&pc.events, nil, &pc.onICECandidate, w, nil)
}

// gatheringDone says that all candidates of a generation are known.
func (pc *PeerConnection) gatheringDone(now mono.Time, x *DTLSTransport) {
	t := &x.ice
	pc.peer.EndOfLocalCandidates(now, t.id)
	if pc.shut {
		return
	}
	if l, ok := pc.session.EndOfLocalCandidates(t.id, t.served.Ufrag); ok && t.GatheringState() != ICEGathererStateComplete {
		emit(&pc.events, nil, &pc.onICECandidate, &ICECandidate{SDPMid: &l.SDPMid, SDPMLineIndex: &l.Index, UsernameFragment: &l.Ufrag}, nil)
	}
	if t.GatheringState() != ICEGathererStateComplete {
		t.update(func(s *iceState) { s.gathering = ICEGathererStateComplete })
		emit(&pc.events, nil, &t.onGatheringStateChange, ICEGathererStateComplete, nil)
		pc.aggregate()
	}
}

// maxNamed is how many remote candidates with names wait for a gatherer: what ICE takes of one generation.
const maxNamed = 64

// addRemote hands a remote candidate to ICE. One behind a name of multicast DNS is resolved first.
func (pc *PeerConnection) addRemote(now mono.Time, t jsep.Target) {
	x := pc.transport(t.Transport)
	if x == nil || !t.End && pc.prohibited(&t.Candidate) {
		return
	}
	g := x.ice.gatherer
	if isName(t.Candidate.Address) {
		if g == nil { // an answerer has none before its answer
			if len(x.ice.named) < maxNamed {
				x.ice.named = append(x.ice.named, t)
			}
			return
		}
		g.Resolve(now, t.Candidate.Address, func(now mono.Time, ip netip.Addr, err error) {
			if err == nil && !pc.shut {
				t.Candidate.Address = ip.String()
				pc.addRemote(now, t)
			}
		})
		return
	}
	pc.peer.AddRemote(now, t)
	if ip, err := netip.ParseAddr(t.Candidate.Address); err == nil && pc.relays && g != nil {
		g.Permit(now, ip.Unmap()) // so that the peer's checks get through before ours
	}
}

// isName reports whether a candidate has a name in the place of an address.
func isName(address string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(address, ".")), ".local")
}
