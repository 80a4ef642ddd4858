package dtls

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

func newConnected(t testing.TB, v Version, change func(client, server *Config)) *pair {
	t.Helper()
	client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
	if change != nil {
		change(client, server)
	}
	p := newPair(t, client, server)
	p.connect()
	return p
}

// RFC 9147 section 8: "KeyUpdates MUST be acknowledged. [...] implementations MUST NOT send records with the new keys or
// send a new KeyUpdate until the previous KeyUpdate has been acknowledged."
func TestKeyUpdate(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		for _, both := range []bool{false, true} {
			for _, loss := range []float64{0, 0.3} {
				t.Run(fmt.Sprintf("%s both %v loss %v", who, both, loss), func(t *testing.T) {
					p := newConnected(t, Version13, nil)
					p.idle(time.Second)
					e := p.client
					if who == "server" {
						e = p.server
					}
					o := p.other(e)
					for round := range uint64(5) {
						p.link.loss = loss
						if err := e.UpdateKeys(both); err != nil {
							t.Fatal(err)
						}
						if err := e.UpdateKeys(both); err != ErrKeyUpdate {
							t.Errorf("a second update under way: %v", err)
						}
						if n := e.write().number; n != 3+round {
							t.Errorf("epoch %d before the acknowledgement", n)
						}
						p.runUntil(time.Minute, func() bool {
							return e.write().number == 4+round && (!both || o.write().number == 4+round)
						})
						p.link.loss = 0
						p.exchange(2)
						if e.write().number != 4+round || both && o.write().number != 4+round {
							t.Fatalf("epochs %d and %d after round %d", e.write().number, o.write().number, round)
						}
						p.idle(10 * time.Second)
						for _, x := range []*end{e, o} {
							if len(x.reads) > 1 && !(both == false && x == e) || len(x.writes) > 1 {
								t.Errorf("round %d: %s keeps %d read and %d write keys", round, x.name, len(x.reads), len(x.writes))
							}
						}
					}
				})
			}
		}
	}
}

// Both sides begin at once, and each asks the other: one update each is enough.
func TestKeyUpdatesCross(t *testing.T) {
	p := newConnected(t, Version13, nil)
	p.idle(time.Second)
	if p.client.UpdateKeys(true) != nil || p.server.UpdateKeys(true) != nil {
		t.Fatal("no update")
	}
	p.idle(5 * time.Second)
	p.exchange(3)
	if c, s := p.client.write().number, p.server.write().number; c != 4 || s != 4 {
		t.Errorf("epochs %d and %d", c, s)
	}
}

// RFC 9147 section 4.5.3: "Implementations SHOULD initiate a key update before reaching this limit."
func TestKeysAreUpdatedBeforeTheLimit(t *testing.T) {
	p := newConnected(t, Version13, nil)
	p.client.limits.sealed = 20
	for i := range 200 {
		p.sendData(p.client, fmt.Sprint(i))
		p.idle(100 * time.Millisecond)
	}
	if len(p.server.data) != 200 {
		t.Errorf("%d of 200 lines arrived", len(p.server.data))
	}
	if n := p.client.write().number; n < 8 {
		t.Errorf("epoch %d after ten times the limit", n)
	}
	if n := p.server.write().number; n < 8 {
		t.Errorf("the server's keys were not updated: epoch %d", n)
	}
}

// RFC 9147 section 4.5.3: "If the number of packets that fail authentication exceeds a limit that is specific to the AEAD
// in use, an implementation SHOULD immediately close the connection."
func TestForgeryLimit(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		p := newConnected(t, v, nil)
		p.server.limits.forged = 50
		record, _ := p.client.AppendRecord(nil, []byte("genuine"))
		record[len(record)-1]++
		for i := 0; i < 200 && p.server.closed == 0; i++ {
			p.server.HandleDatagram(p.now, append([]byte(nil), record...))
			p.events(p.server)
		}
		if e, ok := p.server.err.(*Error); !ok || e.Fault != FaultNetwork {
			t.Errorf("%v: %v", v, p.server.err)
		}
		if p.server.Stats().Forged != 50 {
			t.Errorf("%v: %d forgeries counted", v, p.server.Stats().Forged)
		}
	}
}

// RFC 9147 section 4.2.1: "Implementations MUST either abandon an association or rekey prior to allowing the sequence
// number to wrap."
func TestSequenceNumbersEnd(t *testing.T) {
	p := newConnected(t, Version12, nil)
	p.client.write().next = maxSequence
	if _, err := p.client.AppendRecord(nil, []byte("last")); err != nil {
		t.Errorf("the last number: %v", err)
	}
	if b, err := p.client.AppendRecord(nil, []byte("beyond")); err != ErrKeysSpent || len(b) != 0 {
		t.Errorf("a record beyond the last number: %v", err)
	}
}

// A peer that does not acknowledge new keys cannot make us use the old ones for ever, nor wait for ever.
func TestUnacknowledgedKeyUpdate(t *testing.T) {
	p := newConnected(t, Version13, nil)
	p.idle(time.Second)
	p.client.limits = limits{sealed: 10, spent: 20, forged: 1 << 36}
	p.filter = func(*end, []byte) [][]byte { return nil }
	for range 40 {
		b, err := p.client.AppendRecord(nil, []byte("x"))
		if w := p.client.write(); err != nil && (err != ErrKeysSpent || len(b) > 0 || w.next != 21) {
			t.Fatalf("record %d: %v", w.next, err)
		}
	}
	p.idle(time.Minute)
	if e, ok := p.client.err.(*Error); !ok || e.Fault != FaultNetwork || p.client.NextTimeout() != mono.Never {
		t.Errorf("after a minute: %v", p.client.err)
	}
}

// DTLS 1.2 has no KeyUpdate, and one that is not connected neither.
func TestKeyUpdateRefused(t *testing.T) {
	if err := mustNew(t, Client, configOf(t, "client", 1)).UpdateKeys(true); err != ErrNotConnected {
		t.Error(err)
	}
	p := newConnected(t, Version12, nil)
	if err := p.client.UpdateKeys(true); err != ErrKeyUpdate {
		t.Error(err)
	}
	p.client.Close(p.now)
	if err := p.client.UpdateKeys(true); err != ErrClosed {
		t.Error(err)
	}
}

// RFC 9146 section 3: each side names what it wants to find in the other's records; empty means nothing.
func TestConnectionID(t *testing.T) {
	long := make([]byte, maxCIDLen)
	for _, v := range []Version{Version12, Version13} {
		for _, c := range []struct{ client, server, inClients, inServers []byte }{
			{[]byte("C"), []byte("server"), []byte("server"), []byte("C")},
			{[]byte{}, []byte("s"), []byte("s"), nil},
			{[]byte("c"), []byte{}, nil, []byte("c")},
			{long, long, long, long},
			{nil, []byte("s"), nil, nil},
			{[]byte("c"), nil, nil, nil},
			{[]byte{}, []byte{}, nil, nil},
		} {
			t.Run(fmt.Sprintf("%v %q %q", v, c.client, c.server), func(t *testing.T) {
				p := newConnected(t, v, func(client, server *Config) {
					client.ConnectionID, server.ConnectionID = c.client, c.server
					client.MTU, server.MTU = 300, 300
				})
				p.exchange(3)
				if string(p.client.writeCID) != string(c.inClients) || string(p.server.writeCID) != string(c.inServers) {
					t.Errorf("IDs %q and %q", p.client.writeCID, p.server.writeCID)
				}
				b, _ := p.client.AppendRecord(nil, []byte("x"))
				if len(b) != 1+p.client.Overhead() {
					t.Errorf("a record of %d bytes, Overhead says %d", len(b), p.client.Overhead())
				}
				// A record without the ID, or with another, is not ours.
				if len(c.inClients) > 0 {
					at := 1
					if v == Version12 {
						at = plainHeader - 2
					}
					b[at] ^= 1
					before := p.server.Stats().Malformed
					p.server.HandleDatagram(p.now, b)
					if p.server.Stats().Malformed != before+1 {
						t.Error("a record with another's connection ID was taken")
					}
				}
				if v == Version13 {
					if err := p.client.UpdateKeys(true); err != nil {
						t.Fatal(err)
					}
					p.idle(time.Second)
					p.exchange(1)
				}
			})
		}
	}
}

// The smallest MTU and the longest connection IDs still leave room, and nothing goes over.
func TestSmallestMTU(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for seed := range uint64(5) {
			client, server := only(configOf(t, "client", seed), v), only(configOf(t, "server", seed), v)
			client.MTU, server.MTU = minMTU, minMTU
			client.ConnectionID, server.ConnectionID = make([]byte, maxCIDLen), make([]byte, maxCIDLen)
			p := newPair(t, client, server)
			p.rng, p.link.loss = rand.New(rand.NewPCG(seed, 1)), 0.05
			p.connect()
			p.idle(time.Second)
			p.client.Close(p.now)
			p.idle(time.Second)
			if p.client.largest > minMTU || p.server.largest > minMTU {
				t.Errorf("%v, seed %d: datagrams of %d and %d bytes", v, seed, p.client.largest, p.server.largest)
			}
		}
	}
	// A client whose ID is longer gets none; a server's is refused.
	server := configOf(t, "server", 1)
	server.ConnectionID = []byte("s")
	client := configOf(t, "client", 1)
	client.ConnectionID = []byte("c")
	c, s := mustNew(t, Client, client), mustNew(t, Server, server)
	c.hs.hello.ext.connectionID = make([]byte, 100)
	shake(t, c, s, nil)
	if len(s.writeCID) > 0 || len(s.readCID) > 0 {
		t.Error("a connection ID of 100 bytes was agreed on")
	}
}

// RFC 9147 section 9: "If usage is set to "cid_immediate", then one of the new CIDs MUST be used immediately."
func TestNewConnectionID(t *testing.T) {
	ids := func(client, server *Config) {
		client.ConnectionID, server.ConnectionID = []byte("client"), []byte("server")
	}
	p := newConnected(t, Version13, ids)
	p.idle(time.Second)
	p.server.post(newConnectionID, []byte{0, 7, 6, 'f', 'u', 't', 'u', 'r', 'e', 0})
	p.server.readCID = []byte("future")
	p.idle(time.Second)
	if string(p.client.writeCID) != "future" {
		t.Errorf("the client sends %q", p.client.writeCID)
	}
	p.exchange(2)

	// A request is answered, by none.
	p.client.post(requestConnectionID, []byte{2})
	p.idle(time.Second)
	if p.client.closed+p.server.closed > 0 || len(p.client.out.messages)+len(p.server.out.messages) > 0 {
		t.Errorf("after a request: %v, %v", p.client.err, p.server.err)
	}

	// "If an implementation receives these messages when CIDs were not negotiated, it MUST abort the connection with an
	// "unexpected_message" alert."
	for _, typ := range []handshakeType{newConnectionID, requestConnectionID} {
		p := newConnected(t, Version13, nil)
		p.server.post(typ, []byte{0})
		p.idle(time.Second)
		if e, ok := p.client.err.(*Error); !ok || e.Alert != AlertUnexpectedMessage {
			t.Errorf("%v without negotiation: %v", typ, p.client.err)
		}
	}
}

// RFC 9147 section 5.8.4 and RFC 8446 section 4.6.1: a ticket that we do not use is acknowledged and forgotten.
func TestNewSessionTicketIsIgnored(t *testing.T) {
	p := newConnected(t, Version13, nil)
	p.server.post(newSessionTicket, make([]byte, 2500))
	p.idle(5 * time.Second)
	if len(p.server.out.messages) > 0 {
		t.Error("the ticket was not acknowledged")
	}
	p.exchange(1)
	p.client.post(newSessionTicket, make([]byte, 20))
	p.idle(time.Second)
	if e, ok := p.server.err.(*Error); !ok || e.Alert != AlertUnexpectedMessage {
		t.Errorf("a ticket of a client: %v", p.server.err)
	}
	if p.client.NextTimeout() != mono.Never {
		t.Error("timers run after the end")
	}
}
