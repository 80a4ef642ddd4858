package dtls

import (
	"encoding/binary"
	"slices"
)

const (
	messageHeader = 12 // of a DTLS handshake message

	maxMessage  = 32 << 10 // bytes of one handshake message: a long chain of RSA certificates fits
	inboxBytes  = 64 << 10 // of all that is being put together
	inboxAhead  = 16       // messages that may come before their turn; no flight is longer
	inboxPieces = 64       // pieces of one message that do not touch
)

// A message is a handshake message, whole.
type message struct {
	typ   handshakeType
	seq   uint16
	epoch uint64
	full  []byte // as if it had come unfragmented: the header of 12 bytes, then the body

	recordSeq uint64 // of the record that brought its first piece to come
}

func (m *message) body() []byte { return m.full[messageHeader:] }

// newMessage makes a message to send.
func newMessage(typ handshakeType, seq uint16, body []byte) message {
	full := make([]byte, messageHeader, messageHeader+len(body))
	putMessageHeader(full, typ, seq, len(body), span{0, len(body)})
	return message{typ: typ, seq: seq, full: append(full, body...)}
}

func putMessageHeader(b []byte, typ handshakeType, seq uint16, length int, s span) {
	binary.BigEndian.PutUint32(b, uint32(typ)<<24|uint32(length))
	binary.BigEndian.PutUint16(b[4:], seq)
	putUint24(b[6:], s.lo)
	putUint24(b[9:], s.hi-s.lo)
}

func putUint24(b []byte, v int) { b[0], b[1], b[2] = byte(v>>16), byte(v>>8), byte(v) }
func uint24(b []byte) int       { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// A fragment is one piece of a message, as a record carries it.
type fragment struct {
	typ    handshakeType
	seq    uint16
	length int // of the message
	at     span
	data   []byte
}

// parseFragment cuts the first fragment off a record's content.
func parseFragment(b []byte) (f fragment, rest []byte, ok bool) {
	if len(b) < messageHeader {
		return f, nil, false
	}
	f.typ = handshakeType(b[0])
	f.length = uint24(b[1:])
	f.seq = binary.BigEndian.Uint16(b[4:])
	lo, n := uint24(b[6:]), uint24(b[9:])
	f.at = span{lo, lo + n}
	if len(b)-messageHeader < n || f.at.hi > f.length {
		return f, nil, false
	}
	f.data = b[messageHeader : messageHeader+n]
	return f, b[messageHeader+n:], true
}

// A partial is a message some of whose pieces came.
type partial struct {
	message
	length int
	have   spans
}

// fits reports whether a fragment can be of this message.
func (p *partial) fits(f fragment, epoch uint64) bool {
	return p.typ == f.typ && p.length == f.length && p.epoch == epoch
}

// An inbox puts handshake messages together (RFC 9147 section 5.5) and hands them out in order.
type inbox struct {
	next    uint16 // message_seq that is due
	waiting []*partial
	size    int // bytes that the messages waiting will have
}

// What became of a fragment.
type arrival uint8

const (
	refused arrival = iota // over a bound, or at odds with what came before
	kept
	stale // of a message that was whole before
)

// add takes a piece in. Of bytes that come twice the first are kept: were a difference fatal, as RFC 9147 section 5.5
// proposes, one forged datagram would end a handshake.
func (in *inbox) add(f fragment, epoch, recordSeq uint64) arrival {
	ahead := int16(f.seq - in.next)
	if ahead < 0 {
		return stale
	}
	if ahead >= inboxAhead || f.length > maxMessage {
		return refused
	}
	i := slices.IndexFunc(in.waiting, func(p *partial) bool { return p.seq == f.seq })
	if i >= 0 && !in.waiting[i].fits(f, epoch) {
		if epoch < in.waiting[i].epoch {
			return refused
		}
		in.remove(i) // one of the two is forged: the newer stays, so that a retransmission repairs it
		i = -1
	}
	if i < 0 {
		if in.size+f.length > inboxBytes {
			return refused
		}
		i = len(in.waiting)
		in.size += f.length
		p := &partial{message: message{f.typ, f.seq, epoch, make([]byte, messageHeader), recordSeq}, length: f.length}
		putMessageHeader(p.full, f.typ, f.seq, f.length, span{0, f.length})
		in.waiting = append(in.waiting, p)
	}
	p := in.waiting[i]
	fresh := p.have
	if end := messageHeader + f.at.hi; len(p.full) < end {
		p.full = append(p.full, make([]byte, end-len(p.full))...)
	}
	for at := f.at.lo; ; {
		g, ok := fresh.gap(at, f.at.hi)
		if !ok {
			break
		}
		copy(p.full[messageHeader+g.lo:messageHeader+g.hi], f.data[g.lo-f.at.lo:])
		at = g.hi
	}
	if !p.have.add(f.at, inboxPieces) {
		return refused
	}
	return kept
}

// take hands out the message that is due, if it is whole.
func (in *inbox) take() (message, bool) {
	for i, p := range in.waiting {
		if p.seq == in.next && p.have.covers(p.length) {
			in.remove(i)
			in.next++
			return p.message, true
		}
	}
	return message{}, false
}

// untake makes a message due again that proved to be rubbish.
func (in *inbox) untake(m message) { in.next = m.seq }

// dropEpoch forgets the pieces of an epoch: what came unprotected is worth nothing once protection began.
func (in *inbox) dropEpoch(epoch uint64) {
	for i := len(in.waiting) - 1; i >= 0; i-- {
		if in.waiting[i].epoch == epoch {
			in.remove(i)
		}
	}
}

func (in *inbox) remove(i int) {
	in.size -= in.waiting[i].length
	if in.waiting = slices.Delete(in.waiting, i, i+1); len(in.waiting) == 0 {
		in.waiting = nil
	}
}
