package dtls

import (
	"container/heap"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// count returns how many handshake records of an epoch a datagram has; protected ones of 1.3 by their epoch bits.
func count(b []byte, epoch uint64) (n int) {
	for _, r := range recordsOf(b) {
		if r[0]&unifiedMask == unifiedBits && uint64(r[0]&3) == epoch || epoch == 0 && contentType(r[0]) == typeHandshake && r[4] == 0 {
			n++
		}
	}
	return n
}

// RFC 9147 section 7.2: "Upon receipt of an ACK that leaves it with only some messages from a flight having been
// acknowledged, an implementation SHOULD retransmit the unacknowledged messages or fragments."
func TestOnlyWhatIsMissingIsRetransmitted(t *testing.T) {
	client, server := only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13)
	client.MTU, server.MTU = 300, 300
	client.Retransmit, server.Retransmit = time.Second, time.Second
	p := newPair(t, client, server)
	datagrams, lost := 0, 7 // of the part that is protected: before its keys a client can acknowledge nothing of it
	var first mono.Time
	p.filter = func(from *end, b []byte) [][]byte {
		if from == p.server {
			if datagrams++; datagrams == 1 {
				first = p.now
			}
			if datagrams == lost {
				return nil
			}
		}
		return [][]byte{b}
	}
	p.connect()
	// The flight has nine datagrams or so; one more repeats what was lost, and one is the last ACK.
	flight := 0
	q := newPair(t, client, server)
	q.filter = func(from *end, b []byte) [][]byte {
		if from == q.server {
			flight++
		}
		return [][]byte{b}
	}
	q.connect()
	if flight < 6 || datagrams != flight+1 {
		t.Errorf("%d datagrams of a server that needs %d, and one of them again", datagrams, flight)
	}
	// The ACK comes after a quarter of the timeout (section 7.1), not after the whole.
	if took := p.now.Sub(first); took > 600*time.Millisecond {
		t.Errorf("the repair took %v", took)
	}
}

// RFC 9147 section 5.8.1: "the server MUST respond to retransmission of the client's final flight with a retransmit of
// its ACK."
func TestLostFinalACK(t *testing.T) {
	p := newPair(t, only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13))
	acks := 0
	p.filter = func(from *end, b []byte) [][]byte {
		if from == p.server && count(b, 3) > 0 {
			if acks++; acks <= 4 {
				return nil
			}
		}
		return [][]byte{b}
	}
	p.connect()
	p.idle(10 * time.Second)
	if acks != 5 {
		t.Errorf("%d ACKs, want 5", acks)
	}
	if p.client.NextTimeout() != mono.Never || len(p.client.out.messages) > 0 {
		t.Error("the client still retransmits")
	}
	p.exchange(1)
}

// RFC 6347 section 4.2.4: the server repeats its last flight when the client repeats its own.
func TestLostFinalFlight12(t *testing.T) {
	p := newPair(t, only(configOf(t, "client", 1), Version12), only(configOf(t, "server", 1), Version12))
	lost := 0
	p.filter = func(from *end, b []byte) [][]byte {
		if from == p.server && contentType(b[0]) == typeChangeCipherSpec && lost < 4 {
			lost++
			return nil
		}
		return [][]byte{b}
	}
	p.connect()
	if lost != 4 {
		t.Errorf("%d last flights were lost", lost)
	}
	p.exchange(1)
	if len(p.server.out.messages) > 0 {
		t.Error("the server keeps its last flight although the client has it")
	}
}

// A Finished of DTLS 1.2 that comes again when all is over is not answered, least of all by an ACK, which is of 1.3.
func TestLateFinished12(t *testing.T) {
	p := newConnected(t, Version12, nil)
	p.exchange(1)
	sent := p.server.sent
	m := newMessage(finishedType, 4, make([]byte, verifyDataLen))
	b, _ := p.client.seal(nil, p.client.write(), typeHandshake, nil, m.full)
	p.send(p.client, b)
	p.idle(time.Second)
	if p.server.sent != sent || p.server.closed > 0 {
		t.Errorf("%d datagrams in answer; %v", p.server.sent-sent, p.server.err)
	}
}

// Timers double from the start that is set, up to their bound; a round-trip time that is known raises the start.
func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		start, rtt time.Duration
		want       []time.Duration
	}{
		{0, 0, []time.Duration{50, 100, 200, 400, 800, 1600, 3000, 3000}},
		{0, 200 * time.Millisecond, []time.Duration{300, 600, 1200, 2400, 3000}},
		{time.Second, 10 * time.Millisecond, []time.Duration{1000, 2000, 3000}},
	} {
		cfg := configOf(t, "client", 1)
		cfg.Retransmit = c.start
		conn := mustNew(t, Client, cfg)
		conn.SetRTT(c.rtt)
		now := mono.Time(5)
		conn.RunJobs(now)
		for i, want := range c.want {
			for conn.AppendDatagram(nil, now) != nil {
			}
			next := conn.NextTimeout()
			if got := next.Sub(now); got != want*time.Millisecond {
				t.Errorf("start %v, round trip %v: wait %d is %v, want %dms", c.start, c.rtt, i, got, want)
			}
			now = next
			conn.HandleTimeout(now)
		}
	}
}

// A client whose ServerHello is lost cannot read what follows, and says so by an empty ACK (RFC 9147 section 7.1).
func TestEmptyACK(t *testing.T) {
	client, server := only(configOf(t, "client", 1), Version13), only(configOf(t, "server", 1), Version13)
	client.Retransmit, server.Retransmit = time.Second, time.Second
	client.Groups = []Group{X25519}
	p := newPair(t, client, server)
	lost := false
	p.filter = func(from *end, b []byte) [][]byte {
		if from == p.server && !lost {
			lost = true
			return [][]byte{recordsOf(b)[1], recordsOf(b)[2]} // the first is the ServerHello
		}
		return [][]byte{b}
	}
	start := p.now
	p.connect()
	if took := p.now.Sub(start); !lost || took > 500*time.Millisecond {
		t.Errorf("lost %v, connected after %v", lost, took)
	}
}

// A peer that repeats a flight has not got ours: it is answered at once (RFC 9147 section 5.8.1, case 3), but one
// repetition does not cause a storm.
func TestRepeatedHelloIsAnsweredOnce(t *testing.T) {
	client := only(configOf(t, "client", 1), Version12)
	hello := firstFlight(t, client)
	conn := mustNew(t, Server, only(configOf(t, "server", 1), Version12))
	drain := func(now mono.Time) (n int) {
		for conn.AppendDatagram(nil, now) != nil {
			n++
		}
		return n
	}
	conn.HandleDatagram(1, append([]byte(nil), hello[0]...))
	conn.RunJobs(1)
	flight := drain(1)
	sent := 0
	now := mono.Time(1).Add(40 * time.Millisecond)
	for range 50 {
		conn.HandleDatagram(now, append([]byte(nil), hello[0]...))
		sent += drain(now)
	}
	if flight == 0 || sent != flight {
		t.Errorf("fifty repetitions brought %d datagrams, want one flight of %d", sent, flight)
	}
}

// What becomes of a datagram.
const (
	arrives = iota
	lost
	twice
	late // after what is sent next
	fates
)

// RFC 9147 section 5.8.1 and RFC 6347 section 4.2.4: the state machines of the two versions. Each of the first datagrams of a
// handshake has each fate, in every combination: the handshake comes to its end, both agree, and neither has anything to
// repeat when it is over. First what can happen to whole flights, then each subset of the datagrams of flights in pieces
// lost.
func TestEveryFateOfTheFirstDatagrams(t *testing.T) {
	whole, pieces := 4, 7
	if os.Getenv("PARLEY_LONG") != "" {
		whole, pieces = 6, 12
	}
	for name, change := range map[string]func(client, server *Config){
		"1.2":         func(c, _ *Config) { only(c, Version12) },
		"1.3":         func(c, _ *Config) { only(c, Version13) },
		"1.2, cookie": func(c, s *Config) { only(c, Version12); s.CookieSecret = make([]byte, 32) },
		"1.3, cookie": func(c, s *Config) { only(c, Version13); s.CookieSecret = make([]byte, 32) },
		"1.3, share":  func(c, s *Config) { only(c, Version13); s.Groups = []Group{P256} },
	} {
		for _, c := range []struct{ mtu, datagrams, kinds int }{{DefaultMTU, whole, fates}, {400, pieces, lost + 1}} {
			t.Run(fmt.Sprintf("%s/MTU %d", name, c.mtu), func(t *testing.T) {
				combinations := 1
				for range c.datagrams {
					combinations *= c.kinds
				}
				for combination := range combinations {
					client, server := configOf(t, "client", 1), configOf(t, "server", 1)
					client.Groups, client.MTU, server.MTU = []Group{X25519, P256}, c.mtu, c.mtu
					change(client, server)
					p := newPair(t, client, server)
					var fate []int
					for left := combination; len(fate) < c.datagrams; left /= c.kinds {
						fate = append(fate, left%c.kinds)
					}
					sent := 0
					p.filter = func(from *end, b []byte) [][]byte {
						if sent++; sent > len(fate) {
							return [][]byte{b}
						}
						switch fate[sent-1] {
						case lost:
							return nil
						case twice:
							return [][]byte{b, b}
						case late:
							p.serial++
							heap.Push(&p.queue, arriving{p.now.Add(75 * time.Millisecond), p.serial, p.other(from), slices.Clone(b)})
							return nil
						}
						return [][]byte{b}
					}
					p.connect()
					p.checkAgreement()
					p.exchange(1)
					p.idle(5 * time.Minute)
					p.exchange(1)
					if left := len(p.client.out.messages) + len(p.server.out.messages); left > 0 || p.client.closed+p.server.closed > 0 ||
						p.client.NextTimeout() != mono.Never || p.server.NextTimeout() != mono.Never {
						t.Errorf("%d messages are repeated; closed: %v, %v", left, p.client.err, p.server.err)
					}
					if t.Failed() {
						t.Fatalf("the fates were %v", fate)
					}
				}
			})
		}
	}
}
