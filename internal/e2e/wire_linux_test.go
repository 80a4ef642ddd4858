package e2e

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A wire joins two hosts of a network of their own. All that they say to each other goes through the test, which holds it up for
// a while and loses some of the datagrams, as it is told.
type wire struct {
	delay atomic.Int64 // each way, a time.Duration
	loses atomic.Pointer[func(nth int) bool]
	lost  atomic.Int64 // datagrams until now
}

// lose says which datagrams are lost from now on, each way.
func (w *wire) lose(which func(nth int) bool) { w.loses.Store(&which) }

// newWire makes two hosts and the wire between them, which loses nothing at first and takes no time.
func newWire(t *testing.T, a, b string) (*wire, *host, *host) {
	t.Helper()
	needs(t, needNamespaces)
	w := new(wire)
	var hosts [2]*host
	var ends [2]*os.File
	for i, addr := range []string{a, b} {
		h := &host{t: t, ns: namespace(t, "w"+string(rune('0'+i))), addr: addr}
		if err := h.within(func() (err error) { ends[i], err = openTUN("eth0"); return err }); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ends[i].Close() })
		ip(t, h.ns, "link set eth0 up", "addr add "+addr+"/24 dev eth0", "route add default dev eth0")
		hosts[i] = h
	}
	go w.carry(ends[0], ends[1])
	go w.carry(ends[1], ends[0])
	return w, hosts[0], hosts[1]
}

// openTUN makes a network interface, in the namespace of this thread, whose packets are read and written as a file.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// carry takes packets from one end to the other, in their order, until one is closed.
func (w *wire) carry(from, to *os.File) {
	type packet struct {
		due time.Time
		b   []byte
	}
	queue := make(chan packet, 4096)
	defer close(queue)
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.due))
			to.Write(p.b)
		}
	}()
	for datagrams := 0; ; {
		b := make([]byte, 2048)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		const udp = 17
		protocol := b[9]
		if b[0]>>4 == 6 {
			protocol = b[6]
		}
		if loses := w.loses.Load(); protocol == udp && loses != nil {
			if datagrams++; (*loses)(datagrams) {
				w.lost.Add(1)
				continue
			}
		}
		select {
		case queue <- packet{time.Now().Add(time.Duration(w.delay.Load())), b[:n]}:
		default: // as a router with a full queue
		}
	}
}
