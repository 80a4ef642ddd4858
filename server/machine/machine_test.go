package machine

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func addrs(texts ...string) (list []netip.Addr) {
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func TestOrder(t *testing.T) {
	h := &Here{Addrs: addrs("127.0.0.1", "::1", "172.17.0.1", "fe80::1", "fd00::2", "192.168.1.5", "fd00::2", "10.9.0.1")}
	h.sort(addrs("192.168.1.5", "fd00::2"))
	want := addrs("192.168.1.5", "10.9.0.1", "172.17.0.1", "fd00::2", "fe80::1", "127.0.0.1", "::1")
	if !slices.Equal(h.Addrs, want) {
		t.Errorf("got  %v\nwant %v", h.Addrs, want)
	}
}

func TestLookFindsLoopback(t *testing.T) {
	if h := Look(); !slices.ContainsFunc(h.Addrs, netip.Addr.IsLoopback) {
		t.Errorf("no loopback address in %v", h.Addrs)
	}
}

func TestWatchTellsOfChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[Here]
		now.Store(&Here{Hostname: "kitchen", Addrs: addrs("192.168.1.5")})
		w := NewWatch(func() *Here { here := *now.Load(); return &here })
		var seen []string
		go w.Run(t.Context(), 5*time.Second, func(h *Here) { seen = append(seen, h.Addrs[0].String()) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if seen != nil {
			t.Fatalf("told of %v though nothing changed", seen)
		}
		now.Store(&Here{Hostname: "kitchen", Addrs: addrs("10.0.0.7")})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !slices.Equal(seen, []string{"10.0.0.7"}) || !w.Here().Equal(now.Load()) {
			t.Errorf("told of %v, has %v", seen, w.Here())
		}
	})
}

func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	NewWatch(Look).Run(ctx, time.Hour, nil) // returns
}
