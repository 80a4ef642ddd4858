package relay

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/turn"
)

// maxHairpin bounds the bytes that are on their way to one shard from the others.
const maxHairpin = 4 << 20

// A shard is one engine on one loop, its tenant. But for what is said of single fields, all belongs to the loop.
type shard struct {
	relay     *Relay
	loop      *loop.Loop
	lease     *loop.Lease
	engine    *turn.Server
	listening []netip.AddrPort // not changed after Start

	secure *dtlsLayer

	streams map[pkt.Socket]netip.Prefix
	relayed map[pkt.Socket]holding // what each relay socket is for

	coming atomic.Int64  // bytes from other shards, posted and not yet handled; for all
	lost   atomic.Uint64 // datagrams for this shard that found no room; for all
}

// attach gives the shard its engine and its place on the loop.
func (s *shard) attach(now mono.Time, cfg turn.Config) (err error) {
	cfg.Epoch = epoch(now)
	cfg.DontFragment = udp.Probe().MMsg // the portable form cannot set DF
	if s.engine, err = turn.New(cfg); err != nil {
		return err
	}
	if s.secure, err = newDTLSLayer(s, cfg.Entropy); err != nil {
		return err
	}
	s.lease = s.loop.Attach(s)
	s.loop.Redirect(turn.Hairpin, s.toOthers)
	return nil
}

// listen opens the sockets on which clients come: in the clear on all, over DTLS too on the last so many.
func (s *shard) listen(now mono.Time, addresses []netip.AddrPort, secure int, shared bool) error {
	for i, a := range addresses {
		name, local, err := s.lease.Open(udp.Config{Local: a, ReusePort: shared})
		if err != nil {
			return err
		}
		s.engine.AddSocket(now, name, false)
		s.listening = append(s.listening, local)
		if i < len(addresses)-secure {
			continue
		}
		upper, err := s.lease.Cover(name, s.secure.seal)
		if err != nil {
			return err
		}
		s.secure.cover(name, upper)
		s.engine.AddSocket(now, upper, false)
	}
	return nil
}

func (s *shard) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if s.secure.takes(d) {
		s.secure.handle(now, d)
		return
	}
	s.serve(now, d)
}

// serve gives the engine what is not DTLS, or was.
func (s *shard) serve(now mono.Time, d *pkt.Datagram) {
	if !s.engine.Relay(now, d, s.lease.Batch()) {
		s.engine.HandleDatagram(now, d)
	}
}

func (s *shard) HandleICMP(now mono.Time, m *pkt.ICMP) { s.engine.HandleICMP(now, m) }

func (s *shard) HandleTimeout(now mono.Time) {
	s.engine.HandleTimeout(now)
	s.secure.handleTimeout(now)
}

func (s *shard) NextTimeout() mono.Time {
	return mono.Min(s.engine.NextTimeout(), s.secure.nextTimeout())
}

func (s *shard) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	if s.secure.appendTransmit(now, b) {
		return true
	}
	for {
		e, ok := s.engine.NextEvent()
		if !ok {
			return s.engine.AppendTransmit(now, b)
		}
		switch e := e.(type) {
		case turn.OpenRelay:
			s.openRelay(now, e)
		case turn.CloseSocket:
			s.close(now, e.Socket)
		case turn.Released:
			s.relay.log.Debug("relay: released", "age", e.Age, "bytes_up", e.Usage.BytesUp, "bytes_down", e.Usage.BytesDown)
		}
	}
}

// HandleClose is told of a client's stream that ended.
func (s *shard) HandleClose(now mono.Time, name pkt.Socket) { s.forget(now, name) }

// What a dtlsLayer needs.

func (s *shard) hasClient(path pkt.Path) bool              { return s.engine.HasClient(path) }
func (s *shard) removeClient(now mono.Time, path pkt.Path) { s.engine.RemoveClient(now, path) }
func (s *shard) mayAnswer(now mono.Time, client netip.Addr) bool {
	return s.engine.MayAnswer(now, client)
}
func (s *shard) admit(source netip.Prefix) bool { return s.relay.admit(source) }
func (s *shard) dismiss(source netip.Prefix)    { s.relay.dismiss(source) }
func (s *shard) touch()                         { s.lease.Touch() }
func (s *shard) batch() *pkt.Batch              { return s.lease.Batch() }

func (s *shard) failed(why *dtls.Error) {
	s.relay.log.Debug("relay: a DTLS handshake failed", "error", why)
}

func (s *shard) certificate(serverName string, path pkt.Path) *tls.Certificate {
	return s.relay.certificate(serverName, path.Local, path.Remote)
}

func (s *shard) submit(job func(), then func(now mono.Time)) bool {
	return s.lease.Submit(func() func(now mono.Time) { job(); return then })
}

func (s *shard) forget(now mono.Time, name pkt.Socket) {
	if key, ok := s.streams[name]; ok {
		delete(s.streams, name)
		s.engine.RemoveSocket(now, name)
		s.relay.dismiss(key)
	}
}

func (s *shard) adopt(now mono.Time, conn net.Conn, key netip.Prefix) {
	name, err := s.lease.Adopt(conn, loop.TURN)
	if err != nil {
		s.relay.dismiss(key)
		conn.Close()
		return
	}
	s.streams[name] = key
	s.engine.AddSocket(now, name, true)
}

// openRelay opens the socket of a relayed address.
func (s *shard) openRelay(now mono.Time, e turn.OpenRelay) {
	if e.Token != 0 {
		s.takeReservation(e)
		return
	}
	s.bind(now, e, e.Address)
}

func (s *shard) bind(now mono.Time, e turn.OpenRelay, address netip.AddrPort) {
	h := holding{address, e.User}
	if err := s.relay.claim(h, s, e.Limit); err != nil {
		s.engine.RelayFailed(now, e.Request, err)
		return
	}
	name, _, err := s.lease.Open(udp.Config{Local: s.relay.bindable(address), Buffer: relayBuffer, ICMP: true})
	if err != nil {
		s.relay.unclaim(h, s)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = turn.ErrPortTaken
		}
		s.engine.RelayFailed(now, e.Request, err)
		return
	}
	s.relayed[name] = h
	s.engine.RelayOpened(now, e.Request, name, address)
}

// takeReservation looks for the shard that holds a port in reserve. A socket belongs to its loop, so that shard closes
// it and this one opens the port again.
func (s *shard) takeReservation(e turn.OpenRelay) {
	waiting := int32(len(s.relay.shards) - 1)
	if waiting <= 0 {
		s.lease.Post(func(now mono.Time) { s.engine.RelayFailed(now, e.Request, errNoReservation) })
		return
	}
	left := new(atomic.Int32)
	left.Store(waiting)
	for _, other := range s.relay.shards {
		if other == s {
			continue
		}
		other.lease.Post(func(now mono.Time) {
			name, address, ok := other.engine.TakeReservation(e.Token)
			if ok {
				other.close(now, name)
				s.lease.Post(func(now mono.Time) { s.bind(now, e, address) })
				left.Store(-1)
			} else if left.Add(-1) == 0 {
				s.lease.Post(func(now mono.Time) { s.engine.RelayFailed(now, e.Request, errNoReservation) })
			}
		})
	}
}

var errNoReservation = errors.New("relay: nobody holds a reservation of this token")

// close closes a relay socket or a client's stream.
func (s *shard) close(now mono.Time, name pkt.Socket) {
	if h, ok := s.relayed[name]; ok {
		delete(s.relayed, name)
		s.relay.unclaim(h, s)
	}
	s.forget(now, name)
	s.lease.Close(name)
}

func (r *Relay) owner(a netip.AddrPort) *shard {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.owners[a]
}

// toOthers hands datagrams for allocations of other shards to their loops: one copy, and one post for each shard that
// has something in this batch.
func (s *shard) toOthers(ts []*pkt.Transmit) {
	for len(ts) > 0 {
		to := s.relay.owner(ts[0].Remote)
		var mine, rest []*pkt.Transmit
		size := 0
		for _, t := range ts {
			if s.relay.owner(t.Remote) == to {
				mine = append(mine, t)
				size += len(t.Payload)
			} else {
				rest = append(rest, t)
			}
		}
		ts = rest
		if to == nil || to == s {
			s.lost.Add(uint64(len(mine)))
			continue
		}
		if to.coming.Add(int64(size)) > maxHairpin {
			to.coming.Add(-int64(size))
			to.lost.Add(uint64(len(mine)))
			continue
		}
		buf := make([]byte, 0, size)
		carried := make([]pkt.Datagram, len(mine))
		for i, t := range mine {
			at := len(buf)
			buf = append(buf, t.Payload...)
			carried[i] = pkt.Datagram{
				Path: pkt.Path{Socket: turn.Hairpin, Local: t.Remote, Remote: t.Local},
				ECN:  t.ECN, DSCP: t.DSCP, Payload: buf[at:len(buf):len(buf)],
			}
		}
		posted := to.lease.Post(func(now mono.Time) {
			for i := range carried {
				to.HandleDatagram(now, &carried[i])
			}
			to.coming.Add(-int64(size))
		})
		if !posted {
			to.coming.Add(-int64(size))
		}
	}
}
