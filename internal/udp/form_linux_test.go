package udp

import (
	"slices"
	"testing"

	"github.com/parley-rtc/parley/protocol/pkt"
)

// batchedForm is a Socket with a Receiver and a Sender of its own.
func batchedForm(name string, f Features) form {
	return form{name, func(t testing.TB, cfg Config) endpoint {
		t.Helper()
		s, err := Open(7, cfg, f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return newSocketEndpoint(t, s)
	}}
}

var (
	plain = batchedForm("mmsg", Features{MMsg: true})
	gso   = batchedForm("mmsg+gso", Features{MMsg: true, GSO: true})
	gro   = batchedForm("mmsg+gso+gro", Features{MMsg: true, GSO: true, GRO: true})
)

// forms is every form that works here.
func forms() []form {
	list := []form{connForm, plain}
	if probeSystem().GSO {
		list = append(list, gso)
	}
	if probeSystem().GRO {
		list = append(list, gro)
	}
	return list
}

type socketEndpoint struct {
	*Socket
	t        testing.TB
	count    *Counters
	receiver *Receiver
	sender   *Sender
}

func newSocketEndpoint(t testing.TB, s *Socket) *socketEndpoint {
	c := new(Counters)
	return &socketEndpoint{Socket: s, t: t, count: c, receiver: NewReceiver(c), sender: NewSender(c)}
}

func (e *socketEndpoint) counters() *Counters { return e.count }

func (e *socketEndpoint) send(ts ...pkt.Transmit) { e.sender.Send(e.Socket, pointers(ts)) }

func (e *socketEndpoint) receive(n int) (got []pkt.Datagram) {
	e.t.Helper()
	for len(got) < n {
		if !waitReadable(e.Socket) {
			e.t.Fatalf("%d of %d datagrams came", len(got), n)
		}
		e.receiver.Receive(e.Socket, func(d *pkt.Datagram) {
			copied := *d
			copied.Payload = slices.Clone(d.Payload)
			got = append(got, copied)
			// As engines may, spoil everything that was borrowed.
			for i := range d.Payload {
				d.Payload[i] ^= 0xff
			}
			*d = pkt.Datagram{}
		})
	}
	if len(got) > n {
		e.t.Fatalf("%d datagrams came instead of %d", len(got), n)
	}
	return got
}

func openErrors(cfg Config) map[string]error {
	_, err1 := OpenConn(0, cfg)
	_, err2 := Open(0, cfg, Features{})
	return map[string]error{"Conn": err1, "Socket": err2}
}
