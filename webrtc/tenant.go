package webrtc

import (
	"slices"
	"strings"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/peer"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A tenant is a connection as its loop sees it.
type tenant PeerConnection

// HandleDatagram takes what came in on a socket of the connection.
func (t *tenant) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if f := t.network.cfg.Observer; f != nil {
		f(&Packet{time.Now(), false, d.Local, d.Remote, d.Payload})
	}
	for _, x := range t.transports {
		if g := x.ice.gatherer; g != nil && g.Handle(now, d) {
			return
		}
	}
	t.peer.HandleDatagram(now, d)
	if m := t.media.Load(); m != nil {
		(*PeerConnection)(t).received(m)
	}
}

// HandleClose learns that a stream has ended.
func (t *tenant) HandleClose(now mono.Time, s pkt.Socket) {
	for _, x := range t.transports {
		if g := x.ice.gatherer; g != nil && g.HandleClose(now, s) {
			return
		}
	}
	t.peer.RemoveSocket(now, s)
}

// HandleICMP learns that a server's port is closed.
func (t *tenant) HandleICMP(now mono.Time, m *pkt.ICMP) {
	for _, x := range t.transports {
		if g := x.ice.gatherer; g != nil {
			g.HandleICMP(now, m)
		}
	}
}

// HandleTimeout does what is due.
func (t *tenant) HandleTimeout(now mono.Time) {
	t.peer.HandleTimeout(now)
	for _, x := range t.transports {
		if g := x.ice.gatherer; g != nil && g.NextTimeout() <= now {
			g.HandleTimeout(now)
		}
	}
	if m := t.media.Load(); m != nil && len(m.playing) > 0 {
		m.playing = slices.DeleteFunc(m.playing, func(d *DTMFSender) bool { return !d.handleTimeout(now) })
	}
}

// NextTimeout returns when HandleTimeout is due.
func (t *tenant) NextTimeout() mono.Time {
	next := t.peer.NextTimeout()
	for _, x := range t.transports {
		if g := x.ice.gatherer; g != nil {
			next = mono.Min(next, g.NextTimeout())
		}
	}
	if m := t.media.Load(); m != nil {
		for _, d := range m.playing {
			next = mono.Min(next, d.nextTimeout())
		}
	}
	return next
}

// AppendTransmit does what the events ask for, and writes what there is to send.
func (t *tenant) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	pc, before := (*PeerConnection)(t), b.Len()
	pc.react(now)
	pc.consume(now)
	if !pc.out.empty() {
		pc.flush(now)
	}
	if pc.relays {
		more = pc.transmitRelayed(now, b)
	} else {
		more = pc.peer.AppendTransmit(now, b)
	}
	for _, x := range pc.transports { // after the peer, whose data may need a permission
		if g := x.ice.gatherer; g != nil {
			more = g.AppendTransmit(now, b) || more
		}
	}
	if p := pc.network.port; p != nil {
		p.note(pc, b.Transmits()[before:])
	}
	if f := pc.network.cfg.Observer; f != nil {
		observe(f, b.Transmits()[before:])
	}
	pc.react(now)
	pc.account()
	if pc.shut && !more {
		pc.end()
	}
	return more
}

// What one round of transmitRelayed takes from the peer, and the room that this needs with what relays put around it.
const (
	scratchBytes, scratchTransmits = 72 << 10, 16
	wrappedBytes, wrappedTransmits = 144 << 10, 48
)

// transmitRelayed has what the peer sends along relays wrapped.
func (pc *PeerConnection) transmitRelayed(now mono.Time, b *pkt.Batch) (more bool) {
	shared := &pc.network.shared
	if shared.scratch == nil {
		shared.scratch = pkt.NewBatch(scratchBytes, scratchTransmits)
	}
	for {
		if bytes, transmits := b.Room(); bytes < wrappedBytes || transmits < wrappedTransmits {
			return true
		}
		shared.scratch.Reset()
		more = pc.peer.AppendTransmit(now, shared.scratch)
		for _, t := range shared.scratch.Transmits() {
			if t.Socket >= 0 {
				b.Append(t)
			} else if g := pc.gathererOf(t.Socket); g != nil {
				g.Wrap(now, t, b)
			}
		}
		if !more {
			return false
		}
	}
}

// gathererOf returns whose relay a negative socket is.
func (pc *PeerConnection) gathererOf(s pkt.Socket) *gather.Gatherer {
	number := gather.NumberOf(s)
	for _, x := range pc.transports {
		if x.ice.gatherer != nil && x.ice.number == number {
			return x.ice.gatherer
		}
	}
	return nil
}

// react does what the events of the engines ask for.
func (pc *PeerConnection) react(now mono.Time) {
	for again := true; again; {
		again = false
		for e, ok := pc.peer.NextEvent(); ok; e, ok = pc.peer.NextEvent() {
			again = true
			pc.handle(now, &e)
		}
		for _, x := range pc.transports {
			for g := x.ice.gatherer; g != nil && !x.pooled(); {
				e, ok := g.NextEvent()
				if !ok {
					break
				}
				again = true
				pc.gatheredEvent(now, x, e)
			}
		}
	}
	for j, ok := pc.peer.NextJob(); ok; j, ok = pc.peer.NextJob() {
		if !pc.lease.Submit(func() func(now mono.Time) {
			j.Run()
			return func(now mono.Time) { pc.peer.JobDone(now, j) }
		}) {
			j.Run() // the pool is full: better late than never
			pc.peer.JobDone(now, j)
		}
	}
}

// handle does what an event of the peer asks for.
func (pc *PeerConnection) handle(now mono.Time, e *peer.Event) {
	switch e.Kind {
	case peer.OfICE:
		if x := pc.transport(e.Transport); x != nil {
			pc.handleICE(now, x, e.ICE)
		}
	case peer.OfDTLS:
		if x := pc.transport(e.Transport); x != nil {
			pc.handleDTLS(x, e.DTLS, e.Err)
		}
	case peer.OfSCTP:
		pc.handleSCTP(now, &e.SCTP)
	case peer.OfRTP:
		pc.handleRTP(&e.RTP)
	}
}

func (pc *PeerConnection) handleICE(now mono.Time, x *DTLSTransport, e ice.Event) {
	t := &x.ice
	switch e := e.(type) {
	case ice.StateChanged:
		t.update(func(s *iceState) { s.state = ICETransportState(e.State.String()) })
		emit(&pc.events, nil, &t.onStateChange, t.State(), nil)
		if e.State == ice.StateCompleted && t.gatherer != nil {
			t.gatherer.Conclude(now)
		}
		pc.aggregate()
	case ice.SelectedPairChanged:
		var pair *ICECandidatePair
		if e.Pair.ID != 0 {
			pair = &ICECandidatePair{t.candidate(&e.Pair.Local, true), t.candidate(&e.Pair.Remote, false)}
		}
		t.update(func(s *iceState) { s.selected = pair })
		emit(&pc.events, nil, &t.onSelectedCandidatePairChange, pair, nil)
	case ice.RoleChanged:
		t.update(func(s *iceState) { s.role = ICERole(e.Role.String()) })
	case ice.PathKnown:
		if p := pc.network.port; p != nil {
			p.know(now, pc, e.Path)
		}
		if t.gatherer != nil {
			t.gatherer.Keep(e.Path.Socket)
		}
	case ice.PathForgotten:
		if p := pc.network.port; p != nil {
			p.forgetPath(pc, e.Path)
		}
	case ice.Connect:
		if t.gatherer != nil {
			t.gatherer.Connect(now, e)
		}
	case ice.Searching:
		if t.gatherer != nil {
			t.gatherer.Verify(now)
		}
	case ice.Disconnect:
		pc.lease.Close(e.Socket)
		if t.gatherer != nil {
			t.gatherer.HandleClose(now, e.Socket)
		}
	}
}

func (pc *PeerConnection) handleDTLS(x *DTLSTransport, state peer.DTLSState, err error) {
	p := pc.peer.Transport(x.ice.id)
	x.update(func(s *dtlsState) {
		s.state = DTLSTransportState(state.String())
		if p != nil {
			stats := p.Stats()
			s.certificates, s.negotiated = stats.Certificates, stats.ConnectionState
		}
	})
	if state == peer.DTLSFailed {
		pc.session.DTLSFailed(x.ice.id)
	}
	if state == peer.DTLSFailed && err != nil {
		emit(&pc.events, nil, &x.onError, dtlsError(err), nil)
	}
	emit(&pc.events, nil, &x.onStateChange, x.State(), nil)
	pc.aggregate()
	if state == peer.DTLSClosed || state == peer.DTLSFailed {
		if s := pc.sctp.Load(); s != nil && s.Transport() == x {
			pc.associationClosed(err)
		}
	}
}

// gatheredEvent does what an event of gathering asks for.
func (pc *PeerConnection) gatheredEvent(now mono.Time, x *DTLSTransport, e gather.Event) {
	t := &x.ice
	switch e := e.(type) {
	case gather.Candidate:
		pc.localCandidate(now, t, &e)
	case gather.ServerError:
		w := &ICECandidateError{URL: pc.urlOf(e.URL), ErrorCode: e.Code, ErrorText: e.Text}
		if e.Code == gather.Unreachable && !strings.HasSuffix(w.ErrorText, "?") {
			w.ErrorText += "." // it is for people, and a sentence
		}
		if e.Local.IsValid() {
			w.Address, w.Port = e.Local.Addr().String(), e.Local.Port()
		}
		emit(&pc.events, nil, &pc.onICECandidateError, w, nil)
	case gather.Complete:
		pc.gatheringDone(now, x)
	case gather.SocketLost:
		pc.peer.RemoveSocket(now, e.Socket)
	case gather.AddressLost:
		pc.peer.RemoveAddress(now, e.IP)
	case gather.Connected:
		if a := pc.peer.Agent(t.id); a != nil {
			a.Connected(now, e.Number, e.Socket, e.Local)
		}
	case gather.ConnectFailed:
		if a := pc.peer.Agent(t.id); a != nil {
			a.ConnectFailed(now, e.Number)
		}
	case gather.Closed:
		t.gatherer = nil
	}
}

// aggregate derives the states of the connection from those of its transports, and tells what has changed.
func (pc *PeerConnection) aggregate() {
	if pc.shut {
		return
	}
	g, i, c := aggregate(pc.live())
	was := pc.states.Load()
	now := *was
	now.gathering, now.ice, now.connection = g, i, c
	pc.states.Store(&now)
	if i != was.ice {
		emit(&pc.events, nil, &pc.onICEConnectionStateChange, i, nil)
	}
	if c != was.connection {
		emit(&pc.events, nil, &pc.onConnectionStateChange, c, nil)
	}
	if g == was.gathering {
		return
	}
	emit(&pc.events, nil, &pc.onICEGatheringStateChange, g, nil)
	if g == ICEGatheringStateComplete {
		// "If newState is "complete", fire an event named icecandidate ... with the candidate attribute set to null"
		emit(&pc.events, nil, &pc.onICECandidate, nil, nil)
		pc.gatheredMu.Lock()
		defer pc.gatheredMu.Unlock()
		for _, done := range pc.gathered {
			close(done)
		}
		pc.gathered = nil
	}
}

// transport returns the transport with this id of jsep's; nil if there is none.
func (pc *PeerConnection) transport(id int) *DTLSTransport {
	for _, x := range pc.transports {
		if x.ice.id == id {
			return x
		}
	}
	return nil
}

// shutdown closes the connection.
func (pc *PeerConnection) shutdown(now mono.Time) {
	pc.events.close()
	pc.session.Close()
	pc.closedAt, pc.closedTime = now, time.Now()
	for _, x := range pc.transports {
		x.last = x.observe()
	}
	pc.peer.Close(now)
	for _, x := range pc.transports {
		x.ice.update(func(s *iceState) { s.state, s.selected = ICETransportStateClosed, nil })
		x.update(func(s *dtlsState) { s.state = DTLSTransportStateClosed })
	}
	if s := pc.sctp.Load(); s != nil {
		s.update(func(s *sctpState) { s.state = SCTPTransportStateClosed })
	}
	pc.closeMedia()
	s := *pc.states.Load()
	s.signaling, s.ice, s.connection = SignalingStateClosed, ICEConnectionStateClosed, PeerConnectionStateClosed
	pc.states.Store(&s)
	// close(), 7: "Set the [[ReadyState]] slot of each of connection's RTCDataChannels to "closed"", without events.
	for _, ch := range pc.channels {
		ch.isClosed(nil)
		if ch.wasOpen {
			pc.closedEver++
		}
	}
	pc.byStream, pc.sending, pc.ending = nil, nil, nil
	pc.shut = true
}

// end gives up what the connection has, once nobody has anything to say any more: first sockets and allocations, then the
// place on the loop. It does so in posts, because the batch is sent before them.
func (pc *PeerConnection) end() {
	gathers := slices.ContainsFunc(pc.transports, func(x *DTLSTransport) bool { return x.ice.gatherer != nil })
	switch {
	case pc.over || gathers && pc.released:
	case gathers:
		pc.released = true
		pc.lease.Post(func(now mono.Time) {
			for _, x := range pc.transports {
				x.closed = true // those of the pool too
				if x.ice.gatherer != nil {
					x.ice.gatherer.Close(now)
				}
			}
		})
	default:
		pc.over = true
		if p := pc.network.port; p != nil {
			p.forget(pc)
		}
		pc.loop.Post(func(mono.Time) {
			pc.lease.End()
			close(pc.ended)
		})
	}
}
