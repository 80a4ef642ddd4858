package sctp

import (
	"crypto/hmac"
	"crypto/sha256"
	"time"

	"github.com/parley-rtc/parley/internal/wire"
	"github.com/parley-rtc/parley/protocol/mono"
)

// The handshake (RFC 9260 section 5). Both ends may begin; a WebRTC peer always does.
//
//	A                                   Z
//	INIT            ------------------>     Z keeps nothing: all is in the cookie
//	                <------------------ INIT ACK with cookie
//	COOKIE ECHO     ------------------>     established
//	                <------------------ COOKIE ACK
//	established

// Connect begins the handshake. It does nothing if it has begun.
func (a *Association) Connect(now mono.Time) {
	if a.state != stateClosed {
		return
	}
	if a.described() {
		a.establishDescribed(now)
		return
	}
	a.state = stateCookieWait
	a.sendInit(now)
}

func (a *Association) sendInit(now mono.Time) {
	a.due |= dueInit
	a.timer[timerInit] = now.Add(a.path.rto)
}

// offer is what this end says in INIT and INIT ACK.
func (a *Association) offer() *initChunk {
	c := &initChunk{
		tag: a.myTag, tsn: a.myTSN,
		window:   initialWindow,
		outgoing: maxStreams, incoming: maxStreams,
	}
	if a.cfg.ZeroChecksum {
		c.ext |= extZeroChecksum
	}
	if !a.cfg.NoInterleaving {
		c.ext |= extIData | extIForwardTSN
	}
	return c
}

// initTimeout is T1: INIT or COOKIE ECHO again, until it has been enough.
func (a *Association) initTimeout(now mono.Time) {
	a.initTries++
	if a.initTries > maxInitRetransmits && !a.cfg.Patient {
		a.finish(&Error{Reason: "the peer did not answer"})
		return
	}
	a.path.backOff()
	if a.state == stateCookieEchoed {
		a.due |= dueCookieEcho
		a.timer[timerInit] = now.Add(a.path.rto)
		return
	}
	a.sendInit(now)
}

// handleInit answers an INIT with an INIT ACK and changes nothing (sections 5.1 and 5.2).
func (a *Association) handleInit(now mono.Time, c chunk) {
	in, ok := parseInit(c.value)
	if !ok || in.tag == 0 {
		a.stats.DroppedMalformed++ // section 3.3.2: a tag of 0 is discarded silently
		return
	}
	if why, bad := in.unacceptable(); bad {
		a.reply(in.tag, appendChunk(nil, typeAbort, 0, why))
		return
	}
	if a.state == stateShutdownAckSent {
		a.due |= dueShutdownAck // section 9.2
		return
	}
	out := a.offer()
	k := cookie{
		made: now, peerTag: in.tag, peerTSN: in.tsn, peerWindow: in.window,
		peerIncoming: in.incoming, peerOutgoing: in.outgoing, ext: in.ext,
	}
	if a.state >= stateEstablished { // section 5.2.2: a new tag, and the tie-tags that tell a restart
		out.tag, out.tsn = a.randomTag(), a.random32()
	}
	if a.state >= stateCookieEchoed {
		k.ties = a.tieTags
	}
	k.myTag, k.myTSN = out.tag, out.tsn
	out.cookie = a.seal(&k)
	out.unknown = in.unknown
	a.reply(in.tag, appendInit(nil, typeInitAck, out))
}

// unacceptable returns the causes of the ABORT for what cannot be accepted (sections 3.3.2 and 5.1.2).
func (c *initChunk) unacceptable() (causes []byte, bad bool) {
	const leastWindow = 1500
	switch {
	case c.hostName:
		return appendParam(nil, causeUnresolvable, nil), true
	case c.outgoing == 0 || c.incoming == 0 || c.window < leastWindow:
		return appendParam(nil, causeInvalidParameter, nil), true
	}
	return nil, false
}

// handleInitAck echoes the cookie (section 5.1.4). At any other time it is late or doubled (section 5.2.3).
func (a *Association) handleInitAck(now mono.Time, c chunk) {
	if a.state != stateCookieWait {
		return
	}
	in, ok := parseInit(c.value)
	if !ok {
		a.stats.DroppedMalformed++
		return
	}
	causes, bad := in.unacceptable()
	if in.tag == 0 || len(in.cookie) == 0 || headerSize+4+len(in.cookie) > a.cfg.MaxPacket {
		causes, bad = appendParam(nil, causeViolation, nil), true
	}
	if bad {
		a.peerTag = in.tag
		a.abort(causes, &Error{Remote: true, Reason: "the INIT ACK makes no sense"})
		return
	}
	a.measureHandshake(now)
	a.peerTag = in.tag
	a.tieTags = [2]uint32{a.randomTag(), a.randomTag()}
	a.adopt(in.tsn, in.window, in.incoming, in.outgoing, in.ext)
	a.cookie = append([]byte(nil), in.cookie...)
	a.state = stateCookieEchoed
	a.initTries = 0
	a.due = a.due&^dueInit | dueCookieEcho
	if len(in.unknown) > 0 { // section 3.2.2: reported together with the cookie or later
		a.answer(appendChunk(nil, typeError, 0, appendParam(nil, causeUnknownParameter, in.unknown)))
	}
	a.timer[timerInit] = now.Add(a.path.rto)
}

// adopt takes over what the peer said about itself.
func (a *Association) adopt(tsn, window uint32, incoming, outgoing uint16, ext extensions) {
	a.receive.start(tsn)
	a.send.peerWindow = int(window)
	a.outStreams, a.inStreams = min(maxStreams, int(incoming)), min(maxStreams, int(outgoing)) // section 5.1.1
	a.ext = ext
	// RFC 8260 sections 2.2.1 and 2.3.1: messages are interleaved if both can, and then it is I-FORWARD-TSN that counts.
	a.send.interleave = ext&extIData != 0 && !a.cfg.NoInterleaving
	if a.send.interleave && ext&extIForwardTSN == 0 {
		a.ext &^= extForwardTSN
	} else if a.send.interleave {
		a.ext |= extForwardTSN
	}
	a.send.mayBegin = int(window) / 2
	a.reset.expected = tsn
}

// handleCookieAck ends the handshake of the end that began it.
func (a *Association) handleCookieAck(now mono.Time) {
	if a.state == stateCookieEchoed {
		a.measureHandshake(now)
		a.establish(now)
	}
}

// measureHandshake takes the round trip of what T1 was started for, unless it was sent twice (section 6.3.1, rule C5):
// the first data may be lost, and without a round trip it would take a second to find out.
func (a *Association) measureHandshake(now mono.Time) {
	if a.initTries == 0 {
		a.path.measured(now.Sub(a.timer[timerInit].Add(-a.path.rto)))
	}
}

// handleCookieEcho (sections 5.1.5 and 5.2.4) returns whether the rest of the packet counts.
func (a *Association) handleCookieEcho(now mono.Time, tag uint32, c chunk) bool {
	k, ok := a.open(c.value)
	if !ok || tag != k.myTag {
		a.stats.DroppedTag++
		return false
	}
	// The letters are those of table 12.
	mine, peers := k.myTag == a.myTag, k.peerTag == a.peerTag
	ties := k.ties == a.tieTags && k.ties != [2]uint32{}
	if now.Sub(k.made) > cookieLife && !(a.state >= stateCookieWait && mine && peers) {
		stale := wire.AppendUint32(nil, uint32(min(now.Sub(k.made)-cookieLife, time.Hour)/time.Microsecond))
		a.reply(k.peerTag, appendChunk(nil, typeError, 0, appendParam(nil, causeStaleCookie, stale)))
		return false
	}
	switch {
	case !mine && !peers && ties: // A: the peer has started anew
		if a.state == stateShutdownAckSent {
			a.due |= dueShutdownAck
			a.answer(appendChunk(nil, typeError, 0, appendParam(nil, causeShuttingDown, nil)))
			return false
		}
		a.restart(now, &k)
	case mine && !peers: // B: no association yet, or both began and the peer's INIT came after its INIT ACK
		if a.state > stateCookieEchoed {
			a.peerTag = k.peerTag
			break
		}
		if a.tieTags == [2]uint32{} {
			a.tieTags = [2]uint32{a.randomTag(), a.randomTag()}
		}
		a.takeCookie(now, &k)
		a.establish(now)
	case mine && peers: // D: both began, or COOKIE ACK was lost
		if a.state == stateCookieEchoed {
			a.establish(now)
		}
	default: // C and all others: late
		return false
	}
	a.due |= dueCookieAck
	return true
}

func (a *Association) takeCookie(now mono.Time, k *cookie) {
	if rtt := now.Sub(k.made); rtt < initialRTO { // else it was echoed twice
		a.path.measured(rtt)
	}
	a.peerTag = k.peerTag
	a.adopt(k.peerTSN, k.peerWindow, k.peerIncoming, k.peerOutgoing, k.ext)
}

// establish opens the association for data.
func (a *Association) establish(now mono.Time) {
	a.state = stateEstablished
	a.cookie = nil
	a.timer[timerInit] = mono.Never
	a.due &^= dueInit | dueCookieEcho
	a.path.rto = initialRTO
	a.path.answered()
	a.initTries = 0
	a.timer[timerHeartbeat] = now.Add(heartbeatInterval)
	a.tell(Event{Kind: Established})
	a.openWaiting(now)
}

// restart forgets all that was and begins again with what the cookie says (section 5.2.4, action A).
func (a *Association) restart(now mono.Time, k *cookie) {
	gone := &Error{Remote: true, Reason: "the peer has started anew"}
	for _, id := range a.channelIDs(func(*channel) bool { return true }) {
		a.removeChannel(a.channels[id], gone)
	}
	a.begin()
	for i := range a.timer {
		a.timer[i] = mono.Never
	}
	a.myTag = k.myTag
	a.start(k.myTSN)
	a.tieTags = [2]uint32{a.randomTag(), a.randomTag()}
	a.takeCookie(now, k)
	a.state = stateEstablished
	a.timer[timerHeartbeat] = now.Add(heartbeatInterval)
	a.tell(Event{Kind: Restarted})
}

// cookie is what an end that keeps nothing needs to know when the peer comes back (section 5.1.3).
type cookie struct {
	made         mono.Time
	myTag        uint32
	myTSN        uint32
	peerTag      uint32
	peerTSN      uint32
	peerWindow   uint32
	peerIncoming uint16
	peerOutgoing uint16
	ext          extensions
	ties         [2]uint32
}

const (
	cookieBody = 41
	cookieSize = cookieBody + sha256.Size
)

// seal returns k with a MAC.
func (a *Association) seal(k *cookie) []byte {
	b := make([]byte, 0, cookieSize)
	b = wire.AppendUint64(b, uint64(k.made))
	for _, v := range []uint32{k.myTag, k.myTSN, k.peerTag, k.peerTSN, k.peerWindow, k.ties[0], k.ties[1]} {
		b = wire.AppendUint32(b, v)
	}
	b = wire.AppendUint16(b, k.peerIncoming)
	b = wire.AppendUint16(b, k.peerOutgoing)
	b = append(b, byte(k.ext))
	return a.mac(b)
}

func (a *Association) mac(b []byte) []byte {
	h := hmac.New(sha256.New, a.key[:])
	h.Write(b)
	return h.Sum(b)
}

// open returns what was sealed; false if this end did not seal it.
func (a *Association) open(b []byte) (k cookie, ok bool) {
	if len(b) != cookieSize || !hmac.Equal(a.mac(b[:cookieBody:cookieBody]), b) {
		return k, false
	}
	r := wire.NewReader(b)
	k.made = mono.Time(r.Uint64())
	for _, v := range []*uint32{&k.myTag, &k.myTSN, &k.peerTag, &k.peerTSN, &k.peerWindow, &k.ties[0], &k.ties[1]} {
		*v = r.Uint32()
	}
	k.peerIncoming, k.peerOutgoing = r.Uint16(), r.Uint16()
	k.ext = extensions(r.Uint8())
	return k, true
}
