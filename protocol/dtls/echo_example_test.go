package dtls_test

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/parley-rtc/parley/internal/loop"
	"github.com/parley-rtc/parley/internal/udp"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// An echoServer is a tenant of a loop that sends every line back, to any number of clients over one socket. It asks for
// cookies, so that addresses that were made up cost it nothing.
type echoServer struct {
	lease  *loop.Lease
	config *dtls.Config
	conns  map[pkt.Path]*dtls.Conn
}

func (s *echoServer) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	conn := s.conns[d.Path]
	if conn == nil {
		fresh, err := dtls.New(dtls.Server, s.config)
		if err != nil || len(s.conns) >= 1000 {
			return
		}
		conn = fresh
		conn.SetRemote([]byte(d.Remote.String()))
		s.conns[d.Path] = conn
	}
	conn.HandleDatagram(now, d.Payload)
	s.events(now, conn, d.Path) // at once, for data lie in the datagram
}

func (s *echoServer) events(now mono.Time, conn *dtls.Conn, path pkt.Path) {
	for ev, ok := conn.NextEvent(); ok; ev, ok = conn.NextEvent() {
		switch ev.Kind {
		case dtls.PeerCertificate:
			conn.Accept(now) // everybody is welcome to an echo
		case dtls.Data:
			if record, err := conn.AppendRecord(nil, ev.Data); err == nil {
				s.lease.Batch().Append(pkt.Transmit{Path: path, Payload: record})
			}
		case dtls.Closed:
			transmit(s.lease, conn, path, now, s.lease.Batch()) // its last alert
			delete(s.conns, path)
		}
	}
}

func (s *echoServer) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for path, conn := range s.conns {
		if more := transmit(s.lease, conn, path, now, b); more {
			return true
		}
		if s.events(now, conn, path); conn.Disposable() {
			delete(s.conns, path)
		}
	}
	return false
}

func (s *echoServer) HandleTimeout(now mono.Time) {
	for _, conn := range s.conns {
		conn.HandleTimeout(now)
	}
}

func (s *echoServer) NextTimeout() mono.Time {
	next := mono.Never
	for _, conn := range s.conns {
		next = mono.Min(next, conn.NextTimeout())
	}
	return next
}

// transmit sends what a connection has to say. Its public-key work goes to the loop's pool, and comes back as a post.
func transmit(lease *loop.Lease, conn *dtls.Conn, path pkt.Path, now mono.Time, b *pkt.Batch) (more bool) {
	if job, ok := conn.NextJob(); ok {
		done := func(now mono.Time) { conn.JobDone(now, job) }
		if !lease.Submit(func() func(mono.Time) { job.Run(); return done }) {
			job.Run() // the pool is full
			done(now)
		}
	}
	for {
		buf := b.Reserve(dtls.DefaultMTU)
		if buf == nil {
			return true
		}
		if buf = conn.AppendDatagram(buf, now); len(buf) == 0 {
			return false
		}
		b.Commit(pkt.Transmit{Path: path, Payload: buf})
	}
}

// An echoClient is a tenant that says one line to one server, which must show the certificate that it promised.
type echoClient struct {
	*dtls.Conn
	lease    *loop.Lease
	path     pkt.Path
	promised dtls.Fingerprint
	line     string
	heard    chan string
}

func (c *echoClient) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	if d.Remote != c.path.Remote {
		return
	}
	c.Conn.HandleDatagram(now, d.Payload)
	c.events(now)
}

func (c *echoClient) events(now mono.Time) {
	for ev, ok := c.NextEvent(); ok; ev, ok = c.NextEvent() {
		switch ev.Kind {
		case dtls.PeerCertificate:
			if dtls.MatchFingerprint(ev.Certificates[0], []dtls.Fingerprint{c.promised}) {
				c.Accept(now)
			} else {
				c.Refuse(now)
			}
		case dtls.Connected:
			if record, err := c.AppendRecord(nil, []byte(c.line)); err == nil {
				c.lease.Batch().Append(pkt.Transmit{Path: c.path, Payload: record})
			}
		case dtls.Data:
			c.heard <- string(ev.Data)
			c.Close(now)
		case dtls.Closed:
			if ev.Err != nil {
				c.heard <- ev.Err.Error()
			}
		}
	}
}

func (c *echoClient) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	c.events(now)
	return transmit(c.lease, c.Conn, c.path, now, b)
}

func config() *dtls.Config {
	cert, err := dtls.GenerateCertificate(rand.Reader, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		panic(err)
	}
	return &dtls.Config{Entropy: rand.Reader, Certificate: cert}
}

// An echo over UDP: a server for any number of clients, and one client, both on the loop that drives all of Parley.
func Example_echo() {
	l, err := loop.New(loop.Config{})
	if err != nil {
		panic(err)
	}
	defer l.Close()

	server := &echoServer{config: config(), conns: make(map[pkt.Path]*dtls.Conn)}
	server.config.CookieSecret = make([]byte, 32)
	rand.Read(server.config.CookieSecret)
	client := &echoClient{promised: server.config.Certificate.Fingerprint(), line: "is anybody there?", heard: make(chan string, 1)}
	_ = l.Do(func(mono.Time) {
		loopback := udp.Config{Local: netip.MustParseAddrPort("127.0.0.1:0")}
		server.lease = l.Attach(server)
		if _, client.path.Remote, err = server.lease.Open(loopback); err != nil {
			panic(err)
		}
		if client.Conn, err = dtls.New(dtls.Client, config()); err != nil {
			panic(err)
		}
		client.lease = l.Attach(client)
		if client.path.Socket, client.path.Local, err = client.lease.Open(loopback); err != nil {
			panic(err)
		}
	})
	fmt.Println(<-client.heard)
	// Output: is anybody there?
}
