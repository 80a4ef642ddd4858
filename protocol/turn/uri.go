package turn

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A URI names a STUN or TURN server (RFC 7064, RFC 7065).
type URI struct {
	Scheme string // "stun", "stuns", "turn" or "turns"
	Host   string // a name, an IPv4 address, or an IPv6 address without brackets
	Port   uint16 // the scheme's default if the URI has none
	// Transport is "udp" or "tcp". With "stuns" and "turns", "udp" means DTLS (RFC 7350) and "tcp" means TLS.
	Transport string
}

// ErrURI is what every error of ParseURI wraps: in the W3C's words, a SyntaxError.
var ErrURI = errors.New("not a STUN or TURN URI")

// TURN reports whether the server is to be asked for an allocation, and so needs a username and password.
func (u URI) TURN() bool { return strings.HasPrefix(u.Scheme, "turn") }

// Secure reports whether TLS or DTLS protects what is said to the server.
func (u URI) Secure() bool { return strings.HasSuffix(u.Scheme, "s") }

// String returns the URI in its shortest form.
func (u URI) String() string {
	host := u.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	s := u.Scheme + ":" + host
	if u.Port != defaultPort(u.Scheme) {
		s += ":" + strconv.Itoa(int(u.Port))
	}
	if u.Transport != defaultTransport(u.Scheme) {
		s += "?transport=" + u.Transport
	}
	return s
}

func defaultPort(scheme string) uint16 {
	if strings.HasSuffix(scheme, "s") {
		return 5349
	}
	return 3478
}

func defaultTransport(scheme string) string {
	if strings.HasSuffix(scheme, "s") {
		return "tcp"
	}
	return "udp"
}

// ParseURI reads a URI as RTCIceServer.urls has it. Schemes and hosts are compared without regard to case.
func ParseURI(s string) (URI, error) {
	bad := func(format string, args ...any) (URI, error) {
		return URI{}, fmt.Errorf("%w: %q %s", ErrURI, s, fmt.Sprintf(format, args...))
	}
	scheme, rest, ok := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme)
	switch {
	case !ok:
		return bad("has no scheme: write stun:, stuns:, turn: or turns: before the host")
	case scheme != "stun" && scheme != "stuns" && scheme != "turn" && scheme != "turns":
		return bad("has the scheme %q, which is not stun, stuns, turn or turns", scheme)
	case strings.HasPrefix(rest, "//"):
		return bad("has slashes behind the scheme: these URIs have none")
	}
	u := URI{Scheme: scheme, Port: defaultPort(scheme), Transport: defaultTransport(scheme)}
	rest, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery {
		value, ok := strings.CutPrefix(query, "transport=")
		switch {
		case !u.TURN():
			return bad("has a query, which the scheme %s does not have", scheme) // RFC 7064 section 3.1
		case !ok || value != "udp" && value != "tcp":
			return bad("has the query %q: it may only be transport=udp or transport=tcp", query)
		}
		u.Transport = value
	}
	port, hasPort := "", false
	if inside, ok := strings.CutPrefix(rest, "["); ok {
		host, after, closed := strings.Cut(inside, "]")
		a, err := netip.ParseAddr(host)
		if !closed || err != nil || !a.Is6() || a.Zone() != "" {
			return bad("has brackets around what is no IPv6 address")
		}
		u.Host = host
		if after != "" {
			if port, hasPort = strings.CutPrefix(after, ":"); !hasPort {
				return bad("has something other than a port behind the address")
			}
		}
	} else {
		u.Host, port, hasPort = strings.Cut(rest, ":")
		if strings.Contains(port, ":") {
			return bad("has an IPv6 address without brackets, or two ports")
		}
	}
	if why := checkHost(u.Host); why != "" {
		return bad("%s", why)
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '+' {
			return bad("has the port %q, which is no number from 1 to 65535", port)
		}
		u.Port = uint16(n)
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// checkHost returns what is wrong with a host: it is a reg-name of RFC 3986, of which no resolver takes more than this.
func checkHost(host string) string {
	if host == "" {
		return "has no host"
	}
	if len(host) > 255 {
		return "has a host of more than 255 characters"
	}
	for _, r := range host {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("-._~:", r):
		default:
			return fmt.Sprintf("has %q in the host", r)
		}
	}
	return ""
}
