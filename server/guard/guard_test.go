package guard

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/signaling"
)

func newGuard() *Guard {
	return &Guard{
		Names: []string{"call.example", "203.0.113.7", "2001:db8::7"},
		Here: func() *machine.Here {
			return &machine.Here{Hostname: "kitchen.home.example", Addrs: []netip.Addr{
				netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("fd00::5"), netip.MustParseAddr("fe80::5"),
			}}
		},
	}
}

// request is GET / for localhost from loopback; change says what is different.
func request(change func(r *http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "localhost:8080"
	r.RemoteAddr = "127.0.0.1:40000"
	change(r)
	return r
}

func code(refusal *Refusal) signaling.Code {
	if refusal == nil {
		return ""
	}
	return refusal.Code
}

func TestHost(t *testing.T) {
	for host, ours := range map[string]bool{
		"localhost":                 true,
		"localhost:8080":            true,
		"LOCALHOST.:8080":           true,
		"app.localhost":             true,
		"127.0.0.1:8080":            true,
		"127.8.9.10":                true,
		"[::1]:8080":                true,
		"[::ffff:127.0.0.1]":        true,
		"192.168.1.5:8443":          true,
		"[::ffff:192.168.1.5]:8443": true,
		"[fd00::5]":                 true,
		"[fd00:0:0::5]:1":           true,
		"[fe80::5%25eth0]:8443":     true,
		"[fe80::5%eth0]:8443":       true,
		"kitchen":                   true,
		"Kitchen.local":             true,
		"kitchen.local.":            true,
		"kitchen.home.example:8443": true,
		"call.example":              true,
		"203.0.113.7":               true,
		"[2001:DB8::7]:443":         true,
		"10.99.0.1:8443":            true, // the address at which this connection came in

		"":                       false,
		"evil.example":           false,
		"evil.example:8080":      false,
		"localhost.evil.example": false,
		"notlocalhost":           false,
		"evillocalhost":          false,
		"kitchen.evil.example":   false,
		"x.kitchen.local":        false,
		"x.call.example":         false,
		"call.example.evil":      false,
		"192.168.1.6":            false,
		"203.0.113.8":            false,
		"[fd00::6]":              false,
		"127.1":                  false,
		"0x7f.0.0.1":             false,
		"2130706433":             false,
		"[::1":                   false,
		"[::1]evil":              false,
		"[]":                     false,
		"localhost:8080:8080":    false,
		".":                      false,
		".localhost@evil":        false,
	} {
		r := request(func(r *http.Request) { r.Host = host })
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 99, 0, 1), Port: 8443}))
		_, refusal := newGuard().Check(r)
		want := signaling.Code("")
		if !ours {
			want = signaling.CodeHostForbidden
		}
		if code(refusal) != want {
			t.Errorf("Host %q: %q, want %q", host, code(refusal), want)
		}
		if refusal != nil && refusal.Status != http.StatusMisdirectedRequest {
			t.Errorf("Host %q: status %d", host, refusal.Status)
		}
	}
}

func TestHostIsNotRepeatedAtLength(t *testing.T) {
	_, refusal := newGuard().Check(request(func(r *http.Request) { r.Host = strings.Repeat("x", 5000) }))
	if refusal == nil || len(refusal.Message) > 400 {
		t.Errorf("refusal is %v", refusal)
	}
}

func TestClient(t *testing.T) {
	for addr, near := range map[string]bool{
		"127.0.0.1:1":             true,
		"[::1]:1":                 true,
		"[::ffff:127.0.0.1]:1":    true,
		"10.1.2.3:1":              true,
		"172.16.0.1:1":            true,
		"172.31.255.255:1":        true,
		"192.168.0.1:1":           true,
		"169.254.1.1:1":           true,
		"100.64.0.1:1":            true,
		"100.127.255.255:1":       true,
		"[fd00::1]:1":             true,
		"[fe80::1%eth0]:1":        true,
		"[::ffff:192.168.0.1]:1":  true,
		"172.32.0.1:1":            false,
		"172.15.255.255:1":        false,
		"192.169.0.1:1":           false,
		"100.128.0.1:1":           false,
		"100.63.255.255:1":        false,
		"8.8.8.8:1":               false,
		"[::ffff:8.8.8.8]:1":      false,
		"[2001:db8::1]:1":         false,
		"[2002:7f00:1::]:1":       false,
		"[64:ff9b::7f00:1]:1":     false,
		"0.0.0.0:1":               false,
		"[::]:1":                  false,
		"":                        false,
		"somewhere":               false,
		"@":                       false,
		"192.0.2.1:1":             false,
		"[fec0::1]:1":             false,
		"224.0.0.1:1":             false,
		"[::ffff:0:127.0.0.1]:1":  false,
		"[::127.0.0.1]:1":         false,
		"[fe7f::1]:1":             false,
		"[fc00::]:1":              true,
		"[febf:ffff::1]:1":        true,
		"255.255.255.255:1":       false,
		"127.255.255.254:1":       true,
		"128.0.0.1:1":             false,
		"126.255.255.255:1":       false,
		"11.0.0.0:1":              false,
		"9.255.255.255:1":         false,
		"[fdff:ffff::1]:65535":    true,
		"[::ffff:100.64.0.1]:443": true,
	} {
		r := request(func(r *http.Request) { r.RemoteAddr = addr })
		_, refusal := newGuard().Check(r)
		want := signaling.Code("")
		if !near {
			want = signaling.CodeClientForbidden
		}
		if code(refusal) != want {
			t.Errorf("client %q: %q, want %q", addr, code(refusal), want)
		}
		everyone := newGuard()
		everyone.Everyone = true
		if _, err := netip.ParseAddrPort(addr); err == nil {
			if _, refusal := everyone.Check(r); refusal != nil {
				t.Errorf("client %q of a public server: %q", addr, refusal.Code)
			}
		}
	}
}

func TestOrigin(t *testing.T) {
	upgrade := func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}
	post := func(r *http.Request) { r.Method = http.MethodPost }
	for _, c := range []struct {
		name    string
		change  func(*http.Request)
		origin  []string
		allowed bool
	}{
		{"own WebSocket", upgrade, []string{"http://localhost:8080"}, true},
		{"own POST", post, []string{"http://localhost:8080"}, true},
		{"in capitals", post, []string{"http://LOCALHOST:8080"}, true},
		{"a program", upgrade, nil, true},
		{"another site's page is read", func(*http.Request) {}, []string{"http://evil.example"}, true},
		{"a foreign WebSocket", upgrade, []string{"http://evil.example"}, false},
		{"a foreign POST", post, []string{"https://evil.example"}, false},
		{"another port", post, []string{"http://localhost:3000"}, false},
		{"another scheme", post, []string{"https://localhost:8080"}, false},
		{"null", upgrade, []string{"null"}, false},
		{"empty", upgrade, []string{""}, false},
		{"two", post, []string{"http://localhost:8080", "http://evil.example"}, false},
		{"a name that begins alike", post, []string{"http://localhost:8080.evil.example"}, false},
		{"user info", post, []string{"http://localhost:8080@evil.example"}, false},
		{"a path", post, []string{"http://localhost:8080/x"}, false},
		{"a file", upgrade, []string{"file://localhost:8080"}, false},
		{"an extension", upgrade, []string{"chrome-extension://localhost:8080"}, false},
		{"hidden origin of another site", func(r *http.Request) { post(r); r.Header.Set("Sec-Fetch-Site", "cross-site") }, nil, false},
		{"DELETE", func(r *http.Request) { r.Method = http.MethodDelete }, []string{"http://evil.example"}, false},
	} {
		r := request(func(r *http.Request) {
			c.change(r)
			if c.origin != nil {
				r.Header["Origin"] = c.origin
			}
		})
		_, refusal := newGuard().Check(r)
		want := signaling.CodeOriginForbidden
		if c.allowed {
			want = ""
		}
		if code(refusal) != want {
			t.Errorf("%s: %q, want %q", c.name, code(refusal), want)
		}
	}
	r := request(func(r *http.Request) {
		post(r)
		r.TLS = &tls.ConnectionState{}
		r.Host = "call.example"
		r.Header.Set("Origin", "https://call.example:443")
	})
	if _, refusal := newGuard().Check(r); refusal != nil {
		t.Errorf("the default port written out: %q", refusal.Code)
	}
}

func TestForwarded(t *testing.T) {
	const proxy = "10.0.0.2:50000"
	for _, c := range []struct {
		name   string
		from   string
		header http.Header
		client Client
		code   signaling.Code
	}{
		{"nothing forwarded", proxy, http.Header{},
			Client{Addr: netip.MustParseAddr("10.0.0.2"), Scheme: "http", Host: "localhost:8080"}, ""},
		{"a tunnel on this machine", "127.0.0.1:1", http.Header{"X-Forwarded-For": {"8.8.8.8"}}, Client{}, signaling.CodeForwardedUntrusted},
		{"a client that pretends", "192.168.1.9:1", http.Header{"X-Forwarded-For": {"127.0.0.1"}}, Client{}, signaling.CodeForwardedUntrusted},
		{"a client that pretends by the standard", "192.168.1.9:1", http.Header{"Forwarded": {"for=127.0.0.1"}}, Client{}, signaling.CodeForwardedUntrusted},
		{"X-Real-IP alone", "192.168.1.9:1", http.Header{"X-Real-Ip": {"127.0.0.1"}}, Client{}, signaling.CodeForwardedUntrusted},
		{"an empty header", "127.0.0.1:1", http.Header{"X-Forwarded-For": {""}}, Client{}, signaling.CodeForwardedUntrusted},
		{"a host that pretends", "127.0.0.1:1", http.Header{"X-Forwarded-Host": {"localhost"}}, Client{}, signaling.CodeForwardedUntrusted},

		{"one hop", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"what the client wrote means nothing", proxy, http.Header{"X-Forwarded-For": {"127.0.0.1, 192.168.1.9"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"nor in a line of its own", proxy, http.Header{"X-Forwarded-For": {"127.0.0.1", "192.168.1.9"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"two trusted hops", proxy, http.Header{"X-Forwarded-For": {"127.0.0.1, 192.168.1.9, 10.0.0.3"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"the internet behind the proxy", proxy, http.Header{"X-Forwarded-For": {"8.8.8.8"}}, Client{}, signaling.CodeClientForbidden},
		{"the internet that pretends", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9, 8.8.8.8"}}, Client{}, signaling.CodeClientForbidden},
		{"with ports", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9:4711"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"IPv6 with a port", proxy, http.Header{"X-Forwarded-For": {"[fd00::9]:4711"}},
			Client{Addr: netip.MustParseAddr("fd00::9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"mapped", proxy, http.Header{"X-Forwarded-For": {"::ffff:192.168.1.9"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Host: "localhost:8080"}, ""},
		{"scheme and host", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"call.example"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Scheme: "https", Host: "call.example"}, ""},
		{"scheme and host of the right hop", proxy, http.Header{
			"X-Forwarded-For":   {"127.0.0.1, 192.168.1.9, 10.0.0.3"},
			"X-Forwarded-Proto": {"http, https, http"}, "X-Forwarded-Host": {"evil.example, call.example, inner"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Scheme: "https", Host: "call.example"}, ""},
		{"a forwarded host that is not ours", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9"}, "X-Forwarded-Host": {"evil.example"}}, Client{}, signaling.CodeHostForbidden},
		{"all trusted", proxy, http.Header{"X-Forwarded-For": {"10.0.0.4, 10.0.0.3"}},
			Client{Addr: netip.MustParseAddr("10.0.0.4"), Forwarded: true, Host: "localhost:8080"}, ""},

		{"the standard", proxy, http.Header{"Forwarded": {`for="[fd00::9]:4711";proto=https;host="call.example:443";by=_me`}},
			Client{Addr: netip.MustParseAddr("fd00::9"), Forwarded: true, Scheme: "https", Host: "call.example:443"}, ""},
		{"the standard, a chain", proxy, http.Header{"Forwarded": {`for=127.0.0.1, For=192.168.1.9;Proto=https`, `for=10.0.0.3`}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Scheme: "https", Host: "localhost:8080"}, ""},
		{"both agree", proxy, http.Header{"Forwarded": {"for=192.168.1.9;proto=https"}, "X-Forwarded-For": {"192.168.1.9"}},
			Client{Addr: netip.MustParseAddr("192.168.1.9"), Forwarded: true, Scheme: "https", Host: "localhost:8080"}, ""},
		{"the one that the proxy does not write", proxy, http.Header{"Forwarded": {"for=127.0.0.1"}, "X-Forwarded-For": {"192.168.1.9"}}, Client{}, CodeForwardedMalformed},
		{"a host that the proxy does not write", proxy, http.Header{"Forwarded": {"for=192.168.1.9;host=localhost"}, "X-Forwarded-For": {"192.168.1.9"}, "X-Forwarded-Host": {"call.example"}}, Client{}, CodeForwardedMalformed},
		{"hidden", proxy, http.Header{"Forwarded": {"for=_secret"}}, Client{}, CodeForwardedMalformed},
		{"unknown", proxy, http.Header{"X-Forwarded-For": {"unknown"}}, Client{}, CodeForwardedMalformed},
		{"no client named", proxy, http.Header{"X-Forwarded-Proto": {"https"}}, Client{}, CodeForwardedMalformed},
		{"not an address", proxy, http.Header{"X-Forwarded-For": {"localhost"}}, Client{}, CodeForwardedMalformed},
		{"twice in one element", proxy, http.Header{"Forwarded": {"for=127.0.0.1;for=192.168.1.9"}}, Client{}, CodeForwardedMalformed},
		{"an open quote", proxy, http.Header{"Forwarded": {`for="192.168.1.9`}}, Client{}, CodeForwardedMalformed},
		{"a scheme nobody speaks", proxy, http.Header{"X-Forwarded-For": {"192.168.1.9"}, "X-Forwarded-Proto": {"gopher"}}, Client{}, CodeForwardedMalformed},
		{"too long a chain", proxy, http.Header{"X-Forwarded-For": {strings.Repeat("10.0.0.3,", 40) + "10.0.0.3"}}, Client{}, CodeForwardedMalformed},
		{"too long a chain by the standard", proxy, http.Header{"Forwarded": {strings.Repeat("for=10.0.0.3,", 40) + "for=10.0.0.3"}}, Client{}, CodeForwardedMalformed},
	} {
		g := newGuard()
		g.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
		client, refusal := g.Check(request(func(r *http.Request) {
			r.RemoteAddr = c.from
			r.Header = c.header
		}))
		if code(refusal) != c.code {
			t.Errorf("%s: %q, want %q (%v)", c.name, code(refusal), c.code, refusal)
		} else if refusal == nil && client != c.client {
			t.Errorf("%s: got  %+v\nwant %+v", c.name, client, c.client)
		}
	}
}

func TestWhoIsOnThisMachine(t *testing.T) {
	g := newGuard()
	g.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	direct, refusal := g.Check(request(func(*http.Request) {}))
	if refusal != nil || !direct.OnThisMachine() {
		t.Errorf("loopback: %+v, %v", direct, refusal)
	}
	through, refusal := g.Check(request(func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") }))
	if refusal != nil || through.OnThisMachine() {
		t.Errorf("through a proxy: %+v, %v", through, refusal)
	}
}

func TestHandler(t *testing.T) {
	g := newGuard()
	g.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}
	var served, refused int
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		served++
		if c := ClientOf(r); r.Host != "call.example" || c.Addr.String() != "192.168.1.9" || !c.Near() || c.Hostname() != "call.example" {
			t.Errorf("served Host %q for %+v", r.Host, c)
		}
	}), func(_ http.ResponseWriter, r *http.Request, refusal *Refusal) {
		refused++
		if refusal.Code != signaling.CodeHostForbidden || ClientOf(r).Addr.String() != "127.0.0.1" {
			t.Errorf("refused %v for %+v", refusal, ClientOf(r))
		}
	})
	h.ServeHTTP(httptest.NewRecorder(), request(func(r *http.Request) {
		r.RemoteAddr = "10.0.0.2:1"
		r.Header.Set("Forwarded", "for=192.168.1.9;host=call.example;proto=https")
	}))
	h.ServeHTTP(httptest.NewRecorder(), request(func(r *http.Request) { r.Host = "evil.example" }))
	if served != 1 || refused != 1 {
		t.Errorf("served %d, refused %d", served, refused)
	}
	if c := ClientOf(request(func(*http.Request) {})); c != (Client{}) {
		t.Errorf("a request from elsewhere has %+v", c)
	}
}

func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{
		`for=192.0.2.43`, `For="[2001:db8:cafe::17]:4711"`, `for=192.0.2.60;proto=http;by=203.0.113.43`,
		`for=192.0.2.43, for=198.51.100.17`, `for=_hidden, for=unknown`, `for="a\"b"`, `;;for=1.2.3.4 ; host=x`, `,`, `for=`, `for="`, `=`,
	} {
		f.Add(seed, seed, "https")
	}
	g := newGuard()
	g.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	peer := netip.MustParseAddr("10.0.0.2")
	f.Fuzz(func(t *testing.T, standard, custom, proto string) {
		for _, h := range []http.Header{
			{"Forwarded": {standard}},
			{"X-Forwarded-For": {custom}, "X-Forwarded-Proto": {proto}},
			{"Forwarded": {standard}, "X-Forwarded-For": {custom}},
		} {
			hop, err := g.forwarded(peer, h)
			if err != nil {
				continue
			}
			if !hop.addr.IsValid() || hop.addr.Is4In6() || hop.addr.Zone() != "" {
				t.Fatalf("%v gives the client %v", h, hop.addr)
			}
			if hop.proto != "" && hop.proto != "http" && hop.proto != "https" {
				t.Fatalf("%v gives the scheme %q", h, hop.proto)
			}
			// Whatever a client writes in front, the hop that the proxy appends decides.
			for name, appended := range map[string]string{"Forwarded": "for=192.168.7.7", "X-Forwarded-For": "192.168.7.7"} {
				if h[name] != nil && len(h) == 1 {
					longer := http.Header{name: {h[name][0], appended}}
					if hop, err := g.forwarded(peer, longer); err == nil && hop.addr.String() != "192.168.7.7" {
						t.Fatalf("%v gives the client %v", longer, hop.addr)
					}
				}
			}
		}
	})
}

func FuzzSplitHost(f *testing.F) {
	for _, seed := range []string{"localhost:8080", "[::1]:1", "[fe80::1%25eth0]", "a.b.:", "::ffff:1.2.3.4", "[", "]", ":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, _ := splitHost(s)
		if host != strings.ToLower(host) || strings.HasPrefix(host, "[") {
			t.Fatalf("%q gives %q", s, host)
		}
		if addr, err := netip.ParseAddr(host); err == nil && (addr.Is4In6() || addr.Zone() != "" || addr.String() != host) {
			t.Fatalf("%q gives the address %q, which is not its one form", s, host)
		}
	})
}
