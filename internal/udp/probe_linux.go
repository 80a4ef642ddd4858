package udp

import (
	"bytes"
	"net/netip"

	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// probeSystem sends over the loopback interface and believes what arrives: some kernels accept the options of
// segmentation offload and then corrupt what they send.
func probeSystem() (f Features) {
	if !probeTrip(Features{}) {
		return Features{}
	}
	f.MMsg = true
	f.GSO = probeTrip(Features{GSO: true})
	f.GRO = f.GSO && probeTrip(Features{GSO: true, GRO: true})
	f.ReusePort = probeReusePort()
	return f
}

// probeTrip reports whether three datagrams from one socket arrive whole, in order and one by one at another, using f.
func probeTrip(f Features) bool {
	from, to, ok := probePair(f)
	if !ok {
		return false
	}
	defer from.Close()
	defer to.Close()
	const size = 1000
	payload := make([]byte, 2*size+size/2)
	for i := range payload {
		payload[i] = byte(i * 7 >> 3)
	}
	var c Counters
	t := pkt.Transmit{Path: pkt.Path{Remote: to.LocalAddr()}, SegmentSize: size, Payload: payload}
	NewSender(&c).Send(from, []*pkt.Transmit{&t})
	if c.Sent != 3 || c.GSOOff > 0 {
		return false
	}
	var got []byte
	good := true
	r := NewReceiver(&c)
	for c.Received < 3 && good {
		if !waitReadable(to) {
			return false
		}
		r.Receive(to, func(d *pkt.Datagram) {
			good = good && (len(d.Payload) == size || len(d.Payload) == size/2 && len(got) == 2*size)
			got = append(got, d.Payload...)
		})
	}
	return good && bytes.Equal(got, payload)
}

// probePair opens two sockets on the loopback interface, of IPv4 or else of IPv6.
func probePair(f Features) (from, to *Socket, ok bool) {
	for _, addr := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		cfg := Config{Local: netip.AddrPortFrom(addr, 0)}
		from, err := Open(0, cfg, f)
		if err != nil {
			continue
		}
		to, err := Open(1, cfg, f)
		if err != nil {
			from.Close()
			continue
		}
		return from, to, true
	}
	return nil, nil, false
}

// waitReadable waits for a datagram that is already on its way; it gives up after a second.
func waitReadable(s *Socket) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 1000)
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}

func probeReusePort() bool {
	cfg := Config{Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), ReusePort: true}
	first, err := Open(0, cfg, Features{})
	if err != nil {
		return false
	}
	defer first.Close()
	cfg.Local = first.LocalAddr()
	second, err := Open(1, cfg, Features{})
	if err != nil {
		return false
	}
	second.Close()
	return true
}
