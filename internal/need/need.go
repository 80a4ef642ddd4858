// Package need is how tests say what they need from the machine beside Go. There are three kinds of needs:
//
//   - what can be had ([Program], [Missing]): a test without it skips and says how to get it. Under CI, where everything is
//     installed, it fails instead: nobody reads the skips of a green run.
//   - what nobody can install, because a kernel has it or not ([Cannot]), or that is no program ([Network]): a test without it
//     skips everywhere.
//   - time ([Long]): a test that takes it runs where PARLEY_LONG is set.
//
// And [Port] is how a test finds a port for a program that must be told one, and [Patience] how long it waits for what must come.
package need

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Patience is how long a test waits for what must come. No test is about this time, and only what never comes takes it: two
// processors may have a dozen videos to encode meanwhile.
const Patience = 90 * time.Second

// Program needs programs of one Debian package.
func Program(t testing.TB, pkg string, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, name, "on Debian: apt-get install "+pkg)
		}
	}
}

// Missing ends a test that lacks something. Get says how a person gets it.
func Missing(t testing.TB, what, get string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s; %s (under CI a skipped test is a failure)", what, get)
	}
	t.Skipf("needs %s; %s", what, get)
}

// Cannot skips a test of something that this machine's kernel cannot do.
func Cannot(t testing.TB, what string) {
	t.Helper()
	t.Skipf("this machine has no %s, and it cannot be installed", what)
}

// Long skips a test that takes minutes, unless it is asked for.
func Long(t testing.TB) {
	t.Helper()
	if os.Getenv("PARLEY_LONG") == "" {
		t.Skip("needs time; set PARLEY_LONG=1")
	}
}

// Network returns an IPv4 address of this machine that is not loopback, from which browsers and others do not send. Without one the
// test is skipped.
func Network(t testing.TB) net.IP {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP
		}
	}
	t.Skip("this machine has no IPv4 address but loopback: connect it to a network")
	return nil
}
