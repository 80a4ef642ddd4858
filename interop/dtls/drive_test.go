// Package dtls_test holds Parley's DTLS against other implementations, over real sockets: OpenSSL's and wolfSSL's
// programs, and Pion's library. A test whose other side is not installed says so and is skipped.
package dtls_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
)

const patience = need.Patience

func generate(t *testing.T) *dtls.Certificate {
	t.Helper()
	c, err := dtls.GenerateCertificate(rand.Reader, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// config offers what WebRTC does.
func config(t *testing.T) *dtls.Config {
	return &dtls.Config{Entropy: rand.Reader, Certificate: generate(t), SRTPProfiles: dtls.DefaultSRTPProfiles()}
}

func only(cfg *dtls.Config, v dtls.Version) *dtls.Config {
	cfg.MinVersion, cfg.MaxVersion = v, v
	return cfg
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	return udp
}

func addrOf(udp *net.UDPConn) netip.AddrPort { return udp.LocalAddr().(*net.UDPAddr).AddrPort() }

// A session drives one Conn on one socket.
type session struct {
	t      *testing.T
	conn   *dtls.Conn
	udp    *net.UDPConn
	remote netip.AddrPort // the first to send, if not set
	start  time.Time
	certs  [][]byte
	data   bytes.Buffer
	closed bool
	err    error

	stun   func(b []byte, from netip.AddrPort) // for what is no DTLS; nil: nothing else comes
	media  func(b []byte)                      // for SRTP; nil: it is dropped
	record *os.File                            // where what comes is written; nil: nowhere
}

func newSession(t *testing.T, role dtls.Role, cfg *dtls.Config, udp *net.UDPConn, remote netip.AddrPort) *session {
	t.Helper()
	conn, err := dtls.New(role, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &session{t: t, conn: conn, udp: udp, remote: remote, start: time.Now()}
}

func (s *session) now() mono.Time { return mono.Time(time.Since(s.start)) + 1 }

// run drives the connection until done says so.
func (s *session) run(what string, done func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	buf := make([]byte, 1<<16)
	for {
		s.conn.RunJobs(s.now())
		s.events()
		for s.remote.IsValid() {
			b := s.conn.AppendDatagram(nil, s.now())
			if len(b) == 0 {
				break
			}
			s.write(b)
		}
		if done() {
			return
		}
		if s.closed {
			s.t.Fatalf("closed while waiting for %s: %v (%+v)", what, s.err, s.conn.Stats())
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("timed out waiting for %s; state %+v, stats %+v", what, s.conn.State(), s.conn.Stats())
		}
		next := min(s.conn.NextTimeout(), s.now().Add(20*time.Millisecond))
		s.udp.SetReadDeadline(s.start.Add(time.Duration(next)))
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			if !s.remote.IsValid() {
				s.remote = from
			}
			if s.stun != nil && buf[0] < 4 {
				s.stun(buf[:n], from)
				continue
			}
			if buf[0] >= 128 {
				if s.media != nil {
					s.media(buf[:n])
				}
				continue
			}
			if s.record != nil {
				fmt.Fprintf(s.record, "%x\n", buf[:n])
			}
			s.conn.HandleDatagram(s.now(), buf[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded) && !strings.Contains(err.Error(), "refused"):
			s.t.Fatal(err)
		}
		s.conn.HandleTimeout(s.now())
	}
}

func (s *session) write(b []byte) {
	if _, err := s.udp.WriteToUDPAddrPort(b, s.remote); err != nil {
		s.t.Logf("send: %v", err)
	}
}

func (s *session) events() {
	for {
		ev, ok := s.conn.NextEvent()
		if !ok {
			return
		}
		switch ev.Kind {
		case dtls.PeerCertificate:
			s.certs = ev.Certificates
			s.conn.Accept(s.now())
		case dtls.Data:
			s.data.Write(ev.Data)
		case dtls.Closed:
			s.closed, s.err = true, ev.Err
		}
	}
}

func (s *session) connected() bool { return s.conn.Overhead() > 0 && s.canSend() }

func (s *session) canSend() bool {
	_, err := s.conn.Export("EXPORTER-probe", nil, 1)
	return err == nil
}

func (s *session) connect() {
	s.t.Helper()
	s.run("the handshake", s.connected)
	s.t.Logf("%+v", s.conn.State())
}

func (s *session) send(text string) {
	s.t.Helper()
	b, err := s.conn.AppendRecord(nil, []byte(text))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(b)
}

func (s *session) expect(text string) {
	s.t.Helper()
	s.run("the text "+text, func() bool { return strings.Contains(s.data.String(), text) })
}

// close says goodbye and checks that a clean end was told.
func (s *session) close() {
	s.t.Helper()
	s.conn.Close(s.now())
	s.run("the end", func() bool { return s.closed })
	if s.err != nil {
		s.t.Errorf("closed with %v", s.err)
	}
}

// A program is another implementation's, with what it prints.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin interface{ Write([]byte) (int, error) }
	mu    sync.Mutex
	out   bytes.Buffer
	wrote chan struct{} // holds one when there is more
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.wrote <- struct{}{}:
	default:
	}
	return p.out.Write(b)
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func launch(t *testing.T, dir, name string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(name, args...), wrote: make(chan struct{}, 1)}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p, p
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.WaitDelay = time.Second // children may hold its output
		p.cmd.Wait()
		if t.Failed() {
			t.Logf("%s %s\n%s", name, strings.Join(args, " "), p.output())
		}
	})
	return p
}

func (p *program) printed(text string) func() bool {
	return func() bool { return strings.Contains(p.output(), text) }
}

// awaitOutput waits for a program to print something while nothing else goes on, and returns what the group of the expression is.
func (p *program) awaitOutput(expression string) string {
	p.t.Helper()
	want := regexp.MustCompile(expression)
	for timeout := time.After(patience); ; {
		if found := want.FindStringSubmatch(p.output()); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-p.wrote:
		case <-timeout:
			p.t.Fatalf("the program never printed %q", expression)
		}
	}
}

func (p *program) say(line string) {
	if _, err := p.stdin.Write([]byte(line + "\n")); err != nil {
		p.t.Fatal(err)
	}
}
