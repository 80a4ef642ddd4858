package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

const (
	// receiveBatch is the most messages of one receive: beyond it the cost of a call is spread thin enough.
	receiveBatch = 32
	// maxDatagram is the longest datagram, or run of datagrams that GRO coalesced.
	maxDatagram = 65535
	// receiveStride keeps the buffers' first bytes, which are the ones mostly used, out of each other's cache sets.
	receiveStride = maxDatagram + 1 + 9*64
)

// Receiver is the buffers of batched receives, which one goroutine uses for all its sockets.
type Receiver struct {
	Counters *Counters

	msgs     [receiveBatch]message
	iovs     [receiveBatch]unix.Iovec
	names    [receiveBatch]rawName
	controls [receiveBatch]control
	buffers  []byte // touched, and so paid for, only as far as datagrams are long
	datagram pkt.Datagram
	zones    zones
}

// NewReceiver returns a receiver that counts into c.
func NewReceiver(c *Counters) *Receiver {
	r := &Receiver{Counters: c, buffers: make([]byte, receiveBatch*receiveStride)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.buffers[i*receiveStride]
		r.iovs[i].SetLen(maxDatagram)
		h := &r.msgs[i].Msghdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i].b[0]
		r.rearm(i)
	}
	return r
}

// rearm restores the lengths that a receive overwrote.
func (r *Receiver) rearm(i int) {
	h := &r.msgs[i].Msghdr
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(controlSize)
	h.Flags = 0
}

// Receive makes one batched receive, which does not wait, and passes each datagram to deliver, which may overwrite it
// and must not keep it. It returns the number of datagrams; more is true if the socket may have others queued. On a
// socket that was closed, by deliver too, it delivers nothing.
func (r *Receiver) Receive(s *Socket, deliver func(*pkt.Datagram)) (n int, more bool) {
	if s.closed {
		return 0, false
	}
	r.Counters.ReceiveCalls++
	count, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.msgs[0])), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		// Nothing there, or the report of an ICMP error that was pending and is now cleared.
		return 0, errno != unix.EAGAIN && errno != unix.EBADF
	}
	for i := range int(count) {
		if !s.closed {
			n += r.deliver(s, i, deliver)
		}
		r.rearm(i)
	}
	return n, count == receiveBatch
}

// deliver passes on the datagrams of message i.
func (r *Receiver) deliver(s *Socket, i int, deliver func(*pkt.Datagram)) (n int) {
	h := &r.msgs[i]
	if h.Flags&unix.MSG_TRUNC != 0 {
		r.Counters.Truncated++
		return 0
	}
	d := &r.datagram
	*d = pkt.Datagram{Path: pkt.Path{Socket: s.name, Local: s.local, Remote: r.names[i].get(&r.zones)}}
	segment := r.readControl(s, d, r.controls[i].b[:min(uint64(h.Controllen), controlSize)])
	payload := r.buffers[i*receiveStride:][:h.n]
	for {
		end := len(payload)
		if segment > 0 && segment < end {
			end = segment
		}
		r.Counters.Received++
		r.Counters.ReceivedBytes += uint64(end)
		n++
		path, ecn, dscp := d.Path, d.ECN, d.DSCP
		d.Payload = payload[:end:end]
		deliver(d)
		payload = payload[end:]
		if len(payload) == 0 || s.closed {
			return n
		}
		d.Path, d.ECN, d.DSCP = path, ecn, dscp // deliver may have changed them
	}
}

// readControl completes d from the control messages in b and returns the segment size if GRO coalesced several.
func (r *Receiver) readControl(s *Socket, d *pkt.Datagram, b []byte) (segment int) {
	for {
		level, kind, data, rest, ok := nextControl(b)
		if !ok {
			return segment
		}
		b = rest
		switch {
		case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(data) >= 1:
			d.ECN, d.DSCP = pkt.ECN(data[0]&3), pkt.DSCP(data[0]>>2)
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(data) >= 4:
			class := binary.NativeEndian.Uint32(data)
			d.ECN, d.DSCP = pkt.ECN(class&3), pkt.DSCP(class>>2&63)
		case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			d.Local = netip.AddrPortFrom(netip.AddrFrom4(info.Addr), s.local.Port())
		case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			addr := netip.AddrFrom16(info.Addr)
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(r.zones.name(info.Ifindex))
			}
			d.Local = netip.AddrPortFrom(addr, s.local.Port())
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(data) >= 4:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) >= 4:
			total := binary.NativeEndian.Uint32(data)
			r.Counters.KernelDrops += uint64(total - s.drops)
			s.drops = total
		}
	}
}

// ReceiveICMP takes the ICMP reports that wait on a socket opened with Config.ICMP, at most one batch of them, and
// passes those about datagrams it sent to deliver, until that closes the socket. It must be called when a poller reports an error on the socket, or
// the poller will go on reporting it.
func (r *Receiver) ReceiveICMP(s *Socket, deliver func(*pkt.ICMP)) {
	for range receiveBatch {
		if s.closed {
			return
		}
		r.Counters.ReceiveCalls++
		h := &r.msgs[0].Msghdr
		_, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errno != 0 {
			return
		}
		remote := r.names[0].get(&r.zones)
		b := r.controls[0].b[:min(uint64(h.Controllen), controlSize)]
		r.rearm(0)
		for {
			level, kind, data, rest, ok := nextControl(b)
			if !ok {
				break
			}
			b = rest
			ours := level == unix.IPPROTO_IP && kind == unix.IP_RECVERR || level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR
			if !ours || len(data) < int(unsafe.Sizeof(unix.SockExtendedErr{})) || !remote.IsValid() {
				continue
			}
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			if e.Origin != unix.SO_EE_ORIGIN_ICMP && e.Origin != unix.SO_EE_ORIGIN_ICMP6 {
				continue // the socket's own, such as EMSGSIZE
			}
			r.Counters.ICMP++
			path := pkt.Path{Socket: s.name, Remote: remote}
			if !s.wild {
				path.Local = s.local
			}
			deliver(&pkt.ICMP{Path: path, Type: e.Type, Code: e.Code, Data: e.Info})
		}
	}
}
