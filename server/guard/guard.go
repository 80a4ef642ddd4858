// Package guard decides who is served: each request must name a host that this machine is called by, come from a
// network that is served, and where it changes something come from this server's own pages.
//
// Behind that stand three attacks. A page elsewhere can make a browser talk to this machine under a name of its own that
// it points here (DNS rebinding): the Host gives it away. A page elsewhere can send requests and open WebSockets here in
// the name of whoever reads it: the Origin gives it away. And a tunnel or proxy on this machine makes everyone look like
// loopback: its forwarding headers give it away, unless the operator has named it, and then they say who really asks.
package guard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/signaling"
)

// CodeForwardedMalformed: 400, a trusted proxy does not say clearly on whose behalf it asks. The other codes are those of
// package signaling, since a refused join is what most clients see.
const CodeForwardedMalformed signaling.Code = "forwarded-malformed"

// A Refusal says why a request is not served, in words for a person.
type Refusal struct {
	Status  int
	Code    signaling.Code
	Message string
}

// A Client is on whose behalf a request is made, and how it reached the first of us that it can see.
type Client struct {
	Addr      netip.Addr // unmapped, without zone
	Forwarded bool       // a trusted proxy speaks for it
	Scheme    string     // "http", "https", or "" if the proxy does not say
	Host      string     // the host, perhaps with a port, that the client asked for
}

// Near reports whether the client is on this machine or a network that cannot be reached from the internet.
func (c Client) Near() bool { return machine.IsNear(c.Addr) }

// OnThisMachine reports whether the client is on loopback with nobody in between.
func (c Client) OnThisMachine() bool { return c.Addr.IsLoopback() && !c.Forwarded }

// Guard checks requests. Its fields are set before first use; then it is safe for concurrent use.
type Guard struct {
	Everyone bool                 // whether the internet is served
	Proxies  []netip.Prefix       // who may say on whose behalf a request is made
	Names    []string             // names and addresses of this machine beside those that Here knows; names in ASCII
	Here     func() *machine.Here // what this machine is called now
}

// Check returns the client of a request, or why it is not served.
func (g *Guard) Check(r *http.Request) (Client, *Refusal) {
	client, refusal := g.client(r)
	if refusal != nil {
		return client, refusal
	}
	if !g.Everyone && !client.Near() {
		return client, &Refusal{http.StatusForbidden, signaling.CodeClientForbidden,
			"This server is for its own machine and local network, and this request comes from elsewhere. " +
				"Whoever runs it can serve the internet with --domain or --public."}
	}
	host, _ := splitHost(client.Host)
	if !g.isOurs(host, localAddr(r)) {
		return client, &Refusal{http.StatusMisdirectedRequest, signaling.CodeHostForbidden, fmt.Sprintf(
			"This server is not called %q. Open it by one of its own names or addresses; if this is one of them, whoever runs it can say so with --name.",
			shorten(host))}
	}
	if refusal := checkOrigin(r, client); refusal != nil {
		return client, refusal
	}
	return client, nil
}

// client finds out on whose behalf a request is made.
func (g *Guard) client(r *http.Request) (Client, *Refusal) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Client{}, &Refusal{http.StatusForbidden, signaling.CodeClientForbidden, "It cannot be seen where this request comes from."}
	}
	client := Client{Addr: peer.Addr().Unmap().WithZone(""), Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		client.Scheme = "https"
	}
	header := forwardingHeader(r.Header)
	if header == "" {
		return client, nil
	}
	if !g.isProxy(client.Addr) {
		return client, &Refusal{http.StatusForbidden, signaling.CodeForwardedUntrusted, fmt.Sprintf(
			"This request came through a proxy or tunnel (it has the header %s) that this server was not told about. "+
				"Whoever runs it can name the proxy's address with --trusted-proxy.", header)}
	}
	hop, err := g.forwarded(client.Addr, r.Header)
	if err != nil {
		return client, &Refusal{http.StatusBadRequest, CodeForwardedMalformed, "The proxy in front of this server does not say clearly who asks: " + err.Error() + "."}
	}
	client.Forwarded = true
	client.Addr = hop.addr
	client.Scheme = hop.proto
	if hop.host != "" {
		client.Host = hop.host
	}
	return client, nil
}

func (g *Guard) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(g.Proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// isOurs reports whether host, as splitHost returns it, is a name or address of this machine. local is the address at
// which the request came in: that one is ours whatever Here has seen.
func (g *Guard) isOurs(host string, local netip.Addr) bool {
	here := g.Here()
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr == local || slices.Contains(here.Addrs, addr) || slices.Contains(g.Names, host)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	return host != "" && (slices.Contains(here.Names(), host) || slices.Contains(g.Names, host))
}

func localAddr(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// splitHost takes a Host apart. A name comes back in lower case without a trailing dot, an address unmapped and without
// a zone, in its one canonical form. What is neither comes back as "".
func splitHost(hostport string) (host, port string) {
	s := strings.ToLower(hostport)
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var rest string
		if s, rest, ok = strings.Cut(inner, "]"); !ok {
			return "", ""
		}
		if rest != "" && !strings.HasPrefix(rest, ":") {
			return "", ""
		}
		port = strings.TrimPrefix(rest, ":")
	} else if strings.Count(s, ":") == 1 {
		s, port, _ = strings.Cut(s, ":")
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Unmap().WithZone("").String(), port
	}
	if strings.Contains(s, ":") {
		return "", ""
	}
	return strings.TrimSuffix(s, "."), port
}

// checkOrigin refuses what a page of another site sends: WebSockets, and requests that change something. A browser
// names the page's origin in those; a program that is no browser has none.
func checkOrigin(r *http.Request, client Client) *Refusal {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if safe && !isUpgrade(r) {
		return nil
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 && r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return nil
	}
	if len(origins) == 1 && sameOrigin(origins[0], client) {
		return nil
	}
	return &Refusal{http.StatusForbidden, signaling.CodeOriginForbidden,
		"This was sent by a page of another site, which may not speak to this server. Open the call from this server's own address."}
}

func isUpgrade(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

func sameOrigin(origin string, client Client) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" {
		return false
	}
	if u.Scheme != "https" && u.Scheme != "http" || client.Scheme != "" && client.Scheme != u.Scheme {
		return false
	}
	host, port := splitHost(u.Host)
	wantHost, wantPort := splitHost(client.Host)
	return host != "" && host == wantHost && withDefault(port, u.Scheme) == withDefault(wantPort, u.Scheme)
}

func withDefault(port, scheme string) string {
	switch {
	case port != "":
		return port
	case scheme == "https":
		return "443"
	}
	return "80"
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

type contextKey struct{}

// Handler lets to next what passes, with the request's Host as the client said it, and [ClientOf] to ask who it is. The
// rest goes to refuse.
func (g *Guard) Handler(next http.Handler, refuse func(http.ResponseWriter, *http.Request, *Refusal)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, refusal := g.Check(r)
		r = r.WithContext(context.WithValue(r.Context(), contextKey{}, client))
		if refusal != nil {
			refuse(w, r, refusal)
			return
		}
		r.Host = client.Host
		next.ServeHTTP(w, r)
	})
}

// ClientOf returns the client of a request that came through [Guard.Handler], and the zero Client for any other.
func ClientOf(r *http.Request) Client {
	client, _ := r.Context().Value(contextKey{}).(Client)
	return client
}

// Hostname returns the name or address in the client's Host, without a port.
func (c Client) Hostname() string {
	host, _ := splitHost(c.Host)
	return host
}
