package ice_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/ice"
)

var listening = addr("192.0.2.9:7000")

// newStreams makes a world in which a dials and b listens, and UDP is let through only if asked for.
func newStreams(t *testing.T, udp bool, active ice.Role) *world {
	t.Helper()
	w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
	now := w.Now()
	w.a.SetRole(now, active)
	w.b.SetRole(now, 1-active)
	introduce(t, now, w.a.Agent, w.b.Agent)
	if !udp {
		w.a.bases, w.b.bases = nil, nil
	}
	offer(now, w.a.Agent, w.b.Agent, ice.Candidate{Transport: ice.TCPActive, Address: addr("192.0.2.1:9")})
	offer(now, w.b.Agent, w.a.Agent, ice.Candidate{Transport: ice.TCPPassive, Address: listening, Socket: w.b.listen(listening)})
	w.exchange()
	return w
}

func TestConnectsOverStreams(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run("active is "+role.String(), func(t *testing.T) {
			w := newStreams(t, false, role)
			w.connected(t)
			w.talks()
			w.Run(time.Second)
			p, _ := w.a.Selected()
			q, _ := w.b.Selected()
			if p.Local.Transport != ice.TCPActive || p.Remote.Transport != ice.TCPPassive || p.Path.Remote != listening || p.Path.Socket < firstStream {
				t.Errorf("the active side has %+v", p)
			}
			// "STUN requests received on a passive TCP candidate will typically produce a remote peer reflexive candidate" (RFC 6544
			// section 7.2)
			if q.Local.Transport != ice.TCPPassive || q.Remote.Transport != ice.TCPActive || q.Remote.Type != ice.PeerReflexive || q.Path.Remote != p.Path.Local {
				t.Errorf("the passive side has %+v", q)
			}
			if len(w.a.heard) < 40 || len(w.b.heard) < 40 {
				t.Errorf("%d and %d words in a second", len(w.a.heard), len(w.b.heard))
			}
			// "consent checks MUST be performed over all transport connections, including TCP" (RFC 7675 section 5.1)
			w.Run(40 * time.Second)
			if !w.both(ice.StateCompleted)() || len(w.a.streams) != 1 {
				t.Errorf("%v and %v after 40 s, %d streams", w.a.State(), w.b.State(), len(w.a.streams))
			}
			// "retransmissions of the STUN connectivity check messages are not needed" (RFC 6544 section 7.1)
			if all := w.a.requests(); len(firsts(all)) != len(all) {
				t.Error("a check was repeated")
			}
		})
	}
}

// "If the agent's local candidate is tcp-active or tcp-so, it MUST reopen a connection to the remote candidate of the
// selected pair." (RFC 6544 section 11.1)
func TestBrokenStreamIsOpenedAgain(t *testing.T) {
	for _, role := range []ice.Role{ice.Controlling, ice.Controlled} {
		t.Run("active is "+role.String(), func(t *testing.T) {
			w := newStreams(t, false, role)
			w.connected(t)
			w.Run(10 * time.Second)
			broke := w.Now()
			p, _ := w.a.Selected()
			q, _ := w.b.Selected()
			w.a.hangUp(p.Path.Socket)
			w.b.hangUp(q.Path.Socket)
			w.b.RemoveLocal(broke, q.Path.Socket)
			w.b.driver.Poll()
			w.a.RemoveLocal(broke, p.Path.Socket)
			w.a.driver.Poll()
			if w.a.State() != ice.StateDisconnected || w.b.State() != ice.StateDisconnected {
				t.Errorf("without a stream: %v and %v", w.a.State(), w.b.State())
			}
			w.connected(t)
			// one round trip to open it, another for the check and its answer
			if took := w.Now().Sub(broke); took > 200*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if again, _ := w.a.Selected(); again.Path.Socket == p.Path.Socket || len(w.a.streams) != 2 {
				t.Errorf("along %v, %d streams", again.Path, len(w.a.streams))
			}
		})
	}
}

// "When ICE processing for a media stream completes, each agent SHOULD close all TCP connections (that were opened due to
// this ICE session) except the ones between the candidate pairs selected by ICE." (RFC 6544 section 8)
func TestStreamsWithoutUseAreClosed(t *testing.T) {
	w := newStreams(t, true, ice.Controlling)
	w.connected(t)
	w.Run(10 * time.Second)
	for _, s := range []*side{w.a, w.b} {
		if p, _ := s.Selected(); p.Local.Transport != ice.UDP {
			t.Errorf("%v: %v is preferred to UDP", s.Role(), p.Local.Transport)
		}
		closed := slices.ContainsFunc(s.events, func(e ice.Event) bool { _, is := e.(ice.Disconnect); return is })
		if len(s.streams) != 1 || !closed {
			t.Errorf("%v: %d streams, closed: %v", s.Role(), len(s.streams), closed)
		}
	}
}

// "If the TCP connection cannot be established, the check is considered to have failed, and a full-mode agent MUST update
// the pair state to Failed in the check list." (RFC 6544 section 7.1)
func TestRefusedStreamsFail(t *testing.T) {
	for name, refuse := range map[string]func(w *world, e ice.Connect){
		"refused":  func(w *world, e ice.Connect) { w.a.ConnectFailed(w.Now(), e.Number) },
		"no reply": func(w *world, _ ice.Connect) { w.Run(16 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPlain(t, 1, ice.Config{}, ice.Config{}, []string{"192.0.2.1"}, []string{"192.0.2.9"})
			introduce(t, w.Now(), w.a.Agent, w.b.Agent)
			w.a.AddLocalCandidate(w.Now(), ice.Candidate{Transport: ice.TCPActive, Address: addr("192.0.2.1:9")})
			w.a.AddRemoteCandidate(w.Now(), ice.Candidate{Transport: ice.TCPPassive, Address: listening, Priority: 1})
			w.a.driver.Poll()
			w.Run(time.Millisecond)
			connect, ok := w.a.events[0].(ice.Connect)
			if !ok || connect.Local != netip.MustParseAddr("192.0.2.1") || connect.Remote != listening {
				t.Fatalf("no Connect: %v", w.a.events)
			}
			refuse(w, connect)
			if all := w.a.Pairs(); len(all) != 1 || all[0].State != ice.PairFailed {
				t.Fatalf("%+v", all)
			}
			// One that comes about after all is of no use.
			w.a.Connected(w.Now(), connect.Number, firstStream, addr("192.0.2.1:1234"))
			w.a.driver.Poll()
			if e := w.a.events[len(w.a.events)-1]; e != ice.Event(ice.Disconnect{Socket: firstStream}) {
				t.Errorf("%+v instead of a Disconnect", e)
			}
		})
	}
}

// Only an active candidate is paired with a passive one, and only from the active side; and a peer cannot have us dial
// where services are that trust whoever reaches them.
func TestWhatIsDialled(t *testing.T) {
	for _, c := range []struct {
		local, remote ice.Transport
		address       string
		dials         bool
	}{
		{ice.TCPActive, ice.TCPPassive, "192.0.2.9:7000", true},
		{ice.TCPActive, ice.TCPPassive, "192.0.2.9:443", true},
		{ice.TCPActive, ice.TCPPassive, "192.0.2.9:80", true},
		{ice.TCPActive, ice.TCPPassive, "192.0.2.9:25", false},
		{ice.TCPActive, ice.TCPPassive, "10.0.0.1:443", false},
		{ice.TCPActive, ice.TCPPassive, "127.0.0.1:80", false},
		{ice.TCPActive, ice.TCPPassive, "100.64.0.1:80", false},
		{ice.TCPActive, ice.TCPPassive, "10.0.0.1:7000", true},
		{ice.TCPActive, ice.TCPPassive, "224.0.0.1:7000", false},
		{ice.TCPActive, ice.TCPPassive, "255.255.255.255:7000", false},
		{ice.TCPActive, ice.TCPPassive, "[2001:db8::1]:7000", false}, // our address is of IPv4
		{ice.TCPActive, ice.TCPActive, "192.0.2.9:9", false},
		{ice.TCPActive, ice.TCPSimultaneousOpen, "192.0.2.9:7000", false},
		{ice.TCPPassive, ice.TCPPassive, "192.0.2.9:7000", false},
		// "When the agent prunes the check list, it MUST also remove any pair for which the local candidate is a passive TCP
		// candidate." (RFC 6544 section 6.2)
		{ice.TCPPassive, ice.TCPActive, "192.0.2.9:9", false},
		{ice.UDP, ice.TCPPassive, "192.0.2.9:7000", false},
	} {
		a, b := newAgent(t, ice.Controlling, 1), newAgent(t, ice.Controlled, 2)
		introduce(t, 0, a, b)
		a.AddLocalCandidate(0, ice.Candidate{Transport: c.local, Address: addr("192.0.2.1:4000")})
		a.AddRemoteCandidate(0, ice.Candidate{Transport: c.remote, Address: addr(c.address), Priority: 1})
		dials := false
		for e, ok := a.NextEvent(); ok; e, ok = a.NextEvent() {
			if _, is := e.(ice.Connect); is {
				dials = true
			}
		}
		if pairs := len(a.Pairs()); dials != c.dials || pairs != 0 != c.dials {
			t.Errorf("%v with %v %s: dials %v, %d pairs", c.local.TCPType(), c.remote.TCPType(), c.address, dials, pairs)
		}
	}
}

// RFC 6544 section 4.2: host and reflexive candidates of TCP come after those of UDP, active before passive, and relayed
// candidates last.
func TestStreamsComeAfterDatagrams(t *testing.T) {
	a := newAgent(t, ice.Controlling, 1)
	base := addr("192.0.2.1:4000")
	var last uint32 = 1<<31 - 1 // "a positive integer between 1 and (2**31 - 1)" (RFC 8445 section 5.1.2)
	for i, c := range []ice.Candidate{
		{Address: base},
		{Type: ice.ServerReflexive, Address: addr("198.51.100.1:1"), Related: base},
		{Transport: ice.TCPActive, Address: addr("192.0.2.1:9")},
		{Transport: ice.TCPPassive, Address: base, Socket: 1},
		{Transport: ice.TCPPassive, Type: ice.ServerReflexive, Address: addr("198.51.100.1:2"), Related: base, Socket: 1},
		{Type: ice.Relayed, Address: addr("203.0.113.1:1"), Socket: -1, RelayProtocol: ice.RelayUDP},
		{Type: ice.Relayed, Address: addr("203.0.113.1:2"), Socket: -2, RelayProtocol: ice.RelayDTLS},
		{Type: ice.Relayed, Address: addr("203.0.113.1:3"), Socket: -3, RelayProtocol: ice.RelayTCP},
		{Type: ice.Relayed, Address: addr("203.0.113.1:4"), Socket: -4, RelayProtocol: ice.RelayTLS},
		{Type: ice.Relayed, Address: addr("203.0.113.2:4"), Socket: -5, RelayProtocol: ice.RelayTLS},
	} {
		c, ok := a.AddLocalCandidate(0, c)
		if !ok || c.Priority >= last {
			t.Errorf("candidate %d, %v %v: priority %d after %d", i, c.Type, c.Transport, c.Priority, last)
		}
		last = c.Priority
	}
}
