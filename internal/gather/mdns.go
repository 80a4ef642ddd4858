package gather

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/parley-rtc/parley/protocol/mono"
)

// A MulticastHost is a Host, and comparable, on whose network multicast DNS (RFC 6762) can be spoken. On another one names such as
// "….local" are not known, and addresses that are to be hidden are not told.
type MulticastHost interface {
	Host
	// Multicast joins the groups of multicast DNS on every interface. From then on arrive is called, from any goroutine, with
	// each message, and does not keep it.
	Multicast(arrive func(from netip.AddrPort, message []byte)) (Multicast, error)
}

// A Multicast is a membership in the groups of multicast DNS.
type Multicast interface {
	// Send sends a message to the groups, on every interface.
	Send(message []byte)
	// SendTo sends a message to one address.
	SendTo(message []byte, to netip.AddrPort)
	Close() error
}

const (
	mdnsPort = 5353
	// hostTTL is for how many seconds an address of a name is valid (RFC 6762 section 10), legacyTTL the same for those who
	// speak ordinary DNS (section 6.7).
	hostTTL   = 120
	legacyTTL = 10
	// cacheFlush and unicastResponse are the top bits of a class (sections 10.2 and 5.4).
	cacheFlush      = 1 << 15
	unicastResponse = 1 << 15
	// quiet is how long a record that was multicast is not multicast again (section 6).
	quiet = time.Second
	// mdnsPatience is how long a name has to be resolved.
	mdnsPatience = 6 * time.Second
	// maxMDNSNames bounds the names that are asked for at a time.
	maxMDNSNames = 1024
	maxQuestions = 32 // of a message that are looked at
)

var (
	errNotLocal  = errors.New("no name of multicast DNS: one label and .local")
	errNoMDNS    = errors.New("there is no multicast DNS here")
	errNotFound  = errors.New("nobody answers to the name")
	errManyNames = errors.New("too many names are asked for")
)

// mdns is multicast DNS for all Gatherers of one host: it answers for the names of hidden addresses, and asks for those of
// peers (draft-ietf-mmusic-mdns-ice-candidates). It is open as long as somebody uses it.
type mdns struct {
	host  MulticastHost
	users int // guarded by services

	mu      sync.Mutex
	conn    Multicast
	names   map[string]*published        // ours
	waiting map[string][]chan netip.Addr // for names of others
}

// published is a name of ours.
type published struct {
	ip   netip.Addr
	said time.Time // when it was last multicast
}

// services has the mdns of each host that is in use.
var services = struct {
	sync.Mutex
	of map[Host]*mdns
}{of: map[Host]*mdns{}}

// useMDNS returns the service of a host, which is to be left again.
func useMDNS(h Host) (*mdns, error) {
	m, ok := h.(MulticastHost)
	if !ok {
		return nil, errNoMDNS
	}
	services.Lock()
	defer services.Unlock()
	s := services.of[h]
	if s == nil {
		s = &mdns{host: m, names: map[string]*published{}, waiting: map[string][]chan netip.Addr{}}
		conn, err := m.Multicast(s.handle)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.conn = conn
		s.mu.Unlock()
		services.of[h] = s
	}
	s.users++
	return s, nil
}

func (m *mdns) leave() {
	services.Lock()
	last := false
	if m.users--; m.users == 0 {
		delete(services.of, Host(m.host))
		last = true
	}
	services.Unlock()
	if last {
		_ = m.conn.Close()
	}
}

// isMDNSName reports whether a name is one that candidates have: "a version 4 UUID ... followed by .local"; any other single label is
// resolved too.
func isMDNSName(name string) bool {
	label, ok := strings.CutSuffix(strings.ToLower(name), ".local")
	return ok && label != "" && !strings.Contains(label, ".") && len(label) <= 63
}

// mdnsName makes a name of 16 random bytes (RFC 9562 section 5.4).
func mdnsName(random [16]byte) string {
	random[6] = random[6]&0x0F | 0x40
	random[8] = random[8]&0x3F | 0x80
	h := hex.EncodeToString(random[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:] + ".local"
}

// publish answers for a name from now on. It is so random that nobody needs to be asked whether it is taken.
func (m *mdns) publish(name string, ip netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.names[name] = &published{ip: ip.WithZone("")}
}

func (m *mdns) withdraw(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.names, name)
}

// lookup asks for the address of a name, until the context ends: at once, and after one and three seconds (RFC 6762 section 5.2).
func (m *mdns) lookup(ctx context.Context, name string) (netip.Addr, error) {
	name = strings.ToLower(name)
	query, err := mdnsQuery(name)
	if err != nil {
		return netip.Addr{}, errNotLocal
	}
	answer := make(chan netip.Addr, 1)
	m.mu.Lock()
	if p := m.names[name]; p != nil { // of another connection of this program
		m.mu.Unlock()
		return p.ip, nil
	}
	if len(m.waiting) >= maxMDNSNames {
		m.mu.Unlock()
		return netip.Addr{}, errManyNames
	}
	m.waiting[name] = append(m.waiting[name], answer)
	m.mu.Unlock()
	defer m.forget(name, answer)

	timer := time.NewTimer(0)
	defer timer.Stop()
	for wait := time.Second; ; wait *= 2 {
		select {
		case <-timer.C:
			m.conn.Send(query)
			timer.Reset(wait)
		case ip := <-answer:
			return ip, nil
		case <-ctx.Done():
			return netip.Addr{}, errNotFound
		}
	}
}

func (m *mdns) forget(name string, answer chan netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left []chan netip.Addr
	for _, c := range m.waiting[name] {
		if c != answer {
			left = append(left, c)
		}
	}
	if m.waiting[name] = left; left == nil {
		delete(m.waiting, name)
	}
}

// mdnsQuery writes a question for both families.
func mdnsQuery(name string) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	msg := dnsmessage.Message{Questions: []dnsmessage.Question{
		{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}, {Name: n, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
	}}
	return msg.Pack()
}

// handle takes a message.
func (m *mdns) handle(from netip.AddrPort, message []byte) {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || h.OpCode != 0 || h.RCode != 0 { // sections 18.3 and 18.11: "MUST be silently ignored"
		return
	}
	if h.Response {
		if from.Port() == mdnsPort { // "MUST silently ignore" others (section 6)
			m.handleAnswers(&p)
		}
		return
	}
	m.handleQuestions(from, h.ID, &p)
}

func (m *mdns) handleAnswers(p *dnsmessage.Parser) {
	if p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil {
			return
		}
		var ip netip.Addr
		switch h.Type {
		case dnsmessage.TypeA:
			r, err := p.AResource()
			if err != nil {
				return
			}
			ip = netip.AddrFrom4(r.A)
		case dnsmessage.TypeAAAA:
			r, err := p.AAAAResource()
			if err != nil {
				return
			}
			ip = netip.AddrFrom16(r.AAAA).Unmap()
		default:
			if p.SkipAnswer() != nil {
				return
			}
			continue
		}
		if h.Class&^cacheFlush == dnsmessage.ClassINET && h.TTL > 0 { // zero says goodbye (section 10.1)
			m.answered(strings.ToLower(strings.TrimSuffix(h.Name.String(), ".")), ip)
		}
	}
}

// answered gives an address to those who wait for it.
func (m *mdns) answered(name string, ip netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.waiting[name] {
		select {
		case c <- ip:
		default: // it has one
		}
	}
}

// handleQuestions answers what is asked about names of ours.
func (m *mdns) handleQuestions(from netip.AddrPort, id uint16, p *dnsmessage.Parser) {
	legacy := from.Port() != mdnsPort // section 6.7
	var multicast, unicast dnsmessage.Message
	for range maxQuestions {
		q, err := p.Question()
		if err != nil {
			break
		}
		name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET | cacheFlush, TTL: hostTTL}}
		switch ip := m.addressOf(name); {
		case q.Class&^unicastResponse != dnsmessage.ClassINET && q.Class&^unicastResponse != dnsmessage.ClassANY:
			continue
		case ip.Is4() && (q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL):
			r.Body = &dnsmessage.AResource{A: ip.As4()}
		case ip.Is6() && (q.Type == dnsmessage.TypeAAAA || q.Type == dnsmessage.TypeALL):
			r.Body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
		default:
			continue
		}
		switch {
		case legacy: // "the cache-flush bit MUST NOT be set"; "the query ID" and "the question" are repeated
			r.Header.Class, r.Header.TTL = dnsmessage.ClassINET, legacyTTL
			unicast.Header.ID = id
			unicast.Questions = append(unicast.Questions, q)
			unicast.Answers = append(unicast.Answers, r)
		case q.Class&unicastResponse != 0:
			unicast.Answers = append(unicast.Answers, r)
		case m.mayMulticast(name):
			multicast.Answers = append(multicast.Answers, r)
		}
	}
	m.reply(&multicast, func(b []byte) { m.conn.Send(b) })
	m.reply(&unicast, func(b []byte) { m.conn.SendTo(b, from) })
}

func (m *mdns) reply(msg *dnsmessage.Message, send func([]byte)) {
	if len(msg.Answers) == 0 {
		return
	}
	msg.Header.Response, msg.Header.Authoritative = true, true
	if b, err := msg.Pack(); err == nil {
		send(b)
	}
}

// addressOf returns the address of a name of ours; invalid if it is none.
func (m *mdns) addressOf(name string) netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.names[name]; p != nil {
		return p.ip
	}
	return netip.Addr{}
}

// mayMulticast reports whether a name of ours has not been told to all just now, and notes that it is.
func (m *mdns) mayMulticast(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, now := m.names[name], time.Now()
	if p == nil || now.Sub(p.said) < quiet {
		return false
	}
	p.said = now
	return true
}

// multicastDNS returns the service of the Gatherer's host, which Close leaves.
func (g *Gatherer) multicastDNS() (*mdns, error) {
	if g.mdns == nil {
		m, err := useMDNS(g.cfg.Host)
		if err != nil {
			return nil, err
		}
		g.mdns = m
	}
	return g.mdns, nil
}

// hide gives a base a name to be told instead of its address. Without one the address is not told at all.
func (g *Gatherer) hide(b *base) bool {
	m, err := g.multicastDNS()
	if err != nil {
		return false
	}
	var random [16]byte
	if _, err := io.ReadFull(g.cfg.Entropy, random[:]); err != nil {
		return false
	}
	b.name = mdnsName(random)
	m.publish(b.name, b.IP)
	return true
}

// Resolve finds the address of a remote candidate that has a name, "….local", and calls found with it, or with an error after some
// seconds: at once, or on the loop; never after Close.
func (g *Gatherer) Resolve(now mono.Time, name string, found func(now mono.Time, ip netip.Addr, err error)) {
	if g.closed {
		return
	}
	var m *mdns
	err := errNotLocal
	if isMDNSName(name) {
		m, err = g.multicastDNS()
	}
	if err == nil && g.working >= maxMDNSNames {
		err = errManyNames
	}
	if err != nil {
		found(now, netip.Addr{}, err)
		return
	}
	g.background(mdnsPatience, func(ctx context.Context) (func(mono.Time), func()) {
		ip, err := m.lookup(ctx, name)
		return func(now mono.Time) { found(now, ip, err) }, func() {}
	})
}
