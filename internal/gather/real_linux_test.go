package gather_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/ice"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Two machines on a cable, with nothing but IPv6 link-local addresses: candidates have no zone (RFC 8839 section 5.1), and
// reach each other nonetheless. The test runs itself again in a network namespace of its own.
func TestLinkLocalPeers(t *testing.T) {
	if !gather.InNamespace(t) {
		return
	}
	for _, args := range []string{"link add eth7 type veth peer name eth8", "link set eth7 up", "link set eth8 up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	on := func(name string) *owner {
		return newOwner(t, nil, gather.Config{Interfaces: func(a gather.Address) bool { return a.Interface == name }}).start()
	}
	a, b := on("eth7"), on("eth8")
	// The addresses come when the kernel knows that they are nobody else's.
	host := func(o *owner) (c gather.Candidate) {
		o.until("a host candidate", func() bool { return len(o.found()) > 0 })
		c = o.found()[0]
		if c.Type != ice.Host || c.Address.Addr().Zone() != "" || !c.Address.Addr().IsLinkLocalUnicast() || c.Base.Addr().Zone() == "" {
			t.Errorf("%+v", c)
		}
		return c
	}
	at, bt := host(a), host(b)
	for _, way := range []struct {
		from, to       *owner
		source, target gather.Candidate
	}{{a, b, at, bt}, {b, a, bt, at}} {
		path := pkt.Path{Socket: way.source.Socket, Local: way.source.Base, Remote: way.target.Address}
		var got []pkt.Datagram
		for begin := time.Now(); len(got) == 0 && time.Since(begin) < need.Patience; { // the neighbour may have to be found first
			way.from.send(path, "over the cable")
			select {
			case <-way.to.signal:
			case <-time.After(100 * time.Millisecond):
			}
			got = way.to.received()
		}
		if len(got) == 0 {
			t.Fatal("nothing arrived")
		}
		if got[0].Remote != way.source.Address || got[0].Local != way.target.Base {
			t.Errorf("came along %+v, want from %v to %v", got[0].Path, way.source.Address, way.target.Base)
		}
	}
	a.stop()
	b.stop()
}
