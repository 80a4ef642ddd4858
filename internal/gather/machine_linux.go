package gather

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// systemAddresses asks the kernel, which knows more of an address than package net says.
func systemAddresses() ([]Address, error) {
	all, err := netlinkAddresses()
	if err != nil { // as in sandboxes
		return portableAddresses()
	}
	return all, nil
}

// link is an interface.
type link struct {
	name    string
	kind    Kind
	up      bool
	running bool
}

func netlinkAddresses() ([]Address, error) {
	links, err := netlinkLinks()
	if err != nil {
		return nil, err
	}
	var all []Address
	err = dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, func(m *syscall.NetlinkMessage) {
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return
		}
		flags := uint32(m.Data[2])
		l := links[binary.NativeEndian.Uint32(m.Data[4:])]
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil || !l.up {
			return
		}
		var ip netip.Addr
		for _, a := range attrs {
			switch a.Attr.Type {
			case unix.IFA_LOCAL: // of a point-to-point link, whose IFA_ADDRESS is the other end's
				ip, _ = netip.AddrFromSlice(a.Value)
			case unix.IFA_ADDRESS:
				if !ip.IsValid() {
					ip, _ = netip.AddrFromSlice(a.Value)
				}
			case unix.IFA_FLAGS:
				if len(a.Value) == 4 {
					flags = binary.NativeEndian.Uint32(a.Value)
				}
			}
		}
		if !ip.IsValid() {
			return
		}
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(l.name)
		}
		const unusable = unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
		all = append(all, Address{
			IP: ip, Interface: l.name, Kind: l.kind,
			Temporary:  ip.Is6() && flags&unix.IFA_F_TEMPORARY != 0,
			Deprecated: ip.Is6() && flags&unusable != 0 || !l.running,
		})
	})
	return all, err
}

func netlinkLinks() (map[uint32]link, error) {
	links := map[uint32]link{}
	err := dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, func(m *syscall.NetlinkMessage) {
		if len(m.Data) < unix.SizeofIfInfomsg {
			return
		}
		hardware := binary.NativeEndian.Uint16(m.Data[2:])
		flags := binary.NativeEndian.Uint32(m.Data[8:])
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return
		}
		l := link{up: flags&unix.IFF_UP != 0, running: flags&unix.IFF_RUNNING != 0}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				l.name = unix.ByteSliceToString(a.Value)
			}
		}
		l.kind = linkKind(l.name, hardware)
		links[binary.NativeEndian.Uint32(m.Data[4:])] = l
	})
	return links, err
}

// linkKind goes by the kind of the hardware (ARPHRD), then by the name.
func linkKind(name string, hardware uint16) Kind {
	switch kind := kindOf(name); {
	case hardware == unix.ARPHRD_LOOPBACK:
		return Loopback
	case kind != Unknown && kind != Wired:
		return kind
	case hardware == unix.ARPHRD_RAWIP:
		return Cellular
	case hardware == unix.ARPHRD_NONE, hardware == unix.ARPHRD_PPP, hardware == unix.ARPHRD_TUNNEL, hardware == unix.ARPHRD_TUNNEL6, hardware == unix.ARPHRD_SIT, hardware == unix.ARPHRD_IPGRE:
		return VPN
	case hardware == unix.ARPHRD_ETHER:
		if _, err := os.Stat("/sys/class/net/" + name + "/wireless"); err == nil {
			return Wifi
		}
		return kind
	default:
		return kind
	}
}

// dump asks for a list and hands on what is of one type.
func dump(request, kind int, each func(*syscall.NetlinkMessage)) error {
	raw, err := syscall.NetlinkRIB(request, unix.AF_UNSPEC)
	if err != nil {
		return os.NewSyscallError("netlink", err)
	}
	messages, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return err
	}
	for i := range messages {
		if int(messages[i].Header.Type) == kind {
			each(&messages[i])
		}
	}
	return nil
}

// watchSystem listens to the kernel's notes of links and addresses. It tells of those that changed an address.
func watchSystem(changed func()) (tells bool, stop func()) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return false, poll(changed)
	}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return false, poll(changed)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	var done sync.WaitGroup
	done.Go(func() {
		last, _ := systemAddresses()
		for buf := make([]byte, 8<<10); ; {
			_, err := file.Read(buf) // what it says is asked for in whole: notes may be lost
			if err != nil && !isOverflow(err) {
				return
			}
			if now, err := systemAddresses(); err == nil && !slices.Equal(now, last) {
				last = now
				changed()
			}
		}
	})
	return true, func() {
		_ = file.Close()
		done.Wait()
	}
}

// isOverflow reports whether the kernel had more notes than it had room for.
func isOverflow(err error) bool {
	var e *os.PathError
	return errors.As(err, &e) && e.Err == unix.ENOBUFS
}
