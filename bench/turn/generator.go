//go:build linux

package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
	"golang.org/x/sys/unix"
)

const (
	channel   = 0x4000
	inFlight  = 16 // requests
	resendAt  = 500 * time.Millisecond
	resends   = 5
	peerName  = 0 // the peer's socket; those of the clients follow
	maxBehind = 20 * time.Millisecond
	maxClient = 126 << 8 // addresses of theirs
)

// generator is the clients and the peer: one thread that sends when it is time and else reads, and never sleeps, so that
// a server is not charged with waking it.
type generator struct {
	server   netip.AddrPort
	poll     int
	sockets  []*udp.Socket // by name
	clients  []*client
	sender   *udp.Sender
	receiver *udp.Receiver
	count    udp.Counters
	hasher   *stun.Hasher
	resent   int
	start    time.Time
}

// client is one client, with the request that it waits for the answer to.
type client struct {
	name    pkt.Socket
	proof   *stun.Credential
	relayed netip.AddrPort

	id    stun.TransactionID
	raw   []byte
	tries int
	until time.Time
}

// newGenerator opens the sockets.
func newGenerator(server netip.AddrPort, n int) (*generator, error) {
	if n >= maxClient {
		return nil, fmt.Errorf("%d clients: at most %d have an address", n, maxClient-1)
	}
	g := &generator{server: server, hasher: stun.NewHasher(), start: time.Now()}
	g.sender, g.receiver = udp.NewSender(&g.count), udp.NewReceiver(&g.count)
	var err error
	if g.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for name := range n + 1 {
		// Each client has a network of its own, because a server may bound what one network asks of it, and so has the peer.
		local := netip.AddrFrom4([4]byte{127, byte(1 + name>>8), byte(name), 1})
		// No GSO: packets reach the server one by one, as they would from as many machines.
		s, err := udp.Open(pkt.Socket(name), udp.Config{Local: netip.AddrPortFrom(local, 0)}, udp.Features{MMsg: true, GRO: *gro})
		if err != nil {
			g.close()
			return nil, err
		}
		g.sockets = append(g.sockets, s)
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(name)}
		if err := unix.EpollCtl(g.poll, unix.EPOLL_CTL_ADD, s.Descriptor(), &event); err != nil {
			g.close()
			return nil, err
		}
		if name != peerName {
			g.clients = append(g.clients, &client{name: pkt.Socket(name), proof: stun.NewCredential(user, password)})
		}
	}
	return g, nil
}

func (g *generator) close() {
	for _, s := range g.sockets {
		s.Close()
	}
	unix.Close(g.poll)
}

func (g *generator) peer() netip.AddrPort { return g.sockets[peerName].LocalAddr() }

// receive delivers what has arrived.
func (g *generator) receive(deliver func(*pkt.Datagram)) {
	var events [64]unix.EpollEvent
	n, _ := unix.EpollWait(g.poll, events[:], 0)
	for _, e := range events[:max(n, 0)] {
		g.receiver.Receive(g.sockets[e.Fd], deliver)
	}
}

// allocate makes every client's allocation.
func (g *generator) allocate() error {
	return g.transact(stun.Allocate,
		func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) },
		func(c *client, m *stun.Message) (err error) {
			c.relayed, err = m.XORAddress(stun.AttrXORRelayedAddress)
			return err
		})
}

// bind binds every client's channel to the peer.
func (g *generator) bind() error {
	return g.transact(stun.ChannelBind,
		func(b *stun.Builder) {
			b.Uint32(stun.AttrChannelNumber, channel<<16)
			b.XORAddress(stun.AttrXORPeerAddress, g.peer())
		},
		func(*client, *stun.Message) error { return nil })
}

// transact makes one request for each client, so many at a time.
func (g *generator) transact(m stun.Method, fill func(*stun.Builder), done func(*client, *stun.Message) error) error {
	var failed error
	waiting := 0
	finish := func(c *client, err error) {
		c.raw = nil
		waiting--
		if err != nil && failed == nil {
			failed = fmt.Errorf("%v: %w", m, err)
		}
	}
	answer := func(d *pkt.Datagram) {
		if d.Socket == peerName {
			return
		}
		c := g.clients[d.Socket-1]
		response, err := stun.Parse(d.Payload)
		if err != nil || c.raw == nil || response.ID() != c.id {
			return
		}
		switch code, _, refused := response.ErrorCode(); {
		case !refused:
			finish(c, done(c, &response))
		case c.proof.Challenge(g.hasher, &response) == nil:
			if err := g.request(c, m, fill); err != nil {
				finish(c, err)
			}
		default:
			finish(c, errors.New(code.String()))
		}
	}
	for next := 0; failed == nil && (next < len(g.clients) || waiting > 0); {
		for ; waiting < inFlight && next < len(g.clients); next++ {
			waiting++
			if err := g.request(g.clients[next], m, fill); err != nil {
				return err
			}
		}
		g.receive(answer)
		now := time.Now()
		for _, c := range g.clients[max(0, next-2*inFlight):next] {
			switch {
			case c.raw == nil || now.Before(c.until):
			case c.tries == resends:
				finish(c, errors.New("no answer"))
			default:
				g.resent++
				g.send(c)
			}
		}
	}
	return failed
}

// request sends a new request.
func (g *generator) request(c *client, m stun.Method, fill func(*stun.Builder)) error {
	rand.Read(c.id[:])
	b := stun.NewBuilder(nil, stun.Request, m, c.id)
	fill(&b)
	if c.proof.Challenged() {
		c.proof.Sign(&b, g.hasher)
	}
	var err error
	c.raw, err = b.Message()
	c.tries = 0
	g.send(c)
	return err
}

func (g *generator) send(c *client) {
	c.tries++
	c.until = time.Now().Add(resendAt)
	t := pkt.Transmit{Path: pkt.Path{Remote: g.server}, Payload: c.raw}
	g.sender.Send(g.sockets[c.name], []*pkt.Transmit{&t})
}

// load is one kind of traffic.
type load struct {
	up    bool // from the clients to the peer; else the other way
	size  int  // bytes of application data
	burst int  // packets of one client that come together
	rate  int  // packets a second, of all
}

func (l load) String() string {
	direction := "down"
	if l.up {
		direction = "up"
	}
	return fmt.Sprintf("%s %d bytes in bursts of %d", direction, l.size, l.burst)
}

// run makes load for some time, evenly spread, and returns what was sent, what arrived, and after what time. The clients
// take turns.
func (g *generator) run(l load, d time.Duration) (sent, arrived int, delay *histogram) {
	delay = &histogram{}
	header, want := 0, l.size
	if l.up {
		header = 4
	} else {
		want += 4
	}
	buf := make([]byte, header+l.size)
	if l.up {
		binary.BigEndian.PutUint16(buf, channel)
		binary.BigEndian.PutUint16(buf[2:], uint16(l.size))
	}
	ts := make([]*pkt.Transmit, l.burst)
	for i := range ts {
		ts[i] = &pkt.Transmit{Payload: buf}
	}
	arrive := func(d *pkt.Datagram) {
		if len(d.Payload) == want {
			arrived++
			delay.add(time.Since(g.start) - time.Duration(binary.BigEndian.Uint64(d.Payload[want-l.size:])))
		}
	}
	pause := time.Duration(l.burst) * time.Second / time.Duration(l.rate)
	begin := time.Since(g.start)
	next := begin
	for turn := 0; ; {
		now := time.Since(g.start)
		if now >= begin+d {
			break
		}
		if now-next > maxBehind { // something else had the CPU: leave it out instead of making a flood of it
			next = now
		}
		if now >= next {
			next += pause
			c := g.clients[turn]
			turn = (turn + 1) % len(g.clients)
			from, to := c.name, g.server
			if !l.up {
				from, to = peerName, c.relayed
			}
			binary.BigEndian.PutUint64(buf[header:], uint64(time.Since(g.start)))
			for _, t := range ts {
				t.Remote = to
			}
			g.sender.Send(g.sockets[from], ts)
			sent += l.burst
		}
		g.receive(arrive)
	}
	// What is under way arrives before a pause of this length or not at all.
	for end, before := time.Now().Add(maxBehind), arrived; time.Now().Before(end); {
		if g.receive(arrive); arrived > before {
			end, before = time.Now().Add(maxBehind), arrived
		}
	}
	return sent, arrived, delay
}
