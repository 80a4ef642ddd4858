package loop

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// NewPoller returns the best poller that this system has.
func NewPoller() (Poller, error) {
	f := udp.Probe()
	if !f.MMsg {
		return NewMailbox(Readers{}), nil
	}
	return NewEpoll(f)
}

// Epoll is the Poller of Linux: one descriptor of epoll watches every socket, and Go's netpoller watches that
// descriptor, so that thousands of sockets cost no goroutine, and a loop that sleeps no thread.
type Epoll struct {
	features udp.Features
	file     *os.File // the descriptor, non-blocking: reading it parks in the netpoller under a deadline
	raw      syscall.RawConn
	fd       int
	pollOnce func(fd uintptr) bool

	sockets  []watched // by name
	receiver *udp.Receiver
	sender   *udp.Sender
	count    udp.Counters
	events   [256]unix.EpollEvent
	ready    int  // events that Park found and Receive has yet to handle
	looked   bool // since the last Receive: once a turn is enough
	pace     pace
}

// watched is a socket that is open, or was, and the generation of its place. An event says the name and the generation,
// and never the number of the descriptor, which the system gives to the next socket as soon as this one is closed.
type watched struct {
	*udp.Socket // nil when closed
	generation  int32
}

// NewEpoll returns a poller that makes use of f.
func NewEpoll(f udp.Features) (*Epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("loop: %w", os.NewSyscallError("epoll_create1", err))
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("loop: %w", os.NewSyscallError("fcntl", err))
	}
	p := &Epoll{features: f, fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if the netpoller did not take the file
	}
	if err != nil {
		p.file.Close()
		return nil, fmt.Errorf("loop: watch the epoll descriptor: %w", err)
	}
	p.receiver, p.sender = udp.NewReceiver(&p.count), udp.NewSender(&p.count)
	p.pollOnce = func(uintptr) bool { return p.poll() }
	return p, nil
}

// Now returns the time that all loops share.
func (p *Epoll) Now() mono.Time { return clock() }

// Open binds a socket and watches it.
func (p *Epoll) Open(name pkt.Socket, cfg udp.Config) (netip.AddrPort, error) {
	s, err := udp.Open(name, cfg, p.features)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for len(p.sockets) <= int(name) {
		p.sockets = append(p.sockets, watched{})
	}
	w := &p.sockets[name]
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(name), Pad: w.generation + 1}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.Descriptor(), &event); err != nil {
		s.Close()
		return netip.AddrPort{}, fmt.Errorf("loop: watch %v: %w", s.LocalAddr(), os.NewSyscallError("epoll_ctl", err))
	}
	w.Socket, w.generation = s, w.generation+1
	return s.LocalAddr(), nil
}

// Close closes a socket; closing its descriptor ends the watch.
func (p *Epoll) Close(name pkt.Socket) {
	w := &p.sockets[name]
	// The socket is gone either way; nobody could do anything about an error.
	_ = w.Socket.Close()
	w.Socket = nil
}

// Send sends on a socket.
func (p *Epoll) Send(name pkt.Socket, ts []*pkt.Transmit) { p.sender.Send(p.sockets[name].Socket, ts) }

// poll asks for events and returns whether there are any.
func (p *Epoll) poll() bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
	p.ready, p.looked = 0, true
	if errno == 0 {
		p.ready = int(n)
	}
	return p.ready > 0
}

// Receive makes one batched receive for each readable socket.
func (p *Epoll) Receive(h Handler) {
	if p.ready == 0 && !p.looked {
		p.poll()
	}
	if p.looked = false; p.ready == 0 {
		return
	}
	before, more := p.count.Received, false
	for i := range p.ready {
		event := p.events[i]
		w := p.sockets[event.Fd]
		if w.Socket == nil || w.generation != event.Pad {
			continue // closed, and perhaps its place taken, since the event was fetched
		}
		if event.Events&unix.EPOLLERR != 0 {
			p.receiver.ReceiveICMP(w.Socket, h.HandleICMP)
		}
		if _, full := p.receiver.Receive(w.Socket, h.HandleDatagram); full {
			more = true
		}
	}
	p.ready = 0
	p.pace.received(clock(), int(p.count.Received-before), more)
}

// Park sleeps in the netpoller. Under load it naps first, so that a batch forms.
func (p *Epoll) Park(deadline mono.Time, idle func() bool) {
	if p.pace.shouldNap(clock(), deadline) {
		p.pace.nap()
		p.pace.overslept = p.pace.overslept || !idle() // a post does not end a nap, and so had to wait
		if p.poll() {
			return
		}
	}
	if deadline == mono.Never {
		_ = p.file.SetReadDeadline(time.Time{})
	} else {
		_ = p.file.SetReadDeadline(epoch.Add(time.Duration(deadline)))
	}
	if idle() {
		// It returns when there are events, or the deadline has passed, which both are no error here.
		_ = p.raw.Read(p.pollOnce)
	}
}

// Wake ends a Park by a deadline in the past.
func (p *Epoll) Wake() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) }

// Counters returns the counters.
func (p *Epoll) Counters() *udp.Counters { return &p.count }

// Shutdown closes every socket and the descriptor.
func (p *Epoll) Shutdown() {
	for name, w := range p.sockets {
		if w.Socket != nil {
			p.Close(pkt.Socket(name))
		}
	}
	_ = p.file.Close()
}
