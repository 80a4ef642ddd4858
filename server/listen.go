package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// A ListenError says that a port could not be had, and what to do about it.
type ListenError struct {
	Setting string // as in Settings
	Address string
	Err     error
}

func (e *ListenError) Unwrap() error { return e.Err }

func (e *ListenError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE) || isAddrInUse(e.Err):
		return fmt.Sprintf("--%[1]s %[2]s: another program listens there already. Stop it, or choose another port, as --%[1]s :%[3]s",
			e.Setting, e.Address, suggestPort(e.Address))
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("--%s %s: %v\n%s", e.Setting, e.Address, e.Err, privilegeHelp(e.Setting))
	}
	return fmt.Sprintf("--%s %s: %v", e.Setting, e.Address, e.Err)
}

func suggestPort(address string) string {
	_, n, _ := splitListen(address)
	if n < 1024 {
		n += 8000
	}
	return strconv.Itoa(n + 1)
}

// privilegeHelp says how a program may listen on a port below 1024 without being root.
func privilegeHelp(setting string) string {
	other := "choose another port, as --" + setting + " " + map[string]string{"http": ":8080", "https": ":8443"}[setting] + "."
	if runtime.GOOS != "linux" {
		return "Ports below 1024 need an administrator here; " + other
	}
	program, err := os.Executable()
	if err != nil {
		program = "parley"
	}
	build := ""
	if strings.Contains(program, "go-build") { // of `go run`: what is given to that file is lost with the next build
		build, program = "  go build -o parley ./cmd/parley\n", "parley"
	}
	return "Ports below 1024 need a privilege. Give it to the program once (and again after each update of it):\n" +
		build +
		"  sudo setcap cap_net_bind_service=+ep " + program + "\n" +
		"or let systemd give it, in the unit:\n" +
		"  [Service]\n" +
		"  AmbientCapabilities=CAP_NET_BIND_SERVICE\n" +
		"or " + other
}

// nextPorts is how many ports after a default one are tried before any free one is taken.
const nextPorts = 20

// listen opens what a setting says. Where the address is a default and its port is taken, the next free one is taken
// instead. The port that it got is returned; several listeners are one place, as localhost is two addresses.
func listen(setting, address string, isDefault bool) (lns []net.Listener, port int, err error) {
	hosts, wanted, err := splitListen(address)
	if err != nil {
		return nil, 0, &ListenError{setting, address, err}
	}
	for _, port := range portsToTry(wanted, isDefault) {
		if isDefault && hosts[0] == "" && loopbackTaken(port) {
			err = &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
			continue
		}
		if lns, err = listenAt(hosts, port); err == nil {
			return lns, lns[0].Addr().(*net.TCPAddr).Port, nil
		}
		if !isAddrInUse(err) {
			break
		}
	}
	return nil, 0, &ListenError{setting, address, err}
}

// portsToTry is a port, and if it is a default the next ones, and at last any. Any port is tried again: the system may
// choose one that is free for tcp and not for udp.
func portsToTry(wanted int, isDefault bool) []int {
	if wanted == 0 {
		return make([]int, nextPorts)
	}
	tries := []int{wanted}
	if isDefault && wanted >= 1024 {
		for i := 1; i <= nextPorts; i++ {
			tries = append(tries, wanted+i)
		}
		tries = append(tries, 0)
	}
	return tries
}

// splitListen takes apart where to listen: host:port, or several of one port with commas between them.
func splitListen(address string) (hosts []string, port int, err error) {
	for i, one := range strings.Split(address, ",") {
		host, text, err := net.SplitHostPort(strings.TrimSpace(one))
		if err != nil {
			return nil, 0, err
		}
		n, err := strconv.ParseUint(text, 10, 16)
		switch {
		case err != nil:
			return nil, 0, err
		case i > 0 && int(n) != port:
			return nil, 0, errors.New("the ports differ")
		}
		hosts, port = append(hosts, host), int(n)
	}
	return hosts, port, nil
}

// listenAt listens at each of the hosts, all on one port.
func listenAt(hosts []string, port int) (lns []net.Listener, err error) {
	for _, host := range hosts {
		more, err := listenAtHost(host, port)
		if err != nil {
			for _, ln := range lns {
				ln.Close()
			}
			return nil, err
		}
		lns = append(lns, more...)
		port = lns[0].Addr().(*net.TCPAddr).Port
	}
	return lns, nil
}

func listenAtHost(host string, port int) ([]net.Listener, error) {
	if host != "localhost" {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return nil, err
		}
		return []net.Listener{ln}, nil
	}
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	port = four.Addr().(*net.TCPAddr).Port
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case isAddrInUse(err):
		four.Close()
		return nil, err
	}
	return []net.Listener{four}, nil // a machine without IPv6
}

// loopbackTaken reports whether another program listens on the port for this machine alone. Some systems let two programs
// share a port in this way, and then localhost would be the other one.
func loopbackTaken(port int) bool {
	if port == 0 {
		return false
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			ln.Close()
		} else if isAddrInUse(err) {
			return true
		}
	}
	return false
}

// isAddrInUse knows the words of systems whose error is not EADDRINUSE (Windows has a number of its own).
func isAddrInUse(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || err != nil && strings.Contains(err.Error(), "Only one usage of each socket address")
}

const (
	// maxConnections bounds what the server holds open on all its ports: four for each seat that the hub has. (The system's
	// limit of open files, where it is lower, comes first.) maxConnectionsPerAddr bounds those of one address (IPv6: one /64),
	// so that nobody can keep out everybody else. More are closed at once.
	maxConnections        = 16384
	maxConnectionsPerAddr = 512
)

// places are what may be had by many at a time, but not all of it by one. This machine, and proxies, who speak for many, may
// have all.
type places struct {
	most, each int
	exempt     []netip.Prefix

	mu    sync.Mutex
	taken int
	by    map[netip.Prefix]int
}

func newPlaces(most, each int, exempt []netip.Prefix) *places {
	return &places{most: most, each: each, exempt: exempt, by: map[netip.Prefix]int{}}
}

// take takes a place for a client, if there is one, and returns what gives it back.
func (p *places) take(remote net.Addr) (leave func(), ok bool) {
	addr := netip.Addr{}
	if a, ok := remote.(*net.TCPAddr); ok {
		addr = a.AddrPort().Addr().Unmap().WithZone("")
	}
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	key, _ := addr.Prefix(bits) // what has no address shares the zero prefix
	counts := !addr.IsLoopback() && !slices.ContainsFunc(p.exempt, func(e netip.Prefix) bool { return e.Contains(addr) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.most || counts && p.by[key] >= p.each {
		return nil, false
	}
	p.taken++
	p.by[key]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.by[key]--; p.by[key] == 0 {
			delete(p.by, key)
		}
	}), true
}

// limited is a listener whose connections need a place.
type limited struct {
	net.Listener
	places *places
}

func (l limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.places.take(conn.RemoteAddr()); ok {
			return &placed{Conn: conn, leave: leave}, nil
		}
		conn.Close()
	}
}

// placed is a connection that has one of the places.
type placed struct {
	net.Conn
	leave func()
}

func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
