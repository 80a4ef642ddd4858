package loop

import (
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Poller is where a loop's UDP sockets live and where its goroutine sleeps. All methods but Wake are called by the
// loop's goroutine only.
//
// There are two kinds. On Linux, one descriptor of epoll holds every socket and is itself watched by Go's netpoller. A
// [Mailbox] has its datagrams brought by others: by a goroutine for each socket, on other systems and where
// PARLEY_DISABLE_MMSG says so, or by a virtual network in tests.
type Poller interface {
	// Now is the loop's clock.
	Now() mono.Time
	// Open binds a socket, from which Receive delivers under the given name until Close.
	Open(name pkt.Socket, cfg udp.Config) (netip.AddrPort, error)
	// Close closes a socket that is open.
	Close(name pkt.Socket)
	// Send sends transmits on the socket of that name, without waiting.
	Send(name pkt.Socket, ts []*pkt.Transmit)
	// Receive delivers to h what has arrived, without waiting: of each readable socket one batch at most. From a socket
	// that was closed, by h meanwhile too, it delivers nothing, not even under the same name opened again.
	Receive(h Handler)
	// Park makes ready to be woken, then asks idle, and if that returns true sleeps until the deadline, until Receive
	// would deliver something, or until a Wake that came after idle was asked. It may return early.
	Park(deadline mono.Time, idle func() bool)
	// Wake ends a Park. It may be called from any goroutine, also after Shutdown.
	Wake()
	// Counters returns the poller's own counters, as they are now.
	Counters() *udp.Counters
	// Shutdown closes every socket and frees what the poller holds. It is the last call.
	Shutdown()
}

// Handler is what a Poller delivers to: a loop. Datagrams are borrowed, as those of engines are.
type Handler interface {
	HandleDatagram(d *pkt.Datagram)
	HandleICMP(m *pkt.ICMP)
}

// epoch is the zero of every loop's clock, so that times may travel from one loop to another.
var epoch = time.Now()

func clock() mono.Time { return mono.Time(time.Since(epoch)) }
