package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

const (
	lowerSocket pkt.Socket = 0
	upperSocket pkt.Socket = 5
)

// A bench is a layer in virtual time, and all that is above it.
type bench struct {
	t     testing.TB
	l     *dtlsLayer
	now   mono.Time
	out   *pkt.Batch
	jobs  []func()
	held  bool // jobs wait
	noJob bool // the pool is full

	heard     []string
	owners    map[pkt.Path]bool // clients with an allocation
	removed   []pkt.Path
	admitted  int
	full      bool
	silent    bool // nobody may be answered
	answers   int
	cert      *tls.Certificate
	askedFor  []string
	certPaths []pkt.Path
	failures  []*dtls.Error
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, now: 1, out: pkt.NewBatch(1<<20, 1024), owners: map[pkt.Path]bool{}, cert: certificate(t)}
	var err error
	if b.l, err = newDTLSLayer(b, rand.Reader); err != nil {
		t.Fatal(err)
	}
	b.l.cover(lowerSocket, upperSocket)
	return b
}

func certificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (b *bench) serve(_ mono.Time, d *pkt.Datagram) {
	if b.heard != nil {
		b.heard = append(b.heard, fmt.Sprintf("%v %v %s", d.Remote, d.Socket, d.Payload))
	}
}
func (b *bench) hasClient(path pkt.Path) bool             { return b.owners[path] }
func (b *bench) removeClient(_ mono.Time, path pkt.Path)  { b.removed = append(b.removed, path) }
func (b *bench) mayAnswer(_ mono.Time, _ netip.Addr) bool { b.answers++; return !b.silent }
func (b *bench) dismiss(netip.Prefix)                     { b.admitted-- }
func (b *bench) failed(why *dtls.Error)                   { b.failures = append(b.failures, why) }
func (b *bench) touch()                                   {}
func (b *bench) batch() *pkt.Batch                        { return b.out }

func (b *bench) admit(netip.Prefix) bool {
	if b.full {
		return false
	}
	b.admitted++
	return true
}

func (b *bench) certificate(serverName string, path pkt.Path) *tls.Certificate {
	b.askedFor, b.certPaths = append(b.askedFor, serverName), append(b.certPaths, path)
	return b.cert
}

func (b *bench) submit(job func(), then func(now mono.Time)) bool {
	if b.noJob {
		return false
	}
	b.jobs = append(b.jobs, func() { job(); then(b.now) })
	return true
}

// settle runs the jobs, and returns what the layer sends.
func (b *bench) settle() (sent []pkt.Transmit) {
	b.t.Helper()
	for {
		if b.l.appendTransmit(b.now, b.out) {
			b.t.Fatal("the batch is full")
		}
		for _, t := range b.out.Transmits() {
			t.Payload = bytes.Clone(t.Payload)
			sent = append(sent, t)
		}
		b.out.Reset()
		if len(b.jobs) == 0 || b.held {
			return sent
		}
		job := b.jobs[0]
		b.jobs = b.jobs[1:]
		job()
	}
}

// wait lets time pass.
func (b *bench) wait(d time.Duration) (sent []pkt.Transmit) {
	b.t.Helper()
	sent = b.settle()
	end := b.now.Add(d)
	for b.l.nextTimeout() <= end {
		at := b.l.nextTimeout()
		b.now = max(b.now, at)
		b.l.handleTimeout(b.now)
		sent = append(sent, b.settle()...)
		if b.l.nextTimeout() <= at {
			b.t.Fatalf("the timer of %v does not move on", at)
		}
	}
	b.now = end
	return sent
}

// A caller is a client on DTLS.
type caller struct {
	*bench
	*dtls.Conn
	path  pkt.Path
	heard []string
	open  bool
	gone  bool
	certs [][]byte
}

func (b *bench) caller(from string, change ...func(*dtls.Config)) *caller {
	b.t.Helper()
	cfg := &dtls.Config{Entropy: rand.Reader, AnonymousClient: true, Groups: []dtls.Group{dtls.X25519}}
	for _, f := range change {
		f(cfg)
	}
	conn, err := dtls.New(dtls.Client, cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return &caller{bench: b, Conn: conn, path: pkt.Path{
		Socket: lowerSocket, Local: netip.MustParseAddrPort("198.41.0.4:5349"), Remote: netip.MustParseAddrPort(from),
	}}
}

func version(v dtls.Version) func(*dtls.Config) {
	return func(c *dtls.Config) { c.MinVersion, c.MaxVersion = v, v }
}

// says returns what the client has to say of itself.
func (c *caller) says() (list [][]byte) {
	c.RunJobs(c.now)
	for {
		b := c.AppendDatagram(nil, c.now)
		if len(b) == 0 {
			return list
		}
		list = append(list, b)
	}
}

// send hands in what is meant for the layer.
func (c *caller) send(list ...[]byte) {
	c.t.Helper()
	for _, raw := range list {
		d := &pkt.Datagram{Path: c.path, Payload: bytes.Clone(raw)}
		if !c.l.takes(d) {
			c.t.Fatalf("not taken for DTLS: %x", raw[:min(len(raw), 16)])
		}
		c.l.handle(c.now, d)
	}
}

// take hears what is for this client.
func (c *caller) take(sent []pkt.Transmit) {
	c.t.Helper()
	for _, t := range sent {
		if t.Path != c.path {
			continue
		}
		c.HandleDatagram(c.now, t.Payload)
		c.RunJobs(c.now)
		for ev, ok := c.NextEvent(); ok; ev, ok = c.NextEvent() {
			switch ev.Kind {
			case dtls.PeerCertificate:
				c.certs = ev.Certificates
				c.Accept(c.now)
			case dtls.Connected:
				c.open = true
			case dtls.Data:
				c.heard = append(c.heard, string(ev.Data))
			case dtls.Closed:
				c.gone = true
			}
		}
	}
}

// connect does a handshake.
func (c *caller) connect() {
	c.t.Helper()
	for range 10 {
		c.send(c.says()...)
		c.take(c.settle())
		if a := c.l.associations[c.upper()]; c.open && a != nil && a.conn != nil && a.next == nil {
			return
		}
	}
	c.t.Fatal("no connection")
}

// upper is where the client is, as seen from above.
func (c *caller) upper() pkt.Path {
	p := c.path
	p.Socket = upperSocket
	return p
}

func (c *caller) record(text string) []byte {
	c.t.Helper()
	b, err := c.AppendRecord(nil, []byte(text))
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// down sends data from above.
func (b *bench) down(c *caller, texts ...string) {
	var ts []*pkt.Transmit
	for _, text := range texts {
		ts = append(ts, &pkt.Transmit{Path: c.upper(), Payload: []byte(text)})
	}
	var sent []pkt.Transmit
	for _, t := range b.l.seal(b.now, ts) {
		t.Socket = lowerSocket // as the loop does
		sent = append(sent, *t)
	}
	c.take(sent)
}

func TestDTLSBetweenSocketAndEngine(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b := newBench(t)
		b.heard = []string{}
		ada, bob := b.caller("5.9.0.1:1000", version(v)), b.caller("[2620:fe::1]:1000", version(v))
		ada.connect()
		bob.connect()
		ada.send(ada.record("from ada"))
		bob.send(bob.record("from bob"))
		if want := []string{"5.9.0.1:1000 5 from ada", "[2620:fe::1]:1000 5 from bob"}; !slices.Equal(b.heard, want) {
			t.Errorf("%v: above was heard %q, want %q", v, b.heard, want)
		}
		b.down(ada, "to ada", "and more")
		b.down(bob, "to bob")
		if !slices.Equal(ada.heard, []string{"to ada", "and more"}) || !slices.Equal(bob.heard, []string{"to bob"}) {
			t.Errorf("%v: heard %q and %q", v, ada.heard, bob.heard)
		}
		if got := b.l.count; got.Associations != 2 || got.Handshakes != 2 || got.Failed+got.Refused != 0 || b.admitted != 2 || b.l.underWay != 0 {
			t.Errorf("%v: %+v, %d admitted, %d under way", v, got, b.admitted, b.l.underWay)
		}
	}
}

// What is in the clear is not for the layer, nor is what comes on another socket: peers of clients speak DTLS too.
func TestOnlyDTLSOfClientsIsTaken(t *testing.T) {
	l := newBench(t).l
	for _, c := range []struct {
		socket pkt.Socket
		first  byte
		want   bool
	}{{0, 20, true}, {0, 22, true}, {0, 63, true}, {0, 19, false}, {0, 64, false}, {0, 0, false}, {0, 1, false}, {1, 22, false}, {5, 22, false}, {-1, 22, false}} {
		if got := l.takes(&pkt.Datagram{Path: pkt.Path{Socket: c.socket}, Payload: []byte{c.first}}); got != c.want {
			t.Errorf("first byte %d on socket %d: %v", c.first, c.socket, got)
		}
	}
	if l.takes(&pkt.Datagram{Path: pkt.Path{Socket: lowerSocket}}) {
		t.Error("an empty datagram is taken")
	}
}

// RFC 7350 section 4.6: "A TURN server using DTLS MUST implement the denial-of-service countermeasure described in
// Section 4.2.1 of [RFC6347]." Nothing is kept of a client that has sent no cookie, nor worked out for it, and the answer
// is short.
func TestNothingIsKeptOfStrangers(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b := newBench(t)
		for i := range 200 {
			c := b.caller(fmt.Sprintf("5.9.%d.1:1000", i), version(v))
			hello := c.says()
			c.send(hello...)
			sent := b.settle()
			if len(sent) != 1 || sent[0].Path != c.path || len(sent[0].Payload) > maxAnswer {
				t.Fatalf("%v: %d datagrams answer %d bytes", v, len(sent), len(hello[0]))
			}
		}
		if len(b.l.associations) != 0 || b.admitted != 0 || b.answers != 200 || b.l.count.Cookies != 200 || b.l.nextTimeout() != mono.Never {
			t.Errorf("%v: %d associations, %d admitted, %d asked for leave, %+v", v, len(b.l.associations), b.admitted, b.answers, b.l.count)
		}
		b.silent = true // the prefix has had its share
		c := b.caller("5.9.0.1:1000", version(v))
		c.send(c.says()...)
		if sent := b.settle(); len(sent) != 0 || len(b.l.associations) != 0 {
			t.Errorf("%v: %d datagrams without leave", v, len(sent))
		}
	}
}

// A group for which the client has no share is asked for together with the cookie: the longest answer to a stranger.
func TestAClientThatHasNoShareIsAsked(t *testing.T) {
	b := newBench(t)
	b.l.cfg.Groups = []dtls.Group{dtls.P384}
	c := b.caller("5.9.0.1:1000", version(dtls.Version13), func(c *dtls.Config) { c.Groups = []dtls.Group{dtls.X25519, dtls.P384} })
	c.send(c.says()...)
	sent := b.settle()
	if len(sent) != 1 || len(sent[0].Payload) != maxAnswer {
		t.Fatalf("%d answers, the longest there is has %d bytes", len(sent), maxAnswer)
	}
	c.take(sent)
	c.connect()
}

// A ClientHello in pieces has to be kept until it is whole: of few at a time and not for long, so that nobody is kept out
// by those who send first pieces in all names.
func TestPiecesOfHellosAreBounded(t *testing.T) {
	b := newBench(t)
	small := func(c *dtls.Config) { c.MTU = 128 }
	for i := range 3 * maxUnproven {
		c := b.caller(fmt.Sprintf("5.9.%d.1:1000", i), small)
		c.send(c.says()[0])
		b.settle()
	}
	if n := len(b.l.associations); n != maxUnproven {
		t.Errorf("pieces of %d clients are kept, want %d", n, maxUnproven)
	}
	b.caller("5.10.0.1:1000", small).connect()
	b.wait(unprovenTime)
	if n := len(b.l.associations); n != 1 || b.admitted != 1 {
		t.Errorf("%d associations are left, %d admitted; want the one that is open", n, b.admitted)
	}
}

// What cannot be agreed on is said, if the client may be answered, and kept no more than a cookie's absence.
func TestAHelloThatOffersNothingIsRefused(t *testing.T) {
	for _, silent := range []bool{false, true} {
		b := newBench(t)
		b.l.cfg.MaxVersion = dtls.Version12
		b.silent = silent
		c := b.caller("5.9.0.1:1000", version(dtls.Version13))
		c.send(c.says()...)
		sent := b.settle()
		if len(sent) != map[bool]int{false: 1, true: 0}[silent] || len(b.l.associations) != 0 || b.l.count.Failed != 0 {
			t.Errorf("silent %v: %d datagrams, %+v", silent, len(sent), b.l.count)
		}
	}
}

// Handshakes are bounded in all, for each source, by what the relay admits and by the pool that works for them.
func TestHandshakesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		limit int
		set   func(*bench)
		from  func(i int) string
	}{
		"source":   {maxHandshakesPerSource, func(*bench) {}, func(i int) string { return fmt.Sprintf("5.9.0.1:%d", 1000+i) }},
		"network":  {maxHandshakesPerSource, func(*bench) {}, func(i int) string { return fmt.Sprintf("[2620:fe:0:1::%d]:1", 1+i) }},
		"all":      {maxHandshakes, func(*bench) {}, func(i int) string { return fmt.Sprintf("5.9.%d.%d:1000", i>>8, i&0xff) }},
		"the pool": {0, func(b *bench) { b.noJob = true }, func(i int) string { return fmt.Sprintf("5.9.0.%d:1000", i) }},
		"clients":  {0, func(b *bench) { b.full = true }, func(i int) string { return fmt.Sprintf("5.9.0.%d:1000", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c.set(b)
			b.held = true
			for i := range c.limit + 5 {
				call := b.caller(c.from(i))
				for range 2 { // the hello, and the one with a cookie
					call.send(call.says()...)
					call.take(b.settle())
				}
			}
			if b.l.underWay != c.limit || b.l.count.Refused != 5 || len(b.l.associations) != c.limit || b.admitted != c.limit {
				t.Errorf("%d under way, %d associations, %d admitted, %+v; want %d and 5 refused",
					b.l.underWay, len(b.l.associations), b.admitted, b.l.count, c.limit)
			}
			// None of them goes on, and all are given up.
			b.wait(dtls.DefaultHandshakeTimeout + time.Second)
			if b.l.underWay != 0 || len(b.l.bySource) != 0 || len(b.l.associations) != 0 || b.admitted != 0 || b.l.count.Failed != uint64(c.limit) {
				t.Errorf("after their time: %d under way, %d associations, %d admitted, %+v", b.l.underWay, len(b.l.associations), b.admitted, b.l.count)
			}
			b.held = false
			b.settle() // the jobs come back to nobody
		})
	}
}

// An association ends when it is silent and has no allocation, and the client is told.
func TestIdleAssociationsEnd(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b := newBench(t)
		busy, owner, idle := b.caller("5.9.0.1:1000", version(v)), b.caller("5.9.0.2:1000", version(v)), b.caller("5.9.0.3:1000", version(v))
		for _, c := range []*caller{busy, owner, idle} {
			c.connect()
		}
		b.owners[owner.upper()] = true
		for range 6 {
			idle.take(b.wait(dtlsIdle / 3))
			busy.send(busy.record("still here"))
			b.settle()
		}
		if !idle.gone || !slices.Equal(b.removed, []pkt.Path{idle.upper()}) || b.l.count.Associations != 2 || b.admitted != 2 {
			t.Errorf("%v: told %v, removed %v, %+v", v, idle.gone, b.removed, b.l.count)
		}
		b.owners = nil
		b.wait(2 * dtlsIdle)
		if b.l.count.Associations != 0 || len(b.l.associations) != 0 || b.admitted != 0 || b.l.nextTimeout() != mono.Never {
			t.Errorf("%v: in the end %+v", v, b.l.count)
		}
	}
}

// A client that says goodbye has no allocation any more, and nothing that is still under way to it leaves.
func TestAClientThatLeavesIsForgotten(t *testing.T) {
	b := newBench(t)
	c := b.caller("5.9.0.1:1000")
	c.connect()
	c.Close(b.now)
	c.send(c.says()...)
	b.settle()
	if !slices.Equal(b.removed, []pkt.Path{c.upper()}) || len(b.l.associations) != 0 || b.admitted != 0 {
		t.Errorf("removed %v, %d associations", b.removed, len(b.l.associations))
	}
	if left := b.l.seal(b.now, []*pkt.Transmit{{Path: c.upper(), Payload: []byte("late")}}); len(left) != 0 {
		t.Error("what was for a client on DTLS leaves in the clear")
	}
	if b.l.count.Dropped != 1 {
		t.Errorf("%d dropped", b.l.count.Dropped)
	}
}

// RFC 6347 section 4.2.8: "a server [...] SHOULD NOT destroy the existing association until the client has demonstrated
// reachability either by completing a cookie exchange or by completing a complete handshake". A cookie can be repeated by
// whoever saw it; so it takes a handshake.
func TestAClientThatBeginsAnew(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b := newBench(t)
		b.heard = []string{}
		first := b.caller("5.9.0.1:1000", version(v))
		hello := first.says()
		first.send(hello...)
		first.take(b.settle())
		again := first.says() // with the cookie
		first.send(again...)
		first.take(b.settle())
		first.connect()

		first.send(hello...)
		first.send(again...)
		b.settle()
		first.send(first.record("still me"))
		b.down(first, "and still you")
		if len(b.heard) != 1 || len(first.heard) != 1 || len(b.removed) != 0 {
			t.Fatalf("%v: after a repeated hello: heard %q above and %q below, removed %v", v, b.heard, first.heard, b.removed)
		}
		b.wait(dtls.DefaultHandshakeTimeout + time.Second)
		if b.l.underWay != 0 || b.l.count.Associations != 1 {
			t.Errorf("%v: %d under way, %+v", v, b.l.underWay, b.l.count)
		}

		second := b.caller("5.9.0.1:1000", version(v))
		second.connect()
		if !slices.Equal(b.removed, []pkt.Path{first.upper()}) || b.l.count.Associations != 1 || b.admitted != 1 {
			t.Errorf("%v: a new client in the place of the old: removed %v, %+v", v, b.removed, b.l.count)
		}
		second.send(second.record("another"))
		if b.heard[len(b.heard)-1] != "5.9.0.1:1000 5 another" {
			t.Errorf("%v: heard %q", v, b.heard)
		}
	}
}

// What is shown is chosen anew at each handshake, so that a renewed certificate is used at once.
func TestTheCertificateIsChosenAtEachHandshake(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b := newBench(t)
		for i, name := range []string{"turn.example", ""} {
			c := b.caller(fmt.Sprintf("5.9.0.%d:1000", i), version(v), func(cfg *dtls.Config) { cfg.ServerName = name })
			b.cert = certificate(t)
			c.connect()
			if !bytes.Equal(c.certs[0], b.cert.Certificate[0]) {
				t.Errorf("%v: not the newest certificate", v)
			}
			if b.askedFor[i] != name || b.certPaths[i] != c.upper() {
				t.Errorf("%v: asked for %q at %v", v, b.askedFor[i], b.certPaths[i])
			}
		}
		b.cert = nil
		c := b.caller("5.9.0.9:1000", version(v))
		for range 3 {
			c.send(c.says()...)
			c.take(b.settle())
		}
		if c.open || len(b.failures) == 0 || b.failures[0].Fault != dtls.FaultLocal || len(b.l.associations) != 2 {
			t.Errorf("%v: without a certificate: %+v, %v", v, b.l.count, b.failures)
		}
	}
}

// Whatever comes, nothing panics, and nothing is kept.
func TestRubbishOnTheDTLSPort(t *testing.T) {
	b := newBench(t)
	c := b.caller("5.9.0.1:1000")
	for first := range 256 {
		for _, n := range []int{1, 12, 13, 14, 25, 26, 200} {
			raw := bytes.Repeat([]byte{byte(first)}, n)
			d := &pkt.Datagram{Path: c.path, Payload: raw}
			if b.l.takes(d) {
				b.l.handle(b.now, d)
			}
			if n > 5 {
				d.Payload = append([]byte{22, 0xfe, 0xfd, 0, 0}, raw[5:]...)
				b.l.handle(b.now, d)
			}
			b.settle()
		}
	}
	b.wait(time.Minute)
	if len(b.l.associations) != 0 || b.l.count.Dropped == 0 {
		t.Errorf("%d associations, %+v", len(b.l.associations), b.l.count)
	}
}

// Handshakes and data that are lost, repeated, changed and cut on their way, at any pace: nothing panics, and in the end nothing
// is left of anybody.
func FuzzDTLSLayer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
	f.Fuzz(func(t *testing.T, script []byte) {
		b := newBench(t)
		var callers []*caller
		for i, v := range []dtls.Version{dtls.Version12, dtls.Version13, dtls.Version13} {
			callers = append(callers, b.caller(fmt.Sprintf("5.9.0.%d:1000", i/2), version(v))) // two of them at one address
		}
		var before [][]byte
		deliver := func(c *caller, raw []byte) {
			d := &pkt.Datagram{Path: c.path, Payload: bytes.Clone(raw)}
			if b.l.takes(d) {
				b.l.handle(b.now, d)
			}
		}
		for i, op := range script[:min(len(script), 200)] {
			c := callers[int(op>>4)%len(callers)]
			said := c.says()
			if record, err := c.AppendRecord(nil, []byte("data")); err == nil {
				said = append(said, record)
			}
			for _, raw := range said {
				switch op % 8 {
				case 0, 1, 2:
					deliver(c, raw)
				case 3: // lost
				case 4:
					deliver(c, raw)
					deliver(c, raw)
				case 5:
					raw = bytes.Clone(raw)
					raw[(i*31+int(op))%len(raw)] ^= 1 << (i % 8)
					deliver(c, raw)
				case 6:
					deliver(c, raw[:len(raw)*int(op)/256])
				case 7:
					deliver(callers[0], raw) // in another's name
				}
				before = append(before, raw)
			}
			if op&8 != 0 && len(before) > 0 {
				deliver(c, before[i%len(before)])
			}
			sent := b.wait(time.Duration(op) * 20 * time.Millisecond)
			for _, c := range callers {
				c.take(sent)
				if op&4 != 0 {
					c.HandleTimeout(b.now)
				}
			}
			b.l.seal(b.now, []*pkt.Transmit{{Path: c.upper(), Payload: []byte("down")}})
		}
		b.wait(10 * time.Minute)
		l := b.l
		if len(l.associations) != 0 || b.admitted != 0 || l.underWay != 0 || len(l.bySource) != 0 || l.count.Associations != 0 || l.nextTimeout() != mono.Never || len(l.touched) != 0 {
			t.Fatalf("%d associations, %d admitted, %d under way, %+v", len(l.associations), b.admitted, l.underWay, l.count)
		}
	})
}

// A relayed packet costs no allocation in either direction.
func TestDTLSAllocatesNothing(t *testing.T) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		up, down := perPacket(t, v)
		if n := testing.AllocsPerRun(500, up); n != 0 {
			t.Errorf("%v: up allocates %v times", v, n)
		}
		if n := testing.AllocsPerRun(500, down); n != 0 {
			t.Errorf("%v: down allocates %v times", v, n)
		}
	}
}

// perPacket returns what the layer does for one packet of 1200 bytes each way.
func perPacket(t testing.TB, v dtls.Version) (up, down func()) {
	b := newBench(t)
	c := b.caller("5.9.0.1:1000", version(v))
	c.connect()
	payload, record := make([]byte, 1200), make([]byte, 0, 1300)
	d := &pkt.Datagram{Path: c.path}
	out := pkt.NewBatch(1<<16, 16)
	up = func() {
		record, _ = c.AppendRecord(record[:0], payload)
		d.Payload = record
		b.l.handle(b.now, d)
		b.l.appendTransmit(b.now, out)
	}
	transmit := &pkt.Transmit{}
	ts := []*pkt.Transmit{transmit}
	down = func() {
		*transmit = pkt.Transmit{Path: c.upper(), Payload: payload}
		if left := b.l.seal(b.now, ts); len(left) != 1 || len(left[0].Payload) <= len(payload) {
			t.Fatal("not sealed")
		}
	}
	return up, down
}

// BenchmarkDTLS is what the layer adds to a relayed packet: up with the client's own work of sealing it, as each record can
// be read but once.
func BenchmarkDTLS(b *testing.B) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		up, down := perPacket(b, v)
		for _, way := range []struct {
			name string
			do   func()
		}{{"up, sealed and opened", up}, {"down", down}} {
			b.Run(fmt.Sprintf("%v/%s", v, way.name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(1200)
				for b.Loop() {
					way.do()
				}
			})
		}
	}
}

// BenchmarkStranger is what a ClientHello costs whose sender never comes back.
func BenchmarkStranger(b *testing.B) {
	for _, v := range []dtls.Version{dtls.Version12, dtls.Version13} {
		b.Run(v.String(), func(b *testing.B) {
			x := newBench(b)
			c := x.caller("5.9.0.1:1000", version(v))
			hello := c.says()[0]
			buf := make([]byte, len(hello))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, hello)
				x.l.handle(x.now, &pkt.Datagram{Path: c.path, Payload: buf})
				x.l.appendTransmit(x.now, x.out)
				x.out.Reset()
			}
		})
	}
}
