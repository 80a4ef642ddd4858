package gather_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/simnet/simloop"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A server on the machine itself, which serves nobody but it and private networks, is asked from a loopback address, though
// the machine has a public one and "Addresses from a loopback interface MUST NOT be included in the candidate addresses"
// (RFC 8445 section 5.1.1.1). It tells no reflexive address then, and its relay is as good as any.
func TestServerOnThisMachine(t *testing.T) {
	for _, c := range []struct {
		name       string
		interfaces func(gather.Address) bool
		hide       bool
		urls       []string
		want       []string
		refused    int
	}{
		{"stun", nil, false, []string{"stun:localhost"}, nil, 0},
		{"stun, and no host addresses to be told", nil, true, []string{"stun:localhost"}, nil, 0},
		{"turn", nil, false, []string{"turn:localhost"}, []string{"relay/udp 5.9.0.7 from 127.0.0.1:49152"}, 0},
		{"turn over tcp", nil, false, []string{"turn:localhost?transport=tcp"}, []string{"relay/tcp 5.9.0.7 from 127.0.0.1:49152"}, 0},
		{"from the interfaces that may be used", func(a gather.Address) bool { return a.Kind != gather.Loopback }, false,
			[]string{"stun:localhost"}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				s.net.Name("localhost", "127.0.0.1")
				h := s.at(s.net.Internet(), "ada", "5.9.0.7", "127.0.0.1")
				cfg := turnConfig()
				cfg.Public, cfg.Relay = false, []netip.Addr{netip.MustParseAddr("5.9.0.7")}
				here, err := simloop.ServeTURN(h, cfg)
				if err != nil {
					t.Fatal(err)
				}
				s.close = append(s.close, here.Close)
				if err := here.UDP(ap("127.0.0.1:3478")); err != nil {
					t.Fatal(err)
				}
				if err := here.TCP(ap("127.0.0.1:3478"), nil); err != nil {
					t.Fatal(err)
				}
				o := s.owner(h, gather.Config{Servers: servers(t, c.urls...), Interfaces: c.interfaces, HideHosts: c.hide})
				time.Sleep(30 * time.Second)
				var got []string
				for _, f := range o.found() {
					if f.Type != ice.Host {
						got = append(got, describe(&f.Candidate))
					} else if f.Base.Addr().IsLoopback() {
						t.Errorf("a host candidate: %s", describe(&f.Candidate))
					}
				}
				// The port is whichever was free.
				for i := range got {
					if at := strings.LastIndex(got[i], ":"); at > 0 {
						got[i] = got[i][:at] + ":49152"
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("candidates %q, want %q", got, c.want)
				}
				if e, _ := seen[gather.ServerError](o); len(e) != c.refused {
					t.Errorf("errors: %+v, want %d", e, c.refused)
				}
				if done, when := seen[gather.Complete](o); len(done) != 1 || c.refused == 0 && when > time.Second {
					t.Errorf("complete %d times, first after %v", len(done), when)
				}
			})
		})
	}
}

// A port on which nobody listens is known by the ICMP message for a second request, and gathering does not wait for the third.
func TestClosedPort(t *testing.T) {
	port := need.Port(t)
	for _, url := range []string{"stun:127.0.0.1:%d", "turn:127.0.0.1:%d", "turns:127.0.0.1:%d?transport=udp"} {
		url = fmt.Sprintf(url, port)
		o := newOwner(t, nil, gather.Config{
			Loopback: true, Interfaces: func(a gather.Address) bool { return a.IP == localhost }, Servers: servers(t, url), Proxy: "none",
		}).start()
		o.until("completion", func() bool { done, _ := seen[gather.Complete](o); return len(done) > 0 })
		errs, _ := seen[gather.ServerError](o)
		if len(errs) != 1 || errs[0].Code != 701 || !strings.Contains(errs[0].Text, "nobody listens") {
			t.Errorf("%s: errors: %+v", url, errs)
		}
		o.stop()
	}
}

// An ICMP message may be forged, so the server's answer counts nonetheless, and is followed by another Complete.
func TestForgedICMP(t *testing.T) {
	for _, c := range []struct {
		url, name string
		forged    []pkt.ICMP // all at once, and again after each pause
		early     int        // Completes before the answer
	}{
		{"stun:turn.test", "port unreachable", []pkt.ICMP{{Type: 3, Code: 3}, {Type: 3, Code: 3}}, 1},
		{"turn:turn.test", "port unreachable", []pkt.ICMP{{Type: 3, Code: 3}, {Type: 3, Code: 3}}, 1},
		{"turn:turn.test", "time exceeded, too big", []pkt.ICMP{{Type: 11}, {Type: 3, Code: 4}}, 0},
	} {
		t.Run(strings.ReplaceAll(c.url+" "+c.name, "?", " "), func(t *testing.T) {
			inScene(t, func(s *scene) {
				h := simloopHost(s, s.net.Internet().NAT("home", near, home, "5.9.0.1"), "ada", simnet.Path{Delay: 400 * time.Millisecond}, "192.168.1.2")
				o := s.owner(h, gather.Config{Servers: servers(t, c.url)})
				synctest.Wait()
				socket := o.found()[0].Socket
				forge := func() {
					o.do(func(now mono.Time) {
						for _, m := range c.forged {
							m.Path = pkt.Path{Socket: socket, Remote: ap(server4 + ":3478")}
							o.HandleICMP(now, &m)
						}
					})
				}
				forge()
				synctest.Wait()
				if done, _ := seen[gather.Complete](o); len(done) != 0 {
					t.Fatal("complete by one request's message")
				}
				time.Sleep(300 * time.Millisecond)
				forge()
				synctest.Wait()
				if done, _ := seen[gather.Complete](o); len(done) != c.early {
					t.Errorf("complete %d times before the answer, want %d", len(done), c.early)
				}
				time.Sleep(20 * time.Second)
				if done, _ := seen[gather.Complete](o); len(done) != c.early+1 {
					t.Errorf("complete %d times, want again after the answer", len(done))
				}
				if got := o.candidates(); len(got) < 2 {
					t.Errorf("candidates: %q", got)
				}
				if e, _ := seen[gather.ServerError](o); len(e) != c.early {
					t.Errorf("errors: %+v, want %d", e, c.early)
				}
			})
		})
	}
}
