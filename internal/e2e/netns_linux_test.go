package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A host is a machine of a made-up local network: a network namespace with one address.
type host struct {
	t    *testing.T
	ns   string
	addr string // without prefix
}

// newLAN makes hosts with the given addresses on one switch, which is a namespace too: the machine's own network is
// not touched. The hosts have a default route, as real ones do, that leads nowhere.
func newLAN(t *testing.T, addrs ...string) []*host {
	t.Helper()
	needs(t, needNamespaces)
	sw := namespace(t, "sw")
	ip(t, sw, "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up")
	var hosts []*host
	for i, addr := range addrs {
		h := &host{t: t, ns: namespace(t, fmt.Sprint("h", i)), addr: addr}
		port := fmt.Sprint("p", i)
		ip(t, sw, "link add "+port+" type veth peer name eth0 netns "+h.ns, "link set "+port+" master br0 up")
		ip(t, h.ns, "link set eth0 up", "addr add "+addr+"/24 dev eth0", "route add default dev eth0")
		hosts = append(hosts, h)
	}
	return hosts
}

// namespace makes a network namespace with loopback that is removed after the test.
func namespace(t *testing.T, role string) string {
	t.Helper()
	ns := fmt.Sprintf("parley-e2e-%d-%s", os.Getpid(), role)
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add %s: %v: %s", ns, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %v: %s", ns, err, out)
		}
	})
	// Addresses are there at once: one that comes later is a changed network to a browser.
	quick := `for c in all default; do echo 0 >/proc/sys/net/ipv6/conf/$c/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/$c/accept_ra; done`
	if out, err := inNamespace(exec.Command("sh", "-c", quick), ns).CombinedOutput(); err != nil {
		t.Logf("without IPv6: %v: %s", err, out)
	}
	ip(t, ns, "link set lo up")
	return ns
}

func ip(t *testing.T, ns string, lines ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", ns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip in %s: %v: %s", ns, err, out)
	}
}

// command is a program that runs on the host.
func (h *host) command(name string, args ...string) *exec.Cmd {
	return inNamespace(exec.Command(name, args...), h.ns)
}

// within runs f on a thread that is on the host.
func (h *host) within(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// A thread that entered the namespace; it ends with the goroutine, because it is not unlocked.
		runtime.LockOSThread()
		ns, err := os.Open("/var/run/netns/" + h.ns)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// dial connects from the host.
func (h *host) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = h.within(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// client is an HTTP client on the host. It follows no redirects.
func (h *host) client() *http.Client {
	tr := &http.Transport{DialContext: h.dial, DisableKeepAlives: true}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
