package server

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/parley-rtc/parley/server/relay"
)

// ports are the listeners that the server was told to open.
type ports struct {
	http, https, turn, turns []net.Listener
	at                       struct{ http, https, turns place }
	moved                    []string // what has given way, in words
	places                   *places
}

func openPorts(cfg *Config) (_ *ports, err error) {
	p := &ports{places: newPlaces(maxConnections, maxConnectionsPerAddr, cfg.Proxies)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.http, p.at.http, err = p.open("http", cfg.HTTP, cfg.httpAddress()); err != nil {
		return nil, err
	}
	if p.https, p.at.https, err = p.open("https", cfg.HTTPS, cfg.httpsAddress()); err != nil {
		return nil, err
	}
	if cfg.turnsAddress() != off {
		if p.turns, p.at.turns, err = p.openBoth("turns", cfg.TURNS, cfg.turnsAddress(), relay.Free); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// open listens where a setting says. What was said for it is "" if address is its default.
func (p *ports) open(setting, said, address string) ([]net.Listener, place, error) {
	if address == off {
		return nil, place{}, nil
	}
	lns, port, err := listen(setting, address, said == "")
	if err != nil {
		return nil, place{}, err
	}
	return p.limit(lns), p.note(setting, said, address, port), nil
}

// openBoth listens for the relay on one port of both kinds: tcp here, and udp by a function that is given the addresses.
func (p *ports) openBoth(setting, said, address string, udp func([]netip.AddrPort) error) ([]net.Listener, place, error) {
	hosts, wanted, err := splitListen(address)
	if err != nil {
		return nil, place{}, &ListenError{setting, address, err}
	}
	for _, port := range portsToTry(wanted, said == "") {
		var lns []net.Listener
		if lns, err = listenAt(hosts, port); err == nil {
			port = lns[0].Addr().(*net.TCPAddr).Port
			if err = udp(udpAddresses(lns, port)); err == nil {
				return p.limit(lns), p.note(setting, said, address, port), nil
			}
			for _, ln := range lns {
				ln.Close()
			}
		}
		if !isAddrInUse(err) {
			break
		}
	}
	return nil, place{}, &ListenError{setting, address, err}
}

// udpBesideHTTPS is the https port on udp, for networks that let out nothing but 443, if the internet is served and it can be had. A
// program that has it, as one that serves HTTP/3 may, keeps it.
func (p *ports) udpBesideHTTPS(cfg *Config, log *slog.Logger) []netip.AddrPort {
	if !cfg.public() || len(cfg.Proxies) > 0 || len(p.https) == 0 {
		return nil
	}
	addresses := udpAddresses(p.https, p.at.https.port)
	if err := relay.Free(addresses); err != nil {
		log.Warn("STUN and TURN are not on the https port by udp", "port", p.at.https.port, "error", err)
		return nil
	}
	return addresses
}

// udpAddresses are where to listen on udp for the same clients as lns: a wildcard that is both IPv4 and IPv6 is two.
func udpAddresses(lns []net.Listener, port int) (list []netip.AddrPort) {
	for _, ln := range lns {
		addr := ln.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if addr.Is6() && addr.IsUnspecified() {
			list = append(list, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)))
		}
		list = append(list, netip.AddrPortFrom(addr, uint16(port)))
	}
	return list
}

// limit makes listeners share the server's places.
func (p *ports) limit(lns []net.Listener) []net.Listener {
	for i, ln := range lns {
		lns[i] = limited{ln, p.places}
	}
	return lns
}

// note says where something listens, and remembers that it has given way.
func (p *ports) note(setting, said, address string, port int) place {
	hosts, wanted, _ := splitListen(address) // who listens has taken it apart as well
	if said == "" && wanted != port {
		p.moved = append(p.moved, fmt.Sprintf("Port %d is taken by another program, so %s is on %d.", wanted, setting, port))
	}
	return place{host: hosts[0], port: port}
}

func (p *ports) close() {
	for _, lns := range [][]net.Listener{p.http, p.https, p.turn, p.turns} {
		for _, ln := range lns {
			ln.Close()
		}
	}
}

// serve starts to answer on every port. What ends one of them goes to failed.
func (s *server) serve(handler http.Handler, failed chan<- error) []*http.Server {
	var servers []*http.Server
	start := func(ln net.Listener) {
		srv := &http.Server{
			Handler:           overTLS(handler),
			ConnContext:       rememberTLS,
			TLSConfig:         s.certs.tlsConfig(s.turn != nil), // so that net/http offers HTTP/2
			ReadHeaderTimeout: headerTime,
			ReadTimeout:       requestTime,
			WriteTimeout:      requestTime,
			IdleTimeout:       idleTime,
			MaxHeaderBytes:    headerSize,
			ErrorLog:          log.New(&errorLog{s.log}, "", 0),
		}
		servers = append(servers, srv)
		go func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				select {
				case failed <- err:
				default:
				}
			}
		}()
	}
	for _, ln := range s.ports.http {
		start(ln)
	}
	var stun func(net.Conn)
	if s.turn != nil {
		stun = s.turn.relay.Adopt
	}
	config := s.certs.tlsConfig(s.turn != nil)
	if len(s.ports.https) > 0 {
		board := newSwitchboard(s.ports.https, config, stun, s.log)
		start(board.negotiated)
		start(board.silent)
		start(board.plain) // http on the https port: answered with the way to https
		board.run()
	}
	if s.turn != nil {
		newSTUNSwitchboard(s.ports.turn, nil, stun, s.log).run()
		newSTUNSwitchboard(s.ports.turns, config, stun, s.log).run()
	}
	return servers
}
