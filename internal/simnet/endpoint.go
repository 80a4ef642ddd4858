package simnet

import (
	"net/netip"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// An Endpoint is a Socket with the methods that a loop's network has for its sockets.
type Endpoint struct{ *Socket }

// OpenEndpoint binds a socket as udp.Config says. What arrives is passed to arrive.
func (h *Host) OpenEndpoint(cfg udp.Config, arrive func(*pkt.Datagram)) (Endpoint, error) {
	s, err := h.Bind(cfg.Local, func(_ mono.Time, d *pkt.Datagram) { arrive(d) })
	return Endpoint{s}, err
}

// LocalAddr returns the address that the socket is bound to.
func (e Endpoint) LocalAddr() netip.AddrPort { return e.Local() }

// Send sends ts and counts them.
func (e Endpoint) Send(ts []*pkt.Transmit, c *udp.Counters) {
	for _, t := range ts {
		e.Transmit(*t)
		c.Sent += uint64(t.Segments())
	}
}

// Close closes the socket.
func (e Endpoint) Close() error {
	e.Socket.Close()
	return nil
}
