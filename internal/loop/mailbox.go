package loop

import (
	"net/netip"
	"sync"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Network is where a Mailbox gets its sockets from.
type Network interface {
	// Now is the time on the network.
	Now() mono.Time
	// Open binds a socket. From then on arrive is called, from any goroutine, with each datagram. It copies the payload
	// and puts in the name; a nil payload stands for a datagram that was too long to be received.
	Open(name pkt.Socket, cfg udp.Config, arrive func(d *pkt.Datagram)) (NetworkSocket, error)
}

// NetworkSocket is one socket of a Network.
type NetworkSocket interface {
	LocalAddr() netip.AddrPort
	// Send sends ts, without waiting, and counts in c. It is called by one goroutine.
	Send(ts []*pkt.Transmit, c *udp.Counters)
	// Close closes the socket; arrive may still be called for a while.
	Close() error
}

// What a Mailbox holds at most; what comes on top is dropped and counted as KernelDrops, because it stands for the
// buffers of a kernel.
const (
	mailboxDatagrams = 16 << 10
	mailboxBytes     = 8 << 20
)

// Mailbox is a Poller whose datagrams are brought by others.
type Mailbox struct {
	network Network
	sockets map[pkt.Socket]registration
	opened  uint64 // sockets ever
	timer   *time.Timer
	signal  chan struct{} // one token, so that a signal that comes early is kept
	count   udp.Counters

	mu        sync.Mutex
	arrived   letters
	drops     uint64
	truncated uint64

	taken letters // by Receive
}

// registration is a socket that is open. Its number is its own, unlike the name.
type registration struct {
	NetworkSocket
	number uint64
}

// letters is datagrams one after the other, with their payloads.
type letters struct {
	datagrams []letter
	bytes     []byte
}

// letter is one datagram without its payload, which ends at end in letters.bytes.
type letter struct {
	pkt.Datagram
	to  uint64 // the number of its registration
	end int
}

// NewMailbox returns a poller over a network.
func NewMailbox(n Network) *Mailbox {
	m := &Mailbox{
		network: n,
		sockets: make(map[pkt.Socket]registration),
		timer:   time.NewTimer(time.Hour),
		signal:  make(chan struct{}, 1),
	}
	m.timer.Stop()
	return m
}

// Now returns the network's time.
func (m *Mailbox) Now() mono.Time { return m.network.Now() }

// Open binds a socket.
func (m *Mailbox) Open(name pkt.Socket, cfg udp.Config) (netip.AddrPort, error) {
	m.opened++
	number := m.opened
	s, err := m.network.Open(name, cfg, func(d *pkt.Datagram) { m.arrive(name, number, d) })
	if err != nil {
		return netip.AddrPort{}, err
	}
	m.sockets[name] = registration{s, number}
	return s.LocalAddr(), nil
}

// Close closes a socket.
func (m *Mailbox) Close(name pkt.Socket) {
	// The socket is gone either way; nobody could do anything about an error.
	_ = m.sockets[name].Close()
	delete(m.sockets, name)
}

// Send sends on a socket.
func (m *Mailbox) Send(name pkt.Socket, ts []*pkt.Transmit) { m.sockets[name].Send(ts, &m.count) }

// arrive puts a datagram into the box.
func (m *Mailbox) arrive(name pkt.Socket, number uint64, d *pkt.Datagram) {
	if m.put(name, number, d) {
		m.Wake()
	}
}

// put returns whether the box was empty before.
func (m *Mailbox) put(name pkt.Socket, number uint64, d *pkt.Datagram) (first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := &m.arrived
	switch {
	case d.Payload == nil:
		m.truncated++
		return false
	case len(in.datagrams) >= mailboxDatagrams || len(in.bytes)+len(d.Payload) > mailboxBytes:
		m.drops++
		return false
	}
	in.bytes = append(in.bytes, d.Payload...)
	in.datagrams = append(in.datagrams, letter{Datagram: *d, to: number, end: len(in.bytes)})
	last := &in.datagrams[len(in.datagrams)-1]
	last.Socket, last.Payload = name, nil
	return len(in.datagrams) == 1
}

// Receive delivers what is in the box.
func (m *Mailbox) Receive(h Handler) {
	m.mu.Lock()
	m.arrived, m.taken = m.taken, m.arrived
	m.count.KernelDrops += m.drops
	m.count.Truncated += m.truncated
	m.drops, m.truncated = 0, 0
	m.mu.Unlock()
	start := 0
	for i := range m.taken.datagrams {
		d := &m.taken.datagrams[i]
		payload := m.taken.bytes[start:d.end:d.end]
		start = d.end
		if m.sockets[d.Socket].number != d.to {
			continue // closed since it arrived
		}
		m.count.Received++
		m.count.ReceivedBytes += uint64(len(payload))
		d.Payload = payload
		h.HandleDatagram(&d.Datagram)
	}
	m.taken = letters{m.taken.datagrams[:0], m.taken.bytes[:0]}
}

// Park sleeps until something is in the box.
func (m *Mailbox) Park(deadline mono.Time, idle func() bool) {
	var due <-chan time.Time
	if deadline != mono.Never {
		wait := deadline.Sub(m.network.Now())
		if wait <= 0 {
			return
		}
		m.timer.Reset(wait)
		defer m.timer.Stop()
		due = m.timer.C
	}
	if !idle() {
		return
	}
	select {
	case <-m.signal:
	case <-due:
	}
}

// Wake ends a Park.
func (m *Mailbox) Wake() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// Counters returns the counters.
func (m *Mailbox) Counters() *udp.Counters { return &m.count }

// Shutdown closes every socket.
func (m *Mailbox) Shutdown() {
	for name := range m.sockets {
		m.Close(name)
	}
}
