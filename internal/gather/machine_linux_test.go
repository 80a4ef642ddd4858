package gather

import (
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

// The kernel's notes are heard and its marks understood. The test runs itself again in a network namespace of its own.
func TestKernelTellsOfAddresses(t *testing.T) {
	if !InNamespace(t) {
		return
	}
	m := &machine{watchers: map[*watcher]struct{}{}}
	changed := make(chan struct{}, 1)
	stop := m.Watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if !m.tells {
		t.Fatal("the kernel is not listened to")
	}
	ip := func(args string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v %s", args, err, out)
		}
	}
	find := func(want string) (Address, bool) {
		t.Helper()
		all, err := m.Addresses()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if a.IP == netip.MustParseAddr(want) {
				return a, true
			}
		}
		return Address{}, false
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			select {
			case <-changed:
			case <-time.After(need.Patience):
				all, _ := m.Addresses()
				t.Fatalf("no word of this: %s; there are %+v", what, all)
			}
		}
	}
	has := func(addr string) func() bool { return func() bool { _, ok := find(addr); return ok } }
	hasNot := func(addr string) func() bool { return func() bool { _, ok := find(addr); return !ok } }

	ip("link set lo up")
	await("loopback", has("127.0.0.1"))
	if a, _ := find("127.0.0.1"); a.Kind != Loopback || a.Interface != "lo" || a.Deprecated {
		t.Errorf("%+v", a)
	}
	ip("link add eth7 type veth peer name eth8") // two ends of a cable
	ip("link set eth8 up")
	ip("addr add 192.0.2.1/24 dev eth7")
	ip("addr add 2001:db8::1/64 dev eth7 nodad")
	if _, ok := find("192.0.2.1"); ok {
		t.Error("an address of an interface that is down")
	}
	ip("link set eth7 up")
	await("an interface came up", func() bool { a, ok := find("192.0.2.1"); return ok && !a.Deprecated }) // and has a carrier
	await("and its other address", has("2001:db8::1"))
	if a, _ := find("192.0.2.1"); a.Kind != Wired || a.Interface != "eth7" || a.Temporary {
		t.Errorf("%+v", a)
	}
	ip("addr change 2001:db8::1/64 dev eth7 preferred_lft 0")
	await("an address is deprecated", func() bool { a, ok := find("2001:db8::1"); return ok && a.Deprecated })
	ip("addr del 192.0.2.1/24 dev eth7")
	await("an address went", hasNot("192.0.2.1"))
	ip("link add wg7 type veth peer name wg8")
	ip("link set wg8 up")
	ip("addr add 192.0.2.9/24 dev wg7")
	ip("link set wg7 up")
	await("a tunnel", has("192.0.2.9"))
	if a, _ := find("192.0.2.9"); a.Kind != VPN {
		t.Errorf("%+v", a)
	}
	ip("link set eth7 down")
	await("an interface went down", hasNot("2001:db8::1"))
	stop()
	if m.stop != nil || len(m.watchers) != 0 {
		t.Error("the watch goes on")
	}
	if _, err := m.Addresses(); err != nil {
		t.Error(err)
	}
	portable, err := portableAddresses() // what other systems go by says the same of what both know
	if err != nil {
		t.Fatal(err)
	}
	all, _ := netlinkAddresses()
	if len(portable) != len(all) || len(all) == 0 {
		t.Errorf("package net says %+v, the kernel %+v", portable, all)
	}
	for _, a := range all {
		a.Temporary, a.Deprecated = false, false // which package net does not know
		if !slices.Contains(portable, a) {
			t.Errorf("package net says %+v, the kernel %+v", portable, a)
		}
	}
}
