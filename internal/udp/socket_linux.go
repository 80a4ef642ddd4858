package udp

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/sys/unix"
)

// Socket is a UDP socket as a bare non-blocking descriptor. A Socket, its Receiver and its Sender belong to one
// goroutine.
type Socket struct {
	name   pkt.Socket
	fd     int
	local  netip.AddrPort
	ip6    bool
	wild   bool   // bound to every address: the local address travels with each datagram
	gso    bool   // segmentation offload has not failed here
	df     bool   // the socket option that sets DF is on
	drops  uint32 // the last value of SO_RXQ_OVFL
	closed bool
}

// Open binds a new socket, which appears under name in the datagrams it receives.
func Open(name pkt.Socket, cfg Config, f Features) (*Socket, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	s := &Socket{name: name, ip6: cfg.Local.Addr().Is6(), wild: cfg.Local.Addr().IsUnspecified(), gso: f.GSO}
	family := unix.AF_INET
	if s.ip6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, fmt.Errorf("udp: open a socket for %v: %w", cfg.Local, os.NewSyscallError("socket", err))
	}
	s.fd = fd
	if err := s.configure(&cfg, f); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("udp: open a socket for %v: %w", cfg.Local, err)
	}
	return s, nil
}

func (s *Socket) configure(cfg *Config, f Features) error {
	type option struct {
		level, name, value int
		what               string // empty: the socket is as good without
	}
	options := append(make([]option, 0, 8), option{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, ""})
	if s.ip6 {
		options = append(options,
			option{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, ""},
			option{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT, ""})
		if s.wild {
			options = append(options,
				option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"},
				option{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"})
		}
		if cfg.ICMP {
			options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1, ""})
		}
	} else {
		options = append(options,
			option{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, ""},
			option{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, ""})
		if s.wild {
			options = append(options, option{unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO"})
		}
		if cfg.ICMP {
			options = append(options, option{unix.IPPROTO_IP, unix.IP_RECVERR, 1, ""})
		}
	}
	if cfg.ReusePort {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT"})
	}
	if f.GRO {
		options = append(options, option{unix.SOL_UDP, unix.UDP_GRO, 1, ""})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil && o.what != "" {
			return fmt.Errorf("set %s: %w", o.what, os.NewSyscallError("setsockopt", err))
		}
	}
	// Beyond the system's limit only root may go; whoever may not gets the limit.
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, cfg.buffer()) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cfg.buffer())
	}
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, cfg.buffer()) != nil {
		_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, cfg.buffer())
	}
	if err := unix.Bind(s.fd, sockaddr(cfg.Local)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch sa := bound.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(cfg.Local.Addr(), uint16(sa.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(cfg.Local.Addr(), uint16(sa.Port))
	}
	return nil
}

// Name returns the name given to Open.
func (s *Socket) Name() pkt.Socket { return s.name }

// LocalAddr returns the address the socket is bound to, with the port that the system chose.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// Descriptor returns the file descriptor, for a poller; it is valid until Close.
func (s *Socket) Descriptor() int { return s.fd }

// Close frees the descriptor at once. Closing twice does nothing.
func (s *Socket) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return os.NewSyscallError("close", unix.Close(s.fd))
}

// setDF turns DF (and for IPv6 its like: no fragmenting here) on or off for what is sent next. The kernel takes it per
// socket only, so it is changed around the few sends that ask for it.
func (s *Socket) setDF(on bool) {
	if s.df == on {
		return
	}
	s.df = on
	level, name, value := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if on {
		value = unix.IP_PMTUDISC_PROBE
	}
	if s.ip6 {
		level, name, value = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT
		if on {
			value = unix.IPV6_PMTUDISC_PROBE
		}
	}
	_ = unix.SetsockoptInt(s.fd, level, name, value)
}
