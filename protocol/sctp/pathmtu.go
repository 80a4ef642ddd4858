package sctp

import (
	"time"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Path MTU discovery (RFC 8899 with sections 5.2 and 6.2.3; probes are a HEARTBEAT with a PAD chunk of RFC 4820). Sizes are
// those of SCTP packets. Nothing is probed before a packet was full while more was waiting: who sends little has no use
// for larger packets.
//
//	DISABLED ---- a packet is full ----> BASE ---- answered ----> SEARCHING ---- MAX or three silences ----> SEARCH_COMPLETE
//	BASE <---- black hole ---- SEARCHING, SEARCH_COMPLETE
//	SEARCHING <---- 600 s, and a packet is full ---- SEARCH_COMPLETE
//	ERROR <---- black hole ---- any with packets of BASE; back to SEARCHING when BASE is answered
//
// Two things differ from figure 5. A peer that answers no probe, because it throws away packets with PAD, is not taken for a
// path that does not carry BASE: BASE is left for SEARCH_COMPLETE then, and only data that get lost lead to ERROR. And a path
// that carries nothing at all is no black hole: ERROR lowers the size when a probe of MIN is answered.
//
// A chunk has its size for good. When the path carries less than it did, what is outstanding and too large goes out alone, in
// a packet that may be fragmented (RFC 9260 section 6.9); whatever is larger than BASE otherwise may not be.
type pathMTU struct {
	state  mtuState
	size   int       // PLPMTU
	probed int       // PROBED_SIZE
	count  int       // PROBE_COUNT
	nonce  uint64    // of the probe that is not answered; 0: none
	due    bool      // it is to be sent
	raise  mono.Time // PMTU_RAISE_TIMER: no search before; nobody needs to wake up for it

	arrived mono.Time // when the newest packet above the floor was sent of those that have arrived
	proved  int       // its size
	struck  mono.Time // when the last strike was counted
	strikes int       // losses of packets above the floor, each sent after the last was found
	suspect int       // the size of the smallest of them; had one as large arrived since, they would not count
}

// mtuState is that of RFC 8899 section 5.2.
type mtuState uint8

const (
	mtuDisabled mtuState = iota
	mtuBase
	mtuSearching
	mtuComplete
	mtuError
)

// The constants of RFC 8899 section 5.1.
const (
	minPacket  = 508 // MIN_PLPMTU: IPv4's 576 without IP (20), UDP (8) and DTLS (40)
	maxProbes  = 3   // MAX_PROBES
	probeTimer = 16 * time.Second
	raiseTimer = 600 * time.Second
)

// floor returns the size to which the path's falls when packets that are larger get lost.
func (a *Association) floor() int {
	if a.mtu.size > a.cfg.BasePacket {
		return a.cfg.BasePacket
	}
	return min(minPacket, a.cfg.BasePacket)
}

// setSize changes the PLPMTU, and with it the congestion control's idea of a packet, but not its window (RFC 8899 section 3,
// item 7).
func (a *Association) setSize(size int) {
	a.mtu.size = size
	a.send.cc.packet = size - headerSize
	if len(a.control) > size-headerSize {
		a.control = a.control[:0] // the peer asks again
	}
	a.mtu.strikes = 0
}

// probe sends a probe. RFC 8899 section 5.1.1 wants at least a second for its timer, and more than 15.
func (a *Association) probe(now mono.Time, size int) {
	p := &a.mtu
	if p.probed = size; p.nonce == 0 {
		p.count = 0
	}
	p.nonce = uint64(a.random32())<<32 | uint64(a.random32()) | 1
	p.due = true
	a.timer[timerPMTU] = now.Add(probeTimer)
}

// packetFull: there was more to send than the packet took. It begins a search if the last was long ago.
func (a *Association) packetFull(now mono.Time) {
	p := &a.mtu
	if a.cfg.MaxPacket <= a.cfg.BasePacket || a.state != stateEstablished {
		return
	}
	switch p.state {
	case mtuDisabled:
		a.toBase(now)
	case mtuComplete:
		if now >= p.raise {
			p.state = mtuSearching
			a.search(now)
		}
	case mtuError:
		if now >= p.raise { // it may be that the peer answers no probes, so that data must tell
			a.setSize(a.cfg.BasePacket)
			a.toBase(now)
		}
	}
}

func (a *Association) toBase(now mono.Time) {
	a.mtu.state, a.mtu.nonce = mtuBase, 0
	a.probe(now, a.cfg.BasePacket)
}

// search sends the next probe: steps of a sixteenth reach Ethernet's size from BASE in four round trips, and are near enough
// to every other, since what a larger packet saves is its header.
func (a *Association) search(now mono.Time) {
	p := &a.mtu
	most := a.cfg.MaxPacket &^ 3
	if p.size >= most {
		a.searched(now)
		return
	}
	a.probe(now, min(p.size+p.size/16, most)&^3)
}

func (a *Association) searched(now mono.Time) {
	p := &a.mtu
	p.state, p.nonce, p.due = mtuComplete, 0, false
	p.raise = now.Add(raiseTimer)
	a.timer[timerPMTU] = mono.Never
}

// probeAnswered takes the answer to the last probe.
func (a *Association) probeAnswered(now mono.Time) {
	p := &a.mtu
	p.nonce, p.count = 0, 0
	a.timer[timerPMTU] = mono.Never
	switch {
	case p.state == mtuError && p.probed < a.cfg.BasePacket:
		a.stats.BlackHoles++
		a.setSize(p.probed)
		a.probe(now, a.cfg.BasePacket)
	default:
		a.setSize(p.probed)
		p.state = mtuSearching
		a.search(now)
	}
}

// probeUnanswered is PROBE_TIMER. The loss of a probe says nothing about congestion, nor that the peer is gone.
func (a *Association) probeUnanswered(now mono.Time) {
	p := &a.mtu
	if p.count++; p.count < maxProbes {
		a.probe(now, p.probed)
		return
	}
	if p.state == mtuError {
		p.nonce = 0
		return
	}
	a.searched(now)
}

// mark notes the size of the packet that was just written in its chunks, if the path may come to carry less.
func (a *Association) mark(size int) {
	s := &a.send
	if size <= a.floor() || size > a.mtu.size || a.cfg.MaxPacket <= a.cfg.BasePacket {
		size = 0
	}
	for tsn := s.latest; s.launched > 0; s.launched-- {
		c := s.at(tsn)
		c.packet = uint16(size)
		tsn = c.before
	}
}

// carried: a packet that was sent then, of so many bytes, has arrived.
func (a *Association) carried(now, sent mono.Time, size int) {
	p := &a.mtu
	if sent >= p.arrived {
		p.arrived, p.proved = sent, size
	}
	if size < p.suspect || p.strikes == 0 {
		return
	}
	p.strikes = 0
	if p.state == mtuError && p.size == a.cfg.BasePacket {
		a.toBase(now) // the path had carried nothing at all
	}
}

// notCarried: a packet that was sent then, of so many bytes, was lost. Three times in a row, with none so large arriving, and
// the path no longer carries such (RFC 8899 section 4.3, the third way).
func (a *Association) notCarried(now, sent mono.Time, size int) {
	p := &a.mtu
	if sent <= p.arrived && size <= p.proved || sent < p.struck {
		return
	}
	if p.struck = now; p.strikes == 0 || size < p.suspect {
		p.suspect = size
	}
	if p.strikes++; p.strikes < maxProbes {
		return
	}
	if p.size > a.cfg.BasePacket {
		a.stats.BlackHoles++
		a.setSize(a.cfg.BasePacket)
		a.toBase(now)
		return
	}
	p.state, p.nonce, p.raise = mtuError, 0, now.Add(raiseTimer)
	a.probe(now, min(minPacket, a.cfg.BasePacket))
}

// PathChanged says that packets take another way from now on, because the layers below have chosen one: the path MTU and the
// state of congestion control are those of a path that nothing is known of (RFC 8261 section 6.1).
func (a *Association) PathChanged(now mono.Time) {
	s := &a.send
	a.path.init()
	s.rack.least, s.pacer = 0, pacer{}
	a.timer[timerPace] = mono.Never
	searching := a.mtu.state != mtuDisabled
	a.mtu = pathMTU{}
	a.setSize(a.cfg.BasePacket)
	s.cc.init(s.cc.packet)
	a.timer[timerPMTU] = mono.Never
	if searching {
		a.toBase(now)
	}
}

// appendProbe writes the probe that is due after the header of a packet that begins at start; no window holds it back.
func (a *Association) appendProbe(b []byte, start int, now mono.Time) []byte {
	a.mtu.due = false
	b = appendHeartbeat(b, a.mtu.nonce, now)
	padding := start + a.mtu.probed - len(b)
	b = append(b, byte(typePad), 0)
	b = wire.AppendUint16(b, uint16(padding))
	return wire.AppendZeros(b, padding-4)
}
