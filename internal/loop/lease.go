package loop

import (
	"net/netip"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// Tenant is what lives on a loop. It has the shape of an engine, and an engine without events is one; a tenant that
// wraps an engine takes the engine's events, and does what they ask for, in AppendTransmit.
//
// The loop calls every method on its own goroutine. After each datagram, timeout, post and Touch it calls AppendTransmit
// and then NextTimeout, once for many of them. What AppendTransmit put into the batch is sent before the tenant is
// called again.
type Tenant interface {
	// HandleDatagram gets a datagram, or a frame of a stream, of one of the tenant's sockets.
	HandleDatagram(now mono.Time, d *pkt.Datagram)
	// HandleTimeout is called when NextTimeout has come, or earlier.
	HandleTimeout(now mono.Time)
	// NextTimeout returns when HandleTimeout is to be called; mono.Never if not at all.
	NextTimeout() mono.Time
	// AppendTransmit writes what is to be sent. It returns true if it has more than the batch had room for.
	AppendTransmit(now mono.Time, b *pkt.Batch) (more bool)
}

// CloseHandler is a Tenant that wants to know when a stream of its ends by itself: the peer closed or broke it, or was
// too slow. The socket's name is then no longer valid.
type CloseHandler interface {
	HandleClose(now mono.Time, s pkt.Socket)
}

// ICMPHandler is a Tenant that wants the ICMP reports of the sockets that it opened with udp.Config.ICMP.
type ICMPHandler interface {
	HandleICMP(now mono.Time, m *pkt.ICMP)
}

// Lease is a tenant's place on a loop. Post may be called from any goroutine; every other method on the loop's only.
type Lease struct {
	loop    *Loop
	tenant  Tenant
	timer   timerq.Timer[*Lease]
	sockets []pkt.Socket // in no order; each socket knows its place
	touched bool
	ended   bool
}

// Attach gives t a place on the loop; t's first AppendTransmit follows soon. It is called on the loop's goroutine, by a
// post or by another tenant.
func (l *Loop) Attach(t Tenant) *Lease {
	lease := &Lease{loop: l, tenant: t}
	lease.timer.Owner = lease
	l.leases[lease] = struct{}{}
	lease.Touch()
	return lease
}

// Loop returns the loop that the lease is on.
func (lease *Lease) Loop() *Loop { return lease.loop }

// Open binds a UDP socket whose datagrams go to the tenant, and returns its name and the address that it is bound to.
func (lease *Lease) Open(cfg udp.Config) (pkt.Socket, netip.AddrPort, error) {
	l := lease.loop
	if lease.ended {
		return 0, netip.AddrPort{}, ErrClosed
	}
	name, err := l.sockets.add(lease, nil)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	local, err := l.poller.Open(name, cfg)
	if err != nil {
		l.sockets.remove(name)
		return 0, netip.AddrPort{}, err
	}
	return name, local, nil
}

// A Layer turns what a tenant sends on a socket into what leaves from the one under it: it encrypts, for instance. It may
// change the payloads and leave transmits out; what it returns stays as it is until it is called again. It must not write
// to the batch, nor open or close anything.
type Layer func(now mono.Time, ts []*pkt.Transmit) []*pkt.Transmit

// Cover opens a socket over another of the tenant's, a UDP socket: what is sent on it goes through layer and leaves from
// the one under it, which may be used beside it. Nothing comes in on it: the tenant, which gets all that comes in under it,
// knows what is meant for which. The lower one is closed last.
func (lease *Lease) Cover(under pkt.Socket, layer Layer) (pkt.Socket, error) {
	l := lease.loop
	if s := l.sockets.get(under); lease.ended || s == nil || s.lease != lease {
		return 0, ErrClosed
	}
	name, err := l.sockets.add(lease, nil)
	if err != nil {
		return 0, err
	}
	s := l.sockets.get(name)
	s.layer, s.under = layer, under
	return name, nil
}

// Close closes a socket or stream of the tenant. Nothing is delivered from it any more, nor sent, and what the batch
// holds for it is dropped; but what is already in the queue of a stream still leaves, if it does within 5 s. A name that
// is not, or no longer, the tenant's is ignored.
func (lease *Lease) Close(name pkt.Socket) {
	l := lease.loop
	s := l.sockets.get(name)
	if s == nil || s.lease != lease {
		return
	}
	covers := s.layer != nil
	stream := l.sockets.remove(name)
	switch {
	case stream != nil:
		stream.close()
	case !covers:
		l.poller.Close(name)
	}
}

// Batch returns the loop's batch, for a tenant that sends on what it receives: HandleDatagram, and a post, may write to
// it at once, instead of keeping a copy for AppendTransmit. When they are called there is room for the longest datagram,
// and for 64 transmits, but none to Lend. What is in the batch is sent before the loop parks, or earlier.
func (lease *Lease) Batch() *pkt.Batch { return lease.loop.batch }

// Touch says that the tenant has something: it is drained before the loop parks. Datagrams, timeouts and posts touch
// their tenant by themselves; it is for one tenant that acts on another.
func (lease *Lease) Touch() {
	if !lease.touched && !lease.ended {
		lease.touched = true
		lease.loop.touched = append(lease.loop.touched, lease)
	}
}

// Post hands f to the loop, as Loop.Post does, and touches the tenant afterwards. If the lease has ended by the time f's
// turn comes, f does not run.
func (lease *Lease) Post(f func(now mono.Time)) bool {
	return lease.loop.inbox.post(post{lease: lease, run: f})
}

// Submit runs job, which must not touch what belongs to the loop, on the pool for jobs, and posts what it returns back
// to the tenant, as Post does. It returns false if the pool's queue is full.
func (lease *Lease) Submit(job func() (result func(now mono.Time))) bool {
	return lease.loop.jobs.submit(func() {
		if result := job(); result != nil {
			lease.Post(result)
		}
	})
}

// End gives the tenant's place up: its sockets and streams are closed, and none of its methods is called any more.
func (lease *Lease) End() {
	if lease.ended {
		return
	}
	for len(lease.sockets) > 0 {
		lease.Close(lease.sockets[len(lease.sockets)-1])
	}
	lease.ended = true
	lease.loop.timers.Stop(&lease.timer)
	delete(lease.loop.leases, lease)
}
