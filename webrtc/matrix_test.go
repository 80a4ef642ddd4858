package webrtc

import (
	"crypto/rand"
	"crypto/tls"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/turn"
)

var writeMatrix = flag.Bool("write-matrix", false, "write docs/connectivity.md")

// A place is a kind of network that a peer may be in.
type place struct {
	name string
	nat  *simnet.NAT // before the host, for IPv4
	cgn  *simnet.NAT // before the NAT
	wall func(*simnet.Packet) bool
	v4   bool
	v6   bool
}

var (
	symmetric = &simnet.NAT{Mapping: simnet.AddressAndPortDependent, Filtering: simnet.AddressAndPortDependent, RandomPorts: true}
	portCone  = &simnet.NAT{Mapping: simnet.EndpointIndependent, Filtering: simnet.AddressAndPortDependent}
)

var places = []place{
	{name: "public", v4: true},
	{name: "endpoint-independent", nat: &simnet.NAT{}, v4: true},
	{name: "address-dependent", nat: &simnet.NAT{Filtering: simnet.AddressDependent}, v4: true},
	{name: "port-dependent", nat: portCone, v4: true},
	{name: "symmetric", nat: symmetric, v4: true},
	{name: "carrier-grade behind symmetric", nat: symmetric, cgn: portCone, v4: true},
	{name: "udp blocked", nat: portCone, wall: simnet.NoUDP, v4: true},
	{name: "only tcp 443", nat: portCone, wall: simnet.OnlyTCPPorts(443), v4: true},
	{name: "only an HTTP proxy", nat: portCone, wall: simnet.OnlyTCPPorts(3128), v4: true},
	{name: "IPv6 only", v6: true},
	{name: "dual stack", nat: portCone, v4: true, v6: true},
}

// What stands in the middle.
const (
	turn4, turn6   = "198.41.0.4", "2620:fe::fe"
	relay4, relay6 = "198.41.0.9", "2620:fe::9"
	proxyAddr      = "198.41.0.20"
)

// servers are what a peer is offered: each way has those before it too.
var matrixWays = []struct {
	name string
	urls []string
}{
	{"STUN only", []string{"stun:turn.test"}},
	{"+ TURN over udp", []string{"turn:turn.test?transport=udp"}},
	{"+ TURN over tcp", []string{"turn:turn.test?transport=tcp"}},
	{"+ TURN over tls", []string{"turns:turn.test:443"}},
}

// at puts a host into the network: ten milliseconds from the middle, whatever is between.
func (p *place) at(n *simnet.Network, side int) *simloop.Host {
	outside := simnet.Path{Delay: 10 * time.Millisecond}
	router := n.Internet()
	name := fmt.Sprint("host", side)
	address := fmt.Sprintf("5.9.%d.7", side)
	if p.wall != nil {
		router = router.Firewall(name+" wall", outside, p.wall)
		outside = simnet.Path{}
	}
	if p.cgn != nil {
		router = router.NAT(name+" carrier", outside, *p.cgn, address)
		address, outside = fmt.Sprintf("100.64.%d.7", side), simnet.Path{}
	}
	if p.nat != nil && p.v4 {
		router = router.NAT(name+" home", outside, *p.nat, address)
		address, outside = fmt.Sprintf("192.168.%d.2", side), simnet.Path{}
	}
	six := fmt.Sprintf("2a01:4f8:%d::7", side)
	if !p.v4 {
		return simloop.New(n.Internet().Host(name, simnet.Path{Delay: 10 * time.Millisecond}, six))
	}
	h := router.Host(name, outside, address)
	if p.v6 {
		h.Attach(n.Internet(), simnet.Path{Delay: 10 * time.Millisecond}, six)
	}
	return simloop.New(h)
}

// A cell is how two places get on.
type cell struct {
	open bool
	took time.Duration // from when both have both descriptions until both have the open channel
	path string        // "direct", or what a relay is reached over
}

// meetAt connects two places, with the first so many of matrixWays.
func meetAt(t *testing.T, a, b place, ways int) (c cell) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(uint64(ways))
		n.Name("turn.test", turn4, turn6)
		host := simloop.New(n.Internet().Host("turn", simnet.Path{}, turn4, turn6, relay4, relay6))
		proxyHost := n.Internet().Host("proxy", simnet.Path{}, proxyAddr)
		hostA, hostB := a.at(n, 1), b.at(n, 2)
		n.Live()
		defer n.Close()
		server, roots := serveRelay(t, host)
		defer server.Close()
		proxy := &simnet.Proxy{Allow: func(target string) bool { return strings.HasSuffix(target, ":443") }}
		if err := proxy.Serve(proxyHost, netip.MustParseAddrPort(proxyAddr+":3128")); err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()

		var cfg Configuration
		for _, w := range matrixWays[:ways+1] {
			cfg.ICEServers = append(cfg.ICEServers, ICEServer{URLs: w.urls, Username: "alice", Credential: "wonderland"})
		}
		var pcs []*PeerConnection
		for _, h := range []*simloop.Host{hostA, hostB} {
			net := onHost(h)
			net.cfg.TLS, net.cfg.Proxy = roots, "none"
			if h == hostA && a.name == "only an HTTP proxy" || h == hostB && b.name == "only an HTTP proxy" {
				net.cfg.Proxy = "http://" + proxyAddr + ":3128"
			}
			pc, err := net.NewPeerConnection(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			pcs = append(pcs, pc)
		}
		c = connectCell(t, pcs[0], pcs[1])
	})
	return c
}

func serveRelay(t *testing.T, host *simloop.Host) (*simloop.TURNServer, *tls.Config) {
	t.Helper()
	c := relayCertificate(t)
	return serveRelayAs(t, host, c), c.roots
}

// A certified is who a relay is, and for whom.
type certified struct {
	own   *tls.Certificate
	roots *tls.Config
}

func relayCertificate(t *testing.T) certified {
	t.Helper()
	own, roots, err := simloop.Certificate("turn.test")
	if err != nil {
		t.Fatal(err)
	}
	return certified{own, &tls.Config{RootCAs: roots}}
}

func serveRelayAs(t *testing.T, host *simloop.Host, c certified) *simloop.TURNServer {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := simloop.ServeTURN(host, turn.Config{
		Entropy: rand.Reader, Public: true, Users: []turn.User{{Name: "alice", Password: "wonderland"}},
		Relay: []netip.Addr{netip.MustParseAddr(relay4), netip.MustParseAddr(relay6)},
		Own:   []netip.Addr{netip.MustParseAddr(turn4), netip.MustParseAddr(turn6)},
	})
	must(err)
	for _, a := range []string{turn4, turn6} {
		addr := netip.MustParseAddr(a)
		must(server.UDP(netip.AddrPortFrom(addr, 3478)))
		must(server.TCP(netip.AddrPortFrom(addr, 3478), nil))
		must(server.TCP(netip.AddrPortFrom(addr, 443), &tls.Config{Certificates: []tls.Certificate{*c.own}}))
	}
	return server
}

// connectCell exchanges descriptions in no time, and candidates as they come.
func connectCell(t *testing.T, a, b *PeerConnection) (c cell) {
	open := make(chan struct{}, 2)
	opened := func() { open <- struct{}{} }
	b.OnDataChannel(func(ch *DataChannel) { ch.OnOpen(opened) })
	ch, err := a.CreateDataChannel("chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	ch.OnOpen(opened)
	for _, step := range []func() error{
		func() error { return a.SetLocalDescription(nil) },
		func() error { return b.SetRemoteDescription(*a.LocalDescription()) },
		func() error { return b.SetLocalDescription(nil) },
		func() error { return a.SetRemoteDescription(*b.LocalDescription()) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for from, to := range map[*PeerConnection]*PeerConnection{a: b, b: a} {
		from.OnICECandidate(func(c *ICECandidate) { to.AddICECandidate(c) })
	}
	patience := time.After(40 * time.Second)
	for range 2 {
		select {
		case <-open:
		case <-patience:
			return cell{}
		}
	}
	c = cell{open: true, took: time.Since(began), path: paths[0]}
	for _, pc := range []*PeerConnection{a, b} {
		if p := pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair(); p != nil && p.Local.Type() == "relay" {
			c.path = paths[max(slices.Index(paths, c.path), slices.Index(paths, p.Local.RelayProtocol()))]
		}
	}
	return c
}

// paths are the slower the further on they stand.
var paths = []string{"direct", "udp", "tcp", "tls"}

// punches says whether two places reach each other without a relay: what is known of holes in NATs (RFC 5128 section 3.3,
// RFC 4787).
func punches(a, b place) bool {
	switch {
	case a.v6 && b.v6:
		return true
	case !a.v4 || !b.v4 || a.wall != nil || b.wall != nil:
		return false
	}
	is := func(p place, n *simnet.NAT) bool { return p.nat == n }
	return !(is(a, symmetric) && (is(b, symmetric) || is(b, portCone)) || is(b, symmetric) && is(a, portCone))
}

// Every kind of network against every kind. What can be direct is, with a STUN server alone; with relays over udp, tcp and
// tls all pairs connect, and quickly.
func TestNetworks(t *testing.T) {
	type row struct {
		a, b  place
		cells []cell
	}
	var rows []*row
	var mu sync.Mutex
	t.Run("pairs", func(t *testing.T) {
		for i, a := range places {
			for _, b := range places[i:] {
				r := &row{a, b, make([]cell, len(matrixWays))}
				rows = append(rows, r)
				t.Run(a.name+" with "+b.name, func(t *testing.T) {
					for w := range matrixWays {
						if w != 0 && w != len(matrixWays)-1 && !*writeMatrix {
							continue
						}
						c := meetAt(t, a, b, w)
						mu.Lock()
						r.cells[w] = c
						mu.Unlock()
					}
					if want := punches(a, b); r.cells[0].open != want {
						t.Errorf("with STUN only they connect: %v", r.cells[0].open)
					}
					if !r.cells[len(matrixWays)-1].open {
						t.Error("with every relay they do not connect")
					}
				})
			}
		}
	})
	took := map[string][]time.Duration{}
	for _, r := range rows {
		for _, c := range r.cells {
			if c.open {
				took[c.path] = append(took[c.path], c.took)
			}
		}
	}
	var medians []string
	for i, most := range []time.Duration{250 * time.Millisecond, 350 * time.Millisecond, 400 * time.Millisecond, 400 * time.Millisecond} {
		all := took[paths[i]]
		if len(all) == 0 {
			continue
		}
		slices.Sort(all)
		median := all[len(all)/2]
		medians = append(medians, fmt.Sprintf("%s %d ms (of %d, at most %d ms)", paths[i], median.Milliseconds(), len(all), all[len(all)-1].Milliseconds()))
		if median > most {
			t.Errorf("the median over %s is %v", paths[i], median)
		}
	}
	t.Log(strings.Join(medians, "; "))
	if !*writeMatrix {
		return
	}
	var doc strings.Builder
	fmt.Fprintf(&doc, connectivityHead, strings.Join(medians, "; "))
	for _, w := range matrixWays {
		fmt.Fprintf(&doc, " %s |", w.name)
	}
	doc.WriteString("\n|---|---|" + strings.Repeat("---|", len(matrixWays)) + "\n")
	for _, r := range rows {
		fmt.Fprintf(&doc, "| %s | %s |", r.a.name, r.b.name)
		for _, c := range r.cells {
			if c.open {
				fmt.Fprintf(&doc, " %s %d |", c.path, c.took.Milliseconds())
			} else {
				doc.WriteString(" no |")
			}
		}
		doc.WriteString("\n")
	}
	if err := os.WriteFile("../docs/connectivity.md", []byte(doc.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

const connectivityHead = `# Which networks connect

Two peers in every pair of networks, over a network in virtual time: each host is 10 ms from the middle, where the STUN and
TURN server and the HTTP proxy stand, so that two hosts are 20 ms apart, direct or relayed. A cell is the path that was used and the
milliseconds from when both sides had both descriptions (candidates trickle from setLocalDescription on) until the data
channel was open on both; TURN servers are offered on top of those in the columns before. Defaults everywhere: DTLS 1.3
with X25519MLKEM768. "Address-dependent" and "port-dependent" are filterings of a NAT with independent mapping; symmetric is dependent in both.

Medians: %s.

Written by ` + "`go test -run TestNetworks ./webrtc -write-matrix`" + `. The ordinary test has the first and the last column.

| | |`
