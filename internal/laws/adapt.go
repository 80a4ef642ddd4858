package laws

import (
	"fmt"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Shape is an engine with its own type of event.
type Shape[E any] interface {
	HandleDatagram(now mono.Time, d *pkt.Datagram)
	HandleTimeout(now mono.Time)
	NextTimeout() mono.Time
	AppendTransmit(now mono.Time, b *pkt.Batch) (more bool)
	NextEvent() (E, bool)
}

// Of returns e as an Engine. An event's text is what fmt's %+v makes of it, so an event with pointers needs a String
// method; closing says which events are the engine's last.
func Of[E any](e Shape[E], closing func(E) bool) Engine { return of[E]{e, closing} }

type of[E any] struct {
	Shape[E]
	closing func(E) bool
}

func (o of[E]) NextEvent() (Event, bool) {
	e, ok := o.Shape.NextEvent()
	if !ok {
		return Event{}, false
	}
	return Event{fmt.Sprintf("%+v", e), o.closing(e)}, true
}

// Nested makes an Engine of one that lives inside another and knows no addresses, only packets as byte slices. All
// fields but MaxPacket must be set.
type Nested struct {
	Handle  func(now mono.Time, packet []byte)
	Timeout func(now mono.Time)
	Next    func() mono.Time
	// Append appends one packet to dst, which has room for MaxPacket bytes, or returns dst as it is if there is none.
	Append    func(dst []byte, now mono.Time) []byte
	Event     func() (Event, bool)
	MaxPacket int // default 1500
}

// The addresses between which nested engines seem to talk.
var (
	subjectAddr = netip.MustParseAddrPort("192.0.2.1:10001")
	peerAddr    = netip.MustParseAddrPort("192.0.2.2:10002")
)

func (n *Nested) HandleDatagram(now mono.Time, d *pkt.Datagram) { n.Handle(now, d.Payload) }
func (n *Nested) HandleTimeout(now mono.Time)                   { n.Timeout(now) }
func (n *Nested) NextTimeout() mono.Time                        { return n.Next() }
func (n *Nested) NextEvent() (Event, bool)                      { return n.Event() }

// AppendTransmit writes packets until there are none or the batch is full.
func (n *Nested) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	size := n.MaxPacket
	if size == 0 {
		size = defaultMaxPacket
	}
	for {
		buf := b.Reserve(size)
		if buf == nil {
			return true
		}
		packet := n.Append(buf, now)
		if len(packet) == 0 {
			return false
		}
		b.Commit(pkt.Transmit{Payload: packet})
	}
}

// Responder is a peer that does nothing but answer: for each datagram it is called with reply, which sends a payload
// back to where the datagram came from. It has no timers, so whoever asks must ask again.
func Responder(handle func(now mono.Time, d *pkt.Datagram, reply func(payload []byte))) Engine {
	return &responder{handle: handle}
}

type responder struct {
	handle func(now mono.Time, d *pkt.Datagram, reply func([]byte))
	queue  []pkt.Transmit
}

func (r *responder) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	r.handle(now, d, func(payload []byte) {
		r.queue = append(r.queue, pkt.Transmit{Path: d.Path, Payload: append([]byte(nil), payload...)})
	})
}

func (r *responder) AppendTransmit(_ mono.Time, b *pkt.Batch) (more bool) {
	for len(r.queue) > 0 {
		if !b.Append(r.queue[0]) {
			return true
		}
		r.queue = r.queue[1:]
	}
	return false
}

func (r *responder) HandleTimeout(mono.Time)  {}
func (r *responder) NextTimeout() mono.Time   { return mono.Never }
func (r *responder) NextEvent() (Event, bool) { return Event{}, false }
