package sctp

import (
	"slices"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Resetting streams (RFC 6525), by which channels are closed (RFC 8831 section 6.7):
//
//	A                                                    Z
//	(what was sent on the stream is acknowledged)
//	Outgoing SSN Reset Request  ------------------>
//	                            <------------------  Response: performed
//	                                                    (its own side is drained)
//	                            <------------------  Outgoing SSN Reset Request
//	Response: performed         ------------------>
//
// After that both ends use the stream's id again. If an end has a channel for which there are too few streams, it asks for
// more, in both directions, before it uses it.

// resetter is both sides of it: our requests, of which one is under way at a time, and those of the peer.
type resetter struct {
	waiting []*channel // are to be reset once they are drained
	lacking []*channel // are to be used once there are so many streams
	next    uint32     // the sequence number of our next request
	asked   request    // what is not answered yet
	streams []StreamID // of a reset
	added   uint16     // streams, of a request for more
	promise int        // how many streams the peer will have after what it has granted
	last    uint32     // our last TSN, when the reset was requested
	patient bool       // the peer has said that it is at it: silence does not count (section 5.2.7, H2)

	expected uint32    // the sequence number of the peer's next request
	answered [2]result // what the one before was answered, and the one before that
	deferred []byte    // a request that waits for data: its streams
	sequence uint32    // its number
	until    int64     // it waits until this TSN has come
}

// request is what one end asks the other for.
type request uint8

const (
	nothing request = iota
	resetOutgoing
	addOutgoing
	addIncoming
)

// result is how a request was answered (section 4.4).
type result uint32

const (
	nothingToDo result = iota
	performed
	denied
	wrongSSN
	alreadyInProgress
	badSequence
	inProgress
)

const resetFixed = 4 + 16 // of a RE-CONFIG with one outgoing request, without its streams

// afterAck looks whether channels that are closing have nothing under way any more.
func (a *Association) afterAck(now mono.Time) {
	if len(a.reset.waiting) > 0 {
		a.request(now)
	}
}

// request makes the next request, unless one is under way: there is only one at a time (section 5.1.1). Streams are added
// first; then all channels that are drained are reset.
func (a *Association) request(now mono.Time) {
	r := &a.reset
	if r.asked != nothing || a.state != stateEstablished {
		return
	}
	highest := -1
	for _, ch := range r.lacking {
		highest = max(highest, int(ch.id))
	}
	switch {
	case highest >= a.outStreams:
		r.asked, r.added = addOutgoing, uint16(highest+1-a.outStreams)
	case highest >= max(a.inStreams, r.promise):
		r.asked, r.added = addIncoming, uint16(highest+1-a.inStreams)
	default:
		most := (min(minPacket, a.cfg.BasePacket) - headerSize - resetFixed) / 2 // whatever the path carries
		for i := 0; i < len(r.waiting) && len(r.streams) < most; {
			ch := r.waiting[i]
			if ch.unacked > 0 {
				i++
				continue
			}
			r.streams = append(r.streams, ch.id)
			r.waiting = slices.Delete(r.waiting, i, i+1)
		}
		if len(r.streams) == 0 {
			return
		}
		r.asked = resetOutgoing
		if a.ext&extReconfig == 0 { // the peer cannot: there is nothing to wait for
			a.settled(now, performed)
			return
		}
		r.last = uint32(a.send.next - 1)
	}
	r.patient = false
	a.due |= dueReset
	a.timer[timerReset] = now.Add(a.path.rto)
}

// refuse resets a stream for which there is no room for a channel.
func (a *Association) refuse(now mono.Time, id StreamID) {
	a.stats.DroppedUnknownChannel++
	const most = 64
	if len(a.reset.waiting) < a.cfg.MaxChannels+most {
		a.reset.waiting = append(a.reset.waiting, &channel{id: id})
		a.request(now)
	}
}

// appendReset appends the request that is under way.
func (a *Association) appendReset(b []byte, limit int, now mono.Time) []byte {
	r := &a.reset
	size := 4 + 12
	if r.asked == resetOutgoing {
		size = resetFixed + 2*len(r.streams)
	}
	if len(b)+size+wire.Pad4(size) > limit {
		return b
	}
	a.due &^= dueReset
	if r.asked == nothing {
		return b
	}
	a.timer[timerReset] = now.Add(a.path.rto)
	kind := [...]paramType{
		resetOutgoing: paramOutgoingReset, addOutgoing: paramAddOutgoing, addIncoming: paramAddIncoming,
	}[r.asked]
	b = append(b, byte(typeReconfig), 0)
	b = wire.AppendUint16(b, uint16(size))
	b = wire.AppendUint16(b, uint16(kind))
	b = wire.AppendUint16(b, uint16(size-4))
	b = wire.AppendUint32(b, r.next)
	if r.asked != resetOutgoing {
		b = wire.AppendUint16(b, r.added)
		return wire.AppendUint16(b, 0)
	}
	b = wire.AppendUint32(b, r.expected-1)
	b = wire.AppendUint32(b, r.last)
	for _, id := range r.streams {
		b = wire.AppendUint16(b, uint16(id))
	}
	return wire.AppendZeros(b, wire.Pad4(size))
}

func (a *Association) resetTimeout(now mono.Time) {
	r := &a.reset
	if r.asked == nothing {
		return
	}
	if !r.patient && a.struck() {
		return
	}
	a.path.backOff()
	a.due |= dueReset
	a.timer[timerReset] = now.Add(a.path.rto)
}

// settled: the request under way has come to an end.
func (a *Association) settled(now mono.Time, how result) {
	r := &a.reset
	what, ids := r.asked, r.streams
	r.asked, r.streams = nothing, nil
	r.next++
	a.timer[timerReset] = mono.Never
	a.due &^= dueReset
	granted := how == performed || how == nothingToDo
	switch what {
	case resetOutgoing:
		// Whatever the answer was, it would be the same the next time: our side is done.
		for _, id := range ids {
			ch := a.channels[id]
			if ch == nil {
				continue
			}
			ch.outgoingDone = true
			ch.numbers = [2]uint32{} // RFC 8260 section 2.3.2
			if ch.incomingDone || a.ext&extReconfig == 0 {
				a.removeChannel(ch, ch.err)
			}
		}
	case addOutgoing:
		if granted {
			a.outStreams = min(maxStreams, a.outStreams+int(r.added))
		}
		a.streamsAdded(granted)
	case addIncoming:
		if granted { // the peer's own request follows (section 5.2.6)
			r.promise = a.inStreams + int(r.added)
		} else {
			a.streamsAdded(false)
		}
	}
	a.request(now)
}

// lacks reports whether there are too few streams for ch, and has more asked for if the peer knows how.
func (a *Association) lacks(ch *channel) bool { return int(ch.id) >= min(a.outStreams, a.inStreams) }

// streamsAdded opens the channels that have waited for it, or, if the peer did not want to, ends their waiting.
func (a *Association) streamsAdded(granted bool) {
	r := &a.reset
	was := r.lacking
	r.lacking = nil
	for _, ch := range was {
		switch {
		case a.channels[ch.id] != ch: // it was closed
		case !a.lacks(ch):
			ch.held = false
			if ch.first != nil {
				a.send.enter(ch)
			}
			told := !ch.waiting
			ch.waiting = false
			if !told && !ch.closing {
				a.tell(Event{Kind: ChannelOpen, Stream: ch.id, Channel: *ch.cfg})
			}
		case granted:
			r.lacking = append(r.lacking, ch)
		default:
			a.removeChannel(ch, a.tooFewStreams())
		}
	}
}

// handleReconfig takes requests and responses (section 5.2). All answers go into one chunk.
func (a *Association) handleReconfig(now mono.Time, c chunk) {
	in := wire.NewReader(c.value)
	var out []byte
	for range 2 { // section 3.1: one or two
		p, ok := nextParam(&in)
		if !ok {
			break
		}
		body := wire.NewReader(p.value)
		sequence := body.Uint32()
		if p.kind == paramResetResponse {
			if how := result(body.Uint32()); body.OK() {
				a.handleResetResponse(now, sequence, how)
				continue
			}
		}
		if !body.OK() || p.kind < paramOutgoingReset || p.kind > paramAddIncoming {
			a.stats.DroppedMalformed++
			break
		}
		r := &a.reset
		how := badSequence
		switch sequence {
		case r.expected:
			if how, ok = a.handleRequest(now, p.kind, sequence, body); !ok {
				a.stats.DroppedMalformed++
				return
			}
		case r.expected - 1: // again: it gets the same answer
			how = r.answered[0]
		case r.expected - 2:
			how = r.answered[1]
		}
		answer := wire.AppendUint32(wire.AppendUint32(nil, sequence), uint32(how))
		if p.kind == paramTSNReset { // section 5.1.7, D3 and D4
			answer = wire.AppendUint32(answer, uint32(a.send.next))
			answer = wire.AppendUint32(answer, uint32(a.receive.cumulative+1)+1<<31)
		}
		out = appendParam(out, paramResetResponse, answer)
		if a.state == stateDone {
			return
		}
	}
	if out != nil {
		a.sackPending = true
		a.due |= dueSack
		a.answer(appendChunk(nil, typeReconfig, 0, out))
	}
}

// handleRequest takes a request of the peer that has not come before, and returns the answer; false if it makes no sense.
func (a *Association) handleRequest(now mono.Time, kind paramType, sequence uint32, body wire.Reader) (how result, ok bool) {
	r := &a.reset
	var last uint32
	var more int
	switch kind {
	case paramOutgoingReset:
		body.Skip(4) // which of our requests it answers: we make none that it could answer
		last = body.Uint32()
	case paramAddOutgoing, paramAddIncoming:
		more = int(body.Uint16())
	}
	until := near(a.receive.cumulative, last)
	if !body.OK() || body.Len()%2 != 0 || kind == paramOutgoingReset && until > a.receive.cumulative+maxAhead {
		return 0, false
	}
	r.expected++
	r.answered[1] = r.answered[0]
	how = denied // of SSN/TSN Reset: data channels have no use for it
	switch kind {
	case paramOutgoingReset:
		if how = alreadyInProgress; r.deferred == nil {
			r.deferred = append([]byte{}, body.Rest()...)
			r.sequence, r.until = sequence, until
			r.answered[0] = inProgress
			a.pendingResetMayGoOn(now)
			return r.answered[0], true
		}
	case paramIncomingReset:
		how = a.resetAsked(now, body)
	case paramAddOutgoing: // section 5.2.5
		if a.inStreams+more <= maxStreams {
			how = performed
			if r.asked == addIncoming { // this is as good as an answer
				a.settled(now, performed)
			}
			a.inStreams += more
			a.streamsAdded(true)
			a.request(now)
		}
	case paramAddIncoming: // section 5.2.6
		if a.outStreams+more <= maxStreams && len(r.lacking) == 0 {
			how = performed
			if more > 0 {
				r.lacking = append(r.lacking, &channel{id: StreamID(a.outStreams + more - 1)})
				a.request(now)
			}
		}
	}
	r.answered[0] = how
	return how, true
}

// resetAsked: the peer wants our streams to be reset, all of them if it names none (section 5.2.3). Their channels are
// closed, and the request that answers it follows once they are drained.
func (a *Association) resetAsked(now mono.Time, streams wire.Reader) result {
	var ids []StreamID
	if streams.Len() == 0 {
		ids = a.channelIDs(func(ch *channel) bool { return ch.claimed && !ch.outgoingDone })
	}
	for streams.Len() > 0 {
		id := StreamID(streams.Uint16())
		if int(id) >= a.outStreams {
			return wrongSSN
		}
		ids = append(ids, id)
	}
	how := nothingToDo
	for _, id := range ids {
		ch := a.channels[id]
		if ch == nil || !ch.claimed || ch.outgoingDone || slices.Contains(a.reset.streams, id) {
			continue
		}
		how = performed
		if !ch.closing {
			a.tell(Event{Kind: ChannelClosing, Stream: id})
			a.beginClosing(now, ch)
		}
	}
	return how
}

// pendingResetMayGoOn performs the peer's reset once everything before it has come.
func (a *Association) pendingResetMayGoOn(now mono.Time) {
	r := &a.reset
	if r.deferred == nil || a.receive.cumulative < r.until || a.state == stateDone {
		return
	}
	ids := wire.NewReader(r.deferred)
	r.deferred = nil
	if back := r.expected - 1 - r.sequence; back < 2 {
		r.answered[back] = performed
	}
	if ids.Len() == 0 { // all of them
		for _, id := range a.channelIDs(func(ch *channel) bool { return !ch.incomingDone }) {
			a.incomingReset(now, a.channels[id])
		}
	}
	for ids.Len() > 0 {
		if ch := a.channels[StreamID(ids.Uint16())]; ch != nil {
			a.incomingReset(now, ch)
		}
	}
}

// incomingReset: the peer sends no more on ch.
func (a *Association) incomingReset(now mono.Time, ch *channel) {
	if ch.incomingDone {
		return
	}
	ch.expected, ch.floor = 0, 0
	a.forgetIncoming(ch)
	ch.incomingDone = true
	switch {
	case ch.outgoingDone:
		a.removeChannel(ch, ch.err)
	case !ch.claimed && !ch.closing:
		a.removeChannel(ch, nil)
	case !ch.closing:
		a.tell(Event{Kind: ChannelClosing, Stream: ch.id})
		a.beginClosing(now, ch)
	}
}

// usedAgain looks whether data come on a stream that the peer has reset. It has performed our request too then, since it uses no id
// again before (RFC 8831 section 6.7), and its answer is lost or late: the data are of another channel.
func (a *Association) usedAgain(now mono.Time, id StreamID) {
	if ch := a.channels[id]; ch != nil && ch.incomingDone && slices.Contains(a.reset.streams, id) {
		a.settled(now, performed)
	}
}

// handleResetResponse takes the answer to our request (section 5.2.7).
func (a *Association) handleResetResponse(now mono.Time, sequence uint32, how result) {
	r := &a.reset
	if r.asked == nothing || sequence != r.next {
		return
	}
	a.alive()
	if how == inProgress {
		r.patient = true
		a.timer[timerReset] = now.Add(a.path.rto) // asked again then
		return
	}
	a.settled(now, how)
}
