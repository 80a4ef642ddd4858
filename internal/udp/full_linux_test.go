package udp

import (
	"net/netip"
	"os/exec"
	"runtime"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// When the system has no room a send returns at once and the rest is dropped and counted; when there is room again, the
// next send goes through. Room is short where datagrams wait for the hardware address of a neighbour that never answers,
// in a network namespace of the test's own.
func TestFullSystemDropsAndRecovers(t *testing.T) {
	gso := probeSystem().GSO
	ip := needNamespace(t)
	ip("link", "add", "near", "type", "veth", "peer", "name", "far")
	ip("addr", "add", "192.0.2.1/24", "dev", "near")
	ip("link", "set", "near", "up")
	ip("link", "set", "far", "up")

	for _, f := range []Features{{MMsg: true}, {MMsg: true, GSO: gso}} {
		s, err := Open(7, Config{Local: netip.MustParseAddrPort("192.0.2.1:0"), Buffer: 1}, f)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		e := newSocketEndpoint(t, s)
		var ts []pkt.Transmit
		const each = 200
		for i := range each {
			to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(1+i%50))
			ts = append(ts, pkt.Transmit{Path: pkt.Path{Remote: to}, Payload: make([]byte, 100)})
		}
		ip("neigh", "flush", "dev", "near")
		e.send(ts...)
		if c := *e.count; c.Sent == 0 || c.SendFull == 0 || c.Sent+c.SendFull != each || c.SendError != 0 || c.GSOOff != 0 {
			t.Errorf("%+v: counters %+v", f, c)
		}
		ip("neigh", "replace", "192.0.2.2", "lladdr", "02:00:00:00:00:01", "dev", "near")
		before := e.count.Sent
		e.send(ts[:1]...)
		if e.count.Sent != before+1 {
			t.Errorf("%+v: with room again: counters %+v", f, *e.count)
		}
		ip("neigh", "del", "192.0.2.2", "dev", "near")
	}
}

// needNamespace puts the test's thread into a network namespace of its own, in which ip runs. It is not unlocked, so that it ends with
// the test's goroutine.
func needNamespace(t *testing.T) (ip func(args ...string)) {
	t.Helper()
	need.Program(t, "iproute2", "ip")
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		need.Missing(t, "a network namespace of its own", "run as root: "+err.Error())
	}
	return func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
}
