package dtls_test

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	pion "github.com/pion/dtls/v3"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

// Both ends of a DTLS 1.2 handshake with certificates on both sides, in one process and without sockets: Parley's and
// Pion's, in CPU time, which is what a server pays.

func certificateFor(b *testing.B) *dtls.Certificate {
	b.Helper()
	c, err := dtls.GenerateCertificate(rand.Reader, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// cpu returns the CPU time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, since time.Duration) {
	used := cpu(b) - since
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/used.Seconds(), "handshakes/cpu-s")
}

func BenchmarkHandshakeParley(b *testing.B) {
	for _, k := range []struct {
		name    string
		version dtls.Version
		groups  []dtls.Group
	}{
		{"1.2", dtls.Version12, []dtls.Group{dtls.X25519}},
		{"1.3", dtls.Version13, []dtls.Group{dtls.X25519}},
		{"1.3 X25519MLKEM768", dtls.Version13, nil},
	} {
		b.Run(k.name, func(b *testing.B) {
			cfg := &dtls.Config{Entropy: rand.Reader, Certificate: certificateFor(b), SRTPProfiles: dtls.DefaultSRTPProfiles(),
				MinVersion: k.version, MaxVersion: k.version, Groups: k.groups}
			b.ReportAllocs()
			start := cpu(b)
			for b.Loop() {
				handshakeParley(b, cfg)
			}
			reportCPU(b, start)
		})
	}
}

func handshakeParley(b *testing.B, cfg *dtls.Config) {
	var ends [2]*dtls.Conn
	for i, role := range []dtls.Role{dtls.Client, dtls.Server} {
		var err error
		if ends[i], err = dtls.New(role, cfg); err != nil {
			b.Fatal(err)
		}
	}
	const now = mono.Time(1)
	connected := 0
	for range 20 {
		for i, e := range ends {
			e.RunJobs(now)
			for ev, ok := e.NextEvent(); ok; ev, ok = e.NextEvent() {
				switch ev.Kind {
				case dtls.PeerCertificate:
					e.Accept(now)
				case dtls.Connected:
					connected++
				}
			}
			for d := e.AppendDatagram(nil, now); len(d) > 0; d = e.AppendDatagram(nil, now) {
				ends[1-i].HandleDatagram(now, d)
			}
		}
		if connected == 2 {
			return
		}
	}
	b.Fatal("no handshake")
}

// A wire is one end of a link in memory.
type wire struct {
	in, out chan []byte
	end     chan struct{} // closed when both ends are done
}

func (w wire) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case b := <-w.in:
		return copy(p, b), wireAddr{}, nil
	case <-w.end:
		return 0, nil, os.ErrClosed
	}
}

func (w wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	select {
	case w.out <- append([]byte(nil), p...):
	default: // the other end is gone
	}
	return len(p), nil
}

func (w wire) Close() error                     { return nil }
func (w wire) LocalAddr() net.Addr              { return wireAddr{} }
func (w wire) SetDeadline(time.Time) error      { return nil }
func (w wire) SetReadDeadline(time.Time) error  { return nil }
func (w wire) SetWriteDeadline(time.Time) error { return nil }

type wireAddr struct{}

func (wireAddr) Network() string { return "udp" }
func (wireAddr) String() string  { return "127.0.0.1:1" }

func BenchmarkHandshakePion(b *testing.B) {
	options := pionOptions(certificateFor(b))
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		to, fro, end := make(chan []byte, 64), make(chan []byte, 64), make(chan struct{})
		client, err := pionClient(wire{fro, to, end}, wireAddr{}, options)
		if err != nil {
			b.Fatal(err)
		}
		server, err := pionServer(wire{to, fro, end}, wireAddr{}, options, pion.WithInsecureSkipVerifyHello(true))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		done := make(chan error, 1)
		go func() { done <- server.HandshakeContext(ctx) }()
		if err := client.HandshakeContext(ctx); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		cancel()
		client.Close()
		server.Close()
		close(end)
	}
	reportCPU(b, start)
}
