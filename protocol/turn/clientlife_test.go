package turn_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
)

// line is a Client and a Server with a wire between them that can be cut, on a socket of the server's.
type line struct {
	*rig
	c      *turn.Client
	socket pkt.Socket
	sent   []stun.Method // by the client, requests and indications
	cut    bool          // what the client sends is lost
	deaf   bool          // what the server sends is lost
	events []turn.ClientEvent
}

const streaming pkt.Socket = 3

var lineClient = ap("5.9.0.7:40000")

func newLine(t *testing.T, stream bool) *line {
	t.Helper()
	l := &line{rig: newRig(t), socket: listening}
	cfg := alice
	cfg.Inner, cfg.Entropy, cfg.Stream = inner, seeded(4), stream
	if stream {
		l.socket = streaming
		l.s.AddSocket(l.now, streaming, true)
	}
	cfg.Path = pkt.Path{Socket: 9, Local: lineClient, Remote: server4}
	var err error
	if l.c, err = turn.NewClient(l.now, cfg); err != nil {
		t.Fatal(err)
	}
	return l
}

// step carries what both have to say, one way each, and reports whether there was anything.
func (l *line) step() (moved bool) {
	l.t.Helper()
	b := pkt.NewBatch(1<<16, 64)
	for more := true; more; {
		b.Reset()
		more = l.c.AppendTransmit(l.now, b)
		for _, t := range b.Transmits() {
			moved = true
			if m, err := stun.Parse(t.Payload); err == nil {
				l.sent = append(l.sent, m.Method())
			}
			if !l.cut {
				l.deliver(pkt.Path{Socket: l.socket, Local: server4, Remote: lineClient}, t.Payload)
			}
		}
	}
	for _, t := range l.take() {
		if t.Socket != l.socket || l.deaf {
			continue
		}
		moved = true
		d := pkt.Datagram{Path: l.c.Path(), Payload: bytes.Clone(t.Payload)}
		if !l.c.Unwrap(l.now, &d) {
			l.c.HandleDatagram(l.now, &d)
		}
	}
	for {
		e, ok := l.c.NextEvent()
		if !ok {
			return moved
		}
		l.events = append(l.events, e)
	}
}

// pass lets time pass for both.
func (l *line) pass(d time.Duration) {
	l.t.Helper()
	for end := l.now.Add(d); ; {
		for l.step() {
		}
		next := mono.Min(l.c.NextTimeout(), l.s.NextTimeout())
		if next > end {
			l.now = end
			return
		}
		l.now = max(l.now, next)
		l.c.HandleTimeout(l.now)
		l.s.HandleTimeout(l.now)
	}
}

func (l *line) end() error {
	l.t.Helper()
	if n := len(l.events); n > 0 {
		if e, ok := l.events[n-1].(turn.Ended); ok {
			return e.Err
		}
	}
	l.t.Fatalf("not ended: %+v", l.events)
	return nil
}

// RFC 8656 section 3.1, RFC 8489 section 6.2.2: over a stream nothing is sent twice, however late the answer; nor is
// there a NAT's mapping to keep.
func TestClientOverStream(t *testing.T) {
	l := newLine(t, true)
	l.deaf = true
	l.step() // the first Allocate is on its way, and no answer comes
	for range 10 {
		l.now = l.now.Add(time.Second)
		l.c.HandleTimeout(l.now)
		l.step()
	}
	if !slices.Equal(l.sent, []stun.Method{stun.Allocate}) {
		t.Errorf("sent %v in ten seconds of waiting, want one Allocate", l.sent)
	}
	l.now = l.now.Add(6 * time.Second)
	l.c.HandleTimeout(l.now)
	l.step()
	if err := l.end(); !errors.Is(err, stun.ErrTimeout) {
		t.Errorf("ended by %v", err)
	}

	l = newLine(t, true)
	l.pass(time.Second)
	l.c.Permit(l.now, peer4.Addr())
	l.sent = nil
	l.pass(59 * time.Minute)
	for _, m := range l.sent {
		if m == stun.Binding {
			t.Errorf("a keep-alive over a stream: %v", l.sent)
			break
		}
	}
	if !slices.Contains(l.sent, stun.Refresh) || !slices.Contains(l.sent, stun.CreatePermission) || l.s.Counters().Allocations != 1 {
		t.Errorf("sent %v, %d allocations", l.sent, l.s.Counters().Allocations)
	}
	// A permission that was not used has lapsed, and is asked for again.
	if b := l.c.AppendData(nil, l.now, peer4, []byte("12345"), false); len(b) != 0 {
		t.Error("data without a permission")
	}
	l.pass(time.Second)
	if b := l.c.AppendData(nil, l.now, peer4, []byte("12345"), false); len(b) == 0 {
		t.Error("no data with a permission")
	}
	// A response that is not authentic ends the request: over a stream no better one can follow (RFC 8489 section 9.2.5).
	l.deaf = true
	var refresh []byte
	for range 200 {
		l.now = l.c.NextTimeout()
		l.c.HandleTimeout(l.now)
		b := pkt.NewBatch(1<<16, 64)
		l.c.AppendTransmit(l.now, b)
		for _, tr := range b.Transmits() {
			if m, err := stun.Parse(tr.Payload); err == nil && m.Method() == stun.Refresh {
				refresh = bytes.Clone(tr.Payload)
			}
		}
		if refresh != nil {
			break
		}
	}
	m, err := stun.Parse(refresh)
	if err != nil {
		t.Fatal("no Refresh: ", err)
	}
	forged := stun.Respond(nil, stun.Success, &m)
	forged.Uint32(stun.AttrLifetime, 3600)
	raw, _ := forged.Message()
	l.c.HandleDatagram(l.now, &pkt.Datagram{Path: l.c.Path(), Payload: raw})
	l.step()
	if err := l.end(); !errors.Is(err, stun.ErrIntegrity) {
		t.Errorf("ended by %v", err)
	}
}

// RFC 8656 section 11.6: "the client ... extracts ... the ICMP type, code and data and the peer's address"; a message
// about a peer without permission is dropped.
func TestClientHandsOnICMP(t *testing.T) {
	l := newLine(t, false)
	l.pass(time.Second)
	l.c.Permit(l.now, peer4.Addr())
	l.pass(time.Second)
	relayed := l.c.Relayed(peer4.Addr())
	l.events = nil
	l.s.HandleICMP(l.now, &pkt.ICMP{Path: pkt.Path{Socket: l.relays[relayed], Local: relayed, Remote: peer4}, Type: 3, Code: 4, Data: 1280})
	l.pass(time.Second)
	want := turn.PeerICMP{ICMP: pkt.ICMP{Path: pkt.Path{Socket: inner, Local: relayed, Remote: peer4}, Type: 3, Code: 4, Data: 1280}}
	// The engine of our server relates the address, not the port (section 9.2 has permissions by address).
	if len(l.events) != 1 {
		t.Fatalf("events %+v, want %+v", l.events, want)
	}
	if got := l.events[0].(turn.PeerICMP); got.Type != want.Type || got.Code != want.Code || got.Data != want.Data || got.Remote.Addr() != peer4.Addr() || got.Local != relayed || got.Socket != inner {
		t.Errorf("got %+v, want %+v", got, want)
	}

	for name, write := range map[string]func(b *stun.Builder){
		"a stranger": func(b *stun.Builder) {
			b.XORAddress(stun.AttrXORPeerAddress, ap("8.8.8.8:1"))
			b.Bytes(stun.AttrICMP, make([]byte, 8))
		},
		"no address": func(b *stun.Builder) { b.Bytes(stun.AttrICMP, make([]byte, 8)) },
		"a short message": func(b *stun.Builder) {
			b.XORAddress(stun.AttrXORPeerAddress, peer4)
			b.Bytes(stun.AttrICMP, make([]byte, 4))
		},
	} {
		l.events = nil
		before := l.c.Counters()
		b := stun.NewBuilder(nil, stun.Indication, stun.Data, stun.TransactionID{1})
		write(&b)
		raw, _ := b.Message()
		d := pkt.Datagram{Path: l.c.Path(), Payload: raw}
		if l.c.Unwrap(l.now, &d) {
			t.Errorf("%s: taken for data", name)
		}
		l.c.HandleDatagram(l.now, &d)
		l.step()
		after := l.c.Counters()
		if len(l.events) != 0 || after.NoPermission+after.Malformed != before.NoPermission+before.Malformed+1 {
			t.Errorf("%s: %+v, %+v", name, l.events, after)
		}
	}
}

// Close at any moment of a request: what the server has made, or is about to make, is given back (RFC 8656 section 8), and
// the end comes soon, whether the server answers or not.
func TestCloseDuringRequest(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for name, until := range map[string]func(l *line){
			"before the challenge": func(l *line) { l.cut = true; l.step(); l.cut = false },
			"before the answer":    func(l *line) { l.step(); l.deaf = true; l.step(); l.deaf = false },
			"during a permission": func(l *line) {
				l.pass(time.Second)
				l.c.Permit(l.now, peer4.Addr())
				l.deaf = true
				l.step()
				l.deaf = false
			},
			"during a permission that is lost": func(l *line) {
				l.pass(time.Second)
				l.c.Permit(l.now, peer4.Addr())
				l.cut = true
				l.step()
				l.cut = false
			},
			"with data that waits": func(l *line) {
				l.pass(time.Second)
				l.c.AppendData(nil, l.now, peer4, []byte("held"), false)
			},
		} {
			for _, silent := range []bool{false, true} {
				l := newLine(t, stream)
				until(l)
				l.cut = silent
				l.c.Close(l.now)
				began := l.now
				for l.now.Sub(began) < 2*time.Second {
					for l.step() {
					}
					if n := len(l.events); n > 0 {
						if _, over := l.events[n-1].(turn.Ended); over {
							break
						}
					}
					l.now = min(l.c.NextTimeout(), l.now.Add(2*time.Second))
					l.c.HandleTimeout(l.now)
				}
				if err := l.end(); err != nil {
					t.Errorf("%s, stream %v, silent %v: ended by %v", name, stream, silent, err)
				}
				if took := l.now.Sub(began); took > 1100*time.Millisecond {
					t.Errorf("%s, stream %v, silent %v: it took %v", name, stream, silent, took)
				}
				if n := l.s.Counters().Allocations; !silent && n != 0 {
					t.Errorf("%s, stream %v: %d allocations are left", name, stream, n)
				}
				if l.c.NextTimeout() != mono.Never || l.step() {
					t.Errorf("%s, stream %v, silent %v: it goes on after the end", name, stream, silent)
				}
				if l.c.Close(l.now); l.step() {
					t.Errorf("%s: a second Close says something", name)
				}
			}
		}
	}
}

// Ready says whether the server knows allocations with both families, so that nobody asks in vain for the other.
func TestReadySaysWhatTheServerKnows(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*turn.Config)
		both   bool
	}{
		"both":     {func(*turn.Config) {}, true},
		"one only": {func(cfg *turn.Config) { cfg.Relay = cfg.Relay[:1] }, true}, // ADDRESS-ERROR-CODE (section 7.2)
	} {
		sc := newScene(t, c.change)
		s, _ := sc.client(sc.host("5.9.0.7"), alice, peer4)
		sc.n.Run(time.Second)
		if r := s.ready(t); r.Additional != c.both {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// An allocation in doubt: the server knows it, or answers 437 ("the allocation does not exist", RFC 8656 section 7.3 and 8.2), long before the Refresh
// that would find out. Silence proves nothing over UDP, and over a stream, where nothing else could be wrong, it is the end.
func TestVerify(t *testing.T) {
	for _, stream := range []bool{false, true} {
		verify := func(l *line) int {
			l.sent = nil
			l.c.Verify(l.now)
			l.c.Verify(l.now) // under way already
			l.step()
			return len(l.sent)
		}
		l := newLine(t, stream)
		if l.c.Verify(l.now); len(l.sent) > 0 {
			t.Error("verified before there was an allocation")
		}
		l.pass(time.Second)
		if n := verify(l); n != 1 {
			t.Errorf("stream %t: %d messages", stream, n)
		}
		l.pass(time.Minute)
		if n := len(l.events); n != 1 {
			t.Errorf("stream %t: after a Refresh that was answered there are %d events", stream, n)
		}

		l.cut = true
		l.c.Verify(l.now)
		l.pass(4 * time.Second)
		if n := len(l.events); n != 1 {
			t.Errorf("stream %t: four seconds of silence are %d events", stream, n)
		}
		l.pass(2 * time.Second)
		if stream {
			if err := l.end(); !errors.Is(err, stun.ErrTimeout) {
				t.Errorf("six seconds of silence end it by %v", err)
			}
		} else {
			l.pass(time.Minute)
			l.cut = false
			if n := verify(l); n != 1 {
				t.Errorf("after silence: %d messages", n)
			}
			l.pass(time.Minute)
			if n := len(l.events); n != 1 {
				t.Errorf("after silence there are %d events", n)
			}
		}

		l = newLine(t, stream)
		l.pass(time.Second)
		l.s.AddSocket(l.now, l.socket, stream) // which forgets what was there
		verify(l)
		l.pass(time.Millisecond)
		if err := l.end(); !errors.Is(err, turn.ErrLost) {
			t.Errorf("stream %t: an allocation that is gone ends by %v", stream, err)
		}
	}
}
