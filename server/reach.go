package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/net/idna"

	"github.com/parley-rtc/parley/server/guard"
	"github.com/parley-rtc/parley/server/machine"
)

// reach knows the addresses under which the server can be opened.
type reach struct {
	watch    *machine.Watch
	names    []string // those of Config.Names
	internet []string // names (in ASCII) and addresses on the internet
	http     place    // where plain http listens
	https    place    // where https listens
	proxied  bool     // a proxy in front of the server has the ports that the internet sees
}

// A place is where the server listens for one scheme.
type place struct {
	host string // "" is everywhere; the first of several
	port int    // 0: nowhere
}

// on reports whether it is open at all.
func (p place) on() bool { return p.port != 0 }

// here reports whether this machine reaches it as localhost.
func (p place) here() bool { return p.on() && (p.everywhere() || isSecureHost(p.host)) }

// everywhere reports whether it listens at every address of the machine.
func (p place) everywhere() bool {
	addr, err := netip.ParseAddr(p.host)
	return p.on() && (p.host == "" || err == nil && addr.IsUnspecified())
}

// far reports whether it can be reached from other machines.
func (p place) far() bool { return p.on() && !isSecureHost(p.host) }

// internetNames returns the names and addresses by which the internet knows the server, "auto" resolved.
func internetNames(cfg *Config, here *machine.Here, external []netip.Addr) []string {
	var names []string
	for _, domain := range cfg.Domains {
		names = append(names, canonical(domain))
	}
	for _, p := range cfg.Public {
		if p != auto {
			names = append(names, canonical(p))
			continue
		}
		for _, addr := range slices.Concat(here.Addrs, external) {
			if isPublic(addr) && !slices.Contains(names, addr.String()) {
				names = append(names, addr.String())
			}
		}
	}
	return names
}

// canonical writes a name or address in the one form in which names are compared. What it is given is valid.
func canonical(name string) string {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().WithZone("").String()
	}
	if ascii, err := idna.Lookup.ToASCII(name); err == nil {
		return ascii
	}
	return name
}

func canonicalAll(names []string) []string {
	var list []string
	for _, n := range names {
		list = append(list, canonical(n))
	}
	return list
}

func origin(scheme, host string, port int) string {
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	if scheme == "https" && port == 443 || scheme == "http" && port == 80 {
		return scheme + "://" + host
	}
	return scheme + "://" + host + ":" + strconv.Itoa(port)
}

// fromHere is where to open the app on this machine.
func (r *reach) fromHere() string {
	switch {
	case r.http.here():
		return origin("http", "localhost", r.http.port)
	case r.https.here():
		return origin("https", "localhost", r.https.port)
	case r.https.on():
		return origin("https", r.https.host, r.https.port)
	}
	return origin("http", r.http.host, r.http.port)
}

// fromNetwork returns where other devices of the local network open the app, the likeliest first; none without https,
// since browsers give the camera to secure pages only.
func (r *reach) fromNetwork() []string {
	if !r.https.everywhere() {
		if r.https.here() || !r.https.on() {
			return nil
		}
		return []string{origin("https", r.https.host, r.https.port)}
	}
	var list, last []string
	for _, addr := range r.watch.Here().Addrs {
		switch {
		case addr.IsLoopback() || !machine.IsNear(addr):
		case addr.IsLinkLocalUnicast():
			if addr.Is4() { // browsers do not take the zone that IPv6 needs here
				last = append(last, origin("https", addr.String(), r.https.port))
			}
		default:
			list = append(list, origin("https", addr.String(), r.https.port))
		}
	}
	if len(list) == 0 {
		list = last
	}
	for _, name := range r.names {
		list = append(list, origin("https", name, r.https.port))
	}
	return list
}

// fromInternet returns where the internet opens the app.
func (r *reach) fromInternet() []string {
	var list []string
	for _, name := range r.internet {
		port := r.https.port
		if r.proxied || port == 0 {
			port = 443
		}
		list = append(list, origin("https", name, port))
	}
	return list
}

// link is the invitation to a room: the address at which the asking client has opened the app, unless that is localhost,
// which means another machine to everyone else.
func (r *reach) link(req *http.Request, room string) string {
	client := guard.ClientOf(req)
	base := ""
	if isSecureHost(client.Hostname()) {
		if far := append(r.fromInternet(), r.fromNetwork()...); len(far) > 0 {
			base = far[0]
		}
	}
	if base == "" {
		scheme := client.Scheme
		if scheme == "" {
			scheme = "https"
		}
		base = scheme + "://" + client.Host
	}
	return base + "/r/" + room
}

// isSecureHost reports whether browsers take plain http from host for secure: it cannot leave the machine
// (W3C Secure Contexts, section 3.1).
func isSecureHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || len(host) > len(".localhost") && host[len(host)-len(".localhost"):] == ".localhost"
}

// redirect returns where a plain http request for host has to go to become secure, or "" if there is no https.
func (r *reach) redirect(client guard.Client, uri string) string {
	if client.Forwarded {
		return "https://" + withoutPort(client.Host) + uri
	}
	if !r.https.on() {
		return ""
	}
	return origin("https", client.Hostname(), r.https.port) + uri
}

func withoutPort(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		if addr, err := netip.ParseAddr(h); err == nil && addr.Is6() {
			return "[" + h + "]"
		}
		return h
	}
	return host
}
