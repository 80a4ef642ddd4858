package udp

import (
	"encoding/binary"
	"unsafe"

	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

const (
	// sendBatch is the most messages of one send.
	sendBatch = 64
	// sendTransmits is the most transmits that are grouped at a time.
	sendTransmits = 256
	// maxSegments is the most datagrams of one GSO message (UDP_MAX_SEGMENTS of kernels before 6.9).
	maxSegments = 64
	// maxSegmented is the most payload of one GSO message, which the kernel builds as one IPv6 packet.
	maxSegmented = 65535 - 40 - 8
)

// Sender is the arrays of batched sends, which one goroutine uses for all its sockets.
//
// It groups datagrams by destination, so that each group leaves as one GSO message; datagrams to one address keep their
// order, those to different addresses need not.
type Sender struct {
	Counters *Counters

	msgs     [sendBatch]message
	names    [sendBatch]rawName
	controls [sendBatch]control
	iovs     [sendTransmits]unix.Iovec
	count    int // messages prepared
	iovCount int
	sizes    [sendBatch]struct{ datagrams, bytes int } // of each message prepared

	groups     [sendTransmits]group
	groupCount int
	next       [sendTransmits]int16 // the transmit after this one in its group; -1 at the end
	table      [2 * sendTransmits]int16
	zones      zones
}

// group is datagrams of one size to one address: transmits of the batch being sent, as a list through Sender.next.
type group struct {
	first, last int16
	datagrams   int
	bytes       int
	segment     int  // the size of all but the last datagram
	closed      bool // the last one was shorter, or nothing more fits
}

// NewSender returns a sender that counts into c.
func NewSender(c *Counters) *Sender {
	x := &Sender{Counters: c}
	for i := range x.msgs {
		h := &x.msgs[i].Msghdr
		h.Name = (*byte)(unsafe.Pointer(&x.names[i]))
	}
	return x
}

// Send sends ts, all of which name s as their socket, without waiting. What the system does not take is dropped and
// counted. No payload is kept, and none is changed.
func (x *Sender) Send(s *Socket, ts []*pkt.Transmit) {
	for len(ts) > 0 {
		n := min(len(ts), sendTransmits)
		if s.gso {
			x.sendGrouped(s, ts[:n])
		} else {
			x.sendSingly(s, ts[:n])
		}
		ts = ts[n:]
	}
}

// sendSingly sends one message for each datagram, in order.
func (x *Sender) sendSingly(s *Socket, ts []*pkt.Transmit) {
	for _, t := range ts {
		if x.reaches(s, t) {
			x.addSingly(s, t)
		}
	}
	x.flush(s)
}

// reaches reports whether t goes to an address of the family of s, and counts t if not.
func (x *Sender) reaches(s *Socket, t *pkt.Transmit) bool {
	addr := t.Remote.Addr()
	ok := !s.ip6 && addr.Is4() || s.ip6 && addr.Is6() && !addr.Is4In6()
	if !ok {
		x.Counters.SendError += uint64(t.Segments())
	}
	return ok
}

// addSingly prepares one message for each datagram of t.
func (x *Sender) addSingly(s *Socket, t *pkt.Transmit) {
	payload := t.Payload
	for {
		n := len(payload)
		if t.SegmentSize > 0 {
			n = min(n, int(t.SegmentSize))
		}
		x.begin(s, t, 1, n, 0)
		x.addPayload(payload[:n])
		payload = payload[n:]
		if len(payload) == 0 {
			return
		}
	}
}

// sendGrouped sends one message for each group.
func (x *Sender) sendGrouped(s *Socket, ts []*pkt.Transmit) {
	x.group(s, ts)
	for g := 0; g < x.groupCount; {
		from := g
		for ; g < x.groupCount && x.count < sendBatch; g++ {
			grp := &x.groups[g]
			t := ts[grp.first]
			if t.Unfragmented != s.df && x.count > 0 {
				break // begin would send what is prepared, and a failure could not be told from here
			}
			segment := grp.segment
			if grp.datagrams == 1 {
				segment = 0
			}
			x.begin(s, t, grp.datagrams, grp.bytes, segment)
			for i := grp.first; i >= 0; i = x.next[i] {
				x.addPayload(ts[i].Payload)
			}
		}
		prepared := x.count
		sent := x.flush(s)
		if sent == prepared {
			continue
		}
		// GSO failed at group from+sent and is off now: that group and all that follow go singly.
		for g = from + sent; g < x.groupCount; g++ {
			for i := x.groups[g].first; i >= 0; i = x.next[i] {
				x.addSingly(s, ts[i])
			}
		}
		x.flush(s)
	}
}

// group divides ts into groups, in the order of their first datagrams.
func (x *Sender) group(s *Socket, ts []*pkt.Transmit) {
	x.groupCount = 0
	clear(x.table[:])
	for i, t := range ts {
		if !x.reaches(s, t) {
			continue
		}
		x.next[i] = -1
		slot := x.slot(ts, t)
		if at := x.table[slot]; at > 0 && x.groups[at-1].take(ts, t) {
			g := &x.groups[at-1]
			x.next[g.last] = int16(i)
			g.last = int16(i)
			continue
		}
		g := &x.groups[x.groupCount]
		x.groupCount++
		*g = group{first: int16(i), last: int16(i), datagrams: t.Segments(), bytes: len(t.Payload), segment: len(t.Payload)}
		if t.SegmentSize > 0 {
			g.segment = min(g.segment, int(t.SegmentSize))
		}
		g.closed = g.segment == 0 || g.bytes%g.segment != 0
		x.table[slot] = int16(x.groupCount)
	}
}

// take adds t to g if it can follow in the same message.
func (g *group) take(ts []*pkt.Transmit, t *pkt.Transmit) bool {
	first := ts[g.first]
	segments := t.Segments()
	size := len(t.Payload)
	if t.SegmentSize > 0 {
		size = min(size, int(t.SegmentSize))
	}
	if g.closed || size == 0 || size > g.segment || segments > 1 && size != g.segment ||
		g.datagrams+segments > maxSegments || g.bytes+len(t.Payload) > maxSegmented ||
		t.ECN != first.ECN || t.DSCP != first.DSCP || t.Unfragmented != first.Unfragmented {
		return false
	}
	g.datagrams += segments
	g.bytes += len(t.Payload)
	g.closed = len(t.Payload)%g.segment != 0
	return true
}

// slot returns the place in the table of the newest group to t's destination, or the empty place where it belongs.
func (x *Sender) slot(ts []*pkt.Transmit, t *pkt.Transmit) int {
	b := t.Remote.Addr().As16()
	h := (binary.NativeEndian.Uint64(b[:]) ^ uint64(t.Remote.Port())) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29 ^ binary.NativeEndian.Uint64(b[8:])) * 0xbf58476d1ce4e5b9
	for i := int(h >> 48); ; i++ {
		slot := i & (len(x.table) - 1)
		at := x.table[slot]
		if at == 0 {
			return slot
		}
		if first := ts[x.groups[at-1].first]; first.Remote == t.Remote && first.Local == t.Local {
			return slot
		}
	}
}

// begin prepares the header of a message, sending those prepared before if need be.
func (x *Sender) begin(s *Socket, t *pkt.Transmit, datagrams, bytes, segment int) {
	if x.count == sendBatch || x.iovCount == len(x.iovs) || t.Unfragmented != s.df {
		x.flush(s)
		s.setDF(t.Unfragmented)
	}
	i := x.count
	h := &x.msgs[i].Msghdr
	h.Namelen = x.names[i].put(t.Remote, &x.zones)
	h.Iov = &x.iovs[x.iovCount]
	h.SetIovlen(0)
	used := x.putControl(s, t, &x.controls[i], segment)
	h.Control = nil
	if used > 0 {
		h.Control = &x.controls[i].b[0]
	}
	h.SetControllen(used)
	x.sizes[i].datagrams, x.sizes[i].bytes = datagrams, bytes
	x.count++
}

// addPayload adds b to the message begun last. What lies behind its last payload in memory, as in a batch, is one piece
// with it.
func (x *Sender) addPayload(b []byte) {
	h := &x.msgs[x.count-1].Msghdr
	if h.Iovlen > 0 {
		last := &x.iovs[x.iovCount-1]
		if uintptr(unsafe.Pointer(last.Base))+uintptr(last.Len) == uintptr(unsafe.Pointer(unsafe.SliceData(b))) {
			last.SetLen(int(last.Len) + len(b))
			return
		}
	}
	iov := &x.iovs[x.iovCount]
	x.iovCount++
	iov.Base = unsafe.SliceData(b)
	iov.SetLen(len(b))
	h.SetIovlen(int(h.Iovlen) + 1)
}

// putControl writes the control messages that t needs on s and returns their length.
func (x *Sender) putControl(s *Socket, t *pkt.Transmit, c *control, segment int) (used int) {
	var data []byte
	if class := byte(t.DSCP)<<2 | byte(t.ECN); class != 0 {
		if s.ip6 {
			data, used = c.append(used, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)
		} else {
			data, used = c.append(used, unix.IPPROTO_IP, unix.IP_TOS, 4)
		}
		binary.NativeEndian.PutUint32(data, uint32(class))
	}
	if s.wild && t.Local.IsValid() && !t.Local.Addr().IsUnspecified() && t.Local.Addr().Is4() != s.ip6 {
		if s.ip6 {
			data, used = c.append(used, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			info.Addr = t.Local.Addr().As16()
			info.Ifindex = x.zones.index(t.Local.Addr().Zone())
		} else {
			data, used = c.append(used, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			*info = unix.Inet4Pktinfo{Spec_dst: t.Local.Addr().As4()}
		}
	}
	if segment > 0 {
		data, used = c.append(used, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(segment))
	}
	return used
}

// flush sends the messages prepared and forgets them. It returns how many were dealt with, sent or dropped: all, unless
// a GSO message failed in a way that GSO may be to blame for. Then GSO is off for the socket, and that message and those
// after it are the caller's to send again.
func (x *Sender) flush(s *Socket) (done int) {
	retried := false
	count := x.count
	for done < count {
		x.Counters.SendCalls++
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&x.msgs[done])), uintptr(count-done), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			for _, size := range x.sizes[done : done+int(n)] {
				x.Counters.Sent += uint64(size.datagrams)
				x.Counters.SentBytes += uint64(size.bytes)
			}
			done += int(n)
			retried = false
			continue
		}
		size := x.sizes[done]
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN || errno == unix.ENOBUFS:
			for _, size := range x.sizes[done:count] {
				x.Counters.SendFull += uint64(size.datagrams)
			}
			done = count
		case !retried:
			// It may be the report of an ICMP error about an earlier datagram, EMSGSIZE too, which is cleared by reporting it.
			retried = true
		case size.datagrams > 1 && (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE):
			s.gso = false
			x.Counters.GSOOff++
			x.count, x.iovCount = 0, 0
			return done
		default:
			x.Counters.SendError += uint64(size.datagrams)
			done++
			retried = false
		}
	}
	x.count, x.iovCount = 0, 0
	return done
}
