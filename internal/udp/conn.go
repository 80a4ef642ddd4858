package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/parley-rtc/parley/protocol/pkt"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// MaxConnDatagram is the longest datagram that a Conn receives; longer ones are dropped and counted. WebRTC sends
// nothing beyond the MTU of an Ethernet, and each Conn holds a buffer of this size.
const MaxConnDatagram = 4095

// sendPatience is the longest that a Conn's sends may wait for room in the system. Nearly always the system takes a
// datagram at once, and nothing waits.
const sendPatience = 50 * time.Millisecond

// Conn is a UDP socket on package net, for every system. Read belongs to one goroutine, Send to one other, and Close to
// any. It does not see or set ECN and DSCP, sends no DF and hears no ICMP.
type Conn struct {
	name  pkt.Socket
	conn  *net.UDPConn
	local netip.AddrPort
	wild  bool // and the system tells and takes the local address of each datagram
	oob   []byte
}

// OpenConn binds a new socket, which appears under name in the datagrams it receives.
func OpenConn(name pkt.Socket, cfg Config) (*Conn, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	if cfg.ReusePort {
		return nil, fmt.Errorf("udp: sharing port %d is not possible on this system: open it once", cfg.Local.Port())
	}
	network := "udp4"
	if cfg.Local.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(cfg.Local))
	if err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	// The system may give less, and what it gives will do.
	_ = conn.SetReadBuffer(cfg.buffer())
	_ = conn.SetWriteBuffer(cfg.buffer())
	c := &Conn{name: name, conn: conn}
	c.local = netip.AddrPortFrom(cfg.Local.Addr(), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	if cfg.Local.Addr().IsUnspecified() {
		if c.ip6() {
			c.wild = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true) == nil
		} else {
			c.wild = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true) == nil
		}
		c.oob = make([]byte, 128)
	}
	return c, nil
}

func (c *Conn) ip6() bool { return c.local.Addr().Is6() }

// LocalAddr returns the address the socket is bound to, with the port that the system chose.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Close ends Read.
func (c *Conn) Close() error { return c.conn.Close() }

// Read waits for a datagram, reads it into buf, which must have MaxConnDatagram+1 bytes, and fills in d. A datagram that
// is too long is returned with a nil payload. It returns an error once the socket is closed, or broken for good.
func (c *Conn) Read(d *pkt.Datagram, buf []byte) error {
	const broken = 1000 // this many errors in a row; on Windows each ICMP error is one
	var lastErr error
	for range broken {
		var n, oobn int
		var remote netip.AddrPort
		if c.wild {
			n, oobn, _, remote, lastErr = c.conn.ReadMsgUDPAddrPort(buf, c.oob)
		} else {
			n, remote, lastErr = c.conn.ReadFromUDPAddrPort(buf)
		}
		if errors.Is(lastErr, net.ErrClosed) {
			return lastErr
		}
		if lastErr != nil {
			continue
		}
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
		*d = pkt.Datagram{Path: pkt.Path{Socket: c.name, Local: c.local, Remote: remote}}
		if c.wild {
			c.readLocal(d, c.oob[:oobn])
		}
		if n <= MaxConnDatagram {
			d.Payload = buf[:n:n]
		}
		return nil
	}
	return fmt.Errorf("udp: receive on %v: %w", c.local, lastErr)
}

// readLocal completes d with the address the datagram was sent to.
func (c *Conn) readLocal(d *pkt.Datagram, oob []byte) {
	var ip net.IP
	if c.ip6() {
		var m ipv6.ControlMessage
		if m.Parse(oob) == nil {
			ip = m.Dst
		}
	} else {
		var m ipv4.ControlMessage
		if m.Parse(oob) == nil {
			ip = m.Dst
		}
	}
	if addr, ok := netip.AddrFromSlice(ip); ok {
		d.Local = netip.AddrPortFrom(addr.Unmap(), c.local.Port())
	}
}

// Send sends ts, all of which name c as their socket, and counts in counters. When the system has had no room for a
// datagram for 50 ms, it is dropped along with what follows.
func (c *Conn) Send(ts []*pkt.Transmit, counters *Counters) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	full := false
	for _, t := range ts {
		var oob []byte
		if c.wild && t.Local.IsValid() && !t.Local.Addr().IsUnspecified() && t.Local.Addr().Is6() == c.ip6() {
			if c.ip6() {
				oob = (&ipv6.ControlMessage{Src: t.Local.Addr().AsSlice()}).Marshal()
			} else {
				oob = (&ipv4.ControlMessage{Src: t.Local.Addr().AsSlice()}).Marshal()
			}
		}
		payload := t.Payload
		for {
			n := len(payload)
			if t.SegmentSize > 0 {
				n = min(n, int(t.SegmentSize))
			}
			full = full || !c.sendOne(payload[:n], oob, t.Remote, counters)
			if full {
				counters.SendFull++
			}
			payload = payload[n:]
			if len(payload) == 0 {
				break
			}
		}
	}
}

// sendOne returns false if the system has no room.
func (c *Conn) sendOne(payload, oob []byte, remote netip.AddrPort, counters *Counters) bool {
	for retried := false; ; retried = true {
		counters.SendCalls++
		var err error
		if oob != nil {
			_, _, err = c.conn.WriteMsgUDPAddrPort(payload, oob, remote)
		} else {
			_, err = c.conn.WriteToUDPAddrPort(payload, remote)
		}
		switch {
		case err == nil:
			counters.Sent++
			counters.SentBytes += uint64(len(payload))
			return true
		case !errors.Is(err, os.ErrDeadlineExceeded):
			counters.SendError++
			return true
		case retried:
			return false
		}
		// The deadline was for an earlier datagram, and something else may have kept this goroutine from running since.
		_ = c.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	}
}
