package relay_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
	"github.com/parley-rtc/parley/protocol/dtls"
	"github.com/parley-rtc/parley/protocol/stun"
	"github.com/parley-rtc/parley/protocol/turn"
	"github.com/parley-rtc/parley/server/relay"
)

const secret = "a secret of the test, long enough"

var loopback = netip.MustParseAddr("127.0.0.1")

// start runs a relay on a free port of loopback. change may alter its configuration.
func start(t *testing.T, change func(*relay.Config)) *relay.Relay {
	t.Helper()
	cfg := relay.Config{
		Turn:   turn.Config{Secrets: []string{secret}, Relay: []netip.Addr{loopback}},
		UDP:    []netip.AddrPort{netip.AddrPortFrom(loopback, 0)},
		Shards: 2,
	}
	if change != nil {
		change(&cfg)
	}
	r, err := relay.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func allowLoopback(cfg *relay.Config) {
	cfg.Turn.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// speakDTLS gives a relay a port for DTLS, and a certificate.
func speakDTLS(t *testing.T, cfg *relay.Config) {
	cert := &selfSigned(t).Certificates[0]
	cfg.DTLS = []netip.AddrPort{netip.AddrPortFrom(loopback, 0)}
	cfg.Certificate = func(string, netip.AddrPort, netip.AddrPort) *tls.Certificate { return cert }
}

// A client is a TURN client that waits for each answer. Over UDP conn has a message in each read, over TCP a stream.
type client struct {
	t       *testing.T
	conn    net.Conn
	stream  *bufio.Reader // nil over UDP
	hasher  *stun.Hasher
	proof   *stun.Credential
	relayed netip.AddrPort
}

func dial(t *testing.T, r *relay.Relay, name string) *client {
	t.Helper()
	conn, err := net.Dial("udp", r.Ports()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, r, conn, name)
}

// dialTCP makes a TCP connection and hands its server's end to the relay.
func dialTCP(t *testing.T, r *relay.Relay, name string) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.Adopt(accepted)
	c := newClient(t, r, conn, name)
	c.stream = bufio.NewReader(conn)
	return c
}

// dialDTLS does a handshake with the relay's last port.
func dialDTLS(t *testing.T, r *relay.Relay, name string) *client {
	t.Helper()
	ports := r.Ports()
	conn, err := net.Dial("udp", ports[len(ports)-1].String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(need.Patience))
	secure := &secureConn{Conn: conn}
	if secure.dtls, err = dtls.New(dtls.Client, &dtls.Config{Entropy: rand.Reader, AnonymousClient: true}); err != nil {
		t.Fatal(err)
	}
	for !secure.open {
		if err := secure.next(); err != nil {
			t.Fatal("DTLS: ", err)
		}
	}
	return newClient(t, r, secure, name)
}

// secureConn is DTLS over a UDP socket, for one goroutine, without repetition: nothing gets lost on loopback.
type secureConn struct {
	net.Conn
	dtls  *dtls.Conn
	open  bool
	ended error
	data  [][]byte
}

// next sends what is to be sent and takes in one datagram.
func (c *secureConn) next() error {
	const now = 1
	c.dtls.RunJobs(now)
	for {
		b := c.dtls.AppendDatagram(nil, now)
		if len(b) == 0 {
			break
		}
		if _, err := c.Conn.Write(b); err != nil {
			return err
		}
	}
	buf := make([]byte, 4096)
	n, err := c.Conn.Read(buf)
	if err != nil {
		return err
	}
	c.dtls.HandleDatagram(now, buf[:n])
	c.dtls.RunJobs(now)
	for ev, ok := c.dtls.NextEvent(); ok; ev, ok = c.dtls.NextEvent() {
		switch ev.Kind {
		case dtls.PeerCertificate:
			c.dtls.Accept(now)
		case dtls.Connected:
			c.open = true
			for b := c.dtls.AppendDatagram(nil, now); len(b) > 0; b = c.dtls.AppendDatagram(nil, now) {
				if _, err := c.Conn.Write(b); err != nil {
					return err
				}
			}
		case dtls.Data:
			c.data = append(c.data, slices.Clone(ev.Data))
		case dtls.Closed:
			if c.ended = ev.Err; c.ended == nil {
				c.ended = io.EOF
			}
		}
	}
	return c.ended
}

func (c *secureConn) Read(b []byte) (int, error) {
	for len(c.data) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.data[0])
	c.data = c.data[1:]
	return n, nil
}

func (c *secureConn) Write(b []byte) (int, error) {
	record, err := c.dtls.AppendRecord(nil, b)
	if err != nil {
		return 0, err
	}
	if _, err := c.Conn.Write(record); err != nil {
		return 0, err
	}
	return len(b), nil
}

func newClient(t *testing.T, r *relay.Relay, conn net.Conn, name string) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(need.Patience))
	username, password, err := r.Credential(name, time.Now().Add(time.Hour), turn.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, hasher: stun.NewHasher(), proof: stun.NewCredential(username, password)}
}

// read returns the next message or ChannelData.
func (c *client) read() ([]byte, error) {
	if c.stream == nil {
		buf := make([]byte, 4096)
		n, err := c.conn.Read(buf)
		return buf[:n], err
	}
	head, err := c.stream.Peek(4)
	if err != nil {
		return nil, err
	}
	n, ok := turn.FrameLen([4]byte(head))
	if !ok {
		return nil, errors.New("not a frame")
	}
	buf := make([]byte, n)
	_, err = io.ReadFull(c.stream, buf)
	return buf, err
}

// request makes a request, answers one challenge, and returns the response.
func (c *client) request(m stun.Method, fill func(*stun.Builder)) (stun.Message, error) {
	for {
		var id stun.TransactionID
		rand.Read(id[:])
		b := stun.NewBuilder(nil, stun.Request, m, id)
		if fill != nil {
			fill(&b)
		}
		if c.proof.Challenged() {
			c.proof.Sign(&b, c.hasher)
		}
		raw, err := b.Message()
		if err != nil {
			return stun.Message{}, err
		}
		if _, err := c.conn.Write(raw); err != nil {
			return stun.Message{}, err
		}
		for {
			raw, err := c.read()
			if err != nil {
				return stun.Message{}, err
			}
			if !stun.Is(raw) {
				continue // data that overtook
			}
			response, err := stun.Parse(raw)
			if err != nil {
				return response, err
			}
			if response.ID() != id {
				continue
			}
			code, _, failed := response.ErrorCode()
			if failed && (code == stun.CodeUnauthenticated || code == stun.CodeStaleNonce) && c.proof.Challenge(c.hasher, &response) == nil {
				break
			}
			if failed {
				return response, errors.New(code.String())
			}
			return response, nil
		}
	}
}

func (c *client) mustRequest(m stun.Method, fill func(*stun.Builder)) stun.Message {
	c.t.Helper()
	response, err := c.request(m, fill)
	if err != nil {
		c.t.Fatalf("%v: %v", m, err)
	}
	return response
}

func (c *client) allocate() {
	c.t.Helper()
	m := c.mustRequest(stun.Allocate, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) })
	var err error
	if c.relayed, err = m.XORAddress(stun.AttrXORRelayedAddress); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) bind(peer netip.AddrPort) {
	c.t.Helper()
	c.mustRequest(stun.ChannelBind, func(b *stun.Builder) {
		b.Uint32(stun.AttrChannelNumber, 0x4000<<16)
		b.XORAddress(stun.AttrXORPeerAddress, peer)
	})
}

func (c *client) send(text string) {
	c.t.Helper()
	b := binary.BigEndian.AppendUint16(nil, 0x4000)
	b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	b = append(b, text...)
	for c.stream != nil && len(b)%4 != 0 {
		b = append(b, 0)
	}
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the text of the next ChannelData or Data indication.
func (c *client) receive() string {
	c.t.Helper()
	for {
		b, err := c.read()
		if err != nil {
			c.t.Fatal("waiting for data: ", err)
		}
		if !stun.Is(b) {
			return string(b[4 : 4+binary.BigEndian.Uint16(b[2:])])
		}
		m, err := stun.Parse(b)
		if err != nil {
			c.t.Fatal(err)
		}
		if data, ok := m.Get(stun.AttrData); ok {
			return string(data)
		}
	}
}

func TestARelayedClientAndAPeerTalk(t *testing.T) {
	r := start(t, func(cfg *relay.Config) {
		allowLoopback(cfg)
		speakDTLS(t, cfg)
	})
	for name, dial := range map[string]func(*testing.T, *relay.Relay, string) *client{"udp": dial, "tcp": dialTCP, "dtls": dialDTLS} {
		t.Run(name, func(t *testing.T) {
			peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			peer.SetDeadline(time.Now().Add(need.Patience))
			c := dial(t, r, "ada")
			c.allocate()
			c.bind(peer.LocalAddr().(*net.UDPAddr).AddrPort())
			c.send("up we go")
			buf := make([]byte, 100)
			n, from, err := peer.ReadFromUDPAddrPort(buf)
			if err != nil || string(buf[:n]) != "up we go" {
				t.Fatalf("the peer got %q, %v", buf[:n], err)
			}
			if from != c.relayed {
				t.Errorf("it came from %v, want the relayed address %v", from, c.relayed)
			}
			if _, err := peer.WriteToUDPAddrPort([]byte("and down"), from); err != nil {
				t.Fatal(err)
			}
			if got := c.receive(); got != "and down" {
				t.Errorf("the client got %q", got)
			}
		})
	}
}

// Two clients behind one server reach each other though the list of denied peers is closed, whichever shards they are on.
func TestRelayedClientsReachEachOtherInsideTheProcess(t *testing.T) {
	r := start(t, func(cfg *relay.Config) { speakDTLS(t, cfg) })
	var all []*client
	for i := range 9 { // with six on udp the odds that all got one shard are 1 in 32; those on tcp alternate
		c := [...]func(*testing.T, *relay.Relay, string) *client{dial, dialTCP, dialDTLS}[i%3]
		all = append(all, c(t, r, string(rune('a'+i))))
		all[i].allocate()
	}
	for i, a := range all {
		b := all[(i+4)%len(all)]
		a.bind(b.relayed)
		b.mustRequest(stun.CreatePermission, func(m *stun.Builder) { m.XORAddress(stun.AttrXORPeerAddress, a.relayed) })
	}
	for i, a := range all {
		a.send("from " + string(rune('a'+i)))
	}
	for i := range all {
		b := all[(i+4)%len(all)]
		if got, want := b.receive(), "from "+string(rune('a'+i)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if s := r.Stats(); s.Turn.HandedOver < 9 || s.LostHairpins != 0 {
		t.Errorf("handed over %d, lost %d; want 9 and 0", s.Turn.HandedOver, s.LostHairpins)
	}
}

// A client that ends its association gives its relayed address back, and what it holds by DTLS is not for who comes from the
// same address in the clear.
func TestAnAssociationIsApartFromWhatIsInTheClear(t *testing.T) {
	r := start(t, func(cfg *relay.Config) {
		allowLoopback(cfg)
		speakDTLS(t, cfg)
	})
	c := dialDTLS(t, r, "ada")
	c.allocate()
	c.bind(netip.MustParseAddrPort("127.0.0.1:9"))
	secure := c.conn.(*secureConn)
	plain := &client{t: t, conn: secure.Conn, hasher: c.hasher, proof: c.proof}
	plain.send("not from ada")
	if s := waitFor(r, func(s relay.Stats) bool { return s.Turn.Dropped[turn.DropNoAllocation] == 1 }); s.Turn.PacketsUp != 0 {
		t.Errorf("ChannelData in the clear was relayed: %+v", s.Turn)
	}
	secure.dtls.Close(1)
	if _, err := secure.Conn.Write(secure.dtls.AppendDatagram(nil, 1)); err != nil {
		t.Fatal(err)
	}
	s := waitFor(r, func(s relay.Stats) bool { return s.Turn.Allocations == 0 })
	if s.DTLS.Associations != 0 || s.DTLS.Handshakes != 1 {
		t.Errorf("%+v", s.DTLS)
	}
}

// waitFor returns the first statistics that are right.
func waitFor(r *relay.Relay, right func(relay.Stats) bool) (s relay.Stats) {
	for deadline := time.Now().Add(need.Patience); time.Now().Before(deadline); {
		if s = r.Stats(); right(s) {
			break
		}
	}
	return s
}

func TestALoopbackPeerIsRefusedUnlessAllowed(t *testing.T) {
	c := dial(t, start(t, func(cfg *relay.Config) { cfg.Turn.Own = []netip.Addr{loopback} }), "eve")
	c.allocate()
	_, err := c.request(stun.ChannelBind, func(b *stun.Builder) {
		b.Uint32(stun.AttrChannelNumber, 0x4000<<16)
		b.XORAddress(stun.AttrXORPeerAddress, netip.MustParseAddrPort("127.0.0.2:80"))
	})
	if err == nil || err.Error() != stun.CodeForbidden.String() {
		t.Errorf("a channel to loopback: %v, want %v", err, stun.CodeForbidden)
	}
}

func TestRevokedCredentialsEndTheirAllocations(t *testing.T) {
	r := start(t, nil)
	c := dial(t, r, "seat")
	c.allocate()
	r.Revoke("seat", time.Now().Add(time.Hour))
	if n := r.Stats().Turn.Allocations; n != 0 {
		t.Errorf("%d allocations are left", n)
	}
	again := dial(t, r, "seat")
	if _, err := again.request(stun.Allocate, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) }); err == nil {
		t.Error("a revoked credential got an allocation")
	}
}

// A reservation is kept by one shard and used by a client of another, as often as chance will have it.
func TestAReservedPortCanBeUsedFromAnotherShard(t *testing.T) {
	r := start(t, nil)
	for range 6 {
		c := dial(t, r, "even")
		m := c.mustRequest(stun.Allocate, func(b *stun.Builder) {
			b.Uint32(stun.AttrRequestedTransport, 17<<24)
			b.Bytes(stun.AttrEvenPort, []byte{0x80})
		})
		even, err := m.XORAddress(stun.AttrXORRelayedAddress)
		if err != nil || even.Port()%2 != 0 {
			t.Fatalf("relayed address %v, %v: want an even port", even, err)
		}
		token, ok := m.Get(stun.AttrReservationToken)
		if !ok {
			t.Fatal("no reservation token")
		}
		token = slices.Clone(token)
		d := dial(t, r, "odd")
		m = d.mustRequest(stun.Allocate, func(b *stun.Builder) {
			b.Uint32(stun.AttrRequestedTransport, 17<<24)
			b.Bytes(stun.AttrReservationToken, token)
		})
		if odd, err := m.XORAddress(stun.AttrXORRelayedAddress); err != nil || odd.Port() != even.Port()+1 {
			t.Fatalf("the reservation gave %v, %v: want port %d", odd, err, even.Port()+1)
		}
	}
}

func TestATakenPortIsAnError(t *testing.T) {
	r := start(t, nil)
	_, err := relay.Start(relay.Config{UDP: r.Ports()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second relay on the port of the first: %v, want EADDRINUSE", err)
	}
}

func TestStreamsFromOneAddressAreBounded(t *testing.T) {
	r := start(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for range 257 {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r.Adopt(accepted)
	}
	if s := r.Stats(); s.Streams != 256 || s.RefusedClients != 1 {
		t.Errorf("%d streams, %d refused; want 256 and 1", s.Streams, s.RefusedClients)
	}
}

// "limits of a relay account [are] counted over all processors", not for each: what counts is the account, wherever its clients land.
func TestAnAccountsLimitHoldsOverAllShards(t *testing.T) {
	r := start(t, func(cfg *relay.Config) { cfg.Turn.Limits.Allocations = 3 })
	allocate := func(c *client) error { // over tcp clients go to the shards in turn
		_, err := c.request(stun.Allocate, func(b *stun.Builder) { b.Uint32(stun.AttrRequestedTransport, 17<<24) })
		return err
	}
	var with []*client
	for i := range 6 {
		c := dialTCP(t, r, "ada")
		err := allocate(c)
		if i < 3 && err != nil || i >= 3 && (err == nil || err.Error() != stun.CodeAllocationQuotaReached.String()) {
			t.Fatalf("allocation %d of an account that may have 3: %v", i+1, err)
		}
		with = append(with, c)
	}
	if err := allocate(dialTCP(t, r, "bob")); err != nil {
		t.Errorf("another account: %v", err)
	}
	with[0].mustRequest(stun.Refresh, func(b *stun.Builder) { b.Uint32(stun.AttrLifetime, 0) })
	if err := allocate(dialTCP(t, r, "ada")); err != nil {
		t.Errorf("one more after one was given back: %v", err)
	}
}
