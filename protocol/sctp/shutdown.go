package sctp

import (
	"fmt"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The end (RFC 9260 section 9). A shutdown delivers what either end has sent before; an abort does not.
//
//	A                                   Z
//	(all data acknowledged)
//	SHUTDOWN        ------------------>
//	                                    (all data acknowledged)
//	                <------------------ SHUTDOWN ACK
//	SHUTDOWN COMPLETE ---------------->

// Shutdown ends the association in good order: everything that was sent is delivered first, and then Closed comes. What
// is sent from now on is refused.
func (a *Association) Shutdown(now mono.Time) {
	switch a.state {
	case stateClosed, stateCookieWait, stateCookieEchoed:
		a.finish(nil) // there is nothing to deliver to anybody
	case stateEstablished:
		a.state = stateShutdownPending
		a.proceedShutdown(now)
	}
}

// Abort ends the association at once. The reason goes to the peer.
func (a *Association) Abort(reason string) {
	if a.state == stateDone {
		return
	}
	const longest = 256
	text := reason[:min(len(reason), longest)]
	a.abort(appendParam(nil, causeUserAbort, []byte(text)), &Error{Reason: "aborted: " + reason})
}

// abort tells the peer, if it is known, and ends.
func (a *Association) abort(causes []byte, err *Error) {
	if a.peerTag != 0 {
		a.replies = a.replies[:min(len(a.replies), maxReplies-1)] // there is always room for the last word
		a.reply(a.peerTag, appendChunk(nil, typeAbort, 0, causes))
	}
	a.finish(err)
}

// violate aborts because the peer did what no peer may do.
func (a *Association) violate(what string) {
	a.abort(appendParam(nil, causeViolation, []byte(what)), &Error{Remote: true, Reason: "the peer violated the protocol: " + what})
}

// finish ends the association without a word.
func (a *Association) finish(err *Error) {
	if a.state == stateDone {
		return
	}
	a.state = stateDone
	for i := range a.timer {
		a.timer[i] = mono.Never
	}
	a.due, a.control, a.cookie = 0, nil, nil
	a.send.drop()
	a.receive.drop()
	a.reset = resetter{}
	clear(a.channels)
	a.recent = nil
	a.orphans, a.orphaned, a.labels = nil, 0, 0
	a.pool.drop()
	e := Event{Kind: Closed}
	if err != nil {
		e.Err = err
	}
	a.tell(e)
}

// proceedShutdown goes on once nothing of ours is on its way any more.
func (a *Association) proceedShutdown(now mono.Time) {
	if !a.send.empty() {
		return
	}
	switch a.state {
	case stateShutdownPending:
		a.state = stateShutdownSent
		a.due |= dueShutdown
		a.timer[timerGuard] = now.Add(shutdownGuard)
	case stateShutdownReceived:
		a.state = stateShutdownAckSent
		a.due |= dueShutdownAck
	default:
		return
	}
	a.stopTries = 0
	a.timer[timerHeartbeat] = mono.Never
	a.heartbeat = 0
	a.timer[timerShutdown] = now.Add(a.path.rto)
}

func (a *Association) shutdownTimeout(now mono.Time) {
	if a.stopTries++; a.stopTries > maxRetransmits {
		a.finish(&Error{Reason: "the peer did not answer the shutdown"})
		return
	}
	a.path.backOff()
	a.timer[timerShutdown] = now.Add(a.path.rto)
	if a.state == stateShutdownSent {
		a.due |= dueShutdown
	} else {
		a.due |= dueShutdownAck
	}
}

func (a *Association) appendShutdown(b []byte) []byte {
	return appendChunk(b, typeShutdown, 0, wire.AppendUint32(nil, uint32(a.receive.cumulative)))
}

func (a *Association) handleShutdown(now mono.Time, c chunk) {
	r := wire.NewReader(c.value)
	cumulative := r.Uint32()
	if !r.OK() {
		a.stats.DroppedMalformed++
		return
	}
	a.acknowledgeUpTo(now, cumulative)
	switch a.state {
	case stateEstablished, stateShutdownPending:
		a.state = stateShutdownReceived
		a.proceedShutdown(now)
	case stateShutdownSent: // both at once
		a.state = stateShutdownAckSent
		a.due = a.due&^dueShutdown | dueShutdownAck
		a.stopTries = 0
		a.timer[timerShutdown] = now.Add(a.path.rto)
	}
}

func (a *Association) handleShutdownAck() {
	if a.state != stateShutdownSent && a.state != stateShutdownAckSent {
		return
	}
	a.replies = a.replies[:min(len(a.replies), maxReplies-1)]
	a.reply(a.peerTag, appendChunk(nil, typeShutdownComplete, 0, nil))
	a.graceful = true
	a.finish(nil)
}

func (a *Association) handleAbort(c chunk) {
	if a.state == stateCookieWait && len(c.value) == 0 {
		// A peer that has no association yet answers our INIT so, as any other packet out of the blue (section 8.4). It may
		// have one when T1 sends the next; section 9.1 would have us give up, but browsers do not.
		return
	}
	reason, cause := "the peer aborted", uint16(0)
	r := wire.NewReader(c.value)
	for {
		p, ok := nextParam(&r)
		if !ok {
			break
		}
		cause = uint16(p.kind)
		switch causeCode(p.kind) {
		case causeUserAbort:
			reason = fmt.Sprintf("the peer aborted: %q", p.value[:min(len(p.value), 256)])
		case causeViolation:
			reason = fmt.Sprintf("the peer says that we violated the protocol: %q", p.value[:min(len(p.value), 256)])
		default:
			reason = fmt.Sprintf("the peer aborted with cause %d", p.kind)
		}
	}
	a.finish(&Error{Remote: true, Cause: cause, Reason: reason})
}

// handleError takes note of what concerns the handshake; all else is for information.
func (a *Association) handleError(now mono.Time, c chunk) {
	r := wire.NewReader(c.value)
	for {
		p, ok := nextParam(&r)
		if !ok {
			return
		}
		// Section 5.2.6, alternative 1: try again from the beginning.
		if causeCode(p.kind) == causeStaleCookie && a.state == stateCookieEchoed {
			a.state = stateCookieWait
			a.due &^= dueCookieEcho
			a.cookie = nil
			if a.initTries++; a.initTries > maxInitRetransmits {
				a.finish(&Error{Reason: "the peer finds every cookie stale"})
				return
			}
			a.sendInit(now)
		}
	}
}
