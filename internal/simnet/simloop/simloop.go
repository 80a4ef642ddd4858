// Package simloop lets loops, and what gathers addresses for them, run on the hosts of a virtual network. For tests only.
package simloop

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/parley-rtc/parley/internal/gather"
	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A Host is a virtual host as a machine: a loop.Network for the sockets of loops, and a gather.Host. Its network must be
// live.
type Host struct {
	*simnet.Host

	mu       sync.Mutex
	gone     map[netip.Addr]bool
	kinds    map[netip.Addr]gather.Kind
	watchers map[*func()]struct{}
}

var (
	_ loop.Network         = (*Host)(nil)
	_ gather.MulticastHost = (*Host)(nil)
)

// New returns h as a machine.
func New(h *simnet.Host) *Host {
	return &Host{
		Host: h, gone: map[netip.Addr]bool{}, kinds: map[netip.Addr]gather.Kind{},
		watchers: map[*func()]struct{}{},
	}
}

// Poller returns a poller for one loop.
func (h *Host) Poller() loop.Poller { return loop.NewMailbox(h) }

// Now is the time of the network.
func (h *Host) Now() mono.Time { return h.Network().Now() }

// Open binds a socket.
func (h *Host) Open(_ pkt.Socket, cfg udp.Config, arrive func(*pkt.Datagram)) (loop.NetworkSocket, error) {
	e, err := h.OpenEndpoint(cfg, func(d *pkt.Datagram) {
		if !h.isGone(d.Local.Addr()) {
			arrive(d)
		}
	})
	return endpoint{e, h}, err
}

// endpoint is silent while its address is lost.
type endpoint struct {
	simnet.Endpoint
	host *Host
}

func (e endpoint) Send(ts []*pkt.Transmit, c *udp.Counters) {
	if e.host.isGone(e.Local().Addr()) {
		c.SendError += uint64(len(ts))
		return
	}
	e.Endpoint.Send(ts, c)
}

// SetKind says what interface an address belongs to; otherwise it is wired.
func (h *Host) SetKind(ip string, k gather.Kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kinds[netip.MustParseAddr(ip)] = k
}

// Lose takes an address away, until Regain.
func (h *Host) Lose(ip string) { h.change(ip, true) }

// Regain gives an address back.
func (h *Host) Regain(ip string) { h.change(ip, false) }

// Changed tells those who watch that there are other addresses, as after Attach.
func (h *Host) Changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for changed := range h.watchers {
		(*changed)()
	}
}

func (h *Host) change(ip string, gone bool) {
	h.mu.Lock()
	h.gone[netip.MustParseAddr(ip)] = gone
	h.mu.Unlock()
	h.Changed()
}

func (h *Host) isGone(ip netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone[ip]
}

// Addresses returns the addresses of the host.
func (h *Host) Addresses() ([]gather.Address, error) {
	var all []gather.Address
	addrs := h.Addrs()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ip := range addrs {
		if h.gone[ip] {
			continue
		}
		kind := h.kinds[ip]
		if ip.IsLoopback() {
			kind = gather.Loopback
		}
		all = append(all, gather.Address{IP: ip, Interface: "sim-" + kind.String(), Kind: kind})
	}
	return all, nil
}

// Watch is told of Lose, Regain and Changed.
func (h *Host) Watch(changed func()) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &changed
	h.watchers[w] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers, w)
	}
}

// Lookup knows the names of the network.
func (h *Host) Lookup(_ context.Context, name string) ([]netip.Addr, error) {
	return h.Network().Lookup(name)
}

// Dial opens a byte stream.
func (h *Host) Dial(ctx context.Context, local netip.Addr, remote netip.AddrPort) (net.Conn, error) {
	return h.DialFrom(ctx, local, remote)
}

// Listen accepts byte streams.
func (h *Host) Listen(local netip.AddrPort) (net.Listener, error) {
	l, err := h.Host.Listen(local)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Multicast joins the group of multicast DNS over IPv4 on the host's network.
func (h *Host) Multicast(arrive func(from netip.AddrPort, message []byte)) (gather.Multicast, error) {
	s, err := h.Bind(netip.AddrPortFrom(netip.IPv4Unspecified(), mdnsGroup.Port()), func(_ mono.Time, d *pkt.Datagram) { arrive(d.Remote, d.Payload) })
	if err != nil {
		return nil, err
	}
	return &membership{s}, nil
}

var mdnsGroup = netip.MustParseAddrPort("224.0.0.251:5353")

type membership struct{ *simnet.Socket }

func (m *membership) Send(message []byte) { m.Socket.Send(mdnsGroup, message) }

func (m *membership) SendTo(message []byte, to netip.AddrPort) { m.Socket.Send(to, message) }

func (m *membership) Close() error {
	m.Socket.Close()
	return nil
}
