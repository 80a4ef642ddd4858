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
// After that both ends use the stream's id again.

// resetter is both sides of it.
type resetter struct {
	waiting []*channel // are to be reset once they are drained
	next    uint32     // the sequence number of our next request
	current []StreamID // of the request that was not answered yet; nil if there is none
	last    uint32     // our last TSN, when the request was made
	tries   int

	expected uint32 // the sequence number of the peer's next request
	answered result // what the one before was answered
	deferred []byte // a request that waits for data: its streams
	until    int64  // until this TSN has come
}

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
		a.resetDrained(now)
	}
}

// resetDrained requests the reset of all channels that are drained, unless a request is under way: there is only one at
// a time (section 5.1.1).
func (a *Association) resetDrained(now mono.Time) {
	r := &a.reset
	if r.current != nil || a.state != stateEstablished {
		return
	}
	most := (a.cfg.MaxPacket - headerSize - resetFixed) / 2
	for i := 0; i < len(r.waiting) && len(r.current) < most; {
		ch := r.waiting[i]
		if ch.unacked > 0 {
			i++
			continue
		}
		r.current = append(r.current, ch.id)
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	if r.current == nil {
		return
	}
	if a.ext&extReconfig == 0 { // the peer cannot: there is nothing to wait for
		a.resetDone(now)
		return
	}
	r.last = uint32(a.send.next - 1)
	r.tries = 0
	a.due |= dueReset
	a.timer[timerReset] = now.Add(a.path.rto)
}

// refuse resets a stream for which there is no room for a channel.
func (a *Association) refuse(now mono.Time, id StreamID) {
	a.stats.DroppedUnknownChannel++
	const most = 64
	if len(a.reset.waiting) < a.cfg.MaxChannels+most {
		a.reset.waiting = append(a.reset.waiting, &channel{id: id})
		a.resetDrained(now)
	}
}

// appendReset appends the request that is under way.
func (a *Association) appendReset(b []byte, limit int, now mono.Time) []byte {
	r := &a.reset
	size := resetFixed + 2*len(r.current)
	if len(b)+size+wire.Pad4(size) > limit {
		return b
	}
	a.due &^= dueReset
	if r.current == nil {
		return b
	}
	a.timer[timerReset] = now.Add(a.path.rto)
	b = append(b, byte(typeReconfig), 0)
	b = wire.AppendUint16(b, uint16(size))
	b = wire.AppendUint16(b, uint16(paramOutgoingReset))
	b = wire.AppendUint16(b, uint16(size-4))
	b = wire.AppendUint32(b, r.next)
	b = wire.AppendUint32(b, r.expected-1)
	b = wire.AppendUint32(b, r.last)
	for _, id := range r.current {
		b = wire.AppendUint16(b, uint16(id))
	}
	return wire.AppendZeros(b, wire.Pad4(size))
}

func (a *Association) resetTimeout(now mono.Time) {
	r := &a.reset
	if r.current == nil {
		return
	}
	r.tries++
	if a.struck() {
		return
	}
	a.path.backOff()
	a.due |= dueReset
	a.timer[timerReset] = now.Add(a.path.rto)
}

// resetDone: the streams of the request are reset on our side.
func (a *Association) resetDone(now mono.Time) {
	r := &a.reset
	ids := r.current
	r.current = nil
	r.next++
	a.timer[timerReset] = mono.Never
	a.due &^= dueReset
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
	a.resetDrained(now)
}

// handleReconfig takes requests and responses (section 5.2).
func (a *Association) handleReconfig(now mono.Time, c chunk) {
	in := wire.NewReader(c.value)
	for range 2 { // section 3.1: one or two
		p, ok := nextParam(&in)
		if !ok {
			break
		}
		body := wire.NewReader(p.value)
		switch p.kind {
		case paramOutgoingReset:
			sequence := body.Uint32()
			body.Skip(4) // which of our requests it answers: the response says so too
			last := body.Uint32()
			if !body.OK() || body.Len()%2 != 0 {
				a.stats.DroppedMalformed++
				return
			}
			a.handleResetRequest(now, sequence, last, body)
		case paramResetResponse:
			sequence, how := body.Uint32(), result(body.Uint32())
			if !body.OK() {
				a.stats.DroppedMalformed++
				return
			}
			a.handleResetResponse(now, sequence, how)
		case paramIncomingReset, paramTSNReset, paramAddOutgoing, paramAddIncoming:
			// Not needed by data channels: both ends have all streams from the beginning, and each closes its own.
			sequence := body.Uint32()
			if !body.OK() {
				a.stats.DroppedMalformed++
				return
			}
			if sequence == a.reset.expected {
				a.reset.expected++
				a.reset.answered = denied
			}
			a.respond(sequence)
		default:
			a.stats.DroppedMalformed++
		}
	}
}

// handleResetRequest resets the peer's outgoing streams, as soon as all has come that it sent on them.
func (a *Association) handleResetRequest(now mono.Time, sequence, last uint32, streams wire.Reader) {
	r := &a.reset
	if sequence == r.expected {
		until := near(a.receive.cumulative, last)
		if until > a.receive.cumulative+maxAhead {
			a.stats.DroppedMalformed++
			return
		}
		r.deferred = append(r.deferred[:0], streams.Rest()...)
		if r.deferred == nil {
			r.deferred = []byte{}
		}
		r.until = until
		r.answered = inProgress
		a.pendingResetMayGoOn(now)
	}
	a.respond(sequence)
}

// respond answers a request with what became of it (section 5.2.1).
func (a *Association) respond(sequence uint32) {
	r := &a.reset
	how := r.answered
	if sequence != r.expected-1 && !(sequence == r.expected && r.deferred != nil) {
		how = badSequence
	}
	b := wire.AppendUint32(nil, sequence)
	b = wire.AppendUint32(b, uint32(how))
	a.answer(appendChunk(nil, typeReconfig, 0, appendParam(nil, paramResetResponse, b)))
}

// pendingResetMayGoOn performs the peer's request once everything before it has come.
func (a *Association) pendingResetMayGoOn(now mono.Time) {
	r := &a.reset
	if r.deferred == nil || a.receive.cumulative < r.until || a.state == stateDone {
		return
	}
	ids := wire.NewReader(r.deferred)
	r.deferred = nil
	r.expected++
	r.answered = performed
	if ids.Len() == 0 { // all of them
		for _, id := range a.channelIDs() {
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

// handleResetResponse takes the answer to our request (section 5.2.7).
func (a *Association) handleResetResponse(now mono.Time, sequence uint32, how result) {
	r := &a.reset
	if r.current == nil || sequence != r.next {
		return
	}
	a.alive()
	if how == inProgress {
		a.timer[timerReset] = now.Add(a.path.rto) // asked again then
		return
	}
	// Whatever else it says, it will say the same the next time: our side is done.
	a.resetDone(now)
}
