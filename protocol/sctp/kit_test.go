package sctp

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/simnet"
	"github.com/parley-rtc/parley/protocol/mono"
	"github.com/parley-rtc/parley/protocol/pkt"
)

// entropy is a seeded reader.
func entropy(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return rand.NewChaCha8(key)
}

// end is an association on a virtual host, with a program that reads all events.
type end struct {
	*Association
	t      *testing.T
	net    *simnet.Network
	driver *simnet.Driver
	local  netip.AddrPort
	remote netip.AddrPort
	rx, tx int // packets

	events  []Event // but messages, with data copied
	got     map[StreamID][]string
	hashed  map[StreamID][][32]byte // of messages, if hash is set
	hash    bool
	unread  bool                 // messages are not consumed
	at      map[string]mono.Time // when a message came, by its data or their hash
	onEvent func(now mono.Time, e Event)
	mangle  func(packet []byte) []byte // sees what is sent; nil drops it
}

func (e *end) HandleDatagram(now mono.Time, d *pkt.Datagram) {
	e.rx++
	e.HandlePacket(now, d.Payload)
}

func (e *end) AppendTransmit(now mono.Time, b *pkt.Batch) (more bool) {
	for {
		buf := b.Reserve(e.cfg.MaxPacket)
		if buf == nil {
			return true
		}
		p := e.AppendPacket(buf, now)
		if len(p) == 0 {
			return false
		}
		if len(p) > e.cfg.MaxPacket {
			e.t.Fatalf("a packet of %d bytes, the maximum is %d", len(p), e.cfg.MaxPacket)
		}
		e.tx++
		if e.mangle != nil {
			if p = e.mangle(p); p == nil {
				continue
			}
			b.Append(pkt.Transmit{Path: pkt.Path{Remote: e.remote}, Unfragmented: e.Unfragmented(), Payload: p})
			continue
		}
		b.Commit(pkt.Transmit{Path: pkt.Path{Remote: e.remote}, Unfragmented: e.Unfragmented(), Payload: p})
	}
}

// read is the program: it takes all events.
func (e *end) read(now mono.Time) (changed bool) {
	for {
		ev, ok := e.NextEvent()
		if !ok {
			return changed
		}
		changed = true
		if ev.Kind == Message {
			if e.hash {
				sum := sha256.Sum256(ev.Data)
				e.hashed[ev.Stream] = append(e.hashed[ev.Stream], sum)
				e.at[string(sum[:])] = now
			} else {
				e.got[ev.Stream] = append(e.got[ev.Stream], string(ev.Data))
				if _, twice := e.at[string(ev.Data)]; !twice {
					e.at[string(ev.Data)] = now
				}
			}
			if !e.unread {
				e.Consume(len(ev.Data))
			}
		} else {
			e.events = append(e.events, ev)
		}
		if e.onEvent != nil {
			e.onEvent(now, ev)
		}
	}
}

func (e *end) now() mono.Time { return e.net.Now() }

// sends sends on a channel and fails the test if that is refused.
func (e *end) sends(id StreamID, data string) {
	e.t.Helper()
	if err := e.Send(e.now(), id, false, []byte(data)); err != nil {
		e.t.Fatalf("sending on %d: %v", id, err)
	}
	e.driver.Poll()
}

func (e *end) opens(cfg ChannelConfig) StreamID {
	e.t.Helper()
	id, err := e.Open(e.now(), cfg)
	if err != nil {
		e.t.Fatalf("opening %+v: %v", cfg, err)
	}
	e.driver.Poll()
	return id
}

func (e *end) closes(id StreamID) {
	e.Close(e.now(), id)
	e.driver.Poll()
}

// kinds returns the kinds of the events so far, with the streams of those of channels.
func (e *end) kinds() string {
	s := ""
	for i, ev := range e.events {
		if i > 0 {
			s += " "
		}
		s += ev.Kind.String()
		switch ev.Kind {
		case ChannelOpen, ChannelClosing, ChannelClosed, BufferedAmountLow:
			s += fmt.Sprint(":", ev.Stream)
		}
	}
	return s
}

// duo is two ends of a path.
type duo struct {
	net  *simnet.Network
	a, b *end
	link *simnet.Link // a's; what it does upwards is done to what a sends
}

// newDuo makes two ends that have not begun; a is the client.
func newDuo(t *testing.T, p simnet.Path, configure ...func(cfg *Config)) *duo {
	t.Helper()
	return seededDuo(t, 1, p, configure...)
}

func seededDuo(t *testing.T, seed uint64, p simnet.Path, configure ...func(cfg *Config)) *duo {
	t.Helper()
	d := &duo{net: simnet.New(seed)}
	hosts := [2]*simnet.Host{
		d.net.Internet().Host("a", p, "192.0.2.1"),
		d.net.Internet().Host("b", simnet.Path{}, "192.0.2.2"),
	}
	d.link = hosts[0].Link()
	for i, h := range hosts {
		cfg := Config{Rand: entropy(seed<<8 + uint64(i)), Server: i == 1}
		for _, c := range configure {
			c(&cfg)
		}
		a, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		e := &end{
			Association: a, t: t, net: d.net,
			got: map[StreamID][]string{}, at: map[string]mono.Time{}, hashed: map[StreamID][][32]byte{},
			local:  netip.AddrPortFrom(h.Addrs()[0], 9),
			remote: netip.AddrPortFrom(hosts[1-i].Addrs()[0], 9),
		}
		e.driver, err = h.Run(e, e.local)
		if err != nil {
			t.Fatal(err)
		}
		e.driver.After = e.read
		if i == 0 {
			d.a = e
		} else {
			d.b = e
		}
	}
	return d
}

// connect lets both ends begin and waits until both stand.
func (d *duo) connect() *duo {
	d.a.t.Helper()
	for _, e := range []*end{d.a, d.b} {
		e.Connect(e.now())
		e.driver.Poll()
	}
	d.until("established", func() bool { return d.a.state == stateEstablished && d.b.state == stateEstablished })
	return d
}

// until lets time pass until something is true, and fails the test if that takes longer than ten minutes.
func (d *duo) until(what string, is func() bool) {
	d.a.t.Helper()
	if !d.net.RunUntil(is, 10*time.Minute) {
		d.a.t.Fatalf("not %s after ten minutes: a has %s, %+v; b has %s, %+v", what, d.a.kinds(), d.a.Stats(), d.b.kinds(), d.b.Stats())
	}
}
