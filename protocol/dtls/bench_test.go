package dtls

import (
	"crypto/cipher"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// ends of a benchmark, without a link.
func benchPair(b testing.TB, client, server *Config) (c, s *Conn) {
	c, s = mustNew(b, Client, client), mustNew(b, Server, server)
	return c, s
}

// shake runs a handshake over a link without delay.
func shake(b testing.TB, c, s *Conn, buf []byte) {
	now := mono.Time(1)
	open := 0
	for range 100 {
		for _, e := range [2]*Conn{c, s} {
			o := c
			if e == c {
				o = s
			}
			e.RunJobs(now)
			for {
				ev, ok := e.NextEvent()
				if !ok {
					break
				}
				switch ev.Kind {
				case PeerCertificate:
					e.Accept(now)
				case Connected:
					open++
				case Closed:
					b.Fatal(ev.Err)
				}
			}
			for {
				d := e.AppendDatagram(buf[:0], now)
				if len(d) == 0 {
					break
				}
				o.HandleDatagram(now, d)
			}
		}
		if open == 2 && len(c.out.messages) == 0 {
			return
		}
	}
	b.Fatalf("no handshake: %+v %+v", c.Stats(), s.Stats())
}

// Both ends of a handshake, in one process.
func BenchmarkHandshake(b *testing.B) {
	for _, k := range []struct {
		name   string
		v      Version
		groups []Group
	}{
		{"1.2", Version12, []Group{X25519}},
		{"1.3", Version13, []Group{X25519}},
		{"1.3 X25519MLKEM768", Version13, nil},
	} {
		b.Run(k.name, func(b *testing.B) {
			client, server := only(configOf(b, "client", 1), k.v), only(configOf(b, "server", 1), k.v)
			client.Groups, server.Groups = k.groups, k.groups
			buf := make([]byte, 0, 2000)
			b.ReportAllocs()
			for b.Loop() {
				c, s := benchPair(b, client, server)
				shake(b, c, s, buf)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
		})
	}
}

// One record each way against the AEAD alone.
func BenchmarkRecord(b *testing.B) {
	for _, k := range []struct {
		v Version
		s CipherSuite
	}{
		{Version13, AES128GCM}, {Version13, ChaCha20Poly1305}, {Version12, ECDHE_ECDSA_AES128GCM}, {Version12, ECDHE_ECDSA_ChaCha20Poly1305},
	} {
		client, server := only(configOf(b, "client", 1), k.v), only(configOf(b, "server", 1), k.v)
		server.CipherSuites = []CipherSuite{k.s}
		payload := make([]byte, 1200)
		b.Run(fmt.Sprintf("%v/seal", k.s), func(b *testing.B) {
			c, s := benchPair(b, client, server)
			shake(b, c, s, nil)
			c.limits = limits{1 << 60, 1 << 60, 1 << 60}
			buf := make([]byte, 0, 2000)
			b.ReportAllocs()
			b.SetBytes(1200)
			for b.Loop() {
				buf, _ = c.AppendRecord(buf[:0], payload)
			}
		})
		b.Run(fmt.Sprintf("%v/open", k.s), func(b *testing.B) {
			c, s := benchPair(b, client, server)
			shake(b, c, s, nil)
			c.limits = limits{1 << 60, 1 << 60, 1 << 60}
			const batch = 256
			records := make([][]byte, batch)
			for i := range records {
				records[i] = make([]byte, 0, 1300)
			}
			b.ReportAllocs()
			b.SetBytes(1200)
			i := batch
			for b.Loop() {
				if i == batch {
					b.StopTimer()
					for j := range records {
						records[j], _ = c.AppendRecord(records[j][:0], payload)
					}
					i = 0
					b.StartTimer()
				}
				s.HandleDatagram(1, records[i])
				if ev, ok := s.NextEvent(); !ok || ev.Kind != Data {
					b.Fatal("no data")
				}
				i++
			}
		})
		b.Run(fmt.Sprintf("%v/AEAD alone", k.s), func(b *testing.B) {
			aead, err := newAEAD(k.s.suite(), make([]byte, k.s.suite().keyLen))
			if err != nil {
				b.Fatal(err)
			}
			sealAlone(b, aead, payload)
		})
	}
}

func sealAlone(b *testing.B, aead cipher.AEAD, payload []byte) {
	nonce, ad := make([]byte, nonceLen), make([]byte, 13)
	buf := make([]byte, 0, 2000)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		buf = aead.Seal(buf[:0], nonce, payload, ad)
	}
}

// What an established connection holds when nothing happens, over 10,000 of them: bytes and pointers, all told.
func BenchmarkIdleConnection(b *testing.B) {
	for _, v := range []Version{Version12, Version13} {
		b.Run(v.String(), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(idleBytes(b, v, 10_000), "B/connection")
			}
		})
	}
}

func idleBytes(t testing.TB, v Version, n int) float64 {
	client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
	client.Groups = []Group{X25519}
	conns := make([]*Conn, n)
	buf := make([]byte, 0, 2000)
	before := heapInUse()
	for i := range conns {
		c, s := benchPair(t, client, server)
		shake(t, c, s, buf)
		// A word each way, and the minute after which nothing of the handshake may still be on its way.
		d, _ := c.AppendRecord(buf[:0], []byte("ping"))
		s.HandleDatagram(1, d)
		s.NextEvent()
		for at := s.NextTimeout(); at != mono.Never; at = s.NextTimeout() {
			s.HandleTimeout(at)
		}
		conns[i] = s
	}
	grown := float64(heapInUse()-before) / float64(n)
	runtime.KeepAlive(conns)
	return grown
}

// The bound that the issue of memory is held to, on fewer connections.
func TestIdleConnectionIsSmall(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		if got := idleBytes(t, v, 300); got > 4096 {
			t.Errorf("%v: an idle connection holds %.0f bytes, more than 4096", v, got)
		} else {
			t.Logf("%v: an idle connection holds %.0f bytes", v, got)
		}
	}
}

// Records allocate nothing, either way.
func TestRecordsAllocateNothing(t *testing.T) {
	for _, k := range suites {
		if k.rsa {
			continue
		}
		p := newConnected(t, k.version, func(client, server *Config) {
			server.CipherSuites = []CipherSuite{k.id}
			client.ConnectionID, server.ConnectionID = []byte("c"), []byte("s")
		})
		p.idle(time.Second)
		payload, buf := make([]byte, 1200), make([]byte, 0, 2000)
		c, s := p.client.Conn, p.server.Conn
		if n := testing.AllocsPerRun(500, func() {
			b, err := c.AppendRecord(buf[:0], payload)
			if err != nil {
				t.Fatal(err)
			}
			s.HandleDatagram(p.now, b)
			if ev, ok := s.NextEvent(); !ok || len(ev.Data) != 1200 {
				t.Fatal("no data")
			}
			s.HandleTimeout(p.now)
			s.NextTimeout()
			s.AppendDatagram(nil, p.now)
		}); n != 0 {
			t.Errorf("%s: %v allocations for a record there and back", k.name, n)
		}
	}
}
