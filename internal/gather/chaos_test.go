package gather_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Whatever happens to the machine, its servers and its program, in whatever order: when all is well again there is what
// there should be, each candidate once; and Close leaves nothing, at any moment.
func TestChaos(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inScene(t, func(s *scene) {
				random := rand.New(rand.NewPCG(seed, 1))
				lossy := simnet.Path{Delay: 10 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1}
				h := simloopHost(s, s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", lossy, "192.168.1.2")
				h.Attach(s.net.Internet(), lossy, "5.9.0.9", "2620:fe::77")
				h.SetKind("192.168.1.2", gather.Wifi)
				all := servers(t, "stun:turn.test", "turn:turn.test", "turn:turn.test?transport=tcp", "turns:turn.test", "turns:turn.test?transport=udp", "turn:nowhere.test")
				o := newOwner(t, h.Poller(), gather.Config{
					Host: h, Entropy: seeded(byte(seed)), Proxy: "none", TLS: s.roots, Servers: all, TCP: true, PassiveTCP: seed%2 == 0, HideHosts: seed%3 == 0,
				}).start()
				up := true
				for range 40 {
					switch random.IntN(12) {
					case 0, 1:
						h.Lose([]string{"192.168.1.2", "5.9.0.9", "2620:fe::77"}[random.IntN(3)])
					case 2, 3:
						h.Regain([]string{"192.168.1.2", "5.9.0.9", "2620:fe::77"}[random.IntN(3)])
					case 4:
						if up {
							s.server.Close()
							up = false
						}
					case 5, 6:
						if !up {
							cfg := turnConfig()
							cfg.Entropy = seeded(byte(random.Uint32()))
							s.serve(cfg)
							up = true
						}
					case 7:
						o.do(o.Restart)
					case 8:
						o.do(func(now mono.Time) {
							if err := o.SetServers(all[random.IntN(len(all)):]); err != nil {
								t.Error(err)
							}
							o.SetPolicy(gather.Policy(random.IntN(2)))
						})
					case 9:
						o.do(o.Conclude)
					case 10:
						o.do(func(now mono.Time) {
							o.Permit(now, netip.AddrFrom4([4]byte{8, 8, 8, byte(random.Uint32())}))
							o.Connect(now, ice.Connect{Number: random.Uint32(), Local: netip.MustParseAddr("5.9.0.9"), Remote: ap("198.41.0.4:81")})
						})
					case 11:
						o.do(func(now mono.Time) {
							o.Resolve(now, "nobody.local", func(_ mono.Time, ip netip.Addr, err error) {
								if err == nil {
									t.Errorf("nobody is %v", ip)
								}
							})
						})
					}
					time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
					if seed >= 16 && random.IntN(40) == 0 {
						break // closed in the middle of it
					}
				}
				if !up {
					s.serve(turnConfig())
				}
				if seed < 16 {
					for _, a := range h.Addrs() {
						h.Regain(a.String())
					}
					o.do(func(now mono.Time) {
						if err := o.SetServers(all); err != nil {
							t.Error(err)
						}
						o.SetPolicy(gather.All)
						o.events = nil
						o.Restart(now)
					})
					time.Sleep(3 * time.Minute)
					overs := map[ice.RelayProtocol]int{}
					hosts, reflexive := 0, 0
					each := map[ice.Candidate]bool{}
					for _, c := range o.found() {
						if each[c.Candidate] {
							t.Errorf("twice: %+v", c)
						}
						each[c.Candidate] = true
						switch {
						case c.Type == ice.Relayed:
							overs[c.RelayProtocol]++
						case c.Type == ice.Host && c.Transport == ice.UDP:
							hosts++
						case c.Type == ice.ServerReflexive:
							reflexive++
						}
					}
					if hosts != 3 || reflexive == 0 || len(overs) != 4 {
						t.Errorf("%d hosts, %d reflexive, relays over %v: %q", hosts, reflexive, overs, o.candidates())
					}
					if len(o.relays()) > 24 {
						t.Errorf("%d relays: %q", len(o.relays()), o.candidates())
					}
				}
				o.do(o.Gatherer.Close)
				select {
				case <-o.closed:
				case <-time.After(5 * time.Second):
					t.Error("it did not close within five seconds")
				}
				if c := o.loop.Counters(); c.Sockets != 0 || c.Timers != 0 || c.Starved != 0 {
					t.Errorf("%d sockets and %d timers are left, starved %d times", c.Sockets, c.Timers, c.Starved)
				}
				o.loop.Close()
			})
		})
	}
}
