package webrtc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/mono"
)

// network makes a Network on a virtual host.
func (w *world) network(n *Network, cfg NetworkConfig) *Network {
	w.Helper()
	made, err := newNetwork(cfg, n.host, n.poller)
	w.check(err)
	w.Cleanup(func() { made.Close() })
	return made
}

// A server has one port for all its connections, and each gets what is its own, also from clients behind one address.
func TestOnePort(t *testing.T) {
	for _, lite := range []bool{false, true} {
		t.Run(fmt.Sprint("lite=", lite), func(t *testing.T) {
			inWorld(t, func(w *world) {
				server := w.network(w.b, NetworkConfig{UDP: ":3478", Lite: lite})
				if server.LocalUDP().Port() != 3478 {
					t.Errorf("the port is %v", server.LocalUDP())
				}
				const clients = 20
				got := make(chan string, clients)
				for i := range clients {
					a, b := w.connection(w.a, Configuration{}), w.connection(server, Configuration{})
					b.OnDataChannel(func(ch *DataChannel) {
						ch.OnMessage(func(m Message) { w.check(ch.SendText(ch.Label() + m.Text())) })
					})
					x, err := a.CreateDataChannel(fmt.Sprint(i), nil)
					w.check(err)
					x.OnOpen(func() { w.check(x.SendText("?")) })
					x.OnMessage(func(m Message) {
						if m.Text() != x.Label()+"?" {
							t.Errorf("client %s got %q", x.Label(), m.Text())
						}
						got <- m.Text()
					})
					w.negotiate(a, b)
				}
				for range clients {
					await(w, got, "every client's answer")
				}
				if c := server.loop.Counters(); c.Sockets > 2 {
					t.Errorf("the server has %d sockets", c.Sockets)
				}
				entries := func() (n int) {
					w.check(server.loop.Do(func(mono.Time) {
						p := server.port
						n = len(p.byUfrag) + len(p.byRemote) + len(p.asked)
					}))
					return n
				}
				if n := entries(); n < 2*clients {
					t.Errorf("%d entries for %d clients", n, clients)
				}
				for pc := range server.live {
					w.check(pc.Close())
				}
				if n := entries(); n != 0 {
					t.Errorf("%d entries are left", n)
				}
			})
		})
	}
}

// A peer that refuses BUNDLE has several transports at the one port, which have our credentials in common: the peer's own tell them
// apart.
func TestOnePortWithoutBundle(t *testing.T) {
	for _, lite := range []bool{false, true} {
		t.Run(fmt.Sprint("lite=", lite), func(t *testing.T) {
			inWorld(t, func(w *world) {
				server := w.network(w.b, NetworkConfig{UDP: ":3478", Lite: lite})
				cfg := Configuration{BundlePolicy: BundlePolicyMaxCompat}
				a, b := w.connection(server, cfg), w.connection(w.a, cfg)
				var tracks [2]*SampleTrack
				for i := range tracks {
					tracks[i] = w.sampleTrack(Opus)
					_, err := a.AddTrack(tracks[i])
					w.check(err)
				}
				ch, err := a.CreateDataChannel("chat", nil)
				w.check(err)
				came := make(chan *RemoteTrack, 2)
				b.OnTrack(func(t *RemoteTrack, _ *RTPReceiver) { came <- t })
				w.check(a.SetLocalDescription(nil))
				offer := *a.LocalDescription()
				offer.SDP = strings.Replace(offer.SDP, "a=group:BUNDLE 0 1 2\r\n", "", 1)
				w.check(b.SetRemoteDescription(offer))
				w.check(b.SetLocalDescription(nil))
				a.OnICECandidate(func(c *ICECandidate) { w.check(b.AddICECandidate(c)) })
				time.Sleep(500 * time.Millisecond) // virtual: checks come before the answer
				w.check(a.SetRemoteDescription(*b.LocalDescription()))
				b.OnICECandidate(func(c *ICECandidate) { w.check(a.AddICECandidate(c)) })
				for i, track := range tracks {
					w.play(track, 20*time.Millisecond, func(int) Sample { return Sample{Data: opus(byte(i)), Duration: 20 * time.Millisecond} })
				}
				ctx := w.ctx()
				numbers := map[byte]bool{}
				for range tracks {
					s, err := await(w, came, "a track").ReadSample(ctx)
					w.check(err)
					numbers[s.Data[1]] = true
				}
				if len(numbers) != len(tracks) {
					t.Errorf("what came is %v", numbers)
				}
				open := make(chan struct{})
				ch.OnOpen(func() { close(open) })
				await(w, open, "the channel opening")
				names := map[string]bool{}
				for i, x := range a.live() {
					names[x.ice.told.Local.Ufrag] = true
					if x.State() != DTLSTransportStateConnected {
						t.Errorf("transport %d is %s", i, x.State())
					}
				}
				if n := len(a.live()); n != 3 || len(names) != 1 {
					t.Errorf("%d transports with %d username fragments", n, len(names))
				}
				if c := server.loop.Counters(); c.Sockets > 2 {
					t.Errorf("the server has %d sockets", c.Sockets)
				}
			})
		})
	}
}

// Connections that share a port have an allocation each at one TURN server, and a connection that lives moves to another
// address of the machine when its own goes.
func TestOnePortRelaysAndMoves(t *testing.T) {
	const clients = 5
	echo := func(w *world, n *Network, cfg Configuration) (list []*DataChannel, pcs []*PeerConnection) {
		for i := range clients {
			a, b := w.connection(n, cfg), w.connection(w.b, cfg)
			b.OnDataChannel(func(ch *DataChannel) {
				ch.OnMessage(func(m Message) { w.check(ch.SendText(ch.Label() + m.Text())) })
			})
			x, err := a.CreateDataChannel(fmt.Sprint(i), nil)
			w.check(err)
			open := make(chan struct{})
			x.OnOpen(func() { close(open) })
			w.negotiate(a, b)
			await(w, open, "the channel opening")
			list, pcs = append(list, x), append(pcs, a)
		}
		return list, pcs
	}
	ask := func(w *world, x *DataChannel) {
		w.check(x.SendText("?"))
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if m, err := x.Receive(ctx); err != nil || m.Text() != x.Label()+"?" {
			w.Errorf("connection %s got %q, %v", x.Label(), m.Text(), err)
		}
	}
	t.Run("relays", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.turnServer()
			n := w.network(w.a, NetworkConfig{UDP: ":3478"})
			list, pcs := echo(w, n, Configuration{ICETransportPolicy: ICETransportPolicyRelay,
				ICEServers: []ICEServer{{URLs: []string{"turn:" + turnAddress}, Username: "alice", Credential: "wonderland"}}})
			for i, x := range list {
				ask(w, x)
				if pair := pcs[i].SCTP().Transport().ICETransport().GetSelectedCandidatePair(); pair == nil || pair.Local.Type() != "relay" {
					t.Errorf("connection %d goes along %+v", i, pair)
				}
			}
		})
	})
	t.Run("moves", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.hostA.Attach(w.net.Internet(), simnet.Path{Delay: 10 * time.Millisecond}, "203.0.113.11")
			w.hostA.Lose("203.0.113.11")
			n := w.network(w.a, NetworkConfig{UDP: ":3478"})
			list, pcs := echo(w, n, Configuration{})
			for _, x := range list {
				ask(w, x)
			}
			w.hostA.Regain("203.0.113.11")
			time.Sleep(10 * time.Second)
			w.hostA.Lose("203.0.113.1")
			for i, x := range list {
				ask(w, x)
				pair := pcs[i].SCTP().Transport().ICETransport().GetSelectedCandidatePair()
				if pair == nil || pair.Local.Address() != "203.0.113.11" || pair.Local.Port() != 3478 {
					t.Errorf("connection %d goes along %+v", i, pair)
				}
			}
		})
	})
}

// A program that ended without a word comes again from the same port: what it sends is the new connection's as soon as the
// former one has noticed that nobody answers it any more.
func TestOnePortAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		server := w.network(w.b, NetworkConfig{UDP: ":3478"})
		for range 2 {
			n := w.network(w.a, NetworkConfig{UDP: ":5000"})
			a, b := w.connection(n, Configuration{}), w.connection(server, Configuration{})
			x, err := a.CreateDataChannel("x", nil)
			w.check(err)
			open := make(chan struct{})
			x.OnOpen(func() { close(open) })
			w.negotiate(a, b)
			await(w, open, "the channel opening")
			w.hostA.Link().Set(simnet.Path{Loss: 1})
			w.check(n.Close())
			time.Sleep(time.Second)
			w.hostA.Link().Set(simnet.Path{Delay: 10 * time.Millisecond})
		}
	})
}

// MaxConnections refuses one more, and takes another one when one has gone. Close ends all connections.
func TestMaxConnections(t *testing.T) {
	inWorld(t, func(w *world) {
		n := w.network(w.a, NetworkConfig{MaxConnections: 2})
		one, two := w.connection(n, Configuration{}), w.connection(n, Configuration{})
		_, err := n.NewPeerConnection(Configuration{})
		is(t, "a third connection", err, OperationError)
		w.check(one.Close())
		three := w.connection(n, Configuration{})
		w.check(n.Close())
		if two.ConnectionState() != "closed" || three.ConnectionState() != "closed" || n.loop != nil {
			t.Error("something has outlived the network")
		}
		w.check(n.Close())
		_, err = n.NewPeerConnection(Configuration{})
		is(t, "a connection on a closed network", err, InvalidStateError)
	})
}

func TestNetworkConfigErrors(t *testing.T) {
	for what, cfg := range map[string]NetworkConfig{
		"no port":             {UDP: "192.0.2.1"},
		"no number":           {UDP: ":x"},
		"a name":              {UDP: "example.com:1"},
		"a range upside down": {MinPort: 2, MaxPort: 1},
		"half a range":        {MinPort: 2},
		"no proxy":            {Proxy: "ftp://x"},
		"an unknown group":    {Groups: []tls.CurveID{tls.CurveP521}},
		"two families":        {Mappings: []AddressMapping{{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), false}}},
	} {
		_, err := NewNetwork(cfg)
		is(t, what, err, TypeError)
	}
	_, err := NewNetwork(NetworkConfig{UDP: "192.0.2.77:1000"}) // no address of this machine
	is(t, "an address of others", err, OperationError)
}

// The filters, ranges and mappings are those of the candidates.
func TestCandidatesOfANetwork(t *testing.T) {
	for what, c := range map[string]struct {
		cfg  NetworkConfig
		want string // the candidates' types, protocols and addresses
		port func(uint16) bool
	}{
		"none":       {NetworkConfig{}, "host udp 203.0.113.1, host tcp 203.0.113.1", nil},
		"no tcp":     {NetworkConfig{NoTCP: true}, "host udp 203.0.113.1", nil},
		"passive":    {NetworkConfig{NoTCP: true, ListenTCP: true}, "host udp 203.0.113.1, host tcp 203.0.113.1", nil},
		"ports":      {NetworkConfig{NoTCP: true, MinPort: 5000, MaxPort: 5009}, "host udp 203.0.113.1", func(p uint16) bool { return p >= 5000 && p <= 5009 }},
		"addresses":  {NetworkConfig{Addresses: func(_ string, ip netip.Addr) bool { return ip.Is6() }}, "", nil},
		"candidates": {NetworkConfig{Candidates: func(c *ICECandidate) bool { return c.Protocol() == "tcp" }}, "host tcp 203.0.113.1", nil},
		"mapping": {NetworkConfig{NoTCP: true, Mappings: []AddressMapping{{External: netip.MustParseAddr("198.51.100.9"), Replace: true}}},
			"host udp 198.51.100.9", nil},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.connection(w.network(w.a, c.cfg), Configuration{})
				_, err := a.CreateDataChannel("x", nil)
				w.check(err)
				w.check(a.SetLocalDescription(nil))
				w.check(a.GatheringComplete(context.Background()))
				var got []string
				for l := range strings.SplitSeq(a.LocalDescription().SDP, "\r\n") {
					if s, ok := strings.CutPrefix(l, "a="); ok && strings.HasPrefix(s, "candidate:") {
						x := ICECandidate{Candidate: s}
						got = append(got, x.Type()+" "+x.Protocol()+" "+x.Address())
						if c.port != nil && !c.port(x.Port()) {
							t.Errorf("the port is %d", x.Port())
						}
					}
				}
				if strings.Join(got, ", ") != c.want {
					t.Errorf("the candidates are %q, not %q", got, c.want)
				}
			})
		})
	}
}

// The observer sees what is on the wire, and Pcap writes it as a file.
func TestPcap(t *testing.T) {
	inWorld(t, func(w *world) {
		var file bytes.Buffer
		sent, received := 0, 0
		write := Pcap(&file)
		n := w.network(w.a, NetworkConfig{Observer: func(p *Packet) {
			write(p)
			if p.Sent {
				sent++
			} else {
				received++
			}
		}})
		a, b := w.connection(n, Configuration{}), w.connection(w.b, Configuration{})
		x, err := a.CreateDataChannel("x", nil)
		w.check(err)
		open := make(chan struct{})
		x.OnOpen(func() { close(open) })
		w.negotiate(a, b)
		await(w, open, "the channel opening")
		w.check(x.Send(make([]byte, 100_000)))
		time.Sleep(time.Second)
		w.check(a.Close())
		w.check(n.Close())
		count := 0
		rest := file.Bytes()[24:]
		for ; len(rest) > 16; count++ {
			size := int(binary.BigEndian.Uint32(rest[8:]))
			packet := rest[16 : 16+size]
			if packet[0] != 0x45 || packet[9] != 17 || int(binary.BigEndian.Uint16(packet[2:])) != size || int(binary.BigEndian.Uint16(packet[24:])) != size-20 ||
				netip.AddrFrom4([4]byte(packet[12:16])) != netip.MustParseAddr("203.0.113.1") && netip.AddrFrom4([4]byte(packet[16:20])) != netip.MustParseAddr("203.0.113.1") {
				t.Fatalf("packet %d is % x", count, packet[:28])
			}
			rest = rest[16+size:]
		}
		if len(rest) != 0 || count != sent+received || sent < 80 || received < 10 || binary.BigEndian.Uint32(file.Bytes()) != 0xa1b23c4d {
			t.Errorf("%d packets in the file, %d sent and %d received, %d bytes left", count, sent, received, len(rest))
		}
	})
}

// HideAddresses: the peer is told names, which connections on the same local network resolve.
func TestHideAddresses(t *testing.T) {
	inWorld(t, func(w *world) {
		lan := w.net.Internet().NAT("home", simnet.Path{Delay: 9 * time.Millisecond}, simnet.NAT{}, "198.51.100.50")
		near := simnet.Path{Delay: time.Millisecond}
		w.a = w.network(onHost(simloop.New(lan.Host("ada", near, "192.168.1.2"))), NetworkConfig{HideAddresses: true})
		w.b = w.network(onHost(simloop.New(lan.Host("bob", near, "192.168.1.3"))), NetworkConfig{HideAddresses: true})
		a, b, x, y := w.connect(Configuration{}, nil)
		for _, pc := range []*PeerConnection{a, b} {
			if sdp := pc.LocalDescription().SDP; strings.Contains(sdp, "192.168.1.") || !strings.Contains(sdp, ".local ") {
				t.Errorf("the description is\n%s", sdp)
			}
		}
		w.check(x.SendText("hello"))
		if m, err := y.Receive(context.Background()); err != nil || m.Text() != "hello" {
			t.Errorf("%q came: %v", m.Text(), err)
		}
	})
}
