// Package loop drives engines: one goroutine that owns sockets, tenants, a timer for each tenant and an inbox, and that
// runs to completion what they have to do.
//
// Its life is this, over and over:
//
//	take the inbox -> run due timers -> drain the tenants that have something -> send in batches ->
//	park on the poller until a socket is readable, a timer is due or somebody posts ->
//	one batched receive for each readable socket -> tenants
//
// A [Tenant] is an engine, or what binds one to its surroundings: a TURN server with its thousands of relay sockets, a
// peer connection with a socket for each local address, a network that shares one port among many peers. Which datagram
// is for whom is the tenant's business; the loop knows only which tenant a socket belongs to. Everything a tenant does,
// it does on the loop's goroutine, through the [Lease] it was given, so it needs no lock.
//
// Other goroutines have [Loop.Post], [Loop.Do], [Lease.Post] and [Lease.Submit]. Posts of one goroutine run in the order
// in which it posted them. The inbox has no limit of its own: whoever posts bounds what it has under way, as streams and
// jobs here do.
//
// Where the datagrams come from is a [Poller]: [NewPoller] is the best that the system has, [NewMailbox] is what tests
// use over a virtual network.
//
// Byte streams ([Lease.Adopt]) look like sockets to a tenant: whole frames come in as datagrams and go out as transmits.
package loop

import (
	"errors"

	"github.com/parley-rtc/parley/internal/timerq"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// What a loop sends at a time. More would not fit a second-level cache along with what is received; the bytes must hold
// the longest datagram.
const (
	batchBytes     = 384 << 10
	batchTransmits = 256
)

// Config says how to make a Loop; the zero value is the one for production.
type Config struct {
	// Poller is where the loop's sockets live; the loop shuts it down when it closes. Nil: NewPoller().
	Poller Poller
	// Jobs runs what would stall the loop, which closes it when it closes itself. Nil: a worker for each processor.
	Jobs *Jobs
}

// Loop is one goroutine and what it owns.
type Loop struct {
	poller Poller
	jobs   *Jobs
	inbox  inbox
	done   chan struct{}

	// Everything below belongs to the goroutine.

	now     mono.Time
	timers  timerq.Queue[*Lease]
	leases  map[*Lease]struct{}
	touched []*Lease // have something to send, or a new deadline; each once
	spare   []*Lease // the other buffer of touched
	answers []chan struct{}
	sockets sockets
	batch   *pkt.Batch
	outgo   outgo
	closing bool
	count   Counters
}

// ErrClosed is returned by what needs a loop that runs.
var ErrClosed = errors.New("loop: closed")

// New starts a loop. It runs until Close.
func New(cfg Config) (*Loop, error) {
	if cfg.Poller == nil {
		p, err := NewPoller()
		if err != nil {
			return nil, err
		}
		cfg.Poller = p
	}
	if cfg.Jobs == nil {
		cfg.Jobs = defaultJobs()
	}
	l := &Loop{
		poller: cfg.Poller,
		jobs:   cfg.Jobs,
		done:   make(chan struct{}),
		leases: make(map[*Lease]struct{}),
		batch:  pkt.NewBatch(batchBytes, batchTransmits),
	}
	l.inbox.wake = l.poller.Wake
	go l.run()
	return l, nil
}

// Now returns the loop's time; it may be called from any goroutine.
func (l *Loop) Now() mono.Time { return l.poller.Now() }

// Post hands f to the loop, which runs it soon, and returns at once. It returns false, and f never runs, if the loop was
// closed before. It may be called from any goroutine, the loop's own included.
func (l *Loop) Post(f func(now mono.Time)) bool { return l.inbox.post(post{run: f}) }

// Do posts f and waits until the turn is over in which it has run, so that the tenants that it touched were drained. It returns
// ErrClosed, and f never runs, if the loop was closed before. It must not be called from the loop's own goroutine, which would
// wait for itself.
func (l *Loop) Do(f func(now mono.Time)) error {
	ran := make(chan struct{})
	if !l.inbox.post(post{run: f, ran: ran}) {
		return ErrClosed
	}
	<-ran
	return nil
}

// Close ends the loop: what was posted before still runs, then every lease ends, sockets and streams are closed, and
// Close returns. What a tenant has not said by then remains unsaid. Closing twice is harmless. It must not be called
// from the loop's own goroutine.
func (l *Loop) Close() {
	l.Post(func(mono.Time) { l.closing = true })
	<-l.done
}

// Counters returns what the loop has counted so far; of a closed loop, all it ever counted. It must not be called from
// the loop's own goroutine.
func (l *Loop) Counters() Counters {
	var c Counters
	if l.Do(func(mono.Time) { c = l.counters() }) != nil {
		<-l.done
		c = l.counters()
	}
	return c
}

func (l *Loop) counters() Counters {
	c := l.count
	c.UDP = *l.poller.Counters()
	c.Tenants, c.Sockets, c.Timers = len(l.leases), l.sockets.open, l.timers.Len()
	return c
}

func (l *Loop) run() {
	defer close(l.done)
	idle := l.inbox.isEmpty // once: a method value is an allocation
	for {
		l.count.Turns++
		l.now = l.poller.Now()
		l.runPosts(l.inbox.take())
		l.runTimers()
		l.drain()
		l.answer()
		if l.closing {
			break
		}
		if len(l.touched) == 0 && idle() {
			l.count.Parks++
			l.inbox.parked.Store(true)
			l.poller.Park(l.timers.Next(), idle)
			l.inbox.parked.Store(false)
			l.now = l.poller.Now()
		}
		l.poller.Receive(l)
	}
	l.shutdown()
}

func (l *Loop) runPosts(posts []post) {
	for i := range posts {
		p := &posts[i]
		l.count.Posts++
		switch {
		case p.lease == nil:
			p.run(l.now)
		case !p.lease.ended:
			p.run(l.now)
			p.lease.Touch()
		}
		if p.ran != nil {
			l.answers = append(l.answers, p.ran)
		}
		*p = post{}
		l.makeRoom()
	}
}

// answer lets those go on that wait in Do. It is the end of a turn: mostly the loop sleeps then, and they have its processor;
// earlier another one would be woken for them.
func (l *Loop) answer() {
	for i, ran := range l.answers {
		close(ran)
		l.answers[i] = nil
	}
	l.answers = l.answers[:0]
}

func (l *Loop) runTimers() {
	for {
		lease, due := l.timers.PopDue(l.now)
		if !due {
			return
		}
		l.count.Timeouts++
		lease.tenant.HandleTimeout(l.now)
		lease.Touch() // which also sets the timer again
	}
}

// drain gives each tenant that was touched one turn, and sends what they have.
func (l *Loop) drain() {
	round := l.touched
	l.touched, l.spare = l.spare[:0], nil
	for i, lease := range round {
		round[i] = nil
		lease.touched = false
		if lease.ended {
			continue
		}
		if lease.tenant.AppendTransmit(l.now, l.batch) {
			if l.batch.Len() > 0 {
				lease.Touch() // and again, after the others
			} else {
				l.count.Starved++
			}
			l.send()
		}
		if !lease.ended {
			l.timers.Set(&lease.timer, lease.tenant.NextTimeout())
		}
	}
	l.spare = round[:0]
	l.send()
}

// HandleDatagram is called by the poller for each datagram.
func (l *Loop) HandleDatagram(d *pkt.Datagram) {
	if s := l.sockets.get(d.Socket); s != nil {
		s.lease.Touch()
		s.lease.tenant.HandleDatagram(l.now, d)
		l.makeRoom()
		return
	}
	l.count.Stale++
}

// makeRoom sends what is in the batch if a handler might find too little room in it.
func (l *Loop) makeRoom() {
	if bytes, transmits := l.batch.Room(); bytes < batchBytes/4 || transmits < batchTransmits/4 {
		l.send()
	}
}

// HandleICMP is called by the poller for each ICMP report.
func (l *Loop) HandleICMP(m *pkt.ICMP) {
	if s := l.sockets.get(m.Socket); s != nil {
		if t, ok := s.lease.tenant.(ICMPHandler); ok {
			s.lease.Touch()
			t.HandleICMP(l.now, m)
		}
		return
	}
	l.count.Stale++
}

// shutdown is the last thing that the goroutine does.
func (l *Loop) shutdown() {
	l.runPosts(l.inbox.close())
	l.drain()
	l.answer()
	for lease := range l.leases {
		lease.End()
	}
	l.jobs.close()
	l.poller.Shutdown()
}
