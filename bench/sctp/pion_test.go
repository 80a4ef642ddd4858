package sctp_test

import (
	"context"
	"net"
	"sync"
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

// pionPair makes two of Pion's associations that stand.
func pionPair(t testing.TB, ca, cb net.Conn, window int, options ...pion.AssociationOption) (client, server *pion.Association, stop func()) {
	t.Helper()
	logs := logging.NewDefaultLoggerFactory()
	logs.DefaultLogLevel = logging.LogLevelDisabled
	cfg := func(c net.Conn) pion.Config {
		return pion.Config{NetConn: c, LoggerFactory: logs, MaxReceiveBufferSize: uint32(window), MaxMessageSize: messageSize}
	}
	ofServer, ofClient := []pion.ServerOption{cfg(cb)}, []pion.ClientOption{cfg(ca)}
	for _, o := range options {
		ofServer, ofClient = append(ofServer, o), append(ofClient, o)
	}
	accepted := make(chan *pion.Association, 1)
	go func() {
		s, err := pion.ServerWithOptions(ofServer...)
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	client, err := pion.ClientWithOptions(ofClient...)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	return client, server, func() {
		client.Abort("done")
		server.Abort("done")
		client.Close()
		server.Close()
	}
}

// pionStream returns the two ends of a stream, after a first message.
func pionStream(t testing.TB, client, server *pion.Association, id uint16) (out, in *pion.Stream) {
	t.Helper()
	out, err := client.OpenStream(id, pion.PayloadTypeWebRTCBinary)
	if err != nil {
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
	return out, in
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
		n, hosts := c.hosts()
		n.Live()
		ca, cb := dial(t, hosts[0], 0, 1), dial(t, hosts[1], 1, 0)
		client, server, stop := pionPair(t, ca, cb, c.window())
		out, in := pionStream(t, client, server, 1)
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

// pionLatency measures the latency of small messages beside a bulk. Interleaved, the small ones have four times the weight.
func pionLatency(t *testing.T, interleaved bool) *latencies {
	l := &latencies{}
	options := []pion.AssociationOption{pion.WithEnableInterleaving(interleaved)}
	if interleaved {
		options = append(options, pion.WithInterleavingOptions(
			pion.WithInterleavingWeightedFairQueueingWeight(1, 1), pion.WithInterleavingWeightedFairQueueingWeight(2, 4)))
	}
	synctest.Test(t, func(t *testing.T) {
		n, hosts := loaded.hosts()
		n.Live()
		ca, cb := dial(t, hosts[0], 0, 1), dial(t, hosts[1], 1, 0)
		client, server, stop := pionPair(t, ca, cb, 16<<20, options...)
		bulkOut, bulkIn := pionStream(t, client, server, 1)
		smallOut, smallIn := pionStream(t, client, server, 2)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		for _, in := range []*pion.Stream{bulkIn, smallIn} {
			readers.Go(func() {
				buf := make([]byte, messageSize)
				for {
					k, err := in.Read(buf)
					if err != nil {
						return
					}
					l.took(time.Since(start), buf[:k])
				}
			})
		}
		go pump(ctx, bulkOut, make([]byte, bulkSize), 512<<10)
		time.Sleep(warmUp)
		began := time.Now()
		l.begin()
		for i := range smallCount {
			if _, err := smallOut.WriteSCTP(l.next(time.Since(start)), pion.PayloadTypeWebRTCBinary); err != nil {
				t.Error(err)
			}
			time.Sleep(pause(i))
		}
		l.end(time.Since(began))
		time.Sleep(10 * time.Second)
		cancel()
		stop()
		ca.Close()
		cb.Close()
		readers.Wait()
		n.Close()
		synctest.Wait()
	})
	return l
}
