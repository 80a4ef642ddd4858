package gather

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/parley-rtc/parley/protocol/mono"
)

const (
	// nextFamily is how long an address has before the next one is dialed too (RFC 8305 section 5).
	nextFamily = 150 * time.Millisecond
	// proxyAfter is how long a direct connection has before the proxy is asked: behind one, most things but the proxy are
	// silence.
	proxyAfter = 100 * time.Millisecond
	// proxyHeader is the longest answer of a proxy.
	proxyHeader = 16 << 10
)

var (
	errProxied = errors.New("a proxy is not needed")
	errUntried = errors.New("nothing was tried")
)

// parseProxy reads Config.Proxy; nil stands for the environment's, and "none" is a URL without host.
func parseProxy(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	if s == "none" {
		return &url.URL{}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("gather: the proxy %q is no URL like http://user:password@host:port", s)
	}
	return u, nil
}

// proxyFor returns the proxy for a server, or nil if there is none.
func (g *Gatherer) proxyFor(hostPort string) *url.URL {
	u, _ := parseProxy(g.cfg.Proxy)
	if u == nil {
		u, _ = httpproxy.FromEnvironment().ProxyFunc()(&url.URL{Scheme: "https", Host: hostPort})
	}
	if u == nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}

// connect opens a connection to a TURN server over TCP or TLS, by whichever of its addresses answers first.
func (g *Gatherer) connect(now mono.Time, s *server) { g.connectTo(now, s, relaySource{}) }

// connectTo is connect, to one address if from names it.
func (g *Gatherer) connectTo(_ mono.Time, s *server, from relaySource) {
	d := dialer{host: g.cfg.Host, port: s.URI.Port, name: s.URI.Host, target: s.target()}
	if from.remote.IsValid() {
		d.remotes, d.port, d.target = []netip.Addr{from.remote.Addr()}, from.remote.Port(), from.remote.String()
	} else {
		d.remotes = interleave(s.addrs)
	}
	if from.domain != "" {
		d.name = from.domain
	}
	if s.URI.Secure() {
		d.tls = &tls.Config{}
		if g.cfg.TLS != nil {
			d.tls = g.cfg.TLS.Clone()
		}
		d.tls.ServerName = d.name
	}
	if g.cfg.Interfaces != nil { // the connection is to leave by an interface that may be used
		for _, b := range slices.Backward(g.bases) {
			if b.IP.Is4() {
				d.local4 = b.IP
			} else {
				d.local6 = b.IP
			}
		}
	}
	d.proxy = g.proxyFor(d.target)
	hasUDP := g.hasUDP()
	s.attempts++
	g.background(serverPatience, func(ctx context.Context) (func(mono.Time), func()) {
		conn, err := d.dial(ctx, hasUDP)
		return func(now mono.Time) {
				if err == nil {
					from.conn = conn
					g.allocate(now, s, from)
				}
				g.ended(now, s, netip.AddrPort{}, err)
			}, func() {
				if conn != nil {
					conn.Close()
				}
			}
	})
}

// hasUDP returns a function, for any goroutine, that says whether a relay over UDP has come.
func (g *Gatherer) hasUDP() func() bool {
	if g.udp == nil {
		g.udp = new(atomic.Bool)
	}
	return g.udp.Load
}

// interleave returns addresses with the families in turn, IPv6 first (RFC 8305 section 4).
func interleave(addrs []netip.Addr) (out []netip.Addr) {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	for i := range max(len(v4), len(v6)) {
		if i < len(v6) {
			out = append(out, v6[i])
		}
		if i < len(v4) {
			out = append(out, v4[i])
		}
	}
	return out
}

// A dialer is what a goroutine needs to know to connect to a TURN server.
type dialer struct {
	host           Host
	remotes        []netip.Addr
	port           uint16
	name           string // of the server, for its certificate
	target         string // host and port, for a proxy
	local4, local6 netip.Addr
	tls            *tls.Config // nil: TCP alone
	proxy          *url.URL    // nil: none
}

// dial tries all ways, each a little after the other, and takes the first that leads to the server. It returns when the others have
// been given up.
func (d *dialer) dial(ctx context.Context, hasUDP func() bool) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type way func(context.Context) (net.Conn, error)
	type result struct {
		conn net.Conn
		err  error
	}
	var ways []way
	for _, ip := range d.remotes {
		ways = append(ways, func(ctx context.Context) (net.Conn, error) { return d.direct(ctx, ip) })
	}
	if d.proxy != nil {
		ways = append(ways, func(ctx context.Context) (net.Conn, error) {
			if hasUDP() && len(d.remotes) > 0 {
				return nil, errProxied
			}
			return d.tunnel(ctx)
		})
	}
	if len(ways) == 0 {
		return nil, errNoAddress
	}
	results := make(chan result, len(ways))
	start := func(w way) {
		go func() {
			conn, err := w(ctx)
			results <- result{conn, err}
		}()
	}
	var won net.Conn
	var errs []error
	next, running := 0, 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for running > 0 || won == nil && next < len(ways) {
		select {
		case <-timer.C:
			if won == nil && next < len(ways) {
				start(ways[next])
				next++
				running++
				timer.Reset(d.pause(next))
			}
		case r := <-results:
			running--
			switch {
			case r.err != nil:
				errs = append(errs, r.err)
				timer.Reset(0) // the next way need not wait
			case won != nil:
				r.conn.Close()
			default:
				won = r.conn
				cancel()
			}
		}
	}
	if won == nil {
		return nil, errors.Join(errs...)
	}
	return won, nil
}

// pause is how long the ways before the next one have.
func (d *dialer) pause(next int) time.Duration {
	if next == len(d.remotes) {
		return proxyAfter
	}
	return nextFamily
}

// direct connects to an address of the server.
func (d *dialer) direct(ctx context.Context, ip netip.Addr) (net.Conn, error) {
	local := d.local4
	if ip.Is6() {
		local = d.local6
	}
	if ip.IsLoopback() {
		local = netip.Addr{} // which the system knows best
	}
	conn, err := d.host.Dial(ctx, local, netip.AddrPortFrom(ip, d.port))
	if err != nil {
		return nil, err
	}
	return d.secure(ctx, conn, d.tls)
}

// secure is the handshake of TLS, if there is to be one.
func (d *dialer) secure(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	if cfg == nil {
		return conn, nil
	}
	t := tls.Client(conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return t, nil
}

// tunnel connects through the proxy (RFC 9110 section 9.3.6).
func (d *dialer) tunnel(ctx context.Context) (net.Conn, error) {
	conn, err := d.dialProxy(ctx)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", d.proxy.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = d.ask(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("the proxy %s: %w", d.proxy.Host, err)
	}
	return d.secure(ctx, conn, d.tls)
}

func (d *dialer) dialProxy(ctx context.Context) (net.Conn, error) {
	port := uint64(80)
	var cfg *tls.Config
	if d.proxy.Scheme == "https" {
		port, cfg = 443, &tls.Config{ServerName: d.proxy.Hostname()}
		if d.tls != nil {
			cfg.RootCAs = d.tls.RootCAs
		}
	}
	if s := d.proxy.Port(); s != "" {
		var err error
		if port, err = strconv.ParseUint(s, 10, 16); err != nil {
			return nil, err
		}
	}
	addrs, err := lookup(ctx, d.host, d.proxy.Hostname())
	if err != nil {
		return nil, err
	}
	err = errUntried
	for _, ip := range interleave(addrs) {
		var conn net.Conn
		if conn, err = d.host.Dial(ctx, netip.Addr{}, netip.AddrPortFrom(ip, uint16(port))); err == nil {
			return d.secure(ctx, conn, cfg)
		}
	}
	return nil, err
}

// lookup is Host.Lookup, but for what is an address already.
func lookup(ctx context.Context, h Host, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	return h.Lookup(ctx, name)
}

// ask sends CONNECT and reads the answer, and no more than that.
func (d *dialer) ask(conn net.Conn) error {
	request := "CONNECT " + d.target + " HTTP/1.1\r\nHost: " + d.target + "\r\n"
	if u := d.proxy.User; u != nil {
		password, _ := u.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)) + "\r\n"
	}
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	var answer []byte
	for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); {
		n, err := conn.Read(b)
		if answer = append(answer, b[:n]...); err != nil {
			return err
		}
		if len(answer) > proxyHeader {
			return errors.New("its answer has no end")
		}
	}
	line, _, _ := strings.Cut(string(answer), "\r\n")
	version, status, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(version, "HTTP/1.") || len(status) < 3 || status[0] != '2' {
		return fmt.Errorf("it answers CONNECT by %q", line)
	}
	return nil
}
