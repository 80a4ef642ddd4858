package sctp_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
	pion "github.com/pion/sctp"

	"github.com/parley-rtc/parley/internal/simnet"
)

// dial returns a connection of a host's socket with the other host.
func dial(t *testing.T, h *simnet.Host, local, remote int) net.Conn {
	c, err := h.ListenUDP(addrs[local])
	if err != nil {
		t.Fatal(err)
	}
	return connected{c, net.UDPAddrFromAddrPort(addrs[remote])}
}

// connected is a socket that has one peer only.
type connected struct {
	*simnet.UDPConn
	peer net.Addr
}

func (c connected) Write(b []byte) (int, error) { return c.WriteTo(b, c.peer) }
func (c connected) RemoteAddr() net.Addr        { return c.peer }

// pionPair makes two of Pion's associations that stand, and returns the ends of a stream.
func pionPair(t testing.TB, ca, cb net.Conn, window int) (out, in *pion.Stream, stop func()) {
	t.Helper()
	logs := logging.NewDefaultLoggerFactory()
	logs.DefaultLogLevel = logging.LogLevelDisabled
	cfg := func(c net.Conn) pion.Config {
		return pion.Config{NetConn: c, LoggerFactory: logs, MaxReceiveBufferSize: uint32(window), MaxMessageSize: messageSize}
	}
	accepted := make(chan *pion.Association, 1)
	go func() {
		s, err := pion.Server(cfg(cb))
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	client, err := pion.Client(cfg(ca))
	if err != nil {
		t.Fatal(err)
	}
	server := <-accepted
	if out, err = client.OpenStream(1, pion.PayloadTypeWebRTCBinary); err != nil {
		t.Fatal(err)
	}
	if _, err = out.WriteSCTP([]byte("hello"), pion.PayloadTypeWebRTCBinary); err != nil {
		t.Fatal(err)
	}
	if in, err = server.AcceptStream(); err != nil {
		t.Fatal(err)
	}
	if _, err = in.Read(make([]byte, messageSize)); err != nil {
		t.Fatal(err)
	}
	return out, in, func() {
		client.Abort("done")
		server.Abort("done")
		client.Close()
		server.Close()
	}
}

// pump writes messages for as long as ctx lasts, as Pion's own examples do: more whenever less than the mark is buffered,
// where what was sent and not acknowledged counts as well.
func pump(ctx context.Context, out *pion.Stream, message []byte, mark uint64) {
	low := make(chan struct{}, 1)
	out.SetBufferedAmountLowThreshold(mark / 2)
	out.OnBufferedAmountLow(func() {
		select {
		case low <- struct{}{}:
		default:
		}
	})
	for ctx.Err() == nil {
		if _, err := out.WriteSCTP(message, pion.PayloadTypeWebRTCBinary); err != nil {
			return
		}
		if out.BufferedAmount() > mark {
			select {
			case <-low:
			case <-ctx.Done():
			}
		}
	}
}

// pionsFitted is pions with a window that fits the link.
func pionsFitted(t *testing.T, c cell) result {
	c.fit = true
	return pions(t, c)
}

// pions runs a cell with two of Pion's associations.
func pions(t *testing.T, c cell) (r result) {
	synctest.Test(t, func(t *testing.T) {
		n, ha, hb := c.hosts()
		n.Live()
		ca, cb := dial(t, ha, 0, 1), dial(t, hb, 1, 0)
		out, in, stop := pionPair(t, ca, cb, c.window())
		start := time.Now()
		m := &meter{cell: c}
		ctx, cancel := context.WithTimeout(t.Context(), warmUp+c.measured())
		defer cancel()
		go pump(ctx, out, make([]byte, messageSize), uint64(4*c.queue()+4<<20))
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, messageSize)
			for {
				k, err := in.Read(buf)
				if err != nil {
					return
				}
				m.took(time.Since(start), k)
			}
		}()
		<-ctx.Done()
		stop()
		ca.Close()
		cb.Close()
		<-done
		n.Close()
		synctest.Wait()
		r = m.result("Pion")
	})
	return r
}
