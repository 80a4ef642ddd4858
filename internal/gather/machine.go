package gather

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// machine is the Host that the program runs on. All connections share it.
type machine struct {
	resolver net.Resolver

	mu        sync.Mutex
	addresses []Address
	err       error
	until     time.Time // addresses may be believed
	watchers  map[*watcher]struct{}
	stop      func() // ends the watch, which runs while there are watchers
	tells     bool   // the watch tells of each change at once
}

type watcher struct{ changed func() }

var thisMachine = machine{watchers: map[*watcher]struct{}{}}

// Machine returns the Host that the program runs on.
func Machine() Host { return &thisMachine }

const (
	// believed is how long what the system said of its addresses is used again where nothing tells of changes.
	believed = time.Second
	// watchedFor is the same where changes are told.
	watchedFor = time.Minute
)

// Addresses returns the addresses of every interface that is up.
func (m *machine) Addresses() ([]Address, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.addresses == nil || !now.Before(m.until) {
		m.addresses, m.err = systemAddresses()
		m.until = now.Add(believed)
		if m.tells {
			m.until = now.Add(watchedFor)
		}
	}
	return m.addresses, m.err
}

// Watch starts what watches the system, with the first who wants to know.
func (m *machine) Watch(changed func()) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := &watcher{changed}
	m.watchers[w] = struct{}{}
	if m.stop == nil {
		m.addresses = nil
		m.tells, m.stop = watchSystem(m.notify)
	}
	return func() { m.unwatch(w) }
}

func (m *machine) unwatch(w *watcher) {
	m.mu.Lock()
	delete(m.watchers, w)
	var stop func()
	if len(m.watchers) == 0 && m.stop != nil {
		stop = m.stop
		m.stop, m.tells, m.addresses = nil, false, nil
	}
	m.mu.Unlock()
	if stop != nil {
		stop() // which waits for a goroutine that may be in notify
	}
}

// notify is called by what watches.
func (m *machine) notify() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addresses = nil
	for w := range m.watchers {
		w.changed()
	}
}

// Lookup asks the system's resolver.
func (m *machine) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := m.resolver.LookupNetIP(ctx, "ip", name)
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// Dial opens a TCP connection.
func (m *machine) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if local.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, "tcp", remote.String())
}

// Listen accepts TCP connections.
func (m *machine) Listen(local netip.AddrPort) (net.Listener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(local))
}

// portableAddresses asks package net.
func portableAddresses() ([]Address, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var all []Address
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		kind := kindOf(i.Name)
		if i.Flags&net.FlagLoopback != 0 {
			kind = Loopback
		} else if i.Flags&net.FlagPointToPoint != 0 && kind == Unknown {
			kind = VPN
		}
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			if ip = ip.Unmap(); ip.Is6() && ip.IsLinkLocalUnicast() {
				ip = ip.WithZone(i.Name)
			}
			all = append(all, Address{IP: ip, Interface: i.Name, Kind: kind})
		}
	}
	return all, nil
}

// kindOf guesses what an interface is by its name, as systems give them.
func kindOf(name string) Kind {
	if name == "lo" || name == "lo0" {
		return Loopback
	}
	for _, k := range []struct {
		kind     Kind
		prefixes []string
	}{
		{Wifi, []string{"wl", "wifi", "Wi-Fi", "ath"}},
		{Cellular, []string{"wwan", "wwp", "rmnet", "pdp_ip"}},
		{VPN, []string{"tun", "tap", "utun", "wg", "ipsec", "tailscale", "zt", "ppp", "nordlynx", "gif", "sit", "ip6tnl"}},
		{Virtual, []string{"docker", "br-", "virbr", "veth", "vmnet", "vboxnet", "lxc", "lxdbr", "cni", "flannel", "cali", "podman", "vEthernet", "bridge", "awdl", "llw", "anpi"}},
		{Wired, []string{"en", "eth", "Ethernet", "em", "igb", "ix", "re", "bge"}},
	} {
		for _, p := range k.prefixes {
			if strings.HasPrefix(name, p) {
				return k.kind
			}
		}
	}
	return Unknown
}

// poll is the watch of systems that tell nothing.
func poll(changed func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		t := time.NewTicker(pollInterval)
		defer t.Stop()
		last, _ := portableAddresses()
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			if now, err := portableAddresses(); err == nil && !slices.Equal(now, last) {
				last = now
				changed()
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}

// pollInterval is how late a change of the interfaces may be noticed.
const pollInterval = 3 * time.Second
