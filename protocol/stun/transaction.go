package stun

import (
	"bytes"
	"errors"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// How a transaction ends without a response to use.
var (
	// ErrTimeout says that no response came.
	ErrTimeout = errors.New("stun: no response")
	// ErrIntegrity says that responses came and none was authentic: the key is wrong, or somebody meddles
	// (sections 9.1.4 and 9.2.5).
	ErrIntegrity = errors.New("stun: the response's integrity was violated")
	// ErrUnreachable says that an ICMP message reports the server or its port as unreachable (section 6.2.1).
	ErrUnreachable = errors.New("stun: the server is unreachable")
	// ErrResponse says that the response cannot be used: it needs an attribute that is not known here, or it is an error
	// response without an ERROR-CODE (sections 6.3.3 and 6.3.4).
	ErrResponse = errors.New("stun: the response cannot be understood")
	// ErrRequest says that what was to be sent is not a request.
	ErrRequest = errors.New("stun: a transaction needs a well-formed request")
)

// TransactionConfig says where a request goes and how long it is tried. The zero value of each duration and count is
// the default of section 6.2.
type TransactionConfig struct {
	Path     pkt.Path
	Reliable bool          // TCP or TLS: sent once, given up after Ti
	RTO      time.Duration // time to the first retransmission; 0: DefaultRTO
	Rc       int           // number of requests; 0: 7
	Rm       int           // multiple of RTO to wait after the last request; 0: 16
	Ti       time.Duration // time to wait for a response over a reliable transport; 0: 39.5 s

	// Key authenticates the response with the integrity that the request has; nil: no authentication.
	Key []byte
	// LongTerm lets a 401 or 438 response pass without integrity, as the challenge of the long-term mechanism is
	// (section 9.2.5). With short-term credentials there is no challenge.
	LongTerm bool
	// Hasher is the scratch space to use; nil: the transaction makes its own if it has a key.
	Hasher *Hasher
}

// Done is the one event of a transaction.
type Done struct {
	// Response is a success or error response, valid if Err is nil. It is borrowed until the next call of any method.
	Response Message
	// Err is ErrTimeout, ErrIntegrity, ErrUnreachable or ErrResponse.
	Err error
	// RTT is the time from the request to the response, or zero if the request was sent more than once or failed.
	RTT time.Duration
}

// A Transaction sends one request until it is answered (section 6.2).
//
//	request  0        RTO      3 RTO            7 RTO     ...     (2^(Rc-1)-1) RTO
//	         |---------|---------|----------------|-- ... ---------|---- Rm x RTO ----| ErrTimeout
//
// Over a reliable transport it is sent once and has Ti. It is an engine: hand it what arrives, call HandleTimeout when
// NextTimeout is due, send what AppendTransmit writes and take the event.
type Transaction struct {
	cfg      TransactionConfig
	request  []byte
	id       TransactionID
	method   Method
	sha1     bool // the request has MESSAGE-INTEGRITY
	sha256   bool // the request has MESSAGE-INTEGRITY-SHA256
	start    mono.Time
	interval time.Duration // to the next request
	sent     int           // requests that were due so far
	pending  bool          // a request waits to be written
	violated bool          // a response was not authentic
	timeout  mono.Time
	done     bool
	told     bool
	event    Done
	response []byte
	dropped  uint64
}

// NewTransaction starts a transaction with a whole request, which it copies. The error is ErrRequest.
func NewTransaction(now mono.Time, cfg TransactionConfig, request []byte) (*Transaction, error) {
	m, err := Parse(request)
	if err != nil || m.Class() != Request {
		return nil, ErrRequest
	}
	if cfg.RTO <= 0 {
		cfg.RTO = DefaultRTO
	}
	if cfg.Rc <= 0 {
		cfg.Rc = 7
	}
	if cfg.Rm <= 0 {
		cfg.Rm = 16
	}
	if cfg.Ti <= 0 {
		cfg.Ti = 39500 * time.Millisecond
	}
	if cfg.Key != nil {
		cfg.Key = bytes.Clone(cfg.Key)
		if cfg.Hasher == nil {
			cfg.Hasher = NewHasher()
		}
	}
	t := &Transaction{cfg: cfg, request: bytes.Clone(request), id: m.ID(), method: m.Method(), start: now}
	t.sha1, t.sha256 = m.HasIntegrity()
	t.interval = cfg.RTO
	t.due(now)
	return t, nil
}

// due makes the next request ready and says when to look again.
func (t *Transaction) due(now mono.Time) {
	t.sent++
	t.pending = true
	switch {
	case t.cfg.Reliable:
		t.timeout = now.Add(t.cfg.Ti)
	case t.sent >= t.cfg.Rc:
		t.timeout = now.Add(time.Duration(t.cfg.Rm) * t.cfg.RTO)
	default:
		t.timeout = now.Add(t.interval)
		t.interval = min(2*t.interval, time.Hour) // a bound only against overflow: Rc is the caller's
	}
}

// ID returns the transaction ID.
func (t *Transaction) ID() TransactionID { return t.id }

// Dropped returns how many datagrams were not this transaction's response, or not an authentic one.
func (t *Transaction) Dropped() uint64 { return t.dropped }

// NextTimeout returns when HandleTimeout is due.
func (t *Transaction) NextTimeout() mono.Time {
	if t.done {
		return mono.Never
	}
	return t.timeout
}

// HandleTimeout retransmits or gives up.
func (t *Transaction) HandleTimeout(now mono.Time) {
	if t.done || now.Before(t.timeout) {
		return
	}
	if t.cfg.Reliable || t.sent >= t.cfg.Rc {
		if t.violated {
			t.finish(Done{Err: ErrIntegrity})
		} else {
			t.finish(Done{Err: ErrTimeout})
		}
		return
	}
	t.due(now)
}

// AppendTransmit writes the request if one is due.
func (t *Transaction) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	if !t.pending {
		return false
	}
	if !b.Append(pkt.Transmit{Path: t.cfg.Path, Payload: t.request}) {
		return true
	}
	t.pending = false
	return false
}

// NextEvent returns the end of the transaction, once.
func (t *Transaction) NextEvent() (Done, bool) {
	if !t.done || t.told {
		return Done{}, false
	}
	t.told = true
	return t.event, true
}

func (t *Transaction) finish(e Done) {
	t.done, t.pending, t.event = true, false, e
}

// HandleICMP ends the transaction if the message is a hard error about the server (section 6.2.1, RFC 1122 section
// 4.2.3.9).
func (t *Transaction) HandleICMP(now mono.Time, m *pkt.ICMP) {
	if t.done || t.cfg.Reliable || m.Socket != t.cfg.Path.Socket || m.Remote != t.cfg.Path.Remote {
		return
	}
	const unreachable4, protocol4, port4 = 3, 2, 3
	const unreachable6, port6 = 1, 4
	if m.Remote.Addr().Is4() && m.Type == unreachable4 && (m.Code == protocol4 || m.Code == port4) ||
		m.Remote.Addr().Is6() && m.Type == unreachable6 && m.Code == port6 {
		t.finish(Done{Err: ErrUnreachable})
	}
}

// HandleDatagram takes what may be the response. Anything else is dropped.
func (t *Transaction) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if t.done || d.Socket != t.cfg.Path.Socket || d.Remote != t.cfg.Path.Remote {
		t.dropped++
		return
	}
	m, err := Parse(d.Payload)
	if err != nil || m.ID() != t.id || m.Method() != t.method || m.Class() != Success && m.Class() != Error {
		t.dropped++
		return
	}
	if !t.authentic(&m) {
		t.dropped++
		return
	}
	t.response = append(t.response[:0], d.Payload...)
	e := Done{}
	e.Response, _ = Parse(t.response)
	if t.sent == 1 {
		e.RTT = now.Sub(t.start)
	}
	if _, _, ok := m.ErrorCode(); m.Class() == Error && !ok {
		e = Done{Err: ErrResponse}
	}
	var unknown [1]AttrType
	if len(m.AppendUnknown(unknown[:0], Known)) > 0 {
		e = Done{Err: ErrResponse}
	}
	t.finish(e)
}

// authentic decides whether a response may be used (sections 9.1.4 and 9.2.5), and ends a transaction over a reliable
// transport if not.
func (t *Transaction) authentic(m *Message) bool {
	if t.cfg.Key == nil && !t.cfg.LongTerm {
		return true
	}
	code, _, _ := m.ErrorCode()
	if t.cfg.LongTerm {
		if m.Class() == Error && (code == CodeUnauthenticated || code == CodeStaleNonce) {
			return true
		}
		nonce, _ := m.Get(AttrNonce)
		if f, _ := ParseNonceCookie(nonce); f&FeaturePasswordAlgorithms != 0 && !m.Has(AttrPasswordAlgorithms) {
			return false // "the response MUST be ignored"
		}
		if t.cfg.Key == nil {
			return true // the first request of all: there is no key yet
		}
		if sha1, sha256 := m.HasIntegrity(); code == CodeBadRequest && !sha1 && !sha256 {
			return false // "MUST be discarded, as if it were never received"
		}
	}
	sha1, sha256 := m.HasIntegrity()
	if t.sha1 != t.sha256 && (sha256 && !t.sha256 || sha1 && !sha256 && !t.sha1) {
		return false // "the algorithm in the response has to match; otherwise, the response MUST be discarded"
	}
	if t.cfg.Hasher.Verify(m, t.cfg.Key) {
		return true
	}
	t.violated = true
	if t.cfg.Reliable {
		t.finish(Done{Err: ErrIntegrity})
	}
	return false
}
