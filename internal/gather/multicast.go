package gather

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The groups of multicast DNS (RFC 6762 section 3).
var (
	group4 = net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: mdnsPort}
	group6 = net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: mdnsPort}
)

// maxMessage is the longest message that is read (RFC 6762 section 17).
const maxMessage = 9000

// membership is multicast DNS on this machine. Other programs, as the system's own resolver, share the port.
type membership struct {
	conn4 *net.UDPConn // nil where there is no such family
	conn6 *net.UDPConn
	read  sync.WaitGroup

	mu     sync.Mutex
	p4     *ipv4.PacketConn
	p6     *ipv6.PacketConn
	joined map[memberOf]bool
}

type memberOf struct {
	index int
	six   bool
}

// Multicast joins the groups.
func (m *machine) Multicast(arrive func(from netip.AddrPort, message []byte)) (Multicast, error) {
	s := &membership{joined: map[memberOf]bool{}}
	var err4, err6 error
	if s.conn4, err4 = net.ListenMulticastUDP("udp4", nil, &group4); err4 == nil {
		s.p4 = ipv4.NewPacketConn(s.conn4)
		_ = s.p4.SetMulticastLoopback(true) // for other programs of this machine
		_ = s.p4.SetMulticastTTL(255)       // section 11
		s.read.Go(func() { receive(s.conn4, arrive) })
	}
	if s.conn6, err6 = net.ListenMulticastUDP("udp6", nil, &group6); err6 == nil {
		s.p6 = ipv6.NewPacketConn(s.conn6)
		_ = s.p6.SetMulticastLoopback(true)
		_ = s.p6.SetMulticastHopLimit(255)
		s.read.Go(func() { receive(s.conn6, arrive) })
	}
	if err4 != nil && err6 != nil {
		return nil, err4
	}
	s.join()
	return s, nil
}

func receive(conn *net.UDPConn, arrive func(from netip.AddrPort, message []byte)) {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		arrive(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
	}
}

// join joins on interfaces that are new, and returns all.
func (s *membership) join() (all []net.Interface) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&(net.FlagUp|net.FlagMulticast) != net.FlagUp|net.FlagMulticast {
			continue
		}
		all = append(all, i)
		if k := (memberOf{i.Index, false}); s.p4 != nil && !s.joined[k] {
			s.joined[k] = true
			_ = s.p4.JoinGroup(&i, &group4) // the first is joined already
		}
		if k := (memberOf{i.Index, true}); s.p6 != nil && !s.joined[k] {
			s.joined[k] = true
			_ = s.p6.JoinGroup(&i, &group6)
		}
	}
	return all
}

// Send sends on every interface, those included that came since the last time.
func (s *membership) Send(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.join() {
		if s.p4 != nil && s.p4.SetMulticastInterface(&i) == nil {
			_, _ = s.conn4.WriteToUDP(message, &group4) // one that has no address of the family refuses
		}
		if s.p6 != nil && s.p6.SetMulticastInterface(&i) == nil {
			_, _ = s.conn6.WriteToUDP(message, &group6)
		}
	}
}

// SendTo sends to one address.
func (s *membership) SendTo(message []byte, to netip.AddrPort) {
	conn := s.conn4
	if to.Addr().Is6() {
		conn = s.conn6
	}
	if conn != nil {
		_, _ = conn.WriteToUDPAddrPort(message, to)
	}
}

// Close leaves.
func (s *membership) Close() error {
	if s.conn4 != nil {
		s.conn4.Close()
	}
	if s.conn6 != nil {
		s.conn6.Close()
	}
	s.read.Wait()
	return nil
}
