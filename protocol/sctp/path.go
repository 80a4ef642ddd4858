package sctp

import (
	"time"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// path is the round trip and its timeout (RFC 9260 section 6.3.1).
type path struct {
	srtt, rttvar time.Duration
	rto          time.Duration
}

func (p *path) init() { *p = path{rto: initialRTO} }

const granularity = time.Millisecond // of the clock (section 6.3.1, rule G1)

func (p *path) measured(rtt time.Duration) {
	if p.srtt == 0 {
		p.srtt, p.rttvar = rtt, rtt/2
	} else {
		p.rttvar += ((p.srtt - rtt).Abs() - p.rttvar) / 4
		p.srtt += (rtt - p.srtt) / 8
	}
	p.answered()
}

// answered takes back that the timeout was doubled, because the peer was heard.
func (p *path) answered() {
	if p.srtt > 0 {
		p.rto = min(max(p.srtt+max(4*p.rttvar, granularity), minRTO), maxRTO)
	}
}

// SetRTT tells a round-trip time that is known before the first packet along a path, as from connectivity checks: what is
// lost at the beginning is then found out earlier than by the second that RFC 9260 begins with. It has no effect once a
// packet was measured, nor during the handshake.
func (a *Association) SetRTT(d time.Duration) {
	if (a.state == stateClosed || a.state == stateEstablished && a.path.srtt == 0) && d > 0 {
		a.path.init()
		a.path.measured(d)
	}
}

func (p *path) backOff() { p.rto = min(2*p.rto, maxRTO) }

// alive: the peer has acknowledged something.
func (a *Association) alive() { a.errors = 0 }

// struck counts a silence, and ends the association when there were too many in a row (section 8.1).
func (a *Association) struck() (ended bool) {
	if a.errors++; a.errors > maxRetransmits {
		a.abort(appendParam(nil, causeUserAbort, []byte("unreachable")), &Error{Reason: "the peer cannot be reached any more"})
		return true
	}
	return false
}

// Heartbeats (section 8.3) go out when no data did for a while: with one path only, they find out that it is dead.

const heartbeatSize = 4 + 4 + 16

// heartbeatTimeout is both the time to send one and the time by which the last must have been answered.
func (a *Association) heartbeatTimeout(now mono.Time) {
	if a.heartbeat != 0 {
		a.heartbeat = 0
		if a.struck() {
			return
		}
		a.path.backOff()
		a.timer[timerHeartbeat] = now.Add(heartbeatInterval)
		return
	}
	if idle := a.lastSent.Add(heartbeatInterval); idle > now && a.lastSent != 0 {
		a.timer[timerHeartbeat] = idle
		return
	}
	if a.send.empty() && a.receive.held == 0 {
		a.trim()
	}
	a.sendHeartbeat(now)
}

func (a *Association) sendHeartbeat(now mono.Time) {
	a.heartbeat = uint64(a.random32())<<32 | uint64(a.random32()) | 1
	a.due |= dueHeartbeat
	a.timer[timerHeartbeat] = now.Add(a.path.rto)
}

// trim frees the memory that is kept to be used again, when nothing has happened for a while.
func (a *Association) trim() {
	a.pool.drop()
	a.control = nil
	s, rx := &a.send, &a.receive
	s.chunks, s.head = nil, 0
	s.ready, s.free, s.freed = nil, nil, 0
	rx.assembler, rx.duplicates = assembler{}, nil
	if len(rx.gaps) == 0 {
		rx.gaps = nil
	}
	if a.events.head == len(a.events.events) {
		a.events = eventQueue{}
	}
	if len(a.reset.waiting) == 0 {
		a.reset.waiting = nil
	}
}

// appendHeartbeat puts the time into it, so that the answer says how long it took.
func appendHeartbeat(b []byte, nonce uint64, now mono.Time) []byte {
	info := wire.AppendUint64(make([]byte, 0, 16), nonce)
	info = wire.AppendUint64(info, uint64(now))
	return appendChunk(b, typeHeartbeat, 0, appendParam(make([]byte, 0, 20), paramHeartbeatInfo, info))
}

func (a *Association) handleHeartbeatAck(now mono.Time, c chunk) {
	r := wire.NewReader(c.value)
	p, ok := nextParam(&r)
	if !ok || p.kind != paramHeartbeatInfo {
		a.stats.DroppedMalformed++
		return
	}
	r = wire.NewReader(p.value)
	nonce, sent := r.Uint64(), mono.Time(r.Uint64())
	if !r.Done() || nonce == 0 || sent > now || nonce != a.heartbeat && nonce != a.mtu.nonce {
		return
	}
	a.path.measured(now.Sub(sent))
	a.alive()
	if nonce == a.mtu.nonce {
		a.probeAnswered(now)
		return
	}
	a.heartbeat = 0
	a.timer[timerHeartbeat] = now.Add(heartbeatInterval + a.path.rto)
}
