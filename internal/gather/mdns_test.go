package gather

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// recorder is a membership that keeps what is sent.
type recorder struct {
	sent [][]byte
	to   []netip.AddrPort // invalid: the group
}

func (r *recorder) Send(b []byte) { r.SendTo(b, netip.AddrPort{}) }

func (r *recorder) SendTo(b []byte, to netip.AddrPort) {
	r.sent, r.to = append(r.sent, b), append(r.to, to)
}

func (r *recorder) Close() error { return nil }

func service(names map[string]string) (*mdns, *recorder) {
	r := &recorder{}
	m := &mdns{conn: r, names: map[string]*published{}, waiting: map[string][]chan netip.Addr{}}
	for n, ip := range names {
		m.publish(n, netip.MustParseAddr(ip))
	}
	return m, r
}

func question(t testing.TB, id uint16, qs ...dnsmessage.Question) []byte {
	t.Helper()
	msg := dnsmessage.Message{Header: dnsmessage.Header{ID: id}, Questions: qs}
	b, err := msg.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ask(name string, kind dnsmessage.Type, class dnsmessage.Class) dnsmessage.Question {
	return dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: kind, Class: class}
}

// RFC 6762: what is answered, how, and to whom.
func TestMulticastAnswers(t *testing.T) {
	const in = dnsmessage.ClassINET
	group := netip.AddrPort{}
	peer, legacy := netip.MustParseAddrPort("192.168.1.9:5353"), netip.MustParseAddrPort("192.168.1.9:40000")
	for _, c := range []struct {
		what  string
		from  netip.AddrPort
		q     dnsmessage.Question
		to    *netip.AddrPort // nil: silence
		class dnsmessage.Class
		ttl   uint32
	}{
		{"section 6: \"responses MUST be sent to UDP port 5353 ... via multicast\"", peer, ask("four.local.", dnsmessage.TypeA, in), &group, in | 0x8000, 120},
		{"section 16: names are compared without regard to case", peer, ask("Four.LOCAL.", dnsmessage.TypeA, in), &group, in | 0x8000, 120},
		{"any type", peer, ask("six.local.", dnsmessage.TypeALL, dnsmessage.ClassANY), &group, in | 0x8000, 120},
		{"section 5.4: \"unicast-response\"", peer, ask("six.local.", dnsmessage.TypeAAAA, in|0x8000), &peer, in | 0x8000, 120},
		{"section 6.7: legacy", legacy, ask("four.local.", dnsmessage.TypeA, in), &legacy, in, 10},
		{"another family", peer, ask("four.local.", dnsmessage.TypeAAAA, in), nil, 0, 0},
		{"another name", peer, ask("five.local.", dnsmessage.TypeA, in), nil, 0, 0},
		{"another type", peer, ask("four.local.", dnsmessage.TypeTXT, in), nil, 0, 0},
		{"another class", peer, ask("four.local.", dnsmessage.TypeA, dnsmessage.ClassCHAOS), nil, 0, 0},
	} {
		m, r := service(map[string]string{"four.local": "192.168.1.2", "six.local": "fe80::1%eth0"})
		m.handle(c.from, question(t, 77, c.q))
		if c.to == nil {
			if len(r.sent) != 0 {
				t.Errorf("%s: answered", c.what)
			}
			continue
		}
		if len(r.sent) != 1 || r.to[0] != *c.to {
			t.Errorf("%s: sent %d to %v, want one to %v", c.what, len(r.sent), r.to, *c.to)
			continue
		}
		var msg dnsmessage.Message
		if err := msg.Unpack(r.sent[0]); err != nil || len(msg.Answers) != 1 || !msg.Response || !msg.Authoritative {
			t.Errorf("%s: %v %+v", c.what, err, msg)
			continue
		}
		isLegacy := c.from == legacy
		if a := msg.Answers[0]; a.Header.Class != c.class || a.Header.TTL != c.ttl || (msg.ID == 77) != isLegacy || (len(msg.Questions) == 1) != isLegacy {
			t.Errorf("%s: %+v", c.what, msg)
		}
	}
	// Section 6: "MUST NOT multicast a record ... until at least one second has elapsed since the last time".
	m, r := service(map[string]string{"four.local": "192.168.1.2"})
	for range 5 {
		m.handle(peer, question(t, 0, ask("four.local.", dnsmessage.TypeA, in)))
	}
	if len(r.sent) != 1 {
		t.Errorf("answered %d times at once", len(r.sent))
	}
	m.withdraw("four.local")
	m.handle(legacy, question(t, 0, ask("four.local.", dnsmessage.TypeA, in)))
	if len(r.sent) != 1 {
		t.Error("answers for a name that was withdrawn")
	}
}

// Names are those of the draft: a version 4 UUID below .local; what is resolved has one label.
func TestMulticastNames(t *testing.T) {
	name := mdnsName([16]byte{0: 0x12, 6: 0xFF, 8: 0xFF, 15: 0x34})
	if name != "12000000-0000-4f00-bf00-000000000034.local" {
		t.Error(name)
	}
	for n, want := range map[string]bool{name: true, "PRINTER.LOCAL": true, "a.b.local": false, ".local": false, "local": false, "example.org": false, strings.Repeat("a", 64) + ".local": false} {
		if isMDNSName(n) != want {
			t.Errorf("%s: %v", n, !want)
		}
	}
}

// Whatever comes, nothing breaks, and an answer that was not asked for changes nothing.
func FuzzMulticastMessage(f *testing.F) {
	f.Add(question(f, 1, ask("four.local.", dnsmessage.TypeA, dnsmessage.ClassINET)), true)
	m, r := service(map[string]string{"four.local": "192.168.1.2"})
	m.handle(netip.MustParseAddrPort("192.168.1.9:5353"), question(f, 0, ask("four.local.", dnsmessage.TypeA, dnsmessage.ClassINET)))
	f.Add(r.sent[0], true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, message []byte, port bool) {
		m, r := service(map[string]string{"four.local": "192.168.1.2"})
		from := netip.MustParseAddrPort("192.168.1.9:5353")
		if !port {
			from = netip.MustParseAddrPort("192.168.1.9:5354")
		}
		m.handle(from, message)
		if len(r.sent) > 2 || len(m.waiting) != 0 || len(m.names) != 1 {
			t.Errorf("%d sent, %d waiting, %d names", len(r.sent), len(m.waiting), len(m.names))
		}
		for _, b := range r.sent {
			if len(b) > 20*len(message)+512 {
				t.Errorf("%d bytes are answered by %d", len(message), len(b))
			}
		}
	})
}

// Two programs on this machine, over its real network.
func TestMulticastOnThisMachine(t *testing.T) {
	usable := false
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if addrs, _ := i.Addrs(); i.Flags&(net.FlagUp|net.FlagMulticast|net.FlagLoopback) == net.FlagUp|net.FlagMulticast && len(addrs) > 0 {
			usable = true
		}
	}
	if !usable {
		t.Skip("needs a network interface that is up and can multicast")
	}
	a, err := useMDNS(&machine{})
	if err != nil {
		t.Skip("needs UDP port 5353 for several programs: ", err)
	}
	defer a.leave()
	b, err := useMDNS(&machine{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.leave()
	var random [16]byte
	copy(random[:], time.Now().String()[10:])
	name := mdnsName(random)
	a.publish(name, netip.MustParseAddr("192.0.2.77"))
	ctx, cancel := context.WithTimeout(t.Context(), mdnsPatience)
	defer cancel()
	if ip, err := b.lookup(ctx, name); err != nil || ip != netip.MustParseAddr("192.0.2.77") {
		t.Errorf("%v %v", ip, err)
	}
}
