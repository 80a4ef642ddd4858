package dtls

import (
	"bytes"
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// entropy is a reader whose bytes follow from a seed.
func entropy(seed string) *rand.ChaCha8 { return rand.NewChaCha8(sha256.Sum256([]byte(seed))) }

var testCertificates = map[string]*Certificate{}

// certificateOf returns a self-signed certificate of a name, the same each time.
func certificateOf(t testing.TB, name string) *Certificate {
	t.Helper()
	if c := testCertificates[name]; c != nil {
		return c
	}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c, err := GenerateCertificate(entropy("certificate "+name), from, from.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	testCertificates[name] = c
	return c
}

// configOf returns a Config of defaults.
func configOf(t testing.TB, name string, seed uint64) *Config {
	return &Config{
		Entropy:      entropy(fmt.Sprint(name, seed)),
		Certificate:  certificateOf(t, name),
		SRTPProfiles: DefaultSRTPProfiles(),
	}
}

// only pins a Config to one version.
func only(c *Config, v Version) *Config {
	c.MinVersion, c.MaxVersion = v, v
	return c
}

// An end is a connection under test, and what became of it.
type end struct {
	*Conn
	name      string
	certs     [][]byte
	connected int
	data      []string
	closed    int
	err       error

	hold    bool // the caller decides on the certificate itself
	noJobs  bool // the caller runs jobs itself
	sent    int  // datagrams
	largest int
}

// A conditions is what a link does to datagrams.
type conditions struct {
	delay     time.Duration
	jitter    time.Duration
	loss, dup float64
}

// A pair is two ends with a link between them, in virtual time.
type pair struct {
	t      testing.TB
	now    mono.Time
	rng    *rand.Rand
	link   conditions
	client *end
	server *end
	queue  arrivals
	serial int

	// filter may change, drop (nil) or multiply what one end sends.
	filter func(from *end, datagram []byte) [][]byte
}

type arriving struct {
	at     mono.Time
	serial int
	to     *end
	b      []byte
}

type arrivals []arriving

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].serial < a[j].serial
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arriving)) }
func (a *arrivals) Pop() any {
	x := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return x
}

func newPair(t testing.TB, client, server *Config) *pair {
	t.Helper()
	p := &pair{t: t, now: 1_000_000, rng: rand.New(rand.NewPCG(1, 2)), link: conditions{delay: 10 * time.Millisecond}}
	p.client = &end{Conn: mustNew(t, Client, client), name: "client"}
	p.server = &end{Conn: mustNew(t, Server, server), name: "server"}
	return p
}

func mustNew(t testing.TB, r Role, cfg *Config) *Conn {
	t.Helper()
	c, err := New(r, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *pair) other(e *end) *end {
	if e == p.client {
		return p.server
	}
	return p.client
}

// settle lets both ends say what they have to say, now.
func (p *pair) settle() {
	for _, e := range []*end{p.client, p.server} {
		if !e.noJobs {
			e.RunJobs(p.now)
		}
		p.events(e)
		for {
			b := e.AppendDatagram(nil, p.now)
			if len(b) == 0 {
				break
			}
			p.send(e, b)
		}
	}
}

func (p *pair) events(e *end) {
	for {
		ev, ok := e.NextEvent()
		if !ok {
			return
		}
		switch ev.Kind {
		case PeerCertificate:
			e.certs = ev.Certificates
			if !e.hold {
				e.Accept(p.now)
			}
		case Connected:
			e.connected++
		case Data:
			e.data = append(e.data, string(ev.Data))
			clear(ev.Data) // borrowed: whoever keeps it sees
		case Closed:
			e.closed++
			e.err = ev.Err
		}
		if e.closed > 0 && ev.Kind != Closed {
			p.t.Errorf("%s: event %v after Closed", e.name, ev.Kind)
		}
	}
}

func (p *pair) send(from *end, b []byte) {
	from.sent++
	from.largest = max(from.largest, len(b))
	datagrams := [][]byte{b}
	if p.filter != nil {
		datagrams = p.filter(from, b)
	}
	for _, d := range datagrams {
		copies := 1
		if p.rng.Float64() < p.link.dup {
			copies = 2
		}
		if p.rng.Float64() < p.link.loss {
			copies = 0
		}
		for range copies {
			delay := p.link.delay
			if p.link.jitter > 0 {
				delay += time.Duration(p.rng.Int64N(int64(p.link.jitter)))
			}
			p.serial++
			heap.Push(&p.queue, arriving{p.now.Add(delay), p.serial, p.other(from), slices.Clone(d)})
		}
	}
}

// sendData puts a record of application data on the link.
func (p *pair) sendData(from *end, s string) {
	p.t.Helper()
	b, err := from.AppendRecord(nil, []byte(s))
	if err != nil {
		p.t.Fatalf("%s: AppendRecord: %v", from.name, err)
	}
	p.send(from, b)
}

// step goes to the next thing that happens; false if nothing will before a limit.
func (p *pair) step(limit mono.Time) bool {
	p.settle()
	next := mono.Min(p.client.NextTimeout(), p.server.NextTimeout())
	if len(p.queue) > 0 {
		next = mono.Min(next, p.queue[0].at)
	}
	if next == mono.Never || next > limit {
		return false
	}
	p.now = max(p.now, next)
	for len(p.queue) > 0 && p.queue[0].at <= p.now {
		a := heap.Pop(&p.queue).(arriving)
		a.to.HandleDatagram(p.now, a.b)
		if !a.to.noJobs {
			a.to.RunJobs(p.now)
		}
		p.events(a.to)
		for i := range a.b {
			a.b[i] = 0xee // the datagram is the caller's again
		}
	}
	for _, e := range []*end{p.client, p.server} {
		if t := e.NextTimeout(); t <= p.now {
			e.HandleTimeout(p.now)
			if e.NextTimeout() == t && t != mono.Never {
				p.t.Fatalf("%s: NextTimeout stays at %d after HandleTimeout", e.name, t)
			}
		}
	}
	p.settle()
	return true
}

// runUntil steps until done, or for so long of virtual time.
func (p *pair) runUntil(limit time.Duration, done func() bool) bool {
	end := p.now.Add(limit)
	p.settle()
	for !done() {
		if !p.step(end) {
			return done()
		}
	}
	return true
}

func (p *pair) bothConnected() bool { return p.client.connected == 1 && p.server.connected == 1 }
func (p *pair) bothClosed() bool    { return p.client.closed == 1 && p.server.closed == 1 }

// connect runs the handshake, and fails the test if it does not come to its end.
func (p *pair) connect() {
	p.t.Helper()
	if !p.runUntil(time.Minute, p.bothConnected) {
		p.t.Fatalf("not connected: client %v (%v, %+v), server %v (%v, %+v)", p.client.connected, p.client.err, p.client.stats,
			p.server.connected, p.server.err, p.server.stats)
	}
}

// idle runs until nothing more is due in the next while.
func (p *pair) idle(d time.Duration) {
	end := p.now.Add(d)
	p.runUntil(d, func() bool { return false })
	p.now = max(p.now, end)
}

// checkAgreement compares what must be the same on both sides, and exchanges data both ways.
func (p *pair) checkAgreement() {
	p.t.Helper()
	if p.client.State() != p.server.State() {
		p.t.Errorf("states differ: client %+v, server %+v", p.client.State(), p.server.State())
	}
	for _, context := range [][]byte{nil, {}, []byte("context")} {
		a, errA := p.client.Export("EXPORTER-test", context, 40)
		b, errB := p.server.Export("EXPORTER-test", context, 40)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			p.t.Errorf("exporters with context %q: %x (%v), %x (%v)", context, a, errA, b, errB)
		}
	}
	if p.client.State().SRTPProfile != 0 {
		cs, cr, err := p.client.SRTPKeys()
		ss, sr, err2 := p.server.SRTPKeys()
		if err != nil || err2 != nil || !bytes.Equal(cs, sr) || !bytes.Equal(cr, ss) || bytes.Equal(cs, cr) {
			p.t.Errorf("SRTP keys: client %x %x, server %x %x (%v, %v)", cs, cr, ss, sr, err, err2)
		}
	}
	if !bytes.Equal(p.client.certs[0], p.server.cfg.Certificate.Chain[0]) || !bytes.Equal(p.server.certs[0], p.client.cfg.Certificate.Chain[0]) {
		p.t.Error("certificates do not arrive as they are")
	}
}

// exchange sends numbered data both ways over a perfect link and checks that all of it comes.
func (p *pair) exchange(n int) {
	p.t.Helper()
	link, filter := p.link, p.filter
	p.link, p.filter = conditions{delay: link.delay}, nil
	defer func() { p.link, p.filter = link, filter }()
	for _, e := range []*end{p.client, p.server} {
		o := p.other(e)
		before := len(o.data)
		for i := range n {
			p.sendData(e, fmt.Sprintf("%s says %d", e.name, i))
		}
		p.runUntil(10*time.Second, func() bool { return len(o.data) >= before+n })
		for i := range n {
			if want := fmt.Sprintf("%s says %d", e.name, i); before+i >= len(o.data) || o.data[before+i] != want {
				p.t.Fatalf("%s got %q, want %q at %d", o.name, o.data[before:], want, i)
			}
		}
	}
}

// recordsOf cuts a datagram into its records, without reading them.
func recordsOf(b []byte) (list [][]byte) {
	for len(b) > 0 {
		n := 0
		if b[0]&unifiedMask == unifiedBits {
			n = 5 + int(binary.BigEndian.Uint16(b[3:]))
		} else {
			n = plainHeader + int(binary.BigEndian.Uint16(b[11:]))
		}
		list = append(list, b[:n])
		b = b[n:]
	}
	return list
}
