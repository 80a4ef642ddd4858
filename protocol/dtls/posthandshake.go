package dtls

import (
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/parley-rtc/parley/protocol/mono"
)

// What happens after the handshake of DTLS 1.3: key updates (RFC 9147 section 8), connection IDs (section 9), tickets.

// keepHandshakeKeys is how long a server can read the client's last flight, so as to acknowledge it again: twice TCP's
// maximum segment lifetime of two minutes (RFC 9147 section 5.8.1).
const keepHandshakeKeys = 4 * time.Minute

// handlePostHandshake takes in a message that came after the handshake.
func (c *Conn) handlePostHandshake(now mono.Time, m message) error {
	if c.version == Version12 || m.epoch < 3 {
		return errUnexpected(m.typ, "no handshake message")
	}
	switch m.typ {
	case newSessionTicket:
		if c.role == Client {
			return nil // we do not resume
		}
	case keyUpdate:
		return c.handleKeyUpdate(now, m)
	case newConnectionID:
		return c.handleNewConnectionID(m)
	case requestConnectionID:
		return c.handleRequestConnectionID(m)
	}
	return errUnexpected(m.typ, "a KeyUpdate")
}

// UpdateKeys changes the keys that we send with, and asks the peer to change its own if both is set. It need not be
// called: keys are updated before they have served too long. ErrKeyUpdate says that it cannot be done now.
func (c *Conn) UpdateKeys(both bool) error {
	switch c.phase {
	case closed:
		return ErrClosed
	case connected:
		return c.updateKeys(both)
	}
	return ErrNotConnected
}

func (c *Conn) updateKeys(both bool) error {
	if c.version != Version13 || c.underWay(keyUpdate) || c.write().number >= 1<<48-1 {
		return ErrKeyUpdate
	}
	c.post(keyUpdate, []byte{map[bool]byte{true: 1}[both]})
	return nil
}

// underWay reports whether a message of a type waits for its acknowledgement; of these types there may be but one
// (RFC 9147 section 5.8.4).
func (c *Conn) underWay(typ handshakeType) bool {
	for _, m := range c.out.messages {
		if m.typ == typ && !m.done {
			return true
		}
	}
	return false
}

// nextWriteKeys follows the acknowledgement of our KeyUpdate.
func (c *Conn) nextWriteKeys() error {
	k := newKDF(c.suite.hash)
	c.secrets.write = k.nextTrafficSecret(c.secrets.write)
	err := c.write13(k, c.write().number+1, c.secrets.write)
	c.trimWrites()
	return err
}

func (c *Conn) handleKeyUpdate(_ mono.Time, m message) error {
	body := m.body()
	if len(body) != 1 {
		return errMalformed(keyUpdate)
	}
	if body[0] > 1 {
		return peerError(AlertIllegalParameter, "a KeyUpdate asks for %d", body[0])
	}
	newest := c.reads[len(c.reads)-1].number
	if m.epoch != newest {
		return peerError(AlertUnexpectedMessage, "a KeyUpdate in epoch %d, which is over", m.epoch)
	}
	// It came in the newest epoch, so nothing older is needed; this one is until the next is in use.
	c.dropReads(newest)
	k := newKDF(c.suite.hash)
	c.secrets.read = k.nextTrafficSecret(c.secrets.read)
	if err := c.read13(k, newest+1, c.secrets.read); err != nil {
		return err
	}
	if body[0] == 1 && !c.underWay(keyUpdate) {
		_ = c.updateKeys(false) // refused only at the last epoch, where RFC 9147 section 8 wants it ignored
	}
	return nil
}

// watchForgeries keeps count of records that did not hold (RFC 9147 section 4.5.3).
func (c *Conn) watchForgeries(now mono.Time, e *readEpoch) {
	if e.forged < c.limits.forged {
		if e.forged == c.limits.forged/2 && c.version == Version13 && c.phase == connected {
			_ = c.updateKeys(true)
		}
		return
	}
	if newest := c.reads[len(c.reads)-1]; newest != e && newest.window.next > 0 {
		c.dropReads(newest.number)
		return
	}
	c.fail(now, &Error{Alert: AlertInternalError, Fault: FaultNetwork, Reason: "too many forged records came for one key"})
}

// retire forgets the read keys whose time is over: those of the handshake, and those older than keys in use.
func (c *Conn) retire() {
	below := uint64(3)
	for _, e := range c.reads {
		if e.window.next > 0 {
			below = max(below, e.number)
		}
	}
	if c.version == Version13 {
		c.dropReads(below)
	}
}

// retireHandshake is for when the handshake's keys have nothing left to read.
func (c *Conn) retireHandshake() {
	if c.role == Client && c.version == Version13 {
		c.dropReads(3)
	}
}

func (c *Conn) handleNewConnectionID(m message) error {
	if len(c.writeCID) == 0 {
		return &malformed{AlertUnexpectedMessage, "a " + m.typ.String() + ", although none was agreed on"}
	}
	b := cryptobyte.String(m.body())
	var list, first cryptobyte.String
	var usage uint8
	ok := b.ReadUint16LengthPrefixed(&list) && b.ReadUint8(&usage) && b.Empty()
	if ok && !list.Empty() {
		ok = list.ReadUint8LengthPrefixed(&first) && usage <= 1
	}
	for ok && !list.Empty() {
		var spare cryptobyte.String
		ok = list.ReadUint8LengthPrefixed(&spare)
	}
	if !ok {
		return errMalformed(m.typ)
	}
	if len(first) > maxCIDLen {
		return peerError(AlertHandshakeFailure, "the peer wants a connection ID of %d bytes in each record", len(first))
	}
	if usage == 0 && len(first) > 0 { // cid_immediate; spare ones are for paths that we do not change here
		c.writeCID = append([]byte(nil), first...)
	}
	return nil
}

// handleRequestConnectionID answers that there are no more: one ID serves a connection for its life.
func (c *Conn) handleRequestConnectionID(m message) error {
	if len(c.readCID) == 0 || len(m.body()) != 1 {
		return &malformed{AlertUnexpectedMessage, "a " + m.typ.String() + ", although none was agreed on"}
	}
	if !c.underWay(newConnectionID) {
		c.post(newConnectionID, []byte{0, 0, 1}) // none, cid_spare
	}
	return nil
}
