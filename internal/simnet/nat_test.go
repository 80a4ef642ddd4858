package simnet_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// The nine kinds of NAT, mapping before filtering.
var kinds = func() (k []simnet.NAT) {
	all := []simnet.Behaviour{simnet.EndpointIndependent, simnet.AddressDependent, simnet.AddressAndPortDependent}
	for _, mapping := range all {
		for _, filtering := range all {
			k = append(k, simnet.NAT{Mapping: mapping, Filtering: filtering})
		}
	}
	return k
}()

// reachable says which of the kinds reach each other with a hole punch that answers to where a request came from (as
// the triggered checks of RFC 8445 section 7.3.1.4 do) and takes an answer only from where it asked (section 7.2.5.2.1).
//
// Two independent mappings always do. Against a mapping that depends on the address, the other side must let in a port
// that it never sent to. Two dependent mappings need one side that lets in everybody, another that lets in more than
// the exact address, and one of them must have a single mapping for the other's address.
var reachable = [9]string{
	//                 mapping EI   mapping AD   mapping APD
	//       filtering EI  AD  APD  EI  AD  APD  EI  AD  APD
	/* EI  EI  */ " x   x   x    x   x   x    x   x   x",
	/* EI  AD  */ " x   x   x    x   x   x    x   x   x",
	/* EI  APD */ " x   x   x    -   -   -    -   -   -",
	/* AD  EI  */ " x   x   -    x   x   -    x   x   -",
	/* AD  AD  */ " x   x   -    x   -   -    x   -   -",
	/* AD  APD */ " x   x   -    -   -   -    -   -   -",
	/* APD EI  */ " x   x   -    x   x   -    -   -   -",
	/* APD AD  */ " x   x   -    x   -   -    -   -   -",
	/* APD APD */ " x   x   -    -   -   -    -   -   -",
}

func TestHolePunchTable(t *testing.T) {
	for _, random := range []bool{false, true} {
		for i, left := range kinds {
			want := strings.Fields(reachable[i])
			for j, right := range kinds {
				left.RandomPorts, right.RandomPorts = random, random
				got := "-"
				if punch(t, 1, left, right, nil) {
					got = "x"
				}
				if got != want[j] {
					t.Errorf("%v mapping with %v filtering, to %v mapping with %v filtering, random ports %v: %s, want %s",
						left.Mapping, left.Filtering, right.Mapping, right.Filtering, random, got, want[j])
				}
			}
		}
	}
}

// The same seed gives the same packets, byte for byte, and another seed gives others.
func TestSameSeedSameLog(t *testing.T) {
	log := func(seed uint64) string {
		var b bytes.Buffer
		for _, left := range kinds {
			left.RandomPorts = true
			punch(t, seed, left, kinds[3], &b)
		}
		return b.String()
	}
	first := log(1)
	if again := log(1); again != first {
		t.Error("two runs with seed 1 differ")
	}
	if log(2) == first {
		t.Error("seeds 1 and 2 give the same log: nothing in it is random")
	}
	for _, word := range []string{"send udp", "recv udp", "lost udp", "filtered udp"} {
		if !strings.Contains(first, word) {
			t.Errorf("there is no %q in the log of\n%s", word, first)
		}
	}
}

// punch builds two NATs with a host behind each, lets them punch, and reports whether they reached each other.
func punch(t *testing.T, seed uint64, left, right simnet.NAT, log *bytes.Buffer) bool {
	t.Helper()
	n := simnet.New(seed)
	path := simnet.Path{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond}
	if log != nil {
		n.Log(log)
		path.Loss, path.Duplicate, path.Reorder, path.ReorderBy = 0.1, 0.1, 0.1, 20*time.Millisecond
	}
	a := n.Internet().NAT("left", path, left, "198.51.100.1").Host("a", simnet.Path{}, "192.168.0.2")
	b := n.Internet().NAT("right", path, right, "198.51.100.2").Host("b", simnet.Path{}, "192.168.0.2")
	server := n.Internet().Host("server", path, "203.0.113.1")

	// The server says to each where it saw the other.
	seen := map[byte]netip.AddrPort{}
	var s *simnet.Socket
	s = bind(t, server, "203.0.113.1:3478", func(_ mono.Time, d *pkt.Datagram) {
		me := d.Payload[0]
		seen[me] = d.Remote
		if other, ok := seen['a'^'b'^me]; ok {
			s.Send(d.Remote, append([]byte("peer "), other.String()...))
		}
	})
	pa, pb := newPuncher(t, n, a, 'a', s.Local()), newPuncher(t, n, b, 'b', s.Local())
	n.Run(3 * time.Second)
	return pa.reached && pb.reached
}

// puncher is the textbook.
type puncher struct {
	socket  *simnet.Socket
	targets []netip.AddrPort
	reached bool // an answer came from where it was asked for
}

func newPuncher(t *testing.T, n *simnet.Network, h *simnet.Host, me byte, server netip.AddrPort) *puncher {
	p := &puncher{}
	p.socket = bind(t, h, "192.168.0.2:5000", func(_ mono.Time, d *pkt.Datagram) {
		verb, rest, _ := strings.Cut(string(d.Payload), " ")
		switch verb {
		case "peer":
			p.aim(netip.MustParseAddrPort(rest))
		case "ping":
			p.socket.Send(d.Remote, []byte("pong "+rest))
			p.aim(d.Remote)
		case "pong":
			p.reached = p.reached || rest == d.Remote.String()
		}
	})
	var tick func(mono.Time)
	tick = func(mono.Time) {
		p.socket.Send(server, []byte{me})
		for _, to := range p.targets {
			p.ping(to)
		}
		n.After(100*time.Millisecond, tick)
	}
	n.After(0, tick)
	return p
}

func (p *puncher) aim(to netip.AddrPort) {
	for _, have := range p.targets {
		if have == to {
			return
		}
	}
	if len(p.targets) < 20 { // two symmetric NATs show each other ever new ports
		p.targets = append(p.targets, to)
		p.ping(to)
	}
}

func (p *puncher) ping(to netip.AddrPort) { p.socket.Send(to, []byte("ping "+to.String())) }

// natted is a host behind a NAT and two servers, each of which tells a sender how it sees it.
type natted struct {
	net    *simnet.Network
	router *simnet.Router
	host   *simnet.Host
	heard  []string // by the host
	socket *simnet.Socket
	server [2]*simnet.Socket
}

func behind(t *testing.T, config simnet.NAT) *natted {
	t.Helper()
	x := &natted{net: simnet.New(3)}
	x.router = x.net.Internet().NAT("nat", simnet.Path{}, config, "198.51.100.1")
	x.host = x.router.Host("host", simnet.Path{}, "10.0.0.2")
	x.socket = bind(t, x.host, "10.0.0.2:5000", func(_ mono.Time, d *pkt.Datagram) {
		x.heard = append(x.heard, string(d.Payload))
	})
	for i := range x.server {
		addr := fmt.Sprintf("203.0.113.%d", i+1)
		x.server[i] = bind(t, x.net.Internet().Host(addr, simnet.Path{}, addr), addr+":3478", func(_ mono.Time, d *pkt.Datagram) {
			x.server[i].Send(d.Remote, []byte(d.Remote.String()))
		})
	}
	return x
}

// ask sends from the host to a server and returns the address that it saw, or "".
func (x *natted) ask(from *simnet.Socket, server int) string {
	x.heard = nil
	from.Send(x.server[server].Local(), []byte("?"))
	x.net.Run(time.Millisecond)
	return strings.Join(x.heard, " ")
}

func TestPortsArePreservedWhereFree(t *testing.T) {
	x := behind(t, simnet.NAT{Mapping: simnet.AddressDependent})
	if got := x.ask(x.socket, 0); got != "198.51.100.1:5000" {
		t.Errorf("the first mapping is %q", got)
	}
	if got := x.ask(x.socket, 1); got != "198.51.100.1:5001" {
		t.Errorf("the mapping for another address is %q, want the next port", got)
	}
	if got := x.ask(x.socket, 0); got != "198.51.100.1:5000" {
		t.Errorf("asked again, the first mapping is %q", got)
	}
	other := bind(t, x.router.Host("other", simnet.Path{}, "10.0.0.3"), "10.0.0.3:5000", func(_ mono.Time, d *pkt.Datagram) {
		x.heard = append(x.heard, string(d.Payload))
	})
	if got := x.ask(other, 0); got != "198.51.100.1:5002" {
		t.Errorf("another host with the same port is seen as %q", got)
	}
}

func TestRandomPorts(t *testing.T) {
	x := behind(t, simnet.NAT{Mapping: simnet.AddressDependent, RandomPorts: true})
	first, second := x.ask(x.socket, 0), x.ask(x.socket, 1)
	if first == second || first == "" || second == "" || strings.HasSuffix(first, ":5000") {
		t.Errorf("seen as %q and %q", first, second)
	}
	if got := x.ask(x.socket, 0); got != first {
		t.Errorf("the mapping moved from %q to %q", first, got)
	}
}

// RFC 4787 section 4.3, REQ-6: "The NAT mapping Refresh Direction MUST have a "NAT Outbound refresh behavior" of "True"."
func TestMappingLifetime(t *testing.T) {
	for _, c := range []struct {
		lifetime, wait time.Duration
		alive          bool
	}{
		{0, 119 * time.Second, true},
		{0, 121 * time.Second, false},
		{30 * time.Second, 29 * time.Second, true},
		{30 * time.Second, 31 * time.Second, false},
	} {
		x := behind(t, simnet.NAT{Lifetime: c.lifetime, RandomPorts: true})
		was := netip.MustParseAddrPort(x.ask(x.socket, 0))
		x.net.Run(c.wait - time.Second)
		x.server[0].Send(was, []byte("inward")) // refreshes nothing
		x.net.Run(time.Second)
		x.heard = nil
		x.server[0].Send(was, []byte("inward"))
		x.net.Run(time.Millisecond)
		if got := len(x.heard) == 1; got != c.alive {
			t.Errorf("lifetime %v: after %v the mapping is alive %v", c.lifetime, c.wait, got)
		}
		if got := x.ask(x.socket, 0) == was.String(); got != c.alive {
			t.Errorf("lifetime %v: after %v the port is the same %v", c.lifetime, c.wait, got)
		}
	}
	x := behind(t, simnet.NAT{RandomPorts: true})
	was := x.ask(x.socket, 0)
	for range 10 {
		x.net.Run(100 * time.Second)
		if got := x.ask(x.socket, 0); got != was {
			t.Fatalf("a mapping that is used moved from %q to %q", was, got)
		}
	}
	x.router.Reboot()
	if got := x.ask(x.socket, 0); got == was {
		t.Error("after a reboot the mapping is the same")
	}
}

// RFC 4787 section 6: two hosts behind the same NAT by their outside addresses; section 6, REQ-9a: the source is the
// outside address too.
func TestHairpinning(t *testing.T) {
	for _, hairpin := range []bool{false, true} {
		x := behind(t, simnet.NAT{Hairpin: hairpin})
		var from netip.AddrPort
		other := bind(t, x.router.Host("other", simnet.Path{}, "10.0.0.3"), "10.0.0.3:7000", func(_ mono.Time, d *pkt.Datagram) {
			from = d.Remote
		})
		other.Send(x.server[0].Local(), []byte("?"))
		x.net.Run(time.Millisecond)
		from = netip.AddrPort{}
		x.socket.Send(netip.MustParseAddrPort("198.51.100.1:7000"), []byte("hello"))
		x.net.Run(time.Millisecond)
		if hairpin && from.String() != "198.51.100.1:5000" || !hairpin && from.IsValid() {
			t.Errorf("hairpinning %v: the neighbour heard from %v", hairpin, from)
		}
		from = netip.AddrPort{}
		x.socket.Send(other.Local(), []byte("hello"))
		x.net.Run(time.Millisecond)
		if from != x.socket.Local() {
			t.Errorf("by its own address the neighbour heard from %v", from)
		}
	}
}

func TestNATsNestAndLeaveTheOtherFamilyAlone(t *testing.T) {
	n := simnet.New(1)
	carrier := n.Internet().NAT("carrier", simnet.Path{}, simnet.NAT{}, "198.51.100.1")
	home := carrier.NAT("home", simnet.Path{}, simnet.NAT{RandomPorts: true}, "100.64.0.9")
	host := home.Host("host", simnet.Path{}, "10.0.0.2", "2001:db8::2")
	server := n.Internet().Host("server", simnet.Path{}, "203.0.113.1", "2001:db8:1::1")
	var seen []netip.AddrPort
	note := func(_ mono.Time, d *pkt.Datagram) { seen = append(seen, d.Remote) }
	four, six := bind(t, server, "0.0.0.0:9", note), bind(t, server, "[::]:9", note)
	bind(t, host, "0.0.0.0:5000", note).Send(netip.MustParseAddrPort("203.0.113.1:9"), nil)
	own := bind(t, host, "[::]:5000", note)
	own.Send(netip.MustParseAddrPort("[2001:db8:1::1]:9"), nil)
	n.Run(time.Second)
	six.Send(netip.MustParseAddrPort("[2001:db8::2]:5000"), nil)
	four.Send(netip.MustParseAddrPort("10.0.0.2:5000"), nil) // nobody knows the way
	n.Run(time.Second)
	if len(seen) != 3 || seen[0].Addr().String() != "198.51.100.1" || seen[1].String() != "[2001:db8::2]:5000" || seen[2].String() != "[2001:db8:1::1]:9" {
		t.Errorf("seen %v", seen)
	}
}

func TestFirewallLetsInOnlyAnswers(t *testing.T) {
	n := simnet.New(1)
	office := n.Internet().Firewall("office", simnet.Path{}, simnet.OnlyPorts(53))
	heard := 0
	inside := bind(t, office.Host("inside", simnet.Path{}, "198.51.100.5"), "198.51.100.5:5000", func(mono.Time, *pkt.Datagram) { heard++ })
	outside := n.Internet().Host("outside", simnet.Path{}, "203.0.113.1")
	asked := 0
	dns := bind(t, outside, "203.0.113.1:53", func(mono.Time, *pkt.Datagram) { asked++ })
	other := bind(t, outside, "203.0.113.1:54", func(mono.Time, *pkt.Datagram) { asked++ })
	step := func(from *simnet.Socket, to *simnet.Socket, wantAsked, wantHeard int) {
		t.Helper()
		from.Send(to.Local(), []byte("x"))
		n.Run(time.Millisecond)
		if asked != wantAsked || heard != wantHeard {
			t.Errorf("asked %d, heard %d, want %d, %d", asked, heard, wantAsked, wantHeard)
		}
	}
	step(dns, inside, 0, 0)
	step(inside, other, 0, 0)
	step(inside, dns, 1, 0)
	step(dns, inside, 1, 1)
	step(other, inside, 1, 1)
	n.Run(3 * time.Minute)
	step(dns, inside, 1, 1)
}
