package guard

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// forwardingHeaders are what proxies and tunnels put into a request that they pass on.
var forwardingHeaders = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-By",
	"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fly-Client-Ip",
}

// forwardingHeader returns the name of a header that shows that the request was passed on, or "".
func forwardingHeader(h http.Header) string {
	for _, name := range forwardingHeaders {
		if _, ok := h[name]; ok {
			return name
		}
	}
	return ""
}

// A hop is what one proxy says of the request it received.
type hop struct {
	addr  netip.Addr // who sent it; invalid if the proxy hides it
	host  string
	proto string // "http", "https" or ""
}

// maxHops bounds a chain of proxies; more are a loop or an attack.
const maxHops = 32

var (
	errTooManyHops = errors.New("the chain of proxies is too long")
	errHidden      = errors.New("the client's address is hidden")
	errConflict    = errors.New("different clients are named by Forwarded and X-Forwarded-For, of which the proxy must remove the one that it does not write")
	errNobody      = errors.New("neither Forwarded nor X-Forwarded-For names a client")
)

// forwarded returns what the chain of trusted proxies that ends with peer says of the client: from the right, the first
// address that is not a trusted proxy's. What stands left of it was written by the client and means nothing.
//
// A proxy writes one of the two headers and may pass the other on as a client made it up, so where both are there they
// must agree.
func (g *Guard) forwarded(peer netip.Addr, h http.Header) (hop, error) {
	standard, err := parseForwarded(h.Values("Forwarded"))
	if err != nil {
		return hop{}, fmt.Errorf("in Forwarded, %w", err)
	}
	custom, err := parseXForwarded(h)
	if err != nil {
		return hop{}, fmt.Errorf("in X-Forwarded-For, %w", err)
	}
	switch {
	case len(standard) == 0 && len(custom) == 0:
		return hop{}, errNobody
	case len(standard) == 0:
		return g.nearest(peer, custom)
	case len(custom) == 0:
		return g.nearest(peer, standard)
	}
	a, err := g.nearest(peer, standard)
	if err != nil {
		return hop{}, err
	}
	b, err := g.nearest(peer, custom)
	if err != nil {
		return hop{}, err
	}
	if a != b && (a.addr != b.addr || a.host != b.host && a.host != "" && b.host != "" || a.proto != b.proto && a.proto != "" && b.proto != "") {
		return hop{}, errConflict
	}
	if a.host == "" {
		a.host = b.host
	}
	if a.proto == "" {
		a.proto = b.proto
	}
	return a, nil
}

func (g *Guard) nearest(peer netip.Addr, hops []hop) (hop, error) {
	at, from := len(hops), peer
	for at > 0 && g.isProxy(from) {
		at--
		from = hops[at].addr
		if !from.IsValid() {
			return hop{}, errHidden
		}
	}
	return hops[at], nil // peer is a proxy, or this would not have been called: at has moved
}

// parseXForwarded reads X-Forwarded-For, and beside each of its addresses the host and scheme that stand at the same
// place of X-Forwarded-Host and X-Forwarded-Proto. A list with a single value speaks for all.
func parseXForwarded(h http.Header) ([]hop, error) {
	addrs := headerList(h, "X-Forwarded-For")
	hosts, protos := headerList(h, "X-Forwarded-Host"), headerList(h, "X-Forwarded-Proto")
	if len(addrs) > maxHops || len(hosts) > maxHops || len(protos) > maxHops {
		return nil, errTooManyHops
	}
	var hops []hop
	for i, text := range addrs {
		addr, err := parseNode(text)
		if err != nil {
			return nil, err
		}
		fromRight := len(addrs) - 1 - i
		proto, err := parseProto(atFromRight(protos, fromRight))
		if err != nil {
			return nil, err
		}
		hops = append(hops, hop{addr, atFromRight(hosts, fromRight), proto})
	}
	return hops, nil
}

func atFromRight(list []string, i int) string {
	if len(list) == 0 {
		return ""
	}
	return list[max(len(list)-1-i, 0)]
}

func headerList(h http.Header, name string) (list []string) {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(part))
			if len(list) > maxHops {
				return list
			}
		}
	}
	return list
}

// parseForwarded reads the field of RFC 7239, section 4, leftmost (the client's own, or its invention) first.
func parseForwarded(lines []string) ([]hop, error) {
	var hops []hop
	for _, line := range lines {
		for rest := line; ; {
			if len(hops) == maxHops {
				return nil, errTooManyHops
			}
			var one hop
			var err error
			if one, rest, err = parseElement(rest); err != nil {
				return nil, err
			}
			hops = append(hops, one)
			if rest == "" {
				break
			}
			rest = rest[1:] // the comma
		}
	}
	return hops, nil
}

// parseElement reads one forwarded-element, a list of pairs, up to a comma or the end.
func parseElement(s string) (one hop, rest string, err error) {
	seen := make(map[string]bool)
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == ',' {
			break
		}
		if s[0] == ';' {
			s = s[1:]
			continue
		}
		name, after, ok := strings.Cut(s, "=")
		if !ok || !isToken(name) {
			return one, "", errors.New("it is not a list of name=value")
		}
		value, after, err := parseValue(after)
		if err != nil {
			return one, "", err
		}
		name = strings.ToLower(name)
		if seen[name] { // RFC 7239, section 4: "Each parameter MUST NOT occur more than once per field-value."
			return one, "", fmt.Errorf("%q stands twice in one element", name)
		}
		seen[name] = true
		switch name {
		case "for":
			one.addr, err = parseNode(value)
		case "host":
			one.host = value
		case "proto":
			one.proto, err = parseProto(value)
		}
		if err != nil {
			return one, "", err
		}
		s = strings.TrimLeft(after, " \t")
		if s != "" && s[0] != ';' && s[0] != ',' {
			return one, "", errors.New("there is something behind a value")
		}
	}
	return one, s, nil
}

// parseValue reads a token or a quoted string (RFC 9110, sections 5.6.2 and 5.6.4).
func parseValue(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ";, \t")
		if end < 0 {
			end = len(s)
		}
		if !isToken(s[:end]) {
			return "", "", errors.New("a value with special characters must be quoted")
		}
		return s[:end], s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c < ' ' && c != '\t', c == 0x7f:
			return "", "", errors.New("there is a control character in a value")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quoted value does not end")
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// parseNode reads who sent a request: an address, perhaps with a port (RFC 7239, section 6). "unknown" and hidden
// identifiers, which begin with an underscore, give an invalid address.
func parseNode(s string) (netip.Addr, error) {
	if strings.EqualFold(s, "unknown") || strings.HasPrefix(s, "_") {
		return netip.Addr{}, nil
	}
	bare := s
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		bare = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(bare)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		addr = withPort.Addr()
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an address", shorten(s))
	}
	return addr.Unmap().WithZone(""), nil
}

func parseProto(s string) (string, error) {
	switch s = strings.ToLower(s); s {
	case "", "http", "https":
		return s, nil
	case "ws":
		return "http", nil
	case "wss":
		return "https", nil
	}
	return "", fmt.Errorf("%q is neither http nor https", shorten(s))
}
