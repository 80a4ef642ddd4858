//go:build unix

// Package dtls_test measures handshakes of Parley's DTLS beside Pion's: both ends, with certificates on both sides, in one
// process and without sockets, in CPU time, which is what a server pays.
package dtls_test

import (
	"crypto/rand"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
)

const patience = need.Patience

// A contender does a whole handshake, both ends of it, each time it is called.
type contender struct {
	name string
	make func(*dtls.Certificate) (handshake func() error)
}

var contenders = []contender{
	{"Parley/1.2", parley(dtls.Version12, dtls.X25519)},
	{"Parley/1.3", parley(dtls.Version13, dtls.X25519)},
	{"Parley/1.3 X25519MLKEM768", parley(dtls.Version13, dtls.X25519MLKEM768, dtls.X25519, dtls.P256, dtls.P384)}, // as by default
	{"Pion/1.2", pion12},
}

func certificate(tb testing.TB) *dtls.Certificate {
	tb.Helper()
	c, err := dtls.GenerateCertificate(rand.Reader, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func BenchmarkHandshake(b *testing.B) {
	for _, c := range contenders {
		b.Run(c.name, func(b *testing.B) {
			handshake := c.make(certificate(b))
			b.ReportAllocs()
			start := cpuTime(b)
			for b.Loop() {
				if err := handshake(); err != nil {
					b.Fatal(err)
				}
			}
			used := cpuTime(b) - start
			b.ReportMetric(float64(b.N)/used.Seconds(), "handshakes/cpu-s")
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// What is measured works, on every machine that runs the tests.
func TestHandshake(t *testing.T) {
	for _, c := range contenders {
		t.Run(c.name, func(t *testing.T) {
			if err := c.make(certificate(t))(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// cpuTime returns the CPU time that this process has used, on all its threads, in the kernel too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var errUnfinished = errors.New("the handshake did not end, or chose something else than it should")
