package simnet

import (
	"net/netip"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Engine is what a Driver asks of an engine.
type Engine interface {
	HandleDatagram(now mono.Time, d *pkt.Datagram)
	HandleTimeout(now mono.Time)
	NextTimeout() mono.Time
	AppendTransmit(now mono.Time, b *pkt.Batch) (more bool)
}

// A Driver runs an engine on a host, in virtual time and without a goroutine. It is for networks that are not live.
//
// Whoever mutates the engine calls Poll afterwards. After is where a program would be: it is called each time the
// engine was drained, may take events and mutate the engine, and returns whether it did.
type Driver struct {
	After func(now mono.Time) (changed bool)

	host    *Host
	engine  Engine
	sockets []*Socket // by number; nil where closed
	batch   *pkt.Batch
	alarm   mono.Time // the earliest timer that is set
}

// Run starts an engine on h with a socket for each address, numbered from 0.
func (h *Host) Run(e Engine, locals ...netip.AddrPort) (*Driver, error) {
	d := &Driver{host: h, engine: e, batch: pkt.NewBatch(1<<18, 64), alarm: mono.Never}
	for _, local := range locals {
		if _, err := d.Open(local); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Open gives the engine one more socket and returns its number.
func (d *Driver) Open(local netip.AddrPort) (pkt.Socket, error) {
	s, err := d.host.Bind(local, func(now mono.Time, datagram *pkt.Datagram) {
		d.engine.HandleDatagram(now, datagram)
		d.poll(now)
	})
	if err != nil {
		return 0, err
	}
	s.number = pkt.Socket(len(d.sockets))
	d.sockets = append(d.sockets, s)
	return s.number, nil
}

// Close closes a socket of the engine. Its number is not used again.
func (d *Driver) Close(number pkt.Socket) {
	d.sockets[number].Close()
	d.sockets[number] = nil
}

// Local returns the address of a socket.
func (d *Driver) Local(number pkt.Socket) netip.AddrPort { return d.sockets[number].Local() }

// Poll takes what the engine has to send and sets the timer to its next deadline.
func (d *Driver) Poll() { d.poll(d.host.net.Now()) }

func (d *Driver) poll(now mono.Time) {
	for {
		for more := true; more; {
			d.batch.Reset()
			more = d.engine.AppendTransmit(now, d.batch)
			for _, t := range d.batch.Transmits() {
				if int(t.Socket) < len(d.sockets) && d.sockets[t.Socket] != nil {
					d.sockets[t.Socket].Transmit(t)
				}
			}
		}
		if d.After == nil || !d.After(now) {
			break
		}
	}
	// One timer at a time, unless the deadline moved to before it: a timer that rings early sets the next one.
	if due := d.engine.NextTimeout(); due < d.alarm {
		d.alarm = due
		d.host.net.at(due, d.ring)
	}
}

func (d *Driver) ring(now mono.Time) {
	if now >= d.alarm {
		d.alarm = mono.Never
	}
	if d.engine.NextTimeout() <= now {
		d.engine.HandleTimeout(now)
	}
	d.poll(now)
}
