package dtls

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/parley-rtc/parley/protocol/mono"
)

// How handshake messages get across: what both versions and all states share.

// handleHandshake takes the content of one handshake record in.
func (c *Conn) handleHandshake(now mono.Time, n recordNumber, content []byte) {
	whole := len(content) > 0
	for len(content) > 0 {
		f, rest, ok := parseFragment(content)
		if !ok {
			c.stats.Malformed++
			whole = false
			break
		}
		content = rest
		if c.hs == nil && c.version == Version12 && (f.typ == helloRequest || f.typ == clientHelloType) {
			c.declineRenegotiation()
			continue
		}
		if c.hs != nil {
			c.hs.skipAhead(f)
		}
		switch c.in.add(f, n.epoch, n.seq) {
		case refused:
			c.stats.Malformed++
			whole = false
		case stale:
			c.handleRepeated(now, f, n)
		}
	}
	if whole {
		c.noteACK(now, n)
	}
	c.advance(now)
}

// handleRepeated deals with a message that was processed before: the peer's timer has expired, so part of our flight, or
// our acknowledgement, was lost.
func (c *Conn) handleRepeated(now mono.Time, f fragment, n recordNumber) {
	switch {
	case c.out.passive:
		// Only the Finished is sure to come from the peer, and it comes last.
		if f.typ == finishedType && n.epoch == 1 && !c.out.pending() {
			c.stats.Retransmissions++
			c.out.restart()
		}
	case c.hs == nil && c.version == Version13 && (c.role == Server || n.epoch >= 3):
		c.ackNow = true // RFC 9147 section 5.8.1; noteACK says what for
	case now >= c.out.sentAt.Add(c.out.timeout/4) && c.out.hasten():
		c.stats.Retransmissions++
	}
}

// declineRenegotiation answers in DTLS 1.2 what would begin a new handshake (RFC 5246 section 7.2.2).
func (c *Conn) declineRenegotiation() {
	if c.stats.Malformed++; c.farewell == nil {
		c.farewell, _ = c.seal(nil, c.write(), typeAlert, nil, []byte{1, byte(AlertNoRenegotiation)})
	}
}

// advance processes the messages that are whole, in order, until a job must be done first.
func (c *Conn) advance(now mono.Time) {
	if c.stepping {
		return // an early record, replayed below
	}
	c.stepping = true
	for c.phase != closed && c.job == nil {
		if c.keysNew {
			c.keysNew = false
			c.replayEarly(now)
			continue
		}
		m, ok := c.in.take()
		if !ok {
			break
		}
		c.step(now, m)
	}
	c.stepping = false
}

func (c *Conn) step(now mono.Time, m message) {
	h := c.hs
	if h == nil {
		c.check(now, c.handlePostHandshake(now, m))
		return
	}
	flights := h.flights
	err := h.expect(now, m)
	if rubbish, ok := err.(*malformed); ok && m.epoch == 0 {
		// RFC 9147 section 4.5.2: what anybody may have sent is dropped, and the message is due again.
		c.stats.Malformed++
		c.in.untake(m)
		c.acks = nil
		h.lastDrop = rubbish
		return
	}
	if err != nil {
		c.fail(now, err)
		return
	}
	c.timers[timerHint] = mono.Never
	if c.hs == h && h.flights == flights && len(c.out.messages) > 0 {
		c.answered(now) // RFC 9147 section 7: a message of the next flight acknowledges all of the last
	}
}

// answered ends our flight, because the peer's next one has begun.
func (c *Conn) answered(now mono.Time) {
	if c.out.transmissions == 1 && !c.out.pending() {
		c.rtt = max(c.rtt, now.Sub(c.out.sentAt))
	}
	c.out.begin(c.firstTimeout())
	c.timers[timerRetransmit] = mono.Never
	c.trimWrites()
}

// beginFlight makes room for our next flight; what was on its way is answered, and what came need not be acknowledged.
// Nothing goes out before endFlight.
func (h *handshake) beginFlight(now mono.Time) {
	c := h.c
	h.flights++
	c.answered(now)
	c.acks, c.ackNow = nil, false
	c.timers[timerACK] = mono.Never
	if c.timers[timerHandshake] == mono.Never {
		c.timers[timerHandshake] = now.Add(c.cfg.handshakeTimeout())
	}
	c.out.held = true
}

func (h *handshake) endFlight() { h.c.out.held = false }

// send adds a message to our flight and to the transcript.
func (h *handshake) send(epoch uint64, typ handshakeType, body []byte) {
	m := newMessage(typ, h.c.sendSeq, body)
	m.epoch = epoch
	h.c.sendSeq++
	h.transcript.add(m)
	h.c.out.push(&outMessage{message: m, content: typeHandshake})
}

// post sends a message after the handshake.
func (c *Conn) post(typ handshakeType, body []byte) {
	if len(c.out.messages) == 0 {
		c.out.begin(c.firstTimeout())
	}
	m := newMessage(typ, c.sendSeq, body)
	m.epoch = c.write().number
	c.sendSeq++
	if !c.out.pending() {
		c.out.at, c.out.from = len(c.out.messages), 0
	}
	c.out.push(&outMessage{message: m, content: typeHandshake})
}

func (c *Conn) armACK(now mono.Time) {
	if c.timers[timerACK] == mono.Never {
		c.timers[timerACK] = now.Add(c.firstTimeout() / 4) // RFC 9147 section 7.1
	}
}

// noteACK remembers a record of the peer's flight. If the rest of the flight stays away an ACK goes out; if it is there
// beginFlight forgets the note. After the handshake nothing else tells the peer, so the ACK goes at once.
func (c *Conn) noteACK(now mono.Time, n recordNumber) {
	if c.version == Version12 {
		return
	}
	if len(c.acks) < maxACKs && !slices.Contains(c.acks, n) {
		c.acks = append(c.acks, n)
	}
	switch {
	case c.hs == nil:
		c.ackNow = true
	case c.version == Version13: // else we do not know yet that the peer understands
		c.armACK(now)
	}
}

// appendACK appends an ACK of all records noted, in increasing order (RFC 9147 section 7).
func (c *Conn) appendACK(dst []byte, limit int) []byte {
	c.ackNow = false
	c.timers[timerACK] = mono.Never
	w := c.write()
	room := (limit - len(dst) - c.overhead(w) - 2) / 16
	slices.SortFunc(c.acks, func(a, b recordNumber) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.seq, b.seq))
	})
	numbers := c.acks[max(0, len(c.acks)-room):] // the newest, if not all fit
	body := binary.BigEndian.AppendUint16(nil, uint16(16*len(numbers)))
	for _, n := range numbers {
		body = binary.BigEndian.AppendUint64(body, n.epoch)
		body = binary.BigEndian.AppendUint64(body, n.seq)
	}
	if c.hs == nil {
		c.acks = nil
	}
	dst, _ = c.seal(dst, w, typeACK, nil, body)
	return dst
}

// handleACK takes an ACK in that came in an epoch.
func (c *Conn) handleACK(now mono.Time, epoch uint64, content []byte) {
	if c.version == Version12 || len(content) < 2 || int(binary.BigEndian.Uint16(content)) != len(content)-2 || len(content)%16 != 2 {
		c.stats.Malformed++
		return
	}
	var numbers []recordNumber
	for b := content[2:]; len(b) > 0; b = b[16:] {
		n := recordNumber{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		if n.epoch <= epoch || epoch >= 3 { // a handshake's epoch is acknowledged in the same or a later one
			numbers = append(numbers, n)
		}
	}
	news := c.out.acknowledge(numbers)
	for _, m := range c.out.messages {
		if !m.done && m.acked.covers(m.size()) && m.epoch > 0 {
			m.done = true
			if m.typ == keyUpdate {
				c.check(now, c.nextWriteKeys())
			}
		}
	}
	switch {
	case len(c.out.messages) == 0:
	case c.out.complete() && epoch > 0:
		c.answered(now)
		if c.hs == nil {
			c.timers[timerHandshake] = mono.Never
			c.retireHandshake()
		}
	case epoch == 0 && c.out.complete0():
		// The client has our ServerHello and is busy with it: it cannot acknowledge the rest yet.
	case news && !c.out.pending(), len(numbers) == 0 && c.out.hasten():
		c.stats.Retransmissions++
		c.out.restart()
	}
}

// handleAlert takes an alert in that came protected.
func (c *Conn) handleAlert(now mono.Time, content []byte) {
	if len(content) != 2 {
		c.stats.Malformed++
		return
	}
	level, alert := content[0], Alert(content[1])
	switch {
	case alert == AlertCloseNotify:
		c.shut(nil, 1, AlertCloseNotify)
	case alert == AlertUserCanceled && c.version == Version13, level == 1 && c.version == Version12:
		// Warnings mean nothing here. In DTLS 1.3 every other alert is fatal, whatever its level (RFC 8446 section 6).
	default:
		c.fail(now, &Error{Alert: alert, Received: true, Fault: FaultPeer, Reason: "it does not say more"})
	}
}

// installRead puts keys for what comes next to those in use.
func (c *Conn) installRead(epoch uint64, p protection) {
	c.reads = append(c.reads, &readEpoch{protection: p, number: epoch})
	c.keysNew = len(c.early) > 0
}

// installWrite makes keys those that new messages and records are sent with.
func (c *Conn) installWrite(epoch uint64, p protection) {
	c.writes = append(c.writes, &writeEpoch{protection: p, number: epoch})
}

// trimWrites forgets the write keys that no retransmission can need.
func (c *Conn) trimWrites() {
	newest := c.write().number
	c.writes = slices.DeleteFunc(c.writes, func(w *writeEpoch) bool {
		return w.number != newest && !c.out.carries(w.number) && (c.hs == nil || w.number != 0)
	})
}
