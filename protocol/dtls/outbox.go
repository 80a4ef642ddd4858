package dtls

import (
	"slices"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	maxRetransmit = 3 * time.Second // real time does not wait longer; RFC 9147 section 5.8.2 leaves it to the profile
	maxSent       = 128             // records whose acknowledgement is understood
	minPiece      = 48              // bytes of a message that are worth a record at a datagram's end

	// After this many timeouts without an answer the path may be narrower than thought (RFC 9147 section 4.4).
	narrowAfter = 2
	narrowMTU   = 548 // IPv4's minimum of 576 without IP and UDP headers
)

// An outMessage is a message on its way: a handshake message, or DTLS 1.2's ChangeCipherSpec, which is none but travels
// and is retransmitted with them.
type outMessage struct {
	message
	content contentType
	acked   spans
	done    bool // its acknowledgement has had its effect
}

func (m *outMessage) size() int {
	if m.content != typeHandshake {
		return len(m.full)
	}
	return len(m.full) - messageHeader
}

// gap returns the next bytes at or after from that must be sent. A message without a body is sent from 0 and done at 1.
func (m *outMessage) gap(from int) (span, bool) {
	if m.size() == 0 {
		return span{}, from == 0 && len(m.acked) == 0
	}
	return m.acked.gap(from, m.size())
}

// A sentRecord remembers what a record carried, for the acknowledgement that names it.
type sentRecord struct {
	number recordNumber
	m      *outMessage
	at     span
}

// An outbox is the flight on its way, or after the handshake the messages that wait for acknowledgement (RFC 9147
// section 5.8).
type outbox struct {
	messages []*outMessage
	at, from int // where the transmission under way stands: message, and byte of it
	sent     []sentRecord

	timeout       time.Duration // what the next transmission waits
	sentAt        mono.Time     // when the last transmission ended
	transmissions int
	timeouts      int
	hastened      bool // retransmitted before its time; once between two timeouts
	held          bool // the flight is not complete yet: a job is under way
	passive       bool // nothing answers this flight: it is retransmitted only when the peer repeats itself
}

// begin starts a new flight: the one before is answered.
func (o *outbox) begin(timeout time.Duration) { *o = outbox{timeout: timeout} }

func (o *outbox) push(m *outMessage) { o.messages = append(o.messages, m) }

// pending reports whether something is to be sent now.
func (o *outbox) pending() bool { return !o.held && o.at < len(o.messages) }

// restart sends again what is not acknowledged.
func (o *outbox) restart() { o.at, o.from = 0, 0 }

// hasten restarts before the timer, once.
func (o *outbox) hasten() bool {
	if o.hastened || o.pending() || len(o.messages) == 0 {
		return false
	}
	o.hastened = true
	o.restart()
	return true
}

// acknowledge marks what the records carried, and reports whether that was news.
func (o *outbox) acknowledge(numbers []recordNumber) (news bool) {
	for _, n := range numbers {
		for i, s := range o.sent {
			if s.number == n {
				s.m.acked.add(s.at, maxSent)
				o.sent = slices.Delete(o.sent, i, i+1)
				news = true
				break
			}
		}
	}
	return news
}

// complete reports whether all is acknowledged.
func (o *outbox) complete() bool {
	return !slices.ContainsFunc(o.messages, func(m *outMessage) bool { return !m.acked.covers(m.size()) })
}

// complete0 reports whether all that went unprotected is acknowledged.
func (o *outbox) complete0() bool {
	return !slices.ContainsFunc(o.messages, func(m *outMessage) bool { return m.epoch == 0 && !m.acked.covers(m.size()) })
}

// carries reports whether a message still needs the keys of an epoch.
func (o *outbox) carries(epoch uint64) bool {
	return slices.ContainsFunc(o.messages, func(m *outMessage) bool { return m.epoch == epoch && !m.done })
}

// appendRecords fills a datagram up to limit, which is a length of dst, from where the transmission stands.
func (o *outbox) appendRecords(dst []byte, limit int, r *records, remember bool) []byte {
	start := len(dst)
	for o.pending() {
		m := o.messages[o.at]
		g, ok := m.gap(o.from)
		w := r.writeEpoch(m.epoch)
		if !ok || w == nil {
			o.at, o.from = o.at+1, 0
			continue
		}
		room := limit - len(dst) - r.overhead(w)
		var header []byte
		var scratch [messageHeader]byte
		if m.content == typeHandshake {
			header = scratch[:]
			room -= messageHeader
		}
		if n := g.hi - g.lo; room < n && (room < minPiece && len(dst) > start || room <= 0) {
			return dst // the next datagram has more room
		}
		g.hi = min(g.hi, g.lo+room)
		body := m.full[len(header):]
		if header != nil {
			putMessageHeader(header, m.typ, m.seq, m.size(), g)
		}
		var number recordNumber
		dst, number = r.seal(dst, w, m.content, header, body[g.lo:g.hi])
		if remember && m.content == typeHandshake {
			if len(o.sent) == maxSent {
				o.sent = slices.Delete(o.sent, 0, 1)
			}
			o.sent = append(o.sent, sentRecord{number, m, g})
		}
		o.from = max(g.hi, 1)
	}
	return dst
}

// finished is called when a transmission has gone out whole: it returns when to do it again.
func (o *outbox) finished(now mono.Time) mono.Time {
	o.transmissions++
	o.sentAt = now
	if o.passive {
		return mono.Never
	}
	return now.Add(o.timeout)
}

// expire is the timer: it backs off and sends again.
func (o *outbox) expire() {
	o.timeout = min(2*o.timeout, maxRetransmit)
	o.hastened = false
	o.timeouts++
	for _, m := range o.messages {
		if m.epoch == 0 {
			m.acked = nil // anybody may have sent those acknowledgements
		}
	}
	o.restart()
}
