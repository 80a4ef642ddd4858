package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is the address in the form that bind takes; it allocates.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	var z zones
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: z.index(a.Addr().Zone())}
}

// rawName is room for the socket address of either family.
type rawName unix.RawSockaddrInet6

// put writes a and returns the length.
func (n *rawName) put(a netip.AddrPort, z *zones) uint32 {
	addr := a.Addr()
	if addr.Is4() {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		sa.Family = unix.AF_INET
		sa.Addr = addr.As4()
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], a.Port())
		return unix.SizeofSockaddrInet4
	}
	n.Family = unix.AF_INET6
	n.Addr = addr.As16()
	n.Scope_id = z.index(addr.Zone())
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&n.Port))[:], a.Port())
	return unix.SizeofSockaddrInet6
}

// get reads the address that the kernel wrote; it is invalid if the family is neither.
func (n *rawName) get(z *zones) netip.AddrPort {
	switch n.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), port)
	case unix.AF_INET6:
		addr := netip.AddrFrom16(n.Addr)
		if n.Scope_id != 0 && addr.IsLinkLocalUnicast() {
			addr = addr.WithZone(z.name(n.Scope_id))
		}
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&n.Port))[:]))
	}
	return netip.AddrPort{}
}

// zones remembers the names of IPv6 zones, of which a machine has few: asking the system costs allocations. A zone
// without a name is called by its number, as package net does.
type zones struct {
	names   map[uint32]string
	indices map[string]uint32
}

// maxZones bounds the memory when interfaces come and go for ever; beyond it all are forgotten.
const maxZones = 1024

func (z *zones) name(index uint32) string {
	if name, ok := z.names[index]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(index), 10)
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		name = ifi.Name
	}
	z.remember(name, index)
	return name
}

// index returns 0, which stands for no zone, if there is no zone of that name.
func (z *zones) index(name string) uint32 {
	if name == "" {
		return 0
	}
	if index, ok := z.indices[name]; ok {
		return index
	}
	var index uint32
	if ifi, err := net.InterfaceByName(name); err == nil {
		index = uint32(ifi.Index)
	} else if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		index = uint32(n)
	}
	z.remember(name, index)
	return index
}

func (z *zones) remember(name string, index uint32) {
	if z.names == nil || len(z.indices) >= maxZones {
		z.names, z.indices = map[uint32]string{}, map[string]uint32{}
	}
	z.names[index], z.indices[name] = name, index
}
