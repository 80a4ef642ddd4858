package turn

import (
	"encoding/binary"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
	"github.com/parley-rtc/parley/protocol/stun"
)

const (
	channelHeader = 4
	maxUDP        = 65507 // the longest payload of a UDP datagram over IPv4
)

// FrameLen returns the length of the frame at the start of a client's stream, padding included, from its first four
// bytes: of a STUN message or ChannelData, also with a number that is reserved, because such a message is to be discarded
// and not the stream (section 12.6). ok is false if they begin neither, and the stream cannot be read any further.
func FrameLen(head [4]byte) (n int, ok bool) {
	length := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0] < 4 && length%4 == 0:
		return stun.HeaderLen + length, true
	case head[0] >= firstChannel>>8 && head[0] <= lastLegacyChannel>>8:
		return channelHeader + (length+3)&^3, true
	}
	return 0, false
}

// isChannel reports whether a first byte is that of a channel number (section 12).
func (s *Server) isChannel(first byte) bool {
	return first >= firstChannel>>8 && (first <= lastChannel>>8 || s.cfg.CoturnClients && first <= lastLegacyChannel>>8)
}

// outcome is what became of a datagram on the fast path.
type outcome uint8

const (
	done    outcome = iota // relayed, or dropped and counted
	control                // not relayed data
	full                   // relayed data, and the batch has no room
)

// Relay writes d into out, the driver's batch, if d is data to be relayed, and reports whether it has dealt with it.
// If not, because d is a request or out has no room, d is for HandleDatagram. Nothing allocates, and the payload is
// copied once.
func (s *Server) Relay(now mono.Time, d *pkt.Datagram, out *pkt.Batch) bool {
	return s.relay(now, d, out) == done
}

func (s *Server) relay(now mono.Time, d *pkt.Datagram, out *pkt.Batch) outcome {
	if d.Socket == Hairpin {
		return s.fromShard(now, d, out)
	}
	known := s.socket(d.Socket)
	switch {
	case known == nil || !known.client && known.relay == nil:
		s.drop(DropSocket)
		return done
	case known.relay != nil:
		return s.fromPeer(now, known.relay, d, out)
	case !s.cfg.Public && !contains(local, d.Remote.Addr()):
		s.drop(DropNotLocal)
		return done
	case len(d.Payload) == 0:
		s.drop(DropForeign)
		return done
	case s.isChannel(d.Payload[0]):
		return s.fromChannel(now, d, out)
	case d.Payload[0] >= 4: // the first byte of STUN is below; others "MUST be dropped" (section 12, table 3)
		s.drop(DropForeign)
		return done
	case len(d.Payload) >= stun.HeaderLen && binary.BigEndian.Uint16(d.Payload) == sendIndication:
		return s.fromSend(now, d, out)
	}
	return control
}

const sendIndication = 0x0016

// parcel is data on its way through, with what the IP header says of it.
type parcel struct {
	data         []byte
	ecn          pkt.ECN
	dscp         pkt.DSCP
	unfragmented bool
}

// fromChannel relays ChannelData (section 12.6).
func (s *Server) fromChannel(now mono.Time, d *pkt.Datagram, out *pkt.Batch) outcome {
	a := s.allocation(&d.Path)
	if a == nil || !a.ready {
		s.drop(DropNoAllocation)
		return done
	}
	if len(d.Payload) < channelHeader {
		s.drop(DropMalformed)
		return done
	}
	n := int(binary.BigEndian.Uint16(d.Payload[2:]))
	if len(d.Payload)-channelHeader < n {
		s.drop(DropMalformed)
		return done
	}
	c := a.channelByNumber(now, binary.BigEndian.Uint16(d.Payload))
	if c == nil {
		s.drop(DropNoChannel)
		return done
	}
	i := a.permissionFor(now, c.peer.Addr(), c.permission)
	if i < 0 {
		s.drop(DropNoPermission)
		return done
	}
	c.permission = i
	p := parcel{data: d.Payload[channelHeader : channelHeader+n], ecn: d.ECN, dscp: d.DSCP}
	return s.toPeer(now, a, i, c.peer, &p, out)
}

// fromSend relays a Send indication (section 11.2).
func (s *Server) fromSend(now mono.Time, d *pkt.Datagram, out *pkt.Batch) outcome {
	a := s.allocation(&d.Path)
	if a == nil || !a.ready {
		s.drop(DropNoAllocation)
		return done
	}
	m, err := stun.Parse(d.Payload)
	if err != nil {
		s.drop(DropMalformed)
		return done
	}
	peer, err := m.XORAddress(stun.AttrXORPeerAddress)
	data, hasData := m.Get(stun.AttrData)
	unfragmented := m.Has(stun.AttrDontFragment)
	var unknown [1]stun.AttrType
	if err != nil || !hasData || unfragmented && !s.cfg.DontFragment || len(m.AppendUnknown(unknown[:0], stun.Known)) > 0 {
		s.drop(DropMalformed)
		return done
	}
	i := a.permissionFor(now, peer.Addr(), 0)
	if i < 0 {
		s.drop(DropNoPermission)
		return done
	}
	p := parcel{data: data, ecn: d.ECN, dscp: d.DSCP, unfragmented: unfragmented}
	return s.toPeer(now, a, i, peer, &p, out)
}

// verdict returns what may be done with data under a permission. The policy is asked again when it has changed.
func (s *Server) verdict(p *permission) verdict {
	if p.generation != s.policy.generation {
		p.verdict, p.generation = s.policy.judge(p.address), s.policy.generation
	}
	return p.verdict
}

// toPeer sends a client's data on, from the relayed address (section 14), or hands it over to another allocation. The
// permission is the index of the one that lets it pass.
func (s *Server) toPeer(now mono.Time, a *allocation, permission int, peer netip.AddrPort, p *parcel, out *pkt.Batch) outcome {
	r := a.relays[family(peer.Addr())]
	v := s.verdict(&a.permissions[permission])
	if r == nil || v == refuse || peer.Port() == 0 {
		s.drop(DropDenied)
		return done
	}
	if a.stream != nil {
		p.ecn, p.dscp = pkt.NotECT, pkt.DefaultForwarding // a stream has no packets whose marking could be kept (section 15)
	} else if !a.path.Remote.Addr().Is4() || !peer.Addr().Is4() {
		p.unfragmented = false // "the DONT-FRAGMENT attribute MUST be ignored" (section 13)
	}
	t := pkt.Transmit{Path: pkt.Path{Socket: r.socket, Remote: peer}, ECN: p.ecn, DSCP: p.dscp, Unfragmented: p.unfragmented}
	if v != forward {
		if other := s.relayed[peer]; other != nil && other.owner != nil && other.open {
			return s.handOver(now, a, r.address, other.owner, p, out)
		}
		if v == handOver {
			if !s.cfg.Shards || !s.relayPort(peer.Port()) {
				s.drop(DropNoRelay)
				return done
			}
			t.Socket, t.Local = Hairpin, r.address
		}
	}
	buf := out.Reserve(len(p.data))
	if buf == nil {
		return full
	}
	if !a.user.up.take(now, len(p.data), a.user.rate) {
		s.drop(DropBandwidth)
		return done
	}
	s.countUp(a, len(p.data))
	t.Payload = append(buf, p.data...)
	out.Commit(t)
	return done
}

// handOver gives data from one allocation to another, if that permits the address it comes from.
func (s *Server) handOver(now mono.Time, from *allocation, source netip.AddrPort, to *allocation, p *parcel, out *pkt.Batch) outcome {
	if !to.ready || to.permissionFor(now, source.Addr(), 0) < 0 {
		s.drop(DropNoPermission)
		return done
	}
	o := s.toClient(now, to, source, p, from, out)
	if o == done {
		s.counters.HandedOver++
	}
	return o
}

// fromShard relays what an allocation of another shard sends to one of ours.
func (s *Server) fromShard(now mono.Time, d *pkt.Datagram, out *pkt.Batch) outcome {
	r := s.relayed[d.Local]
	if !s.cfg.Shards || r == nil || r.owner == nil || !r.owner.ready {
		s.drop(DropNoRelay)
		return done
	}
	if r.owner.permissionFor(now, d.Remote.Addr(), 0) < 0 {
		s.drop(DropNoPermission)
		return done
	}
	o := s.toClient(now, r.owner, d.Remote, &parcel{data: d.Payload, ecn: d.ECN, dscp: d.DSCP}, nil, out)
	if o == done {
		s.counters.HandedOver++
	}
	return o
}

// fromPeer relays what arrives at a relayed address (section 11.3).
func (s *Server) fromPeer(now mono.Time, r *relay, d *pkt.Datagram, out *pkt.Batch) outcome {
	a := r.owner
	if a == nil || !a.ready {
		s.drop(DropNoAllocation)
		return done
	}
	hint := 0
	if a.lastChannel < len(a.channels) {
		hint = a.channels[a.lastChannel].permission
	}
	i := a.permissionFor(now, d.Remote.Addr(), hint)
	if i < 0 {
		s.drop(DropNoPermission)
		return done
	}
	// What comes off the network in the name of one of our relays is forged: the relays hand over inside.
	if v := s.verdict(&a.permissions[i]); v == refuse || v == handOver {
		s.drop(DropDenied)
		return done
	}
	return s.toClient(now, a, d.Remote, &parcel{data: d.Payload, ecn: d.ECN, dscp: d.DSCP}, nil, out)
}

// toClient sends data from a peer to the client: as ChannelData if a channel is bound to the peer, "The server ... MUST
// use the ChannelData message if a channel has been bound to the peer" (section 12.5), else as a Data indication. The
// sender is the allocation that it was handed over from, or nil.
func (s *Server) toClient(now mono.Time, a *allocation, peer netip.AddrPort, p *parcel, sender *allocation, out *pkt.Batch) outcome {
	data := p.data
	c := a.channelByPeer(now, peer)
	n := channelHeader + len(data)
	padding := 0
	switch {
	case c == nil:
		n = stun.HeaderLen + 4 + 20 + 4 + (len(data)+3)&^3
	case a.stream != nil: // "MUST be padded to a multiple of four bytes" (section 12.5)
		padding = -n & 3
	}
	if a.stream == nil && n > maxUDP || len(data) > 0xFFFF {
		s.drop(DropTooLong)
		return done
	}
	buf := out.Reserve(n + padding)
	if buf == nil {
		return full
	}
	if sender != nil && !sender.user.up.take(now, len(data), sender.user.rate) ||
		!a.user.down.take(now, len(data), a.user.rate) {
		s.drop(DropBandwidth)
		return done
	}
	if c != nil {
		buf = binary.BigEndian.AppendUint16(buf, c.number)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(data)))
		buf = append(buf, data...)
		buf = append(buf, zeroes[:padding]...)
	} else {
		b := stun.NewBuilder(buf, stun.Indication, stun.Data, s.random.transactionID())
		b.XORAddress(stun.AttrXORPeerAddress, peer)
		b.Bytes(stun.AttrData, data)
		var err error
		if buf, err = b.Message(); err != nil {
			s.drop(DropTooLong)
			return done
		}
	}
	t := pkt.Transmit{Path: a.path, Payload: buf}
	if a.stream == nil { // section 16: towards a stream the marking is ignored
		t.ECN, t.DSCP = p.ecn, p.dscp
	}
	if sender != nil {
		s.countUp(sender, len(data))
	}
	s.countDown(a, len(data))
	out.Commit(t)
	return done
}

var zeroes [3]byte

func (s *Server) countUp(a *allocation, n int) {
	a.usage.PacketsUp++
	a.usage.BytesUp += uint64(n)
	s.counters.PacketsUp++
	s.counters.BytesUp += uint64(n)
}

func (s *Server) countDown(a *allocation, n int) {
	a.usage.PacketsDown++
	a.usage.BytesDown += uint64(n)
	s.counters.PacketsDown++
	s.counters.BytesDown += uint64(n)
}

// HandleICMP tells the client of a relay socket what became of a datagram to a peer that it has a permission for
// (section 11.5).
func (s *Server) HandleICMP(now mono.Time, m *pkt.ICMP) {
	const (
		unreachable4, exceeded4, needsFragmenting = 3, 11, 4
		unreachable6, tooBig6, exceeded6          = 1, 2, 3
	)
	known := s.socket(m.Socket)
	if known == nil || known.relay == nil || known.relay.owner == nil || !known.relay.owner.ready {
		s.drop(DropICMP)
		return
	}
	a, address := known.relay.owner, m.Remote.Addr()
	is4 := address.Is4()
	if is4 && m.Type != unreachable4 && m.Type != exceeded4 ||
		!is4 && m.Type != unreachable6 && m.Type != tooBig6 && m.Type != exceeded6 ||
		a.permissionFor(now, address, 0) < 0 {
		s.drop(DropICMP)
		return
	}
	value := [8]byte{2: m.Type, 3: m.Code}
	if is4 && m.Type == unreachable4 && m.Code == needsFragmenting || !is4 && m.Type == tooBig6 { // section 18.13
		binary.BigEndian.PutUint32(value[4:], m.Data)
	}
	buf := s.out.Reserve(maxReply)
	if buf == nil {
		s.drop(DropFull)
		return
	}
	b := stun.NewBuilder(buf, stun.Indication, stun.Data, s.random.transactionID())
	b.XORAddress(stun.AttrXORPeerAddress, m.Remote)
	b.Bytes(stun.AttrICMP, value[:])
	raw, _ := b.Message()
	s.out.Commit(pkt.Transmit{Path: a.path, Payload: raw})
}
