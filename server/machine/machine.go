// Package machine knows what this machine is called: its names and the addresses of its network interfaces, as they
// change while a laptop wanders or a cable is plugged in.
package machine

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Here is what the machine was called at one moment.
type Here struct {
	Hostname string       // in lower case, as the system has it; "" if it has none
	Addrs    []netip.Addr // of its interfaces, without zones; those that others would use come first
}

// Equal reports whether a and b are the same.
func (a *Here) Equal(b *Here) bool { return a.Hostname == b.Hostname && slices.Equal(a.Addrs, b.Addrs) }

// Look asks the system.
func Look() *Here {
	here := &Here{}
	if name, err := os.Hostname(); err == nil {
		here.Hostname = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		interfaces = nil // a machine that does not say is taken for one without a network; loopback is always served
	}
	for _, i := range interfaces {
		if n, ok := i.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				here.Addrs = append(here.Addrs, addr.Unmap())
			}
		}
	}
	here.sort(preferred())
	return here
}

// sort puts first what others are likeliest to reach: the addresses the system itself sends from, then IPv4, which is
// shorter to type, then IPv6; link-local and loopback last.
func (h *Here) sort(first []netip.Addr) {
	rank := func(a netip.Addr) int {
		switch {
		case a.IsLoopback():
			return 4
		case a.IsLinkLocalUnicast():
			return 3
		case slices.Contains(first, a) && a.Is4():
			return 0
		case a.Is4():
			return 1
		}
		return 2
	}
	slices.SortFunc(h.Addrs, func(a, b netip.Addr) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(index(first, a), index(first, b)), a.Compare(b))
	})
	h.Addrs = slices.Compact(h.Addrs)
}

func index(list []netip.Addr, a netip.Addr) int {
	if i := slices.Index(list, a); i >= 0 {
		return i
	}
	return len(list)
}

// preferred returns the addresses that the system would send from to far away. Connecting a datagram socket chooses one
// and sends nothing; the targets are addresses for documentation (RFC 5737, RFC 3849).
func preferred() []netip.Addr {
	var addrs []netip.Addr
	for _, target := range []string{"203.0.113.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", target)
		if err != nil {
			continue
		}
		if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			addrs = append(addrs, a.AddrPort().Addr().Unmap().WithZone(""))
		}
		conn.Close()
	}
	return addrs
}

// Watch keeps an eye on what the machine is called. It is safe for concurrent use.
type Watch struct {
	look func() *Here
	here atomic.Pointer[Here]
}

// NewWatch looks for a first time. look is [Look], or something else in tests.
func NewWatch(look func() *Here) *Watch {
	w := &Watch{look: look}
	w.here.Store(look())
	return w
}

// Here returns what was seen last. The caller does not change it.
func (w *Watch) Here() *Here { return w.here.Load() }

// Refresh looks again and reports whether something has changed.
func (w *Watch) Refresh() bool {
	now := w.look()
	return !w.here.Swap(now).Equal(now)
}

// Run looks again at each interval until ctx is done, and calls changed after each change.
func (w *Watch) Run(ctx context.Context, every time.Duration, changed func(*Here)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if w.Refresh() {
				changed(w.Here())
			}
		}
	}
}

// Names are the names that others on the local network may know the machine by: the system's, its first label, and that
// under .local (RFC 6762).
func (h *Here) Names() []string {
	if h.Hostname == "" {
		return nil
	}
	label, _, _ := strings.Cut(h.Hostname, ".")
	names := []string{h.Hostname}
	for _, n := range []string{label, label + ".local"} {
		if label != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
