package main

import (
	"net/netip"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// A tenant of the loop drives the connections of one socket: one of a client, any number of a server.
type tenant struct {
	lease *loop.Lease
	ends  map[netip.AddrPort]*end // by the peer's address
	admit func(pkt.Path) *end     // makes an end for an address that is new; nil: it is not wanted
	react func(now mono.Time, e *end, ev dtls.Event)
}

func (t *tenant) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	e := t.ends[d.Remote]
	if e == nil {
		if e = t.admit(d.Path); e == nil {
			return
		}
		t.ends[d.Remote] = e
	}
	e.until = now.Add(idle)
	e.HandleDatagram(now, d.Payload)
	t.events(now, e) // at once, as data lie in the datagram
}

func (t *tenant) events(now mono.Time, e *end) {
	for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
		if t.react(now, e, ev); ev.Kind == dtls.Closed {
			e.transmit(now, t.lease.Batch()) // its last alert
			delete(t.ends, e.path.Remote)
		}
	}
}

func (t *tenant) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for _, e := range t.ends {
		t.events(now, e)
		if e.transmit(now, b) {
			return true
		}
		if e.Disposable() { // a cookie is all that it said
			delete(t.ends, e.path.Remote)
		}
	}
	return false
}
