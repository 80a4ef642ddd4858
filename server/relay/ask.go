package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/protocol/stun"
)

// askEvery is when a request is sent again, askTimes how often it is sent.
const (
	askEvery = 500 * time.Millisecond
	askTimes = 5
)

// Ask sends a STUN Binding request to a server over udp and returns the address that it saw the request come from.
func Ask(ctx context.Context, server netip.AddrPort) (netip.AddrPort, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer conn.Close()
	var id stun.TransactionID
	rand.Read(id[:])
	b := stun.NewBuilder(nil, stun.Request, stun.Binding, id)
	request, err := b.Message()
	if err != nil {
		return netip.AddrPort{}, err
	}
	buf := make([]byte, 1500)
	for range askTimes {
		if ctx.Err() != nil {
			return netip.AddrPort{}, ctx.Err()
		}
		deadline := time.Now().Add(askEvery)
		if _, err := conn.Write(request); err != nil {
			return netip.AddrPort{}, err
		}
		_ = conn.SetReadDeadline(deadline)
		for time.Now().Before(deadline) {
			n, err := conn.Read(buf)
			if err != nil {
				if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
					break
				}
				continue // an ICMP error, which may pass
			}
			if m, err := stun.Parse(buf[:n]); err == nil && m.ID() == id && m.Class() == stun.Success {
				return m.XORAddress(stun.AttrXORMappedAddress)
			}
		}
	}
	return netip.AddrPort{}, errors.New("no answer")
}
