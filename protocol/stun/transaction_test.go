package stun_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/laws"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

var serverPath = pkt.Path{
	Socket: 3,
	Local:  netip.MustParseAddrPort("192.0.2.1:40000"),
	Remote: netip.MustParseAddrPort("198.51.100.1:3478"),
}

const begin = mono.Time(time.Hour)

func newTransaction(t testing.TB, cfg stun.TransactionConfig, request []byte) *stun.Transaction {
	t.Helper()
	cfg.Path = serverPath
	tx, err := stun.NewTransaction(begin, cfg, request)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// answer is a response to the test's request.
func answer(t testing.TB, c stun.Class, build func(b *stun.Builder)) *pkt.Datagram {
	t.Helper()
	b := stun.NewBuilder(nil, c, stun.Binding, testID)
	build(&b)
	raw, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	return &pkt.Datagram{Path: serverPath, Payload: raw}
}

// run lets time pass until the transaction ends and returns when it sent and when and how it ended.
func run(tx *stun.Transaction) (sent []time.Duration, end time.Duration, done stun.Done) {
	now := begin
	b := pkt.NewBatch(1500, 1)
	for {
		b.Reset()
		tx.AppendTransmit(now, b)
		if b.Len() > 0 {
			sent = append(sent, now.Sub(begin))
		}
		if e, ok := tx.NextEvent(); ok {
			return sent, now.Sub(begin), e
		}
		now = tx.NextTimeout()
		tx.HandleTimeout(now)
	}
}

// "For example, assuming an RTO of 500 ms, requests would be sent at times 0 ms, 500 ms, 1500 ms, 3500 ms, 7500 ms,
// 15500 ms, and 31500 ms. If the client has not received a response after 39500 ms, the client will consider the
// transaction to have timed out." (section 6.2.1)
func TestRetransmissionsAtTheTimesOfTheRFC(t *testing.T) {
	sent, end, done := run(newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {})))
	var want []time.Duration
	for _, ms := range []int{0, 500, 1500, 3500, 7500, 15500, 31500} {
		want = append(want, time.Duration(ms)*time.Millisecond)
	}
	if !slices.Equal(sent, want) || end != 39500*time.Millisecond || done.Err != stun.ErrTimeout {
		t.Errorf("sent at %v, ended after %v with %v", sent, end, done.Err)
	}
	sent, end, _ = run(newTransaction(t, stun.TransactionConfig{RTO: 100 * time.Millisecond, Rc: 2, Rm: 3}, message(t, func(*stun.Builder) {})))
	if len(sent) != 2 || sent[1] != 100*time.Millisecond || end != 400*time.Millisecond {
		t.Errorf("with Rc 2, Rm 3, RTO 100 ms: sent at %v, ended after %v", sent, end)
	}
}

// "if the client has not received a response by Ti seconds after it sent the request message, it considers the
// transaction to have timed out. Ti ... SHOULD have a default of 39.5 s" (section 6.2.2)
func TestOverReliableTransportOnceAndThenTi(t *testing.T) {
	sent, end, done := run(newTransaction(t, stun.TransactionConfig{Reliable: true}, message(t, func(*stun.Builder) {})))
	if len(sent) != 1 || end != 39500*time.Millisecond || done.Err != stun.ErrTimeout {
		t.Errorf("sent at %v, ended after %v with %v", sent, end, done.Err)
	}
}

func TestResponseEndsTheTransactionOnce(t *testing.T) {
	tx := newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {}))
	mapped := netip.MustParseAddrPort("203.0.113.9:5")
	ok := answer(t, stun.Success, func(b *stun.Builder) { b.XORAddress(stun.AttrXORMappedAddress, mapped) })
	for name, stray := range map[string]func(d *pkt.Datagram){
		"another socket":      func(d *pkt.Datagram) { d.Socket++ },
		"another sender":      func(d *pkt.Datagram) { d.Remote = netip.MustParseAddrPort("198.51.100.1:3479") },
		"another transaction": func(d *pkt.Datagram) { d.Payload[8]++ },
		"another method":      func(d *pkt.Datagram) { d.Payload[1] = 3 },
		"a request":           func(d *pkt.Datagram) { d.Payload[0], d.Payload[1] = 0, 1 },
		"rubbish":             func(d *pkt.Datagram) { d.Payload = []byte("rubbish") },
	} {
		d := *ok
		d.Payload = bytes.Clone(ok.Payload)
		stray(&d)
		tx.HandleDatagram(begin, &d)
		if _, done := tx.NextEvent(); done {
			t.Fatalf("%s ends the transaction", name)
		}
	}
	if tx.Dropped() != 6 {
		t.Errorf("%d datagrams counted as dropped, want 6", tx.Dropped())
	}
	now := begin.Add(30 * time.Millisecond)
	tx.HandleDatagram(now, ok)
	clear(ok.Payload) // the driver reads the next datagram into it
	e, told := tx.NextEvent()
	if !told || e.Err != nil || e.RTT != 30*time.Millisecond {
		t.Fatalf("event %v: %v, RTT %v", told, e.Err, e.RTT)
	}
	if a, err := e.Response.XORAddress(stun.AttrXORMappedAddress); a != mapped {
		t.Errorf("mapped address %v, %v", a, err)
	}
	if _, again := tx.NextEvent(); again || tx.NextTimeout() != mono.Never {
		t.Errorf("after the end: a second event %v, next timeout %v", again, tx.NextTimeout())
	}
	b := pkt.NewBatch(1500, 1)
	if tx.AppendTransmit(now, b); b.Len() != 0 {
		t.Error("after the end it still sends")
	}
}

// "RTT estimates SHOULD NOT be computed from STUN transactions that result in the retransmission of a request."
// (section 6.2.1)
func TestNoRTTAfterRetransmission(t *testing.T) {
	tx := newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {}))
	tx.HandleTimeout(tx.NextTimeout())
	tx.HandleDatagram(begin.Add(time.Second), answer(t, stun.Success, func(*stun.Builder) {}))
	if e, ok := tx.NextEvent(); !ok || e.Err != nil || e.RTT != 0 {
		t.Errorf("event %v: %v, RTT %v", ok, e.Err, e.RTT)
	}
}

// "If the request was sent over an unreliable transport, the response MUST be discarded, as if it had never been
// received. ... instead of signaling a timeout after ending the transaction, the layer MUST signal that the integrity
// protection was violated. If the request was sent over a reliable transport, the response MUST be discarded, and the
// layer MUST immediately end the transaction and signal that the integrity protection was violated." (section 9.1.4)
func TestResponsesThatAreNotAuthentic(t *testing.T) {
	h, key := stun.NewHasher(), []byte("password")
	request := message(t, func(b *stun.Builder) { b.Text(stun.AttrUsername, "a:b"); b.Integrity(h, key) })
	for name, sign := range map[string]func(b *stun.Builder){
		"no integrity":  func(b *stun.Builder) {},
		"another key":   func(b *stun.Builder) { b.Integrity(h, []byte("guess")) },
		"401 unsigned":  func(b *stun.Builder) { b.Error(401, "") },
		"damaged later": func(b *stun.Builder) { b.Integrity(h, key); b.Fingerprint() },
	} {
		d := answer(t, stun.Error, sign)
		if name == "damaged later" {
			d = answer(t, stun.Error, func(b *stun.Builder) { b.Text(stun.AttrSoftware, "x"); b.Integrity(h, key) })
			d.Payload[24] ^= 1
		}
		for _, reliable := range []bool{false, true} {
			tx := newTransaction(t, stun.TransactionConfig{Key: key, Reliable: reliable}, request)
			tx.HandleDatagram(begin, d)
			_, end, done := run(tx)
			want := 39500 * time.Millisecond
			if reliable {
				want = 0
			}
			if done.Err != stun.ErrIntegrity || end != want {
				t.Errorf("%s, reliable %v: %v after %v", name, reliable, done.Err, end)
			}
		}
	}
	// The real response still counts after a forged one.
	tx := newTransaction(t, stun.TransactionConfig{Key: key}, request)
	tx.HandleDatagram(begin, answer(t, stun.Success, func(*stun.Builder) {}))
	tx.HandleDatagram(begin, answer(t, stun.Success, func(b *stun.Builder) { b.Integrity(h, key) }))
	if e, ok := tx.NextEvent(); !ok || e.Err != nil {
		t.Errorf("after a forged response: %v, %v", ok, e.Err)
	}
	// "the algorithm in the response has to match; otherwise, the response MUST be discarded"
	tx = newTransaction(t, stun.TransactionConfig{Key: key, Reliable: true}, request)
	tx.HandleDatagram(begin, answer(t, stun.Success, func(b *stun.Builder) { b.IntegritySHA256(h, key) }))
	if e, ok := tx.NextEvent(); ok {
		t.Errorf("SHA-256 answers SHA-1: %v", e.Err)
	}
}

func TestLongTermResponses(t *testing.T) {
	h, key := stun.NewHasher(), []byte("0123456789abcdef")
	request := message(t, func(b *stun.Builder) { b.Text(stun.AttrUsername, "u"); b.Integrity(h, key) })
	ends := func(build func(b *stun.Builder)) bool {
		tx := newTransaction(t, stun.TransactionConfig{Key: key, LongTerm: true}, request)
		tx.HandleDatagram(begin, answer(t, stun.Error, build))
		_, ok := tx.NextEvent()
		return ok
	}
	if !ends(func(b *stun.Builder) { b.Error(401, "") }) || !ends(func(b *stun.Builder) { b.Error(438, "") }) {
		t.Error("a challenge without integrity does not pass")
	}
	// "If the response is an error response with an error code of 400 (Bad Request) and does not contain either the
	// MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 attribute, then the response MUST be discarded" (section 9.2.5)
	if ends(func(b *stun.Builder) { b.Error(400, "") }) {
		t.Error("a 400 without integrity ends the transaction")
	}
	if !ends(func(b *stun.Builder) { b.Error(400, ""); b.Integrity(h, key) }) {
		t.Error("a 400 with integrity does not pass")
	}
	// "if the NONCE attribute starts with the "nonce cookie" with the STUN Security Feature "Password algorithms" bit set
	// to 1 but PASSWORD-ALGORITHMS is not present, the response MUST be ignored" (section 9.2.5)
	if ends(func(b *stun.Builder) { b.Error(403, ""); b.Text(stun.AttrNonce, "obMatJos2gAAA"); b.Integrity(h, key) }) {
		t.Error("a response whose algorithms were taken out ends the transaction")
	}
}

// "If the success response contains unknown comprehension-required attributes, the response is discarded and the
// transaction is considered to have failed." (section 6.3.3) "If the error response contains unknown
// comprehension-required attributes, or if the error response does not contain an ERROR-CODE attribute, then the
// transaction is simply considered to have failed." (section 6.3.4)
func TestResponsesThatCannotBeUnderstood(t *testing.T) {
	for name, d := range map[string]*pkt.Datagram{
		"success, unknown attribute": answer(t, stun.Success, func(b *stun.Builder) { b.Uint32(0x7000, 1) }),
		"error, unknown attribute":   answer(t, stun.Error, func(b *stun.Builder) { b.Error(500, ""); b.Uint32(0x7000, 1) }),
		"error without a code":       answer(t, stun.Error, func(b *stun.Builder) {}),
	} {
		tx := newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {}))
		tx.HandleDatagram(begin, d)
		if e, ok := tx.NextEvent(); !ok || e.Err != stun.ErrResponse {
			t.Errorf("%s: %v, %v", name, ok, e.Err)
		}
	}
	tx := newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {}))
	tx.HandleDatagram(begin, answer(t, stun.Success, func(b *stun.Builder) { b.Uint32(0xC001, 1) }))
	if e, ok := tx.NextEvent(); !ok || e.Err != nil {
		t.Errorf("an unknown comprehension-optional attribute: %v, %v", ok, e.Err)
	}
}

// "A STUN transaction over UDP or DTLS-over-UDP is also considered failed if there has been a hard ICMP error"
// (section 6.2.1)
func TestHardICMPErrorEndsTheTransaction(t *testing.T) {
	elsewhere := serverPath
	elsewhere.Remote = netip.MustParseAddrPort("198.51.100.2:3478")
	for _, c := range []struct {
		m    pkt.ICMP
		hard bool
	}{
		{pkt.ICMP{Path: serverPath, Type: 3, Code: 3}, true},
		{pkt.ICMP{Path: serverPath, Type: 3, Code: 2}, true},
		{pkt.ICMP{Path: serverPath, Type: 3, Code: 1}, false}, // host unreachable is soft
		{pkt.ICMP{Path: serverPath, Type: 3, Code: 4}, false}, // too big: not about reaching the server
		{pkt.ICMP{Path: serverPath, Type: 11}, false},
		{pkt.ICMP{Path: elsewhere, Type: 3, Code: 3}, false},
	} {
		tx := newTransaction(t, stun.TransactionConfig{}, message(t, func(*stun.Builder) {}))
		tx.HandleICMP(begin, &c.m)
		if e, ok := tx.NextEvent(); ok != c.hard || ok && e.Err != stun.ErrUnreachable {
			t.Errorf("type %d code %d from %v: ended %v with %v", c.m.Type, c.m.Code, c.m.Remote, ok, e.Err)
		}
	}
}

func TestNewTransactionWantsARequest(t *testing.T) {
	indication := stun.NewBuilder(nil, stun.Indication, stun.Binding, testID)
	raw, _ := indication.Message()
	for _, bad := range [][]byte{nil, []byte("rubbish"), raw} {
		if _, err := stun.NewTransaction(begin, stun.TransactionConfig{}, bad); err != stun.ErrRequest {
			t.Errorf("%x: %v, want ErrRequest", bad, err)
		}
	}
}

func TestRTOEstimator(t *testing.T) {
	var e stun.RTOEstimator
	now := begin
	if e.RTO(now) != 500*time.Millisecond {
		t.Errorf("knowing nothing: %v", e.RTO(now))
	}
	e.Observe(now, 0)
	if e.RTO(now) != 500*time.Millisecond {
		t.Errorf("a retransmitted transaction is counted: %v", e.RTO(now))
	}
	e.Observe(now, 400*time.Millisecond) // SRTT 400, RTTVAR 200
	if e.RTO(now) != 1200*time.Millisecond {
		t.Errorf("after 400 ms: %v, want 1.2 s", e.RTO(now))
	}
	e.Observe(now, 400*time.Millisecond) // RTTVAR 150
	if e.RTO(now) != 1000*time.Millisecond {
		t.Errorf("after 400 ms twice: %v, want 1 s", e.RTO(now))
	}
	for range 50 {
		e.Observe(now, 20*time.Millisecond)
	}
	// "the initial value for RTO SHOULD be greater than or equal to 500 ms"
	if e.RTO(now) != 500*time.Millisecond {
		t.Errorf("on a fast path: %v", e.RTO(now))
	}
	// "The value SHOULD be considered stale and discarded if no transactions have occurred to the same server in the last
	// 10 minutes."
	e.Observe(now, 10*time.Second)
	if e.RTO(now.Add(10*time.Minute)) == stun.DefaultRTO || e.RTO(now.Add(10*time.Minute+1)) != stun.DefaultRTO {
		t.Errorf("after 10 minutes %v, later %v", e.RTO(now.Add(10*time.Minute)), e.RTO(now.Add(10*time.Minute+1)))
	}
}

// The seventh law asks for an engine that lives until it fails; a transaction ends by itself, once, as
// TestResponseEndsTheTransactionOnce shows, and whatever it gave after its end would break the first law here.
func TestTransactionKeepsTheLaws(t *testing.T) {
	laws.Run(t, laws.Subject{New: func(seed uint64) *laws.Specimen {
		rng := rand.New(rand.NewPCG(seed, 1))
		id := testID
		id[0] = byte(rng.Uint32())
		h, key := stun.NewHasher(), []byte("key")
		b := stun.NewBuilder(nil, stun.Request, stun.Binding, id)
		b.Text(stun.AttrUsername, "a:b")
		b.Integrity(h, key)
		request, _ := b.Message()
		tx, err := stun.NewTransaction(begin, stun.TransactionConfig{Path: serverPath, Key: key, Hasher: h, Rc: 20}, request)
		if err != nil {
			t.Fatal(err)
		}
		e := &lawful{Transaction: tx}
		return &laws.Specimen{
			Engine: laws.Of(e, func(doneText) bool { return true }),
			Peer: laws.Responder(func(now mono.Time, d *pkt.Datagram, reply func([]byte)) {
				m, err := stun.Parse(d.Payload)
				if err != nil {
					return
				}
				b := stun.Respond(nil, stun.Success, &m)
				b.XORAddress(stun.AttrXORMappedAddress, d.Remote)
				b.Integrity(stun.NewHasher(), key)
				raw, _ := b.Message()
				reply(raw)
			}),
			Done: func() error {
				if !e.ended {
					return errors.New("no response yet")
				}
				return nil
			},
			Socket: func(netip.AddrPort) pkt.Socket { return serverPath.Socket },
		}
	}})
}

// lawful gives the transaction's end as text.
type lawful struct {
	*stun.Transaction
	ended bool
}

type doneText string

func (l *lawful) NextEvent() (doneText, bool) {
	e, ok := l.Transaction.NextEvent()
	if !ok {
		return "", false
	}
	l.ended = true
	return doneText(fmt.Sprintf("%x %v %v", e.Response.Bytes(), e.Err, e.RTT)), true
}
