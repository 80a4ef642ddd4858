package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is room for every control message that a receive or a send of ours carries. (CMSG_SPACE of in6_pktinfo,
// of the traffic class, of the segment size and of the drop counter; of an extended error with its address.)
const controlSize = 128

// control is the buffer of control messages of one datagram, aligned as the kernel wants it.
type control struct {
	_ [0]uint64
	b [controlSize]byte
}

// next returns the first control message of b and what follows it; ok is false at the end.
func nextControl(b []byte) (level, kind int32, data, rest []byte, ok bool) {
	if len(b) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	n := int(h.Len)
	if n < unix.SizeofCmsghdr || n > len(b) {
		return 0, 0, nil, nil, false
	}
	data = b[unix.CmsgLen(0):n]
	return h.Level, h.Type, data, b[min(unix.CmsgSpace(len(data)), len(b)):], true
}

// appendControl claims room for a control message of n bytes at the offset used and returns its data and the new offset.
func (c *control) append(used int, level, kind int32, n int) (data []byte, end int) {
	end = used + unix.CmsgSpace(n)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[used]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(n))
	return c.b[used+unix.CmsgLen(0) : used+unix.CmsgLen(n)], end
}

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	n uint32 // the number of bytes moved
}
