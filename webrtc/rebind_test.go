package webrtc

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/turn"
)

// A relayed connection goes on when its NAT forgets everything, or the server does: neither says anything of it, and the relays
// that there were are gone. RFC 8445 section 5.1.1.4 only keeps mappings alive that nothing else destroys.
func TestRelayedConnectionsOutliveTheirRelays(t *testing.T) {
	const udp, tcp, tls = "turn:turn.test?transport=udp", "turn:turn.test?transport=tcp", "turns:turn.test:443"
	for name, urls := range map[string][]string{"udp": {udp}, "tcp": {tcp}, "tls": {tls}, "all": {udp, tcp, tls}} {
		for _, what := range []string{"one NAT", "both NATs", "the server", "the server for 8 s"} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { outlive(t, urls, what) })
			})
		}
	}
}

func outlive(t *testing.T, urls []string, what string) {
	n := simnet.New(1)
	n.Name("turn.test", turn4)
	near := simnet.Path{Delay: 10 * time.Millisecond}
	host := simloop.New(n.Internet().Host("turn", simnet.Path{}, turn4, turn6, relay4, relay6))
	home := n.Internet().NAT("home", near, *symmetric, "5.9.1.7")
	work := n.Internet().NAT("work", near, *symmetric, "5.9.2.7")
	hostA, hostB := simloop.New(home.Host("a", simnet.Path{}, "192.168.1.2")), simloop.New(work.Host("b", simnet.Path{}, "192.168.2.2"))
	n.Live()
	defer n.Close()
	certificate := relayCertificate(t)
	server := serveRelayAs(t, host, certificate)
	defer func() { server.Close() }()
	var pcs [2]*PeerConnection
	for i, h := range []*simloop.Host{hostA, hostB} {
		net := onHost(h)
		net.cfg.TLS, net.cfg.Proxy = certificate.roots, "none"
		pc, err := net.NewPeerConnection(Configuration{ICEServers: []ICEServer{{URLs: urls, Username: "alice", Credential: "wonderland"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		pcs[i] = pc
	}
	id := uint16(100)
	var talk [2]*DataChannel
	var last, longest [2]time.Duration // since the event, of what each heard
	began := time.Now()
	for i, pc := range pcs {
		ch, err := pc.CreateDataChannel("talk", &DataChannelInit{Negotiated: true, ID: &id})
		if err != nil {
			t.Fatal(err)
		}
		ch.OnMessage(func(Message) {
			at := time.Since(began)
			longest[i], last[i] = max(longest[i], at-last[i]), at
		})
		talk[i] = ch
	}
	if c := connectCell(t, pcs[0], pcs[1]); c.path == "direct" || !c.open {
		t.Fatalf("they connected %+v", c)
	}
	time.Sleep(20 * time.Second) // longer than anybody looks for a better path
	synctest.Wait()
	began = time.Now()
	switch what {
	case "one NAT":
		home.Reboot()
	case "both NATs":
		home.Reboot()
		work.Reboot()
	case "the server":
		server.Close()
		server = serveRelayAs(t, host, certificate)
	case "the server for 8 s": // it stands still
		go server.Do(func(mono.Time, *turn.Server) { time.Sleep(8 * time.Second) })
	}
	for range 600 {
		for _, ch := range talk {
			if err := ch.SendText("still there?"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
	for i, pc := range pcs {
		if longest[i] > 12*time.Second || last[i] < 59*time.Second {
			t.Errorf("%d heard nothing for %v, last %v after the event; it is %s", i, longest[i], last[i], pc.ConnectionState())
		}
	}
	t.Log("silence:", longest)
}

// On a port that many connections share, one whose peer changes its address ever again is found at the newest, and takes no more room for it.
func TestOnePortFollowsManyAddresses(t *testing.T) {
	for _, lite := range []bool{false, true} {
		t.Run(fmt.Sprint("lite=", lite), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { followMany(t, lite) })
		})
	}
}

func followMany(t *testing.T, lite bool) {
	n := simnet.New(1)
	near := simnet.Path{Delay: 10 * time.Millisecond}
	home := n.Internet().NAT("home", near, simnet.NAT{RandomPorts: true}, "5.9.1.7")
	a, b := simloop.New(home.Host("a", simnet.Path{}, "192.168.1.2")), simloop.New(n.Internet().Host("b", near, "203.0.113.2"))
	n.Live()
	defer n.Close()
	w := &world{T: t, net: n, hostA: a, hostB: b, a: onHost(a)}
	w.b = w.network(onHost(b), NetworkConfig{UDP: ":3478", Lite: lite})
	_, _, x, y := w.connect(Configuration{}, nil)
	heard := 0
	y.OnMessage(func(Message) { heard++ })
	for range 200 {
		home.Reboot()
		for range 8 {
			w.check(x.SendText("here now"))
			time.Sleep(500 * time.Millisecond)
		}
	}
	synctest.Wait()
	if heard != 200*8 {
		t.Errorf("%d messages came", heard)
	}
	w.check(w.b.loop.Do(func(mono.Time) {
		if n := len(w.b.port.byRemote); n < 100 || n > 140 {
			t.Errorf("%d addresses are known", n)
		}
	}))
}
