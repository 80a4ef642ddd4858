package signaling

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBucket(t *testing.T) {
	now := time.Unix(1000, 0)
	var b bucket
	for i := range 300 {
		if w := b.take(now, 60, 300); w != 0 {
			t.Fatalf("number %d of the burst must wait %v", i, w)
		}
	}
	w := b.take(now, 60, 300)
	if w <= 0 || w > time.Second/60+time.Millisecond {
		t.Fatalf("after the burst one must wait %v", w)
	}
	if again := b.take(now, 60, 300); again != w {
		t.Errorf("asking made it %v", again)
	}
	if b.take(now.Add(w), 60, 300) != 0 {
		t.Error("it was not permitted when it said")
	}
	now = now.Add(time.Hour)
	n := 0
	for b.take(now, 60, 300) == 0 {
		n++
	}
	if n != 300 {
		t.Errorf("after an hour %d at once", n)
	}
}

// One table entry for an IPv4 address, for an IPv6 /64; the table is bounded, and those with something open stay.
func TestAddresses(t *testing.T) {
	table := addresses{}
	get := func(s string) *address { return table.get(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"203.0.113.7", "203.0.113.8", false},
		{"203.0.113.7", "::ffff:203.0.113.7", true},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		if same := get(c.a) == get(c.b); same != c.same {
			t.Errorf("%s and %s are one: %v", c.a, c.b, same)
		}
	}
	seated := get("198.51.100.1")
	seated.seats = 1
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxAddresses {
		table.get(addr)
		addr = addr.Next()
	}
	if len(table) > maxAddresses {
		t.Errorf("the table has %d entries", len(table))
	}
	if get("198.51.100.1") != seated {
		t.Error("an address with a seat was forgotten")
	}
}

// Connections that never join are bounded for each address, and end.
func TestConnectionsThatDoNotJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		var open []*wsTalker
		for range maxPendingPerAddr {
			open = append(open, w.webSocket())
		}
		if _, err := w.tryJoin("kitchen", Options{}); !refusedWith(err, CodeTooManyAttempts) {
			t.Errorf("one more: %v", err)
		}
		began := time.Now()
		for _, c := range open {
			if _, _, err := c.conn.Read(t.Context()); err == nil {
				t.Error("the server said something")
			}
		}
		if waited := time.Since(began); waited != firstFrameWithin {
			t.Errorf("they ended after %v", waited)
		}
		w.join(Options{})
	})
}

// A body that does not come to an end is not waited for.
func TestSlowBody(t *testing.T) {
	for typ, status := range map[string]string{"application/json": "400 Bad Request", "text/plain": "415 Unsupported Media Type"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Config{}, false)
			conn, err := w.dialer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("POST /api/signal HTTP/1.1\r\nHost: x\r\nContent-Type: " + typ + "\r\nContent-Length: 100\r\n\r\n{")); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			answer := make([]byte, 1024)
			n, err := conn.Read(answer)
			if err != nil || !strings.Contains(string(answer[:n]), status) {
				t.Errorf("%q, %v", answer[:n], err)
			}
			if waited := time.Since(began); waited != bodyWithin {
				t.Errorf("it took %v", waited)
			}
		})
	}
}

// A frame that is announced with an impossible length and drips in cannot hold the server, neither while it is read nor while the WebSocket is
// closed.
func TestEndlessFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		conn, err := w.dialer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write([]byte("GET /api/signal HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Protocol: parley.v1\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"))
		go func() { // hears all, says nothing back
			buf := make([]byte, 4096)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		text := []byte{0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0} // FIN, text, masked, 2^62-1 bytes
		for err == nil {
			_, err = conn.Write(text)
			text = make([]byte, 64<<10)
			time.Sleep(time.Second)
		}
		if held := time.Since(began); held > firstFrameWithin+closeWithin+2*time.Second {
			t.Errorf("the server held on for %v", held)
		}
		if n := w.hub.Stats().Refusals[CodeMessageTooLarge]; n != 1 {
			t.Errorf("counted %d times", n)
		}
	})
}

// Polling without a pause is rated as well.
func TestBarePolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Rate: 1, Burst: 10}, false)
		c := w.longPoll()
		c.say(joinFrame("kitchen", "Ann"))
		c.hear()
		for range 10 {
			c.say()
		}
		if len(c.heard) != 0 {
			t.Fatalf("got %+v", c.heard)
		}
		c.say()
		if f := c.hear(); f.Code != CodeRateLimited || f.RetryAfter != 1 {
			t.Errorf("got %+v", f)
		}
	})
}

// A hub that stands alone takes a client for local by its address, and by a Host that DNS cannot have led elsewhere.
func TestStandaloneAccess(t *testing.T) {
	for _, c := range []struct {
		remote, host string
		local        bool
	}{
		{"127.0.0.1:5000", "localhost:8080", true},
		{"[::1]:5000", "[::1]:8080", true},
		{"192.168.1.5:5000", "192.168.1.2:8080", true},
		{"[fe80::1%eth0]:5000", "[fe80::2]:8080", true},
		{"192.168.1.5:5000", "evil.example", false},
		{"203.0.113.7:5000", "192.168.1.2:8080", false},
		{"@", "localhost", false},
	} {
		r := httptest.NewRequest("GET", "http://localhost/", nil)
		r.RemoteAddr, r.Host = c.remote, c.host
		if a := standaloneAccess(r); a.Local != c.local {
			t.Errorf("%s asking for %s is local: %v", c.remote, c.host, a.Local)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	bad := Config{MaxPeersPerRoom: 1, MaxRooms: -1, MaxPeers: -1, MaxPeersPerAddr: -1, MessageSize: 1, Rate: -1, Burst: -1, JoinRate: -1, PassphraseRate: -1,
		ResumeFor: time.Millisecond, Passphrase: strings.Repeat("x", 300), TokenKey: make([]byte, 8)}
	_, err := NewHub(bad)
	if err == nil {
		t.Fatal("everything wrong was accepted")
	}
	for _, field := range []string{"MaxPeersPerRoom", "MaxRooms", "MaxPeers", "MaxPeersPerAddr", "MessageSize", "Rate", "Burst", "JoinRate", "PassphraseRate", "ResumeFor", "Passphrase", "TokenKey"} {
		if !strings.Contains(err.Error(), " "+field+" ") {
			t.Errorf("no word of %s in: %v", field, err)
		}
	}
}

func TestNames(t *testing.T) {
	minted := map[string]bool{}
	for range 100 {
		n := NewRoomName()
		if minted[n] || !MintedRoomName(n) || !ValidRoomName(n) {
			t.Fatalf("%q was minted", n)
		}
		minted[n] = true
	}
	for name, want := range map[string][2]bool{ // valid, minted
		"a": {true, false}, "kitchen": {true, false}, "team-4": {true, false}, strings.Repeat("a", 64): {true, false}, "abcd-efgh-2345-mnop": {true, true},
		"": {}, "-a": {}, "a-": {}, "A": {}, "ä": {}, "a b": {}, "a/b": {}, strings.Repeat("a", 65): {},
		"abcd-efgh-1345-mnop": {true, false}, "abcdefgh-2345-mnop1": {true, false}, "abcd-efgh-2345-mno-": {},
	} {
		if got := [2]bool{ValidRoomName(name), MintedRoomName(name)}; got != want {
			t.Errorf("%q is valid, minted: %v", name, got)
		}
	}
	// docs/signaling.md, The words: other languages compute the same.
	if id := PeerID("kitchen", "0123456789abcdef"); id != "RrGZejz_TkHWKe-Z" {
		t.Errorf("the id is %q", id)
	}
}

// What Dial refuses before it asks anybody.
func TestDialRefuses(t *testing.T) {
	for _, c := range []struct {
		address string
		options Options
		says    string
	}{
		{"ftp://hub.example/r/kitchen", Options{}, "https://host/r/room"},
		{"https://hub.example/kitchen", Options{}, "https://host/r/room"},
		{"https:///r/kitchen", Options{}, "https://host/r/room"},
		{"https://hub.example/r/Kitchen", Options{}, "room must be"},
		{"https://hub.example/r/kitchen", Options{Secret: "short"}, "secret must be"},
		{"https://hub.example/r/kitchen", Options{Name: "a\nb"}, "name must be"},
	} {
		_, err := Dial(t.Context(), c.address, c.options)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.address, err)
		}
	}
}

// A page of another site can open a WebSocket to a server in the local network; it must not.
func TestForeignOriginWebSocket(t *testing.T) {
	hub, err := NewHub(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	r := httptest.NewRequest("GET", "http://192.168.1.2:8080/api/signal", nil)
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Origin": {"https://evil.example"}}
	rec := httptest.NewRecorder()
	hub.ServeHTTP(rec, r)
	if rec.Code != http.StatusForbidden {
		t.Errorf("status %d", rec.Code)
	}
}

// "A client keeps one waiting request": a second one takes its place, and the first is answered at once.
func TestOneRequestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		c := w.longPoll()
		c.say(joinFrame("kitchen", "Ann"))
		c.hear()
		wait := func() time.Duration {
			began := time.Now()
			body := fmt.Sprintf(`{"session":%q,"wait":25}`, c.session)
			resp, err := c.client.Post("http://hub.example/api/signal", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return 0
			}
			resp.Body.Close()
			return time.Since(began)
		}
		first := make(chan time.Duration)
		go func() { first <- wait() }()
		time.Sleep(time.Second)
		second := make(chan time.Duration)
		go func() { second <- wait() }()
		if took := <-first; took != time.Second {
			t.Errorf("the first request took %v", took)
		}
		if took := <-second; took != maxWait {
			t.Errorf("the second request took %v", took)
		}
	})
}

// A session cannot have the hub keep any number of answers that it does not read, by new carriers neither.
func TestRequestsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{}, false)
		c := w.longPoll()
		c.say(joinFrame("kitchen", "Ann"))
		c.hear()
		var s *seat
		var newest *carrier
		for attempt := range uint64(maxRequests) {
			var refusal *Error
			if s, newest, refusal = w.hub.resume(c.session, attempt, 0, longPoll, true); refusal != nil {
				t.Fatalf("request %d: %v", attempt, refusal)
			}
		}
		if _, _, refusal := w.hub.resume(c.session, maxRequests, 0, longPoll, true); refusal == nil || refusal.Code != CodeRateLimited {
			t.Errorf("one more: %v", refusal)
		}
		w.hub.pollDone(s, newest)
		if _, _, refusal := w.hub.resume(c.session, maxRequests, 0, longPoll, true); refusal != nil {
			t.Errorf("after one was answered: %v", refusal)
		}
	})
}
