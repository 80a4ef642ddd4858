package loop

import (
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Readers is the Network of package net's sockets, each with a goroutine that reads it. It works on every system.
type Readers struct{}

// Now returns the time that all loops share.
func (Readers) Now() mono.Time { return clock() }

// Open binds a socket and starts its reader, which ends when the socket is closed.
func (Readers) Open(name pkt.Socket, cfg udp.Config, arrive func(d *pkt.Datagram)) (NetworkSocket, error) {
	c, err := udp.OpenConn(name, cfg)
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, udp.MaxConnDatagram+1)
		var d pkt.Datagram
		for c.Read(&d, buf) == nil {
			arrive(&d)
		}
	}()
	return c, nil
}
