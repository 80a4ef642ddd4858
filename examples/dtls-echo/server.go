package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const maxClients = 1000

// serve sends back what clients say until ctx ends.
func serve(ctx context.Context, l *loop.Loop, config *dtls.Config, address string, out io.Writer) error {
	local, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address to listen on must be like 127.0.0.1:4433: %w", err)
	}
	// Addresses that were made up cost nothing, as clients must first show that they receive there.
	config.CookieSecret = make([]byte, 32)
	rand.Read(config.CookieSecret)

	t := &tenant{ends: make(map[netip.AddrPort]*end)}
	t.admit = func(path pkt.Path) *end {
		conn, err := dtls.New(dtls.Server, config)
		if err != nil || len(t.ends) >= maxClients {
			return nil
		}
		conn.SetRemote([]byte(path.Remote.String()))
		return &end{Conn: conn, lease: t.lease, path: path}
	}
	t.react = func(now mono.Time, e *end, ev dtls.Event) {
		switch ev.Kind {
		case dtls.PeerCertificate:
			e.Accept(now) // everybody is welcome to an echo
		case dtls.Data:
			e.say(ev.Data)
		}
	}
	_ = l.Do(func(mono.Time) {
		t.lease = l.Attach(t)
		_, local, err = t.lease.Open(udp.Config{Local: local})
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "go run ./examples/dtls-echo client", local, config.Certificate.Fingerprint())
	<-ctx.Done()
	t.hangUp()
	return nil
}
