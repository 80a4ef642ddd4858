package main

import (
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A client is the one connection of its tenant. What comes of it is told to whoever talks, on another goroutine.
type client struct {
	tenant
	end      *end
	promised dtls.Fingerprint
	heard    chan string
	ended    chan error
}

// dial begins a handshake with the server that has the promised fingerprint.
func dial(l *loop.Loop, config *dtls.Config, address string, promised dtls.Fingerprint) (*client, error) {
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("the server's address must be like 127.0.0.1:4433: %w", err)
	}
	e := &end{path: pkt.Path{Remote: remote}, until: mono.Never}
	if e.Conn, err = dtls.New(dtls.Client, config); err != nil {
		return nil, err
	}
	c := &client{end: e, promised: promised, heard: make(chan string, 16), ended: make(chan error, 1)}
	c.tenant = tenant{ends: map[netip.AddrPort]*end{remote: e}, admit: func(pkt.Path) *end { return nil }, react: c.react}
	local := netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	if remote.Addr().Is4() {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	_ = l.Do(func(mono.Time) {
		c.lease = l.Attach(c)
		e.lease = c.lease
		e.path.Socket, _, err = c.lease.Open(udp.Config{Local: local})
	})
	return c, err
}
