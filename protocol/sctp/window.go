package sctp

import (
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// The receive window grows with what the program takes. Two things bound it. What was delivered and is not consumed must fit
// into the window, which begins small: that is all that a program which does not read has to hold. And everything that is held,
// parts of messages and what waits for others included, must fit into Config.ReceiveBuffer; no program can take such parts yet,
// so they do not count against the window itself.

// tuning finds out how large the window must be. A round is a round trip; what comes in one of them, and does not stay unread,
// is how much a sender has under way that fills the path. A sender in slow start has twice as much under way in the next round,
// whose data find the window of this one, and of this round only a part has come when they leave: four times is enough.
type tuning struct {
	grown  int       // by how much the window is larger than at first
	began  mono.Time // the round
	bytes  uint64    // that had come until then
	unread int       // what was unread then
	asked  mono.Time // when the round trip was last asked for
}

// initialWindow is less than the least Config.ReceiveBuffer.
const initialWindow = 1 << 20

// space returns the size of the window when nothing is unread.
func (a *Association) space() int {
	return min(initialWindow+a.receive.tuning.grown, a.cfg.ReceiveBuffer)
}

// window returns what the peer may still send, in bytes.
func (a *Association) window() int {
	rx := &a.receive
	return max(0, min(a.space()-rx.unread, a.cfg.ReceiveBuffer-rx.held))
}

// tuneWindow takes note that data have come.
func (a *Association) tuneWindow(now mono.Time) {
	rx := &a.receive
	t := &rx.tuning
	if a.space() == a.cfg.ReceiveBuffer {
		return
	}
	taken := int(a.stats.BytesReceived-t.bytes) - max(0, rx.unread-t.unread)
	rtt := a.path.srtt
	if taken > a.space()/16 { // who only receives has nothing else to measure it with
		a.askRoundTrip(now)
	}
	if rtt > 0 && now.Sub(t.began) > rtt {
		t.began, t.bytes, t.unread = now, a.stats.BytesReceived, rx.unread
		return
	}
	if rtt > 0 {
		t.grown = max(t.grown, 4*taken-initialWindow)
	}
}

// askRoundTrip sends a HEARTBEAT, at most once a second, if no data of ours are under way that measure the round trip.
func (a *Association) askRoundTrip(now mono.Time) {
	t := &a.receive.tuning
	if a.send.timed != 0 || a.heartbeat != 0 || a.state != stateEstablished || t.asked != 0 && now.Sub(t.asked) < time.Second {
		return
	}
	t.asked = now
	a.sendHeartbeat(now)
}

// Consume says that a message of n bytes needs no room any more, because a program has read it; it is called once for
// each Message. The window that the peer is given opens with it, and grows when the program keeps up with the peer: who never
// calls it receives about 1 MiB.
func (a *Association) Consume(n int) {
	rx := &a.receive
	rx.held = max(0, rx.held-cost(n))
	rx.unread = max(0, rx.unread-cost(n))
	if rx.shut && a.state >= stateEstablished && a.state != stateDone && (a.window() >= a.space()/2 || rx.unread == 0) {
		rx.shut = false
		a.sackPending = true
		a.due |= dueSack
	}
}
