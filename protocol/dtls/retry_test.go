package dtls

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parley-rtc/parley/protocol/mono"
)

// RFC 8446 section 4.1.4: "The server will send this message [HelloRetryRequest] in response to a ClientHello message if
// it is able to find an acceptable set of parameters but the ClientHello does not contain sufficient information to
// proceed with the handshake."
func TestHelloRetryRequestForAShare(t *testing.T) {
	for _, g := range []Group{P384, P256, X25519} {
		client, server := configOf(t, "client", 1), configOf(t, "server", 1)
		client.Groups = []Group{X25519MLKEM768, map[bool]Group{true: P256, false: X25519}[g == X25519], g}
		if g == P256 {
			client.Groups = []Group{X25519MLKEM768, X25519, P256}
		}
		server.Groups = []Group{g}
		p := newPair(t, client, server)
		p.connect()
		p.checkAgreement()
		if s := p.client.State(); s.Group != g || s.Version != Version13 {
			t.Errorf("negotiated %+v, want %v", s, g)
		}
		if p.client.sent < 3 {
			t.Errorf("the client sent %d datagrams: there was no retry", p.client.sent)
		}
	}
}

// The best group that both can do is taken without a retry if there is a share for it.
func TestGroupIsTheServersBestShare(t *testing.T) {
	for _, c := range []struct {
		client, server []Group
		want           Group
	}{
		{nil, nil, X25519MLKEM768},
		{nil, []Group{P256, X25519}, X25519},
		{[]Group{X25519, X25519MLKEM768}, nil, X25519},
		{[]Group{P256}, nil, P256},
	} {
		client, server := configOf(t, "client", 1), configOf(t, "server", 1)
		client.Groups, server.Groups = c.client, c.server
		p := newPair(t, client, server)
		p.connect()
		if s := p.client.State(); s.Group != c.want {
			t.Errorf("client %v, server %v: %v, want %v", c.client, c.server, s.Group, c.want)
		}
	}
}

// RFC 9147 section 5.1: "the server then verifies the cookie and proceeds with the handshake only if it is valid." In 1.2
// the same is done by a HelloVerifyRequest (RFC 6347 section 4.2.1). Until then the server keeps nothing: here each of its
// answers comes from a new Conn.
func TestCookieWithoutState(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, groups := range [][]Group{nil, {P384}} { // the second asks for a share too
			client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
			server.CookieSecret = bytes.Repeat([]byte{7}, 16)
			server.Groups = groups
			p := newPair(t, client, server)
			p.server.SetRemote([]byte("192.0.2.1:5000"))
			renewed := 0
			p.filter = func(from *end, b []byte) [][]byte {
				if from == p.server && p.server.Disposable() {
					p.server.Conn = mustNew(t, Server, server)
					p.server.SetRemote([]byte("192.0.2.1:5000"))
					renewed++
				}
				return [][]byte{b}
			}
			p.connect()
			p.checkAgreement()
			p.exchange(2)
			if renewed == 0 {
				t.Errorf("%v: no cookie was asked for", v)
			}
		}
	}
}

// A cookie of another address, of another secret or of long ago is none.
func TestCookieIsBound(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		for _, spoil := range []string{"address", "secret", "age"} {
			client, server := only(configOf(t, "client", 1), v), only(configOf(t, "server", 1), v)
			server.CookieSecret = bytes.Repeat([]byte{7}, 16)
			p := newPair(t, client, server)
			p.server.SetRemote([]byte("A"))
			first := true
			p.filter = func(from *end, b []byte) [][]byte {
				if from == p.server && first {
					first = false
					other := *server
					switch spoil {
					case "address":
						p.server.SetRemote([]byte("B"))
					case "secret":
						other.CookieSecret = bytes.Repeat([]byte{8}, 16)
						p.server.Conn = mustNew(t, Server, &other)
						p.server.SetRemote([]byte("A"))
					case "age":
						p.now = p.now.Add(2 * cookieLife)
					}
				}
				return [][]byte{b}
			}
			ok := p.runUntil(3*time.Second, p.bothConnected)
			// In 1.2 an invalid cookie is answered by a new one, but our client, which has had one, goes no further.
			if ok {
				t.Errorf("%v: connected by a cookie of another %s", v, spoil)
			}
		}
	}
}

// A flood of first flights leaves nothing behind where cookies are asked for: neither memory, nor public-key work.
func TestFloodOfFirstFlights(t *testing.T) {
	for _, v := range []Version{Version12, Version13} {
		server := only(configOf(t, "server", 1), v)
		server.CookieSecret = bytes.Repeat([]byte{7}, 16)
		client := only(configOf(t, "client", 2), v)
		hello := firstFlight(t, client)
		conn := mustNew(t, Server, server)
		conn.SetRemote([]byte("A"))
		answer := 0
		flood := func(n int) {
			for i := range n {
				for _, b := range hello {
					conn.HandleDatagram(mono.Time(i), slices.Clone(b))
					if _, ok := conn.NextJob(); ok {
						t.Fatal("public-key work before the cookie")
					}
				}
				if conn.Disposable() {
					t.Fatal("disposable before the answer is sent")
				}
				answer = len(conn.AppendDatagram(nil, mono.Time(i)))
			}
		}
		flood(10)
		before := heapInUse()
		flood(2000)
		if grown := int64(heapInUse()) - int64(before); grown > 64<<10 {
			t.Errorf("%v: 2000 first flights left %d bytes", v, grown)
		}
		size := 0
		for _, b := range hello {
			size += len(b)
		}
		if answer == 0 || answer > size {
			t.Errorf("%v: %d bytes answer a first flight of %d: amplification", v, answer, size)
		}
		if !conn.Disposable() || conn.NextTimeout() != mono.Never {
			t.Errorf("%v: the server keeps state", v)
		}
		runtime.KeepAlive(conn)
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// firstFlight returns the datagrams of a client's first flight.
func firstFlight(t testing.TB, cfg *Config) (list [][]byte) {
	t.Helper()
	c := mustNew(t, Client, cfg)
	c.RunJobs(1)
	for {
		b := c.AppendDatagram(nil, 1)
		if len(b) == 0 {
			return list
		}
		list = append(list, b)
	}
}

// A browser's first flight, of two datagrams, arrives in any order, with one lost, or with another's between; and both are
// answered with the version and the group that the browser likes best. The flights in testdata were recorded from the
// browsers that their names say.
func TestFirstFlightInPieces(t *testing.T) {
	flights := map[string][][]byte{"our own": firstFlight(t, configOf(t, "client", 3))}
	files, err := filepath.Glob(filepath.Join("testdata", "first-flights", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no first flights in testdata: ", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			flights[name] = append(flights[name], unhex(t, line))
		}
	}
	other := firstFlight(t, configOf(t, "other", 4))
	for who, hello := range flights {
		if len(hello) != 2 {
			t.Fatalf("%s: the first flight has %d datagrams, want 2", who, len(hello))
		}
		for name, order := range map[string][][]byte{
			"in order":             {hello[0], hello[1]},
			"reversed":             {hello[1], hello[0]},
			"first repeated":       {hello[0], hello[0], hello[1]},
			"second lost once":     {hello[0], hello[0], hello[1]},
			"first lost once":      {hello[1], hello[0], hello[1]},
			"another's in between": {other[0][:200], hello[0], other[1][:60], hello[1]},
		} {
			conn := mustNew(t, Server, configOf(t, "server", 3))
			for _, b := range order {
				conn.HandleDatagram(1, slices.Clone(b))
			}
			conn.RunJobs(1)
			if b := conn.AppendDatagram(nil, 1); len(b) == 0 {
				t.Errorf("%s, %s: no answer: %+v", who, name, conn.Stats())
			}
			if s := conn.State(); s.Version != Version13 || s.Group != X25519MLKEM768 || s.SRTPProfile != SRTP_AEAD_AES_128_GCM {
				t.Errorf("%s, %s: %+v", who, name, s)
			}
		}
		conn := mustNew(t, Server, only(configOf(t, "server", 3), Version12))
		for _, b := range hello {
			conn.HandleDatagram(1, slices.Clone(b))
		}
		conn.RunJobs(1)
		if s := conn.State(); s.Version != Version12 || s.Group != X25519 {
			t.Errorf("%s, to a server of 1.2: %+v", who, s)
		}
	}
}

// RFC 8446 section 4.1.4: "If a client receives a second HelloRetryRequest in the same connection [...] it MUST abort the
// handshake with an "unexpected_message" alert."
func TestSecondHelloRetryRequest(t *testing.T) {
	client := only(configOf(t, "client", 1), Version13)
	conn := mustNew(t, Client, client)
	conn.RunJobs(1)
	for conn.AppendDatagram(nil, 1) != nil {
	}
	for i, g := range []Group{P384, P256} {
		m := newMessage(serverHelloType, uint16(i), retryRequest(AES128GCM, g, nil).marshal())
		conn.HandleDatagram(1, plainRecord(typeHandshake, uint64(i), m.full))
		conn.RunJobs(1)
		for conn.AppendDatagram(nil, 1) != nil {
		}
	}
	wantClosed(t, conn, AlertUnexpectedMessage)
}

// plainRecord makes an unprotected record.
func plainRecord(typ contentType, seq uint64, content []byte) []byte {
	r := records{writes: []*writeEpoch{{next: seq}}}
	b, _ := r.seal(nil, r.writes[0], typ, nil, content)
	return b
}

// wantClosed checks that a connection ended by an alert of its own.
func wantClosed(t *testing.T, c *Conn, want Alert) {
	t.Helper()
	for {
		ev, ok := c.NextEvent()
		if !ok {
			t.Errorf("not closed, want %v; stats %+v", want, c.Stats())
			return
		}
		if ev.Kind == Closed {
			if e, ok := ev.Err.(*Error); !ok || e.Alert != want || e.Received {
				t.Errorf("closed with %v, want %v", ev.Err, want)
			}
			return
		}
	}
}
