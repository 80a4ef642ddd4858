package gather_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/pkt"
)

var home = simnet.NAT{Filtering: simnet.AddressAndPortDependent}

// RFC 8445 section 5.1.1: host candidates, what a STUN server sees of them, and what a TURN server relays for them; the
// relay carries data both ways.
func TestCandidatesOfEachType(t *testing.T) {
	inScene(t, func(s *scene) {
		inside := s.at(s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", "192.168.1.2")
		o := s.owner(inside, gather.Config{Servers: servers(t, "stun:turn.test", "turn:turn.test")})
		peer := s.at(s.net.Internet(), "peer", "8.8.4.4")
		p := s.owner(peer, gather.Config{})
		time.Sleep(2 * time.Second)

		wantCandidates(t, o, "host udp 192.168.1.2:49152", "srflx udp 5.9.0.1:49152 from 192.168.1.2:49152",
			"relay/udp 198.41.0.9 from 5.9.0.1:49152", "relay/udp 2620:fe::9")
		if e, _ := seen[gather.ServerError](o); len(e) != 0 {
			t.Errorf("errors: %+v", e)
		}
		if done, when := seen[gather.Complete](o); len(done) != 1 || when > 200*time.Millisecond {
			t.Errorf("complete %d times, first after %v", len(done), when)
		}
		wantCandidates(t, p, "host udp 8.8.4.4:49152")

		for _, c := range o.relays() {
			if c.Address.Addr().Is4() {
				o.talk(c, p)
			}
		}
	})
}

// A machine without a network connects two peers in it by the loopback addresses.
func TestLoopbackWhereThereIsNothingElse(t *testing.T) {
	inScene(t, func(s *scene) {
		alone := s.at(s.net.Internet(), "alone", "127.0.0.1")
		o := s.owner(alone, gather.Config{})
		synctest.Wait()
		wantCandidates(t, o, "host udp 127.0.0.1:49152")
		if done, _ := seen[gather.Complete](o); len(done) != 1 {
			t.Errorf("complete %d times", len(done))
		}
	})
}

// Real sockets on this machine, whatever its addresses are.
func TestThisMachine(t *testing.T) {
	o := newOwner(t, nil, gather.Config{Loopback: true}).start()
	loopback := 0
	for _, c := range o.found() {
		if c.Type != ice.Host || c.Address.Port() == 0 || c.Base.Addr().WithZone("") != c.Address.Addr() {
			t.Errorf("not a host candidate: %+v", c)
		}
		if c.Address.Addr() == netip.MustParseAddr("127.0.0.1") {
			loopback++
			o.send(pkt.Path{Socket: c.Socket, Local: c.Base, Remote: c.Base}, "to myself")
		}
	}
	if loopback != 1 {
		t.Fatalf("%d candidates at 127.0.0.1, want one", loopback)
	}
	if done, _ := seen[gather.Complete](o); len(done) != 1 {
		t.Errorf("complete %d times", len(done))
	}
	var got []pkt.Datagram
	o.until("a datagram from the own socket", func() bool { got = append(got, o.received()...); return len(got) > 0 })
	if string(got[0].Payload) != "to myself" {
		t.Errorf("got %q", got[0].Payload)
	}
	o.stop()
}
