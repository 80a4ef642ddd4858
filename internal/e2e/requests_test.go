package e2e

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Nobody but the server hears of a call: not by a request of any page, and not as a server that ICE would ask.
func noThirdParty(s *server, _ string, ada, bob *tab) {
	t := ada.t
	visitor := sharedChromium(t).person(t, "Cy", personOptions{})
	visitor.open(s.url + "/trust")

	sockets := 0
	for _, p := range []*tab{ada, bob, visitor} {
		p.mu.Lock()
		requests := p.requests
		p.mu.Unlock()
		if len(requests) == 0 {
			t.Errorf("%s: the browser logged no request", p.name)
		}
		for _, r := range requests {
			u, err := url.Parse(r)
			if err != nil {
				t.Errorf("%s asked for %q: %v", p.name, r, err)
				continue
			}
			switch u.Scheme {
			case "data", "blob": // stays in the page
				continue
			case "ws", "wss":
				sockets++
			}
			if "http://"+u.Host != s.url {
				t.Errorf("%s asked %s", p.name, r)
			}
		}
		for _, ice := range eval[[]string](p, "e2e.iceHosts()") {
			_, server, _ := strings.Cut(ice, ":")
			server, _, _ = strings.Cut(server, "?")
			if host, _, err := net.SplitHostPort(server); err != nil || !isThisMachine(t, host) {
				t.Errorf("%s: ICE is told to ask %s", p.name, ice)
			}
		}
	}
	if sockets == 0 {
		t.Error("the log holds no WebSocket, so it is not complete")
	}
}

// isThisMachine reports whether host is this machine under a name or address of its own.
func isThisMachine(t *testing.T, host string) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	return host == "localhost" || slices.ContainsFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.ParseIP(host))
	})
}
